/* mem — every allocation of the program, so that tests can make the n-th one fail and the simulator
 * can drop a crashed node's memory in one stroke.
 *
 * Any thread. mem_alloc and mem_realloc return NULL when memory is short: on a client's path that is
 * ERR_NOMEM for that client. Where the program cannot go on without the memory (start-up, a Raft
 * order already given) use the mem_must_ forms, which stop the process. */
#ifndef RQ_UTIL_MEM_H
#define RQ_UTIL_MEM_H

#include <rq/util/err.h>
#include <stddef.h>

/* Uninitialised bytes; len may be 0 (then a unique pointer). NULL if short. Free with mem_free. */
void *mem_alloc(size_t len) MUST_USE;
/* Zeroed. */
void *mem_zalloc(size_t len) MUST_USE;
/* As realloc; p may be NULL. On failure p is untouched and still the caller's. */
void *mem_realloc(void *p, size_t len) MUST_USE;
void mem_free(void *p); /* p may be NULL */
void *mem_must_alloc(size_t len) MUST_USE;
void *mem_must_zalloc(size_t len) MUST_USE;
/* Copy of a NUL-terminated string; NULL if short. */
char *mem_strdup(const char *s) MUST_USE;

/* Fault injection for unit tests (single-threaded): the n-th mem_alloc/zalloc/realloc/strdup from
 * now returns NULL (n >= 1), once; 0 switches it off. mem_fault_fired says whether it happened. */
void mem_fault_arm(unsigned long n);
int mem_fault_fired(void);

/* Replace the allocator of the whole process; NULL restores libc's. For the simulator, which keeps
 * one pool per node incarnation. Call only while nothing allocated by the other one will be freed. */
struct mem_allocator {
    void *(*alloc)(size_t len);
    void *(*realloc)(void *p, size_t len);
    void (*free)(void *p);
};
void mem_allocator_set(const struct mem_allocator *a);

/* Arena: many small allocations with one life, dropped whole. Not thread-safe. */
struct arena_chunk;
struct arena {
    struct arena_chunk *chunks; /* newest first; private */
    size_t used_bytes;          /* handed out so far */
    size_t max_bytes;           /* refuse beyond this */
};
void arena_init(struct arena *a, size_t max_bytes);
/* 16-byte aligned, uninitialised; NULL when memory or max_bytes is short. Lives until reset/fini. */
void *arena_alloc(struct arena *a, size_t len) MUST_USE;
/* Copy of len bytes plus a NUL behind them. */
char *arena_dup(struct arena *a, const void *bytes, size_t len) MUST_USE;
void arena_reset(struct arena *a); /* emptied; may keep one chunk */
void arena_fini(struct arena *a);

#endif
