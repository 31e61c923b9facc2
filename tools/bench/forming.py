#!/usr/bin/env python3
"""How long it takes to form a cluster: from the start of the first process to the first acknowledged write, and until
all nodes are members of it, for 3, 5 and 7 nodes by each method. Prints a table; medians of --rounds.

    tools/bench/forming.py PATH/TO/rqlited [--rounds 3] [--nodes 3,5,7] [--methods NAME,…]

All processes of one cluster run on this machine, so that with more nodes the machine is a part of what is measured.
join: the first node alone, the others at the same time through it. expect: all at the same time, one list. The
discovery services are the stubs of tests/integration/discovery.py, etcd the real server."""
import argparse
import contextlib
import http.client
import os
import shutil
import statistics
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../tests/integration"))
from discovery import Consul, Etcd, Resolver  # noqa: E402
from forming import wait_members  # noqa: E402
from nodes import Field, free_ports  # noqa: E402


def join(field, pairs, url):
    first = field.node("1", pairs[0]).start()
    target = f"http://localhost:{first.http}" if url else f"localhost:{first.raft}"
    flags = ["-join", target, "-join-interval", "100ms", "-join-attempts", "100"]
    return [first] + [field.node(str(i + 1), p, flags).start() for i, p in enumerate(pairs) if i]


def with_flags(field, pairs, flags):
    return [field.node(str(i + 1), p, flags).start() for i, p in enumerate(pairs)]


def expect(field, pairs, url):
    addrs = [f"http://localhost:{h}" if url else f"localhost:{r}" for h, r in pairs]
    return with_flags(field, pairs, ["-bootstrap-expect", str(len(pairs)), "-join", ",".join(addrs)])


def dns_srv(field, pairs):
    resolver = Resolver({"_rqlite._tcp.rqlite": [("SRV", (r, "here.example")) for _, r in pairs],
                         "here.example": [("A", "127.0.0.1")]})
    return with_flags(field, pairs, ["-bootstrap-expect", str(len(pairs)), "-disco-mode", "dns-srv", "-disco-config",
                                     f'{{"servers":"127.0.0.1:{resolver.port}"}}'])


def dns_hosts(field, pairs):
    os.environ["RQLITE_DISCO_DNS_HOSTS"] = ",".join(f"localhost:{r}" for _, r in pairs)
    try:
        return with_flags(field, pairs, ["-bootstrap-expect", str(len(pairs)), "-disco-mode", "dns"])
    finally:
        del os.environ["RQLITE_DISCO_DNS_HOSTS"]


def store(field, pairs, service):
    return with_flags(field, pairs, ["-disco-mode", service.mode, "-disco-config", service.config()])


METHODS = {
    "join-raft": lambda field, pairs: join(field, pairs, False),
    "join-url": lambda field, pairs: join(field, pairs, True),
    "expect-raft": lambda field, pairs: expect(field, pairs, False),
    "expect-url": lambda field, pairs: expect(field, pairs, True),
    "dns": dns_hosts,
    "dns-srv": dns_srv,
    "consul-kv": None,
    "etcd-kv": None,
}


def first_write_s(nodes, began):
    while True:
        for node in nodes:
            with contextlib.suppress(OSError, http.client.HTTPException):
                answer = node.ask("POST", "/db/execute", ["CREATE TABLE IF NOT EXISTS t(i)"], 5)
                if answer.status == 200 and b"error" not in answer.body:
                    return time.monotonic() - began
        if time.monotonic() - began > 120:
            raise SystemExit("no write succeeded within two minutes")
        time.sleep(0.005)


def form(binary, method, count):
    with Field(binary) as field:
        service = {"consul-kv": Consul, "etcd-kv": lambda: Etcd(field)}.get(method, lambda: None)()
        ports = free_ports(2 * count)
        pairs = [ports[2 * i:2 * i + 2] for i in range(count)]
        began = time.monotonic()
        nodes = store(field, pairs, service) if service else METHODS[method](field, pairs)
        write_s = first_write_s(nodes, began)
        for node in nodes:
            node.wait_ready(120)
        wait_members(nodes, count)
        all_s = time.monotonic() - began
        if service:
            service.close()
    return write_s, all_s


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rqlited")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--nodes", default="3,5,7")
    parser.add_argument("--methods", default=",".join(METHODS))
    given = parser.parse_args()
    counts = [int(n) for n in given.nodes.split(",")]
    print("method        " + "".join(f"{n} nodes: first write, all in   " for n in counts))
    for method in given.methods.split(","):
        if method == "etcd-kv" and not shutil.which("etcd"):
            print("etcd-kv       skipped: there is no etcd here")
            continue
        row = f"{method:<14}"
        for count in counts:
            times = [form(given.rqlited, method, count) for _ in range(given.rounds)]
            write_s, all_s = (statistics.median(t[i] for t in times) for i in (0, 1))
            row += f"{write_s:8.2f} s {all_s:10.2f} s          "
        print(row, flush=True)


if __name__ == "__main__":
    main()
