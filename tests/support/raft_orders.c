/* raft_orders.c — a node takes one step and the world obeys: log, batches for the disk, messages, reads. */
#include "raft_world.h"

#include <rq/util/assert.h>
#include <rq/util/mem.h>
#include <rq/util/prng.h>
#include <string.h>

void rworld_post(struct world *w, struct world_node *n, const struct raft_msg *m)
{
    rworld_watch_promise(w, n, m);
    ASSERT(m->from == n->id && m->to != n->id && m->to != 0);
    if (m->to > w->node_count || w->net_count == WORLD_NET || w->cut[n->id][m->to])
        return;
    struct world_msg *slot = &w->net[w->net_count++];
    slot->m = *m;
    slot->entries = NULL;
    if (m->kind != RAFT_MSG_APPEND_REQ || m->span.count == 0)
        return;
    ASSERT(m->span.first == m->log_index + 1 && m->log_index + m->span.count <= n->last);
    slot->entries = mem_must_alloc(m->span.count * sizeof(*slot->entries));
    memcpy(slot->entries, &n->log[m->span.first], m->span.count * sizeof(*slot->entries));
}

/* Memory obeys at once; a copy waits for the disk. */
static void rworld_append(struct world *w, struct world_node *n, const struct raft_out *out,
                          const struct raft_in *in, const struct world_entry *from_net)
{
    uint64_t first = out->append.first;

    ASSERT(first >= 1 && first <= n->last + 1 && first + out->append.count < WORLD_LOG);
    ASSERT((n->view.role != RAFT_LEADER || first == n->last + 1) && "leader append-only");
    w->truncations += first <= n->last;
    for (uint32_t i = 0; i < out->append.count; i++) {
        uint64_t index = first + i;
        struct world_entry e = {0};
        if (out->append_from_msg) {
            e = from_net[index - in->u.msg->log_index - 1];
        } else {
            e.term = n->hard.term;
            e.kind = out->append_kind;
            e.value = ++w->value;
            if (e.kind == RAFT_ENTRY_CONF)
                e.conf = *in->u.conf;
            else if (e.kind == RAFT_ENTRY_NORMAL)
                e.bytes = in->u.propose.bytes[i];
        }
        e.chain = prng_mix(prng_mix(n->log[index - 1].chain, e.term * 4 + e.kind), e.value);
        ASSERT((!out->append_from_msg ||
                e.chain == from_net[index - in->u.msg->log_index - 1].chain) &&
               "log matching");
        /* A deposed leader may still hand stale entries to a stale follower, but replace none. */
        ASSERT((index > n->last || w->committed[index] != n->log[index].chain ||
                w->committed[index] == 0 || e.chain == n->log[index].chain) &&
               "committed entry overwritten");
        rworld_watch_entry(w, index, &e);
        n->log[index] = e;
    }
    for (uint64_t i = first + out->append.count; i <= n->last; i++)
        ASSERT((w->committed[i] == 0 || w->committed[i] != n->log[i].chain) &&
               "committed entry truncated");
    n->last = first + out->append.count - 1;
}

static void rworld_batch_push(struct world_node *n, const struct raft_out *out)
{
    ASSERT(n->batch_count < WORLD_BATCHES);
    struct world_batch *b = &n->batches[(n->batch_head + n->batch_count++) % WORLD_BATCHES];

    memset(b, 0, sizeof(*b));
    b->order = out->order;
    b->hard_set = out->hard != NULL;
    b->hard = n->hard;
    b->first = out->append.first;
    b->count = out->append.count;
    if (b->count) {
        b->entries = mem_must_alloc(b->count * sizeof(*b->entries));
        memcpy(b->entries, &n->log[b->first], b->count * sizeof(*b->entries));
    }
    b->msg_count = out->send_stored.count;
    if (b->msg_count) {
        b->msgs = mem_must_alloc(b->msg_count * sizeof(*b->msgs));
        memcpy(b->msgs, out->send_stored.msgs, b->msg_count * sizeof(*b->msgs));
    }
}

static void rworld_reads(struct world *w, const struct raft_out *out, uint64_t committed)
{
    for (uint32_t i = 0; i < out->reads.count; i++) {
        const struct raft_read *q = &out->reads.reads[i];
        if (!q->ok)
            continue;
        ASSERT(q->token < WORLD_READS && q->index <= committed);
        ASSERT(q->index >= w->read_floor[q->token] && "stale read");
        w->served++;
    }
}

int rworld_step(struct world *w, struct world_node *n, struct raft_in *in,
                const struct world_entry *from_net)
{
    struct raft_out out;
    struct raft_view old = n->view;

    ASSERT(n->up);
    in->now_ms = w->now_ms;
    int rc = raft_step(n->raft, in, &out);
    n->wake_ms = out.wake_ms;
    raft_check(n->raft);
    ASSERT(rc == 0 || (!out.hard && !out.append.count && !out.send_now.count && !out.apply.count));
    if (out.hard)
        n->hard = *out.hard;
    raft_look(n->raft, &n->view);
    if (out.append.count)
        rworld_append(w, n, &out, in, from_net);
    rworld_watch_view(w, n, &old);
    rworld_say_out(w, &out);
    if (rc == 0)
        rworld_say_change(w, n, &out);
    else
        WORLD_SAY(w, "  %s\n", err_name_of(rc));
    bool quiet = !out.hard && !out.append.count && n->batch_count == 0;
    for (uint32_t i = 0; i < out.send_now.count; i++)
        rworld_post(w, n, &out.send_now.msgs[i]);
    if (quiet) /* nothing before it is unstored: stored_then leaves at once */
        for (uint32_t i = 0; i < out.send_stored.count; i++)
            rworld_post(w, n, &out.send_stored.msgs[i]);
    else if (out.hard || out.append.count || out.send_stored.count)
        rworld_batch_push(n, &out);
    if (out.apply.count) {
        ASSERT(out.apply.first == n->apply_ordered + 1 && "each index once, in order");
        n->apply_ordered += out.apply.count;
    }
    rworld_reads(w, &out, n->view.commit_index);
    for (uint32_t i = 0; i < out.snapshot_count; i++)
        if (n->snapshot_to_count < RAFT_NODES_MAX)
            n->snapshot_to[n->snapshot_to_count++] = out.snapshots[i].to;
    if (out.install_wanted) {
        n->install_from = out.install_from;
        n->install_index = out.install_index;
    }
    return rc;
}
