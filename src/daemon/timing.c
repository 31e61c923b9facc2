/* timing — see timing.h. Called by daemon, before it opens the node, and by main, for what /status tells. */
#include "timing.h"

#include <rq/http.h>

enum { DURATION_TEXT = 48 };

static int refuse(struct err_text *why, const char *reason)
{
    return err_set(why, ERR_INVALID, "creating the raft system failed: %s", reason);
}

static int64_t given_or(int64_t value, int64_t otherwise)
{
    return value == 0 ? otherwise : value;
}

static int check_floors(const struct timing *t, struct err_text *why)
{
    if (t->heartbeat < 5 * FLAGS_MS)
        return refuse(why, "HeartbeatTimeout is too low");
    if (t->election < 5 * FLAGS_MS)
        return refuse(why, "ElectionTimeout is too low");
    if (t->commit < FLAGS_MS)
        return refuse(why, "CommitTimeout is too low");
    if (t->snapshot_interval < 5 * FLAGS_MS)
        return refuse(why, "SnapshotInterval is too low");
    if (t->lease < 5 * FLAGS_MS)
        return refuse(why, "LeaderLeaseTimeout is too low");
    return 0;
}

static int check_order(const struct timing *t, struct err_text *why)
{
    char heartbeat[DURATION_TEXT] = "", other[DURATION_TEXT] = "";
    http_duration_text(t->heartbeat, heartbeat);
    if (t->lease > t->heartbeat) {
        http_duration_text(t->lease, other);
        return err_set(why, ERR_INVALID,
                       "creating the raft system failed: LeaderLeaseTimeout (%s) cannot be larger "
                       "than heartbeat timeout (%s)",
                       other, heartbeat);
    }
    if (t->election < t->heartbeat) {
        http_duration_text(t->election, other);
        return err_set(why, ERR_INVALID,
                       "creating the raft system failed: ElectionTimeout (%s) must be equal or "
                       "greater than Heartbeat Timeout (%s)",
                       other, heartbeat);
    }
    return 0;
}

int timing_of(const struct flags *f, struct timing *out, struct err_text *why)
{
    *out = (struct timing){
        .heartbeat = given_or(f->raft_heartbeat_timeout, FLAGS_S),
        .election = given_or(f->raft_election_timeout, FLAGS_S),
        .lease = given_or(f->raft_leader_lease_timeout, 500 * FLAGS_MS),
        .commit = given_or(f->raft_commit_timeout, 50 * FLAGS_MS),
        .apply = f->raft_apply_timeout,
        .snapshot_interval = given_or(f->raft_snap_int, 120 * FLAGS_S),
    };
    const int rc = check_floors(out, why);
    return rc != 0 ? rc : check_order(out, why);
}
