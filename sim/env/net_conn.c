/* net_conn.c — connections: the handshake, segments on the wire, resets, and what a kernel does for a
 * process that is gone. Every step is an event, so that anything may come in between. */
#include "env/net_int.h"
#include <rq/util/assert.h>
#include <rq/util/crc.h>
#include <stdlib.h>

enum { SEGMENT_MAX = 64 * 1024 };

struct net *net_create(void)
{
    struct net *n = calloc(1, sizeof(*n));
    ASSERT(n);
    n->conn_next = 1;
    return n;
}

static void segments_free(struct dir *d)
{
    while (d->first) {
        struct segment *next = d->first->next;
        free(d->first);
        d->first = next;
    }
    d->last = NULL;
}

void net_destroy(struct net *n)
{
    while (n->conns) {
        struct conn *c = n->conns;
        n->conns = c->next;
        for (int side = 0; side < 2; side++) {
            segments_free(&c->dir[side]);
            free(c->dir[side].data);
        }
        free(c);
    }
    free(n);
}

struct conn *conn_new(struct world *w, struct host *dialer)
{
    struct conn *c = calloc(1, sizeof(*c));
    ASSERT(c);
    c->id = w->net->conn_next++;
    c->world = w;
    c->next = w->net->conns;
    w->net->conns = c;
    for (unsigned side = 0; side < 2; side++) {
        c->end[side].conn = c;
        c->end[side].side = side;
    }
    c->end[0].host = dialer;
    c->end[0].incarnation = dialer->incarnation;
    c->end[0].base.env = &dialer->sim.base;
    return c;
}

static bool process_alive(const struct end *en)
{
    return en->host && en->host->up && en->host->incarnation == en->incarnation;
}

bool end_alive(const struct end *en)
{
    return process_alive(en) && en->state != ES_CLOSED;
}

static struct event *wire(struct conn *c, uint64_t after_ns, const char *kind,
                          void (*run)(struct world *, const struct event *), void *ctx,
                          uint64_t arg)
{
    return event_post(c->world, after_ns, kind, run, ctx, arg);
}

static void loop(struct end *en, const char *kind,
                 void (*run)(struct world *, const struct event *), int rc)
{
    if (process_alive(en))
        (void)event_post_host(en->host, 0, EV_LOOP, kind, run, en, (uint64_t)(int64_t)rc);
}

/* ---- callbacks on the host's loop ---- */

static void run_opened(struct world *w, const struct event *ev)
{
    struct end *en = ev->ctx;
    int rc = (int)(int64_t)ev->arg;

    (void)w;
    if (en->state != ES_CONNECTING)
        return;
    en->state = ES_OPEN;
    if (rc) {
        en->broken = rc;
        en->kernel_gone = true;
        en->ended_told = true;
    }
    en->base.events->opened(en->base.ctx, rc);
    if (en->broken && !en->ended_told)
        end_deliver_later(en);
}

static void opened_post(struct end *en, int rc)
{
    if (en->opened_posted || en->state != ES_CONNECTING)
        return;
    en->opened_posted = true;
    loop(en, "opened", run_opened, rc);
}

static void run_drained(struct world *w, const struct event *ev)
{
    struct end *en = ev->ctx;
    (void)w;
    if (en->state == ES_OPEN && end_pending(en) == 0)
        en->base.events->drained(en->base.ctx);
}

static void run_closed(struct world *w, const struct event *ev)
{
    struct end *en = ev->ctx;
    void (*closed)(void *) = en->base.events->closed;
    void *ctx = en->base.ctx;

    (void)w;
    if (en->state != ES_CLOSED)
        end_forget(en);
    en->state = ES_CLOSED;
    closed(ctx);
}

void end_post_closed(struct end *en)
{
    if (en->closed_posted)
        return;
    en->closed_posted = true;
    loop(en, "closed", run_closed, 0);
}

