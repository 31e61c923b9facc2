/* test_machine.c — the machine fails while entries are applied: at every disk operation, at every allocation.
 * db_apply returns the machine's error, or what it answers is what it should be; never an error as a result.
 * Replayed by a healthy machine the log gives what it should. */
#include "db_replicas.h"

static const struct {
    char kind;
    const char *sql[4];
} requests[] = {
    {'e', {"CREATE TABLE t(k INTEGER PRIMARY KEY, v UNIQUE, w DEFAULT (random()))"}},
    {'e', {"INSERT INTO t(v) VALUES(?)" US "tone", "INSERT INTO t(v) VALUES(randomblob(5000))"}},
    {'e', {"CREATE INDEX i ON t(w)", "INSERT INTO t(v) VALUES('one')"}},
    {'E', {"INSERT INTO t(v) VALUES('two')", "UPDATE t SET w=hex(w) RETURNING k, w"}},
    {'E', {"INSERT INTO t(v) VALUES('three')", "INSERT INTO t(v) VALUES('one')"}},
    {'r',
     {"SELECT k, upper(v), w, datetime('now') FROM t ORDER BY random()",
      "DELETE FROM t WHERE k=2"}},
    {'e', {"INSERT OR ROLLBACK INTO t(v) VALUES('one')"}},
    {'e',
     {"INSERT INTO t(v) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<40)"
      " SELECT i||hex(randomblob(300)) FROM n"}},
    {'e', {"CREATE VIRTUAL TABLE ft USING fts5(body)"}},
    {'e', {"INSERT INTO ft VALUES('a b c'),('b c d')", "ANALYZE"}},
    {'r', {"SELECT * FROM ft WHERE ft MATCH 'b'", "PRAGMA user_version=4"}},
    {'e', {"DROP TABLE ft"}},
    {'e', {"VACUUM", "ALTER TABLE t ADD COLUMN x DEFAULT 1"}},
    {'q', {"SELECT count(*), changes() FROM t"}},
};

/* The second file fails too. */
static const struct {
    const char *key;
    char kind;
    const char *sql[3];
} keyed[] = {
    {"a", 'e', {"INSERT INTO t(v) VALUES('keyed') RETURNING *"}},
    {"a", 'e', {"INSERT INTO t(v) VALUES('keyed') RETURNING *"}},
    {"b", 'e', {"INSERT OR ROLLBACK INTO t(v) VALUES('keyed')"}}, /* the batch is done again */
    {"c", 'E', {"INSERT INTO t(v) VALUES('lost')", "INSERT INTO t(v) VALUES('one')"}},
    {"d", 'r', {"SELECT v FROM t WHERE length(v)>200 LIMIT 20"}},
    {"d", 'r', {"SELECT v FROM t WHERE length(v)>200 LIMIT 20"}},
    {"a", 'e', {"INSERT INTO t(v) VALUES('another')"}},
};

static struct replica_log l;
static struct db_config config;
static struct shelf image;
static struct db_replacer replacer;

/* Another main file, twice: by a load, and (on disk) by VACUUM. */
static void add_replacements(void)
{
    struct payload f = file_make(4096, "CREATE TABLE t(k INTEGER PRIMARY KEY, v);"
                                       "INSERT INTO t(v) VALUES(hex(zeroblob(6000)))");
    const char *const vacuum = "VACUUM", *const insert = "INSERT INTO t(v) VALUES(7)";
    struct wire_load next = {.id = 5};

    while (next.at < f.len) {
        size_t left = f.len - next.at;
        next.bytes = slice_of(f.bytes + next.at, left < 9000 ? left : 9000);
        next.digest = crc32c(next.digest, next.bytes.data, next.bytes.len);
        log_add_load(&l, WIRE_CMD_LOAD_PIECE, &next);
        next.at += next.bytes.len;
        log_add(&l, 'e', &insert, 1);
    }
    log_add_load(&l, WIRE_CMD_LOAD_INSTALL, &next);
    log_add(&l, 'e', &insert, 1);
    log_add(&l, 'e', &vacuum, 1);
    log_add(&l, 'e', &insert, 1);
    free(f.bytes);
}

static int load(void **state)
{
    (void)state;
    library_once();
    config = config_default();
    config.wal_limit_bytes = 32 * 1024;
    config.cache_pages = 10;
    config.row_digest = true;
    for (size_t i = 0; i < sizeof(requests) / sizeof(requests[0]); i++) {
        size_t n = 0;
        while (n < 4 && requests[i].sql[n])
            n++;
        log_add(&l, requests[i].kind, requests[i].sql, n);
    }
    for (size_t i = 0; i < sizeof(keyed) / sizeof(keyed[0]); i++)
        log_add_keyed(&l, keyed[i].kind, keyed[i].key, keyed[i].sql, keyed[i].sql[1] ? 2 : 1);
    add_replacements();
    reference_run(&l, &config);
    config.replacer = &replacer;
    return 0;
}

