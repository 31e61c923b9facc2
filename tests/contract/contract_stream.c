/* contract_stream.c — listening, connecting, data in both directions. */
#include "contract_link.h"
#include <stdio.h>
#include <string.h>

/* ---- opening ---- */

static void test_connect_to_nobody_is_refused(struct contract *c)
{
    struct link l;

    link_listen(&l, c);
    contract_call(c, do_close_listener, &l);
    contract_linger(c);
    contract_call(c, do_connect, &l);
    contract_until(c, dialed_opened, &l);
    CHECK_TEXT(l.dialed.heard, "opened:ERR_REFUSED");
    contract_call(c, do_close_dialed, &l);
    contract_until(c, dialed_closed, &l);
    contract_linger(c);
    CHECK_TEXT(l.dialed.heard, "opened:ERR_REFUSED closed");
}

static void do_connect_badly(void *ctx)
{
    static const char *const bad[] = {"", "nocolon", "127.0.0.1:", "127.0.0.1:65536",
                                      "127.0.0.1:4x"};
    struct link *l = ctx;

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        SUBMIT(l->c, l->rc = env_stream_connect(l->c->net, bad[i], &end_events, &l->dialed,
                                                &l->dialed.stream));
        CHECK(l->rc == ERR_INVALID);
        CHECK(l->dialed.stream == NULL);
    }
}

static void test_connect_to_no_address_starts_nothing(struct contract *c)
{
    struct link l;

    link_listen(&l, c);
    contract_call(c, do_connect_badly, &l);
    link_fini(&l);
    CHECK_TEXT(l.dialed.heard, "");
}

static void test_opened_stream_names_its_peer(struct contract *c)
{
    struct link l;

    link_open(&l, c);
    CHECK_TEXT(env_stream_peer(l.dialed.stream), l.addr);
    CHECK(strchr(env_stream_peer(l.accepted.stream), ':') != NULL);
    link_close_both(&l);
}

static void do_connect_and_close(void *ctx)
{
    do_connect(ctx);
    do_close_dialed(ctx);
}

static void test_close_while_connecting_gives_closed_alone(struct contract *c)
{
    struct link l;

    link_listen(&l, c);
    l.accepted.close_on_end = true;
    contract_call(c, do_connect_and_close, &l);
    contract_until(c, dialed_closed, &l);
    link_fini(&l);
    CHECK_TEXT(l.dialed.heard, "closed");
}

/* The name stands for an IPv6 address too, on most machines first, where nobody listens. */
static void test_connect_by_name_tries_each_address(struct contract *c)
{
    struct link l;

    if (!c->driver->resolves_localhost)
        return;
    link_listen(&l, c);
    char port[16];
    (void)snprintf(port, sizeof(port), "%.15s", strrchr(l.addr, ':'));
    (void)snprintf(l.addr, sizeof(l.addr), "localhost%s", port);
    contract_call(c, do_connect, &l);
    contract_until(c, both_open, &l);
    contract_call(c, do_send_small, &l);
    contract_until(c, accepted_got_all, &l);
    link_close_both(&l);
    l.dialed = (struct end){0};
    end_init(&l.dialed, c);
    contract_call(c, do_connect_and_close, &l); /* while the name is looked up */
    contract_until(c, dialed_closed, &l);
    contract_linger(c);
    CHECK_TEXT(l.dialed.heard, "closed");
}

/* ---- data ---- */

static void test_echo_keeps_every_byte_in_order(struct contract *c)
{
    struct link l;

    link_open(&l, c);
    l.accepted.echo = true;
    l.accepted.pause_each = true;
    l.dialed.pause_each = true;
    contract_call(c, do_read_dialed, &l);
    contract_call(c, do_send_bulk, &l);
    contract_until(c, echo_complete, &l);
    CHECK(l.dialed.received == BULK_BYTES);
    link_close_both(&l);
    CHECK_TEXT(l.dialed.heard, "opened:ERR_OK data closed");
}

static void test_no_data_before_reading_starts_or_after_it_stops(struct contract *c)
{
    struct link l;

    link_open_unread(&l, c);
    contract_call(c, do_send_small, &l);
    contract_linger(c);
    CHECK_TEXT(l.accepted.heard, "");
    contract_call(c, do_read_accepted, &l);
    contract_until(c, accepted_got_all, &l);
    contract_call(c, do_stop_read_accepted, &l);
    uint64_t before = l.accepted.received;
    contract_call(c, do_send_small, &l);
    contract_linger(c);
    CHECK(l.accepted.received == before);
    contract_call(c, do_read_accepted, &l);
    contract_until(c, accepted_got_all, &l);
    link_close_both(&l);
}

