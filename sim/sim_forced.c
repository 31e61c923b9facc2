/* sim_forced.c — a scene: the power fails everywhere, and the operator brings back some of the nodes by
 * raft/peers.json.
 *
 *   all lose power ─► whoever's log is the most advanced, alone, with all, or with some whose log is the same, gets a
 *   peers.json and starts ─► it serves ─► the disks of those that were left out are emptied; they join ─► all are
 *   members again
 *
 * The most advanced log among the voters holds everything that was acknowledged, so that nothing may be missing
 * afterwards: all oracles go on over it. What a former cluster did in its later terms the new one may not know; the
 * tables of R1, R3, R7 and R12 begin anew (sim_raft_forced). Called by sim_scene.c. */
#include "sim_run.h"
#include <rq/util/assert.h>
#include <stdio.h>
#include <string.h>

enum { SERVES_WITHIN_S = 60, BACK_WITHIN_S = 120 };

/* ---- who is brought back ------------------------------------------------------------------------------------ */

struct end_of_log {
    uint64_t term, index;
};

/* What a start would find. */
static bool end_of(struct sim *s, struct sim_server *v, struct end_of_log *out)
{
    const struct sim_shadow *x = sim_shadow_take(s, v);

    if (x->rc)
        return false;
    out->index = x->last_index > x->image_index ? x->last_index : x->image_index;
    out->term = out->index >= x->first_index && out->index <= x->last_index && x->last_index
                    ? x->terms[out->index]
                    : sim_raft_committed_term(s, out->index);
    return true;
}

/* Whoever can be elected by some of those chosen must hold everything. */
static bool is_level(struct sim *s, struct sim_server *v, struct sim_server *first)
{
    struct end_of_log end, best;

    return v->plan->replica || (end_of(s, v, &end) && end_of(s, first, &best) &&
                                end.term == best.term && end.index >= best.index);
}

/* NULL: somebody's disk cannot be read. */
static struct sim_server *most_advanced(struct sim *s)
{
    struct end_of_log best = {0, 0}, end;
    struct sim_server *found = NULL;

    for (uint32_t i = 0; i < s->plan.voter_count; i++) {
        if (!end_of(s, &s->servers[i], &end))
            return NULL;
        if (end.term > best.term || (end.term == best.term && end.index > best.index)) {
            best = end;
            found = &s->servers[i];
        }
    }
    return found;
}

/* ---- the file -------------------------------------------------------------------------------------------------- */

static void file_put(struct sim *s, const bool *chosen)
{
    char text[SIM_NODES_MAX * 100] = "[";
    size_t len = 1;

    for (uint32_t i = 0; i < s->plan.node_count; i++) {
        const struct sim_server *v = &s->servers[i];
        if (chosen[i])
            len += (size_t)snprintf(text + len, sizeof(text) - len,
                                    "%s{\"id\": \"%s\", \"address\": \"%s\"%s}",
                                    len > 1 ? ",\n " : "", v->name, v->raft_addr,
                                    v->plan->replica ? ", \"non_voter\": true" : "");
    }
    len += (size_t)snprintf(text + len, sizeof(text) - len, "]\n");
    ASSERT(len < sizeof(text));
    for (uint32_t i = 0; i < s->plan.node_count; i++)
        if (chosen[i])
            sim_disk_file_put(host_disk(s->servers[i].host), "data/raft/peers.json", text, len);
}

/* ---- down and up ------------------------------------------------------------------------------------------------- */

static void all_down(struct sim *s)
{
    for (uint32_t i = 0; i < s->plan.node_count; i++) {
        s->servers[i].dead_for_good = true; /* nobody starts it meanwhile */
        if (host_up(s->servers[i].host))
            host_crash(s->servers[i].host, HOST_CRASH_POWER);
    }
    (void)sim_go(s, ENV_S_NS, NULL);
}

static void start(struct sim *s, struct sim_server *v, bool chosen)
{
    if (!chosen) {
        sim_disk_wipe(host_disk(v->host));
        sim_raft_forgot(s, v);
        v->bootstrap = false;
        v->wiped = true;
    }
    v->dead_for_good = false;
    sim_server_start(v);
}

static bool somebody_leads(struct sim *s)
{
    return sim_leader(s) != NULL;
}

static bool all_are_back(struct sim *s)
{
    struct sim_server *leader = sim_leader(s);
    struct raft_view view;
    uint32_t there = 0;

    if (!leader)
        return false;
    raft_look(node_raft(leader->node), &view);
    for (uint32_t i = 0; i < s->plan.node_count; i++)
        for (uint32_t k = 0; k < view.conf->count; k++)
            there += view.conf->members[k].id == wire_member_id(slice_str(s->servers[i].name)) &&
                     view.conf->members[k].voter == !s->servers[i].plan->replica;
    return there == s->plan.node_count && view.conf_committed;
}

static void chosen_draw(struct sim *s, struct sim_server *first, bool *chosen)
{
    struct prng r;

    prng_init(&r, prng_mix(s->plan.seed, 0x666f7263U));
    uint64_t more = prng_below(&r, 3); /* alone, perhaps others, all */
    for (uint32_t i = 0; i < s->plan.node_count; i++)
        chosen[i] =
            &s->servers[i] == first || more == 2 ||
            (more == 1 && prng_chance_ppm(&r, 400000) && is_level(s, &s->servers[i], first));
}

void sim_forced_play(struct sim *s)
{
    bool chosen[SIM_NODES_MAX];

    all_down(s);
    struct sim_server *first = most_advanced(s);
    bool forced = first != NULL;
    for (uint32_t i = 0; i < s->plan.node_count; i++)
        chosen[i] = true;
    if (forced) {
        chosen_draw(s, first, chosen);
        file_put(s, chosen);
        sim_raft_forced(s);
        world_trace(s->world, "forced: %s is the most advanced", first->name);
    }
    for (uint32_t i = 0; i < s->plan.node_count; i++)
        if (chosen[i])
            start(s, &s->servers[i], true);
    sim_evaluated(s, SIM_L1);
    if (!sim_go(s, SERVES_WITHIN_S * ENV_S_NS, somebody_leads) && !s->result->violated)
        sim_violate(s, SIM_L1, "nobody leads within %d s of a recovery by peers.json",
                    SERVES_WITHIN_S);
    for (uint32_t i = 0; i < s->plan.node_count; i++)
        if (!chosen[i])
            start(s, &s->servers[i], false);
    if (!sim_go(s, BACK_WITHIN_S * ENV_S_NS, all_are_back) && !s->result->violated)
        sim_violate(s, SIM_L1, "not everybody is a member within %d s of a recovery",
                    BACK_WITHIN_S);
    for (uint32_t i = 0; i < s->plan.node_count; i++)
        s->servers[i].wiped = false;
    s->result->scenes[SIM_SCENE_FORCED] += forced;
}
