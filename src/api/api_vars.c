/* api_vars — GET /debug/vars: counters (http-api.md §15.2, §15.3). Every map and key that rqlite has is
 * there from the start; those with nothing to count here stay 0. */
#include "api_int.h"

/* Maps in ascending order; keys of each in ascending order, separated by blanks. */
static const struct {
    const char *name, *keys;
} map_table[] = {
    {"cdc.service",
     "batcher_events_write batcher_reads batcher_write_ignored batcher_writes"
     " dropped_failed_to_send fifo_enqueue_ignored fifo_size hwm_ignored num_bytes_tx"
     " num_events_tx_failed num_events_tx_ok retries snapshot_sync"},
    {"cluster", "num_backup_req num_broadcast_hwm_req num_client_execute_retries"
                " num_client_force_new_conn num_client_load_retries num_client_query_retries"
                " num_client_read_timeouts num_client_request_retries num_client_retries"
                " num_client_write_timeouts num_conn_rejected num_execute_req"
                " num_get_node_api_req num_get_node_api_req_local num_get_node_api_req_retries"
                " num_get_node_api_resp num_hwm_update_dropped num_join_req num_load_req"
                " num_notify_req num_query_req num_remove_node_req num_request_req"
                " num_stepdown_req"},
    {"cmdline", NULL}, /* an array: see below */
    {"db", "backup_sleeps backup_step_dones backup_step_errors checkpoint_busy_errors"
           " checkpoint_duration_ms checkpoint_errors checkpoint_invariant_errors"
           " checkpoint_partial checkpoint_total checkpoint_wal_truncated checkpointed_moves"
           " checkpoints commit_hooks compacted_wal_size create_compacted_wal_duration_ms"
           " dropped_cdc_events execute_transactions execution_errors executions"
           " executions_force_queries open_duration_ms precompact_wal_size preupdates"
           " preupdates_callback_errors preupdates_errors queries query_errors"
           " query_transactions request_transactions requests update_hooks"
           " update_hooks_callback_errors update_hooks_errors"},
    {"db.wal", "compact_frames_input compact_frames_output compact_frames_ratio"
               " compact_scan_duration_ms compact_scan_errors compact_write_duration_ms"},
    {"downloader", "download_bytes num_downloads_fail num_downloads_ok"},
    {"http", "auth_fail auth_ok backups boot execute_stmts_rx executions leader_not_found"
             " loads num_readyz num_status queries query_stmts_rx queued_executions"
             " queued_executions_failed queued_executions_leadership_lost"
             " queued_executions_no_leader queued_executions_not_leader"
             " queued_executions_num_stmts_rx queued_executions_num_stmts_tx"
             " queued_executions_ok queued_executions_unknown_error queued_executions_wait"
             " queued_executions_wait_timeout request_stmts_rx requests sql_analyze"
             " tls_cert_fetched ui user_reaps user_snapshots"},
    {"memstats", "Alloc Sys"},
    {"mux", "num_connections_handled num_tls_cert_fetched num_unregistered_handlers"},
    {"proto", "num_compressed_bytes num_compressed_requests num_compression_misses"
              " num_precompressed_bytes num_requests num_uncompressed_bytes"
              " num_uncompressed_requests"},
    {"proxy", "remote_backups remote_executions remote_executions_failed remote_loads"
              " remote_queries remote_queries_failed remote_remove_node remote_requests"
              " remote_requests_failed remote_stepdowns"},
    {"queue", "num_flush num_timeout objects_rx objects_tx"},
    {"snapshot", "auto_reap_duration_ms persist_duration_ms persist_size read_timeout_total"
                 " reap_errors reap_execute_duration_ms reap_plan_recovered reap_snapshots"
                 " reap_total reap_wals sink_errors sink_full_crc32_duration_ms sink_full_total"
                 " sink_incremental_total upgrade_fail upgrade_ok"},
    {"snapshot.plan", "calc_crc32_duration_ms checkpoint_duration_ms"},
    {"sql.processor", "num_parser_panics num_rewritten_stmts"},
    {"store", "auto_optimize_duration auto_vacuum_duration failed_heartbeat_observed"
              " fsm_apply_duration_us leader_changes_dropped leader_changes_observed"
              " nodes_reaped_failed nodes_reaped_ok num_auto_optimizes"
              " num_auto_optimizes_failed num_auto_restores num_auto_restores_failed"
              " num_auto_restores_skipped num_auto_vacuums num_auto_vacuums_failed num_backups"
              " num_boots num_compressed_commands num_db_stats_errors num_ignored_joins"
              " num_joins num_loads num_provider_checks num_provider_provides"
              " num_provider_provides_fail num_recoveries num_removed_before_joins num_restores"
              " num_restores_failed num_restores_start num_restores_start_skipped"
              " num_snapshot_persists num_snapshot_persists_failed num_snapshots"
              " num_snapshots_failed num_snapshots_full num_snapshots_incremental"
              " num_uncompressed_commands num_user_snapshots num_user_snapshots_failed"
              " num_verify_leader num_verify_leader_failed num_wal_snapshots"
              " num_wal_snapshots_failed snapshot_crc32_create_duration"
              " snapshot_create_duration snapshot_persist_duration snapshot_sync_duration"
              " verify_leader_duration"},
    {"uploader", "last_upload_bytes num_sum_get_fail num_uploads_fail num_uploads_ok"
                 " num_uploads_skipped num_uploads_skipped_id total_upload_bytes"},
};

