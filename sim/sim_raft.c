/* sim_raft.c — oracles R1–R11, P5 (simulation.md §18.2), looked at after every event.
 *
 * Tables that outlive incarnations: leader of each term, vote of each node and term, the term of each
 * committed index, the term before each (index, term), a checksum of each (index, term)'s bytes, the
 * digest after each applied index. A node's log is mirrored as terms by index, so that truncation is seen
 * and compared without scanning: by R3 two logs that agree at an index agree below it. */
#include "sim_run.h"
#include <rq/util/assert.h>
#include <stdlib.h>
#include <string.h>

/* Open-addressing map from two words to one; never shrinks. */
struct map {
    uint64_t (*rows)[3];
    size_t cap, count;
};

static uint64_t *map_find(struct map *m, uint64_t a, uint64_t b, bool *fresh);

static void map_grow(struct map *m)
{
    struct map bigger = {.cap = m->cap ? m->cap * 2 : 1024};
    bigger.rows = calloc(bigger.cap, sizeof(*bigger.rows));
    for (size_t i = 0; i < m->cap; i++) {
        bool fresh;
        if (m->rows[i][0])
            *map_find(&bigger, m->rows[i][0], m->rows[i][1], &fresh) = m->rows[i][2];
    }
    free(m->rows);
    *m = bigger;
}

/* a is never 0. The value's place; zero when fresh. */
static uint64_t *map_find(struct map *m, uint64_t a, uint64_t b, bool *fresh)
{
    if (m->count * 2 >= m->cap)
        map_grow(m);
    size_t at = prng_mix(a, b) & (m->cap - 1);
    while (m->rows[at][0] && (m->rows[at][0] != a || m->rows[at][1] != b))
        at = (at + 1) & (m->cap - 1);
    *fresh = m->rows[at][0] == 0;
    if (*fresh) {
        m->rows[at][0] = a;
        m->rows[at][1] = b;
        m->count++;
    }
    return &m->rows[at][2];
}

struct mirror {      /* what a node's log was when last looked at */
    uint64_t *terms; /* by index; 0 unused */
    uint64_t cap, last;
    uint64_t term, commit; /* R6, within the incarnation */
    uint64_t term_ever;    /* R6, across incarnations: as promised by votes */
    uint64_t applied;
    uint64_t snapshot;          /* its log begins behind it */
    uint64_t acked, acked_term; /* P2, across incarnations: promised and not overwritten since */
    enum raft_role role;
    uint64_t role_term;
    uint64_t heard_ms, heard_at_ns, looked_ns; /* L2: as LEADER; heard_ms by its own clock */
    bool seen;                                 /* this incarnation */
    uint64_t looks;
    bool leads_commit; /* as leader it moved its commit index just now */
    uint64_t calls;    /* env calls it had made: unchanged, it did not run */
};

struct sim_raft_watch {
    struct mirror nodes[SIM_NODES_MAX];
    struct map leaders;       /* term → server + 1 */
    struct map votes;         /* (server + 1, term) → candidate */
    struct map previous;      /* (index, term) → term of index - 1, plus 1 */
    struct map entries;       /* (index, term) → checksum, plus 1 */
    struct map digests;       /* index → digest */
    uint64_t *committed;      /* entry's term by index */
    uint64_t *committed_when; /* term of who was first to call it committed */
    uint64_t committed_cap, committed_when_cap, committed_last;
};

void sim_raft_watch_create(struct sim *s)
{
    s->watch = calloc(1, sizeof(*s->watch));
}

void sim_raft_watch_destroy(struct sim *s)
{
    struct sim_raft_watch *w = s->watch;

    for (int i = 0; i < SIM_NODES_MAX; i++)
        free(w->nodes[i].terms);
    free(w->leaders.rows);
    free(w->votes.rows);
    free(w->previous.rows);
    free(w->entries.rows);
    free(w->digests.rows);
    free(w->committed);
    free(w->committed_when);
    free(w);
}

static void reserve(uint64_t **array, uint64_t *cap, uint64_t index)
{
    if (index < *cap)
        return;
    uint64_t grown = *cap ? *cap : 256;
    while (grown <= index)
        grown *= 2;
    *array = realloc(*array, grown * sizeof(**array));
    memset(*array + *cap, 0, (grown - *cap) * sizeof(**array));
    *cap = grown;
}

