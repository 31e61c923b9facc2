/* sim_stage.c — what the scripts of scenarios are made of: somebody who writes all the time, a count of terms,
 * links and deaths. */
#include "sim_scenario.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PAUSES_PER_UNIT = 20, FORM_UNITS = 60 };

static void stage_set(struct sim_stage *g, struct sim *s)
{
    memset(g, 0, sizeof(*g));
    g->sim = s;
    g->unit_ns = s->plan.heartbeat_timeout_ms * ENV_MS_NS;
    g->term_then = sim_stage_term(s);
    g->terms_max = UINT64_MAX;
    world_stream_init(s->world, &g->rng, "stage", 0);
}

/* ---- terms --------------------------------------------------------------------------------------------- */

uint64_t sim_stage_term(struct sim *s)
{
    uint64_t highest = 0;

    for (uint32_t i = 0; i < s->plan.node_count; i++) {
        const struct sim_server *v = &s->servers[i];
        const struct raft *r = v->node && v->open ? node_raft(v->node) : NULL;
        struct raft_view view;
        if (!r)
            continue;
        raft_look(r, &view);
        if (view.hard.term > highest)
            highest = view.hard.term;
    }
    return highest;
}

static void judge_terms(struct sim_stage *g)
{
    struct sim_script_result *r = &g->sim->result->script;
    uint64_t now = sim_stage_term(g->sim);
    uint64_t changes = now > g->term_then ? now - g->term_then : 0;

    sim_evaluated(g->sim, SIM_L4);
    if (changes > r->terms)
        r->terms = changes;
    if (changes > g->terms_max)
        sim_violate(g->sim, SIM_L4, "%llu changes of term, %llu would be enough",
                    (unsigned long long)changes, (unsigned long long)g->terms_max);
}

/* ---- writing ------------------------------------------------------------------------------------------- */

/* One attempt through one server; no longer than a few heartbeat timeouts. */
static bool writes(struct sim_stage *g, struct sim_server *v)
{
    static const char body[] = "[\"UPDATE kv SET v=v WHERE k=-1\"]";
    char target[64];
    int status = 0;

    (void)snprintf(target, sizeof(target), "/db/execute?timeout=%llums",
                   (unsigned long long)(2 * g->unit_ns / ENV_MS_NS));
    char *answer = sim_ask(g->sim, v, "POST", target, body, 2 * g->unit_ns, &status);
    bool ok = answer && status == 200 && !strstr(answer, "\"error\"");
    free(answer);
    return ok;
}

static void judge_wait(struct sim_stage *g, uint64_t since_ns)
{
    struct sim_script_result *r = &g->sim->result->script;
    uint64_t waited = world_now_ns(g->sim->world) - since_ns;

    sim_evaluated(g->sim, SIM_L1);
    if (waited > r->wait_ns)
        r->wait_ns = waited;
    if (waited > g->wait_max * g->unit_ns)
        sim_violate(g->sim, SIM_L1, "no write for %llu ms, %llu at most were to be expected",
                    (unsigned long long)(waited / ENV_MS_NS),
                    (unsigned long long)(g->wait_max * g->unit_ns / ENV_MS_NS));
}

/* The next server in turn that must be able to write. */
static struct sim_server *next(struct sim_stage *g, uint32_t *turn)
{
    do
        *turn = (*turn + 1) % g->sim->plan.node_count;
    while (!(g->through >> *turn & 1));
    return &g->sim->servers[*turn];
}

static bool stage_write(struct sim_stage *g, uint64_t until_ns, bool (*met)(struct sim *s))
{
    struct sim *s = g->sim;
    uint64_t last_ns = world_now_ns(s->world);
    uint32_t turn = (uint32_t)prng_below(&g->rng, s->plan.node_count);
    struct sim_server *v = g->through ? next(g, &turn) : NULL;

    while (world_now_ns(s->world) < until_ns && !s->result->violated && !(met && met(s))) {
        if (v && writes(g, v)) {
            judge_wait(g, last_ns);
            last_ns = world_now_ns(s->world);
            v = next(g, &turn);
            s->result->script.writes++;
        } else if (v) {
            judge_wait(g, last_ns);
            v = next(g, &turn);
        }
        judge_terms(g);
        (void)sim_go(s, g->unit_ns / PAUSES_PER_UNIT, met);
    }
    return met && !s->result->violated && met(s);
}

