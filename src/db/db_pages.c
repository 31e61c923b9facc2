/* db_pages.c — a database as pages: what they hold at one moment, and putting them back. Stands on what SQLite stands
 * on (db_store.c, db_shm.c) and on a pin, which is a read transaction: while it is open the WAL is not begun anew over
 * frames it sees, and no checkpoint passes it (sqlite.org/walformat.html §2.3.1, §3.2).
 *
 *   WAL   | header 32 | frame 1: page number … 24 | page | frame 2 | … | frame F | later ones
 *
 * F is what the pin sees. A page's content then is in its last frame up to F, else in the main file; if the
 * pin came when all frames were in the main file it holds no frame but the main file itself, and all is there. */
#include "db_int.h"

enum {
    WAL_HEADER = 32,
    WAL_FRAME = 24,
    LOCK_READ = 3, /* of the locks, the first reader's; five of them */
    READ_MARKS = 5,
    WAL_INDEX_HEADER =
        136, /* two copies of the header, then what checkpoints and readers have reached */
    WAL_INDEX_PAGES = 4096, /* of each region; before its hash table */
    PAGE_MAX = 65536,
};

/* ---- the pin ------------------------------------------------------------------------------------------- */

int db_pin_read(struct db_pin *p, enum db_slot slot, void *dst, size_t len, uint64_t offset)
{
    size_t got;

    sqlite3_mutex_enter(p->files->mutex);
    int rc = db_live_read(p->files, &p->files->stores[slot], dst, len, offset, &got);
    sqlite3_mutex_leave(p->files->mutex);
    if (rc == 0 && got < len)
        memset((uint8_t *)dst + got, 0, len - got); /* SQLite's lock page, at the end */
    return rc;
}

/* Where a reader's place says how far it sees (walformat.html §2.3.1): a place is shared where all are taken, and a
 * checkpoint then stops at what it says, before F. */
static bool pin_is_at(const struct db_pin *p, const uint32_t *read_mark)
{
    sqlite3_file *file = NULL;

    (void)sqlite3_file_control(p->conn, "main", SQLITE_FCNTL_FILE_POINTER, &file);
    const struct db_file *f = (const struct db_file *)(const void *)file;
    for (unsigned i = 1; i < READ_MARKS; i++)
        if (f->shm_shared_mask & 1U << (LOCK_READ + i))
            return read_mark[i] == p->frames;
    return false;
}

static void pin_look(struct db_pin *p)
{
    struct db_files *f = p->files;
    uint32_t word[WAL_INDEX_HEADER / 4];
    const uint16_t *half = (const uint16_t *)(const void *)&word[3];

    sqlite3_mutex_enter(f->mutex);
    ASSERT(f->shm[0]); /* there is one: the database is in WAL mode and was read */
    memcpy(word, f->shm[0], sizeof(word));
    sqlite3_mutex_leave(f->mutex);
    uint32_t backfilled = word[24];
    p->frames = word[4] > backfilled ? word[4] : 0;
    p->first = backfilled + 1;
    p->page_bytes = half[1] == 1 ? PAGE_MAX : half[1];
    p->page_count = word[5];
    p->exact = p->frames == 0 || pin_is_at(p, &word[25]);
}

/* sqlite.org/fileformat2.html §1.3.2 */
static int pin_look_main(struct db_pin *p)
{
    uint8_t field[2];
    int rc = db_pin_read(p, DB_SLOT_MAIN, field, sizeof(field), 16);

    p->page_bytes = (uint32_t)field[0] << 8 | field[1];
    if (p->page_bytes == 1)
        p->page_bytes = PAGE_MAX;
    ASSERT(rc || p->page_bytes >= 512);
    if (rc == 0)
        p->page_count = (uint32_t)(p->files->stores[DB_SLOT_MAIN].size / p->page_bytes);
    return rc;
}

int db_pin_hold(struct db_pin *p, struct db_files *files, const struct db_config *config,
                struct err_text *why)
{
    *p = (struct db_pin){.files = files};
    int rc = db_conn_open(files, config, NULL, &p->conn, why);
    if (rc == 0)
        rc = db_exec(p->conn, "BEGIN;SELECT 1 FROM sqlite_schema", why);
    if (rc) {
        db_pin_release(p, true);
        return rc;
    }
    pin_look(p);
    if (p->page_count == 0) /* nothing was written through the WAL yet */
        rc = pin_look_main(p);
    if (rc)
        db_pin_release(p, true);
    return rc;
}

