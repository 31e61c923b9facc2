/* sim_script_time.c — scenarios in which links come and go, or nodes miss what happened meanwhile. */
#include "sim_scenario.h"

enum { LONG = 60, QUICK = 3, ELECTION = 10, SECONDS = 60 };

/* ---- flapping -------------------------------------------------------------------------------------------- */

/* Long enough for nodes to find each other again. */
static uint32_t settling(const struct sim_stage *g)
{
    return (uint32_t)(3 * ENV_S_NS / g->unit_ns) + 1;
}

/* Of the three that flap one stays and two are cut off; all come back, and again. Who comes back disturbs nobody;
 * a leader is replaced only if it was among those cut off. */
static void play_flapping(struct sim_stage *g, struct sim_server *first)
{
    struct sim *s = g->sim;

    (void)first; /* whoever leads by then */
    for (uint32_t round = 0; round < 6 && !s->result->violated; round++) {
        struct sim_server *leader = sim_stage_leader(g);
        struct sim_server *away[2] = {NULL, NULL};
        uint32_t stays = (uint32_t)prng_below(&g->rng, 3), through = sim_stage_all(g);
        for (uint32_t k = 0, n = 0; leader && k < 3; k++) /* servers 0, 1, 2 flap */
            if (k != stays)
                away[n++] = &s->servers[k];
        for (uint32_t k = 0; leader && k < 2; k++) {
            sim_stage_isolate(g, away[k]);
            through &= ~sim_stage_bit(away[k]);
        }
        sim_stage_watch(g, through, ELECTION, leader == away[0] || leader == away[1] ? 3 : 0);
        sim_stage_pass(g, ELECTION);
        world_links_heal(s->world);
        sim_stage_watch(g, through, QUICK, 0);
        sim_stage_pass(g, settling(g));
        sim_stage_met(g);
    }
}

static const struct sim_scenario flapping = {
    .name = "three_of_five_flap",
    .text = "two are always there, of three others now this one, now that one, now all",
    .nodes = 5,
    .play = play_flapping,
};

/* ---- resets ------------------------------------------------------------------------------------------------ */

enum { RESET_EVERY_MS = 10, RESETS_LEAST = 200, LINE_LIVES_MS = 100 };

struct resets {
    struct sim *sim;
    struct sim_server *
        only; /* the lines of this one, as soon as they are dialled; NULL: all, once they are open */
    struct prng rng;
    uint64_t until_ns;
    uint64_t bytes[SIM_NODES_MAX][SIM_NODES_MAX]; /* where the next one breaks */
    struct line {
        uint64_t id, since_ns; /* of the connection */
    } lines[SIM_NODES_MAX][SIM_NODES_MAX];
};

/* For long enough that they have spoken? */
static bool connected(struct resets *r, const struct sim_server *a, const struct sim_server *b)
{
    struct line *l = a->at < b->at ? &r->lines[a->at][b->at] : &r->lines[b->at][a->at];
    uint64_t id = world_connection_between(r->sim->world, a->host, b->host);

    if (id != l->id)
        *l = (struct line){id, world_now_ns(r->sim->world)};
    return id && world_now_ns(r->sim->world) - l->since_ns >= LINE_LIVES_MS * ENV_MS_NS;
}

/* Each ordered pair of nodes loses its connection one byte later than the last time. */
static void reset_next(void *ctx)
{
    struct resets *r = ctx;
    struct sim *s = r->sim;
    uint32_t n = s->plan.node_count, from = (uint32_t)prng_below(&r->rng, n),
             to = (from + 1 + (uint32_t)prng_below(&r->rng, n - 1)) % n;
    struct sim_server *a = &s->servers[from], *b = &s->servers[to];

    if (world_now_ns(s->world) >= r->until_ns || s->faults_over)
        return;
    if (r->only ? a == r->only || b == r->only : connected(r, a, b))
        world_reset_after(s->world, a->host, b->host, r->bytes[from][to]++,
                          r->only ? (enum sim_net_learn)prng_below(&r->rng, 3) : SIM_LEARN_BOTH);
    world_after(s->world, RESET_EVERY_MS * ENV_MS_NS, reset_next, r);
}

static void plan_resets(struct sim_plan *p)
{
    p->heartbeat_timeout_ms = 1000;
}

static void play_resets(struct sim_stage *g, struct sim_server *leader)
{
    struct sim *s = g->sim;
    struct resets r = {.sim = s, .rng = g->rng, .only = sim_stage_other(g, leader, 0)};
    uint64_t before = world_fault_count(s->world, WORLD_FAULT_RESET);
    for (uint32_t half = 0; half < 2; half++) {
        uint32_t spared = half ? 0 : sim_stage_bit(r.only);
        r.until_ns = world_now_ns(s->world) + SECONDS / 2 * ENV_S_NS;
        reset_next(&r);
        sim_stage_watch(g, sim_stage_all(g) & ~spared, QUICK, 0);
        sim_stage_pass(g, SECONDS / 2 + 1);
        r.only = NULL;
    }
    if (world_fault_count(s->world, WORLD_FAULT_RESET) - before >= RESETS_LEAST &&
        sim_leader(s) == leader)
        sim_stage_met(g);
}

static const struct sim_scenario resets = {
    .name = "resets_at_every_byte",
    .text = "half a minute of resets for one follower's lines, half a minute for all, each time "
            "one byte later",
    .nodes = 3,
    .plan = plan_resets,
    .play = play_resets,
};

/* ---- left behind --------------------------------------------------------------------------------------------- */

static bool handed_over(struct sim *s)
{
    struct sim_server *v = sim_leader(s);
    struct raft_view view;

    if (!v)
        return false;
    raft_look(node_raft(v->node), &view);
    return !view.transferring && view.committed_in_term;
}

