/* rlog_batch.c — the one way bytes get into a segment: a batch, written forward and synced.
 *
 * A batch begins on a sector boundary and fills whole sectors, so that a torn write of it cannot touch
 * what an earlier sync made durable. It never crosses into another segment: one file, one sync. */
#include "rlog_int.h"
#include <rq/util/assert.h>
#include <rq/util/crc.h>
#include <string.h>

/* Gathers small pieces to large writes. */
struct writer {
    struct rlog *l;
    struct env_file *file;
    uint64_t offset; /* in the file, of out[0] */
    size_t len;      /* gathered */
};

static int writer_flush(struct writer *w)
{
    int rc = w->len ? env_file_write(w->file, w->l->out, w->len, w->offset) : 0;

    w->offset += w->len;
    w->len = 0;
    return rc;
}

static int writer_put(struct writer *w, const void *src, size_t len)
{
    const uint8_t *p = src;

    while (len > 0) {
        size_t room = RLOG_CHUNK_BYTES - w->len, take = len < room ? len : room;
        memcpy(rlog_out(w->l) + w->len, p, take);
        w->len += take;
        p += take;
        len -= take;
        int rc = w->len == RLOG_CHUNK_BYTES ? writer_flush(w) : 0;
        if (rc)
            return rc;
    }
    return 0;
}

static int writer_pad(struct writer *w, uint64_t to)
{
    static const uint8_t zeros[RLOG_SECTOR];
    uint64_t at = w->offset + w->len;

    return writer_put(w, zeros, (size_t)(rlog_align(at, to) - at));
}

static int writer_payload(struct writer *w, struct slice payload)
{
    int rc;

    if (payload.len < RLOG_DIRECT_BYTES) {
        rc = writer_put(w, payload.data, payload.len);
    } else {
        rc = writer_flush(w);
        if (rc == 0)
            rc = env_file_write(w->file, payload.data, payload.len, w->offset);
        w->offset += payload.len;
    }
    return rc ? rc : writer_pad(w, 8);
}

static uint64_t batch_bytes(const struct rlog_batch *b)
{
    uint64_t bytes = RLOG_MARK_BYTES;

    for (uint32_t i = 0; i < b->count; i++)
        bytes += rlog_entry_bytes(b->entries[i].payload.len);
    ASSERT(bytes / 8 <= UINT32_MAX);
    return bytes;
}

static int entry_put(struct writer *w, const struct rlog_seg_head *h, const struct rlog_batch *b,
                     uint32_t i, uint32_t *chain)
{
    const struct wire_entry *e = &b->entries[i];
    uint8_t head[RLOG_MARK_BYTES];
    struct rlog_rec r = {
        .type = RLOG_REC_ENTRY,
        .kind = (uint8_t)e->kind,
        .length = (uint32_t)e->payload.len,
        .aux = crc32c(0, e->payload.data, e->payload.len),
        .batch = b->number,
        .index = b->index + 1 + i,
        .term = e->term,
    };

    ASSERT(e->payload.len <= UINT32_MAX);
    rlog_rec_put(head, h, *chain, &r);
    *chain = r.chain;
    int rc = writer_put(w, head, sizeof(head));
    return rc ? rc : writer_payload(w, e->payload);
}

static int batch_put(struct rlog *l, struct segment *s, const struct rlog_batch *b, uint32_t *chain)
{
    struct writer w = {.l = l, .file = s->file, .offset = s->end};
    uint8_t head[RLOG_MARK_BYTES];
    struct rlog_rec r = {
        .type = RLOG_REC_BATCH,
        .kind = (uint8_t)b->kind,
        .length = (uint32_t)(batch_bytes(b) / 8),
        .aux = b->count,
        .batch = b->number,
        .index = b->index,
        .term = b->term,
    };

    rlog_rec_put(head, &s->head, *chain, &r);
    *chain = r.chain;
    int rc = writer_put(&w, head, sizeof(head));
    for (uint32_t i = 0; rc == 0 && i < b->count; i++)
        rc = entry_put(&w, &s->head, b, i, chain);
    if (rc == 0)
        rc = writer_pad(&w, RLOG_SECTOR);
    return rc ? rc : writer_flush(&w);
}

/* After a failure the page cache may hold a whole batch that the disk does not, marked clean: a new
 * process would read it, sync it in vain and trust it (Rebello et al., "Can applications recover from
 * fsync failures?", 2020). Spoil it. It was not promised, so whatever becomes of this write is right. */
static void batch_spoil(struct segment *s)
{
    static const uint8_t zeros[RLOG_SECTOR];
    int rc = env_file_write(s->file, zeros, sizeof(zeros), s->end);

    (void)rc; /* nothing better is left to do */
}

void rlog_batch_adopt(struct rlog *l, const struct rlog_batch *b, uint32_t chain, uint64_t end)
{
    ASSERT(b->number > l->batch);
    l->batch = b->number;
    l->chain = chain;
    rlog_tail(l)->end = rlog_align(end, RLOG_SECTOR);
    if (b->kind == RLOG_BATCH_VOID)
        return;
    if (b->kind == RLOG_BATCH_RESET)
        rlog_index_cut(l, 0, 0); /* everything, wherever it lies */
    rlog_index_cut(l, b->index, b->term);
}

int rlog_batch_write(struct rlog *l, const struct rlog_batch *b)
{
    uint64_t bytes = batch_bytes(b);
    struct segment *s = rlog_tail(l);

    ASSERT(!l->poisoned);
    if (s->end + rlog_align(bytes, RLOG_SECTOR) > s->head.file_bytes) {
        int rc = rlog_segment_make(l, bytes);
        if (rc)
            return rc;
        s = rlog_tail(l);
    }
    uint32_t chain = l->chain;
    l->window.of = NULL;
    int rc = batch_put(l, s, b, &chain);
    if (rc == 0)
        rc = rlog_file_sync(l, s->file);
    if (rc) {
        batch_spoil(s);
        return rc == ERR_NOSPC && !l->poisoned ? ERR_NOSPC : rlog_poison(l, ERR_IO);
    }
    uint64_t at = s->end + RLOG_MARK_BYTES;
    rlog_batch_adopt(l, b, chain, s->end + bytes);
    for (uint32_t i = 0; i < b->count; i++) {
        rlog_index_push(l, at, b->entries[i].term);
        at += rlog_entry_bytes(b->entries[i].payload.len);
    }
    l->batch_count++;
    return 0;
}
