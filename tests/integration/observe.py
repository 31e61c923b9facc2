#!/usr/bin/env python3
"""/status, /debug/vars, /metrics, /nodes and the other diagnostics of real nodes: one alone, then a leader,
a follower and a read replica.

    observe.py PATH/TO/rqlited

The tables below hold names, types and samples transcribed from http-api.md §14 and §15, not from what the
program answers. /metrics is parsed strictly by the grammar of Prometheus' text format 0.0.4. Exit status 0:
all is as promised."""
import argparse
import concurrent.futures
import json
import math
import re
import subprocess
import time

from nodes import Client, Field, free_ports, wait_leader, want

RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z$")
DURATION = re.compile(r"-?(\d+h)?(\d+m)?(\d+(\.\d+)?(s|ms|µs|ns))?$")
SIZE = re.compile(r"(\d\.\d|\d{1,4}) (B|kB|MB|GB|TB|PB|EB)$")
ADDRESS = re.compile(r"[^/]+:\d+$")

# http-api.md §15.3, word for word: expected maps and keys (D11.1).
COUNTERS = {
    "http": """
        auth_fail auth_ok backups boot execute_stmts_rx executions leader_not_found loads num_readyz num_status
        queries query_stmts_rx queued_executions queued_executions_failed queued_executions_leadership_lost
        queued_executions_no_leader queued_executions_not_leader queued_executions_num_stmts_rx
        queued_executions_num_stmts_tx queued_executions_ok queued_executions_unknown_error
        queued_executions_wait queued_executions_wait_timeout request_stmts_rx requests sql_analyze
        tls_cert_fetched ui user_reaps user_snapshots""",
    "queue": """
        num_flush num_timeout objects_rx objects_tx""",
    "proxy": """
        remote_backups remote_executions remote_executions_failed remote_loads remote_queries
        remote_queries_failed remote_remove_node remote_requests remote_requests_failed remote_stepdowns""",
    "sql.processor": """
        num_parser_panics num_rewritten_stmts""",
    "db": """
        backup_sleeps backup_step_dones backup_step_errors checkpoint_busy_errors checkpoint_duration_ms
        checkpoint_errors checkpoint_invariant_errors checkpoint_partial checkpoint_total
        checkpoint_wal_truncated checkpointed_moves checkpoints commit_hooks compacted_wal_size
        create_compacted_wal_duration_ms dropped_cdc_events execute_transactions execution_errors executions
        executions_force_queries open_duration_ms precompact_wal_size preupdates preupdates_callback_errors
        preupdates_errors queries query_errors query_transactions request_transactions requests update_hooks
        update_hooks_callback_errors update_hooks_errors""",
    "db.wal": """
        compact_frames_input compact_frames_output compact_frames_ratio compact_scan_duration_ms
        compact_scan_errors compact_write_duration_ms""",
    "store": """
        auto_optimize_duration auto_vacuum_duration failed_heartbeat_observed fsm_apply_duration_us
        leader_changes_dropped leader_changes_observed nodes_reaped_failed nodes_reaped_ok num_auto_optimizes
        num_auto_optimizes_failed num_auto_restores num_auto_restores_failed num_auto_restores_skipped
        num_auto_vacuums num_auto_vacuums_failed num_backups num_boots num_compressed_commands
        num_db_stats_errors num_ignored_joins num_joins num_loads num_provider_checks num_provider_provides
        num_provider_provides_fail num_recoveries num_removed_before_joins num_restores num_restores_failed
        num_restores_start num_restores_start_skipped num_snapshot_persists num_snapshot_persists_failed
        num_snapshots num_snapshots_failed num_snapshots_full num_snapshots_incremental
        num_uncompressed_commands num_user_snapshots num_user_snapshots_failed num_verify_leader
        num_verify_leader_failed num_wal_snapshots num_wal_snapshots_failed snapshot_crc32_create_duration
        snapshot_create_duration snapshot_persist_duration snapshot_sync_duration verify_leader_duration""",
    "cluster": """
        num_backup_req num_broadcast_hwm_req num_client_execute_retries num_client_force_new_conn
        num_client_load_retries num_client_query_retries num_client_read_timeouts num_client_request_retries
        num_client_retries num_client_write_timeouts num_conn_rejected num_execute_req num_get_node_api_req
        num_get_node_api_req_local num_get_node_api_req_retries num_get_node_api_resp num_hwm_update_dropped
        num_join_req num_load_req num_notify_req num_query_req num_remove_node_req num_request_req
        num_stepdown_req""",
    "mux": """
        num_connections_handled num_tls_cert_fetched num_unregistered_handlers""",
    "proto": """
        num_compressed_bytes num_compressed_requests num_compression_misses num_precompressed_bytes num_requests
        num_uncompressed_bytes num_uncompressed_requests""",
    "snapshot": """
        auto_reap_duration_ms persist_duration_ms persist_size read_timeout_total reap_errors
        reap_execute_duration_ms reap_plan_recovered reap_snapshots reap_total reap_wals sink_errors
        sink_full_crc32_duration_ms sink_full_total sink_incremental_total upgrade_fail upgrade_ok""",
    "snapshot.plan": """
        calc_crc32_duration_ms checkpoint_duration_ms""",
    "uploader": """
        last_upload_bytes num_sum_get_fail num_uploads_fail num_uploads_ok num_uploads_skipped
        num_uploads_skipped_id total_upload_bytes""",
    "downloader": """
        download_bytes num_downloads_fail num_downloads_ok""",
    "cdc.service": """
        batcher_events_write batcher_reads batcher_write_ignored batcher_writes dropped_failed_to_send
        fifo_enqueue_ignored fifo_size hwm_ignored num_bytes_tx num_events_tx_failed num_events_tx_ok retries
        snapshot_sync""",
}

