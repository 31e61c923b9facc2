/* Backups: of one moment whatever is written meanwhile, in whatever parts they are taken, and readable by SQLite
 * or by ourselves. Formats: http-api.md §13. */
#include "db_fixture.h"

#define SQLITE_ENABLE_PREUPDATE_HOOK 1
#include <sqlite3.h>

static struct node_db n;

static int set_up(void **state)
{
    struct db_config config = config_default();

    (void)state;
    config.wal_limit_bytes = 64 * 1024; /* checkpoints come often */
    node_db_init(&n, 1, &config);
    return 0;
}

static int set_up_on_disk(void **state)
{
    struct db_config config = config_default();

    (void)state;
    config.on_disk = true;
    config.wal_limit_bytes = 64 * 1024;
    node_db_init(&n, 1, &config);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    node_db_fini(&n);
    return 0;
}

/* ---- taking one ---------------------------------------------------------------------------------------- */

static struct db_backup *begin(struct node_db *from, enum db_backup_format format,
                               const char *const *tables)
{
    struct slice names[8];
    struct err_text why;
    struct db_backup *b = NULL;
    struct db_backup_config config = {.format = format, .tables = names, .path = "n/copy"};

    while (tables && tables[config.table_count]) {
        names[config.table_count] = slice_str(tables[config.table_count]);
        config.table_count++;
    }
    assert_int_equal(db_backup_begin(from->db, &config, &b, &why), 0);
    return b;
}

/* One more part of at least `bytes`; false: that was the last. */
static bool more(struct db_backup *b, struct buf *all, size_t bytes)
{
    struct err_text why = {""};
    size_t before = buf_len(all);
    int rc = db_backup_step(b, all, before + bytes, &why);

    if (rc != 0 && rc != DB_MORE)
        fail_msg("%d %s", rc, why.text);
    assert_true(rc == 0 || buf_len(all) >= before + bytes);
    return rc == DB_MORE;
}

static struct buf take(struct node_db *from, enum db_backup_format format,
                       const char *const *tables, size_t part)
{
    struct db_backup *b = begin(from, format, tables);
    struct buf all;

    buf_init(&all, 64 * 1024 * 1024);
    while (more(b, &all, part))
        ;
    db_backup_end(b);
    return all;
}

/* ---- reading it ------------------------------------------------------------------------------------------ */

/* By SQLite alone. It keeps what is given it in memory, where there is no WAL: so the header must say so. */
static sqlite3 *open_file(struct buf *file, int version)
{
    sqlite3 *c = NULL;
    struct slice s = buf_slice(file);

    assert_true(s.len >= 512);
    assert_int_equal(s.data[18], version);
    assert_int_equal(s.data[19], version);
    uint8_t *copy = sqlite3_malloc64(s.len);
    memcpy(copy, s.data, s.len);
    copy[18] = copy[19] = 1;
    assert_int_equal(sqlite3_open_v2(":memory:", &c, SQLITE_OPEN_READWRITE, "memdb"), SQLITE_OK);
    assert_int_equal(sqlite3_deserialize(c, "main", copy, (sqlite3_int64)s.len,
                                         (sqlite3_int64)s.len, SQLITE_DESERIALIZE_FREEONCLOSE),
                     SQLITE_OK);
    return c;
}

static void expect_rows(sqlite3 *c, const char *sql, const char *want)
{
    sqlite3_stmt *s = NULL;
    char got[4096] = "";

    if (sqlite3_prepare_v2(c, sql, -1, &s, NULL) != SQLITE_OK)
        fail_msg("%s: %s", sql, sqlite3_errmsg(c));
    int rc;
    while ((rc = sqlite3_step(s)) == SQLITE_ROW)
        for (int i = 0; i < sqlite3_column_count(s); i++)
            snprintf(got + strlen(got), sizeof(got) - strlen(got), "%s%s",
                     i        ? "|"
                     : got[0] ? ";"
                              : "",
                     (const char *)sqlite3_column_text(s, i));
    if (rc != SQLITE_DONE)
        fail_msg("%s: %s", sql, sqlite3_errmsg(c));
    sqlite3_finalize(s);
    assert_string_equal(got, want);
}

