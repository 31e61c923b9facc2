/* http_int.h — the pieces of the incremental parser: line discipline of heads, meaning of a whole
 * head, bodies. http_parse.c joins them. */
#ifndef RQ_HTTP_INT_H
#define RQ_HTTP_INT_H

#include <rq/http.h>

/* ---- http_chars.c ----------------------------------------------------------------------------- */

bool http_is_token_char(uint8_t c); /* tchar, RFC 9110 §5.6.2 */
bool http_is_control(uint8_t c);    /* refused in any line; HTAB is not one */
uint8_t http_to_lower(uint8_t c);   /* ASCII */
bool http_equal_nocase(struct slice a, const char *b);
struct slice http_trim(struct slice s); /* SP and HTAB off both ends */
int http_hex_value(uint8_t c);          /* -1: no hex digit */

/* ---- http_head.c ------------------------------------------------------------------------------ */

enum http_line_state {
    HTTP_LINE_LEADING, /* empty lines in front of a message are passed over */
    HTTP_LINE_LEADING_CR,
    HTTP_LINE_FIRST, /* inside the request or status line */
    HTTP_LINE_FIRST_CR,
    HTTP_LINE_START,    /* first byte of a header line */
    HTTP_LINE_START_CR, /* CR of the empty line */
    HTTP_LINE_INSIDE,
    HTTP_LINE_INSIDE_CR,
    HTTP_LINE_DONE /* the head is complete */
};
/* Next state; NULL text in *words: fine, else the head is refused. */
enum http_line_state http_line_step(enum http_line_state state, uint8_t c, const char **words);

enum http_body_kind { HTTP_BODY_NONE, HTTP_BODY_LENGTH, HTTP_BODY_CHUNKED, HTTP_BODY_UNTIL_EOF };
struct http_framing {
    enum http_body_kind kind;
    uint64_t length; /* HTTP_BODY_LENGTH */
};
/* Understand a complete head (line discipline already checked). Fills *m but its body. False:
 * *refusal says why. */
bool http_head_parse(enum http_side side, struct slice head, struct http_message *m,
                     struct http_framing *framing, struct http_refusal *refusal);

/* ---- http_body.c ------------------------------------------------------------------------------ */

struct http_body {
    enum http_body_kind kind;
    int state;
    uint64_t left; /* bytes of this body, or of this chunk, to come */
    uint32_t size_digits;
    uint32_t extension_bytes; /* of all chunks together */
    size_t trailer_bytes;
    enum http_line_state trailer_line;
    struct http_parser_limits limits;
};
/* False: refused at once (larger than the limit). */
bool http_body_begin(struct http_body *b, const struct http_framing *framing,
                     const struct http_parser_limits *limits, struct http_refusal *refusal);
bool http_body_done(const struct http_body *b);
/* Take bytes; *used of them. False: refused. */
bool http_body_feed(struct http_body *b, struct slice bytes, struct buf *out, size_t *used,
                    struct http_refusal *refusal);

#endif
