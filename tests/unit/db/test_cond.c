/* test_cond.c — writes under a condition: judged in front of their statements, the same in any batch and on
 * every node; not met, or not to be judged, nothing changes. */
#include "db_fixture.h"

#define UNMET "note unmet 0\nrequest error condition not met\n"

static struct node_db node;

static int open_node(void **state)
{
    struct db_config c = config_default();

    (void)state;
    library_once();
    node_db_init(&node, 1, &c);
    apply(&node, 'e', "CREATE TABLE t(id INTEGER PRIMARY KEY, v)");                      /* 1 */
    apply(&node, 'e', "INSERT INTO t VALUES(7,1),(8,2.5),(9,'x'),(10,NULL),(11,x'00')"); /* 2 */
    return 0;
}

static int close_node(void **state)
{
    (void)state;
    node_db_fini(&node);
    return 0;
}

/* What is asked for: texts as the fixture's. rows: NULL: any; else up to an empty string, values between US. */
struct asked {
    const char *key;
    const char *query;
    const char *const *rows;
    bool by_index;
    uint64_t index;
    char kind;
};

static void add_row(struct buf *b, const char *row)
{
    char text[200];

    snprintf(text, sizeof(text), "%s%s", row[0] ? US : "", row);
    add_statement(b, text);
}

static struct payload conditional(const struct asked *a, const char *const *sql, size_t count)
{
    struct buf b;

    buf_init(&b, 1 << 20);
    wire_cmd_begin(&b, (a->kind | 0x20) == 'r' ? WIRE_CMD_REQUEST : WIRE_CMD_EXECUTE,
                   a->kind && a->kind < 'a' ? WIRE_CMD_TRANSACTION : 0,
                   slice_str(a->key ? a->key : ""));
    if (a->by_index)
        wire_cmd_if_index(&b, a->index);
    if (a->query) {
        wire_cmd_if_begin(&b, a->rows != NULL);
        add_statement(&b, a->query);
        for (size_t i = 0; a->rows && a->rows[i]; i++)
            add_row(&b, a->rows[i]);
        wire_cmd_if_end(&b);
    }
    for (size_t i = 0; i < count; i++)
        add_statement(&b, sql[i]);
    assert_int_equal(wire_cmd_finish(&b), 0);
    struct payload p = {malloc(buf_len(&b)), buf_len(&b)};
    memcpy(p.bytes, buf_slice(&b).data, p.len);
    wire_cmd_seal(p.bytes, p.len, 1700000000000000000, 5);
    buf_fini(&b);
    return p;
}

static const char *ask(struct asked a, const char *sql)
{
    return apply_payload(&node, conditional(&a, &sql, 1), 0);
}

static const char *if_rows(const char *query, const char *const *rows)
{
    return ask((struct asked){.query = query, .rows = rows}, "UPDATE t SET v=v WHERE id=-1");
}
#define IF(query, ...) if_rows(query, (const char *const[]){__VA_ARGS__, NULL})
static bool met(const char *told)
{
    if (strcmp(told, UNMET) == 0)
        return false;
    assert_string_equal(told, "write 11 0\n");
    return true;
}

static uint64_t changed_index(void)
{
    struct db_state s;
    db_state(node.db, &s);
    return s.changed_index;
}

/* ---- queries ------------------------------------------------------------------------------------------ */

static void test_write_happens_only_if_a_row_is_there(void **state)
{
    struct asked there = {.query = "SELECT 1 FROM t WHERE id=?" US "i7"};
    struct asked missing = {.query = "SELECT 1 FROM t WHERE id=?" US "i70"};

    (void)state;
    assert_string_equal(ask(there, "UPDATE t SET v='new' WHERE id=7"), "write 11 1\n");
    assert_string_equal(ask(missing, "DELETE FROM t"), UNMET);
    assert_string_equal(apply(&node, 'r', "SELECT v FROM t WHERE id=7"),
                        "columns v:\nrow new\nend\n");
}

