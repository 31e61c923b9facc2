#!/usr/bin/env python3
"""How a cluster changes: removal, leaving, reaping, transfer of leadership, read replicas, timeouts
(daemon.md §3.8–§3.13, §5, §6).

    members.py PATH/TO/rqlited [TEST...]

One test per claim of the contract; without names, all. Exit status 0: all passed."""
import contextlib
import http.client
import signal
import sys
import time

from forming import (counter, ends_with, expecting, main_of, members, three_by_join, until, wait_end, wait_members)
from nodes import leader_of, wait_equal, wait_leader, want

DEFAULT_ELECTION_S = 1.0  # no follower waits less for its leader


def state(node):
    return node.ask("GET", "/status").json()["store"]["raft"]["state"]


def replica_of(field, name, node, more=()):
    r = field.node(name, flags=["-raft-non-voter", "-join", f"localhost:{node.raft}", *more]).start()
    r.wait_ready()
    return r


def gap_s(nodes):
    """Seconds until one of nodes acknowledges a write."""
    began = time.monotonic()
    def write():
        for n in nodes:
            with contextlib.suppress(OSError, http.client.HTTPException):
                if b"rows_affected" in n.ask("POST", "/db/execute", ["INSERT INTO t VALUES (7)"], 2).body:
                    return True
        return False
    until(write, "a write succeeds")
    return time.monotonic() - began


# ---- removal ---------------------------------------------------------------------------------------------

def test_remove_through_anyone(field):
    """D3.17; an unknown ID is fine, the last voter is not"""
    nodes = three_by_join(field)
    one, two, three = nodes
    want(one.ask("DELETE", "/remove", {"id": "nobody"}).status == 200, "an unknown ID")
    want(two.ask("DELETE", "/remove", {"id": "3"}).status == 200, "through a follower")
    wait_members([one, two], 2)
    want(counter(two, "proxy.remote_remove_node") == 1, "the follower passed it on")
    want(one.ask("DELETE", "/remove", {"id": "2"}).status == 200, "through the leader")
    wait_members([one], 1)
    answer = one.ask("DELETE", "/remove", {"id": "1"})
    want(answer.status == 500 and b"need at least one voter in configuration" in answer.body, f"{answer.status} {answer.body}")
    one.execute("CREATE TABLE t (n INTEGER)")
    want(three.process.poll() is None and two.process.poll() is None, "the removed keep running")


def test_removed_node_comes_back(field):
    """with its data: as a member, and caught up"""
    one, two, three = three_by_join(field)
    one.execute("CREATE TABLE t (n INTEGER)")
    want(one.ask("DELETE", "/remove", {"id": "3"}).status == 200, "removed")
    wait_members([one, two], 2)
    one.execute("INSERT INTO t VALUES (1)")
    three.terminate()
    three.start()
    three.wait_ready()
    wait_members([one, two, three], 3)
    wait_equal([one, two, three])


def test_leader_is_removed(field):
    """Through itself, the answer says so; the other two elect"""
    nodes = three_by_join(field)
    leader = wait_leader(nodes)
    rest = [n for n in nodes if n is not leader]
    answer = leader.ask("DELETE", "/remove", {"id": leader.name})
    want(answer.status == 200, f"{answer.status} {answer.body}")
    wait_members(rest, 2)
    want(state(leader) != "Shutdown", "without the flag it goes on")


def test_removed_leader_shuts_raft_down(field):
    """D3.23"""
    nodes = expecting(field, 3, more=["-raft-remove-shutdown"])
    for n in nodes:
        n.start()
    for n in nodes:
        n.wait_ready()
    nodes[0].execute("CREATE TABLE t (n INTEGER)")
    leader = wait_leader(nodes)
    rest = [n for n in nodes if n is not leader]
    answer = rest[0].ask("DELETE", "/remove", {"id": leader.name})
    want(answer.status == 200, f"through a follower: {answer.status} {answer.body}")
    until(lambda: state(leader) == "Shutdown", "its Raft part shuts down")
    wait_members(rest, 2)
    want(leader.process.poll() is None, "the process stays up")
    want(leader.rows("SELECT count(*) FROM t", "none") == [[0]], "… and reads what it has")
    want(leader.ask("GET", "/readyz").status == 503, "… but is not ready")
    leader.terminate()
    want(leader.process.returncode == 0, "it ends as others do")


# ---- leaving on shutdown -------------------------------------------------------------------------------------