/* Term of an entry in a node's log; what lies before its log is in its image, and thus committed. */
static uint64_t term_at(const struct sim *s, const struct raft *r, const struct raft_view *view,
                        uint64_t index)
{
    return index < view->snapshot_index ? sim_raft_committed_term(s, index)
                                        : raft_term_at(r, index);
}

void sim_raft_restarted(struct sim *s, struct sim_server *v)
{
    struct mirror *m = &s->watch->nodes[v->at];
    m->term = 0;
    m->commit = 0;
    m->last = 0;
    m->applied = 0;
    m->snapshot = 0;
    m->role = RAFT_FOLLOWER;
    sim_conf_restarted(s, v);
    m->calls = 0;
    m->seen = false;
    sim_shadow_forget(s, v);
}

void sim_raft_forgot(struct sim *s, struct sim_server *v)
{
    struct mirror *m = &s->watch->nodes[v->at];
    m->acked = 0;
    m->acked_term = 0;
    sim_raft_restarted(s, v);
}

static void map_empty(struct map *m)
{
    free(m->rows);
    memset(m, 0, sizeof(*m));
}

void sim_raft_forced(struct sim *s)
{
    map_empty(&s->watch->leaders);
    map_empty(&s->watch->votes);
    map_empty(&s->watch->previous);
    map_empty(&s->watch->entries);
    sim_conf_forced(s);
}

uint64_t sim_raft_committed_term(const struct sim *s, uint64_t index)
{
    return index <= s->watch->committed_last ? s->watch->committed[index] : 0;
}

/* ---- R1, R4 ---------------------------------------------------------------------------------------------- */

static void check_new_leader(struct sim *s, struct sim_server *v, const struct raft *r,
                             const struct raft_view *view)
{
    struct sim_raft_watch *w = s->watch;
    bool fresh;

    sim_evaluated(s, SIM_R1);
    s->result->elections++;
    uint64_t *leader = map_find(&w->leaders, view->hard.term, 0, &fresh);
    if (fresh)
        *leader = v->at + 1;
    else if (*leader != v->at + 1)
        sim_violate(s, SIM_R1, "n%llu and %s both lead in term %llu", (unsigned long long)*leader,
                    v->name, (unsigned long long)view->hard.term);
    sim_evaluated(s, SIM_R4);
    for (uint64_t i = 1; i <= w->committed_last; i++) {
        /* Of later terms only: a leader that slept through the commit is deposed, not wrong. */
        if (w->committed_when[i] < view->hard.term && term_at(s, r, view, i) != w->committed[i]) {
            sim_violate(s, SIM_R4, "%s leads term %llu without committed entry %llu of term %llu",
                        v->name, (unsigned long long)view->hard.term, (unsigned long long)i,
                        (unsigned long long)w->committed[i]);
            return;
        }
    }
}

/* ---- R2, R3, R9: the log changed ---------------------------------------------------------------------------- */

static void check_entry(struct sim *s, struct sim_server *v, uint64_t index, uint64_t term,
                        uint64_t previous)
{
    bool fresh;
    uint64_t *known = map_find(&s->watch->previous, index, term, &fresh);

    sim_evaluated(s, SIM_R3);
    if (fresh)
        *known = previous + 1;
    else if (*known != previous + 1)
        sim_violate(s, SIM_R3, "%s: entry %llu of term %llu follows term %llu, elsewhere %llu",
                    v->name, (unsigned long long)index, (unsigned long long)term,
                    (unsigned long long)previous, (unsigned long long)(*known - 1));
}

/* Entries of the old log that the new one does not have: none of them may be committed. */
static void check_removed(struct sim *s, struct sim_server *v, const struct mirror *m,
                          uint64_t from)
{
    struct sim_raft_watch *w = s->watch;

    for (uint64_t i = from; i <= m->last; i++) {
        sim_evaluated(s, SIM_R9);
        if (i <= w->committed_last && m->terms[i] == w->committed[i])
            sim_violate(s, SIM_R9, "%s removed committed entry %llu of term %llu", v->name,
                        (unsigned long long)i, (unsigned long long)m->terms[i]);
    }
}

