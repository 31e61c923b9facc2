/* node_cut_when.c — is it time to bring the image up to date? Looked at once in a while after something was
 * applied, so that an idle node does nothing: by entries since the last cut, by bytes that wait for one, after
 * a recovery, and on the way down. */
#include "node_int.h"

/* Of a cut that was given up only what came after it counts, or a full disk would be tried at every look. */
static bool due_by_entries(const struct node *n)
{
    uint64_t since = n->cut.index > n->image.index ? n->cut.index : n->image.index;

    return n->apply.applied > since && n->apply.applied - since >= n->config.snapshot_entries;
}

static bool due_by_bytes(const struct node *n)
{
    bool given_up = n->cut.index > n->image.index;
    uint64_t before = given_up ? n->cut_when.begun_bytes : 0;
    uint64_t waiting = n->apply.state.uncut_bytes;

    return n->config.snapshot_wal_bytes && waiting > before &&
           waiting - before >= n->config.snapshot_wal_bytes;
}

/* Pieces are in the log and beside the database until a cut takes them. */
static bool due_by_load(const struct node *n)
{
    bool given_up = n->cut.index > n->image.index;
    uint64_t before = given_up ? n->cut_when.begun_load_bytes : 0;
    uint64_t waiting = n->apply.state.uncut_load_bytes;

    return waiting > before && waiting - before >= LIMIT_LOAD_UNCUT_BYTES;
}

static bool may_begin(const struct node *n)
{
    return n->phase == NODE_OPEN && !n->cut.active && !node_is_held(n) &&
           n->apply.applied > n->image.index;
}

static void look_now(struct node *n)
{
    bool wal = due_by_bytes(n);

    if (!may_begin(n) || !(wal || due_by_entries(n) || due_by_load(n) || n->cut_when.wanted))
        return;
    n->cut_when.begun_bytes = n->apply.state.uncut_bytes;
    n->cut_when.begun_load_bytes = n->apply.state.uncut_load_bytes;
    n->counters.snapshots_wal += wal;
    node_cut_begin(n);
}

static void look_fired(struct env_timer *t)
{
    look_now(t->ctx);
}

void node_cut_look(struct node *n)
{
    struct env_timer *timer = &n->cut_when.timer;
    uint64_t interval_ms = n->config.snapshot_interval_ms;

    node_cut_resume(n);
    if (!may_begin(n))
        return;
    if (interval_ms == 0 || n->cut_when.wanted || due_by_load(n))
        look_now(n);
    else if (!env_timer_armed(timer))
        env_timer_arm(timer, (interval_ms + env_random_u64(n->env) % interval_ms) * ENV_MS_NS);
}

bool node_cut_last(struct node *n, void (*done)(void *ctx, int rc, const char *why), void *ctx)
{
    n->cut.last = true;
    return n->apply.state.uncut_bytes > 0 && !n->replace.active &&
           node_snapshot(n, n->config.snapshot_trailing, done, ctx) == 0;
}

void node_cut_when_stop(struct node *n)
{
    env_timer_disarm(&n->cut_when.timer);
}

void node_cut_when_init(struct node *n)
{
    env_timer_init(&n->cut_when.timer, n->env, look_fired, n);
}
