"""Real nodes for the tests of this folder: processes, folders, HTTP. Standard library only."""
import contextlib
import fcntl
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
REPORTS = ("ERROR: AddressSanitizer", "ERROR: LeakSanitizer", "WARNING: ThreadSanitizer", "runtime error:",
           "ASSERT failed")


class Failed(Exception):
    """A promise was not kept; the words say which."""


def want(condition, words):
    if not condition:
        raise Failed(words)


given_ports = set()


ports_lock = open(os.path.join(tempfile.gettempdir(), "rqlited-test-ports"), "a", encoding="ascii")


def hold_port(port):
    """Is it ours until this process ends? Tests that run beside one another must not draw the same, bound or not."""
    try:
        fcntl.lockf(ports_lock, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
    except OSError:
        return False
    return True


def free_ports(count):
    """Ports nobody uses now, all different, and none that was given out before. They lie below the range that
    the kernel gives to clients, else the outgoing connection of another process could take one while its node
    is down."""
    with open("/proc/sys/net/ipv4/ip_local_port_range", encoding="ascii") as f:
        first = int(f.read().split()[0])
    at = first - 2 - (os.getpid() * 64) % (first - 11000)
    ports = []
    while len(ports) < count:
        at = at - 1 if at > 10000 else first - 2
        if at in given_ports or not hold_port(at):
            continue
        with contextlib.suppress(OSError), socket.socket() as s:
            s.bind(("127.0.0.1", at))
            ports.append(at)
            given_ports.add(at)
    return ports


class Answer:
    def __init__(self, status, body):
        self.status, self.body = status, body

    def json(self):
        return json.loads(self.body)


class Client:
    """One kept connection. A request that fails closes it; nothing is ever sent twice."""

    def __init__(self, port, timeout_s):
        self.port, self.timeout_s, self.connection = port, timeout_s, None

    def close(self):
        if self.connection:
            self.connection.close()
        self.connection = None

    def connect(self):
        """Apart from ask, so that a caller knows: this failed, so nothing was sent."""
        if self.connection is None:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=self.timeout_s)
            connection.connect()
            connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.connection = connection

    def ask(self, method, path, body=None):
        self.connect()
        try:
            self.connection.request(method, path, body=None if body is None else json.dumps(body),
                                    headers={"Content-Type": "application/json"} if body is not None else {})
            answer = self.connection.getresponse()
            result = Answer(answer.status, answer.read())
            if answer.will_close:
                self.close()
            return result
        except (OSError, http.client.HTTPException):
            self.close()
            raise


class Node:
    def __init__(self, binary, root, name, ports, flags=(), wrapper=()):
        self.http, self.raft = ports
        self.name, self.flags, self.wrapper = name, list(flags), list(wrapper)
        self.binary, self.folder = binary, os.path.join(root, name)
        self.words_path = os.path.join(root, name + ".log")
        self.process, self.words_from = None, 0

    def start(self):
        tsan = "suppressions=" + os.path.join(HERE, "..", "support", "tsan.supp")
        env = dict(os.environ, TSAN_OPTIONS=os.environ.get("TSAN_OPTIONS", tsan))
        if self.wrapper:
            env["ASAN_OPTIONS"] = "detect_leaks=0"  # LeakSanitizer cannot work under ptrace
        with open(self.words_path, "ab") as words:
            self.words_from = words.tell()
            self.process = subprocess.Popen(
                [*self.wrapper, self.binary, "-node-id", self.name, "-http-addr", f"localhost:{self.http}",
                 "-raft-addr", f"localhost:{self.raft}", *self.flags, self.folder], stdout=words, stderr=words, env=env)
        return self

    def ask(self, method, path, body=None, timeout_s=10):
        client = Client(self.http, timeout_s)
        try:
            return client.ask(method, path, body)
        finally:
            client.close()

    def ready(self):
        with contextlib.suppress(OSError, http.client.HTTPException):
            return self.ask("GET", "/readyz", timeout_s=2).status == 200
        return False

    def settled(self):
        """Ready, and done with joining: a learner that catches up is ready before that."""
        return "node HTTP API available" in self.words()[self.words_from:] and self.ready()

    def wait_ready(self, limit_s=30):
        start = time.monotonic()
        while not self.settled():
            want(self.process.poll() is None, f"node {self.name} ended with {self.process.returncode}:\n{self.tail()}")
            want(time.monotonic() - start < limit_s, f"node {self.name} is not ready after {limit_s} s:\n{self.tail()}")
            time.sleep(0.02)
        return time.monotonic() - start

    def execute(self, sql, *parameters, timeout_s=30):
        answer = self.ask("POST", "/db/execute", [[sql, *parameters]], timeout_s)
        want(answer.status == 200, f"{sql}: {answer.status} {answer.body!r}")
        result = answer.json()
        want("error" not in result and "error" not in result["results"][0], f"{sql}: {answer.body!r}")
        return result["results"][0]

    def rows(self, sql, level="none"):
        answer = self.ask("POST", f"/db/query?level={level}", [sql], 60)
        want(answer.status == 200, f"{sql}: {answer.status} {answer.body!r}")
        result = answer.json()
        want("error" not in result and "error" not in result["results"][0], f"{sql}: {answer.body!r}")
        return result["results"][0].get("values", [])

    def kill(self):
        self.process.kill()
        self.process.wait()

    def terminate(self, limit_s=30):
        """SIGTERM; seconds until it was gone. The status is in process.returncode."""
        start = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(limit_s)
        except subprocess.TimeoutExpired:
            raise Failed(f"node {self.name} still runs {limit_s} s after SIGTERM:\n{self.tail()}") from None
        return time.monotonic() - start

    def words(self):
        if not os.path.exists(self.words_path):
            return ""  # never started
        with open(self.words_path, "rb") as f:
            return f.read().decode(errors="replace")

    def tail(self):
        return self.words()[-3000:]


