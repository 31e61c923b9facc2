/* sim_nemesis.c — breaks things, within the fault budget (simulation.md §11).
 *
 * Always allowed, on any number of nodes: crashes, power cuts, pauses, partitions, resets, loss, stalls,
 * full disks, reported I/O errors. Damage of durable bits: one node per seed, in a part of its log that a
 * later batch follows, so that it can be told from a torn tail. Never: a sync that lies. */
#include "sim_run.h"
#include <rq/util/assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct later { /* an event of the nemesis about one server; freed with the nemesis */
    struct later *next;
    struct sim *sim;
    struct sim_server *server;
};

struct sim_nemesis {
    struct prng rng;
    bool off;
    bool rotted;
    struct later *laters;
};

static uint64_t draw_ms(struct sim *s, uint64_t lo, uint64_t hi)
{
    return prng_range(&s->nemesis->rng, lo, hi) * ENV_MS_NS;
}

static struct sim_server *draw_server(struct sim *s, bool up)
{
    uint32_t start = (uint32_t)prng_below(&s->nemesis->rng, s->plan.node_count);
    for (uint32_t i = 0; i < s->plan.node_count; i++) {
        struct sim_server *v = &s->servers[(start + i) % s->plan.node_count];
        if (host_up(v->host) == up)
            return v;
    }
    return NULL;
}

static void after(struct sim *s, struct sim_server *v, uint64_t ns, void (*fn)(void *ctx))
{
    struct later *l = malloc(sizeof(*l));
    l->sim = s;
    l->server = v;
    l->next = s->nemesis->laters;
    s->nemesis->laters = l;
    world_after(s->world, ns, fn, l);
}

/* ---- coming back ------------------------------------------------------------------------------------------ */

static void restart(void *ctx)
{
    struct later *l = ctx;
    sim_server_start(l->server);
}

static void resume(void *ctx)
{
    struct later *l = ctx;
    if (host_paused(l->server->host))
        host_resume(l->server->host);
}

static void links_heal(void *ctx)
{
    struct later *l = ctx;
    if (!l->sim->nemesis->off)
        world_links_heal(l->sim->world);
}

static void net_heal(void *ctx)
{
    struct later *l = ctx;
    world_net(l->sim->world)->loss_ppm = 0;
}

static void quota_lift(void *ctx)
{
    struct later *l = ctx;
    sim_disk_config(host_disk(l->server->host))->quota_bytes = 0;
}

void sim_nemesis_ended(struct sim *s, struct sim_server *v, const char *reason)
{
    if (v->damaged && strcmp(reason, "halt") == 0) {
        v->dead_for_good = true; /* it names what is damaged and stays down: the right answer */
        return;
    }
    after(s, v, s->nemesis->off ? 100 * ENV_MS_NS : draw_ms(s, 20, 3000), restart);
}

/* ---- one injection of each family --------------------------------------------------------------------------- */

static bool inject_crash(struct sim *s, enum host_crash kind)
{
    bool all = prng_chance_ppm(&s->nemesis->rng, kind == HOST_CRASH_POWER ? 250000 : 100000);
    struct sim_server *v = draw_server(s, true);

    if (!v)
        return false;
    host_crash(v->host, kind);
    for (uint32_t i = 0; all && i < s->plan.node_count; i++)
        if (host_up(s->servers[i].host))
            host_crash(s->servers[i].host, kind);
    return true;
}

static bool inject_crash_call(struct sim *s)
{
    struct sim_server *v = draw_server(s, true);
    uint64_t bits = prng_below(&s->nemesis->rng, 13);

    if (!v)
        return false;
    host_crash_at_call(
        v->host, prng_chance_ppm(&s->nemesis->rng, 500000) ? HOST_CRASH_POWER : HOST_CRASH_PROCESS,
        prng_range(&s->nemesis->rng, 1, UINT64_C(1) << bits));
    return true;
}

static bool inject_pause(struct sim *s)
{
    struct sim_server *v = draw_server(s, true);

    if (!v || host_paused(v->host))
        return false;
    host_pause(v->host);
    after(s, v, draw_ms(s, 5, 4 * s->plan.heartbeat_timeout_ms), resume);
    return true;
}

static void isolate(struct sim *s, struct sim_server *victim)
{
    struct host *hosts[SIM_NODES_MAX];

    for (size_t i = 0; i < s->plan.node_count; i++)
        hosts[i] = s->servers[i].host;
    world_partition_isolate(s->world, hosts, s->plan.node_count, victim->at);
    after(s, NULL, draw_ms(s, 50, 3 * s->plan.heartbeat_timeout_ms), links_heal);
}

