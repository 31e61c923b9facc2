/* node_members_int — what the room keeps for who belongs to the cluster: changes, questions, founding. Part of node_int.h,
 * which includes it. */
#ifndef RQ_NODE_MEMBERS_INT_H
#define RQ_NODE_MEMBERS_INT_H

#include <rq/env.h>
#include <rq/node.h>
#include <rq/peer.h>
#include <rq/util/list.h>

struct node;
/* ---- membership (node_members.c) ------------------------------------------------------------- */

typedef void node_done_fn(void *ctx, int rc, const char *why);

enum node_change_step {
    CHANGE_START,
    CHANGE_REMOVING,
    CHANGE_ADDING,
    CHANGE_CATCHING_UP,
    CHANGE_PROMOTING
};
struct node_change { /* on the leader: one join or remove, one at a time */
    struct list link;
    struct node *node;
    bool is_remove, voter;
    enum node_change_step step;
    char name[WIRE_NAME_MAX + 1], addr[WIRE_ADDR_MAX + 1];
    uint64_t store_id;
    uint64_t conf_index; /* of the change under way */
    uint64_t catch_up_index;
    uint64_t deadline_ns;
    node_done_fn *done; /* local asker, or */
    void *ctx;
    peer_conn conn; /* of a node that asks to join */
    uint32_t stream;
};

enum { NODE_ASKS_MAX = 64 };
enum node_ask_kind { ASK_JOIN = 1, ASK_NOTIFY, ASK_PLEDGE, ASK_REMOVE, ASK_STEPDOWN, ASK_META };
struct node_ask { /* a question of ours to another node */
    struct list link;
    struct node *node;
    enum node_ask_kind kind;
    peer_conn conn;
    uint32_t stream;
    bool own_conn;    /* dialled for this: close afterwards */
    bool sees_itself; /* REMOVE: the answer is what becomes of the configuration */
    uint32_t hops;
    struct env_timer timer;
    struct env_turn turn; /* to answer about ourselves later */
    char name[WIRE_NAME_MAX + 1];
    node_done_fn *done;
    void (*meta_done)(void *ctx, int rc, const struct wire_meta *meta, const char *why);
    void *ctx;
};

struct node_reap {            /* node_reap.c */
    uint64_t term, office_ms; /* when we began to lead in it */
    bool active, replica;     /* a removal is under way */
    char name[WIRE_NAME_MAX + 1];
};

struct node_founding {       /* node_found.c */
    struct wire_conf set;    /* who announced themselves, by id */
    uint64_t pledged;        /* store id of the only node that may found with us; 0: any may ask */
    uint64_t pledged_serial; /* of its question */
    uint64_t pledged_until_ns;
    /* gathering pledges */
    node_done_fn *done; /* NULL: not now */
    void *ctx;
    uint64_t timeout_ms;
    uint64_t began_ns;            /* the first question */
    uint64_t got[RAFT_NODES_MAX]; /* store ids of those who have pledged themselves */
    uint32_t got_count;
    uint64_t asked;         /* store id */
    struct env_timer timer; /* the next question, on a later turn */
    /* after founding */
    struct env_timer push;
    uint32_t pushes;
};

/* ---- calls ---- */

/* node_members.c */
int node_remove_here(struct node *n, struct slice name, node_done_fn *done, void *ctx);
void node_members_progress(struct node *n); /* after steps and on its timer */
void node_members_lost(struct node *n);     /* no longer leader */
void node_members_asked(struct node *n, peer_conn c, const struct wire_frame *f);
void node_transfer_progress(struct node *n);
void node_transfer_cancel(struct node *n);
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
/* node_reach.c: done() once, perhaps at once. ERR_FULL, ERR_NOMEM: never. Only a name that does not resolve, a
 * certificate that is not taken, or a stop, is a failure. */
int node_reach(struct node *n, const char *addr, node_done_fn *done, void *ctx) MUST_USE;
void node_reach_cancel_all(struct node *n);

#endif
