/* The wish for a backup, there and back; whatever else comes is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <rq/wire.h>
#include <stdlib.h>
#include <string.h>

static void make(struct buf *b, enum wire_backup_format format, bool compress, bool names)
{
    struct buf tables;
    buf_init(&tables, 1 << 16);
    if (names) {
        wire_backup_table(&tables, slice_str("a"));
        wire_backup_table(&tables, slice_str(""));
        wire_backup_table(&tables, slice_str("two words"));
    }
    const struct wire_backup w = {.format = format,
                                  .compress = compress,
                                  .table_count = names ? 3 : 0,
                                  .tables = buf_slice(&tables)};
    buf_init(b, 1 << 16);
    assert_int_equal(wire_backup_put(b, &w), 0);
    buf_fini(&tables);
}

static void test_round_trip(void **state)
{
    (void)state;
    for (int i = 0; i < 16; i++) {
        struct wire_backup got;
        struct slice name;
        struct buf b;
        make(&b, (enum wire_backup_format)(i & 3), i & 4, i & 8);
        assert_int_equal(wire_backup_get(buf_slice(&b), &got), 0);
        assert_int_equal(got.format, i & 3);
        assert_int_equal(got.compress, (i & 4) != 0);
        assert_int_equal(got.table_count, i & 8 ? 3 : 0);
        if (i & 8) {
            assert_true(wire_backup_next(&got.tables, &name) && slice_equal_str(name, "a"));
            assert_true(wire_backup_next(&got.tables, &name) && name.len == 0);
            assert_true(wire_backup_next(&got.tables, &name) && slice_equal_str(name, "two words"));
        }
        assert_false(wire_backup_next(&got.tables, &name));
        buf_fini(&b);
    }
}

static void test_other_lengths_are_refused(void **state)
{
    struct wire_backup got;
    struct buf b;
    (void)state;
    make(&b, WIRE_BACKUP_SQL, true, true);
    for (size_t len = 0; len < buf_len(&b); len++) {
        uint8_t *copy = malloc(len + 1); /* so that a sanitizer sees one byte too far */
        memcpy(copy, buf_slice(&b).data, len);
        assert_int_equal(wire_backup_get(slice_of(copy, len), &got), ERR_PROTOCOL);
        free(copy);
    }
    (void)buf_append_byte(&b, 0);
    assert_int_equal(wire_backup_get(buf_slice(&b), &got), ERR_PROTOCOL);
    buf_fini(&b);
}

static int get_with(const struct buf *b, size_t at, uint8_t value)
{
    struct wire_backup got;
    uint8_t copy[256];
    memcpy(copy, buf_slice(b).data, buf_len(b));
    copy[at] = value;
    return wire_backup_get(slice_of(copy, buf_len(b)), &got);
}

static void test_other_values_are_refused(void **state)
{
    struct buf b;
    (void)state;
    make(&b, WIRE_BACKUP_SQL, true, true);
    assert_int_equal(get_with(&b, 0, 2), ERR_VERSION);
    assert_int_equal(get_with(&b, 1, 4), ERR_PROTOCOL);
    assert_int_equal(get_with(&b, 2, 2), ERR_PROTOCOL);
    assert_int_equal(get_with(&b, 3, 1), ERR_PROTOCOL);
    assert_int_equal(get_with(&b, 4, 4), ERR_PROTOCOL);   /* more names than there are */
    assert_int_equal(get_with(&b, 7, 255), ERR_PROTOCOL); /* billions of them */
    assert_int_equal(get_with(&b, 8, 200), ERR_PROTOCOL); /* a name beyond the end */
    buf_fini(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_other_lengths_are_refused),
        cmocka_unit_test(test_other_values_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