static const struct {
    const char *name;
    enum api_counter counter;
} counter_table[] = {
#define COUNTER_ROW(name, text) {text, API_COUNT_##name},
    API_COUNTER_TABLE(COUNTER_ROW)
#undef COUNTER_ROW
};

/* What is counted below the api: everything in struct vars is a uint64_t. */
struct vars {
    struct node_counters n;
    struct db_counters d;
    uint64_t queries, query_errors, query_transactions, execution_errors; /* sums over both */
    uint64_t vacuums_failed;
    uint64_t retries;
    uint64_t resident_bytes, mapped_bytes;
};

static const struct {
    const char *name;
    size_t offset;
    uint64_t unit; /* the value is divided by it */
} value_table[] = {
#define VALUE_ROW(name, field)                                                                     \
    {                                                                                              \
        name, offsetof(struct vars, field), 1                                                      \
    }
#define VALUE_MS(name, field)                                                                      \
    {                                                                                              \
        name, offsetof(struct vars, field), ENV_MS_NS                                              \
    }
    VALUE_ROW("cluster.num_backup_req", n.served_backups),
    VALUE_ROW("cluster.num_client_force_new_conn", n.last_attempts),
    VALUE_ROW("cluster.num_client_execute_retries", n.retried_executions),
    VALUE_ROW("cluster.num_client_load_retries", n.retried_loads),
    VALUE_ROW("cluster.num_client_query_retries", n.retried_queries),
    VALUE_ROW("cluster.num_client_request_retries", n.retried_requests),
    VALUE_ROW("cluster.num_client_retries", retries),
    VALUE_ROW("cluster.num_client_read_timeouts", n.asks_timed_out),
    VALUE_ROW("cluster.num_conn_rejected", n.peers.turned_away),
    VALUE_ROW("cluster.num_execute_req", n.served_executions),
    VALUE_ROW("cluster.num_get_node_api_req", n.served_metas),
    VALUE_ROW("cluster.num_get_node_api_req_local", n.self_metas),
    VALUE_ROW("cluster.num_get_node_api_resp", n.answered_metas),
    VALUE_ROW("cluster.num_join_req", n.served_joins),
    VALUE_ROW("cluster.num_load_req", n.served_loads),
    VALUE_ROW("cluster.num_notify_req", n.served_notifies),
    VALUE_ROW("cluster.num_query_req", n.served_queries),
    VALUE_ROW("cluster.num_remove_node_req", n.served_removals),
    VALUE_ROW("cluster.num_request_req", n.served_requests),
    VALUE_ROW("cluster.num_stepdown_req", n.served_stepdowns),
    VALUE_ROW("db.backup_step_dones", n.backups),
    VALUE_ROW("db.backup_step_errors", n.backups_failed),
    VALUE_ROW("db.checkpoint_busy_errors", d.checkpoint_busy),
    VALUE_MS("db.checkpoint_duration_ms", d.checkpoint_last_ns),
    VALUE_ROW("db.checkpoint_errors", d.checkpoint_errors),
    VALUE_ROW("db.checkpoint_partial", d.checkpoint_partial),
    VALUE_ROW("db.checkpoint_total", d.checkpoints),
    VALUE_ROW("db.checkpoints", d.checkpoints),
    VALUE_ROW("db.execute_transactions", d.executions.transactions),
    VALUE_ROW("db.execution_errors", execution_errors),
    VALUE_ROW("db.executions", d.executions.statements),
    VALUE_MS("db.open_duration_ms", d.open_ns),
    VALUE_ROW("db.queries", queries),
    VALUE_ROW("db.query_errors", query_errors),
    VALUE_ROW("db.query_transactions", query_transactions),
    VALUE_ROW("db.request_transactions", d.requests.transactions),
    VALUE_ROW("db.requests", d.requests.statements),
    VALUE_ROW("memstats.Alloc", resident_bytes),
    VALUE_ROW("memstats.Sys", mapped_bytes),
    VALUE_ROW("mux.num_connections_handled", n.peers.accepted),
    VALUE_ROW("mux.num_unregistered_handlers", n.peers.strangers),
    VALUE_ROW("proto.num_requests", n.commands_proposed),
    VALUE_ROW("proto.num_uncompressed_bytes", n.command_bytes_proposed),
    VALUE_ROW("proto.num_uncompressed_requests", n.commands_proposed),
    VALUE_ROW("proxy.remote_backups", n.forwarded_backups),
    VALUE_ROW("proxy.remote_executions", n.forwarded_executions),
    VALUE_ROW("proxy.remote_executions_failed", n.forward_executions_failed),
    VALUE_ROW("proxy.remote_loads", n.forwarded_loads),
    VALUE_ROW("proxy.remote_queries", n.forwarded_queries),
    VALUE_ROW("proxy.remote_queries_failed", n.forward_queries_failed),
    VALUE_ROW("proxy.remote_remove_node", n.forwarded_removals),
    VALUE_ROW("proxy.remote_requests", n.forwarded_requests),
    VALUE_ROW("proxy.remote_requests_failed", n.forward_requests_failed),
    VALUE_ROW("proxy.remote_stepdowns", n.forwarded_stepdowns),
    VALUE_ROW("store.failed_heartbeat_observed", n.members_suspected),
    {"store.fsm_apply_duration_us", offsetof(struct vars, n.apply_last_ns), 1000},
    VALUE_ROW("store.leader_changes_observed", n.leader_changes),
    VALUE_ROW("store.nodes_reaped_failed", n.members_not_reaped),
    VALUE_ROW("store.nodes_reaped_ok", n.members_reaped),
    VALUE_ROW("store.num_backups", n.backups),
    VALUE_ROW("store.num_ignored_joins", n.joins_ignored),
    VALUE_ROW("store.num_joins", n.joins),
    VALUE_ROW("store.num_loads", d.loads),
    VALUE_ROW("store.num_removed_before_joins", n.removed_before_joins),
    VALUE_ROW("store.num_auto_optimizes", d.optimizes.done),
    VALUE_ROW("store.num_auto_optimizes_failed", d.optimizes.failed),
    VALUE_ROW("store.num_auto_vacuums", d.vacuums.done),
    VALUE_ROW("store.num_auto_vacuums_failed", vacuums_failed),
    VALUE_MS("store.auto_optimize_duration", d.optimizes.last_ns),
    VALUE_MS("store.auto_vacuum_duration", d.vacuums.last_ns),
    VALUE_ROW("store.num_recoveries", n.recoveries),
    VALUE_ROW("store.num_restores", n.installs),
    VALUE_ROW("store.num_snapshots", n.snapshots),
    VALUE_ROW("store.num_snapshots_failed", n.snapshots_failed),
    VALUE_ROW("store.num_user_snapshots", n.snapshots_asked),
    VALUE_ROW("store.num_user_snapshots_failed", n.snapshots_asked_failed),
    VALUE_ROW("store.num_wal_snapshots", n.snapshots_wal),
    VALUE_ROW("store.num_uncompressed_commands", n.commands_proposed),
    VALUE_ROW("store.num_verify_leader", n.reads_confirmed),
    VALUE_ROW("store.num_verify_leader_failed", n.reads_unconfirmed),
    VALUE_MS("store.verify_leader_duration", n.confirm_last_ns),
#undef VALUE_ROW
#undef VALUE_MS
};

