/* node_found.c — nodes that found a cluster together (daemon.md §3.5).
 *
 *   each tells each: I am here (NOTIFY) ─► the set is complete ─► one asks all of the set for their pledge ─► founds
 *
 * Several may hold a complete set at the same time, and if more nodes were started than are expected, not the
 * same one. Two sets of which neither knows the other's cluster must not both found: so whoever founds has the
 * pledge of every member of its set, and a node pledges itself once. Pledges are asked for in the order of the
 * members' ids, the own one in its place, so that of two who want the same, the one who got the first gets the
 * others. A pledge lasts until the one who has it says, by an ordinary NOTIFY, that it does not count on it any more
 * (serials tell a late NOTIFY of his), or until it lapses: the one who has it may be gone for good. He asks again
 * before it does, or founds well before the first of his pledges can lapse, or lets it be. Who does not get all counts on
 * none: it begins anew with its next notices.
 *
 * A member that cannot be reached leaves the set until it announces itself again. What is not covered, and takes more
 * nodes with one list than are expected: a node that gave its pledge, restarts before the founder has reached it, and
 * gives it to another; or one that the founder does not reach for PLEDGE_MS after founding, and whom others do reach.
 * And a founder that is lost for good before any other has its first entry leaves nodes that adopted its cluster, and must
 * be wiped: it may be that they are needed there.
 *
 * The founder's configuration names the whole set. It is written where a lone node's is, at opening
 * (node_open.c); the others adopt the cluster when the founder asks for their votes. */
#include "node_int.h"

/* A pledge lasts PLEDGE_MS, counted by who gives it, from when the question came. The founder's part of that, counted
 * from its first question: GATHER_MS for all of them, then NODE_FOUND_BY_MS (node.h) until it begins to found. */
enum { PUSH_MS = 50, PUSH_COUNT = 100, PLEDGE_MS = 60 * 1000, GATHER_MS = 20 * 1000 };

/* ---- the set --------------------------------------------------------------------------------------- */

static struct wire_member *set_find(struct wire_conf *set, raft_id id)
{
    for (uint32_t i = 0; i < set->count; i++)
        if (set->members[i].id == id)
            return &set->members[i];
    return NULL;
}

static void set_remove(struct wire_conf *set, uint32_t at)
{
    ASSERT(at < set->count);
    memmove(&set->members[at], &set->members[at + 1],
            (set->count - at - 1) * sizeof(set->members[0]));
    set->count--;
}

/* A node started anew, with another id at the same address, is one node still. */
static void set_forget_addr(struct wire_conf *set, const struct wire_member *m)
{
    for (uint32_t i = set->count; i-- > 0;)
        if (set->members[i].id != m->id && strcmp(set->members[i].addr, m->addr) == 0)
            set_remove(set, i);
}

static void set_insert(struct wire_conf *set, const struct wire_member *m)
{
    uint32_t at = set->count++;

    ASSERT(at < RAFT_NODES_MAX);
    for (; at > 0 && set->members[at - 1].id > m->id; at--)
        set->members[at] = set->members[at - 1];
    set->members[at] = *m;
}

static bool set_full(const struct node *n)
{
    return n->config.bootstrap_expect > 0 && n->founding.set.count >= n->config.bootstrap_expect;
}

/* Of as many as are expected, this node among them: it told itself, if it is on its own list. */
static bool set_complete(const struct node *n)
{
    return set_full(n) && node_conf_find(&n->founding.set, n->id) != NULL;
}

static void set_note(struct node *n, const struct wire_member *m)
{
    struct wire_conf *set = &n->founding.set;
    struct wire_member *known = set_find(set, m->id);

    if (known) {
        *known = *m;
        return;
    }
    set_forget_addr(set, m);
    if (set_full(n) && m->id == n->id)
        set_remove(set, set->count -
                            1); /* who founds must be one of them: another one's place is ours */
    if (set_full(n) || set->count == RAFT_NODES_MAX)
        return;
    set_insert(set, m);
    if (set_complete(n))
        env_log(n->env, "store",
                "reached expected bootstrap count of %u, starting cluster bootstrap",
                (unsigned)n->config.bootstrap_expect);
}

static bool may_found(const struct node *n)
{
    return n->config.bootstrap_expect > 0 && n->cluster_id == 0 && n->view.leader == 0;
}

/* ---- asked ------------------------------------------------------------------------------------------ */

