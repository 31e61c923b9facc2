/* test_upload.c — a client's file on its way into the log: what it takes of the disk meanwhile, and its end whenever
 * it is refused, canceled, or the node stops. */
#include "node_world.h"
#include <sqlite3.h>

enum {
    PIECE_BYTES = 16 * 1024,
    GIVEN_BYTES = 50000,
    ROWS = 1000, /* of a page each */
};

static struct {
    struct slice file;
    size_t given;
    struct node_upload *upload;
    uint64_t announced; /* bytes; 0: not */
    uint32_t taken, done;
    int rc;
    bool unknown, empty_last;
    char why[WIRE_TEXT_MAX + 1];
    uint64_t disk_most;
} up;

static struct slice file_small, file_large, file_odd; /* of pages not 4096 bytes large */

static struct slice file_make(int page_bytes, int rows)
{
    sqlite3 *conn;
    sqlite3_int64 len;
    char sql[400];

    (void)snprintf(sql, sizeof(sql),
                   "PRAGMA page_size=%d; CREATE TABLE t(id INTEGER PRIMARY KEY, b);"
                   "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<%d)"
                   "INSERT INTO t(b) SELECT zeroblob(4000) FROM n",
                   page_bytes, rows);
    assert_int_equal(sqlite3_open(":memory:", &conn), SQLITE_OK);
    assert_int_equal(sqlite3_exec(conn, sql, NULL, NULL, NULL), SQLITE_OK);
    unsigned char *bytes = sqlite3_serialize(conn, "main", &len, 0);
    assert_non_null(bytes);
    assert_int_equal(sqlite3_close(conn), SQLITE_OK);
    return slice_of(bytes, (size_t)len);
}

/* ---- the asker --------------------------------------------------------------------------------------------------- */

static void give_next(void)
{
    size_t left = up.file.len - up.given, part = left < GIVEN_BYTES ? left : GIVEN_BYTES;
    struct slice bytes = slice_of(up.file.data + up.given, part);

    up.given += part;
    node_upload_give(up.upload, bytes, up.given == up.file.len);
}

static void upload_taken(void *ctx)
{
    (void)ctx;
    up.taken++;
    assert_int_equal(up.done, 0);
    give_next();
}

static void upload_done(void *ctx, int rc, bool unknown, const char *why, const char *served_by)
{
    (void)ctx;
    (void)served_by;
    up.done++;
    up.rc = rc;
    up.unknown = unknown;
    (void)snprintf(up.why, sizeof(up.why), "%s", why ? why : "");
}

static void begin_now(struct env *e, void *ctx)
{
    const struct node_upload_ask ask = {
        .bytes = up.announced, .timeout_ms = 30000, .taken = upload_taken, .done = upload_done};
    struct node_upload *second;

    (void)e;
    (void)ctx;
    assert_int_equal(node_upload_begin(t.a.node, &ask, &up.upload), 0);
    assert_int_equal(node_upload_begin(t.a.node, &ask, &second), ERR_BUSY);
}

static void cancel_now(struct env *e, void *ctx)
{
    (void)e;
    (void)ctx;
    if (up.done == 0)
        node_upload_cancel(up.upload);
}

static void file_seen(void *ctx, const char *path, uint64_t size)
{
    if (strstr(path, "/log/") || strstr(path, ".log"))
        *(uint64_t *)ctx += size;
}

/* Beside the log. */
static uint64_t disk_bytes(void)
{
    uint64_t log = 0;

    sim_disk_list(host_disk(t.a.host), false, file_seen, &log);
    return sim_disk_used_bytes(host_disk(t.a.host)) - log;
}

static void upload_start(struct slice file, bool announced)
{
    memset(&up, 0, sizeof(up));
    up.file = file;
    up.announced = announced ? file.len : 0;
    assert_true(host_call(t.a.host, begin_now, NULL));
}

static void upload_wait(void)
{
    for (int i = 0; i < 100000 && (up.done == 0 || t.a.node->upload); i++) {
        (void)world_run_for(t.world, ENV_MS_NS / 2);
        uint64_t now = disk_bytes();
        up.disk_most = now > up.disk_most ? now : up.disk_most;
    }
    assert_int_equal(up.done, 1);
    assert_null(t.a.node->upload);
}

