/* raft_world.h — some raft values, their disks and a network between them, in memory; driven by a script
 * or by a generator. Watches what the thesis promises (fig. 3.2) against tables of everything that
 * ever happened, which no single node can see.
 *
 * A node's memory obeys orders at once; its disk obeys when world_stored says so; a crash leaves the
 * disk. Messages of send_stored wait for their order. Header only: each test program has its own copy. */
#ifndef RQ_TEST_RAFT_WORLD_H
#define RQ_TEST_RAFT_WORLD_H

#include <rq/raft.h>
#include <rq/util/assert.h>
#include <rq/util/buf.h>
#include <rq/util/mem.h>
#include <rq/util/prng.h>
#include <string.h>

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

static inline const char *world_kind_name(enum raft_entry_kind kind)
{
    static const char *const names[] = {"NORMAL", "NOOP", "CONF"};
    return names[kind];
}

#define WORLD_SAY(w, ...)                                                                          \
    do {                                                                                           \
        if ((w)->trace)                                                                            \
            buf_printf((w)->trace, __VA_ARGS__);                                                   \
    } while (0)

/* ---- making ----------------------------------------------------------------------------------------- */

static inline void world_init(struct world *w, uint64_t seed, uint32_t node_count,
                              uint32_t voter_count)
{
    memset(w, 0, sizeof(*w));
    w->seed = seed;
    w->now_ms = 1000;
    w->node_count = node_count;
    w->config.heartbeat_ms = 10;
    w->config.election_ms = 100;
    w->config.lease_ms = 100;
    w->config.append_count_max = 4;
    w->config.append_bytes_max = 1000;
    w->config.window_msgs = 3;
    w->config.window_bytes = 2000;
    w->config.term_runs_max = 64;
    for (uint32_t i = 1; i <= voter_count; i++) {
        w->bootstrap.members[w->bootstrap.count].id = i;
        w->bootstrap.members[w->bootstrap.count++].voter = true;
    }
    for (uint32_t i = 1; i <= node_count; i++) {
        struct world_node *n = &w->nodes[i];
        n->id = i;
        n->log = mem_must_zalloc(WORLD_LOG * sizeof(*n->log));
        n->disk = mem_must_zalloc(WORLD_LOG * sizeof(*n->disk));
        n->batches = mem_must_zalloc(WORLD_BATCHES * sizeof(*n->batches));
        if (i <= voter_count)
            n->snapshot_conf = w->bootstrap;
    }
}

static inline void world_batch_free(struct world_batch *b)
{
    mem_free(b->entries);
    mem_free(b->msgs);
    memset(b, 0, sizeof(*b));
}

static inline void world_node_down(struct world_node *n)
{
    raft_destroy(n->raft);
    n->raft = NULL;
    n->up = false;
    for (; n->batch_count; n->batch_count--) {
        world_batch_free(&n->batches[n->batch_head]);
        n->batch_head = (n->batch_head + 1) % WORLD_BATCHES;
    }
    n->untold_order = 0;
    n->install_from = 0;
    n->snapshot_to_count = 0;
}

static inline void world_net_drop(struct world *w, uint32_t at)
{
    ASSERT(at < w->net_count);
    mem_free(w->net[at].entries);
    memmove(&w->net[at], &w->net[at + 1], (w->net_count - at - 1) * sizeof(w->net[0]));
    w->net_count--;
}

static inline void world_fini(struct world *w)
{
    while (w->net_count)
        world_net_drop(w, w->net_count - 1);
    for (uint32_t i = 1; i <= w->node_count; i++) {
        world_node_down(&w->nodes[i]);
        mem_free(w->nodes[i].log);
        mem_free(w->nodes[i].disk);
        mem_free(w->nodes[i].batches);
    }
}

