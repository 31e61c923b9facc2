/* node_int — the whole state of the room. Private to src/node.
 *
 * Files call downwards in this list only; what goes up goes through struct node_up.
 *
 *   node.c                               create, destroy, facts
 *   node_stop.c  node_open.c             the way down, the way up
 *   node_pump.c                          the only caller of raft_step; obeys its orders, in field order
 *   node_frame.c                         what comes from other nodes, by kind
 *   node_digest.c  node_scrub.c          are the nodes equal, is the image whole  (lane READ)
 *   node_repair.c                        if not: the database is fetched anew
 *   node_fetch.c  node_lend.c            images from others, and to those who lack the log (lane READ)
 *   node_install.c                       a received image takes the place of the old  (READ, APPLY, LOG)
 *   node_serve.c                         their clients' requests, judged and run
 *   node_relay.c                         their answers, frame by frame
 *   node_upload.c                        a client's database file on its way into the log   (READ, APPLY)
 *   node_upkeep.c                        the leader's own VACUUM and ANALYZE      (lane READ)
 *   node_request.c                       which way a request goes
 *   node_read.c                          reads: classify, run                     (lane READ)
 *   node_backup.c                        backups, part by part                    (lanes APPLY, READ)
 *   node_fresh.c                         reads that bound their age
 *   node_apply.c                         committed entries into the database      (lane APPLY)
 *   node_write.c                         proposals that wait for their index
 *   node_forward.c                       requests passed to the leader
 *   node_index.c                         which index a read must see, and waiting for it
 *   node_retry.c                         attempts to reach the leader, and the next one
 *   node_found.c                         several nodes found a cluster
 *   node_reap.c node_moved.c             members that are gone, or elsewhere
 *   node_ask.c  node_members.c           our questions to others; joins, removals, transfer
 *   node_reach.c                         does a newcomer's address mean anything here?
 *   node_cut_when.c                      is it time to cut?
 *   node_cut.c                           the image brought up to date             (lanes APPLY, READ)
 *   node_pace.c                          pieces of them, and rests
 *   node_image.c                         its tasks, one at a time
 *   node_log.c                           what must become durable                 (lane LOG)
 *   node_send.c                          raft's messages out; promises held until stored
 *   node_load.c                          entries read back                        (lane LOG)
 *   node_recover.c node_peers_file.c     a membership forced by an operator       (lane LOG)
 *   node_words.c                         what Raft does, in lines of the log
 *   node_wait.c node_cache.c node_confs.c node_times.c  plain data
 *
 * Results come back through callbacks of jobs and peers, as new inputs of the pump. All on the
 * LOOP; a job's struct belongs to its lane between submit and done. */
#ifndef RQ_NODE_INT_H
#define RQ_NODE_INT_H

#include "node_image_int.h"
#include "node_members_int.h"
#include <rq/env.h>
#include <rq/guard.h>
#include <rq/image.h>
#include <rq/limits.h>
#include <rq/node.h>
#include <rq/peer.h>
#include <rq/rlog.h>
#include <rq/util/assert.h>
#include <rq/util/list.h>
#include <rq/util/mem.h>
#include <rq/util/prng.h>
#include <stdio.h>

/* ---- entries in memory (node_cache.c)
 * ------------------------------------------------------------ */

/* One log entry; shared by the cache, jobs and waiting requests. refs: LOOP only. Immutable once
 * sealed. */
struct node_entry {
    uint32_t refs;
    enum raft_entry_kind kind;
    uint64_t term;
    uint32_t len;
    uint8_t payload[];
};

struct node_entry *node_entry_new(size_t len); /* refs 1; NULL if memory is short */
struct node_entry *node_entry_ref(struct node_entry *e);
void node_entry_unref(struct node_entry *e); /* may be NULL */
static inline struct wire_entry node_entry_wire(const struct node_entry *e)
{
    struct wire_entry w = {
        .term = e->term, .kind = e->kind, .payload = slice_of(e->payload, e->len)};
    return w;
}

/* The newest entries, first .. first+count-1, in a ring. */
struct node_cache {
    struct node_entry **ring;
    uint32_t cap; /* power of two */
    uint32_t count;
    uint64_t first;
    uint64_t bytes, bytes_max;
};
void node_cache_init(struct node_cache *c, uint64_t next_index, uint64_t bytes_max);
void node_cache_fini(struct node_cache *c);
/* Drop index and everything behind it. */
void node_cache_truncate(struct node_cache *c, uint64_t index);
/* Append at first + count; takes a reference of its own. */
void node_cache_push(struct node_cache *c, struct node_entry *e);
/* NULL if not here. No reference taken. */
struct node_entry *node_cache_get(const struct node_cache *c, uint64_t index);
/* Forget the oldest while over bytes_max, but nothing above keep_index. */
void node_cache_evict(struct node_cache *c, uint64_t keep_index);

/* ---- configurations by index (node_confs.c)
 * ------------------------------------------------------- */