int db_pin_take(struct db_pin *p, struct db_files *files, const struct db_config *config,
                struct err_text *why)
{
    int rc = db_pin_hold(p, files, config, why);

    if (rc == 0 && files->live.on && !p->exact) {
        db_pin_release(p, true);
        rc = ERR_BUSY;
    }
    if (rc)
        return rc;
    p->dirty = files->dirty;
    files->dirty = (struct db_dirty){0};
    return 0;
}

void db_pin_release(struct db_pin *p, bool kept)
{
    if (kept)
        mem_free(p->dirty.page);
    else if (p->files)
        db_dirty_merge(&p->files->dirty, &p->dirty);
    mem_free(p->frame_of);
    (void)sqlite3_exec(p->conn, "ROLLBACK", NULL, NULL, NULL);
    int rc = sqlite3_close(p->conn);
    ASSERT(rc == SQLITE_OK);
    *p = (struct db_pin){.files = NULL};
}

/* ---- what they hold --------------------------------------------------------------------------------------- */

/* The last frame up to F of each page, of those that the main file may lack; from the WAL's index (walformat.html
 * §2.3.1, §2.3.2), where frames up to F do not change under the pin: a read of each frame's head took as long as
 * reading what changed, in one go. Of each region the first 4096 words are page numbers, but for the header's. */
static void frames_map(struct db_pin *p, uint32_t *frame_of)
{
    const uint32_t *region = NULL;

    for (uint32_t i = p->first; i <= p->frames; i++) {
        uint32_t word = WAL_INDEX_HEADER / 4 + i - 1;
        if (!region || word % WAL_INDEX_PAGES == 0) {
            sqlite3_mutex_enter(p->files->mutex);
            region = (const uint32_t *)(const void *)p->files->shm[word / WAL_INDEX_PAGES];
            sqlite3_mutex_leave(p->files->mutex);
            ASSERT(region); /* whoever wrote the frame mapped it */
        }
        uint32_t page = region[word % WAL_INDEX_PAGES];
        if (page >= 1 && page <= p->page_count)
            frame_of[page] = i;
    }
}

static bool wanted(const struct db_pin *p, uint32_t number, uint32_t known_count)
{
    if (number == 0x40000000U / p->page_bytes + 1)
        return false; /* SQLite's lock page */
    return p->dirty.all || number > known_count || (number < p->dirty.cap && p->dirty.page[number]);
}

static int page_give(struct db_pin *p, uint32_t n, uint8_t *bytes,
                     int (*page)(void *ctx, uint32_t number, const void *bytes), void *ctx)
{
    uint64_t step = WAL_FRAME + (uint64_t)p->page_bytes;
    int rc = p->frame_of[n] ? db_pin_read(p, DB_SLOT_WAL, bytes, p->page_bytes,
                                          WAL_HEADER + (p->frame_of[n] - 1) * step + WAL_FRAME)
                            : db_pin_read(p, DB_SLOT_MAIN, bytes, p->page_bytes,
                                          (uint64_t)(n - 1) * p->page_bytes);
    return rc ? rc : page(ctx, n, bytes);
}

int db_pin_pages(struct db_pin *p, uint32_t known_count,
                 int (*page)(void *ctx, uint32_t number, const void *bytes), void *ctx)
{
    int rc = 0;

    if (p->given == p->page_count)
        return 0;
    if (!p->frame_of) {
        p->frame_of = mem_zalloc(((size_t)p->page_count + 1) * sizeof(*p->frame_of));
        if (p->frame_of)
            frames_map(p, p->frame_of);
        else
            rc = ERR_NOMEM;
    }
    uint8_t *bytes = mem_alloc(p->page_bytes);
    if (!bytes)
        rc = ERR_NOMEM;
    while (rc == 0 && p->given < p->page_count) {
        uint32_t n = ++p->given;
        if (wanted(p, n, known_count))
            rc = page_give(p, n, bytes, page, ctx);
    }
    mem_free(bytes);
    if (rc != DB_MORE) {
        mem_free(p->frame_of);
        p->frame_of = NULL;
    }
    return rc;
}

