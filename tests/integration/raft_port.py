#!/usr/bin/env python3
"""Strangers at the Raft port, without TLS: bytes that mean nothing, lengths of gigabytes, thousands of connections, bytes
that come one a second; a stranger that speaks the protocol and has no password; programs of other protocol versions.
The cluster goes on, says whom it refuses, and counts.

    raft_port.py PATH/TO/rqlited [TEST...]

Exit status 0: all passed."""
import contextlib
import os
import resource
import socket
import struct
import threading
import time

from auth import ask, credentials
from forming import counter, main_of, three_by_join, until
from nodes import free_ports, wait_equal, want

# ---- the protocol, as far as it is needed here (include/rq/wire.h, src/wire/wire_msg.c) ---------------------------------

HELLO, JOIN_REQ, FORWARD_REQ, FORWARD_RES, REMOVE_REQ = 1, 3, 5, 6, 9
EXECUTE = 1


def crc32c_table():
    table = []
    for i in range(256):
        for _ in range(8):
            i = i >> 1 ^ (0x82F63B78 if i & 1 else 0)
        table.append(i)
    return table


TABLE = crc32c_table()


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ TABLE[(crc ^ byte) & 255]
    return crc ^ 0xFFFFFFFF


def frame(kind, body, stream=0):
    rest = struct.pack("<BBHI", 1, kind, 0, stream) + body
    return struct.pack("<II", len(body), crc32c(rest)) + rest


def text(value):
    value = value.encode()
    return struct.pack("<H", len(value)) + value


STRANGER = "stranger"


def hello(identity, name=STRANGER, protocol=(1, 1)):
    """identity: SQLite's, and the id that belongs to STRANGER."""
    sqlite, number = identity
    return frame(HELLO, struct.pack("<HHQQQQQ", *protocol, 0, 77, number, 0, 0) + text(name) + text("localhost:1") +
                 text("http://localhost:1") + text("v10.0.0") + text(sqlite))


def command(sql):
    head = struct.pack("<BBHIqQIHH", 1, EXECUTE, 0, 0, 0, 0, 1, 0, 0)
    return head + struct.pack("<I", len(sql)) + sql.encode() + struct.pack("<I", 0) + bytes(4)


def forward(sql, flags, user="", password=""):
    payload = command(sql)
    return frame(FORWARD_REQ, struct.pack("<BBBBIQQQQ", EXECUTE, 1, flags, 0, 0, 5000, 5000, 0, 0) + text(user) + text(password) +
                 struct.pack("<I", len(payload)) + payload, 1)


class Line:
    """A connection to a Raft port."""

    def __init__(self, port, limit_s=10):
        self.socket = socket.create_connection(("localhost", port), limit_s)
        self.socket.settimeout(limit_s)

    def send(self, data):
        self.socket.sendall(data)

    def frame(self):
        """(kind, body); None: it was closed."""
        head = self.bytes(16)
        if head is None:
            return None
        length, _, _, kind = struct.unpack("<IIBB", head[:10])
        return kind, self.bytes(length)

    def bytes(self, count):
        data = b""
        while len(data) < count:
            try:
                more = self.socket.recv(count - len(data))
            except ConnectionResetError:
                return None
            if not more:
                return None
            data += more
        return data

    def closed_after(self):
        """Seconds until the other end hangs up; whatever comes before is dropped."""
        began = time.monotonic()
        with contextlib.suppress(ConnectionResetError):
            while self.socket.recv(65536):
                pass
        return time.monotonic() - began

    def close(self):
        self.socket.close()


def identity_of(field):
    """What nodes of this build call their SQLite, and a node called STRANGER itself: who joins says it to whoever listens."""
    with socket.socket() as listener:
        port = free_ports(1)[0]
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen(10)
        listener.settimeout(20)
        node = field.node(STRANGER, flags=["-join", f"127.0.0.1:{port}"]).start()
        while True:
            taken, _ = listener.accept()
            taken.settimeout(20)
            with taken:
                data = taken.recv(65536)
            if data[9:10] == bytes([HELLO]) and not data.startswith(b"GET"):
                break
    node.kill()
    body, at = data[16:], 4 + 5 * 8
    number = struct.unpack("<Q", body[20:28])[0]
    for _ in range(5):
        length = struct.unpack("<H", body[at:at + 2])[0]
        value, at = body[at + 2:at + 2 + length].decode(), at + 2 + length
    return value, number


