#!/usr/bin/env python3
"""Facts of daemon.md that belong to no other test of this folder: what flags show, what monitoring says, what the Raft
port takes, the two kinds of database. (tests/compat/test_facts.py --list tells where each fact is checked.)

    facts.py PATH/TO/rqlited [TEST...]

Without names, all. Exit status 0: all passed."""
import http.client
import os
import shutil
import signal
import time

from auth import ask, credentials
from forming import counter, main_of, members, run, three_by_join, until, wait_members
from nodes import leader_of, wait_equal, wait_leader, want


def status(node, path=""):
    return node.ask("GET", "/status" + (f"?key={path}" if path else "")).json()


def started(field, name, *flags):
    node = field.node(name, flags=flags).start()
    node.wait_ready()
    return node


# ---- flags that /status shows ------------------------------------------------------------------------------

def test_flags_are_shown(field):
    """D1.16 D6.4 D6.5"""
    node = started(field, "plain")
    store = status(node, "store")
    want(store["trailing_logs"] == 10240, f"D6.4: {store['trailing_logs']}")
    shown = {k: store[k] for k in ("apply_timeout", "heartbeat_timeout", "election_timeout", "commit_timeout", "snapshot_interval",
                                   "reap_timeout", "reap_read_only_timeout")}
    want(shown == {"apply_timeout": "10s", "heartbeat_timeout": "1s", "election_timeout": "1s", "commit_timeout": "50ms",
                   "snapshot_interval": "10s", "reap_timeout": "0s", "reap_read_only_timeout": "0s"}, f"D6.5: {shown}")
    node.terminate()
    node = started(field, "given", "-write-queue-capacity=7", "-write-queue-batch-size", "3", "-write-queue-timeout=1m30s",
                   "-db-max-ro-conns=9", "-raft-snap=100", "-raft-heartbeat-timeout=2s", "-raft-election-timeout=2500ms",
                   "-raft-apply-timeout=7s", "-raft-reap-node-timeout=90m", "-raft-reap-read-only-node-timeout=36h",
                   "-raft-commit-timeout=70ms", "-raft-snap-int=1m5s")
    queue, store = status(node, "http.queue._default"), status(node, "store")
    want((queue["max_size"], queue["batch_size"], queue["timeout"]) == (7, 3, "1m30s"), f"D1.16: {queue}")
    ro = store["sqlite3"]["conn_pool_stats"]["ro"]
    want(ro["max_open_connections"] == 9, f"D1.16: {ro}")
    want(store["trailing_logs"] == 125, f"D6.4: {store['trailing_logs']}")
    shown = [store[k] for k in ("apply_timeout", "heartbeat_timeout", "election_timeout", "commit_timeout", "snapshot_interval",
                                "reap_timeout", "reap_read_only_timeout")]
    want(shown == ["7s", "2s", "2.5s", "70ms", "1m5s", "1h30m0s", "36h0m0s"], f"D6.5: {shown}")


def test_what_a_first_start_creates(field):
    """D1.13, as far as it holds (compat/deviations.txt)"""
    node = started(field, "1", "-on-disk")
    have = set(os.listdir(node.folder))
    want({"db.sqlite", "raft"} <= have and os.path.isdir(os.path.join(node.folder, "raft")), f"{have}")
    want(os.stat(node.folder).st_mode & 0o777 == 0o755, "the folder's mode")


def test_raft_log_level(field):
    """§1.3: which lines of Raft's are logged; any case, and what is no level is INFO"""
    marks = ("[ERROR]", "[WARN]", "[INFO]", "[DEBUG]", "[TRACE]")
    for level, wanted in [("OFF", ()), ("error", ()), ("WARN", marks[1:2]), (None, marks[1:2]), ("Info", marks[1:3]), ("nonsense", marks[1:3]),
                          ("DEBUG", marks[1:4]), ("trace", marks[1:])]:
        flags = ["-raft-log-level", level] if level else []
        one = started(field, f"{level}1", *flags)
        two = started(field, f"{level}2", "-join", f"localhost:{one.raft}")
        one.execute("CREATE TABLE t(n)")
        two.kill()
        until(lambda: status(one, "store.raft.state") != "Leader", "it leads no more")
        said = [line for line in one.words().splitlines() if line.startswith("[raft] ")]
        seen = tuple(m for m in marks if any(f" {m} " in line or f" {m}  " in line for line in said))
        want(seen == tuple(wanted), f"{level}: {seen}, not {wanted}:\n" + "\n".join(said[:20]))
        want(("entering leader state: leader=\"Node at localhost" in one.words()) == ("[INFO]" in wanted), f"{level}")
        want("[DEBUG]" not in wanted or any("connection made: " in line and "protocol=1" in line for line in said), f"{level}: {said}")
        one.kill()


