/* event.c — the heap of events.
 *
 * Ties at one instant are drawn, so that different seeds try different orders. */
#include "env/world_int.h"
#include <rq/util/assert.h>
#include <stdlib.h>

static bool before(const struct event *a, const struct event *b)
{
    if (a->due_ns != b->due_ns)
        return a->due_ns < b->due_ns;
    if (a->tie != b->tie)
        return a->tie < b->tie;
    return a->seq < b->seq;
}

static void heap_put(struct world *w, size_t at, struct event *ev)
{
    w->heap[at - 1] = ev;
    ev->heap_at = at;
}

static void heap_up(struct world *w, size_t at, struct event *ev)
{
    while (at > 1 && before(ev, w->heap[at / 2 - 1])) {
        heap_put(w, at, w->heap[at / 2 - 1]);
        at /= 2;
    }
    heap_put(w, at, ev);
}

static void heap_down(struct world *w, size_t at, struct event *ev)
{
    for (;;) {
        size_t child = 2 * at;
        if (child > w->heap_count)
            break;
        if (child < w->heap_count && before(w->heap[child], w->heap[child - 1]))
            child++;
        if (!before(w->heap[child - 1], ev))
            break;
        heap_put(w, at, w->heap[child - 1]);
        at = child;
    }
    heap_put(w, at, ev);
}

void event_unheap(struct world *w, struct event *ev)
{
    size_t at = ev->heap_at;
    struct event *last = w->heap[--w->heap_count];

    ASSERT(at >= 1);
    ev->heap_at = 0;
    if (last == ev)
        return;
    if (at > 1 && before(last, w->heap[at / 2 - 1]))
        heap_up(w, at, last);
    else
        heap_down(w, at, last);
}

void event_reheap(struct world *w, struct event *ev)
{
    if (w->heap_count == w->heap_cap) {
        w->heap_cap = w->heap_cap ? 2 * w->heap_cap : 256;
        w->heap = realloc((void *)w->heap, w->heap_cap * sizeof(struct event *));
        ASSERT(w->heap);
    }
    heap_up(w, ++w->heap_count, ev);
}

void event_push(struct world *w, struct event *ev)
{
    uint64_t draw = prng_u64(&w->schedule); /* in every mode: the stream stays the same */

    ev->seq = w->seq++;
    if (w->config.tie == WORLD_TIE_RANDOM)
        ev->tie = draw;
    else
        ev->tie = w->config.tie == WORLD_TIE_OLDEST ? ev->seq : UINT64_MAX - ev->seq;
    event_reheap(w, ev);
}

struct event *event_post(struct world *w, uint64_t after_ns, const char *kind,
                         void (*run)(struct world *, const struct event *), void *ctx, uint64_t arg)
{
    struct event *ev = w->spare;
    if (ev)
        w->spare = ev->ctx;
    else
        ev = malloc(sizeof(*ev));
    ASSERT(ev);
    memset(ev, 0, sizeof(*ev));
    ev->due_ns = w->now_ns + after_ns;
    ev->kind = kind;
    ev->run = run;
    ev->ctx = ctx;
    ev->arg = arg;
    list_init(&ev->waiting);
    event_push(w, ev);
    return ev;
}

struct event *event_post_host(struct host *h, uint64_t after_ns, enum where where, const char *kind,
                              void (*run)(struct world *, const struct event *), void *ctx,
                              uint64_t arg)
{
    struct event *ev = event_post(h->world, after_ns, kind, run, ctx, arg);
    ev->host = h;
    ev->incarnation = h->incarnation;
    ev->where = where;
    return ev;
}

void event_free(struct world *w, struct event *ev)
{
    ASSERT(ev->heap_at == 0 && list_empty(&ev->waiting));
    ev->ctx = w->spare;
    w->spare = ev;
}

void event_cancel(struct world *w, struct event *ev)
{
    if (ev->heap_at)
        event_unheap(w, ev);
    list_remove(&ev->waiting);
    event_free(w, ev);
}
