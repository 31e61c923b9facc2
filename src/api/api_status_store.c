/* api_status_store — the member `store` of /status (http-api.md §15.1): the node as it is, or how it was
 * after the last batch where only a lane knows. What this program does not have is absent. */
#include "api_tree.h"

#include <stdio.h>

static const char *role_text(const struct node_status *s)
{
    if (s->shutdown)
        return "Shutdown";
    switch (s->role) {
    case RAFT_LEADER:
        return "Leader";
    case RAFT_FOLLOWER:
        return "Follower";
    case RAFT_PRECANDIDATE:
    case RAFT_CANDIDATE:
        break;
    }
    return "Candidate";
}

/* ---- raft --------------------------------------------------------------------------------------------------- */

static void raft_config(cJSON *raft, const struct api *a, const struct node_status *s)
{
    const struct api_facts *f = &a->facts;
    cJSON *config = api_tree_object(raft, "config");
    api_tree_i64(config, "CommitTimeout", f->commit_timeout_ns);
    api_tree_i64(config, "ElectionTimeout", f->election_timeout_ns);
    api_tree_i64(config, "HeartbeatTimeout", f->heartbeat_timeout_ns);
    api_tree_i64(config, "LeaderLeaseTimeout", f->lease_timeout_ns);
    api_tree_text(config, "LocalID", s->name);
    api_tree_text(config, "LogLevel", f->log_level);
    api_tree_u64(config, "MaxAppendEntries", s->append_count_max);
    api_tree_bool(config, "NoSnapshotRestoreOnStart", false);
    api_tree_bool(config, "ShutdownOnRemove", f->remove_shutdown);
    api_tree_i64(config, "SnapshotInterval", f->snapshot_interval_ns);
    api_tree_u64(config, "SnapshotThreshold", f->snapshot_threshold);
}

/* As rqlite writes a configuration: [{Suffrage:Voter ID:1 Address:localhost:4002}]. */
static void raft_configuration(cJSON *raft, const struct node_status *s)
{
    struct buf text;
    buf_init(&text, 64 * 1024);
    buf_append_byte(&text, '[');
    for (uint32_t i = 0; i < s->member_count; i++)
        buf_printf(&text, "%s{Suffrage:%s ID:%s Address:%s}", i > 0 ? " " : "",
                   s->members[i].voter ? "Voter" : "Nonvoter", s->members[i].name,
                   s->members[i].addr);
    buf_append(&text, "]", 2); /* with the NUL */
    if (!text.failed)
        api_tree_text(raft, "latest_configuration", (const char *)buf_slice(&text).data);
    buf_fini(&text);
}

static void raft_versions(cJSON *raft)
{
    api_tree_u64(raft, "protocol_version", WIRE_PROTOCOL_MAX); /* between nodes */
    api_tree_u64(raft, "protocol_version_max", WIRE_PROTOCOL_MAX);
    api_tree_u64(raft, "protocol_version_min", WIRE_PROTOCOL_MIN);
    api_tree_u64(raft, "snapshot_version_max", 0); /* there are none yet */
    api_tree_u64(raft, "snapshot_version_min", 0);
}

static uint32_t other_voters(const struct node_status *s)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < s->member_count; i++)
        count += s->members[i].voter && !s->members[i].self;
    return count;
}

static void raft_contact(cJSON *raft, int64_t age_ns)
{
    if (age_ns == 0)
        api_tree_u64(raft, "last_contact", 0);
    else if (age_ns < 0)
        api_tree_text(raft, "last_contact", "never");
    else
        api_tree_duration(raft, "last_contact", age_ns);
}

/* One image, named like rqlite's snapshots: term and index. */
static void status_snapshots(cJSON *out, const struct api *a, const struct node_status *s)
{
    char dir[4096 + 16];
    (void)snprintf(dir, sizeof dir, "%s/image", a->facts.dir);
    api_tree_text(out, "dir", dir);
    api_tree_u64(out, "dir_size", /* its pages, if it was of now */
                 s->snapshot_index ? s->db.page_count * (uint64_t)s->db_facts.page_size : 0);
    cJSON *snapshots = cJSON_AddArrayToObject(out, "snapshots");
    char id[64];
    if (s->snapshot_index == 0)
        return;
    (void)snprintf(id, sizeof id, "%llu-%llu", (unsigned long long)s->snapshot_term,
                   (unsigned long long)s->snapshot_index);
    cJSON_AddItemToArray(snapshots, cJSON_CreateString(id));
}