static void check_log(struct sim *s, struct sim_server *v, const struct raft *r,
                      const struct raft_view *view)
{
    struct mirror *m = &s->watch->nodes[v->at];

    if (m->last == view->last_index && (m->last == 0 || m->terms[m->last] == view->last_term))
        return;
    reserve(&m->terms, &m->cap, view->last_index + 1);
    uint64_t same = m->last < view->last_index ? m->last : view->last_index;
    while (same > 0 && m->terms[same] != term_at(s, r, view, same))
        same--;
    bool own =
        m->role == RAFT_LEADER && view->role == RAFT_LEADER && m->role_term == view->hard.term;
    sim_evaluated(s, SIM_R2);
    if (own && same < m->last)
        sim_violate(s, SIM_R2, "leader %s removed its own entry %llu", v->name,
                    (unsigned long long)(same + 1));
    check_removed(s, v, m, same + 1);
    if (m->last && same < m->acked) {
        m->acked = same;
        m->acked_term = same ? m->terms[same] : 0;
    }
    for (uint64_t i = same + 1; i <= view->last_index; i++) {
        uint64_t term = term_at(s, r, view, i);
        check_entry(s, v, i, term, i > 1 ? term_at(s, r, view, i - 1) : 0);
        m->terms[i] = term;
    }
    m->last = view->last_index;
}

/* A new incarnation: what an earlier one acknowledged is there, or the node has refused to start. The
 * shadow power cut cannot say this of a node whose durable bits were damaged. */
static void check_acked(struct sim *s, struct sim_server *v, const struct raft *r,
                        const struct raft_view *view)
{
    const struct mirror *m = &s->watch->nodes[v->at];

    if (m->acked == 0)
        return;
    sim_evaluated(s, SIM_P2);
    if (term_at(s, r, view, m->acked) != m->acked_term)
        sim_violate(s, SIM_P2,
                    "%s came back without entry %llu of term %llu, which it had acknowledged",
                    v->name, (unsigned long long)m->acked, (unsigned long long)m->acked_term);
}

/* By index, the same on every node: is it worth a shadow power cut? */
static bool sampled(const struct sim *s, uint64_t index)
{
    struct prng pick;

    prng_init(&pick, prng_mix(index, s->plan.seed));
    return prng_chance_ppm(&pick, s->plan.shadow_ppm);
}

/* ---- R8, R10, commit ------------------------------------------------------------------------------------------ */

/* A leader moved its commit index: the entry is of its own term, and by the simulator's knowledge of the
 * disks a quorum would keep it (its own copy counts only when its own disk has it). */
static void check_commit_rule(struct sim *s, struct sim_server *v, const struct raft *r,
                              const struct raft_view *view)
{
    uint32_t have = 0, voters = 0;
    uint64_t term = raft_term_at(r, view->commit_index);

    sim_evaluated(s, SIM_R8);
    if (term != view->hard.term) {
        sim_violate(s, SIM_R8,
                    "leader %s of term %llu committed entry %llu of term %llu by counting", v->name,
                    (unsigned long long)view->hard.term, (unsigned long long)view->commit_index,
                    (unsigned long long)term);
        return;
    }
    if (!sampled(s, view->commit_index))
        return;
    for (uint32_t i = 0; i < view->conf->count; i++) {
        if (!view->conf->members[i].voter)
            continue;
        voters++;
        for (uint32_t j = 0; j < s->plan.node_count; j++) {
            struct sim_server *o = &s->servers[j];
            if (!sim_server_is(o, view->conf->members[i].id))
                continue;
            if (sim_excused(o)) {
                have++;
                continue;
            }
            const struct sim_shadow *x = sim_shadow_take(s, o);
            have += sim_shadow_has(x, view->commit_index, term);
        }
    }
    if (have < voters / 2 + 1)
        sim_violate(s, SIM_R8, "leader %s committed entry %llu that only %u of %u would keep",
                    v->name, (unsigned long long)view->commit_index, have, voters);
}

static void note_committed(struct sim *s, struct sim_server *v, const struct raft *r, uint64_t upto,
                           uint64_t term)
{
    struct sim_raft_watch *w = s->watch;

    reserve(&w->committed, &w->committed_cap, upto + 1);
    reserve(&w->committed_when, &w->committed_when_cap, upto + 1);
    for (uint64_t i = w->committed_last + 1; i <= upto; i++) {
        w->committed[i] = raft_term_at(r, i);
        w->committed_when[i] = term;
        s->result->commits++;
    }
    if (upto > w->committed_last)
        w->committed_last = upto;
    sim_evaluated(s, SIM_R5);
    if (upto && raft_term_at(r, upto) != 0 && raft_term_at(r, upto) != w->committed[upto])
        sim_violate(s, SIM_R5, "%s commits entry %llu of term %llu, elsewhere it is of term %llu",
                    v->name, (unsigned long long)upto, (unsigned long long)raft_term_at(r, upto),
                    (unsigned long long)w->committed[upto]);
}

