/* test_http_duration.c — durations as Go reads and writes them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <rq/http.h>

#define MS INT64_C(1000000)
#define SECOND INT64_C(1000000000)

static void test_durations_are_read(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t ns;
    } good[] = {
        {"0", 0},
        {"-0", 0},
        {"+0", 0},
        {"0s", 0},
        {"10s", 10 * SECOND},
        {"1.5s", 1500 * MS},
        {"2h45m", 9900 * SECOND},
        {"500ms", 500 * MS},
        {"1h1m1s1ms", 3661 * SECOND + MS},
        {"-3s", -3 * SECOND},
        {"+3s", 3 * SECOND},
        {".5s", 500 * MS},
        {"1.s", SECOND},
        {"-.5s", -500 * MS},
        {"7ns", 7},
        {"7us", 7000},
        {"7\xc2\xb5s", 7000},
        {"7\xce\xbcs", 7000},
        {"0.1us", 100},
        {"0.3333333333333333333h", 20 * 60 * SECOND},
        {"0.100000000000000000000h", 6 * 60 * SECOND},
        {"1m1m", 120 * SECOND},
        {"9223372036854775807ns", INT64_MAX},
        {"-9223372036854775808ns", INT64_MIN},
        {"-2562047h47m16.854775808s", INT64_MIN},
        {"9007199254.740993ms", 9007199254740993},
    };
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        int64_t ns = 1;
        assert_int_equal(http_duration_parse(slice_str(good[i].text), &ns), 0);
        assert_int_equal(ns, good[i].ns);
    }
}

static void test_what_is_no_duration(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "5",
        "1d",
        "5S",
        "1e3s",
        "1 s",
        "s",
        ".",
        ".s",
        "-",
        "+",
        "-.s",
        "1s ",
        " 1s",
        "--1s",
        "3000000h",
        "9223372036854775808ns",
        "1.1.1s",
        "1ss",
        "00",
        "9223372036854775807ns1ns",
        "1\xc2s",
        "1\xb5s",
        "0x1s",
        "1s-1s",
        "1,5s",
        "99999999999999999999s",
        "9223372036854775.808us1h",
        "-9223372036854775808ns-1ns",
        "9223372036854775808ns9223372036854775808ns",
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        int64_t ns;
        if (http_duration_parse(slice_str(bad[i]), &ns) != ERR_INVALID)
            fail_msg("accepted: %s", bad[i]);
    }
    int64_t ns;
    assert_int_equal(http_duration_parse(slice_of("1s\0", 3), &ns), ERR_INVALID);
}

static void test_durations_are_written(void **state)
{
    (void)state;
    static const struct {
        int64_t ns;
        const char *text;
    } table[] = {
        {0, "0s"},
        {1, "1ns"},
        {999, "999ns"},
        {1000, "1\xc2\xb5s"},
        {19479, "19.479\xc2\xb5s"},
        {1100, "1.1\xc2\xb5s"},
        {50 * MS, "50ms"},
        {2200000, "2.2ms"},
        {999999999, "999.999999ms"},
        {SECOND, "1s"},
        {3300 * MS, "3.3s"},
        {90 * SECOND, "1m30s"},
        {60 * SECOND, "1m0s"},
        {3600 * SECOND, "1h0m0s"},
        {245 * SECOND + MS, "4m5.001s"},
        {18367 * SECOND + MS, "5h6m7.001s"},
        {480000000001, "8m0.000000001s"},
        {INT64_MAX, "2562047h47m16.854775807s"},
        {INT64_MIN, "-2562047h47m16.854775808s"},
        {-5 * MS, "-5ms"},
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        char text[32];
        int64_t ns;
        size_t len = http_duration_text(table[i].ns, text);
        assert_true(slice_equal_str(slice_of(text, len), table[i].text));
        assert_int_equal(http_duration_parse(slice_of(text, len), &ns), 0);
        assert_int_equal(ns, table[i].ns);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_durations_are_read),
        cmocka_unit_test(test_what_is_no_duration),
        cmocka_unit_test(test_durations_are_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
