/* test_peer.c — sets of peers over a simulated network: who gets together, what arrives, what is
 * told when it ends. */
#include "peer_world.h"

/* ---- together ---------------------------------------------------------------------------------- */

static void test_members_greet_and_keep_one_line_each_way(void **state)
{
    (void)state;
    struct town t;

    town_make(&t, 3, 1);
    town_start(&t);
    town_run(&t, SEC(10));
    for (uint32_t i = 0; i < 3; i++) {
        struct app *a = &t.apps[i];
        assert_int_equal(a->greeted_dialled, 2);
        assert_int_equal(a->greeted, 4);
        assert_int_equal(a->lost, 0);
        assert_int_equal(peer_conn_of(a->set, a->self.id), 0);
        for (raft_id id = 1; id <= 3; id++)
            assert_true((peer_conn_of(a->set, id) != 0) == (id != a->self.id));
    }
    world_destroy(t.world);
}

/* n1 speaks 1 to 2, n2 so and so. */
static void test_ends_agree_on_a_version_or_part(void **state)
{
    static const struct {
        uint16_t min, max, agreed;
    } rows[] = {{1, 1, 1}, {2, 3, 2}, {1, 2, 2}, {3, 4, 0}};
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct town t;
        town_make(&t, 2, 40 + i);
        t.apps[0].config.protocol_min = 1;
        t.apps[0].config.protocol_max = 2;
        t.apps[1].config.protocol_min = rows[i].min;
        t.apps[1].config.protocol_max = rows[i].max;
        town_start(&t);
        town_run(&t, SEC(10));
        for (uint32_t k = 0; k < 2; k++) {
            struct app *a = &t.apps[k];
            const peer_conn c = peer_conn_of(a->set, 2 - k);
            assert_int_equal(peer_protocol_of(a->set, c), rows[i].agreed);
            assert_int_equal(a->greeted, rows[i].agreed ? 2 : 0);
            assert_int_equal(a->refused, 0); /* who answers is no process that died */
        }
        world_destroy(t.world);
    }
}

static void frames_survive_cutting(enum sim_net_cut cut, uint32_t count, uint32_t len_max)
{
    struct town t;

    town_make(&t, 2, 2);
    world_net(t.world)->cut = cut;
    t.apps[1].echo = true;
    town_start(&t);
    town_run(&t, SEC(2));
    struct app *a = &t.apps[0], *b = &t.apps[1];
    app_send_all(a, peer_conn_of(a->set, 2), 0, count, len_max);
    town_run(&t, SEC(20));
    assert_int_equal(b->frames, count);
    assert_int_equal(b->out_of_order, 0);
    assert_int_equal(a->frames, count); /* answers on the connection of the request */
    assert_int_equal(a->out_of_order, 0);
    assert_true(a->body_bytes == b->body_bytes);
    world_destroy(t.world);
}

static void test_frames_arrive_whole_and_in_order_however_they_are_cut(void **state)
{
    (void)state;
    frames_survive_cutting(SIM_CUT_WHOLE, 200, 5000);
    frames_survive_cutting(SIM_CUT_RANDOM, 200, 5000);
    frames_survive_cutting(SIM_CUT_BYTE, 50, 60);
}

struct built {
    struct app *app;
    size_t pending_after_half;
};

static void build_run(struct env *e, void *ctx)
{
    struct built *j = ctx;
    peer_conn c = peer_conn_of(j->app->set, 2);
    uint8_t body[16];

    (void)e;
    struct buf *out = peer_out(j->app->set, c);
    assert_non_null(out);
    (void)wire_frame_begin(out, WIRE_RAFT, 0); /* begun and thought better of */
    (void)buf_append_str(out, "half");
    j->pending_after_half = peer_pending(j->app->set, c);
    out = peer_out(j->app->set, c);
    assert_non_null(out);
    for (uint32_t i = 0; i < 2; i++) {
        body_fill(body, sizeof(body), i);
        size_t begun = wire_frame_begin(out, WIRE_RAFT, 0);
        (void)buf_append(out, body, sizeof(body));
        assert_int_equal(wire_frame_end(out, begun), 0);
    }
    peer_send_built(j->app->set, c);
    assert_int_equal(peer_pending(j->app->set, c), 2 * (WIRE_FRAME_HEADER + sizeof(body)));
}

