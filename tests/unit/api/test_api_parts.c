/* Answers in parts, in bytes: chunks, back-pressure, ends that cannot be said. The node gives a part when the test
 * says so and counts who asks for the next. */
#include "api_fixture.h"

static void get(const char *target, const char *version)
{
    char request[300];
    snprintf(request, sizeof request, "GET %s HTTP/%s\r\nHost: h\r\n\r\n", target, version);
    fake_send(&conn, request);
}

static void drained(void)
{
    conn.pending = 0;
    conn.stream.events->drained(conn.stream.ctx);
}

static void test_parts_leave_as_chunks(void **state)
{
    (void)state;
    get("/db/query?q=SELECT+1", "1.1");
    assert_true(fake.last.f.in_parts);
    fake_part("R[{\"values\":[[1]");
    const char *first = fake_written(&conn);
    assert_non_null(strstr(first, "HTTP/1.1 200 OK\r\n"));
    assert_non_null(strstr(first, "\r\nTransfer-Encoding: chunked\r\n"));
    assert_non_null(strstr(first, "\r\nX-Rqlite-Served-By: h:4001\r\n"));
    assert_null(strstr(first, "Content-Length"));
    assert_null(strstr(first, "Connection"));
    assert_string_equal(body_of(first), "1a\r\n{\"results\":[{\"values\":[[1]\r\n");
    assert_int_equal(fake.pulled, 1);
    fake_part("R,[2]");
    assert_string_equal(fake_written(&conn), "4\r\n,[2]\r\n");
    fake_part("R"); /* an empty chunk would be the end */
    assert_string_equal(fake_written(&conn), "");
    assert_int_equal(fake.pulled, 3);
    fake_reply(0, "R]}]");
    assert_string_equal(fake_written(&conn), "4\r\n]}]}\r\n0\r\n\r\n");
    assert_int_equal(fake.pulled, 3);
    assert_false(conn.closed || conn.finished);
    get("/nope", "1.1");
    assert_non_null(strstr(fake_written(&conn), "404"));
}

static void test_the_envelope_closes_as_asked(void **state)
{
    (void)state;
    get("/db/query?pretty&timings&q=SELECT+1", "1.1");
    fake_part("R[\n        {");
    assert_string_equal(body_of(fake_written(&conn)), "1c\r\n{\n    \"results\": [\n        {\r\n");
    fake.now_ns += 460000;
    fake_reply(0, "R}\n    ]");
    assert_string_equal(fake_written(&conn),
                        "1e\r\n}\n    ],\n    \"time\": 0.00046\n}\r\n0\r\n\r\n");
}

static void test_the_next_part_waits_for_the_client(void **state)
{
    (void)state;
    get("/db/query?q=SELECT+1", "1.1");
    conn.pending = 1;
    fake_part("R[");
    assert_int_equal(fake.pulled, 0);
    fake_pass(LIMIT_HTTP_IDLE_MS * 2); /* node bounds it */
    assert_false(conn.closed);
    drained();
    assert_int_equal(fake.pulled, 1);
    drained(); /* nothing is due */
    assert_int_equal(fake.pulled, 1);
    conn.pending = LIMIT_HTTP_OUTPUT_BYTES + 1;
    fake_part("R1");
    assert_int_equal(fake.pulled, 1);
    drained();
    assert_int_equal(fake.pulled, 2);
    fake_reply(0, "R]");
    assert_true(conn.reading);
}

