#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <rq/util/histogram.h>
#include <rq/util/prng.h>

static void test_buckets_join_without_gap_or_overlap(void **state)
{
    (void)state;
    assert_int_equal(histogram_bucket(0), 0);
    for (uint32_t i = 0; i + 1 < HISTOGRAM_BUCKETS; i++) {
        const uint64_t bound = histogram_bound(i);
        assert_int_equal(histogram_bucket(bound), i); /* its bound belongs to it */
        assert_int_equal(histogram_bucket(bound + 1), i + 1);
        assert_true(bound < histogram_bound(i + 1));
    }
    assert_int_equal(histogram_bucket(UINT64_MAX), HISTOGRAM_BUCKETS - 1);
}

static void test_powers_of_two_end_a_bucket(void **state)
{
    (void)state; /* so that what is shown per octave is exact */
    for (uint32_t octave = 0; octave <= HISTOGRAM_OCTAVES; octave++)
        assert_int_equal(histogram_bound(octave << HISTOGRAM_SUB_BITS),
                         UINT64_C(1) << (HISTOGRAM_LOW_BITS + octave));
}

static void test_count_and_sum_are_exact(void **state)
{
    struct histogram h = {0};
    uint64_t sum = 0, counted = 0;
    (void)state;
    for (uint64_t v = 0; v < 100000; v += 7) {
        histogram_add(&h, v);
        sum += v;
    }
    for (uint32_t i = 0; i < HISTOGRAM_BUCKETS; i++)
        counted += h.buckets[i];
    assert_int_equal(h.sum, sum);
    assert_int_equal(h.count, 14286);
    assert_int_equal(counted, h.count);
}

static void test_quantile_is_above_by_an_eighth_at_most(void **state)
{
    static uint64_t values[5000];
    struct histogram h = {0};
    struct prng p;
    (void)state;
    prng_init(&p, 42);
    for (size_t i = 0; i < 5000; i++) {
        values[i] = 2000 + prng_u64(&p) % (UINT64_C(1) << (12 + i % 20));
        histogram_add(&h, values[i]);
    }
    for (uint32_t permille = 0; permille <= 1000; permille += 50) {
        const uint64_t q = histogram_quantile(&h, permille);
        size_t at_or_below = 0, well_below = 0;
        for (size_t i = 0; i < 5000; i++) {
            at_or_below += values[i] <= q;
            well_below += values[i] <= q - q / 8 - 1;
        }
        assert_true(at_or_below * 1000 >= (size_t)permille * 5000);
        assert_true(well_below * 1000 <= (size_t)permille * 5000);
    }
}

static void test_quantile_of_nothing_is_zero(void **state)
{
    const struct histogram h = {0};
    (void)state;
    assert_int_equal(histogram_quantile(&h, 500), 0);
}

static void test_one_value_is_every_quantile(void **state)
{
    struct histogram h = {0};
    (void)state;
    histogram_add(&h, 3000);
    assert_int_equal(histogram_quantile(&h, 0), 3072);
    assert_int_equal(histogram_quantile(&h, 1000), 3072);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_buckets_join_without_gap_or_overlap),
        cmocka_unit_test(test_powers_of_two_end_a_bucket),
        cmocka_unit_test(test_count_and_sum_are_exact),
        cmocka_unit_test(test_quantile_is_above_by_an_eighth_at_most),
        cmocka_unit_test(test_quantile_of_nothing_is_zero),
        cmocka_unit_test(test_one_value_is_every_quantile),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