enum { NODE_CONFS_MAX = 32 };
struct node_confs {
    struct {
        uint64_t index;
        struct wire_conf conf;
    } at[NODE_CONFS_MAX];
    uint32_t count;
};
void node_confs_push(struct node_confs *c, uint64_t index, const struct wire_conf *conf);
void node_confs_truncate(struct node_confs *c, uint64_t index); /* those at index and above */
void node_conf_insert(struct wire_conf *conf, const struct wire_member *m); /* there is room */
const struct wire_conf *node_confs_latest(const struct node_confs *c);      /* NULL: none */
const struct wire_member *node_conf_find(const struct wire_conf *c, raft_id id);
const struct wire_member *node_conf_find_name(const struct wire_conf *c, struct slice name);

/* ---- a forced membership (node_peers_file.c, node_recover.c) -------------------------------------------- */

struct node_recovery { /* at a start: one file after the other, in LOG */
    struct env *env;
    const char *dir; /* of the log */
    raft_id self;
    uint64_t store_id;
    const struct node_confs *confs; /* of image and log */
    uint64_t cluster_id;            /* as known; changed by a recovery */
    bool forced_there;              /* there is a raft/forced, */
    bool forced;                    /* and it counts: */
    struct wire_conf conf;
    bool recovered; /* by this start */
};
/* What raft/peers.json says. 0; ERR_INVALID: why, as rqlite has it. */
int node_peers_parse(struct slice text, struct wire_conf *out, struct err_text *why);
/* Do what peers.json asks for, if it is there. 0; ERR_*: nothing was changed that the next start would not do
 * again. */
int node_recover(struct node_recovery *r, struct rlog *log, struct err_text *why);
/* Keep the configurations of this cluster. *base: that of raft/forced stands for the image's. ERR_CORRUPT: the
 * image's is of a former cluster, and raft/forced is lost. */
int node_recover_confs(const struct node_recovery *r, struct node_confs *confs,
                       uint64_t image_index, bool *base);
void node_recover_forget(const struct node_recovery *r); /* the image has it */

/* ---- requests that wait (node_wait.c)
 * -------------------------------------------------------------- */

enum node_wait_state {
    WAIT_FREE = 0,
    WAIT_SUBMITTED, /* looked at, at the end of this turn */
    WAIT_GATHERED,  /* proposal, not yet given to raft */
    WAIT_PROPOSED,  /* has an index */
    WAIT_CLASSIFY,  /* waiting for, or in, a READ job that classifies */
    WAIT_CONFIRM,   /* linearizable, here leads: a token of raft's is out */
    WAIT_ASK,       /* linearizable: a question to the leader is out, or will be */
    WAIT_INDEX,     /* until await_index is applied */
    WAIT_READ,      /* waiting for, or in, a READ job that runs the query */
    WAIT_PARKED,    /* a part is with the asker: the query is paused on its reader */
    WAIT_FORWARD,   /* sent to the leader */
    WAIT_RETRY,     /* the leader could not be reached: another attempt follows */
};

enum node_wait_class { CLASS_UNKNOWN, CLASS_READS, CLASS_WRITES };

struct node_wait {
    struct list link; /* in the queue of its state, ordered by arrival (PROPOSED: by index) */
    struct node *node;
    uint32_t slot, generation;
    enum node_wait_state state;
    bool in_lane;   /* a job has it: only its done() may free it */
    bool forgotten; /* nobody waits any more */
    bool answered;
    /* in parts (include/rq/node.h, node_pull) */
    bool in_parts;         /* the asker can take them */
    bool part_out;         /* one is with the asker */
    bool replying;         /* in node_wait_part's call of reply */
    uint64_t parts_end_ns; /* LIMIT_PARTS_TOTAL_MS; 0: no part was given yet */
    atomic_bool canceled;  /* read by the lane: nobody needs the result */
    bool replaced;         /* canceled, because the database is being replaced */
    node_reply_fn *reply;
    void *ctx;

    enum wire_request_kind kind;
    enum wire_level level;
    uint32_t encode_options;
    bool forwarded, redirect, freshness_strict;
    int64_t freshness_ns;
    uint64_t linearizable_timeout_ms, db_timeout_ns, timeout_ms;
    uint64_t until_ns;              /* the client's timeout, counted from the arrival */
    enum node_wait_class class;     /* REQUEST: as classified, once it was */
    uint64_t wait_index;            /* the client's; 0: none */
    uint64_t await_index;           /* INDEX */
    uint64_t read_until_ns;         /* linearizable, once it asked; 0: not yet */
    uint64_t read_index, read_term; /* its answer; 0: none. Term 0: confirmed here */
    uint32_t attempts_left;         /* to reach the leader */
    uint64_t retry_at_ns;           /* RETRY */
    struct node_entry *payload;
    bool further;
    uint8_t *credentials; /* user, then password; NULL: none */
    uint8_t user_len;
    uint16_t password_len;
    struct env_timer timer;
    uint64_t index, term; /* PROPOSED */
    peer_conn conn;       /* FORWARD */
    uint32_t stream;
    uint64_t deadline_ns; /* of the statements */
    /* stamps, 0: not yet */
    uint64_t submitted_ns, proposed_ns, committed_ns, forwarded_ns;
    uint64_t queued_ns;            /* waits for a read connection since */
    uint64_t read_began_ns;        /* has one since */
    uint64_t run_began_ns, run_ns; /* READ jobs': the first began, how long they took together */
    uint64_t confirm_ns;           /* waits for the word of raft since */

