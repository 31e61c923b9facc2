/* test_json_real.c — doubles to the shortest text and back, against other people's arithmetic: a golden
 * file made with Python, and the C library in its plain locale. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <rq/json.h>
#include <rq/util/prng.h>
#include <stdio.h>
#include <stdlib.h>

static uint64_t bits_of(double v)
{
    uint64_t bits;
    memcpy(&bits, &v, sizeof(bits));
    return bits;
}

static double double_of(uint64_t bits)
{
    double v;
    memcpy(&v, &bits, sizeof(v));
    return v;
}

static const char *text_of(double v)
{
    static char text[33];
    memset(text, 'x', sizeof(text));
    size_t len = json_real_text(v, text);
    assert_true(len <= 32);
    text[len] = '\0';
    return text;
}

static double parse(const char *text)
{
    return json_real_parse(slice_str(text));
}

static void test_text_at_every_boundary(void **state)
{
    (void)state;
    assert_string_equal(text_of(0.0), "0");
    assert_string_equal(text_of(-0.0), "-0");
    assert_string_equal(text_of(20.0), "20");
    assert_string_equal(text_of(-1.5), "-1.5");
    assert_string_equal(text_of(5e-324), "5e-324");
    assert_string_equal(text_of(1.7976931348623157e308), "1.7976931348623157e+308");
    assert_string_equal(text_of(2.2250738585072014e-308), "2.2250738585072014e-308");
    assert_string_equal(text_of(1e21), "1e+21");
    assert_string_equal(text_of(1e20), "100000000000000000000");
    assert_string_equal(text_of(999999999999999900000.0), "999999999999999900000");
    assert_string_equal(text_of(123456789012345680000.0), "123456789012345680000");
    assert_string_equal(text_of(1e-6), "0.000001");
    assert_string_equal(text_of(1e-7), "1e-7");
    assert_string_equal(text_of(9.999999999999997e-07), "9.999999999999997e-7");
    assert_string_equal(text_of(1.5e100), "1.5e+100");
    assert_string_equal(text_of(9007199254740992.0), "9007199254740992");
    assert_string_equal(text_of(9007199254740994.0), "9007199254740994");
    assert_string_equal(text_of(0.1 + 0.2), "0.30000000000000004");
    assert_string_equal(text_of(5.684341886080802e-14), "5.684341886080802e-14"); /* 2^-44 */
    assert_string_equal(text_of(9.91e-7), "9.91e-7");
}

static void test_text_and_parse_agree_with_the_golden_file(void **state)
{
    const char *path = *state ? *state : "tests/golden/json_reals.txt";
    FILE *f = fopen(path, "r");
    char line[128];
    uint32_t count = 0;

    assert_non_null(f);
    while (fgets(line, sizeof(line), f)) {
        unsigned long long bits;
        char expected[64];
        if (line[0] == '#')
            continue;
        assert_int_equal(sscanf(line, "%llx %63s", &bits, expected), 2);
        assert_string_equal(text_of(double_of(bits)), expected);
        assert_int_equal(bits_of(parse(expected)), bits);
        count++;
    }
    assert_true(count >= 4000);
    (void)fclose(f);
}

static int significant_digits(const char *text)
{
    int digits = 0;
    int zeros = 0;

    for (const char *c = text; *c && *c != 'e'; c++) {
        if (*c < '0' || *c > '9' || (digits == 0 && *c == '0'))
            continue;
        zeros = *c == '0' ? zeros + 1 : 0;
        digits++;
    }
    return digits - zeros;
}

static void test_text_reads_back_and_no_shorter_one_does(void **state)
{
    (void)state;
    struct prng p;
    prng_init(&p, 42);
    for (int i = 0; i < 20000; i++) {
        double v = double_of(prng_u64(&p));
        if (i % 2 == 0)
            v = (double)prng_below(&p, 1000000000) / 1000; /* everyday numbers */
        if (v - v != 0 || v == 0)
            continue;
        const char *text = text_of(v);
        assert_int_equal(bits_of(parse(text)), bits_of(v));
        assert_int_equal(bits_of(strtod(text, NULL)), bits_of(v));
        int digits = significant_digits(text);
        char shorter[64];
        if (digits == 1)
            continue;
        (void)snprintf(shorter, sizeof(shorter), "%.*e", digits - 2, v);
        assert_true(strtod(shorter, NULL) != v);
    }
}

