/* node_wait.c — requests that somebody waits for. Each is in exactly one queue or one lane, has one
 * timer, and is answered at most once. Referred to from outside by ticket, never by pointer. */
#include "node_int.h"

enum { WAITS_FIRST_CAP = 256 };

static int waits_grow(struct node_waits *t)
{
    uint32_t cap = t->cap ? t->cap * 2 : WAITS_FIRST_CAP;
    struct node_wait **slots = mem_realloc(t->slots, cap * sizeof(struct node_wait *));
    if (!slots)
        return ERR_NOMEM;
    t->slots = slots;
    uint32_t *free_slots = mem_realloc(t->free_slots, cap * sizeof(uint32_t));
    if (!free_slots)
        return ERR_NOMEM;
    t->free_slots = free_slots;
    for (uint32_t i = cap; i > t->cap; i--) {
        slots[i - 1] = NULL;
        free_slots[t->free_count++] = i - 1;
    }
    t->cap = cap;
    return 0;
}

static int words_fsm(uint64_t index, struct err_text *t)
{
    return err_set(t, ERR_TIMEOUT, "index %llu: timeout waiting for fsm",
                   (unsigned long long)index);
}

const char *node_leader_text(const struct node *n, const char *before, const char *after,
                             struct err_text *t)
{
    const struct wire_member *m = node_conf_find(node_confs_latest(&n->confs), n->view.leader);

    (void)err_set(t, 0, "%s %s: %s", before, m ? m->addr : "leader", after);
    return t->text;
}

static void wait_timed_out(struct env_timer *timer)
{
    struct node_wait *w = timer->ctx;
    struct node *n = w->node;
    struct err_text t;
    int rc = ERR_TIMEOUT;

    if (w->part_out) {
        node_wait_fail(w, rc, "the client did not take the result");
        return;
    }
    if (w->state == WAIT_ASK) {
        n->index.late = true; /* the answer may never come: the others ask again */
        env_turn_schedule(&n->turn);
    }
    switch (w->state) {
    case WAIT_CONFIRM:
    case WAIT_INDEX:
        rc = words_fsm(w->await_index, &t);
        break;
    case WAIT_ASK:
    case WAIT_RETRY:
        if (n->view.leader == 0)
            rc = err_set(&t, ERR_NO_LEADER, "%s", err_text_of(ERR_NO_LEADER));
        else
            (void)node_leader_text(n, w->state == WAIT_ASK ? "read tcp" : "dial tcp", "i/o timeout",
                                   &t);
        break;
    case WAIT_FORWARD:
        w->node->counters.asks_timed_out++;
        (void)node_leader_text(n, "read tcp", "i/o timeout", &t);
        break;
    case WAIT_GATHERED:
        (void)err_set(&t, rc, "timed out enqueuing operation");
        break;
    case WAIT_CLASSIFY:
    case WAIT_READ:
    case WAIT_PARKED:
        (void)err_set(&t, rc, "timed out waiting for a database connection");
        break;
    case WAIT_FREE:
    case WAIT_SUBMITTED:
    case WAIT_PROPOSED:
        (void)err_set(&t, rc, "%s",
                      w->in_lane && w->db_timeout_ns
                          ? "execute timeout"
                          : "timed out; the outcome of a write is unknown");
        break;
    }
    node_wait_fail(w, rc, t.text);
}

void node_wait_limit(struct node_wait *w, uint64_t at_ns)
{
    uint64_t now = env_now_ns(w->node->env);

    env_timer_arm(&w->timer, at_ns > now ? at_ns - now : 0);
}

void node_wait_unlimit(struct node_wait *w)
{
    if (w->parts_end_ns)
        node_wait_limit(w, w->parts_end_ns);
    else if (w->forwarded) /* later than there, so that it is that node's words its client sees */
        node_wait_limit(w, w->until_ns + ENV_S_NS);
    else
        env_timer_disarm(&w->timer);
}

static struct node_wait *wait_alloc(struct node *n)
{
    struct node_waits *t = &n->waits;
    if (t->free_count == 0 && waits_grow(t))
        return NULL;
    uint32_t slot = t->free_slots[t->free_count - 1];
    struct node_wait *w = t->slots[slot];
    uint32_t generation = w ? w->generation + 1 : 1;
    if (!w)
        w = mem_alloc(sizeof(*w));
    if (!w)
        return NULL;
    t->slots[slot] = w;
    t->free_count--;
    memset(w, 0, sizeof(*w));
    w->slot = slot;
    w->generation = generation;
    w->node = n;
    return w;
}

static int credentials_copy(struct node_wait *w, const struct wire_forward *f)
{
    if (f->user.len == 0 || f->user.len > WIRE_USER_MAX || f->password.len > WIRE_PASSWORD_MAX)
        return 0; /* nobody's */
    w->credentials = mem_alloc(f->user.len + f->password.len);
    if (!w->credentials)
        return ERR_NOMEM;
    memcpy(w->credentials, f->user.data, f->user.len);
    if (f->password.len)
        memcpy(w->credentials + f->user.len, f->password.data, f->password.len);
    w->user_len = (uint8_t)f->user.len;
    w->password_len = (uint16_t)f->password.len;
    return 0;
}

