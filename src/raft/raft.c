/* raft.c — create, one switch over the inputs, and the end of every step: commit, apply, answer reads,
 * say when to wake. */
#include "raft_int.h"
#include <rq/util/mem.h>
#include <string.h>

/* ---- create --------------------------------------------------------------------------------------- */

static int config_check(const struct raft_config *c, struct err_text *why)
{
    if (c->id == 0)
        return err_set(why, ERR_INVALID, "raft: id is 0");
    if (c->heartbeat_ms < 1 || c->election_ms <= c->heartbeat_ms || c->lease_ms < 1 ||
        (c->campaign_ms != 0 && c->campaign_ms < c->election_ms))
        return err_set(why, ERR_INVALID, "raft: timeouts contradict each other");
    if (c->append_count_max < 1 || c->append_count_max > RAFT_ENTRIES_PER_STEP)
        return err_set(why, ERR_INVALID, "raft: append_count_max out of range");
    if (c->window_msgs < 1 || c->window_msgs > WINDOW_MSGS_MAX)
        return err_set(why, ERR_INVALID, "raft: window_msgs out of range");
    if (c->term_runs_max < 8 || c->term_runs_max > (1U << 24))
        return err_set(why, ERR_INVALID, "raft: term_runs_max out of range");
    return 0;
}

static int restore_check_runs(const struct raft_restore *f, struct err_text *why)
{
    uint64_t term = f->snapshot_term;
    uint64_t first =
        f->snapshot_index + 1; /* where the next run may begin: exactly here if i is 0 */

    for (uint32_t i = 0; i < f->run_count; i++) {
        const struct raft_term_run *run = &f->runs[i];
        bool in_place = i == 0 ? run->first_index == first : run->first_index > first;
        if (!in_place || run->first_index > f->last_index)
            return err_set(why, ERR_INVALID, "raft: term run %u is out of place", i);
        if (run->term == 0 || run->term < term || run->term > f->hard.term)
            return err_set(why, ERR_INVALID,
                           "raft: term run %u falls, or is beyond the current term", i);
        term = run->term;
        first = run->first_index;
    }
    if (f->run_count == 0 && f->last_index != f->snapshot_index)
        return err_set(why, ERR_INVALID, "raft: entries without terms");
    return 0;
}

static int restore_check(const struct raft_restore *f, struct err_text *why)
{
    uint64_t before = f->snapshot_index;

    if (f->last_index < f->snapshot_index || f->last_index > NUMBER_MAX ||
        f->hard.term > NUMBER_MAX)
        return err_set(why, ERR_INVALID, "raft: last index is below the snapshot");
    if (f->applied_index < f->snapshot_index || f->applied_index > f->last_index)
        return err_set(why, ERR_INVALID, "raft: applied index is outside the log");
    if (f->snapshot_term > f->hard.term || (f->snapshot_index == 0) != (f->snapshot_term == 0))
        return err_set(why, ERR_INVALID, "raft: snapshot and its term contradict each other");
    if (!conf_is_sane(&f->snapshot_conf))
        return err_set(why, ERR_INVALID, "raft: snapshot holds a bad configuration");
    for (uint32_t i = 0; i < f->conf_count; i++) {
        if (f->confs[i].index <= before || f->confs[i].index > f->last_index ||
            !conf_is_sane(&f->confs[i].conf))
            return err_set(why, ERR_INVALID, "raft: configuration %u is bad or out of place", i);
        before = f->confs[i].index;
    }
    return restore_check_runs(f, why);
}

static int allocate(struct raft *r, const struct raft_restore *f)
{
    struct orders *o = &r->orders;
    int rc = trail_init(&r->trail, r->config.term_runs_max, f->run_count);

    r->disk.writes = mem_zalloc(WRITES_MAX * sizeof(*r->disk.writes));
    r->confs.pending_cap = CONFS_SPARE + f->conf_count;
    r->confs.pending = mem_zalloc(r->confs.pending_cap * sizeof(*r->confs.pending));
    r->windows = mem_zalloc((size_t)RAFT_NODES_MAX * r->config.window_msgs * sizeof(*r->windows));
    r->reads.ring = mem_zalloc(RAFT_READS_MAX * sizeof(*r->reads.ring));
    o->now = mem_zalloc(RAFT_MSGS_MAX * sizeof(*o->now));
    o->stored = mem_zalloc(RAFT_MSGS_MAX * sizeof(*o->stored));
    o->reads = mem_zalloc(RAFT_READS_MAX * sizeof(*o->reads));
    if (rc || !r->disk.writes || !r->confs.pending || !r->windows || !r->reads.ring || !o->now ||
        !o->stored || !o->reads)
        return ERR_NOMEM;
    return 0;
}

