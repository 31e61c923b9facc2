#!/usr/bin/env python3
"""layers — draw the include map and check that it only points down.

usage: tools/layers.py [--dot] [--build DIR]

What a room may include is what it may link: the DEPS of its rq_room() line in CMakeLists.txt, and what
those reach. Checked here as well, because an include alone links nothing:
  - a door or a file of a room includes only doors of that room and of rooms below it;
  - private headers ("…") are included only from their own folder;
  - no include cycle.
With --build: the objects of each room are searched for knots, the largest groups of files that all reach
one another through calls. A knot of two is tolerated, more is not.
Exit status 1 if anything is violated.
"""
import argparse
import os
import re
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
KNOT_MAX = 2

# Doors whose name is not their room's.
DOOR_ROOM = {"limits": "util", "env_impl": "env"}
# raft.h also names the plain types of terms, messages and members, for those who carry or keep them.
TYPES_ONLY = {("wire", "raft"), ("rlog", "raft")}
# Doors that only some may open.
ONLY_FOR = {
    "rq/env_impl.h": {"env", "env_uv", "env_sim", "tls"},
    "rq/env_uv.h": {"env_uv", "daemon"},
}


def read(path):
    with open(os.path.join(ROOT, path), encoding="utf-8") as f:
        return f.read()


def rooms_from_cmake():
    """name -> (folder, set of rooms it may use, transitively)"""
    rooms, direct = {}, {}
    for args in re.findall(r"^rq_room\(([^)]*)\)", read("CMakeLists.txt"), re.M):
        words = args.split()
        name, folder = words[0], "src/" + words[0]
        if "DIR" in words:
            folder = words[words.index("DIR") + 1]
        deps = words[words.index("DEPS") + 1:] if "DEPS" in words else []
        direct[name] = {d[3:] for d in deps if d.startswith("rq_") and d != "rq_sqlite"}
        rooms[name] = folder
    closed = {}

    def close(name):
        if name not in closed:
            closed[name] = set()
            for d in direct[name]:
                closed[name] |= {d} | close(d)
        return closed[name]

    return {n: (folder, close(n)) for n, folder in rooms.items()}


def sources(folder):
    full = os.path.join(ROOT, folder)
    if not os.path.isdir(full):
        return []
    return sorted(f"{folder}/{n}" for n in os.listdir(full) if n.endswith((".c", ".h")))


def doors():
    found = []
    for folder, _, names in os.walk(os.path.join(ROOT, "include/rq")):
        found += [os.path.relpath(os.path.join(folder, n), ROOT) for n in names if n.endswith(".h")]
    return sorted(found)


def door_room(door):
    """include/rq/util/buf.h or rq/raft.h -> room"""
    parts = door.replace("include/", "").split("/")
    if len(parts) == 3:
        return parts[1]
    stem = parts[1][:-2]
    return DOOR_ROOM.get(stem, stem)


def includes(path):
    return re.findall(r'^\s*#\s*include\s+([<"])([^>"]+)[>"]', read(path), re.M)


class Map:
    def __init__(self, rooms):
        self.rooms = rooms
        self.problems = []
        self.room_edges = {}   # (room, room) -> count
        self.file_edges = {}   # file -> [file]

    def problem(self, text):
        self.problems.append(text)

    def add(self, room, path):
        self.file_edges[path] = []
        for kind, name in includes(path):
            if kind == "<" and name.startswith("rq/"):
                self.add_door(room, path, name)
            elif kind == '"':
                self.add_private(room, path, name)

    def add_door(self, room, path, name):
        if not os.path.exists(os.path.join(ROOT, "include", name)):
            self.problem(f"{path}: <{name}> does not exist")
            return
        target = door_room(name)
        self.file_edges[path].append("include/" + name)
        if target != room:
            key = (room, target)
            self.room_edges[key] = self.room_edges.get(key, 0) + 1
            if target not in self.rooms[room][1] and key not in TYPES_ONLY:
                self.problem(f"{path}: room {room} may not know <{name}> (room {target})")
        if name in ONLY_FOR and room not in ONLY_FOR[name]:
            self.problem(f"{path}: <{name}> is only for {', '.join(sorted(ONLY_FOR[name]))}")

    def add_private(self, room, path, name):
        folder = self.rooms[room][0]
        for base in [os.path.dirname(path)] + ([folder, "sim"] if folder.startswith("sim") else [folder]):
            target = os.path.normpath(os.path.join(base, name))
            if os.path.exists(os.path.join(ROOT, target)):
                break
        else:
            self.problem(f'{path}: "{name}" is not in its folder')
            return
        self.file_edges[path].append(target)
        home = os.path.dirname(target)
        if home == folder:
            return
        # the simulator's own two floors: sim/ may use the doors of sim/env
        owner = next((r for r, (f, _) in self.rooms.items() if f == home), None)
        if owner in self.rooms[room][1] and not target.endswith("_int.h") and home.startswith("sim"):
            self.room_edges[(room, owner)] = self.room_edges.get((room, owner), 0) + 1
            return
        self.problem(f'{path}: "{name}" is private to {home}')

    def check_cycles(self):
        for group in strong_groups(self.file_edges):
            if len(group) > 1 or group[0] in self.file_edges.get(group[0], []):
                self.problem("include cycle: " + " ".join(sorted(group)))


