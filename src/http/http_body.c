/* http_body.c — bodies: of a known length, chunked (RFC 9112 §7.1), or up to the connection's end.
 *
 *   SIZE -> [EXTENSION] -> SIZE_LF -> DATA -> DATA_CR -> DATA_LF -> SIZE …
 *                                  \ size 0: TRAILER -> DONE
 *
 * Callers: http_parse.c. Every decision hangs on bytes, never on where a segment ended. */
#include "http_int.h"

enum state { SIZE, EXTENSION, SIZE_LF, DATA, DATA_CR, DATA_LF, TRAILER, DONE };
enum { EXTENSION_BYTES_MAX = 4096, SIZE_DIGITS_MAX = 15 };

static bool refuse(struct http_refusal *r, int status, const char *text)
{
    r->status = status;
    r->text = text;
    return false;
}

bool http_body_begin(struct http_body *b, const struct http_framing *framing,
                     const struct http_parser_limits *limits, struct http_refusal *refusal)
{
    memset(b, 0, sizeof(*b));
    b->kind = framing->kind;
    b->limits = *limits;
    b->left = framing->length;
    b->state = framing->kind == HTTP_BODY_CHUNKED ? SIZE : DATA;
    if (framing->kind == HTTP_BODY_NONE || (framing->kind == HTTP_BODY_LENGTH && b->left == 0))
        b->state = DONE;
    if (framing->kind == HTTP_BODY_LENGTH && framing->length > limits->body_bytes_max)
        return refuse(refusal, 413, "body larger than the limit");
    return true;
}

bool http_body_done(const struct http_body *b)
{
    return b->state == DONE;
}

static bool put(struct buf *out, struct slice bytes, struct http_refusal *refusal)
{
    if (bytes.len == 0 || buf_append_slice(out, bytes) == 0)
        return true;
    return out->failed == ERR_TOO_BIG ? refuse(refusal, 413, "body larger than the limit")
                                      : refuse(refusal, 503, "out of memory");
}

/* Bytes of the body itself: as many as there are and belong to it. */
static bool data_feed(struct http_body *b, struct slice bytes, struct buf *out, size_t *used,
                      struct http_refusal *refusal)
{
    if (b->kind != HTTP_BODY_UNTIL_EOF && bytes.len > b->left)
        bytes.len = (size_t)b->left;
    *used = bytes.len;
    if (!put(out, bytes, refusal))
        return false;
    if (b->kind == HTTP_BODY_UNTIL_EOF)
        return true;
    b->left -= bytes.len;
    if (b->left == 0)
        b->state = b->kind == HTTP_BODY_CHUNKED ? DATA_CR : DONE;
    return true;
}

static bool size_step(struct http_body *b, uint8_t c, struct http_refusal *refusal)
{
    int digit = http_hex_value(c);

    if (digit >= 0) {
        if (++b->size_digits > SIZE_DIGITS_MAX)
            return refuse(refusal, 413, "chunk larger than the limit");
        b->left = b->left * 16 + (uint64_t)digit;
        return true;
    }
    if (b->size_digits == 0 || (c != '\r' && c != ';' && c != ' ' && c != '\t'))
        return refuse(refusal, 400, "malformed chunk size");
    b->state = c == '\r' ? SIZE_LF : EXTENSION;
    return true;
}

static bool extension_step(struct http_body *b, uint8_t c, struct http_refusal *refusal)
{
    if (c == '\r') {
        b->state = SIZE_LF;
        return true;
    }
    if (http_is_control(c))
        return refuse(refusal, 400, "control byte in a chunk extension");
    if (++b->extension_bytes > EXTENSION_BYTES_MAX)
        return refuse(refusal, 400, "chunk extensions larger than the limit");
    return true;
}

static bool size_end(struct http_body *b, size_t body_len, struct http_refusal *refusal)
{
    b->size_digits = 0;
    if (b->left > b->limits.body_bytes_max - body_len)
        return refuse(refusal, 413, "body larger than the limit");
    b->state = b->left > 0 ? DATA : TRAILER;
    b->trailer_line = HTTP_LINE_START;
    return true;
}

/* Trailer fields are checked as lines and dropped. */
static bool trailer_step(struct http_body *b, uint8_t c, struct http_refusal *refusal)
{
    const char *words = NULL;

    b->trailer_line = http_line_step(b->trailer_line, c, &words);
    if (words)
        return refuse(refusal, 400, words);
    if (b->trailer_line == HTTP_LINE_DONE)
        b->state = DONE;
    else if (++b->trailer_bytes > b->limits.header_bytes_max)
        return refuse(refusal, 431, "trailer fields larger than the limit");
    return true;
}

/* One byte of what stands around the data of chunks. */
static bool frame_step(struct http_body *b, uint8_t c, size_t body_len,
                       struct http_refusal *refusal)
{
    switch ((enum state)b->state) {
    case SIZE:
        return size_step(b, c, refusal);
    case EXTENSION:
        return extension_step(b, c, refusal);
    case SIZE_LF:
        return c == '\n' ? size_end(b, body_len, refusal)
                         : refuse(refusal, 400, "malformed end of a chunk size");
    case DATA_CR:
    case DATA_LF:
        if (c != (b->state == DATA_CR ? '\r' : '\n'))
            return refuse(refusal, 400, "malformed end of a chunk");
        b->state = b->state == DATA_CR ? DATA_LF : SIZE;
        return true;
    case TRAILER:
        return trailer_step(b, c, refusal);
    case DATA:
    case DONE:
    default:
        return true;
    }
}

bool http_body_feed(struct http_body *b, struct slice bytes, struct buf *out, size_t *used,
                    struct http_refusal *refusal)
{
    *used = 0;
    while (b->state != DONE && *used < bytes.len) {
        size_t step = 1;
        bool fine = b->state == DATA ? data_feed(b, slice_of(bytes.data + *used, bytes.len - *used),
                                                 out, &step, refusal)
                                     : frame_step(b, bytes.data[*used], buf_len(out), refusal);
        *used += step;
        if (!fine)
            return false;
    }
    return true;
}
