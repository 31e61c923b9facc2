/* test_util.c — the bottom step: checksums, generators, buffers, arenas, error table. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <rq/util/buf.h>
#include <rq/util/crc.h>
#include <rq/util/err.h>
#include <rq/util/mem.h>
#include <rq/util/prng.h>
#include <string.h>

static void test_crc32c_matches_rfc3720_vectors(void **state)
{
    (void)state;
    uint8_t bytes[32] = {0};
    assert_int_equal(crc32c(0, "123456789", 9), 0xE3069283U);
    assert_int_equal(crc32c(0, bytes, 32), 0x8A9136AAU);
    memset(bytes, 0xFF, 32);
    assert_int_equal(crc32c(0, bytes, 32), 0x62A8AB43U);
}

static void test_crc32c_chains_at_any_cut(void **state)
{
    (void)state;
    uint8_t bytes[64];
    struct prng p;
    prng_init(&p, 7);
    prng_fill(&p, bytes, sizeof(bytes));
    uint32_t whole = crc32c(5, bytes, sizeof(bytes));
    for (size_t cut = 0; cut <= sizeof(bytes); cut++)
        assert_int_equal(crc32c(crc32c(5, bytes, cut), bytes + cut, sizeof(bytes) - cut), whole);
}

static void test_prng_repeats_and_respects_bounds(void **state)
{
    (void)state;
    struct prng a, b;
    prng_init(&a, 42);
    prng_init(&b, 42);
    for (int i = 0; i < 1000; i++) {
        assert_true(prng_u64(&a) == prng_u64(&b));
        assert_true(prng_below(&a, 3) < 3);
        (void)prng_below(&b, 3);
    }
    prng_init(&b, 43);
    assert_true(prng_u64(&a) != prng_u64(&b));
}

static void test_buf_refuses_beyond_its_ceiling_and_stays_failed(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 10);
    assert_int_equal(buf_append(&b, "0123456789", 10), 0);
    assert_int_equal(buf_append(&b, "x", 1), ERR_TOO_BIG);
    assert_int_equal(buf_append(&b, "", 0), ERR_TOO_BIG);
    assert_int_equal(buf_len(&b), 10);
    buf_consume(&b, 4);
    buf_truncate(&b, 6);
    assert_int_equal(buf_append(&b, "abcd", 4), 0);
    assert_memory_equal(buf_slice(&b).data, "456789abcd", 10);
    buf_fini(&b);
}

static void test_buf_survives_every_failed_allocation(void **state)
{
    (void)state;
    for (unsigned long n = 1;; n++) {
        struct buf b;
        buf_init(&b, 1 << 20);
        mem_fault_arm(n);
        for (int i = 0; i < 2000; i++)
            (void)buf_append_i64(&b, INT64_MIN);
        int fired = mem_fault_fired();
        mem_fault_arm(0);
        assert_int_equal(b.failed, fired ? ERR_NOMEM : 0);
        buf_fini(&b);
        if (!fired)
            break;
    }
}

static void test_arena_refuses_beyond_its_ceiling(void **state)
{
    (void)state;
    struct arena a;
    arena_init(&a, 10000);
    assert_non_null(arena_alloc(&a, 9000));
    assert_null(arena_alloc(&a, 2000));
    assert_string_equal(arena_dup(&a, "abc", 3), "abc");
    arena_reset(&a);
    assert_non_null(arena_alloc(&a, 10000));
    arena_fini(&a);
}

static void test_err_table_has_a_text_for_each_code(void **state)
{
    (void)state;
    assert_string_equal(err_text_of(ERR_NOT_LEADER), "not leader");
    assert_string_equal(err_name_of(ERR_OK), "ERR_OK");
    assert_int_equal(err_http_status(ERR_FULL), 503);
    assert_int_equal(err_http_status(12345), 500);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_crc32c_matches_rfc3720_vectors),
        cmocka_unit_test(test_crc32c_chains_at_any_cut),
        cmocka_unit_test(test_prng_repeats_and_respects_bounds),
        cmocka_unit_test(test_buf_refuses_beyond_its_ceiling_and_stays_failed),
        cmocka_unit_test(test_buf_survives_every_failed_allocation),
        cmocka_unit_test(test_arena_refuses_beyond_its_ceiling),
        cmocka_unit_test(test_err_table_has_a_text_for_each_code),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
