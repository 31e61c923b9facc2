/* raft_election.c — who leads.
 *
 *                 deadline, SUSPECT              quorum would vote          own vote durable, quorum voted
 *     FOLLOWER ───────────────────► PRECANDIDATE ─────────────► CANDIDATE ─────────────────────► LEADER
 *        ▲   ▲                        │    ▲                    │  │                               │
 *        │   └── append of this term ─┘    └──── deadline ──────┘  │                               │
 *        └────────── higher term; no quorum answers; left the cluster ◄────────────────────────────┘
 *
 * Pre-vote (§9.6) changes nothing anywhere: no term, no vote, no leader contact. Stickiness (§4.2.3):
 * whoever hears a leader refuses both kinds of request, so that a node that was cut off or removed cannot
 * disturb; whoever does not, never refuses for that reason. A node whose term got ahead of its leader's
 * says so in its answers to appends, and the leader's next term is higher (etcd-io/etcd#8501). Votes are
 * given regardless of the own view of membership: it may be older than the candidate's
 * (etcd-io/etcd#10998). */
#include "raft_int.h"

/* Who campaigns waits for answers, everybody else for a leader. */
void election_rearm(struct raft *r)
{
    const bool campaigns = r->role == RAFT_PRECANDIDATE || r->role == RAFT_CANDIDATE;
    const uint64_t patience = campaigns ? r->config.campaign_ms : r->config.election_ms;

    r->deadline_ms = r->now_ms + patience + prng_below(&r->prng, patience);
}

bool election_hears_leader(const struct raft *r)
{
    if (r->role == RAFT_LEADER)
        return true;
    return r->leader != 0 && r->now_ms - r->leader_heard_ms < r->config.election_ms;
}

void election_follow(struct raft *r, uint64_t term, raft_id leader)
{
    ASSERT(term >= r->hard.term && leader != r->config.id);
    if (r->role == RAFT_LEADER) {
        leader_end(r);
        election_rearm(r);
    }
    if (term > r->hard.term) {
        hard_set(r, term, 0);
        r->match_index = 0;
        r->round_seen = 0;
    }
    r->role = RAFT_FOLLOWER;
    r->leader = leader;
    r->vote_count = 0;
    if (leader != 0)
        r->suspect_tries = 0;
}

/* Voters campaign; and those who would be, were it not for a change that is not committed as far as we
 * know: nobody else may hold the entry that removes us (§4.2.2). Such a leader commits the change
 * without counting itself, and leaves. There must be room for the no-op. */
static bool may_campaign(const struct raft *r)
{
    const struct confs *c = &r->confs;
    bool voter = conf_has_voter(&c->base.conf, r->config.id);

    if (c->pending_count == 0 && !voter)
        return false;
    for (uint32_t i = 0; i < c->pending_count; i++)
        voter = voter || conf_has_voter(&c->pending[i].conf, r->config.id);
    return voter && trail_has_room(&r->trail, r->hard.term + 1);
}

static void ask_voters(struct raft *r, enum raft_msg_kind kind, bool transfer)
{
    const struct raft_conf *c = conf_active(r);

    for (uint32_t i = 0; i < c->count; i++) {
        if (!c->members[i].voter || c->members[i].id == r->config.id)
            continue;
        struct raft_msg m = msg_to(r, c->members[i].id, kind);
        m.log_index = r->trail.last_index;
        m.log_term = trail_last_term(&r->trail);
        m.transfer = transfer;
        if (kind == RAFT_MSG_PREVOTE_REQ) {
            m.term = r->hard.term + 1;
            orders_send_now(r, &m);
        } else {
            /* The position we claim must survive a crash: a grant for this term might reach a later
             * incarnation of ours. */
            orders_send_stored(r, &m);
        }
    }
}

/* Won when a quorum voted and our own vote is on disk: before that, a crash could let us campaign in
 * this term again, with another log. */
static void check_won(struct raft *r)
{
    if (r->role == RAFT_CANDIDATE && hard_is_durable(r) && commit_quorum_of_votes(r))
        leader_begin(r);
}

static void campaign(struct raft *r, bool transfer)
{
    ASSERT(r->role != RAFT_LEADER && may_campaign(r));
    hard_set(r, r->hard.term + 1, r->config.id);
    r->role = RAFT_CANDIDATE;
    r->leader = 0;
    r->match_index = 0;
    r->round_seen = 0;
    r->vote_count = 0;
    election_rearm(r);
    ask_voters(r, RAFT_MSG_VOTE_REQ, transfer);
}