static void test_frame_built_in_place_leaves_and_half_a_frame_never(void **state)
{
    (void)state;
    struct town t;
    struct built j = {.app = &t.apps[0], .pending_after_half = 99};

    town_make(&t, 2, 3);
    town_start(&t);
    town_run(&t, SEC(2));
    assert_true(host_call(t.apps[0].host, build_run, &j));
    assert_int_equal(j.pending_after_half, 0);
    town_run(&t, SEC(2));
    assert_int_equal(t.apps[1].frames, 2);
    assert_int_equal(t.apps[1].out_of_order, 0);
    assert_int_equal(t.apps[1].lost, 0);
    world_destroy(t.world);
}

/* ---- not together ------------------------------------------------------------------------------- */

/* n1 dials n2 under the given expectations; they must never get together. */
static void stay_apart(struct town *t)
{
    struct app *a = &t->apps[0], *b = &t->apps[1];

    app_start(a);
    app_start(b);
    town_run(t, SEC(20));
    assert_int_equal(a->greeted, 0);
    assert_int_equal(b->greeted, 0);
    assert_int_equal(a->refused, 0);
    assert_int_equal(b->lost, 0);
    world_destroy(t->world);
}

static void test_member_with_another_data_directory_is_not_spoken_to(void **state)
{
    (void)state;
    struct town t;

    town_make(&t, 2, 4);
    app_knows(&t.apps[0], &t.apps[1]);
    t.apps[0].members[0].store_id++;
    stay_apart(&t);
}

static void test_address_that_now_belongs_to_another_node_is_not_spoken_to(void **state)
{
    (void)state;
    struct town t;

    town_make(&t, 2, 5);
    app_knows(&t.apps[0], &t.apps[1]);
    t.apps[0].members[0].id = 3;
    t.apps[0].members[0].store_id = 0;
    stay_apart(&t);
}

static void test_another_cluster_is_not_spoken_to(void **state)
{
    (void)state;
    struct town t;

    town_make(&t, 2, 6);
    app_knows(&t.apps[0], &t.apps[1]);
    t.apps[1].self.cluster_id = 8;
    stay_apart(&t);
}

static void test_node_without_a_cluster_is_spoken_to(void **state)
{
    (void)state;
    struct town t;

    town_make(&t, 2, 7);
    t.apps[1].self.cluster_id = 0;
    town_start(&t);
    town_run(&t, SEC(2));
    assert_int_equal(t.apps[0].greeted, 2);
    assert_int_equal(t.apps[1].greeted, 2);
    world_destroy(t.world);
}

static void test_refused_greeting_is_never_answered(void **state)
{
    (void)state;
    struct town t;

    town_make(&t, 2, 8);
    app_knows(&t.apps[0], &t.apps[1]);
    t.apps[1].greet_rc = ERR_IDENTITY;
    stay_apart(&t);
}

static void test_accepted_lines_are_bounded(void **state)
{
    (void)state;
    struct town t;

    town_make(&t, 4, 9);
    t.apps[0].config.accepted_max = 2;
    for (uint32_t i = 1; i < 4; i++)
        app_knows(&t.apps[i], &t.apps[0]);
    for (uint32_t i = 0; i < 4; i++)
        app_start(&t.apps[i]);
    town_run(&t, SEC(10));
    assert_int_equal(t.apps[0].greeted, 2);
    assert_int_equal(t.apps[1].greeted + t.apps[2].greeted + t.apps[3].greeted, 2);
    world_destroy(t.world);
}

/* ---- the end of a line --------------------------------------------------------------------------- */

static void test_reset_line_is_told_and_dialled_again(void **state)
{
    (void)state;
    struct town t;

    town_make(&t, 2, 10);
    town_start(&t);
    town_run(&t, SEC(5));
    struct app *a = &t.apps[0];
    peer_conn before = peer_conn_of(a->set, 2);
    world_reset_all(t.world, a->host, t.apps[1].host);
    town_run(&t, SEC(5));
    peer_conn after = peer_conn_of(a->set, 2);
    assert_true(after > before);
    assert_int_equal(a->lost, 2);
    assert_int_equal(a->lost_bye, 0);
    assert_int_equal(a->greeted, 4);
    assert_int_equal(a->refused, 0);
    world_destroy(t.world);
}

