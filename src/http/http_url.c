/* http_url.c — targets, query strings, host:port, with the words that Go's net/url and net use, because
 * clients see them (http-api.md §2.1, daemon.md §1.4). */
#include "http_int.h"

/* The path of an absolute-form target begins behind its authority (RFC 9112 §3.2.2). */
static struct slice without_authority(struct slice target)
{
    size_t i = 0;

    if (target.len == 0 || target.data[0] == '/')
        return target;
    while (i < target.len && target.data[i] != ':' && target.data[i] != '?')
        i++;
    if (target.len - i < 3 || memcmp(target.data + i, "://", 3) != 0)
        return target;
    for (i += 3; i < target.len && target.data[i] != '/' && target.data[i] != '?'; i++)
        ;
    return slice_of(target.data + i, target.len - i);
}

void http_target_split(struct slice target, struct slice *path, struct slice *query)
{
    struct slice rest = without_authority(target);
    const uint8_t *mark = rest.len ? memchr(rest.data, '?', rest.len) : NULL;

    *path = rest;
    *query = slice_of(NULL, 0);
    if (!mark)
        return;
    path->len = (size_t)(mark - rest.data);
    *query = slice_of(mark + 1, rest.len - path->len - 1);
}

/* ---- percent-decoding ------------------------------------------------------------------------- */

static bool is_escape(struct slice s, size_t i)
{
    return s.len - i >= 3 && http_hex_value(s.data[i + 1]) >= 0 &&
           http_hex_value(s.data[i + 2]) >= 0;
}

/* Bytes after decoding; false: *bad is the first escape that is none. */
static bool decoded_len(struct slice in, size_t *out, struct slice *bad)
{
    size_t len = 0;
    for (size_t i = 0; i < in.len; i++, len++) {
        if (in.data[i] != '%')
            continue;
        if (!is_escape(in, i)) {
            *bad = slice_of(in.data + i, in.len - i < 3 ? in.len - i : 3);
            return false;
        }
        i += 2;
    }
    *out = len;
    return true;
}

int http_percent_decode(struct slice in, bool plus_is_space, struct arena *a, struct slice *out,
                        struct slice *bad)
{
    size_t len;

    *bad = slice_of(NULL, 0);
    *out = in;
    if (!decoded_len(in, &len, bad))
        return ERR_INVALID;
    bool has_plus = plus_is_space && in.len > 0 && memchr(in.data, '+', in.len) != NULL;
    if (len == in.len && !has_plus)
        return 0; /* nothing to decode: lent from the input */
    uint8_t *p = arena_alloc(a, len);
    if (!p)
        return ERR_NOMEM;
    *out = slice_of(p, len);
    for (size_t i = 0; i < in.len; i++) {
        uint8_t c = in.data[i];
        if (c == '%') {
            c = (uint8_t)(http_hex_value(in.data[i + 1]) * 16 + http_hex_value(in.data[i + 2]));
            i += 2;
        } else if (c == '+' && plus_is_space) {
            c = ' ';
        }
        *p++ = c;
    }
    return 0;
}

/* ---- query strings ---------------------------------------------------------------------------- */

/* The offending escape between quotes, itself escaped as Go's %q does with single bytes. */
static int bad_escape(struct slice bad, struct err_text *why)
{
    char text[3 * 4 + 1];
    size_t at = 0;
    static const char hex[] = "0123456789abcdef";

    for (size_t i = 0; i < bad.len; i++) {
        uint8_t c = bad.data[i];
        if (c >= 0x20 && c < 0x7f) {
            if (c == '"' || c == '\\')
                text[at++] = '\\';
            text[at++] = (char)c;
        } else {
            text[at++] = '\\';
            text[at++] = 'x';
            text[at++] = hex[c >> 4];
            text[at++] = hex[c & 15];
        }
    }
    text[at] = '\0';
    return err_set(why, ERR_INVALID, "invalid URL escape \"%s\"", text);
}

static int decode_word(struct slice in, struct arena *a, struct slice *out, struct err_text *why)
{
    struct slice bad;
    int rc = http_percent_decode(in, true, a, out, &bad);
    if (rc == ERR_INVALID)
        return bad_escape(bad, why);
    return rc ? err_set(why, rc, "%s", err_text_of(rc)) : 0;
}

static int param_parse(struct slice text, struct arena *a, struct http_param *out,
                       struct err_text *why)
{
    const uint8_t *mark = memchr(text.data, '=', text.len);
    struct slice key = text;
    struct slice value = slice_of(NULL, 0);

    out->has_value = mark != NULL;
    if (mark) {
        key.len = (size_t)(mark - text.data);
        value = slice_of(mark + 1, text.len - key.len - 1);
    }
    int rc = decode_word(key, a, &out->key, why);
    return rc ? rc : decode_word(value, a, &out->value, why);
}

int http_query_parse(struct slice query, struct arena *a, struct http_param *out, uint32_t max,
                     uint32_t *count, struct err_text *why)
{
    size_t at = 0;

    *count = 0;
    if (query.len && memchr(query.data, ';', query.len)) /* says so even behind a bad escape */
        return err_set(why, ERR_INVALID, "invalid semicolon separator in query");
    while (at < query.len) {
        const uint8_t *from = query.data + at;
        const uint8_t *mark = memchr(from, '&', query.len - at);
        size_t len = mark ? (size_t)(mark - from) : query.len - at;
        at += len + 1;
        if (len == 0)
            continue;
        if (*count == max)
            return err_set(why, ERR_TOO_BIG, "too many query parameters");
        int rc = param_parse(slice_of(from, len), a, &out[*count], why);
        if (rc)
            return rc;
        (*count)++;
    }
    return 0;
}

/* ---- host:port -------------------------------------------------------------------------------- */

static bool has(struct slice s, size_t from, uint8_t c)
{
    return s.len > from && memchr(s.data + from, c, s.len - from) != NULL;
}

int http_host_port_split(struct slice addr, struct slice *host, struct slice *port)
{
    size_t colon = addr.len;
    size_t no_open = 0;  /* from here on no '[' is allowed */
    size_t no_close = 0; /* from here on no ']' */

    while (colon > 0 && addr.data[colon - 1] != ':')
        colon--;
    if (colon-- == 0)
        return ERR_INVALID; /* no port */
    *host = slice_of(addr.data, colon);
    if (addr.data[0] == '[') {
        const uint8_t *close = memchr(addr.data, ']', addr.len);
        size_t end = close ? (size_t)(close - addr.data) : addr.len;
        if (end + 1 != colon)
            return ERR_INVALID; /* no bracket, or the last colon is not right behind it */
        *host = slice_of(addr.data + 1, end - 1);
        no_open = 1;
        no_close = end + 1;
    } else if (has(*host, 0, ':')) {
        return ERR_INVALID; /* too many colons */
    }
    if (has(addr, no_open, '[') || has(addr, no_close, ']'))
        return ERR_INVALID;
    *port = slice_of(addr.data + colon + 1, addr.len - colon - 1);
    return 0;
}
