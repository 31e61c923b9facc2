#!/usr/bin/env python3
"""Ends and beginnings of real processes: SIGTERM under load, a folder in use, restarts.

    shutdown.py PATH/TO/rqlited

Exit status 0: all passed."""
import http.client
import json
import signal
import socket
import sys
import threading
import time

from nodes import Client, Field, free_ports, wait_equal, wait_leader, want

STOP_LIMIT_S = 3.0  # whatever clients do, except
HAND_OVER_LIMIT_S = 0.9  # less than any timeout of Raft's
STALL_LIMIT_S = 8.0  # when one does not read its answer: it is given 5 s for that


class Load:
    """Clients that insert numbers as fast as they are answered, until their node is gone."""

    def __init__(self, node, clients=8):
        self.node, self.acknowledged, self.lock = node, set(), threading.Lock()
        self.threads = [threading.Thread(target=self.run, args=(i,), daemon=True) for i in range(clients)]
        for t in self.threads:
            t.start()

    def run(self, which):
        client = Client(self.node.http, 10)
        number = which * 1_000_000
        try:
            while True:
                number += 1
                answer = client.ask("POST", "/db/execute", [["INSERT INTO t(number) VALUES(?)", number]])
                if answer.status != 200 or b"error" in answer.body:
                    return
                with self.lock:
                    self.acknowledged.add(number)
        except (OSError, http.client.HTTPException):
            pass

    def wait(self):
        for t in self.threads:
            t.join(30)
            want(not t.is_alive(), "a client still waits although its node is gone")
        return self.acknowledged


def idle_connections(node):
    """One that never spoke, one in the middle of a head, one in the middle of a body, one that was answered."""
    sockets = [socket.create_connection(("127.0.0.1", node.http), 5) for _ in range(4)]
    sockets[1].sendall(b"GET /readyz HT")
    sockets[2].sendall(b"POST /db/execute HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n[")
    sockets[3].sendall(b"GET /readyz HTTP/1.1\r\nHost: a\r\n\r\n")
    sockets[3].recv(4096)
    return sockets


