/* node.c — create and destroy; facts about the node for those above. */
#include "node_int.h"

enum {
    DEFAULT_APPEND_COUNT = 1024,
    DEFAULT_APPEND_BYTES = 1024 * 1024,
    DEFAULT_WINDOW_MSGS = 16,
    DEFAULT_WINDOW_BYTES = 4 * 1024 * 1024,
    DEFAULT_SEGMENT_BYTES = 16 * 1024 * 1024,
    DEFAULT_LEASE_MS = 500,
    DEFAULT_CONNECT_MS = 30 * 1000,
};

#define DEFAULT_TO(field, value) ((field) = (field) ? (field) : (value))

static int copy_text(char *dst, size_t cap, const char *src, const char *what, struct err_text *why)
{
    if (!src || !*src || strlen(src) >= cap)
        return err_set(why, ERR_INVALID, "%s is missing or longer than %zu bytes", what, cap - 1);
    memcpy(dst, src, strlen(src) + 1);
    return 0;
}

static int copy_config(struct node *n, const struct node_config *config, struct err_text *why)
{
    n->config = *config;
    int rc = copy_text(n->name, sizeof(n->name), config->name, "node ID", why);
    if (!rc)
        rc = copy_text(n->dir, sizeof(n->dir), config->dir, "data directory", why);
    if (!rc)
        rc = copy_text(n->raft_bind, sizeof(n->raft_bind), config->raft_bind, "Raft address", why);
    if (!rc)
        rc = copy_text(n->raft_addr, sizeof(n->raft_addr), config->raft_addr,
                       "advertised Raft address", why);
    if (!rc)
        rc = copy_text(n->api_url, sizeof(n->api_url), config->api_url, "API address", why);
    if (!rc)
        rc = copy_text(n->version, sizeof(n->version), config->version, "version", why);
    if (!rc && config->join_user)
        rc = copy_text(n->join_user, sizeof(n->join_user), config->join_user, "user", why);
    if (!rc && config->join_user && config->join_password[0])
        rc = copy_text(n->join_password, sizeof(n->join_password), config->join_password,
                       "password", why);
    if (rc)
        return rc;
    if (config->founders)
        n->founders = *config->founders;
    if (config->db.path)
        rc = copy_text(n->db_path, sizeof(n->db_path), config->db.path, "database path", why);
    else
        (void)snprintf(n->db_path, sizeof(n->db_path), "%s/db.sqlite", n->dir);
    n->live = config->db.on_disk && !config->db.path;
    struct node_config *c = &n->config;
    DEFAULT_TO(c->append_count_max, DEFAULT_APPEND_COUNT);
    DEFAULT_TO(c->append_bytes_max, DEFAULT_APPEND_BYTES);
    DEFAULT_TO(c->window_msgs, DEFAULT_WINDOW_MSGS);
    DEFAULT_TO(c->window_bytes, DEFAULT_WINDOW_BYTES);
    DEFAULT_TO(c->segment_bytes, DEFAULT_SEGMENT_BYTES);
    DEFAULT_TO(c->entry_cache_bytes, LIMIT_ENTRY_CACHE_BYTES);
    DEFAULT_TO(c->lease_timeout_ms, DEFAULT_LEASE_MS);
    DEFAULT_TO(c->connect_timeout_ms, DEFAULT_CONNECT_MS);
    DEFAULT_TO(c->raft_log, NODE_RAFT_LOG_WARN);
    DEFAULT_TO(c->reader_count, 1);
    DEFAULT_TO(c->reader_jobs, c->reader_count);
    if (c->reader_count <= c->reader_jobs)
        c->reader_count = c->reader_jobs + 1;
    DEFAULT_TO(c->part_bytes, LIMIT_PART_BYTES);
    DEFAULT_TO(c->load_piece_bytes, LIMIT_LOAD_PIECE_BYTES);
    DEFAULT_TO(c->snapshot_entries, NODE_SNAPSHOT_ENTRIES);
    DEFAULT_TO(c->image_chunk_bytes, NODE_CHUNK_BYTES);
    if (c->heartbeat_timeout_ms < 5 || !c->codec)
        return err_set(why, ERR_INVALID, "the heartbeat timeout must be at least 5ms");
    return rc;
}

