#!/usr/bin/env python3
"""Bad input against a real node: malformed HTTP, JSON and URLs, too much of everything, slow and broken
clients. Every case wants the right status or a closed connection; after each group a write and a
query must work, and at the end the daemon's stderr must hold no sanitizer report.

    bad_input.py PATH/TO/rqlited [--slow]

--slow also waits for the header timeout (about 10 s). Standard library only; loopback, a temporary
folder, free ports. Exit status 0: all passed."""

import json
import os
import resource
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time

HEADER_BYTES_MAX = 1024 * 1024
BODY_BYTES_MAX = 64 * 1024 * 1024
HEADER_TIMEOUT_S = 10
CONNECTIONS_MAX, REFUSALS_MAX = 4096, 64
UNREAD_GROWTH_MAX = 40 * 1024 * 1024  # of the node, by 80 MB of answers that nobody reads; half of it AddressSanitizer's
CLOSED = 0  # a status: the server closed without an answer


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Node:
    def __init__(self, binary):
        self.folder = tempfile.mkdtemp(prefix="bad_input.")
        self.port = free_port()
        self.stderr_path = os.path.join(self.folder, "stderr")
        self.stderr = open(self.stderr_path, "wb")
        env = dict(os.environ, ASAN_OPTIONS="exitcode=77", UBSAN_OPTIONS="print_stacktrace=1")
        self.process = subprocess.Popen(
            [binary, "-http-addr", f"127.0.0.1:{self.port}", "-raft-addr",
             f"127.0.0.1:{free_port()}", os.path.join(self.folder, "data")],
            stdout=self.stderr, stderr=self.stderr, env=env)

    def wait_ready(self, limit_s=30):
        end = time.monotonic() + limit_s
        while time.monotonic() < end:
            if self.process.poll() is not None:
                raise SystemExit(f"node ended at start:\n{self.words()}")
            try:
                if self.ask(b"GET /readyz HTTP/1.1\r\nHost: a\r\n\r\n")[0] == 200:
                    return
            except OSError:
                pass
            time.sleep(0.1)
        raise SystemExit(f"node not ready:\n{self.words()}")

    def connect(self, timeout_s=10):
        s = socket.create_connection(("127.0.0.1", self.port), timeout=timeout_s)
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return s

    def ask(self, data, timeout_s=10):
        """Send bytes, read one answer: (status, body); CLOSED if there was none."""
        with self.connect(timeout_s) as s:
            try:
                s.sendall(data)
            except (BrokenPipeError, ConnectionResetError):
                pass  # refused before all was sent; the answer may be there all the same
            return read_answer(s)[:2]

    def words(self):
        with open(self.stderr_path, "rb") as f:
            return f.read().decode(errors="replace")

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.stderr.close()


def read_answer(s):
    """(status, body, rest) of the next final answer on a socket."""
    data = b""
    try:
        while True:
            while b"\r\n\r\n" not in data:
                piece = s.recv(65536)
                if not piece:
                    return CLOSED, b"", b""
                data += piece
            head, rest = data.split(b"\r\n\r\n", 1)
            status = int(head.split(b" ", 2)[1])
            if status >= 200:
                break
            data = rest
        fields = {k.strip().lower(): v.strip() for k, _, v in
                  (line.partition(b":") for line in head.split(b"\r\n")[1:])}
        if fields.get(b"transfer-encoding", b"").lower() == b"chunked":
            return (status,) + read_chunks(s, rest)
        want = int(fields.get(b"content-length", b"0"))
        while len(rest) < want:
            piece = s.recv(65536)
            if not piece:
                break
            rest += piece
        return status, rest[:want], rest[want:]
    except ConnectionResetError:
        return CLOSED, b"", b""


def read_chunks(s, data):
    body = b""
    while True:
        while b"\r\n" not in data:
            data += s.recv(65536)
        size, data = data.split(b"\r\n", 1)
        want = int(size.split(b";")[0], 16)
        while len(data) < want + 2:
            data += s.recv(65536)
        body += data[:want]
        data = data[want + 2:]
        if want == 0:
            return body, data


