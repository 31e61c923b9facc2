/* sim_depart.c — nodes that go, and come back as somebody else or to find themselves given up (profile
 * `membership`):
 *
 *   MOVE   dies, restarts under another address, asks to join
 *   REAP   dies until the leader gives it up; back in that very instant, or some time later; asks to join
 *   LEAVE  is told to stop, leaves the cluster first; restarts, asks to join
 *
 * While a member that lost its disk is not back, nobody else goes: the others hold what it promised. */
#include "sim_run.h"
#include <stdlib.h>

struct sim_departs {
    struct prng rng;
    struct sim_server *held; /* down until it is reaped; NULL: nobody */
    uint64_t until_ns;       /* at the latest */
    bool at_once;            /* as the leader has the removal in its log; else at until_ns */
};

static struct sim_server *draw(struct sim *s)
{
    struct sim_server *v = &s->servers[prng_below(&s->departs->rng, s->plan.node_count)];

    return host_up(v->host) && v->open && !v->stopping && sim_conf_has(s, v) ? v : NULL;
}

/* One at a time: two that have moved do not find each other. */
static void depart_move(struct sim *s, struct sim_server *v)
{
    for (uint32_t i = 0; i < s->plan.node_count; i++)
        if (s->servers[i].moving)
            return;
    world_trace(s->world, "depart: %s moves", v->name);
    host_crash(v->host,
               prng_chance_ppm(&s->departs->rng, 300000) ? HOST_CRASH_POWER : HOST_CRASH_PROCESS);
    sim_server_move(v);
}

/* ---- reaping --------------------------------------------------------------------------------------------- */

static void release(struct sim *s)
{
    struct sim_departs *d = s->departs;
    struct sim_server *v = d->held;

    d->held = NULL;
    s->result->families[SIM_FAMILY_REAP] += !sim_conf_has(s, v);
    world_trace(s->world, "depart: %s returns, %s", v->name,
                sim_conf_has(s, v) ? "a member" : "no member any more");
    v->dead_for_good = false;
    v->rejoins = true;
    sim_server_start(v);
}

static bool given_up(struct sim *s)
{
    struct sim_server *leader = sim_leader(s);
    struct raft_view view;

    if (!leader)
        return false;
    raft_look(node_raft(leader->node), &view);
    for (uint32_t i = 0; i < view.conf->count; i++)
        if (sim_server_is(s->departs->held, view.conf->members[i].id))
            return false;
    return true;
}

static void watch(void *ctx)
{
    struct sim *s = ctx;
    struct sim_departs *d = s->departs;

    if (!d->held)
        return;
    if (world_now_ns(s->world) >= d->until_ns || (d->at_once && given_up(s)))
        release(s);
    else
        world_after(s->world, 5 * ENV_MS_NS, watch, s);
}

static void depart_reap(struct sim *s, struct sim_server *v)
{
    struct sim_departs *d = s->departs;
    uint64_t limit_ms = v->plan->replica ? v->plan->reap_replica_ms : v->plan->reap_voter_ms;

    if (d->held || limit_ms == 0)
        return;
    d->held = v;
    d->at_once = prng_chance_ppm(&d->rng, 600000);
    d->until_ns =
        world_now_ns(s->world) +
        (d->at_once ? 4 * limit_ms : prng_range(&d->rng, limit_ms * 9 / 10, 2 * limit_ms)) *
            ENV_MS_NS;
    v->dead_for_good = true;
    host_crash(v->host, prng_chance_ppm(&d->rng, 300000) ? HOST_CRASH_POWER : HOST_CRASH_PROCESS);
    watch(s);
}

/* ---- all of them --------------------------------------------------------------------------------------------- */

void sim_depart(struct sim *s, enum sim_family f)
{
    struct sim_server *v = sim_wipe_pending(s) ? NULL : draw(s);

    if (!v)
        return;
    if (f == SIM_FAMILY_MOVE)
        depart_move(s, v);
    else if (f == SIM_FAMILY_REAP)
        depart_reap(s, v);
    else if (v->plan->leaves)
        sim_server_stop(v);
}

void sim_departs_heal(struct sim *s)
{
    if (s->departs->held)
        release(s);
}

void sim_departs_create(struct sim *s)
{
    s->departs = calloc(1, sizeof(*s->departs));
    world_stream_init(s->world, &s->departs->rng, "departs", 0);
}

void sim_departs_destroy(struct sim *s)
{
    free(s->departs);
}
