/* test_sql_token.c — tokens as SQLite cuts them, and never a byte outside the text. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <rq/sql.h>
#include <rq/util/mem.h>
#include <rq/util/prng.h>

/* Tokens of sql written as "W:select N:1 …": one letter per kind. */
static const char *tokens_of(struct slice sql)
{
    static char text[4096];
    static const char letters[] = "?WQSNVP;!";
    struct sql_tokens tokens;
    size_t at = 0;

    sql_tokens_init(&tokens, sql);
    for (;;) {
        struct sql_token t = sql_tokens_next(&tokens);
        if (t.kind == SQL_TOKEN_END)
            break;
        assert_true(at + t.text.len + 3 < sizeof(text));
        if (at > 0)
            text[at++] = ' ';
        text[at++] = letters[t.kind];
        text[at++] = ':';
        memcpy(text + at, t.text.data, t.text.len);
        at += t.text.len;
    }
    text[at] = '\0';
    return text;
}

#define EXPECT(sql, tokens) assert_string_equal(tokens_of(slice_str(sql)), tokens)

static void test_words_numbers_and_operators(void **state)
{
    (void)state;
    EXPECT("SELECT a1_$ FROM \xc3\xa9t", "W:SELECT W:a1_$ W:FROM W:\xc3\xa9t");
    EXPECT("1 1.5 .5 1. 1e3 1E+3 1e-3 0x1F 0xg 1e 1abc",
           "N:1 N:1.5 N:.5 N:1. N:1e3 N:1E+3 N:1e-3 N:0x1F !:0xg !:1e !:1abc");
    EXPECT("a->b->>c==d<=e<>f<<g>=h>>i!=j||k!l",
           "W:a P:-> W:b P:->> W:c P:== W:d P:<= W:e P:<> W:f P:<< W:g P:>= W:h P:>> W:i P:!= W:j "
           "P:|| W:k !:! W:l");
    EXPECT("a.b,(c)*+-/%&~|;", "W:a P:. W:b P:, P:( W:c P:) P:* P:+ P:- P:/ P:% P:& P:~ P:| ;:;");
    EXPECT("{ ^ \\ \x7f", "!:{ !:^ !:\\ !:\x7f");
}

static void test_quotes_double_and_may_be_unterminated(void **state)
{
    (void)state;
    EXPECT("'it''s' \"a\"\"b\" `c``d` [e ]", "S:'it''s' Q:\"a\"\"b\" Q:`c``d` Q:[e ]");
    EXPECT("'' \"\" []", "S:'' Q:\"\" Q:[]");
    EXPECT("'abc; SELECT", "!:'abc; SELECT");
    EXPECT("'abc''", "!:'abc''");
    EXPECT("[abc; x", "!:[abc; x");
    EXPECT("x'4142' X'' x'4' x'4g' x'41 y", "S:x'4142' S:X'' !:x'4' !:x'4g' !:x'41 y");
    EXPECT("xy x", "W:xy W:x");
}

static void test_variables(void **state)
{
    (void)state;
    EXPECT("? ?12 :a @a $a #a", "V:? V:?12 V::a V:@a V:$a V:#a");
    EXPECT("$a::b(c) $a(x y", "V:$a::b(c) !:$a(x W:y");
    EXPECT(": @ $ :1", "!:: !:@ !:$ V::1");
    EXPECT("?1a", "V:?1 W:a");
}

static void test_white_space_and_comments_are_passed_over(void **state)
{
    (void)state;
    EXPECT("  \t\r\n\f ", "");
    EXPECT("a -- b; c\nd", "W:a W:d");
    EXPECT("a -- b", "W:a");
    EXPECT("a/* ; ' */b/**/c/*/d*/e", "W:a W:b W:c W:e");
    EXPECT("a /* never ends ; b", "W:a");
    EXPECT("a /*", "W:a P:/ P:*"); /* as SQLite: two operators at the very end */
    EXPECT("\xef\xbb\xbfSELECT", "W:SELECT");
    EXPECT("a \x0b"
           "b",
           "W:a W:b");
    EXPECT("\x0b", "!:\x0b"); /* vertical tab does not begin white space */
}

static void test_nul_ends_the_text(void **state)
{
    (void)state;
    assert_string_equal(tokens_of(slice_of("a\0b", 3)), "W:a");
    assert_string_equal(tokens_of(slice_of("'a\0b'", 5)), "!:'a");
    assert_string_equal(tokens_of(slice_of("a -- \0\nb", 8)), "W:a");
}

static void test_token_is_ignores_ascii_case(void **state)
{
    (void)state;
    struct sql_tokens tokens;
    sql_tokens_init(&tokens, slice_str("PraGma"));
    struct sql_token t = sql_tokens_next(&tokens);
    assert_true(sql_token_is(t, "pragma"));
    assert_true(sql_token_is(t, "PRAGMA"));
    assert_false(sql_token_is(t, "pragm"));
    assert_false(sql_token_is(t, "pragmas"));
}

/* Each text lies in an allocation of exactly its length: a byte read beyond it is an error of the
 * address sanitizer. Tokens must lie inside, in order, and never be empty. */
static void test_any_bytes_stay_inside_the_slice(void **state)
{
    (void)state;
    static const char alphabet[] = "'\"`[]x-/*;:@$?#01e.+(|!=<> \n\tab\xef\xbb\xbf";
    struct prng p;

    prng_init(&p, 11);
    for (int round = 0; round < 20000; round++) {
        size_t len = prng_below(&p, 12);
        uint8_t *bytes = mem_must_alloc(len);
        for (size_t i = 0; i < len; i++)
            bytes[i] = (uint8_t)alphabet[prng_below(&p, sizeof(alphabet))]; /* NUL too */
        struct sql_tokens tokens;
        const uint8_t *end = bytes;
        sql_tokens_init(&tokens, slice_of(bytes, len));
        for (;;) {
            struct sql_token t = sql_tokens_next(&tokens);
            if (t.kind == SQL_TOKEN_END)
                break;
            assert_true(t.text.len > 0);
            assert_true(t.text.data >= end);
            end = t.text.data + t.text.len;
            assert_true(end <= bytes + len);
        }
        (void)sql_classify_all(slice_of(bytes, len));
        struct sql_pragma pragma;
        (void)sql_pragma_parse(slice_of(bytes, len), &pragma);
        mem_free(bytes);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_words_numbers_and_operators),
        cmocka_unit_test(test_quotes_double_and_may_be_unterminated),
        cmocka_unit_test(test_variables),
        cmocka_unit_test(test_white_space_and_comments_are_passed_over),
        cmocka_unit_test(test_nul_ends_the_text),
        cmocka_unit_test(test_token_is_ignores_ascii_case),
        cmocka_unit_test(test_any_bytes_stay_inside_the_slice),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