/* Each line breaks a tenth of a second after it was opened, for half a minute. */
static void test_who_breaks_again_and_again_is_away_for_no_longer_than_it_was_there(void **state)
{
    (void)state;
    struct town t;
    uint32_t breaks = 0;

    town_make(&t, 2, 12);
    town_start(&t);
    town_run(&t, SEC(5));
    struct app *a = &t.apps[0];
    uint64_t changed_ns = world_now_ns(t.world), longest_ns = 0;
    bool there = true;
    for (uint64_t end_ns = changed_ns + SEC(30); world_now_ns(t.world) < end_ns;
         town_run(&t, MS(1))) {
        const uint64_t now_ns = world_now_ns(t.world);
        const bool was = there;
        there = peer_conn_of(a->set, 2) != 0;
        if (there && now_ns - changed_ns > MS(100)) {
            world_reset_all(t.world, a->host, t.apps[1].host);
            breaks++;
        }
        if (!there && now_ns - changed_ns > longest_ns)
            longest_ns = now_ns - changed_ns;
        if (there != was)
            changed_ns = now_ns;
    }
    assert_true(breaks > 100);
    assert_true(longest_ns <= MS(200));
    world_destroy(t.world);
}

static void test_crashed_member_is_suspected_at_once(void **state)
{
    (void)state;
    struct town t;

    town_make(&t, 2, 11);
    town_start(&t);
    town_run(&t, SEC(5));
    uint64_t begun = world_now_ns(t.world);
    host_crash(t.apps[1].host, HOST_CRASH_PROCESS);
    town_run(&t, SEC(10));
    struct app *a = &t.apps[0];
    assert_int_equal(a->lost, 2);
    assert_int_equal(a->lost_bye, 0);
    assert_int_equal(a->refused, 1); /* once, not for every dial after it */
    assert_true(a->refused_ns - begun < MS(500));
    app_start(&t.apps[1]);
    town_run(&t, SEC(5));
    assert_int_equal(a->greeted, 4);
    world_destroy(t.world);
}

static void test_stopped_member_says_goodbye_and_is_not_suspected(void **state)
{
    (void)state;
    struct town t;

    town_make(&t, 2, 12);
    town_start(&t);
    town_run(&t, SEC(5));
    app_stop(&t.apps[1]);
    town_run(&t, SEC(10));
    assert_int_equal(t.apps[1].stopped, 1);
    assert_int_equal(host_exit_leak(t.apps[1].host), 0);
    assert_int_equal(t.apps[0].lost, 2);
    assert_int_equal(t.apps[0].lost_bye, 2);
    assert_int_equal(t.apps[0].refused, 0);
    world_destroy(t.world);
}

/* Bytes on their way to the one who leaves must not turn its goodbye into a reset. */
static void test_goodbye_arrives_while_the_other_end_is_talking(void **state)
{
    (void)state;
    struct town t;

    town_make(&t, 2, 29);
    town_start(&t);
    town_run(&t, SEC(2));
    struct app *a = &t.apps[0];
    host_pause(t.apps[1].host);
    app_send_all(a, peer_conn_of(a->set, 2), 0, 10, 1000);
    town_run(&t, MS(100)); /* they lie there unread */
    host_resume(t.apps[1].host);
    app_stop(&t.apps[1]);
    town_run(&t, SEC(10));
    assert_int_equal(a->lost, 2);
    assert_int_equal(a->lost_bye, 2);
    assert_int_equal(a->refused, 0);
    world_destroy(t.world);
}

static void test_two_that_leave_together_do_not_wait_for_each_other(void **state)
{
    (void)state;
    struct town t;

    town_make(&t, 2, 28);
    town_start(&t);
    town_run(&t, SEC(2));
    app_stop(&t.apps[0]);
    app_stop(&t.apps[1]);
    town_run(&t, MS(500));
    assert_int_equal(t.apps[0].stopped, 1);
    assert_int_equal(t.apps[1].stopped, 1);
    world_destroy(t.world);
}

