/* What goes in comes out, whatever pieces it travels in; ends and damage are told as what they are. */
#include "tls_fixture.h"

/* ---- what gets through ------------------------------------------------------------------------------------------- */

static void test_bytes_come_out_as_they_went_in(void **state)
{
    (void)state;
    start_open();
    theirs.echo = true;
    send_text(&ours, "hello");
    assert_true(world.received > 0);
    world_run();
    expect_got(&theirs, "hello");
    expect_got(&ours, "hello");
    assert_string_equal(env_stream_peer(ours.stream), "192.0.2.1:7");
    assert_string_equal(world.said, "");
}

static void test_pieces_of_any_size_make_no_difference(void **state)
{
    static const size_t pieces[] = {1, 2, 3, 7, 100, 5000};
    const struct tls_config s = server_config(), c = client_config();
    (void)state;
    start(&s, &c);
    for (size_t i = 0; i < sizeof pieces / sizeof pieces[0]; i++) {
        static char text[40000];
        world.piece = pieces[i];
        memset(text, 'a' + (int)i, sizeof text - 1);
        dial("server.example:1");
        world_run();
        theirs.echo = true;
        send_text(&ours, text);
        world_run();
        expect_got(&ours, text);
        env_stream_finish(ours.stream);
        world_run();
        assert_int_equal(theirs.ended_rc, ERR_EOF);
        env_stream_close(theirs.stream);
        world_run();
        assert_true(!theirs.stream && !ours.stream);
        buf_reset(&theirs.got, 0);
        buf_reset(&ours.got, 0);
        theirs.ended = ours.ended = theirs.closed = ours.closed = 0;
    }
    dial("server.example:1");
    world_run();
}

static void test_a_large_write_waits_as_plain_bytes_and_is_drained(void **state)
{
    enum { BYTES = 8 * 1024 * 1024 };
    (void)state;
    start_open();
    env_stream_read_stop(ours.stream); /* the receiver does not read */
    char *large = mem_must_alloc(BYTES);
    for (size_t i = 0; i < BYTES; i++)
        large[i] = (char)(i * 31 >> 3);
    const struct slice parts[] = {slice_of(large, 1000), slice_of(large + 1000, 0),
                                  slice_of(large + 1000, BYTES - 1000)};
    assert_int_equal(env_stream_write(theirs.stream, parts, 3, BYTES - 1), ERR_FULL);
    assert_int_equal(env_stream_write(theirs.stream, parts, 3, BYTES), 0);
    world_run();
    assert_true(env_stream_pending(theirs.stream) > BYTES - 1024 * 1024);
    for (int i = 0; i < ENDS_MAX; i++)
        assert_true(buf_len(&world.ends[i].out) < 512 * 1024); /* below, only what may soon leave */
    assert_int_equal(theirs.drained, 0);
    env_stream_read_start(ours.stream);
    world_run();
    assert_int_equal(theirs.drained, 1);
    assert_true(slice_equal(buf_slice(&ours.got), slice_of(large, BYTES)));
    mem_free(large);
}

static void test_who_does_not_read_is_not_read_for(void **state)
{
    static char text[1024 * 1024];
    (void)state;
    start_open();
    memset(text, 'x', sizeof text - 1);
    theirs.slow = true;
    send_text(&ours, text);
    world_run();
    assert_in_range(buf_len(&theirs.got), 1, 16 * 1024); /* one record */
    assert_true(env_stream_pending(ours.stream) > 500 * 1024);
    for (int i = 0; i < 3; i++) {
        env_stream_read_start(theirs.stream);
        assert_in_range(buf_len(&theirs.got), 1,
                        16 * 1024 * (1 + (size_t)i)); /* not inside of the call */
        world_run();
    }
    theirs.slow = false;
    env_stream_read_start(theirs.stream);
    world_run();
    expect_got(&theirs, text);
    assert_int_equal(ours.drained, 1);
}

static void test_records_that_wait_here_come_when_reading_goes_on(void **state)
{
    (void)state;
    start_open();
    theirs.slow = true;
    send_text(&ours, "one ");
    send_text(&ours, "two ");
    send_text(&ours, "three");
    world_run(); /* all in one piece; nothing more comes from below */
    expect_got(&theirs, "one ");
    env_stream_read_start(theirs.stream);
    expect_got(&theirs, "one "); /* not inside of the call */
    world_run();
    expect_got(&theirs, "one two ");
    env_stream_read_start(theirs.stream);
    world_run();
    expect_got(&theirs, "one two three");
}

