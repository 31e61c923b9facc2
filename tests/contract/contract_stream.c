/* contract_stream.c — listeners and streams. Each end of a connection writes down what it hears as
 * words ("opened:0 data ended:ERR_EOF closed"), and the cases compare these. */
#include "env_contract.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BULK_BYTES = 1 << 20, NO_LIMIT = 1 << 30 };

struct end {
    struct contract *c;
    struct env_stream *stream;
    char heard[200];
    bool in_data; /* the last word was data: runs of it count once */
    uint64_t received;
    uint64_t sent;
    unsigned drained;
    bool opened, ended, closed;
    /* what to do when something is heard */
    bool echo;
    bool pause_each; /* stop reading after each piece, go on a little later */
    bool close_on_data;
    bool finish_on_end;
    bool close_on_end;
    bool write_on_end;
    bool bulk_on_drain;
    struct env_timer resume;
};

struct link {
    struct contract *c;
    struct env_listener *listener;
    char addr[64];
    struct end dialed;
    struct end accepted;
    unsigned accepted_count;
    bool no_read;                                    /* the accepted end does not start reading */
    const struct env_stream_events *accepted_events; /* NULL: the usual ones */
    int rc;
};

/* The n-th byte of every stream of these cases: position and content must agree, at any cut. */
static uint8_t pattern(uint64_t n)
{
    return (uint8_t)(n * 131 + (n >> 8) * 7 + (n >> 16));
}

static void hear(struct end *x, const char *word, int rc)
{
    size_t len = strlen(x->heard);
    size_t room = sizeof(x->heard) - len;

    contract_callback(x->c);
    CHECK(!x->closed);
    x->in_data = false;
    int more =
        strcmp(word, "closed") == 0
            ? snprintf(x->heard + len, room, "%sclosed", len ? " " : "")
            : snprintf(x->heard + len, room, "%s%s:%s", len ? " " : "", word, err_name_of(rc));
    CHECK(more > 0 && (size_t)more < room);
}

static void hear_data(struct end *x)
{
    size_t len = strlen(x->heard);

    if (!x->in_data)
        (void)snprintf(x->heard + len, sizeof(x->heard) - len, "%sdata", len ? " " : "");
    x->in_data = true;
}

static int send_pattern(struct end *x, size_t len, size_t pending_max)
{
    static uint8_t bytes[BULK_BYTES];
    struct slice parts[3];
    int rc;

    CHECK(len <= sizeof(bytes));
    for (size_t i = 0; i < len; i++)
        bytes[i] = pattern(x->sent + i);
    parts[0] = slice_of(bytes, len / 3);
    parts[1] = slice_of(bytes + len / 3, 0); /* an empty piece in between */
    parts[2] = slice_of(bytes + len / 3, len - len / 3);
    SUBMIT(x->c, rc = env_stream_write(x->stream, parts, 3, pending_max));
    memset(bytes, 0xEE, len); /* sent or copied: ours again */
    if (rc == 0)
        x->sent += len;
    return rc;
}

static void on_opened(void *ctx, int rc)
{
    struct end *x = ctx;

    CHECK(!x->opened);
    hear(x, "opened", rc);
    x->opened = true;
}

static void on_resume(struct env_timer *t)
{
    struct end *x = t->ctx;

    contract_callback(x->c);
    if (!x->ended && !x->closed)
        SUBMIT(x->c, env_stream_read_start(x->stream));
}

static void on_data(void *ctx, struct slice bytes)
{
    struct end *x = ctx;

    contract_callback(x->c);
    CHECK(!x->ended && !x->closed);
    CHECK(bytes.len >= 1);
    hear_data(x);
    for (size_t i = 0; i < bytes.len; i++)
        CHECK(bytes.data[i] == pattern(x->received + i));
    x->received += bytes.len;
    if (x->echo)
        CHECK(env_stream_write(x->stream, &bytes, 1, NO_LIMIT) == 0);
    if (x->pause_each) {
        env_stream_read_stop(x->stream);
        env_timer_arm(&x->resume, 200 * UINT64_C(1000));
    }
    if (x->close_on_data)
        SUBMIT(x->c, env_stream_close(x->stream));
}

