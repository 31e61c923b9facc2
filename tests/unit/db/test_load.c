/* test_load.c — a database file that comes through the log takes the place of the database wholly or not at all,
 * on every node alike, whatever was cut, restarted, missing or damaged in between; and only a file that is a whole
 * database is let in. */
#include "db_int.h"
#include "db_replicas.h"

static struct node_db node;
static struct shelf image; /* what a node keeps for it */
static struct db_replacer replacer;

static int open_node(void **state)
{
    struct db_config c = config_default();

    (void)state;
    library_once();
    c.replacer = &replacer;
    node_db_init(&node, 1, &c);
    shelf_serve(&image, &replacer, node.env);
    apply(&node, 'e', "CREATE TABLE old(id INTEGER PRIMARY KEY, v)");
    apply(&node, 'e', "INSERT INTO old(v) VALUES(1),(2),(3)");
    return 0;
}

static int close_node(void **state)
{
    (void)state;
    shelf_fini(&image);
    node_db_fini(&node);
    return 0;
}

static const char fresh_sql[] = "CREATE TABLE fresh(a INTEGER PRIMARY KEY AUTOINCREMENT, b);"
                                "CREATE INDEX fresh_b ON fresh(b);"
                                "INSERT INTO fresh(b) WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL "
                                "SELECT i+1 FROM c WHERE i<2000) SELECT hex(i*7919) FROM c;";

static const char *bring(enum wire_cmd_kind kind, struct wire_load l)
{
    struct payload p = load_make(kind, &l);
    struct err_text why;

    wire_cmd_seal(p.bytes, p.len, 1700000000000000000, node.next);
    on_reset(&node.last.sink);
    struct db_entry e = {.index = node.next++,
                         .term = 1,
                         .kind = RAFT_ENTRY_NORMAL,
                         .payload = slice_of(p.bytes, p.len),
                         .sink = &node.last.sink};
    assert_int_equal(shelf_apply(&image, node.db, &e, 1, &why), 0);
    free(p.bytes);
    return node.last.text;
}

static const char *bring_piece(const struct payload *f, uint64_t id, uint64_t at, size_t len)
{
    if (len > f->len - at)
        len = f->len - at;
    return bring(WIRE_CMD_LOAD_PIECE,
                 (struct wire_load){.id = id, .at = at, .bytes = slice_of(f->bytes + at, len)});
}

static const char *bring_install(const struct payload *f, uint64_t id)
{
    return bring(WIRE_CMD_LOAD_INSTALL,
                 (struct wire_load){.id = id, .at = f->len, .digest = crc32c(0, f->bytes, f->len)});
}

static void bring_pieces(const struct payload *f, uint64_t id, size_t piece)
{
    for (uint64_t at = 0; at < f->len; at += piece)
        assert_string_equal(bring_piece(f, id, at, piece), "write 0 0\n");
}

static void assert_rows(const char *sql, const char *rows)
{
    char want[200];
    const char *told = apply(&node, 'r', sql);

    snprintf(want, sizeof(want), "row %s\n", rows);
    if (!strstr(told, want))
        fail_msg("%s: %s", sql, told);
}

static void assert_old(void)
{
    struct err_text why;
    assert_rows("SELECT count(*) FROM old", "3");
    assert_int_equal(db_integrity_check(node.db, &why), 0);
}

static void assert_fresh(void)
{
    struct err_text why;
    assert_rows("SELECT count(*), (SELECT count(*) FROM sqlite_schema) FROM fresh", "2000|3");
    assert_rows("SELECT seq FROM sqlite_sequence", "2000");
    assert_int_equal(db_integrity_check(node.db, &why), 0);
}

static void shelf_cut(struct shelf *s)
{
    struct db_cut *cut;
    struct err_text why;

    assert_int_equal(db_cut_begin(node.db, &cut, &why), 0);
    shelf_cut_take(s, cut);
}

