/* seed — come to a cluster through one record that Consul or etcd keeps: who writes it first founds the cluster,
 * everybody else joins whom it names (daemon.md §4.3). LOOP. */
#ifndef RQ_DAEMON_SEED_H
#define RQ_DAEMON_SEED_H

#include "join.h"

#include <rq/disco.h>

struct seed;

struct seed_events {
    void (*done)(
        void *
            ctx); /* a member of a cluster. Once, unless seed_cancel comes first; the seed is gone */
    void (*found)(void *ctx); /* create the node anew, as founder, alone; then seed_reopened */
};
struct seed_config {
    struct disco *disco; /* lent for life, as the rest */
    const struct disco_record *self;
    bool voter;
    struct join_config join; /* its addresses are ours to fill in */
};

int seed_start(struct env *e, struct node *n, const struct seed_config *config,
               const struct seed_events *events, void *ctx, struct seed **out) MUST_USE;
void seed_reopened(struct seed *s, struct node *n);
/* No event from now on. The disco's question that may be out must not be answered: disco_stop. */
void seed_cancel(struct seed *s); /* harmless on NULL */

#endif
