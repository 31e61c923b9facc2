/* db_stage.c — a database file that comes in pieces, one entry each, until an entry installs it (db_load.c).
 *
 * Which pieces are there follows from the log alone: they come in order, without gaps; the first piece of another
 * load takes the place of what there was; and what nobody adds to for LIMIT_LOAD_IDLE_ENTRIES entries is dropped.
 * Those facts are part of the state beside the pages (db_cut.c).
 *
 * The bytes are kept once: in the image, as the pages of DB_SET_LOAD. Only what came since the last cut is here, in
 * a file of no worth after a crash (the log brings it again), or in memory:
 *
 *   | in the image              | older: given to the cut under way | newest: what comes |
 *   0                           older.from                          newest.from          now.bytes
 *
 * A part begins at a page: where older ends within one, newest has the front of that page too.
 *
 * What begins or ends a load runs alone (db_work.c), so that a batch that is taken back has only added pieces. */
#include "db_int.h"
#include <rq/util/crc.h>

enum {
    LOCK_PAGE = 0x40000000 / DB_PAGE_BYTES + 1
}; /* fileformat2.html §1.3: never given, it is zeros */

static void path_of(const struct db *d, unsigned slot, char out[DB_PATH_MAX + 16])
{
    (void)snprintf(out, DB_PATH_MAX + 16, "%s-load%u", d->files.path, slot);
}

static void part_drop(struct db *d, struct db_stage_part *p)
{
    char path[DB_PATH_MAX + 16];
    bool on_disk = p->store.file != NULL;

    db_store_drop(&p->store);
    path_of(d, p->slot, path);
    if (on_disk && env_file_remove(d->env, path))
        env_log(d->env, "store", "cannot remove %s", path);
    *p = (struct db_stage_part){.slot = p->slot};
}

static int part_write(struct db *d, struct db_stage_part *p, const void *bytes, size_t len)
{
    char path[DB_PATH_MAX + 16];
    int rc = 0;

    if (d->config.on_disk && !p->store.file) {
        path_of(d, p->slot, path);
        rc = env_file_open(d->env, path, ENV_FILE_CREATE, &p->store.file);
        if (rc == 0)
            rc = env_file_truncate(p->store.file, 0);
    }
    p->store.exists = true;
    if (rc == 0)
        rc = db_store_write(&p->store, bytes, len, p->to - p->from);
    if (rc)
        return db_now_failed(rc);
    p->to += len;
    return 0;
}

/* ---- open, close ------------------------------------------------------------------------------------- */

static uint64_t page_floor(uint64_t bytes)
{
    return bytes / DB_PAGE_BYTES * DB_PAGE_BYTES;
}

/* The front of the last page, if the image has it: the next piece goes on within it. */
static int front_read(struct db *d, const struct db_source *source)
{
    struct db_stage *s = &d->stage;
    uint8_t page[DB_PAGE_BYTES];
    size_t len = (size_t)(s->now.bytes % DB_PAGE_BYTES);

    s->newest.from = s->newest.to = page_floor(s->now.bytes);
    if (len == 0)
        return 0;
    int rc = source->page(source->ctx, DB_SET_LOAD, (uint32_t)(s->newest.from / DB_PAGE_BYTES) + 1,
                          page);
    return rc ? rc : part_write(d, &s->newest, page, len);
}

int db_stage_open(struct db *d, const struct db_source *source)
{
    struct db_stage *s = &d->stage;

    s->older = (struct db_stage_part){.slot = 0};
    s->newest = (struct db_stage_part){.slot = 1};
    for (unsigned slot = 0; d->config.on_disk && slot < 2; slot++) {
        char path[DB_PATH_MAX + 16];
        path_of(d, slot, path);
        int rc = env_file_remove(d->env, path);
        if (rc && rc != ERR_NOT_FOUND)
            return rc;
    }
    return source ? front_read(d, source) : 0;
}

void db_stage_close(struct db *d)
{
    part_drop(d, &d->stage.older);
    part_drop(d, &d->stage.newest);
}

/* ---- an entry ------------------------------------------------------------------------------------------ */

void db_stage_drop(struct db *d)
{
    struct db_stage *s = &d->stage;

    s->now = (struct db_stage_facts){.id = 0};
    part_drop(d, &s->newest);
    s->dropped = s->cutting; /* older is the cut's, until it ends */
    if (!s->cutting)
        part_drop(d, &s->older);
}

void db_stage_age(struct db *d, uint64_t index)
{
    if (d->stage.now.id && index - d->stage.now.touched > LIMIT_LOAD_IDLE_ENTRIES)
        db_stage_drop(d);
}

void db_stage_roll_back(struct db *d, const struct db_stage_facts *before)
{
    struct db_stage *s = &d->stage;

    if (s->now.id != before->id)
        return; /* it aged, and would again */
    s->now = *before;
    if (s->newest.to > before->bytes)
        s->newest.to = before->bytes;
    if (s->newest.to < s->newest.from)
        s->newest.to = s->newest.from;
}

