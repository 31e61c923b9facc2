/* db_apply.c — entries of the log, many in one SQLite transaction, each with the outcome it would have
 * alone (architecture §3).
 *
 *   batch:  BEGIN ─► entry ─► entry ─► … ─► COMMIT
 *                      │ after every statement: is the transaction still there? deferred violations left?
 *                      └─ no ─► ROLLBACK, restore sticky state and digest, sinks forget ─► one by one
 *   alone:  transaction control, PRAGMA, VACUUM, …: in autocommit
 *
 * A machine failure rolls the batch back and is returned: it is never a result. */
#include "db_int.h"

struct saved { /* what a batch changes besides the database */
    uint64_t digest;
    int64_t last_insert_id, rows_affected;
    int64_t conn_rowid;
};

static void save(const struct db *d, struct saved *s)
{
    s->digest = d->digest;
    s->last_insert_id = d->sticky_last_insert_id;
    s->rows_affected = d->sticky_rows_affected;
    s->conn_rowid = sqlite3_last_insert_rowid(d->writer);
}

static void restore(struct db *d, const struct saved *s)
{
    d->digest = s->digest;
    d->sticky_last_insert_id = s->last_insert_id;
    d->sticky_rows_affected = s->rows_affected;
    sqlite3_set_last_insert_rowid(d->writer, s->conn_rowid);
}

/* Our own control statements. 0, or the machine's ERR_*; *refused: SQLite's words for a plain refusal. */
static int control(struct db *d, sqlite3_stmt *s, int *sqlite_rc)
{
    int rc = sqlite3_step(s);

    (void)sqlite3_reset(s);
    *sqlite_rc = rc == SQLITE_DONE ? SQLITE_OK : rc;
    if (rc == SQLITE_DONE)
        return 0;
    int machine = db_now_machine(rc);
    (void)d;
    return machine;
}

static int must_control(struct db *d, sqlite3_stmt *s)
{
    int sqlite_rc;
    int rc = control(d, s, &sqlite_rc);
    return rc ? rc : sqlite_rc ? ERR_IO : 0;
}

static void roll_back(struct db *d)
{
    int ignored;
    if (!sqlite3_get_autocommit(d->writer))
        (void)control(d, d->rollback, &ignored);
}

static bool deferred_violations(const struct db *d)
{
    int now = 0, high = 0;
    (void)sqlite3_db_status(d->writer, SQLITE_DBSTATUS_DEFERRED_FKS, &now, &high, 0);
    return now != 0;
}

/* After each statement of a batch: would it have ended otherwise alone? */
static bool batch_broken(void *ctx)
{
    struct db *d = ctx;
    return sqlite3_get_autocommit(d->writer) != 0;
}

static bool batch_broken_or_violated(void *ctx)
{
    return batch_broken(ctx) || deferred_violations(ctx);
}

/* ---- one entry ---------------------------------------------------------------------------------------------- */

struct entry_run {
    struct db *d;
    const struct db_entry *e;
    struct wire_cmd cmd;
    struct db_run run;
    bool in_batch;
    bool failed; /* some statement did */
};

static int entry_open(struct entry_run *x, struct db *d, const struct db_entry *e, bool in_batch)
{
    memset(x, 0, sizeof(*x));
    x->d = d;
    x->e = e;
    x->in_batch = in_batch;
    int rc = wire_cmd_open(e->payload, true, &x->cmd);
    if (rc)
        return ERR_CORRUPT;
    struct db_run *r = &x->run;
    r->conn = d->writer;
    r->stmts = &d->stmts;
    r->guard = &d->guard;
    r->env = d->env;
    r->mode = x->cmd.kind == WIRE_CMD_QUERY     ? DB_RUN_QUERY
              : x->cmd.kind == WIRE_CMD_REQUEST ? DB_RUN_REQUEST
                                                : DB_RUN_EXECUTE;
    r->qualify = (e->sink_flags & DB_QUALIFY_COLUMNS) != 0;
    r->sink = e->sink;
    r->timeout_text = r->mode == DB_RUN_QUERY ? "query timeout" : "execute timeout";
    r->last_insert_id = &d->sticky_last_insert_id;
    r->rows_affected = &d->sticky_rows_affected;
    r->digest = r->mode == DB_RUN_QUERY ? NULL : &d->digest;
    r->params = d->params;
    return 0;
}

