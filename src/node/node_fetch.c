/* node_fetch.c — images from the leader, and to those who lack the log.
 *
 *   asker                                   leader (or who was)
 *   raft: install wanted ─► IMAGE_REQ 0 ─►  begin ─► chunk 0 ─► IMAGE_RES 0
 *   received ◄──────────────────────────────────────────────────┘
 *   IMAGE_REQ 1 ─►                          next chunk …
 *   complete: node_install.c
 *
 * The asker pulls, one chunk at a time, so that nothing is buffered beyond one chunk at each end, and raft's
 * messages never wait behind more than one. A lost connection ends both ends' part; raft offers again. */
#include "node_int.h"

enum { CHUNK_BYTES = 512 * 1024, FETCH_TIMEOUT_MS = 20 * 1000, LENDS_MAX = 4 };

/* ---- the asker -------------------------------------------------------------------------------------------- */

static void fetch_ask(struct node *n)
{
    struct node_fetch *f = &n->fetch;
    struct buf *out = peer_out(n->peers, f->conn);

    env_timer_arm(&f->timer, FETCH_TIMEOUT_MS * ENV_MS_NS);
    if (!out)
        return; /* the timer, or the connection's end, ends it */
    size_t begun = wire_frame_begin(out, WIRE_IMAGE_REQ, f->stream);
    (void)wire_image_req_put(out, f->seq);
    (void)wire_frame_end(out, begun);
    peer_send_built(n->peers, f->conn);
}

static void fetch_drop_run(struct node_image_task *t)
{
    struct node_fetch *f = LIST_ENTRY(t, struct node_fetch, task);

    image_receive_end(f->receive);
    f->receive = NULL;
}

static void fetch_dropped(struct node_image_task *t)
{
    LIST_ENTRY(t, struct node_fetch, task)->active = false;
}

static void fetch_end(struct node *n, const char *why)
{
    struct node_fetch *f = &n->fetch;

    env_log(n->env, "snapshot", "fetching an image ended: %s", why);
    env_timer_disarm(&f->timer);
    f->conn = 0;
    if (f->task.queued) /* its done() sees that the connection is gone */
        return;
    node_image_submit(n, &f->task, ENV_LANE_READ, fetch_drop_run, fetch_dropped);
}

static void fetch_timed_out(struct env_timer *timer)
{
    fetch_end(timer->ctx, "no answer came in time");
}

static void chunk_run(struct node_image_task *t)
{
    struct node_fetch *f = LIST_ENTRY(t, struct node_fetch, task);

    if (!f->receive)
        t->rc = image_receive_begin(t->node->image.image, &f->receive);
    if (t->rc == 0)
        t->rc = image_receive_chunk(f->receive, buf_slice(&f->chunk), &f->complete, &t->why);
    if (t->rc == 0 && f->complete)
        t->rc = image_receive_settle(f->receive);
}

static void chunk_done(struct node_image_task *t)
{
    struct node_fetch *f = LIST_ENTRY(t, struct node_fetch, task);
    struct node *n = t->node;

    if (n->phase != NODE_OPEN)
        return;
    if (f->conn == 0 || t->rc) {
        fetch_end(n, !t->rc           ? "the connection was lost"
                     : t->why.text[0] ? t->why.text
                                      : err_text_of(t->rc));
        return;
    }
    if (!f->complete) {
        f->seq++;
        fetch_ask(n);
        return;
    }
    env_timer_disarm(&f->timer);
    struct image_receive *receive = f->receive;
    f->receive = NULL;
    f->active = false;
    node_install_start(n, receive);
}

