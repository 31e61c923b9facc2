#!/usr/bin/env python3
"""Large values and large results through real nodes: right to the byte, within bounded memory, and nobody waits for
a client that does not read.

    stream.py PATH/TO/rqlited [--rows N]

With a sanitized build there are fewer rows, the blob is of 1 MB instead of 10, and memory may grow more. Exit status 0: all kept."""
import argparse
import base64
import contextlib
import http.client
import json
import os
import random
import socket
import time
import urllib.parse

from nodes import Client, Field, want, wait_leader

STALLED = 50
OTHERS_LIMIT_S = 10  # their clients give up then
STEP = 50_000  # rows of one entry: a longer one would make the leader give up
ROWS_SQL = ("WITH RECURSIVE n(i) AS (SELECT ?+1 UNION ALL SELECT i+1 FROM n LIMIT ?) "
            "INSERT INTO big SELECT i, 'row '||i FROM n")


def sanitized(binary):
    with open(binary, "rb") as f:
        program = f.read()
    return b"__asan_init" in program or b"__tsan_init" in program


def resident_mb(node):
    with open(f"/proc/{node.process.pid}/status", encoding="ascii") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("VmRSS")) / 1024


def target(sql, **flags):
    return "/db/query?" + urllib.parse.urlencode({"q": sql, **flags})


def get(node, sql, timeout_s=60, **flags):
    client = Client(node.http, timeout_s)
    try:
        return client.ask("GET", target(sql, **flags))
    finally:
        client.close()


def expected(rows):
    values = ",".join(f'[{i},"row {i}"]' for i in range(1, rows + 1))
    return f'{{"results":[{{"columns":["x","y"],"types":["integer","text"],"values":[{values}]}}]}}'.encode()


class Raw:
    """A client that takes bytes when it likes: no more than a little waits for it in its own kernel."""

    def __init__(self, node, sql, version="1.1", **flags):
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        self.socket.settimeout(60)
        self.socket.connect(("127.0.0.1", node.http))
        self.socket.sendall(f"GET {target(sql, **flags)} HTTP/{version}\r\nHost: h\r\n\r\n".encode())

    def answer(self):
        response = http.client.HTTPResponse(self.socket)
        response.begin()
        return response

    def close(self):
        self.socket.close()


class Growth:
    """Resident memory of some nodes, the most that was seen since."""

    def __init__(self, nodes, limit_mb):
        self.limit_mb = limit_mb
        self.begun = {n: resident_mb(n) for n in nodes}
        self.most = dict.fromkeys(nodes, 0.0)

    def look(self):
        for n, mb in self.begun.items():
            self.most[n] = max(self.most[n], resident_mb(n) - mb)

    def judge(self, what):
        self.look()
        for n, mb in self.most.items():
            want(mb < self.limit_mb, f"{what}: node {n.name} grew by {mb:.0f} MB, {self.limit_mb} are allowed")
        return f"{what}: memory grew by {max(self.most.values()):.1f} MB at most"


def read_all(response, growth, pause_s=0.0):
    parts = []
    while part := response.read(256 * 1024):
        parts.append(part)
        if len(parts) % 8 == 0:
            growth.look()
        time.sleep(pause_s)
    return b"".join(parts)


# ---- values -------------------------------------------------------------------------------------------------------

def test_values(leader, follower):
    values = [9007199254740993, -9223372036854775808, 1e308, "\u0000", "a\u0000b\u2028<&>", "漢😀"]
    leader.execute("CREATE TABLE v(id INTEGER PRIMARY KEY, x)")
    for v in values:
        follower.execute("INSERT INTO v(x) VALUES(?)", v)
    for node in (leader, follower):
        got = [row[0] for row in node.rows("SELECT x FROM v ORDER BY id", "linearizable")]
        want(got == values and list(map(type, got)) == list(map(type, values)), f"values came back as {got}")