    struct buf out;
    struct db_sink *sink;
    /* READ job */
    struct env_job job;
    struct node_reader *reader; /* from the beginning of the query to its end */
    struct node_backup *backup; /* BACKUP: as reader */
    bool run_classify, read_only;
    int rc;
    struct err_text why;
};

struct node_waits {
    struct node_wait **slots;
    uint32_t cap;
    uint32_t *free_slots;
    uint32_t free_count, live_count;
    uint64_t live_bytes;
};
/* NULL: limit reached or memory short (*rc says). */
struct node_wait *node_wait_new(struct node *n, const struct node_request *r, node_reply_fn *reply,
                                void *ctx, int *rc);
struct node_wait *node_wait_find(struct node *n, uint64_t ticket);
static inline uint64_t node_wait_ticket(const struct node_wait *w)
{
    return ((uint64_t)w->generation << 32) | (w->slot + 1U);
}
/* Answer (unless forgotten) and free (unless in a lane: then its done() frees). */
void node_wait_answer(struct node_wait *w, const struct node_answer *a);
/* Give a part. true: go on when part_out is false (it may be already); false: it was forgotten meanwhile. */
bool node_wait_part(struct node_wait *w, const struct node_answer *a);
void node_wait_pulled(struct node_wait *w);
void node_wait_forget(struct node_wait *w);
void node_wait_fail(struct node_wait *w, int rc, const char *text);
/* It fails then, unless its state changes before. */
void node_wait_limit(struct node_wait *w, uint64_t at_ns);
/* No limit of its own: SQL may take its time (http-api.md §2.3). What another node passed on to us is
 * given up when that node has stopped waiting. */
void node_wait_unlimit(struct node_wait *w);
void node_wait_free(struct node_wait *w);
/* "dial tcp ADDR: connect: connection refused" and the like, about the leader. */
const char *node_leader_text(const struct node *n, const char *before, const char *after,
                             struct err_text *t);

/* ---- lanes
 * ------------------------------------------------------------------------------------------ */

struct node_reader {
    struct db_reader *reader; /* NULL: not opened yet */
    bool busy;
    bool open;                         /* the loop's word for reader != NULL */
    struct db_query_counts run_counts; /* the job's */
    struct db_query_counts counts;     /* the loop's copy */
};

/* ---- how long things take (node_times.c)
 * ------------------------------------------------------------------------------------------ */

enum { NODE_COMMIT_MARKS = 512, NODE_SYNC_MARKS = 64 };
struct node_clock {
    struct node_times times;
    /* When the commit index passed which entry: a ring, oldest first, of what is not applied yet. */
    struct {
        uint64_t index, ns;
    } commits[NODE_COMMIT_MARKS];
    uint32_t commit_head, commit_count;
    /* The newest jobs of the log: which entries, how long. */
    struct {
        uint64_t first, end, ns;
    } syncs[NODE_SYNC_MARKS];
    uint32_t sync_next;
};
void node_clock_committed(struct node *n, uint64_t index);
/* When the entry was committed. index never decreases; forgets what is older. 0: not known. */
uint64_t node_clock_commit_ns(struct node *n, uint64_t index);
void node_clock_synced(struct node *n, uint64_t first, uint32_t count, uint64_t ns);
/* How long the job took that made our own copy of the entry durable; 0: it is not done. */
uint64_t node_clock_sync_ns(const struct node *n, uint64_t index);

struct node_index {      /* node_index.c */
    struct list asking;  /* ASK: not covered by the question that is out */
    struct list asked;   /* ASK: covered by it */
    struct list indexed; /* INDEX, by await_index */
    bool question_out;
    bool late;      /* a read gave up waiting for its answer */
    raft_id leader; /* asked, in this term of ours */
    uint64_t term;
    peer_conn conn;
    uint32_t stream;
    /* On the leader: the newest question of each member. */
    struct node_question {
        raft_id id; /* 0: free */
        peer_conn conn;
        uint32_t stream;
        uint32_t token; /* which of raft's answers is its */
        bool open;
    } questions[RAFT_NODES_MAX];
    uint32_t next_token;
};

struct node_fresh {           /* node_fresh.c */
    uint64_t heard_ns;        /* the leader; 0: never */
    uint64_t announced;       /* as committed, by a leader */
    int64_t appended_wall_ns; /* leader's clock when it appended what was applied last; 0: none */
};
struct node_fresh_facts {
    uint64_t now_ns, heard_ns;
    uint64_t applied, announced;
    int64_t appended_wall_ns, applied_wall_ns;
};

