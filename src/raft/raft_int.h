/* raft_int.h — the whole state of raft, field by field, with its invariants.
 *
 * Files call downwards only:
 *
 *      raft.c                       create, one switch over the inputs, end of a step
 *      raft_follower.c              append, snapshot offered and installed
 *      raft_election.c              pre-vote, vote, stepping down
 *      raft_leader.c                proposals, progress of each peer, hand-over
 *      raft_commit.c  raft_read.c   quorums; read rounds
 *      raft_conf.c    raft_orders.c membership table; messages out, what the disk has
 *      raft_trail.c                 which index has which term
 *
 * raft_check.c looks at everything and is called by nobody in here. */
#ifndef RQ_RAFT_INT_H
#define RQ_RAFT_INT_H

#include <rq/raft.h>
#include <rq/util/assert.h>
#include <rq/util/prng.h>

enum {
    TRAIL_BYTES_RING = 64 * 1024, /* recent entries whose size is known */
    ENTRY_BYTES_GUESS = 1024,     /* of an older one; only flow control looks at it */
    WRITES_MAX = 1024,            /* unfinished log writes told apart; beyond, neighbours merge */
    CONFS_SPARE = 256,            /* uncommitted configurations, more than any real log holds */
    ROUNDS_OPEN_MAX = 4,          /* read rounds in flight; later reads share the next one */
    MSGS_SPARE = 64,              /* of RAFT_MSGS_MAX, kept for heartbeats and answers */
    SUSPECT_JITTER_MS = 50,
    SUSPECT_TRIES = 5,    /* pre-votes before patience is that of any other election */
    RETRY_HEARTBEATS = 3, /* a probe or a stalled window is tried again after so many heartbeats */
    WINDOW_MSGS_MAX = 4096,
};

/* Terms and indexes of peers beyond this are nonsense; our own never get near it. */
#define NUMBER_MAX (UINT64_MAX / 4)

/* ---- trail: the log without its payloads -------------------------------------------------------- */

/*   base_index        runs[0]            runs[1]                 last_index
 *       |      base+1 … : term a    first_index … : term b           |
 * Terms rise strictly from run to run and are >= base_term. */
struct trail {
    uint64_t base_index, base_term; /* what the newest snapshot covers */
    uint64_t last_index;            /* == base_index: empty */
    struct raft_term_run *runs;
    uint32_t run_count;
    uint32_t run_soft_max; /* proposals stop here … */
    uint32_t run_cap;      /* … so that no-ops of new leaders still fit for a while */
    uint32_t *bytes;       /* ring by index: payload sizes of [bytes_from, last_index] */
    uint64_t bytes_from;
};

int trail_init(struct trail *t, uint32_t run_soft_max, uint32_t run_count);
void trail_fini(struct trail *t);
/* Everything forgotten; the log begins behind index. */
void trail_reset(struct trail *t, uint64_t index, uint64_t term);
/* 0 outside [base_index, last_index]. */
uint64_t trail_term_at(const struct trail *t, uint64_t index);
uint64_t trail_last_term(const struct trail *t);
bool trail_has_room(const struct trail *t, uint64_t term); /* for one more entry of this term */
void trail_push(struct trail *t, uint64_t term, uint32_t bytes);
void trail_cut(struct trail *t, uint64_t from);  /* forget from … last_index */
void trail_drop(struct trail *t, uint64_t upto); /* forget … upto: it becomes the base */
/* Largest index <= index whose term is <= term; not below the base. (Fast back-up, end of §3.5.) */
uint64_t trail_below_term(const struct trail *t, uint64_t index, uint64_t term);
uint32_t trail_bytes_at(const struct trail *t, uint64_t index);

/* ---- disk: which orders are on it ----------------------------------------------------------------- */

struct write {
    uint64_t order;
    uint64_t
        last_index; /* entries up to here are durable when `order` is; lowered by a later cut */
};
/* Entries are counted through the order that wrote them, never through their index: an index can be
 * overwritten while its first write is still in flight, and that write's end proves nothing about
 * the second. Orders rise strictly in the ring, last_index never falls. */
struct disk {
    uint64_t order;         /* of the last batch given */
    uint64_t stored_order;  /* everything up to it is durable */
    uint64_t hard_order;    /* batch that carried the present term and vote */
    uint64_t durable_index; /* entries up to here, as they stand in the log now, are durable */
    struct write *writes;   /* ring of WRITES_MAX */
    uint32_t write_head, write_count;
};

/* ---- membership ------------------------------------------------------------------------------------ */

/* base: latest configuration known to be committed. pending: later ones in the log, ascending. The
 * last of them is active, committed or not (§4.1); a cut of the log takes them away again. */
struct confs {
    struct raft_conf_at base;
    struct raft_conf_at *pending;
    uint32_t pending_count, pending_cap;
};

