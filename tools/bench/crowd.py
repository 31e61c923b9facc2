#!/usr/bin/env python3
"""crowd — do many idle and slow clients cost the busy ones anything?

Starts one node. wrk drives 64 keep-alive writers, now alone, now beside a crowd, in turns, so that a noisy
neighbour hits both: 1,000 idle connections that were answered once each, 100 that send a byte of a request
every so often, 100 that read a few bytes of a 256 KB answer every so often. Prints writes/s and the
ratio; and what an idle connection costs in memory (growth of the resident set).

    tools/bench/crowd.py [--build build/release] [--seconds 3] [--rounds 5] [--memory-only]
"""
import argparse
import os
import re
import resource
import socket
import statistics
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import seams  # noqa: E402  its processes and its wrk

IDLE, SLOW_SENDERS, SLOW_READERS = 1000, 100, 100
PACE_S = 0.25  # between two bytes of a slow client
READY = b"GET /readyz HTTP/1.1\r\nHost: a\r\n\r\n"
QUERY = b'["SELECT hex(zeroblob(131072))"]'
QUERY64 = b'["SELECT hex(zeroblob(32768))"]'
INSERT = b'[["INSERT INTO foo(name, age) VALUES(?, ?)", "fiona", 20]]'


def post(path, body):
    return b"POST %s HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s" % (path, len(body), body)


def connect(port, receive_bytes=None):
    s = socket.socket()
    if receive_bytes:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    s.connect(("127.0.0.1", port))
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return s


def ask(s, request):
    s.sendall(request)
    data = b""
    while b"\r\n\r\n" not in data:
        data += s.recv(65536)
    head, data = data.split(b"\r\n\r\n", 1)
    left = int(re.search(rb"Content-Length: (\d+)", head).group(1)) - len(data)
    while left > 0:
        left -= len(s.recv(65536))
    data = head
    if not data.startswith(b"HTTP/1.1 200"):
        sys.exit(f"crowd: {data[:200]!r}")


def idle_connections(port, count, request=READY):
    sockets = [connect(port) for _ in range(count)]
    for s in sockets:
        ask(s, request)
    return sockets


class Slow(threading.Thread):
    """All slow clients of one crowd, paced by one thread."""

    def __init__(self, port):
        super().__init__(daemon=True)
        self.stopped = threading.Event()
        self.senders = [connect(port) for _ in range(SLOW_SENDERS)]
        self.readers = [connect(port, 4096) for _ in range(SLOW_READERS)]
        for s in self.readers:
            s.sendall(post(b"/db/query?level=none", QUERY))
        self.steps = 0

    def run(self):
        request = post(b"/db/execute", INSERT)
        while not self.stopped.wait(PACE_S):
            byte = request[self.steps % len(request):][:1]
            for s in self.senders:
                s.sendall(byte)
                if self.steps % len(request) == len(request) - 1:
                    s.recv(65536)
            for s in self.readers:
                s.recv(16)
            self.steps += 1

    def stop(self):
        self.stopped.set()
        self.join()
        for s in self.senders + self.readers:
            s.close()


def resident_kb(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as f:
        return int(re.search(r"VmRSS:\s+(\d+)", f.read()).group(1))


def memory(port, pid):
    """Bytes of user memory per idle connection, by the request it had answered. Not a write: the log and the
    database grow by those."""
    out, kept = {}, []
    answers = {"GET /readyz": READY, "a query": post(b"/db/query", b'["SELECT 1"]'), "a 64 KB answer": post(b"/db/query", QUERY64)}
    for request in answers.values():
        kept += idle_connections(port, 100, request)
    for name, request in answers.items():
        time.sleep(0.3)
        before = resident_kb(pid)
        kept += idle_connections(port, IDLE, request)  # kept: the next ones must not get their memory
        time.sleep(0.3)
        out[name] = (resident_kb(pid) - before) * 1024 / IDLE
    for s in kept:
        s.close()
    return out


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii") as f:
        user, system = f.read().rsplit(")", 1)[1].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def measure(url, pid, seconds):
    """(writes/s, CPU time of the node per write in microseconds)"""
    before = cpu_seconds(pid)
    rate = seams.measure(url, 64, seconds)[0]
    return rate, (cpu_seconds(pid) - before) / (rate * seconds) * 1e6


def rates(url, port, pid, seconds, rounds):
    alone, crowded = [], []
    for _ in range(rounds):
        alone.append(measure(url, pid, seconds))
        idle, slow = idle_connections(port, IDLE), Slow(port)
        slow.start()
        time.sleep(1)  # the answers that nobody hurries to read have been made
        crowded.append(measure(url, pid, seconds))
        slow.stop()
        for s in idle:
            s.close()
        time.sleep(0.2)
    return alone, crowded


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", default="build/release")
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--memory-only", action="store_true")
    args = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))
    processes = seams.Processes()
    try:
        http, raft = seams.free_ports(2)
        processes.start("node", os.path.join(args.build, "rqlited"), "-http-addr", f"127.0.0.1:{http}",
                        "-raft-addr", f"127.0.0.1:{raft}", processes.folder("node"))
        seams.wait_for("readiness", lambda: seams.get_ok(f"http://127.0.0.1:{http}/readyz"))
        with connect(http) as s:
            ask(s, post(b"/db/execute", b'["CREATE TABLE foo (id INTEGER NOT NULL PRIMARY KEY, name TEXT, age INTEGER)"]'))
        pid = processes.children[0].pid
        for name, size in memory(http, pid).items():
            print(f"idle connection after {name:18} {size:8.0f} bytes resident")
        if not args.memory_only:
            alone, crowded = rates(f"http://127.0.0.1:{http}/db/execute", http, pid, args.seconds, args.rounds)
            for name, runs in (("alone", alone), ("crowded", crowded)):
                each = [rate for rate, _ in runs]
                print(f"{name:8} c=64  {statistics.median(each):8.0f}/s  ({min(each):.0f}-{max(each):.0f})  "
                      f"{statistics.median(cpu for _, cpu in runs):5.1f} us of CPU per write")
            for name, pairs in (("writes/s", [c[0] / a[0] for a, c in zip(alone, crowded)]),
                                ("CPU per write", [c[1] / a[1] for a, c in zip(alone, crowded)])):
                print(f"crowded/alone {name:14} {statistics.median(pairs):6.1%}  ({min(pairs):.1%}-{max(pairs):.1%})")
    finally:
        processes.stop()


if __name__ == "__main__":
    main()
