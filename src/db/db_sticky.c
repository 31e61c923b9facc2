/* db_sticky.c — what entries change besides the database: the three counters that SQL can see, the
 * digest, and which entry was the last that changed anything. When a batch is done again they must be as they were before it, or the second attempt would
 * see the first.
 *
 * last_insert_rowid() can be set; total_changes() is ours and shifted (db_entry.c); changes() can only be
 * made by changing rows, so that many rows of a temporary table are changed. */
#include "db_int.h"

void db_sticky_save(const struct db *d, struct db_sticky *s)
{
    ASSERT(d->writer);
    s->digest = d->digest;
    s->changed_index = d->changed_index;
    s->rowid = sqlite3_last_insert_rowid(d->writer);
    s->changes = sqlite3_changes64(d->writer);
    s->total = sqlite3_total_changes64(d->writer) + d->total_shift;
}

static int change_rows(struct db *d, int64_t count)
{
    char sql[400];

    ASSERT(count >= 0);
    /* One row, inserted and then updated: nothing grows with count. */
    (void)snprintf(sql, sizeof(sql),
                   "CREATE TEMP TABLE rq_changes(x INTEGER PRIMARY KEY);"
                   "WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM c)"
                   " INSERT INTO temp.rq_changes SELECT 1 FROM c WHERE true LIMIT %lld"
                   " ON CONFLICT DO UPDATE SET x=1;"
                   "DROP TABLE temp.rq_changes;",
                   (long long)count);
    enum db_guard_mode mode = d->guard.mode;
    d->guard.mode = DB_GUARD_OFF;
    int rc = db_exec(d->writer, sql, NULL);
    d->guard.mode = mode;
    ASSERT(rc || sqlite3_changes64(d->writer) == count);
    return rc;
}

int db_sticky_restore(struct db *d, const struct db_sticky *s)
{
    int rc = 0;

    ASSERT(sqlite3_get_autocommit(d->writer)); /* the batch was rolled back */
    db_now_statement();
    if (sqlite3_changes64(d->writer) != s->changes)
        rc = change_rows(d, s->changes);
    sqlite3_set_last_insert_rowid(d->writer, s->rowid);
    d->total_shift = s->total - sqlite3_total_changes64(d->writer);
    d->digest = s->digest;
    d->changed_index = s->changed_index;
    ASSERT(sqlite3_last_insert_rowid(d->writer) == s->rowid);
    return rc;
}

/* ---- values of changed rows ------------------------------------------------------------------------------- */

static void fold_value(uint64_t *h, sqlite3_value *v)
{
    int type = sqlite3_value_type(v);
    uint64_t bits = 0;
    double real;

    db_fold(h, (uint64_t)type);
    switch (type) {
    case SQLITE_INTEGER:
        bits = (uint64_t)sqlite3_value_int64(v);
        break;
    case SQLITE_FLOAT:
        real = sqlite3_value_double(v);
        memcpy(&bits, &real, sizeof(bits));
        break;
    case SQLITE_TEXT:
    case SQLITE_BLOB: {
        const void *bytes = sqlite3_value_blob(v);
        bits = prng_hash(0, bytes, (size_t)sqlite3_value_bytes(v));
        break;
    }
    default:
        break;
    }
    db_fold(h, bits);
}

static void on_preupdate(void *ctx, sqlite3 *conn, int op, const char *schema, const char *table,
                         sqlite3_int64 old_rowid, sqlite3_int64 new_rowid)
{
    struct db *d = ctx;
    sqlite3_value *v;

    if (strcmp(schema, "main") != 0)
        return;
    db_fold(&d->digest, prng_hash((uint64_t)op, table, strlen(table)));
    db_fold(&d->digest, prng_mix((uint64_t)old_rowid, (uint64_t)new_rowid));
    for (int i = 0; i < sqlite3_preupdate_count(conn); i++) {
        if (op != SQLITE_INSERT && sqlite3_preupdate_old(conn, i, &v) == SQLITE_OK)
            fold_value(&d->digest, v);
        if (op != SQLITE_DELETE && sqlite3_preupdate_new(conn, i, &v) == SQLITE_OK)
            fold_value(&d->digest, v);
    }
}

void db_row_digest_install(struct db *d)
{
    (void)sqlite3_preupdate_hook(d->writer, on_preupdate, d);
}
