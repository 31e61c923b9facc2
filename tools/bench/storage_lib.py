"""What storage.py needs: nodes with a database of a given size, clients that measure, eyes on a process.

The nodes themselves are those of tests/integration/nodes.py."""
import contextlib
import http.client
import json
import os
import socket
import statistics
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "tests", "integration"))
from nodes import Client, Failed, want  # noqa: E402  pylint: disable=wrong-import-position,unused-import

MB = 1 << 20
PAGE = 4096
# One row per page, of bytes that no compression helps with.
FILL = "INSERT INTO fill(v) WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n+1 FROM c WHERE n<?) SELECT randomblob(4000) FROM c"
CHANGE = "UPDATE fill SET v=randomblob(4000) WHERE id>? AND id<=?"


# ---- databases ---------------------------------------------------------------------------------------------


def fill(node, megabytes):
    node.execute("CREATE TABLE fill(id INTEGER PRIMARY KEY, v BLOB)")
    node.execute("CREATE TABLE w(id INTEGER PRIMARY KEY, v)")
    rows = megabytes * MB // PAGE
    for done in range(0, rows, 1000):
        node.execute(FILL, min(1000, rows - done), timeout_s=60)
    return rows


def store(node):
    return node.ask("GET", "/status?key=store", timeout_s=30).json()


def db_bytes(node):
    return store(node)["sqlite3"]["db_size"]


def log_tail(node):
    raft = store(node)["raft"]
    return raft["last_log_index"] - raft["last_snapshot_index"], raft["log_size"]


def snapshot(node, trailing=None):
    """trailing: entries to keep in the log; who lacks the others is sent the image."""
    more = "" if trailing is None else f"?trailing_logs={trailing}"
    answer = node.ask("POST", "/snapshot" + more, timeout_s=600)
    want(answer.status in (200, 204), f"POST /snapshot: {answer.status} {answer.body[:200]!r}")
    return answer.status


# ---- starting ----------------------------------------------------------------------------------------------


def seconds_to_ready(node, limit_s=600):
    """From the start of the process to the first 200 of /readyz."""
    start = time.monotonic()
    node.start()
    while time.monotonic() - start < limit_s:
        with contextlib.suppress(OSError, http.client.HTTPException):
            if node.ask("GET", "/readyz", timeout_s=5).status == 200:
                return time.monotonic() - start
        want(node.process.poll() is None, f"{node.name} ended:\n{node.tail()}")
        time.sleep(0.003)
    raise Failed(f"{node.name} is not ready after {limit_s} s:\n{node.tail()}")


# ---- writers -----------------------------------------------------------------------------------------------


class Writers:
    """Clients that write one small row after the other, each over a kept connection; what each took and when.
    rate: together, per second; None: as fast as they are answered."""

    def __init__(self, node, clients=4, rate=None):
        self.node, self.rate, self.clients = node, rate, clients
        self.done, self.failed, self.ended, self.lock = [], [], False, threading.Lock()
        self.threads = [threading.Thread(target=self.run, args=(i,), daemon=True) for i in range(clients)]

    def __enter__(self):
        for t in self.threads:
            t.start()
        return self

    def __exit__(self, *_):
        self.ended = True
        for t in self.threads:
            t.join()

    def run(self, number):
        client = Client(self.node.http, 120)
        every = self.clients / self.rate if self.rate else 0
        due = time.monotonic() + every * number / self.clients
        while not self.ended:
            start = time.monotonic()
            if every and start < due:
                time.sleep(min(due - start, 0.2))
                continue
            due += every
            try:
                answer = client.ask("POST", "/db/execute", [["INSERT INTO w(v) VALUES(?)", "x" * 100]])
                good = answer.status == 200 and b"error" not in answer.body
            except (OSError, http.client.HTTPException):
                good = False
            # With a rate, waiting for one's turn counts: a pause delays all that were due in it.
            began = min(start, due - every) if every else start
            with self.lock:
                (self.done if good else self.failed).append((start, time.monotonic() - began))
            if not good:
                time.sleep(0.01)

    def between(self, start, end):
        with self.lock:
            return [took for at, took in self.done if at + took >= start and at < end]


class Cores:
    """How long the threads of a node ran, and waited for a core, in the stretches that are looked at: what a latency owes
    to a machine that is too small for all that runs on it."""

    def __init__(self, node):
        self.pid, self.seconds, self.ran, self.waited = node.process.pid, 0.0, 0.0, 0.0

    def look(self):
        ran = waited = 0
        for thread in os.listdir(f"/proc/{self.pid}/task"):
            with contextlib.suppress(OSError), open(f"/proc/{self.pid}/task/{thread}/schedstat", encoding="ascii") as f:
                words = f.read().split()
                ran += int(words[0])
                waited += int(words[1])
        return time.monotonic(), ran / 1e9, waited / 1e9

    def go_on(self):
        self.begun = self.look()

    def pause(self):
        now = self.look()
        self.seconds += now[0] - self.begun[0]
        self.ran += now[1] - self.begun[1]
        self.waited += now[2] - self.begun[2]

    def __str__(self):
        return f"ran {self.ran / self.seconds:.2f} s/s, waited {self.waited / self.seconds:.2f} s/s for a core"