def stalled_connection(node):
    """Asks for more than the kernel buffers and does not read it."""
    query = json.dumps(["SELECT hex(zeroblob(8000000))"]).encode()
    s = socket.create_connection(("127.0.0.1", node.http), 5)
    s.sendall(b"POST /db/query HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(query) + query)
    return s


def stop(node, limit_s=STOP_LIMIT_S):
    spent_s = node.terminate()
    want(node.process.returncode == 0, f"node {node.name} ended with {node.process.returncode}\n{node.tail()}")
    want(spent_s < limit_s, f"node {node.name} took {spent_s:.1f} s to stop")
    return spent_s


def numbers(node):
    return {row[0] for row in node.rows("SELECT number FROM t")}


def case_stop_while_busy(field, flags):
    """Acknowledged writes are there after SIGTERM under load and a restart; nobody holds the stop up."""
    node = field.node("busy", flags=flags).start()
    node.wait_ready()
    node.execute("CREATE TABLE t (number INTEGER)")
    load, idle = Load(node), idle_connections(node)
    time.sleep(1)
    spent_s = stop(node)
    acknowledged = load.wait()
    for s in idle:
        s.close()
    want(len(acknowledged) > 10, "the load did not load")
    node.start().wait_ready()
    lost = acknowledged - numbers(node)
    want(not lost, f"{len(lost)} acknowledged writes are missing after the restart")
    with stalled_connection(node):
        time.sleep(0.5)
        stalled_s = stop(node, STALL_LIMIT_S)
    return f"stopped after {spent_s:.2f} s, {len(acknowledged)} writes acknowledged; {stalled_s:.2f} s with one that does not read"


def case_killed_while_busy(field, flags):
    node = field.node("killed", flags=flags).start()
    node.wait_ready()
    node.execute("CREATE TABLE t (number INTEGER)")
    acknowledged = set()
    for _ in range(3):
        load = Load(node)
        time.sleep(0.3)
        node.kill()
        acknowledged |= load.wait()
        node.start().wait_ready()
        lost = acknowledged - numbers(node)
        want(not lost, f"{len(lost)} acknowledged writes are missing after kill -9")
        node.execute("DELETE FROM t")
        acknowledged.clear()
    stop(node)
    return "three times"


def case_folder_in_use(field, flags):
    """A second process on the same folder is refused and does not disturb the first."""
    first = field.node("folder", flags=flags).start()
    first.wait_ready()
    first.execute("CREATE TABLE t (number INTEGER)")
    second = field.node(first.name, free_ports(2), flags)
    second.words_path += ".second"
    second.start()
    want(second.process.wait(20) == 1, f"the second process ended with {second.process.returncode}\n{second.tail()}")
    first.execute("INSERT INTO t(number) VALUES(1)")
    stop(first)
    first.start().wait_ready()
    want(numbers(first) == {1}, "the first process lost its write")
    stop(first)
    return second.words().strip().splitlines()[-1]


def case_signal_at_start(field, flags):
    """SIGTERM at any moment of a start ends it; the next start works."""
    node = field.node("early", flags=flags)
    for i in range(10):
        node.start()
        time.sleep(0.003 * i)
        node.process.send_signal(signal.SIGINT if i % 2 else signal.SIGTERM)
        status = node.process.wait(20)
        want(status in (0, 1, -signal.SIGTERM, -signal.SIGINT), f"ended with {status}\n{node.tail()}")
    node.start().wait_ready()
    stop(node)
    return "ten times"


def case_all_at_once(field, flags):
    """A whole cluster is terminated, then killed, at once; it comes back by itself with the same content."""
    nodes = field.three(flags=flags)
    for node in nodes:
        node.wait_ready()
    nodes[2].execute("CREATE TABLE t (number INTEGER)")
    for i in range(20):
        nodes[i % 3].execute("INSERT INTO t(number) VALUES(?)", i)
    before = wait_equal(nodes)
    back_s = []
    for how in (signal.SIGTERM, signal.SIGKILL):
        for node in nodes:
            node.process.send_signal(how)
        for node in nodes:
            status = node.process.wait(20)
            want(how == signal.SIGKILL or status == 0, f"node {node.name} ended with {status}\n{node.tail()}")
        for node in nodes:
            node.start()
        begun = time.monotonic()
        for node in nodes:
            node.wait_ready()
        back_s.append(time.monotonic() - begun)
        want(wait_equal(nodes) == before, "the content changed")
    nodes[1].execute("INSERT INTO t(number) VALUES(20)")
    wait_leader(nodes)
    want(len(wait_equal(nodes)[1]["t"]) == 21, "a row is missing")
    for node in nodes:
        stop(node)
    return f"all ready {back_s[0]:.2f} s after SIGTERM, {back_s[1]:.2f} s after kill -9"


def case_leader_hands_over(field, flags):
    """A leader that is asked to, or stops, does so at once: nobody waits for an election, nor it for a timeout."""
    nodes = field.three(flags=flags, prefix="over")
    for node in nodes:
        node.wait_ready()
    leader = wait_leader(nodes)
    begun = time.monotonic()
    status = leader.ask("POST", "/leader?wait").status
    asked_s = time.monotonic() - begun
    want(status == 200, f"POST /leader?wait: {status}")
    want(asked_s < HAND_OVER_LIMIT_S, f"handing over took {asked_s:.2f} s")
    leader = wait_leader(nodes)
    spent_s = stop(leader, HAND_OVER_LIMIT_S)
    rest = [n for n in nodes if n is not leader]
    begun = time.monotonic()
    wait_leader(rest)
    want(time.monotonic() - begun < HAND_OVER_LIMIT_S, "no leader after the old one handed over")
    for node in rest:
        stop(node)
    return f"{asked_s:.3f} s when asked, {spent_s:.3f} s when stopped"


CASES = [case_stop_while_busy, case_killed_while_busy, case_folder_in_use, case_signal_at_start,
         case_leader_hands_over, case_all_at_once]


def main():
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    for flags in ([], ["-on-disk"]):
        with Field(sys.argv[1]) as field:
            for case in CASES:
                words = case(field, flags)
                print(f"ok   {case.__name__} {' '.join(flags)}: {words}", flush=True)
    print("all passed")


if __name__ == "__main__":
    main()
