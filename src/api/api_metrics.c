/* api_metrics — GET /metrics: what this node counts and measures, in the text format of Prometheus
 * (version 0.0.4, prometheus.io/docs/instrumenting/exposition_formats). Beyond rqlite.
 *
 * Everything is copied from counters that are kept anyway: an answer costs some 20 kB of text, whatever
 * the node holds, and waits for nobody. */
#include "api_int.h"

enum { METRICS_BYTES_MAX = 256 * 1024 };

struct metrics {
    struct buf *text;
    const struct api *a;
    struct node_status s;
    struct node_counters c;
};

/* ---- lines ------------------------------------------------------------------------------------------- */

static void family(const struct metrics *m, const char *name, const char *type, const char *help)
{
    buf_printf(m->text, "# HELP rqlited_%s %s\n# TYPE rqlited_%s %s\n", name, help, name, type);
}

static void seconds(struct buf *text, uint64_t ns)
{
    buf_printf(text, "%llu.%09llu", (unsigned long long)(ns / ENV_S_NS),
               (unsigned long long)(ns % ENV_S_NS));
}

static void value(const struct metrics *m, const char *name, uint64_t v)
{
    buf_printf(m->text, "rqlited_%s %llu\n", name, (unsigned long long)v);
}

static void value_of(const struct metrics *m, const char *name, const char *label, const char *what,
                     uint64_t v)
{
    buf_printf(m->text, "rqlited_%s{%s=\"%s\"} %llu\n", name, label, what, (unsigned long long)v);
}

/* A label's value: backslash, quote and newline escaped. */
static void label_put(struct buf *text, const char *name, const char *what)
{
    buf_printf(text, "%s=\"", name);
    for (; what && *what != '\0'; what++) {
        if (*what == '\\' || *what == '"')
            buf_append_byte(text, '\\');
        buf_append_str(text, *what == '\n' ? "\\n" : (const char[2]){*what, '\0'});
    }
    buf_append_byte(text, '"');
}

/* One line per power of two: the finer buckets are for quantiles. */
static void histogram_put(const struct metrics *m, const char *name, const char *help,
                          const struct histogram *h)
{
    struct buf *text = m->text;
    uint64_t seen = 0;
    family(m, name, "histogram", help);
    for (uint32_t i = 0; i + 1 < HISTOGRAM_BUCKETS; i++) {
        seen += h->buckets[i];
        if (i % (1U << HISTOGRAM_SUB_BITS) != 0)
            continue;
        buf_printf(text, "rqlited_%s_bucket{le=\"", name);
        seconds(text, histogram_bound(i));
        buf_printf(text, "\"} %llu\n", (unsigned long long)seen);
    }
    buf_printf(text, "rqlited_%s_bucket{le=\"+Inf\"} %llu\nrqlited_%s_sum ", name,
               (unsigned long long)h->count, name);
    seconds(text, h->sum);
    buf_printf(text, "\nrqlited_%s_count %llu\n", name, (unsigned long long)h->count);
}

/* ---- families ------------------------------------------------------------------------------------------ */

#define GAUGE(name, help, v) (family(m, name, "gauge", help), value(m, name, (uint64_t)(v)))
#define COUNTER(name, help, v) (family(m, name, "counter", help), value(m, name, (uint64_t)(v)))

static void metrics_process(const struct metrics *m)
{
    const struct api *a = m->a;
    family(m, "build_info", "gauge", "Always 1; the labels say what runs.");
    buf_append_str(m->text, "rqlited_build_info{");
    label_put(m->text, "version", a->version);
    buf_append_byte(m->text, ',');
    label_put(m->text, "sqlite", a->facts.sqlite_version);
    buf_append_byte(m->text, ',');
    label_put(m->text, "commit", a->facts.commit);
    buf_append_str(m->text, "} 1\n");
    family(m, "uptime_seconds", "gauge", "Time since the API was started.");
    buf_append_str(m->text, "rqlited_uptime_seconds ");
    seconds(m->text, env_now_ns(a->env) - a->start_ns);
    buf_append_byte(m->text, '\n');
    if (a->facts.memory) {
        uint64_t resident = 0, mapped = 0;
        a->facts.memory(&resident, &mapped);
        GAUGE("memory_bytes", "Memory of the process that is in RAM.", resident);
    }
    GAUGE("http_connections", "Open HTTP connections.", a->conn_count);
}