/* ---- leader's view of a peer ------------------------------------------------------------------------ */

/*              accepted                    entries needed are gone
 *     PROBE ───────────────► REPLICATE          ┌──────────────► SNAPSHOT
 *       ▲ ◄───────────────────── rejected,      │                   │ sent, failed,
 *       │                        or stalled     │ (from PROBE)      │ or match catches up
 *       └───────────────────────────────────────┴───────────────────┘                    */
enum peer_state { PEER_PROBE, PEER_REPLICATE, PEER_SNAPSHOT };

struct flight {
    uint64_t last_index; /* of one APPEND_REQ on its way */
    uint32_t bytes;
};

struct peer {
    raft_id id;
    bool voter;
    enum peer_state state;
    uint64_t match;       /* durable there */
    uint64_t next;        /* > match; first entry of the next message */
    uint64_t received;    /* known to have arrived there, durable or not; >= match */
    uint64_t heard_ms;    /* last answer in this term; 0: none */
    uint64_t contact_ms;  /* same for check-quorum: starts at the time it became a peer */
    uint64_t acked_round; /* newest read round it answered */
    uint64_t min_round;   /* answers to older rounds are from an earlier life of this id */
    uint64_t probe_round; /* rejections of older rounds are from before this probing began */
    bool probe_sent;      /* PROBE: one message outstanding */
    uint64_t probe_last;  /* PROBE: last entry of that message */
    uint32_t probe_bytes;
    uint64_t moved_ms;     /* when probe_sent was set, or the window last moved */
    uint64_t commit_sent;  /* newest commit index it was told */
    uint64_t offered;      /* SNAPSHOT: index offered */
    struct flight *window; /* ring of config.window_msgs; stays with its slot's storage */
    uint32_t flight_head, flight_count;
    uint64_t flight_bytes;
};

/* ---- reads ------------------------------------------------------------------------------------------- */

struct read_waiting {
    uint64_t token;
    uint64_t index; /* read index; valid once round is set */
    uint64_t round; /* confirmed by answers to this round or a later one; 0: not begun */
};
struct reads {
    struct read_waiting
        *ring; /* RAFT_READS_MAX, oldest first; rounds never fall, 0 only at the end */
    uint32_t head, count, begun_count;
    uint64_t round;                 /* newest number given to anything; rides on every APPEND_REQ */
    uint64_t confirmed;             /* a quorum answered this round */
    uint64_t open[ROUNDS_OPEN_MAX]; /* rounds begun for reads and not yet confirmed, ascending */
    uint32_t open_count;
};

/* ---- orders under construction ------------------------------------------------------------------------- */

struct orders {
    struct raft_hard hard;
    bool hard_set;
    struct raft_span append;
    enum raft_entry_kind append_kind;
    bool append_from_msg;
    struct raft_msg *now, *stored; /* RAFT_MSGS_MAX each */
    uint32_t now_count, stored_count;
    struct raft_read *reads; /* RAFT_READS_MAX */
    uint32_t read_count;
    struct raft_snapshot_order snapshots[RAFT_NODES_MAX];
    uint32_t snapshot_count;
    bool install_wanted;
    raft_id install_from;
    uint64_t install_index, install_term;
    bool conf_changed, transfer_changed;
    bool more; /* messages were held back for lack of room: step again at once */
};

/* ---- the value -------------------------------------------------------------------------------------------- */

struct raft {
    struct raft_config config;
    struct prng prng;
    uint64_t now_ms;

    struct raft_hard hard;
    enum raft_role role;
    raft_id leader;           /* 0: unknown. LEADER: ourselves */
    uint64_t leader_heard_ms; /* last message of any leader; 0: never */
    uint64_t deadline_ms;     /* not LEADER: campaign then */
    uint32_t suspect_tries;   /* the leader's process is gone: so often we ask again soon */
    uint64_t match_index;     /* FOLLOWER: log known to agree with this term's leader up to here */
    uint64_t round_seen;      /* FOLLOWER: newest read round of this term's leader */
    raft_id votes[RAFT_NODES_MAX]; /* candidates of both kinds: who said yes; ourselves left out */
    uint32_t vote_count;

    struct trail trail;
    struct disk disk;
    struct confs confs;
    uint64_t commit_index;  /* <= last_index */
    uint64_t apply_index;   /* ordered to be applied; <= commit_index, <= durable_index */
    uint64_t applied_index; /* reported back; <= apply_index */

    /* LEADER only */
    struct peer peers[RAFT_NODES_MAX]; /* active configuration without ourselves, by id */
    uint32_t peer_count;
    struct flight *windows;    /* storage of peers[].window */
    uint64_t term_start_index; /* our no-op */
    uint64_t beat_ms;          /* next heartbeat */
    raft_id transfer_to;       /* 0: none under way */
    uint64_t transfer_deadline_ms;
    bool transfer_told; /* TIMEOUT_NOW has left */
    struct reads reads;

