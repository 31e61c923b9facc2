/* sim_member.c — members come and go: removed by name through any node, the leader too, two at once, and back
 * with what they had on disk; or away for good, until everything is healed.
 *
 * Never below one voter. What is removed goes on running: it may not have heard of it. */
#include "sim_run.h"
#include <rq/util/assert.h>
#include <stdlib.h>
#include <string.h>

enum { REAP_LIMITS = 2 };

struct removal {
    struct sim *sim;
    struct sim_server *by, *who;
};

struct sim_members {
    struct prng rng;
    struct removal removals[SIM_NODES_MAX]; /* the last one through each */
    bool away[SIM_NODES_MAX];               /* asked to be removed, not yet to be back */
    struct member_back {
        struct sim *sim;
        struct sim_server *server;
    } back[SIM_NODES_MAX];
};

/* ---- on a host ------------------------------------------------------------------------------------------- */

static void removed(void *ctx, int rc, const char *why)
{
    struct sim *s = ctx;
    (void)why;
    s->result->families[SIM_FAMILY_MEMBER] += rc == 0;
}

static void removal_run(struct env *e, void *ctx)
{
    struct removal *r = ctx;
    struct node_order order = {.name = slice_str(r->who->name), .timeout_ms = 5000};

    (void)e;
    if (r->by->node && r->by->open && node_remove(r->by->node, &order, removed, r->sim))
        return; /* it does not know who leads */
}

void sim_member_remove(struct sim *s, struct sim_server *by, struct sim_server *who)
{
    struct removal *r = &s->members->removals[by->at];

    *r = (struct removal){s, by, who};
    if (host_up(by->host))
        host_post(by->host, 0, removal_run, r);
}

/* ---- coming back ------------------------------------------------------------------------------------------- */

static void back(void *ctx)
{
    struct member_back *b = ctx;

    b->sim->members->away[b->server->at] = false;
    sim_server_rejoin(b->server);
}

static struct sim_server *draw(struct sim *s, bool leader)
{
    struct sim_members *m = s->members;
    uint32_t at = (uint32_t)prng_below(&m->rng, s->plan.node_count);
    struct sim_server *v = leader ? sim_leader(s) : &s->servers[at];

    return v && !m->away[v->at] && sim_conf_has(s, v) ? v : NULL;
}

static bool remove_one(struct sim *s, struct sim_server *who)
{
    struct sim_members *m = s->members;
    struct sim_server *by = &s->servers[prng_below(&m->rng, s->plan.node_count)];
    uint64_t patience_ns = s->plan.heartbeat_timeout_ms * ENV_MS_NS;
    uint32_t voters = 0;

    for (uint32_t i = 0; i < s->plan.node_count; i++)
        voters += !m->away[i] && sim_conf_votes(s, &s->servers[i]);
    if (sim_wipe_pending(s))
        return false;
    if (!who || (voters <= 1 && sim_conf_votes(s, who)))
        return false;
    m->away[who->at] = true;
    sim_member_remove(s, by, who);
    m->back[who->at] = (struct member_back){s, who};
    world_after(s->world, prng_range(&m->rng, 1, 40) * patience_ns / 4, back, &m->back[who->at]);
    return true;
}

void sim_member_change(struct sim *s)
{
    struct prng *r = &s->members->rng;

    if (prng_chance_ppm(r, 100000)) /* asks although it is a member */
        sim_server_rejoin(&s->servers[prng_below(r, s->plan.node_count)]);
    if (remove_one(s, draw(s, prng_chance_ppm(r, 300000))) && prng_chance_ppm(r, 200000))
        (void)remove_one(s, draw(s, false));
}

/* ---- healing ------------------------------------------------------------------------------------------------ */

static bool all_back(struct sim *s)
{
    struct sim_server *v = sim_leader(s);
    struct raft_view view;

    if (!v)
        return false;
    raft_look(node_raft(v->node), &view);
    uint32_t there = 0, living = 0;
    for (uint32_t i = 0; i < s->plan.node_count; i++) {
        living += !s->servers[i].dead_for_good;
        for (uint32_t k = 0; k < view.conf->count; k++)
            there += !s->servers[i].dead_for_good &&
                     view.conf->members[k].id == wire_member_id(slice_str(s->servers[i].name)) &&
                     view.conf->members[k].voter == !s->servers[i].plan->replica;
    }
    return there == living && view.conf_committed;
}

bool sim_members_settled(struct sim *s)
{
    for (uint32_t i = 0; i < s->plan.node_count; i++)
        if (s->members->away[i] || s->servers[i].rejoins || s->servers[i].stopping)
            return false;
    return !s->plan.family[SIM_FAMILY_MEMBER] || all_back(s);
}

void sim_members_heal(struct sim *s)
{
    if (!s->plan.family[SIM_FAMILY_MEMBER])
        return;
    sim_evaluated(s, SIM_L1);
    /* Again, because a removal that was under way may follow the answer that one is a member. */
    for (uint32_t attempt = 0; attempt < 4 && !s->result->violated; attempt++) {
        for (uint32_t i = 0; i < s->plan.node_count; i++)
            sim_server_rejoin(&s->servers[i]);
        if (!sim_go(s, 30 * ENV_S_NS, all_back))
            continue;
        /* A leader may still give up who was away for too long before it was healed. */
        (void)sim_go(s, REAP_LIMITS * s->plan.nodes[0].reap_voter_ms * ENV_MS_NS, NULL);
        if (all_back(s))
            return;
    }
    if (!s->result->violated)
        sim_violate(s, SIM_L1, "not everybody is a member again within 120 s");
}

void sim_members_create(struct sim *s)
{
    s->members = calloc(1, sizeof(*s->members));
    world_stream_init(s->world, &s->members->rng, "members", 0);
}

void sim_members_destroy(struct sim *s)
{
    free(s->members);
}
