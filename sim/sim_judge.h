/* sim_judge — a history that somebody else wrote down (the chaos harness, of real processes), judged by the
 * simulator's own judges. One JSON object per line; docs/testing.md draws the format. */
#ifndef SIM_JUDGE_H
#define SIM_JUDGE_H

#include <rq/util/err.h>
#include <stdio.h>

enum sim_judgement {
    SIM_JUDGE_GOOD,
    SIM_JUDGE_BAD,     /* a promise was not kept: why */
    SIM_JUDGE_INVALID, /* the history itself is wrong, or too hard to judge: why names the line */
};

/* What was judged: for the report. */
struct sim_judge_counts {
    size_t operations, ok, failed, unknown, keys, skipped /* lines of nemeses */;
};

enum sim_judgement sim_judge(FILE *history, struct sim_judge_counts *counts, struct err_text *why);

#endif