static void test_requests_behind_it_wait(void **state)
{
    (void)state;
    fake_send(
        &conn,
        "GET /nope HTTP/1.1\r\nHost: h\r\n\r\nGET /db/query?q=SELECT+1 HTTP/1.1\r\nHost: h\r\n\r\n"
        "GET /db/query?q=SELECT+2 HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_int_equal(fake.submitted, 1);
    fake_part("R[");
    drained();
    fake_part("R1");
    assert_int_equal(fake.submitted, 1);
    fake_reply(0, "R]");
    assert_int_equal(fake.submitted, 2);
    const char *all = fake_written(&conn);
    const char *before = strstr(all, "404"), *end = strstr(all, "\r\n2\r\n]}\r\n0\r\n\r\n");
    assert_true(before && end && before < end);
    fake_reply(0, "R[]");
    assert_string_equal(body_of(fake_written(&conn)), "{\"results\":[]}");
}

static void test_http_1_0_ends_with_the_connection(void **state)
{
    (void)state;
    get("/db/query?q=SELECT+1", "1.0");
    fake_part("R[");
    fake_part("R1");
    fake_reply(0, "R]");
    const char *answer = fake_written(&conn);
    assert_non_null(strstr(answer, "\r\nConnection: close\r\n"));
    assert_null(strstr(answer, "Transfer-Encoding"));
    assert_null(strstr(answer, "Content-Length"));
    assert_string_equal(body_of(answer), "{\"results\":[1]}");
    assert_true(conn.finished);
}

static void cut(int rc, const char *words)
{
    struct fake_stream s;
    fake_connect(&s);
    fake_send(&s, "GET /db/query?q=SELECT+1 HTTP/1.1\r\nHost: h\r\n\r\n");
    fake_part("R[");
    fake_written(&s);
    fake_reply(rc, words);
    assert_string_equal(fake_written(&s), "");
    assert_true(s.closed);
    assert_false(s.finished);
    fake_stream_end(&s);
}

static void test_what_cannot_be_said_any_more_ends_the_connection(void **state)
{
    (void)state;
    cut(0, "Fjson: unsupported value: +Inf");
    cut(ERR_TIMEOUT, "the client did not take the result");
    cut(ERR_RESET, NULL);
    assert_int_equal(fake.forgotten, 0); /* they were over */
}

static void test_a_first_part_that_is_refused_is_an_answer(void **state)
{
    (void)state;
    get("/db/query?q=SELECT+1", "1.1");
    fake_reply(ERR_FULL, "too many large results are being read, try again");
    const char *answer = fake_written(&conn);
    assert_non_null(strstr(answer, " 503 "));
    assert_non_null(strstr(answer, "\r\nRetry-After: 1\r\n"));
}

static void test_a_first_part_that_is_nonsense_is_forgotten(void **state)
{
    (void)state;
    get("/db/query?q=SELECT+1", "1.1");
    fake_part("?");
    assert_non_null(strstr(fake_written(&conn), " 500 "));
    assert_int_equal(fake.forgotten, 1);
}

static void test_a_client_that_leaves_is_forgotten(void **state)
{
    (void)state;
    get("/db/query?q=SELECT+1", "1.1");
    conn.pending = 1;
    fake_part("R[");
    fake_hang_up(&conn, ERR_RESET);
    assert_int_equal(fake.forgotten, 1);
    assert_int_equal(fake.pulled, 0);
    assert_true(conn.closed);
}

static void test_a_client_that_only_stopped_sending_gets_it_all(void **state)
{
    (void)state;
    get("/db/query?q=SELECT+1", "1.1");
    fake_part("R[");
    fake_hang_up(&conn, ERR_EOF);
    assert_int_equal(fake.forgotten, 0);
    fake_part("R1");
    fake_reply(0, "R]");
    assert_non_null(strstr(fake_written(&conn), "0\r\n\r\n"));
    assert_true(conn.finished);
}

static void test_stop_ends_it_at_its_grace(void **state)
{
    int told = 0;
    (void)state;
    get("/db/query?q=SELECT+1", "1.1");
    conn.pending = 1;
    fake_part("R[");
    api_stop(api, 5000, fixture_told, &told);
    assert_false(conn.closed);
    fake_pass(5000);
    assert_int_equal(fake.forgotten, 1);
    fake_turn();
    assert_int_equal(told, 1);
}

static void test_a_part_after_the_stop_is_given_up_before_the_grace(void **state)
{
    int told = 0;
    (void)state;
    get("/db/query?q=SELECT+1", "1.1");
    api_stop(api, 10000, fixture_told, &told);
    conn.pending = 1;
    fake_part("R[");
    fake_pass(5000);
    assert_true(conn.closed);
    fake_turn();
    assert_int_equal(told, 1);
}

static void test_a_slow_client_may_take_the_last_part_slowly(void **state)
{
    (void)state;
    get("/db/query?q=SELECT+1", "1.0");
    fake_part("R[");
    conn.pending = 1000;
    fake_reply(0, "R]");
    assert_true(conn.finished);
    for (size_t left = 900; left > 0; left -= 100) {
        conn.pending = left;
        fake_pass(5000);
        assert_false(conn.closed);
    }
    fake_pass(5000);
    assert_true(conn.closed);
}

static void test_short_memory_answers_or_closes(void **state)
{
    (void)state;
    for (unsigned long n = 1;; n++) {
        static struct fake_stream s;
        fake_connect(&s);
        assert_non_null(buf_reserve(&s.written, 256 * 1024));
        mem_fault_arm(n);
        fake_send(&s, "GET /db/query?timings&q=SELECT+1 HTTP/1.1\r\nHost: h\r\n\r\n");
        if (fake.reply && !s.closed)
            fake_part("R[");
        if (fake.reply && !s.closed)
            fake_reply(0, "R]");
        const int fired = mem_fault_fired();
        mem_fault_arm(0);
        if (!s.closed && !s.finished) {
            const char *answer = fake_written(&s);
            assert_true(strstr(answer, "0\r\n\r\n") || strstr(answer, " 503 "));
        }
        fake.reply = NULL;
        fake.part_out = false;
        fake_stream_end(&s);
        if (!fired)
            break;
    }
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(test_parts_leave_as_chunks),
        CASE(test_the_envelope_closes_as_asked),
        CASE(test_the_next_part_waits_for_the_client),
        CASE(test_requests_behind_it_wait),
        CASE(test_http_1_0_ends_with_the_connection),
        CASE(test_what_cannot_be_said_any_more_ends_the_connection),
        CASE(test_a_first_part_that_is_refused_is_an_answer),
        CASE(test_a_first_part_that_is_nonsense_is_forgotten),
        CASE(test_a_client_that_leaves_is_forgotten),
        CASE(test_a_client_that_only_stopped_sending_gets_it_all),
        CASE(test_stop_ends_it_at_its_grace),
        CASE(test_a_part_after_the_stop_is_given_up_before_the_grace),
        CASE(test_a_slow_client_may_take_the_last_part_slowly),
        CASE(test_short_memory_answers_or_closes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