static void fetch_answered(struct node *n, peer_conn c, const struct wire_frame *frame)
{
    struct node_fetch *f = &n->fetch;
    struct wire_image_res res;

    if (!f->active || f->task.queued || c != f->conn || frame->stream != f->stream)
        return;
    if (wire_image_res_get(frame->body, &res) || res.seq != f->seq) {
        fetch_end(n, "the answer is malformed");
        return;
    }
    if (res.rc) {
        fetch_end(n, err_text_of(res.rc));
        return;
    }
    buf_reset(&f->chunk, 2 * CHUNK_BYTES);
    if (buf_append_slice(&f->chunk, res.chunk)) {
        fetch_end(n, err_text_of(f->chunk.failed));
        return;
    }
    node_image_submit(n, &f->task, ENV_LANE_READ, chunk_run, chunk_done);
}

void node_fetch_want(struct node *n, raft_id from, uint64_t index)
{
    struct node_fetch *f = &n->fetch;
    peer_conn c = node_conn_to(n, from);

    if (f->active || n->install.active || c == 0 || n->phase != NODE_OPEN ||
        index <= n->apply.applied || env_timer_armed(&n->cut.retry))
        return; /* raft's leader offers again; a cut that waits for space says that there is none */
    env_log(n->env, "snapshot", "fetching an image of index %llu or later",
            (unsigned long long)index);
    f->active = true;
    f->complete = false;
    f->conn = c;
    f->stream = peer_next_stream(n->peers);
    f->seq = 0;
    fetch_ask(n);
}

/* ---- the lender --------------------------------------------------------------------------------------------- */

struct node_lend {
    struct node_image_task task;
    struct list link;
    peer_conn conn; /* 0: lost */
    uint32_t stream, seq;
    struct image_send *send;
    struct buf chunk;
    bool last;
    struct env_timer timer;
};

static struct node_lend *lend_of(struct node_image_task *t)
{
    return LIST_ENTRY(t, struct node_lend, task);
}

static void lend_free(struct node_lend *l)
{
    env_timer_disarm(&l->timer);
    list_remove(&l->link);
    l->task.node->lend_count--;
    buf_fini(&l->chunk);
    mem_free(l);
}

static void lend_end_run(struct node_image_task *t)
{
    image_send_end(lend_of(t)->send);
    lend_of(t)->send = NULL;
}

static void lend_end_done(struct node_image_task *t)
{
    lend_free(lend_of(t));
}

static void lend_end(struct node_lend *l)
{
    l->conn = 0;
    if (!l->task.queued)
        node_image_submit(l->task.node, &l->task, ENV_LANE_READ, lend_end_run, lend_end_done);
}

static void lend_timed_out(struct env_timer *timer)
{
    lend_end(timer->ctx);
}

static void res_send(struct node *n, peer_conn c, uint32_t stream, const struct wire_image_res *res)
{
    struct buf *out = peer_out(n->peers, c);

    if (!out)
        return;
    size_t begun = wire_frame_begin(out, WIRE_IMAGE_RES, stream);
    (void)wire_image_res_put(out, res);
    (void)wire_frame_end(out, begun);
    peer_send_built(n->peers, c);
}

static void lend_run(struct node_image_task *t)
{
    struct node_lend *l = lend_of(t);

    if (!l->send)
        t->rc = image_send_begin(t->node->image.image, &l->send);
    if (t->rc == 0)
        t->rc = image_send_next(l->send, CHUNK_BYTES, &l->chunk, &l->last, &t->why);
}

static void lend_done(struct node_image_task *t)
{
    struct node_lend *l = lend_of(t);
    struct node *n = t->node;
    struct wire_image_res res = {.rc = t->rc, .seq = l->seq, .chunk = buf_slice(&l->chunk)};

    if (n->phase != NODE_OPEN)
        return;
    if (l->conn == 0) {
        lend_end(l);
        return;
    }
    if (t->rc == 0 &&
        buf_len(&l->chunk) == 0) { /* a cut is being applied: its tasks come between */
        node_image_submit(n, t, ENV_LANE_READ, lend_run, lend_done);
        return;
    }
    if (t->rc) {
        env_log(n->env, "snapshot", "sending an image: %s", t->why.text);
        res.chunk = slice_of(NULL, 0);
    }
    res_send(n, l->conn, l->stream, &res);
    env_timer_arm(&l->timer, FETCH_TIMEOUT_MS * ENV_MS_NS);
    if (t->rc || l->last)
        lend_end(l);
}

