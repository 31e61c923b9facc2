/* test_peer_raw.c — a set against something that is no peer: listeners that hang up or say nothing,
 * diallers that send rubbish. The other end is plain env streams. */
#include "peer_world.h"

/* ---- the other end ---- */

struct raw {
    struct host *host;
    bool hang_up; /* close what is accepted at once */
    uint32_t accepted, closed, ended;
    uint64_t accepted_ns[512];
    const void *bytes; /* sent at the beginning */
    size_t len;
    size_t received;
    const char *to;
};

static struct raw raw;
static struct env_stream *raw_streams[512]; /* those not closed yet, by arrival */

static void raw_opened(void *ctx, int rc)
{
    struct env_stream **slot = ctx;
    struct slice part = slice_of(raw.bytes, raw.len);

    assert_int_equal(rc, 0);
    env_stream_read_start(*slot);
    if (part.len)
        assert_int_equal(env_stream_write(*slot, &part, 1, SIZE_MAX), 0);
}

static void raw_data(void *ctx, struct slice bytes)
{
    (void)ctx;
    raw.received += bytes.len;
}

static void raw_ended(void *ctx, int rc)
{
    struct env_stream **slot = ctx;
    (void)rc;
    raw.ended++;
    env_stream_close(*slot);
}

static void raw_drained(void *ctx)
{
    (void)ctx;
}

static void raw_closed(void *ctx)
{
    (void)ctx;
    raw.closed++;
}

static const struct env_stream_events raw_events = {raw_opened, raw_data, raw_ended, raw_drained,
                                                    raw_closed};

static void raw_accepted(void *ctx, struct env_stream *s)
{
    uint32_t i = raw.accepted++;

    (void)ctx;
    assert_true(i < 512);
    raw.accepted_ns[i] = world_now_ns(host_world(raw.host));
    raw_streams[i] = s;
    env_stream_attach(s, &raw_events, &raw_streams[i]);
    struct slice part = slice_of(raw.bytes, raw.len);
    if (part.len)
        assert_int_equal(env_stream_write(s, &part, 1, SIZE_MAX), 0);
    if (raw.hang_up)
        env_stream_finish(s);
    else
        env_stream_read_start(s);
}

static void raw_listen_boot(struct env *e, void *ctx)
{
    struct env_listener *l;
    struct err_text why;
    assert_int_equal(env_listen(e, ctx, raw_accepted, NULL, &l, &why), 0);
}

static void raw_dial_boot(struct env *e, void *ctx)
{
    assert_int_equal(env_stream_connect(e, ctx, &raw_events, &raw_streams[0], &raw_streams[0]), 0);
}

enum { CROWD = 100 };

static void raw_crowd_boot(struct env *e, void *ctx)
{
    for (uint32_t i = 0; i < CROWD; i++)
        assert_int_equal(env_stream_connect(e, ctx, &raw_events, &raw_streams[i], &raw_streams[i]),
                         0);
}

/* n1 has a set that knows n2; n2 is raw. */
static struct app *raw_town(struct town *t, uint64_t seed)
{
    town_make(t, 2, seed);
    memset(&raw, 0, sizeof(raw));
    raw.host = t->apps[1].host;
    app_knows(&t->apps[0], &t->apps[1]);
    return &t->apps[0];
}

/* ---- claims ---- */

static void test_dialling_backs_off_with_jitter_and_never_gives_up(void **state)
{
    (void)state;
    struct town t;
    struct app *a = raw_town(&t, 31);

    raw.hang_up = true;
    host_start(raw.host, raw_listen_boot, t.apps[1].addr);
    app_start(a);
    town_run(&t, SEC(60));
    assert_in_range(raw.accepted, 60, 130); /* a second at most, half of it at least */
    uint64_t shortest = UINT64_MAX, longest = 0;
    for (uint32_t i = 20; i + 1 < raw.accepted; i++) {
        uint64_t gap = raw.accepted_ns[i + 1] - raw.accepted_ns[i];
        shortest = gap < shortest ? gap : shortest;
        longest = gap > longest ? gap : longest;
    }
    assert_true(shortest >= MS(490));
    assert_true(longest <= MS(1100));
    assert_true(longest - shortest > MS(100));                      /* chance */
    assert_true(raw.accepted_ns[2] - raw.accepted_ns[0] < MS(200)); /* quick at first */
    assert_int_equal(a->refused, 0);
    world_destroy(t.world);
}

