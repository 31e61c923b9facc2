#!/usr/bin/env python3
"""Backups of real nodes: of one moment while others write, in every form and through every node, within bounded memory,
and nobody waits for a client that does not read.

    backup.py PATH/TO/rqlited [--megabytes N] [--on-disk]

With a sanitized build the database is smaller, and memory may grow more. Exit status 0: all kept."""
import argparse
import contextlib
import gzip
import http.client
import io
import os
import random
import shutil
import socket
import sqlite3
import subprocess
import threading
import time

from nodes import Client, Field, want, wait_leader
from stream import Growth, others_go_on, sanitized

FORMS = ["", "fmt=delete", "vacuum", "fmt=sql", "compress", "fmt=delete&compress", "vacuum&compress", "fmt=sql&compress"]
ACCOUNTS, SUM = 200, 200_000
AT_ONCE = 4  # LIMIT_BACKUPS


def fetch(node, form, timeout_s=120, headers=None):
    """The answer's head and the whole body, uncompressed."""
    connection = http.client.HTTPConnection("127.0.0.1", node.http, timeout=timeout_s)
    connection.request("GET", f"/db/backup?{form}", headers=headers or {})
    response = connection.getresponse()
    body = response.read()
    connection.close()
    if response.status == 200 and "compress" in form:
        want(body[:2] == b"\x1f\x8b", "not gzip")
        body = gzip.GzipFile(fileobj=io.BytesIO(body)).read()  # fails if bytes are missing or left over
    return response, body


class Raw:
    """A client that takes bytes when it likes."""

    def __init__(self, node, form=""):
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        self.socket.settimeout(60)
        self.socket.connect(("127.0.0.1", node.http))
        self.socket.sendall(f"GET /db/backup?{form} HTTP/1.1\r\nHost: h\r\n\r\n".encode())

        self.response = http.client.HTTPResponse(self.socket)

    def answer(self):
        self.response.begin()
        return self.response

    def close(self):
        self.response.close()  # or it would hold the connection
        self.socket.close()


# ---- reading them -------------------------------------------------------------------------------------------------

def opened(folder, form, body):
    """A backup as a database of SQLite's own."""
    path = os.path.join(folder, "backup.sqlite")
    for suffix in ("", "-wal", "-shm"):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path + suffix)
    if "fmt=sql" in form:
        db = sqlite3.connect(path, isolation_level=None)
        db.executescript(body.decode())
        return db
    want(body[:16] == b"SQLite format 3\0", f"{form}: begins with {body[:16]!r}")
    versions = b"\1\1" if "delete" in form or "vacuum" in form else b"\2\2"
    want(body[18:20] == versions, f"{form}: versions {body[18:20]!r}")
    with open(path, "wb") as f:
        f.write(body)
    return sqlite3.connect(path, isolation_level=None)


def content(db):
    check = db.execute("PRAGMA integrity_check").fetchall()
    want(check == [("ok",)], f"integrity_check: {check[:5]}")
    schema = db.execute("SELECT type, name, sql FROM sqlite_schema WHERE sql NOT NULL ORDER BY name").fetchall()
    tables = [name for kind, name, _ in schema if kind == "table"]
    return schema, {t: db.execute(f'SELECT * FROM "{t}" ORDER BY 1').fetchall() for t in tables}


# ---- one moment ----------------------------------------------------------------------------------------------------

