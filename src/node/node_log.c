/* node_log.c — the LOG lane: what must become durable, one job at a time.
 *
 * Group commit without a timer: while a job syncs, later orders gather as "hard state to save" and
 * "the disk must equal the cache from range_first on"; the next job takes all of it in one batch.
 * Overwritten entries need no care: the range is read from the cache when the job is made, and the
 * newest order it covers is what STORED names.
 *
 * A job holds references to its entries; the LOOP may truncate the cache meanwhile. */
#include "node_int.h"

enum { LOG_RETRY_MS = 250, LOG_MARK_STEP = 64 };

static void log_run(struct env_job *job)
{
    struct node *n = LIST_ENTRY(job, struct node, log.job);
    struct node_log *l = &n->log;
    uint64_t began_ns = env_now_ns(n->env);

    l->rc = 0;
    if (l->run_hard)
        l->rc = rlog_hard_save(n->rlog, &l->run_hard_value);
    if (!l->rc && l->run_range)
        l->rc = rlog_append(n->rlog, l->run_first, l->run_entries, l->run_count);
    if (!l->rc && l->run_reset)
        l->rc = rlog_reset(n->rlog, l->run_reset_index, l->run_reset_term);
    if (!l->rc && l->run_mark)
        l->rc = rlog_mark(n->rlog, l->run_mark);
    if (!l->rc && l->run_compact)
        l->rc = rlog_compact(n->rlog, l->run_compact_index, l->run_compact_term);
    rlog_stat(n->rlog, &l->run_stat);
    l->run_ns = env_now_ns(n->env) - began_ns;
}

static void log_release(struct node_log *l)
{
    for (uint32_t i = 0; i < l->run_count; i++)
        node_entry_unref(l->run_refs[i]);
    l->run_count = 0;
}

/* No space, and nothing promised: keep the work, refuse new writes, try again. */
static void log_no_space(struct node *n)
{
    struct node_log *l = &n->log;

    if (!l->full)
        env_log(n->env, "store", "no space left for the log in %s: refusing writes", n->dir);
    l->full = true;
    if (l->run_range && (!l->range_pending || l->run_first < l->range_first))
        l->range_first = l->run_first;
    l->range_pending |= l->run_range;
    l->reset_pending |= l->run_reset;
    l->compact_pending |= l->run_compact;
    env_timer_arm(&l->retry, LOG_RETRY_MS * ENV_MS_NS);
}

static void log_done(struct env_job *job)
{
    struct node *n = LIST_ENTRY(job, struct node, log.job);
    struct node_log *l = &n->log;

    l->busy = false;
    l->stat = l->run_stat;
    if (l->rc == 0 && l->run_range)
        node_clock_synced(n, l->run_first, l->run_count, l->run_ns);
    log_release(l);
    if (l->rc == ERR_NOSPC) {
        log_no_space(n);
        n->up.lane_idle(n);
        return;
    }
    if (l->rc)
        env_halt(n->env, "the Raft log cannot be written: a write or sync failed, and what was "
                         "written since the last good sync cannot be trusted");
    l->full = false;
    uint64_t order = l->run_order; /* what follows may begin the next job */
    if (l->run_reset)
        n->up.log_reset(n);
    ASSERT(order >= l->order_stored);
    if (order > l->order_stored && n->raft) {
        l->order_stored = order;
        node_release_held(n);
        struct raft_in in = {.kind = RAFT_IN_STORED, .u.stored_order = order};
        int rc = n->up.step(n, &in);
        ASSERT(rc == 0);
    }
    uint64_t durable = n->view.durable_index;
    node_cache_evict(&n->cache, durable < n->apply.applied ? durable : n->apply.applied);
    node_log_kick(n);
    n->up.lane_idle(n);
}

static void log_retry(struct env_timer *t)
{
    node_log_kick(t->ctx);
}

