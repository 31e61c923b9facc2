/* node_moved.c — a leader that the others know by an address it no longer has.
 *
 * It came back under another one and was elected before it could join anew (daemon.md §3.3). Whom it dials, it
 * reaches; but who has something for it asks the old address, its own request to join first of all. So it hands
 * over, to somebody who can be found. Called now and then. */
#include "node_int.h"

/* The others find it where the configuration says: it told us so when it greeted. */
static bool can_be_found(const struct node *n, const struct wire_member *m)
{
    for (uint32_t i = 0; i < n->conn_count; i++)
        if (n->conns[i].id == m->id && strcmp(n->conns[i].raft_addr, m->addr) == 0)
            return true;
    return false;
}

void node_moved_look(struct node *n)
{
    const struct wire_conf *conf = node_confs_latest(&n->confs);
    const struct wire_member *self = node_conf_find(conf, n->id);

    if (n->phase != NODE_OPEN || n->view.role != RAFT_LEADER || n->transfer.active || !self ||
        strcmp(self->addr, n->raft_addr) == 0)
        return;
    for (uint32_t i = 0; i < conf->count; i++) {
        const struct wire_member *m = &conf->members[i];
        if (m == self || !m->voter || !can_be_found(n, m))
            continue;
        env_log(n->env, "store", "the others know this node at %s, it is at %s: handing over to %s",
                self->addr, n->raft_addr, m->name);
        if (node_transfer(n, slice_str(m->name), NULL, NULL) == 0)
            return;
    }
}
