#!/usr/bin/env python3
"""seams — how much of what the machine can do survives in the cluster.

Starts limit_probe (three processes that do only what physics demands for a replicated write) and a
real three-node cluster side by side, and drives both with the same load, taking turns, so that a
noisy neighbour hits both. Prints writes/s and the ratios; the ratios are what to quote.

    tools/bench/seams.py [--build build/release] [--seconds 3] [--rounds 3] [--probe-only]
"""
import argparse
import contextlib
import json
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))
CLIENTS = (1, 16, 64)


def free_ports(count):
    """Ports nobody uses now; held together so that they differ."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for s in sockets:
            s.bind(("127.0.0.1", 0))
        return [s.getsockname()[1] for s in sockets]


def wait_for(what, condition, seconds=30):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return
        time.sleep(0.05)
    sys.exit(f"seams: {what} did not happen within {seconds} s")


def accepts(port):
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


def listens(port):
    """Without connecting: a follower of the probe takes its first connection for the leader."""
    want = f"0100007F:{port:04X}"
    with open("/proc/net/tcp", encoding="ascii") as table:
        return any(row.split()[1] == want and row.split()[3] == "0A" for row in list(table)[1:])


def get_ok(url):
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return answer.status == 200
    except (urllib.error.URLError, OSError):
        return False


class Processes:
    """Children with folders of their own, all gone at the end."""

    def __init__(self):
        self.root = tempfile.mkdtemp(prefix="seams-")
        self.children = []

    def folder(self, name):
        path = os.path.join(self.root, name)
        os.makedirs(path, exist_ok=True)
        return path

    def start(self, name, *command):
        with open(os.path.join(self.root, name + ".err"), "wb") as err:
            child = subprocess.Popen(command, stdout=err, stderr=err)
        self.children.append(child)

    def stop(self):
        for child in self.children:
            child.terminate()
        for child in self.children:
            try:
                child.wait(10)
            except subprocess.TimeoutExpired:
                child.kill()
        shutil.rmtree(self.root, ignore_errors=True)


def start_probe(processes, binary):
    leader, first, second, http = free_ports(4)
    for name, port in (("f1", first), ("f2", second)):
        processes.start(name, binary, "follower", str(port), processes.folder(name))
    wait_for("start of the probe's followers", lambda: listens(first) and listens(second))
    processes.start("leader", binary, "leader", str(leader), str(first), str(second),
                    processes.folder("leader"))
    processes.start("http", binary, "http", str(http))
    wait_for("start of the probe", lambda: accepts(leader) and accepts(http))
    return f"http://127.0.0.1:{leader}/", f"http://127.0.0.1:{http}/"


def start_cluster(processes, binary):
    ports = free_ports(6)
    first_raft = f"127.0.0.1:{ports[3]}"
    for i in range(3):
        join = ("-join", first_raft) if i else ()
        processes.start(f"n{i + 1}", binary, "-node-id", str(i + 1),
                        "-http-addr", f"127.0.0.1:{ports[i]}",
                        "-raft-addr", f"127.0.0.1:{ports[3 + i]}",
                        *join, processes.folder(f"n{i + 1}"))
        wait_for(f"readiness of node {i + 1}",
                 lambda port=ports[i]: get_ok(f"http://127.0.0.1:{port}/readyz"), 60)
    url = f"http://127.0.0.1:{ports[0]}/db/execute"
    table = ["CREATE TABLE foo (id INTEGER NOT NULL PRIMARY KEY, name TEXT, age INTEGER)"]
    request = urllib.request.Request(url, json.dumps(table).encode(),
                                     {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        if "error" in json.load(answer)["results"][0]:
            sys.exit("seams: the cluster did not create the table")
    return url


def measure(url, clients, seconds):
    """Requests per second, all answered 2xx."""
    out = subprocess.run(["wrk", "-t1", f"-c{clients}", f"-d{seconds}s", "--latency", "-s",
                          os.path.join(HERE, "insert.lua"), url],
                         capture_output=True, text=True, check=True).stdout
    if "Non-2xx" in out or "Socket errors" in out:
        sys.exit(f"seams: {url} answered with errors:\n{out}")
    rate = float(re.search(r"Requests/sec:\s+([\d.]+)", out).group(1))
    p50 = re.search(r"50%\s+(\S+)", out).group(1)
    return rate, p50


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", default="build/release")
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--probe-only", action="store_true")
    args = parser.parse_args()
    processes = Processes()
    try:
        probe, http = start_probe(processes, os.path.join(args.build, "limit_probe"))
        targets = {"probe": probe}
        if not args.probe_only:
            targets["cluster"] = start_cluster(processes, os.path.join(args.build, "rqlited"))
        rates = {}
        for _ in range(args.rounds):
            for clients in CLIENTS:
                for name, url in targets.items():
                    rates.setdefault((name, clients), []).append(measure(url, clients, args.seconds))
            rates.setdefault(("http", 64), []).append(measure(http, 64, args.seconds))
    finally:
        processes.stop()

    def rate(name, clients):
        return statistics.median(r for r, _ in rates[name, clients])

    for (name, clients), runs in rates.items():
        print(f"{name:8} c={clients:<3} {rate(name, clients):10.0f}/s  "
              f"({min(r for r, _ in runs):.0f}-{max(r for r, _ in runs):.0f})  p50 {runs[-1][1]}")
    if not args.probe_only:
        for clients in CLIENTS:
            print(f"cluster/probe c={clients:<3} {rate('cluster', clients) / rate('probe', clients):6.1%}")
    print(f"probe/http    c=64  {rate('probe', 64) / rate('http', 64):6.1%}")


if __name__ == "__main__":
    main()