static void write_some(struct node_db *to, int round)
{
    char sql[400];

    snprintf(sql, sizeof(sql),
             "WITH RECURSIVE i(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM i WHERE x<50) "
             "INSERT INTO a SELECT NULL, %d, hex(zeroblob(100)) FROM i",
             round);
    (void)apply(to, 'e', sql);
    snprintf(sql, sizeof(sql), "UPDATE b SET n=n+50, round=%d", round);
    (void)apply(to, 'e', sql);
    if (round % 7 == 3)
        (void)apply(to, 'e', "DELETE FROM a WHERE id%3=0");
    if (round % 7 == 3)
        (void)apply(to, 'e', "UPDATE b SET n=(SELECT count(*) FROM a)");
}

static void make_tables(struct node_db *to)
{
    (void)apply(to, 'e', "CREATE TABLE a(id INTEGER PRIMARY KEY, round, filler)");
    (void)apply(to, 'e', "CREATE TABLE b(n, round)");
    (void)apply(to, 'e', "CREATE INDEX ar ON a(round)");
    (void)apply(to, 'e', "INSERT INTO b VALUES(0,0)");
}

/* ---- pages ------------------------------------------------------------------------------------------------- */

/* Rounds that come between one part and the next are not seen, though they fill the WAL and want checkpoints. */
static void check_moment(int version, enum db_backup_format format, int rounds_before)
{
    struct db_backup *b;
    struct buf all;
    char want[100];
    int round = 0;

    make_tables(&n);
    for (; round < rounds_before; round++)
        write_some(&n, round + 1);
    b = begin(&n, format, NULL);
    assert_int_equal(db_backup_index(b), n.next - 1);
    buf_init(&all, 64 * 1024 * 1024);
    while (more(b, &all, 10000) && round < 1000)
        write_some(&n, ++round);
    db_backup_end(b);
    assert_true(round > rounds_before + 1 && round < 1000);
    sqlite3 *c = open_file(&all, version);
    expect_rows(c, "PRAGMA integrity_check", "ok");
    expect_rows(c, "SELECT (SELECT count(*) FROM a)-n FROM b", "0");
    snprintf(want, sizeof(want), "%d|%d", rounds_before, rounds_before);
    expect_rows(c, "SELECT (SELECT max(round) FROM a), round FROM b", want);
    sqlite3_close(c);
    buf_fini(&all);
}

static void test_pages_are_of_the_moment_it_began(void **state)
{
    (void)state;
    check_moment(2, DB_BACKUP_WAL, 20);
}

static void test_on_disk_as_well(void **state)
{
    (void)state;
    check_moment(1, DB_BACKUP_DELETE, 23);
}

static void test_text_is_of_the_moment_it_began(void **state)
{
    struct buf before, after;
    struct db_backup *b;

    (void)state;
    make_tables(&n);
    for (int i = 1; i < 10; i++)
        write_some(&n, i);
    before = take(&n, DB_BACKUP_SQL, NULL, 1 << 20);
    b = begin(&n, DB_BACKUP_SQL, NULL);
    buf_init(&after, 64 * 1024 * 1024);
    for (int i = 10; more(b, &after, 5000); i++)
        write_some(&n, i);
    db_backup_end(b);
    assert_true(slice_equal(buf_slice(&before), buf_slice(&after)));
    buf_fini(&before);
    buf_fini(&after);
}

