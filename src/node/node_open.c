/* node_open.c — from a directory to a running node.
 *
 *   LOG lane: lock ─► image_open ─► rlog_open (collect terms, configurations) ─► do the two fit? ─► found a
 *             cluster? (bootstrap)
 *   APPLY lane: db_open, from the image; empty if there is none
 *   LOOP: raft_create ─► listen ─► members ─► pump; the log is replayed as its commit becomes known
 *
 * The database begins with what the image holds, up to index S, and nothing but the log behind S says what
 * else it contains. An image newer than the log is one that was received just before a crash: the log is then
 * forgotten, as it was going to be. */
#include "node_int.h"

static int visit_entry(void *ctx, uint64_t index, const struct wire_entry *e)
{
    struct node *n = ctx;

    if (index <= n->image.index) { /* the image has it */
        if (index == n->image.index)
            n->open_image_term = e->term;
        return 0;
    }
    if (n->open_run_count == 0 || n->open_runs[n->open_run_count - 1].term != e->term) {
        if (n->open_run_count == n->open_run_cap) {
            uint32_t cap = n->open_run_cap ? n->open_run_cap * 2 : 64;
            struct raft_term_run *grown = mem_realloc(n->open_runs, cap * sizeof(*grown));
            if (!grown)
                return ERR_NOMEM;
            n->open_runs = grown;
            n->open_run_cap = cap;
        }
        n->open_runs[n->open_run_count].first_index = index;
        n->open_runs[n->open_run_count].term = e->term;
        n->open_run_count++;
    }
    if (e->kind == RAFT_ENTRY_CONF) {
        struct wire_conf conf;
        if (wire_conf_get(e->payload, &conf))
            return err_set(&n->open_why, ERR_CORRUPT, "log entry %llu: configuration is malformed",
                           (unsigned long long)index);
        node_confs_push(&n->confs, index, &conf);
    }
    return 0;
}

/* The cluster to found: of this node alone, or of all who pledged themselves. */
static void first_conf(const struct node *n, struct wire_conf *conf)
{
    struct wire_member *m = &conf->members[0];

    if (n->founders.count) {
        *conf = n->founders;
    } else {
        conf->count = 1;
        m->id = n->id;
        m->store_id = n->store_id;
        m->voter = true;
        memcpy(m->name, n->name, sizeof(m->name));
        memcpy(m->addr, n->raft_addr, sizeof(m->addr));
    }
    conf->cluster_id = n->cluster_id;
}

/* Its configuration is the log's first entry (thesis §4.4). */
static int bootstrap(struct node *n)
{
    struct wire_conf conf = {.count = 0};
    struct raft_hard hard = {.term = 1};
    struct buf b;

    first_conf(n, &conf);
    ASSERT(node_conf_find(&conf, n->id) != NULL);
    buf_init(&b, LIMIT_ENTRY_BYTES);
    int rc = wire_conf_put(&b, &conf);
    struct wire_entry e = {.term = 1, .kind = RAFT_ENTRY_CONF, .payload = buf_slice(&b)};
    if (rc == 0)
        rc = rlog_identity_save(n->rlog, n->cluster_id);
    if (rc == 0)
        rc = rlog_hard_save(n->rlog, &hard);
    if (rc == 0)
        rc = rlog_append(n->rlog, 1, &e, 1);
    if (rc == 0) {
        n->found.hard = hard;
        n->found.last_index = 1;
        n->found.identity.cluster_id = n->cluster_id;
        rc = visit_entry(n, 1, &e);
    }
    buf_fini(&b);
    return rc;
}

static int open_image(struct node *n)
{
    char path[DB_PATH_MAX + 32], main_path[DB_PATH_MAX + 32];
    struct wire_conf conf;
    struct slice db_state;
    uint64_t conf_index;

    (void)snprintf(path, sizeof(path), "%s/image", n->dir);
    (void)snprintf(main_path, sizeof(main_path), "%s/db.sqlite", n->dir);
    struct image_place place = {.main_path = main_path, .live = n->live};
    int rc = image_open_placed(n->env, path, &place, &n->image.image, &n->open_why);
    if (rc == ERR_CORRUPT && n->image.image) { /* its record is good: index and members are known */
        n->open_damage = n->open_why;
        rc = 0;
    }
    if (rc || image_now(n->image.image)->index == 0)
        return rc;
    const struct image_moment *m = image_now(n->image.image);
    if (node_image_state_get(m->state, &conf_index, &conf, &db_state))
        return err_set(&n->open_why, ERR_CORRUPT, "%s: the state beside the pages is malformed",
                       path);
    n->image.index = m->index;
    n->image.term = m->term;
    node_confs_push(&n->confs, conf_index, &conf);
    return 0;
}

