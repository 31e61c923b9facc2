#!/usr/bin/env python3
"""storage — what a database of a gigabyte costs: starts, snapshots, backups, loads, new nodes.

    tools/bench/storage.py [--build build/release] [--size 1024] [--folder /tmp] COMMAND…

Commands: restart restart-memory restart-in-cut snapshot pauses join backup load boot vacuum disk; all: each of them.
--size in MB; every command makes its own database (bytes that do not compress). Latencies are told beside those of quiet writes in
the same run, rates beside a plain file copy; ratios are what to quote. What a build cannot do yet is reported
as `not there`. Exit status 1: a target was missed."""
import argparse
import contextlib
import http.client
import os
import sqlite3
import statistics
import sys
import tempfile
import threading
import time

import storage_lib as lib
from storage_lib import MB, PAGE, Failed, Figures, Watch, Writers, want
from nodes import Field  # found by storage_lib

missed = []


def tell(name, words, good=None):
    """good: None: no target, only told."""
    verdict = "    " if good is None else "ok  " if good else "MISS"
    if good is False:
        missed.append(name)
    print(f"{verdict} {name}: {words}", flush=True)


def not_there(name, status, body):
    print(f"none {name}: not there ({status} {lib.words_of(body)})", flush=True)


class Bench:
    def __init__(self, field, size_mb):
        self.field, self.size_mb, self.count = field, size_mb, 0

    def node(self, *flags, wait=True):
        self.count += 1
        node = self.field.node(f"n{self.count}", flags=flags).start()
        if wait:
            node.wait_ready()
        return node

    def filled(self, *flags):
        """A node with a database of the size asked for, and an image of it."""
        node = self.node(*flags)
        start = time.monotonic()
        lib.fill(node, self.size_mb)
        lib.snapshot(node, 1)
        print(f"     {lib.db_bytes(node) / MB:.0f} MB in {time.monotonic() - start:.0f} s, flags {' '.join(flags) or 'none'}", flush=True)
        return node

    def done(self, *nodes):
        for node in nodes:
            node.kill()
            for folder, _, files in os.walk(node.folder, topdown=False):
                for name in files:
                    os.unlink(os.path.join(folder, name))
                os.rmdir(folder)


# ---- starts ------------------------------------------------------------------------------------------------


