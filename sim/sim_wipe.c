/* sim_wipe.c — a machine comes back with an empty disk under its old name, and asks to join.
 *
 *   power off ─► disk taken away ─► restart ─► it is removed and added anew, catches up, votes again
 *
 * One at a time, never where another node's disk was damaged: the others hold what it promised. Or, of three nodes,
 * at the worst moment: one is cut off and misses entries; whoever held them with the leader is wiped and the leader
 * dies, while the one who missed them comes back. It must not be elected by a node that forgot them. */
#include "sim_run.h"
#include <stdio.h>
#include <stdlib.h>

struct sim_wipe {
    struct prng rng;
    struct sim_server *victim; /* the last one; NULL: none yet */
    struct sim_server *leader; /* to die with it; NULL: none */
    struct sim_server *held;   /* down, until leader_restart(); NULL: nobody */
};

/* Is the one that was wiped a voter again, by its own word? */
static bool is_back(const struct sim_server *v)
{
    const struct raft *r = v->node && v->open ? node_raft(v->node) : NULL;
    struct raft_view view;

    if (!r)
        return false;
    raft_look(r, &view);
    return view.am_voter;
}

bool sim_wipe_pending(struct sim *s)
{
    struct sim_server *v = s->wipe->victim;

    if (v && v->wiped && is_back(v))
        v->wiped = false;
    return v && v->wiped;
}

static bool allowed(struct sim *s)
{
    if (s->plan.voter_count < 3 || s->faults_over || sim_wipe_pending(s) || !sim_members_settled(s))
        return false;
    for (uint32_t i = 0; i < s->plan.node_count; i++)
        if (s->servers[i].damaged || s->servers[i].dead_for_good)
            return false;
    return true;
}

void sim_wipe_server(struct sim *s, struct sim_server *v)
{
    world_trace(s->world, "wipe: %s loses its disk", v->name);
    if (host_up(v->host))
        host_crash(v->host, HOST_CRASH_POWER);
    sim_disk_wipe(host_disk(v->host));
    sim_raft_forgot(s, v);
    v->bootstrap = false;
    v->wiped = true;
    s->wipe->victim = v;
}

/* Long enough for the others to choose: the one who holds the entries is down. */
static void leader_restart(void *ctx)
{
    struct sim *s = ctx;
    struct sim_wipe *w = s->wipe;

    w->held->dead_for_good = false;
    sim_server_start(w->held);
    w->held = NULL;
}

/* The entries of the last heartbeats are on two of three: one of them loses its disk, the other dies. */
static void strike(void *ctx)
{
    struct sim *s = ctx;
    struct sim_wipe *w = s->wipe;
    struct sim_server *leader = w->leader, *victim = w->victim;

    w->leader = NULL;
    world_links_heal(s->world);
    if (!allowed(s) || sim_leader(s) != leader || !host_up(victim->host))
        return;
    uint64_t patience = s->plan.heartbeat_timeout_ms * ENV_MS_NS;
    sim_wipe_server(s, victim);
    leader->dead_for_good = true;
    w->held = leader;
    world_after(s->world, prng_range(&w->rng, 3 * patience, 8 * patience), leader_restart, s);
    host_crash(leader->host,
               prng_chance_ppm(&w->rng, 500000) ? HOST_CRASH_POWER : HOST_CRASH_PROCESS);
    sim_server_start(victim);
}

static bool hunt(struct sim *s, struct sim_server *leader)
{
    struct sim_wipe *w = s->wipe;
    struct host *hosts[SIM_NODES_MAX];
    uint64_t patience = s->plan.heartbeat_timeout_ms * ENV_MS_NS;
    uint32_t missing = (leader->at + 1 + (uint32_t)prng_below(&w->rng, 2)) % 3;

    for (uint32_t i = 0; i < 3; i++)
        hosts[i] = s->servers[i].host;
    w->leader = leader;
    w->victim = &s->servers[3 - leader->at - missing];
    world_partition_isolate(s->world, hosts, 3, missing);
    world_after(s->world, prng_range(&w->rng, patience, 4 * patience), strike, s);
    return true;
}

bool sim_wipe_begin(struct sim *s)
{
    struct sim_wipe *w = s->wipe;
    struct sim_server *leader = sim_leader(s);

    if (!allowed(s) || w->leader || w->held)
        return false;
    if (s->plan.node_count == 3 && leader && prng_chance_ppm(&w->rng, 600000))
        return hunt(s, leader);
    sim_wipe_server(s, &s->servers[prng_below(&w->rng, s->plan.voter_count)]);
    return true;
}

bool sim_wipe_replace(struct sim *s)
{
    struct sim_wipe *w = s->wipe;

    if (!allowed(s) || w->leader || w->held)
        return false;
    struct sim_server *v = &s->servers[prng_below(&w->rng, s->plan.voter_count)];
    sim_wipe_server(s, v);
    v->old_id = wire_member_id(slice_str(v->name));
    (void)snprintf(v->name, sizeof(v->name), "n%ur%u", v->at + 1, ++v->replaced);
    return true;
}

void sim_wipe_create(struct sim *s)
{
    s->wipe = calloc(1, sizeof(*s->wipe));
    world_stream_init(s->world, &s->wipe->rng, "wipe", 0);
}

void sim_wipe_destroy(struct sim *s)
{
    free(s->wipe);
}