static void deliver_bytes(struct world *w, struct end *en, struct dir *d, size_t len)
{
    if (w->config.net.cut == SIM_CUT_BYTE)
        len = 1;
    else if (w->config.net.cut == SIM_CUT_RANDOM && prng_below(&w->net_prng, 4) == 0)
        len = (size_t)prng_range(&w->net_prng, 1, len);
    w->lent = malloc(len); /* a copy of exactly len: a read beyond it, or later, is seen */
    ASSERT(w->lent);
    memcpy(w->lent, d->data + d->start, len);
    d->start += len;
    d->delivered += len;
    world_fold(w, len);
    en->base.events->data(en->base.ctx, slice_of(w->lent, len));
    conn_pump(en->conn, 1 - en->side);
    end_deliver_later(en);
}

static void run_deliver(struct world *w, const struct event *ev)
{
    struct end *en = ev->ctx;
    struct dir *d = &en->conn->dir[1 - en->side];

    en->deliver_posted = false;
    if (en->state != ES_OPEN || en->ended_told)
        return;
    if (en->reading && d->arrived > d->delivered) {
        deliver_bytes(w, en, d, (size_t)(d->arrived - d->delivered));
        return;
    }
    int rc = en->broken;
    if (rc == 0 && en->reading && d->fin_arrived)
        rc = ERR_EOF;
    if (rc == 0)
        return;
    en->ended_told = true;
    en->base.events->ended(en->base.ctx, rc);
}

void end_deliver_later(struct end *en)
{
    const struct dir *d = &en->conn->dir[1 - en->side];
    bool data = en->reading && (d->arrived > d->delivered || d->fin_arrived);

    if (en->deliver_posted || en->state != ES_OPEN || en->ended_told || !process_alive(en) ||
        !(data || en->broken))
        return;
    en->deliver_posted = true;
    struct event *ev =
        event_post_host(en->host, 0, EV_LOOP, "deliver", run_deliver, en, en->conn->id);
    if (en->host->world->running)
        return;
    event_unheap(en->host->world, ev); /* already in an event of the network: no second trip */
    host_dispatch(en->host, ev);
}

/* ---- the handshake ---- */

static void run_refused(struct world *w, const struct event *ev)
{
    (void)w;
    opened_post(ev->ctx, ERR_REFUSED);
}

static void run_connect_timeout(struct world *w, const struct event *ev)
{
    struct end *en = ev->ctx;
    (void)w;
    if (process_alive(en))
        opened_post(en, ERR_TIMEOUT);
}

static struct sim_listener *listener_find(struct host *h, uint16_t port)
{
    for (struct list *l = h->listeners.next; l != &h->listeners; l = l->next) {
        struct sim_listener *s = LIST_ENTRY(l, struct sim_listener, in_host);
        if (s->port == port)
            return s;
    }
    return NULL;
}

static void run_accept(struct world *w, const struct event *ev)
{
    struct end *en = ev->ctx;
    struct sim_listener *l = listener_find(en->host, en->conn->port);

    (void)w;
    if (!l) {
        en->state = ES_CLOSED;
        end_reset_peer(en);
        return;
    }
    l->waiting -= l->waiting > 0; /* it may have been opened anew in between */
    en->state = ES_OPEN;
    l->accepted(l->ctx, &en->base);
    ASSERT(en->base.events != NULL); /* env.h: attach before returning */
    end_deliver_later(en);
}

static void run_synack(struct world *w, const struct event *ev)
{
    struct conn *c = ev->ctx;
    struct end *dialer = &c->end[0];

    if (link_blocked(w, c->end[1].host, dialer->host)) {
        if (process_alive(dialer) && dialer->state == ES_CONNECTING)
            (void)wire(c, ENV_S_NS, "synack", run_synack, c, 0);
        return;
    }
    if (process_alive(dialer) && dialer->state == ES_CONNECTING && !dialer->opened_posted)
        opened_post(dialer, 0);
    else /* it gave up: success comes too late */
        end_broken(&c->end[1], ERR_RESET);
}

