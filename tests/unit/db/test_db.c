/* test_db.c — one database: apply, query, classify, and the words that clients see. */
#include "db_fixture.h"

static struct node_db node;

static int open_node(void **state)
{
    struct db_config c = config_default();

    (void)state;
    library_once();
    node_db_init(&node, 1, &c);
    return 0;
}

static int close_node(void **state)
{
    (void)state;
    node_db_fini(&node);
    return 0;
}

static void test_writes_report_sticky_counters(void **state)
{
    (void)state;
    assert_string_equal(
        apply(&node, 'e', "CREATE TABLE pet(id INTEGER PRIMARY KEY, name TEXT UNIQUE)"),
        "write 0 0\n");
    assert_string_equal(apply(&node, 'e', "INSERT INTO pet(name) VALUES('rex')"), "write 1 1\n");
    assert_string_equal(apply(&node, 'e', "INSERT INTO pet(name) VALUES(?)" US "ttom"),
                        "write 2 1\n");
    assert_string_equal(apply(&node, 'e', "UPDATE pet SET name=name||'x'"), "write 2 2\n");
    assert_string_equal(apply(&node, 'e', "SELECT 1"), "write 2 2\n");
    assert_string_equal(apply(&node, 'e', "CREATE TABLE other(x)"), "write 2 2\n");
    assert_string_equal(apply(&node, 'e', "DELETE FROM pet WHERE id=99"), "write 2 0\n");
    assert_string_equal(apply(&node, 'e', "INSERT INTO zoo VALUES(1)"),
                        "error no such table: zoo\n");
}

static void test_failing_statement_leaves_the_next_to_run(void **state)
{
    (void)state;
    apply(&node, 'e', "CREATE TABLE pet(id INTEGER PRIMARY KEY, name TEXT UNIQUE)");
    assert_string_equal(
        apply_many(&node, 'e',
                   ARRAY("INSERT INTO pet(name) VALUES('a')", "INSERT INTO pet(name) VALUES('a')",
                         "INSERT INTO pet(name) VALUES('b')")),
        "write 1 1\nerror UNIQUE constraint failed: pet.name\nwrite 2 1\n");
    assert_string_equal(
        apply_many(&node, 'E',
                   ARRAY("INSERT INTO pet(name) VALUES('c')", "INSERT INTO pet(name) VALUES('a')",
                         "INSERT INTO pet(name) VALUES('d')")),
        "write 3 1\nerror UNIQUE constraint failed: pet.name\n");
    assert_string_equal(apply(&node, 'r', "SELECT count(*) AS n FROM pet"),
                        "columns n:\nrow 2\nend\n");
}

static void test_transaction_control_follows_the_words(void **state)
{
    (void)state;
    apply(&node, 'e', "CREATE TABLE t(x)");
    assert_string_equal(apply(&node, 'E', "BEGIN"),
                        "error cannot start a transaction within a transaction\n");
    assert_string_equal(apply(&node, 'E', "ROLLBACK"),
                        "request error cannot commit - no transaction is active\n");
    assert_string_equal(apply(&node, 'e', "COMMIT"),
                        "error cannot commit - no transaction is active\n");
    assert_string_equal(apply_many(&node, 'e', ARRAY("BEGIN", "INSERT INTO t VALUES(1)")),
                        "write 0 0\nwrite 1 1\n");
    assert_string_equal(
        apply(&node, 'r', "SELECT count(*) FROM t"),
        "columns count(*):\nrow 0\nend\n"); /* BEGIN left open ends with its request */
    assert_string_equal(apply_many(&node, 'e', ARRAY("BEGIN", "INSERT INTO t VALUES(1)", "COMMIT")),
                        "write 1 1\nwrite 1 1\nwrite 1 1\n");
    assert_string_equal(apply(&node, 'r', "SELECT count(*) FROM t"),
                        "columns count(*):\nrow 1\nend\n");
}

