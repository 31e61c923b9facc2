/* db_live.c — the main file of a live database: it is also the file of an image, so that nobody but those who cut
 * bring pages into it, and what it holds at open was there before this process.
 *
 * A page that was there is compared with its checksum when it is first read; opening costs nothing but the
 * checksums' memory. What this process writes itself is not compared.
 *
 * SQLite's own checkpoint would bring pages here in one call, however many, and of a page that changed again behind the
 * cut's frame F not the content as of F, which the image needs: it sees the newest frame only, and passes over it
 * (walCheckpoint, walIteratorNext in SQLite's wal.c). So whoever cut brings all of them by db_main_write, in pieces, and
 * SQLite is asked twice, by checkpoints that a pin at F bounds (db_pages.c):
 *
 *   rehearsal  may it be done? Every reader older than F is gone, and its mark taken away, when the first write comes: it
 *              is refused, and the checkpoint ends. Who begins to read from now on sees F at least.
 *   …          pages, by db_main_write. Nobody reads them there: for readers they are in frames of the WAL.
 *   last       its writes are left out, the pages are there; now SQLite knows it. */
#include "db_int.h"
#include <rq/util/crc.h>

static bool is_live_main(const struct db_files *files, const struct db_store *store)
{
    return files && files->live.on && store == &files->stores[DB_SLOT_MAIN];
}

/* ---- what was found ------------------------------------------------------------------------------------ */

static int sums_take(struct db_live *l, uint32_t page_count, const uint32_t *sums)
{
    l->sums = mem_alloc((size_t)page_count * sizeof(*sums));
    l->unread = mem_alloc(page_count);
    if (!l->sums || !l->unread)
        return ERR_NOMEM;
    memcpy(l->sums, sums, (size_t)page_count * sizeof(*sums));
    memset(l->unread, 1, page_count);
    l->count = l->unread_count = page_count;
    return 0;
}

int db_live_adopt(struct db_files *files, uint32_t page_bytes, uint32_t page_count,
                  const uint32_t *sums)
{
    struct db_store *store = &files->stores[DB_SLOT_MAIN];

    ASSERT(files->live.on && store->exists == files->shared.on && page_count > 0);
    int rc = store->os ? 0 : env_file_open(files->env, files->path, 0, &store->file);
    if (rc)
        return rc == ERR_NOT_FOUND ? ERR_CORRUPT : rc;
    store->exists = true;
    if (store->file)
        rc = env_file_size(store->file, &store->size);
    if (rc == 0 && store->size < (uint64_t)page_bytes * page_count)
        rc = ERR_CORRUPT;
    files->live.page_bytes = page_bytes;
    return rc ? rc : sums_take(&files->live, page_count, sums);
}

void db_live_fini(struct db_live *l)
{
    mem_free(l->sums);
    mem_free(l->unread);
    mem_free(l->copied);
    *l = (struct db_live){.on = false};
}

/* Page `at` (from 0) holds what it should; dst has all of it, or a part that starts at offset. */
static int page_verify(struct db_files *files, struct db_store *store, uint32_t at, const void *dst,
                       size_t len)
{
    struct db_live *l = &files->live;
    uint8_t *whole = NULL;
    size_t got = l->page_bytes;
    int rc = 0;

    if (len != l->page_bytes) {
        whole = mem_alloc(l->page_bytes);
        rc = whole ? db_store_read(store, whole, l->page_bytes, (uint64_t)at * l->page_bytes, &got)
                   : ERR_NOMEM;
    }
    if (rc == 0 &&
        (got != l->page_bytes || crc32c(0, whole ? whole : dst, l->page_bytes) != l->sums[at])) {
        env_log(files->env, "store", "%s: offset %llu: page %u is damaged", files->path,
                (unsigned long long)at * l->page_bytes, at + 1);
        rc = ERR_CORRUPT;
    }
    mem_free(whole);
    if (rc)
        return rc;
    l->unread[at] = 0;
    if (--l->unread_count == 0) {
        mem_free(l->sums);
        mem_free(l->unread);
        l->sums = NULL;
        l->unread = NULL;
        l->count = 0;
    }
    return 0;
}

