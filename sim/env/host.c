/* host.c — incarnations: how they begin, pause and end, and what of them is lost. */
#include "env/world_int.h"
#include <rq/util/assert.h>
#include <stdlib.h>

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
    memset(h->lanes, 0, sizeof(h->lanes));
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

/* ---- made and unmade ---- */

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
    h->ended = host_end;
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

/* ---- starting ---- */

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
    host_call_later(h, 0, "boot", boot, ctx);
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

void host_wall_jump(struct host *h, int64_t by_ns)
{
    h->wall_offset_ns += by_ns;
    world_fault(h->world, WORLD_FAULT_WALL_JUMP);
    world_note(h->world, "walljump", h->index, (uint64_t)by_ns);
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

void host_cpu_set(struct host *h, uint32_t cpu_percent)
{
    h->config.cpu_percent = cpu_percent;
}

void host_alloc_fail_at(struct host *h, uint64_t k)
{
    if (!h->up)
        return;
    sim_pool_fail_at(h->pool, k);
    world_fault(h->world, WORLD_FAULT_ALLOC);
}
