/* raft_follower.c — entries and snapshots from the leader of this term (§3.5, paper fig. 13).
 *
 * Two answers to one append: what has arrived (hint_index), and what is durable (log_index), which alone
 * counts for commitment. Entries are acknowledged in send_stored; a heartbeat, or a repetition of
 * entries whose first write is still in flight, never promises more than the disk has. */
#include "raft_int.h"

static struct raft_msg answer_to(const struct raft *r, const struct raft_msg *m,
                                 enum raft_msg_kind kind)
{
    struct raft_msg reply = msg_to(r, m->from, kind);
    reply.read_round = m->read_round;
    return reply;
}

/* True unless another leader of the same term is known: then one of the two is nonsense. */
static bool meet_leader(struct raft *r, const struct raft_msg *m)
{
    ASSERT(r->role != RAFT_LEADER && m->term == r->hard.term);
    if (r->leader != 0 && r->leader != m->from)
        return false;
    election_follow(r, r->hard.term, m->from);
    r->round_seen = max_u64(r->round_seen, m->read_round);
    r->leader_heard_ms = r->now_ms;
    election_rearm(r);
    return true;
}

static void reject(struct raft *r, const struct raft_msg *m)
{
    struct raft_msg reply = answer_to(r, m, RAFT_MSG_APPEND_RES);
    uint64_t from = min_u64(r->trail.last_index, m->log_index - 1);
    uint64_t hint = trail_below_term(&r->trail, from, m->log_term);

    ASSERT(m->log_index > r->commit_index);
    reply.log_index = m->log_index;
    reply.hint_index = max_u64(hint, r->commit_index);
    reply.hint_term = trail_term_at(&r->trail, reply.hint_index);
    orders_send_answer(r, &reply);
}

static uint64_t term_in(const struct raft_msg *m, uint64_t index)
{
    ASSERT(index > m->log_index && index <= m->log_index + m->span.count);
    return m->entries[index - m->log_index - 1].term;
}

/* First index of the message that our log lacks or has with another term; one past its end if none. */
static uint64_t first_news(const struct raft *r, const struct raft_msg *m)
{
    uint64_t end = m->log_index + m->span.count;
    uint64_t index = max_u64(m->log_index, r->trail.base_index) + 1;

    while (index <= min_u64(end, r->trail.last_index) &&
           trail_term_at(&r->trail, index) == term_in(m, index))
        index++;
    return index;
}

static bool has_room(const struct raft *r, const struct raft_entry *e)
{
    return trail_has_room(&r->trail, e->term) &&
           (e->kind != RAFT_ENTRY_CONF || r->confs.pending_count < r->confs.pending_cap);
}

/* Replace whatever is at `from` and behind it. Returns the last index taken: all of the message, unless
 * one of our tables is full. */
static uint64_t take_entries(struct raft *r, const struct raft_msg *m, uint64_t from)
{
    uint64_t end = m->log_index + m->span.count;
    uint64_t index = from;

    ASSERT(from > r->commit_index && from <= r->trail.last_index + 1);
    if (!has_room(r, &m->entries[from - m->log_index - 1]))
        return from - 1;
    if (from <= r->trail.last_index) {
        disk_cut(r, from);
        trail_cut(&r->trail, from);
        conf_cut(r, from);
    }
    for (; index <= end; index++) {
        const struct raft_entry *e = &m->entries[index - m->log_index - 1];
        if (!has_room(r, e))
            break;
        trail_push(&r->trail, e->term, e->bytes);
        if (e->kind == RAFT_ENTRY_CONF)
            conf_push(r, index, e->conf);
    }
    ASSERT(index > from); /* a cut leaves no fewer places than there were before it */
    disk_wrote(r, index - 1);
    r->orders.append.first = from;
    r->orders.append.count = (uint32_t)(index - from);
    r->orders.append_from_msg = true;
    return index - 1;
}

static void learn_commit(struct raft *r, uint64_t commit)
{
    uint64_t index = min_u64(commit, r->match_index);

    ASSERT(r->match_index <= r->trail.last_index);
    if (index <= r->commit_index)
        return;
    r->commit_index = index;
    conf_commit(r);
}

