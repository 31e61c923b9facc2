/* node_digest.c — do all nodes come to the same? (architecture §5, "Apply digest")
 *
 * Applying gives a digest at each index. Every STEP entries, and when nothing was applied for a second, each node
 * tells the others its digest at that index and remembers it as a mark; so nodes compare at equal indexes, however
 * far apart they apply. Where digests differ, the voters decide: the side with most of them is right. Who is not on
 * it serves nothing and fetches the database from one who is (node_repair.c). Where no side has most of them, nobody
 * can tell which is right: writes stop until a person has removed the wrong ones. */
#include "node_int.h"

enum { REST_MS = 1000 };

/* ---- judging ---------------------------------------------------------------------------------------------- */

static bool digest_of(const struct node *n, const struct node_mark *m, raft_id id, uint64_t *out)
{
    if (id == n->id) {
        *out = m->own;
        return m->own_known;
    }
    for (uint32_t i = 0; i < m->other_count; i++) {
        if (m->others[i].id == id) {
            *out = m->others[i].digest;
            return true;
        }
    }
    return false;
}

struct verdict {
    uint32_t voters, for_own, for_best; /* for_best: of another digest, the most */
    uint64_t best;
};

static struct verdict count(const struct node *n, const struct node_mark *m)
{
    const struct wire_conf *conf = node_confs_latest(&n->confs);
    struct verdict v = {0};

    for (uint32_t i = 0; conf && i < conf->count; i++) {
        uint64_t mine, theirs;
        uint32_t same = 0;
        if (!conf->members[i].voter)
            continue;
        v.voters++;
        if (!digest_of(n, m, conf->members[i].id, &mine))
            continue;
        for (uint32_t j = 0; j < conf->count; j++)
            same += conf->members[j].voter && digest_of(n, m, conf->members[j].id, &theirs) &&
                    theirs == mine;
        if (mine == m->own) {
            v.for_own = same;
        } else if (same > v.for_best) {
            v.for_best = same;
            v.best = mine;
        }
    }
    return v;
}

static void repair(struct node *n, const struct node_mark *m, const struct verdict *v)
{
    raft_id lenders[RAFT_NODES_MAX];
    uint32_t lender_count = 0;
    struct err_text text;

    for (uint32_t i = 0; i < m->other_count; i++)
        if (m->others[i].digest == v->best)
            lenders[lender_count++] = m->others[i].id;
    (void)err_set(&text, ERR_CORRUPT,
                  "this node differs from the others: digest %016llx at index %llu, %u of %u "
                  "voters have %016llx",
                  (unsigned long long)m->own, (unsigned long long)m->index, v->for_best, v->voters,
                  (unsigned long long)v->best);
    node_repair_diverged(n, text.text, lenders, lender_count);
}

static void judge(struct node *n, struct node_mark *m)
{
    struct node_digest *d = &n->digest;

    if (!m->own_known || n->repair.held)
        return;
    struct verdict v = count(n, m);
    bool settled = v.for_best == 0 || 2 * v.for_own > v.voters;
    if (2 * v.for_best > v.voters) {
        d->undecided = 0;
        n->counters.divergences++;
        repair(n, m, &v);
    } else if (!settled && d->undecided == 0) {
        d->undecided = m->index;
        n->counters.divergences++;
        (void)err_set(
            &d->text, ERR_CORRUPT,
            "nodes differ: digest %016llx here and %016llx elsewhere at index %llu; %u and "
            "%u of %u voters, writes are refused until one side has most of them",
            (unsigned long long)m->own, (unsigned long long)v.best, (unsigned long long)m->index,
            v.for_own, v.for_best, v.voters);
        env_log(n->env, "repair", "%s", d->text.text);
    } else if (settled && d->undecided == m->index) {
        d->undecided = 0;
        env_log(n->env, "repair", "most voters have the digest that is here; writes go on");
    }
}

/* ---- marks ---------------------------------------------------------------------------------------------------- */

/* NULL: it is older than all that are remembered. */
static struct node_mark *mark_at(struct node *n, uint64_t index)
{
    struct node_digest *d = &n->digest;
    struct node_mark *oldest = NULL;

