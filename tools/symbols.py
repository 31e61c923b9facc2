#!/usr/bin/env python3
"""symbols — prove that the core asks env, not the C library, for time, chance, files, sockets, threads,
environment, locale and standard output, and keeps no mutable static state.

usage: tools/symbols.py BUILD_DIR [--list]

Reads the static libraries of the core rooms in BUILD_DIR. Every symbol they want and do not define
themselves, and every writable datum they hold, must be in tools/symbols.allow:

  undefined  <room>[/<file.c>]  <symbol>   # reason
  writable   <room>/<file.c>    <symbol>   # reason

Shell patterns are allowed in each word. --list prints what is used. What a sanitizer, a coverage
counter, hardening or the compiler itself adds is not ours and is filtered.
"""
import argparse
import fnmatch
import os
import re
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
CORE = "util env raft json sql http wire auth guard rlog image db peer node api".split()

NOT_OURS = re.compile(r"""^(
    __asan_.* | __ubsan_.* | __tsan_.* | __lsan_.* | __sanitizer_.* | __odr_asan.* | __sancov_.* | __start___sancov.*
  | __stop___sancov.* | __gcov.* | gcov_.* | __llvm_.* | __profc_.* | __profd_.* | __covrec.*
  | __stack_chk_fail | _GLOBAL_OFFSET_TABLE_ | __tls_get_addr
)$""", re.X)


def plain(symbol):
    """The name in the source: without version, fortification, or the C99 forms of scanf."""
    symbol = symbol.split("@")[0]
    fortified = re.match(r"__(\w+)_chk$", symbol)
    return fortified.group(1) if fortified else symbol


def members(lib, tool_args):
    """(member, line) pairs of a listing of an archive"""
    text = subprocess.run(tool_args + [lib], check=True, capture_output=True, text=True).stdout
    member = None
    for line in text.splitlines():
        head = re.match(r".*\[([^\]]*)\]:$", line) or re.match(r"^(\S+\.o):\s+file format", line)
        if head:
            member = head.group(1).removesuffix(".o")
        elif line.strip() and member:
            yield member, line


def undefined(lib):
    """(set of (member, symbol) wanted, set of symbols defined)"""
    wanted, defined = set(), set()
    for member, line in members(lib, ["nm", "-P", "-g"]):
        words = line.split()
        if len(words) < 2:
            continue
        if words[1] in "Uw":
            wanted.add((member, words[0]))
        else:
            defined.add(words[0])
    return wanted, defined


def writable(lib):
    """(member, symbol) of data that can change; relocated constants (.data.rel.ro) cannot."""
    found = set()
    for member, line in members(lib, ["objdump", "-t"]):
        m = re.match(r"^[0-9a-f]+ .{7} (\S+)\t([0-9a-f]+)\s+(?:\.\w+ )?(\S+)$", line)
        if not m or m.group(1) == m.group(3) or int(m.group(2), 16) == 0:
            continue
        section, symbol = m.group(1), m.group(3)
        if section.startswith(".data.rel.ro") or not re.match(r"(\.data|\.bss|\.tdata|\.tbss|\*COM\*)", section):
            continue
        if not NOT_OURS.match(symbol) and not symbol.startswith(".L"):
            found.add((member, re.sub(r"\.\d+$", "", symbol)))
    return found


class Allow:
    def __init__(self, path):
        self.rules, self.problems, self.used = [], [], set()
        with open(path, encoding="utf-8") as f:
            for number, line in enumerate(f, 1):
                text, _, reason = line.partition("#")
                words = text.split()
                if not words:
                    continue
                if len(words) != 3 or words[0] not in ("undefined", "writable") or not reason.strip():
                    self.problems.append(f"{path}:{number}: want: undefined|writable <where> <symbol>  # reason")
                    continue
                self.rules.append((words[0], words[1], words[2], number))

    def has(self, kind, room, member, symbol):
        for rule_kind, where, pattern, number in self.rules:
            place = f"{room}/{member}" if "/" in where else room
            if rule_kind == kind and fnmatch.fnmatchcase(place, where) and fnmatch.fnmatchcase(symbol, pattern):
                self.used.add(number)
                return True
        return False


def main():
    parser = argparse.ArgumentParser(description="check what the core libraries want from outside")
    parser.add_argument("build", help="build directory with librq_*.a")
    parser.add_argument("--list", action="store_true", help="print every outside symbol in use")
    args = parser.parse_args()

    allow = Allow(os.path.join(ROOT, "tools/symbols.allow"))
    problems = list(allow.problems)
    wanted, defined, data = [], set(), []
    for room in CORE:
        lib = os.path.join(args.build, f"librq_{room}.a")
        if not os.path.exists(lib):
            problems.append(f"{lib} is missing: build it first")
            continue
        want, have = undefined(lib)
        wanted += [(room, member, symbol) for member, symbol in want]
        defined |= have
        data += [(room, member, symbol) for member, symbol in writable(lib)]

    outside = sorted({(r, m, plain(s)) for r, m, s in wanted if s not in defined and not NOT_OURS.match(s)})
    for room, member, symbol in outside:
        if not allow.has("undefined", room, member, symbol):
            problems.append(f"{room}/{member} calls {symbol}, which is not in tools/symbols.allow")
    for room, member, symbol in sorted(set(data)):
        if not allow.has("writable", room, member, symbol):
            problems.append(f"{room}/{member} keeps mutable state: {symbol}")
    if args.list:
        for room, member, symbol in outside:
            print(f"{room}/{member} {symbol}")
    for p in problems:
        print("symbols: " + p, file=sys.stderr)
    print(f"symbols: {len(outside)} outside references, {len(set(data))} writable data, {len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
