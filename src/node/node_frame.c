/* node_frame.c — what comes from other nodes: who they are (greetings), and their frames, each
 * handed to the file that knows its kind. Everything here is checked before it reaches raft. */
#include "node_int.h"

/* ---- adoption: a fresh node that asked to join takes the cluster's id, durably, before anything
 * else --- */

static void adopt_run(struct env_job *job)
{
    struct node *n = LIST_ENTRY(job, struct node, adopt_job);
    n->adopt_rc = rlog_identity_save(n->rlog, n->adopt_id);
}

static void adopt_done(struct env_job *job)
{
    struct node *n = LIST_ENTRY(job, struct node, adopt_job);

    if (n->adopt_rc)
        env_halt(n->env, "the cluster's identity cannot be written to disk");
    n->cluster_id = n->adopt_id;
    n->adopt_id = 0;
    n->joining = false;
    node_self_tell(n);
    n->up.lane_idle(n);
}

static void adopt_start(struct node *n, uint64_t cluster_id)
{
    if (n->adopt_id || n->phase != NODE_OPEN)
        return;
    n->adopt_id = cluster_id;
    n->adopt_job.run = adopt_run;
    n->adopt_job.done = adopt_done;
    env_job_submit(n->env, ENV_LANE_LOG, &n->adopt_job);
}

/* ---- greetings
 * ------------------------------------------------------------------------------------------ */

/* May this node talk to us? */
static int greet_check(struct node *n, const struct wire_hello *h)
{
    if (h->id != wire_member_id(h->name) || h->store_id == 0)
        return ERR_IDENTITY;
    if (h->id == n->id && h->store_id != n->store_id)
        return ERR_IDENTITY;
    if (!slice_equal_str(h->sqlite, db_library_identity())) {
        env_log(n->env, "cluster", "refusing node %.*s: it runs another SQLite build",
                (int)h->name.len, (const char *)h->name.data);
        return ERR_VERSION;
    }
    if (n->cluster_id && h->cluster_id && n->cluster_id != h->cluster_id)
        return ERR_IDENTITY;
    return 0;
}

static int on_greeted(void *ctx, peer_conn c, bool dialled, const struct wire_hello *h)
{
    struct node *n = ctx;

    int rc = greet_check(n, h);
    if (rc)
        return rc;
    if (dialled && h->id == n->id) { /* joining through an address that is our own */
        node_ask_self(n, c);
        return ERR_IDENTITY;
    }
    if (n->conn_count == n->conn_cap) {
        uint32_t cap = n->conn_cap ? n->conn_cap * 2 : 16;
        struct node_conn *grown = mem_realloc(n->conns, cap * sizeof(*grown));
        if (!grown)
            return ERR_NOMEM;
        n->conns = grown;
        n->conn_cap = cap;
    }
    struct node_conn *k = &n->conns[n->conn_count++];
    memset(k, 0, sizeof(*k));
    k->conn = c;
    k->id = h->id;
    k->store_id = h->store_id;
    k->cluster_id = h->cluster_id;
    k->dialled = dialled;
    size_t url = h->api_url.len < WIRE_ADDR_MAX ? h->api_url.len : WIRE_ADDR_MAX;
    memcpy(k->api_url, h->api_url.data, url);
    memcpy(k->raft_addr, h->raft_addr.data, h->raft_addr.len);
    node_ask_greeted(n, c);
    node_fetch_greeted(n, c);
    node_digest_greeted(n, c);
    node_words_peer(n, node_conn_find(n, c), false);
    if (dialled)
        node_retry_soon(n);
    return 0;
}

static void on_lost(void *ctx, peer_conn c, bool said_bye)
{
    struct node *n = ctx;

    (void)said_bye;
    node_forward_lost(n, c);
    node_index_lost(n, c);
    struct node_conn *k = node_conn_find(n, c);
    if (k) {
        node_words_peer(n, k, true);
        *k = n->conns[--n->conn_count];
    }
    node_relay_lost(n, c);
    node_fetch_lost(n, c);
    node_lend_lost(n, c);
    node_ask_lost(n, c);
}

