/* test_live.c — a database that lives in its image's file: after a cut the main file holds exactly the cut's moment,
 * whatever was written meanwhile and whoever was reading; it is opened in place, and damage is found where it is read. */
#include "db_fixture.h"
#include <rq/util/crc.h>

enum { PAGES_MAX = 9000, READERS = 6 };

struct kept { /* the image: pages of both files as the last cut gave them */
    struct db_moment moment;
    uint8_t state[256];
    uint8_t *page[DB_SET_COUNT][PAGES_MAX];
    bool given[PAGES_MAX]; /* by the last cut, of the main file */
    uint32_t sums[PAGES_MAX];
};

static struct node_db node;
static struct kept kept;
static struct err_text why;

static struct db_config config_live(void)
{
    struct db_config c = config_default();
    c.on_disk = true;
    c.live = true;
    c.cache_pages = 10;
    return c;
}

static int setup(void **state)
{
    struct db_config c = config_live();
    (void)state;
    memset(&kept, 0, sizeof(kept));
    node_db_init(&node, 3, &c);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    for (unsigned i = 0; i < DB_SET_COUNT; i++)
        for (unsigned n = 0; n < PAGES_MAX; n++)
            free(kept.page[i][n]);
    node_db_fini(&node);
    return 0;
}

static int keep_page(void *ctx, unsigned set, uint32_t number, const void *bytes)
{
    uint32_t len = kept.moment.page_bytes[set];
    (void)ctx;
    assert_true(number >= 1 && number < PAGES_MAX);
    if (!kept.page[set][number])
        kept.page[set][number] = malloc(65536);
    memcpy(kept.page[set][number], bytes, len);
    if (set == DB_SET_MAIN) {
        kept.given[number] = true;
        kept.sums[number - 1] = crc32c(0, bytes, len);
    }
    return number % 3 == 0 ? DB_MORE : 0; /* in pieces */
}

static int kept_page(void *ctx, unsigned set, uint32_t number, void *dst)
{
    (void)ctx;
    assert_int_equal(set, DB_SET_KEYS); /* the main file is not read */
    memcpy(dst, kept.page[set][number], kept.moment.page_bytes[set]);
    return 0;
}

static void keep(struct db_cut *c)
{
    uint32_t known[DB_SET_COUNT] = {kept.moment.page_count[0], kept.moment.page_count[1]};

    kept.moment = *db_cut_moment(c);
    memcpy(kept.state, kept.moment.state.data, kept.moment.state.len);
    kept.moment.state.data = kept.state;
    memset(kept.given, 0, sizeof(kept.given));
    int rc = DB_MORE;
    while (rc == DB_MORE)
        rc = db_cut_pages(c, known, keep_page, NULL);
    assert_int_equal(rc, 0);
}

/* What the image does with its journal: from a page on, so many at most; the next one. */
static uint32_t bring_some(uint32_t n, uint32_t count)
{
    uint32_t bytes = kept.moment.page_bytes[0];

    for (; n <= kept.moment.page_count[0] && count > 0; n++) {
        if (!kept.given[n])
            continue;
        assert_int_equal(db_main_write(node.db, n, kept.page[0][n], bytes), 0);
        count--;
    }
    return n;
}

static void settle(void)
{
    uint32_t bytes = kept.moment.page_bytes[0];
    assert_int_equal(db_main_settle(node.db, (uint64_t)bytes * kept.moment.page_count[0]), 0);
}

static void expect_the_file_is_the_moment(void)
{
    static uint8_t got[65536];
    uint32_t bytes = kept.moment.page_bytes[0];

    for (uint32_t n = 1; n <= kept.moment.page_count[0]; n++) {
        size_t len;
        assert_int_equal(db_main_read(node.db, got, bytes, (uint64_t)(n - 1) * bytes, &len), 0);
        assert_int_equal(len, bytes);
        if (memcmp(got, kept.page[0][n], bytes) != 0)
            fail_msg("page %u of %u is not as of index %llu", n, kept.moment.page_count[0],
                     (unsigned long long)kept.moment.index);
    }
}

