/* api_status — GET /status: facts about this node as one JSON document (http-api.md §15.1). The tree is
 * cJSON's, with integers kept as their exact text; keys are added in ascending order, which is the order
 * they are shown in. The writer is ours, for the escapes and the indentation of §5. */
#include "api_int.h"

#include <cjson/cJSON.h>

static const char unknown[] = "unknown";

/* ---- building: failures of memory show as a tree without the member ------------------------------------- */

static cJSON *put_object(cJSON *parent, const char *key)
{
    return cJSON_AddObjectToObject(parent, key);
}
static void put_text(cJSON *parent, const char *key, const char *value)
{
    cJSON_AddStringToObject(parent, key, value ? value : unknown);
}
static void put_bool(cJSON *parent, const char *key, bool value)
{
    cJSON_AddBoolToObject(parent, key, value);
}
static void put_u64(cJSON *parent, const char *key, uint64_t value)
{
    struct buf text;
    buf_init(&text, 64);
    buf_append_u64(&text, value);
    buf_append_byte(&text, 0);
    cJSON_AddRawToObject(parent, key, text.failed ? "0" : (const char *)buf_slice(&text).data);
    buf_fini(&text);
}
static void put_i64(cJSON *parent, const char *key, int64_t value)
{
    struct buf text;
    buf_init(&text, 64);
    buf_append_i64(&text, value);
    buf_append_byte(&text, 0);
    cJSON_AddRawToObject(parent, key, text.failed ? "0" : (const char *)buf_slice(&text).data);
    buf_fini(&text);
}
static void put_duration(cJSON *parent, const char *key, int64_t ns)
{
    char text[64];
    text[http_duration_text(ns, text)] = '\0';
    put_text(parent, key, text);
}
static void put_wall(cJSON *parent, const char *key, int64_t wall_ns)
{
    char text[API_TIME_TEXT_MAX + 1];
    text[api_time_wall_text(wall_ns, text)] = '\0';
    put_text(parent, key, text);
}
/* "4.1 kB": decimal units, one digit below ten. */
static void put_friendly(cJSON *parent, const char *key, uint64_t bytes)
{
    static const char *const units[] = {"B", "kB", "MB", "GB", "TB", "PB"};
    struct err_text text;
    uint64_t tenths = bytes * 10;
    size_t unit = 0;
    while (tenths >= 10000 && unit + 1 < sizeof units / sizeof units[0]) {
        tenths = (tenths + 500) / 1000;
        unit++;
    }
    if (unit > 0 && tenths < 100)
        err_set(&text, 0, "%u.%u %s", (unsigned)(tenths / 10), (unsigned)(tenths % 10),
                units[unit]);
    else
        err_set(&text, 0, "%llu %s", (unsigned long long)((tenths + 5) / 10), units[unit]);
    put_text(parent, key, text.text);
}

/* ---- the store ------------------------------------------------------------------------------------------------- */

static const char *role_text(enum raft_role role)
{
    switch (role) {
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

static uint32_t other_voters(const struct node_status *s)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < s->member_count; i++)
        count += s->members[i].voter && !s->members[i].self;
    return count;
}

static void status_raft(cJSON *store, const struct node_status *s)
{
    cJSON *raft = put_object(store, "raft");
    put_u64(raft, "applied_index", s->applied_index);
    put_u64(raft, "commit_index", s->commit_index);
    put_u64(raft, "fsm_pending",
            s->commit_index > s->applied_index ? s->commit_index - s->applied_index : 0);
    if (s->leader_contact_ns == 0)
        put_u64(raft, "last_contact", 0);
    else if (s->leader_contact_ns < 0)
        put_text(raft, "last_contact", "never");
    else
        put_duration(raft, "last_contact", s->leader_contact_ns);
    put_u64(raft, "last_log_index", s->last_log_index);
    put_u64(raft, "last_log_term", s->last_log_term);
    put_u64(raft, "last_snapshot_index", 0);
    put_u64(raft, "last_snapshot_term", 0);
    put_u64(raft, "latest_configuration_index", s->conf_index);
    put_u64(raft, "log_first_index", s->log.first_index);
    put_u64(raft, "log_size", s->log.disk_bytes);
    put_friendly(raft, "log_size_friendly", s->log.disk_bytes);
    put_u64(raft, "log_syncs", s->log.sync_count);
    put_u64(raft, "num_peers", other_voters(s));
    put_text(raft, "state", role_text(s->role));
    put_u64(raft, "term", s->term);
    put_bool(raft, "voter", s->voter);
}

static void status_pragmas(cJSON *sqlite, const char *side, bool foreign_keys)
{
    cJSON *pragmas = put_object(sqlite, side);
    put_text(pragmas, "busy_timeout", "5000");
    put_text(pragmas, "foreign_keys", foreign_keys ? "1" : "0");
    put_text(pragmas, "journal_mode", "wal");
    put_text(pragmas, "synchronous", "0");
    put_text(pragmas, "wal_autocheckpoint", "0");
}

