/* trace.c — what of a run is folded, written down and counted; and its streams of chance.
 *
 * Whatever moves the state passes through event_fold or world_fold; the text trace only repeats it for
 * people. */
#include "env/world_int.h"
#include <inttypes.h>
#include <rq/util/assert.h>
#include <rq/util/crc.h>
#include <stdlib.h>

void world_stream_init(const struct world *w, struct prng *out, const char *name, uint64_t number)
{
    uint64_t named = prng_mix(w->config.seed, prng_hash(0, name, strlen(name)));
    prng_init(out, prng_mix(named, number));
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
void world_checkpoint(struct world *w)
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
