/* test_wire_load.c — log payloads that bring a database file: read back as built; what is not quite one is not
 * opened. */
#include "wire_test.h"
#include <rq/util/endian.h>

static void load_make(struct buf *b, enum wire_cmd_kind kind, size_t len)
{
    static uint8_t bytes[LIMIT_LOAD_PIECE_BYTES + 1];
    const struct wire_load l = {
        .id = 77, .at = 12345678901, .digest = 0xCAFE, .bytes = slice_of(bytes, len)};

    buf_init(b, LIMIT_ENTRY_BYTES);
    assert_int_equal(wire_cmd_load(b, kind, &l), 0);
    wire_cmd_seal(b->data + b->start, buf_len(b), 5, 6);
}

static int load_open(enum wire_cmd_kind kind, size_t len, struct wire_cmd *c)
{
    struct buf b;

    load_make(&b, kind, len);
    int rc = wire_cmd_open(buf_slice(&b), true, c);
    buf_fini(&b);
    return rc;
}

static void test_loads_read_back_as_built(void **state)
{
    (void)state;
    struct wire_cmd c;
    struct slice sql;
    uint32_t params;

    assert_int_equal(load_open(WIRE_CMD_LOAD_PIECE, 100, &c), 0);
    assert_true(wire_cmd_loads(&c) && c.load.id == 77 && c.load.at == 12345678901);
    assert_int_equal(c.load.bytes.len, 100);
    assert_int_equal(wire_cmd_next(&c, &sql, &params), ERR_EOF); /* no statements */
    assert_int_equal(load_open(WIRE_CMD_LOAD_INSTALL, 0, &c), 0);
    assert_true(c.load.at == 12345678901 && c.load.digest == 0xCAFE && c.load.bytes.len == 0);
    assert_int_equal(load_open(WIRE_CMD_LOAD_DROP, 0, &c), 0);
    assert_true(c.load.id == 77 && c.load.at == 0);
}

static void test_pieces_have_a_size(void **state)
{
    (void)state;
    struct wire_cmd c;

    assert_int_equal(load_open(WIRE_CMD_LOAD_PIECE, 0, &c), ERR_PROTOCOL);
    assert_int_equal(load_open(WIRE_CMD_LOAD_PIECE, LIMIT_LOAD_PIECE_BYTES, &c), 0);
    assert_int_equal(load_open(WIRE_CMD_LOAD_PIECE, LIMIT_LOAD_PIECE_BYTES + 1, &c), ERR_PROTOCOL);
}

/* With byte `at` changed to `to`, not sealed anew. */
static int open_with(enum wire_cmd_kind kind, size_t at, uint8_t to)
{
    struct wire_cmd c;
    struct buf b;

    load_make(&b, kind, 10);
    b.data[b.start + at] = to;
    int rc = wire_cmd_open(buf_slice(&b), false, &c);
    buf_fini(&b);
    return rc;
}

static void test_loads_have_nothing_of_other_commands(void **state)
{
    (void)state;
    enum { KIND = 1, FLAGS = 2, COUNT = 24, KEY = 28, ID = WIRE_CMD_HEAD, AT_HIGH = ID + 15 };

    for (enum wire_cmd_kind k = WIRE_CMD_LOAD_PIECE; k <= WIRE_CMD_LOAD_DROP; k++) {
        assert_int_equal(open_with(k, FLAGS, WIRE_CMD_TRANSACTION), ERR_PROTOCOL);
        assert_int_equal(open_with(k, COUNT, 1), ERR_PROTOCOL);
        assert_int_equal(open_with(k, KEY, 1), ERR_PROTOCOL);
        assert_int_equal(open_with(k, ID, 0), ERR_PROTOCOL);
        assert_int_equal(open_with(k, KIND, WIRE_CMD_LOAD_DROP + 1), ERR_PROTOCOL);
    }
    assert_int_equal(open_with(WIRE_CMD_LOAD_PIECE, AT_HIGH, 1), ERR_PROTOCOL);
    assert_int_equal(open_with(WIRE_CMD_LOAD_INSTALL, KIND, WIRE_CMD_LOAD_DROP), ERR_PROTOCOL);
}

static void test_part_of_a_load_is_none(void **state)
{
    (void)state;
    struct wire_cmd c;
    struct buf b;

    load_make(&b, WIRE_CMD_LOAD_INSTALL, 0);
    for (size_t len = 0; len < buf_len(&b); len++)
        assert_int_not_equal(wire_cmd_open(slice_of(b.data + b.start, len), false, &c), 0);
    buf_fini(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_loads_read_back_as_built),
        cmocka_unit_test(test_pieces_have_a_size),
        cmocka_unit_test(test_loads_have_nothing_of_other_commands),
        cmocka_unit_test(test_part_of_a_load_is_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
