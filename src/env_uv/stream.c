/* stream.c — one TCP connection.
 *
 *   new ─► [looking up] ─► connecting ⇄ retrying ─► open ─► finishing ─► closing ─► gone
 *    │                        │ no address left                ▲  ▲
 *    │                        └─► opened(rc) deferred ─────────┼──┘
 *    └─ accepted ─► open ──────────── env_stream_close ────────┘
 *
 * Output: first uv_try_write of the caller's own pieces, no copy; what the kernel does not take is
 * copied behind. Two buffers: `sending` is lent to libuv and does not move, `waiting` gathers, and
 * they swap when libuv is done: one write in flight, each as large as it can be.
 *
 * finish: a close with unread input makes the kernel send RST, which may destroy the last answer on
 * its way (RFC 9112 §9.6). So after FIN we read and discard until the peer's FIN, for a second at
 * most, before we close. */
#include "env_uv_int.h"
#include <netdb.h>

enum {
    STREAM_KEEP_BYTES = 128 * 1024,
    STREAM_PARTS_AT_ONCE = 128,
    STREAM_LINGER_MS = 1000,
};

static struct uv_stream *stream_of(const struct env_stream *s)
{
    return (struct uv_stream *)(uintptr_t)s;
}

static uv_stream_t *transport(struct uv_stream *s)
{
    return (uv_stream_t *)&s->tcp;
}

/* ---- the end ---- */

static void release(struct uv_stream *s)
{
    if (s->lookup_busy)
        return; /* on_found comes back here */
    if (s->found)
        uv_freeaddrinfo(s->found);
    list_remove(&s->link);
    buf_fini(&s->sending);
    buf_fini(&s->waiting);
    mem_free(s);
}

static void gone(struct uv_stream *s)
{
    if (s->base.events && !s->u->destroying)
        s->base.events->closed(s->base.ctx);
    s->base.events = NULL;
    release(s);
}

static void on_closed(uv_handle_t *handle)
{
    gone(handle->data);
}

static void start_close(struct uv_stream *s)
{
    if (s->closing)
        return;
    s->closing = true;
    list_remove(&s->deferred.link);
    env_timer_disarm(&s->linger);
    if (s->lookup_busy)
        (void)uv_cancel((uv_req_t *)&s->lookup);
    if (!s->retrying) /* else on_retry_closed goes on from here */
        uv_close((uv_handle_t *)&s->tcp, on_closed);
}

void uv_env_stream_abandon(struct uv_stream *s)
{
    if (!s->u->destroying)
        s->base.events = NULL;
    start_close(s);
}

void uv_env_stream_close(struct env_stream *base)
{
    struct uv_stream *s = stream_of(base);

    uv_env_check_loop(s->u);
    ASSERT(!s->close_called);
    s->close_called = true;
    start_close(s);
}

/* ---- bad news ---- */

static void run_deferred(struct uv_deferred *d)
{
    struct uv_stream *s = LIST_ENTRY(d, struct uv_stream, deferred);

    ASSERT(!s->closing);
    if (s->open)
        s->base.events->ended(s->base.ctx, s->deferred_rc);
    else
        s->base.events->opened(s->base.ctx, s->deferred_rc);
}

static void read_as_wished(struct uv_stream *s);

/* The transport failed: nothing can be sent, nothing more will be read. true: ended() is due. */
static bool break_off(struct uv_stream *s)
{
    bool tell = !s->ended && !s->finishing && !s->closing;

    s->broken = true;
    s->ended = true;
    read_as_wished(s);
    if (s->finishing)
        start_close(s);
    return tell;
}

static void break_now(struct uv_stream *s)
{
    if (break_off(s))
        s->base.events->ended(s->base.ctx, ERR_RESET);
}

static void break_later(struct uv_stream *s)
{
    if (!break_off(s))
        return;
    s->deferred_rc = ERR_RESET;
    uv_env_defer(s->u, &s->deferred);
}

/* ---- input ---- */

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *out)
{
    struct uv_stream *s = handle->data;

    (void)suggested;
    out->base = (char *)s->u->read_bytes;
    out->len = UV_READ_BYTES;
}

static void on_read(uv_stream_t *handle, ssize_t count, const uv_buf_t *bytes)
{
    struct uv_stream *s = handle->data;

    if (s->closing || count == 0)
        return;
    if (count > 0) {
        if (!s->finishing)
            s->base.events->data(s->base.ctx, slice_of(bytes->base, (size_t)count));
        return;
    }
    if (count != UV_EOF) {
        break_now(s);
        return;
    }
    s->saw_eof = true;
    if (s->finishing) {
        start_close(s);
        return;
    }
    s->ended = true;
    read_as_wished(s);
    s->base.events->ended(s->base.ctx, ERR_EOF);
}

static void read_as_wished(struct uv_stream *s)
{
    bool wish = s->open && s->want_read && !s->ended && !s->finishing && !s->closing;

    if (wish == s->reading)
        return;
    s->reading = wish;
    if (!wish)
        (void)uv_read_stop(transport(s));
    else if (uv_read_start(transport(s), on_alloc, on_read) != 0)
        break_later(s);
}

