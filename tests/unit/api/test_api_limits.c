/* What a client sees at one more than each limit, and what the server keeps for clients. */
#include "api_fixture.h"

static const char small_request[] = "GET /nope HTTP/1.1\r\nHost: h\r\n\r\n";

static const struct api_conn *first_conn(void)
{
    return LIST_ENTRY(api->conns.next, const struct api_conn, link);
}

/* text, but with len 'x' in the place of its "%". */
static void send_long(struct fake_stream *s, const char *text, size_t len)
{
    const char *place = strchr(text, '%');
    char *all = malloc(strlen(text) + len);
    assert_non_null(all);
    const size_t before = (size_t)(place - text);
    memcpy(all, text, before);
    memset(all + before, 'x', len);
    strcpy(all + before + len, place + 1);
    fake_send(s, all);
    free(all);
}

/* ---- sizes --------------------------------------------------------------------------------------------------- */

static void test_a_header_of_just_the_limit_is_read(void **state)
{
    static const char request[] = "GET /nope HTTP/1.1\r\nHost: h\r\nX: %\r\n\r\n";
    struct fake_stream more;
    (void)state;
    send_long(&conn, request, LIMIT_HTTP_HEADER_BYTES - (sizeof request - 2));
    expect_has(fake_written(&conn), "HTTP/1.1 404 ");
    fake_connect(&more);
    send_long(&more, request, LIMIT_HTTP_HEADER_BYTES - (sizeof request - 2) + 1);
    const char *answer = fake_written(&more);
    expect_has(answer, "HTTP/1.1 431 ");
    expect_has(answer, "Connection: close\r\n");
    assert_true(more.finished);
    fake_stream_end(&more);
}

static void test_a_request_line_beyond_the_limit_is_414(void **state)
{
    (void)state;
    send_long(&conn, "GET /% HTTP/1.1\r\nHost: h\r\n\r\n", LIMIT_HTTP_HEADER_BYTES);
    expect_has(fake_written(&conn), "HTTP/1.1 414 ");
    assert_true(conn.finished);
}

static void test_a_body_beyond_the_limit_is_413_before_it_comes(void **state)
{
    char head[200];
    struct fake_stream more;
    (void)state;
    (void)snprintf(head, sizeof head,
                   "POST /db/execute HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n",
                   LIMIT_HTTP_BODY_BYTES);
    fake_send(&conn, head);
    assert_string_equal(fake_written(&conn), "");
    assert_false(conn.finished);
    (void)snprintf(head, sizeof head,
                   "POST /db/execute HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n",
                   LIMIT_HTTP_BODY_BYTES + 1);
    fake_connect(&more);
    fake_send(&more, head);
    expect_has(fake_written(&more), "HTTP/1.1 413 ");
    assert_true(more.finished);
    fake_stream_end(&more);
}

/* ---- connections ----------------------------------------------------------------------------------------------- */

static void test_a_connection_too_many_is_told_and_closed(void **state)
{
    struct fake_stream last, more, most;
    const uint32_t counted = api->conn_count;
    (void)state;
    api->conn_count = LIMIT_HTTP_CONNECTIONS - 1;
    fake_connect(&last);
    fake_send(&last, small_request);
    expect_has(fake_written(&last), "HTTP/1.1 404 ");
    fake_connect(&more);
    const char *answer = fake_written(&more);
    expect_has(answer, "HTTP/1.1 503 ");
    expect_has(answer, "Retry-After: 1\r\n");
    expect_has(answer, "Content-Length: 21\r\n\r\ntoo many connections\n");
    assert_true(more.finished && !more.reading);
    api->conn_count = LIMIT_HTTP_CONNECTIONS + LIMIT_HTTP_REFUSALS;
    fake_connect(&most);
    assert_string_equal(fake_written(&most), "");
    assert_true(most.closed);
    api->conn_count = counted + 2;
    fake_stream_end(&last);
    fake_stream_end(&more);
    fake_stream_end(&most);
    assert_int_equal(api->conn_count, counted);
}

