#!/usr/bin/env python3
"""A membership forced by raft/peers.json, with real nodes that were killed.

    tests/integration/recovery.py RQLITED
"""
import argparse
import json
import os
import time

from nodes import Field, free_ports, wait_equal, wait_leader, want

FLAGS = ["-raft-snap", "30", "-raft-snap-int", "50ms"]
PORTS = iter(free_ports(120))  # all at once: a node that is down must not lose its own to another
MODES = {"memory": [], "disk": ["-on-disk"]}


def peers_path(node, name="peers.json"):
    return os.path.join(node.folder, "raft", name)


def force(node, members):
    with open(peers_path(node), "w", encoding="utf-8") as f:
        f.write(members if isinstance(members, str) else json.dumps(members))


def member(name, port, **more):
    return {"id": name, "address": f"localhost:{port}", **more}


def counter(node, key):
    return node.ask("GET", "/debug/vars?key=store").json()["store"][key]


def ports(count=2):
    return [next(PORTS) for _ in range(count)]


def filled(field, flags, prefix, rows):
    """Three nodes with so many rows, all killed."""
    nodes = field.three(ports(6), FLAGS + flags, prefix)
    for node in nodes:
        node.wait_ready()
    nodes[0].execute("CREATE TABLE t(id INTEGER PRIMARY KEY, v)")
    for i in range(rows):
        nodes[i % 3].execute("INSERT INTO t(v) VALUES(?)", i)
    wait_equal(nodes)
    for node in nodes:
        node.kill()
    for node in nodes:
        node.flags = FLAGS + flags  # none joins by itself from now on
    return nodes


def recovered(nodes, rows):
    for node in nodes:
        node.start()
    for node in nodes:
        node.wait_ready()
        want(not os.path.exists(peers_path(node)) and os.path.exists(peers_path(node, "peers.info")),
             f"{node.name}: peers.json became peers.info")
        want("node recovered successfully using" in node.words(), f"{node.name} says so")
        want(counter(node, "num_recoveries") == 1, f"{node.name} counts it")
    leader = wait_leader(nodes)
    want(leader.rows("SELECT count(*) FROM t", "strong") == [[rows]], "all rows are there at once")
    leader.execute("INSERT INTO t(v) VALUES('after')")
    return leader


def addresses(field, flags, prefix):
    """All three, on other Raft ports; a second restart does not do it again."""
    nodes = filled(field, flags, prefix, 40)
    for node, port in zip(nodes, ports(3)):
        node.raft = port
    for node in nodes:
        force(node, [member(n.name, n.raft) for n in nodes])
    recovered(nodes, 40)
    wait_equal(nodes)
    for node in nodes:
        node.terminate()
    for node in nodes:
        node.start()
    for node in nodes:
        node.wait_ready()
        want(counter(node, "num_recoveries") == 0, "not a second time")
    held = wait_leader(nodes).ask("GET", "/nodes?ver=2").json()["nodes"]
    want([m["addr"] for m in held] == [f"localhost:{n.raft}" for n in nodes], f"the new addresses: {held}")
    want(wait_leader(nodes).rows("SELECT count(*) FROM t", "strong") == [[41]], "what came after is there, too")
    for node in nodes:
        node.terminate()


def one_of_three(field, flags, prefix):
    """One goes on alone; a fresh one joins; one that was left out is refused with what it holds, and joins wiped."""
    nodes = filled(field, flags, prefix, 35)
    one, left = nodes[1], nodes[2]
    force(one, [member(one.name, one.raft)])
    recovered([one], 35)
    join = ["-join", f"localhost:{one.raft}", "-join-attempts", "2", "-join-interval", "200ms"]
    fresh = field.node(prefix + "fresh", ports(), flags=FLAGS + flags + join).start()
    fresh.wait_ready()
    wait_equal([one, fresh])
    left.flags = FLAGS + flags + join
    left.start()
    want(left.process.wait(60) == 1, "who was left out cannot come back with its old data")
    for root, _, files in os.walk(left.folder, topdown=False):
        for name in files:
            os.remove(os.path.join(root, name))
    left.start()
    left.wait_ready()
    wait_equal([one, fresh, left])
    one.kill()
    one.start()
    one.wait_ready()
    wait_equal([one, fresh, left])
    want(len(one.ask("GET", "/nodes?ver=2").json()["nodes"]) == 3, "three members again")
    for node in (one, fresh, left):
        node.terminate()


def two_of_three(field, flags, prefix):
    """Two go on, one of them as a read replica; then two voters, one under another name."""
    nodes = filled(field, flags, prefix, 20)
    two = nodes[:2]
    for node in two:
        force(node, [member(two[0].name, two[0].raft), member(two[1].name, two[1].raft, non_voter=True)])
    leader = recovered(two, 20)
    want(leader is two[0], "the voter leads")
    held = leader.ask("GET", "/nodes?ver=2&nonvoters").json()["nodes"]
    want([m["voter"] for m in held] == [True, False], f"a voter and a replica: {held}")
    wait_equal(two)
    for node in two:
        node.kill()
    two[1].name = prefix + "other"
    for node in two:
        force(node, [member(n.name, n.raft) for n in two])
    recovered(two, 21)
    wait_equal(two)
    for node in two:
        node.kill()
    for node in two:
        node.start()
    for node in two:
        node.wait_ready()
    wait_leader(two).execute("INSERT INTO t(v) VALUES('and on')")
    wait_equal(two)
    for node in two:
        node.terminate()