static void test_installed_file_is_the_database(void **state)
{
    (void)state;
    struct payload f = file_make(4096, fresh_sql);

    bring_pieces(&f, 7, 10000);
    assert_old();
    assert_string_equal(bring_install(&f, 7), "write 0 0\n");
    assert_fresh();
    assert_string_equal(apply(&node, 'e', "INSERT INTO fresh(b) VALUES(1)"), "write 2001 1\n");
    assert_string_equal(apply(&node, 'e', "INSERT INTO old(v) VALUES(1)"),
                        "error no such table: old\n");
    assert_true(node.db->stage.now.id == 0);
    free(f.bytes);
}

/* What the image has is nowhere else. */
static void test_pieces_are_kept_once(void **state)
{
    (void)state;
    struct payload f = file_make(4096, fresh_sql);

    bring_pieces(&f, 7, 10000);
    assert_int_equal(db_stage_uncut(node.db), f.len);
    shelf_cut(&image);
    assert_true(db_stage_uncut(node.db) < 4096);
    assert_string_equal(bring_install(&f, 7), "write 0 0\n");
    assert_int_equal(db_stage_uncut(node.db), 0);
    assert_int_equal(image.moment.page_count[DB_SET_LOAD], 0);
    free(f.bytes);
}

static void test_counters_and_settings_outlive_a_load(void **state)
{
    (void)state;
    struct payload f = file_make(4096, "CREATE TABLE x(y)");
    struct db_state before, after;

    apply(&node, 'e', "PRAGMA foreign_keys=ON");
    apply(&node, 'e', "INSERT INTO old(v) VALUES(4),(5)");
    db_state(node.db, &before);
    bring_pieces(&f, 1, f.len);
    assert_string_equal(bring_install(&f, 1), "write 0 0\n");
    db_state(node.db, &after);
    assert_int_equal(after.sticky_last_insert_id, before.sticky_last_insert_id);
    assert_int_equal(after.sticky_rows_affected, before.sticky_rows_affected);
    assert_true(after.foreign_keys && after.digest != before.digest);
    assert_int_equal(after.changed_index, node.next - 1);
    assert_rows("SELECT total_changes()", "5");
    free(f.bytes);
}

static void start_from(struct shelf *s)
{
    db_close(node.db);
    node_db_open_from(&node, s);
}

static void test_pieces_outlive_a_cut_and_a_start(void **state)
{
    (void)state;
    struct payload f = file_make(4096, fresh_sql);

    for (uint64_t at = 0; at < f.len; at += 10000) {
        bring_piece(&f, 7, at, 10000);
        shelf_cut(&image);
        start_from(&image);
    }
    assert_old();
    assert_string_equal(bring_install(&f, 7), "write 0 0\n");
    shelf_cut(&image);
    start_from(&image);
    assert_fresh();
    free(f.bytes);
}

/* A cut after the load that gave only what statements changed would leave the old database's pages. */
static void test_cut_after_a_load_holds_all_of_it(void **state)
{
    (void)state;
    struct payload f = file_make(4096, fresh_sql), g = file_make(4096, "CREATE TABLE g(a)");

    shelf_cut(&image);
    bring_pieces(&f, 7, 10000);
    assert_string_equal(bring_install(&f, 7), "write 0 0\n");
    shelf_cut(&image);
    bring_pieces(&g, 8, 10000);
    assert_string_equal(bring_install(&g, 8), "write 0 0\n");
    apply(&node, 'e',
          "INSERT INTO g WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM c"
          " WHERE i<3000) SELECT hex(zeroblob(20)) FROM c");
    shelf_cut(&image);
    start_from(&image);
    struct err_text why;
    assert_rows("SELECT count(*), (SELECT count(*) FROM sqlite_schema) FROM g", "3000|1");
    assert_int_equal(db_integrity_check(node.db, &why), 0);
    free(f.bytes);
    free(g.bytes);
}