/* Who knows first that the leader is gone is refused by those who do not know yet; and perhaps only its log is
 * long enough. So it asks again before a whole timeout has passed. Pre-votes disturb nobody. */
static void suspect_rearm(struct raft *r)
{
    r->suspect_tries--;
    r->deadline_ms = min_u64(
        r->deadline_ms, r->now_ms + prng_range(&r->prng, SUSPECT_JITTER_MS, 2 * SUSPECT_JITTER_MS));
}

void election_prevote(struct raft *r)
{
    if (r->role == RAFT_LEADER || !may_campaign(r))
        return;
    r->role = RAFT_PRECANDIDATE;
    r->leader = 0;
    r->vote_count = 0;
    election_rearm(r);
    if (r->suspect_tries > 0)
        suspect_rearm(r);
    if (commit_quorum_of_votes(r))
        campaign(r, false); /* the only voter */
    else
        ask_voters(r, RAFT_MSG_PREVOTE_REQ, false);
}

void election_tick(struct raft *r)
{
    ASSERT(r->role != RAFT_LEADER);
    if (r->now_ms < r->deadline_ms)
        return;
    if (may_campaign(r)) {
        election_prevote(r);
        return;
    }
    election_follow(r, r->hard.term, 0);
    election_rearm(r);
}

void election_stored(struct raft *r)
{
    check_won(r);
}

void election_suspect(struct raft *r, raft_id id)
{
    if (r->role != RAFT_FOLLOWER || id == 0 || r->leader != id)
        return;
    r->leader = 0;
    r->suspect_tries = SUSPECT_TRIES;
    r->deadline_ms =
        min_u64(r->deadline_ms, r->now_ms + prng_range(&r->prng, 0, SUSPECT_JITTER_MS));
}

/* §3.6.1: the later last term wins, then the longer log. */
static bool is_up_to_date(const struct raft *r, const struct raft_msg *m)
{
    uint64_t last_term = trail_last_term(&r->trail);

    if (m->log_term != last_term)
        return m->log_term > last_term;
    return m->log_index >= r->trail.last_index;
}

void election_prevote_req(struct raft *r, const struct raft_msg *m)
{
    struct raft_msg reply = msg_to(r, m->from, RAFT_MSG_PREVOTE_RES);

    reply.granted =
        m->term > r->hard.term && is_up_to_date(r, m) && (m->transfer || !election_hears_leader(r));
    if (reply.granted)
        reply.term = m->term;
    orders_send_answer(r, &reply);
}

static bool vote_add(struct raft *r, raft_id id)
{
    for (uint32_t i = 0; i < r->vote_count; i++)
        if (r->votes[i] == id)
            return false;
    if (!conf_has_voter(conf_active(r), id))
        return false;
    ASSERT(r->vote_count < RAFT_NODES_MAX);
    r->votes[r->vote_count++] = id;
    return true;
}

void election_prevote_res(struct raft *r, const struct raft_msg *m)
{
    if (r->role != RAFT_PRECANDIDATE || !m->granted || m->term != r->hard.term + 1)
        return;
    if (vote_add(r, m->from) && commit_quorum_of_votes(r) && may_campaign(r))
        campaign(r, false);
}

void election_vote_req(struct raft *r, const struct raft_msg *m)
{
    struct raft_msg reply = msg_to(r, m->from, RAFT_MSG_VOTE_RES);
    bool free = r->hard.vote == m->from || (r->hard.vote == 0 && r->leader == 0);

    ASSERT(m->term <= r->hard.term);
    reply.granted = m->term == r->hard.term && free && is_up_to_date(r, m);
    if (!reply.granted) {
        orders_send_answer(r, &reply);
        return;
    }
    if (r->hard.vote == 0)
        hard_set(r, r->hard.term, m->from);
    election_follow(r, r->hard.term, 0);
    election_rearm(r); /* §3.4: a vote given is a turn let pass */
    orders_send_stored(r, &reply);
}

void election_vote_res(struct raft *r, const struct raft_msg *m)
{
    ASSERT(m->term == r->hard.term);
    if (r->role == RAFT_CANDIDATE && m->granted && vote_add(r, m->from))
        check_won(r);
}

void election_timeout_now(struct raft *r, const struct raft_msg *m)
{
    ASSERT(m->term == r->hard.term);
    if (r->role == RAFT_LEADER || (r->leader != 0 && r->leader != m->from) || !may_campaign(r))
        return;
    campaign(r, true);
}
