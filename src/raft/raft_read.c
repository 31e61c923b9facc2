/* raft_read.c — linearizable reads without log writes (thesis §6.4).
 *
 *   READ ──► waiting ──► begun(round, index = commit) ──► confirmed: answered with the index
 *              │                                             │
 *              needs an own-term commit,                     a quorum answered messages that were
 *              and fewer than ROUNDS_OPEN_MAX rounds open    sent in this round or a later one
 *
 * A round's number is taken after the read arrived and rides on messages sent after that; an answer to
 * an older message echoes an older number and proves nothing for this read. Whoever has applied the
 * index may then answer, here or on another node: that wait is the caller's. */
#include "raft_int.h"

static struct read_waiting *waiting_at(struct reads *q, uint32_t i)
{
    return &q->ring[(q->head + i) % RAFT_READS_MAX];
}

int read_add(struct raft *r, uint64_t token)
{
    struct reads *q = &r->reads;

    ASSERT(r->role == RAFT_LEADER);
    if (q->count == RAFT_READS_MAX)
        return ERR_FULL;
    struct read_waiting *w = waiting_at(q, q->count++);
    w->token = token;
    w->index = 0;
    w->round = 0;
    return 0;
}

bool read_begin(struct raft *r)
{
    struct reads *q = &r->reads;

    if (q->begun_count == q->count || q->open_count == ROUNDS_OPEN_MAX || !commit_in_term(r))
        return false;
    q->round++;
    q->open[q->open_count++] = q->round;
    for (; q->begun_count < q->count; q->begun_count++) {
        struct read_waiting *w = waiting_at(q, q->begun_count);
        w->round = q->round;
        w->index = r->commit_index;
    }
    return true;
}

void read_confirm(struct raft *r)
{
    struct reads *q = &r->reads;
    uint32_t done = 0;

    q->confirmed = max_u64(q->confirmed, commit_round(r));
    while (done < q->open_count && q->open[done] <= q->confirmed)
        done++;
    for (uint32_t i = done; i < q->open_count; i++)
        q->open[i - done] = q->open[i];
    q->open_count -= done;
    ASSERT(q->confirmed <= q->round);
}

static void answer(struct raft *r, bool ok)
{
    struct reads *q = &r->reads;
    const struct read_waiting *w = waiting_at(q, 0);
    struct raft_read *out = &r->orders.reads[r->orders.read_count++];

    ASSERT(q->count > 0 && r->orders.read_count <= RAFT_READS_MAX);
    out->token = w->token;
    out->ok = ok;
    out->index = w->index;
    q->head = (q->head + 1) % RAFT_READS_MAX;
    q->count--;
    q->begun_count -= q->begun_count > 0;
}

void read_serve(struct raft *r)
{
    struct reads *q = &r->reads;

    while (q->begun_count > 0) {
        const struct read_waiting *w = waiting_at(q, 0);
        if (w->round > q->confirmed)
            return;
        answer(r, true);
    }
}

void read_fail_all(struct raft *r)
{
    while (r->reads.count > 0)
        answer(r, false);
    r->reads.open_count = 0;
}