/* What SQLite keeps in memory of a file must be the new one's: free pages, reserved bytes, encodings of rows. */
static void test_files_of_other_settings_go_on_being_written(void **state)
{
    (void)state;
    static const char *const settings[] = {"PRAGMA auto_vacuum=FULL;",
                                           "PRAGMA auto_vacuum=INCREMENTAL;", "",
                                           "PRAGMA user_version=7;PRAGMA application_id=9;"};
    struct err_text why;
    char sql[2000];

    for (size_t i = 0; i < 2 * sizeof(settings) / sizeof(settings[0]); i++) {
        file_reserve_bytes = i % 3 ? 0 : 12;
        snprintf(sql, sizeof(sql), "%s%s", settings[i % 4], fresh_sql);
        struct payload f = file_make(4096, sql);
        file_reserve_bytes = 0;
        assert_int_equal(f.bytes[20], i % 3 ? 0 : 12);
        bring_pieces(&f, 1 + i, 10000);
        assert_string_equal(bring_install(&f, 1 + i), "write 0 0\n");
        assert_fresh();
        apply(&node, 'e', "DELETE FROM fresh WHERE a%3>0");
        apply(&node, 'e', "INSERT INTO fresh(b) SELECT hex(zeroblob(3000)) FROM fresh LIMIT 300");
        apply(&node, 'e', "CREATE TABLE more AS SELECT * FROM fresh");
        assert_int_equal(db_integrity_check(node.db, &why), 0);
        shelf_cut(&image);
        start_from(&image);
        apply(&node, 'e', "INSERT INTO more SELECT * FROM fresh");
        apply(&node, 'e', "DELETE FROM fresh");
        assert_int_equal(db_integrity_check(node.db, &why), 0);
        assert_rows("SELECT count(*) FROM more", "1932");
        free(f.bytes);
    }
}

static void test_reader_sees_old_or_new_only(void **state)
{
    (void)state;
    struct payload f = file_make(4096, fresh_sql);
    struct db_reader *r;
    struct record out;
    struct err_text why;

    record_init(&out);
    for (int after = 0; after < 2; after++) {
        assert_int_equal(db_reader_open(node.db, &r, &why), 0);
        assert_non_null(strstr(query(r, &out, 'q', "SELECT count(*) FROM old"),
                               after ? "no such table" : "row 3\n"));
        assert_non_null(strstr(query(r, &out, 'q', "SELECT count(*) FROM fresh"),
                               after ? "row 2000\n" : "no such table"));
        image.reader = &r;
        if (!after) {
            bring_pieces(&f, 7, 4096);
            assert_string_equal(bring_install(&f, 7), "write 0 0\n");
            assert_null(r);
        }
    }
    db_reader_close(r);
    record_fini(&out);
    free(f.bytes);
}

static void test_missing_piece_changes_nothing(void **state)
{
    (void)state;
    struct payload f = file_make(4096, fresh_sql);

    bring_piece(&f, 7, 0, 4096);
    assert_string_equal(bring_piece(&f, 7, 8192, 4096),
                        "request error a piece of the load is missing\n");
    assert_string_equal(bring_install(&f, 7), "request error a piece of the load is missing\n");
    assert_old();
    free(f.bytes);
}

static void test_damaged_piece_changes_nothing(void **state)
{
    (void)state;
    struct payload f = file_make(4096, fresh_sql);

    bring_pieces(&f, 7, 10000);
    f.bytes[5000] ^= 1;
    assert_string_equal(bring_install(&f, 7), "request error a piece of the load is damaged\n");
    assert_old();
    free(f.bytes);
}

static void test_piece_behind_the_last_is_refused(void **state)
{
    (void)state;
    struct payload f = file_make(4096, fresh_sql);

    assert_true(f.len % 10000 != 0);
    bring_pieces(&f, 7, 10000);
    assert_string_equal(bring(WIRE_CMD_LOAD_PIECE,
                              (struct wire_load){.id = 7, .at = f.len, .bytes = slice_str("x")}),
                        "request error a piece of the load is missing\n");
    assert_string_equal(bring_install(&f, 7), "write 0 0\n");
    free(f.bytes);
}

