/* node_lend.c — our image, to a node that lacks the log.
 *
 *   IMAGE_REQ (all before `next` is there) ─► room in the window ─► READ: make a chunk ─► IMAGE_RES, one at a
 *   time on the wire ─► …
 *
 * The asker dials a connection of its own for it, so that nothing of raft's waits behind a chunk. Chunks are made
 * ahead, at most a window of them, and kept until the asker says that they are there: when the connection is
 * lost, the transfer waits for LEND_PATIENCE_MS and goes on upon another one with the chunk asked for. Who asks for
 * nothing for as long, or takes pages more slowly than they change, is told so and forgotten. */
#include "node_int.h"

enum { LENDS_MAX = 4, LEND_PATIENCE_MS = 20 * 1000, LEND_PAUSE_MS = 20 };

struct lend_chunk {
    struct buf bytes;
    bool packed;
};

struct node_lend {
    struct node_image_task task;
    struct list link;
    raft_id to;
    uint64_t transfer;
    peer_conn conn; /* 0: lost */
    uint32_t stream;
    uint32_t acked, sent, made; /* chunks: known to be there; on the wire; made */
    uint32_t window;
    bool zstd, last, over; /* last: none comes behind what was made */
    bool nothing;          /* was made just now */
    struct image_send *send;
    struct lend_chunk ring[NODE_IMAGE_WINDOW]; /* acked … made */
    struct buf raw;
    struct env_timer patience, pause;
};

static struct node_lend *lend_of(struct node_image_task *t)
{
    return LIST_ENTRY(t, struct node_lend, task);
}

static struct lend_chunk *chunk_of(struct node_lend *l, uint32_t number)
{
    return &l->ring[number % NODE_IMAGE_WINDOW];
}

/* ---- the end of one -------------------------------------------------------------------------------------- */

