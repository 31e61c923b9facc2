/* node_write.c — requests that go through the log, on the node that leads.
 *
 *   submit ─► GATHERED ─(end of turn: one PROPOSE for all)─► PROPOSED(index) ─► claimed by apply ─► answer
 *               └─ not leader: forward                          └─ leadership lost: outcome unknown
 *
 * While leadership is being handed over nothing can be proposed: what arrives then waits for the outcome,
 * at most the apply timeout, and is then proposed here or forwarded. */
#include "node_int.h"

void node_write_gather(struct node_wait *w)
{
    struct node *n = w->node;
    uint64_t limit_ns = env_now_ns(n->env) + n->config.apply_timeout_ms * ENV_MS_NS;

    if (n->repair.held || n->digest.undecided) {
        node_wait_fail(w, ERR_NOT_READY,
                       n->repair.held
                           ? "the leader's database is being repaired"
                           : "nodes differ and nobody can tell which is right: see /status");
        return;
    }
    w->state = WAIT_GATHERED;
    list_remove(&w->link);
    list_push_back(&n->gathered, &w->link);
    node_wait_limit(w, w->forwarded && w->until_ns < limit_ns ? w->until_ns : limit_ns);
    env_turn_schedule(&n->turn);
}

static uint32_t gather_sizes(struct node *n)
{
    uint32_t count = 0;
    for (struct list *l = n->gathered.next; l != &n->gathered && count < RAFT_ENTRIES_PER_STEP;
         l = l->next)
        n->propose_bytes[count++] = LIST_ENTRY(l, struct node_wait, link)->payload->len;
    return count;
}

static void refuse_gathered(struct node *n, uint32_t count, int rc)
{
    struct list refused;

    list_init(&refused);
    while (count--)
        list_push_back(&refused, list_pop_front(&n->gathered));
    for (struct list *l; (l = list_pop_front(&refused));) {
        struct node_wait *w = LIST_ENTRY(l, struct node_wait, link);
        if (rc != ERR_NOT_LEADER)
            node_wait_fail(w, rc, NULL);
        else if (n->view.leader == 0 && !w->forwarded && !w->redirect)
            node_retry(w, ERR_NO_LEADER, NULL); /* we led until now: soon another one does */
        else
            node_forward(w);
    }
}

void node_write_propose(struct node *n)
{
    for (uint32_t count; (count = gather_sizes(n)) > 0;) {
        int rc = n->log.full ? ERR_NOSPC : 0;
        if (n->view.transferring)
            return;
        if (rc == 0) {
            struct raft_in in = {.kind = RAFT_IN_PROPOSE,
                                 .u.propose = {.count = count, .bytes = n->propose_bytes}};
            rc = n->up.step(n, &in); /* obeying calls node_write_appended */
        }
        if (rc)
            refuse_gathered(n, count, rc);
    }
}

void node_write_resume(struct node *n)
{
    if (!list_empty(&n->gathered))
        env_turn_schedule(&n->turn);
}

/* Called while obeying: the first `count` gathered requests became entries. */
void node_write_appended(struct node *n, uint64_t first, uint32_t count)
{
    uint64_t term = n->view.hard.term;
    int64_t wall_ns = env_wall_ns(n->env);
    uint64_t now_ns = env_now_ns(n->env);

    for (uint32_t i = 0; i < count; i++) {
        struct list *l = list_pop_front(&n->gathered);
        ASSERT(l);
        struct node_wait *w = LIST_ENTRY(l, struct node_wait, link);
        struct node_entry *e = w->payload;
        wire_cmd_seal(e->payload, e->len, wall_ns, env_random_u64(n->env));
        e->term = term;
        e->kind = RAFT_ENTRY_NORMAL;
        node_cache_push(&n->cache, e);
        w->index = first + i;
        w->term = term;
        w->proposed_ns = now_ns;
        w->state = WAIT_PROPOSED;
        node_wait_unlimit(w);
        histogram_add(&n->clock.times.write_queue, now_ns - w->submitted_ns);
        n->counters.command_bytes_proposed += e->len;
        list_push_back(&n->proposed, &w->link);
    }
    n->counters.commands_proposed += count;
}

struct node_wait *node_write_claim(struct node *n, uint64_t index, uint64_t term)
{
    while (!list_empty(&n->proposed)) {
        struct node_wait *w = LIST_ENTRY(n->proposed.next, struct node_wait, link);
        if (w->index > index)
            return NULL;
        list_remove(&w->link);
        if (w->index == index && w->term == term)
            return w;
        /* Its place was taken by another leader's entry. */
        node_wait_fail(w, ERR_LEADERSHIP_LOST, NULL);
    }
    return NULL;
}

/* Entries already committed will be applied and answered; of the others nobody knows. */
void node_write_lost(struct node *n)
{
    struct list lost;

    list_init(&lost);
    for (struct list *l = n->proposed.next; l != &n->proposed;) {
        struct list *next = l->next;
        if (LIST_ENTRY(l, struct node_wait, link)->index > n->apply.target) {
            list_remove(l);
            list_push_back(&lost, l);
        }
        l = next;
    }
    for (struct list *l; (l = list_pop_front(&lost));)
        node_wait_fail(LIST_ENTRY(l, struct node_wait, link), ERR_LEADERSHIP_LOST, NULL);
}
