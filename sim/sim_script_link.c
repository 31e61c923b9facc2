/* sim_script_link.c — scenarios in which some hear some: links cut for good, in one direction or both.
 *
 * Pre-vote, stickiness and check-quorum together must keep a leader that reaches a quorum, replace one that does
 * not, and let the term rest. Each of the three alone has stopped a cluster somewhere. */
#include "sim_scenario.h"
#include <stdlib.h>
#include <string.h>

enum { LONG = 60, QUICK = 3, ELECTION = 10 };

/* Nobody writes, in half of the seeds: then all logs are alike, and only who hears a leader refuses to vote. */
static void plan_quiet(struct sim_plan *p)
{
    if (p->seed % 2)
        p->client_count = 0;
}

static void pass_quietly(struct sim_stage *g)
{
    if (g->sim->plan.client_count == 0)
        sim_stage_idle(g, LONG);
    sim_stage_pass(g, g->sim->plan.client_count ? LONG : QUICK);
}

/* ---- both directions ------------------------------------------------------------------------------------- */

static void play_november(struct sim_stage *g, struct sim_server *leader)
{
    struct sim *s = g->sim;
    struct sim_server *blind = sim_stage_other(g, leader, 0);
    sim_stage_cut(g, leader, blind);
    sim_stage_watch(g, sim_stage_all(g) & ~sim_stage_bit(blind), QUICK, 0);
    pass_quietly(g);
    if (sim_leader(s) == leader)
        sim_stage_met(g);
}

static const struct sim_scenario november = {
    .name = "november_2020",
    .text = "leader and one of two followers do not hear each other, both hear the third; nothing "
            "heals",
    .nodes = 3,
    .plan = plan_quiet,
    .play = play_november,
};

static void play_leader_dies(struct sim_stage *g, struct sim_server *leader)
{
    struct sim *s = g->sim;
    struct sim_server *blind = sim_stage_other(g, leader, 0);
    sim_stage_cut(g, leader, blind);
    sim_stage_watch(g, sim_stage_all(g) & ~sim_stage_bit(blind), QUICK, 0);
    sim_stage_pass(g, 5 + (uint32_t)(s->plan.seed % 5));
    sim_stage_kill(g, leader);
    sim_stage_watch(g, sim_stage_all(g) & ~sim_stage_bit(leader), ELECTION, 3);
    sim_stage_pass(g, LONG);
    sim_stage_met(g);
    sim_stage_revive(g, leader);
}

static const struct sim_scenario leader_dies = {
    .name = "leader_dies_behind_a_cut_link",
    .text = "one follower has long missed the leader, the other just heard it when it dies",
    .nodes = 3,
    .play = play_leader_dies,
};

/* Howard and Abraham, "Raft does not guarantee liveness in the face of network faults", first example. */
static void play_two_outside(struct sim_stage *g, struct sim_server *three)
{
    struct sim *s = g->sim;
    struct sim_server *one = sim_stage_other(g, three, 0), *two = sim_stage_other(g, three, 1),
                      *four = sim_stage_other(g, three, 2), *five = sim_stage_other(g, three, 3);
    sim_stage_isolate(g, four);
    sim_stage_isolate(g, five);
    sim_stage_mend(g, four, two);
    sim_stage_mend(g, five, three);
    sim_stage_watch(g, sim_stage_bit(one) | sim_stage_bit(two) | sim_stage_bit(three), QUICK, 0);
    pass_quietly(g);
    if (sim_leader(s) == three)
        sim_stage_met(g);
}

static const struct sim_scenario two_outside = {
    .name = "two_outside_with_one_link_each",
    .text = "three hear each other; the fourth hears one of them, the fifth another",
    .nodes = 5,
    .plan = plan_quiet,
    .play = play_two_outside,
};

/* The same, second example: who still hears the useless leader must not keep it in office. */
static void play_all_but_one(struct sim_stage *g, struct sim_server *leader)
{
    struct sim *s = g->sim;
    struct sim_server *witness = sim_stage_other(g, leader, 0),
                      *dead = sim_stage_other(g, leader, 3);
    sim_stage_kill(g, dead);
    sim_stage_isolate(g, leader);
    sim_stage_mend(g, leader, witness);
    sim_stage_watch(g, sim_stage_all(g) & ~sim_stage_bit(leader) & ~sim_stage_bit(dead), ELECTION,
                    3);
    sim_stage_pass(g, LONG);
    if (sim_leader(s) != leader)
        sim_stage_met(g);
    sim_stage_revive(g, dead);
}

static const struct sim_scenario all_but_one = {
    .name = "leader_cut_from_all_but_one",
    .text = "the leader hears one of four, another is dead: who hears both must let it go",
    .nodes = 5,
    .play = play_all_but_one,
};

/* Only one of five is linked to a quorum, and it does not lead (Omni-Paxos, EuroSys 2023, "quorum loss"). */
static void play_star(struct sim_stage *g, struct sim_server *leader)
{
    struct sim *s = g->sim;
    struct sim_server *hub = sim_stage_other(g, leader, 0);
    for (uint32_t i = 0; i < s->plan.node_count; i++)
        if (i != hub->at)
            sim_stage_isolate(g, &s->servers[i]);
    for (uint32_t i = 0; i < s->plan.node_count; i++)
        if (i != hub->at)
            sim_stage_mend(g, hub, &s->servers[i]);
    sim_stage_watch(g, sim_stage_all(g), ELECTION, 3);
    sim_stage_pass(g, LONG);
    if (sim_leader(s) == hub)
        sim_stage_met(g);
}