struct node_log { /* node_log.c: what must become durable, and the job that does it */
    struct env_job job;
    bool busy, full;
    struct env_timer retry; /* after ERR_NOSPC */
    bool hard_pending, range_pending, reset_pending, compact_pending;
    uint64_t reset_index, reset_term, compact_index, compact_term;
    struct raft_hard hard;
    uint64_t range_first;   /* the disk must become equal to the cache from here to its end */
    uint64_t order_pending; /* newest order that has durable work */
    uint64_t order_stored;  /* STORED was told up to here */
    uint64_t started_ns;    /* of the running job */
    /* the running job's */
    bool run_hard, run_range, run_reset, run_compact;
    uint64_t run_reset_index, run_reset_term, run_compact_index, run_compact_term;
    struct raft_hard run_hard_value;
    uint64_t run_first, run_order, run_mark;
    uint32_t run_count, run_cap;
    struct wire_entry *run_entries;
    struct node_entry **run_refs;
    int rc;
    uint64_t run_ns;           /* the job's: how long it took */
    struct rlog_stat run_stat; /* the job's */
    struct rlog_stat stat;     /* the loop's copy */
    uint64_t mark_told;
};

struct node_held { /* a message that may leave only after an order is stored */
    uint64_t order;
    struct raft_msg msg;
};

struct node_load { /* entries read back from disk, in the LOG lane */
    struct env_job job;
    struct node *node;
    uint64_t first;
    uint32_t count_max;
    size_t bytes_max;
    bool busy;
    struct node_entry **entries; /* count of them, owned until taken */
    uint32_t count, cap;
    int rc;
    void (*done)(struct node_load *l);
    void *ctx;
};

struct node_apply { /* node_apply.c */
    struct env_job job;
    bool busy;
    uint64_t target;  /* committed: apply up to here */
    uint64_t applied; /* done up to here */
    uint64_t started_ns;
    uint32_t count, cap;
    struct db_entry *entries; /* of the running batch */
    struct node_entry **refs;
    struct node_wait **waits;  /* NULL where nobody waits */
    uint64_t run_ended_ns;     /* the job's: db_apply returned */
    int64_t wall_ns;           /* when the last one was done; 0: never */
    struct db_state run_state; /* the job's */
    struct db_state state;     /* the loop's copy */
    int rc;
    struct err_text why;
    struct node_load load; /* entries no longer in the cache */
};

struct node_replace { /* node_replace.c: an entry puts another main file in place */
    struct node_image_task task;
    struct env_timer timer; /* patience with those who read; then, with a cut */
    bool active;            /* nothing else is applied, read or cut */
    bool load;              /* it is the end of a load: VACUUM can be done otherwise */
    bool quiet;             /* nobody works with the database */
    bool begun;             /* in the lanes */
    bool done;              /* the lane's: the image was replaced */
    uint64_t index, term;   /* of the entry */
    struct db_facts facts;  /* the lane's */
    char vacuum_path[DB_PATH_MAX + 32];
    struct db_replacer replacer;
    struct err_text why;
};

enum { NODE_SEND_QUEUE_MAX = 64 };
struct node_link { /* node_send.c: one per member: appends in order, possibly waiting for a load */
    raft_id id;
    struct raft_msg queue[NODE_SEND_QUEUE_MAX];
    uint32_t head, count;
    struct node_load load;
};

struct node_conn { /* who is at the other end of a greeted connection */
    peer_conn conn;
    raft_id id;
    uint64_t store_id, cluster_id;
    bool dialled;
    char api_url[WIRE_ADDR_MAX + 1], raft_addr[WIRE_ADDR_MAX + 1];
};

/* ---- the node
 * -------------------------------------------------------------------------------------------- */

enum node_phase { NODE_OPENING, NODE_OPEN, NODE_STOPPING, NODE_STOPPED };

/* What goes up: the lower files tell these, filled in once by node.c. */
struct node_up {
    int (*step)(struct node *n,
                struct raft_in *in);   /* node_step: something happened that raft must know */
    void (*applied)(struct node *n);   /* node_digest_applied */
    void (*lane_idle)(struct node *n); /* node_stop_progress: a lane's job is done */
    void (*forward_end)(struct node_wait *w); /* node_forward_end: the leader need not go on */
    void (*read_end)(struct node_wait *w);    /* node_read_end: it has a reader and nobody waits */
    void (*backup_end)(struct node_wait *w);  /* node_backup_end: as read_end, of a backup */
    void (*dispatch)(
        struct node_wait *w); /* node_request_dispatch: something it waited for is there */
    void (*log_reset)(
        struct node *n); /* node_install_logged: what node_log_reset asked for is done */
    void (*damaged)(struct node *n, const char *text); /* node_repair_damaged: the image is */
    /* node_repair_broken: the database itself is. false: nobody has another one, the node must stop */
    bool (*broken)(struct node *n, const char *text);
    void (*prepare)(struct node *n);  /* node_replace_begin: the entries that wait need it */
    void (*repaired)(struct node *n); /* the image, or the database, was made anew */
};

