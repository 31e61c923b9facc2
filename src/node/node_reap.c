/* node_reap.c — members that are gone: the leader removes who was out of reach for too long (daemon.md §3.10);
 * and what this node does when it is the one that was removed (§3.8). */
#include "node_int.h"

/* ---- reaping --------------------------------------------------------------------------------------- */

static void reaped(void *ctx, int rc, const char *why)
{
    struct node *n = ctx;
    struct node_reap *r = &n->reap;
    const char *kind = r->replica ? "non-voting" : "voting";

    r->active = false;
    if (rc == 0) {
        n->counters.members_reaped++;
        env_log(n->env, "store", "successfully reaped %s node %s", kind, r->name);
    } else {
        n->counters.members_not_reaped++;
        env_log(n->env, "store", "failed to reap %s node %s: %s", kind, r->name, why);
    }
}

/* Since when is it out of reach? The clock starts when this leader took office. */
static uint64_t silent_ms(const struct node *n, const struct raft_peer_view *p)
{
    uint64_t since = p->last_heard_ms > n->reap.office_ms ? p->last_heard_ms : n->reap.office_ms;
    uint64_t now = node_now_ms(n);

    return now > since ? now - since : 0;
}

static bool reap(struct node *n, const struct raft_peer_view *p)
{
    const struct wire_member *m = node_conf_find(node_confs_latest(&n->confs), p->id);

    if (!m || (!m->voter && !m->replica)) /* a learner: node_members.c has it in hand */
        return false;
    uint64_t limit_ms = m->replica ? n->config.reap_replica_ms : n->config.reap_voter_ms;
    if (limit_ms == 0 || silent_ms(n, p) <= limit_ms)
        return false;
    n->reap.active = true;
    n->reap.replica = m->replica;
    memcpy(n->reap.name, m->name, sizeof(n->reap.name));
    int rc = node_remove_here(n, slice_str(n->reap.name), reaped, n);
    if (rc)
        reaped(n, rc, err_text_of(rc));
    return true;
}

void node_reap_look(struct node *n)
{
    struct node_reap *r = &n->reap;

    if (n->phase != NODE_OPEN || n->view.role != RAFT_LEADER)
        return;
    if (r->term != n->view.hard.term) {
        r->term = n->view.hard.term;
        r->office_ms = node_now_ms(n);
    }
    if (r->active || !list_empty(&n->changes) ||
        (n->config.reap_voter_ms == 0 && n->config.reap_replica_ms == 0))
        return;
    raft_look(n->raft, &n->view);
    for (uint32_t i = 0; i < n->view.peer_count; i++)
        if (reap(n, &n->view.peers[i]))
            return;
}

/* ---- removed --------------------------------------------------------------------------------------- */

enum { SILENT_TIMEOUTS = 3 };

/* A leader speaks to its members only. Who is spoken to and reads of its own removal has been added again since,
 * and is behind (RedisLabs/redisraft#2). */
static bool leader_is_silent(const struct node *n)
{
    const struct raft_view *v = &n->view;

    return v->leader == 0 &&
           node_now_ms(n) - v->leader_heard_ms >= SILENT_TIMEOUTS * n->config.heartbeat_timeout_ms;
}

/* It knows that it is no member any more: nothing of Raft's goes in or out from now on; what is in the
 * database can still be read. */
void node_retire_look(struct node *n)
{
    const struct raft_view *v = &n->view;

    n->was_member = n->was_member || v->am_member;
    if (!n->config.remove_shutdown || n->retired || !n->was_member || v->am_member ||
        !v->conf_committed || !leader_is_silent(n))
        return;
    n->retired = true;
    n->view.role = RAFT_FOLLOWER;
    n->view.leader = 0;
    env_log(n->env, "store", "this node was removed from the cluster: its Raft part is shut down");
    (void)peer_members_set(n->peers, NULL, 0);
}