/* From what is on the disk alone. The database comes back at the snapshot or any later applied index. */
static inline void world_restart(struct world *w, raft_id id, uint64_t applied)
{
    struct world_node *n = &w->nodes[id];
    struct raft_term_run runs[WORLD_LOG];
    struct raft_conf_at *confs = mem_must_zalloc(WORLD_LOG * sizeof(*confs));
    struct raft_restore f = {0};
    struct raft_config config = w->config;
    struct err_text why;

    ASSERT(!n->up);
    memcpy(n->log, n->disk, WORLD_LOG * sizeof(*n->log));
    n->last = n->disk_last;
    n->hard = n->disk_hard;
    n->applied = n->apply_ordered = applied > n->snapshot_index ? applied : n->snapshot_index;
    f.hard = n->hard;
    f.snapshot_index = n->snapshot_index;
    f.snapshot_term = n->snapshot_term;
    f.snapshot_conf = n->snapshot_conf;
    f.last_index = n->last;
    f.applied_index = n->applied;
    for (uint64_t i = n->snapshot_index + 1; i <= n->last; i++) {
        if (f.run_count == 0 || runs[f.run_count - 1].term != n->log[i].term)
            runs[f.run_count++] = (struct raft_term_run){i, n->log[i].term};
        if (n->log[i].kind == RAFT_ENTRY_CONF)
            confs[f.conf_count++] = (struct raft_conf_at){i, n->log[i].conf};
    }
    f.runs = runs;
    f.confs = confs;
    config.id = id;
    config.seed = prng_mix(w->seed, w->now_ms * 16 + id);
    int rc = raft_create(&config, &f, w->now_ms, &n->raft, &why);
    ASSERT(rc == 0);
    mem_free(confs);
    n->up = true;
    n->wake_ms = w->now_ms;
    raft_check(n->raft);
    raft_look(n->raft, &n->view);
}

/* ---- what must always hold -------------------------------------------------------------------------- */

/* R3 log matching: one (index, term), one history. */
static inline void world_watch_entry(struct world *w, uint64_t index, const struct world_entry *e)
{
    for (uint32_t i = 0; i < 32; i++) {
        uint64_t *seen = w->chain_of[index][i];
        if (seen[0] == e->term) {
            ASSERT(seen[1] == e->chain && "log matching");
            return;
        }
        if (seen[0] == 0) {
            seen[0] = e->term;
            seen[1] = e->chain;
            return;
        }
    }
}

static inline bool world_disk_has(const struct world_node *n, uint64_t index, uint64_t chain)
{
    return (index <= n->disk_last && n->disk[index].chain == chain) || index == 0;
}

/* R8: what a leader newly commits ends with an entry of its own term, on the disks of a quorum of the
 * configuration in force there. */
static inline void world_watch_commit(struct world *w, const struct world_node *n, uint64_t before)
{
    uint64_t index = n->view.commit_index;
    uint32_t have = 0, voters = 0;

    for (uint64_t i = before + 1; i <= index; i++) {
        ASSERT((w->committed[i] == 0 || w->committed[i] == n->log[i].chain) &&
               "state machine safety");
        if (w->committed[i] == 0)
            w->committed_term[i] = n->hard.term;
        w->committed[i] = n->log[i].chain;
    }
    if (index > w->committed_max)
        w->committed_max = index;
    if (n->view.role != RAFT_LEADER || index == before)
        return;
    ASSERT(n->log[index].term == n->hard.term && "only an own-term entry commits by count");
    for (uint32_t i = 0; i < n->view.conf->count; i++) {
        const struct raft_member *m = &n->view.conf->members[i];
        voters += m->voter;
        have += m->voter && world_disk_has(&w->nodes[m->id], index, n->log[index].chain);
    }
    ASSERT(have > voters / 2 && "committed means durable at a quorum");
}

static inline void world_watch_view(struct world *w, struct world_node *n,
                                    const struct raft_view *old)
{
    const struct raft_view *v = &n->view;

    ASSERT(v->hard.term >= old->hard.term && "term never falls");
    ASSERT(v->commit_index >= old->commit_index && "commit index never falls");
    ASSERT(v->hard.term == n->hard.term && v->last_index == n->last);
    ASSERT(n->last == 0 || v->last_index == v->snapshot_index ||
           v->last_term == n->log[n->last].term);
    if (v->commit_index > old->commit_index)
        world_watch_commit(w, n, old->commit_index);
    if (v->role != RAFT_LEADER || (old->role == RAFT_LEADER && old->hard.term == v->hard.term))
        return;
    ASSERT(v->hard.term < WORLD_TERMS);
    ASSERT((w->leader_of[v->hard.term] == 0) && "election safety");
    w->leader_of[v->hard.term] = n->id;
    w->elected++;
    for (uint64_t i = 1; i <= w->committed_max; i++)
        ASSERT((w->committed[i] == 0 || w->committed_term[i] >= v->hard.term ||
                (i <= n->last && w->committed[i] == n->log[i].chain)) &&
               "leader completeness");
}

