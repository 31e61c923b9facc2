/* sim_plan.c — draws a seed's configuration: sparse (most families off, each remaining one pushed
 * hard), with knobs at extremes in half the seeds (simulation.md §16). */
#include "sim_plan.h"
#include <string.h>

static const char *const profile_names[SIM_PROFILE_COUNT] = {
    "crash_only", "net_only", "disk_only", "swarm", "membership", "quiet"};
static const char *const family_names[SIM_FAMILY_COUNT] = {
    "crash",      "power",    "crash_call", "pause", "partition", "reset",  "loss",
    "black_hole", "sync_eio", "write_eio",  "nospc", "stall",     "rot",    "wall_jump",
    "stop",       "transfer", "member",     "duel",  "overtake",  "depose", "heir",
    "wipe",       "replace",  "move",       "reap",  "leave"};

const char *sim_profile_name(enum sim_profile p)
{
    return profile_names[p];
}

bool sim_profile_parse(const char *text, enum sim_profile *out)
{
    for (int i = 0; i < SIM_PROFILE_COUNT; i++) {
        if (strcmp(text, profile_names[i]) == 0) {
            *out = (enum sim_profile)i;
            return true;
        }
    }
    return false;
}

const char *sim_family_name(enum sim_family f)
{
    return family_names[f];
}

static const char *const scene_names[SIM_SCENE_COUNT] = {"none", "late", "trickle", "full",
                                                         "forced"};

const char *sim_scene_name(enum sim_scene_kind k)
{
    return scene_names[k];
}

static uint64_t pick(struct prng *r, const uint64_t *values, size_t count)
{
    return values[prng_below(r, count)];
}
#define PICK(r, ...)                                                                               \
    pick(r, (const uint64_t[]){__VA_ARGS__},                                                       \
         sizeof((const uint64_t[]){__VA_ARGS__}) / sizeof(uint64_t))

static void draw_families(struct sim_plan *p, struct prng *r)
{
    bool *f = p->family;

    switch (p->profile) {
    case SIM_CRASH_ONLY:
        f[SIM_FAMILY_CRASH] = true;
        f[SIM_FAMILY_POWER] = true;
        f[SIM_FAMILY_CRASH_CALL] = true;
        f[SIM_FAMILY_STOP] = prng_chance_ppm(r, 300000);
        f[SIM_FAMILY_DUEL] = prng_chance_ppm(r, 300000);
        break;
    case SIM_NET_ONLY:
        f[SIM_FAMILY_PARTITION] = true;
        for (int i = SIM_FAMILY_PAUSE; i <= SIM_FAMILY_BLACK_HOLE; i++)
            f[i] = f[i] || prng_chance_ppm(r, 500000);
        f[SIM_FAMILY_TRANSFER] = prng_chance_ppm(r, 300000);
        for (int i = SIM_FAMILY_OVERTAKE; i <= SIM_FAMILY_HEIR; i++)
            f[i] = prng_chance_ppm(r, 300000);
        break;
    case SIM_DISK_ONLY:
        f[SIM_FAMILY_CRASH] = true;
        for (int i = SIM_FAMILY_SYNC_EIO; i <= SIM_FAMILY_ROT; i++)
            f[i] = prng_chance_ppm(r, 500000);
        break;
    case SIM_SWARM: {
        uint32_t ppm = (uint32_t)PICK(r, 0, 350000, 350000, 350000, 350000, 350000, 350000, 900000);
        for (int i = 0; i < SIM_FAMILY_WIPE; i++)
            f[i] = prng_chance_ppm(r, ppm);
        break;
    }
    case SIM_MEMBERSHIP:
        f[SIM_FAMILY_MEMBER] = true;
        f[SIM_FAMILY_CRASH] = prng_chance_ppm(r, 500000);
        f[SIM_FAMILY_POWER] = prng_chance_ppm(r, 300000);
        f[SIM_FAMILY_PAUSE] = prng_chance_ppm(r, 300000);
        f[SIM_FAMILY_PARTITION] = prng_chance_ppm(r, 500000);
        f[SIM_FAMILY_STOP] = prng_chance_ppm(r, 300000);
        f[SIM_FAMILY_TRANSFER] = prng_chance_ppm(r, 300000);
        break;
    case SIM_QUIET:
    case SIM_PROFILE_COUNT:
        break;
    }
    if (f[SIM_FAMILY_MEMBER])
        f[SIM_FAMILY_ROT] = false; /* a small cluster has no copy to spare */
}

