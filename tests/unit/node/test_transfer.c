/* test_transfer.c — an image on its way to a node that joins: interrupted, compressed, from a lender that dies. */
#include "node_world.h"

enum { ROWS = 60, ROW_BYTES = 4000 };

static void begin(bool compress)
{
    memset(&t, 0, sizeof(t));
    t.compress = compress;
    world_begin();
    server_init(&t.a, "n1", true);
    server_init(&t.b, "n2", false);
    host_start(t.a.host, boot, &t.a);
    run_ms(3000);
    execute("CREATE TABLE t(id INTEGER PRIMARY KEY, v)");
    for (int i = 0; i < ROWS; i++)
        execute(compress ? "INSERT INTO t(v) VALUES(zeroblob(4000))"
                         : "INSERT INTO t(v) VALUES(randomblob(4000))");
    assert_true(host_call(t.a.host, cut_now, NULL));
    run_ms(2000);
    assert_true(t.cut);
    host_start(t.b.host, boot, &t.b);
    run_ms(1000);
    assert_true(t.b.open);
    assert_true(host_call(t.b.host, join_now, &t.b));
}

/* Until b has taken so many chunks, or the image. */
static void run_to_chunk(uint32_t count)
{
    for (int i = 0;
         i < 200000 && t.b.node->counters.fetch_chunks < count && !t.b.node->counters.installs; i++)
        (void)world_run_for(t.world, 50 * 1000);
}

static void expect_equal(void)
{
    for (int i = 0; i < 600 && !t.b.joined; i++) {
        run_ms(100);
        if (t.b.refused) /* as the daemon asks again */
            assert_true(host_call(t.b.host, join_now, &t.b));
    }
    assert_true(t.b.joined);
    execute("INSERT INTO t(v) VALUES(1)");
    run_ms(3000);
    assert_int_equal(t.b.node->counters.installs, 1);
    assert_int_equal(t.b.node->apply.applied, t.a.node->apply.applied);
    assert_int_equal(t.b.node->apply.state.digest, t.a.node->apply.state.digest);
    node_check(t.a.node);
    node_check(t.b.node);
}

static void test_an_undisturbed_transfer_sends_each_piece_once(void **state)
{
    (void)state;
    begin(false);
    expect_equal();
    const struct node_counters *c = &t.b.node->counters;
    assert_true(c->fetch_bytes > ROWS * ROW_BYTES && c->fetch_bytes < 2 * ROWS * ROW_BYTES);
    assert_int_equal(c->fetch_chunks, t.a.node->counters.lend_chunks);
    assert_int_equal(c->fetches_resumed + c->fetches_failed, 0);
    world_destroy(t.world);
}

static void test_an_interrupted_transfer_goes_on_where_it_was(void **state)
{
    (void)state;
    begin(false);
    expect_equal();
    uint64_t whole = t.b.node->counters.fetch_chunks;
    world_destroy(t.world);
    begin(false);
    uint32_t resets = 0;
    for (uint32_t at = 3; at + 3 < whole; at += 5) {
        run_to_chunk(at);
        world_reset_all(t.world, t.a.host, t.b.host);
        resets++;
        while (t.b.node->counters.fetches_resumed < resets)
            (void)world_run_for(t.world, 50 * 1000);
    }
    assert_int_equal(t.b.node->counters.installs, 0);
    expect_equal();
    const struct node_counters *c = &t.b.node->counters;
    assert_true(resets > 3);
    assert_int_equal(c->fetches_failed, 0);
    assert_int_equal(c->fetches_resumed, resets);
    assert_int_equal(t.a.node->counters.lends_resumed, resets);
    /* Only what was under way comes again. */
    assert_true(c->fetch_chunks <= whole + (uint64_t)resets * NODE_IMAGE_WINDOW);
    world_destroy(t.world);
}

/* A piece that leaves one out. */
static void skip_now(struct env *e, void *ctx)
{
    struct node_fetch *f = &t.b.node->fetch;
    struct wire_image_res res = {
        .transfer = f->transfer, .seq = f->arrived + 1, .chunk = slice_str("page")};
    struct buf body;

    (void)e;
    (void)ctx;
    buf_init(&body, 4096);
    assert_int_equal(wire_image_res_put(&body, &res), 0);
    const struct wire_frame frame = {WIRE_IMAGE_RES, f->stream, buf_slice(&body)};
    node_fetch_answered(t.b.node, f->conn, &frame);
    buf_fini(&body);
}

static void test_a_piece_out_of_its_turn_ends_the_transfer(void **state)
{
    (void)state;
    begin(false);
    run_to_chunk(5);
    assert_true(host_call(t.b.host, skip_now, NULL));
    run_ms(100);
    assert_true(was_said("the answer is not what was asked for"));
    assert_int_equal(t.b.node->counters.fetches_failed, 1);
    expect_equal(); /* by another */
    world_destroy(t.world);
}

static void test_a_lender_that_was_restarted_begins_anew(void **state)
{
    (void)state;
    begin(false);
    run_to_chunk(5);
    host_crash(t.a.host, HOST_CRASH_PROCESS);
    run_ms(500);
    host_start(t.a.host, boot, &t.a);
    expect_equal();
    assert_true(t.b.node->counters.fetches_failed >= 1);
    world_destroy(t.world);
}

static void test_pieces_come_packed_if_the_lender_is_told_to(void **state)
{
    (void)state;
    begin(true);
    expect_equal();
    const struct node_counters *c = &t.b.node->counters;
    assert_true(c->fetch_bytes < ROWS * ROW_BYTES / 5);
    world_destroy(t.world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_undisturbed_transfer_sends_each_piece_once),
        cmocka_unit_test(test_an_interrupted_transfer_goes_on_where_it_was),
        cmocka_unit_test(test_a_piece_out_of_its_turn_ends_the_transfer),
        cmocka_unit_test(test_a_lender_that_was_restarted_begins_anew),
        cmocka_unit_test(test_pieces_come_packed_if_the_lender_is_told_to),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
