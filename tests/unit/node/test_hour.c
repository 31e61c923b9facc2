/* test_hour.c — an hour of virtual writes on one node: log, WAL and image stay within their limits, also with a
 * reader that never takes what it asked for, one after the other; and what was long once becomes short. */
#include "node_world.h"

enum {
    WRITES = 2 * 3600,
    ROWS = 100,
    WAL_LIMIT_BYTES = 256 * 1024,
    /* A node's folder: database twice (file and journal, or image and journal), its WAL at its limit and as long again
     * while a cut is under way, log segments. */
    SEGMENT_BYTES = 256 * 1024,
    DISK_BYTES_MAX = 4 * 1024 * 1024,
    WAL_BYTES_MAX = 1024 * 1024,
};

static struct {
    uint64_t wal_bytes; /* the longest */
    uint64_t disk_bytes;
    uint32_t readers, readers_ended;
} seen;

/* ---- a reader that takes one part and no more -------------------------------------------------------------- */

static void reader_told(void *ctx, const struct node_answer *a)
{
    (void)ctx;
    seen.readers_ended += !a->more;
}

static void read_now(struct env *e, void *ctx)
{
    struct node_request r = {.f = {.kind = WIRE_QUERY, .timeout_ms = 30000, .in_parts = true}};
    struct buf b;

    (void)e;
    (void)ctx;
    buf_init(&b, 4096);
    wire_cmd_begin(&b, WIRE_CMD_QUERY, 0, slice_of(NULL, 0));
    wire_cmd_statement(&b, slice_str("SELECT b FROM t, (SELECT 1 UNION ALL SELECT 2)"));
    assert_int_equal(wire_cmd_finish(&b), 0);
    r.f.payload = buf_slice(&b);
    assert_int_equal(node_submit(t.a.node, &r, reader_told, NULL, NULL), 0);
    buf_fini(&b);
    seen.readers++;
}

/* ---- the hour ----------------------------------------------------------------------------------------------- */

static void file_seen(void *ctx, const char *path, uint64_t size)
{
    (void)ctx;
    if (strcmp(path, "data/db.sqlite-wal") == 0 && size > seen.wal_bytes)
        seen.wal_bytes = size;
}

static void look(void)
{
    uint64_t used = sim_disk_used_bytes(host_disk(t.a.host));

    sim_disk_list(host_disk(t.a.host), false, file_seen, NULL);
    seen.disk_bytes = used > seen.disk_bytes ? used : seen.disk_bytes;
}

static void hour(bool on_disk)
{
    char sql[200];

    memset(&t, 0, sizeof(t));
    memset(&seen, 0, sizeof(seen));
    t.on_disk = on_disk;
    world_begin();
    server_init(&t.a, "a", true);
    t.a.config.db.wal_limit_bytes = WAL_LIMIT_BYTES;
    t.a.config.segment_bytes = SEGMENT_BYTES;
    t.a.config.snapshot_entries = 500;
    t.a.config.snapshot_trailing = 100;
    t.a.config.snapshot_wal_bytes = WAL_LIMIT_BYTES;
    t.a.config.snapshot_interval_ms = 1000;
    host_start(t.a.host, boot, &t.a);
    run_ms(3000);
    execute("CREATE TABLE t(id INTEGER PRIMARY KEY, b BLOB)");
    for (uint32_t i = 0; i < WRITES; i++) {
        (void)snprintf(sql, sizeof(sql), "INSERT OR REPLACE INTO t VALUES(%u, randomblob(3000))",
                       i % ROWS);
        execute(sql);
        run_ms(490);
        look();
        if (i % 60 == 30)
            assert_true(host_call(t.a.host, read_now, NULL));
    }
    print_message("%s: WAL at most %llu KB, disk at most %llu KB, %u readers\n",
                  on_disk ? "on disk" : "in memory", (unsigned long long)seen.wal_bytes / 1024,
                  (unsigned long long)seen.disk_bytes / 1024, seen.readers);
    assert_in_range(seen.readers, 100, 1000);
    assert_true(seen.readers_ended + 4 >= seen.readers); /* each is told in the end */
    assert_in_range(seen.disk_bytes, 1, DISK_BYTES_MAX);
    if (on_disk)
        assert_in_range(seen.wal_bytes, 1, WAL_BYTES_MAX);
    assert_in_range(t.a.node->counters.snapshots, 10, 10000);
    world_destroy(t.world);
}

static void test_an_hour_of_writes_in_memory_stays_within_limits(void **state)
{
    (void)state;
    hour(false);
}

static void test_an_hour_of_writes_on_disk_stays_within_limits(void **state)
{
    (void)state;
    hour(true);
}

/* ---- a long WAL ----------------------------------------------------------------------------------------------- */

enum { LONG_ROWS = 5000, LONG_BYTES = LONG_ROWS * 4096 }; /* more than is cut off at once */

static void wal_seen(void *ctx, const char *path, uint64_t size)
{
    if (strcmp(path, "data/db.sqlite-wal") == 0)
        *(uint64_t *)ctx = size;
}

static uint64_t wal_bytes(void)
{
    uint64_t bytes = 0;

    sim_disk_list(host_disk(t.a.host), false, wal_seen, &bytes);
    return bytes;
}

static void filled(void)
{
    memset(&t, 0, sizeof(t));
    t.on_disk = true;
    world_begin();
    server_init(&t.a, "a", true);
    t.a.config.db.wal_limit_bytes = WAL_LIMIT_BYTES;
    host_start(t.a.host, boot, &t.a);
    run_ms(3000);
    execute("CREATE TABLE t(id INTEGER PRIMARY KEY, b BLOB)");
    for (int i = 0; i < 10; i++)
        execute("INSERT INTO t(b) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n "
                "WHERE i<500) SELECT randomblob(4000) FROM n");
    assert_true(wal_bytes() > LONG_BYTES);
}

static void test_a_long_wal_goes_though_nothing_more_is_written(void **state)
{
    (void)state;
    filled();
    assert_true(host_call(t.a.host, cut_now, NULL));
    run_ms(10000);
    assert_true(t.cut);
    assert_in_range(wal_bytes(), 0, 2 * WAL_LIMIT_BYTES);
    world_destroy(t.world);
}

/* First the cut: WAL, journal, main file; then main file, what is kept of the journal, and the new file, for which there
 * is room only if the WAL has gone. */
static void test_vacuum_uses_the_space_of_the_wal(void **state)
{
    (void)state;
    filled();
    struct sim_disk *disk = host_disk(t.a.host);
    sim_disk_config(disk)->quota_bytes = sim_disk_used_bytes(disk) + LONG_BYTES / 100 * 215;
    execute("VACUUM");
    assert_int_equal(t.a.node->apply.state.counters.vacuums.failed, 0);
    assert_in_range(wal_bytes(), 0, 2 * WAL_LIMIT_BYTES);
    world_destroy(t.world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_hour_of_writes_in_memory_stays_within_limits),
        cmocka_unit_test(test_an_hour_of_writes_on_disk_stays_within_limits),
        cmocka_unit_test(test_a_long_wal_goes_though_nothing_more_is_written),
        cmocka_unit_test(test_vacuum_uses_the_space_of_the_wal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
