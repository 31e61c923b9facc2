/* node_serve.c — requests that other nodes pass on to us, because we lead (or did). They run as our own
 * clients' do, are never passed on again, and are answered on the connection they came by.
 *
 *   frame ─► credentials ─► guard: yes ───────────────► run ─► answer
 *                             ├── later: kept ─► yes ───┘        ▲
 *                             └── no, full ──────────────────────┘
 *
 * The client was judged by the other node already; here our own file counts (http-api.md §11.1). */
#include "node_int.h"

struct serve {
    struct list link; /* in n->serving while the guard is being asked */
    struct node *node;
    peer_conn conn;
    uint32_t stream;
    enum wire_kind kind;
    struct guard_wait wait;
    uint8_t *kept; /* the body, while we wait */
    size_t kept_len;
    struct node_relay relay; /* FORWARD: the answers */
};

/* ---- answers -------------------------------------------------------------------------------------- */

static void serve_free(struct serve *s)
{
    list_remove(&s->link);
    if (s->kept) {
        s->node->serving_bytes -= s->kept_len;
        explicit_bzero(s->kept, s->kept_len);
        mem_free(s->kept);
    }
    mem_free(s);
}

static void answer_order(const struct serve *s, struct buf *out, const struct node_answer *a)
{
    static const enum wire_kind kinds[] = {[WIRE_JOIN_REQ] = WIRE_JOIN_RES,
                                           [WIRE_NOTIFY_REQ] = WIRE_NOTIFY_RES,
                                           [WIRE_REMOVE_REQ] = WIRE_REMOVE_RES,
                                           [WIRE_STEPDOWN_REQ] = WIRE_STEPDOWN_RES};
    struct wire_answer answer = {
        .rc = a->rc,
        .cluster_id = s->node->cluster_id,
        .text = slice_str(a->text && a->rc ? a->text : ""),
    };
    ASSERT(kinds[s->kind] != 0);
    size_t begun = wire_frame_begin(out, kinds[s->kind], s->stream);
    (void)wire_answer_put(out, &answer);
    (void)wire_frame_end(out, begun);
}

static void relay_over(struct node_relay *r)
{
    serve_free(LIST_ENTRY(r, struct serve, relay));
}

/* Answer and free. */
static void serve_end(struct serve *s, const struct node_answer *a)
{
    if (s->kind == WIRE_FORWARD_REQ) {
        node_relay_reply(&s->relay, a);
        return;
    }
    struct buf *out = peer_out(s->node->peers, s->conn);
    if (out) { /* else the asker is gone, or does not read: its connection will end */
        answer_order(s, out, a);
        peer_send_built(s->node->peers, s->conn);
    }
    serve_free(s);
}

static void serve_fail(struct serve *s, int rc)
{
    struct node_answer a = {.rc = rc, .text = err_text_of(rc)};
    serve_end(s, &a);
}

/* ---- running --------------------------------------------------------------------------------------- */

static void serve_count(struct node_counters *c, const struct wire_forward *f)
{
    enum wire_request_kind kind = f->kind;

    c->served_executions += kind == WIRE_EXECUTE;
    c->served_queries += kind == WIRE_QUERY;
    c->served_requests += kind == WIRE_REQUEST;
    c->served_loads += kind == WIRE_LOAD && !f->further; /* a load's first piece */
    c->served_backups += kind == WIRE_BACKUP;
}

static void run_forward(struct serve *s, struct slice body)
{
    struct node_request r = {.forwarded = true};
    struct wire_cmd cmd;

    int rc = wire_forward_get(body, &r.f);
    if (rc == 0 && r.f.kind != WIRE_BACKUP) /* that is opened where it is made */
        rc = wire_cmd_open(r.f.payload, false, &cmd);
    if (rc == 0)
        serve_count(&s->node->counters, &r.f);
    if (rc == 0)
        rc = node_submit(s->node, &r, node_relay_reply, &s->relay, &s->relay.ticket);
    if (rc)
        serve_fail(s, rc);
}

static void order_done(void *ctx, int rc, const char *why)
{
    struct node_answer a = {.rc = rc, .text = why};
    serve_end(ctx, &a);
}

/* Why a member cannot be handed the leadership, or removed (http-api.md §14.4). */
static const char *order_words(const struct serve *s, int rc, struct slice name)
{
    if (rc == ERR_NOT_FOUND)
        return "node not found in cluster";
    if (rc == ERR_INVALID && s->kind == WIRE_STEPDOWN_REQ)
        return slice_equal_str(name, s->node->name) ? "cannot step down to the current Leader"
                                                    : "cannot find peer";
    return err_text_of(rc);
}

static void run_order(struct serve *s, struct slice body)
{
    struct node *n = s->node;
    struct wire_order o;

    int rc = wire_order_get(body, &o);
    n->counters.served_removals += s->kind == WIRE_REMOVE_REQ;
    n->counters.served_stepdowns += s->kind == WIRE_STEPDOWN_REQ;
    if (rc == 0 && s->kind == WIRE_REMOVE_REQ)
        rc = node_remove_here(n, o.name, order_done, s);
    else if (rc == 0)
        rc = node_transfer(n, o.name, order_done, s);
    if (rc)
        order_done(s, rc, order_words(s, rc, o.name));
}