static void test_member_that_vanished_without_a_word_is_missed(void **state)
{
    (void)state;
    struct town t;

    town_make(&t, 2, 13);
    town_start(&t);
    town_run(&t, SEC(5));
    uint64_t begun = world_now_ns(t.world);
    world_black_hole(t.world, t.apps[0].host, t.apps[1].host);
    town_run(&t, SEC(8));
    for (uint32_t i = 0; i < 2; i++) {
        assert_int_equal(t.apps[i].lost,
                         2); /* the dialled after one idle time, the other after two */
        assert_true(t.apps[i].lost_ns - begun <= MS(5500));
        assert_int_equal(t.apps[i].greeted, 4); /* new lines work */
    }
    world_destroy(t.world);
}

static void test_idle_lines_stay(void **state)
{
    (void)state;
    struct town t;

    town_make(&t, 2, 14);
    town_start(&t);
    town_run(&t, SEC(120));
    assert_int_equal(t.apps[0].greeted, 2);
    assert_int_equal(t.apps[0].lost, 0);
    assert_int_equal(t.apps[0].frames, 0); /* asking and answering is the room's own business */
    world_destroy(t.world);
}

static void test_damaged_frames_end_the_line_and_are_never_shown(void **state)
{
    (void)state;
    struct town t;

    town_make(&t, 2, 15);
    town_start(&t);
    town_run(&t, SEC(2));
    struct app *a = &t.apps[0], *b = &t.apps[1];
    world_net(t.world)->flip_ppm = 1000 * 1000;
    app_send_all(a, peer_conn_of(a->set, 2), 0, 50, 1000); /* app_frame asserts on a wrong byte */
    town_run(&t, SEC(3));
    assert_true(b->lost >= 1);
    assert_int_equal(b->out_of_order, 0);
    assert_true(b->frames < 50);
    world_net(t.world)->flip_ppm = 0;
    town_run(&t, SEC(10));
    uint32_t next = b->next_in;
    app_send_all(a, peer_conn_of(a->set, 2), next, 10, 1000);
    town_run(&t, SEC(2));
    assert_int_equal(b->next_in, next + 10);
    world_destroy(t.world);
}

static void test_line_may_be_closed_from_within_its_own_frame(void **state)
{
    (void)state;
    struct town t;

    town_make(&t, 2, 16);
    t.apps[1].close_on_frame = true;
    town_start(&t);
    town_run(&t, SEC(2));
    struct app *a = &t.apps[0], *b = &t.apps[1];
    app_send_all(a, peer_conn_of(a->set, 2), 0, 10, 100);
    town_run(&t, SEC(5));
    assert_int_equal(b->frames, 1); /* the rest of them is not shown any more */
    assert_int_equal(b->lost, 1);
    assert_int_equal(a->lost, 1);
    assert_int_equal(a->lost_bye, 1);
    assert_int_equal(a->greeted_dialled, 2);
    world_destroy(t.world);
}

/* ---- strangers ----------------------------------------------------------------------------------- */

static void dial_run(struct env *e, void *ctx)
{
    struct app *a = ctx;
    (void)e;
    a->dial_rc = peer_dial(a->set, "n2:4002", a->config.dial_timeout_ms, &a->dialled);
}

static void close_run(struct env *e, void *ctx)
{
    struct app *a = ctx;
    uint32_t lost = a->lost;
    (void)e;
    peer_conn_close(a->set, a->dialled);
    peer_conn_close(a->set, a->dialled); /* harmless */
    assert_int_equal(a->lost, lost);     /* never inside of the call */
}

static void test_stranger_is_dialled_once_and_closed_on_demand(void **state)
{
    (void)state;
    struct town t;

    town_make(&t, 2, 19);
    app_start(&t.apps[0]);
    app_start(&t.apps[1]);
    town_run(&t, MS(10));
    struct app *a = &t.apps[0];
    assert_true(host_call(a->host, dial_run, a));
    assert_int_equal(a->dial_rc, 0);
    town_run(&t, SEC(2));
    assert_int_equal(a->greeted, 1);
    assert_true(a->last_greeted == a->dialled);
    assert_true(host_call(a->host, close_run, a));
    town_run(&t, SEC(5));
    assert_int_equal(a->lost, 1);
    assert_true(a->last_lost == a->dialled);
    assert_int_equal(a->greeted, 1);
    assert_int_equal(t.apps[1].lost_bye, 1);
    world_destroy(t.world);
}