static void establish(struct conn *c, struct sim_listener *l)
{
    struct world *w = c->world;
    struct end *en = &c->end[1];

    en->incarnation = en->host->incarnation;
    en->base.env = &en->host->sim.base;
    c->established = true;
    l->waiting++;
    if (w->config.net.black_hole_ppm && prng_chance_ppm(&w->net_prng, w->config.net.black_hole_ppm))
        c->black_hole_after = prng_range(&w->net_prng, 1, 1 << prng_range(&w->net_prng, 4, 20));
    loop(en, "accept", run_accept, 0);
    (void)wire(c, link_delay_ns(w, en->host, c->end[0].host), "synack", run_synack, c, 0);
}

static void run_syn(struct world *w, const struct event *ev)
{
    struct conn *c = ev->ctx;
    struct host *from = c->end[0].host, *to = c->end[1].host;

    event_fold(w, ev, c->id, 0);
    if (c->hung || !process_alive(&c->end[0]) || c->end[0].state != ES_CONNECTING)
        return;
    bool reached = !link_blocked(w, from, to) && !link_blocked(w, to, from) && to->machine_on;
    struct sim_listener *l = reached && to->up ? listener_find(to, c->port) : NULL;
    if (!reached || (l && l->waiting >= w->config.net.backlog)) {
        c->syn_wait_ns = c->syn_wait_ns ? 2 * c->syn_wait_ns : ENV_S_NS;
        conn_syn(c, c->syn_wait_ns);
        return;
    }
    bool refuse =
        w->config.net.refuse_ppm && prng_chance_ppm(&w->net_prng, w->config.net.refuse_ppm);
    if (refuse)
        world_fault(w, WORLD_FAULT_REFUSE);
    if (l && !refuse)
        establish(c, l);
    else
        (void)wire(c, link_delay_ns(w, to, from), "refused", run_refused, &c->end[0], 0);
}

void conn_syn(struct conn *c, uint64_t after_ns)
{
    struct world *w = c->world;
    if (c->syn_wait_ns == 0) {
        (void)wire(c, w->config.net.connect_ns, "connect_timeout", run_connect_timeout, &c->end[0],
                   0);
        c->hung = w->config.net.hang_ppm && prng_chance_ppm(&w->net_prng, w->config.net.hang_ppm);
        if (c->hung)
            world_fault(w, WORLD_FAULT_HANG);
    }
    (void)wire(c, after_ns + link_delay_ns(w, c->end[0].host, c->end[1].host), "syn", run_syn, c,
               0);
}

/* ---- resets ---- */

void dir_drop(struct dir *d)
{
    segments_free(d);
    d->dead = true;
    d->written = d->arrived;
    d->sent = d->arrived;
}

/* Bytes that arrived and that nobody will read. */
static void dir_skip(struct dir *d)
{
    d->start += (size_t)(d->arrived - d->delivered);
    d->delivered = d->arrived;
}

void end_broken(struct end *en, int rc)
{
    struct dir *in = &en->conn->dir[1 - en->side];

    if (en->kernel_gone)
        return;
    en->kernel_gone = true;
    en->broken = rc;
    dir_drop(&en->conn->dir[en->side]);
    if (!end_alive(en))
        return;
    if (!en->reading || prng_below(&en->host->world->net_prng, 2))
        dir_skip(in); /* what was not read is lost, or (below) read first */
    if (en->state == ES_FINISHING)
        end_post_closed(en);
    else if (en->state == ES_CONNECTING && en->side == 0)
        opened_post(en, rc);
    else
        end_deliver_later(en);
}

static void run_rst(struct world *w, const struct event *ev)
{
    struct end *en = ev->ctx;

    event_fold(w, ev, en->conn->id, en->side);
    if (!link_blocked(w, end_peer(en)->host, en->host) && en->host->machine_on)
        end_broken(en, ERR_RESET); /* else lost: half-open until en sends again */
}

static void rst_post(struct end *to)
{
    struct end *from = end_peer(to);
    (void)wire(to->conn, link_delay_ns(to->conn->world, from->host, to->host), "rst", run_rst, to,
               0);
}

