/* discover — -disco-mode, -disco-key and -disco-config made into a disco; and reports to it: whoever leads says
 * so, at once and then again and again (daemon.md §4.1, §4.3). LOOP. */
#ifndef RQ_DAEMON_DISCOVER_H
#define RQ_DAEMON_DISCOVER_H

#include "flags.h"

#include <rq/disco.h>
#include <rq/node.h>

/* 0 and *out; an error with what follows "clustering failure: ". */
int discover_open(struct env *e, const struct flags *f, struct disco **out,
                  struct err_text *why) MUST_USE;

struct report { /* in the caller's storage */
    struct env *env;
    struct node *node;
    struct disco *disco;
    const struct disco_record *self;
    struct env_timer timer;
    uint64_t told_ns; /* 0: not since this node leads */
};
/* All lent until report_stop. */
void report_start(struct report *r, struct env *e, struct node *n, struct disco *d,
                  const struct disco_record *self);
void report_stop(struct report *r); /* harmless when zeroed */

#endif
