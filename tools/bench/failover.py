#!/usr/bin/env python3
"""failover — how long nobody can write when a leader dies, stands still, or hands over; and that nothing is lost.

    tools/bench/failover.py PATH/TO/rqlited [--kills 30] [--pauses 10] [--transfers 10] [--stops 10] [--flags=-on-disk]

Three nodes at default flags on this machine. On each a writer sends a row every 5 ms, whether or not earlier ones were
answered, and a reader asks every 25 ms, linearizable, for the highest row. Then, so many times each: kill -9 of the leader;
SIGSTOP of it for 10 s, with reads sent to it just before and just after SIGCONT; POST /leader; SIGTERM. Told for each:
`next`, from the deed to the first success of a write that was sent after it, and `gap`, the longest time without an
acknowledged write, both on nodes that live; p50, p99 and the longest.

Demanded: after kill -9 p50 of `next` within 0.3 s; after a planned hand-over a gap of at most 100 ms; each acknowledged
row there once, none that was refused; every linearizable read at least the highest row acknowledged before it was sent;
the nodes equal in the end. Exit status 1: one of them was not kept."""
import argparse
import asyncio
import contextlib
import json
import os
import signal
import statistics
import sys
import threading
import time
import types

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../tests/integration"))
from cluster import REFUSED, judge  # noqa: E402
from nodes import Failed, Field, wait_equal, wait_leader, want  # noqa: E402

WRITE_EVERY_S, READ_EVERY_S, OPEN_MAX, ANSWER_LIMIT_S = 0.005, 0.025, 400, 20.0
NEXT_P50_MAX_S, PLANNED_GAP_MAX_S = 0.3, 0.1
PAUSE_S, SETTLE_S, AGAIN_LIMIT_S = 10.0, 1.0, 15.0
LAST = ["SELECT COALESCE(MAX(id),0) FROM ops"]


class Connections:
    """To one node, kept between requests."""

    def __init__(self, node):
        self.node, self.free, self.open = node, [], 0

    async def ask(self, path, body, connected):
        """(status, body); connected[0] tells whether anything may have been sent."""
        pair = self.free.pop() if self.free else await asyncio.open_connection("127.0.0.1", self.node.http)
        connected.append(True)
        body = json.dumps(body).encode()
        pair[1].write(b"POST %s HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
                      % (path.encode(), len(body), body))
        try:
            head = (await pair[0].readuntil(b"\r\n\r\n")).decode().lower()
            length = int(head.split("content-length:")[1].split()[0])
            answer = int(head.split()[1]), await pair[0].readexactly(length)
            closes = "connection: close" in head
        except BaseException:
            pair[1].close()
            raise
        if closes:
            pair[1].close()
        else:
            self.free.append(pair)
        return answer


