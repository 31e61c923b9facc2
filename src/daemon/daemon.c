/* daemon — the order of starting and stopping.
 *
 *   HTTP up ─► look for state (job) ─► node opens ─► join or found or continue ─► ready
 *                                          └◄── anew, as founder ──┘
 *      └────────────┴───────┬─────────────┴───────────────┴──► stop: HTTP ─► node ─► finished(status)
 *
 * A failure takes the same way down, with status 1. */
#include "daemon.h"

#include "cluster.h"
#include "leave.h"
#include "timing.h"

#include <rq/limits.h>
#include <rq/util/assert.h>
#include <rq/util/mem.h>

#include <stdio.h>
#include <string.h>
#include <strings.h>

enum {
    STOP_GRACE_MS = 10 * 1000,
    BATCH_MAX = 1000,
    STATEMENT_CACHE = 256,
    CACHE_PAGES = 4000,
    SNAPSHOT_INTERVAL_MS = 120 * 1000, /* for a -raft-snap-int of 0; bytes are then not looked at */
    SNAPSHOT_INTERVAL_MIN_MS = 5,
    PATH_MAX_BYTES = 1024
};
static const uint64_t wal_limit_bytes = 64 * 1024 * 1024;

struct daemon {
    struct env *env;
    const struct flags *flags;
    const char *version, *dir;
    uint32_t reader_jobs;
    struct api *api;
    struct node *node;
    struct secrets secrets;
    uint32_t stop_waits; /* parts that are not yet stopped, at the end */
    struct cluster *cluster;
    struct wire_conf founders; /* count 0: this node alone */
    struct env_job state_job;
    bool state_found;     /* by the job */
    bool looking;         /* the job is under way */
    bool founding;        /* the node is created anew, as founder; or was */
    uint64_t found_by_ns; /* with others: else their pledges may have lapsed; 0: no limit */
    bool node_stopping;   /* … and the old one is on its way down */
    bool stopping;
    int status;
    struct env_turn stop_turn;
    void (*finished)(void *ctx, int status);
    void *ctx;
    char api_url[300];
};

static void daemon_stop_begin(struct daemon *d);

/* Fatal after the flags phase: a log line, then the way down. */
static void daemon_fail(struct daemon *d, const char *what, const char *why)
{
    env_log(d->env, "rqlited", "%s%s", what, why);
    d->status = 1;
    daemon_stop_begin(d);
}

/* ---- the way down --------------------------------------------------------------------------------------- */

static void part_stopped(void *ctx)
{
    struct daemon *d = ctx;
    if (--d->stop_waits > 0)
        return;
    if (d->status == 0)
        env_log(d->env, "rqlited", "rqlite server stopped");
    d->finished(d->ctx, d->status);
}

static void daemon_finish(struct daemon *d)
{
    if (d->node)
        node_destroy(d->node);
    d->node = NULL;
    api_destroy(d->api);
    d->api = NULL;
    d->stop_waits = 1U + (d->secrets.guard ? 1 : 0) + (d->secrets.tls ? 1 : 0) +
                    (d->secrets.node_tls ? 1 : 0) + (d->cluster ? 1 : 0);
    if (d->cluster)
        cluster_finish(d->cluster, part_stopped, d);
    if (d->secrets.guard)
        guard_stop(d->secrets.guard, part_stopped, d);
    if (d->secrets.tls)
        tls_stop(d->secrets.tls, part_stopped, d);
    if (d->secrets.node_tls)
        tls_stop(d->secrets.node_tls, part_stopped, d);
    part_stopped(d);
}

static void node_stopped(void *ctx)
{
    daemon_finish(ctx);
}

static void daemon_stop_node(struct daemon *d)
{
    if (d->node)
        node_stop(d->node, node_stopped, d);
    else
        daemon_finish(d);
}

static void daemon_left(void *ctx, int rc, const char *why)
{
    struct daemon *d = ctx;
    if (rc == 0) {
        env_log(d->env, "cluster-remove",
                "removed this node successfully from cluster before shutdown");
    } else {
        env_log(d->env, "rqlited", "failed to remove this node from cluster before shutdown: %s",
                why);
        d->status = 1;
    }
    daemon_stop_node(d);
}

static bool is_in_company(const struct node *n)
{
    struct node_status status;
    node_status_get(n, &status);
    bool self = false;
    for (uint32_t i = 0; i < status.member_count; i++)
        self = self || status.members[i].self;
    return self && status.member_count > 1;
}

