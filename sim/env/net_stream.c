/* net_stream.c — env_stream_* and env_listen of a host. Each call is told first, as in host_env.c. */
#include "env/net_int.h"
#include <rq/util/assert.h>
#include <rq/util/crc.h>
#include <stdlib.h>

static struct host *note(struct env *e, const char *kind, const char *text, uint64_t a, uint64_t b,
                         uint32_t crc)
{
    struct host *h = host_of(e);
    struct sim_call c = {kind, text, a, b, crc};
    h->sim.call(&h->sim, &c, false);
    ASSERT(!h->job); /* LOOP only */
    return h;
}

static struct end *note_end(struct env_stream *s, const char *kind)
{
    struct end *en = end_of(s);
    ASSERT(en->state != ES_CLOSED && !en->close_called); /* used after close */
    (void)note(s->env, kind, NULL, en->conn->id, en->side, 0);
    return en;
}

/* "host:port" → the parts; false: not of that form. host may be empty. */
static bool parse(const char *addr, char host[64], uint16_t *port)
{
    const char *colon = strrchr(addr, ':');
    unsigned value = 0;

    if (!colon || (size_t)(colon - addr) >= 64 || colon[1] == '\0' || strlen(colon + 1) > 5)
        return false;
    for (const char *p = colon + 1; *p; p++) {
        if (*p < '0' || *p > '9')
            return false;
        value = value * 10 + (unsigned)(*p - '0');
    }
    memcpy(host, addr, (size_t)(colon - addr));
    host[colon - addr] = '\0';
    *port = (uint16_t)value;
    return value <= 65535;
}

static bool is_self(const struct host *h, const char *name)
{
    return strcmp(name, h->name) == 0 || strcmp(name, "localhost") == 0 ||
           strcmp(name, "127.0.0.1") == 0 || strcmp(name, "0.0.0.0") == 0;
}

static uint16_t port_take(struct host *h)
{
    if (h->port_next == 0 || h->port_next < 40000)
        h->port_next = 40000;
    return h->port_next++;
}

static void run_unresolved(struct world *w, const struct event *ev)
{
    struct end *en = ev->ctx;
    (void)w;
    if (en->state != ES_CONNECTING)
        return;
    en->state = ES_OPEN;
    en->broken = ERR_ADDRESS;
    en->kernel_gone = true;
    en->ended_told = true;
    en->base.events->opened(en->base.ctx, ERR_ADDRESS);
}

int net_connect(struct env *e, const char *addr, const struct env_stream_events *events, void *ctx,
                struct env_stream **out)
{
    struct host *h = note(e, "connect", addr, 0, 0, 0);
    char name[64];
    uint16_t port;

    if (!parse(addr, name, &port) || port == 0 || *name == '\0')
        return ERR_INVALID;
    struct conn *c = conn_new(h->world, h);
    struct end *en = &c->end[0];
    en->base.events = events;
    en->base.ctx = ctx;
    c->port = port;
    c->end[1].host = is_self(h, name) ? h : world_host(h->world, name);
    (void)snprintf(en->addr, sizeof(en->addr), "%s:%u", h->name, (unsigned)port_take(h));
    (void)snprintf(c->end[1].addr, sizeof(c->end[1].addr), "%s:%u",
                   c->end[1].host ? c->end[1].host->name : name, (unsigned)port);
    if (c->end[1].host)
        conn_syn(c, 0);
    else
        (void)event_post_host(h, ENV_MS_NS, EV_LOOP, "opened", run_unresolved, en, 0);
    *out = &en->base;
    return 0;
}

void net_read_start(struct env_stream *s)
{
    struct end *en = note_end(s, "read_start");
    if (en->reading)
        return;
    en->reading = true;
    end_deliver_later(en);
}

void net_read_stop(struct env_stream *s)
{
    note_end(s, "read_stop")->reading = false;
}

static uint8_t *dir_room(struct dir *d, size_t len)
{
    size_t used = (size_t)(d->written - d->delivered);

    if (d->start + used + len > d->cap) {
        if (d->start)
            memmove(d->data, d->data + d->start, used);
        d->start = 0;
    }
    if (used + len > d->cap) {
        d->cap = d->cap ? d->cap : 1024;
        while (d->cap < used + len)
            d->cap *= 2;
        d->data = realloc(d->data, d->cap);
        ASSERT(d->data);
    }
    return d->data + d->start + used;
}

