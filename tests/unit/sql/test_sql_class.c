/* test_sql_class.c — statement boundaries, classes, PRAGMAs taken apart. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <rq/sql.h>
#include <stdio.h>

#define CLASS(sql) sql_classify(slice_str(sql))
#define CLASS_ALL(sql) sql_classify_all(slice_str(sql))

static void test_class_of_the_first_statement(void **state)
{
    (void)state;
    assert_int_equal(CLASS(""), SQL_CLASS_EMPTY);
    assert_int_equal(CLASS(" ;; -- x\n/* y */;"), SQL_CLASS_EMPTY);
    assert_int_equal(CLASS("SELECT 1; PRAGMA x"), SQL_CLASS_ORDINARY);
    assert_int_equal(CLASS("WITH a AS (SELECT 1) INSERT INTO t SELECT * FROM a"),
                     SQL_CLASS_ORDINARY);
    assert_int_equal(CLASS("nonsense"), SQL_CLASS_ORDINARY);
    assert_int_equal(CLASS("'PRAGMA'"), SQL_CLASS_ORDINARY);
    assert_int_equal(CLASS("\"PRAGMA\" x"), SQL_CLASS_ORDINARY);
    assert_int_equal(CLASS("pragmas"), SQL_CLASS_ORDINARY);
    const char *transaction[] = {"BEGIN",         "commit",      "End",
                                 "ROLLBACK TO x", "SAVEPOINT a", "RELEASE a"};
    for (size_t i = 0; i < 6; i++)
        assert_int_equal(CLASS(transaction[i]), SQL_CLASS_TRANSACTION);
    const char *alone[] = {"VACUUM", "ATTACH 'x' AS y", "DETACH y", "ANALYZE", "REINDEX"};
    for (size_t i = 0; i < 5; i++)
        assert_int_equal(CLASS(alone[i]), SQL_CLASS_ALONE);
    assert_int_equal(CLASS(" ;/* c */ PRAGMA x"), SQL_CLASS_PRAGMA);
    assert_int_equal(CLASS("\xef\xbb\xbfPRAGMA x"), SQL_CLASS_PRAGMA);
    assert_int_equal(CLASS("EXPLAIN PRAGMA x"), SQL_CLASS_EXPLAIN);
    assert_int_equal(CLASS("explain query plan select 1"), SQL_CLASS_EXPLAIN);
}

static void test_class_of_a_text_is_its_strictest(void **state)
{
    (void)state;
    assert_int_equal(CLASS_ALL(";"), SQL_CLASS_EMPTY);
    assert_int_equal(CLASS_ALL("SELECT 1; SELECT 2"), SQL_CLASS_ORDINARY);
    assert_int_equal(CLASS_ALL("SELECT 1; COMMIT"), SQL_CLASS_TRANSACTION);
    assert_int_equal(CLASS_ALL("SELECT 1; PRAGMA x; BEGIN"), SQL_CLASS_PRAGMA);
    assert_int_equal(CLASS_ALL("VACUUM; PRAGMA x"), SQL_CLASS_ALONE);
    assert_int_equal(CLASS_ALL("EXPLAIN SELECT 1"), SQL_CLASS_ORDINARY);
    assert_int_equal(CLASS_ALL("EXPLAIN VACUUM"), SQL_CLASS_ORDINARY);
    assert_int_equal(CLASS_ALL("EXPLAIN PRAGMA x"), SQL_CLASS_PRAGMA);
    assert_int_equal(CLASS_ALL("EXPLAIN QUERY PLAN PRAGMA x"), SQL_CLASS_PRAGMA);
    assert_int_equal(CLASS_ALL("SELECT '; PRAGMA x'"), SQL_CLASS_ORDINARY);
    assert_int_equal(CLASS_ALL("SELECT 1 -- ; PRAGMA x"), SQL_CLASS_ORDINARY);
    assert_int_equal(CLASS_ALL("SELECT 1_000; PRAGMA x"), SQL_CLASS_PRAGMA);
}

static void test_nothing_hides_behind_a_trigger(void **state)
{
    (void)state;
    const char *body = "CREATE TRIGGER t AFTER INSERT ON a BEGIN UPDATE a SET x=CASE WHEN 1 THEN 2 "
                       "END; DELETE FROM a; END";
    char text[512];
    (void)snprintf(text, sizeof(text), "%s; PRAGMA x", body);
    assert_int_equal(CLASS_ALL(text), SQL_CLASS_PRAGMA);
    assert_int_equal(CLASS_ALL("CREATE TRIGGER t; PRAGMA x; END;"), SQL_CLASS_PRAGMA);
    assert_int_equal(CLASS_ALL("CREATE TABLE begin(x); PRAGMA x"), SQL_CLASS_PRAGMA);
}

/* The statements of a text, joined by '~'. */
static const char *split(struct slice rest)
{
    static char text[2048];
    struct slice statement;
    size_t at = 0;

    while (sql_split_next(&rest, &statement)) {
        assert_true(at + statement.len + 2 < sizeof(text));
        if (at)
            text[at++] = '~';
        memcpy(text + at, statement.data, statement.len);
        at += statement.len;
    }
    text[at] = '\0';
    return text;
}

