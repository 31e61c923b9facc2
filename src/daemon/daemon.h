/* daemon — one node of the house, from the open HTTP port to the closed database (daemon.md §1.9,
 * §1.10). Uses env, node and api doors only; main.c chooses the environment. LOOP. */
#ifndef RQ_DAEMON_H
#define RQ_DAEMON_H

#include "secrets.h"

#include <rq/api.h>

void banner_print(void);

struct daemon;

struct daemon_config {
    const struct flags *flags; /* lent for the daemon's life */
    const char *version;
    const struct api_facts *facts;
    const char *dir;        /* data directory, absolute */
    uint32_t reader_jobs;   /* threads that read */
    struct secrets secrets; /* lent for the daemon's life, which stops them */
};

/* Start: HTTP, then the node, then the cluster. finished() exactly once, when everything is closed, with
 * the exit status; then daemon_destroy. 0; or an error, with nothing started and why said. */
int daemon_start(struct env *e, const struct daemon_config *config,
                 void (*finished)(void *ctx, int status), void *ctx, struct daemon **out,
                 struct err_text *why) MUST_USE;
/* A signal: the graceful way down. Further calls are ignored. */
void daemon_stop(struct daemon *d);
void daemon_destroy(struct daemon *d);

#endif