/* The last one or two of the nodes; two voters at least. */
static void draw_replicas(struct sim_plan *p, struct prng *r)
{
    uint32_t replicas = 0;

    if ((p->profile == SIM_MEMBERSHIP || p->profile == SIM_SWARM) && p->node_count >= 3 &&
        prng_chance_ppm(r, 300000))
        replicas = p->node_count >= 5 ? (uint32_t)prng_range(r, 1, 2) : 1;
    p->voter_count = p->node_count - replicas;
    for (uint32_t i = p->voter_count; i < p->node_count; i++)
        p->nodes[i].replica = true;
}

static void draw_node(struct sim_node_plan *n, struct prng *r, bool extreme)
{
    n->on_disk = prng_chance_ppm(r, 300000);
    n->batch_max = (uint32_t)PICK(r, 1, 2, 7, 1000);
    n->statement_cache = (uint32_t)PICK(r, 0, 3, 1000);
    n->cache_pages = (uint32_t)PICK(r, 10, 100, 2000);
    n->segment_bytes = (uint32_t)PICK(r, 16384, 65536, 262144);
    n->reader_count = (uint32_t)PICK(r, 3, 100);
    n->part_bytes = (uint32_t)PICK(r, 100, 500, 4000, 0);
    n->append_count_max = 1024;
    n->window_msgs = 16;
    n->entry_cache_bytes = 0;
    if (extreme) {
        n->segment_bytes = (uint32_t)PICK(r, 4096, 8192, 16384);
        n->append_count_max = (uint32_t)PICK(r, 1, 3, 1024);
        n->window_msgs = (uint32_t)PICK(r, 1, 2, 16);
        n->entry_cache_bytes = PICK(r, 1, 2000, 0);
    }
    n->wall_offset_ns = (int64_t)prng_range(r, 0, 7200) * 1000000000 - INT64_C(3600000000000);
    n->drift_ppm = (int32_t)prng_range(r, 0, 1000) - 500;
    n->cpu_percent = (uint32_t)PICK(r, 50, 100, 100, 300);
    n->snapshot_entries = PICK(r, 0, 10, 50, 200);
    n->snapshot_trailing = PICK(r, 0, 10, 100);
}

static void draw_net(struct sim_plan *p, struct prng *r)
{
    struct sim_net_config *c = &p->world.net;

    c->latency = (enum sim_net_latency)prng_below(r, 4);
    c->latency_min_ns = PICK(r, 20000, 100000, 500000);
    c->latency_max_ns = c->latency_min_ns * PICK(r, 1, 3, 10);
    c->cut = prng_chance_ppm(r, 20000)    ? SIM_CUT_BYTE
             : prng_chance_ppm(r, 500000) ? SIM_CUT_WHOLE
                                          : SIM_CUT_RANDOM;
}

/* Leaders come and go while many clients wait for each: logs that differ in length and term, reads
 * that meet a leader too old or too young. */