static const struct sim_scenario star = {
    .name = "all_links_but_those_of_one",
    .text = "four of five hear the fifth alone, which did not lead: it must",
    .nodes = 5,
    .play = play_star,
};

/* ---- one direction ------------------------------------------------------------------------------------------- */

/* Nothing from these servers reaches those. */
static void silence(struct sim_stage *g, uint32_t from, uint32_t to)
{
    struct sim *s = g->sim;

    for (uint32_t i = 0; i < s->plan.node_count; i++)
        for (uint32_t k = 0; k < s->plan.node_count; k++)
            if (i != k && from >> i & 1 && to >> k & 1)
                sim_stage_mute(g, &s->servers[i], &s->servers[k]);
}

/* Another takes its place. */
static void play_one_way_leader(struct sim_stage *g, struct sim_server *leader, bool deaf)
{
    uint32_t bit = sim_stage_bit(leader), others = sim_stage_all(g) & ~bit;
    silence(g, deaf ? others : bit, deaf ? bit : others);
    sim_stage_watch(g, others, ELECTION, 3);
    sim_stage_pass(g, LONG);
    if (sim_leader(g->sim) != leader)
        sim_stage_met(g);
}

static void play_deaf_leader(struct sim_stage *g, struct sim_server *leader)
{
    play_one_way_leader(g, leader, true);
}

static const struct sim_scenario deaf_leader = {
    .name = "deaf_leader",
    .text = "the leader is heard by all and hears nobody",
    .nodes = 3,
    .play = play_deaf_leader,
};

static void play_mute_leader(struct sim_stage *g, struct sim_server *leader)
{
    play_one_way_leader(g, leader, false);
}

static const struct sim_scenario mute_leader = {
    .name = "mute_leader",
    .text = "the leader hears all and is heard by nobody",
    .nodes = 5,
    .play = play_mute_leader,
};

/* One link, in one direction; the others serve on under the same leader. */
static void play_one_link(struct sim_stage *g, struct sim_server *leader, bool to_follower)
{
    struct sim *s = g->sim;
    struct sim_server *follower = sim_stage_other(g, leader, 0);
    sim_stage_mute(g, to_follower ? leader : follower, to_follower ? follower : leader);
    sim_stage_watch(g, sim_stage_all(g) & ~sim_stage_bit(follower), QUICK, 0);
    pass_quietly(g);
    if (sim_leader(s) == leader)
        sim_stage_met(g);
}

static void play_leader_to_follower(struct sim_stage *g, struct sim_server *leader)
{
    play_one_link(g, leader, true);
}

static void play_follower_to_leader(struct sim_stage *g, struct sim_server *leader)
{
    play_one_link(g, leader, false);
}

static const struct sim_scenario leader_to_follower = {
    .name = "one_way_leader_to_follower",
    .text = "one follower no longer hears the leader, which hears it ask for votes",
    .nodes = 3,
    .plan = plan_quiet,
    .play = play_leader_to_follower,
};
static const struct sim_scenario follower_to_leader = {
    .name = "one_way_follower_to_leader",
    .text = "the leader no longer hears one follower, which hears it",
    .nodes = 3,
    .plan = plan_quiet,
    .play = play_follower_to_leader,
};

/* It hears nobody and asks everybody for votes. */
static void play_deaf_follower(struct sim_stage *g, struct sim_server *leader)
{
    struct sim *s = g->sim;
    uint32_t bit = sim_stage_bit(sim_stage_other(g, leader, 0)), others = sim_stage_all(g) & ~bit;
    silence(g, others, bit);
    sim_stage_watch(g, others, QUICK, 0);
    sim_stage_pass(g, LONG / 2);
    world_links_heal(s->world);
    sim_stage_watch(g, others, QUICK, 0);
    sim_stage_pass(g, LONG / 2);
    if (sim_leader(s) == leader)
        sim_stage_met(g);
}

static const struct sim_scenario deaf_follower = {
    .name = "deaf_follower",
    .text = "a follower hears nobody, is heard by all, and hears again",
    .nodes = 3,
    .play = play_deaf_follower,
};

/* ---- who waits meanwhile --------------------------------------------------------------------------------------- */

/* It has taken a write that it cannot commit: whoever waits for it is told that it stepped down. */
static void play_deposed(struct sim_stage *g, struct sim_server *leader)
{
    struct sim *s = g->sim;
    int status = 0;

    sim_stage_watch(g, 0, QUICK, 3);
    sim_stage_isolate(g, leader);
    uint64_t asked_ns = world_now_ns(s->world);
    char *answer = sim_ask(s, leader, "POST", "/db/execute?timeout=60s",
                           "[\"UPDATE kv SET v=v WHERE k=-1\"]", LONG * g->unit_ns, &status);
    sim_evaluated(s, SIM_L2);
    if (!s->result->violated && (!answer || world_now_ns(s->world) - asked_ns > QUICK * g->unit_ns))
        sim_violate(s, SIM_L2,
                    "%s did not tell who waited within %d heartbeat timeouts that it leads no more",
                    leader->name, QUICK);
    if (answer && strstr(answer, "\"error\""))
        sim_stage_met(g);
    free(answer);
    sim_stage_idle(g, LONG / 3);
}

static const struct sim_scenario deposed = {
    .name = "cut_off_leader_answers",
    .text = "the leader hears nobody any more; who waits for a write hears of it",
    .nodes = 3,
    .play = play_deposed,
};

const struct sim_scenario *const sim_scripts_of_links[] = {
    &november,    &leader_dies,        &two_outside,        &all_but_one,   &star,    &deaf_leader,
    &mute_leader, &leader_to_follower, &follower_to_leader, &deaf_follower, &deposed, NULL,
};
