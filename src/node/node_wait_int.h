/* node_wait_int — what the room keeps for requests: those that wait, reads, answers on their way. Part of node_int.h, which
 * includes it. */
#ifndef RQ_NODE_WAIT_INT_H
#define RQ_NODE_WAIT_INT_H

#include "node_data_int.h"
#include <rq/db.h>
#include <rq/env.h>
#include <rq/node.h>
#include <rq/peer.h>
#include <rq/util/list.h>
#include <stdatomic.h>

/* ---- requests that wait (node_wait.c) -------------------------------------------------------- */

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

/* ---- lanes ----------------------------------------------------------------------------------- */

struct node_reader {
    struct db_reader *reader; /* NULL: not opened yet */
    bool busy;
    bool open;                         /* the loop's word for reader != NULL */
    struct db_query_counts run_counts; /* the job's */
    struct db_query_counts counts;     /* the loop's copy */
};

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
void node_backup_look(struct node *n);        /* entries may have been applied: is one too slow? */
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

#endif