/* Terms go by without it; it comes back with an old one, and disturbs nobody (etcd-io/etcd#8243). */
static void play_left_behind(struct sim_stage *g, struct sim_server *leader)
{
    struct sim *s = g->sim;
    struct sim_server *alone = sim_stage_other(g, leader, 0);
    sim_stage_isolate(g, alone);
    for (uint32_t i = 0; i < 5 && !s->result->violated; i++) {
        sim_stage_watch(g, sim_stage_all(g) & ~sim_stage_bit(alone), ELECTION, 3);
        struct sim_server *now = sim_stage_leader(g);
        if (!now)
            return;
        sim_server_transfer(now);
        sim_stage_pass(g, 5);
        (void)sim_stage_until(g, ELECTION, handed_over);
    }
    world_links_heal(s->world);
    sim_stage_watch(g, sim_stage_all(g), ELECTION, 0);
    sim_stage_pass(g, LONG / 2);
    sim_stage_met(g);
}

static const struct sim_scenario left_behind = {
    .name = "left_behind_for_five_terms",
    .text = "one is cut off while leadership is handed over again and again, and comes back",
    .nodes = 3,
    .play = play_left_behind,
};

/* ---- what cannot be helped -------------------------------------------------------------------------------------- */

static bool anybody_leads(struct sim *s)
{
    return handed_over(s);
}

/* The only one linked to a quorum lacks what its voters hold: nobody can be elected. That is Raft's own limit; but
 * the term must rest meanwhile, and one healed link must do. */
static void play_constrained(struct sim_stage *g, struct sim_server *leader)
{
    struct sim *s = g->sim;
    struct sim_server *hub = sim_stage_other(g, leader, 0);
    sim_stage_isolate(g, hub);
    sim_stage_watch(g, sim_stage_all(g) & ~sim_stage_bit(hub), QUICK, 0);
    sim_stage_pass(g, 4);
    for (uint32_t i = 0; i < s->plan.node_count; i++)
        sim_stage_isolate(g, &s->servers[i]);
    for (uint32_t i = 0; i < s->plan.node_count; i++)
        if (&s->servers[i] != hub && &s->servers[i] != leader)
            sim_stage_mend(g, hub, &s->servers[i]);
    sim_stage_watch(g, 0, QUICK, 2);
    sim_stage_idle(g, LONG);
    if (!anybody_leads(s))
        sim_stage_met(g);
    struct sim_server *first = sim_stage_other(g, leader, 1),
                      *second = sim_stage_other(g, leader, 2);
    sim_stage_mend(g, first, second);
    sim_stage_watch(g, sim_stage_bit(hub) | sim_stage_bit(first) | sim_stage_bit(second),
                    2 * ELECTION, 6);
    sim_stage_pass(g, LONG / 2);
}

static const struct sim_scenario constrained = {
    .name = "only_the_oldest_log_is_linked",
    .text = "nobody can be elected until one link heals; the term rests meanwhile",
    .nodes = 5,
    .play = play_constrained,
};

/* ---- a leader that cannot, or may not --------------------------------------------------------------------------- */

static bool is_transferring(struct sim *s)
{
    struct sim_server *v = sim_leader(s);
    struct raft_view view;

    if (!v)
        return false;
    raft_look(node_raft(v->node), &view);
    return view.transferring;
}

/* Ordered to hand over to one that is cut off, it must go on by itself (hashicorp/raft#570). */
static void play_transfer_in_vain(struct sim_stage *g, struct sim_server *leader)
{
    struct sim *s = g->sim;
    struct sim_server *heir = sim_stage_other(g, leader, 0);
    sim_stage_isolate(g, heir);
    sim_stage_watch(g, sim_stage_all(g) & ~sim_stage_bit(heir), QUICK, 0);
    leader->heir = heir->name;
    for (uint32_t i = 0; i < 3 && !s->result->violated; i++) {
        sim_stage_pass(g, 2);
        sim_server_transfer(leader);
        if (sim_go(s, g->unit_ns, is_transferring))
            sim_stage_met(g);
        sim_stage_pass(g, ELECTION);
    }
}

static const struct sim_scenario transfer_in_vain = {
    .name = "handed_over_to_the_absent",
    .text = "the leader is ordered to hand over to a node that is cut off",
    .nodes = 3,
    .play = play_transfer_in_vain,
};

enum { STALL_S = 30 };

/* Its disk hangs, its heartbeats go on (etcd-io/etcd#12528, #15247): it hands over, and later finds itself deposed. */
static void play_stalled(struct sim_stage *g, struct sim_server *leader)
{
    struct sim *s = g->sim;
    struct sim_disk_config *c = sim_disk_config(host_disk(leader->host));
    c->faults.stall_min_ns = c->faults.stall_max_ns = STALL_S * ENV_S_NS;
    sim_disk_fail_once(host_disk(leader->host), SIM_ONCE_STALL, prng_below(&g->rng, 4));
    sim_stage_watch(g, sim_stage_all(g) & ~sim_stage_bit(leader), ELECTION, 3);
    sim_stage_pass(g, (uint32_t)(STALL_S * ENV_S_NS / g->unit_ns) + 1);
    if (sim_leader(s) != leader)
        sim_stage_met(g);
    sim_stage_watch(g, sim_stage_all(g) & ~sim_stage_bit(leader), ELECTION, 3);
    sim_stage_pass(g, ELECTION);
}

static const struct sim_scenario stalled = {
    .name = "leader_with_a_hanging_disk",
    .text = "one sync of the leader takes half a minute, its heartbeats go on",
    .nodes = 3,
    .play = play_stalled,
};

const struct sim_scenario *const sim_scripts_of_time[] = {
    &flapping, &resets, &left_behind, &constrained, &transfer_in_vain, &stalled, NULL};
