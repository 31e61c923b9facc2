/* sim_step.c — let virtual time pass, with the oracles looking on after every event. */
#include "sim_run.h"

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
