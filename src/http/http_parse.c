/* http_parse.c — one direction of one connection: bytes in any segmentation → whole messages.
 *
 *   HEAD --(empty line)--> BODY --(last byte)--> READY --(http_parser_next)--> HEAD
 *     \_______________________\______ refused: BAD, for ever
 *
 * The head is collected whole and understood at once; the body is unframed into its own buffer. Both
 * are bounded by the limits given at creation, but for a body that is given as it comes: whether it is depends
 * on its head and first bytes alone, and who is given it empties the buffer. Callers: the api's server and client connections. */
#include "http_int.h"

#include "http_lib.h"

#include <rq/util/assert.h>

enum phase { HEAD, BODY, READY, BAD };
enum stream { COLLECTED, UNDECIDED, STREAMED };
enum { HEAD_KEEP_BYTES = 4096, BODY_KEEP_BYTES = 32768 };

struct http_conn_parser {
    enum http_side side;
    struct http_parser_limits limits;
    enum phase phase;
    bool no_body; /* the next response answers a HEAD */
    enum stream stream;
    uint64_t length; /* of the body, as declared; 0: not declared */
    enum http_line_state line;
    size_t leading_bytes; /* of empty lines passed over */
    struct buf head;
    struct buf content;
    struct http_body body;
    struct http_message message;
    struct http_refusal refusal; /* phase BAD */
};

int http_parser_create(enum http_side side, const struct http_parser_limits *limits,
                       struct http_conn_parser **out)
{
    struct http_conn_parser *p = mem_zalloc(sizeof(*p));
    if (!p)
        return ERR_NOMEM;
    http_lib_init();
    p->side = side;
    p->limits = *limits;
    buf_init(&p->head, limits->header_bytes_max);
    buf_init(&p->content, limits->body_bytes_max);
    *out = p;
    return 0;
}

void http_parser_destroy(struct http_conn_parser *p)
{
    if (!p)
        return;
    buf_fini(&p->head);
    buf_fini(&p->content);
    mem_free(p);
}

void http_parser_next(struct http_conn_parser *p)
{
    if (p->phase == BAD)
        return;
    p->phase = HEAD;
    p->no_body = false;
    p->stream = COLLECTED;
    p->line = HTTP_LINE_LEADING;
    p->leading_bytes = 0;
    buf_reset(&p->head, HEAD_KEEP_BYTES);
    buf_reset(&p->content, BODY_KEEP_BYTES);
    memset(&p->message, 0, sizeof(p->message));
}

void http_parser_no_body(struct http_conn_parser *p)
{
    p->no_body = true;
}

bool http_parser_idle(const struct http_conn_parser *p)
{
    return p->phase == HEAD && p->line == HTTP_LINE_LEADING;
}

bool http_parser_in_body(const struct http_conn_parser *p)
{
    return p->phase == BODY;
}

size_t http_parser_held(const struct http_conn_parser *p)
{
    return p->head.cap + p->content.cap;
}

static enum http_progress refuse(struct http_conn_parser *p, int status, const char *text)
{
    p->phase = BAD;
    p->refusal.status = status;
    p->refusal.text = text;
    return HTTP_BAD;
}

/* ---- head ------------------------------------------------------------------------------------- */

/* Walk over bytes as long as they keep line discipline and belong to the head. *kept: first byte
 * worth keeping (behind empty lines in front). */
static enum http_progress head_scan(struct http_conn_parser *p, struct slice bytes, size_t *used,
                                    size_t *kept)
{
    size_t room = p->limits.header_bytes_max - buf_len(&p->head) - p->leading_bytes;

    *kept = 0;
    for (*used = 0; *used < bytes.len && p->line != HTTP_LINE_DONE; (*used)++) {
        const char *words = NULL;
        bool first_line = p->line < HTTP_LINE_START;
        if (*used == room)
            return refuse(p, first_line && p->side == HTTP_SERVER ? 414 : 431,
                          first_line ? "request line larger than the limit"
                                     : "header larger than the limit");
        p->line = http_line_step(p->line, bytes.data[*used], &words);
        if (words)
            return refuse(p, 400, words);
        if (p->line <= HTTP_LINE_LEADING_CR)
            *kept = *used + 1;
    }
    p->leading_bytes += *kept;
    return HTTP_NEED_MORE;
}

static enum http_progress head_understand(struct http_conn_parser *p)
{
    struct http_framing framing;

