/* test_http_parse.c — messages in, pipelined, chunked, refused; the outcome never depends on where
 * segments end: every message of the corpus is cut at every place and fed byte by byte. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <http_trace.h>
#include <rq/http.h>
#include <stdio.h>

static const struct http_parser_limits limits = {.header_bytes_max = 1024, .body_bytes_max = 64};

/* Feed bytes cut at first and second (both <= len). */
static void trace_cut(struct buf *out, enum http_side side, struct slice bytes, size_t first,
                      size_t second)
{
    struct http_conn_parser *p;
    const size_t ends[] = {first, second, bytes.len};
    size_t from = 0;

    assert_int_equal(http_parser_create(side, &limits, &p), 0);
    buf_reset(out, SIZE_MAX);
    for (int i = 0; i < 3; i++) {
        /* A copy of exactly this size, so that the sanitizer sees a read beyond it. */
        size_t len = ends[i] - from;
        uint8_t *copy = mem_must_alloc(len);
        memcpy(copy, bytes.data + from, len);
        bool fine = http_trace_segment(out, p, slice_of(copy, len));
        mem_free(copy);
        if (!fine)
            break;
        from = ends[i];
    }
    http_trace_end(out, p);
    (void)buf_append_byte(out, 0);
    http_parser_destroy(p);
}

static void trace_bytewise(struct buf *out, enum http_side side, struct slice bytes)
{
    struct http_conn_parser *p;

    assert_int_equal(http_parser_create(side, &limits, &p), 0);
    buf_reset(out, SIZE_MAX);
    for (size_t i = 0; i < bytes.len; i++) {
        if (!http_trace_segment(out, p, slice_of(bytes.data + i, 1)))
            break;
    }
    http_trace_end(out, p);
    (void)buf_append_byte(out, 0);
    http_parser_destroy(p);
}

static void expect_trace(enum http_side side, struct slice bytes, const char *expected)
{
    struct buf out;

    buf_init(&out, 1 << 20);
    trace_cut(&out, side, bytes, bytes.len, bytes.len);
    assert_string_equal((const char *)out.data, expected);
    trace_bytewise(&out, side, bytes);
    assert_string_equal((const char *)out.data, expected);
    for (size_t first = 0; first <= bytes.len; first++) {
        size_t step = bytes.len < 200 ? 7 : bytes.len;
        for (size_t second = first; second <= bytes.len; second += step) {
            trace_cut(&out, side, bytes, first, second);
            assert_string_equal((const char *)out.data, expected);
        }
    }
    buf_fini(&out);
}

#define SERVER(bytes, expected)                                                                    \
    expect_trace(HTTP_SERVER, slice_of(bytes, sizeof(bytes) - 1), expected)
#define CLIENT(bytes, expected)                                                                    \
    expect_trace(HTTP_CLIENT, slice_of(bytes, sizeof(bytes) - 1), expected)
#define REFUSED(bytes, expected) SERVER(bytes, "BAD " expected "\nbusy cut\n")

static void test_plain_requests(void **state)
{
    (void)state;
    SERVER("", "idle\n");
    SERVER("GET / HTTP/1.1\r\nHost: a\r\n\r\n", "GET / 0 1.1 keep Host=a <>\nidle\n");
    SERVER("GET /db/query?q=SELECT%201 HTTP/1.1\r\nHost:a:4001\r\nX-Empty:\r\nX: \t b c \t\r\n\r\n",
           "GET /db/query?q=SELECT%201 0 1.1 keep Host=a:4001 X-Empty= X=b c <>\nidle\n");
    SERVER("POST /db/execute HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n[\"x\"]",
           "POST /db/execute 0 1.1 keep Host=a Content-Length=5 <[\"x\"]>\nidle\n");
    SERVER("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
           "POST / 0 1.1 keep Host=a Content-Length=0 <>\nidle\n");
    SERVER("FOO /x HTTP/1.1\r\nHost: a\r\n\r\n", "FOO /x 0 1.1 keep Host=a <>\nidle\n");
    SERVER("GET /\xc3\xa9 HTTP/1.1\r\nHost: \r\n\r\n", "GET /\xc3\xa9 0 1.1 keep Host= <>\nidle\n");
}

