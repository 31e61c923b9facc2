#!/usr/bin/env python3
"""Other processes at the file of a node that runs with -on-disk: they read, and can do nothing else; nor can they do
harm that is not noticed, whatever they do after the node was killed.

    tests/integration/strangers.py RQLITED [--kills 6]
"""
import argparse
import os
import random
import sqlite3
import subprocess
import sys
import threading
import time

from nodes import Field, want
from snapshots import SMALL, Writer, status

LOCKED = ["BEGIN IMMEDIATE", "BEGIN EXCLUSIVE", "VACUUM", "DELETE FROM t", "CREATE TABLE u(a)", "PRAGMA journal_mode=DELETE"]
CHECKPOINTS = ["PASSIVE", "FULL", "RESTART", "TRUNCATE"]
READ = "SELECT count(*), count(v), max(id) FROM t"


def stranger(path, *statements):
    """In a process of its own, as locks are; one line for each statement: rows, or the error."""
    code = ("import sqlite3, sys\n"
            "c = sqlite3.connect(sys.argv[1], timeout=0.3, isolation_level=None)\n"
            "for sql in sys.argv[2:]:\n"
            "    try:\n"
            "        print(c.execute(sql).fetchall())\n"
            "    except sqlite3.Error as e:\n"
            "        print('error', e)\n")
    done = subprocess.run([sys.executable, "-c", code, path, *statements], capture_output=True, text=True, timeout=60, check=True)
    return done.stdout.splitlines()


def path_of(node):
    return os.path.join(node.folder, "db.sqlite")


class Visitors(threading.Thread):
    """Strangers of every kind, one after the other, until stopped."""

    def __init__(self, node):
        super().__init__()
        self.path, self.ended, self.visits, self.wrong = path_of(node), False, 0, []

    def run(self):
        seen = 0
        while not self.ended:
            lines = stranger(self.path, READ, *LOCKED, *[f"PRAGMA wal_checkpoint({k})" for k in CHECKPOINTS], READ)
            self.visits += 1
            counts = [line for line in (lines[0], lines[-1]) if line.startswith("[(")]
            if len(counts) != 2:
                self.wrong.append(f"a read failed: {lines}")
                continue
            first, last = (int(c[2:].split(",")[0]) for c in counts)
            if not seen <= first <= last:
                self.wrong.append(f"counts went back: {seen}, {first}, {last}")
            seen = last
            for sql, line in zip(LOCKED, lines[1:]):
                if line != "error database is locked":
                    self.wrong.append(f"{sql}: {line}")
            for kind, line in zip(CHECKPOINTS, lines[1 + len(LOCKED):]):
                if line != "[(1, -1, -1)]":  # busy: how SQLite tells it of a checkpoint
                    self.wrong.append(f"wal_checkpoint({kind}): {line}")

    def stop(self):
        self.ended = True
        self.join()


def check(node, acked):
    held = [row[0] for row in node.rows("SELECT id FROM t ORDER BY id")]
    missing = sorted(set(acked) - set(held))
    want(not missing, f"{len(missing)} acknowledged rows are missing, first {missing[:3]}")
    want(len(held) == len(set(held)), "a row is there twice")
    want(node.rows("PRAGMA integrity_check") == [["ok"]], "integrity_check")


def alive(node):
    """The writer is undisturbed, snapshots go on, strangers read what is committed."""
    writer, visitors = Writer([node]), Visitors(node)
    writer.start()
    while len(writer.acked) < 5:
        time.sleep(0.02)
    visitors.start()
    while len(writer.acked) < 600 or visitors.visits < 3:
        time.sleep(0.05)
    before = status(node)["raft"]["last_snapshot_index"]
    visitors.stop()
    writer.stop()
    want(not visitors.wrong, f"{visitors.wrong[:3]}")
    want(before > 100, "no snapshots beside strangers")
    want(writer.next - len(writer.acked) <= 1, f"{writer.next - len(writer.acked)} writes failed beside strangers")
    want(os.stat(path_of(node)).st_mode & 0o222 == 0, "the file's mode lets others write")
    lines = stranger(path_of(node), READ)
    want(lines[0].startswith(f"[({len(writer.acked)},"), f"{lines}, not {len(writer.acked)} rows")
    check(node, writer.acked)
    return writer, visitors.visits