class Load(threading.Thread):
    """Writers and readers of all nodes, on a loop of their own."""

    def __init__(self, nodes):
        super().__init__(daemon=True)
        self.connections = {n.name: Connections(n) for n in nodes}
        self.nodes, self.number = nodes, 0
        self.acks = []  # (answered, sent, node)
        self.fates, self.strange, self.stale = {}, [], []
        self.highest = 0  # row acknowledged
        self.reads = self.reads_failed = self.reads_woken = 0
        self.loop, self.stopping = asyncio.new_event_loop(), False

    def run(self):
        self.loop.run_until_complete(self.all())

    async def all(self):
        await asyncio.gather(*(self.pace(n, *what) for n in self.nodes
                               for what in ((self.write, WRITE_EVERY_S), (self.read, READ_EVERY_S))))
        while any(c.open for c in self.connections.values()):
            await asyncio.sleep(0.05)

    async def pace(self, node, what, every_s):
        due, tasks = time.monotonic(), set()
        while not self.stopping:
            due = max(due + every_s, time.monotonic() - 0.1)  # what a late loop missed is not all sent at once
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            if self.connections[node.name].open < OPEN_MAX:
                task = self.loop.create_task(what(node))
                tasks.add(task)
                task.add_done_callback(tasks.discard)

    async def ask(self, node, path, body, connected):
        c = self.connections[node.name]
        c.open += 1
        try:
            return await asyncio.wait_for(c.ask(path, body, connected), ANSWER_LIMIT_S)
        except (OSError, EOFError, asyncio.TimeoutError, ValueError, IndexError):
            return None
        finally:
            c.open -= 1

    async def write(self, node):
        self.number += 1
        number, sent, connected = self.number, time.monotonic(), []
        self.fates[number] = "unknown"
        answer = await self.ask(node, "/db/execute", [["INSERT INTO ops(number) VALUES(?)", number]], connected)
        if not answer:
            if not connected:
                self.fates[number] = "refused"
        elif answer[0] == 200 and b"rows_affected" in answer[1]:
            self.fates[number] = "ok"
            self.acks.append((time.monotonic(), sent, node.name))
            self.highest = max(self.highest, json.loads(answer[1])["results"][0]["last_insert_id"])
        elif any(w in answer[1] for w in REFUSED):
            self.fates[number] = "refused"
        elif b"error" not in answer[1]:
            self.strange.append((number, answer))

    async def read(self, node, woken=False):
        floor = self.highest
        answer = await self.ask(node, "/db/query?level=linearizable", LAST, [])
        with contextlib.suppress(TypeError, LookupError, ValueError):
            seen = json.loads(answer[1])["results"][0]["values"][0][0]
            self.reads += 1
            self.reads_woken += woken
            if seen < floor:
                self.stale.append(f"{node.name} answered row {seen} to a read sent when row {floor} was acknowledged")
            return
        self.reads_failed += 1

    def read_burst(self, node, count):
        for _ in range(count):
            asyncio.run_coroutine_threadsafe(self.read(node, True), self.loop)

    # ---- what it saw

    def next_after(self, at, names):
        """Seconds from `at` to the first success of a write sent after it; waits for it."""
        while time.monotonic() < at + AGAIN_LIMIT_S:
            for answered, sent, name in self.acks[-2000:]:
                if sent >= at and name in names:
                    return answered - at
            time.sleep(0.002)
        raise Failed(f"no write succeeded within {AGAIN_LIMIT_S:g} s")

    def gap(self, begin, end, names):
        """The longest time without a success that touches begin … end."""
        times = sorted(a[0] for a in self.acks if a[2] in names and begin - 1.0 < a[0] < end + 1.0)
        return max((b - a for a, b in zip(times, times[1:]) if b >= begin and a <= end), default=end - begin)

    def stop(self):
        self.stopping = True
        self.join(ANSWER_LIMIT_S + 10)
        want(not self.is_alive(), "a client hangs")


