/* world.c — a world is made, run and taken down: the loop over its events. */
#include "env/world_int.h"
#include <rq/util/assert.h>
#include <stdlib.h>

void world_config_default(struct world_config *c, uint64_t seed)
{
    memset(c, 0, sizeof(*c));
    c->seed = seed;
    c->cpu_min_ns = 1000;
    c->cpu_max_ns = 10000;
    c->timer_late_max_ns = 100000;
    c->lane_delay_max_ns = 30000;
    c->read_width = 4;
    c->event_max = UINT64_C(100000000);
    c->event_second_max = UINT64_C(5000000);
    sim_net_config_default(&c->net);
}

struct world *world_create(const struct world_config *c)
{
    struct world *w = calloc(1, sizeof(*w));
    ASSERT(w);
    w->config = *c;
    world_stream_init(w, &w->schedule, "schedule", 0);
    world_stream_init(w, &w->net_prng, "net", 0);
    w->hash = (struct world_hash){prng_mix(c->seed, 1), prng_mix(c->seed, 2)};
    w->net = net_create();
    return w;
}

void world_destroy(struct world *w)
{
    ASSERT(!w->running);
    w->on_halt = NULL;
    w->on_end = NULL;
    world_on_stream_end(w, NULL, NULL);
    for (size_t i = 0; i < w->host_count; i++)
        host_crash(w->hosts[i], HOST_CRASH_PROCESS);
    while (w->heap_count)
        event_cancel(w, w->heap[w->heap_count - 1]);
    for (size_t i = 0; i < w->host_count; i++)
        host_free(w->hosts[i]);
    net_destroy(w->net);
    while (w->spare) {
        struct event *next = w->spare->ctx;
        free(w->spare);
        w->spare = next;
    }
    free((void *)w->heap);
    free(w->checkpoints);
    free(w);
}

/* ---- the loop ---- */

static void run_event(struct world *w, struct event *ev)
{
    if (ev->where != EV_WIRE) {
        host_dispatch(ev->host, ev);
        return;
    }
    struct event copy = *ev; /* freed first: run may post and cancel as it likes */
    event_free(w, ev);
    copy.run(w, &copy);
}

bool world_step(struct world *w)
{
    struct event *ev;

    ASSERT(!w->running);
    do {
        if (w->heap_count == 0)
            return false;
        ev = w->heap[0];
        event_unheap(w, ev);
        if (event_stale(ev)) {
            event_free(w, ev);
            ev = NULL;
        }
    } while (!ev);
    ASSERT(ev->due_ns >= w->now_ns);
    w->now_ns = ev->due_ns;
    if (w->delay_event && --w->delay_event == 0) {
        ev->due_ns++;
        event_reheap(w, ev); /* nothing is drawn: only time differs */
        return true;
    }
    w->events++;
    w->second_events++;
    run_event(w, ev);
    if (w->events % 1024 == 0)
        world_checkpoint(w);
    return true;
}

/* The cap that is hit, or WORLD_END_TIME. */
static enum world_end caps(struct world *w)
{
    if (w->second != w->now_ns / ENV_S_NS) {
        w->second = w->now_ns / ENV_S_NS;
        w->second_events = 0;
    }
    if (w->second_events > w->config.event_second_max)
        return WORLD_END_LIVELOCK;
    return w->events >= w->config.event_max ? WORLD_END_EVENT_MAX : WORLD_END_TIME;
}

static enum world_end run(struct world *w, uint64_t until_ns, bool (*unmet)(void *ctx), void *ctx)
{
    ASSERT(until_ns >= w->now_ns);
    w->stopped = false;
    while (w->heap_count && w->heap[0]->due_ns <= until_ns) {
        if (unmet && !unmet(ctx))
            return WORLD_END_STOPPED;
        if (!world_step(w))
            break;
        if (w->stopped)
            return WORLD_END_STOPPED;
        if (caps(w) != WORLD_END_TIME)
            return caps(w);
    }
    enum world_end end = w->heap_count ? WORLD_END_TIME : WORLD_END_IDLE;
    if (w->now_ns < until_ns)
        w->now_ns = until_ns;
    return end;
}

enum world_end world_run(struct world *w, uint64_t until_ns)
{
    return run(w, until_ns, NULL, NULL);
}

enum world_end world_run_for(struct world *w, uint64_t ns)
{
    return run(w, w->now_ns + ns, NULL, NULL);
}

bool world_run_while(struct world *w, uint64_t ns, bool (*unmet)(void *ctx), void *ctx)
{
    (void)run(w, w->now_ns + ns, unmet, ctx);
    return !unmet(ctx);
}

void world_stop(struct world *w)
{
    w->stopped = true;
}

uint64_t world_now_ns(const struct world *w)
{
    return w->now_ns;
}

uint64_t world_events(const struct world *w)
{
    return w->events;
}

uint64_t world_seed(const struct world *w)
{
    return w->config.seed;
}

void world_delay_event(struct world *w, uint64_t nth)
{
    w->delay_event = nth;
}

static void run_after(struct world *w, const struct event *ev)
{
    event_fold(w, ev, 0, 0);
    ((void (*)(void *))ev->fn)(ev->ctx);
}

void world_after(struct world *w, uint64_t after_ns, void (*fn)(void *ctx), void *ctx)
{
    event_post(w, after_ns, "after", run_after, ctx, 0)->fn = (void (*)(void))fn;
}

void world_on_log(struct world *w, void (*fn)(void *, struct host *, const char *, const char *),
                  void *ctx)
{
    w->on_log = fn;
    w->on_log_ctx = ctx;
}

void world_on_halt(struct world *w, void (*fn)(void *, struct host *, const char *), void *ctx)
{
    w->on_halt = fn;
    w->on_halt_ctx = ctx;
}

void world_on_end(struct world *w, void (*fn)(void *, struct host *, const char *), void *ctx)
{
    w->on_end = fn;
    w->on_end_ctx = ctx;
}