static void on_ended(void *ctx, int rc)
{
    struct end *x = ctx;

    CHECK(!x->ended);
    hear(x, "ended", rc);
    x->ended = true;
    if (x->write_on_end)
        CHECK(send_pattern(x, 1000, NO_LIMIT) == 0);
    if (x->finish_on_end)
        SUBMIT(x->c, env_stream_finish(x->stream));
    if (x->close_on_end)
        SUBMIT(x->c, env_stream_close(x->stream));
}

static void on_drained(void *ctx)
{
    struct end *x = ctx;

    contract_callback(x->c);
    CHECK(!x->closed);
    CHECK(env_stream_pending(x->stream) == 0);
    x->drained++;
    if (x->bulk_on_drain && x->sent < 4 * BULK_BYTES)
        CHECK(send_pattern(x, BULK_BYTES, NO_LIMIT) == 0);
}

static void on_closed(void *ctx)
{
    struct end *x = ctx;

    hear(x, "closed", 0);
    x->closed = true;
    x->stream = NULL;
    env_timer_disarm(&x->resume);
}

static const struct env_stream_events events = {on_opened, on_data, on_ended, on_drained,
                                                on_closed};

static void on_accepted(void *ctx, struct env_stream *s)
{
    struct link *l = ctx;

    contract_callback(l->c);
    CHECK(l->accepted_count++ == 0);
    l->accepted.stream = s;
    env_stream_attach(s, l->accepted_events ? l->accepted_events : &events, &l->accepted);
    if (!l->no_read)
        env_stream_read_start(s);
}

/* ---- steps, each run on the loop ---- */

static void do_listen(void *ctx)
{
    struct link *l = ctx;
    struct err_text why = {""};

    CHECK(env_listen(l->c->env, l->c->driver->listen_addr(), on_accepted, l, &l->listener, &why) ==
          0);
    (void)snprintf(l->addr, sizeof(l->addr), "%s", env_listener_addr(l->listener));
}

static void do_connect(void *ctx)
{
    struct link *l = ctx;

    SUBMIT(l->c,
           l->rc = env_stream_connect(l->c->env, l->addr, &events, &l->dialed, &l->dialed.stream));
    CHECK(l->rc == 0);
    CHECK(l->dialed.heard[0] == '\0');
}

static void do_read_dialed(void *ctx)
{
    SUBMIT(((struct link *)ctx)->c, env_stream_read_start(((struct link *)ctx)->dialed.stream));
}

static void do_read_accepted(void *ctx)
{
    SUBMIT(((struct link *)ctx)->c, env_stream_read_start(((struct link *)ctx)->accepted.stream));
}

static void do_stop_read_accepted(void *ctx)
{
    env_stream_read_stop(((struct link *)ctx)->accepted.stream);
}

static void do_close_dialed(void *ctx)
{
    SUBMIT(((struct link *)ctx)->c, env_stream_close(((struct link *)ctx)->dialed.stream));
}

static void do_close_accepted(void *ctx)
{
    SUBMIT(((struct link *)ctx)->c, env_stream_close(((struct link *)ctx)->accepted.stream));
}

static void do_finish_dialed(void *ctx)
{
    SUBMIT(((struct link *)ctx)->c, env_stream_finish(((struct link *)ctx)->dialed.stream));
}

static void do_close_listener(void *ctx)
{
    env_listener_close(((struct link *)ctx)->listener);
}

static void do_send_small(void *ctx)
{
    CHECK(send_pattern(&((struct link *)ctx)->dialed, 1000, NO_LIMIT) == 0);
}

static void do_send_bulk(void *ctx)
{
    CHECK(send_pattern(&((struct link *)ctx)->dialed, BULK_BYTES, NO_LIMIT) == 0);
}