INT, BOOL, TEXT, LIST, MAP = "integer", "bool", "text", "list", "object"
NANOSECONDS = INT

# http-api.md §15.1 and daemon.md §11.2 (D11.12): path, what stands there. A type, an exact value, or a pattern.
STATUS = [
    ("build.version", re.compile(r"v?\d")), ("build.commit", TEXT), ("build.build_time", TEXT),
    ("build.compiler_toolchain", TEXT), ("build.compiler_command", TEXT),
    ("cluster.addr", ADDRESS), ("cluster.api_addr", ADDRESS), ("cluster.https", "false"),
    ("extensions.dir", TEXT), ("extensions.names", []),
    ("http.bind_addr", re.compile(r"[\d.]+:\d+$")), ("http.auth", "disabled"),
    ("http.cluster.local_node_addr", ADDRESS), ("http.cluster.timeout", "30s"),
    ("http.queue._default.batch_size", 128), ("http.queue._default.max_size", 1024),
    ("http.queue._default.sequence_number", INT), ("http.queue._default.timeout", "50ms"),
    ("http.tls", {"enabled": "false"}),
    ("mux.addr", ADDRESS), ("mux.handlers", TEXT), ("mux.timeout", DURATION), ("mux.tls", "disabled"),
    ("network.interfaces.lo.flags", re.compile("up.*loopback")), ("network.interfaces.lo.hardware_address", ""),
    ("network.interfaces.lo.addresses", LIST),
    ("node.start_time", RFC3339), ("node.current_time", RFC3339), ("node.uptime", DURATION),
    ("os.pid", INT), ("os.ppid", INT), ("os.page_size", 4096), ("os.executable", re.compile("/.*rqlited$")),
    ("os.hostname", TEXT),
    ("runtime.GOARCH", TEXT), ("runtime.GOOS", "linux"), ("runtime.GOMAXPROCS", INT), ("runtime.num_cpu", INT),
    ("runtime.num_goroutine", INT), ("runtime.version", TEXT), ("runtime.kubernetes_hint", False),
    ("store.node_id", TEXT), ("store.addr", ADDRESS), ("store.leader.addr", ADDRESS), ("store.leader.node_id", TEXT),
    ("store.nodes", LIST), ("store.ready", True),
    ("store.raft.state", re.compile("Leader$|Follower$")), ("store.raft.voter", BOOL), ("store.raft.term", INT),
    ("store.raft.commit_index", INT), ("store.raft.applied_index", INT), ("store.raft.fsm_pending", INT),
    ("store.raft.last_log_index", INT), ("store.raft.last_log_term", INT), ("store.raft.last_snapshot_index", INT),
    ("store.raft.last_snapshot_term", INT), ("store.raft.num_peers", INT), ("store.raft.protocol_version", INT),
    ("store.raft.protocol_version_min", INT), ("store.raft.protocol_version_max", INT),
    ("store.raft.snapshot_version_min", INT), ("store.raft.snapshot_version_max", INT),
    ("store.raft.latest_configuration_index", INT), ("store.raft.latest_configuration", re.compile(r"\[\{.*\}\]$")),
    ("store.raft.log_size", INT), ("store.raft.log_size_friendly", SIZE),
    ("store.raft.config.LocalID", TEXT), ("store.raft.config.HeartbeatTimeout", 1000000000),
    ("store.raft.config.ElectionTimeout", 1000000000), ("store.raft.config.LeaderLeaseTimeout", NANOSECONDS),
    ("store.raft.config.CommitTimeout", 50000000), ("store.raft.config.SnapshotInterval", 10000000000),
    ("store.raft.config.SnapshotThreshold", 8192), ("store.raft.config.MaxAppendEntries", INT),
    ("store.raft.config.ShutdownOnRemove", False), ("store.raft.config.LogLevel", "WARN"),
    ("store.raft.config.NoSnapshotRestoreOnStart", False), ("store.raft.bolt.TxStats", MAP), ("store.raft.bolt.TxN", INT),
    ("store.raft.transport.compress_snap", False), ("store.request_marshaler.compression_size", INT),
    ("store.request_marshaler.compression_batch", INT), ("store.request_marshaler.force_compression", False),
    ("store.sqlite3.rw_dsn", TEXT), ("store.sqlite3.ro_dsn", TEXT), ("store.snapshot_store.dir", re.compile("/.*/image$")),
    ("store.snapshot_store.dir_size", INT), ("store.open", True), ("store.reap_timeout", "0s"),
    ("store.raft.transport.command_commit_index", INT), ("store.raft.transport.leader_commit_index", INT),
    ("store.fsm_index", INT), ("store.fsm_term", INT), ("store.db_applied_index", INT), ("store.strong_read_term", INT),
    ("store.fsm_update_time", RFC3339), ("store.leader_appended_at_time", RFC3339),
    ("store.apply_timeout", "10s"), ("store.heartbeat_timeout", "1s"), ("store.election_timeout", "1s"),
    ("store.commit_timeout", "50ms"), ("store.snapshot_interval", "10s"), ("store.reap_timeout", "0s"),
    ("store.reap_read_only_timeout", "0s"), ("store.snapshot_threshold", 8192), ("store.trailing_logs", 10240),
    ("store.snapshot_cas.owner", None), ("store.snapshot_store.snapshots", []),
    ("store.observer.observed", INT), ("store.observer.dropped", INT),
    ("store.cdc", {"enabled": False, "registered": False}), ("store.db_conf.fk_constraints", False),
    ("store.no_freelist_sync", False), ("store.dir", re.compile("/")), ("store.dir_size", INT),
    ("store.dir_size_friendly", SIZE),
    ("store.sqlite3.version", re.compile(r"3\.\d+\.\d+$")), ("store.sqlite3.path", TEXT), ("store.sqlite3.size", INT),
    ("store.sqlite3.wal_size", INT), ("store.sqlite3.db_size", INT), ("store.sqlite3.db_size_friendly", SIZE),
    ("store.sqlite3.last_modified", RFC3339),
    ("store.sqlite3.pragmas.ro", {"busy_timeout": "5000", "foreign_keys": "0", "journal_mode": "wal", "synchronous": "0",
                                  "wal_autocheckpoint": "1000"}),
    ("store.sqlite3.pragmas.rw", {"busy_timeout": "5000", "foreign_keys": "0", "journal_mode": "wal", "synchronous": "0",
                                  "wal_autocheckpoint": "0"}),
    ("store.sqlite3.transaction", {"ro": False, "rw": False}),
    ("store.sqlite3.mem_stats.max_page_count", INT), ("store.sqlite3.mem_stats.page_count", INT),
    ("store.sqlite3.mem_stats.page_size", 4096), ("store.sqlite3.mem_stats.hard_heap_limit", INT),
    ("store.sqlite3.mem_stats.soft_heap_limit", INT), ("store.sqlite3.mem_stats.cache_size", INT),
    ("store.sqlite3.mem_stats.freelist_count", INT),
    ("store.sqlite3.conn_pool_stats.ro.max_open_connections", 256),
    ("store.sqlite3.conn_pool_stats.rw.max_open_connections", 1),
    ("store.sqlite3.compile_options", LIST), ("store.sqlite3.extensions", []),
]
POOL = ["max_open_connections", "open_connections", "in_use", "idle", "wait_count", "wait_duration", "max_idle_closed",
        "max_idle_time_closed", "max_lifetime_closed"]
