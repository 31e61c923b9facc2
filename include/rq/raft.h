/* raft — consensus as a value: inputs in, orders out. No clock, no I/O, no payload bytes, no
 * allocation after raft_create. The same state and the same input give the same orders everywhere.
 * (Ongaro's dissertation, "thesis" below; chapters 3, 4, 6 and 9, with pre-vote, check-quorum and
 * leader stickiness together.)
 *
 * Pure: any thread, one at a time. */
#ifndef RQ_RAFT_H
#define RQ_RAFT_H

#include <rq/util/err.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    RAFT_NODES_MAX = 16,        /* members of a configuration, learners included */
    RAFT_MSGS_MAX = 256,        /* messages in one raft_out */
    RAFT_READS_MAX = 16 * 1024, /* reads waiting for confirmation */
    RAFT_ENTRIES_PER_STEP = 4096, /* entries in one PROPOSE or one APPEND message */
};

typedef uint64_t raft_id; /* 0: nobody. Stable number of a member; node derives it from the name */

/* ---- configuration (thesis §4.1: one server at a time) --------------------------------------- */

enum raft_role { RAFT_FOLLOWER, RAFT_PRECANDIDATE, RAFT_CANDIDATE, RAFT_LEADER };

struct raft_member {
    raft_id id;
    bool voter; /* false: learner or read replica; counts in no quorum */
};
/* Members ordered by id, without repeats. count 0: no configuration known (a new node waiting to be
 * added; it never campaigns). */
struct raft_conf {
    uint32_t count;
    struct raft_member members[RAFT_NODES_MAX];
};

/* ---- what must be durable --------------------------------------------------------------------- */

struct raft_hard { /* thesis fig. 3.1: currentTerm, votedFor */
    uint64_t term;
    raft_id vote; /* 0: none in this term */
};

enum raft_entry_kind { RAFT_ENTRY_NORMAL, RAFT_ENTRY_NOOP, RAFT_ENTRY_CONF };

/* What raft knows of an entry. The payload stays with node. */
struct raft_entry {
    uint64_t term;
    enum raft_entry_kind kind;
    uint32_t bytes;               /* size of the payload, for flow control */
    const struct raft_conf *conf; /* lent; CONF only, else NULL */
};

/* A run of consecutive indexes. count 0: empty. */
struct raft_span {
    uint64_t first;
    uint32_t count;
};

/* ---- messages between nodes --------------------------------------------------------------------- */

enum raft_msg_kind {
    RAFT_MSG_PREVOTE_REQ = 1, /* thesis §9.6; term is the one the sender would campaign in */
    RAFT_MSG_PREVOTE_RES,
    RAFT_MSG_VOTE_REQ, /* §3.4 */
    RAFT_MSG_VOTE_RES,
    RAFT_MSG_APPEND_REQ, /* §3.5; count 0: heartbeat or probe */
    RAFT_MSG_APPEND_RES,
    RAFT_MSG_TIMEOUT_NOW, /* §3.10: the receiver campaigns at once */
    RAFT_MSG_SNAPSHOT_REQ, /* "a snapshot follows by other means": offer, see raft_out.snapshots */
    RAFT_MSG_SNAPSHOT_RES, /* installed (or refused): log_index/log_term as now held */
};

struct raft_msg {
    enum raft_msg_kind kind;
    raft_id from, to;
    uint64_t term; /* sender's term (PREVOTE_REQ and granted PREVOTE_RES: the prospective one) */

    /* VOTE_REQ, PREVOTE_REQ: last log position. APPEND_REQ: position before the entries.
     * APPEND_RES accepted: log_index = last index known to match and to be durable at the follower.
     * APPEND_RES rejected: log_index = index tried, hint_* below. SNAPSHOT_*: position of the snapshot. */
    uint64_t log_index;
    uint64_t log_term;

    bool granted; /* VOTE_RES, PREVOTE_RES; APPEND_RES and SNAPSHOT_RES: accepted */
    bool transfer; /* VOTE_REQ/PREVOTE_REQ: campaign asked for by the leader; stickiness does not apply */

    uint64_t commit;     /* APPEND_REQ: leader's commit index */
    struct raft_span span; /* APPEND_REQ: entries that follow (node adds kinds, terms and payloads) */
    /* APPEND_REQ, as received only: their metadata; lent; span.count of them */
    const struct raft_entry *entries;

    /* Read confirmation (§6.4): APPEND_REQ carries the leader's newest round, APPEND_RES echoes it. */
    uint64_t read_round;

    /* APPEND_RES accepted: hint_index = last index that has arrived and is known to match, durable or
     * not; a heartbeat's answer may say more than log_index. Counts for nothing but flow control.
     * APPEND_RES rejected: the last index at or below which the follower's terms can agree with the
     * leader's, and its term there (fast back-up, end of §3.5). 0 when it has nothing there. */
    uint64_t hint_index;
    uint64_t hint_term;
};

/* ---- inputs ----------------------------------------------------------------------------------- */