static void test_rows_must_be_exactly_these(void **state)
{
    (void)state;
    assert_true(met(IF("SELECT v FROM t WHERE id=7", "i1")));
    assert_false(met(IF("SELECT v FROM t WHERE id=7", "i2")));
    assert_true(met(IF("SELECT id,v FROM t ORDER BY id LIMIT 2", "i7" US "i1", "i8" US "r2.5")));
    assert_false(met(IF("SELECT id,v FROM t ORDER BY id LIMIT 2", "i7" US "i1")));
    assert_false(met(IF("SELECT id,v FROM t ORDER BY id LIMIT 1", "i7" US "i1", "i8" US "r2.5")));
    assert_false(
        met(IF("SELECT id,v FROM t ORDER BY id DESC LIMIT 2", "i7" US "i1", "i8" US "r2.5")));
    assert_false(met(IF("SELECT id,v FROM t WHERE id=7", "i7")));
    assert_false(met(IF("SELECT id FROM t WHERE id=7", "i7" US "i1")));
    assert_true(met(if_rows("SELECT v FROM t WHERE id=70", (const char *const[]){NULL})));
    assert_false(met(if_rows("SELECT v FROM t WHERE id=7", (const char *const[]){NULL})));
    assert_true(met(IF("VALUES(1),(2)", "i1", "i2")));
    assert_true(met(IF("WITH n(i) AS (SELECT 3) SELECT i FROM n", "i3")));
}

static void test_values_are_equal_as_sqlite_has_them(void **state)
{
    (void)state;
    assert_true(met(IF("SELECT v FROM t WHERE id=9", "tx")));
    assert_false(met(IF("SELECT v FROM t WHERE id=9", "bx")));
    assert_false(met(IF("SELECT v FROM t WHERE id=9", "tX")));
    assert_true(met(IF("SELECT v FROM t WHERE id=10", "n")));
    assert_false(met(IF("SELECT v FROM t WHERE id=10", "i0")));
    assert_false(met(IF("SELECT v FROM t WHERE id=7", "n")));
    assert_false(met(IF("SELECT '1'", "i1")));
    assert_false(met(IF("SELECT ''", "b")));
    assert_true(met(IF("SELECT 5.0", "i5")));
    assert_true(met(IF("SELECT 5", "r5")));
    assert_false(met(IF("SELECT 5", "r5.5")));
    assert_false(met(IF("SELECT 9223372036854775807", "r9223372036854775807"))); /* = 2^63 */
    assert_true(met(IF("SELECT -9223372036854775807-1", "r-9223372036854775808")));
    assert_false(met(IF("SELECT 9007199254740993", "r9007199254740992")));
    assert_false(met(IF("SELECT 1e999", "i9223372036854775807")));
    assert_true(met(IF("SELECT 0.0", "r-0")));
}

static void test_what_cannot_be_judged_changes_nothing(void **state)
{
    static const struct {
        const char *query, *words;
    } rows[] = {
        {"SELECT * FROM nowhere", "condition: no such table: nowhere"},
        {"SELECT nonsense FROM", "condition: incomplete input"},
        {"SELECT ?1,?2" US "i1", "condition: not enough args to execute query: want 2 got 1"},
        {"SELECT abs(-9223372036854775807-1)", "condition: integer overflow"},
        {"SELECT load_extension('x')", "condition: not authorized to use function: load_extension"},
        {"SELECT sqlite_source_id()",
         "condition: not authorized to use function: sqlite_source_id"},
        {"WITH x AS (SELECT 1) INSERT INTO t(v) SELECT 1",
         "condition: attempt to change database via query operation"},
        {"WITH x AS (SELECT 1) DELETE FROM t RETURNING id",
         "condition: attempt to change database via query operation"},
        /* what clients are told before it comes this far (db_condition_refused) */
        {"DELETE FROM t", "a condition must be a query: SELECT, VALUES or WITH"},
        {"PRAGMA user_version", "a condition must be a query: SELECT, VALUES or WITH"},
        {"EXPLAIN SELECT 1", "a condition must be a query: SELECT, VALUES or WITH"},
        {"BEGIN", "a condition must be a query: SELECT, VALUES or WITH"},
        {"COMMIT", "a condition must be a query: SELECT, VALUES or WITH"},
        {"SELECT 1; SELECT 2", "a condition must be one statement"},
        {"-- nothing", "a condition must be a query"},
        {"", "a condition must be a query"},
    };
    struct db_state before, after;
    char words[200];

    (void)state;
    db_state(node.db, &before);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        snprintf(words, sizeof(words), "request error %s\n", rows[i].words);
        assert_string_equal(ask((struct asked){.query = rows[i].query}, "DELETE FROM t"), words);
    }
    db_state(node.db, &after);
    assert_int_equal(after.changed_index, before.changed_index);
    assert_string_equal(apply(&node, 'r', "SELECT count(*) AS n FROM t"),
                        "columns n:\nrow 5\nend\n");
}

