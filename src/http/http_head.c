/* http_head.c — heads: first their lines byte by byte, then, once whole, their meaning (RFC 9112 §2-§6).
 *
 * Strict where two readers of the same bytes could disagree about where a message ends (request
 * smuggling, RFC 9112 §11.2): line ends, folding, names, lengths, codings. Any refusal closes the
 * connection, so nothing behind a doubtful message is ever read.
 *
 * Callers: http_parse.c. */
#include "http_int.h"

#include "http_lib.h"

static const char bare_lf[] = "line end without carriage return";
static const char bare_cr[] = "carriage return inside a line";
static const char control[] = "control byte";
static const char folding[] = "folded header line";

/* Inside a line; CR and LF apart. A TAB is no separator in the first line. */
static enum http_line_state inside_step(enum http_line_state state, uint8_t c, const char **words)
{
    if (c == '\r')
        return state == HTTP_LINE_FIRST ? HTTP_LINE_FIRST_CR : HTTP_LINE_INSIDE_CR;
    if (c == '\n')
        *words = bare_lf;
    else if (http_is_control(c) || (c == '\t' && state == HTTP_LINE_FIRST))
        *words = control;
    return state;
}

enum http_line_state http_line_step(enum http_line_state state, uint8_t c, const char **words)
{
    switch (state) {
    case HTTP_LINE_LEADING:
        return c == '\r' ? HTTP_LINE_LEADING_CR : inside_step(HTTP_LINE_FIRST, c, words);
    case HTTP_LINE_START:
        if (c == ' ' || c == '\t')
            *words = folding;
        return c == '\r' ? HTTP_LINE_START_CR : inside_step(HTTP_LINE_INSIDE, c, words);
    case HTTP_LINE_FIRST:
    case HTTP_LINE_INSIDE:
        return inside_step(state, c, words);
    case HTTP_LINE_LEADING_CR:
    case HTTP_LINE_FIRST_CR:
    case HTTP_LINE_START_CR:
    case HTTP_LINE_INSIDE_CR:
    case HTTP_LINE_DONE:
    default:
        break;
    }
    if (c != '\n')
        *words = bare_cr;
    if (state == HTTP_LINE_LEADING_CR)
        return HTTP_LINE_LEADING;
    return state == HTTP_LINE_START_CR ? HTTP_LINE_DONE : HTTP_LINE_START;
}

static bool refuse(struct http_refusal *r, int status, const char *text)
{
    r->status = status;
    r->text = text;
    return false;
}

/* ---- first line ------------------------------------------------------------------------------- */

static struct slice cut_at(struct slice *rest, uint8_t c)
{
    const uint8_t *found = rest->len ? memchr(rest->data, c, rest->len) : NULL;
    size_t len = found ? (size_t)(found - rest->data) : rest->len;
    struct slice part = slice_of(rest->data, len);
    size_t skip = found ? len + 1 : len;
    *rest = slice_of(rest->data + skip, rest->len - skip);
    return part;
}