static struct db_cut *cut_begin(void)
{
    struct db_cut *c = NULL;
    assert_int_equal(db_cut_begin(node.db, &c, &why), 0);
    return c;
}

/* From when its pages are kept. */
static void cut_finish(struct db_cut *c)
{
    assert_int_equal(db_cut_clear(c), 0);
    (void)bring_some(1, UINT32_MAX);
    assert_int_equal(db_cut_copy(c), 0);
    db_cut_end(c, true);
    settle();
    expect_the_file_is_the_moment();
}

static void cut_whole(void)
{
    struct db_cut *c = cut_begin();
    keep(c);
    cut_finish(c);
}

static void open_in_place(void)
{
    struct db_source source = {
        .moment = kept.moment, .page = kept_page, .main_sums = kept.sums, .ctx = NULL};

    if (node.db)
        db_close(node.db);
    node.db = NULL;
    assert_int_equal(db_open(node.env, &node.config, &source, &node.db, &why), 0);
    node.next = kept.moment.index + 1;
}

/* ---- readers ------------------------------------------------------------------------------------------ */

struct held { /* a query that stays open, and what it must go on to see */
    struct db_reader *reader;
    struct record out;
    struct payload p;
    bool open;
    uint64_t index;
    char expected[64];
};

static bool pause_always(void *ctx)
{
    (void)ctx;
    return true;
}

static void held_begin(struct held *h)
{
    static const char *const sql[] = {"SELECT 1", "SELECT sum(length(y)*x), count(*) FROM t"};
    struct record now;

    record_init(&now);
    if (!h->reader)
        assert_int_equal(db_reader_open(node.db, &h->reader, &why), 0);
    snprintf(h->expected, sizeof(h->expected), "%s",
             strstr(query(h->reader, &now, 'q', sql[1]), "row "));
    record_fini(&now);
    record_init(&h->out);
    h->p = payload_make('Q', (const char *const[]){"SELECT x FROM t LIMIT 1", sql[1]}, 2);
    struct db_query q = {.payload = slice_of(h->p.bytes, h->p.len),
                         .transaction = true,
                         .sink = &h->out.sink,
                         .pause = pause_always};
    on_reset(&h->out.sink);
    assert_int_equal(db_query_begin(h->reader, &q, &why), DB_MORE);
    h->open = true;
    h->index = node.next;
}

static void held_end(struct held *h)
{
    int rc;

    if (!h->open)
        return;
    while ((rc = db_query_resume(h->reader, &why)) == DB_MORE)
        continue;
    assert_int_equal(rc, 0);
    if (!strstr(h->out.text, h->expected))
        fail_msg("a query begun at %llu, until %llu: %s, not %s", (unsigned long long)h->index,
                 (unsigned long long)node.next, h->out.text, h->expected);
    record_fini(&h->out);
    free(h->p.bytes);
    h->open = false;
}

/* ---- claims --------------------------------------------------------------------------------------------- */

static void some_entry(struct prng *p)
{
    static const char *const sql[] = {
        ("INSERT INTO t(y) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<40)"
         " SELECT hex(randomblob(300)) FROM n"),
        "UPDATE t SET y=hex(randomblob(100+x%200)) WHERE x%7=3",
        "UPDATE t SET y=hex(randomblob(20)) WHERE x=(SELECT max(x) FROM t)",
        "UPDATE t SET y=hex(randomblob(20)) WHERE x=1",
        "DELETE FROM t WHERE x%3=1 AND x>9",
        "DELETE FROM t WHERE x>(SELECT max(x)/2+9 FROM t)",
        "VACUUM",
    };
    uint64_t draw = prng_below(p, 15);

    apply(&node, 'e', sql[draw < 6 ? draw : draw < 14 ? draw % 4 : 6]);
}

