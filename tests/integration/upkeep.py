#!/usr/bin/env python3
"""Automatic VACUUM and ANALYZE on real nodes: through the log, on all of them, and not for nothing.

    tests/integration/upkeep.py RQLITED
"""
import argparse
import time

from nodes import Field, free_ports, wait_equal, wait_leader, want

FLAGS = ["-auto-vacuum-int", "1s", "-auto-optimize-int", "1s"]


def counters(node):
    return node.ask("GET", "/debug/vars?key=store").json()["store"]


def pages(node):
    return node.rows("PRAGMA page_count")[0][0]


def wait_for(what, words, limit_s=30):
    end = time.monotonic() + limit_s
    while not what():
        want(time.monotonic() < end, f"not within {limit_s} s: {words}")
        time.sleep(0.05)


def fill(node):
    node.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, v)")
    node.execute("CREATE INDEX i ON t(v)")
    node.execute("INSERT INTO t(v) SELECT hex(randomblob(200)) FROM (WITH RECURSIVE n(i) AS "
                 "(SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<3000) SELECT i FROM n)")
    full = pages(node)
    node.execute("DELETE FROM t WHERE id>30")
    return full


def alone(field, flags):
    node = field.node("alone" + "".join(flags), flags=FLAGS + flags).start()
    node.wait_ready()
    full = fill(node)
    wait_for(lambda: pages(node) * 4 < full and node.rows("SELECT count(*) FROM sqlite_schema WHERE name='sqlite_stat1'")
             == [[1]] and node.rows("SELECT stat FROM sqlite_stat1 WHERE idx='i'") == [["30 1"]],
             "the file is small and its index is known")
    want("database vacuumed in " in node.words(), "the log says so")
    held = node.ask("GET", "/status").json()["store"]["auto_vacuum"]
    want(held["last_vacuum"] < held["next_vacuum_after"], f"the status says when: {held}")
    time.sleep(1.5)
    done, log = counters(node), node.ask("GET", "/status").json()["store"]["raft"]["last_log_index"]
    time.sleep(3)
    want(counters(node) == done, "nothing is done while nobody writes")
    want(node.ask("GET", "/status").json()["store"]["raft"]["last_log_index"] == log, "nor does the log grow")
    node.kill()
    node.start()
    node.wait_ready()
    time.sleep(2.5)
    want(node.ask("GET", "/status").json()["store"]["auto_vacuum"] == held, "a restart knows of the last one")
    node.terminate()
    return f"{full} pages, then {pages_after(done)}"


def pages_after(done):
    return f"{done['num_auto_vacuums']} VACUUM, {done['num_auto_optimizes']} ANALYZE"


def cluster(field, flags):
    nodes = field.three(free_ports(6), FLAGS + flags, "".join(flags).strip("-"))
    for node in nodes:
        node.wait_ready()
    full = fill(wait_leader(nodes))
    wait_for(lambda: all(pages(n) * 4 < full for n in nodes), "all files are small")
    wait_equal(nodes)
    leader = wait_leader(nodes)
    leader.kill()
    rest = [n for n in nodes if n is not leader]
    after = wait_leader(rest)
    last = after.ask("GET", "/status").json()["store"]["auto_vacuum"]["last_vacuum"]
    after.execute("INSERT INTO t(v) VALUES('more')")
    wait_for(lambda: after.ask("GET", "/status").json()["store"]["auto_vacuum"]["last_vacuum"] > last, "the next leader goes on")
    leader.start()
    leader.wait_ready()
    wait_equal(nodes)
    wait_for(lambda: len({pages(n) for n in nodes}) == 1, "files of one size")
    for node in nodes:
        want(node.rows("PRAGMA integrity_check") == [["ok"]], f"{node.name}: integrity_check")
        node.terminate()
    return f"{full} pages, then {pages_after(dict(num_auto_vacuums='each', num_auto_optimizes='each'))}"


def off(field):
    node = field.node("off", flags=["-auto-optimize-int", "0s"]).start()
    node.wait_ready()
    fill(node)
    time.sleep(2)
    want(counters(node)["num_auto_vacuums"] == 0 and counters(node)["num_auto_optimizes"] == 0, "neither")
    want("auto_vacuum" not in node.ask("GET", "/status").json()["store"], "nor in the status")
    node.terminate()
    return "no intervals, none done"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("rqlited")
    given = parser.parse_args()
    with Field(given.rqlited) as field:
        for flags in ([], ["-on-disk"]):
            for test in (alone, cluster):
                print("ok  ", test.__name__, *flags, test(field, flags), flush=True)
        print("ok   off:", off(field), flush=True)


if __name__ == "__main__":
    main()