static void tap(struct host *h, const struct end *en, const uint8_t *data, size_t len)
{
    struct net *n = h->world->net;
    const struct dir *d = &en->conn->dir[en->side];

    if (!n->on_bytes || len == 0)
        return;
    struct world_bytes b = {
        .host = h,
        .incarnation = h->incarnation,
        .connection = en->conn->id,
        .offset = d->written - len,
        .dialed = en->side == 0,
        .local = en->addr,
        .remote = en->conn->end[1 - en->side].addr,
        .data = data,
        .len = len,
    };
    struct sim_pool *was = sim_pool_switch(NULL);
    n->on_bytes(n->on_bytes_ctx, &b);
    (void)sim_pool_switch(was);
    if (h->ending != END_NONE && h->ending != END_EXIT)
        host_leave(h); /* an oracle crashed it */
}

int net_write(struct env_stream *s, const struct slice *parts, size_t count, size_t pending_max)
{
    struct end *en = end_of(s);
    struct dir *d = &en->conn->dir[en->side];
    size_t len = 0;
    uint32_t crc = 0;

    for (size_t i = 0; i < count; i++) {
        len += parts[i].len;
        if (parts[i].len)
            crc = crc32c(crc, parts[i].data, parts[i].len);
    }
    struct host *h = note(s->env, "send", NULL, en->conn->id << 1 | en->side, len, crc);
    ASSERT(en->state == ES_OPEN && !en->close_called); /* after opened, before finish and close */
    if (en->broken || en->kernel_gone || d->dead)
        return ERR_RESET;
    if (end_pending(en) + len > pending_max)
        return ERR_FULL;
    uint8_t *to = dir_room(d, len);
    for (size_t i = 0, at = 0; i < count; at += parts[i].len, i++)
        if (parts[i].len)
            memcpy(to + at, parts[i].data, parts[i].len);
    d->written += len;
    tap(h, en, to, len);
    conn_pump(en->conn, en->side);
    if (end_pending(en) > 0)
        d->drain_owed = true;
    return 0;
}

size_t net_pending(const struct env_stream *s)
{
    return end_pending((const struct end *)(const void *)s);
}

const char *net_peer(const struct env_stream *s)
{
    const struct end *en = (const struct end *)(const void *)s;
    return en->conn->end[1 - en->side].addr;
}

void net_finish(struct env_stream *s)
{
    struct end *en = note_end(s, "finish");
    struct dir *d = &en->conn->dir[en->side];

    ASSERT(!en->close_called && en->state != ES_FINISHING);
    if (en->state == ES_CONNECTING || en->kernel_gone) {
        en->state = ES_FINISHING;
        end_post_closed(en);
        return;
    }
    en->state = ES_FINISHING;
    d->fin_wanted = true;
    conn_pump(en->conn, en->side);
    end_finish_progress(en);
}

void net_close(struct env_stream *s)
{
    struct end *en = end_of(s);

    ASSERT(!en->close_called && en->state != ES_CLOSED); /* a second close is a bug */
    (void)note(s->env, "close", NULL, en->conn->id, en->side, 0);
    en->close_called = true;
    end_forget(en);
    en->state = ES_CLOSED;
    end_post_closed(en);
}

/* ---- listeners ---- */

static bool port_used(const struct host *h, uint16_t port)
{
    for (const struct list *l = h->listeners.next; l != &h->listeners; l = l->next)
        if (LIST_ENTRY(l, struct sim_listener, in_host)->port == port)
            return true;
    return false;
}

int net_listen(struct env *e, const char *bind_addr, void (*accepted)(void *, struct env_stream *),
               void *ctx, struct env_listener **out, struct err_text *why)
{
    struct host *h = note(e, "listen", bind_addr, 0, 0, 0);
    char name[64];
    uint16_t port;

    if (!parse(bind_addr, name, &port))
        return err_set(why, ERR_ADDRESS, "listen tcp: address %s: not of the form host:port",
                       bind_addr);
    if (*name && !is_self(h, name))
        return err_set(why, ERR_ADDRESS, "listen tcp %s: bind: cannot assign requested address",
                       bind_addr);
    bool any = port == 0;
    while (any && (port == 0 || port_used(h, port)))
        port = port_take(h);
    if (port_used(h, port))
        return err_set(why, ERR_ADDRESS, "listen tcp %s: bind: address already in use", bind_addr);
    struct sim_listener *l = calloc(1, sizeof(*l));
    ASSERT(l);
    l->base.env = e;
    l->host = h;
    l->port = port;
    l->accepted = accepted;
    l->ctx = ctx;
    (void)snprintf(l->addr, sizeof(l->addr), "%s:%u", h->name, (unsigned)port);
    list_push_back(&h->listeners, &l->in_host);
    *out = &l->base;
    return 0;
}

const char *net_listener_addr(const struct env_listener *l)
{
    return ((const struct sim_listener *)(const void *)l)->addr;
}

void net_listener_close(struct env_listener *listener)
{
    struct sim_listener *l = (struct sim_listener *)(void *)listener;
    (void)note(listener->env, "unlisten", l->addr, 0, 0, 0);
    list_remove(&l->in_host);
    free(l);
}