void end_reset_peer(struct end *en)
{
    en->app_gone = true;
    if (en->kernel_gone)
        return;
    en->kernel_gone = true;
    dir_drop(&en->conn->dir[en->side]);
    rst_post(end_peer(en));
}

void conn_break(struct conn *c, unsigned from, enum sim_net_learn learn)
{
    world_fault(c->world, WORLD_FAULT_RESET);
    if (learn != SIM_LEARN_BOTH)
        world_fault(c->world, WORLD_FAULT_HALF_OPEN);
    if (learn != SIM_LEARN_RECEIVER)
        end_broken(&c->end[from], ERR_RESET);
    if (learn != SIM_LEARN_SENDER)
        end_broken(&c->end[1 - from], ERR_RESET);
}

/* The owner let go or died. Unread bytes make a kernel send a reset instead of a FIN (RFC 2525 §2.17). */
void end_forget(struct end *en)
{
    struct world *w = en->conn->world;
    struct dir *out = &en->conn->dir[en->side], *in = &en->conn->dir[1 - en->side];

    if (en->app_gone)
        return;
    en->app_gone = true;
    if (w->net->on_end)
        w->net->on_end(w->net->on_end_ctx, en->host, en->conn->id);
    if (en->kernel_gone)
        return;
    if (!en->conn->established) {
        en->kernel_gone = true;
        return;
    }
    if (in->arrived > in->delivered) {
        end_reset_peer(en);
        return;
    }
    uint64_t kept = out->arrived + w->config.net.send_buffer_bytes;
    if (out->written > kept)
        out->written = kept > out->sent ? kept : out->sent;
    out->fin_wanted = true;
    conn_pump(en->conn, en->side);
}

void net_host_gone(struct host *h, bool power)
{
    for (struct conn *c = h->world->net->conns; c; c = c->next) {
        for (unsigned side = 0; side < 2; side++) {
            struct end *en = &c->end[side];
            if (en->host != h || (side == 1 && !c->established))
                continue;
            if (power) {
                if (!en->app_gone && h->world->net->on_end)
                    h->world->net->on_end(h->world->net->on_end_ctx, h, c->id);
                en->app_gone = true;
                en->kernel_gone = true;
                c->dir[side].written = c->dir[side].sent; /* what left is on its way */
            } else {
                end_forget(en);
            }
            en->state = ES_CLOSED;
        }
    }
    while (!list_empty(&h->listeners)) {
        struct sim_listener *l = LIST_ENTRY(h->listeners.next, struct sim_listener, in_host);
        list_remove(&l->in_host);
        free(l);
    }
}

/* ---- segments ---- */

static void run_wire(struct world *w, const struct event *ev);

static void wire_post(struct conn *c, unsigned side)
{
    struct dir *d = &c->dir[side];
    uint64_t now_ns = c->world->now_ns;

    if (d->wire_posted || !d->first)
        return;
    d->wire_posted = true;
    uint64_t after_ns = d->first->at_ns > now_ns ? d->first->at_ns - now_ns : 0;
    (void)wire(c, after_ns, "segment", run_wire, c, side);
}

static void segment_push(struct conn *c, unsigned side, uint64_t len, bool fin)
{
    struct dir *d = &c->dir[side];
    struct segment *s = malloc(sizeof(*s));

    ASSERT(s);
    uint64_t at_ns =
        c->world->now_ns + link_send_ns(c->world, c->end[side].host, c->end[1 - side].host, len);
    d->last_at_ns = at_ns > d->last_at_ns ? at_ns : d->last_at_ns;
    *s = (struct segment){NULL, d->last_at_ns, len, fin};
    if (d->last)
        d->last->next = s;
    else
        d->first = s;
    d->last = s;
}

