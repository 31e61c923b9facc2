/* host.c — incarnations: how production code is entered and left, how it waits for its processor, and
 * how it ends.
 *
 * One turn = one setjmp: a callback, perhaps more that are due (drawn, so that work gathers as in a real
 * loop), then the turn hooks. Code leaves early only through host_leave. */
#include "env/world_int.h"
#include <rq/util/assert.h>
#include <stdlib.h>

void host_config_default(struct host_config *c)
{
    memset(c, 0, sizeof(*c));
    c->cpu_percent = 100;
    sim_disk_config_default(&c->disk, 0);
}

struct host *world_host_add(struct world *w, const char *name, const struct host_config *c)
{
    struct host *h = calloc(1, sizeof(*h));

    ASSERT(h && w->host_count < WORLD_HOST_MAX);
    ASSERT(strlen(name) < sizeof(h->name) && !world_host(w, name));
    memcpy(h->name, name, strlen(name) + 1);
    h->world = w;
    if (c)
        h->config = *c;
    else
        host_config_default(&h->config);
    h->index = w->host_count;
    h->wall_offset_ns = h->config.wall_offset_ns;
    h->port_next = 40000;
    list_init(&h->waiting);
    list_init(&h->listeners);
    list_init(&h->sim.files);
    struct prng seeds;
    world_stream_init(w, &seeds, "disk", h->index);
    if (h->config.disk.seed == 0)
        h->config.disk.seed = prng_u64(&seeds);
    h->disk = sim_disk_create(&h->config.disk);
    world_stream_init(w, &h->prng, "node", (uint64_t)h->index << 32);
    w->hosts[w->host_count++] = h;
    return h;
}

void host_free(struct host *h)
{
    ASSERT(!h->up);
    sim_disk_destroy(h->disk);
    free(h);
}

struct host *world_host(const struct world *w, const char *name)
{
    for (size_t i = 0; i < w->host_count; i++)
        if (strcmp(w->hosts[i]->name, name) == 0)
            return w->hosts[i];
    return NULL;
}

struct host *world_host_at(const struct world *w, size_t i)
{
    ASSERT(i < w->host_count);
    return w->hosts[i];
}

size_t world_host_count(const struct world *w)
{
    return w->host_count;
}

/* ---- the end of an incarnation ---- */

static void waiting_drop(struct host *h)
{
    while (!list_empty(&h->waiting))
        event_cancel(h->world, LIST_ENTRY(h->waiting.next, struct event, waiting));
}

static void tell_end(struct host *h, enum end_why why)
{
    static const char *const words[] = {"", "crash", "power", "halt", "exit"};
    struct world *w = h->world;

    struct sim_pool *was = sim_pool_switch(NULL);
    world_note(w, words[why], h->index, h->incarnation);
    if (why == END_HALT)
        world_trace(w, "%s halts: %s", h->name, h->halt);
    if (why == END_HALT && w->on_halt)
        w->on_halt(w->on_halt_ctx, h, h->halt);
    if (w->on_end)
        w->on_end(w->on_end_ctx, h, words[why]);
    (void)sim_pool_switch(was);
}

static void host_end(struct host *h)
{
    struct world *w = h->world;
    enum end_why why = h->ending;

    ASSERT(h->up && w->running != h && why != END_NONE);
    if (why != END_EXIT)
        world_fault(w, why == END_POWER  ? WORLD_FAULT_POWER
                       : why == END_HALT ? WORLD_FAULT_HALT
                                         : WORLD_FAULT_CRASH);
    h->exit_leak = why == END_EXIT ? sim_pool_live_blocks(h->pool) : 0;
    net_host_gone(h, why == END_POWER);
    waiting_drop(h);
    lanes_forget(h);
    env_files_drop(&h->sim);
    h->turns = NULL;
    h->turns_now = NULL;
    h->job = NULL;
    h->crash_at = 0;
    h->up = false;
    h->paused = false;
    h->ending = END_NONE;
    sim_pool_drop(h->pool);
    h->pool = NULL;
    (void)disk_take_cost(h->disk);
    if (why == END_POWER) {
        h->machine_on = false;
        sim_disk_power_cut(h->disk);
    }
    tell_end(h, why);
}

