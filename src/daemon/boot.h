/* boot — found a cluster with others, or join it if it is there already (daemon.md §3.5). Uses env, node and
 * api doors only. LOOP. */
#ifndef RQ_DAEMON_BOOT_H
#define RQ_DAEMON_BOOT_H

#include "join.h"

struct boot;

enum { BOOT_TARGETS_MAX = 64 };

struct boot_events {
    /* The node leads, or knows its leader and is what it should be; or it failed: words for people. Exactly
     * once, unless boot_cancel comes first. The boot is gone. */
    void (*done)(void *ctx, int rc, const char *words);
    /* Create the node anew, as the founder of this cluster; then boot_reopened. The old one may be stopped
     * at once. */
    void (*found)(void *ctx, const struct wire_conf *founders);
    /* Begin to find out whom to ask; boot_targets later. NULL: config.addrs are they. */
    void (*look)(void *ctx);
};
struct boot_config {
    const char *const *addrs; /* lent for life */
    uint32_t count;
    bool voter;        /* -raft-non-voter only joins */
    uint64_t limit_ns; /* for all of it; 0: none */
    struct env *https;
    uint64_t connect_timeout_ms;
    bool anonymous;
};

int boot_start(struct env *e, struct node *n, const struct boot_config *config,
               const struct boot_events *events, void *ctx, struct boot **out) MUST_USE;
/* Answers look(). rc != 0: nothing was found out. addrs: lent until the next look(). */
void boot_targets(struct boot *b, int rc, const char *const *addrs, uint32_t count);
void boot_reopened(struct boot *b, struct node *n);
/* Neither done() nor found() will run. Harmless on NULL. Before the node is stopped. */
void boot_cancel(struct boot *b);

#endif
