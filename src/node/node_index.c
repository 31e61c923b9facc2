/* node_index.c — which index a linearizable read must see, and waiting until the database has it
 * (thesis §6.4; the read then runs here, whoever leads).
 *
 *   here leads:  want ─► CONFIRM ─(raft: confirmed)──────────────────────┐
 *   else:        want ─► ASK ─► question to the leader ─► term, index ───┴─► INDEX ─(applied)─► read
 *                         ▲                                 │
 *                         └── another leader; higher term ──┘
 *
 * One question is out at a time. Its answer serves the reads that had arrived before it left, and no
 * others: a later one may have begun after a write that the answer does not know. The leader confirms each
 * question anew with messages sent after it came, and answers members only. "Applied" means that the
 * batch's COMMIT returned.
 *
 * A read that found no leader when it came is refused at once; one that is under way when its leader goes
 * waits for the next one, until its own limit. */
#include "node_int.h"

/* Tokens of raft's that stand for a question; those of requests have this bit clear (node_wait_ticket). */
#define QUESTION_BIT (UINT64_C(1) << 31)
_Static_assert((RAFT_NODES_MAX & (RAFT_NODES_MAX - 1)) == 0 && LIMIT_NODE_PENDING_COUNT < 1 << 30,
               "a token holds a slot");

void node_index_init(struct node *n)
{
    list_init(&n->index.asking);
    list_init(&n->index.asked);
    list_init(&n->index.indexed);
}

static void move(struct node_wait *w, struct list *to, enum node_wait_state state)
{
    w->state = state;
    list_remove(&w->link);
    list_push_back(to, &w->link);
}

static void move_all(struct list *from, struct list *to)
{
    for (struct list *l; (l = list_pop_front(from));)
        list_push_back(to, l);
}

/* To the file above; it may come back to one of our lists. */
static void dispatch_all(struct node *n, struct list *from)
{
    struct list taken;

    list_init(&taken);
    move_all(from, &taken);
    for (struct list *l; (l = list_pop_front(&taken));)
        n->up.dispatch(LIST_ENTRY(l, struct node_wait, link));
}

/* ---- waiting until it is applied ------------------------------------------------------------------ */

void node_index_await(struct node_wait *w, uint64_t index)
{
    struct list *queue = &w->node->index.indexed;
    struct list *after = queue->prev;

    ASSERT(index > w->node->apply.applied);
    w->state = WAIT_INDEX;
    w->await_index = index;
    list_remove(&w->link);
    while (after != queue && LIST_ENTRY(after, struct node_wait, link)->await_index > index)
        after = after->prev; /* most want one of the newest: few steps */
    list_push_back(after->next, &w->link);
}

void node_index_applied(struct node *n)
{
    struct list *queue = &n->index.indexed;
    struct list ready;

    list_init(&ready);
    while (!list_empty(queue) &&
           LIST_ENTRY(queue->next, struct node_wait, link)->await_index <= n->apply.applied)
        list_push_back(&ready, list_pop_front(queue));
    dispatch_all(n, &ready);
}

/* ---- asking ------------------------------------------------------------------------------------------ */

static void want_here(struct node_wait *w)
{
    struct node *n = w->node;
    struct raft_in in = {.kind = RAFT_IN_READ, .u.read_token = node_wait_ticket(w)};

    ASSERT((in.u.read_token & QUESTION_BIT) == 0);
    move(w, &n->confirming, WAIT_CONFIRM);
    w->confirm_ns = env_now_ns(n->env);
    w->await_index = n->view.commit_index;
    node_wait_limit(w, w->read_until_ns);
    int rc = n->up.step(n, &in); /* may answer before it returns */
    if (rc)
        node_wait_fail(w, rc, NULL);
}

