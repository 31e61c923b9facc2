/* raft_leader.c — what only a leader does: proposals, the progress of each peer (§3.5, §10.2), flow
 * control, hand-over (§3.10). State machine of a peer: raft_int.h.
 *
 * Heartbeats are APPEND_REQs without entries at the peer's match: always acceptable, never behind bulk,
 * in every state. Entries go out ahead of acknowledgements while the window has room. */
#include "raft_int.h"
#include <string.h>

static struct peer *peer_find(struct raft *r, raft_id id)
{
    for (uint32_t i = 0; i < r->peer_count; i++)
        if (r->peers[i].id == id)
            return &r->peers[i];
    return NULL;
}

/* ---- the set of peers --------------------------------------------------------------------------- */

static struct flight *window_take(struct raft *r, const struct peer *peers, uint32_t count)
{
    for (uint32_t slot = 0; slot < RAFT_NODES_MAX; slot++) {
        struct flight *window = r->windows + (size_t)slot * r->config.window_msgs;
        uint32_t i = 0;
        while (i < count && peers[i].window != window)
            i++;
        if (i == count)
            return window;
    }
    UNREACHABLE();
}

static void peer_init(struct raft *r, struct peer *p, raft_id id)
{
    struct flight *window = p->window;

    memset(p, 0, sizeof(*p));
    p->window = window;
    p->id = id;
    p->state = PEER_PROBE;
    p->next = r->trail.last_index + 1;
    p->contact_ms = r->now_ms;
    p->min_round = p->probe_round = ++r->reads.round;
}

/* Peers follow the active configuration. One that was removed and came back starts afresh: answers to
 * its earlier life echo older rounds (tikv/raft-rs#571). */
static void peers_refresh(struct raft *r)
{
    const struct raft_conf *c = conf_active(r);
    struct peer peers[RAFT_NODES_MAX];
    uint32_t count = 0;

    memset(peers, 0, sizeof(peers));
    for (uint32_t i = 0; i < c->count; i++) { /* survivors first: their windows are taken */
        struct peer *old = peer_find(r, c->members[i].id);
        if (c->members[i].id == r->config.id)
            continue;
        if (old)
            peers[count] = *old;
        peers[count++].id = c->members[i].id;
    }
    for (uint32_t i = 0; i < count; i++) {
        if (!peers[i].window) {
            peers[i].window = window_take(r, peers, count);
            peer_init(r, &peers[i], peers[i].id);
        }
        peers[i].voter = conf_has_voter(c, peers[i].id);
    }
    memcpy(r->peers, peers, sizeof(peers));
    r->peer_count = count;
}

/* ---- messages to a peer ---------------------------------------------------------------------------- */

static void peer_beat(struct raft *r, struct peer *p)
{
    struct raft_msg m = msg_to(r, p->id, RAFT_MSG_APPEND_REQ);

    m.log_index = p->match >= r->trail.base_index ? p->match : 0;
    m.log_term = trail_term_at(&r->trail, m.log_index);
    m.span.first = m.log_index + 1;
    m.commit = min_u64(r->commit_index, p->match); /* it may hold other entries behind match */
    m.read_round = r->reads.round;
    p->commit_sent = max_u64(p->commit_sent, m.commit);
    orders_send_now(r, &m);
}

static void peer_send(struct raft *r, struct peer *p, uint32_t count)
{
    struct raft_msg m = msg_to(r, p->id, RAFT_MSG_APPEND_REQ);

    ASSERT(p->next > r->trail.base_index && p->next - 1 + count <= r->trail.last_index);
    m.log_index = p->next - 1;
    m.log_term = trail_term_at(&r->trail, m.log_index);
    m.span.first = p->next;
    m.span.count = count;
    m.commit = r->commit_index;
    m.read_round = r->reads.round;
    p->commit_sent = r->commit_index;
    orders_send_now(r, &m);
}

/* How many entries from p->next on make one message, and their bytes. */
static uint32_t peer_batch(const struct raft *r, const struct peer *p, uint32_t *bytes)
{
    uint64_t left = r->trail.last_index + 1 - p->next;
    uint32_t count = 0;
    uint64_t total = 0;

    while (count < left && count < r->config.append_count_max) {
        total += trail_bytes_at(&r->trail, p->next + count);
        if (count > 0 && total > r->config.append_bytes_max)
            break;
        *bytes = (uint32_t)min_u64(total, UINT32_MAX);
        count++;
    }
    return count;
}

static void peer_offer_snapshot(struct raft *r, struct peer *p, bool order)
{
    struct raft_msg m = msg_to(r, p->id, RAFT_MSG_SNAPSHOT_REQ);
    struct orders *o = &r->orders;

    p->state = PEER_SNAPSHOT;
    p->moved_ms = r->now_ms;
    p->offered = m.log_index = r->trail.base_index;
    m.log_term = r->trail.base_term;
    m.read_round = r->reads.round;
    orders_send_now(r, &m);
    if (order && o->snapshot_count < RAFT_NODES_MAX) {
        o->snapshots[o->snapshot_count].to = p->id;
        o->snapshots[o->snapshot_count++].index = r->trail.base_index;
    }
}

