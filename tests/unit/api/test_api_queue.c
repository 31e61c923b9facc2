/* The queue as a value: who goes with whom, when, and in which bytes. */
#include "api_queue.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { START = 1000 };

static struct api_queue q;

static void queue_make(uint32_t capacity, uint32_t batch_size, uint64_t timeout_ns)
{
    const struct api_queue_config config = {capacity, batch_size, timeout_ns, false};
    api_queue_init(&q, &config, START);
}

static int teardown(void **state)
{
    (void)state;
    api_queue_fini(&q);
    return 0;
}

/* One request of `count` statements, each "<name> i" with i as its parameter. */
static uint64_t add_as(const char *user, const char *password, const char *name, uint32_t count,
                       uint64_t now_ns)
{
    struct buf b;
    uint64_t sequence = 0;
    buf_init(&b, LIMIT_ENTRY_BYTES);
    wire_cmd_begin(&b, WIRE_CMD_EXECUTE, 0, slice_of(NULL, 0));
    for (uint32_t i = 0; i < count; i++) {
        const struct wire_param p = {.type = WIRE_INTEGER, .integer = i};
        wire_cmd_statement(&b, slice_str(name));
        wire_cmd_param(&b, &p);
    }
    assert_int_equal(wire_cmd_finish(&b), 0);
    const struct api_queue_entry entry = {.payload = buf_slice(&b),
                                          .statement_count = count,
                                          .user = slice_str(user),
                                          .password = slice_str(password)};
    assert_int_equal(api_queue_add(&q, &entry, now_ns, &sequence), 0);
    buf_fini(&b);
    api_queue_check(&q);
    return sequence;
}

static uint64_t add(const char *name, uint32_t count, uint64_t now_ns)
{
    return add_as("", "", name, count, now_ns);
}

static uint64_t add_marker(uint64_t now_ns)
{
    uint64_t sequence = 0;
    const struct api_queue_entry marker = {.statement_count = 0};
    assert_int_equal(api_queue_add(&q, &marker, now_ns, &sequence), 0);
    api_queue_check(&q);
    return sequence;
}

static void begin(void)
{
    assert_int_equal(api_queue_batch_begin(&q, 77), 0);
    api_queue_check(&q);
}

/* The texts of the batch's statements, one letter or word after the other. */
static const char *batch_text(void)
{
    static char text[1024];
    struct wire_cmd c;
    struct slice sql;
    uint32_t params = 0;
    size_t len = 0;
    assert_int_equal(wire_cmd_open(buf_slice(&q.batch.payload), false, &c), 0);
    text[0] = '\0';
    while (wire_cmd_next(&c, &sql, &params) == 0)
        len += (size_t)snprintf(text + len, sizeof text - len, "%.*s", (int)sql.len,
                                (const char *)sql.data);
    return text;
}

static void test_numbers_follow_the_start(void **state)
{
    (void)state;
    queue_make(10, 10, 5);
    assert_int_equal(add("a", 1, 0), START + 1);
    assert_int_equal(add_marker(0), START + 2);
    assert_int_equal(add("b", 1, 0), START + 3);
    assert_int_equal(q.finished, 0);
}

static void test_a_batch_is_due_by_count_or_by_the_age_of_its_first(void **state)
{
    (void)state;
    queue_make(10, 3, 50);
    assert_int_equal(api_queue_due_ns(&q), UINT64_MAX);
    add("a", 1, 100);
    add("b", 1, 120);
    assert_int_equal(api_queue_due_ns(&q), 150);
    add("c", 1, 130);
    assert_int_equal(api_queue_due_ns(&q), 0);
    add("d", 1, 140);
    begin();
    assert_string_equal(batch_text(), "abc");
    assert_int_equal(api_queue_due_ns(&q), UINT64_MAX); /* one at a time */
    add("e", 1, 150);
    add("f", 1, 150);
    assert_int_equal(api_queue_due_ns(&q), UINT64_MAX);
    api_queue_batch_end(&q);
    assert_int_equal(q.finished, START + 3);
    assert_int_equal(api_queue_due_ns(&q), 0);
    begin();
    assert_string_equal(batch_text(), "def");
}