class Writer(threading.Thread):
    """Moves money between two tables; the sum stays. `acknowledged` rounds are in the database for good."""

    def __init__(self, node, seed):
        super().__init__()
        self.node, self.rng, self.acknowledged, self.stopped, self.failure = node, random.Random(seed), 0, False, None

    def run(self):
        client = Client(self.node.http, 30)
        while not self.stopped and not self.failure:
            amount, one, other = self.rng.randrange(10), self.rng.randrange(ACCOUNTS), self.rng.randrange(ACCOUNTS)
            answer = client.ask("POST", "/db/execute?transaction", [
                ["UPDATE a SET money=money-?, filler=randomblob(300) WHERE id=?", amount, one],
                ["UPDATE b SET money=money+?, filler=randomblob(300) WHERE id=?", amount, other],
                ["INSERT INTO rounds(note) VALUES(?)", "x" * self.rng.randrange(2000)]])
            if b'"error"' in answer.body:
                self.failure = answer.body
            self.acknowledged += 1
        client.close()

    def stop(self):
        self.stopped = True
        self.join()
        want(not self.failure, f"the writer: {self.failure}")


def make_tables(leader):
    for sql in ("CREATE TABLE a(id INTEGER PRIMARY KEY, money, filler)", "CREATE TABLE b(id INTEGER PRIMARY KEY, money, filler)",
                "CREATE TABLE rounds(n INTEGER PRIMARY KEY AUTOINCREMENT, note)", "CREATE INDEX rn ON rounds(note)",
                "CREATE VIRTUAL TABLE words USING fts5(w)", "INSERT INTO words VALUES('hello world')",
                "CREATE VIEW total AS SELECT (SELECT sum(money) FROM a)+(SELECT sum(money) FROM b)"):
        leader.execute(sql)
    for t in "ab":
        leader.execute(f"WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i+1 FROM n WHERE i<{ACCOUNTS - 1}) "
                       f"INSERT INTO {t} SELECT i, {SUM // 2 // ACCOUNTS}, randomblob(300) FROM n")


def test_one_moment(field, leader, nodes, rounds):
    writers = [Writer(node, i) for i, node in enumerate(nodes[:2])]
    for w in writers:
        w.start()
    taken = 0
    for _ in range(rounds):
        for node in nodes:
            for form in FORMS:
                before = sum(w.acknowledged for w in writers)
                response, body = fetch(node, form)
                want(response.status == 200, f"{form}: {response.status} {body[:200]!r}")
                kind = "application/sql" if "fmt=sql" in form else "application/octet-stream"
                want(response.getheader("Content-Type") == kind, response.getheader("Content-Type"))
                want(response.getheader("Content-Encoding") is None, "Content-Encoding")
                db = opened(field.root, form, body)
                _, tables = content(db)
                want(db.execute("SELECT * FROM total").fetchone() == (SUM,), f"{form}: the sum is {db.execute('SELECT * FROM total').fetchone()}")
                want(len(tables["rounds"]) >= before, f"{form}: {len(tables['rounds'])} rounds, {before} were acknowledged before")
                got = db.execute("SELECT count(*), coalesce(max(n), 0) FROM rounds").fetchone()
                want(got == (len(tables["rounds"]),) * 2, f"{form}: rounds have gaps: {got} {len(tables['rounds'])}")
                want(db.execute("SELECT w FROM words WHERE words MATCH 'hello'").fetchall() == [("hello world",)], "full text")
                db.close()
                taken += 1
    for w in writers:
        w.stop()
    return f"{taken} backups during {sum(w.acknowledged for w in writers)} transactions: each of one moment"


def dumped(path):
    """As the sqlite3 tool sees a database. Tables may come in another order."""
    text = subprocess.run(["sqlite3", path, ".dump"], capture_output=True, check=True).stdout
    return sorted(text.split(b"\n"))


def wait_same(nodes, table):
    end = time.monotonic() + 60
    while len({str(n.rows(f"SELECT count(*) FROM {table}")) for n in nodes}) > 1:
        want(time.monotonic() < end, "nodes differ after 60 s")
        time.sleep(0.05)


