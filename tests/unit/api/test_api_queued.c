/* Queued writes over HTTP, with a node that answers when the test says so. */
#include "api_fixture.h"
#include "api_queue.h"

static struct fake_stream conns[4];

static int start(uint32_t capacity, uint32_t batch_size)
{
    fake_reset();
    fake.queue = (struct api_queue_config){capacity, batch_size, 50 * ENV_MS_NS, false};
    api = fake_api();
    for (int i = 0; i < 4; i++)
        fake_connect(&conns[i]);
    return 0;
}

static int setup_roomy(void **state)
{
    (void)state;
    return start(1024, 3);
}
static int setup_small(void **state)
{
    (void)state;
    return start(2, 2);
}

static int teardown_all(void **state)
{
    (void)state;
    for (int i = 0; i < 4; i++)
        fake_stream_end(&conns[i]);
    fixture_end();
    return 0;
}

static void post(int at, const char *flags, const char *body)
{
    char request[1024];
    (void)snprintf(request, sizeof request,
                   "POST /db/execute?queue%s HTTP/1.1\r\nHost: h\r\nContent-Length: %zu\r\n\r\n%s",
                   flags, strlen(body), body);
    fake_send(&conns[at], request);
}
static const char *answer(int at)
{
    return fake_written(&conns[at]);
}
static const char *sequence_body(uint64_t number)
{
    static char text[100];
    (void)snprintf(text, sizeof text, "{\"results\":[],\"sequence_number\":%llu}",
                   (unsigned long long)(api->queued->queue.start + number));
    return text;
}
/* Statements of what node was given last. */
static const char *sent(void)
{
    static char text[1024];
    struct wire_cmd c;
    struct slice sql;
    uint32_t params = 0;
    size_t len = 0;
    assert_int_equal(wire_cmd_open(fake.last.f.payload, false, &c), 0);
    text[0] = '\0';
    while (wire_cmd_next(&c, &sql, &params) == 0)
        len += (size_t)snprintf(text + len, sizeof text - len, "%.*s", (int)sql.len,
                                (const char *)sql.data);
    return text;
}
static uint64_t counter(enum api_counter which)
{
    return api->counters[which];
}

static void test_the_answer_comes_at_once_and_the_batch_later(void **state)
{
    (void)state;
    post(0, "", "[\"A\"]");
    const char *text = answer(0);
    expect_has(text, "HTTP/1.1 200 OK");
    assert_null(strstr(text, "Served-By"));
    assert_string_equal(body_of(text), sequence_body(1));
    post(0, "", "[\"B\",\"C\"]");
    assert_string_equal(body_of(answer(0)), sequence_body(2));
    fake_turn();
    assert_int_equal(fake.submitted, 0);
    fake_pass(49);
    assert_int_equal(fake.submitted, 0);
    fake_pass(1);
    assert_int_equal(fake.submitted, 1);
    assert_string_equal(sent(), "ABC");
    assert_int_equal(fake.last.f.kind, WIRE_EXECUTE);
    assert_int_equal(counter(API_COUNT_QUEUE_TIMEOUT), 1);
    assert_int_equal(counter(API_COUNT_QUEUED_STMTS_RX), 3);
    assert_int_equal(counter(API_COUNT_QUEUED_STMTS_TX), 3);
    fake_reply(0, "R[]");
    assert_int_equal(counter(API_COUNT_QUEUED_OK), 1);
    assert_int_equal(api->queued->queue.finished, api->queued->queue.start + 2);
}

static void test_timings_and_pretty_stand_where_rqlite_has_them(void **state)
{
    (void)state;
    post(0, "&timings", "[\"A\"]");
    expect_has(answer(0), "{\"results\":[],\"time\":0,\"sequence_number\":");
    post(0, "&pretty", "[\"A\"]");
    expect_has(answer(0), "{\n    \"results\": [],\n    \"sequence_number\": ");
}