/* ---- P5 ---------------------------------------------------------------------------------------------------- */

static void check_image(struct sim *s, struct sim_server *v, uint64_t index)
{
    if (v->damaged || !sampled(s, index))
        return;
    const struct sim_shadow *x = sim_shadow_take(s, v);
    sim_evaluated(s, SIM_P5);
    if (x->rc || x->image_index < index)
        sim_violate(
            s, SIM_P5,
            "%s let its log go up to %llu; after power loss its image would end at %llu (%s)",
            v->name, (unsigned long long)index, (unsigned long long)x->image_index,
            err_text_of(x->rc));
}

/* Let go of the log's beginning; or (its commit index was not there yet) the log was replaced by an image. */
static void note_snapshot(struct sim *s, struct sim_server *v, const struct raft_view *view)
{
    struct mirror *m = &s->watch->nodes[v->at];

    if (view->snapshot_index > m->snapshot && m->commit) {
        s->result->compactions++;
        s->result->installs += view->snapshot_index > m->commit;
        check_image(s, v, view->snapshot_index);
    }
    m->snapshot = view->snapshot_index;
}

static void check_commit(struct sim *s, struct sim_server *v, const struct raft *r,
                         const struct raft_view *view)
{
    struct mirror *m = &s->watch->nodes[v->at];

    note_snapshot(s, v, view);
    sim_evaluated(s, SIM_R10);
    if (view->applied_index > view->commit_index || view->commit_index > view->last_index)
        sim_violate(s, SIM_R10, "%s: applied %llu, commit %llu, last %llu", v->name,
                    (unsigned long long)view->applied_index, (unsigned long long)view->commit_index,
                    (unsigned long long)view->last_index);
    sim_evaluated(s, SIM_R6);
    if (view->hard.term < m->term || view->commit_index < m->commit)
        sim_violate(s, SIM_R6, "%s went back: term %llu after %llu, commit %llu after %llu",
                    v->name, (unsigned long long)view->hard.term, (unsigned long long)m->term,
                    (unsigned long long)view->commit_index, (unsigned long long)m->commit);
    if (view->commit_index > m->commit) {
        if (view->role == RAFT_LEADER)
            check_commit_rule(s, v, r, view);
        m->leads_commit = view->role == RAFT_LEADER;
        note_committed(s, v, r, view->commit_index, view->hard.term);
    }
    m->term = view->hard.term;
    m->commit = view->commit_index;
}

/* ---- L2 ---------------------------------------------------------------------------------------------------- */

/* When a quorum, itself included, was last heard from: the n/2-th latest answer of the other voters. */
static uint64_t quorum_heard_ms(const struct raft_view *view, uint32_t *others)
{
    uint64_t at[RAFT_NODES_MAX];

    *others = 0;
    for (uint32_t i = 0; i < view->peer_count; i++) {
        uint32_t j = *others;
        if (!view->peers[i].voter)
            continue;
        for (; j > 0 && at[j - 1] < view->peers[i].last_heard_ms; j--)
            at[j] = at[j - 1];
        at[j] = view->peers[i].last_heard_ms;
        ++*others;
    }
    return *others ? at[(*others + 1) / 2 - 1] : 0;
}

/* A pause does not count: its time is not the leader's. */
static void check_heard(struct sim *s, struct sim_server *v, const struct raft_view *view)
{
    struct mirror *m = &s->watch->nodes[v->at];
    uint64_t now = world_now_ns(s->world), patience = s->plan.heartbeat_timeout_ms * ENV_MS_NS;
    uint32_t others;
    uint64_t heard = quorum_heard_ms(view, &others);
    bool same = m->role == RAFT_LEADER && m->role_term == view->hard.term && heard == m->heard_ms;

    if (!same || now - m->looked_ns > patience)
        m->heard_at_ns = now;
    m->heard_ms = heard;
    m->looked_ns = now;
    sim_evaluated(s, SIM_L2);
    if (others && view->am_voter && now - m->heard_at_ns > 4 * patience)
        sim_violate(s, SIM_L2, "%s still leads term %llu, %llu ms after a quorum was last heard",
                    v->name, (unsigned long long)view->hard.term,
                    (unsigned long long)((now - m->heard_at_ns) / ENV_MS_NS));
}

