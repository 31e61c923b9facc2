/* api_db — /db/execute, /db/query, /db/request: body to payload, payload to node, answer to envelope
 * (http-api.md §4–§6, §11). The results inside the envelope come encoded from where the rows were. */
#include "api_int.h"

#include <rq/util/endian.h>

static const struct slice no_text = {NULL, 0};

/* ---- the envelope (§5.1) ------------------------------------------------------------------------------ */

struct envelope {
    struct slice results; /* encoded; len 0: empty */
    struct slice error;   /* len 0: none */
    uint64_t raft_index;  /* 0: absent */
    const char *served_by;
    int status;                       /* 0: 200 */
    bool replayed;                    /* of an earlier request with the same key */
    bool more;                        /* only a part of the results */
    const struct node_answer *phases; /* NULL: not known */
};

static void seconds_write(struct json_writer *w, const char *key, uint64_t ns)
{
    json_key_str(w, key);
    json_real(w, (double)ns / 1e9);
}

/* Beyond rqlite: where the time went, when asked for with `phases`. */
static void phases_write(struct json_writer *w, const struct node_answer *a, uint64_t total_ns)
{
    json_key_str(w, "phases");
    json_object_begin(w);
    if (a->raft_index != 0) {
        seconds_write(w, "queue", a->phases.queue_ns);
        seconds_write(w, "sync", a->phases.sync_ns);
        seconds_write(w, "quorum", a->phases.quorum_ns);
        seconds_write(w, "apply", a->phases.apply_ns);
    } else {
        seconds_write(w, "wait", a->phases.wait_ns);
        seconds_write(w, "run", a->phases.run_ns);
    }
    if (a->served_by)
        seconds_write(w, "forward", a->forward_ns);
    seconds_write(w, "total", total_ns);
    json_object_end(w);
}

/* Into c->text: what stands before the results, and (from *split) behind them. */
static void envelope_text(struct api_request *r, const struct envelope *v, size_t *split)
{
    const bool pretty = api_params_has(&r->params, API_FLAG_PRETTY);
    struct buf *text = &r->conn->text;
    struct json_writer w;
    buf_reset(text, 64 * 1024);
    json_writer_init(&w, text, pretty, 0);
    json_object_begin(&w);
    json_key_str(&w, "results");
    json_raw(&w, no_text);
    *split = buf_len(text);
    if (v->error.len > 0) {
        json_key_str(&w, "error");
        json_string(&w, v->error);
    }
    if (api_params_has(&r->params, API_FLAG_TIMINGS)) {
        json_key_str(&w, "time");
        json_real(&w, (double)(env_now_ns(r->conn->api->env) - r->started_ns) / 1e9);
    }
    if (v->phases && api_params_has(&r->params, API_FLAG_PHASES))
        phases_write(&w, v->phases, env_now_ns(r->conn->api->env) - r->started_ns);
    if (v->raft_index != 0 && api_params_has(&r->params, API_FLAG_RAFT_INDEX)) {
        json_key_str(&w, "raft_index");
        json_u64(&w, v->raft_index);
    }
    json_object_end(&w);
}

/* The results go out verbatim between the envelope's two halves (they may be large). */
static void envelope_reply(struct api_request *r, const struct envelope *v)
{
    size_t split;
    envelope_text(r, v, &split);
    const struct slice all = buf_slice(&r->conn->text);
    const struct slice tail = slice_of(all.data + split, v->more ? 0 : all.len - split);
    const struct api_reply reply = {
        .status = v->status ? v->status : 200,
        .content_type = API_TYPE_JSON,
        .replayed = v->replayed,
        .served_by = v->error.len > 0 ? NULL : v->served_by,
        .parts = {slice_of(all.data, split), v->results.len > 0 ? v->results : slice_str("[]"),
                  tail},
    };
    if (r->conn->text.failed)
        api_reply_text(r, 503, err_text_of(r->conn->text.failed));
    else if (v->more)
        api_reply_begin(r, &reply);
    else
        api_reply(r, &reply);
}

/* The end of results that went out in parts: the rest of them, the envelope's second half. */
static void envelope_end(struct api_request *r, const struct envelope *v)
{
    size_t split;
    envelope_text(r, v, &split);
    const struct slice all = buf_slice(&r->conn->text);
    if (r->conn->text.failed)
        api_reply_cut(r, err_text_of(r->conn->text.failed));
    else
        api_reply_end(r, v->results, slice_of(all.data + split, all.len - split));
}