static void metrics_http(const struct metrics *m)
{
    static const struct {
        const char *endpoint;
        enum api_counter counter;
    } endpoints[] = {{"execute", API_COUNT_EXECUTIONS}, {"query", API_COUNT_QUERIES},
                     {"request", API_COUNT_REQUESTS},   {"backup", API_COUNT_BACKUPS},
                     {"load", API_COUNT_LOADS},         {"boot", API_COUNT_BOOT},
                     {"status", API_COUNT_NUM_STATUS},  {"readyz", API_COUNT_NUM_READYZ}},
      statements[] = {{"execute", API_COUNT_EXECUTE_STMTS_RX},
                      {"query", API_COUNT_QUERY_STMTS_RX},
                      {"request", API_COUNT_REQUEST_STMTS_RX}};
    family(m, "http_requests_total", "counter", "Requests by endpoint, whatever came of them.");
    for (size_t i = 0; i < sizeof endpoints / sizeof endpoints[0]; i++)
        value_of(m, "http_requests_total", "endpoint", endpoints[i].endpoint,
                 m->a->counters[endpoints[i].counter]);
    family(m, "http_statements_total", "counter", "SQL statements received from clients.");
    for (size_t i = 0; i < sizeof statements / sizeof statements[0]; i++)
        value_of(m, "http_statements_total", "endpoint", statements[i].endpoint,
                 m->a->counters[statements[i].counter]);
    family(m, "queued_statements_total", "counter",
           "Statements of queued writes: that entered the queue, that left it in a batch.");
    value_of(m, "queued_statements_total", "direction", "in",
             m->a->counters[API_COUNT_QUEUE_OBJECTS_RX]);
    value_of(m, "queued_statements_total", "direction", "out",
             m->a->counters[API_COUNT_QUEUE_OBJECTS_TX]);
    COUNTER("http_leader_not_found_total", "Requests refused because no leader was known.",
            m->a->counters[API_COUNT_LEADER_NOT_FOUND]);
}

static void metrics_raft(const struct metrics *m)
{
    const struct node_status *s = &m->s;
    uint32_t voters = 0, connected = 0;
    for (uint32_t i = 0; i < s->member_count; i++) {
        voters += s->members[i].voter;
        connected += s->members[i].connected;
    }
    GAUGE("store_open", "1 once the log and the database are open.", s->open);
    GAUGE("store_ready", "1 while a leader is known and the log of before the start is applied.",
          s->ready);
    family(m, "raft_role", "gauge", "1 for the role this node has.");
    value_of(m, "raft_role", "role", "follower", s->open && s->role == RAFT_FOLLOWER);
    value_of(m, "raft_role", "role", "candidate",
             s->role == RAFT_CANDIDATE || s->role == RAFT_PRECANDIDATE);
    value_of(m, "raft_role", "role", "leader", s->role == RAFT_LEADER);
    GAUGE("raft_voter", "1 if this node votes.", s->voter);
    GAUGE("raft_leader_known", "1 while this node knows a leader.", s->has_leader);
    GAUGE("raft_term", "Current term.", s->term);
    GAUGE("raft_commit_index", "Highest index known to be committed.", s->commit_index);
    GAUGE("raft_applied_index", "Highest index applied to the database.", s->applied_index);
    GAUGE("raft_last_log_index", "Highest index in this node's log.", s->last_log_index);
    COUNTER("raft_leader_changes_total", "Changes of the known leader, its loss included.",
            m->c.leader_changes);
    family(m, "members", "gauge", "Members of the cluster.");
    value_of(m, "members", "suffrage", "voter", voters);
    value_of(m, "members", "suffrage", "nonvoter", s->member_count - voters);
    GAUGE("members_connected", "Other members this node holds a connection to.", connected);
}

static void metrics_store(const struct metrics *m)
{
    const struct node_status *s = &m->s;
    const struct db_counters *d = &s->db.counters;
    const uint64_t page = (uint64_t)s->db_facts.page_size;
    GAUGE("log_bytes", "Disk space of the Raft log.", s->log.disk_bytes);
    GAUGE("log_entries", "Entries in the Raft log.",
          s->log.first_index ? s->log.last_index + 1 - s->log.first_index : 0);
    COUNTER("log_syncs_total", "Calls that made log files durable.", s->log.sync_count);
    GAUGE("entry_cache_bytes", "Recent entries in memory.", s->cache_bytes);
    GAUGE("db_bytes", "Size of the database as of its last commit.", s->db.page_count * page);
    GAUGE("db_free_bytes", "Part of it that is free pages.", s->db.freelist_count * page);
    GAUGE("db_wal_bytes", "Size of SQLite's write-ahead log.", s->db.wal_bytes);
    COUNTER("db_batches_total", "SQLite transactions of several log entries.", s->db.batches);
    COUNTER("db_batches_redone_total", "Batches that had to be run again entry by entry.",
            s->db.batches_redone);
    COUNTER("db_statements_prepared_total", "Statements the writer prepared.",
            s->db.statements_prepared);
    COUNTER("db_statements_cached_total", "Statements the writer found prepared.",
            s->db.statements_cached);
    family(m, "db_statements_total", "counter", "Statements run, by how they came.");
    value_of(m, "db_statements_total", "kind", "execute", d->executions.statements);
    value_of(m, "db_statements_total", "kind", "request", d->requests.statements);
    value_of(m, "db_statements_total", "kind", "query",
             d->strong_queries.statements + m->c.queries.statements);
    family(m, "db_statement_errors_total", "counter", "Statements that failed, by how they came.");
    value_of(m, "db_statement_errors_total", "kind", "execute", d->executions.errors);
    value_of(m, "db_statement_errors_total", "kind", "request", d->requests.errors);
    value_of(m, "db_statement_errors_total", "kind", "query",
             d->strong_queries.errors + m->c.queries.errors);
    COUNTER("db_checkpoints_total", "Checkpoints of SQLite's write-ahead log.", d->checkpoints);
}