void uv_env_stream_read_start(struct env_stream *base)
{
    struct uv_stream *s = stream_of(base);

    uv_env_check_loop(s->u);
    s->want_read = true;
    read_as_wished(s);
}

void uv_env_stream_read_stop(struct env_stream *base)
{
    struct uv_stream *s = stream_of(base);

    uv_env_check_loop(s->u);
    s->want_read = false;
    read_as_wished(s);
}

/* ---- output ---- */

size_t uv_env_stream_pending(const struct env_stream *base)
{
    const struct uv_stream *s = stream_of(base);
    size_t sending = s->write_busy ? s->tcp.write_queue_size : 0;

    return sending + buf_len(&s->waiting);
}

static void on_lingered(struct env_timer *t)
{
    start_close(t->ctx);
}

static void on_shutdown(uv_shutdown_t *req, int status)
{
    struct uv_stream *s = req->data;

    if (s->closing)
        return;
    if (status != 0 || s->saw_eof || uv_read_start(transport(s), on_alloc, on_read) != 0)
        start_close(s);
    else
        env_timer_arm(&s->linger, STREAM_LINGER_MS * ENV_MS_NS);
}

static void start_shutdown(struct uv_stream *s)
{
    s->shutdown.data = s;
    if (uv_shutdown(&s->shutdown, transport(s), on_shutdown) != 0)
        start_close(s);
}

static void start_write(struct uv_stream *s);

static void on_written(uv_write_t *req, int status)
{
    struct uv_stream *s = req->data;

    s->write_busy = false;
    if (s->closing)
        return;
    /* A stream that has nothing to send keeps nothing: there may be thousands of them. */
    buf_reset(&s->sending, buf_len(&s->waiting) ? STREAM_KEEP_BYTES : 0);
    if (!buf_len(&s->waiting))
        buf_reset(&s->waiting, 0);
    if (status != 0)
        break_now(s);
    else if (buf_len(&s->waiting))
        start_write(s);
    else if (s->finishing)
        start_shutdown(s);
    else if (!s->broken)
        s->base.events->drained(s->base.ctx);
}

static void start_write(struct uv_stream *s)
{
    struct buf filled = s->waiting;
    struct slice bytes = buf_slice(&filled);
    uv_buf_t piece = {.base = (char *)(uintptr_t)bytes.data, .len = bytes.len};

    ASSERT(!s->write_busy);
    s->waiting = s->sending;
    s->sending = filled;
    s->write.data = s;
    if (uv_write(&s->write, transport(s), &piece, 1, on_written) != 0)
        break_later(s);
    else
        s->write_busy = true;
}

/* Hand the pieces to the kernel as far as it takes them; bytes taken, or UV_E*. */
static ssize_t write_now(struct uv_stream *s, const struct slice *parts, size_t count)
{
    uv_buf_t pieces[STREAM_PARTS_AT_ONCE];
    size_t taken = 0;

    for (size_t at = 0; at < count;) {
        unsigned n = 0;
        size_t offered = 0;
        for (; n < STREAM_PARTS_AT_ONCE && at < count; n++, at++) {
            pieces[n].base = (char *)(uintptr_t)parts[at].data;
            pieces[n].len = parts[at].len;
            offered += parts[at].len;
        }
        if (!offered)
            continue;
        int rc = uv_try_write(transport(s), pieces, n);
        if (rc == UV_EAGAIN)
            break;
        if (rc < 0)
            return rc;
        taken += (size_t)rc;
        if ((size_t)rc < offered)
            break;
    }
    return (ssize_t)taken;
}

/* Keep all but the first `taken` bytes of the pieces. */
static int keep_rest(struct uv_stream *s, const struct slice *parts, size_t count, size_t taken)
{
    int rc = 0;

    for (size_t i = 0; i < count && rc == 0; i++) {
        size_t skip = taken < parts[i].len ? taken : parts[i].len;
        taken -= skip;
        if (parts[i].len > skip)
            rc = buf_append(&s->waiting, parts[i].data + skip, parts[i].len - skip);
    }
    return rc;
}

int uv_env_stream_write(struct env_stream *base, const struct slice *parts, size_t count,
                        size_t pending_max)
{
    struct uv_stream *s = stream_of(base);
    size_t pending = uv_env_stream_pending(base);
    size_t total = 0;
    ssize_t taken = 0;

    uv_env_check_loop(s->u);
    if (!s->open || s->broken || s->finishing || s->closing)
        return ERR_RESET;
    for (size_t i = 0; i < count; i++)
        total += parts[i].len;
    if (pending > pending_max || total > pending_max - pending)
        return ERR_FULL;
    if (!s->write_busy)
        taken = write_now(s, parts, count);
    if (taken >= 0 && (size_t)taken == total)
        return 0;
    if (taken < 0 || keep_rest(s, parts, count, (size_t)taken) != 0) {
        break_later(s);
        return ERR_RESET;
    }
    if (!s->write_busy)
        start_write(s);
    return s->broken ? ERR_RESET : 0;
}

