#!/usr/bin/env python3
"""Writes with idempotency keys and conditions against real nodes: kill -9 of the leader between a write and
its retry, retries through other nodes, a restart of all.

    keys.py PATH/TO/rqlited

Exit status 0: all passed."""
import collections
import http.client
import json
import sys
import threading
import time
import urllib.parse

from nodes import Field, wait_equal, wait_leader, want

WRITERS = 6
LIMIT_S = 20


class Reply:
    def __init__(self, answer):
        self.status, self.replayed = answer.status, answer.getheader("Idempotency-Replayed") == "true"
        self.body = answer.read()

    def json(self):
        return json.loads(self.body)

    def done(self):
        """The request has an outcome. Everything else may be sent again."""
        return self.status in (412, 422) or self.status == 200 and "error" not in self.json()

    def __repr__(self):
        return f"{self.status} {'replayed ' if self.replayed else ''}{self.body!r}"


def ask(node, path, statements, key=None, timeout_s=5):
    connection = http.client.HTTPConnection("127.0.0.1", node.http, timeout=timeout_s)
    try:
        headers = {"Content-Type": "application/json"}
        if key is not None:
            headers["Idempotency-Key"] = key
        connection.request("POST", path, json.dumps(statements), headers)
        return Reply(connection.getresponse())
    finally:
        connection.close()


def ask_until_done(nodes, path, statements, key):
    """Through one node after the other, as a client does that must know."""
    end, tries = time.monotonic() + LIMIT_S, 0
    while time.monotonic() < end:
        node = nodes[tries % len(nodes)]
        tries += 1
        try:
            reply = ask(node, path, statements, key)
            if reply.done():
                return reply, tries
        except (OSError, http.client.HTTPException):
            pass
        time.sleep(0.02)
    want(False, f"no outcome for key {key} within {LIMIT_S} s")


def condition(query, rows=None, **more):
    parts = dict(more, **{"if": json.dumps(query)})
    if rows is not None:
        parts["is"] = json.dumps(rows)
    return "/db/execute?raft_index&" + urllib.parse.urlencode(parts)


def others(nodes, node):
    return [n for n in nodes if n is not node]


# ---- keys ------------------------------------------------------------------------------------------------------


def key_through_every_node(nodes):
    sql = [["INSERT INTO t(n) VALUES(?) RETURNING id, n", 1]]
    first = ask(nodes[0], "/db/execute?raft_index", sql, "every-node")
    want(first.status == 200 and not first.replayed, f"first: {first}")
    for node in nodes:
        again = ask(node, "/db/execute?raft_index", sql, "every-node")
        want(again.replayed and again.body == first.body, f"{again} instead of {first}")
        other = ask(node, "/db/execute", [["INSERT INTO t(n) VALUES(2)"]], "every-node")
        want(other.status == 422 and b"different request" in other.body, f"reused: {other}")
    shown = ask(nodes[1], "/db/execute?associative", sql, "every-node")
    want(shown.replayed and shown.json()["results"][0]["rows"] == [{"id": 1, "n": 1}], f"associative: {shown}")
    failed = [ask(node, "/db/execute", [["INSERT INTO t(id) VALUES(1)"]], "fails") for node in nodes]
    want(len({f.body for f in failed}) == 1 and [f.replayed for f in failed] == [False, True, True], f"fails: {failed}")
    bad = ask(nodes[0], "/db/execute", sql, "not visible")
    want(bad.status == 400, f"bad key: {bad}")


def leader_killed_between_write_and_retry(nodes):
    leader = wait_leader(nodes)
    asked = others(nodes, leader)[0]
    sql = [["INSERT INTO t(n) VALUES(?)", 1000]]
    first = ask(asked, "/db/execute?raft_index", sql, "killed")
    want(first.status == 200, f"first: {first}")
    leader.kill()
    again, tries = ask_until_done(others(nodes, leader), "/db/execute?raft_index", sql, "killed")
    want(again.replayed and again.body == first.body, f"{again} instead of {first}")
    print(f"leader killed between write and retry: the same answer at the {tries}. try")
    leader.start().wait_ready()


class Writers:
    """Threads that write numbers, each under its key, and send a number again until it has an outcome."""

    def __init__(self, nodes):
        self.nodes, self.done, self.retried, self.replayed, self.strange = nodes, set(), 0, 0, []
        self.lock, self.stopping = threading.Lock(), threading.Event()
        self.threads = [threading.Thread(target=self.run, args=(i,), daemon=True) for i in range(WRITERS)]
        for t in self.threads:
            t.start()

    def run(self, which):
        number = 10_000 * (which + 1)
        while not self.stopping.is_set():
            number += 1
            turned = self.nodes[number % 3:] + self.nodes[:number % 3]
            reply, tries = ask_until_done(turned, "/db/execute", [["INSERT INTO t(n) VALUES(?)", number]], f"w{number}")
            with self.lock:
                self.done.add(number)
                self.retried += tries > 1
                self.replayed += reply.replayed
                if reply.status != 200 or reply.json()["results"][0].get("rows_affected") != 1:
                    self.strange.append(reply)

    def stop(self):
        self.stopping.set()
        for t in self.threads:
            t.join(LIMIT_S + 5)
            want(not t.is_alive(), "a writer hangs")