/* ---- entering and leaving production code ---- */

bool host_enter(struct host *h, void (*fn)(void *ctx), void *ctx)
{
    struct world *w = h->world;
    jmp_buf here;

    ASSERT(!w->running && h->up &&
           h->ending == END_NONE); /* completions never run inside submissions */
    struct sim_pool *was = sim_pool_switch(h->pool);
    w->running = h;
    w->out = &here;
    if (setjmp(here) == 0)
        fn(ctx);
    h->world->running =
        NULL; /* by way of h: locals may be stale after longjmp, parameters unchanged are not */
    h->world->out = NULL;
    (void)sim_pool_switch(was);
    free(h->world->lent);
    h->world->lent = NULL;
    if (h->ending == END_NONE)
        return true;
    host_end(h);
    return false;
}

_Noreturn void host_leave(struct host *h)
{
    ASSERT(h->world->running == h && h->ending != END_NONE);
    longjmp(*h->world->out, 1);
}

/* ---- turns ---- */

struct turn {
    struct host *host;
    struct event *event; /* ours to free */
    uint64_t cost_ns;
};

static uint64_t callback_cost(struct host *h)
{
    const struct world_config *c = &h->world->config;
    if (c->cpu_free)
        return 0;
    return prng_range(&h->world->schedule, c->cpu_min_ns, c->cpu_max_ns) * h->config.cpu_percent /
           100;
}

static void turn_one(struct turn *t)
{
    struct world *w = t->host->world;
    struct event copy = *t->event;

    event_free(w, t->event);
    t->event = NULL;
    t->cost_ns += callback_cost(t->host);
    copy.run(w, &copy);
    free(w->lent);
    w->lent = NULL;
}

static void run_hooks(struct host *h)
{
    h->turns_now = h->turns;
    h->turns = NULL;
    while (h->turns_now) {
        struct env_turn *t = h->turns_now;
        h->turns_now = t->next;
        t->scheduled = false;
        t->run(t);
    }
}

static struct event *waiting_loop_event(struct host *h)
{
    for (struct list *l = h->waiting.next; l != &h->waiting; l = l->next) {
        struct event *ev = LIST_ENTRY(l, struct event, waiting);
        if (ev->where == EV_LOOP)
            return ev;
    }
    return NULL;
}

static void turn_body(void *ctx)
{
    struct turn *t = ctx;
    struct host *h = t->host;

    turn_one(t);
    while (h->ending == END_NONE && (t->event = waiting_loop_event(h)) != NULL) {
        if (prng_below(&h->world->schedule, 4) == 0) {
            t->event = NULL;
            break;
        }
        list_remove(&t->event->waiting);
        turn_one(t);
    }
    if (h->ending == END_NONE)
        run_hooks(h);
}

static void run_nothing(struct world *w, const struct event *ev)
{
    (void)w;
    (void)ev; /* a turn for hooks alone */
}

static void wake(struct world *w, const struct event *ev);

static void wake_post(struct host *h)
{
    struct world *w = h->world;
    if (h->wake_posted)
        return;
    h->wake_posted = true;
    uint64_t after_ns = h->busy_until_ns > w->now_ns ? h->busy_until_ns - w->now_ns : 0;
    (void)event_post_host(h, after_ns, EV_WIRE, "wake", wake, NULL, 0);
}

static bool run_turn(struct host *h, struct event *ev)
{
    struct turn t = {h, ev, 0};

    event_fold(h->world, ev, ev->arg, 0);
    if (!host_enter(h, turn_body, &t))
        return false;
    if (h->busy_until_ns < h->world->now_ns)
        h->busy_until_ns = h->world->now_ns;
    h->busy_until_ns += t.cost_ns;
    if (h->turns)
        (void)event_post_host(h, t.cost_ns, EV_LOOP, "turn", run_nothing, NULL, 0);
    if (waiting_loop_event(h))
        wake_post(h);
    return true;
}

static void wake(struct world *w, const struct event *ev)
{
    struct host *h = ev->host;

    h->wake_posted = false;
    if (h->busy_until_ns > w->now_ns) {
        wake_post(h);
        return;
    }
    struct event *next = h->paused ? NULL : waiting_loop_event(h);
    if (!next)
        return;
    list_remove(&next->waiting);
    (void)run_turn(h, next);
}

