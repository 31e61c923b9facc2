#!/usr/bin/env python3
"""Queued writes through real processes: what a stop keeps, and what a dying leader does not double.

    queued.py PATH/TO/rqlited

Exit status 0: all passed."""
import contextlib
import http.client
import sys
import threading
import time

from nodes import Client, Field, leader_of, wait_equal, wait_leader, want

ROUNDS = 4
INSERT = "INSERT INTO t(number) VALUES(?)"


def queue(client, statements, flags=""):
    """The sequence number; None if it was refused. Failures of the connection are the caller's."""
    answer = client.ask("POST", "/db/execute?queue" + flags, statements)
    return answer.json().get("sequence_number") if answer.status == 200 else None


def case_stop_writes_what_is_queued(field):
    """Batches that wait for time or for more are written before the node goes."""
    node = field.node("stop", flags=["-write-queue-timeout", "1h", "-write-queue-batch-size", "64"]).start()
    node.wait_ready()
    node.execute("CREATE TABLE t (number INTEGER)")
    client = Client(node.http, 10)
    for number in range(200):
        want(queue(client, [[INSERT, number]]), f"write {number} was refused")
    written = len(node.rows("SELECT number FROM t"))
    want(written <= 192, f"{written} written, although no batch of the last 8 was due")
    spent_s = node.terminate()
    want(node.process.returncode == 0, f"ended with {node.process.returncode}\n{node.tail()}")
    node.start().wait_ready()
    rows = [row[0] for row in node.rows("SELECT number FROM t ORDER BY rowid")]
    want(rows == list(range(200)), f"after the stop: {len(rows)} rows, in this order: {rows[:20]}…")
    node.terminate()
    return f"stopped after {spent_s:.2f} s"


def case_stop_without_leader_is_bounded(field):
    """What cannot be written is given up when the time of a stop is over, and said."""
    nodes = field.three(prefix="alone")
    for node in nodes:
        node.wait_ready()
    for node in nodes[:2]:
        node.kill()
    last = nodes[2]
    with contextlib.closing(Client(last.http, 10)) as client:
        for number in range(5):
            want(queue(client, [[INSERT, number]], "&noleader"), "refused although noleader")
    spent_s = last.terminate()
    want(9 < spent_s < 15, f"the stop took {spent_s:.1f} s")
    want("5 queued requests may not have been written" in last.words(), last.tail())
    return f"given up after {spent_s:.1f} s"


class Writer(threading.Thread):
    """Queues numbers at one node, every fourth request with wait, until told to stop."""

    def __init__(self, node, first):
        super().__init__(daemon=True)
        self.node, self.next, self.stopped = node, first, threading.Event()
        self.queued, self.waited = {}, set()  # number -> sequence number; those whose wait was answered
        self.start()

    def run(self):
        client = Client(self.node.http, 60)
        while not self.stopped.is_set():
            number, wait = self.next, self.next % 4 == 0
            self.next += 1
            sequence = None
            with contextlib.suppress(OSError, http.client.HTTPException):
                sequence = queue(client, [[INSERT, number]], "&noleader" + ("&wait&timeout=30s" if wait else ""))
            if sequence is None:
                time.sleep(0.05)
                continue
            self.queued[number] = sequence
            if wait:
                self.waited.add(number)
            time.sleep(0.002)


def judge(rows, writers):
    """rows: numbers by rowid. Returns how many."""
    want(len(rows) == len(set(rows)), f"written twice: {sorted(n for n in set(rows) if rows.count(n) > 1)[:20]}")
    for w in writers:
        lost = set(w.queued) - set(rows)
        want(not lost, f"{len(lost)} queued writes are missing although their node lived: {sorted(lost)[:20]}")
        order = [w.queued[n] for n in rows if n in w.queued]
        want(order == sorted(order), "the order of a queue was not kept")
    return len(rows)


def case_leaders_die_while_queues_flush(field):
    """Two survivors' queues while the third, made leader each time, is killed: all once, and in order."""
    nodes = field.three(prefix="die", flags=["-write-queue-batch-size", "8", "-write-queue-timeout", "20ms"])
    for node in nodes:
        node.wait_ready()
    victim = nodes[0]
    victim.execute("CREATE TABLE t (number INTEGER)")
    writers = [Writer(nodes[1], 1_000_000), Writer(nodes[2], 2_000_000)]
    for _ in range(ROUNDS):
        time.sleep(0.5)
        if leader_of(nodes) is not victim:
            wait_leader(nodes).ask("POST", "/leader?wait", {"id": victim.name})
        victim.kill()
        wait_leader(nodes[1:])
        victim.start().wait_ready()
    for w in writers:
        w.stopped.set()
    for w in writers:
        w.join(60)
        want(not w.is_alive(), "a queued write with wait is not answered")
        with contextlib.closing(Client(w.node.http, 60)) as client:
            want(queue(client, [], "&wait&timeout=30s"), "the marker behind all of it was not answered")
    held = wait_equal(nodes)
    rows = [row[-1] for row in held[1]["t"]]
    count = judge(rows, writers)
    retried = sum(n.ask("GET", "/debug/vars?key=http").json()["http"]["queued_executions_failed"] for n in nodes[1:])
    want(retried > 0, "no batch failed: nothing was tested")
    for node in nodes:
        node.terminate()
    return f"{count} writes, {sum(len(w.waited) for w in writers)} waited for; {retried} attempts failed and were repeated"


CASES = [case_stop_writes_what_is_queued, case_leaders_die_while_queues_flush, case_stop_without_leader_is_bounded]


def main():
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    with Field(sys.argv[1]) as field:
        for case in CASES:
            print(f"ok   {case.__name__}: {case(field)}", flush=True)
    print("all passed")


if __name__ == "__main__":
    main()
