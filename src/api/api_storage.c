/* api_storage — /db/backup, /snapshot, /reap (http-api.md §13): what can be answered before
 * the database is touched is answered as documented; the rest says that it is not there yet. */
#include "api_int.h"

static const char not_yet[] = "not supported by this version yet";

static bool status_look(const struct api_request *r, struct node_status *status)
{
    const struct api *a = r->conn->api;
    memset(status, 0, sizeof *status);
    if (a->node)
        node_status_get(a->node, status);
    return status->open;
}

/* The leader's business: true when this node is it. Else answered: redirected, or nobody leads. */
static bool leader_here(struct api_request *r, const struct node_status *status)
{
    const bool redirect = api_params_has(&r->params, API_FLAG_REDIRECT);
    if (status->open && status->role == RAFT_LEADER)
        return true;
    if (!status->has_leader)
        api_leader_not_found(r, redirect ? 500 : 503);
    else if (redirect)
        api_redirect_leader(r);
    else
        api_reply_text(r, 501, not_yet);
    return false;
}

/* A format that is not known is binary [QUIRK] (§2.3). */
static bool format_is_binary(const struct api_params *p)
{
    return !api_text_is(p->fmt, "sql") && !api_text_is(p->fmt, "delete");
}

void api_backup(struct api_request *r)
{
    struct node_status status;
    if (api_params_has(&r->params, API_FLAG_VACUUM) && !format_is_binary(&r->params)) {
        api_reply_text(r, 500, "invalid backup format");
        return;
    }
    (void)status_look(r, &status);
    if (api_params_has(&r->params, API_FLAG_NOLEADER) || leader_here(r, &status))
        api_reply_text(r, 501, not_yet);
}

/* ---- /snapshot, /reap ---------------------------------------------------------------------------------- */

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