static void on_refused(void *ctx, raft_id member)
{
    struct node *n = ctx;
    struct raft_in in = {.kind = RAFT_IN_SUSPECT, .u.suspect = member};
    const struct wire_member *m = node_conf_find(node_confs_latest(&n->confs), member);

    n->counters.members_suspected++;
    node_raft_say(
        n, NODE_RAFT_LOG_WARN,
        "the process of a member is gone: member=%s reason=\"connection lost, port refuses\"",
        m ? m->name : "?");
    if (n->raft && n->phase == NODE_OPEN)
        (void)n->up.step(n, &in);
}

static void on_writable(void *ctx, raft_id member)
{
    (void)ctx; /* dropped Raft messages are sent again by raft's own timers */
    (void)member;
}

static void on_drained(void *ctx, peer_conn c)
{
    node_relay_drained(ctx, c);
    node_lend_drained(ctx, c);
}

/* ---- raft messages
 * ---------------------------------------------------------------------------------------- */

static void incoming_reserve(struct node *n)
{
    if (n->incoming_count < n->incoming_cap)
        return;
    uint32_t cap = n->incoming_cap ? n->incoming_cap * 2 : 256;
    n->incoming = mem_realloc(n->incoming, cap * sizeof(struct node_entry *));
    n->incoming_meta = mem_realloc(n->incoming_meta, cap * sizeof(struct raft_entry));
    ASSERT(n->incoming && n->incoming_meta);
    n->incoming_cap = cap;
}

static int incoming_conf(struct node *n, const struct wire_entry *e, struct raft_entry *meta)
{
    struct wire_conf conf;

    if (n->incoming_conf_count == RAFT_ENTRIES_PER_STEP)
        return ERR_PROTOCOL;
    int rc = wire_conf_get(e->payload, &conf);
    if (rc)
        return rc;
    if (conf.cluster_id != n->cluster_id) { /* of a former cluster: it changes nothing */
        meta->kind = RAFT_ENTRY_NOOP;
        return 0;
    }
    struct raft_conf *out = mem_alloc(sizeof(*out));
    if (!out)
        return ERR_NOMEM;
    n->incoming_confs[n->incoming_conf_count++] = out;
    wire_conf_to_raft(&conf, out);
    meta->conf = out;
    return 0;
}

static int incoming_visit(void *ctx, uint64_t index, const struct wire_entry *e)
{
    struct node *n = ctx;
    struct wire_cmd cmd;

    (void)index;
    incoming_reserve(n);
    struct raft_entry *meta = &n->incoming_meta[n->incoming_count];
    memset(meta, 0, sizeof(*meta));
    meta->term = e->term;
    meta->kind = e->kind;
    meta->bytes = (uint32_t)e->payload.len;
    int rc = 0;
    if (e->kind == RAFT_ENTRY_CONF)
        rc = incoming_conf(n, e, meta);
    else if (e->kind == RAFT_ENTRY_NORMAL)
        rc = wire_cmd_open(e->payload, true, &cmd);
    if (rc)
        return rc;
    struct node_entry *copy = node_entry_new(e->payload.len);
    if (!copy)
        return ERR_NOMEM;
    copy->term = e->term;
    copy->kind = e->kind;
    if (copy->len)
        memcpy(copy->payload, e->payload.data, copy->len);
    n->incoming[n->incoming_count++] = copy;
    return 0;
}

static void incoming_drop(struct node *n)
{
    for (uint32_t i = 0; i < n->incoming_count; i++)
        node_entry_unref(n->incoming[i]);
    for (uint32_t i = 0; i < n->incoming_conf_count; i++)
        mem_free(n->incoming_confs[i]);
    n->incoming_count = 0;
    n->incoming_conf_count = 0;
}

/* Its name stands in our configuration with another data directory: it was wiped, and has forgotten what it
 * promised; or we lack the entry by which it was added anew. */
static bool is_another(const struct node *n, const struct node_conn *from)
{
    const struct wire_member *m = node_conf_find(node_confs_latest(&n->confs), from->id);

    return m && m->store_id && m->store_id != from->store_id;
}

/* A leader's words count also then: a quorum that knows it has elected it (thesis §4.1), and else nobody could tell us
 * of its place in the configuration. Votes and acknowledgements do not, nor do those who ask for a vote: they
 * may lack what they had acknowledged. */
static bool is_leaders(enum raft_msg_kind kind)
{
    return kind == RAFT_MSG_APPEND_REQ || kind == RAFT_MSG_SNAPSHOT_REQ;
}

