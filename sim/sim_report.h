/* sim_report — one line per seed, sums over many, and lower limits that keep the sums honest. */
#ifndef SIM_REPORT_H
#define SIM_REPORT_H

#include "sim_run.h"
#include <stdio.h>

/* seed, profile, virtual seconds, events, faults, requests, oracle evaluations, trace hash, verdict. */
void sim_report_line(FILE *out, const struct sim_plan *p, const struct sim_result *r);

struct sim_sums {
    uint64_t seeds, violations, mismatches;
    uint64_t family_on[SIM_FAMILY_COUNT]; /* seeds in which it was enabled */
    uint64_t scene_on[SIM_SCENE_COUNT];   /* likewise */
    struct sim_result total;
};
void sim_sums_add(struct sim_sums *sums, const struct sim_plan *p, const struct sim_result *r);
/* Print the sums beside their lower limits (per 1 000 seeds, scaled); false: one of them is below.
 * A run that never evaluated an oracle, never injected a fault or never read at some level proves
 * nothing about it. */
bool sim_sums_print(FILE *out, const struct sim_sums *sums, enum sim_profile profile);

/* One line. false: a violation, a mismatch, or most seeds never came to what the scenario is about. */
struct sim_scenario;
bool sim_scenario_print(FILE *out, const struct sim_scenario *sc, const struct sim_sums *sums);

#endif
