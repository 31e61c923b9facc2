/* db_hash.c — the content of a database as one number: schema and all rows in order, whatever the pages
 * look like. */
#include "db_int.h"
#include <rq/util/endian.h>

static void fold_bytes(uint64_t *h, const void *bytes, int len)
{
    *h = prng_hash(*h, bytes, len > 0 ? (size_t)len : 0);
}

static void fold_row(uint64_t *h, sqlite3_stmt *s)
{
    for (int i = 0; i < sqlite3_column_count(s); i++) {
        uint8_t bits[8];
        double real = sqlite3_column_double(s, i);
        int type = sqlite3_column_type(s, i);
        db_fold(h, (uint64_t)type);
        if (type == SQLITE_INTEGER)
            db_fold(h, (uint64_t)sqlite3_column_int64(s, i));
        else if (type == SQLITE_FLOAT)
            memcpy(bits, &real, sizeof(bits)), fold_bytes(h, bits, sizeof(bits));
        else if (type != SQLITE_NULL)
            fold_bytes(h, sqlite3_column_blob(s, i), sqlite3_column_bytes(s, i));
    }
}

static int fold_select(struct db *d, const char *sql, uint64_t *h)
{
    sqlite3_stmt *s = NULL;

    int rc = sqlite3_prepare_v2(d->writer, sql, -1, &s, NULL);
    while (rc == SQLITE_OK && (rc = sqlite3_step(s)) == SQLITE_ROW) {
        fold_row(h, s);
        rc = SQLITE_OK;
    }
    (void)sqlite3_finalize(s);
    return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

/* By rowid where there is one, else as the primary key's tree has them. */
static int fold_table(struct db *d, const char *name, uint64_t *h)
{
    static const char *const forms[] = {"SELECT rowid,* FROM \"%w\" ORDER BY rowid",
                                        "SELECT * FROM \"%w\" NOT INDEXED"};
    int rc = SQLITE_ERROR;
    uint64_t folded = 0;

    for (int i = 0; i < 2 && rc == SQLITE_ERROR; i++) {
        char *sql = sqlite3_mprintf(forms[i], name);
        folded = *h;
        rc = sql ? fold_select(d, sql, &folded) : SQLITE_NOMEM;
        sqlite3_free(sql);
    }
    *h = folded;
    return rc;
}

int db_content_hash(struct db *d, uint64_t *out)
{
    sqlite3_stmt *tables = NULL;
    uint64_t h = 1;

    db_now_entry(0, 0, 0);
    d->guard.mode = DB_GUARD_OFF;
    int rc =
        fold_select(d, "SELECT type,name,tbl_name,sql FROM sqlite_schema ORDER BY type,name", &h);
    if (rc == SQLITE_OK) /* virtual tables are what their shadow tables hold */
        rc =
            sqlite3_prepare_v2(d->writer,
                               "SELECT name FROM sqlite_schema WHERE type='table' AND sql NOT LIKE "
                               "'CREATE VIRTUAL%' ORDER BY name",
                               -1, &tables, NULL);
    while (rc == SQLITE_OK && (rc = sqlite3_step(tables)) == SQLITE_ROW)
        rc = fold_table(d, (const char *)sqlite3_column_text(tables, 0), &h);
    (void)sqlite3_finalize(tables);
    *out = h;
    int machine = rc == SQLITE_DONE ? 0 : db_machine_code(rc);
    db_now_idle();
    return machine;
}

/* A row that breaks a rule of its table (let in by PRAGMA ignore_check_constraints) is no damage. */
static bool is_damage(const char *line)
{
    static const char *const rules[] = {
        "CHECK constraint failed", "NULL value in", "NUMERIC value in",
        "TEXT value in",           "non-",          "ok"};
    for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++)
        if (strncmp(line, rules[i], strlen(rules[i])) == 0)
            return false;
    return true;
}

int db_check(sqlite3 *conn, struct err_text *why)
{
    sqlite3_stmt *s = NULL;
    int result = 0;

    int rc = sqlite3_prepare_v2(conn, "PRAGMA integrity_check(1000)", -1, &s, NULL);
    while (rc == SQLITE_OK && result == 0 && (rc = sqlite3_step(s)) == SQLITE_ROW) {
        const char *line = (const char *)sqlite3_column_text(s, 0);
        if (line && is_damage(line))
            result = err_set(why, ERR_CORRUPT, "%s", line);
        rc = SQLITE_OK;
    }
    if (result == 0 && rc != SQLITE_DONE)
        result = err_set(why, db_machine_code(rc), "%s", sqlite3_errmsg(conn));
    (void)sqlite3_finalize(s);
    return result;
}

int db_integrity_check(struct db *d, struct err_text *why)
{
    db_now_entry(0, 0, 0);
    d->guard.mode = DB_GUARD_OFF;
    int rc = db_check(d->writer, why);
    db_now_idle();
    return rc;
}
