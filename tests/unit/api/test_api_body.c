/* Statement bodies (http-api.md §4): JSON in, payload out, read back with the payload's own reader. */
#include "api_int.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

struct fixture {
    struct arena arena;
    struct buf payload;
    struct err_text why;
    uint32_t count;
    char told[4096];
};

static int setup(void **state)
{
    static struct fixture f;
    arena_init(&f.arena, 64 * 1024 * 1024);
    buf_init(&f.payload, LIMIT_ENTRY_BYTES);
    *state = &f;
    return 0;
}
static int teardown(void **state)
{
    struct fixture *f = *state;
    arena_fini(&f->arena);
    buf_fini(&f->payload);
    return 0;
}

static int decode(struct fixture *f, const char *body)
{
    arena_reset(&f->arena);
    buf_reset(&f->payload, 4096);
    memset(&f->why, 0, sizeof f->why);
    return api_body_decode(slice_str(body), WIRE_CMD_EXECUTE, 0, &f->arena, &f->payload, &f->count,
                           &f->why);
}

static void tell_param(struct fixture *f, const struct wire_param *p)
{
    size_t at = strlen(f->told);
    char *dst = f->told + at;
    const size_t room = sizeof f->told - at;
    if (p->name.len > 0)
        at += (size_t)snprintf(dst, room, " %.*s:", (int)p->name.len, (const char *)p->name.data);
    else
        at += (size_t)snprintf(dst, room, " ");
    dst = f->told + at;
    switch (p->type) {
    case WIRE_NULL:
        snprintf(dst, sizeof f->told - at, "null");
        break;
    case WIRE_INTEGER:
        snprintf(dst, sizeof f->told - at, "i%lld", (long long)p->integer);
        break;
    case WIRE_REAL:
        snprintf(dst, sizeof f->told - at, "r%g", p->real);
        break;
    case WIRE_TEXT:
        snprintf(dst, sizeof f->told - at, "t'%.*s'", (int)p->bytes.len,
                 (const char *)p->bytes.data);
        break;
    case WIRE_BLOB:
        snprintf(dst, sizeof f->told - at, "b");
        for (size_t i = 0; i < p->bytes.len; i++)
            snprintf(f->told + strlen(f->told), 4, "%02x", p->bytes.data[i]);
        break;
    }
}

/* "sql param param | sql …" */
static const char *tell(struct fixture *f)
{
    struct wire_cmd cmd;
    struct slice sql;
    uint32_t params = 0;
    f->told[0] = '\0';
    assert_int_equal(wire_cmd_open(buf_slice(&f->payload), false, &cmd), 0);
    while (wire_cmd_next(&cmd, &sql, &params) == 0) {
        const size_t at = strlen(f->told);
        snprintf(f->told + at, sizeof f->told - at, "%s%.*s", at ? " | " : "", (int)sql.len,
                 (const char *)sql.data);
        for (uint32_t i = 0; i < params; i++) {
            struct wire_param p;
            assert_int_equal(wire_cmd_next_param(&cmd, &p), 0);
            tell_param(f, &p);
        }
    }
    return f->told;
}

static void test_refusals_have_their_exact_words(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *body, *words;
    } rows[] = {
        {"", "invalid JSON body"},
        {"SELECT 1", "invalid JSON body"},
        {"[\"SELECT 1\"", "invalid JSON body"},
        {"[\"SELECT 1\",]", "invalid JSON body"},
        {"[\"SELECT 1\"}", "invalid JSON body"},
        {"[7", "invalid JSON body"},
        {"[[\"SELECT ?\",[1,256]", "invalid JSON body"},
        {"{}", "invalid request"},
        {"{\"q\":1}", "invalid request"},
        {"\"SELECT 1\"", "invalid request"},
        {"7", "invalid request"},
        {"null", "invalid request"},
        {"[]", "no statements"},
        {"[7]", "invalid request"},
        {"[null]", "invalid request"},
        {"[{\"sql\":\"SELECT 1\"}]", "invalid request"},
        {"[[]]", "invalid request"},
        {"[[7]]", "invalid request"},
        {"[[\"SELECT ?\",[1,256]]]", "unsupported type 256"},
        {"[[\"SELECT ?\",[-1]]]", "unsupported type -1"},
        {"[[\"SELECT ?\",[1.5]]]", "unsupported type 1.5"},
        {"[[\"SELECT ?\",[\"a\"]]]", "unsupported type string"},
        {"[[\"SELECT ?\",[true]]]", "unsupported type bool"},
        {"[[\"SELECT ?\",[null]]]", "unsupported type <nil>"},
        {"[[\"SELECT ?\",[[1]]]]", "unsupported type []interface {}"},
        {"[[\"SELECT ?\",[{}]]]", "unsupported type map[string]interface {}"},
        {"[[\"SELECT :a\",{\"a\":{}}]]", "unsupported type map[string]interface {}"},
        {"[[\"SELECT ?\",1e400]]", "invalid number 1e400"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        assert_int_equal(decode(f, rows[i].body), ERR_INVALID);
        assert_string_equal(f->why.text, rows[i].words);
    }
}

