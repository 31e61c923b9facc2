/* api_conn — one client connection: bytes in, whole requests up, answers out in order.
 *
 *            accept
 *              │
 *              ▼        last answer, refusal, EOF        closed()
 *            OPEN ───────────────────────────► FINISHING ───────► freed
 *              │     timeout, reset, api_stop's grace  │              ▲
 *              └─────────────────────► CLOSED ◄────────┘──────────────┘
 *
 * One request is in flight at a time; bytes behind it wait in `in`, and reading stops when too many
 * wait or when the client does not take its answers. Answers of one pump go out in one write.
 *
 * A body that is given as it comes (api_store.c says which) is in flight from its first bytes on: the endpoint
 * asks for each piece (api_conn_body_want), and while it does not, bytes wait in `in` and then in the transport.
 * An answer before the body's end closes the connection.
 *
 * A large answer comes in parts: the next one is asked for when nothing of the last one is unsent, so that
 * a client that does not read holds one part here, and its query waits (LIMIT_PARTS_STALL_MS, at node). */
#include "api_int.h"

enum {
    IN_STOP_BYTES = 256 * 1024, /* input that waits for the request in flight; then reading stops */
    OUT_GATHER_BYTES = 32 * 1024, /* answers up to here are gathered by copying */
    KEEP_BYTES = 64 * 1024,       /* buffers above this do not stay with an idle connection */
    FINISH_MS = 5 * 1000,         /* to take some of the last answer */
    PARTING_MS = 500,             /* when we stop and the answer has left: for the client's FIN */
    LAST_REQUEST_MS = 100,        /* when we stop: for a request that may be on its way */
    CONN_PENDING_MAX =
        1 << 30, /* one answer may be LIMIT_RESULT_BYTES; more never waits (see choked) */
};

/* ---- timeouts: one timer per connection, armed again when it fires too early ------------------------------ */

static void conn_deadline_set(struct api_conn *c, uint64_t after_ms)
{
    const uint64_t now = env_now_ns(c->api->env);
    c->deadline_ns = now + after_ms * ENV_MS_NS;
    if (!env_timer_armed(&c->timer) || c->timer.due_ns > c->deadline_ns)
        env_timer_arm(&c->timer, after_ms * ENV_MS_NS);
}

static void conn_deadline_clear(struct api_conn *c)
{
    c->deadline_ns = UINT64_MAX; /* a timer that is armed runs into the void */
}

/* Until then some of what is unsent must have been taken. */
static void conn_deadline_output(struct api_conn *c, uint64_t after_ms)
{
    c->unsent_then = env_stream_pending(c->stream);
    conn_deadline_set(c, after_ms);
}

/* A body in flight: its client may not pause longer than any body may; we may. */
static void conn_deadline_body(struct api_conn *c)
{
    c->unsent_then = 0;
    if (c->request.body_wanted)
        conn_deadline_set(c, LIMIT_HTTP_BODY_IDLE_MS);
    else
        conn_deadline_clear(c);
}

/* Which limit applies while nothing is in flight. had_bytes: some just came. */
static void conn_deadline_wait(struct api_conn *c, bool had_bytes)
{
    if (c->state != API_CONN_OPEN || c->busy || c->retiring)
        return;
    const size_t unsent = env_stream_pending(c->stream);
    if (unsent > 0) { /* first the answers it asked for; what it sends meanwhile buys no time */
        if (c->deadline_ns == UINT64_MAX || c->unsent_then == 0 || unsent < c->unsent_then)
            conn_deadline_output(c, LIMIT_HTTP_IDLE_MS);
        return;
    }
    c->unsent_then = 0;
    if (!c->store)
        conn_deadline_set(c, LIMIT_HTTP_IDLE_MS);
    else if (http_parser_in_body(c->parser))
        conn_deadline_set(c, LIMIT_HTTP_BODY_IDLE_MS);
    else if (!had_bytes || c->deadline_ns == UINT64_MAX ||
             c->deadline_ns > env_now_ns(c->api->env) + LIMIT_HTTP_HEADER_MS * ENV_MS_NS)
        conn_deadline_set(c,
                          LIMIT_HTTP_HEADER_MS); /* once per header: later bytes do not extend it */
}