static int pledge(struct node *n, uint64_t store_id, uint64_t serial)
{
    struct node_founding *f = &n->founding;
    const uint64_t now_ns = env_now_ns(n->env);

    if (f->pledged != 0 && now_ns >= f->pledged_until_ns)
        f->pledged = 0;
    if (!may_found(n) || (f->pledged != 0 && f->pledged != store_id) ||
        (f->pledged == store_id && serial < f->pledged_serial))
        return ERR_BUSY;
    f->pledged = store_id;
    f->pledged_serial = serial;
    f->pledged_until_ns = now_ns + PLEDGE_MS * ENV_MS_NS;
    return 0;
}

static void pledge_release(struct node *n, uint64_t store_id, uint64_t serial)
{
    if (n->founding.pledged == store_id && serial > n->founding.pledged_serial)
        n->founding.pledged = 0;
}

static struct wire_member member_of(const struct wire_join *j)
{
    struct wire_member m = {.id = wire_member_id(j->name), .store_id = j->store_id, .voter = true};

    ASSERT(j->name.len <= WIRE_NAME_MAX && j->addr.len <= WIRE_ADDR_MAX); /* wire looks */
    memcpy(m.name, j->name.data, j->name.len);
    memcpy(m.addr, j->addr.data, j->addr.len);
    return m;
}

struct arrival { /* one whose address is being looked at */
    struct node *node;
    struct wire_member member;
    node_done_fn *done;
    void *ctx;
};

static void arrival_reached(void *ctx, int rc, const char *why)
{
    struct arrival *a = ctx;
    node_done_fn *done = a->done;
    void *done_ctx = a->ctx;

    if (rc == 0 && may_found(a->node))
        set_note(a->node, &a->member);
    mem_free(a);
    done(done_ctx, rc, why);
}

/* 0: done() will run, or did. */
static int arrival_begin(struct node *n, const struct wire_member *m, node_done_fn *done, void *ctx)
{
    struct arrival *a = mem_zalloc(sizeof(*a));

    if (!a)
        return ERR_NOMEM;
    *a = (struct arrival){n, *m, done, ctx};
    const int rc = node_reach(n, m->addr, arrival_reached, a);
    if (rc)
        mem_free(a);
    return rc;
}

static bool set_has(struct node *n, const struct wire_member *m)
{
    const struct wire_member *known = set_find(&n->founding.set, m->id);

    return known && strcmp(known->addr, m->addr) == 0;
}

void node_found_asked(struct node *n, const struct wire_join *j, node_done_fn *done, void *ctx)
{
    const struct wire_member m = member_of(j);
    int rc = 0;

    n->counters.served_notifies++;
    if (j->pledge) {
        rc = pledge(n, j->store_id, j->serial);
    } else {
        pledge_release(n, j->store_id, j->serial);
        if (may_found(n) && set_has(n, &m))
            set_note(n, &m);
        else if (may_found(n)) {
            rc = arrival_begin(n, &m, done, ctx);
            if (rc == 0)
                return;
        }
    }
    done(ctx, rc, err_text_of(rc));
}

/* ---- telling ---------------------------------------------------------------------------------------- */

/* Whoever is on its own list tells itself. 0: done() will run, or did. */
static int self_arrive(struct node *n, node_done_fn *done, void *ctx)
{
    const struct wire_join j = {
        .name = slice_str(n->name), .addr = slice_str(n->raft_addr), .store_id = n->store_id};
    const struct wire_member m = member_of(&j);

    n->counters.served_notifies++;
    pledge_release(n, n->store_id, 2); /* later than any pledge to ourselves */
    if (may_found(n) && !set_has(n, &m))
        return arrival_begin(n, &m, done, ctx);
    if (may_found(n))
        set_note(n, &m);
    done(ctx, 0, "");
    return 0;
}

struct notice { /* one NOTIFY of ours, until it is answered */
    struct node *node;
    node_done_fn *done;
    void *ctx;
};

static void notice_answered(void *ctx, int rc, const char *why)
{
    struct notice told = *(struct notice *)ctx;

    mem_free(ctx);
    if (rc == ERR_EXISTS) { /* the address is our own */
        rc = self_arrive(told.node, told.done, told.ctx);
        if (rc == 0)
            return;
        why = err_text_of(rc);
    }
    told.done(told.ctx, rc, why);
}

int node_notify(struct node *n, const char *raft_addr, uint64_t timeout_ms, node_done_fn *done,
                void *ctx)
{
    struct notice *told = mem_zalloc(sizeof(*told));

    if (!told)
        return ERR_NOMEM;
    *told = (struct notice){n, done, ctx};
    int rc = node_ask_dial(n, ASK_NOTIFY, raft_addr, timeout_ms, notice_answered, told);
    if (rc)
        mem_free(told);
    return rc;
}

/* ---- founding --------------------------------------------------------------------------------------- */

