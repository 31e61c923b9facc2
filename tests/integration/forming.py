#!/usr/bin/env python3
"""How nodes come to a cluster: alone, -join in its forms, -bootstrap-expect, restarts, changed names (daemon.md §1–§3, §12).

    forming.py PATH/TO/rqlited [TEST...]

One test per claim of the contract; without names, all. Exit status 0: all passed."""
import contextlib
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time

from nodes import Failed, Field, free_ports, wait_equal, wait_leader, want

LIMIT_S = 30
PROBE_S = 2  # does the address answer HTTP? (§3.2)


# ---- what tests ask -----------------------------------------------------------------------------------

def members(node, suffix="?nonvoters"):
    return node.ask("GET", "/nodes" + suffix, timeout_s=30).json()


def counter(node, name):
    room, key = name.split(".")
    return node.ask("GET", f"/debug/vars?key={room}").json()[room][key]


def until(check, words, limit_s=LIMIT_S):
    """check's first true value."""
    end = time.monotonic() + limit_s
    while True:
        with contextlib.suppress(OSError, http.client.HTTPException, KeyError, ValueError):
            value = check()
            if value:
                return value
        if time.monotonic() > end:
            raise Failed(f"not within {limit_s} s: {words() if callable(words) else words}")
        time.sleep(0.05)


def wait_members(nodes, count, suffix="?nonvoters"):
    """Until every one of nodes lists so many, all reachable, and one leader, the same everywhere."""
    def agree():
        lists = [members(n, suffix) for n in nodes]
        leaders = [[name for name, m in each.items() if m["leader"]] for each in lists]
        return (all(len(each) == count and all(m["reachable"] for m in each.values()) for each in lists)
                and len(leaders[0]) == 1 and all(each == leaders[0] for each in leaders) and lists[0])
    return until(agree, lambda: f"{count} members: {[members(n, suffix) for n in nodes]}")


def wait_end(node, limit_s=LIMIT_S):
    """Seconds until the process ended by itself; its words since the start."""
    start = time.monotonic()
    try:
        node.process.wait(limit_s)
    except subprocess.TimeoutExpired:
        raise Failed(f"node {node.name} still runs after {limit_s} s:\n{node.tail()}") from None
    return time.monotonic() - start, node.words()[node.words_from:]


def ends_with(node, status, words, limit_s=LIMIT_S):
    seconds, said = wait_end(node, limit_s)
    want(node.process.returncode == status, f"status {node.process.returncode}, not {status}:\n{said}")
    want(words in said, f"does not say {words!r}:\n{said}")
    return seconds


def run(field, *words, limit_s=10, env=None):
    """The program, without a node around it: (status, stdout, stderr)"""
    done = subprocess.run([field.binary, *words], capture_output=True, text=True, timeout=limit_s, check=False,
                          env=dict(os.environ, **env) if env else None)
    return done.returncode, done.stdout, done.stderr


def terminate_all(nodes):
    """SIGTERM; every one ends with 0."""
    for n in nodes:
        n.process.send_signal(signal.SIGTERM)
    for n in nodes:
        seconds, said = wait_end(n)
        want(n.process.returncode == 0, f"node {n.name} ended with {n.process.returncode}:\n{said}")
        want("rqlite server stopped" in said.splitlines()[-1], f"the last line is another one:\n{said}")
        want(seconds < LIMIT_S, "too slow")


# ---- §1 ------------------------------------------------------------------------------------------------

def test_command_line(field):
    """D1.1 D1.2 D1.4 D1.5 D1.6 D1.7 D1.8 D1.9 D1.15"""
    status, out, err = run(field)
    want(status == 1 and "missing required argument: DataPath" in err and not out, f"no arguments: {status} {err}")
    status, out, err = run(field, "-version")
    want(status == 0 and out == "" and re.fullmatch(
        r"rqlited \S+ \S+ \S+ \S+ sqlite3\.\d+\.\d+ \(commit \S+, compiler \S+\)\n", err), f"-version: {status} {err!r}")
    for words, want_status, want_text in [
            (["-nope", "d"], 2, "flag provided but not defined: -nope\n"),
            (["-join-interval=5", "d"], 2, 'invalid value "5" for flag -join-interval: parse error\n'),
            (["d1", "-node-id", "1"], 1, "arguments after data directory ("),
            (["-fk", "true", "d"], 1, "arguments after data directory (true)"),
            (["-raft-reap-node-timeout=0s", "d"], 1, "fatal: -raft-reap-node-timeout must be greater than 0\n"),
            (["-http-addr", "0.0.0.0:4001", "d"], 1, "fatal: advertised HTTP address is not routable (0.0.0.0)"),
            (["-raft-addr", "[::]:4002", "d"], 1, "fatal: advertised Raft address is not routable (::)"),
            (["-disco-mode", "foo", "d"], 1, "fatal: disco mode must be one of"),
            (["-otlp-endpoint", "h:1", "d"], 1, "fatal: -otlp-endpoint is not supported by this version yet\n")]:
        status, out, err = run(field, *words)
        want(status == want_status and err.startswith(want_text) and not out, f"{words}: {status} {err[:300]!r}")
    status, out, err = run(field, "-h")
    want(status == 0 and not out and "-join string" in err and "Usage:" in err, f"-h: {status}")