RECORDS = re.compile(r"store\.nodes|store\.raft\.bolt|network\.interfaces\.\w|conn_pool_stats")  # fixed order instead of sorted keys
NODE_MEMBERS = ["id", "api_addr", "addr", "version", "voter", "reachable", "leader", "time", "time_s"]  # §14.1


def fits(value, kind):
    if kind is INT:
        return isinstance(value, int) and not isinstance(value, bool)
    if kind is BOOL:
        return isinstance(value, bool)
    if kind is TEXT:
        return isinstance(value, str)
    if kind is LIST:
        return isinstance(value, list)
    if kind is MAP:
        return isinstance(value, dict)
    if isinstance(kind, re.Pattern):
        return isinstance(value, str) and bool(kind.match(value))
    return type(value) is type(kind) and value == kind


def at(tree, path):
    for part in path.split("."):
        want(isinstance(tree, dict) and part in tree, f"/status has no {path}")
        tree = tree[part]
    return tree


def sorted_keys(tree, path=""):
    if isinstance(tree, list):
        for item in tree:
            sorted_keys(item, path)
    if not isinstance(tree, dict):
        return
    want(RECORDS.search(path) or list(tree) == sorted(tree), f"/status: keys of {path or 'the top'} are not sorted")
    for key, value in tree.items():
        sorted_keys(value, f"{path}.{key}" if path else key)


