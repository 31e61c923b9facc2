/* sim_cluster.c — hosts that run the shipped node and api, wired as daemon/main.c does it for real.
 *
 * boot() and everything it starts is production code in the host's memory pool; struct sim_server is the
 * simulator's own and only remembers where the living incarnation's objects are. */
#include "sim_run.h"
#include <leave.h>
#include <rq/util/assert.h>
#include <rq/util/mem.h>
#include <stdio.h>
#include <string.h>

enum { JOIN_TIMEOUT_MS = 5000, JOIN_AGAIN_MS = 300, STOP_GRACE_MS = 2000, STOP_LIMIT_S = 60 };

struct sim_server *sim_server_of(struct sim *s, const struct host *h)
{
    for (uint32_t i = 0; i < s->plan.node_count; i++)
        if (s->servers[i].host == h)
            return &s->servers[i];
    return NULL;
}

struct sim_server *sim_leader(struct sim *s)
{
    struct sim_server *best = NULL;
    uint64_t best_term = 0;

    for (uint32_t i = 0; i < s->plan.node_count; i++) {
        struct sim_server *v = &s->servers[i];
        const struct raft *r = v->node && v->open ? node_raft(v->node) : NULL;
        struct raft_view view;
        if (!r)
            continue;
        raft_look(r, &view);
        if (view.role == RAFT_LEADER && view.hard.term > best_term) {
            best = v;
            best_term = view.hard.term;
        }
    }
    return best;
}

/* ---- the program on the host: what daemon/main.c does ------------------------------------------------- */

static void join_once(struct env_timer *t);

static void join_done(void *ctx, int rc, const char *why)
{
    struct sim_server *v = ctx;

    (void)why;
    v->rejoins = v->rejoins && rc;
    v->sim->result->families[SIM_FAMILY_MOVE] += rc == 0 && v->moving;
    v->moving = v->moving && rc;
    if (rc && v->node)
        env_timer_arm(v->join_timer, JOIN_AGAIN_MS * ENV_MS_NS);
}

/* Ask each other server in turn, until one adds us. */
static void join_once(struct env_timer *t)
{
    struct sim_server *v = t->ctx;
    struct node_status status;

    if (!v->node || v->stopping || v->sim->plan.node_count == 1)
        return;
    node_status_get(v->node, &status);
    for (uint32_t i = 0; i < status.member_count && !v->rejoins; i++)
        if (status.members[i].self)
            return;
    v->join_at = (v->join_at + 1) % v->sim->plan.node_count;
    if (v->join_at == v->at)
        v->join_at = (v->join_at + 1) % v->sim->plan.node_count;
    const char *target = v->sim->servers[v->join_at].raft_addr;
    int rc = node_join(v->node, target, JOIN_TIMEOUT_MS, join_done, v);
    if (rc)
        env_timer_arm(t, JOIN_AGAIN_MS * ENV_MS_NS);
}

static void on_applied(void *ctx, uint64_t index, uint64_t digest)
{
    struct sim_server *v = ctx;
    sim_raft_applied(v->sim, v, index, digest);
}

static void on_opened(void *ctx, int rc, const char *why)
{
    struct sim_server *v = ctx;

    if (rc) {
        env_log(host_env(v->host), "rqlited", "failed to open store: %s", why);
        env_halt(host_env(v->host), why);
    }
    v->open = true;
    if (!v->bootstrap || v->rejoins)
        env_timer_arm(v->join_timer, 0);
}