void api_db_reply_nothing(struct api_request *r, const char *served_by)
{
    const struct envelope v = {.served_by = served_by};
    envelope_reply(r, &v);
}

static void error_reply(struct api_request *r, const char *text)
{
    const struct envelope v = {.error = slice_str(text)};
    envelope_reply(r, &v);
}

/* ---- node's answer ----------------------------------------------------------------------------------------- */

/* A 500 that still says who served it (§1.3, §5.6.2). */
static void fail_reply(struct api_request *r, struct slice text, const char *served_by)
{
    const struct api_reply reply = {
        .status = 500,
        .content_type = API_TYPE_TEXT,
        .no_sniff = true,
        .served_by = served_by,
        .parts = {text, slice_str("\n")},
    };
    api_reply(r, &reply);
}

/* The outcome of an earlier entry: take its index off the front. */
static struct slice body_replayed(struct slice body, struct envelope *v)
{
    enum { HEAD = 1 + 8 };
    if (body.len < HEAD || body.data[0] != API_BODY_REPLAYED)
        return body;
    v->replayed = true;
    v->raft_index = get_u64(body.data + 1);
    return slice_of(body.data + HEAD, body.len - HEAD);
}

static void results_reply(struct api_request *r, const struct node_answer *answer)
{
    struct envelope v = {
        .raft_index = answer->raft_index,
        .served_by = answer->served_by ? answer->served_by : r->conn->api->adv_addr,
        .more = answer->more,
        .phases = answer,
    };
    const struct slice body = body_replayed(answer->body, &v);
    const struct slice rest = body.len > 0 ? slice_of(body.data + 1, body.len - 1) : no_text;
    switch (body.len > 0 ? body.data[0] : API_BODY_RESULTS) {
    case API_BODY_RESULTS:
        v.results = rest;
        envelope_reply(r, &v);
        return;
    case API_BODY_ERROR:
    case API_BODY_UNMET:
    case API_BODY_KEY_REUSED:
        v.status = body.data[0] == API_BODY_UNMET        ? 412
                   : body.data[0] == API_BODY_KEY_REUSED ? 422
                                                         : 200;
        v.error = rest;
        envelope_reply(r, &v);
        return;
    default:
        fail_reply(r, rest, v.served_by);
        return;
    }
}

/* The request as a whole failed (§11.3 to §11.5). What may or may not have been written is a 200 with a
 * top-level error, so that nobody repeats it without thinking. */
static void refusal_reply(struct api_request *r, int rc, const char *text)
{
    const char *words = text && text[0] != '\0' ? text : err_text_of(rc);
    if (api_leader_refused(r, rc))
        return;
    switch (rc) {
    case ERR_NOT_LEADER:
        error_reply(r, "not leader");
        return;
    case ERR_NOT_READY:
        error_reply(r, "store not open");
        return;
    case ERR_STALE:
        error_reply(r, "stale read");
        return;
    case ERR_FULL:
    case ERR_NOMEM:
    case ERR_NOSPC:
        api_reply_text(r, 503, words);
        return;
    case ERR_TOO_BIG:
        api_reply_text(r, 413, words);
        return;
    case ERR_INVALID:
    case ERR_PROTOCOL:
        api_reply_text(r, 400, words);
        return;
    default:
        error_reply(r, words);
        return;
    }
}

/* What comes behind the first part. What the format cannot say any more is said by ending the connection: the
 * last chunk is missing. */
static void part_reply(struct api_request *r, const struct node_answer *answer)
{
    const struct slice body = answer->body;
    const struct slice rest = body.len > 0 ? slice_of(body.data + 1, body.len - 1) : no_text;
    const struct envelope v = {.results = rest, .phases = answer};
    if (answer->rc != 0)
        api_reply_cut(r, answer->text ? answer->text : err_text_of(answer->rc));
    else if (body.len == 0 || body.data[0] != API_BODY_RESULTS)
        api_reply_cut(r, "the rest of the results cannot be shown");
    else if (answer->more)
        api_reply_part(r, rest);
    else
        envelope_end(r, &v);
}

static void total_count(struct api_request *r, const struct node_answer *answer)
{
    struct api *a = r->conn->api;
    if (answer->rc == 0)
        histogram_add(answer->raft_index ? &a->write_total : &a->read_total,
                      env_now_ns(a->env) - r->started_ns);
}

