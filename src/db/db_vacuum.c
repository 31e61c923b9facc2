/* db_vacuum.c — a vacuumed copy for a backup: VACUUM INTO an env file, then that file. Called by db_backup.c.
 *
 * The copy is a database of its own to our VFS: a set of files whose main one is on disk, so that SQLite spills
 * into it what does not fit into its cache. Its name is known while the statement runs only (db_vfs_opening),
 * and nothing is synced: after a crash the file is worthless, and removed by whoever gave the path. */
#include "db_int.h"

enum { PIECE_BYTES = 64 * 1024, PROGRESS_STEPS = 1000 };

struct db_vacuum {
    struct db *db;
    const atomic_bool *canceled;
    struct db_files files; /* of the copy */
    bool made;
    uint64_t given; /* bytes of it */
};

struct db_vacuum *db_vacuum_new(struct db *d, const char *path, const atomic_bool *canceled)
{
    struct db_vacuum *v = mem_zalloc(sizeof(*v));

    if (!v)
        return NULL;
    int len = snprintf(v->files.path, sizeof(v->files.path), "%s", path);
    ASSERT(len > 0 && len < (int)sizeof(v->files.path));
    v->db = d;
    v->canceled = canceled;
    v->files.env = d->env;
    v->files.on_disk = true;
    v->files.dirty.all = true;
    v->files.mutex = sqlite3_mutex_alloc(SQLITE_MUTEX_FAST);
    return v;
}

void db_vacuum_free(struct db_vacuum *v)
{
    if (!v)
        return;
    bool there = v->files.stores[DB_SLOT_MAIN].exists;
    for (int i = 0; i < DB_SLOT_COUNT; i++)
        db_store_drop(&v->files.stores[i]);
    db_shm_free(&v->files);
    mem_free(v->files.dirty.page);
    sqlite3_mutex_free(v->files.mutex);
    if (there && env_file_remove(v->files.env, v->files.path))
        env_log(v->files.env, "store", "cannot remove %s", v->files.path);
    mem_free(v);
}

/* ---- making it ------------------------------------------------------------------------------------------ */

static int on_progress(void *ctx)
{
    const struct db_vacuum *v = ctx;
    return v->canceled && atomic_load_explicit(v->canceled, memory_order_relaxed);
}

/* At most as large as the database, and not while nearly all is taken. */
static int space_check(struct db_vacuum *v, sqlite3 *conn, struct err_text *why)
{
    sqlite3_stmt *s = NULL;
    uint64_t need = 0, left = 0;
    char dir[DB_PATH_MAX];

    int rc = sqlite3_prepare_v2(
        conn, "SELECT page_count*page_size FROM pragma_page_count, pragma_page_size", -1, &s, NULL);
    if (rc == SQLITE_OK && sqlite3_step(s) == SQLITE_ROW)
        need = (uint64_t)sqlite3_column_int64(s, 0);
    (void)sqlite3_finalize(s);
    (void)snprintf(dir, sizeof(dir), "%s", v->files.path);
    char *slash = strrchr(dir, '/');
    if (slash)
        *slash = '\0';
    if (env_disk_free(v->files.env, slash ? dir : ".", &left) == 0 && left / 10 * 9 < need)
        return err_set(why, ERR_NOSPC, "a vacuumed copy may need %llu bytes, %llu are free",
                       (unsigned long long)need, (unsigned long long)left);
    return 0;
}

static int vacuum_failed(sqlite3 *conn, int rc, struct err_text *why)
{
    if ((rc & 0xFF) == SQLITE_INTERRUPT)
        return err_set(why, ERR_CANCELED, "canceled");
    if ((rc & 0xFF) == SQLITE_FULL || db_now()->machine_rc == ERR_NOSPC)
        return err_set(why, ERR_NOSPC, "no space for a vacuumed copy");
    if ((rc & 0xFF) == SQLITE_NOMEM)
        return err_set(why, ERR_NOMEM, "no memory for a vacuumed copy");
    /* Whichever of the two files failed: the database is there for others to judge. */
    return err_set(why, ERR_SQL, "vacuum: %s", sqlite3_errmsg(conn));
}

static int vacuum_run(struct db_vacuum *v, sqlite3 *conn, struct err_text *why)
{
    char *sql = sqlite3_mprintf("VACUUM INTO %Q", v->files.path);

    if (!sql)
        return err_set(why, ERR_NOMEM, "no memory for a vacuumed copy");
    sqlite3_progress_handler(conn, PROGRESS_STEPS, on_progress, v);
    db_vfs_opening(&v->files);
    int rc = sqlite3_exec(conn, sql, NULL, NULL, NULL);
    db_vfs_opening(NULL);
    sqlite3_free(sql);
    return rc == SQLITE_OK ? 0 : vacuum_failed(conn, rc, why);
}

static int vacuum_make(struct db_vacuum *v, struct err_text *why)
{
    sqlite3 *conn = NULL;
    int rc = db_conn_open(&v->db->files, &v->db->config, NULL, &conn, why);

    /* Its own opening is over, and the main file's WAL open, before the copy's name is made known. */
    if (rc == 0)
        rc = db_exec(conn, "PRAGMA query_only=OFF;SELECT 1 FROM sqlite_schema", why);
    if (rc == 0)
        rc = space_check(v, conn, why);
    if (rc == 0)
        rc = vacuum_run(v, conn, why);
    int closed = sqlite3_close(conn);
    ASSERT(closed == SQLITE_OK);
    v->made = rc == 0;
    return rc;
}

/* ---- giving it --------------------------------------------------------------------------------------------- */

int db_vacuum_step(struct db_vacuum *v, struct buf *out, size_t bytes, struct err_text *why)
{
    struct db_store *copy = &v->files.stores[DB_SLOT_MAIN];
    int rc = v->made ? 0 : vacuum_make(v, why);

    while (rc == 0 && v->given < copy->size && buf_len(out) < bytes) {
        size_t got = 0;
        uint8_t *dst = buf_reserve(out, PIECE_BYTES);
        if (!dst)
            return out->failed;
        if (db_store_read(copy, dst, PIECE_BYTES, v->given, &got) || got == 0)
            return err_set(why, ERR_SQL, "the vacuumed copy cannot be read");
        buf_commit(out, got);
        v->given += got;
    }
    return rc || v->given >= copy->size ? rc : DB_MORE;
}
