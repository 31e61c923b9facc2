/* api_queue_flush — batches on their way to node. One is under way at a time and stays it until node says
 * that it was applied; every failure is followed by another attempt a second later, with the same bytes
 * and the same key. So it does not matter whether an attempt that failed was written all the same, by this
 * leader or by the next: it is applied once (db.h, idempotency keys). Called by api_queue_request, by api.c when the server stops, and by its own timer.
 *
 * A batch is passed on with the credentials of the client it comes from: another leader judges them by its own file, as it
 * does for a single request (http-api.md §11.1). */
#include "api_queue.h"

enum {
    RETRY_MS = 1000,
    ATTEMPT_MS = 10 * 1000, /* for one attempt, forwarding included */
    LOG_EVERY = 60,         /* of the attempts that failed, one in so many is told */
};

/* ---- the end of an attempt --------------------------------------------------------------------------- */

static void batch_end(struct api_queued *d, int rc)
{
    struct api_queue *q = &d->queue;
    const uint64_t sequence = q->batch.sequence;
    d->attempts = 0;
    api_queue_batch_end(q);
    api_queue_flush_schedule(d);
    d->ended(d, sequence, rc);
    d->api->conn_gone(d->api); /* a stop may wait for us */
}

static void count_failure(struct api_queued *d, int rc)
{
    uint64_t *counters = d->api->counters;
    counters[API_COUNT_QUEUED_FAILED]++;
    if (rc == ERR_NO_LEADER || rc == ERR_NOT_READY)
        counters[API_COUNT_QUEUED_NO_LEADER]++;
    else if (rc == ERR_NOT_LEADER)
        counters[API_COUNT_QUEUED_NOT_LEADER]++;
    else if (rc == ERR_LEADERSHIP_LOST)
        counters[API_COUNT_QUEUED_LEADERSHIP_LOST]++;
    else
        counters[API_COUNT_QUEUED_UNKNOWN_ERROR]++;
}

/* Refused for what it is, not for when it came: it would be refused again. */
static bool refused_for_good(int rc)
{
    return rc == ERR_TOO_BIG || rc == ERR_INVALID || rc == ERR_DENIED;
}

static void attempt_failed(struct api_queued *d, int rc, const char *text)
{
    const struct api_queue_batch *b = &d->queue.batch;
    const char *words = text && text[0] != '\0' ? text : err_text_of(rc);
    const bool again = !refused_for_good(rc);
    count_failure(d, rc);
    if (!again || d->attempts % LOG_EVERY == 0)
        env_log(d->api->env, "http", "queued batch %llu of %u requests: %s%s",
                (unsigned long long)b->sequence, (unsigned)b->request_count, words,
                again ? "; trying again every second" : "; dropped");
    d->attempts++;
    if (again)
        env_timer_arm(&d->timer, RETRY_MS * ENV_MS_NS);
    else
        batch_end(d, rc);
}

static void attempt_replied(void *ctx, const struct node_answer *answer)
{
    struct api_queued *d = ctx;
    ASSERT(d->queue.batch.under_way && d->ticket != 0);
    d->ticket = 0;
    if (answer->rc != 0) {
        attempt_failed(d, answer->rc, answer->text);
        return;
    }
    d->api->counters[API_COUNT_QUEUED_OK]++;
    batch_end(d, 0); /* whatever its statements did: nobody is told */
}

/* ---- attempts ------------------------------------------------------------------------------------------ */

static void flush_attempt(struct api_queued *d)
{
    struct api *a = d->api;
    const struct api_queue_batch *b = &d->queue.batch;
    const struct slice secrets = buf_slice(&b->secrets);
    const struct node_request request = {
        .f = {.kind = WIRE_EXECUTE,
              .timeout_ms = ATTEMPT_MS,
              .linearizable_timeout_ms = ATTEMPT_MS,
              .payload = buf_slice(&b->payload),
              .user = slice_of(secrets.data, b->user_len),
              .password = slice_of(b->user_len ? secrets.data + b->user_len : NULL,
                                   secrets.len - b->user_len)},
    };
    ASSERT(d->queue.batch.under_way && d->ticket == 0);
    const int rc =
        a->node ? node_submit(a->node, &request, attempt_replied, d, &d->ticket) : ERR_NOT_READY;
    if (rc != 0)
        attempt_failed(d, rc, NULL);
}

/* The key needs the store's id, which is known when the node is open. 0: not yet. */
static uint64_t store_id_of(const struct api *a)
{
    struct node_status status = {.open = false};
    if (a->node)
        node_status_get(a->node, &status);
    return status.open ? status.store_id : 0;
}

static void batch_begin(struct api_queued *d)
{
    struct api_queue *q = &d->queue;
    const uint64_t store_id = store_id_of(d->api);
    if (store_id == 0 || api_queue_batch_begin(q, store_id) != 0) {
        env_timer_arm(&d->timer, RETRY_MS * ENV_MS_NS);
        return;
    }
    d->api->counters[API_COUNT_QUEUE_OBJECTS_TX] += q->batch.statement_count;
    d->api->counters[API_COUNT_QUEUED_STMTS_TX] += q->batch.statement_count;
    if (q->batch.statement_count > 0)
        flush_attempt(d);
    else
        batch_end(d, 0); /* markers only: what was before them is through */
    d->room(d);
}

static void flush_look(struct api_queued *d)
{
    if (d->queue.batch.under_way)
        return; /* its own end, or the timer, goes on */
    const uint64_t due_ns = api_queue_due_ns(&d->queue), now_ns = env_now_ns(d->api->env);
    if (due_ns == UINT64_MAX) {
        env_timer_disarm(&d->timer);
    } else if (due_ns > now_ns) {
        env_timer_arm(&d->timer, due_ns - now_ns);
    } else {
        d->api->counters[API_COUNT_QUEUE_TIMEOUT] += due_ns != 0;
        batch_begin(d);
    }
}

static void flush_turn(struct env_turn *t)
{
    flush_look(t->ctx);
}

static void flush_timer(struct env_timer *t)
{
    struct api_queued *d = t->ctx;
    if (!d->queue.batch.under_way)
        flush_look(d);
    else if (d->ticket == 0)
        flush_attempt(d);
}

void api_queue_flush_schedule(struct api_queued *d)
{
    env_turn_schedule(&d->turn);
}

void api_queue_flush_abandon(struct api_queued *d)
{
    const uint32_t lost = api_queue_pending(&d->queue);
    env_turn_cancel(&d->turn);
    env_timer_disarm(&d->timer);
    if (d->ticket != 0 && d->api->node)
        node_forget(d->api->node, d->ticket);
    d->ticket = 0;
    if (lost > 0)
        env_log(d->api->env, "http", "stopping: %u queued requests may not have been written",
                (unsigned)lost);
    const struct api_queue_config config = d->queue.config;
    api_queue_fini(&d->queue);
    api_queue_init(&d->queue, &config, d->queue.start);
}

void api_queue_flush_init(struct api_queued *d, struct api *a,
                          const struct api_queue_config *config)
{
    d->api = a;
    api_queue_init(&d->queue, config, (uint64_t)a->start_wall_ns);
    env_turn_init(&d->turn, a->env, flush_turn, d);
    env_timer_init(&d->timer, a->env, flush_timer, d);
}

void api_queue_flush_fini(struct api_queued *d)
{
    env_turn_cancel(&d->turn);
    env_timer_disarm(&d->timer);
    api_queue_fini(&d->queue);
}
