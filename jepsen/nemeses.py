"""Nemeses: what goes wrong. Each writes down what it is about to do before it does it, proves afterwards that it had
an effect, holds what the nodes say of it against the truth (truth.py), and puts things right again.

    kill        SIGKILL of the leader, another node, most nodes, or all       the process is gone
    pause       SIGSTOP longer than an election takes, then SIGCONT           the kernel says stopped; it gave no answer
    isolate     one node from all others, both directions                     packets were dropped
    oneway      one direction of one node's links                             packets were dropped
    partial     one link between two nodes; all others stay                   packets were dropped
    halves      a minority from a majority                                    packets were dropped
    transfer    leadership handed over while clients write                    another node leads
    churn       a member removed, wiped and joined again; or wiped only       it was no member (its folder was gone), then
                                                                              it was a voter again

A nemesis is a generator: it yields the seconds it wants to wait, and returns whether it had an effect. So that several
can be under way at once, each with times of its own, without threads."""
import contextlib
import http.client
import signal
import time

from cluster import RAFT_PORT

LINKS = {"isolate", "oneway", "partial", "halves"}  # a packet is dropped once: one of these at a time
TOLD_S = 4.0  # election timeout, twice at most, and a moment: so long a node may believe in a leader it cannot hear
AGAIN_S = 25.0


class Nemesis:
    def __init__(self, name, steps):
        self.name, self.steps = name, steps
        self.begun = self.effective = 0


class UnderWay:
    def __init__(self, nemesis, due):
        self.nemesis, self.due, self.steps, self.begun = nemesis, due, nemesis.steps(), False


