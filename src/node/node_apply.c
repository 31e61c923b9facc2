/* node_apply.c — the APPLY lane: committed entries into the database, in order, in batches; then
 * the answers of those who wait for them.
 *
 * Entries come from the cache; when they are no longer there (replay after a start) they are first
 * read back by a load, which then feeds the batch. */
#include "node_int.h"

enum { APPLY_BYTES_MAX = 16 * 1024 * 1024, APPLY_COUNT_MAX = 1024 };

void node_apply_lane(struct node *n)
{
    struct node_apply *a = &n->apply;

    a->rc = db_apply(n->db, a->entries, a->count, &a->why);
    a->run_ended_ns = env_now_ns(n->env);
    db_state(n->db, &a->run_state);
    for (uint32_t i = 0; i < a->count; i++)
        if (a->waits[i] && a->waits[i]->sink && a->entries[i].index <= a->run_state.applied_index)
            n->config.codec->sink_finish(a->waits[i]->sink);
}

static void apply_run(struct env_job *job)
{
    node_apply_lane(LIST_ENTRY(job, struct node, apply.job));
}

/* For the client that asked; the same numbers were counted on their way. */
static void apply_phases(const struct node_wait *w, uint64_t applied_ns, struct wire_phases *p)
{
    const struct node *n = w->node;

    p->queue_ns = w->proposed_ns - w->submitted_ns;
    p->quorum_ns = w->committed_ns - w->proposed_ns;
    p->apply_ns = applied_ns - w->committed_ns;
    if (w->encode_options & n->config.codec->phases_option)
        p->sync_ns = node_clock_sync_ns(n, w->index);
}

static void apply_answer(struct node_wait *w, uint64_t index)
{
    struct node *n = w->node;
    struct node_answer answer = {0};

    w->in_lane = false;
    if (w->kind == WIRE_QUERY)
        n->strong_read_term = w->term;
    histogram_add(&n->clock.times.write_apply, n->apply.run_ended_ns - w->committed_ns);
    apply_phases(w, n->apply.run_ended_ns, &answer.phases);
    if (!w->sink) {
        answer.rc = ERR_NOMEM;
        answer.text = "the write was applied, but there was no memory for its answer";
    } else if (w->out.failed) {
        answer.rc = w->out.failed;
        answer.text = "the result is larger than the limit";
    } else {
        answer.body = buf_slice(&w->out);
    }
    answer.raft_index = index;
    if (w->forgotten)
        node_wait_free(w);
    else
        node_wait_answer(w, &answer);
}

void node_apply_give_up(struct node *n, int rc, const char *why)
{
    struct node_apply *a = &n->apply;

    for (uint32_t i = 0; i < a->count; i++) {
        node_entry_unref(a->refs[i]);
        if (!a->waits[i])
            continue;
        a->waits[i]->in_lane = false;
        node_wait_fail(a->waits[i], rc, why);
    }
    a->count = 0;
    a->busy = false;
}

/* Those that were not applied come first. */
static void apply_keep(struct node_apply *a, uint32_t done)
{
    a->count -= done;
    memmove(a->entries, a->entries + done, a->count * sizeof(*a->entries));
    memmove(a->refs, a->refs + done, a->count * sizeof(struct node_entry *));
    memmove(a->waits, a->waits + done, a->count * sizeof(struct node_wait *));
}

/* So many were applied. Busy until all are answered: an answer may bring the next request in, which must not start
 * the next batch while this one's arrays are being read. */
static void apply_tell(struct node *n, uint32_t done)
{
    struct node_apply *a = &n->apply;
    uint64_t first = a->entries[0].index;

    node_upkeep_applied(n);
    a->wall_ns = env_wall_ns(n->env);
    node_fresh_applied(n, a->entries, done);
    n->counters.applies++;
    n->counters.apply_last_ns = a->run_ended_ns - a->started_ns;
    a->applied = first + done - 1;
    if (n->on_applied)
        n->on_applied(n->on_applied_ctx, a->applied, a->state.digest);
    for (uint32_t i = 0; i < done; i++) {
        node_entry_unref(a->refs[i]);
        if (a->waits[i])
            apply_answer(a->waits[i], first + i);
    }
}

void node_apply_ended(struct node *n)
{
    struct node_apply *a = &n->apply;

    a->busy = true; /* it may have been done by hand */
    if (a->rc == ERR_CORRUPT && n->up.broken(n, a->why.text)) {
        /* It will be fetched anew; these entries are in it then, or follow. */
        node_apply_give_up(n, ERR_LEADERSHIP_LOST,
                           "the database of this node is damaged; the write is committed");
        n->up.lane_idle(n);
        return;
    }
    if (a->rc && a->rc != DB_PREPARE) {
        env_log(n->env, "store", "apply failed: %s", a->why.text);
        env_halt(n->env, "an entry could not be applied because the machine failed");
    }
    a->state = a->run_state;
    uint64_t first = a->entries[0].index;
    ASSERT(a->state.applied_index + 1 >= first);
    uint32_t done = (uint32_t)(a->state.applied_index + 1 - first);
    ASSERT(done == a->count || (a->rc == DB_PREPARE && done < a->count));
    if (done > 0)
        apply_tell(n, done);
    apply_keep(a, done);
    bool left = a->count > 0; /* else the next batch may begin below */
    a->busy = false;
    if (done > 0) {
        struct raft_in in = {.kind = RAFT_IN_APPLIED, .u.applied_index = a->applied};
        int rc = n->up.step(n, &in);
        ASSERT(rc == 0);
        node_index_applied(n);
        n->up.applied(n);
    }
    if (left && n->phase == NODE_OPEN)
        n->up.prepare(n);
    else if (left)
        node_apply_give_up(n, ERR_CANCELED, "the node is stopping");
    n->up.lane_idle(n);
}

