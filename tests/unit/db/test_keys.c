/* test_keys.c — a request with an idempotency key is applied once: its retry gets the first outcome, in any
 * batch, after a restart, on every node; and what is remembered for how long follows from the log alone. */
#include "db_fixture.h"
#include "db_int.h"

enum { HOUR_S = 3600 };

static struct node_db node;

static int open_node(void **state)
{
    struct db_config c = config_default();

    (void)state;
    library_once();
    node_db_init(&node, 1, &c);
    apply(&node, 'e', "CREATE TABLE t(id INTEGER PRIMARY KEY, v TEXT UNIQUE)");
    return 0;
}

static int close_node(void **state)
{
    (void)state;
    node_db_fini(&node);
    return 0;
}

static struct payload keyed(const char *key, int64_t wall_s, char kind, const char *const *sql,
                            size_t count)
{
    struct payload p = payload_make_keyed(kind, slice_str(key), sql, count);
    wire_cmd_seal(p.bytes, p.len, wall_s * 1000000000, (uint64_t)wall_s);
    return p;
}

static const char *once_many(const char *key, char kind, const char *const *sql, size_t count)
{
    return apply_payload(&node, keyed(key, 1000, kind, sql, count), 0);
}

static const char *once(const char *key, char kind, const char *sql)
{
    return once_many(key, kind, &sql, 1);
}

static const char *once_at(int64_t wall_s, const char *key, const char *sql)
{
    return apply_payload(&node, keyed(key, wall_s, 'e', &sql, 1), 0);
}

static int64_t count_rows(void)
{
    const char *told = apply(&node, 'r', "SELECT count(*) FROM t");
    return strtoll(strstr(told, "row ") + 4, NULL, 10);
}

static void test_retry_gets_the_first_outcome_and_writes_nothing(void **state)
{
    (void)state;
    assert_string_equal(once("k", 'e', "INSERT INTO t(v) VALUES(?)" US "ta"), "write 1 1\n");
    apply(&node, 'e', "INSERT INTO t(v) VALUES('between')");
    assert_string_equal(once("k", 'e', "INSERT INTO t(v) VALUES(?)" US "ta"),
                        "note replayed 2\nwrite 1 1\n");
    assert_string_equal(once("k", 'e', "INSERT INTO t(v) VALUES(?)" US "ta"),
                        "note replayed 2\nwrite 1 1\n");
    assert_int_equal(count_rows(), 2);
}

static void test_errors_and_rows_are_outcomes_too(void **state)
{
    (void)state;
    const char *first =
        "write 1 1\ncolumns id:INTEGER,v:TEXT,x:\nrow 2|b|1.5r\nrow 3|\xc3\xbc|1.5r\nend\n"
        "error UNIQUE constraint failed: t.v\nblank\ncolumns r:\nrow null\nend\n";
    char again[400];
    const char *const sql[] = {"INSERT INTO t(v) VALUES('a')",
                               "INSERT INTO t(v) VALUES('b'),('\xc3\xbc') RETURNING *, 1.5 AS x",
                               "INSERT INTO t(v) VALUES('a')", "-- nothing", "SELECT NULL AS r"};

    assert_string_equal(once_many("k", 'r', sql, 5), first);
    snprintf(again, sizeof(again), "note replayed 2\n%s", first);
    assert_string_equal(once_many("k", 'r', sql, 5), again);
    assert_string_equal(once("q", 'r', "SELECT * FROM nowhere"), "error no such table: nowhere\n");
    assert_string_equal(once("q", 'r', "SELECT * FROM nowhere"),
                        "note replayed 4\nerror no such table: nowhere\n");
    assert_string_equal(once("b", 'E', "ROLLBACK"),
                        "request error cannot commit - no transaction is active\n");
    assert_string_equal(
        once("b", 'E', "ROLLBACK"),
        "note replayed 6\nrequest error cannot commit - no transaction is active\n");
    assert_string_equal(once("empty", 'e', ""), "");
    assert_string_equal(once("empty", 'e', ""), "note replayed 8\n");
}

static void test_another_request_under_the_key_is_refused(void **state)
{
    static const char refused[] =
        "note key reused 2\nrequest error idempotency key was used for a different request\n";

    (void)state;
    once("k", 'e', "INSERT INTO t(v) VALUES(?)" US "ta");
    assert_string_equal(once("k", 'e', "INSERT INTO t(v) VALUES(?)" US "tb"), refused);
    assert_string_equal(once("k", 'E', "INSERT INTO t(v) VALUES(?)" US "ta"), refused);
    assert_string_equal(once("k", 'r', "INSERT INTO t(v) VALUES(?)" US "ta"), refused);
    assert_string_equal(once("k", 'e', "INSERT INTO t(v) VALUES(?)" US "ba"), refused);
    assert_string_equal(once("K", 'e', "INSERT INTO t(v) VALUES(?)" US "tc"), "write 2 1\n");
    assert_int_equal(count_rows(), 2);
}