struct node_wait *node_wait_new(struct node *n, const struct node_request *r, node_reply_fn *reply,
                                void *ctx, int *rc)
{
    struct node_waits *t = &n->waits;

    *rc = ERR_FULL;
    if (t->live_count >= LIMIT_NODE_PENDING_COUNT ||
        t->live_bytes + r->f.payload.len > LIMIT_NODE_PENDING_BYTES)
        return NULL;
    *rc = ERR_NOMEM;
    struct node_entry *payload = node_entry_new(r->f.payload.len);
    struct node_wait *w = payload ? wait_alloc(n) : NULL;
    if (!w) {
        node_entry_unref(payload);
        return NULL;
    }
    memcpy(payload->payload, r->f.payload.data, r->f.payload.len);
    list_init(&w->link);
    w->reply = reply;
    w->ctx = ctx;
    w->payload = payload;
    w->kind = r->f.kind;
    w->level = r->f.level;
    w->encode_options = r->f.encode_options;
    w->forwarded = r->forwarded;
    w->redirect = r->redirect;
    w->in_parts = r->f.in_parts;
    w->further = r->f.further;
    w->timeout_ms = r->f.timeout_ms;
    w->linearizable_timeout_ms = r->f.linearizable_timeout_ms;
    w->db_timeout_ns = r->f.db_timeout_ns;
    w->wait_index = r->f.wait_index;
    w->freshness_ns = r->freshness_ns;
    w->freshness_strict = r->freshness_strict;
    w->attempts_left = r->retries + 1; /* one more, on a connection that is new then (§11.4) */
    w->until_ns = env_now_ns(n->env) + w->timeout_ms * ENV_MS_NS;
    buf_init(&w->out, LIMIT_RESULT_BYTES);
    env_timer_init(&w->timer, n->env, wait_timed_out, w);
    node_wait_limit(w, w->until_ns);
    t->live_count++;
    t->live_bytes += payload->len;
    w->state = WAIT_SUBMITTED;
    *rc = credentials_copy(w, &r->f);
    if (*rc == 0)
        return w;
    node_wait_free(w);
    return NULL;
}

struct node_wait *node_wait_find(struct node *n, uint64_t ticket)
{
    uint64_t slot = (ticket & UINT32_MAX) - 1;
    if (slot >= n->waits.cap || !n->waits.slots[slot])
        return NULL;
    struct node_wait *w = n->waits.slots[slot];
    return w->state != WAIT_FREE && w->generation == ticket >> 32 ? w : NULL;
}

void node_wait_free(struct node_wait *w)
{
    struct node *n = w->node;

    ASSERT(w->state != WAIT_FREE);
    ASSERT(!w->in_lane);
    env_timer_disarm(&w->timer);
    list_remove(&w->link);
    if (w->sink)
        n->config.codec->sink_free(w->sink);
    w->sink = NULL;
    buf_fini(&w->out);
    n->waits.live_bytes -= w->payload->len;
    n->waits.live_count--;
    node_entry_unref(w->payload);
    w->payload = NULL;
    if (w->credentials)
        explicit_bzero(w->credentials, (size_t)w->user_len + w->password_len);
    mem_free(w->credentials);
    w->credentials = NULL;
    w->state = WAIT_FREE;
    n->waits.free_slots[n->waits.free_count++] = w->slot;
}

/* Nobody waits any more: free it, now or when what it holds is given back. */
static void wait_leave(struct node_wait *w)
{
    env_timer_disarm(&w->timer);
    if (w->in_lane) {
        w->forgotten = true; /* the lane's done() frees it */
        atomic_store_explicit(&w->canceled, true, memory_order_relaxed);
    } else if (w->reader) {
        w->node->up.read_end(w);
    } else if (w->backup) {
        w->node->up.backup_end(w);
    } else {
        if (w->state == WAIT_FORWARD && w->parts_end_ns)
            w->node->up.forward_end(w);
        node_wait_free(w);
    }
}

void node_wait_answer(struct node_wait *w, const struct node_answer *a)
{
    ASSERT(!w->replying);
    if (!w->answered && !w->forgotten) {
        w->answered = true;
        w->reply(w->ctx, a);
    }
    wait_leave(w);
}

void node_wait_forget(struct node_wait *w)
{
    w->forgotten = true;
    if (!w->replying) /* else node_wait_part goes on */
        wait_leave(w);
}

/* ---- in parts --------------------------------------------------------------------------------- */

/* No longer than all parts together may take. */
static void arm_within(struct node_wait *w, uint64_t ms)
{
    uint64_t now = env_now_ns(w->node->env);
    uint64_t left_ns = w->parts_end_ns > now ? w->parts_end_ns - now : 0;
    env_timer_arm(&w->timer, ms * ENV_MS_NS < left_ns ? ms * ENV_MS_NS : left_ns);
}

static uint64_t parts_total_ms(const struct node_wait *w)
{
    return w->kind == WIRE_BACKUP ? LIMIT_BACKUP_TOTAL_MS : LIMIT_PARTS_TOTAL_MS;
}

bool node_wait_part(struct node_wait *w, const struct node_answer *a)
{
    ASSERT(a->more && a->rc == 0);
    ASSERT(w->in_parts && !w->part_out && !w->in_lane && !w->answered && !w->forgotten);
    if (!w->parts_end_ns)
        w->parts_end_ns = env_now_ns(w->node->env) + parts_total_ms(w) * ENV_MS_NS;
    arm_within(w, LIMIT_PARTS_STALL_MS);
    w->part_out = true;
    w->replying = true;
    w->reply(w->ctx, a);
    w->replying = false;
    if (w->forgotten)
        wait_leave(w);
    return !w->forgotten;
}

void node_wait_pulled(struct node_wait *w)
{
    ASSERT(w->part_out);
    w->part_out = false;
    arm_within(w, w->timeout_ms);
}

void node_wait_fail(struct node_wait *w, int rc, const char *text)
{
    struct node_answer a = {.rc = rc, .text = text ? text : err_text_of(rc)};
    node_wait_answer(w, &a);
}
