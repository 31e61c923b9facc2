/* cluster — the table of daemon.md §3.1, one function per row.
 *
 *   -join                     ─► not serving HTTP? ─► join
 *   -join, -bootstrap-expect  ─► not serving HTTP? ─► boot
 *   neither                   ─► found alone, or go on
 *
 * Decisions are taken on a turn of their own, so that events never run inside cluster_start. */
#include "cluster.h"

#include "boot.h"
#include "probe.h"

#include <rq/util/assert.h>
#include <rq/util/mem.h>

struct cluster {
    struct env *env;
    struct node *node;
    struct cluster_config config;
    const struct cluster_events *events;
    void *ctx;
    struct env_turn turn;
    struct probe *probe; /* what is under way: one of these three */
    struct join *join;
    struct boot *boot;
    bool settled; /* ready or failed was told */
};

static uint64_t ms_of(int64_t ns)
{
    return ns <= 0 ? 0 : ns < FLAGS_MS ? 1 : (uint64_t)(ns / FLAGS_MS);
}

static void cluster_ready(struct cluster *c)
{
    ASSERT(!c->settled);
    c->settled = true;
    c->events->ready(c->ctx);
}

static void cluster_failed(struct cluster *c, const char *words)
{
    ASSERT(!c->settled);
    c->settled = true;
    c->events->failed(c->ctx, words);
}

/* ---- join (§3.3) ------------------------------------------------------------------------------------- */

static void joined(void *ctx, int rc, const char *addr)
{
    struct cluster *c = ctx;
    c->join = NULL;
    if (rc != 0) {
        cluster_failed(c, "failed to join cluster: failed to join cluster");
        return;
    }
    env_log(c->env, "rqlited", "successfully joined cluster at %s", addr);
    cluster_ready(c);
}

static void go_join(struct cluster *c)
{
    const struct flags *f = c->config.flags;
    const struct join_config config = {
        .errand = JOIN_MEMBER,
        .addrs = f->joins,
        .count = f->join_count,
        .https = c->config.https,
        .attempts = f->join_attempts,
        .interval_ns = f->join_interval,
        .connect_timeout_ms = ms_of(f->cluster_connect_timeout),
        .anonymous = c->config.anonymous,
    };
    const int rc = join_start(c->env, c->node, &config, joined, c, &c->join);
    if (rc != 0)
        cluster_failed(c, err_text_of(rc));
}

/* ---- boot (§3.5) ----------------------------------------------------------------------------------------- */

static void booted(void *ctx, int rc, const char *words)
{
    struct cluster *c = ctx;
    c->boot = NULL;
    if (rc != 0)
        cluster_failed(c, words);
    else
        cluster_ready(c);
}

static void boot_founds(void *ctx, const struct wire_conf *founders)
{
    struct cluster *c = ctx;
    c->events->found(c->ctx, founders);
}

static void go_boot(struct cluster *c)
{
    static const struct boot_events events = {.done = booted, .found = boot_founds};
    const struct flags *f = c->config.flags;
    const struct boot_config config = {
        .addrs = f->joins,
        .count = f->join_count,
        .voter = !f->raft_non_voter,
        .limit_ns = f->bootstrap_expect_timeout > 0 ? (uint64_t)f->bootstrap_expect_timeout : 1,
        .https = c->config.https,
        .connect_timeout_ms = ms_of(f->cluster_connect_timeout),
        .anonymous = c->config.anonymous,
    };
    const int rc = boot_start(c->env, c->node, &config, &events, c, &c->boot);
    if (rc != 0)
        cluster_failed(c, err_text_of(rc));
}

/* ---- the table ------------------------------------------------------------------------------------------- */

static void probed(void *ctx, const char *addr)
{
    struct cluster *c = ctx;
    struct err_text words;
    c->probe = NULL;
    if (addr) {
        err_set(&words, ERR_PROTOCOL,
                "join address %s appears to be serving HTTP when it should be Raft", addr);
        cluster_failed(c, words.text);
    } else if (c->config.flags->bootstrap_expect > 0) {
        go_boot(c);
    } else {
        go_join(c);
    }
}

static void go_through_list(struct cluster *c, const struct node_status *status)
{
    const struct flags *f = c->config.flags;
    if (f->bootstrap_expect <= 0 && status->member_count == 1 && status->members[0].self) {
        cluster_failed(c, "node is the only node in a single-node cluster, joining other clusters "
                          "not supported");
        return;
    }
    const int rc = probe_start(c->env, f->joins, f->join_count, probed, c, &c->probe);
    if (rc != 0)
        cluster_failed(c, err_text_of(rc));
}

static void go_alone(struct cluster *c, const struct node_status *status)
{
    if (status->member_count == 0) {
        cluster_failed(
            c, c->config.flags->raft_non_voter
                   ? "cannot create a new non-voting node without joining it to an existing cluster"
                   : "this node never became a member of its cluster, give -join again");
        return;
    }
    if (!c->config.state_found)
        env_log(c->env, "rqlited", "bootstrapping single new node");
    cluster_ready(c);
}

static void decide(struct env_turn *t)
{
    struct cluster *c = t->ctx;
    struct node_status status;
    node_status_get(c->node, &status);
    if (c->config.flags->join_count > 0)
        go_through_list(c, &status);
    else
        go_alone(c, &status);
}

/* ---- life -------------------------------------------------------------------------------------------------- */

int cluster_start(struct env *e, struct node *n, const struct cluster_config *config,
                  const struct cluster_events *events, void *ctx, struct cluster **out)
{
    struct cluster *c = mem_zalloc(sizeof *c);
    if (!c)
        return ERR_NOMEM;
    c->env = e;
    c->node = n;
    c->config = *config;
    c->events = events;
    c->ctx = ctx;
    env_turn_init(&c->turn, e, decide, c);
    env_turn_schedule(&c->turn);
    *out = c;
    return 0;
}

void cluster_reopened(struct cluster *c, struct node *n)
{
    c->node = n;
    if (c->boot)
        boot_reopened(c->boot, n);
}

bool cluster_stop(struct cluster *c, const char **words)
{
    const bool was_settled = c->settled;
    *words = c->boot ? "boot canceled" : "failed to join cluster: join operation canceled";
    c->settled = true;
    env_turn_cancel(&c->turn);
    probe_cancel(c->probe);
    join_cancel(c->join);
    boot_cancel(c->boot);
    c->probe = NULL;
    c->join = NULL;
    c->boot = NULL;
    return !was_settled;
}

void cluster_destroy(struct cluster *c)
{
    mem_free(c);
}