static enum http_method method_of(struct slice text)
{
    static const struct {
        const char *text;
        enum http_method method;
    } table[] = {
        {"GET", HTTP_METHOD_GET},       {"POST", HTTP_METHOD_POST},
        {"PUT", HTTP_METHOD_PUT},       {"HEAD", HTTP_METHOD_HEAD},
        {"DELETE", HTTP_METHOD_DELETE}, {"OPTIONS", HTTP_METHOD_OPTIONS},
        {"PATCH", HTTP_METHOD_PATCH},
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
        if (slice_equal_str(text, table[i].text))
            return table[i].method;
    return HTTP_METHOD_OTHER;
}

static bool is_digit(uint8_t c)
{
    return c >= '0' && c <= '9';
}

/* "HTTP/1.1"; minor versions above 1 are spoken to as 1 (RFC 9110 §2.5). */
static bool version_parse(struct slice v, int *minor, struct http_refusal *refusal)
{
    bool shaped = v.len == 8 && memcmp(v.data, "HTTP/", 5) == 0 && is_digit(v.data[5]) &&
                  v.data[6] == '.' && is_digit(v.data[7]);
    if (!shaped)
        return refuse(refusal, 400, "malformed HTTP version or raw space in the URL");
    if (v.data[5] != '1')
        return refuse(refusal, 505, "unsupported HTTP version");
    *minor = v.data[7] == '0' ? 0 : 1;
    return true;
}

static bool all_token_chars(struct slice s)
{
    for (size_t i = 0; i < s.len; i++)
        if (!http_is_token_char(s.data[i]))
            return false;
    return s.len > 0;
}

/* origin-form, absolute-form, "*"; authority-form with CONNECT only (RFC 9112 §3.2). */
static bool target_is_shaped(struct slice target, struct slice method)
{
    struct slice rest = target;

    if (target.len == 0)
        return false;
    if (target.data[0] == '/' || slice_equal_str(target, "*") || slice_equal_str(method, "CONNECT"))
        return true;
    struct slice scheme = cut_at(&rest, ':');
    return (http_equal_nocase(scheme, "http") || http_equal_nocase(scheme, "https")) &&
           rest.len > 2 && rest.data[0] == '/' && rest.data[1] == '/';
}

static bool request_line_parse(struct slice line, struct http_message *m,
                               struct http_refusal *refusal)
{
    m->method_text = cut_at(&line, ' ');
    m->target = cut_at(&line, ' ');
    if (!all_token_chars(m->method_text))
        return refuse(refusal, 400, "malformed request line");
    m->method = method_of(m->method_text);
    if (!target_is_shaped(m->target, m->method_text))
        return refuse(refusal, 400, "malformed request target");
    return version_parse(line, &m->minor, refusal);
}

/* "HTTP/1.1 200 OK"; the reason, and the space before it, may be missing. */
static bool status_line_parse(struct slice line, struct http_message *m,
                              struct http_refusal *refusal)
{
    struct slice version = cut_at(&line, ' ');
    struct slice status = cut_at(&line, ' ');

    if (!version_parse(version, &m->minor, refusal))
        return false;
    if (status.len != 3 || status.data[0] < '1' || status.data[0] > '9' ||
        !is_digit(status.data[1]) || !is_digit(status.data[2]))
        return refuse(refusal, 400, "malformed status line");
    m->status = (status.data[0] - '0') * 100 + (status.data[1] - '0') * 10 + (status.data[2] - '0');
    return true;
}

/* ---- header fields ---------------------------------------------------------------------------- */

static bool fields_parse(struct slice lines, struct http_message *m, struct http_refusal *refusal)
{
    struct http_lib_field fields[HTTP_HEADERS_MAX];
    int rc = http_lib_fields(lines, fields, HTTP_HEADERS_MAX, &m->header_count);

    if (rc == ERR_TOO_BIG)
        return refuse(refusal, 431, "too many header fields");
    if (rc)
        return refuse(refusal, 400, "malformed header line");
    for (uint32_t i = 0; i < m->header_count; i++) {
        if (!all_token_chars(fields[i].name))
            return refuse(refusal, 400, "malformed header name");
        m->headers[i].name = fields[i].name;
        m->headers[i].value = http_trim(fields[i].value);
    }
    return true;
}

/* First field of that name, and how many there are. */
static const struct http_header *only(const struct http_message *m, const char *name,
                                      uint32_t *count)
{
    const struct http_header *first = NULL;
    *count = 0;
    for (uint32_t i = 0; i < m->header_count; i++) {
        if (!http_equal_nocase(m->headers[i].name, name))
            continue;
        if (!first)
            first = &m->headers[i];
        (*count)++;
    }
    return first;
}

const struct http_header *http_header_find(const struct http_message *m, const char *name)
{
    uint32_t count;
    return only(m, name, &count);
}

static bool host_check(const struct http_message *m, struct http_refusal *refusal)
{
    uint32_t count;
    const struct http_header *host = only(m, "host", &count);

    if (count > 1)
        return refuse(refusal, 400, "too many Host headers");
    if (!host && m->minor >= 1)
        return refuse(refusal, 400, "missing required Host header");
    for (size_t i = 0; host && i < host->value.len; i++)
        if (strchr(" \t,/?#@\\", host->value.data[i]) != NULL)
            return refuse(refusal, 400, "malformed Host header");
    return true;
}

/* Decimal digits only, at least one; no sign, no list. */
static bool length_parse(struct slice text, uint64_t *out)
{
    uint64_t v = 0;
    for (size_t i = 0; i < text.len; i++) {
        if (!is_digit(text.data[i]) || v > UINT64_MAX / 10 - 1)
            return false;
        v = v * 10 + (uint64_t)(text.data[i] - '0');
    }
    *out = v;
    return text.len > 0;
}

/* Where the message ends, as far as its fields say (RFC 9112 §6.3). */
static bool framing_parse(const struct http_message *m, struct http_framing *framing,
                          struct http_refusal *refusal)
{
    uint32_t length_count, coding_count;
    const struct http_header *length = only(m, "content-length", &length_count);
    const struct http_header *coding = only(m, "transfer-encoding", &coding_count);