void conn_pump(struct conn *c, unsigned side)
{
    struct dir *d = &c->dir[side];
    struct world *w = c->world;
    uint64_t window = w->config.net.receive_window_bytes;

    if (d->dead || !c->established)
        return;
    while (d->sent < d->written && d->sent - d->delivered < window) {
        uint64_t len = d->written - d->sent, room = window - (d->sent - d->delivered);
        len = len < room ? len : room;
        len = len < SEGMENT_MAX ? len : SEGMENT_MAX;
        if (w->config.net.cut == SIM_CUT_BYTE)
            len = 1;
        else if (w->config.net.cut == SIM_CUT_RANDOM && prng_below(&w->net_prng, 2))
            len = prng_range(&w->net_prng, 1, len);
        segment_push(c, side, len, false);
        d->sent += len;
    }
    if (d->fin_wanted && !d->fin_sent && d->sent == d->written) {
        d->fin_sent = true;
        segment_push(c, side, 0, true);
    }
    wire_post(c, side);
}

size_t end_pending(const struct end *en)
{
    const struct dir *d = &en->conn->dir[en->side];
    uint64_t held = d->written - d->arrived, buffer = en->conn->world->config.net.send_buffer_bytes;
    return held > buffer ? (size_t)(held - buffer) : 0;
}

static void run_linger(struct world *w, const struct event *ev)
{
    struct end *en = ev->ctx;
    (void)w;
    if (process_alive(en) && en->state == ES_FINISHING)
        end_post_closed(en);
}

/* Finishing: input is dropped, so that it cannot turn the FIN into a reset; closed() comes when the other
 * side has finished too, at the latest a second after the last byte left. */
void end_finish_progress(struct end *en)
{
    struct conn *c = en->conn;
    struct dir *in = &c->dir[1 - en->side];

    dir_skip(in);
    conn_pump(c, 1 - en->side);
    if (end_pending(en) != 0)
        return;
    if (in->fin_arrived || en->kernel_gone) {
        end_post_closed(en);
    } else if (!en->linger_posted) {
        en->linger_posted = true;
        (void)wire(c, ENV_S_NS, "linger", run_linger, en, 0);
    }
}

/* The sender's kernel got rid of some bytes. */
static void sender_progress(struct conn *c, unsigned side)
{
    struct end *en = &c->end[side];
    struct dir *d = &c->dir[side];

    if (!end_alive(en) || end_pending(en) != 0)
        return;
    if (en->state == ES_FINISHING)
        end_finish_progress(en);
    else if (d->drain_owed)
        loop(en, "drained", run_drained, 0);
    d->drain_owed = false;
}

static void segment_pop(struct dir *d)
{
    struct segment *s = d->first;
    d->first = s->next;
    if (!d->first)
        d->last = NULL;
    free(s);
}

/* The path is blocked: send again later, ever more rarely, until the kernel gives up. */
static void stall(struct conn *c, unsigned side)
{
    struct dir *d = &c->dir[side];
    struct world *w = c->world;

    if (c->end[side].kernel_gone) {
        dir_drop(d);
        return;
    }
    if (d->rto_ns == 0) {
        d->stalled_since_ns = w->now_ns;
        d->rto_ns = 100 * ENV_MS_NS;
    }
    if (w->now_ns - d->stalled_since_ns >= w->config.net.retransmit_ns) {
        end_broken(&c->end[side], ERR_TIMEOUT);
        dir_drop(d);
        return;
    }
    if (d->rto_ns < 5 * ENV_S_NS)
        d->rto_ns *= 2;
    d->first->at_ns = w->now_ns + d->rto_ns + prng_below(&w->net_prng, 10 * ENV_MS_NS);
    wire_post(c, side);
}

static void run_ack_check(struct world *w, const struct event *ev)
{
    struct conn *c = ev->ctx;
    unsigned side = (unsigned)ev->arg;
    struct dir *d = &c->dir[side];
    struct host *from = c->end[side].host, *to = c->end[1 - side].host;

    uint64_t since_ns = d->ack_lost_since_ns;
    d->ack_lost_since_ns = 0;
    if (link_blocked(w, to, from) && link_of(w, to, from)->blocked_since_ns <= since_ns)
        end_broken(&c->end[side], ERR_TIMEOUT);
}

