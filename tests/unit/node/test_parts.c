/* test_parts.c — reads in parts: pulled, left alone, forgotten; on a node of which only its database and its
 * reads are alive. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "node_int.h"
#include <cmocka.h>
#include <env/world.h>
#include <stdlib.h>

enum { JOBS = 1, CONNECTIONS = 3, PART_BYTES = 100, ASKERS = 5, ROWS = 200 };

struct asker { /* what it was told */
    uint64_t ticket;
    uint8_t got[4096];
    size_t got_len;
    uint32_t parts, ends;
    int rc;
    bool part_out;
    bool greedy;   /* pulls within reply */
    bool fleeting; /* forgets within reply */
};

static struct {
    struct world *world;
    struct host *host;
    struct node node;
    struct env_job job;
    struct asker askers[ASKERS];
    bool interrupts; /* a query may be ended from outside */
} t;

/* ---- a codec: each row is a number and a line end --------------------------------------------------------- */

struct lines {
    struct db_sink sink; /* first */
    struct buf *out;
};

static int on_row(struct db_sink *s, const struct db_value *v, uint32_t count)
{
    struct lines *l = (struct lines *)(void *)s;
    (void)count;
    return buf_printf(l->out, "%lld\n", (long long)v[0].integer);
}
static void on_columns(struct db_sink *s, const struct db_columns *c)
{
    (void)s;
    (void)c;
}
static void on_end(struct db_sink *s, uint64_t elapsed_ns)
{
    (void)s;
    (void)elapsed_ns;
}
static void on_error(struct db_sink *s, bool as_query, struct slice text)
{
    (void)s;
    (void)as_query;
    if (!t.interrupts)
        fail_msg("%.*s", (int)text.len, (const char *)text.data);
}
static const struct db_sink_ops lines_ops = {
    .columns = on_columns, .row = on_row, .end = on_end, .error = on_error};

static struct db_sink *codec_new(uint32_t options, struct buf *out)
{
    struct lines *l = mem_zalloc(sizeof(*l));
    (void)options;
    assert_non_null(l);
    l->sink.ops = &lines_ops;
    l->out = out;
    return &l->sink;
}
static void codec_none(struct db_sink *s)
{
    (void)s;
}
static bool codec_pause(struct db_sink *s)
{
    (void)s;
    return true;
}
static void codec_resume(struct db_sink *s)
{
    assert_int_equal(buf_len(((struct lines *)(void *)s)->out), 0);
}
static void codec_free(struct db_sink *s)
{
    mem_free(s);
}
static const struct node_codec codec = {.sink_new = codec_new,
                                        .sink_finish = codec_none,
                                        .sink_pause = codec_pause,
                                        .sink_resume = codec_resume,
                                        .sink_free = codec_free};

/* ---- a node ---------------------------------------------------------------------------------------------------- */

static void lane_idle(struct node *n)
{
    (void)n;
}

static void open_run(struct env_job *j)
{
    static const struct db_config config = {
        .path = "memory", .batch_max = 1, .cache_pages = 10, .wal_limit_bytes = 1 << 20};
    struct err_text why;

    (void)j;
    assert_int_equal(db_open(t.node.env, &config, NULL, &t.node.db, &why), 0);
}

static void close_run(struct env_job *j)
{
    (void)j;
    for (uint32_t i = 0; i < CONNECTIONS; i++)
        if (t.node.readers[i].reader)
            db_reader_close(t.node.readers[i].reader);
    db_close(t.node.db);
    t.node.db = NULL;
}

static void job_done(struct env_job *j)
{
    (void)j;
}

static void boot(struct env *e, void *ctx)
{
    struct node *n = &t.node;

    (void)ctx;
    n->env = e;
    n->phase = NODE_OPEN;
    n->up.lane_idle = lane_idle;
    n->up.read_end = node_read_end;
    n->config.codec = &codec;
    n->config.reader_count = CONNECTIONS;
    n->config.reader_jobs = JOBS;
    n->config.part_bytes = PART_BYTES;
    n->readers = mem_zalloc(CONNECTIONS * sizeof(*n->readers));
    assert_non_null(n->readers);
    list_init(&n->read_queue);
    list_init(&n->parked);
    t.job.run = open_run;
    t.job.done = job_done;
    env_job_submit(e, ENV_LANE_APPLY, &t.job);
}

