/* node_ask.c — our own questions to other nodes: let me join, count me in, remove a member, lead no more, who are you. Each
 * has a timer, a connection, and is answered exactly once. */
#include "node_int.h"

enum { ASK_HOPS_MAX = 10 };

static void ask_free(struct node_ask *a)
{
    struct node *n = a->node;

    env_timer_disarm(&a->timer);
    env_turn_cancel(&a->turn);
    list_remove(&a->link);
    n->ask_count--;
    if (a->own_conn && a->conn)
        peer_conn_close(n->peers, a->conn);
    mem_free(a);
}

static void ask_end(struct node_ask *a, int rc, const struct wire_meta *meta, const char *why)
{
    node_done_fn *done = a->done;
    void (*meta_done)(void *, int, const struct wire_meta *, const char *) = a->meta_done;
    void *ctx = a->ctx;
    char text[WIRE_TEXT_MAX + 1];

    (void)snprintf(text, sizeof(text), "%s", why ? why : err_text_of(rc));
    ask_free(a);
    if (meta_done)
        meta_done(ctx, rc, rc == 0 ? meta : NULL, text);
    else
        done(ctx, rc, text);
}

static void ask_timed_out(struct env_timer *t)
{
    struct node_ask *a = t->ctx;

    a->node->counters.asks_timed_out++;
    ask_end(a, ERR_TIMEOUT, NULL, "timeout waiting for node to respond");
}

static struct node_ask *ask_new(struct node *n, enum node_ask_kind kind, uint64_t timeout_ms,
                                void *ctx)
{
    if (n->ask_count >= NODE_ASKS_MAX || n->phase != NODE_OPEN)
        return NULL;
    struct node_ask *a = mem_zalloc(sizeof(*a));
    if (!a)
        return NULL;
    list_init(&a->link);
    a->node = n;
    a->kind = kind;
    a->ctx = ctx;
    env_timer_init(&a->timer, n->env, ask_timed_out, a);
    env_timer_arm(&a->timer, timeout_ms * ENV_MS_NS);
    list_push_back(&n->asks, &a->link);
    n->ask_count++;
    return a;
}

static const enum wire_kind ask_kinds[] = {
    [ASK_JOIN] = WIRE_JOIN_REQ,         [ASK_NOTIFY] = WIRE_NOTIFY_REQ,
    [ASK_PLEDGE] = WIRE_NOTIFY_REQ,     [ASK_REMOVE] = WIRE_REMOVE_REQ,
    [ASK_STEPDOWN] = WIRE_STEPDOWN_REQ, [ASK_META] = WIRE_META_REQ,
};

/* Grows, over restarts too unless the wall clock went back: then others keep a word they gave this node until
 * the clock has caught up, or they restart. */
static uint64_t node_serial_next(struct node *n)
{
    const int64_t wall_ns = env_wall_ns(n->env);

    n->serial = wall_ns > 0 && (uint64_t)wall_ns > n->serial ? (uint64_t)wall_ns : n->serial + 1;
    return n->serial;
}

/* order: of REMOVE and STEPDOWN, else NULL. */
static int ask_send(struct node_ask *a, const struct node_order *order)
{
    struct node *n = a->node;
    struct buf *out = peer_out(n->peers, a->conn);

    if (!out)
        return ERR_RESET;
    a->stream = peer_next_stream(n->peers);
    size_t begun = wire_frame_begin(out, ask_kinds[a->kind], a->stream);
    if (a->own_conn) {
        struct wire_join j = {.serial = a->kind == ASK_JOIN ? 0 : node_serial_next(n),
                              .name = slice_str(n->name),
                              .addr = slice_str(n->raft_addr),
                              .store_id = n->store_id,
                              .voter = !n->config.non_voter,
                              .pledge = a->kind == ASK_PLEDGE,
                              .user = slice_str(n->join_user),
                              .password = slice_str(n->join_password)};
        (void)wire_join_put(out, &j);
    } else if (order) {
        struct wire_order o = {order->name, order->user, order->password};
        (void)wire_order_put(out, &o);
    }
    int rc = wire_frame_end(out, begun);
    peer_send_built(n->peers, a->conn);
    return rc;
}

/* ---- join, notify
 * ----------------------------------------------------------------------------------------------------
 */

int node_ask_dial(struct node *n, enum node_ask_kind kind, const char *raft_addr,
                  uint64_t timeout_ms, node_done_fn *done, void *ctx)
{
    struct node_ask *a = ask_new(n, kind, timeout_ms, ctx);
    if (!a)
        return n->phase == NODE_OPEN ? ERR_FULL : ERR_NOT_READY;
    a->done = done;
    a->own_conn = true;
    int rc = peer_dial(n->peers, raft_addr, n->config.connect_timeout_ms, &a->conn);
    if (rc)
        ask_free(a);
    return rc;
}

