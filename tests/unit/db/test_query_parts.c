/* test_query_parts.c — a query in parts: the same result wherever it pauses, and a connection as new wherever it is
 * given up. */
#include "db_fixture.h"

#include "db_int.h" /* reader->queries */

static struct node_db node;
static struct db_reader *reader;
static struct record out;
static struct err_text why;

/* Every row is a pause when every is 1, every second one when it is 2. */
struct pausing {
    uint32_t every, asked;
};

static bool pause_now(void *ctx)
{
    struct pausing *p = ctx;
    return ++p->asked % p->every == 0;
}

static int setup(void **state)
{
    struct db_config c = config_default();
    (void)state;
    c.cache_pages = 10;
    node_db_init(&node, 1, &c);
    apply(&node, 'e', "CREATE TABLE t(x INTEGER PRIMARY KEY, y TEXT)");
    apply(&node, 'e',
          "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<300) "
          "INSERT INTO t SELECT i, hex(zeroblob(200)) FROM n");
    assert_int_equal(db_reader_open(node.db, &reader, &why), 0);
    record_init(&out);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    db_reader_close(reader);
    record_fini(&out);
    node_db_fini(&node);
    return 0;
}

static struct db_query query_of(const struct payload *p, char kind, struct pausing *pausing)
{
    return (struct db_query){.payload = slice_of(p->bytes, p->len),
                             .transaction = kind < 'a',
                             .sink = &out.sink,
                             .pause = pausing ? pause_now : NULL,
                             .pause_ctx = pausing};
}

/* How often it paused. */
static uint32_t run(char kind, const char *const *sql, size_t count, struct pausing *pausing)
{
    struct payload p = payload_make(kind, sql, count);
    struct db_query q = query_of(&p, kind, pausing);
    uint32_t pauses = 0;

    on_reset(&out.sink);
    int rc = db_query_begin(reader, &q, &why);
    for (; rc == DB_MORE; pauses++)
        rc = db_query_resume(reader, &why);
    assert_int_equal(rc, 0);
    free(p.bytes);
    return pauses;
}

static void expect_as_new(void)
{
    assert_string_equal(query(reader, &out, 'q', "COMMIT"),
                        "error query cannot commit - no transaction is active\n");
    apply(&node, 'e', "UPDATE t SET y='new' WHERE x=300");
    assert_string_equal(query(reader, &out, 'q', "SELECT y AS y FROM t WHERE x=300"),
                        "columns y:TEXT\nrow new\nend\n");
}

static const char *const mixed[] = {
    "SELECT x FROM t LIMIT 7",
    "-- nothing",
    "SELECT x FROM t WHERE x>=?" US "i290",
    "",
    "SELECT 1; SELECT x, y FROM t WHERE x<?" US "i4",
    "SELECT nope",
    "SELECT x FROM t WHERE 0",
    "SELECT abs(x) FROM (SELECT x FROM t WHERE x<5 UNION ALL SELECT -9223372036854775808)",
    "DELETE FROM t",
    "SELECT length(y), random() FROM t WHERE x<30",
    "BEGIN",
    "SELECT count(*) FROM t",
};
enum { MIXED = sizeof(mixed) / sizeof(mixed[0]) };

static void test_the_result_is_the_same_wherever_it_pauses(void **state)
{
    (void)state;
    for (int kind = 0; kind < 2; kind++) {
        struct pausing never = {UINT32_MAX, 0};
        const char letter = kind ? 'Q' : 'q';
        assert_int_equal(run(letter, mixed, MIXED, &never), 0);
        char *whole = strdup(out.text);
        for (uint32_t every = 1; every < 9; every++) {
            struct pausing p = {every, 0};
            reader->queries--; /* chance follows from it */
            assert_true(run(letter, mixed, MIXED, &p) >= 50 / every);
            assert_string_equal(out.text, whole);
        }
        free(whole);
        expect_as_new();
    }
}

static void test_there_is_a_pause_behind_every_row_and_between_texts(void **state)
{
    const char *const sql[] = {"SELECT x FROM t LIMIT 3", "SELECT nope", "SELECT x FROM t LIMIT 0"};
    struct pausing p = {1, 0};

    (void)state;
    assert_int_equal(run('q', sql, 3, &p), 5);
    assert_string_equal(out.text, "columns x:INTEGER\nrow 1\nrow 2\nrow 3\nend\n"
                                  "error query no such column: nope\ncolumns x:INTEGER\nend\n");
}

