/* auth_basic — the Authorization header (RFC 7617): "Basic ", then base64 of user:password. */
#include "auth_int.h"

static int digit_of(uint8_t c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* Padded base64 (RFC 4648 §4), nothing else between. false: broken, or over cap. */
static bool base64_decode(struct slice in, char *dst, size_t cap, size_t *len)
{
    *len = 0;
    if (in.len == 0 || in.len % 4 != 0)
        return false;
    const size_t pad = in.data[in.len - 1] != '=' ? 0 : in.data[in.len - 2] != '=' ? 1 : 2;
    const size_t count = in.len - pad;
    if (in.len / 4 * 3 - pad > cap)
        return false;
    uint32_t bits = 0;
    for (size_t i = 0; i < count; i++) {
        const int digit = digit_of(in.data[i]);
        if (digit < 0)
            return false;
        bits = (bits << 6) | (uint32_t)digit;
        if (i % 4 > 0) /* each digit but the first of four completes a byte */
            dst[(*len)++] = (char)(bits >> (6 - 2 * (i % 4)));
    }
    return true;
}

static bool scheme_is_basic(struct slice value)
{
    static const char scheme[] = "basic ";
    if (value.len < sizeof scheme - 1)
        return false;
    for (size_t i = 0; i < sizeof scheme - 1; i++) {
        const uint8_t c = value.data[i];
        if ((c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c) != scheme[i])
            return false;
    }
    return true;
}

void auth_basic_parse(struct slice value, struct auth_basic *out)
{
    size_t len = 0;
    out->user = out->password = slice_of(NULL, 0);
    if (!scheme_is_basic(value))
        return;
    const struct slice digits = slice_of(value.data + 6, value.len - 6);
    if (!base64_decode(digits, out->text, sizeof out->text, &len) || memchr(out->text, 0, len))
        return;
    const char *colon = memchr(out->text, ':', len);
    if (!colon)
        return;
    const size_t user_len = (size_t)(colon - out->text);
    const size_t password_len = len - user_len - 1;
    if (user_len > AUTH_USER_MAX || password_len > AUTH_PASSWORD_MAX)
        return;
    out->user = slice_of(out->text, user_len);
    out->password = slice_of(colon + 1, password_len);
}