static void lend_free(struct node_lend *l)
{
    env_timer_disarm(&l->patience);
    env_timer_disarm(&l->pause);
    list_remove(&l->link);
    l->task.node->lend_count--;
    for (uint32_t i = 0; i < NODE_IMAGE_WINDOW; i++)
        buf_fini(&l->ring[i].bytes);
    buf_fini(&l->raw);
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
    l->over = true;
    l->conn = 0;
    env_timer_disarm(&l->patience);
    env_timer_disarm(&l->pause);
    if (!l->task.queued) /* else its done() comes back here */
        node_image_submit(l->task.node, &l->task, ENV_LANE_READ, lend_end_run, lend_end_done);
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

static void refuse(struct node *n, peer_conn c, uint32_t stream, int rc, const char *text)
{
    struct wire_image_res res = {.rc = rc, .text = slice_str(text)};
    res_send(n, c, stream, &res);
}

static void lend_fail(struct node_lend *l, int rc, const char *text)
{
    env_log(l->task.node->env, "snapshot", "sending an image: %s", text);
    if (rc == ERR_CORRUPT)
        l->task.node->up.damaged(l->task.node, text);
    l->task.node->counters.lends_failed++;
    if (l->conn)
        refuse(l->task.node, l->conn, l->stream, rc, text);
    lend_end(l);
}

static void patience_ended(struct env_timer *timer)
{
    struct node_lend *l = timer->ctx;

    if (l->conn && l->sent == l->acked) /* it is we who are slow */
        env_timer_arm(timer, LEND_PATIENCE_MS * ENV_MS_NS);
    else
        lend_fail(l, ERR_TIMEOUT, "nobody took a piece of it for 20 seconds");
}

/* ---- chunks ----------------------------------------------------------------------------------------------- */

static void lend_go(struct node_lend *l);

static void chunk_pack(struct node_lend *l, struct lend_chunk *c)
{
    if (l->zstd && image_pack(buf_slice(&l->raw), &c->bytes) == 0) {
        c->packed = true;
        return;
    }
    struct buf swap = c->bytes;
    c->bytes = l->raw;
    l->raw = swap;
    c->packed = false;
}

static void make_run(struct node_image_task *t)
{
    struct node_lend *l = lend_of(t);

    if (!l->send)
        t->rc = image_send_begin(t->node->image.image, &l->send);
    buf_reset(&l->raw, NODE_CHUNK_MAX);
    if (t->rc == 0)
        t->rc =
            image_send_next(l->send, t->node->config.image_chunk_bytes, &l->raw, &l->last, &t->why);
    l->nothing = buf_len(&l->raw) == 0;
    if (t->rc == 0 && !l->nothing)
        chunk_pack(l, chunk_of(l, l->made));
}

static void made(struct node_image_task *t)
{
    struct node_lend *l = lend_of(t);
    struct node *n = t->node;

    if (n->phase != NODE_OPEN)
        return;
    if (l->over) {
        lend_end(l);
    } else if (t->rc) {
        lend_fail(l, t->rc, t->why.text[0] ? t->why.text : err_text_of(t->rc));
    } else if (l->nothing) { /* a cut is being applied */
        env_timer_arm(&l->pause, LEND_PAUSE_MS * ENV_MS_NS);
    } else {
        l->made++;
        lend_go(l);
    }
}

static void pause_ended(struct env_timer *timer)
{
    lend_go(timer->ctx);
}

/* The next one onto the wire when it is free; and make another if there is room. */
static void lend_go(struct node_lend *l)
{
    struct node *n = l->task.node;

    if (l->conn && l->sent < l->made && peer_pending(n->peers, l->conn) == 0) {
        const struct lend_chunk *c = chunk_of(l, l->sent);
        struct wire_image_res res = {.transfer = l->transfer,
                                     .seq = l->sent,
                                     .packed = c->packed,
                                     .chunk = buf_slice(&c->bytes)};
        res_send(n, l->conn, l->stream, &res);
        n->counters.lend_chunks++;
        n->counters.lend_bytes += res.chunk.len;
        l->sent++;
    }
    if (l->conn && l->sent < l->made)
        peer_drained_want(n->peers, l->conn);
    if (l->task.queued || l->last || l->made - l->acked >= l->window || env_timer_armed(&l->pause))
        return;
    buf_reset(&chunk_of(l, l->made)->bytes, NODE_CHUNK_MAX);
    chunk_of(l, l->made)->packed = false;
    node_image_submit(n, &l->task, ENV_LANE_READ, make_run, made);
}

/* ---- requests ----------------------------------------------------------------------------------------------- */

static struct node_lend *lend_new(struct node *n, raft_id to)
{
    struct node_lend *l = n->lend_count < LENDS_MAX ? mem_zalloc(sizeof(*l)) : NULL;

    if (!l)
        return NULL;
    l->task.node = n;
    l->to = to;
    do
        l->transfer = env_random_u64(n->env);
    while (l->transfer == 0);
    for (uint32_t i = 0; i < NODE_IMAGE_WINDOW; i++)
        buf_init(&l->ring[i].bytes, NODE_CHUNK_MAX);
    buf_init(&l->raw, NODE_CHUNK_MAX);
    env_timer_init(&l->patience, n->env, patience_ended, l);
    env_timer_init(&l->pause, n->env, pause_ended, l);
    list_push_back(&n->lends, &l->link);
    n->lend_count++;
    return l;
}

static struct node_lend *lend_find(struct node *n, raft_id to, uint64_t transfer)
{
    for (struct list *at = n->lends.next; at != &n->lends; at = at->next) {
        struct node_lend *l = LIST_ENTRY(at, struct node_lend, link);
        if (!l->over && l->to == to && (transfer == 0 || l->transfer == transfer))
            return l;
    }
    return NULL;
}

/* NULL: the asker was told why. */
static struct node_lend *lend_begin(struct node *n, const struct node_conn *from, uint32_t stream,
                                    const struct wire_image_req *q)
{
    struct node_lend *l;

    if (n->image.index < q->index || n->cut_when.wanted) { /* or it names a former cluster */
        node_cut_want(n);
        refuse(n, from->conn, stream, ERR_BUSY, "the image is older than what is asked for");
        return NULL;
    }
    if ((l = lend_find(n, from->id, 0))) /* it began anew */
        lend_end(l);
    l = lend_new(n, from->id);
    if (!l) {
        refuse(n, from->conn, stream, ERR_FULL, "too many images are being sent");
        return NULL;
    }
    l->zstd = q->zstd && n->config.compress_images;
    l->window = q->window < NODE_IMAGE_WINDOW ? q->window : NODE_IMAGE_WINDOW;
    return l;
}

void node_lend_asked(struct node *n, peer_conn c, const struct wire_frame *frame)
{
    const struct node_conn *from = node_conn_find(n, c);
    struct wire_image_req q;

    if (!from || wire_image_req_get(frame->body, &q))
        return;
    struct node_lend *l =
        q.transfer ? lend_find(n, from->id, q.transfer) : lend_begin(n, from, frame->stream, &q);
    if (!l) {
        if (q.transfer)
            refuse(n, c, frame->stream, ERR_NOT_FOUND, "the transfer is not known here any more");
        return;
    }
    if (q.next < l->acked || q.next > l->sent) {
        lend_fail(l, ERR_PROTOCOL, "a piece was asked for that cannot come next");
        return;
    }
    l->acked = q.next;
    if (c != l->conn) {
        n->counters.lends_resumed += q.transfer != 0;
        l->conn = c;
        l->stream = frame->stream;
        l->sent = q.next;
    }
    env_timer_arm(&l->patience, LEND_PATIENCE_MS * ENV_MS_NS);
    if (!l->task.queued && l->last && l->acked == l->made) /* queued: `last` is the lane's */
        lend_end(l);
    else
        lend_go(l);
}

void node_lend_drained(struct node *n, peer_conn c)
{
    for (struct list *at = n->lends.next; at != &n->lends; at = at->next)
        if (LIST_ENTRY(at, struct node_lend, link)->conn == c)
            lend_go(LIST_ENTRY(at, struct node_lend, link));
}

void node_lend_lost(struct node *n, peer_conn c)
{
    for (struct list *at = n->lends.next; at != &n->lends; at = at->next)
        if (LIST_ENTRY(at, struct node_lend, link)->conn == c)
            LIST_ENTRY(at, struct node_lend, link)->conn = 0;
}

/* ---- the node's life ------------------------------------------------------------------------------------------ */

/* Timers; on the way down. */
void node_lend_stop(struct node *n)
{
    for (struct list *at = n->lends.next; at != &n->lends; at = at->next) {
        env_timer_disarm(&LIST_ENTRY(at, struct node_lend, link)->patience);
        env_timer_disarm(&LIST_ENTRY(at, struct node_lend, link)->pause);
    }
}

/* What holds the image open. run(), nothing else is under way any more. */
void node_lend_close(struct node *n)
{
    for (struct list *at = n->lends.next; at != &n->lends; at = at->next) {
        image_send_end(LIST_ENTRY(at, struct node_lend, link)->send);
        LIST_ENTRY(at, struct node_lend, link)->send = NULL;
    }
}

void node_lend_fini(struct node *n)
{
    while (!list_empty(&n->lends))
        lend_free(LIST_ENTRY(n->lends.next, struct node_lend, link));
}
