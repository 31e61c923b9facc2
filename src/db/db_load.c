/* db_load.c — an entry that brings a piece of a database file, or installs the file that the pieces make
 * (db_stage.c): it becomes the main file (db_replace.c), so that nobody sees a mixture and nothing is copied.
 *
 * Counters that SQL can see (last_insert_rowid() …) and settings of connections stay as they were: a load is no
 * statement.
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

enum {
    PAGE = 16,
    WRITE = 18,
    READ = 19,
    CHANGED = 24,
    COUNT = 28,
    COOKIE = 40,
    ENCODING = 56,
    VALID = 92
};

const char *db_head_read(const uint8_t head[DB_HEAD_BYTES], uint64_t file_bytes,
                         struct db_head *out)
{
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
    out->schema_cookie = be32(head + COOKIE);
    if (out->encoding > 1)
        return "the text of the database is UTF-16, which is not supported: load it as SQL text";
    return NULL;
}

/* ---- installing -------------------------------------------------------------------------------------------- */

static const char *install_refused(const struct db_stage_facts *s, const struct wire_load *l)
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

/* The image has all of it: the entry was prepared. */
static int page_read(struct db *d, uint32_t number, uint8_t page[DB_PAGE_BYTES])
{
    const struct db_replacer *r = d->config.replacer;
    int rc = r->load_page(r->ctx, number, page, NULL);

    return rc ? db_now_failed(rc) : 0;
}

static int staged_refused(struct db *d, struct db_head *h, const char **refused)
{
    uint8_t page[DB_PAGE_BYTES];

    int rc = page_read(d, 1, page);
    if (rc)
        return rc;
    *refused = db_head_read(page, d->stage.now.bytes, h);
    if (!*refused &&
        (h->page_bytes != DB_PAGE_BYTES || h->write_version != 2 || h->read_version != 2))
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

/* SQLite would want a WAL beside what is only looked at. */
static int staged_read(void *ctx, void *dst, size_t len, uint64_t offset)
{
    struct db *d = ctx;
    uint8_t page[DB_PAGE_BYTES], *to = dst;

    while (len > 0) {
        size_t from = (size_t)(offset % sizeof(page));
        size_t part = sizeof(page) - from < len ? sizeof(page) - from : len;
        int rc = page_read(d, (uint32_t)(offset / sizeof(page)) + 1, page);
        if (rc)
            return rc;
        if (offset < sizeof(page))
            page[WRITE] = page[READ] = 1;
        memcpy(to, page + from, part);
        to += part;
        offset += part;
        len -= part;
    }
    return 0;
}

static int staged_open(struct db *d, const char **refused)
{
    struct db_store *store = &d->staged.stores[DB_SLOT_MAIN];
    sqlite3 *source = NULL;

    *store = (struct db_store){
        .exists = true, .size = d->stage.now.bytes, .read = staged_read, .read_ctx = d};
    db_now_statement();
    int rc = db_conn_open(&d->staged, &d->config, NULL, &source, NULL);
    if (rc == ERR_CORRUPT && db_now()->machine_rc == 0) {
        *refused = "invalid SQLite data";
        rc = 0;
    } else if (rc == 0) {
        rc = schema_refused(source, refused);
    }
    int closed = sqlite3_close(source);
    ASSERT(closed == SQLITE_OK);
    *store = (struct db_store){0};
    return rc;
}

static int install(struct db *d, const struct wire_load *l, const char **refused)
{
    struct db_head head;

    *refused = install_refused(&d->stage.now, l);
    if (*refused)
        return 0;
    int rc = staged_refused(d, &head, refused);
    if (rc == 0 && !*refused)
        rc = staged_open(d, refused);
    db_stage_drop(d); /* the image has them */
    if (rc == 0 && !*refused)
        d->next =
            (struct db_next){.set = true, .by = DB_BY_LOAD, .schema_cookie = head.schema_cookie};
    return rc;
}

/* ---- the entry ---------------------------------------------------------------------------------------------- */

int db_load_apply(struct db *d, const struct db_entry *e, const struct wire_cmd *cmd)
{
    const char *refused = NULL;
    int rc = 0;

    db_now_entry(cmd->wall_ns, cmd->seed, e->index);
    if (cmd->kind == WIRE_CMD_LOAD_PIECE)
        rc = db_stage_put(d, &cmd->load, e->index, &refused);
    else if (cmd->kind == WIRE_CMD_LOAD_INSTALL)
        rc = install(d, &cmd->load, &refused);
    else if (d->stage.now.id == cmd->load.id)
        db_stage_drop(d);
    if (rc)
        return rc;
    db_fold(&d->digest, prng_mix(refused != NULL, d->stage.now.bytes));
    if (e->sink && refused)
        e->sink->ops->request_error(e->sink, slice_str(refused));
    else if (e->sink)
        e->sink->ops->write(e->sink, 0, 0, 0);
    return 0;
}
