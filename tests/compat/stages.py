"""Where dialogues are played: one fresh node; the leader of three; a follower of three with a read replica beside
them; a follower and a replica whose other two nodes are dead; a node with a credentials file. A stage is real processes
on loopback, started for it and gone after it."""
import json
import os
import sys
import time

import dialogue

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "integration"))
import nodes  # noqa: E402  (the folder of the real-process tests, beside this one)

# Patient enough that a busy machine elects nobody anew: the dialogues name the leader of the beginning.
PATIENCE = ["-raft-heartbeat-timeout", "3s", "-raft-election-timeout", "3s", "-raft-leader-lease-timeout", "2s"]
PERMISSIONS = ["execute", "query", "backup", "load", "snapshot", "remove", "status", "leader-ops", "ui", "join"]
CREDENTIALS = [
    {"username": "bob", "password": "s", "perms": ["all"]},
    {"username": "mary", "password": "s", "perms": ["query", "status"]},
    {"username": "*", "password": "", "perms": ["ready"]},
    {"username": "both", "password": "s", "perms": ["query", "execute"]},
    {"username": "twice", "password": "first", "perms": ["all"]},
    {"username": "twice", "password": "second", "perms": ["query"]},
    {"username": "none", "password": "s"},
    {"username": "colon", "password": "a:b c", "perms": ["query"]},
] + [{"username": p, "password": "s", "perms": [p]} for p in PERMISSIONS]  # a user for each, of the same name


def names_of(**roles):
    """{…} of the dialogues: for each role its HTTP address, Raft address and id."""
    names = {}
    for role, node in roles.items():
        names[role] = f"localhost:{node.http}"
        names[role + ".raft"] = f"localhost:{node.raft}"
        names[role + ".id"] = node.name
    return names


def player(stage, leads, **roles):
    """`leads`: the node under test serves led requests itself."""
    names = names_of(**roles)
    names["server"] = names["self"] if leads else names["leader.raft"]
    return dialogue.Player(stage, {role: names[role] for role in roles}, names)


def join(first):
    return ["-join", f"localhost:{first.raft}"]


def three(field, stage):
    """(leader, follower, third)"""
    ports = nodes.free_ports(6)
    first = field.node(f"{stage}-1", ports[:2], PATIENCE).start()
    first.wait_ready()
    others = [field.node(f"{stage}-{i}", ports[2 * i - 2:2 * i], PATIENCE + join(first)).start() for i in (2, 3)]
    for node in others:
        node.wait_ready()
    leader = nodes.wait_leader([first, *others])
    follower, third = [n for n in (first, *others) if n is not leader]
    return leader, follower, third


def node(field):
    one = field.node("node-1").start()
    one.wait_ready()
    return player("node", True, self=one, leader=one)


def leader(field):
    leader, follower, third = three(field, "leader")
    return player("leader", True, self=leader, leader=leader, follower=follower, third=third)


def follower(field):
    leader, follower, third = three(field, "follower")
    replica = field.node("follower-4", flags=PATIENCE + ["-raft-non-voter"] + join(leader)).start()
    replica.wait_ready()
    return player("follower", False, self=follower, leader=leader, follower=follower, third=third, replica=replica)


def lonely(field):
    ports = nodes.free_ports(8)
    first = field.node("lonely-1", ports[:2]).start()
    first.wait_ready()
    others = [field.node(f"lonely-{i}", ports[2 * i - 2:2 * i], join(first)).start() for i in (2, 3)]
    replica = field.node("lonely-4", ports[6:], ["-raft-non-voter"] + join(first)).start()
    for each in (*others, replica):
        each.wait_ready()
    first.execute("CREATE TABLE kept (n INTEGER)")
    first.execute("INSERT INTO kept VALUES(7)")
    nodes.wait_equal([first, *others, replica])
    leader = nodes.wait_leader([first, *others])
    follower, third = [n for n in (first, *others) if n is not leader]
    leader.kill()
    third.kill()
    for each in (follower, replica):
        wait_leaderless(each)
    return player("lonely", False, self=follower, leader=leader, third=third, replica=replica)


def wait_leaderless(node, limit_s=20):
    end = time.monotonic() + limit_s
    while node.ask("GET", "/leader").status != 503:
        nodes.want(time.monotonic() < end, f"node {node.name} still believes in a leader after {limit_s} s")
        time.sleep(0.05)


def auth(field):
    path = os.path.join(field.root, "credentials.json")
    with open(path, "w", encoding="ascii") as f:
        json.dump(CREDENTIALS, f)
    one = field.node("auth-1", flags=["-auth", path]).start()
    one.wait_ready()
    return player("auth", True, self=one, leader=one)


STAGES = {"node": node, "leader": leader, "follower": follower, "lonely": lonely, "auth": auth}
