#include "db_fixture.h"

static int64_t pragma(struct node_db *n, const char *name)
{
    char sql[64];
    struct db_reader *r;
    struct record out;
    struct err_text why;
    snprintf(sql, sizeof(sql), "PRAGMA %s", name);
    record_init(&out);
    assert_int_equal(db_reader_open(n->db, &r, &why), 0);
    const char *row = strstr(query(r, &out, 'q', sql), "row ");
    assert_non_null(row);
    const int64_t v = strtoll(row + 4, NULL, 10);
    db_reader_close(r);
    record_fini(&out);
    return v;
}

/* Expected: http-api.md §15.1, the row of store.sqlite3.pragmas. */
static void test_facts_are_those_of_the_api_document(void **state)
{
    struct node_db n;
    struct db_config c = config_default();
    struct db_facts f;
    (void)state;
    node_db_init(&n, 1, &c);
    db_facts(n.db, &f);
    assert_string_equal(f.ro.busy_timeout, "5000");
    assert_string_equal(f.ro.foreign_keys, "0");
    assert_string_equal(f.ro.journal_mode, "wal");
    assert_string_equal(f.ro.synchronous, "0");
    assert_string_equal(f.ro.wal_autocheckpoint, "1000");
    assert_string_equal(f.rw.busy_timeout, "5000");
    assert_string_equal(f.rw.foreign_keys, "0");
    assert_string_equal(f.rw.journal_mode, "wal");
    assert_string_equal(f.rw.synchronous, "0");
    assert_string_equal(f.rw.wal_autocheckpoint, "0");
    assert_int_equal(f.page_size, 4096);
    assert_int_equal(f.cache_size, 2000);
    assert_true(f.max_page_count > 1000000);
    assert_string_equal(apply(&n, 'e', "CREATE TABLE t(x)"),
                        "write 0 0\n"); /* they leave no trace */
    node_db_fini(&n);
}

static void pages_are_what_sqlite_says(struct node_db *n)
{
    struct db_state s;
    db_state(n->db, &s);
    assert_int_equal(s.page_count, pragma(n, "page_count"));
    assert_int_equal(s.freelist_count, pragma(n, "freelist_count"));
}

static void test_page_counts_follow_every_commit(void **state)
{
    struct node_db n;
    struct db_config c = config_default();
    struct db_state s;
    (void)state;
    c.wal_limit_bytes = 40 * 4096; /* also across checkpoints */
    node_db_init(&n, 2, &c);
    pages_are_what_sqlite_says(&n);
    apply(&n, 'e', "CREATE TABLE t(x)");
    pages_are_what_sqlite_says(&n);
    for (int i = 0; i < 30; i++) {
        apply(&n, 'e', "INSERT INTO t VALUES(zeroblob(20000))");
        pages_are_what_sqlite_says(&n);
    }
    apply(&n, 'e', "DELETE FROM t WHERE rowid % 2");
    pages_are_what_sqlite_says(&n);
    db_state(n.db, &s);
    assert_true(s.freelist_count > 50 && s.counters.checkpoints > 0);
    apply(&n, 'E', "INSERT INTO t SELECT x FROM t"); /* and what is rolled back leaves none */
    apply(&n, 'E', "INSERT INTO t SELECT abs(-9223372036854775808)");
    pages_are_what_sqlite_says(&n);
    apply(&n, 'e', "VACUUM");
    pages_are_what_sqlite_says(&n);
    db_state(n.db, &s);
    assert_int_equal(s.freelist_count, 0);
    node_db_fini(&n);
}

static void test_counters_count_statements_by_kind(void **state)
{
    const char *two[] = {"INSERT INTO t VALUES(1)", "INSERT INTO nowhere VALUES(1)"};
    struct node_db n;
    struct db_config c = config_default();
    struct db_state s;
    (void)state;
    node_db_init(&n, 3, &c);
    apply(&n, 'e', "CREATE TABLE t(x)");
    apply_many(&n, 'e', two, 2);
    apply_many(&n, 'R', two, 2);
    apply(&n, 'q', "SELECT * FROM nowhere");
    db_state(n.db, &s);
    assert_int_equal(s.counters.executions.statements, 3);
    assert_int_equal(s.counters.executions.errors, 1);
    assert_int_equal(s.counters.executions.transactions, 0);
    assert_int_equal(s.counters.requests.statements, 2);
    assert_int_equal(s.counters.requests.errors, 1);
    assert_int_equal(s.counters.requests.transactions, 1);
    assert_int_equal(s.counters.strong_queries.statements, 1);
    assert_int_equal(s.counters.strong_queries.errors, 1);
    assert_int_equal(s.entry_wall_ns, INT64_C(1700000000123456789) + 4 * INT64_C(1000000000));
    assert_false(s.foreign_keys);
    apply(&n, 'e', "PRAGMA foreign_keys=ON");
    db_state(n.db, &s);
    assert_true(s.foreign_keys);
    node_db_fini(&n);
}

static void test_a_batch_done_again_counts_once(void **state)
{
    const char *sql[] = {"INSERT INTO t VALUES(1)", "INSERT OR ROLLBACK INTO t VALUES(1)"};
    struct payload p[2];
    struct db_entry e[2];
    struct node_db n;
    struct db_config c = config_default();
    struct db_state s;
    struct err_text why;
    (void)state;
    node_db_init(&n, 4, &c);
    apply(&n, 'e', "CREATE TABLE t(x UNIQUE)");
    memset(e, 0, sizeof(e));
    for (int i = 0; i < 2; i++) {
        p[i] = payload_make('e', &sql[i], 1);
        wire_cmd_seal(p[i].bytes, p[i].len, 1, 1);
        e[i].index = n.next + (uint64_t)i;
        e[i].term = 1;
        e[i].kind = RAFT_ENTRY_NORMAL;
        e[i].payload = slice_of(p[i].bytes, p[i].len);
    }
    assert_int_equal(db_apply(n.db, e, 2, &why), 0);
    db_state(n.db, &s);
    assert_int_equal(s.batches_redone, 1);
    assert_int_equal(s.counters.executions.statements, 3);
    assert_int_equal(s.counters.executions.errors, 1);
    free(p[0].bytes);
    free(p[1].bytes);
    node_db_fini(&n);
}

static void test_reader_counts_its_own(void **state)
{
    struct node_db n;
    struct db_config c = config_default();
    struct db_query_counts counts;
    struct db_reader *r;
    struct record out;
    struct err_text why;
    (void)state;
    node_db_init(&n, 5, &c);
    record_init(&out);
    assert_int_equal(db_reader_open(n.db, &r, &why), 0);
    query(r, &out, 'q', "SELECT 1");
    query(r, &out, 'Q', "SELECT * FROM nowhere");
    db_reader_counts(r, &counts);
    assert_int_equal(counts.statements, 2);
    assert_int_equal(counts.errors, 1);
    assert_int_equal(counts.transactions, 1);
    db_reader_close(r);
    record_fini(&out);
    node_db_fini(&n);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_facts_are_those_of_the_api_document),
        cmocka_unit_test(test_page_counts_follow_every_commit),
        cmocka_unit_test(test_counters_count_statements_by_kind),
        cmocka_unit_test(test_a_batch_done_again_counts_once),
        cmocka_unit_test(test_reader_counts_its_own),
    };
    library_once();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
