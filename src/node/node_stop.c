/* node_stop.c — the way down.
 *
 *   hand leadership over (bounded) ─► bring the image up to date (bounded) ─► answer who waits ─► peers say BYE and close ─► lanes run dry
 * ─► database and log closed in their lanes ─► stopped() */
#include "node_int.h"

enum { STOP_CUT_MS = 20 * 1000 };

static bool lanes_idle(const struct node *n)
{
    if (n->open_busy || n->log.busy || n->apply.busy || n->apply.load.busy || n->adopt_id ||
        n->readers_busy || n->backup_count || n->upkeep.in_lane || n->image.running || n->upload ||
        n->reach_count)
        return false;
    for (uint32_t i = 0; i < n->link_count; i++)
        if (n->links[i].load.busy)
            return false;
    return true;
}

static void close_log_run(struct env_job *job)
{
    struct node *n = LIST_ENTRY(job, struct node, open_job);

    if (n->rlog)
        rlog_close(n->rlog);
    n->rlog = NULL;
    env_lock_release(n->lock);
    n->lock = NULL;
}

static void close_log_done(struct env_job *job)
{
    struct node *n = LIST_ENTRY(job, struct node, open_job);

    n->phase = NODE_STOPPED;
    n->stopped(n->stopped_ctx);
}

static void close_db_run(struct env_job *job)
{
    struct node *n = LIST_ENTRY(job, struct node, open_job);

    if (n->cut.cut)
        db_cut_end(n->cut.cut, false);
    n->cut.cut = NULL;
    node_image_db_close(n);
    node_fetch_close(n);
    node_lend_close(n);
    image_close(n->image.image);
    n->image.image = NULL;
}

static void close_db_done(struct env_job *job)
{
    struct node *n = LIST_ENTRY(job, struct node, open_job);

    n->open_job.run = close_log_run;
    n->open_job.done = close_log_done;
    env_job_submit(n->env, ENV_LANE_LOG, &n->open_job);
}

static void close_readers_run(struct env_job *job)
{
    struct node *n = LIST_ENTRY(job, struct node, open_job);

    node_readers_close(n);
}

static void close_readers_done(struct env_job *job)
{
    struct node *n = LIST_ENTRY(job, struct node, open_job);

    n->open_job.run = close_db_run;
    n->open_job.done = close_db_done;
    env_job_submit(n->env, ENV_LANE_APPLY, &n->open_job);
}

void node_stop_progress(struct node *n)
{
    if (n->phase != NODE_STOPPING || !n->stop_peers_done || n->stop_closing || !lanes_idle(n))
        return;
    n->stop_closing = true;
    env_timer_disarm(&n->log.retry);
    n->open_job.run = close_readers_run;
    n->open_job.done = close_readers_done;
    env_job_submit(n->env, ENV_LANE_READ, &n->open_job);
}

static void peers_stopped(void *ctx)
{
    struct node *n = ctx;
    n->stop_peers_done = true;
    node_stop_progress(n);
}

static void fail_all(struct list *queue)
{
    for (struct list *l; (l = list_pop_front(queue));)
        node_wait_fail(LIST_ENTRY(l, struct node_wait, link), ERR_CANCELED, "the node is stopping");
}

static void stop_now(struct node *n)
{
    n->phase = NODE_STOPPING;
    env_timer_disarm(&n->stop_timer);
    env_timer_disarm(&n->tick);
    env_timer_disarm(&n->change_timer);
    node_transfer_cancel(n);
    node_cut_when_stop(n);
    node_upkeep_stop(n);
    node_cut_cancel(n);
    node_fetch_stop(n);
    node_upload_stop(n);
    node_lend_stop(n);
    node_repair_stop(n);
    node_scrub_stop(n);
    node_digest_stop(n);
    node_install_stop(n);
    node_replace_stop(n);
    node_serve_cancel_all(n);
    env_timer_disarm(&n->retry_timer);
    env_turn_cancel(&n->turn);
    node_reach_cancel_all(n);
    node_members_lost(n);
    node_found_cancel(n);
    node_ask_cancel_all(n);
    fail_all(&n->submitted);
    fail_all(&n->gathered);
    fail_all(&n->proposed);
    fail_all(&n->confirming);
    fail_all(&n->read_queue);
    fail_all(&n->parked);
    fail_all(&n->forwarding);
    fail_all(&n->index.asking);
    fail_all(&n->index.asked);
    fail_all(&n->index.indexed);
    fail_all(&n->retrying);
    peer_set_stop(n->peers, peers_stopped, n);
}

static void stop_timer_fired(struct env_timer *t)
{
    stop_now(t->ctx);
}

/* The one before ended, whatever came of it. From the timer: we may be in the midst of a step. */
static void stop_next(struct node *n, void (*fired)(struct env_timer *t))
{
    env_timer_disarm(&n->stop_timer);
    env_timer_init(&n->stop_timer, n->env, fired, n);
    env_timer_arm(&n->stop_timer, 0);
}

static void stop_cut_ended(void *ctx, int rc, const char *why)
{
    struct node *n = ctx;
    (void)rc;
    (void)why;
    if (n->phase == NODE_OPEN) /* else we are called off by stop_now() */
        stop_next(n, stop_timer_fired);
}

/* The next start then has nothing to replay. A disk that is full or slow does not keep us. */
static void stop_cut(struct env_timer *t)
{
    struct node *n = t->ctx;

    env_timer_init(&n->stop_timer, n->env, stop_timer_fired, n);
    if (n->phase == NODE_OPEN && node_cut_last(n, stop_cut_ended, n))
        env_timer_arm(&n->stop_timer, STOP_CUT_MS * ENV_MS_NS);
    else
        env_timer_arm(&n->stop_timer, 0);
}

static void stop_transferred(void *ctx, int rc, const char *why)
{
    (void)rc;
    (void)why;
    stop_next(ctx, stop_cut);
}

void node_stop(struct node *n, void (*stopped)(void *ctx), void *ctx)
{
    ASSERT(n->phase == NODE_OPENING || n->phase == NODE_OPEN);
    n->stopped = stopped;
    n->stopped_ctx = ctx;
    env_timer_init(&n->stop_timer, n->env, stop_cut, n);
    bool leads =
        !n->config.no_handover && n->raft && n->view.role == RAFT_LEADER && n->view.conf->count > 1;
    if (leads && n->phase == NODE_OPEN &&
        node_transfer(n, slice_of(NULL, 0), stop_transferred, n) == 0)
        return;
    if (n->phase == NODE_OPENING)
        n->phase = NODE_STOPPING; /* open_ended() goes on when the opening jobs are through */
    env_timer_arm(&n->stop_timer, 0);
}
