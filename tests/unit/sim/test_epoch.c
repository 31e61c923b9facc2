/* test_epoch.c — ledgers that loads began anew are laid end to end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <sim_epoch.h>
#include <string.h>

#define AT(load, row) ((load)*SIM_EPOCH_ROWS + (row))
#define OK(k, n, where)                                                                            \
    {                                                                                              \
        .kind = SIM_DEED_##k, .end = SIM_END_OK, .number = (n), .position = (where)                \
    }
#define DOUBT(k, n, where)                                                                         \
    {                                                                                              \
        .kind = SIM_DEED_##k, .end = SIM_END_INFO, .number = (n), .position = (where)              \
    }

static struct sim_epochs e;
static struct err_text why;

static bool lay(struct sim_deed *deeds, size_t count, const struct sim_epoch_row *last, size_t rows)
{
    why.text[0] = '\0';
    return sim_epochs_lay(deeds, count, last, rows, &e, &why);
}
#define LAY(deeds, last)                                                                           \
    lay(deeds, sizeof(deeds) / sizeof(deeds[0]), last, sizeof(last) / sizeof(last[0]))

static int forget(void **state)
{
    (void)state;
    sim_epochs_fini(&e);
    return 0;
}

static void test_what_was_told_before_a_load_stands_before_it(void **state)
{
    struct sim_deed deeds[] = {OK(WRITE, 1, 1),        OK(WRITE, 3, 3),  OK(LOAD, 4, AT(1, 0)),
                               OK(WRITE, 5, AT(1, 1)), OK(READ, 900, 2), OK(READ, 901, AT(1, 1))};
    const struct sim_epoch_row last[] = {{AT(1, 0), 4}, {AT(1, 1), 5}};
    const uint64_t whole[] = {1, 0, 3, 4, 5};

    (void)state;
    assert_true(LAY(deeds, last));
    assert_int_equal(e.rows, 5);
    assert_memory_equal(e.ledger, whole, sizeof(whole));
    assert_int_equal(deeds[2].position, 4);
    assert_int_equal(deeds[3].position, 5);
    assert_int_equal(deeds[4].position, 2);
    assert_int_equal(deeds[5].position, 5);
    assert_int_equal(sim_epoch_of(&e, AT(1, 0))->base, 3);
}

static void test_without_loads_nothing_is_moved(void **state)
{
    struct sim_deed deeds[] = {OK(WRITE, 1, 1), OK(READ, 900, 2)};
    const struct sim_epoch_row last[] = {{1, 1}, {2, 7}};

    (void)state;
    assert_true(LAY(deeds, last));
    assert_int_equal(e.rows, 2);
    assert_int_equal(e.ledger[1], 7);
    assert_int_equal(deeds[1].position, 2);
}

static void test_a_load_that_nobody_saw_is_not_there_unless_acknowledged(void **state)
{
    struct sim_deed deeds[] = {DOUBT(LOAD, 1, AT(1, 0)), OK(LOAD, 2, AT(2, 0)),
                               OK(LOAD, 3, AT(3, 0))};
    const struct sim_epoch_row last[] = {{AT(3, 0), 3}};

    (void)state;
    assert_true(LAY(deeds, last));
    assert_int_equal(e.rows, 2);
    assert_int_equal(e.ledger[0], 2);
    assert_int_equal(e.ledger[1], 3);
}

static void test_two_writes_told_one_row_are_refused(void **state)
{
    struct sim_deed deeds[] = {OK(WRITE, 1, 2), OK(WRITE, 2, 2), OK(LOAD, 3, AT(1, 0))};
    const struct sim_epoch_row last[] = {{AT(1, 0), 3}};

    (void)state;
    assert_false(LAY(deeds, last));
    assert_non_null(strstr(why.text, "write 2 was told row 2, where 1 stands"));
}

static void test_a_row_told_behind_the_end_is_refused(void **state)
{
    struct sim_deed deeds[] = {OK(LOAD, 1, AT(1, 0)), OK(WRITE, 2, AT(1, 1))};
    const struct sim_epoch_row last[] = {{AT(1, 0), 1}};

    (void)state;
    assert_false(LAY(deeds, last));
    assert_non_null(strstr(why.text, "the ledger has 1 rows, and 2 were told of"));
}

static void test_a_gap_in_the_end_is_refused(void **state)
{
    struct sim_deed deeds[] = {OK(LOAD, 1, AT(1, 0))};
    const struct sim_epoch_row last[] = {{AT(1, 0), 1}, {AT(1, 2), 5}};

    (void)state;
    assert_false(LAY(deeds, last));
    assert_non_null(strstr(why.text, "row 2 of the ledger has the number"));
}

static void test_a_load_nobody_asked_for_is_refused(void **state)
{
    struct sim_deed deeds[] = {OK(LOAD, 1, AT(1, 0)), OK(READ, 900, AT(2, 0))};
    const struct sim_epoch_row last[] = {{AT(1, 0), 1}};

    (void)state;
    assert_false(LAY(deeds, last));
    assert_non_null(strstr(why.text, "of a load that nobody asked for"));
}

/* The first load, given up by who asked for it, happened after the second one. */
static void test_indexes_of_writes_tell_when_a_doubtful_load_happened(void **state)
{
    struct sim_deed deeds[] = {DOUBT(LOAD, 1, AT(1, 0)), OK(LOAD, 2, AT(2, 0)),
                               OK(WRITE, 3, AT(2, 1)), OK(WRITE, 4, AT(1, 1)),
                               OK(LOAD, 5, AT(3, 0))};
    const struct sim_epoch_row last[] = {{AT(3, 0), 5}};
    const uint64_t whole[] = {2, 3, 1, 4, 5};

    (void)state;
    deeds[2].raft_index = 50;
    deeds[3].raft_index = 60;
    assert_true(LAY(deeds, last));
    assert_false(e.unordered);
    assert_int_equal(e.rows, 5);
    assert_memory_equal(e.ledger, whole, sizeof(whole));
}

static void test_without_indexes_nobody_can_say(void **state)
{
    struct sim_deed deeds[] = {DOUBT(LOAD, 1, AT(1, 0)), OK(LOAD, 2, AT(2, 0)),
                               OK(READ, 900, AT(1, 0)), OK(LOAD, 5, AT(3, 0))};
    const struct sim_epoch_row last[] = {{AT(3, 0), 5}};

    (void)state;
    assert_true(LAY(deeds, last));
    assert_true(e.unordered);
}

#define T(f) cmocka_unit_test_teardown(f, forget)
int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_what_was_told_before_a_load_stands_before_it),
        T(test_without_loads_nothing_is_moved),
        T(test_a_load_that_nobody_saw_is_not_there_unless_acknowledged),
        T(test_two_writes_told_one_row_are_refused),
        T(test_a_row_told_behind_the_end_is_refused),
        T(test_a_gap_in_the_end_is_refused),
        T(test_a_load_nobody_asked_for_is_refused),
        T(test_indexes_of_writes_tell_when_a_doubtful_load_happened),
        T(test_without_indexes_nobody_can_say),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
