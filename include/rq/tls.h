/* tls — TLS as a filter over env streams: an environment of its own that offers streams and nothing
 * else. Who listens or connects through tls_net() instead of its environment speaks TLS, and need not
 * know: same calls, same events (docs/decisions/0004-tls-as-a-filter.md).
 *
 *      owner ──env_stream_*──► tls stream ──env_stream_*──► stream of the environment below
 *
 * TLS 1.2 and 1.3, no renegotiation. Differences that an owner can see:
 *   opened   comes after the handshake. ERR_IDENTITY: the other end's certificate is not good enough;
 *            ERR_PROTOCOL: it does not speak TLS, or not ours; ERR_TIMEOUT
 *   ended    ERR_EOF is the other end's closing alert; a connection that just ends was cut: ERR_RESET.
 *            An accepted stream whose handshake fails ends without data
 *   finish   sends the closing alert
 * Handshakes run on the loop: about 1 ms each (docs/api.md, Security). LOOP only. */
#ifndef RQ_TLS_H
#define RQ_TLS_H

#include <rq/env.h>

struct tls;

struct tls_config { /* strings and slices: copied */
    const char *cert_path, *key_path; /* read again when they change; NULL: no certificate of our own */
    struct slice cert, key;           /* what they hold now, PEM; cert: our own first, then its chain */
    struct slice ca;                  /* PEM, for both sides; len 0: the system's */
    bool verify_client;               /* accepting: the other end must show a certificate of that CA … */
    const char *common_name;          /* … whose subject has this common name; NULL: any */
    bool no_verify;                   /* connecting: take any certificate */
    const char *server_name;          /* connecting: whom it must name; NULL: the host that is called */
    bool http;                        /* ALPN http/1.1; who speaks HTTP without TLS is told so */
    const char *component;            /* of log lines */
};

/* 0 and *out; ERR_INVALID, ERR_NOMEM with words. e: lent for life. */
int tls_create(struct env *e, const struct tls_config *config, struct tls **out,
               struct err_text *why) MUST_USE;
/* For env_listen (needs a certificate) and env_stream_connect; nothing else may be asked of it. */
struct env *tls_net(struct tls *t);
/* Its listeners are closed, its streams closing. stopped() exactly once, on a later turn; then tls_destroy. */
void tls_stop(struct tls *t, void (*stopped)(void *ctx), void *ctx);
void tls_destroy(struct tls *t); /* may be NULL */

#endif