static void test_several_at_once_are_each_of_its_moment(void **state)
{
    struct db_backup *b[3];
    struct buf all[3];

    (void)state;
    make_tables(&n);
    for (int i = 0; i < 3; i++) {
        for (int round = 1; round <= 4; round++)
            write_some(&n, 10 * i + round);
        b[i] = begin(&n, DB_BACKUP_DELETE, NULL);
        buf_init(&all[i], 64 * 1024 * 1024);
    }
    for (int left = 7, round = 50; left; round++) {
        for (int i = 0; i < 3; i++)
            if ((left >> i & 1) && !more(b[i], &all[i], 4096))
                left &= ~(1 << i);
        write_some(&n, round);
    }
    for (int i = 0; i < 3; i++) {
        char want[20];
        sqlite3 *c = open_file(&all[i], 1);
        expect_rows(c, "PRAGMA integrity_check", "ok");
        snprintf(want, sizeof(want), "%d", 10 * i + 4);
        expect_rows(c, "SELECT max(round) FROM a", want);
        sqlite3_close(c);
        db_backup_end(b[i]);
        buf_fini(&all[i]);
    }
}

static void test_an_empty_database_is_a_file(void **state)
{
    (void)state;
    struct buf all = take(&n, DB_BACKUP_WAL, NULL, 1);
    sqlite3 *c = open_file(&all, 2);
    expect_rows(c, "PRAGMA integrity_check", "ok");
    expect_rows(c, "SELECT count(*) FROM sqlite_schema", "0");
    sqlite3_close(c);
    buf_fini(&all);
}

static void test_what_was_given_up_holds_nothing(void **state)
{
    (void)state;
    make_tables(&n);
    for (int i = 0; i < 40; i++) {
        struct db_backup *b = begin(&n, (enum db_backup_format)(i % 3), NULL);
        struct buf all;
        buf_init(&all, 1 << 24);
        if (i % 2)
            (void)more(b, &all, 1);
        db_backup_end(b);
        buf_fini(&all);
        write_some(&n, i);
    }
    struct db_state s;
    db_state(n.db, &s);
    assert_true(s.wal_bytes < 1 << 20); /* it was begun anew */
}

/* ---- text ----------------------------------------------------------------------------------------------------- */

static void expect_text(struct buf *got, const char *want)
{
    (void)buf_append_byte(got, 0);
    assert_string_equal((const char *)buf_slice(got).data, want);
    buf_fini(got);
}

#define HEAD "PRAGMA foreign_keys=OFF;\nBEGIN TRANSACTION;\n"

static void make_all_kinds(void)
{
    static const char *const sql[] = {
        "CREATE TABLE z(id INTEGER PRIMARY KEY AUTOINCREMENT, v)",
        "INSERT INTO z(v) "
        "VALUES(NULL),(1.5),('it''s'),(x'00FF'),(-9223372036854775808),(9e999),(-9e999),"
        "(0.1),(1e300),(2.0),(''),(x''),('a'||char(0)||'b'),('Grüße'),('two\nlines')",
        "CREATE TABLE \"we\"\"ird\"(\"a,b\", g AS (1), \"c\"\"d\")",
        "INSERT INTO \"we\"\"ird\" VALUES(1,2)",
        "CREATE TABLE norowid(k PRIMARY KEY, v) WITHOUT ROWID",
        "INSERT INTO norowid VALUES('b',1),('a',2)",
        "CREATE TABLE scan(x)",
        "CREATE INDEX scan_x ON scan(x)",
        "INSERT INTO scan VALUES(3),(1),(2)",
        "CREATE VIEW av AS SELECT 1",
        "CREATE TRIGGER t1 AFTER INSERT ON scan BEGIN SELECT 1; END",
    };
    for (size_t i = 0; i < sizeof(sql) / sizeof(sql[0]); i++)
        if (strstr(apply(&n, 'e', sql[i]), "error"))
            fail_msg("%s: %s", sql[i], n.last.text);
}

