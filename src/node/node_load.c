/* node_load.c — entries read back from disk, in the LOG lane, for those who find them no longer in memory:
 * a follower far behind, or the replay after a start. Whoever owns the struct gets done() on the LOOP. */
#include "node_int.h"

enum { LOAD_FIRST_CAP = 64 };

static int load_visit(void *ctx, uint64_t index, const struct wire_entry *entry)
{
    struct node_load *l = ctx;

    ASSERT(index == l->first + l->count);
    if (l->count == l->cap) {
        uint32_t cap = l->cap ? l->cap * 2 : LOAD_FIRST_CAP;
        struct node_entry **grown = mem_realloc(l->entries, cap * sizeof(struct node_entry *));
        if (!grown)
            return ERR_NOMEM;
        l->entries = grown;
        l->cap = cap;
    }
    struct node_entry *e = node_entry_new(entry->payload.len);
    if (!e)
        return ERR_NOMEM;
    e->kind = entry->kind;
    e->term = entry->term;
    if (e->len)
        memcpy(e->payload, entry->payload.data, e->len);
    l->entries[l->count++] = e;
    return 0;
}

static void load_run(struct env_job *job)
{
    struct node_load *l = LIST_ENTRY(job, struct node_load, job);
    l->rc = rlog_read(l->node->rlog, l->first, l->count_max, l->bytes_max, load_visit, l);
}

static void load_done(struct env_job *job)
{
    struct node_load *l = LIST_ENTRY(job, struct node_load, job);

    l->busy = false;
    if (l->rc == ERR_IO || l->rc == ERR_CORRUPT)
        env_halt(l->node->env, "the Raft log cannot be read back: stored data is damaged");
    l->done(l);
    l->node->up.lane_idle(l->node);
}

void node_load_start(struct node_load *l, struct node *n, uint64_t first, uint32_t count_max,
                     size_t bytes_max)
{
    ASSERT(!l->busy && l->count == 0);
    l->node = n;
    l->first = first;
    l->count_max = count_max;
    l->bytes_max = bytes_max;
    l->busy = true;
    l->job.run = load_run;
    l->job.done = load_done;
    env_job_submit(n->env, ENV_LANE_LOG, &l->job);
}

void node_load_drop(struct node_load *l)
{
    for (uint32_t i = 0; i < l->count; i++)
        node_entry_unref(l->entries[i]);
    l->count = 0;
    mem_free(l->entries);
    l->entries = NULL;
    l->cap = 0;
}