enum raft_in_kind {
    RAFT_IN_TICK,     /* time passed */
    RAFT_IN_MSG,      /* from a peer; already checked for form, cluster id and store id by node */
    RAFT_IN_PROPOSE,  /* leader only: append `propose.count` NORMAL entries of the given sizes */
    RAFT_IN_CONF,     /* leader only: propose this configuration (one membership change) */
    RAFT_IN_STORED,   /* everything ordered up to `stored_order` is on disk */
    RAFT_IN_APPLIED,  /* the database contains everything up to `applied_index` */
    RAFT_IN_READ,     /* leader only: confirm leadership for `read_token` (§6.4) */
    RAFT_IN_TRANSFER, /* leader only: hand over to transfer_to, 0: the most up-to-date voter (§3.10) */
    RAFT_IN_SUSPECT,  /* `suspect` refused an immediate redial: if it is our leader, forget its contact */
    RAFT_IN_SNAPSHOT, /* a snapshot up to snapshot.index is durable here (taken or installed); drop the log below */
    RAFT_IN_SNAPSHOT_SENT, /* transfer to snapshot_sent.to ended (ok or not); probe it again. Also good
                            * for a peer whose connection was lost and is back: finds out at once what
                            * was lost with it, instead of after three heartbeats */
    RAFT_IN_CAMPAIGN, /* start a pre-vote now (tests, single node start) */
};

struct raft_in {
    enum raft_in_kind kind;
    uint64_t now_ms; /* monotonic, never less than before; told to us, never asked for */
    union {
        const struct raft_msg *msg; /* lent */
        struct {
            uint32_t count;        /* 1..RAFT_ENTRIES_PER_STEP */
            const uint32_t *bytes; /* lent; payload size of each */
        } propose;
        const struct raft_conf *conf; /* lent */
        uint64_t stored_order;
        uint64_t applied_index;
        uint64_t read_token; /* the caller's; comes back in out.reads */
        raft_id transfer_to;
        raft_id suspect;
        struct {
            uint64_t index, term;
            const struct raft_conf *conf; /* lent; the configuration at index */
            bool installed;               /* true: came from a leader; the log up to index is replaced by it (paper, fig. 13) */
        } snapshot;
        struct {
            raft_id to;
            bool ok;
        } snapshot_sent;
    } u;
};

/* ---- orders ----------------------------------------------------------------------------------- */

struct raft_msgs {
    const struct raft_msg *msgs;
    uint32_t count;
};
struct raft_read {
    uint64_t token;
    bool ok; /* true: leadership was confirmed after the read arrived. false: leadership lost */
    uint64_t index; /* a database that contains this much may answer it; may be ahead of APPLIED */
};
struct raft_reads {
    const struct raft_read *reads;
    uint32_t count;
};
struct raft_snapshot_order {
    raft_id to;     /* this member needs entries that are no longer in the log */
    uint64_t index; /* of the newest snapshot raft knows of */
};

/* Every view is lent until the next raft_step. Obey in this order; "order" is the number of this
 * batch. Durable orders are 1 and 2: when both are empty for this batch, it counts as stored with the
 * batch before it (and STORED need not name it). */
struct raft_out {
    uint64_t order;               /* 1, 2, 3, …; one per step that gave orders, echoed by STORED; a step
                                   * without any repeats the last */
    const struct raft_hard *hard; /* 1. NULL, or term and vote to make durable */
    struct raft_span append;      /* 2. cut the log from append.first on, then write these (§3.5) */
    /*    kind of all of them when they are the leader's own; when append_from_msg, entry `append.first`
     *    is msg->entries[append.first - (msg->log_index + 1)] of the input (a known prefix is skipped) */
    enum raft_entry_kind append_kind;
    bool append_from_msg;
    struct raft_msgs send_now;    /* 3. may leave before 1 and 2 finish (§10.2.1) */
    struct raft_msgs send_stored; /* 4. only after STORED(order): votes, append answers (§3.8) */
    struct raft_span apply;       /* 5. committed, and on the own disk: each index once, in order */
    struct raft_reads reads;      /* 6. answered reads */
    const struct raft_snapshot_order *snapshots; /* 7. send a snapshot */
    uint32_t snapshot_count;
    bool install_wanted; /* 8. a leader offers a snapshot we lack: fetch it (from, index, term below);
                          *    repeated while it is offered, also when the fetch is under way */
    raft_id install_from;
    uint64_t install_index, install_term;
    bool role_changed;   /* 9. role, term or leader changed: look at raft_view */
    bool conf_changed;   /*    the active configuration changed (appended, or rolled back) */
    uint64_t wake_ms;    /* step with TICK no later than this (absolute) */
};

/* ---- the value --------------------------------------------------------------------------------- */

