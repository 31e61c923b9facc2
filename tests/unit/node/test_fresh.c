/* test_fresh.c — when a read that bounds its age is refused (http-api.md §10.4). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "node_int.h"
#include <cmocka.h>

enum { S = 1000000000 };

/* Heard 2 s ago; 9 of 10 announced entries applied, the last of them 3 s after it was appended. */
static const struct node_fresh_facts behind = {
    .now_ns = UINT64_C(100) * S,
    .heard_ns = UINT64_C(98) * S,
    .applied = 9,
    .announced = 10,
    .appended_wall_ns = INT64_C(50) * S,
    .applied_wall_ns = INT64_C(53) * S,
};

static void test_contact_counts_to_the_nanosecond(void **state)
{
    (void)state;
    assert_true(node_fresh_is(&behind, UINT64_C(2) * S, false));
    assert_false(node_fresh_is(&behind, UINT64_C(2) * S - 1, false));
}

static void test_a_leader_never_heard_is_stale_whatever_the_bound(void **state)
{
    (void)state;
    struct node_fresh_facts f = behind;
    f.heard_ns = 0;
    assert_false(node_fresh_is(&f, INT64_MAX, false));
}

static void test_strict_compares_append_there_with_apply_here(void **state)
{
    (void)state;
    assert_true(node_fresh_is(&behind, UINT64_C(3) * S, true));
    assert_false(node_fresh_is(&behind, UINT64_C(3) * S - 1, true));
    assert_true(node_fresh_is(&behind, UINT64_C(3) * S - 1, false));
}

static void test_strict_needs_recent_contact_too(void **state)
{
    (void)state;
    struct node_fresh_facts f = behind;
    f.applied_wall_ns = f.appended_wall_ns;
    assert_true(node_fresh_is(&f, UINT64_C(2) * S, true));
    assert_false(node_fresh_is(&f, UINT64_C(2) * S - 1, true));
}

static void test_strict_asks_for_no_time_when_all_is_applied(void **state)
{
    (void)state;
    struct node_fresh_facts f = behind;
    f.applied = 10;
    assert_true(node_fresh_is(&f, UINT64_C(2) * S, true));
}

static void test_strict_with_the_leaders_clock_ahead_is_fresh(void **state)
{
    (void)state;
    struct node_fresh_facts f = behind;
    f.applied_wall_ns = INT64_C(40) * S;
    assert_true(node_fresh_is(&f, UINT64_C(2) * S, true));
    f.appended_wall_ns = INT64_MAX; /* no overflow on the way */
    f.applied_wall_ns = INT64_MIN;
    assert_true(node_fresh_is(&f, UINT64_C(2) * S, true));
    f.appended_wall_ns = INT64_MIN;
    f.applied_wall_ns = INT64_MAX;
    assert_false(node_fresh_is(&f, INT64_MAX, true));
}

static void test_strict_before_anything_with_a_time_was_applied_is_stale(void **state)
{
    (void)state;
    struct node_fresh_facts f = behind;
    f.appended_wall_ns = 0;
    assert_false(node_fresh_is(&f, INT64_MAX, true));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_contact_counts_to_the_nanosecond),
        cmocka_unit_test(test_a_leader_never_heard_is_stale_whatever_the_bound),
        cmocka_unit_test(test_strict_compares_append_there_with_apply_here),
        cmocka_unit_test(test_strict_needs_recent_contact_too),
        cmocka_unit_test(test_strict_asks_for_no_time_when_all_is_applied),
        cmocka_unit_test(test_strict_with_the_leaders_clock_ahead_is_fresh),
        cmocka_unit_test(test_strict_before_anything_with_a_time_was_applied_is_stale),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