static void restore_apply(struct raft *r, const struct raft_restore *f)
{
    r->hard = f->hard;
    trail_reset(&r->trail, f->snapshot_index, f->snapshot_term);
    for (uint32_t i = 0; i < f->run_count; i++) {
        struct raft_term_run *last = &r->trail.runs[r->trail.run_count];
        if (r->trail.run_count > 0 && last[-1].term == f->runs[i].term)
            continue;
        *last = f->runs[i];
        r->trail.run_count++;
    }
    r->trail.last_index = f->last_index;
    r->trail.bytes_from = f->last_index + 1;
    r->disk.durable_index = f->last_index;
    conf_reset(r, f->snapshot_index, &f->snapshot_conf);
    for (uint32_t i = 0; i < f->conf_count; i++)
        conf_push(r, f->confs[i].index, &f->confs[i].conf);
    r->applied_index = r->apply_index = r->commit_index = f->applied_index;
    conf_commit(r);
}

int raft_create(const struct raft_config *config, const struct raft_restore *restore,
                uint64_t now_ms, struct raft **out, struct err_text *why)
{
    static const struct raft_restore empty = {0};
    const struct raft_restore *found = restore ? restore : &empty;
    int rc = config_check(config, why);

    if (rc == 0)
        rc = restore_check(found, why);
    if (rc)
        return rc;
    struct raft *r = mem_zalloc(sizeof(*r));
    if (!r)
        return err_set(why, ERR_NOMEM, "raft: out of memory");
    r->config = *config;
    if (r->config.campaign_ms == 0)
        r->config.campaign_ms = config->election_ms;
    r->now_ms = now_ms;
    prng_init(&r->prng, config->seed);
    if (allocate(r, found)) {
        raft_destroy(r);
        return err_set(why, ERR_NOMEM, "raft: out of memory");
    }
    restore_apply(r, found);
    orders_reset(r);
    election_rearm(r);
    *out = r;
    return 0;
}

void raft_destroy(struct raft *r)
{
    if (!r)
        return;
    trail_fini(&r->trail);
    mem_free(r->disk.writes);
    mem_free(r->confs.pending);
    mem_free(r->windows);
    mem_free(r->reads.ring);
    mem_free(r->orders.now);
    mem_free(r->orders.stored);
    mem_free(r->orders.reads);
    mem_free(r);
}

/* ---- messages -------------------------------------------------------------------------------------- */

static bool entries_are_sane(const struct raft_msg *m)
{
    uint64_t term = m->log_term;

    if (m->span.count > RAFT_ENTRIES_PER_STEP)
        return false;
    if (m->span.count > 0 && (!m->entries || m->span.first != m->log_index + 1))
        return false;
    for (uint32_t i = 0; i < m->span.count; i++) {
        const struct raft_entry *e = &m->entries[i];
        if (e->term == 0 || e->term < term || e->term > m->term || e->kind > RAFT_ENTRY_CONF)
            return false;
        if (e->kind == RAFT_ENTRY_CONF &&
            (!e->conf || !conf_is_sane(e->conf) || conf_voter_count(e->conf) == 0))
            return false;
        term = e->term;
    }
    return true;
}

/* Could this come from a correct peer at all? */
static bool is_sane(const struct raft *r, const struct raft_msg *m)
{
    if (m->from == 0 || m->from == r->config.id || m->to != r->config.id)
        return false;
    if (m->term == 0 || m->term > NUMBER_MAX || m->log_index > NUMBER_MAX ||
        m->hint_index > NUMBER_MAX || m->read_round > NUMBER_MAX)
        return false;
    switch (m->kind) {
    case RAFT_MSG_PREVOTE_REQ:
    case RAFT_MSG_VOTE_REQ:
        return m->log_term < m->term && (m->log_index == 0) == (m->log_term == 0);
    case RAFT_MSG_APPEND_REQ:
        return m->log_term <= m->term && (m->log_index == 0) == (m->log_term == 0) &&
               entries_are_sane(m);
    case RAFT_MSG_SNAPSHOT_REQ:
        return m->log_term <= m->term && m->log_index > 0 && m->log_term > 0;
    case RAFT_MSG_PREVOTE_RES:
    case RAFT_MSG_VOTE_RES:
    case RAFT_MSG_APPEND_RES:
    case RAFT_MSG_TIMEOUT_NOW:
    case RAFT_MSG_SNAPSHOT_RES:
        return true;
    }
    return false;
}

/* A sender behind our term. Candidates learn it from the refusal. A leader must: if our term got ahead
 * of the cluster's we can neither follow it nor, the others hearing it, ever win against it. */
