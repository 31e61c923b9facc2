/* test_upkeep.c — the leader's own VACUUM and ANALYZE: what every node knows of them afterwards. */
#include "db_replicas.h"

static struct db_state state_of(struct node_db *n)
{
    struct db_state s;
    db_state(n->db, &s);
    return s;
}

static const char *upkeep(struct node_db *n, const char *sql)
{
    return apply_many(n, 'u', &sql, 1);
}

static void rows_make(struct node_db *n)
{
    (void)apply(n, 'e', "CREATE TABLE t(id INTEGER PRIMARY KEY, v)");
    (void)apply(n, 'e', "CREATE INDEX i ON t(v)");
    (void)apply(n, 'e',
                "INSERT INTO t(v) WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i+1 FROM n "
                "WHERE i<4999) SELECT CASE WHEN i<2500 THEN 0 ELSE i END FROM n");
}

static void test_the_last_time_is_known_and_nothing_counts_as_changed(void **state)
{
    struct db_config c = config_default();
    struct node_db n;

    (void)state;
    library_once();
    node_db_init(&n, 5, &c);
    assert_int_equal(state_of(&n).upkeep.first_wall_ns, 0);
    rows_make(&n);
    struct db_state before = state_of(&n);
    assert_true(before.upkeep.first_wall_ns > 0);
    assert_int_equal(before.upkeep.vacuum.index, 0);
    (void)upkeep(&n, DB_UPKEEP_VACUUM);
    (void)upkeep(&n, DB_UPKEEP_OPTIMIZE);
    struct db_state after = state_of(&n);
    assert_int_equal(after.upkeep.first_wall_ns, before.upkeep.first_wall_ns);
    assert_int_equal(after.upkeep.vacuum.index, before.applied_index + 1);
    assert_int_equal(after.upkeep.optimize.index, before.applied_index + 2);
    assert_int_equal(after.upkeep.optimize.wall_ns, after.entry_wall_ns);
    assert_int_equal(after.changed_index, before.changed_index);
    assert_int_equal(after.counters.vacuums.done, 1);
    assert_int_equal(after.counters.optimizes.done, 1);
    assert_int_equal(after.counters.optimizes.failed, 0);
    node_db_fini(&n);
}

static void test_a_snapshot_knows_the_last_time(void **state)
{
    static struct shelf shelf;
    struct db_config c = config_default();
    struct db_cut *cut;
    struct err_text why;
    struct node_db n;

    (void)state;
    node_db_init(&n, 5, &c);
    rows_make(&n);
    (void)upkeep(&n, DB_UPKEEP_VACUUM);
    (void)upkeep(&n, DB_UPKEEP_OPTIMIZE);
    struct db_upkeep before = state_of(&n).upkeep;
    assert_int_equal(db_cut_begin(n.db, &cut, &why), 0);
    shelf_cut_take(&shelf, cut);
    db_close(n.db);
    node_db_open_from(&n, &shelf);
    struct db_upkeep after = state_of(&n).upkeep;
    assert_int_equal(after.first_wall_ns, before.first_wall_ns);
    assert_int_equal(after.vacuum.wall_ns, before.vacuum.wall_ns);
    assert_int_equal(after.vacuum.index, before.vacuum.index);
    assert_int_equal(after.optimize.wall_ns, before.optimize.wall_ns);
    assert_int_equal(after.optimize.index, before.optimize.index);
    node_db_fini(&n);
    shelf_fini(&shelf);
}

/* Half of 5,000 rows have one value: who reads a thousand rows sees only that. */
static void test_only_our_own_analyze_is_bounded(void **state)
{
    static const char sql[] = "SELECT stat FROM sqlite_stat1 WHERE idx='i'";
    struct db_config c = config_default();
    struct node_db n;

    (void)state;
    node_db_init(&n, 5, &c);
    rows_make(&n);
    (void)apply(&n, 'e', "ANALYZE");
    assert_string_equal(apply(&n, 'r', sql), "columns stat:\nrow 5000 2\nend\n");
    (void)upkeep(&n, DB_UPKEEP_OPTIMIZE);
    char bounded[200];
    (void)snprintf(bounded, sizeof(bounded), "%s", apply(&n, 'r', sql));
    assert_null(strstr(bounded, "5000 2"));
    assert_non_null(strstr(bounded, "row "));
    (void)apply(&n, 'e', "ANALYZE");
    assert_string_equal(apply(&n, 'r', sql), "columns stat:\nrow 5000 2\nend\n");
    node_db_fini(&n);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_last_time_is_known_and_nothing_counts_as_changed),
        cmocka_unit_test(test_a_snapshot_knows_the_last_time),
        cmocka_unit_test(test_only_our_own_analyze_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
