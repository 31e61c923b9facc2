/* tls_int — the room's inside. Private to src/tls. Files call downwards only:
 *
 *      tls.c            life; the environment that is offered; listeners
 *      tls_stream.c     one connection
 *      tls_output.c     from the owner's bytes to records, no faster than they leave
 *      tls_reload.c     certificates that change on disk              (lane READ)
 *      tls_context.c    from PEM to OpenSSL's contexts; who is accepted */
#ifndef RQ_TLS_INT_H
#define RQ_TLS_INT_H

#include <openssl/ssl.h>
#include <rq/env_impl.h>
#include <rq/limits.h>
#include <rq/tls.h>
#include <rq/util/assert.h>
#include <rq/util/buf.h>
#include <rq/util/list.h>
#include <rq/util/mem.h>

/* ---- contexts (tls_context.c) ----------------------------------------------------------------- */

struct tls_rules { /* what does not change while the process lives */
    struct slice ca;
    bool verify_client, no_verify, http;
    const char *common_name, *server_name; /* NULL: none */
};
struct tls_contexts {
    SSL_CTX *server; /* NULL: no certificate */
    SSL_CTX *client;
};
/* cert.len 0: no certificate. Any thread. 0, ERR_INVALID or ERR_NOMEM with words. */
int tls_contexts_make(const struct tls_rules *rules, struct slice cert, struct slice key,
                      struct tls_contexts *out, struct err_text *why) MUST_USE;
void tls_contexts_free(struct tls_contexts *c);
/* OpenSSL's own words for what failed last on this thread; its queue of errors is emptied. */
const char *tls_reason(void);

/* ---- reload (tls_reload.c) --------------------------------------------------------------------- */

enum { TLS_DIGEST_BYTES = 32, TLS_PEM_MAX = 1024 * 1024 };

struct tls_waiter { /* somebody who wants the certificates that are on disk now */
    struct list link;
    void (*ready)(struct tls_waiter *w);
};
struct tls_reload {
    struct env_job job;
    bool busy;
    uint64_t checked_ns; /* when the last look ended; 0: never */
    struct list waiters;
    uint8_t loaded[TLS_DIGEST_BYTES],
        refused[TLS_DIGEST_BYTES]; /* of what is in use, of what was broken */
    /* the job's while it is busy */
    uint8_t found[TLS_DIGEST_BYTES];
    int rc; /* ERR_EXISTS: nothing new */
    struct tls_contexts contexts;
    struct err_text why;
};
void tls_reload_init(struct tls *t, struct slice cert, struct slice key);
/* false: the contexts are fresh enough. true: w->ready() later, once. */
bool tls_reload_wait(struct tls *t, struct tls_waiter *w);

/* ---- the room ------------------------------------------------------------------------------------- */

struct tls {
    struct env net; /* first: what owners see as their environment */
    struct env *env;
    struct arena arena;
    struct tls_rules rules;
    const char *cert_path, *key_path, *component;
    struct tls_contexts contexts;
    struct tls_reload reload;
    uint32_t stream_count, listener_count;
    uint64_t log_after_ns; /* failures until then are only counted */
    uint32_t log_skipped;
    void (*idle)(struct tls *t); /* a job is through, a stream gone: perhaps the end of tls_stop */
    struct env_turn stop_turn;
    void (*stopped)(void *ctx);
    void *stopped_ctx;
    uint8_t bytes[16 * 1024]; /* one record's data on its way to the owner */
};
static inline struct tls *tls_of(struct env *net)
{
    return (struct tls *)(void *)net;
}

enum tls_state {
    TLS_CONNECTING, /* the stream below is not open yet */
    TLS_WAITING,    /* for a look at the certificates */
    TLS_HANDSHAKE,
    TLS_OPEN,
    TLS_BROKEN, /* told so; the stream below is finishing, with our alert as its last bytes */
};

struct tls_stream {
    struct env_stream base; /* first */
    struct tls *t;
    struct env_stream *under; /* NULL: gone, before the owner let go of us */
    SSL *ssl;                 /* NULL before the handshake */
    BIO *in, *out;            /* records received, records to send; ssl's */
    enum tls_state state;
    bool client, told_opened;
    bool want_read, reading;             /* the owner's wish; the stream below reads */
    bool ended;                          /* told, or never to be told */
    bool finishing, closing;             /* the owner's word */
    bool under_finishing, under_closing; /* ours to the stream below */
    bool behind;                         /* output was pending since drained() was last told */
    bool sniffed;
    struct buf plain; /* the owner's bytes that are not yet records */
    struct env_turn turn;
    struct env_timer timer; /* handshake; then how long the last bytes may take */
    struct tls_waiter waiter;
    char host[256]; /* client: whom we call */
};

/* tls_stream.c */
int tls_stream_connect(struct env *net, const char *addr, const struct env_stream_events *events,
                       void *ctx, struct env_stream **out);
void tls_stream_read_start(struct env_stream *base);
void tls_stream_read_stop(struct env_stream *base);
size_t tls_stream_pending(const struct env_stream *base);
const char *tls_stream_peer(const struct env_stream *base);
void tls_stream_finish(struct env_stream *base);
void tls_stream_close(struct env_stream *base);
/* A connection that came in; accepted(): the owner's. */
void tls_stream_accept(struct tls *t, struct env_stream *under,
                       void (*accepted)(void *ctx, struct env_stream *s), void *ctx);

/* tls_output.c */
int tls_stream_write(struct env_stream *base, const struct slice *parts, size_t count,
                     size_t pending_max);
/* What SSL wants sent goes below. 0, or the stream below takes nothing any more. */
int tls_output_flush(struct tls_stream *s);
/* More of plain, as far as there is room below; at its end what finish() asked for. 0, or broken. */
int tls_output_pump(struct tls_stream *s);

#endif