    framing->kind = HTTP_BODY_NONE;
    framing->length = 0;
    if (length && coding)
        return refuse(refusal, 400, "both Content-Length and Transfer-Encoding");
    if (length_count > 1)
        return refuse(refusal, 400, "repeated Content-Length");
    if (coding && m->minor == 0)
        return refuse(refusal, 400, "Transfer-Encoding in HTTP/1.0");
    if (coding && (coding_count > 1 || !http_equal_nocase(coding->value, "chunked")))
        return refuse(refusal, 501, "unsupported transfer encoding");
    if (coding)
        framing->kind = HTTP_BODY_CHUNKED;
    if (length && !length_parse(length->value, &framing->length))
        return refuse(refusal, 400, "malformed Content-Length");
    if (length)
        framing->kind = HTTP_BODY_LENGTH;
    return true;
}

/* Is word one of the comma-separated tokens of any Connection field? */
static bool connection_has(const struct http_message *m, const char *word)
{
    for (uint32_t i = 0; i < m->header_count; i++) {
        if (!http_equal_nocase(m->headers[i].name, "connection"))
            continue;
        struct slice rest = m->headers[i].value;
        while (rest.len > 0)
            if (http_equal_nocase(http_trim(cut_at(&rest, ',')), word))
                return true;
    }
    return false;
}

static void response_framing(const struct http_message *m, struct http_framing *framing,
                             bool has_length)
{
    if (m->status < 200 || m->status == 204 || m->status == 304)
        framing->kind = HTTP_BODY_NONE;
    else if (!has_length)
        framing->kind = HTTP_BODY_UNTIL_EOF;
}

bool http_head_parse(enum http_side side, struct slice head, struct http_message *m,
                     struct http_framing *framing, struct http_refusal *refusal)
{
    struct slice lines = head;
    struct slice first = cut_at(&lines, '\n');

    first.len--; /* its CR */
    if (side == HTTP_SERVER ? !request_line_parse(first, m, refusal)
                            : !status_line_parse(first, m, refusal))
        return false;
    if (!fields_parse(lines, m, refusal) || !framing_parse(m, framing, refusal))
        return false;
    if (side == HTTP_SERVER && !host_check(m, refusal))
        return false;
    m->keep_alive = m->minor == 0 ? connection_has(m, "keep-alive") && !connection_has(m, "close")
                                  : !connection_has(m, "close");
    if (side == HTTP_CLIENT) {
        response_framing(m, framing, framing->kind != HTTP_BODY_NONE);
        m->keep_alive = m->keep_alive && framing->kind != HTTP_BODY_UNTIL_EOF;
        return true;
    }
    const struct http_header *expect = http_header_find(m, "expect");
    bool body_to_come = framing->kind == HTTP_BODY_CHUNKED || framing->length > 0;
    m->expect_continue =
        expect && m->minor >= 1 && body_to_come && http_equal_nocase(expect->value, "100-continue");
    return true;
}
