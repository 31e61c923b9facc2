/* node_pump.c — gather → raft_step → obey → sleep.
 *
 * The only place that calls raft_step. obey() follows the fields of struct raft_out in their order:
 * what must be durable is handed to the LOG lane before a message that may leave early is built,
 * and a message that needs durability is held until its order is stored. Read the two side by side.
 */
#include "node_int.h"

/* The payload behind entry `index` of this batch of orders; a reference of the caller's own. */
static struct node_entry *orders_entry(struct node *n, const struct raft_out *out, uint64_t index)
{
    if (out->append_from_msg) {
        ASSERT(index >= n->incoming_first && index - n->incoming_first < n->incoming_count);
        return node_entry_ref(n->incoming[index - n->incoming_first]);
    }
    if (out->append_kind == RAFT_ENTRY_CONF) {
        ASSERT(n->conf_entry);
        return node_entry_ref(n->conf_entry);
    }
    struct node_entry *e = node_entry_new(0);
    ASSERT(e); /* a Raft order cannot be refused */
    e->kind = RAFT_ENTRY_NOOP;
    return e;
}

static void note_conf(struct node *n, uint64_t index, const struct node_entry *e)
{
    struct wire_conf conf;
    int rc = wire_conf_get(slice_of(e->payload, e->len), &conf);
    ASSERT(rc == 0); /* checked when it came in */
    if (conf.cluster_id == n->cluster_id)
        node_confs_push(&n->confs, index, &conf);
}

/* 2. The log from append.first on becomes these entries, in memory now and on disk soon. */
static void obey_append(struct node *n, const struct raft_out *out)
{
    uint64_t first = out->append.first;

    node_cache_truncate(&n->cache, first);
    node_confs_truncate(&n->confs, first);
    if (!out->append_from_msg && out->append_kind == RAFT_ENTRY_NORMAL) {
        node_write_appended(n, first, out->append.count);
    } else {
        for (uint32_t i = 0; i < out->append.count; i++) {
            struct node_entry *e = orders_entry(n, out, first + i);
            e->term = raft_term_at(n->raft, first + i);
            node_cache_push(&n->cache, e);
            if (e->kind == RAFT_ENTRY_CONF)
                note_conf(n, first + i, e);
            node_entry_unref(e);
        }
    }
    node_log_range(n, first, out->order);
}

static void obey_messages(struct node *n, const struct raft_out *out)
{
    for (uint32_t i = 0; i < out->send_now.count; i++)
        node_send(n, &out->send_now.msgs[i]);
    for (uint32_t i = 0; i < out->send_stored.count; i++)
        node_hold(n, &out->send_stored.msgs[i], n->log.order_pending);
    node_release_held(n);
}

static void obey_roles(struct node *n, bool was_leader, const struct raft_out *out)
{
    if (out->conf_changed) {
        node_links_set(n);
        node_self_tell(n);
        node_digest_members(n);
    }
    if (was_leader && n->view.role != RAFT_LEADER) {
        node_write_lost(n);
        node_members_lost(n);
    }
    node_transfer_progress(n);
    if (out->role_changed) {
        node_index_leader_changed(n);
        node_retry_soon(n);
        node_write_resume(n);
    }
    if (out->role_changed && n->view.role == RAFT_LEADER && !was_leader)
        env_log(n->env, "store", "this node (ID=%s, addr=%s) is now Leader", n->name, n->raft_addr);
}

static void log_leader(const struct node *n)
{
    const struct wire_member *m = node_conf_find(node_confs_latest(&n->confs), n->view.leader);

    if (n->view.leader == 0)
        env_log(n->env, "store", "Leader is now unknown");
    else if (m && m->id != n->id)
        env_log(n->env, "store", "node %s at %s is now Leader", m->name, m->addr);
}

static void obey(struct node *n, const struct raft_out *out)
{
    bool was_leader = n->view.role == RAFT_LEADER;
    raft_id leader = n->view.leader;
    const struct node_was was = {n->view.role, leader, n->view.hard.term, n->view.conf_index};

    raft_look(n->raft, &n->view);
    n->counters.leader_changes += n->view.leader != leader;
    if (out->hard) /* 1 */
        node_log_hard(n, out->hard, out->order);
    if (out->append.count) /* 2 */
        obey_append(n, out);
    obey_messages(n, out);  /* 3, 4 */
    if (out->apply.count) { /* 5 */
        ASSERT(out->apply.first == n->apply.target + 1);
        n->apply.target = out->apply.first + out->apply.count - 1;
        node_clock_committed(n, n->apply.target);
    }
    node_words_step(n, &was);
    obey_roles(n, was_leader, out);
    if (n->view.conf_committed)
        node_ask_conf_committed(n);
    node_retire_look(n);
    if (n->view.leader != leader)
        log_leader(n);
    for (uint32_t i = 0; i < out->reads.count; i++) /* 6 */
        node_index_confirmed(n, &out->reads.reads[i]);
    /* 7: who needs a snapshot is told by raft's own message, and asks for it */
    if (out->install_wanted) /* 8 */
        node_fetch_want(n, out->install_from, out->install_index);
    uint64_t now_ms = node_now_ms(n);
    env_timer_arm(&n->tick, out->wake_ms > now_ms ? (out->wake_ms - now_ms) * ENV_MS_NS : 0);
    node_log_kick(n);
    node_apply_kick(n);
}

int node_step(struct node *n, struct raft_in *in)
{
    struct raft_out out;

    if (n->phase != NODE_OPEN || n->retired)
        return 0; /* stopping, or removed: nothing is promised any more */
    ASSERT(n->raft);
    in->now_ms = node_now_ms(n);
    int rc = raft_step(n->raft, in, &out);
    if (rc == 0)
        obey(n, &out);
    return rc;
}

/* A lane that makes no progress for an election timeout while work waits: this machine should not
 * lead (architecture §7). */
static void watch_lanes(struct node *n)
{
    uint64_t now = env_now_ns(n->env);
    uint64_t patience = n->config.heartbeat_timeout_ms * ENV_MS_NS;
    bool log_stuck = n->log.full || (n->log.busy && now - n->log.started_ns > patience);
    bool apply_stuck = n->apply.busy && !n->upkeep.busy && /* that one is slow everywhere */
                       now - n->apply.started_ns > patience;

    if (n->view.role != RAFT_LEADER || !(log_stuck || apply_stuck) || n->view.transferring)
        return;
    struct raft_in in = {.kind = RAFT_IN_TRANSFER};
    if (node_step(n, &in) == 0)
        env_log(n->env, "store", "handing leadership over: the %s makes no progress",
                log_stuck ? "log's disk" : "database");
}

static void tick_fired(struct env_timer *t)
{
    struct node *n = t->ctx;
    struct raft_in in = {.kind = RAFT_IN_TICK};

    int rc = node_step(n, &in);
    ASSERT(rc == 0);
    watch_lanes(n);
    node_members_progress(n);
    node_reap_look(n);
    node_moved_look(n);
}

void node_pump_start(struct node *n)
{
    env_timer_init(&n->tick, n->env, tick_fired, n);
    env_turn_init(&n->turn, n->env, node_request_turn, n);
    raft_look(n->raft, &n->view);
    bool alone = n->view.am_voter && n->view.conf->count == 1;
    struct raft_in in = {.kind = alone ? RAFT_IN_CAMPAIGN : RAFT_IN_TICK};
    int rc = node_step(n, &in);
    ASSERT(rc == 0);
}
