#!/usr/bin/env python3
"""When real nodes take snapshots: after so many entries, after so many bytes, on a stop; and when they do not.

    tests/integration/triggers.py RQLITED
"""
import argparse
import time

from nodes import Field, want


def store(node):
    return node.ask("GET", "/status").json()["store"]


def counters(node):
    return node.ask("GET", "/debug/vars?key=store").json()["store"]


def wait_count(node, key, at_least, limit_s=20):
    end = time.monotonic() + limit_s
    while counters(node)[key] < at_least:
        want(time.monotonic() < end, f"{key} is {counters(node)[key]}, not {at_least}, after {limit_s} s")
        time.sleep(0.05)


def fresh(field, name, *flags):
    node = field.node(name, flags=list(flags)).start()
    node.wait_ready()
    node.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, v)")
    return node


def entries(field):
    node = fresh(field, "entries", "-raft-snap", "2", "-raft-snap-int", "1s")
    node.execute("INSERT INTO t(v) VALUES(1)")
    wait_count(node, "num_snapshots", 1)
    want(counters(node)["num_wal_snapshots"] == 0, "it was the entries, not the bytes")
    want(store(node)["trailing_logs"] == 2, "entries kept: 1.25 times two, rounded down")
    taken = counters(node)["num_snapshots"]
    time.sleep(3)
    want(counters(node)["num_snapshots"] == taken, "without writes there are no more")
    node.terminate()
    return f"{taken} within 20 s of two writes"


def wal_bytes(field):
    node = fresh(field, "bytes", "-raft-snap-int", "200ms", "-raft-snap-wal-size", "200000")
    for _ in range(40):
        node.execute("INSERT INTO t(v) VALUES(hex(randomblob(10000)))")
    wait_count(node, "num_wal_snapshots", 1)
    node.terminate()
    other = fresh(field, "nobytes", "-raft-snap-int", "200ms", "-raft-snap-wal-size", "0")
    for _ in range(40):
        other.execute("INSERT INTO t(v) VALUES(hex(randomblob(10000)))")
    time.sleep(1)
    want(counters(other)["num_snapshots"] == 0, "-raft-snap-wal-size 0 prevents it")
    other.terminate()
    return "200,000 bytes are cut, with 0 they are not"


def interval(field):
    node = fresh(field, "seldom", "-raft-snap", "2", "-raft-snap-int", "1h")
    for _ in range(20):
        node.execute("INSERT INTO t(v) VALUES(1)")
    time.sleep(1)
    want(counters(node)["num_snapshots"] == 0, "nobody looks for an hour")
    node.terminate()
    node = fresh(field, "zero", "-raft-snap", "0", "-raft-snap-int", "0", "-raft-snap-wal-size", "1")
    want(store(node)["trailing_logs"] == 10240, "-raft-snap 0 means 8192")
    time.sleep(1)
    want(counters(node)["num_snapshots"] == 0, "-raft-snap-int 0: two minutes, and bytes do not count")
    node.terminate()
    node = field.node("short", flags=["-raft-snap-int", "4ms"]).start()
    want(node.process.wait(20) == 1, "4ms are refused with status 1")
    want("failed to open store: creating the raft system failed: SnapshotInterval is too low" in node.words(),
         "the refusal says why")
    node.process = None
    node = fresh(field, "huge", "-raft-snap", "18446744073709551615", "-raft-snap-int", "5ms")
    node.execute("INSERT INTO t(v) VALUES(1)")
    time.sleep(0.2)
    want(counters(node)["num_snapshots"] == 0, "the largest -raft-snap is never reached")
    node.terminate()
    return "an hour, zero, too short, the largest number"


def stop(field):
    node = fresh(field, "stop")
    for _ in range(10):
        node.execute("INSERT INTO t(v) VALUES(1)")
    applied = store(node)["db_applied_index"]
    node.terminate()
    node.start()
    node.wait_ready()
    held = store(node)["raft"]["last_snapshot_index"]
    want(held >= applied, f"the stop took a snapshot: {held}, applied was {applied}")
    want(node.rows("SELECT count(*) FROM t") == [[10]], "all rows are there")
    node.terminate()
    node.start()
    node.wait_ready()
    want(store(node)["raft"]["last_snapshot_index"] == held, "nothing was written: no further one")
    node.terminate()
    return f"snapshot at {held} after {applied}"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("rqlited")
    given = parser.parse_args()
    with Field(given.rqlited) as field:
        for test in (entries, wal_bytes, interval, stop):
            print(f"ok   {test.__name__}:", test(field), flush=True)


if __name__ == "__main__":
    main()
