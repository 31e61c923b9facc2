/* raft_check.c — every invariant of the state, callable between any two steps. Nothing in here changes
 * anything, and no other file of the room calls it. */
#include "raft_int.h"

static void check_trail(const struct raft *r)
{
    const struct trail *t = &r->trail;
    uint64_t term = t->base_term;

    ASSERT(t->base_index <= t->last_index);
    ASSERT((t->base_index == 0) == (t->base_term == 0));
    ASSERT(t->run_count <= t->run_cap);
    ASSERT((t->run_count == 0) == (t->base_index == t->last_index));
    for (uint32_t i = 0; i < t->run_count; i++) {
        const struct raft_term_run *run = &t->runs[i];
        if (i == 0)
            ASSERT(run->first_index == t->base_index + 1 && run->term >= term);
        else
            ASSERT(run->first_index > run[-1].first_index && run->term > term);
        ASSERT(run->first_index <= t->last_index);
        term = run->term;
    }
    ASSERT(trail_last_term(t) <= r->hard.term);
}

static void check_indexes(const struct raft *r)
{
    ASSERT(r->commit_index <= r->trail.last_index);
    ASSERT(r->apply_index <= r->commit_index);
    ASSERT(r->apply_index <= r->disk.durable_index);
    ASSERT(r->applied_index <= r->apply_index);
    ASSERT(r->trail.base_index <= r->applied_index);
    ASSERT(r->match_index <= r->trail.last_index);
}

static void check_disk(const struct raft *r)
{
    const struct disk *d = &r->disk;
    uint64_t order = d->stored_order, last = 0;

    ASSERT(d->stored_order <= d->order && d->hard_order <= d->order);
    ASSERT(d->durable_index <= r->trail.last_index);
    ASSERT(d->write_count <= WRITES_MAX);
    for (uint32_t i = 0; i < d->write_count; i++) {
        const struct write *w = &d->writes[(d->write_head + i) % WRITES_MAX];
        ASSERT(w->order > order && w->order <= d->order);
        ASSERT(w->last_index >= last && w->last_index <= r->trail.last_index);
        order = w->order;
        last = w->last_index;
    }
    ASSERT(d->write_count > 0 || d->durable_index == r->trail.last_index);
    ASSERT(d->write_count == 0 || last == r->trail.last_index);
}

static void check_confs(const struct raft *r)
{
    const struct confs *c = &r->confs;
    uint64_t index = c->base.index;

    ASSERT(c->base.index <= r->commit_index);
    ASSERT(c->pending_count <= c->pending_cap);
    ASSERT(conf_is_sane(&c->base.conf));
    for (uint32_t i = 0; i < c->pending_count; i++) {
        ASSERT(c->pending[i].index > index && c->pending[i].index > r->commit_index);
        ASSERT(c->pending[i].index <= r->trail.last_index);
        ASSERT(conf_is_sane(&c->pending[i].conf) && conf_voter_count(&c->pending[i].conf) > 0);
        index = c->pending[i].index;
    }
}

static void check_peer(const struct raft *r, const struct peer *p)
{
    uint64_t last = p->match, bytes = 0;

    ASSERT(p->id != r->config.id && conf_find(conf_active(r), p->id));
    ASSERT(p->voter == conf_has_voter(conf_active(r), p->id));
    ASSERT(p->match <= r->trail.last_index && p->received <= r->trail.last_index);
    ASSERT(p->match < p->next && p->next <= r->trail.last_index + 1);
    ASSERT(p->received >= p->match);
    ASSERT(p->acked_round <= r->reads.round && p->min_round <= p->probe_round);
    ASSERT(p->contact_ms >= p->heard_ms && p->contact_ms <= r->now_ms);
    ASSERT(p->commit_sent <= r->commit_index);
    ASSERT(p->flight_count <= r->config.window_msgs);
    ASSERT(p->state == PEER_REPLICATE || p->flight_count == 0);
    for (uint32_t i = 0; i < p->flight_count; i++) {
        const struct flight *f = &p->window[(p->flight_head + i) % r->config.window_msgs];
        ASSERT(f->last_index > last && f->last_index < p->next);
        last = f->last_index;
        bytes += f->bytes;
    }
    ASSERT(bytes == p->flight_bytes);
}

static void check_leader(const struct raft *r)
{
    uint32_t others = 0;

    ASSERT(r->leader == r->config.id && r->hard.vote == r->config.id);
    ASSERT(hard_is_durable(r));
    ASSERT(r->term_start_index > 0 && r->term_start_index <= r->trail.last_index);
    ASSERT(trail_last_term(&r->trail) == r->hard.term);
    ASSERT(trail_term_at(&r->trail, r->commit_index) <= r->hard.term);
    ASSERT(r->commit_index < r->term_start_index ||
           trail_term_at(&r->trail, r->commit_index) == r->hard.term);
    ASSERT(r->confs.pending_count <= 1 || r->commit_index < r->term_start_index);
    ASSERT(!r->transfer_to || conf_has_voter(conf_active(r), r->transfer_to));
    for (uint32_t i = 0; i < conf_active(r)->count; i++)
        others += conf_active(r)->members[i].id != r->config.id;
    ASSERT(others == r->peer_count);
    for (uint32_t i = 0; i < r->peer_count; i++) {
        ASSERT(i == 0 || r->peers[i - 1].id < r->peers[i].id);
        check_peer(r, &r->peers[i]);
    }
}

static void check_others(const struct raft *r)
{
    ASSERT(r->leader != r->config.id);
    ASSERT(r->role == RAFT_FOLLOWER || r->leader == 0);
    ASSERT(r->role != RAFT_CANDIDATE || r->hard.vote == r->config.id);
    ASSERT(r->role != RAFT_FOLLOWER || r->vote_count == 0);
    ASSERT(r->peer_count == 0 && r->transfer_to == 0 && r->term_start_index == 0);
    ASSERT(r->reads.count == 0);
    ASSERT(r->config.campaign_ms >= r->config.election_ms);
    ASSERT(r->deadline_ms <= r->now_ms + 2 * r->config.campaign_ms);
}

static void check_reads(const struct raft *r)
{
    const struct reads *q = &r->reads;
    uint64_t round = 0, index = 0;

    ASSERT(q->count <= RAFT_READS_MAX && q->begun_count <= q->count);
    ASSERT(q->confirmed <= q->round && q->open_count <= ROUNDS_OPEN_MAX);
    for (uint32_t i = 0; i < q->begun_count; i++) {
        const struct read_waiting *w = &q->ring[(q->head + i) % RAFT_READS_MAX];
        ASSERT(w->round > 0 && w->round >= round && w->round <= q->round);
        ASSERT(w->index >= index && w->index <= r->commit_index);
        ASSERT(w->index >= r->term_start_index);
        round = w->round;
        index = w->index;
    }
    for (uint32_t i = 0; i < q->open_count; i++)
        ASSERT(q->open[i] > q->confirmed && (i == 0 || q->open[i] > q->open[i - 1]));
}

void raft_check(const struct raft *r)
{
    ASSERT(r->hard.term > 0 || r->hard.vote == 0);
    check_trail(r);
    check_indexes(r);
    check_disk(r);
    check_confs(r);
    check_reads(r);
    if (r->role == RAFT_LEADER)
        check_leader(r);
    else
        check_others(r);
}
