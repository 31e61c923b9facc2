/* host_look.c — looking at a host: who it is, what its clocks say. Nothing here moves it. */
#include "env/world_int.h"
#include <rq/util/assert.h>

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

size_t host_exit_leak(const struct host *h)
{
    return h->exit_leak;
}

/* ---- clocks ---- */

/* d * (1 + ppm / 10^6), without overflow for any virtual time we reach */
static uint64_t drifted(uint64_t d, int32_t ppm)
{
    int64_t extra = (int64_t)(d / 1000000) * ppm + (int64_t)(d % 1000000) * ppm / 1000000;
    return (uint64_t)((int64_t)d + extra);
}

static uint64_t mono_ns_at(const struct host *h, uint64_t at_ns)
{
    return h->mono_base_ns + drifted(at_ns - h->boot_ns, h->config.drift_ppm);
}

uint64_t host_due_after_ns(const struct host *h, uint64_t mono_ns)
{
    uint64_t now_ns = h->world->now_ns;
    uint64_t have = mono_ns_at(h, now_ns);
    if (mono_ns <= have)
        return 0;
    uint64_t rate = (uint64_t)(1000000 + h->config.drift_ppm), wait = mono_ns - have;
    uint64_t after_ns = wait / rate * 1000000 + wait % rate * 1000000 / rate;
    while (mono_ns_at(h, now_ns + after_ns) < mono_ns)
        after_ns++;
    return after_ns;
}

uint64_t host_now_ns(const struct host *h)
{
    return mono_ns_at(h, h->world->now_ns + (h->job ? h->job_ns : 0));
}

int64_t host_wall_ns(const struct host *h)
{
    static const int64_t start_ns = INT64_C(1767225600) * (int64_t)ENV_S_NS; /* 2026-01-01 */
    uint64_t now_ns = h->world->now_ns + (h->job ? h->job_ns : 0);
    return start_ns + h->wall_offset_ns + (int64_t)drifted(now_ns, h->config.drift_ppm);
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

struct sim_disk *host_disk(const struct host *h)
{
    return h->disk;
}

uint64_t host_env_calls(const struct host *h)
{
    return h->calls;
}

size_t host_pool_live(const struct host *h)
{
    return h->up ? sim_pool_live_blocks(h->pool) : 0;
}
