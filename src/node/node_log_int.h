/* node_log_int — how entries become durable, reach the others and the database. Part of node_int.h, which includes it. */
#ifndef RQ_NODE_LOG_INT_H
#define RQ_NODE_LOG_INT_H

#include "node_data_int.h"
#include <rq/db.h>
#include <rq/env.h>
#include <rq/peer.h>
#include <rq/rlog.h>

struct node_wait;

/* ---- log, messages, apply (node_log.c, node_load.c, node_send.c, node_apply.c) ------------------------------ */

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

#endif