int node_join(struct node *n, const char *raft_addr, uint64_t timeout_ms, node_done_fn *done,
              void *ctx)
{
    return node_ask_dial(n, ASK_JOIN, raft_addr, timeout_ms, done, ctx);
}

/* The address dialled is our own. The connection is the caller's to end. */
void node_ask_self(struct node *n, peer_conn c)
{
    for (struct list *l = n->asks.next; l != &n->asks; l = l->next) {
        struct node_ask *a = LIST_ENTRY(l, struct node_ask, link);
        if (a->conn == c && a->own_conn) {
            a->conn = 0;
            ask_end(a, ERR_EXISTS, NULL, "that is this node itself");
            return;
        }
    }
}

void node_ask_greeted(struct node *n, peer_conn c)
{
    for (struct list *l = n->asks.next; l != &n->asks; l = l->next) {
        struct node_ask *a = LIST_ENTRY(l, struct node_ask, link);
        if (a->conn == c && a->stream == 0) {
            (void)ask_send(a, NULL);
            return;
        }
    }
}

/* The node asked does not lead: go where it points. */
static void join_redirect(struct node_ask *a, const struct wire_answer *answer)
{
    char addr[WIRE_ADDR_MAX + 1] = "";

    if (++a->hops > ASK_HOPS_MAX) {
        ask_end(a, ERR_NOT_LEADER, NULL, "max redirects exceeded");
        return;
    }
    if (answer->leader_addr.len == 0 || answer->leader_addr.len > WIRE_ADDR_MAX) {
        ask_end(a, ERR_NO_LEADER, NULL, "no leader");
        return;
    }
    memcpy(addr, answer->leader_addr.data, answer->leader_addr.len);
    if (strcmp(addr, a->node->raft_addr) ==
        0) { /* a member that came back, and was elected since */
        bool leads = a->node->view.role == RAFT_LEADER;
        ask_end(a, leads ? 0 : ERR_NO_LEADER, NULL, leads ? "" : "no leader");
        return;
    }
    peer_conn old = a->conn;
    a->conn = 0;
    a->stream = 0;
    peer_conn_close(a->node->peers, old);
    int rc = peer_dial(a->node->peers, addr, a->node->config.connect_timeout_ms, &a->conn);
    if (rc)
        ask_end(a, rc, NULL, NULL);
}

static void leader_answered(struct node_ask *a, struct slice body)
{
    struct wire_answer answer;
    char text[WIRE_TEXT_MAX + 1] = "";

    if (wire_answer_get(body, &answer)) {
        ask_end(a, ERR_PROTOCOL, NULL, NULL);
        return;
    }
    if (a->kind == ASK_JOIN && answer.rc == ERR_NOT_LEADER) {
        join_redirect(a, &answer);
        return;
    }
    if (answer.text.len <= WIRE_TEXT_MAX && answer.text.len)
        memcpy(text, answer.text.data, answer.text.len);
    ask_end(a, answer.rc, NULL, text);
}

/* ---- remove, step down, meta
 * ---------------------------------------------------------------------------------------------- */

/* Ask another node, which leads. */
static int ask_leader(struct node *n, enum node_ask_kind kind, const struct node_order *o,
                      node_done_fn *done, void *ctx)
{
    if (n->view.leader == 0)
        return ERR_NO_LEADER;
    peer_conn c = peer_conn_of(n->peers, n->view.leader);
    if (!c)
        return ERR_REFUSED;
    struct node_ask *a = ask_new(n, kind, o->timeout_ms, ctx);
    if (!a)
        return ERR_FULL;
    a->done = done;
    a->conn = c;
    if (o->name.len)
        memcpy(a->name, o->name.data, o->name.len);
    n->counters.forwarded_removals += kind == ASK_REMOVE;
    n->counters.forwarded_stepdowns += kind == ASK_STEPDOWN;
    int rc = ask_send(a, o);
    if (rc)
        ask_free(a);
    return rc;
}

int node_remove(struct node *n, const struct node_order *o, node_done_fn *done, void *ctx)
{
    if (n->phase != NODE_OPEN)
        return ERR_NOT_READY;
    if (o->name.len == 0 || o->name.len > WIRE_NAME_MAX)
        return ERR_INVALID;
    if (n->view.role == RAFT_LEADER)
        return node_remove_here(n, o->name, done, ctx);
    return ask_leader(n, ASK_REMOVE, o, done, ctx);
}

int node_stepdown(struct node *n, const struct node_order *o, node_done_fn *done, void *ctx)
{
    if (n->phase != NODE_OPEN)
        return ERR_NOT_READY;
    if (o->name.len > WIRE_NAME_MAX)
        return ERR_NOT_FOUND;
    if (n->view.role == RAFT_LEADER)
        return node_transfer(n, o->name, done, ctx);
    return ask_leader(n, ASK_STEPDOWN, o, done, ctx);
}

