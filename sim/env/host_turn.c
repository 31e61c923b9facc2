/* host_turn.c — how production code is entered and left, and how it waits for its processor.
 *
 * One turn = one setjmp: a callback, perhaps more that are due (drawn, so that work gathers as in a real
 * loop), then the turn hooks. Code leaves early only through host_leave. */
#include "env/world_int.h"
#include <rq/util/assert.h>
#include <stdlib.h>

/* ---- entering and leaving ---- */

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
    h->ended(h);
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

/* ---- calls from the harness ---- */

static void run_call(struct world *w, const struct event *ev)
{
    (void)w;
    ((void (*)(struct env *, void *))ev->fn)(&ev->host->sim.base, ev->ctx);
}

bool host_call(struct host *h, void (*fn)(struct env *e, void *ctx), void *ctx)
{
    ASSERT(!h->world->running);
    if (!h->up || h->paused)
        return false;
    struct event *ev = event_post_host(h, 0, EV_LOOP, "call", run_call, ctx, 0);
    ev->fn = (void (*)(void))fn;
    event_unheap(h->world, ev);
    return run_turn(h, ev);
}

void host_call_later(struct host *h, uint64_t after_ns, const char *kind,
                     void (*fn)(struct env *e, void *ctx), void *ctx)
{
    event_post_host(h, after_ns, EV_LOOP, kind, run_call, ctx, 0)->fn = (void (*)(void))fn;
}

void host_post(struct host *h, uint64_t after_ns, void (*fn)(struct env *e, void *ctx), void *ctx)
{
    if (h->up)
        host_call_later(h, after_ns, "post", fn, ctx);
}
