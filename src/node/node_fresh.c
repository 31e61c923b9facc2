/* node_fresh.c — may this node answer a read of level none that bounds its age (http-api.md §10.4)?
 *
 *   plain   the leader was heard no longer ago than the bound
 *   strict  and, unless all is applied that the leader has announced as committed, the entry applied last
 *           had not been appended there longer than the bound before: two machines' clocks
 *
 * Never asked on the leader. */
#include "node_int.h"

bool node_fresh_is(const struct node_fresh_facts *f, uint64_t bound_ns, bool strict)
{
    if (f->heard_ns == 0 || f->now_ns - f->heard_ns > bound_ns)
        return false;
    if (!strict || f->applied >= f->announced)
        return true;
    if (f->appended_wall_ns == 0)
        return false; /* nothing with a time of its own was applied yet */
    if (f->applied_wall_ns <= f->appended_wall_ns)
        return true; /* the leader's clock is ahead */
    return (uint64_t)f->applied_wall_ns - (uint64_t)f->appended_wall_ns <= bound_ns;
}

bool node_fresh_enough(const struct node *n, const struct node_wait *w)
{
    struct node_fresh_facts f = {
        .now_ns = env_now_ns(n->env),
        .heard_ns =
            n->view.leader_heard_ms ? n->fresh.heard_ns : 0, /* raft may have forgotten it */
        .applied = n->apply.applied,
        .announced = n->fresh.announced,
        .appended_wall_ns = n->fresh.appended_wall_ns,
        .applied_wall_ns = n->apply.wall_ns,
    };

    if (w->freshness_ns == 0 || n->view.role == RAFT_LEADER)
        return true;
    return node_fresh_is(&f, (uint64_t)w->freshness_ns, w->freshness_strict);
}

/* raft has taken it as the present leader's. Its own clock counts milliseconds. */
void node_fresh_heard(struct node *n, const struct raft_msg *m)
{
    bool leads = m->from == n->view.leader && m->term == n->view.hard.term;

    if (!leads || n->view.leader_heard_ms != node_now_ms(n))
        return;
    n->fresh.heard_ns = env_now_ns(n->env);
    if (m->kind == RAFT_MSG_APPEND_REQ && m->commit > n->fresh.announced)
        n->fresh.announced = m->commit;
}

/* entries: of a batch whose COMMIT has returned. */
void node_fresh_applied(struct node *n, const struct db_entry *entries, uint32_t count)
{
    while (count-- > 0)
        if (entries[count].kind == RAFT_ENTRY_NORMAL) {
            n->fresh.appended_wall_ns = wire_cmd_wall_ns(entries[count].payload);
            return;
        }
}