static void test_several_statements_in_a_text(void **state)
{
    (void)state;
    apply(&node, 'e', "CREATE TABLE t(x)");
    assert_string_equal(apply(&node, 'e', "INSERT INTO t VALUES(1); INSERT INTO t VALUES(2)"),
                        "write 2 1\n");
    assert_string_equal(
        apply(&node, 'e', "INSERT INTO t VALUES(?); INSERT INTO t VALUES(?)" US "i3" US "i4"),
        "write 4 1\n");
    assert_string_equal(apply(&node, 'e', "INSERT INTO t VALUES(5); -- note"), "write 5 1\n");
    assert_string_equal(apply(&node, 'e', "-- nothing"), "blank\n");
    assert_string_equal(apply(&node, 'e', ""), "");
    assert_string_equal(
        apply(&node, 'e', "INSERT INTO t VALUES(6); nonsense; INSERT INTO t VALUES(7)"),
        "error near \"nonsense\": syntax error\n");
    assert_string_equal(apply(&node, 'r', "SELECT group_concat(x) AS g FROM t"),
                        "columns g:\nrow 1,2,3,4,5,6\nend\n");
}

static void test_returning_gives_rows(void **state)
{
    (void)state;
    apply(&node, 'e', "CREATE TABLE t(id INTEGER PRIMARY KEY, v TEXT)");
    assert_string_equal(apply(&node, 'e', "INSERT INTO t(v) VALUES('a'),('b') RETURNING id, v"),
                        "columns id:INTEGER,v:TEXT\nrow 1|a\nrow 2|b\nend\n");
    assert_string_equal(apply(&node, 'e', "DELETE FROM t WHERE id=9 RETURNING *"),
                        "columns id:INTEGER,v:TEXT\nend\n");
    apply(&node, 'e', "ALTER TABLE t ADD COLUMN w");
    assert_string_equal(apply(&node, 'e', "DELETE FROM t WHERE id=9 RETURNING *"),
                        "columns id:INTEGER,v:TEXT,w:\nend\n");
}

static void test_binding_follows_positions_and_names(void **state)
{
    (void)state;
    assert_string_equal(apply(&node, 'r', "SELECT ?" US "$a=i1"), "columns ?:\nrow null\nend\n");
    assert_string_equal(apply(&node, 'r', "SELECT :a, @a, $a" US "$a=i1"),
                        "error query not enough args to execute query: want 3 got 1\n");
    assert_string_equal(apply(&node, 'r', "SELECT :a, @a" US "$a=i7" US "$b=i1"),
                        "columns :a:,@a:\nrow 7|7\nend\n");
    assert_string_equal(apply(&node, 'r', "SELECT 1" US "$:a=i1"),
                        "error query name \":a\" does not begin with a letter\n");
    assert_string_equal(
        apply(&node, 'r', "SELECT ?,?,?,?,?" US "i1" US "r2.5" US "tx" US "b" US "n"),
        "columns ?:,?:,?:,?:,?:\nrow 1|2.5r|x||null\nend\n");
}

/* ---- reading ------------------------------------------------------------------------------------------- */

static void test_reader_refuses_to_change(void **state)
{
    static const char *const writes[] = {
        "INSERT INTO t VALUES(1,2)",
        "DELETE FROM t",
        "CREATE TABLE u(x)",
        "PRAGMA user_version=5",
        "VACUUM",
        "PRAGMA foreign_keys=ON",
        "DROP TABLE t",
        "ANALYZE",
        "REINDEX",
        "PRAGMA query_only=OFF",
        "; VACUUM",
        "PRAGMA incremental_vacuum",
    };
    struct db_reader *r;
    struct record out;
    struct err_text why;

    (void)state;
    record_init(&out);
    apply(&node, 'e', "CREATE TABLE t(x UNIQUE, y)");
    assert_int_equal(db_reader_open(node.db, &r, &why), 0);
    for (size_t i = 0; i < sizeof(writes) / sizeof(writes[0]); i++)
        assert_string_equal(query(r, &out, 'q', writes[i]),
                            "error query attempt to change database via query operation\n");
    assert_string_equal(query(r, &out, 'q', "SELECT count(*) AS n FROM t"),
                        "columns n:\nrow 0\nend\n");
    assert_non_null(
        strstr(query(r, &out, 'q', "EXPLAIN QUERY PLAN DELETE FROM t WHERE y=1"), "SCAN t\nend\n"));
    db_reader_close(r);
    record_fini(&out);
}