struct raft_config {
    raft_id id;               /* not 0 */
    uint64_t seed;            /* of the election jitter */
    uint64_t heartbeat_ms;    /* leader sends at least this often; >= 1 */
    uint64_t election_ms;     /* follower waits [election_ms, 2 election_ms) for its leader; > heartbeat_ms */
    uint64_t campaign_ms;     /* candidate waits [campaign_ms, 2 campaign_ms) for votes; a transfer is given so
                               * long; >= election_ms; 0: election_ms */
    uint64_t lease_ms;        /* leader without a quorum's answers for this long steps down (check-quorum) */
    uint32_t append_count_max; /* entries per APPEND_REQ, 1..RAFT_ENTRIES_PER_STEP */
    uint32_t append_bytes_max; /* bytes per APPEND_REQ (at least one entry goes) */
    uint32_t window_msgs;      /* APPEND_REQs in flight per peer, >= 1 */
    uint32_t window_bytes;     /* bytes in flight per peer (at least one message goes) */
    uint32_t term_runs_max;    /* distinct term runs kept; at the bound PROPOSE answers ERR_FULL, >= 8 */
};

/* What was found on disk. terms/confs: everything after the snapshot. */
struct raft_term_run {
    uint64_t first_index; /* entries from here to the next run's first_index - 1 have this term */
    uint64_t term;
};
struct raft_conf_at {
    uint64_t index;
    struct raft_conf conf;
};
struct raft_restore {
    struct raft_hard hard;
    uint64_t snapshot_index, snapshot_term; /* 0, 0: none */
    struct raft_conf snapshot_conf;         /* configuration at snapshot_index (bootstrap: at 0) */
    uint64_t last_index;                    /* >= snapshot_index */
    const struct raft_term_run *runs;       /* lent; ascending; covers snapshot_index+1 .. last_index */
    uint32_t run_count;
    const struct raft_conf_at *confs; /* lent; ascending */
    uint32_t conf_count;
    uint64_t applied_index; /* the database already contains this much; >= snapshot_index */
};

struct raft;
/* Allocates everything it will ever need. restore: lent (NULL: empty log). Everything restored counts
 * as durable. 0, ERR_NOMEM, ERR_INVALID (restore contradicts itself; why says how). */
int raft_create(const struct raft_config *config, const struct raft_restore *restore, uint64_t now_ms,
                struct raft **out, struct err_text *why) MUST_USE;
void raft_destroy(struct raft *r);

/* returns 0             out holds the orders
 *         ERR_NOT_LEADER  PROPOSE, CONF, READ, TRANSFER on a non-leader, PROPOSE during a transfer
 *         ERR_FULL      PROPOSE, CONF: term runs exhausted (a snapshot frees them); READ: RAFT_READS_MAX waiting
 *         ERR_BUSY      CONF: a change is uncommitted, or no entry of the own term is committed yet (thesis
 *                       erratum of 2015), or a transfer is under way; TRANSFER: one is under way
 *         ERR_INVALID   CONF: not a change of exactly one member; would leave no voter. TRANSFER: not a voter or self.
 *                       SNAPSHOT: beyond what is applied, or contradicts the log it was taken from
 * On an error nothing changed and out holds no orders (wake_ms is valid).
 * Messages: anything that makes no sense is ignored without orders; never an assertion. */
int raft_step(struct raft *r, const struct raft_in *in, struct raft_out *out) MUST_USE;

/* A look inside; lent until the next raft_step. */
struct raft_peer_view {
    raft_id id;
    bool voter;
    uint64_t match, next;
    uint64_t last_heard_ms; /* 0: never */
    bool snapshotting;
};
struct raft_view {
    enum raft_role role;
    raft_id leader; /* 0: unknown */
    struct raft_hard hard;
    uint64_t snapshot_index, last_index, last_term;
    uint64_t commit_index;  /* known here */
    uint64_t applied_index; /* told by APPLIED */
    uint64_t durable_index; /* last index stored on the own disk */
    uint64_t term_start_index; /* leader: index of its no-op; 0 otherwise */
    bool committed_in_term; /* leader: an entry of its own term is committed */
    bool transferring;
    bool am_voter, am_member;
    uint32_t term_run_count; /* of at most term_runs_max; snapshot before it gets there */
    uint64_t conf_index; /* of the active configuration; after an install: of the snapshot */
    bool conf_committed;
    const struct raft_conf *conf; /* active: the latest in the log, committed or not (§4.1) */
    uint64_t leader_heard_ms; /* follower: last contact; 0: never */
    uint32_t peer_count;      /* leader only */
    struct raft_peer_view peers[RAFT_NODES_MAX];
};
void raft_look(const struct raft *r, struct raft_view *out);
/* Term of an index in [snapshot_index, last_index]; 0 if outside. */
uint64_t raft_term_at(const struct raft *r, uint64_t index);

/* ASSERTs every invariant of the state; callable at any moment. Tests and the simulator call it after each step. */
void raft_check(const struct raft *r);

const char *raft_role_name(enum raft_role role);     /* "Follower", "Candidate" (both kinds), "Leader" */
const char *raft_msg_name(enum raft_msg_kind kind); /* "VOTE_REQ", … for traces */

#endif