static const char *piece_refused(const struct db_stage_facts *s, const struct wire_load *piece)
{
    if (s->id != piece->id)
        return "the load was given up: another one began, or its pieces were too far apart";
    if (piece->at != s->bytes || s->ended)
        return "a piece of the load is missing";
    if (piece->bytes.len > s->piece_bytes)
        return "the pieces of the load are not of one size";
    if (piece->bytes.len > LIMIT_LOAD_BYTES - s->bytes)
        return "the load is larger than the limit";
    return NULL;
}

int db_stage_put(struct db *d, const struct wire_load *piece, uint64_t index, const char **refused)
{
    struct db_stage_facts *s = &d->stage.now;

    *refused = piece->at ? piece_refused(s, piece) : NULL;
    if (*refused)
        return 0;
    if (piece->at == 0) {
        db_stage_drop(d);
        *s = (struct db_stage_facts){.id = piece->id, .piece_bytes = piece->bytes.len};
    }
    int rc = part_write(d, &d->stage.newest, piece->bytes.data, piece->bytes.len);
    s->ended = piece->bytes.len < s->piece_bytes;
    s->digest = crc32c(s->digest, piece->bytes.data, piece->bytes.len);
    s->bytes += piece->bytes.len;
    s->touched = index;
    return rc;
}

/* ---- a cut --------------------------------------------------------------------------------------------- */

uint32_t db_stage_pages(const struct db *d)
{
    return (uint32_t)((d->stage.now.bytes + DB_PAGE_BYTES - 1) / DB_PAGE_BYTES);
}

uint64_t db_stage_uncut(const struct db *d)
{
    const struct db_stage *s = &d->stage;
    return s->older.to - s->older.from + s->newest.to - s->newest.from;
}

static int bytes_copy(struct db *d, struct db_stage_part *to, struct db_stage_part *from,
                      uint64_t offset)
{
    uint8_t bytes[DB_PAGE_BYTES];
    int rc = 0;

    while (rc == 0 && offset < from->to) {
        size_t want =
            from->to - offset < sizeof(bytes) ? (size_t)(from->to - offset) : sizeof(bytes);
        size_t got = 0;
        rc = db_store_read(&from->store, bytes, want, offset - from->from, &got);
        if (rc == 0 && got != want)
            rc = ERR_IO;
        if (rc == 0)
            rc = part_write(d, to, bytes, want);
        offset += want;
    }
    return rc;
}

static void parts_swap(struct db_stage *s)
{
    struct db_stage_part p = s->older;
    s->older = s->newest;
    s->newest = p;
}

/* All that the image lacks, into older. A cut that was not kept left the front of it there. */
static int parts_join(struct db *d)
{
    struct db_stage *s = &d->stage;

    if (s->older.to == s->older.from) {
        parts_swap(s);
        return 0;
    }
    int rc = bytes_copy(d, &s->older, &s->newest, s->older.to);
    if (rc == 0)
        part_drop(d, &s->newest);
    return rc;
}

int db_stage_cut_begin(struct db *d)
{
    struct db_stage *s = &d->stage;

    ASSERT(!s->cutting);
    if (db_stage_uncut(d) == 0)
        return 0;
    int rc = parts_join(d);
    if (rc)
        return rc;
    s->newest.from = s->newest.to = page_floor(s->now.bytes);
    rc = bytes_copy(d, &s->newest, &s->older, s->newest.from);
    s->cutting = rc == 0;
    if (rc == 0)
        return 0;
    part_drop(d, &s->newest);
    parts_swap(s); /* as if there had been no cut */
    return rc;
}

int db_stage_cut_pages(struct db *d, uint32_t *given,
                       int (*page)(void *ctx, unsigned set, uint32_t number, const void *bytes),
                       void *ctx)
{
    struct db_stage_part *p = &d->stage.older;
    uint8_t bytes[DB_PAGE_BYTES];
    int rc = 0;

    while (rc == 0 && p->from + (uint64_t)*given * DB_PAGE_BYTES < p->to) {
        uint64_t at = (uint64_t)*given * DB_PAGE_BYTES;
        uint32_t number = (uint32_t)((p->from + at) / DB_PAGE_BYTES) + 1;
        size_t len =
            p->to - p->from - at < sizeof(bytes) ? (size_t)(p->to - p->from - at) : sizeof(bytes);
        size_t got = 0;
        memset(bytes, 0, sizeof(bytes));
        rc = db_store_read(&p->store, bytes, len, at, &got);
        if (rc == 0 && got != len)
            rc = ERR_IO;
        ++*given;
        if (rc == 0 && number != LOCK_PAGE)
            rc = page(ctx, DB_SET_LOAD, number, bytes);
    }
    return rc;
}

void db_stage_cut_end(struct db *d, bool kept)
{
    struct db_stage *s = &d->stage;

    if (s->cutting && (kept || s->dropped))
        part_drop(d, &s->older);
    s->cutting = s->dropped = false;
}