static void test_an_idle_connection_keeps_no_buffers(void **state)
{
    (void)state;
    assert_null(first_conn()->store);
    fake_send(&conn, "GET /db/query?q=SELECT+1 HTTP/1.1\r\nHost: h\r\n\r\n");
    const struct api_store *used = first_conn()->store;
    assert_non_null(used);
    fake_reply(0, "R[]");
    assert_null(first_conn()->store);
    assert_int_equal(api->store_count, 1);
    fake_send(&conn, "GET /nope HT"); /* not idle: a request has begun */
    assert_ptr_equal(first_conn()->store, used);
    fake_send(&conn, "TP/1.1\r\nHost: h\r\n\r\n");
    expect_has(fake_written(&conn), "404");
    assert_null(first_conn()->store);
}

static void test_large_bodies_are_bounded_together_and_small_ones_pass(void **state)
{
    static const char head[] = "POST /nope HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\n%";
    struct fake_stream large, small;
    (void)state;
    fake_connect(&large);
    fake_connect(&small);
    send_long(&large, head, LIMIT_HTTP_INPUT_SMALL_BYTES);
    assert_true(api->input_bytes >= LIMIT_HTTP_INPUT_SMALL_BYTES);
    assert_false(large.finished);
    const size_t others = LIMIT_HTTP_INPUT_BYTES; /* as if many more did the same */
    api->input_bytes += others;
    send_long(&small, head, LIMIT_HTTP_INPUT_SMALL_BYTES / 4);
    assert_string_equal(fake_written(&small), "");
    fake_send(&large, "x");
    const char *answer = fake_written(&large);
    expect_has(answer, "HTTP/1.1 503 ");
    expect_has(answer, "Retry-After: 1\r\n");
    assert_true(large.finished);
    fake_stream_end(&large);
    fake_stream_end(&small);
    assert_int_equal(api->input_bytes, others);
    api->input_bytes = 0;
}

static void test_input_is_counted_until_it_is_answered(void **state)
{
    (void)state;
    send_long(&conn,
              "POST /db/query HTTP/1.1\r\nHost: h\r\nContent-Length: 100013\r\n\r\n[\"SELECT '%",
              100000);
    assert_true(api->input_bytes > 100000);
    fake_send(&conn, "'\"]");
    assert_int_equal(fake.submitted, 1);
    assert_true(api->input_bytes > 100000);
    fake_reply(0, "R[]");
    assert_int_equal(api->input_bytes, 0);
}

static void test_a_request_that_finds_no_memory_is_503(void **state)
{
    (void)state;
    mem_fault_arm(1);
    fake_send(&conn, small_request);
    assert_true(mem_fault_fired());
    mem_fault_arm(0);
    const char *answer = fake_written(&conn);
    expect_has(answer, "HTTP/1.1 503 ");
    expect_has(answer, "Retry-After: 1\r\n");
    expect_has(answer, "Content-Length: 14\r\n\r\nout of memory\n");
    assert_true(conn.finished);
}

static void test_a_body_that_finds_no_memory_is_503(void **state)
{
    (void)state;
    fake_send(&conn, "POST /db/query HTTP/1.1\r\nHost: h\r\nContent-Length: 12\r\n\r\n");
    mem_fault_arm(1);
    fake_send(&conn, "[\"SELECT 1\"]");
    mem_fault_arm(0);
    const char *answer = fake_written(&conn);
    expect_has(answer, "HTTP/1.1 503 ");
    expect_has(answer, "Retry-After: 1\r\n");
    assert_true(conn.finished);
}

/* ---- queues ------------------------------------------------------------------------------------------------------ */

static void test_a_full_node_is_503_and_says_when_to_come_back(void **state)
{
    static const int full[] = {ERR_FULL, ERR_NOMEM};
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        fake.submit_rc = full[i];
        fake_send(&conn, "GET /db/query?q=SELECT+1 HTTP/1.1\r\nHost: h\r\n\r\n");
        const char *answer = fake_written(&conn);
        expect_has(answer, "HTTP/1.1 503 ");
        expect_has(answer, "Retry-After: 1\r\n");
    }
    fake.submit_rc = 0;
    fake_send(&conn, "GET /db/query?q=SELECT+1 HTTP/1.1\r\nHost: h\r\n\r\n");
    fake_reply(ERR_FULL, "the leader is full");
    const char *answer = fake_written(&conn);
    expect_has(answer, "HTTP/1.1 503 ");
    expect_has(answer, "Retry-After: 1\r\n");
    assert_false(conn.closed || conn.finished);
}

/* ---- clients that do not read ----------------------------------------------------------------------------------- */

