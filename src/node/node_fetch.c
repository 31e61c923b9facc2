/* node_fetch.c — an image from another node (its node_lend.c): because raft's leader offers one in place of entries
 * that are gone, or because ours is damaged.
 *
 *   wanted ─► dial a connection for it ─► IMAGE_REQ 0 ─► chunks, a window of them under way
 *   ─► READ: into the next image's files, with rests (node_pace.c) ─► IMAGE_REQ (all before `next` is here) …
 *   ─► complete: durable ─► node_install.c
 *
 * A lost connection is dialled again, and the transfer goes on with the first chunk that was not taken, as long as
 * the lender knows it. When the lender was restarted, or another node leads by then, it begins anew. */
#include "node_int.h"

enum { FETCH_POLL_MS = 200, FETCH_TIMEOUT_MS = 20 * 1000 };

static struct node_fetch *fetch_of(struct node_image_task *t)
{
    return LIST_ENTRY(t, struct node_fetch, task);
}

/* ---- the end ---------------------------------------------------------------------------------------------- */

static void hang_up(struct node *n)
{
    if (n->fetch.conn)
        peer_conn_close(n->peers, n->fetch.conn);
    n->fetch.conn = 0;
}

static void drop_run(struct node_image_task *t)
{
    image_receive_end(fetch_of(t)->receive);
    fetch_of(t)->receive = NULL;
}

static void dropped(struct node_image_task *t)
{
    fetch_of(t)->active = false;
}

static void fetch_drop(struct node *n)
{
    node_image_submit(n, &n->fetch.task, ENV_LANE_READ, drop_run, dropped);
}

static void fetch_end(struct node *n, const char *why)
{
    struct node_fetch *f = &n->fetch;

    ASSERT(f->active && !f->over);
    env_log(n->env, "snapshot", "fetching an image ended: %s", why);
    n->counters.fetches_failed++;
    env_timer_disarm(&f->timer);
    hang_up(n);
    f->over = true;
    node_pace_stop(&f->pace);
    if (!f->task.queued) /* else its done() sees to it */
        fetch_drop(n);
}

/* ---- chunks ------------------------------------------------------------------------------------------------- */

static void fetch_ask(struct node *n)
{
    struct node_fetch *f = &n->fetch;
    struct buf *out = peer_out(n->peers, f->conn);
    struct wire_image_req q = {.transfer = f->transfer,
                               .index = f->index,
                               .next = f->next,
                               .window = NODE_IMAGE_WINDOW,
                               .zstd = true};

    if (!out)
        return; /* the connection's end, or the timer, goes on */
    size_t begun = wire_frame_begin(out, WIRE_IMAGE_REQ, f->stream);
    (void)wire_image_req_put(out, &q);
    (void)wire_frame_end(out, begun);
    peer_send_built(n->peers, f->conn);
}

static void chunk_run(struct node_image_task *t)
{
    struct node_fetch *f = fetch_of(t);
    struct node_fetch_chunk *c = &f->ring[f->next % NODE_IMAGE_WINDOW];
    struct slice chunk = buf_slice(&c->bytes);
    uint64_t began_ns = env_now_ns(t->node->env);

    if (!f->receive)
        t->rc = image_receive_begin(t->node->image.image, &f->receive);
    if (t->rc == 0 && c->packed) {
        t->rc = image_unpack(chunk, &f->raw);
        chunk = buf_slice(&f->raw);
    }
    if (t->rc == 0)
        t->rc = image_receive_chunk(f->receive, chunk, &f->complete, &t->why);
    f->piece_bytes += chunk.len;
    if (t->rc == 0 && f->piece_bytes >= node_pace_bytes(&f->pace)) {
        f->piece_bytes = 0;
        t->rc = image_receive_flush(f->receive);
        node_pace_took(&f->pace, env_now_ns(t->node->env) - began_ns);
    }
    if (t->rc == 0 && f->complete)
        t->rc = image_receive_settle(f->receive);
}

static void chunk_done(struct node_image_task *t);

static void chunk_take(struct node *n)
{
    struct node_fetch *f = &n->fetch;

    if (!f->task.queued && !env_timer_armed(&f->pace.timer) && f->next < f->arrived)
        node_pace_submit(&f->pace, false, chunk_run, chunk_done);
}

static void fetch_complete(struct node *n)
{
    struct node_fetch *f = &n->fetch;
    struct image_receive *receive = f->receive;

    env_timer_disarm(&f->timer);
    hang_up(n);
    f->receive = NULL;
    f->active = false;
    node_install_start(n, receive);
}

static void chunk_done(struct node_image_task *t)
{
    struct node_fetch *f = fetch_of(t);
    struct node *n = t->node;

    if (n->phase != NODE_OPEN)
        return;
    if (f->over) {
        fetch_drop(n);
        return;
    }
    if (t->rc) {
        fetch_end(n, t->why.text[0] ? t->why.text : err_text_of(t->rc));
        return;
    }
    f->next++;
    f->heard_ns = env_now_ns(n->env);
    if (f->greeted)
        fetch_ask(n);
    if (f->complete)
        fetch_complete(n);
    else
        chunk_take(n);
}

