/* node_retry.c — attempts to reach the leader (http-api.md §11.4): each request has as many as its client
 * asked for, and one more. A failed one is followed by the next when there is a connection or another
 * leader, or after a pause. Without a leader a request is refused at once, unless its client asked for
 * retries: a leader that is gone is forgotten within milliseconds here. Only what certainly had no effect comes here: reads, and writes of which
 * nothing left this node. */
#include "node_int.h"

enum { RETRY_PAUSE_MS = 100 };

static void retry_timer_fired(struct env_timer *t)
{
    struct node *n = t->ctx;

    env_turn_schedule(&n->turn);
}

void node_retry_init(struct node *n)
{
    list_init(&n->retrying);
    env_timer_init(&n->retry_timer, n->env, retry_timer_fired, n);
}

void node_retry(struct node_wait *w, int rc, const char *text)
{
    struct node *n = w->node;

    if (w->attempts_left == 0) {
        node_wait_fail(w, rc, text);
        return;
    }
    w->attempts_left--;
    n->counters.last_attempts += w->attempts_left == 0;
    buf_reset(&w->out, 0); /* what came before this attempt broke off */
    n->counters.retried_executions += w->kind == WIRE_EXECUTE;
    n->counters.retried_queries += w->kind == WIRE_QUERY;
    n->counters.retried_requests += w->kind == WIRE_REQUEST;
    n->counters.retried_loads += w->kind == WIRE_LOAD && !w->further;
    if (list_empty(&n->retrying))
        env_timer_arm(&n->retry_timer, RETRY_PAUSE_MS * ENV_MS_NS);
    w->state = WAIT_RETRY;
    w->retry_at_ns = env_now_ns(n->env) + RETRY_PAUSE_MS * ENV_MS_NS;
    list_remove(&w->link);
    list_push_back(&n->retrying, &w->link);
}

void node_retry_leaderless(struct node_wait *w)
{
    if (w->attempts_left > 1 && !w->redirect)
        node_retry(w, ERR_NO_LEADER, NULL);
    else
        node_wait_fail(w, ERR_NO_LEADER, NULL);
}

void node_retry_soon(struct node *n)
{
    if (list_empty(&n->retrying))
        return;
    n->retry_now = true;
    env_turn_schedule(&n->turn);
}

void node_retry_turn(struct node *n)
{
    uint64_t now = env_now_ns(n->env);
    struct list due;

    list_init(&due);
    while (
        !list_empty(&n->retrying) &&
        (n->retry_now || LIST_ENTRY(n->retrying.next, struct node_wait, link)->retry_at_ns <= now))
        list_push_back(&due, list_pop_front(&n->retrying));
    n->retry_now = false;
    for (struct list *l; (l = list_pop_front(&due));)
        n->up.dispatch(LIST_ENTRY(l, struct node_wait, link));
    if (!list_empty(&n->retrying)) {
        uint64_t at = LIST_ENTRY(n->retrying.next, struct node_wait, link)->retry_at_ns;
        env_timer_arm(&n->retry_timer, at > now ? at - now : 0);
    }
}
