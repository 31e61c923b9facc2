/* node_times.c — when entries were committed and how long the log's jobs took, remembered for as long as
 * somebody may ask. Bounded: where more commits wait to be applied than there are marks, the newest mark
 * stands for all that came after it, and their time in the database looks longer than it was. */
#include "node_int.h"

void node_clock_committed(struct node *n, uint64_t index)
{
    struct node_clock *c = &n->clock;
    uint32_t at = (c->commit_head + c->commit_count) % NODE_COMMIT_MARKS;

    if (c->commit_count == NODE_COMMIT_MARKS) {
        at = (at + NODE_COMMIT_MARKS - 1) % NODE_COMMIT_MARKS;
    } else {
        c->commits[at].ns = env_now_ns(n->env);
        c->commit_count++;
    }
    c->commits[at].index = index;
}

uint64_t node_clock_commit_ns(struct node *n, uint64_t index)
{
    struct node_clock *c = &n->clock;

    while (c->commit_count && c->commits[c->commit_head].index < index) {
        c->commit_head = (c->commit_head + 1) % NODE_COMMIT_MARKS;
        c->commit_count--;
    }
    return c->commit_count ? c->commits[c->commit_head].ns : 0;
}

void node_clock_synced(struct node *n, uint64_t first, uint32_t count, uint64_t ns)
{
    struct node_clock *c = &n->clock;

    histogram_add(&c->times.log_sync, ns);
    c->syncs[c->sync_next].first = first;
    c->syncs[c->sync_next].end = first + count;
    c->syncs[c->sync_next].ns = ns;
    c->sync_next = (c->sync_next + 1) % NODE_SYNC_MARKS;
}

uint64_t node_clock_sync_ns(const struct node *n, uint64_t index)
{
    const struct node_clock *c = &n->clock;

    for (uint32_t i = 1; i <= NODE_SYNC_MARKS;
         i++) { /* newest first: an entry may have been written anew */
        uint32_t at = (c->sync_next + NODE_SYNC_MARKS - i) % NODE_SYNC_MARKS;
        if (c->syncs[at].first <= index && index < c->syncs[at].end)
            return c->syncs[at].ns;
    }
    return 0;
}