static void test_a_full_batch_does_not_wait_for_time(void **state)
{
    (void)state;
    post(0, "", "[\"A\"]");
    post(1, "", "[\"B\"]");
    post(0, "", "[\"C\"]");
    post(2, "", "[\"D\"]");
    fake_turn();
    assert_int_equal(fake.submitted, 1);
    assert_string_equal(sent(), "ABC");
    assert_int_equal(counter(API_COUNT_QUEUE_TIMEOUT), 0);
}

static void test_one_batch_is_under_way_at_a_time(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++)
        post(i, "", "[\"A\"]");
    fake_turn();
    for (int i = 0; i < 3; i++)
        post(i, "", "[\"B\"]");
    fake_turn();
    fake_pass(1000);
    assert_int_equal(fake.submitted, 1);
    fake_reply(0, "R[]");
    fake_turn();
    assert_int_equal(fake.submitted, 2);
    assert_string_equal(sent(), "BBB");
}

static void test_wait_is_answered_when_the_batch_is_through(void **state)
{
    (void)state;
    post(0, "&wait", "[\"A\"]");
    post(1, "&wait", "[\"B\"]");
    post(2, "", "[\"C\"]");
    fake_turn();
    post(3, "&wait", "[\"D\"]"); /* of the next batch */
    assert_int_equal(fake.submitted, 1);
    assert_string_equal(answer(0), "");
    fake_reply(0, "R[{\"error\":\"no such table\"}]"); /* SQL errors are nobody's business */
    assert_string_equal(body_of(answer(0)), sequence_body(1));
    assert_string_equal(body_of(answer(1)), sequence_body(2));
    assert_string_equal(answer(3), "");
    fake_turn();
    fake_pass(50);
    fake_reply(0, "R[]");
    assert_string_equal(body_of(answer(3)), sequence_body(4));
    assert_int_equal(counter(API_COUNT_QUEUED_WAIT), 3);
}

static void test_wait_ends_after_its_timeout_and_the_write_stays(void **state)
{
    (void)state;
    post(0, "&wait&timeout=20ms", "[\"A\"]");
    fake_turn();
    fake_pass(20);
    const char *text = answer(0);
    expect_has(text, "HTTP/1.1 408 ");
    assert_string_equal(body_of(text), "queue wait timeout\n");
    assert_int_equal(counter(API_COUNT_QUEUED_WAIT_TIMEOUT), 1);
    fake_pass(30);
    assert_int_equal(fake.submitted, 1);
    fake_reply(0, "R[]");
    assert_string_equal(answer(0), "");
}

static void test_an_empty_array_is_a_marker_only_with_wait(void **state)
{
    (void)state;
    post(0, "", "[]");
    expect_has(answer(0), "HTTP/1.1 400 ");
    post(0, "", "[\"A\"]");
    (void)answer(0);
    post(1, "&wait", " [ ] ");
    post(2, "", "[\"B\"]");
    fake_turn();
    assert_string_equal(answer(1), "");
    assert_string_equal(sent(), "AB");
    fake_reply(0, "R[]");
    assert_string_equal(body_of(answer(1)), sequence_body(2));
}

static void test_markers_alone_need_no_entry_but_wait_their_turn(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++)
        post(i, "", "[\"A\"]");
    fake_turn();
    post(3, "&wait", "[]");
    fake_turn();
    fake_pass(50);
    (void)answer(3);
    assert_string_equal(answer(3), "");
    fake_reply(0, "R[]");
    fake_turn();
    assert_string_equal(body_of(answer(3)), sequence_body(4));
    assert_int_equal(fake.submitted, 1);
}

static void test_what_can_be_refused_is_refused_before_it_is_queued(void **state)
{
    (void)state;
    post(0, "", "{x");
    expect_has(answer(0), "HTTP/1.1 400 ");
    post(0, "", "[1]");
    expect_has(answer(0), "invalid request\n");
    post(0, "", "[[\"SELECT ?\", 1e999]]");
    expect_has(answer(0), "HTTP/1.1 400 ");
    post(0, "&wait", "[,]");
    expect_has(answer(0), "invalid JSON body\n");
    post(0, "", "[\"PRAGMA journal_mode=off\"]");
    assert_string_equal(body_of(answer(0)), "{\"results\":[],\"error\":\"disallowed pragma\"}");
    assert_int_equal(api_queue_pending(&api->queued->queue), 0);
}

