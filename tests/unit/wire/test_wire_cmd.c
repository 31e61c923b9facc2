/* test_wire_cmd.c — log payloads: what is built is read back, what is damaged is not opened. */
#include "golden.h"
#include "wire_test.h"
#include <rq/util/endian.h>
#include <rq/util/mem.h>

static const char blob[] = {0, 1, 2};

/* Two statements, every type of parameter. */
static void cmd_make(struct buf *b)
{
    const struct wire_param params[] = {
        {.type = WIRE_NULL},
        {.type = WIRE_INTEGER, .integer = INT64_MIN, .name = slice_str("id")},
        {.type = WIRE_REAL, .real = -0.5},
        {.type = WIRE_TEXT, .bytes = slice_str("text")},
        {.type = WIRE_BLOB, .bytes = slice_of(blob, sizeof(blob)), .name = slice_str("b")},
    };

    buf_init(b, LIMIT_ENTRY_BYTES + 1024);
    wire_cmd_begin(b, WIRE_CMD_REQUEST, WIRE_CMD_TRANSACTION, slice_str("key"));
    wire_cmd_statement(b, slice_str("INSERT INTO t VALUES(?,:id,?,?,:b)"));
    for (size_t i = 0; i < 5; i++)
        wire_cmd_param(b, &params[i]);
    wire_cmd_statement(b, slice_str("SELECT 1"));
    assert_int_equal(wire_cmd_finish(b), 0);
}

static void seal(struct buf *b)
{
    wire_cmd_seal(b->data + b->start, buf_len(b), 1234567890, 42);
}

static void check_first_params(struct wire_cmd *c)
{
    struct wire_param p;

    assert_int_equal(wire_cmd_next_param(c, &p), 0);
    assert_true(p.type == WIRE_NULL && p.name.len == 0);
    assert_int_equal(wire_cmd_next_param(c, &p), 0);
    assert_true(p.type == WIRE_INTEGER && p.integer == INT64_MIN && slice_equal_str(p.name, "id"));
    assert_int_equal(wire_cmd_next_param(c, &p), 0);
    assert_true(p.type == WIRE_REAL && p.real < -0.4 && p.real > -0.6);
    assert_int_equal(wire_cmd_next_param(c, &p), 0);
    assert_true(p.type == WIRE_TEXT && slice_equal_str(p.bytes, "text"));
    assert_int_equal(wire_cmd_next_param(c, &p), 0);
    assert_true(p.type == WIRE_BLOB && slice_equal(p.bytes, slice_of(blob, 3)) &&
                slice_equal_str(p.name, "b"));
    assert_int_equal(wire_cmd_next_param(c, &p), ERR_EOF);
}

static void test_cmd_reads_back_what_was_built(void **state)
{
    (void)state;
    struct buf b;
    struct wire_cmd c;
    struct slice sql;
    uint32_t params = 0;

    cmd_make(&b);
    seal(&b);
    assert_int_equal(wire_cmd_open(buf_slice(&b), true, &c), 0);
    assert_true(c.kind == WIRE_CMD_REQUEST && c.flags == WIRE_CMD_TRANSACTION && c.db_id == 0);
    assert_true(c.wall_ns == 1234567890 && c.seed == 42 && c.statement_count == 2);
    assert_true(slice_equal_str(c.idempotency_key, "key"));
    assert_int_equal(wire_cmd_next(&c, &sql, &params), 0);
    assert_true(slice_equal_str(sql, "INSERT INTO t VALUES(?,:id,?,?,:b)"));
    assert_int_equal(params, 5);
    check_first_params(&c);
    assert_int_equal(wire_cmd_next(&c, &sql, &params), 0);
    assert_true(slice_equal_str(sql, "SELECT 1"));
    assert_int_equal(params, 0);
    assert_int_equal(wire_cmd_next(&c, &sql, &params), ERR_EOF);
    buf_fini(&b);
}

