#!/usr/bin/env python3
"""TLS between nodes, in real processes: encrypted and mutual, each way to be refused, certificates that change while
the cluster writes, strangers at the Raft port.

    node_tls.py PATH/TO/rqlited

Exit status 0: all passed."""
import os
import socket
import ssl
import sys
import threading
import time

from https import Certificates
from nodes import Client, Field, leader_of, wait_equal, wait_leader, want

REFUSED_AFTER_S = 3.0
WRITERS = 16


def flags_of(pair, *more):
    return ["-node-cert", pair[0], "-node-key", pair[1], *more]


def joining(field, name, first, flags):
    return field.node(name, flags=[*flags, "-join", f"localhost:{first.raft}"]).start()


def members(node):
    return node.ask("GET", "/nodes").json()


def kept_out(field, name, first, flags, words):
    """It never becomes a member, the first goes on, and somebody's log says why."""
    node = joining(field, name, first, flags)
    end = time.monotonic() + 15
    while not any(w in node.words() + first.words() for w in words):
        want(time.monotonic() < end, f"nobody said {words}:\n{node.tail()}\n{first.tail()}")
        want(name not in members(first), f"{name} is a member")
        time.sleep(0.05)
    time.sleep(0.3)
    want(name not in members(first), f"{name} is a member")
    first.execute("INSERT INTO foo VALUES(1)")
    node.kill()


def check_cluster(field, certs, prefix, flags_for):
    """Three nodes; a leader killed; all equal at the end."""
    nodes = []
    for i in range(3):
        flags = flags_for(i)
        node = joining(field, f"{prefix}{i}", nodes[0], flags) if nodes else field.node(f"{prefix}0", flags=flags).start()
        node.wait_ready()
        nodes.append(node)
    nodes[1].execute("CREATE TABLE foo(x)")  # a forwarded write
    for i in range(50):
        nodes[i % 3].execute("INSERT INTO foo VALUES(?)", i)
    want(nodes[0].ask("GET", "/status?key=mux.tls").json() == "enabled", "mux.tls")
    words = nodes[0].words()
    want("enabling node-to-node encryption with cert: " in words, words)
    want(f"TLS mux serving on 127.0.0.1:{nodes[0].raft}, advertising localhost:{nodes[0].raft}" in words, words)
    first = wait_leader(nodes)
    first.kill()
    others = [n for n in nodes if n is not first]
    wait_leader(others)
    others[0].execute("INSERT INTO foo VALUES(100)")
    first.start()
    first.wait_ready()
    wait_equal(nodes)
    return nodes


def check_in_the_clear(node):
    """Whoever speaks no TLS, or shows no certificate where one is demanded, gets nowhere."""
    for data in (b"GET / HTTP/1.1\r\n\r\n", b"\x00" * 200, os.urandom(500)):
        with socket.create_connection(("localhost", node.raft), 5) as s:
            s.settimeout(10)
            try:
                s.sendall(data)
                while s.recv(4096):
                    pass
            except ConnectionResetError:
                pass
    want(node.ready(), "garbage at the Raft port shook the node")


def check_no_certificate(node, certs):
    context = ssl.create_default_context(cafile=certs.ca[0])
    context.check_hostname = False
    with socket.create_connection(("localhost", node.raft), 5) as plain:
        plain.settimeout(10)
        try:
            with context.wrap_socket(plain, server_hostname="localhost") as s:
                want(s.recv(100) == b"", "a stranger without certificate was answered")
        except (ssl.SSLError, ConnectionResetError):
            pass


def serial(node, certs, shown):
    context = ssl.create_default_context(cafile=certs.ca[0])
    context.load_cert_chain(*shown)
    with socket.create_connection(("localhost", node.raft), 5) as plain, \
            context.wrap_socket(plain, server_hostname="localhost") as s:
        return s.getpeercert()["serialNumber"]


def check_reload(nodes, certs, pairs):
    """New certificates under the old names, three times, while 16 writers go on through all nodes: no write fails, all are
    there, newcomers see the new ones."""
    before = [serial(n, certs, pairs[0]) for n in nodes]
    failed, done, stopping = [], [0] * WRITERS, threading.Event()

    def write(at):
        client = Client(nodes[at % len(nodes)].http, 30)
        while not stopping.is_set():
            try:
                answer = client.ask("POST", "/db/execute", [["INSERT INTO foo VALUES(?)", 1000 + at]])
                want(answer.status == 200 and b"rows_affected" in answer.body, f"{answer.status} {answer.body}")
                done[at] += 1
            except Exception as e:  # noqa: BLE001 - told below
                failed.append(repr(e))

    writers = [threading.Thread(target=write, args=(i,)) for i in range(WRITERS)]
    for w in writers:
        w.start()
    for _ in range(3):
        for i, _ in enumerate(nodes):
            certs.make(f"node{i}", certs.ca, "node")
        time.sleep(1.2)
    end = time.monotonic() + 20
    while [serial(n, certs, pairs[0]) for n in nodes] == before or \
            any(a == serial(n, certs, pairs[0]) for a, n in zip(before, nodes)):
        want(time.monotonic() < end, "the new certificates were not taken")
        time.sleep(0.1)
    stopping.set()
    for w in writers:
        w.join()
    want(not failed, f"{len(failed)} writes failed while certificates changed: {failed[:3]}")
    rows = nodes[0].rows("SELECT count(*) FROM foo WHERE rowid > 0 AND x >= 1000", "strong")
    want(rows == [[sum(done)]], f"{rows}, not {sum(done)} rows")
    print(f"{sum(done)} writes of {WRITERS} writers while certificates changed three times, none failed", flush=True)
    leader = leader_of(nodes)  # connections made after the change stand as well
    follower = next(n for n in nodes if n is not leader)
    follower.kill()
    follower.start()
    follower.wait_ready()
    wait_equal(nodes)


