/* test_http_url.c — targets, query strings, host:port. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <rq/http.h>

static struct arena arena;

static int up(void **state)
{
    (void)state;
    arena_init(&arena, 1 << 16);
    return 0;
}

static int down(void **state)
{
    (void)state;
    arena_fini(&arena);
    return 0;
}

static void expect_split(const char *target, const char *path, const char *query)
{
    struct slice p, q;
    http_target_split(slice_str(target), &p, &q);
    assert_true(slice_equal_str(p, path));
    assert_true(slice_equal_str(q, query));
}

static void test_target_is_split_at_the_first_question_mark(void **state)
{
    (void)state;
    expect_split("/db/query?q=a?b", "/db/query", "q=a?b");
    expect_split("/db/query", "/db/query", "");
    expect_split("/?", "/", "");
    expect_split("?a", "", "a");
    expect_split("", "", "");
    expect_split("*", "*", "");
    expect_split("//db/query", "//db/query", "");
    expect_split("http://host:4001/status?pretty", "/status", "pretty");
    expect_split("HTTP://host?x", "", "x");
    expect_split("http://host", "", "");
    expect_split("/a?b=http://c/d", "/a", "b=http://c/d");
    expect_split("a?b://c", "a", "b://c");
}

static void expect_decoded(const char *in, bool plus, const char *expected)
{
    struct slice out, bad;
    assert_int_equal(http_percent_decode(slice_str(in), plus, &arena, &out, &bad), 0);
    assert_true(slice_equal_str(out, expected));
}

static void expect_undecodable(const char *in, const char *expected)
{
    struct slice out, bad;
    assert_int_equal(http_percent_decode(slice_str(in), true, &arena, &out, &bad), ERR_INVALID);
    assert_true(slice_equal_str(bad, expected));
}

static void test_percent_decoding(void **state)
{
    (void)state;
    expect_decoded("", true, "");
    expect_decoded("abc", true, "abc");
    expect_decoded("a%20b%3bC%3B%c3%A9", true, "a b;C;\xc3\xa9");
    expect_decoded("a+b", true, "a b");
    expect_decoded("a+b%2B", false, "a+b+");
    expect_undecodable("a%", "%");
    expect_undecodable("a%4", "%4");
    expect_undecodable("a%zz9", "%zz");
    expect_undecodable("%41%4g%zz", "%4g");
}

/* The parameters as "k=v&k&…" again, decoded. */
static const char *parsed(const char *query, int expected_rc, struct err_text *why)
{
    static char text[512];
    struct http_param params[4];
    uint32_t count;
    size_t at = 0;

    int rc = http_query_parse(slice_str(query), &arena, params, 4, &count, why);
    assert_int_equal(rc, expected_rc);
    for (uint32_t i = 0; rc == 0 && i < count; i++) {
        if (i)
            text[at++] = '&';
        memcpy(text + at, params[i].key.data, params[i].key.len);
        at += params[i].key.len;
        if (!params[i].has_value)
            continue;
        text[at++] = '=';
        if (params[i].value.len)
            memcpy(text + at, params[i].value.data, params[i].value.len);
        at += params[i].value.len;
    }
    text[at] = '\0';
    return text;
}

static void test_query_parameters(void **state)
{
    (void)state;
    struct err_text why;
    assert_string_equal(parsed("", 0, &why), "");
    assert_string_equal(parsed("pretty&q=SELECT+1%3B&timings=&pretty=x", 0, &why),
                        "pretty&q=SELECT 1;&timings=&pretty=x");
    assert_string_equal(parsed("&&a=1&&", 0, &why), "a=1");
    assert_string_equal(parsed("a=b=c&=d", 0, &why), "a=b=c&=d");
    assert_string_equal(parsed("%61%3D=%26", 0, &why), "a==&");
}

static void expect_bad_query(const char *query, const char *words)
{
    struct err_text why;
    (void)parsed(query, ERR_INVALID, &why);
    assert_string_equal(why.text, words);
}

static void test_bad_queries_have_exact_words(void **state)
{
    (void)state;
    struct err_text why;
    expect_bad_query("a=1;b=2", "invalid semicolon separator in query");
    expect_bad_query(";", "invalid semicolon separator in query");
    expect_bad_query("q=%zz", "invalid URL escape \"%zz\"");
    expect_bad_query("q=%zzz", "invalid URL escape \"%zz\"");
    expect_bad_query("q=%4", "invalid URL escape \"%4\"");
    expect_bad_query("%=1", "invalid URL escape \"%\"");
    expect_bad_query("a=%zz&b;c", "invalid semicolon separator in query");
    expect_bad_query("b;c&a=%zz", "invalid semicolon separator in query");
    expect_bad_query("a=%\"\\", "invalid URL escape \"%\\\"\\\\\"");
    expect_bad_query("a=%\xff", "invalid URL escape \"%\\xff\"");
    (void)parsed("1&2&3&4", 0, &why);
    (void)parsed("1&2&3&4&5", ERR_TOO_BIG, &why);
}

static void test_query_without_memory(void **state)
{
    (void)state;
    struct arena none;
    struct http_param params[4];
    struct err_text why;
    uint32_t count;
    arena_init(&none, 0);
    assert_int_equal(http_query_parse(slice_str("a=b&c=%41"), &none, params, 4, &count, &why),
                     ERR_NOMEM);
    arena_fini(&none);
}

static void test_host_and_port(void **state)
{
    (void)state;
    static const char *const good[][3] = {
        {"localhost:4001", "localhost", "4001"},
        {":4001", "", "4001"},
        {"a:", "a", ""},
        {"[::1]:80", "::1", "80"},
        {"[fe80::1%eth0]:80", "fe80::1%eth0", "80"},
        {"[]:1", "", "1"},
        {":", "", ""},
        {"b:c", "b", "c"},
    };
    static const char *const bad[] = {
        "",          "localhost", "a:b:c", "::1",  "[::1]",   "[::1",   "[::1]80",
        "[::1]x:80", "[a]:b:c",   "a[:1",  "a]:1", "[a[b]:1", "[a]]:1", "[a]:1[",
        "[a]:1]",    "a:1]",      "a:[1",  "[",    "]",       "[:1",
    };
    struct slice host, port;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        assert_int_equal(http_host_port_split(slice_str(good[i][0]), &host, &port), 0);
        assert_true(slice_equal_str(host, good[i][1]));
        assert_true(slice_equal_str(port, good[i][2]));
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        if (http_host_port_split(slice_str(bad[i]), &host, &port) != ERR_INVALID)
            fail_msg("accepted: %s", bad[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_target_is_split_at_the_first_question_mark),
        cmocka_unit_test(test_percent_decoding),
        cmocka_unit_test(test_query_parameters),
        cmocka_unit_test(test_bad_queries_have_exact_words),
        cmocka_unit_test(test_query_without_memory),
        cmocka_unit_test(test_host_and_port),
    };
    return cmocka_run_group_tests(tests, up, down);
}
