/* tls_stream — one connection.
 *
 *   connect ─► CONNECTING ─┐
 *   accept ────────────────┴─► WAITING? ─► HANDSHAKE ─► OPEN ─► [finish: alert, FIN] ─► closed
 *                                              └─► BROKEN ◄─┘    alert, FIN, ended or opened(rc) ─► closed
 *
 * Records received lie in `in`; they are decrypted only while the owner wants to read, and the stream below
 * reads only then: no more than one of its pieces and one record wait here. */
#include "tls_int.h"

#include <openssl/err.h>
#include <stdio.h>

enum { BROKEN_MS = 2 * 1000, LOG_EVERY_MS = 1000, PLAIN_MAX = 1 << 30 };

static const char http_answer[] = "HTTP/1.0 400 Bad Request\r\n\r\n"
                                  "Client sent an HTTP request to an HTTPS server.\n";

static struct tls_stream *stream_of(const struct env_stream *base)
{
    return (struct tls_stream *)(uintptr_t)base;
}

static void reading_set(struct tls_stream *s)
{
    const bool open = s->state == TLS_OPEN && s->want_read && !s->ended && !s->finishing;
    const bool want = (open || s->state == TLS_HANDSHAKE) && !s->closing;
    if (want == s->reading)
        return;
    s->reading = want;
    if (want)
        env_stream_read_start(s->under);
    else
        env_stream_read_stop(s->under);
}

/* Let go of the stream below, once. */
static void under_close(struct tls_stream *s)
{
    if (s->under_closing || !s->under)
        return;
    s->under_closing = true;
    env_timer_disarm(&s->timer);
    env_stream_close(s->under);
}

/* Let its last bytes leave, but not for ever. */
static void under_finish(struct tls_stream *s, uint64_t limit_ms)
{
    if (s->under_finishing || s->under_closing || !s->under)
        return;
    s->under_finishing = true;
    env_stream_finish(s->under);
    env_timer_arm(&s->timer, limit_ms * ENV_MS_NS);
}

/* ---- bad news ---------------------------------------------------------------------------------------- */

static void failure_log(struct tls_stream *s, const char *words)
{
    struct tls *t = s->t;
    const uint64_t now = env_now_ns(t->env);
    if (now < t->log_after_ns) {
        t->log_skipped++;
        return;
    }
    t->log_after_ns = now + LOG_EVERY_MS * ENV_MS_NS;
    env_log(t->env, t->component, "TLS with %s failed: %s", env_stream_peer(s->under), words);
    if (t->log_skipped > 0)
        env_log(t->env, t->component, "%u more failed before it", (unsigned)t->log_skipped);
    t->log_skipped = 0;
}

/* The owner hears of it, once. What waits to be sent below (an alert) may still leave. */
static void stream_break(struct tls_stream *s, int rc)
{
    if (s->state == TLS_BROKEN || s->closing)
        return;
    s->state = TLS_BROKEN;
    env_timer_disarm(&s->timer);
    reading_set(s);
    under_finish(s, BROKEN_MS);
    if (s->finishing)
        return;
    if (s->client && !s->told_opened) {
        s->told_opened = true;
        s->base.events->opened(s->base.ctx, rc);
    } else if (!s->ended) {
        s->ended = true;
        s->base.events->ended(s->base.ctx, rc);
    }
}

static int handshake_rc(const struct tls_stream *s)
{
    return s->client && SSL_get_verify_result(s->ssl) != X509_V_OK ? ERR_IDENTITY : ERR_PROTOCOL;
}

static void handshake_failed(struct tls_stream *s)
{
    struct err_text words;
    const long verdict = SSL_get_verify_result(s->ssl);
    const char *reason = tls_reason();
    if (verdict == X509_V_ERR_APPLICATION_VERIFICATION)
        err_set(&words, 0, "client did not provide any valid certificate that matches CN \"%s\"",
                s->t->rules.common_name);
    else if (verdict != X509_V_OK)
        err_set(&words, 0, "%s", X509_verify_cert_error_string(verdict));
    else
        err_set(&words, 0, "%s", reason);
    failure_log(s, words.text);
    (void)tls_output_flush(s); /* our alert */
    stream_break(s, handshake_rc(s));
}

static void stream_late(struct env_timer *timer)
{
    struct tls_stream *s = timer->ctx;
    if (s->under_finishing) { /* the last bytes do not leave */
        under_close(s);
        return;
    }
    failure_log(s, "it took too long");
    stream_break(s, ERR_TIMEOUT);
}