/* Whichever allocation fails: the connection works, or both ends hear that it does not. */
static void test_short_memory_ends_one_connection_only(void **state)
{
    const struct tls_config s = server_config(), c = client_config();
    (void)state;
    start(&s, &c);
    for (unsigned long n = 1;; n++) {
        struct env_stream *made = NULL;
        ours.opened = ours.ended = ours.closed = theirs.ended = theirs.closed = 0;
        buf_reset(&ours.got, 1 << 20);
        buf_reset(&theirs.got, 1 << 20);
        assert_non_null(buf_reserve(&ours.got, 4096));
        assert_non_null(buf_reserve(&theirs.got, 4096));
        theirs.echo = false;
        mem_fault_arm(n);
        const int rc =
            env_stream_connect(tls_net(client), "server.example:1", &events, &ours, &made);
        ours.stream = rc == 0 ? made : NULL;
        world_run();
        const int fired = mem_fault_fired();
        mem_fault_arm(0);
        if (rc == 0 && ours.opened_rc == 0 && !ours.ended && theirs.stream) {
            send_text(&ours, "through");
            world_run();
            expect_got(&theirs, "through");
        }
        if (ours.stream)
            env_stream_close(ours.stream);
        world_run();
        if (theirs.stream)
            env_stream_close(theirs.stream);
        world_pass(20 * 1000);
        assert_int_equal(world_streams(), 0);
        if (!fired)
            break;
    }
    ours.opened = ours.ended = ours.closed = theirs.ended = theirs.closed = 0;
    dial("server.example:1");
    world_run();
}

static void test_finish_sends_what_waits_then_the_closing_alert(void **state)
{
    static char text[3 * 1024 * 1024];
    (void)state;
    start_open();
    memset(text, 'y', sizeof text - 1);
    send_text(&theirs, text);
    env_stream_finish(theirs.stream);
    world_run();
    expect_got(&ours, text);
    assert_int_equal(ours.ended, 1);
    assert_int_equal(ours.ended_rc, ERR_EOF);
    assert_int_equal(theirs.closed, 1);
}

static void test_what_is_written_before_the_handshake_leaves_after_it(void **state)
{
    const struct tls_config s = server_config(), c = client_config();
    (void)state;
    start(&s, &c);
    part_at_once = true;
    dial("server.example:1");
    world_run();
    expect_got(&ours, "no room");
    assert_int_equal(ours.ended_rc, ERR_EOF);
    assert_int_equal(theirs.closed, 1);
}

static void test_an_end_without_alert_is_a_cut(void **state)
{
    (void)state;
    start_open();
    send_text(&ours, "half an ans");
    world_run();
    for (int i = 0; i < ENDS_MAX; i++) /* somebody between sends a FIN */
        if (world.ends[i].used && world.ends[i].base.ctx == (void *)ours.stream)
            world.ends[i].other->fin = true;
    world_run();
    expect_got(&theirs, "half an ans");
    assert_int_equal(theirs.ended, 1);
    assert_int_equal(theirs.ended_rc, ERR_RESET);
}

static void test_damaged_records_end_the_connection(void **state)
{
    (void)state;
    start_open();
    send_text(&ours, "precious");
    for (int i = 0; i < ENDS_MAX; i++) {
        struct end *d = &world.ends[i];
        if (d->used && buf_len(&d->out) > 0)
            d->out.data[d->out.end - 1] ^= 1;
    }
    world_run();
    assert_int_equal(buf_len(&theirs.got), 0);
    assert_int_equal(theirs.ended_rc, ERR_RESET);
    assert_int_equal(ours.ended_rc, ERR_RESET); /* told by an alert */
    const struct slice more = slice_str("more");
    assert_int_equal(env_stream_write(theirs.stream, &more, 1, 100), ERR_RESET);
}

static void test_owners_may_close_in_their_callbacks(void **state)
{
    const struct tls_config s = server_config(), c = client_config();
    (void)state;
    start(&s, &c);
    ours.close_in_opened = true;
    dial("server.example:1");
    world_run();
    assert_int_equal(ours.closed, 1);
    assert_int_equal(theirs.ended_rc, ERR_RESET);
    env_stream_close(theirs.stream);
    world_run();
    memset(&ours.opened, 0, sizeof ours.opened);
    ours.closed = theirs.closed = theirs.ended = 0;
    ours.close_in_opened = false;
    theirs.close_in_data = true;
    dial("server.example:1");
    world_run();
    send_text(&ours, "now");
    world_run();
    assert_int_equal(theirs.closed, 1);
}

static void test_a_refused_connection_is_told_as_such(void **state)
{
    const struct tls_config s = server_config(), c = client_config();
    struct err_text why;
    struct env_listener *none = NULL;
    (void)state;
    start(&s, &c);
    dial("nobody:1");
    world_run();
    assert_int_equal(ours.opened_rc, ERR_REFUSED);
    assert_int_equal(env_listen(tls_net(server), "taken", accepted, NULL, &none, &why),
                     ERR_ADDRESS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_bytes_come_out_as_they_went_in),
        CASE(test_pieces_of_any_size_make_no_difference),
        CASE(test_a_large_write_waits_as_plain_bytes_and_is_drained),
        CASE(test_who_does_not_read_is_not_read_for),
        CASE(test_records_that_wait_here_come_when_reading_goes_on),
        CASE(test_short_memory_ends_one_connection_only),
        CASE(test_finish_sends_what_waits_then_the_closing_alert),
        CASE(test_what_is_written_before_the_handshake_leaves_after_it),
        CASE(test_an_end_without_alert_is_a_cut),
        CASE(test_damaged_records_end_the_connection),
        CASE(test_owners_may_close_in_their_callbacks),
        CASE(test_a_refused_connection_is_told_as_such),
    };
    return RUN(tests);
}
