/* listen.c — accepting connections. */
#include "env_uv_int.h"
#include <netdb.h>
#include <stdio.h>

enum { LISTEN_BACKLOG = 511, LISTEN_RETRY_MS = 100 };

struct uv_listener {
    struct env_listener base;
    struct uv_env *u;
    struct list link;
    uv_tcp_t tcp;
    void (*accepted)(void *ctx, struct env_stream *s);
    void *ctx;
    struct env_timer retry; /* memory was short: try again soon */
    bool closing;
    char addr[UV_ADDR_TEXT_BYTES];
};

static struct uv_listener *listener_of(const struct env_listener *l)
{
    return (struct uv_listener *)(uintptr_t)l;
}

/* libuv holds further connections back until this one was accepted. */
static void accept_one(struct uv_listener *l)
{
    struct uv_stream *s = uv_env_stream_new(l->u);

    if (!s) {
        env_timer_arm(&l->retry, LISTEN_RETRY_MS * ENV_MS_NS);
        return;
    }
    if (uv_accept((uv_stream_t *)&l->tcp, (uv_stream_t *)&s->tcp) != 0) {
        uv_env_stream_abandon(s);
        return;
    }
    uv_env_stream_accepted(s);
    l->accepted(l->ctx, &s->base);
    ASSERT(s->base.events != NULL);
}

static void on_connection(uv_stream_t *server, int status)
{
    struct uv_listener *l = server->data;

    if (status == 0 && !l->closing)
        accept_one(l);
}

static void on_retry(struct env_timer *t)
{
    accept_one(t->ctx);
}

static void on_listener_closed(uv_handle_t *handle)
{
    mem_free(handle->data);
}

void uv_env_listener_close(struct env_listener *base)
{
    struct uv_listener *l = listener_of(base);

    uv_env_check_loop(l->u);
    ASSERT(!l->closing);
    l->closing = true;
    env_timer_disarm(&l->retry);
    list_remove(&l->link);
    uv_close((uv_handle_t *)&l->tcp, on_listener_closed);
}

void uv_env_listeners_close(struct uv_env *u)
{
    while (!list_empty(&u->listeners)) {
        struct uv_listener *l = LIST_ENTRY(u->listeners.next, struct uv_listener, link);
        uv_env_listener_close(&l->base);
    }
}

const char *uv_env_listener_addr(const struct env_listener *base)
{
    return listener_of(base)->addr;
}

/* Bind and listen. 0 and *out, or UV_E* and nothing. */
static int listen_at(struct uv_env *u, const struct sockaddr *sa, struct uv_listener **out)
{
    struct sockaddr_storage bound;
    int len = sizeof(bound);

    struct uv_listener *l = mem_zalloc(sizeof(*l));
    if (!l)
        return UV_ENOMEM;
    l->base.env = &u->base;
    l->u = u;
    list_push_back(&u->listeners, &l->link);
    env_timer_init(&l->retry, &u->base, on_retry, l);
    (void)uv_tcp_init(&u->loop, &l->tcp);
    l->tcp.data = l;
    int rc = uv_tcp_bind(&l->tcp, sa, 0);
    if (rc == 0)
        rc = uv_listen((uv_stream_t *)&l->tcp, LISTEN_BACKLOG, on_connection);
    if (rc == 0)
        rc = uv_tcp_getsockname(&l->tcp, (struct sockaddr *)&bound, &len);
    if (rc != 0) {
        uv_env_listener_close(&l->base);
        return rc;
    }
    uv_env_addr_text((struct sockaddr *)&bound, l->addr);
    *out = l;
    return 0;
}

/* "::" takes IPv4 too on a dual-stack host; where there is no IPv6, IPv4 alone. */
static int listen_everywhere(struct uv_env *u, const struct uv_host_port *at,
                             struct uv_listener **out)
{
    static const char *const hosts[] = {"::", "0.0.0.0"};
    struct uv_host_port any = *at;
    struct sockaddr_storage sa;
    int rc = UV_EINVAL;

    for (size_t i = 0; i < 2; i++) {
        (void)snprintf(any.host, sizeof(any.host), "%s", hosts[i]);
        rc = uv_env_addr_numeric(&any, &sa) ? listen_at(u, (struct sockaddr *)&sa, out) : UV_EINVAL;
        if (rc != UV_EAFNOSUPPORT && rc != UV_EADDRNOTAVAIL && rc != UV_EINVAL)
            break;
    }
    return rc;
}

/* The first IPv4 address of the name, else the first of any kind, as Go's net package chooses. */
static const struct addrinfo *preferred(const struct addrinfo *found)
{
    for (const struct addrinfo *a = found; a; a = a->ai_next)
        if (a->ai_family == AF_INET)
            return a;
    return found;
}

static int listen_by_name(struct uv_env *u, const struct uv_host_port *at, struct uv_listener **out)
{
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    uv_getaddrinfo_t lookup;

    int rc = uv_getaddrinfo(&u->loop, &lookup, NULL, at->host, at->port, &hints);
    if (rc != 0)
        return rc;
    rc = listen_at(u, preferred(lookup.addrinfo)->ai_addr, out);
    uv_freeaddrinfo(lookup.addrinfo);
    return rc;
}

static bool is_name_error(int rc)
{
    return rc <= UV_EAI_ADDRFAMILY && rc >= UV_EAI_PROTOCOL;
}

static int explain(struct err_text *why, const char *bind_addr, const struct uv_host_port *at,
                   int rc)
{
    char words[128];

    if (is_name_error(rc))
        return err_set(why, ERR_ADDRESS, "listen tcp: lookup %s: no such host", at->host);
    if (strerror_r(-rc, words, sizeof(words)) != 0)
        (void)snprintf(words, sizeof(words), "error %d", -rc);
    if (words[0] >= 'A' && words[0] <= 'Z')
        words[0] = (char)(words[0] - 'A' + 'a');
    return err_set(why, ERR_ADDRESS, "listen tcp %s: bind: %s", bind_addr, words);
}

int uv_env_listen(struct env *e, const char *bind_addr,
                  void (*accepted)(void *, struct env_stream *), void *ctx,
                  struct env_listener **out, struct err_text *why)
{
    struct uv_env *u = uv_env_of(e);
    struct sockaddr_storage sa;
    struct uv_listener *l = NULL;
    struct uv_host_port at;
    int rc;

    uv_env_check_loop(u);
    if (uv_env_addr_split(bind_addr, &at) != 0)
        return err_set(why, ERR_ADDRESS, "listen tcp: address %s: not of the form host:port",
                       bind_addr);
    if (at.host[0] == '\0')
        rc = listen_everywhere(u, &at, &l);
    else if (uv_env_addr_numeric(&at, &sa))
        rc = listen_at(u, (struct sockaddr *)&sa, &l);
    else
        rc = listen_by_name(u, &at, &l);
    if (rc != 0)
        return explain(why, bind_addr, &at, rc);
    l->accepted = accepted;
    l->ctx = ctx;
    *out = &l->base;
    return 0;
}
