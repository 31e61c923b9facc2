/* api_resolve — client side: from the HTTP address of a node to its Raft address (daemon.md P-1). One
 * request, one answer; any status will do, the header is what counts. Called by the daemon's joining. */
#include "api_int.h"

enum { ADDR_TEXT_MAX = 512, RESOLVE_BODY_MAX = 1024 * 1024 };

struct api_resolve {
    struct env *env;
    struct env_stream *stream;
    struct http_conn_parser *parser;
    struct env_timer timer;
    char addr[ADDR_TEXT_MAX];
    bool told;
    void (*done)(void *ctx, int rc, const char *raft_addr, const char *why);
    void *ctx;
};

static void resolve_free(struct api_resolve *v)
{
    env_timer_disarm(&v->timer);
    http_parser_destroy(v->parser);
    mem_free(v);
}

/* Tell, once; the stream's closed() frees. */
static void resolve_end(struct api_resolve *v, int rc, const char *raft_addr, const char *why)
{
    if (v->told)
        return;
    v->told = true;
    env_timer_disarm(&v->timer);
    v->done(v->ctx, rc, raft_addr, why ? why : err_text_of(rc));
    env_stream_close(v->stream);
}

static void resolve_message(struct api_resolve *v, const struct http_message *m)
{
    const struct http_header *h = http_header_find(m, "X-RQLITE-RAFT-ADDR");
    char addr[WIRE_ADDR_MAX + 1];
    if (!h || h->value.len == 0 || h->value.len > WIRE_ADDR_MAX) {
        resolve_end(v, ERR_PROTOCOL, NULL, "the answer does not name a Raft address");
        return;
    }
    memcpy(addr, h->value.data, h->value.len);
    addr[h->value.len] = '\0';
    resolve_end(v, 0, addr, NULL);
}

static void resolve_opened(void *ctx, int rc)
{
    struct api_resolve *v = ctx;
    struct err_text why;
    struct buf out;
    if (rc != 0) {
        err_set(&why, rc, "dial tcp %s: connect: %s", v->addr, err_text_of(rc));
        resolve_end(v, rc, NULL, why.text);
        return;
    }
    buf_init(&out, 4096);
    http_put_request(&out, "GET", slice_str("/readyz?noleader"), v->addr);
    http_put_header(&out, "Connection", slice_str("close"));
    http_put_end(&out);
    const struct slice bytes = buf_slice(&out);
    rc = out.failed ? out.failed : env_stream_write(v->stream, &bytes, 1, 4096);
    buf_fini(&out);
    if (rc != 0)
        resolve_end(v, rc, NULL, NULL);
    else
        env_stream_read_start(v->stream);
}

static void resolve_data(void *ctx, struct slice bytes)
{
    struct api_resolve *v = ctx;
    const struct http_message *message = NULL;
    struct http_refusal refusal = {0};
    size_t used = 0;
    if (v->told)
        return;
    switch (http_parser_feed(v->parser, bytes, &used, &message, &refusal)) {
    case HTTP_MESSAGE:
        resolve_message(v, message);
        break;
    case HTTP_BAD:
        resolve_end(v, ERR_PROTOCOL, NULL, "the answer is not HTTP");
        break;
    case HTTP_NEED_MORE:
    case HTTP_HEADERS_DONE:
    case HTTP_BODY:
        break;
    }
}

static void resolve_ended(void *ctx, int rc)
{
    struct api_resolve *v = ctx;
    const struct http_message *message = NULL;
    if (!v->told && rc == ERR_EOF && http_parser_eof(v->parser, &message) == HTTP_MESSAGE)
        resolve_message(v, message);
    else
        resolve_end(v, rc, NULL, NULL);
}

static void resolve_drained(void *ctx)
{
    (void)ctx;
}

static void resolve_closed(void *ctx)
{
    resolve_free(ctx);
}

static const struct env_stream_events resolve_events = {
    .opened = resolve_opened,
    .data = resolve_data,
    .ended = resolve_ended,
    .drained = resolve_drained,
    .closed = resolve_closed,
};

static void resolve_late(struct env_timer *t)
{
    resolve_end(t->ctx, ERR_TIMEOUT, NULL, "i/o timeout");
}

static bool text_begins(const char *text, const char *prefix)
{
    for (; *prefix != '\0'; text++, prefix++)
        if ((*text >= 'A' && *text <= 'Z' ? *text + ('a' - 'A') : *text) != *prefix)
            return false;
    return true;
}

/* http[s]://[user[:pw]@]host[:port][/…] to host:port (default 4001). 0, ERR_INVALID. */
static int url_to_addr(const char *url, char *addr, size_t cap)
{
    const char *rest = strstr(url, "://");
    ASSERT(rest != NULL);
    url = rest + 3;
    size_t len = strcspn(url, "/?#");
    for (size_t i = len; i > 0; i--) {
        if (url[i - 1] == '@') {
            url += i;
            len -= i;
            break;
        }
    }
    struct slice host, port;
    const struct slice given = slice_of(url, len);
    const bool has_port = http_host_port_split(given, &host, &port) == 0;
    if (len == 0 || len + sizeof ":4001" > cap || (has_port && host.len == 0))
        return ERR_INVALID;
    memcpy(addr, url, len);
    memcpy(addr + len, has_port ? "" : ":4001", has_port ? 1 : sizeof ":4001");
    return http_host_port_split(slice_str(addr), &host, &port);
}

/* What the URL's scheme connects through: 0, ERR_INVALID, ERR_NOT_SUPPORTED. */
static int url_net(struct env *e, const struct api_resolve_ask *ask, struct env **net)
{
    *net = e;
    if (text_begins(ask->url, "http://"))
        return 0;
    if (!text_begins(ask->url, "https://"))
        return ERR_INVALID;
    *net = ask->https;
    return ask->https ? 0 : ERR_NOT_SUPPORTED;
}

int api_resolve_start(struct env *e, const struct api_resolve_ask *ask,
                      void (*done)(void *ctx, int rc, const char *raft_addr, const char *why),
                      void *ctx, struct api_resolve **out)
{
    static const struct http_parser_limits limits = {.header_bytes_max = LIMIT_HTTP_HEADER_BYTES,
                                                     .body_bytes_max = RESOLVE_BODY_MAX};
    struct env *net = NULL;
    ASSERT(ask->url != NULL && done != NULL);
    struct api_resolve *v = mem_zalloc(sizeof *v);
    if (!v)
        return ERR_NOMEM;
    v->env = e;
    v->done = done;
    v->ctx = ctx;
    env_timer_init(&v->timer, e, resolve_late, v);
    int rc = url_net(e, ask, &net);
    if (rc == 0)
        rc = url_to_addr(ask->url, v->addr, sizeof v->addr);
    if (rc == 0)
        rc = http_parser_create(HTTP_CLIENT, &limits, &v->parser);
    if (rc == 0)
        rc = env_stream_connect(net, v->addr, &resolve_events, v, &v->stream);
    if (rc != 0) {
        if (v->parser)
            http_parser_destroy(v->parser);
        mem_free(v);
        return rc;
    }
    env_timer_arm(&v->timer, ask->timeout_ms * ENV_MS_NS);
    *out = v;
    return 0;
}

void api_resolve_cancel(struct api_resolve *v)
{
    ASSERT(!v->told);
    v->told = true;
    env_timer_disarm(&v->timer);
    env_stream_close(v->stream);
}
