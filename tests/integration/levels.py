#!/usr/bin/env python3
"""Three real voters and a read replica: who answers which read, and how old it may be.

    levels.py PATH/TO/rqlited [--verbose]

Every level on every kind of node, with who served it; linearizable reads under a writer while the leader is
paused and comes back; wait_index right behind a write; freshness on a node cut off; retries, redirects, no
leader (http-api.md §10, §11; docs/api.md, "Reads"). Exit status 0: all kept."""
import argparse
import http.client
import json
import os
import signal
import threading
import time
import urllib.parse

from nodes import Field, want, wait_equal, wait_leader

LEVELS = ("none", "weak", "linearizable", "strong", "auto")
SLOW = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n+1 FROM c WHERE n<%d) SELECT max(n) FROM c"
STALE = '{"results":[],"error":"stale read"}'


class Answer:
    def __init__(self, given):
        self.status, self.headers = given.status, given.headers
        self.text = given.read().decode()

    @property
    def served_by(self):
        return self.headers.get("X-Rqlite-Served-By")

    def rows(self):
        return json.loads(self.text)["results"][0]["values"]

    def __repr__(self):
        return f"{self.status} {self.served_by} {self.text!r}"


def ask(node, method, path, body=None, timeout_s=15):
    c = http.client.HTTPConnection("127.0.0.1", node.http, timeout=timeout_s)
    try:
        c.request(method, path, None if body is None else json.dumps(body), {"Content-Type": "application/json"})
        return Answer(c.getresponse())
    finally:
        c.close()


def query(node, level, sql, more="", **given):
    return ask(node, "GET", f"/db/query?level={level}&q={urllib.parse.quote(sql)}{more}", **given)


def own(node):
    return f"localhost:{node.http}"


def raft(node):
    return f"localhost:{node.raft}"


def raft_index(node):
    """Of a write that is acknowledged now."""
    given = ask(node, "POST", "/db/execute?raft_index", ["INSERT INTO t(v) VALUES(1)"])
    want('"error"' not in given.text, f"a write failed: {given}")
    return json.loads(given.text)["raft_index"]


class Cluster:
    def __init__(self, field):
        self.field = field
        self.voters = field.three()
        for node in self.voters:
            node.wait_ready()
        self.replica = field.node("r", flags=["-raft-non-voter", "-join", f"http://localhost:{self.voters[0].http}"])
        self.replica.start().wait_ready()
        self.nodes = self.voters + [self.replica]
        self.look()
        self.leader.execute("CREATE TABLE t(v)")
        self.leader.execute("CREATE TABLE counter(v)")
        self.leader.execute("INSERT INTO counter VALUES(0)")

    def look(self):
        self.leader = wait_leader(self.voters)
        self.followers = [n for n in self.voters if n is not self.leader]

    def steady(self):
        """All follow one leader, which has committed something of its own."""
        self.look()
        for node in self.nodes:
            node.wait_ready()
        end = time.monotonic() + 10
        while any(query(n, "linearizable", "SELECT 1").status != 200 for n in self.nodes):
            want(time.monotonic() < end, "no linearizable reads")
        self.look()


# ---- who answers ---------------------------------------------------------------------------------------


def table(c):
    """§10.7, with linearizable answered where it was asked."""
    here = {"none": (1, 1, 1), "weak": (1, 0, 0), "linearizable": (1, 1, 1), "strong": (1, 0, 0), "auto": (1, 0, 1)}
    kinds = (c.leader, c.followers[0], c.replica)
    for level in LEVELS:
        for node, local in zip(kinds, here[level]):
            raft_index(c.leader)
            wait_equal(c.nodes)
            count = query(c.leader, "strong", "SELECT count(*) FROM t").rows()
            for given in (query(node, level, "SELECT count(*) FROM t", "&raft_index"),
                          ask(node, "POST", f"/db/request?level={level}", ["SELECT count(*) FROM t"])):
                what = f"{level} on {node.name} (leader {c.leader.name}): {given}"
                want(given.status == 200 and given.rows() == count, what)
                want(given.served_by == (own(node) if local else raft(c.leader)), what)
                want(level == "strong" or "raft_index" not in given.text, what)
    given = ask(c.followers[0], "POST", "/db/request?level=linearizable", ["SELECT 1", "INSERT INTO t(v) VALUES(2)"])
    want(given.served_by == raft(c.leader) and '"error"' not in given.text, f"a request that writes: {given}")


