/* node — one server: its raft, log, database and peers. The only caller of raft_step and the only room
 * where the others meet. LOOP only; the api above it never touches raft, log or database handles. */
#ifndef RQ_NODE_H
#define RQ_NODE_H

#include <rq/db.h>
#include <rq/env.h>
#include <rq/peer.h>
#include <rq/raft.h>
#include <rq/util/histogram.h>
#include <rq/wire.h>

struct node;
struct guard;

/* How results become bytes: given by api, run in the lane that has the rows. Opaque options travel with
 * a forwarded request, so that the leader encodes what the client asked for. */
struct node_codec {
    /* A sink that writes into out; lives until sink_free. NULL: out of memory. Any lane. */
    struct db_sink *(*sink_new)(uint32_t encode_options, struct buf *out);
    /* The request is over: complete the bytes in out (runs where the rows were, or on the LOOP). */
    void (*sink_finish)(struct db_sink *s);
    /* The rows pause. true: what is in out may be passed on for good; it is taken from there before sink_resume.
     * false: it may not, and the request is over: out is complete as after sink_finish. */
    bool (*sink_pause)(struct db_sink *s);
    void (*sink_resume)(struct db_sink *s); /* rows will come again; out is empty */
    void (*sink_free)(struct db_sink *s);
    /* Words of complete bytes that say that the request as a whole failed; len 0: they do not. Lent like body. */
    struct slice (*error_of)(struct slice body);
    uint32_t qualify_columns_option; /* bit of encode_options that asks for DB_QUALIFY_COLUMNS */
    uint32_t phases_option;          /* bit of encode_options that asks for node_answer's phases */
};

/* -raft-log-level: what Raft does is logged up to this; 0 in struct node_config: WARN. */
enum node_raft_log {
    NODE_RAFT_LOG_OFF = 1,
    NODE_RAFT_LOG_ERROR,
    NODE_RAFT_LOG_WARN,
    NODE_RAFT_LOG_INFO,
    NODE_RAFT_LOG_DEBUG,
    NODE_RAFT_LOG_TRACE,
};

struct node_config {
    enum node_raft_log raft_log;
    const char *name;      /* -node-id; all strings are copied */
    const char *dir;       /* data directory */
    const char *raft_bind, *raft_addr; /* bind, advertised */
    struct env *raft_net;  /* streams between nodes (tls_net); NULL: the environment's. Lent for the node's life */
    const char *api_url;   /* "http://host:port" advertised */
    const char *version;   /* "v10.…" */
    const struct node_codec *codec; /* lent for the node's life */
    struct guard *guard;   /* judges what other nodes pass on; lent for the node's life; NULL: all may do all */
    bool non_voter;        /* -raft-non-voter */
    bool bootstrap;        /* fresh: found a new cluster (decided by the daemon) … */
    const struct wire_conf *founders; /* … of these voters, all of whom pledged themselves (node_found); copied;
                                         NULL: of this node alone */
    uint32_t bootstrap_expect;        /* -bootstrap-expect; 0: found none with others */
    bool no_handover;                 /* -raft-shutdown-stepdown=false: a leader that stops just goes */
    bool remove_shutdown;             /* -raft-remove-shutdown: once removed, Raft shuts down */
    uint64_t reap_voter_ms, reap_replica_ms; /* the leader removes who was out of reach for so long; 0: never */
    const char *join_user, *join_password; /* of -join-as, for what this node asks of others; NULL: none; copied */