def test_all_equal(field, nodes):
    wait_same(nodes, "rounds")
    held, texts, dumps = [], set(), []
    for node in nodes:
        for form in FORMS + ["noleader", "noleader&fmt=sql"]:
            _, body = fetch(node, form)
            db = opened(field.root, form, body)
            held.append(content(db))
            db.close()
            if "fmt=sql" in form:
                texts.add(body)
            if shutil.which("sqlite3"):
                dumps.append(dumped(os.path.join(field.root, "backup.sqlite")))
    want(all(h == held[0] for h in held), "backups of equal nodes differ")
    want(len(texts) == 1, f"{len(texts)} different texts")
    want(all(d == dumps[0] for d in dumps), "the sqlite3 tool finds a difference")
    return f"{len(held)} backups of three equal nodes are equal, {len(dumps)} of them by the sqlite3 tool's .dump too"


def test_redirect_and_counters(leader, follower):
    response, body = fetch(follower, "redirect&fmt=sql")
    want(response.status == 301 and body == b"", f"redirect: {response.status}")
    want(response.getheader("Location") == f"http://localhost:{leader.http}/db/backup?redirect&fmt=sql", response.getheader("Location"))
    counts = follower.ask("GET", "/debug/vars").json()
    want(counts["proxy"]["remote_backups"] > 0 and counts["http"]["backups"] > 0, "counters of the follower")
    counts = leader.ask("GET", "/debug/vars").json()
    want(counts["store"]["num_backups"] > 0 and counts["cluster"]["num_backup_req"] > 0, "counters of the leader")
    want("last_backup_time" in follower.ask("GET", "/status").json(), "last_backup_time")


# ---- large ones ----------------------------------------------------------------------------------------------------

def fill(nodes, megabytes):
    leader = nodes[0]
    leader.execute("CREATE TABLE big(i INTEGER PRIMARY KEY, x)")
    for at in range(0, megabytes, 5):
        leader.execute("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<5000) "
                       "INSERT INTO big(x) SELECT randomblob(500)||zeroblob(500) FROM n", timeout_s=60)
    wait_same(nodes, "big")


def read_all(response, growth, pause_s=0.0):
    total = 0
    while part := response.read(256 * 1024):
        total += len(part)
        if total % (2 << 20) < len(part):
            growth.look()
        time.sleep(pause_s)
    return total


def test_memory(nodes, megabytes, limit_mb):
    lines = []
    for form in ("", "compress", "fmt=sql", "vacuum", "noleader"):
        growth, begun, total = Growth(nodes, limit_mb), time.monotonic(), 0
        for node in nodes[:2]:
            raw = Raw(node, form)
            response = raw.answer()
            want(response.status == 200 and response.getheader("Transfer-Encoding") == "chunked", f"{form}: {response.status}")
            total += read_all(response, growth)
            raw.close()
        want(total > (megabytes << 20) / 2, f"{form}: {total} bytes")
        seconds = time.monotonic() - begun
        lines.append(growth.judge(f"{form or 'binary'}: {total >> 20} MB in {seconds:.1f} s"))
    return "\n".join(lines)


def free_again(node, limit_s=10):
    """Until that many backups can be made at once; then there are none."""
    end = time.monotonic() + limit_s
    while True:
        raws = [Raw(node, "noleader") for _ in range(AT_ONCE)]
        states = [r.answer().status for r in raws]
        for r in raws:
            r.close()
        if states == [200] * AT_ONCE:
            return
        want(time.monotonic() < end, f"backups of clients that left are still there: {states}")
        time.sleep(0.1)


def test_slow_clients(nodes, limit_mb):
    leader, follower = nodes[:2]
    leader.execute("CREATE TABLE small(x)")
    growth = Growth(nodes, limit_mb)
    stalled = [Raw([leader, follower][i % 2]) for i in range(AT_ONCE)]
    answers = [r.answer() for r in stalled]
    want([a.status for a in answers] == [200] * AT_ONCE, "as many as are allowed")
    for node in (leader, follower):
        response, body = fetch(node, "")
        want(response.status == 503 and response.getheader("Retry-After") == "1", f"one more: {response.status}")
        want(b"too many backups" in body, body)
    want(fetch(follower, "noleader&fmt=sql&tables=none")[0].status == 200, "the follower itself makes none")
    longest = others_go_on(nodes, 8)
    want(longest < 10, f"others waited for clients that do not read: {longest:.1f} s")
    total = read_all(answers[0], growth)
    want(total > 0, "the first of them gets all")
    for r in stalled:
        r.close()
    free_again(leader)
    return f"{growth.judge(f'{AT_ONCE} clients that do not read')}; others took {longest * 1000:.0f} ms at most"


