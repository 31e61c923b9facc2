/* db_load.c — an entry that brings a piece of a database file, or installs the file that the pieces make
 * (db_stage.c): then its pages take the place of all the database held, in one transaction of the writer's, so
 * that a reader sees the old database or the new one, and the WAL tells cuts which pages changed.
 *
 * The file's own change counters, WAL mode and so on do not matter; counters that SQL can see
 * (last_insert_rowid() …) and settings of connections stay as they were: a load is no statement.
 *
 * Whoever proposed the file has checked all of it (db_import.c). Here the pieces are counted and their checksum
 * compared, and what would make the database unreadable is refused; that says the same on every node. */
#include "db_int.h"
#include <rq/util/endian.h>

/* ---- the head of a file ---------------------------------------------------------------------------------- */

static uint32_t be32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

const char *db_head_read(const uint8_t head[DB_HEAD_BYTES], uint64_t file_bytes,
                         struct db_head *out)
{
    enum { PAGE = 16, WRITE = 18, READ = 19, CHANGED = 24, COUNT = 28, ENCODING = 56, VALID = 92 };

    if (memcmp(head, "SQLite format 3", 16) != 0)
        return "invalid SQLite data";
    out->page_bytes = (uint32_t)head[PAGE] << 8 | head[PAGE + 1];
    if (out->page_bytes == 1)
        out->page_bytes = 65536;
    if (out->page_bytes < 512 || (out->page_bytes & (out->page_bytes - 1)))
        return "invalid SQLite data: page size";
    out->write_version = head[WRITE];
    out->read_version = head[READ];
    if (out->write_version < 1 || out->write_version > 2 || out->read_version < 1 ||
        out->read_version > 2)
        return "invalid SQLite data: file format version";
    out->page_count = be32(head + CHANGED) == be32(head + VALID) ? be32(head + COUNT) : 0;
    uint64_t pages = file_bytes / out->page_bytes;
    if (pages == 0 || pages > UINT32_MAX - 1 || file_bytes % out->page_bytes != 0 ||
        (out->page_count != 0 && out->page_count != pages))
        return "invalid SQLite data: the file's size is not what its header says";
    out->page_count = (uint32_t)pages;
    out->encoding = be32(head + ENCODING);
    if (out->encoding > 1)
        return "the text of the database is UTF-16, which is not supported: load it as SQL text";
    return NULL;
}

/* ---- installing -------------------------------------------------------------------------------------------- */

static const char *install_refused(const struct db_stage *s, const struct wire_load *l)
{
    if (s->id != l->id)
        return "the load was given up: another one began, or its pieces were too far apart";
    if (s->bytes != l->at)
        return "a piece of the load is missing";
    if (s->digest != l->digest)
        return "a piece of the load is damaged";
    if (s->bytes < DB_HEAD_BYTES)
        return "invalid SQLite data";
    return NULL;
}

static int staged_refused(struct db_keys *k, const char **refused)
{
    uint8_t head[DB_HEAD_BYTES];
    struct db_head h;

    int rc = db_stage_read(k, head, sizeof(head), 0);
    if (rc)
        return rc;
    *refused = db_head_read(head, k->stage.bytes, &h);
    if (!*refused && (h.page_bytes != DB_PAGE_BYTES || h.write_version != 1 || h.read_version != 1))
        *refused = "the database file was not prepared for loading";
    return 0;
}

/* A schema that SQLite cannot read would leave a database that nobody can use. */
static int schema_refused(sqlite3 *source, const char **refused)
{
    sqlite3_stmt *s = NULL;

    int rc = sqlite3_prepare_v2(source, "SELECT count(*) FROM sqlite_schema", -1, &s, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_step(s);
    (void)sqlite3_finalize(s);
    if (db_now()->machine_rc)
        return db_now()->machine_rc;
    if (rc != SQLITE_ROW)
        *refused = "invalid SQLite data: the schema cannot be read";
    return 0;
}

/* The cache is let spill, so that memory does not grow with the database. */
static int pages_copy(struct db *d, sqlite3 *source)
{
    int rc = db_exec(d->writer, "PRAGMA cache_spill=ON", NULL);

    if (rc)
        return rc;
    db_now_statement();
    sqlite3_backup *b = sqlite3_backup_init(d->writer, "main", source, "main");
    if (b) {
        (void)sqlite3_backup_step(b, -1);
        rc = sqlite3_backup_finish(b);
    } else {
        rc = sqlite3_errcode(d->writer);
    }
    if (db_now()->machine_rc)
        return db_now()->machine_rc;
    if (rc != SQLITE_OK)
        return db_machine_code(rc);
    d->wal_frames = (uint32_t)(d->files.stores[DB_SLOT_WAL].size / DB_PAGE_BYTES);
    return db_exec(d->writer, "PRAGMA cache_spill=OFF", NULL);
}

static int source_install(struct db *d, const char **refused)
{
    struct db_store *store = &d->staged.stores[DB_SLOT_MAIN];
    sqlite3 *source = NULL;

    *store = (struct db_store){
        .exists = true, .size = d->keys.stage.bytes, .read = db_stage_read, .read_ctx = &d->keys};
    db_now_statement();
    int rc = db_conn_open(&d->staged, &d->config, NULL, &source, NULL);
    if (rc == ERR_CORRUPT && db_now()->machine_rc == 0) {
        *refused = "invalid SQLite data";
        rc = 0;
    } else if (rc == 0) {
        rc = schema_refused(source, refused);
    }
    if (rc == 0 && !*refused)
        rc = pages_copy(d, source);
    int closed = sqlite3_close(source);
    ASSERT(closed == SQLITE_OK);
    *store = (struct db_store){0};
    return rc;
}

static int install(struct db *d, const struct wire_load *l, const char **refused)
{
    enum db_guard_mode mode = d->guard.mode;
    int rc = 0;

    *refused = install_refused(&d->keys.stage, l);
    if (*refused)
        return 0;
    d->guard.mode = DB_GUARD_OFF;
    rc = staged_refused(&d->keys, refused);
    if (rc == 0 && !*refused)
        rc = source_install(d, refused);
    db_stage_read_end(&d->keys);
    d->guard.mode = mode;
    return rc ? rc : db_stage_drop(&d->keys);
}

/* ---- the entry ---------------------------------------------------------------------------------------------- */

static int drop(struct db *d, const struct wire_load *l)
{
    return d->keys.stage.id == l->id ? db_stage_drop(&d->keys) : 0;
}

int db_load_apply(struct db *d, const struct db_entry *e, const struct wire_cmd *cmd,
                  bool *installed)
{
    const char *refused = NULL;
    int rc;

    db_now_entry(cmd->wall_ns, cmd->seed, e->index);
    rc = cmd->kind == WIRE_CMD_LOAD_PIECE ? db_stage_put(&d->keys, &cmd->load, e->index, &refused)
         : cmd->kind == WIRE_CMD_LOAD_INSTALL ? install(d, &cmd->load, &refused)
                                              : drop(d, &cmd->load);
    if (rc)
        return rc;
    *installed = cmd->kind == WIRE_CMD_LOAD_INSTALL && !refused;
    db_fold(&d->digest, prng_mix(refused != NULL, d->keys.stage.bytes));
    if (e->sink && refused)
        e->sink->ops->request_error(e->sink, slice_str(refused));
    else if (e->sink)
        e->sink->ops->write(e->sink, 0, 0, 0);
    return 0;
}