static void isolate_later(void *ctx)
{
    struct later *l = ctx;
    if (!l->sim->nemesis->off)
        isolate(l->sim, l->server);
}

/* Whoever leads falls silent, or hands over and is cut off while it still believes to lead. */
static bool inject_hunt(struct sim *s)
{
    struct prng *r = &s->nemesis->rng;
    struct sim_server *leader = sim_leader(s);

    if (!leader)
        return false;
    switch (prng_below(r, 4)) {
    case 0:
        if (host_paused(leader->host))
            return false;
        host_pause(leader->host);
        after(s, leader, draw_ms(s, 50, 4 * s->plan.heartbeat_timeout_ms), resume);
        return true;
    case 1:
        sim_server_transfer(leader);
        after(s, leader, prng_below(r, 4) * ENV_MS_NS, isolate_later);
        return true;
    default:
        isolate(s, leader);
        return true;
    }
}

static bool inject_partition(struct sim *s)
{
    struct host *hosts[SIM_NODES_MAX];
    struct prng *r = &s->nemesis->rng;
    size_t n = s->plan.node_count;

    if (n < 2)
        return false;
    if (s->plan.hunt_leaders && prng_chance_ppm(r, 800000))
        return inject_hunt(s);
    for (size_t i = 0; i < n; i++)
        hosts[i] = s->servers[i].host;
    struct sim_server *leader = sim_leader(s);
    size_t victim = leader && prng_chance_ppm(r, 500000) ? leader->at : prng_below(r, n);
    switch (prng_below(r, 6)) {
    case 0:
        world_partition_isolate(s->world, hosts, n, victim);
        break;
    case 1:
        world_partition_halves(s->world, hosts, n, prng_u64(r));
        break;
    case 2:
        world_partition_bridge(s->world, hosts, n, victim);
        break;
    case 3:
        world_partition_ring(s->world, hosts, n);
        break;
    case 4: /* the victim hears nobody, or nobody hears it */
        for (size_t i = 0; i < n; i++)
            if (i != victim)
                world_partition_one_way(s->world, hosts[i], hosts[victim]);
        break;
    default:
        for (size_t i = 0; i < n; i++)
            if (i != victim)
                world_partition_one_way(s->world, hosts[victim], hosts[i]);
        break;
    }
    after(s, NULL, draw_ms(s, 100, 8 * s->plan.heartbeat_timeout_ms), links_heal);
    return true;
}

static bool inject_reset(struct sim *s)
{
    struct prng *r = &s->nemesis->rng;
    struct host *a = s->servers[prng_below(r, s->plan.node_count)].host;
    struct host *b = prng_chance_ppm(r, 500000)
                         ? s->servers[prng_below(r, s->plan.node_count)].host
                         : world_host_at(s->world, prng_below(r, world_host_count(s->world)));

    if (a == b)
        return false;
    uint64_t bytes = prng_chance_ppm(r, 300000) ? 0 : prng_below(r, 3000);
    if (prng_chance_ppm(r, 200000))
        world_reset_all(s->world, a, b);
    else if (prng_chance_ppm(r, 500000))
        world_reset_after(s->world, a, b, bytes, (enum sim_net_learn)prng_below(r, 3));
    else
        world_reset_after(s->world, b, a, bytes, (enum sim_net_learn)prng_below(r, 3));
    return true;
}

static bool inject_loss(struct sim *s)
{
    world_net(s->world)->loss_ppm = (uint32_t)prng_range(&s->nemesis->rng, 10000, 200000);
    after(s, NULL, draw_ms(s, 200, 3000), net_heal);
    return true;
}

static bool inject_black_hole(struct sim *s)
{
    struct prng *r = &s->nemesis->rng;
    uint64_t a = prng_below(r, s->plan.node_count), b = prng_below(r, s->plan.node_count);

    if (a == b)
        return false;
    world_black_hole(s->world, s->servers[a].host, s->servers[b].host);
    return true;
}

static bool inject_disk_once(struct sim *s, enum sim_disk_once kind)
{
    struct sim_server *v = draw_server(s, true);

    if (!v)
        return false;
    struct sim_disk_config *c = sim_disk_config(host_disk(v->host));
    c->faults.sync_eio_mode = s->plan.sync_eio_mode;
    c->faults.stall_min_ns = 10 * ENV_MS_NS;
    c->faults.stall_max_ns = 5 * ENV_S_NS;
    v->halt_expected = v->halt_expected || kind != SIM_ONCE_STALL;
    sim_disk_fail_once(host_disk(v->host), kind, prng_below(&s->nemesis->rng, 10));
    return true;
}