static void test_without_a_leader_only_noleader_enters(void **state)
{
    (void)state;
    fake.status.has_leader = false;
    post(0, "", "[\"A\"]");
    const char *text = answer(0);
    expect_has(text, "HTTP/1.1 503 ");
    assert_string_equal(body_of(text), "leader not found\n");
    post(0, "&noleader", "[\"A\"]");
    expect_has(answer(0), "sequence_number");
    api_node_set(api, NULL);
    post(0, "", "[\"A\"]");
    expect_has(answer(0), "leader not found");
    post(0, "&noleader", "[\"B\"]");
    post(0, "&noleader", "[\"C\"]");
    fake_turn(); /* due, but the store's id is not known */
    assert_int_equal(fake.submitted, 0);
    api_node_set(api, (struct node *)(void *)&fake);
    fake_pass(1000);
    assert_string_equal(sent(), "ABC");
}

static void copy_sent(struct buf *out)
{
    buf_reset(out, 0);
    buf_append_slice(out, fake.last.f.payload);
}

static void test_what_failed_is_sent_again_with_the_same_bytes(void **state)
{
    static const int failures[] = {ERR_NO_LEADER,       ERR_NOT_LEADER, ERR_REFUSED, ERR_FULL,
                                   ERR_LEADERSHIP_LOST, ERR_TIMEOUT,    ERR_RESET};
    enum { FAILURES = sizeof failures / sizeof failures[0] };
    struct buf first;
    (void)state;
    buf_init(&first, 4096);
    post(0, "&wait", "[\"A\"]");
    post(1, "", "[\"B\"]");
    post(2, "", "[\"C\"]");
    fake_turn();
    copy_sent(&first);
    for (uint32_t i = 0; i < FAILURES; i++) {
        post(3, "", "[\"D\"]");
        assert_int_equal(fake.submitted, i + 1);
        fake_reply(failures[i], "words");
        fake_turn();
        fake_pass(999);
        assert_int_equal(fake.submitted, i + 1);
        assert_string_equal(answer(0), "");
        fake_pass(1);
        assert_int_equal(fake.submitted, i + 2);
        assert_true(slice_equal(buf_slice(&first), fake.last.f.payload));
    }
    buf_fini(&first);
    fake_reply(0, "R[]");
    assert_string_equal(body_of(answer(0)), sequence_body(1));
    assert_int_equal(counter(API_COUNT_QUEUED_FAILED), FAILURES);
    assert_int_equal(counter(API_COUNT_QUEUED_LEADERSHIP_LOST), 1);
    assert_int_equal(counter(API_COUNT_QUEUED_NO_LEADER), 1);
    assert_int_equal(counter(API_COUNT_QUEUED_NOT_LEADER), 1);
    assert_int_equal(counter(API_COUNT_QUEUED_UNKNOWN_ERROR), 4);
    fake_turn();
    assert_string_equal(sent(), "DDD");
}

static void test_what_no_node_will_ever_take_does_not_jam_the_queue(void **state)
{
    (void)state;
    post(0, "&wait", "[\"A\"]");
    fake_turn();
    fake_pass(50);
    fake_reply(ERR_TOO_BIG, "larger than the limit");
    assert_string_equal(body_of(answer(0)), "{\"results\":[],\"error\":\"larger than the limit\"}");
    post(0, "&wait", "[\"B\"]");
    fake_turn();
    fake_pass(50);
    assert_string_equal(sent(), "B");
    fake_reply(0, "R[]");
    assert_string_equal(body_of(answer(0)), sequence_body(2));
}

