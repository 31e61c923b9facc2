/* What gzip_add makes is what zlib reads back, however it came. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <rq/util/gzip.h>
#include <rq/util/mem.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

enum { BYTES = 300000 };

static uint8_t *sample(void)
{
    uint8_t *p = malloc(BYTES);
    uint32_t x = 1;
    for (size_t i = 0; i < BYTES; i++) {
        x = x * 1664525 + 1013904223;
        p[i] = i < BYTES / 2 ? (uint8_t)(x >> 24) : (uint8_t)(i / 100);
    }
    return p;
}

static void expect_same(const struct buf *packed, const uint8_t *plain, size_t len)
{
    uint8_t *got = malloc(len + 1);
    z_stream z;
    memset(&z, 0, sizeof z);
    assert_int_equal(inflateInit2(&z, 15 + 16), Z_OK);
    z.next_in = (uint8_t *)(uintptr_t)buf_slice(packed).data;
    z.avail_in = (uInt)buf_len(packed);
    z.next_out = got;
    z.avail_out = (uInt)len + 1;
    assert_int_equal(inflate(&z, Z_FINISH), Z_STREAM_END);
    assert_int_equal(z.avail_in, 0); /* nothing behind the end */
    assert_int_equal(z.total_out, len);
    if (len)
        assert_memory_equal(got, plain, len);
    inflateEnd(&z);
    free(got);
}

static void test_any_pieces_give_the_same(void **state)
{
    static const size_t pieces[] = {1, 4096, 65536, BYTES};
    uint8_t *plain = sample();
    (void)state;
    for (size_t k = 0; k < 4; k++) {
        struct gzip *g = gzip_new();
        struct buf out;
        size_t len = pieces[k] == 1 ? 3000 : BYTES;
        buf_init(&out, 1 << 24);
        for (size_t at = 0; at < len; at += pieces[k]) {
            size_t n = len - at < pieces[k] ? len - at : pieces[k];
            assert_int_equal(gzip_add(g, slice_of(plain + at, n), false, &out), 0);
        }
        assert_int_equal(gzip_add(g, slice_of(NULL, 0), true, &out), 0);
        assert_int_equal(buf_slice(&out).data[0], 0x1f);
        assert_int_equal(buf_slice(&out).data[1], 0x8b);
        expect_same(&out, plain, len);
        gzip_free(g);
        buf_fini(&out);
    }
    free(plain);
}

static void test_nothing_is_a_stream_too(void **state)
{
    struct gzip *g = gzip_new();
    struct buf out;
    (void)state;
    buf_init(&out, 1 << 20);
    assert_int_equal(gzip_add(g, slice_of(NULL, 0), true, &out), 0);
    expect_same(&out, NULL, 0);
    gzip_free(g);
    buf_fini(&out);
}

static void test_short_memory_is_told(void **state)
{
    (void)state;
    for (unsigned long n = 1;; n++) {
        mem_fault_arm(n);
        struct gzip *g = gzip_new();
        int fired = mem_fault_fired();
        mem_fault_arm(0);
        assert_int_equal(g == NULL, fired != 0);
        gzip_free(g);
        if (!fired)
            break;
    }
}

static void test_a_full_buffer_is_told(void **state)
{
    uint8_t *plain = sample();
    struct gzip *g = gzip_new();
    struct buf out;
    (void)state;
    buf_init(&out, 20000);
    assert_int_equal(gzip_add(g, slice_of(plain, BYTES), true, &out), ERR_TOO_BIG);
    gzip_free(g);
    buf_fini(&out);
    free(plain);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_any_pieces_give_the_same),
        cmocka_unit_test(test_nothing_is_a_stream_too),
        cmocka_unit_test(test_short_memory_is_told),
        cmocka_unit_test(test_a_full_buffer_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