static void test_reader_is_as_new_for_the_next_client(void **state)
{
    static const char *const dirty[] = {"BEGIN",
                                        "BEGIN; SELECT * FROM t",
                                        "SAVEPOINT s",
                                        "ATTACH ':memory:' AS m",
                                        "CREATE TEMP TABLE t(y)",
                                        "PRAGMA case_sensitive_like=ON"};
    struct db_reader *r;
    struct record out;
    struct err_text why;

    (void)state;
    record_init(&out);
    apply(&node, 'e', "CREATE TABLE t(x)");
    assert_int_equal(db_reader_open(node.db, &r, &why), 0);
    for (size_t i = 0; i < sizeof(dirty) / sizeof(dirty[0]); i++) {
        char want[100];
        query(r, &out, 'q', dirty[i]);
        apply(&node, 'e', "INSERT INTO t VALUES(1)");
        snprintf(want, sizeof(want), "columns n:,l:\nrow %zu|1\nend\n", i + 1);
        assert_string_equal(query(r, &out, 'q', "SELECT count(*) AS n, 'a' LIKE 'A' AS l FROM t"),
                            want);
        assert_string_equal(query(r, &out, 'q', "COMMIT"),
                            "error query cannot commit - no transaction is active\n");
    }
    db_reader_close(r);
    record_fini(&out);
}

static void test_reader_sees_the_pragmas_of_the_documents(void **state)
{
    static const char *const facts[][2] = {{"journal_mode", "wal"},        {"synchronous", "0"},
                                           {"foreign_keys", "0"},          {"busy_timeout", "5000"},
                                           {"wal_autocheckpoint", "1000"}, {"query_only", "1"}};
    struct db_reader *r;
    struct record out;
    struct err_text why;

    (void)state;
    record_init(&out);
    assert_int_equal(db_reader_open(node.db, &r, &why), 0);
    for (size_t i = 0; i < sizeof(facts) / sizeof(facts[0]); i++) {
        char sql[80], want[80];
        snprintf(sql, sizeof(sql), "PRAGMA %s", facts[i][0]);
        snprintf(want, sizeof(want), "row %s\nend\n", facts[i][1]);
        assert_non_null(strstr(query(r, &out, 'q', sql), want));
    }
    db_reader_close(r);
    record_fini(&out);
}

static const char counting[] = "WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM c) "
                               "SELECT i FROM c LIMIT 1000000";

/* Two statements under a deadline after 3 ms; each row takes one. */
static void query_late(struct record *out, char kind, bool late_before)
{
    const char *sql[] = {counting, "SELECT 1"};
    struct payload p = payload_make(kind, sql, 2);
    struct db_reader *r;
    struct err_text why;

    record_init(out);
    out->tick = node.env;
    assert_int_equal(db_reader_open(node.db, &r, &why), 0);
    struct db_query q = {.payload = slice_of(p.bytes, p.len),
                         .transaction = kind < 'a',
                         .deadline_ns = env_now_ns(node.env) + 3 * ENV_MS_NS,
                         .sink = &out->sink};
    if (late_before)
        assert_true(env_sim_advance(node.env, 3 * ENV_MS_NS));
    assert_int_equal(db_query(r, &q, &why), 0);
    db_reader_close(r);
    free(p.bytes);
}

static void test_queries_stop_at_their_deadline(void **state)
{
    struct record out;

    (void)state;
    query_late(&out, 'q', true);
    assert_string_equal(out.text, "request error context deadline exceeded\n");
    record_fini(&out);
    query_late(&out, 'q', false);
    assert_memory_equal(out.text, "columns i:\nrow 1\nrow 2\nrow 3\n", 29);
    assert_non_null(strstr(out.text, "\nerror query query timeout\nerror query query timeout\n"));
    record_fini(&out);
    query_late(&out, 'Q', false);
    assert_string_equal(
        out.text, "request error sql: transaction has already been committed or rolled back\n");
    record_fini(&out);
}