void node_log_init(struct node *n)
{
    env_timer_init(&n->log.retry, n->env, log_retry, n);
    n->log.job.run = log_run;
    n->log.job.done = log_done;
}

void node_log_fini(struct node *n)
{
    ASSERT(!n->log.busy);
    env_timer_disarm(&n->log.retry);
    mem_free(n->log.run_entries);
    mem_free(n->log.run_refs);
}

void node_log_hard(struct node *n, const struct raft_hard *hard, uint64_t order)
{
    n->log.hard = *hard;
    n->log.hard_pending = true;
    n->log.order_pending = order;
}

void node_log_range(struct node *n, uint64_t first, uint64_t order)
{
    struct node_log *l = &n->log;

    if (!l->range_pending || first < l->range_first)
        l->range_first = first;
    l->range_pending = true;
    l->order_pending = order;
}

void node_log_reset(struct node *n, uint64_t index, uint64_t term)
{
    n->log.reset_pending = true;
    n->log.reset_index = index;
    n->log.reset_term = term;
    node_log_kick(n);
}

void node_log_compact(struct node *n, uint64_t index, uint64_t term)
{
    n->log.compact_pending = true;
    n->log.compact_index = index;
    n->log.compact_term = term;
    node_log_kick(n);
}

/* What is asked of the log besides entries; the job takes it. */
static void log_take_rest(struct node_log *l)
{
    l->run_hard = l->hard_pending;
    l->run_hard_value = l->hard;
    l->run_reset = l->reset_pending;
    l->run_reset_index = l->reset_index;
    l->run_reset_term = l->reset_term;
    l->run_compact = l->compact_pending;
    l->run_compact_index = l->compact_index;
    l->run_compact_term = l->compact_term;
    l->hard_pending = l->reset_pending = l->compact_pending = false;
}

static bool log_has_work(const struct node_log *l)
{
    return l->hard_pending || l->range_pending || l->reset_pending || l->compact_pending;
}

static void log_reserve(struct node_log *l, uint32_t count)
{
    if (count <= l->run_cap)
        return;
    uint32_t cap = l->run_cap ? l->run_cap : 256;
    while (cap < count)
        cap *= 2;
    mem_free(l->run_entries);
    mem_free(l->run_refs);
    l->run_entries = mem_must_alloc(cap * sizeof(*l->run_entries));
    l->run_refs = mem_must_alloc(cap * sizeof(*l->run_refs));
    l->run_cap = cap;
}

static void log_take_range(struct node *n)
{
    struct node_log *l = &n->log;
    uint64_t end = n->cache.first + n->cache.count; /* one past the newest */

    ASSERT(l->range_first >= n->cache.first && l->range_first <= end);
    uint32_t count = (uint32_t)(end - l->range_first);
    log_reserve(l, count);
    for (uint32_t i = 0; i < count; i++) {
        struct node_entry *e = node_cache_get(&n->cache, l->range_first + i);
        l->run_refs[i] = node_entry_ref(e);
        l->run_entries[i] = node_entry_wire(e);
    }
    l->run_first = l->range_first;
    l->run_count = count;
}

void node_log_kick(struct node *n)
{
    struct node_log *l = &n->log;

    if (n->phase != NODE_OPEN || l->busy || !log_has_work(l) || env_timer_armed(&l->retry))
        return;
    log_take_rest(l);
    l->run_range = l->range_pending;
    l->run_count = 0;
    if (l->run_range)
        log_take_range(n);
    l->run_order = l->order_pending;
    l->run_mark = 0;
    if (n->view.commit_index >= l->mark_told + LOG_MARK_STEP &&
        n->view.commit_index <= n->view.durable_index) {
        l->run_mark = n->view.commit_index;
        l->mark_told = l->run_mark;
    }
    l->range_pending = false;
    l->busy = true;
    l->started_ns = env_now_ns(n->env);
    env_job_submit(n->env, ENV_LANE_LOG, &l->job);
}