def test_blob(leader, follower, size):
    blob = random.Random(1).randbytes(size)
    leader.execute("CREATE TABLE b(x BLOB)")
    begun = time.monotonic()
    answer = follower.ask("POST", "/db/execute", [f"INSERT INTO b VALUES(x'{blob.hex()}')"], 60)
    want(b'"rows_affected":1' in answer.body, f"a blob of {size} bytes: {answer.status} {answer.body[:300]!r}")
    for node in (leader, follower):
        row = node.rows("SELECT x, length(x) FROM b", "weak")[0]
        want(row[1] == size and base64.b64decode(row[0], validate=True) == blob, f"a blob of {size} bytes was damaged")
    answer = get(follower, f"SELECT substr(x,1,{size // 10}) AS x FROM b UNION ALL SELECT x FROM b WHERE 0", blob_array="")
    want(answer.status == 200, "blob_array failed")
    return f"a blob of {size >> 20} MB, in and out twice: {time.monotonic() - begun:.1f} s"


# ---- results ------------------------------------------------------------------------------------------------------

def test_result(nodes, body, limit_mb, pause_s):
    """Through each node, level weak: from the leader itself, and by a follower from the leader."""
    begun = time.monotonic()
    growth = Growth(nodes, limit_mb)
    for node in nodes:
        raw = Raw(node, "SELECT x, y FROM big")
        response = raw.answer()
        want(response.status == 200 and response.getheader("Transfer-Encoding") == "chunked", "not in chunks")
        got = read_all(response, growth, pause_s)
        raw.close()
        want(got == body, f"node {node.name} gave another result: {len(got)} bytes instead of {len(body)}")
    how = f"{len(body) >> 20} MB through each node, {'slowly' if pause_s else 'fast'}"
    return f"{growth.judge(how)}; {time.monotonic() - begun:.1f} s"


def test_forms(node, rows):
    """What else the answer can look like is the same in parts."""
    sql = f"SELECT x, y FROM big WHERE x<={min(rows, 20000)}"
    whole = [[i, f"row {i}"] for i in range(1, min(rows, 20000) + 1)]
    got = get(node, sql, pretty="", timings="").json()
    want(got["results"][0]["values"] == whole and got["time"] > 0, "pretty and timings")
    got = get(node, sql, associative="").json()
    want([[r["x"], r["y"]] for r in got["results"][0]["rows"]] == whole, "associative")
    raw = Raw(node, sql, version="1.0")
    response = raw.answer()
    want(not response.getheader("Transfer-Encoding"), "chunks for HTTP/1.0")
    want(json.loads(response.read())["results"][0]["values"] == whole, "HTTP/1.0")
    raw.close()


def test_ends(node, rows):
    """A failure after bytes have left: said in the entry where that is possible, else the connection ends."""
    last = min(rows, 50000)
    body = get(node, f"SELECT abs(CASE WHEN x={last} THEN -9223372036854775808 ELSE x END) AS a FROM big").json()
    entry = body["results"][0]
    want(entry["error"] == "integer overflow" and len(entry["values"]) == last - 1, f"{str(body)[-200:]}")
    raw = Raw(node, f"SELECT CASE WHEN x={last} THEN 1e999 ELSE x END AS a FROM big")
    response = raw.answer()
    want(response.status == 200, "infinity is far behind")
    try:
        response.read()
        want(False, "an answer that cannot be completed has an end")
    except (http.client.IncompleteRead, ConnectionError):
        pass
    raw.close()
    want(get(node, "SELECT 1e999").status == 500, "infinity at once is a 500")


# ---- clients that do not read -------------------------------------------------------------------------------------

def others_go_on(nodes, count):
    """Small reads and writes of others; the longest took so many seconds."""
    longest = 0.0
    clients = [Client(n.http, 10) for n in nodes]
    for i in range(count):
        for client in clients:
            begun = time.monotonic()
            write = client.ask("POST", "/db/execute", [["INSERT INTO small(x) VALUES(?)", i]])
            read = client.ask("GET", target("SELECT count(*) FROM small", level="linearizable"))
            longest = max(longest, time.monotonic() - begun)
            want(b"rows_affected" in write.body and b"values" in read.body, f"{write.body!r} {read.body!r}")
    for client in clients:
        client.close()
    return longest


