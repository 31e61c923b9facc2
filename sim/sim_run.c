/* sim_run.c — one seed: form a cluster ─► clients and faults ─► heal ─► clients stop ─► judgement. */
#include "sim_run.h"
#include <rq/util/assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const oracle_names[SIM_ORACLE_COUNT] = {
#define ORACLE_NAME_(name, text) #name,
    SIM_ORACLE_TABLE(ORACLE_NAME_)
#undef ORACLE_NAME_
};
static const char *const oracle_texts[SIM_ORACLE_COUNT] = {
#define ORACLE_TEXT_(name, text) text,
    SIM_ORACLE_TABLE(ORACLE_TEXT_)
#undef ORACLE_TEXT_
};

const char *sim_oracle_name(enum sim_oracle o)
{
    return oracle_names[o];
}

const char *sim_oracle_text(enum sim_oracle o)
{
    return oracle_texts[o];
}

void sim_violate(struct sim *s, enum sim_oracle o, const char *fmt, ...)
{
    va_list args;

    if (s->result->violated)
        return;
    s->result->violated = true;
    s->result->oracle = o;
    va_start(args, fmt);
    (void)vsnprintf(s->result->text, sizeof(s->result->text), fmt, args);
    va_end(args);
    world_trace(s->world, "VIOLATION %s: %s", oracle_names[o], s->result->text);
}

bool sim_after_event(struct sim *s)
{
    sim_raft_look(s);
    sim_promises_check(s);
    return !s->result->violated;
}

struct going {
    struct sim *sim;
    bool (*met)(struct sim *s);
    bool held;
};

static bool going_unmet(void *ctx)
{
    struct going *g = ctx;

    if (!sim_after_event(g->sim))
        return false;
    g->held = g->met && g->met(g->sim);
    return !g->held;
}

bool sim_go(struct sim *s, uint64_t ns, bool (*met)(struct sim *s))
{
    struct going g = {.sim = s, .met = met};

    if (s->result->violated)
        return false;
    (void)world_run_while(s->world, ns, going_unmet, &g);
    return g.held;
}

/* ---- phases ------------------------------------------------------------------------------------------------ */

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
    return voters == s->plan.node_count && view.conf_committed;
}

static void make_tables(struct sim *s)
{
    static const char body[] = "[\"CREATE TABLE kv(k INTEGER PRIMARY KEY, v INTEGER)\","
                               "\"CREATE TABLE ledger(op INTEGER, r INTEGER, t TEXT)\"]";
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
    sim_nemesis_begin(s);
    (void)sim_go(s, s->plan.fault_ns, NULL);
}

static void phase_heal(struct sim *s)
{
    sim_nemesis_heal(s);
    s->faults_over = true;
    if (s->plan.maimed)
        sim_state_maimed(s);
    (void)sim_go(s, 3 * ENV_S_NS, NULL);
    s->stop_clients = true;
    (void)sim_go(s, s->plan.client_timeout_ns + ENV_S_NS, NULL); /* every operation ends */
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
    world_destroy(s->world);
    sim_clients_destroy(s);
    sim_nemesis_destroy(s);
    for (uint32_t i = 0; i < SIM_KEYS_MAX; i++)
        sim_history_destroy(s->histories[i]);
    free(s);
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
    sim_raft_watch_create(s);
    sim_nemesis_create(s);
    sim_cluster_create(s);
    sim_promises_create(s);
    phase_form(s);
    if (!out->violated)
        phase_faults(s);
    if (!out->violated)
        phase_heal(s);
    finish(s);
}