def redirects(c):
    follower, path = c.followers[0], "redirect&pretty"
    for method, at in (("POST", "/db/execute?"), ("POST", "/db/query?"), ("POST", "/db/request?"),
                       ("DELETE", "/remove?"), ("POST", "/leader?wait&")):
        body = {"id": "nobody"} if at.startswith(("/remove", "/leader")) else ["SELECT 1"]
        given = ask(follower, method, at + path, body)
        want((given.status, given.text) == (301, ""), f"redirect of {at}: {given}")
        want(given.headers["Location"] == f"http://localhost:{c.leader.http}{at}{path}", given.headers["Location"])
        if not at.startswith(("/remove", "/leader")):
            want(ask(c.leader, method, at + path, body).status == 200, f"redirect of {at} on the leader")
    for level in ("none", "linearizable"):
        given = query(follower, level, "SELECT 1", "&redirect")
        want(given.status == 200 and given.served_by == own(follower), f"redirect of what it can serve: {given}")
    given = ask(follower, "DELETE", "/remove", {"id": "nobody"})
    want(given.status == 200 and given.served_by == raft(c.leader), f"remove through a follower: {given}")


# ---- waiting ---------------------------------------------------------------------------------------------


def wait_index(c):
    for _ in range(40):
        index = raft_index(c.leader)
        count = query(c.leader, "strong", "SELECT count(*) FROM t").rows()
        for node in c.nodes:
            given = query(node, "none", "SELECT count(*) FROM t", f"&wait_index={index}")
            want(given.text and given.rows() == count and given.served_by == own(node), f"{node.name}: {given}")
    far = (1 << 63) - 1
    for node in c.nodes:
        for level in ("none", "auto", "weak", "linearizable"):
            given = query(node, level, "SELECT 1", f"&wait_index={far}&timeout=80ms")
            want(f'"error":"index {far}: timeout waiting for fsm"' in given.text, f"{level} {node.name}: {given}")
    # Somebody waits on each node, and one write wakes them all.
    index, got = raft_index(c.leader) + 1, []
    threads = [threading.Thread(target=lambda n=n: got.append(query(n, "none", "SELECT 1", f"&wait_index={index}")))
               for n in c.nodes for _ in range(5)]
    for t in threads:
        t.start()
    time.sleep(0.1)
    want(not got, "answered before the index")
    raft_index(c.followers[0])
    for t in threads:
        t.join(5)
    want(len(got) == 20 and all(g.status == 200 and "error" not in g.text for g in got), f"waiters: {got}")


def limits(c):
    """timeout is for other nodes, db_timeout for SQL; the latter covers all statements together."""
    follower, slow = c.followers[0], SLOW % 300000
    for node, level in ((c.leader, "weak"), (follower, "none"), (follower, "linearizable"), (c.replica, "none")):
        given = query(node, level, slow, "&timeout=20ms")
        want(given.text.endswith('[[300000]]}]}'), f"a slow read with a short timeout: {given}")
    given = query(follower, "weak", slow, "&timeout=20ms")
    want(f'"read tcp {raft(c.leader)}: i/o timeout"' in given.text, f"forwarded: {given}")
    for node, levels in ((c.leader, LEVELS), (follower, LEVELS), (c.replica, ("none", "weak"))):
        for level in levels:
            given = ask(node, "POST", f"/db/query?level={level}&db_timeout=100ms", [SLOW % 100000000, "SELECT 1"])
            want(given.text == '{"results":[{"error":"query timeout"},{"error":"query timeout"}]}',
                 f"db_timeout, {level} on {node.name}: {given}")


