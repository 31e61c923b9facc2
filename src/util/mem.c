/* mem.c — allocation with a seam: fault injection for tests, a replaceable allocator for the simulator. */
#include <rq/util/assert.h>
#include <rq/util/mem.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct mem_allocator libc_allocator = {malloc, realloc, free};
static const struct mem_allocator *allocator = &libc_allocator;
static unsigned long fault_countdown; /* 0: off */
static int fault_fired;

void mem_allocator_set(const struct mem_allocator *a)
{
    allocator = a ? a : &libc_allocator;
}

void mem_fault_arm(unsigned long n)
{
    fault_countdown = n;
    fault_fired = 0;
}

int mem_fault_fired(void)
{
    return fault_fired;
}

static int fault_now(void)
{
    if (fault_countdown == 0 || --fault_countdown != 0)
        return 0;
    fault_fired = 1;
    return 1;
}

void *mem_alloc(size_t len)
{
    if (fault_now())
        return NULL;
    return allocator->alloc(len ? len : 1);
}

void *mem_zalloc(size_t len)
{
    void *p = mem_alloc(len);
    if (p)
        memset(p, 0, len);
    return p;
}

void *mem_realloc(void *p, size_t len)
{
    if (fault_now())
        return NULL;
    return allocator->realloc(p, len ? len : 1);
}

void mem_free(void *p)
{
    if (p)
        allocator->free(p);
}

static void *mem_must(void *p)
{
    if (!p) {
        (void)fputs("out of memory\n", stderr);
        abort();
    }
    return p;
}

void *mem_must_alloc(size_t len)
{
    return mem_must(allocator->alloc(len ? len : 1));
}

void *mem_must_zalloc(size_t len)
{
    void *p = mem_must_alloc(len);
    memset(p, 0, len);
    return p;
}

char *mem_strdup(const char *s)
{
    size_t len = strlen(s) + 1;
    char *copy = mem_alloc(len);
    if (copy)
        memcpy(copy, s, len);
    return copy;
}

enum { ARENA_CHUNK_BYTES = 4096 - 64, ARENA_ALIGN = 16 };

struct arena_chunk {
    struct arena_chunk *next;
    size_t cap;
    size_t used;
    uint8_t pad_[8]; /* keeps bytes[] 16-byte aligned */
    uint8_t bytes[];
};

void arena_init(struct arena *a, size_t max_bytes)
{
    a->chunks = NULL;
    a->used_bytes = 0;
    a->max_bytes = max_bytes;
}

static struct arena_chunk *arena_grow(struct arena *a, size_t len)
{
    size_t cap = len > ARENA_CHUNK_BYTES ? len : ARENA_CHUNK_BYTES;
    struct arena_chunk *c = mem_alloc(sizeof(*c) + cap);
    if (!c)
        return NULL;
    c->cap = cap;
    c->used = 0;
    c->next = a->chunks;
    a->chunks = c;
    return c;
}

void *arena_alloc(struct arena *a, size_t len)
{
    struct arena_chunk *c = a->chunks;

    if (len > a->max_bytes || a->used_bytes > a->max_bytes - len)
        return NULL;
    size_t rounded = (len + ARENA_ALIGN - 1) & ~(size_t)(ARENA_ALIGN - 1);
    if (!c || c->cap - c->used < rounded)
        c = arena_grow(a, rounded);
    if (!c)
        return NULL;
    void *p = c->bytes + c->used;
    c->used += rounded;
    a->used_bytes += len;
    return p;
}

char *arena_dup(struct arena *a, const void *bytes, size_t len)
{
    char *p = arena_alloc(a, len + 1);
    if (!p)
        return NULL;
    if (len)
        memcpy(p, bytes, len);
    p[len] = '\0';
    return p;
}

static void arena_drop(struct arena *a, struct arena_chunk *keep)
{
    struct arena_chunk *c = a->chunks;
    while (c) {
        struct arena_chunk *next = c->next;
        if (c != keep)
            mem_free(c);
        c = next;
    }
    a->chunks = keep;
    a->used_bytes = 0;
}

void arena_reset(struct arena *a)
{
    struct arena_chunk *keep = a->chunks;
    if (keep && keep->cap != ARENA_CHUNK_BYTES)
        keep = NULL;
    arena_drop(a, keep);
    if (keep) {
        keep->used = 0;
        keep->next = NULL;
    }
}

void arena_fini(struct arena *a)
{
    arena_drop(a, NULL);
}
