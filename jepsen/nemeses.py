"""Nemeses: what goes wrong. Each writes down what it is about to do before it does it, proves afterwards that it had
an effect, and always puts things right again.

    kill        SIGKILL of the leader, another node, most nodes, or all       the process is gone
    pause       SIGSTOP longer than an election takes, then SIGCONT           the kernel says stopped; it gave no answer
    isolate     one node from all others, both directions                    packets were dropped
    oneway      one direction of one node's links                            packets were dropped
    partial     one link between two nodes; all others stay                  packets were dropped
    halves      a minority from a majority                                   packets were dropped
    transfer    leadership handed over while clients write                   another node leads
    churn       a member removed, wiped, and joined again                    it was no member, then it was a voter again
"""
import contextlib
import http.client
import signal

from cluster import RAFT_PORT, Broken


class Nemesis:
    def __init__(self, name, act):
        self.name, self.act = name, act
        self.begun = self.effective = 0


class Nemeses:
    def __init__(self, cluster, hosts, history, chance, wait):
        self.cluster, self.hosts, self.history, self.chance = cluster, hosts, history, chance
        self.wait = wait  # sleeps, or returns early when the run is to end
        self.all = {name: Nemesis(name, getattr(self, name))
                    for name in ("kill", "pause", "isolate", "oneway", "partial", "halves", "transfer", "churn")}

    def say(self, words, **fields):
        self.history(type="nemesis", words=words, **fields)

    def run(self, nemesis):
        nemesis.begun += 1
        self.say("begin", nemesis=nemesis.name)
        try:
            effective = nemesis.act()
        finally:
            self.mend()
        nemesis.effective += bool(effective)
        self.say("end", nemesis=nemesis.name, effective=bool(effective))

    def mend(self):
        """Everything as it should be; also when nothing was wrong."""
        self.hosts.heal()
        for node in self.cluster.nodes:
            if node.running():
                node.signal(signal.SIGCONT)
            else:
                if node.ended_by_itself():
                    self.cluster.strange.append(f"{node.name} ended by itself with {node.process.returncode}")
                node.start()

    def target(self):
        """The leader half of the time."""
        leader = self.cluster.leader()
        return leader if leader and self.chance.random() < 0.5 else self.chance.choice(self.cluster.nodes)

    def others(self, node):
        return [n for n in self.cluster.nodes if n is not node]

    # ---- processes

    def kill(self):
        nodes = list(self.cluster.nodes)
        some = self.chance.choice([1, 1, 1, len(nodes) // 2 + 1, len(nodes)])
        first = self.target()
        targets = [first] + self.chance.sample(self.others(first), some - 1)
        self.say("kill", targets=[n.name for n in targets])
        for node in targets:
            node.kill()
        self.wait(self.chance.uniform(0.1, 2.0))
        return all(not n.running() for n in targets)

    def pause(self):
        node = self.target()
        self.say("pause", targets=[node.name])
        node.signal(signal.SIGSTOP)
        self.wait(self.chance.uniform(0.3, 4.0))
        stopped = node.paused() and not node.ready()
        node.signal(signal.SIGCONT)
        return stopped

    # ---- links

    def cut(self, links):
        self.say("cut", links=[[a.name, b.name] for a, b in links])
        for source, target in links:
            self.hosts.block(source.number, target.number)
        self.wait(self.chance.uniform(1.0, 4.0))
        return self.hosts.heal() > 0

    def isolate(self):
        node = self.target()
        return self.cut([p for other in self.others(node) for p in ((node, other), (other, node))])

    def oneway(self):
        node = self.target()
        if self.chance.random() < 0.5:
            return self.cut([(node, other) for other in self.others(node)])
        return self.cut([(other, node) for other in self.others(node)])

    def partial(self):
        a, b = self.chance.sample(self.cluster.nodes, 2)
        return self.cut([(a, b), (b, a)])

    def halves(self):
        nodes = self.chance.sample(self.cluster.nodes, len(self.cluster.nodes))
        few, most = nodes[:len(nodes) // 2], nodes[len(nodes) // 2:]
        return self.cut([p for a in few for b in most for p in ((a, b), (b, a))])

    # ---- the cluster itself

    def transfer(self):
        before = self.cluster.wait_leader()
        target = self.chance.choice(self.others(before))
        self.say("transfer", targets=[before.name, target.name])
        with contextlib.suppress(OSError, http.client.HTTPException):
            before.ask("POST", "/leader", {"id": target.name}, 10)
        self.wait(self.chance.uniform(0.1, 0.5))
        return self.cluster.wait_leader() is not before

    def churn(self):
        leader = self.cluster.wait_leader()
        node = self.chance.choice(self.others(leader))
        self.say("churn", targets=[node.name])
        status, body = leader.ask("DELETE", "/remove", {"id": node.name}, 10)
        if status != 200:
            self.say("not removed", status=status, body=body.decode(errors="replace")[:200])
            return False
        gone = node.name not in self.cluster.voters(self.cluster.wait_leader())
        node.kill()
        node.wipe()
        flags = list(node.flags)
        node.flags += ["-join", ",".join(f"{n.addr}:{RAFT_PORT}" for n in self.others(node))]
        node.start()
        try:
            self.cluster.wait_members(len(self.cluster.nodes), 40)
        except Broken as e:
            raise Broken(f"{node.name} joined anew and did not become a voter: {e}") from None
        finally:
            node.flags = flags
        return gone