# ---- timeouts, seen from outside -----------------------------------------------------------------------------

def write(node, limit_s=1.0):
    """Was a write acknowledged?"""
    try:
        answer = node.ask("POST", "/db/execute", ["INSERT INTO t VALUES(1)"], limit_s)
        return answer.status == 200 and b"rows_affected" in answer.body
    except (OSError, http.client.HTTPException):
        return False


def silence_s(nodes):
    """Seconds from a leader's silence (not its death, which is noticed at once) to the next leader."""
    leader = wait_leader(nodes)
    rest = [n for n in nodes if n is not leader]
    leader.process.send_signal(signal.SIGSTOP)
    began = time.monotonic()
    until(lambda: leader_of(rest), "another leader")
    seconds = time.monotonic() - began
    leader.process.send_signal(signal.SIGCONT)
    return seconds


def test_failover_takes_what_the_timeouts_say(field):
    """D6.2"""
    nodes = three_by_join(field)
    seconds = silence_s(nodes)
    want(0.9 < seconds < 4, f"at defaults {seconds:.1f} s")
    for n in nodes:
        n.terminate()
        n.flags = ["-raft-heartbeat-timeout=5s", "-raft-election-timeout=5s"]
    for n in nodes:
        n.start()
    for n in nodes:
        n.wait_ready(60)
    seconds = silence_s(nodes)
    want(4.5 < seconds < 15, f"at 5 s {seconds:.1f} s")


def test_a_leader_alone_leads_no_more(field):
    """D6.3 D11.7: both followers stop; the leader says so within its lease, names none, and takes no writes"""
    nodes = three_by_join(field)
    nodes[0].execute("CREATE TABLE t(n)")
    leader = wait_leader(nodes)
    for n in nodes:
        if n is not leader:
            n.process.send_signal(signal.SIGSTOP)
    began = time.monotonic()
    until(lambda: status(leader, "store.raft.state") != "Leader", "D6.3: it leads no more")
    want(time.monotonic() - began < 2.5, f"D6.3: {time.monotonic() - began:.1f} s")
    want(status(leader, "store.raft.state") in ("Follower", "Candidate"), "D6.3: the state")
    want(not write(leader, 3), "D6.3: a write without a quorum")
    want(status(leader, "store.leader") == {"node_id": "", "addr": ""}, f"D11.7: {status(leader, 'store.leader')}")
    answer = leader.ask("GET", "/readyz")
    want(answer.status == 503 and answer.body == b"[+]node ok\n[+]leader does not exist", f"D11.7: {answer.body}")
    for n in nodes:
        n.process.send_signal(signal.SIGCONT)


def test_a_restarted_leader_is_asked_at_once(field):
    """D3.22, as far as it holds (compat/deviations.txt): no connection here is stale, so none has to be forced"""
    one = started(field, "1")
    two = started(field, "2", "-join", f"localhost:{one.raft}", "-raft-non-voter")
    one.execute("CREATE TABLE t(n)")
    want(write(two, 10), "a forwarded write")
    for kill in (one.kill, one.terminate):
        kill()
        one.start()
        one.wait_ready()
        until(lambda: status(two, "store.leader")["node_id"] == "1", "the replica follows it again")
        want(write(two, 10), "the first write after the restart failed")
    forced = counter(two, "cluster.num_client_force_new_conn")
    want(forced == 0, f"{forced} connections were forced")
    one.kill()
    answer = two.ask("POST", "/db/query?level=weak&retries=2&timeout=2s", ["SELECT 1"], 20)
    want(b"results" not in answer.body or b"error" in answer.body, f"nobody leads: {answer.body}")
    forced = counter(two, "cluster.num_client_force_new_conn")
    want(forced <= 1, f"one request, {forced} last attempts")