struct node {
    struct env *env;
    struct node_up up;
    enum node_phase phase;
    /* configuration, copied */
    char name[WIRE_NAME_MAX + 1], raft_bind[WIRE_ADDR_MAX + 1], raft_addr[WIRE_ADDR_MAX + 1];
    char api_url[WIRE_ADDR_MAX + 1], version[64], dir[DB_PATH_MAX], db_path[DB_PATH_MAX + 16];
    char join_user[AUTH_USER_MAX + 1], join_password[AUTH_PASSWORD_MAX + 1];
    struct node_config config;
    struct wire_conf founders; /* of the cluster to found at opening; count 0: this node alone */
    bool live; /* the database lives in the image's file: on disk, at the usual place */
    raft_id id;

    struct env_lock *lock;
    struct rlog *rlog;
    struct db *db;
    struct db_facts db_facts; /* written by the opening job */
    struct raft *raft;
    struct peer_set *peers;
    struct rlog_recovered found;
    uint64_t cluster_id, store_id;
    bool founded;      /* a cluster, at this opening */
    bool joining;      /* fresh, waiting to be adopted by a cluster */
    uint64_t adopt_id; /* cluster id being made durable; 0: none */
    struct env_job adopt_job;
    int adopt_rc;

    struct raft_view view; /* after the last step */
    struct env_timer tick;
    struct env_turn turn; /* gathers proposals */
    struct node_cache cache;
    struct node_confs confs;
    struct node_waits waits;
    struct list submitted, gathered, proposed, confirming, read_queue, parked, forwarding, retrying;
    struct node_index index;
    struct node_fresh fresh;
    struct env_timer retry_timer;
    bool retry_now; /* at the next turn, all that wait for another attempt */
    uint32_t read_waiting;
    struct node_log log;
    struct node_apply apply;
    struct node_counters counters;
    uint64_t strong_read_term;
    struct node_clock clock;
    struct node_image image;
    struct node_cut cut;
    struct node_cut_when cut_when;
    struct node_shrink shrink;
    struct node_upkeep upkeep;
    struct node_fetch fetch;
    struct node_install install;
    struct node_replace replace;
    struct node_upload *upload; /* NULL: none */
    struct node_repair repair;
    struct node_scrub scrub;
    struct node_digest digest;
    struct list lends; /* images on their way to others */
    uint32_t lend_count;
    struct node_held *held;
    uint32_t held_head, held_count, held_cap;
    struct node_link links[RAFT_NODES_MAX];
    uint32_t link_count;
    struct node_conn *conns;
    uint32_t conn_count, conn_cap;
    struct node_reader *readers;         /* config.reader_count */
    uint32_t readers_busy;               /* at work, or with a paused query */
    uint32_t reads_running;              /* at work: at most config.reader_jobs */
    uint32_t parts_count;                /* reads that gave a part and have their reader still */
    uint32_t backup_count, vacuum_count; /* being made; of them: vacuumed */
    struct list relays; /* node_relay.c: answers to other nodes that are not over */

    struct list changes;  /* node_change, first one is under way */
    struct list reaches;  /* node_reach.c: not told yet */
    uint32_t reach_count; /* and those whose connection is closing */
    struct env_timer change_timer;
    struct node_founding founding;
    uint64_t serial; /* of our last notice */
    struct node_reap reap;
    bool was_member, retired;
    struct list asks;
    uint32_t ask_count;
    struct list
        serving; /* node_serve.c: requests of other nodes whose credentials are being looked at */
    size_t serving_bytes;
    struct {
        bool active;
        raft_id to;
        node_done_fn *done;
        void *ctx;
        struct env_timer timer;
    } transfer;

    /* inputs of the step under way, for obey() */
    struct node_entry **incoming; /* payloads of the APPEND_REQ being stepped */
    uint32_t incoming_count, incoming_cap;
    struct raft_entry *incoming_meta;
    struct raft_conf **incoming_confs; /* a newcomer is sent all changes of its cluster at once */
    uint32_t incoming_conf_count;
    uint64_t incoming_first;
    struct node_entry *conf_entry; /* payload of the configuration being proposed */
    uint32_t *propose_bytes;

    uint64_t ready_index; /* applied >= this and a leader known: ready */
    bool ready_index_set;

    struct env_job open_job; /* opening and closing, step by step */
    bool open_busy;          /* opening is under way */
    int open_rc;
    struct err_text open_why;
    struct err_text open_damage; /* of the image: it can only be fetched anew */
    struct raft_term_run *open_runs;
    uint32_t open_run_count, open_run_cap;
    uint64_t open_image_term; /* of the log's entry at the image's index; 0: it has none */
    void (*opened)(void *ctx, int rc, const char *why);
    void *opened_ctx;

    void (*stopped)(void *ctx);
    void *stopped_ctx;
    struct env_timer stop_timer;
    bool stop_peers_done, stop_closing;

    void (*on_applied)(void *ctx, uint64_t index, uint64_t digest);
    void *on_applied_ctx;
};