static void test_newer_load_takes_the_place_of_an_older(void **state)
{
    (void)state;
    struct payload f = file_make(4096, fresh_sql), g = file_make(4096, "CREATE TABLE g(a)");

    bring_piece(&f, 7, 0, 4096);
    bring_pieces(&g, 8, 5000);
    const char *refused = bring_piece(&f, 7, 4096, 4096);
    assert_non_null(strstr(refused, "request error the load was given up"));
    assert_string_equal(bring_install(&g, 8), "write 0 0\n");
    assert_rows("SELECT count(*) FROM g", "0");
    free(f.bytes);
    free(g.bytes);
}

static void test_untouched_pieces_expire(void **state)
{
    (void)state;
    struct payload f = file_make(4096, fresh_sql);

    bring_pieces(&f, 7, 10000);
    node.db->stage.now.touched -= LIMIT_LOAD_IDLE_ENTRIES;
    apply(&node, 'e', "INSERT INTO old(v) VALUES(1)");
    assert_true(node.db->stage.now.id == 0);
    assert_int_equal(db_stage_uncut(node.db), 0);
    const char *refused = bring_install(&f, 7);
    assert_non_null(strstr(refused, "request error the load was given up"));
    free(f.bytes);
}

static void test_dropped_pieces_are_gone(void **state)
{
    (void)state;
    struct payload f = file_make(4096, fresh_sql);

    bring_pieces(&f, 7, 10000);
    assert_string_equal(bring(WIRE_CMD_LOAD_DROP, (struct wire_load){.id = 9}), "write 0 0\n");
    assert_true(node.db->stage.now.id == 7);
    assert_string_equal(bring(WIRE_CMD_LOAD_DROP, (struct wire_load){.id = 7}), "write 0 0\n");
    assert_true(node.db->stage.now.id == 0);
    free(f.bytes);
}

/* What passes the checks of the node that proposes it cannot be trusted to have passed them. */
static void test_unreadable_file_is_refused_at_install(void **state)
{
    (void)state;
    struct payload f = file_make(4096, fresh_sql);
    static const struct {
        size_t at;
        uint8_t byte;
    } bad[] = {{0, 'X'}, {16, 2}, {18, 1}, {31, 0xFE}, {59, 2}, {100, 0x77}};

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct payload g = {malloc(f.len), f.len};
        memcpy(g.bytes, f.bytes, f.len);
        g.bytes[bad[i].at] = bad[i].byte;
        bring_pieces(&g, 10 + i, 10000);
        const char *told = bring_install(&g, 10 + i);
        if (!strstr(told, "request error"))
            fail_msg("byte %zu: %s", bad[i].at, told);
        assert_true(node.db->stage.now.id == 0);
        assert_old();
        free(g.bytes);
    }
    free(f.bytes);
}

/* ---- what is let in ---- */

static void file_put(const char *path, const struct payload *f, size_t len)
{
    struct env_file *e;

    assert_int_equal(env_file_open(node.env, path, ENV_FILE_CREATE, &e), 0);
    assert_int_equal(env_file_truncate(e, 0), 0);
    assert_int_equal(env_file_write(e, f->bytes, len, 0), 0);
    env_file_close(e);
}

static int check(const struct payload *f, size_t len, bool *rewrite, struct err_text *why)
{
    uint64_t bytes;

    file_put("n/upload", f, len);
    int rc = db_import_check(node.env, "n/upload", &bytes, rewrite, why);
    assert_true(rc || bytes == len);
    return rc;
}

static void test_check_lets_databases_in(void **state)
{
    (void)state;
    struct payload f = file_make(4096, fresh_sql);
    struct err_text why;
    bool rewrite = true;

    assert_int_equal(check(&f, f.len, &rewrite, &why), 0);
    assert_false(rewrite);
    f.bytes[18] = f.bytes[19] = 2; /* WAL mode, and all of it in the main file */
    assert_int_equal(check(&f, f.len, &rewrite, &why), 0);
    struct env_file *e;
    uint8_t version[2];
    size_t got;
    assert_int_equal(env_file_open(node.env, "n/upload", 0, &e), 0);
    assert_int_equal(env_file_read(e, version, 2, 18, &got), 0);
    assert_true(version[0] == 1 && version[1] == 1);
    env_file_close(e);
    free(f.bytes);
}

