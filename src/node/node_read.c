/* node_read.c — reads that do not go through the log: on a pooled read connection, in a READ lane.
 *
 *   CONFIRM (linearizable only: raft answers when leadership is confirmed after the question
 * arrived and the database contains the read index, thesis §6.4) CLASSIFY (requests of unknown
 * kind) ─► all reads: READ, else to the log READ     one job, one connection; the connection is as
 * new afterwards (db's promise) */
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
    return NULL;
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
    };
    w->rc = db_query(w->reader->reader, &q, &w->why);
    codec->sink_finish(w->sink);
}

static void read_run(struct env_job *job)
{
    struct node_wait *w = LIST_ENTRY(job, struct node_wait, job);
    struct node_reader *r = w->reader;

    w->rc = 0;
    if (!r->reader)
        w->rc = db_reader_open(w->node->db, &r->reader, &w->why);
    if (w->rc == 0 && w->run_classify)
        w->rc =
            db_classify(r->reader, slice_of(w->payload->payload, w->payload->len), &w->read_only);
    if (w->rc)
        return;
    bool now = !w->run_classify || (w->read_only && w->level != WIRE_LEVEL_LINEARIZABLE);
    if (now)
        read_query(w);
}

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
    node_wait_answer(w, &a);
}

static void read_done(struct env_job *job)
{
    struct node_wait *w = LIST_ENTRY(job, struct node_wait, job);
    struct node *n = w->node;

    w->reader->busy = false;
    n->readers_busy--;
    w->in_lane = false;
    if (w->rc == ERR_IO || w->rc == ERR_CORRUPT)
        env_halt(n->env, "the database cannot be read: the machine failed");
    if (w->forgotten) {
        node_wait_free(w);
    } else if (w->rc || !w->run_classify) {
        read_answer(w);
    } else if (!w->read_only) {
        if (n->view.role == RAFT_LEADER)
            node_write_gather(w);
        else
            node_forward(w);
    } else if (w->level == WIRE_LEVEL_LINEARIZABLE) {
        node_read_confirm(w);
    } else {
        read_answer(w);
    }
    node_read_kick(n);
    n->up.lane_idle(n);
}

void node_read_kick(struct node *n)
{
    while (!list_empty(&n->read_queue) && n->phase == NODE_OPEN) {
        struct node_reader *r = reader_take(n);
        if (!r)
            return;
        struct node_wait *w = LIST_ENTRY(list_pop_front(&n->read_queue), struct node_wait, link);
        w->reader = r;
        w->in_lane = true;
        w->job.run = read_run;
        w->job.done = read_done;
        w->deadline_ns = w->db_timeout_ns ? env_now_ns(n->env) + w->db_timeout_ns : 0;
        env_job_submit(n->env, ENV_LANE_READ, &w->job);
    }
}

void node_read_start(struct node_wait *w, bool classify)
{
    struct node *n = w->node;

    w->state = classify ? WAIT_CLASSIFY : WAIT_READ;
    w->run_classify = classify;
    list_remove(&w->link);
    list_push_back(&n->read_queue, &w->link);
    node_read_kick(n);
}

void node_read_confirm(struct node_wait *w)
{
    struct node *n = w->node;
    struct raft_in in = {.kind = RAFT_IN_READ, .u.read_token = node_wait_ticket(w)};

    w->state = WAIT_CONFIRM;
    list_remove(&w->link);
    list_push_back(&n->confirming, &w->link);
    env_timer_arm(&w->timer, w->linearizable_timeout_ms * ENV_MS_NS);
    int rc = n->up.step(n, &in); /* may answer before it returns */
    if (rc == ERR_NOT_LEADER)
        node_forward(w);
    else if (rc)
        node_wait_fail(w, rc, NULL);
}

void node_read_answered(struct node *n, const struct raft_read *r)
{
    struct node_wait *w = node_wait_find(n, r->token);

    if (!w || w->state != WAIT_CONFIRM)
        return; /* its client gave up */
    env_timer_arm(&w->timer, w->timeout_ms * ENV_MS_NS);
    if (r->ok)
        node_read_start(w, false);
    else
        node_forward(w);
}
