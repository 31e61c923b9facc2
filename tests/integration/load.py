#!/usr/bin/env python3
"""Database files loaded into real nodes: through any node, of any kind that SQLite makes, wholly or not at all, while
clients write and read, leaders are killed, and with memory that does not grow with the file.

    tests/integration/load.py RQLITED [--mb 200]
"""
import argparse
import http.client
import os
import sqlite3
import threading
import time

from nodes import Client, Field, free_ports, wait_equal, wait_leader, want

SMALL = ["-raft-snap", "60"]


def make_file(path, rows, mode="delete", page=4096, marker="v", width=100):
    if os.path.exists(path):
        os.remove(path)
    conn = sqlite3.connect(path)
    conn.execute(f"PRAGMA page_size={page}")
    conn.execute(f"PRAGMA journal_mode={mode}")
    conn.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, marker, v)")
    conn.executemany("INSERT INTO t(marker, v) VALUES(?, ?)", ((marker, os.urandom(width).hex()) for _ in range(rows)))
    conn.execute("CREATE INDEX t_v ON t(v)")
    conn.commit()
    conn.close()
    return path


def rows_of(path):
    conn = sqlite3.connect(path)
    rows = [list(row) for row in conn.execute("SELECT id, marker, v FROM t ORDER BY id")]
    conn.close()
    return rows


def send(node, path, target="/db/load", chunked=False, timeout_s=300):
    """The file as a body, read as it is sent. → status, body."""
    connection = http.client.HTTPConnection("127.0.0.1", node.http, timeout=timeout_s)
    try:
        with open(path, "rb") as body:
            if chunked:
                connection.request("POST", target, body=iter(lambda: body.read(70000), b""),
                                   headers={"Transfer-Encoding": "chunked"}, encode_chunked=True)
            else:
                connection.request("POST", target, body=body, headers={"Content-Length": str(os.path.getsize(path))})
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
    finally:
        connection.close()


def load(node, path, target="/db/load", **more):
    status, body = send(node, path, target, **more)
    want(status == 200, f"{target} of {os.path.basename(path)} through {node.name}: {status} {body}")
    return body


def leftovers(node):
    return [f for f in os.listdir(node.folder) if f.startswith("rqlite-load")]


def follower_of(nodes):
    leader = wait_leader(nodes)
    return leader, next(n for n in nodes if n is not leader)


def kinds(root, nodes):
    """Leader and follower; journal modes, page sizes, chunked; what is no database changes nothing."""
    leader, follower = follower_of(nodes)
    turn = 0
    for mode in ("delete", "wal"):
        for page in (4096, 512, 65536):
            path = make_file(os.path.join(root, "kind.db"), 3000, mode, page, f"{mode}{page}")
            node = (leader, follower)[turn % 2]
            want(load(node, path, chunked=turn % 3 == 0) == '{"results":[]}', "the body of a load's answer")
            turn += 1
            wait_equal(nodes)
            want(nodes[2].rows("SELECT id, marker, v FROM t ORDER BY id") == rows_of(path), f"{mode} {page}: rows differ")
    before = nodes[0].rows("SELECT count(*), max(v) FROM t")
    whole = open(path, "rb").read()
    damaged = bytearray(whole)
    damaged[65536:65536 + 4000] = b"\xa5" * 4000
    for name, content in {"truncated": whole[:-65536], "short": whole[:5000], "damaged": bytes(damaged),
                          "head": whole[:20]}.items():
        bad = os.path.join(root, name + ".db")
        with open(bad, "wb") as f:
            f.write(content)
        for node in (leader, follower):
            status, body = send(node, bad)
            want(status == 500 and body.startswith("error swapping databases: "), f"{name}: {status} {body}")
    wait_equal(nodes)
    want(nodes[1].rows("SELECT count(*), max(v) FROM t") == before, "a refused file has changed the database")
    want(not any(leftovers(n) for n in nodes), "files were left behind")
    return f"{turn} loads, 8 refused"


