/* raft_world.h — some raft values, their disks and a network between them, in memory; driven by a script
 * or by a generator. Watches what the thesis promises (fig. 3.2) against tables of everything that
 * ever happened, which no single node can see.
 *
 * A node's memory obeys orders at once; its disk obeys when rworld_stored says so; a crash leaves the
 * disk. Messages of send_stored wait for their order.
 *
 *   raft_world.c    making, ending, restarting; time
 *   raft_events.c   what a script can let happen
 *   raft_orders.c   one step of one node, and what it orders
 *   raft_watch.c    what must hold at each
 *   raft_trace.c    words for all that */
#ifndef RQ_TEST_RAFT_WORLD_H
#define RQ_TEST_RAFT_WORLD_H

#include <rq/raft.h>
#include <rq/util/buf.h>
#include <stdbool.h>
#include <stdint.h>

enum {
    WORLD_NODES = 8, /* ids 1 … 7 */
    WORLD_LOG = 700, /* entries per log */
    WORLD_TERMS = 2000,
    WORLD_NET = 3000,    /* messages on their way; more are lost */
    WORLD_BATCHES = 600, /* orders not yet stored, per node */
    WORLD_READS = 4000,
};

struct world_entry {
    uint64_t term, value;
    uint64_t chain; /* of this and everything before it */
    enum raft_entry_kind kind;
    uint32_t bytes;
    struct raft_conf conf;
};
struct world_msg {
    struct raft_msg m;
    struct world_entry *entries; /* m.span.count, from `values` of the sender's log */
};
struct world_batch {
    uint64_t order;
    bool hard_set;
    struct raft_hard hard;
    uint64_t first;
    uint32_t count;
    struct world_entry *entries;
    uint32_t msg_count;
    struct raft_msg *msgs;
};
struct world_node {
    raft_id id;
    bool up;
    struct raft *raft;
    struct raft_view view;
    uint64_t wake_ms;
    /* what it believes its log to be, and what is on its disk; [0] unused */
    struct world_entry *log, *disk;
    uint64_t last, disk_last;
    struct raft_hard hard, disk_hard;
    uint64_t snapshot_index, snapshot_term;
    struct raft_conf snapshot_conf;
    uint64_t apply_ordered, applied; /* state machine: prefix of log, thus an index */
    struct world_batch *batches;
    uint32_t batch_head, batch_count;
    uint64_t untold_order; /* on disk, but raft has not heard of it */
    uint64_t install_from, install_index;
    uint64_t snapshot_to[RAFT_NODES_MAX];
    uint32_t snapshot_to_count;
};
struct world {
    uint64_t now_ms, seed, value;
    struct world_node nodes[WORLD_NODES]; /* by id; [0] unused */
    uint32_t node_count;
    struct raft_config config;
    struct raft_conf bootstrap;
    struct world_msg net[WORLD_NET];
    uint32_t net_count;
    bool cut[WORLD_NODES][WORLD_NODES]; /* from, to */
    struct buf *trace;                  /* NULL: silent */
    /* everything that ever happened */
    raft_id leader_of[WORLD_TERMS];
    raft_id vote_of[WORLD_TERMS][WORLD_NODES];
    uint64_t chain_of[WORLD_LOG][32][2]; /* per index: (term, chain) pairs seen */
    uint64_t committed[WORLD_LOG];       /* chain; 0: not yet */
    uint64_t committed_term[WORLD_LOG];  /* of the leader that did it first */
    uint64_t committed_max;
    uint64_t read_floor[WORLD_READS];
    uint64_t read_next;
    uint64_t served, elected, changes, installs, truncations, transfers;
};

/* ---- making and ending ---- */

void rworld_init(struct world *w, uint64_t seed, uint32_t node_count, uint32_t voter_count);
void rworld_fini(struct world *w);
void rworld_node_down(struct world_node *n);
/* From what is on the disk alone. The database comes back at the snapshot or any later applied index. */
void rworld_restart(struct world *w, raft_id id, uint64_t applied);
void rworld_net_drop(struct world *w, uint32_t at);
void rworld_batch_free(struct world_batch *b);

/* ---- events ---- */

/* One step of one node, with everything it orders. from_net: entries of a MSG. */
int rworld_step(struct world *w, struct world_node *n, struct raft_in *in,
                const struct world_entry *from_net);
void rworld_post(struct world *w, struct world_node *n, const struct raft_msg *m);
int rworld_simple(struct world *w, raft_id id, enum raft_in_kind kind);
void rworld_tell_stored(struct world *w, struct world_node *n);
/* The oldest batch reaches the disk; told: raft hears of it (else a later STORED will cover it). */
void rworld_stored(struct world *w, raft_id id, bool told);
void rworld_deliver(struct world *w, uint32_t at);
void rworld_duplicate(struct world *w, uint32_t at);
void rworld_applied(struct world *w, raft_id id);
int rworld_propose(struct world *w, raft_id id, uint32_t count, uint32_t bytes);
int rworld_read(struct world *w, raft_id id);
int rworld_conf(struct world *w, raft_id id, const struct raft_conf *c);
/* change: '+' add voter, '?' add learner or demote, '^' promote, '-' remove. False: cannot be said. */
bool rworld_conf_changed(const struct raft_conf *from, char change, raft_id id,
                         struct raft_conf *to);
/* Cut a snapshot of the applied state. */
void rworld_snapshot(struct world *w, raft_id id, uint64_t index);
/* The offered snapshot arrives whole and is durable: state, and the log cut to it or kept behind it.
 * stored_first: the LOG lane does one thing after the other; else what is on its way to the disk stays there. */
void rworld_install(struct world *w, raft_id id, bool stored_first);

/* ---- time ---- */

/* Everything that is on its way arrives, everything ordered is stored and applied; time stands still. */
void rworld_settle(struct world *w);
/* Time passes in small steps; every node is woken when it asked to be. */
void rworld_run(struct world *w, uint64_t ms);

/* ---- what must always hold (each ends the program when it does not) ---- */

bool rworld_disk_has(const struct world_node *n, uint64_t index, uint64_t chain);
/* R3 log matching: one (index, term), one history. */
void rworld_watch_entry(struct world *w, uint64_t index, const struct world_entry *e);
void rworld_watch_view(struct world *w, struct world_node *n, const struct raft_view *old);
/* A promise leaves: the disk must already keep it. */
void rworld_watch_promise(struct world *w, const struct world_node *n, const struct raft_msg *m);

/* ---- words ---- */

raft_id rworld_leader(const struct world *w);
/* One line per node, for people. */
void rworld_dump(const struct world *w, struct buf *out);
void rworld_say_msg(struct world *w, const struct raft_msg *m);
const char *rworld_kind_name(enum raft_entry_kind kind);
void rworld_say_out(struct world *w, const struct raft_out *out);
void rworld_say_change(struct world *w, const struct world_node *n, const struct raft_out *out);
#define WORLD_SAY(w, ...)                                                                          \
    do {                                                                                           \
        if ((w)->trace)                                                                            \
            buf_printf((w)->trace, __VA_ARGS__);                                                   \
    } while (0)

#endif
