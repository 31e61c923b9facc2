#!/usr/bin/env python3
"""Real nodes whose image is damaged or edited while they are stopped: named, repaired from the others, or refused.

    tests/integration/repair.py RQLITED
"""
import argparse
import os
import shutil
import sqlite3
import struct
import time

from nodes import Failed, Field, wait_equal, wait_leader, want

PAGE, SECTOR, SUMS = 4096, 512, 127
TABLE = []


def crc32c(data, seed=0):
    """As util's: https://www.rfc-editor.org/rfc/rfc3720#appendix-B.4, going on from seed."""
    if not TABLE:
        for i in range(256):
            c = i
            for _ in range(8):
                c = c >> 1 ^ (0x82F63B78 if c & 1 else 0)
            TABLE.append(c)
    c = seed ^ 0xFFFFFFFF
    for byte in data:
        c = c >> 8 ^ TABLE[(c ^ byte) & 0xFF]
    return c ^ 0xFFFFFFFF


def image_file(node, end):
    folder = os.path.join(node.folder, "image")
    names = [f for f in sorted(os.listdir(folder)) if f.endswith(end)]
    want(len(names) == 1, f"{node.name}: {names} in {folder}")
    return os.path.join(folder, names[0])


def pages_file(node):
    """The pages of the main database: a file of the image, or with a live one the database itself."""
    try:
        return image_file(node, ".main")
    except Failed:
        return os.path.join(node.folder, "db.sqlite")


def flip(path, offset):
    mode = os.stat(path).st_mode
    os.chmod(path, 0o644)
    with open(path, "r+b") as f:
        f.seek(offset)
        byte = f.read(1)[0]
        f.seek(offset)
        f.write(bytes([byte ^ 4]))
    os.chmod(path, mode)