class Readers(threading.Thread):
    """Each answer must be one of the states that the database had: all rows of one file, by one marker."""

    def __init__(self, nodes, counts):
        super().__init__()
        self.nodes, self.counts, self.seen, self.wrong, self.ended = nodes, counts, {}, None, False

    def run(self):
        turn = 0
        clients = [Client(n.http, 30) for n in self.nodes]
        while not self.ended:
            turn += 1
            try:
                answer = clients[turn % len(clients)].ask(
                    "POST", "/db/query?level=none",
                    ["SELECT marker, count(*) FROM t WHERE marker IS NOT NULL GROUP BY marker"]).json()
                values = answer["results"][0].get("values")
            except Exception:  # pylint: disable=broad-except
                time.sleep(0.01)
                continue
            if values is None or len(values) != 1 or self.counts.get(values[0][0]) != values[0][1]:
                self.wrong = answer
                return
            self.seen[values[0][0]] = self.seen.get(values[0][0], 0) + 1

    def stop(self):
        self.ended = True
        self.join()
        want(self.wrong is None, f"a reader saw neither the old nor the new database: {self.wrong}")


class Writer(threading.Thread):
    def __init__(self, node):
        super().__init__()
        self.node, self.count, self.longest_s, self.ended = node, 0, 0, False

    def run(self):
        client = Client(self.node.http, 60)
        while not self.ended:
            start = time.monotonic()
            answer = client.ask("POST", "/db/execute", ["INSERT INTO t(marker) VALUES(NULL)"]).json()
            want("error" not in answer["results"][0], f"a write during loads: {answer}")
            self.longest_s = max(self.longest_s, time.monotonic() - start)
            self.count += 1

    def stop(self):
        self.ended = True
        self.join()


def while_busy(root, nodes):
    leader, follower = follower_of(nodes)
    counts = {"a": 40000, "b": 10000}
    files = {m: make_file(os.path.join(root, m + ".db"), c, marker=m) for m, c in counts.items()}
    load(leader, files["a"])
    wait_equal(nodes)
    readers, writer = Readers(nodes, counts), Writer(leader)
    readers.start()
    writer.start()
    for i in range(6):
        load((follower, leader)[i % 2], files["ba"[i % 2]])
    writer.stop()
    readers.stop()
    wait_equal(nodes)
    for node in nodes:
        want(node.rows("PRAGMA integrity_check") == [["ok"]], f"{node.name}: integrity_check")
        want(node.rows("SELECT count(*) FROM t WHERE marker='a'") == [[40000]], f"{node.name}: rows of the last load")
    want(len(readers.seen) == 2, f"readers saw {readers.seen}")
    return f"6 loads, {sum(readers.seen.values())} reads of either, {writer.count} writes, longest {writer.longest_s:.2f} s"


def killed_leader(root, nodes):
    """Killed anywhere in a load, the load is installed on all nodes or on none; and the next one works."""
    outcomes = []
    for turn, wait_s in enumerate((0.05, 0.2, 0.4, 0.8)):
        leader, follower = follower_of(nodes)
        marker = f"k{turn}"
        path = make_file(os.path.join(root, "k.db"), 20000, marker=marker)
        before = nodes[0].rows("SELECT DISTINCT marker FROM t WHERE marker IS NOT NULL", "strong")
        told = []
        through = follower if turn % 2 else leader

        def attempt():
            try:
                told.append(send(through, path))  # pylint: disable=cell-var-from-loop
            except OSError as e:
                told.append((0, str(e)))

        thread = threading.Thread(target=attempt)
        thread.start()
        time.sleep(wait_s)
        leader.kill()
        thread.join()
        leader.start()
        for node in nodes:
            node.wait_ready()
        wait_leader(nodes)
        wait_equal(nodes)
        after = nodes[0].rows("SELECT DISTINCT marker FROM t WHERE marker IS NOT NULL", "strong")
        status, body = told[0]
        want(after in ([[marker]], before), f"neither old nor new: {after}")
        if status == 200:
            want(after == [[marker]], "an acknowledged load is gone")
        elif status and "nevertheless" not in body:
            want(after == before, f"a load that failed was installed: {status} {body}")
        outcomes.append(status)
        want(not leftovers(through) or status == 200, f"files were left behind: {leftovers(through)}")
        load(follower_of(nodes)[1], path)
        wait_equal(nodes)
        want(nodes[0].rows("SELECT count(*) FROM t") == [[20000]], "the load after a kill")
    return f"answers {outcomes}"


