/* test_http_reply.c — heads as they go out, and the date. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <rq/http.h>
#include <stdio.h>
#include <time.h>

static struct buf out;

static int up(void **state)
{
    (void)state;
    buf_init(&out, 4096);
    return 0;
}

static int down(void **state)
{
    (void)state;
    buf_fini(&out);
    return 0;
}

static void expect(const char *text)
{
    assert_int_equal(out.failed, 0);
    assert_int_equal(buf_len(&out), strlen(text));
    assert_memory_equal(buf_slice(&out).data, text, strlen(text));
    buf_reset(&out, 0);
}

static void test_response_head(void **state)
{
    (void)state;
    http_put_status(&out, 200);
    http_put_header(&out, "Content-Type", slice_str("text/plain"));
    http_put_header(&out, "X-Empty", slice_str(""));
    http_put_header_u64(&out, "Content-Length", UINT64_MAX);
    http_put_end(&out);
    expect("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nX-Empty: \r\n"
           "Content-Length: 18446744073709551615\r\n\r\n");
    http_put_status(&out, 431);
    http_put_status(&out, 299);
    expect("HTTP/1.1 431 Request Header Fields Too Large\r\nHTTP/1.1 299 Unknown\r\n");
}

static void test_values_cannot_end_their_line(void **state)
{
    (void)state;
    http_put_header(&out, "Location", slice_of("http://a\r\nX: y\0z\x7f", 17));
    expect("Location: http://a  X: y z \r\n");
    http_put_request(&out, "GET", slice_str("/a b\r\nX: y"), "h:1\r\nZ: z");
    expect("GET /a%20b%0D%0AX:%20y HTTP/1.1\r\nHost: h:1  Z: z\r\n");
}

static void test_request_head(void **state)
{
    (void)state;
    http_put_request(&out, "POST", slice_str("/db/execute?pretty"), "localhost:4001");
    http_put_end(&out);
    expect("POST /db/execute?pretty HTTP/1.1\r\nHost: localhost:4001\r\n\r\n");
}

static void test_date(void **state)
{
    (void)state;
    http_put_date(&out, INT64_C(784111777) * 1000000000);
    expect("Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n");
    http_put_date(&out, 0);
    expect("Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n");
    http_put_date(&out, -1);
    expect("Date: Wed, 31 Dec 1969 23:59:59 GMT\r\n");
    http_put_date(&out, INT64_C(951825599999999999)); /* the day before 2000-03-01 */
    expect("Date: Tue, 29 Feb 2000 11:59:59 GMT\r\n");
    http_put_date(&out, INT64_MAX);
    expect("Date: Fri, 11 Apr 2262 23:47:16 GMT\r\n");
    http_put_date(&out, INT64_MIN);
    expect("Date: Tue, 21 Sep 1677 00:12:43 GMT\r\n");
}

static void test_date_agrees_with_libc_on_every_day(void **state)
{
    (void)state;
    static const char days[] = "SunMonTueWedThuFriSat";
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    for (int64_t day = -100000; day < 100000; day += 3) {
        time_t seconds = day * 86400 + (day & 0xffff);
        struct tm tm;
        char text[64];
        assert_non_null(gmtime_r(&seconds, &tm));
        (void)snprintf(text, sizeof(text), "Date: %.3s, %02d %.3s %04d %02d:%02d:%02d GMT\r\n",
                       days + tm.tm_wday * 3, tm.tm_mday, months + tm.tm_mon * 3, tm.tm_year + 1900,
                       tm.tm_hour, tm.tm_min, tm.tm_sec);
        http_put_date(&out, seconds * INT64_C(1000000000));
        expect(text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_response_head),
        cmocka_unit_test(test_values_cannot_end_their_line),
        cmocka_unit_test(test_request_head),
        cmocka_unit_test(test_date),
        cmocka_unit_test(test_date_agrees_with_libc_on_every_day),
    };
    return cmocka_run_group_tests(tests, up, down);
}