static const char *refused(const char *query)
{
    const char *sql = "SELECT 1";
    struct payload p = conditional(&(struct asked){.query = query}, &sql, 1);
    const char *words = db_condition_refused(slice_of(p.bytes, p.len));
    free(p.bytes);
    return words;
}

static void test_what_tokens_tell_is_told_before(void **state)
{
    (void)state;
    assert_null(refused("SELECT 1"));
    assert_null(refused(" ; /* so */ select 1 ; -- end"));
    assert_null(refused("WITH x AS (SELECT 1) DELETE FROM t")); /* only an engine can tell */
    assert_null(refused(NULL));
    assert_string_equal(refused("PRAGMA user_version"),
                        "a condition must be a query: SELECT, VALUES or WITH");
    assert_string_equal(refused("SELECT 1; DELETE FROM t"), "a condition must be one statement");
    assert_string_equal(refused("  "), "a condition must be a query");
}

/* ---- changed since ------------------------------------------------------------------------------------- */

static const char *if_index(uint64_t index, char kind, const char *const *sql, size_t count)
{
    return apply_payload(
        &node,
        conditional(&(struct asked){.by_index = true, .index = index, .kind = kind}, sql, count),
        0);
}

static void test_index_of_the_last_change_decides(void **state)
{
    const char *sql = "INSERT INTO t(v) VALUES(1)";

    (void)state;
    assert_int_equal(changed_index(), 2);
    assert_string_equal(if_index(1, 'e', &sql, 1), UNMET);                   /* 3 */
    assert_string_equal(if_index(2, 'e', &sql, 1), "write 12 1\n");          /* 4 */
    assert_string_equal(if_index(3, 'e', &sql, 1), UNMET);                   /* 5 */
    assert_string_equal(if_index(UINT64_MAX, 'e', &sql, 1), "write 13 1\n"); /* 6 */
    assert_int_equal(changed_index(), 6);
}

static void test_what_counts_as_a_change(void **state)
{
    static const struct {
        const char *sql[3];
        bool changes;
        char kind;
    } rows[] = {
        {{"SELECT 1", "SELECT * FROM t"}, false, 'r'},
        {{"UPDATE t SET v=1 WHERE id=-1", "DELETE FROM t WHERE id=-1"}, false, 'e'},
        {{"UPDATE t SET v=v WHERE id=7"}, true, 'e'},
        {{"INSERT INTO nowhere VALUES(1)", "nonsense"}, false, 'e'},
        {{"INSERT INTO t VALUES(7,0)"}, false, 'e'}, /* taken: refused */
        {{"INSERT OR IGNORE INTO t VALUES(7,0)"}, false, 'e'},
        {{"INSERT OR FAIL INTO t VALUES(100,0),(7,0)"}, true, 'e'}, /* one of them stays */
        {{"INSERT INTO t VALUES(101,0)", "INSERT INTO t VALUES(7,0)"}, true, 'e'},
        {{"INSERT INTO t VALUES(102,0)", "INSERT INTO t VALUES(7,0)"},
         false,
         'E'}, /* all taken back */
        {{"CREATE TABLE u(x)"}, true, 'e'},
        {{"CREATE TABLE w(x)", "INSERT INTO nowhere VALUES(1)"}, false, 'E'},
        {{"PRAGMA user_version=3"}, true, 'e'},
        {{"PRAGMA user_version", "PRAGMA table_info(t)"}, false, 'r'},
        {{"PRAGMA recursive_triggers=ON"}, false, 'e'}, /* of the connection, not of the database */
        {{"EXPLAIN DELETE FROM t"}, false, 'r'},
        {{"BEGIN", "COMMIT"}, false, 'e'},
        {{"BEGIN", "INSERT INTO t VALUES(103,0)", "ROLLBACK"}, true, 'e'},  /* errs to this side */
        {{"INSERT INTO t VALUES(104,0)", "COMMIT", "nonsense"}, true, 'E'}, /* it stays */
        {{"DELETE FROM t WHERE id=7 RETURNING id"}, true, 'r'},
        {{"ANALYZE"}, true, 'e'},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        uint64_t before = changed_index();
        size_t n = 0;
        while (n < 3 && rows[i].sql[n])
            n++;
        apply_many(&node, rows[i].kind, rows[i].sql, n);
        if ((changed_index() != before) != rows[i].changes)
            fail_msg("%s: %d", rows[i].sql[0], !rows[i].changes);
        assert_true(!rows[i].changes || changed_index() == node.next - 1);
    }
}

