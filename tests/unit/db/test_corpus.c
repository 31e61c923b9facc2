/* test_corpus.c — SQL that could make nodes differ, applied by nodes that differ in clock, path, backend,
 * batch limit, cache sizes and restarts. */
#include "db_replicas.h"

struct request {
    char kind; /* payload_make's */
    const char *sql[8];
};

static const struct request corpus[] = {
    /* counters before anything was written */
    {'r', {"SELECT changes(), total_changes(), last_insert_rowid()"}},
    {'e', {"CREATE TABLE counters(id INTEGER PRIMARY KEY, what, c, t, r)"}},
    {'e',
     {"INSERT INTO counters(what,c,t,r) VALUES('first', changes(), total_changes(), "
      "last_insert_rowid())"}},
    /* time and chance wherever SQL allows them */
    {'e',
     {"CREATE TABLE clock(id INTEGER PRIMARY KEY, at TEXT DEFAULT CURRENT_TIMESTAMP, d DEFAULT "
      "CURRENT_DATE,"
      " r DEFAULT (random()), b DEFAULT (hex(randomblob(8))), j DEFAULT (julianday('now')))"}},
    {'e',
     {"INSERT INTO clock DEFAULT VALUES", "INSERT INTO clock DEFAULT VALUES",
      "INSERT INTO clock(at) SELECT strftime('%Y-%m-%d %H:%M:%f','now') FROM clock"}},
    {'r', {"SELECT * FROM clock", "SELECT datetime('now'), random()", "SELECT unixepoch('now')"}},
    {'e',
     {"CREATE TABLE audit(at, what, chance)",
      "CREATE TRIGGER clock_audit AFTER INSERT ON clock BEGIN"
      " INSERT INTO audit VALUES(datetime('now'), new.id, random()); END",
      "CREATE VIEW now_view AS SELECT datetime('now') AS n, random() AS r",
      "INSERT INTO clock(b) SELECT r FROM now_view"}},
    {'E',
     {"INSERT INTO clock DEFAULT VALUES", "UPDATE clock SET r=random() WHERE id%2=0",
      "INSERT INTO audit SELECT * , 1 FROM now_view"}},
    {'e',
     {"CREATE TABLE checked(x CHECK(x > 0 OR length(hex(x)) > 1000), y AS (x * 2), z AS (x || '!') "
      "STORED)",
      "INSERT INTO checked VALUES(1),(2)", "INSERT INTO checked VALUES(3),(-1)",
      "INSERT OR IGNORE INTO checked VALUES(-1),(4)", "SELECT * FROM checked"}},
    {'r',
     {"SELECT * FROM clock ORDER BY random()", "SELECT id FROM clock ORDER BY random() LIMIT 2"}},
    {'e', {"CREATE TABLE shuffled AS SELECT id, random() AS r FROM clock ORDER BY random()"}},
    {'e',
     {"CREATE TABLE ck(x CHECK(x > random() % 2))", "INSERT INTO ck VALUES(0),(0),(0)",
      "INSERT INTO ck VALUES(0)", "INSERT OR IGNORE INTO ck VALUES(0),(0),(0),(0),(0),(0)",
      "CREATE TABLE cn(x CHECK(x > datetime('now')))", "INSERT INTO cn VALUES('3')",
      "CREATE TABLE cg(x, y AS (random()))"}},
    /* upsert, RETURNING, LIMIT on UPDATE and DELETE */
    {'e',
     {"CREATE TABLE up(k PRIMARY KEY, n, at)",
      "INSERT INTO up VALUES('a',1,datetime('now')),('b',2,random()) ON CONFLICT(k) DO UPDATE SET "
      "n=n+1",
      "INSERT INTO up VALUES('a',1,0) ON CONFLICT(k) DO UPDATE SET n=n+10, at=random() RETURNING *",
      "INSERT INTO up VALUES('a',1,0) ON CONFLICT DO NOTHING RETURNING k",
      "UPDATE up SET n=0 ORDER BY random() LIMIT 1",
      "DELETE FROM up ORDER BY k LIMIT 1 RETURNING k,n"}},
    {'e',
     {"INSERT INTO up VALUES(?,?,?)" US "tk" US "i5" US "r1.5",
      "INSERT INTO up VALUES(:k,@n,$at)" US "$k=tz" US "$n=n" US "$at=bxyz",
      "INSERT INTO up VALUES(?,?,?)" US "tk" US "i5",
      "UPDATE up SET n=? WHERE k=?" US "i9" US "tk"}},
    /* the largest rowid is taken: SQLite picks by chance */
    {'e',
     {"CREATE TABLE full(x)", "INSERT INTO full(rowid,x) VALUES(9223372036854775807,1)",
      "INSERT INTO full(x) VALUES(2)"}},
    {'e', {"INSERT INTO full(x) VALUES(3),(4)"}},
    {'e', {"INSERT INTO full(x) SELECT random() FROM full RETURNING rowid"}},
    /* AUTOINCREMENT is exhausted: a result, not the machine's failure */
    {'e',
     {"CREATE TABLE auto(id INTEGER PRIMARY KEY AUTOINCREMENT, x)",
      "INSERT INTO auto(x) VALUES('one')", "INSERT INTO auto VALUES(9223372036854775807,'last')"}},
    {'e', {"INSERT INTO counters(what,c) VALUES('before', changes())"}},
    {'e', {"INSERT INTO auto(x) VALUES('none left')"}},
    {'e',
     {"INSERT INTO counters(what,c,t,r) VALUES('after full', changes(), total_changes(), "
      "last_insert_rowid())"}},
    {'E', {"INSERT INTO counters(what) VALUES('lost')", "INSERT INTO auto(x) VALUES('none left')"}},
    /* what ends a transaction from inside */
    {'e', {"CREATE TABLE u(x UNIQUE)", "INSERT INTO u VALUES(1),(2)"}},
    {'e', {"INSERT INTO u VALUES(10)"}},
    {'e', {"INSERT INTO counters(what,c,t) VALUES('c1', changes(), total_changes())"}},
    {'e', {"UPDATE u SET x=x+100"}},
    {'e',
     {"INSERT INTO counters(what,c,t,r) SELECT 'c3', changes(), total_changes(), "
      "last_insert_rowid()"}},
    {'e',
     {"INSERT INTO u VALUES(11)", "INSERT OR ROLLBACK INTO u VALUES(101)",
      "INSERT INTO u VALUES(12)"}},
    {'r', {"SELECT changes(), total_changes(), last_insert_rowid()"}},
    {'e',
     {"INSERT INTO counters(what,c,t,r) VALUES('after rollback', changes(), total_changes(), "
      "last_insert_rowid())"}},
    {'E', {"INSERT INTO u VALUES(13)", "INSERT OR ROLLBACK INTO u VALUES(101)"}},
    {'R', {"INSERT INTO u VALUES(14)", "SELECT * FROM nowhere", "INSERT INTO u VALUES(15)"}},
    {'e',
     {"CREATE TABLE ur(x UNIQUE ON CONFLICT ROLLBACK, y UNIQUE ON CONFLICT FAIL)",
      "INSERT INTO ur VALUES(1,1)", "INSERT INTO ur VALUES(2,2)"}},
    {'e', {"INSERT INTO ur VALUES(3,3)", "INSERT INTO ur VALUES(1,9)", "SELECT changes()"}},
    {'e', {"INSERT INTO ur VALUES(5,5),(6,3),(7,7)"}},
    {'e', {"INSERT INTO counters(what,c,t) VALUES('after fail', changes(), total_changes())"}},
    {'e',
     {"CREATE TRIGGER u_guard BEFORE INSERT ON u WHEN new.x > 1000 BEGIN SELECT "
      "RAISE(ROLLBACK,'too much'); END",
      "CREATE TRIGGER u_log AFTER INSERT ON u BEGIN UPDATE counters SET r=changes() WHERE id=-1;"
      " INSERT INTO counters(what,c,t) VALUES('in trigger', changes(), total_changes()); END"}},
    {'e', {"INSERT INTO u VALUES(20)"}},
    {'e',
     {"INSERT INTO u VALUES(21),(22)", "INSERT INTO u VALUES(1001)", "INSERT INTO u VALUES(23)"}},
    {'e', {"UPDATE u SET x=x WHERE x < 0"}},
    {'e', {"INSERT INTO u VALUES(24)"}},
    {'e',
     {"INSERT OR FAIL INTO u VALUES(30),(24),(31)", "INSERT OR REPLACE INTO u VALUES(24)",
      "INSERT OR ABORT INTO u VALUES(32),(24)"}},
    /* schema changes around statements that may be cached */
    {'e', {"CREATE TABLE change(a)", "INSERT INTO change VALUES(?)" US "i1"}},
    {'e', {"INSERT INTO change VALUES(?)" US "i2"}},
    {'r', {"SELECT * FROM change", "UPDATE change SET a=a+1 RETURNING *"}},
    {'e', {"ALTER TABLE change ADD COLUMN b DEFAULT 7"}},
    {'r', {"SELECT * FROM change", "UPDATE change SET a=a+1 RETURNING *"}},
    {'e', {"INSERT INTO change VALUES(?)" US "i3"}},
    {'e', {"DROP TABLE change"}},
    {'e',
     {"INSERT INTO change VALUES(?)", "INSERT INTO change VALUES(?)" US "i4",
      "SELECT * FROM change"}},
    {'r', {"SELECT * FROM change", "INSERT INTO counters(what,c) VALUES('dropped', changes())"}},
    {'E',
     {"CREATE TABLE change(x)", "INSERT INTO change VALUES(?)" US "i5",
      "INSERT INTO nowhere VALUES(1)"}},
    {'e', {"INSERT INTO change VALUES(?)" US "i6"}},
    {'e', {"CREATE TABLE change(x,y,z)", "INSERT INTO change VALUES(1,2,3)"}},
    {'e',
     {"BEGIN", "ALTER TABLE change ADD COLUMN w", "UPDATE change SET a=1 RETURNING *",
      "UPDATE change SET x=5 RETURNING *", "ROLLBACK", "UPDATE change SET x=5 RETURNING *"}},
    {'e',
     {"BEGIN", "DROP TABLE change", "INSERT INTO u VALUES(40)",
      "INSERT OR ROLLBACK INTO u VALUES(40)", "UPDATE change SET x=6 RETURNING *"}},
    {'e',
     {"CREATE INDEX change_x ON change(x)", "CREATE UNIQUE INDEX u2 ON counters(what)", "REINDEX",
      "ANALYZE"}},
    {'r', {"SELECT * FROM sqlite_stat1", "SELECT type,name,rootpage>0 FROM sqlite_schema"}},
    {'e',
     {"ALTER TABLE change RENAME TO changed", "ALTER TABLE changed RENAME COLUMN y TO yy",
      "ALTER TABLE changed DROP COLUMN z", "SELECT * FROM changed"}},
    /* facts of one node */
    {'e',
     {"CREATE TABLE facts(x)", "INSERT INTO facts SELECT sql FROM sqlite_stmt",
      "INSERT INTO facts SELECT file FROM pragma_database_list",
      "INSERT INTO facts VALUES(sqlite_source_id())",
      "INSERT INTO facts SELECT sqlite_compileoption_get(0)",
      "INSERT INTO facts SELECT count(*) FROM dbstat",
      "INSERT INTO facts SELECT name FROM pragma_table_list",
      "INSERT INTO facts SELECT load_extension('x')"}},
    {'e',
     {"INSERT INTO facts SELECT * FROM pragma_cache_size",
      "INSERT INTO facts SELECT * FROM pragma_compile_options",
      "INSERT INTO facts SELECT name FROM pragma_table_info('clock')",
      "INSERT INTO facts SELECT * FROM pragma_optimize",
      "INSERT INTO facts SELECT * FROM pragma_wal_checkpoint",
      "CREATE TABLE sneaky(a, b DEFAULT (sqlite_source_id()))", "INSERT INTO sneaky(a) VALUES(1)"}},
    {'e',
     {"ATTACH 'other.db' AS o", "ATTACH ':memory:' AS m", "VACUUM INTO 'x.db'",
      "CREATE TEMP TABLE tt(x)", "CREATE TEMP VIEW tv AS SELECT 1", "DETACH main"}},
    /* PRAGMAs */
    {'e',
     {"PRAGMA user_version=7", "PRAGMA application_id=77", "PRAGMA cache_size=5",
      "PRAGMA journal_mode", "PRAGMA encoding='UTF-16'", "PRAGMA optimize",
      "PRAGMA writable_schema=ON", "PRAGMA page_size=512"}},
    {'r',
     {"PRAGMA user_version", "PRAGMA application_id", "PRAGMA encoding", "PRAGMA foreign_keys",
      "PRAGMA recursive_triggers", "PRAGMA schema_version"}},
    {'e', {"PRAGMA case_sensitive_like=ON"}},
    {'r', {"SELECT 'a' LIKE 'A'"}},
    {'e', {"PRAGMA case_sensitive_like=OFF", "EXPLAIN PRAGMA user_version=8"}},
    {'r', {"SELECT 'a' LIKE 'A'", "PRAGMA user_version"}},
    {'e', {"PRAGMA ignore_check_constraints=ON", "INSERT INTO checked VALUES(-5)"}},
    {'e',
     {"INSERT INTO checked VALUES(-6)", "PRAGMA ignore_check_constraints=OFF",
      "INSERT INTO checked VALUES(-7)"}},
    {'q', {"PRAGMA foreign_keys=ON"}},
    {'q',
     {"PRAGMA user_version=9", "PRAGMA incremental_vacuum", "PRAGMA case_sensitive_like=ON",
      "SELECT random()", "INSERT INTO u VALUES(77)", "BEGIN", "PRAGMA optimize", "VACUUM"}},
    {'r', {"PRAGMA foreign_keys", "PRAGMA user_version", "SELECT 'a' LIKE 'A'"}},
    /* foreign keys, immediate and deferred */
    {'e',
     {"CREATE TABLE parent(id INTEGER PRIMARY KEY)",
      "CREATE TABLE child(p REFERENCES parent DEFERRABLE INITIALLY DEFERRED, q REFERENCES parent)",
      "INSERT INTO child(p) VALUES(1),(2),(3)"}},
    {'e', {"PRAGMA foreign_keys=ON"}},
    {'r', {"PRAGMA foreign_keys"}},
    {'e', {"INSERT INTO child(p) VALUES(4)"}},
    {'e',
     {"INSERT INTO parent VALUES(1)"}}, /* an orphan's repair: SQLite's counter goes below zero */
    {'e', {"INSERT INTO child(p) VALUES(5)"}},
    {'e',
     {"INSERT INTO child(q) VALUES(5)", "INSERT INTO counters(what,c,t,r) VALUES('fk', changes(), "
                                        "total_changes(), last_insert_rowid())"}},
    {'E', {"INSERT INTO child(p) VALUES(5)", "INSERT INTO parent VALUES(5)"}},
    {'E', {"INSERT INTO child(p) VALUES(6)", "INSERT INTO parent VALUES(7)"}},
    {'e',
     {"BEGIN", "INSERT INTO child(p) VALUES(8)", "COMMIT", "INSERT INTO parent VALUES(8)",
      "COMMIT"}},
    {'e', {"PRAGMA defer_foreign_keys=ON"}},
    {'E', {"INSERT INTO child(q) VALUES(9)", "INSERT INTO parent VALUES(9)"}},
    {'e',
     {"DELETE FROM parent WHERE id=5", "DROP TABLE parent", "DELETE FROM child",
      "DROP TABLE child"}},
    {'e',
     {"CREATE TABLE p2(id INTEGER PRIMARY KEY)",
      "CREATE TABLE c2(p REFERENCES p2 ON DELETE CASCADE ON UPDATE SET NULL)",
      "INSERT INTO p2 VALUES(1),(2)", "INSERT INTO c2 VALUES(1),(1),(2)"}},
    {'e', {"PRAGMA defer_foreign_keys=ON"}},
    {'e', {"INSERT INTO c2 VALUES(99)"}},
    {'E', {"INSERT INTO c2 VALUES(98)", "INSERT INTO p2 VALUES(98)"}},
    {'e', {"DELETE FROM p2 WHERE id=1", "UPDATE p2 SET id=3 WHERE id=2", "SELECT * FROM c2"}},
    {'e', {"PRAGMA foreign_keys=OFF"}},
    {'e', {"INSERT INTO c2 VALUES(99)"}},
    /* transactions and savepoints by hand */
    {'e',
     {"BEGIN", "INSERT INTO u VALUES(50)", "SAVEPOINT a", "INSERT INTO u VALUES(51)",
      "ROLLBACK TO a", "RELEASE a", "COMMIT"}},
    {'e',
     {"SAVEPOINT rq_entry", "INSERT INTO u VALUES(52)", "ROLLBACK TO rq_entry",
      "RELEASE rq_entry"}},
    {'e', {"BEGIN IMMEDIATE", "INSERT INTO u VALUES(53)"}},
    {'E', {"INSERT INTO u VALUES(54)", "COMMIT", "INSERT INTO u VALUES(55)"}},
    {'E', {"ROLLBACK TO rq_entry", "INSERT INTO u VALUES(56)"}},
    {'E', {"SAVEPOINT s", "INSERT INTO u VALUES(57)", "ROLLBACK TO s"}},
    {'R', {"BEGIN", "SELECT 1"}},
    {'e', {"COMMIT", "ROLLBACK", "END", "RELEASE nothing"}},
    /* several statements in one text */
    {'e',
     {"INSERT INTO u VALUES(60); INSERT INTO u VALUES(61);",
      "INSERT INTO u VALUES(62); INSERT INTO u VALUES(60); SELECT 1",
      "BEGIN; INSERT INTO u VALUES(63); ROLLBACK", "; ; SELECT 1 ; -- end", "-- only words", ""}},
    {'r',
     {"SELECT 1; INSERT INTO u VALUES(64)",
      "CREATE TABLE ab(x); INSERT INTO ab VALUES(random()); SELECT * FROM ab"}},
    {'e',
     {"INSERT INTO ab VALUES(?1); INSERT INTO ab VALUES(?1)" US "i1" US "i2",
      "PRAGMA user_version=3; INSERT INTO ab VALUES(random())"}},
    /* WITHOUT ROWID, STRICT, full text, r-tree, JSON */
    {'e',
     {"CREATE TABLE wr(a,b,c, PRIMARY KEY(b,a)) WITHOUT ROWID",
      "INSERT INTO wr VALUES(1,2,random()),(2,1,datetime('now'))", "INSERT INTO wr VALUES(1,2,3)",
      "CREATE INDEX wr_c ON wr(c)", "CREATE TABLE st(i INT, t TEXT) STRICT",
      "INSERT INTO st VALUES('x',1)", "INSERT INTO st VALUES(1,'x')"}},
    {'e',
     {"SELECT json_group_array(id) FROM clock",
      "INSERT INTO ab SELECT value FROM json_each('[1,2,3]')"}},
    {'e', {"CREATE VIRTUAL TABLE ft USING fts5(body)"}},
    {'e', {"INSERT INTO ft VALUES('the quick brown fox')"}},
    {'e', {"INSERT INTO ft VALUES('jumps over'),('the lazy dog')"}},
    {'e',
     {"INSERT INTO counters(what,c,t,r) VALUES('ft', changes(), total_changes(), "
      "last_insert_rowid())"}},
    {'E', {"INSERT INTO ft VALUES('one')", "INSERT INTO ft VALUES('two')"}},
    {'r', {"SELECT changes(), total_changes(), last_insert_rowid()"}},
    {'e',
     {"BEGIN", "INSERT INTO ft VALUES('three')", "COMMIT",
      "INSERT INTO counters(what,c,t,r) VALUES('ft2', changes(), total_changes(), "
      "last_insert_rowid())"}},
    {'E', {"INSERT INTO ft VALUES('gone')", "INSERT INTO nowhere VALUES(1)"}},
    {'r',
     {"SELECT rowid, * FROM ft WHERE ft MATCH 'the' ORDER BY rank",
      "SELECT count(*) FROM ft_data"}},
    {'e',
     {"DELETE FROM ft WHERE rowid=2", "INSERT INTO ft(ft) VALUES('optimize')",
      "UPDATE ft SET body='new' WHERE rowid=1"}},
    {'e', {"CREATE VIRTUAL TABLE f4 USING fts4(body)", "INSERT INTO f4 VALUES('a b c')"}},
    {'e', {"INSERT INTO f4 VALUES('b c d')"}},
    {'e',
     {"CREATE VIRTUAL TABLE rt USING rtree(id,x1,x2)", "INSERT INTO rt VALUES(1,0,1),(2,5,6)",
      "DELETE FROM rt WHERE id=1"}},
    {'e',
     {"INSERT INTO counters(what,c,t,r) VALUES('rt', changes(), total_changes(), "
      "last_insert_rowid())"}},
    {'e', {"DROP TABLE ft", "DROP TABLE f4", "DROP TABLE rt"}},
    {'e', {"INSERT INTO u VALUES(70)"}},
    {'e', {"INSERT INTO u VALUES(71)"}},
    /* the file as a whole: what waits in the connection for a VACUUM that comes much later */
    {'e', {"PRAGMA auto_vacuum=FULL", "PRAGMA auto_vacuum"}},
    {'e', {"PRAGMA auto_vacuum=3", "PRAGMA auto_vacuum=on", "INSERT INTO u VALUES(72)"}},
    {'e', {"INSERT INTO u VALUES(73)"}},
    {'e', {"INSERT INTO u VALUES(74)"}},
    {'e', {"INSERT INTO u VALUES(75)"}},
    {'r', {"PRAGMA auto_vacuum"}},
    {'e', {"VACUUM", "PRAGMA auto_vacuum", "PRAGMA freelist_count"}},
    {'e', {"INSERT INTO u VALUES(76)"}},
    {'r', {"PRAGMA auto_vacuum", "PRAGMA page_count"}},
    {'e',
     {"PRAGMA auto_vacuum=INCREMENTAL", "VACUUM", "DELETE FROM u", "PRAGMA incremental_vacuum(2)",
      "VACUUM"}},
    {'e',
     {"INSERT INTO counters(what,c,t,r) VALUES('vacuum', changes(), total_changes(), "
      "last_insert_rowid())"}},
    {'e',
     {"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<3000)"
      " INSERT INTO ab SELECT i*1000+random()%7 FROM n"}},
    {'e',
     {"CREATE TABLE big(id INTEGER PRIMARY KEY, b)",
      "INSERT INTO big(b) SELECT randomblob(3000) FROM ab LIMIT 300",
      "UPDATE big SET b=randomblob(500) WHERE id%3=0", "DELETE FROM big WHERE id%5=0"}},
    /* the leader's own upkeep */
    {'u', {"ANALYZE"}},
    {'e', {"INSERT INTO u VALUES(78)"}},
    {'u', {"VACUUM"}},
    {'r', {"SELECT * FROM sqlite_stat1 ORDER BY 1, 2, 3", "PRAGMA page_count"}},
    {'e',
     {"INSERT INTO counters(what,c,t,r) VALUES('upkeep', changes(), total_changes(), "
      "last_insert_rowid())"}},
    {'e', {"ANALYZE", "SELECT * FROM sqlite_stat1 ORDER BY 1, 2, 3"}},
    {'e', {"INSERT OR ROLLBACK INTO wr VALUES(1,2,3)"}},
    {'e',
     {"INSERT INTO counters(what,c,t,r) VALUES('end', changes(), total_changes(), "
      "last_insert_rowid())"}},
    {'r',
     {"SELECT * FROM counters", "SELECT count(*), sum(length(b)) FROM big",
      "SELECT zeroblob(2000000000)", "SELECT abs(-9223372036854775808)"}},
    {'q', {"SELECT datetime('now'), random(), changes()"}},
};