static void db_replied(void *ctx, const struct node_answer *answer)
{
    struct api_conn *c = ctx;
    struct api_request *r = &c->request;
    ASSERT(c->busy && r->ticket != 0);
    if (!answer->more) {
        r->ticket = 0;
        total_count(r, answer);
    }
    if (r->in_parts)
        part_reply(r, answer);
    else if (answer->rc == 0)
        results_reply(r, answer);
    else
        refusal_reply(r, answer->rc, answer->text);
}

/* ---- asking -------------------------------------------------------------------------------------------------- */

struct ask {
    enum wire_request_kind kind;
    enum wire_cmd_kind cmd;
    enum api_counter statements;
    uint64_t linearizable_ms;
};

static uint32_t encode_options(const struct api_params *p, enum wire_request_kind kind)
{
    uint32_t options = 0;
    options |= api_params_has(p, API_FLAG_ASSOCIATIVE) ? API_ENCODE_ASSOCIATIVE : 0;
    options |= api_params_has(p, API_FLAG_BLOB_ARRAY) ? API_ENCODE_BLOB_ARRAY : 0;
    options |= api_params_has(p, API_FLAG_PRETTY) ? API_ENCODE_PRETTY : 0;
    options |= api_params_has(p, API_FLAG_TIMINGS) ? API_ENCODE_TIMINGS : 0;
    options |= api_params_has(p, API_FLAG_PHASES) ? API_ENCODE_PHASES : 0;
    if (kind == WIRE_QUERY || kind == WIRE_REQUEST) /* §6.6 */
        options |= api_params_has(p, API_FLAG_QUALIFY_COLUMNS) ? API_ENCODE_QUALIFY : 0;
    return options;
}

/* How long a linearizable read may wait; an explicit 0 means 1 s (§2.3). */
static uint64_t linearizable_ms(const struct api_params *p, const struct ask *ask)
{
    if (!p->has_linearizable_timeout)
        return ask->linearizable_ms;
    if (p->linearizable_timeout_ns == 0)
        return 1000;
    return p->linearizable_timeout_ns < 1000000 ? 1
                                                : (uint64_t)(p->linearizable_timeout_ns / 1000000);
}

static void db_submit(struct api_request *r, const struct ask *ask)
{
    struct api_conn *c = r->conn;
    const struct api_params *p = &r->params;
    const struct node_request request = {
        .f = {.kind = ask->kind,
              .level = p->level,
              .encode_options = encode_options(p, ask->kind),
              .timeout_ms = api_params_timeout_ms(p),
              .linearizable_timeout_ms = linearizable_ms(p, ask),
              .db_timeout_ns = p->db_timeout_ns > 0 ? (uint64_t)p->db_timeout_ns : 0,
              .wait_index = (uint64_t)p->wait_index,
              .in_parts = true,
              .payload = buf_slice(&c->payload),
              .user = api_auth_user(r),
              .password = api_auth_password(r)},
        .redirect = api_params_has(p, API_FLAG_REDIRECT),
        .freshness_ns = p->freshness_ns > 0 ? p->freshness_ns : 0,
        .freshness_strict = api_params_has(p, API_FLAG_FRESHNESS_STRICT),
        .retries = api_params_retries(p),
    };
    if (db_disallowed_pragma(request.f.payload)) {
        error_reply(r, "disallowed pragma");
        return;
    }
    const char *refused = db_condition_refused(request.f.payload);
    if (refused) {
        api_reply_text(r, 400, refused);
        return;
    }
    /* §6.9: over before the first statement began; nothing was asked of node. A read's clock starts when it
     * gets its connection: db looks at it. */
    bool logged = ask->kind != WIRE_QUERY || p->level == WIRE_LEVEL_STRONG;
    if (logged && request.f.db_timeout_ns > 0 &&
        env_now_ns(c->api->env) - r->started_ns >= request.f.db_timeout_ns) {
        error_reply(r, "context deadline exceeded");
        return;
    }
    const int rc = c->api->node ? node_submit(c->api->node, &request, db_replied, c, &r->ticket)
                                : ERR_NOT_READY;
    if (rc != 0)
        refusal_reply(r, rc, NULL);
}

