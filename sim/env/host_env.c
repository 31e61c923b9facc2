/* host_env.c — env_* as one host of a world sees it: clocks, timers, turns, jobs, words. Files are in
 * env_files.c, streams in net_stream.c.
 *
 * Every call is told first (note): it is folded into the trace, checked for lane and host, and may be the
 * armed crash point. */
#include "env/world_int.h"
#include <rq/util/assert.h>
#include <stdlib.h>

static void crash_point(struct host *h)
{
    if (h->ending == END_NONE && h->crash_at && --h->crash_at == 0)
        h->ending = h->crash_kind == HOST_CRASH_POWER ? END_POWER : END_CRASH;
    if (h->ending == END_CRASH || h->ending == END_POWER || h->ending == END_HALT)
        host_leave(h);
}

static void on_call(struct sim_env *e, const struct sim_call *c, bool on_disk)
{
    struct host *h = (struct host *)(void *)e;

    ASSERT(h->world->running ==
           h);                  /* one host's code with another's env, or the harness's own call */
    ASSERT(!on_disk || h->job); /* env.h: files in run() only */
    host_call_note(h, c);
    crash_point(h);
}

/* The device serves one request at a time, so lanes slow each other down. */
static void on_result(struct sim_env *e, int rc, uint32_t crc)
{
    struct host *h = (struct host *)(void *)e;
    uint64_t cost_ns = disk_take_cost(h->disk), at_ns = h->world->now_ns + h->job_ns;

    if (cost_ns) {
        uint64_t start_ns = at_ns > h->disk_free_ns ? at_ns : h->disk_free_ns;
        h->disk_free_ns = start_ns + cost_ns;
        h->job_ns = h->disk_free_ns - h->world->now_ns;
    }
    world_fold(h->world, (uint64_t)(uint32_t)rc << 32 | crc);
}

static struct host *note(struct env *e, const char *kind, uint64_t a, uint64_t b)
{
    struct host *h = host_of(e);
    struct sim_call c = {kind, NULL, a, b, 0};
    on_call(&h->sim, &c, false);
    return h;
}

static struct host *note_loop(struct env *e, const char *kind, uint64_t a, uint64_t b)
{
    struct host *h = note(e, kind, a, b);
    ASSERT(!h->job); /* LOOP only */
    return h;
}

static uint64_t op_now_ns(struct env *e)
{
    return host_now_ns(note(e, "now", 0, 0));
}

static int64_t op_wall_ns(struct env *e)
{
    return host_wall_ns(note(e, "wall", 0, 0));
}

static uint64_t op_random_u64(struct env *e)
{
    struct host *h = note(e, "random", 0, 0);
    uint64_t x = prng_u64(&h->prng);
    world_fold(h->world, x);
    return x;
}

/* ---- timers ---- */

static void run_timer(struct world *w, const struct event *ev)
{
    struct env_timer *t = ev->ctx;
    (void)w;
    t->heap_at = 0;
    t->impl = NULL;
    t->fire(t);
}

static void op_timer_disarm(struct env_timer *t)
{
    struct host *h = note_loop(t->env, "disarm", 0, 0);
    ASSERT(t->impl);
    event_cancel(h->world, t->impl);
    t->impl = NULL;
    t->heap_at = 0;
}

static void op_timer_arm(struct env_timer *t, uint64_t after_ns)
{
    struct host *h = note_loop(t->env, "arm", after_ns, 0);
    static const uint64_t for_ever_ns = UINT64_C(1) << 61;

    if (t->impl)
        event_cancel(h->world, t->impl);
    if (after_ns > for_ever_ns)
        after_ns = for_ever_ns;
    t->due_ns = host_now_ns(h) + after_ns;
    uint64_t late_ns = prng_range(&h->world->schedule, 0, h->world->config.timer_late_max_ns);
    uint64_t wait_ns = host_due_after_ns(h, t->due_ns) + late_ns;
    t->impl = event_post_host(h, wait_ns, EV_LOOP, "timer", run_timer, t, 0);
    t->heap_at = 1;
}

/* ---- turns ---- */

static void turn_append(struct env_turn **list, struct env_turn *t)
{
    while (*list)
        list = &(*list)->next;
    t->next = NULL;
    *list = t;
}

static bool turn_remove(struct env_turn **list, struct env_turn *t)
{
    while (*list && *list != t)
        list = &(*list)->next;
    if (!*list)
        return false;
    *list = t->next;
    return true;
}

static void op_turn_schedule(struct env_turn *t)
{
    struct host *h = note_loop(t->env, "turn", 0, 0);
    turn_append(&h->turns, t);
    t->scheduled = true;
}

static void op_turn_cancel(struct env_turn *t)
{
    struct host *h = note_loop(t->env, "unturn", 0, 0);
    bool found = turn_remove(&h->turns, t) || turn_remove(&h->turns_now, t);
    ASSERT(found);
    t->scheduled = false;
}

/* ---- jobs: queue ─► start (after a drawn delay) ─► run() at once ─► finish (after its cost) ─► done() ---- */

