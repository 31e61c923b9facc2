/* test_json_read.c — events, exact numbers, decoded strings; everything that is not JSON is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <rq/json.h>
#include <rq/util/prng.h>
#include <stdio.h>

static struct arena arena;

static int arena_up(void **state)
{
    (void)state;
    arena_init(&arena, 1 << 20);
    return 0;
}

static int arena_down(void **state)
{
    (void)state;
    arena_fini(&arena);
    return 0;
}

/* All events in one line: { } [ ] k"key" "text" i12 d1.5 o t f n, then "." (end) or "!" (error). */
static const char *events(struct slice input, uint32_t depth_max)
{
    static char line[8192];
    static const char marks[] = "?{}[]kkntfn.!";
    struct json_reader r;
    size_t at = 0;

    json_reader_init(&r, input, depth_max, &arena);
    for (;;) {
        enum json_event e = json_next(&r);
        assert_true(at + 100 + r.text.len < sizeof(line));
        assert_true(r.at <= r.input.len);
        if (e == JSON_KEY || e == JSON_STRING) {
            at += (size_t)sprintf(line + at, "%s\"", e == JSON_KEY ? "k" : "");
            memcpy(line + at, r.text.data, r.text.len);
            at += r.text.len;
            line[at++] = '"';
        } else if (e == JSON_NUMBER) {
            static const char kinds[] = "ido";
            line[at++] = kinds[r.number_kind];
            memcpy(line + at, r.text.data, r.text.len);
            at += r.text.len;
        } else {
            line[at++] = marks[e];
        }
        if (e == JSON_END || e == JSON_ERROR) {
            assert_int_equal(json_next(&r), e); /* for ever */
            assert_int_equal(r.failed != 0, e == JSON_ERROR);
            line[at] = '\0';
            return line;
        }
    }
}

#define EXPECT(json, line) assert_string_equal(events(slice_str(json), 128), line)

static void test_events_of_documents(void **state)
{
    (void)state;
    EXPECT("[]", "[].");
    EXPECT(" { } ", "{}.");
    EXPECT("[\"a\", [ \"b\" ,1,-2.5e3,true,false,null],{\"k\":{\"l\":[]},\"m\":0}]\n",
           "[\"a\"[\"b\"i1d-2.5e3tfn]{k\"k\"{k\"l\"[]}k\"m\"i0}].");
    EXPECT("\"x\"", "\"x\".");
    EXPECT("\t\r\n 7", "i7.");
    EXPECT("null", "n.");
}

static void test_what_follows_the_document_is_not_looked_at(void **state)
{
    (void)state;
    EXPECT("[1]garbage", "[i1].");
    EXPECT("[1]]", "[i1].");
    EXPECT("{} \x01", "{}.");
}

static void test_not_json(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        " ",
        "[",
        "]",
        "{",
        "}",
        "[1",
        "[1,",
        "[1,]",
        "[,1]",
        "[1 2]",
        "[1}",
        "{\"a\":1]",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\" 1}",
        "{1:2}",
        "{a:1}",
        "{\"a\":1,}",
        "tru",
        "nul",
        "True",
        "[1,,2]",
        "+1",
        "[01]",
        "[-]",
        "[1.]",
        "[.5]",
        "[1e]",
        "[1e+]",
        "[-01]",
        "[1.e1]",
        "[0x1]",
        "[1a]",
        "[NaN]",
        "[Infinity]",
        "'a'",
        "\"a",
        "\"\\\"",
        "\"\\x\"",
        "\"\\u12\"",
        "\"\\u12g4\"",
        "\"a\nb\"",
        "\"\x1f\"",
        "\xef\xbb\xbf[]",
        "/**/[]",
        "\"\\",
        "\"\\u",
        "\"\\ud800\\",
        "\"\\ud800\\u\"",
        "\"\\ud800\\u12\"",
        "[\v1]",
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        const char *line = events(slice_str(bad[i]), 128);
        bool refused = line[strlen(line) - 1] == '!';
        if (!refused)
            fail_msg("accepted: %s", bad[i]);
    }
    assert_string_equal(events(slice_of("[\0]", 3), 128), "[!");
}