void node_meta_fill(const struct node *n, struct wire_meta *m)
{
    memset(m, 0, sizeof(*m));
    m->commit_index = n->view.commit_index;
    m->applied_index = n->apply.applied;
    m->term = n->view.hard.term;
    m->leader = n->view.role == RAFT_LEADER;
    m->ready = n->view.leader != 0;
    m->api_url = slice_str(n->api_url);
    m->version = slice_str(n->version);
}

static void meta_self(struct env_turn *t)
{
    struct node_ask *a = t->ctx;
    struct wire_meta m;

    a->node->counters.self_metas++;
    node_meta_fill(a->node, &m);
    ask_end(a, 0, &m, NULL);
}

static void meta_unreachable(struct env_turn *t)
{
    struct node_ask *a = t->ctx;
    char text[WIRE_TEXT_MAX];

    (void)snprintf(text, sizeof(text), "dial tcp %s: connect: connection refused", a->name);
    ask_end(a, ERR_REFUSED, NULL, text);
}

int node_meta(struct node *n, struct slice name, uint64_t timeout_ms,
              void (*done)(void *ctx, int rc, const struct wire_meta *meta, const char *why),
              void *ctx)
{
    if (n->phase != NODE_OPEN)
        return ERR_NOT_READY;
    const struct wire_member *m = node_conf_find_name(node_confs_latest(&n->confs), name);
    if (!m)
        return ERR_NOT_FOUND;
    struct node_ask *a = ask_new(n, ASK_META, timeout_ms, ctx);
    if (!a)
        return ERR_FULL;
    a->meta_done = done;
    (void)snprintf(a->name, sizeof(a->name), "%s", m->addr);
    a->conn = m->id == n->id ? 0 : peer_conn_of(n->peers, m->id);
    if (a->conn && ask_send(a, NULL) == 0)
        return 0;
    env_turn_init(&a->turn, n->env, m->id == n->id ? meta_self : meta_unreachable, a);
    env_turn_schedule(&a->turn);
    return 0;
}

/* ---- answers, and connections that die
 * --------------------------------------------------------------------------- */

void node_ask_answered(struct node *n, peer_conn c, const struct wire_frame *f)
{
    struct wire_meta m;

    for (struct list *l = n->asks.next; l != &n->asks; l = l->next) {
        struct node_ask *a = LIST_ENTRY(l, struct node_ask, link);
        if (a->conn != c || a->stream != f->stream)
            continue;
        if (a->kind != ASK_META)
            leader_answered(a, f->body);
        else if (wire_meta_get(f->body, &m))
            ask_end(a, ERR_PROTOCOL, NULL, NULL);
        else
            ask_end(a, 0, &m, NULL);
        return;
    }
}

/* A leader that removes itself on our behalf: as soon as we have the entry we talk to it no more. Whether it
 * was removed we shall see. */
static bool removes_its_leader(const struct node *n, const struct node_ask *a)
{
    return a->kind == ASK_REMOVE &&
           !node_conf_find_name(node_confs_latest(&n->confs), slice_str(a->name));
}

void node_ask_conf_committed(struct node *n)
{
    for (struct list *l = n->asks.next; l != &n->asks;) {
        struct node_ask *a = LIST_ENTRY(l, struct node_ask, link);
        l = l->next;
        if (!a->sees_itself)
            continue;
        const bool gone = removes_its_leader(n, a);
        ask_end(a, gone ? 0 : ERR_RESET, NULL, NULL);
        l = n->asks.next; /* the callback may have changed the list */
    }
}

void node_ask_lost(struct node *n, peer_conn c)
{
    for (struct list *l = n->asks.next; l != &n->asks;) {
        struct node_ask *a = LIST_ENTRY(l, struct node_ask, link);
        l = l->next;
        if (a->conn != c)
            continue;
        a->conn = 0; /* gone already */
        if (removes_its_leader(n, a) && !n->view.conf_committed) {
            a->sees_itself = true;
            continue;
        }
        if (removes_its_leader(n, a)) {
            ask_end(a, 0, NULL, NULL);
            l = n->asks.next;
            continue;
        }
        ask_end(a, ERR_RESET, NULL, a->own_conn ? "connection refused or lost" : NULL);
        l = n->asks.next; /* the callback may have changed the list */
    }
}

void node_ask_cancel_all(struct node *n)
{
    while (!list_empty(&n->asks))
        ask_end(LIST_ENTRY(n->asks.next, struct node_ask, link), ERR_CANCELED, NULL,
                "the node is stopping");
}
