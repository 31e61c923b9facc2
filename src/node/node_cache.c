/* node_cache.c — the newest log entries in memory, by index. Older ones come from rlog.
 * Invariant: indexes are consecutive; the ring holds first .. first + count - 1. */
#include "node_int.h"

struct node_entry *node_entry_new(size_t len)
{
    ASSERT(len <= LIMIT_ENTRY_BYTES);
    struct node_entry *e = mem_alloc(sizeof(*e) + len);
    if (!e)
        return NULL;
    e->refs = 1;
    e->kind = RAFT_ENTRY_NORMAL;
    e->term = 0;
    e->len = (uint32_t)len;
    return e;
}

struct node_entry *node_entry_ref(struct node_entry *e)
{
    ASSERT(e->refs > 0);
    e->refs++;
    return e;
}

void node_entry_unref(struct node_entry *e)
{
    if (!e)
        return;
    ASSERT(e->refs > 0);
    if (--e->refs == 0)
        mem_free(e);
}

void node_cache_init(struct node_cache *c, uint64_t next_index, uint64_t bytes_max)
{
    memset(c, 0, sizeof(*c));
    c->first = next_index;
    c->bytes_max = bytes_max;
}

void node_cache_fini(struct node_cache *c)
{
    node_cache_truncate(c, c->first);
    mem_free(c->ring);
    c->ring = NULL;
    c->cap = 0;
}

static struct node_entry **cache_slot(const struct node_cache *c, uint64_t index)
{
    return &c->ring[index & (c->cap - 1)];
}

void node_cache_truncate(struct node_cache *c, uint64_t index)
{
    if (index < c->first) { /* the cut lies below what is in memory: nothing of ours survives */
        node_cache_truncate(c, c->first);
        c->first = index;
        return;
    }
    while (c->count && c->first + c->count > index) {
        struct node_entry *e = *cache_slot(c, c->first + c->count - 1);
        c->bytes -= e->len;
        c->count--;
        node_entry_unref(e);
    }
}

static void cache_grow(struct node_cache *c)
{
    uint32_t cap = c->cap ? c->cap * 2 : 1024;
    struct node_entry **ring = mem_must_alloc(cap * sizeof(*ring));

    for (uint32_t i = 0; i < c->count; i++) {
        uint64_t index = c->first + i;
        ring[index & (cap - 1)] = *cache_slot(c, index);
    }
    mem_free(c->ring);
    c->ring = ring;
    c->cap = cap;
}

void node_cache_push(struct node_cache *c, struct node_entry *e)
{
    if (c->count == c->cap)
        cache_grow(c);
    *cache_slot(c, c->first + c->count) = node_entry_ref(e);
    c->count++;
    c->bytes += e->len;
}

struct node_entry *node_cache_get(const struct node_cache *c, uint64_t index)
{
    if (index < c->first || index - c->first >= c->count)
        return NULL;
    return *cache_slot(c, index);
}

void node_cache_evict(struct node_cache *c, uint64_t keep_index)
{
    while (c->count && c->bytes > c->bytes_max && c->first <= keep_index) {
        struct node_entry *e = *cache_slot(c, c->first);
        c->bytes -= e->len;
        c->first++;
        c->count--;
        node_entry_unref(e);
    }
}