# ---- those who do not speak it ---------------------------------------------------------------------------------------

class Writer(threading.Thread):
    """Writes through a follower all the time; every failure counts."""

    def __init__(self, node):
        super().__init__()
        self.node, self.ended, self.done, self.failed = node, False, 0, []

    def run(self):
        while not self.ended:
            try:
                self.node.execute("INSERT INTO t VALUES(1)")
                self.done += 1
            except Exception as e:  # noqa: BLE001 - told below
                self.failed.append(repr(e))

    def stop(self):
        self.ended = True
        self.join()
        want(not self.failed, f"{len(self.failed)} writes failed beside strangers: {self.failed[:2]}")
        return self.done


def resident_mb(node):
    with open(f"/proc/{node.process.pid}/statm", encoding="ascii") as f:
        return int(f.read().split()[1]) * 4096 / 1e6


def open_files(node):
    return len(os.listdir(f"/proc/{node.process.pid}/fd"))


def cluster(field):
    nodes = three_by_join(field)
    nodes[0].execute("CREATE TABLE t(n)")
    writer = Writer(nodes[1])
    writer.start()
    return nodes, writer


def test_rubbish(field):
    """D14.2: what is no greeting is hung up on, and counted; the cluster goes on"""
    nodes, writer = cluster(field)
    node = nodes[0]
    rubbish = [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", os.urandom(3000), b"\xff" * 16,
               struct.pack("<I", 0xFFFFFFFF) + bytes(12), struct.pack("<II", 64 << 20, 0) + b"\x01\x01" + bytes(6),
               frame(2, bytes(100)), frame(HELLO, b"too short"), frame(JOIN_REQ, bytes(50)), bytes(5000)]
    for i, data in enumerate(rubbish):
        before = counter(node, "mux.num_unregistered_handlers")
        line = Line(node.raft)
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):
            line.send(data)
        seconds = line.closed_after()
        want(seconds < 2, f"rubbish {i}: hung up on after {seconds:.1f} s")
        line.close()
        until(lambda: counter(node, "mux.num_unregistered_handlers") == before + 1, f"rubbish {i} is counted")
    for first in (b"\x00", b"\x07", b"\x03"):  # one byte, and no more
        before = counter(node, "mux.num_unregistered_handlers")
        line = Line(node.raft)
        line.send(first)
        seconds = line.closed_after()
        want(seconds < 7, f"one byte: hung up on after {seconds:.1f} s")
        line.close()
        until(lambda: counter(node, "mux.num_unregistered_handlers") == before + 1, "one byte is counted")
    print(f"     {writer.stop()} writes meanwhile", flush=True)
    wait_equal(nodes)


def test_lengths_and_slow_bytes(field):
    """Announced gigabytes cost no memory; a greeting that comes byte by byte must be there in time"""
    nodes, writer = cluster(field)
    node = nodes[0]
    before = resident_mb(node)
    lines = [Line(node.raft, 20) for _ in range(60)]
    for line in lines:
        line.send(struct.pack("<I", 4000))  # a length that a greeting may have, then nothing
    slow = Line(node.raft, 20)
    began = time.monotonic()
    data = hello(("whatever", 1))
    with contextlib.suppress(ConnectionResetError, BrokenPipeError):
        for byte in data:
            slow.send(bytes([byte]))
            time.sleep(0.2)
    seconds = time.monotonic() - began
    want(seconds < 8, f"a byte every 200 ms was listened to for {seconds:.1f} s of {len(data) / 5:.0f}")
    for line in lines:
        want(line.closed_after() < 8, "a greeting that does not come was waited for")
        line.close()
    grown = resident_mb(node) - before
    want(grown < 60, f"{grown:.0f} MB more")
    print(f"     {writer.stop()} writes meanwhile", flush=True)


