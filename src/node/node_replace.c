/* node_replace.c — an entry that puts another main file in the old one's place: the end of a load, or VACUUM on disk
 * (rq/db.h, DB_PREPARE). Applying stops before it until nobody works with the database and the image is of the index
 * before; then it is applied among the image's tasks, and the database is opened anew inside that.
 *
 *   begin ─► reads and backups end ─► cut, unless there is nothing new ─► READ: close readers ─► APPLY ─► over
 *
 * Where a backup or a long read would have to end for a VACUUM, it is done in place: the outcome is the same, only
 * more is written. A load waits for them as an install does (node_install.c), and ends those that take too long.
 *
 * If the image is to be replaced as a whole meanwhile, or the database is damaged, the entries are given back: they
 * are in what comes, or are applied after it. */
#include "node_int.h"

enum { PATIENCE_MS = 2000, AGAIN_MS = 1000 };

static bool in_use(const struct node *n)
{
    return n->readers_busy > 0 || n->backup_count > 0;
}

static bool given_back(struct node *n, const char *why)
{
    struct node_replace *r = &n->replace;
    bool other = n->phase != NODE_OPEN || n->repair.held || n->install.active;

    if (other) {
        env_timer_disarm(&r->timer);
        r->active = r->begun = false;
        node_apply_give_up(n, n->phase == NODE_OPEN ? ERR_LEADERSHIP_LOST : ERR_CANCELED, why);
        n->up.lane_idle(n);
    }
    return other;
}

/* Applied, one way or the other; or what is left needs the same again. */
static void replaced(struct node_image_task *t)
{
    struct node *n = t->node;
    struct node_replace *r = &n->replace;

    if (r->done) {
        n->image.index = r->index;
        n->image.term = r->term;
        n->db_facts = r->facts;
    }
    r->active = r->begun = false;
    node_apply_ended(n);
    node_apply_kick(n);
    node_read_kick(n);
}

static void replace_run(struct node_image_task *t)
{
    struct node *n = t->node;

    n->apply.entries[0].prepared = DB_PREPARED;
    n->replace.done = false; /* node_image.c sets it, where the image was replaced */
    node_apply_lane(n);
    if (n->replace.done && (n->apply.rc == 0 || n->apply.rc == DB_PREPARE))
        db_facts(n->db, &n->replace.facts);
}

static void readers_closed(struct node_image_task *t)
{
    struct node *n = t->node;

    if (!given_back(n, "the write is committed; it was not applied here yet"))
        node_image_submit(n, t, ENV_LANE_APPLY, replace_run, replaced);
}

static void readers_close(struct node_image_task *t)
{
    node_readers_close(t->node);
}

static void in_place(struct node *n)
{
    env_timer_disarm(&n->replace.timer);
    n->replace.active = false;
    n->apply.entries[0].prepared = DB_IN_PLACE;
    node_apply_again(n);
}

/* The image must be of the index before, or the entries between would be lost. */
static bool image_is_there(struct node *n)
{
    if (n->image.index == n->apply.applied)
        return true;
    if (!env_timer_armed(&n->replace.timer)) {
        env_timer_arm(&n->replace.timer, AGAIN_MS * ENV_MS_NS); /* should it fail */
        node_cut_begin(n);
    }
    return false;
}

void node_replace_progress(struct node *n)
{
    struct node_replace *r = &n->replace;

    if (!r->active || r->begun || n->apply.busy ||
        given_back(n, "the write is committed; the database of this node is being replaced"))
        return;
    if (!r->load && n->parts_count > 0) {
        in_place(n);
        return;
    }
    if (in_use(n) || n->cut.active)
        return;
    if (!r->quiet) {
        r->quiet = true;
        env_timer_disarm(&r->timer);
    }
    if (!image_is_there(n))
        return;
    env_timer_disarm(&r->timer);
    r->begun = true;
    r->index = n->apply.entries[0].index;
    r->term = n->apply.entries[0].term;
    node_image_submit(n, &r->task, ENV_LANE_READ, readers_close, readers_closed);
}

static void timer_fired(struct env_timer *timer)
{
    struct node *n = timer->ctx;

    if (!n->replace.quiet && in_use(n) && !n->replace.load) {
        in_place(n);
        return;
    }
    if (!n->replace.quiet)
        node_read_replaced(n, true);
    node_replace_progress(n);
}

void node_replace_begin(struct node *n)
{
    struct node_replace *r = &n->replace;
    struct wire_cmd cmd = {.kind = WIRE_CMD_EXECUTE};

    ASSERT(!r->active && !n->apply.busy && n->apply.count > 0);
    int rc = wire_cmd_open(n->apply.entries[0].payload, true, &cmd);
    ASSERT(rc == 0); /* it was opened to be applied */
    r->load = cmd.kind == WIRE_CMD_LOAD_INSTALL;
    r->active = true;
    r->begun = r->quiet = false;
    if (!r->load && (n->backup_count > 0 || n->parts_count > 0)) {
        in_place(n);
        return;
    }
    if (r->load)
        node_read_replaced(n, false);
    env_timer_arm(&r->timer, PATIENCE_MS * ENV_MS_NS);
    node_replace_progress(n);
}

void node_replace_stop(struct node *n)
{
    struct node_replace *r = &n->replace;
    bool waits = r->task.queued && n->image.running != &r->task; /* nobody will start it now */

    env_timer_disarm(&r->timer);
    if (waits) {
        list_remove(&r->task.link);
        r->task.queued = false;
    }
    if (r->active && (!r->begun || waits))
        (void)given_back(n, "the node is stopping");
}

void node_replace_init(struct node *n)
{
    n->replace.task.node = n;
    env_timer_init(&n->replace.timer, n->env, timer_fired, n);
}

void node_replace_sweep(struct node *n)
{
    char path[DB_PATH_MAX + 32];

    node_replace_path(n, path, sizeof(path));
    (void)!env_file_remove(n->env, path); /* what stays is removed before the next VACUUM */
}