/* ---- output -------------------------------------------------------------------------------------------- */

size_t tls_stream_pending(const struct env_stream *base)
{
    const struct tls_stream *s = stream_of(base);
    const bool stands = s->under && s->state != TLS_CONNECTING;
    const size_t below = stands ? env_stream_pending(s->under) : 0;
    return below + buf_len(&s->plain);
}

static void output_go_on(struct tls_stream *s)
{
    if (tls_output_pump(s) != 0) {
        stream_break(s, ERR_RESET);
        return;
    }
    if (s->behind && !s->finishing && tls_stream_pending(&s->base) == 0) {
        s->behind = false;
        s->base.events->drained(s->base.ctx);
    }
}

/* ---- input --------------------------------------------------------------------------------------------- */

/* SSL_read has nothing more to give: why not? */
static void input_pause(struct tls_stream *s, int result)
{
    const int error = SSL_get_error(s->ssl, result);
    if (error == SSL_ERROR_WANT_READ)
        return;
    if (error == SSL_ERROR_ZERO_RETURN) {
        s->ended = true;
        reading_set(s);
        s->base.events->ended(s->base.ctx, ERR_EOF);
        return;
    }
    failure_log(s, tls_reason()); /* to a client of TLS 1.3 also: its certificate was refused */
    (void)tls_output_flush(s);
    stream_break(s, ERR_RESET);
}

static void input_deliver(struct tls_stream *s)
{
    while (s->state == TLS_OPEN && s->want_read && !s->ended && !s->finishing && !s->closing) {
        size_t got = 0;
        ERR_clear_error();
        const int result = SSL_read_ex(s->ssl, s->t->bytes, sizeof s->t->bytes, &got);
        if (result != 1) {
            input_pause(s, result);
            break;
        }
        s->base.events->data(s->base.ctx, slice_of(s->t->bytes, got));
    }
    if (s->state == TLS_OPEN && !s->under_finishing && !s->closing && tls_output_flush(s) != 0)
        stream_break(s, ERR_RESET); /* an answer to a key update */
}

static void handshake_over(struct tls_stream *s)
{
    s->state = TLS_OPEN;
    env_timer_disarm(&s->timer);
    if (s->client) {
        s->told_opened = true;
        s->base.events->opened(s->base.ctx, 0);
    }
    if (s->closing)
        return;
    reading_set(s);
    output_go_on(s); /* what the owner wrote without waiting */
}

static void handshake_step(struct tls_stream *s)
{
    ERR_clear_error();
    const int result = SSL_do_handshake(s->ssl);
    const int error = result == 1 ? SSL_ERROR_NONE : SSL_get_error(s->ssl, result);
    if (error != SSL_ERROR_NONE && error != SSL_ERROR_WANT_READ) {
        handshake_failed(s);
        return;
    }
    if (tls_output_flush(s) != 0)
        stream_break(s, ERR_RESET);
    else if (error == SSL_ERROR_NONE)
        handshake_over(s);
}

static void stream_go_on(struct tls_stream *s)
{
    if (s->state == TLS_HANDSHAKE)
        handshake_step(s);
    if (s->state == TLS_OPEN)
        input_deliver(s);
}

/* A TLS client begins with a record of type 22; no method of HTTP does. */
static bool speaks_http(struct tls_stream *s, struct slice bytes)
{
    const bool first = !s->sniffed;
    s->sniffed = true;
    return first && !s->client && s->t->rules.http && bytes.data[0] >= 'A' && bytes.data[0] <= 'Z';
}

static void under_data(void *ctx, struct slice bytes)
{
    struct tls_stream *s = ctx;
    if (s->closing || s->state == TLS_BROKEN)
        return;
    if (speaks_http(s, bytes)) {
        const struct slice answer = slice_str(http_answer);
        const int rc = env_stream_write(s->under, &answer, 1, sizeof http_answer);
        stream_break(s, rc == 0 ? ERR_PROTOCOL : rc);
        return;
    }
    size_t taken = 0;
    if (BIO_write_ex(s->in, bytes.data, bytes.len, &taken) != 1 || taken != bytes.len) {
        (void)tls_reason();
        stream_break(s, ERR_NOMEM);
        return;
    }
    stream_go_on(s);
}

/* The end without a closing alert may be somebody's cut: never a clean end. */
static void under_ended(void *ctx, int rc)
{
    struct tls_stream *s = ctx;
    if (s->state == TLS_HANDSHAKE && rc == ERR_EOF)
        failure_log(s, "the connection ended");
    if (s->state != TLS_OPEN || !s->ended || rc != ERR_EOF)
        stream_break(s, rc == ERR_EOF ? ERR_RESET : rc);
}