/* ---- progress ------------------------------------------------------------------------------------------ */

static void peer_probe(struct raft *r, struct peer *p, uint64_t next)
{
    ASSERT(next > p->match);
    p->state = PEER_PROBE;
    p->next = min_u64(next, r->trail.last_index + 1);
    p->probe_sent = false;
    p->probe_last = 0;
    p->probe_round = ++r->reads.round;
    p->flight_count = 0;
    p->flight_bytes = 0;
}

static void peer_pump_probe(struct raft *r, struct peer *p)
{
    uint32_t bytes = 0;

    if (p->next <= r->trail.base_index) {
        peer_offer_snapshot(r, p, true);
        return;
    }
    uint32_t count = peer_batch(r, p, &bytes);
    peer_send(r, p, count);
    p->probe_sent = true;
    p->probe_last = p->next - 1 + count;
    p->probe_bytes = bytes;
    p->moved_ms = r->now_ms;
}

static bool window_is_open(const struct raft *r, const struct peer *p)
{
    return p->flight_count == 0 ||
           (p->flight_count < r->config.window_msgs && p->flight_bytes < r->config.window_bytes);
}

static void window_push(struct raft *r, struct peer *p, uint64_t last_index, uint32_t bytes)
{
    uint32_t at = (p->flight_head + p->flight_count) % r->config.window_msgs;

    ASSERT(p->flight_count < r->config.window_msgs && last_index >= p->next);
    if (p->flight_count == 0)
        p->moved_ms = r->now_ms;
    p->window[at].last_index = last_index;
    p->window[at].bytes = bytes;
    p->flight_count++;
    p->flight_bytes += bytes;
    p->next = last_index + 1;
}

static void peer_pump_window(struct raft *r, struct peer *p)
{
    while (p->next <= r->trail.last_index && window_is_open(r, p) && orders_have_room(r)) {
        uint32_t bytes = 0;
        uint32_t count = peer_batch(r, p, &bytes);

        peer_send(r, p, count);
        window_push(r, p, p->next - 1 + count, bytes);
    }
}

static void peer_pump(struct raft *r, struct peer *p)
{
    if (!orders_have_room(r)) {
        r->orders.more = true;
        return;
    }
    if (p->state == PEER_REPLICATE && p->next <= r->trail.base_index)
        peer_probe(r, p, p->match + 1); /* a snapshot was cut above what it still lacks */
    if (p->state == PEER_PROBE && !p->probe_sent)
        peer_pump_probe(r, p);
    else if (p->state == PEER_REPLICATE)
        peer_pump_window(r, p);
    if (p->state == PEER_REPLICATE && p->flight_count == 0 && p->commit_sent < r->commit_index)
        peer_send(r, p, 0); /* nothing else will carry the news soon */
    if (!orders_have_room(r))
        r->orders.more = true;
}

static void peer_window_free(struct raft *r, struct peer *p)
{
    while (p->flight_count && p->window[p->flight_head].last_index <= p->match) {
        p->flight_bytes -= p->window[p->flight_head].bytes;
        p->flight_head = (p->flight_head + 1) % r->config.window_msgs;
        p->flight_count--;
        p->moved_ms = r->now_ms;
    }
}

static void peer_accepted(struct raft *r, struct peer *p, const struct raft_msg *m)
{
    uint64_t received = max_u64(m->log_index, m->hint_index);

    if (received > r->trail.last_index)
        return; /* claims entries that we never sent */
    p->match = max_u64(p->match, m->log_index);
    if (m->read_round >= p->acked_round)
        p->received = received; /* may fall: a crash loses what was not yet on disk */
    p->received = max_u64(p->received, p->match);
    peer_window_free(r, p);
    if (p->state == PEER_PROBE && received + 1 >= p->next) {
        p->state = PEER_REPLICATE;
        p->next = received + 1;
        p->moved_ms = r->now_ms;
        if (p->probe_sent &&
            p->probe_last > received) /* a heartbeat was answered before the probe */
            window_push(r, p, p->probe_last, p->probe_bytes);
    } else if (p->state == PEER_SNAPSHOT && p->match >= p->offered) {
        peer_probe(r, p, p->match + 1);
    }
    p->next = max_u64(p->next, p->match + 1);
}

/* The follower lacks the position before the entries. Back up by its hint: the last index at or below
 * which terms can agree (end of §3.5). Stale rejections are known by their round, and by trying a
 * position that is not being tried now or has since been accepted. */
