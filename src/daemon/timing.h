/* timing — what the Raft timeouts' flags mean together (daemon.md §6). Pure. */
#ifndef RQ_DAEMON_TIMING_H
#define RQ_DAEMON_TIMING_H

#include "flags.h"

struct timing { /* nanoseconds, defaults filled in */
    int64_t heartbeat, election, lease, commit, apply, snapshot_interval;
};
/* 0; ERR_INVALID with words. */
int timing_of(const struct flags *f, struct timing *out, struct err_text *why) MUST_USE;

#endif
