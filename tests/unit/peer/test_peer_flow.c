/* test_peer_flow.c — how much may wait to be sent, and who is told when it flows. */
#include "peer_world.h"

static void test_output_is_bounded_and_told_when_it_flows_again(void **state)
{
    (void)state;
    struct town t;

    town_make(&t, 2, 17);
    t.apps[0].config.idle_timeout_ms = t.apps[1].config.idle_timeout_ms = 0;
    town_start(&t);
    town_run(&t, SEC(2));
    struct app *a = &t.apps[0], *b = &t.apps[1];
    size_t max = a->config.output_bytes_max;
    struct send_job j = {.app = a,
                         .conn = peer_conn_of(a->set, 2),
                         .count = 100000,
                         .len_max = 2000,
                         .kind = WIRE_RAFT};

    assert_true(host_call(a->host, send_run, &j));
    assert_int_equal(j.rc, ERR_FULL);
    assert_true(j.pending <= max);
    assert_true(j.pending > max - 3000);
    uint32_t taken = j.sent;
    town_run(&t, SEC(60));
    assert_int_equal(b->frames,
                     taken); /* nothing lost of what was taken, nothing of what was not */
    assert_int_equal(b->out_of_order, 0);
    assert_int_equal(a->writable, 1);
    assert_int_equal(a->writable_id, 2);
    assert_int_equal(peer_pending(a->set, j.conn), 0);
    world_destroy(t.world);
}

static void big_run(struct env *e, void *ctx)
{
    struct send_job *j = ctx;
    static uint8_t body[3 << 20];
    size_t max = j->app->config.output_bytes_max;

    (void)e;
    body_fill(body, sizeof(body), 0);
    assert_true(sizeof(body) > max);
    assert_int_equal(peer_send(j->app->set, j->conn, WIRE_RAFT, 0, slice_of(body, sizeof(body))),
                     0);
    assert_int_equal(peer_send(j->app->set, j->conn, WIRE_RAFT, 0, slice_of(body, 4)), ERR_FULL);
    assert_null(peer_out(j->app->set, j->conn));
    assert_int_equal(peer_send(j->app->set, j->conn + 1000, WIRE_RAFT, 0, slice_of(body, 4)),
                     ERR_NOT_FOUND);
    assert_int_equal(peer_send(j->app->set, 0, WIRE_RAFT, 0, slice_of(body, 4)), ERR_NOT_FOUND);
}

static void want_run(struct env *e, void *ctx)
{
    struct send_job *j = ctx;

    (void)e;
    peer_drained_want(j->app->set, j->conn);
    peer_drained_want(j->app->set, j->conn); /* the same wish */
    peer_drained_want(j->app->set, j->conn + 1000);
    peer_drained_want(j->app->set, 0);
    assert_int_equal(j->app->drained, 0); /* never within the call */
}

static void test_much_is_sent_piece_by_piece_as_it_drains(void **state)
{
    (void)state;
    for (int slow = 0; slow < 2; slow++) {
        struct town t;

        town_make(&t, 2, 19);
        town_start(&t);
        town_run(&t, SEC(2));
        struct app *a = &t.apps[0], *b = &t.apps[1];
        struct send_job j = {.app = a, .conn = peer_conn_of(a->set, 2)};
        if (slow)
            world_link_tune(t.world, a->host, b->host, MS(1), MS(5));
        a->pieces = 40;
        assert_true(host_call(a->host, want_run, &j));
        town_run(&t, SEC(60));
        assert_int_equal(a->drained, 40);
        assert_int_equal(b->frames, 40);
        assert_int_equal(b->out_of_order, 0);
        assert_int_equal(b->body_bytes, 40 * PIECE_BYTES);
        assert_int_equal(a->lost + b->lost, 0);
        world_destroy(t.world);
    }
}

static void drained_then_close_run(struct env *e, void *ctx)
{
    struct send_job *j = ctx;

    (void)e;
    peer_drained_want(j->app->set, j->conn);
    peer_conn_close(j->app->set, j->conn);
}

static void test_drained_is_not_told_of_a_connection_that_ends(void **state)
{
    (void)state;
    struct town t;

    town_make(&t, 2, 20);
    town_start(&t);
    town_run(&t, SEC(2));
    struct send_job j = {.app = &t.apps[0], .conn = peer_conn_of(t.apps[0].set, 2)};
    assert_true(host_call(t.apps[0].host, drained_then_close_run, &j));
    town_run(&t, SEC(2));
    assert_int_equal(t.apps[0].drained, 0);
    assert_int_equal(t.apps[0].lost, 1);
    world_destroy(t.world);
}

static void test_frame_larger_than_the_bound_goes_when_it_goes_first(void **state)
{
    (void)state;
    struct town t;

    town_make(&t, 2, 18);
    town_start(&t);
    town_run(&t, SEC(2));
    struct send_job j = {.app = &t.apps[0], .conn = peer_conn_of(t.apps[0].set, 2)};
    world_link_tune(t.world, t.apps[0].host, t.apps[1].host, MS(1), MS(5)); /* 15 s for 3 MiB */
    assert_true(host_call(t.apps[0].host, big_run, &j));
    town_run(&t, SEC(60));
    assert_int_equal(t.apps[1].frames, 1);
    assert_int_equal(t.apps[1].body_bytes, 3 << 20);
    assert_int_equal(t.apps[0].writable, 1);
    assert_int_equal(t.apps[0].lost + t.apps[1].lost, 0); /* a slow frame is not silence */
    world_destroy(t.world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_output_is_bounded_and_told_when_it_flows_again),
        cmocka_unit_test(test_much_is_sent_piece_by_piece_as_it_drains),
        cmocka_unit_test(test_drained_is_not_told_of_a_connection_that_ends),
        cmocka_unit_test(test_frame_larger_than_the_bound_goes_when_it_goes_first),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
