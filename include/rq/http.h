/* http — HTTP/1.1 as functions of bytes (RFC 9112), server and client side, plus URLs. Pure: no
 * sockets, no clock. Wraps http_parser; framing limits and what it tolerates are ours. */
#ifndef RQ_HTTP_H
#define RQ_HTTP_H

#include <rq/util/buf.h>
#include <rq/util/mem.h>
#include <rq/util/slice.h>

enum http_method {
    HTTP_METHOD_OTHER = 0,
    HTTP_METHOD_GET,
    HTTP_METHOD_HEAD,
    HTTP_METHOD_POST,
    HTTP_METHOD_PUT,
    HTTP_METHOD_DELETE,
    HTTP_METHOD_OPTIONS,
    HTTP_METHOD_PATCH
};

struct http_header {
    struct slice name;  /* as sent */
    struct slice value; /* without surrounding white space */
};
enum { HTTP_HEADERS_MAX = 100 };

/* One message; slices live in the parser until its next http_parser_next / reset. */
struct http_message {
    enum http_method method; /* request */
    struct slice method_text;
    struct slice target; /* request: "/db/query?q=…" as sent */
    int status;          /* response */
    int minor;           /* HTTP/1.minor: 0 or 1 */
    bool keep_alive;     /* may the connection be used again after this message */
    bool expect_continue;
    struct http_header headers[HTTP_HEADERS_MAX];
    uint32_t header_count;
    struct slice body; /* whole, de-chunked; HTTP_BODY: what came of it and was not taken yet */
};
/* First header of that name (case-insensitive); NULL if absent. Value lent like the message. */
const struct http_header *http_header_find(const struct http_message *m, const char *name);

enum http_side { HTTP_SERVER, HTTP_CLIENT };
struct http_parser_limits {
    size_t header_bytes_max; /* request line + headers: else 431 (414 for the line) */
    size_t body_bytes_max;   /* else 413 */
    /* May the body be given as it comes (HTTP_BODY), however long it is? Asked when the head is whole, with nothing, and
     * if that said yes once more with the first start_bytes of the body, or all. NULL: never. Servers only. */
    bool (*streams)(const struct http_message *m, struct slice start);
    size_t start_bytes;
};

struct http_conn_parser; /* one per connection and direction */
int http_parser_create(enum http_side side, const struct http_parser_limits *limits,
                       struct http_conn_parser **out) MUST_USE;
void http_parser_destroy(struct http_conn_parser *p);

enum http_progress {
    HTTP_NEED_MORE = 0, /* all given bytes were taken; no message yet */
    HTTP_MESSAGE, /* *message is whole; *used bytes were taken, feed the rest after http_parser_next */
    HTTP_HEADERS_DONE, /* once per message with Expect: 100-continue and a body to come: answer 100, go on feeding */
    HTTP_BODY, /* some of a body that limits.streams wanted so is in message->body; HTTP_MESSAGE comes with the rest */
    HTTP_BAD /* *refusal says what to answer; then close. Every later call gives it again */
};
struct http_refusal {
    int status;       /* 400, 413, 414, 431, 501 (unknown transfer coding), 503 (memory), 505 */
    const char *text; /* static words */
};
/* Feed bytes as they came, any segmentation; the outcome does not depend on it. Refuses: bare LF line
 * ends, both Content-Length and Transfer-Encoding, repeated Content-Length, space before the
 * colon, obs-fold, missing or repeated Host (1.1), raw space or control bytes in the target, chunk
 * extensions beyond a limit. *message is set with HTTP_MESSAGE and HTTP_HEADERS_DONE, lent until
 * http_parser_next. Interim responses (1xx but 101) are passed over. Client side: a response without length
 * ends with the connection: call http_parser_eof. For HEAD responses set http_parser_no_body first. */
enum http_progress http_parser_feed(struct http_conn_parser *p, struct slice bytes, size_t *used,
                                    const struct http_message **message,
                                    struct http_refusal *refusal);
/* The first len bytes of message->body are done with (they stay where they are until the next feed). */
void http_parser_take(struct http_conn_parser *p, size_t len);
void http_parser_next(struct http_conn_parser *p); /* done with the message; storage is reused */
/* The connection ended. HTTP_MESSAGE: a response that ends with it; HTTP_NEED_MORE: nothing was lost;
 * HTTP_BAD: cut off inside a message. */
enum http_progress http_parser_eof(struct http_conn_parser *p, const struct http_message **message);
void http_parser_no_body(struct http_conn_parser *p);
/* Nothing of a next message was received yet (an idle connection may be closed silently). */
bool http_parser_idle(const struct http_conn_parser *p);
/* Headers of the current message are complete, the body is not (which of the timeouts applies). */
bool http_parser_in_body(const struct http_conn_parser *p);
/* Bytes of memory it has for what it received. */
size_t http_parser_held(const struct http_conn_parser *p);

/* ---- URLs -------------------------------------------------------------------------------------------- */

/* Split at the first '?'. An absolute-form target loses its scheme and authority. */
void http_target_split(struct slice target, struct slice *path, struct slice *query);
/* %XX decoded into the arena (or `in` itself, if there is nothing to decode); 0, ERR_INVALID (bad escape; *bad is the escape, at most 3 bytes), ERR_NOMEM. */
int http_percent_decode(struct slice in, bool plus_is_space, struct arena *a, struct slice *out,
                        struct slice *bad) MUST_USE;
struct http_param {
    struct slice key, value; /* decoded */
    bool has_value;          /* "key=" or "key=v" (false: bare "key") */
};
/* Parse a query string. 0; ERR_INVALID with words as http-api.md §2.1 ("invalid semicolon separator in
 * query", "invalid URL escape \"%zz\""); ERR_TOO_BIG over max; ERR_NOMEM. */
int http_query_parse(struct slice query, struct arena *a, struct http_param *out, uint32_t max,
                     uint32_t *count, struct err_text *why) MUST_USE;
/* Go duration (http-api.md §2.2) to nanoseconds. 0, ERR_INVALID. */
int http_duration_parse(struct slice text, int64_t *out_ns) MUST_USE;
/* Go duration text: "1m30s", "50ms", "19.479µs", "0s". dst >= 32 bytes; returns length. */
size_t http_duration_text(int64_t ns, char *dst);
/* "host:port" as Go's SplitHostPort (daemon.md §1.4). 0, ERR_INVALID. */
int http_host_port_split(struct slice addr, struct slice *host, struct slice *port) MUST_USE;

/* ---- writing -------------------------------------------------------------------------------------------- */

/* Status line of HTTP/1.1; then headers; then http_put_end; then the body. Failures stay in out->failed. */
void http_put_status(struct buf *out, int status);
void http_put_header(struct buf *out, const char *name, struct slice value);
void http_put_header_u64(struct buf *out, const char *name, uint64_t value);
void http_put_date(struct buf *out, int64_t wall_ns); /* Date: IMF-fixdate */
void http_put_end(struct buf *out);
void http_put_request(struct buf *out, const char *method, struct slice target, const char *host);
const char *http_status_text(int status);

#endif