class Field:
    """A folder and the nodes in it. Leaves nothing behind, except the folder after a failure."""

    def __init__(self, binary):
        self.binary = os.path.abspath(binary)
        self.root = tempfile.mkdtemp(prefix="rqlited-test.")
        self.nodes = []

    def __enter__(self):
        return self

    def __exit__(self, kind, failure, trace):
        for node in self.nodes:
            if node.process and node.process.poll() is None:
                node.kill()
        reports = [(n.name, line) for n in self.nodes for line in n.words().splitlines() if any(r in line for r in REPORTS)]
        for name, line in reports:
            print(f"FAIL node {name}: {line}")
        if kind is None and not reports:
            shutil.rmtree(self.root, ignore_errors=True)
            return False
        if kind is Failed:
            print(f"FAIL {failure}")
        print(f"folders and logs are kept in {self.root}", flush=True)
        if kind is None or kind is Failed:
            raise SystemExit(1)
        return False

    def node(self, name, ports=None, flags=(), wrapper=()):
        node = Node(self.binary, self.root, name, ports or free_ports(2), flags, wrapper)
        self.nodes.append(node)
        return node

    def three(self, ports=None, flags=(), prefix=""):
        """The cluster of the README: the second and third join through the HTTP address of the first."""
        ports = ports or free_ports(6)
        join = ["-join", f"http://localhost:{ports[0]}"]
        nodes = [self.node(f"{prefix}{i + 1}", ports[2 * i:2 * i + 2], list(flags) + (join if i else [])) for i in range(3)]
        for node in nodes:
            node.start()
        return nodes


def leader_of(nodes):
    """The one that calls itself leader in its own /status; None: nobody does now."""
    for node in nodes:
        with contextlib.suppress(OSError, http.client.HTTPException, KeyError, ValueError):
            if node.ask("GET", "/status", timeout_s=2).json()["store"]["raft"]["state"] == "Leader":
                return node
    return None


def wait_leader(nodes, limit_s=10):
    end = time.monotonic() + limit_s
    while time.monotonic() < end:
        leader = leader_of(nodes)
        if leader:
            return leader
        time.sleep(0.02)
    raise Failed(f"no leader within {limit_s} s")


def content(node):
    """Schema and every row of every table, in order, as this node holds them."""
    schema = node.rows("SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY name")
    tables = [name for kind, name, *_ in schema if kind == "table"]
    return schema, {t: node.rows(f'SELECT rowid, * FROM "{t}" ORDER BY rowid') for t in tables}


def wait_equal(nodes, limit_s=60):
    """Until all hold the same; returns it."""
    end = time.monotonic() + limit_s
    while True:
        held = [content(n) for n in nodes]
        if all(h == held[0] for h in held):
            return held[0]
        if time.monotonic() > end:
            sizes = {n.name: {t: len(r) for t, r in h[1].items()} for n, h in zip(nodes, held)}
            raise Failed(f"nodes still differ after {limit_s} s: rows {sizes}")
        time.sleep(0.1)
