#!/usr/bin/env python3
"""kill -9 at random moments, under writers, with snapshots every few entries; after each round all is counted.

    kills.py PATH/TO/rqlited [--rounds 5] [--modes memory,on-disk] [--sizes 1,3] [--seed N]

A round: writers on every node; one to all of the nodes die at once, some of them again while they start; they come
back; then, on every node: PRAGMA integrity_check, every acknowledged row exactly once, rows of unknown outcome once or
not at all, none that nobody sent, both rows of a transaction or neither, acknowledged rows of a writer in its order, and
the same content. --rounds counts per mode and size. Exit status 0: all kept."""
import argparse
import collections
import http.client
import random
import threading
import time

from nodes import Client, Field, want, wait_equal

SNAP_ENTRIES = 24
SCHEMA = ("CREATE TABLE t(seq INTEGER PRIMARY KEY AUTOINCREMENT, round, writer, id, half, v)",
          "CREATE TABLE blobs(k INTEGER PRIMARY KEY, v)")
BLOBS = "INSERT INTO blobs(k, v) VALUES(?, randomblob(?)) ON CONFLICT(k) DO UPDATE SET v=excluded.v"
ROW = "INSERT INTO t(round, writer, id, half, v) VALUES(?, ?, ?, ?, hex(randomblob(?)))"


class Writer(threading.Thread):
    """Writes one after the other, through one node after the other. Every id is sent once; what became of it is known
    (acked, refused) or not (unknown)."""

    def __init__(self, nodes, number, turn, seed):
        super().__init__(daemon=True)
        self.nodes, self.number, self.turn, self.rng = nodes, number, turn, random.Random(seed)
        self.acked, self.unknown, self.halves, self.ended = [], set(), {}, False

    def statements(self, ident):
        row = [ROW, self.turn, self.number, ident]
        size = self.rng.choice((10, 10, 200, 3000))
        if self.rng.random() < 0.3:
            return [row + [1, size], [BLOBS, self.rng.randrange(40), self.rng.choice((100, 5000, 30000))], row + [2, 10]]
        return [row + [1, size]]

    def run(self):
        ident = 0
        while not self.ended:
            ident += 1
            statements = self.statements(ident)
            self.halves[ident] = 1 if len(statements) == 1 else 2
            client = Client(self.rng.choice(self.nodes).http, 5)
            try:
                client.connect()
            except OSError:
                time.sleep(0.01)
                continue  # nothing was sent
            self.unknown.add(ident)
            try:
                answer = client.ask("POST", "/db/execute?transaction", statements)
                result = answer.json() if answer.status == 200 else {}
                if result.get("results") and "error" not in result and all("error" not in r for r in result["results"]):
                    self.unknown.discard(ident)
                    self.acked.append(ident)
                else:
                    time.sleep(0.01)
            except (OSError, http.client.HTTPException, ValueError):
                time.sleep(0.01)
            finally:
                client.close()


def kill_and_start(victims, rng):
    for node in victims:
        node.process.kill()
    for node in victims:
        node.process.wait()
    time.sleep(rng.choice((0, 0, 0.05, 0.4)))
    for node in victims:
        node.start()
    again = 0
    for node in victims:
        if rng.random() < 0.3:  # while it recovers
            time.sleep(rng.uniform(0, 0.25))
            node.kill()
            node.start()
            again += 1
    return again


def check_writer(node, writer, rows):
    """rows: (id, half) in the order in which they were applied."""
    count = collections.Counter(rows)
    words = f"{node.name}, round {writer.turn}, writer {writer.number}"
    twice = [r for r, n in count.items() if n > 1]
    want(not twice, f"{words}: rows there twice: {twice[:5]}")
    missing = [i for i in writer.acked if (i, 1) not in count]
    want(not missing, f"{words}: {len(missing)} acknowledged rows are missing: {missing[:5]}")
    invented = [r for r in count if r[0] not in writer.halves or r[1] > writer.halves[r[0]]]
    want(not invented, f"{words}: rows nobody sent: {invented[:5]}")
    acked = set(writer.acked)
    never = [r for r in count if r[0] not in acked and r[0] not in writer.unknown]
    want(not never, f"{words}: rows that were never sent: {never[:5]}")
    halves = collections.Counter(i for i, _ in count)
    broken = [i for i, n in halves.items() if n != writer.halves[i]]
    want(not broken, f"{words}: half of a transaction: {broken[:5]}")
    order = [i for i, half in rows if half == 1 and i in acked]
    want(order == sorted(order), f"{words}: acknowledged rows out of order")


SUMS = "SELECT round, count(*), sum(id), sum(length(v)) FROM t GROUP BY 1 ORDER BY 1"


