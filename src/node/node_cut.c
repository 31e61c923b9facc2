/* node_cut.c — bringing the image up to date, so that the log can be let go.
 *
 *   enough entries since the last ─► begin (APPLY: hold the moment) ─► write (READ, in pieces: what changed into the
 *   image's journal, sealed) ─► end (APPLY: let the moment go) ─► bring (READ, in pieces: into the files)
 *   ─► finish (READ: the record) ─► compact
 *
 * Where the database lives in the image's file, a reader that still needs the file as it was makes the cut wait, and
 * SQLite must learn that the pages are there before the moment is let go:
 *
 *   write ─► clear (READ) ─► bring ─► copy (READ) ─► end ─► finish
 *
 * Pieces are synced one by one, and there is a rest after each (node_pace.c), or writes would wait for the disk. There
 * is none when SQLite's log becomes long meanwhile, or the node is about to stop.
 *
 * Emptying: the WAL of a live database is begun anew only where all of it is in the main file, which under steady
 * writes it never is. When it has become long, a second cut follows at once, and if little was written meanwhile,
 * nothing is applied from its begin to its end.
 *
 * Writes go on all the while. The log is let go of only when the image is durable, and only up to `trailing`
 * entries, or LIMIT_LOG_TRAILING_BYTES, before it, so that a follower a little behind needs no image. A cut that fails for lack of space is
 * given up: nothing changed, and it is tried again when as many entries have come once more. */
#include "node_int.h"

enum {
    AGAIN_MS = 20,
    EMPTY_BYTES_MAX = 1024 * 1024,
    PRESSED_BYTES = 64 * 1024 * 1024, /* in the WAL since the cut began */
    CHASE_BYTES = 16 * 1024 * 1024,   /* of a cut that follows at once */
    CHASES_RESTED = 2,
};

static struct node_cut *cut_of(struct node_image_task *t)
{
    return LIST_ENTRY(t, struct node_cut, task);
}

static void begin(struct node_cut *c);

static void asked_answer(struct node_cut *c, int rc, const char *why)
{
    void (*asked)(void *ctx, int rc, const char *why) = c->asked;

    c->asked = NULL;
    if (asked)
        asked(c->asked_ctx, rc, why);
}

static void cut_failed(struct node_cut *c)
{
    struct node *n = c->task.node;

    env_log(n->env, "snapshot", "%s", c->task.why.text);
    n->counters.snapshots_failed++;
    n->counters.snapshots_asked_failed += c->asked_begun;
}

/* Applying goes on. */
static void empty_over(struct node_cut *c)
{
    if (!c->emptying)
        return;
    c->emptying = false;
    node_apply_kick(c->task.node);
}

static bool wal_is_long(const struct node *n)
{
    return n->live && n->apply.state.wal_used_bytes > n->config.db.wal_limit_bytes;
}

static void cut_over(struct node_cut *c)
{
    struct node *n = c->task.node;

    c->active = c->full = false;
    empty_over(c);
    if (c->asked && c->asked_begun)
        asked_answer(c,
                     c->applied ? 0
                     : c->idle  ? ERR_EXISTS
                                : ERR_IO,
                     c->applied || c->idle ? "" : "the snapshot failed, see the log");
    bool chase = c->applied && !c->emptied && wal_is_long(n);
    c->chases = chase ? c->chases + 1 : 0;
    if (!c->active && (c->asked || chase) && n->phase == NODE_OPEN && !node_is_held(n))
        begin(c);
    n->up.lane_idle(n); /* it may be time for the next one */
}

/* It must come to its end soon. One that follows another at once chases what was written meanwhile: it must be faster
 * than the writers, or the WAL is never empty. */
static bool is_pressed(const struct node_cut *c)
{
    const struct node *n = c->task.node;

    if (c->emptying || c->last || n->replace.active || n->install.active ||
        n->apply.state.uncut_bytes > PRESSED_BYTES)
        return true;
    if (n->apply.state.uncut_load_bytes >= LIMIT_LOAD_UNCUT_BYTES)
        return true; /* pieces come as fast as the log takes them, and stay there until they are cut */
    return c->chases > CHASES_RESTED || (c->chases > 0 && c->fresh_bytes <= CHASE_BYTES);
}

/* A piece was handed to the system: to the disk with it, unless everybody waits for this cut. */
static int piece_flush(struct node_cut *c, uint64_t began_ns)
{
    struct node *n = c->task.node;
    int rc = c->emptying ? 0 : image_cut_flush(n->image.image);

    node_pace_took(&c->pace, env_now_ns(n->env) - began_ns);
    return rc;
}