/* A promise leaves: the disk must already keep it. */
static inline void world_watch_promise(struct world *w, const struct world_node *n,
                                       const struct raft_msg *m)
{
    if (m->kind == RAFT_MSG_VOTE_RES && m->granted) {
        ASSERT(m->term < WORLD_TERMS);
        ASSERT(n->disk_hard.term >= m->term && "vote promised before it was durable");
        ASSERT((n->disk_hard.term > m->term || n->disk_hard.vote == m->to) && "another vote");
        raft_id *vote = &w->vote_of[m->term][n->id];
        ASSERT((*vote == 0 || *vote == m->to) && "two votes in one term");
        *vote = m->to;
    }
    if (m->kind == RAFT_MSG_VOTE_REQ)
        ASSERT(n->disk_hard.term > m->term ||
               (n->disk_hard.term == m->term && n->disk_hard.vote == n->id));
    if (m->kind == RAFT_MSG_TIMEOUT_NOW && n->view.role == RAFT_LEADER)
        ASSERT(world_disk_has(&w->nodes[m->to], n->last, n->log[n->last].chain) &&
               "the heir has everything");
    bool ack = m->kind == RAFT_MSG_APPEND_RES || m->kind == RAFT_MSG_SNAPSHOT_RES;
    if (!ack || !m->granted)
        return;
    const struct world_node *leader = &w->nodes[m->to];
    if (n->hard.term != m->term || !leader->up || leader->view.role != RAFT_LEADER ||
        leader->hard.term != m->term)
        return; /* overwritten since: nobody counts it any more */
    ASSERT(m->log_index <= leader->last);
    ASSERT(world_disk_has(n, m->log_index, leader->log[m->log_index].chain) &&
           "append acknowledged before it was durable");
}

/* ---- obeying orders ------------------------------------------------------------------------------------ */

static inline void world_say_conf(struct world *w, const struct raft_conf *c)
{
    for (uint32_t i = 0; i < c->count; i++)
        WORLD_SAY(w, "%s%llu%s", i ? "," : "", (unsigned long long)c->members[i].id,
                  c->members[i].voter ? "" : "?");
}

static inline void world_say_msg(struct world *w, const struct raft_msg *m)
{
    typedef unsigned long long ull;
    WORLD_SAY(w, "%llu>%llu %s t%llu", (ull)m->from, (ull)m->to, raft_msg_name(m->kind),
              (ull)m->term);
    switch (m->kind) {
    case RAFT_MSG_PREVOTE_REQ:
    case RAFT_MSG_VOTE_REQ:
        WORLD_SAY(w, " last %llu/t%llu%s", (ull)m->log_index, (ull)m->log_term,
                  m->transfer ? " transfer" : "");
        break;
    case RAFT_MSG_PREVOTE_RES:
    case RAFT_MSG_VOTE_RES:
        WORLD_SAY(w, " %s", m->granted ? "yes" : "no");
        break;
    case RAFT_MSG_APPEND_REQ:
        WORLD_SAY(w, " prev %llu/t%llu", (ull)m->log_index, (ull)m->log_term);
        if (m->span.count)
            WORLD_SAY(w, " +%u", m->span.count);
        WORLD_SAY(w, " commit %llu r%llu", (ull)m->commit, (ull)m->read_round);
        break;
    case RAFT_MSG_APPEND_RES:
        if (m->granted)
            WORLD_SAY(w, " match %llu seen %llu", (ull)m->log_index, (ull)m->hint_index);
        else
            WORLD_SAY(w, " no at %llu hint %llu/t%llu", (ull)m->log_index, (ull)m->hint_index,
                      (ull)m->hint_term);
        WORLD_SAY(w, " r%llu", (ull)m->read_round);
        break;
    case RAFT_MSG_SNAPSHOT_REQ:
    case RAFT_MSG_SNAPSHOT_RES:
        WORLD_SAY(w, " at %llu/t%llu", (ull)m->log_index, (ull)m->log_term);
        break;
    case RAFT_MSG_TIMEOUT_NOW:
        break;
    }
}