/* How many of len bytes arrive before the connection breaks; len + 1: it does not. */
static uint64_t reset_point(struct conn *c, unsigned side, uint64_t len, enum sim_net_learn *learn)
{
    struct world *w = c->world;
    const struct sim_net_config *n = &w->config.net;
    struct link *l = link_of(w, c->end[side].host, c->end[1 - side].host);

    if (l->reset_armed) {
        if (l->reset_after > len) {
            l->reset_after -= len;
            return len + 1;
        }
        l->reset_armed = false;
        *learn = l->learn;
        return l->reset_after;
    }
    if (!n->reset_ppm || !prng_chance_ppm(&w->net_prng, n->reset_ppm))
        return len + 1;
    *learn = SIM_LEARN_BOTH;
    if (prng_chance_ppm(&w->net_prng, n->half_open_ppm))
        *learn = prng_below(&w->net_prng, 2) ? SIM_LEARN_SENDER : SIM_LEARN_RECEIVER;
    uint64_t extreme = prng_below(&w->net_prng, 4); /* weight on "nothing" and "all of it" */
    return extreme == 0 ? 0 : extreme == 1 ? len : prng_range(&w->net_prng, 0, len);
}

static void swap_halves(uint8_t *p, size_t len)
{
    size_t half = len / 2;
    for (size_t i = 0; i < half; i++) {
        uint8_t x = p[i];
        p[i] = p[len - half + i];
        p[len - half + i] = x;
    }
}

static void arrive(struct conn *c, const struct event *ev, struct dir *d, uint64_t len)
{
    struct world *w = c->world;
    uint8_t *p = len ? d->data + d->start + (d->arrived - d->delivered) : NULL;

    if (len >= 2 && w->swap_segment && --w->swap_segment == 0)
        swap_halves(p, (size_t)len);
    if (len && w->config.net.flip_ppm && prng_chance_ppm(&w->net_prng, w->config.net.flip_ppm)) {
        p[prng_below(&w->net_prng, len)] ^= (uint8_t)(1U << prng_below(&w->net_prng, 8));
        world_fault(w, WORLD_FAULT_FLIP);
    }
    d->arrived += len;
    world_fold(w, c->id);
    event_fold(w, ev, len, crc32c((uint32_t)ev->arg, p, (size_t)len));
}

static void black_hole_check(struct conn *c, const struct dir *d)
{
    if (c->black_hole || c->black_hole_after == 0 || d->arrived < c->black_hole_after)
        return;
    c->black_hole = true;
    world_fault(c->world, WORLD_FAULT_BLACK_HOLE);
}

static void run_wire(struct world *w, const struct event *ev)
{
    struct conn *c = ev->ctx;
    unsigned side = (unsigned)ev->arg;
    struct dir *d = &c->dir[side];
    struct end *from = &c->end[side], *to = &c->end[1 - side];
    enum sim_net_learn learn = SIM_LEARN_BOTH;

    d->wire_posted = false;
    black_hole_check(c, d);
    if (d->dead || !d->first || c->black_hole)
        return;
    if (link_blocked(w, from->host, to->host) || !to->host->machine_on) {
        stall(c, side);
        return;
    }
    d->rto_ns = 0;
    uint64_t len = d->first->len;
    bool fin = d->first->fin;
    segment_pop(d);
    if (to->kernel_gone || (to->app_gone && len)) { /* nobody there */
        d->arrived += len;
        dir_skip(d);
        rst_post(from);
        wire_post(c, side);
        return;
    }
    uint64_t point = reset_point(c, side, len, &learn);
    arrive(c, ev, d, point < len ? point : len);
    if (point <= len) {
        conn_break(c, side, learn);
        return;
    }
    d->fin_arrived = d->fin_arrived || fin;
    if (link_blocked(w, to->host, from->host) && !d->ack_lost_since_ns) {
        d->ack_lost_since_ns = w->now_ns;
        (void)wire(c, w->config.net.retransmit_ns, "ackcheck", run_ack_check, c, side);
    }
    sender_progress(c, side);
    wire_post(c, side);
    if (end_alive(to) && to->state == ES_FINISHING)
        end_finish_progress(to);
    end_deliver_later(to); /* last: may run the host */
}
