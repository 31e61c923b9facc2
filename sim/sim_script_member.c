/* sim_script_member.c — scenarios in which members come and go at the worst moment. */
#include "sim_scenario.h"

enum { LONG = 60, QUICK = 4, ELECTION = 10, CHANGE = 40 };

/* What the conditions of sim_go look at: one server, one scenario at a time in a struct sim. */
static struct sim_server *watched(struct sim *s)
{
    return s->watched;
}

static const struct raft_member *member_in(const struct raft_view *view, const struct sim_server *v)
{
    raft_id id = wire_member_id(slice_str(v->name));

    for (uint32_t i = 0; i < view->conf->count; i++)
        if (view->conf->members[i].id == id)
            return &view->conf->members[i];
    return NULL;
}

/* As its leader has it in its log, committed or not. NULL: no leader, or no such member. */
static const struct raft_member *in_log(struct sim *s, bool *known, bool *committed)
{
    struct sim_server *leader = sim_leader(s);
    struct raft_view view;

    *known = leader != NULL;
    *committed = false;
    if (!leader)
        return NULL;
    raft_look(node_raft(leader->node), &view);
    *committed = view.conf_committed;
    return member_in(&view, watched(s));
}

static bool is_going(struct sim *s)
{
    bool known, committed;
    return !in_log(s, &known, &committed) && known;
}

static bool is_gone(struct sim *s)
{
    bool known, committed;
    return !in_log(s, &known, &committed) && known && committed;
}

static bool is_being_promoted(struct sim *s)
{
    bool known, committed;
    const struct raft_member *m = in_log(s, &known, &committed);
    return m && m->voter;
}

/* It counts, and it knows. */
static bool is_back(struct sim *s)
{
    struct sim_server *v = watched(s);
    const struct raft *r = v->node && v->open ? node_raft(v->node) : NULL;
    bool known, committed;
    const struct raft_member *m = in_log(s, &known, &committed);
    struct raft_view view;

    if (!r || !m || !committed || m->voter == v->plan->replica)
        return false;
    raft_look(r, &view);
    return view.am_member && view.am_voter == m->voter;
}

static void must_be_back(struct sim_stage *g, struct sim_server *v)
{
    g->sim->watched = v;
    if (!sim_stage_until(g, CHANGE, is_back) && !g->sim->result->violated)
        sim_violate(g->sim, SIM_L1, "%s is no member again within %d heartbeat timeouts", v->name,
                    CHANGE);
}

/* By the leader's order, until it is committed. */
static bool removed(struct sim_stage *g, struct sim_server *v)
{
    struct sim_server *leader = sim_stage_leader(g);

    g->sim->watched = v;
    if (!leader)
        return false;
    sim_member_remove(g->sim, leader, v);
    if (sim_stage_until(g, CHANGE, is_gone))
        return true;
    if (!g->sim->result->violated)
        sim_violate(g->sim, SIM_L1, "%s is not removed within %d heartbeat timeouts", v->name,
                    CHANGE);
    return false;
}

/* ---- promotion ------------------------------------------------------------------------------------------- */

/* The leader has promoted a learner, who does not know yet, and dies: without its vote there is no quorum
 * (etcd-io/etcd#10998). */
static void play_promoted(struct sim_stage *g, struct sim_server *leader)
{
    struct sim *s = g->sim;

    sim_stage_watch(g, sim_stage_all(g), ELECTION, 3);
    if (s->plan.seed % 2) { /* a leader that is new */
        sim_server_transfer(leader);
        sim_stage_pass(g, 4);
        leader = sim_stage_leader(g);
    }
    struct sim_server *learner = leader ? sim_stage_other(g, leader, 0) : NULL;
    if (!learner)
        return;
    g->through &= ~sim_stage_bit(learner);
    if (!removed(g, learner))
        return;
    sim_server_rejoin(learner);
    bool promoting = sim_go(s, CHANGE * g->unit_ns, is_being_promoted);
    if (!promoting || sim_leader(s) != leader)
        return;
    sim_stage_mute(g, leader, learner);
    for (uint32_t i = 0; i < 1000 && !is_back(s) && !s->result->violated;
         i++) { /* the others know */
        bool known, committed;
        (void)in_log(s, &known, &committed);
        if (committed)
            break;
        (void)sim_go(s, ENV_MS_NS / 10, NULL);
    }
    struct raft_view view;
    raft_look(node_raft(learner->node), &view);
    sim_stage_kill(g, leader);
    world_links_heal(s->world);
    if (!view.am_voter)
        sim_stage_met(g);
    sim_stage_watch(g, sim_stage_all(g) & ~sim_stage_bit(leader), ELECTION, 3);
    sim_stage_pass(g, LONG / 2);
    sim_stage_revive(g, leader);
}

