/* node_data_int — plain data that the room works on: entries in memory, configurations by index, a forced membership, times.
 * Part of node_int.h, which includes it. */
#ifndef RQ_NODE_DATA_INT_H
#define RQ_NODE_DATA_INT_H

#include <rq/node.h>
#include <rq/raft.h>
#include <rq/rlog.h>
#include <rq/util/assert.h>
#include <rq/wire.h>

struct node;

/* ---- entries in memory (node_cache.c) -------------------------------------------------------- */

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

/* ---- configurations by index (node_confs.c) -------------------------------------------------- */

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

/* ---- how long things take (node_times.c) ----------------------------------------------------- */

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

#endif
