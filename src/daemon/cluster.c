/* cluster — the table of daemon.md §3.1, one function per row.
 *
 *   -join                     ─► not serving HTTP? ─► join
 *   -join, -bootstrap-expect  ─► not serving HTTP? ─► boot
 *   -disco-mode dns, dns-srv  ─► boot, through what the lookups say
 *   consul-kv, etcd-kv        ─► new: seed. Always: whoever leads reports it
 *   none of these             ─► found alone, or go on
 *
 * Decisions are taken on a turn of their own, so that events never run inside cluster_start. */
#include "cluster.h"

#include "boot.h"
#include "discover.h"
#include "probe.h"
#include "seed.h"

#include <rq/util/assert.h>
#include <rq/util/mem.h>

#include <stdio.h>
#include <string.h>

struct cluster {
    struct env *env;
    struct node *node;
    struct cluster_config config;
    const struct cluster_events *events;
    void *ctx;
    struct env_turn turn;
    struct probe *probe; /* what is under way: one of these four */
    struct join *join;
    struct boot *boot;
    struct seed *seed;
    bool settled; /* ready or failed was told */
    bool stopping;
    struct disco *disco; /* NULL: nothing is discovered */
    bool disco_stopped;
    struct disco_record self;
    struct report report;
    struct env_turn finish_turn;
    void (*finished)(void *ctx); /* NULL: nobody waits */
    void *finished_ctx;
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

static void looked(void *ctx, int rc, const char *const *addrs, uint32_t count, const char *why)
{
    struct cluster *c = ctx;
    if (rc != 0)
        env_log(c->env, "cluster-bootstrap", "provider lookup failed %s", why);
    if (c->boot)
        boot_targets(c->boot, rc, addrs, count);
}

static void boot_looks(void *ctx)
{
    struct cluster *c = ctx;
    const int rc = disco_look(c->disco, looked, c);
    if (rc != 0)
        boot_targets(c->boot, rc, NULL, 0);
}

static void go_boot(struct cluster *c)
{
    static const struct boot_events listed = {.done = booted, .found = boot_founds};
    static const struct boot_events found_out = {
        .done = booted, .found = boot_founds, .look = boot_looks};
    const struct boot_events *events = c->disco ? &found_out : &listed;
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
    const int rc = boot_start(c->env, c->node, &config, events, c, &c->boot);
    if (rc != 0)
        cluster_failed(c, err_text_of(rc));
}

/* ---- discovery (§4) ------------------------------------------------------------------------------------- */

static void seeded(void *ctx)
{
    struct cluster *c = ctx;
    c->seed = NULL;
    report_start(&c->report, c->env, c->node, c->disco, &c->self);
    cluster_ready(c);
}

static void seed_founds(void *ctx)
{
    struct cluster *c = ctx;
    c->events->found(c->ctx, NULL);
}

static void go_seed(struct cluster *c)
{
    static const struct seed_events events = {.done = seeded, .found = seed_founds};
    const struct flags *f = c->config.flags;
    const struct seed_config config = {
        .disco = c->disco,
        .self = &c->self,
        .voter = !f->raft_non_voter,
        .join = {.errand = JOIN_MEMBER,
                 .attempts = f->join_attempts,
                 .interval_ns = f->join_interval,
                 .connect_timeout_ms = ms_of(f->cluster_connect_timeout),
                 .anonymous = c->config.anonymous},
    };
    env_log(c->env, "disco", "no preexisting nodes, registering with discovery service");
    const int rc = seed_start(c->env, c->node, &config, &events, c, &c->seed);
    if (rc != 0)
        cluster_failed(c, err_text_of(rc));
}

static void go_discover(struct cluster *c, const struct node_status *status)
{
    const struct flags *f = c->config.flags;
    struct err_text why = {""};
    env_log(c->env, "rqlited", "discovery mode: %s", f->disco_mode);
    if (discover_open(c->env, f, &c->disco, &why) != 0) {
        cluster_failed(c, why.text);
        return;
    }
    (void)snprintf(c->self.id, sizeof c->self.id, "%s", f->node_id);
    (void)snprintf(c->self.addr, sizeof c->self.addr, "%s", f->raft_adv_addr);
    (void)snprintf(c->self.api_addr, sizeof c->self.api_addr, "%s", c->config.api_url);
    if (disco_is_dns(c->disco)) {
        go_boot(c);
    } else if (status->member_count == 0) {
        go_seed(c);
    } else {
        env_log(c->env, "disco",
                "preexisting node configuration detected, not registering with discovery service");
        report_start(&c->report, c->env, c->node, c->disco, &c->self);
        cluster_ready(c);
    }
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
    else if (c->config.flags->disco_mode[0] != '\0')
        go_discover(c, &status);
    else
        go_alone(c, &status);
}

/* ---- life -------------------------------------------------------------------------------------------------- */

static void finish_ran(struct env_turn *t)
{
    struct cluster *c = t->ctx;
    c->finished(c->finished_ctx);
}

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
    env_turn_init(&c->finish_turn, e, finish_ran, c);
    *out = c;
    return 0;
}

void cluster_reopened(struct cluster *c, struct node *n)
{
    c->node = n;
    if (c->boot)
        boot_reopened(c->boot, n);
    if (c->seed)
        seed_reopened(c->seed, n);
}

void cluster_status(const struct cluster *c, struct buf *out)
{
    if (c->disco)
        disco_status(c->disco, out);
}

static void disco_is_stopped(void *ctx)
{
    struct cluster *c = ctx;
    c->disco_stopped = true;
    if (c->finished)
        env_turn_schedule(&c->finish_turn);
}

void cluster_finish(struct cluster *c, void (*stopped)(void *ctx), void *ctx)
{
    c->finished = stopped;
    c->finished_ctx = ctx;
    if (!c->disco || c->disco_stopped)
        env_turn_schedule(&c->finish_turn);
}

bool cluster_stop(struct cluster *c, const char **words)
{
    const bool was_settled = c->settled;
    *words = "";
    if (c->stopping)
        return false;
    c->stopping = true;
    *words = c->boot ? "boot canceled" : "failed to join cluster: join operation canceled";
    c->settled = true;
    env_turn_cancel(&c->turn);
    probe_cancel(c->probe);
    join_cancel(c->join);
    boot_cancel(c->boot);
    seed_cancel(c->seed);
    report_stop(&c->report);
    if (c->disco)
        disco_stop(c->disco, disco_is_stopped, c);
    c->seed = NULL;
    c->probe = NULL;
    c->join = NULL;
    c->boot = NULL;
    return !was_settled;
}

void cluster_destroy(struct cluster *c)
{
    if (c)
        disco_destroy(c->disco);
    mem_free(c);
}