def test_stalled(nodes, body, limit_mb):
    leader = nodes[0]
    leader.execute("CREATE TABLE small(x)")
    growth = Growth(nodes, limit_mb)
    for round_number in range(2):  # the second round finds all connections free again
        stalled = [Raw(nodes[i % len(nodes)], "SELECT x, y FROM big") for i in range(STALLED)]
        time.sleep(0.5)
        longest = others_go_on(nodes, 8)
        growth.look()
        got = stalled[-1].answer().read()
        want(got == body, f"the last of {STALLED} clients got another result, of {len(got)} bytes")
        for raw in stalled:
            raw.close()
        want(longest < OTHERS_LIMIT_S, f"others waited for clients that do not read: {longest:.1f} s")
    return f"{growth.judge(f'{STALLED} clients that do not read')}; others took {longest * 1000:.0f} ms at most"


def test_one_more(field):
    """More large results than read connections: refused before the first byte, and served when others left."""
    node = field.node("few", flags=["-db-max-ro-conns", "6"]).start()
    node.wait_ready()
    sql = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<2000000) SELECT i FROM n"
    stalled, refused = [], 0
    for _ in range(12):
        raw = Raw(node, sql)
        answer = raw.answer()
        refused += answer.status == 503
        want(answer.status == 200 or b"too many large results" in answer.read(), f"status {answer.status}")
        stalled.append(raw)
    want(0 < refused < 12, f"{refused} of 12 were refused")
    want(get(node, "SELECT 1").status == 200, "a small one is served")
    for raw in stalled:
        raw.close()
    end = time.monotonic() + 20
    while (answer := get(node, sql)).status == 503 and time.monotonic() < end:
        time.sleep(0.05)
    want(answer.status == 200 and answer.body.endswith(b"[2000000]]}]}"), "read connections did not come back")
    node.terminate()


def test_leader_dies(leader, follower):
    """In the middle of what it sends for a follower's client, who must notice."""
    raw = Raw(follower, "SELECT a.x, b.y FROM big a, big b")
    response = raw.answer()
    response.read(1 << 20)
    leader.kill()
    try:
        while response.read(1 << 20):
            pass
        want(False, "half a result has an end")
    except (http.client.IncompleteRead, ConnectionError):
        pass
    raw.close()


def main():
    p = argparse.ArgumentParser()
    p.add_argument("binary")
    p.add_argument("--rows", type=int)
    args = p.parse_args()
    slow_build = sanitized(args.binary)
    rows = args.rows or (100_000 if slow_build else 1_000_000)
    limit_mb = 96 if slow_build else 32
    # What is freed stays resident with the address sanitizer: little of it here.
    os.environ["ASAN_OPTIONS"] = ":".join(filter(None, (os.environ.get("ASAN_OPTIONS"), "quarantine_size_mb=4")))
    with Field(args.binary) as field:
        # One entry of 10 MB on a machine that is busy: nobody shall lose patience meanwhile.
        patience = ["heartbeat", "election", "leader-lease"]
        nodes = field.three(flags=[f"-raft-{p}-timeout=4s" for p in patience])
        for node in nodes:
            node.wait_ready()
        nodes[0].execute("CREATE TABLE big(x INTEGER PRIMARY KEY, y TEXT)")
        for begun in range(0, rows, STEP):
            nodes[0].execute(ROWS_SQL, begun, min(STEP, rows - begun))
        leader = wait_leader(nodes)
        nodes.sort(key=lambda n: n is not leader)
        follower = nodes[1]
        body = expected(rows)
        get(leader, "SELECT count(*) FROM big")
        print(test_result(nodes, body, limit_mb, 0), flush=True)
        print(test_result(nodes[:2], body, limit_mb, 0.002), flush=True)
        print(test_stalled(nodes, body, 2 * limit_mb), flush=True)
        test_forms(follower, rows)
        for node in nodes[:2]:
            test_ends(node, rows)
        test_values(leader, follower)
        print(test_blob(leader, follower, (1 if slow_build else 10) << 20), flush=True)
        test_one_more(field)
        test_leader_dies(leader, follower)
        for node in nodes[1:]:
            node.terminate()
            want(node.process.returncode == 0, f"node {node.name} ended with {node.process.returncode}")


if __name__ == "__main__":
    main()
