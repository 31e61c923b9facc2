/* raft_watch.c — the promises of the thesis (fig. 3.2), looked at from above. */
#include "raft_world.h"

#include <rq/util/assert.h>

void rworld_watch_entry(struct world *w, uint64_t index, const struct world_entry *e)
{
    for (uint32_t i = 0; i < 32; i++) {
        uint64_t *seen = w->chain_of[index][i];
        if (seen[0] == e->term) {
            ASSERT(seen[1] == e->chain && "log matching");
            return;
        }
        if (seen[0] == 0) {
            seen[0] = e->term;
            seen[1] = e->chain;
            return;
        }
    }
}

bool rworld_disk_has(const struct world_node *n, uint64_t index, uint64_t chain)
{
    return (index <= n->disk_last && n->disk[index].chain == chain) || index == 0;
}

/* R8: what a leader newly commits ends with an entry of its own term, on the disks of a quorum of the
 * configuration in force there. */
static void rworld_watch_commit(struct world *w, const struct world_node *n, uint64_t before)
{
    uint64_t index = n->view.commit_index;
    uint32_t have = 0, voters = 0;

    for (uint64_t i = before + 1; i <= index; i++) {
        ASSERT((w->committed[i] == 0 || w->committed[i] == n->log[i].chain) &&
               "state machine safety");
        if (w->committed[i] == 0)
            w->committed_term[i] = n->hard.term;
        w->committed[i] = n->log[i].chain;
    }
    if (index > w->committed_max)
        w->committed_max = index;
    if (n->view.role != RAFT_LEADER || index == before)
        return;
    ASSERT(n->log[index].term == n->hard.term && "only an own-term entry commits by count");
    for (uint32_t i = 0; i < n->view.conf->count; i++) {
        const struct raft_member *m = &n->view.conf->members[i];
        voters += m->voter;
        have += m->voter && rworld_disk_has(&w->nodes[m->id], index, n->log[index].chain);
    }
    ASSERT(have > voters / 2 && "committed means durable at a quorum");
}

void rworld_watch_view(struct world *w, struct world_node *n, const struct raft_view *old)
{
    const struct raft_view *v = &n->view;

    ASSERT(v->hard.term >= old->hard.term && "term never falls");
    ASSERT(v->commit_index >= old->commit_index && "commit index never falls");
    ASSERT(v->hard.term == n->hard.term && v->last_index == n->last);
    ASSERT(n->last == 0 || v->last_index == v->snapshot_index ||
           v->last_term == n->log[n->last].term);
    if (v->commit_index > old->commit_index)
        rworld_watch_commit(w, n, old->commit_index);
    if (v->role != RAFT_LEADER || (old->role == RAFT_LEADER && old->hard.term == v->hard.term))
        return;
    ASSERT(v->hard.term < WORLD_TERMS);
    ASSERT((w->leader_of[v->hard.term] == 0) && "election safety");
    w->leader_of[v->hard.term] = n->id;
    w->elected++;
    for (uint64_t i = 1; i <= w->committed_max; i++)
        ASSERT((w->committed[i] == 0 || w->committed_term[i] >= v->hard.term ||
                (i <= n->last && w->committed[i] == n->log[i].chain)) &&
               "leader completeness");
}

void rworld_watch_promise(struct world *w, const struct world_node *n, const struct raft_msg *m)
{
    if (m->kind == RAFT_MSG_VOTE_RES && m->granted) {
        ASSERT(m->term < WORLD_TERMS);
        ASSERT(n->disk_hard.term >= m->term && "vote promised before it was durable");
        ASSERT((n->disk_hard.term > m->term || n->disk_hard.vote == m->to) && "another vote");
        raft_id *vote = &w->vote_of[m->term][n->id];
        ASSERT((*vote == 0 || *vote == m->to) && "two votes in one term");
        *vote = m->to;
    }
    if (m->kind == RAFT_MSG_VOTE_REQ)
        ASSERT(n->disk_hard.term > m->term ||
               (n->disk_hard.term == m->term && n->disk_hard.vote == n->id));
    if (m->kind == RAFT_MSG_TIMEOUT_NOW && n->view.role == RAFT_LEADER)
        ASSERT(rworld_disk_has(&w->nodes[m->to], n->last, n->log[n->last].chain) &&
               "the heir has everything");
    bool ack = m->kind == RAFT_MSG_APPEND_RES || m->kind == RAFT_MSG_SNAPSHOT_RES;
    if (!ack || !m->granted)
        return;
    const struct world_node *leader = &w->nodes[m->to];
    if (n->hard.term != m->term || !leader->up || leader->view.role != RAFT_LEADER ||
        leader->hard.term != m->term)
        return; /* overwritten since: nobody counts it any more */
    ASSERT(m->log_index <= leader->last);
    ASSERT(rworld_disk_has(n, m->log_index, leader->log[m->log_index].chain) &&
           "append acknowledged before it was durable");
}