    for (uint32_t i = 0; i < NODE_MARKS; i++) {
        struct node_mark *m = &d->marks[i];
        if (m->index == index)
            return m;
        bool kept = m->index && m->index == d->undecided; /* what a person has to look at */
        if (!kept && (!oldest || m->index < oldest->index))
            oldest = m;
    }
    if (index < oldest->index)
        return NULL;
    *oldest = (struct node_mark){.index = index};
    return oldest;
}

static void mark_send(struct node *n, peer_conn c, const struct node_mark *m)
{
    struct wire_digest w = {.index = m->index, .digest = m->own, .rows = n->config.db.row_digest};
    struct buf *out = c ? peer_out(n->peers, c) : NULL;

    if (!out)
        return;
    size_t begun = wire_frame_begin(out, WIRE_DIGEST, 0);
    (void)wire_digest_put(out, &w);
    (void)wire_frame_end(out, begun);
    peer_send_built(n->peers, c);
}

static void mark_own(struct node *n)
{
    struct node_mark *m = mark_at(n, n->apply.applied);
    const struct wire_conf *conf = node_confs_latest(&n->confs);

    n->digest.marked = n->apply.applied;
    if (!m)
        return;
    m->own = n->apply.state.digest;
    m->own_known = true;
    n->counters.digests_compared += m->other_count;
    for (uint32_t i = 0; conf && i < conf->count; i++)
        if (conf->members[i].id != n->id)
            mark_send(n, node_conn_to(n, conf->members[i].id), m);
    judge(n, m);
}

void node_digest_told(struct node *n, peer_conn c, raft_id from, const struct wire_frame *frame)
{
    struct wire_digest w;

    if (wire_digest_get(frame->body, &w) || w.rows != n->config.db.row_digest)
        return;
    const struct wire_conf *conf = node_confs_latest(&n->confs);
    struct node_mark *m = conf && node_conf_find(conf, from) ? mark_at(n, w.index) : NULL;
    uint32_t i = 0;
    if (!m)
        return;
    while (i < m->other_count && m->others[i].id != from)
        i++;
    bool news = i == m->other_count || m->others[i].digest != w.digest;
    if (i == RAFT_NODES_MAX || !news)
        return;
    m->others[i].id = from;
    m->others[i].digest = w.digest;
    m->other_count += i == m->other_count;
    if (!m->own_known)
        return;
    n->counters.digests_compared++;
    if (w.digest != m->own) /* it may have missed ours */
        mark_send(n, c, m);
    judge(n, m);
}

/* Who comes back may have missed our newest mark, and we its answer. */
void node_digest_greeted(struct node *n, peer_conn c)
{
    const struct node_mark *newest = NULL;

    for (uint32_t i = 0; i < NODE_MARKS; i++) {
        const struct node_mark *m = &n->digest.marks[i];
        if (m->index && m->own_known && (!newest || m->index > newest->index))
            newest = m;
    }
    if (newest && n->phase == NODE_OPEN && !n->repair.held)
        mark_send(n, c, newest);
}

void node_digest_members(struct node *n)
{
    for (uint32_t i = 0; i < NODE_MARKS; i++)
        if (n->digest.marks[i].index && n->digest.marks[i].index == n->digest.undecided)
            judge(n, &n->digest.marks[i]);
}

/* ---- when ----------------------------------------------------------------------------------------------------- */

/* Applying has rested for a second: every node rests at this index. */
static void rested(struct env_timer *timer)
{
    struct node *n = timer->ctx;
    struct node_digest *d = &n->digest;

    if (n->phase != NODE_OPEN || d->marked == n->apply.applied || n->repair.held)
        return;
    if (d->seen == n->apply.applied) {
        mark_own(n);
    } else {
        d->seen = n->apply.applied;
        env_timer_arm(timer, REST_MS * ENV_MS_NS);
    }
}

void node_digest_applied(struct node *n)
{
    if (n->apply.applied % NODE_DIGEST_STEP == 0 && !n->repair.held)
        mark_own(n);
    else if (!env_timer_armed(&n->digest.timer))
        env_timer_arm(&n->digest.timer, REST_MS * ENV_MS_NS);
}

/* The database is another one: what it gave before means nothing. */
void node_digest_forget(struct node *n)
{
    memset(n->digest.marks, 0, sizeof(n->digest.marks));
    n->digest.undecided = 0;
}

void node_digest_init(struct node *n)
{
    env_timer_init(&n->digest.timer, n->env, rested, n);
}

void node_digest_stop(struct node *n)
{
    env_timer_disarm(&n->digest.timer);
}