/* Of rqlite's log store; the log here has no pages to count. What there is: log_size, log_syncs. */
static void raft_bolt(cJSON *raft)
{
    static const char *const zeros[] = {"FreePageN",     "PendingPageN", "FreeAlloc",
                                        "FreelistInuse", "TxN",          "OpenTxN"};
    cJSON *bolt = api_tree_object(raft, "bolt"); /* record-like: rqlite's order */
    api_tree_object(bolt, "TxStats");
    for (size_t i = 0; i < sizeof zeros / sizeof zeros[0]; i++)
        api_tree_u64(bolt, zeros[i], 0);
}

static void status_raft(cJSON *store, const struct api *a, const struct node_status *s)
{
    cJSON *raft = api_tree_object(store, "raft");
    api_tree_u64(raft, "applied_index", s->applied_index);
    raft_bolt(raft);
    api_tree_u64(raft, "commit_index", s->commit_index);
    raft_config(raft, a, s);
    api_tree_u64(raft, "fsm_pending",
                 s->commit_index > s->applied_index ? s->commit_index - s->applied_index : 0);
    raft_contact(raft, s->leader_contact_ns);
    api_tree_u64(raft, "last_log_index", s->last_log_index);
    api_tree_u64(raft, "last_log_term", s->last_log_term);
    api_tree_u64(raft, "last_snapshot_index", s->snapshot_index);
    api_tree_u64(raft, "last_snapshot_term", s->snapshot_term);
    raft_configuration(raft, s);
    api_tree_u64(raft, "latest_configuration_index", s->conf_index);
    api_tree_u64(raft, "log_first_index", s->log.first_index);
    api_tree_u64(raft, "log_size", s->log.disk_bytes);
    api_tree_bytes(raft, "log_size_friendly", s->log.disk_bytes);
    api_tree_u64(raft, "log_syncs", s->log.sync_count);
    api_tree_u64(raft, "num_peers", other_voters(s));
    raft_versions(raft);
    api_tree_text(raft, "state", role_text(s));
    api_tree_u64(raft, "term", s->term);
    cJSON *transport = api_tree_object(raft, "transport");
    api_tree_u64(transport, "command_commit_index", s->commit_index);
    api_tree_bool(transport, "compress_snap", a->facts.compress_images);
    api_tree_u64(transport, "leader_commit_index", s->commit_index);
    api_tree_bool(raft, "voter", s->voter);
}

/* ---- SQLite ------------------------------------------------------------------------------------------------- */

static void pool_side(cJSON *pools, const char *side, const uint32_t max_open_busy[3],
                      uint64_t waits, uint64_t wait_ns)
{
    const uint32_t open = max_open_busy[1], busy = max_open_busy[2];
    cJSON *pool = api_tree_object(pools, side); /* record-like: rqlite's order */
    api_tree_u64(pool, "max_open_connections", max_open_busy[0]);
    api_tree_u64(pool, "open_connections", open);
    api_tree_u64(pool, "in_use", busy);
    api_tree_u64(pool, "idle", open > busy ? open - busy : 0);
    api_tree_u64(pool, "wait_count", waits);
    api_tree_u64(pool, "wait_duration", wait_ns);
    api_tree_u64(pool, "max_idle_closed", 0); /* connections stay open */
    api_tree_u64(pool, "max_idle_time_closed", 0);
    api_tree_u64(pool, "max_lifetime_closed", 0);
}

static void sqlite_pools(cJSON *sqlite, const struct api *a, const struct node_status *s)
{
    struct node_counters c;
    node_counters_get(a->node, &c);
    const uint32_t ro[] = {(uint32_t)a->facts.db_reader_max, s->readers.open, s->readers.busy};
    const uint32_t rw[] = {1, 1, s->writer_busy};
    cJSON *pools = api_tree_object(sqlite, "conn_pool_stats");
    pool_side(pools, "ro", ro, c.reader_waits, c.reader_wait_ns);
    pool_side(pools, "rw", rw, 0, 0);
}

static void sqlite_memory(cJSON *sqlite, const struct node_status *s)
{
    cJSON *memory = api_tree_object(sqlite, "mem_stats");
    api_tree_i64(memory, "cache_size", s->db_facts.cache_size);
    api_tree_u64(memory, "freelist_count", s->db.freelist_count);
    api_tree_i64(memory, "hard_heap_limit", s->db_facts.hard_heap_limit);
    api_tree_i64(memory, "max_page_count", s->db_facts.max_page_count);
    api_tree_u64(memory, "page_count", s->db.page_count);
    api_tree_i64(memory, "page_size", s->db_facts.page_size);
    api_tree_i64(memory, "soft_heap_limit", s->db_facts.soft_heap_limit);
}

