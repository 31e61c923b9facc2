/* api_date — moments as text: RFC 3339 out, SQLite's date texts in (http-api.md §5.6.5). Proleptic
 * Gregorian calendar, no leap seconds, no time zones but offsets. Pure. */
#include "api_int.h"

#include <stdio.h>

enum { DAY_S = 24 * 60 * 60 };

struct moment {
    int64_t year;
    unsigned month, day, hour, minute, second, nanos;
    int offset_minutes;
};

static bool is_leap(int64_t year)
{
    return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
}

static unsigned days_in_month(int64_t year, unsigned month)
{
    static const uint8_t days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    return month == 2 && is_leap(year) ? 29 : days[month - 1];
}

/* Days since 1970-01-01 to a date. The year is counted from March, so that the leap day is its last;
 * an era is 400 years of 146097 days. */
static void date_from_days(int64_t days, struct moment *m)
{
    days += 719468; /* 0000-03-01 */
    const int64_t era = (days >= 0 ? days : days - 146096) / 146097;
    const unsigned day_of_era = (unsigned)(days - era * 146097);
    const unsigned year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    const unsigned day_of_year =
        day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    const unsigned month = (5 * day_of_year + 2) / 153; /* from March */
    m->day = day_of_year - (153 * month + 2) / 5 + 1;
    m->month = month < 10 ? month + 3 : month - 9;
    m->year = era * 400 + year_of_era + (m->month <= 2);
}

static size_t moment_text(const struct moment *m, char *dst)
{
    int len = snprintf(dst, API_TIME_TEXT_MAX, "%04u-%02u-%02uT%02u:%02u:%02u",
                       (unsigned)m->year % 10000U, m->month % 100, m->day % 100, m->hour % 100,
                       m->minute % 100, m->second % 100);
    if (m->nanos != 0) {
        len += snprintf(dst + len, (size_t)(API_TIME_TEXT_MAX - len), ".%09u", m->nanos);
        while (dst[len - 1] == '0')
            len--;
    }
    if (m->offset_minutes == 0) {
        dst[len++] = 'Z';
        return (size_t)len;
    }
    const unsigned offset =
        (unsigned)(m->offset_minutes < 0 ? -m->offset_minutes : m->offset_minutes);
    len += snprintf(dst + len, (size_t)(API_TIME_TEXT_MAX - len), "%c%02u:%02u",
                    m->offset_minutes < 0 ? '-' : '+', offset / 60 % 100, offset % 60);
    return (size_t)len;
}

size_t api_time_text(int64_t seconds, uint32_t nanos, char *dst)
{
    ASSERT(nanos < 1000000000);
    int64_t days = seconds / DAY_S, rest = seconds % DAY_S;
    if (rest < 0) {
        rest += DAY_S;
        days--;
    }
    if (days < -719528 || days > 2932896) /* 0000-01-01, 9999-12-31 */
        return 0;
    struct moment m = {.hour = (unsigned)rest / 3600,
                       .minute = (unsigned)rest / 60 % 60,
                       .second = (unsigned)rest % 60,
                       .nanos = nanos};
    date_from_days(days, &m);
    return moment_text(&m, dst);
}

size_t api_time_wall_text(int64_t wall_ns, char *dst)
{
    int64_t seconds = wall_ns / 1000000000, nanos = wall_ns % 1000000000;
    if (nanos < 0) {
        nanos += 1000000000;
        seconds--;
    }
    return api_time_text(seconds, (uint32_t)nanos, dst);
}

/* ---- parsing -------------------------------------------------------------------------------------------- */

struct cursor {
    struct slice text;
    size_t at;
};

static uint8_t cursor_peek(const struct cursor *c)
{
    return c->at < c->text.len ? c->text.data[c->at] : 0;
}

static bool cursor_take(struct cursor *c, char expected)
{
    if (c->at >= c->text.len || c->text.data[c->at] != (uint8_t)expected)
        return false;
    c->at++;
    return true;
}

/* Between min and max digits. */
static bool cursor_number(struct cursor *c, unsigned min, unsigned max, unsigned *out)
{
    unsigned digits = 0;
    *out = 0;
    while (digits < max && cursor_peek(c) >= '0' && cursor_peek(c) <= '9') {
        *out = *out * 10 + (unsigned)(c->text.data[c->at++] - '0');
        digits++;
    }
    return digits >= min;
}

/* "." or "," and digits; at most nine are kept. */
static bool fraction_parse(struct cursor *c, struct moment *m)
{
    if (cursor_peek(c) != '.' && cursor_peek(c) != ',')
        return true;
    c->at++;
    unsigned digits = 0;
    for (; cursor_peek(c) >= '0' && cursor_peek(c) <= '9'; c->at++, digits++)
        if (digits < 9)
            m->nanos = m->nanos * 10 + (unsigned)(cursor_peek(c) - '0');
    for (unsigned kept = digits < 9 ? digits : 9; kept < 9; kept++)
        m->nanos *= 10;
    return digits > 0;
}

static bool offset_parse(struct cursor *c, struct moment *m)
{
    const uint8_t sign = cursor_peek(c);
    unsigned hours = 0, minutes = 0;
    if (sign != '+' && sign != '-')
        return true;
    c->at++;
    if (!cursor_number(c, 2, 2, &hours) || !cursor_take(c, ':') ||
        !cursor_number(c, 2, 2, &minutes) || hours > 24 || minutes > 59)
        return false;
    m->offset_minutes = (int)(hours * 60 + minutes) * (sign == '-' ? -1 : 1);
    return true;
}

static bool clock_parse(struct cursor *c, struct moment *m)
{
    if (!cursor_take(c, 'T') && !cursor_take(c, ' '))
        return false;
    if (!cursor_number(c, 1, 2, &m->hour) || !cursor_take(c, ':') ||
        !cursor_number(c, 2, 2, &m->minute) || m->hour > 23 || m->minute > 59)
        return false;
    if (!cursor_take(c, ':'))
        return true;
    return cursor_number(c, 2, 2, &m->second) && m->second <= 59 && fraction_parse(c, m) &&
           offset_parse(c, m);
}

static bool moment_parse(struct slice text, struct moment *m)
{
    if (text.len > 0 && text.data[text.len - 1] == 'Z')
        text.len--;
    struct cursor c = {text, 0};
    unsigned year = 0;
    if (!cursor_number(&c, 4, 4, &year) || !cursor_take(&c, '-') ||
        !cursor_number(&c, 2, 2, &m->month) || !cursor_take(&c, '-') ||
        !cursor_number(&c, 2, 2, &m->day))
        return false;
    m->year = year;
    if (m->month < 1 || m->month > 12 || m->day < 1 || m->day > days_in_month(m->year, m->month))
        return false;
    return c.at == text.len || (clock_parse(&c, m) && c.at == text.len);
}

size_t api_time_from_text(struct slice text, char *dst)
{
    struct moment m = {0};
    if (!moment_parse(text, &m)) {
        const struct moment year_one = {.year = 1, .month = 1, .day = 1};
        m = year_one;
    }
    return moment_text(&m, dst);
}