static void test_both_conditions_must_be_met(void **state)
{
    struct asked a = {.query = "SELECT 1", .by_index = true, .index = 2};

    (void)state;
    assert_string_equal(ask(a, "INSERT INTO t(v) VALUES(1)"), "write 12 1\n");
    assert_string_equal(ask(a, "INSERT INTO t(v) VALUES(1)"), UNMET);
    a.index = 100;
    a.query = "SELECT 1 WHERE 0";
    assert_string_equal(ask(a, "INSERT INTO t(v) VALUES(1)"), UNMET);
}

/* ---- with keys, transactions, batches --------------------------------------------------------------------- */

static void test_not_met_is_an_outcome_for_a_key(void **state)
{
    struct asked a = {.key = "k", .query = "SELECT 1 FROM t WHERE id=70"};
    struct asked bad = {.key = "b", .query = "SELECT * FROM later"};

    (void)state;
    assert_string_equal(ask(a, "INSERT INTO t(v) VALUES(1)"), UNMET);
    apply(&node, 'e', "INSERT INTO t VALUES(70,1)");
    assert_string_equal(ask(a, "INSERT INTO t(v) VALUES(1)"), "note replayed 3\n" UNMET);
    assert_string_equal(ask(bad, "SELECT 1"), "request error condition: no such table: later\n");
    apply(&node, 'e', "CREATE TABLE later(x)");
    assert_string_equal(ask(bad, "SELECT 1"),
                        "note replayed 6\nrequest error condition: no such table: later\n");
    /* the condition is part of the request */
    a.query = "SELECT 1 FROM t WHERE id=7";
    assert_string_equal(
        ask(a, "INSERT INTO t(v) VALUES(1)"),
        "note key reused 3\nrequest error idempotency key was used for a different request\n");
}

struct step {
    struct asked asked;
    const char *sql[3];
};
static const char *const none[] = {NULL};
static const struct step steps[] = {
    {{.kind = 'e'}, {"CREATE TABLE t(id INTEGER PRIMARY KEY, v UNIQUE)"}},
    {{.query = "SELECT * FROM t", .rows = none}, {"INSERT INTO t(v) VALUES('a') RETURNING *"}},
    {{.query = "SELECT * FROM t", .rows = none}, {"INSERT INTO t(v) VALUES('a') RETURNING *"}},
    {{.by_index = true, .index = 2}, {"INSERT INTO t(v) VALUES('b')"}},
    {{.by_index = true, .index = 2}, {"INSERT INTO t(v) VALUES('c')"}},
    {{.kind = 'E'}, {"INSERT INTO t(v) VALUES('d')", "INSERT INTO t(v) VALUES('a')"}},
    {{.by_index = true, .index = 4, .kind = 'E'}, {"INSERT INTO t(v) VALUES('e')"}},
    {{.query = "SELECT * FROM nowhere"}, {"DELETE FROM t"}},
    {{.key = "k", .query = "SELECT random()>0"}, {"INSERT INTO t(v) VALUES(random())"}},
    {{.kind = 'e'}, {"INSERT OR ROLLBACK INTO t(v) VALUES('a')"}}, /* done again, one by one */
    {{.by_index = true, .index = 9, .kind = 'r'},
     {"SELECT count(*), changes(), total_changes() FROM t"}},
    {{.query = "SELECT v FROM t ORDER BY id LIMIT 1"},
     {"INSERT OR ROLLBACK INTO t(v) VALUES('b')"}},
    {{.key = "k", .query = "SELECT random()>0"}, {"INSERT INTO t(v) VALUES(random())"}},
    {{.query = "SELECT 1"}, {"BEGIN", "INSERT INTO t(v) VALUES('z')", "ROLLBACK"}}, /* alone */
    {{.by_index = true, .index = 13}, {"INSERT INTO t(v) VALUES('y')"}},
    {{.query = "SELECT random()"}, {"INSERT INTO t(v) VALUES(random())", "SELECT 1"}},
};
enum { STEPS = sizeof(steps) / sizeof(steps[0]) };

static void run_steps(struct node_db *n, uint32_t at_once, bool sinks, struct record *told)
{
    struct payload p[STEPS];

    for (uint32_t i = 0; i < STEPS; i++) {
        size_t count = 0;
        while (count < 3 && steps[i].sql[count])
            count++;
        p[i] = conditional(&steps[i].asked, steps[i].sql, count);
    }
    apply_in_calls(n, p, STEPS, at_once, told, sinks);
}