static void test_the_main_file_is_the_moment_of_the_cut(void **state)
{
    (void)state;
    struct held held[READERS] = {0};
    struct db_cut *cut = NULL;
    bool sealed = false;
    uint32_t next = 0; /* page to bring; 0: the file may not be changed */
    uint32_t cuts = 0, busy = 0, opened = 0, again = 0;
    struct prng p;

    prng_init(&p, 5);
    apply(&node, 'e', "CREATE TABLE t(x INTEGER PRIMARY KEY, y)");
    apply(&node, 'e', "INSERT INTO t(y) VALUES('a'),('b')");
    for (uint32_t step = 0; step < 5000; step++) {
        uint64_t draw = prng_below(&p, 100);
        struct held *h = &held[prng_below(&p, READERS)];
        if (draw < 55) {
            some_entry(&p);
        } else if (draw < 65) {
            if (!h->open)
                held_begin(h);
        } else if (draw < 85) {
            held_end(h);
        } else if (!cut) {
            int rc = db_cut_begin(node.db, &cut, &why);
            assert_true(rc == 0 ||
                        rc == ERR_BUSY); /* all of SQLite's places for readers are taken */
            again += rc == ERR_BUSY;
        } else if (!sealed) {
            keep(cut);
            sealed = true;
        } else if (next == 0) {
            int rc = db_cut_clear(cut);
            assert_true(rc == 0 || rc == ERR_BUSY);
            busy += rc == ERR_BUSY;
            next = rc == 0;
        } else if (next <= kept.moment.page_count[0]) {
            next = bring_some(next, 1 + (uint32_t)prng_below(&p, 40));
        } else {
            assert_int_equal(db_cut_copy(cut), 0);
            if (draw % 2)
                some_entry(&p);
            db_cut_end(cut, true);
            cut = NULL;
            sealed = false;
            next = 0;
            cuts++;
            some_entry(&p);
            settle();
            expect_the_file_is_the_moment();
        }
        if (!cut && cuts && draw % 10 == 7) { /* anew from what the file holds */
            for (unsigned i = 0; i < READERS; i++) {
                held_end(&held[i]);
                if (held[i].reader)
                    db_reader_close(held[i].reader);
                held[i].reader = NULL;
            }
            open_in_place();
            assert_int_equal(db_integrity_check(node.db, &why), 0);
            opened++;
        }
    }
    for (unsigned i = 0; i < READERS; i++) {
        held_end(&held[i]);
        if (held[i].reader)
            db_reader_close(held[i].reader);
    }
    if (cut)
        db_cut_end(cut, false);
    print_message("%u cuts, %u times held back, %u without a place, opened %u times\n", cuts, busy,
                  again, opened);
    assert_true(cuts > 50 && busy > 20 && opened > 5);
}

static void test_a_page_changed_again_behind_the_cut_is_brought(void **state)
{
    (void)state;
    apply(&node, 'e', "CREATE TABLE t(x INTEGER PRIMARY KEY, y)");
    apply(&node, 'e', "INSERT INTO t(y) VALUES('before')");
    struct db_cut *c = cut_begin();
    keep(c);
    apply(&node, 'e', "UPDATE t SET y='behind'"); /* the same page: SQLite passes over it */
    cut_finish(c);
    struct db_reader *r;
    struct record out;
    record_init(&out);
    assert_int_equal(db_reader_open(node.db, &r, &why), 0);
    assert_non_null(strstr(query(r, &out, 'q', "SELECT y FROM t"), "row behind"));
    db_reader_close(r);
    open_in_place();
    assert_int_equal(db_reader_open(node.db, &r, &why), 0);
    assert_non_null(strstr(query(r, &out, 'q', "SELECT y FROM t"), "row before"));
    db_reader_close(r);
    record_fini(&out);
}