def begun(node, form, limit_s=10):
    """Once the places of those who left are free again."""
    end = time.monotonic() + limit_s
    while True:
        raw = Raw(node, form)
        status = raw.answer().status
        if status == 200:
            return raw
        raw.close()
        want(status == 503 and time.monotonic() < end, f"{form}: {status}")
        time.sleep(0.05)


def test_one_vacuum(leader):
    raw = begun(leader, "vacuum")
    copies = [f for f in os.listdir(leader.folder) if f.startswith("rqlite-backup-")]
    want(len(copies) == 1, f"copies: {copies}")
    want(fetch(leader, "vacuum")[0].status == 503, "a second vacuumed one")
    want(fetch(leader, "fmt=sql&tables=none")[0].status == 200, "another kind")
    raw.close()
    end = time.monotonic() + 10
    while any(f.startswith("rqlite-backup-") for f in os.listdir(leader.folder)):
        want(time.monotonic() < end, "the copy stays although its client left")
        time.sleep(0.05)


def test_leader_dies(leader, follower):
    raw = begun(follower, "")
    response = raw.response
    response.read(1 << 20)
    copy = begun(leader, "vacuum")
    leader.kill()
    try:
        while response.read(1 << 20):
            pass
        want(False, "half a backup has an end")
    except (http.client.IncompleteRead, ConnectionError):
        pass
    raw.close()
    copy.close()
    want("closing in the middle of an answer" in follower.words(), "the follower's log says nothing")
    want(any(f.startswith("rqlite-backup-") for f in os.listdir(leader.folder)), "the copy is gone already")
    leader.start().wait_ready()
    want(not any(f.startswith("rqlite-backup-") for f in os.listdir(leader.folder)), "a copy is left after a start")


def main():
    p = argparse.ArgumentParser()
    p.add_argument("binary")
    p.add_argument("--megabytes", type=int)
    p.add_argument("--on-disk", action="store_true")
    args = p.parse_args()
    slow_build = sanitized(args.binary)
    megabytes = args.megabytes or (40 if slow_build else 250)
    limit_mb = 96 if slow_build else 40
    os.environ["ASAN_OPTIONS"] = ":".join(filter(None, (os.environ.get("ASAN_OPTIONS"), "quarantine_size_mb=4")))
    with Field(args.binary) as field:
        patience = ["heartbeat", "election", "leader-lease"]
        flags = [f"-raft-{p}-timeout=4s" for p in patience] + ["-raft-snap=200"] + ["-on-disk"] * args.on_disk
        nodes = field.three(flags=flags)
        for node in nodes:
            node.wait_ready()
        make_tables(nodes[0])
        leader = wait_leader(nodes)
        nodes.sort(key=lambda n: n is not leader)
        print(test_one_moment(field, leader, nodes, 1 if slow_build else 4), flush=True)
        print(test_all_equal(field, nodes), flush=True)
        test_redirect_and_counters(leader, nodes[1])
        fill(nodes, megabytes)
        print(test_memory(nodes, megabytes, limit_mb), flush=True)
        print(test_slow_clients(nodes, 2 * limit_mb), flush=True)
        test_one_vacuum(leader)
        test_leader_dies(leader, nodes[1])
        for node in nodes[1:]:
            node.terminate()
            want(node.process.returncode == 0, f"node {node.name} ended with {node.process.returncode}")


if __name__ == "__main__":
    main()
