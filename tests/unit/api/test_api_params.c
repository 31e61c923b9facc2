/* Query parameters (http-api.md §2). */
#include "api_int.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

struct fixture {
    struct arena arena;
    struct api_params params;
    struct err_text why;
};

static int parse(struct fixture *f, const char *query)
{
    arena_reset(&f->arena);
    memset(&f->why, 0, sizeof f->why);
    return api_params_parse(slice_str(query), &f->arena, &f->params, &f->why);
}

static int setup(void **state)
{
    static struct fixture f;
    arena_init(&f.arena, 1024 * 1024);
    *state = &f;
    return 0;
}
static int teardown(void **state)
{
    struct fixture *f = *state;
    arena_fini(&f->arena);
    return 0;
}

static void test_refusals_have_their_exact_words(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *query, *words;
    } rows[] = {
        {"timeout=5", "timeout is not a valid duration"},
        {"timeout", "timeout is not a valid duration"},
        {"freshness=x", "freshness is not a valid duration"},
        {"db_timeout=", "db_timeout is not a valid duration"},
        {"linearizable_timeout=1d", "linearizable_timeout is not a valid duration"},
        {"freshness_strict", "freshness_strict requires freshness"},
        {"freshness_strict&timeout=5", "freshness_strict requires freshness"},
        {"retries=1.5", "retries is not a valid integer"},
        {"retries=9223372036854775808", "retries is not a valid integer"},
        {"retries=", "retries is not a valid integer"},
        {"trailing_logs=x", "trailing_logs is not a valid integer"},
        {"wait_index=", "wait_index is not a valid integer"},
        {"wait_index=x", "wait_index is not a valid integer"},
        {"wait_index=-1", "wait_index is not a valid integer"},
        {"wait_index=9223372036854775808", "wait_index is not a valid integer"},
        {"q=", "query parameter not set"},
        {"q=SELECT%zz", "invalid URL escape \"%zz\""},
        {"q=SELECT%201;", "invalid semicolon separator in query"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        assert_int_equal(parse(f, rows[i].query), ERR_INVALID);
        assert_string_equal(f->why.text, rows[i].words);
    }
}

static void test_flags_are_true_whatever_their_value(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(parse(f, "pretty=false&timings=0&transaction&tx&associative="), 0);
    assert_true(api_params_has(&f->params, API_FLAG_PRETTY));
    assert_true(api_params_has(&f->params, API_FLAG_TIMINGS));
    assert_true(api_params_has(&f->params, API_FLAG_TRANSACTION));
    assert_true(api_params_has(&f->params, API_FLAG_ASSOCIATIVE));
    assert_false(api_params_has(&f->params, API_FLAG_REDIRECT));
    assert_int_equal(parse(f, "tx&PRETTY"), 0);
    assert_int_equal(f->params.flags, 0);
}

static void test_first_occurrence_counts_and_plus_is_blank(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(parse(f, "q=SELECT+1&q=SELECT+2"), 0);
    assert_true(slice_equal_str(f->params.q, "SELECT 1"));
    assert_int_equal(parse(f, "q=SELECT%201%3B"), 0);
    assert_true(slice_equal_str(f->params.q, "SELECT 1;"));
}

static void test_unknown_levels_mean_weak(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *query;
        enum wire_level level;
    } rows[] = {{"", WIRE_LEVEL_WEAK},
                {"level=bogus", WIRE_LEVEL_WEAK},
                {"level=", WIRE_LEVEL_WEAK},
                {"level=None", WIRE_LEVEL_NONE},
                {"level=STRONG", WIRE_LEVEL_STRONG},
                {"level=linearizable", WIRE_LEVEL_LINEARIZABLE},
                {"level=auto", WIRE_LEVEL_AUTO}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        assert_int_equal(parse(f, rows[i].query), 0);
        assert_int_equal(f->params.level, rows[i].level);
    }
}

static void test_timeouts_have_defaults_and_a_floor(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(parse(f, ""), 0);
    assert_int_equal(api_params_timeout_ms(&f->params), 30000);
    assert_int_equal(parse(f, "timeout=0"), 0);
    assert_int_equal(api_params_timeout_ms(&f->params), 30000);
    assert_int_equal(parse(f, "timeout=-3s"), 0);
    assert_int_equal(api_params_timeout_ms(&f->params), 1);
    assert_int_equal(parse(f, "timeout=1.5s&retries=-1"), 0);
    assert_int_equal(api_params_timeout_ms(&f->params), 1500);
    assert_int_equal(f->params.retries, -1);
    assert_int_equal(api_params_retries(&f->params), 0);
    assert_int_equal(f->params.wait_index, 0);
    assert_int_equal(parse(f, "wait_index=9223372036854775807&retries=3"), 0);
    assert_true(f->params.wait_index == INT64_MAX && api_params_retries(&f->params) == 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refusals_have_their_exact_words),
        cmocka_unit_test(test_flags_are_true_whatever_their_value),
        cmocka_unit_test(test_first_occurrence_counts_and_plus_is_blank),
        cmocka_unit_test(test_unknown_levels_mean_weak),
        cmocka_unit_test(test_timeouts_have_defaults_and_a_floor),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
