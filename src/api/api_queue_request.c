/* api_queue_request — POST /db/execute?queue (http-api.md §12.1, §12.2): look at the body now, so that
 * nothing that can be refused waits in the queue; enter; answer at once, or (`wait`) when the batch is
 * through. When the queue is full the request waits for room, at most for its `timeout`.
 * Called by api_db_execute, and by api.c for the queue's life. */
#include "api_queue.h"

struct queue_wait {   /* a request without its answer */
    struct api_op op; /* first */
    struct api_queued *queued;
    struct list link; /* in blocked, or in waiting */
    struct env_timer timer;
    bool blocked;      /* still without a place in the queue */
    uint64_t sequence; /* of its place */
    uint32_t statement_count;
};

static const char queue_full[] = "write queue is full";

/* ---- answers -------------------------------------------------------------------------------------------- */

/* error: NULL, or the top-level error of a request that was refused as a whole. */
static void envelope_reply(struct api_request *r, const char *error, uint64_t sequence)
{
    struct buf *text = &r->conn->text;
    struct json_writer w;
    buf_reset(text, 4096);
    json_writer_init(&w, text, api_params_has(&r->params, API_FLAG_PRETTY), 0);
    json_object_begin(&w);
    json_key_str(&w, "results");
    json_raw(&w, slice_str("[]"));
    if (error) {
        json_key_str(&w, "error");
        json_string_str(&w, error);
    }
    if (api_params_has(&r->params, API_FLAG_TIMINGS)) {
        json_key_str(&w, "time");
        json_real(&w, (double)(env_now_ns(r->conn->api->env) - r->started_ns) / 1e9);
    }
    if (!error) {
        json_key_str(&w, "sequence_number");
        json_u64(&w, sequence);
    }
    json_object_end(&w);
    api_reply_buf(r, API_TYPE_JSON, text);
}

static void refusal_reply(struct api_request *r, int rc)
{
    api_reply_text(r, rc == ERR_TOO_BIG ? 413 : 503, err_text_of(rc));
}

/* ---- waiting ---------------------------------------------------------------------------------------------- */

/* Ends the waiting; the request it was for, or NULL if the client is gone. */
static struct api_request *wait_end(struct queue_wait *w)
{
    struct api_request *r = api_op_end(&w->op);
    w->queued->blocked_count -= w->blocked;
    list_remove(&w->link);
    env_timer_disarm(&w->timer);
    mem_free(w);
    return r;
}

static void wait_gone(struct api_op *op)
{
    (void)wait_end((struct queue_wait *)(void *)op);
}

static void wait_timed_out(struct env_timer *t)
{
    struct queue_wait *w = t->ctx;
    struct api *a = w->queued->api;
    const bool blocked = w->blocked;
    struct api_request *r = wait_end(w);
    ASSERT(r != NULL);
    if (blocked) {
        api_reply_text(r, 503, queue_full);
    } else {
        a->counters[API_COUNT_QUEUED_WAIT_TIMEOUT]++;
        api_reply_text(r, 408, "queue wait timeout");
    }
}

static struct queue_wait *wait_begin(struct api_queued *d, struct api_request *r,
                                     uint32_t statement_count)
{
    struct queue_wait *w = api_op_begin(r, sizeof *w);
    if (!w)
        return NULL;
    w->op.gone = wait_gone;
    w->queued = d;
    w->statement_count = statement_count;
    list_init(&w->link);
    env_timer_init(&w->timer, d->api->env, wait_timed_out, w);
    env_timer_arm(&w->timer, api_params_timeout_ms(&r->params) * ENV_MS_NS);
    return w;
}

/* ---- entering --------------------------------------------------------------------------------------------- */

static void wait_for_batch(struct queue_wait *w, uint64_t sequence)
{
    struct api_queued *d = w->queued;
    d->blocked_count -= w->blocked;
    w->blocked = false;
    w->sequence = sequence;
    list_remove(&w->link);
    list_push_back(&d->waiting, &w->link);
}

/* There is room. w: of a request that was blocked, or is going to wait; else NULL. */
static void request_add(struct api_queued *d, struct api_request *r, struct queue_wait *w,
                        uint32_t statement_count)
{
    struct api *a = d->api;
    uint64_t sequence = 0;
    const struct api_queue_entry entry = {.payload = buf_slice(&r->conn->payload),
                                          .statement_count = statement_count,
                                          .user = api_auth_user(r),
                                          .password = api_auth_password(r)};
    const int rc = api_queue_add(&d->queue, &entry, env_now_ns(a->env), &sequence);
    if (rc == 0) {
        a->counters[API_COUNT_QUEUED_STMTS_RX] += statement_count;
        a->counters[API_COUNT_QUEUE_OBJECTS_RX] += statement_count;
        api_queue_flush_schedule(d);
        if (api_params_has(&r->params, API_FLAG_WAIT)) {
            wait_for_batch(w, sequence);
            return;
        }
    }
    if (w)
        (void)wait_end(w);
    if (rc == 0)
        envelope_reply(r, NULL, sequence);
    else
        refusal_reply(r, rc);
}