static void pragma_side(cJSON *pragmas, const char *side, const struct db_pragmas *p,
                        const char *foreign_keys)
{
    cJSON *out = api_tree_object(pragmas, side);
    api_tree_text(out, "busy_timeout", p->busy_timeout);
    api_tree_text(out, "foreign_keys", foreign_keys);
    api_tree_text(out, "journal_mode", p->journal_mode);
    api_tree_text(out, "synchronous", p->synchronous);
    api_tree_text(out, "wal_autocheckpoint", p->wal_autocheckpoint);
}

static void sqlite_options(cJSON *sqlite)
{
    const char *option;
    cJSON *options = cJSON_AddArrayToObject(sqlite, "compile_options");
    for (uint32_t i = 0; options && (option = db_library_option(i)) != NULL; i++)
        cJSON_AddItemToArray(options, cJSON_CreateString(option));
}

static void sqlite_dsn(cJSON *sqlite, const char *key, const struct api_facts *f, const char *mode)
{
    char text[4096 + 64] = ":memory:";
    if (f->db_path)
        (void)snprintf(text, sizeof text, "file:%s?mode=%s&_fk=%s", f->db_path, mode,
                       f->foreign_keys ? "true" : "false");
    api_tree_text(sqlite, key, text);
}

static void status_sqlite(cJSON *store, const struct api *a, const struct node_status *s)
{
    const struct api_facts *f = &a->facts;
    const uint64_t bytes = s->db.page_count * (uint64_t)s->db_facts.page_size;
    cJSON *sqlite = api_tree_object(store, "sqlite3");
    sqlite_options(sqlite);
    sqlite_pools(sqlite, a, s);
    api_tree_u64(sqlite, "db_size", bytes);
    api_tree_bytes(sqlite, "db_size_friendly", bytes);
    cJSON_AddArrayToObject(sqlite, "extensions");
    api_tree_wall(sqlite, "last_modified", s->applied_wall_ns);
    sqlite_memory(sqlite, s);
    api_tree_text(sqlite, "path", f->db_path ? f->db_path : ":memory:");
    cJSON *pragmas = api_tree_object(sqlite, "pragmas");
    pragma_side(pragmas, "ro", &s->db_facts.ro, s->db_facts.ro.foreign_keys);
    pragma_side(pragmas, "rw", &s->db_facts.rw, s->db.foreign_keys ? "1" : "0");
    sqlite_dsn(sqlite, "ro_dsn", f, "ro");
    sqlite_dsn(sqlite, "rw_dsn", f, "rw");
    api_tree_u64(sqlite, "size", s->db.main_bytes);
    api_tree_u64(sqlite, "statements_cached", s->db.statements_cached);
    api_tree_u64(sqlite, "statements_prepared", s->db.statements_prepared);
    cJSON *transaction = api_tree_object(sqlite, "transaction");
    api_tree_bool(transaction, "ro", false); /* a transaction ends with its request */
    api_tree_bool(transaction, "rw", false);
    api_tree_text(sqlite, "version", f->sqlite_version);
    api_tree_u64(sqlite, "wal_size", s->db.wal_bytes);
}

/* ---- the rest of it ------------------------------------------------------------------------------------------- */

static void status_members(cJSON *store, const struct node_status *s)
{
    cJSON *nodes = cJSON_AddArrayToObject(store, "nodes");
    for (uint32_t i = 0; nodes && i < s->member_count; i++) {
        cJSON *node = cJSON_CreateObject(); /* record-like */
        api_tree_text(node, "id", s->members[i].name);
        api_tree_text(node, "addr", s->members[i].addr);
        api_tree_text(node, "suffrage", s->members[i].voter ? "voter" : "nonvoter");
        cJSON_AddItemToArray(nodes, node);
    }
}

static void status_digest(cJSON *store, const struct node_status *s)
{
    cJSON *digest = api_tree_object(store, "digest");
    api_tree_hex(digest, "digest", s->db.digest);
    api_tree_u64(digest, "index", s->db.applied_index);
}

static void status_leader(cJSON *store, const struct node_status *s)
{
    cJSON *leader = api_tree_object(store, "leader");
    api_tree_text(leader, "addr", s->leader_addr);
    api_tree_text(leader, "node_id", s->leader_name);
}

static void status_observer(cJSON *store, const struct api *a)
{
    struct node_counters c;
    node_counters_get(a->node, &c);
    cJSON *observer = api_tree_object(store, "observer");
    api_tree_u64(observer, "dropped", 0);
    api_tree_u64(observer, "observed", c.leader_changes + c.members_suspected);
}

/* What the data directory takes, as far as this node counts: the log, and the database if it is there. */
static uint64_t dir_bytes(const struct api *a, const struct node_status *s)
{
    return s->log.disk_bytes + (a->facts.on_disk ? s->db.main_bytes + s->db.wal_bytes : 0);
}

