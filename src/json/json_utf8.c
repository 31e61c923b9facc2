/* json_utf8.c — what is valid UTF-8 (RFC 3629 §4, the table of well-formed sequences). */
#include "json_int.h"

static bool is_tail(const uint8_t *s, size_t len, size_t i)
{
    return i < len && (s[i] & 0xC0) == 0x80;
}

size_t json_utf8_len(const uint8_t *s, size_t len)
{
    uint8_t c = s[0];

    if (c < 0x80)
        return 1;
    if (c < 0xC2 || c > 0xF4 || !is_tail(s, len, 1))
        return 0;
    if (c < 0xE0)
        return 2;
    if (!is_tail(s, len, 2))
        return 0;
    if (c < 0xF0) {
        bool overlong = c == 0xE0 && s[1] < 0xA0;
        bool surrogate = c == 0xED && s[1] >= 0xA0;
        return overlong || surrogate ? 0 : 3;
    }
    bool overlong = c == 0xF0 && s[1] < 0x90;
    bool too_large = c == 0xF4 && s[1] >= 0x90;
    return overlong || too_large || !is_tail(s, len, 3) ? 0 : 4;
}