static int not_brought(struct node_image_task *t, int rc)
{
    return rc ? err_set(&t->why, rc, "the image cannot be brought up to date: %s", err_text_of(rc))
              : 0;
}

/* ---- finish, compact ------------------------------------------------------------------------------------------- */

/* The first index that need not be kept for followers a little behind, counted in entries and in bytes. What is no
 * longer in memory counts as the log's average. */
static uint64_t trailing_end(const struct node *n, uint64_t image_index)
{
    const struct rlog_stat *s = &n->log.stat;
    uint64_t keep = n->config.snapshot_trailing, bytes = 0;
    uint64_t index = image_index > keep ? image_index - keep : 0;
    uint64_t average = s->disk_bytes / (s->last_index - s->first_index + 2);

    for (uint64_t i = image_index; i > index; i--) {
        const struct node_entry *e = node_cache_get(&n->cache, i);
        bytes += e ? e->len : average;
        if (bytes > LIMIT_LOG_TRAILING_BYTES)
            return i;
    }
    return index;
}

/* The image holds everything up to index. */
static void cut_compact(struct node *n, uint64_t image_index)
{
    const struct node_cut *c = &n->cut;
    uint64_t asked = image_index > c->asked_trailing ? image_index - c->asked_trailing : 0;
    uint64_t index = c->asked && c->asked_begun ? asked : trailing_end(n, image_index);

    if (index <= n->view.snapshot_index)
        return;
    uint64_t term = raft_term_at(n->raft, index);
    ASSERT(term != 0);
    struct raft_in in = {.kind = RAFT_IN_SNAPSHOT,
                         .u.snapshot = {.index = index, .term = term, .installed = false}};
    int rc = n->up.step(n, &in);
    ASSERT(rc == 0);
    node_log_compact(n, index, term);
}

/* Sealed, but it does not go on now, for lack of space or memory: true, and it is seen to. */
static bool is_stuck(struct node_image_task *t)
{
    struct node_cut *c = cut_of(t);
    struct node *n = t->node;

    if (n->phase != NODE_OPEN) {
        cut_over(c); /* the next start completes it */
        return true;
    }
    if (t->rc == ERR_CORRUPT)
        env_halt(n->env, "the journal of the image is damaged");
    if (t->rc)
        env_timer_arm(&c->retry, ENV_S_NS);
    return t->rc != 0;
}

static void finish_run(struct node_image_task *t)
{
    t->rc = not_brought(t, image_cut_apply(t->node->image.image, UINT64_MAX, &cut_of(t)->applied));
}

static void finished(struct node_image_task *t)
{
    struct node_cut *c = cut_of(t);
    struct node *n = t->node;

    if (is_stuck(t))
        return;
    ASSERT(c->applied);
    n->image.index = c->index;
    n->image.term = c->term;
    n->cut_when.wanted = false;
    n->counters.snapshots++;
    n->counters.snapshots_asked += c->asked_begun;
    cut_compact(n, c->index);
    if (c->full)
        n->up.repaired(n);
    cut_over(c);
}

/* ---- end ------------------------------------------------------------------------------------------------- */

static void bring(struct node_cut *c);

static void end_run(struct node_image_task *t)
{
    struct node_cut *c = cut_of(t);

    db_cut_end(c->cut, c->sealed);
    c->cut = NULL;
    if (c->emptying && (c->sealed || c->idle))
        t->rc = db_wal_restart(t->node->db);
    db_state(t->node->db, &c->left);
}

static void end_done(struct node_image_task *t)
{
    struct node_cut *c = cut_of(t);
    struct db_state *s = &t->node->apply.state;

    /* It may be long until the next entry is applied. */
    s->uncut_load_bytes = c->left.uncut_load_bytes; /* a load waits for it */
    s->wal_used_bytes = c->left.wal_used_bytes;
    s->wal_is_loose = c->left.wal_is_loose;
    empty_over(c);
    if (!c->sealed || t->node->phase != NODE_OPEN)
        cut_over(c);
    else if (c->brought)
        node_pace_submit(&c->pace, is_pressed(c), finish_run, finished);
    else
        bring(c);
}

/* ---- bring ----------------------------------------------------------------------------------------------- */

static void copy_run(struct node_image_task *t)
{
    t->rc = not_brought(t, db_cut_copy(cut_of(t)->cut));
}

