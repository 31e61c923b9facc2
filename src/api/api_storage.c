/* api_storage — /snapshot, /reap (http-api.md §13.5). */
#include "api_int.h"

struct snapshot_op {
    struct api_op op; /* first */
};

static void snapshot_done(void *ctx, int rc, const char *why)
{
    struct snapshot_op *op = ctx;
    struct api_request *r = api_op_end(&op->op);
    if (r && rc == ERR_EXISTS)
        api_reply_empty(r, 204);
    else if (r && rc != 0)
        api_reply_text(r, rc == ERR_NOT_READY ? 503 : 500,
                       why && why[0] != '\0' ? why : err_text_of(rc));
    else if (r)
        api_reply_empty(r, 200);
    mem_free(op);
}

/* trailing_logs of 0, or below, means what the node is set to (§2.3). */
void api_snapshot(struct api_request *r)
{
    struct api *a = r->conn->api;
    const int64_t given = r->params.trailing_logs;
    struct snapshot_op *op = api_op_begin(r, sizeof *op);
    if (!op)
        return;
    const uint64_t trailing =
        given > 0 ? (uint64_t)given : node_snapshot_trailing(a->facts.snapshot_threshold);
    const int rc = a->node ? node_snapshot(a->node, trailing, snapshot_done, op) : ERR_NOT_READY;
    if (rc != 0)
        snapshot_done(op, rc, rc == ERR_BUSY ? "snapshot already in progress" : NULL);
}

/* There is one image, which every snapshot brings up to date: never one that was superseded. */
void api_reap(struct api_request *r)
{
    static const char none[] = "{\"snapshots_reaped\":0,\"wals_checkpointed\":0}\n";
    api_reply_json(r, slice_str(none));
}