/* ---- into the main file ----------------------------------------------------------------------------------- */

/* *refused: it would have written. */
static int checkpoint(struct db_pin *p, const struct db_config *config, enum db_live_copy copy,
                      bool *refused)
{
    sqlite3 *conn = NULL;
    int in_wal = 0, copied = 0;

    *refused = false;
    int rc = db_conn_open(p->files, config, NULL, &conn, NULL);
    if (rc == 0)
        rc = db_exec(conn, "SELECT 1 FROM sqlite_schema", NULL);
    db_live_copy_set(p->files, copy);
    int sqlite_rc =
        rc ? SQLITE_OK
           : sqlite3_wal_checkpoint_v2(conn, NULL, SQLITE_CHECKPOINT_PASSIVE, &in_wal, &copied);
    db_live_copy_set(p->files, DB_COPY_NONE);
    (void)sqlite3_close(conn);
    *refused = sqlite_rc == SQLITE_INTERRUPT;
    if (rc || db_now()->machine_rc)
        return rc ? rc : db_now()->machine_rc;
    if (sqlite_rc != SQLITE_OK && (sqlite_rc & 0xFF) != SQLITE_BUSY && !*refused)
        return db_machine_code(sqlite_rc);
    ASSERT(copied <= (int)p->frames); /* the pin holds it */
    return sqlite_rc == SQLITE_OK && copied == (int)p->frames ? 0 : ERR_BUSY;
}

/* How far the last checkpoint was ready to go (walformat.html §2.3.1, nBackfillAttempted): to the oldest mark that a
 * reader then held. */
static uint32_t frames_attempted(struct db_files *files)
{
    uint32_t attempted;

    sqlite3_mutex_enter(files->mutex);
    memcpy(&attempted, files->shm[0] + 128, sizeof(attempted));
    sqlite3_mutex_leave(files->mutex);
    return attempted;
}

int db_pin_clear(struct db_pin *p, const struct db_config *config)
{
    bool refused;

    if (p->frames == 0) {
        db_live_copy_set(p->files, DB_COPY_REHEARSAL);
        db_live_copy_set(p->files, DB_COPY_NONE);
        return 0;
    }
    int rc = checkpoint(p, config, DB_COPY_REHEARSAL, &refused);
    /* Without a write that was refused: all of these pages changed again, and SQLite passes over them. */
    return refused && frames_attempted(p->files) == p->frames ? 0 : rc;
}

int db_pin_copy(struct db_pin *p, const struct db_config *config)
{
    bool refused;

    return p->frames == 0 ? 0 : checkpoint(p, config, DB_COPY_LAST, &refused);
}

bool db_pages_all_copied(struct db_files *files)
{
    uint32_t word[WAL_INDEX_HEADER / 4];

    sqlite3_mutex_enter(files->mutex);
    memcpy(word, files->shm[0], sizeof(word));
    sqlite3_mutex_leave(files->mutex);
    return word[24] == word[4];
}

/* ---- putting them back ------------------------------------------------------------------------------------- */

int db_pages_fill(struct db_files *files, uint32_t page_bytes, uint32_t page_count,
                  int (*page)(void *ctx, uint32_t number, void *dst), void *ctx)
{
    struct db_store *store = &files->stores[DB_SLOT_MAIN];
    uint8_t *bytes = mem_alloc(page_bytes);
    int rc = bytes ? 0 : ERR_NOMEM;

    ASSERT(!store->exists && page_count > 0);
    if (rc == 0 && files->on_disk)
        rc = env_file_open(files->env, files->path, ENV_FILE_CREATE, &store->file);
    store->exists = true;
    for (uint32_t n = 1; rc == 0 && n <= page_count; n++) {
        rc = page(ctx, n, bytes);
        if (rc == 0)
            rc = db_store_write(store, bytes, page_bytes, (uint64_t)(n - 1) * page_bytes);
    }
    mem_free(bytes);
    return rc;
}
