/* db_import.c — a file that a client sent to be loaded: is it a database, whole and undamaged? Called by node
 * before any of it is proposed; not part of any open database.
 *
 *   head: magic, page size, size of the file ─► WAL mode in the head is undone ─► SQLite's integrity_check
 *   ─► pages of another size than ours: VACUUM INTO another file
 *
 * A file in WAL mode is what its main file holds: its WAL was not sent. */
#include "db_int.h"

enum { WRITE_VERSION = 18, READ_VERSION = 19 };

static const struct db_config config = {.cache_pages = 1000, .path = "import"};

static int head_check(struct env_file *f, uint64_t *bytes, struct db_head *h, struct err_text *why)
{
    static const uint8_t no_wal[2] = {1, 1};
    uint8_t head[DB_HEAD_BYTES];
    size_t got = 0;

    int rc = env_file_size(f, bytes);
    if (rc == 0)
        rc = env_file_read(f, head, sizeof(head), 0, &got);
    if (rc)
        return err_set(why, rc, "the file cannot be read: %s", err_text_of(rc));
    const char *refused =
        got < sizeof(head) ? "invalid SQLite data" : db_head_read(head, *bytes, h);
    if (refused)
        return err_set(why, ERR_INVALID, "%s", refused);
    if (*bytes > LIMIT_LOAD_BYTES)
        return err_set(why, ERR_INVALID, "the database is larger than the limit");
    if (h->write_version != 1 || h->read_version != 1)
        rc = env_file_write(f, no_wal, sizeof(no_wal), WRITE_VERSION);
    return rc ? err_set(why, rc, "the file cannot be written: %s", err_text_of(rc)) : 0;
}

void db_import_prepare(void *first, size_t len)
{
    uint8_t *head = first;

    ASSERT(len >= DB_HEAD_BYTES);
    head[WRITE_VERSION] = head[READ_VERSION] = 2;
}

/* ---- as SQLite sees it ------------------------------------------------------------------------------------- */

struct import {
    struct db_files files, target;
    sqlite3 *conn;
};

static int import_open(struct env *e, const char *path, struct import **out, struct err_text *why)
{
    struct import *i = mem_zalloc(sizeof(*i));
    struct db_store *store = i ? &i->files.stores[DB_SLOT_MAIN] : NULL;

    *out = i;
    if (!i)
        return err_set(why, ERR_NOMEM, "no memory for loading");
    i->files.env = i->target.env = e;
    i->files.on_disk = i->target.on_disk = true;
    (void)snprintf(i->files.path, sizeof(i->files.path), "%s", path);
    int rc = env_file_open(e, path, 0, &store->file);
    if (rc == 0)
        rc = env_file_size(store->file, &store->size);
    store->exists = rc == 0;
    if (rc)
        return err_set(why, rc, "%s cannot be opened: %s", path, err_text_of(rc));
    rc = db_conn_open(&i->files, &config, NULL, &i->conn, why);
    if (rc == 0)
        rc = db_exec(i->conn, "PRAGMA query_only=OFF;PRAGMA cache_spill=ON", why);
    return rc;
}

static void import_close(struct import *i)
{
    if (!i)
        return;
    int rc = sqlite3_close(i->conn);
    ASSERT(rc == SQLITE_OK);
    for (int s = 0; s < DB_SLOT_COUNT; s++) {
        db_store_drop(&i->files.stores[s]);
        db_store_drop(&i->target.stores[s]);
    }
    mem_free(i);
}

/* What our files or memory did to it is not the client's fault; everything else is the file's. */
static int import_judged(int rc)
{
    if (rc == 0 || db_now()->machine_rc)
        return rc == 0 ? 0 : db_now()->machine_rc;
    return rc == ERR_NOMEM ? rc : ERR_INVALID;
}

int db_import_check(struct env *e, const char *path, uint64_t *bytes, bool *rewrite,
                    struct err_text *why)
{
    struct import *i = NULL;
    struct env_file *f;
    struct db_head h = {0};

    int rc = env_file_open(e, path, 0, &f);
    if (rc)
        return err_set(why, rc, "%s cannot be opened: %s", path, err_text_of(rc));
    rc = head_check(f, bytes, &h, why);
    env_file_close(f);
    if (rc)
        return rc;
    db_now_query(0, 1);
    rc = import_open(e, path, &i, why);
    if (rc == 0)
        rc = db_check(i->conn, why);
    rc = import_judged(rc);
    import_close(i);
    db_now_idle();
    *rewrite = h.page_bytes != DB_PAGE_BYTES;
    return rc;
}

int db_import_rewrite(struct env *e, const char *path, const char *into, uint64_t *bytes,
                      struct err_text *why)
{
    struct import *i = NULL;
    char *sql = sqlite3_mprintf("PRAGMA page_size=%d;VACUUM INTO %Q", DB_PAGE_BYTES, into);

    db_now_query(0, 1);
    int rc = sql ? import_open(e, path, &i, why) : err_set(why, ERR_NOMEM, "no memory for loading");
    if (rc == 0) {
        (void)snprintf(i->target.path, sizeof(i->target.path), "%s", into);
        db_vfs_opening(&i->target);
        rc = db_exec(i->conn, sql, why);
        db_vfs_opening(NULL);
        *bytes = i->target.stores[DB_SLOT_MAIN].size;
    }
    rc = import_judged(rc);
    import_close(i);
    db_now_idle();
    sqlite3_free(sql);
    return rc;
}