void node_index_want(struct node_wait *w)
{
    struct node *n = w->node;
    bool under_way = w->read_until_ns != 0;

    w->read_index = w->read_term = 0;
    if (!under_way)
        w->read_until_ns = env_now_ns(n->env) + w->linearizable_timeout_ms * ENV_MS_NS;
    if (n->view.role == RAFT_LEADER) {
        want_here(w);
    } else if (w->forwarded) {
        node_wait_fail(w, ERR_NOT_LEADER, NULL); /* one hop only */
    } else if (n->view.leader == 0 && !under_way) {
        w->read_until_ns = 0;
        node_retry_leaderless(w);
    } else {
        move(w, &n->index.asking, WAIT_ASK);
        node_wait_limit(w, w->read_until_ns);
        env_turn_schedule(&n->turn);
    }
}

static void retry_all(struct list *from, int rc, const char *text)
{
    struct list failed;

    list_init(&failed);
    move_all(from, &failed);
    for (struct list *l; (l = list_pop_front(&failed));)
        node_retry(LIST_ENTRY(l, struct node_wait, link), rc, text);
}

static bool question_send(struct node *n)
{
    struct node_index *x = &n->index;
    peer_conn c = peer_conn_of(n->peers, n->view.leader);
    struct buf *out = c ? peer_out(n->peers, c) : NULL;

    if (!out)
        return false;
    x->stream = peer_next_stream(n->peers);
    size_t begun = wire_frame_begin(out, WIRE_INDEX_REQ, x->stream);
    (void)wire_frame_end(out, begun);
    peer_send_built(n->peers, c);
    x->conn = c;
    x->leader = n->view.leader;
    x->term = n->view.hard.term;
    x->question_out = true;
    return true;
}

/* Take the question back: those it stood for ask again, before the others. */
static void question_drop(struct node *n)
{
    struct node_index *x = &n->index;

    x->question_out = false;
    move_all(&x->asking, &x->asked);
    move_all(&x->asked, &x->asking);
    env_turn_schedule(&n->turn);
}

/* One question for all that have arrived. While there is no leader they wait for one. */
void node_index_turn(struct node *n)
{
    struct node_index *x = &n->index;
    struct err_text t;

    if (x->late && x->question_out)
        question_drop(n);
    x->late = false;
    if (x->question_out || list_empty(&x->asking) || n->view.leader == 0)
        return;
    if (n->view.role == RAFT_LEADER)
        dispatch_all(n, &x->asking);
    else if (question_send(n))
        move_all(&x->asking, &x->asked);
    else
        retry_all(&x->asking, ERR_REFUSED,
                  node_leader_text(n, "dial tcp", "connect: connection refused", &t));
}

void node_index_leader_changed(struct node *n)
{
    struct node_index *x = &n->index;

    if (x->question_out && (x->leader != n->view.leader || x->term != n->view.hard.term))
        question_drop(n);
    if (!list_empty(&x->asking))
        env_turn_schedule(&n->turn);
}

void node_index_lost(struct node *n, peer_conn c)
{
    struct node_index *x = &n->index;
    struct err_text t;

    if (!x->question_out || x->conn != c)
        return;
    x->question_out = false;
    retry_all(&x->asked, ERR_RESET,
              node_leader_text(n, "read tcp", "connection reset by peer", &t));
    env_turn_schedule(&n->turn);
}

void node_index_answered(struct node *n, peer_conn c, const struct wire_frame *f)
{
    struct node_index *x = &n->index;
    struct wire_index a;

    if (!x->question_out || x->conn != c || x->stream != f->stream)
        return; /* of a question that was taken back */
    if (wire_index_get(f->body, &a))
        a.rc = ERR_PROTOCOL;
    if (a.rc == 0 && a.term < n->view.hard.term) {
        question_drop(n); /* the cluster has gone on since */
        return;
    }
    x->question_out = false;
    env_turn_schedule(&n->turn);
    if (a.rc) {
        retry_all(&x->asked, a.rc,
                  a.rc == ERR_IDENTITY ? "this node is not a member of the cluster" : NULL);
        return;
    }
    for (struct list *l = x->asked.next; l != &x->asked; l = l->next) {
        struct node_wait *w = LIST_ENTRY(l, struct node_wait, link);
        w->read_index = a.index;
        w->read_term = a.term;
    }
    dispatch_all(n, &x->asked);
}

/* ---- confirmed by raft; questions of others ------------------------------------------------------------- */