static void test_target_forms(void **state)
{
    (void)state;
    SERVER("GET http://a:1/x?y HTTP/1.1\r\nHost: a\r\n\r\n",
           "GET http://a:1/x?y 0 1.1 keep Host=a <>\nidle\n");
    SERVER("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", "OPTIONS * 0 1.1 keep Host=a <>\nidle\n");
    SERVER("CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n", "CONNECT a:1 0 1.1 keep Host=a <>\nidle\n");
    REFUSED("GET x HTTP/1.1\r\nHost: a\r\n\r\n", "400 malformed request target");
    REFUSED("GET  HTTP/1.1\r\nHost: a\r\n\r\n", "400 malformed request target");
    REFUSED("GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", "400 malformed request target");
}

static void test_connection_reuse(void **state)
{
    (void)state;
    SERVER("GET / HTTP/1.0\r\n\r\n", "GET / 0 1.0 close <>\nidle\n");
    SERVER("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n",
           "GET / 0 1.0 keep Connection=Keep-Alive <>\nidle\n");
    SERVER("GET / HTTP/1.1\r\nHost: a\r\nConnection: x, Close\r\n\r\n",
           "GET / 0 1.1 close Host=a Connection=x, Close <>\nidle\n");
    SERVER("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
           "GET / 0 1.1 keep Host=a Connection=Upgrade Upgrade=h2c <>\nidle\n");
    SERVER("GET / HTTP/1.9\r\nHost: a\r\n\r\n", "GET / 0 1.1 keep Host=a <>\nidle\n");
}

static void test_pipelined_requests_come_one_by_one(void **state)
{
    (void)state;
    SERVER("POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab"
           "GET /2 HTTP/1.1\r\nHost: a\r\n\r\n\r\n\r\n"
           "POST /3 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nc\r\n0\r\n\r\n"
           "GET /4",
           "POST /1 0 1.1 keep Host=a Content-Length=2 <ab>\n"
           "GET /2 0 1.1 keep Host=a <>\n"
           "POST /3 0 1.1 keep Host=a Transfer-Encoding=chunked <c>\n"
           "busy cut\n");
}

static void test_empty_lines_before_a_request_leave_the_connection_idle(void **state)
{
    (void)state;
    SERVER("\r\n\r\n", "idle\n");
    SERVER("\r\n\r", "busy cut\n");
    SERVER("\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", "GET / 0 1.1 keep Host=a <>\nidle\n");
}

#define CHUNKED "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n"
#define CHUNKED_TRACE "POST / 0 1.1 keep Host=a Transfer-Encoding=Chunked "

static void test_chunked_bodies(void **state)
{
    (void)state;
    SERVER(CHUNKED "0\r\n\r\n", CHUNKED_TRACE "<>\nidle\n");
    SERVER(CHUNKED "3\r\nabc\r\n00A\r\n0123456789\r\n0\r\n\r\n",
           CHUNKED_TRACE "<abc0123456789>\nidle\n");
    SERVER(CHUNKED "1;x=\"y\"\r\na\r\n1 \r\nb\r\n0;z\r\nTrailer: t\r\n\r\n",
           CHUNKED_TRACE "<ab>\nidle\n");
    SERVER(CHUNKED "3\r\nab", "busy body cut\n");
    REFUSED(CHUNKED "\r\n", "400 malformed chunk size");
    REFUSED(CHUNKED "g\r\n", "400 malformed chunk size");
    REFUSED(CHUNKED "-1\r\n", "400 malformed chunk size");
    REFUSED(CHUNKED "0x1\r\n", "400 malformed chunk size");
    REFUSED(CHUNKED "1\na\r\n", "400 malformed chunk size");
    REFUSED(CHUNKED "1\r\nab\r\n", "400 malformed end of a chunk");
    REFUSED(CHUNKED "1\r\na\n", "400 malformed end of a chunk");
    REFUSED(CHUNKED "1;\n", "400 control byte in a chunk extension");
    REFUSED(CHUNKED "1\rx", "400 malformed end of a chunk size");
    REFUSED(CHUNKED "0\r\n\n", "400 line end without carriage return");
    REFUSED(CHUNKED "0\r\n x\r\n", "400 folded header line");
    REFUSED(CHUNKED "0\r\na\rb", "400 carriage return inside a line");
}

