/* api_reply — the head of every answer (http-api.md §1.3, §1.4) and the few shapes that answers have.
 * Called by the endpoints, exactly once per request. */
#include "api_int.h"

#include <stdio.h>

/* The Date header changes once per second. */
static struct slice reply_date(struct api *a)
{
    const int64_t wall_ns = env_wall_ns(a->env);
    const int64_t second = wall_ns / 1000000000;
    if (second != a->date_s || buf_len(&a->date) == 0) {
        buf_reset(&a->date, 4096);
        http_put_date(&a->date, wall_ns);
        a->date_s = second;
    }
    return buf_slice(&a->date);
}

static void reply_head(struct buf *head, struct api *a, const struct api_reply *reply)
{
    http_put_status(head, reply->status);
    buf_append_slice(head, buf_slice(&a->common));
    buf_append_slice(head, reply_date(a));
    if (reply->content_type)
        http_put_header(head, "Content-Type", slice_str(reply->content_type));
    if (reply->no_sniff)
        http_put_header(head, "X-Content-Type-Options", slice_str("nosniff"));
    if (reply->served_by)
        http_put_header(head, "X-Rqlite-Served-By", slice_str(reply->served_by));
    if (reply->location.len > 0)
        http_put_header(head, "Location", reply->location);
    if (reply->replayed)
        http_put_header(head, "Idempotency-Replayed", slice_str("true"));
    if (reply->retry_after)
        http_put_header(head, "Retry-After", slice_str("1"));
}

static bool reply_keeps(const struct api_request *r)
{
    const struct api_conn *c = r->conn;
    return r->message->keep_alive && !r->body_open && !c->api->stopping && !c->close_after &&
           !c->saw_eof;
}

static void reply_head_end(struct buf *out, const struct api_request *r, bool keep)
{
    if (!keep)
        http_put_header(out, "Connection", slice_str("close"));
    else if (r->message->minor == 0)
        http_put_header(out, "Connection", slice_str("keep-alive"));
    http_put_end(out);
}

void api_reply(struct api_request *r, const struct api_reply *reply)
{
    struct api_conn *c = r->conn;
    const bool keep = reply_keeps(r);
    size_t body_len = 0;
    for (uint32_t i = 0; i < API_REPLY_PARTS_MAX; i++)
        body_len += reply->parts[i].len;

    struct buf *out = &c->out; /* the head goes straight behind the answers gathered before it */
    reply_head(out, c->api, reply);
    http_put_header_u64(out, "Content-Length", body_len);
    reply_head_end(out, r, keep);
    const bool head_only = r->message->method == HTTP_METHOD_HEAD;
    api_conn_answer(c, reply->parts, head_only ? 0 : API_REPLY_PARTS_MAX, keep);
}

/* ---- in parts (RFC 9112 §7.1; HTTP/1.0: the connection's end ends the body) --------------------------------- */

static void chunk_head(struct api_request *r, size_t len)
{
    if (r->chunked)
        buf_printf(&r->conn->out, "%zx\r\n", len);
}

void api_reply_begin(struct api_request *r, const struct api_reply *reply)
{
    struct api_conn *c = r->conn;
    ASSERT(!r->in_parts);
    r->in_parts = true;
    r->chunked = r->message->minor > 0;
    reply_head(&c->out, c->api, reply);
    if (r->chunked)
        http_put_header(&c->out, "Transfer-Encoding", slice_str("chunked"));
    reply_head_end(&c->out, r, r->chunked && reply_keeps(r));
    chunk_head(r, reply->parts[0].len + reply->parts[1].len);
    const struct slice parts[] = {reply->parts[0], reply->parts[1],
                                  slice_str(r->chunked ? "\r\n" : "")};
    api_conn_part(c, parts, 3);
}

void api_reply_part(struct api_request *r, struct slice bytes)
{
    ASSERT(r->in_parts);
    if (bytes.len > 0) /* an empty chunk would be the end */
        chunk_head(r, bytes.len);
    const struct slice parts[] = {bytes, slice_str(r->chunked && bytes.len > 0 ? "\r\n" : "")};
    api_conn_part(r->conn, parts, 2);
}