static void question_answer(struct node *n, peer_conn c, uint32_t stream,
                            const struct wire_index *a)
{
    struct buf *out = peer_out(n->peers, c);

    if (!out)
        return; /* gone, or it does not read: its connection will end */
    size_t begun = wire_frame_begin(out, WIRE_INDEX_RES, stream);
    (void)wire_index_put(out, a);
    (void)wire_frame_end(out, begun);
    peer_send_built(n->peers, c);
}

static bool is_member(const struct node *n, raft_id id)
{
    return node_conf_find(node_confs_latest(&n->confs), id) != NULL;
}

/* A member has one question out at a time, so that a new one replaces the one before. */
static struct node_question *question_slot(struct node *n, raft_id id)
{
    struct node_question *q = NULL;

    for (uint32_t i = 0; i < RAFT_NODES_MAX; i++) {
        struct node_question *at = &n->index.questions[i];
        if (at->id == id)
            return at;
        if (!q && !is_member(n, at->id))
            q = at;
    }
    ASSERT(q); /* as many places as members, ourselves included */
    return q;
}

static int question_confirm(struct node *n, raft_id id, peer_conn c, uint32_t stream)
{
    if (n->view.role != RAFT_LEADER)
        return ERR_NOT_LEADER;
    struct node_question *q = question_slot(n, id);
    uint32_t slot = (uint32_t)(q - n->index.questions);
    *q = (struct node_question){
        .id = id, .conn = c, .stream = stream, .token = ++n->index.next_token, .open = true};
    struct raft_in in = {.kind = RAFT_IN_READ,
                         .u.read_token = (uint64_t)q->token << 32 | QUESTION_BIT | slot};
    int rc = n->up.step(n, &in); /* may answer before it returns */
    if (rc)
        q->open = false;
    return rc;
}

void node_index_asked(struct node *n, peer_conn c, const struct wire_frame *f)
{
    const struct node_conn *from = node_conn_find(n, c);
    const struct wire_member *m =
        from ? node_conf_find(node_confs_latest(&n->confs), from->id) : NULL;

    if (f->body.len != 0)
        return;
    bool member = m && m->store_id == from->store_id;
    int rc = member ? question_confirm(n, m->id, c, f->stream) : ERR_IDENTITY;
    if (rc)
        question_answer(n, c, f->stream, &(struct wire_index){.rc = rc});
}

static void question_confirmed(struct node *n, const struct raft_read *r)
{
    struct node_question *q = &n->index.questions[r->token & (RAFT_NODES_MAX - 1)];
    struct wire_index a = {.term = n->view.hard.term, .index = r->index};

    if (!q->open || q->token != r->token >> 32)
        return; /* asked again since */
    q->open = false;
    if (!r->ok || !is_member(n, q->id))
        a = (struct wire_index){.rc = r->ok ? ERR_IDENTITY : ERR_NOT_LEADER};
    question_answer(n, q->conn, q->stream, &a);
}

void node_index_confirmed(struct node *n, const struct raft_read *r)
{
    if (r->token & QUESTION_BIT) {
        question_confirmed(n, r);
        return;
    }
    struct node_wait *w = node_wait_find(n, r->token);
    if (!w || w->state != WAIT_CONFIRM)
        return; /* its client gave up */
    n->counters.confirm_last_ns = env_now_ns(n->env) - w->confirm_ns;
    n->counters.reads_confirmed += r->ok;
    n->counters.reads_unconfirmed += !r->ok;
    w->read_index = r->ok ? r->index : 0; /* lost: it is asked for again, of the next leader */
    w->read_term = 0;
    n->up.dispatch(w);
}

void node_index_check(const struct node *n)
{
    const struct node_index *x = &n->index;
    uint64_t index = n->apply.applied;

    ASSERT(x->question_out || list_empty((struct list *)&x->asked));
    for (const struct list *l = x->indexed.next; l != &x->indexed; l = l->next) {
        const struct node_wait *w = LIST_ENTRY(l, struct node_wait, link);
        ASSERT(w->state == WAIT_INDEX && w->await_index >= index);
        index = w->await_index;
    }
}