/* The same on all nodes, but for the interval, which is the leader's that counts. */
static void status_auto_vacuum(cJSON *store, const struct api *a, const struct node_status *s)
{
    const struct db_upkeep *u = &s->db.upkeep;
    const int64_t base = u->vacuum.wall_ns ? u->vacuum.wall_ns : u->first_wall_ns;
    if (a->facts.auto_vacuum_ns <= 0)
        return;
    cJSON *out = api_tree_object(store, "auto_vacuum");
    if (u->vacuum.wall_ns)
        api_tree_wall(out, "last_vacuum", u->vacuum.wall_ns);
    api_tree_wall(out, "next_vacuum_after", base ? base + a->facts.auto_vacuum_ns : 0);
}

/* a … f of the keys, then the others: in the order in which they are shown. */
static void store_first(cJSON *store, const struct api *a, const struct node_status *s)
{
    const struct api_facts *f = &a->facts;
    api_tree_text(store, "addr", a->raft_addr);
    api_tree_duration(store, "apply_timeout", f->apply_timeout_ns);
    status_auto_vacuum(store, a, s);
    cJSON *cdc = api_tree_object(store, "cdc");
    api_tree_bool(cdc, "enabled", false);
    api_tree_bool(cdc, "registered", false);
    api_tree_hex(store, "cluster_id", s->cluster_id);
    api_tree_duration(store, "commit_timeout", f->commit_timeout_ns);
    api_tree_u64(store, "db_applied_index", s->applied_index);
    cJSON *db_conf = api_tree_object(store, "db_conf");
    api_tree_bool(db_conf, "fk_constraints", f->foreign_keys);
    api_tree_bool(db_conf, "memory", !f->on_disk);
    status_digest(store, s);
    api_tree_text(store, "dir", f->dir);
    api_tree_u64(store, "dir_size", dir_bytes(a, s));
    api_tree_bytes(store, "dir_size_friendly", dir_bytes(a, s));
    api_tree_duration(store, "election_timeout", f->election_timeout_ns);
    api_tree_u64(store, "fsm_index", s->applied_index);
    api_tree_u64(store, "fsm_term", s->db.applied_term);
    api_tree_wall(store, "fsm_update_time", s->applied_wall_ns);
}

/* Log entries are not compressed here. */
static void status_marshaler(cJSON *store)
{
    cJSON *marshaler = api_tree_object(store, "request_marshaler");
    api_tree_u64(marshaler, "compression_batch", 0);
    api_tree_u64(marshaler, "compression_size", 0);
    api_tree_bool(marshaler, "force_compression", false);
}

static void store_second(cJSON *store, const struct api *a, const struct node_status *s)
{
    const struct api_facts *f = &a->facts;
    api_tree_duration(store, "heartbeat_timeout", f->heartbeat_timeout_ns);
    api_status_image(store, a, s);
    status_leader(store, s);
    api_tree_wall(store, "leader_appended_at_time", s->db.entry_wall_ns);
    api_tree_duration(store, "leader_lease_timeout", f->lease_timeout_ns);
    api_tree_bool(store, "no_freelist_sync", f->no_freelist_sync);
    api_tree_text(store, "node_id", s->name);
    status_members(store, s);
    status_observer(store, a);
    api_tree_bool(store, "open", true);
    api_tree_u64(store, "pending_reads", s->pending_reads);
    api_tree_u64(store, "pending_writes", s->pending_writes);
    status_raft(store, a, s);
    api_tree_bool(store, "ready", s->ready);
    api_tree_duration(store, "reap_read_only_timeout", f->reap_read_only_timeout_ns);
    api_tree_duration(store, "reap_timeout", f->reap_timeout_ns);
    status_marshaler(store);
    cJSON_AddNullToObject(api_tree_object(store, "snapshot_cas"), "owner");
    api_tree_duration(store, "snapshot_interval", f->snapshot_interval_ns);
    status_snapshots(api_tree_object(store, "snapshot_store"), a, s);
    api_tree_u64(store, "snapshot_threshold", f->snapshot_threshold);
    status_sqlite(store, a, s);
    api_tree_hex(store, "store_id", s->store_id);
    api_tree_u64(store, "strong_read_term", s->strong_read_term);
    api_tree_u64(store, "trailing_logs", node_snapshot_trailing(f->snapshot_threshold));
}

void api_status_store(cJSON *root, const struct api *a, const struct node_status *s)
{
    cJSON *store = api_tree_object(root, "store");
    if (!s->open) {
        api_tree_bool(store, "open", false);
        return;
    }
    store_first(store, a, s);
    store_second(store, a, s);
}
