/* sim_scenario.c — the list of scenarios, and what a seed of one of them draws. */
#include "sim_scenario.h"
#include <string.h>

enum { HEARTBEAT_MAX_MS = 500 }; /* a script lasts many of them */

const struct sim_scenario *sim_scenario_at(size_t i)
{
    const struct sim_scenario *const *lists[] = {sim_scripts_of_links, sim_scripts_of_time,
                                                 sim_scripts_of_members};

    for (size_t k = 0; k < sizeof(lists) / sizeof(lists[0]); k++)
        for (const struct sim_scenario *const *at = lists[k]; *at; at++)
            if (i-- == 0)
                return *at;
    return NULL;
}

const struct sim_scenario *sim_scenario_named(const char *name)
{
    const struct sim_scenario *sc;

    for (size_t i = 0; (sc = sim_scenario_at(i)); i++)
        if (strcmp(sc->name, name) == 0)
            return sc;
    return NULL;
}

/* Few clients that take their time: it is the script that matters. */
void sim_scenario_draw(struct sim_plan *p, const struct sim_scenario *sc, uint64_t seed)
{
    sim_plan_draw(p, seed, SIM_QUIET, sc->nodes);
    p->scenario = sc;
    p->client_count = 2;
    p->think_ns = 400 * ENV_MS_NS;
    p->loads = false;
    p->scene = SIM_SCENE_NONE;
    if (p->heartbeat_timeout_ms > HEARTBEAT_MAX_MS)
        p->heartbeat_timeout_ms = HEARTBEAT_MAX_MS;
    if (p->world.net.cut == SIM_CUT_BYTE)
        p->world.net.cut = SIM_CUT_RANDOM;
    if (sc->plan)
        sc->plan(p);
}