static void run_thread(struct host *h, struct event *ev)
{
    struct event copy = *ev;
    event_fold(h->world, ev, ev->arg, 0);
    event_free(h->world, ev);
    copy.run(h->world, &copy);
}

void host_dispatch(struct host *h, struct event *ev)
{
    bool busy = h->busy_until_ns > h->world->now_ns || waiting_loop_event(h) != NULL;

    ASSERT(!event_stale(ev));
    if (h->paused || (ev->where == EV_LOOP && busy)) {
        list_push_back(&h->waiting, &ev->waiting);
        if (!h->paused)
            wake_post(h);
        return;
    }
    if (ev->where == EV_LOOP)
        (void)run_turn(h, ev);
    else
        run_thread(h, ev);
}

/* ---- starting ---- */

static void run_boot(struct world *w, const struct event *ev)
{
    (void)w;
    ((void (*)(struct env *, void *))ev->fn)(&ev->host->sim.base, ev->ctx);
}

void host_start(struct host *h, void (*boot)(struct env *e, void *ctx), void *ctx)
{
    struct world *w = h->world;

    ASSERT(!h->up && w->running == NULL);
    h->incarnation++;
    world_stream_init(w, &h->prng, "node", (uint64_t)h->index << 32 | h->incarnation);
    h->pool = sim_pool_create((uint8_t)(0x80 | (prng_u64(&h->prng) & 0x7F)), true);
    h->up = true;
    h->machine_on = true;
    h->boot_ns = w->now_ns;
    h->mono_base_ns = prng_range(&h->prng, ENV_S_NS, 3600 * ENV_S_NS);
    h->busy_until_ns = w->now_ns;
    h->wake_posted = false;
    h->calls = 0;
    h->exit_leak = 0;
    host_env_init(h);
    world_note(w, "start", h->index, h->incarnation);
    event_post_host(h, 0, EV_LOOP, "boot", run_boot, ctx, 0)->fn = (void (*)(void))boot;
}

static bool end_soon(struct host *h, enum end_why why)
{
    if (!h->up)
        return false;
    if (h->ending == END_NONE)
        h->ending = why;
    if (h->world->running != h)
        host_end(h);
    return true;
}

void host_crash(struct host *h, enum host_crash kind)
{
    if (end_soon(h, kind == HOST_CRASH_POWER ? END_POWER : END_CRASH) || kind == HOST_CRASH_PROCESS)
        return;
    world_fault(h->world, WORLD_FAULT_POWER);
    world_note(h->world, "power", h->index, h->incarnation);
    h->machine_on = false;
    net_host_gone(h, true);
    sim_disk_power_cut(h->disk);
}

void host_crash_at_call(struct host *h, enum host_crash kind, uint64_t k)
{
    h->crash_kind = kind;
    h->crash_at = k;
}

void host_exit(struct host *h)
{
    (void)end_soon(h, END_EXIT);
}

size_t host_exit_leak(const struct host *h)
{
    return h->exit_leak;
}

void host_pause(struct host *h)
{
    if (!h->up || h->paused)
        return;
    h->paused = true;
    world_fault(h->world, WORLD_FAULT_PAUSE);
    world_note(h->world, "pause", h->index, 0);
}

void host_resume(struct host *h)
{
    if (!h->up || !h->paused)
        return;
    h->paused = false;
    world_note(h->world, "resume", h->index, 0);
    while (!list_empty(&h->waiting)) { /* all at once, in drawn order */
        struct event *ev = LIST_ENTRY(h->waiting.next, struct event, waiting);
        list_remove(&ev->waiting);
        ev->due_ns = h->world->now_ns;
        event_push(h->world, ev);
    }
}

/* ---- calls from the harness ---- */

bool host_call(struct host *h, void (*fn)(struct env *e, void *ctx), void *ctx)
{
    ASSERT(!h->world->running);
    if (!h->up || h->paused)
        return false;
    struct event *ev = event_post_host(h, 0, EV_LOOP, "call", run_boot, ctx, 0);
    ev->fn = (void (*)(void))fn;
    event_unheap(h->world, ev);
    return run_turn(h, ev);
}

