/* test_http_stream.c — bodies that are given as they come: the same bytes in any segmentation, however long, and
 * what is decided by their first bytes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <rq/http.h>
#include <stdio.h>
#include <string.h>

#define HEAD "POST /up HTTP/1.1\r\nHost: h\r\n"

/* Bodies of /up that begin with "BIN". */
static bool streams(const struct http_message *m, struct slice start)
{
    if (!slice_equal_str(m->target, "/up"))
        return false;
    return start.len == 0 || (start.len == 3 && memcmp(start.data, "BIN", 3) == 0);
}

static const struct http_parser_limits limits = {
    .header_bytes_max = 1024, .body_bytes_max = 64, .streams = streams, .start_bytes = 3};

/* What came, as text: {pieces joined} of streamed bodies, <whole> of others, or the refusal. */
static void run(const char *text, size_t segment, char *out, size_t cap)
{
    struct http_conn_parser *p;
    size_t len = strlen(text), n = 0;
    bool open = false;

    assert_int_equal(http_parser_create(HTTP_SERVER, &limits, &p), 0);
    memset(out, 0, cap);
    for (size_t at = 0; at < len;) {
        const struct http_message *m;
        struct http_refusal refusal;
        size_t used;
        struct slice bytes = slice_of(text + at, len - at < segment ? len - at : segment);
        enum http_progress progress = http_parser_feed(p, bytes, &used, &m, &refusal);
        at += used;
        if (progress == HTTP_BAD) {
            snprintf(out, cap, "BAD %d", refusal.status); /* what was given before it is void */
            break;
        }
        if (progress != HTTP_BODY && progress != HTTP_MESSAGE)
            continue;
        bool first = !open;
        if (progress == HTTP_BODY)
            open = true;
        /* a streamed body that came in one segment is told from a collected one by its start */
        bool streamed = open || (m->body.len >= 3 && streams(m, slice_of(m->body.data, 3)));
        n += (size_t)snprintf(out + n, cap - n, "%s%.*s", first ? streamed ? "{" : "<" : "",
                              (int)m->body.len, (const char *)m->body.data);
        if (progress == HTTP_BODY) {
            http_parser_take(p, m->body.len);
            assert_int_equal(m->body.len, 0);
            continue;
        }
        n += (size_t)snprintf(out + n, cap - n, "%s", streamed ? "}" : ">");
        open = false;
        http_parser_next(p);
    }
    http_parser_destroy(p);
}

static void expect(const char *text, const char *want)
{
    char out[1000];

    for (size_t segment = 1; segment <= strlen(text); segment++) {
        run(text, segment, out, sizeof(out));
        if (strcmp(out, want) != 0)
            fail_msg("segments of %zu: %s, not %s", segment, out, want);
    }
}

#define TEN "0123456789"
#define HUNDRED TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN

static void test_streamed_bodies_have_no_bound(void **state)
{
    (void)state;
    expect(HEAD "Content-Length: 103\r\n\r\nBIN" HUNDRED, "{BIN" HUNDRED "}");
    expect(HEAD "Transfer-Encoding: chunked\r\n\r\n1\r\nB\r\n66\r\nIN" HUNDRED "\r\n0\r\n\r\n",
           "{BIN" HUNDRED "}");
}

static void test_other_bodies_are_collected_and_bounded(void **state)
{
    (void)state;
    expect(HEAD "Content-Length: 10\r\n\r\n" TEN, "<" TEN ">");
    expect(HEAD "Content-Length: 2\r\n\r\nBI", "<BI>");
    expect(HEAD "Content-Length: 100\r\n\r\n" HUNDRED, "BAD 413");
    expect("POST /other HTTP/1.1\r\nHost: h\r\nContent-Length: 103\r\n\r\nBIN" HUNDRED, "BAD 413");
    expect(HEAD "Transfer-Encoding: chunked\r\n\r\n64\r\n" HUNDRED "\r\n0\r\n\r\n", "BAD 413");
    expect(HEAD "Transfer-Encoding: chunked\r\n\r\nA\r\n" TEN "\r\n0\r\n\r\n", "<" TEN ">");
}

static void test_next_request_follows(void **state)
{
    (void)state;
    expect(HEAD "Content-Length: 5\r\n\r\nBIN12" HEAD "Content-Length: 3\r\n\r\nabc" HEAD
                "Content-Length: 4\r\n\r\nBIN3",
           "{BIN12}<abc>{BIN3}");
}

static void test_malformed_chunk_refuses_in_the_middle(void **state)
{
    (void)state;
    expect(HEAD "Transfer-Encoding: chunked\r\n\r\n3\r\nBIN\r\nxyz\r\n", "BAD 400");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_streamed_bodies_have_no_bound),
        cmocka_unit_test(test_other_bodies_are_collected_and_bounded),
        cmocka_unit_test(test_next_request_follows),
        cmocka_unit_test(test_malformed_chunk_refuses_in_the_middle),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