static void clear_run(struct node_image_task *t)
{
    t->rc = not_brought(t, db_cut_clear(cut_of(t)->cut));
}

/* Somebody reads an older state. Ours are given a while, and told; another process we only wait for. */
static void held_back(struct node_cut *c)
{
    struct node *n = c->task.node;
    uint64_t now_ns = env_now_ns(n->env);

    if (c->held_back_ns == 0)
        c->held_back_ns = now_ns;
    if (now_ns - c->held_back_ns >= LIMIT_READ_HOLDS_CUT_MS * ENV_MS_NS) {
        uint32_t ended = node_read_cancel_older(
            n, c->begun_ns, "the query was ended: it held back a snapshot for too long");
        if (ended)
            env_log(n->env, "snapshot", "ended %u queries that held it back for %u s", ended,
                    LIMIT_READ_HOLDS_CUT_MS / 1000);
        else if (!c->held_back_told)
            env_log(n->env, "snapshot",
                    "waits: a backup, or another process, reads an old state of %s", n->db_path);
        c->held_back_told = true;
    }
    env_timer_arm(&c->again, AGAIN_MS * ENV_MS_NS);
}

/* It needs another try, or the node stops: true, and it is seen to. */
static bool is_hindered(struct node_image_task *t)
{
    struct node_cut *c = cut_of(t);
    struct node *n = t->node;

    if (t->rc)
        empty_over(c);
    if (n->phase != NODE_OPEN) {
        cut_over(c); /* the next start completes it */
    } else if (t->rc == ERR_BUSY) {
        held_back(c);
    } else if (t->rc) { /* no space, no memory: there may be, later */
        env_log(n->env, "snapshot", "%s", t->why.text);
        env_timer_arm(&c->again, ENV_S_NS);
    }
    return t->rc || n->phase != NODE_OPEN;
}

static void copied(struct node_image_task *t)
{
    if (is_hindered(t))
        return;
    node_image_submit(t->node, t, ENV_LANE_APPLY, end_run, end_done);
}

static void bring_run(struct node_image_task *t)
{
    struct node_cut *c = cut_of(t);
    uint64_t began_ns = env_now_ns(t->node->env);
    uint64_t bytes = c->emptying ? UINT64_MAX : node_pace_bytes(&c->pace);
    int rc = image_cut_write(t->node->image.image, bytes, &c->brought);

    t->rc = not_brought(t, rc ? rc : piece_flush(c, began_ns));
}

static void brought(struct node_image_task *t)
{
    struct node_cut *c = cut_of(t);

    if (t->rc)
        empty_over(c);
    if (is_stuck(t))
        return;
    if (!c->brought)
        bring(c);
    else if (c->cut)
        node_image_submit(t->node, t, ENV_LANE_READ, copy_run, copied);
    else
        node_pace_submit(&c->pace, is_pressed(c), finish_run, finished);
}

static void bring(struct node_cut *c)
{
    node_pace_submit(&c->pace, is_pressed(c), bring_run, brought);
}

static void cleared(struct node_image_task *t)
{
    if (is_hindered(t))
        return;
    cut_of(t)->cleared = true;
    bring(cut_of(t));
}

static void apply_again(struct env_timer *timer)
{
    struct node_cut *c = timer->ctx;

    if (c->task.node->phase != NODE_OPEN)
        return;
    if (!c->brought)
        bring(c);
    else if (c->cut)
        node_image_submit(c->task.node, &c->task, ENV_LANE_READ, copy_run, copied);
    else
        node_image_submit(c->task.node, &c->task, ENV_LANE_READ, finish_run, finished);
}

/* ---- write ----------------------------------------------------------------------------------------------- */

static int write_page(void *ctx, unsigned set, uint32_t number, const void *bytes)
{
    struct node_cut *c = ctx;
    int rc = image_cut_page(c->task.node->image.image, (enum image_set)set, number, bytes);

    c->piece_bytes += db_cut_moment(c->cut)->page_bytes[set];
    return rc == 0 && c->piece_bytes >= node_pace_bytes(&c->pace) ? DB_MORE : rc;
}

static int write_some(struct node_cut *c, const uint32_t known[DB_SET_COUNT])
{
    struct node *n = c->task.node;
    uint64_t began_ns = env_now_ns(n->env);

    c->piece_bytes = 0;
    int rc = db_cut_pages(c->cut, known, write_page, c);
    if (rc == DB_MORE) {
        rc = piece_flush(c, began_ns);
        return rc ? rc : DB_MORE;
    }
    if (rc == 0)
        rc = image_cut_seal(n->image.image);
    node_pace_took(&c->pace, env_now_ns(n->env) - began_ns);
    return rc;
}

