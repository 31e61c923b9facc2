/* raft_trail.c — which index has which term, as runs of equal terms. Payloads live elsewhere; for flow
 * control the sizes of recent entries are kept in a ring. */
#include "raft_int.h"
#include <rq/util/mem.h>
#include <string.h>

int trail_init(struct trail *t, uint32_t run_soft_max, uint32_t run_count)
{
    ASSERT(run_soft_max >= 8);
    memset(t, 0, sizeof(*t));
    t->run_soft_max = run_soft_max;
    t->run_cap = 2 * run_soft_max + run_count;
    t->runs = mem_zalloc(t->run_cap * sizeof(*t->runs));
    t->bytes = mem_zalloc(TRAIL_BYTES_RING * sizeof(*t->bytes));
    trail_reset(t, 0, 0);
    return t->runs && t->bytes ? 0 : ERR_NOMEM;
}

void trail_fini(struct trail *t)
{
    mem_free(t->runs);
    mem_free(t->bytes);
}

void trail_reset(struct trail *t, uint64_t index, uint64_t term)
{
    t->base_index = index;
    t->base_term = term;
    t->last_index = index;
    t->run_count = 0;
    t->bytes_from = index + 1;
}

/* Position of the run that holds index; index in (base_index, last_index]. */
static uint32_t run_of(const struct trail *t, uint64_t index)
{
    uint32_t low = 0,
             high = t->run_count; /* runs[low].first_index <= index < runs[high].first_index */

    ASSERT(index > t->base_index && index <= t->last_index);
    while (high - low > 1) {
        uint32_t middle = low + (high - low) / 2;
        if (t->runs[middle].first_index <= index)
            low = middle;
        else
            high = middle;
    }
    ASSERT(t->runs[low].first_index <= index);
    return low;
}

uint64_t trail_term_at(const struct trail *t, uint64_t index)
{
    if (index < t->base_index || index > t->last_index)
        return 0;
    if (index == t->base_index)
        return t->base_term;
    return t->runs[run_of(t, index)].term;
}

uint64_t trail_last_term(const struct trail *t)
{
    return t->run_count ? t->runs[t->run_count - 1].term : t->base_term;
}

bool trail_has_room(const struct trail *t, uint64_t term)
{
    return t->run_count < t->run_cap || trail_last_term(t) == term;
}

void trail_push(struct trail *t, uint64_t term, uint32_t bytes)
{
    uint64_t index = t->last_index + 1;

    ASSERT(term >= trail_last_term(t) && term > 0);
    if (t->run_count == 0 || t->runs[t->run_count - 1].term != term) {
        ASSERT(t->run_count < t->run_cap);
        t->runs[t->run_count].first_index = index;
        t->runs[t->run_count].term = term;
        t->run_count++;
    }
    t->last_index = index;
    t->bytes[index % TRAIL_BYTES_RING] = bytes;
    if (index >= TRAIL_BYTES_RING)
        t->bytes_from = max_u64(t->bytes_from, index - TRAIL_BYTES_RING + 1);
}

void trail_cut(struct trail *t, uint64_t from)
{
    ASSERT(from > t->base_index);
    if (from > t->last_index)
        return;
    while (t->run_count && t->runs[t->run_count - 1].first_index >= from)
        t->run_count--;
    t->last_index = from - 1;
    t->bytes_from = min_u64(t->bytes_from, from);
}

void trail_drop(struct trail *t, uint64_t upto)
{
    uint64_t term = trail_term_at(t, upto);
    uint32_t gone = 0;

    ASSERT(upto >= t->base_index && upto <= t->last_index);
    if (upto == t->base_index)
        return;
    while (gone < t->run_count && t->runs[gone].first_index <= upto)
        gone++;
    if (upto < t->last_index && (gone == t->run_count || t->runs[gone].first_index != upto + 1)) {
        gone--; /* this run goes on behind the snapshot */
        t->runs[gone].first_index = upto + 1;
    }
    memmove(t->runs, t->runs + gone, (t->run_count - gone) * sizeof(*t->runs));
    t->run_count -= gone;
    t->base_index = upto;
    t->base_term = term;
}

uint64_t trail_below_term(const struct trail *t, uint64_t index, uint64_t term)
{
    ASSERT(index <= t->last_index);
    for (uint32_t i = t->run_count; i > 0; i--) {
        const struct raft_term_run *run = &t->runs[i - 1];
        if (run->first_index > index)
            continue;
        if (run->term <= term)
            return index;
        index = run->first_index - 1;
    }
    return t->base_index;
}

uint32_t trail_bytes_at(const struct trail *t, uint64_t index)
{
    ASSERT(index <= t->last_index);
    return index >= t->bytes_from ? t->bytes[index % TRAIL_BYTES_RING] : ENTRY_BYTES_GUESS;
}