static void fill_config(const struct sim_server *v, struct node_config *c)
{
    const struct sim_node_plan *p = v->plan;

    memset(c, 0, sizeof(*c));
    c->name = v->name;
    c->dir = "data";
    c->raft_bind = v->raft_addr;
    c->raft_addr = v->raft_addr;
    c->api_url = v->api_url;
    c->version = "v10.3.0";
    c->codec = api_codec();
    c->bootstrap = v->bootstrap;
    c->non_voter = p->replica;
    c->db.on_disk = p->on_disk;
    c->db.statement_cache = p->statement_cache;
    c->db.batch_max = p->batch_max;
    c->db.cache_pages = p->cache_pages;
    c->db.wal_limit_bytes = 256 * 1024;
    c->db.row_digest = true;
    c->segment_bytes = p->segment_bytes;
    c->heartbeat_timeout_ms = v->sim->plan.heartbeat_timeout_ms;
    c->election_timeout_ms = v->sim->plan.heartbeat_timeout_ms;
    c->lease_timeout_ms = v->sim->plan.heartbeat_timeout_ms / 2;
    c->apply_timeout_ms = 10000;
    c->append_count_max = p->append_count_max;
    c->window_msgs = p->window_msgs;
    c->entry_cache_bytes = p->entry_cache_bytes;
    c->reader_count = p->reader_count;
    c->reader_jobs = 2;
    c->part_bytes = p->part_bytes;
    c->load_piece_bytes = p->load_piece_bytes;
    c->snapshot_entries = p->snapshot_entries;
    c->snapshot_trailing = p->snapshot_trailing;
    c->snapshot_wal_bytes = p->snapshot_wal_bytes;
    c->snapshot_interval_ms = p->snapshot_interval_ms;
    c->reap_voter_ms = p->reap_voter_ms;
    c->reap_replica_ms = p->reap_replica_ms;
    c->remove_shutdown = p->remove_shutdown;
    c->vacuum_interval_ms = p->vacuum_interval_ms;
    c->optimize_interval_ms = p->optimize_interval_ms;
    c->image_chunk_bytes = 2048U << v->at % 4; /* small, so that transfers are interrupted */
    c->compress_images = v->at % 2 != 0;
}

static void boot(struct env *e, void *ctx)
{
    struct sim_server *v = ctx;
    struct node_config config;
    struct api_config api_config = {.bind_addr = v->api_addr,
                                    .adv_addr = v->api_addr,
                                    .raft_addr = v->raft_addr,
                                    .version = "v10.3.0",
                                    .queue = {64, 8, 50 * ENV_MS_NS, false}};
    struct err_text why = {""};

    fill_config(v, &config);
    v->join_timer = mem_zalloc(sizeof(*v->join_timer));
    ASSERT(v->join_timer);
    env_timer_init(v->join_timer, e, join_once, v);
    if (api_create(e, &api_config, &v->api, &why) ||
        node_create(e, &config, on_opened, v, &v->node, &why))
        env_halt(e, why.text);
    node_on_applied(v->node, on_applied, v);
    api_node_set(v->api, v->node);
}

void sim_server_start(struct sim_server *v)
{
    v->restart_at_ns = 0;
    if (host_up(v->host) || v->dead_for_good)
        return;
    sim_raft_restarted(v->sim, v);
    host_start(v->host, boot, v);
}

/* ---- by request --------------------------------------------------------------------------------------- */

static void transfer_done(void *ctx, int rc, const char *why)
{
    (void)ctx;
    (void)rc;
    (void)why;
}

static void transfer(struct env *e, void *ctx)
{
    struct sim_server *v = ctx;
    (void)e;
    if (v->node && v->open && node_transfer(v->node, slice_str(v->heir ? v->heir : ""), transfer_done, NULL))
        return; /* it stopped leading meanwhile */
}

static void stop(struct env *e, void *ctx);

/* Who has shut down its Raft part must be started anew. */
static void rejoin(struct env *e, void *ctx)
{
    struct sim_server *v = ctx;
    struct node_status status = {.shutdown = false};

    if (v->node && v->open)
        node_status_get(v->node, &status);
    if (status.shutdown) {
        stop(e, v);
        return;
    }
    if (v->node && v->open && !v->stopping)
        env_timer_arm(v->join_timer, 0);
}

void sim_server_rejoin(struct sim_server *v)
{
    v->rejoins = true;
    host_post(v->host, 0, rejoin, v);
}

void sim_server_transfer(struct sim_server *v)
{
    host_post(v->host, 0, transfer, v);
}

/* ---- SIGTERM ------------------------------------------------------------------------------------------- */

static void node_stopped(void *ctx)
{
    struct sim_server *v = ctx;

    node_destroy(v->node);
    api_destroy(v->api);
    mem_free(v->join_timer);
    v->node = NULL;
    v->api = NULL;
    v->join_timer = NULL;
    host_exit(v->host);
}

static void left(void *ctx, int rc, const char *why)
{
    struct sim_server *v = ctx;

    (void)why;
    v->sim->result->families[SIM_FAMILY_LEAVE] += rc == 0;
    node_stop(v->node, node_stopped, v);
}