void node_fetch_answered(struct node *n, peer_conn c, const struct wire_frame *frame)
{
    struct node_fetch *f = &n->fetch;
    struct wire_image_res res;

    if (!f->active || f->over || c != f->conn || frame->stream != f->stream)
        return;
    f->heard_ns = env_now_ns(n->env);
    int rc = wire_image_res_get(frame->body, &res);
    if (rc == 0 && res.rc) {
        char text[WIRE_TEXT_MAX + 1];
        (void)snprintf(text, sizeof(text), "%.*s", (int)res.text.len, (const char *)res.text.data);
        fetch_end(n, text);
        return;
    }
    if (rc || res.seq != f->arrived || f->arrived - f->next >= NODE_IMAGE_WINDOW ||
        (f->transfer && res.transfer != f->transfer)) {
        fetch_end(n, "the answer is not what was asked for");
        return;
    }
    struct node_fetch_chunk *chunk = &f->ring[f->arrived % NODE_IMAGE_WINDOW];
    f->transfer = res.transfer;
    chunk->packed = res.packed;
    buf_reset(&chunk->bytes, NODE_CHUNK_MAX);
    if (buf_append_slice(&chunk->bytes, res.chunk)) {
        fetch_end(n, err_text_of(chunk->bytes.failed));
        return;
    }
    n->counters.fetch_chunks++;
    n->counters.fetch_bytes += res.chunk.len;
    f->arrived++;
    chunk_take(n);
}

/* ---- the connection ------------------------------------------------------------------------------------------- */

/* By its own word first: a newcomer lacks the configuration, and who has moved is not where that says. */
static const char *addr_of(struct node *n, raft_id id)
{
    const struct wire_conf *conf = node_confs_latest(&n->confs);
    const struct wire_member *m = conf ? node_conf_find(conf, id) : NULL;

    for (uint32_t i = 0; i < n->conn_count; i++)
        if (n->conns[i].id == id && n->conns[i].raft_addr[0] != '\0')
            return n->conns[i].raft_addr;
    return m ? m->addr : NULL;
}

static void fetch_dial(struct node *n)
{
    struct node_fetch *f = &n->fetch;
    const char *addr = addr_of(n, f->from);

    f->greeted = false;
    f->stream = peer_next_stream(n->peers);
    if (!addr || peer_dial(n->peers, addr, node_member_dial_ms(n), &f->conn))
        f->conn = 0;
}

void node_fetch_greeted(struct node *n, peer_conn c)
{
    struct node_fetch *f = &n->fetch;

    if (!f->active || f->over || c != f->conn)
        return;
    f->greeted = true;
    if (node_conn_find(n, c)->id != f->from) {
        fetch_end(n, "another node answers at the lender's address");
        return;
    }
    if (f->transfer) {
        env_log(n->env, "snapshot", "going on with piece %u of the image", f->next);
        n->counters.fetches_resumed++;
    }
    if (!f->task.queued) /* else when it is taken */
        fetch_ask(n);
}

/* What was taken stays; what only arrived comes again. */
void node_fetch_lost(struct node *n, peer_conn c)
{
    struct node_fetch *f = &n->fetch;

    if (n->phase != NODE_OPEN || !f->active || f->over || f->conn != c)
        return;
    f->conn = 0;
    f->greeted = false;
    node_pace_stop(&f->pace);
    f->arrived = f->next + (f->task.queued ? 1 : 0);
}

static void polled(struct env_timer *timer)
{
    struct node *n = timer->ctx;
    struct node_fetch *f = &n->fetch;
    uint64_t silent_ns = env_now_ns(n->env) - f->heard_ns;

    if (f->task.queued)
        silent_ns = 0; /* it is we who are slow */
    if (silent_ns > FETCH_TIMEOUT_MS * ENV_MS_NS) {
        fetch_end(n, "no answer came in time");
        return;
    }
    env_timer_arm(timer, FETCH_POLL_MS * ENV_MS_NS);
    if (f->conn == 0)
        fetch_dial(n);
}

/* ---- wanted ----------------------------------------------------------------------------------------------------- */

void node_fetch_pull(struct node *n, raft_id from, uint64_t index)
{
    struct node_fetch *f = &n->fetch;

    if (f->active && f->conn == 0 && f->from != from && !f->over)
        fetch_end(n, "another node is to send one");
    if (f->active || n->install.active || n->phase != NODE_OPEN ||
        env_timer_armed(&n->cut.retry)) /* a cut that waits for space says that there is none */
        return;
    env_log(n->env, "snapshot", "fetching an image of index %llu or later",
            (unsigned long long)index);
    f->active = true;
    f->complete = f->over = false;
    f->from = from;
    f->index = index;
    f->transfer = 0;
    f->next = f->arrived = 0;
    f->heard_ns = env_now_ns(n->env);
    env_timer_arm(&f->timer, FETCH_POLL_MS * ENV_MS_NS);
    fetch_dial(n);
}

void node_fetch_want(struct node *n, raft_id from, uint64_t index)
{
    if (index >
        n->apply.applied) /* else, or if it is not taken up now, raft's leader offers again */
        node_fetch_pull(n, from, index);
}

/* ---- the node's life ---------------------------------------------------------------------------------------------- */

void node_fetch_init(struct node *n)
{
    struct node_fetch *f = &n->fetch;

    node_pace_init(&f->pace, n, &f->task);
    for (uint32_t i = 0; i < NODE_IMAGE_WINDOW; i++)
        buf_init(&f->ring[i].bytes, NODE_CHUNK_MAX);
    buf_init(&f->raw, NODE_CHUNK_MAX);
    env_timer_init(&f->timer, n->env, polled, n);
}

/* Timers; on the way down. */
void node_fetch_stop(struct node *n)
{
    env_timer_disarm(&n->fetch.timer);
    node_pace_stop(&n->fetch.pace);
}

/* What holds the image open. run(), nothing else is under way any more. */
void node_fetch_close(struct node *n)
{
    image_receive_end(n->fetch.receive);
    image_receive_end(n->install.receive);
    n->fetch.receive = n->install.receive = NULL;
}

void node_fetch_fini(struct node *n)
{
    for (uint32_t i = 0; i < NODE_IMAGE_WINDOW; i++)
        buf_fini(&n->fetch.ring[i].bytes);
    buf_fini(&n->fetch.raw);
}
