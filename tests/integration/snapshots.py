#!/usr/bin/env python3
"""Snapshots of real nodes: the log is let go, starts begin with the image, who lacks the log is sent it.

    tests/integration/snapshots.py RQLITED [--kills 10]
"""
import argparse
import os
import random
import threading
import time

from nodes import Client, Field, wait_equal, wait_leader, want

SMALL = ["-raft-snap", "40", "-raft-snap-int", "100ms"]


def status(node):
    return node.ask("GET", "/status").json()["store"]


def wait_snapshot(node, index, limit_s=20):
    end = time.monotonic() + limit_s
    while status(node)["raft"]["last_snapshot_index"] <= index:
        want(time.monotonic() < end, f"no snapshot behind index {index} within {limit_s} s")
        time.sleep(0.05)


def log_bytes(node):
    folder = os.path.join(node.folder, "raft")
    return sum(os.path.getsize(os.path.join(folder, f)) for f in os.listdir(folder))


class Writer(threading.Thread):
    """Numbers, one by one, through one node after the other; remembers which were acknowledged."""

    def __init__(self, nodes, first=0):
        super().__init__()
        self.nodes, self.next, self.acked, self.ended = nodes, first, [], False

    def run(self):
        turn = 0
        while not self.ended:
            node = self.nodes[turn % len(self.nodes)]
            turn += 1
            client = Client(node.http, 5)
            try:
                answer = client.ask("POST", "/db/execute", [["INSERT INTO t(id, v) VALUES(?, hex(randomblob(200)))", self.next]])
                result = answer.json() if answer.status == 200 else {}
                if "error" not in result and result.get("results") and "error" not in result["results"][0]:
                    self.acked.append(self.next)
            except Exception:  # pylint: disable=broad-except
                time.sleep(0.02)
            finally:
                client.close()
            self.next += 1

    def stop(self):
        self.ended = True
        self.join()


def check(nodes, acked):
    wait_equal(nodes)
    held = {row[0] for row in nodes[0].rows("SELECT id FROM t")}
    missing = [i for i in acked if i not in held]
    want(not missing, f"{len(missing)} acknowledged rows are missing, first {missing[:3]}")
    for node in nodes:
        want(node.rows("PRAGMA integrity_check") == [["ok"]], f"{node.name}: integrity_check")


def one_node(field, flags):
    node = field.node("one" + "".join(flags), flags=SMALL + flags).start()
    node.wait_ready()
    want(node.ask("POST", "/snapshot").status == 200, "a first snapshot")
    want(node.ask("POST", "/snapshot").status == 204, "a second one has nothing new")
    node.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, v)")
    for i in range(300):
        node.execute("INSERT INTO t(v) VALUES(?)", "x" * 100)
    wait_snapshot(node, 200)
    node.execute("PRAGMA recursive_triggers=ON")
    want(node.ask("POST", "/snapshot?trailing_logs=1").status == 200, "a snapshot")
    want(len(status(node)["snapshot_store"]["snapshots"]) == 1, "one snapshot is told")
    node.kill()
    node.start()
    node.wait_ready()
    want(node.rows("SELECT count(*) FROM t") == [[300]], "rows after a kill")
    answer = node.ask("POST", "/db/execute", ["CREATE TABLE u(a)"]).json()
    want(answer["results"] == [{"last_insert_id": 300, "rows_affected": 1}], f"sticky values are kept: {answer}")
    node.terminate()
    node.start()
    node.wait_ready()
    want(node.rows("SELECT count(*) FROM t") == [[300]], "rows after a stop")
    node.terminate()
    return f"{log_bytes(node)} bytes of log"


def cluster(field, _flags):
    """A node that was away while the log was cut, and one that joins afterwards, are sent the image."""
    nodes = field.three(flags=SMALL)
    for node in nodes:
        node.wait_ready()
    nodes[0].execute("CREATE TABLE t(id INTEGER PRIMARY KEY, v)")
    leader = wait_leader(nodes)
    away = next(n for n in nodes if n is not leader)
    away.kill()
    writer = Writer([n for n in nodes if n is not away])
    writer.start()
    while len(writer.acked) < 400:
        time.sleep(0.05)
    away.start()
    away.wait_ready()
    fourth = field.node("4", flags=SMALL + ["-join", f"http://localhost:{nodes[0].http}"]).start()
    fourth.wait_ready()
    time.sleep(0.3)
    writer.stop()
    check(nodes + [fourth], writer.acked)
    for node in (away, fourth):
        want("installed the image of index" in node.words(), f"{node.name} was not sent an image")
    return f"{len(writer.acked)} rows, two nodes were sent an image"


def kills(field, flags, count):
    rng = random.Random(7)
    nodes = field.three(flags=SMALL, prefix="k")
    for node in nodes:
        node.wait_ready()
    nodes[0].execute("CREATE TABLE t(id INTEGER PRIMARY KEY, v)")
    acked, first = [], 0
    for _ in range(count):
        writer = Writer(nodes, first)
        writer.start()
        time.sleep(rng.uniform(0.1, 0.6))
        victim = rng.choice(nodes)
        victim.kill()
        time.sleep(rng.uniform(0.0, 0.4))
        victim.start()
        victim.wait_ready()
        writer.stop()
        acked += writer.acked
        first = writer.next
    check(nodes, acked)
    return f"{count} kills, {len(acked)} acknowledged rows, none missing"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("rqlited")
    parser.add_argument("--kills", type=int, default=5)
    given = parser.parse_args()
    with Field(given.rqlited) as field:
        print("ok   in memory:", one_node(field, []), flush=True)
        print("ok   on disk:", one_node(field, ["-on-disk"]), flush=True)
        print("ok   cluster:", cluster(field, []), flush=True)
        print("ok   kills:", kills(field, [], given.kills), flush=True)


if __name__ == "__main__":
    main()