/* ---- closing ------------------------------------------------------------------------------------------------ */

/* The request's answer will find nobody. */
static void conn_request_drop(struct api_conn *c)
{
    if (!c->busy)
        return;
    if (c->request.ticket != 0 && c->api->node)
        node_forget(c->api->node, c->request.ticket);
    guard_forget(&c->request.guard_wait);
    struct api_op *op = c->request.op;
    c->request.ticket = 0;
    c->request.op = NULL;
    c->busy = false;
    if (op)
        op->conn = NULL;
    if (op && op->gone)
        op->gone(op);
}

void api_conn_close(struct api_conn *c)
{
    if (c->state == API_CONN_CLOSED)
        return;
    conn_request_drop(c);
    c->state = API_CONN_CLOSED;
    env_timer_disarm(&c->timer);
    env_stream_close(c->stream);
}

static void conn_finish(struct api_conn *c)
{
    ASSERT(!c->busy);
    if (c->state != API_CONN_OPEN)
        return;
    c->state = API_CONN_FINISHING;
    env_stream_finish(c->stream);
    /* Pools of kept connections notice our end only when they send next: a stop cannot wait for that. */
    const bool parting = c->api->stopping && env_stream_pending(c->stream) == 0;
    c->unsent_then = 0;
    if (parting)
        conn_deadline_set(c, PARTING_MS);
    else
        conn_deadline_output(c, FINISH_MS);
}

static void conn_timer_fire(struct env_timer *t)
{
    struct api_conn *c = t->ctx;
    const uint64_t now = env_now_ns(c->api->env);
    if (c->deadline_ns == UINT64_MAX)
        return;
    if (now < c->deadline_ns)
        env_timer_arm(&c->timer, c->deadline_ns - now);
    else if (env_stream_pending(c->stream) < c->unsent_then && !c->api->stopping)
        /* slow, but it goes on; a stop waits once: the kernel's buffer alone may have taken some */
        conn_deadline_output(c, c->state == API_CONN_FINISHING ? FINISH_MS : LIMIT_HTTP_IDLE_MS);
    else if (c->retiring && c->state == API_CONN_OPEN && !c->busy)
        conn_finish(c);
    else
        api_conn_close(c);
}

/* A client that keeps its connection may be sending while we decide to stop; whoever closes at once tells it that a request
 * failed, of which nobody knows whether it was read. So it has a moment: the next answer says that it is the last. */
void api_conn_retire(struct api_conn *c)
{
    if (c->state != API_CONN_OPEN || c->pumping)
        return;
    if (!c->busy && env_stream_pending(c->stream) == 0) {
        c->retiring = true;
        conn_deadline_set(c, LAST_REQUEST_MS);
        return;
    }
    c->close_after = true;
    if (!c->busy)
        conn_finish(c);
    else if (c->request.part_due)
        conn_deadline_output(c, FINISH_MS); /* a large result is read on, or given up */
}

static void conn_closed(void *ctx)
{
    struct api_conn *c = ctx;
    struct api *a = c->api;
    conn_request_drop(c);
    env_timer_disarm(&c->timer);
    api_store_give(c);
    list_remove(&c->link);
    a->conn_count--;
    mem_free(c);
    a->conn_gone(a);
}

/* ---- output --------------------------------------------------------------------------------------------------- */

static void conn_reading_set(struct api_conn *c)
{
    const bool want =
        c->state == API_CONN_OPEN && !c->saw_eof && !c->choked && buf_len(&c->in) < IN_STOP_BYTES;
    if (want == c->reading || c->state == API_CONN_CLOSED)
        return;
    c->reading = want;
    if (want)
        env_stream_read_start(c->stream);
    else
        env_stream_read_stop(c->stream);
}