static struct node_lend *lend_find(struct node *n, peer_conn c, uint32_t stream)
{
    for (struct list *at = n->lends.next; at != &n->lends; at = at->next) {
        struct node_lend *l = LIST_ENTRY(at, struct node_lend, link);
        if (l->conn == c && l->stream == stream)
            return l;
    }
    return NULL;
}

static struct node_lend *lend_new(struct node *n, peer_conn c, uint32_t stream)
{
    struct node_lend *l = n->lend_count < LENDS_MAX ? mem_zalloc(sizeof(*l)) : NULL;

    if (!l)
        return NULL;
    l->task.node = n;
    l->conn = c;
    l->stream = stream;
    buf_init(&l->chunk, 2 * CHUNK_BYTES);
    env_timer_init(&l->timer, n->env, lend_timed_out, l);
    list_push_back(&n->lends, &l->link);
    n->lend_count++;
    return l;
}

static void lend_asked(struct node *n, peer_conn c, const struct wire_frame *frame)
{
    struct node_lend *l = lend_find(n, c, frame->stream);
    struct wire_image_res refused = {.rc = ERR_FULL};
    uint32_t seq;

    if (wire_image_req_get(frame->body, &seq) || (l ? seq != l->seq + 1 : seq != 0) ||
        (l && l->task.queued))
        return;                    /* not what our asker does */
    if (!l && !n->cut_when.wanted) /* else it names a former cluster; raft will offer it again */
        l = lend_new(n, c, frame->stream);
    if (!l) {
        res_send(n, c, frame->stream, &refused);
        return;
    }
    l->seq = seq;
    env_timer_disarm(&l->timer);
    node_image_submit(n, &l->task, ENV_LANE_READ, lend_run, lend_done);
}

/* ---- both --------------------------------------------------------------------------------------------------- */

void node_fetch_frame(struct node *n, peer_conn c, const struct wire_frame *f)
{
    if (f->kind == WIRE_IMAGE_REQ)
        lend_asked(n, c, f);
    else
        fetch_answered(n, c, f);
}

void node_fetch_lost(struct node *n, peer_conn c)
{
    if (n->phase != NODE_OPEN)
        return;
    if (n->fetch.active && n->fetch.conn == c)
        fetch_end(n, "the connection was lost");
    for (struct list *at = n->lends.next; at != &n->lends;) {
        struct node_lend *l = LIST_ENTRY(at, struct node_lend, link);
        at = at->next;
        if (l->conn == c)
            lend_end(l);
    }
}

void node_fetch_init(struct node *n)
{
    n->fetch.task.node = n;
    list_init(&n->lends);
    buf_init(&n->fetch.chunk, LIMIT_PEER_FRAME_BYTES);
    env_timer_init(&n->fetch.timer, n->env, fetch_timed_out, n);
}

/* Timers; on the way down. */
void node_fetch_stop(struct node *n)
{
    env_timer_disarm(&n->fetch.timer);
    for (struct list *at = n->lends.next; at != &n->lends; at = at->next)
        env_timer_disarm(&LIST_ENTRY(at, struct node_lend, link)->timer);
}

/* What holds the image open. run(), nothing else is under way any more. */
void node_fetch_close(struct node *n)
{
    image_receive_end(n->fetch.receive);
    image_receive_end(n->install.receive);
    n->fetch.receive = n->install.receive = NULL;
    for (struct list *at = n->lends.next; at != &n->lends; at = at->next) {
        image_send_end(LIST_ENTRY(at, struct node_lend, link)->send);
        LIST_ENTRY(at, struct node_lend, link)->send = NULL;
    }
}

void node_fetch_fini(struct node *n)
{
    while (!list_empty(&n->lends))
        lend_free(LIST_ENTRY(n->lends.next, struct node_lend, link));
    buf_fini(&n->fetch.chunk);
}
