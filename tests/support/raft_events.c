/* raft_events.c — everything that can happen to a node: storage, messages, requests, snapshots. */
#include "raft_world.h"

#include <rq/util/assert.h>
#include <rq/util/mem.h>
#include <string.h>

int rworld_simple(struct world *w, raft_id id, enum raft_in_kind kind)
{
    struct raft_in in = {.kind = kind};
    return rworld_step(w, &w->nodes[id], &in, NULL);
}

void rworld_tell_stored(struct world *w, struct world_node *n)
{
    struct raft_in in = {.kind = RAFT_IN_STORED};
    in.u.stored_order = n->untold_order;
    n->untold_order = 0;
    rworld_step(w, n, &in, NULL);
}

void rworld_stored(struct world *w, raft_id id, bool told)
{
    struct world_node *n = &w->nodes[id];
    struct world_batch b = n->batches[n->batch_head];

    ASSERT(n->up && n->batch_count > 0);
    n->batch_head = (n->batch_head + 1) % WORLD_BATCHES;
    n->batch_count--;
    if (b.hard_set) {
        ASSERT(b.hard.term >= n->disk_hard.term && "durable term never falls");
        n->disk_hard = b.hard;
    }
    if (b.count) {
        memcpy(&n->disk[b.first], b.entries, b.count * sizeof(*b.entries));
        n->disk_last = b.first + b.count - 1;
    }
    n->untold_order = b.order;
    if (told)
        rworld_tell_stored(w, n);
    for (uint32_t i = 0; i < b.msg_count; i++)
        rworld_post(w, n, &b.msgs[i]);
    rworld_batch_free(&b);
}

void rworld_deliver(struct world *w, uint32_t at)
{
    struct raft_entry meta[RAFT_ENTRIES_PER_STEP / 64];
    struct world_msg msg = w->net[at];

    w->net[at].entries = NULL;
    rworld_net_drop(w, at);
    struct world_node *n = &w->nodes[msg.m.to];
    if (n->up && !w->cut[msg.m.from][msg.m.to]) {
        for (uint32_t i = 0; msg.entries && i < msg.m.span.count; i++) {
            const struct world_entry *e = &msg.entries[i];
            meta[i].term = e->term;
            meta[i].kind = e->kind;
            meta[i].bytes = e->bytes;
            meta[i].conf = e->kind == RAFT_ENTRY_CONF ? &e->conf : NULL;
        }
        msg.m.entries = msg.entries ? meta : NULL;
        struct raft_in in = {.kind = RAFT_IN_MSG};
        in.u.msg = &msg.m;
        rworld_step(w, n, &in, msg.entries);
    }
    mem_free(msg.entries);
}

void rworld_duplicate(struct world *w, uint32_t at)
{
    if (w->net_count == WORLD_NET)
        return;
    struct world_msg *copy = &w->net[w->net_count++];
    *copy = w->net[at];
    if (copy->entries) {
        size_t bytes = copy->m.span.count * sizeof(*copy->entries);
        copy->entries = mem_must_alloc(bytes);
        memcpy(copy->entries, w->net[at].entries, bytes);
    }
}

void rworld_applied(struct world *w, raft_id id)
{
    struct world_node *n = &w->nodes[id];
    struct raft_in in = {.kind = RAFT_IN_APPLIED};

    for (uint64_t i = n->applied + 1; i <= n->apply_ordered; i++) {
        ASSERT(w->committed[i] == n->log[i].chain && "state machine safety");
        ASSERT(rworld_disk_has(n, i, n->log[i].chain) && "applied ahead of the own log");
    }
    n->applied = n->apply_ordered;
    in.u.applied_index = n->applied;
    rworld_step(w, n, &in, NULL);
}

int rworld_propose(struct world *w, raft_id id, uint32_t count, uint32_t bytes)
{
    uint32_t sizes[64];
    struct raft_in in = {.kind = RAFT_IN_PROPOSE};

    ASSERT(count <= 64);
    for (uint32_t i = 0; i < count; i++)
        sizes[i] = bytes;
    in.u.propose.count = count;
    in.u.propose.bytes = sizes;
    return rworld_step(w, &w->nodes[id], &in, NULL);
}

