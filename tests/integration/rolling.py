#!/usr/bin/env python3
"""A rolling restart, and planned and unplanned changes of leader, under writers.

    rolling.py PATH/TO/rqlited [--writers 16] [--rounds 1] [--on-disk]

Writers insert numbers through kept connections, each to its own node; a node that is restarted loses its writers'
connections, and they go on when it is back. Each node in turn: SIGTERM, start again, wait until ready. Then the leader
hands over by POST /leader, and one is killed with -9. Told for each step: failed requests by kind, and the longest gap
between two acknowledged writes of the cluster.

Demanded: an answer that is not a success is 503 with Retry-After, or "store not open" by a node that is starting;
a connection breaks in the middle of a request only when its own node is killed (who is told to stop answers what is on
its way); when the leader is killed, the outcome of what was on its way is unknown. No acknowledged write is missing, none
is there twice. Exit status 0: so it was."""
import argparse
import collections
import http.client
import itertools
import json
import socket
import threading
import time

from nodes import Field, leader_of, wait_equal, wait_leader, want


class Writer(threading.Thread):
    def __init__(self, node, numbers, log):
        super().__init__(daemon=True)
        self.node, self.numbers, self.log = node, numbers, log
        self.stopping = threading.Event()

    def connect(self):
        connection = http.client.HTTPConnection("localhost", self.node.http, timeout=10)
        connection.connect()
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def run(self):
        connection = None
        while not self.stopping.is_set():
            try:
                connection = connection or self.connect()
            except OSError:
                time.sleep(0.01)  # not a request yet
                continue
            number = next(self.numbers)
            try:
                connection.request("POST", "/db/execute", json.dumps([["INSERT INTO ops(number) VALUES(?)", number]]))
                answer = connection.getresponse()
                body = answer.read()
            except (OSError, http.client.HTTPException):
                self.log.add(number, "cut", self.node)
                connection.close()
                connection = None
                continue
            if answer.status == 200 and b"rows_affected" in body:
                self.log.add(number, "ok", self.node)
            elif answer.status == 503 and answer.headers.get("Retry-After"):
                self.log.add(number, "later", self.node)
                time.sleep(0.01)
            elif b'"error":"store not open"' in body:  # said by who has just begun, as rqlite says it (http-api.md §5.3)
                self.log.add(number, "starting", self.node)
                time.sleep(0.01)
            elif b'connection reset by peer"' in body:  # its leader died with it; the outcome is unknown
                self.log.add(number, "unknown", self.node)
            else:
                self.log.add(number, f"{answer.status} {body[:120]!r}", self.node)
            if answer.will_close:
                connection.close()
                connection = None


class Log:
    def __init__(self):
        self.lock, self.rows = threading.Lock(), []

    def add(self, number, what, node):
        with self.lock:
            self.rows.append((time.monotonic(), number, what, node.name))

    def between(self, begin, end):
        with self.lock:
            return [r for r in self.rows if begin <= r[0] <= end]


def told(log, name, begin, end, restarted, killed=False):
    """The step in a line; problems of it."""
    rows = log.between(begin, end)
    oks = sorted(r[0] for r in rows if r[2] == "ok")
    marks = [begin, *oks, end]
    gap = max(b - a for a, b in itertools.pairwise(marks))
    kinds = collections.Counter(r[2] for r in rows)
    print(f"{name:<34} {kinds['ok']:7} ok  {kinds['later']:5} told to come later  "
          f"{kinds['starting']:5} starting  {kinds['cut']:4} cut {kinds['unknown']:4} unknown  "
          f"longest gap {1000 * gap:6.0f} ms", flush=True)
    fine = ("ok", "later", "starting", "cut", *(["unknown"] if killed else []))
    strange = [f"{name}: {r[2]} at {r[3]}" for r in rows if r[2] not in fine
                or r[2] == "starting" and r[3] not in restarted]
    strange += [f"{name}: a connection to {r[3]} broke" for r in rows if r[2] == "cut" and not (killed and r[3] in restarted)]
    return strange


def main():
    p = argparse.ArgumentParser()
    p.add_argument("binary")
    p.add_argument("--writers", type=int, default=16)
    p.add_argument("--rounds", type=int, default=1)
    p.add_argument("--on-disk", action="store_true")
    a = p.parse_args()
    with Field(a.binary) as field:
        nodes = field.three(flags=["-on-disk"] if a.on_disk else [])
        for n in nodes:
            n.wait_ready()
        nodes[0].execute("CREATE TABLE ops(id INTEGER PRIMARY KEY, number INTEGER)")
        log, numbers = Log(), itertools.count(1)
        writers = [Writer(nodes[i % 3], numbers, log) for i in range(a.writers)]
        for w in writers:
            w.start()
        time.sleep(1.0)
        strange = told(log, "quiet", time.monotonic() - 0.8, time.monotonic(), ())

        def step(name, act, restarted, settle_s=0.7):
            begin = time.monotonic()
            act()
            time.sleep(settle_s)
            strange.extend(told(log, name, begin, time.monotonic(), restarted, name.startswith("kill")))

        def restart(node):
            node.terminate()
            want(node.process.returncode == 0, f"{node.name} ended with {node.process.returncode}")
            node.start()
            node.wait_ready()

        for _ in range(a.rounds):
            for node in nodes:
                role = "leader" if leader_of(nodes) is node else "follower"
                step(f"restart of {node.name}, {role}", lambda n=node: restart(n), (node.name,))
            leader = wait_leader(nodes)
            target = next(n for n in nodes if n is not leader)
            step(f"POST /leader, {leader.name} to {target.name}",
                 lambda: want(leader.ask("POST", "/leader?wait", {"id": target.name}).status == 200, "POST /leader"), ())
            leader = wait_leader(nodes)

            def kill():
                leader.kill()
                time.sleep(1.5)
                leader.start()
                leader.wait_ready()

            step(f"kill -9 of {leader.name}, leader", kill, (leader.name,))
        for w in writers:
            w.stopping.set()
        for w in writers:
            w.join(20)
            want(not w.is_alive(), "a writer hangs")
        wait_equal(nodes)
        rows = collections.Counter(r[0] for r in nodes[0].rows("SELECT number FROM ops", "strong"))
        acknowledged = {r[1] for r in log.rows if r[2] == "ok"}
        later = {r[1] for r in log.rows if r[2] in ("later", "starting")}
        want(acknowledged <= rows.keys(), f"{len(acknowledged - rows.keys())} acknowledged writes are missing")
        want(max(rows.values()) == 1, "a write is there twice")
        print(f"{len(acknowledged)} acknowledged, none missing, none twice; none of {len(later)} told to come later is there")
        want(not later & rows.keys(), f"{len(later & rows.keys())} writes that were refused are there")
        want(not strange, f"{len(strange)} strange: {strange[:5]}")
        for n in nodes:
            n.terminate()


if __name__ == "__main__":
    main()
