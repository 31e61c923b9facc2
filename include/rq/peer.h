/* peer — framed connections between nodes: dial with back-off, accept, greet, bounded output.
 *
 * Each node dials every member it talks to; a connection carries frames both ways, so that an answer
 * travels on the connection of its request and dies with it. World room: knows env, wire, util. LOOP. */
#ifndef RQ_PEER_H
#define RQ_PEER_H

#include <rq/env.h>
#include <rq/wire.h>

struct peer_set;

/* What the greeting tells; strings are copied. */
struct peer_self {
    uint64_t cluster_id, store_id;
    raft_id id;
    const char *name, *raft_addr, *api_url, *version, *sqlite;
};

/* A connection, by number; never reused. 0: none. Sending to one that is gone is harmless. */
typedef uint64_t peer_conn;

struct peer_events {
    /* The other end has greeted and fits: there is a version of the protocol that both speak, clusters agree (or one
     * has none yet), and each is whom the other expects. Decide: return 0 to keep it, or an ERR_* to refuse (it is
     * closed; the other end learns nothing). The one who was called decides first; only then its own greeting leaves, so
     * that this event on a dialled connection means that the other end keeps it too. dialled: we called. hello lent. It
     * may already be sent on. */
    int (*greeted)(void *ctx, peer_conn c, bool dialled, const struct wire_hello *hello);
    /* A whole, checked frame after the greeting; body lent. */
    void (*frame)(void *ctx, peer_conn c, const struct wire_frame *frame);
    /* The connection is gone: requests sent on it will not be answered. Exactly once, on a later turn, for
     * each that greeted() kept and for each made by peer_dial, whoever closed it.
     * said_bye: the other end closed for its own reasons (WIRE_BYE came before). */
    void (*lost)(void *ctx, peer_conn c, bool said_bye);
    /* The first dial to a member after an established, dialled connection to it was lost without BYE was
     * refused or reset: the process is probably gone (architecture §7, last point). */
    void (*refused)(void *ctx, raft_id member);
    /* Bytes queued towards this member fell below half of the limit after a send was refused. */
    void (*writable)(void *ctx, raft_id member);
    /* Once after peer_drained_want, on a later turn: nothing queued on this connection waits for the transport. */
    void (*drained)(void *ctx, peer_conn c);
};

struct peer_config {
    uint16_t protocol_min, protocol_max; /* versions to speak; 0: all that wire knows */
    struct env *net; /* whose streams and listeners to use (tls_net); NULL: the set's environment. Lent for life */
    uint64_t dial_timeout_ms;  /* per attempt to reach a member: it will be tried again */
    uint64_t backoff_min_ms, backoff_max_ms; /* doubled per failure, jittered from env's chance */
    uint64_t hello_timeout_ms; /* greeting must be complete by then */
    /* A connection on which nothing came for this long is closed, although the dialling end asked with
     * WIRE_PING (twice as long for the end that was called; output that still moves counts); 0: never. */
    uint64_t idle_timeout_ms;
    size_t output_bytes_max; /* LIMIT_PEER_OUTPUT_BYTES; one frame may exceed it when it goes first */
    uint32_t accepted_max;     /* LIMIT_PEER_CONNECTIONS */
};

int peer_set_create(struct env *e, const struct peer_config *config, const struct peer_self *self,
                    const struct peer_events *events, void *ctx, struct peer_set **out) MUST_USE;
/* Listen on bind_addr. 0, ERR_ADDRESS. */
int peer_set_listen(struct peer_set *s, const char *bind_addr, struct err_text *why) MUST_USE;
const char *peer_set_bound_addr(const struct peer_set *s); /* numeric; "" when not listening */
void peer_self_set(struct peer_set *s, const struct peer_self *self); /* for later greetings; copied */
/* Say BYE everywhere, close all; no event from now on, but stopped() on a later turn once everything is
 * closed (about a second at most). Then destroy. */
void peer_set_stop(struct peer_set *s, void (*stopped)(void *ctx), void *ctx);
/* Stopped, or never listened nor dialled. s may be NULL. */
void peer_set_destroy(struct peer_set *s);

/* The members to keep a dialled connection to, replacing the former list; ours is skipped. Dials at
 * once, then forever with back-off. Strings copied. A changed address or store id redials. At most
 * RAFT_NODES_MAX. 0, or ERR_NOMEM: the former list stays. */
struct peer_member {
    raft_id id;
    uint64_t store_id; /* expected; 0: any */
    const char *addr;
};
int peer_members_set(struct peer_set *s, const struct peer_member *members, uint32_t count);

/* The greeted, dialled connection to a member; 0 if there is none now. */
peer_conn peer_conn_of(const struct peer_set *s, raft_id member);
/* Of the protocol, as agreed with this connection's other end; 0: no such connection, or not greeted yet. */
uint16_t peer_protocol_of(const struct peer_set *s, peer_conn c);
/* Dial an address outside of the member list (join, meta of a stranger), once, for at most timeout_ms. *out identifies it.
 * 0: greeted() and then lost(), or lost() alone, will follow. ERR_INVALID, ERR_NOMEM: neither. */
int peer_dial(struct peer_set *s, const char *addr, uint64_t timeout_ms, peer_conn *out) MUST_USE;
/* Says BYE. A member's is dialled again. */
void peer_conn_close(struct peer_set *s, peer_conn c);

/* Queue one frame; frames of one turn leave as one gathered write at its end. body is copied.
 * 0; ERR_NOT_FOUND no such connection, not greeted yet; ERR_FULL over output_bytes_max, ERR_TOO_BIG,
 * ERR_NOMEM: nothing queued. */
int peer_send(struct peer_set *s, peer_conn c, enum wire_kind kind, uint32_t stream, struct slice body) MUST_USE;
/* The connection's output buffer for building frames in place with wire_frame_begin/end, then
 * peer_send_built. NULL: no such connection, or full. Lent until then; what is built and not sent, or
 * failed, is taken back. */
struct buf *peer_out(struct peer_set *s, peer_conn c);
void peer_send_built(struct peer_set *s, peer_conn c);
/* A number for wire `stream`, never 0, unique on this set. */
uint32_t peer_next_stream(struct peer_set *s);
/* Ask for drained(). Who has much to send does so piece by piece, so that what others send does not wait behind
 * all of it. Harmless when the connection is gone (then nothing is told) or was asked for before. */
void peer_drained_want(struct peer_set *s, peer_conn c);
/* Bytes queued and not yet taken by the transport. */
size_t peer_pending(const struct peer_set *s, peer_conn c);

/* What was counted since the set was created. */
struct peer_counters {
    uint64_t accepted, turned_away; /* connections others opened */
    uint64_t strangers;             /* of those accepted: said something that is no greeting */
    uint64_t dialled, lost;         /* dials begun; greeted connections that ended */
    uint64_t frames_in, frames_out, bytes_in, bytes_out;
};
void peer_counters_get(const struct peer_set *s, struct peer_counters *out);

#endif
