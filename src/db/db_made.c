/* db_made.c — VACUUM on disk: the vacuumed database is made in a file of its own, which becomes the main file
 * (db_replace.c). In place it would be written four times over: to a temporary file, to the WAL, to the image's
 * journal, and from there over the old one.
 *
 * Only for an entry that is this one statement, so that the moment before it is one of the log's: everything else
 * goes the long way, with the same outcome. */
#include "db_int.h"

enum { WRITE_VERSION = 18, READ_VERSION = 19, SCHEMA_COOKIE = 40, HEAD_BYTES = 100 };

struct db_made {
    struct db_files files; /* as a database of its own, to our VFS */
    char *sql;
};

static bool is_vacuum(struct slice sql)
{
    struct sql_tokens t;

    sql_tokens_init(&t, sql);
    struct sql_token word = sql_tokens_next(&t), end = sql_tokens_next(&t);
    if (end.kind == SQL_TOKEN_SEMICOLON)
        end = sql_tokens_next(&t);
    return sql_token_is(word, "vacuum") && end.kind == SQL_TOKEN_END;
}

bool db_made_may(const struct db *d, const struct wire_cmd *cmd)
{
    const struct db_replacer *r = d->config.replacer;
    struct wire_cmd c = *cmd;
    struct slice sql;
    uint32_t params;

    return d->config.on_disk && r && r->vacuum_path && cmd->kind != WIRE_CMD_QUERY &&
           (cmd->flags & ~WIRE_CMD_UPKEEP) == 0 && cmd->idempotency_key.len == 0 &&
           cmd->statement_count == 1 && wire_cmd_next(&c, &sql, &params) == 0 && params == 0 &&
           is_vacuum(sql);
}

void db_made_drop(struct db *d)
{
    struct db_made *m = d->made;

    if (!m)
        return;
    bool there = m->files.stores[DB_SLOT_MAIN].exists;
    for (int i = 0; i < DB_SLOT_COUNT; i++)
        db_store_drop(&m->files.stores[i]);
    if (there && !d->next.set)
        (void)!env_file_remove(d->env, m->files.path); /* else before the next one */
    db_shm_free(&m->files);
    sqlite3_mutex_free(m->files.mutex);
    sqlite3_free(m->sql);
    mem_free(m);
    d->made = NULL;
}

/* The image has all that the WAL holds, and nobody reads: its space is better used. */
static int wal_empty(struct db *d)
{
    if (!db_pages_all_copied(&d->files))
        return 0;
    db_now_statement();
    (void)sqlite3_wal_checkpoint_v2(d->writer, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL);
    int rc = db_now()->machine_rc;
    while (rc == 0 && (rc = db_wal_shrink(d)) == DB_MORE)
        rc = 0;
    return rc && !db_now()->machine_rc ? db_now_failed(rc) : rc;
}

int db_made_begin(struct db *d, struct slice *sql)
{
    struct db_made *m = mem_zalloc(sizeof(*m));
    const char *path = d->config.replacer->vacuum_path;

    int rc = wal_empty(d);
    if (rc || !m) {
        mem_free(m);
        return rc ? rc : db_now_failed(ERR_NOMEM);
    }
    d->made = m;
    m->sql = sqlite3_mprintf("VACUUM INTO %Q", path);
    m->files.env = d->env;
    m->files.on_disk = true;
    m->files.mutex = sqlite3_mutex_alloc(SQLITE_MUTEX_FAST); /* NULL in single-thread mode */
    (void)snprintf(m->files.path, sizeof(m->files.path), "%s", path);
    rc = env_file_remove(d->env, path);
    if ((rc && rc != ERR_NOT_FOUND) || !m->sql)
        return db_now_failed(m->sql ? rc : ERR_NOMEM);
    *sql = slice_str(m->sql);
    d->guard.into = m->files.path;
    db_vfs_opening(&m->files);
    return 0;
}

/* The main file is one in WAL mode. */
static int head_settle(struct db *d, struct db_store *store)
{
    uint8_t head[HEAD_BYTES];
    const uint8_t wal[2] = {2, 2};
    size_t got = 0;

    int rc = db_store_read(store, head, sizeof(head), 0, &got);
    if (rc == 0 && got != sizeof(head))
        rc = ERR_IO;
    if (rc == 0)
        rc = db_store_write(store, wal, sizeof(wal), WRITE_VERSION);
    const uint8_t *c = head + SCHEMA_COOKIE;
    d->next.schema_cookie =
        (uint32_t)c[0] << 24 | (uint32_t)c[1] << 16 | (uint32_t)c[2] << 8 | c[3];
    return rc;
}

int db_made_end(struct db *d, bool ok)
{
    db_vfs_opening(NULL);
    d->guard.into = NULL;
    if (!ok) {
        db_made_drop(d);
        return 0;
    }
    int rc = head_settle(d, &d->made->files.stores[DB_SLOT_MAIN]);
    d->next.by = DB_BY_FILE;
    d->next.set = rc == 0;
    db_made_drop(d);
    return rc ? db_now_failed(rc) : 0;
}
