/* test_wire_frame.c — framing: what is whole, what is damaged, what is too much. */
#include "golden.h"
#include "wire_test.h"
#include <rq/util/crc.h>
#include <rq/util/endian.h>

static const char body_text[] = "twelve bytes";

static void frame_make(struct buf *b)
{
    buf_init(b, 1 << 20);
    assert_int_equal(wire_frame_put(b, WIRE_RAFT, 77, slice_of(body_text, 12)), 0);
    assert_int_equal(buf_len(b), WIRE_FRAME_HEADER + 12);
}

static void test_frame_comes_back_as_it_went(void **state)
{
    (void)state;
    struct buf b;
    struct wire_frame f;
    size_t used = 0, need = 0;

    frame_make(&b);
    assert_int_equal(wire_frame_put(&b, WIRE_BYE, 0, slice_of(NULL, 0)), 0);
    assert_int_equal(wire_frame_get(buf_slice(&b), &f, &used, &need), 0);
    assert_int_equal(f.kind, WIRE_RAFT);
    assert_int_equal(f.stream, 77);
    assert_true(slice_equal(f.body, slice_of(body_text, 12)));
    buf_consume(&b, used);
    assert_int_equal(wire_frame_get(buf_slice(&b), &f, &used, &need), 0);
    assert_int_equal(f.kind, WIRE_BYE);
    assert_int_equal(f.body.len, 0);
    assert_int_equal(used, buf_len(&b));
    buf_fini(&b);
}

static void test_frame_built_in_place_equals_frame_put(void **state)
{
    (void)state;
    struct buf a, b;

    frame_make(&a);
    buf_init(&b, 1 << 20);
    (void)buf_append_str(&b, "before");
    size_t begun = wire_frame_begin(&b, WIRE_RAFT, 77);
    (void)buf_append(&b, body_text, 12);
    assert_int_equal(wire_frame_end(&b, begun), 0);
    buf_consume(&b, 6);
    assert_true(slice_equal(buf_slice(&a), buf_slice(&b)));
    buf_fini(&a);
    buf_fini(&b);
}

static void test_frame_of_which_a_part_is_there_asks_for_the_rest(void **state)
{
    (void)state;
    struct buf b;
    struct wire_frame f;
    size_t used, need;

    frame_make(&b);
    for (size_t len = 0; len < buf_len(&b); len++) {
        uint8_t *part = exact_copy(buf_slice(&b).data, len);
        need = 0;
        assert_int_equal(wire_frame_get(slice_of(part, len), &f, &used, &need), ERR_EOF);
        assert_int_equal(need, len < WIRE_FRAME_HEADER ? WIRE_FRAME_HEADER : buf_len(&b));
        free(part);
    }
    buf_fini(&b);
}

static void test_frame_with_any_flipped_bit_is_refused(void **state)
{
    (void)state;
    struct buf b;
    struct wire_frame f;
    size_t used, need;

    frame_make(&b);
    uint8_t *bytes = exact_copy(buf_slice(&b).data, buf_len(&b));
    for (size_t bit = 0; bit < buf_len(&b) * 8; bit++) {
        bytes[bit / 8] ^= (uint8_t)(1U << (bit % 8));
        int rc = wire_frame_get(slice_of(bytes, buf_len(&b)), &f, &used, &need);
        if (bit < 32) /* a longer one waits for its end, where the checksum finds it */
            assert_true(rc == ERR_EOF || rc == ERR_TOO_BIG || rc == ERR_CORRUPT);
        else
            assert_true(rc == ERR_VERSION || rc == ERR_CORRUPT);
        bytes[bit / 8] ^= (uint8_t)(1U << (bit % 8));
    }
    free(bytes);
    buf_fini(&b);
}