static void test_strong_reads_stop_at_their_deadline(void **state)
{
    const char *sql[] = {counting, "SELECT 1"};
    struct payload p = payload_make('q', sql, 2);
    struct err_text why;

    (void)state;
    wire_cmd_seal(p.bytes, p.len, 1, 1);
    node.last.tick = node.env;
    struct db_entry e = {.index = node.next++,
                         .term = 1,
                         .kind = RAFT_ENTRY_NORMAL,
                         .payload = slice_of(p.bytes, p.len),
                         .sink = &node.last.sink,
                         .deadline_ns = env_now_ns(node.env) + 3 * ENV_MS_NS};
    on_reset(e.sink);
    assert_int_equal(db_apply(node.db, &e, 1, &why), 0);
    assert_non_null(
        strstr(node.last.text, "\nerror query query timeout\nerror query query timeout\n"));
    assert_string_equal(apply(&node, 'e', "CREATE TABLE t(x)"),
                        "write 0 0\n"); /* nothing lingers */
    free(p.bytes);
}

static void test_strong_reads_run_only_where_somebody_waits(void **state)
{
    const char *sql[] = {counting}; /* it never ends by itself */
    struct payload p = payload_make('q', sql, 1);
    struct db_state s;
    struct err_text why;

    (void)state;
    wire_cmd_seal(p.bytes, p.len, 1, 1);
    struct db_entry e = {.index = node.next++,
                         .term = 1,
                         .kind = RAFT_ENTRY_NORMAL,
                         .payload = slice_of(p.bytes, p.len)};
    assert_int_equal(db_apply(node.db, &e, 1, &why), 0);
    db_state(node.db, &s);
    assert_true(s.applied_index == e.index);
    free(p.bytes);
}

static void test_full_sink_stops_a_read_but_never_an_entry(void **state)
{
    struct db_reader *r;
    struct record out;
    struct err_text why;

    (void)state;
    apply(&node, 'e', "CREATE TABLE t(x)");
    node.last.rows_max = 1;
    assert_string_equal(apply(&node, 'r', "INSERT INTO t VALUES(1),(2),(3) RETURNING x"),
                        "columns x:\nrow 1\nend\n");
    record_init(&out);
    out.rows_max = 2;
    assert_int_equal(db_reader_open(node.db, &r, &why), 0);
    assert_memory_equal(query(r, &out, 'q', "SELECT x FROM t"), "columns x:\nrow 1\nrow 2\n", 23);
    out.rows_max = 0;
    assert_string_equal(query(r, &out, 'q', "SELECT count(*) AS n FROM t"),
                        "columns n:\nrow 3\nend\n");
    db_reader_close(r);
    record_fini(&out);
}

static void test_reader_sees_a_changed_schema_at_once(void **state)
{
    struct db_reader *r;
    struct record out;
    struct err_text why;

    (void)state;
    apply(&node, 'e', "CREATE TABLE t(x)");
    apply(&node, 'e', "INSERT INTO t VALUES(1)");
    record_init(&out);
    assert_int_equal(db_reader_open(node.db, &r, &why), 0);
    assert_string_equal(query(r, &out, 'q', "SELECT * FROM t"), "columns x:\nrow 1\nend\n");
    apply(&node, 'e', "ALTER TABLE t ADD COLUMN y INT DEFAULT 5");
    assert_string_equal(query(r, &out, 'q', "SELECT * FROM t"), "columns x:,y:INT\nrow 1|5\nend\n");
    apply(&node, 'e', "DROP TABLE t");
    assert_string_equal(query(r, &out, 'q', "SELECT * FROM t"), "error query no such table: t\n");
    db_reader_close(r);
    record_fini(&out);
}

static void test_names_can_be_qualified(void **state)
{
    const char *sql[] = {"SELECT f.x AS a, 1 AS k FROM t f"};
    struct payload p = payload_make('q', sql, 1);
    struct db_reader *r;
    struct record out;
    struct err_text why;

    (void)state;
    apply(&node, 'e', "CREATE TABLE t(x INT)");
    record_init(&out);
    assert_int_equal(db_reader_open(node.db, &r, &why), 0);
    struct db_query q = {
        .payload = slice_of(p.bytes, p.len), .qualify_columns = true, .sink = &out.sink};
    assert_int_equal(db_query(r, &q, &why), 0);
    assert_string_equal(out.text, "columns t.a:INT,k:\nend\n");
    free(p.bytes);
    db_reader_close(r);
    record_fini(&out);
}

/* ---- classification ------------------------------------------------------------------------------------ */

static bool reads_only(struct db_reader *r, const char *sql)
{
    struct payload p = payload_make('r', &sql, 1);
    bool yes = false;

    assert_int_equal(db_classify(r, slice_of(p.bytes, p.len), &yes), 0);
    free(p.bytes);
    return yes;
}

