/* join — visit nodes that may know the cluster, or found one with us: ask each to let this node join
 * (daemon.md §3.3, P-1), or tell each that it is here (§3.5). Uses env, node and api doors only, so that it
 * runs in any environment. LOOP. */
#ifndef RQ_DAEMON_JOIN_H
#define RQ_DAEMON_JOIN_H

#include <rq/api.h>

struct join;

enum join_errand {
    JOIN_MEMBER, /* until one of them has let us in */
    JOIN_NOTIFY, /* all of them */
};
struct join_config {
    enum join_errand errand;
    const char *const
        *addrs; /* lent until done(): Raft "host:port", or "http://host:port" of an API */
    uint32_t count;
    struct env *https; /* for https:// addresses; NULL: there are none */
    int64_t attempts;  /* rounds over all of them; JOIN_NOTIFY: one */
    int64_t interval_ns;
    uint64_t connect_timeout_ms;
    bool anonymous; /* no credentials go with it: a failure hints at that */
};

/* done() exactly once, later, unless join_cancel comes first. addr: through which it worked. JOIN_NOTIFY: rc
 * of the first that failed. */
int join_start(struct env *e, struct node *n, const struct join_config *config,
               void (*done)(void *ctx, int rc, const char *addr), void *ctx,
               struct join **out) MUST_USE;
/* done() will not run. Harmless on NULL. Before the node is stopped. */
void join_cancel(struct join *j);

#endif
