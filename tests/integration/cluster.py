#!/usr/bin/env python3
"""Three real nodes, a constant load, and kill -9 of the leader, again and again.

    cluster.py PATH/TO/rqlited [--rounds 20] [--pause] [--ports free|seed] [--on-disk] [--syncs]

Every write carries a number that is used once. Afterwards: no acknowledged write is missing, none is there
twice, none that was refused for certain is there, the nodes hold the same, and all end with 0 at SIGTERM.
A kill leaves the page cache alone, so it proves nothing about syncs: --syncs counts them instead, with
strace, for writes sent one after another to a single node. Exit status 0: all kept."""
import argparse
import collections
import http.client
import itertools
import os
import random
import re
import shutil
import signal
import statistics
import threading
import time

from nodes import Client, Field, wait_equal, wait_leader, want

WRITERS = 4
FAILOVER_LIMIT_S = 3.0
ROUND_LOAD_S = 0.5   # under load between two kills
ANSWER_LIMIT_S = 5.0
PROBE_LIMIT_S = 0.5
SKIPPED = 77  # exit status
SEED_PORTS = [4001, 4002, 4003, 4004, 4005, 4006]
# Refused before anything could be written; any other failure may have been written all the same.
REFUSED = (b"leader not found", b"not leader", b"store not ready", b"too many requests")


class Writers:
    """Threads that insert numbers through any node; each number's fate is recorded once."""

    def __init__(self, nodes):
        self.nodes, self.numbers = nodes, itertools.count(1)
        self.fates = {}  # number -> "ok" | "refused" | "unknown"
        self.strange = []  # answers that no node may give
        self.lock, self.stopping = threading.Lock(), threading.Event()
        self.threads = [threading.Thread(target=self.run, args=(i,), daemon=True) for i in range(WRITERS)]
        for t in self.threads:
            t.start()

    def run(self, seed):
        chance = random.Random(seed)
        clients = [Client(n.http, ANSWER_LIMIT_S) for n in self.nodes]
        while not self.stopping.is_set():
            if self.write_next(chance.choice(clients)) != "ok":
                time.sleep(0.005)
        for c in clients:
            c.close()

    def write_next(self, client):
        with self.lock:
            number = next(self.numbers)
        fate = self.write(client, number)
        with self.lock:
            self.fates[number] = fate
        return fate

    def write(self, client, number):
        try:
            client.connect()
        except OSError:
            return "refused"
        try:
            answer = client.ask("POST", "/db/execute", [["INSERT INTO ops(number) VALUES(?)", number]])
        except (OSError, http.client.HTTPException):
            return "unknown"
        if answer.status == 200:
            result = answer.json()
            if result.get("results") and result["results"][0].get("rows_affected") == 1:
                return "ok"
        if answer.status == 200 and b"error" not in answer.body or answer.status not in (200, 503):
            self.strange.append((number, answer.status, answer.body))
        return "refused" if any(w in answer.body for w in REFUSED) else "unknown"

    def write_through(self, nodes, limit_s):
        """Seconds until a write through these nodes was acknowledged, asked anew all the time; None: never."""
        begun = time.monotonic()
        for node in itertools.cycle(nodes):
            client = Client(node.http, PROBE_LIMIT_S)
            fate = self.write_next(client)
            client.close()
            if fate == "ok":
                return time.monotonic() - begun
            if time.monotonic() - begun > limit_s:
                return None
            time.sleep(0.005)

    def stop(self):
        self.stopping.set()
        for t in self.threads:
            t.join(30)
            want(not t.is_alive(), "a writer hangs")


def judge(writers, rows):
    seen = collections.Counter(number for _, number in rows)
    fate = collections.defaultdict(set)
    for number, f in writers.fates.items():
        fate[f].add(number)
    lost = sorted(fate["ok"] - seen.keys())
    twice = sorted(n for n, count in seen.items() if count > 1)
    ghosts = sorted(seen.keys() & fate["refused"])
    strangers = sorted(seen.keys() - writers.fates.keys())
    print(f"writes: {len(fate['ok'])} acknowledged, {len(fate['refused'])} refused, {len(fate['unknown'])} unknown "
          f"({len(fate['unknown'] & seen.keys())} of them written)")
    want(not lost, f"{len(lost)} acknowledged writes are missing: {lost[:10]}")
    want(not twice, f"{len(twice)} writes are there twice: {twice[:10]}")
    want(not ghosts, f"{len(ghosts)} writes were refused and are there: {ghosts[:10]}")
    want(not strangers, f"rows that nobody wrote: {strangers[:10]}")
    want(not writers.strange, f"strange answers: {writers.strange[:5]}")