static inline void world_post(struct world *w, struct world_node *n, const struct raft_msg *m)
{
    world_watch_promise(w, n, m);
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

static inline void world_say_out(struct world *w, const struct raft_out *out)
{
    typedef unsigned long long ull;
    if (!w->trace)
        return;
    if (out->hard)
        WORLD_SAY(w, "  #%llu hard t%llu vote %llu\n", (ull)out->order, (ull)out->hard->term,
                  (ull)out->hard->vote);
    if (out->append.count)
        WORLD_SAY(w, "  #%llu append %llu..%llu%s%s\n", (ull)out->order, (ull)out->append.first,
                  (ull)(out->append.first + out->append.count - 1), out->append_from_msg ? "" : " ",
                  out->append_from_msg ? "" : world_kind_name(out->append_kind));
    for (uint32_t i = 0; i < out->send_now.count; i++) {
        WORLD_SAY(w, "  send ");
        world_say_msg(w, &out->send_now.msgs[i]);
        WORLD_SAY(w, "\n");
    }
    for (uint32_t i = 0; i < out->send_stored.count; i++) {
        WORLD_SAY(w, "  #%llu then ", (ull)out->order);
        world_say_msg(w, &out->send_stored.msgs[i]);
        WORLD_SAY(w, "\n");
    }
    if (out->apply.count)
        WORLD_SAY(w, "  apply %llu..%llu\n", (ull)out->apply.first,
                  (ull)(out->apply.first + out->apply.count - 1));
    for (uint32_t i = 0; i < out->reads.count; i++)
        WORLD_SAY(w, "  read %llu %s at %llu\n", (ull)out->reads.reads[i].token,
                  out->reads.reads[i].ok ? "ok" : "lost", (ull)out->reads.reads[i].index);
    for (uint32_t i = 0; i < out->snapshot_count; i++)
        WORLD_SAY(w, "  snapshot %llu to %llu\n", (ull)out->snapshots[i].index,
                  (ull)out->snapshots[i].to);
    if (out->install_wanted)
        WORLD_SAY(w, "  install %llu/t%llu wanted from %llu\n", (ull)out->install_index,
                  (ull)out->install_term, (ull)out->install_from);
}

static inline void world_say_change(struct world *w, const struct world_node *n,
                                    const struct raft_out *out)
{
    typedef unsigned long long ull;
    static const char *const names[] = {"follower", "precandidate", "candidate", "leader"};
    if (out->role_changed)
        WORLD_SAY(w, "  now %s t%llu leader %llu%s\n", names[n->view.role], (ull)n->view.hard.term,
                  (ull)n->view.leader, n->view.transferring ? " transferring" : "");
    if (out->conf_changed) {
        WORLD_SAY(w, "  members ");
        world_say_conf(w, n->view.conf);
        WORLD_SAY(w, " from %llu\n", (ull)n->view.conf_index);
    }
}

/* Memory obeys at once; a copy waits for the disk. */
static inline void world_append(struct world *w, struct world_node *n, const struct raft_out *out,
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
        world_watch_entry(w, index, &e);
        n->log[index] = e;
    }
    for (uint64_t i = first + out->append.count; i <= n->last; i++)
        ASSERT((w->committed[i] == 0 || w->committed[i] != n->log[i].chain) &&
               "committed entry truncated");
    n->last = first + out->append.count - 1;
}

static inline void world_batch_push(struct world_node *n, const struct raft_out *out)
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

static inline void world_reads(struct world *w, const struct raft_out *out, uint64_t committed)
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

/* One step of one node, with everything it orders. from_net: entries of a MSG. */
static inline int world_step(struct world *w, struct world_node *n, struct raft_in *in,
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
        world_append(w, n, &out, in, from_net);
    world_watch_view(w, n, &old);
    world_say_out(w, &out);
    if (rc == 0)
        world_say_change(w, n, &out);
    else
        WORLD_SAY(w, "  %s\n", err_name_of(rc));
    bool quiet = !out.hard && !out.append.count && n->batch_count == 0;
    for (uint32_t i = 0; i < out.send_now.count; i++)
        world_post(w, n, &out.send_now.msgs[i]);
    if (quiet) /* nothing before it is unstored: stored_then leaves at once */
        for (uint32_t i = 0; i < out.send_stored.count; i++)
            world_post(w, n, &out.send_stored.msgs[i]);
    else if (out.hard || out.append.count || out.send_stored.count)
        world_batch_push(n, &out);
    if (out.apply.count) {
        ASSERT(out.apply.first == n->apply_ordered + 1 && "each index once, in order");
        n->apply_ordered += out.apply.count;
    }
    world_reads(w, &out, n->view.commit_index);
    for (uint32_t i = 0; i < out.snapshot_count; i++)
        if (n->snapshot_to_count < RAFT_NODES_MAX)
            n->snapshot_to[n->snapshot_to_count++] = out.snapshots[i].to;
    if (out.install_wanted) {
        n->install_from = out.install_from;
        n->install_index = out.install_index;
    }
    return rc;
}