/* The log must go on where the image ends. */
static int fit_log(struct node *n)
{
    struct rlog_recovered *found = &n->found;
    uint64_t index = n->image.index, term = n->image.term;

    if (found->compacted_index > index)
        return err_set(&n->open_why, ERR_CORRUPT,
                       "%s: the log begins behind entry %llu, but the image ends at %llu", n->dir,
                       (unsigned long long)found->compacted_index, (unsigned long long)index);
    bool agrees = found->compacted_index == index ? found->compacted_term == term
                                                  : n->open_image_term == term;
    if (!agrees) {
        int rc = rlog_reset(n->rlog, index, term);
        if (rc)
            return err_set(&n->open_why, rc, "%s/raft: cannot be reset", n->dir);
        found->last_index = index;
        n->open_run_count = 0;
        node_confs_truncate(&n->confs, index + 1);
    }
    found->compacted_index = index;
    found->compacted_term = term;
    return 0;
}

/* Which configurations count: an operator may have forced one. */
static int recover(struct node *n, const char *log_dir)
{
    struct node_recovery r = {.env = n->env,
                              .dir = log_dir,
                              .self = n->id,
                              .store_id = n->found.identity.store_id,
                              .confs = &n->confs,
                              .cluster_id = n->found.identity.cluster_id};

    int rc = node_recover(&r, n->rlog, &n->open_why);
    if (rc)
        return rc;
    n->found.identity.cluster_id = r.cluster_id;
    n->counters.recoveries += r.recovered;
    if (node_recover_confs(&r, &n->confs, n->image.index, &n->cut_when.wanted))
        return err_set(&n->open_why, ERR_CORRUPT,
                       "%s/forced: missing: the image is of a former cluster", log_dir);
    if (r.forced_there && !n->cut_when.wanted)
        node_recover_forget(&r);
    return 0;
}

static int open_log(struct node *n)
{
    char path[DB_PATH_MAX + 32];
    struct rlog_config config = {
        .dir = path, .segment_bytes = n->config.segment_bytes, .spare_count = 2};

    int rc = env_dir_create(n->env, n->dir);
    if (rc)
        return err_set(&n->open_why, rc, "cannot create %s: %s", n->dir, err_text_of(rc));
    (void)snprintf(path, sizeof(path), "%s/lock", n->dir);
    rc = env_lock_take(n->env, path, &n->lock);
    if (rc == ERR_BUSY)
        return err_set(&n->open_why, rc, "%s is in use by another process", n->dir);
    if (rc)
        return err_set(&n->open_why, rc, "cannot lock %s: %s", n->dir, err_text_of(rc));
    node_upload_sweep(n);
    node_backup_sweep(n);
    node_replace_sweep(n);
    rc = open_image(n);
    if (rc)
        return rc;
    (void)snprintf(path, sizeof(path), "%s/raft", n->dir);
    rc = rlog_open(n->env, &config, n->store_id, visit_entry, n, &n->found, &n->rlog, &n->open_why);
    if (rc == 0)
        rc = fit_log(n);
    if (rc == 0)
        rc = recover(n, path);
    if (rc)
        return rc;
    n->store_id = n->found.identity.store_id;
    bool empty = n->found.identity.cluster_id == 0 && n->found.last_index == 0;
    if (empty && n->config.bootstrap) {
        n->founded = true;
        return bootstrap(n);
    }
    n->cluster_id = n->found.identity.cluster_id;
    return 0;
}

static void open_log_run(struct env_job *job)
{
    struct node *n = LIST_ENTRY(job, struct node, open_job);
    n->open_rc = open_log(n);
}

static void open_db_run(struct env_job *job)
{
    struct node *n = LIST_ENTRY(job, struct node, open_job);

    if (!n->open_damage.text[0]) {
        n->open_rc = node_image_db_open(n, &n->open_why);
        if (n->open_rc == ERR_CORRUPT && n->image.index)
            n->open_damage = n->open_why;
    }
    if (n->open_damage.text[0]) { /* the others may have it whole (node_repair.c) */
        n->open_rc = node_repair_possible(n) ? 0 : ERR_CORRUPT;
        n->open_why = n->open_damage;
        n->apply.run_state = (struct db_state){.applied_index = n->image.index};
    } else if (n->open_rc == 0) {
        db_facts(n->db, &n->db_facts);
        db_state(n->db, &n->apply.run_state);
    }
}

