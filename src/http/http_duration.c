/* http_duration.c — durations as Go writes and reads them (http-api.md §2.2; Go package time,
 * ParseDuration and Duration.String). Nanoseconds, signed 64 bits. */
#include "http_int.h"

static const uint64_t limit = UINT64_C(1) << 63; /* magnitude of the smallest int64 */

static bool is_digit(uint8_t c)
{
    return c >= '0' && c <= '9';
}

/* Digits at *at; false if they leave 63 bits. */
static bool whole_parse(struct slice s, size_t *at, uint64_t *out)
{
    uint64_t v = 0;
    for (; *at < s.len && is_digit(s.data[*at]); (*at)++) {
        if (v > limit / 10)
            return false;
        v = v * 10 + (uint64_t)(s.data[*at] - '0');
        if (v > limit)
            return false;
    }
    *out = v;
    return true;
}

/* Digits behind the point: *fraction / *scale. More digits than fit are dropped. */
static void fraction_parse(struct slice s, size_t *at, uint64_t *fraction, double *scale)
{
    bool full = false;
    *fraction = 0;
    *scale = 1;
    for (; *at < s.len && is_digit(s.data[*at]); (*at)++) {
        uint64_t digit = (uint64_t)(s.data[*at] - '0');
        if (full || *fraction > (limit - 1) / 10 || *fraction * 10 + digit > limit) {
            full = true;
            continue;
        }
        *fraction = *fraction * 10 + digit;
        *scale *= 10;
    }
}

static uint64_t unit_parse(struct slice s, size_t *at) /* 0: unknown */
{
    static const struct {
        const char *text;
        uint64_t ns;
    } table[] = {
        {"ns", 1},
        {"us", 1000},
        {"\xc2\xb5s", 1000}, /* U+00B5 micro sign */
        {"\xce\xbcs", 1000}, /* U+03BC Greek mu */
        {"ms", 1000000},
        {"s", 1000000000},
        {"m", UINT64_C(60000000000)},
        {"h", UINT64_C(3600000000000)},
    };
    size_t from = *at;

    while (*at < s.len && s.data[*at] != '.' && !is_digit(s.data[*at]))
        (*at)++;
    struct slice text = slice_of(s.data + from, *at - from);
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
        if (slice_equal_str(text, table[i].text))
            return table[i].ns;
    return 0;
}

/* One number with its unit; *out is at most 2^63. */
static bool group_parse(struct slice s, size_t *at, uint64_t *out)
{
    uint64_t whole, fraction = 0;
    double scale = 1;
    size_t from = *at;

    if (!whole_parse(s, at, &whole))
        return false;
    bool digits = *at > from;
    if (*at < s.len && s.data[*at] == '.') {
        from = ++*at;
        fraction_parse(s, at, &fraction, &scale);
        digits = digits || *at > from;
    }
    if (!digits)
        return false;
    uint64_t unit = unit_parse(s, at);
    if (unit == 0 || whole > limit / unit)
        return false;
    *out = whole * unit;
    if (fraction > 0)
        *out += (uint64_t)((double)fraction * ((double)unit / scale));
    return *out <= limit;
}

int http_duration_parse(struct slice text, int64_t *out_ns)
{
    uint64_t sum = 0;
    size_t at = 0;
    bool negative = text.len > 0 && text.data[0] == '-';

    if (text.len > 0 && (text.data[0] == '-' || text.data[0] == '+'))
        at++;
    *out_ns = 0;
    if (text.len == at + 1 && text.data[at] == '0')
        return 0; /* the only number that needs no unit */
    if (at == text.len)
        return ERR_INVALID;
    while (at < text.len) {
        uint64_t group;
        if (!group_parse(text, &at, &group) || sum > limit - group)
            return ERR_INVALID;
        sum += group;
    }
    if (!negative && sum == limit)
        return ERR_INVALID;
    *out_ns = negative ? (int64_t)(0 - sum) : (int64_t)sum;
    return 0;
}

/* ---- text ------------------------------------------------------------------------------------- */

/* Written from the end, because the last part is known first. */
static char *put_uint(char *end, uint64_t v)
{
    do {
        *--end = (char)('0' + v % 10);
        v /= 10;
    } while (v != 0);
    return end;
}

/* v / 10^digits without trailing zeros; *v becomes its integer part. */
static char *put_fraction(char *end, uint64_t *v, unsigned digits)
{
    bool wanted = false;
    for (; digits > 0; digits--, *v /= 10) {
        wanted = wanted || *v % 10 != 0;
        if (wanted)
            *--end = (char)('0' + *v % 10);
    }
    if (wanted)
        *--end = '.';
    return end;
}

static char *put_below_a_second(char *end, uint64_t ns)
{
    unsigned digits = ns < 1000 ? 0 : ns < 1000000 ? 3 : 6;

    *--end = 's';
    if (digits == 0) {
        *--end = 'n';
    } else if (digits == 3) {
        *--end = (char)0xb5;
        *--end = (char)0xc2;
    } else {
        *--end = 'm';
    }
    end = put_fraction(end, &ns, digits);
    return put_uint(end, ns);
}

static char *put_seconds_and_more(char *end, uint64_t ns)
{
    *--end = 's';
    end = put_fraction(end, &ns, 9);
    end = put_uint(end, ns % 60);
    ns /= 60;
    if (ns == 0)
        return end;
    *--end = 'm';
    end = put_uint(end, ns % 60);
    ns /= 60;
    if (ns == 0)
        return end;
    *--end = 'h';
    return put_uint(end, ns);
}

size_t http_duration_text(int64_t ns, char *dst)
{
    char text[32];
    char *end = text + sizeof(text);
    uint64_t magnitude = ns < 0 ? 0 - (uint64_t)ns : (uint64_t)ns;
    char *at;

    if (magnitude == 0) {
        memcpy(dst, "0s", 2);
        return 2;
    }
    at = magnitude < 1000000000 ? put_below_a_second(end, magnitude)
                                : put_seconds_and_more(end, magnitude);
    if (ns < 0)
        *--at = '-';
    memcpy(dst, at, (size_t)(end - at));
    return (size_t)(end - at);
}