def test_life_of_one(field):
    """D1.3 D1.11 D1.12 D1.13 D1.14 D2.1 D3.1: a lone node leads, says what operators look for, ends with 0"""
    ports = free_ports(2)
    folder = os.path.join(field.root, "alone")
    out, err = os.path.join(field.root, "out"), os.path.join(field.root, "err")
    with open(out, "wb") as o, open(err, "wb") as e:
        process = subprocess.Popen([field.binary, f"--http-addr=localhost:{ports[0]}", f"-raft-addr=localhost:{ports[1]}",
                                    "-join-interval=1m30s", folder], stdout=o, stderr=e)
    try:
        node = field.node("alone", ports)
        began = time.monotonic()
        until(lambda: node.ask("GET", "/readyz").status == 200, "a lone node is ready")
        want(time.monotonic() - began < 10, "too slow")
        status = node.ask("GET", "/status").json()
        want(status["store"]["node_id"] == f"localhost:{ports[1]}", "the default ID is the Raft address")
        taken = subprocess.run([field.binary, "-http-addr", f"localhost:{ports[0]}", "-raft-addr", "localhost:0", folder + "2"],
                               capture_output=True, text=True, timeout=10, check=False)
        want(taken.returncode == 1 and "failed to start HTTP server: " in taken.stderr
             and "address already in use" in taken.stderr, f"a taken HTTP port: {taken}")
        taken = subprocess.run([field.binary, "-http-addr", "localhost:0", "-raft-addr", f"localhost:{ports[1]}", folder + "3"],
                               capture_output=True, text=True, timeout=10, check=False)
        want(taken.returncode == 1 and f"failed to listen on localhost:{ports[1]}: " in taken.stderr
             and "address already in use" in taken.stderr, f"a taken Raft port: {taken}")
        process.send_signal(signal.SIGTERM)
        want(process.wait(10) == 0, "status of a graceful end")
    finally:
        process.kill()
        process.wait()
    said = re.sub(r"(?m)^(\[[a-z-]+\]) \d{4}/\d\d/\d\d \d\d:\d\d:\d\d ", r"\1 ", open(err, encoding="utf-8").read())
    for words in ["rqlited starting, version ", "launch command: ", "no preexisting node state detected in ",
                  f"[http] service listening on 127.0.0.1:{ports[0]}", f"[cluster] service listening on localhost:{ports[1]}",
                  f"[mux] mux serving on 127.0.0.1:{ports[1]}, advertising localhost:{ports[1]}",
                  f"[store] opening store with node ID localhost:{ports[1]}, listening on localhost:{ports[1]}",
                  "0 preexisting snapshots present", "bootstrapping single new node", "is now Leader",
                  f"node HTTP API available at http://localhost:{ports[0]}",
                  f"connect using the command-line tool via 'rqlite -H localhost -p {ports[0]}'",
                  f"visit the rqlite console for this node at http://localhost:{ports[0]}/console/",
                  'received signal "terminated"']:
        want(words in said, f"stderr lacks {words!r}:\n{said}")
    want(said.rstrip().endswith("rqlite server stopped"), f"the last line:\n{said[-300:]}")
    banner = open(out, encoding="utf-8").read()
    want("www.rqlite.io" in banner and "[rqlited]" not in banner, "stdout holds the banner alone")
    want(os.path.isdir(os.path.join(folder, "raft")), "raft/ exists")


def test_names_of_all_kinds(field):
    """D2.6"""
    for name in ["1", "node-a", "a b", "ünï"]:
        node = field.node(name).start()
        node.wait_ready()
        want(list(members(node)) == [name], f"{name!r} is called {members(node)}")
        node.terminate()