static void peer_rejected(struct raft *r, struct peer *p, const struct raft_msg *m)
{
    uint64_t back = min_u64(m->hint_index, r->trail.last_index);

    if (p->state == PEER_SNAPSHOT || m->read_round < p->probe_round || m->log_index <= p->match)
        return;
    if (p->state == PEER_PROBE ? m->log_index != p->next - 1 : m->log_index >= p->next)
        return;
    if (back >= r->trail.base_index)
        back = trail_below_term(&r->trail, back, m->hint_term);
    peer_probe(r, p, max_u64(min_u64(back + 1, m->log_index), p->match + 1));
}

void leader_answered(struct raft *r, const struct raft_msg *m)
{
    struct peer *p = peer_find(r, m->from);

    if (!p || m->read_round < p->min_round || m->read_round > r->reads.round)
        return;
    if (m->granted)
        peer_accepted(r, p, m);
    else
        peer_rejected(r, p, m);
    p->heard_ms = p->contact_ms = r->now_ms;
    p->acked_round = max_u64(p->acked_round, m->read_round);
}

void leader_snapshot_answered(struct raft *r, const struct raft_msg *m)
{
    struct peer *p = peer_find(r, m->from);

    if (!p || m->read_round < p->min_round || m->read_round > r->reads.round)
        return;
    p->heard_ms = p->contact_ms = r->now_ms;
    if (!m->granted || m->log_index > r->trail.last_index)
        return;
    p->match = max_u64(p->match, m->log_index);
    p->received = max_u64(p->received, p->match);
    peer_window_free(r, p);
    if (p->state == PEER_SNAPSHOT && p->match >= p->offered)
        peer_probe(r, p, p->match + 1);
    p->next = max_u64(p->next, p->match + 1);
}

void leader_snapshot_sent(struct raft *r, raft_id to, bool ok)
{
    struct peer *p = peer_find(r, to);

    if (!p)
        return;
    bool was_snapshot = p->state == PEER_SNAPSHOT;
    peer_probe(r, p, max_u64(p->match, was_snapshot && ok ? p->offered : 0) + 1);
    if (was_snapshot && !ok) { /* not at once again: wait for the retry */
        p->probe_sent = true;
        p->moved_ms = r->now_ms;
    }
}

/* ---- time ------------------------------------------------------------------------------------------------ */

/* A message may have been lost: a probe without an answer, or a window whose oldest message has not
 * arrived. One that arrived and waits for the follower's disk is left alone. */
static void peer_retry(struct raft *r, struct peer *p)
{
    if (r->now_ms - p->moved_ms < RETRY_HEARTBEATS * r->config.heartbeat_ms)
        return;
    if (p->state == PEER_PROBE)
        p->probe_sent = false;
    else if (p->state == PEER_SNAPSHOT)
        peer_offer_snapshot(r, p, false);
    else if (p->flight_count && p->received < p->window[p->flight_head].last_index)
        peer_probe(r, p, p->received + 1);
}

static void beat_all(struct raft *r, bool voters_only)
{
    for (uint32_t i = 0; i < r->peer_count; i++)
        if (r->peers[i].voter || !voters_only)
            peer_beat(r, &r->peers[i]);
}

static void transfer_end(struct raft *r)
{
    r->orders.transfer_changed = r->transfer_to != 0;
    r->transfer_to = 0;
    r->transfer_told = false;
}

void leader_tick(struct raft *r)
{
    ASSERT(r->role == RAFT_LEADER);
    if (r->transfer_to && r->now_ms >= r->transfer_deadline_ms)
        transfer_end(r);
    if (r->now_ms < r->beat_ms)
        return;
    r->beat_ms = r->now_ms + r->config.heartbeat_ms;
    for (uint32_t i = 0; i < r->peer_count; i++)
        peer_retry(r, &r->peers[i]);
    beat_all(r, false);
}

uint64_t leader_wake_ms(const struct raft *r)
{
    uint64_t wake = min_u64(r->beat_ms, commit_contact_ms(r) + r->config.lease_ms);

    if (r->transfer_to)
        wake = min_u64(wake, r->transfer_deadline_ms);
    return r->orders.more ? r->now_ms : wake;
}

/* ---- beginning and end --------------------------------------------------------------------------------- */

/* Nothing of older terms may be counted (fig. 3.7): a no-op of the own term commits them all. */
void leader_begin(struct raft *r)
{
    ASSERT(r->role == RAFT_CANDIDATE && hard_is_durable(r));
    ASSERT(r->hard.vote == r->config.id && r->peer_count == 0);
    r->role = RAFT_LEADER;
    r->leader = r->config.id;
    r->vote_count = 0;
    peers_refresh(r); /* they probe at the end of the log as it was, which the no-op then follows */
    log_append_own(r, 1, RAFT_ENTRY_NOOP, NULL);
    r->term_start_index = r->trail.last_index;
    r->beat_ms = r->now_ms + r->config.heartbeat_ms;
}

