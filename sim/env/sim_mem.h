/* sim_mem — one memory pool per node incarnation, under rq/util/mem.h.
 *
 * Linking this file replaces the program's allocator before main(). Every block carries the pool
 * that was current when it was made. A crash frees a pool in one stroke; a clean stop should leave
 * it empty. With no current pool, blocks are the process's own (SQLite's start-up, tests, oracles).
 *
 * The simulator itself uses plain malloc, so what it does never shows in a pool. */
#ifndef SIM_MEM_H
#define SIM_MEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sim_pool;

/* strict: blocks may be freed only while this pool is current (hosts); otherwise also with no pool.
 */
struct sim_pool *sim_pool_create(uint8_t fill, bool strict);
void sim_pool_drop(struct sim_pool *p); /* frees every block, then the pool; p may be NULL */
size_t sim_pool_live_blocks(const struct sim_pool *p);
size_t sim_pool_live_bytes(const struct sim_pool *p);
uint64_t sim_pool_allocs(const struct sim_pool *p); /* ever made */
/* The first refusable allocation (mem_alloc, mem_zalloc, mem_realloc, mem_strdup) after k - 1 more
 * of any kind returns NULL, once. 0: off. */
void sim_pool_fail_at(struct sim_pool *p, uint64_t k);

/* Make p current (NULL: the process's own); returns what was. */
struct sim_pool *sim_pool_switch(struct sim_pool *p);
struct sim_pool *sim_pool_current(void);

#endif