/* ---- events ------------------------------------------------------------------------------------------------ */

static inline int world_simple(struct world *w, raft_id id, enum raft_in_kind kind)
{
    struct raft_in in = {.kind = kind};
    return world_step(w, &w->nodes[id], &in, NULL);
}

static inline void world_tell_stored(struct world *w, struct world_node *n)
{
    struct raft_in in = {.kind = RAFT_IN_STORED};
    in.u.stored_order = n->untold_order;
    n->untold_order = 0;
    world_step(w, n, &in, NULL);
}

/* The oldest batch reaches the disk; told: raft hears of it (else a later STORED will cover it). */
static inline void world_stored(struct world *w, raft_id id, bool told)
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
        world_tell_stored(w, n);
    for (uint32_t i = 0; i < b.msg_count; i++)
        world_post(w, n, &b.msgs[i]);
    world_batch_free(&b);
}

static inline void world_deliver(struct world *w, uint32_t at)
{
    struct raft_entry meta[RAFT_ENTRIES_PER_STEP / 64];
    struct world_msg msg = w->net[at];

    w->net[at].entries = NULL;
    world_net_drop(w, at);
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
        world_step(w, n, &in, msg.entries);
    }
    mem_free(msg.entries);
}

static inline void world_duplicate(struct world *w, uint32_t at)
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

static inline void world_applied(struct world *w, raft_id id)
{
    struct world_node *n = &w->nodes[id];
    struct raft_in in = {.kind = RAFT_IN_APPLIED};

    for (uint64_t i = n->applied + 1; i <= n->apply_ordered; i++) {
        ASSERT(w->committed[i] == n->log[i].chain && "state machine safety");
        ASSERT(world_disk_has(n, i, n->log[i].chain) && "applied ahead of the own log");
    }
    n->applied = n->apply_ordered;
    in.u.applied_index = n->applied;
    world_step(w, n, &in, NULL);
}

static inline int world_propose(struct world *w, raft_id id, uint32_t count, uint32_t bytes)
{
    uint32_t sizes[64];
    struct raft_in in = {.kind = RAFT_IN_PROPOSE};

    ASSERT(count <= 64);
    for (uint32_t i = 0; i < count; i++)
        sizes[i] = bytes;
    in.u.propose.count = count;
    in.u.propose.bytes = sizes;
    return world_step(w, &w->nodes[id], &in, NULL);
}

static inline int world_read(struct world *w, raft_id id)
{
    struct raft_in in = {.kind = RAFT_IN_READ};

    if (w->read_next == WORLD_READS)
        return 0;
    in.u.read_token = w->read_next;
    w->read_floor[w->read_next++] = w->committed_max;
    return world_step(w, &w->nodes[id], &in, NULL);
}

static inline int world_conf(struct world *w, raft_id id, const struct raft_conf *c)
{
    struct raft_in in = {.kind = RAFT_IN_CONF};
    in.u.conf = c;
    int rc = world_step(w, &w->nodes[id], &in, NULL);
    w->changes += rc == 0;
    return rc;
}