static void test_rows_that_nobody_looks_at_are_no_pause(void **state)
{
    const char *const sql[] = {"SELECT x FROM t; SELECT 1 AS one"};
    struct pausing p = {1, 0};

    (void)state;
    assert_int_equal(run('q', sql, 1, &p), 1);
    assert_string_equal(out.text, "columns one:\nrow 1\nend\n");
}

static void test_given_up_anywhere_the_connection_is_as_new(void **state)
{
    const char *const sql[] = {"BEGIN", "SELECT x FROM t", "SELECT y, x FROM t ORDER BY y, x"};

    (void)state;
    for (int kind = 0; kind < 2; kind++) {
        for (uint32_t rounds = 0; rounds < 605; rounds += rounds < 12 ? 1 : 37) {
            struct payload p = payload_make(kind ? 'Q' : 'q', sql, 3);
            struct pausing pausing = {1, 0};
            struct db_query q = query_of(&p, kind ? 'Q' : 'q', &pausing);
            on_reset(&out.sink);
            int rc = db_query_begin(reader, &q, &why);
            for (uint32_t i = 0; rc == DB_MORE && i < rounds; i++)
                rc = db_query_resume(reader, &why);
            const size_t told = out.len;
            db_query_end(reader);
            assert_int_equal(out.len, told);
            free(p.bytes);
            expect_as_new();
        }
    }
}

static void test_a_paused_statement_sees_its_snapshot(void **state)
{
    const char *const sql[] = {"SELECT x FROM t WHERE x>=298"};
    struct payload p = payload_make('q', sql, 1);
    struct pausing pausing = {1, 0};
    struct db_query q = query_of(&p, 'q', &pausing);

    (void)state;
    on_reset(&out.sink);
    assert_int_equal(db_query_begin(reader, &q, &why), DB_MORE);
    apply(&node, 'e', "DELETE FROM t WHERE x>298");
    apply(&node, 'e', "DROP TABLE t");
    assert_int_equal(db_query_resume(reader, &why), DB_MORE);
    assert_int_equal(db_query_resume(reader, &why), DB_MORE);
    assert_int_equal(db_query_resume(reader, &why), 0);
    assert_string_equal(out.text, "columns x:INTEGER\nrow 298\nrow 299\nrow 300\nend\n");
    assert_string_equal(query(reader, &out, 'q', "SELECT x FROM t"),
                        "error query no such table: t\n");
    free(p.bytes);
}

static void test_two_paused_queries_keep_their_own_chance(void **state)
{
    const char *const sql[] = {"SELECT random() FROM t LIMIT 20"};
    struct payload p = payload_make('q', sql, 1);
    struct pausing pausing = {1, 0}, other_pausing = {1, 0};
    struct db_query q = query_of(&p, 'q', &pausing);
    struct db_reader *other;
    struct record other_out;

    (void)state;
    record_init(&other_out);
    on_reset(&out.sink);
    assert_int_equal(db_query_begin(reader, &q, &why), DB_MORE);
    while (db_query_resume(reader, &why) == DB_MORE)
        ;
    char *alone = strdup(out.text);
    assert_int_equal(db_reader_open(node.db, &other, &why), 0);
    struct db_query q2 = q;
    q2.sink = &other_out.sink;
    q2.pause_ctx = &other_pausing;
    on_reset(&out.sink);
    reader->queries--;
    assert_int_equal(db_query_begin(reader, &q, &why), DB_MORE);
    assert_int_equal(db_query_begin(other, &q2, &why), DB_MORE);
    while (db_query_resume(reader, &why) == DB_MORE)
        assert_int_equal(db_query_resume(other, &why), DB_MORE);
    assert_string_equal(out.text, alone);
    db_reader_close(other); /* in the middle */
    record_fini(&other_out);
    free(alone);
    free(p.bytes);
}

