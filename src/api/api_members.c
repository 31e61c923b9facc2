/* api_members — DELETE /remove and POST /leader: change the cluster (http-api.md §14.4, §14.5). */
#include "api_int.h"

struct member_op {
    struct api_op op; /* first */
    bool stepdown;
    char served_by[WIRE_ADDR_MAX + 1]; /* the leader's Raft address, if another node leads */
};

/* {"id":"…"} or, where allowed, {} and null. 0; ERR_INVALID: not JSON (why says what); ERR_PROTOCOL: JSON of another
 * shape. *id: len 0 if null or absent. */
static int id_parse(struct slice body, struct arena *a, struct slice *id, uint32_t *members)
{
    struct json_reader reader;
    enum json_event event;
    int rc = 0;
    *id = slice_of(NULL, 0);
    *members = 0;
    json_reader_init(&reader, body, LIMIT_JSON_DEPTH, a);
    event = json_next(&reader);
    if (event != JSON_OBJECT_BEGIN)
        return event == JSON_ERROR ? ERR_INVALID : ERR_PROTOCOL;
    while ((event = json_next(&reader)) == JSON_KEY) {
        const bool is_id = slice_equal_str(reader.text, "id");
        event = json_next(&reader);
        ++*members;
        if (is_id && event == JSON_STRING)
            *id = reader.text;
        else if (!is_id || event != JSON_NULL)
            rc = ERR_PROTOCOL;
        if (json_skip(&reader) == JSON_ERROR)
            return ERR_INVALID;
    }
    return event == JSON_OBJECT_END ? rc : ERR_INVALID;
}

static const char *done_words(int rc, const char *why)
{
    return why && why[0] != '\0' ? why : err_text_of(rc);
}

static void reply_failed(struct api_request *r, bool stepdown, int rc, const char *why)
{
    char text[ERR_TEXT_MAX];
    if (api_leader_refused(r, rc))
        return;
    const int status = rc == ERR_NOT_READY || rc == ERR_FULL ? 503 : 500;
    if (stepdown) {
        struct err_text prefixed;
        err_set(&prefixed, rc, "stepdown: %s", done_words(rc, why));
        memcpy(text, prefixed.text, sizeof text);
        api_reply_text(r, status, text);
    } else {
        api_reply_text(r, status, done_words(rc, why));
    }
}

static void member_done(void *ctx, int rc, const char *why)
{
    struct member_op *op = ctx;
    struct api_request *r = api_op_end(&op->op);
    if (r && rc != 0) {
        reply_failed(r, op->stepdown, rc, why);
    } else if (r) {
        const struct api_reply reply = {
            .status = 200,
            .served_by = op->served_by[0] != '\0' ? op->served_by : r->conn->api->adv_addr};
        api_reply(r, &reply);
    }
    mem_free(op);
}

static struct member_op *member_op_begin(struct api_request *r, const struct node_status *status)
{
    struct member_op *op = api_op_begin(r, sizeof *op);
    if (op && status->role != RAFT_LEADER)
        memcpy(op->served_by, status->leader_addr, sizeof op->served_by);
    return op;
}

static struct node_order member_order(const struct api_request *r, struct slice name)
{
    const struct node_order order = {
        .name = name,
        .user = api_auth_user(r),
        .password = api_auth_password(r),
        .timeout_ms = api_params_timeout_ms(&r->params),
    };
    return order;
}

static bool is_leader(const struct api *a, struct node_status *status)
{
    node_status_get(a->node, status);
    return status->open && status->role == RAFT_LEADER;
}

/* ---- /remove -------------------------------------------------------------------------------------------------- */

void api_remove(struct api_request *r)
{
    struct api *a = r->conn->api;
    struct node_status status;
    struct slice id;
    uint32_t members = 0;
    if (id_parse(r->message->body, &r->conn->arena, &id, &members) != 0 || members != 1 ||
        id.data == NULL) {
        api_reply_empty_json(r, 400);
        return;
    }
    if (!a->node) {
        api_leader_not_found(r, 503);
        return;
    }
    if (!is_leader(a, &status) && api_params_has(&r->params, API_FLAG_REDIRECT)) {
        api_redirect_leader(r);
        return;
    }
    struct member_op *op = member_op_begin(r, &status);
    if (!op)
        return;
    /* A name that is too long, or empty, is nobody's: removing it succeeds (§14.5). */
    const struct node_order order = member_order(r, id);
    const int rc =
        id.len == 0 || id.len > WIRE_NAME_MAX ? 0 : node_remove(a->node, &order, member_done, op);
    if (rc != 0 || id.len == 0 || id.len > WIRE_NAME_MAX)
        member_done(op, rc, NULL);
}