static const char all_kinds[] = HEAD "CREATE TABLE norowid(k PRIMARY KEY, v) WITHOUT ROWID;\n"
                                     "INSERT INTO \"norowid\" VALUES('a',2);\n"
                                     "INSERT INTO \"norowid\" VALUES('b',1);\n"
                                     "CREATE TABLE scan(x);\n"
                                     "INSERT INTO \"scan\" VALUES(3);\n"
                                     "INSERT INTO \"scan\" VALUES(1);\n"
                                     "INSERT INTO \"scan\" VALUES(2);\n"
                                     "CREATE TABLE \"we\"\"ird\"(\"a,b\", g AS (1), \"c\"\"d\");\n"
                                     "INSERT INTO \"we\"\"ird\" VALUES(1,2);\n"
                                     "CREATE TABLE z(id INTEGER PRIMARY KEY AUTOINCREMENT, v);\n"
                                     "INSERT INTO \"z\" VALUES(1,NULL);\n"
                                     "INSERT INTO \"z\" VALUES(2,1.5);\n"
                                     "INSERT INTO \"z\" VALUES(3,'it''s');\n"
                                     "INSERT INTO \"z\" VALUES(4,X'00FF');\n"
                                     "INSERT INTO \"z\" VALUES(5,-9223372036854775808);\n"
                                     "INSERT INTO \"z\" VALUES(6,9e999);\n"
                                     "INSERT INTO \"z\" VALUES(7,-9e999);\n"
                                     "INSERT INTO \"z\" VALUES(8,0.1);\n"
                                     "INSERT INTO \"z\" VALUES(9,1.0e+300);\n"
                                     "INSERT INTO \"z\" VALUES(10,2.0);\n"
                                     "INSERT INTO \"z\" VALUES(11,'');\n"
                                     "INSERT INTO \"z\" VALUES(12,X'');\n"
                                     "INSERT INTO \"z\" VALUES(13,CAST(X'610062' AS TEXT));\n"
                                     "INSERT INTO \"z\" VALUES(14,'Grüße');\n"
                                     "INSERT INTO \"z\" VALUES(15,'two\nlines');\n"
                                     "DELETE FROM \"sqlite_sequence\";\n"
                                     "INSERT INTO \"sqlite_sequence\" VALUES('z',15);\n"
                                     "CREATE INDEX scan_x ON scan(x);\n"
                                     "CREATE VIEW av AS SELECT 1;\n"
                                     "CREATE TRIGGER t1 AFTER INSERT ON scan BEGIN SELECT 1; END;\n"
                                     "COMMIT;\n";

static void test_text_is_as_documented(void **state)
{
    (void)state;
    struct buf empty = take(&n, DB_BACKUP_SQL, NULL, 1000);
    expect_text(&empty, HEAD "COMMIT;\n");
    make_all_kinds();
    struct buf all = take(&n, DB_BACKUP_SQL, NULL, 1 << 20);
    expect_text(&all, all_kinds);
}

static void test_only_these_tables(void **state)
{
    static const char *const tables[] = {"nowhere", "we\"ird", "NOROWID", NULL};

    (void)state;
    make_all_kinds();
    struct buf some = take(&n, DB_BACKUP_SQL, tables, 1 << 20);
    expect_text(&some, HEAD "CREATE TABLE \"we\"\"ird\"(\"a,b\", g AS (1), \"c\"\"d\");\n"
                            "INSERT INTO \"we\"\"ird\" VALUES(1,2);\n"
                            "CREATE INDEX scan_x ON scan(x);\n"
                            "CREATE VIEW av AS SELECT 1;\n"
                            "CREATE TRIGGER t1 AFTER INSERT ON scan BEGIN SELECT 1; END;\n"
                            "COMMIT;\n");
}

/* Also values longer than a part: they go out in pieces. */
static void test_parts_of_any_size_make_the_same_text(void **state)
{
    (void)state;
    make_all_kinds();
    (void)apply(
        &n, 'e',
        "INSERT INTO z(v) VALUES(zeroblob(100000)),(replace(hex(zeroblob(30000)),'0','''')),"
        "(replace(hex(zeroblob(30000)),'0','''')||char(0))");
    struct buf whole = take(&n, DB_BACKUP_SQL, NULL, 1 << 24);
    static const size_t sizes[] = {1, 7, 1000, 16384, 50000};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct buf got = take(&n, DB_BACKUP_SQL, NULL, sizes[i]);
        assert_true(slice_equal(buf_slice(&got), buf_slice(&whole)));
        buf_fini(&got);
    }
    buf_fini(&whole);
}

