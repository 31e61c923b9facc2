/* db_store.c — the bytes of one file of SQLite's: in memory as chunks that never move, an env file, or one that
 * other processes read too.
 * The caller holds the files' mutex. */
#include "db_int.h"

static int store_reserve(struct db_store *s, uint64_t size)
{
    size_t need = (size_t)((size + STORE_CHUNK_BYTES - 1) / STORE_CHUNK_BYTES);

    if (need > s->chunk_cap) {
        uint8_t **grown = mem_realloc(s->chunks, (need + need / 2) * sizeof(uint8_t *));
        if (!grown)
            return ERR_NOMEM;
        s->chunks = grown;
        s->chunk_cap = need + need / 2;
    }
    while (s->chunk_count < need) {
        uint8_t *chunk = mem_zalloc(STORE_CHUNK_BYTES);
        if (!chunk)
            return ERR_NOMEM;
        s->chunks[s->chunk_count++] = chunk;
    }
    return 0;
}

static void store_copy(struct db_store *s, uint8_t *bytes, size_t len, uint64_t offset, bool out)
{
    ASSERT(offset + len <= (uint64_t)s->chunk_count * STORE_CHUNK_BYTES);
    while (len) {
        size_t at = (size_t)(offset % STORE_CHUNK_BYTES);
        size_t n = STORE_CHUNK_BYTES - at < len ? STORE_CHUNK_BYTES - at : len;
        uint8_t *chunk = s->chunks[offset / STORE_CHUNK_BYTES];
        if (out)
            memcpy(bytes, chunk + at, n);
        else
            memcpy(chunk + at, bytes, n);
        bytes += n;
        offset += n;
        len -= n;
    }
}

int db_store_read(struct db_store *s, void *dst, size_t len, uint64_t offset, size_t *got)
{
    ASSERT(s->exists);
    *got = 0;
    if (s->read) {
        *got = offset >= s->size ? 0 : s->size - offset < len ? (size_t)(s->size - offset) : len;
        return *got ? s->read(s->read_ctx, dst, *got, offset) : 0;
    }
    if (s->file)
        return env_file_read(s->file, dst, len, offset, got);
    if (s->os)
        return db_shared_read(s, dst, len, offset, got);
    if (offset >= s->size)
        return 0;
    *got = s->size - offset < len ? (size_t)(s->size - offset) : len;
    store_copy(s, dst, *got, offset, true);
    return 0;
}

int db_store_write(struct db_store *s, const void *src, size_t len, uint64_t offset)
{
    int rc;

    ASSERT(!s->read);
    if (s->file)
        rc = env_file_write(s->file, src, len, offset);
    else if (s->os)
        rc = db_shared_write(s, src, len, offset);
    else
        rc = store_reserve(s, offset + len);
    if (rc)
        return rc;
    if (!s->file && !s->os)
        store_copy(s, (uint8_t *)(uintptr_t)src, len, offset, false);
    if (offset + len > s->size)
        s->size = offset + len;
    return 0;
}

int db_store_truncate(struct db_store *s, uint64_t size)
{
    if (s->file || s->os) {
        int rc = s->file ? env_file_truncate(s->file, size) : db_shared_truncate(s, size);
        if (rc == 0)
            s->size = size;
        return rc;
    }
    if (size > s->size) {
        int rc = store_reserve(s, size);
        if (rc)
            return rc;
        s->size = size;
        return 0;
    }
    size_t keep = (size_t)((size + STORE_CHUNK_BYTES - 1) / STORE_CHUNK_BYTES);
    while (s->chunk_count > keep)
        mem_free(s->chunks[--s->chunk_count]);
    if (keep &&
        size % STORE_CHUNK_BYTES) /* what lies behind the end reads as zeros when it grows again */
        memset(s->chunks[keep - 1] + size % STORE_CHUNK_BYTES, 0,
               STORE_CHUNK_BYTES - size % STORE_CHUNK_BYTES);
    s->size = size;
    return 0;
}

void db_store_drop(struct db_store *s)
{
    if (s->file)
        env_file_close(s->file);
    if (s->os)
        db_shared_file_close(s);
    for (size_t i = 0; i < s->chunk_count; i++)
        mem_free(s->chunks[i]);
    mem_free(s->chunks);
    memset(s, 0, sizeof(*s));
}