/* Of the WAL's index the first region has 4062 frames, the others 4096: frames of four are read. */
static void test_a_long_wal_is_read_region_by_region(void **state)
{
    static const char sum[] = "SELECT sum(x*unicode(y)), group_concat(substr(y,1,9)) FROM t";
    struct db_reader *r;
    struct record before, after;
    struct db_state now;

    (void)state;
    record_init(&before);
    record_init(&after);
    apply(&node, 'e', "CREATE TABLE t(x INTEGER PRIMARY KEY, y)");
    apply(
        &node, 'e',
        "INSERT INTO t(y) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<150)"
        " SELECT hex(randomblob(1500)) FROM n");
    for (unsigned i = 0; i < 90; i++)
        apply(&node, 'e', "UPDATE t SET y=hex(randomblob(1500))");
    apply(&node, 'e', "UPDATE t SET y=hex(randomblob(1500)) WHERE x=20");
    db_state(node.db, &now);
    assert_true(now.wal_used_bytes > (4062 + 2 * 4096) * 4120ULL);
    assert_int_equal(db_reader_open(node.db, &r, &why), 0);
    (void)query(r, &before, 'q', sum);
    db_reader_close(r);
    cut_whole();
    open_in_place();
    assert_int_equal(db_integrity_check(node.db, &why), 0);
    assert_int_equal(db_reader_open(node.db, &r, &why), 0);
    (void)query(r, &after, 'q', sum);
    db_reader_close(r);
    assert_non_null(strstr(before.text, "row "));
    assert_string_equal(after.text, before.text);
    record_fini(&before);
    record_fini(&after);
}

/* Who comes while pages are on their way, and is there when all are, sees what was committed and nothing else. */
static void test_readers_and_writers_go_on_while_pages_are_brought(void **state)
{
    (void)state;
    struct held h[3] = {0};

    apply(&node, 'e', "CREATE TABLE t(x INTEGER PRIMARY KEY, y)");
    for (unsigned i = 0; i < 3; i++)
        apply(&node, 'e',
              "INSERT INTO t(y) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE "
              "i<99) SELECT hex(randomblob(300)) FROM n");
    struct db_cut *c = cut_begin();
    keep(c);
    assert_int_equal(db_cut_clear(c), 0);
    uint32_t next = 1;
    for (unsigned i = 0; i < 3; i++) {
        held_begin(&h[i]);
        next = bring_some(next, kept.moment.page_count[0] / 4);
        apply(&node, 'e', "UPDATE t SET y=hex(randomblob(99)) WHERE x%7=3");
    }
    (void)bring_some(next, UINT32_MAX);
    assert_int_equal(db_cut_copy(c), 0);
    db_cut_end(c, true);
    settle();
    expect_the_file_is_the_moment();
    for (unsigned i = 0; i < 3; i++) {
        held_end(&h[i]);
        db_reader_close(h[i].reader);
    }
    open_in_place();
    assert_int_equal(db_integrity_check(node.db, &why), 0);
}

static void test_an_older_reader_holds_the_file_back(void **state)
{
    (void)state;
    struct held h = {0};

    apply(&node, 'e', "CREATE TABLE t(x INTEGER PRIMARY KEY, y)");
    apply(&node, 'e', "INSERT INTO t(y) VALUES('a')");
    held_begin(&h);
    apply(&node, 'e', "UPDATE t SET y='b'");
    struct db_cut *c = cut_begin();
    keep(c);
    assert_int_equal(db_cut_clear(c), ERR_BUSY);
    held_end(&h);
    cut_finish(c);
    db_reader_close(h.reader);
}

/* SQLite has four places for readers of the WAL: who shares one sees no older state than its own, but a checkpoint
 * would stop before it. */
static void test_a_cut_without_a_place_of_its_own_is_refused(void **state)
{
    (void)state;
    struct held h[4] = {0};
    struct db_cut *c = NULL;

    apply(&node, 'e', "CREATE TABLE t(x INTEGER PRIMARY KEY, y)");
    for (unsigned i = 0; i < 4; i++) {
        apply(&node, 'e', "INSERT INTO t(y) VALUES('a')");
        held_begin(&h[i]);
    }
    apply(&node, 'e', "INSERT INTO t(y) VALUES('a')");
    assert_int_equal(db_cut_begin(node.db, &c, &why), ERR_BUSY);
    held_end(&h[0]);
    c = cut_begin();
    keep(c);
    for (unsigned i = 1; i < 4; i++)
        held_end(&h[i]);
    cut_finish(c);
    for (unsigned i = 0; i < 4; i++)
        db_reader_close(h[i].reader);
}