static uint16_t cmd_flags(const struct api_request *r)
{
    return api_params_has(&r->params, API_FLAG_TRANSACTION) ? WIRE_CMD_TRANSACTION : 0;
}

/* Begin the payload, with what else was asked for. False: it was answered. */
static bool db_begin(struct api_request *r, const struct ask *ask)
{
    struct err_text why;
    int rc = 0;
    if (ask->cmd == WIRE_CMD_QUERY)
        wire_cmd_begin(&r->conn->payload, ask->cmd, cmd_flags(r), no_text);
    else
        rc = api_once_begin(r, ask->cmd, cmd_flags(r), &why);
    if (rc != 0)
        refusal_reply(r, rc, rc == ERR_INVALID ? why.text : NULL);
    return rc == 0;
}

static void db_body_json(struct api_request *r, const struct ask *ask)
{
    struct api_conn *c = r->conn;
    struct err_text why;
    uint32_t count = 0;
    if (!db_begin(r, ask))
        return;
    const int rc = api_body_append(r->message->body, &c->arena, &c->payload, &count, &why);
    if (rc == ERR_INVALID) {
        api_reply_text(r, 400, why.text);
        return;
    }
    if (rc != 0) {
        refusal_reply(r, rc, NULL);
        return;
    }
    c->api->counters[ask->statements] += count;
    db_submit(r, ask);
}

static void db_body_plain(struct api_request *r, struct slice sql, const struct ask *ask)
{
    struct api_conn *c = r->conn;
    if (!api_utf8_valid(sql)) {
        error_reply(r, "string field contains invalid UTF-8");
        return;
    }
    if (!db_begin(r, ask))
        return;
    wire_cmd_statement(&c->payload, sql);
    const int rc = wire_cmd_finish(&c->payload);
    if (rc != 0) {
        refusal_reply(r, rc, NULL);
        return;
    }
    c->api->counters[ask->statements]++;
    db_submit(r, ask);
}

/* §4.4: begins with exactly this. */
static bool body_is_plain(const struct http_message *m)
{
    static const char plain[] = "text/plain";
    const struct http_header *h = http_header_find(m, "Content-Type");
    return h && h->value.len >= sizeof plain - 1 &&
           memcmp(h->value.data, plain, sizeof plain - 1) == 0;
}

/* /db/load of SQL text: one text, no transaction of its own; what it leaves open ends with it (§13.3). */
void api_db_load_text(struct api_request *r)
{
    static const struct ask ask = {WIRE_LOAD, WIRE_CMD_EXECUTE, API_COUNT_NONE, 1000};
    struct api_conn *c = r->conn;
    if (!api_utf8_valid(r->message->body)) {
        error_reply(r, "string field contains invalid UTF-8");
        return;
    }
    const int rc = api_body_plain(r->message->body, WIRE_CMD_EXECUTE, 0, &c->payload);
    if (rc != 0)
        refusal_reply(r, rc, NULL);
    else
        db_submit(r, &ask);
}

void api_db_execute(struct api_request *r)
{
    static const struct ask ask = {WIRE_EXECUTE, WIRE_CMD_EXECUTE, API_COUNT_EXECUTE_STMTS_RX,
                                   1000};
    const bool queued = api_params_has(&r->params, API_FLAG_QUEUE);
    const char *refused = queued ? api_once_refused(r) : NULL;
    if (refused)
        api_reply_text(r, 400, refused);
    else if (queued)
        api_queue_execute(r);
    else if (body_is_plain(r->message))
        db_body_plain(r, r->message->body, &ask);
    else
        db_body_json(r, &ask);
}

void api_db_query(struct api_request *r)
{
    static const struct ask ask = {WIRE_QUERY, WIRE_CMD_QUERY, API_COUNT_QUERY_STMTS_RX, 10000};
    static const struct envelope nothing = {.results = {NULL, 0}};
    if (r->message->method == HTTP_METHOD_POST) {
        if (body_is_plain(r->message))
            db_body_plain(r, r->message->body, &ask);
        else
            db_body_json(r, &ask);
    } else if (r->params.has_q) {
        db_body_plain(r, r->params.q, &ask);
    } else {
        envelope_reply(r, &nothing);
    }
}

void api_db_request(struct api_request *r)
{
    static const struct ask ask = {WIRE_REQUEST, WIRE_CMD_REQUEST, API_COUNT_REQUEST_STMTS_RX,
                                   1000};
    db_body_json(r, &ask);
}