static void expect_reads_back(void)
{
    struct node_db other;
    struct db_config config = config_default();
    struct buf first = take(&n, DB_BACKUP_SQL, NULL, 1 << 24);

    (void)buf_append_byte(&first, 0);
    node_db_init(&other, 2, &config);
    const char *answer = apply(&other, 'e', (const char *)buf_slice(&first).data);
    if (strstr(answer, "error"))
        fail_msg("%s", answer);
    buf_truncate(&first, buf_len(&first) - 1);
    struct buf second = take(&other, DB_BACKUP_SQL, NULL, 1 << 24);
    assert_true(slice_equal(buf_slice(&first), buf_slice(&second)));
    struct err_text why;
    assert_int_equal(db_integrity_check(other.db, &why), 0);
    uint64_t hash, hash_other;
    assert_int_equal(db_content_hash(n.db, &hash), 0);
    assert_int_equal(db_content_hash(other.db, &hash_other), 0);
    assert_true(hash == hash_other);
    node_db_fini(&other);
    buf_fini(&first);
    buf_fini(&second);
}

static void test_text_reads_back(void **state)
{
    (void)state;
    make_all_kinds();
    expect_reads_back();
}

static void test_text_of_virtual_tables_reads_back(void **state)
{
    static const char *const sql[] = {
        "CREATE VIRTUAL TABLE f USING fts5(a,b)",
        "INSERT INTO f(rowid,a,b) VALUES(5,'hello world','x'),(77,'hello again','y')",
        "CREATE TABLE docs(id INTEGER PRIMARY KEY, t)",
        "INSERT INTO docs VALUES(3,'abc def'),(9,'def ghi')",
        "CREATE VIRTUAL TABLE e USING fts5(t, content='docs', content_rowid='id')",
        "INSERT INTO e(e) VALUES('rebuild')",
        "CREATE VIRTUAL TABLE nocontent USING fts5(z, content='')",
        "INSERT INTO nocontent(rowid,z) VALUES(4,'lorem ipsum')",
        "CREATE VIRTUAL TABLE f4 USING fts4(a)",
        "INSERT INTO f4(docid,a) VALUES(8,'quick brown fox')",
        "CREATE VIRTUAL TABLE r USING rtree(id,x0,x1)",
        "INSERT INTO r VALUES(1,0.5,2.5),(9,3,4)",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(sql) / sizeof(sql[0]); i++)
        if (strstr(apply(&n, 'e', sql[i]), "error"))
            fail_msg("%s: %s", sql[i], n.last.text);
    expect_reads_back();
}

static void test_a_virtual_table_is_wanted_with_all_it_consists_of(void **state)
{
    static const char *const tables[] = {"f", NULL};

    (void)state;
    (void)apply(&n, 'e', "CREATE VIRTUAL TABLE f USING fts4(a)");
    (void)apply(&n, 'e', "INSERT INTO f VALUES('one two')");
    (void)apply(&n, 'e', "CREATE TABLE f_of_mine(x)");
    struct buf all = take(&n, DB_BACKUP_SQL, tables, 1 << 20);
    (void)buf_append_byte(&all, 0);
    const char *text = (const char *)buf_slice(&all).data;
    assert_non_null(strstr(text, "INSERT INTO \"f_content\" VALUES(1,'one two');\n"));
    assert_null(strstr(text, "f_of_mine"));
    buf_fini(&all);
}

/* ---- vacuumed --------------------------------------------------------------------------------------------------- */

static void note_copy(void *ctx, const char *name)
{
    if (strncmp(name, "copy", 4) == 0)
        *(bool *)ctx = true;
}

