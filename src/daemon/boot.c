/* boot — passes over the targets until there is a leader.
 *
 *            ┌──────────────────────── 1–2 s ◄──────────────────────────────────────────────┐
 *            ▼                                                                              │
 *   WAITING ─► LOOKING ─► JOINING ─► NOTIFYING ─► (set complete?) GATHERING ─► FOUNDING ─► WAITING
 *      └── leader known: done          └── joined: done            └── refused ─────────────┘
 *
 * While it waits it looks several times a second: for a leader, and whether others' notices have completed the
 * set. Joining always comes first, so that the same command line creates, restarts and extends a cluster. */
#include "boot.h"

#include <rq/util/assert.h>
#include <rq/util/mem.h>

enum { WATCH_MS = 50, PASS_MS = 1000, PLEDGE_MS = 5000, REFUSED_MS = 200 };

enum boot_step {
    BOOT_WAITING,
    BOOT_LOOKING,
    BOOT_JOINING,
    BOOT_NOTIFYING,
    BOOT_GATHERING, /* node_found is under way and cannot be recalled */
    BOOT_FOUNDING,  /* the node is created anew */
};

struct boot {
    struct env *env;
    struct node *node;
    struct boot_config config;
    const struct boot_events *events;
    void *ctx;
    enum boot_step step;
    bool canceled;
    const char *const *addrs;
    uint32_t count;
    struct join *join;
    struct env_timer watch;
    uint64_t end_ns;    /* 0: never */
    uint64_t pass_ns;   /* WAITING: the next pass, … */
    uint64_t gather_ns; /* … and pledges are not asked for before */
};

static void boot_end(struct boot *b, int rc, const char *words)
{
    const struct boot_events *events = b->events;
    void *ctx = b->ctx;
    const bool tell = !b->canceled;
    env_timer_disarm(&b->watch);
    join_cancel(b->join);
    mem_free(b);
    if (tell)
        events->done(ctx, rc, words);
}

static void boot_wait(struct boot *b)
{
    b->step = BOOT_WAITING;
    b->pass_ns = env_now_ns(b->env) + (PASS_MS + env_random_u64(b->env) % PASS_MS) * ENV_MS_NS;
}

/* ---- founding -------------------------------------------------------------------------------------- */

static void boot_pledged(void *ctx, int rc, const char *why)
{
    struct boot *b = ctx;
    struct wire_conf founders;
    (void)why;
    if (b->canceled) {
        boot_end(b, ERR_CANCELED, "");
        return;
    }
    if (rc != 0 || !node_founders(b->node, &founders)) {
        b->gather_ns = env_now_ns(b->env) + REFUSED_MS * ENV_MS_NS;
        b->step =
            BOOT_WAITING; /* the next pass comes when it was due: who was refused must go on notifying */
        return;
    }
    b->step = BOOT_FOUNDING;
    b->events->found(b->ctx, &founders);
}

/* 0: asking for the pledges. */
static int boot_gather(struct boot *b)
{
    struct wire_conf founders;
    if (!b->config.voter || env_now_ns(b->env) < b->gather_ns || !node_founders(b->node, &founders))
        return ERR_NOT_READY;
    const int rc = node_found(b->node, PLEDGE_MS, boot_pledged, b);
    if (rc == 0)
        b->step = BOOT_GATHERING;
    return rc;
}

void boot_reopened(struct boot *b, struct node *n)
{
    ASSERT(b->step == BOOT_FOUNDING);
    b->node = n;
    boot_wait(b);
}

/* ---- one pass ---------------------------------------------------------------------------------------- */

static int boot_visit(struct boot *b, enum join_errand errand,
                      void (*done)(void *ctx, int rc, const char *addr))
{
    const struct join_config config = {
        .errand = errand,
        .addrs = b->addrs,
        .count = b->count,
        .https = b->config.https,
        .attempts = 1,
        .connect_timeout_ms = b->config.connect_timeout_ms,
        .anonymous = b->config.anonymous,
    };
    return join_start(b->env, b->node, &config, done, b, &b->join);
}

static void boot_notified(void *ctx, int rc, const char *addr)
{
    struct boot *b = ctx;
    (void)addr;
    b->join = NULL;
    if (rc == 0)
        env_log(b->env, "cluster-bootstrap", "succeeded notifying all targets");
    if (boot_gather(b) != 0)
        boot_wait(b);
}

static void boot_joined(void *ctx, int rc, const char *addr)
{
    struct boot *b = ctx;
    b->join = NULL;
    if (rc == 0) {
        env_log(b->env, "rqlited", "successfully joined cluster at %s", addr);
        boot_end(b, 0, "");
        return;
    }
    b->step = BOOT_NOTIFYING;
    if (!b->config.voter || boot_visit(b, JOIN_NOTIFY, boot_notified) != 0)
        boot_wait(b);
}

void boot_targets(struct boot *b, int rc, const char *const *addrs, uint32_t count)
{
    ASSERT(b->step == BOOT_LOOKING && !b->canceled);
    b->addrs = addrs;
    b->count = count;
    b->step = BOOT_JOINING;
    if (rc != 0 || count == 0 || boot_visit(b, JOIN_MEMBER, boot_joined) != 0)
        boot_wait(b);
}

static void boot_pass(struct boot *b)
{
    b->step = BOOT_LOOKING;
    if (b->events->look)
        b->events->look(b->ctx);
    else
        boot_targets(b, 0, b->config.addrs, b->config.count);
}

/* ---- watching ------------------------------------------------------------------------------------------ */

/* Is this node what it was started to become? */
static bool boot_over(const struct boot *b)
{
    struct node_status status;
    if (b->step == BOOT_FOUNDING)
        return false;
    node_status_get(b->node, &status);
    bool member = false;
    for (uint32_t i = 0; i < status.member_count; i++)
        member =
            member || (status.members[i].self && (status.members[i].voter || !b->config.voter));
    return status.has_leader && member;
}

static void boot_watch(struct env_timer *t)
{
    struct boot *b = t->ctx;
    const uint64_t now = env_now_ns(b->env);
    const bool recallable = b->step != BOOT_GATHERING && b->step != BOOT_LOOKING;
    if (recallable && boot_over(b)) {
        env_log(b->env, "cluster-bootstrap", "boot operation marked done");
        boot_end(b, 0, "");
        return;
    }
    if (recallable && b->step != BOOT_FOUNDING && b->end_ns != 0 && now >= b->end_ns) {
        boot_end(b, ERR_TIMEOUT, "boot timeout");
        return;
    }
    env_timer_arm(&b->watch, WATCH_MS * ENV_MS_NS);
    if (b->step == BOOT_WAITING && boot_gather(b) != 0 && now >= b->pass_ns)
        boot_pass(b);
}

int boot_start(struct env *e, struct node *n, const struct boot_config *config,
               const struct boot_events *events, void *ctx, struct boot **out)
{
    struct boot *b = mem_zalloc(sizeof *b);
    if (!b)
        return ERR_NOMEM;
    b->env = e;
    b->node = n;
    b->config = *config;
    b->events = events;
    b->ctx = ctx;
    b->end_ns = config->limit_ns ? env_now_ns(e) + config->limit_ns : 0;
    env_timer_init(&b->watch, e, boot_watch, b);
    env_timer_arm(&b->watch, 0);
    *out = b;
    return 0;
}

void boot_cancel(struct boot *b)
{
    if (!b)
        return;
    b->canceled = true;
    join_cancel(b->join);
    b->join = NULL;
    env_timer_disarm(&b->watch);
    if (b->step != BOOT_GATHERING) /* else its answer ends us */
        boot_end(b, ERR_CANCELED, "");
}