    if (!http_head_parse(p->side, buf_slice(&p->head), &p->message, &framing, &p->refusal)) {
        p->phase = BAD;
        return HTTP_BAD;
    }
    bool interim = p->side == HTTP_CLIENT && p->message.status < 200 && p->message.status != 101;
    if (interim) { /* 100 Continue and the like: the answer is still to come (RFC 9110 §15.2) */
        bool no_body = p->no_body;
        http_parser_next(p);
        p->no_body = no_body;
        return HTTP_NEED_MORE;
    }
    if (p->no_body) {
        framing.kind = HTTP_BODY_NONE;
        framing.length = 0;
    }
    struct http_parser_limits limits = p->limits;
    p->length = framing.kind == HTTP_BODY_LENGTH ? framing.length : 0;
    if (p->limits.streams && p->limits.streams(&p->message, slice_of(NULL, 0))) {
        p->stream = UNDECIDED;
        limits.body_bytes_max = SIZE_MAX;
    }
    if (!http_body_begin(&p->body, &framing, &limits, &p->refusal)) {
        p->phase = BAD;
        return HTTP_BAD;
    }
    p->phase = BODY;
    return p->message.expect_continue ? HTTP_HEADERS_DONE : HTTP_NEED_MORE;
}

static enum http_progress head_feed(struct http_conn_parser *p, struct slice bytes, size_t *used)
{
    size_t kept;

    if (head_scan(p, bytes, used, &kept) == HTTP_BAD)
        return HTTP_BAD;
    if (*used > kept && buf_append(&p->head, bytes.data + kept, *used - kept) != 0)
        return refuse(p, 503, "out of memory");
    return p->line == HTTP_LINE_DONE ? head_understand(p) : HTTP_NEED_MORE;
}

/* ---- body and the whole ----------------------------------------------------------------------- */

static void body_show(struct http_conn_parser *p)
{
    p->message.body = buf_len(&p->content) > 0 ? buf_slice(&p->content) : slice_of(NULL, 0);
}

/* Enough is there to tell? False: it is refused. */
static bool stream_decide(struct http_conn_parser *p)
{
    struct slice start = buf_slice(&p->content);

    if (start.len < p->limits.start_bytes && !http_body_done(&p->body))
        return true;
    if (start.len > p->limits.start_bytes)
        start.len = p->limits.start_bytes;
    if (p->limits.streams(&p->message, start)) {
        p->stream = STREAMED;
        return true;
    }
    p->stream = COLLECTED;
    p->body.limits = p->limits;
    if (p->length <= p->limits.body_bytes_max)
        return true;
    (void)refuse(p, 413, "body larger than the limit");
    return false;
}

static enum http_progress body_feed(struct http_conn_parser *p, struct slice bytes, size_t *used)
{
    size_t room = p->limits.body_bytes_max - buf_len(&p->content);

    if (p->stream != COLLECTED && bytes.len > room)
        bytes.len = room; /* not more than the buffer holds at a time */
    if (!http_body_feed(&p->body, bytes, &p->content, used, &p->refusal)) {
        p->phase = BAD;
        return HTTP_BAD;
    }
    if (p->stream == UNDECIDED && !stream_decide(p))
        return HTTP_BAD;
    bool done = http_body_done(&p->body), some = buf_len(&p->content) > 0;
    if (!done && (p->stream != STREAMED || !some))
        return HTTP_NEED_MORE;
    body_show(p);
    if (done)
        p->phase = READY;
    return done ? HTTP_MESSAGE : HTTP_BODY;
}

void http_parser_take(struct http_conn_parser *p, size_t len)
{
    ASSERT(len <= p->message.body.len && len <= buf_len(&p->content));
    buf_consume(&p->content, len);
    body_show(p);
}

enum http_progress http_parser_feed(struct http_conn_parser *p, struct slice bytes, size_t *used,
                                    const struct http_message **message,
                                    struct http_refusal *refusal)
{
    enum http_progress progress = p->phase == BAD ? HTTP_BAD : HTTP_NEED_MORE;

    ASSERT(p->phase != READY); /* http_parser_next comes first */
    *used = 0;
    *message = NULL;
    while (progress == HTTP_NEED_MORE && (*used < bytes.len || p->phase == BODY)) {
        size_t step = 0;
        struct slice rest = slice_of(bytes.len ? bytes.data + *used : NULL, bytes.len - *used);
        progress = p->phase == HEAD ? head_feed(p, rest, &step) : body_feed(p, rest, &step);
        *used += step;
        if (*used == bytes.len && p->phase == BODY && !http_body_done(&p->body))
            break;
    }
    if (progress == HTTP_BAD)
        *refusal = p->refusal;
    if (progress == HTTP_MESSAGE || progress == HTTP_HEADERS_DONE || progress == HTTP_BODY)
        *message = &p->message;
    return progress;
}

enum http_progress http_parser_eof(struct http_conn_parser *p, const struct http_message **message)
{
    *message = NULL;
    if (http_parser_idle(p))
        return HTTP_NEED_MORE;
    if (p->phase != BODY || p->body.kind != HTTP_BODY_UNTIL_EOF) {
        (void)refuse(p, 400, "connection ended inside a message");
        return HTTP_BAD;
    }
    p->phase = READY;
    if (buf_len(&p->content) > 0)
        p->message.body = buf_slice(&p->content);
    *message = &p->message;
    return HTTP_MESSAGE;
}
