/* join — rounds over the list, each address in order, the first success ends it; or, notifying, one round
 * whatever happens.
 *
 *   next address ─► URL? resolve ─► node_join ─► ok: done(0)
 *        ▲                │ failed      │ failed
 *        └── logged ◄─────┴─────────────┘       end of a round: wait, then the first again
 *
 * A question to a node cannot be recalled; after join_cancel its answer only frees the struct. */
#include "join.h"

#include "flags.h"

#include <rq/util/assert.h>
#include <rq/util/mem.h>

enum {
    ANSWER_MS = 30 * 1000, /* the leader answers when the newcomer has caught up */
    NOTIFY_MS = 5 * 1000,
};

struct join {
    struct env *env;
    struct node *node;
    struct join_config config;
    uint32_t at;
    int64_t round;
    int first_rc; /* JOIN_NOTIFY: the first failure */
    bool asking, canceled;
    struct api_resolve *resolve; /* NULL: none under way */
    struct env_timer timer;      /* between rounds, and for the first step */
    void (*done)(void *ctx, int rc, const char *addr);
    void *ctx;
};

static void join_try(struct join *j);

static void join_end(struct join *j, int rc, const char *addr)
{
    void (*done)(void *, int, const char *) = j->done;
    void *ctx = j->ctx;
    env_timer_disarm(&j->timer);
    if (!j->canceled)
        done(ctx, rc, addr);
    mem_free(j);
}

static void join_next(struct join *j, const char *addr)
{
    if (++j->at < j->config.count) {
        env_timer_arm(&j->timer, 0);
        return;
    }
    j->at = 0;
    if (j->config.errand == JOIN_NOTIFY)
        join_end(j, j->first_rc, addr);
    else if (++j->round >= j->config.attempts)
        join_end(j, ERR_REFUSED, addr);
    else
        env_timer_arm(&j->timer, j->config.interval_ns > 0 ? (uint64_t)j->config.interval_ns : 0);
}

static void join_failed(struct join *j, int rc, const char *why)
{
    const char *addr = j->config.addrs[j->at];
    if (j->canceled) {
        join_end(j, rc, addr);
        return;
    }
    why = why && why[0] != '\0' ? why : err_text_of(rc);
    if (j->config.errand == JOIN_MEMBER)
        env_log(j->env, "cluster-join", "failed to join via node at %s: %s%s", addr, why,
                j->config.anonymous ? " (did you forget to set -join-as?)" : "");
    else
        env_log(j->env, "cluster-bootstrap", "failed to notify all targets: %s: %s", addr, why);
    j->first_rc = j->first_rc ? j->first_rc : rc;
    join_next(j, addr);
}

static void join_joined(void *ctx, int rc, const char *why)
{
    struct join *j = ctx;
    j->asking = false;
    if (rc != 0)
        join_failed(j, rc, why);
    else if (j->config.errand == JOIN_NOTIFY && !j->canceled)
        join_next(j, j->config.addrs[j->at]);
    else
        join_end(j, 0, j->config.addrs[j->at]);
}

static void join_ask(struct join *j, const char *raft_addr)
{
    if (j->canceled) {
        join_end(j, ERR_CANCELED, raft_addr);
        return;
    }
    j->asking = true;
    const int rc = j->config.errand == JOIN_NOTIFY
                       ? node_notify(j->node, raft_addr, NOTIFY_MS, join_joined, j)
                       : node_join(j->node, raft_addr, j->config.connect_timeout_ms + ANSWER_MS,
                                   join_joined, j);
    if (rc != 0) {
        j->asking = false;
        join_failed(j, rc, NULL);
    }
}

static void join_resolved(void *ctx, int rc, const char *raft_addr, const char *why)
{
    struct join *j = ctx;
    j->resolve = NULL;
    if (rc != 0)
        join_failed(j, rc, why);
    else
        join_ask(j, raft_addr);
}

static void join_try(struct join *j)
{
    const char *addr = j->config.addrs[j->at];
    if (!flags_is_url(addr)) {
        join_ask(j, addr);
        return;
    }
    const struct api_resolve_ask ask = {
        .url = addr, .timeout_ms = j->config.connect_timeout_ms, .https = j->config.https};
    const int rc = api_resolve_start(j->env, &ask, join_resolved, j, &j->resolve);
    if (rc != 0)
        join_failed(j, rc, NULL);
}

static void join_timer(struct env_timer *t)
{
    join_try(t->ctx);
}

int join_start(struct env *e, struct node *n, const struct join_config *config,
               void (*done)(void *ctx, int rc, const char *addr), void *ctx, struct join **out)
{
    ASSERT(config->count > 0 && done != NULL);
    struct join *j = mem_zalloc(sizeof *j);
    if (!j)
        return ERR_NOMEM;
    j->env = e;
    j->node = n;
    j->config = *config;
    j->done = done;
    j->ctx = ctx;
    env_timer_init(&j->timer, e, join_timer, j);
    env_timer_arm(&j->timer, 0);
    *out = j;
    return 0;
}

void join_cancel(struct join *j)
{
    if (!j)
        return;
    j->canceled = true;
    if (j->resolve)
        api_resolve_cancel(j->resolve);
    if (!j->asking)
        join_end(j, ERR_CANCELED, "");
}