static void vars_look(const struct api *a, struct vars *v)
{
    struct node_status status;
    memset(v, 0, sizeof *v);
    if (a->facts.memory)
        a->facts.memory(&v->resident_bytes, &v->mapped_bytes);
    if (!a->node)
        return;
    node_status_get(a->node, &status);
    node_counters_get(a->node, &v->n);
    v->d = status.db.counters;
    v->queries = v->n.queries.statements + v->d.strong_queries.statements;
    v->query_errors = v->n.queries.errors + v->d.strong_queries.errors;
    v->query_transactions = v->n.queries.transactions + v->d.strong_queries.transactions;
    v->retries =
        v->n.retried_executions + v->n.retried_queries + v->n.retried_requests + v->n.retried_loads;
    v->vacuums_failed = v->d.vacuums.failed + v->n.vacuums_put_off;
    v->execution_errors = v->d.executions.errors + v->d.requests.errors;
}

/* What is counted of one map. */
struct vars_row {
    const char *key;
    size_t len;
    uint64_t value;
};
enum { VARS_ROWS_MAX = sizeof value_table / sizeof value_table[0] + API_COUNT_MAX_ };

/* Behind the map's name and a dot; NULL: of another map. */
static const char *key_in_map(const char *name, const char *map, size_t map_len)
{
    if (name[0] != map[0] || strncmp(name, map, map_len) != 0 || name[map_len] != '.')
        return NULL;
    return name + map_len + 1;
}

