/* node_read.c — reads that do not go through the log: on a pooled read connection, in a READ lane.
 *
 *   CLASSIFY       a request of unknown kind: do all its statements only read?
 *   READ ⇄ PARKED  a job per part, one connection for all; it is as new afterwards (db's promise)
 *
 * Both are one job where nothing has to be asked in between. A small result is one job and one answer. A
 * larger one pauses with its statement open until the asker pulls: the connection waits for it, the lane
 * does not. At most reader_jobs connections are at work, and the rest of reader_count bounds how many may
 * be paused.
 *
 * Waiting for a connection is bounded by the client's timeout; what runs, only by db_timeout, whose clock
 * starts then (http-api.md §6.9). */
#include "node_int.h"

static struct node_reader *reader_take(struct node *n)
{
    for (uint32_t i = 0; i < n->config.reader_count; i++) {
        if (!n->readers[i].busy) {
            n->readers[i].busy = true;
            n->readers_busy++;
            return &n->readers[i];
        }
    }
    UNREACHABLE(); /* reader_jobs at work and the others with a part each, at most */
}

static void reader_give_back(struct node_wait *w)
{
    struct node *n = w->node;

    w->reader->busy = false;
    w->reader->open = w->reader->reader != NULL;
    w->reader->counts = w->reader->run_counts;
    w->reader = NULL;
    n->readers_busy--;
    if (w->parts_end_ns)
        n->parts_count--;
}

/* ---- in the lane ------------------------------------------------------------------------------ */

static bool part_full(void *ctx)
{
    const struct node_wait *w = ctx;
    return buf_len(&w->out) >= w->node->config.part_bytes;
}

/* The query is over, or pauses (rc is DB_MORE). */
static void read_stepped(struct node_wait *w)
{
    const struct node_codec *codec = w->node->config.codec;

    if (w->rc != DB_MORE) {
        codec->sink_finish(w->sink);
    } else if (!codec->sink_pause(w->sink)) {
        db_query_end(w->reader->reader);
        w->rc = 0;
    }
}

static void read_query(struct node_wait *w)
{
    const struct node_codec *codec = w->node->config.codec;
    struct wire_cmd cmd;

    w->rc = wire_cmd_open(slice_of(w->payload->payload, w->payload->len), false, &cmd);
    if (w->rc)
        return;
    w->sink = codec->sink_new(w->encode_options, &w->out);
    if (!w->sink) {
        w->rc = ERR_NOMEM;
        return;
    }
    struct db_query q = {
        .payload = slice_of(w->payload->payload, w->payload->len),
        .transaction = (cmd.flags & WIRE_CMD_TRANSACTION) != 0,
        .qualify_columns = (w->encode_options & codec->qualify_columns_option) != 0,
        .deadline_ns = w->deadline_ns,
        .sink = w->sink,
        .pause = w->in_parts ? part_full : NULL,
        .pause_ctx = w,
        .canceled = &w->canceled,
    };
    w->rc = db_query_begin(w->reader->reader, &q, &w->why);
    read_stepped(w);
}

static void read_job_ends(struct node_wait *w, uint64_t began_ns)
{
    if (w->reader->reader)
        db_reader_counts(w->reader->reader, &w->reader->run_counts);
    w->run_ns += env_now_ns(w->node->env) - began_ns;
}

static void read_run(struct env_job *job)
{
    struct node_wait *w = LIST_ENTRY(job, struct node_wait, job);
    struct node_reader *r = w->reader;

    w->rc = 0;
    w->run_began_ns = env_now_ns(w->node->env);
    if (!r->reader)
        w->rc = db_reader_open(w->node->db, &r->reader, &w->why);
    if (w->rc == 0 && w->run_classify)
        w->rc =
            db_classify(r->reader, slice_of(w->payload->payload, w->payload->len), &w->read_only);
    bool now = !w->run_classify || (w->read_only && w->level != WIRE_LEVEL_LINEARIZABLE);
    if (w->rc == 0 && now)
        read_query(w);
    read_job_ends(w, w->run_began_ns);
}