/* The database is not to be used, or is being replaced. */
static inline bool node_is_held(const struct node *n)
{
    return n->install.active || n->replace.active || n->repair.held;
}

static inline uint64_t node_now_ms(const struct node *n)
{
    return env_now_ns(n->env) / ENV_MS_NS;
}

/* node_pump.c */
/* The only call of raft_step: step, then obey. Returns raft_step's result. */
int node_step(struct node *n, struct raft_in *in);
void node_pump_start(struct node *n);
/* node_log.c */
void node_log_init(struct node *n);
void node_log_fini(struct node *n);
void node_log_hard(struct node *n, const struct raft_hard *hard, uint64_t order);
void node_log_range(struct node *n, uint64_t first, uint64_t order);
/* Behind everything ordered before: the log is empty and begins behind index; then up.log_reset. */
void node_log_reset(struct node *n, uint64_t index, uint64_t term);
void node_log_compact(struct node *n, uint64_t index, uint64_t term);
void node_log_kick(struct node *n);
void node_load_start(struct node_load *l, struct node *n, uint64_t first, uint32_t count_max,
                     size_t bytes_max);
void node_load_drop(struct node_load *l); /* release the entries it holds */
/* node_send.c */
void node_links_set(struct node *n);
void node_links_fini(struct node *n);
void node_send(struct node *n, const struct raft_msg *m);
void node_hold(struct node *n, const struct raft_msg *m, uint64_t order);
void node_release_held(struct node *n);
peer_conn node_conn_to(struct node *n, raft_id to); /* 0: none */
/* node_image.c */
void node_image_init(struct node *n);
void node_image_fini(struct node *n);
void node_image_submit(struct node *n, struct node_image_task *t, enum env_lane lane,
                       void (*run)(struct node_image_task *t),
                       void (*done)(struct node_image_task *t));
int node_image_state_put(struct buf *out, uint64_t conf_index, const struct wire_conf *conf,
                         struct slice db_state);
int node_image_state_get(struct slice state, uint64_t *conf_index, struct wire_conf *conf,
                         struct slice *db_state);             /* 0, ERR_CORRUPT */
int node_image_db_open(struct node *n, struct err_text *why); /* run() of APPLY */
void node_image_db_close(struct node *n); /* the same; harmless when it is closed */
void node_replace_path(const struct node *n, char *out, size_t cap); /* where VACUUM makes a file */
/* node_upkeep.c */
void node_upkeep_init(struct node *n);
void node_upkeep_start(struct node *n);
void node_upkeep_stop(struct node *n);
void node_upkeep_applied(struct node *n);
/* node_pace.c */
void node_pace_init(struct node_pace *p, struct node *n, struct node_image_task *task);
uint64_t node_pace_bytes(const struct node_pace *p);        /* of the next piece. Any lane */
void node_pace_took(struct node_pace *p, uint64_t took_ns); /* … and it has. Any lane */
/* The next piece, in the READ lane; after a rest, unless hurry. */
void node_pace_submit(struct node_pace *p, bool hurry, void (*run)(struct node_image_task *t),
                      void (*done)(struct node_image_task *t));
void node_pace_stop(struct node_pace *p);

/* node_cut_when.c */
void node_cut_when_init(struct node *n);
void node_cut_look(struct node *n); /* a lane's job is done: entries may have been applied */
/* The last one, on the way down. true: done() will run; false: there is nothing to cut. */
bool node_cut_last(struct node *n, void (*done)(void *ctx, int rc, const char *why), void *ctx);
void node_cut_when_stop(struct node *n);
/* node_cut.c */
void node_cut_init(struct node *n);
void node_shrink_look(struct node *n); /* entries may have been applied */
void node_cut_begin(struct node *n);   /* none is under way */
void node_cut_want(struct node *n);  /* somebody needs an image of what is applied */
void node_cut_heal(
    struct node *n); /* write all pages, unless a cut is under way; then up.repaired */