static void upload_file(struct slice file, bool announced)
{
    upload_start(file, announced);
    upload_wait();
}

static void left_seen(void *ctx, const char *path, uint64_t size)
{
    (void)size;
    *(uint32_t *)ctx += strstr(path, "rqlite-load-") != NULL;
}

static void expect_nothing_left(void)
{
    uint32_t left = 0;

    sim_disk_list(host_disk(t.a.host), false, left_seen, &left);
    assert_int_equal(left, 0);
}

/* ---- a node ------------------------------------------------------------------------------------------------------ */

static struct slice no_error(struct slice body)
{
    (void)body;
    return slice_of(NULL, 0);
}

static struct node_codec codec_here;

static void node_start(bool on_disk)
{
    memset(&t, 0, sizeof(t));
    t.on_disk = on_disk;
    world_begin();
    if (!file_small.data) { /* SQLite is set up now */
        file_small = file_make(4096, 300);
        file_large = file_make(4096, ROWS);
        file_odd = file_make(1024, 100);
    }
    server_init(&t.a, "a", true);
    codec_here = codec;
    codec_here.error_of = no_error;
    t.a.config.codec = &codec_here;
    t.a.config.load_piece_bytes = PIECE_BYTES;
    t.a.config.snapshot_trailing = 10;
    host_start(t.a.host, boot, &t.a);
    run_ms(3000);
}

/* The database that was loaded takes writes. */
static void expect_table(void)
{
    execute("INSERT INTO t(b) VALUES('later')");
}

/* Once as it comes and in pieces, and once in the journal of the cut that takes them (of a large one: a part). */
static void test_a_load_gives_back_what_was_read(void **state)
{
    (void)state;
    for (int on_disk = 0; on_disk < 2; on_disk++) {
        node_start(on_disk);
        upload_file(file_large, true);
        assert_int_equal(up.rc, 0);
        run_ms(20000);
        uint64_t before = disk_bytes();
        upload_file(file_large, on_disk);
        assert_int_equal(up.rc, 0);
        print_message("%s: %llu KB, then at most %llu KB\n", on_disk ? "on disk" : "in memory",
                      (unsigned long long)before / 1024, (unsigned long long)up.disk_most / 1024);
        assert_true(up.disk_most <= before + up.file.len * 9 / 4);
        expect_table();
        expect_nothing_left();
        world_destroy(t.world);
    }
}

static void test_a_file_of_other_pages_is_written_anew(void **state)
{
    (void)state;
    node_start(true);
    upload_file(file_odd, true);
    assert_int_equal(up.rc, 0);
    expect_table();
    expect_nothing_left();
    world_destroy(t.world);
}

/* ---- what is refused --------------------------------------------------------------------------------------------- */

static void expect_refused(int rc, const char *words)
{
    assert_int_equal(up.rc, rc);
    assert_false(up.unknown);
    if (!strstr(up.why, words))
        fail_msg("not \"%s\": %s", words, up.why);
    expect_nothing_left();
}

static void test_without_space_nothing_changes(void **state)
{
    (void)state;
    for (int announced = 0; announced < 2; announced++) {
        node_start(false);
        upload_file(file_small, true);
        assert_int_equal(up.rc, 0);
        run_ms(5000);
        struct sim_disk *disk = host_disk(t.a.host);
        sim_disk_config(disk)->quota_bytes = sim_disk_used_bytes(disk) + LIMIT_LOAD_RESERVE_BYTES +
                                             (announced ? file_large.len : 0) - 4096;
        if (!announced)
            sim_disk_config(disk)->quota_bytes -= LIMIT_LOAD_RESERVE_BYTES / 2;
        upload_file(file_large, announced);
        expect_refused(ERR_NOSPC, "loading needs");
        assert_true(up.taken == 0);
        sim_disk_config(disk)->quota_bytes = 0;
        expect_table();
        world_destroy(t.world);
    }
}