static void read_run_on(struct env_job *job)
{
    struct node_wait *w = LIST_ENTRY(job, struct node_wait, job);

    uint64_t began_ns = env_now_ns(w->node->env);

    (void)!buf_reserve(&w->out, w->node->config.part_bytes + 1024); /* once, not by doubling */
    w->node->config.codec->sink_resume(w->sink);
    w->rc = db_query_resume(w->reader->reader, &w->why);
    read_stepped(w);
    read_job_ends(w, began_ns);
}

static void read_run_end(struct env_job *job)
{
    struct node_wait *w = LIST_ENTRY(job, struct node_wait, job);
    db_query_end(w->reader->reader);
}

/* ---- on the loop ------------------------------------------------------------------------------ */

static void read_answer(struct node_wait *w)
{
    struct node_answer a = {.rc = w->rc};

    if (w->rc == 0 && w->out.failed) {
        a.rc = w->out.failed;
        a.text = "the result is larger than the limit";
    } else if (w->rc) {
        a.text = w->why.text[0] ? w->why.text : err_text_of(w->rc);
    } else {
        a.body = buf_slice(&w->out);
    }
    a.phases.wait_ns = w->run_began_ns - w->submitted_ns;
    a.phases.run_ns = w->run_ns;
    histogram_add(&w->node->clock.times.read_wait, a.phases.wait_ns);
    histogram_add(&w->node->clock.times.read_run, a.phases.run_ns);
    node_wait_answer(w, &a);
}

static void read_ended(struct env_job *job)
{
    struct node_wait *w = LIST_ENTRY(job, struct node_wait, job);
    struct node *n = w->node;

    n->reads_running--;
    w->in_lane = false;
    reader_give_back(w);
    node_wait_free(w);
    node_read_kick(n);
    n->up.lane_idle(n);
}

void node_read_end(struct node_wait *w)
{
    ASSERT(w->reader && !w->in_lane);
    list_remove(&w->link);
    w->node->reads_running++; /* perhaps one too many: it is short, and others begin later */
    w->forgotten = true;
    w->in_lane = true;
    w->job.run = read_run_end;
    w->job.done = read_ended;
    env_job_submit(w->node->env, ENV_LANE_READ, &w->job);
}

static const char replaced_text[] = "the database was replaced while its rows were read";

/* It pauses: what it wrote goes to the asker, who pulls when that is taken. */
static void read_paused(struct node_wait *w)
{
    struct node *n = w->node;
    struct node_answer a = {.more = true, .body = buf_slice(&w->out)};

    if (w->forgotten) {
        node_read_end(w);
        return;
    }
    bool vacuum_waits = n->replace.active && !n->replace.load; /* it is done in place then */
    if (node_is_held(n) && !vacuum_waits) {
        node_wait_fail(w, ERR_CANCELED, replaced_text);
        return;
    }
    if (!w->parts_end_ns && n->parts_count == n->config.reader_count - n->config.reader_jobs) {
        node_wait_fail(w, ERR_FULL, "too many large results are being read, try again");
        return;
    }
    n->parts_count += !w->parts_end_ns;
    w->state = WAIT_PARKED;
    list_push_back(&n->parked, &w->link);
    if (!node_wait_part(w, &a))
        return;
    buf_reset(&w->out, 0);
    if (!w->part_out)
        node_read_pulled(w);
}

static void read_over(struct node_wait *w)
{
    struct node *n = w->node;

    reader_give_back(w);
    if (w->forgotten) {
        node_wait_free(w);
    } else if (w->replaced) {
        node_wait_fail(w, ERR_CANCELED, replaced_text);
    } else if (w->rc || !w->run_classify) {
        read_answer(w);
    } else if (w->read_only && w->level != WIRE_LEVEL_LINEARIZABLE) {
        read_answer(w);
    } else {
        w->class = w->read_only ? CLASS_READS : CLASS_WRITES;
        n->up.dispatch(w);
    }
}

