/* api_load — /db/load and /boot (http-api.md §13.3, §13.4): which of both kinds a body is, and a database file's
 * way to node, piece by piece. The body is asked for only when node has taken the piece before, so that a client
 * that sends faster than the disk writes waits. SQL text is api_db.c's. */
#include "api_int.h"

struct load_op {
    struct api_op op; /* first */
    struct node_upload *upload;
    bool boot;
};

static void load_gone(struct api_op *o)
{
    struct load_op *op = LIST_ENTRY(o, struct load_op, op);
    node_upload_cancel(op->upload);
    mem_free(op);
}

static void load_taken(void *ctx)
{
    struct load_op *op = ctx;
    api_conn_body_want(op->op.conn);
}

static void load_body(struct api_request *r, struct slice bytes, bool last)
{
    struct load_op *op = LIST_ENTRY(r->op, struct load_op, op);
    node_upload_give(op->upload, bytes, last);
}

/* ---- answers ------------------------------------------------------------------------------------------- */

static void reply_words(struct api_request *r, int status, const char *before, const char *words,
                        const char *after)
{
    struct err_text text;
    err_set(&text, 0, "%s%s%s", before, words, after);
    api_reply_text(r, status, text.text);
}

static void load_refused(struct api_request *r, int rc, const char *words, const char *served_by)
{
    switch (rc) {
    case ERR_NO_LEADER:
    case ERR_NOT_READY:
        api_reply_text(r, 500, "store not ready");
        return;
    case ERR_DENIED:
        api_auth_denied_remote(r);
        return;
    case ERR_BUSY:
        api_reply_text(r, 503, "another load is in progress");
        return;
    case ERR_FULL:
    case ERR_NOMEM:
    case ERR_NOSPC:
        api_reply_text(r, 503, words);
        return;
    default:
        reply_words(r, 500,
                    served_by           ? "remote node failed to load: "
                    : rc == ERR_INVALID ? "error swapping databases: "
                                        : "",
                    words, "");
        return;
    }
}

/* Whatever is wrong is a 503 (§13.4). */
static void boot_refused(struct api_request *r, int rc, const char *words)
{
    if (rc == ERR_BUSY)
        api_reply_text(r, 503, "another load is in progress");
    else
        reply_words(r, 503, rc == ERR_INVALID ? "error swapping database file: " : "", words, "");
}

static void load_done(void *ctx, int rc, bool unknown, const char *why, const char *served_by)
{
    struct load_op *op = ctx;
    struct api_request *r = api_op_end(&op->op);
    const bool boot = op->boot;
    ASSERT(r != NULL); /* else it was canceled */
    mem_free(op);
    if (rc == ERR_TOO_BIG)
        api_reply_text(r, 413, "the database is larger than the limit");
    else if (rc == 0 && boot)
        api_reply_empty(r, 200);
    else if (rc == 0)
        api_db_reply_nothing(r, served_by ? served_by : r->conn->api->adv_addr);
    else if (unknown)
        reply_words(r, boot ? 503 : 500, "", why,
                    ": the database may have been loaded nevertheless");
    else if (boot)
        boot_refused(r, rc, why);
    else
        load_refused(r, rc, why, served_by);
}

/* ---- questions ----------------------------------------------------------------------------------------- */

static uint64_t announced_bytes(const struct api_request *r)
{
    const struct http_header *h = http_header_find(r->message, "Content-Length");
    uint64_t bytes = 0;
    for (size_t i = 0; h && i < h->value.len; i++) /* digits: the parser has read them */
        bytes = bytes * 10 + (uint64_t)(h->value.data[i] - '0');
    return bytes;
}

static void upload_begin(struct api_request *r, bool boot)
{
    struct load_op *op = api_op_begin(r, sizeof *op);
    if (!op)
        return;
    const struct node_upload_ask ask = {
        .boot = boot,
        .bytes = announced_bytes(r),
        .timeout_ms = api_params_timeout_ms(&r->params),
        .retries = api_params_retries(&r->params),
        .user = api_auth_user(r),
        .password = api_auth_password(r),
        .taken = load_taken,
        .done = load_done,
        .ctx = op,
    };
    op->boot = boot;
    const int rc = node_upload_begin(r->conn->api->node, &ask, &op->upload);
    if (rc != 0) {
        load_done(op, rc, false, err_text_of(rc), NULL);
        return;
    }
    op->op.gone = load_gone;
    r->body = load_body;
}

static bool status_look(const struct api_request *r, struct node_status *status)
{
    const struct api *a = r->conn->api;
    memset(status, 0, sizeof *status);
    if (a->node)
        node_status_get(a->node, status);
    return status->open;
}

void api_load(struct api_request *r)
{
    struct node_status status;
    if (!api_body_is_sqlite(r->message->body))
        api_db_load_text(r);
    else if (!status_look(r, &status) || !status.has_leader)
        api_reply_text(r, 500, "store not ready");
    else if (status.role != RAFT_LEADER && api_params_has(&r->params, API_FLAG_REDIRECT))
        api_redirect_leader(r);
    else
        upload_begin(r, false);
}

void api_boot(struct api_request *r)
{
    enum { HEADER_BYTES = 32 };
    struct node_status status;
    const bool open = status_look(r, &status);
    if (!r->body_open && r->message->body.len < HEADER_BYTES)
        api_reply_text(r, 503, "EOF");
    else if (!api_body_is_sqlite(r->message->body))
        api_reply_text(r, 400, "invalid SQLite data");
    else if (!open)
        api_reply_text(r, 503, "store not open");
    else if (status.role != RAFT_LEADER)
        api_reply_text(r, 503, "not leader");
    else if (status.member_count != 1)
        api_reply_text(r, 503, "not single-node");
    else
        upload_begin(r, true);
}