static bool copy_is_there(void)
{
    bool there = false;
    assert_int_equal(env_dir_list(n.env, "n", note_copy, &there), 0);
    return there;
}

static void test_a_vacuumed_one_is_small_and_leaves_nothing(void **state)
{
    (void)state;
    make_tables(&n);
    for (int i = 1; i < 20; i++)
        write_some(&n, i);
    (void)apply(&n, 'e', "DELETE FROM a WHERE id%10");
    struct buf plain = take(&n, DB_BACKUP_DELETE, NULL, 1 << 20);
    struct db_backup *b = begin(&n, DB_BACKUP_VACUUM, NULL);
    struct buf all;
    buf_init(&all, 64 * 1024 * 1024);
    for (int i = 20; more(b, &all, 3000); i++)
        write_some(&n, i);
    assert_true(copy_is_there());
    db_backup_end(b);
    assert_false(copy_is_there());
    assert_true(buf_len(&all) < buf_len(&plain) / 2);
    sqlite3 *c = open_file(&all, 1);
    expect_rows(c, "PRAGMA integrity_check", "ok");
    expect_rows(c, "PRAGMA freelist_count", "0");
    expect_rows(c, "SELECT round FROM b", "19");
    sqlite3_close(c);
    buf_fini(&all);
    buf_fini(&plain);
}

static void test_a_vacuumed_one_can_be_canceled(void **state)
{
    atomic_bool canceled = true;
    struct db_backup_config config = {
        .format = DB_BACKUP_VACUUM, .path = "n/copy", .canceled = &canceled};
    struct db_backup *b = NULL;
    struct err_text why;
    struct buf all;

    (void)state;
    make_tables(&n);
    for (int i = 1; i < 20; i++)
        write_some(&n, i);
    assert_int_equal(db_backup_begin(n.db, &config, &b, &why), 0);
    buf_init(&all, 1 << 24);
    assert_int_equal(db_backup_step(b, &all, 1, &why), ERR_CANCELED);
    db_backup_end(b);
    assert_false(copy_is_there());
    buf_fini(&all);
}

static void test_short_memory_is_told(void **state)
{
    struct db_backup_config config = {.path = "n/copy"};

    (void)state;
    make_all_kinds();
    for (int format = 0; format < 4; format++) {
        int fired = 1;
        for (unsigned long k = 1; fired; k += 1 + k / 20) {
            struct db_backup *b = NULL;
            struct err_text why;
            struct buf all;
            config.format = (enum db_backup_format)format;
            buf_init(&all, 1 << 24);
            mem_fault_arm(k);
            int rc = db_backup_begin(n.db, &config, &b, &why);
            if (rc == 0)
                rc = db_backup_step(b, &all, 1 << 20, &why);
            fired = mem_fault_fired();
            mem_fault_arm(0);
            assert_true(rc == 0 ? true : fired);
            if (fired && rc)
                assert_int_equal(rc, ERR_NOMEM);
            if (b)
                db_backup_end(b);
            buf_fini(&all);
        }
    }
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(test_pages_are_of_the_moment_it_began),
        cmocka_unit_test_setup_teardown(test_on_disk_as_well, set_up_on_disk, tear_down),
        T(test_text_is_of_the_moment_it_began),
        T(test_several_at_once_are_each_of_its_moment),
        T(test_an_empty_database_is_a_file),
        T(test_what_was_given_up_holds_nothing),
        T(test_text_is_as_documented),
        T(test_only_these_tables),
        T(test_parts_of_any_size_make_the_same_text),
        T(test_text_reads_back),
        T(test_text_of_virtual_tables_reads_back),
        T(test_a_virtual_table_is_wanted_with_all_it_consists_of),
        T(test_a_vacuumed_one_is_small_and_leaves_nothing),
        T(test_a_vacuumed_one_can_be_canceled),
        T(test_short_memory_is_told),
    };
    library_once();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