/* -raft-cluster-remove-shutdown. Whoever is alone cannot leave, and whoever failed has not arrived. */
static bool daemon_leaves(struct daemon *d)
{
    if (!d->flags->raft_cluster_remove_shutdown || d->status != 0 || !d->node ||
        !is_in_company(d->node))
        return false;
    env_log(d->env, "cluster-remove",
            "initiating removal of this node from cluster before shutdown");
    return leave_start(d->env, d->node, d->secrets.join_user, d->secrets.join_password, daemon_left,
                       d) == 0;
}

static void api_stopped(void *ctx)
{
    struct daemon *d = ctx;
    api_node_set(d->api, NULL);
    if (!daemon_leaves(d))
        daemon_stop_node(d);
}

static void daemon_stop_run(struct env_turn *t)
{
    struct daemon *d = t->ctx;
    if (!d->looking && !d->node_stopping) /* else its done() comes back here */
        api_stop(d->api, STOP_GRACE_MS, api_stopped, d);
}

static void daemon_stop_begin(struct daemon *d)
{
    const char *words;
    if (d->stopping)
        return;
    d->stopping = true;
    if (d->cluster)
        (void)cluster_stop(d->cluster, &words);
    env_turn_schedule(&d->stop_turn);
}

void daemon_stop(struct daemon *d)
{
    const char *words;
    if (d->cluster && !d->stopping && cluster_stop(d->cluster, &words))
        daemon_fail(d, "clustering failure: ", words);
    daemon_stop_begin(d);
}

/* ---- the cluster ------------------------------------------------------------------------------------------ */

static void daemon_ready(struct daemon *d)
{
    const struct flags *f = d->flags;
    const char *host = f->http_adv_host[0] != '\0' ? f->http_adv_host : "localhost";
    env_log(d->env, "rqlited", "node HTTP API available at %s", d->api_url);
    env_log(d->env, "rqlited", "connect using the command-line tool via 'rqlite -H %s -p %s'", host,
            f->http_adv_port);
    env_log(d->env, "rqlited", "visit the rqlite console for this node at %s/console/", d->api_url);
}

static void cluster_ready(void *ctx)
{
    daemon_ready(ctx);
}

static void cluster_failed(void *ctx, const char *words)
{
    daemon_fail(ctx, "clustering failure: ", words);
}

static void daemon_open_node(struct daemon *d);

static void founder_stopped(void *ctx)
{
    struct daemon *d = ctx;
    node_destroy(d->node);
    d->node = NULL;
    d->node_stopping = false;
    if (d->stopping)
        env_turn_schedule(&d->stop_turn);
    else
        daemon_open_node(d);
}

/* This node writes the first configuration of a new cluster: it is created anew, to find that as its state. */
static void cluster_found(void *ctx, const struct wire_conf *founders)
{
    struct daemon *d = ctx;
    d->founding = true;
    d->founders.count = 0;
    d->found_by_ns = 0;
    if (founders) {
        d->founders = *founders;
        d->found_by_ns = env_now_ns(d->env) + NODE_FOUND_BY_MS * ENV_MS_NS;
    }
    d->node_stopping = true;
    api_node_set(d->api, NULL);
    node_stop(d->node, founder_stopped, d);
}

static void daemon_cluster(struct daemon *d)
{
    static const struct cluster_events events = {
        .ready = cluster_ready, .failed = cluster_failed, .found = cluster_found};
    const struct cluster_config config = {
        .flags = d->flags,
        .https = d->secrets.tls ? tls_net(d->secrets.tls) : NULL,
        .anonymous = d->secrets.join_user == NULL,
        .state_found = d->state_found,
        .api_url = d->api_url,
    };
    if (d->founding)
        env_log(d->env, "store", "cluster bootstrap successful, servers: %u",
                (unsigned)(d->founders.count ? d->founders.count : 1));
    if (d->cluster) {
        cluster_reopened(d->cluster, d->node);
        return;
    }
    const int rc = cluster_start(d->env, d->node, &config, &events, d, &d->cluster);
    if (rc != 0)
        daemon_fail(d, "clustering failure: ", err_text_of(rc));
}

/* ---- the node ---------------------------------------------------------------------------------------------- */

static void node_opened(void *ctx, int rc, const char *why)
{
    struct daemon *d = ctx;
    struct err_text words;
    if (d->stopping)
        return;
    if (rc == ERR_ADDRESS) {
        err_set(&words, rc, "failed to listen on %s: %s", d->flags->raft_addr, why);
        daemon_fail(d, words.text, "");
    } else if (rc != 0) {
        daemon_fail(d, "failed to open store: ", why && why[0] != '\0' ? why : err_text_of(rc));
    } else {
        env_log(d->env, "cluster", "service listening on %s", d->flags->raft_adv_addr);
        env_log(d->env, "mux", "%smux serving on %s, advertising %s",
                d->secrets.node_tls ? "TLS " : "", node_bound_addr(d->node),
                d->flags->raft_adv_addr);
        daemon_cluster(d);
    }
}

