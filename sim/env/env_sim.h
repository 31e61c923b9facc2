/* env_sim — a scratch environment on a sim_disk, without a world: for unit tests of rlog and db,
 * and for recovering on a cloned disk (shadow power cut).
 *
 * File calls work synchronously, in or out of a job; jobs, turns and timers run when pumped;
 * streams are not there (ASSERT). Time moves only by env_sim_advance and by what the disk charges.
 * Nodes in a world get their env from host_start (world.h) instead. */
#ifndef ENV_SIM_H
#define ENV_SIM_H

#include "env/sim_disk.h"
#include <rq/env.h>

/* The disk is the caller's and outlives the environment. Equal seed and calls: equal behaviour. */
struct env *env_sim_create(struct sim_disk *d, uint64_t seed);
/* Closes files and locks left behind by a crash, frees the pool. */
void env_sim_destroy(struct env *e);

/* Call fn(ctx) as production code with this environment's own memory pool.
 *   true   fn returned
 *   false  it crashed at an armed point or called env_halt: its stack is gone, its memory was
 * freed, its files and locks are closed, its jobs and timers forgotten; the disk is as it was. What
 * fn allocates stays in the pool until destroy or crash; free it in another run or with no pool. */
bool env_sim_run(struct env *e, void (*fn)(void *ctx), void *ctx);
/* Crash at the k-th changing disk operation from now (k >= 1; it does not happen); 0: off. Only
 * within env_sim_run. */
void env_sim_crash_at_op(struct env *e, uint64_t k);
/* Crash at the k-th call of any env function from now. */
void env_sim_crash_at_call(struct env *e, uint64_t k);
const char *env_sim_halt_reason(const struct env *e); /* NULL: env_halt was not called */

/* Run one due thing (job, done, turn hook, timer), in env_sim_run when not already within it.
 * false: nothing was due. */
bool env_sim_pump_one(struct env *e);
/* Until nothing is due; false: crashed. */
bool env_sim_pump(struct env *e);
/* Move the clocks; then pump. false: crashed. */
bool env_sim_advance(struct env *e, uint64_t ns);
void env_sim_wall_set(struct env *e, int64_t wall_ns);

size_t env_sim_live_blocks(const struct env *e);       /* of the pool: leaks after a clean close */
void env_sim_alloc_fail_at(struct env *e, uint64_t k); /* sim_pool_fail_at on the pool */

#endif