static void test_listener_that_says_nothing_is_left_after_the_hello_timeout(void **state)
{
    (void)state;
    struct town t;
    struct app *a = raw_town(&t, 32);

    host_start(raw.host, raw_listen_boot, t.apps[1].addr);
    app_start(a);
    town_run(&t, MS(a->config.hello_timeout_ms) - MS(100));
    assert_int_equal(raw.accepted, 1);
    assert_int_equal(raw.ended, 0);
    assert_true(raw.received > WIRE_FRAME_HEADER); /* our greeting */
    town_run(&t, SEC(1));
    assert_true(raw.ended >= 1);
    assert_int_equal(a->greeted, 0);
    world_destroy(t.world);
}

static void test_a_silent_crowd_keeps_no_member_out(void **state)
{
    (void)state;
    struct town t;
    struct peer_counters counters;

    town_make(&t, 3, 35);
    memset(&raw, 0, sizeof(raw));
    raw.host = t.apps[2].host;
    app_knows(&t.apps[1], &t.apps[0]);
    app_start(&t.apps[0]);
    town_run(&t, MS(100));
    host_start(raw.host, raw_crowd_boot, t.apps[0].addr);
    town_run(&t, SEC(1));
    app_start(&t.apps[1]);
    town_run(&t, SEC(1));
    assert_true(t.apps[0].config.hello_timeout_ms > 2000); /* the crowd is still there */
    assert_int_equal(t.apps[1].greeted, 1);
    assert_int_equal(t.apps[0].greeted, 1);
    peer_counters_get(t.apps[0].set, &counters);
    assert_int_equal(counters.turned_away, CROWD + 1 - t.apps[0].config.accepted_max / 2);
    assert_int_equal(counters.strangers, 0);
    world_destroy(t.world);
}

/* n2 answers whatever comes with this greeting. */
static void raw_hello(struct buf *b, uint64_t id, uint64_t store_id)
{
    const struct wire_hello h = {.protocol_min = WIRE_PROTOCOL_MIN,
                                 .protocol_max = WIRE_PROTOCOL_MAX,
                                 .cluster_id = 7,
                                 .store_id = store_id,
                                 .id = id,
                                 .name = slice_str("n2")};

    buf_init(b, 1 << 20);
    size_t begun = wire_frame_begin(b, WIRE_HELLO, 0);
    (void)wire_hello_put(b, &h);
    assert_int_equal(wire_frame_end(b, begun), 0);
    raw.bytes = buf_slice(b).data;
    raw.len = buf_len(b);
}

static void test_answer_of_another_than_the_one_called_is_not_taken(void **state)
{
    (void)state;
    for (uint32_t wrong = 0; wrong < 3; wrong++) {
        struct town t;
        struct buf b;
        struct app *a = raw_town(&t, 34);
        raw_hello(&b, wrong == 1 ? 3 : 2, wrong == 2 ? 103 : 102);
        host_start(raw.host, raw_listen_boot, t.apps[1].addr);
        app_start(a);
        town_run(&t, SEC(1));
        assert_int_equal(a->greeted, wrong == 0);
        assert_true(wrong == 0 || raw.ended > 1);
        world_destroy(t.world);
        buf_fini(&b);
    }
}

static void test_member_that_greets_and_hangs_up_is_not_dialled_without_pause(void **state)
{
    (void)state;
    struct town t;
    struct buf b;
    struct app *a = raw_town(&t, 35);

    raw_hello(&b, 2, 102);
    raw.hang_up = true;
    host_start(raw.host, raw_listen_boot, t.apps[1].addr);
    app_start(a);
    town_run(&t, SEC(60));
    assert_in_range(raw.accepted, 60, 130);
    assert_true(a->greeted > 40); /* the end sometimes overtakes the greeting */
    assert_in_range(a->lost, a->greeted - 1, a->greeted);
    world_destroy(t.world);
    buf_fini(&b);
}