static void apply_done(struct env_job *job)
{
    node_apply_ended(LIST_ENTRY(job, struct node, apply.job));
}

/* Who gets the next entry: memory, else what a load brought. Takes a reference. */
static struct node_entry *apply_source(struct node *n, uint64_t index)
{
    struct node_load *l = &n->apply.load;
    struct node_entry *e = node_cache_get(&n->cache, index);

    if (!e && index >= l->first && index - l->first < l->count)
        e = l->entries[index - l->first];
    return e ? node_entry_ref(e) : NULL;
}

static void apply_reserve(struct node_apply *a)
{
    if (a->cap)
        return;
    a->cap = APPLY_COUNT_MAX;
    a->entries = mem_must_alloc(a->cap * sizeof(*a->entries));
    a->refs = mem_must_alloc(a->cap * sizeof(*a->refs));
    a->waits = mem_must_alloc(a->cap * sizeof(*a->waits));
}

/* db_timeout. A read is interrupted. A write is not, or nodes would differ: its client stops waiting. */
static void apply_limit(struct node *n, struct node_wait *w, struct db_entry *d)
{
    uint64_t at_ns = env_now_ns(n->env) + w->db_timeout_ns;

    if (w->kind == WIRE_QUERY)
        d->deadline_ns = at_ns;
    else
        node_wait_limit(w, at_ns);
}

static void apply_add(struct node *n, uint64_t index, struct node_entry *e)
{
    struct node_apply *a = &n->apply;
    struct node_wait *w = node_write_claim(n, index, e->term);
    struct db_entry *d = &a->entries[a->count];

    memset(d, 0, sizeof(*d));
    d->index = index;
    d->term = e->term;
    d->kind = e->kind;
    d->payload = slice_of(e->payload, e->len);
    uint64_t committed_ns = node_clock_commit_ns(n, index);
    if (w) {
        w->committed_ns = committed_ns > w->proposed_ns ? committed_ns : w->proposed_ns;
        histogram_add(&n->clock.times.write_quorum, w->committed_ns - w->proposed_ns);
        w->in_lane = true;
        w->sink = n->config.codec->sink_new(w->encode_options, &w->out);
        d->sink = w->sink;
        if (w->encode_options & n->config.codec->qualify_columns_option)
            d->sink_flags |= DB_QUALIFY_COLUMNS;
        if (w->db_timeout_ns)
            apply_limit(n, w, d);
    }
    a->waits[a->count] = w;
    a->refs[a->count] = e;
    a->count++;
}

void node_apply_again(struct node *n)
{
    struct node_apply *a = &n->apply;

    ASSERT(!a->busy && a->count > 0);
    a->busy = true;
    a->started_ns = env_now_ns(n->env);
    env_job_submit(n->env, ENV_LANE_APPLY, &a->job);
}

void node_apply_kick(struct node *n)
{
    struct node_apply *a = &n->apply;
    uint64_t index = a->applied + 1;
    size_t bytes = 0;

    if (a->busy || a->load.busy || index > a->target || n->phase != NODE_OPEN || node_is_held(n) ||
        n->cut.emptying || a->count > 0)
        return;
    apply_reserve(a);
    while (index <= a->target && a->count < a->cap && bytes < APPLY_BYTES_MAX) {
        struct node_entry *e = apply_source(n, index);
        if (!e)
            break;
        bytes += e->len;
        apply_add(n, index++, e);
        if ((index - 1) % NODE_DIGEST_STEP == 0)
            break; /* there the digest is compared */
    }
    if (a->count == 0) {
        uint64_t missing = a->target - a->applied;
        node_load_drop(&a->load);
        node_load_start(&a->load, n, index,
                        missing < APPLY_COUNT_MAX ? (uint32_t)missing : APPLY_COUNT_MAX,
                        APPLY_BYTES_MAX);
        return;
    }
    node_apply_again(n);
}

static void apply_loaded(struct node_load *l)
{
    if (l->rc == ERR_NOMEM || l->count == 0)
        env_halt(l->node->env, "committed entries cannot be read back for applying");
    if (l->node->phase == NODE_OPEN)
        node_apply_kick(l->node);
}

void node_apply_init(struct node *n)
{
    n->apply.job.run = apply_run;
    n->apply.job.done = apply_done;
    n->apply.load.done = apply_loaded;
}

void node_apply_fini(struct node *n)
{
    ASSERT(!n->apply.busy && !n->apply.load.busy);
    node_load_drop(&n->apply.load);
    mem_free(n->apply.entries);
    mem_free(n->apply.refs);
    mem_free(n->apply.waits);
}