static const char *batch_user(void)
{
    static char text[64];
    const struct slice secrets = buf_slice(&q.batch.secrets);
    (void)snprintf(text, sizeof text, "%.*s:%.*s", (int)q.batch.user_len,
                   secrets.data ? (const char *)secrets.data : "",
                   (int)(secrets.len - q.batch.user_len),
                   secrets.data ? (const char *)secrets.data + q.batch.user_len : "");
    return text;
}

static void test_a_batch_has_one_client_and_its_credentials(void **state)
{
    (void)state;
    queue_make(20, 20, 50);
    q.flushing = true;
    add_as("bob", "x", "a", 1, 1);
    add_marker(1);
    add_as("bob", "x", "b", 1, 1);
    add_as("bob", "y", "c", 1, 1); /* the same name, said by somebody else */
    add("d", 1, 1);
    add_marker(1);
    static const char *const batches[][2] = {{"ab", "bob:x"}, {"c", "bob:y"}, {"d", ":"}};
    for (size_t i = 0; i < 3; i++) {
        begin();
        assert_string_equal(batch_text(), batches[i][0]);
        assert_string_equal(batch_user(), batches[i][1]);
        api_queue_batch_end(&q);
        assert_string_equal(batch_user(), ":");
    }
    assert_int_equal(q.count, 0);
}

static void test_time_counts_from_the_oldest_that_is_left(void **state)
{
    (void)state;
    queue_make(10, 2, 50);
    add("a", 1, 100);
    add("b", 1, 100);
    add("c", 1, 110);
    begin();
    api_queue_batch_end(&q);
    assert_int_equal(api_queue_due_ns(&q), 160);
}

static void test_without_a_timeout_only_count_or_a_flush_sends(void **state)
{
    (void)state;
    queue_make(10, 3, 0);
    add("a", 1, 1);
    assert_int_equal(api_queue_due_ns(&q), UINT64_MAX);
    q.flushing = true;
    assert_int_equal(api_queue_due_ns(&q), 0);
    q.flushing = false;
    add("b", 1, 1);
    add("c", 1, 1);
    assert_int_equal(api_queue_due_ns(&q), 0);
}

static void test_a_queue_smaller_than_a_batch_is_due_when_it_is_full(void **state)
{
    (void)state;
    queue_make(2, 128, 0);
    add("a", 1, 1);
    assert_true(api_queue_has_room(&q, 10));
    add("b", 1, 1);
    assert_false(api_queue_has_room(&q, 10));
    assert_int_equal(api_queue_due_ns(&q), 0);
    begin();
    assert_true(api_queue_has_room(&q, 10)); /* the batch counts no more */
    assert_int_equal(api_queue_pending(&q), 2);
}

static void test_statements_keep_order_count_and_parameters(void **state)
{
    struct wire_cmd c;
    struct wire_param p;
    struct slice sql;
    uint32_t params = 0;
    (void)state;
    queue_make(10, 3, 50);
    add("a", 2, 1);
    add_marker(1);
    add("b", 1, 1);
    begin();
    assert_string_equal(batch_text(), "aab");
    assert_int_equal(q.batch.request_count, 3);
    assert_int_equal(q.batch.statement_count, 3);
    assert_int_equal(q.batch.sequence, START + 3);
    assert_int_equal(wire_cmd_open(buf_slice(&q.batch.payload), false, &c), 0);
    assert_int_equal(c.kind, WIRE_CMD_EXECUTE);
    assert_int_equal(c.flags, WIRE_CMD_QUEUED);
    assert_int_equal(c.statement_count, 3);
    for (int64_t i = 0; i < 2; i++) {
        assert_int_equal(wire_cmd_next(&c, &sql, &params), 0);
        assert_int_equal(wire_cmd_next_param(&c, &p), 0);
        assert_int_equal(p.integer, i);
    }
}