# ---- credentials ---------------------------------------------------------------------------------------------

def test_who_may_do_what(field):
    """D9.1 D9.2 D9.3"""
    node = field.node("1", flags=credentials(field, "users.json",
                                             {"username": "bob", "password": "secret", "perms": ["all"]},
                                             {"username": "writer", "password": "w", "perms": ["execute"]},
                                             {"username": "both", "password": "b", "perms": ["execute", "query"]},
                                             {"username": "*", "perms": ["status", "ready"]})).start()
    until(lambda: ask(node, "GET", "/readyz").status == 200, "ready")

    def answer(user, method, path, body=None):
        return ask(node, method, path, user, body).status

    query, request = ("GET", "/db/query?q=SELECT+1"), ("POST", "/db/request", '["SELECT 1"]')
    want([answer(None, *query), answer("bob:secret", *query), answer("bob:wrong", *query)] == [401, 200, 401], "D9.1")
    connection = http.client.HTTPConnection("localhost", node.http, timeout=10)
    connection.request("GET", "/db/query?q=SELECT+1")
    want(connection.getresponse().getheader("WWW-Authenticate") == 'Basic realm="rqlite"', "D9.1: the header")
    connection.close()
    want([answer(None, "GET", "/status"), answer(None, *query)] == [200, 401], "D9.2")
    want([answer("writer:w", *request), answer("both:b", *request)] == [401, 200], "D9.3")


# ---- monitoring ----------------------------------------------------------------------------------------------

def test_monitoring_of_one(field):
    """D11.2 D11.3 D11.4 D11.5 D11.13 D11.14"""
    node = started(field, "1", "-http-allow-origin", "https://example.com")
    whole = node.ask("GET", "/debug/vars").json()
    want("cmdline" in whole and list(node.ask("GET", "/debug/vars?key=http").json()) == ["http"], "D11.2")
    want(status(node, "store.raft.state") == "Leader" and status(node, "no.such.key") == {}, "D11.3")
    raft = status(node, "store.raft")
    numbers = ("term", "last_log_index", "last_log_term", "commit_index", "applied_index", "fsm_pending", "last_snapshot_index",
               "last_snapshot_term", "protocol_version", "num_peers", "latest_configuration_index", "log_size")
    want(all(type(raft[k]) is int for k in numbers), f"D11.4: {raft}")
    want(node.ask("GET", "/readyz?noleader").body == b"[+]node ok", "D11.5")
    connection = http.client.HTTPConnection("localhost", node.http, timeout=10)
    connection.request("GET", "/readyz")
    answer = connection.getresponse()
    want(answer.getheader("Access-Control-Allow-Origin") == "https://example.com", "D11.14")
    versions = {run(field, "-version")[2].split()[1], answer.getheader("X-RQLITE-VERSION"), status(node, "build.version"),
                members(node)["1"]["version"]}
    connection.close()
    want(len(versions) == 1, f"D11.13: {versions}")


def test_monitoring_of_three(field):
    """D11.6 D11.8 D11.9 D11.11"""
    nodes = three_by_join(field)
    leader = wait_leader(nodes)
    follower, third = [n for n in nodes if n is not leader]
    answer = follower.ask("GET", "/readyz?sync&timeout=5s")
    want(answer.status == 200 and b"[+]sync ok" in answer.body, f"D11.6: {answer.body}")
    here, there = (n.ask("GET", "/leader").json() for n in (leader, follower))
    want((here["addr"], here["api_addr"]) == (there["addr"], there["api_addr"]), f"D11.9: {here} {there}")
    listed = follower.ask("GET", "/nodes?ver=2").json()
    want(list(listed) == ["nodes"] and [n["id"] for n in listed["nodes"]] == ["1", "2", "3"], f"D11.11: {listed}")
    third.kill()
    seen = members(leader)
    want(seen[third.name]["reachable"] is False and seen[third.name]["error"], f"D11.8: {seen}")
    want(all(m["time"] > 0 for name, m in seen.items() if name != third.name), f"D11.8: {seen}")