static bool dialed_drained(void *ctx)
{
    return ((struct link *)ctx)->dialed.drained > 0;
}

static void test_full_write_takes_nothing_and_drains_later(struct contract *c)
{
    struct link l;

    link_open_unread(&l, c);
    contract_call(c, do_write_until_full, &l);
    CHECK(l.dialed.drained == 0);
    contract_call(c, do_read_accepted, &l);
    contract_until(c, dialed_drained, &l);
    contract_until(c, accepted_got_all, &l);
    contract_linger(c);
    CHECK(l.dialed.drained == 1);
    CHECK(env_stream_pending(l.dialed.stream) == 0);
    link_close_both(&l);
}

static bool four_bulks_arrived(void *ctx)
{
    return ((struct link *)ctx)->accepted.received >= UINT64_C(4) * BULK_BYTES;
}

static void do_send_two_bulks(void *ctx)
{
    struct link *l = ctx;

    for (int i = 0; i < 16 && env_stream_pending(l->dialed.stream) == 0; i++)
        do_send_bulk(ctx);
    CHECK(env_stream_pending(l->dialed.stream) > 0);
}

static void test_writes_from_drained_keep_the_order(struct contract *c)
{
    struct link l;

    link_open_unread(&l, c);
    l.dialed.bulk_on_drain = true;
    contract_call(c, do_send_two_bulks, &l);
    contract_call(c, do_read_accepted, &l);
    contract_until(c, accepted_got_all, &l);
    contract_until(c, four_bulks_arrived, &l);
    link_close_both(&l);
}

static void test_small_write_does_not_drain(struct contract *c)
{
    struct link l;

    link_open(&l, c);
    contract_call(c, do_send_small, &l);
    contract_until(c, accepted_got_all, &l);
    contract_linger(c);
    CHECK(l.dialed.drained == 0); /* pending was never above zero */
    link_close_both(&l);
}

/* One round of the loop may bring bytes and finished jobs together. A job begun by these bytes is of
 * this turn: quick as it may be, its done() comes after the turn's hooks. */
struct quick {
    struct link link; /* first: the stream callbacks see a link */
    struct env_job first;
    struct env_job second;
    struct env_turn hook;
    bool hook_ran;
    bool second_done;
};
static struct quick *quick; /* the case in progress */

static void quick_run(struct env_job *j)
{
    (void)j;
}

static void first_done(struct env_job *j)
{
    (void)j;
}

static void second_done(struct env_job *j)
{
    (void)j;
    CHECK(quick->hook_ran);
    quick->second_done = true;
}

static void on_quick_hook(struct env_turn *t)
{
    (void)t;
    quick->hook_ran = true;
}

/* Give the lanes and the transport time to be quick; virtual clocks may stand still meanwhile. */
static void dawdle(struct env *e)
{
    uint64_t until_ns = env_now_ns(e) + ENV_MS_NS;

    for (int i = 0; i < 100000 && env_now_ns(e) < until_ns; i++) {
    }
}

static void on_quick_data(void *ctx, struct slice bytes)
{
    struct end *x = ctx;

    if (x->received == 0) {
        env_turn_schedule(&quick->hook);
        SUBMIT(x->c, env_job_submit(x->c->env, ENV_LANE_LOG, &quick->second));
        dawdle(x->c->env);
    }
    on_data(ctx, bytes);
}

static void do_send_and_submit(void *ctx)
{
    struct quick *q = ctx;

    do_send_small(&q->link);
    dawdle(q->link.c->env);
    SUBMIT(q->link.c, env_job_submit(q->link.c->env, ENV_LANE_APPLY, &q->first));
    dawdle(q->link.c->env);
}

static bool quick_complete(void *ctx)
{
    return ((struct quick *)ctx)->second_done;
}

static void test_job_never_completes_before_the_hooks_of_its_turn(struct contract *c)
{
    static const struct env_stream_events quick_events = {on_opened, on_quick_data, on_ended,
                                                          on_drained, on_closed};
    struct quick q = {.first = {.run = quick_run, .done = first_done},
                      .second = {.run = quick_run, .done = second_done}};

    quick = &q;
    env_turn_init(&q.hook, c->env, on_quick_hook, NULL);
    link_listen(&q.link, c);
    q.link.accepted_events = &quick_events;
    contract_call(c, do_connect, &q.link);
    contract_until(c, both_open, &q.link);
    contract_call(c, do_send_and_submit, &q);
    contract_until(c, quick_complete, &q);
    contract_until(c, accepted_got_all, &q.link);
    link_close_both(&q.link);
}

