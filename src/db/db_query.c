/* db_query.c — reads on a connection of their own; afterwards it is as new.
 *
 *            begin                    resume
 *   idle ─────────────► runs ◄───────────────────── paused: statement open, in no lane
 *     ▲                  │  └── q.pause said so ────────►│
 *     └── over, or failed┘◄─────────── end ──────────────┘
 *
 * What a statement sees of time and chance lives in the thread (db_entry.c): it is taken along when the
 * query pauses and put back where it goes on. Deadline and timings do not count the pause. */
#include "db_int.h"

enum { PROGRESS_STEPS = 1000 };

static int on_progress(void *ctx)
{
    struct db_reader *r = ctx;

    if (!r->under_way)
        return 0;
    if (r->query.canceled && atomic_load_explicit(r->query.canceled, memory_order_relaxed))
        return 1;
    return db_run_late(&r->run);
}

static void reader_disconnect(struct db_reader *r)
{
    ASSERT(!r->under_way);
    db_stmts_fini(&r->stmts);
    int rc = sqlite3_close(r->conn);
    ASSERT(rc == SQLITE_OK);
    r->conn = NULL;
}

static int reader_connect(struct db_reader *r, struct err_text *why)
{
    ASSERT(!r->conn);
    int rc = db_conn_open(&r->db->files, &r->db->config, NULL, &r->conn, why);
    if (rc == 0)
        rc = db_stmts_init(&r->stmts, r->db->config.statement_cache);
    if (rc) {
        reader_disconnect(r);
        return rc;
    }
    db_guard_install(r->conn, &r->guard);
    sqlite3_progress_handler(r->conn, PROGRESS_STEPS, on_progress, r);
    return 0;
}

int db_reader_open(struct db *d, struct db_reader **out, struct err_text *why)
{
    struct db_reader *r = mem_zalloc(sizeof(*r));

    if (!r)
        return err_set(why, ERR_NOMEM, "no memory for a read connection");
    list_init(&r->stmts.lru);
    r->db = d;
    r->guard.mode = DB_GUARD_READER;
    db_now_query(env_wall_ns(d->env), 1);
    int rc = reader_connect(r, why);
    db_now_idle();
    if (rc) {
        mem_free(r);
        return rc;
    }
    *out = r;
    return 0;
}

void db_reader_close(struct db_reader *r)
{
    db_query_end(r);
    ASSERT(!r->in_text);
    reader_disconnect(r);
    mem_free(r->params.at);
    mem_free(r);
}

static bool wants_pause(const struct db_reader *r)
{
    return r->query.pause && r->query.pause(r->query.pause_ctx);
}

/* A text is over, unless it only paused. */
static void count_text(struct db_reader *r, int rc, bool ok)
{
    r->counts.statements += rc != DB_MORE;
    r->counts.errors += rc == 0 && !ok;
}

/* The statements from where it stands. */
static int run_on(struct db_reader *r, uint64_t paused_ns)
{
    const struct db_query *q = &r->query;
    struct slice sql;
    uint32_t params;
    bool ok = true;
    int rc = 0;

    ASSERT(r->under_way);
    ASSERT(r->in_text || paused_ns == 0 || r->query.pause);
    if (r->in_text) {
        rc = db_run_resume(&r->run, paused_ns, &ok);
        count_text(r, rc, ok);
    }
    while (rc == 0 && wire_cmd_next(&r->cmd, &sql, &params) == 0) {
        rc = db_params_read(&r->params, &r->cmd, params);
        r->run.params = r->params; /* it may have moved */
        if (rc == 0)
            rc = db_run_text(&r->run, sql, &ok);
        r->in_text = rc == DB_MORE;
        count_text(r, rc, ok);
        if (rc == 0 && wants_pause(r))
            return DB_MORE;
    }
    r->counts.transactions += q->transaction && rc != DB_MORE;
    if (rc == 0 && q->transaction && db_run_late(&r->run))
        q->sink->ops->request_error(
            q->sink, slice_str("sql: transaction has already been committed or rolled back"));
    return rc;
}

/* Whatever the statements did to the connection is undone. Settings cannot have been changed, nothing can
 * be attached (the guard refuses both on a reader); a transaction may be open. */
static void make_as_new(struct db_reader *r)
{
    if (!sqlite3_get_autocommit(r->conn))
        (void)sqlite3_exec(r->conn, "ROLLBACK", NULL, NULL, NULL);
    if (!sqlite3_get_autocommit(r->conn))
        reader_disconnect(r); /* the next query connects anew */
}

static void query_over(struct db_reader *r)
{
    ASSERT(r->under_way);
    db_run_end(&r->run);
    r->under_way = false;
    r->in_text = false;
    if (r->conn)
        make_as_new(r);
    db_now_idle();
}