static void accept(struct raft *r, const struct raft_msg *m, uint64_t matched)
{
    struct raft_msg reply = answer_to(r, m, RAFT_MSG_APPEND_RES);

    /* Committed entries are in every later leader's log (§3.6.3). */
    r->match_index = max_u64(r->match_index, max_u64(matched, r->commit_index));
    learn_commit(r, m->commit);
    reply.granted = true;
    reply.hint_index = r->match_index;
    if (m->span.count > 0 && matched > r->disk.durable_index) {
        reply.log_index = matched; /* every batch up to this one is durable when it leaves */
        orders_send_stored(r, &reply);
        return;
    }
    reply.log_index = min_u64(r->match_index, r->disk.durable_index);
    orders_send_answer(r, &reply);
}

void follower_append(struct raft *r, const struct raft_msg *m)
{
    uint64_t end = m->log_index + m->span.count;

    if (r->role == RAFT_LEADER || !meet_leader(r, m))
        return;
    if (m->log_index > r->commit_index && trail_term_at(&r->trail, m->log_index) != m->log_term) {
        reject(r, m);
        return;
    }
    uint64_t from = first_news(r, m);
    if (from > end) {
        accept(r, m, max_u64(end, r->trail.base_index));
        return;
    }
    if (from <= r->commit_index || from <= r->match_index)
        return; /* contradicts what this or an earlier leader has settled: nonsense */
    accept(r, m, take_entries(r, m, from));
}

void follower_snapshot_offered(struct raft *r, const struct raft_msg *m)
{
    if (r->role == RAFT_LEADER || !meet_leader(r, m))
        return;
    if (m->log_index > r->commit_index && trail_term_at(&r->trail, m->log_index) != m->log_term) {
        r->orders.install_wanted = true;
        r->orders.install_from = m->from;
        r->orders.install_index = m->log_index;
        r->orders.install_term = m->log_term;
        return;
    }
    /* We have all of it: a snapshot holds committed entries only. */
    r->match_index = max_u64(r->match_index, max_u64(m->log_index, r->commit_index));
    learn_commit(r, m->log_index);
    struct raft_msg reply = answer_to(r, m, RAFT_MSG_SNAPSHOT_RES);
    reply.granted = true;
    reply.log_index = min_u64(r->commit_index, r->disk.durable_index);
    reply.log_term = trail_term_at(&r->trail, reply.log_index);
    orders_send_answer(r, &reply);
}

static int snapshot_taken(struct raft *r, uint64_t index, uint64_t term)
{
    if (index <= r->trail.base_index)
        return 0;
    if (index > r->applied_index || trail_term_at(&r->trail, index) != term)
        return ERR_INVALID;
    trail_drop(&r->trail, index);
    return 0;
}

/* Paper, fig. 13: entries behind the snapshot are kept if the log agrees with it at its last index. */
static int snapshot_installed(struct raft *r, uint64_t index, uint64_t term,
                              const struct raft_conf *conf)
{
    bool agrees = trail_term_at(&r->trail, index) == term;

    if (!agrees && (r->role == RAFT_LEADER || index <= r->commit_index))
        return ERR_INVALID; /* what is committed is in a leader's log, and in that of who knows it */
    if (agrees) {
        r->disk.durable_index = max_u64(r->disk.durable_index, index);
        r->commit_index = max_u64(r->commit_index, index);
        conf_commit(r);
        trail_drop(&r->trail, index);
    } else {
        trail_reset(&r->trail, index, term);
        disk_reset(r, index);
        conf_reset(r, index, conf);
        r->commit_index = index;
        r->match_index = index;
    }
    r->apply_index = max_u64(r->apply_index, index);
    r->applied_index = max_u64(r->applied_index, index);
    return 0;
}

int follower_snapshot(struct raft *r, uint64_t index, uint64_t term, const struct raft_conf *conf,
                      bool installed)
{
    if (!installed)
        return snapshot_taken(r, index, term);
    if (!conf_is_sane(conf) || term == 0 || term > r->hard.term)
        return ERR_INVALID;
    /* Also one behind the commit index: entries of its range may be committed and not yet durable here. */
    if (index > r->apply_index) {
        int rc = snapshot_installed(r, index, term, conf);
        if (rc)
            return rc;
    }
    if (r->role == RAFT_LEADER || r->leader == 0)
        return 0;
    struct raft_msg reply = msg_to(r, r->leader, RAFT_MSG_SNAPSHOT_RES);
    reply.granted = true;
    reply.read_round = r->round_seen;
    reply.log_index = min_u64(r->commit_index, r->disk.durable_index);
    reply.log_term = trail_term_at(&r->trail, reply.log_index);
    orders_send_stored(r, &reply);
    return 0;
}
