/* node_members.c — joins and removals on the leader, one at a time, and leadership transfer.
 *
 *   START ─► (stale record of that name or address?) REMOVING ─► START
 *         ─► ADDING as learner ─► CATCHING_UP ─► PROMOTING ─► answered
 *         ─► removal: REMOVING ─► answered
 *
 * Each step is one CONF entry of raft's (thesis §4.1); a step is over when its entry is committed.
 * A learner first, so that a slow or dead newcomer never weakens the quorum (thesis §4.2.1). */
#include "node_int.h"

enum { CHANGE_LIMIT_MS = 60 * 1000, CHANGE_RETRY_MS = 20, CHANGES_MAX = 64, CATCH_UP_SLACK = 64 };

static void change_answer(struct node *n, struct node_change *c, int rc, const char *text)
{
    const struct wire_member *leader = node_conf_find(node_confs_latest(&n->confs), n->view.leader);
    list_remove(&c->link);
    if (c->done) {
        c->done(c->ctx, rc, text ? text : err_text_of(rc));
    } else {
        struct wire_answer a = {
            .rc = rc,
            .cluster_id = n->cluster_id,
            .leader_addr = leader ? slice_str(leader->addr) : slice_of(NULL, 0),
            .text = slice_str(text ? text : err_text_of(rc)),
        };
        struct buf *out = peer_out(n->peers, c->conn);
        if (out) {
            size_t begun = wire_frame_begin(out, WIRE_JOIN_RES, c->stream);
            (void)wire_answer_put(out, &a);
            (void)wire_frame_end(out, begun);
            peer_send_built(n->peers, c->conn);
        }
    }
    mem_free(c);
}

/* ---- proposing
 * ----------------------------------------------------------------------------------------- */

static void conf_erase(struct wire_conf *conf, raft_id id)
{
    for (uint32_t i = 0; i < conf->count; i++) {
        if (conf->members[i].id != id)
            continue;
        memmove(&conf->members[i], &conf->members[i + 1],
                (conf->count - i - 1) * sizeof(conf->members[0]));
        conf->count--;
        return;
    }
}

/* ERR_BUSY: try again later. */
static int change_propose(struct node *n, const struct wire_conf *conf)
{
    struct raft_conf numbers;
    struct buf b;

    buf_init(&b, LIMIT_ENTRY_BYTES);
    int rc = wire_conf_put(&b, conf);
    ASSERT(rc == 0);
    n->conf_entry = node_entry_new(buf_len(&b));
    ASSERT(n->conf_entry);
    memcpy(n->conf_entry->payload, buf_slice(&b).data, buf_len(&b));
    n->conf_entry->kind = RAFT_ENTRY_CONF;
    buf_fini(&b);
    wire_conf_to_raft(conf, &numbers);
    struct raft_in in = {.kind = RAFT_IN_CONF, .u.conf = &numbers};
    rc = n->up.step(n, &in);
    node_entry_unref(n->conf_entry);
    n->conf_entry = NULL;
    return rc;
}

static const struct wire_member *find_addr(const struct wire_conf *conf, const char *addr)
{
    for (uint32_t i = 0; i < conf->count; i++)
        if (strcmp(conf->members[i].addr, addr) == 0)
            return &conf->members[i];
    return NULL;
}

/* Propose `step` with the given configuration; on BUSY stay where we are. */
static void change_move(struct node *n, struct node_change *c, const struct wire_conf *conf,
                        enum node_change_step step)
{
    int rc = change_propose(n, conf);
    if (rc == 0 && n->view.role != RAFT_LEADER)
        return; /* it stopped leading in that very step: all changes are answered, this one is gone */
    if (rc == 0) {
        c->conf_index = n->view.conf_index;
        c->step = step;
    } else if (rc != ERR_BUSY) {
        change_answer(n, c, rc,
                      rc == ERR_INVALID ? "need at least one voter in configuration: {[]}" : NULL);
    }
}

static void change_remove(struct node *n, struct node_change *c, raft_id id)
{
    struct wire_conf conf = *node_confs_latest(&n->confs);
    conf_erase(&conf, id);
    change_move(n, c, &conf, CHANGE_REMOVING);
}

static bool heard_lately(const struct node *n, raft_id id)
{
    for (uint32_t i = 0; i < n->view.peer_count; i++)
        if (n->view.peers[i].id == id)
            return n->view.peers[i].last_heard_ms &&
                   node_now_ms(n) - n->view.peers[i].last_heard_ms < n->config.heartbeat_timeout_ms;
    return false;
}

