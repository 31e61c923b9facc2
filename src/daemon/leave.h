/* leave — remove this node from its cluster before it stops (daemon.md §3.9). LOOP. */
#ifndef RQ_DAEMON_LEAVE_H
#define RQ_DAEMON_LEAVE_H

#include <rq/node.h>

/* user, password: of -join-as, user NULL: none; lent until done(). done() exactly once, later: rc 0 when the
 * leader has removed it and, as far as could be learned within a while, this node knows; or when it is alone and
 * nobody could. */
int leave_start(struct env *e, struct node *n, const char *user, const char *password,
                void (*done)(void *ctx, int rc, const char *why), void *ctx) MUST_USE;

#endif
