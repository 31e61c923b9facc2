/* test_wire_condition.c — the condition of a write in its log payload. */
#include "golden.h"
#include "wire_test.h"
#include <rq/util/endian.h>

enum { AT_FLAGS = 2, AT_COUNT = 24, AT_CONDITION = WIRE_CMD_HEAD + 1 };

/* if_index=9, a query with a parameter, two rows; one statement. */
static void condition_make(struct buf *b)
{
    const struct wire_param seven = {.type = WIRE_INTEGER, .integer = 7},
                            null = {.type = WIRE_NULL},
                            text = {.type = WIRE_TEXT, .bytes = slice_str("x")};

    buf_init(b, LIMIT_ENTRY_BYTES);
    wire_cmd_begin(b, WIRE_CMD_EXECUTE, WIRE_CMD_TRANSACTION, slice_str("k"));
    wire_cmd_if_index(b, 9);
    wire_cmd_if_begin(b, true);
    wire_cmd_statement(b, slice_str("SELECT a,b FROM t WHERE c=?"));
    wire_cmd_param(b, &seven);
    wire_cmd_statement(b, slice_of(NULL, 0));
    wire_cmd_param(b, &seven);
    wire_cmd_param(b, &text);
    wire_cmd_statement(b, slice_of(NULL, 0));
    wire_cmd_param(b, &null);
    wire_cmd_param(b, &text);
    wire_cmd_if_end(b);
    wire_cmd_statement(b, slice_str("DELETE FROM t WHERE c=?"));
    wire_cmd_param(b, &seven);
    assert_int_equal(wire_cmd_finish(b), 0);
}

static void expect_next(struct wire_cmd *c, const char *text, uint32_t params)
{
    struct slice sql;
    uint32_t count;

    assert_int_equal(wire_cmd_next(c, &sql, &count), 0);
    assert_true(slice_equal_str(sql, text));
    assert_int_equal(count, params);
}

static void test_condition_reads_back_apart_from_the_statements(void **state)
{
    (void)state;
    struct buf b;
    struct wire_cmd c, condition;
    struct wire_param p;
    struct slice sql;
    uint32_t params;

    condition_make(&b);
    assert_int_equal(wire_cmd_open(buf_slice(&b), false, &c), 0);
    assert_int_equal(c.flags, WIRE_CMD_TRANSACTION | WIRE_CMD_IF_INDEX | WIRE_CMD_IF | WIRE_CMD_IS);
    assert_int_equal(c.if_index, 9);
    assert_int_equal(c.if_count, 3);
    assert_int_equal(c.statement_count, 1);
    wire_cmd_if_open(&c, &condition);
    expect_next(&condition, "SELECT a,b FROM t WHERE c=?", 1);
    expect_next(&condition, "", 2);
    assert_int_equal(wire_cmd_next_param(&condition, &p), 0);
    assert_true(p.type == WIRE_INTEGER && p.integer == 7);
    expect_next(&condition, "", 2);
    assert_int_equal(wire_cmd_next(&condition, &sql, &params), ERR_EOF);
    expect_next(&c, "DELETE FROM t WHERE c=?", 1);
    assert_int_equal(wire_cmd_next(&c, &sql, &params), ERR_EOF);
    buf_fini(&b);
}

/* The fingerprint of a request is taken over it. */
static void test_body_is_condition_and_statements(void **state)
{
    (void)state;
    struct buf b;
    struct wire_cmd c;

    condition_make(&b);
    assert_int_equal(wire_cmd_open(buf_slice(&b), false, &c), 0);
    assert_ptr_equal(c.body.data, buf_slice(&b).data + WIRE_CMD_HEAD + 1);
    assert_int_equal(c.body.len, buf_len(&b) - WIRE_CMD_HEAD - 1 - 4);
    buf_fini(&b);
}

static int open_and_walk(struct slice s)
{
    struct wire_cmd c, condition;
    struct slice sql;
    uint32_t params, rows = 0;

    int rc = wire_cmd_open(s, false, &c);
    if (rc)
        return rc;
    if (c.flags & WIRE_CMD_IF) {
        wire_cmd_if_open(&c, &condition);
        while (wire_cmd_next(&condition, &sql, &params) == 0)
            rows++;
        assert_int_equal(rows, c.if_count);
        assert_true(rows > 0);
    }
    while (wire_cmd_next(&c, &sql, &params) == 0)
        continue;
    return 0;
}

static void test_condition_damaged_is_refused_or_walked_safely(void **state)
{
    (void)state;
    struct buf b;

    condition_make(&b);
    refuse_other_lengths(buf_slice(&b), open_and_walk);
    survive_flips(buf_slice(&b), open_and_walk);
    buf_fini(&b);
}

static int open_with(size_t at, uint8_t value)
{
    struct buf b;

    condition_make(&b);
    b.data[b.start + at] = value;
    int rc = open_and_walk(buf_slice(&b));
    buf_fini(&b);
    return rc;
}

