/* sim_duel.c — two candidates of one term, and a voter that restarts between their requests.
 *
 *   the leader dies and comes back ─► the first to campaign has a slow disk: its request leaves late
 *       ─► a vote for the second leaves ─► voter and second die; the voter is back within milliseconds
 *
 * Pre-vote makes this rare by chance: both candidates must have won it before either one's request is out.
 * Nothing here that crashes and slow disks could not do; only the moments are chosen. */
#include "sim_run.h"
#include <rq/util/assert.h>
#include <stdlib.h>

enum { RESTART_MAX_MS = 20 };

struct sim_duel {
    struct prng rng;
    uint64_t until_ns; /* 0: none going on */
    uint64_t term;     /* 0: nobody campaigns yet */
    struct sim_server *leader, *first, *second, *voter;
};

static bool waiting(const struct sim *s)
{
    return world_now_ns(s->world) < s->duel->until_ns;
}

/* Nothing, when they are up already. */
static void voter_restart(void *ctx)
{
    struct sim *s = ctx;
    sim_server_start(s->duel->voter);
}

static void leader_restart(void *ctx)
{
    struct sim *s = ctx;
    sim_server_start(s->duel->leader);
}

static void strike(void *ctx)
{
    struct sim *s = ctx;
    struct sim_duel *d = s->duel;

    if (!host_up(d->voter->host) || s->faults_over)
        return;
    world_trace(s->world, "duel: %s voted for %s", d->voter->name, d->second->name);
    s->result->families[SIM_FAMILY_DUEL]++;
    host_crash(d->voter->host,
               HOST_CRASH_PROCESS); /* so that the first learns it and dials again */
    if (host_up(d->second->host))
        host_crash(d->second->host,
                   prng_chance_ppm(&d->rng, 500000) ? HOST_CRASH_POWER : HOST_CRASH_PROCESS);
    world_after(s->world, prng_range(&d->rng, 1, RESTART_MAX_MS) * ENV_MS_NS, voter_restart, s);
}

void sim_duel_begin(struct sim *s, struct prng *rng)
{
    struct sim_server *leader = sim_leader(s);

    if (!leader || waiting(s) || s->plan.voter_count < 3)
        return;
    s->duel->until_ns = world_now_ns(s->world) + 4 * s->plan.heartbeat_timeout_ms * ENV_MS_NS;
    s->duel->term = 0;
    s->duel->leader = leader;
    host_crash(leader->host, prng_chance_ppm(rng, 500000) ? HOST_CRASH_POWER : HOST_CRASH_PROCESS);
    /* Of three nodes it is the one who votes. */
    world_after(s->world, prng_range(rng, 1, RESTART_MAX_MS) * ENV_MS_NS, leader_restart, s);
}

void sim_duel_campaigned(struct sim *s, struct sim_server *v, uint64_t term)
{
    struct sim_duel *d = s->duel;
    uint64_t patience = s->plan.heartbeat_timeout_ms * ENV_MS_NS;

    if (!waiting(s) || d->term || s->faults_over)
        return;
    d->first = v;
    d->term = term;
    world_trace(s->world, "duel: %s campaigns first in term %llu", v->name,
                (unsigned long long)term);
    struct sim_disk_config *c = sim_disk_config(host_disk(v->host));
    c->faults.stall_min_ns = patience / 2;
    c->faults.stall_max_ns = 2 * patience;
    sim_disk_fail_once(host_disk(v->host), SIM_ONCE_STALL, 0);
}

void sim_duel_voted(struct sim *s, struct sim_server *voter, uint64_t candidate, uint64_t term)
{
    struct sim_duel *d = s->duel;

    if (!waiting(s) || term != d->term || candidate == wire_member_id(slice_str(d->first->name)))
        return;
    for (uint32_t i = 0; i < s->plan.node_count; i++)
        if (wire_member_id(slice_str(s->servers[i].name)) == candidate)
            d->second = &s->servers[i];
    ASSERT(d->second);
    d->voter = voter;
    d->until_ns = 0;
    world_after(s->world, prng_below(&d->rng, 300) * 1000, strike, s);
}

void sim_duel_create(struct sim *s)
{
    s->duel = calloc(1, sizeof(*s->duel));
    world_stream_init(s->world, &s->duel->rng, "duel", 0);
}

void sim_duel_destroy(struct sim *s)
{
    free(s->duel);
}
