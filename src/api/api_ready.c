/* api_ready — GET /readyz: may this node be sent traffic (http-api.md §14.6).
 *
 *   node ok ─► leader known? ─► leader answers? ─► store ready? ─► (sync: caught up?) ─► SELECT 1
 *
 * The first step that fails ends the text, with 503. Failures begin with "[+]" too [QUIRK]. */
#include "api_int.h"

enum { SYNC_POLL_MS = 10, TEXT_MAX = 4096 };

struct ready_op {
    struct api_op op; /* first */
    struct buf text;
    struct api_meta leader;
    struct env_timer timer;
    uint64_t target_index; /* the leader's commit index */
    uint64_t deadline_ns;
};

static void ready_line(struct buf *text, const char *line)
{
    if (buf_len(text) > 0)
        buf_append_byte(text, '\n');
    buf_append_str(text, "[+]");
    buf_append_str(text, line);
}

static void ready_reply(struct api_request *r, int status, const struct buf *text)
{
    const struct api_reply reply = {
        .status = status, .content_type = API_TYPE_TEXT, .parts = {buf_slice(text)}};
    api_reply(r, &reply);
}

static void ready_free(struct ready_op *op)
{
    env_timer_disarm(&op->timer);
    buf_fini(&op->text);
    mem_free(op);
}

/* The last line: answer, if somebody still waits. */
static void ready_end(struct ready_op *op, int status, const char *line)
{
    struct api_request *r = api_op_end(&op->op);
    ready_line(&op->text, line);
    if (r)
        ready_reply(r, status, &op->text);
    ready_free(op);
}

/* Is the client still there? If not, op is freed. */
static struct api *ready_api(struct ready_op *op)
{
    if (op->op.conn)
        return op->op.conn->api;
    ready_free(op);
    return NULL;
}

static void ready_db_done(void *ctx, const struct node_answer *answer)
{
    struct ready_op *op = ctx;
    struct err_text line;
    const bool ok =
        answer->rc == 0 && answer->body.len > 0 && answer->body.data[0] == API_BODY_RESULTS;
    if (op->op.conn)
        op->op.conn->request.ticket = 0;
    err_set(&line, 0, "db not ok: (%s, [])", answer->text ? answer->text : err_text_of(answer->rc));
    ready_end(op, ok ? 200 : 503, ok ? "db ok" : line.text);
}

static void ready_db(struct ready_op *op, struct api *a)
{
    struct buf payload;
    struct err_text line;
    buf_init(&payload, TEXT_MAX);
    int rc = api_body_plain(slice_str("SELECT 1"), WIRE_CMD_QUERY, 0, &payload);
    const struct node_request request = {.f = {.kind = WIRE_QUERY,
                                               .level = WIRE_LEVEL_NONE,
                                               .timeout_ms = 1000,
                                               .payload = buf_slice(&payload)}};
    if (rc == 0)
        rc = a->node ? node_submit(a->node, &request, ready_db_done, op, NULL) : ERR_NOT_READY;
    buf_fini(&payload);
    if (rc == 0)
        return;
    err_set(&line, rc, "db not ok: (%s, [])", err_text_of(rc));
    ready_end(op, 503, line.text);
}

static void ready_sync(struct ready_op *op, struct api *a)
{
    struct node_status status = {.open = false};
    if (a->node)
        node_status_get(a->node, &status);
    if (status.open && status.commit_index >= op->target_index) {
        ready_line(&op->text, "sync ok");
        ready_db(op, a);
    } else if (env_now_ns(a->env) >= op->deadline_ns) {
        ready_end(op, 503, "sync timeout waiting for commit index");
    } else {
        env_timer_arm(&op->timer, SYNC_POLL_MS * ENV_MS_NS);
    }
}

static void ready_sync_again(struct env_timer *t)
{
    struct ready_op *op = t->ctx;
    struct api *a = ready_api(op);
    if (a)
        ready_sync(op, a);
}

static void ready_leader_done(void *ctx, int rc, const struct wire_meta *meta, const char *why)
{
    struct ready_op *op = ctx;
    struct api *a = ready_api(op);
    struct node_status status = {.open = false};
    struct err_text line;
    if (!a)
        return;
    if (rc != 0) {
        err_set(&line, rc, "leader not contactable: %s",
                why && why[0] != '\0' ? why : err_text_of(rc));
        ready_end(op, 503, line.text);
        return;
    }
    op->target_index = meta->commit_index;
    ready_line(&op->text, "leader ok");
    if (a->node)
        node_status_get(a->node, &status);
    if (!status.ready) {
        ready_end(op, 503, "store not ready");
        return;
    }
    ready_line(&op->text, "store ok");
    if (api_params_has(&op->op.conn->request.params, API_FLAG_SYNC))
        ready_sync(op, a);
    else
        ready_db(op, a);
}

/* The client is gone: end what only waits for a timer; what is under way comes back by itself. */
static void ready_gone(struct api_op *base)
{
    struct ready_op *op = (struct ready_op *)base;
    if (env_timer_armed(&op->timer))
        ready_free(op);
    else
        api_meta_give_up(&op->leader);
}

static void ready_now(struct api_request *r, int status, const char *line)
{
    struct buf text;
    buf_init(&text, TEXT_MAX);
    ready_line(&text, "node ok");
    if (line)
        ready_line(&text, line);
    ready_reply(r, status, &text);
    buf_fini(&text);
}

void api_ready(struct api_request *r)
{
    struct api *a = r->conn->api;
    const uint64_t timeout_ms = api_params_timeout_ms(&r->params);
    struct node_status status = {.open = false};
    if (api_params_has(&r->params, API_FLAG_NOLEADER)) {
        ready_now(r, 200, NULL);
        return;
    }
    if (a->node)
        node_status_get(a->node, &status);
    if (!status.has_leader || status.leader_name[0] == '\0') {
        ready_now(r, 503, "leader does not exist");
        return;
    }
    struct ready_op *op = api_op_begin(r, sizeof *op);
    if (!op)
        return;
    buf_init(&op->text, TEXT_MAX);
    env_timer_init(&op->timer, a->env, ready_sync_again, op);
    op->deadline_ns = env_now_ns(a->env) + timeout_ms * ENV_MS_NS;
    ready_line(&op->text, "node ok");
    op->op.gone = ready_gone;
    op->leader.done = ready_leader_done;
    op->leader.ctx = op;
    api_meta_ask(&op->leader, a, status.leader_name, &r->params);
}