/* change: '+' add voter, '?' add learner or demote, '^' promote, '-' remove. False: cannot be said. */
static inline bool world_conf_changed(const struct raft_conf *from, char change, raft_id id,
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

static inline uint64_t world_conf_index_at(const struct world_node *n, uint64_t index)
{
    while (index > n->snapshot_index && n->log[index].kind != RAFT_ENTRY_CONF)
        index--;
    return index;
}

/* Cut a snapshot of the applied state. */
static inline void world_snapshot(struct world *w, raft_id id, uint64_t index)
{
    struct world_node *n = &w->nodes[id];
    struct raft_in in = {.kind = RAFT_IN_SNAPSHOT};
    uint64_t conf_index = world_conf_index_at(n, index);
    struct raft_conf conf =
        conf_index > n->snapshot_index ? n->log[conf_index].conf : n->snapshot_conf;

    ASSERT(index > n->snapshot_index && index <= n->applied);
    in.u.snapshot.index = index;
    in.u.snapshot.term = n->log[index].term;
    in.u.snapshot.conf = &conf;
    n->snapshot_index = index;
    n->snapshot_term = n->log[index].term;
    n->snapshot_conf = conf;
    int rc = world_step(w, n, &in, NULL);
    ASSERT(rc == 0);
}

/* The offered snapshot arrives whole and is durable: state, and the log cut to it or kept behind it. */
/* stored_first: the LOG lane does one thing after the other; else what is on its way to the disk stays there. */
static inline void world_install(struct world *w, raft_id id, bool stored_first)
{
    struct world_node *n = &w->nodes[id];
    const struct world_node *from = &w->nodes[n->install_from];
    struct raft_in in = {.kind = RAFT_IN_SNAPSHOT};
    uint64_t index = from->snapshot_index;

    while (stored_first && n->batch_count)
        world_stored(w, id, true);
    if (stored_first && n->untold_order)
        world_tell_stored(w, n);
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
    int rc = world_step(w, n, &in, NULL);
    ASSERT(rc == 0);
    w->installs++;
}

/* Everything that is on its way arrives, everything ordered is stored and applied; time stands still. */
static inline void world_settle(struct world *w)
{
    for (uint32_t rounds = 0; rounds < 20000; rounds++) {
        bool idle = w->net_count == 0;
        if (w->net_count)
            world_deliver(w, 0);
        for (raft_id id = 1; id <= w->node_count; id++) {
            struct world_node *n = &w->nodes[id];
            if (!n->up)
                continue;
            if (n->batch_count) {
                world_stored(w, id, true);
                idle = false;
            } else if (n->untold_order) {
                world_tell_stored(w, n);
                idle = false;
            } else if (n->applied < n->apply_ordered) {
                world_applied(w, id);
                idle = false;
            }
            if (n->install_from)
                world_install(w, id, true);
        }
        if (idle)
            return;
    }
    ASSERT(!"the cluster comes to rest");
}

/* Time passes in small steps; every node is woken when it asked to be. */
static inline void world_run(struct world *w, uint64_t ms)
{
    for (uint64_t end = w->now_ms + ms; w->now_ms < end; w->now_ms++) {
        world_settle(w);
        for (raft_id id = 1; id <= w->node_count; id++)
            if (w->nodes[id].up && w->nodes[id].wake_ms <= w->now_ms)
                world_simple(w, id, RAFT_IN_TICK);
    }
}

/* One line per node, for people. */
static inline void world_dump(const struct world *w, struct buf *out)
{
    typedef unsigned long long ull;
    for (raft_id id = 1; id <= w->node_count; id++) {
        const struct world_node *n = &w->nodes[id];
        if (!n->up) {
            buf_printf(out, "  %llu: down, t%llu, disk %llu\n", (ull)id, (ull)n->disk_hard.term,
                       (ull)n->disk_last);
            continue;
        }
        buf_printf(
            out,
            "  %llu: %s t%llu vote %llu leader %llu, log %llu..%llu/t%llu durable %llu commit %llu "
            "applied %llu",
            (ull)id, raft_role_name(n->view.role), (ull)n->hard.term, (ull)n->hard.vote,
            (ull)n->view.leader, (ull)n->snapshot_index, (ull)n->last, (ull)n->view.last_term,
            (ull)n->view.durable_index, (ull)n->view.commit_index, (ull)n->applied);
        buf_printf(out, ", conf %llu:", (ull)n->view.conf_index);
        for (uint32_t i = 0; i < n->view.conf->count; i++)
            buf_printf(out, " %llu%s", (ull)n->view.conf->members[i].id,
                       n->view.conf->members[i].voter ? "" : "?");
        for (uint32_t i = 0; i < n->view.peer_count; i++)
            buf_printf(out, "; to %llu match %llu next %llu%s", (ull)n->view.peers[i].id,
                       (ull)n->view.peers[i].match, (ull)n->view.peers[i].next,
                       n->view.peers[i].snapshotting ? " snapshot" : "");
        buf_printf(out, "\n");
    }
}

static inline raft_id world_leader(const struct world *w)
{
    raft_id best = 0;
    for (raft_id id = 1; id <= w->node_count; id++)
        if (w->nodes[id].up && w->nodes[id].view.role == RAFT_LEADER &&
            (best == 0 || w->nodes[id].hard.term > w->nodes[best].hard.term))
            best = id;
    return best;
}

#endif