def check_status(node, state, voter, contact):
    tree = node.ask("GET", "/status").json()
    for path, kind in STATUS:
        value = at(tree, path)
        want(fits(value, kind), f"/status of {node.name}: {path} is {value!r}, want {kind}")
    sorted_keys(tree)
    for side in ("ro", "rw"):
        pool = at(tree, f"store.sqlite3.conn_pool_stats.{side}")
        want(list(pool) == POOL and all(fits(v, INT) for v in pool.values()), f"pool {side}: {pool}")
    raft = at(tree, "store.raft")
    want((raft["state"], raft["voter"]) == (state, voter), f"{node.name} is {raft['state']}, voter {raft['voter']}")
    want(contact(raft["last_contact"]), f"last_contact of {node.name}: {raft['last_contact']!r}")
    want("THREADSAFE=1" in at(tree, "store.sqlite3.compile_options"), "compile options are not SQLite's")
    stats = at(tree, "store.sqlite3.mem_stats")
    want(at(tree, "store.sqlite3.db_size") == stats["page_count"] * stats["page_size"], "db_size")
    for member in at(tree, "store.nodes"):
        want(list(member) == ["id", "addr", "suffrage"] and member["suffrage"] in ("voter", "nonvoter"), f"{member}")
    return tree


def check_key(node):
    whole = node.ask("GET", "/status").json()
    part = node.ask("GET", "/status?key=store.raft.config&pretty").body.decode()
    want(part == json.dumps(whole["store"]["raft"]["config"], sort_keys=True, separators=(",", ":")), f"key: {part}")
    for path, text in (("no.such.key", "{}"), ("store.nodes.0", None), ("extensions.names.x", "[]"), ("cluster.https", '"false"'),
                       ("os.page_size", "4096"), ("store.", "{}")):
        got = node.ask("GET", f"/status?key={path}").body.decode()
        want(got == text if text else got.startswith('[{"addr":'), f"key={path}: {got}")


# ---- /debug/vars ---------------------------------------------------------------------------------------------