static void job_append(struct env_job **first, struct env_job **last, struct env_job *j)
{
    j->next = NULL;
    if (*first)
        (*last)->next = j;
    else
        *first = j;
    *last = j;
}

static struct env_job *job_pop(struct env_job **first)
{
    struct env_job *j = *first;
    ASSERT(j);
    *first = j->next;
    return j;
}

static void run_job_start(struct world *w, const struct event *ev);

static void lane_kick(struct host *h, enum env_lane lane)
{
    struct lane *l = &h->lanes[lane];
    struct world *w = h->world;
    unsigned width = lane == ENV_LANE_READ ? w->config.read_width : 1;

    while (l->starting < l->queued && l->running + l->starting < width) {
        uint64_t delay_ns = prng_range(&w->schedule, 0, w->config.lane_delay_max_ns);
        l->starting++;
        (void)event_post_host(h, delay_ns, EV_THREAD, "job", run_job_start, NULL, lane);
    }
}

static void op_job_submit(struct env *e, enum env_lane lane, struct env_job *j)
{
    struct host *h = note_loop(e, "submit", lane, 0);
    struct lane *l = &h->lanes[lane];

    job_append(&l->queue, &l->queue_last, j);
    l->queued++;
    lane_kick(h, lane);
}

static void run_job_done(struct world *w, const struct event *ev)
{
    struct env_job *j = job_pop(
        &ev->host->lanes[ev->arg].done); /* the first that finished, not the one of this event */
    (void)w;
    j->submitted = false;
    j->done(j);
}

static void run_job_finish(struct world *w, const struct event *ev)
{
    struct host *h = ev->host;
    struct lane *l = &h->lanes[ev->arg];
    (void)w;

    l->running--;
    job_append(&l->done, &l->done_last, ev->ctx);
    lane_kick(h, (enum env_lane)ev->arg);
    (void)event_post_host(h, 0, EV_LOOP, "done", run_job_done, NULL, ev->arg);
}

static void job_body(void *ctx)
{
    struct env_job *j = ctx;
    j->run(j);
}

static void run_job_start(struct world *w, const struct event *ev)
{
    struct host *h = ev->host;
    struct lane *l = &h->lanes[ev->arg];
    struct env_job *j = job_pop(&l->queue);

    l->queued--;
    l->starting--;
    l->running++;
    h->job = j;
    h->job_ns = 0;
    bool alive = host_enter(h, job_body, j);
    h->job = NULL;
    if (!alive)
        return;
    uint64_t cpu_ns = w->config.cpu_free
                          ? 0
                          : prng_range(&w->schedule, w->config.cpu_min_ns, w->config.cpu_max_ns);
    h->job_ns += cpu_ns * h->config.cpu_percent / 100;
    (void)event_post_host(h, h->job_ns, EV_THREAD, "finish", run_job_finish, j, ev->arg);
}

/* ---- words and the end ---- */

static void PRINTF_LIKE(3, 0)
    op_log(struct env *e, const char *component, const char *fmt, va_list args)
{
    struct host *h = note(e, "log", 0, 0);
    struct world *w = h->world;
    char line[1024];

    if (!w->on_log && !w->config.trace)
        return;
    (void)vsnprintf(line, sizeof(line), fmt, args);
    world_trace(w, "%s [%s] %s", h->name, component, line);
    if (w->on_log) {
        struct sim_pool *was = sim_pool_switch(NULL);
        w->on_log(w->on_log_ctx, h, component, line);
        (void)sim_pool_switch(was);
    }
}

static void op_halt(struct env *e, const char *reason)
{
    struct host *h = note(e, "halt", 0, 0);
    (void)snprintf(h->halt, sizeof(h->halt), "%s", reason);
    h->ending = END_HALT;
    host_leave(h);
}

static const struct env_ops host_env_ops = {
    .now_ns = op_now_ns,
    .wall_ns = op_wall_ns,
    .random_u64 = op_random_u64,
    .timer_arm = op_timer_arm,
    .timer_disarm = op_timer_disarm,
    .turn_schedule = op_turn_schedule,
    .turn_cancel = op_turn_cancel,
    .job_submit = op_job_submit,
    ENV_FILES_OPS,
    .stream_connect = net_connect,
    .stream_read_start = net_read_start,
    .stream_read_stop = net_read_stop,
    .stream_write = net_write,
    .stream_pending = net_pending,
    .stream_peer = net_peer,
    .stream_finish = net_finish,
    .stream_close = net_close,
    .listen = net_listen,
    .listener_addr = net_listener_addr,
    .listener_close = net_listener_close,
    .log = op_log,
    .halt = op_halt,
};

struct host *host_of_env(const struct env *e)
{
    ASSERT(e->ops == &host_env_ops);
    return (struct host *)(uintptr_t)e;
}

void host_env_init(struct host *h)
{
    h->sim.base.ops = &host_env_ops;
    h->sim.call = on_call;
    h->sim.result = on_result;
    h->disk_free_ns = 0;
    env_files_init(&h->sim, h->disk);
}