static void test_values_keep_their_types(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(
        decode(f, "[[\"S\",7,-0,9223372036854775807,1.0,1e3,9223372036854775808,true,false,null]]"),
        0);
    assert_string_equal(tell(f), "S i7 i0 i9223372036854775807 r1 r1000 r9.22337e+18 i1 i0 null");
    assert_int_equal(
        decode(f, "[[\"S\",\"s\",\"x'0aFF'\",\" X'00' \",\"x''\",\"x'414'\",\"x4142\",[65,0],[]]]"),
        0);
    assert_string_equal(tell(f), "S t's' b0aff b00 b t'x'414'' t'x4142' b4100 b");
}

static void test_named_parameters_flatten_and_the_last_value_wins(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(decode(f, "[[\"S\",1,{\"a\":5,\"b\":[1]},2]]"), 0);
    assert_string_equal(tell(f), "S i1 a:i5 b:b01 i2");
    assert_int_equal(decode(f, "[[\"S\",{\"a\":1,\"b\":2,\"a\":3}]]"), 0);
    assert_string_equal(tell(f), "S a:i3 b:i2");
    assert_int_equal(decode(f, "[[\"S\",{}]]"), 0);
    assert_string_equal(tell(f), "S");
}

static void test_many_names_are_found_again(void **state)
{
    struct fixture *f = *state;
    struct buf body;
    buf_init(&body, 1024 * 1024);
    buf_append_str(&body, "[[\"S\",{");
    for (int round = 0; round < 2; round++)
        for (int i = 0; i < 1000; i++)
            buf_printf(&body, "%s\"n%d\":%d", round + i ? "," : "", i, round);
    buf_append_str(&body, "}]]");
    buf_append_byte(&body, 0);
    assert_int_equal(decode(f, (const char *)buf_slice(&body).data), 0);
    struct wire_cmd cmd;
    struct slice sql;
    uint32_t params = 0;
    assert_int_equal(wire_cmd_open(buf_slice(&f->payload), false, &cmd), 0);
    assert_int_equal(wire_cmd_next(&cmd, &sql, &params), 0);
    assert_int_equal(params, 1000);
    for (uint32_t i = 0; i < params; i++) {
        struct wire_param p;
        assert_int_equal(wire_cmd_next_param(&cmd, &p), 0);
        assert_int_equal(p.integer, 1);
    }
    buf_fini(&body);
}

static void test_forms_mix_and_what_follows_is_ignored(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(decode(f, " [\"SELECT 1\", [\"SELECT ?\", 2], \"\"] trailing"), 0);
    assert_int_equal(f->count, 3);
    assert_string_equal(tell(f), "SELECT 1 | SELECT ? i2 | ");
}

static void test_short_memory_is_said_so(void **state)
{
    struct fixture *f = *state;
    static const char body[] = "[[\"INSERT \\u0041\",\"x'0011'\",{\"a\":\"\\n\",\"b\":[1,2,3]}]]";
    for (unsigned long n = 1;; n++) {
        arena_fini(&f->arena);
        arena_init(&f->arena, 64 * 1024 * 1024);
        buf_fini(&f->payload);
        buf_init(&f->payload, LIMIT_ENTRY_BYTES);
        mem_fault_arm(n);
        const int rc = api_body_decode(slice_str(body), WIRE_CMD_EXECUTE, 0, &f->arena, &f->payload,
                                       &f->count, &f->why);
        const int fired = mem_fault_fired();
        mem_fault_arm(0);
        assert_int_equal(rc, fired ? ERR_NOMEM : 0);
        if (!fired)
            break;
    }
    assert_string_equal(tell(f), "INSERT A b0011 a:t'\n' b:b010203");
}

static void test_utf8_is_checked_as_rfc3629_says(void **state)
{
    (void)state;
    assert_true(api_utf8_valid(slice_str("a\xc3\xa9\xe6\xbc\xa2\xf0\x9f\x98\x80")));
    assert_false(api_utf8_valid(slice_str("\xc0\x80")));
    assert_false(api_utf8_valid(slice_str("\xed\xa0\x80")));
    assert_false(api_utf8_valid(slice_str("\xf4\x90\x80\x80")));
    assert_false(api_utf8_valid(slice_str("\xe6\xbc")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refusals_have_their_exact_words),
        cmocka_unit_test(test_values_keep_their_types),
        cmocka_unit_test(test_named_parameters_flatten_and_the_last_value_wins),
        cmocka_unit_test(test_many_names_are_found_again),
        cmocka_unit_test(test_forms_mix_and_what_follows_is_ignored),
        cmocka_unit_test(test_short_memory_is_said_so),
        cmocka_unit_test(test_utf8_is_checked_as_rfc3629_says),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