def restarts(root, nodes):
    path = make_file(os.path.join(root, "r.db"), 5000, marker="r")
    load(nodes[0], path)
    for node in nodes:
        node.kill()
    for node in nodes:
        node.start()
    for node in nodes:
        node.wait_ready()
    wait_leader(nodes)
    wait_equal(nodes)
    for node in nodes:
        want(node.rows("SELECT id, marker, v FROM t ORDER BY id") == rows_of(path), f"{node.name}: rows after kills")
    return "all killed, rows are there"


def memory_kb(node, field="VmHWM"):
    with open(f"/proc/{node.process.pid}/status", encoding="ascii") as f:
        return next(int(line.split()[1]) for line in f if line.startswith(field))


def large(field, root, mb):
    """On disk: memory stays as it is, however large the file."""
    node = field.node("large", flags=["-on-disk"]).start()
    node.wait_ready()
    small = make_file(os.path.join(root, "s.db"), 2000)
    load(node, small)
    path = make_file(os.path.join(root, "l.db"), mb * 1024 * 1024 // 4400, width=1000)
    size = os.path.getsize(path)
    before = memory_kb(node)
    start = time.monotonic()
    load(node, path)
    took = time.monotonic() - start
    grown = memory_kb(node) - before
    want(node.rows("SELECT count(*) FROM t") == [[mb * 1024 * 1024 // 4400]], "rows of the large file")
    if mb >= 200:  # recent entries, page caches, batches: the same for every size
        want(grown < 160 * 1024, f"memory grew by {grown} KB while {size >> 10} KB were loaded")
    node.terminate()
    return f"{size >> 20} MB in {took:.1f} s, memory grew by {grown >> 10} MB from {before >> 10}"


def boots(field, root):
    """A booted node, and two that join it."""
    ports = free_ports(6)
    first = field.node("b1", ports[:2], SMALL).start()
    first.wait_ready()
    first.execute("CREATE TABLE old(a)")
    path = make_file(os.path.join(root, "boot.db"), 8000, mode="wal", marker="boot")
    want(load(first, path, "/boot") == "", "the body of a boot's answer")
    want(first.rows("SELECT id, marker, v FROM t ORDER BY id") == rows_of(path), "rows of a booted database")
    first.kill()
    first.start()
    first.wait_ready()
    want(first.rows("SELECT count(*) FROM t") == [[8000]], "rows after a boot and a kill")
    others = [field.node(f"b{i}", ports[2 * i - 2:2 * i], SMALL + ["-join", f"localhost:{first.raft}"]).start()
              for i in (2, 3)]
    for node in others:
        node.wait_ready()
    wait_equal([first, *others])
    want(others[1].rows("SELECT id, marker, v FROM t ORDER BY id") == rows_of(path), "rows at a node that joined")
    status, body = send(first, path, "/boot")
    want((status, body) == (503, "not single-node\n"), f"boot of a cluster: {status} {body}")
    for node in (first, *others):
        node.terminate()
    return "booted, killed, joined by two"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("rqlited")
    parser.add_argument("--mb", type=int, default=200)
    given = parser.parse_args()
    os.environ.setdefault("ASAN_OPTIONS", "quarantine_size_mb=4")
    with Field(given.rqlited) as field:
        root = field.root
        print("ok   boot:", boots(field, root), flush=True)
        for mode, flags in ("in memory", []), ("on disk", ["-on-disk"]):
            nodes = field.three(flags=SMALL + flags, prefix=mode[3])
            for node in nodes:
                node.wait_ready()
            print(f"ok   {mode}: kinds of files:", kinds(root, nodes), flush=True)
            print(f"ok   {mode}: readers and a writer:", while_busy(root, nodes), flush=True)
            print(f"ok   {mode}: killed leaders:", killed_leader(root, nodes), flush=True)
            print(f"ok   {mode}: restarts:", restarts(root, nodes), flush=True)
            for node in nodes:
                node.terminate()
        print("ok   a large file:", large(field, root, given.mb), flush=True)


if __name__ == "__main__":
    main()