static void test_node_that_takes_nothing_is_asked_again(void **state)
{
    (void)state;
    fake.submit_rc = ERR_FULL;
    post(0, "", "[\"A\"]");
    fake_turn();
    fake_pass(50);
    assert_int_equal(fake.submitted, 1);
    fake.submit_rc = 0;
    fake_pass(1000);
    assert_int_equal(fake.submitted, 2);
    fake_reply(0, "R[]");
    assert_int_equal(api_queue_pending(&api->queued->queue), 0);
}

/* ---- full -------------------------------------------------------------------------------------------------- */

static void fill(void)
{
    fake.submit_rc = ERR_FULL; /* the first batch stays under way */
    post(0, "", "[\"A\"]");
    post(0, "", "[\"B\"]");
    fake_turn();
    post(0, "", "[\"C\"]");
    post(0, "", "[\"D\"]");
    fake_turn();
    expect_has(answer(0), "sequence_number");
    assert_false(api_queue_has_room(&api->queued->queue, 1));
}

static void test_a_full_queue_blocks_and_room_lets_in_by_arrival(void **state)
{
    (void)state;
    fill();
    post(1, "", "[\"E\"]");
    post(2, "&wait", "[\"F\"]");
    post(3, "", "[\"G\"]");
    fake.submit_rc = 0;
    fake_pass(1000);
    assert_string_equal(answer(1), "");
    fake_reply(0, "R[]");
    fake_turn();
    assert_string_equal(sent(), "CD");
    assert_string_equal(body_of(answer(1)), sequence_body(5));
    assert_string_equal(answer(2), ""); /* entered: waits for its batch */
    assert_string_equal(answer(3), ""); /* blocked still */
    fake_reply(0, "R[]");
    fake_turn();
    assert_string_equal(sent(), "EF");
    assert_string_equal(body_of(answer(3)), sequence_body(7));
    fake_reply(0, "R[]");
    assert_string_equal(body_of(answer(2)), sequence_body(6));
}

static void test_a_small_request_does_not_overtake_a_large_one_that_is_blocked(void **state)
{
    struct api_queue *q = &api->queued->queue;
    (void)state;
    fake.submit_rc = ERR_FULL;
    post(0, "", "[\"A\"]");
    fake_turn();
    const size_t bytes = q->bytes;
    q->bytes = LIMIT_QUEUE_BYTES - 400; /* room for a small one only */
    post(1, "",
         "[\"BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBB"
         "BBB"
         "BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBB"
         "BBBBB"
         "BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBB"
         "BBBBB"
         "BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBB"
         "BBBBB"
         "\"]");
    post(2, "", "[\"C\"]");
    assert_int_equal(api->queued->blocked_count, 2);
    assert_string_equal(answer(2), "");
    q->bytes = bytes;
    fake_pass(50);
    assert_string_equal(body_of(answer(1)), sequence_body(2));
    assert_string_equal(body_of(answer(2)), sequence_body(3));
}

static void test_a_blocked_request_is_refused_after_its_timeout(void **state)
{
    (void)state;
    fill();
    post(1, "&timeout=100ms", "[\"E\"]");
    fake_pass(100);
    const char *text = answer(1);
    expect_has(text, "HTTP/1.1 503 ");
    expect_has(text, "Retry-After: 1\r\n");
    assert_int_equal(api->queued->blocked_count, 0);
    fake_hang_up(&conns[2], ERR_RESET);
}

static void test_a_client_that_leaves_is_let_in_nowhere(void **state)
{
    (void)state;
    fill();
    post(1, "", "[\"E\"]");
    post(2, "", "[\"F\"]");
    fake_hang_up(&conns[1], ERR_RESET);
    fake_turn();
    assert_int_equal(api->queued->blocked_count, 1);
    fake.submit_rc = 0;
    fake_pass(1000);
    fake_reply(0, "R[]");
    fake_turn();
    fake_reply(0, "R[]");
    fake_turn();
    fake_pass(50);
    assert_string_equal(sent(), "F");
}

