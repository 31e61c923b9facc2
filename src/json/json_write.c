/* json_write.c — bounded writer. Layout as http-api.md §5.9, strings as §5.6.3: `<`, `>`, `&`, U+2028
 * and U+2029 are escaped so that an answer may stand inside an HTML page.
 *
 * Nothing here fails by itself: a full buffer stays failed and its owner looks at it once. */
#include <rq/json.h>

#include "json_int.h"

#include <rq/util/assert.h>

enum { DEPTH_LIMIT = 128, INDENT = 4 };

void json_writer_init(struct json_writer *w, struct buf *out, bool pretty, uint32_t base_depth)
{
    memset(w, 0, sizeof(*w));
    w->out = out;
    w->pretty = pretty;
    w->base_depth = base_depth;
}

/* ---- layout ----------------------------------------------------------------------------------- */

static void new_line(struct json_writer *w)
{
    size_t blanks = (size_t)INDENT * (w->depth + w->base_depth);
    uint8_t *p = buf_reserve(w->out, 1 + blanks);
    if (!p)
        return;
    p[0] = '\n';
    memset(p + 1, ' ', blanks);
    buf_commit(w->out, 1 + blanks);
}

static bool has_item(const struct json_writer *w)
{
    uint32_t level = w->depth - 1;
    return (w->has_item[level / 8] >> (level % 8)) & 1;
}

/* Everything that stands between the item before and this one. */
static void item_begin(struct json_writer *w)
{
    if (w->after_key || w->depth == 0) {
        w->after_key = false;
        return;
    }
    uint32_t level = w->depth - 1;
    if (has_item(w))
        (void)buf_append_byte(w->out, ',');
    w->has_item[level / 8] = (uint8_t)(w->has_item[level / 8] | 1U << (level % 8));
    if (w->pretty)
        new_line(w);
}

static void container_begin(struct json_writer *w, uint8_t bracket)
{
    ASSERT(w->depth < DEPTH_LIMIT);
    item_begin(w);
    (void)buf_append_byte(w->out, bracket);
    uint32_t level = w->depth++;
    w->has_item[level / 8] = (uint8_t)(w->has_item[level / 8] & ~(1U << (level % 8)));
}

static void container_end(struct json_writer *w, uint8_t bracket)
{
    ASSERT(w->depth > 0);
    ASSERT(!w->after_key);
    bool filled = has_item(w);
    w->depth--;
    if (filled && w->pretty)
        new_line(w);
    (void)buf_append_byte(w->out, bracket);
}

void json_object_begin(struct json_writer *w)
{
    container_begin(w, '{');
}

void json_object_end(struct json_writer *w)
{
    container_end(w, '}');
}

void json_array_begin(struct json_writer *w)
{
    container_begin(w, '[');
}

void json_array_end(struct json_writer *w)
{
    container_end(w, ']');
}

/* ---- strings ---------------------------------------------------------------------------------- */

/* Eight bytes at once: nonzero if one of them may not stand for itself, or is not ASCII. */
static uint64_t written_plain_stop(const uint8_t *p)
{
    const uint64_t ones = UINT64_C(0x0101010101010101);
    const uint64_t tops = UINT64_C(0x8080808080808080);
    uint64_t w;

    memcpy(&w, p, sizeof(w));
    uint64_t angle = (w | (ones * 2)) ^ (ones * '>'); /* '<' and '>' differ in one bit */
    uint64_t ampersand = w ^ (ones * '&');
    return json_plain_stop(p) | (((angle - ones) | (ampersand - ones)) & tops);
}