def sums_make_right(node):
    """The checksums of all pages, as the program would write them."""
    with open(pages_file(node), "rb") as f:
        pages = f.read()
    sums = [crc32c(pages[at:at + PAGE]) for at in range(0, len(pages), PAGE)]
    out = b""
    for number in range(0, (len(sums) + SUMS - 1) // SUMS):
        part = sums[number * SUMS:(number + 1) * SUMS]
        sector = struct.pack("<127I", *(part + [0] * (SUMS - len(part))))
        out += sector + struct.pack("<I", crc32c(sector, number))
    with open(image_file(node, ".main.sums"), "r+b") as f:
        old = f.read()
        want(len(old) == len(out), f"{len(old)} bytes of checksums, {len(out)} made")
        f.seek(0)
        f.write(out)
    return old == out


def edit(node, sql):
    """What a person with SQLite's own tools would do to the image of a stopped node."""
    want(sums_make_right(node), "the checksums are not what this test takes them for")
    path, copy = pages_file(node), os.path.join(os.path.dirname(node.folder), node.name + ".edit")
    shutil.copyfile(path, copy)
    with sqlite3.connect(copy) as db:
        db.execute("PRAGMA journal_mode=WAL")
        db.execute(sql)
    db.close()
    size = os.path.getsize(path)
    want(os.path.getsize(copy) == size, "the edit changed the number of pages")
    mode = os.stat(path).st_mode
    os.chmod(path, 0o644)
    shutil.copyfile(copy, path)
    os.chmod(path, mode)
    sums_make_right(node)


def image_of(node):
    return node.ask("GET", "/status").json()["store"]["image"]


def wait_words(node, words, limit_s=30):
    end = time.monotonic() + limit_s
    while words not in node.words()[node.words_from:]:
        want(node.process.poll() is None, f"{node.name} ended:\n{node.tail()}")
        want(time.monotonic() < end, f"{node.name} does not say {words!r} within {limit_s} s:\n{node.tail()}")
        time.sleep(0.05)


def cluster(field, flags, prefix):
    nodes = field.three(flags=["-raft-snap", "1000"] + flags, prefix=prefix)
    for node in nodes:
        node.wait_ready()
    nodes[0].execute("CREATE TABLE t(id INTEGER PRIMARY KEY, v)")
    for i in range(50):
        nodes[0].execute("INSERT INTO t(id, v) VALUES(?, ?)", i, f"row {i} " + "x" * 500)
    wait_equal(nodes)
    leader = wait_leader(nodes)
    victim = next(n for n in nodes if n is not leader)
    want(victim.ask("POST", "/snapshot?trailing_logs=1").status == 200, "a snapshot")
    leader.execute("INSERT INTO t(id, v) VALUES(100, 'behind it')")
    wait_equal(nodes)
    return nodes, leader, victim


def damaged_page(field, flags, prefix):
    nodes, leader, victim = cluster(field, flags, prefix)
    victim.kill()
    path = pages_file(victim)
    flip(path, 2 * PAGE + 77)
    victim.start()
    wait_words(victim, f"offset {2 * PAGE}: page 3 is damaged")
    wait_words(victim, "repaired: the database is whole again")
    victim.wait_ready()
    image = image_of(victim)
    want(image["state"] == "whole" and image["serving"] and image["repair"] == {"begun": 1, "done": 1}, f"/status: {image}")
    leader.execute("UPDATE t SET v = v || '.'")
    wait_equal(nodes)
    want(victim.rows("PRAGMA integrity_check") == [["ok"]], "integrity_check")
    victim.terminate()
    victim.start()
    victim.wait_ready()
    want("repair" not in victim.words()[victim.words_from:], "it stays whole")
    return os.path.relpath(path, field.root)


def damaged_record(field, _flags, prefix):
    nodes, _leader, victim = cluster(field, [], prefix)
    victim.kill()
    flip(os.path.join(victim.folder, "image", "record.a"), 30)
    victim.start()
    victim.wait_ready()
    wait_equal(nodes)
    victim.kill()
    flip(os.path.join(victim.folder, "image", "record.a"), 30)
    flip(os.path.join(victim.folder, "image", "record.b"), 30)
    victim.start()
    victim.process.wait(20)
    want("record.a, record.b: offset 0: no good copy" in victim.words(), f"named: {victim.tail()}")
    return "one copy is mended, two are refused by name"


def edited(field, flags, prefix):
    nodes, leader, victim = cluster(field, flags, prefix)
    victim.kill()
    edit(victim, "UPDATE t SET v = 'no longer ' || v WHERE id = 7")
    victim.start()
    victim.wait_ready()
    leader.execute("UPDATE t SET v = 'caught' WHERE v LIKE 'row 7 %'")
    wait_words(victim, "this node differs from the others: digest")
    wait_words(victim, "repaired: the database is whole again")
    wait_equal(nodes)
    want(image_of(victim)["digests"]["differed"] == 1, f"/status: {image_of(victim)}")
    want(image_of(leader)["state"] == "whole" and image_of(leader)["writable"], f"/status: {image_of(leader)}")
    leader.execute("INSERT INTO t(v) VALUES('goes on')")
    wait_equal(nodes)
    return "caught at the first write whose result differs"


def alone(field, flags, prefix):
    node = field.node(prefix + "1", flags=flags).start()
    node.wait_ready()
    node.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, v)")
    want(node.ask("POST", "/snapshot").status == 200, "a snapshot")
    node.kill()
    flip(pages_file(node), 77)
    node.start()
    want(node.process.wait(20) != 0, "it ends with a failure")
    want("offset 0: page 1 is damaged" in node.words(), f"named: {node.tail()}")
    return "refused by name"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("rqlited")
    given = parser.parse_args()
    rows = [("damaged page, in memory", damaged_page, [], "p"), ("damaged page, on disk", damaged_page, ["-on-disk"], "d"),
            ("damaged records", damaged_record, [], "r"), ("edited by hand", edited, [], "e"),
            ("alone", alone, [], "a"),
            ("compressed transfers", damaged_page, ["-compress-snap-transport"], "z")]
    with Field(given.rqlited) as field:
        for name, run, flags, prefix in rows:
            print(f"ok   {name}: {run(field, flags, prefix)}", flush=True)


if __name__ == "__main__":
    main()
