/* json_string.c — the inside of a JSON string (RFC 8259 §7) into bytes.
 *
 * Most strings hold neither escapes nor bad UTF-8: those are found eight bytes at a time and lent from
 * the input. The others are measured first, exactly, and then decoded into the arena. What cannot be
 * decoded (an unpaired surrogate, each byte outside valid UTF-8) becomes U+FFFD.
 *
 * Callers: json_read.c. */
#include "json_string.h"
#include "json_int.h"

#include <rq/util/assert.h>
#include <rq/util/err.h>

enum { REPLACEMENT = 0xFFFD, NOT_HEX = 0x10000 };

/* Four hex digits at s; NOT_HEX if there are fewer. */
static uint32_t hex4(const uint8_t *s, size_t len)
{
    uint32_t v = 0;

    if (len < 4)
        return NOT_HEX;
    for (size_t i = 0; i < 4; i++) {
        uint8_t c = s[i];
        uint8_t lower = c | 0x20;
        if (c >= '0' && c <= '9')
            v = v * 16 + (uint32_t)(c - '0');
        else if (lower >= 'a' && lower <= 'f')
            v = v * 16 + (uint32_t)(lower - 'a' + 10);
        else
            return NOT_HEX;
    }
    return v;
}

/* \uXXXX at s, or a pair of them that makes one character. Length consumed; 0: not an escape. */
static size_t unicode_escape(const uint8_t *s, size_t len, uint32_t *rune)
{
    uint32_t high = hex4(s + 2, len - 2);

    if (high == NOT_HEX)
        return 0;
    *rune = high;
    if (high < 0xD800 || high > 0xDFFF)
        return 6;
    *rune = REPLACEMENT;
    if (high > 0xDBFF || len < 12 || s[6] != '\\' || s[7] != 'u')
        return 6;
    uint32_t low = hex4(s + 8, len - 8);
    if (low < 0xDC00 || low > 0xDFFF) /* also NOT_HEX: the next round objects to it */
        return 6;
    *rune = 0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00);
    return 12;
}

/* The escape at s (s[0] is the backslash). Length consumed; 0: not an escape. */
static size_t escape(const uint8_t *s, size_t len, uint32_t *rune)
{
    if (len < 2)
        return 0;
    switch (s[1]) {
    case '"':
    case '\\':
    case '/':
        *rune = s[1];
        return 2;
    case 'b':
        *rune = '\b';
        return 2;
    case 'f':
        *rune = '\f';
        return 2;
    case 'n':
        *rune = '\n';
        return 2;
    case 'r':
        *rune = '\r';
        return 2;
    case 't':
        *rune = '\t';
        return 2;
    case 'u':
        return unicode_escape(s, len, rune);
    default:
        return 0;
    }
}

static size_t rune_len(uint32_t rune)
{
    return rune < 0x80 ? 1 : rune < 0x800 ? 2 : rune < 0x10000 ? 3 : 4;
}

static uint8_t *rune_put(uint8_t *p, uint32_t rune)
{
    size_t len = rune_len(rune);

    if (len == 1) {
        *p++ = (uint8_t)rune;
        return p;
    }
    static const uint8_t lead[] = {0, 0, 0xC0, 0xE0, 0xF0};
    *p++ = (uint8_t)(lead[len] | rune >> (6 * (len - 1)));
    for (size_t i = len - 1; i-- > 0;)
        *p++ = (uint8_t)(0x80 | ((rune >> (6 * i)) & 0x3F));
    return p;
}

/* Find the closing quote. *inner_len: bytes in front of it; *decoded_len: what they decode to;
 * *verbatim: they are their own decoding. False: no string. */
static bool measure(struct slice s, size_t *inner_len, size_t *decoded_len, bool *verbatim)
{
    size_t i = 0;
    size_t decoded = 0;

    *verbatim = true;
    for (;;) {
        while (s.len - i >= 8 && json_plain_stop(s.data + i) == 0) {
            i += 8;
            decoded += 8;
        }
        if (i == s.len)
            return false;
        uint8_t c = s.data[i];
        uint32_t rune;
        size_t len;
        if (c == '"')
            break;
        if (c < 0x20)
            return false;
        if (c == '\\') {
            len = escape(s.data + i, s.len - i, &rune);
            if (len == 0)
                return false;
            *verbatim = false;
            decoded += rune_len(rune);
        } else {
            len = json_utf8_len(s.data + i, s.len - i);
            decoded += len ? len : 3;
            *verbatim = *verbatim && len != 0;
            len = len ? len : 1;
        }
        i += len;
    }
    *inner_len = i;
    *decoded_len = decoded;
    return true;
}

static uint8_t *decode(uint8_t *p, struct slice s)
{
    size_t i = 0;

    while (i < s.len) {
        uint32_t rune;
        size_t len;
        if (s.data[i] == '\\') {
            i += escape(s.data + i, s.len - i, &rune);
            p = rune_put(p, rune);
            continue;
        }
        len = json_utf8_len(s.data + i, s.len - i);
        if (len == 0) {
            i++;
            p = rune_put(p, REPLACEMENT);
            continue;
        }
        memcpy(p, s.data + i, len);
        p += len;
        i += len;
    }
    return p;
}

int json_string_read(struct slice in, struct arena *arena, struct slice *out, size_t *used)
{
    size_t inner_len, decoded_len;
    bool verbatim;

    if (!measure(in, &inner_len, &decoded_len, &verbatim))
        return ERR_PROTOCOL;
    *used = inner_len + 1;
    *out = slice_of(in.data, inner_len);
    if (verbatim)
        return 0;
    uint8_t *bytes = arena_alloc(arena, decoded_len);
    if (!bytes)
        return ERR_NOMEM;
    const uint8_t *end = decode(bytes, *out);
    ASSERT((size_t)(end - bytes) == decoded_len);
    *out = slice_of(bytes, decoded_len);
    return 0;
}