failures = []


def check(what, got, want):
    """want: one value, or a list of values that are all right."""
    wanted = want if isinstance(want, list) else [want]
    if got not in wanted:
        failures.append(what)
        print(f"FAIL {what}: got {got!r}, want {want!r}", flush=True)


def post(path, body, headers=b""):
    return (b"POST " + path + b" HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n" % len(body)
            + headers + b"\r\n" + body)


rows_written = 0


def check_unharmed(node, after):
    global rows_written
    if node.process.poll() is not None:
        raise SystemExit(f"node died after {after}:\n{node.words()}")
    status, body = node.ask(post(b"/db/execute", b'["INSERT INTO t(x) VALUES(1)"]'))
    check(f"write after {after}", (status, b"error" in body), (200, False))
    rows_written += 1
    status, body = node.ask(post(b"/db/query?level=strong", b'["SELECT count(*) FROM t"]'))
    got = (status, json.loads(body)["results"][0].get("values")) if status == 200 else status
    check(f"query after {after}", got, (200, [[rows_written]]))


# ---- cases --------------------------------------------------------------------------------------

HEAD = b"GET /readyz HTTP/1.1\r\nHost: a\r\n"

MALFORMED = [  # (bytes, status); the connection is closed behind each
    (b"hello\r\n\r\n", 400),
    (b"GET / b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    (b"GET /\r\n\r\n", 400),
    (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505),
    (b"GET / HTTP/1.1\r\n\r\n", 400),
    (b"GET / HTTP/1.1\nHost: a\n\n", 400),
    (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
    (b"\x00" * 100, 400),
    (HEAD + b"Host: b\r\n\r\n", 400),
    (HEAD + b"X : a\r\n\r\n", 400),
    (HEAD + b"X: a\r\n b\r\n\r\n", 400),
    (HEAD + b"X: \x01\r\n\r\n", 400),
    (HEAD + b"no colon\r\n\r\n", 400),
    (HEAD + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
    (HEAD + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
    (HEAD + b"Content-Length: -1\r\n\r\n", 400),
    (HEAD + b"Content-Length: 1x\r\n\r\n", 400),
    (HEAD + b"Transfer-Encoding: gzip\r\n\r\n", 501),
    (HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
    (HEAD + b"Transfer-Encoding: chunked\r\n\r\n1\r\nab\r\n", 400),
    (HEAD + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n", 413),
    (b"GET /" + b"a" * (HEADER_BYTES_MAX + 1) + b" HTTP/1.1\r\nHost: a\r\n\r\n", [414, CLOSED]),
    (HEAD + b"X: " + b"a" * (HEADER_BYTES_MAX + 1) + b"\r\n\r\n", [431, CLOSED]),
    (HEAD + b"X: y\r\n" * 1000 + b"\r\n", [431, CLOSED]),
    (HEAD + b"Content-Length: %d\r\n\r\n" % (BODY_BYTES_MAX + 1), 413),
    (HEAD + b"Content-Length: 9000000000000000000\r\n\r\n", 413),
]

BAD_BODIES = [  # (body, words) of POST /db/execute, status 400
    (b"", b"invalid JSON body\n"),
    (b"[", b"invalid JSON body\n"),
    (b'["SELECT 1"', b"invalid JSON body\n"),
    (b'["SELECT 1",]', b"invalid JSON body\n"),
    (b'["SELECT 1" "SELECT 2"]', b"invalid JSON body\n"),
    (b'["SELECT 1"}', b"invalid JSON body\n"),
    (b"SELECT 1", b"invalid JSON body\n"),
    (b"\xef\xbb\xbf[]", b"invalid JSON body\n"),
    (b"\x1f\x8b\x08\x00", b"invalid JSON body\n"),
    (b"[" * 100000, b"invalid JSON body\n"),
    (b'["\\u12', b"invalid JSON body\n"),
    (b"{}", b"invalid request\n"),
    (b"7", b"invalid request\n"),
    (b"null", b"invalid request\n"),
    (b'"SELECT 1"', b"invalid request\n"),
    (b"[]", b"no statements\n"),
    (b"[7]", b"invalid request\n"),
    (b"[null]", b"invalid request\n"),
    (b"[[]]", b"invalid request\n"),
    (b"[[7]]", b"invalid request\n"),
    (b'[{"sql":"SELECT 1"}]', b"invalid request\n"),
    (b'[["SELECT ?",[256]]]', b"unsupported type 256\n"),
    (b'[["SELECT ?",[1.5]]]', b"unsupported type 1.5\n"),
    (b'[["SELECT ?",["a"]]]', b"unsupported type string\n"),
    (b'[["SELECT ?",1e400]]', b"invalid number 1e400\n"),
]

BAD_URLS = [  # (method, target, status, body or None)
    (b"GET", b"/no/such/path", 404, b""),
    (b"GET", b"//db/query", 404, b""),
    (b"GET", b"/no/such/path?timeout=x", 400, b"timeout is not a valid duration\n"),
    (b"GET", b"/db/query?q=%zz", 400, b'invalid URL escape "%zz"\n'),
    (b"GET", b"/db/query?q=1;2", 400, b"invalid semicolon separator in query\n"),
    (b"GET", b"/db/query?q=", 400, b"query parameter not set\n"),
    (b"GET", b"/db/query?retries=x", 400, b"retries is not a valid integer\n"),
    (b"GET", b"/%zz", [400, 404], None),
    (b"PUT", b"/db/execute", 405, b""),
    (b"GET", b"/db/execute", 405, b""),
    (b"DELETE", b"/db/query", 405, b""),
    (b"BREW", b"/db/query", 405, b""),
    (b"get", b"/db/query", 405, b""),
    (b"HEAD", b"/db/query", 405, None),
]


def closes(s):
    """Nothing more comes and the connection ends."""
    try:
        return s.recv(1) == b""
    except ConnectionResetError:
        return True
    except socket.timeout:
        return False


def case_malformed_http(node):
    for data, want in MALFORMED:
        with node.connect() as s:
            try:
                s.sendall(data)
            except (BrokenPipeError, ConnectionResetError):
                pass
            status = read_answer(s)[0]
            check(f"{data[:80]!r}", status, want)
            check(f"closed behind {data[:80]!r}", closes(s), True)


def case_bad_bodies(node):
    with node.connect() as s:  # one connection: each answer leaves it usable
        for body, words in BAD_BODIES:
            s.sendall(post(b"/db/execute", body))
            check(f"body {body[:60]!r}", read_answer(s)[:2], (400, words))


def case_bad_urls(node):
    for method, target, status, words in BAD_URLS:
        got, body = node.ask(method + b" " + target + b" HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        check(f"{method} {target}", got, status)
        if words is not None:
            check(f"words of {method} {target}", body, words)


def case_largest_header(node):
    head = b"GET /no/such/path HTTP/1.1\r\nHost: a\r\nX: "
    tail = b"\r\n\r\n"
    status, _ = node.ask(head + b"a" * (HEADER_BYTES_MAX - len(head) - len(tail)) + tail)
    check("a header of just the limit", status, 404)


def case_bytewise(node):
    request = post(b"/db/query", b'["SELECT 1"]')
    with node.connect() as s:
        for i in range(len(request)):
            s.sendall(request[i:i + 1])
        check("one byte at a time", read_answer(s)[0], 200)
        s.sendall(request * 3)  # pipelined
        rest = b""
        answers = 0
        while answers < 3:
            piece = s.recv(65536)
            if not piece:
                break
            rest += piece
            answers = rest.count(b"HTTP/1.1 200")
        check("three pipelined answers", answers, 3)


def case_expect_continue(node):
    body = b'["SELECT 1"]'
    with node.connect() as s:
        s.sendall(b"POST /db/query HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n"
                  b"Content-Length: %d\r\n\r\n" % len(body))
        check("100 before the body", s.recv(65536)[:12], b"HTTP/1.1 100")
        s.sendall(body)
        check("answer behind the body", read_answer(s)[0], 200)


def case_resets(node):
    linger = struct.pack("ii", 1, 0)  # close() sends RST
    request = post(b"/db/execute", b'["SELECT 1"]')
    for cut in list(range(0, len(request), 3)) + [len(request)]:
        s = node.connect()
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        s.sendall(request[:cut])
        s.close()
    for cut in range(0, len(request), 5):  # and cut off politely
        with node.connect() as s:
            s.sendall(request[:cut])
            s.shutdown(socket.SHUT_WR)
            check(f"half a request of {cut} bytes", read_answer(s)[0], [CLOSED, 400])


def case_answers_not_read(node):
    query = post(b"/db/query", b'["SELECT hex(zeroblob(100000))"]')
    sockets = []
    for _ in range(20):
        s = node.connect(timeout_s=0.2)
        sockets.append(s)
        try:
            for _ in range(50):
                s.sendall(query)
        except OSError:
            pass  # the node stops reading from who does not read: right
    check_unharmed(node, "clients that do not read, meanwhile")
    for s in sockets:
        s.close()


def case_idle_connections(node):
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 1000 if hard >= 2048 else max(10, hard - 100)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096), hard))
    sockets = [node.connect() for _ in range(wanted)]
    for s in sockets[::2]:
        s.sendall(b"GET /rea")
    check_unharmed(node, f"{wanted} idle connections, meanwhile")
    sockets[1].sendall(HEAD + b"\r\n")
    check("an idle connection still serves", read_answer(sockets[1])[0], 200)
    for s in sockets:
        s.close()


def resident_bytes(node):
    with open(f"/proc/{node.process.pid}/status", encoding="ascii") as f:
        return next(int(line.split()[1]) * 1024 for line in f if line.startswith("VmRSS:"))


def case_pipelined_unread(node):
    """The node stops reading such a client, long before memory is an issue, and goes on when it reads."""
    before = resident_bytes(node)
    request = b"GET /debug/vars HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 1000 + b"\r\n\r\n"
    with node.connect(timeout_s=1) as s:
        sent, blocked = 0, False
        pending = request * 10000
        try:
            while sent < len(pending):
                sent += s.send(pending[sent:])
        except socket.timeout:
            blocked = True
        check("blocked by a node that reads no further", blocked, True)
        check_unharmed(node, "10,000 requests and no reader, meanwhile")
        grown = resident_bytes(node) - before
        check("growth by unread answers", grown < UNREAD_GROWTH_MAX, True)
        # What the kernel took was answered or waits: read on, and all of it is answered, in whole.
        s.settimeout(5)
        want, got, data = sent // len(request), 0, b""
        while got < want:
            piece = s.recv(1 << 20)
            if not piece:
                break
            data = data[-11:] + piece  # an answer's first words may be cut in two
            got += data.count(b"HTTP/1.1 200")
        check("answers when it reads after all", got, want)
    print(f"     {sent // len(request)} requests were taken, {grown // 1024} KB more in memory", flush=True)


def case_chunked_body_too_large(node):
    """Its length is not announced: refused where it passes the limit, and memory comes back."""
    chunk = b"100000\r\n" + b" " * 0x100000 + b"\r\n"
    with node.connect(timeout_s=60) as s:
        s.sendall(b"POST /db/execute HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        try:
            for _ in range(BODY_BYTES_MAX // 0x100000 + 1):
                s.sendall(chunk)
        except (BrokenPipeError, ConnectionResetError):
            pass
        check("a chunked body beyond the limit", read_answer(s)[0], [413, CLOSED])


def case_many_large_bodies(node):
    """Bodies that never end, 40 MB each: together they are bounded, and others are served."""
    head = b"POST /db/execute HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % BODY_BYTES_MAX
    piece, sockets, refused = b" " * (1 << 20), [], 0
    for _ in range(20):
        s = node.connect(timeout_s=30)
        sockets.append(s)
        try:
            s.sendall(head)
            for _ in range(40):
                s.sendall(piece)
        except (BrokenPipeError, ConnectionResetError):
            pass
        s.settimeout(0.1)
        try:
            refused += read_answer(s)[0] in (503, CLOSED)
        except socket.timeout:
            pass  # still taken in
        check_unharmed(node, "large bodies, meanwhile")
    check("some large bodies of many are refused", 5 <= refused < 20, True)
    for s in sockets:
        s.close()


def case_too_many_connections(node):
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = CONNECTIONS_MAX + REFUSALS_MAX + 200
    if hard < wanted + 100:
        print(f"     SKIPPED: only {hard} files may be open, {wanted + 100} are needed", flush=True)
        return
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted + 100, hard))
    sockets = [node.connect() for _ in range(CONNECTIONS_MAX)]
    for s in (sockets[0], sockets[-1]):
        s.sendall(HEAD + b"\r\n")
        check("a connection within the limit", read_answer(s)[0], 200)
    with node.connect() as s:
        check("one connection too many", read_answer(s)[:2], (503, b"too many connections\n"))
    refused = [node.connect() for _ in range(REFUSALS_MAX + 100)]
    statuses = [read_answer(s)[0] for s in refused]
    check("many connections too many", set(statuses) <= {503, CLOSED} and 503 in statuses, True)
    for s in sockets[1:] + refused:
        s.close()
    time.sleep(0.5)
    sockets[0].sendall(HEAD + b"\r\n")
    check("the first connection still serves", read_answer(sockets[0])[0], 200)
    sockets[0].close()


def case_large_body(node):
    value = b"x" * (8 * 1024 * 1024)
    body = b'[["SELECT length(?)","' + value + b'"]]'
    status, answer = node.ask(post(b"/db/query", body), timeout_s=60)
    check("8 MiB parameter", (status, b"8388608" in answer), (200, True))


def case_slow_header(node):
    start = time.monotonic()
    with node.connect(timeout_s=3 * HEADER_TIMEOUT_S) as s:
        s.sendall(b"GET /readyz HT")
        status = read_answer(s)[0]
        spent = time.monotonic() - start
        check("a header that stalls", status, [CLOSED, 408])
        check("time until it is closed", HEADER_TIMEOUT_S / 2 < spent < 2.5 * HEADER_TIMEOUT_S, True)


CASES = [case_malformed_http, case_bad_bodies, case_bad_urls, case_largest_header, case_bytewise, case_expect_continue,
         case_resets, case_answers_not_read, case_idle_connections, case_large_body,
         case_chunked_body_too_large, case_pipelined_unread, case_many_large_bodies, case_too_many_connections]
REPORTS = ["ERROR: AddressSanitizer", "ERROR: LeakSanitizer", "runtime error:", "ASSERT failed"]


def main():
    if len(sys.argv) < 2:
        raise SystemExit(__doc__)
    node = Node(os.path.abspath(sys.argv[1]))
    cases = CASES + ([case_slow_header] if "--slow" in sys.argv[2:] else [])
    try:
        node.wait_ready()
        status, _ = node.ask(post(b"/db/execute", b'["CREATE TABLE t(x)"]'))
        check("CREATE TABLE", status, 200)
        for case in cases:
            before = len(failures)
            try:
                case(node)
            except (OSError, ValueError, KeyError) as e:
                failures.append(case.__name__)
                print(f"FAIL {case.__name__}: {e!r}", flush=True)
            check_unharmed(node, case.__name__)
            print(f"{'ok  ' if len(failures) == before else 'FAIL'} {case.__name__}", flush=True)
    finally:
        node.stop()
    check("exit status", node.process.returncode, 0)
    for line in node.words().splitlines():
        if any(r in line for r in REPORTS):
            failures.append(line)
            print(f"FAIL stderr: {line}")
    if failures:
        print(f"{len(failures)} failures; daemon's words in {node.stderr_path}")
        raise SystemExit(1)
    shutil.rmtree(node.folder)
    print("all passed")


if __name__ == "__main__":
    main()