/* Set one header byte and make the checksum right again. */
static int get_with(size_t at, uint8_t value)
{
    struct buf b;
    struct wire_frame f;
    size_t used, need;

    frame_make(&b);
    b.data[b.start + at] = value;
    put_u32(b.data + b.start + 4, crc32c(0, b.data + b.start + 8, buf_len(&b) - 8));
    int rc = wire_frame_get(buf_slice(&b), &f, &used, &need);
    buf_fini(&b);
    return rc;
}

static void test_frame_of_unknown_version_or_kind_is_refused(void **state)
{
    (void)state;
    assert_int_equal(get_with(8, WIRE_VERSION), 0);
    assert_int_equal(get_with(8, WIRE_VERSION + 1), ERR_VERSION);
    assert_int_equal(get_with(9, WIRE_KIND_MAX_ - 1), 0);
    assert_int_equal(get_with(9, 0), ERR_CORRUPT);
    assert_int_equal(get_with(9, WIRE_KIND_MAX_), ERR_CORRUPT);
    assert_int_equal(get_with(10, 1), ERR_CORRUPT);
    assert_int_equal(get_with(11, 1), ERR_CORRUPT);
}

static void test_frame_length_over_the_limit_is_refused_before_it_arrives(void **state)
{
    (void)state;
    uint8_t head[WIRE_FRAME_HEADER] = {0};
    struct wire_frame f;
    size_t used, need = 0;

    head[8] = WIRE_VERSION;
    head[9] = WIRE_RAFT;
    put_u32(head, LIMIT_PEER_FRAME_BYTES);
    assert_int_equal(wire_frame_get(slice_of(head, sizeof(head)), &f, &used, &need), ERR_EOF);
    assert_int_equal(need, (size_t)LIMIT_PEER_FRAME_BYTES + WIRE_FRAME_HEADER);
    put_u32(head, LIMIT_PEER_FRAME_BYTES + 1);
    assert_int_equal(wire_frame_get(slice_of(head, sizeof(head)), &f, &used, &need), ERR_TOO_BIG);
}

static void test_frame_that_cannot_be_finished_is_taken_back(void **state)
{
    (void)state;
    struct buf b;

    buf_init(&b, 64);
    assert_int_equal(wire_frame_put(&b, WIRE_RAFT, 1, slice_of(body_text, 12)), 0);
    size_t len = buf_len(&b);
    uint8_t big[64] = {0};
    assert_int_equal(wire_frame_put(&b, WIRE_RAFT, 1, slice_of(big, sizeof(big))), ERR_TOO_BIG);
    assert_int_equal(buf_len(&b), len);
    assert_int_equal(wire_frame_put(&b, WIRE_RAFT, 1, slice_of(body_text, 12)), 0);
    /* no room even for a header */
    assert_int_equal(wire_frame_put(&b, WIRE_RAFT, 1, slice_of(body_text, 12)), ERR_TOO_BIG);
    assert_int_equal(buf_len(&b), 2 * len);
    buf_fini(&b);
}

static void test_frame_bytes_are_as_written_down(void **state)
{
    (void)state;
    static char text[4096];
    struct buf b;

    frame_make(&b);
    golden_dump(text, sizeof(text), "frame: kind RAFT, stream 77, body \"twelve bytes\"",
                buf_slice(&b).data, buf_len(&b));
    golden_check("wire_frame.txt", text);
    buf_fini(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_frame_comes_back_as_it_went),
        cmocka_unit_test(test_frame_built_in_place_equals_frame_put),
        cmocka_unit_test(test_frame_of_which_a_part_is_there_asks_for_the_rest),
        cmocka_unit_test(test_frame_with_any_flipped_bit_is_refused),
        cmocka_unit_test(test_frame_of_unknown_version_or_kind_is_refused),
        cmocka_unit_test(test_frame_length_over_the_limit_is_refused_before_it_arrives),
        cmocka_unit_test(test_frame_that_cannot_be_finished_is_taken_back),
        cmocka_unit_test(test_frame_bytes_are_as_written_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
