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

static void reply_head(struct buf *head, struct api *a, const struct api_reply *reply,
                       size_t body_len)
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
    if (reply->retry_after)
        http_put_header(head, "Retry-After", slice_str("1"));
    http_put_header_u64(head, "Content-Length", body_len);
}

void api_reply(struct api_request *r, const struct api_reply *reply)
{
    struct api_conn *c = r->conn;
    struct api *a = c->api;
    const struct http_message *m = r->message;
    const bool keep = m->keep_alive && !a->stopping && !c->close_after && !c->saw_eof;
    size_t body_len = 0;
    for (uint32_t i = 0; i < API_REPLY_PARTS_MAX; i++)
        body_len += reply->parts[i].len;

    struct buf *out = &c->out; /* the head goes straight behind the answers gathered before it */
    reply_head(out, a, reply, body_len);
    if (!keep)
        http_put_header(out, "Connection", slice_str("close"));
    else if (m->minor == 0)
        http_put_header(out, "Connection", slice_str("keep-alive"));
    http_put_end(out);
    api_conn_answer(c, reply->parts, m->method == HTTP_METHOD_HEAD ? 0 : API_REPLY_PARTS_MAX, keep);
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