int db_live_read(struct db_files *files, struct db_store *store, void *dst, size_t len,
                 uint64_t offset, size_t *got)
{
    int rc = db_store_read(store, dst, len, offset, got);

    if (rc || !is_live_main(files, store) || files->live.unread_count == 0)
        return rc;
    uint64_t at = offset / files->live.page_bytes;
    if (at >= files->live.count || !files->live.unread[at])
        return 0;
    ASSERT(offset % files->live.page_bytes + len <= files->live.page_bytes);
    return page_verify(files, store, (uint32_t)at, dst, len);
}

/* ---- what is written ------------------------------------------------------------------------------------- */

static int copied_note(struct db_live *l, uint32_t number)
{
    if (number >= l->copied_cap) {
        uint32_t cap = number + number / 2 + 256;
        uint8_t *grown = mem_realloc(l->copied, cap);
        if (!grown)
            return ERR_NOMEM;
        memset(grown + l->copied_cap, 0, cap - l->copied_cap);
        l->copied = grown;
        l->copied_cap = cap;
    }
    l->copied[number] = 1;
    return 0;
}

/* Whole pages only (SQLite's rollback journal, which makes the first page of all, too). */
static int page_written(struct db_live *l, size_t len, uint64_t offset)
{
    uint64_t at = offset / len;

    if (at < l->count && l->unread[at]) {
        ASSERT(len == l->page_bytes);
        l->unread[at] = 0;
        l->unread_count--;
    }
    return copied_note(l, (uint32_t)at + 1);
}

int db_live_write(struct db_files *files, struct db_store *store, const void *src, size_t len,
                  uint64_t offset)
{
    int rc = is_live_main(files, store) ? page_written(&files->live, len, offset) : 0;
    return rc ? rc : db_store_write(store, src, len, offset);
}

/* A file system takes a while to free much at once, and this comes in the midst of everything. A WAL whose header is void
 * has no frames (sqlite.org/fileformat2.html §4.1): the next writer begins it anew, and what is behind goes in pieces
 * (db_wal_shrink). */
int db_live_truncate(struct db_files *files, struct db_store *store, uint64_t size)
{
    static const uint8_t no_header[32];

    if (!files || !files->live.on || store != &files->stores[DB_SLOT_WAL] || size > 0 ||
        store->size <= DB_WAL_PIECE_BYTES)
        return db_store_truncate(store, size);
    files->wal_end = 0;
    return db_store_write(store, no_header, sizeof(no_header), 0);
}

int db_live_write_sqlite(struct db_files *files, struct db_store *store, const void *src,
                         size_t len, uint64_t offset)
{
    const struct db_live *l = &files->live;

    if (is_live_main(files, store) && l->copy != DB_COPY_NONE) {
        uint64_t number = offset / len + 1;
        if (l->copy == DB_COPY_REHEARSAL)
            return ERR_CANCELED;
        if (number < l->copied_cap && l->copied[number])
            return 0;
    }
    return db_live_write(files, store, src, len, offset);
}

void db_live_copy_set(struct db_files *files, enum db_live_copy copy)
{
    struct db_live *l = &files->live;

    sqlite3_mutex_enter(files->mutex);
    if (copy == DB_COPY_REHEARSAL && l->copied_cap)
        memset(l->copied, 0, l->copied_cap);
    l->copy = copy;
    sqlite3_mutex_leave(files->mutex);
}

/* ---- past SQLite ---------------------------------------------------------------------------------------- */

int db_main_read(struct db *d, void *dst, size_t len, uint64_t offset, size_t *got)
{
    sqlite3_mutex_enter(d->files.mutex);
    int rc = db_store_read(&d->files.stores[DB_SLOT_MAIN], dst, len, offset, got);
    sqlite3_mutex_leave(d->files.mutex);
    return rc;
}

int db_main_write(struct db *d, uint32_t number, const void *bytes, size_t len)
{
    struct db_files *f = &d->files;

    ASSERT(f->live.on && number >= 1);
    sqlite3_mutex_enter(f->mutex);
    int rc = db_live_write(f, &f->stores[DB_SLOT_MAIN], bytes, len, (uint64_t)(number - 1) * len);
    sqlite3_mutex_leave(f->mutex);
    return rc;
}

int db_main_settle(struct db *d, uint64_t size)
{
    struct db_store *store = &d->files.stores[DB_SLOT_MAIN];

    sqlite3_mutex_enter(d->files.mutex);
    int rc = store->size < size ? db_store_truncate(store, size) : 0;
    sqlite3_mutex_leave(d->files.mutex);
    if (rc)
        return rc;
    return store->os ? db_shared_sync(store) : env_file_sync(store->file);
}