static uint32_t rows_collect(const struct api *a, const struct vars *v, const char *map,
                             struct vars_row *rows)
{
    const size_t map_len = strlen(map);
    uint32_t count = 0;
    const char *key;
    for (size_t i = 0; i < sizeof counter_table / sizeof counter_table[0]; i++)
        if ((key = key_in_map(counter_table[i].name, map, map_len)) != NULL)
            rows[count++] =
                (struct vars_row){key, strlen(key), a->counters[counter_table[i].counter]};
    for (size_t i = 0; i < sizeof value_table / sizeof value_table[0]; i++) {
        uint64_t value;
        if ((key = key_in_map(value_table[i].name, map, map_len)) == NULL)
            continue;
        memcpy(&value, (const uint8_t *)v + value_table[i].offset, sizeof value);
        rows[count++] = (struct vars_row){key, strlen(key), value / value_table[i].unit};
    }
    return count;
}

static uint64_t row_value(const struct vars_row *rows, uint32_t count, struct slice key)
{
    for (uint32_t i = 0; i < count; i++)
        if (rows[i].len == key.len && memcmp(rows[i].key, key.data, key.len) == 0)
            return rows[i].value;
    return 0;
}

static void vars_map(struct buf *text, const struct api *a, const struct vars *v, const char *map,
                     const char *keys)
{
    struct vars_row rows[VARS_ROWS_MAX];
    const uint32_t count = rows_collect(a, v, map, rows);
    bool first = true;
    buf_append_byte(text, '{');
    while (*keys != '\0') {
        const struct slice key = slice_of(keys, strcspn(keys, " "));
        buf_append_str(text, first ? "\"" : ", \"");
        buf_append_slice(text, key);
        buf_append_str(text, "\": ");
        buf_append_u64(text, row_value(rows, count, key));
        first = false;
        keys += key.len;
        keys += *keys == ' ';
    }
    buf_append_byte(text, '}');
}

static void vars_cmdline(struct buf *text, const struct api *a)
{
    struct json_writer w;
    json_writer_init(&w, text, false, 0);
    json_array_begin(&w);
    for (uint32_t i = 0; a->facts.args && a->facts.args[i]; i++)
        json_string_str(&w, a->facts.args[i]);
    json_array_end(&w);
}

/* One entry's name, with the comma that separates it from the one before. */
static bool vars_entry(struct buf *text, const struct api_request *r, const char *name, bool *first)
{
    if (r->params.has_key && !slice_equal_str(r->params.key, name))
        return false;
    if (!*first)
        buf_append_str(text, ",\n");
    *first = false;
    buf_append_byte(text, '"');
    buf_append_str(text, name);
    buf_append_str(text, "\": ");
    return true;
}

void api_vars(struct api_request *r)
{
    const struct api *a = r->conn->api;
    struct buf text;
    struct vars v;
    bool first = true;
    vars_look(a, &v);
    buf_init(&text, 4 * 1024 * 1024);
    buf_append_str(&text, "{\n");
    for (size_t i = 0; i < sizeof map_table / sizeof map_table[0]; i++) {
        if (!vars_entry(&text, r, map_table[i].name, &first))
            continue;
        if (strcmp(map_table[i].name, "cmdline") == 0)
            vars_cmdline(&text, a);
        else if (map_table[i].keys)
            vars_map(&text, a, &v, map_table[i].name, map_table[i].keys);
    }
    buf_append_str(&text, "\n}\n");
    api_reply_buf(r, API_TYPE_JSON, &text);
    buf_fini(&text);
}