def held_open(node):
    """One who keeps a transaction open sees one state, holds snapshots back, and nothing else."""
    path = path_of(node)
    code = ("import sqlite3, sys\nc = sqlite3.connect(sys.argv[1], isolation_level=None)\nc.execute('BEGIN')\n"
            "n = c.execute('SELECT count(*) FROM t').fetchall()\nprint('open', flush=True)\nsys.stdin.readline()\n"
            "print(n == c.execute('SELECT count(*) FROM t').fetchall(), flush=True)\n")
    with subprocess.Popen([sys.executable, "-c", code, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as p:
        want(p.stdout.readline() == "open\n", "a stranger's transaction")
        for i in range(60):
            node.execute("INSERT INTO t(id, v) VALUES(?, 'held')", 1000000 + i)
        index = status(node)["raft"]["applied_index"]
        want(status(node)["raft"]["last_snapshot_index"] < index - 20, "a snapshot passed a reader")
        p.stdin.write("\n")
        p.stdin.flush()
        want(p.stdout.readline() == "True\n", "a stranger's transaction saw two states")
    end = time.monotonic() + 20
    while status(node)["raft"]["last_snapshot_index"] < index - 60:
        want(time.monotonic() < end, "no snapshot after the reader had gone")
        time.sleep(0.05)


def refused(node, limit_s=20):
    """The start is refused with the file's name."""
    node.start()
    end = time.monotonic() + limit_s
    while node.process.poll() is None:
        want(time.monotonic() < end, "a start that should be refused was not")
        time.sleep(0.02)
    want(path_of(node) in node.words().split("launch command")[-1], "the refusal does not name the file")


def after_kills(field, node, writer, count):
    """Reading does no harm; writing is noticed. What was there is put back, and the node goes on."""
    rng = random.Random(3)
    harmless = [[READ], ["PRAGMA integrity_check"], [f"PRAGMA wal_checkpoint({rng.choice(CHECKPOINTS)})"], ["BEGIN IMMEDIATE", "ROLLBACK"]]
    harmful = [["INSERT INTO t(id, v) VALUES(-1, 'stranger')"], ["VACUUM"], ["UPDATE t SET v='stranger' WHERE id=3"], ["DELETE FROM t"]]
    acked = list(writer.acked)
    for turn in range(count):
        writer = Writer([node], writer.next)
        writer.start()
        time.sleep(rng.uniform(0.1, 0.5))
        node.kill()
        writer.stop()
        acked += writer.acked
        if turn % 2 == 0:
            for statements in harmless:
                stranger(path_of(node), *statements)
            node.start()
        else:
            with open(path_of(node), "rb") as f:
                before = f.read()
            lines = stranger(path_of(node), *harmful[turn // 2 % len(harmful)])
            want("error" not in lines[0], f"a stranger at a dead node: {lines}")
            refused(node)
            os.chmod(path_of(node), 0o644)
            with open(path_of(node), "wb") as f:
                f.write(before)
            for suffix in ("-wal", "-shm"):
                if os.path.exists(path_of(node) + suffix):
                    os.remove(path_of(node) + suffix)
            node.start()
        node.wait_ready()
        check(node, acked)
    return f"{count} kills, {len(acked)} acknowledged rows, none missing or twice; {count // 2} starts refused"


def stopped(node, rows):
    """After a stop it is an ordinary database, alone; what reads it leaves it as it is."""
    node.terminate()
    left = [s for s in ("-wal", "-shm", "-journal") if os.path.exists(path_of(node) + s)]
    want(not left, f"a stop leaves {left}")
    want(stranger(path_of(node), "PRAGMA integrity_check") == ["[('ok',)]"], "integrity_check of a stranger")
    stranger(path_of(node), READ)
    node.start()
    node.wait_ready()
    want(node.rows("SELECT count(*) FROM t") == rows, "rows after a stop and a reader")


def in_use(node):
    """Who had the file open before the start must go first."""
    node.terminate()
    conn = sqlite3.connect(path_of(node), isolation_level=None)
    conn.execute("BEGIN")
    conn.execute(READ).fetchall()
    refused(node)
    conn.close()
    node.start()
    node.wait_ready()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("rqlited")
    parser.add_argument("--kills", type=int, default=6)
    given = parser.parse_args()
    with Field(given.rqlited) as field:
        node = field.node("s", flags=SMALL + ["-on-disk"]).start()
        node.wait_ready()
        node.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, v)")
        writer, visits = alive(node)
        print(f"ok   alive: {len(writer.acked)} rows beside {visits} visits", flush=True)
        held_open(node)
        print("ok   a transaction held open", flush=True)
        stopped(node, node.rows("SELECT count(*) FROM t"))
        print("ok   stopped", flush=True)
        in_use(node)
        print("ok   in use at the start", flush=True)
        print("ok   killed:", after_kills(field, node, writer, given.kills), flush=True)


if __name__ == "__main__":
    main()