def test_advertised_addresses(field):
    """D2.2 D2.3"""
    h, r = free_ports(2)
    node = field.node("1", (h, r), ["-http-addr", f"0.0.0.0:{h}", "-http-adv-addr", f"localhost:{h}",
                                    "-raft-addr", f"0.0.0.0:{r}", "-raft-adv-addr", f"localhost:{r}"]).start()
    node.wait_ready()
    store = node.ask("GET", "/status").json()["store"]
    want(store["addr"] == f"localhost:{r}" and store["leader"]["addr"] == f"localhost:{r}", f"{store}")
    only = members(node)["1"]
    want(only["api_addr"] == f"http://localhost:{h}" and only["addr"] == f"localhost:{r}", f"{only}")


# ---- §3.3: -join -----------------------------------------------------------------------------------------

def test_join_by_raft_address(field):
    """D3.2 D3.3 D3.4: through the leader, through a follower, and again"""
    one = field.node("1").start()
    one.wait_ready()
    two = field.node("2", flags=["-join", f"localhost:{one.raft}"]).start()
    two.wait_ready()
    three = field.node("3", flags=["-join", f"localhost:{two.raft}"]).start()
    three.wait_ready()
    seen = wait_members([one, two, three], 3)
    want(all(m["voter"] for m in seen.values()), f"all vote: {seen}")
    want(counter(two, "cluster.num_join_req") == 1, "a follower counts the request it redirects")
    one.execute("CREATE TABLE t (n INTEGER)")
    before = counter(one, "cluster.num_join_req")
    two.terminate()
    two.start()
    two.wait_ready()
    want(counter(one, "cluster.num_join_req") == before + 1, "a redundant join is counted")
    want(counter(one, "store.num_ignored_joins") == 1, "… and ignored")
    wait_equal([one, two, three])
    terminate_all([one, two, three])


def test_join_by_url(field):
    """D12.1 D12.3 D12.4: API addresses, a follower's, mixed lists, dead ones first"""
    dead = free_ports(1)[0]
    one = field.node("1").start()
    one.wait_ready()
    two = field.node("2", flags=["-join", f"http://localhost:{one.http}"]).start()
    two.wait_ready()
    three = field.node("3", flags=["-join", f"http://localhost:{dead},localhost:{dead},http://localhost:{two.http}/"]).start()
    three.wait_ready()
    four = field.node("4", flags=["-join", f"localhost:{dead},localhost:{one.raft}"]).start()
    four.wait_ready()
    wait_members([one, two, three, four], 4)


def test_join_waits_for_its_target(field):
    """S5: retried until one works"""
    ports = free_ports(2)
    two = field.node("2", flags=["-join", f"http://localhost:{ports[0]}", "-join-attempts", "50", "-join-interval", "200ms"]).start()
    until(lambda: two.ask("GET", "/readyz?noleader").status == 200, "the API is up while the node joins")
    want(two.ask("GET", "/readyz").status == 503, "… and not ready")
    want(two.ask("GET", "/status").status == 200, "… and tells its status")
    one = field.node("1", ports).start()
    one.wait_ready()
    two.wait_ready()
    wait_members([one, two], 2)


def test_join_gives_up(field):
    """D3.13"""
    dead = free_ports(1)[0]
    node = field.node("1", flags=["-join", f"localhost:{dead}", "-join-attempts", "2", "-join-interval", "1s"]).start()
    ends_with(node, 1, "clustering failure: failed to join cluster: failed to join cluster", 10)
    said = node.words()
    want(said.count(f"[cluster-join]") == 2 and f"failed to join via node at localhost:{dead}: " in said
         and "(did you forget to set -join-as?)" in said, f"each failure is logged:\n{said}")


def test_address_must_resolve(field):
    """§3.4: a name that the leader cannot resolve does not become a member"""
    one = field.node("1").start()
    one.wait_ready()
    port = free_ports(1)[0]
    node = field.node("2", flags=["-join", f"localhost:{one.raft}", "-raft-adv-addr", f"nowhere.invalid:{port}", "-join-attempts", "1"])
    node.start()
    ends_with(node, 1, f"failed to resolve nowhere.invalid:{port}: no such host", 20)
    want(list(members(one)) == ["1"], f"{members(one)}")