static void test_cmd_next_skips_parameters_nobody_asked_for(void **state)
{
    (void)state;
    struct buf b;
    struct wire_cmd c;
    struct wire_param p;
    struct slice sql;
    uint32_t params;

    cmd_make(&b);
    assert_int_equal(wire_cmd_open(buf_slice(&b), false, &c), 0);
    assert_int_equal(wire_cmd_next(&c, &sql, &params), 0);
    assert_int_equal(wire_cmd_next_param(&c, &p), 0);
    assert_int_equal(wire_cmd_next(&c, &sql, &params), 0);
    assert_true(slice_equal_str(sql, "SELECT 1"));
    buf_fini(&b);
}

static int open_sealed(struct slice s)
{
    struct wire_cmd c;
    return wire_cmd_open(s, true, &c);
}

/* Opening must leave nothing for the walk to trip over. */
static int open_and_walk(struct slice s)
{
    struct wire_cmd c;
    struct wire_param p;
    struct slice sql;
    uint32_t params, statements = 0;

    int rc = wire_cmd_open(s, false, &c);
    if (rc)
        return rc;
    while (wire_cmd_next(&c, &sql, &params) == 0) {
        statements++;
        for (uint32_t i = 0; i < params; i++)
            assert_int_equal(wire_cmd_next_param(&c, &p), 0);
    }
    assert_int_equal(statements, c.statement_count);
    return 0;
}

static void test_cmd_of_any_other_length_is_refused(void **state)
{
    (void)state;
    struct buf b;

    cmd_make(&b);
    refuse_other_lengths(buf_slice(&b), open_and_walk);
    seal(&b);
    refuse_other_lengths(buf_slice(&b), open_sealed);
    buf_fini(&b);
}

static void test_cmd_with_any_flipped_bit_is_refused_when_sealed(void **state)
{
    (void)state;
    struct buf b;

    cmd_make(&b);
    seal(&b);
    for (size_t bit = 0; bit < buf_len(&b) * 8; bit++) {
        b.data[b.start + bit / 8] ^= (uint8_t)(1U << (bit % 8));
        int rc = open_sealed(buf_slice(&b));
        assert_int_equal(rc, bit < 8 ? ERR_VERSION : ERR_CORRUPT);
        b.data[b.start + bit / 8] ^= (uint8_t)(1U << (bit % 8));
    }
    survive_flips(buf_slice(&b), open_and_walk);
    buf_fini(&b);
}

static int open_with(size_t at, uint8_t value)
{
    struct buf b;

    cmd_make(&b);
    b.data[b.start + at] = value;
    int rc = open_and_walk(buf_slice(&b));
    buf_fini(&b);
    return rc;
}

static void test_cmd_refuses_what_makes_no_sense(void **state)
{
    (void)state;
    size_t first_param = WIRE_CMD_HEAD + 3 + 4 + 34 + 4;

    assert_int_equal(open_with(0, 2), ERR_VERSION);
    assert_int_equal(open_with(1, 0), ERR_PROTOCOL); /* kind */
    assert_int_equal(open_with(1, 4), ERR_PROTOCOL);
    assert_int_equal(open_with(2, 64), ERR_PROTOCOL);    /* flag */
    assert_int_equal(open_with(4, 1), ERR_PROTOCOL);     /* database */
    assert_int_equal(open_with(24, 1), ERR_PROTOCOL);    /* fewer statements than there are */
    assert_int_equal(open_with(24, 3), ERR_PROTOCOL);    /* more */
    assert_int_equal(open_with(26, 0x80), ERR_PROTOCOL); /* more than the limit */
    assert_int_equal(open_with(29, 0xFF), ERR_PROTOCOL); /* key beyond the end */
    assert_int_equal(open_with(30, 1), ERR_PROTOCOL);    /* reserved */
    assert_int_equal(open_with(first_param, WIRE_NULL), 0);
    assert_int_equal(open_with(first_param + 24, WIRE_BLOB), 0); /* the text as a blob */
    assert_int_equal(open_with(first_param + 24, WIRE_BLOB + 1), ERR_PROTOCOL);
}