static int create_peers(struct node *n)
{
    struct peer_config config = {
        .net = n->config.raft_net,
        .dial_timeout_ms = node_member_dial_ms(n),
        .backoff_min_ms = 20,
        .backoff_max_ms = 1000,
        .hello_timeout_ms = NODE_GREETING_MS,
        .idle_timeout_ms = 2000,
        .output_bytes_max = LIMIT_PEER_OUTPUT_BYTES,
        .accepted_max = LIMIT_PEER_CONNECTIONS,
    };
    struct peer_self self = {
        .id = n->id,
        .store_id = n->store_id,
        .name = n->name,
        .raft_addr = n->raft_addr,
        .api_url = n->api_url,
        .version = n->version,
        .sqlite = db_library_identity(),
    };
    return peer_set_create(n->env, &config, &self, &node_peer_events, n, &n->peers);
}

static void change_timer_fired(struct env_timer *t)
{
    node_members_progress(t->ctx);
}

static void init_state(struct node *n)
{
    list_init(&n->submitted);
    list_init(&n->gathered);
    list_init(&n->proposed);
    list_init(&n->confirming);
    list_init(&n->read_queue);
    list_init(&n->parked);
    list_init(&n->relays);
    list_init(&n->forwarding);
    node_index_init(n);
    node_retry_init(n);
    list_init(&n->changes);
    list_init(&n->reaches);
    list_init(&n->asks);
    list_init(&n->serving);
    node_log_init(n);
    node_apply_init(n);
    node_image_init(n);
    node_cut_init(n);
    node_cut_when_init(n);
    node_upkeep_init(n);
    node_fetch_init(n);
    list_init(&n->lends);
    node_install_init(n);
    node_replace_init(n);
    node_repair_init(n);
    node_digest_init(n);
    env_timer_init(&n->change_timer, n->env, change_timer_fired, n);
    n->id = wire_member_id(slice_str(n->name));
    do
        n->store_id = env_random_u64(n->env);
    while (n->store_id == 0);
    do
        n->cluster_id = env_random_u64(n->env); /* of the cluster we may found */
    while (n->cluster_id == 0);
}

/* What was damaged or different was made anew. */
static void repaired(struct node *n)
{
    if (n->repair.held)
        node_digest_forget(n);
    node_repair_over(n);
}

/* A lane's job is done: who waits for quiet lanes? */
static void lane_idle(struct node *n)
{
    node_backup_look(n);
    node_cut_look(n);
    node_shrink_look(n);
    node_replace_progress(n);
    node_install_progress(n);
    node_stop_progress(n);
}

int node_create(struct env *e, const struct node_config *config,
                void (*opened)(void *ctx, int rc, const char *why), void *ctx, struct node **out,
                struct err_text *why)
{
    struct node *n = mem_zalloc(sizeof(*n));

    if (!n)
        return ERR_NOMEM;
    n->env = e;
    n->up.step = node_step;
    n->up.lane_idle = lane_idle;
    n->up.log_reset = node_install_logged;
    n->up.read_end = node_read_end;
    n->up.backup_end = node_backup_end;
    n->up.applied = node_digest_applied;
    n->up.damaged = node_repair_damaged;
    n->up.broken = node_repair_broken;
    n->up.repaired = repaired;
    n->up.prepare = node_replace_begin;
    n->up.dispatch = node_request_dispatch;
    n->up.forward_end = node_forward_end;
    n->opened = opened;
    n->opened_ctx = ctx;
    int rc = copy_config(n, config, why);
    if (rc) {
        mem_free(n);
        return rc;
    }
    init_state(n);
    n->readers = mem_zalloc(n->config.reader_count * sizeof(*n->readers));
    n->propose_bytes = mem_alloc(RAFT_ENTRIES_PER_STEP * sizeof(*n->propose_bytes));
    n->incoming_confs = mem_alloc(RAFT_ENTRIES_PER_STEP * sizeof(*n->incoming_confs));
    rc = n->readers && n->propose_bytes && n->incoming_confs ? create_peers(n) : ERR_NOMEM;
    if (rc) {
        mem_free(n->readers);
        mem_free(n->propose_bytes);
        mem_free(n->incoming_confs);
        mem_free(n);
        return rc;
    }
    (void)node_open_start(n);
    *out = n;
    return 0;
}