    struct db_config db;   /* path NULL: <dir>/db.sqlite */
    uint32_t segment_bytes;
    uint64_t heartbeat_timeout_ms; /* -raft-heartbeat-timeout: follower's patience, randomised 1x-2x */
    uint64_t election_timeout_ms;  /* -raft-election-timeout: a candidate's, randomised 1x-2x; a transfer's limit;
                                      less than the heartbeat timeout counts as that */
    uint64_t lease_timeout_ms;     /* -raft-leader-lease-timeout; 0: 500 */
    uint64_t apply_timeout_ms;     /* -raft-apply-timeout */
    uint64_t connect_timeout_ms;   /* -cluster-connect-timeout: to dial a node that is no member yet; 0: 30 s. Members
                                      are dialled again and again, each time for at most 2 s of it */
    uint32_t append_count_max, append_bytes_max, window_msgs, window_bytes; /* 0: defaults */
    uint32_t reader_count;         /* read connections; those over reader_jobs (at least one) are for large results */
    uint32_t reader_jobs;          /* of them at work at the same time; 0: reader_count */
    size_t part_bytes;             /* 0: LIMIT_PART_BYTES */
    uint64_t entry_cache_bytes;    /* 0: LIMIT_ENTRY_CACHE_BYTES */
    uint64_t snapshot_entries;     /* -raft-snap: entries between two snapshots; 0: 8192 */
    uint64_t snapshot_wal_bytes;   /* -raft-snap-wal-size: so many written to the WAL since the last; 0: not looked at */
    uint64_t snapshot_interval_ms; /* -raft-snap-int: looked at so often, randomised 1x-2x; 0: after every batch */
    /* Automatic VACUUM and ANALYZE, so long after the last one (-auto-vacuum-int, -auto-optimize-int); 0: none. */
    uint64_t vacuum_interval_ms, optimize_interval_ms;
    uint64_t snapshot_trailing;    /* entries kept before the snapshot, for followers a little behind */
    size_t load_piece_bytes;       /* of a database file, in one entry; 0: LIMIT_LOAD_PIECE_BYTES */
    uint32_t image_chunk_bytes;    /* of a transfer, at most 512 KB; 0: that */
    uint64_t scrub_ms;             /* a few pages of the image are looked at each; 0: 1000, and rests between passes */
    bool compress_images;          /* -compress-snap-transport: zstd for images that this node sends */
};

enum { NODE_SNAPSHOT_ENTRIES = 8192 };
enum { NODE_GREETING_MS = 5000 }; /* who connects to the Raft port and has not greeted by then is sent away */
/* How many entries to keep before a snapshot, where nobody says: 10240 for 8192. */
static inline uint64_t node_snapshot_trailing(uint64_t snapshot_entries)
{
    const uint64_t n = snapshot_entries ? snapshot_entries : NODE_SNAPSHOT_ENTRIES;
    return n > UINT64_MAX - n / 4 ? UINT64_MAX : n + n / 4;
}

/* Starts opening: lock the directory, recover the log, listen, replay. 0 and *out, then opened(rc)
 * exactly once, later (rc != 0: words in why; node_stop and destroy it). Otherwise nothing was started. */
int node_create(struct env *e, const struct node_config *config, void (*opened)(void *ctx, int rc, const char *why),
                void *ctx, struct node **out, struct err_text *why) MUST_USE;
/* Graceful: hand leadership over (bounded by the election timeout), answer what waits with
 * ERR_CANCELED, close peers, wait for lanes. stopped() exactly once; then node_destroy. */
void node_stop(struct node *n, void (*stopped)(void *ctx), void *ctx);
void node_destroy(struct node *n);

/* ---- requests --------------------------------------------------------------------------------------- */

struct node_request {
    struct wire_forward f; /* what is asked; f.payload: lent for the call, copied; f.in_parts: reply may have `more` */
    bool forwarded;        /* came from another node: never forward again (ERR_NOT_LEADER) */
    bool redirect;         /* do not forward; ERR_NOT_LEADER with leader known: the caller redirects */
    int64_t freshness_ns;  /* level none: 0 off */
    bool freshness_strict;
    uint32_t retries;      /* further attempts when the leader cannot be reached; < UINT32_MAX */
};
struct node_answer {
    bool more;            /* rc is 0, body a part: reply runs again after node_pull. in_parts only */
    int rc;               /* 0, or why the request as a whole failed: ERR_NOT_LEADER, ERR_NO_LEADER,
                             ERR_LEADERSHIP_LOST (outcome unknown), ERR_TIMEOUT (unknown), ERR_FULL, ERR_STALE,
                             ERR_NOT_READY, ERR_DENIED (by the leader), ERR_RESET / ERR_REFUSED (leader not reachable; a write's outcome unknown), ERR_SQL (text is the top-level error) */
    const char *text;     /* lent; words when rc != 0 */
    struct slice body;    /* lent: what the codec's sink wrote (since the part before); empty unless rc is 0 */
    uint64_t raft_index;  /* 0: did not go through the log */
    const char *served_by; /* lent: NULL: this node; else the leader's Raft address */
    /* Where the time went, where rc is 0 (sync_ns only if the codec's phases_option asked): measured by the
     * node that did the work; forward_ns: sent to it → its answer came; 0: not forwarded. */
    struct wire_phases phases;
    uint64_t forward_ns;
};
typedef void node_reply_fn(void *ctx, const struct node_answer *a);

