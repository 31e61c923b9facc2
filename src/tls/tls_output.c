/* tls_output — the owner's bytes become records only as fast as the stream below sends them: what waits
 * stays plain, so that one large answer neither doubles in memory nor holds the loop for its encryption. */
#include "tls_int.h"

#include <openssl/err.h>

enum {
    RECORD_BYTES = 16 * 1024,
    BELOW_ENOUGH_BYTES = 256 * 1024, /* records that wait below; then encrypting pauses */
    BELOW_MAX_BYTES =
        16 * 1024 * 1024, /* a bug if ever met: what is below is at most ENOUGH and a flight */
    LAST_BYTES_MS = 10 * 1000,
};

int tls_output_flush(struct tls_stream *s)
{
    char *bytes = NULL;
    const long len = BIO_get_mem_data(s->out, &bytes);
    if (len <= 0)
        return 0;
    const struct slice part = slice_of(bytes, (size_t)len);
    const int rc = env_stream_write(s->under, &part, 1, BELOW_MAX_BYTES);
    (void)BIO_reset(s->out);
    return rc;
}

/* One record's worth; *taken bytes were. 0, or the connection is no good any more. */
static int encrypt(struct tls_stream *s, struct slice bytes, size_t *taken)
{
    const size_t len = bytes.len < RECORD_BYTES ? bytes.len : RECORD_BYTES;
    *taken = 0;
    ERR_clear_error();
    if (SSL_write_ex(s->ssl, bytes.data, len, taken) != 1) {
        (void)tls_reason();
        return ERR_RESET;
    }
    return tls_output_flush(s);
}

static bool room_below(const struct tls_stream *s)
{
    return s->state == TLS_OPEN && env_stream_pending(s->under) < BELOW_ENOUGH_BYTES;
}

static void last_words(struct tls_stream *s)
{
    ASSERT(s->finishing && !s->under_finishing);
    if (SSL_shutdown(s->ssl) < 0)
        (void)tls_reason();
    (void)tls_output_flush(s);
    s->under_finishing = true;
    env_stream_finish(s->under);
    env_timer_arm(&s->timer, LAST_BYTES_MS * ENV_MS_NS);
}

int tls_output_pump(struct tls_stream *s)
{
    int rc = 0;
    while (rc == 0 && buf_len(&s->plain) > 0 && room_below(s)) {
        size_t taken = 0;
        rc = encrypt(s, buf_slice(&s->plain), &taken);
        buf_consume(&s->plain, taken);
    }
    if (rc == 0 && buf_len(&s->plain) == 0 && s->state == TLS_OPEN) {
        buf_reset(&s->plain, 0);
        if (s->finishing && !s->under_finishing)
            last_words(s);
    }
    return rc;
}

/* As much of one piece as there is room for; the rest is copied. */
static int write_piece(struct tls_stream *s, struct slice piece)
{
    while (piece.len > 0 && buf_len(&s->plain) == 0 && room_below(s)) {
        size_t taken = 0;
        const int rc = encrypt(s, piece, &taken);
        if (rc != 0)
            return rc;
        piece = slice_of(piece.data + taken, piece.len - taken);
    }
    return piece.len > 0 && buf_append_slice(&s->plain, piece) != 0 ? ERR_RESET : 0;
}

int tls_stream_write(struct env_stream *base, const struct slice *parts, size_t count,
                     size_t pending_max)
{
    struct tls_stream *s = (struct tls_stream *)(void *)base;
    const size_t pending = tls_stream_pending(base);
    size_t total = 0;
    int rc = 0;
    if (s->state == TLS_BROKEN || s->finishing || s->closing)
        return ERR_RESET;
    for (size_t i = 0; i < count; i++)
        total += parts[i].len;
    if (pending > pending_max || total > pending_max - pending)
        return ERR_FULL;
    for (size_t i = 0; i < count && rc == 0; i++)
        rc = write_piece(s, parts[i]);
    s->behind = s->behind || tls_stream_pending(base) > 0;
    return rc;
}
