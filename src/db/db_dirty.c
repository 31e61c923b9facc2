/* db_dirty.c — which pages changed since the last cut, noted where SQLite writes frames to its WAL
 * (sqlite.org/fileformat2.html §4.1). What was rolled back later is noted too: its page is then given as it was. */
#include "db_int.h"

enum { WAL_HEADER = 32, WAL_FRAME = 24 };

static uint32_t be32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static int dirty_grow(struct db_dirty *d, uint32_t page)
{
    if (page < d->cap)
        return 0;
    ASSERT(page <= UINT32_MAX / 2); /* 8 TB: the sum below fits */
    uint32_t cap = page + page / 2 + 256;
    uint8_t *grown = mem_zalloc(cap);
    if (!grown)
        return ERR_NOMEM;
    if (d->cap)
        memcpy(grown, d->page, d->cap);
    mem_free(d->page);
    d->page = grown;
    d->cap = cap;
    return 0;
}

int db_dirty_note(struct db_files *files, const struct db_store *store, const void *src, size_t len,
                  uint64_t offset)
{
    if (store != &files->stores[DB_SLOT_WAL])
        return 0;
    if (offset == 0 && len == WAL_HEADER) {
        files->wal_page_bytes = be32((const uint8_t *)src + 8);
        files->wal_end = 0;
    }
    if (offset + len > files->wal_end)
        files->wal_end = offset + len;
    if (len != WAL_FRAME || offset < WAL_HEADER || files->wal_page_bytes == 0)
        return 0;
    if ((offset - WAL_HEADER) % (WAL_FRAME + (uint64_t)files->wal_page_bytes) != 0)
        return 0;
    uint32_t page = be32(src);
    int rc = dirty_grow(&files->dirty, page);
    if (rc == 0)
        files->dirty.page[page] = 1;
    files->dirty.bytes += WAL_FRAME + (uint64_t)files->wal_page_bytes;
    return rc;
}

void db_dirty_merge(struct db_dirty *into, struct db_dirty *from)
{
    into->all |= from->all;
    into->bytes += from->bytes;
    for (uint32_t i = 0; i < from->cap; i++)
        if (from->page[i] && dirty_grow(into, i) == 0)
            into->page[i] = 1;
        else if (from->page[i])
            into->all = true; /* no memory to remember which */
    mem_free(from->page);
    *from = (struct db_dirty){0};
}
