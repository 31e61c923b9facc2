/* leave — up to five tries, a quarter of a second apart, ten seconds in all:
 *
 *   leader known? ─► ask it to remove us ─► (follower: until the own configuration says so) ─► done
 *       └─ wait        └─ failed: again
 *
 * Who is removed may not be told any more, so that a follower that does not learn of it has left all the same. */
#include "leave.h"

#include <rq/util/assert.h>
#include <rq/util/mem.h>

#include <string.h>

enum { TRIES = 5, PAUSE_MS = 250, LOOK_MS = 50, TRY_MS = 5000, LIMIT_MS = 10000, KNOW_MS = 1000 };

struct leave {
    struct env *env;
    struct node *node;
    const char *user, *password;
    struct env_timer timer;
    uint32_t tries;
    bool removed;
    uint64_t end_ns; /* of all; once removed: of waiting to learn of it */
    void (*done)(void *ctx, int rc, const char *why);
    void *ctx;
};

static void leave_end(struct leave *l, int rc, const char *why)
{
    void (*done)(void *, int, const char *) = l->done;
    void *ctx = l->ctx;
    char words[ERR_TEXT_MAX];
    strncpy(words, why, sizeof words - 1);
    words[sizeof words - 1] = '\0';
    env_timer_disarm(&l->timer);
    mem_free(l);
    done(ctx, rc, words);
}

static bool is_member(const struct node_status *status)
{
    for (uint32_t i = 0; i < status->member_count; i++)
        if (status->members[i].self)
            return true;
    return false;
}

static void leave_answered(void *ctx, int rc, const char *why)
{
    struct leave *l = ctx;
    if (rc == 0) {
        l->removed = true;
        l->end_ns = env_now_ns(l->env) + KNOW_MS * ENV_MS_NS;
        env_timer_arm(&l->timer, 0);
    } else if (++l->tries == TRIES) {
        leave_end(l, rc, why);
    } else {
        env_timer_arm(&l->timer, PAUSE_MS * ENV_MS_NS);
    }
}

static void leave_ask(struct leave *l, const struct node_status *status)
{
    const struct node_order order = {
        .name = slice_str(status->name),
        .user = slice_str(l->user ? l->user : ""),
        .password = slice_str(l->password ? l->password : ""),
        .timeout_ms = TRY_MS,
    };
    const int rc = node_remove(l->node, &order, leave_answered, l);
    if (rc != 0)
        leave_answered(l, rc, err_text_of(rc));
}

static void leave_step(struct env_timer *t)
{
    struct leave *l = t->ctx;
    struct node_status status;
    node_status_get(l->node, &status);
    const bool late = env_now_ns(l->env) >= l->end_ns;
    if (!is_member(&status) || status.member_count == 1 || (l->removed && late)) {
        leave_end(l, 0, "");
    } else if (late) {
        leave_end(l, ERR_TIMEOUT, "timed out");
    } else if (l->removed || (!status.has_leader && status.role != RAFT_LEADER)) {
        env_timer_arm(&l->timer, LOOK_MS * ENV_MS_NS);
    } else {
        leave_ask(l, &status);
    }
}

int leave_start(struct env *e, struct node *n, const char *user, const char *password,
                void (*done)(void *ctx, int rc, const char *why), void *ctx)
{
    struct leave *l = mem_zalloc(sizeof *l);
    if (!l)
        return ERR_NOMEM;
    l->env = e;
    l->node = n;
    l->user = user;
    l->password = password;
    l->done = done;
    l->ctx = ctx;
    l->end_ns = env_now_ns(e) + LIMIT_MS * ENV_MS_NS;
    env_timer_init(&l->timer, e, leave_step, l);
    env_timer_arm(&l->timer, 0);
    return 0;
}