static int unload(void **state)
{
    (void)state;
    shelf_fini(&image);
    log_fini(&l);
    return 0;
}

/* The whole log, in two calls. True: it went through; then all is as it should be. */
static bool went_through(struct node_db *n)
{
    struct db_entry entries[LOG_MAX > 64 ? 64 : LOG_MAX];
    struct record told[64];
    struct err_text why;
    int rc = 0;

    for (uint32_t i = 0; i < l.count; i++) {
        record_init(&told[i]);
        entries[i] = entry_at(&l, i, &told[i]);
    }
    uint32_t first = 5;
    shelf_fini(&image);
    shelf_serve(&image, &replacer, n->env);
    rc = db_apply(n->db, entries, first, &why);
    if (rc == 0)
        rc = shelf_apply(&image, n->db, entries + first, l.count - first, &why);
    struct db_state s;
    db_state(n->db, &s);
    if (s.applied_index) /* where it stopped, it is right */
        assert_true(s.digest == l.state[s.applied_index - 1].digest);
    if (rc == 0)
        for (uint32_t i = 0; i < l.count; i++)
            assert_string_equal(told[i].text, l.answer[i]);
    for (uint32_t i = 0; i < l.count; i++)
        record_fini(&told[i]);
    assert_true(rc == 0 || rc == ERR_IO || rc == ERR_NOSPC || rc == ERR_NOMEM);
    return rc == 0;
}

static void replay(struct node_db *n)
{
    uint64_t content;

    if (n->db)
        db_close(n->db);
    node_db_open(n);
    assert_true(went_through(n));
    assert_int_equal(db_content_hash(n->db, &content), 0);
    assert_true(content == l.content[l.count - 1]);
}

static void fail_disk(enum sim_disk_once kind, uint64_t stride)
{
    unsigned stopped = 0;
    bool through = false;

    for (uint64_t k = 0; !through; k += stride) {
        struct sim_disk_stat before, after;
        struct node_db n;
        config.on_disk = true;
        node_db_init(&n, 7, &config);
        sim_disk_stat(n.disk, &before);
        sim_disk_fail_once(n.disk, kind, k);
        bool ok = went_through(&n);
        sim_disk_stat(n.disk, &after);
        enum sim_disk_event e = kind == SIM_ONCE_READ_EIO    ? SIM_DISK_EIO_READ
                                : kind == SIM_ONCE_WRITE_EIO ? SIM_DISK_EIO_WRITE
                                                             : SIM_DISK_NOSPC;
        bool fired = after.count[e] != before.count[e];
        assert_true(ok == !fired); /* an error of the disk is never swallowed */
        through = !fired;
        stopped += !ok;
        if (fired)
            replay(&n);
        node_db_fini(&n);
    }
    assert_true(stopped > 10);
}

static void test_every_failed_write_stops_the_apply(void **state)
{
    (void)state;
    fail_disk(SIM_ONCE_WRITE_EIO, 1);
}

static void test_every_full_disk_stops_the_apply(void **state)
{
    (void)state;
    fail_disk(SIM_ONCE_NOSPC, 5);
}

static void test_every_failed_read_stops_the_apply(void **state)
{
    (void)state;
    fail_disk(SIM_ONCE_READ_EIO, 1);
}

static void test_every_failed_allocation_stops_the_apply_or_does_no_harm(void **state)
{
    bool through = false;
    unsigned stopped = 0;

    (void)state;
    config.on_disk = false;
    for (unsigned long k = 1; !through; k += k < 300 ? 1 : 17) {
        struct node_db n;
        node_db_init(&n, 7, &config);
        mem_fault_arm(k);
        bool ok = went_through(&n);
        through = !mem_fault_fired();
        mem_fault_arm(0);
        stopped += !ok;
        replay(&n);
        node_db_fini(&n);
    }
    assert_true(stopped > 100);
}

static void test_failed_open_leaves_nothing(void **state)
{
    (void)state;
    for (int disk = 0; disk < 2; disk++) {
        bool opened = false;
        config.on_disk = disk;
        struct node_db n;
        node_db_init(&n, 7, &config);
        for (unsigned long k = 1; !opened; k++) {
            struct err_text why;
            db_close(n.db);
            n.db = NULL;
            mem_fault_arm(k);
            int rc = db_open(n.env, &n.config, NULL, &n.db, &why);
            opened = !mem_fault_fired();
            mem_fault_arm(0);
            assert_true(rc == 0 || rc == ERR_NOMEM);
            assert_true(rc == 0 || !opened);
            if (rc)
                node_db_open(&n);
        }
        node_db_fini(&n);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_failed_write_stops_the_apply),
        cmocka_unit_test(test_every_full_disk_stops_the_apply),
        cmocka_unit_test(test_every_failed_read_stops_the_apply),
        cmocka_unit_test(test_every_failed_allocation_stops_the_apply_or_does_no_harm),
        cmocka_unit_test(test_failed_open_leaves_nothing),
    };
    return cmocka_run_group_tests(tests, load, unload);
}