/* ---- what to wait for ---- */

static bool both_open(void *ctx)
{
    struct link *l = ctx;

    return l->dialed.opened && l->accepted.stream;
}

static bool dialed_opened(void *ctx)
{
    return ((struct link *)ctx)->dialed.opened;
}

static bool dialed_closed(void *ctx)
{
    return ((struct link *)ctx)->dialed.closed;
}

static bool both_closed(void *ctx)
{
    struct link *l = ctx;

    return l->dialed.closed && l->accepted.closed;
}

static bool dialed_ended(void *ctx)
{
    return ((struct link *)ctx)->dialed.ended;
}

static bool accepted_ended(void *ctx)
{
    return ((struct link *)ctx)->accepted.ended;
}

static bool accepted_got_all(void *ctx)
{
    struct link *l = ctx;

    return l->accepted.received == l->dialed.sent;
}

static bool echo_complete(void *ctx)
{
    struct link *l = ctx;

    return l->dialed.received == l->dialed.sent;
}

/* ---- beginning and end of a case ---- */

static void end_init(struct end *x, struct contract *c)
{
    x->c = c;
    env_timer_init(&x->resume, c->env, on_resume, x);
}

static void link_listen(struct link *l, struct contract *c)
{
    memset(l, 0, sizeof(*l));
    l->c = c;
    end_init(&l->dialed, c);
    end_init(&l->accepted, c);
    contract_call(c, do_listen, l);
}

static void link_open(struct link *l, struct contract *c)
{
    link_listen(l, c);
    contract_call(c, do_connect, l);
    contract_until(c, both_open, l);
    CHECK_TEXT(l->dialed.heard, "opened:ERR_OK");
    CHECK_TEXT(l->accepted.heard, "");
}

static void link_open_unread(struct link *l, struct contract *c)
{
    link_listen(l, c);
    l->no_read = true;
    contract_call(c, do_connect, l);
    contract_until(c, both_open, l);
}

static void link_fini(struct link *l)
{
    contract_call(l->c, do_close_listener, l);
    contract_linger(l->c); /* a late callback on a closed end fails in hear() */
}

