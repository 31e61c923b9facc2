/* sim_net — byte streams between the hosts of a world, and their faults. Part of world.h.
 *
 *   write ─► pending ─► send buffer ─► segments on the wire ─► receive buffer ─► data()
 *            (lost by close)  (sent even after the process died)   (waits for read_start)
 *
 * Inside a connection order is kept and nothing is lost: loss is a segment that comes later (200
 * ms, doubling), and a reset when retransmit_ns has passed. Between connections anything may
 * overtake. Addresses are "name:port" of hosts in the same world. */
#ifndef SIM_NET_H
#define SIM_NET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct world;
struct host;

enum sim_net_latency {
    SIM_LATENCY_CONSTANT,
    SIM_LATENCY_UNIFORM,
    SIM_LATENCY_EXPONENTIAL,
    SIM_LATENCY_BIMODAL
};
enum sim_net_cut {
    SIM_CUT_RANDOM,
    SIM_CUT_WHOLE,
    SIM_CUT_BYTE
}; /* segmentation: random, as written, always one byte */

/* Live: may be changed between events. Base latencies are drawn when a pair first talks. */
struct sim_net_config {
    enum sim_net_latency latency;
    uint64_t latency_min_ns, latency_max_ns; /* base of each ordered pair */
    uint64_t jitter_ns;                      /* mean extra per segment; by family */
    uint64_t ns_per_kib;                     /* bandwidth of each ordered pair */
    enum sim_net_cut cut;
    uint32_t send_buffer_bytes, receive_window_bytes, backlog;
    uint64_t retransmit_ns; /* give up after this long without progress */
    uint64_t connect_ns;    /* give up connecting */
    uint32_t loss_ppm;      /* per segment: comes late */
    uint32_t reset_ppm;     /* per segment: the connection breaks at some byte of it */
    uint32_t half_open_ppm; /* of resets: only one side learns, the other much later */
    uint32_t
        black_hole_ppm; /* per connection: after some bytes everything vanishes without error */
    uint32_t refuse_ppm, hang_ppm; /* per connect */
    uint32_t flip_ppm;             /* per segment: one bit changes */
};
void sim_net_config_default(struct sim_net_config *c);
struct sim_net_config *world_net(struct world *w);

/* ---- who reaches whom: a matrix of ordered pairs; takes effect for segments that arrive from now
 * on --- */

void world_link_set(struct world *w, struct host *from, struct host *to, bool allowed);
bool world_link_get(const struct world *w, const struct host *from, const struct host *to);
/* Base latency and bandwidth of one ordered pair. */
void world_link_tune(struct world *w, struct host *from, struct host *to, uint64_t latency_ns,
                     uint64_t ns_per_kib);
void world_links_heal(struct world *w); /* everybody reaches everybody */
/* Generators; each changes only pairs among the given hosts. */
void world_partition_isolate(struct world *w, struct host *const *hosts, size_t count,
                             size_t victim);
void world_partition_halves(struct world *w, struct host *const *hosts, size_t count,
                            uint64_t left_mask);
void world_partition_bridge(struct world *w, struct host *const *hosts, size_t count,
                            size_t bridge); /* lower and upper half share it */
void world_partition_ring(struct world *w, struct host *const *hosts,
                          size_t count); /* each sees a majority, no two the same */
void world_partition_one_way(struct world *w, struct host *from,
                             struct host *to); /* `to` no longer hears `from` */

/* ---- single faults, by hand
 * -------------------------------------------------------------------------- */

enum sim_net_learn {
    SIM_LEARN_BOTH,
    SIM_LEARN_SENDER,
    SIM_LEARN_RECEIVER
}; /* the other learns when it next sends, or never */
/* Of the bytes travelling from -> to on any connection, let `bytes` more arrive, then break that
 * connection. */
void world_reset_after(struct world *w, struct host *from, struct host *to, uint64_t bytes,
                       enum sim_net_learn learn);
void world_reset_all(struct world *w, struct host *a,
                     struct host *b); /* every connection between the two, now */
void world_black_hole(struct world *w, struct host *a,
                      struct host *b); /* existing connections only; silently */
/* For proving that the trace sees content: the n-th segment to arrive (1: the next) of >= 2 bytes
 * swaps its halves. */
void world_swap_segment(struct world *w, uint64_t nth);
/* The newest one between the two that both still hold; 0: none. */
uint64_t world_connection_between(const struct world *w, const struct host *a, const struct host *b);
size_t world_connection_count(const struct world *w,
                              const struct host *h); /* streams the host holds now */

/* ---- the tap
 * ------------------------------------------------------------------------------------------- */

struct world_bytes {
    struct host *host; /* who hands them over */
    uint64_t incarnation;
    uint64_t connection;        /* unique in the world */
    uint64_t offset;            /* of the first byte in this direction of the connection */
    bool dialed;                /* host opened the connection */
    const char *local, *remote; /* "n1:4001"; the dialing end has an ephemeral port */
    const uint8_t *data;        /* lent */
    size_t len;
};
/* Runs inside env_stream_write, before any byte can be delivered; the promise oracles live here. It
 * may look at everything and call host_crash (takes effect when it returns); it must not run other
 * hosts. */
void world_on_stream_bytes(struct world *w, void (*fn)(void *ctx, const struct world_bytes *b),
                           void *ctx);
/* A connection is gone for the end of `host` (closed, crashed): decoders can forget it. */
void world_on_stream_end(struct world *w,
                         void (*fn)(void *ctx, struct host *host, uint64_t connection), void *ctx);

#endif