static void test_the_key_names_store_start_and_batch(void **state)
{
    static const uint8_t want[API_QUEUE_KEY_BYTES] = {1,          77,
                                                      0,          0,
                                                      0,          0,
                                                      0,          0,
                                                      0,          START & 0xff,
                                                      START >> 8, 0,
                                                      0,          0,
                                                      0,          0,
                                                      0,          (START + 2) & 0xff,
                                                      START >> 8};
    struct wire_cmd c;
    (void)state;
    queue_make(10, 2, 50);
    add("a", 1, 1);
    add("b", 1, 1);
    add("c", 1, 1);
    begin();
    assert_int_equal(wire_cmd_open(buf_slice(&q.batch.payload), false, &c), 0);
    assert_true(slice_equal(c.idempotency_key, slice_of(want, sizeof want)));
}

static void test_a_batch_can_be_one_transaction(void **state)
{
    const struct api_queue_config config = {10, 1, 0, true};
    struct wire_cmd c;
    (void)state;
    api_queue_init(&q, &config, START);
    add("a", 1, 1);
    begin();
    assert_int_equal(wire_cmd_open(buf_slice(&q.batch.payload), false, &c), 0);
    assert_int_equal(c.flags, WIRE_CMD_QUEUED | WIRE_CMD_TRANSACTION);
}

static char *big_text(size_t len)
{
    char *text = malloc(len + 1);
    assert_non_null(text);
    memset(text, 'x', len);
    text[len] = '\0';
    return text;
}

static void test_large_requests_are_parted_by_bytes(void **state)
{
    (void)state;
    char *half = big_text(LIMIT_QUEUE_BATCH_BYTES / 2), *whole = big_text(LIMIT_QUEUE_BATCH_BYTES);
    queue_make(10, 10, 50);
    add(half, 1, 1);
    assert_int_equal(api_queue_due_ns(&q), 51);
    add(half, 1, 1);
    assert_int_equal(api_queue_due_ns(&q), 0);
    add(whole, 1, 1);
    begin();
    assert_int_equal(q.batch.request_count, 1); /* two heads too many for both */
    api_queue_batch_end(&q);
    begin();
    assert_int_equal(q.batch.request_count, 1);
    api_queue_batch_end(&q);
    begin();
    assert_int_equal(q.batch.request_count, 1); /* larger than a batch: alone */
    api_queue_batch_end(&q);
    free(half);
    free(whole);
}

static void test_a_batch_has_no_more_statements_than_a_request_may_have(void **state)
{
    (void)state;
    queue_make(10, 10, 50);
    add("a", LIMIT_STATEMENTS - 1, 1);
    add("b", 1, 1);
    add("c", 1, 1);
    begin();
    assert_int_equal(q.batch.request_count, 2);
    assert_int_equal(q.batch.statement_count, LIMIT_STATEMENTS);
}

static void test_bytes_bound_the_queue_but_never_lock_out_the_first(void **state)
{
    (void)state;
    queue_make(1000, 1000, 0);
    assert_true(api_queue_has_room(&q, LIMIT_QUEUE_BYTES + 1));
    char *text = big_text(LIMIT_QUEUE_BYTES / 4);
    for (int i = 0; i < 3; i++)
        add(text, 1, 1);
    free(text);
    assert_true(api_queue_has_room(&q, LIMIT_QUEUE_BYTES / 8));
    assert_false(api_queue_has_room(&q, LIMIT_QUEUE_BYTES / 4));
}