static void test_cmd_builder_keeps_the_limits(void **state)
{
    (void)state;
    const struct wire_param null = {.type = WIRE_NULL};
    struct buf b;

    buf_init(&b, LIMIT_ENTRY_BYTES + 1024);
    wire_cmd_begin(&b, WIRE_CMD_EXECUTE, 0, slice_of(NULL, 0));
    for (int i = 0; i < LIMIT_STATEMENTS; i++)
        wire_cmd_statement(&b, slice_str("x"));
    for (int i = 0; i < LIMIT_PARAMS_PER_STATEMENT; i++)
        wire_cmd_param(&b, &null);
    assert_int_equal(b.failed, 0);
    size_t len = buf_len(&b);
    wire_cmd_param(&b, &null);
    assert_int_equal(b.failed, ERR_INVALID);
    buf_truncate(&b, len);
    wire_cmd_statement(&b, slice_str("x"));
    assert_int_equal(b.failed, ERR_INVALID);
    buf_truncate(&b, len);
    assert_int_equal(wire_cmd_finish(&b), 0);
    assert_int_equal(open_and_walk(buf_slice(&b)), 0);
    buf_fini(&b);
}

static void test_cmd_builder_refuses_long_names_and_long_payloads(void **state)
{
    (void)state;
    char name[256] = {0};
    struct wire_param p = {.type = WIRE_NULL, .name = slice_of(name, 255)};
    struct buf b;

    cmd_make(&b);
    buf_truncate(&b, 0);
    wire_cmd_begin(&b, WIRE_CMD_EXECUTE, 0, slice_of(NULL, 0));
    wire_cmd_statement(&b, slice_str("x"));
    wire_cmd_param(&b, &p);
    assert_int_equal(b.failed, 0);
    p.name.len = 256;
    wire_cmd_param(&b, &p);
    assert_int_equal(wire_cmd_finish(&b), ERR_INVALID);
    buf_truncate(&b, 0);

    char *big = calloc(1, LIMIT_ENTRY_BYTES);
    assert_non_null(big);
    wire_cmd_begin(&b, WIRE_CMD_EXECUTE, 0, slice_of(NULL, 0));
    wire_cmd_statement(&b, slice_of(big, LIMIT_ENTRY_BYTES - WIRE_CMD_HEAD - 12));
    assert_int_equal(wire_cmd_finish(&b), 0);
    assert_int_equal(buf_len(&b), LIMIT_ENTRY_BYTES);
    assert_int_equal(open_and_walk(buf_slice(&b)), 0);
    buf_truncate(&b, 0);
    wire_cmd_begin(&b, WIRE_CMD_EXECUTE, 0, slice_of(NULL, 0));
    wire_cmd_statement(&b, slice_of(big, LIMIT_ENTRY_BYTES - WIRE_CMD_HEAD - 11));
    assert_int_equal(wire_cmd_finish(&b), ERR_TOO_BIG);
    free(big);
    buf_fini(&b);
}

static void test_cmd_builder_survives_every_failed_allocation(void **state)
{
    (void)state;
    for (unsigned long n = 1;; n++) {
        struct buf b;
        buf_init(&b, 1 << 20);
        mem_fault_arm(n);
        wire_cmd_begin(&b, WIRE_CMD_EXECUTE, 0, slice_of(NULL, 0));
        for (int i = 0; i < 100; i++) {
            const struct wire_param p = {.type = WIRE_INTEGER, .integer = i};
            wire_cmd_statement(&b, slice_str("SELECT ?"));
            wire_cmd_param(&b, &p);
        }
        int rc = wire_cmd_finish(&b);
        int fired = mem_fault_fired();
        mem_fault_arm(0);
        assert_int_equal(rc, fired ? ERR_NOMEM : 0);
        buf_fini(&b);
        if (!fired)
            break;
    }
}

