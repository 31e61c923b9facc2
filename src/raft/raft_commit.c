/* raft_commit.c — what a quorum of voters has: votes, entries, rounds, recent contact. A quorum is more
 * than half of the voters of the active configuration; we count among them only if we are one, and
 * for entries only with what our own disk has (§10.2.1). */
#include "raft_int.h"

bool commit_quorum_of_votes(const struct raft *r)
{
    const struct raft_conf *c = conf_active(r);
    uint32_t yes = conf_has_voter(c, r->config.id);

    for (uint32_t i = 0; i < r->vote_count; i++)
        yes += conf_has_voter(c, r->votes[i]);
    return yes > conf_voter_count(c) / 2;
}

/* The largest value that more than half of n values reach. */
static uint64_t quorum_value(uint64_t *values, uint32_t n)
{
    ASSERT(n >= 1 && n <= RAFT_NODES_MAX);
    for (uint32_t i = 1; i < n; i++) {
        uint64_t v = values[i];
        uint32_t at = i;
        for (; at > 0 && values[at - 1] < v; at--)
            values[at] = values[at - 1];
        values[at] = v;
    }
    return values[n / 2]; /* largest first: n / 2 + 1 values are at least this */
}

static uint64_t quorum_over(const struct raft *r, uint64_t own,
                            uint64_t (*value_of)(const struct peer *))
{
    uint64_t values[RAFT_NODES_MAX];
    uint32_t n = 0;

    ASSERT(r->role == RAFT_LEADER);
    if (conf_has_voter(conf_active(r), r->config.id))
        values[n++] = own;
    for (uint32_t i = 0; i < r->peer_count; i++)
        if (r->peers[i].voter)
            values[n++] = value_of(&r->peers[i]);
    ASSERT(n == conf_voter_count(conf_active(r)));
    return quorum_value(values, n);
}

static uint64_t match_of(const struct peer *p)
{
    return p->match;
}

static uint64_t contact_of(const struct peer *p)
{
    return p->contact_ms;
}

static uint64_t round_of(const struct peer *p)
{
    return p->acked_round;
}

bool commit_advance(struct raft *r)
{
    uint64_t index = quorum_over(r, r->disk.durable_index, match_of);

    ASSERT(index <= r->trail.last_index);
    if (index <= r->commit_index || trail_term_at(&r->trail, index) != r->hard.term)
        return false; /* older terms commit only along with an own entry: §3.6.2, fig. 3.7 */
    r->commit_index = index;
    conf_commit(r);
    return true;
}

uint64_t commit_contact_ms(const struct raft *r)
{
    return quorum_over(r, r->now_ms, contact_of);
}

uint64_t commit_round(const struct raft *r)
{
    return quorum_over(r, r->reads.round, round_of);
}

bool commit_in_term(const struct raft *r)
{
    return r->role == RAFT_LEADER && r->commit_index >= r->term_start_index;
}