static void under_drained(void *ctx)
{
    struct tls_stream *s = ctx;
    if (s->state == TLS_OPEN && !s->closing)
        output_go_on(s);
}

/* ---- beginning and end ----------------------------------------------------------------------------------- */

static void stream_free(struct tls_stream *s)
{
    env_turn_cancel(&s->turn);
    env_timer_disarm(&s->timer);
    list_remove(&s->waiter.link);
    SSL_free(s->ssl); /* and its BIOs */
    buf_fini(&s->plain);
    s->t->stream_count--;
    s->t->idle(s->t);
    mem_free(s);
}

static void stream_gone(struct tls_stream *s)
{
    const struct env_stream_events *events = s->base.events;
    void *owner = s->base.ctx;
    ASSERT(!s->under && (s->closing || s->finishing));
    stream_free(s);
    events->closed(owner);
}

static void under_closed(void *ctx)
{
    struct tls_stream *s = ctx;
    s->under = NULL;
    env_timer_disarm(&s->timer);
    if (s->closing || s->finishing)
        stream_gone(s); /* else when the owner lets go: it still holds us */
}

/* Whom the certificate must name, and SNI (which knows no addresses: RFC 6066 §3). */
static int client_names(struct tls_stream *s)
{
    const struct tls_rules *rules = &s->t->rules;
    const char *name = rules->server_name ? rules->server_name : s->host;
    X509_VERIFY_PARAM *param = SSL_get0_param(s->ssl);
    if (X509_VERIFY_PARAM_set1_ip_asc(param, name) == 1)
        return 0;
    ERR_clear_error();
    return SSL_set_tlsext_host_name(s->ssl, name) == 1 && SSL_set1_host(s->ssl, name) == 1
               ? 0
               : ERR_NOMEM;
}

static int ssl_make(struct tls_stream *s)
{
    SSL_CTX *ctx = s->client ? s->t->contexts.client : s->t->contexts.server;
    s->ssl = SSL_new(ctx);
    if (!s->ssl)
        return ERR_NOMEM;
    BIO *in = BIO_new(BIO_s_mem()), *out = BIO_new(BIO_s_mem());
    if (!in || !out) {
        BIO_free(in);
        BIO_free(out);
        return ERR_NOMEM;
    }
    s->in = in;
    s->out = out;
    SSL_set_bio(s->ssl, in, out);
    SSL_set_app_data(s->ssl, s);
    if (!s->client) {
        SSL_set_accept_state(s->ssl);
        return 0;
    }
    SSL_set_connect_state(s->ssl);
    return client_names(s);
}

static void handshake_begin(struct tls_stream *s)
{
    ASSERT(s->ssl == NULL);
    s->state = TLS_HANDSHAKE;
    const int rc = ssl_make(s);
    if (rc != 0) {
        (void)tls_reason();
        stream_break(s, rc);
        return;
    }
    reading_set(s);
    if (s->client)
        stream_go_on(s);
}

static void waiter_ready(struct tls_waiter *w)
{
    handshake_begin(LIST_ENTRY(w, struct tls_stream, waiter));
}

/* The connection stands. */
static void stream_begin(struct tls_stream *s)
{
    s->state = TLS_WAITING;
    env_timer_arm(&s->timer, LIMIT_TLS_HANDSHAKE_MS * ENV_MS_NS);
    if (!tls_reload_wait(s->t, &s->waiter))
        handshake_begin(s);
}

static void under_opened(void *ctx, int rc)
{
    struct tls_stream *s = ctx;
    if (rc == 0) {
        stream_begin(s);
        return;
    }
    s->told_opened = true;
    s->state = TLS_BROKEN;
    s->base.events->opened(s->base.ctx, rc);
}

static const struct env_stream_events under_events = {
    .opened = under_opened,
    .data = under_data,
    .ended = under_ended,
    .drained = under_drained,
    .closed = under_closed,
};

static void turn_run(struct env_turn *turn)
{
    struct tls_stream *s = turn->ctx;
    if (!s->under)
        stream_gone(s);
    else if (s->state == TLS_OPEN && !s->closing)
        input_deliver(s);
}

static struct tls_stream *stream_new(struct tls *t, bool client)
{
    struct tls_stream *s = mem_zalloc(sizeof *s);
    if (!s)
        return NULL;
    s->base.env = &t->net;
    s->t = t;
    s->client = client;
    buf_init(&s->plain, PLAIN_MAX);
    env_turn_init(&s->turn, t->env, turn_run, s);
    env_timer_init(&s->timer, t->env, stream_late, s);
    list_init(&s->waiter.link);
    s->waiter.ready = waiter_ready;
    t->stream_count++;
    return s;
}

