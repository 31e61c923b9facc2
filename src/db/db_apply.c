/* db_apply.c — entries of the log, many in one SQLite transaction, each with the outcome it would have
 * alone (architecture §3).
 *
 *   batch:  BEGIN ─► entry ─► entry ─► … ─► COMMIT
 *                      │ after every statement: is the transaction still there?
 *                      └─ no ─► ROLLBACK, restore counters and digest, sinks forget ─► one by one
 *   alone:  transaction control, PRAGMA, VACUUM, …: in autocommit
 *
 * Two things in a schema make a batch visible in ways that cannot be seen afterwards, so that with them
 * every entry runs alone: deferred foreign keys (their counter is one per transaction, and SQLite tells
 * when it is above zero, not when a repair of old orphans took it below), and virtual tables (full-text
 * search writes what it gathered at COMMIT: its segments, and changes(), follow the transactions).
 *
 * A machine failure rolls the batch back and is returned: it is never a result. */
#include "db_int.h"
#include <rq/util/endian.h>

/* One of our own control statements. 0: it was done, or refused with *refused SQLite's code (NULL: a
 * refusal is a failure too); else the machine's ERR_*. */
static int control(struct db *d, enum db_control which, int *refused)
{
    int step = sqlite3_step(d->control[which]);
    int sqlite_rc = sqlite3_reset(d->control[which]);

    if (refused)
        *refused = step == SQLITE_DONE ? SQLITE_OK : step;
    if (db_now()->machine_rc)
        return db_now()->machine_rc;
    if (step == SQLITE_DONE || refused)
        return 0;
    return db_machine_code(sqlite_rc);
}

/* Back to autocommit, whatever is open. */
static int roll_back(struct db *d)
{
    if (sqlite3_get_autocommit(d->writer))
        return 0;
    if (d->schema_touched)
        db_stmts_clear(&d->stmts);
    return control(d, DB_ROLLBACK, NULL);
}

/* ---- one entry ---------------------------------------------------------------------------------------------- */

struct entry_run {
    struct db *d;
    const struct db_entry *e;
    struct wire_cmd cmd;
    struct db_run run;
    bool failed; /* some statement did */
};

static bool is_query(const struct wire_cmd *c)
{
    return c->kind == WIRE_CMD_QUERY;
}

static enum db_run_mode mode_of(const struct wire_cmd *c)
{
    return is_query(c)                   ? DB_RUN_QUERY
           : c->kind == WIRE_CMD_REQUEST ? DB_RUN_REQUEST
                                         : DB_RUN_EXECUTE;
}

static void entry_begin(struct entry_run *x, struct db *d, const struct db_entry *e,
                        const struct wire_cmd *cmd)
{
    bool query = is_query(cmd);

    memset(x, 0, sizeof(*x));
    x->d = d;
    x->e = e;
    x->cmd = *cmd;
    x->run = (struct db_run){
        .conn = d->writer,
        .stmts = &d->stmts,
        .guard = &d->guard,
        .env = d->env,
        .mode = mode_of(cmd),
        .qualify = (e->sink_flags & DB_QUALIFY_COLUMNS) != 0,
        .sink = e->sink,
        .deadline_ns = query ? e->deadline_ns : 0,
        .timeout_text = query ? "query timeout" : "execute timeout",
        .digest = query ? NULL : &d->digest,
        .schema_touched = &d->schema_touched,
    };
    d->guard.mode = query ? DB_GUARD_STRONG : DB_GUARD_WRITER;
    db_now_entry(cmd->wall_ns, cmd->seed, e->index);
}