def check_names(field, certs):
    """D9.8 D9.9: certificates for another name than the one dialled, which all are told to expect"""
    pair = certs.make("example", certs.ca, "example.com", "DNS:example.com")
    expecting = ["-node-ca-cert", certs.ca[0], "-node-verify-server-name"]
    nodes = check_cluster(field, certs, "named", lambda i: flags_of(pair, *expecting, "example.com", "-node-verify-client",
                                                                    "-node-verify-common-name", "example.com"))
    kept_out(field, "misled", wait_leader(nodes), flags_of(pair, *expecting, "bad.com"), ["failed: "])
    for n in nodes:
        n.terminate()


def check_refused_at_start(field, certs):
    for flags, words in ((["-node-cert", certs.ca[0]], "either both -node-cert and -node-key must be set, or neither"),
                         (["-node-ca-cert", certs.ca[0]], "failed to create cluster client: "),
                         (["-node-cert", "/nowhere.pem", "-node-key", certs.ca[1]], "failed to start node mux: ")):
        node = field.node(f"bad{len(field.nodes)}", flags=flags).start()
        node.process.wait(20)
        want(node.process.returncode == 1 and words in node.words(), f"{flags}: {node.process.returncode} {node.words()}")


def main():
    with Field(sys.argv[1]) as field:
        certs = Certificates(field.root)
        pairs = [certs.make(f"node{i}", certs.ca, "node") for i in range(3)]
        elsewhere = certs.make("elsewhere", certs.strange, "node")
        ca = ["-node-ca-cert", certs.ca[0]]
        mutual = [*ca, "-node-verify-client", "-node-verify-common-name", "node"]

        nodes = check_cluster(field, certs, "plain", lambda i: flags_of(pairs[i], *ca))
        first = wait_leader(nodes)
        kept_out(field, "clear", first, [], ["TLS with"])  # D9.10
        kept_out(field, "wrongca", first, flags_of(pairs[1], "-node-ca-cert", certs.strange[0]), ["failed: "])
        kept_out(field, "badname", first, flags_of(pairs[1], *ca, "-node-verify-server-name", "bad.com"), ["failed: "])
        late = certs.expired("late", "node")
        kept_out(field, "expired", first, flags_of(late, *ca), ["certificate has expired"])
        wrong_host = certs.make("wronghost", certs.ca, "node", "DNS:elsewhere.example")
        kept_out(field, "wronghost", first, flags_of(wrong_host, *ca), ["ostname mismatch"])
        check_in_the_clear(first)
        for n in nodes:
            n.terminate()

        nodes = check_cluster(field, certs, "mutual", lambda i: flags_of(pairs[i], *mutual))
        first = wait_leader(nodes)
        kept_out(field, "stranger", first, flags_of(elsewhere, *mutual), ["failed: "])
        kept_out(field, "outdated", first, flags_of(late, *mutual), ["certificate has expired"])
        kept_out(field, "othername", first, flags_of(certs.make("other", certs.ca, "other"), *mutual), ['matches CN "node"'])
        check_no_certificate(first, certs)
        check_reload(nodes, certs, pairs)
        for n in nodes:
            n.terminate()

        check_names(field, certs)

        # D9.7
        self_signed = [certs.make(f"self{i}") for i in range(2)]
        alone = field.node("self0", flags=flags_of(self_signed[0])).start()
        alone.wait_ready()
        alone.execute("CREATE TABLE foo(x)")
        kept_out(field, "self1", alone, flags_of(self_signed[1]), ["failed: "])
        trusting = joining(field, "self2", alone, flags_of(self_signed[1], "-node-no-verify"))
        time.sleep(REFUSED_AFTER_S)  # it may dial, but the first node does not take its certificate when it dials back
        trusting.kill()
        alone.terminate()
        both = check_cluster(field, certs, "trusting", lambda i: flags_of(self_signed[i % 2], "-node-no-verify"))
        for n in both:
            n.terminate()
        check_refused_at_start(field, certs)
    print("nodes talk TLS, and to nobody else")
    return 0


if __name__ == "__main__":
    sys.exit(main())