def test_founders_addresses_must_resolve(field):
    """§3.5: who cannot be called is not counted"""
    port = free_ports(1)[0]
    nodes = expecting(field, 3)
    lost = field.node("lost", (nodes[2].http, nodes[2].raft), nodes[2].flags + ["-raft-adv-addr", f"nowhere.invalid:{port}"])
    for n in (nodes[0], nodes[1], lost):
        n.start()
    until(lambda: f"failed to resolve nowhere.invalid:{port}" in lost.words(), lambda: lost.tail())
    time.sleep(2)
    want(not any("is now Leader" in n.words() for n in nodes[:2]), "two of three founded with one that nobody can call")
    lost.kill()
    nodes[2].start()
    for n in nodes:
        n.wait_ready()
    wait_members(nodes, 3)


def test_connect_timeout(field):
    """-cluster-connect-timeout: a target whose host takes no connection is given up after so long"""
    with socket.socket() as full, contextlib.ExitStack() as held:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for _ in range(4):  # its queue is full from here on: the kernel answers nobody
            s = held.enter_context(socket.socket())
            s.setblocking(False)
            s.connect_ex(full.getsockname())
        for seconds in (1, 4):
            node = field.node(f"t{seconds}", flags=["-join", f"127.0.0.1:{full.getsockname()[1]}", "-join-attempts", "1",
                                                    "-cluster-connect-timeout", f"{seconds}s"]).start()
            until(lambda: "service listening on" in node.words(), "it starts")
            took = ends_with(node, 1, "failed to join cluster", 20)
            want(seconds - 0.5 < took - PROBE_S < seconds + 3, f"{took:.1f} s for {seconds} s and the probe before it")


def test_signal_ends_a_failing_join(field):
    """§1.10: at once, with 1; D1.10"""
    for target in ["http://nonsense", "localhost:1", "http://localhost:1,localhost:1"]:
        node = field.node("x" + str(len(target)), flags=["-join", target, "-join-attempts", "100"]).start()
        until(lambda: node.ask("GET", "/readyz?noleader").status == 200, "the API is up while the node joins")
        want(node.ask("GET", "/readyz").status != 200, "not ready while it joins")
        until(lambda: "[cluster-join]" in node.words() or "failed to join" in node.words(), "a failed attempt")
        node.process.send_signal(signal.SIGTERM)
        seconds = ends_with(node, 1, "clustering failure: failed to join cluster: join operation canceled", 5)
        want(seconds < 3, f"{seconds:.1f} s until a signal ended the join loop")


def test_join_refuses_http_given_as_raft(field):
    """D3.12"""
    one = field.node("1").start()
    one.wait_ready()
    two = field.node("2", flags=["-join", f"localhost:{one.http}"]).start()
    ends_with(two, 1, f"clustering failure: join address localhost:{one.http} appears to be serving HTTP when it should be Raft", 10)


def test_single_node_cluster_joins_no_other(field):
    """D3.11"""
    one = field.node("1").start()
    two = field.node("2").start()
    one.wait_ready()
    two.wait_ready()
    two.terminate()
    two.flags += ["-join", f"localhost:{one.raft}"]
    two.start()
    ends_with(two, 1, "node is the only node in a single-node cluster, joining other clusters not supported", 5)


def test_replica_alone_is_refused(field):
    """D3.15"""
    node = field.node("1", flags=["-raft-non-voter"]).start()
    ends_with(node, 1, "clustering failure: cannot create a new non-voting node without joining it to an existing cluster", 10)


# ---- §3.7, §3.12: changed addresses and names ------------------------------------------------------------------

def three_by_join(field):
    one = field.node("1").start()
    one.wait_ready()
    rest = [field.node(str(i), flags=["-join", f"localhost:{one.raft}"]).start() for i in (2, 3)]
    for n in rest:
        n.wait_ready()
    return [one, *rest]


def test_changed_ports(field):
    """D3.5 D2.5: with -join the old record is replaced; a changed HTTP port needs no join"""
    one, two, three = three_by_join(field)
    one.execute("CREATE TABLE t (n INTEGER)")
    three.terminate()
    one.execute("INSERT INTO t VALUES (1)")
    three.http, three.raft = free_ports(2)
    three.start()
    three.wait_ready()
    want(counter(one, "store.num_removed_before_joins") == 1, "the stale record was removed first")
    seen = wait_members([one, two, three], 3)
    want(seen["3"]["addr"] == f"localhost:{three.raft}", f"the new address: {seen}")
    wait_equal([one, two, three])
    two.terminate()
    two.http, two.flags = free_ports(1)[0], []
    two.start()
    two.wait_ready()
    until(lambda: members(one)["2"]["api_addr"] == f"http://localhost:{two.http}", "the new API address is known")