static void test_a_pause_does_not_count_as_run_time(void **state)
{
    const char *const sql[] = {"SELECT x FROM t LIMIT 4", "SELECT 2 AS two"};
    struct payload p = payload_make('q', sql, 2);
    struct pausing pausing = {1, 0};
    struct db_query q = query_of(&p, 'q', &pausing);

    (void)state;
    on_reset(&out.sink);
    q.deadline_ns = env_now_ns(node.env) + 10 * ENV_MS_NS;
    assert_int_equal(db_query_begin(reader, &q, &why), DB_MORE);
    for (int i = 0; i < 3; i++) {
        assert_true(env_sim_advance(node.env, 1000 * ENV_MS_NS));
        assert_int_equal(db_query_resume(reader, &why), DB_MORE);
    }
    assert_int_equal(db_query_resume(reader, &why), DB_MORE); /* the second begins in time */
    assert_int_equal(db_query_resume(reader, &why), 0);
    assert_non_null(strstr(out.text, "row 4\nend\ncolumns two:\nrow 2\nend\n"));
    free(p.bytes);
}

static void test_run_time_before_the_pause_counts(void **state)
{
    const char *const sql[] = {"SELECT x FROM t", "SELECT 2"};
    struct payload p = payload_make('q', sql, 2);
    struct pausing pausing = {5, 0};
    struct db_query q = query_of(&p, 'q', &pausing);

    (void)state;
    on_reset(&out.sink);
    out.tick = node.env; /* each row takes a millisecond */
    q.deadline_ns = env_now_ns(node.env) + 12 * ENV_MS_NS;
    int rc = db_query_begin(reader, &q, &why);
    while (rc == DB_MORE) {
        assert_true(env_sim_advance(node.env, 1000 * ENV_MS_NS));
        rc = db_query_resume(reader, &why);
    }
    assert_int_equal(rc, 0);
    /* SQLite looks at the clock once per some hundred steps: the statement may pass it, the next begins late. */
    assert_non_null(strstr(out.text, "error query query timeout\n"));
    assert_null(strstr(out.text, "row 2\nend"));
    free(p.bytes);
    out.tick = NULL;
    expect_as_new();
}

static void test_canceled_while_it_runs_it_ends(void **state)
{
    const char *const sql[] = {
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n) SELECT count(*) FROM n"};
    struct payload p = payload_make('q', sql, 1);
    struct db_query q = query_of(&p, 'q', NULL);
    const atomic_bool canceled = true;

    (void)state;
    on_reset(&out.sink);
    q.canceled = &canceled;
    assert_int_equal(db_query_begin(reader, &q, &why), 0);
    assert_string_equal(out.text, "error query query timeout\n");
    free(p.bytes);
    expect_as_new();
}

static void test_short_memory_never_gives_a_wrong_result(void **state)
{
    const char *const sql[] = {"SELECT x, y FROM t WHERE x>250", "SELECT 1 AS one"};
    struct pausing never = {UINT32_MAX, 0};
    struct payload p = payload_make('Q', sql, 2);

    (void)state;
    run('Q', sql, 2, &never);
    char *whole = strdup(out.text);
    for (unsigned long n = 1;; n++) {
        struct pausing pausing = {3, 0};
        struct db_query q = query_of(&p, 'Q', &pausing);
        on_reset(&out.sink);
        mem_fault_arm(n);
        int rc = db_query_begin(reader, &q, &why);
        while (rc == DB_MORE)
            rc = db_query_resume(reader, &why);
        const int fired = mem_fault_fired();
        mem_fault_arm(0);
        if (rc == 0)
            assert_string_equal(out.text, whole);
        else
            assert_int_equal(rc, ERR_NOMEM);
        if (!fired)
            break;
        assert_string_equal(query(reader, &out, 'q', "SELECT 1 AS one"),
                            "columns one:\nrow 1\nend\n");
    }
    free(whole);
    free(p.bytes);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(test_the_result_is_the_same_wherever_it_pauses),
        CASE(test_there_is_a_pause_behind_every_row_and_between_texts),
        CASE(test_rows_that_nobody_looks_at_are_no_pause),
        CASE(test_given_up_anywhere_the_connection_is_as_new),
        CASE(test_a_paused_statement_sees_its_snapshot),
        CASE(test_two_paused_queries_keep_their_own_chance),
        CASE(test_a_pause_does_not_count_as_run_time),
        CASE(test_run_time_before_the_pause_counts),
        CASE(test_canceled_while_it_runs_it_ends),
        CASE(test_short_memory_never_gives_a_wrong_result),
    };
    library_once();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