/* BACKUP: from the leader, or, with level none, of this node; body is the backup's bytes as they are, in_parts must
 * be set. EXECUTE: through the log. QUERY: by level. REQUEST: read-only ones like QUERY, else through the log.
 * returns 0: reply runs exactly once without `more`, later, on the LOOP (*ticket, if not NULL, can cancel it).
 *         ERR_FULL, ERR_NOMEM, ERR_TOO_BIG, ERR_NOT_READY: reply never runs; nothing was done. */
int node_submit(struct node *n, const struct node_request *r, node_reply_fn *reply, void *ctx, uint64_t *ticket) MUST_USE;
/* The part last given was taken: the next one, or the end, will come by reply, later; also from within reply. The
 * ticket must be one whose last reply had `more`. A failure after parts is said by rc as always. Who does not pull
 * within LIMIT_PARTS_STALL_MS gets ERR_TIMEOUT. */
void node_pull(struct node *n, uint64_t ticket);
/* The asker is gone: reply will not run (again). What was proposed may still be applied. Also from within reply. */
void node_forget(struct node *n, uint64_t ticket);

/* ---- a database file in place of the database ---------------------------------------------------------- */

/* The file is given in pieces, kept on disk, checked, proposed in pieces and installed (rq/db.h), by this node or
 * through its leader. One at a time on a node; of two in a cluster the one begun later wins.
 *
 *   begin ─► taken ─► give ─► taken ─► give … ─► give(last) ─► done
 *
 * done() exactly once, at any time, unless canceled; afterwards, and from within it, u must not be used. */
struct node_upload;
struct node_upload_ask {
    bool boot;      /* this node is all of the cluster: a snapshot follows at once */
    uint64_t bytes; /* as announced; 0: not known */
    uint64_t timeout_ms; /* of each exchange with the leader */
    uint32_t retries;
    struct slice user, password; /* as in struct wire_forward; copied */
    void (*taken)(void *ctx); /* more may be given */
    /* rc: 0; ERR_INVALID (the file is none that can be loaded; or the log refused it: nothing changed), ERR_NOSPC,
     * ERR_NO_LEADER, ERR_DENIED …: as of node_submit. *unknown: it may have been installed nevertheless. why: words.
     * served_by: as in struct node_answer. */
    void (*done)(void *ctx, int rc, bool unknown, const char *why, const char *served_by);
    void *ctx;
};
/* 0: taken() or done() will come, later. ERR_BUSY: there is one already; ERR_TOO_BIG, ERR_NOT_READY, ERR_NOMEM. ask: copied. */
int node_upload_begin(struct node *n, const struct node_upload_ask *ask, struct node_upload **out) MUST_USE;
/* After taken(). bytes: copied; may be empty. last: they complete the file. */
void node_upload_give(struct node_upload *u, struct slice bytes, bool last);
void node_upload_cancel(struct node_upload *u); /* nobody waits any more: what can be stopped is */

/* ---- cluster ---------------------------------------------------------------------------------------- */

/* Ask the node at raft_addr (redirected to its leader) to add this node. done() exactly once: rc 0 when
 * this node is in the committed configuration. */
int node_join(struct node *n, const char *raft_addr, uint64_t timeout_ms,
              void (*done)(void *ctx, int rc, const char *why), void *ctx) MUST_USE;
/* ---- founding a cluster with others (daemon.md §3.5): tell all, until the set is complete; gather the pledges;
 * then create the node anew with `bootstrap` and `founders`. */

/* Tell the node at raft_addr, which may be this one, that this node is ready. done() exactly once. */
int node_notify(struct node *n, const char *raft_addr, uint64_t timeout_ms,
                void (*done)(void *ctx, int rc, const char *why), void *ctx) MUST_USE;