static void read_done(struct env_job *job)
{
    struct node_wait *w = LIST_ENTRY(job, struct node_wait, job);
    struct node *n = w->node;

    n->reads_running--;
    w->in_lane = false;
    bool broken = w->rc == ERR_CORRUPT && n->up.broken(n, w->why.text);
    if (w->rc == ERR_IO || (w->rc == ERR_CORRUPT && !broken))
        env_halt(n->env, "the database cannot be read: the machine failed");
    if (w->rc == DB_MORE)
        read_paused(w);
    else
        read_over(w);
    node_read_kick(n);
    n->up.lane_idle(n);
}

void node_read_kick(struct node *n)
{
    while (!list_empty(&n->read_queue) && n->phase == NODE_OPEN && !node_is_held(n) &&
           n->reads_running < n->config.reader_jobs) {
        struct node_wait *w = LIST_ENTRY(list_pop_front(&n->read_queue), struct node_wait, link);
        bool begins = !w->reader;
        if (begins) {
            w->reader = reader_take(n);
            w->read_began_ns = env_now_ns(n->env);
            w->deadline_ns = w->db_timeout_ns ? env_now_ns(n->env) + w->db_timeout_ns : 0;
        }
        if (w->queued_ns) {
            n->counters.reader_waits++;
            n->counters.reader_wait_ns += env_now_ns(n->env) - w->queued_ns;
            w->queued_ns = 0;
        }
        node_wait_unlimit(w);
        n->reads_running++;
        w->in_lane = true;
        w->job.run = begins ? read_run : read_run_on;
        w->job.done = read_done;
        env_job_submit(n->env, ENV_LANE_READ, &w->job);
    }
}

uint32_t node_read_cancel_older(struct node *n, uint64_t than_ns, const char *why)
{
    uint32_t count = 0;

    for (uint32_t i = 0; i < n->waits.cap; i++) {
        struct node_wait *w = n->waits.slots[i];
        if (!w || w->state == WAIT_FREE || !w->reader || w->forgotten || w->replying ||
            w->read_began_ns >= than_ns)
            continue;
        node_wait_fail(w, ERR_CANCELED, why);
        count++;
    }
    return count;
}

static void read_enqueue(struct node_wait *w)
{
    list_remove(&w->link);
    list_push_back(&w->node->read_queue, &w->link);
    node_read_kick(w->node);
}

void node_read_pulled(struct node_wait *w)
{
    ASSERT(w->state == WAIT_PARKED && w->reader && !w->part_out);
    w->state = WAIT_READ;
    read_enqueue(w); /* behind the others: one part, one turn */
}

void node_read_start(struct node_wait *w, bool classify)
{
    w->state = classify ? WAIT_CLASSIFY : WAIT_READ;
    w->run_classify = classify;
    if (w->node->repair.held) {
        node_wait_fail(w, ERR_NOT_READY, "the database of this node is being repaired");
        return;
    }
    node_wait_limit(w, w->until_ns);
    read_enqueue(w);
    if (!w->in_lane) /* all connections are busy */
        w->queued_ns = env_now_ns(w->node->env);
}

void node_readers_close(struct node *n)
{
    for (uint32_t i = 0; i < n->config.reader_count; i++) {
        if (n->readers[i].reader)
            db_reader_close(n->readers[i].reader);
        n->readers[i].reader = NULL;
    }
}

/* A query that pauses: with its asker, or pulled and waiting for its turn. */
static struct node_wait *paused_find(struct node *n)
{
    if (!list_empty(&n->parked))
        return LIST_ENTRY(n->parked.next, struct node_wait, link);
    for (struct list *l = n->read_queue.next; l != &n->read_queue; l = l->next)
        if (LIST_ENTRY(l, struct node_wait, link)->reader)
            return LIST_ENTRY(l, struct node_wait, link);
    return NULL;
}

void node_read_replaced(struct node *n, bool running)
{
    for (struct node_wait *w; (w = paused_find(n));) { /* an answer may bring others to an end */
        list_remove(&w->link);
        node_wait_fail(w, ERR_CANCELED, replaced_text);
    }
    for (uint32_t i = 0; running && i < n->waits.cap; i++) {
        struct node_wait *w = n->waits.slots[i];
        if (!w || !w->in_lane || !w->reader || w->forgotten)
            continue;
        w->replaced = true;
        atomic_store_explicit(&w->canceled, true, memory_order_relaxed);
    }
}