/* A raw dialler sends these bytes and is dropped within `ns`, without a byte of answer. */
static void dialler_is_dropped(const void *bytes, size_t len, uint64_t ns, uint64_t not_before)
{
    struct town t;
    struct app *a = raw_town(&t, 33);

    a->member_count = 0;
    raw.bytes = bytes;
    raw.len = len;
    app_start(a);
    town_run(&t, MS(10));
    host_start(raw.host, raw_dial_boot, a->addr);
    town_run(&t, not_before);
    assert_int_equal(raw.ended, 0);
    town_run(&t, ns);
    assert_int_equal(raw.ended, 1);
    assert_int_equal(raw.received, 0);
    assert_int_equal(a->greeted + a->lost + a->frames, 0);
    world_destroy(t.world);
}

static void test_dialler_that_sends_no_greeting_is_dropped(void **state)
{
    (void)state;
    struct buf b;

    buf_init(&b, 1 << 20);
    dialler_is_dropped("", 0, SEC(2), SEC(2)); /* silence: after the hello timeout */
    dialler_is_dropped("GET / HTTP/1.1\r\n\r\n", 18, SEC(1), 0);
    assert_int_equal(wire_frame_put(&b, WIRE_RAFT, 0, slice_str("body")), 0);
    dialler_is_dropped(buf_slice(&b).data, buf_len(&b), SEC(1), 0);
    buf_reset(&b, 0);
    assert_int_equal(wire_frame_put(&b, WIRE_HELLO, 0, slice_str("body")), 0);
    dialler_is_dropped(buf_slice(&b).data, buf_len(&b), SEC(1), 0);
    buf_fini(&b);
}

static void test_greeting_larger_than_any_is_dropped_before_it_is_kept(void **state)
{
    (void)state;
    static uint8_t big[60000];
    struct buf b;

    buf_init(&b, 1 << 20);
    assert_int_equal(wire_frame_put(&b, WIRE_HELLO, 0, slice_of(big, sizeof(big))), 0);
    dialler_is_dropped(buf_slice(&b).data, WIRE_FRAME_HEADER + 1, SEC(1), 0);
    buf_fini(&b);
}

/* A killed process' sockets do not close all at once: its listener may still take the redial. */
static void test_redial_that_dies_unheard_is_tried_again(void **state)
{
    (void)state;
    struct town t;
    struct app *a = raw_town(&t, 47);

    app_start(a);
    app_start(&t.apps[1]);
    town_run(&t, SEC(5));
    uint64_t begun = world_now_ns(t.world);
    host_crash(raw.host, HOST_CRASH_PROCESS);
    raw.hang_up = true;
    host_start(raw.host, raw_listen_boot, t.apps[1].addr);
    town_run(&t, MS(30));
    assert_true(raw.accepted >= 1);
    host_crash(raw.host, HOST_CRASH_PROCESS);
    town_run(&t, SEC(10));
    assert_int_equal(a->refused, 1);
    assert_true(a->refused_ns - begun < MS(500));
    world_destroy(t.world);
}

static void test_member_that_hangs_up_is_not_suspected(void **state)
{
    (void)state;
    struct town t;
    struct app *a = raw_town(&t, 48);

    app_start(a);
    app_start(&t.apps[1]);
    town_run(&t, SEC(5));
    host_crash(raw.host, HOST_CRASH_PROCESS);
    raw.hang_up = true;
    host_start(raw.host, raw_listen_boot, t.apps[1].addr);
    town_run(&t, SEC(10));
    assert_int_equal(a->refused, 0);
    assert_in_range(raw.accepted, 5, 40); /* and is not knocked at without pause */
    host_crash(raw.host, HOST_CRASH_PROCESS);
    town_run(&t, SEC(10));
    assert_int_equal(a->refused, 0); /* by now its loss is old news */
    world_destroy(t.world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_dialling_backs_off_with_jitter_and_never_gives_up),
        cmocka_unit_test(test_redial_that_dies_unheard_is_tried_again),
        cmocka_unit_test(test_member_that_hangs_up_is_not_suspected),
        cmocka_unit_test(test_listener_that_says_nothing_is_left_after_the_hello_timeout),
        cmocka_unit_test(test_a_silent_crowd_keeps_no_member_out),
        cmocka_unit_test(test_answer_of_another_than_the_one_called_is_not_taken),
        cmocka_unit_test(test_member_that_greets_and_hangs_up_is_not_dialled_without_pause),
        cmocka_unit_test(test_dialler_that_sends_no_greeting_is_dropped),
        cmocka_unit_test(test_greeting_larger_than_any_is_dropped_before_it_is_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
