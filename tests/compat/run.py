#!/usr/bin/env python3
"""Compatibility facts, checked from outside over HTTP.

    tests/compat/run.py --daemon build/dev/rqlited [--stage node] [--verbose]

Most facts are dialogues (dialogues/*.txt, format: dialogue.py), played on every stage they name (stages.py). What a
dialogue cannot say, because processes die and return in it, is below; "D…" are facts of daemon.md, "C…" of clusters.

deviations.txt lists facts that do not hold, "number reason" or "number@stage reason". Exit status 1 if any other fact
fails, or if a listed one holds (then the list is out of date). With --all-facts the list is not read.
"""
import argparse
import contextlib
import http.client
import os
import signal
import sys
import time
import urllib.parse

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
import dialogue  # noqa: E402
import stages  # noqa: E402
from stages import nodes  # noqa: E402

FAILOVER_LIMIT_S = 20


class Facts:
    """What was checked, and what the list of deviations says about it."""

    def __init__(self, deviations, verbose):
        self.deviations, self.verbose = deviations, verbose
        self.passed, self.failed, self.known, self.stale = [], [], [], []

    def check(self, number, stage, test):
        key = f"{number}@{stage}"
        listed = [k for k in (number, key) if k in self.deviations]
        try:
            test()
        except (dialogue.Mismatch, nodes.Failed, OSError, http.client.HTTPException, ValueError, KeyError) as why:
            (self.known if listed else self.failed).append(key)
            if not listed:
                print(f"FAIL {key}: {why}")
            elif self.verbose:
                print(f"known {key}: {self.deviations[listed[0]]}: {why}")
            return
        self.passed.append(key)
        if listed:
            self.stale.append(key)
            print(f"STALE {key}: holds, but deviations.txt lists it")

    def report(self, answers):
        numbers = {k.split("@")[0] for k in self.passed + self.failed + self.known}
        print(f"{len(numbers)} facts, {answers} answers compared: {len(self.passed)} passed, {len(self.failed)} failed, "
              f"{len(self.known)} known deviations{f', {len(self.stale)} out of date' if self.stale else ''}")
        return 1 if self.failed or self.stale else 0


def deviations_read():
    listed = {}
    with open(os.path.join(HERE, "deviations.txt"), encoding="utf-8") as lines:
        for line in lines:
            line = line.strip()
            if line and not line.startswith("#"):
                number, _, reason = line.partition(" ")
                listed[number] = reason.strip()
    return listed


def play(facts, field, stage, files):
    """All dialogues of the stage, in order. Returns the number of answers compared."""
    wanted = [(name, [d for d in dialogues if stage in d.stages]) for name, dialogues in files]
    try:
        player = stages.STAGES[stage](field)
    except nodes.Failed as why:
        return no_stage(facts, stage, wanted, why)
    for _, dialogues in wanted:
        for d in dialogues:
            facts.check(d.number, stage, lambda d=d: player.play(d))
        player.close()  # a file has a connection of its own
    return player.seen


def no_stage(facts, stage, wanted, why):
    """None of its facts holds; one line for them all unless they are listed."""
    listed = [d for _, dialogues in wanted for d in dialogues if {d.number, f"{d.number}@{stage}"} & facts.deviations.keys()]
    missing = sum(len(dialogues) for _, dialogues in wanted) - len(listed)
    facts.known += [f"{d.number}@{stage}" for d in listed]
    if missing:
        facts.failed.append(f"{stage}@{stage}")
        print(f"FAIL {stage}: could not be set up, so {missing} facts do not hold: {why}")
    return 0


# ---- processes that die and return -------------------------------------------------------------------------------


def count(node):
    return node.rows("SELECT count(*) FROM foo")


def restarts(facts, field):
    node = field.node("restart-1").start()
    node.wait_ready()
    node.execute("CREATE TABLE foo (id INTEGER PRIMARY KEY)")
    node.execute("INSERT INTO foo VALUES(1)")

    def clean():
        node.terminate()
        nodes.want(node.process.returncode == 0, f"exit status {node.process.returncode}")
        nodes.want("rqlite server stopped" in node.words().strip().splitlines()[-1], "the last line")
        node.start()
        node.wait_ready()
        nodes.want(count(node) == [[1]], "a row is missing after a clean stop")

    def killed():
        node.kill()
        node.start()
        node.wait_ready()
        nodes.want(count(node) == [[1]], "a row is missing after kill -9")

    facts.check("D1.11", "processes", clean)
    facts.check("D12.8", "processes", killed)
    node.terminate()


def failover(facts, field):
    three = field.three(prefix="failover-")
    for node in three:
        node.wait_ready()
    leader = nodes.wait_leader(three)
    one, other = [n for n in three if n is not leader]
    leader.execute("CREATE TABLE foo (id INTEGER PRIMARY KEY)")

    def leader_dies():
        leader.kill()
        until = time.monotonic() + FAILOVER_LIMIT_S
        while time.monotonic() < until:
            with contextlib.suppress(OSError, http.client.HTTPException, nodes.Failed):
                one.execute("INSERT OR IGNORE INTO foo VALUES(7)")
                break
            time.sleep(0.05)
        nodes.want(other.rows("SELECT id FROM foo", "strong") == [[7]], "the write is not seen through the other follower")
        listed = one.ask("GET", "/nodes?timeout=2s").json()
        nodes.want(not listed[leader.name]["reachable"], f"the dead node is called reachable: {listed}")

    def comes_back():
        leader.start()
        leader.wait_ready()
        nodes.want(leader.ask("GET", "/readyz?sync&timeout=10s", timeout_s=15).status == 200, "not ready")
        until = time.monotonic() + 10
        while leader.rows("SELECT id FROM foo") != [[7]]:
            nodes.want(time.monotonic() < until, "the restarted node did not catch up")
            time.sleep(0.05)

    facts.check("C6", "processes", leader_dies)
    facts.check("C7", "processes", comes_back)
    for node in three:
        node.terminate()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--daemon", required=True)
    parser.add_argument("--stage", choices=[*stages.STAGES, "processes"], action="append")
    parser.add_argument("--all-facts", action="store_true", help="also report facts that deviations.txt lists")
    parser.add_argument("--verbose", action="store_true")
    given = parser.parse_args()
    facts = Facts({} if given.all_facts else deviations_read(), given.verbose)
    files = dialogue.load(os.path.join(HERE, "dialogues"))
    answers = 0
    for stage in given.stage or [*stages.STAGES, "processes"]:
        with nodes.Field(given.daemon) as field:
            if stage == "processes":
                restarts(facts, field)
                failover(facts, field)
            else:
                answers += play(facts, field, stage, files)
    sys.exit(facts.report(answers))


if __name__ == "__main__":
    main()