static void draw_hunt(struct sim_plan *p, struct prng *r)
{
    p->hunt_leaders = true;
    p->client_count = SIM_CLIENTS_MAX;
    p->key_count = (uint32_t)prng_range(r, 1, 2);
    p->think_ns = PICK(r, 20, 50) * ENV_MS_NS;
    p->fault_ns = 5 * ENV_S_NS;
    p->answer_ms = (uint32_t)PICK(r, 50, 300, 5000);
    p->sync_ns = PICK(r, 500, 2000, 10000) * 1000;
    p->world.lane_delay_max_ns *= PICK(r, 1, 30, 300);
    p->heartbeat_timeout_ms = PICK(r, 100, 200, 1000);
    p->client_timeout_ns = PICK(r, 100, 300, 1000) * ENV_MS_NS;
    p->fault_every_ns = p->heartbeat_timeout_ms * PICK(r, 1, 2, 4) * ENV_MS_NS;
}

/* From a chance of its own: older plans stay as they are. */
static void draw_more(struct sim_plan *p)
{
    struct prng r;

    prng_init(&r, prng_mix(p->seed, 0x6c6f6f6bU));
    for (uint32_t i = 0; i < SIM_NODES_MAX; i++) {
        p->nodes[i].snapshot_wal_bytes = PICK(&r, 0, 0, 20000, 200000);
        p->nodes[i].snapshot_interval_ms = PICK(&r, 0, 0, 5, 100, 1000);
    }
    for (uint32_t i = 0; i < SIM_NODES_MAX; i++) {
        p->nodes[i].vacuum_interval_ms = PICK(&r, 0, 0, 500, 3000);
        p->nodes[i].optimize_interval_ms = PICK(&r, 0, 0, 500, 3000);
    }
    bool breaks = p->profile == SIM_SWARM || p->profile == SIM_CRASH_ONLY;
    p->family[SIM_FAMILY_WIPE] = breaks && p->voter_count >= 3 && !p->family[SIM_FAMILY_MEMBER] &&
                                 prng_chance_ppm(&r, 250000);
}

/* Likewise: who comes back as somebody else, or finds itself given up. */
static void draw_departs(struct sim_plan *p)
{
    struct prng r;
    bool shuts = false;

    if (p->profile != SIM_MEMBERSHIP)
        return;
    prng_init(&r, prng_mix(p->seed, 0x64657061U));
    p->family[SIM_FAMILY_MOVE] = prng_chance_ppm(&r, 400000);
    p->family[SIM_FAMILY_REAP] = prng_chance_ppm(&r, 400000);
    p->family[SIM_FAMILY_LEAVE] = prng_chance_ppm(&r, 300000);
    p->family[SIM_FAMILY_WIPE] = p->voter_count >= 3 && prng_chance_ppm(&r, 200000);
    p->family[SIM_FAMILY_REPLACE] = p->voter_count >= 3 && prng_chance_ppm(&r, 300000);
    shuts = prng_chance_ppm(&r, 300000);
    for (uint32_t i = 0; i < SIM_NODES_MAX; i++) {
        p->nodes[i].remove_shutdown = shuts;
        p->nodes[i].leaves = p->family[SIM_FAMILY_LEAVE] && prng_chance_ppm(&r, 600000);
        if (!p->family[SIM_FAMILY_REAP])
            continue;
        p->nodes[i].reap_voter_ms = p->heartbeat_timeout_ms * PICK(&r, 2, 4);
        p->nodes[i].reap_replica_ms = p->heartbeat_timeout_ms * PICK(&r, 2, 3);
    }
}

/* Likewise. */
static void draw_loads(struct sim_plan *p)
{
    struct prng r;

    prng_init(&r, prng_mix(p->seed, 0x6c6f6164U));
    p->loads = p->world.net.cut != SIM_CUT_BYTE &&
               prng_chance_ppm(&r, p->node_count == 1 ? 600000 : 200000);
    for (uint32_t i = 0; i < SIM_NODES_MAX; i++)
        p->nodes[i].load_piece_bytes = (uint32_t)PICK(&r, 700, 4096, 10000, 0);
}