static void look_at(struct sim *s, struct sim_server *v)
{
    struct mirror *m = &s->watch->nodes[v->at];
    const struct raft *r = v->node ? node_raft(v->node) : NULL;
    struct raft_view view;

    uint64_t calls = host_env_calls(v->host);
    /* One that is stopping hands its leadership over first, and commits until it has. */
    if (!r || !(v->open || v->stopping) || calls == m->calls)
        return;
    m->calls = calls;
    m->leads_commit = false;
    raft_look(r, &view);
    if (m->looks++ % 64 == 0)
        node_check(v->node);
    if (!m->seen)
        check_acked(s, v, r, &view);
    m->seen = true;
    check_log(s, v, r, &view);
    check_commit(s, v, r, &view);
    sim_conf_look(s, v, r, &view);
    bool leads =
        view.role == RAFT_LEADER && (m->role != RAFT_LEADER || m->role_term != view.hard.term);
    if (leads)
        check_new_leader(s, v, r, &view);
    if (view.role == RAFT_LEADER) {
        v->led_ns = world_now_ns(s->world);
        check_heard(s, v, &view);
    }
    if (view.leader_heard_ms != v->heard_ms) {
        v->heard_ms = view.leader_heard_ms;
        v->heard_ns = v->heard_ms ? world_now_ns(s->world) : v->heard_ns;
    }
    bool campaigns = view.role == RAFT_CANDIDATE &&
                     (m->role != RAFT_CANDIDATE || m->role_term != view.hard.term);
    m->role = view.role;
    m->role_term = view.hard.term;
    if (campaigns)
        s->campaigned(s, v, view.hard.term);
    if (leads)
        s->led(s, v, view.hard.term);
    if (m->leads_commit)
        s->committed(s, v, view.hard.term);
}

void sim_raft_look(struct sim *s)
{
    for (uint32_t i = 0; i < s->plan.node_count; i++)
        look_at(s, &s->servers[i]);
}

/* ---- told by others ------------------------------------------------------------------------------------------ */

void sim_raft_applied(struct sim *s, struct sim_server *v, uint64_t index, uint64_t digest)
{
    struct mirror *m = &s->watch->nodes[v->at];
    bool fresh;

    sim_evaluated(s, SIM_R11);
    if (index <= m->applied)
        sim_violate(s, SIM_R11, "%s applied %llu after %llu", v->name, (unsigned long long)index,
                    (unsigned long long)m->applied);
    m->applied = index;
    if (v->differs) {
        uint64_t *right = map_find(&s->watch->digests, index, 0, &fresh);
        v->differs = fresh || *right != digest; /* what is 0 was told by nobody who is believed */
        if (fresh)
            *right = 0;
        return;
    }
    uint64_t *known = map_find(&s->watch->digests, index, 0, &fresh);
    if (fresh || *known == 0) {
        *known = digest;
        return;
    }
    sim_evaluated(s, SIM_S1);
    if (*known != digest)
        sim_violate(s, SIM_S1, "%s has digest %016llx at index %llu, elsewhere it is %016llx",
                    v->name, (unsigned long long)digest, (unsigned long long)index,
                    (unsigned long long)*known);
}

void sim_raft_entry_seen(struct sim *s, uint64_t index, uint64_t term, uint32_t crc)
{
    bool fresh;
    uint64_t *known = map_find(&s->watch->entries, index, term, &fresh);

    sim_evaluated(s, SIM_R3);
    if (fresh)
        *known = (uint64_t)crc + 1;
    else if (*known != (uint64_t)crc + 1)
        sim_violate(s, SIM_R3, "entry %llu of term %llu travels with two contents",
                    (unsigned long long)index, (unsigned long long)term);
}

void sim_raft_acked(struct sim *s, struct sim_server *v, uint64_t index, uint64_t term)
{
    struct mirror *m = &s->watch->nodes[v->at];

    if (index > m->acked && term) {
        m->acked = index;
        m->acked_term = term;
    }
}

void sim_raft_vote_seen(struct sim *s, uint32_t voter, uint64_t term, uint64_t candidate)
{
    bool fresh;
    uint64_t *known = map_find(&s->watch->votes, voter + 1, term, &fresh);

    sim_evaluated(s, SIM_R7);
    if (fresh)
        *known = candidate;
    else if (*known != candidate)
        sim_violate(s, SIM_R7, "n%u voted for two candidates in term %llu", voter + 1,
                    (unsigned long long)term);
}