def restarts(bench, name, node, limit_s):
    took, tail, tail_bytes = [], 0, 0
    for _ in range(5):
        with Writers(node) as writers:
            while len(writers.done) < 1000:
                time.sleep(0.01)
            tail, tail_bytes = lib.log_tail(node)
            node.kill()
        took.append(lib.seconds_to_ready(node))
        want(node.rows("SELECT count(*) FROM fill") == [[bench.size_mb * MB // PAGE]], "rows after the kill")
    tell(name, f"ready {statistics.median(took):.2f} s after kill -9 (median of 5, most {max(took):.2f} s), log tail "
         f"{tail} entries, {tail_bytes / MB:.0f} MB of segments", None if limit_s is None else max(took) <= limit_s)
    bench.done(node)


def restart(bench):
    restarts(bench, "restart, on disk", bench.filled("-on-disk"), 1.0)


def restart_memory(bench):
    restarts(bench, "restart, in memory", bench.filled(), None)


def restart_in_cut(bench):
    """kill -9 at points of a snapshot of a tenth of the database, while a client writes."""
    node, pages = bench.filled("-on-disk", "-raft-snap-wal-size", "0"), bench.size_mb * MB // PAGE // 10

    def change(turn):
        for first in range(turn * pages, (turn + 1) * pages, 1000):
            node.execute(lib.CHANGE, first, min(first + 1000, (turn + 1) * pages), timeout_s=60)

    def cut():
        with contextlib.suppress(OSError, http.client.HTTPException, Failed):
            lib.snapshot(node)

    change(0)
    start = time.monotonic()
    cut()
    whole, took = time.monotonic() - start, []
    for turn, part in enumerate((0.05, 0.2, 0.35, 0.5, 0.65, 0.8, 0.95), 1):
        change(turn)
        with Writers(node, clients=1):
            thread = threading.Thread(target=cut)
            thread.start()
            time.sleep(whole * part)
            node.kill()
            thread.join()
        took.append((part, lib.seconds_to_ready(node)))
        want(node.rows("SELECT count(*) FROM fill") == [[bench.size_mb * MB // PAGE]], "rows after the kill")
        cut()
    words = ", ".join(f"{seconds:.2f} s at {part:.2f}" for part, seconds in took)
    tell(f"restart, on disk, killed in a snapshot of {pages} pages ({whole:.1f} s)", f"ready after {words} of it",
         max(seconds for _, seconds in took) <= 1.0)
    bench.done(node)


# ---- snapshots ---------------------------------------------------------------------------------------------


def snapshot_cost(bench, *flags):
    """Bytes that a snapshot writes after 1,000 pages changed; and all that the change cost, its log included."""
    node = bench.filled(*flags)
    pid, ratios, whole = node.process.pid, [], []
    for turn in range(5):
        before = lib.written(pid)
        first = turn * 1000 % max(1, bench.size_mb * MB // PAGE - 1000)
        node.execute(lib.CHANGE, first, first + 1000, timeout_s=60)
        time.sleep(0.2)
        changed = lib.written(pid)
        want(lib.snapshot(node) == 200, "a snapshot")
        ratios.append((lib.written(pid) - changed) / (1000 * PAGE))
        whole.append((lib.written(pid) - before) / (1000 * PAGE))
    tell(f"snapshot, 1,000 pages changed, {' '.join(flags) or 'in memory'}",
         f"writes {statistics.median(ratios):.2f} × those pages (most {max(ratios):.2f}); with the change itself "
         f"{statistics.median(whole):.2f} ×", max(ratios) <= 3)
    bench.done(node)


def snapshot(bench):
    snapshot_cost(bench)
    snapshot_cost(bench, "-on-disk")


# ---- pauses ------------------------------------------------------------------------------------------------


def judged(name, quiet, busy):
    """Of rounds: the medians of their p99; and the longest of all."""
    before, then = (statistics.median(r.p99 for r in rounds) for rounds in (quiet, busy))
    most, quiet_most = (max(r.most for r in rounds) for rounds in (busy, quiet))
    tell(name, f"p99 {then / before:.2f} × quiet ({then:.1f} and {before:.1f} ms, medians of {len(busy)} rounds), longest pause "
         f"{most:.0f} ms (quiet {quiet_most:.0f} ms)", then <= 2 * before and most <= max(100.0, quiet_most))
    for q, b in zip(quiet, busy):
        print(f"       quiet: {q}\n       then:  {b}", flush=True)


def beside(node, name, event, rounds=5, busy_s=3.0, prepare=lambda: None):
    """Quiet writes, then writes while event() runs, by turns. A round calls event() until it has taken so long in all, and
    is quiet as long; prepare() is not looked at; event() may say False: not there."""
    quiet, busy = [], []
    with Writers(node) as writers:
        time.sleep(1)
        for _ in range(rounds):
            took, seen, cores = 0.0, [], lib.Cores(node)
            while took < busy_s:
                prepare()
                time.sleep(0.2)
                start = time.monotonic()
                cores.go_on()
                if event() is False:
                    return
                end = time.monotonic()
                cores.pause()
                took += end - start
                seen += writers.between(start, end)
                time.sleep(0.3)
            busy.append(Figures(seen, cores))
            time.sleep(0.5)
            cores = lib.Cores(node)
            start = time.monotonic()
            cores.go_on()
            time.sleep(min(took, 10))
            end = time.monotonic()
            cores.pause()
            quiet.append(Figures(writers.between(start, end), cores))
    judged(name, quiet, busy)


def pauses_of_snapshots(bench, node, words):
    turn = [0]

    def change(pages):
        first = turn[0] * pages % max(1, bench.size_mb * MB // PAGE - pages)
        turn[0] += 1
        for at in range(first, first + pages, 50):
            node.execute(lib.CHANGE, at, at + 50)

    for pages in (1000, bench.size_mb * MB // PAGE // 10):
        beside(node, f"pauses, snapshot of {pages} pages, {words}", lambda: lib.snapshot(node),
               prepare=lambda pages=pages: change(pages))


def pauses_of_backups(node, words):
    def one():
        status, count, first = lib.stream(node, "GET", "/db/backup")
        if status != 200:
            not_there(f"pauses, backup, {words}", status, first)
            return False
        want(count > 0, "an empty backup")
        return True

    beside(node, f"pauses, backup, {words}", one)


def pauses_of_joining(bench, node, words):
    new = []

    def one():
        new.append(bench.node("-join", f"http://localhost:{node.http}", "-raft-non-voter", *words[1], wait=False))
        new[-1].wait_ready(600)
        wait_applied(node, new[-1])

    beside(node, f"pauses, a new node catches up, {words[0]}", one, rounds=3)
    bench.done(*new)


def wait_applied(leader, follower, limit_s=900):
    end = time.monotonic() + limit_s
    while lib.store(follower)["raft"]["applied_index"] + 50 < lib.store(leader)["raft"]["applied_index"]:
        want(time.monotonic() < end, "the new node does not catch up")
        time.sleep(0.02)


def pauses(bench):
    alone = Figures(lib.syncs_alone(bench.field.root))
    tell("pauses, the disk by itself", f"{alone.count} small syncs of four files, p99 {alone.p99:.1f} ms, longest {alone.most:.0f} ms "
         "(in memory, --folder /dev/shm, what is left is the program's own)")
    for flags, words in (((), "in memory"), (("-on-disk",), "on disk")):
        node = bench.filled(*flags)
        pauses_of_snapshots(bench, node, words)
        pauses_of_backups(node, words)
        pauses_of_joining(bench, node, (words, flags))
        bench.done(node)


# ---- joining -----------------------------------------------------------------------------------------------


def join(bench):
    """A node comes to a cluster that holds the database and takes 500 writes/s."""
    node = bench.filled("-on-disk")
    rates = [lib.copy_rate(bench.field.root, bench.size_mb)]
    with Writers(node, clients=8, rate=500) as writers:
        time.sleep(2)
        begun = time.monotonic()
        new = bench.node("-on-disk", "-join", f"http://localhost:{node.http}", wait=False)
        while not new.ready():
            want(new.process.poll() is None, new.tail())
            time.sleep(0.02)
        with Watch(new) as watch:
            new.wait_ready(900)
            wait_applied(node, new)
            took = time.monotonic() - begun
        writes = len(writers.between(begun, begun + took)) / took
    size = lib.db_bytes(node)
    rates.append(lib.copy_rate(bench.field.root, bench.size_mb))
    rate = sum(rates) / 2
    digests = [lib.store(n)["digest"] for n in (node, new)]
    want(digests[0] == digests[1], f"nodes differ: {digests}")
    tell("join", f"{size / MB:.0f} MB under {writes:.0f} writes/s: equal after {took:.1f} s, {size / took / MB:.0f} MB/s; plain copy "
         f"{rates[0] / MB:.0f} and {rates[1] / MB:.0f} MB/s, ratio {size / took / rate:.2f}")
    tell("join, memory of the new node", f"{watch.memory_first / MB:.0f} MB, most {watch.memory_most / MB:.0f} MB", watch.memory_most < 200 * MB)
    tell("join, disk of the new node", f"most {watch.disk_most / size:.2f} × database", watch.disk_most <= 2.2 * size + 64 * MB)
    bench.done(node, new)


# ---- backup, load, boot ------------------------------------------------------------------------------------


def backup(bench):
    node = bench.filled("-on-disk")
    for kind, path in (("binary", "/db/backup"), ("vacuumed", "/db/backup?vacuum"), ("compressed", "/db/backup?compress"),
                       ("sql", "/db/backup?fmt=sql")):
        with Watch(node) as watch:
            start = time.monotonic()
            status, count, first = lib.stream(node, "GET", path)
            took = time.monotonic() - start
        if status != 200:
            not_there(f"backup, {kind}", status, first)
            continue
        size = lib.db_bytes(node)
        tell(f"backup, {kind}", f"{count / MB:.0f} MB in {took:.1f} s; memory {watch.memory_first / MB:.0f} MB, most "
             f"{watch.memory_most / MB:.0f} MB; disk most {watch.disk_most / size:.2f} × database",
             watch.memory_most - watch.memory_first < 64 * MB and watch.disk_most <= 2.2 * size + 64 * MB)
    bench.done(node)


def file_of(bench):
    path = os.path.join(bench.field.root, "given.sqlite")
    if not os.path.exists(path):
        db = sqlite3.connect(path)
        db.execute("CREATE TABLE fill(id INTEGER PRIMARY KEY, v BLOB)")
        db.execute(lib.FILL, [bench.size_mb * MB // PAGE])
        db.commit()
        db.close()
    return path


def given_file(bench, name, path, flags, again=False):
    """again: and once more, in the place of what was loaded."""
    given = file_of(bench)
    size = os.path.getsize(given)
    node = bench.node(*flags)
    for words in (name, f"{name}, over the same") if again else (name,):
        with Watch(node) as watch, open(given, "rb") as f:
            start = time.monotonic()
            status, _, first = lib.stream(node, "POST", path, f, size)
            took = time.monotonic() - start
        if status != 200 or b"error" in first:
            not_there(words, status, first)
            break
        want(node.rows("SELECT count(*) FROM fill") == [[bench.size_mb * MB // PAGE]], "rows after the load")
        tell(words, f"{size / MB:.0f} MB in {took:.1f} s, {size / took / MB:.0f} MB/s")
        if flags:
            tell(f"{words}, memory", f"{watch.memory_first / MB:.0f} MB, most {watch.memory_most / MB:.0f} MB", watch.memory_most < 200 * MB)
        log = lib.log_tail(node)[1]
        tell(f"{words}, disk", f"first {watch.disk_first / size:.2f}, most {watch.disk_most / size:.2f} × database; log {log / MB:.0f} MB",
             watch.disk_most <= 2.2 * size + log)
        time.sleep(5)
    bench.done(node)


def load(bench):
    given_file(bench, "load, on disk", "/db/load", ("-on-disk",), again=True)
    given_file(bench, "load, in memory", "/db/load", (), again=True)


def boot(bench):
    given_file(bench, "boot, on disk", "/boot", ("-on-disk",))


# ---- disk --------------------------------------------------------------------------------------------------


def disk(bench):
    node = bench.filled("-on-disk")
    with Watch(node) as watch, Writers(node):
        for turn in range(20):
            node.execute(lib.CHANGE, turn * 500, turn * 500 + 500, timeout_s=60)
            if turn % 5 == 4:
                lib.snapshot(node)
    size, log = lib.db_bytes(node), lib.log_tail(node)[1]
    lib.snapshot(node)
    steady = lib.disk_bytes(node)
    tell("disk, steady", f"{steady / MB:.0f} MB for {size / MB:.0f} MB of database and {log / MB:.0f} MB of log: "
         f"{(steady - log) / size:.2f} × database + log", steady <= 1.2 * size + log)
    tell("disk, under writes and snapshots", f"most {watch.disk_most / size:.2f} × database")
    bench.done(node)


def vacuum(bench):
    node = bench.filled("-on-disk")
    with Watch(node) as watch:
        start = time.monotonic()
        status = node.ask("POST", "/db/execute?timeout=600s", ["VACUUM"], 900)
        took = time.monotonic() - start
        want(status.status == 200, f"VACUUM: {status.status} {status.body[:200]!r}")
        lib.snapshot(node)
    size = lib.db_bytes(node)
    tell("vacuum", f"{took:.1f} s, and a snapshot; disk most {watch.disk_most / size:.2f} × database; memory "
         f"{watch.memory_first / MB:.0f} MB, most {watch.memory_most / MB:.0f} MB", watch.disk_most <= 2.2 * size + 64 * MB)
    bench.done(node)


COMMANDS = {"restart": restart, "restart-memory": restart_memory, "restart-in-cut": restart_in_cut,
            "snapshot": snapshot, "pauses": pauses, "join": join,
            "backup": backup, "load": load, "boot": boot, "disk": disk, "vacuum": vacuum}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default="build/release")
    parser.add_argument("--size", type=int, default=1024, help="MB")
    parser.add_argument("--folder", help="where the nodes' folders are made")
    parser.add_argument("commands", nargs="+", choices=[*COMMANDS, "all"])
    given = parser.parse_args()
    tempfile.tempdir = given.folder
    threading.stack_size(256 * 1024)
    for name in COMMANDS if "all" in given.commands else given.commands:
        with Field(os.path.join(given.build, "rqlited")) as field:
            COMMANDS[name](Bench(field, given.size))
    if missed:
        sys.exit(f"storage: {len(missed)} missed: {', '.join(missed)}")


if __name__ == "__main__":
    main()