static void run_ms(uint64_t ms)
{
    (void)world_run_for(t.world, ms * ENV_MS_NS);
}

static int set_up(void **state)
{
    struct world_config config;
    static bool library;

    (void)state;
    if (!library)
        assert_int_equal(db_library_init(true), 0);
    library = true;
    memset(&t, 0, sizeof(t));
    world_config_default(&config, 1);
    t.world = world_create(&config);
    t.host = world_host_add(t.world, "n", NULL);
    host_start(t.host, boot, NULL);
    run_ms(1000);
    return t.node.db ? 0 : -1;
}

static void close_now(struct env *e, void *ctx)
{
    (void)ctx;
    t.job.run = close_run;
    env_job_submit(e, ENV_LANE_READ, &t.job);
}

static void free_now(struct env *e, void *ctx)
{
    (void)e;
    (void)ctx;
    for (uint32_t i = 0; i < t.node.waits.cap; i++)
        mem_free(t.node.waits.slots[i]);
    mem_free(t.node.waits.slots);
    mem_free(t.node.waits.free_slots);
    mem_free(t.node.readers);
}

static int tear_down(void **state)
{
    (void)state;
    assert_int_equal(t.node.readers_busy, 0); /* every test leaves them free */
    assert_int_equal(t.node.reads_running, 0);
    assert_int_equal(t.node.parts_count, 0);
    assert_int_equal(t.node.waits.live_count, 0);
    assert_true(host_call(t.host, close_now, NULL));
    run_ms(1000);
    assert_null(t.node.db);
    assert_true(host_call(t.host, free_now, NULL));
    world_destroy(t.world);
    return 0;
}

/* ---- asking --------------------------------------------------------------------------------------------------- */

static void replied(void *ctx, const struct node_answer *a)
{
    struct asker *k = ctx;

    assert_false(k->part_out && a->more);
    assert_int_equal(k->ends, 0);
    assert_true(k->got_len + a->body.len <= sizeof(k->got));
    if (a->body.len)
        memcpy(k->got + k->got_len, a->body.data, a->body.len);
    k->got_len += a->body.len;
    if (!a->more) {
        k->ends++;
        k->rc = a->rc;
        return;
    }
    k->parts++;
    k->part_out = true;
    if (k->fleeting)
        node_forget(&t.node, k->ticket);
    else if (k->greedy) {
        k->part_out = false;
        node_pull(&t.node, k->ticket);
    }
}

struct question {
    struct asker *asker;
    const char *sql;
    bool whole;
};

static void ask_now(struct env *e, void *ctx)
{
    const struct question *q = ctx;
    struct node_request r = {.f = {.kind = WIRE_QUERY, .timeout_ms = 30000, .in_parts = !q->whole}};
    struct buf b;
    int rc;

    (void)e;
    buf_init(&b, 4096);
    wire_cmd_begin(&b, WIRE_CMD_QUERY, 0, slice_of(NULL, 0));
    wire_cmd_statement(&b, slice_str(q->sql));
    assert_int_equal(wire_cmd_finish(&b), 0);
    r.f.payload = buf_slice(&b);
    struct node_wait *w = node_wait_new(&t.node, &r, replied, q->asker, &rc);
    assert_non_null(w);
    q->asker->ticket = node_wait_ticket(w);
    node_read_start(w, false);
    buf_fini(&b);
}

static const char rows_sql[] =
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<200) SELECT i FROM n";

static void ask(struct asker *k, const char *sql)
{
    struct question q = {.asker = k, .sql = sql};
    assert_true(host_call(t.host, ask_now, &q));
    run_ms(1000);
}

static void pull_now(struct env *e, void *ctx)
{
    struct asker *k = ctx;
    (void)e;
    k->part_out = false;
    node_pull(&t.node, k->ticket);
}