static void start_join(struct node *n, struct node_change *c)
{
    const struct wire_conf *now = node_confs_latest(&n->confs);
    const struct wire_member *same_name = node_conf_find_name(now, slice_str(c->name));
    const struct wire_member *same_addr = find_addr(now, c->addr);

    if (same_name && same_name == same_addr && same_name->store_id == c->store_id &&
        (same_name->voter || same_name->replica)) {
        n->counters.joins_ignored++;
        env_log(n->env, "store", "node %s at %s already member of cluster, ignoring join request",
                c->name, c->addr);
        change_answer(n, c, 0, NULL);
        return;
    }
    if (same_name && same_name->store_id && same_name->store_id != c->store_id &&
        heard_lately(n, same_name->id)) {
        change_answer(n, c, ERR_IDENTITY, "a node with this ID is alive and in the cluster");
        return;
    }
    const struct wire_member *stale = same_name ? same_name : same_addr;
    bool keep = same_name && same_name == same_addr && same_name->store_id == c->store_id;
    if (stale && !keep) {
        n->counters.removed_before_joins++;
        env_log(n->env, "store", "removed node %s prior to rejoin with changed ID or address",
                stale->name);
        change_remove(n, c, stale->id);
        return;
    }
    if (keep) { /* a learner from an earlier attempt */
        c->step = CHANGE_CATCHING_UP;
        c->catch_up_index = n->view.commit_index;
        return;
    }
    struct wire_conf conf = *now;
    if (conf.count == RAFT_NODES_MAX) {
        change_answer(n, c, ERR_FULL, "the cluster has as many nodes as it can have");
        return;
    }
    struct wire_member m = {
        .id = wire_member_id(slice_str(c->name)), .store_id = c->store_id, .replica = !c->voter};
    memcpy(m.name, c->name, sizeof(m.name));
    memcpy(m.addr, c->addr, sizeof(m.addr));
    if (node_conf_find(now, m.id)) {
        change_answer(n, c, ERR_INVALID, "this node ID collides with a member's, choose another");
        return;
    }
    node_conf_insert(&conf, &m);
    change_move(n, c, &conf, CHANGE_ADDING);
}

static void start_change(struct node *n, struct node_change *c)
{
    if (!c->is_remove) {
        start_join(n, c);
        return;
    }
    const struct wire_member *m =
        node_conf_find_name(node_confs_latest(&n->confs), slice_str(c->name));
    if (m)
        change_remove(n, c, m->id);
    else
        change_answer(n, c, 0, NULL);
}

/* ---- waiting
 * ---------------------------------------------------------------------------------------------- */

static bool change_committed(const struct node *n, const struct node_change *c)
{
    return n->view.commit_index >= c->conf_index;
}

static bool caught_up(const struct node *n, raft_id id, uint64_t index)
{
    for (uint32_t i = 0; i < n->view.peer_count; i++)
        if (n->view.peers[i].id == id)
            return n->view.peers[i].match >= index &&
                   n->view.peers[i].match + CATCH_UP_SLACK >= n->view.commit_index;
    return false;
}

static void promote(struct node *n, struct node_change *c)
{
    struct wire_conf conf = *node_confs_latest(&n->confs);
    for (uint32_t i = 0; i < conf.count; i++)
        if (strcmp(conf.members[i].name, c->name) == 0)
            conf.members[i].voter = true;
    change_move(n, c, &conf, CHANGE_PROMOTING);
}

static void joined(struct node *n, struct node_change *c)
{
    n->counters.joins++;
    env_log(n->env, "store", "node with ID %s, at %s, joined successfully as %s", c->name, c->addr,
            c->voter ? "voter" : "non-voter");
    change_answer(n, c, 0, NULL);
}

static void change_progress(struct node *n, struct node_change *c)
{
    switch (c->step) {
    case CHANGE_START:
        start_change(n, c);
        return;
    case CHANGE_REMOVING:
        if (!change_committed(n, c))
            return;
        if (c->is_remove)
            change_answer(n, c, 0, NULL);
        else
            c->step = CHANGE_START;
        return;
    case CHANGE_ADDING:
        if (!change_committed(n, c))
            return;
        c->step = CHANGE_CATCHING_UP;
        c->catch_up_index = n->view.commit_index;
        return;
    case CHANGE_CATCHING_UP:
        if (!caught_up(n, wire_member_id(slice_str(c->name)), c->catch_up_index))
            return;
        if (c->voter)
            promote(n, c);
        else
            joined(n, c);
        return;
    case CHANGE_PROMOTING:
        if (change_committed(n, c))
            joined(n, c);
        return;
    }
}

void node_members_progress(struct node *n)
{
    if (n->view.role != RAFT_LEADER || n->phase != NODE_OPEN || list_empty(&n->changes))
        return;
    struct node_change *c = LIST_ENTRY(n->changes.next, struct node_change, link);
    raft_look(n->raft, &n->view);
    if (env_now_ns(n->env) > c->deadline_ns)
        change_answer(n, c, ERR_TIMEOUT, "timed out; the change may still take effect");
    else
        change_progress(n, c);
    if (!list_empty(&n->changes))
        env_timer_arm(&n->change_timer, CHANGE_RETRY_MS * ENV_MS_NS);
}

/* No longer leader, perhaps because the change under way was our own removal. */
void node_members_lost(struct node *n)
{
    if (!list_empty(&n->changes)) {
        struct node_change *c = LIST_ENTRY(n->changes.next, struct node_change, link);
        if (c->is_remove && c->step == CHANGE_REMOVING && change_committed(n, c))
            change_answer(n, c, 0, NULL);
    }
    for (struct list *l; (l = n->changes.next) != &n->changes;)
        change_answer(n, LIST_ENTRY(l, struct node_change, link), ERR_NOT_LEADER, NULL);
}

