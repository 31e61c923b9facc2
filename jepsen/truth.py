"""What nodes tell an operator, held against what was done to them.

    while a node is dead, stopped or cut off    /nodes of any other says that it cannot be reached
    while a node cannot hear a majority         no leader: /readyz and /readyz?sync are 503, /leader too, /status names none
    when all is mended                          one leader, named alike by all; every member reachable; /readyz?sync 200

A node that gives no answer says nothing untrue: it may be in the hands of another nemesis."""
import contextlib
import http.client
import json
import time

from cluster import Broken

ASK_S = 1  # what /nodes is given to reach the others
LIMIT_S, MENDED_LIMIT_S = 5.0, 40.0


class Untrue(Broken):
    """A node said what was not so."""


class Truth:
    def __init__(self, cluster, history, chance):
        self.cluster, self.history, self.chance = cluster, history, chance
        self.held = {"unreachable": 0, "leaderless": 0, "mended": 0}
        self.slowest = (0.0, "")  # until all was well again, and what was last to become true

    @staticmethod
    def answer(node, path):
        """(status, body); None: nobody answers there."""
        with contextlib.suppress(OSError, http.client.HTTPException):
            return node.ask("GET", path, timeout_s=2.0 + 2 * ASK_S)
        return None

    def wait(self, name, what, limit_s):
        """what() → None: true; False: nothing to say; words: not true yet. Returns the last words."""
        begin, last = time.monotonic(), ""
        while True:
            words = what()
            if words is None:
                self.held[name] += 1
                return last
            if words is False:
                return last
            last = words
            if time.monotonic() > begin + limit_s:
                self.history(type="nemesis", words="untrue", said=words)
                raise Untrue(f"{words}, after {limit_s:g} s")
            time.sleep(0.1)

    def unreachable(self, askers, node):
        if not askers:
            return
        asker = self.chance.choice(askers)

        def what():
            given = self.answer(asker, f"/nodes?ver=2&nonvoters&timeout={ASK_S}s")
            if not given or given[0] != 200:
                return False
            said = [m for m in json.loads(given[1])["nodes"] if m["id"] == node.name]
            if not said:
                return False
            if said[0]["reachable"] or said[0]["leader"] or not said[0].get("error"):
                return f"/nodes of {asker.name} says of {node.name}, which is not there: {said[0]}"
            return None

        self.wait("unreachable", what, LIMIT_S)

    def leaderless(self, node):
        def what():
            told = {path: self.answer(node, path) for path in ("/readyz", "/readyz?sync&timeout=1s", "/leader", "/status")}
            if not all(told.values()) or told["/status"][0] != 200:
                return False
            store = json.loads(told["/status"][1])["store"]
            if "raft" not in store:
                return False
            good = [path for path in list(told)[:3] if told[path][0] != 503]
            if good:
                return f"{node.name}, which hears no majority, answers {good[0]} with {told[good[0]]}"
            if store["raft"]["state"] == "Leader" or store["leader"]["node_id"] or store["leader"]["addr"]:
                return f"{node.name}, which hears no majority, is {store['raft']['state']} and its leader {store['leader']}"
            return None

        self.wait("leaderless", what, LIMIT_S)

    # ---- all mended

    def one_word(self):
        """None: all nodes say the same of themselves and of each other, and it is well."""
        names = [n.name for n in self.cluster.nodes]
        leaders = set()
        for node in self.cluster.nodes:
            for path in ("/readyz?sync&timeout=2s", "/readyz"):
                given = self.answer(node, path)
                if not given or given[0] != 200:
                    return f"{node.name} answers {path} with {given}"
            members = node.json(f"/nodes?ver=2&nonvoters&timeout={ASK_S}s", 4.0)
            status = node.json("/status?key=store", 4.0)
            if not members or not status:
                return f"{node.name} does not say who its members are"
            said = members["nodes"]
            if [m["id"] for m in said] != names or not all(m["voter"] and m["reachable"] for m in said):
                return f"/nodes of {node.name} says {said}"
            leaders |= {m["id"] for m in said if m["leader"]} | {status["leader"]["node_id"]}
            if sum(m["leader"] for m in said) != 1 or (status["raft"]["state"] == "Leader") != (status["leader"]["node_id"] == node.name):
                return f"{node.name} is {status['raft']['state']}, its leader {status['leader']}, its members {said}"
        return None if len(leaders) == 1 else f"leaders are {sorted(leaders)}"

    def mended(self):
        """Until everything is well again."""
        begin = time.monotonic()
        last = self.wait("mended", self.one_word, MENDED_LIMIT_S)
        for node in self.cluster.nodes:
            node.join = None
        took_s = time.monotonic() - begin
        self.history(type="nemesis", words="mended", after_s=round(took_s, 2), last=last[:400])
        self.slowest = max(self.slowest, (took_s, last))