def snapshot_between(field, flags, prefix):
    """A row, a snapshot, a row, kill -9, recovery: both are there at once, and after a further restart."""
    node = field.node(prefix + "x", ports(), flags=flags).start()
    node.wait_ready()
    node.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, v)")
    node.execute("INSERT INTO t(v) VALUES(1)")
    want(node.ask("POST", "/snapshot").status == 200, "a snapshot")
    node.execute("INSERT INTO t(v) VALUES(2)")
    node.kill()
    force(node, [member(node.name, node.raft)])
    recovered([node], 2)
    node.kill()
    node.start()
    node.wait_ready()
    want(node.rows("SELECT count(*) FROM t") == [[3]], "three rows")
    node.kill()
    force(node, [member(node.name, node.raft)])  # the same once more
    recovered([node], 3)
    node.terminate()


def stolen_id(field):
    """A second node under the ID of a living one is refused; under that of one that lost its disk it is added anew."""
    nodes = field.three(ports(6), FLAGS, "s")
    for node in nodes:
        node.wait_ready()
    nodes[0].execute("CREATE TABLE t(id INTEGER PRIMARY KEY, v)")
    leader = wait_leader(nodes)
    owner = next(n for n in nodes if n is not leader)
    thief = field.node("thief", ports(), FLAGS + ["-join", f"localhost:{leader.raft}", "-join-attempts", "2", "-join-interval", "100ms"])
    thief.name = owner.name
    thief.start()
    want(thief.process.wait(60) == 1, "the thief gives up")
    want("a node with this ID is alive and in the cluster" in thief.words(), thief.words())
    nodes[0].execute("INSERT INTO t(v) VALUES('undisturbed')")
    wait_equal(nodes)
    owner.kill()
    for root, _, files in os.walk(owner.folder, topdown=False):
        for name in files:
            os.remove(os.path.join(root, name))
    owner.flags = FLAGS + ["-join", f"localhost:{leader.raft}"]
    store_id = leader.ask("GET", "/status?key=store.store_id").json()
    owner.start()
    owner.wait_ready()
    wait_equal(nodes)
    want(counter(wait_leader(nodes), "num_removed_before_joins") >= 1, "it was removed first")
    want(owner.ask("GET", "/status?key=store.store_id").json() != store_id, "it is another store")
    for node in nodes:
        node.terminate()
    return "the thief is refused, the wiped one is added anew"


BAD = {
    "[]": "need at least one voter in configuration: {[]}",
    "{": "failed to read peers file: ",
    '[{"id":"x","address":"h:1","non_voter":true}]': "need at least one voter in configuration: {[{Nonvoter x h:1}]}",
    '[{"id":"","address":"h:1"}]': "empty ID in configuration: {[{Voter  h:1}]}",
    '[{"id":"x"}]': "empty address in configuration: {Voter x }",
    '[{"id":"x","address":"h:1"},{"id":"x","address":"h:2"}]': "found duplicate ID in configuration: x",
    '[{"id":"x","address":"h:1"},{"id":"y","address":"h:1"}]': "found duplicate address in configuration: h:1",
    '[{"id":"x","address":"http://h:1"}]': "protocol specified in address: http://h:1",
    '[{"id":"x","address":"h"}]': "invalid address in configuration: h",
    '[{"id":"somebody","address":"h:1"}]': "this node's ID is not in",
}


def refused(field):
    node = field.node("bad", ports()).start()
    node.wait_ready()
    node.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, v)")
    node.kill()
    for text, words in BAD.items():
        force(node, text)
        start = len(node.words())
        node.start()
        want(node.process.wait(30) == 1, f"{text}: status {node.process.returncode}")
        want("failed to open store: failed to re" in node.words()[start:] and words in node.words()[start:],
             f"{text}: {node.words()[start:]}")
        want(os.path.exists(peers_path(node)), f"{text}: the file stays")
    force(node, "null trailing")
    os.remove(peers_path(node))
    node.start()
    node.wait_ready()
    node.execute("INSERT INTO t(v) VALUES(1)")
    node.terminate()
    empty = field.node("empty", ports())
    os.makedirs(os.path.join(empty.folder, "raft"))
    force(empty, [member("empty", empty.raft)])
    empty.start()
    want(empty.process.wait(30) == 1 and "there is no state to recover" in empty.words(), "nothing to recover")
    return f"{len(BAD)} files"


def second_daemon(field):
    """Two processes in one folder: the second is refused, the first undisturbed."""
    node = field.node("twice", ports()).start()
    node.wait_ready()
    other = field.node("twice", ports())
    other.words_path += ".second"
    start = time.monotonic()
    other.start()
    want(other.process.wait(30) == 1, f"status {other.process.returncode}")
    want(f"{node.folder} is in use by another process" in other.words(), other.words())
    node.execute("CREATE TABLE t(id)")
    took = time.monotonic() - start
    node.terminate()
    return f"refused after {took:.1f} s"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("rqlited")
    given = parser.parse_args()
    with Field(given.rqlited) as field:
        print("ok   refused:", refused(field), flush=True)
        print("ok   second daemon:", second_daemon(field), flush=True)
        print("ok   stolen ID:", stolen_id(field), flush=True)
        for mode, flags in MODES.items():
            for i, test in enumerate((addresses, one_of_three, two_of_three, snapshot_between)):
                test(field, flags, f"{mode[0]}{i}")
                print(f"ok   {test.__name__}: {mode}", flush=True)


if __name__ == "__main__":
    main()