/* ---- asked
 * --------------------------------------------------------------------------------------------------
 */

static struct node_change *change_new(struct node *n, bool is_remove, struct slice name)
{
    uint32_t waiting = 0;

    for (struct list *l = n->changes.next; l != &n->changes; l = l->next)
        waiting++;
    if (name.len == 0 || name.len > WIRE_NAME_MAX || waiting >= CHANGES_MAX)
        return NULL;
    struct node_change *c = mem_zalloc(sizeof(*c));
    if (!c)
        return NULL;
    list_init(&c->link);
    c->node = n;
    c->is_remove = is_remove;
    memcpy(c->name, name.data, name.len);
    c->deadline_ns = env_now_ns(n->env) + CHANGE_LIMIT_MS * ENV_MS_NS;
    return c;
}

static void change_queue(struct node *n, struct node_change *c)
{
    list_push_back(&n->changes, &c->link);
    if (n->view.role != RAFT_LEADER) {
        change_answer(n, c, n->view.leader ? ERR_NOT_LEADER : ERR_NO_LEADER, NULL);
        return;
    }
    env_timer_arm(&n->change_timer, 0);
}

static void change_reached(void *ctx, int rc, const char *why)
{
    struct node_change *c = ctx;

    if (rc)
        change_answer(c->node, c, rc, why);
    else
        change_queue(c->node, c);
}

void node_members_asked(struct node *n, peer_conn conn, const struct wire_frame *f)
{
    struct wire_join j = {0};

    if (wire_join_get(f->body, &j) || j.addr.len == 0 || j.addr.len > WIRE_ADDR_MAX)
        return;
    n->counters.served_joins++;
    struct node_change *c = change_new(n, false, j.name);
    if (!c)
        return; /* the asker's own timer ends its wait */
    memcpy(c->addr, j.addr.data, j.addr.len);
    c->store_id = j.store_id;
    c->voter = j.voter;
    c->conn = conn;
    c->stream = f->stream;
    if (n->view.role != RAFT_LEADER) {
        change_queue(n, c); /* tells who leads */
        return;
    }
    const int rc = node_reach(n, c->addr, change_reached, c);
    if (rc)
        change_answer(n, c, rc, NULL);
}

int node_remove_here(struct node *n, struct slice name, node_done_fn *done, void *ctx)
{
    struct node_change *c = change_new(n, true, name);
    if (!c)
        return ERR_FULL;
    c->done = done;
    c->ctx = ctx;
    change_queue(n, c);
    return 0;
}

/* ---- leadership transfer
 * --------------------------------------------------------------------------------------- */

static void transfer_end(struct node *n, int rc, const char *why)
{
    node_done_fn *done = n->transfer.done;
    void *ctx = n->transfer.ctx;

    n->transfer.active = false;
    env_timer_disarm(&n->transfer.timer);
    if (done)
        done(ctx, rc, why);
}

static void transfer_timer_fired(struct env_timer *t)
{
    struct node *n = t->ctx;

    if (n->view.role != RAFT_LEADER)
        transfer_end(n, 0, "");
    else
        transfer_end(n, ERR_TIMEOUT, "leadership transfer timeout");
}

/* After each step: have we handed over, or has raft given up? Whoever waits is told from the timer, not
 * inside the step. */
void node_transfer_progress(struct node *n)
{
    if (n->transfer.active && (n->view.role != RAFT_LEADER || !n->view.transferring))
        env_timer_arm(&n->transfer.timer, 0);
}

/* The node stops. */
void node_transfer_cancel(struct node *n)
{
    if (n->transfer.active)
        transfer_end(n, ERR_CANCELED, "the node is stopping");
}

/* raft gives up after the election timeout; a little later, should it have been forgotten. */
static uint64_t node_transfer_limit_ms(const struct node *n)
{
    const uint64_t heartbeat = n->config.heartbeat_timeout_ms,
                   election = n->config.election_timeout_ms;
    return (election > heartbeat ? election : heartbeat) + heartbeat;
}

int node_transfer(struct node *n, struct slice name, node_done_fn *done, void *ctx)
{
    const struct wire_conf *conf = node_confs_latest(&n->confs);
    const struct wire_member *m = name.len ? node_conf_find_name(conf, name) : NULL;

    if (!n->raft || n->view.role != RAFT_LEADER)
        return ERR_NOT_LEADER;
    if (name.len && !m)
        return ERR_NOT_FOUND;
    if (n->transfer.active)
        return ERR_BUSY;
    struct raft_in in = {.kind = RAFT_IN_TRANSFER, .u.transfer_to = m ? m->id : 0};
    int rc = n->up.step(n, &in);
    if (rc)
        return rc;
    n->transfer.active = true;
    n->transfer.done = done;
    n->transfer.ctx = ctx;
    env_timer_init(&n->transfer.timer, n->env, transfer_timer_fired, n);
    env_timer_arm(&n->transfer.timer, node_transfer_limit_ms(n) * ENV_MS_NS);
    return 0;
}