    struct orders orders;
};

/* raft_orders.c */
struct raft_msg msg_to(const struct raft *r, raft_id to, enum raft_msg_kind kind);
void orders_reset(struct raft *r);
bool orders_empty(const struct raft *r);
void orders_send_now(struct raft *r, const struct raft_msg *m);
void orders_send_stored(struct raft *r, const struct raft_msg *m); /* promises: votes, appends */
void orders_send_answer(struct raft *r, const struct raft_msg *m); /* promises only its term */
bool orders_have_room(const struct raft *r);                       /* for bulk appends */
void hard_set(struct raft *r, uint64_t term, raft_id vote);
bool hard_is_durable(const struct raft *r);
void disk_wrote(struct raft *r, uint64_t last_index); /* by the batch being built */
void disk_cut(struct raft *r, uint64_t from);
void disk_stored(struct raft *r, uint64_t order);
void disk_reset(struct raft *r, uint64_t index); /* the log was replaced by a durable snapshot */
void log_append_own(struct raft *r, uint32_t count, enum raft_entry_kind kind,
                    const uint32_t *bytes);

/* raft_conf.c */
const struct raft_conf *conf_active(const struct raft *r);
uint64_t conf_active_index(const struct raft *r);
const struct raft_member *conf_find(const struct raft_conf *c, raft_id id);
bool conf_has_voter(const struct raft_conf *c, raft_id id);
uint32_t conf_voter_count(const struct raft_conf *c);
bool conf_is_sane(const struct raft_conf *c); /* ordered, unique, no id 0 */
bool conf_is_one_change(const struct raft_conf *from, const struct raft_conf *to);
void conf_push(struct raft *r, uint64_t index, const struct raft_conf *c);
void conf_cut(struct raft *r, uint64_t from); /* roll back what a cut of the log removes */
void conf_commit(struct raft *r);             /* commit_index moved */
void conf_reset(struct raft *r, uint64_t index, const struct raft_conf *c);

/* raft_commit.c */
bool commit_quorum_of_votes(const struct raft *r); /* votes[] and ourselves */
bool commit_advance(struct raft *r);               /* LEADER; true: commit_index moved */
uint64_t commit_contact_ms(const struct raft *r);  /* LEADER: a quorum was heard since then */
uint64_t commit_round(const struct raft *r);       /* LEADER: newest round a quorum answered */
bool commit_in_term(const struct raft *r);

/* raft_read.c */
int read_add(struct raft *r, uint64_t token);
bool read_begin(struct raft *r); /* true: a new round began and must be sent to the voters */
void read_confirm(struct raft *r);
void read_serve(struct raft *r);
void read_fail_all(struct raft *r);

/* raft_leader.c */
void leader_begin(struct raft *r);
void leader_end(struct raft *r);
int leader_propose(struct raft *r, uint32_t count, const uint32_t *bytes);
int leader_conf(struct raft *r, const struct raft_conf *conf);
int leader_transfer(struct raft *r, raft_id to);
void leader_answered(struct raft *r, const struct raft_msg *m);
void leader_snapshot_answered(struct raft *r, const struct raft_msg *m);
void leader_snapshot_sent(struct raft *r, raft_id to, bool ok);
void leader_tick(struct raft *r);
void leader_work(struct raft *r); /* end of a step: commit, reads, send what may be sent */
bool leader_must_quit(const struct raft *r);
void leader_farewell(struct raft *r); /* last messages of one that removed itself */
uint64_t leader_wake_ms(const struct raft *r);

/* raft_election.c */
void election_rearm(struct raft *r);
void election_follow(struct raft *r, uint64_t term, raft_id leader);
bool election_hears_leader(const struct raft *r);
void election_prevote(struct raft *r);
void election_tick(struct raft *r);
void election_stored(struct raft *r);
void election_suspect(struct raft *r, raft_id id);
void election_prevote_req(struct raft *r, const struct raft_msg *m);
void election_prevote_res(struct raft *r, const struct raft_msg *m);
void election_vote_req(struct raft *r, const struct raft_msg *m);
void election_vote_res(struct raft *r, const struct raft_msg *m);
void election_timeout_now(struct raft *r, const struct raft_msg *m);

/* raft_follower.c */
void follower_append(struct raft *r, const struct raft_msg *m);
void follower_snapshot_offered(struct raft *r, const struct raft_msg *m);
int follower_snapshot(struct raft *r, uint64_t index, uint64_t term, const struct raft_conf *conf,
                      bool installed);

static inline uint64_t min_u64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}
static inline uint64_t max_u64(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

#endif