bool node_founders(const struct node *n, struct wire_conf *out)
{
    if (!set_complete(n) || !may_found(n))
        return false;
    *out = n->founding.set;
    return true;
}

static void gather_end(struct node *n, int rc, const char *why)
{
    node_done_fn *done = n->founding.done;

    n->founding.done = NULL;
    done(n->founding.ctx, rc, why);
}

static void gather_next(struct node *n);

static void gather_timer_fired(struct env_timer *t)
{
    gather_next(t->ctx);
}

static bool has_pledge_of(const struct node_founding *f, const struct wire_member *m)
{
    for (uint32_t i = 0; i < f->got_count; i++)
        if (f->got[i] == m->store_id)
            return true;
    return false;
}

/* The first member, by id, whose pledge we lack; the set may have changed since the last question. NULL: none. */
static const struct wire_member *gather_whom(const struct node_founding *f)
{
    for (uint32_t i = 0; i < f->set.count; i++)
        if (!has_pledge_of(f, &f->set.members[i]))
            return &f->set.members[i];
    return NULL;
}

static void gather_got(struct node_founding *f)
{
    ASSERT(f->got_count < RAFT_NODES_MAX);
    f->got[f->got_count++] = f->asked;
    env_timer_arm(&f->timer, 0);
}

static void gather_answered(void *ctx, int rc, const char *why)
{
    struct node *n = ctx;
    struct node_founding *f = &n->founding;

    if (rc == 0 && f->got_count < RAFT_NODES_MAX) {
        gather_got(f);
        return;
    }
    for (uint32_t i = f->set.count; i-- > 0 && rc != ERR_BUSY && rc != ERR_CANCELED;)
        if (f->set.members[i].store_id == f->asked)
            set_remove(&f->set, i);
    gather_end(n, rc ? rc : ERR_FULL, why);
}

static void gather_next(struct node *n)
{
    struct node_founding *f = &n->founding;
    const struct wire_member *m = gather_whom(f);
    int rc = 0;

    if (!set_complete(n) || !may_found(n)) {
        gather_end(n, ERR_BUSY, "another cluster was founded");
        return;
    }
    if (env_now_ns(n->env) - f->began_ns >
        GATHER_MS * ENV_MS_NS) { /* the first may lapse too soon */
        gather_end(n, ERR_TIMEOUT, "the pledges took too long");
        return;
    }
    if (!m) {
        gather_end(n, 0, "");
        return;
    }
    f->asked = m->store_id;
    if (m->id != n->id) {
        rc = node_ask_dial(n, ASK_PLEDGE, m->addr, f->timeout_ms, gather_answered, n);
    } else {
        rc = pledge(n, n->store_id, 1);
        if (rc == 0)
            gather_got(f);
    }
    if (rc)
        gather_end(n, rc, "pledged to another node");
}

int node_found(struct node *n, uint64_t timeout_ms, node_done_fn *done, void *ctx)
{
    struct node_founding *f = &n->founding;

    if (n->phase != NODE_OPEN)
        return ERR_NOT_READY;
    if (f->done || !set_complete(n))
        return ERR_BUSY;
    f->done = done;
    f->ctx = ctx;
    f->timeout_ms = timeout_ms;
    f->got_count = 0;
    f->began_ns = env_now_ns(n->env);
    env_timer_init(&f->timer, n->env, gather_timer_fired, n);
    env_timer_arm(&f->timer, 0);
    return 0;
}

/* The node stops. Questions that are out are answered by node_ask_cancel_all. */
void node_found_cancel(struct node *n)
{
    env_timer_disarm(&n->founding.push);
    if (n->founding.done && env_timer_armed(&n->founding.timer)) {
        env_timer_disarm(&n->founding.timer);
        gather_end(n, ERR_CANCELED, "the node is stopping");
    }
}

/* ---- founded ---------------------------------------------------------------------------------------- */

/* The others have no configuration and wait; who has one need not wait for its timeout to be elected. They
 * take the first message as the cluster's greeting and answer a later one. */
static void push_fired(struct env_timer *t)
{
    struct node *n = t->ctx;
    struct raft_in in = {.kind = RAFT_IN_CAMPAIGN};

    if (n->view.leader != 0 || n->founding.pushes++ == PUSH_COUNT)
        return;
    if (n->view.role != RAFT_CANDIDATE)
        (void)n->up.step(n, &in);
    env_timer_arm(&n->founding.push, PUSH_MS * ENV_MS_NS);
}

void node_found_push(struct node *n)
{
    env_timer_init(&n->founding.push, n->env, push_fired, n);
    env_timer_arm(&n->founding.push, 0);
}