def kill_leader(nodes, writers):
    """(seconds until a write succeeded again, seconds until the node was ready again)"""
    leader = wait_leader(nodes)
    leader.kill()
    down_s = outage(nodes, writers, leader)
    leader.start()
    return down_s, leader.wait_ready()


def pause_leader(nodes, writers):
    """As kill_leader; the leader stands still instead, with all its connections, and then wakes up as leader."""
    leader = wait_leader(nodes)
    leader.process.send_signal(signal.SIGSTOP)
    down_s = outage(nodes, writers, leader)
    leader.process.send_signal(signal.SIGCONT)
    return down_s, leader.wait_ready()


def outage(nodes, writers, leader):
    down_s = writers.write_through([n for n in nodes if n is not leader], 10 * FAILOVER_LIMIT_S)
    want(down_s is not None, f"no write succeeded after node {leader.name} was gone")
    want(down_s <= FAILOVER_LIMIT_S, f"node {leader.name} was gone: {down_s:.2f} s without a write")
    return down_s


def cluster(given):
    with Field(given.rqlited) as field:
        ports = SEED_PORTS if given.ports == "seed" else None
        nodes = field.three(ports, ["-on-disk"] if given.on_disk else [])
        start_s = max(n.wait_ready() for n in nodes)
        nodes[0].execute("CREATE TABLE ops (number INTEGER)")
        nodes[1].execute("INSERT INTO ops(number) VALUES(0)")
        want(nodes[2].rows("SELECT number FROM ops", "linearizable") == [[0]], "the third node does not see the row")
        print(f"three nodes ready after {start_s:.2f} s; a row travelled from the second to the third", flush=True)
        writers = Writers(nodes)
        writers.fates[0] = "ok"
        down, ready = [], []
        for _ in range(given.rounds):
            time.sleep(ROUND_LOAD_S)
            down_s, ready_s = (pause_leader if given.pause else kill_leader)(nodes, writers)
            down.append(down_s)
            ready.append(ready_s)
            if given.verbose:
                print(f"  write again after {down_s:.3f} s, restarted node ready after {ready_s:.3f} s", flush=True)
        writers.stop()
        _, tables = wait_equal(nodes)
        judge(writers, tables["ops"])
        print(f"leader {'paused' if given.pause else 'killed'} {given.rounds} times: a write succeeded again after "
              f"{statistics.median(down):.3f} s (median), {max(down):.3f} s (at most); the node was ready again "
              f"after {statistics.median(ready):.3f} s (median), {max(ready):.3f} s (at most)")
        for node in nodes:
            node.terminate()
            want(node.process.returncode == 0, f"node {node.name} ended with {node.process.returncode}\n{node.tail()}")
    print("the nodes hold the same; all ended with 0")


def syncs(given):
    if not shutil.which("strace"):
        print("skipped: --syncs needs strace")
        raise SystemExit(SKIPPED)
    writes = 500
    with Field(given.rqlited) as field:
        trace = f"{field.root}/syncs"
        node = field.node("1", wrapper=["strace", "-f", "-qq", "-e", "trace=fdatasync,fsync", "-o", trace],
                          flags=["-on-disk"] if given.on_disk else []).start()
        node.wait_ready()
        node.execute("CREATE TABLE ops (number INTEGER)")
        count = lambda: len(re.findall(r"f(?:data)?sync\(\d+\s*(?:\)|<)", open(trace, encoding="ascii").read()))
        before = count()
        client = Client(node.http, ANSWER_LIMIT_S)
        for i in range(writes):
            answer = client.ask("POST", "/db/execute", [["INSERT INTO ops(number) VALUES(?)", i]])
            want(answer.status == 200 and b"error" not in answer.body, f"write {i}: {answer.body!r}")
        client.close()
        done = count() - before
        print(f"{done} syncs for {writes} writes, each sent after the answer to the one before: {done / writes:.3f}")
        want(done >= writes, "writes were acknowledged without a sync")
        leave(node)


def leave(node):
    """strace keeps SIGTERM for itself while its child runs: tell the child."""
    with open(f"/proc/{node.process.pid}/task/{node.process.pid}/children", encoding="ascii") as f:
        for pid in f.read().split():
            os.kill(int(pid), signal.SIGTERM)
    want(node.process.wait(30) == 0, f"the node ended with {node.process.returncode}\n{node.tail()}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rqlited")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--ports", choices=("free", "seed"), default="free")
    parser.add_argument("--pause", action="store_true", help="SIGSTOP instead of kill -9")
    parser.add_argument("--on-disk", action="store_true")
    parser.add_argument("--syncs", action="store_true")
    parser.add_argument("--verbose", action="store_true")
    given = parser.parse_args()
    (syncs if given.syncs else cluster)(given)


if __name__ == "__main__":
    main()