void api_reply_end(struct api_request *r, struct slice bytes, struct slice tail)
{
    ASSERT(r->in_parts);
    const bool empty = bytes.len + tail.len == 0;
    if (!empty)
        chunk_head(r, bytes.len + tail.len);
    const char *end = empty ? "0\r\n\r\n" : "\r\n0\r\n\r\n";
    const struct slice parts[] = {bytes, tail, slice_str(r->chunked ? end : "")};
    api_conn_answer(r->conn, parts, 3, r->chunked && reply_keeps(r));
}

void api_reply_cut(struct api_request *r, const char *why)
{
    struct api_conn *c = r->conn;
    env_log(c->api->env, "http", "%s: closing in the middle of an answer: %s",
            env_stream_peer(c->stream), why);
    api_conn_close(c);
}

void api_reply_text(struct api_request *r, int status, const char *text)
{
    const struct api_reply reply = {
        .status = status,
        .content_type = API_TYPE_TEXT,
        .no_sniff = true,
        .retry_after = status == 503,
        .parts = {slice_str(text), slice_str("\n")},
    };
    api_reply(r, &reply);
}

void api_reply_empty(struct api_request *r, int status)
{
    const struct api_reply reply = {.status = status};
    api_reply(r, &reply);
}

void api_reply_empty_json(struct api_request *r, int status)
{
    const struct api_reply reply = {.status = status, .content_type = API_TYPE_JSON};
    api_reply(r, &reply);
}

void api_reply_json(struct api_request *r, struct slice body)
{
    const struct api_reply reply = {.status = 200, .content_type = API_TYPE_JSON, .parts = {body}};
    api_reply(r, &reply);
}

void api_reply_buf(struct api_request *r, const char *content_type, const struct buf *body)
{
    const struct api_reply reply = {
        .status = 200, .content_type = content_type, .parts = {buf_slice(body)}};
    if (body->failed)
        api_reply_text(r, 503, err_text_of(body->failed));
    else
        api_reply(r, &reply);
}

void api_reply_location(struct api_request *r, int status, struct slice location)
{
    const struct api_reply reply = {.status = status, .location = location};
    api_reply(r, &reply);
}

/* ---- shared by endpoints -------------------------------------------------------------------------------- */

void api_leader_not_found(struct api_request *r, int status)
{
    r->conn->api->counters[API_COUNT_LEADER_NOT_FOUND]++;
    api_reply_text(r, status, "leader not found");
}

void api_redirect_leader(struct api_request *r)
{
    struct api *a = r->conn->api;
    struct buf location;
    struct node_status status;
    node_status_get(a->node, &status);
    if (!status.has_leader || status.leader_api_url[0] == '\0') {
        api_leader_not_found(r, 500);
        return;
    }
    buf_init(&location, LIMIT_HTTP_HEADER_BYTES + WIRE_ADDR_MAX);
    buf_append_str(&location, status.leader_api_url);
    buf_append_slice(&location, r->path_raw);
    if (r->query_raw.len > 0) {
        buf_append_byte(&location, '?');
        buf_append_slice(&location, r->query_raw);
    }
    if (location.failed)
        api_reply_text(r, 503, err_text_of(location.failed));
    else
        api_reply_location(r, 301, buf_slice(&location));
    buf_fini(&location);
}

bool api_leader_refused(struct api_request *r, int rc)
{
    const bool redirect = api_params_has(&r->params, API_FLAG_REDIRECT);

    if (rc == ERR_NO_LEADER)
        api_leader_not_found(r, redirect ? 500 : 503);
    else if (rc == ERR_NOT_LEADER && redirect)
        api_redirect_leader(r);
    else if (rc == ERR_DENIED)
        api_auth_denied_remote(r);
    else
        return false;
    return true;
}

void *api_op_begin(struct api_request *r, size_t size)
{
    ASSERT(r->op == NULL && size >= sizeof(struct api_op));
    struct api_op *op = mem_zalloc(size);
    if (!op) {
        api_reply_text(r, 503, err_text_of(ERR_NOMEM));
        return NULL;
    }
    op->conn = r->conn;
    r->op = op;
    return op;
}

struct api_request *api_op_end(struct api_op *op)
{
    struct api_conn *c = op->conn;
    if (!c)
        return NULL;
    ASSERT(c->request.op == op);
    op->conn = NULL;
    c->request.op = NULL;
    return &c->request;
}