static void test_classify_asks_sqlite_and_executes_nothing(void **state)
{
    static const char *const reads[] = {"SELECT 1",
                                        "SELECT * FROM t",
                                        "EXPLAIN DELETE FROM t",
                                        "PRAGMA table_info(t)",
                                        "PRAGMA foreign_keys",
                                        "WITH a AS (SELECT 1) SELECT * FROM a",
                                        "SELECT 1; SELECT 2",
                                        "BEGIN",
                                        "",
                                        "-- nothing"};
    static const char *const writes[] = {"INSERT INTO t VALUES(1)",
                                         "SELECT * FROM nowhere",
                                         "nonsense",
                                         "PRAGMA user_version=7",
                                         "EXPLAIN PRAGMA user_version=7",
                                         "PRAGMA foreign_keys=ON",
                                         "SELECT 1; INSERT INTO t VALUES(1)",
                                         "VACUUM",
                                         "ANALYZE",
                                         "WITH a AS (SELECT 1) DELETE FROM t"};
    struct db_reader *r;
    struct record out;
    struct err_text why;

    (void)state;
    record_init(&out);
    apply(&node, 'e', "CREATE TABLE t(x)");
    assert_int_equal(db_reader_open(node.db, &r, &why), 0);
    for (size_t i = 0; i < sizeof(reads) / sizeof(reads[0]); i++)
        assert_true(reads_only(r, reads[i]));
    for (size_t i = 0; i < sizeof(writes) / sizeof(writes[0]); i++)
        assert_false(reads_only(r, writes[i]));
    assert_string_equal(query(r, &out, 'q', "PRAGMA foreign_keys"),
                        "columns foreign_keys:\nrow 0\nend\n");
    assert_string_equal(query(r, &out, 'q', "PRAGMA user_version"),
                        "columns user_version:\nrow 0\nend\n");
    db_reader_close(r);
    record_fini(&out);
}

static void test_disallowed_pragmas_are_seen_by_tokens(void **state)
{
    static const char *const refused[] = {"PRAGMA journal_mode=DELETE",
                                          "pragma main.journal_mode = wal",
                                          "PRAGMA journal_mode(DELETE)",
                                          "PRAGMA wal_checkpoint",
                                          "PRAGMA wal_checkpoint(TRUNCATE)",
                                          "/* x */ PRAGMA synchronous=FULL",
                                          "SELECT 1; PRAGMA wal_autocheckpoint=5",
                                          "EXPLAIN PRAGMA query_only=0"};
    static const char *const passed[] = {"PRAGMA journal_mode", "PRAGMA synchronous",
                                         "SELECT 'PRAGMA wal_checkpoint'",
                                         "PRAGMA foreign_keys=ON"};

    (void)state;
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
        struct payload p = payload_make('e', &refused[i], 1);
        assert_true(db_disallowed_pragma(slice_of(p.bytes, p.len)));
        free(p.bytes);
    }
    for (size_t i = 0; i < sizeof(passed) / sizeof(passed[0]); i++) {
        struct payload p = payload_make('e', &passed[i], 1);
        assert_false(db_disallowed_pragma(slice_of(p.bytes, p.len)));
        free(p.bytes);
    }
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, open_node, close_node)
    const struct CMUnitTest tests[] = {
        T(test_writes_report_sticky_counters),
        T(test_failing_statement_leaves_the_next_to_run),
        T(test_transaction_control_follows_the_words),
        T(test_several_statements_in_a_text),
        T(test_returning_gives_rows),
        T(test_binding_follows_positions_and_names),
        T(test_reader_refuses_to_change),
        T(test_reader_is_as_new_for_the_next_client),
        T(test_reader_sees_the_pragmas_of_the_documents),
        T(test_queries_stop_at_their_deadline),
        T(test_strong_reads_stop_at_their_deadline),
        T(test_strong_reads_run_only_where_somebody_waits),
        T(test_full_sink_stops_a_read_but_never_an_entry),
        T(test_reader_sees_a_changed_schema_at_once),
        T(test_names_can_be_qualified),
        T(test_classify_asks_sqlite_and_executes_nothing),
        T(test_disallowed_pragmas_are_seen_by_tokens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