static void test_condition_refuses_what_makes_no_sense(void **state)
{
    (void)state;
    assert_int_equal(open_with(AT_FLAGS, 1 | 4 | 8 | 16), 0);
    assert_int_equal(open_with(AT_FLAGS, 1 | 4 | 8), ERR_PROTOCOL);  /* rows nobody compares */
    assert_int_equal(open_with(AT_FLAGS, 1 | 4 | 16), ERR_PROTOCOL); /* rows of no query */
    assert_int_equal(open_with(AT_FLAGS, 1 | 4 | 8 | 16 | 64), ERR_PROTOCOL);
    assert_int_equal(open_with(1, WIRE_CMD_QUERY), ERR_PROTOCOL);
    assert_int_equal(open_with(AT_CONDITION + 8, 0), ERR_PROTOCOL); /* no query */
    assert_int_equal(open_with(AT_CONDITION + 8, 2), ERR_PROTOCOL); /* a row becomes a statement */
    assert_int_equal(open_with(AT_CONDITION + 8 + 3, 1), ERR_PROTOCOL); /* far too many */
    assert_int_equal(open_with(AT_COUNT, 2), ERR_PROTOCOL);
}

static void test_query_with_a_key_is_refused(void **state)
{
    (void)state;
    struct buf b;
    struct wire_cmd c;

    buf_init(&b, LIMIT_ENTRY_BYTES);
    wire_cmd_begin(&b, WIRE_CMD_QUERY, 0, slice_str("k"));
    wire_cmd_statement(&b, slice_str("SELECT 1"));
    assert_int_equal(wire_cmd_finish(&b), 0);
    assert_int_equal(wire_cmd_open(buf_slice(&b), false, &c), ERR_PROTOCOL);
    buf_fini(&b);
}

static void test_keys_have_their_limit(void **state)
{
    (void)state;
    char key[LIMIT_KEY_BYTES + 1];
    struct buf b;
    struct wire_cmd c;

    memset(key, 'k', sizeof(key));
    buf_init(&b, LIMIT_ENTRY_BYTES);
    wire_cmd_begin(&b, WIRE_CMD_EXECUTE, 0, slice_of(key, LIMIT_KEY_BYTES));
    wire_cmd_statement(&b, slice_str("x"));
    assert_int_equal(wire_cmd_finish(&b), 0);
    assert_int_equal(wire_cmd_open(buf_slice(&b), false, &c), 0);
    assert_int_equal(c.idempotency_key.len, LIMIT_KEY_BYTES);
    buf_reset(&b, 1000);
    wire_cmd_begin(&b, WIRE_CMD_EXECUTE, 0, slice_of(key, LIMIT_KEY_BYTES + 1));
    wire_cmd_statement(&b, slice_str("x"));
    assert_int_equal(wire_cmd_finish(&b), ERR_INVALID);
    buf_fini(&b);
}

static bool must_log(bool key, bool index, bool query)
{
    struct buf b;

    buf_init(&b, LIMIT_ENTRY_BYTES);
    wire_cmd_begin(&b, WIRE_CMD_REQUEST, WIRE_CMD_TRANSACTION, slice_of("k", key));
    if (index)
        wire_cmd_if_index(&b, 0);
    if (query) {
        wire_cmd_if_begin(&b, false);
        wire_cmd_statement(&b, slice_str("SELECT 1"));
        wire_cmd_if_end(&b);
    }
    wire_cmd_statement(&b, slice_str("SELECT 1"));
    assert_int_equal(wire_cmd_finish(&b), 0);
    assert_int_equal(open_and_walk(buf_slice(&b)), 0);
    bool must = wire_cmd_must_log(buf_slice(&b));
    buf_fini(&b);
    return must;
}

static void test_key_or_condition_must_go_through_the_log(void **state)
{
    (void)state;
    assert_false(must_log(false, false, false));
    assert_true(must_log(true, false, false));
    assert_true(must_log(false, true, false));
    assert_true(must_log(false, false, true));
    assert_false(wire_cmd_must_log(slice_of(NULL, 0)));
}

static void test_condition_bytes_are_as_written_down(void **state)
{
    (void)state;
    static char text[2048];
    struct buf b;

    condition_make(&b);
    golden_dump(text, sizeof(text), "log payload with a condition", buf_slice(&b).data,
                buf_len(&b));
    golden_check("wire_condition.txt", text);
    buf_fini(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_condition_reads_back_apart_from_the_statements),
        cmocka_unit_test(test_body_is_condition_and_statements),
        cmocka_unit_test(test_condition_damaged_is_refused_or_walked_safely),
        cmocka_unit_test(test_condition_refuses_what_makes_no_sense),
        cmocka_unit_test(test_query_with_a_key_is_refused),
        cmocka_unit_test(test_keys_have_their_limit),
        cmocka_unit_test(test_key_or_condition_must_go_through_the_log),
        cmocka_unit_test(test_condition_bytes_are_as_written_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
