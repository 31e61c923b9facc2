/* test_threads.c — readers in threads of their own beside the writer, as in the real program: no read fails or
 * sees half a commit, and the WAL stays bounded although somebody is always reading: the writer waits up to 20 ms
 * for readers to end. What is asked of it holds if reads are shorter than that, which a busy machine may prevent. */
#include "db_fixture.h"
#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

enum { READERS = 3, WRITES = 1500, WAL_LIMIT = 64 * 1024, LONG_READ_MS = 5 };

static struct node_db node;
static atomic_int stop;
static atomic_long bad, reads, long_reads;

static long long now_ms(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000LL + t.tv_nsec / 1000000;
}

static void *read_on(void *ctx)
{
    const char *sql = "SELECT count(*), sum(x) FROM t";
    struct payload p = payload_make('q', &sql, 1);
    struct db_reader *r;
    struct record out;
    struct err_text why;

    (void)ctx;
    record_init(&out);
    if (db_reader_open(node.db, &r, &why))
        abort();
    while (!stop) {
        struct db_query q = {.payload = slice_of(p.bytes, p.len), .sink = &out.sink};
        long long count, sum;
        on_reset(&out.sink);
        long long before = now_ms();
        int rc = db_query(r, &q, &why);
        long_reads += now_ms() - before > LONG_READ_MS;
        const char *row = strstr(out.text, "row");
        if (rc || !row || sscanf(row, "row %lld|%lld", &count, &sum) != 2 ||
            sum != count * (count + 1) / 2)
            bad++;
        reads++;
    }
    db_reader_close(r);
    free(p.bytes);
    record_fini(&out);
    return NULL;
}

static void test_readers_beside_the_writer(void **state)
{
    struct db_config c = config_default();
    struct db_state s;
    pthread_t threads[READERS];
    uint64_t wal_most = 0;

    (void)state;
    assert_int_equal(db_library_init(false), 0);
    c.wal_limit_bytes = WAL_LIMIT;
    c.cache_pages = 10;
    node_db_init(&node, 1, &c);
    apply(&node, 'e', "CREATE TABLE t(x INTEGER PRIMARY KEY)");
    apply(&node, 'e', "INSERT INTO t VALUES(1)");
    for (int i = 0; i < READERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, read_on, NULL), 0);
    for (int i = 2; i < WRITES; i++) {
        char sql[80];
        snprintf(sql, sizeof(sql), "INSERT INTO t VALUES(%d)", i);
        apply(&node, 'e', sql);
        db_state(node.db, &s);
        wal_most = s.wal_bytes > wal_most ? s.wal_bytes : wal_most;
    }
    stop = 1;
    for (int i = 0; i < READERS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    assert_int_equal(bad, 0);
    assert_true(reads > 0);
    if (long_reads == 0)
        assert_true(wal_most < 32 * WAL_LIMIT);
    else
        print_message("the WAL is not judged: %ld of %ld reads took longer than %d ms\n",
                      long_reads, reads, LONG_READ_MS);
    node_db_fini(&node);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_readers_beside_the_writer)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