/* Send what was gathered, then parts. */
static void conn_write(struct api_conn *c, const struct slice *parts, uint32_t count)
{
    struct slice all[API_REPLY_PARTS_MAX + 1];
    size_t n = 0;
    ASSERT(count <= API_REPLY_PARTS_MAX);
    if (buf_len(&c->out) > 0)
        all[n++] = buf_slice(&c->out);
    for (uint32_t i = 0; i < count; i++)
        if (parts[i].len > 0)
            all[n++] = parts[i];
    if (c->state != API_CONN_OPEN || (n == 0 && !c->out.failed))
        return;
    const int rc =
        c->out.failed ? ERR_NOMEM : env_stream_write(c->stream, all, n, CONN_PENDING_MAX);
    buf_reset(&c->out, KEEP_BYTES);
    if (rc != 0)
        api_conn_close(c);
    else if (env_stream_pending(c->stream) > LIMIT_HTTP_OUTPUT_BYTES)
        c->choked = true;
}

/* Nothing of the part before is unsent. */
static void conn_part_pull(struct api_conn *c)
{
    ASSERT(c->busy && c->request.in_parts && c->request.ticket != 0);
    c->request.part_due = false;
    node_pull(c->api->node, c->request.ticket);
}

void api_conn_part(struct api_conn *c, const struct slice *parts, uint32_t count)
{
    ASSERT(c->busy && c->state == API_CONN_OPEN);
    ASSERT(!c->request.part_due);
    conn_write(c, parts, count);
    if (c->state != API_CONN_OPEN)
        return;
    c->request.part_due = true;
    if (env_stream_pending(c->stream) == 0)
        conn_part_pull(c);
    else if (c->api->stopping) /* api_conn_retire() came before this part */
        conn_deadline_output(c, FINISH_MS);
}

/* ---- requests --------------------------------------------------------------------------------------------------- */

static void conn_refuse(struct api_conn *c, const struct http_refusal *refusal)
{
    http_put_status(&c->out, refusal->status);
    http_put_header(&c->out, "Content-Type", slice_str("text/plain; charset=utf-8"));
    http_put_header(&c->out, "Connection", slice_str("close"));
    if (refusal->status == 503)
        http_put_header(&c->out, "Retry-After", slice_str("1"));
    http_put_header_u64(&c->out, "Content-Length", strlen(refusal->text) + 1);
    http_put_end(&c->out);
    buf_append_str(&c->out, refusal->text);
    buf_append_byte(&c->out, '\n');
    c->close_after = true;
}

/* An answer to a request that was not read, for want of room; needs none itself. */
#define REFUSAL_HEAD                                                                               \
    "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nConnection: close\r\n"                  \
    "Content-Type: text/plain; charset=utf-8\r\nContent-Length: "
static const char no_memory[] = REFUSAL_HEAD "14\r\n\r\nout of memory\n";
static const char too_many[] = REFUSAL_HEAD "21\r\n\r\ntoo many connections\n";

static void conn_send_away(struct api_conn *c, const char *answer)
{
    const struct slice all = slice_str(answer);
    if (env_stream_write(c->stream, &all, 1, CONN_PENDING_MAX) == 0)
        conn_finish(c);
    else
        api_conn_close(c);
}

static void conn_dispatch(struct api_conn *c, const struct http_message *message, bool whole)
{
    memset(&c->request, 0, sizeof c->request);
    c->request.conn = c;
    c->request.message = message;
    c->request.body_open = !whole;
    c->request.started_ns = env_now_ns(c->api->env);
    c->busy = true;
    conn_deadline_clear(c);
    c->api->dispatch(&c->request);
}

/* Give what there is of a body to who asked for it, as long as it asks. */
static void conn_body_give(struct api_conn *c)
{
    struct api_request *r = &c->request;
    while (c->busy && c->state == API_CONN_OPEN && r->body_wanted &&
           (r->message->body.len > 0 || !r->body_open)) {
        const struct slice bytes = r->message->body;
        r->body_wanted = false;
        http_parser_take(c->parser, bytes.len);
        r->body(r, bytes, !r->body_open);
    }
}