/* Likewise. Not with a byte at a time: it would take for ever. Nor where who cannot write for a while is given up. */
static void draw_scene(struct sim_plan *p)
{
    struct prng r;

    prng_init(&r, prng_mix(p->seed, 0x7363656eU));
    if (p->profile != SIM_QUIET && p->world.net.cut != SIM_CUT_BYTE &&
        !p->family[SIM_FAMILY_REAP] && prng_chance_ppm(&r, 500000))
        p->scene = (enum sim_scene_kind)prng_range(&r, 1, SIM_SCENE_COUNT - 1);
}

static uint32_t draw_node_count(struct prng *r)
{
    return (uint32_t)PICK(r, 1, 2, 3, 3, 3, 3, 3, 3, 3, 3, 4, 5, 5, 5, 5);
}

void sim_plan_draw(struct sim_plan *p, uint64_t seed, enum sim_profile profile, uint32_t node_count)
{
    struct prng r;

    memset(p, 0, sizeof(*p));
    p->seed = seed;
    p->profile = profile;
    prng_init(&r, prng_mix(prng_mix(seed, (uint64_t)profile + 1), 0x706c616eU));
    world_config_default(&p->world, prng_mix(seed, (uint64_t)profile));
    uint32_t drawn = draw_node_count(&r);
    p->node_count = node_count ? node_count : drawn;
    if (profile == SIM_MEMBERSHIP && p->node_count < 3)
        p->node_count = 3;
    p->client_count = (uint32_t)prng_range(&r, 2, 5);
    p->key_count = (uint32_t)prng_range(&r, 1, SIM_KEYS_MAX);
    p->heartbeat_timeout_ms = PICK(&r, 100, 200, 500, 1000);
    p->fault_ns = prng_range(&r, 5, 12) * ENV_S_NS;
    p->fault_every_ns = PICK(&r, 200, 500, 1000, 2000) * ENV_MS_NS;
    p->think_ns = PICK(&r, 20, 50, 100, 200) * ENV_MS_NS;
    p->answer_ms = 5000;
    p->client_timeout_ns = PICK(&r, 300, 1000, 3000, 10000) * ENV_MS_NS;
    p->shadow_ppm = profile == SIM_CRASH_ONLY || profile == SIM_DISK_ONLY ? 1000000 : 100000;
    p->disk_profile = (enum sim_disk_profile)prng_below(&r, SIM_DISK_PROFILE_COUNT);
    /* Not LATE: a sync that says 0 and did nothing is a lie no single copy can survive. */
    p->sync_eio_mode = prng_chance_ppm(&r, 500000) ? SIM_SYNC_EIO_CLEAN : SIM_SYNC_EIO_REVERT;
    draw_families(p, &r);
    bool extreme = prng_chance_ppm(&r, 500000);
    for (uint32_t i = 0; i < SIM_NODES_MAX; i++)
        draw_node(&p->nodes[i], &r, extreme && prng_chance_ppm(&r, 500000));
    if (p->family[SIM_FAMILY_NOSPC]) /* the log's reserve is soon used up */
        for (uint32_t i = 0; i < SIM_NODES_MAX; i++)
            p->nodes[i].segment_bytes = (uint32_t)PICK(&r, 4096, 8192, 16384);
    draw_replicas(p, &r);
    draw_net(p, &r);
    if (p->world.net.cut ==
        SIM_CUT_BYTE) { /* an event per byte: little work, or it takes for ever */
        p->client_count = 2;
        p->think_ns = 400 * ENV_MS_NS;
        p->fault_ns = 5 * ENV_S_NS;
    }
    p->maimed = p->family[SIM_FAMILY_PARTITION] && !p->family[SIM_FAMILY_MEMBER] &&
                prng_chance_ppm(&r, 300000);
    if (p->family[SIM_FAMILY_PARTITION] && p->world.net.cut != SIM_CUT_BYTE &&
        prng_chance_ppm(&r, 300000))
        draw_hunt(p, &r);
    p->world.tie = (enum world_tie)PICK(&r, 0, 0, 0, 1, 2);
    draw_more(p);
    draw_departs(p);
    draw_loads(p);
    draw_scene(p);
}