#define SPLIT(sql, expected) assert_string_equal(split(slice_str(sql)), expected)

static void test_split_at_top_level_semicolons(void **state)
{
    (void)state;
    SPLIT("", "");
    SPLIT(" ;; ", "");
    SPLIT(";a;;b ; c -- ;", "a;~b ;~c -- ;");
    SPLIT("a ';' \";\" [;] `;` /* ; */;b", "a ';' \";\" [;] `;` /* ; */;~b");
    SPLIT("a;'open ;b", "a;~'open ;b");
    assert_string_equal(split(slice_of("a;b\0;c", 6)), "a;~b");
}

static void test_split_keeps_trigger_bodies_whole(void **state)
{
    (void)state;
#define BODY "BEGIN SELECT CASE WHEN 1 THEN 2 END; ; /* x */ INSERT INTO a VALUES(1); END"
    SPLIT("CREATE TRIGGER t AFTER INSERT ON a " BODY "; c",
          "CREATE TRIGGER t AFTER INSERT ON a " BODY ";~c");
    SPLIT("create temp trigger t AFTER INSERT ON a " BODY,
          "create temp trigger t AFTER INSERT ON a " BODY);
    SPLIT("CREATE TEMPORARY TRIGGER t " BODY "/*;*/;c",
          "CREATE TEMPORARY TRIGGER t " BODY "/*;*/;~c");
    SPLIT("EXPLAIN QUERY PLAN CREATE TRIGGER t " BODY ";c",
          "EXPLAIN QUERY PLAN CREATE TRIGGER t " BODY ";~c");
    SPLIT("EXPLAIN CREATE TRIGGER t " BODY ";c", "EXPLAIN CREATE TRIGGER t " BODY ";~c");
    SPLIT("CREATE TRIGGER t " BODY " x; y", "CREATE TRIGGER t " BODY " x;~y");
    SPLIT("CREATE TABLE trigger(begin);b;END;", "CREATE TABLE trigger(begin);~b;~END;");
}

static void expect_pragma(const char *sql, const char *schema, const char *name, const char *value)
{
    struct sql_pragma p;
    assert_true(sql_pragma_parse(slice_str(sql), &p));
    assert_true(slice_equal_str(p.schema, schema));
    assert_true(slice_equal_str(p.name, name));
    assert_int_equal(p.has_value, value != NULL);
    assert_true(slice_equal_str(p.value, value ? value : ""));
}

static void test_pragma_is_taken_apart(void **state)
{
    (void)state;
    expect_pragma("PRAGMA foreign_keys", "", "foreign_keys", NULL);
    expect_pragma(" pragma\nMain . Journal_Mode = wal;", "Main", "Journal_Mode", "wal");
    expect_pragma("PRAGMA x(1)", "", "x", "1");
    expect_pragma("PRAGMA x==1", "", "x", "1");
    expect_pragma("PRAGMA x=-5", "", "x", "-5");
    expect_pragma("PRAGMA x = - 5;", "", "x", "- 5");
    expect_pragma("PRAGMA x='d''e'", "", "x", "'d''e'");
    expect_pragma("PRAGMA/**/\"main\".[journal_mode]/**/(/**/DELETE)", "main", "journal_mode",
                  "DELETE");
    expect_pragma("PRAGMA 'journal_mode' = off", "", "journal_mode", "off");
    expect_pragma(";;PRAGMA x", "", "x", NULL);
    expect_pragma("EXPLAIN PRAGMA x=1", "", "x", "1");
    expect_pragma("EXPLAIN QUERY PLAN PRAGMA x=1", "", "x", "1");
    expect_pragma("PRAGMA x=", "", "x", "");
    expect_pragma("PRAGMA x=;PRAGMA y", "", "x", "");
    expect_pragma("PRAGMA x()", "", "x", "");
}

static void test_not_a_pragma(void **state)
{
    (void)state;
    struct sql_pragma p;
    assert_false(sql_pragma_parse(slice_str(""), &p));
    assert_false(sql_pragma_parse(slice_str("PRAGMA"), &p));
    assert_false(sql_pragma_parse(slice_str("PRAGMA a."), &p));
    assert_false(sql_pragma_parse(slice_str("PRAGMA ="), &p));
    assert_false(sql_pragma_parse(slice_str("SELECT 1; PRAGMA x"), &p));
    assert_false(sql_pragma_parse(slice_str("\"PRAGMA\" x"), &p));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_class_of_the_first_statement),
        cmocka_unit_test(test_class_of_a_text_is_its_strictest),
        cmocka_unit_test(test_nothing_hides_behind_a_trigger),
        cmocka_unit_test(test_split_at_top_level_semicolons),
        cmocka_unit_test(test_split_keeps_trigger_bodies_whole),
        cmocka_unit_test(test_pragma_is_taken_apart),
        cmocka_unit_test(test_not_a_pragma),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