static const struct sim_scenario promoted = {
    .name = "leader_dies_at_a_promotion",
    .text = "a learner counts as a voter and does not know yet when the leader dies",
    .nodes = 3,
    .play = play_promoted,
};

/* ---- reaping --------------------------------------------------------------------------------------------- */

static void plan_reaping(struct sim_plan *p)
{
    p->voter_count = p->seed % 3 == 0 ? p->node_count - 1 : p->node_count;
    for (uint32_t i = 0; i < p->node_count; i++) {
        p->nodes[i].replica = i >= p->voter_count;
        p->nodes[i].reap_voter_ms = 6 * p->heartbeat_timeout_ms;
        p->nodes[i].reap_replica_ms = 4 * p->heartbeat_timeout_ms;
    }
}

/* It comes back as the leader takes the decision, or a little earlier, or when that is committed. */
static void play_reaped(struct sim_stage *g, struct sim_server *leader)
{
    struct sim *s = g->sim;
    struct sim_server *dead = sim_stage_other(g, leader, 0);
    if (s->plan.voter_count < s->plan.node_count && leader->at + 1 != s->plan.node_count)
        dead = &s->servers[s->plan.node_count - 1]; /* the replica */
    uint64_t limit_ms =
        dead->plan->replica ? dead->plan->reap_replica_ms : dead->plan->reap_voter_ms;
    s->watched = dead;
    sim_stage_watch(g, sim_stage_all(g) & ~sim_stage_bit(dead), QUICK, 0);
    sim_stage_kill(g, dead);
    uint64_t died_ns = world_now_ns(s->world);
    if (s->plan.seed % 2) { /* a leader that has never heard it counts from its own beginning */
        sim_stage_watch(g, g->through, ELECTION, 3);
        sim_server_transfer(leader);
    }
    if (s->plan.seed % 4 == 0)
        (void)sim_go(s, limit_ms * ENV_MS_NS - prng_below(&g->rng, g->unit_ns / 4), NULL);
    else
        (void)sim_go(s, 3 * limit_ms * ENV_MS_NS,
                     prng_chance_ppm(&g->rng, 500000) ? is_going : is_gone);
    if (is_going(s) && world_now_ns(s->world) - died_ns < limit_ms * ENV_MS_NS * 95 / 100)
        sim_violate(s, SIM_L1, "%s was given up after %llu ms instead of %llu", dead->name,
                    (unsigned long long)((world_now_ns(s->world) - died_ns) / ENV_MS_NS),
                    (unsigned long long)limit_ms);
    sim_stage_revive(g, dead);
    sim_stage_pass(g, LONG / 3);
    if (is_gone(s))
        sim_stage_met(g);
    sim_server_rejoin(dead);
    must_be_back(g, dead);
    sim_stage_watch(g, sim_stage_all(g), QUICK, 0);
    sim_stage_pass(g, LONG / 3);
}

static const struct sim_scenario reaped = {
    .name = "reaped_as_it_returns",
    .text = "a dead node is back in the instant in which the leader gives it up",
    .nodes = 3,
    .plan = plan_reaping,
    .play = play_reaped,
};

/* ---- its own removal ------------------------------------------------------------------------------------- */

static void plan_retiring(struct sim_plan *p)
{
    for (uint32_t i = 0; i < p->node_count; i++) {
        p->nodes[i].remove_shutdown = true;
        p->nodes[i].snapshot_entries = 0;
        p->nodes[i].append_count_max = 1 + (uint32_t)(p->seed % 3);
    }
}

/* It meets its own removal in the log that it replays, and is a member all the same (RedisLabs/redisraft#2,
 * canonical/raft#407). */
static void play_readded(struct sim_stage *g, struct sim_server *leader)
{
    struct sim *s = g->sim;
    struct sim_server *who = sim_stage_other(g, leader, 0);
    sim_stage_watch(g, sim_stage_all(g) & ~sim_stage_bit(who), QUICK, 0);
    sim_stage_kill(g, who);
    if (!removed(g, who))
        return;
    sim_stage_pass(g, 3);
    if (s->plan.seed % 2)
        sim_wipe_server(s, who);
    sim_server_rejoin(who);
    sim_stage_revive(g, who);
    must_be_back(g, who);
    sim_stage_watch(g, sim_stage_all(g), QUICK, 0);
    sim_stage_pass(g, LONG / 3);
    sim_stage_met(g);
}