void sim_stage_watch(struct sim_stage *g, uint32_t through, uint32_t wait_max, uint64_t terms_max)
{
    struct sim_script_result *r = &g->sim->result->script;

    g->through = through;
    g->wait_max = wait_max;
    g->terms_max = terms_max;
    g->term_then = sim_stage_term(g->sim);
    if (wait_max * g->unit_ns > r->wait_allowed_ns)
        r->wait_allowed_ns = wait_max * g->unit_ns;
    if (terms_max > r->terms_allowed)
        r->terms_allowed = terms_max;
}

void sim_stage_pass(struct sim_stage *g, uint32_t units)
{
    (void)stage_write(g, world_now_ns(g->sim->world) + units * g->unit_ns, NULL);
}

bool sim_stage_until(struct sim_stage *g, uint32_t units, bool (*met)(struct sim *s))
{
    return stage_write(g, world_now_ns(g->sim->world) + units * g->unit_ns, met);
}

void sim_stage_idle(struct sim_stage *g, uint32_t units)
{
    (void)sim_go(g->sim, units * g->unit_ns, NULL);
    judge_terms(g);
}

void sim_stage_met(struct sim_stage *g)
{
    g->sim->result->script.met++;
}

/* ---- who ------------------------------------------------------------------------------------------------- */

static bool led(struct sim *s)
{
    struct sim_server *v = sim_leader(s);
    struct raft_view view;

    if (!v)
        return false;
    raft_look(node_raft(v->node), &view);
    return view.committed_in_term && view.conf_committed;
}

struct sim_server *sim_stage_leader(struct sim_stage *g)
{
    if (!led(g->sim) && !sim_go(g->sim, FORM_UNITS * g->unit_ns, led))
        sim_violate(g->sim, SIM_L1, "nobody leads");
    return g->sim->result->violated ? NULL : sim_leader(g->sim);
}

void sim_stage_play(struct sim *s, const struct sim_scenario *sc)
{
    struct sim_stage g;

    stage_set(&g, s);
    struct sim_server *leader = sim_stage_leader(&g);
    if (leader)
        sc->play(&g, leader);
}

struct sim_server *sim_stage_other(const struct sim_stage *g, const struct sim_server *v,
                                   uint32_t k)
{
    uint32_t n = g->sim->plan.node_count;
    uint32_t turn = (uint32_t)(g->sim->plan.seed % (n - 1));

    return &g->sim->servers[(v->at + 1 + (turn + k) % (n - 1)) % n];
}

uint32_t sim_stage_all(const struct sim_stage *g)
{
    return (UINT32_C(1) << g->sim->plan.node_count) - 1;
}

/* ---- what happens to them ---------------------------------------------------------------------------------- */

void sim_stage_mute(struct sim_stage *g, const struct sim_server *from, const struct sim_server *to)
{
    world_link_set(g->sim->world, from->host, to->host, false);
}

void sim_stage_cut(struct sim_stage *g, const struct sim_server *a, const struct sim_server *b)
{
    sim_stage_mute(g, a, b);
    sim_stage_mute(g, b, a);
}

void sim_stage_mend(struct sim_stage *g, const struct sim_server *a, const struct sim_server *b)
{
    world_link_set(g->sim->world, a->host, b->host, true);
    world_link_set(g->sim->world, b->host, a->host, true);
}

void sim_stage_isolate(struct sim_stage *g, const struct sim_server *v)
{
    for (uint32_t i = 0; i < g->sim->plan.node_count; i++)
        if (i != v->at)
            sim_stage_cut(g, v, &g->sim->servers[i]);
}

void sim_stage_kill(struct sim_stage *g, struct sim_server *v)
{
    v->dead_for_good = true; /* nobody starts it again */
    host_crash(v->host, prng_chance_ppm(&g->rng, 500000) ? HOST_CRASH_POWER : HOST_CRASH_PROCESS);
}

void sim_stage_revive(struct sim_stage *g, struct sim_server *v)
{
    (void)g;
    v->dead_for_good = false;
    sim_server_start(v);
}