/* What one asker saw must not be what all others see. */
static void test_each_asker_gets_the_names_it_wants(void **state)
{
    const char *sql = "SELECT v, 1 AS one FROM t";

    (void)state;
    assert_string_equal(apply_payload(&node, keyed("k", 1, 'r', &sql, 1), DB_QUALIFY_COLUMNS),
                        "columns t.v:TEXT,one:\nend\n");
    assert_string_equal(apply_payload(&node, keyed("k", 2, 'r', &sql, 1), 0),
                        "note replayed 2\ncolumns v:TEXT,one:\nend\n");
    assert_string_equal(apply_payload(&node, keyed("k", 3, 'r', &sql, 1), DB_QUALIFY_COLUMNS),
                        "note replayed 2\ncolumns t.v:TEXT,one:\nend\n");
}

static void test_outcome_too_large_is_told_by_its_index(void **state)
{
    static const char lost[] =
        "note replayed 2\n"
        "request error the request was applied at index 2; its answer was too large to be kept\n";
    const char *sql =
        "INSERT INTO t(v) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n"
        " WHERE i<300) SELECT i||hex(zeroblob(200)) FROM n RETURNING v";

    (void)state;
    assert_true(strlen(once("k", 'e', sql)) > LIMIT_KEY_OUTCOME_BYTES);
    assert_string_equal(once("k", 'e', sql), lost);
    assert_int_equal(count_rows(), 300);
}

/* A client that takes no more rows does not change what is remembered. */
static void test_full_client_leaves_the_record_whole(void **state)
{
    const char *sql = "INSERT INTO t(v) VALUES('a'),('b'),('c') RETURNING v";

    (void)state;
    node.last.rows_max = 1;
    assert_string_equal(once("k", 'e', sql), "columns v:TEXT\nrow a\nend\n");
    node.last.rows_max = 0;
    assert_string_equal(once("k", 'e', sql),
                        "note replayed 2\ncolumns v:TEXT\nrow a\nrow b\nrow c\nend\n");
}

/* ---- batches and replicas ------------------------------------------------------------------------------ */

struct step {
    const char *key, *sql;
};
static const struct step steps[] = {
    {"", "CREATE TABLE t(id INTEGER PRIMARY KEY, v UNIQUE)"},
    {"a", "INSERT INTO t(v) VALUES('a')"},
    {"a", "INSERT INTO t(v) VALUES('a')"},
    {"b", "INSERT INTO t(v) VALUES('b') RETURNING id"},
    {"", "INSERT OR ROLLBACK INTO t(v) VALUES('a')"}, /* the batch is done again */
    {"b", "INSERT INTO t(v) VALUES('b') RETURNING id"},
    {"a", "INSERT INTO t(v) VALUES('x')"},
    {"c", "INSERT OR ROLLBACK INTO t(v) VALUES('a')"},
    {"c", "INSERT OR ROLLBACK INTO t(v) VALUES('a')"},
};
enum { STEPS = sizeof(steps) / sizeof(steps[0]) };

static void run_steps(struct node_db *n, uint32_t at_once, bool sinks, struct record *told)
{
    struct payload p[STEPS];

    for (uint32_t i = 0; i < STEPS; i++)
        p[i] = keyed(steps[i].key, 5000 + i, 'e', &steps[i].sql, 1);
    apply_in_calls(n, p, STEPS, at_once, told, sinks);
}

static void test_batches_redone_and_replicas_agree(void **state)
{
    static const struct {
        uint32_t at_once, cache;
        bool sinks, on_disk;
    } ways[] = {{1, 0, true, false},
                {2, 3, true, true},
                {STEPS, 100, true, false},
                {STEPS, 100, false, true}};
    struct record first[STEPS], told[STEPS];
    struct db_state one, s;

    (void)state;
    for (size_t w = 0; w < sizeof(ways) / sizeof(ways[0]); w++) {
        struct db_config c = config_default();
        struct node_db n;
        c.statement_cache = ways[w].cache;
        c.on_disk = ways[w].on_disk;
        node_db_init(&n, 10 + w, &c);
        run_steps(&n, ways[w].at_once, ways[w].sinks, w ? told : first);
        db_state(n.db, w ? &s : &one);
        if (ways[w].at_once == STEPS)
            assert_int_equal(s.batches_redone, 1);
        for (uint32_t i = 0; w && i < STEPS; i++) {
            if (ways[w].sinks)
                assert_string_equal(told[i].text, first[i].text);
            record_fini(&told[i]);
        }
        if (w)
            assert_true(s.digest == one.digest);
        node_db_fini(&n);
    }
    assert_string_equal(first[2].text, "note replayed 2\nwrite 1 1\n");
    assert_string_equal(first[5].text, "note replayed 4\ncolumns id:INTEGER\nrow 2\nend\n");
    assert_string_equal(
        first[6].text,
        "note key reused 2\nrequest error idempotency key was used for a different request\n");
    assert_string_equal(first[8].text, "note replayed 8\nerror UNIQUE constraint failed: t.v\n");
    for (uint32_t i = 0; i < STEPS; i++)
        record_fini(&first[i]);
}