# ---- no stale read -------------------------------------------------------------------------------------------


class Counting:
    """One writer counts up; readers of each node see at least what was acknowledged when they asked."""

    def __init__(self, c):
        self.c, self.acknowledged, self.stop = c, 0, False
        self.faults, self.reads, self.refused = [], {n.name: 0 for n in c.nodes}, 0
        self.threads = [threading.Thread(target=self.write)]
        self.threads += [threading.Thread(target=self.read, args=(n,)) for n in c.nodes]
        for t in self.threads:
            t.start()

    def write(self):
        """What was given up may still be written, by a node that was paused when it came: hence the max."""
        at, value = 0, 0
        while not self.stop:
            value += 1
            try:
                given = ask(self.c.voters[at], "POST", "/db/execute", [["UPDATE counter SET v=max(v,?)", value]], 1)
                if given.status == 200 and "error" not in given.text:
                    self.acknowledged = value
                    continue
            except OSError:
                pass
            at = (at + 1) % 3

    def read(self, node):
        while not self.stop:
            floor = self.acknowledged
            try:
                given = query(node, "linearizable", "SELECT v FROM counter", "&linearizable_timeout=2s", timeout_s=1)
            except OSError:
                continue
            if given.status != 200 or "error" in given.text:
                self.refused += 1
                time.sleep(0.01)
                continue
            seen = given.rows()[0][0]
            self.reads[node.name] += 1
            if seen < floor:
                self.faults.append(f"{node.name} read {seen} after {floor} was acknowledged")

    def end(self):
        self.stop = True
        for t in self.threads:
            t.join(10)
        want(not self.faults, f"stale linearizable reads: {self.faults[:3]}")
        want(all(self.reads.values()), f"no reads: {self.reads}")


def paused_leader(c):
    counting, leader = Counting(c), c.leader
    time.sleep(0.7)
    before = counting.acknowledged
    want(before > 0, "nothing was written")
    leader.process.send_signal(signal.SIGSTOP)
    begun, stale = time.monotonic(), False
    others = [n for n in c.nodes if n is not leader]
    while time.monotonic() < begun + 6 and not (stale and counting.acknowledged > before + 5):
        for node in others: # cut off from its leader until there is another
            given = query(node, "none", "SELECT 1", "&freshness=250ms")
            stale = stale or given.text == STALE
            want(given.text == STALE or given.rows() == [[1]], f"freshness: {given}")
            want(query(node, "none", "SELECT 1").rows() == [[1]], "none without a leader")
    want(stale, "nothing was stale although the leader stood still")
    want(counting.acknowledged > before + 5, "no writes without the paused leader")
    end = time.monotonic() + 3
    while any(query(n, "none", "SELECT 1", "&freshness=2s&freshness_strict").text == STALE for n in others):
        want(time.monotonic() < end, "still stale with a new leader")
    leader.process.send_signal(signal.SIGCONT) # and believes for a moment that it leads
    time.sleep(1)
    counting.end()
    return counting


def freshness(c):
    for node in c.followers + [c.replica]:
        want(query(node, "none", "SELECT 1", "&freshness=1ns").text == STALE, "freshness=1ns")
        want(query(node, "none", "SELECT 1", "&freshness=5s&freshness_strict").rows() == [[1]], "freshness=5s")
        want(query(node, "weak", "SELECT 1", "&freshness=1ns").rows() == [[1]], "freshness with weak")
    want(query(c.leader, "none", "SELECT 1", "&freshness=1ns").rows() == [[1]], "freshness on the leader")
    want(query(c.replica, "auto", "SELECT 1", "&freshness=1ns").text == STALE, "freshness with auto")
    given = ask(c.replica, "POST", "/db/request?level=auto&freshness=1ns", ["SELECT 1"])
    want(given.text == STALE, "freshness with auto on /db/request")