class Nemeses:
    def __init__(self, cluster, hosts, history, chance, truth):
        self.cluster, self.hosts, self.history, self.chance, self.truth = cluster, hosts, history, chance, truth
        self.all = {name: Nemesis(name, getattr(self, name))
                    for name in ("kill", "pause", "isolate", "oneway", "partial", "halves", "transfer", "churn")}
        self.touched = set()  # nodes that a nemesis under way has to itself
        self.hit = set()  # nodes that could not do their part, in this round

    def say(self, words, **fields):
        self.history(type="nemesis", words=words, **fields)

    def draw(self, names):
        """One, two or three of those that wait for their turn, at most one of them about links."""
        some = self.chance.choice((1, 1, 2, 2, 3))
        drawn = []
        for name in list(names):
            if len(drawn) < some and name not in drawn and not (name in LINKS and LINKS & set(drawn)):
                drawn.append(name)
                names.remove(name)
        return drawn

    def run(self, names):
        """Each begins a moment after the one before, and ends by itself. Afterwards all is as it should be."""
        begin = time.monotonic()
        self.hit.clear()
        under_way = [UnderWay(self.all[name], begin + i * self.chance.uniform(0, 1.5)) for i, name in enumerate(names)]
        try:
            while under_way:
                u = min(under_way, key=lambda u: u.due)
                time.sleep(max(0.0, u.due - time.monotonic()))
                if not self.step(u):
                    under_way.remove(u)
        finally:
            for u in under_way:
                u.steps.close()
            self.touched.clear()
            self.mend()

    def step(self, u):
        """False: it has ended."""
        n = u.nemesis
        if not u.begun:
            u.begun = True
            n.begun += 1
            self.say("begin", nemesis=n.name)
        try:
            u.due = time.monotonic() + next(u.steps)
            return True
        except StopIteration as end:
            n.effective += bool(end.value)
            self.say("end", nemesis=n.name, effective=bool(end.value))
            return False

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

    def left_quorum(self):
        """Was a majority of nodes well all through this round?"""
        return 2 * len(self.hit) < len(self.cluster.nodes)

    def whole(self):
        """Nodes that run and are nobody's."""
        return [n for n in self.cluster.nodes if n.running() and not n.paused() and n not in self.touched]

    def target(self):
        """The leader half of the time. None: everything is in somebody's hands."""
        leader = self.cluster.leader() if self.chance.random() < 0.5 else None
        nodes = self.whole()
        return leader if leader in nodes else self.chance.choice(nodes) if nodes else None

    def others(self, node):
        return [n for n in self.cluster.nodes if n is not node]

    # ---- processes

    def kill(self):
        nodes = self.whole()
        some = min(len(nodes), self.chance.choice([1, 1, 1, len(self.cluster.nodes) // 2 + 1, len(self.cluster.nodes)]))
        first = self.target()
        if not first:
            return False
        targets = [first] + self.chance.sample([n for n in nodes if n is not first], some - 1)
        self.touched.update(targets)
        self.hit.update(targets)
        self.say("kill", targets=[n.name for n in targets])
        for node in targets:
            node.kill()
        long = self.chance.random() < 0.5
        yield TOLD_S if long else self.chance.uniform(0.1, 2.0)
        gone = all(not n.running() for n in targets)
        if long and 2 * some > len(self.cluster.nodes):
            for node in self.whole():
                self.truth.leaderless(node)
        for node in targets:
            self.truth.unreachable(self.whole(), node)
        for node in targets:
            node.start()
        self.touched.difference_update(targets)
        return gone

    def pause(self):
        node = self.target()
        if not node:
            return False
        self.touched.add(node)
        self.hit.add(node)
        self.say("pause", targets=[node.name])
        node.signal(signal.SIGSTOP)
        try:
            yield self.chance.uniform(0.3, 4.0)
            stopped = node.paused() and not node.ready()
            self.truth.unreachable(self.whole(), node)
        finally:
            node.signal(signal.SIGCONT)
        self.touched.discard(node)
        return stopped

    # ---- links

    def cut(self, links, few=()):
        """few: those that are cut off from all others, both ways, and are no majority."""
        self.say("cut", links=[[a.name, b.name] for a, b in links])
        rules = [self.hosts.block(source.number, target.number) for source, target in links]
        try:
            yield (TOLD_S if few else 1.0) + self.chance.uniform(0.0, 3.0)
            for node in few:
                self.truth.leaderless(node)
                self.truth.unreachable([n for n in self.whole() if n not in few], node)
        finally:
            dropped = sum(self.hosts.unblock(r) for r in rules)
        return dropped > 0

    def isolate(self):
        node = self.target()
        if not node:
            return False
        self.hit.add(node)
        return (yield from self.cut([p for other in self.others(node) for p in ((node, other), (other, node))], [node]))

    def oneway(self):
        node = self.target()
        if not node:
            return False
        self.hit.add(node)
        if self.chance.random() < 0.5:
            return (yield from self.cut([(node, other) for other in self.others(node)]))
        return (yield from self.cut([(other, node) for other in self.others(node)]))

    def partial(self):
        a, b = self.chance.sample(self.cluster.nodes, 2)
        return (yield from self.cut([(a, b), (b, a)]))

    def halves(self):
        nodes = self.chance.sample(self.cluster.nodes, len(self.cluster.nodes))
        few, most = nodes[:len(nodes) // 2], nodes[len(nodes) // 2:]
        self.hit.update(few)
        return (yield from self.cut([p for a in few for b in most for p in ((a, b), (b, a))], few))

    # ---- the cluster itself

    def leader_within(self, seconds, but=None):
        """Waits for one; other nemeses may keep it away for longer."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            leader = self.cluster.leader()
            if leader and leader is not but:
                return leader
            yield 0.1
        return None

    def transfer(self):
        before = yield from self.leader_within(3.0)
        if not before:
            return False
        target = self.chance.choice(self.others(before))
        self.say("transfer", targets=[before.name, target.name])
        with contextlib.suppress(OSError, http.client.HTTPException):
            before.ask("POST", "/leader", {"id": target.name}, 10)
        return (yield from self.leader_within(1.0, before)) is not None

    def removed(self, node):
        """Asked through any other node, for some seconds. Is it no member any more?"""
        end = time.monotonic() + 5.0
        while time.monotonic() < end:
            through = self.chance.choice([n for n in self.whole() if n is not node] or self.others(node))
            with contextlib.suppress(OSError, http.client.HTTPException):
                status, body = through.ask("DELETE", "/remove", {"id": node.name}, 5)
                self.say("removed" if status == 200 else "not removed", status=status, body=body.decode(errors="replace")[:200])
            leader = yield from self.leader_within(2.0, node)
            if leader and node.name not in (self.cluster.voters(leader) or [node.name]):
                return True
            yield 0.2
        return False

    def churn(self):
        yield from self.leader_within(3.0)
        node = self.target()
        if not node:
            return False
        self.touched.add(node)
        self.hit.add(node)
        first_removed = self.chance.random() < 0.6
        self.say("churn", targets=[node.name], removed=first_removed)
        gone = (yield from self.removed(node)) if first_removed else True
        node.kill()
        node.wipe()
        node.join = ",".join(f"{n.addr}:{RAFT_PORT}" for n in self.others(node))
        node.start()
        end = time.monotonic() + AGAIN_S
        while time.monotonic() < end:
            leader = self.cluster.leader()
            if leader and leader is not node and node.ready() and node.name in self.cluster.voters(leader):
                self.touched.discard(node)
                return gone
            yield 0.2
        self.touched.discard(node)
        return False
