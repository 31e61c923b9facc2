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
 *   node_replace.c                       a loaded or vacuumed file takes the place of the main one  (READ, APPLY)
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

#include "node_data_int.h"
#include "node_image_int.h"
#include "node_log_int.h"
#include "node_members_int.h"
#include "node_wait_int.h"
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

/* ---- the node -------------------------------------------------------------------------------- */

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
/* node_frame.c */

extern const struct peer_events node_peer_events;
struct node_conn *node_conn_find(struct node *n, peer_conn c);
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

/* node_open.c */
int node_open_start(struct node *n);
void node_self_tell(struct node *n); /* greeting facts to peers */
/* node_stop.c */
void node_stop_progress(struct node *n);

#endif