static void link_close_both(struct link *l)
{
    contract_call(l->c, do_close_dialed, l);
    contract_call(l->c, do_close_accepted, l);
    contract_until(l->c, both_closed, l);
    link_fini(l);
}

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
        SUBMIT(l->c, l->rc = env_stream_connect(l->c->env, bad[i], &events, &l->dialed,
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

enum { FULL_AT = 256 * 1024 };

/* Nobody reads: sooner or later the transport takes no more, and then our own bound is reached. */
static void do_write_until_full(void *ctx)
{
    struct end *x = &((struct link *)ctx)->dialed;
    size_t pending;
    int rc;

    do {
        pending = env_stream_pending(x->stream);
        CHECK(pending <= FULL_AT);
        rc = send_pattern(x, 64 * 1024, FULL_AT);
    } while (rc == 0);
    CHECK(rc == ERR_FULL);
    CHECK(pending + 64 * 1024 > FULL_AT);
    CHECK(env_stream_pending(x->stream) == pending); /* nothing was taken */
    CHECK(send_pattern(x, 0, FULL_AT) == 0);
    size_t room = FULL_AT - pending;
    CHECK(send_pattern(x, room, FULL_AT) == 0); /* exactly the bound is allowed */
    CHECK(send_pattern(x, 1, FULL_AT) == ERR_FULL);
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

/* ---- ends ---- */

static void test_fin_is_heard_once_after_all_data(struct contract *c)
{
    struct link l;

    link_open(&l, c);
    contract_call(c, do_read_dialed, &l);
    contract_call(c, do_send_bulk, &l);
    contract_call(c, do_finish_dialed, &l);
    contract_until(c, accepted_ended, &l);
    CHECK(l.accepted.received == BULK_BYTES);
    CHECK_TEXT(l.accepted.heard, "data ended:ERR_EOF");
    contract_call(c, do_close_accepted, &l);
    contract_until(c, both_closed, &l);
    link_fini(&l);
    CHECK_TEXT(l.accepted.heard, "data ended:ERR_EOF closed");
    CHECK_TEXT(l.dialed.heard, "opened:ERR_OK closed");
}

static void do_finish_accepted(void *ctx)
{
    env_stream_finish(((struct link *)ctx)->accepted.stream);
}

/* Both say good-bye at about the same time; what each wrote before must arrive at the other. */
static void test_finish_flushes_what_is_pending(struct contract *c)
{
    struct link l;

    link_open_unread(&l, c);
    contract_call(c, do_write_until_full, &l);
    CHECK(env_stream_pending(l.dialed.stream) > 0);
    contract_call(c, do_finish_dialed, &l);
    contract_linger(c);
    CHECK(!l.dialed.closed); /* it cannot have sent all that */
    contract_call(c, do_read_accepted, &l);
    contract_until(c, accepted_ended, &l);
    CHECK(l.accepted.received == l.dialed.sent);
    contract_call(c, do_finish_accepted, &l);
    contract_until(c, both_closed, &l);
    link_fini(&l);
    CHECK_TEXT(l.accepted.heard, "data ended:ERR_EOF closed");
}

static void test_after_fin_the_other_direction_still_flows(struct contract *c)
{
    struct link l;

    link_open(&l, c);
    l.accepted.write_on_end = true; /* checks that the write is taken */
    l.accepted.finish_on_end = true;
    contract_call(c, do_send_small, &l);
    contract_call(c, do_finish_dialed, &l);
    contract_until(c, both_closed, &l);
    link_fini(&l);
    CHECK_TEXT(l.accepted.heard, "data ended:ERR_EOF closed");
    CHECK(l.accepted.sent == 1000);
}

static void test_finish_then_close_gives_closed_once(struct contract *c)
{
    struct link l;

    link_open_unread(&l, c);
    contract_call(c, do_write_until_full, &l);
    contract_call(c, do_finish_dialed, &l);
    contract_call(c, do_close_dialed, &l);
    contract_until(c, dialed_closed, &l);
    contract_call(c, do_close_accepted, &l);
    contract_until(c, both_closed, &l);
    link_fini(&l);
    CHECK_TEXT(l.dialed.heard, "opened:ERR_OK closed");
}

static void test_nothing_but_closed_comes_after_close(struct contract *c)
{
    struct link l;

    link_open(&l, c);
    l.accepted.close_on_data = true;
    l.dialed.close_on_end = true;
    contract_call(c, do_read_dialed, &l);
    contract_call(c, do_send_bulk, &l);
    contract_until(c, both_closed, &l);
    link_fini(&l);
    CHECK_TEXT(l.accepted.heard, "data closed");
}

static void do_keep_writing(void *ctx)
{
    struct link *l = ctx;

    if (!l->dialed.ended && l->rc == 0)
        l->rc = send_pattern(&l->dialed, 1000, NO_LIMIT);
}

static void test_writing_to_a_closed_peer_ends_in_reset(struct contract *c)
{
    struct link l;

    link_open(&l, c);
    contract_call(c, do_read_dialed, &l);
    contract_call(c, do_close_accepted, &l);
    contract_until(c, dialed_ended, &l);
    l.dialed.ended = false; /* FIN was heard; now write against it */
    for (int i = 0; i < 1000 && l.rc == 0; i++) {
        contract_call(c, do_keep_writing, &l);
        if (i % 10 == 9)
            contract_linger(c);
    }
    CHECK(l.rc == ERR_RESET);
    contract_call(c, do_close_dialed, &l);
    contract_until(c, both_closed, &l);
    link_fini(&l);
    CHECK_TEXT(l.dialed.heard, "opened:ERR_OK ended:ERR_EOF closed");
}

static void do_write_until_refused(void *ctx)
{
    struct link *l = ctx;

    if (l->rc == 0)
        l->rc = send_pattern(&l->dialed, 1000, NO_LIMIT); /* SUBMIT inside: no callback now */
}

static void test_write_that_finds_the_stream_broken_is_heard_later(struct contract *c)
{
    struct link l;

    link_open_unread(&l, c); /* nobody reads: only writing can find out */
    contract_call(c, do_close_accepted, &l);
    for (int i = 0; i < 1000 && l.rc == 0; i++) {
        contract_linger(c);
        contract_call(c, do_write_until_refused, &l);
    }
    CHECK(l.rc == ERR_RESET);
    contract_until(c, dialed_ended, &l);
    contract_call(c, do_close_dialed, &l);
    contract_until(c, both_closed, &l);
    link_fini(&l);
    CHECK_TEXT(l.dialed.heard, "opened:ERR_OK ended:ERR_RESET closed");
}

static void do_answer_and_finish(void *ctx)
{
    struct link *l = ctx;

    CHECK(send_pattern(&l->accepted, BULK_BYTES, NO_LIMIT) == 0); /* more than arrives unread */
    SUBMIT(l->c, env_stream_finish(l->accepted.stream));
}

/* A server that refuses a request without reading it all: its answer must survive (RFC 9112 9.6). */
static void test_finish_with_unread_input_does_not_destroy_the_answer(struct contract *c)
{
    struct link l;

    link_open_unread(&l, c);
    contract_call(c, do_send_small, &l);
    contract_linger(c);
    contract_call(c, do_answer_and_finish, &l);
    contract_linger(c);
    contract_call(c, do_read_dialed, &l);
    contract_until(c, dialed_ended, &l);
    CHECK(l.dialed.received == BULK_BYTES);
    contract_call(c, do_close_dialed, &l);
    contract_until(c, both_closed, &l);
    link_fini(&l);
    CHECK_TEXT(l.dialed.heard, "opened:ERR_OK data ended:ERR_EOF closed");
    CHECK_TEXT(l.accepted.heard, "closed");
}

/* ---- listeners ---- */

static void do_listen_again(void *ctx)
{
    struct link *l = ctx;
    struct env_listener *second = NULL;
    struct err_text why = {""};
    char want[160];

    CHECK(env_listen(l->c->env, l->addr, on_accepted, l, &second, &why) == ERR_ADDRESS);
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
        CHECK(env_listen(l->c->env, bad[i], on_accepted, l, &none, &why) == ERR_ADDRESS);
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
    {"fin_is_heard_once_after_all_data", test_fin_is_heard_once_after_all_data},
    {"finish_flushes_what_is_pending", test_finish_flushes_what_is_pending},
    {"after_fin_the_other_direction_still_flows", test_after_fin_the_other_direction_still_flows},
    {"finish_then_close_gives_closed_once", test_finish_then_close_gives_closed_once},
    {"nothing_but_closed_comes_after_close", test_nothing_but_closed_comes_after_close},
    {"writing_to_a_closed_peer_ends_in_reset", test_writing_to_a_closed_peer_ends_in_reset},
    {"write_that_finds_the_stream_broken_is_heard_later",
     test_write_that_finds_the_stream_broken_is_heard_later},
    {"finish_with_unread_input_does_not_destroy_the_answer",
     test_finish_with_unread_input_does_not_destroy_the_answer},
    {"second_listener_on_an_address_is_told_why", test_second_listener_on_an_address_is_told_why},
    {"listening_on_no_address_is_told_why", test_listening_on_no_address_is_told_why},
    {"listener_tells_its_address", test_listener_tells_its_address},
    {"closed_listener_accepts_nobody", test_closed_listener_accepts_nobody},
    {"environment_is_taken_down_with_streams_open",
     test_environment_is_taken_down_with_streams_open},
    {NULL, NULL},
};
