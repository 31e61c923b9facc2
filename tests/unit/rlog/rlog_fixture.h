/* rlog_fixture.h — a model of what a log should hold, entries made from (index, term, salt), and the log
 * under test beside it. Shared by the rlog tests; all static, each program has its own. */
#ifndef RLOG_FIXTURE_H
#define RLOG_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "env/env_sim.h"
#include <rq/env_impl.h>
#include <rq/rlog.h>
#include <rq/util/mem.h>
#include <rq/util/prng.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DIR "n1/raft"
#define UNUSED __attribute__((unused))

enum { MODEL_MAX = 200, PAYLOAD_MAX = 20000 };

struct model_entry {
    uint64_t term;
    uint32_t salt, bytes;
};
struct model_log {
    uint64_t base, base_term; /* after a reset: its position */
    uint64_t compacted;       /* entries up to here may be gone */
    uint64_t last;
    struct model_entry at[MODEL_MAX]; /* by index */
};
struct model_hard {
    struct raft_hard hard;
    uint64_t cluster_id;
};

static uint8_t fixture_payload[64][PAYLOAD_MAX];

/* Bytes of an entry; what is in them depends on everything that tells it from others. */
static UNUSED void payload_make(uint8_t *dst, uint64_t index, const struct model_entry *e)
{
    struct prng p;
    prng_init(&p, prng_mix(prng_mix(index, e->term), e->salt));
    prng_fill(&p, dst, e->bytes);
}

static UNUSED uint64_t model_term(const struct model_log *m, uint64_t index)
{
    return index == m->base ? m->base_term : m->at[index].term;
}

/* What seen.hash should be; the last few hundred answers are kept. */
static UNUSED uint64_t payload_hash(uint64_t index, const struct model_entry *e)
{
    static struct {
        uint64_t index, term, hash;
        uint32_t salt, bytes;
    } kept[512];
    static uint8_t bytes[PAYLOAD_MAX];
    uint64_t slot = prng_mix(prng_mix(index, e->term), prng_mix(e->salt, e->bytes)) % 512;

    if (kept[slot].index != index || kept[slot].term != e->term || kept[slot].salt != e->salt ||
        kept[slot].bytes != e->bytes) {
        payload_make(bytes, index, e);
        kept[slot].index = index;
        kept[slot].term = e->term;
        kept[slot].salt = e->salt;
        kept[slot].bytes = e->bytes;
        kept[slot].hash = prng_hash(7, bytes, e->bytes);
    }
    return kept[slot].hash;
}

/* Put count entries at first into the model and into `out` (lent until the next call). */
static UNUSED void model_append(struct model_log *m, uint64_t first, const struct model_entry *e,
                                uint32_t count, struct wire_entry *out)
{
    for (uint32_t i = 0; i < count; i++) {
        m->at[first + i] = *e;
        if (out) {
            payload_make(fixture_payload[i], first + i, e);
            out[i] = (struct wire_entry){.term = e->term,
                                         .kind = RAFT_ENTRY_NORMAL,
                                         .payload = slice_of(fixture_payload[i], e->bytes)};
        }
    }
    m->last = first + count - 1;
}

/* ---- what a log says it holds ---- */

struct seen {
    struct rlog_recovered found;
    uint64_t first, next; /* visited [first, next) */
    struct {
        uint64_t term, hash;
        size_t bytes;
    } at[MODEL_MAX];
};

static UNUSED int seen_visit(void *ctx, uint64_t index, const struct wire_entry *e)
{
    struct seen *s = ctx;

    if (s->next == 0)
        s->first = s->next = index;
    if (index != s->next || index >= MODEL_MAX || e->kind != RAFT_ENTRY_NORMAL)
        return ERR_INVALID;
    s->at[index].term = e->term;
    s->at[index].bytes = e->payload.len;
    s->at[index].hash = prng_hash(7, e->payload.data, e->payload.len);
    s->next++;
    return 0;
}

/* NULL: the log is exactly m; else what differs. */
static UNUSED const char *model_differs(const struct model_log *m, const struct seen *s)
{
    const struct rlog_recovered *f = &s->found;

    if (f->last_index != m->last)
        return "last index";
    if (f->first_index != f->compacted_index + 1)
        return "first index";
    if (f->compacted_index < m->base ||
        (f->compacted_index > m->base && f->compacted_index > m->compacted))
        return "entries missing at the front";
    if (f->compacted_term != model_term(m, f->compacted_index))
        return "term before the first entry";
    if (f->last_index >= f->first_index &&
        (s->first != f->first_index || s->next != f->last_index + 1))
        return "entries not visited";
    for (uint64_t i = f->first_index; i <= f->last_index; i++) {
        if (s->at[i].term != m->at[i].term || s->at[i].bytes != m->at[i].bytes ||
            s->at[i].hash != payload_hash(i, &m->at[i]))
            return "content of an entry";
    }
    return NULL;
}

static UNUSED bool hard_same(const struct model_hard *m, const struct rlog_recovered *f)
{
    return m->hard.term == f->hard.term && m->hard.vote == f->hard.vote &&
           m->cluster_id == f->identity.cluster_id;
}

#endif
