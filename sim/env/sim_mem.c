/* sim_mem.c — pools behind rq/util/mem.h: a header before each block, a list per pool.
 *
 * Called by mem.c through its allocator table, by the world and by scratch environments. The current
 * pool is the one piece of process state that cannot be handed down: mem.h carries no context. */
#include "env/sim_mem.h"
#include <rq/util/assert.h>
#include <rq/util/mem.h>
#include <stdlib.h>
#include <string.h>

enum { FILL_MAX = 512 }; /* enough to make a use of uninitialised fields differ between runs */

static const uint64_t BLOCK_MAGIC = 0x51A1B10C51A1B10CULL;

struct block { /* the bytes follow; size is a multiple of 16 */
    struct block *next, *prev;
    struct sim_pool *pool; /* NULL: the process's own, not listed */
    size_t len;
    uint64_t magic;
    uint64_t pad_;
};

struct sim_pool {
    struct block *blocks; /* newest first */
    size_t live_blocks, live_bytes;
    uint64_t allocs;
    uint64_t fail_at; /* value of allocs at which to arm the failure; 0: off */
    bool fail_armed;  /* mem_fault_arm(1) belongs to this pool now */
    bool strict;
    uint8_t fill;
};

static struct sim_pool *current;

static void block_link(struct sim_pool *p, struct block *b)
{
    b->pool = p;
    b->prev = NULL;
    b->next = NULL;
    if (!p)
        return;
    b->next = p->blocks;
    if (p->blocks)
        p->blocks->prev = b;
    p->blocks = b;
    p->live_blocks++;
    p->live_bytes += b->len;
}

static void block_unlink(struct block *b)
{
    struct sim_pool *p = b->pool;
    if (!p)
        return;
    if (b->prev)
        b->prev->next = b->next;
    else
        p->blocks = b->next;
    if (b->next)
        b->next->prev = b->prev;
    p->live_blocks--;
    p->live_bytes -= b->len;
}

static struct block *block_of(void *bytes)
{
    struct block *b = (struct block *)bytes - 1;
    ASSERT(b->magic == BLOCK_MAGIC); /* made by this allocator, not freed, header not overwritten */
    if (b->pool && b->pool != current)
        ASSERT(!current && !b->pool->strict); /* one incarnation's memory in another's hands */
    return b;
}

static void count_alloc(struct sim_pool *p)
{
    p->allocs++;
    if (p->fail_at && p->allocs + 1 >= p->fail_at) {
        p->fail_at = 0;
        p->fail_armed = true;
        mem_fault_arm(1);
    }
}

static void *pool_alloc(size_t len)
{
    struct block *b = malloc(sizeof(*b) + len);
    if (!b)
        return NULL;
    b->len = len;
    b->magic = BLOCK_MAGIC;
    b->pad_ = 0;
    block_link(current, b);
    if (current) {
        memset(b + 1, current->fill, len < FILL_MAX ? len : FILL_MAX);
        count_alloc(current);
    }
    return b + 1;
}

static void *pool_realloc(void *bytes, size_t len)
{
    if (!bytes)
        return pool_alloc(len);
    struct block *b = block_of(bytes);
    struct sim_pool *p = b->pool;
    block_unlink(b);
    struct block *moved = realloc(b, sizeof(*b) + len);
    if (!moved) {
        block_link(p, b);
        return NULL;
    }
    moved->len = len;
    block_link(p, moved);
    if (current)
        count_alloc(current);
    return moved + 1;
}

static void pool_free(void *bytes)
{
    struct block *b = block_of(bytes);
    block_unlink(b);
    b->magic = 0;
    free(b);
}

static const struct mem_allocator pool_allocator = {pool_alloc, pool_realloc, pool_free};

/* Before main, so that no block of libc's own allocator is ever handed to pool_free. */
__attribute__((constructor)) static void pool_install(void)
{
    mem_allocator_set(&pool_allocator);
}

struct sim_pool *sim_pool_create(uint8_t fill, bool strict)
{
    struct sim_pool *p = calloc(1, sizeof(*p));
    ASSERT(p);
    p->fill = fill;
    p->strict = strict;
    return p;
}

void sim_pool_drop(struct sim_pool *p)
{
    if (!p)
        return;
    ASSERT(p != current);
    for (struct block *b = p->blocks, *next; b; b = next) {
        next = b->next;
        b->magic = 0;
        free(b);
    }
    free(p);
}

size_t sim_pool_live_blocks(const struct sim_pool *p)
{
    return p->live_blocks;
}

size_t sim_pool_live_bytes(const struct sim_pool *p)
{
    return p->live_bytes;
}

uint64_t sim_pool_allocs(const struct sim_pool *p)
{
    return p->allocs;
}

void sim_pool_fail_at(struct sim_pool *p, uint64_t k)
{
    if (p == current && p->fail_armed)
        mem_fault_arm(0);
    p->fail_armed = k == 1;
    p->fail_at = k > 1 ? p->allocs + k : 0;
    if (p == current && p->fail_armed)
        mem_fault_arm(1);
}

/* The one global countdown of mem.h is lent to the pool that runs. */
static void fault_leave(struct sim_pool *p)
{
    if (!p || !p->fail_armed)
        return;
    if (mem_fault_fired())
        p->fail_armed = false;
    mem_fault_arm(0);
}

struct sim_pool *sim_pool_switch(struct sim_pool *p)
{
    struct sim_pool *was = current;
    if (p == was)
        return was;
    fault_leave(was);
    current = p;
    if (p && p->fail_armed)
        mem_fault_arm(1);
    return was;
}

struct sim_pool *sim_pool_current(void)
{
    return current;
}