static void api_stopped(void *ctx)
{
    struct sim_server *v = ctx;

    v->open = false;
    env_timer_disarm(v->join_timer);
    api_node_set(v->api, NULL);
    v->rejoins = v->rejoins || v->plan->leaves; /* when it comes back, if ever */
    if (!v->plan->leaves || leave_start(host_env(v->host), v->node, NULL, NULL, left, v))
        node_stop(v->node, node_stopped, v);
}

static void stop(struct env *e, void *ctx)
{
    struct sim_server *v = ctx;

    (void)e;
    if (v->open && !v->stopping) {
        v->stopping = true;
        api_stop(v->api, STOP_GRACE_MS, api_stopped, v);
    }
}

static void stop_overdue(void *ctx)
{
    struct stop_watch *w = ctx;
    struct sim_server *v = w->server;

    if (v->stopping && host_up(v->host) && host_incarnation(v->host) == w->incarnation)
        sim_violate(v->sim, SIM_N1, "%s did not stop within %d s", v->name, STOP_LIMIT_S);
}

void sim_server_stop(struct sim_server *v)
{
    struct stop_watch *w = &v->sim->stop_watches[v->at];

    w->server = v;
    w->incarnation = host_incarnation(v->host);
    host_post(v->host, 0, stop, v);
    world_after(v->sim->world, STOP_LIMIT_S * ENV_S_NS, stop_overdue, w);
}

/* ---- the end of an incarnation ------------------------------------------------------------------------- */

static void on_end(void *ctx, struct host *h, const char *reason)
{
    struct sim *s = ctx;
    struct sim_server *v = sim_server_of(s, h);

    if (!v)
        return;
    if (strcmp(reason, "exit") == 0) {
        sim_evaluated(s, SIM_N1);
        if (host_exit_leak(h))
            sim_violate(s, SIM_N1, "%s stopped and left %zu blocks of memory", v->name,
                        host_exit_leak(h));
    }
    v->stopping = false;
    v->node = NULL;
    v->api = NULL;
    v->join_timer = NULL;
    v->open = false;
    s->ended(s, v, reason);
}

static void on_halt(void *ctx, struct host *h, const char *reason)
{
    struct sim *s = ctx;
    struct sim_server *v = sim_server_of(s, h);

    if (!v)
        return;
    sim_evaluated(s, SIM_N4);
    world_trace(s->world, "halt %s: %s", v->name, reason);
    bool no_room = !v->open && sim_disk_config(host_disk(h))->quota_bytes; /* it cannot begin */
    if (!v->halt_expected && !no_room)
        sim_violate(s, SIM_N4, "%s stopped although its machine was sound: %s", v->name, reason);
}

static void raft_addr_set(struct sim_server *v)
{
    (void)snprintf(v->raft_addr, sizeof(v->raft_addr), "n%u:%u", v->at + 1, 4002 + 10 * v->moves);
}

void sim_server_move(struct sim_server *v)
{
    ASSERT(!host_up(v->host));
    v->moves++;
    raft_addr_set(v);
    v->moving = true;
    v->rejoins = true;
}

void sim_cluster_create(struct sim *s)
{
    world_on_end(s->world, on_end, s);
    world_on_halt(s->world, on_halt, s);
    for (uint32_t i = 0; i < s->plan.node_count; i++) {
        struct sim_server *v = &s->servers[i];
        struct host_config c;

        v->sim = s;
        v->at = i;
        v->plan = &s->plan.nodes[i];
        v->bootstrap = i == 0;
        (void)snprintf(v->name, sizeof(v->name), "n%u", i + 1);
        raft_addr_set(v);
        (void)snprintf(v->api_addr, sizeof(v->api_addr), "n%u:4001", i + 1);
        (void)snprintf(v->api_url, sizeof(v->api_url), "http://n%u:4001", i + 1);
        host_config_default(&c);
        c.wall_offset_ns = v->plan->wall_offset_ns;
        c.drift_ppm = v->plan->drift_ppm;
        c.cpu_percent = v->plan->cpu_percent;
        c.disk.profile = s->plan.disk_profile;
        if (s->plan.sync_ns)
            c.disk.sync_ns = s->plan.sync_ns;
        c.disk.seed = 0;
        v->host = world_host_add(s->world, v->name, &c);
    }
}
