/* net_int — connections inside the simulated network.
 *
 * A connection has two ends and two directions; dir[i] carries bytes from end[i] to end[1 - i]:
 *
 *   ring of bytes:   delivered ≤ arrived ≤ sent ≤ written
 *                     └ in the receive buffer ┘ └ on the wire ┘ └ with the sender
 *
 * One wire event per direction stands for its first segment; those behind wait for it, so order holds.
 * Connections live until the world ends; only their bytes are freed earlier. */
#ifndef NET_INT_H
#define NET_INT_H

#include "env/world_int.h"

enum end_state {
    ES_CONNECTING, /* dialed, no answer yet; or accepted and not handed over */
    ES_OPEN,
    ES_FINISHING, /* env_stream_finish: closed() when everything left for the transport */
    ES_CLOSED,    /* closed() is on its way, or done: the owner must not touch it */
};

struct conn;

struct end {
    struct env_stream base; /* first */
    struct conn *conn;
    unsigned side;
    struct host *host;
    uint64_t incarnation;
    enum end_state state;
    bool close_called;
    bool kernel_gone; /* no such connection here: segments meet a reset */
    bool app_gone;    /* nobody reads any more */
    bool reading, deliver_posted, opened_posted, closed_posted, linger_posted, ended_told;
    int broken; /* ERR_*: ended() owed or told */
    char addr[80];
};

struct segment {
    struct segment *next;
    uint64_t at_ns, len;
    bool fin;
};

struct dir {
    uint8_t *data; /* bytes delivered .. written, from data[start] */
    size_t start, cap;
    uint64_t delivered, arrived, sent, written;
    struct segment *first, *last;
    bool wire_posted, dead, fin_wanted, fin_sent, fin_arrived, drain_owed;
    uint64_t last_at_ns, stalled_since_ns, rto_ns, ack_lost_since_ns;
};

struct conn {
    struct conn *next; /* all of the world */
    uint64_t id;
    struct world *world;
    struct end end[2]; /* 0 dialed */
    struct dir dir[2];
    uint16_t port; /* dialed */
    bool established, hung, black_hole;
    uint64_t black_hole_after; /* bytes until it opens; 0: none planned */
    uint64_t syn_wait_ns;
};

struct sim_listener {
    struct env_listener base; /* first */
    struct list in_host;
    struct host *host;
    uint16_t port;
    uint32_t waiting; /* established, not accepted */
    void (*accepted)(void *, struct env_stream *);
    void *ctx;
    char addr[80];
};

struct link {
    bool blocked, drawn;
    uint64_t blocked_since_ns;
    uint64_t latency_ns, ns_per_kib, free_at_ns;
    uint64_t reset_after; /* bytes still to pass */
    bool reset_armed;
    enum sim_net_learn learn;
};

struct net {
    struct link links[WORLD_HOST_MAX][WORLD_HOST_MAX]; /* [from][to] */
    struct conn *conns;
    uint64_t conn_next;
    void (*on_bytes)(void *, const struct world_bytes *);
    void *on_bytes_ctx;
    void (*on_end)(void *, struct host *, uint64_t);
    void *on_end_ctx;
};

/* net_link.c */
struct link *link_of(struct world *w, const struct host *from, const struct host *to);
uint64_t link_delay_ns(struct world *w, const struct host *from,
                       const struct host *to); /* base and jitter, drawn */
uint64_t link_send_ns(struct world *w, const struct host *from, const struct host *to,
                      uint64_t len); /* + bandwidth, loss */
bool link_blocked(struct world *w, const struct host *from, const struct host *to);

/* net_conn.c */
static inline struct end *end_of(struct env_stream *s)
{
    return (struct end *)(void *)s;
}
static inline struct end *end_peer(struct end *en)
{
    return &en->conn->end[1 - en->side];
}
bool end_alive(const struct end *en); /* its process lives and still owns the stream */
struct conn *conn_new(struct world *w, struct host *dialer);
void conn_syn(struct conn *c, uint64_t after_ns);
void conn_pump(struct conn *c, unsigned side); /* put what may leave on the wire */
void conn_break(struct conn *c, unsigned from, enum sim_net_learn learn);
void end_broken(struct end *en, int rc); /* its kernel gives up: tell the owner */
void end_deliver_later(struct end *en);
void end_forget(struct end *en); /* the owner let go: FIN or reset to the peer, as a kernel would */
void end_reset_peer(struct end *en);
size_t end_pending(const struct end *en);
void dir_drop(struct dir *d);
void end_post_closed(struct end *en);
void end_finish_progress(struct end *en);

#endif