static void test_the_wal_is_begun_anew_after_a_whole_cut(void **state)
{
    (void)state;
    struct db_state s;
    uint64_t most = 0;
    struct held h = {0};

    apply(&node, 'e', "CREATE TABLE t(x INTEGER PRIMARY KEY, y)");
    for (unsigned i = 0; i < 300; i++) {
        apply(&node, 'e', "INSERT INTO t(y) VALUES(hex(randomblob(1000)))");
        if (i % 10 == 9) {
            cut_whole();
            assert_int_equal(db_wal_restart(node.db), 0);
        }
        db_state(node.db, &s);
        most = s.wal_bytes > most ? s.wal_bytes : most;
    }
    assert_true(most < 100 * 4096);
    apply(&node, 'e',
          "INSERT INTO t(y) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE "
          "i<8000) SELECT hex(randomblob(500)) FROM n");
    db_state(node.db, &s);
    assert_true(s.wal_bytes > 5 << 20);
    cut_whole();
    assert_int_equal(db_wal_restart(node.db), 0); /* so long a file is not kept */
    db_state(node.db, &s);
    assert_int_equal(s.wal_bytes, 0);
    held_begin(&h); /* all is in the main file: who comes now needs no WAL */
    apply(&node, 'e', "INSERT INTO t(y) VALUES('b')");
    db_state(node.db, &s);
    assert_true(s.wal_used_bytes <= 3 * 4096);
    struct held old = {0};
    held_begin(&old);
    apply(&node, 'e', "INSERT INTO t(y) VALUES('c')");
    held_end(&h);
    struct db_cut *c = cut_begin();
    keep(c);
    assert_int_equal(db_cut_clear(c), ERR_BUSY);
    assert_int_equal(db_wal_restart(node.db), 0); /* not all is there: nothing is done */
    held_end(&old);
    cut_finish(c);
    db_reader_close(h.reader);
    db_reader_close(old.reader);
}

static void test_a_long_wal_is_cut_off_in_pieces_when_it_was_begun_anew(void **state)
{
    (void)state;
    struct db_state s;
    struct held h = {0};
    uint32_t pieces = 1;
    int rc;

    apply(&node, 'e', "CREATE TABLE t(x INTEGER PRIMARY KEY, y)");
    apply(&node, 'e',
          "INSERT INTO t(y) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE "
          "i<20000) SELECT hex(randomblob(500)) FROM n");
    cut_whole();
    db_state(node.db, &s);
    uint64_t longest = s.wal_bytes;
    assert_true(longest > 16 << 20 && !s.wal_is_loose);
    assert_int_equal(db_wal_shrink(node.db), 0);
    assert_int_equal(db_wal_restart(node.db), 0);
    db_state(node.db, &s);
    assert_int_equal(s.wal_bytes, longest);
    assert_true(s.wal_is_loose && s.wal_used_bytes == 0);
    apply(&node, 'e', "UPDATE t SET y='first' WHERE x<3");
    held_begin(&h);
    apply(&node, 'e', "UPDATE t SET y='second' WHERE x<3");
    db_state(node.db, &s);
    assert_true(s.wal_is_loose);
    while ((rc = db_wal_shrink(node.db)) == DB_MORE) {
        pieces++;
        apply(&node, 'e', "UPDATE t SET y=hex(randomblob(100)) WHERE x%999=7");
    }
    assert_int_equal(rc, 0);
    assert_true(pieces >= 2);
    db_state(node.db, &s);
    assert_true(s.wal_bytes <= 4 * node.config.wal_limit_bytes && !s.wal_is_loose);
    held_end(&h);
    db_reader_close(h.reader);
    assert_int_equal(db_integrity_check(node.db, &why), 0);
    cut_whole();
}

static void expect_void_header(void)
{
    static const uint8_t zeros[32];
    uint8_t head[32];
    size_t got;
    struct sim_disk *disk = sim_disk_clone(node.disk, 9);
    struct env *other = env_sim_create(disk, 9); /* another process */
    struct env_file *f;

    assert_int_equal(env_file_open(other, "n/db.sqlite-wal", ENV_FILE_READONLY, &f), 0);
    assert_int_equal(env_file_read(f, head, sizeof(head), 0, &got), 0);
    assert_int_equal(got, sizeof(head));
    assert_memory_equal(head, zeros, sizeof(head));
    env_file_close(f);
    env_sim_destroy(other);
    sim_disk_destroy(disk);
}