def test_a_store_that_is_not_open_yet(field):
    """D11.10: a log so long that its replay can be watched"""
    node = started(field, "1", "-raft-snap=1000000", "-raft-snap-wal-size=0")
    node.execute("CREATE TABLE t(v)")
    for _ in range(40):
        node.ask("POST", "/db/execute?transaction", [["INSERT INTO t WITH RECURSIVE s(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM s "
                                                       "WHERE i < 20000) SELECT randomblob(20) FROM s"]], 60)
    node.kill()
    node.start()
    seen = set()
    end = time.monotonic() + 60
    while not node.ready():
        want(time.monotonic() < end, "it does not open")
        try:
            seen.add((node.ask("GET", "/nodes").status, node.ask("GET", "/status").status))
        except OSError:
            pass
    want((503, 200) in seen, f"D11.10: {seen}")
    want(all(s == 200 for _, s in seen), f"D11.10: /status always answers: {seen}")


# ---- in memory, on disk ----------------------------------------------------------------------------------------

def test_database_on_disk(field):
    """D12.6 D12.7"""
    node = started(field, "1", "-on-disk")
    want(os.path.exists(os.path.join(node.folder, "db.sqlite")), "D12.6")
    path = os.path.join(field.root, "ram", "n2", "db.sqlite")
    node = started(field, "2", "-on-disk", "-on-disk-startup", "-on-disk-path", path)
    node.execute("CREATE TABLE t(n)")
    node.execute("INSERT INTO t VALUES(1)")
    want(os.path.exists(path), "D12.7: the file is where it was wanted")
    node.kill()
    shutil.rmtree(os.path.dirname(path))
    node.start()
    node.wait_ready()
    want(os.path.exists(path) and node.rows("SELECT n FROM t") == [[1]], "D12.7: rebuilt")


def test_mixed_modes(field):
    """D12.9"""
    one = started(field, "1")
    rest = [started(field, str(i), "-on-disk", "-join", f"localhost:{one.raft}") for i in (2, 3)]
    one.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, v, w DEFAULT (random()))")
    for i in range(30):
        [one, *rest][i % 3].execute("INSERT INTO t(v) VALUES(?)", f"v{i}")
    wait_equal([one, *rest])
    rest[0].kill()
    one.execute("UPDATE t SET v = v || 'x' WHERE id % 2")
    rest[0].start()
    rest[0].wait_ready()
    wait_equal([one, *rest])
    want(status(one, "store.sqlite3.path") == ":memory:" and status(rest[0], "store.sqlite3.path").endswith("db.sqlite"), "modes")


# ---- names that move -------------------------------------------------------------------------------------------

def test_a_name_that_moves(field):
    """D10.6: a member whose name gets another address is reached there, and nobody else is started again"""
    if os.geteuid() != 0:
        print("     skipped: an /etc/hosts of one's own needs root")
        return
    hosts = os.path.join(field.root, "hosts")

    def point(address):
        with open(hosts, "w", encoding="ascii") as f:  # in place: it is mounted
            f.write(f"127.0.0.1 localhost\n{address} moving\n")

    point("127.0.0.2")
    own = ["unshare", "-m", "sh", "-c", f'mount --bind {hosts} /etc/hosts && exec "$0" "$@"']
    one = field.node("1", wrapper=own).start()
    one.wait_ready()
    two = field.node("2", wrapper=own)
    two.flags = ["-join", f"localhost:{one.raft}", "-raft-addr", f"moving:{two.raft}"]
    two.start()
    two.wait_ready()
    three = field.node("3", flags=["-join", f"localhost:{one.raft}"], wrapper=own).start()
    three.wait_ready()
    one.execute("CREATE TABLE t(n)")
    two.terminate()
    point("127.0.0.3")
    two.flags = ["-raft-addr", f"moving:{two.raft}"]
    two.start()
    two.wait_ready()
    seen = wait_members([one, two, three], 3)
    want(seen["2"]["addr"] == f"moving:{two.raft}", f"{seen}")
    wait_equal([one, two, three])


if __name__ == "__main__":
    main_of(globals())
