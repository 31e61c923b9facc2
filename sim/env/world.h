/* world — hosts, virtual time and chance, all from one 64-bit seed.
 *
 * The heap of events, ordered by (virtual ns, tie drawn from the schedule stream, sequence), is all
 * there is: time moves by popping. Production code of a host runs inside world_run only, one host
 * at a time, with that incarnation's memory pool. It leaves by returning, or by longjmp when the
 * incarnation ends in the middle (crash at an armed env call, env_halt): it never sees its own end.
 *
 *   host:  DOWN ──host_start──► UP ⇄ PAUSED      UP/PAUSED ──crash, halt, exit──► DOWN
 *
 * A host's disk (sim_disk.h) stays through all of that. Streams: sim_net.h. Simulated clients are
 * hosts too. The trace hash folds every event and every env call with its arguments; it is equal
 * for equal seeds, with and without a trace file. */
#ifndef WORLD_H
#define WORLD_H

#include "env/sim_disk.h"
#include "env/sim_net.h"
#include <rq/env.h>
#include <rq/util/prng.h>
#include <stdio.h>

enum { WORLD_HOST_MAX = 64 };

enum world_tie {
    WORLD_TIE_RANDOM,
    WORLD_TIE_OLDEST,
    WORLD_TIE_NEWEST
}; /* order of events due at one instant */

struct world_config {
    uint64_t seed;
    enum world_tie tie;
    bool cpu_free;                   /* callbacks cost nothing */
    uint64_t cpu_min_ns, cpu_max_ns; /* of one callback, times the host's factor */
    uint64_t timer_late_max_ns; /* timers fire this much late at most (when the host is free) */
    uint64_t lane_delay_max_ns; /* from submit, or the lane falling free, to run() */
    unsigned read_width;        /* READ jobs that overlap */
    uint64_t event_max;         /* caps: of the run, and per virtual second */
    uint64_t event_second_max;
    FILE *trace; /* NULL, or one line per event and call */
    struct sim_net_config net;
};
void world_config_default(struct world_config *c, uint64_t seed);

struct world *world_create(const struct world_config *c);
/* Ends all incarnations (as a crash: no code runs), frees everything, disks included. */
void world_destroy(struct world *w);

/* ---- running
 * ------------------------------------------------------------------------------------- */

enum world_end {
    WORLD_END_TIME,
    WORLD_END_IDLE,
    WORLD_END_STOPPED,
    WORLD_END_EVENT_MAX,
    WORLD_END_LIVELOCK
};
/* Run events due up to until_ns (virtual, since creation); TIME: the clock stands at until_ns. */
enum world_end world_run(struct world *w, uint64_t until_ns);
enum world_end world_run_for(struct world *w, uint64_t ns);
/* Run while unmet(ctx) says true (asked before each event), at most `ns`; true: it says false now. */
bool world_run_while(struct world *w, uint64_t ns, bool (*unmet)(void *ctx), void *ctx);
bool world_step(struct world *w); /* one event; false: none */
void world_stop(struct world *w); /* from a callback: world_run returns after this event */
uint64_t world_now_ns(const struct world *w);
uint64_t world_events(const struct world *w);

/* Oracles and nemesis: fn(ctx) at now + after_ns, owned by nobody. */
void world_after(struct world *w, uint64_t after_ns, void (*fn)(void *ctx), void *ctx);

/* ---- chance
 * ---------------------------------------------------------------------------------------- */

/* A stream of its own, split off the seed by name and number: "workload" 0, "client" 3, "nemesis"
 * 0, … */
void world_stream_init(const struct world *w, struct prng *out, const char *name, uint64_t number);
uint64_t world_seed(const struct world *w);

/* ---- trace
 * ------------------------------------------------------------------------------------------ */

struct world_hash {
    uint64_t a, b;
};
struct world_hash world_hash(const struct world *w);
/* The hash after every 1 024 events: number i (0: after the first 1 024); false: not that far yet.
 */
bool world_hash_checkpoint(const struct world *w, size_t i, struct world_hash *out);
/* Fold something of the harness's own (an operation begun, an answer seen); text goes to the trace.
 */
void world_note(struct world *w, const char *kind, uint64_t a, uint64_t b);
/* A line for people, not folded. */
void world_trace(struct world *w, const char *fmt, ...) PRINTF_LIKE(2, 3);
bool world_tracing(const struct world *w);
/* env_log of hosts; line lent. */
void world_on_log(struct world *w,
                  void (*fn)(void *ctx, struct host *h, const char *component, const char *line),
                  void *ctx);
/* For proving that the trace sees time: the n-th event popped from now (1: the next) is put back 1
 * ns later. */
void world_delay_event(struct world *w, uint64_t nth);

/* ---- hosts
 * -------------------------------------------------------------------------------------------- */

struct host_config {
    int64_t wall_offset_ns;      /* from the world's wall clock, which starts at 2026-01-01 */
    int32_t drift_ppm;           /* of both clocks */
    uint32_t cpu_percent;        /* cost factor; 100: usual */
    struct sim_disk_config disk; /* seed 0: drawn from the world's */
};
void host_config_default(struct host_config *c);