static bool inject_nospc(struct sim *s)
{
    struct sim_server *leader = sim_leader(s), *v = draw_server(s, true);

    if (!v)
        return false;
    if (leader && prng_chance_ppm(&s->nemesis->rng, 500000))
        v = leader;
    uint64_t used = sim_disk_used_bytes(host_disk(v->host));
    /* At apply on disk a full disk is the machine's failure. Elsewhere nothing was promised: who keeps the
     * database in memory refuses writes, hands over, goes on reading, and recovers (L1). */
    v->halt_expected = v->halt_expected || v->plan->on_disk;
    /* At once, or some way into whatever is being written then: a segment, a cut, an image received. */
    uint64_t room = prng_below(&s->nemesis->rng, UINT64_C(1) << prng_below(&s->nemesis->rng, 8));
    sim_disk_config(host_disk(v->host))->quota_bytes = used + room * SIM_PAGE_BYTES;
    after(s, v, draw_ms(s, 100, 4000), quota_lift);
    return true;
}

/* ---- rot ----------------------------------------------------------------------------------------------------- */

struct rot_choice {
    struct sim_disk *disk;
    char path[128];
};

static void rot_file(void *ctx, const char *path, uint64_t size)
{
    struct rot_choice *c = ctx;
    const char *dot = strrchr(path, '.');

    (void)size;
    if (dot && strcmp(dot, ".seg") == 0 && c->path[0] == '\0' && strlen(path) < sizeof(c->path))
        (void)snprintf(c->path, sizeof(c->path), "%s", path); /* the oldest */
}

/* Bytes of the file's used part: up to the last one that is not zero. */
static uint64_t used_part(struct sim_disk *d, const char *path)
{
    static uint8_t bytes[1 << 18];
    size_t got = 0;

    if (sim_disk_durable_read(d, path, bytes, sizeof(bytes), 0, &got))
        return 0;
    while (got > 0 && bytes[got - 1] == 0)
        got--;
    return got;
}

static bool inject_rot(struct sim *s)
{
    struct sim_nemesis *n = s->nemesis;
    struct sim_server *v = draw_server(s, true);
    struct rot_choice c = {0};

    /* The budget is one voter of three: of two, a quorum needs both. */
    if (!v || n->rotted || s->plan.voter_count < 3 || sim_wipe_pending(s))
        return false;
    c.disk = host_disk(v->host);
    if (prng_chance_ppm(&n->rng, 300000)) { /* one of the two copies: repaired, nobody notices */
        bool first = prng_chance_ppm(&n->rng, 500000);
        if (sim_disk_flip(c.disk, first ? "data/raft/hard.a" : "data/raft/hard.b",
                          prng_below(&n->rng, 32), 3))
            return false;
        host_crash(v->host, HOST_CRASH_PROCESS);
        return true;
    }
    if (prng_chance_ppm(&n->rng, 500000)) { /* repaired from the others */
        n->rotted = sim_spoil(s, v, &n->rng);
        return n->rotted;
    }
    sim_disk_list(c.disk, true, rot_file, &c);
    uint64_t used = c.path[0] ? used_part(c.disk, c.path) : 0;
    if (used < 3000)
        return false;
    if (sim_disk_flip(c.disk, c.path, prng_range(&n->rng, 600, used / 2),
                      (unsigned)prng_below(&n->rng, 8)))
        return false;
    n->rotted = true;
    v->damaged = true;
    v->halt_expected = true;
    host_crash(v->host, HOST_CRASH_PROCESS);
    return true;
}

static bool inject_transfer(struct sim *s)
{
    struct sim_server *v = sim_leader(s);
    if (v)
        sim_server_transfer(v);
    return v != NULL;
}

static bool inject_stop(struct sim *s)
{
    struct sim_server *v = draw_server(s, true);

    if (!v || !v->open || v->stopping || (v->plan->leaves && sim_wipe_pending(s)))
        return false;
    sim_server_stop(v);
    return true;
}

static bool inject_wall_jump(struct sim *s)
{
    struct sim_server *v = &s->servers[prng_below(&s->nemesis->rng, s->plan.node_count)];
    host_wall_jump(v->host, (int64_t)draw_ms(s, 0, 7200000) - (int64_t)(3600 * ENV_S_NS));
    return true;
}