# ---- leaders come and go ----------------------------------------------------------------------------------------


def stepdown(c):
    heir = c.followers[1]
    given = ask(c.followers[0], "POST", "/leader?wait", {"id": heir.name})
    want(given.status == 200 and given.served_by == raft(c.leader), f"stepdown through a follower: {given}")
    end = time.monotonic() + 5
    while wait_leader(c.voters) is not heir:
        want(time.monotonic() < end, "the named successor does not lead")
    c.steady()


def retries(c):
    follower = c.followers[0]
    c.leader.kill()
    given = ask(follower, "POST", "/db/execute?retries=50&timeout=10s", ["INSERT INTO t(v) VALUES(3)"])
    # Sent before the connection was known to be dead: its outcome is unknown, and it is not sent again.
    want(given.status == 200 and ("error" not in given.text or "connection reset" in given.text), f"write: {given}")
    c.leader.start()
    c.steady()
    c.leader.kill()
    given = query(c.followers[0], "linearizable", "SELECT count(*)>0 FROM t", "&retries=50")
    want(given.text.endswith("[[1]]}]}"), f"linearizable: {given}")
    c.leader.start()
    c.steady()
    c.leader.kill()
    given = query(c.replica, "weak", "SELECT count(*)>0 FROM t", "&retries=50")
    want(given.text.endswith("[[1]]}]}"), f"weak: {given}")
    c.leader.start()
    c.steady()


def no_leader(c):
    for node in c.followers:
        node.process.send_signal(signal.SIGSTOP)
    alone, end = c.leader, time.monotonic() + 5
    while query(alone, "weak", "SELECT 1").status == 200:
        want(time.monotonic() < end, "a leader without followers goes on")
        time.sleep(0.02)
    count = lambda: json.loads(ask(alone, "GET", "/debug/vars?key=http").text)["http"]["leader_not_found"]
    before = count()
    for level in ("weak", "linearizable", "strong", "auto"):
        given = query(alone, level, "SELECT 1")
        want((given.status, given.text) == (503, "leader not found\n"), f"{level}: {given}")
        want(query(alone, level, "SELECT 1", "&redirect").status == 500, f"{level} with redirect")
    for method, path, body in (("POST", "/db/execute", ["SELECT 1"]), ("POST", "/leader?wait", None),
                               ("DELETE", "/remove", {"id": "x"})):
        given = ask(alone, method, path, body)
        want((given.status, given.text) == (503, "leader not found\n"), f"{path}: {given}")
    want(count() == before + 11, f"http.leader_not_found counted {count() - before} of 11")
    for node in (alone, c.replica):
        want(query(node, "none", "SELECT 1").rows() == [[1]], "none without a leader")
        want(query(node, "none", "SELECT 1", "&freshness=10ms").text == STALE, "freshness without a leader")
    want(query(c.replica, "auto", "SELECT 1").served_by == own(c.replica), "auto on a replica without a leader")
    for node in c.followers:
        node.process.send_signal(signal.SIGCONT)
    c.steady()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rqlited")
    parser.add_argument("--verbose", action="store_true")
    given = parser.parse_args()
    begun = time.monotonic()
    with Field(given.rqlited) as field:
        c = Cluster(field)
        for case in (table, redirects, wait_index, limits, freshness, stepdown, paused_leader, no_leader, retries):
            at = time.monotonic()
            c.steady()
            result = case(c)
            if given.verbose:
                print(f"  {case.__name__:14} {time.monotonic() - at:.1f} s", flush=True)
            if isinstance(result, Counting):
                print(f"leader paused: {result.acknowledged} writes, linearizable reads by node {result.reads}, "
                      f"{result.refused} refused; none was stale")
        wait_equal(c.nodes)
    print(f"all levels on all kinds of node: {time.monotonic() - begun:.1f} s")


if __name__ == "__main__":
    main()