static void metrics_node(const struct metrics *m)
{
    const struct node_status *s = &m->s;
    const struct node_counters *c = &m->c;
    GAUGE("pending_requests", "Client requests in progress in this node.", s->pending_writes);
    GAUGE("pending_request_bytes", "Their size.", s->pending_bytes);
    GAUGE("pending_reads", "Reads waiting for a connection to the database.", s->pending_reads);
    family(m, "read_connections", "gauge", "Connections to the database for reads.");
    value_of(m, "read_connections", "state", "busy", s->readers.busy);
    value_of(m, "read_connections", "state", "idle",
             s->readers.open > s->readers.busy ? s->readers.open - s->readers.busy : 0);
    COUNTER("commands_proposed_total", "Log entries this node proposed for clients.",
            c->commands_proposed);
    COUNTER("command_bytes_proposed_total", "Their size.", c->command_bytes_proposed);
    family(m, "forwarded_total", "counter", "Client requests passed on to the leader.");
    value_of(m, "forwarded_total", "kind", "execute", c->forwarded_executions);
    value_of(m, "forwarded_total", "kind", "query", c->forwarded_queries);
    value_of(m, "forwarded_total", "kind", "request", c->forwarded_requests);
    family(m, "served_total", "counter", "Requests passed on to this node by others.");
    value_of(m, "served_total", "kind", "execute", c->served_executions);
    value_of(m, "served_total", "kind", "query", c->served_queries);
    value_of(m, "served_total", "kind", "request", c->served_requests);
    COUNTER("peer_accepted_total", "Connections of other nodes.", c->peers.accepted);
    COUNTER("peer_dialled_total", "Attempts to connect to other nodes.", c->peers.dialled);
    COUNTER("peer_lost_total", "Connections to or from other nodes that ended.", c->peers.lost);
    family(m, "peer_bytes_total", "counter", "Bytes of frames between nodes.");
    value_of(m, "peer_bytes_total", "direction", "in", c->peers.bytes_in);
    value_of(m, "peer_bytes_total", "direction", "out", c->peers.bytes_out);
}

static void metrics_times(const struct metrics *m, const struct node_times *t)
{
    histogram_put(m, "write_queue_seconds", "Writes: submitted to proposed.", &t->write_queue);
    histogram_put(m, "write_quorum_seconds", "Writes: proposed to committed.", &t->write_quorum);
    histogram_put(m, "write_apply_seconds", "Writes: committed to COMMIT of their batch returned.",
                  &t->write_apply);
    histogram_put(m, "log_sync_seconds", "Jobs of the Raft log: append and sync.", &t->log_sync);
    histogram_put(m, "read_wait_seconds", "Reads: submitted to begun.", &t->read_wait);
    histogram_put(m, "read_run_seconds", "Reads: begun to finished.", &t->read_run);
    histogram_put(m, "forward_seconds", "Requests passed on: sent to answered.", &t->forward);
}

void api_metrics(struct api_request *r)
{
    const struct api *a = r->conn->api;
    struct buf text;
    struct metrics *m = mem_zalloc(sizeof *m);
    if (!m) {
        api_reply_text(r, 503, err_text_of(ERR_NOMEM));
        return;
    }
    buf_init(&text, METRICS_BYTES_MAX);
    m->text = &text;
    m->a = a;
    if (a->node) {
        node_status_get(a->node, &m->s);
        node_counters_get(a->node, &m->c);
    }
    metrics_process(m);
    metrics_http(m);
    metrics_raft(m);
    metrics_store(m);
    metrics_node(m);
    if (a->node)
        metrics_times(m, node_times_get(a->node));
    histogram_put(m, "write_total_seconds", "Writes: received to answered.", &a->write_total);
    histogram_put(m, "read_total_seconds", "Reads: received to answered.", &a->read_total);
    mem_free(m);
    api_reply_buf(r, "text/plain; version=0.0.4; charset=utf-8", &text);
    buf_fini(&text);
}
