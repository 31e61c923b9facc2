/* sim_conf.c — oracle R12: one change of membership at a time, by one voter, after an entry of the leader's own
 * term; each node uses the latest configuration in its log, and an earlier one again when that is cut off.
 *
 * Every configuration ever seen in use is kept, by index and term: there are few. */
#include "sim_run.h"
#include <stdlib.h>
#include <string.h>

struct conf_seen {
    uint64_t index, term;
    struct raft_conf conf;
};

struct conf_node { /* what a node used when last looked at */
    uint64_t index, term, last_index, last_term;
};

struct sim_conf_watch {
    struct conf_seen *seen;
    size_t count, cap;
    struct conf_node nodes[SIM_NODES_MAX];
    struct conf_seen committed; /* the newest; index 0: none */
};

static struct conf_seen *find(struct sim_conf_watch *w, uint64_t index, uint64_t term)
{
    for (size_t i = 0; i < w->count; i++)
        if (w->seen[i].index == index && w->seen[i].term == term)
            return &w->seen[i];
    return NULL;
}

static void add(struct sim_conf_watch *w, uint64_t index, uint64_t term,
                const struct raft_conf *conf)
{
    if (w->count == w->cap) {
        w->cap = w->cap ? 2 * w->cap : 64;
        w->seen = realloc(w->seen, w->cap * sizeof(*w->seen));
    }
    w->seen[w->count++] = (struct conf_seen){.index = index, .term = term, .conf = *conf};
}

static bool votes(const struct raft_conf *c, raft_id id)
{
    for (uint32_t i = 0; i < c->count; i++)
        if (c->members[i].id == id)
            return c->members[i].voter;
    return false;
}

static uint32_t voters_of(const struct raft_conf *c)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < c->count; i++)
        n += c->members[i].voter;
    return n;
}

static uint32_t voters_missing(const struct raft_conf *from, const struct raft_conf *in)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < from->count; i++)
        n += from->members[i].voter && !votes(in, from->members[i].id);
    return n;
}

static bool equal(const struct raft_conf *a, const struct raft_conf *b)
{
    return a->count == b->count && voters_missing(a, b) == 0 && voters_missing(b, a) == 0;
}

/* A leader made a change: was it its turn? */
static void check_made(struct sim *s, struct sim_server *v, const struct raft_view *view,
                       const struct conf_node *before)
{
    const struct conf_seen *was = find(s->confs, before->index, before->term);

    s->result->conf_changes++;
    if (!view->committed_in_term)
        sim_violate(s, SIM_R12, "%s changes the membership before it has committed in term %llu",
                    v->name, (unsigned long long)view->hard.term);
    if (before->index > view->commit_index)
        sim_violate(s, SIM_R12,
                    "%s changes the membership while the change at %llu is not committed", v->name,
                    (unsigned long long)before->index);
    if (was && voters_missing(&was->conf, view->conf) + voters_missing(view->conf, &was->conf) > 1)
        sim_violate(s, SIM_R12, "%s changes more than one voter at %llu", v->name,
                    (unsigned long long)view->conf_index);
}

/* Does its log hold a later configuration than the one it uses? */
static void check_latest(struct sim *s, struct sim_server *v, const struct raft *r,
                         const struct raft_view *view)
{
    const struct sim_conf_watch *w = s->confs;

    if (view->conf_index > view->last_index)
        sim_violate(s, SIM_R12, "%s uses a configuration that its log has lost, of %llu", v->name,
                    (unsigned long long)view->conf_index);
    for (size_t i = 0; i < w->count; i++)
        if (w->seen[i].index > view->conf_index && w->seen[i].index <= view->last_index &&
            w->seen[i].index > view->snapshot_index &&
            raft_term_at(r, w->seen[i].index) == w->seen[i].term)
            sim_violate(s, SIM_R12, "%s uses the configuration of %llu, its log has one at %llu",
                        v->name, (unsigned long long)view->conf_index,
                        (unsigned long long)w->seen[i].index);
}

void sim_conf_look(struct sim *s, struct sim_server *v, const struct raft *r,
                   const struct raft_view *view)
{
    struct sim_conf_watch *w = s->confs;
    struct conf_node *n = &w->nodes[v->at];
    bool of_log =
        view->conf_index > view->snapshot_index; /* else of the image, whose index it then bears */
    uint64_t term = of_log ? raft_term_at(r, view->conf_index) : 0;

    if (view->conf_committed && view->conf_index > w->committed.index)
        w->committed =
            (struct conf_seen){.index = view->conf_index, .term = term, .conf = *view->conf};
    if (n->index == view->conf_index && n->term == term && n->last_index == view->last_index &&
        n->last_term == view->last_term)
        return;
    struct conf_seen *known = of_log ? find(w, view->conf_index, term) : NULL;
    sim_evaluated(s, SIM_R12);
    if (known && !equal(&known->conf, view->conf))
        sim_violate(s, SIM_R12, "%s has another configuration at %llu than others", v->name,
                    (unsigned long long)view->conf_index);
    if (of_log && !known && n->index && view->role == RAFT_LEADER && term == view->hard.term &&
        view->conf_index > n->index)
        check_made(s, v, view, n);
    if (of_log && !known && term)
        add(w, view->conf_index, term, view->conf);
    check_latest(s, v, r, view);
    *n = (struct conf_node){view->conf_index, term, view->last_index, view->last_term};
}

void sim_conf_restarted(struct sim *s, struct sim_server *v)
{
    memset(&s->confs->nodes[v->at], 0, sizeof(s->confs->nodes[v->at]));
}

void sim_conf_forced(struct sim *s)
{
    struct conf_seen *seen = s->confs->seen;
    size_t cap = s->confs->cap;

    memset(s->confs, 0, sizeof(*s->confs));
    s->confs->seen = seen;
    s->confs->cap = cap;
}

bool sim_conf_votes(const struct sim *s, const struct sim_server *v)
{
    const struct raft_conf *c = &s->confs->committed.conf;

    for (uint32_t i = 0; i < c->count; i++)
        if (sim_server_is(v, c->members[i].id) && c->members[i].voter)
            return true;
    return false;
}

bool sim_conf_has(const struct sim *s, const struct sim_server *v)
{
    const struct raft_conf *c = &s->confs->committed.conf;

    for (uint32_t i = 0; i < c->count; i++)
        if (c->members[i].id == wire_member_id(slice_str(v->name)))
            return true;
    return false;
}

uint32_t sim_conf_voters(const struct sim *s)
{
    return voters_of(&s->confs->committed.conf);
}

void sim_confs_create(struct sim *s)
{
    s->confs = calloc(1, sizeof(*s->confs));
}

void sim_confs_destroy(struct sim *s)
{
    free(s->confs->seen);
    free(s->confs);
}
