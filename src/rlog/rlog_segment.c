/* rlog_segment.c — segment files: make, recycle, look inside; and the index of what lives where.
 *
 * The life of a file:
 *
 *   spare.new ─(zeros, head, sync)─► rename ─► NNNNNNNNNN.seg ─(compacted)─► rename ─► spare.K
 *                                      ▲                                              │
 *                                      └──────────(new head, sync)────────────────────┘
 *
 * A name that ends in .seg therefore always has a whole head behind it. Every rename is followed by a
 * directory sync before anything relies on it: a spare must have lost its old name for good before
 * its head is written over, and segments leave strictly oldest first, so that a gap between numbers
 * can only be damage. */
#include "rlog_int.h"
#include <rq/util/assert.h>
#include <rq/util/mem.h>
#include <stdio.h>
#include <string.h>

/* ---- names, syncs ---------------------------------------------------------------------------------- */

char *rlog_path(const struct rlog *l, const char *name)
{
    size_t len = strlen(l->dir) + strlen(name) + 2;
    char *path = mem_must_alloc(len);

    snprintf(path, len, "%s/%s", l->dir, name);
    return path;
}

void rlog_segment_name(char out[RLOG_NAME_MAX], uint64_t number)
{
    snprintf(out, RLOG_NAME_MAX, "%010llu.seg", (unsigned long long)number);
}

void rlog_spare_name(char out[RLOG_NAME_MAX], uint32_t slot)
{
    snprintf(out, RLOG_NAME_MAX, "spare.%u", (unsigned)slot);
}

int rlog_poison(struct rlog *l, int rc)
{
    ASSERT(rc != 0);
    l->poisoned = true;
    return rc;
}

int rlog_file_sync(struct rlog *l, struct env_file *f)
{
    l->sync_count++;
    return env_file_sync(f) ? rlog_poison(l, ERR_IO) : 0;
}

int rlog_dir_sync(struct rlog *l)
{
    l->sync_count++;
    return env_dir_sync(l->env, l->dir) ? rlog_poison(l, ERR_IO) : 0;
}

int rlog_file_remove(struct rlog *l, const char *name)
{
    char *path = rlog_path(l, name);
    int rc = env_file_remove(l->env, path);

    mem_free(path);
    return rc == 0 || rc == ERR_NOT_FOUND ? 0 : rlog_poison(l, ERR_IO);
}

static int name_change(struct rlog *l, const char *from, const char *to)
{
    char *from_path = rlog_path(l, from), *to_path = rlog_path(l, to);
    int rc = env_file_rename(l->env, from_path, to_path);

    mem_free(from_path);
    mem_free(to_path);
    return rc;
}

uint8_t *rlog_out(struct rlog *l)
{
    if (l->out == NULL)
        l->out = mem_must_alloc(RLOG_CHUNK_BYTES);
    return l->out;
}

/* ---- making ------------------------------------------------------------------------------------------ */

static int zeros_fill(struct rlog *l, struct env_file *f, uint64_t bytes)
{
    memset(rlog_out(l), 0, bytes < RLOG_CHUNK_BYTES ? (size_t)bytes : RLOG_CHUNK_BYTES);
    for (uint64_t at = 0; at < bytes; at += RLOG_CHUNK_BYTES) {
        uint64_t left = bytes - at;
        int rc = env_file_write(f, l->out,
                                left < RLOG_CHUNK_BYTES ? (size_t)left : RLOG_CHUNK_BYTES, at);
        if (rc)
            return rc;
    }
    return 0;
}

/* Open a recycled file, or make one full of zeros: name says which. */
static int blank_open(struct rlog *l, uint64_t bytes, char name[RLOG_NAME_MAX],
                      struct env_file **out)
{
    uint32_t slot = 0;
    int rc = 0;

