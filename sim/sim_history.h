/* sim_history — is the history of one register linearizable? Wing and Gong's search with Lowe's
 * memoisation; the same checker serves the simulator and the corpus of good and bad histories. */
#ifndef SIM_HISTORY_H
#define SIM_HISTORY_H

#include <rq/util/err.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum sim_op_kind {
    SIM_OP_READ,
    SIM_OP_WRITE, /* value := value */
    SIM_OP_CAS,   /* if value == expected then value := value */
};
enum sim_op_end {
    SIM_END_OPEN, /* still running: as INFO */
    SIM_END_OK,
    SIM_END_FAIL, /* certainly had no effect */
    SIM_END_INFO, /* unknown: may take effect at any time after its invocation, or never */
};
struct sim_op {
    enum sim_op_kind kind;
    enum sim_op_end end;
    uint64_t invoke_ns, return_ns;
    uint32_t process;
    int64_t value;    /* READ that is OK: what it saw; else what it writes. 0: the initial value */
    int64_t expected; /* CAS */
    bool swapped;     /* CAS that is OK: did it find `expected` */
};

enum sim_verdict {
    SIM_LINEARIZABLE_YES,
    SIM_LINEARIZABLE_NO,
    SIM_LINEARIZABLE_UNKNOWN, /* the step limit was hit: counts as red */
    SIM_HISTORY_INVALID, /* the history itself is wrong: values not unique, a process with two open operations, times reversed */
};

struct sim_history;
struct sim_history *sim_history_create(void);
void sim_history_destroy(struct sim_history *h);
/* Append an operation; returns its number. Written values are unique and not 0. */
size_t sim_history_begin(struct sim_history *h, const struct sim_op *op);
/* Complete it: end, return time, and for READ value, for CAS swapped. */
void sim_history_end(struct sim_history *h, size_t op, enum sim_op_end end, uint64_t return_ns,
                     int64_t value, bool swapped);
size_t sim_history_count(const struct sim_history *h);
const struct sim_op *sim_history_at(const struct sim_history *h, size_t op);

/* why: on NO the reason in words that name one of: "value never written", "read from the future", "stale
 * read", "lost write", "resurrected value", "write took effect after it failed", "compare-and-set saw
 * another value", else "no order explains the history"; with the operations concerned. */
enum sim_verdict sim_history_check(const struct sim_history *h, uint64_t step_limit,
                                   struct err_text *why);

#endif