static uint64_t ms_of(int64_t ns)
{
    return ns <= 0 ? 0 : ns < FLAGS_MS ? 1 : (uint64_t)(ns / FLAGS_MS);
}

static uint32_t reader_count(int64_t flag)
{
    return flag <= 0 || flag > LIMIT_NODE_READERS ? LIMIT_NODE_READERS : (uint32_t)flag;
}

/* daemon.md §1.3: any case; what is none of them is INFO. */
static enum node_raft_log raft_log_of(const char *text)
{
    static const struct {
        const char *name;
        enum node_raft_log level;
    } levels[] = {{"OFF", NODE_RAFT_LOG_OFF},     {"ERROR", NODE_RAFT_LOG_ERROR},
                  {"WARN", NODE_RAFT_LOG_WARN},   {"INFO", NODE_RAFT_LOG_INFO},
                  {"DEBUG", NODE_RAFT_LOG_DEBUG}, {"TRACE", NODE_RAFT_LOG_TRACE}};
    for (size_t i = 0; i < sizeof levels / sizeof levels[0]; i++)
        if (strcasecmp(text, levels[i].name) == 0)
            return levels[i].level;
    return NODE_RAFT_LOG_INFO;
}

static void daemon_open_node(struct daemon *d)
{
    const struct flags *f = d->flags;
    struct err_text why = {""};
    struct timing timing;
    if (d->founding && d->found_by_ns != 0 && env_now_ns(d->env) > d->found_by_ns) {
        env_log(d->env, "store", "cluster bootstrap failed: it took too long to stop this node");
        d->founding = false;
        d->founders.count = 0;
    }
    if (timing_of(f, &timing, &why) != 0) {
        daemon_fail(d, "failed to open store: ", why.text);
        return;
    }
    const struct node_config config = {
        .raft_log = raft_log_of(f->raft_log_level),
        .name = f->node_id,
        .dir = d->dir,
        .raft_bind = f->raft_addr,
        .raft_addr = f->raft_adv_addr,
        .raft_net = d->secrets.node_tls ? tls_net(d->secrets.node_tls) : NULL,
        .api_url = d->api_url,
        .version = d->version,
        .codec = api_codec(),
        .guard = d->secrets.guard,
        .non_voter = f->raft_non_voter,
        .bootstrap = d->founding || (f->join_count == 0 && f->disco_mode[0] == '\0' &&
                                     !f->raft_non_voter && !d->state_found),
        .founders = d->founders.count > 0 ? &d->founders : NULL,
        .bootstrap_expect = f->bootstrap_expect > 0 ? (uint32_t)f->bootstrap_expect : 0,
        .no_handover = !f->raft_shutdown_stepdown,
        .remove_shutdown = f->raft_remove_shutdown,
        .reap_voter_ms = ms_of(f->raft_reap_node_timeout),
        .reap_replica_ms = ms_of(f->raft_reap_read_only_node_timeout),
        .join_user = d->secrets.join_user,
        .join_password = d->secrets.join_password,
        .db = {.path = f->on_disk_path[0] != '\0' ? f->on_disk_path : NULL,
               .on_disk = f->on_disk,
               .shared = true, /* where the node's database lives at the usual place */
               .foreign_keys = f->fk,
               .statement_cache = STATEMENT_CACHE,
               .batch_max = BATCH_MAX,
               .cache_pages = CACHE_PAGES,
               .wal_limit_bytes = f->raft_snap_wal_size ? f->raft_snap_wal_size : wal_limit_bytes},
        .heartbeat_timeout_ms = ms_of(timing.heartbeat),
        .election_timeout_ms = ms_of(timing.election),
        .lease_timeout_ms = ms_of(timing.lease),
        .apply_timeout_ms = ms_of(timing.apply),
        .connect_timeout_ms = ms_of(f->cluster_connect_timeout),
        .reader_count = reader_count(f->db_max_ro_conns),
        .reader_jobs = d->reader_jobs,
        .snapshot_entries = f->raft_snap,
        .vacuum_interval_ms = ms_of(f->auto_vacuum_int),
        .optimize_interval_ms = ms_of(f->auto_optimize_int),
        .snapshot_trailing = node_snapshot_trailing(f->raft_snap),
        .snapshot_wal_bytes = f->raft_snap_int ? f->raft_snap_wal_size : 0,
        .snapshot_interval_ms = f->raft_snap_int ? ms_of(f->raft_snap_int) : SNAPSHOT_INTERVAL_MS,
        .compress_images = f->compress_snap_transport,
    };
    if (f->raft_snap_int != 0 && f->raft_snap_int < SNAPSHOT_INTERVAL_MIN_MS * FLAGS_MS) {
        daemon_fail(d, "failed to open store: ",
                    "creating the raft system failed: SnapshotInterval is too low");
        return;
    }
    env_log(d->env, "store", "opening store with node ID %s, listening on %s", f->node_id,
            f->raft_adv_addr);
    const int rc = node_create(d->env, &config, node_opened, d, &d->node, &why);
    if (rc != 0)
        daemon_fail(d, "failed to open store: ", why.text[0] != '\0' ? why.text : err_text_of(rc));
    else
        api_node_set(d->api, d->node);
}

