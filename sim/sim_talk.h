/* sim_talk — one side of HTTP: a client's host asks one question at a time, or some in one breath, over a
 * simulated stream that it keeps as long as the server does. */
#ifndef SIM_TALK_H
#define SIM_TALK_H

#include "sim_run.h"
#include <rq/http.h>

struct talk_conn;

struct sim_answer { /* lent for the call */
    int status;
    const char *body; /* NUL-terminated */
    size_t len;
    bool replayed;        /* header Idempotency-Replayed */
    uint64_t incarnation; /* of the server: which one took the connection */
};

struct sim_talk {
    struct sim *sim;
    struct env *env; /* set when the host has booted */
    struct talk_conn *conn;
    uint32_t due;           /* answers still to come */
    bool sent;              /* the bytes have left */
    struct slice questions; /* the caller's, until the end */
    void *ctx;
    void (*answered)(void *ctx, const struct sim_answer *a);
    void (*broken)(void *ctx, bool sent); /* what is open will not be answered */
};

/* Ask `count` questions in one breath; answered() for each in turn, or broken(), follows, also at once.
 * Lent until then. */
void sim_talk_ask(struct sim_talk *t, struct sim_server *v, struct slice questions, uint32_t count);
/* The connection is no good any more; broken() if anything is open. */
void sim_talk_break(struct sim_talk *t);
/* Hang up; nothing follows. */
void sim_talk_drop(struct sim_talk *t);

#endif
