/* guard — asks auth on behalf of requests, without ever blocking the loop.
 *
 * Where bcrypt must look, a job of the READ lane does; one at a time, so that guessing leaves the other
 * threads of the lane to reads. Requests with the same user and password wait for one job. LOOP only. */
#ifndef RQ_GUARD_H
#define RQ_GUARD_H

#include <rq/auth.h>
#include <rq/env.h>
#include <rq/util/list.h>

struct guard;

/* json: a credentials file, lent. 0 and *out; ERR_INVALID, ERR_TOO_BIG, ERR_NOMEM with words. */
int guard_create(struct env *e, struct slice json, struct guard **out, struct err_text *why) MUST_USE;
/* Nothing waits any more (the askers have stopped). stopped() exactly once, on a later turn, when the
 * job under way is through; then guard_destroy. */
void guard_stop(struct guard *g, void (*stopped)(void *ctx), void *ctx);
void guard_destroy(struct guard *g); /* may be NULL */

enum guard_answer {
    GUARD_YES,
    GUARD_NO,
    GUARD_LATER, /* done(allowed) exactly once, later, unless forgotten */
    GUARD_FULL,  /* too many wait for bcrypt, or memory is short: try again */
};
/* Storage of the asker's, zeroed; lent from GUARD_LATER until done() is entered or guard_forget. */
struct guard_wait {
    struct list link; /* private */
    bool waiting;     /* private */
    bool granted;     /* private: the answer, should the password be right */
    void (*done)(struct guard_wait *w, enum guard_answer answer); /* YES, NO or FULL */
};
/* g: NULL is no credentials file: everybody may do everything. q: lent for the call. */
enum guard_answer guard_ask(struct guard *g, const struct auth_question *q, struct guard_wait *w);
/* done() will not run. Harmless when nothing waits. */
void guard_forget(struct guard_wait *w);

#endif