/* The log is replayed into empty files: the keys come back with it, and with nothing else. */
static void test_restart_brings_the_keys_back(void **state)
{
    struct db_config c = config_default();
    struct record told[STEPS];
    struct node_db n;
    struct db_state before, after;

    (void)state;
    c.on_disk = true;
    node_db_init(&n, 3, &c);
    for (int round = 0; round < 2; round++) {
        run_steps(&n, STEPS, true, told);
        assert_string_equal(told[2].text, "note replayed 2\nwrite 1 1\n");
        assert_string_equal(told[1].text, "write 1 1\n");
        db_state(n.db, round ? &after : &before);
        for (uint32_t i = 0; i < STEPS; i++)
            record_fini(&told[i]);
        db_close(n.db);
        node_db_open(&n);
    }
    assert_true(before.digest == after.digest);
    node_db_fini(&n);
}

static void test_write_without_a_key_leaves_the_second_file_alone(void **state)
{
    (void)state;
    const struct db_files *f = &node.db->keys.files;
    uint64_t main_bytes = f->stores[DB_SLOT_MAIN].size, wal_bytes = f->stores[DB_SLOT_WAL].size;

    for (int i = 0; i < 50; i++)
        apply(&node, 'e', "INSERT INTO t(v) VALUES(hex(randomblob(100)))");
    assert_int_equal(f->stores[DB_SLOT_MAIN].size, main_bytes);
    assert_int_equal(f->stores[DB_SLOT_WAL].size, wal_bytes);
    once("k", 'e', "INSERT INTO t(v) VALUES('a')");
    assert_true(f->stores[DB_SLOT_WAL].size > wal_bytes);
}

static void test_users_cannot_see_the_keys(void **state)
{
    (void)state;
    once("k", 'e', "INSERT INTO t(v) VALUES('a')");
    assert_string_equal(apply(&node, 'r', "SELECT name FROM sqlite_schema WHERE type='table'"),
                        "columns name:TEXT\nrow t\nend\n");
    assert_string_equal(apply(&node, 'r', "SELECT * FROM seen"), "error no such table: seen\n");
    assert_string_equal(apply(&node, 'e', "ATTACH 'n/db.sqlite-keys' AS k"),
                        "error ATTACH is not supported\n");
}

static void test_second_files_wal_stays_bounded(void **state)
{
    char key[20];

    (void)state;
    for (int i = 0; i < 800; i++) {
        snprintf(key, sizeof(key), "key %d", i);
        once(key, 'e', "SELECT 1");
    }
    assert_true(node.db->keys.files.stores[DB_SLOT_WAL].size < 2 * node.config.wal_limit_bytes);
    assert_true(node.db->keys.files.stores[DB_SLOT_MAIN].size > 10 * 4096);
}

/* ---- forgetting --------------------------------------------------------------------------------------------- */

static const char insert_null[] = "INSERT INTO t(v) VALUES(NULL)";

static bool replayed(const char *told)
{
    return strncmp(told, "note replayed", 13) == 0;
}

static void test_key_is_forgotten_a_day_later(void **state)
{
    (void)state;
    once_at(1000, "a", insert_null);
    assert_true(replayed(once_at(1000 + 24 * HOUR_S, "a", insert_null)));
    assert_false(replayed(once_at(1001 + 24 * HOUR_S, "a", insert_null)));
    assert_true(replayed(once_at(1002 + 24 * HOUR_S, "a", insert_null)));
    assert_int_equal(node.db->keys.now.count, 1);
    assert_int_equal(count_rows(), 2);
}

/* A leader whose clock is behind does not make keys live longer, or again. */
static void test_clock_that_goes_back_does_not_bring_keys_back(void **state)
{
    (void)state;
    once_at(1000, "a", insert_null);
    once_at(1001 + 24 * HOUR_S, "b", insert_null);
    assert_int_equal(node.db->keys.now.count, 1);
    assert_false(replayed(once_at(1000, "a", insert_null)));
    assert_true(replayed(once_at(2000 + 24 * HOUR_S, "a", insert_null)));
    /* recorded at the newest clock, not at its own */
    assert_true(replayed(once_at(1000 + 48 * HOUR_S, "a", insert_null)));
    once_at(INT64_MIN / 1000000000, "c", insert_null);
    assert_true(replayed(once_at(INT64_MAX / 1000000000 - 1, "c", insert_null)) == false);
}