static void test_stranger_that_is_not_there_is_lost_once(void **state)
{
    (void)state;
    struct town t;

    town_make(&t, 2, 20);
    app_start(&t.apps[0]);
    struct app *a = &t.apps[0];
    town_run(&t, MS(10));
    assert_true(host_call(a->host, dial_run, a));
    town_run(&t, SEC(20));
    assert_int_equal(a->greeted, 0);
    assert_int_equal(a->lost, 1);
    assert_int_equal(a->refused, 0);
    assert_true(a->last_lost == a->dialled);
    world_destroy(t.world);
}

/* ---- members change ------------------------------------------------------------------------------- */

static void test_removed_member_hears_goodbye_and_is_not_dialled_again(void **state)
{
    (void)state;
    struct town t;

    town_make(&t, 3, 21);
    town_start(&t);
    town_run(&t, SEC(2));
    struct app *a = &t.apps[0];
    peer_conn kept = peer_conn_of(a->set, 3);
    a->members[0] = a->members[1]; /* n2 leaves, n3 stays */
    a->member_count = 1;
    app_members_again(a);
    town_run(&t, SEC(10));
    assert_int_equal(peer_conn_of(a->set, 2), 0);
    assert_true(peer_conn_of(a->set, 3) == kept); /* untouched */
    assert_int_equal(t.apps[1].lost_bye, 1);
    assert_int_equal(t.apps[2].lost, 0);
    assert_int_equal(a->greeted_dialled, 2);
    world_destroy(t.world);
}

static void test_changed_store_id_or_address_is_dialled_anew(void **state)
{
    (void)state;
    struct town t;

    town_make(&t, 2, 22);
    town_start(&t);
    town_run(&t, SEC(2));
    struct app *a = &t.apps[0];
    a->members[0].store_id = 0; /* anybody */
    app_members_again(a);
    town_run(&t, SEC(5));
    assert_int_equal(a->greeted_dialled, 2);
    assert_int_equal(t.apps[1].lost_bye, 1);
    a->members[0].store_id = 999; /* nobody */
    app_members_again(a);
    town_run(&t, SEC(5));
    assert_int_equal(peer_conn_of(a->set, 2), 0);
    a->members[0].store_id = 0;
    app_members_again(a);
    town_run(&t, SEC(5));
    assert_true(peer_conn_of(a->set, 2) != 0);
    a->members[0].addr = "n1:9"; /* not there any more */
    app_members_again(a);
    town_run(&t, SEC(5));
    assert_int_equal(peer_conn_of(a->set, 2), 0);
    world_destroy(t.world);
}

/* ---- the whole ------------------------------------------------------------------------------------ */

static void test_stop_in_any_state_ends_everything_and_leaks_nothing(void **state)
{
    (void)state;
    /* from before the first dial to long after the last greeting */
    for (uint64_t at_us = 0; at_us < 4000; at_us += 100) {
        struct town t;
        town_make(&t, 3, 23 + at_us);
        town_start(&t);
        town_run(&t, at_us * 1000 + 1);
        app_stop(&t.apps[0]);
        town_run(&t, SEC(10));
        assert_int_equal(t.apps[0].stopped, 1);
        assert_false(host_up(t.apps[0].host));
        assert_int_equal(host_exit_leak(t.apps[0].host), 0);
        world_destroy(t.world);
    }
}

static void test_stop_does_not_wait_for_a_member_that_does_not_read(void **state)
{
    (void)state;
    struct town t;

    town_make(&t, 2, 24);
    town_start(&t);
    town_run(&t, SEC(2));
    struct app *a = &t.apps[0];
    struct send_job j = {.app = a,
                         .conn = peer_conn_of(a->set, 2),
                         .count = 100000,
                         .len_max = 2000,
                         .kind = WIRE_RAFT};
    host_pause(t.apps[1].host);
    assert_true(host_call(a->host, send_run, &j));
    town_run(&t, MS(100));
    uint64_t begun = world_now_ns(t.world);
    app_stop(a);
    while (a->stopped == 0 && world_now_ns(t.world) < begun + SEC(60))
        town_run(&t, MS(100));
    assert_int_equal(a->stopped, 1);
    assert_true(world_now_ns(t.world) - begun <= MS(1500));
    world_destroy(t.world);
}