static void write_run(struct node_image_task *t)
{
    struct node_cut *c = cut_of(t);
    struct image *im = t->node->image.image;
    const struct db_moment *m = db_cut_moment(c->cut);
    const struct image_moment *now = image_now(im);
    uint32_t known[DB_SET_COUNT] = {0};
    struct image_moment next = {
        .index = m->index, .term = m->term, .state = buf_slice(&t->node->image.state)};

    for (unsigned i = 0; i < DB_SET_COUNT; i++) {
        known[i] = c->full ? 0 : now->set[i].page_count;
        next.set[i].page_bytes = m->page_bytes[i];
        next.set[i].page_count = m->page_count[i];
    }
    t->rc = c->writing ? 0 : image_cut_begin(im, &next);
    c->writing = t->rc == 0;
    if (c->writing) {
        t->rc = write_some(c, known);
        if (t->rc && t->rc != ERR_IO && t->rc != DB_MORE)
            image_cut_drop(im);
    }
    c->sealed = t->rc == 0;
    if (t->rc && t->rc != DB_MORE)
        (void)err_set(&t->why, t->rc, "a snapshot at index %llu failed: %s",
                      (unsigned long long)m->index, err_text_of(t->rc));
}

static void written(struct node_image_task *t)
{
    struct node_cut *c = cut_of(t);
    struct node *n = t->node;

    if (t->rc == DB_MORE && n->phase == NODE_OPEN) {
        node_pace_submit(&c->pace, is_pressed(c), write_run, written);
        return;
    }
    if (t->rc && t->rc != DB_MORE)
        cut_failed(c);
    if (n->live && c->sealed && n->phase == NODE_OPEN)
        node_image_submit(n, t, ENV_LANE_READ, clear_run, cleared);
    else
        node_image_submit(n, t, ENV_LANE_APPLY, end_run, end_done);
}

/* ---- begin -------------------------------------------------------------------------------------------------- */

static void begin_run(struct node_image_task *t)
{
    struct node_cut *c = cut_of(t);

    t->rc = db_cut_begin(t->node->db, &c->cut, &t->why);
}

/* The newest configuration at or before index: it is committed, as everything applied is. There is none where the log
 * begins with a former cluster's, which do not count (node_recover.c), and this one's first is still to come: then
 * nobody is a member, as with a node that knows of no configuration yet. */
static bool state_make(struct node *n, uint64_t index, struct slice db_state)
{
    const struct node_confs *confs = &n->confs;
    const struct wire_conf nobody = {.cluster_id = n->cluster_id};
    uint32_t i = confs->count;

    while (i > 0 && confs->at[i - 1].index > index)
        i--;
    return node_image_state_put(&n->image.state, i ? confs->at[i - 1].index : 0,
                                i ? &confs->at[i - 1].conf : &nobody, db_state) == 0;
}

static void begun(struct node_image_task *t)
{
    struct node_cut *c = cut_of(t);
    struct node *n = t->node;

    c->sealed = c->applied = c->idle = c->writing = c->cleared = c->brought = false;
    c->begun_ns = env_now_ns(n->env);
    c->held_back_ns = 0;
    c->held_back_told = false;
    if (t->rc)
        empty_over(c);
    if (t->rc == ERR_BUSY && n->phase == NODE_OPEN) { /* readers have all of SQLite's places */
        env_timer_arm(&c->again, AGAIN_MS * ENV_MS_NS);
        return;
    }
    if (t->rc) {
        cut_failed(c);
        cut_over(c);
        return;
    }
    const struct db_moment *m = db_cut_moment(c->cut);
    c->index = m->index;
    c->term = m->term;
    c->idle = c->index == n->image.index && !c->full && !n->cut_when.wanted;
    c->fresh_bytes = db_cut_fresh_bytes(c->cut);
    if (c->fresh_bytes > EMPTY_BYTES_MAX) {
        empty_over(c); /* it would take too long; the next one has less to do */
        c->emptied = false;
    }
    bool useful = n->phase == NODE_OPEN && !c->idle && m->index >= n->image.index &&
                  state_make(n, m->index, m->state);
    if (useful)
        node_image_submit(n, t, ENV_LANE_READ, write_run, written);
    else
        node_image_submit(n, t, ENV_LANE_APPLY, end_run, end_done);
}