static void corpus_add(struct replica_log *l, size_t i, const char *key)
{
    size_t n = 0;
    while (n < 8 && corpus[i].sql[n])
        n++;
    log_add_keyed(l, corpus[i].kind, (corpus[i].kind | 0x20) == 'q' ? "" : key, corpus[i].sql, n);
}

static void corpus_load(struct replica_log *l)
{
    memset(l, 0, sizeof(*l));
    for (size_t i = 0; i < sizeof(corpus) / sizeof(corpus[0]); i++)
        corpus_add(l, i, "");
}

/* Every request with a key, and now and then, at once or later, the same again or another one under the
 * key of an earlier one. */
static void corpus_load_keyed(struct replica_log *l)
{
    char key[20];

    memset(l, 0, sizeof(*l));
    for (size_t i = 0; i < sizeof(corpus) / sizeof(corpus[0]); i++) {
        snprintf(key, sizeof(key), "key %zu", i);
        corpus_add(l, i, i % 11 ? key : "");
        if (i % 3 == 0)
            corpus_add(l, i, key);
        size_t before = i * 7 % (i + 1);
        snprintf(key, sizeof(key), "key %zu", before);
        if (i % 4 == 0)
            corpus_add(l, before, key);
        if (i % 9 == 0)
            corpus_add(l, i, key);
    }
}