void node_cut_cancel(struct node *n); /* on the way down */
/* node_install.c */
void node_install_init(struct node *n);
void node_install_stop(struct node *n); /* timers; on the way down */
void node_install_start(struct node *n, struct image_receive *receive); /* takes it */
void node_install_progress(struct node *n);
void node_install_logged(struct node *n);
/* node_fetch.c */
void node_fetch_init(struct node *n);
void node_fetch_fini(struct node *n);
void node_fetch_want(struct node *n, raft_id from, uint64_t index); /* raft's leader offers it */
/* Fetch an image that holds the entry at index, unless one is on its way: then ask again later. */
void node_fetch_pull(struct node *n, raft_id from, uint64_t index);
void node_fetch_greeted(struct node *n, peer_conn c);
void node_fetch_answered(struct node *n, peer_conn c, const struct wire_frame *f);
void node_fetch_lost(struct node *n, peer_conn c);
void node_fetch_stop(struct node *n);
void node_fetch_close(struct node *n);
/* node_repair.c */
void node_repair_init(struct node *n);
void node_repair_start(struct node *n); /* damage that was found while opening */
void node_repair_damaged(struct node *n, const char *text);
bool node_repair_broken(struct node *n, const char *text);
void node_repair_diverged(struct node *n, const char *text, const raft_id *lenders, uint32_t count);
bool node_repair_possible(const struct node *n); /* is there another voter? */
void node_repair_over(struct node *n);
void node_repair_stop(struct node *n);
/* node_scrub.c */
void node_scrub_start(struct node *n);
void node_scrub_stop(struct node *n);
/* node_digest.c */
void node_digest_init(struct node *n);
void node_digest_told(struct node *n, peer_conn c, raft_id from, const struct wire_frame *f);
void node_digest_applied(struct node *n); /* a batch is done, none is running */
void node_digest_greeted(struct node *n, peer_conn c);
void node_digest_members(struct node *n); /* the configuration changed */
void node_digest_forget(struct node *n);
void node_digest_stop(struct node *n);
/* node_lend.c */
void node_lend_asked(struct node *n, peer_conn c, const struct wire_frame *f);
void node_lend_drained(struct node *n, peer_conn c);
void node_lend_lost(struct node *n, peer_conn c);
void node_lend_stop(struct node *n);
void node_lend_close(struct node *n);
void node_lend_fini(struct node *n);
/* node_apply.c */
void node_apply_init(struct node *n);
void node_apply_fini(struct node *n);
void node_apply_kick(struct node *n);
void node_apply_again(struct node *n); /* the entries that wait, as they are */
/* The same by hand: run() of APPLY, and then on the LOOP. */
void node_apply_lane(struct node *n);
void node_apply_ended(struct node *n);
void node_apply_give_up(struct node *n, int rc,
                        const char *why); /* they will be applied some day, or are contained */
/* node_replace.c */
void node_replace_init(struct node *n);
void node_replace_begin(struct node *n); /* the entries that wait begin with one that needs it */
void node_replace_progress(struct node *n);
void node_replace_stop(struct node *n);
void node_replace_sweep(struct node *n); /* run(): what a crash left */
/* node_request.c */
void node_request_turn(struct env_turn *t);
void node_request_dispatch(
    struct node_wait *w); /* which way it goes, from its kind, level and our role */
/* node_write.c */
void node_write_gather(struct node_wait *w);
void node_write_propose(struct node *n); /* all that is gathered */
void node_write_appended(struct node *n, uint64_t first, uint32_t count);
void node_write_lost(struct node *n);   /* no longer leader */
void node_write_resume(struct node *n); /* a transfer may have ended */
struct node_wait *node_write_claim(struct node *n, uint64_t index, uint64_t term);
/* node_read.c */
void node_read_start(struct node_wait *w, bool classify); /* queue for a read connection */
void node_read_kick(struct node *n);
void node_readers_close(struct node *n);    /* run() of READ; all are idle */
void node_read_pulled(struct node_wait *w); /* PARKED: queue for the next part */
void node_read_end(struct node_wait *w);    /* give the query up, then free */
/* Fail the queries that began before; how many. */
uint32_t node_read_cancel_older(struct node *n, uint64_t than_ns, const char *why);
/* node_upload.c */
void node_upload_stop(struct node *n);  /* on the way down */
void node_upload_sweep(struct node *n); /* run(): what a crash left */
/* The database is being replaced: queries that pause are given up; with running, those at work are interrupted. */
void node_read_replaced(struct node *n, bool running);
/* node_backup.c */
void node_backup_start(struct node_wait *w);
void node_backup_look(struct node *n); /* entries may have been applied: is one too slow? */
void node_backup_pulled(struct node_wait *w); /* PARKED: make the next part */
void node_backup_end(struct node_wait *w);    /* give it up, then free */
void node_backup_sweep(struct node *n);       /* remove what a crash left; run() */
/* node_serve.c */
void node_serve(struct node *n, peer_conn c, const struct wire_frame *f);
void node_serve_cancel_all(struct node *n);
/* node_relay.c */

/* The answers to one request that another node passed on. In the caller's storage until over(). */
enum node_relay_state { RELAY_RUNNING, RELAY_SENDING, RELAY_TAKEN };
struct node_relay {
    struct list link; /* in n->relays from its first answer on */
    struct node *node;
    peer_conn conn;
    uint32_t stream;
    uint64_t ticket;
    enum node_relay_state state;
    bool more;
    uint64_t raft_index;
    struct wire_phases phases;
    struct buf held; /* SENDING: what has not been sent */
    void (*over)(struct node_relay *r);
};
void node_relay_init(struct node_relay *r, struct node *n, peer_conn c, uint32_t stream,
                     void (*over)(struct node_relay *r));