static bool inject(struct sim *s, enum sim_family f)
{
    switch (f) {
    case SIM_FAMILY_CRASH:
        return inject_crash(s, HOST_CRASH_PROCESS);
    case SIM_FAMILY_POWER:
        return inject_crash(s, HOST_CRASH_POWER);
    case SIM_FAMILY_CRASH_CALL:
        return inject_crash_call(s);
    case SIM_FAMILY_PAUSE:
        return inject_pause(s);
    case SIM_FAMILY_PARTITION:
        return inject_partition(s);
    case SIM_FAMILY_RESET:
        return inject_reset(s);
    case SIM_FAMILY_LOSS:
        return inject_loss(s);
    case SIM_FAMILY_BLACK_HOLE:
        return inject_black_hole(s);
    case SIM_FAMILY_SYNC_EIO:
        return inject_disk_once(s, SIM_ONCE_SYNC_EIO);
    case SIM_FAMILY_WRITE_EIO:
        return inject_disk_once(s, SIM_ONCE_WRITE_EIO);
    case SIM_FAMILY_NOSPC:
        return inject_nospc(s);
    case SIM_FAMILY_STALL:
        return inject_disk_once(s, SIM_ONCE_STALL);
    case SIM_FAMILY_ROT:
        return inject_rot(s);
    case SIM_FAMILY_WALL_JUMP:
        return inject_wall_jump(s);
    case SIM_FAMILY_STOP:
        return inject_stop(s);
    case SIM_FAMILY_TRANSFER:
        return inject_transfer(s);
    case SIM_FAMILY_MEMBER:
        sim_member_change(s);
        return false; /* counted when it is done */
    case SIM_FAMILY_DUEL:
        sim_duel_begin(s, &s->nemesis->rng);
        return false; /* counted when its moment has come */
    case SIM_FAMILY_OVERTAKE:
    case SIM_FAMILY_DEPOSE:
    case SIM_FAMILY_HEIR:
        sim_ambush_begin(s, f);
        return false; /* likewise */
    case SIM_FAMILY_WIPE:
        return sim_wipe_begin(s);
    case SIM_FAMILY_REPLACE:
        return sim_wipe_replace(s);
    case SIM_FAMILY_MOVE:
    case SIM_FAMILY_REAP:
    case SIM_FAMILY_LEAVE:
        sim_depart(s, f);
        return false; /* counted when it came to that */
    case SIM_FAMILY_COUNT:
        break;
    }
    UNREACHABLE();
}

static void next_injection(void *ctx)
{
    struct sim *s = ctx;
    struct sim_nemesis *n = s->nemesis;
    enum sim_family on[SIM_FAMILY_COUNT];
    uint32_t count = 0;

    if (n->off)
        return;
    for (int i = 0; i < SIM_FAMILY_COUNT; i++)
        if (s->plan.family[i])
            on[count++] = (enum sim_family)i;
    if (count == 0)
        return;
    enum sim_family f = on[prng_below(&n->rng, count)];
    if (world_tracing(s->world))
        world_trace(s->world, "nemesis %s", sim_family_name(f));
    world_note(s->world, "nemesis", (uint64_t)f, 0);
    s->result->families[f] += inject(s, f);
    world_after(s->world,
                prng_range(&n->rng, s->plan.fault_every_ns / 10, 2 * s->plan.fault_every_ns),
                next_injection, s);
}

void sim_nemesis_create(struct sim *s)
{
    s->nemesis = calloc(1, sizeof(*s->nemesis));
    world_stream_init(s->world, &s->nemesis->rng, "nemesis", 0);
    s->nemesis->off = true;
}

void sim_nemesis_begin(struct sim *s)
{
    s->nemesis->off = false;
    world_after(s->world, s->plan.fault_every_ns, next_injection, s);
}

void sim_nemesis_heal(struct sim *s)
{
    s->nemesis->off = true;
    sim_departs_heal(s);
    world_links_heal(s->world);
    world_net(s->world)->loss_ppm = 0;
    for (uint32_t i = 0; i < s->plan.node_count; i++) {
        struct sim_server *v = &s->servers[i];
        sim_disk_config(host_disk(v->host))->quota_bytes = 0;
        host_crash_at_call(v->host, HOST_CRASH_PROCESS, 0);
        if (host_paused(v->host))
            host_resume(v->host);
        if (!host_up(v->host))
            sim_server_start(v);
    }
}

void sim_nemesis_destroy(struct sim *s)
{
    for (struct later *l = s->nemesis->laters; l;) {
        struct later *next = l->next;
        free(l);
        l = next;
    }
    free(s->nemesis);
}