def test_leaving_on_shutdown(field):
    """D3.9: out on SIGTERM, in again with the same flags"""
    nodes = expecting(field, 3, more=["-raft-cluster-remove-shutdown"])
    for n in nodes:
        n.start()
    for n in nodes:
        n.wait_ready()
    nodes[0].execute("CREATE TABLE t (n INTEGER)")
    leader = wait_leader(nodes)
    goes = next(n for n in nodes if n is not leader)
    stay = [n for n in nodes if n is not goes]
    goes.terminate()
    said = goes.words()[goes.words_from:]
    want(goes.process.returncode == 0 and "initiating removal of this node from cluster before shutdown" in said
         and "removed this node successfully from cluster before shutdown" in said, said)
    wait_members(stay, 2)
    goes.start()
    goes.wait_ready()
    wait_members(nodes, 3)


def test_leader_leaves(field):
    """D3.10: two, then one that works alone; Q-5: and that one ends well, too"""
    nodes = expecting(field, 2, more=["-raft-cluster-remove-shutdown"])
    for n in nodes:
        n.start()
    for n in nodes:
        n.wait_ready()
    nodes[0].execute("CREATE TABLE t (n INTEGER)")
    leader = wait_leader(nodes)
    last = next(n for n in nodes if n is not leader)
    leader.terminate()
    want(leader.process.returncode == 0, f"{leader.tail()}")
    gap_s([last])
    wait_members([last], 1)
    last.terminate()
    want(last.process.returncode == 0 and "initiating removal" not in last.words(), f"{last.tail()}")


def test_leaving_fails_without_quorum(field):
    """exit 1, and it says why"""
    one, two, three = three_by_join(field)
    three.terminate()
    three.flags = ["-raft-cluster-remove-shutdown"]
    three.start()
    three.wait_ready()
    one.kill()
    two.kill()
    three.process.send_signal(signal.SIGTERM)
    ends_with(three, 1, "failed to remove this node from cluster before shutdown: ", 30)


# ---- reaping ---------------------------------------------------------------------------------------------------

def test_dead_voter_is_reaped(field):
    """D3.18 D3.19: voters by the one flag only"""
    nodes = expecting(field, 3, more=["-raft-reap-node-timeout=2s"])
    for n in nodes:
        n.start()
    for n in nodes:
        n.wait_ready()
    leader = wait_leader(nodes)
    replica = replica_of(field, "r", leader)
    dead = next(n for n in nodes if n is not leader)
    rest = [n for n in nodes if n is not dead]
    wait_members(nodes, 4)
    replica.kill()
    dead.kill()
    until(lambda: members(leader)[dead.name]["reachable"] is False and members(leader)[dead.name]["error"], "seen dead")
    until(lambda: dead.name not in members(leader), "the voter is reaped", 10)
    want("r" in members(leader), "the replica is not")
    # A configuration is in use as soon as it is in the log; the words come when it is committed.
    until(lambda: f"successfully reaped voting node {dead.name}" in leader.words(), "it is told", 5)
    want(counter(leader, "store.nodes_reaped_ok") == 1, "counted")
    dead.start()  # with -bootstrap-expect: it joins again
    dead.wait_ready()
    until(lambda: dead.name in members(rest[0]), "it is back")


def test_dead_replica_is_reaped(field):
    """D3.19, the other way round"""
    nodes = expecting(field, 3, more=["-raft-reap-read-only-node-timeout=1s"])
    for n in nodes:
        n.start()
    for n in nodes:
        n.wait_ready()
    leader = wait_leader(nodes)
    replica = replica_of(field, "r", leader)
    dead = next(n for n in nodes if n is not leader)
    dead.kill()
    replica.kill()
    until(lambda: "r" not in members(leader), "the replica is reaped", 10)
    time.sleep(1.5)
    want(dead.name in members(leader), "the voter is not")
    until(lambda: "successfully reaped non-voting node r" in leader.words(), "it is told", 5)


# ---- leadership ---------------------------------------------------------------------------------------------------

def test_transfer_to_a_chosen_node(field):
    """D3.21, through leader and follower, with `wait` and without (Q-16)"""
    nodes = three_by_join(field)
    for through_leader in (True, False):
        for path in ("/leader?wait", "/leader"):
            leader = wait_leader(nodes)
            to, other = [n for n in nodes if n is not leader]
            asked = leader if through_leader else other
            answer = asked.ask("POST", path, {"id": to.name})
            want(answer.status == 200, f"{path}: {answer.status} {answer.body}")
            until(lambda: state(to) == "Leader", f"{path} through {asked.name}: {to.name} leads", 5)
            until(lambda: len({members(n)[to.name]["leader"] for n in nodes}) == 1, "all agree")
    leader = wait_leader(nodes)
    answer = leader.ask("POST", "/leader?wait", {"id": leader.name})
    want(answer.status == 500 and answer.body == b"stepdown: cannot step down to the current Leader\n", f"{answer.body}")
    answer = leader.ask("POST", "/leader?wait", {"id": "nobody"})
    want(answer.status == 500 and answer.body == b"stepdown: node not found in cluster\n", f"{answer.body}")