class Figures:
    def __init__(self, took, cores=None):
        want(len(took) >= 20, f"only {len(took)} writes were measured")
        took = sorted(took)
        self.count, self.cores = len(took), cores
        self.p50 = 1000 * statistics.median(took)
        self.p99 = 1000 * took[min(len(took) - 1, int(len(took) * 0.99))]
        self.most = 1000 * took[-1]

    def __str__(self):
        return f"{self.count} writes, p50 {self.p50:.1f} ms, p99 {self.p99:.1f} ms, longest {self.most:.1f} ms" + \
            (f"; {self.cores}" if self.cores else "")


# ---- eyes --------------------------------------------------------------------------------------------------


def rss(pid):
    """Resident bytes: of its own, and of files mapped."""
    got = {}
    with open(f"/proc/{pid}/status", encoding="ascii") as f:
        for line in f:
            if line.startswith(("RssAnon", "RssFile", "RssShmem")):
                name, value = line.split(":")
                got[name] = int(value.split()[0]) * 1024
    return got["RssAnon"] + got["RssShmem"], got["RssFile"]


def written(pid):
    """Bytes the process sent towards the disk."""
    with open(f"/proc/{pid}/io", encoding="ascii") as f:
        return int(next(line for line in f if line.startswith("write_bytes")).split()[1])


def disk_bytes(node):
    """Blocks of everything below its folder, and of what it holds open but has unlinked; of a file with two names once."""
    files_seen = {}
    for folder, _, files in os.walk(node.folder):
        for name in files:
            with contextlib.suppress(OSError):
                facts = os.lstat(os.path.join(folder, name))
                files_seen[facts.st_dev, facts.st_ino] = facts.st_blocks * 512
    if node.process and node.process.poll() is None:
        fds = f"/proc/{node.process.pid}/fd"
        with contextlib.suppress(OSError):
            for fd in os.listdir(fds):
                with contextlib.suppress(OSError):
                    if os.readlink(f"{fds}/{fd}").endswith(" (deleted)"):
                        facts = os.stat(f"{fds}/{fd}")
                        files_seen[facts.st_dev, facts.st_ino] = facts.st_blocks * 512
    return sum(files_seen.values())


class Watch(threading.Thread):
    """The most a node took while this ran: memory of its own, disk."""

    def __init__(self, node):
        super().__init__(daemon=True)
        self.node, self.ended = node, False
        self.memory_first = self.memory_most = rss(node.process.pid)[0]
        self.disk_first = self.disk_most = disk_bytes(node)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.ended = True
        self.join()

    def run(self):
        while not self.ended:
            with contextlib.suppress(OSError):
                self.memory_most = max(self.memory_most, rss(self.node.process.pid)[0])
            self.disk_most = max(self.disk_most, disk_bytes(self.node))
            time.sleep(0.05)


def copy_rate(root, megabytes):
    """Plain file copy with a sync at its end, bytes per second: what this disk does now."""
    source, target = os.path.join(root, "copy.from"), os.path.join(root, "copy.to")
    chunk = os.urandom(MB)
    with open(source, "wb") as f:
        for _ in range(megabytes):
            f.write(chunk)
        os.fsync(f.fileno())
    start = time.monotonic()
    with open(source, "rb") as a, open(target, "wb") as b:
        while chunk := a.read(MB):
            b.write(chunk)
        os.fsync(b.fileno())
    took = time.monotonic() - start
    os.unlink(source)
    os.unlink(target)
    return megabytes * MB / took


def syncs_alone(root, seconds=30.0, writers=4):
    """What small syncs of several files take while no node runs, seconds each: a pause that is the disk's own."""
    took, lock = [], threading.Lock()
    end = time.monotonic() + seconds

    def run(number):
        path = os.path.join(root, f"sync.{number}")
        fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        own, at = [], 0
        while time.monotonic() < end:
            start = time.monotonic()
            os.pwrite(fd, b"x" * PAGE, at)
            os.fdatasync(fd)
            own.append(time.monotonic() - start)
            at = (at + PAGE) % (64 * MB)
            time.sleep(0.0005)
        os.close(fd)
        os.unlink(path)
        with lock:
            took.extend(own)

    threads = [threading.Thread(target=run, args=(i,)) for i in range(writers)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    return took


def stream(node, method, path, body=None, length=0, limit_s=1800):
    """Send a body piece by piece, read the answer piece by piece: (status, bytes read, first of them)."""
    c = http.client.HTTPConnection("127.0.0.1", node.http, timeout=limit_s)
    try:
        if body is None:
            c.request(method, path)
        else:
            c.putrequest(method, path)
            c.putheader("Content-Type", "application/octet-stream")
            c.putheader("Content-Length", str(length))
            c.endheaders()
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                while piece := body.read(MB):
                    c.send(piece)
        answer = c.getresponse()
        first, count = b"", 0
        while piece := answer.read(MB):
            first = first or piece[:200]
            count += len(piece)
        return answer.status, count, first
    except (OSError, http.client.HTTPException, socket.timeout) as failure:
        return 0, 0, str(failure).encode()
    finally:
        c.close()


def words_of(body):
    with contextlib.suppress(ValueError, KeyError, TypeError):
        return json.dumps(json.loads(body))[:120]
    return body[:120].decode(errors="replace").strip()