static void begin(struct node_cut *c)
{
    c->active = true;
    c->asked_begun = c->asked != NULL;
    c->emptying = c->emptied = wal_is_long(c->task.node);
    node_image_submit(c->task.node, &c->task, ENV_LANE_APPLY, begin_run, begun);
}

static void again(struct env_timer *timer)
{
    struct node_cut *c = timer->ctx;
    struct node *n = c->task.node;

    if (n->phase != NODE_OPEN)
        return;
    if (!c->sealed)
        node_image_submit(n, &c->task, ENV_LANE_APPLY, begin_run, begun);
    else if (!c->cleared)
        node_image_submit(n, &c->task, ENV_LANE_READ, clear_run, cleared);
    else
        node_image_submit(n, &c->task, ENV_LANE_READ, copy_run, copied);
}

int node_snapshot(struct node *n, uint64_t trailing,
                  void (*done)(void *ctx, int rc, const char *why), void *ctx)
{
    struct node_cut *c = &n->cut;

    if (n->phase != NODE_OPEN || n->install.active || n->repair.held)
        return ERR_NOT_READY;
    if (c->asked)
        return ERR_BUSY;
    if (n->apply.applied == n->image.index && !c->active && !n->replace.active)
        return ERR_EXISTS;
    c->asked = done;
    c->asked_ctx = ctx;
    c->asked_begun = false;
    c->asked_trailing = trailing;
    node_cut_resume(n);
    return 0;
}

/* What was asked for begins, unless a cut is under way or the main file is just being replaced: then after that. */
void node_cut_resume(struct node *n)
{
    if (n->cut.asked && !n->cut.active && n->phase == NODE_OPEN && !node_is_held(n))
        begin(&n->cut);
}

void node_cut_cancel(struct node *n)
{
    env_timer_disarm(&n->cut.retry);
    env_timer_disarm(&n->cut.again);
    node_pace_stop(&n->cut.pace);
    node_pace_stop(&n->shrink.pace);
    asked_answer(&n->cut, ERR_CANCELED, "the node is stopping");
}

void node_cut_begin(struct node *n)
{
    ASSERT(!n->cut.active);
    begin(&n->cut);
}

/* Also of the same index, after a recovery: another node may need the image before anything can be committed. */
void node_cut_want(struct node *n)
{
    if (!n->cut.active && !node_is_held(n) && n->phase == NODE_OPEN &&
        (n->apply.applied > n->image.index || n->cut_when.wanted))
        begin(&n->cut);
}

void node_cut_heal(struct node *n)
{
    if (n->cut.active || node_is_held(n) || n->phase != NODE_OPEN)
        return;
    n->cut.full = true;
    begin(&n->cut);
}

/* ---- the WAL's file ---------------------------------------------------------------------------------------- */

static void shrink_run(struct node_image_task *t)
{
    struct node_shrink *s = LIST_ENTRY(t, struct node_shrink, task);
    uint64_t began_ns = env_now_ns(t->node->env);
    int rc = t->node->db ? db_wal_shrink(t->node->db) : 0;

    s->more = rc == DB_MORE;
    node_pace_took(&s->pace, env_now_ns(t->node->env) - began_ns);
    if (rc && !s->more)
        t->rc = err_set(&t->why, rc, "SQLite's log cannot be cut off: %s", err_text_of(rc));
}

static void shrunk(struct node_image_task *t)
{
    struct node_shrink *s = LIST_ENTRY(t, struct node_shrink, task);
    struct node *n = t->node;

    n->apply.state.wal_is_loose = false; /* until entries were applied again */
    if (s->more && n->phase == NODE_OPEN)
        node_pace_submit(&s->pace, false, shrink_run, shrunk);
    else
        s->active = false;
}

/* Much was written at once, and emptying has begun the WAL anew: the rest of its file goes, in pieces. */
void node_shrink_look(struct node *n)
{
    struct node_shrink *s = &n->shrink;

    if (s->active || !n->apply.state.wal_is_loose || n->phase != NODE_OPEN || node_is_held(n))
        return;
    s->active = true;
    node_pace_submit(&s->pace, false, shrink_run, shrunk);
}

void node_cut_init(struct node *n)
{
    node_pace_init(&n->shrink.pace, n, &n->shrink.task);
    node_pace_init(&n->cut.pace, n, &n->cut.task);
    env_timer_init(&n->cut.retry, n->env, apply_again, &n->cut);
    env_timer_init(&n->cut.again, n->env, again, &n->cut);
}