static void test_cmd_joined_is_as_if_built_in_one(void **state)
{
    (void)state;
    struct buf part, joined, b;

    cmd_make(&part);
    buf_init(&joined, LIMIT_ENTRY_BYTES);
    wire_cmd_begin(&joined, WIRE_CMD_EXECUTE, WIRE_CMD_QUEUED, slice_str("k"));
    wire_cmd_join(&joined, buf_slice(&part));
    wire_cmd_statement(&joined, slice_str("x"));
    wire_cmd_join(&joined, buf_slice(&part));
    assert_int_equal(wire_cmd_finish(&joined), 0);
    assert_int_equal(open_and_walk(buf_slice(&joined)), 0);

    const size_t head = WIRE_CMD_HEAD + 3; /* of the part, with its key */
    const struct slice rest = slice_of(buf_slice(&part).data + head, buf_len(&part) - head - 4);
    buf_init(&b, LIMIT_ENTRY_BYTES);
    wire_cmd_begin(&b, WIRE_CMD_EXECUTE, WIRE_CMD_QUEUED, slice_str("k"));
    buf_append_slice(&b, rest);
    wire_cmd_statement(&b, slice_str("x"));
    buf_append_slice(&b, rest);
    assert_int_equal(wire_cmd_finish(&b), 0);
    put_u32(b.data + b.start + 24, 5);
    assert_true(slice_equal(buf_slice(&joined), buf_slice(&b)));
    buf_fini(&part);
    buf_fini(&joined);
    buf_fini(&b);
}

static void test_cmd_join_keeps_the_limits_and_takes_payloads_only(void **state)
{
    (void)state;
    struct buf part, many, b;

    cmd_make(&part);
    buf_init(&many, LIMIT_ENTRY_BYTES);
    wire_cmd_begin(&many, WIRE_CMD_EXECUTE, 0, slice_of(NULL, 0));
    for (int i = 0; i < LIMIT_STATEMENTS - 1; i++)
        wire_cmd_statement(&many, slice_str("x"));
    assert_int_equal(wire_cmd_finish(&many), 0);

    buf_init(&b, LIMIT_ENTRY_BYTES);
    wire_cmd_begin(&b, WIRE_CMD_EXECUTE, 0, slice_of(NULL, 0));
    wire_cmd_statement(&b, slice_str("x"));
    wire_cmd_join(&b, buf_slice(&many));
    assert_int_equal(b.failed, 0);
    wire_cmd_join(&b, buf_slice(&part));
    assert_int_equal(wire_cmd_finish(&b), ERR_INVALID);
    buf_reset(&b, 0);
    wire_cmd_begin(&b, WIRE_CMD_EXECUTE, 0, slice_of(NULL, 0));
    wire_cmd_join(&b, slice_of(buf_slice(&part).data, buf_len(&part) - 1));
    assert_int_equal(wire_cmd_finish(&b), ERR_PROTOCOL);
    buf_fini(&part);
    buf_fini(&many);
    buf_fini(&b);
}

static void test_cmd_bytes_are_as_written_down(void **state)
{
    (void)state;
    static char text[8192];
    struct buf b;

    cmd_make(&b);
    golden_dump(text, sizeof(text), "log payload, not sealed", buf_slice(&b).data, buf_len(&b));
    seal(&b);
    golden_dump(text, sizeof(text), "log payload, sealed", buf_slice(&b).data, buf_len(&b));
    golden_check("wire_cmd.txt", text);
    buf_fini(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cmd_reads_back_what_was_built),
        cmocka_unit_test(test_cmd_next_skips_parameters_nobody_asked_for),
        cmocka_unit_test(test_cmd_of_any_other_length_is_refused),
        cmocka_unit_test(test_cmd_with_any_flipped_bit_is_refused_when_sealed),
        cmocka_unit_test(test_cmd_refuses_what_makes_no_sense),
        cmocka_unit_test(test_cmd_builder_keeps_the_limits),
        cmocka_unit_test(test_cmd_builder_refuses_long_names_and_long_payloads),
        cmocka_unit_test(test_cmd_builder_survives_every_failed_allocation),
        cmocka_unit_test(test_cmd_joined_is_as_if_built_in_one),
        cmocka_unit_test(test_cmd_join_keeps_the_limits_and_takes_payloads_only),
        cmocka_unit_test(test_cmd_bytes_are_as_written_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