/* node_members.c answers by itself, when the change is through. */
static void run_join(struct serve *s, struct slice body)
{
    struct wire_frame f = {.kind = s->kind, .stream = s->stream, .body = body};

    node_members_asked(s->node, s->conn, &f);
    serve_free(s);
}

static void run_notify(struct serve *s, struct slice body)
{
    struct wire_join j;

    int rc = wire_join_get(body, &j);
    if (rc == 0)
        node_found_asked(s->node, &j, order_done, s);
    else
        order_done(s, rc, err_text_of(rc));
}

static void serve_run(struct serve *s, struct slice body)
{
    if (s->node->phase != NODE_OPEN)
        serve_fail(s, ERR_NOT_READY);
    else if (s->kind == WIRE_FORWARD_REQ)
        run_forward(s, body);
    else if (s->kind == WIRE_JOIN_REQ)
        run_join(s, body);
    else if (s->kind == WIRE_NOTIFY_REQ)
        run_notify(s, body);
    else
        run_order(s, body);
}

/* ---- judging --------------------------------------------------------------------------------------- */

static uint32_t forward_perms(enum wire_request_kind kind)
{
    switch (kind) {
    case WIRE_EXECUTE:
        return AUTH_EXECUTE;
    case WIRE_QUERY:
        return AUTH_QUERY;
    case WIRE_REQUEST:
        return AUTH_QUERY | AUTH_EXECUTE;
    case WIRE_LOAD:
        return AUTH_LOAD;
    case WIRE_BACKUP:
        return AUTH_BACKUP;
    }
    UNREACHABLE();
}

static uint32_t join_perms(const struct wire_join *j)
{
    return j->voter ? AUTH_JOIN : AUTH_JOIN_READ_ONLY;
}

/* 0 and *q lent from body; ERR_PROTOCOL. */
static int serve_question(const struct serve *s, struct slice body, struct auth_question *q)
{
    struct wire_forward f;
    struct wire_order o;
    struct wire_join j;
    int rc;

    if (s->kind == WIRE_JOIN_REQ || s->kind == WIRE_NOTIFY_REQ) {
        rc = wire_join_get(body, &j);
        if (rc == 0)
            *q = (struct auth_question){j.user, j.password, join_perms(&j)};
    } else if (s->kind == WIRE_FORWARD_REQ) {
        rc = wire_forward_get(body, &f);
        if (rc == 0)
            *q = (struct auth_question){f.user, f.password, forward_perms(f.kind)};
    } else {
        rc = wire_order_get(body, &o);
        if (rc == 0)
            *q = (struct auth_question){o.user, o.password,
                                        s->kind == WIRE_REMOVE_REQ ? (uint32_t)AUTH_REMOVE
                                                                   : (uint32_t)AUTH_LEADER_OPS};
    }
    return rc;
}

static void serve_judged(struct guard_wait *w, enum guard_answer answer)
{
    struct serve *s = LIST_ENTRY(w, struct serve, wait);

    list_remove(&s->link);
    if (answer == GUARD_YES)
        serve_run(s, slice_of(s->kept, s->kept_len));
    else
        serve_fail(s, answer == GUARD_NO ? ERR_DENIED : ERR_FULL);
}

/* The frame's bytes are only lent: keep them until the guard has made up its mind. */
static void serve_keep(struct serve *s, struct slice body)
{
    struct node *n = s->node;

    bool room = n->serving_bytes + body.len <= LIMIT_NODE_PENDING_BYTES;
    s->kept = room ? mem_alloc(body.len) : NULL;
    if (!s->kept) {
        guard_forget(&s->wait);
        serve_fail(s, ERR_FULL);
        return;
    }
    memcpy(s->kept, body.data, body.len);
    s->kept_len = body.len;
    n->serving_bytes += body.len;
    list_push_back(&n->serving, &s->link);
}

void node_serve(struct node *n, peer_conn c, const struct wire_frame *f)
{
    struct auth_question q;
    struct serve *s = mem_zalloc(sizeof(*s));

    if (!s)
        return; /* the asker's own timer ends its wait */
    list_init(&s->link);
    s->node = n;
    s->conn = c;
    s->stream = f->stream;
    s->kind = f->kind;
    s->wait.done = serve_judged;
    node_relay_init(&s->relay, n, c, f->stream, relay_over);
    int rc = serve_question(s, f->body, &q);
    if (rc) {
        serve_fail(s, rc);
        return;
    }
    switch (q.perms ? guard_ask(n->config.guard, &q, &s->wait) : GUARD_YES) {
    case GUARD_YES:
        serve_run(s, f->body);
        return;
    case GUARD_NO:
        serve_fail(s, ERR_DENIED);
        return;
    case GUARD_FULL:
        serve_fail(s, ERR_FULL);
        return;
    case GUARD_LATER:
        serve_keep(s, f->body);
        return;
    }
    UNREACHABLE();
}

void node_serve_cancel_all(struct node *n)
{
    while (!list_empty(&n->serving)) {
        struct serve *s = LIST_ENTRY(n->serving.next, struct serve, link);
        guard_forget(&s->wait);
        serve_fail(s, ERR_CANCELED);
    }
}