/* true: so many as expected have told us, and no cluster is known: *out has them. */
bool node_founders(const struct node *n, struct wire_conf *out);
enum { NODE_FOUND_BY_MS = 20 * 1000 };
/* Ask all of them to found with none but this node. done() exactly once: rc 0: they will not, and *out of
 * node_founders stands for NODE_FOUND_BY_MS: who has not begun to found by then must ask again. ERR_BUSY: another one
 * founds, or will; ERR_TIMEOUT: it took too long; else one of them was not reached and has left the set. ERR_BUSY,
 * ERR_NOT_READY at once: not complete, asking already, not open. timeout_ms: for each. */
int node_found(struct node *n, uint64_t timeout_ms,
               void (*done)(void *ctx, int rc, const char *why), void *ctx) MUST_USE;

/* What a client wants done with a member, by the leader. A leader that is another node judges the
 * credentials by its own file: ERR_DENIED. */
struct node_order {
    struct slice name;
    struct slice user, password; /* user of len 0: none */
    uint64_t timeout_ms;
};
/* Remove a member by name, through the leader. Unknown: rc 0. o: lent for the call. */
int node_remove(struct node *n, const struct node_order *o, void (*done)(void *ctx, int rc, const char *why),
                void *ctx) MUST_USE;
/* As node_transfer, through the leader. ERR_NO_LEADER, ERR_REFUSED at once as well. */
int node_stepdown(struct node *n, const struct node_order *o, void (*done)(void *ctx, int rc, const char *why),
                  void *ctx) MUST_USE;
/* Hand leadership to a named member, or (len 0) to any. ERR_NOT_LEADER, ERR_NOT_FOUND, ERR_INVALID at once;
 * done() when the transfer has ended. */
int node_transfer(struct node *n, struct slice name, void (*done)(void *ctx, int rc, const char *why), void *ctx) MUST_USE;

/* Bring the image of the database up to date now and let go of the log before it, but for `trailing` entries
 * (POST /snapshot). 0: done() exactly once. ERR_EXISTS: it is up to date; ERR_BUSY: somebody else asked just
 * now; ERR_NOT_READY. */
int node_snapshot(struct node *n, uint64_t trailing, void (*done)(void *ctx, int rc, const char *why), void *ctx) MUST_USE;

/* Where other nodes reach it, numeric; "" before it listens. Lent for the node's life. */
const char *node_bound_addr(const struct node *n);

struct node_member_view {
    char name[WIRE_NAME_MAX + 1], addr[WIRE_ADDR_MAX + 1];
    bool voter, leader, self;
    bool connected; /* we hold a greeted connection to it */
};
struct node_status {
    bool open;                /* the store is open */
    char name[WIRE_NAME_MAX + 1]; /* this node's */
    uint32_t append_count_max;    /* entries of one message to another node */
    uint64_t strong_read_term;    /* of the last read through the log that was answered here; 0: none */
    bool ready;               /* open, leader known, replayed what was committed at start */
    enum raft_role role;
    bool shutdown; /* removed, and Raft has shut down (remove_shutdown) */
    bool voter, has_leader;
    char leader_name[WIRE_NAME_MAX + 1], leader_addr[WIRE_ADDR_MAX + 1], leader_api_url[WIRE_ADDR_MAX + 1];
    uint64_t term, commit_index, applied_index, last_log_index, last_log_term, conf_index;
    int64_t leader_contact_ns; /* age of last contact; -1 never; 0 on the leader */
    uint32_t member_count;
    struct node_member_view members[RAFT_NODES_MAX]; /* by name */
    uint64_t cluster_id, store_id;
    uint64_t snapshot_index, snapshot_term; /* of the image; 0: none */
    struct db_state db; /* as of the last finished batch */
    struct db_facts db_facts;
    struct {
        uint64_t first_index, last_index, disk_bytes, sync_count;
    } log;
    uint32_t pending_writes, pending_reads; /* in progress; of them: waiting for a read connection */
    uint64_t pending_bytes;
    int64_t applied_wall_ns;                 /* when the last batch was applied; 0: never */
    struct {
        uint32_t max, open, busy; /* read connections */
    } readers;
    bool writer_busy;
    uint64_t cache_bytes; /* of recent entries in memory */
    struct {
        enum { NODE_WHOLE, NODE_DAMAGED, NODE_DIVERGED } state;
        bool held;          /* nothing is served until it is repaired */
        const char *text;   /* what is wrong; "": nothing. Lent for this turn */
        int64_t since_ns;   /* wall clock */
        uint64_t undecided; /* nodes differ since this index, and no side has most voters; 0: no */
    } repair;
    bool fetching; /* an image is on its way here */
    uint32_t lending;
};
void node_status_get(const struct node *n, struct node_status *out);