static void test_expect_continue_is_told_once_before_the_body(void **state)
{
    (void)state;
#define EXPECT_HEAD "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\n"
#define EXPECT_TRACE "POST / 0 1.1 keep expect Host=a Expect=100-Continue "
    SERVER(EXPECT_HEAD "Content-Length: 2\r\n\r\nab",
           "100\n" EXPECT_TRACE "Content-Length=2 <ab>\nidle\n");
    SERVER(EXPECT_HEAD "Content-Length: 2\r\n\r\n", "100\nbusy body cut\n");
    SERVER(EXPECT_HEAD "Content-Length: 0\r\n\r\n",
           "POST / 0 1.1 keep Host=a Expect=100-Continue Content-Length=0 <>\nidle\n");
    SERVER("POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\na",
           "POST / 0 1.0 close Expect=100-continue Content-Length=1 <a>\nidle\n");
    REFUSED(EXPECT_HEAD "Content-Length: 65\r\n\r\n", "413 body larger than the limit");
}

static void test_first_lines_that_are_refused(void **state)
{
    (void)state;
    REFUSED("GET /a b HTTP/1.1\r\nHost: a\r\n\r\n",
            "400 malformed HTTP version or raw space in the URL");
    REFUSED("GET /\r\n\r\n", "400 malformed HTTP version or raw space in the URL");
    REFUSED("GET / HTTP/1.1 \r\nHost: a\r\n\r\n",
            "400 malformed HTTP version or raw space in the URL");
    REFUSED("GET / http/1.1\r\nHost: a\r\n\r\n",
            "400 malformed HTTP version or raw space in the URL");
    REFUSED("GET / HTTP/11.1\r\nHost: a\r\n\r\n",
            "400 malformed HTTP version or raw space in the URL");
    REFUSED("GET / HTTP/2.0\r\nHost: a\r\n\r\n", "505 unsupported HTTP version");
    REFUSED("GET / HTTP/0.9\r\nHost: a\r\n\r\n", "505 unsupported HTTP version");
    REFUSED("G@T / HTTP/1.1\r\nHost: a\r\n\r\n", "400 malformed request line");
    REFUSED(" GET / HTTP/1.1\r\nHost: a\r\n\r\n", "400 malformed request line");
    REFUSED("hello\r\n\r\n", "400 malformed request target");
    REFUSED("\x16\x03\x01\x02\x01", "400 control byte"); /* a TLS greeting */
    REFUSED("GET /\x01 HTTP/1.1\r\n", "400 control byte");
    REFUSED("GET /\x7f HTTP/1.1\r\n", "400 control byte");
    REFUSED("GET\t/ HTTP/1.1\r\n", "400 control byte");
}

#define HEAD "GET / HTTP/1.1\r\nHost: a\r\n"

static void test_headers_that_are_refused(void **state)
{
    (void)state;
    REFUSED("GET / HTTP/1.1\nHost: a\n\n", "400 line end without carriage return");
    REFUSED(HEAD "X: a\n\r\n", "400 line end without carriage return");
    REFUSED(HEAD "\n", "400 line end without carriage return");
    REFUSED(HEAD "X: a\rb\r\n\r\n", "400 carriage return inside a line");
    REFUSED(HEAD "X: a\0b\r\n\r\n", "400 control byte");
    REFUSED(HEAD "X: a\r\n b\r\n\r\n", "400 folded header line");
    REFUSED("GET / HTTP/1.1\r\n Host: a\r\n\r\n", "400 folded header line");
    REFUSED(HEAD "X : a\r\n\r\n", "400 malformed header name");
    REFUSED(HEAD "X Y: a\r\n\r\n", "400 malformed header name");
    REFUSED(HEAD "X\r\n\r\n", "400 malformed header line");
    REFUSED(HEAD ": a\r\n\r\n", "400 malformed header line");
    REFUSED(HEAD "X\xc3\xa9: a\r\n\r\n", "400 malformed header line");
    REFUSED("GET / HTTP/1.1\r\n\r\n", "400 missing required Host header");
    REFUSED(HEAD "host: a\r\n\r\n", "400 too many Host headers");
    REFUSED("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", "400 malformed Host header");
    REFUSED("GET / HTTP/1.1\r\nHost: a,b\r\n\r\n", "400 malformed Host header");
}