def check_vars(node):
    text = node.ask("GET", "/debug/vars").body.decode()
    tree = json.loads(text)
    for name, keys in COUNTERS.items():
        want(name in tree, f"/debug/vars has no {name}")
        want(sorted(keys.split()) == list(tree[name]), f"{name}: {set(keys.split()) ^ set(tree[name])}")
        want(all(fits(v, INT) for v in tree[name].values()), f"{name}: not all integers")
        want(node.ask("GET", f"/debug/vars?key={name}").body.decode().startswith(f'{{\n"{name}": {{"'), f"key={name}")
    want(fits(tree["cmdline"], LIST) and tree["cmdline"][0].endswith("rqlited"), f"cmdline: {tree['cmdline']}")
    want(tree["memstats"]["Alloc"] > 1 << 20, f"memstats: {tree['memstats']}")
    # §15.2: every entry on a line of its own, names ascending, a blank after ':' and ','.
    lines = text.split("\n")
    want(lines[0] == "{" and lines[-2:] == ["}", ""], f"/debug/vars: {lines[0]!r} … {lines[-2:]!r}")
    names = []
    for i, line in enumerate(lines[1:-2]):
        found = re.match(r'"([\w.]+)": (.*?)(,?)$', line)
        want(found and bool(found[3]) == (i < len(lines) - 4), f"/debug/vars: {line!r}")
        names.append(found[1])
        if found[1] != "cmdline":
            want(found[2] == json.dumps(json.loads(found[2]), sort_keys=True), f"/debug/vars: layout of {found[1]}")
    want(names == sorted(names) and len(set(names)) == len(names), "/debug/vars: names are not ascending")
    return tree


def check_pprof(node, tree):
    want(node.ask("GET", "/debug/pprof/cmdline").body == "\0".join(tree["cmdline"]).encode(), "pprof/cmdline")
    answer = node.ask("GET", "/debug/pprof/heap")
    want((answer.status, answer.body) == (404, b"Unknown profile\n"), f"pprof/heap: {answer.status} {answer.body!r}")


# ---- /metrics: prometheus.io/docs/instrumenting/exposition_formats ---------------------------------------------

NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
LABEL = r'[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\["\\n])*"'
SAMPLE = re.compile(rf"({NAME})(?:\{{({LABEL}(?:,{LABEL})*)\}})? (\d+(?:\.\d+)?)$")


def metrics_parse(text):
    """{family: (type, {(name, labels): value})}; every line must be understood, families must not be mixed."""
    want(text.endswith("\n"), "/metrics does not end with a newline")
    families, name, kind, helped = {}, None, None, None
    for line in text[:-1].split("\n"):
        if line.startswith("# HELP "):
            helped = re.match(rf"# HELP ({NAME}) \S.*$", line)
            want(helped, f"/metrics: {line!r}")
        elif line.startswith("#"):
            found = re.match(rf"# TYPE ({NAME}) (counter|gauge|histogram)$", line)
            want(found and helped and helped[1] == found[1] and found[1] not in families, f"/metrics: {line!r}")
            name, kind = found[1], found[2]
            families[name] = (kind, {})
        else:
            found = SAMPLE.match(line)
            want(found and name, f"/metrics: {line!r}")
            suffixes = ("_bucket", "_sum", "_count") if kind == "histogram" else ("",)
            want(found[1] in [name + s for s in suffixes], f"/metrics: {line!r} stands among {name}")
            key = (found[1], found[2] or "")
            want(key not in families[name][1], f"/metrics: {key} twice")
            families[name][1][key] = float(found[3])
    return families


def check_histogram(name, samples):
    buckets = [(re.match(r'le="([^"]+)"$', labels)[1], v) for (n, labels), v in samples.items() if n.endswith("_bucket")]
    bounds = [math.inf if le == "+Inf" else float(le) for le, _ in buckets]
    counts = [v for _, v in buckets]
    want(bounds == sorted(set(bounds)) and bounds[-1] == math.inf, f"{name}: bounds {bounds}")
    want(counts == sorted(counts), f"{name}: buckets are not cumulative: {counts}")
    count, total = samples[name + "_count", ""], samples[name + "_sum", ""]
    want(counts[-1] == count, f"{name}: +Inf is {counts[-1]}, count {count}")
    at_least = sum(lower * (b - a) for lower, a, b in zip([0] + bounds, [0] + counts, counts))
    want(total >= at_least * 0.999999, f"{name}: sum {total} is less than its buckets allow ({at_least})")
    return count


