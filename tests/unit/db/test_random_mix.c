/* test_random_mix.c — logs of random requests over a small schema, on nodes that differ. A seed that fails is
 * named; give it as the first argument to see it again, and a number of rounds as the second. */
#include "db_replicas.h"

static const char *const tables[] = {"t0", "t1", "t2"};

static const char *word(struct prng *p)
{
    return tables[prng_below(p, 3)];
}

/* One statement. Small ranges, so that they meet. */
static void statement(struct prng *p, char *out, size_t cap)
{
    static const char *const conflict[] = {
        "", "OR ROLLBACK ", "OR FAIL ", "OR REPLACE ", "OR IGNORE ", ""};
    static const char *const values[] = {"random()%20",
                                         "changes()",
                                         "total_changes()",
                                         "last_insert_rowid()",
                                         "strftime('%s','now')%13",
                                         "hex(randomblob(2))",
                                         "NULL",
                                         "(SELECT count(*) FROM t1)"};
    const char *t = word(p), *o = conflict[prng_below(p, 6)];
    const char *v = values[prng_below(p, 8)], *w = values[prng_below(p, 8)];
    int n = (int)prng_below(p, 12), m = (int)prng_below(p, 12);

    switch (prng_below(p, 24)) {
    case 0:
    case 1:
    case 2:
    case 3:
    case 4:
        snprintf(out, cap, "INSERT %sINTO %s(k,v,w) VALUES(%d,%s,%s)", o, t, n, v, w);
        break;
    case 5:
    case 6:
        snprintf(out, cap, "INSERT %sINTO %s(k,v,w) VALUES(?,%s,?)" US "i%d" US "t%d", o, t, v, n,
                 m);
        break;
    case 7:
        snprintf(out, cap, "INSERT INTO %s(k,v) VALUES(%d,%s),(%d,1) RETURNING *", t, n, v, m);
        break;
    case 8:
        snprintf(out, cap, "UPDATE %s%s SET v=%s WHERE k>%d", o, t, v, n);
        break;
    case 9:
        snprintf(out, cap, "UPDATE %s%s SET k=k+%d", o, t, n);
        break;
    case 10:
        snprintf(out, cap, "DELETE FROM %s WHERE k%%%d=0", t, n);
        break;
    case 11:
        snprintf(out, cap, "DELETE FROM %s", t);
        break;
    case 12:
        snprintf(out, cap, "SELECT k,v,w,%s FROM %s ORDER BY random() LIMIT %d", v, t, n);
        break;
    case 13:
        snprintf(out, cap, "SELECT changes(), total_changes(), last_insert_rowid(), %s", v);
        break;
    case 14:
        snprintf(out, cap, "DROP TABLE %s%s", n < 9 ? "IF EXISTS " : "", t);
        break;
    case 15:
        snprintf(out, cap, "CREATE TABLE %s(k %s, v DEFAULT (random()), w UNIQUE%s)%s", t,
                 n % 2 ? "INTEGER PRIMARY KEY" : "PRIMARY KEY",
                 m % 3 ? "" : " ON CONFLICT ROLLBACK", n % 2 ? "" : " WITHOUT ROWID");
        break;
    case 16:
        snprintf(
            out, cap,
            "CREATE TRIGGER g%d AFTER INSERT ON %s BEGIN UPDATE %s SET v=changes() WHERE k=%d; "
            "INSERT OR IGNORE INTO %s(k,v) VALUES(%d,changes()); END",
            n % 3, t, word(p), n, word(p), m);
        break;
    case 17:
        snprintf(out, cap, "DROP TRIGGER IF EXISTS g%d", n % 3);
        break;
    case 18:
        snprintf(out, cap, "CREATE %sINDEX i%d ON %s(v)", n % 4 ? "" : "UNIQUE ", n % 3, t);
        break;
    case 19:
        snprintf(out, cap, "%s", n % 3 ? "ANALYZE" : "PRAGMA recursive_triggers=ON");
        break;
    case 20: {
        static const char *const control[] = {"BEGIN",       "COMMIT",        "ROLLBACK",
                                              "SAVEPOINT a", "ROLLBACK TO a", "RELEASE a"};
        snprintf(out, cap, "%s", control[n % 6]);
        break;
    }
    case 21:
        snprintf(out, cap, "ALTER TABLE %s ADD COLUMN x%d", t, n);
        break;
    case 22:
        snprintf(out, cap, "INSERT INTO %s(k,v) VALUES(%d,1); UPDATE %s SET w=%s", t, n, word(p),
                 w);
        break;
    default:
        snprintf(out, cap,
                 "CREATE TRIGGER g%d BEFORE UPDATE ON %s WHEN new.k=%d BEGIN "
                 "SELECT RAISE(ROLLBACK,'no'); END",
                 n % 3, t, m);
    }
}