static void pull(struct asker *k)
{
    assert_true(host_call(t.host, pull_now, k));
    run_ms(1000);
}

static void forget_now(struct env *e, void *ctx)
{
    struct asker *k = ctx;
    (void)e;
    node_forget(&t.node, k->ticket);
}

static void expect_rows(struct asker *k)
{
    struct buf all;

    buf_init(&all, 1 << 20);
    for (int i = 1; i <= ROWS; i++)
        (void)buf_printf(&all, "%d\n", i);
    assert_int_equal(k->ends, 1);
    assert_int_equal(k->rc, 0);
    assert_true(slice_equal(buf_slice(&all), slice_of(k->got, k->got_len)));
    buf_fini(&all);
}

/* ---- what holds -------------------------------------------------------------------------------------------------- */

static void test_each_part_comes_when_the_one_before_was_pulled(void **state)
{
    struct asker *k = &t.askers[0];

    (void)state;
    ask(k, rows_sql);
    assert_int_equal(k->parts, 1);
    run_ms(LIMIT_PARTS_STALL_MS / 2);
    assert_int_equal(k->parts, 1);
    assert_true(k->got_len >= PART_BYTES && k->got_len < PART_BYTES + 8);
    for (uint32_t n = 2; k->ends == 0; n++) {
        pull(k);
        assert_int_equal(k->parts + k->ends, n);
    }
    assert_true(k->parts > 5);
    expect_rows(k);
}

struct replacement { /* of the database, while questions are under way */
    struct asker *pulled;
    struct question question; /* begun just before */
    bool running;
};

static void replace_now(struct env *e, void *ctx)
{
    struct replacement *p = ctx;

    ask_now(e, &p->question);
    if (p->pulled)
        pull_now(e, p->pulled);
    t.node.install.active = true;
    node_read_replaced(&t.node, p->running);
}

static void test_a_replaced_database_ends_reads_that_pause(void **state)
{
    struct asker *parked = &t.askers[0], *pulled = &t.askers[1], *running = &t.askers[2];
    struct replacement p = {.pulled = pulled, .question = {.asker = running, .sql = rows_sql}};

    (void)state;
    ask(parked, rows_sql);
    ask(pulled, rows_sql);
    assert_true(
        host_call(t.host, replace_now, &p)); /* running has the only job: pulled waits for it */
    assert_int_equal(parked->rc, ERR_CANCELED);
    assert_int_equal(pulled->rc, ERR_CANCELED);
    assert_int_equal(running->ends, 0);
    run_ms(1000); /* it wants to pause */
    assert_int_equal(running->parts, 0);
    assert_int_equal(running->rc, ERR_CANCELED);
}

static void test_a_replaced_database_interrupts_reads_at_work(void **state)
{
    struct asker *k = &t.askers[0];
    struct replacement p = {.question = {.asker = k, .sql = rows_sql, .whole = true},
                            .running = true};

    (void)state;
    t.interrupts = true;
    assert_true(host_call(t.host, replace_now, &p));
    run_ms(1000);
    assert_int_equal(k->ends, 1);
    assert_int_equal(k->rc, ERR_CANCELED);
    assert_int_equal(k->got_len, 0);
}

static void test_pulling_within_the_reply_gives_all(void **state)
{
    struct asker *k = &t.askers[0];

    (void)state;
    k->greedy = true;
    ask(k, rows_sql);
    run_ms(1000);
    assert_true(k->parts > 5);
    expect_rows(k);
}

static void test_who_does_not_take_parts_gets_it_whole(void **state)
{
    struct question q = {.asker = &t.askers[0], .sql = rows_sql, .whole = true};

    (void)state;
    assert_true(host_call(t.host, ask_now, &q));
    run_ms(1000);
    assert_int_equal(q.asker->parts, 0);
    expect_rows(q.asker);
}

static void test_who_does_not_pull_in_time_is_given_up(void **state)
{
    struct asker *k = &t.askers[0];

    (void)state;
    ask(k, rows_sql);
    run_ms(LIMIT_PARTS_STALL_MS - 2000);
    pull(k);
    assert_int_equal(k->parts, 2);
    run_ms(LIMIT_PARTS_STALL_MS - 2000);
    assert_int_equal(k->ends, 0);
    run_ms(2000);
    assert_int_equal(k->ends, 1);
    assert_int_equal(k->rc, ERR_TIMEOUT);
}