def check_metrics(node):
    answer = node.ask("GET", "/metrics")
    want(answer.status == 200 and len(answer.body) < 64 * 1024, f"/metrics: {answer.status}, {len(answer.body)} bytes")
    families = metrics_parse(answer.body.decode())
    flat = {}
    for name, (kind, samples) in families.items():
        want(name.startswith("rqlited_"), name)
        want((kind == "counter") == name.endswith("_total"), f"{name} is a {kind}")
        if kind == "histogram":
            flat[name] = check_histogram(name, samples)
        flat.update({n + (f"{{{labels}}}" if labels else ""): v for (n, labels), v in samples.items() if kind != "histogram"})
    want(flat["rqlited_memory_bytes"] > 1 << 20, "memory")
    roles = [v for k, v in flat.items() if k.startswith("rqlited_raft_role{")]
    want(sorted(roles) == [0, 0, 1], f"roles: {roles}")
    return flat


def check_phases(answer, names):
    phases = answer.json().get("phases")
    want(phases is not None and list(phases) == names, f"phases: {answer.body!r}")
    want(all(isinstance(v, (int, float)) and v >= 0 for v in phases.values()), f"phases: {phases}")
    parts = sum(v for k, v in phases.items() if k in ("queue", "quorum", "apply", "wait", "run"))
    want(parts <= phases["total"], f"the parts are more than the whole: {phases}")
    return phases


# ---- the rest ------------------------------------------------------------------------------------------------------


def check_nodes(node, voters, others):
    for path, names in (("/nodes", voters), ("/nodes?nonvoters", voters + others)):
        legacy = node.ask("GET", path).json()
        want(list(legacy) == sorted(names), f"{path}: {list(legacy)}")
        listed = node.ask("GET", path + ("&" if "?" in path else "?") + "ver=2").json()["nodes"]
        want([n["id"] for n in listed] == sorted(names), f"{path} ver=2: {listed}")
        for member in list(legacy.values()) + listed:
            want(list(member) == NODE_MEMBERS and member["reachable"], f"{path}: {member}")
            want(DURATION.match(member["time_s"]) and member["voter"] == (member["id"] in voters), f"{path}: {member}")
        want([n["leader"] for n in listed].count(True) == 1, f"{path}: {listed}")
    answer = node.ask("GET", "/leader").json()
    want(list(answer) == NODE_MEMBERS and answer["leader"] and answer["voter"], f"/leader: {answer}")


def check_licenses(node, binary):
    """Each library that the program wants loaded has a notice."""
    text = node.ask("GET", "/licenses").body.decode()
    names = {"sqlite3": "SQLite", "uv": "libuv", "http_parser": "http_parser", "cjson": "cJSON", "crypt": "libcrypt", "zstd": "libzstd",
             "ssl": "OpenSSL", "crypto": "OpenSSL", "curl": "libcurl", "cares": "c-ares", "z": "zlib", "c": "GNU C Library",
             "m": "GNU C Library"}
    loaded = re.findall(r"NEEDED.*\[lib([\w.+-]+?)\.so", subprocess.run(["readelf", "-d", binary], capture_output=True, text=True,
                                                                       check=True).stdout)
    for library in loaded:
        if library in ("asan", "ubsan", "tsan", "gcc_s", "stdc++"):
            continue  # only in builds for testing
        want(library in names and names[library] in text, f"/licenses says nothing of {library}")


