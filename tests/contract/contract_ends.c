/* contract_ends.c — how streams end: FIN, finish, close, and broken ones. */
#include "contract_link.h"
#include <string.h>

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
    /* A filter cannot tell who ended it: without finish() there was no word of parting. */
    CHECK_TEXT(l.dialed.heard, c->net == c->env ? "opened:ERR_OK ended:ERR_EOF closed"
                                                : "opened:ERR_OK ended:ERR_RESET closed");
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

const struct contract_case contract_end_cases[] = {
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
    {NULL, NULL},
};