def leaders_killed_under_load(nodes, rounds):
    writers = Writers(nodes)
    for _ in range(rounds):
        time.sleep(0.4)
        leader = wait_leader(nodes)
        leader.kill()
        wait_leader(others(nodes, leader))
        leader.start().wait_ready()
    writers.stop()
    print(f"{len(writers.done)} writes, {writers.retried} sent again, {writers.replayed} of them found written")
    want(not writers.strange, f"strange answers: {writers.strange[:3]}")
    want(writers.retried > 0, "nothing was ever sent again: the test has shown nothing")
    _, tables = wait_equal(nodes)
    seen = collections.Counter(row[2] for row in tables["t"] if row[2] >= 10_000)
    twice = [n for n, count in seen.items() if count > 1]
    want(not twice, f"written twice: {twice[:5]}")
    want(seen.keys() == writers.done, f"missing {list(writers.done - seen.keys())[:5]}, "
         f"unasked {list(seen.keys() - writers.done)[:5]}")


def keys_outlive_a_restart_of_all(nodes):
    for node in nodes:
        node.kill()
    for node in nodes:
        node.start()
    for node in nodes:
        node.wait_ready()
    before = nodes[0].rows("SELECT count(*) FROM t", "strong")
    for key, number in (("killed", 1000), ("w10001", 10001)):
        again, _ = ask_until_done(nodes, "/db/execute", [["INSERT INTO t(n) VALUES(?)", number]], key)
        want(again.replayed and again.json()["results"][0]["rows_affected"] == 1, f"{key}: {again}")
    want(nodes[0].rows("SELECT count(*) FROM t", "strong") == before, "a retry after the restart wrote again")


# ---- conditions ---------------------------------------------------------------------------------------------------


def conditions_are_judged_at_apply(nodes):
    follower = others(nodes, wait_leader(nodes))[0]
    create = ask(follower, "/db/execute?raft_index", ["CREATE TABLE doc(id INTEGER PRIMARY KEY, version)",
                                                      "INSERT INTO doc VALUES(7,0)"])
    since = create.json()["raft_index"]
    update = ["UPDATE doc SET version=version+1 WHERE id=7"]
    query = ["SELECT version FROM doc WHERE id=?", 7]
    met = ask(follower, condition(query, [[0]], if_index=since), update)
    want(met.status == 200 and met.json()["results"][0]["rows_affected"] == 1, f"met: {met}")
    unmet = ask(follower, condition(query, [[0]]), update)
    want(unmet.status == 412 and unmet.json()["error"] == "condition not met" and "raft_index" in unmet.json(),
         f"unmet: {unmet}")
    stale = ask(follower, f"/db/execute?if_index={since}", update)
    want(stale.status == 412, f"if_index: {stale}")
    error = ask(follower, condition("SELECT * FROM nowhere"), update)
    want(error.json() | {"raft_index": 0} == {"results": [], "error": "condition: no such table: nowhere", "raft_index": 0},
         f"error: {error}")
    for path in (condition("DELETE FROM doc"), "/db/execute?queue&if_index=1"):
        bad = ask(follower, path, update)
        want(bad.status == 400, f"{path}: {bad}")
    want(follower.rows("SELECT version FROM doc", "strong") == [[1]], "a condition that was not met has written")


def counter_loses_no_update(nodes):
    """Clients that read, add one, and write only if it is still what they read."""
    met = collections.Counter()
    lock = threading.Lock()

    def count(which):
        for _ in range(25):
            node = nodes[which % 3]
            value = node.rows("SELECT version FROM doc WHERE id=7", "linearizable")[0][0]
            reply = ask(node, condition("SELECT version FROM doc WHERE id=7", [[value]]),
                        [["UPDATE doc SET version=? WHERE id=7", value + 1]])
            want(reply.status in (200, 412), f"{reply}")
            with lock:
                met[reply.status] += 1

    before = nodes[0].rows("SELECT version FROM doc WHERE id=7", "strong")[0][0]
    threads = [threading.Thread(target=count, args=(i,), daemon=True) for i in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(30)
    after = nodes[0].rows("SELECT version FROM doc WHERE id=7", "strong")[0][0]
    print(f"counter: {met[200]} updates, {met[412]} conditions not met")
    want(met.total() == 100, "a client ended early")
    want(after - before == met[200], f"{after - before} counted, {met[200]} acknowledged")
    want(met[412] > 0, "nobody ever came in between: the test has shown nothing")


def main():
    begun = time.monotonic()
    with Field(sys.argv[1]) as field:
        nodes = field.three()
        for node in nodes:
            node.wait_ready()
        wait_leader(nodes)
        nodes[0].execute("CREATE TABLE t(id INTEGER PRIMARY KEY, n)")
        key_through_every_node(nodes)
        leader_killed_between_write_and_retry(nodes)
        leaders_killed_under_load(nodes, 2)
        keys_outlive_a_restart_of_all(nodes)
        conditions_are_judged_at_apply(nodes)
        counter_loses_no_update(nodes)
        wait_equal(nodes)
        for node in nodes:
            node.terminate()
            want(node.process.returncode == 0, f"node {node.name} ended with {node.process.returncode}")
    print(f"passed in {time.monotonic() - begun:.1f} s")


if __name__ == "__main__":
    main()
