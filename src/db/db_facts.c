/* db_facts.c — how connections are set, asked of SQLite itself once after opening, so that what /status
 * says cannot differ from what is. Called by node's opening job. */
#include "db_int.h"

static void pragma_text(sqlite3 *conn, const char *name, char *dst, size_t cap)
{
    char sql[64];
    sqlite3_stmt *s = NULL;

    dst[0] = '\0';
    (void)snprintf(sql, sizeof(sql), "PRAGMA %s", name);
    if (sqlite3_prepare_v2(conn, sql, -1, &s, NULL) == SQLITE_OK && sqlite3_step(s) == SQLITE_ROW) {
        const unsigned char *text = sqlite3_column_text(s, 0);
        (void)snprintf(dst, cap, "%s", text ? (const char *)text : "");
    }
    (void)sqlite3_finalize(s);
}

static int64_t pragma_number(sqlite3 *conn, const char *name)
{
    char sql[64];
    sqlite3_stmt *s = NULL;
    int64_t value = 0;

    (void)snprintf(sql, sizeof(sql), "PRAGMA %s", name);
    if (sqlite3_prepare_v2(conn, sql, -1, &s, NULL) == SQLITE_OK && sqlite3_step(s) == SQLITE_ROW)
        value = sqlite3_column_int64(s, 0);
    (void)sqlite3_finalize(s);
    return value;
}

static void pragmas_look(sqlite3 *conn, struct db_pragmas *p)
{
    pragma_text(conn, "busy_timeout", p->busy_timeout, sizeof(p->busy_timeout));
    pragma_text(conn, "foreign_keys", p->foreign_keys, sizeof(p->foreign_keys));
    pragma_text(conn, "journal_mode", p->journal_mode, sizeof(p->journal_mode));
    pragma_text(conn, "synchronous", p->synchronous, sizeof(p->synchronous));
    pragma_text(conn, "wal_autocheckpoint", p->wal_autocheckpoint, sizeof(p->wal_autocheckpoint));
}

void db_facts(struct db *d, struct db_facts *out)
{
    struct db_reader *r = NULL;

    ASSERT(sqlite3_get_autocommit(d->writer));
    memset(out, 0, sizeof(*out));
    enum db_guard_mode mode = d->guard.mode;
    d->guard.mode = DB_GUARD_OFF;
    db_now_entry(0, 0, 0);
    pragmas_look(d->writer, &out->rw);
    out->page_size = pragma_number(d->writer, "page_size");
    out->max_page_count = pragma_number(d->writer, "max_page_count");
    out->cache_size = pragma_number(d->writer, "cache_size");
    out->hard_heap_limit = pragma_number(d->writer, "hard_heap_limit");
    out->soft_heap_limit = pragma_number(d->writer, "soft_heap_limit");
    db_now_idle();
    d->guard.mode = mode;
    if (db_reader_open(d, &r, NULL))
        return;
    r->guard.mode = DB_GUARD_OFF;
    db_now_query(env_wall_ns(d->env), 1);
    pragmas_look(r->conn, &out->ro);
    db_now_idle();
    db_reader_close(r);
}