static void test_every_failed_allocation_is_survived(void **state)
{
    (void)state;
    for (uint64_t k = 1; k <= 40; k++) {
        struct town t;
        town_make(&t, 2, 25);
        town_start(&t);
        town_run(&t, 1); /* booted */
        host_alloc_fail_at(t.apps[0].host, k);
        town_run(&t, SEC(10));
        struct app *a = &t.apps[0];
        host_alloc_fail_at(a->host, 0);
        assert_true(peer_conn_of(a->set, 2) != 0);
        app_send_all(a, peer_conn_of(a->set, 2), 0, 10, 100);
        town_run(&t, SEC(1));
        assert_int_equal(t.apps[1].frames, 10);
        world_destroy(t.world);
    }
}

static struct world_hash rough_hour(uint64_t seed)
{
    struct town t;

    town_make(&t, 3, seed);
    world_net(t.world)->reset_ppm = 20000;
    world_net(t.world)->refuse_ppm = 100000;
    world_net(t.world)->flip_ppm = 5000;
    town_start(&t);
    for (uint32_t i = 0; i < 60; i++) {
        town_run(&t, SEC(1));
        struct app *a = &t.apps[i % 3];
        peer_conn c = peer_conn_of(a->set, (i + 1) % 3 + 1);
        struct send_job j = {
            .app = a, .conn = c, .first = i, .count = 3, .len_max = 500, .kind = WIRE_RAFT};
        if (c)
            assert_true(host_call(a->host, send_run, &j));
    }
    uint32_t together = t.apps[0].greeted + t.apps[1].greeted + t.apps[2].greeted;
    assert_true(together > 12); /* lines broke and came back */
    for (uint32_t i = 0; i < 3; i++)
        assert_true(t.apps[i].lost <= t.apps[i].greeted);
    struct world_hash h = world_hash(t.world);
    world_destroy(t.world);
    return h;
}

static void test_same_seed_gives_the_same_history(void **state)
{
    (void)state;
    struct world_hash a = rough_hour(26), b = rough_hour(26), c = rough_hour(27);
    assert_true(a.a == b.a && a.b == b.b);
    assert_false(a.a == c.a && a.b == c.b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_members_greet_and_keep_one_line_each_way),
        cmocka_unit_test(test_ends_agree_on_a_version_or_part),
        cmocka_unit_test(test_frames_arrive_whole_and_in_order_however_they_are_cut),
        cmocka_unit_test(test_frame_built_in_place_leaves_and_half_a_frame_never),
        cmocka_unit_test(test_member_with_another_data_directory_is_not_spoken_to),
        cmocka_unit_test(test_address_that_now_belongs_to_another_node_is_not_spoken_to),
        cmocka_unit_test(test_another_cluster_is_not_spoken_to),
        cmocka_unit_test(test_node_without_a_cluster_is_spoken_to),
        cmocka_unit_test(test_refused_greeting_is_never_answered),
        cmocka_unit_test(test_accepted_lines_are_bounded),
        cmocka_unit_test(test_reset_line_is_told_and_dialled_again),
        cmocka_unit_test(test_who_breaks_again_and_again_is_away_for_no_longer_than_it_was_there),
        cmocka_unit_test(test_crashed_member_is_suspected_at_once),
        cmocka_unit_test(test_stopped_member_says_goodbye_and_is_not_suspected),
        cmocka_unit_test(test_goodbye_arrives_while_the_other_end_is_talking),
        cmocka_unit_test(test_two_that_leave_together_do_not_wait_for_each_other),
        cmocka_unit_test(test_member_that_vanished_without_a_word_is_missed),
        cmocka_unit_test(test_idle_lines_stay),
        cmocka_unit_test(test_damaged_frames_end_the_line_and_are_never_shown),
        cmocka_unit_test(test_line_may_be_closed_from_within_its_own_frame),
        cmocka_unit_test(test_stranger_is_dialled_once_and_closed_on_demand),
        cmocka_unit_test(test_stranger_that_is_not_there_is_lost_once),
        cmocka_unit_test(test_removed_member_hears_goodbye_and_is_not_dialled_again),
        cmocka_unit_test(test_changed_store_id_or_address_is_dialled_anew),
        cmocka_unit_test(test_stop_in_any_state_ends_everything_and_leaks_nothing),
        cmocka_unit_test(test_stop_does_not_wait_for_a_member_that_does_not_read),
        cmocka_unit_test(test_every_failed_allocation_is_survived),
        cmocka_unit_test(test_same_seed_gives_the_same_history),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