static bool conn_hungry(const struct api_conn *c)
{
    if (c->choked || c->state != API_CONN_OPEN)
        return false;
    return c->busy ? c->request.body_open && c->request.body_wanted : !c->close_after;
}

/* A body in flight that cannot go on. */
static void conn_body_broken(struct api_conn *c, const struct http_refusal *refusal)
{
    conn_request_drop(c);
    conn_refuse(c, refusal);
}

/* Feed bytes until a request is in flight, or its body has enough; returns how many were taken. */
static size_t conn_feed(struct api_conn *c, struct slice bytes)
{
    size_t taken = 0;
    while (conn_hungry(c) && taken < bytes.len) {
        const struct http_message *message = NULL;
        struct http_refusal refusal = {0};
        size_t used = 0;
        const struct slice rest = slice_of(bytes.data + taken, bytes.len - taken);
        const enum http_progress progress =
            http_parser_feed(c->parser, rest, &used, &message, &refusal);
        ASSERT(used <= rest.len);
        taken += used;
        switch (progress) {
        case HTTP_NEED_MORE:
            if (!api_store_count(c)) {
                static const struct http_refusal full = {503, "too much input in progress"};
                conn_refuse(c, &full);
            }
            return bytes.len;
        case HTTP_HEADERS_DONE:
            buf_append_str(&c->out, "HTTP/1.1 100 Continue\r\n\r\n");
            break;
        case HTTP_BODY:
            if (!c->busy)
                conn_dispatch(c, message, false);
            conn_body_give(c);
            break;
        case HTTP_MESSAGE:
            c->request.body_open = false;
            if (!c->busy)
                conn_dispatch(c, message, true);
            conn_body_give(c);
            if (!c->busy && buf_len(&c->out) > OUT_GATHER_BYTES)
                conn_write(c, NULL,
                           0); /* now: the client may have sent thousands, and read nothing */
            break;
        case HTTP_BAD:
            conn_body_broken(c, &refusal);
            break;
        }
    }
    return taken;
}

/* Feed what waits, or else `fresh` bytes, and send the answers gathered meanwhile. */
static void conn_pump(struct api_conn *c, struct slice fresh)
{
    ASSERT(!c->pumping);
    c->pumping = true;
    conn_body_give(c);
    if (buf_len(&c->in) > 0) {
        if (fresh.len > 0)
            buf_append_slice(&c->in, fresh);
        const size_t taken = c->in.failed ? 0 : conn_feed(c, buf_slice(&c->in));
        buf_consume(&c->in, taken);
    } else if (fresh.len > 0) {
        const size_t taken = conn_feed(c, fresh);
        buf_append(&c->in, fresh.data + taken, fresh.len - taken);
    }
    if (buf_len(&c->in) == 0)
        buf_reset(&c->in, KEEP_BYTES);
    c->pumping = false;
    if (c->in.failed) {
        api_conn_close(c);
        return;
    }
    conn_write(c, NULL, 0);
    if (c->state != API_CONN_OPEN)
        return;
    if (!c->busy && (c->close_after || (c->saw_eof && buf_len(&c->in) == 0))) {
        api_store_give(c); /* all of the answer is the stream's by now */
        conn_finish(c);
        return;
    }
    if (c->store && !c->busy && buf_len(&c->in) == 0 && http_parser_idle(c->parser))
        api_store_give(c);
    if (c->busy && c->request.body_open && c->saw_eof && conn_hungry(c)) {
        api_conn_close(c); /* it ended in the middle of its body */
        return;
    }
    conn_reading_set(c);
    if (c->busy && c->request.body)
        conn_deadline_body(c);
    conn_deadline_wait(c, fresh.len > 0);
}

void api_conn_body_want(struct api_conn *c)
{
    ASSERT(c->busy && c->request.body && !c->request.body_wanted);
    c->request.body_wanted = true;
    if (!c->pumping && c->state == API_CONN_OPEN)
        conn_pump(c, slice_of(NULL, 0));
}

