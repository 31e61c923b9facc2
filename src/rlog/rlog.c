/* rlog.c — the door: open, append, read, compact; hard state and mark.
 *
 * Called by node, in the LOG lane. Each function checks its arguments and the poison, and leaves the
 * work to rlog_batch.c, rlog_hard.c, rlog_segment.c and rlog_recover.c. */
#include "rlog_int.h"
#include <rq/util/assert.h>
#include <rq/util/crc.h>
#include <rq/util/mem.h>
#include <string.h>

/* ---- open and close -------------------------------------------------------------------------------------- */

static struct rlog *rlog_create(struct env *e, const struct rlog_config *config)
{
    struct rlog *l = mem_must_zalloc(sizeof(*l));
    size_t len = strlen(config->dir) + 1;

    ASSERT(config->segment_bytes >= 4096 && config->segment_bytes <= UINT32_MAX - 4095);
    ASSERT(config->spare_count <= RLOG_SPARES_MAX);
    l->env = e;
    l->dir = mem_must_alloc(len);
    memcpy(l->dir, config->dir, len);
    l->segment_bytes = (uint32_t)rlog_align(config->segment_bytes, 4096);
    l->spare_max = config->spare_count;
    return l;
}

static void rlog_destroy(struct rlog *l)
{
    for (uint32_t i = 0; i < l->segment_count; i++)
        rlog_segment_free(l->segments[i]);
    rlog_hard_close(l);
    mem_free(l->segments);
    mem_free(l->window.buf);
    mem_free(l->out);
    mem_free(l->dir);
    mem_free(l);
}

static void found_fill(const struct rlog *l, struct rlog_recovered *found)
{
    found->identity.store_id = l->hard.store_id;
    found->identity.cluster_id = l->hard.cluster_id;
    found->hard = l->hard.hard;
    found->compacted_index = rlog_base(l, &found->compacted_term);
    found->first_index = found->compacted_index + 1;
    found->last_index = l->last_index;
    found->marked_index = l->mark.commit_index;
}

int rlog_open(struct env *e, const struct rlog_config *config, uint64_t store_id_if_fresh,
              int (*visit)(void *ctx, uint64_t index, const struct wire_entry *entry), void *ctx,
              struct rlog_recovered *found, struct rlog **out, struct err_text *why)
{
    struct rlog *l = rlog_create(e, config);

    *found = (struct rlog_recovered){0};
    int rc = rlog_recover(l, store_id_if_fresh, found, why);
    if (rc) {
        rlog_destroy(l);
        return rc;
    }
    found_fill(l, found);
    rlog_check(l);
    if (visit && found->last_index >= found->first_index)
        rc = rlog_read(l, found->first_index, UINT32_MAX, SIZE_MAX, visit, ctx);
    if (rc) {
        err_set(why, rc, "%s: replay stopped: %s", l->dir, err_text_of(rc));
        rlog_destroy(l);
        return rc;
    }
    *out = l;
    return 0;
}

void rlog_close(struct rlog *l)
{
    /* The mark costs nothing here and spares the next open its doubts. */
    if (!l->poisoned && rlog_mark(l, 0))
        l->poisoned = true;
    rlog_destroy(l);
}

/* ---- reading --------------------------------------------------------------------------------------------- */

/* Head and payload of an entry, checked again; e->payload lent until the window moves. */
static int entry_get(struct rlog *l, uint64_t index, struct wire_entry *e)
{
    struct rlog_rec r;
    const uint8_t *p;
    uint64_t offset;
    struct segment *s = rlog_index_find(l, index, &offset);
    int rc = rlog_window_get(l, s, offset, RLOG_MARK_BYTES, &p);

    if (rc)
        return rc;
    if (!rlog_rec_get(p, &s->head, &r) || r.type != RLOG_REC_ENTRY || r.index != index)
        return ERR_CORRUPT;
    if (offset + rlog_entry_bytes(r.length) > s->end)
        return ERR_CORRUPT;
    rc = rlog_window_get(l, s, offset, RLOG_MARK_BYTES + (size_t)r.length, &p);
    if (rc)
        return rc;
    e->term = r.term;
    e->kind = (enum raft_entry_kind)r.kind;
    e->payload = slice_of(p + RLOG_MARK_BYTES, r.length);
    return crc32c(0, e->payload.data, e->payload.len) == r.aux ? 0 : ERR_CORRUPT;
}

int rlog_read(struct rlog *l, uint64_t first, uint32_t count, size_t bytes_max,
              int (*visit)(void *ctx, uint64_t index, const struct wire_entry *entry), void *ctx)
{
    size_t bytes = 0;
    uint64_t term;

    if (l->poisoned)
        return ERR_IO;
    if (first <= rlog_base(l, &term))
        return ERR_NOT_FOUND; /* compacted after the caller had decided to read it */
    for (uint64_t i = first; count > 0 && i <= l->last_index; i++, count--) {
        struct wire_entry e;
        int rc = entry_get(l, i, &e);
        if (rc)
            return rlog_poison(l, rc);
        if (i > first && e.payload.len > bytes_max - bytes)
            return 0;
        bytes += e.payload.len < bytes_max - bytes ? e.payload.len : bytes_max - bytes;
        rc = visit(ctx, i, &e);
        if (rc)
            return rc;
    }
    return 0;
}