static void test_few_keys_go_for_their_age_at_a_time(void **state)
{
    char key[20];

    (void)state;
    for (int i = 0; i < 30; i++) {
        snprintf(key, sizeof(key), "old %d", i);
        once_at(1000, key, insert_null);
    }
    once_at(1000 + 30 * HOUR_S, "new 1", insert_null);
    assert_int_equal(node.db->keys.now.count, 30 - 8 + 1);
    /* one that is too old, but still in the file, is not known either */
    assert_false(replayed(once_at(1000 + 30 * HOUR_S, "old 29", insert_null)));
    for (int i = 2; i < 5; i++) {
        snprintf(key, sizeof(key), "new %d", i);
        once_at(1000 + 30 * HOUR_S, key, insert_null);
    }
    assert_int_equal(node.db->keys.now.count, 5);
}

static void test_oldest_keys_make_room(void **state)
{
    char key[20];

    (void)state;
    node.db->keys.limit.count = 5;
    for (int i = 0; i < 9; i++) {
        snprintf(key, sizeof(key), "%d", i);
        once_at(1000, key, insert_null);
    }
    assert_int_equal(node.db->keys.now.count, 5);
    assert_true(replayed(once_at(1000, "4", insert_null)));
    assert_false(replayed(once_at(1000, "3", insert_null)));
    assert_false(replayed(once_at(1000, "4", insert_null)));
}

static void test_outcomes_have_room_for_so_many_bytes(void **state)
{
    const char *rows = "SELECT hex(zeroblob(400))";

    (void)state;
    node.db->keys.limit.bytes = 2500;
    for (int i = 0; i < 20; i++) {
        char key[20];
        snprintf(key, sizeof(key), "%d", i);
        once(key, 'r', i % 2 ? rows : "SELECT 1");
        assert_true(node.db->keys.now.bytes <= 2500);
    }
    assert_true(replayed(once("19", 'r', rows)));
    assert_true(replayed(once("16", 'r', "SELECT 1")));
    assert_false(replayed(once("13", 'r', rows)));
}

static void test_kept_figures_are_the_files(void **state)
{
    sqlite3_stmt *s;
    char key[20];

    (void)state;
    node.db->keys.limit.count = 7;
    for (int i = 0; i < 25; i++) {
        snprintf(key, sizeof(key), "%d", i % 11);
        once_at(1000 + i * 4 * HOUR_S - i % 3 * HOUR_S, key,
                "INSERT INTO t(v) VALUES('a') RETURNING *");
    }
    struct db_keys *k = &node.db->keys;
    assert_int_equal(
        sqlite3_prepare_v2(k->conn,
                           "SELECT count(*), sum(length(outcome)), max(wall),"
                           " (SELECT wall FROM seen ORDER BY at DESC LIMIT 1) FROM seen",
                           -1, &s, NULL),
        0);
    assert_int_equal(sqlite3_step(s), SQLITE_ROW);
    assert_int_equal(sqlite3_column_int64(s, 0), k->now.count);
    assert_int_equal(sqlite3_column_int64(s, 1), k->now.bytes);
    assert_int_equal(sqlite3_column_int64(s, 2), k->now.wall_ns);
    assert_int_equal(sqlite3_column_int64(s, 3), k->now.wall_ns);
    sqlite3_finalize(s);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, open_node, close_node)
    const struct CMUnitTest tests[] = {
        TEST(test_retry_gets_the_first_outcome_and_writes_nothing),
        TEST(test_errors_and_rows_are_outcomes_too),
        TEST(test_another_request_under_the_key_is_refused),
        TEST(test_each_asker_gets_the_names_it_wants),
        TEST(test_outcome_too_large_is_told_by_its_index),
        TEST(test_full_client_leaves_the_record_whole),
        TEST(test_batches_redone_and_replicas_agree),
        TEST(test_restart_brings_the_keys_back),
        TEST(test_write_without_a_key_leaves_the_second_file_alone),
        TEST(test_users_cannot_see_the_keys),
        TEST(test_second_files_wal_stays_bounded),
        TEST(test_key_is_forgotten_a_day_later),
        TEST(test_clock_that_goes_back_does_not_bring_keys_back),
        TEST(test_few_keys_go_for_their_age_at_a_time),
        TEST(test_oldest_keys_make_room),
        TEST(test_outcomes_have_room_for_so_many_bytes),
        TEST(test_kept_figures_are_the_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
