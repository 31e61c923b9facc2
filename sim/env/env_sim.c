/* env_sim.c — the scratch environment: one disk, one pool, no loop but the pump.
 *
 * Used by unit tests of rlog and db and by the shadow power cut. A crash leaves the code under test by
 * longjmp to env_sim_run; what it held (memory, handles, jobs, timers) is dropped there. */
#include "env/env_sim.h"
#include "env/env_files.h"
#include "env/sim_mem.h"
#include <rq/util/assert.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>

struct scratch {
    struct sim_env sim;
    struct prng prng;
    struct sim_pool *pool;
    uint64_t now_ns;
    int64_t wall_offset_ns;
    uint64_t crash_at_op, crash_at_call; /* countdowns; 0: off */
    jmp_buf *out;                        /* innermost env_sim_run; NULL: none */
    struct env_timer *timers;            /* by impl; few */
    struct env_turn *turns;
    struct env_job *jobs[ENV_LANE_COUNT], *done;
    uint64_t seq;
    char halt[ERR_TEXT_MAX];
    bool halted;
};

static struct scratch *of(const struct env *e)
{
    return (struct scratch *)(void *)(uintptr_t)e;
}

static void leave(struct scratch *s)
{
    ASSERT(s->out != NULL); /* crash points and env_halt need env_sim_run */
    longjmp(*s->out, 1);
}

static void on_call(struct sim_env *e, const struct sim_call *c, bool on_disk)
{
    struct scratch *s = (struct scratch *)(void *)e;
    (void)c;
    (void)on_disk;
    if (s->crash_at_call && --s->crash_at_call == 0)
        leave(s);
}

static void on_result(struct sim_env *e, int rc, uint32_t crc)
{
    (void)rc;
    (void)crc;
    ((struct scratch *)(void *)e)->now_ns += disk_take_cost(e->disk);
}

static void on_op(void *ctx)
{
    struct scratch *s = ctx;
    if (s->crash_at_op && --s->crash_at_op == 0)
        leave(s);
}

static void call(struct env *e, const char *kind)
{
    struct sim_call c = {kind, NULL, 0, 0, 0};
    on_call(&of(e)->sim, &c, false);
}

static uint64_t op_now_ns(struct env *e)
{
    call(e, "now");
    return of(e)->now_ns;
}

static int64_t op_wall_ns(struct env *e)
{
    call(e, "wall");
    return (int64_t)of(e)->now_ns + of(e)->wall_offset_ns;
}

static uint64_t op_random_u64(struct env *e)
{
    call(e, "random");
    return prng_u64(&of(e)->prng);
}

/* ---- timers: a list, `impl` is the link ---- */

static void op_timer_disarm(struct env_timer *t)
{
    struct scratch *s = of(t->env);
    call(t->env, "disarm");
    for (struct env_timer *i = s->timers, *before = NULL; i; before = i, i = i->impl) {
        if (i != t)
            continue;
        if (before)
            before->impl = t->impl;
        else
            s->timers = t->impl;
        t->heap_at = 0;
        return;
    }
}

static void op_timer_arm(struct env_timer *t, uint64_t after_ns)
{
    struct scratch *s = of(t->env);
    if (t->heap_at)
        op_timer_disarm(t);
    call(t->env, "arm");
    t->due_ns = s->now_ns + after_ns;
    t->seq = s->seq++;
    t->heap_at = 1;
    t->impl = s->timers;
    s->timers = t;
}

static struct env_timer *timer_due(const struct scratch *s)
{
    struct env_timer *best = NULL;
    for (struct env_timer *t = s->timers; t; t = t->impl)
        if (t->due_ns <= s->now_ns && (!best || t->due_ns < best->due_ns ||
                                       (t->due_ns == best->due_ns && t->seq < best->seq)))
            best = t;
    return best;
}

/* ---- turns and jobs: first in, first out ---- */

static void op_turn_schedule(struct env_turn *t)
{
    struct env_turn **at = &of(t->env)->turns;
    call(t->env, "turn");
    while (*at)
        at = &(*at)->next;
    t->next = NULL;
    *at = t;
    t->scheduled = true;
}

static void op_turn_cancel(struct env_turn *t)
{
    struct env_turn **at = &of(t->env)->turns;
    call(t->env, "turn_cancel");
    while (*at && *at != t)
        at = &(*at)->next;
    if (*at)
        *at = t->next;
    t->scheduled = false;
}

static void job_append(struct env_job **list, struct env_job *j)
{
    while (*list)
        list = &(*list)->next;
    j->next = NULL;
    *list = j;
}

static struct env_job *job_pop(struct env_job **list)
{
    struct env_job *j = *list;
    if (j)
        *list = j->next;
    return j;
}

static void op_job_submit(struct env *e, enum env_lane lane, struct env_job *j)
{
    call(e, "job");
    job_append(&of(e)->jobs[lane], j);
}

static void op_log(struct env *e, const char *component, const char *fmt, va_list args)
{
    (void)component;
    (void)fmt;
    (void)args;
    call(e, "log");
}

static void op_halt(struct env *e, const char *reason)
{
    struct scratch *s = of(e);
    s->halted = true;
    (void)snprintf(s->halt, sizeof(s->halt), "%s", reason);
    leave(s);
}

static int op_connect(struct env *e, const char *addr, const struct env_stream_events *events,
                      void *ctx, struct env_stream **out)
{
    (void)e, (void)addr, (void)events, (void)ctx, (void)out;
    UNREACHABLE(); /* streams need a world */
}

