/* node_relay.c — the answers to a request that another node passed on to us, on their way to it.
 *
 *   answer that fits a frame ──────────────────────────────────► FORWARD_RES, over
 *   longer: SENDING: a frame each time the connection is idle ─► FORWARD_RES ─┬─► over
 *              ▲                                                 with `more`  ▼
 *              └─────── next part ◄── RUNNING ◄── FORWARD_PULL ◄──────────── TAKEN
 *
 * What else goes to that node, Raft's messages first of all, waits behind one such frame at most. */
#include "node_int.h"

enum { RELAY_FRAME_MIN = 16 };

static size_t frame_bytes(const struct node *n)
{
    size_t quarter = n->config.part_bytes / 4; /* 64 KB, unless somebody wants many small ones */
    return quarter > RELAY_FRAME_MIN ? quarter : RELAY_FRAME_MIN;
}

void node_relay_init(struct node_relay *r, struct node *n, peer_conn c, uint32_t stream,
                     void (*over)(struct node_relay *r))
{
    memset(r, 0, sizeof(*r));
    list_init(&r->link);
    buf_init(&r->held, LIMIT_RESULT_BYTES);
    r->node = n;
    r->conn = c;
    r->stream = stream;
    r->over = over;
}

static void relay_over(struct node_relay *r)
{
    list_remove(&r->link);
    buf_fini(&r->held);
    r->over(r);
}

/* Nobody will hear an answer. */
static void relay_drop(struct node_relay *r)
{
    if (r->ticket)
        node_forget(r->node, r->ticket); /* harmless when it is over there */
    relay_over(r);
}

static struct node_relay *relay_find(struct node *n, peer_conn c, uint32_t stream)
{
    for (struct list *l = n->relays.next; l != &n->relays; l = l->next) {
        struct node_relay *r = LIST_ENTRY(l, struct node_relay, link);
        if (r->conn == c && r->stream == stream)
            return r;
    }
    return NULL;
}

/* ---- sending ---------------------------------------------------------------------------------- */

static bool answer_send(const struct node_relay *r, const struct wire_forward_answer *a)
{
    struct buf *out = peer_out(r->node->peers, r->conn);

    if (!out)
        return false; /* the asker is gone, or does not read: its connection will end */
    size_t begun = wire_frame_begin(out, WIRE_FORWARD_RES, r->stream);
    (void)wire_forward_answer_put(out, a);
    int rc = wire_frame_end(out, begun);
    peer_send_built(r->node->peers, r->conn);
    return rc == 0;
}

/* The answer left, or cannot. */
static void answer_over(struct node_relay *r, bool sent)
{
    r->state = RELAY_TAKEN;
    if (!sent)
        relay_drop(r);
    else if (!r->more)
        relay_over(r);
}

static void held_send(struct node_relay *r)
{
    struct node *n = r->node;
    struct slice left = buf_slice(&r->held);
    size_t max = frame_bytes(n);

    if (left.len > max) {
        struct slice piece = slice_of(left.data, max);
        if (peer_send(n->peers, r->conn, WIRE_FORWARD_PART, r->stream, piece)) {
            answer_over(r, false);
            return;
        }
        buf_consume(&r->held, max);
        list_remove(&r->link);
        list_push_back(&n->relays, &r->link); /* they take turns */
        return;
    }
    struct wire_forward_answer a = {
        .more = r->more, .raft_index = r->raft_index, .phases = r->phases, .body = left};
    bool sent = answer_send(r, &a);
    buf_reset(&r->held, 0);
    answer_over(r, sent);
}

static struct node_relay *sending_next(struct node *n, peer_conn c)
{
    for (struct list *l = n->relays.next; l != &n->relays; l = l->next) {
        struct node_relay *r = LIST_ENTRY(l, struct node_relay, link);
        if (r->conn == c && r->state == RELAY_SENDING)
            return r;
    }
    return NULL;
}

void node_relay_drained(struct node *n, peer_conn c)
{
    struct node_relay *r = sending_next(n, c);

    if (!r)
        return;
    held_send(r);
    if (sending_next(n, c))
        peer_drained_want(n->peers, c);
}

static void held_begin(struct node_relay *r, const struct node_answer *a)
{
    r->raft_index = a->raft_index;
    r->phases = a->phases;
    if (!node_conn_find(r->node, r->conn)) {
        relay_drop(r); /* what was lost will not be idle */
        return;
    }
    if (buf_append_slice(&r->held, a->body)) {
        struct wire_forward_answer failed = {.rc = ERR_NOMEM};
        (void)answer_send(r, &failed);
        relay_drop(r);
        return;
    }
    r->state = RELAY_SENDING;
    peer_drained_want(r->node->peers, r->conn);
}

void node_relay_reply(void *ctx, const struct node_answer *a)
{
    struct node_relay *r = ctx;
    struct wire_forward_answer answer = {
        .rc = a->rc,
        .more = a->more,
        .raft_index = a->raft_index,
        .phases = a->phases,
        .text = a->text ? slice_str(a->text) : slice_of(NULL, 0),
        .body = a->body,
    };

    r->more = a->more;
    buf_reset(&r->held, 0); /* it failed while SENDING */
    list_remove(&r->link);
    list_push_back(&r->node->relays, &r->link);
    if (a->body.len > frame_bytes(r->node))
        held_begin(r, a);
    else
        answer_over(r, answer_send(r, &answer));
}

/* ---- what the asker says, and its end --------------------------------------------------------- */

void node_relay_pulled(struct node *n, peer_conn c, const struct wire_frame *f)
{
    struct node_relay *r = relay_find(n, c, f->stream);
    struct wire_forward_pull p;

    if (!r || wire_forward_pull_get(f->body, &p))
        return; /* over, or nonsense: then our patience ends it */
    if (p.stop) {
        relay_drop(r);
    } else if (r->state == RELAY_TAKEN) {
        r->state = RELAY_RUNNING;
        node_pull(n, r->ticket);
    }
}

void node_relay_lost(struct node *n, peer_conn c)
{
    for (struct list *l = n->relays.next, *next; l != &n->relays; l = next) {
        next = l->next;
        struct node_relay *r = LIST_ENTRY(l, struct node_relay, link);
        if (r->conn == c)
            relay_drop(r);
    }
}

void node_relay_fini(struct node *n)
{
    while (!list_empty(&n->relays))
        relay_over(LIST_ENTRY(n->relays.next, struct node_relay, link));
}
