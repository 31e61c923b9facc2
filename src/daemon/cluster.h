/* cluster — how an open node comes to its cluster, by its flags and what it already knows (daemon.md §3.1).
 * LOOP. */
#ifndef RQ_DAEMON_CLUSTER_H
#define RQ_DAEMON_CLUSTER_H

#include "flags.h"

#include <rq/api.h>

struct cluster;

struct cluster_events {
    void (*ready)(void *ctx);
    void (*failed)(void *ctx, const char *words); /* what follows "clustering failure: " */
    /* Create the node anew, as the founder of this cluster (NULL: alone); then cluster_reopened. */
    void (*found)(void *ctx, const struct wire_conf *founders);
};
struct cluster_config {
    const struct flags *flags; /* lent for life */
    struct env *https;         /* for https:// addresses; NULL: there are none */
    bool anonymous;            /* what is asked of other nodes goes without credentials */
    bool state_found;          /* the data directory was not new */
    const char *api_url;       /* told to Consul and etcd; lent for life */
};

/* Of ready and failed one, once, later, unless cluster_stop comes first; found possibly before. */
int cluster_start(struct env *e, struct node *n, const struct cluster_config *config,
                  const struct cluster_events *events, void *ctx, struct cluster **out) MUST_USE;
void cluster_reopened(struct cluster *c, struct node *n);
/* The object `disco` of /status; nothing where nothing is discovered. */
void cluster_status(const struct cluster *c, struct buf *out);
/* No event from now on. Before the node is stopped. true: it was still on its way, and what a signal's
 * "clustering failure: " goes on with. */
bool cluster_stop(struct cluster *c, const char **words);
/* After cluster_stop: stopped() once, on a later turn, when nothing is under way; then cluster_destroy. */
void cluster_finish(struct cluster *c, void (*stopped)(void *ctx), void *ctx);
void cluster_destroy(struct cluster *c); /* may be NULL */

#endif