void node_destroy(struct node *n)
{
    ASSERT(n->phase == NODE_STOPPED);
    node_links_fini(n);
    node_relay_fini(n);
    node_apply_fini(n);
    node_fetch_fini(n);
    node_lend_fini(n);
    node_image_fini(n);
    node_log_fini(n);
    node_cache_fini(&n->cache);
    ASSERT(n->waits.live_count == 0);
    for (uint32_t i = 0; i < n->waits.cap; i++)
        mem_free(n->waits.slots[i]);
    mem_free(n->waits.slots);
    mem_free(n->waits.free_slots);
    if (n->raft)
        raft_destroy(n->raft);
    peer_set_destroy(n->peers);
    mem_free(n->conns);
    mem_free(n->readers);
    mem_free(n->propose_bytes);
    mem_free(n->incoming);
    mem_free(n->incoming_meta);
    mem_free(n->incoming_confs);
    explicit_bzero(n->join_password, sizeof(n->join_password));
    mem_free(n);
}

/* ---- facts
 * ------------------------------------------------------------------------------------------- */

static void status_members(const struct node *n, struct node_status *out)
{
    const struct wire_conf *conf = node_confs_latest(&n->confs);

    for (uint32_t i = 0; conf && i < conf->count; i++) {
        const struct wire_member *m = &conf->members[i];
        uint32_t at = out->member_count++;
        while (at > 0 && strcmp(out->members[at - 1].name, m->name) > 0) {
            out->members[at] = out->members[at - 1];
            at--;
        }
        struct node_member_view *v = &out->members[at];
        memcpy(v->name, m->name, sizeof(v->name));
        memcpy(v->addr, m->addr, sizeof(v->addr));
        v->voter = m->voter;
        v->leader = m->id == n->view.leader;
        v->self = m->id == n->id;
        v->connected = !v->self && peer_conn_of(n->peers, m->id) != 0;
    }
}

static void status_leader(const struct node *n, struct node_status *out)
{
    const struct wire_member *m = node_conf_find(node_confs_latest(&n->confs), n->view.leader);

    out->has_leader = n->view.leader != 0;
    if (!m)
        return;
    memcpy(out->leader_name, m->name, sizeof(out->leader_name));
    memcpy(out->leader_addr, m->addr, sizeof(out->leader_addr));
    if (m->id == n->id)
        memcpy(out->leader_api_url, n->api_url, sizeof(out->leader_api_url));
    for (uint32_t i = 0; i < n->conn_count; i++)
        if (n->conns[i].id == m->id)
            memcpy(out->leader_api_url, n->conns[i].api_url, sizeof(out->leader_api_url));
}

/* Age of the last contact with the leader: 0 on the leader, -1 never. */
static int64_t status_contact_ns(const struct node *n)
{
    if (n->view.role == RAFT_LEADER)
        return 0;
    if (n->view.leader_heard_ms == 0)
        return -1;
    return (int64_t)((node_now_ms(n) - n->view.leader_heard_ms) * ENV_MS_NS);
}

static void status_readers(const struct node *n, struct node_status *out)
{
    out->readers.max = n->config.reader_count;
    out->readers.busy = n->readers_busy;
    for (uint32_t i = 0; i < n->config.reader_count; i++)
        out->readers.open += n->readers[i].open;
    for (const struct list *l = n->read_queue.next; l != &n->read_queue; l = l->next)
        out->pending_reads++;
}