static const struct sim_scenario readded = {
    .name = "meets_its_own_removal",
    .text = "removed while it was down, it is added again, with its disk or without",
    .nodes = 3,
    .plan = plan_retiring,
    .play = play_readded,
};

/* Leader of a change that removes it: it dies before that is committed (microsoft/CCF#5919). */
static void play_removed_leader(struct sim_stage *g, struct sim_server *leader)
{
    struct sim *s = g->sim;

    s->watched = leader;
    sim_member_remove(s, leader, leader);
    if (!sim_go(s, CHANGE * g->unit_ns, is_going))
        return;
    (void)sim_go(s, prng_below(&g->rng, 1000) * 1000, NULL);
    if (sim_leader(s) == leader)
        sim_stage_met(g);
    sim_stage_kill(g, leader);
    sim_stage_watch(g, sim_stage_all(g) & ~sim_stage_bit(leader), ELECTION, 3);
    sim_stage_pass(g, LONG / 2);
    sim_server_rejoin(leader);
    sim_stage_revive(g, leader);
    must_be_back(g, leader);
}

static const struct sim_scenario removed_leader = {
    .name = "removed_leader_dies",
    .text = "the leader has ordered its own removal and dies before that is committed",
    .nodes = 3,
    .play = play_removed_leader,
};

/* ---- addresses --------------------------------------------------------------------------------------------- */

/* Each in turn comes back under another address. */
static void play_moved(struct sim_stage *g, struct sim_server *first)
{
    struct sim *s = g->sim;

    (void)first; /* whoever leads by then */
    for (uint32_t i = 0; i < s->plan.node_count && !s->result->violated; i++) {
        struct sim_server *v = &s->servers[(i + s->plan.seed) % s->plan.node_count];
        if (!sim_stage_leader(g))
            return;
        sim_stage_watch(g, sim_stage_all(g) & ~sim_stage_bit(v), ELECTION, 3);
        sim_stage_kill(g, v);
        sim_stage_pass(g, 3);
        sim_server_move(v);
        sim_stage_revive(g, v);
        must_be_back(g, v);
        sim_stage_watch(g, sim_stage_all(g), ELECTION, 3);
        sim_stage_pass(g, 3);
        sim_stage_met(g);
    }
}

static const struct sim_scenario moved = {
    .name = "every_address_changes",
    .text = "one node after the other restarts under another address",
    .nodes = 3,
    .play = play_moved,
};

/* ---- leaving ------------------------------------------------------------------------------------------------ */

static void plan_leaving(struct sim_plan *p)
{
    for (uint32_t i = 0; i < p->node_count; i++)
        p->nodes[i].leaves = true;
}

static bool is_down(struct sim *s)
{
    return !host_up(watched(s)->host);
}

/* All but one leave as they stop, the leader among them; who is left serves. */
static void play_leaving(struct sim_stage *g, struct sim_server *first)
{
    struct sim *s = g->sim;
    struct sim_server *gone[SIM_NODES_MAX];
    uint32_t left = sim_stage_all(g), count = 0;

    (void)first; /* whoever leads by then */
    while (count + 1 < s->plan.node_count && !s->result->violated) {
        struct sim_server *leader = sim_stage_leader(g);
        if (!leader)
            return;
        struct sim_server *v = leader;
        for (uint32_t k = 0; s->plan.seed % 2 && count == 0 && k == 0; k++)
            v = sim_stage_other(g, leader, 0);
        left &= ~sim_stage_bit(v);
        sim_stage_watch(g, left, ELECTION, 3);
        s->watched = v;
        sim_server_stop(v);
        v->dead_for_good = true;
        if (!sim_stage_until(g, CHANGE, is_gone))
            return;
        (void)sim_stage_until(g, CHANGE, is_down);
        gone[count++] = v;
        sim_stage_pass(g, 5);
        sim_stage_met(g);
    }
    for (uint32_t i = 0; i < count && !s->result->violated; i++) {
        sim_server_rejoin(gone[i]);
        sim_stage_revive(g, gone[i]);
        must_be_back(g, gone[i]);
    }
}

static const struct sim_scenario leaving = {
    .name = "all_but_one_leave",
    .text = "whoever stops leaves the cluster first, until one is left; then they come back",
    .nodes = 3,
    .plan = plan_leaving,
    .play = play_leaving,
};

const struct sim_scenario *const sim_scripts_of_members[] = {
    &promoted, &reaped, &readded, &removed_leader, &moved, &leaving, NULL};