/* Answers since the last look. Not with strstr: AddressSanitizer's measures all of the text each time. */
static size_t answers_take(struct fake_stream *s)
{
    static const char part[] = "HTTP/1.1 200 OK";
    const struct slice text = buf_slice(&s->written);
    const size_t len = sizeof part - 1;
    size_t count = 0;
    for (size_t at = 0; at + len <= text.len; at++)
        count += text.data[at] == (uint8_t)part[0] && memcmp(text.data + at, part, len) == 0;
    buf_consume(&s->written, text.len);
    return count;
}

static void test_ten_thousand_requests_and_no_reader_stay_bounded(void **state)
{
    static const char request[] = "GET /licenses HTTP/1.1\r\nHost: h\r\n\r\n";
    enum { REQUESTS = 10 * 1000 };
    struct buf all;
    size_t answered, rounds = 0;
    (void)state;
    buf_init(&all, 1024 * 1024);
    for (int i = 0; i < REQUESTS; i++)
        buf_append_str(&all, request);
    buf_append_byte(&all, 0);
    conn.stuck = true;
    fake_send(&conn, (const char *)buf_slice(&all).data);
    assert_false(conn.reading);
    assert_true(conn.pending + first_conn()->out.cap < LIMIT_HTTP_OUTPUT_BYTES * 3 / 2);
    answered = answers_take(&conn);
    for (; !conn.reading && rounds < 1000; rounds++) { /* it reads all the same: all is answered */
        conn.pending = 0;
        conn.stream.events->drained(conn.stream.ctx);
        answered += answers_take(&conn);
    }
    assert_true(conn.reading && rounds > 3);
    assert_int_equal(answered, REQUESTS);
    buf_fini(&all);
}

static void test_a_client_that_reads_slowly_is_not_cut_off(void **state)
{
    (void)state;
    conn.stuck = true;
    fake_send(&conn, small_request);
    fake_send(&conn, "GET /nope HT"); /* its next header has not begun for us before it has read */
    for (int i = 0; i < 5; i++) {
        fake_pass(LIMIT_HTTP_IDLE_MS - 1);
        assert_false(conn.closed);
        conn.pending -= 10;
        fake_pass(1);
        assert_false(conn.closed);
    }
    conn.pending = 0;
    conn.stream.events->drained(conn.stream.ctx);
    fake_pass(LIMIT_HTTP_HEADER_MS - 1);
    assert_false(conn.closed);
    fake_pass(1);
    assert_true(conn.closed);
}

static void test_a_client_that_reads_nothing_is_cut_off(void **state)
{
    (void)state;
    conn.stuck = true;
    fake_send(&conn, small_request);
    fake_pass(LIMIT_HTTP_IDLE_MS - 1);
    fake_send(&conn, "GET /no"); /* buys no time */
    assert_false(conn.closed);
    fake_pass(1);
    assert_true(conn.closed);
}

static void test_a_client_that_has_read_all_may_be_idle(void **state)
{
    (void)state;
    conn.stuck = true;
    fake_send(&conn, small_request);
    fake_pass(LIMIT_HTTP_IDLE_MS - 1);
    conn.stuck = false;
    conn.pending = 0;
    conn.stream.events->drained(conn.stream.ctx);
    fake_pass(LIMIT_HTTP_IDLE_MS - 1);
    assert_false(conn.closed);
    fake_pass(1);
    assert_true(conn.closed);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(test_a_header_of_just_the_limit_is_read),
        CASE(test_a_request_line_beyond_the_limit_is_414),
        CASE(test_a_body_beyond_the_limit_is_413_before_it_comes),
        CASE(test_a_connection_too_many_is_told_and_closed),
        CASE(test_an_idle_connection_keeps_no_buffers),
        CASE(test_large_bodies_are_bounded_together_and_small_ones_pass),
        CASE(test_input_is_counted_until_it_is_answered),
        CASE(test_a_request_that_finds_no_memory_is_503),
        CASE(test_a_body_that_finds_no_memory_is_503),
        CASE(test_a_full_node_is_503_and_says_when_to_come_back),
        CASE(test_ten_thousand_requests_and_no_reader_stay_bounded),
        CASE(test_a_client_that_reads_slowly_is_not_cut_off),
        CASE(test_a_client_that_reads_nothing_is_cut_off),
        CASE(test_a_client_that_has_read_all_may_be_idle),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