/* ---- POST /leader ------------------------------------------------------------------------------------------------- */

/* Checks that need no waiting; 0 or why. */
static int stepdown_check(const struct node_status *status, struct slice id, const char **why)
{
    uint32_t voters = 0;
    bool found = id.len == 0;
    for (uint32_t i = 0; i < status->member_count; i++) {
        const struct node_member_view *m = &status->members[i];
        voters += m->voter;
        found = found || slice_equal_str(id, m->name);
    }
    if (!found) {
        *why = "node not found in cluster";
        return ERR_NOT_FOUND;
    }
    if (id.len > 0 && slice_equal_str(id, status->leader_name)) {
        *why = "cannot step down to the current Leader";
        return ERR_INVALID;
    }
    if (voters < 2) {
        *why = "cannot find peer";
        return ERR_NOT_FOUND;
    }
    return 0;
}

static bool leader_body_given(const struct http_message *m)
{
    const struct http_header *h = http_header_find(m, "Content-Type");
    return h && slice_equal_str(h->value, "application/json") && m->body.len > 0;
}

static void stepdown_wait(struct api_request *r, const struct node_status *status, struct slice id)
{
    struct api *a = r->conn->api;
    struct member_op *op = member_op_begin(r, status);
    if (!op)
        return;
    op->stepdown = true;
    const struct node_order order = member_order(r, id);
    const int rc = node_stepdown(a->node, &order, member_done, op);
    if (rc != 0)
        member_done(op, rc, rc == ERR_NOT_FOUND ? "node not found in cluster" : NULL);
}

static void ignore_done(void *ctx, int rc, const char *why)
{
    (void)ctx;
    (void)rc;
    (void)why;
}

static void leader_post(struct api_request *r)
{
    struct api *a = r->conn->api;
    struct node_status status = {.open = false};
    const bool wait = api_params_has(&r->params, API_FLAG_WAIT);
    struct slice id = {NULL, 0};
    const char *why = NULL;
    uint32_t members = 0;
    if (leader_body_given(r->message)) {
        const int rc = id_parse(r->message->body, &r->conn->arena, &id, &members);
        if (rc != 0) {
            api_reply_text(r, 400,
                           rc == ERR_INVALID ? "invalid JSON: syntax error"
                                             : "invalid JSON: want {\"id\": \"name\"}");
            return;
        }
    }
    if (a->node)
        node_status_get(a->node, &status);
    if (!status.open) {
        api_reply_text(r, 503, "stepdown: store not open");
        return;
    }
    const bool leads = status.role == RAFT_LEADER;
    if (!leads && !status.has_leader && wait) {
        api_leader_not_found(r, api_params_has(&r->params, API_FLAG_REDIRECT) ? 500 : 503);
        return;
    }
    if (!leads && wait && api_params_has(&r->params, API_FLAG_REDIRECT)) {
        api_redirect_leader(r);
        return;
    }
    const int rc = leads ? stepdown_check(&status, id, &why) : 0;
    const bool no_peer = rc != 0 && id.len == 0;
    if (rc != 0 && (wait || !no_peer)) {
        reply_failed(r, true, rc, why);
        return;
    }
    if (wait) {
        stepdown_wait(r, &status, id);
        return;
    }
    /* Without `wait` a follower of the reference does nothing here (http-api.md, fact 182). Who names a successor
     * means it: then the leader is asked (daemon.md, Q-16). */
    const struct node_order order = member_order(r, id);
    if (rc == 0 && (leads || id.len > 0) && node_stepdown(a->node, &order, ignore_done, NULL) != 0)
        env_log(a->env, "http", "stepping down could not be started");
    const struct api_reply reply = {.status = 200, .served_by = a->adv_addr};
    api_reply(r, &reply);
}

void api_leader(struct api_request *r)
{
    if (r->message->method == HTTP_METHOD_GET)
        api_leader_get(r);
    else
        leader_post(r);
}
