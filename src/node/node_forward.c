/* node_forward.c — what only the leader can answer, passed on to it. One hop only. A write of which
 * anything may have left this node is never sent again: when the connection dies its outcome is unknown,
 * and the client is told so. Reads are (node_retry.c).
 *
 * The answer is one FORWARD_RES; a long one comes as FORWARD_PARTs and then that. A large result comes as
 * several such answers, each asked for by a FORWARD_PULL when the client has taken the one before. */
#include "node_int.h"

/* An answer finds its request by slot and generation; a stale one does not match. */
static uint32_t forward_stream(const struct node_wait *w)
{
    return ((w->generation << 14) ^ w->slot) | 0x80000000U;
}

static void forward_send(struct node_wait *w, peer_conn c, struct buf *out)
{
    struct node *n = w->node;
    struct wire_forward f = {
        .kind = w->kind,
        .level = w->level,
        .encode_options = w->encode_options,
        /* A wait there ends a little earlier than ours, so that its words arrive. */
        .timeout_ms = w->timeout_ms - (w->wait_index ? w->timeout_ms / 8 : 0),
        .linearizable_timeout_ms = w->linearizable_timeout_ms,
        .db_timeout_ns = w->db_timeout_ns,
        .wait_index = w->wait_index,
        .in_parts = w->in_parts,
        .payload = slice_of(w->payload->payload, w->payload->len),
        .further = w->further,
        .user = slice_of(w->credentials, w->user_len),
        .password = slice_of(w->credentials ? w->credentials + w->user_len : NULL, w->password_len),
    };

    size_t begun = wire_frame_begin(out, WIRE_FORWARD_REQ, forward_stream(w));
    (void)wire_forward_put(out, &f);
    (void)wire_frame_end(out, begun);
    buf_reset(&w->out, 0); /* of a former attempt */
    w->state = WAIT_FORWARD;
    w->forwarded_ns = env_now_ns(n->env);
    n->counters.forwarded_executions += w->kind == WIRE_EXECUTE;
    n->counters.forwarded_queries += w->kind == WIRE_QUERY;
    n->counters.forwarded_requests += w->kind == WIRE_REQUEST;
    n->counters.forwarded_loads += w->kind == WIRE_LOAD && !w->further; /* a load's first piece */
    n->counters.forwarded_backups += w->kind == WIRE_BACKUP;
    node_wait_limit(w,
                    env_now_ns(n->env) + w->timeout_ms * ENV_MS_NS); /* of each exchange (§11.4) */
    w->conn = c;
    w->stream = forward_stream(w);
    list_push_back(&n->forwarding, &w->link);
    peer_send_built(n->peers, c);
}

void node_forward(struct node_wait *w)
{
    struct node *n = w->node;
    raft_id leader = n->view.leader;
    const struct wire_member *m = node_conf_find(node_confs_latest(&n->confs), leader);

    list_remove(&w->link);
    if (w->forwarded || (w->redirect && m && leader != n->id)) {
        node_wait_fail(w, ERR_NOT_LEADER, NULL);
        return;
    }
    if (!m || leader == n->id) {
        node_retry_leaderless(w);
        return;
    }
    peer_conn c = peer_conn_of(n->peers, leader);
    struct buf *out = c ? peer_out(n->peers, c) : NULL;
    if (out) {
        forward_send(w, c, out);
        return;
    }
    struct err_text t;
    if (c)
        node_retry(w, ERR_FULL, NULL);
    else
        node_retry(w, ERR_REFUSED,
                   node_leader_text(n, "dial tcp", "connect: connection refused", &t));
}

/* ---- the answer
 * ------------------------------------------------------------------------------------------ */

static struct node_wait *forward_find(struct node *n, peer_conn c, uint32_t stream)
{
    for (struct list *l = n->forwarding.next; l != &n->forwarding; l = l->next) {
        struct node_wait *w = LIST_ENTRY(l, struct node_wait, link);
        if (w->stream == stream && w->conn == c)
            return w; /* answers come back in about the order of the questions: found early */
    }
    return NULL;
}

static void forward_count_failed(const struct node_wait *w, int rc)
{
    struct node_counters *c = &w->node->counters;

    if (rc == 0)
        return;
    c->forward_executions_failed += w->kind == WIRE_EXECUTE;
    c->forward_queries_failed += w->kind == WIRE_QUERY;
    c->forward_requests_failed += w->kind == WIRE_REQUEST;
}

static int pull_send(struct node *n, peer_conn c, uint32_t stream, bool stop)
{
    const struct wire_forward_pull p = {.stop = stop};
    struct buf body;

    buf_init(&body, 16);
    int rc = wire_forward_pull_put(&body, &p);
    if (rc == 0)
        rc = peer_send(n->peers, c, WIRE_FORWARD_PULL, stream, buf_slice(&body));
    buf_fini(&body);
    return rc;
}