/* A database file on its way: its pieces stand between other entries. */
struct coming {
    struct payload file;
    struct wire_load next;
    size_t piece;
};

static void coming_begin(struct coming *c, struct prng *p)
{
    char sql[800];
    int n = 0, rows = (int)prng_below(p, 150);

    for (int i = 0; i < 3; i++)
        n += snprintf(
            sql + n, sizeof(sql) - (size_t)n,
            "CREATE TABLE t%d(k %s, v, w UNIQUE);INSERT INTO t%d(k,v) WITH RECURSIVE c(i) AS "
            "(SELECT 1 UNION ALL SELECT i+1 FROM c WHERE i<%d) SELECT i,hex(zeroblob(50)) FROM c;",
            i, rows % 3 ? "INTEGER PRIMARY KEY" : "PRIMARY KEY", i, 1 + rows);
    free(c->file.bytes);
    c->file = file_make(4096, sql);
    c->next = (struct wire_load){.id = 1 + prng_below(p, 1000)};
    c->piece = (size_t[]){1000, 4096, 5000, 20000, 100000}[prng_below(p, 5)];
}

static void coming_add(struct coming *c, struct prng *p, struct replica_log *l)
{
    struct wire_load *next = &c->next;

    if (!c->file.bytes || prng_below(p, 40) == 0)
        coming_begin(c, p);
    if (prng_below(p, 40) == 0) { /* one too many, or too few: refused */
        struct wire_load odd = *next;
        odd.at += prng_below(p, 2) ? 1 : 4096;
        odd.bytes = slice_of("x", 1);
        log_add_load(l, prng_below(p, 2) ? WIRE_CMD_LOAD_PIECE : WIRE_CMD_LOAD_INSTALL, &odd);
        return;
    }
    if (next->at < c->file.len) {
        size_t left = c->file.len - next->at;
        next->bytes = slice_of(c->file.bytes + next->at, left < c->piece ? left : c->piece);
        next->digest = crc32c(next->digest, next->bytes.data, next->bytes.len);
        log_add_load(l, WIRE_CMD_LOAD_PIECE, next);
        next->at += next->bytes.len;
        return;
    }
    log_add_load(l, prng_below(p, 8) ? WIRE_CMD_LOAD_INSTALL : WIRE_CMD_LOAD_DROP, next);
    free(c->file.bytes);
    c->file.bytes = NULL;
}

static void mix(struct replica_log *l, uint64_t seed)
{
    struct coming coming = {{0}, {0}, 0};
    static const char kinds[] = "eeeeeerrrEERq";
    struct prng p;
    char text[4][400];
    const char *sql[4] = {text[0], text[1], text[2], text[3]};

    prng_init(&p, seed);
    for (int i = 0; i < 3; i++) {
        snprintf(text[0], sizeof(text[0]), "CREATE TABLE t%d(k INTEGER PRIMARY KEY, v, w UNIQUE)",
                 i);
        log_add(l, 'e', sql, 1);
    }
    for (int i = 0; i < 100; i++) {
        if (prng_below(&p, 5) == 0)
            coming_add(&coming, &p, l);
        size_t n = prng_below(&p, 3) ? 1 : 1 + prng_below(&p, 4);
        for (size_t k = 0; k < n; k++)
            statement(&p, text[k], sizeof(text[k]));
        log_add(l, kinds[prng_below(&p, sizeof(kinds) - 1)], sql, n);
    }
    free(coming.file.bytes);
}

static void round_run(uint64_t seed)
{
    static struct replica_log l;
    struct db_config c = config_default();

    c.row_digest = seed % 3 == 0;
    mix(&l, seed);
    reference_run(&l, &c);
    for (size_t i = 0; i < sizeof(replicas) / sizeof(replicas[0]); i++)
        replica_run(&l, &replicas[i], &c);
    log_fini(&l);
}

static uint64_t first_seed = 1, rounds = 25;

static void test_random_mixes_are_equal_on_all_nodes(void **state)
{
    (void)state;
    library_once();
    for (uint64_t seed = first_seed; seed < first_seed + rounds; seed++) {
        round_seed = seed;
        round_run(seed);
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_random_mixes_are_equal_on_all_nodes)};

    if (argc > 1) {
        first_seed = strtoull(argv[1], NULL, 10);
        rounds = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