def alone(field):
    node = field.node("solo").start()
    seen_early = False
    while not seen_early:  # §19.5: 200 as soon as the process listens
        try:
            early = node.ask("GET", "/status")
            want(early.status == 200 and "store" in early.json(), f"early /status: {early.status} {early.body!r}")
            check_vars(node)
            metrics_parse(node.ask("GET", "/metrics").body.decode())
            seen_early = True
        except ConnectionRefusedError:
            want(node.process.poll() is None, f"the node ended:\n{node.tail()}")
    node.wait_ready()
    check_nodes(node, ["solo"], [])
    before = check_vars(node)
    node.execute("CREATE TABLE t (x UNIQUE)")
    for path, bodies in (("/db/execute", ['INSERT INTO t VALUES(1)', 'INSERT INTO t VALUES(1)']), ("/db/query", ["SELECT 1", "oops"]),
                         ("/db/request?transaction", ["INSERT INTO t VALUES(2)"]), ("/db/query?level=linearizable", ["SELECT 1"])):
        want(node.ask("POST", path, bodies).status == 200, path)
    after = check_vars(node)
    for name, key, more in (("http", "executions", 2), ("http", "execute_stmts_rx", 3), ("http", "queries", 2),
                            ("http", "query_stmts_rx", 3), ("http", "requests", 1), ("http", "request_stmts_rx", 1),
                            ("db", "executions", 3), ("db", "execution_errors", 1), ("db", "queries", 3), ("db", "query_errors", 1),
                            ("db", "requests", 1), ("db", "request_transactions", 1), ("store", "num_verify_leader", 1),
                            ("proto", "num_requests", 3), ("store", "num_uncompressed_commands", 3)):
        got = after[name][key] - before[name][key]
        want(got == more, f"{name}.{key} counted {got}, want {more}")
    tree = check_status(node, "Leader", True, lambda c: c == 0)
    want(tree["store"]["fsm_index"] == tree["store"]["raft"]["applied_index"] == tree["store"]["db_applied_index"], "indexes")
    want(tree["store"]["leader_appended_at_time"] > "2020", "leader_appended_at_time")
    check_key(node)
    check_pprof(node, after)
    check_licenses(node, field.binary)
    check_metrics_count(node)
    under_load(node)
    check_phases(node.ask("POST", "/db/execute?phases&timings", ["INSERT INTO t VALUES(9)"]),
                 ["queue", "sync", "quorum", "apply", "total"])
    check_phases(node.ask("POST", "/db/query?phases", ["SELECT 1"]), ["wait", "run", "total"])
    check_phases(node.ask("POST", "/db/query?phases&level=strong", ["SELECT 1"]), ["queue", "sync", "quorum", "apply", "total"])
    want(b"phases" not in node.ask("POST", "/db/execute?timings", ["INSERT INTO t VALUES(10)"]).body, "phases not asked for")
    node.terminate()


def check_metrics_count(node):
    """Twenty writes, four at a time, are twenty in every histogram of a write."""
    before = check_metrics(node)

    def five(i):
        client = Client(node.http, 10)
        for k in range(5):
            want(client.ask("POST", "/db/execute", [["INSERT INTO t VALUES(?)", f"{i}.{k}"]]).status == 200, "insert")
        client.close()

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        list(pool.map(five, range(4)))
    after = check_metrics(node)
    for name in ("write_queue_seconds", "write_quorum_seconds", "write_apply_seconds", "write_total_seconds",
                 "commands_proposed_total", 'http_requests_total{endpoint="execute"}'):
        got = after["rqlited_" + name] - before["rqlited_" + name]
        want(got == 20, f"{name} counted {got} of 20 writes")
    got = after["rqlited_log_sync_seconds"] - before["rqlited_log_sync_seconds"]
    want(1 <= got <= 40, f"{got} jobs of the log for 20 writes")
    want(after["rqlited_raft_applied_index"] >= before["rqlited_raft_applied_index"] + 20, "applied index")


def under_load(node, seconds=1.5):
    """The diagnostics while everything works: always whole, never decreasing. (Under ThreadSanitizer this is what
    looks at every counter while the lanes move it.)"""
    end = time.monotonic() + seconds

    def repeat(ask):
        client, count = Client(node.http, 10), 0
        while time.monotonic() < end:
            ask(client)
            count += 1
        client.close()
        return count

    def write(client):
        want(client.ask("POST", "/db/execute", [["INSERT INTO t VALUES(hex(randomblob(8)))"]]).status == 200, "insert")

    def read(client):
        want(client.ask("POST", "/db/query?level=linearizable", ["SELECT count(*), max(x) FROM t"]).status == 200, "select")

    seen = {}

    def scrape(client):
        families = metrics_parse(client.ask("GET", "/metrics").body.decode())
        for name, (kind, samples) in families.items():
            if kind == "histogram":
                check_histogram(name, samples)
            for key, value in samples.items() if kind != "gauge" else ():
                want(value >= seen.get(key, 0), f"{key} went back from {seen.get(key)} to {value}")
                seen[key] = value

    def look(client):
        tree = client.ask("GET", "/status").json()["store"]
        want(tree["raft"]["applied_index"] <= tree["raft"]["commit_index"] <= tree["raft"]["last_log_index"], "indexes")
        want(client.ask("GET", "/debug/vars").status == 200 and client.ask("GET", "/nodes").status == 200, "vars, nodes")

    with concurrent.futures.ThreadPoolExecutor(5) as pool:
        counts = list(pool.map(repeat, (write, write, read, scrape, look)))
    want(min(counts) > 0, f"somebody was starved: {counts}")