    while (slot < RLOG_SPARES_MAX && !l->spare[slot])
        slot++;
    bool recycled = slot < RLOG_SPARES_MAX && bytes == l->segment_bytes;
    if (recycled)
        rlog_spare_name(name, slot);
    else
        snprintf(name, RLOG_NAME_MAX, "spare.new");
    char *path = rlog_path(l, name);
    if (!recycled)
        rc = rlog_file_remove(l, name);
    if (rc == 0)
        rc = env_file_open(l->env, path, recycled ? 0 : ENV_FILE_CREATE, out);
    if (rc == 0 && !recycled)
        rc = zeros_fill(l, *out, bytes);
    if (rc == 0 && recycled)
        l->spare[slot] = false; /* whatever happens from here on: it no longer serves as one */
    mem_free(path);
    return rc;
}

static void head_fill(struct rlog *l, struct rlog_seg_head *h, uint64_t bytes)
{
    bool first = l->segment_count == 0;
    uint32_t low = (uint32_t)env_random_u64(l->env), high = (uint32_t)env_random_u64(l->env);

    *h = (struct rlog_seg_head){
        .store_id = l->hard.store_id,
        .number = first ? 1 : rlog_tail(l)->head.number + 1,
        .nonce = (uint64_t)(high | 1U) << 32 | low, /* the tag is never that of zeros */
        .file_bytes = bytes,
        .next_batch = l->batch + 1,
        .base_index = l->last_index,
        .base_term = l->last_term,
        .prev_end = first ? 0 : rlog_tail(l)->end,
        .prev_chain = first ? 0 : l->chain,
    };
}

/* Head, sync, name, sync: after this the file is the last segment for good. */
static int segment_publish(struct rlog *l, struct segment *s, const char *from)
{
    uint8_t sector[RLOG_SECTOR];
    char name[RLOG_NAME_MAX];

    rlog_seg_head_put(sector, &s->head);
    int rc = env_file_write(s->file, sector, sizeof(sector), 0);
    if (rc)
        return rc;
    rc = env_file_sync(s->file);
    l->sync_count++;
    if (rc)
        return rc;
    rlog_segment_name(name, s->head.number);
    rc = name_change(l, from, name);
    return rc ? rc : rlog_dir_sync(l);
}

int rlog_segment_make(struct rlog *l, uint64_t batch_bytes)
{
    uint64_t need = rlog_align(RLOG_SECTOR + batch_bytes, 4096);
    uint64_t bytes = need > l->segment_bytes ? need : l->segment_bytes;
    struct segment *s = mem_must_zalloc(sizeof(*s));
    char name[RLOG_NAME_MAX];

    head_fill(l, &s->head, bytes);
    s->end = RLOG_SECTOR;
    s->base_index = l->last_index;
    s->base_term = l->last_term;
    int rc = blank_open(l, bytes, name, &s->file);
    if (rc == 0)
        rc = segment_publish(l, s, name);
    if (rc == 0) {
        rlog_segment_push(l, s);
        l->chain = s->head.seed;
        return 0;
    }
    rlog_segment_free(s);
    if (rc != ERR_NOSPC || l->poisoned)
        return rlog_poison(l, ERR_IO);
    /* Give the space back. A name spare.N that stays behind is judged anew at the next open. */
    rc = rlog_file_remove(l, name);
    return rc ? rc : ERR_NOSPC;
}

void rlog_segment_push(struct rlog *l, struct segment *s)
{
    if (l->segment_count == l->segment_cap) {
        uint32_t cap = l->segment_cap ? l->segment_cap * 2 : 8;
        struct segment **grown = mem_must_alloc(cap * sizeof(struct segment *));
        if (l->segment_count)
            memcpy(grown, l->segments, l->segment_count * sizeof(struct segment *));
        mem_free(l->segments);
        l->segments = grown;
        l->segment_cap = cap;
    }
    ASSERT(l->segment_count == 0 || s->head.number == rlog_tail(l)->head.number + 1);
    l->segments[l->segment_count++] = s;
}

void rlog_segment_free(struct segment *s)
{
    env_file_close(s->file);
    mem_free(s->at);
    mem_free(s);
}

/* ---- letting go ---------------------------------------------------------------------------------------- */