def test_address_reused_under_a_new_name(field):
    """Q-4: the record at that address goes, the new one comes"""
    one, two, three = three_by_join(field)
    one.execute("CREATE TABLE t (n INTEGER)")
    three.terminate()
    new = field.node("new", (three.http, three.raft), ["-join", f"localhost:{one.raft}"]).start()
    new.wait_ready()
    seen = wait_members([one, two, new], 3)
    want(sorted(seen) == ["1", "2", "new"], f"{sorted(seen)}")
    wait_equal([one, two, new])


def test_name_and_address_of_two_members(field):
    """P-3: one newcomer with the name of one member and the address of another replaces both"""
    one, two, three = three_by_join(field)
    one.execute("CREATE TABLE t (n INTEGER)")
    four = field.node("4", flags=["-join", f"localhost:{one.raft}"]).start()
    five = field.node("5", flags=["-join", f"localhost:{one.raft}"]).start()
    four.wait_ready()
    five.wait_ready()
    for n in (three, four):
        n.terminate()
    mix = field.node("3", (four.http, four.raft), ["-join", f"localhost:{one.raft}"])
    mix.folder += "-mixed"
    mix.start()
    mix.wait_ready()
    seen = wait_members([one, two, five, mix], 4)
    want(sorted(seen) == ["1", "2", "3", "5"] and seen["3"]["addr"] == f"localhost:{four.raft}", f"{seen}")


def test_restart_without_join(field):
    """§3.6: a member needs none; with one that nobody answers it ends"""
    nodes = three_by_join(field)
    nodes[0].execute("CREATE TABLE t (n INTEGER)")
    for n in nodes:
        n.kill()
        n.flags = []
    for n in nodes:
        n.start()
    for n in nodes:
        n.wait_ready()
    wait_members(nodes, 3)
    wait_equal(nodes)
    nodes[2].terminate()
    nodes[2].flags = ["-join", f"localhost:{free_ports(1)[0]}", "-join-attempts", "1"]
    nodes[2].start()
    ends_with(nodes[2], 1, "failed to join cluster", 10)


# ---- §3.5: -bootstrap-expect --------------------------------------------------------------------------------

def expecting(field, count, url=False, expect=None, more=()):
    """count nodes with one list of the first `expect`."""
    expect = expect or count
    ports = free_ports(2 * count)
    pairs = [(ports[2 * i], ports[2 * i + 1]) for i in range(count)]
    addrs = [f"http://localhost:{h}" if url else f"localhost:{r}" for h, r in pairs[:expect]]
    return [field.node(f"{i + 1}", pairs[i], ["-bootstrap-expect", str(expect), "-join", ",".join(addrs), *more])
            for i in range(count)]


def test_expect_three(field):
    """D3.6 D3.7: any order, one cluster; killed and started again with the same flags; a fourth joins"""
    nodes = expecting(field, 4, expect=3)
    for n in reversed(nodes[:3]):
        n.start()
        time.sleep(0.3)
    for n in nodes[:3]:
        n.wait_ready()
    seen = wait_members(nodes[:3], 3)
    want(all(m["voter"] for m in seen.values()), f"all vote: {seen}")
    nodes[1].execute("CREATE TABLE t (n INTEGER)")
    nodes[1].execute("INSERT INTO t VALUES (1)")
    for n in nodes[:3]:
        n.kill()
    for n in nodes[:3]:
        n.start()
    for n in nodes[:3]:
        n.wait_ready()
    want(nodes[0].rows("SELECT n FROM t", "linearizable") == [[1]], "data survived")
    nodes[3].start()
    nodes[3].wait_ready()
    wait_members(nodes, 4)
    wait_equal(nodes)


def test_expect_by_urls(field):
    """D12.2"""
    nodes = expecting(field, 3, url=True)
    for n in nodes:
        n.start()
    for n in nodes:
        n.wait_ready()
    wait_members(nodes, 3)


def test_expect_five(field):
    """D3.8: at once"""
    nodes = expecting(field, 5)
    for n in nodes:
        n.start()
    for n in nodes:
        n.wait_ready()
    wait_members(nodes, 5)


