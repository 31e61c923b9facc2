/* Connections, routes and answers, in bytes, with a node that answers when the test says so. */
#include "api_fixture.h"

static const char results_one[] = "R[{}]";

static const char *get(const char *target)
{
    return ask("GET", target, "", NULL);
}

static const char *post(const char *target, const char *body)
{
    return ask("POST", target, "", body);
}

/* ---- connections ------------------------------------------------------------------------------------------ */

static void test_pipelined_answers_come_in_order_and_in_one_write(void **state)
{
    (void)state;
    fake_send(
        &conn,
        "GET /readyz?noleader HTTP/1.1\r\nHost: h\r\n\r\nGET /nope HTTP/1.1\r\nHost: h\r\n\r\n"
        "GET /licenses HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_int_equal(conn.writes, 1);
    const char *all = fake_written(&conn);
    const char *first = strstr(all, "[+]node ok"), *second = strstr(all, "404 Not Found"),
               *third = strstr(all, "libuv");
    assert_true(first && second && third && first < second && second < third);
}

static void test_a_request_in_flight_holds_what_is_behind_it(void **state)
{
    (void)state;
    fake_send(&conn, "GET /db/query?q=SELECT+1 HTTP/1.1\r\nHost: h\r\n\r\nGET /readyz?noleader "
                     "HTTP/1.1\r\nHost");
    assert_int_equal(fake.submitted, 1);
    assert_int_equal(conn.writes, 0);
    fake_send(&conn, ": h\r\n\r\nGET /db/query?q=SELECT+2 HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_int_equal(fake.submitted, 1);
    fake_reply(0, results_one);
    assert_int_equal(fake.submitted, 2);
    const char *all = fake_written(&conn);
    expect_has(all, "{\"results\":[{}]}");
    expect_has(all, "[+]node ok");
    fake_reply(0, "R[]");
    assert_string_equal(body_of(fake_written(&conn)), "{\"results\":[]}");
}

static void test_reading_stops_when_too_much_waits_and_starts_again(void **state)
{
    struct buf many;
    (void)state;
    (void)get("/db/query?q=SELECT+1");
    buf_init(&many, 1024 * 1024);
    while (buf_len(&many) < 300 * 1024)
        buf_append_str(&many, "GET /nope HTTP/1.1\r\nHost: h\r\n\r\n");
    const size_t len = buf_len(&many);
    buf_append_byte(&many, 0);
    fake_send(&conn, (const char *)buf_slice(&many).data);
    assert_false(conn.reading);
    fake_reply(0, results_one);
    assert_true(conn.reading);
    size_t answers = 0;
    buf_append_byte(&conn.written, 0);
    for (const char *at = (const char *)buf_slice(&conn.written).data;
         (at = strstr(at, "404 Not Found")) != NULL; at++)
        answers++;
    assert_int_equal(answers, len / strlen("GET /nope HTTP/1.1\r\nHost: h\r\n\r\n"));
    buf_fini(&many);
}

static void test_a_client_that_does_not_read_is_not_served_further(void **state)
{
    (void)state;
    conn.pending = LIMIT_HTTP_OUTPUT_BYTES + 1;
    (void)get("/nope");
    assert_false(conn.reading);
    conn.pending = 0;
    conn.stream.events->drained(conn.stream.ctx);
    assert_true(conn.reading);
    expect_has(get("/nope"), "404");
}

static void test_a_reset_client_is_forgotten(void **state)
{
    (void)state;
    (void)get("/db/query?q=SELECT+1");
    fake_hang_up(&conn, ERR_RESET);
    assert_int_equal(fake.forgotten, 1);
    assert_true(conn.closed);
}

static void test_a_client_that_finished_sending_still_gets_its_answer(void **state)
{
    (void)state;
    (void)get("/db/query?q=SELECT+1");
    fake_hang_up(&conn, ERR_EOF);
    assert_int_equal(fake.forgotten, 0);
    fake_reply(0, results_one);
    const char *answer = fake_written(&conn);
    expect_has(answer, "Connection: close");
    assert_string_equal(body_of(answer), "{\"results\":[{}]}");
    assert_true(conn.finished);
}

static void test_slow_headers_and_idle_connections_are_closed(void **state)
{
    struct fake_stream slow;
    (void)state;
    fake_connect(&slow);
    fake_send(&slow, "GET / HT");
    fake_pass(LIMIT_HTTP_HEADER_MS - 1);
    assert_false(slow.closed);
    fake_send(&slow, "TP"); /* does not buy time */
    fake_pass(1);
    assert_true(slow.closed);
    assert_false(conn.closed);
    expect_has(get("/nope"), "404");
    fake_pass(LIMIT_HTTP_IDLE_MS - 1);
    assert_false(conn.closed);
    fake_pass(1);
    assert_true(conn.closed);
    fake_stream_end(&slow);
}

static void test_a_body_may_take_long_but_not_pause(void **state)
{
    (void)state;
    fake_send(&conn, "POST /db/query HTTP/1.1\r\nHost: h\r\nContent-Length: 12\r\n\r\n[");
    for (const char *at = "\"SELECT 1\""; *at; at++) {
        const char one[] = {*at, '\0'};
        fake_pass(LIMIT_HTTP_BODY_IDLE_MS - 1);
        fake_send(&conn, one);
    }
    assert_false(conn.closed);
    fake_pass(LIMIT_HTTP_BODY_IDLE_MS);
    assert_true(conn.closed);
}

static void test_a_request_in_flight_has_no_deadline_of_ours(void **state)
{
    (void)state;
    (void)get("/db/query?q=SELECT+1");
    fake_pass(LIMIT_HTTP_IDLE_MS * 3);
    assert_false(conn.closed);
    fake_reply(0, results_one);
    expect_has(fake_written(&conn), "200 OK");
    fake_pass(LIMIT_HTTP_IDLE_MS - 1);
    assert_false(conn.closed);
}

static void test_bad_http_is_refused_and_closed(void **state)
{
    (void)state;
    fake_send(&conn, "GET /readyz?noleader HTTP/1.1\r\nHost: h\r\n\r\nGET / HTTP/1.1\r\n\r\nGET "
                     "/nope HTTP/1.1\r\nHost: h\r\n\r\n");
    const char *all = fake_written(&conn);
    expect_has(all, "[+]node ok");
    expect_has(all, "HTTP/1.1 400 Bad Request");
    expect_lacks(all, "404");
    assert_true(conn.finished);
}

static void test_stop_lets_running_requests_finish(void **state)
{
    struct fake_stream idle;
    int told = 0;
    (void)state;
    fake_connect(&idle);
    (void)get("/db/query?q=SELECT+1");
    api_stop(api, 5000, fixture_told, &told);
    assert_false(fake.listening);
    fake_pass(100);
    assert_true(idle.finished);
    assert_false(conn.closed || conn.finished);
    fake_turn();
    assert_int_equal(told, 0);
    fake_reply(0, results_one);
    expect_has(fake_written(&conn), "Connection: close");
    fake_turn();
    assert_int_equal(told, 1);
    fake_stream_end(&idle);
}

static void test_stop_answers_a_request_that_was_on_its_way(void **state)
{
    int told = 0;
    (void)state;
    expect_has(get("/nope"), "404");
    api_stop(api, 5000, fixture_told, &told);
    fake_pass(99);
    assert_false(conn.finished || conn.closed);
    const char *answer = get("/nope");
    expect_has(answer, "404");
    expect_has(answer, "Connection: close");
    assert_true(conn.finished);
    fake_turn();
    assert_int_equal(told, 1);
}

static void test_stop_waits_for_no_slow_request(void **state)
{
    int told = 0;
    (void)state;
    api_stop(api, 5000, fixture_told, &told);
    fake_pass(50);
    fake_send(&conn, "GET /nope HTTP/1.1\r\n");
    fake_pass(50);
    assert_true(conn.finished);
    fake_turn();
    assert_int_equal(told, 1);
}

static void test_stop_ends_at_its_grace(void **state)
{
    int told = 0;
    (void)state;
    (void)get("/db/query?q=SELECT+1");
    api_stop(api, 5000, fixture_told, &told);
    fake_pass(5000);
    assert_int_equal(fake.forgotten, 1);
    fake_turn();
    assert_int_equal(told, 1);
}

/* ---- order of checks, headers ------------------------------------------------------------------------------- */

static void test_every_answer_has_the_common_headers(void **state)
{
    (void)state;
    const char *answer = get("/nope");
    expect_has(answer, "HTTP/1.1 404 Not Found\r\n");
    expect_has(answer, "\r\nX-Rqlite-Version: v10.3.0\r\n");
    expect_has(answer, "\r\nX-RQLITE-RAFT-ADDR: h:4002\r\n");
    expect_has(answer, "\r\nAccess-Control-Allow-Methods: OPTIONS, GET, POST\r\n");
    expect_has(answer, "\r\nAccess-Control-Allow-Headers: Content-Type\r\n");
    expect_has(answer, "\r\nDate: Thu, 04 Mar 2021 05:06:07 GMT\r\n");
    expect_has(answer, "\r\nContent-Length: 0\r\n\r\n");
    expect_lacks(answer, "Access-Control-Allow-Origin");
    expect_lacks(answer, "Content-Type:");
}

static void test_checks_come_in_their_order(void **state)
{
    (void)state;
    fake_send(&conn, "OPTIONS /nope?timeout=x HTTP/1.1\r\nHost: h\r\n\r\n");
    expect_has(fake_written(&conn), "HTTP/1.1 200 OK");
    const char *answer = get("/nope?timeout=x");
    expect_has(answer, "HTTP/1.1 400 ");
    expect_has(answer, "\r\nX-Content-Type-Options: nosniff\r\n");
    assert_string_equal(body_of(answer), "timeout is not a valid duration\n");
    expect_has(get("/db//query"), "404");
    expect_has(get("/d%62/queryX?q=SELECT+1"), "");
    assert_int_equal(fake.submitted, 1);
    fake_reply(0, results_one);
    expect_has(fake_written(&conn), "200 OK");
    answer = get("/db/execute");
    expect_has(answer, "HTTP/1.1 405 ");
    expect_has(answer, "Content-Type: application/json; charset=utf-8\r\n");
    expect_has(answer, "Content-Length: 0\r\n");
    expect_has(get("/console/x"), "404 page not found");
    expect_has(get("/"), "Location: /console/\r\n");
}

static void test_head_has_the_length_but_no_body(void **state)
{
    (void)state;
    fake_send(&conn, "HEAD /console/ HTTP/1.1\r\nHost: h\r\n\r\n");
    const char *answer = fake_written(&conn);
    expect_has(answer, "200 OK");
    expect_lacks(answer, "Content-Length: 0");
    assert_string_equal(body_of(answer), "");
    fake_send(&conn, "HEAD /status HTTP/1.1\r\nHost: h\r\n\r\n");
    expect_has(fake_written(&conn), "405");
}

/* ---- answers of the node --------------------------------------------------------------------------------------- */

static void test_the_request_reaches_node_as_asked(void **state)
{
    (void)state;
    (void)post("/db/"
               "request?level=strong&transaction&timeout=2s&db_timeout=5ms&associative&timings&"
               "linearizable_timeout=0",
               "[\"X\"]");
    assert_int_equal(fake.last.f.kind, WIRE_REQUEST);
    assert_int_equal(fake.last.f.level, WIRE_LEVEL_STRONG);
    assert_int_equal(fake.last.f.timeout_ms, 2000);
    assert_int_equal(fake.last.f.db_timeout_ns, 5000000);
    assert_int_equal(fake.last.f.linearizable_timeout_ms, 1000);
    assert_int_equal(fake.last.f.encode_options, API_ENCODE_ASSOCIATIVE | API_ENCODE_TIMINGS);
    fake.now_ns += 460000;
    fake_reply(0, "R[{\"rows\":null}]");
    const char *answer = fake_written(&conn);
    expect_has(answer, "X-Rqlite-Served-By: h:4001\r\n");
    assert_string_equal(body_of(answer), "{\"results\":[{\"rows\":null}],\"time\":0.00046}");
}

static void test_raft_index_and_pretty_envelopes(void **state)
{
    (void)state;
    (void)post("/db/execute?raft_index&pretty", "[\"X\"]");
    fake_reply(0, "R[\n        {}\n    ]");
    assert_string_equal(body_of(fake_written(&conn)),
                        "{\n    \"results\": [\n        {}\n    ],\n    \"raft_index\": 5\n}");
    (void)post("/db/execute?pretty", "[\"PRAGMA journal_mode=x\"]");
    fake_written(&conn);
    assert_string_equal(body_of(post("/db/execute?pretty", "[\"PRAGMA journal_mode=x\"]")),
                        "{\n    \"results\": [],\n    \"error\": \"disallowed pragma\"\n}");
}

static void one_answer(const char *target, int rc, const char *words, const char *status,
                       const char *body)
{
    (void)post(target, "[\"X\"]");
    fake_reply(rc, words);
    const char *answer = fake_written(&conn);
    expect_has(answer, status);
    expect_lacks(answer, "X-Rqlite-Served-By");
    assert_string_equal(body_of(answer), body);
}

static void test_failures_of_the_whole_request(void **state)
{
    (void)state;
    one_answer("/db/execute", ERR_NO_LEADER, "", "503", "leader not found\n");
    one_answer("/db/execute?redirect", ERR_NO_LEADER, "", "500", "leader not found\n");
    one_answer("/db/execute", ERR_NOT_LEADER, "", "200",
               "{\"results\":[],\"error\":\"not leader\"}");
    one_answer("/db/execute", ERR_LEADERSHIP_LOST, NULL, "200",
               "{\"results\":[],\"error\":\"leadership lost while committing log\"}");
    one_answer("/db/query", ERR_STALE, NULL, "200", "{\"results\":[],\"error\":\"stale read\"}");
    one_answer("/db/query", ERR_REFUSED, "dial tcp a:1: connect: connection refused", "200",
               "{\"results\":[],\"error\":\"dial tcp a:1: connect: connection refused\"}");
    one_answer("/db/execute", ERR_FULL, NULL, "Retry-After: 1\r\n",
               "too many requests in progress, try again\n");
    one_answer("/db/execute", 0, "Econtext deadline exceeded", "200",
               "{\"results\":[],\"error\":\"context deadline exceeded\"}");
    (void)post("/db/execute", "[\"X\"]");
    fake_reply(0, "Fjson: unsupported");
    const char *answer = fake_written(&conn);
    expect_has(answer, "500");
    expect_has(answer, "X-Rqlite-Served-By");
    assert_string_equal(body_of(answer), "json: unsupported\n");
}

static void test_redirects_keep_the_query_as_received(void **state)
{
    (void)state;
    (void)post("/db/execute?redirect&timings&x=%41", "[\"X\"]");
    assert_true(fake.last.redirect);
    fake_reply(ERR_NOT_LEADER, NULL);
    const char *answer = fake_written(&conn);
    expect_has(answer, "HTTP/1.1 301 ");
    expect_has(answer, "Location: http://leader:4001/db/execute?redirect&timings&x=%41\r\n");
    fake.status.leader_api_url[0] = '\0';
    (void)post("/db/execute?redirect", "[\"X\"]");
    fake_reply(ERR_NOT_LEADER, NULL);
    expect_has(fake_written(&conn), "500");
}

static void test_refusals_at_once(void **state)
{
    (void)state;
    assert_string_equal(body_of(get("/db/query")), "{\"results\":[]}");
    fake.submit_rc = ERR_FULL;
    expect_has(get("/db/query?q=SELECT+1"), "Retry-After: 1");
    fake.submit_rc = 0;
    api_node_set(api, NULL);
    assert_string_equal(body_of(get("/db/query?q=SELECT+1")),
                        "{\"results\":[],\"error\":\"store not open\"}");
    expect_has(get("/db/backup?noleader"), "store not open\n");
    expect_has(get("/readyz"), "[+]node ok\n[+]leader does not exist");
    expect_has(get("/nodes"), "store nodes: store not open\n");
    expect_has(get("/status?key=store"), "{\"open\":false}");
}

/* ---- the cluster's endpoints ---------------------------------------------------------------------------------------- */

static void test_nodes_in_both_forms(void **state)
{
    (void)state;
    assert_string_equal(body_of(get("/nodes?ver=2")),
                        "{\"nodes\":[{\"id\":\"dead\",\"addr\":\"d:2\",\"version\":\"\",\"voter\":"
                        "true,\"reachable\":false,\"leader\":false,"
                        "\"error\":\"dial tcp d:2: connect: connection "
                        "refused\"},{\"id\":\"n1\",\"api_addr\":\"http://127.0.0.1:4001\","
                        "\"addr\":\"127.0.0.1:4002\",\"version\":\"v10.3.0\",\"voter\":true,"
                        "\"reachable\":true,\"leader\":true,"
                        "\"time\":0.000038958,\"time_s\":\"38.958µs\"}]}");
    expect_has(get("/nodes"), "{\"dead\":{\"id\":\"dead\",");
    fake.status.members[0].voter = false;
    expect_lacks(get("/nodes"), "dead");
    expect_has(get("/nodes?nonvoters"), "dead");
    expect_has(get("/leader"), "{\"id\":\"n1\",\"api_addr\"");
    fake.status.has_leader = false;
    expect_has(get("/leader"), "503");
}

static void test_ready_walks_its_steps(void **state)
{
    (void)state;
    (void)get("/readyz?sync");
    fake_reply(0, "R[{}]");
    assert_string_equal(body_of(fake_written(&conn)),
                        "[+]node ok\n[+]leader ok\n[+]store ok\n[+]sync ok\n[+]db ok");
    fake.status.ready = false;
    const char *answer = get("/readyz");
    expect_has(answer, "503");
    assert_string_equal(body_of(answer), "[+]node ok\n[+]leader ok\n[+]store not ready");
    strcpy(fake.status.leader_name, "dead");
    assert_string_equal(
        body_of(get("/readyz")),
        "[+]node ok\n[+]leader not contactable: dial tcp d:2: connect: connection refused");
}

static void test_ready_survives_a_client_that_left(void **state)
{
    (void)state;
    (void)get("/readyz");
    fake_hang_up(&conn, ERR_RESET);
    fake_turn();
    fake_reply(0, "R[{}]");
}

static void test_status_has_parts_by_key(void **state)
{
    (void)state;
    assert_string_equal(body_of(get("/status?key=store.raft.state")), "\"Leader\"");
    assert_string_equal(body_of(get("/status?key=store.leader")),
                        "{\"addr\":\"127.0.0.1:4002\",\"node_id\":\"n1\"}");
    assert_string_equal(body_of(get("/status?key=no.such")), "{}");
    assert_string_equal(body_of(get("/status?key=http.tls.enabled.more")), "\"false\"");
    expect_has(get("/status?pretty"),
               "{\n    \"build\": {\n        \"build_time\": \"unknown\",\n");
    assert_string_equal(body_of(get("/debug/vars?key=queue")),
                        "{\n\"queue\": {\"num_flush\": 0, \"num_timeout\": 0, \"objects_rx\": 0, "
                        "\"objects_tx\": 0}\n}\n");
    assert_string_equal(body_of(get("/debug/vars?key=nope")), "{\n\n}\n");
    expect_has(get("/debug/vars?key=http"), "\"num_status\": 5,");
}

static void test_short_memory_answers_or_closes(void **state)
{
    static const char *const requests[] = {
        "GET /status HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET /nodes?pretty HTTP/1.1\r\nHost: h\r\n\r\n",
        "POST /db/sql HTTP/1.1\r\nHost: h\r\nContent-Length: 19\r\n\r\n[\"SELECT \\u0041\",\"b\"]",
        "GET /db/query?q=SELECT+1 HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET /debug/vars HTTP/1.1\r\nHost: h\r\n\r\n",
    };
    (void)state;
    for (size_t i = 0; i < sizeof requests / sizeof requests[0]; i++) {
        for (unsigned long n = 1;; n++) {
            static struct fake_stream s;
            mem_fault_arm(0);
            fake_connect(&s);
            assert_non_null(buf_reserve(&s.written, 256 * 1024));
            mem_fault_arm(n);
            fake_send(&s, requests[i]);
            if (fake.reply)
                fake_reply(0, results_one);
            const int fired = mem_fault_fired();
            mem_fault_arm(0);
            if (!s.closed && !s.finished && buf_len(&s.written) == 0)
                fail_msg("request %zu, allocation %lu: no answer, not closed", i, n);
            fake_stream_end(&s);
            if (!fired)
                break;
        }
    }
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(test_pipelined_answers_come_in_order_and_in_one_write),
        CASE(test_a_request_in_flight_holds_what_is_behind_it),
        CASE(test_reading_stops_when_too_much_waits_and_starts_again),
        CASE(test_a_client_that_does_not_read_is_not_served_further),
        CASE(test_a_reset_client_is_forgotten),
        CASE(test_a_client_that_finished_sending_still_gets_its_answer),
        CASE(test_slow_headers_and_idle_connections_are_closed),
        CASE(test_a_body_may_take_long_but_not_pause),
        CASE(test_a_request_in_flight_has_no_deadline_of_ours),
        CASE(test_bad_http_is_refused_and_closed),
        CASE(test_stop_lets_running_requests_finish),
        CASE(test_stop_answers_a_request_that_was_on_its_way),
        CASE(test_stop_waits_for_no_slow_request),
        CASE(test_stop_ends_at_its_grace),
        CASE(test_every_answer_has_the_common_headers),
        CASE(test_checks_come_in_their_order),
        CASE(test_head_has_the_length_but_no_body),
        CASE(test_the_request_reaches_node_as_asked),
        CASE(test_raft_index_and_pretty_envelopes),
        CASE(test_failures_of_the_whole_request),
        CASE(test_redirects_keep_the_query_as_received),
        CASE(test_refusals_at_once),
        CASE(test_nodes_in_both_forms),
        CASE(test_ready_walks_its_steps),
        CASE(test_ready_survives_a_client_that_left),
        CASE(test_status_has_parts_by_key),
        CASE(test_short_memory_answers_or_closes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