static void status_repair(const struct node *n, struct node_status *out)
{
    const struct node_repair *r = &n->repair;

    out->repair.state = r->why == REPAIR_DIVERGED || n->digest.undecided ? NODE_DIVERGED
                        : r->text.text[0]                                ? NODE_DAMAGED
                                                                         : NODE_WHOLE;
    out->repair.held = r->held;
    out->repair.text =
        r->why == REPAIR_NONE && n->digest.undecided ? n->digest.text.text : r->text.text;
    out->repair.since_ns = r->since_ns;
    out->repair.undecided = n->digest.undecided;
    out->fetching = n->fetch.active;
    out->lending = n->lend_count;
}

void node_counters_get(const struct node *n, struct node_counters *out)
{
    *out = n->counters;
    out->scrubbed_pages = n->scrub.pages;
    out->scrub_passes = n->scrub.passes;
    out->scrub_damaged = n->scrub.damaged;
    for (uint32_t i = 0; i < n->config.reader_count; i++) {
        out->queries.statements += n->readers[i].counts.statements;
        out->queries.errors += n->readers[i].counts.errors;
        out->queries.transactions += n->readers[i].counts.transactions;
    }
    peer_counters_get(n->peers, &out->peers);
}

const struct node_times *node_times_get(const struct node *n)
{
    return &n->clock.times;
}

void node_status_get(const struct node *n, struct node_status *out)
{
    memset(out, 0, sizeof(*out));
    out->open = n->phase == NODE_OPEN;
    if (!n->raft)
        return; /* the opening job is writing the rest */
    memcpy(out->name, n->name, sizeof(out->name));
    out->append_count_max = n->config.append_count_max;
    out->strong_read_term = n->strong_read_term;
    out->cluster_id = n->cluster_id;
    out->store_id = n->store_id;
    const struct raft_view *v = &n->view;
    out->role = v->role;
    out->shutdown = n->retired;
    out->voter = v->am_voter;
    out->term = v->hard.term;
    out->snapshot_index = n->image.index;
    out->snapshot_term = n->image.term;
    out->commit_index = v->commit_index;
    out->applied_index = n->apply.applied;
    out->last_log_index = v->last_index;
    out->last_log_term = v->last_term;
    out->conf_index = v->conf_index;
    out->leader_contact_ns = status_contact_ns(n);
    out->ready =
        out->open && !n->repair.held && v->leader != 0 && n->apply.applied >= n->found.last_index;
    out->db = n->apply.state;
    out->db_facts = n->db_facts;
    out->log.first_index = n->log.stat.first_index;
    out->log.last_index = n->log.stat.last_index;
    out->log.disk_bytes = n->log.stat.disk_bytes;
    out->log.sync_count = n->log.stat.sync_count;
    out->pending_writes = n->waits.live_count;
    out->pending_bytes = n->waits.live_bytes;
    out->applied_wall_ns = n->apply.wall_ns;
    out->writer_busy = n->apply.busy;
    out->cache_bytes = n->cache.bytes;
    status_repair(n, out);
    status_readers(n, out);
    status_leader(n, out);
    status_members(n, out);
}

const char *node_bound_addr(const struct node *n)
{
    return peer_set_bound_addr(n->peers);
}

const struct raft *node_raft(const struct node *n)
{
    return n->raft;
}

void node_on_applied(struct node *n, void (*fn)(void *ctx, uint64_t index, uint64_t digest),
                     void *ctx)
{
    n->on_applied = fn;
    n->on_applied_ctx = ctx;
}

void node_check(const struct node *n)
{
    if (!n->raft)
        return;
    raft_check(n->raft);
    ASSERT(n->cache.first + n->cache.count == n->view.last_index + 1);
    ASSERT(n->apply.applied <= n->apply.target);
    ASSERT(n->apply.target <= n->view.commit_index);
    ASSERT(n->log.order_stored <= n->log.order_pending);
    ASSERT(n->waits.live_count + n->waits.free_count == n->waits.cap);
    node_index_check(n);
    uint64_t index = 0;
    for (const struct list *l = n->proposed.next; l != &n->proposed; l = l->next) {
        const struct node_wait *w = LIST_ENTRY(l, struct node_wait, link);
        ASSERT(w->index > index && w->term != 0);
        index = w->index;
    }
}