static void test_check_refuses_what_is_no_whole_database(void **state)
{
    (void)state;
    struct payload f = file_make(4096, fresh_sql);
    struct err_text why;
    bool rewrite;

    assert_int_equal(check(&f, 50, &rewrite, &why), ERR_INVALID);
    assert_int_equal(check(&f, 4096, &rewrite, &why), ERR_INVALID);
    assert_int_equal(check(&f, f.len - 1, &rewrite, &why), ERR_INVALID);
    assert_int_equal(check(&f, f.len - 4096, &rewrite, &why), ERR_INVALID);
    f.bytes[4096] ^= 0xFF;
    assert_int_equal(check(&f, f.len, &rewrite, &why), ERR_INVALID);
    f.bytes[4096] ^= 0xFF;
    memset(f.bytes + 16384 + 8, 0xA5, 2000);
    assert_int_equal(check(&f, f.len, &rewrite, &why), ERR_INVALID);
    memcpy(f.bytes, "SQLite format 2", 16);
    assert_int_equal(check(&f, f.len, &rewrite, &why), ERR_INVALID);
    assert_string_equal(why.text, "invalid SQLite data");
    free(f.bytes);
}

static void test_utf16_is_refused(void **state)
{
    (void)state;
    struct payload f = file_make(4096, "PRAGMA encoding='UTF-16le';CREATE TABLE x(y)");
    struct err_text why;
    bool rewrite;

    assert_int_equal(check(&f, f.len, &rewrite, &why), ERR_INVALID);
    assert_non_null(strstr(why.text, "UTF-16"));
    free(f.bytes);
}

static void test_other_page_sizes_are_rewritten(void **state)
{
    (void)state;
    struct err_text why;
    uint64_t bytes;
    bool rewrite = false;

    for (int page = 512; page <= 65536; page *= 2) {
        struct payload f = file_make(page, fresh_sql), g;
        size_t got;
        struct env_file *e;
        assert_int_equal(check(&f, f.len, &rewrite, &why), 0);
        assert_true(rewrite == (page != 4096));
        free(f.bytes);
        int removed = env_file_remove(node.env, "n/ready");
        assert_true(removed == 0 || removed == ERR_NOT_FOUND);
        if (db_import_rewrite(node.env, "n/upload", "n/ready", &bytes, &why))
            fail_msg("%s", why.text);
        g = (struct payload){malloc(bytes), bytes};
        assert_int_equal(env_file_open(node.env, "n/ready", 0, &e), 0);
        assert_int_equal(env_file_read(e, g.bytes, g.len, 0, &got), 0);
        assert_int_equal(got, bytes);
        env_file_close(e);
        db_import_prepare(g.bytes, g.len);
        bring_pieces(&g, (uint64_t)page, 70000);
        assert_string_equal(bring_install(&g, (uint64_t)page), "write 0 0\n");
        assert_fresh();
        free(g.bytes);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, open_node, close_node)
        T(test_installed_file_is_the_database),
        T(test_pieces_are_kept_once),
        T(test_counters_and_settings_outlive_a_load),
        T(test_pieces_outlive_a_cut_and_a_start),
        T(test_cut_after_a_load_holds_all_of_it),
        T(test_files_of_other_settings_go_on_being_written),
        T(test_reader_sees_old_or_new_only),
        T(test_missing_piece_changes_nothing),
        T(test_damaged_piece_changes_nothing),
        T(test_piece_behind_the_last_is_refused),
        T(test_newer_load_takes_the_place_of_an_older),
        T(test_untouched_pieces_expire),
        T(test_dropped_pieces_are_gone),
        T(test_unreadable_file_is_refused_at_install),
        T(test_check_lets_databases_in),
        T(test_check_refuses_what_is_no_whole_database),
        T(test_utf16_is_refused),
        T(test_other_page_sizes_are_rewritten),
#undef T
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
