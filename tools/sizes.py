#!/usr/bin/env python3
"""sizes — a report, not a judge: how long are files and functions, room by room?

usage: tools/sizes.py [FOLDER…]        default: src/* sim sim/env

A function begins at its first line in column 0 before a lone "{" and ends at the next lone "}" in column
0, as the formatter writes them.
"""
import os
import re
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
LONG = 60
ASSERTED = ("raft", "rlog", "db")


def functions(path):
    """(name, lines, assertions) of each function"""
    with open(path, encoding="utf-8") as f:
        lines = f.read().split("\n")
    found, begin = [], None
    for i, line in enumerate(lines):
        if line == "{":
            begin = i
            while begin > 0 and lines[begin - 1] and not re.match(r"[ ]*[*/#}]", lines[begin - 1]):
                begin -= 1
        elif line == "}" and begin is not None:
            head = " ".join(lines[begin:i])
            name = re.search(r"(\w+)\s*\(", head)
            body = "\n".join(lines[begin:i + 1])
            found.append((name.group(1) if name else "?", i - begin + 1,
                          len(re.findall(r"\b(?:ASSERT|UNREACHABLE)\(", body))))
            begin = None
    return found


def at(values, share):
    values = sorted(values)
    return values[min(len(values) - 1, int(len(values) * share))] if values else 0


def report(folder):
    full = os.path.join(ROOT, folder)
    names = sorted(n for n in os.listdir(full) if n.endswith((".c", ".h"))) if os.path.isdir(full) else []
    if not names:
        return None
    file_lines, funcs = [], []
    for n in names:
        path = os.path.join(full, n)
        with open(path, encoding="utf-8") as f:
            file_lines.append((sum(1 for _ in f), n))
        if n.endswith(".c"):
            funcs += [(lines, name, n, asserts) for name, lines, asserts in functions(path)]
    return file_lines, funcs


def print_row(label, file_lines, funcs):
    sizes = [f[0] for f in funcs]
    longest = max(funcs, default=(0, "-", "-", 0))
    over = sum(1 for s in sizes if s > LONG)
    share = 100.0 * over / len(sizes) if sizes else 0
    print(f"{label:12} {len(file_lines):5} {sum(n for n, _ in file_lines):6} {at([n for n, _ in file_lines], .5):6} "
          f"{max(file_lines, default=(0, ''))[0]:6} {len(sizes):6} {at(sizes, .5):4} {at(sizes, .95):4} "
          f"{longest[0]:4} {share:5.1f}%  {longest[1]}")


def main():
    folders = sys.argv[1:]
    if not folders:
        src = os.path.join(ROOT, "src")
        folders = ["src/" + n for n in sorted(os.listdir(src))] + ["sim", "sim/env"]
    print(f"{'room':12} {'files':>5} {'lines':>6} {'median':>6} {'max':>6} {'funcs':>6} "
          f"{'med':>4} {'p95':>4} {'max':>4} {'>' + str(LONG):>6}  longest function")
    all_files, all_funcs, asserted = [], [], []
    for folder in folders:
        got = report(folder)
        if not got:
            continue
        print_row(folder, *got)
        all_files += got[0]
        all_funcs += got[1]
        room = os.path.basename(folder)
        if room in ASSERTED and got[1]:
            asserted.append(f"{room} {sum(f[3] for f in got[1]) / len(got[1]):.2f}")
    print_row("all", all_files, all_funcs)
    if asserted:
        print("assertions per function: " + ", ".join(asserted))
    for n, name in sorted(all_files, reverse=True):
        if n > 800:
            print(f"over 800 lines: {name} ({n})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
