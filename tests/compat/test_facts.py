#!/usr/bin/env python3
"""Every fact of daemon_facts.txt is named by a test, next to what checks it, or deviations.txt says why not; and no test
names a fact that is not there. `test_facts.py --list` prints where each one is named.

That a name stands there proves nothing by itself: it is how a reader finds the check, and a change of the contract its
tests."""
import os
import re
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
TESTS = os.path.dirname(HERE)
NUMBER = re.compile(r"\bD\d+\.\d+\b")
NOT_TESTS = {"daemon_facts.txt", "deviations.txt", "test_facts.py"}


def facts_read():
    """{number: statement}"""
    with open(os.path.join(HERE, "daemon_facts.txt"), encoding="utf-8") as lines:
        pairs = [line.rstrip("\n").split(" ", 1) for line in lines if line.startswith("D")]
    return dict(pairs)


def deviations_read():
    with open(os.path.join(HERE, "deviations.txt"), encoding="utf-8") as lines:
        return {line.split()[0].split("@")[0] for line in lines if NUMBER.match(line)}


def places():
    """{number: {file: [line, …]}}"""
    found = {}
    for folder, _, names in os.walk(TESTS):
        for name in names:
            if name in NOT_TESTS or not name.endswith((".py", ".c", ".h", ".txt")):
                continue
            path = os.path.join(folder, name)
            with open(path, encoding="utf-8", errors="replace") as lines:
                for at, line in enumerate(lines, 1):
                    for number in NUMBER.findall(line):
                        found.setdefault(number, {}).setdefault(os.path.relpath(path, TESTS), []).append(at)
    return found


def by_number(number):
    return [int(part) for part in number[1:].split(".")]


def main():
    facts, deviate, named = facts_read(), deviations_read(), places()
    missing = [n for n in facts if n not in named and n not in deviate]
    unknown = [n for n in named if n not in facts] + [n for n in deviate if n not in facts]
    if sys.argv[1:] == ["--list"]:
        for n in sorted(facts, key=by_number):
            where = [f"{path}:{','.join(map(str, lines))}" for path, lines in sorted(named.get(n, {}).items())]
            print(n, "; ".join(where + ["deviations.txt"] * (n in deviate)) or "NOT CHECKED")
    for n in sorted(missing, key=by_number):
        print(f"no test names {n}: {facts[n]}")
    for n in sorted(set(unknown), key=by_number):
        print(f"{n} is no fact of daemon_facts.txt: {', '.join(named.get(n, {})) or 'deviations.txt'}")
    print(f"{len(facts)} facts: {len(facts) - len(missing)} named by a test or a deviation")
    return 1 if missing or unknown or not facts else 0


if __name__ == "__main__":
    sys.exit(main())