static int create_raft(struct node *n)
{
    struct raft_conf_at confs[NODE_CONFS_MAX];
    struct raft_config config = {
        .id = n->id,
        .seed = env_random_u64(n->env),
        .heartbeat_ms =
            n->config.heartbeat_timeout_ms / 10 ? n->config.heartbeat_timeout_ms / 10 : 1,
        .election_ms = n->config.heartbeat_timeout_ms,
        .campaign_ms = n->config.election_timeout_ms > n->config.heartbeat_timeout_ms
                           ? n->config.election_timeout_ms
                           : 0,
        .lease_ms = n->config.lease_timeout_ms,
        .append_count_max = n->config.append_count_max,
        .append_bytes_max = n->config.append_bytes_max,
        .window_msgs = n->config.window_msgs,
        .window_bytes = n->config.window_bytes,
        .term_runs_max = 64 * 1024,
    };
    struct raft_restore restore = {
        .hard = n->found.hard,
        .snapshot_index = n->found.compacted_index,
        .snapshot_term = n->found.compacted_term,
        .last_index = n->found.last_index,
        .runs = n->open_runs,
        .run_count = n->open_run_count,
        .confs = confs,
        .applied_index = n->image.index,
    };

    for (uint32_t i = 0; i < n->confs.count; i++) {
        struct raft_conf_at *at = &confs[restore.conf_count];
        at->index = n->confs.at[i].index;
        wire_conf_to_raft(&n->confs.at[i].conf, &at->conf);
        if (at->index <= n->image.index)
            restore.snapshot_conf = at->conf;
        else
            restore.conf_count++;
    }
    return raft_create(&config, &restore, node_now_ms(n), &n->raft, &n->open_why);
}

static int start_running(struct node *n)
{
    int rc = create_raft(n);
    if (rc)
        return rc;
    n->apply.state = n->apply.run_state;
    n->apply.applied = n->apply.target = n->image.index;
    node_cache_init(&n->cache, n->found.last_index + 1, n->config.entry_cache_bytes);
    n->joining = n->cluster_id == 0;
    node_self_tell(n);
    rc = peer_set_listen(n->peers, n->raft_bind, &n->open_why);
    if (rc)
        return rc;
    n->phase = NODE_OPEN;
    node_repair_start(n);
    node_scrub_start(n);
    node_links_set(n);
    node_pump_start(n);
    node_upkeep_start(n);
    if (n->founded && n->founders.count > 1)
        node_found_push(n);
    return 0;
}

static void open_ended(struct node *n, int rc)
{
    mem_free(n->open_runs);
    n->open_runs = NULL;
    n->open_busy = false;
    n->opened(n->opened_ctx, rc, rc ? n->open_why.text : "");
    n->up.lane_idle(n);
}

static void open_db_done(struct env_job *job)
{
    struct node *n = LIST_ENTRY(job, struct node, open_job);
    int rc = n->open_rc;

    if (n->phase == NODE_STOPPING)
        rc = ERR_CANCELED;
    else if (rc == 0)
        rc = start_running(n);
    open_ended(n, rc);
}

static void open_log_done(struct env_job *job)
{
    struct node *n = LIST_ENTRY(job, struct node, open_job);

    if (n->open_rc || n->phase == NODE_STOPPING) {
        open_ended(n, n->open_rc ? n->open_rc : ERR_CANCELED);
        return;
    }
    env_log(n->env, "store", "%d preexisting snapshots present", n->image.index ? 1 : 0);
    if (n->found.torn_tail_cut)
        env_log(n->env, "store", "cut an unfinished write at the end of the log");
    if (n->found.hard_repaired)
        env_log(n->env, "store", "repaired one damaged copy of term and vote from the other");
    n->open_job.run = open_db_run;
    n->open_job.done = open_db_done;
    env_job_submit(n->env, ENV_LANE_APPLY, &n->open_job);
}

int node_open_start(struct node *n)
{
    n->open_busy = true;
    n->open_job.run = open_log_run;
    n->open_job.done = open_log_done;
    env_job_submit(n->env, ENV_LANE_LOG, &n->open_job);
    return 0;
}