void leader_end(struct raft *r)
{
    ASSERT(r->role == RAFT_LEADER);
    read_fail_all(r);
    transfer_end(r);
    for (uint32_t i = 0; i < r->peer_count; i++)
        r->peers[i].window = NULL;
    r->peer_count = 0;
    r->term_start_index = 0;
}

/* A configuration without us as a voter is committed. */
static bool has_left(const struct raft *r)
{
    return r->confs.pending_count == 0 && !conf_has_voter(conf_active(r), r->config.id);
}

/* Without a quorum's answers for a lease (check-quorum, §6.2), or having left (§4.2.2). */
bool leader_must_quit(const struct raft *r)
{
    ASSERT(r->role == RAFT_LEADER);
    return r->now_ms - commit_contact_ms(r) >= r->config.lease_ms || has_left(r);
}

static struct peer *best_voter(struct raft *r)
{
    struct peer *best = NULL;

    for (uint32_t i = 0; i < r->peer_count; i++)
        if (r->peers[i].voter && (!best || r->peers[i].match > best->match))
            best = &r->peers[i];
    return best;
}

/* Having left the cluster: say that the change is committed, and who should lead without waiting. */
void leader_farewell(struct raft *r)
{
    struct peer *heir = best_voter(r);

    if (!has_left(r) || !heir)
        return;
    for (uint32_t i = 0; i < r->peer_count; i++)
        if (r->peers[i].state == PEER_REPLICATE && r->peers[i].next > r->trail.base_index)
            peer_send(r, &r->peers[i], 0);
    struct raft_msg m = msg_to(r, heir->id, RAFT_MSG_TIMEOUT_NOW);
    orders_send_now(r, &m);
}

/* ---- inputs ------------------------------------------------------------------------------------------------ */

int leader_propose(struct raft *r, uint32_t count, const uint32_t *bytes)
{
    ASSERT(count >= 1 && count <= RAFT_ENTRIES_PER_STEP && bytes);
    if (r->role != RAFT_LEADER || r->transfer_to)
        return ERR_NOT_LEADER;
    if (r->trail.run_count >= r->trail.run_soft_max)
        return ERR_FULL;
    log_append_own(r, count, RAFT_ENTRY_NORMAL, bytes);
    return 0;
}

int leader_conf(struct raft *r, const struct raft_conf *conf)
{
    if (r->role != RAFT_LEADER)
        return ERR_NOT_LEADER;
    if (!conf_is_sane(conf) || !conf_is_one_change(conf_active(r), conf) ||
        conf_voter_count(conf) == 0)
        return ERR_INVALID;
    if (r->confs.pending_count > 0 || !commit_in_term(r) || r->transfer_to)
        return ERR_BUSY;
    if (r->trail.run_count >= r->trail.run_soft_max)
        return ERR_FULL;
    log_append_own(r, 1, RAFT_ENTRY_CONF, NULL);
    conf_push(r, r->trail.last_index, conf);
    peers_refresh(r);
    return 0;
}

int leader_transfer(struct raft *r, raft_id to)
{
    if (r->role != RAFT_LEADER)
        return ERR_NOT_LEADER;
    struct peer *p = to ? peer_find(r, to) : best_voter(r);
    if (!p || !p->voter)
        return ERR_INVALID;
    if (r->transfer_to)
        return ERR_BUSY;
    r->transfer_to = p->id;
    r->transfer_told = false;
    r->transfer_deadline_ms = r->now_ms + r->config.campaign_ms;
    r->orders.transfer_changed = true;
    return 0;
}

/* Whoever waits for an entry of ours should hear what became of it: all is committed, and on our disk. But
 * a leader may hand over because its disk hangs, so this is not waited for longer than half of the time. */
static bool transfer_settled(const struct raft *r)
{
    uint64_t settled = min_u64(r->commit_index, r->disk.durable_index);

    return settled == r->trail.last_index ||
           r->now_ms + r->config.election_ms / 2 >= r->transfer_deadline_ms;
}

static void transfer_work(struct raft *r)
{
    struct peer *p = r->transfer_to ? peer_find(r, r->transfer_to) : NULL;

    if (!p || r->transfer_told || p->match != r->trail.last_index || !transfer_settled(r))
        return;
    struct raft_msg m = msg_to(r, p->id, RAFT_MSG_TIMEOUT_NOW);
    orders_send_now(r, &m);
    r->transfer_told = true;
}

void leader_work(struct raft *r)
{
    ASSERT(r->role == RAFT_LEADER);
    commit_advance(r);
    for (uint32_t i = 0; i < r->peer_count; i++)
        peer_pump(r, &r->peers[i]);
    if (read_begin(r))
        beat_all(r, true);
    read_confirm(r);
    transfer_work(r);
}