void api_conn_answer(struct api_conn *c, const struct slice *parts, uint32_t count, bool keep)
{
    ASSERT(c->busy && c->state == API_CONN_OPEN);
    size_t len = 0;
    for (uint32_t i = 0; i < count; i++)
        len += parts[i].len;
    ASSERT(!keep || !c->request.body_open);
    if (!keep)
        c->close_after = true;
    c->busy = false;
    if (c->request.ticket != 0) /* answered although node has more: it was of no use */
        node_forget(c->api->node, c->request.ticket);
    c->request.ticket = 0;
    c->request.op = NULL;
    c->request.in_parts = c->request.body_open = c->request.body_wanted = false;
    if (len <= OUT_GATHER_BYTES) {
        for (uint32_t i = 0; i < count; i++)
            buf_append_slice(&c->out, parts[i]);
    } else {
        conn_write(c, parts, count);
    }
    if (c->state == API_CONN_OPEN) {
        http_parser_next(c->parser);
        buf_reset(&c->payload, KEEP_BYTES);
        buf_reset(&c->text, KEEP_BYTES);
        arena_reset(&c->arena);
    }
    if (!c->pumping && c->state == API_CONN_OPEN)
        conn_pump(c, slice_of(NULL, 0));
}

/* ---- events of the stream ----------------------------------------------------------------------------------------- */

static void conn_data(void *ctx, struct slice bytes)
{
    struct api_conn *c = ctx;
    if (c->state != API_CONN_OPEN)
        return;
    if (api_store_take(c))
        conn_pump(c, bytes);
    else
        conn_send_away(c, no_memory);
}

static void conn_ended(void *ctx, int rc)
{
    struct api_conn *c = ctx;
    c->saw_eof = true;
    if (rc != ERR_EOF || c->state != API_CONN_OPEN)
        api_conn_close(c);
    else if (!c->busy || c->request.body_open)
        conn_pump(c, slice_of(NULL, 0)); /* else: the client may still read its answer */
}

static void conn_drained(void *ctx)
{
    struct api_conn *c = ctx;
    if (c->state == API_CONN_OPEN && c->busy && c->request.part_due)
        conn_part_pull(c);
    if (c->choked && c->state == API_CONN_OPEN) {
        c->choked = false;
        conn_pump(c, slice_of(NULL, 0));
    } else {
        c->choked = false;
        conn_deadline_wait(c, false);
    }
}

static const struct env_stream_events conn_events = {
    .data = conn_data,
    .ended = conn_ended,
    .drained = conn_drained,
    .closed = conn_closed,
};

/* A connection that is refused for want of room or memory has no struct of its own. */
static void refused_data(void *ctx, struct slice bytes)
{
    (void)ctx;
    (void)bytes;
}
static void refused_ended(void *ctx, int rc)
{
    (void)ctx;
    (void)rc;
}
static void refused_event(void *ctx)
{
    (void)ctx;
}
static const struct env_stream_events refused_events = {
    .data = refused_data,
    .ended = refused_ended,
    .drained = refused_event,
    .closed = refused_event,
};

static struct api_conn *conn_new(struct api *a, struct env_stream *s)
{
    if (a->stopping || a->conn_count >= LIMIT_HTTP_CONNECTIONS + LIMIT_HTTP_REFUSALS)
        return NULL;
    struct api_conn *c = mem_zalloc(sizeof *c);
    if (!c)
        return NULL;
    c->api = a;
    c->stream = s;
    c->state = API_CONN_OPEN;
    env_timer_init(&c->timer, a->env, conn_timer_fire, c);
    return c;
}

void api_conn_accept(struct api *a, struct env_stream *s)
{
    struct api_conn *c = conn_new(a, s);
    if (!c) {
        env_stream_attach(s, &refused_events, NULL);
        env_stream_close(s);
        return;
    }
    env_stream_attach(s, &conn_events, c);
    list_push_back(&a->conns, &c->link);
    a->conn_count++;
    if (a->conn_count > LIMIT_HTTP_CONNECTIONS) {
        conn_send_away(c, too_many);
        return;
    }
    conn_reading_set(c);
    conn_deadline_set(c, LIMIT_HTTP_IDLE_MS);
}