/* No memory for a connection that came in. */
static void nobody_data(void *ctx, struct slice bytes)
{
    (void)ctx;
    (void)bytes;
}
static void nobody_ended(void *ctx, int rc)
{
    (void)ctx;
    (void)rc;
}
static void nobody_event(void *ctx)
{
    (void)ctx;
}
static const struct env_stream_events nobodys_events = {
    .data = nobody_data, .ended = nobody_ended, .drained = nobody_event, .closed = nobody_event};

void tls_stream_accept(struct tls *t, struct env_stream *under,
                       void (*accepted)(void *ctx, struct env_stream *s), void *ctx)
{
    struct tls_stream *s = stream_new(t, false);
    if (!s) {
        env_stream_attach(under, &nobodys_events, NULL);
        env_stream_close(under);
        return;
    }
    s->under = under;
    s->state = TLS_WAITING;
    env_stream_attach(under, &under_events, s);
    accepted(ctx, &s->base);
    ASSERT(s->base.events != NULL);
    const bool parting = s->finishing && buf_len(&s->plain) == 0;
    if (!s->closing && !parting)
        stream_begin(s);
}

/* "host:port", "[::1]:port" */
static void host_copy(char *dst, size_t cap, const char *addr)
{
    const char *end = strrchr(addr, ':');
    size_t len = end ? (size_t)(end - addr) : strlen(addr);
    if (len >= 2 && addr[0] == '[' && addr[len - 1] == ']') {
        addr++;
        len -= 2;
    }
    if (len >= cap)
        len = cap - 1;
    memcpy(dst, addr, len);
    dst[len] = '\0';
}

int tls_stream_connect(struct env *net, const char *addr, const struct env_stream_events *events,
                       void *ctx, struct env_stream **out)
{
    struct tls *t = tls_of(net);
    struct tls_stream *s = stream_new(t, true);
    if (!s)
        return ERR_NOMEM;
    s->base.events = events;
    s->base.ctx = ctx;
    host_copy(s->host, sizeof s->host, addr);
    const int rc = env_stream_connect(t->env, addr, &under_events, s, &s->under);
    if (rc != 0) {
        stream_free(s);
        return rc;
    }
    *out = &s->base;
    return 0;
}

void tls_stream_read_start(struct env_stream *base)
{
    struct tls_stream *s = stream_of(base);
    s->want_read = true;
    if (s->state != TLS_OPEN)
        return;
    reading_set(s);
    if (SSL_has_pending(s->ssl) || BIO_pending(s->in) > 0)
        env_turn_schedule(&s->turn); /* callbacks never run inside of a call */
}

void tls_stream_read_stop(struct env_stream *base)
{
    struct tls_stream *s = stream_of(base);
    s->want_read = false;
    reading_set(s);
}

const char *tls_stream_peer(const struct env_stream *base)
{
    const struct tls_stream *s = stream_of(base);
    return s->under ? env_stream_peer(s->under) : "?";
}

/* The owner lets go; what is below may be gone already. */
static void owner_gone(struct tls_stream *s)
{
    env_turn_cancel(&s->turn);
    list_remove(&s->waiter.link);
    if (!s->under)
        env_turn_schedule(&s->turn);
}

void tls_stream_finish(struct env_stream *base)
{
    struct tls_stream *s = stream_of(base);
    const bool early = s->state == TLS_WAITING || s->state == TLS_HANDSHAKE;
    ASSERT(!s->finishing && !s->closing);
    s->finishing = true;
    if (early && buf_len(&s->plain) > 0)
        return; /* what was written leaves after the handshake, which has its time */
    owner_gone(s);
    if (!s->under)
        return;
    reading_set(s);
    if (s->state == TLS_OPEN && tls_output_pump(s) == 0)
        return; /* goes on when what waits has left */
    s->state = TLS_BROKEN;
    under_finish(s, BROKEN_MS);
}

void tls_stream_close(struct env_stream *base)
{
    struct tls_stream *s = stream_of(base);
    /* A broken connection's alert is on its way; its timer ends that. */
    const bool last_words = s->state == TLS_BROKEN && s->under_finishing && !s->finishing;
    ASSERT(!s->closing);
    s->closing = true;
    if (!s->finishing)
        owner_gone(s);
    if (!last_words)
        under_close(s);
}