/* ---- is there state? ----------------------------------------------------------------------------------------- */

static void state_entry(void *ctx, const char *name)
{
    struct daemon *d = ctx;
    (void)name;
    d->state_found = true;
}

static void state_run(struct env_job *job)
{
    struct daemon *d = (struct daemon *)(void *)((char *)job - offsetof(struct daemon, state_job));
    char path[PATH_MAX_BYTES];
    (void)snprintf(path, sizeof path, "%s/raft", d->dir);
    if (env_dir_list(d->env, path, state_entry, d) != 0)
        d->state_found = false; /* node says what is wrong with the directory */
}

static void state_done(struct env_job *job)
{
    struct daemon *d = (struct daemon *)(void *)((char *)job - offsetof(struct daemon, state_job));
    d->looking = false;
    if (d->stopping) {
        env_turn_schedule(&d->stop_turn);
        return;
    }
    if (d->state_found)
        env_log(d->env, "rqlited", "preexisting node state detected in %s", d->dir);
    else
        env_log(d->env, "rqlited",
                "no preexisting node state detected in %s, node may be bootstrapping", d->dir);
    daemon_open_node(d);
}

/* ---- life -------------------------------------------------------------------------------------------------------- */

static uint32_t count_of(int64_t v)
{
    return v < 1 ? 1 : v > UINT32_MAX ? UINT32_MAX : (uint32_t)v;
}

static void status_disco(void *ctx, struct buf *out)
{
    const struct daemon *d = ctx;
    if (d->cluster)
        cluster_status(d->cluster, out);
}

static int daemon_open_api(struct daemon *d, const struct daemon_config *config,
                           struct err_text *why)
{
    const struct flags *f = config->flags;
    struct api_config api = {
        .bind_addr = f->http_addr,
        .adv_addr = f->http_adv_addr,
        .raft_addr = f->raft_adv_addr,
        .version = config->version,
        .allow_origin = f->http_allow_origin,
        .queue = {.capacity = count_of(f->write_queue_capacity),
                  .batch_size = count_of(f->write_queue_batch_size),
                  .timeout_ns = f->write_queue_timeout > 0 ? (uint64_t)f->write_queue_timeout : 0,
                  .transaction = f->write_queue_tx},
        .guard = config->secrets.guard,
        .net = f->http_cert[0] != '\0' ? tls_net(config->secrets.tls) : NULL,
        .facts = *config->facts,
    };
    struct err_text reason = {""};
    api.facts.disco = status_disco;
    api.facts.disco_ctx = d;
    const int rc = api_create(d->env, &api, &d->api, &reason);
    if (rc != 0)
        err_set(why, rc, "failed to start HTTP server: %s",
                reason.text[0] != '\0' ? reason.text : err_text_of(rc));
    return rc;
}

int daemon_start(struct env *e, const struct daemon_config *config,
                 void (*finished)(void *ctx, int status), void *ctx, struct daemon **out,
                 struct err_text *why)
{
    ASSERT(config->flags != NULL && finished != NULL);
    struct daemon *d = mem_zalloc(sizeof *d);
    if (!d)
        return err_set(why, ERR_NOMEM, "out of memory");
    d->env = e;
    d->flags = config->flags;
    d->version = config->version;
    d->dir = config->dir;
    d->reader_jobs = config->reader_jobs;
    d->secrets = config->secrets;
    d->finished = finished;
    d->ctx = ctx;
    env_turn_init(&d->stop_turn, e, daemon_stop_run, d);
    (void)snprintf(d->api_url, sizeof d->api_url, "%s://%s",
                   d->flags->http_cert[0] != '\0' ? "https" : "http", d->flags->http_adv_addr);
    const int rc = daemon_open_api(d, config, why);
    if (rc != 0) {
        mem_free(d);
        return rc;
    }
    d->state_job.run = state_run;
    d->state_job.done = state_done;
    d->looking = true;
    env_job_submit(e, ENV_LANE_LOG, &d->state_job);
    *out = d;
    return 0;
}

void daemon_destroy(struct daemon *d)
{
    ASSERT(d->node == NULL && d->api == NULL);
    cluster_destroy(d->cluster);
    mem_free(d);
}