def test_expect_three_of_four_at_once(field):
    """More nodes than are expected, all at the same moment: one cluster all the same"""
    nodes = expecting(field, 4, expect=3)
    for n in nodes:
        n.start()
    for n in nodes:
        n.wait_ready()
    wait_members(nodes, 4)


def test_expect_survives_a_death(field):
    """One of three announces itself and dies before the set is complete: another comes in its place"""
    nodes = expecting(field, 4, expect=3)
    nodes[0].start()
    nodes[3].start()
    until(lambda: counter(nodes[0], "cluster.num_notify_req") >= 2, "two have announced themselves")
    nodes[3].kill()
    for n in nodes[1:3]:
        n.start()
    for n in nodes[:3]:
        n.wait_ready()
    wait_members(nodes[:3], 3)


def test_expect_gives_up(field):
    """D3.14"""
    nodes = expecting(field, 3, more=["-bootstrap-expect-timeout", "3s"])
    nodes[0].start()
    seconds = ends_with(nodes[0], 1, "clustering failure: boot timeout", 10)
    want(2.5 < seconds < 6, f"{seconds:.1f} s")


def test_signal_ends_a_bootstrap(field):
    nodes = expecting(field, 3)
    nodes[0].start()
    until(lambda: nodes[0].ask("GET", "/readyz?noleader").status == 200, "the API is up")
    time.sleep(0.5)
    nodes[0].process.send_signal(signal.SIGTERM)
    seconds = ends_with(nodes[0], 1, "clustering failure: boot canceled", 5)
    want(seconds < 3, f"{seconds:.1f} s until a signal ended it")


def test_expect_alone_means_nothing(field):
    """§1.4: without -join and -disco-mode the node founds alone"""
    node = field.node("1", flags=["-bootstrap-expect", "3"]).start()
    node.wait_ready()
    want(len(members(node)) == 1, "alone")


# ---- credentials ------------------------------------------------------------------------------------------------

USERS = [{"username": "bob", "password": "secret1", "perms": ["all"]},
         {"username": "replica", "password": "secret2", "perms": ["join-read-only"]},
         {"username": "*", "perms": ["status", "ready", "query", "execute"]}]


def test_joins_with_credentials(field):
    """D3.16 D12.5"""
    users = os.path.join(field.root, "users.json")
    with open(users, "w", encoding="utf-8") as f:
        json.dump(USERS, f)
    one = field.node("1", flags=["-auth", users]).start()
    one.wait_ready()
    join = ["-auth", users, "-join", f"localhost:{one.raft}", "-join-attempts", "1"]
    nobody = field.node("nobody", flags=join).start()
    ends_with(nobody, 1, "unauthorized (did you forget to set -join-as?)", 10)
    stranger = field.node("stranger", flags=join + ["-join-as", "nobody"]).start()
    ends_with(stranger, 1, "user nobody of -join-as is not in the credentials file", 10)
    voter = field.node("voter", flags=join + ["-join-as", "replica"]).start()
    ends_with(voter, 1, "unauthorized", 10)
    want(len(members(one)) == 1, f"nobody got in: {members(one)}")
    bob = field.node("bob", flags=["-auth", users, "-join-as", "bob", "-join", f"http://localhost:{one.http}"]).start()
    bob.wait_ready()
    replica = field.node("replica", flags=join + ["-join-as", "replica", "-raft-non-voter"]).start()
    replica.wait_ready()
    seen = wait_members([one, bob, replica], 3)
    want(seen["bob"]["voter"] and not seen["replica"]["voter"], f"{seen}")


def test_expect_with_credentials(field):
    users = os.path.join(field.root, "users.json")
    with open(users, "w", encoding="utf-8") as f:
        json.dump(USERS, f)
    nodes = expecting(field, 3, more=["-auth", users, "-join-as", "bob"])
    for n in nodes:
        n.start()
    for n in nodes:
        n.wait_ready()
    wait_members(nodes, 3)


def main_of(names):
    """Run the tests of a module: its globals."""
    tests = {name: f for name, f in names.items() if name.startswith("test_")}
    want(all(name in tests for name in sys.argv[2:]), f"no such test; there are: {' '.join(tests)}")
    for name in sys.argv[2:] or tests:
        began = time.monotonic()
        with Field(sys.argv[1]) as field:
            tests[name](field)
        print(f"ok {name} {time.monotonic() - began:.1f} s", flush=True)


if __name__ == "__main__":
    main_of(globals())