static void raft_frame(struct node *n, const struct node_conn *from, struct slice body)
{
    struct raft_msg m;

    memset(&m, 0, sizeof(m));
    ASSERT(n->incoming_count == 0);
    int rc = wire_raft_get(body, &m, incoming_visit, n);
    bool frozen =
        n->install.frozen && m.kind == RAFT_MSG_APPEND_REQ; /* the log is being replaced */
    if (rc == 0)
        node_raft_say(n, NODE_RAFT_LOG_TRACE, "message: kind=%s from=%s term=%llu index=%llu",
                      raft_msg_name(m.kind), from->raft_addr, (unsigned long long)m.term,
                      (unsigned long long)m.log_index);
    bool counts = is_leaders(m.kind) || !is_another(n, from);
    if (rc == 0 && counts && !frozen && m.from == from->id && m.to == n->id) {
        n->incoming_first = m.log_index + 1;
        m.entries = n->incoming_meta;
        struct raft_in in = {.kind = RAFT_IN_MSG, .u.msg = &m};
        rc = n->up.step(n, &in);
        node_fresh_heard(n, &m);
    }
    if (rc)
        node_raft_say(n, NODE_RAFT_LOG_ERROR, "ignoring a malformed message: error=\"%s\"",
                      err_text_of(rc));
    incoming_drop(n);
}

/* Raft messages only count once we are of a cluster. */
static bool may_speak_raft(struct node *n, const struct node_conn *from)
{
    if (n->cluster_id == 0) {
        if (n->joining && from->cluster_id)
            adopt_start(n, from->cluster_id);
        return false;
    }
    return true;
}

/* ---- frames
 * --------------------------------------------------------------------------------------------- */

static void meta_frame(struct node *n, peer_conn c, uint32_t stream)
{
    struct wire_meta m;
    struct buf *out = peer_out(n->peers, c);

    n->counters.served_metas++;
    if (!out)
        return;
    node_meta_fill(n, &m);
    size_t begun = wire_frame_begin(out, WIRE_META_RES, stream);
    (void)wire_meta_put(out, &m);
    (void)wire_frame_end(out, begun);
    peer_send_built(n->peers, c);
    n->counters.answered_metas++;
}

static void on_frame(void *ctx, peer_conn c, const struct wire_frame *f)
{
    struct node *n = ctx;
    const struct node_conn *from = node_conn_find(n, c);

    if (!from || n->phase != NODE_OPEN || from->id == n->id)
        return;
    switch (f->kind) {
    case WIRE_RAFT:
        if (may_speak_raft(n, from))
            raft_frame(n, from, f->body);
        return;
    case WIRE_IMAGE_REQ:
        node_lend_asked(n, c, f);
        return;
    case WIRE_IMAGE_RES:
        node_fetch_answered(n, c, f);
        return;
    case WIRE_DIGEST:
        if (may_speak_raft(n, from) && !is_another(n, from))
            node_digest_told(n, c, from->id, f);
        return;
    case WIRE_FORWARD_REQ:
    case WIRE_JOIN_REQ:
    case WIRE_NOTIFY_REQ:
    case WIRE_REMOVE_REQ:
    case WIRE_STEPDOWN_REQ:
        node_serve(n, c, f);
        return;
    case WIRE_FORWARD_RES:
        node_forward_answered(n, c, f);
        return;
    case WIRE_FORWARD_PART:
        node_forward_part(n, c, f);
        return;
    case WIRE_FORWARD_PULL:
        node_relay_pulled(n, c, f);
        return;
    case WIRE_META_REQ:
        meta_frame(n, c, f->stream);
        return;
    case WIRE_INDEX_REQ:
        node_index_asked(n, c, f);
        return;
    case WIRE_INDEX_RES:
        node_index_answered(n, c, f);
        return;
    case WIRE_JOIN_RES:
    case WIRE_NOTIFY_RES:
    case WIRE_REMOVE_RES:
    case WIRE_STEPDOWN_RES:
    case WIRE_META_RES:
        node_ask_answered(n, c, f);
        return;
    case WIRE_HELLO:
    case WIRE_BYE:
    case WIRE_PING: /* peer's own */
    case WIRE_PONG:
    case WIRE_KIND_MAX_:
        return;
    }
}

const struct peer_events node_peer_events = {
    .greeted = on_greeted,
    .frame = on_frame,
    .lost = on_lost,
    .refused = on_refused,
    .writable = on_writable,
    .drained = on_drained,
};