static void test_what_fits_no_batch_is_refused(void **state)
{
    uint64_t sequence = 0;
    struct api_queue_entry entry = {.statement_count = 1};
    struct buf b;
    (void)state;
    queue_make(10, 10, 0);
    char *text = big_text(LIMIT_ENTRY_BYTES - WIRE_CMD_HEAD - 12);
    buf_init(&b, LIMIT_ENTRY_BYTES);
    wire_cmd_begin(&b, WIRE_CMD_EXECUTE, 0, slice_of(NULL, 0));
    wire_cmd_statement(&b, slice_str(text));
    assert_int_equal(wire_cmd_finish(&b), 0);
    entry.payload = buf_slice(&b);
    assert_int_equal(api_queue_add(&q, &entry, 1, &sequence), ERR_TOO_BIG);
    buf_reset(&b, 0);
    wire_cmd_begin(&b, WIRE_CMD_EXECUTE, 0, slice_of(NULL, 0));
    wire_cmd_statement(&b, slice_of(text, strlen(text) - API_QUEUE_KEY_BYTES));
    assert_int_equal(wire_cmd_finish(&b), 0);
    entry.payload = buf_slice(&b);
    assert_int_equal(api_queue_add(&q, &entry, 1, &sequence), 0);
    assert_int_equal(sequence, START + 1);
    begin();
    assert_int_equal(buf_len(&q.batch.payload), LIMIT_ENTRY_BYTES);
    buf_fini(&b);
    free(text);
}

static void test_short_memory_leaves_the_queue_as_it_was(void **state)
{
    const struct api_queue_entry marker = {.statement_count = 0};
    uint64_t sequence = 0;
    (void)state;
    queue_make(10, 2, 50);
    add_as("bob", "x", "a", 1, 1);
    add_as("bob", "x", "b", 1, 1);
    for (unsigned long n = 1;; n++) {
        mem_fault_arm(n);
        const int rc = api_queue_batch_begin(&q, 77);
        const int fired = mem_fault_fired();
        mem_fault_arm(0);
        api_queue_check(&q);
        if (!fired) {
            assert_int_equal(rc, 0);
            break;
        }
        assert_int_equal(rc, ERR_NOMEM);
        assert_int_equal(q.count, 2);
        assert_int_equal(api_queue_due_ns(&q), 0);
    }
    assert_string_equal(batch_text(), "ab");
    mem_fault_arm(1);
    assert_int_equal(api_queue_add(&q, &marker, 1, &sequence), ERR_NOMEM);
    mem_fault_arm(0);
    assert_int_equal(add_marker(1), START + 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_numbers_follow_the_start, teardown),
        cmocka_unit_test_teardown(test_a_batch_is_due_by_count_or_by_the_age_of_its_first,
                                  teardown),
        cmocka_unit_test_teardown(test_a_batch_has_one_client_and_its_credentials, teardown),
        cmocka_unit_test_teardown(test_time_counts_from_the_oldest_that_is_left, teardown),
        cmocka_unit_test_teardown(test_without_a_timeout_only_count_or_a_flush_sends, teardown),
        cmocka_unit_test_teardown(test_a_queue_smaller_than_a_batch_is_due_when_it_is_full,
                                  teardown),
        cmocka_unit_test_teardown(test_statements_keep_order_count_and_parameters, teardown),
        cmocka_unit_test_teardown(test_the_key_names_store_start_and_batch, teardown),
        cmocka_unit_test_teardown(test_a_batch_can_be_one_transaction, teardown),
        cmocka_unit_test_teardown(test_large_requests_are_parted_by_bytes, teardown),
        cmocka_unit_test_teardown(test_a_batch_has_no_more_statements_than_a_request_may_have,
                                  teardown),
        cmocka_unit_test_teardown(test_bytes_bound_the_queue_but_never_lock_out_the_first,
                                  teardown),
        cmocka_unit_test_teardown(test_what_fits_no_batch_is_refused, teardown),
        cmocka_unit_test_teardown(test_short_memory_leaves_the_queue_as_it_was, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