static void step_old_term(struct raft *r, const struct raft_msg *m)
{
    bool leader = m->kind == RAFT_MSG_APPEND_REQ || m->kind == RAFT_MSG_SNAPSHOT_REQ;

    ASSERT(m->term < r->hard.term);
    if (!leader && m->kind != RAFT_MSG_VOTE_REQ)
        return;
    struct raft_msg reply = msg_to(r, m->from, leader ? RAFT_MSG_APPEND_RES : RAFT_MSG_VOTE_RES);
    reply.log_index = leader ? m->log_index : 0;
    reply.read_round = m->read_round;
    orders_send_answer(r, &reply);
}

static void step_same_term(struct raft *r, const struct raft_msg *m)
{
    switch (m->kind) {
    case RAFT_MSG_PREVOTE_REQ:
    case RAFT_MSG_PREVOTE_RES:
        return; /* not bound to our term: handled before */
    case RAFT_MSG_VOTE_REQ:
        election_vote_req(r, m);
        return;
    case RAFT_MSG_VOTE_RES:
        election_vote_res(r, m);
        return;
    case RAFT_MSG_APPEND_REQ:
        follower_append(r, m);
        return;
    case RAFT_MSG_APPEND_RES:
        if (r->role == RAFT_LEADER)
            leader_answered(r, m);
        return;
    case RAFT_MSG_TIMEOUT_NOW:
        election_timeout_now(r, m);
        return;
    case RAFT_MSG_SNAPSHOT_REQ:
        follower_snapshot_offered(r, m);
        return;
    case RAFT_MSG_SNAPSHOT_RES:
        if (r->role == RAFT_LEADER)
            leader_snapshot_answered(r, m);
        return;
    }
}

static void step_msg(struct raft *r, const struct raft_msg *m)
{
    if (!is_sane(r, m))
        return;
    if (m->kind == RAFT_MSG_PREVOTE_REQ) {
        election_prevote_req(r, m);
        return;
    }
    if (m->kind == RAFT_MSG_PREVOTE_RES && m->granted) {
        election_prevote_res(r, m);
        return;
    }
    if (m->kind == RAFT_MSG_VOTE_REQ && m->term > r->hard.term && !m->transfer &&
        election_hears_leader(r))
        return; /* stickiness, §4.2.3: not even the term */
    if (m->term < r->hard.term) {
        step_old_term(r, m);
        return;
    }
    if (m->term > r->hard.term)
        election_follow(r, m->term, 0);
    step_same_term(r, m);
}

/* ---- one step ---------------------------------------------------------------------------------------- */

static int step_input(struct raft *r, const struct raft_in *in)
{
    switch (in->kind) {
    case RAFT_IN_TICK:
        if (r->role == RAFT_LEADER)
            leader_tick(r);
        else
            election_tick(r);
        return 0;
    case RAFT_IN_MSG:
        step_msg(r, in->u.msg);
        return 0;
    case RAFT_IN_PROPOSE:
        return leader_propose(r, in->u.propose.count, in->u.propose.bytes);
    case RAFT_IN_CONF:
        return leader_conf(r, in->u.conf);
    case RAFT_IN_STORED:
        disk_stored(r, in->u.stored_order);
        election_stored(r);
        return 0;
    case RAFT_IN_APPLIED:
        ASSERT(in->u.applied_index <= r->apply_index);
        r->applied_index = max_u64(r->applied_index, in->u.applied_index);
        return 0;
    case RAFT_IN_READ:
        return r->role == RAFT_LEADER ? read_add(r, in->u.read_token) : ERR_NOT_LEADER;
    case RAFT_IN_TRANSFER:
        return leader_transfer(r, in->u.transfer_to);
    case RAFT_IN_SUSPECT:
        election_suspect(r, in->u.suspect);
        return 0;
    case RAFT_IN_SNAPSHOT:
        return follower_snapshot(r, in->u.snapshot.index, in->u.snapshot.term, in->u.snapshot.conf,
                                 in->u.snapshot.installed);
    case RAFT_IN_SNAPSHOT_SENT:
        if (r->role == RAFT_LEADER)
            leader_snapshot_sent(r, in->u.snapshot_sent.to, in->u.snapshot_sent.ok);
        return 0;
    case RAFT_IN_CAMPAIGN:
        election_prevote(r);
        return 0;
    }
    UNREACHABLE();
}

/* Committed and on the own disk, so that no database is ever ahead of its log. */
static struct raft_span take_apply(struct raft *r)
{
    uint64_t upto = min_u64(r->commit_index, r->disk.durable_index);
    struct raft_span span = {r->apply_index + 1, 0};

    if (upto <= r->apply_index)
        return span;
    span.count = (uint32_t)min_u64(upto - r->apply_index, UINT32_MAX);
    r->apply_index += span.count;
    return span;
}

static void step_finish(struct raft *r)
{
    if (r->role != RAFT_LEADER)
        return;
    leader_work(r);
    read_serve(r);
    if (leader_must_quit(r)) {
        leader_farewell(r);
        election_follow(r, r->hard.term, 0);
    }
}

