/* peer_int — the inside of the peer room.
 *
 *   peer.c ─► peer_dial.c, peer_accept.c ─► peer_line.c ─► peer_greet.c, peer_output.c ─► peer_lines.c
 *   (door)    (who gets a line, and when)   (one line)     (hello; bytes out)             (all of them)
 *
 * A *line* is one connection, a *dest* a member we keep a line to. Lines live in one array in the order
 * of their numbers, which are never reused; nothing depends on addresses in memory. */
#ifndef RQ_PEER_INT_H
#define RQ_PEER_INT_H

#include <rq/peer.h>
#include <rq/util/buf.h>

enum {
    PEER_HELLO_BYTES_MAX = 4096, /* before the greeting nobody may make us hold more */
    PEER_BUF_KEEP_BYTES = 64 * 1024,
    PEER_LEAVING_MS = 1000, /* how long a BYE may take */
    PEER_UNHEARD_MAX = 5,
    PEER_UNHEARD_MS = 10,
    PEER_FOREIGN_MS = 10 * 1000,
};

/*   CONNECTING ─opened(0)─► GREETING ─hello fits, kept─► OPEN ─our BYE─► LEAVING
 *        └───────────────────────┴──── any failure ─────────┴────────────────┴──► CLOSING ─closed─► freed
 *
 * LEAVING goes on reading until the other end has closed on our BYE: closing with unread bytes would
 * reset the connection, and the reset would overtake the BYE. */
enum peer_state { PEER_CONNECTING, PEER_GREETING, PEER_OPEN, PEER_LEAVING, PEER_CLOSING };

struct peer_line {
    struct peer_set *set;
    peer_conn number;
    enum peer_state state;
    bool dialled;
    bool spoke;    /* anything came */
    bool told;     /* the owner knows of it: lost() is owed */
    bool was_open; /* kept by greeted() */
    bool said_bye;
    bool refused; /* a send was refused since output was last below half */
    bool want_drained;
    int end_rc;        /* why it ended; 0: our own wish */
    raft_id id;        /* of the other end; 0 before it greeted */
    uint16_t protocol; /* version agreed on; 0 before it greeted */
    raft_id expect_id;
    uint64_t expect_store_id;
    uint64_t opened_ns; /* became OPEN */
    uint64_t heard_ns;  /* last sign of life */
    size_t pending_seen;
    struct peer_dest *dest; /* we dialled for this member; NULL: stranger or accepted */
    /* Runs when the line is out of the set, before lost(): whoever made the line cleans up. */
    void (*gone)(struct peer_line *line);
    struct env_stream *stream;
    struct env_timer timer; /* bounds the state it is in */
    struct buf in;          /* a frame of which a part has come */
    size_t in_need;         /* bytes of it, as far as known */
    struct buf out;         /* frames of this turn */
    size_t out_ready;       /* whole ones; beyond: being built */
};

/* A member to keep a line to. */
struct peer_dest {
    struct peer_set *set;
    raft_id id;
    uint64_t store_id;
    char *addr;
    uint32_t failures;      /* in a row */
    bool fresh_loss;        /* an open line was just lost without BYE; the next dial tells more */
    uint32_t unheard;       /* dials since then that were taken and died without a word */
    bool complained;        /* one line in the log per streak */
    struct peer_line *line; /* NULL: waiting for the timer */
    struct env_timer timer; /* next dial */
};

struct peer_set {
    struct env *env;
    struct peer_config config;
    struct peer_self self; /* strings ours */
    const struct peer_events *events;
    void *ctx;
    struct env_listener *listener;
    struct env_turn turn;     /* one gathered write per line */
    struct peer_line **lines; /* ascending by number */
    size_t line_count, line_cap;
    uint32_t accepted_count;
    uint32_t turned_away; /* streams over the limit, closing */
    peer_conn last_number;
    uint32_t last_stream;
    uint64_t foreign_ns; /* the last time a node of no common version was told of; 0: never */
    struct peer_dest *dests[RAFT_NODES_MAX];
    uint32_t dest_count;
    bool stopping;
    void (*stopped)(void *ctx);
    void *stopped_ctx;
    struct env_timer stop_timer;
    struct peer_counters counters;
};

/* ---- peer_lines.c: the collection ---- */

/* A zeroed line with a number, at the end. NULL: out of memory. */
struct peer_line *peer_lines_add(struct peer_set *s);
struct peer_line *peer_lines_find(const struct peer_set *s, peer_conn number); /* NULL: gone */
void peer_lines_remove(struct peer_line *line);                                /* and free it */
/* If stopping and nothing is left: stopped(). The set may be gone afterwards. */
void peer_lines_settle(struct peer_set *s);

/* ---- peer_output.c: bytes towards the other end ---- */

size_t peer_output_pending(const struct peer_line *line);
/* The buffer, with what was built and never sent taken back. */
struct buf *peer_output_begin(struct peer_line *line);
/* What was built since is whole now; it leaves at the end of the turn. */
void peer_output_commit(struct peer_line *line);
int peer_output_frame(struct peer_line *line, enum wire_kind kind, uint32_t stream,
                      struct slice body);
int peer_output_flush(struct peer_line *line); /* 0, or the transport's refusal */
/* Tell `writable` and `drained` if they are owed and true. */
void peer_output_relieve(struct peer_line *line);

/* ---- peer_greet.c: who is there ---- */

int peer_greet_put(struct peer_line *line);
/* 0 and the version to speak; ERR_IDENTITY; ERR_VERSION, which is logged. */
int peer_greet_check(const struct peer_line *line, const struct wire_hello *h, uint16_t *protocol);
int peer_self_copy(struct peer_self *dst, const struct peer_self *src);
void peer_self_free(struct peer_self *self);

/* ---- peer_line.c: one connection ---- */

/* Begin a line: connect to addr, or take an accepted stream. 0 and *out; ERR_NOMEM, ERR_INVALID. */
int peer_line_dial(struct peer_set *s, const char *addr, uint64_t timeout_ms,
                   void (*gone)(struct peer_line *), struct peer_line **out);
int peer_line_accept(struct peer_set *s, struct env_stream *stream,
                     void (*gone)(struct peer_line *));
void peer_line_end(struct peer_line *line, int rc); /* close at once; harmless when closing */
void peer_line_bye(struct peer_line *line);         /* say so first, if anybody listens */

/* ---- peer_dial.c, peer_accept.c ---- */

void peer_dial_stop(
    struct peer_set *s); /* forget all members; their lines are left to the caller */
void peer_accept_stop(struct peer_set *s);

#endif
