/* db_work.c — one entry of the log: its statements, in a batch's transaction or in autocommit. Called by
 * db_apply.c. An entry of a batch says when its outcome may not be the one it would have alone (`redo`). */
#include "db_int.h"
#include <rq/util/endian.h>

/* One of our own control statements. 0: it was done, or refused with *refused SQLite's code (NULL: a
 * refusal is a failure too); else the machine's ERR_*. */
int db_control(struct db *d, enum db_control which, int *refused)
{
    ASSERT(which < DB_CONTROL_COUNT);
    ASSERT(d->control[which]);
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
int db_roll_back(struct db *d)
{
    if (sqlite3_get_autocommit(d->writer))
        return 0;
    if (d->schema_touched)
        db_stmts_clear(&d->stmts);
    int rc = db_control(d, DB_ROLLBACK, NULL);
    ASSERT(rc || sqlite3_get_autocommit(d->writer));
    return rc;
}

/* ---- one entry ---------------------------------------------------------------------------------------------- */

struct entry_run {
    struct db *d;
    const struct db_entry *e;
    struct wire_cmd cmd;
    struct db_run run;
    bool made;    /* it is a VACUUM that makes another file */
    bool failed;  /* some statement did */
    bool changed; /* other things than rows, by some statement */
    bool keyed;   /* it has an idempotency key */
    struct db_once once;
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

/* sink: e's, or what writes down for it. */
static void entry_begin(struct entry_run *x, struct db_sink *sink)
{
    struct db *d = x->d;
    const struct db_entry *e = x->e;
    const struct wire_cmd *cmd = &x->cmd;
    bool query = is_query(cmd);

    x->run = (struct db_run){
        .conn = d->writer,
        .stmts = &d->stmts,
        .guard = &d->guard,
        .env = d->env,
        .mode = mode_of(cmd),
        .qualify = !x->keyed && (e->sink_flags & DB_QUALIFY_COLUMNS) != 0,
        .tables = x->keyed,
        .sink = sink,
        .deadline_ns = query ? e->deadline_ns : 0,
        .timeout_text = query ? "query timeout" : "execute timeout",
        .digest = query ? NULL : &d->digest,
        .schema_touched = &d->schema_touched,
        .changed = &x->changed,
    };
    d->guard.mode = query ? DB_GUARD_STRONG : DB_GUARD_WRITER;
    db_now_entry(cmd->wall_ns, cmd->seed, e->index);
}

static struct db_query_counts *counts_of(struct db *d, const struct wire_cmd *c)
{
    return is_query(c)                   ? &d->counters.strong_queries
           : c->kind == WIRE_CMD_REQUEST ? &d->counters.requests
                                         : &d->counters.executions;
}

/* The VACUUM that is all of the entry, into another file. */
static int run_made(struct entry_run *x, bool *ok)
{
    struct slice sql;
    int rc = db_made_begin(x->d, &sql);

    if (rc == 0)
        rc = db_run_text(&x->run, sql, ok);
    int ended = db_made_end(x->d, rc == 0 && *ok);
    return rc ? rc : ended;
}

/* The statements, in order. Stops at the first failure when `stop_at_failure`. */
static int entry_statements(struct entry_run *x, bool stop_at_failure)
{
    struct db_query_counts *counts = counts_of(x->d, &x->cmd);
    struct slice sql;
    uint32_t count;

    while (wire_cmd_next(&x->cmd, &sql, &count) == 0) {
        bool ok;
        int rc = db_params_read(&x->d->params, &x->cmd, count);
        x->run.params = x->d->params; /* it may have moved */
        if (rc == 0)
            rc = x->made ? run_made(x, &ok) : db_run_text(&x->run, sql, &ok);
        if (rc)
            return rc;
        if (x->run.stopped)
            return 0;
        counts->statements++;
        if (!ok) {
            counts->errors++;
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
    if (x->run.sink)
        x->run.sink->ops->request_error(x->run.sink, slice_str(sqlite3_errmsg(x->d->writer)));
}

/* With the transaction flag, inside a batch: a savepoint stands for the transaction. */
static int transaction_in_batch(struct entry_run *x)
{
    struct db *d = x->d;

    int rc = db_control(d, DB_SAVEPOINT, NULL);
    if (rc == 0)
        rc = entry_statements(x, true);
    if (rc || x->run.stopped)
        return rc;
    if (x->failed) {
        if (d->schema_touched)
            db_stmts_clear(&d->stmts);
        rc = db_control(d, DB_ROLLBACK_TO, NULL);
    }
    return rc ? rc : db_control(d, DB_RELEASE, NULL);
}

/* With the transaction flag, alone. The client may have ended the transaction by itself. */
static int transaction_alone(struct entry_run *x)
{
    struct db *d = x->d;
    int refused = SQLITE_OK;

    int rc = db_control(d, DB_BEGIN, NULL);
    if (rc == 0)
        rc = entry_statements(x, true);
    if (rc)
        return rc;
    if (!x->failed) {
        db_now_statement();
        rc = db_control(d, DB_COMMIT, &refused);
        if (rc == 0 && refused) {
            tell_request_error(x, refused);
            x->failed = true;
        }
    }
    return rc;
}

static void digest_entry(struct db *d, const struct db_entry *e)
{
    ASSERT(e->payload.len >= 4); /* it was opened */
    uint32_t checksum =
        get_u32(e->payload.data + e->payload.len - 4); /* of all that is before it */
    db_fold(&d->digest, prng_mix(e->term, (uint64_t)checksum << 32 | (uint32_t)e->payload.len));
}

static int digest_schema(struct db *d)
{
    sqlite3_stmt *s = d->control[DB_COOKIE];

    if (d->next.set) {
        db_fold(&d->digest, d->next.schema_cookie);
        return 0;
    }
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

    ASSERT(in_batch != sqlite3_get_autocommit(d->writer));
    x->run.in_batch = in_batch;
    if (x->run.deadline_ns)
        sqlite3_progress_handler(d->writer, 1000, on_progress, &x->run);
    int rc = !transaction ? entry_statements(x, false)
             : in_batch   ? transaction_in_batch(x)
                          : transaction_alone(x);
    if (x->run.deadline_ns)
        sqlite3_progress_handler(d->writer, 0, NULL, NULL);
    if (rc == 0 && !in_batch)
        rc = db_roll_back(d); /* what failed, or a BEGIN left open: it ends with its request */
    return rc;
}

static int upkeep_run(struct entry_run *x, const struct wire_cmd *cmd, bool in_batch)
{
    uint64_t began_ns = env_now_ns(x->d->env);

    int rc = db_upkeep_begin(x->d);
    if (rc == 0)
        rc = entry_run(x, in_batch);
    return rc ? rc : db_upkeep_end(x->d, x->e->index, cmd, x->failed, began_ns);
}

/* A transaction that failed has changed nothing, unless the client's own words may have ended it. */
static bool rolled_back(const struct entry_run *x, const struct wire_cmd *cmd)
{
    struct wire_cmd c = *cmd;
    struct slice sql;
    uint32_t params;

    if (!x->failed || !(cmd->flags & WIRE_CMD_TRANSACTION))
        return false;
    while (wire_cmd_next(&c, &sql, &params) == 0)
        if (sql_classify_all(sql) > SQL_CLASS_ORDINARY)
            return false;
    return true;
}

/* An entry has changed something if it changed, inserted or deleted a row, or if a statement of it ran that
 * changes other things: the schema, a value in the file. What its own ROLLBACK took back counts. So it is
 * the same in a batch and alone, and errs towards "changed". */
static void note_change(const struct entry_run *x, const struct wire_cmd *cmd, int64_t total_before)
{
    bool changed = x->changed || sqlite3_total_changes64(x->d->writer) != total_before;

    ASSERT(x->e->index > x->d->changed_index);
    if (changed && !rolled_back(x, cmd))
        x->d->changed_index = x->e->index;
}

/* The condition, the statements, and what they leave behind besides rows. */
static int entry_apply(struct entry_run *x, const struct wire_cmd *cmd, struct db_sink *sink,
                       bool in_batch)
{
    struct db *d = x->d;
    struct db_cond cond;
    bool touched_before = d->schema_touched;
    bool upkeep = (cmd->flags & WIRE_CMD_UPKEEP) != 0;
    int64_t total_before = sqlite3_total_changes64(d->writer);

    d->schema_touched = false;
    d->entry_wall_ns = x->cmd.wall_ns;
    if (d->upkeep.first_wall_ns == 0)
        d->upkeep.first_wall_ns = x->cmd.wall_ns;
    counts_of(d, &x->cmd)->transactions += (x->cmd.flags & WIRE_CMD_TRANSACTION) != 0;
    entry_begin(x, sink);
    int rc = db_cond_judge(d, cmd, in_batch, &cond);
    x->run.stopped = cond.stopped;
    if (rc == 0 && !cond.stopped && cond.verdict == DB_CONDITION_MET)
        rc = upkeep ? upkeep_run(x, cmd, in_batch) : entry_run(x, in_batch);
    else if (rc == 0 && !cond.stopped)
        db_cond_tell(&cond, sink);
    if (rc == 0 && d->schema_touched && !x->run.stopped && !is_query(cmd))
        rc = digest_schema(d);
    if (d->schema_touched)
        d->schema_known = false;
    d->schema_touched |= touched_before;
    if (rc == 0 && !x->run.stopped && !upkeep)
        note_change(x, cmd, total_before);
    return rc;
}

static int load_apply(struct db *d, const struct db_entry *e, const struct wire_cmd *cmd)
{
    int rc = db_load_apply(d, e, cmd);

    d->entry_wall_ns = cmd->wall_ns;
    if (rc || !d->next.set)
        return rc;
    d->changed_index = e->index;
    d->counters.loads++;
    return digest_schema(d);
}

int db_work_apply(struct db *d, const struct db_entry *e, const struct db_work *w, bool in_batch,
                  bool *redo)
{
    struct entry_run x = {.d = d, .e = e};
    struct db_sink *sink = e->sink;
    bool answered = false;
    int rc = 0;

    ASSERT(e->index > d->applied_index);
    *redo = false;
    db_fold(&d->digest, e->index);
    if (e->kind != RAFT_ENTRY_NORMAL)
        return 0;
    digest_entry(d, e);
    db_stage_age(d, e->index);
    if (wire_cmd_loads(&w->cmd))
        return load_apply(d, e, &w->cmd);
    if (is_query(&w->cmd) && !e->sink)
        return 0; /* a read runs only where somebody waits for it */
    x.cmd = w->cmd;
    x.keyed = w->cmd.idempotency_key.len > 0;
    x.once = (struct db_once){.e = e, .cmd = &w->cmd};
    x.made = w->replaces && e->prepared == DB_PREPARED;
    if (x.keyed)
        rc = db_once_begin(d, &x.once, &sink, &answered);
    if (rc || answered)
        return rc;
    rc = entry_apply(&x, &w->cmd, sink, in_batch);
    *redo = x.run.stopped;
    if (rc == 0 && x.keyed && !*redo)
        rc = db_once_end(d, &x.once);
    return rc;
}

/* ---- before it runs ------------------------------------------------------------------------------------- */

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

int db_work_open(const struct db *d, const struct db_entry *e, struct db_work *w)
{
    struct slice sql;
    uint32_t params;

    ASSERT(d->schema_known);
    w->alone = d->schema_alone;
    w->replaces = false;
    if (e->kind != RAFT_ENTRY_NORMAL)
        return 0;
    if (wire_cmd_open(e->payload, true, &w->cmd))
        return ERR_CORRUPT;
    w->replaces = w->cmd.kind == WIRE_CMD_LOAD_INSTALL || db_made_may(d, &w->cmd);
    if (w->replaces || (wire_cmd_loads(&w->cmd) && w->cmd.load.at == 0))
        w->alone = true; /* so do the first piece, and what drops them: nothing brings them back */
    struct wire_cmd c = w->cmd;
    while (!w->alone && wire_cmd_next(&c, &sql, &params) == 0)
        w->alone = text_runs_alone(d, sql);
    return 0;
}