/* The statements, in order. Stops at the first failure when `stop_at_failure`. */
static int entry_statements(struct entry_run *x, bool stop_at_failure)
{
    struct slice sql;
    uint32_t count;

    while (wire_cmd_next(&x->cmd, &sql, &count) == 0) {
        bool ok;
        int rc = db_params_read(&x->run.params, &x->cmd, count);
        x->d->params = x->run.params; /* it may have grown */
        if (rc == 0)
            rc = db_run_text(&x->run, sql, &ok);
        if (rc)
            return rc;
        if (x->run.stopped)
            return 0;
        if (!ok) {
            x->failed = true;
            if (stop_at_failure)
                return 0;
        }
    }
    return 0;
}

static void tell_request_error(struct entry_run *x, const char *text)
{
    db_fold(&x->d->digest, 0xE44);
    if (x->e->sink)
        x->e->sink->ops->request_error(x->e->sink, slice_str(text));
}

/* With the transaction flag, inside a batch: a savepoint stands for the transaction. */
static int transaction_in_batch(struct entry_run *x, bool *redo)
{
    struct db *d = x->d;

    x->run.after = batch_broken;
    x->run.after_ctx = d;
    int rc = must_control(d, d->savepoint);
    if (rc == 0)
        rc = entry_statements(x, true);
    if (rc || x->run.stopped) {
        *redo = rc == 0;
        return rc;
    }
    if (!x->failed && deferred_violations(d)) { /* its COMMIT would have failed */
        *redo = true;
        return 0;
    }
    if (x->failed)
        rc = must_control(d, d->rollback_to);
    return rc ? rc : must_control(d, d->release);
}

/* With the transaction flag, alone. The client may have ended the transaction by itself. */
static int transaction_alone(struct entry_run *x)
{
    struct db *d = x->d;
    int sqlite_rc;

    int rc = must_control(d, d->begin);
    if (rc == 0)
        rc = entry_statements(x, true);
    if (rc)
        return rc;
    if (x->failed) {
        roll_back(d);
        return 0;
    }
    db_now_statement();
    rc = control(d, d->commit, &sqlite_rc);
    if (rc == 0 && sqlite_rc)
        tell_request_error(x, sqlite3_errmsg(d->writer));
    roll_back(d);
    return rc;
}

static int statements_in_batch(struct entry_run *x, bool *redo)
{
    x->run.after = batch_broken_or_violated;
    x->run.after_ctx = x->d;
    int rc = entry_statements(x, false);
    *redo = rc == 0 && x->run.stopped;
    return rc;
}

static int statements_alone(struct entry_run *x)
{
    int rc = entry_statements(x, false);
    roll_back(x->d); /* an explicit BEGIN left open ends with its request */
    return rc;
}

static bool skipped(const struct db_entry *e, const struct entry_run *x)
{
    return x->cmd.kind == WIRE_CMD_QUERY && !e->sink; /* pure reads run only where somebody waits */
}

static int apply_entry(struct db *d, const struct db_entry *e, bool in_batch, bool *redo)
{
    struct entry_run x;
    int rc = 0;

    *redo = false;
    db_fold(&d->digest, e->index);
    if (e->kind != RAFT_ENTRY_NORMAL)
        return 0;
    rc = entry_open(&x, d, e, in_batch);
    if (rc || skipped(e, &x))
        return rc;
    if (x.cmd.kind != WIRE_CMD_QUERY) /* a read runs on one node only: it must leave no mark */
        db_fold(&d->digest, prng_hash(e->term, e->payload.data, e->payload.len));
    db_now_entry(x.cmd.wall_ns, x.cmd.seed, e->index);
    bool transaction = (x.cmd.flags & WIRE_CMD_TRANSACTION) != 0 && x.cmd.kind != WIRE_CMD_QUERY;
    if (transaction)
        rc = in_batch ? transaction_in_batch(&x, redo) : transaction_alone(&x);
    else
        rc = in_batch ? statements_in_batch(&x, redo) : statements_alone(&x);
    return rc;
}

