/* test_wire_hello.c — the greeting: its body, its versions. */
#include "golden.h"
#include "wire_test.h"

static char golden_text[32 * 1024];

static void note(const char *title, const struct buf *b)
{
    golden_dump(golden_text, sizeof(golden_text), title, buf_slice(b).data, buf_len(b));
}

static int hello_get(struct slice s)
{
    struct wire_hello h;
    return wire_hello_get(s, &h);
}

static void test_hello_round_trip(void **state)
{
    (void)state;
    struct wire_hello h = {
        .protocol_min = 1,
        .protocol_max = 1,
        .cluster_id = 1,
        .store_id = 2,
        .id = 3,
        .expect_id = 4,
        .expect_store_id = 5,
        .name = slice_str("n1"),
        .raft_addr = slice_str("h:4002"),
        .api_url = slice_str("http://h:4001"),
        .version = slice_str("v10.1"),
        .sqlite = slice_str("3.40"),
    };
    struct wire_hello g;
    struct buf b;

    buf_init(&b, 1 << 20);
    assert_int_equal(wire_hello_put(&b, &h), 0);
    assert_int_equal(wire_hello_get(buf_slice(&b), &g), 0);
    assert_true(g.cluster_id == 1 && g.store_id == 2 && g.id == 3 && g.expect_id == 4 &&
                g.expect_store_id == 5);
    assert_true(slice_equal_str(g.name, "n1"));
    assert_true(slice_equal_str(g.raft_addr, "h:4002"));
    assert_true(slice_equal_str(g.api_url, "http://h:4001"));
    assert_true(slice_equal_str(g.version, "v10.1"));
    assert_true(slice_equal_str(g.sqlite, "3.40"));
    check_form(&b, hello_get);
    assert_int_equal(get_changed(&b, 12, 0, hello_get), ERR_PROTOCOL); /* store id 0 */
    assert_int_equal(get_changed(&b, 20, 0, hello_get), ERR_PROTOCOL); /* raft id 0 */
    assert_int_equal(get_changed(&b, 46, 0, hello_get), ERR_PROTOCOL); /* NUL in the name */
    assert_int_equal(get_changed(&b, 0, 0, hello_get), ERR_PROTOCOL);  /* version 0 */
    assert_int_equal(get_changed(&b, 0, 2, hello_get), ERR_PROTOCOL);  /* from 2 to 1 */
    note("hello", &b);
    buf_fini(&b);
}

/* The first four bytes never move, whatever later versions add behind the rest. */
static void test_hello_of_a_later_version_is_read_as_far_as_it_is_known(void **state)
{
    (void)state;
    struct wire_hello h = {.protocol_min = 1,
                           .protocol_max = WIRE_PROTOCOL_MAX + 1,
                           .store_id = 2,
                           .id = 3,
                           .name = slice_str("n1")};
    struct wire_hello g;
    struct buf b;

    buf_init(&b, 1 << 20);
    assert_int_equal(wire_hello_put(&b, &h), 0);
    (void)buf_append_slice(&b, slice_str("something new"));
    assert_int_equal(wire_hello_get(buf_slice(&b), &g), 0);
    assert_true(g.protocol_max == WIRE_PROTOCOL_MAX + 1 && slice_equal_str(g.name, "n1"));
    note("hello of a later version", &b);
    buf_reset(&b, 0);
    h.protocol_max = WIRE_PROTOCOL_MAX;
    assert_int_equal(wire_hello_put(&b, &h), 0);
    (void)buf_append_slice(&b, slice_str("x"));
    assert_int_equal(wire_hello_get(buf_slice(&b), &g), ERR_PROTOCOL);
    buf_fini(&b);
}

static void test_two_ends_use_the_highest_version_that_both_speak(void **state)
{
    static const struct {
        uint16_t min, max, other_min, other_max, common;
    } rows[] = {{1, 1, 1, 1, 1}, {1, 2, 1, 1, 1}, {1, 1, 1, 3, 1}, {1, 4, 2, 3, 3},
                {2, 5, 3, 9, 5}, {1, 2, 3, 4, 0}, {3, 4, 1, 2, 0}, {2, 2, 2, 2, 2}};
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const struct wire_hello h = {.protocol_min = rows[i].other_min,
                                     .protocol_max = rows[i].other_max};
        assert_int_equal(wire_protocol_common(rows[i].min, rows[i].max, &h), rows[i].common);
    }
}

static void test_hello_with_a_text_over_its_maximum_is_not_built(void **state)
{
    (void)state;
    char text[WIRE_NAME_MAX + 1] = {0};
    struct wire_hello h = {.protocol_min = 1,
                           .protocol_max = 1,
                           .store_id = 1,
                           .id = 1,
                           .name = slice_of(text, WIRE_NAME_MAX)};
    struct buf b;

    memset(text, 'x', sizeof(text));
    buf_init(&b, 1 << 20);
    assert_int_equal(wire_hello_put(&b, &h), 0);
    assert_int_equal(hello_get(buf_slice(&b)), 0);
    buf_reset(&b, 0);
    h.name.len++;
    assert_int_equal(wire_hello_put(&b, &h), ERR_TOO_BIG);
    buf_fini(&b);
}

static void test_greetings_are_as_written_down(void **state)
{
    (void)state;
    golden_check("wire_hello.txt", golden_text); /* what the tests above noted, in their order */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hello_round_trip),
        cmocka_unit_test(test_hello_of_a_later_version_is_read_as_far_as_it_is_known),
        cmocka_unit_test(test_two_ends_use_the_highest_version_that_both_speak),
        cmocka_unit_test(test_hello_with_a_text_over_its_maximum_is_not_built),
        cmocka_unit_test(test_greetings_are_as_written_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