static int op_listen(struct env *e, const char *addr, void (*accepted)(void *, struct env_stream *),
                     void *ctx, struct env_listener **out, struct err_text *why)
{
    (void)e, (void)addr, (void)accepted, (void)ctx, (void)out, (void)why;
    UNREACHABLE();
}

static const struct env_ops scratch_ops = {
    .now_ns = op_now_ns,
    .wall_ns = op_wall_ns,
    .random_u64 = op_random_u64,
    .timer_arm = op_timer_arm,
    .timer_disarm = op_timer_disarm,
    .turn_schedule = op_turn_schedule,
    .turn_cancel = op_turn_cancel,
    .job_submit = op_job_submit,
    ENV_FILES_OPS,
    .stream_connect = op_connect,
    .listen = op_listen,
    .log = op_log,
    .halt = op_halt,
};

/* ---- life ---- */

struct env *env_sim_create(struct sim_disk *d, uint64_t seed)
{
    struct scratch *s = calloc(1, sizeof(*s));
    ASSERT(s);
    ASSERT(d->before_op == NULL); /* one environment at a time */
    s->sim.base.ops = &scratch_ops;
    s->sim.call = on_call;
    s->sim.result = on_result;
    env_files_init(&s->sim, d);
    d->before_op = on_op;
    d->before_op_ctx = s;
    prng_init(&s->prng, prng_mix(seed, prng_hash(0, "scratch", 7)));
    s->pool = sim_pool_create((uint8_t)(0xA0 | (seed & 15)), false);
    s->now_ns = ENV_S_NS;
    s->wall_offset_ns = INT64_C(1767225600) * (int64_t)ENV_S_NS; /* 2026-01-01 */
    return &s->sim.base;
}

static void forget(struct scratch *s)
{
    env_files_drop(&s->sim);
    s->timers = NULL;
    s->turns = NULL;
    s->done = NULL;
    for (int i = 0; i < ENV_LANE_COUNT; i++)
        s->jobs[i] = NULL;
    s->crash_at_op = 0;
    s->crash_at_call = 0;
    (void)disk_take_cost(s->sim.disk);
}

void env_sim_destroy(struct env *e)
{
    struct scratch *s = of(e);
    ASSERT(s->out == NULL);
    forget(s);
    s->sim.disk->before_op = NULL;
    sim_pool_drop(s->pool);
    free(s);
}

bool env_sim_run(struct env *e, void (*fn)(void *ctx), void *ctx)
{
    struct scratch *s = of(e);
    jmp_buf here;
    struct sim_pool *was = sim_pool_switch(s->pool);

    ASSERT(s->out == NULL); /* not nested */
    s->halted = false;
    s->out = &here;
    if (setjmp(here) == 0) {
        fn(ctx);
        s->out = NULL;
        (void)sim_pool_switch(was);
        return true;
    }
    s->out = NULL;
    (void)sim_pool_switch(was);
    forget(s);
    sim_pool_drop(s->pool);
    s->pool = sim_pool_create(0xA5, false);
    return false;
}

void env_sim_crash_at_op(struct env *e, uint64_t k)
{
    of(e)->crash_at_op = k;
}

void env_sim_crash_at_call(struct env *e, uint64_t k)
{
    of(e)->crash_at_call = k;
}

const char *env_sim_halt_reason(const struct env *e)
{
    return of(e)->halted ? of(e)->halt : NULL;
}

/* ---- the pump ---- */

static bool pump_job(struct scratch *s)
{
    struct env_job *j = job_pop(&s->done);
    if (j) {
        j->submitted = false;
        j->done(j);
        return true;
    }
    for (int i = 0; i < ENV_LANE_COUNT; i++) {
        j = job_pop(&s->jobs[i]);
        if (!j)
            continue;
        j->run(j);
        job_append(&s->done, j);
        return true;
    }
    return false;
}

struct pump {
    struct scratch *s;
    bool did;
};

static void pump_body(void *ctx)
{
    struct pump *p = ctx;
    struct scratch *s = p->s;

    p->did = true;
    if (s->turns) {
        struct env_turn *t = s->turns;
        s->turns = t->next;
        t->scheduled = false;
        t->run(t);
        return;
    }
    struct env_timer *t = timer_due(s);
    if (t) {
        op_timer_disarm(t);
        t->fire(t);
        return;
    }
    p->did = pump_job(s);
}

/* 1: something ran, 0: nothing was due, -1: crashed */
static int pump(struct env *e)
{
    struct pump p = {of(e), false};
    if (p.s->out)
        pump_body(&p);
    else if (!env_sim_run(e, pump_body, &p))
        return -1;
    return p.did ? 1 : 0;
}

bool env_sim_pump_one(struct env *e)
{
    return pump(e) == 1;
}

bool env_sim_pump(struct env *e)
{
    int got;
    do {
        got = pump(e);
    } while (got == 1);
    return got == 0;
}

bool env_sim_advance(struct env *e, uint64_t ns)
{
    of(e)->now_ns += ns;
    return env_sim_pump(e);
}

void env_sim_wall_set(struct env *e, int64_t wall_ns)
{
    of(e)->wall_offset_ns = wall_ns - (int64_t)of(e)->now_ns;
}

size_t env_sim_live_blocks(const struct env *e)
{
    return sim_pool_live_blocks(of(e)->pool);
}

void env_sim_alloc_fail_at(struct env *e, uint64_t k)
{
    sim_pool_fail_at(of(e)->pool, k);
}
