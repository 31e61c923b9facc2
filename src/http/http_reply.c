/* http_reply.c — heads of responses and requests, written into a buffer that remembers its failure.
 * Callers: the api's server, and the clients that forward and join. */
#include "http_int.h"

const char *http_status_text(int status)
{
    static const struct {
        int status;
        const char *text;
    } table[] = {
        {100, "Continue"},
        {101, "Switching Protocols"},
        {200, "OK"},
        {201, "Created"},
        {202, "Accepted"},
        {204, "No Content"},
        {206, "Partial Content"},
        {301, "Moved Permanently"},
        {302, "Found"},
        {303, "See Other"},
        {304, "Not Modified"},
        {307, "Temporary Redirect"},
        {308, "Permanent Redirect"},
        {400, "Bad Request"},
        {401, "Unauthorized"},
        {403, "Forbidden"},
        {404, "Not Found"},
        {405, "Method Not Allowed"},
        {406, "Not Acceptable"},
        {408, "Request Timeout"},
        {409, "Conflict"},
        {411, "Length Required"},
        {412, "Precondition Failed"},
        {413, "Request Entity Too Large"},
        {414, "Request URI Too Long"},
        {415, "Unsupported Media Type"},
        {417, "Expectation Failed"},
        {421, "Misdirected Request"},
        {422, "Unprocessable Entity"},
        {429, "Too Many Requests"},
        {431, "Request Header Fields Too Large"},
        {500, "Internal Server Error"},
        {501, "Not Implemented"},
        {502, "Bad Gateway"},
        {503, "Service Unavailable"},
        {504, "Gateway Timeout"},
        {505, "HTTP Version Not Supported"},
        {507, "Insufficient Storage"},
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
        if (table[i].status == status)
            return table[i].text;
    return "Unknown";
}

void http_put_status(struct buf *out, int status)
{
    (void)buf_append_str(out, "HTTP/1.1 ");
    (void)buf_append_i64(out, status);
    (void)buf_append_byte(out, ' ');
    (void)buf_append_str(out, http_status_text(status));
    (void)buf_append_str(out, "\r\n");
}

/* Bytes that would end the line, or mean nothing in it, become blanks: values may stem from outside. */
static void put_line_safe(struct buf *out, struct slice text)
{
    uint8_t *p = buf_reserve(out, text.len);
    if (!p)
        return;
    for (size_t i = 0; i < text.len; i++)
        p[i] = http_is_control(text.data[i]) ? ' ' : text.data[i];
    buf_commit(out, text.len);
}

void http_put_header(struct buf *out, const char *name, struct slice value)
{
    (void)buf_append_str(out, name);
    (void)buf_append_str(out, ": ");
    put_line_safe(out, value);
    (void)buf_append_str(out, "\r\n");
}

void http_put_header_u64(struct buf *out, const char *name, uint64_t value)
{
    (void)buf_append_str(out, name);
    (void)buf_append_str(out, ": ");
    (void)buf_append_u64(out, value);
    (void)buf_append_str(out, "\r\n");
}

void http_put_end(struct buf *out)
{
    (void)buf_append_str(out, "\r\n");
}

void http_put_request(struct buf *out, const char *method, struct slice target, const char *host)
{
    (void)buf_append_str(out, method);
    (void)buf_append_byte(out, ' ');
    for (size_t i = 0; i < target.len; i++) {
        uint8_t c = target.data[i];
        if (c == ' ' || c == '\t' || http_is_control(c))
            (void)buf_printf(out, "%%%02X", c);
        else
            (void)buf_append_byte(out, c);
    }
    (void)buf_append_str(out, " HTTP/1.1\r\n");
    http_put_header(out, "Host", slice_str(host));
}

/* ---- Date ------------------------------------------------------------------------------------- */

struct civil {
    int64_t year;
    unsigned month; /* 1..12 */
    unsigned day;   /* 1..31 */
};

/* Proleptic Gregorian date of a day counted from 1970-01-01. Years begin in March here, so that the
 * leap day is the last of its year; 146097 days make 400 of them. */
static struct civil civil_from_days(int64_t days)
{
    int64_t shifted = days + 719468; /* from 0000-03-01 */
    int64_t era = (shifted >= 0 ? shifted : shifted - 146096) / 146097;
    unsigned day_of_era = (unsigned)(shifted - era * 146097);
    unsigned year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    unsigned day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    unsigned march_month = (5 * day_of_year + 2) / 153;
    struct civil c;

    c.day = day_of_year - (153 * march_month + 2) / 5 + 1;
    c.month = march_month < 10 ? march_month + 3 : march_month - 9;
    c.year = era * 400 + year_of_era + (c.month <= 2);
    return c;
}

void http_put_date(struct buf *out, int64_t wall_ns)
{
    static const char week_days[] = "ThuFriSatSunMonTueWed"; /* 1970-01-01 was a Thursday */
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    const int64_t day_seconds = 86400;
    int64_t seconds = wall_ns / 1000000000 - (wall_ns % 1000000000 < 0);
    int64_t days = seconds / day_seconds - (seconds % day_seconds < 0);
    unsigned in_day = (unsigned)(seconds - days * day_seconds);
    struct civil c = civil_from_days(days);
    size_t week_day = (size_t)(((days % 7) + 7) % 7);

    (void)buf_printf(out, "Date: %.3s, %02u %.3s %04u %02u:%02u:%02u GMT\r\n",
                     week_days + 3 * week_day, c.day, months + (size_t)3 * (c.month - 1),
                     (unsigned)c.year, in_day / 3600, in_day / 60 % 60, in_day % 60);
}