/* The statements, in order. Stops at the first failure when `stop_at_failure`. */
static int entry_statements(struct entry_run *x, bool stop_at_failure)
{
    struct slice sql;
    uint32_t count;

    while (wire_cmd_next(&x->cmd, &sql, &count) == 0) {
        bool ok;
        int rc = db_params_read(&x->d->params, &x->cmd, count);
        x->run.params = x->d->params; /* it may have moved */
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

static void tell_request_error(struct entry_run *x, int sqlite_rc)
{
    db_fold(&x->d->digest, (uint64_t)sqlite_rc & 0xFF);
    if (x->e->sink)
        x->e->sink->ops->request_error(x->e->sink, slice_str(sqlite3_errmsg(x->d->writer)));
}

/* With the transaction flag, inside a batch: a savepoint stands for the transaction. */
static int transaction_in_batch(struct entry_run *x)
{
    struct db *d = x->d;

    int rc = control(d, DB_SAVEPOINT, NULL);
    if (rc == 0)
        rc = entry_statements(x, true);
    if (rc || x->run.stopped)
        return rc;
    if (x->failed) {
        if (d->schema_touched)
            db_stmts_clear(&d->stmts);
        rc = control(d, DB_ROLLBACK_TO, NULL);
    }
    return rc ? rc : control(d, DB_RELEASE, NULL);
}

/* With the transaction flag, alone. The client may have ended the transaction by itself. */
static int transaction_alone(struct entry_run *x)
{
    struct db *d = x->d;
    int refused = SQLITE_OK;

    int rc = control(d, DB_BEGIN, NULL);
    if (rc == 0)
        rc = entry_statements(x, true);
    if (rc)
        return rc;
    if (!x->failed) {
        db_now_statement();
        rc = control(d, DB_COMMIT, &refused);
        if (rc == 0 && refused)
            tell_request_error(x, refused);
    }
    return rc;
}

static void digest_entry(struct db *d, const struct db_entry *e)
{
    uint32_t checksum =
        get_u32(e->payload.data + e->payload.len - 4); /* of all that is before it */
    db_fold(&d->digest, prng_mix(e->term, (uint64_t)checksum << 32 | (uint32_t)e->payload.len));
}

static int digest_schema(struct db *d)
{
    sqlite3_stmt *s = d->control[DB_COOKIE];

    int step = sqlite3_step(s);
    db_fold(&d->digest, (uint64_t)sqlite3_column_int64(s, 0));
    (void)sqlite3_reset(s);
    if (db_now()->machine_rc)
        return db_now()->machine_rc;
    return step == SQLITE_ROW ? 0 : db_machine_code(step);
}

/* Interrupts a read through the log whose client no longer waits. */
static int on_progress(void *ctx)
{
    return db_run_late(ctx);
}

static int entry_run(struct entry_run *x, bool in_batch)
{
    struct db *d = x->d;
    bool transaction = (x->cmd.flags & WIRE_CMD_TRANSACTION) != 0 && !is_query(&x->cmd);

    x->run.in_batch = in_batch;
    if (x->run.deadline_ns)
        sqlite3_progress_handler(d->writer, 1000, on_progress, &x->run);
    int rc = !transaction ? entry_statements(x, false)
             : in_batch   ? transaction_in_batch(x)
                          : transaction_alone(x);
    if (x->run.deadline_ns)
        sqlite3_progress_handler(d->writer, 0, NULL, NULL);
    if (rc == 0 && !in_batch)
        rc = roll_back(d); /* what failed, or a BEGIN left open: it ends with its request */
    return rc;
}

static int apply_entry(struct db *d, const struct db_entry *e, const struct db_work *w,
                       bool in_batch, bool *redo)
{
    struct entry_run x;

    *redo = false;
    db_fold(&d->digest, e->index);
    if (e->kind != RAFT_ENTRY_NORMAL)
        return 0;
    digest_entry(d, e);
    if (is_query(&w->cmd) && !e->sink)
        return 0; /* a read runs only where somebody waits for it */
    bool touched_before = d->schema_touched;
    d->schema_touched = false;
    entry_begin(&x, d, e, &w->cmd);
    int rc = entry_run(&x, in_batch);
    *redo = x.run.stopped;
    if (rc == 0 && d->schema_touched && !*redo && !is_query(&w->cmd))
        rc = digest_schema(d);
    if (d->schema_touched)
        d->schema_known = false;
    d->schema_touched |= touched_before;
    return rc;
}

/* ---- batches ------------------------------------------------------------------------------------------------- */

static bool holds_word(struct slice text, const char *word)
{
    size_t len = strlen(word);

    for (size_t i = 0; i + len <= text.len; i++)
        if ((text.data[i] | 0x20) == word[0] &&
            sqlite3_strnicmp((const char *)text.data + i, word, (int)len) == 0)
            return true;
    return false;
}

/* Must this run in autocommit, by itself? Known from its text. What is cached is plain. */
static bool text_runs_alone(const struct db *d, struct slice sql)
{
    if (d->stmts.count && db_stmts_find(&d->stmts, sql, db_stmts_hash(sql)))
        return false;
    return sql_classify_all(sql) > SQL_CLASS_ORDINARY || holds_word(sql, "virtual") ||
           holds_word(sql, "deferred");
}

static int work_open(const struct db *d, const struct db_entry *e, struct db_work *w)
{
    struct slice sql;
    uint32_t params;

    w->alone = d->schema_alone;
    if (e->kind != RAFT_ENTRY_NORMAL)
        return 0;
    if (wire_cmd_open(e->payload, true, &w->cmd))
        return ERR_CORRUPT;
    struct wire_cmd c = w->cmd;
    while (!w->alone && wire_cmd_next(&c, &sql, &params) == 0)
        w->alone = text_runs_alone(d, sql);
    return 0;
}

/* Does the schema hold what makes batches visible? Asked again whenever it may have changed. */
static int schema_look(struct db *d)
{
    sqlite3_stmt *s = d->control[DB_SCHEMA];
    int enforced = 0;

    if (d->schema_known)
        return 0;
    db_now_statement();
    int step = sqlite3_step(s);
    bool has_virtual = sqlite3_column_int(s, 0) != 0, has_deferred = sqlite3_column_int(s, 1) != 0;
    (void)sqlite3_reset(s);
    if (db_now()->machine_rc || step != SQLITE_ROW)
        return db_now()->machine_rc ? db_now()->machine_rc : db_machine_code(step);
    (void)sqlite3_db_config(d->writer, SQLITE_DBCONFIG_ENABLE_FKEY, -1, &enforced);
    d->schema_alone = has_virtual || (enforced && has_deferred);
    d->schema_known = true;
    return 0;
}

/* Open the entries of the next batch; *n of them, at least one. */
static int batch_open(struct db *d, const struct db_entry *entries, uint32_t count, uint32_t *n)
{
    *n = 0;
    int rc = schema_look(d);
    while (rc == 0 && *n < count && *n < d->config.batch_max) {
        rc = work_open(d, &entries[*n], &d->work[*n]);
        if (rc && *n > 0)
            return 0; /* first those in front of it */
        if (rc || (d->work[*n].alone && *n > 0))
            return rc;
        ++*n;
        if (d->work[0].alone)
            return 0;
    }
    return rc;
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

/* In autocommit. A PRAGMA defer_foreign_keys, which SQLite would keep until the next transaction ends, ends
 * with its request. */
static int apply_alone(struct db *d, const struct db_entry *e, const struct db_work *w)
{
    struct db_sticky s;
    bool redo;

    db_sticky_save(d, &s);
    d->schema_touched = false;
    int rc = apply_entry(d, e, w, false, &redo);
    if (rc == 0 && d->schema_touched)
        rc = control(d, DB_BEGIN, NULL);
    int back = roll_back(d);
    if (rc || back) {
        d->digest = s.digest;
        return rc ? rc : back;
    }
    ASSERT(sqlite3_get_autocommit(d->writer));
    advance(d, e);
    return 0;
}

static int apply_singly(struct db *d, const struct db_entry *entries, uint32_t count)
{
    int rc = 0;

    for (uint32_t i = 0; rc == 0 && i < count; i++)
        rc = apply_alone(d, &entries[i], &d->work[i]);
    return rc;
}

static int apply_together(struct db *d, const struct db_entry *entries, uint32_t count, bool *redo)
{
    int refused = SQLITE_OK;

    *redo = false;
    db_now_statement();
    int rc = control(d, DB_BEGIN, NULL);
    for (uint32_t i = 0; rc == 0 && !*redo && i < count; i++)
        rc = apply_entry(d, &entries[i], &d->work[i], true, redo);
    if (rc || *redo)
        return rc;
    db_now_statement();
    rc = control(d, DB_COMMIT, &refused);
    *redo = rc == 0 && refused;
    return rc;
}

static int apply_batch(struct db *d, const struct db_entry *entries, uint32_t count)
{
    struct db_sticky s;
    bool redo;

    d->batches++;
    d->schema_touched = false;
    db_sticky_save(d, &s);
    int rc = apply_together(d, entries, count, &redo);
    if (rc == 0 && !redo) {
        advance(d, &entries[count - 1]);
        return 0;
    }
    int back = roll_back(d);
    rc = rc ? rc : back;
    if (rc) {
        d->digest = s.digest;
        return rc;
    }
    d->batches_redone++;
    if (d->schema_touched)
        db_stmts_clear(&d->stmts);
    sinks_reset(entries, count);
    rc = db_sticky_restore(d, &s);
    return rc ? rc : apply_singly(d, entries, count);
}

enum { WAL_WAIT_MS = 20, BUSY_MS = 5000 };

/* The WAL would only grow: copy it back when it is long. Nothing on disk is relied on after a start, so
 * nothing is synced. The next commit starts it anew if no reader is looking at it then; where readers
 * overlap without end somebody always is, so that at four times the limit those who look are waited for,
 * briefly, and again only when it has grown by a quarter. (New ones no longer need a WAL that has been
 * copied: sqlite.org/c3ref/wal_checkpoint_v2, RESTART.) */
static int limit_wal(struct db *d)
{
    uint64_t bytes = (uint64_t)d->wal_frames * 4096;

    if (bytes < d->config.wal_limit_bytes)
        return 0;
    int log_frames = 0, done_frames = 0;
    bool wait = bytes / 4 >= d->config.wal_limit_bytes && bytes >= d->wal_wait_bytes;
    db_now_statement();
    if (wait)
        (void)sqlite3_busy_timeout(d->writer, WAL_WAIT_MS);
    int rc = sqlite3_wal_checkpoint_v2(d->writer, NULL,
                                       wait ? SQLITE_CHECKPOINT_RESTART : SQLITE_CHECKPOINT_PASSIVE,
                                       &log_frames, &done_frames);
    if (wait) {
        (void)sqlite3_busy_timeout(d->writer, BUSY_MS);
        d->wal_wait_bytes = rc == SQLITE_OK ? 0 : bytes + bytes / 4;
    }
    if (rc == SQLITE_OK && log_frames == done_frames)
        d->wal_frames = 0;
    return db_now()->machine_rc;
}

int db_apply(struct db *d, const struct db_entry *entries, uint32_t count, struct err_text *why)
{
    int rc = 0;

    ASSERT(count > 0 && entries[0].index == d->applied_index + 1);
    db_now_entry(0, 0, d->applied_index);
    while (count && rc == 0) {
        uint32_t n;
        rc = batch_open(d, entries, count, &n);
        if (rc == 0)
            rc = n > 1 ? apply_batch(d, entries, n) : apply_singly(d, entries, n);
        if (rc == 0)
            rc = limit_wal(d);
        entries += n;
        count -= n;
    }
    if (rc)
        (void)err_set(why, rc, "entry %llu: %s", (unsigned long long)d->applied_index + 1,
                      err_text_of(rc));
    db_now_idle();
    return rc;
}