def test_leader_hands_over_when_it_stops(field):
    """D3.20: on SIGTERM; not with -raft-shutdown-stepdown=false"""
    nodes = three_by_join(field)
    nodes[0].execute("CREATE TABLE t (n INTEGER)")
    leader = wait_leader(nodes)
    rest = [n for n in nodes if n is not leader]
    leader.terminate()
    want(leader_of(rest) is not None or gap_s(rest) < DEFAULT_ELECTION_S, "a new leader without any timeout")
    leader.start()
    leader.wait_ready()
    for n in nodes:
        n.terminate()
        n.flags = ["-raft-shutdown-stepdown=false"]
        n.start()
        n.wait_ready()
    leader = wait_leader(nodes)
    said = len(leader.words())
    leader.terminate()
    want(leader.process.returncode == 0, "it ends well all the same")
    rest = [n for n in nodes if n is not leader]
    seconds = gap_s(rest)
    want(seconds > 0.3, f"{seconds:.2f} s: handed over although it was told not to: {leader.words()[said:]}")


# ---- read replicas ---------------------------------------------------------------------------------------------------

def test_replica(field):
    """D5.1 D5.2 D5.3 D5.4 D5.6"""
    nodes = three_by_join(field)
    replica = replica_of(field, "r", nodes[1])
    voter = lambda n: n.ask("GET", "/status").json()["store"]["raft"]["voter"]
    want(voter(replica) is False and voter(nodes[0]) is True, "suffrage")
    want("r" not in members(nodes[0], "") and members(nodes[0])["r"]["voter"] is False, "/nodes hides it unless asked")
    replica.execute("CREATE TABLE t (n INTEGER)")
    replica.execute("INSERT INTO t VALUES (1)")
    want(nodes[0].rows("SELECT n FROM t", "strong") == [[1]], "a write through a replica")
    want(replica.rows("SELECT n FROM t", "linearizable") == [[1]], "a linearizable read of a replica")
    leader = wait_leader(nodes)
    leader.kill()
    rest = [n for n in nodes if n is not leader]
    gap_s(rest)
    until(lambda: len(replica.rows("SELECT n FROM t", "none")) >= 2, "the replica follows the new leader")
    replica.kill()
    replica.flags = ["-raft-non-voter"]
    gap_s(rest)
    replica.start()
    replica.wait_ready()
    wait_equal([*rest, replica])


def test_replica_does_not_count(field):
    """D5.5 D5.7"""
    one = field.node("1").start()
    one.wait_ready()
    replica = replica_of(field, "r", one)
    one.execute("CREATE TABLE t (n INTEGER)")
    replica.kill()
    one.execute("INSERT INTO t VALUES (1)")
    replica.start()
    replica.wait_ready()
    wait_equal([one, replica])
    one.kill()
    until(lambda: replica.ask("GET", "/readyz", timeout_s=5).status == 503, "the replica sees that nobody leads")
    want(replica.rows("SELECT n FROM t", "auto") == [[1]] and replica.rows("SELECT n FROM t", "none") == [[1]],
         "it still answers")
    answer = replica.ask("POST", "/db/query?level=weak", ["SELECT n FROM t"], 60)
    want(answer.status != 200 or b"error" in answer.body, f"weak fails: {answer.status} {answer.body}")


# ---- timeouts --------------------------------------------------------------------------------------------------------

def test_timeouts_are_checked(field):
    """§6, D6.1"""
    for i, (flags, words) in enumerate([
            (["-raft-heartbeat-timeout=100ms"],
             "LeaderLeaseTimeout (500ms) cannot be larger than heartbeat timeout (100ms)"),
            (["-raft-heartbeat-timeout=2s"],
             "ElectionTimeout (1s) must be equal or greater than Heartbeat Timeout (2s)"),
            (["-raft-commit-timeout=1us"], "CommitTimeout is too low")]):
        node = field.node(f"t{i}", flags=flags).start()
        ends_with(node, 1, "failed to open store: creating the raft system failed: " + words, 10)
    node = field.node("fast", flags=["-raft-heartbeat-timeout=100ms", "-raft-leader-lease-timeout=50ms",
                                     "-raft-election-timeout=300ms"]).start()
    node.wait_ready()
    config = node.ask("GET", "/status").json()["store"]["raft"]["config"]
    want(config["ElectionTimeout"] == 300_000_000 and config["HeartbeatTimeout"] == 100_000_000, f"{config}")


if __name__ == "__main__":
    main_of(globals())