void host_post(struct host *h, uint64_t after_ns, void (*fn)(struct env *e, void *ctx), void *ctx)
{
    if (h->up)
        event_post_host(h, after_ns, EV_LOOP, "post", run_boot, ctx, 0)->fn = (void (*)(void))fn;
}

/* ---- clocks ---- */

/* d * (1 + ppm / 10^6), without overflow for any virtual time we reach */
static uint64_t drifted(uint64_t d, int32_t ppm)
{
    int64_t extra = (int64_t)(d / 1000000) * ppm + (int64_t)(d % 1000000) * ppm / 1000000;
    return (uint64_t)((int64_t)d + extra);
}

uint64_t host_mono_ns(const struct host *h, uint64_t at_ns)
{
    return h->mono_base_ns + drifted(at_ns - h->boot_ns, h->config.drift_ppm);
}

uint64_t host_due_after_ns(const struct host *h, uint64_t mono_ns)
{
    uint64_t now_ns = h->world->now_ns;
    uint64_t have = host_mono_ns(h, now_ns);
    if (mono_ns <= have)
        return 0;
    uint64_t rate = (uint64_t)(1000000 + h->config.drift_ppm), wait = mono_ns - have;
    uint64_t after_ns = wait / rate * 1000000 + wait % rate * 1000000 / rate;
    while (host_mono_ns(h, now_ns + after_ns) < mono_ns)
        after_ns++;
    return after_ns;
}

uint64_t host_now_ns(const struct host *h)
{
    return host_mono_ns(h, h->world->now_ns + (h->job ? h->job_ns : 0));
}

int64_t host_wall_ns(const struct host *h)
{
    static const int64_t start_ns = INT64_C(1767225600) * (int64_t)ENV_S_NS; /* 2026-01-01 */
    uint64_t now_ns = h->world->now_ns + (h->job ? h->job_ns : 0);
    return start_ns + h->wall_offset_ns + (int64_t)drifted(now_ns, h->config.drift_ppm);
}

void host_wall_jump(struct host *h, int64_t by_ns)
{
    h->wall_offset_ns += by_ns;
    world_fault(h->world, WORLD_FAULT_WALL_JUMP);
    world_note(h->world, "walljump", h->index, (uint64_t)by_ns);
}

/* ---- small questions ---- */

struct world *host_world(const struct host *h)
{
    return h->world;
}

const char *host_name(const struct host *h)
{
    return h->name;
}

size_t host_index(const struct host *h)
{
    return h->index;
}

bool host_up(const struct host *h)
{
    return h->up;
}

bool host_paused(const struct host *h)
{
    return h->paused;
}

uint64_t host_incarnation(const struct host *h)
{
    return h->incarnation;
}

struct env *host_env(const struct host *h)
{
    return h->up ? &((struct host *)(uintptr_t)h)->sim.base : NULL;
}

struct host *host_of_env(const struct env *e)
{
    ASSERT(e->ops == &host_env_ops);
    return (struct host *)(uintptr_t)e;
}

struct sim_disk *host_disk(const struct host *h)
{
    return h->disk;
}

struct sim_disk *host_disk_swap(struct host *h, struct sim_disk *d)
{
    struct sim_disk *was = h->disk;

    ASSERT(!h->up);
    for (int i = 0; i < SIM_DISK_EVENT_COUNT; i++)
        h->disk_fault_base[i] += was->stat.count[i];
    memset(&was->stat, 0, sizeof(was->stat));
    h->disk = d;
    world_note(h->world, "diskswap", h->index, 0);
    return was;
}

uint64_t host_env_calls(const struct host *h)
{
    return h->calls;
}

void host_cpu_set(struct host *h, uint32_t cpu_percent)
{
    h->config.cpu_percent = cpu_percent;
}

size_t host_pool_live(const struct host *h)
{
    return h->up ? sim_pool_live_blocks(h->pool) : 0;
}

void host_alloc_fail_at(struct host *h, uint64_t k)
{
    if (!h->up)
        return;
    sim_pool_fail_at(h->pool, k);
    world_fault(h->world, WORLD_FAULT_ALLOC);
}
