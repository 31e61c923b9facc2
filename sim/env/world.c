/* world.c — the heap of events, the loop over it, and the trace.
 *
 * Ties at one instant are drawn, so that different seeds try different orders. Whatever moves the
 * state passes through event_fold or world_fold; the text trace only repeats it for people. */
#include "env/world_int.h"
#include <inttypes.h>
#include <rq/util/assert.h>
#include <rq/util/crc.h>
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

void world_stream_init(const struct world *w, struct prng *out, const char *name, uint64_t number)
{
    uint64_t named = prng_mix(w->config.seed, prng_hash(0, name, strlen(name)));
    prng_init(out, prng_mix(named, number));
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

/* ---- the heap ---- */

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

static void heap_remove(struct world *w, struct event *ev)
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

static void heap_insert(struct world *w, struct event *ev)
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
    heap_insert(w, ev);
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

void event_unheap(struct world *w, struct event *ev)
{
    heap_remove(w, ev);
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
        heap_remove(w, ev);
    list_remove(&ev->waiting);
    event_free(w, ev);
}

/* ---- the trace ---- */

void world_fold(struct world *w, uint64_t x)
{
    struct world_hash *h = &w->hash;
    h->a = (h->a ^ x) * 0x9E3779B97F4A7C15ULL;
    h->a ^= h->a >> 29;
    h->b = ((h->b << 31) | (h->b >> 33)) + x * 0xC2B2AE3D27D4EB4FULL;
    h->b ^= h->a >> 32;
}

/* Kinds are string constants: folded by content, never by address. */
static uint64_t kind_word(const char *kind)
{
    uint64_t word = 0;
    for (size_t i = 0; i < 8 && kind[i]; i++)
        word = word << 8 | (uint8_t)kind[i];
    return word;
}

void event_fold(struct world *w, const struct event *ev, uint64_t len, uint32_t crc)
{
    world_fold(w, ev->due_ns);
    world_fold(w, kind_word(ev->kind));
    world_fold(w, ev->host ? ev->host->index << 32 ^ ev->host->incarnation : UINT64_MAX);
    world_fold(w, len << 32 ^ crc);
    if (w->config.trace)
        (void)fprintf(w->config.trace, "%" PRIu64 " %s#%" PRIu64 " %s %" PRIu64 " %08x\n",
                      w->now_ns, ev->host ? ev->host->name : "-",
                      ev->host ? ev->host->incarnation : 0, ev->kind, len, crc);
}

void host_call_note(struct host *h, const struct sim_call *c)
{
    struct world *w = h->world;

    h->calls++;
    world_fold(w, kind_word(c->kind) ^ (uint64_t)h->index << 56);
    world_fold(w, c->a);
    world_fold(w, c->b << 32 ^ c->crc);
    if (c->text)
        world_fold(w, crc32c(0, c->text, strlen(c->text)));
    if (w->config.trace)
        (void)fprintf(w->config.trace, "  %s.%s %s %" PRIu64 " %" PRIu64 " %08x\n", h->name,
                      c->kind, c->text ? c->text : "", c->a, c->b, c->crc);
}

void world_note(struct world *w, const char *kind, uint64_t a, uint64_t b)
{
    world_fold(w, kind_word(kind));
    world_fold(w, a);
    world_fold(w, b);
    if (w->config.trace)
        (void)fprintf(w->config.trace, "  note %s %" PRIu64 " %" PRIu64 "\n", kind, a, b);
}

void world_trace(struct world *w, const char *fmt, ...)
{
    if (!w->config.trace)
        return;
    va_list args;
    va_start(args, fmt);
    (void)fputs("  ", w->config.trace);
    (void)vfprintf(w->config.trace, fmt, args);
    (void)fputc('\n', w->config.trace);
    va_end(args);
}

bool world_tracing(const struct world *w)
{
    return w->config.trace != NULL;
}

/* Draw counters let a divergence report say which stream drew once more than before. */
static void checkpoint(struct world *w)
{
    world_fold(w, w->schedule.draws);
    world_fold(w, w->net_prng.draws);
    for (size_t i = 0; i < w->host_count; i++)
        world_fold(w, w->hosts[i]->prng.draws ^ w->hosts[i]->disk->prng.draws << 32);
    if (w->checkpoint_count == w->checkpoint_cap) {
        w->checkpoint_cap = w->checkpoint_cap ? 2 * w->checkpoint_cap : 64;
        w->checkpoints = realloc(w->checkpoints, w->checkpoint_cap * sizeof(*w->checkpoints));
        ASSERT(w->checkpoints);
    }
    w->checkpoints[w->checkpoint_count++] = w->hash;
    world_trace(w,
                "checkpoint events=%" PRIu64 " hash=%016" PRIx64 "%016" PRIx64
                " draws schedule=%" PRIu64 " net=%" PRIu64,
                w->events, w->hash.a, w->hash.b, w->schedule.draws, w->net_prng.draws);
}

struct world_hash world_hash(const struct world *w)
{
    return w->hash;
}

bool world_hash_checkpoint(const struct world *w, size_t i, struct world_hash *out)
{
    if (i >= w->checkpoint_count)
        return false;
    *out = w->checkpoints[i];
    return true;
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
        heap_remove(w, ev);
        if (event_stale(ev)) {
            event_free(w, ev);
            ev = NULL;
        }
    } while (!ev);
    ASSERT(ev->due_ns >= w->now_ns);
    w->now_ns = ev->due_ns;
    if (w->delay_event && --w->delay_event == 0) {
        ev->due_ns++;
        heap_insert(w, ev); /* nothing is drawn: only time differs */
        return true;
    }
    w->events++;
    w->second_events++;
    run_event(w, ev);
    if (w->events % 1024 == 0)
        checkpoint(w);
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

/* ---- fault statistics ---- */

void world_fault(struct world *w, enum world_fault kind)
{
    w->faults[kind]++;
}

static const struct {
    enum world_fault fault;
    enum sim_disk_event event;
} disk_faults[] = {
    {WORLD_FAULT_ROT, SIM_DISK_ROT},
    {WORLD_FAULT_READ_EIO, SIM_DISK_EIO_READ},
    {WORLD_FAULT_WRITE_EIO, SIM_DISK_EIO_WRITE},
    {WORLD_FAULT_SYNC_EIO, SIM_DISK_EIO_SYNC},
    {WORLD_FAULT_NOSPC, SIM_DISK_NOSPC},
    {WORLD_FAULT_STALL, SIM_DISK_STALL},
    {WORLD_FAULT_TORN, SIM_DISK_TORN},
    {WORLD_FAULT_DROPPED, SIM_DISK_DROPPED},
};

uint64_t world_fault_count(const struct world *w, enum world_fault kind)
{
    uint64_t count = w->faults[kind];
    for (size_t i = 0; i < sizeof(disk_faults) / sizeof(disk_faults[0]); i++) {
        if (disk_faults[i].fault != kind)
            continue;
        for (size_t k = 0; k < w->host_count; k++)
            count += w->hosts[k]->disk->stat.count[disk_faults[i].event] +
                     w->hosts[k]->disk_fault_base[disk_faults[i].event];
    }
    return count;
}

const char *world_fault_name(enum world_fault kind)
{
    static const char *const names[] = {
#define WORLD_FAULT_NAME_(name, text) text,
        WORLD_FAULT_TABLE(WORLD_FAULT_NAME_)
#undef WORLD_FAULT_NAME_
    };
    ASSERT(kind < WORLD_FAULT_COUNT);
    return names[kind];
}