def test_thousands(field):
    """3000 connections that say nothing, held for ten seconds: bounded there; a member that starts then gets in"""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    count = min(3000, hard - 200)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, count + 200)), hard))
    nodes, writer = cluster(field)
    node = nodes[0]
    files = open_files(node)
    held, peak = [], 0
    began = time.monotonic()
    nodes[2].kill()
    nodes[2].start()
    while len(held) < count or time.monotonic() - began < 10:
        if len(held) < count:
            with contextlib.suppress(OSError):
                held.append(Line(node.raft).socket)
        else:
            time.sleep(0.05)
        if len(held) % 100 == 0:
            peak = max(peak, open_files(node) - files)
    nodes[2].wait_ready()
    want(peak < 400, f"{peak} more files open")
    rejected = counter(node, "cluster.num_conn_rejected")
    want(rejected > count // 2, f"{rejected} of {count} were sent away")
    for s in held:
        s.close()
    print(f"     {len(held)} connections, {rejected} sent away, {peak} files at most; {writer.stop()} writes meanwhile", flush=True)
    wait_equal(nodes)


# ---- those who do ------------------------------------------------------------------------------------------------------

def test_a_stranger_without_a_password(field):
    """With -auth: whoever reaches the Raft port and speaks the protocol gets nothing forwarded, whatever flag it sets, and
    neither joins nor removes"""
    users = credentials(field, "users.json", {"username": "bob", "password": "s", "perms": ["all"]},
                        {"username": "reader", "password": "r", "perms": ["query"]},
                        {"username": "*", "perms": ["ready", "status"]})
    node = field.node("1", flags=users).start()
    until(lambda: ask(node, "GET", "/readyz").status == 200, "ready")
    want(ask(node, "POST", "/db/execute", "bob:s", '["CREATE TABLE t(n)"]').status == 200, "a table")
    identity = identity_of(field)
    line = Line(node.raft)
    line.send(hello(identity))
    want(line.frame()[0] == HELLO, "a stranger that greets as nodes do is answered")
    insert = "INSERT INTO t VALUES(666)"
    for flags in range(4):
        for user, password in (("", ""), ("bob", "wrong"), ("reader", "r"), ("nobody", "s")):
            line.send(forward(insert, flags, user, password))
            kind, body = line.frame()
            want(kind == FORWARD_RES and body[:2] != b"\0\0", f"flags {flags}, {user}: {body[:60]}")
    line.send(frame(REMOVE_REQ, text("1") + text("") + text(""), 2))
    want(line.frame()[1][:2] != b"\0\0", "a removal")
    line.send(frame(JOIN_REQ, struct.pack("<QBQ", 77, 1, 0) + text(STRANGER) + text("localhost:1") + text("") + text(""), 3))
    want(line.frame()[1][:2] != b"\0\0", "a join")
    rows = ask(node, "POST", "/db/query?level=strong", "bob:s", '["SELECT n FROM t"]').json()["results"][0]
    want("values" not in rows, f"a stranger wrote {rows}")
    line.send(forward(insert, 0, "bob", "s"))  # the frames are right: with the password it would have been written
    kind, body = line.frame()
    want(kind == FORWARD_RES and body[:2] == b"\0\0", f"bob himself: {body[:80]}")
    line.close()


def test_other_versions(field):
    """A greeting of versions that this program does not speak is answered, so that both know, refused by name, and logged;
    one of a wider range is taken"""
    node = field.node("1").start()
    node.wait_ready()
    identity = identity_of(field)
    line = Line(node.raft)
    line.send(hello(identity, "from-the-future", (7, 9)))
    kind, body = line.frame()
    want(kind == HELLO and struct.unpack("<HH", body[:4]) == (1, 1), f"its own versions: {body[:4]}")
    line.close()
    words = "refusing node from-the-future at localhost:1, version v10.0.0: it speaks protocol versions 7 to 9, this node 1 to 1"
    until(lambda: words in node.words(), lambda: node.tail())
    line = Line(node.raft)
    line.send(hello(identity, protocol=(1, 9)))
    want(line.frame()[0] == HELLO, "a wider range")
    line.send(frame(7, b"", 5))  # who are you: what only greeted ones are told
    want(line.frame()[0] == 8, "the version that both speak is spoken")
    line.close()


if __name__ == "__main__":
    main_of(globals())