def together(field):
    ports = free_ports(6)
    first = field.node("a", ports[:2]).start()
    first.wait_ready()
    join = ["-join", f"http://localhost:{first.http}"]
    second, replica = (field.node("b", ports[2:4], join).start(),
                       field.node("r", ports[4:], join + ["-raft-non-voter"]).start())
    second.wait_ready()
    replica.wait_ready()
    first.execute("CREATE TABLE t (x)")
    leader = wait_leader([first, second])
    want(leader is first, "leadership moved without a reason")
    for _ in range(5):
        second.execute("INSERT INTO t VALUES(1)")
    phases = check_phases(second.ask("POST", "/db/execute?phases", ["INSERT INTO t VALUES(2)"]),
                          ["queue", "sync", "quorum", "apply", "forward", "total"])
    want(phases["queue"] + phases["quorum"] + phases["apply"] <= phases["forward"] <= phases["total"], f"{phases}")
    check_nodes(second, ["a", "b"], ["r"])
    heard = lambda c: isinstance(c, str) and bool(DURATION.match(c))
    for node, state, voter, contact in ((first, "Leader", True, lambda c: c == 0), (second, "Follower", True, heard),
                                        (replica, "Follower", False, heard)):
        tree = check_status(node, state, voter, contact)
        want(tree["store"]["leader"] == {"addr": f"localhost:{first.raft}", "node_id": "a"}, f"leader: {tree['store']['leader']}")
        want([(n["id"], n["suffrage"]) for n in tree["store"]["nodes"]] == [("a", "voter"), ("b", "voter"), ("r", "nonvoter")], "nodes")
        want(tree["store"]["raft"]["num_peers"] == (1 if voter else 2), f"num_peers of {node.name}")
        pools = tree["http"]["cluster"].get("conn_pool_stats", {})
        want(all(list(p) == ["idle", "open_connections", "max_open_connections"] for p in pools.values()), f"pools: {pools}")
    counted = {n.name: check_vars(n) for n in (first, second, replica)}
    want(counted["a"]["store"]["num_joins"] == 2 and counted["a"]["cluster"]["num_join_req"] >= 2, "joins")
    want(counted["a"]["cluster"]["num_execute_req"] == 6 == counted["b"]["proxy"]["remote_executions"], "forwarded writes")
    want(counted["a"]["mux"]["num_connections_handled"] >= 2, "connections between nodes")
    want(counted["a"]["cluster"]["num_get_node_api_req"] >= 1, "questions about nodes")
    want(counted["r"]["db"]["executions"] == 7, "a replica applies every write")
    values = {n.name: check_metrics(n) for n in (first, second, replica)}
    want(values["a"]['rqlited_raft_role{role="leader"}'] == 1 and values["b"]['rqlited_raft_role{role="follower"}'] == 1, "roles")
    want([values[n]["rqlited_raft_voter"] for n in "abr"] == [1, 1, 0], "voters")
    want(all(v['rqlited_members{suffrage="voter"}'] == 2 and v['rqlited_members{suffrage="nonvoter"}'] == 1 for v in values.values()),
         "members")
    want(values["a"]["rqlited_write_queue_seconds"] == 7 and values["b"]["rqlited_write_queue_seconds"] == 0, "writes on the leader")
    want(values["b"]["rqlited_forward_seconds"] == 6 and values["b"]["rqlited_write_total_seconds"] == 6, "writes through a follower")
    unreachable(first, second, replica)


def unreachable(first, second, replica):
    second.kill()
    member = first.ask("GET", "/nodes?timeout=2s&retries=1", timeout_s=10).json()["b"]
    want(list(member) == ["id", "addr", "version", "voter", "reachable", "leader", "error"], f"unreachable: {member}")
    want((member["version"], member["reachable"], member["leader"]) == ("", False, False) and member["error"], f"{member}")
    for node in (first, replica):
        node.terminate()
        want(node.process.returncode == 0, f"node {node.name} ended with {node.process.returncode}\n{node.tail()}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rqlited")
    given = parser.parse_args()
    with Field(given.rqlited) as field:
        alone(field)
        print("one node: status, counters, metrics and phases are as promised", flush=True)
        together(field)
        print("leader, follower and replica: as promised")


if __name__ == "__main__":
    main()