static void test_conditions_are_the_same_in_any_batch_and_replica(void **state)
{
    static const struct {
        uint32_t at_once, cache, batch_max;
        bool sinks;
    } ways[] = {{1, 0, 1, true},
                {2, 3, 2, true},
                {7, 100, 7, true},
                {STEPS, 100, 64, true},
                {STEPS, 3, 64, false}};
    struct record first[STEPS], told[STEPS];
    struct db_state one, s;
    uint64_t content_one, content;

    (void)state;
    for (size_t w = 0; w < sizeof(ways) / sizeof(ways[0]); w++) {
        struct db_config c = config_default();
        struct node_db n;
        c.statement_cache = ways[w].cache;
        c.batch_max = ways[w].batch_max;
        node_db_init(&n, 10 + w, &c);
        run_steps(&n, ways[w].at_once, ways[w].sinks, w ? told : first);
        db_state(n.db, w ? &s : &one);
        assert_int_equal(db_content_hash(n.db, w ? &content : &content_one), 0);
        for (uint32_t i = 0; w && i < STEPS; i++) {
            if (ways[w].sinks)
                assert_string_equal(told[i].text, first[i].text);
            record_fini(&told[i]);
        }
        if (w) {
            assert_true(s.digest == one.digest && content == content_one);
            assert_int_equal(s.changed_index, one.changed_index);
        }
        node_db_fini(&n);
    }
    assert_string_equal(first[2].text, UNMET);
    assert_string_equal(first[3].text, "write 2 1\n");
    assert_string_equal(first[4].text, UNMET);
    assert_string_equal(first[6].text, "write 3 1\n"); /* what failed before it changed nothing */
    for (uint32_t i = 0; i < STEPS; i++)
        record_fini(&first[i]);
}

/* What the first attempt changed is no change for the second. */
static void test_batch_done_again_is_judged_again_from_its_beginning(void **state)
{
    const struct asked first = {.by_index = true, .index = 2}, none_asked = {.kind = 'e'};
    const char *insert = "INSERT INTO t VALUES(70,1)",
               *failing = "INSERT OR ROLLBACK INTO t VALUES(7,1)";
    struct payload p[2] = {conditional(&first, &insert, 1), conditional(&none_asked, &failing, 1)};
    struct record told[2];
    struct db_entry entries[2];
    struct db_state s;
    struct err_text why;

    (void)state;
    for (uint32_t i = 0; i < 2; i++) {
        record_init(&told[i]);
        entries[i] = (struct db_entry){.index = 3 + i,
                                       .term = 1,
                                       .kind = RAFT_ENTRY_NORMAL,
                                       .payload = slice_of(p[i].bytes, p[i].len),
                                       .sink = &told[i].sink};
    }
    assert_int_equal(db_apply(node.db, entries, 2, &why), 0);
    db_state(node.db, &s);
    assert_int_equal(s.batches_redone, 1);
    assert_string_equal(told[0].text, "write 70 1\n");
    assert_int_equal(s.changed_index, 3);
    for (uint32_t i = 0; i < 2; i++) {
        record_fini(&told[i]);
        free(p[i].bytes);
    }
}

/* A cached statement of the condition does not outlive what it reads. */
static void test_condition_sees_the_schema_of_its_moment(void **state)
{
    struct asked a = {.query = "SELECT * FROM t WHERE id=7",
                      .rows = (const char *const[]){"i7" US "i1", NULL}};

    (void)state;
    assert_string_equal(ask(a, "SELECT 1"), "write 11 5\n");
    apply(&node, 'e', "ALTER TABLE t ADD COLUMN w");
    assert_string_equal(ask(a, "SELECT 1"), UNMET);
    apply(&node, 'e', "DROP TABLE t");
    assert_string_equal(ask(a, "SELECT 1"), "request error condition: no such table: t\n");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, open_node, close_node)
    const struct CMUnitTest tests[] = {
        TEST(test_write_happens_only_if_a_row_is_there),
        TEST(test_rows_must_be_exactly_these),
        TEST(test_values_are_equal_as_sqlite_has_them),
        TEST(test_what_cannot_be_judged_changes_nothing),
        TEST(test_what_tokens_tell_is_told_before),
        TEST(test_index_of_the_last_change_decides),
        TEST(test_what_counts_as_a_change),
        TEST(test_both_conditions_must_be_met),
        TEST(test_not_met_is_an_outcome_for_a_key),
        TEST(test_conditions_are_the_same_in_any_batch_and_replica),
        TEST(test_batch_done_again_is_judged_again_from_its_beginning),
        TEST(test_condition_sees_the_schema_of_its_moment),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