static void test_numbers_keep_64_bits_and_tell_overflow(void **state)
{
    (void)state;
    EXPECT("[0,-0,9223372036854775807,-9223372036854775808]",
           "[i0i-0i9223372036854775807i-9223372036854775808].");
    EXPECT("[9223372036854775808,-9223372036854775809,18446744073709551616,1.0,1e3,0e0]",
           "[d9223372036854775808d-9223372036854775809d18446744073709551616d1.0d1e3d0e0].");
    EXPECT("[1e400,-1e400,1e308,1e-400]", "[o1e400o-1e400d1e308d1e-400].");

    struct json_reader r;
    json_reader_init(&r, slice_str("[-9223372036854775808,9223372036854775808,-0,-1e400]"), 2,
                     &arena);
    (void)json_next(&r);
    assert_int_equal(json_next(&r), JSON_NUMBER);
    assert_true(r.integer == INT64_MIN && r.real == -0x1p63);
    (void)json_next(&r);
    assert_true(r.integer == 0 && r.real == 0x1p63);
    (void)json_next(&r);
    assert_true(r.number_kind == JSON_INT64 && r.integer == 0);
    (void)json_next(&r);
    assert_true(r.real < -1.7e308);
}

static void test_strings_are_decoded(void **state)
{
    (void)state;
    EXPECT("\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", "\"\"\\/\b\f\n\r\t\".");
    EXPECT("\"\\u0041\\u00e9\\u6f22\\ud83d\\ude00\"", "\"A\xc3\xa9\xe6\xbc\xa2\xf0\x9f\x98\x80\".");
    EXPECT("\"\xc3\xa9\xe6\xbc\xa2\xf0\x9f\x98\x80\x7f\"",
           "\"\xc3\xa9\xe6\xbc\xa2\xf0\x9f\x98\x80\x7f\".");
    EXPECT("{\"\\u006b\":1}", "{k\"k\"i1}.");
    assert_memory_equal(events(slice_str("\"a\\u0000b\""), 1), "\"a\0b\".", 6);
}

#define BAD "\xef\xbf\xbd"

static void test_undecodable_becomes_the_replacement_character(void **state)
{
    (void)state;
    EXPECT("\"\\ud800\"", "\"" BAD "\".");
    EXPECT("\"\\udc00x\"", "\"" BAD "x\".");
    EXPECT("\"\\ud800\\u0041\"", "\"" BAD "A\".");
    EXPECT("\"\\ud800\\ud83d\\ude00\"", "\"" BAD "\xf0\x9f\x98\x80\".");
    EXPECT("\"\\udc00\\udc00\"", "\"" BAD BAD "\".");
    EXPECT("\"\\ud800\\n\"", "\"" BAD "\n\".");
    EXPECT("\"a\x80z\"", "\"a" BAD "z\".");
    EXPECT("\"\xc0\xaf\"", "\"" BAD BAD "\".");                 /* overlong */
    EXPECT("\"\xed\xa0\x80\"", "\"" BAD BAD BAD "\".");         /* a surrogate in UTF-8 */
    EXPECT("\"\xf4\x90\x80\x80\"", "\"" BAD BAD BAD BAD "\"."); /* above U+10FFFF */
    EXPECT("\"\xf0\x9f\x98\"", "\"" BAD BAD BAD "\".");         /* cut short */
    EXPECT("\"\xe2\x82\"", "\"" BAD BAD "\".");
    EXPECT("\"\xff\xfe\xc1\"", "\"" BAD BAD BAD "\".");
}

static void test_long_strings_stop_at_the_right_byte(void **state)
{
    (void)state;
    char text[64];
    static const char *const stops[] = {"\\n", "\x80", "\xc3\xa9", "\"", "\x1f"};
    for (size_t pad = 0; pad < 24; pad++) {
        for (size_t k = 0; k < 5; k++) {
            (void)sprintf(text, "\"%.*s%s%.*s\"", (int)pad, "abcdefghijklmnopqrstuvwxyz", stops[k],
                          (int)(24 - pad), "abcdefghijklmnopqrstuvwxyz");
            struct json_reader r;
            json_reader_init(&r, slice_str(text), 1, &arena);
            assert_int_equal(json_next(&r), k == 4 ? JSON_ERROR : JSON_STRING);
            static const size_t extra[] = {25, 27, 26, 0, 0};
            assert_int_equal(r.text.len, k == 3 ? pad : extra[k]);
        }
    }
}