static struct replica_log log_of_test;

static void run_corpus(bool foreign_keys, bool row_digest, void (*load)(struct replica_log *l))
{
    struct db_config c = config_default();

    library_once();
    c.foreign_keys = foreign_keys;
    c.row_digest = row_digest;
    load(&log_of_test);
    reference_run(&log_of_test, &c);
    for (size_t i = 0; i < sizeof(replicas) / sizeof(replicas[0]); i++)
        replica_run(&log_of_test, &replicas[i], &c);
    log_fini(&log_of_test);
}

/* Else equality of results would prove nothing. */
static void test_clocks_of_the_nodes_differ(void **state)
{
    struct db_config c = config_default();
    struct record out[2];
    struct err_text why;

    (void)state;
    library_once();
    for (int i = 0; i < 2; i++) {
        struct node_db n;
        struct db_reader *r;
        record_init(&out[i]);
        node_db_init(&n, 2 + (uint64_t)i, &c);
        assert_int_equal(db_reader_open(n.db, &r, &why), 0);
        query(r, &out[i], 'q', "SELECT datetime('now') AS n");
        db_reader_close(r);
        node_db_fini(&n);
    }
    assert_string_not_equal(out[0].text, out[1].text);
    record_fini(&out[0]);
    record_fini(&out[1]);
}