static void status_sqlite(cJSON *store, const struct api *a, const struct node_status *s)
{
    const struct api_facts *f = &a->facts;
    cJSON *sqlite = put_object(store, "sqlite3");
    cJSON *ro = put_object(put_object(sqlite, "conn_pool_stats"), "ro");
    put_i64(ro, "max_open_connections", f->db_reader_max);
    put_u64(sqlite, "db_size", s->db.main_bytes);
    put_friendly(sqlite, "db_size_friendly", s->db.main_bytes);
    put_text(sqlite, "path", f->db_path ? f->db_path : ":memory:");
    cJSON *pragmas = put_object(sqlite, "pragmas");
    status_pragmas(pragmas, "ro", f->foreign_keys);
    status_pragmas(pragmas, "rw", f->foreign_keys);
    put_u64(sqlite, "size", s->db.main_bytes);
    put_u64(sqlite, "statements_cached", s->db.statements_cached);
    put_u64(sqlite, "statements_prepared", s->db.statements_prepared);
    cJSON *transaction = put_object(sqlite, "transaction");
    put_bool(transaction, "ro", false);
    put_bool(transaction, "rw", false);
    put_text(sqlite, "version", f->sqlite_version);
    if (f->on_disk)
        put_u64(sqlite, "wal_size", s->db.wal_bytes);
}

static void status_members(cJSON *store, const struct node_status *s)
{
    cJSON *nodes = cJSON_AddArrayToObject(store, "nodes");
    for (uint32_t i = 0; nodes && i < s->member_count; i++) {
        cJSON *node = cJSON_CreateObject();
        put_text(node, "id", s->members[i].name);
        put_text(node, "addr", s->members[i].addr);
        put_text(node, "suffrage", s->members[i].voter ? "voter" : "nonvoter");
        cJSON_AddItemToArray(nodes, node);
    }
}

static void status_self(cJSON *store, const struct node_status *s)
{
    for (uint32_t i = 0; i < s->member_count; i++)
        if (s->members[i].self)
            put_text(store, "node_id", s->members[i].name);
}

static void put_hex(cJSON *parent, const char *key, uint64_t value)
{
    struct err_text text;
    err_set(&text, 0, "%016llx", (unsigned long long)value);
    put_text(parent, key, text.text);
}

static void status_store(cJSON *root, const struct api *a)
{
    const struct api_facts *f = &a->facts;
    struct node_status s = {.open = false};
    cJSON *store = put_object(root, "store");
    if (a->node)
        node_status_get(a->node, &s);
    if (!s.open) {
        put_bool(store, "open", false);
        return;
    }
    put_text(store, "addr", a->raft_addr);
    put_duration(store, "apply_timeout", f->apply_timeout_ns);
    put_hex(store, "cluster_id", s.cluster_id);
    put_duration(store, "commit_timeout", f->commit_timeout_ns);
    put_u64(store, "db_applied_index", s.applied_index);
    cJSON *db_conf = put_object(store, "db_conf");
    put_bool(db_conf, "fk_constraints", f->foreign_keys);
    put_bool(db_conf, "memory", !f->on_disk);
    cJSON *digest = put_object(store, "digest");
    put_hex(digest, "digest", s.db.digest);
    put_u64(digest, "index", s.db.applied_index);
    put_text(store, "dir", f->dir);
    put_duration(store, "election_timeout", f->election_timeout_ns);
    put_u64(store, "fsm_index", s.applied_index);
    put_u64(store, "fsm_term", s.db.applied_term);
    put_duration(store, "heartbeat_timeout", f->heartbeat_timeout_ns);
    cJSON *leader = put_object(store, "leader");
    put_text(leader, "addr", s.leader_addr);
    put_text(leader, "node_id", s.leader_name);
    put_duration(store, "leader_lease_timeout", f->lease_timeout_ns);
    put_bool(store, "no_freelist_sync", false);
    status_self(store, &s);
    status_members(store, &s);
    put_bool(store, "open", true);
    put_u64(store, "pending_reads", s.pending_reads);
    put_u64(store, "pending_writes", s.pending_writes);
    status_raft(store, &s);
    put_bool(store, "ready", s.ready);
    put_duration(store, "snapshot_interval", f->snapshot_interval_ns);
    cJSON_AddArrayToObject(put_object(store, "snapshot_store"), "snapshots");
    put_u64(store, "snapshot_threshold", f->snapshot_threshold);
    status_sqlite(store, a, &s);
    put_hex(store, "store_id", s.store_id);
}

/* ---- the rest ---------------------------------------------------------------------------------------------------- */

static void status_http(cJSON *root, const struct api *a)
{
    cJSON *http = put_object(root, "http");
    if (a->allow_origin && a->allow_origin[0] != '\0')
        put_text(http, "allow_origin", a->allow_origin);
    put_text(http, "auth", a->guard ? "enabled" : "disabled");
    put_text(http, "bind_addr", a->listener ? env_listener_addr(a->listener) : a->bind_addr);
    cJSON *cluster = put_object(http, "cluster");
    put_text(cluster, "local_node_addr", a->raft_addr);
    put_text(cluster, "timeout", "30s");
    put_u64(http, "connections", a->conn_count);
    cJSON *queue = put_object(put_object(http, "queue"), "_default");
    struct api_queue_view view;
    api_queue_look(a, &view);
    put_u64(queue, "batch_size", view.config.batch_size);
    put_u64(queue, "max_size", view.config.capacity);
    put_u64(queue, "sequence_number", view.finished);
    put_duration(queue, "timeout", (int64_t)view.config.timeout_ns);
    put_text(put_object(http, "tls"), "enabled", "false");
}