void node_relay_reply(void *ctx, const struct node_answer *a); /* a node_reply_fn; ctx: the relay */
void node_relay_pulled(struct node *n, peer_conn c, const struct wire_frame *f);
void node_relay_drained(struct node *n, peer_conn c);
void node_relay_lost(struct node *n, peer_conn c);
void node_relay_fini(struct node *n);
/* node_forward.c */
void node_forward(struct node_wait *w);
void node_forward_answered(struct node *n, peer_conn c, const struct wire_frame *f);
void node_forward_part(struct node *n, peer_conn c, const struct wire_frame *f);
void node_forward_lost(struct node *n, peer_conn c);
void node_forward_pulled(struct node_wait *w); /* the asker wants the next part */
void node_forward_end(struct node_wait *w);    /* … wants no more */
/* node_fresh.c */
bool node_fresh_is(const struct node_fresh_facts *f, uint64_t bound_ns, bool strict);
bool node_fresh_enough(const struct node *n, const struct node_wait *w);
void node_fresh_heard(struct node *n, const struct raft_msg *m);
void node_fresh_applied(struct node *n, const struct db_entry *entries, uint32_t count);
/* node_index.c */
void node_index_init(struct node *n);
void node_index_want(struct node_wait *w); /* linearizable: learn read_index, then dispatch */
void node_index_await(struct node_wait *w, uint64_t index); /* once applied, dispatch */
void node_index_turn(struct node *n);                       /* end of a turn: ask for all */
void node_index_applied(struct node *n);
void node_index_confirmed(struct node *n, const struct raft_read *r);
void node_index_leader_changed(struct node *n);
void node_index_asked(struct node *n, peer_conn c, const struct wire_frame *f);
void node_index_answered(struct node *n, peer_conn c, const struct wire_frame *f);
void node_index_lost(struct node *n, peer_conn c);
void node_index_check(const struct node *n);
/* node_retry.c */
void node_retry_init(struct node *n);
/* The leader could not be reached. Another attempt follows, with a dispatch; or it fails. text may be NULL. */
void node_retry(struct node_wait *w, int rc, const char *text);
void node_retry_leaderless(struct node_wait *w); /* no leader is known */
void node_retry_soon(struct node *n);            /* there is a connection, or another leader */
void node_retry_turn(struct node *n);
/* node_frame.c */

extern const struct peer_events node_peer_events;
struct node_conn *node_conn_find(struct node *n, peer_conn c);
/* node_members.c */
int node_remove_here(struct node *n, struct slice name, node_done_fn *done, void *ctx);
void node_members_progress(struct node *n); /* after steps and on its timer */
void node_members_lost(struct node *n);     /* no longer leader */
void node_members_asked(struct node *n, peer_conn c, const struct wire_frame *f);
void node_transfer_progress(struct node *n);
void node_transfer_cancel(struct node *n);
/* node_words.c */
struct node_was { /* before a step */
    enum raft_role role;
    raft_id leader;
    uint64_t term, conf_index;
};
void node_raft_say(const struct node *n, enum node_raft_log level, const char *fmt, ...)
    PRINTF_LIKE(3, 4);
void node_words_step(const struct node *n, const struct node_was *was);
void node_words_peer(const struct node *n, const struct node_conn *c, bool lost);

/* A member is dialled again and again: what does not answer by then is better dialled anew. */
enum { NODE_MEMBER_DIAL_MS = 2000 };
static inline uint64_t node_member_dial_ms(const struct node *n)
{
    const uint64_t ms = n->config.connect_timeout_ms;
    return ms < NODE_MEMBER_DIAL_MS ? ms : NODE_MEMBER_DIAL_MS;
}

/* node_reach.c: done() once, perhaps at once. ERR_FULL, ERR_NOMEM: never. Only a name that does not resolve, a
 * certificate that is not taken, or a stop, is a failure. */
int node_reach(struct node *n, const char *addr, node_done_fn *done, void *ctx) MUST_USE;
void node_reach_cancel_all(struct node *n);

/* node_reap.c */
void node_reap_look(struct node *n);   /* now and then */
void node_retire_look(struct node *n); /* after each step */
/* node_moved.c */
void node_moved_look(struct node *n); /* now and then */
/* node_found.c */
/* A NOTIFY of another node's. done() once, perhaps at once. */
void node_found_asked(struct node *n, const struct wire_join *j, node_done_fn *done, void *ctx);
void node_found_push(struct node *n); /* founded just now, with others: be elected */
void node_found_cancel(struct node *n);
/* node_ask.c */
int node_ask_dial(struct node *n, enum node_ask_kind kind, const char *raft_addr,
                  uint64_t timeout_ms, node_done_fn *done, void *ctx);
void node_ask_self(struct node *n, peer_conn c);
void node_ask_answered(struct node *n, peer_conn c, const struct wire_frame *f);
void node_ask_greeted(struct node *n, peer_conn c);
void node_ask_lost(struct node *n, peer_conn c);
void node_ask_conf_committed(struct node *n);
void node_ask_cancel_all(struct node *n);
void node_meta_fill(const struct node *n, struct wire_meta *m);
/* node_open.c */
int node_open_start(struct node *n);
void node_self_tell(struct node *n); /* greeting facts to peers */
/* node_stop.c */
void node_stop_progress(struct node *n);

#endif