static void test_corpus_is_equal_on_all_nodes(void **state)
{
    (void)state;
    run_corpus(false, false, corpus_load);
}

static void test_corpus_is_equal_with_foreign_keys(void **state)
{
    (void)state;
    run_corpus(true, false, corpus_load);
}

static void test_corpus_is_equal_with_digest_of_rows(void **state)
{
    (void)state;
    run_corpus(false, true, corpus_load);
}

static void test_corpus_with_keys_is_equal_on_all_nodes(void **state)
{
    unsigned replayed = 0, reused = 0;

    (void)state;
    corpus_load_keyed(&log_of_test);
    struct db_config c = config_default();
    reference_run(&log_of_test, &c);
    for (uint32_t i = 0; i < log_of_test.count; i++) {
        replayed += strncmp(log_of_test.answer[i], "note replayed", 13) == 0;
        reused += strncmp(log_of_test.answer[i], "note key reused", 15) == 0;
    }
    assert_true(replayed > 20 && reused > 5);
    log_fini(&log_of_test);
    run_corpus(true, true, corpus_load_keyed);
}

static void test_time_is_the_entrys(void **state)
{
    struct db_config c = config_default();
    struct node_db n;

    (void)state;
    library_once();
    node_db_init(&n, 5, &c);
    assert_string_equal(apply(&n, 'r', "SELECT strftime('%Y-%m-%d %H:%M:%f','now') AS t"),
                        "columns t:\nrow 2023-11-14 22:13:21.123\nend\n");
    node_db_fini(&n);
}