void uv_env_stream_finish(struct env_stream *base)
{
    struct uv_stream *s = stream_of(base);

    uv_env_check_loop(s->u);
    ASSERT(!s->finishing);
    ASSERT(!s->close_called);
    s->finishing = true;
    list_remove(&s->deferred.link);
    read_as_wished(s);
    if (!s->open || s->broken)
        start_close(s);
    else if (!s->write_busy)
        start_shutdown(s);
}

/* ---- beginning ---- */

const char *uv_env_stream_peer(const struct env_stream *base)
{
    return stream_of(base)->peer;
}

struct uv_stream *uv_env_stream_new(struct uv_env *u)
{
    struct uv_stream *s = mem_zalloc(sizeof(*s));

    if (!s)
        return NULL;
    s->base.env = &u->base;
    s->u = u;
    s->peer[0] = '?';
    s->deferred.run = run_deferred;
    list_init(&s->deferred.link);
    env_timer_init(&s->linger, &u->base, on_lingered, s);
    buf_init(&s->sending, SIZE_MAX / 4); /* the real bound is each write's pending_max */
    buf_init(&s->waiting, SIZE_MAX / 4);
    (void)uv_tcp_init(&u->loop, &s->tcp);
    s->tcp.data = s;
    list_push_back(&u->streams, &s->link);
    return s;
}

static void set_open(struct uv_stream *s)
{
    struct sockaddr_storage sa;
    int len = sizeof(sa);

    s->open = true;
    (void)uv_tcp_nodelay(&s->tcp, 1);
    if (uv_tcp_getpeername(&s->tcp, (struct sockaddr *)&sa, &len) == 0)
        uv_env_addr_text((struct sockaddr *)&sa, s->peer);
}

void uv_env_stream_accepted(struct uv_stream *s)
{
    set_open(s);
}

static void try_next(struct uv_stream *s, int last_rc);

static void on_connect(uv_connect_t *req, int status)
{
    struct uv_stream *s = req->data;

    if (s->closing || s->retrying)
        return;
    if (status != 0) {
        try_next(s, status);
        return;
    }
    set_open(s);
    s->base.events->opened(s->base.ctx, 0);
    read_as_wished(s);
}

static void connect_to(struct uv_stream *s, const struct sockaddr *sa)
{
    s->connect.data = s;
    int rc = uv_tcp_connect(&s->connect, &s->tcp, sa, on_connect);
    if (rc != 0)
        try_next(s, rc);
}

/* A socket that failed to connect cannot be used again: the next address needs a new one. */
static void on_retry_closed(uv_handle_t *handle)
{
    struct uv_stream *s = handle->data;
    struct addrinfo *to = s->next_try;

    s->retrying = false;
    if (s->closing) {
        gone(s);
        return;
    }
    (void)uv_tcp_init(&s->u->loop, &s->tcp);
    s->tcp.data = s;
    s->next_try = to->ai_next;
    connect_to(s, to->ai_addr);
}

static void try_next(struct uv_stream *s, int last_rc)
{
    if (s->next_try) {
        s->retrying = true;
        uv_close((uv_handle_t *)&s->tcp, on_retry_closed);
        return;
    }
    s->deferred_rc = uv_env_connect_error(last_rc);
    uv_env_defer(s->u, &s->deferred);
}

static void on_found(uv_getaddrinfo_t *req, int status, struct addrinfo *found)
{
    struct uv_stream *s = req->data;

    s->lookup_busy = false;
    s->found = found;
    if (s->closing) {
        if (!s->base.events) /* closed() was told; only the memory waited for us */
            release(s);
        return;
    }
    if (status != 0 || !found) {
        try_next(s, status ? status : UV_EAI_NONAME);
        return;
    }
    s->next_try = found->ai_next;
    connect_to(s, found->ai_addr);
}

static int start_lookup(struct uv_stream *s, const struct uv_host_port *to)
{
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};

    s->lookup.data = s;
    int rc = uv_getaddrinfo(&s->u->loop, &s->lookup, on_found, to->host, to->port, &hints);
    if (rc == UV_ENOMEM)
        return ERR_NOMEM;
    if (rc != 0)
        return ERR_INVALID; /* a name that cannot even be asked for */
    s->lookup_busy = true;
    return 0;
}

int uv_env_stream_connect(struct env *e, const char *addr, const struct env_stream_events *events,
                          void *ctx, struct env_stream **out)
{
    struct uv_env *u = uv_env_of(e);
    struct sockaddr_storage sa;
    struct uv_host_port to;
    int rc = 0;

    uv_env_check_loop(u);
    if (uv_env_addr_split(addr, &to) != 0 || to.host[0] == '\0')
        return ERR_INVALID;
    struct uv_stream *s = uv_env_stream_new(u);
    if (!s)
        return ERR_NOMEM;
    s->base.events = events;
    s->base.ctx = ctx;
    if (uv_env_addr_numeric(&to, &sa))
        connect_to(s, (struct sockaddr *)&sa);
    else
        rc = start_lookup(s, &to);
    if (rc != 0) {
        uv_env_stream_abandon(s);
        return rc;
    }
    *out = &s->base;
    return 0;
}
