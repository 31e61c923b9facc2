/* node_request.c — a request's way through the node, decided once per turn for all that arrived, and again
 * when something it waited for is there.
 *
 *                 here leads                          not
 *   EXECUTE, LOAD log                                 forward
 *   none          read                                read
 *   weak          read                                forward
 *   linearizable  index, read                         index (of the leader), read
 *   strong        log                                 forward
 *   BACKUP        index, backup                       forward (level none: backup)
 *
 * A REQUEST is first classified, where it would be read: all reads go by level, others to the log. What
 * another node passed on to us is never passed on again. A read waits for the client's wait_index on the
 * node that answers it. A REQUEST with an idempotency key or a condition is like EXECUTE: both are
 * decided where the log is applied. */
#include "node_int.h"

int node_submit(struct node *n, const struct node_request *r, node_reply_fn *reply, void *ctx,
                uint64_t *ticket)
{
    int rc;

    ASSERT(reply);
    if (n->phase != NODE_OPEN)
        return ERR_NOT_READY;
    if (r->f.payload.len > LIMIT_ENTRY_BYTES)
        return ERR_TOO_BIG;
    struct node_wait *w = node_wait_new(n, r, reply, ctx, &rc);
    if (!w)
        return rc;
    if (w->level == WIRE_LEVEL_AUTO)
        w->level = n->view.am_voter ? WIRE_LEVEL_WEAK : WIRE_LEVEL_NONE;
    w->submitted_ns = env_now_ns(n->env);
    w->state = WAIT_SUBMITTED;
    list_push_back(&n->submitted, &w->link);
    env_turn_schedule(&n->turn);
    if (ticket)
        *ticket = node_wait_ticket(w);
    return 0;
}

void node_forget(struct node *n, uint64_t ticket)
{
    struct node_wait *w = node_wait_find(n, ticket);

    if (!w || w->answered)
        return;
    node_wait_forget(w); /* what is proposed may still be applied; what is not, is not */
}

void node_pull(struct node *n, uint64_t ticket)
{
    struct node_wait *w = node_wait_find(n, ticket);

    ASSERT(w && w->part_out);
    node_wait_pulled(w);
    if (w->replying)
        return; /* who gave the part goes on */
    if (w->state == WAIT_FORWARD)
        node_forward_pulled(w);
    else if (w->backup)
        node_backup_pulled(w);
    else
        node_read_pulled(w);
}

/* The read index is known: is it applied, and was there no other leader since? */
static void dispatch_linearizable(struct node_wait *w)
{
    struct node *n = w->node;
    bool outdated = w->read_term != 0 && w->read_term < n->view.hard.term;

    if (w->read_index == 0 || outdated)
        node_index_want(w);
    else if (w->read_index > n->apply.applied)
        node_index_await(w, w->read_index);
    else if (w->kind == WIRE_BACKUP)
        node_backup_start(w);
    else
        node_read_start(w, false);
}

/* From the leader, which first makes sure that it is: what was answered before is in it. Or from any node. */
static void dispatch_backup(struct node_wait *w, bool leader)
{
    if (w->level == WIRE_LEVEL_NONE)
        node_backup_start(w);
    else if (leader)
        dispatch_linearizable(w);
    else
        node_forward(w);
}

static bool answered_here(const struct node_wait *w, bool leader)
{
    switch (w->level) {
    case WIRE_LEVEL_NONE:
        return true;
    case WIRE_LEVEL_LINEARIZABLE:
        return leader || !w->forwarded;
    case WIRE_LEVEL_WEAK:
    case WIRE_LEVEL_AUTO:
    case WIRE_LEVEL_STRONG:
        return leader;
    }
    UNREACHABLE();
}

static void dispatch_reads(struct node_wait *w, bool leader)
{
    bool classify = w->kind == WIRE_REQUEST && w->class == CLASS_UNKNOWN;

    if (!answered_here(w, leader))
        node_forward(w);
    else if (w->wait_index > w->node->apply.applied)
        node_index_await(w, w->wait_index);
    else if (w->level == WIRE_LEVEL_NONE && !node_fresh_enough(w->node, w))
        node_wait_fail(w, ERR_STALE, NULL);
    else if (classify || w->level != WIRE_LEVEL_LINEARIZABLE)
        node_read_start(w, classify);
    else
        dispatch_linearizable(w);
}

void node_request_dispatch(struct node_wait *w)
{
    bool leader = w->node->view.role == RAFT_LEADER;

    if (w->kind == WIRE_BACKUP) {
        dispatch_backup(w, leader);
        return;
    }
    bool log = w->kind == WIRE_EXECUTE || w->kind == WIRE_LOAD || w->class == CLASS_WRITES ||
               w->level == WIRE_LEVEL_STRONG ||
               wire_cmd_must_log(slice_of(w->payload->payload, w->payload->len));

    if (!log)
        dispatch_reads(w, leader);
    else if (leader)
        node_write_gather(w);
    else
        node_forward(w);
}

void node_request_turn(struct env_turn *t)
{
    struct node *n = t->ctx;
    struct list arrived;

    node_retry_turn(n);
    list_init(&arrived);
    for (struct list *l; (l = list_pop_front(&n->submitted));)
        list_push_back(&arrived, l);
    for (struct list *l; (l = list_pop_front(&arrived));)
        node_request_dispatch(LIST_ENTRY(l, struct node_wait, link));
    node_index_turn(n);
    node_write_propose(n);
}