static void test_depth_is_limited(void **state)
{
    (void)state;
    assert_string_equal(events(slice_str("[[1]]"), 2), "[[i1]].");
    assert_string_equal(events(slice_str("[[[1]]]"), 2), "[[!");
    assert_string_equal(events(slice_str("7"), 0), "i7.");
    assert_string_equal(events(slice_str("{}"), 0), "!");
    char deep[300];
    memset(deep, '[', 128);
    memset(deep + 128, ']', 128);
    const char *line = events(slice_of(deep, 256), 128);
    assert_int_equal(strlen(line), 257);
    assert_int_equal(line[256], '.');
    memset(deep, '[', 129);
    assert_int_equal(events(slice_of(deep, 129), 128)[128], '!');
}

static void test_skip_passes_over_one_value(void **state)
{
    (void)state;
    struct json_reader r;
    json_reader_init(&r, slice_str("[{\"a\":[1,{}],\"b\":2},[],3,\"end\"]"), 8, &arena);
    assert_int_equal(json_next(&r), JSON_ARRAY_BEGIN);
    assert_int_equal(json_next(&r), JSON_OBJECT_BEGIN);
    assert_int_equal(json_skip(&r), JSON_OBJECT_END);
    assert_int_equal(json_next(&r), JSON_ARRAY_BEGIN);
    assert_int_equal(json_skip(&r), JSON_ARRAY_END);
    assert_int_equal(json_next(&r), JSON_NUMBER);
    assert_int_equal(json_skip(&r), JSON_NUMBER);
    assert_int_equal(json_next(&r), JSON_STRING);
    assert_true(slice_equal_str(r.text, "end"));
    json_reader_init(&r, slice_str("[[1,}]"), 8, &arena);
    assert_int_equal(json_next(&r), JSON_ARRAY_BEGIN);
    assert_int_equal(json_skip(&r), JSON_ERROR);
}

static void test_short_memory_is_not_bad_json(void **state)
{
    (void)state;
    struct arena small;
    struct json_reader r;
    arena_init(&small, 2);
    json_reader_init(&r, slice_str("[\"abc\",\"\\n\\n\\n\"]"), 1, &small);
    (void)json_next(&r);
    assert_int_equal(json_next(&r), JSON_STRING); /* lent from the input: needs no memory */
    assert_int_equal(json_next(&r), JSON_ERROR);
    assert_int_equal(r.failed, ERR_NOMEM);
    arena_fini(&small);
}

/* Exactly sized allocations: reading outside is an error of the address sanitizer. */
static void test_any_bytes_stay_inside_the_input(void **state)
{
    (void)state;
    static const char alphabet[] = "[]{}\",:\\u0d8n-1.e tfalse\xc3\xe2\x80\xf0";
    struct prng p;
    prng_init(&p, 3);
    for (int round = 0; round < 30000; round++) {
        size_t len = prng_below(&p, 20);
        uint8_t *bytes = mem_must_alloc(len);
        for (size_t i = 0; i < len; i++)
            bytes[i] = (uint8_t)alphabet[prng_below(&p, sizeof(alphabet))];
        if (len)
            bytes[0] = (uint8_t) "[{\""[prng_below(&p, 3)];
        (void)events(slice_of(bytes, len), 4);
        mem_free(bytes);
        arena_reset(&arena);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_events_of_documents),
        cmocka_unit_test(test_what_follows_the_document_is_not_looked_at),
        cmocka_unit_test(test_not_json),
        cmocka_unit_test(test_numbers_keep_64_bits_and_tell_overflow),
        cmocka_unit_test(test_strings_are_decoded),
        cmocka_unit_test(test_undecodable_becomes_the_replacement_character),
        cmocka_unit_test(test_long_strings_stop_at_the_right_byte),
        cmocka_unit_test(test_depth_is_limited),
        cmocka_unit_test(test_skip_passes_over_one_value),
        cmocka_unit_test(test_short_memory_is_not_bad_json),
        cmocka_unit_test(test_any_bytes_stay_inside_the_input),
    };
    return cmocka_run_group_tests(tests, arena_up, arena_down);
}