/* ---- batches ------------------------------------------------------------------------------------------------- */

/* Must this entry run in autocommit, by itself? Known from its text. */
static bool runs_alone(struct db *d, const struct db_entry *e)
{
    struct wire_cmd c;
    struct wire_param p;
    struct slice sql;
    uint32_t params;

    if (e->kind != RAFT_ENTRY_NORMAL || wire_cmd_open(e->payload, true, &c))
        return false;
    while (wire_cmd_next(&c, &sql, &params) == 0) {
        /* What is cached is known to be ordinary. */
        if (!db_stmts_find(&d->stmts, sql) && sql_classify_all(sql) > SQL_CLASS_ORDINARY)
            return true;
        while (params--)
            if (wire_cmd_next_param(&c, &p))
                return false;
    }
    return false;
}

static void sinks_reset(const struct db_entry *entries, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        if (entries[i].sink)
            entries[i].sink->ops->reset(entries[i].sink);
}

static void advance(struct db *d, const struct db_entry *last)
{
    d->applied_index = last->index;
    d->applied_term = last->term;
}

static int apply_singly(struct db *d, const struct db_entry *entries, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        bool redo;
        int rc = apply_entry(d, &entries[i], false, &redo);
        if (rc) {
            roll_back(d);
            return rc;
        }
        ASSERT(sqlite3_get_autocommit(d->writer));
        advance(d, &entries[i]);
    }
    return 0;
}

static int apply_together(struct db *d, const struct db_entry *entries, uint32_t count, bool *redo)
{
    *redo = false;
    db_now_statement();
    int rc = must_control(d, d->begin);
    for (uint32_t i = 0; rc == 0 && !*redo && i < count; i++)
        rc = apply_entry(d, &entries[i], true, redo);
    if (rc == 0 && !*redo) {
        db_now_statement();
        rc = must_control(d, d->commit);
    }
    if (rc || *redo)
        roll_back(d);
    return rc;
}

static int apply_batch(struct db *d, const struct db_entry *entries, uint32_t count)
{
    struct saved s;
    bool redo;

    d->batches++;
    save(d, &s);
    int rc = apply_together(d, entries, count, &redo);
    if (rc)
        return rc;
    if (redo) {
        d->batches_redone++;
        restore(d, &s);
        sinks_reset(entries, count);
        return apply_singly(d, entries, count);
    }
    advance(d, &entries[count - 1]);
    return 0;
}

/* The WAL would only grow: copy it back when it is long. Nothing on disk is relied on after a start, so
 * nothing is synced. Readers may hold it up; then the next batch tries again. */
static void limit_wal(struct db *d)
{
    if ((uint64_t)d->wal_frames * 4096 < d->config.wal_limit_bytes)
        return;
    int log_frames = 0, done_frames = 0;
    db_now_statement();
    int rc = sqlite3_wal_checkpoint_v2(d->writer, NULL, SQLITE_CHECKPOINT_PASSIVE, &log_frames,
                                       &done_frames);
    if (rc == SQLITE_OK && log_frames == done_frames)
        d->wal_frames = 0;
}

static uint32_t batch_length(struct db *d, const struct db_entry *entries, uint32_t count)
{
    uint32_t n = 0;
    while (n < count && n < d->config.batch_max && !runs_alone(d, &entries[n]))
        n++;
    return n;
}

int db_apply(struct db *d, const struct db_entry *entries, uint32_t count, struct err_text *why)
{
    int rc = 0;

    ASSERT(count > 0 && entries[0].index == d->applied_index + 1);
    while (count && rc == 0) {
        uint32_t n = batch_length(d, entries, count);
        if (n > 1) {
            rc = apply_batch(d, entries, n);
        } else {
            n = 1;
            rc = apply_singly(d, entries, 1);
        }
        if (rc == 0)
            limit_wal(d);
        entries += n;
        count -= n;
    }
    if (rc)
        (void)err_set(why, rc, "entry %llu: %s", (unsigned long long)d->applied_index + 1,
                      err_text_of(rc));
    db_now_idle();
    return rc;
}