/* Also where no entry begins it anew; who finds it meanwhile, or a part of it, finds no frames. */
static void test_a_long_wal_goes_while_nothing_is_written(void **state)
{
    struct db_state s;
    int rc;

    (void)state;
    apply(&node, 'e', "CREATE TABLE t(x INTEGER PRIMARY KEY, y)");
    apply(&node, 'e',
          "INSERT INTO t(y) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE "
          "i<20000) SELECT hex(randomblob(500)) FROM n");
    cut_whole();
    assert_int_equal(db_wal_restart(node.db), 0);
    expect_void_header();
    while ((rc = db_wal_shrink(node.db)) == DB_MORE)
        continue;
    assert_int_equal(rc, 0);
    db_state(node.db, &s);
    assert_in_range(s.wal_bytes, 1, 2 * node.config.wal_limit_bytes);
    apply(&node, 'e', "UPDATE t SET y='after' WHERE x<3");
    assert_int_equal(db_integrity_check(node.db, &why), 0);
    cut_whole();
    open_in_place();
    assert_int_equal(db_integrity_check(node.db, &why), 0);
}

static void test_a_damaged_page_is_refused_where_it_is_read(void **state)
{
    (void)state;
    struct db_reader *r;
    struct record out;
    apply(&node, 'e', "CREATE TABLE t(x INTEGER PRIMARY KEY, y)");
    apply(
        &node, 'e',
        "INSERT INTO t(y) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<99)"
        " SELECT hex(zeroblob(500)) FROM n");
    cut_whole();
    db_close(node.db);
    node.db = NULL;
    assert_int_equal(env_dir_sync(node.env, "n"), 0);
    assert_int_equal(sim_disk_flip(node.disk, "n/db.sqlite", 20 * 4096 + 1000, 3), 0);
    open_in_place(); /* it is not looked at */
    record_init(&out);
    assert_int_equal(db_reader_open(node.db, &r, &why), 0);
    assert_non_null(strstr(query(r, &out, 'q', "SELECT count(*) FROM t WHERE x<9"), "row 8"));
    const char *const sql[] = {"SELECT sum(length(y)) FROM t"};
    struct payload p = payload_make('q', sql, 1);
    struct db_query q = {.payload = slice_of(p.bytes, p.len), .sink = &out.sink};
    assert_int_equal(db_query(r, &q, &why), ERR_CORRUPT);
    assert_int_equal(db_query(r, &q, &why), ERR_CORRUPT); /* and again */
    free(p.bytes);
    db_reader_close(r);
    record_fini(&out);
}

static void test_a_file_that_is_too_short_is_refused(void **state)
{
    (void)state;
    struct db_source source = {.page = kept_page, .main_sums = kept.sums};
    struct env_file *f;

    apply(&node, 'e', "CREATE TABLE t(x INTEGER PRIMARY KEY, y)");
    cut_whole();
    db_close(node.db);
    node.db = NULL;
    assert_int_equal(env_file_open(node.env, "n/db.sqlite", 0, &f), 0);
    assert_int_equal(env_file_truncate(f, 4096), 0);
    env_file_close(f);
    source.moment = kept.moment;
    assert_int_equal(db_open(node.env, &node.config, &source, &node.db, &why), ERR_CORRUPT);
    assert_null(node.db);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_the_main_file_is_the_moment_of_the_cut, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_a_page_changed_again_behind_the_cut_is_brought, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_a_long_wal_is_read_region_by_region, setup, teardown),
        cmocka_unit_test_setup_teardown(test_readers_and_writers_go_on_while_pages_are_brought,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(test_an_older_reader_holds_the_file_back, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_cut_without_a_place_of_its_own_is_refused, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_the_wal_is_begun_anew_after_a_whole_cut, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_a_long_wal_is_cut_off_in_pieces_when_it_was_begun_anew,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_long_wal_goes_while_nothing_is_written, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_a_damaged_page_is_refused_where_it_is_read, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_a_file_that_is_too_short_is_refused, setup, teardown),
    };
    library_once();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