def strong_groups(edges):
    """Tarjan's strongly connected components, without recursion limits mattering here."""
    sys.setrecursionlimit(10000)
    index, low, stack, on, out = {}, {}, [], set(), []

    def visit(v):
        index[v] = low[v] = len(index)
        stack.append(v)
        on.add(v)
        for w in edges.get(v, []):
            if w not in index:
                visit(w)
                low[v] = min(low[v], low[w])
            elif w in on:
                low[v] = min(low[v], index[w])
        if low[v] == index[v]:
            group = []
            while True:
                w = stack.pop()
                on.discard(w)
                group.append(w)
                if w == v:
                    break
            out.append(group)

    for v in sorted(edges):
        if v not in index:
            visit(v)
    return out


def calls_of_room(build, room):
    """object -> objects of the same room it refers to; None if the library is not built."""
    lib = os.path.join(build, f"librq_{room}.a")
    if not os.path.exists(lib):
        return None
    text = subprocess.run(["nm", "-P", "-g", lib], check=True, capture_output=True, text=True).stdout
    defined, wanted, member = {}, {}, None
    for line in text.splitlines():
        head = re.match(r".*\[(.*)\]:$", line)
        if head:
            member = head.group(1).removesuffix(".o")
            wanted[member] = set()
            continue
        words = line.split()
        if len(words) >= 2 and words[1] == "U":
            wanted[member].add(words[0])
        elif len(words) >= 2 and words[1] in "TW":
            defined[words[0]] = member
    return {m: sorted({defined[s] for s in names if s in defined and defined[s] != m})
            for m, names in wanted.items()}


def check_knots(build, rooms):
    """(largest knot per room, problems)"""
    report, problems = [], []
    for room in rooms:
        calls = calls_of_room(build, room)
        if calls is None:
            continue
        knot = max(strong_groups(calls), key=len, default=[])
        names = " ".join(sorted(knot)) if len(knot) > 1 else ""
        report.append((room, len(calls), len(knot), names))
        if len(knot) > KNOT_MAX:
            problems.append(f"knot of {len(knot)} files in room {room}: {names}")
    return report, problems


def print_map(m, dot):
    if dot:
        print("digraph rooms {\n  rankdir=BT;")
        for (a, b), n in sorted(m.room_edges.items()):
            print(f'  "{a}" -> "{b}" [label={n}];')
        print("}")
        return
    for room, (folder, _) in m.rooms.items():
        used = sorted(b for (a, b) in m.room_edges if a == room)
        count = len([f for f in sources(folder) if f.endswith(".c")])
        print(f"{room:8} {count:3} files   -> {' '.join(used)}")


def main():
    parser = argparse.ArgumentParser(description="draw and check the include map")
    parser.add_argument("--dot", action="store_true", help="print the map for graphviz")
    parser.add_argument("--build", help="build directory with librq_*.a: look for knots of calls too")
    args = parser.parse_args()

    m = Map(rooms_from_cmake())
    for room, (folder, _) in m.rooms.items():
        for path in sources(folder):
            m.add(room, path)
    for door in doors():
        room = door_room(door)
        if room in m.rooms:
            m.add(room, door)
        else:
            m.problem(f"{door}: no room of that name in CMakeLists.txt")
    m.check_cycles()
    print_map(m, args.dot)
    problems = list(m.problems)
    if args.build:
        report, knots = check_knots(args.build, m.rooms)
        problems += knots
        if not args.dot:
            print("\nlargest knot of calls per room:")
            for room, files, size, names in report:
                print(f"{room:8} {size} of {files:3}  {names}")
    for p in problems:
        print("layers: " + p, file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