/* ---- writing --------------------------------------------------------------------------------------------- */

/* Term at base <= index <= last_index. */
static int term_at(struct rlog *l, uint64_t index, uint64_t *term)
{
    struct wire_entry e;

    if (index == l->last_index) {
        *term = l->last_term;
        return 0;
    }
    if (index == rlog_base(l, term))
        return 0;
    int rc = entry_get(l, index, &e);
    *term = rc ? 0 : e.term;
    return rc;
}

int rlog_append(struct rlog *l, uint64_t first, const struct wire_entry *entries, uint32_t count)
{
    uint64_t base_term;
    struct rlog_batch b = {.kind = RLOG_BATCH_APPEND,
                           .number = l->batch + 1,
                           .index = first - 1,
                           .entries = entries,
                           .count = count};

    if (l->poisoned)
        return ERR_IO;
    ASSERT(first > rlog_base(l, &base_term));
    ASSERT(first <= l->last_index + 1);
    if (count == 0 && first > l->last_index)
        return 0;
    int rc = term_at(l, b.index, &b.term);
    return rc ? rlog_poison(l, rc) : rlog_batch_write(l, &b);
}

int rlog_compact(struct rlog *l, uint64_t index, uint64_t term)
{
    int rc = 0;

    if (l->poisoned)
        return ERR_IO;
    ASSERT(index <= l->last_index);
    ASSERT(index < l->last_index || term == l->last_term);
    while (rc == 0 && l->segment_count > 1) {
        const struct segment *s = l->segments[0];
        if (s->count != 0 && s->base_index + s->count > index)
            break;
        rc = rlog_segment_drop(l);
    }
    return rc;
}

int rlog_reset(struct rlog *l, uint64_t index, uint64_t term)
{
    struct rlog_batch b = {
        .kind = RLOG_BATCH_RESET, .number = l->batch + 1, .index = index, .term = term};

    if (l->poisoned)
        return ERR_IO;
    int rc = rlog_batch_write(l, &b);
    return rc ? rc : rlog_compact(l, index, term);
}

/* ---- hard state and mark ----------------------------------------------------------------------------------- */

int rlog_hard_save(struct rlog *l, const struct raft_hard *hard)
{
    if (l->poisoned)
        return ERR_IO;
    ASSERT(hard->term >= l->hard.hard.term);
    l->hard.hard = *hard;
    return rlog_hard_put(l);
}

int rlog_identity_save(struct rlog *l, uint64_t cluster_id)
{
    if (l->poisoned)
        return ERR_IO;
    ASSERT(cluster_id != 0);
    if (l->hard.cluster_id == cluster_id)
        return 0;
    l->hard.cluster_id = cluster_id;
    return rlog_hard_put(l);
}

int rlog_mark(struct rlog *l, uint64_t commit_index)
{
    if (l->poisoned)
        return ERR_IO;
    if (commit_index > l->last_index)
        commit_index = l->last_index; /* claim nothing of what is not here */
    if (commit_index <= l->mark.commit_index && l->mark.batch == l->batch)
        return 0;
    if (commit_index > l->mark.commit_index)
        l->mark.commit_index = commit_index;
    l->mark.batch = l->batch;
    return rlog_mark_put(l);
}

/* ---- a look inside ----------------------------------------------------------------------------------------- */

void rlog_stat(const struct rlog *l, struct rlog_stat *out)
{
    uint64_t term;

    *out = (struct rlog_stat){
        .first_index = rlog_base(l, &term) + 1,
        .last_index = l->last_index,
        .disk_bytes = 2 * RLOG_HARD_BYTES,
        .sync_count = l->sync_count,
        .batch_count = l->batch_count,
    };
    for (uint32_t i = 0; i < l->segment_count; i++)
        out->disk_bytes += l->segments[i]->head.file_bytes;
    for (uint32_t i = 0; i < RLOG_SPARES_MAX; i++)
        out->disk_bytes += l->spare[i] ? l->segment_bytes : 0;
}

static void segment_check(const struct rlog *l, const struct segment *s, uint64_t *next)
{
    ASSERT(s->end >= RLOG_SECTOR && s->end <= s->head.file_bytes);
    ASSERT(s->end % RLOG_SECTOR == 0);
    ASSERT(s->head.store_id == l->hard.store_id);
    if (s->count == 0)
        return;
    ASSERT(s->base_index == *next);
    for (uint32_t i = 1; i < s->count; i++)
        ASSERT(s->at[i - 1] < s->at[i]);
    ASSERT((uint64_t)s->at[s->count - 1] * 8 + RLOG_MARK_BYTES <= s->end);
    *next += s->count;
}

void rlog_check(const struct rlog *l)
{
    uint64_t term, next = rlog_base(l, &term);

    ASSERT(l->segment_count >= 1);
    for (uint32_t i = 0; i < l->segment_count; i++) {
        segment_check(l, l->segments[i], &next);
        ASSERT(i == 0 || l->segments[i]->head.number == l->segments[i - 1]->head.number + 1);
    }
    ASSERT(next == l->last_index);
    ASSERT(l->mark.batch <= l->batch);
    ASSERT(l->hard.store_id != 0 && l->hard.number != 0);
}