/* The last thing sent there may have been a failure's answer: then nobody looks at this. */
void node_forward_end(struct node_wait *w)
{
    (void)pull_send(w->node, w->conn, w->stream, true);
}

void node_forward_pulled(struct node_wait *w)
{
    int rc = pull_send(w->node, w->conn, w->stream, false);
    if (rc && rc != ERR_NOT_FOUND) /* lost: that is told on a later turn */
        node_wait_fail(w, rc, NULL);
}

static void answer_malformed(struct node_wait *w)
{
    node_wait_fail(w, ERR_PROTOCOL, "the leader's answer is malformed");
}

void node_forward_part(struct node *n, peer_conn c, const struct wire_frame *f)
{
    struct node_wait *w = forward_find(n, c, f->stream);

    if (!w)
        return; /* timed out, or forgotten */
    if (f->body.len == 0 || w->part_out)
        answer_malformed(w);
    else if (buf_append_slice(&w->out, f->body))
        node_wait_fail(w, w->out.failed, "the leader's answer does not fit into memory");
}

static void forward_gave_part(struct node_wait *w, const struct node_answer *a)
{
    if (!w->in_parts || w->part_out) {
        answer_malformed(w);
        return;
    }
    if (!node_wait_part(w, a))
        return;
    buf_reset(&w->out, 0);
    if (!w->part_out)
        node_forward_pulled(w);
}

void node_forward_answered(struct node *n, peer_conn c, const struct wire_frame *f)
{
    struct wire_forward_answer got;
    struct node_wait *w = forward_find(n, c, f->stream);
    const struct node_conn *from = node_conn_find(n, c);
    int rc = wire_forward_answer_get(f->body, &got);

    if (!w) { /* timed out, or forgotten */
        if (rc == 0 && got.more)
            (void)pull_send(n, c, f->stream, true);
        return;
    }
    if (!from || rc || w->part_out) {
        answer_malformed(w);
        return;
    }
    const struct wire_member *m = node_conf_find(node_confs_latest(&n->confs), from->id);
    char text[WIRE_TEXT_MAX + 1] = "";
    if (got.text.len < sizeof(text) && got.text.len)
        memcpy(text, got.text.data, got.text.len);
    if (buf_len(&w->out) > 0 && buf_append_slice(&w->out, got.body)) {
        node_wait_fail(w, w->out.failed, "the leader's answer does not fit into memory");
        return;
    }
    struct node_answer a = {
        .more = got.more,
        .rc = got.rc,
        .text = got.rc ? text : NULL,
        .body = buf_len(&w->out) > 0 ? buf_slice(&w->out) : got.body,
        .raft_index = got.raft_index,
        .served_by = m ? m->addr : "",
        .phases = got.phases,
        .forward_ns = env_now_ns(n->env) - w->forwarded_ns,
    };
    if (a.more) {
        forward_gave_part(w, &a);
        return;
    }
    histogram_add(&n->clock.times.forward, a.forward_ns);
    forward_count_failed(w, got.rc);
    w->conn = 0; /* nothing to end there */
    if (got.rc ==
        ERR_NOT_LEADER) { /* it did nothing, and has no better knowledge than ours will be */
        list_remove(&w->link);
        node_retry_leaderless(w);
        return;
    }
    node_wait_answer(w, &a);
}

/* Only what cannot change anything, whichever node runs it (a REQUEST may write), and of which the client
 * has seen nothing yet. */
static bool may_repeat(const struct node_wait *w)
{
    return (w->kind == WIRE_QUERY || w->kind == WIRE_BACKUP) && !w->parts_end_ns;
}

void node_forward_lost(struct node *n, peer_conn c)
{
    const struct node_conn *to = node_conn_find(n, c);
    const struct wire_member *m = to ? node_conf_find(node_confs_latest(&n->confs), to->id) : NULL;
    char text[WIRE_ADDR_MAX + 64];
    struct list lost;

    (void)snprintf(text, sizeof(text), "read tcp %s: connection reset by peer",
                   m ? m->addr : "leader");

    list_init(&lost);
    for (struct list *l = n->forwarding.next; l != &n->forwarding;) {
        struct list *next = l->next;
        if (LIST_ENTRY(l, struct node_wait, link)->conn == c) {
            list_remove(l);
            list_push_back(&lost, l);
        }
        l = next;
    }
    for (struct list *l; (l = list_pop_front(&lost));) {
        struct node_wait *w = LIST_ENTRY(l, struct node_wait, link);
        if (may_repeat(w)) {
            node_retry(w, ERR_RESET, text);
            continue;
        }
        forward_count_failed(w, ERR_RESET);
        node_wait_fail(w, ERR_RESET, text);
    }
}
