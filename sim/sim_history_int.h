/* sim_history_int.h — what the files of a history share. They call downwards only:
 *
 *      sim_history_check.c     is it possible: prepare, ask
 *      sim_history_why.c       words for people
 *      sim_history_search.c    is there an order
 *      sim_history.c           recorded operations
 *
 * Plain malloc throughout, as all of the simulator. */
#ifndef SIM_HISTORY_INT_H
#define SIM_HISTORY_INT_H

#include "sim_history.h"

#define SIM_FOREVER UINT64_MAX

struct sim_history {
    struct sim_op *ops;
    size_t count, cap;
};

/* An operation as the search sees it: only those that may have had an effect, or saw something. */
struct search_op {
    const struct sim_op *op;
    size_t number;      /* in the history */
    uint64_t invoke_ns; /* takes effect not before … */
    uint64_t return_ns; /* … and not after this; SIM_FOREVER: at any time, or never */
    bool junk; /* unknown, and nobody saw its value or asked for it; return_ns is SIM_FOREVER */
};

struct search_result {
    enum sim_verdict verdict;
    uint64_t steps;
    size_t stuck_on; /* NO: operation of the history behind which nothing fits */
};

/* The operations worth searching, and the limits that reading them sets. Returns how many; out has room
 * for count of them. */
size_t sim_history_prepare(const struct sim_history *h, struct search_op *out);
/* Is there an order? ignore_compare: let every CAS do what it says it did. */
struct search_result sim_history_search(const struct search_op *ops, size_t count,
                                        uint64_t step_limit, bool ignore_compare);
/* Two or three operations that cannot go together in any order: true, and why says which. */
bool sim_history_contradiction(const struct sim_history *h, const struct search_op *ops,
                               size_t count, struct err_text *why);
/* Words for what only the search found. */
void sim_history_explain(const struct sim_history *h, const struct search_op *ops, size_t count,
                         const struct search_result *r, uint64_t step_limit, struct err_text *why);

/* The value an operation certainly saw: an OK read, or an OK CAS that swapped. */
bool sim_op_saw(const struct sim_op *op, int64_t *value);
static inline bool sim_op_writes(const struct sim_op *op)
{
    return op->kind != SIM_OP_READ;
}
/* Writer of a value; NULL: none (or value 0). */
const struct sim_op *sim_history_writer(const struct sim_history *h, int64_t value);

#endif