/* Then both must find their place: the file, and its pieces. */
static void test_without_holes_twice_the_space_is_asked_for(void **state)
{
    (void)state;
    node_start(false);
    upload_file(file_small, true);
    run_ms(5000);
    struct sim_disk *disk = host_disk(t.a.host);
    struct sim_disk_config *c = sim_disk_config(disk);
    c->no_holes = true;
    c->quota_bytes = sim_disk_used_bytes(disk) + LIMIT_LOAD_RESERVE_BYTES + file_large.len * 3 / 2;
    upload_file(file_large, true);
    expect_refused(ERR_NOSPC, "loading needs");
    c->quota_bytes += file_large.len;
    upload_file(file_large, true);
    assert_int_equal(up.rc, 0);
    expect_table();
    expect_nothing_left();
    world_destroy(t.world);
}

static void test_what_is_no_database_is_refused(void **state)
{
    static uint8_t bytes[100000];

    (void)state;
    node_start(false);
    upload_file(file_small, true);
    memset(bytes, 'x', sizeof(bytes));
    upload_file(slice_of(bytes, sizeof(bytes)), true);
    expect_refused(ERR_INVALID, "");
    memcpy(bytes, file_small.data, sizeof(bytes)); /* the rest is missing */
    upload_file(slice_of(bytes, sizeof(bytes)), false);
    expect_refused(ERR_INVALID, "");
    upload_file(slice_of(bytes, 10), false);
    expect_refused(ERR_INVALID, "");
    expect_table();
    world_destroy(t.world);
}

/* ---- the end, at any time ---------------------------------------------------------------------------------------- */

static void test_canceled_at_any_time_it_leaves_nothing(void **state)
{
    uint32_t canceled = 0, installed = 0;

    (void)state;
    node_start(true);
    upload_file(file_small, true);
    for (uint64_t us = 0; installed < 3 && us < 1000000; us += 1 + us / 10) {
        upload_start(us % 2 ? file_small : file_odd, us % 3 == 0);
        (void)world_run_for(t.world, us * 1000);
        if (up.done == 0)
            canceled++;
        else
            installed++;
        assert_true(host_call(t.a.host, cancel_now, NULL));
        for (int i = 0; i < 20000 && t.a.node->upload; i++)
            run_ms(1);
        assert_null(t.a.node->upload);
        assert_in_range(up.done, 0, 1);
        run_ms(50);
        expect_nothing_left();
        expect_table();
    }
    print_message("%u canceled, %u were over before\n", canceled, installed);
    assert_true(canceled > 50 && installed == 3);
    world_destroy(t.world);
}

static bool stopped;

static void stop_done(void *ctx)
{
    (void)ctx;
    stopped = true;
}

static void stop_now(struct env *e, void *ctx)
{
    (void)e;
    (void)ctx;
    node_stop(t.a.node, stop_done, NULL);
}

static void test_a_node_that_stops_ends_it(void **state)
{
    (void)state;
    uint32_t ended = 0;

    for (uint64_t us = 10; us < 300000; us = us * 3 / 2) {
        node_start(false);
        upload_file(file_small, true);
        upload_start(file_small, true);
        (void)world_run_for(t.world, us * 1000);
        bool before = up.done > 0;
        stopped = false;
        assert_true(host_call(t.a.host, stop_now, NULL));
        for (int i = 0; i < 20000 && !stopped; i++)
            run_ms(1);
        assert_true(stopped);
        assert_int_equal(up.done, 1);
        ended += !before && up.rc != 0;
        expect_nothing_left();
        world_destroy(t.world);
    }
    assert_true(ended > 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_load_gives_back_what_was_read),
        cmocka_unit_test(test_a_file_of_other_pages_is_written_anew),
        cmocka_unit_test(test_without_space_nothing_changes),
        cmocka_unit_test(test_without_holes_twice_the_space_is_asked_for),
        cmocka_unit_test(test_what_is_no_database_is_refused),
        cmocka_unit_test(test_canceled_at_any_time_it_leaves_nothing),
        cmocka_unit_test(test_a_node_that_stops_ends_it),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    sqlite3_free((void *)(uintptr_t)file_small.data);
    sqlite3_free((void *)(uintptr_t)file_large.data);
    sqlite3_free((void *)(uintptr_t)file_odd.data);
    return failed;
}
