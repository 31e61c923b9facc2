/* sim_client_int.h — what the files of a client share. They call downwards only:
 *
 *      sim_client.c      think ─► choose ─► ask ─► judge the answer ─► remember ─► think
 *      sim_heard.c       what an answer says, and how the operation ended
 *      sim_question.c    an operation as bytes of HTTP
 *      sim_talk.c        connections */
#ifndef SIM_CLIENT_INT_H
#define SIM_CLIENT_INT_H

#include "sim_talk.h"

enum { QUESTION_MAX = 4096, LARGE_ROWS_MAX = 1500 };

struct sim_question { /* or some, one behind the other */
    char text[QUESTION_MAX];
    size_t len;
};

/* Append the bytes that ask for d. large_rows: of LARGE. Form (method, endpoint, place of parameters) is drawn. */
void sim_question_put(struct sim_question *q, const struct sim_deed *d, const struct sim_plan *plan,
                      uint32_t large_rows, struct prng *rng);

/* Fill in what the answer tells d; says how d ended. An answer that is none to this question is a violation. */
enum sim_op_end sim_heard(struct sim *s, struct sim_deed *d, uint32_t large_rows,
                          const struct sim_answer *a);

#endif
