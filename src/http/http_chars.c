/* http_chars.c — classes of bytes (RFC 9110 §5.5, §5.6). */
#include "http_int.h"

bool http_is_token_char(uint8_t c)
{
    uint8_t lower = http_to_lower(c);
    if ((lower >= 'a' && lower <= 'z') || (c >= '0' && c <= '9'))
        return true;
    return c != 0 && c < 0x80 && strchr("!#$%&'*+-.^_`|~", c) != NULL;
}

bool http_is_control(uint8_t c)
{
    return (c < 0x20 && c != '\t') || c == 0x7f;
}

uint8_t http_to_lower(uint8_t c)
{
    return c >= 'A' && c <= 'Z' ? (uint8_t)(c + 32) : c;
}

bool http_equal_nocase(struct slice a, const char *b)
{
    if (strlen(b) != a.len)
        return false;
    for (size_t i = 0; i < a.len; i++)
        if (http_to_lower(a.data[i]) != http_to_lower((uint8_t)b[i]))
            return false;
    return true;
}

static bool is_blank(uint8_t c)
{
    return c == ' ' || c == '\t';
}

struct slice http_trim(struct slice s)
{
    while (s.len > 0 && is_blank(s.data[0]))
        s = slice_of(s.data + 1, s.len - 1);
    while (s.len > 0 && is_blank(s.data[s.len - 1]))
        s.len--;
    return s;
}

int http_hex_value(uint8_t c)
{
    uint8_t lower = http_to_lower(c);
    if (c >= '0' && c <= '9')
        return c - '0';
    return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}