static void out_fill(struct raft *r, struct raft_out *out)
{
    const struct orders *o = &r->orders;

    r->orders.hard = r->hard;
    out->hard = o->hard_set ? &o->hard : NULL;
    out->append = o->append;
    out->append_kind = o->append_kind;
    out->append_from_msg = o->append_from_msg;
    out->send_now.msgs = o->now;
    out->send_now.count = o->now_count;
    out->send_stored.msgs = o->stored;
    out->send_stored.count = o->stored_count;
    out->reads.reads = o->reads;
    out->reads.count = o->read_count;
    out->snapshots = o->snapshots;
    out->snapshot_count = o->snapshot_count;
    out->install_wanted = o->install_wanted;
    out->install_from = o->install_from;
    out->install_index = o->install_index;
    out->install_term = o->install_term;
    out->conf_changed = o->conf_changed;
}

static uint64_t wake_ms(const struct raft *r)
{
    return r->role == RAFT_LEADER ? leader_wake_ms(r) : r->deadline_ms;
}

int raft_step(struct raft *r, const struct raft_in *in, struct raft_out *out)
{
    enum raft_role role = r->role;
    raft_id leader = r->leader;
    uint64_t term = r->hard.term;

    memset(out, 0, sizeof(*out));
    orders_reset(r);
    r->now_ms = max_u64(r->now_ms, in->now_ms);
    int rc = step_input(r, in);
    if (rc == 0) {
        step_finish(r);
        out->apply = take_apply(r);
        out_fill(r, out);
        r->disk.order += !orders_empty(r) || out->apply.count > 0;
        out->role_changed = role != r->role || leader != r->leader || term != r->hard.term ||
                            r->orders.transfer_changed;
    }
    out->order = r->disk.order;
    out->wake_ms = wake_ms(r);
    return rc;
}

/* ---- looking in --------------------------------------------------------------------------------------- */

static void look_peers(const struct raft *r, struct raft_view *out)
{
    out->peer_count = r->peer_count;
    for (uint32_t i = 0; i < r->peer_count; i++) {
        const struct peer *p = &r->peers[i];
        struct raft_peer_view *v = &out->peers[i];
        v->id = p->id;
        v->voter = p->voter;
        v->match = p->match;
        v->next = p->next;
        v->last_heard_ms = p->heard_ms;
        v->snapshotting = p->state == PEER_SNAPSHOT;
    }
}

void raft_look(const struct raft *r, struct raft_view *out)
{
    memset(out, 0, sizeof(*out));
    out->role = r->role;
    out->leader = r->leader;
    out->hard = r->hard;
    out->snapshot_index = r->trail.base_index;
    out->last_index = r->trail.last_index;
    out->last_term = trail_last_term(&r->trail);
    out->commit_index = r->commit_index;
    out->applied_index = r->applied_index;
    out->durable_index = r->disk.durable_index;
    out->term_start_index = r->term_start_index;
    out->committed_in_term = commit_in_term(r);
    out->transferring = r->transfer_to != 0;
    out->term_run_count = r->trail.run_count;
    out->conf = conf_active(r);
    out->conf_index = conf_active_index(r);
    out->conf_committed = r->confs.pending_count == 0;
    out->am_member = conf_find(out->conf, r->config.id) != NULL;
    out->am_voter = conf_has_voter(out->conf, r->config.id);
    out->leader_heard_ms = r->leader_heard_ms;
    look_peers(r, out);
}

uint64_t raft_term_at(const struct raft *r, uint64_t index)
{
    return trail_term_at(&r->trail, index);
}

const char *raft_role_name(enum raft_role role)
{
    switch (role) {
    case RAFT_FOLLOWER:
        return "Follower";
    case RAFT_PRECANDIDATE:
    case RAFT_CANDIDATE:
        return "Candidate";
    case RAFT_LEADER:
        return "Leader";
    }
    return "?";
}

const char *raft_msg_name(enum raft_msg_kind kind)
{
    switch (kind) {
    case RAFT_MSG_PREVOTE_REQ:
        return "PREVOTE_REQ";
    case RAFT_MSG_PREVOTE_RES:
        return "PREVOTE_RES";
    case RAFT_MSG_VOTE_REQ:
        return "VOTE_REQ";
    case RAFT_MSG_VOTE_RES:
        return "VOTE_RES";
    case RAFT_MSG_APPEND_REQ:
        return "APPEND_REQ";
    case RAFT_MSG_APPEND_RES:
        return "APPEND_RES";
    case RAFT_MSG_TIMEOUT_NOW:
        return "TIMEOUT_NOW";
    case RAFT_MSG_SNAPSHOT_REQ:
        return "SNAPSHOT_REQ";
    case RAFT_MSG_SNAPSHOT_RES:
        return "SNAPSHOT_RES";
    }
    return "?";
}