static void test_lengths_and_codings_that_are_refused(void **state)
{
    (void)state;
    REFUSED(HEAD "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            "400 both Content-Length and Transfer-Encoding");
    REFUSED(HEAD "Transfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n",
            "400 both Content-Length and Transfer-Encoding");
    REFUSED(HEAD "Content-Length: 1\r\nContent-Length: 2\r\n\r\n", "400 malformed header line");
    REFUSED(HEAD "Content-Length: 1, 1\r\n\r\n", "400 malformed header line");
    REFUSED(HEAD "Content-Length: +1\r\n\r\n", "400 malformed header line");
    REFUSED(HEAD "Content-Length: -1\r\n\r\n", "400 malformed header line");
    REFUSED(HEAD "Content-Length: 1 1\r\n\r\n", "400 malformed header line");
    REFUSED(HEAD "Content-Length: 0x1\r\n\r\n", "400 malformed header line");
    REFUSED(HEAD "Content-Length:\r\n\r\n", "400 malformed header line");
    REFUSED(HEAD "Content-Length: 18446744073709551616\r\n\r\n", "400 malformed header line");
    REFUSED(HEAD "Content-Length: 1844674407370955160\r\n\r\n", "413 body larger than the limit");
    REFUSED(HEAD "Transfer-Encoding: gzip\r\n\r\n", "501 unsupported transfer encoding");
    REFUSED(HEAD "Transfer-Encoding: gzip, chunked\r\n\r\n", "501 unsupported transfer encoding");
    REFUSED(HEAD "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
            "501 unsupported transfer encoding");
    REFUSED(HEAD "Transfer-Encoding: chunkedx\r\n\r\n", "501 unsupported transfer encoding");
    REFUSED(HEAD "Transfer-Encoding:\r\n\r\n", "501 unsupported transfer encoding");
    REFUSED("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
            "400 Transfer-Encoding in HTTP/1.0");
}

/* Fill text with `count` times what format makes of the number. */
static size_t repeat(char *text, size_t size, const char *piece, size_t count)
{
    size_t len = 0;
    for (size_t i = 0; i < count; i++) {
        assert_true(len + strlen(piece) < size);
        memcpy(text + len, piece, strlen(piece));
        len += strlen(piece);
    }
    text[len] = '\0';
    return len;
}

static void test_limits_hold_to_the_byte(void **state)
{
    (void)state;
    static char text[9000];
    static char filler[8100];
    struct buf out;

    buf_init(&out, 1 << 20);
    for (size_t over = 0; over < 2; over++) {
        (void)repeat(filler, sizeof(filler), "a", limits.header_bytes_max + over - 27);
        (void)snprintf(text, sizeof(text), "GET /%s HTTP/1.1\r\nHost: a\r\n\r\n", filler);
        assert_int_equal(strlen(text), limits.header_bytes_max + over);
        trace_bytewise(&out, HTTP_SERVER, slice_str(text));
        assert_memory_equal(out.data, over ? "BAD 431 " : "GET /aaa", 8);
    }
    buf_fini(&out);

    (void)repeat(filler, sizeof(filler), "a", 1030);
    (void)snprintf(text, sizeof(text), "GET /%s HTTP/1.1\r\nHost: a\r\n\r\n", filler);
    expect_trace(HTTP_SERVER, slice_str(text),
                 "BAD 414 request line larger than the limit\nbusy cut\n");
    (void)snprintf(text, sizeof(text), "GET / HTTP/1.1\r\nX: %s\r\n\r\n", filler);
    expect_trace(HTTP_SERVER, slice_str(text), "BAD 431 header larger than the limit\nbusy cut\n");
    (void)repeat(filler, sizeof(filler), "\r\n", 600);
    expect_trace(HTTP_SERVER, slice_str(filler),
                 "BAD 414 request line larger than the limit\nbusy cut\n");
    (void)repeat(filler, sizeof(filler), "X:\r\n", 101);
    (void)snprintf(text, sizeof(text), "GET / HTTP/1.1\r\n%s\r\n", filler);
    expect_trace(HTTP_SERVER, slice_str(text), "BAD 431 too many header fields\nbusy cut\n");
}

static void test_body_limits_hold_to_the_byte(void **state)
{
    (void)state;
    static char text[9000];
    static char filler[8100];
    struct buf out;

    buf_init(&out, 1 << 20);
    (void)repeat(filler, sizeof(filler), "b", 64);
    (void)snprintf(text, sizeof(text), CHUNKED "40\r\n%s\r\n0\r\n\r\n", filler);
    trace_bytewise(&out, HTTP_SERVER, slice_str(text));
    assert_non_null(strstr((const char *)out.data, filler));
    buf_fini(&out);
    (void)snprintf(text, sizeof(text), CHUNKED "3f\r\n%.63s\r\n2\r\n", filler);
    expect_trace(HTTP_SERVER, slice_str(text), "BAD 413 body larger than the limit\nbusy cut\n");
    REFUSED(CHUNKED "41\r\n", "413 body larger than the limit");
    REFUSED(CHUNKED "fffffffffffffff\r\n", "413 body larger than the limit");
    REFUSED(CHUNKED "ffffffffffffffffffff\r\n", "413 chunk larger than the limit");
    REFUSED(HEAD "Content-Length: 65\r\n\r\n", "413 body larger than the limit");
    (void)repeat(filler, sizeof(filler), "T: t\r\n", 200);
    (void)snprintf(text, sizeof(text), CHUNKED "0\r\n%s", filler);
    expect_trace(HTTP_SERVER, slice_str(text),
                 "BAD 431 trailer fields larger than the limit\nbusy cut\n");
    (void)repeat(filler, sizeof(filler), "e", 4097);
    (void)snprintf(text, sizeof(text), CHUNKED "1;%s\r\na\r\n0\r\n\r\n", filler);
    trace_bytewise(&out, HTTP_SERVER, slice_str(text));
    assert_string_equal((const char *)out.data,
                        "BAD 400 chunk extensions larger than the limit\nbusy cut\n");
    buf_fini(&out);
}

static void test_responses(void **state)
{
    (void)state;
    CLIENT(
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 404 \r\nContent-Length: 0\r\n\r\n",
        "  200 1.1 keep Content-Length=2 <ok>\n  404 1.1 keep Content-Length=0 <>\nidle\n");
    CLIENT("HTTP/1.1 204 No Content\r\n\r\n", "  204 1.1 keep <>\nidle\n");
    CLIENT("HTTP/1.1 304\r\nContent-Length: 9\r\n\r\n",
           "  304 1.1 keep Content-Length=9 <>\nidle\n");
    CLIENT("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
           "  200 1.1 keep Transfer-Encoding=chunked <ok>\nidle\n");
    CLIENT("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 Created\r\nContent-Length: 1\r\n\r\nx",
           "  201 1.1 keep Content-Length=1 <x>\nidle\n");
    CLIENT("HTTP/1.0 200 OK\r\n\r\nto the end", "busy body\n  200 1.0 close <to the end>\n");
    CLIENT("HTTP/1.1 200 OK\r\n\r\n", "busy body\n  200 1.1 close <>\n");
    CLIENT("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc", "busy body cut\n");
    CLIENT("HTTP/2.0 200 OK\r\n\r\n", "BAD 505 unsupported HTTP version\nbusy cut\n");
    CLIENT("HTTP/1.1 20 OK\r\n\r\n", "BAD 400 malformed status line\nbusy cut\n");
    CLIENT("HTTP/1.1 2000 OK\r\n\r\n", "BAD 400 malformed status line\nbusy cut\n");
    CLIENT("SSH-2.0-x\r\n\r\n",
           "BAD 400 malformed HTTP version or raw space in the URL\nbusy cut\n");
}

static void test_response_to_head_has_no_body(void **state)
{
    (void)state;
    static const char text[] = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"
                               "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx";
    struct slice rest = slice_str(text);
    struct http_conn_parser *p;
    const struct http_message *m;
    struct http_refusal refusal;
    size_t used;

    assert_int_equal(http_parser_create(HTTP_CLIENT, &limits, &p), 0);
    http_parser_no_body(p);
    assert_int_equal(http_parser_feed(p, rest, &used, &m, &refusal), HTTP_MESSAGE);
    assert_int_equal(m->body.len, 0);
    assert_true(slice_equal_str(http_header_find(m, "CONTENT-LENGTH")->value, "5"));
    assert_null(http_header_find(m, "Content"));
    rest = slice_of(rest.data + used, rest.len - used);
    http_parser_next(p); /* the next one answers something else */
    assert_int_equal(http_parser_feed(p, rest, &used, &m, &refusal), HTTP_MESSAGE);
    assert_int_equal(m->body.len, 1);
    http_parser_destroy(p);
}

static void test_refusal_is_given_again(void **state)
{
    (void)state;
    struct http_conn_parser *p;
    const struct http_message *m;
    struct http_refusal refusal = {0, NULL};
    size_t used;

    assert_int_equal(http_parser_create(HTTP_SERVER, &limits, &p), 0);
    assert_int_equal(http_parser_feed(p, slice_str("\n"), &used, &m, &refusal), HTTP_BAD);
    http_parser_next(p);
    refusal.status = 0;
    assert_int_equal(http_parser_feed(p, slice_str(HEAD "\r\n"), &used, &m, &refusal), HTTP_BAD);
    assert_int_equal(refusal.status, 400);
    assert_false(http_parser_idle(p));
    http_parser_destroy(p);
}

static void test_short_memory_refuses_with_503(void **state)
{
    (void)state;
    struct http_conn_parser *p;

    mem_fault_arm(1);
    assert_int_equal(http_parser_create(HTTP_SERVER, &limits, &p), ERR_NOMEM);
    for (unsigned long n = 1; n < 10; n++) {
        const struct http_message *m;
        struct http_refusal refusal = {0, NULL};
        size_t used;
        assert_int_equal(http_parser_create(HTTP_SERVER, &limits, &p), 0);
        mem_fault_arm(n);
        enum http_progress progress = http_parser_feed(
            p, slice_str(HEAD "Content-Length: 3\r\n\r\nabc"), &used, &m, &refusal);
        int fired = mem_fault_fired();
        mem_fault_arm(0);
        assert_int_equal(progress, fired ? HTTP_BAD : HTTP_MESSAGE);
        assert_int_equal(refusal.status, fired ? 503 : 0);
        http_parser_destroy(p);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plain_requests),
        cmocka_unit_test(test_target_forms),
        cmocka_unit_test(test_connection_reuse),
        cmocka_unit_test(test_pipelined_requests_come_one_by_one),
        cmocka_unit_test(test_empty_lines_before_a_request_leave_the_connection_idle),
        cmocka_unit_test(test_chunked_bodies),
        cmocka_unit_test(test_expect_continue_is_told_once_before_the_body),
        cmocka_unit_test(test_first_lines_that_are_refused),
        cmocka_unit_test(test_headers_that_are_refused),
        cmocka_unit_test(test_lengths_and_codings_that_are_refused),
        cmocka_unit_test(test_limits_hold_to_the_byte),
        cmocka_unit_test(test_body_limits_hold_to_the_byte),
        cmocka_unit_test(test_responses),
        cmocka_unit_test(test_response_to_head_has_no_body),
        cmocka_unit_test(test_refusal_is_given_again),
        cmocka_unit_test(test_short_memory_refuses_with_503),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
