#!/usr/bin/env python3
"""idle — what a cluster of three costs while nobody asks it anything: writes to its disk, processor, system calls.

    tools/bench/idle.py PATH/TO/rqlited [--minutes 10] [--modes memory,on-disk] [--no-trace]

In each mode two clusters are filled, left alone for 20 s, and then watched, all at the same time: one is only looked at
from outside, before and after (/proc/PID/stat and io, every file below its folders, its words, the positions of its
log), so that nothing disturbs its figures; the other runs under strace, which names every call that reaches a file.
Demanded: no call that writes to a file or changes a folder, no byte towards the disk, no file or log position changed,
not a word said, less than 0.5 % of a core for each node. Exit status 1: one of them was not kept; 77: no strace here."""
import argparse
import collections
import contextlib
import os
import re
import shutil
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../tests/integration"))
from nodes import Field, wait_equal  # noqa: E402
from storage_lib import written  # noqa: E402

SETTLE_S, CORE_MAX, SKIPPED = 20, 0.005, 77
CALL = re.compile(r"^\d+ +(?:<\.\.\. )?(\w+)(?:\(| resumed)(.*)")
WRITES = {"write", "writev", "pwrite64", "pwritev", "pwritev2", "fsync", "fdatasync", "sync_file_range", "msync", "ftruncate",
          "fallocate", "copy_file_range", "sendfile"}
CHANGES = {"rename", "renameat", "renameat2", "unlink", "unlinkat", "mkdir", "mkdirat", "rmdir", "truncate", "link", "linkat",
           "symlink", "symlinkat", "creat", "sync", "syncfs"}


def processor_s(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii") as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def files(folder):
    """Name → size, blocks, time of change."""
    found = {}
    for at, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(at, name)
            s = os.lstat(path)
            found[os.path.relpath(path, folder)] = (s.st_size, s.st_blocks, s.st_mtime_ns)
    return found


class Sight:
    """One node at one time."""

    def __init__(self, node):
        raft = node.ask("GET", "/status?key=store.raft").json()
        self.log = {k: raft[k] for k in ("term", "last_log_index", "commit_index", "applied_index", "log_size", "last_snapshot_index")}
        self.role = raft["state"]
        self.words = len(node.words())
        self.files = files(node.folder)
        self.disk_bytes = written(node.process.pid)
        self.processor_s = processor_s(node.process.pid)
        self.at = time.monotonic()


def compare(name, before, after):
    """One node's line; what it did that it should not have done."""
    core = (after.processor_s - before.processor_s) / (after.at - before.at)
    changed = sorted(n for n in before.files.keys() | after.files.keys() if before.files.get(n) != after.files.get(n))
    strange = [f"{n} changed" for n in changed]
    strange += [f"{k} went from {v} to {after.log[k]}" for k, v in before.log.items() if after.log[k] != v]
    if after.disk_bytes != before.disk_bytes:
        strange.append(f"{after.disk_bytes - before.disk_bytes} bytes were written")
    if after.words != before.words:
        strange.append(f"{after.words - before.words} characters were said")
    if core >= CORE_MAX:
        strange.append(f"{100 * core:.2f} % of a core is too much")
    print(f"{name:<22} {after.role:<9} {100 * core:5.2f} % of a core, {after.disk_bytes - before.disk_bytes} bytes towards the "
          f"disk, {len(changed)} files changed, log {'grew' if before.log != after.log else 'unchanged'}", flush=True)
    return [f"{name}: {s}" for s in strange]


class Tracer:
    def __init__(self, node):
        self.node, self.path = node, node.words_path + ".strace"
        self.process = subprocess.Popen(["strace", "-f", "-qq", "-y", "-s", "0", "-o", self.path, "-p", str(node.process.pid)],
                                        stderr=subprocess.DEVNULL)

    def ended(self, seconds):
        """Its line; calls that reached files."""
        self.process.terminate()
        self.process.wait(30)
        calls, bad = collections.Counter(), collections.Counter()
        with open(self.path, encoding="utf-8", errors="replace") as f:
            for line in f:
                self.count(line, calls, bad)
        most = ", ".join(f"{n / seconds:.1f} {call}" for call, n in calls.most_common(5))
        print(f"{self.node.name:<22} traced    {sum(calls.values()) / seconds:.1f} calls a second ({most}), "
              f"{sum(bad.values())} reached a file", flush=True)
        if not calls:
            return [f"{self.node.name}: strace saw nothing"]
        return [f"{self.node.name}: {n} × {what}" for what, n in bad.items()]

    @staticmethod
    def count(line, calls, bad):
        m = CALL.match(line)
        if not m or " resumed" in line[:60]:
            return
        call, rest = m[1], m[2]
        calls[call] += 1
        path = re.match(r"\d+<(/[^>]*)>", rest)
        if call in CHANGES or call in WRITES and path and path[1] != "/dev/null":
            bad[f"{call} {path[1] if path else rest[:100]}"] += 1
        elif call in ("open", "openat") and re.search(r"O_(WRONLY|RDWR|CREAT|TRUNC)", rest):
            bad[f"{call} {rest[:120]}"] += 1


def cluster(field, mode, which):
    flags = ["-on-disk"] if mode == "on-disk" else []
    nodes = field.three(flags=flags, prefix=f"{mode}-{which}-")
    for node in nodes:
        node.wait_ready()
    nodes[0].execute("CREATE TABLE t(id INTEGER PRIMARY KEY, v)")
    for _ in range(100):
        nodes[1].execute("INSERT INTO t(v) VALUES(randomblob(2000))")
    wait_equal(nodes)
    return nodes


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rqlited")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--modes", default="memory,on-disk")
    parser.add_argument("--no-trace", action="store_true")
    given = parser.parse_args()
    if not given.no_trace and not shutil.which("strace"):
        print("skipped: there is no strace here (Debian: apt-get install strace); --no-trace goes without")
        raise SystemExit(SKIPPED)
    with Field(given.rqlited) as field, contextlib.ExitStack() as ends:
        modes = given.modes.split(",")
        quiet = [n for mode in modes for n in cluster(field, mode, "alone")]
        traced = [] if given.no_trace else [n for mode in modes for n in cluster(field, mode, "traced")]
        time.sleep(SETTLE_S)
        before = [Sight(n) for n in quiet]
        tracers = [Tracer(n) for n in traced]
        for t in tracers:
            ends.callback(t.process.kill)
        time.sleep(60 * given.minutes)
        strange = [s for n, b in zip(quiet, before) for s in compare(n.name, b, Sight(n))]
        strange += [s for t in tracers for s in t.ended(60 * given.minutes)]
    for words in strange:
        print(f"MISS {words}")
    print(f"{given.minutes:g} minutes idle: {'not ' if strange else ''}all as promised")
    raise SystemExit(1 if strange else 0)


if __name__ == "__main__":
    main()
