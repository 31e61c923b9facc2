/* api_nodes — GET /nodes and GET /leader: who is there, and does it answer (http-api.md §14.1–14.3).
 * All members are asked in parallel; the answer goes out when the last one has answered or timed out. */
#include "api_int.h"

struct nodes_op;

struct nodes_entry {
    struct nodes_op *op;
    struct node_member_view member;
    struct api_meta meta;
    bool done, reachable, leader;
    char api_url[WIRE_ADDR_MAX + 1], version[WIRE_TEXT_MAX + 1], error[WIRE_TEXT_MAX + 1];
    uint64_t elapsed_ns;
};

enum nodes_shape { NODES_BY_ID, NODES_LIST, NODES_LEADER };

struct nodes_op {
    struct api_op op; /* first */
    struct env *env;
    enum nodes_shape shape;
    uint64_t started_ns;
    uint32_t waiting; /* for answers, plus one while they are being asked */
    uint32_t count;
    struct nodes_entry entries[];
};

/* ---- writing ------------------------------------------------------------------------------------------------ */

static void entry_write(struct json_writer *w, const struct nodes_entry *e)
{
    char duration[64];
    json_object_begin(w);
    json_key_str(w, "id");
    json_string_str(w, e->member.name);
    if (e->reachable) {
        json_key_str(w, "api_addr");
        json_string_str(w, e->api_url);
    }
    json_key_str(w, "addr");
    json_string_str(w, e->member.addr);
    json_key_str(w, "version");
    json_string_str(w, e->version);
    json_key_str(w, "voter");
    json_bool(w, e->member.voter);
    json_key_str(w, "reachable");
    json_bool(w, e->reachable);
    json_key_str(w, "leader");
    json_bool(w, e->leader);
    if (e->reachable) {
        json_key_str(w, "time");
        json_real(w, (double)e->elapsed_ns / 1e9);
        json_key_str(w, "time_s");
        json_string(w, slice_of(duration, http_duration_text((int64_t)e->elapsed_ns, duration)));
    } else {
        json_key_str(w, "error");
        json_string_str(w, e->error);
    }
    json_object_end(w);
}

static void nodes_write(struct json_writer *w, const struct nodes_op *op)
{
    if (op->shape == NODES_LEADER) {
        entry_write(w, &op->entries[0]);
        return;
    }
    json_object_begin(w);
    if (op->shape == NODES_LIST) {
        json_key_str(w, "nodes");
        json_array_begin(w);
    }
    for (uint32_t i = 0; i < op->count; i++) { /* status has them in order of their names */
        if (op->shape == NODES_BY_ID)
            json_key_str(w, op->entries[i].member.name);
        entry_write(w, &op->entries[i]);
    }
    if (op->shape == NODES_LIST)
        json_array_end(w);
    json_object_end(w);
}

static void nodes_answered(struct nodes_op *op)
{
    if (--op->waiting > 0)
        return;
    struct api_request *r = api_op_end(&op->op);
    if (r) {
        struct buf text;
        struct json_writer w;
        buf_init(&text, 4 * 1024 * 1024);
        json_writer_init(&w, &text, api_params_has(&r->params, API_FLAG_PRETTY), 0);
        nodes_write(&w, op);
        api_reply_buf(r, API_TYPE_JSON, &text);
        buf_fini(&text);
    }
    mem_free(op);
}

/* ---- asking ---------------------------------------------------------------------------------------------------- */

static void text_copy(char *dst, size_t cap, struct slice src)
{
    const size_t len = src.len < cap ? src.len : cap - 1;
    if (len > 0)
        memcpy(dst, src.data, len);
    dst[len] = '\0';
}

static void entry_failed(struct nodes_entry *e, int rc, const char *why)
{
    if (rc == ERR_TIMEOUT)
        why = "timeout waiting for node to respond";
    else if (!why || why[0] == '\0')
        why = err_text_of(rc);
    text_copy(e->error, sizeof e->error, slice_str(why));
}

static void entry_done(void *ctx, int rc, const struct wire_meta *meta, const char *why)
{
    struct nodes_entry *e = ctx;
    ASSERT(!e->done);
    e->done = true;
    e->elapsed_ns = env_now_ns(e->op->env) - e->op->started_ns;
    if (rc == 0) {
        e->reachable = true;
        e->leader = meta->leader;
        text_copy(e->api_url, sizeof e->api_url, meta->api_url);
        text_copy(e->version, sizeof e->version, meta->version);
    } else {
        entry_failed(e, rc, why);
    }
    nodes_answered(e->op);
}

/* The client is gone: end what only waits to try again. */
static void nodes_gone(struct api_op *base)
{
    struct nodes_op *op = (struct nodes_op *)base;
    op->waiting++;
    for (uint32_t i = 0; i < op->count; i++)
        if (!op->entries[i].done)
            api_meta_give_up(&op->entries[i].meta);
    nodes_answered(op);
}

static void nodes_ask(struct nodes_op *op, const struct api_request *r)
{
    op->waiting = op->count + 1;
    op->op.gone = nodes_gone;
    for (uint32_t i = 0; i < op->count; i++) {
        struct nodes_entry *e = &op->entries[i];
        e->op = op;
        e->meta.done = entry_done;
        e->meta.ctx = e;
        api_meta_ask(&e->meta, r->conn->api, e->member.name, &r->params);
    }
    nodes_answered(op);
}

static struct nodes_op *nodes_op_new(struct api_request *r, enum nodes_shape shape, uint32_t max)
{
    struct nodes_op *op = api_op_begin(r, sizeof *op + max * sizeof op->entries[0]);
    if (!op)
        return NULL;
    op->env = r->conn->api->env;
    op->shape = shape;
    op->started_ns = r->started_ns;
    return op;
}

void api_nodes(struct api_request *r)
{
    struct node *n = r->conn->api->node;
    const bool all = api_params_has(&r->params, API_FLAG_NONVOTERS);
    struct node_status status = {.open = false};
    if (n)
        node_status_get(n, &status);
    if (!status.open) {
        api_reply_text(r, 503, "store nodes: store not open");
        return;
    }
    const enum nodes_shape shape = slice_equal_str(r->params.ver, "2") ? NODES_LIST : NODES_BY_ID;
    struct nodes_op *op = nodes_op_new(r, shape, status.member_count);
    if (!op)
        return;
    for (uint32_t i = 0; i < status.member_count; i++)
        if (all || status.members[i].voter)
            op->entries[op->count++].member = status.members[i];
    nodes_ask(op, r);
}

/* GET of /leader; POST is in api_members.c. */
void api_leader_get(struct api_request *r)
{
    struct node *n = r->conn->api->node;
    struct node_status status = {.open = false};
    if (n)
        node_status_get(n, &status);
    if (!status.open || !status.has_leader || status.leader_name[0] == '\0') {
        api_leader_not_found(r, 503);
        return;
    }
    struct nodes_op *op = nodes_op_new(r, NODES_LEADER, 1);
    if (!op)
        return;
    op->count = 1;
    text_copy(op->entries[0].member.name, sizeof op->entries[0].member.name,
              slice_str(status.leader_name));
    text_copy(op->entries[0].member.addr, sizeof op->entries[0].member.addr,
              slice_str(status.leader_addr));
    op->entries[0].member.voter = true;
    nodes_ask(op, r);
}