class Bench:
    def __init__(self, nodes, load):
        self.nodes, self.load, self.missed = nodes, load, []

    def steady(self):
        for node in self.nodes:
            node.wait_ready()
        leader = wait_leader(self.nodes)
        time.sleep(SETTLE_S)
        return leader, [n for n in self.nodes if n is not leader]

    def many(self, name, deed, times, next_max=None, gap_max=None):
        """deed(leader, others) → (when, next, gap)."""
        nexts, gaps = [], []
        for _ in range(times):
            took, gap = deed(*self.steady())
            nexts.append(took)
            gaps.append(gap)
        if not times:
            return
        good = (next_max is None or statistics.median(nexts) <= next_max) and (gap_max is None or max(gaps) <= gap_max)
        if not good:
            self.missed.append(name)
        promise = f"next p50 ≤ {1000 * next_max:.0f}" if next_max else f"gap ≤ {1000 * gap_max:.0f}" if gap_max else ""
        print(f"{name:<28}{times:6}{figures(nexts)}{figures(gaps)}   {'MISS ' if not good else ''}{promise}", flush=True)

    def deed(self, do, others, until=None):
        """Do it; what those who live saw of it."""
        names = {n.name for n in others}
        at = time.monotonic()
        do()
        took = self.load.next_after(at, names)
        if until:
            until()
        time.sleep(0.2)
        return took, self.load.gap(at, time.monotonic() - 0.2, names)

    def quiet(self, _, __):
        at = time.monotonic()
        time.sleep(1.0)
        names = {n.name for n in self.nodes}
        return self.load.next_after(at, names), self.load.gap(at, at + 1.0, names)

    def kill(self, leader, others):
        result = self.deed(leader.kill, others)
        leader.start()
        return result

    def pause(self, leader, others):
        def rest():
            time.sleep(max(0.0, begun + PAUSE_S - time.monotonic() - 0.05))
            self.load.read_burst(leader, 20)
            time.sleep(0.05)
            leader.process.send_signal(signal.SIGCONT)
            for _ in range(10):
                self.load.read_burst(leader, 4)
                time.sleep(0.005)

        begun = time.monotonic()
        return self.deed(lambda: leader.process.send_signal(signal.SIGSTOP), others, rest)

    def transfer(self, leader, others):
        def do():
            answer = leader.ask("POST", "/leader?wait", {"id": others[0].name})
            want(answer.status == 200, f"POST /leader: {answer.status} {answer.body!r}")

        return self.deed(do, self.nodes)

    def terminate(self, leader, others):
        result = self.deed(lambda: leader.process.send_signal(signal.SIGTERM), others, lambda: leader.process.wait(30))
        want(leader.process.returncode == 0, f"{leader.name} ended with {leader.process.returncode}")
        leader.start()
        return result


def figures(seconds):
    ordered = sorted(1000 * s for s in seconds)
    return f"{statistics.median(ordered):10.0f}{ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))]:7.0f}{ordered[-1]:7.0f}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rqlited")
    for name, times in (("kills", 30), ("pauses", 10), ("transfers", 10), ("stops", 10)):
        parser.add_argument(f"--{name}", type=int, default=times)
    parser.add_argument("--flags", default="")
    given = parser.parse_args()
    with Field(given.rqlited) as field:
        nodes = field.three(flags=given.flags.split())
        for node in nodes:
            node.wait_ready()
        nodes[0].execute("CREATE TABLE ops(id INTEGER PRIMARY KEY AUTOINCREMENT, number INTEGER)")
        load = Load(nodes)
        load.start()
        bench = Bench(nodes, load)
        print(f"{'milliseconds':<28} times  next p50    p99   most   gap p50    p99   most   demanded", flush=True)
        bench.many("quiet, for comparison", bench.quiet, 5)
        bench.many("kill -9 of the leader", bench.kill, given.kills, next_max=NEXT_P50_MAX_S)
        bench.many("SIGSTOP of the leader, 10 s", bench.pause, given.pauses)
        bench.many("POST /leader", bench.transfer, given.transfers, gap_max=PLANNED_GAP_MAX_S)
        bench.many("SIGTERM of the leader", bench.terminate, given.stops, gap_max=PLANNED_GAP_MAX_S)
        bench.steady()
        load.stop()
        _, tables = wait_equal(nodes)
        judge(types.SimpleNamespace(fates=load.fates, strange=load.strange), [row[-2:] for row in tables["ops"]])
        print(f"linearizable reads: {load.reads} answered ({load.reads_woken} by a stopped node as it went on), "
              f"{load.reads_failed} not; {len(load.stale)} stale")
        want(not load.stale, f"{len(load.stale)} stale reads: {load.stale[:5]}")
        want(load.reads > 100, "too few reads to say anything")
        for node in nodes:
            node.terminate()
    print(f"missed: {', '.join(bench.missed)}" if bench.missed else "all kept: no acknowledged row missing, none twice, no stale read")
    raise SystemExit(1 if bench.missed else 0)


if __name__ == "__main__":
    main()