def wait_digests(nodes, limit_s=30):
    """Until all have applied the same entries; then what came of them is the same, too."""
    end = time.monotonic() + limit_s
    while True:
        held = [n.ask("GET", "/status?key=store.digest").json() for n in nodes]
        if len({h["index"] for h in held}) == 1:
            want(len({h["digest"] for h in held}) == 1, f"digests differ: {held}")
            return
        want(time.monotonic() < end, f"applied indexes still differ after {limit_s} s: {held}")
        time.sleep(0.02)


def check(nodes, writers, turn, old):
    wait_digests(nodes)
    blobs = nodes[0].rows("SELECT k, hex(v) FROM blobs ORDER BY k")
    for node in nodes:
        want(node.rows("SELECT k, hex(v) FROM blobs ORDER BY k") == blobs, f"{node.name}: another content of blobs")
        want(node.rows("PRAGMA integrity_check") == [["ok"]], f"{node.name}: integrity_check")
        for writer in writers:
            rows = node.rows(f"SELECT id, half FROM t WHERE round={turn} AND writer={writer.number} ORDER BY seq")
            check_writer(node, writer, [tuple(r) for r in rows])
        earlier = [row for row in node.rows(SUMS) if row[0] < turn]
        want(earlier == old, f"{node.name}: rows of earlier rounds changed: {earlier} instead of {old}")


class Tally:
    def __init__(self):
        self.kills = self.again = self.acked = self.unknown = self.landed = 0
        self.ready_s = 0.0


def one_round(nodes, turn, old, rng, tally):
    writers = [Writer(nodes, i, turn, rng.random()) for i in range(4)]
    for writer in writers:
        writer.start()
    time.sleep(rng.uniform(0.05, 0.7))
    if rng.random() < 0.3:
        threading.Thread(target=ask_snapshot, args=(rng.choice(nodes),), daemon=True).start()
        time.sleep(rng.uniform(0, 0.03))
    victims = rng.sample(nodes, rng.choice((1, 1, 1, len(nodes), rng.randint(1, len(nodes)))))
    start = time.monotonic()
    tally.again += kill_and_start(victims, rng)
    tally.kills += len(victims)
    for node in nodes:
        node.wait_ready()
    tally.ready_s = max(tally.ready_s, time.monotonic() - start)
    time.sleep(rng.uniform(0, 0.2))
    for writer in writers:
        writer.ended = True
    for writer in writers:
        writer.join()
    check(nodes, writers, turn, old)
    tally.acked += sum(len(w.acked) for w in writers)
    tally.unknown += sum(len(w.unknown) for w in writers)


def ask_snapshot(node):
    try:
        node.ask("POST", "/snapshot")
    except (OSError, http.client.HTTPException):
        pass


def field_nodes(field, mode, size):
    flags = ["-raft-snap", str(SNAP_ENTRIES), "-raft-snap-int", "50ms"] + (["-on-disk"] if mode == "on-disk" else [])
    if size == 3:
        return field.three(flags=flags, prefix=mode + "-")
    return [field.node(mode, flags=flags).start()]


def campaign(field, mode, size, rounds, rng):
    nodes = field_nodes(field, mode, size)
    for node in nodes:
        node.wait_ready()
    for sql in SCHEMA:
        nodes[0].execute(sql)
    tally, old = Tally(), []
    for turn in range(rounds):
        one_round(nodes, turn, old, rng, tally)
        if turn % 4 == 3:  # old rows leave, so that the file shrinks inside and pages are used again
            nodes[0].execute("DELETE FROM t WHERE round < ? OR id % 3 = 0", turn - 6)
        if turn % 16 == 15:
            nodes[0].execute("VACUUM")
        wait_digests(nodes)
        old = nodes[0].rows(SUMS)
    wait_equal(nodes)
    for node in nodes:
        node.kill()
    return (f"{rounds} rounds, {tally.kills} kills and {tally.again} more while starting; {tally.acked} acknowledged "
            f"writes, {tally.unknown} unknown; ready again within {tally.ready_s:.1f} s")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("rqlited")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--modes", default="memory,on-disk")
    parser.add_argument("--sizes", default="1,3")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 31))
    given = parser.parse_args()
    print("seed", given.seed, flush=True)
    with Field(given.rqlited) as field:
        for mode in given.modes.split(","):
            for size in map(int, given.sizes.split(",")):
                start = time.monotonic()
                words = campaign(field, mode, size, given.rounds, random.Random(given.seed))
                print(f"ok   {mode}, {size} node(s): {words} ({time.monotonic() - start:.0f} s)", flush=True)


if __name__ == "__main__":
    main()