static void status_machine(cJSON *root, const struct api *a)
{
    const struct api_facts *f = &a->facts;
    cJSON *node = put_object(root, "node");
    put_wall(node, "current_time", env_wall_ns(a->env));
    put_wall(node, "start_time", a->start_wall_ns);
    put_duration(node, "uptime", (int64_t)(env_now_ns(a->env) - a->start_ns));
    cJSON *os = put_object(root, "os");
    put_text(os, "executable", f->executable);
    put_text(os, "hostname", f->hostname);
    put_u64(os, "page_size", f->page_size);
    put_u64(os, "pid", f->pid);
    put_u64(os, "ppid", f->ppid);
    cJSON *runtime = put_object(root, "runtime");
    put_text(runtime, "GOARCH", f->arch);
    put_u64(runtime, "GOMAXPROCS", f->cpu_count);
    put_text(runtime, "GOOS", f->os);
    put_bool(runtime, "kubernetes_hint", f->kubernetes);
    put_u64(runtime, "num_cpu", f->cpu_count);
    put_u64(runtime, "num_goroutine", 0);
    put_text(runtime, "version", f->compiler);
}

static cJSON *status_tree(const struct api *a)
{
    const struct api_facts *f = &a->facts;
    cJSON *root = cJSON_CreateObject();
    if (!root)
        return NULL;
    cJSON *build = put_object(root, "build");
    put_text(build, "build_time", f->build_time);
    put_text(build, "commit", f->commit);
    put_text(build, "compiler_command", f->compiler);
    put_text(build, "compiler_toolchain", f->compiler);
    put_text(build, "version", a->version);
    cJSON *cluster = put_object(root, "cluster");
    put_text(cluster, "addr", a->raft_addr);
    put_text(cluster, "api_addr", a->adv_addr);
    put_text(cluster, "https", "false");
    cJSON *extensions = put_object(root, "extensions");
    put_text(extensions, "dir", "");
    cJSON_AddArrayToObject(extensions, "names");
    status_http(root, a);
    status_machine(root, a);
    status_store(root, a);
    return root;
}

/* ---- writing ------------------------------------------------------------------------------------------------------ */

static void tree_write(struct json_writer *w, const cJSON *item)
{
    const cJSON *child;
    if (cJSON_IsObject(item)) {
        json_object_begin(w);
        cJSON_ArrayForEach(child, item)
        {
            json_key_str(w, child->string);
            tree_write(w, child);
        }
        json_object_end(w);
    } else if (cJSON_IsArray(item)) {
        json_array_begin(w);
        cJSON_ArrayForEach(child, item) tree_write(w, child);
        json_array_end(w);
    } else if (cJSON_IsString(item)) {
        json_string_str(w, item->valuestring);
    } else if (cJSON_IsRaw(item)) {
        json_raw(w, slice_str(item->valuestring));
    } else if (cJSON_IsBool(item)) {
        json_bool(w, cJSON_IsTrue(item));
    } else {
        json_null(w);
    }
}

/* a.b.c from the top. NULL: no such member. Something that is no object ends the descent (§15.1). */
static const cJSON *tree_find(const cJSON *item, struct slice key)
{
    while (key.len > 0 && cJSON_IsObject(item)) {
        size_t len = 0;
        while (len < key.len && key.data[len] != '.')
            len++;
        const struct slice part = slice_of(key.data, len);
        const cJSON *child, *found = NULL;
        cJSON_ArrayForEach(child, item)
        {
            if (slice_equal_str(part, child->string))
                found = child;
        }
        if (!found)
            return NULL;
        item = found;
        key = len < key.len ? slice_of(key.data + len + 1, key.len - len - 1) : slice_of(NULL, 0);
    }
    return item;
}

void api_status(struct api_request *r)
{
    static const cJSON_Hooks hooks = {.malloc_fn = mem_alloc, .free_fn = mem_free};
    cJSON_Hooks given = hooks;
    cJSON_InitHooks(&given);
    cJSON *root = status_tree(r->conn->api);
    if (!root) {
        api_reply_text(r, 503, err_text_of(ERR_NOMEM));
        return;
    }
    struct buf text;
    struct json_writer w;
    const bool pretty = api_params_has(&r->params, API_FLAG_PRETTY) && !r->params.has_key;
    const cJSON *part = r->params.has_key ? tree_find(root, r->params.key) : root;
    buf_init(&text, 4 * 1024 * 1024);
    json_writer_init(&w, &text, pretty, 0);
    if (part)
        tree_write(&w, part);
    else
        buf_append_str(&text, "{}");
    api_reply_buf(r, API_TYPE_JSON, &text);
    buf_fini(&text);
    cJSON_Delete(root);
}