/* What was counted since the start. */
struct node_counters {
    /* client requests that went to the leader, and those of them that got no answer */
    uint64_t forwarded_executions, forwarded_queries, forwarded_requests, forwarded_loads;
    uint64_t forwarded_removals, forwarded_stepdowns;
    uint64_t forward_executions_failed, forward_queries_failed, forward_requests_failed;
    uint64_t retried_executions, retried_queries, retried_requests, retried_loads; /* further attempts */
    uint64_t last_attempts; /* of them, those that are the last: on a connection made after the one before failed */
    uint64_t forwarded_backups;
    /* what other nodes asked of this one */
    uint64_t served_executions, served_queries, served_requests, served_loads;
    uint64_t served_backups;
    uint64_t served_joins, served_notifies, served_removals, served_stepdowns, served_metas, answered_metas;
    uint64_t self_metas;     /* questions of ours about ourselves */
    uint64_t asks_timed_out; /* questions of ours that nobody answered in time */
    /* as leader */
    uint64_t commands_proposed, command_bytes_proposed;
    uint64_t joins, joins_ignored, removed_before_joins;
    uint64_t reads_confirmed, reads_unconfirmed; /* linearizable */
    uint64_t confirm_last_ns;                    /* how long the last confirmation took */
    uint64_t members_reaped, members_not_reaped;
    uint64_t members_suspected; /* connections of members that were lost and refused */
    uint64_t leader_changes;    /* seen: another leader, or none */
    uint64_t applies, apply_last_ns; /* jobs of the database, and how long the last one took */
    uint64_t reader_waits, reader_wait_ns; /* reads that waited for a connection */
    uint64_t snapshots, snapshots_asked;   /* cuts of the image; of them, asked for by node_snapshot */
    uint64_t snapshots_wal;                /* … because of snapshot_wal_bytes */
    uint64_t snapshots_failed, snapshots_asked_failed;
    uint64_t vacuums_put_off;              /* no room for it */
    uint64_t recoveries;                   /* a membership was forced at the start */
    uint64_t backups, backups_failed;      /* made here */
    uint64_t installs;                     /* images received that took the place of the old one */
    uint64_t fetch_chunks, fetch_bytes;    /* of images: received, as they came */
    uint64_t fetches_failed, fetches_resumed;
    uint64_t lend_chunks, lend_bytes; /* sent */
    uint64_t lends_failed, lends_resumed;
    uint64_t scrubbed_pages, scrub_passes, scrub_damaged; /* of the image; found damaged */
    uint64_t repairs_begun, repairs, divergences, digests_compared;
    struct db_query_counts queries;        /* of read connections; the writer's are in db_state */
    struct peer_counters peers;
};
void node_counters_get(const struct node *n, struct node_counters *out);

/* How long things took on this node, nanoseconds. LOOP; lent for the node's life. */
struct node_times {
    struct histogram write_queue, write_quorum, write_apply; /* one per write of a client, as wire_phases */
    struct histogram log_sync; /* one per job that appends to the log and syncs it */
    struct histogram read_wait, read_run; /* one per read */
    struct histogram forward;             /* one per forwarded request that was answered */
};
const struct node_times *node_times_get(const struct node *n);

/* Ask a member who it is (GET /nodes, /leader, readyz's sync). done exactly once; meta lent, NULL unless
 * rc is 0. name: a member's. self answers too (on a later turn). */
int node_meta(struct node *n, struct slice name, uint64_t timeout_ms,
              void (*done)(void *ctx, int rc, const struct wire_meta *meta, const char *why), void *ctx) MUST_USE;

/* For oracles and tests: the inside, read-only; never for api. */
const struct raft *node_raft(const struct node *n); /* NULL while opening */
void node_check(const struct node *n);              /* ASSERTs the invariants of the room */
/* Simulator: called after each batch of applied entries with index and digest. NULL: off. */
void node_on_applied(struct node *n, void (*fn)(void *ctx, uint64_t index, uint64_t digest), void *ctx);

#endif