static void expect_parse(const char *text)
{
    if (bits_of(parse(text)) != bits_of(strtod(text, NULL)))
        fail_msg("%s: %016llx, not %016llx", text, (unsigned long long)bits_of(parse(text)),
                 (unsigned long long)bits_of(strtod(text, NULL)));
}

static void test_parse_rounds_correctly_at_every_boundary(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "0",
        "-0",
        "0.0",
        "0e5",
        "-0.000e-5",
        "1",
        "10",
        "1e0",
        "1E+2",
        "123456789012345680000",
        "9007199254740993",
        "9007199254740993.00000000000000000000000000000000000000000000001",
        "9007199254740992.99999999999999999999999999999999",
        "5e-324",
        "2.4703282292062327e-324",
        "2.4703282292062328e-324",
        "2.47032822920623272e-324",
        "1e-400",
        "1e400",
        "-1e400",
        "1.7976931348623157e308",
        "1.7976931348623158e308",
        "1.7976931348623159e308",
        "179769313486231580793728971405301e276",
        "2.2250738585072011e-308",
        "2.2250738585072012e-308",
        "2.2250738585072014e-308",
        "4.9406564584124654e-324",
        "6.631236846766476e-316",
        "3.2378839133029012895883524125015321748630094245631e-319",
        "1e22",
        "1e23",
        "8.5e22",
        "0.1e23",
        "1e-22",
        "1e-23",
        "18446744073709551616",
        "9223372036854775808",
        "1e99999999999999999999999999",
        "1e-99999999999999999999999999",
        "0e99999999999999999999999999",
        "100000000000000016777215",
        "100000000000000016777216",
        "0.000000000000000000000000000000000000000000000000000000000000000000000000000000001e81",
    };
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        expect_parse(texts[i]);
}

/* The exact middle between two doubles needs up to 768 digits; one more digit anywhere behind it, or
 * one less, decides. */
static void test_parse_sees_every_digit_of_a_tie(void **state)
{
    (void)state;
    static char text[4096];
    struct prng p;

    prng_init(&p, 5);
    for (int i = 0; i < 300; i++) {
        /* 54 bits: the middle between two neighbours, exact for printf as a subnormal's half is not */
        uint64_t f = (prng_u64(&p) | UINT64_C(1) << 63) >> 10 | 1;
        int shift = (int)prng_range(&p, 2, 1070);
        long double middle = (long double)f;
        for (int k = 0; k < shift; k++)
            middle /= 2;
        int len = snprintf(text, sizeof(text), "%.1100Lf", middle);
        assert_true(len > 1100);
        while (text[len - 1] == '0')
            text[--len] = '\0';
        if (text[len - 1] == '.')
            continue;
        expect_parse(text);
        (void)strcpy(text + len, "0000001");
        expect_parse(text);
        memset(text + len, '0', 1500);
        (void)strcpy(text + len + 1500, "1");
        expect_parse(text);
        text[len] = '\0';
        text[len - 1]--; /* last digit of a tie is 5 */
        expect_parse(text);
    }
}

static void test_parse_agrees_on_random_decimals(void **state)
{
    (void)state;
    struct prng p;
    char text[1200];

    prng_init(&p, 6);
    for (int i = 0; i < 20000; i++) {
        size_t at = 0;
        size_t digits = prng_range(&p, 1, i % 50 == 0 ? 1000 : 40);
        size_t point = prng_range(&p, 1, digits);
        for (size_t k = 0; k < digits; k++) {
            if (k == point)
                text[at++] = '.';
            text[at++] = (char)('0' + prng_below(&p, 10));
        }
        (void)snprintf(text + at, 16, "e%d", (int)prng_range(&p, 0, 700) - 350);
        expect_parse(text);
    }
}

/* An argument names another golden file, for long comparisons. */
int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text_at_every_boundary),
        cmocka_unit_test_prestate(test_text_and_parse_agree_with_the_golden_file,
                                  argc > 1 ? argv[1] : NULL),
        cmocka_unit_test(test_text_reads_back_and_no_shorter_one_does),
        cmocka_unit_test(test_parse_rounds_correctly_at_every_boundary),
        cmocka_unit_test(test_parse_sees_every_digit_of_a_tie),
        cmocka_unit_test(test_parse_agrees_on_random_decimals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
