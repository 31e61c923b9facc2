/* node_install.c — a received image takes the place of image, database and log.
 *
 *   hold applying, reads and cuts ─► READ: close readers ─► APPLY: image switches, database opened from it
 *   ─► LOG: forget the log, unless it agrees with the image at its last index ─► raft is told
 *
 * A crash anywhere in between is found by the next start (node_open.c): image newer than the log. While the
 * log is being forgotten, entries that come are dropped: raft's leader sends them again. */
#include "node_int.h"

enum { READS_PATIENCE_MS = 2000 };

static void install_over(struct node *n)
{
    env_timer_disarm(&n->install.patience);
    n->install.active = n->install.frozen = false;
    node_apply_kick(n);
    node_read_kick(n);
    n->up.lane_idle(n);
}

/* ---- raft and the log's copies in memory --------------------------------------------------------------- */

static void tell_raft(struct node *n)
{
    struct node_install *x = &n->install;
    struct raft_conf conf;
    struct raft_in in = {.kind = RAFT_IN_SNAPSHOT,
                         .u.snapshot = {.index = x->index, .term = x->term, .installed = true}};

    uint64_t before = n->apply.applied;
    wire_conf_to_raft(&x->conf, &conf);
    in.u.snapshot.conf = &conf;
    n->apply.applied = x->index;
    n->apply.target = n->apply.target > x->index ? n->apply.target : x->index;
    n->apply.state = x->state;
    n->db_facts = x->facts;
    n->image.index = x->index;
    n->image.term = x->term;
    n->cut_when.wanted = false;
    n->counters.installs++;
    int rc = n->up.step(n, &in);
    if (rc)
        env_halt(n->env, "the image that was received contradicts the log");
    if (n->on_applied && x->index > before)
        n->on_applied(n->on_applied_ctx, x->index, x->state.digest);
    node_index_applied(n);
    env_log(n->env, "snapshot", "installed the image of index %llu", (unsigned long long)x->index);
    n->up.repaired(n);
    install_over(n);
}

void node_install_logged(struct node *n)
{
    struct node_install *x = &n->install;

    ASSERT(x->active && x->frozen);
    node_cache_truncate(&n->cache, n->cache.first);
    n->cache.first = x->index + 1;
    n->confs.count = 0;
    node_confs_push(&n->confs, x->conf_index, &x->conf);
    tell_raft(n);
}

/* Paper, fig. 13: what follows an entry that the log has in common with the image stays. */
static bool log_agrees(const struct node *n)
{
    const struct node_install *x = &n->install;

    return x->index >= n->view.snapshot_index && x->index <= n->view.last_index &&
           raft_term_at(n->raft, x->index) == x->term;
}

static void drop_run(struct node_image_task *t)
{
    image_receive_end(t->node->install.receive);
    t->node->install.receive = NULL;
}

static void dropped(struct node_image_task *t)
{
    install_over(t->node);
}

static void install_drop(struct node *n)
{
    node_image_submit(n, &n->install.task, ENV_LANE_READ, drop_run, dropped);
}

static void switched(struct node_image_task *t)
{
    struct node *n = t->node;

    if (t->rc) {
        env_log(n->env, "snapshot", "%s", t->why.text);
        env_halt(n->env, "the database cannot be opened from the image that was received");
    }
    if (n->phase != NODE_OPEN)
        return;
    if (log_agrees(n)) {
        tell_raft(n);
        return;
    }
    n->install.frozen = true;
    node_log_reset(n, n->install.index, n->install.term);
}

/* ---- in the lanes ---------------------------------------------------------------------------------------- */

static void switch_run(struct node_image_task *t)
{
    struct node *n = t->node;

    t->rc = image_receive_install(n->install.receive);
    n->install.receive = NULL;
    if (t->rc) {
        (void)err_set(&t->why, t->rc, "the image cannot be installed: %s", err_text_of(t->rc));
        return;
    }
    node_image_db_close(n);
    if (n->live)
        t->rc = image_place_settle(n->image.image, &t->why);
    if (t->rc == 0)
        t->rc = node_image_db_open(n, &t->why);
    if (t->rc == 0) {
        db_state(n->db, &n->install.state);
        db_facts(n->db, &n->install.facts);
    }
}

static void readers_closed(struct node_image_task *t)
{
    node_image_submit(t->node, t, ENV_LANE_APPLY, switch_run, switched);
}

static void readers_close(struct node_image_task *t)
{
    node_readers_close(t->node);
}

/* ---- beginning ---------------------------------------------------------------------------------------------- */

/* Everybody who works with the old database has stopped? A cut that waits for space will not stop: then there
 * is none for another image either. */
void node_install_progress(struct node *n)
{
    struct node_install *x = &n->install;
    bool cut_waits = env_timer_armed(&n->cut.retry);
    bool late = n->repair.held ? x->index < n->apply.applied : x->index <= n->apply.applied;
    /* Its lender follows a leader of whom we have not heard. It comes again when we have; a log must not begin in a
     * term above the one that is on disk. */
    bool early = x->term > n->view.hard.term;

    if (!x->active || x->begun || n->phase != NODE_OPEN || n->replace.active || n->apply.busy ||
        n->apply.load.busy || n->readers_busy || n->backup_count || (n->cut.active && !cut_waits))
        return;
    x->begun = true;
    if (early && !late)
        env_log(n->env, "snapshot", "the image of index %llu is of a later term than is known here",
                (unsigned long long)x->index);
    if (late || early || n->view.role == RAFT_LEADER || cut_waits)
        install_drop(n);
    else
        node_image_submit(n, &x->task, ENV_LANE_READ, readers_close, readers_closed);
}

void node_install_start(struct node *n, struct image_receive *receive)
{
    struct node_install *x = &n->install;
    const struct image_moment *m = image_receive_moment(receive);
    struct slice db_state;

    ASSERT(!x->active && !x->task.queued);
    x->active = true;
    x->begun = false;
    x->receive = receive;
    x->index = m->index;
    x->term = m->term;
    /* What is malformed is dropped as one that came too late. */
    if (node_image_state_get(m->state, &x->conf_index, &x->conf, &db_state) ||
        x->conf.cluster_id != n->cluster_id) {
        env_log(n->env, "snapshot", "the state beside a received image is malformed");
        x->index = 0;
    }
    node_read_replaced(n, false);
    env_timer_arm(&x->patience, READS_PATIENCE_MS * ENV_MS_NS);
    node_install_progress(n);
}

static void patience_ended(struct env_timer *timer)
{
    node_read_replaced(timer->ctx, true);
}

void node_install_init(struct node *n)
{
    env_timer_init(&n->install.patience, n->env, patience_ended, n);
}

void node_install_stop(struct node *n)
{
    env_timer_disarm(&n->install.patience);
}