static void test_no_more_than_the_limit_are_blocked(void **state)
{
    (void)state;
    fill();
    api->queued->blocked_count = LIMIT_QUEUE_BLOCKED_COUNT;
    post(1, "", "[\"E\"]");
    const char *text = answer(1);
    expect_has(text, "HTTP/1.1 503 ");
    expect_has(text, "Retry-After: 1\r\n");
    api->queued->blocked_count = 0;
}

/* ---- stopping ------------------------------------------------------------------------------------------------ */

static void test_a_stop_sends_what_is_queued_and_answers_who_waits(void **state)
{
    int told = 0;
    (void)state;
    post(0, "", "[\"A\"]");
    post(1, "&wait", "[\"B\"]");
    api_stop(api, 5000, fixture_told, &told);
    fake_turn();
    assert_string_equal(sent(), "AB"); /* without waiting for a third */
    assert_int_equal(told, 0);
    fake_reply(0, "R[]");
    assert_string_equal(body_of(answer(1)), sequence_body(2));
    fake_pass(100); /* the first client asks for nothing more */
    fake_turn();
    assert_int_equal(told, 1);
}

static void test_a_stop_waits_for_the_queue_when_all_clients_are_gone(void **state)
{
    int told = 0;
    (void)state;
    post(0, "", "[\"A\"]");
    fake_turn();
    for (int i = 0; i < 4; i++)
        fake_stream_end(&conns[i]);
    api_stop(api, 5000, fixture_told, &told);
    fake_turn();
    fake_turn();
    assert_int_equal(told, 0);
    fake_reply(ERR_NO_LEADER, "none");
    fake_pass(1000);
    assert_string_equal(sent(), "A");
    fake_reply(0, "R[]");
    fake_turn();
    assert_int_equal(told, 1);
}

static void test_a_stop_gives_the_queue_up_when_the_grace_is_over(void **state)
{
    int told = 0;
    (void)state;
    post(0, "", "[\"A\"]");
    post(1, "&wait", "[\"B\"]");
    api_stop(api, 5000, fixture_told, &told);
    fake_turn();
    assert_int_equal(fake.submitted, 1);
    fake_pass(5000);
    fake_turn();
    fake_turn();
    assert_int_equal(told, 1);
    assert_int_equal(fake.forgotten, 1);
    assert_true(api_queue_idle(api));
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup_roomy, teardown_all)
#define SMALL(name) cmocka_unit_test_setup_teardown(name, setup_small, teardown_all)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_the_answer_comes_at_once_and_the_batch_later),
        CASE(test_timings_and_pretty_stand_where_rqlite_has_them),
        CASE(test_a_full_batch_does_not_wait_for_time),
        CASE(test_one_batch_is_under_way_at_a_time),
        CASE(test_wait_is_answered_when_the_batch_is_through),
        CASE(test_wait_ends_after_its_timeout_and_the_write_stays),
        CASE(test_an_empty_array_is_a_marker_only_with_wait),
        CASE(test_markers_alone_need_no_entry_but_wait_their_turn),
        CASE(test_what_can_be_refused_is_refused_before_it_is_queued),
        CASE(test_without_a_leader_only_noleader_enters),
        CASE(test_what_failed_is_sent_again_with_the_same_bytes),
        CASE(test_what_no_node_will_ever_take_does_not_jam_the_queue),
        CASE(test_node_that_takes_nothing_is_asked_again),
        SMALL(test_a_full_queue_blocks_and_room_lets_in_by_arrival),
        CASE(test_a_small_request_does_not_overtake_a_large_one_that_is_blocked),
        SMALL(test_a_blocked_request_is_refused_after_its_timeout),
        SMALL(test_a_client_that_leaves_is_let_in_nowhere),
        SMALL(test_no_more_than_the_limit_are_blocked),
        CASE(test_a_stop_sends_what_is_queued_and_answers_who_waits),
        CASE(test_a_stop_waits_for_the_queue_when_all_clients_are_gone),
        CASE(test_a_stop_gives_the_queue_up_when_the_grace_is_over),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
