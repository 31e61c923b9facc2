/* test_json_write.c — the exact bytes of answers, compact and pretty. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <rq/json.h>

static struct buf out;

static struct json_writer start(bool pretty)
{
    struct json_writer w;
    buf_fini(&out);
    buf_init(&out, 1 << 20);
    json_writer_init(&w, &out, pretty, 0);
    return w;
}

#define EXPECT(text) expect(slice_of(text, sizeof(text) - 1))

static void expect(struct slice text)
{
    assert_int_equal(out.failed, 0);
    assert_int_equal(buf_len(&out), text.len);
    assert_memory_equal(buf_slice(&out).data, text.data, text.len);
}

static void write_sample(struct json_writer *w)
{
    json_object_begin(w);
    json_key_str(w, "results");
    json_array_begin(w);
    json_object_begin(w);
    json_key_str(w, "values");
    json_array_begin(w);
    json_array_begin(w);
    json_i64(w, 1);
    json_string_str(w, "fiona");
    json_null(w);
    json_array_end(w);
    json_array_end(w);
    json_key_str(w, "none");
    json_array_begin(w);
    json_array_end(w);
    json_object_end(w);
    json_object_begin(w);
    json_object_end(w);
    json_array_end(w);
    json_key_str(w, "time");
    json_real(w, 9.91e-7);
    json_object_end(w);
}

static void test_compact_has_no_blanks(void **state)
{
    (void)state;
    struct json_writer w = start(false);
    write_sample(&w);
    EXPECT("{\"results\":[{\"values\":[[1,\"fiona\",null]],\"none\":[]},{}],\"time\":9.91e-7}");
}

static void test_pretty_has_four_blanks_a_level(void **state)
{
    (void)state;
    struct json_writer w = start(true);
    write_sample(&w);
    EXPECT("{\n"
           "    \"results\": [\n"
           "        {\n"
           "            \"values\": [\n"
           "                [\n"
           "                    1,\n"
           "                    \"fiona\",\n"
           "                    null\n"
           "                ]\n"
           "            ],\n"
           "            \"none\": []\n"
           "        },\n"
           "        {}\n"
           "    ],\n"
           "    \"time\": 9.91e-7\n"
           "}");
}

static void test_fragment_is_indented_below_its_base(void **state)
{
    (void)state;
    struct json_writer w = start(true);
    json_writer_init(&w, &out, true, 2);
    json_array_begin(&w);
    json_bool(&w, true);
    json_raw(&w, slice_str("{\"a\":1}"));
    json_array_end(&w);
    EXPECT("[\n            true,\n            {\"a\":1}\n        ]");
}

static void expect_text(struct slice in, const char *expected)
{
    struct json_writer w = start(false);
    json_string(&w, in);
    expect(slice_str(expected));
}

#define STRING(in, expected) expect_text(slice_of(in, sizeof(in) - 1), expected)

static void test_strings_are_escaped_as_specified(void **state)
{
    (void)state;
    STRING("", "\"\"");
    STRING("a\"b\\c/\n\r\t\b\f", "\"a\\\"b\\\\c/\\n\\r\\t\\b\\f\"");
    STRING("\0\x01\x1f\x7f", "\"\\u0000\\u0001\\u001f\x7f\"");
    STRING("<a href='x'>&</a>", "\"\\u003ca href='x'\\u003e\\u0026\\u003c/a\\u003e\"");
    STRING("\xe2\x80\xa8|\xe2\x80\xa9|\xe2\x80\xa7|\xe2\x80\xaa",
           "\"\\u2028|\\u2029|\xe2\x80\xa7|\xe2\x80\xaa\"");
    STRING("\xc3\xa9\xe6\xbc\xa2\xf0\x9f\x98\x80", "\"\xc3\xa9\xe6\xbc\xa2\xf0\x9f\x98\x80\"");
    STRING("a\x80\xff"
           "b",
           "\"a\\ufffd\\ufffdb\"");
    STRING("\xe2\x80", "\"\\ufffd\\ufffd\"");
    STRING("\xed\xa0\x80", "\"\\ufffd\\ufffd\\ufffd\"");
    STRING("\xc0\xaf", "\"\\ufffd\\ufffd\"");
}

static void test_every_byte_is_found_at_every_place(void **state)
{
    (void)state;
    for (size_t place = 0; place < 20; place++) {
        for (unsigned c = 0; c < 256; c++) {
            uint8_t text[20];
            memset(text, 'x', sizeof(text));
            text[place] = (uint8_t)c;
            struct json_writer w = start(false);
            json_string(&w, slice_of(text, sizeof(text)));
            bool plain = c >= 0x20 && c < 0x80 && !strchr("\"\\<>&", (int)c);
            bool two = c != 0 && strchr("\"\\\n\r\t\b\f", (int)c);
            assert_int_equal(buf_len(&out), 22 + (plain ? 0 : two ? 1 : 5));
        }
    }
}

static void test_numbers(void **state)
{
    (void)state;
    struct json_writer w = start(false);
    json_array_begin(&w);
    json_i64(&w, INT64_MIN);
    json_i64(&w, INT64_MAX);
    json_u64(&w, UINT64_MAX);
    json_real(&w, 20.0);
    json_real(&w, -0.0);
    json_bool(&w, false);
    json_array_end(&w);
    assert_false(w.not_finite);
    EXPECT("[-9223372036854775808,9223372036854775807,18446744073709551615,20,-0,false]");
}

static void test_infinity_is_null_and_told(void **state)
{
    (void)state;
    struct json_writer w = start(false);
    volatile double huge = 1e308;
    json_real(&w, huge * -10);
    assert_true(w.not_finite);
    EXPECT("null");
}

static void test_base64_is_padded(void **state)
{
    (void)state;
    static const char *const expected[] = {"[\"\"]", "[\"Zg==\"]", "[\"Zm8=\"]", "[\"Zm9v\"]",
                                           "[\"Zm9vYg==\"]"};
    for (size_t len = 0; len < 5; len++) {
        struct json_writer w = start(false);
        json_array_begin(&w);
        json_base64(&w, slice_of("foob", len));
        json_array_end(&w);
        expect(slice_str(expected[len]));
    }
    struct json_writer w = start(false);
    json_base64(&w, slice_of("\xde\xad\xbe\xef\xff\xfb", 6));
    EXPECT("\"3q2+7//7\"");
}

static void test_ceiling_of_the_buffer_is_kept(void **state)
{
    (void)state;
    struct json_writer w;
    buf_fini(&out);
    buf_init(&out, 40);
    json_writer_init(&w, &out, true, 0);
    write_sample(&w);
    assert_int_equal(out.failed, ERR_TOO_BIG);
    assert_true(buf_len(&out) <= 40);
}

static int down(void **state)
{
    (void)state;
    buf_fini(&out);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_compact_has_no_blanks),
        cmocka_unit_test(test_pretty_has_four_blanks_a_level),
        cmocka_unit_test(test_fragment_is_indented_below_its_base),
        cmocka_unit_test(test_strings_are_escaped_as_specified),
        cmocka_unit_test(test_every_byte_is_found_at_every_place),
        cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_infinity_is_null_and_told),
        cmocka_unit_test(test_base64_is_padded),
        cmocka_unit_test(test_ceiling_of_the_buffer_is_kept),
    };
    return cmocka_run_group_tests(tests, NULL, down);
}