int rworld_read(struct world *w, raft_id id)
{
    struct raft_in in = {.kind = RAFT_IN_READ};

    if (w->read_next == WORLD_READS)
        return 0;
    in.u.read_token = w->read_next;
    w->read_floor[w->read_next++] = w->committed_max;
    return rworld_step(w, &w->nodes[id], &in, NULL);
}

int rworld_conf(struct world *w, raft_id id, const struct raft_conf *c)
{
    struct raft_in in = {.kind = RAFT_IN_CONF};
    in.u.conf = c;
    int rc = rworld_step(w, &w->nodes[id], &in, NULL);
    w->changes += rc == 0;
    return rc;
}

bool rworld_conf_changed(const struct raft_conf *from, char change, raft_id id,
                         struct raft_conf *to)
{
    uint32_t at = 0;

    *to = *from;
    while (at < to->count && to->members[at].id < id)
        at++;
    bool there = at < to->count && to->members[at].id == id;
    if (change == '-') {
        if (!there)
            return false;
        memmove(&to->members[at], &to->members[at + 1],
                (to->count - at - 1) * sizeof(to->members[0]));
        to->count--;
        memset(&to->members[to->count], 0, sizeof(to->members[0]));
        return true;
    }
    if (change == '^' && !there)
        return false;
    if (!there) {
        memmove(&to->members[at + 1], &to->members[at], (to->count - at) * sizeof(to->members[0]));
        to->count++;
        to->members[at].id = id;
    }
    to->members[at].voter = change != '?';
    return true;
}

static uint64_t rworld_conf_index_at(const struct world_node *n, uint64_t index)
{
    while (index > n->snapshot_index && n->log[index].kind != RAFT_ENTRY_CONF)
        index--;
    return index;
}

void rworld_snapshot(struct world *w, raft_id id, uint64_t index)
{
    struct world_node *n = &w->nodes[id];
    struct raft_in in = {.kind = RAFT_IN_SNAPSHOT};
    uint64_t conf_index = rworld_conf_index_at(n, index);
    struct raft_conf conf =
        conf_index > n->snapshot_index ? n->log[conf_index].conf : n->snapshot_conf;

    ASSERT(index > n->snapshot_index && index <= n->applied);
    in.u.snapshot.index = index;
    in.u.snapshot.term = n->log[index].term;
    in.u.snapshot.conf = &conf;
    n->snapshot_index = index;
    n->snapshot_term = n->log[index].term;
    n->snapshot_conf = conf;
    int rc = rworld_step(w, n, &in, NULL);
    ASSERT(rc == 0);
}

void rworld_install(struct world *w, raft_id id, bool stored_first)
{
    struct world_node *n = &w->nodes[id];
    const struct world_node *from = &w->nodes[n->install_from];
    struct raft_in in = {.kind = RAFT_IN_SNAPSHOT};
    uint64_t index = from->snapshot_index;

    while (stored_first && n->batch_count)
        rworld_stored(w, id, true);
    if (stored_first && n->untold_order)
        rworld_tell_stored(w, n);
    n->install_from = 0;
    if (index <= n->apply_ordered || index == 0)
        return;
    bool agrees = raft_term_at(n->raft, index) == from->snapshot_term;
    memcpy(n->disk, from->disk, (index + 1) * sizeof(*n->disk));
    memcpy(n->log, from->disk, (index + 1) * sizeof(*n->log));
    if (!agrees) {
        n->last = n->disk_last = index;
    } else if (n->disk_last < index) {
        n->disk_last = index;
    }
    n->snapshot_index = index;
    n->snapshot_term = from->snapshot_term;
    n->snapshot_conf = from->snapshot_conf;
    n->applied = n->apply_ordered = index > n->apply_ordered ? index : n->apply_ordered;
    struct raft_conf conf = from->snapshot_conf;
    in.u.snapshot.index = index;
    in.u.snapshot.term = from->snapshot_term;
    in.u.snapshot.conf = &conf;
    in.u.snapshot.installed = true;
    int rc = rworld_step(w, n, &in, NULL);
    ASSERT(rc == 0);
    w->installs++;
}