/* ANALYZE walks a hash table of SQLite's, whose order follows from how it was filled; a batch that was
 * rolled back fills it anew. */
static void test_analyze_does_not_follow_history(void **state)
{
    static struct replica_log l;
    struct db_config c = config_default();
    struct prng p;
    int live[64], count = 0;

    (void)state;
    library_once();
    prng_init(&p, 3);
    for (int i = 0; i < 60; i++) {
        char text[100];
        const char *sql = text;
        if (count && prng_below(&p, 10) < 4) {
            int at = (int)prng_below(&p, (uint64_t)count);
            snprintf(text, sizeof(text), "DROP TABLE t%d", live[at]);
            live[at] = live[--count];
        } else {
            live[count] = i * 977 % 1000;
            snprintf(text, sizeof(text), "CREATE TABLE t%d AS SELECT 1", live[count++]);
        }
        log_add(&l, 'e', &sql, 1);
    }
    const char *more[] = {"CREATE TABLE u(x UNIQUE)", "INSERT INTO u VALUES(1)",
                          "INSERT OR ROLLBACK INTO u VALUES(1)", "ANALYZE"};
    for (int i = 0; i < 4; i++)
        log_add(&l, 'e', &more[i], 1);
    reference_run(&l, &c);
    for (size_t i = 0; i < sizeof(replicas) / sizeof(replicas[0]); i++)
        replica_run(&l, &replicas[i], &c);
    log_fini(&l);
}