/* ---- listeners ---- */

static void do_listen_again(void *ctx)
{
    struct link *l = ctx;
    struct env_listener *second = NULL;
    struct err_text why = {""};
    char want[160];

    CHECK(env_listen(l->c->net, l->addr, on_accepted, l, &second, &why) == ERR_ADDRESS);
    CHECK(second == NULL);
    (void)snprintf(want, sizeof(want), "listen tcp %s: bind: address already in use", l->addr);
    CHECK_TEXT(why.text, want);
}

static void test_second_listener_on_an_address_is_told_why(struct contract *c)
{
    struct link l;

    link_listen(&l, c);
    contract_call(c, do_listen_again, &l);
    link_fini(&l);
    contract_call(c, do_listen, &l); /* free again */
    link_fini(&l);
}

static void do_listen_badly(void *ctx)
{
    static const char *const bad[] = {"", "nocolon", "127.0.0.1:", "127.0.0.1:65536"};
    struct link *l = ctx;
    struct env_listener *none = NULL;

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct err_text why = {""};
        CHECK(env_listen(l->c->net, bad[i], on_accepted, l, &none, &why) == ERR_ADDRESS);
        CHECK(none == NULL);
        CHECK(why.text[0] != '\0');
    }
}

static void test_listening_on_no_address_is_told_why(struct contract *c)
{
    struct link l;

    link_listen(&l, c);
    contract_call(c, do_listen_badly, &l);
    link_fini(&l);
}

static void test_listener_tells_its_address(struct contract *c)
{
    struct link l;

    link_listen(&l, c);
    const char *colon = strrchr(l.addr, ':');
    CHECK(colon != NULL && colon != l.addr);
    CHECK(strcmp(colon, ":0") != 0);
    link_fini(&l);
}

static void test_closed_listener_accepts_nobody(struct contract *c)
{
    struct link l;

    link_listen(&l, c);
    contract_call(c, do_close_listener, &l);
    contract_call(c, do_connect, &l);
    contract_until(c, dialed_opened, &l);
    contract_call(c, do_close_dialed, &l);
    contract_until(c, dialed_closed, &l);
    CHECK(l.accepted_count == 0);
}

static void test_environment_is_taken_down_with_streams_open(struct contract *c)
{
    struct link l;

    if (c->net != c->env)
        return; /* what lies on top has to be stopped first, and says so itself */
    link_open_unread(&l, c);
    contract_call(c, do_write_until_full, &l);
    CHECK_TEXT(l.dialed.heard, "opened:ERR_OK"); /* destroy follows; no callback, no leak */
}

const struct contract_case contract_stream_cases[] = {
    {"connect_to_nobody_is_refused", test_connect_to_nobody_is_refused},
    {"connect_to_no_address_starts_nothing", test_connect_to_no_address_starts_nothing},
    {"opened_stream_names_its_peer", test_opened_stream_names_its_peer},
    {"close_while_connecting_gives_closed_alone", test_close_while_connecting_gives_closed_alone},
    {"connect_by_name_tries_each_address", test_connect_by_name_tries_each_address},
    {"echo_keeps_every_byte_in_order", test_echo_keeps_every_byte_in_order},
    {"no_data_before_reading_starts_or_after_it_stops",
     test_no_data_before_reading_starts_or_after_it_stops},
    {"full_write_takes_nothing_and_drains_later", test_full_write_takes_nothing_and_drains_later},
    {"writes_from_drained_keep_the_order", test_writes_from_drained_keep_the_order},
    {"small_write_does_not_drain", test_small_write_does_not_drain},
    {"job_never_completes_before_the_hooks_of_its_turn",
     test_job_never_completes_before_the_hooks_of_its_turn},
    {"second_listener_on_an_address_is_told_why", test_second_listener_on_an_address_is_told_why},
    {"listening_on_no_address_is_told_why", test_listening_on_no_address_is_told_why},
    {"listener_tells_its_address", test_listener_tells_its_address},
    {"closed_listener_accepts_nobody", test_closed_listener_accepts_nobody},
    {"environment_is_taken_down_with_streams_open",
     test_environment_is_taken_down_with_streams_open},
    {NULL, NULL},
};
