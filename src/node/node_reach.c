/* node_reach.c — does the address that a newcomer tells mean anything here? A name that this node cannot resolve must
 * not get into the configuration, nor among founders: all would call it in vain (daemon.md §3.4, §3.5).
 *
 * Asked by calling it and hanging up: that resolves the name and, between nodes that speak TLS, shows a certificate, which
 * may be one that nobody here takes. Whether anybody answers does not matter, a node may be told of before it can be
 * reached. Called by node_members.c and node_found.c. */
#include "node_int.h"

enum { REACHES_MAX = 64, REACH_MS = 3000 };

struct node_reach {
    struct list link; /* while not told */
    struct node *node;
    struct env_stream *stream;
    struct env_timer timer;
    node_done_fn *done;
    void *ctx;
    char addr[WIRE_ADDR_MAX + 1];
};

static void reach_tell(node_done_fn *done, void *ctx, const char *addr, int rc)
{
    char text[WIRE_TEXT_MAX + 1] = "";

    if (rc == ERR_IDENTITY || rc == ERR_PROTOCOL)
        (void)snprintf(text, sizeof(text), "%s at %s",
                       rc == ERR_IDENTITY ? "this cluster does not accept the certificate shown"
                                          : "this cluster uses TLS, which fails",
                       addr);
    else if (rc == ERR_ADDRESS || rc == ERR_INVALID)
        (void)snprintf(text, sizeof(text), "failed to resolve %s: %s", addr,
                       rc == ERR_INVALID ? "not host:port" : "no such host");
    else if (rc)
        (void)snprintf(text, sizeof(text), "%s", err_text_of(rc));
    done(ctx, rc, text);
}

/* Once; the stream goes on its own. */
static void reach_end(struct node_reach *r, int rc)
{
    node_done_fn *done = r->done;

    if (!done)
        return;
    r->done = NULL;
    list_remove(&r->link);
    env_timer_disarm(&r->timer);
    env_stream_close(r->stream);
    reach_tell(done, r->ctx, r->addr, rc);
}

static void reach_opened(void *ctx, int rc)
{
    const bool refused = rc == ERR_ADDRESS || rc == ERR_IDENTITY || rc == ERR_PROTOCOL;

    reach_end(ctx, refused ? rc : 0);
}

static void reach_ended(void *ctx, int rc)
{
    (void)rc;
    reach_end(ctx, 0);
}

static void reach_data(void *ctx, struct slice bytes)
{
    (void)ctx; /* not read */
    (void)bytes;
}

static void reach_drained(void *ctx)
{
    (void)ctx;
}

static void reach_closed(void *ctx)
{
    struct node_reach *r = ctx;
    struct node *n = r->node;

    ASSERT(!r->done && n->reach_count > 0);
    n->reach_count--;
    mem_free(r);
    n->up.lane_idle(n);
}

static void reach_timed_out(struct env_timer *t)
{
    reach_end(t->ctx,
              0); /* a name was found, or whoever knows names is slow: not the newcomer's fault */
}

static const struct env_stream_events reach_events = {
    .opened = reach_opened,
    .data = reach_data,
    .ended = reach_ended,
    .drained = reach_drained,
    .closed = reach_closed,
};

int node_reach(struct node *n, const char *addr, node_done_fn *done, void *ctx)
{
    if (n->reach_count >= REACHES_MAX)
        return ERR_FULL;
    struct node_reach *r = mem_zalloc(sizeof(*r));
    if (!r)
        return ERR_NOMEM;
    r->node = n;
    r->done = done;
    r->ctx = ctx;
    list_init(&r->link);
    (void)snprintf(r->addr, sizeof(r->addr), "%s", addr);
    env_timer_init(&r->timer, n->env, reach_timed_out, r);
    struct env *net = n->config.raft_net ? n->config.raft_net : n->env;
    const int rc = env_stream_connect(net, addr, &reach_events, r, &r->stream);
    if (rc == 0) {
        list_push_back(&n->reaches, &r->link);
        n->reach_count++;
        env_timer_arm(&r->timer, REACH_MS * ENV_MS_NS);
        return 0;
    }
    mem_free(r);
    if (rc == ERR_INVALID)
        reach_tell(done, ctx, addr, rc);
    return rc == ERR_INVALID ? 0 : rc;
}

void node_reach_cancel_all(struct node *n)
{
    while (!list_empty(&n->reaches))
        reach_end(LIST_ENTRY(n->reaches.next, struct node_reach, link), ERR_CANCELED);
}