/* What PRAGMA auto_vacuum asks for waits in the connection; a node that begins with a snapshot in between
 * must make the same file of the VACUUM. */
static void test_a_snapshot_holds_what_waits_for_a_vacuum(void **state)
{
    static const char *const asked[] = {"NONE", "full", "INCREMENTAL", "2"};
    static const char *const answers[] = {"0", "1", "2", "2"};
    struct db_config c = config_default();

    (void)state;
    library_once();
    for (size_t i = 0; i < 4; i++) {
        static struct shelf shelf;
        struct db_cut *cut;
        struct err_text why;
        struct node_db n;
        char sql[64], want[64];

        node_db_init(&n, 5, &c);
        (void)apply(&n, 'e', "CREATE TABLE t(a)");
        if (i == 0) { /* a file that is otherwise made already */
            (void)apply(&n, 'e', "PRAGMA auto_vacuum=full");
            (void)apply(&n, 'e', "VACUUM");
        }
        (void)snprintf(sql, sizeof(sql), "PRAGMA auto_vacuum=%s", asked[i]);
        (void)apply(&n, 'e', sql);
        assert_int_equal(db_cut_begin(n.db, &cut, &why), 0);
        shelf_cut_take(&shelf, cut);
        db_close(n.db);
        node_db_open_from(&n, &shelf);
        (void)apply(&n, 'e', "VACUUM");
        (void)snprintf(want, sizeof(want), "columns auto_vacuum:\nrow %s\nend\n", answers[i]);
        assert_string_equal(apply(&n, 'r', "PRAGMA auto_vacuum"), want);
        node_db_fini(&n);
        shelf_fini(&shelf);
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_clocks_of_the_nodes_differ),
        cmocka_unit_test(test_time_is_the_entrys),
        cmocka_unit_test(test_analyze_does_not_follow_history),
        cmocka_unit_test(test_a_snapshot_holds_what_waits_for_a_vacuum),
        cmocka_unit_test(test_corpus_is_equal_on_all_nodes),
        cmocka_unit_test(test_corpus_is_equal_with_foreign_keys),
        cmocka_unit_test(test_corpus_is_equal_with_digest_of_rows),
        cmocka_unit_test(test_corpus_with_keys_is_equal_on_all_nodes),
    };
    if (argc > 1 && strcmp(argv[1], "--show") == 0) { /* what the reference answers */
        struct db_config c = config_default();
        library_once();
        corpus_load(&log_of_test);
        reference_run(&log_of_test, &c);
        for (uint32_t i = 0; i < log_of_test.count; i++) {
            for (size_t k = 0; k < 8 && corpus[i].sql[k]; k++)
                printf("%u %c %s\n", i + 1, corpus[i].kind, corpus[i].sql[k]);
            printf("%s\n", log_of_test.answer[i]);
        }
        return 0;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
