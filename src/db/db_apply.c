/* db_apply.c — entries of the log, many in one SQLite transaction, each with the outcome it would have
 * alone (architecture §3).
 *
 * What an entry does to the idempotency keys is committed and rolled back with it.
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

/* What holds between batches: nothing is open, and what is counted beside SQLite agrees with itself. */
static void steady_check(const struct db *d)
{
    ASSERT(sqlite3_get_autocommit(d->writer));
    ASSERT(!d->keys.in_transaction);
    ASSERT(sqlite3_get_autocommit(d->keys.conn));
    ASSERT(d->changed_index <= d->applied_index);
    ASSERT(d->keys.now.count > 0 || d->keys.now.bytes == 0);
    ASSERT(d->stage.now.id != 0 || d->stage.now.bytes == 0);
    ASSERT(!d->next.set && !d->made);
    ASSERT(d->stmts.count <= d->stmts.max);
    ASSERT(d->batches_redone <= d->batches);
}

/* Open the entries of the next batch; *n of them, at least one. */
static int batch_open(struct db *d, const struct db_entry *entries, uint32_t count, uint32_t *n)
{
    ASSERT(count > 0);
    *n = 0;
    int rc = schema_look(d);
    while (rc == 0 && *n < count && *n < d->config.batch_max) {
        rc = db_work_open(d, &entries[*n], &d->work[*n]);
        if (rc == 0 && d->work[*n].replaces && entries[*n].prepared == DB_UNPREPARED)
            rc = DB_PREPARE;
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
    ASSERT(last->index > d->applied_index);
    ASSERT(last->term >= d->applied_term);
    d->applied_index = last->index;
    d->applied_term = last->term;
}

/* In autocommit. A PRAGMA defer_foreign_keys, which SQLite would keep until the next transaction ends, ends
 * with its request. */
static int apply_alone(struct db *d, const struct db_entry *e, const struct db_work *w,
                       struct err_text *why)
{
    struct db_sticky s;
    bool redo;

    ASSERT(!d->keys.in_transaction);
    db_sticky_save(d, &s);
    d->schema_touched = false;
    int rc = db_work_apply(d, e, w, false, &redo);
    if (rc == 0 && d->schema_touched)
        rc = db_control(d, DB_BEGIN, NULL);
    int back = db_roll_back(d);
    rc = rc ? rc : back;
    if (rc == 0)
        rc = db_keys_commit(&d->keys);
    if (rc) {
        (void)db_keys_roll_back(&d->keys);
        d->digest = s.digest;
        return rc;
    }
    ASSERT(sqlite3_get_autocommit(d->writer));
    if (d->next.set) {
        rc = db_replace(d, e, why);
        if (d->applied_index != e->index)
            d->digest = s.digest;
        return rc;
    }
    advance(d, e);
    return 0;
}

static int apply_singly(struct db *d, const struct db_entry *entries, uint32_t count,
                        struct err_text *why)
{
    int rc = 0;

    for (uint32_t i = 0; rc == 0 && i < count; i++)
        rc = apply_alone(d, &entries[i], &d->work[i], why);
    return rc;
}

static int apply_together(struct db *d, const struct db_entry *entries, uint32_t count, bool *redo)
{
    int refused = SQLITE_OK;

    ASSERT(sqlite3_get_autocommit(d->writer));
    *redo = false;
    db_now_statement();
    int rc = db_control(d, DB_BEGIN, NULL);
    for (uint32_t i = 0; rc == 0 && !*redo && i < count; i++)
        rc = db_work_apply(d, &entries[i], &d->work[i], true, redo);
    if (rc || *redo)
        return rc;
    db_now_statement();
    rc = db_control(d, DB_COMMIT, &refused);
    *redo = rc == 0 && refused;
    return rc || refused ? rc : db_keys_commit(&d->keys);
}

static int apply_batch(struct db *d, const struct db_entry *entries, uint32_t count,
                       struct err_text *why)
{
    struct db_sticky s;
    bool redo;

    ASSERT(count > 1 && count <= d->config.batch_max);
    const struct db_counters counters = d->counters;
    const struct db_stage_facts stage = d->stage.now;
    d->batches++;
    d->schema_touched = false;
    db_sticky_save(d, &s);
    int rc = apply_together(d, entries, count, &redo);
    if (rc == 0 && !redo) {
        advance(d, &entries[count - 1]);
        return 0;
    }
    int back = db_roll_back(d), keys_back = db_keys_roll_back(&d->keys);
    db_stage_roll_back(d, &stage);
    rc = rc ? rc : back ? back : keys_back;
    if (rc) {
        d->digest = s.digest;
        return rc;
    }
    d->batches_redone++;
    d->counters = counters; /* what is done again is counted once */
    if (d->schema_touched)
        db_stmts_clear(&d->stmts);
    sinks_reset(entries, count);
    rc = db_sticky_restore(d, &s);
    return rc ? rc : apply_singly(d, entries, count, why);
}

enum { WAL_WAIT_MS = 20, BUSY_MS = 5000 };

static void checkpoint_count(struct db *d, int rc, bool partial, uint64_t ns)
{
    struct db_counters *c = &d->counters;

    ASSERT(c->checkpoint_partial <= c->checkpoints);
    c->checkpoints++;
    c->checkpoint_last_ns = ns;
    c->checkpoint_busy += (rc & 0xFF) == SQLITE_BUSY;
    c->checkpoint_errors += rc != SQLITE_OK && (rc & 0xFF) != SQLITE_BUSY;
    c->checkpoint_partial += rc == SQLITE_OK && partial;
}

/* The WAL would only grow: copy it back when it is long. Nothing on disk is relied on after a start, so
 * nothing is synced. The next commit starts it anew if no reader is looking at it then; where readers
 * overlap without end somebody always is, so that at four times the limit those who look are waited for,
 * briefly, and again only when it has grown by a quarter. (New ones no longer need a WAL that has been
 * copied: sqlite.org/c3ref/wal_checkpoint_v2, RESTART.) */
static int limit_wal(struct db *d)
{
    uint64_t bytes = (uint64_t)d->wal_frames * 4096;

    if (bytes < d->config.wal_limit_bytes || d->config.live)
        return 0;
    int log_frames = 0, done_frames = 0;
    bool wait = bytes / 4 >= d->config.wal_limit_bytes && bytes >= d->wal_wait_bytes;
    db_now_statement();
    if (wait)
        (void)sqlite3_busy_timeout(d->writer, WAL_WAIT_MS);
    uint64_t began_ns = env_now_ns(d->env);
    int rc = sqlite3_wal_checkpoint_v2(d->writer, NULL,
                                       wait ? SQLITE_CHECKPOINT_RESTART : SQLITE_CHECKPOINT_PASSIVE,
                                       &log_frames, &done_frames);
    if (wait) {
        (void)sqlite3_busy_timeout(d->writer, BUSY_MS);
        d->wal_wait_bytes = rc == SQLITE_OK ? 0 : bytes + bytes / 4;
    }
    checkpoint_count(d, rc, log_frames != done_frames, env_now_ns(d->env) - began_ns);
    if (rc == SQLITE_OK && log_frames == done_frames)
        d->wal_frames = 0;
    return db_now()->machine_rc;
}

int db_apply(struct db *d, const struct db_entry *entries, uint32_t count, struct err_text *why)
{
    int rc = 0;

    ASSERT(count > 0 && entries[0].index == d->applied_index + 1);
    steady_check(d);
    why->text[0] = '\0';
    db_now_entry(0, 0, d->applied_index);
    while (count && rc == 0) {
        uint32_t n;
        rc = batch_open(d, entries, count, &n);
        if (rc == 0)
            rc = n > 1 ? apply_batch(d, entries, n, why) : apply_singly(d, entries, n, why);
        if (rc == 0)
            rc = limit_wal(d);
        if (rc == 0)
            rc = db_keys_limit_wal(&d->keys, d->config.wal_limit_bytes);
        ASSERT(rc || d->applied_index == entries[n - 1].index);
        entries += n;
        count -= n;
    }
    if (rc == 0)
        steady_check(d);
    if (rc && rc != DB_PREPARE && why->text[0] == '\0')
        (void)err_set(why, rc, "entry %llu: %s", (unsigned long long)d->applied_index + 1,
                      err_text_of(rc));
    db_now_idle();
    return rc;
}
