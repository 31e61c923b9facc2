/* sim_run.c — one seed: form a cluster ─► clients and faults ─► heal ─► clients stop ─► judgement. */
#include "sim_scenario.h"
#include <stdlib.h>
#include <string.h>

static bool formed(struct sim *s)
{
    struct sim_server *v = sim_leader(s);
    struct raft_view view;
    uint32_t voters = 0;

    if (!v)
        return false;
    raft_look(node_raft(v->node), &view);
    for (uint32_t i = 0; i < view.conf->count; i++)
        voters += view.conf->members[i].voter;
    return voters == s->plan.voter_count && view.conf->count == s->plan.node_count &&
           view.conf_committed;
}

static void make_tables(struct sim *s)
{
    static const char body[] =
        "[\"CREATE TABLE kv(k INTEGER PRIMARY KEY, v INTEGER)\","
        "\"CREATE TABLE ledger(n INTEGER PRIMARY KEY, op INTEGER, r INTEGER, t TEXT)\"]";
    int status = 0;
    char *answer = sim_ask(s, sim_leader(s), "POST", "/db/execute", body, 30 * ENV_S_NS, &status);

    if (!answer || status != 200 || strstr(answer, "\"error\""))
        sim_violate(s, SIM_L1, "the tables could not be made: %.200s",
                    answer ? answer : "no answer");
    free(answer);
}

static void phase_form(struct sim *s)
{
    for (uint32_t i = 0; i < s->plan.node_count; i++)
        sim_server_start(&s->servers[i]);
    if (!sim_go(s, 120 * ENV_S_NS, formed))
        sim_violate(s, SIM_L1, "no cluster of %u nodes within 120 s", s->plan.node_count);
    if (!s->result->violated)
        make_tables(s);
}

static void phase_faults(struct sim *s)
{
    sim_clients_create(s);
    sim_loader_create(s);
    sim_saver_create(s);
    if (s->plan.scenario) {
        sim_stage_play(s, s->plan.scenario);
        return;
    }
    sim_nemesis_begin(s);
    (void)sim_go(s, s->plan.fault_ns, NULL);
}

static void phase_heal(struct sim *s)
{
    sim_nemesis_heal(s);
    s->faults_over = true;
    sim_members_heal(s);
    if (s->plan.maimed)
        sim_state_maimed(s);
    sim_scene_busy(s);
    (void)sim_go(s, 3 * ENV_S_NS, NULL);
    s->stop_clients = true;
    (void)sim_go(s, s->plan.client_timeout_ns + ENV_S_NS, NULL); /* every operation ends */
    sim_scene_quiet(s);
    sim_state_final(s);
}

static void finish(struct sim *s)
{
    struct sim_result *r = s->result;

    r->virtual_ns = world_now_ns(s->world);
    r->events = world_events(s->world);
    r->hash = world_hash(s->world);
    for (int i = 0; i < WORLD_FAULT_COUNT; i++)
        r->faults[i] = world_fault_count(s->world, (enum world_fault)i);
    sim_promises_destroy(s);
    sim_raft_watch_destroy(s);
    sim_confs_destroy(s);
    sim_shadows_destroy(s);
    world_destroy(s->world);
    sim_clients_destroy(s);
    sim_loader_destroy(s);
    sim_saver_destroy(s);
    sim_asker_destroy(s);
    sim_members_destroy(s);
    sim_departs_destroy(s);
    sim_ambush_destroy(s);
    sim_duel_destroy(s);
    sim_wipe_destroy(s);
    sim_scene_destroy(s);
    sim_nemesis_destroy(s);
    for (uint32_t i = 0; i < SIM_KEYS_MAX; i++)
        sim_history_destroy(s->histories[i]);
    free(s);
}

static void campaigned(struct sim *s, struct sim_server *v, uint64_t term)
{
    sim_duel_campaigned(s, v, term);
    sim_ambush_campaigned(s, v, term);
}

static void hooks_set(struct sim *s)
{
    s->ended = sim_nemesis_ended;
    s->campaigned = campaigned;
    s->voted = sim_duel_voted;
    s->acked = sim_ambush_acked;
    s->led = sim_ambush_led;
    s->committed = sim_ambush_committed;
    s->agent_done = sim_ambush_agent_done;
}

void sim_run(const struct sim_plan *plan, struct sim_result *out)
{
    struct sim *s = calloc(1, sizeof(*s));

    memset(out, 0, sizeof(*out));
    s->plan = *plan;
    s->result = out;
    s->world = world_create(&plan->world);
    for (uint32_t i = 0; i < SIM_KEYS_MAX; i++)
        s->histories[i] = sim_history_create();
    sim_shadows_create(s);
    sim_raft_watch_create(s);
    sim_confs_create(s);
    sim_nemesis_create(s);
    sim_duel_create(s);
    sim_ambush_create(s);
    sim_wipe_create(s);
    sim_scene_create(s);
    sim_members_create(s);
    sim_departs_create(s);
    hooks_set(s);
    sim_cluster_create(s);
    sim_asker_create(s);
    sim_promises_create(s);
    phase_form(s);
    if (!out->violated)
        phase_faults(s);
    if (!out->violated)
        phase_heal(s);
    finish(s);
}