/* Its pages are read again when it goes on: many may be paused, each with a cache of its own. */
static void query_paused(struct db_reader *r)
{
    ASSERT(r->query.pause);
    (void)sqlite3_db_release_memory(r->conn);
    r->now = *db_now();
    r->paused_ns = env_now_ns(r->db->env);
    db_now_idle();
}

static int query_left(struct db_reader *r, int rc, struct err_text *why)
{
    if (rc == DB_MORE) {
        query_paused(r);
        return DB_MORE;
    }
    query_over(r);
    return rc ? err_set(why, rc, "the query could not be run: %s", err_text_of(rc)) : 0;
}

static void query_set(struct db_reader *r, const struct db_query *q)
{
    ASSERT(q->sink);
    ASSERT(!r->in_text);
    r->query = *q;
    r->run = (struct db_run){
        .conn = r->conn,
        .stmts = &r->stmts,
        .guard = &r->guard,
        .env = r->db->env,
        .mode = DB_RUN_QUERY,
        .qualify = q->qualify_columns,
        .sink = q->sink,
        .deadline_ns = q->deadline_ns,
        .timeout_text = "query timeout",
        .pause = q->pause,
        .pause_ctx = q->pause_ctx,
    };
    r->under_way = true;
}

int db_query_begin(struct db_reader *r, const struct db_query *q, struct err_text *why)
{
    struct env *e = r->db->env;

    ASSERT(!r->under_way);
    int rc = wire_cmd_open(q->payload, false, &r->cmd);
    if (rc)
        return err_set(why, rc, "the request is malformed");
    if (q->deadline_ns && env_now_ns(e) >= q->deadline_ns) {
        q->sink->ops->request_error(q->sink, slice_str("context deadline exceeded"));
        return 0;
    }
    db_now_query(env_wall_ns(e), prng_mix(env_now_ns(e), ++r->queries));
    if (!r->conn)
        rc = reader_connect(r, why);
    if (rc == 0 && q->transaction)
        rc = db_exec(r->conn, "BEGIN", why);
    query_set(r, q);
    if (rc == 0)
        rc = run_on(r, 0);
    return query_left(r, rc, why);
}

int db_query_resume(struct db_reader *r, struct err_text *why)
{
    ASSERT(r->under_way && r->conn);
    uint64_t paused_ns = env_now_ns(r->db->env) - r->paused_ns;
    if (r->run.deadline_ns)
        r->run.deadline_ns += paused_ns;
    *db_now() = r->now;
    return query_left(r, run_on(r, paused_ns), why);
}

void db_query_end(struct db_reader *r)
{
    if (!r->under_way)
        return;
    *db_now() = r->now;
    query_over(r);
}

int db_query(struct db_reader *r, const struct db_query *q, struct err_text *why)
{
    int rc = db_query_begin(r, q, why);

    while (rc == DB_MORE)
        rc = db_query_resume(r, why);
    return rc;
}

void db_reader_counts(const struct db_reader *r, struct db_query_counts *out)
{
    *out = r->counts;
}

/* ---- classification ---------------------------------------------------------------------------------------- */

/* One statement, by preparing it, which for a PRAGMA would execute it. */
static bool statement_reads(struct db_reader *r, struct slice sql)
{
    struct sql_pragma p;
    struct slice tail;
    struct db_stmt *s;

    if (sql_pragma_parse(sql, &p))
        return db_guard_pragma_reads(&p);
    if (sql_classify(sql) == SQL_CLASS_ALONE)
        return false;
    s = db_stmts_find(&r->stmts, sql, db_stmts_hash(sql));
    if (!s && db_stmts_prepare(&r->stmts, r->conn, sql, &s, &tail) != SQLITE_OK)
        return false; /* cannot be prepared: counts as a write */
    if (!s)
        return true; /* blank */
    bool reads = s->read_only || s->is_explain;
    db_stmt_release(s);
    return reads;
}

static bool text_reads(struct db_reader *r, struct slice sql)
{
    struct slice rest = sql, statement;

    if (r->stmts.count && db_stmts_find(&r->stmts, sql, db_stmts_hash(sql)))
        return statement_reads(r, sql);
    while (sql_split_next(&rest, &statement))
        if (!statement_reads(r, statement))
            return false;
    return true;
}

int db_classify(struct db_reader *r, struct slice payload, bool *read_only)
{
    struct wire_cmd c;
    struct slice sql;
    uint32_t params;

    ASSERT(!r->under_way);
    *read_only = true;
    int rc = wire_cmd_open(payload, false, &c);
    db_now_query(env_wall_ns(r->db->env), 1);
    if (rc == 0 && !r->conn)
        rc = reader_connect(r, NULL);
    while (rc == 0 && *read_only && wire_cmd_next(&c, &sql, &params) == 0) {
        db_now_statement();
        *read_only = sql.len == 0 || text_reads(r, sql);
        rc = db_now()->machine_rc;
    }
    db_now_idle();
    return rc;
}