int rlog_segment_drop(struct rlog *l)
{
    struct segment *s = l->segments[0];
    char name[RLOG_NAME_MAX], spare[RLOG_NAME_MAX];
    uint32_t slot = 0;
    int rc;

    ASSERT(l->segment_count >= 2);
    rlog_segment_name(name, s->head.number);
    while (slot < l->spare_max && l->spare[slot])
        slot++;
    bool keep = slot < l->spare_max && s->head.file_bytes == l->segment_bytes;
    if (l->window.of == s)
        l->window.of = NULL;
    l->segment_count--;
    memmove(l->segments, l->segments + 1, l->segment_count * sizeof(struct segment *));
    rlog_segment_free(s);
    if (keep) {
        rlog_spare_name(spare, slot);
        rc = name_change(l, name, spare) ? rlog_poison(l, ERR_IO) : 0;
    } else {
        rc = rlog_file_remove(l, name);
    }
    if (rc == 0)
        rc = rlog_dir_sync(l);
    if (rc == 0 && keep)
        l->spare[slot] = true;
    return rc;
}

/* ---- the index -------------------------------------------------------------------------------------------- */

uint64_t rlog_base(const struct rlog *l, uint64_t *term)
{
    for (uint32_t i = 0; i < l->segment_count; i++) {
        const struct segment *s = l->segments[i];
        if (s->count == 0)
            continue;
        *term = s->base_term;
        return s->base_index;
    }
    *term = l->last_term;
    return l->last_index;
}

void rlog_index_cut(struct rlog *l, uint64_t index, uint64_t term)
{
    uint32_t i = l->segment_count;

    while (i-- > 0) {
        struct segment *s = l->segments[i];
        if (s->count != 0 && index > s->base_index && index <= s->base_index + s->count) {
            s->count = (uint32_t)(index - s->base_index);
            break; /* it holds the new last entry */
        }
        s->count = 0;
        s->base_index = index;
        s->base_term = term;
    }
    l->last_index = index;
    l->last_term = term;
}

void rlog_index_push(struct rlog *l, uint64_t offset, uint64_t term)
{
    struct segment *s = rlog_tail(l);

    ASSERT(offset % 8 == 0 && offset / 8 <= UINT32_MAX);
    if (s->count == 0) {
        s->base_index = l->last_index;
        s->base_term = l->last_term;
    }
    ASSERT(s->base_index + s->count == l->last_index);
    if (s->count == s->cap) {
        uint32_t cap = s->cap ? s->cap * 2 : 64;
        uint32_t *grown = mem_must_alloc(cap * sizeof(uint32_t));
        if (s->count)
            memcpy(grown, s->at, s->count * sizeof(uint32_t));
        mem_free(s->at);
        s->at = grown;
        s->cap = cap;
    }
    s->at[s->count++] = (uint32_t)(offset / 8);
    l->last_index++;
    l->last_term = term;
}

struct segment *rlog_index_find(const struct rlog *l, uint64_t index, uint64_t *offset)
{
    /* Newest first: that is where readers are. */
    for (uint32_t i = l->segment_count; i-- > 0;) {
        struct segment *s = l->segments[i];
        if (s->count == 0 || index <= s->base_index)
            continue;
        ASSERT(index <= s->base_index + s->count);
        *offset = (uint64_t)s->at[index - s->base_index - 1] * 8;
        return s;
    }
    UNREACHABLE();
}

int rlog_window_get(struct rlog *l, const struct segment *s, uint64_t offset, size_t len,
                    const uint8_t **out)
{
    struct window *w = &l->window;

    if (w->of == s && offset >= w->offset && offset + len <= w->offset + w->len) {
        *out = w->buf + (offset - w->offset);
        return 0;
    }
    uint64_t left = s->head.file_bytes > offset ? s->head.file_bytes - offset : 0;
    size_t want = left < RLOG_WINDOW_BYTES ? (size_t)left : RLOG_WINDOW_BYTES;
    want = want < len ? len : want;
    if (w->cap < want) {
        mem_free(w->buf);
        w->buf = mem_must_alloc(want);
        w->cap = want;
    }
    w->of = NULL;
    if (env_file_read(s->file, w->buf, want, offset, &w->len))
        return ERR_IO;
    if (w->len < len)
        return ERR_CORRUPT;
    w->of = s;
    w->offset = offset;
    *out = w->buf;
    return 0;
}