/* name: "n1", "c1", …: unique, copied. Lives as long as the world. c may be NULL. */
struct host *world_host_add(struct world *w, const char *name, const struct host_config *c);
struct host *world_host(const struct world *w, const char *name); /* NULL: none */
struct host *world_host_at(const struct world *w, size_t i);
size_t world_host_count(const struct world *w);

/* Begin an incarnation: boot(env, ctx) runs as its first event, at once in virtual time. The host
 * is DOWN. */
void host_start(struct host *h, void (*boot)(struct env *e, void *ctx), void *ctx);

enum host_crash { HOST_CRASH_PROCESS, HOST_CRASH_POWER };
/* End the incarnation now. PROCESS: page cache stays, peers get FIN or RST. POWER: pending writes
 * are resolved by the disk's profile; peers hear nothing until the host runs again. When its own
 * code is on the stack it ends as soon as that code makes an env call or returns. DOWN: PROCESS
 * does nothing, POWER cuts the disk. */
void host_crash(struct host *h, enum host_crash kind);
/* At its k-th env call from now (k >= 1), whatever that is; replaces an armed one; 0: off. Ends
 * with the incarnation. */
void host_crash_at_call(struct host *h, enum host_crash kind, uint64_t k);
/* The process ends by itself (main returned): for harness code running on the host, e.g. in
 * node_stop's callback. Takes effect when the turn ends. Then host_exit_leak tells what the pool
 * still held. */
void host_exit(struct host *h);
size_t host_exit_leak(const struct host *h); /* blocks left at the last host_exit */

void host_pause(struct host *h);  /* SIGSTOP: no callback, no job; its machine still takes bytes */
void host_resume(struct host *h); /* everything that came due is due now, in any order */

/* Run fn(env, ctx) on the host as a turn of its own: now (not from within production code; false:
 * DOWN or the incarnation ended inside), or as an event after_ns later, if that incarnation still
 * lives. */
bool host_call(struct host *h, void (*fn)(struct env *e, void *ctx), void *ctx);
void host_post(struct host *h, uint64_t after_ns, void (*fn)(struct env *e, void *ctx), void *ctx);

/* env_halt was called; the incarnation is gone already. */
void world_on_halt(struct world *w, void (*fn)(void *ctx, struct host *h, const char *reason),
                   void *ctx);
/* Any end: reason "crash", "power", "halt", "exit". After on_halt. */
void world_on_end(struct world *w, void (*fn)(void *ctx, struct host *h, const char *reason),
                  void *ctx);

struct world *host_world(const struct host *h);
const char *host_name(const struct host *h);
size_t host_index(const struct host *h); /* order of world_host_add */
bool host_up(const struct host *h);      /* an incarnation lives (paused counts) */
bool host_paused(const struct host *h);
uint64_t host_incarnation(const struct host *h); /* 1 with the first start */
struct env *host_env(const struct host *h);      /* NULL when DOWN */
struct sim_disk *host_disk(const struct host *h);
/* Another disk in its place (swap, restore, shadow); the old one is given back, now the caller's.
 * DOWN only. */
struct sim_disk *host_disk_swap(struct host *h, struct sim_disk *d);
struct host *host_of_env(const struct env *e); /* of a world's env */
uint64_t host_env_calls(const struct host *h); /* by this incarnation */
uint64_t host_now_ns(const struct host *h);    /* what env_now_ns would tell */
int64_t host_wall_ns(const struct host *h);
void host_wall_jump(struct host *h, int64_t by_ns);
void host_cpu_set(struct host *h, uint32_t cpu_percent);
size_t host_pool_live(const struct host *h); /* blocks of the living incarnation */
void host_alloc_fail_at(struct host *h,
                        uint64_t k); /* see sim_pool_fail_at; ends with the incarnation */

/* ---- fault statistics
 * ----------------------------------------------------------------------------------- */

#define WORLD_FAULT_TABLE(X)                                                                       \
    X(CRASH, "crash")                                                                              \
    X(POWER, "power")                                                                              \
    X(HALT, "halt")                                                                                \
    X(PAUSE, "pause")                                                                              \
    X(PARTITION, "partition")                                                                      \
    X(RESET, "reset")                                                                              \
    X(HALF_OPEN, "half_open")                                                                      \
    X(BLACK_HOLE, "black_hole") X(REFUSE, "refuse") X(HANG, "hang") X(LOSS, "loss")                \
        X(FLIP, "flip") X(WALL_JUMP, "wall_jump") X(ALLOC, "alloc") X(ROT, "rot")                  \
            X(READ_EIO, "read_eio") X(WRITE_EIO, "write_eio") X(SYNC_EIO, "sync_eio")              \
                X(NOSPC, "nospc") X(STALL, "stall") X(TORN, "torn") X(DROPPED, "dropped")
enum world_fault {
#define WORLD_FAULT_ENUM_(name, text) WORLD_FAULT_##name,
    WORLD_FAULT_TABLE(WORLD_FAULT_ENUM_)
#undef WORLD_FAULT_ENUM_
        WORLD_FAULT_COUNT
};
uint64_t world_fault_count(const struct world *w, enum world_fault kind); /* disks included */
const char *world_fault_name(enum world_fault kind);

#endif