static void test_all_parts_together_are_bounded(void **state)
{
    struct asker *k = &t.askers[0];
    uint32_t waited_ms = 1000;

    (void)state;
    ask(k, "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n) SELECT i FROM n");
    while (waited_ms + LIMIT_PARTS_STALL_MS < LIMIT_PARTS_TOTAL_MS) {
        run_ms(LIMIT_PARTS_STALL_MS - 2000);
        pull(k);
        waited_ms += LIMIT_PARTS_STALL_MS - 1000;
        assert_int_equal(k->ends, 0);
    }
    run_ms(LIMIT_PARTS_TOTAL_MS - waited_ms + 1000); /* less than a stall */
    assert_int_equal(k->ends, 1);
    assert_int_equal(k->rc, ERR_TIMEOUT);
}

static void test_forgotten_at_any_moment_the_connection_is_free_again(void **state)
{
    (void)state;
    for (uint32_t pulls = 0; pulls < 4; pulls++) {
        struct asker *k = &t.askers[0];
        memset(k, 0, sizeof(*k));
        ask(k, rows_sql);
        for (uint32_t i = 0; i < pulls; i++)
            pull(k);
        assert_int_equal(t.node.readers_busy, 1);
        assert_true(host_call(t.host, forget_now, k));
        run_ms(1000);
        assert_int_equal(t.node.readers_busy, 0);
        assert_int_equal(k->ends, 0);
    }
}

static void test_forgotten_while_it_runs_nobody_is_told(void **state)
{
    struct asker *k = &t.askers[0];
    struct question q = {.asker = k, .sql = rows_sql};

    (void)state;
    assert_true(host_call(t.host, ask_now, &q));
    assert_int_equal(t.node.reads_running, 1);
    assert_true(host_call(t.host, forget_now, k));
    run_ms(1000);
    assert_int_equal(k->parts + k->ends, 0);
}

static void test_forgotten_within_the_reply(void **state)
{
    struct asker *k = &t.askers[0];

    (void)state;
    k->fleeting = true;
    ask(k, rows_sql);
    assert_int_equal(k->parts, 1);
    assert_int_equal(k->ends, 0);
}

static void test_one_more_large_result_is_refused_and_small_ones_are_not(void **state)
{
    struct asker *k = t.askers;

    (void)state;
    for (int i = 0; i < 3; i++)
        ask(&k[i], rows_sql);
    assert_int_equal(k[0].parts + k[1].parts, 2);
    assert_int_equal(k[2].parts, 0);
    assert_int_equal(k[2].ends, 1);
    assert_int_equal(k[2].rc, ERR_FULL);
    ask(&k[3], "SELECT 7");
    assert_int_equal(k[3].ends, 1);
    assert_true(slice_equal_str(slice_of(k[3].got, k[3].got_len), "7\n"));
    while (k[0].ends == 0)
        pull(&k[0]);
    expect_rows(&k[0]);
    k[4].greedy = true;
    ask(&k[4], rows_sql);
    expect_rows(&k[4]);
    assert_true(host_call(t.host, forget_now, &k[1]));
    run_ms(1000);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(test_each_part_comes_when_the_one_before_was_pulled),
        CASE(test_a_replaced_database_ends_reads_that_pause),
        CASE(test_a_replaced_database_interrupts_reads_at_work),
        CASE(test_pulling_within_the_reply_gives_all),
        CASE(test_who_does_not_take_parts_gets_it_whole),
        CASE(test_who_does_not_pull_in_time_is_given_up),
        CASE(test_all_parts_together_are_bounded),
        CASE(test_forgotten_at_any_moment_the_connection_is_free_again),
        CASE(test_forgotten_while_it_runs_nobody_is_told),
        CASE(test_forgotten_within_the_reply),
        CASE(test_one_more_large_result_is_refused_and_small_ones_are_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