/* Length of what stands for itself at the front of s. */
static size_t plain_len(const uint8_t *s, size_t len)
{
    size_t i = 0;

    while (i < len) {
        while (len - i >= 8 && written_plain_stop(s + i) == 0)
            i += 8;
        if (i == len)
            break;
        uint8_t c = s[i];
        if (c < 0x20 || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&')
            break;
        if (c < 0x80) {
            i++;
            continue;
        }
        size_t sequence = json_utf8_len(s + i, len - i);
        bool separator =
            sequence == 3 && c == 0xE2 && s[i + 1] == 0x80 && (s[i + 2] & 0xFE) == 0xA8;
        if (sequence == 0 || separator)
            break;
        i += sequence;
    }
    return i;
}

static char short_escape(uint8_t c)
{
    switch (c) {
    case '"':
    case '\\':
        return (char)c;
    case '\n':
        return 'n';
    case '\r':
        return 'r';
    case '\t':
        return 't';
    case '\b':
        return 'b';
    case '\f':
        return 'f';
    default:
        return 0;
    }
}

/* Escape what s begins with; returns the bytes of s consumed. */
static size_t put_escape(struct buf *out, const uint8_t *s, size_t len)
{
    static const char hex[] = "0123456789abcdef";
    uint8_t c = s[0];
    char text[6] = {'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15]};
    char letter = short_escape(c);

    if (letter) {
        text[1] = letter;
        (void)buf_append(out, text, 2);
        return 1;
    }
    if (c < 0x80) {
        (void)buf_append(out, text, 6);
        return 1;
    }
    /* plain_len stopped at a valid sequence only for U+2028 and U+2029; else the byte is not UTF-8. */
    bool separator = c == 0xE2 && json_utf8_len(s, len) == 3;
    (void)buf_append_str(out, !separator ? "\\ufffd" : s[2] == 0xA8 ? "\\u2028" : "\\u2029");
    return separator ? 3 : 1;
}

static void put_string(struct buf *out, struct slice text)
{
    size_t i = 0;

    (void)buf_append_byte(out, '"');
    while (i < text.len && !out->failed) {
        size_t plain = plain_len(text.data + i, text.len - i);
        (void)buf_append(out, text.data + i, plain);
        i += plain;
        if (i < text.len)
            i += put_escape(out, text.data + i, text.len - i);
    }
    (void)buf_append_byte(out, '"');
}

void json_key(struct json_writer *w, struct slice key)
{
    ASSERT(w->depth > 0);
    ASSERT(!w->after_key);
    item_begin(w);
    put_string(w->out, key);
    (void)buf_append_str(w->out, w->pretty ? ": " : ":");
    w->after_key = true;
}

void json_key_str(struct json_writer *w, const char *key)
{
    json_key(w, slice_str(key));
}

void json_string(struct json_writer *w, struct slice text)
{
    item_begin(w);
    put_string(w->out, text);
}

void json_string_str(struct json_writer *w, const char *text)
{
    json_string(w, slice_str(text));
}

/* ---- other scalars ---------------------------------------------------------------------------- */

void json_i64(struct json_writer *w, int64_t v)
{
    item_begin(w);
    (void)buf_append_i64(w->out, v);
}

void json_u64(struct json_writer *w, uint64_t v)
{
    item_begin(w);
    (void)buf_append_u64(w->out, v);
}

void json_real(struct json_writer *w, double v)
{
    char text[32];

    if (v - v != 0) { /* infinite, or not a number: JSON has no word for it */
        w->not_finite = true;
        json_null(w);
        return;
    }
    item_begin(w);
    (void)buf_append(w->out, text, json_real_text(v, text));
}

void json_bool(struct json_writer *w, bool v)
{
    item_begin(w);
    (void)buf_append_str(w->out, v ? "true" : "false");
}

void json_null(struct json_writer *w)
{
    item_begin(w);
    (void)buf_append_str(w->out, "null");
}

void json_raw(struct json_writer *w, struct slice value)
{
    item_begin(w);
    (void)buf_append_slice(w->out, value);
}

static void put_base64_group(uint8_t *p, const uint8_t *in, size_t len)
{
    static const char alphabet[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    uint32_t v = (uint32_t)in[0] << 16;
    if (len > 1)
        v |= (uint32_t)in[1] << 8;
    if (len > 2)
        v |= in[2];
    p[0] = (uint8_t)alphabet[v >> 18];
    p[1] = (uint8_t)alphabet[(v >> 12) & 63];
    p[2] = (uint8_t)(len > 1 ? alphabet[(v >> 6) & 63] : '=');
    p[3] = (uint8_t)(len > 2 ? alphabet[v & 63] : '=');
}

void json_base64(struct json_writer *w, struct slice bytes)
{
    item_begin(w);
    size_t text_len = 2 + (bytes.len + 2) / 3 * 4;
    uint8_t *p = buf_reserve(w->out, text_len);
    if (!p)
        return;
    *p++ = '"';
    for (size_t i = 0; i < bytes.len; i += 3, p += 4)
        put_base64_group(p, bytes.data + i, bytes.len - i);
    *p = '"';
    buf_commit(w->out, text_len);
}
