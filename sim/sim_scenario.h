/* sim_scenario — situations that broke somebody's cluster once, played on purpose: a script in place of the
 * nemesis, with all oracles of a seed looking on, and bounds of its own on how long nobody can write and how
 * often the term changes. Seeds vary what the script leaves open.
 *
 *      sim_scenario.c                   the list; one seed of one of them
 *      sim_script_link.c  _time.c  _member.c   the scripts
 *      sim_stage.c                      what scripts are made of */
#ifndef SIM_SCENARIO_H
#define SIM_SCENARIO_H

#include "sim_run.h"

struct sim_stage;
struct sim_scenario {
    const char *name, *text;
    uint32_t nodes;
    void (*plan)(struct sim_plan *p); /* NULL: as drawn */
    /* The cluster has formed, and this one leads it. */
    void (*play)(struct sim_stage *g, struct sim_server *leader);
};

/* NULL-terminated. */
extern const struct sim_scenario *const sim_scripts_of_links[];
extern const struct sim_scenario *const sim_scripts_of_time[];
extern const struct sim_scenario *const sim_scripts_of_members[];

/* ---- sim_scenario.c ------------------------------------------------------------------------------------- */

const struct sim_scenario *sim_scenario_at(size_t i);            /* NULL: there are no more */
const struct sim_scenario *sim_scenario_named(const char *name); /* NULL: none */
void sim_scenario_draw(struct sim_plan *p, const struct sim_scenario *sc, uint64_t seed);

/* ---- sim_stage.c ---------------------------------------------------------------------------------------- */

/* What a script watches while time passes. Waits are in units of the heartbeat timeout. */
struct sim_stage {
    struct sim *sim;
    struct prng rng;
    uint64_t unit_ns;
    uint32_t through;   /* bit i: server i must be able to write */
    uint32_t wait_max;  /* units that may pass between two acknowledged writes */
    uint64_t terms_max; /* changes of term that there may be, from sim_stage_watch() on */
    uint64_t term_then;
};

void sim_stage_play(struct sim *s, const struct sim_scenario *sc);
/* From now on, through these servers: so long at most without a write, so many changes of term. */
void sim_stage_watch(struct sim_stage *g, uint32_t through, uint32_t wait_max, uint64_t terms_max);
/* Let so many units pass, writing; L1 and L4 look on. */
void sim_stage_pass(struct sim_stage *g, uint32_t units);
/* Let so many units pass without a word. */
void sim_stage_idle(struct sim_stage *g, uint32_t units);
/* The same until met(); false: it did not come within so many units. */
bool sim_stage_until(struct sim_stage *g, uint32_t units, bool (*met)(struct sim *s));
/* What the script is about has come about, once more. A scenario in which it never did proves nothing. */
void sim_stage_met(struct sim_stage *g);

/* Who leads and is connected to the others; waits for it. NULL: L1 says so. */
struct sim_server *sim_stage_leader(struct sim_stage *g);
/* Server number k of those that are not v, from the seed's own order. */
struct sim_server *sim_stage_other(const struct sim_stage *g, const struct sim_server *v,
                                   uint32_t k);
uint32_t sim_stage_all(const struct sim_stage *g);
static inline uint32_t sim_stage_bit(const struct sim_server *v)
{
    return UINT32_C(1) << v->at;
}
uint64_t sim_stage_term(struct sim *s); /* the highest one that any server has */

void sim_stage_cut(struct sim_stage *g, const struct sim_server *a, const struct sim_server *b);
void sim_stage_mute(struct sim_stage *g, const struct sim_server *from,
                    const struct sim_server *to);
void sim_stage_mend(struct sim_stage *g, const struct sim_server *a, const struct sim_server *b);
void sim_stage_isolate(struct sim_stage *g, const struct sim_server *v);
void sim_stage_kill(struct sim_stage *g, struct sim_server *v); /* and it stays down */
void sim_stage_revive(struct sim_stage *g, struct sim_server *v);

#endif