static void request_enter(struct api_queued *d, struct api_request *r, uint32_t statement_count)
{
    struct queue_wait *w = NULL;
    if (list_empty(&d->blocked) && api_queue_has_room(&d->queue, buf_len(&r->conn->payload))) {
        if (!api_params_has(&r->params, API_FLAG_WAIT) || (w = wait_begin(d, r, statement_count)))
            request_add(d, r, w, statement_count);
    } else if (d->blocked_count >= LIMIT_QUEUE_BLOCKED_COUNT) {
        api_reply_text(r, 503, queue_full);
    } else if ((w = wait_begin(d, r,
                               statement_count))) { /* its payload stays with its connection */
        w->blocked = true;
        d->blocked_count++;
        list_push_back(&d->blocked, &w->link);
    }
}

/* The file below made room: in order of arrival. */
static void queue_room(struct api_queued *d)
{
    while (!list_empty(&d->blocked)) {
        struct queue_wait *w = LIST_ENTRY(d->blocked.next, struct queue_wait, link);
        struct api_request *r = &w->op.conn->request;
        if (!api_queue_has_room(&d->queue, buf_len(&r->conn->payload)))
            return;
        request_add(d, r, w, w->statement_count);
    }
}

/* A batch is through, or (rc) was given up. */
static void queue_ended(struct api_queued *d, uint64_t sequence, int rc)
{
    while (!list_empty(&d->waiting)) {
        struct queue_wait *w = LIST_ENTRY(d->waiting.next, struct queue_wait, link);
        const uint64_t own = w->sequence;
        if (own > sequence)
            return;
        struct api_request *r = wait_end(w);
        ASSERT(r != NULL);
        envelope_reply(r, rc == 0 ? NULL : err_text_of(rc), own);
    }
}

/* ---- the endpoint ------------------------------------------------------------------------------------------- */

/* An empty array, whatever follows it (§4.1)? With `wait` that is a marker: nothing to write, but an answer
 * when everything before it was written. */
static bool body_is_empty_array(struct slice body, struct arena *scratch)
{
    struct json_reader reader;
    json_reader_init(&reader, body, LIMIT_JSON_DEPTH, scratch);
    return json_next(&reader) == JSON_ARRAY_BEGIN && json_next(&reader) == JSON_ARRAY_END;
}

static bool leader_known(const struct api *a)
{
    struct node_status status = {.has_leader = false};
    if (a->node)
        node_status_get(a->node, &status);
    return status.has_leader;
}

void api_queue_execute(struct api_request *r)
{
    struct api_conn *c = r->conn;
    struct api *a = c->api;
    struct err_text why;
    uint32_t count = 0;
    a->counters[API_COUNT_QUEUED_EXECUTIONS]++;
    const bool wait = api_params_has(&r->params, API_FLAG_WAIT);
    if (wait)
        a->counters[API_COUNT_QUEUED_WAIT]++;
    if (!api_params_has(&r->params, API_FLAG_NOLEADER) && !leader_known(a)) {
        a->counters[API_COUNT_QUEUED_NO_LEADER]++;
        api_leader_not_found(r, 503);
        return;
    }
    if (wait && body_is_empty_array(r->message->body, &c->arena)) {
        request_enter(a->queued, r, 0);
        return;
    }
    const int rc = api_body_decode(r->message->body, WIRE_CMD_EXECUTE, WIRE_CMD_QUEUED, &c->arena,
                                   &c->payload, &count, &why);
    if (rc == ERR_INVALID)
        api_reply_text(r, 400, why.text);
    else if (rc != 0)
        refusal_reply(r, rc);
    else if (db_disallowed_pragma(buf_slice(&c->payload)))
        envelope_reply(r, "disallowed pragma", 0);
    else
        request_enter(a->queued, r, count);
}

/* ---- life ------------------------------------------------------------------------------------------------------ */

int api_queue_create(struct api *a, const struct api_queue_config *config)
{
    struct api_queued *d = mem_zalloc(sizeof *d);
    if (!d)
        return ERR_NOMEM;
    list_init(&d->blocked);
    list_init(&d->waiting);
    d->room = queue_room;
    d->ended = queue_ended;
    api_queue_flush_init(d, a, config);
    a->queued = d;
    return 0;
}

void api_queue_stop(struct api *a)
{
    struct api_queued *d = a->queued;
    ASSERT(!d->queue.flushing);
    d->queue.flushing = true;
    a->counters[API_COUNT_QUEUE_FLUSH]++;
    api_queue_flush_schedule(d);
}

bool api_queue_idle(const struct api *a)
{
    return api_queue_pending(&a->queued->queue) == 0;
}

void api_queue_abandon(struct api *a)
{
    ASSERT(list_empty(&a->queued->blocked) && list_empty(&a->queued->waiting));
    api_queue_flush_abandon(a->queued);
}

void api_queue_destroy(struct api *a)
{
    if (!a->queued)
        return;
    api_queue_flush_fini(a->queued);
    mem_free(a->queued);
    a->queued = NULL;
}

void api_queue_look(const struct api *a, struct api_queue_view *out)
{
    const struct api_queue *q = &a->queued->queue;
    api_queue_check(q);
    *out = (struct api_queue_view){.config = q->config, .finished = q->finished};
}
