/* contract_link.c — what the stream cases are made of. */
#include "contract_link.h"
#include <stdio.h>
#include <string.h>

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

int send_pattern(struct end *x, size_t len, size_t pending_max)
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

void on_opened(void *ctx, int rc)
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

void on_data(void *ctx, struct slice bytes)
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

void on_ended(void *ctx, int rc)
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

void on_drained(void *ctx)
{
    struct end *x = ctx;

    contract_callback(x->c);
    CHECK(!x->closed);
    CHECK(env_stream_pending(x->stream) == 0);
    x->drained++;
    if (x->bulk_on_drain && x->sent < 4 * BULK_BYTES)
        CHECK(send_pattern(x, BULK_BYTES, NO_LIMIT) == 0);
}

void on_closed(void *ctx)
{
    struct end *x = ctx;

    hear(x, "closed", 0);
    x->closed = true;
    x->stream = NULL;
    env_timer_disarm(&x->resume);
}

const struct env_stream_events end_events = {on_opened, on_data, on_ended, on_drained, on_closed};

void on_accepted(void *ctx, struct env_stream *s)
{
    struct link *l = ctx;

    contract_callback(l->c);
    CHECK(l->accepted_count++ == 0);
    l->accepted.stream = s;
    env_stream_attach(s, l->accepted_events ? l->accepted_events : &end_events, &l->accepted);
    if (!l->no_read)
        env_stream_read_start(s);
}

/* ---- steps, each run on the loop ---- */

void do_listen(void *ctx)
{
    struct link *l = ctx;
    struct err_text why = {""};

    CHECK(env_listen(l->c->net, l->c->driver->listen_addr(), on_accepted, l, &l->listener, &why) ==
          0);
    (void)snprintf(l->addr, sizeof(l->addr), "%s", env_listener_addr(l->listener));
}

void do_connect(void *ctx)
{
    struct link *l = ctx;

    SUBMIT(l->c, l->rc = env_stream_connect(l->c->net, l->addr, &end_events, &l->dialed,
                                            &l->dialed.stream));
    CHECK(l->rc == 0);
    CHECK(l->dialed.heard[0] == '\0');
}

void do_read_dialed(void *ctx)
{
    SUBMIT(((struct link *)ctx)->c, env_stream_read_start(((struct link *)ctx)->dialed.stream));
}

void do_read_accepted(void *ctx)
{
    SUBMIT(((struct link *)ctx)->c, env_stream_read_start(((struct link *)ctx)->accepted.stream));
}

void do_stop_read_accepted(void *ctx)
{
    env_stream_read_stop(((struct link *)ctx)->accepted.stream);
}

void do_close_dialed(void *ctx)
{
    SUBMIT(((struct link *)ctx)->c, env_stream_close(((struct link *)ctx)->dialed.stream));
}

void do_close_accepted(void *ctx)
{
    SUBMIT(((struct link *)ctx)->c, env_stream_close(((struct link *)ctx)->accepted.stream));
}

void do_finish_dialed(void *ctx)
{
    SUBMIT(((struct link *)ctx)->c, env_stream_finish(((struct link *)ctx)->dialed.stream));
}

void do_close_listener(void *ctx)
{
    env_listener_close(((struct link *)ctx)->listener);
}

void do_send_small(void *ctx)
{
    CHECK(send_pattern(&((struct link *)ctx)->dialed, 1000, NO_LIMIT) == 0);
}

void do_send_bulk(void *ctx)
{
    CHECK(send_pattern(&((struct link *)ctx)->dialed, BULK_BYTES, NO_LIMIT) == 0);
}

/* Nobody reads: sooner or later the transport takes no more, and then our own bound is reached. */
void do_write_until_full(void *ctx)
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

/* ---- what to wait for ---- */

bool both_open(void *ctx)
{
    struct link *l = ctx;

    return l->dialed.opened && l->accepted.stream;
}

bool dialed_opened(void *ctx)
{
    return ((struct link *)ctx)->dialed.opened;
}

bool dialed_closed(void *ctx)
{
    return ((struct link *)ctx)->dialed.closed;
}

bool both_closed(void *ctx)
{
    struct link *l = ctx;

    return l->dialed.closed && l->accepted.closed;
}

bool dialed_ended(void *ctx)
{
    return ((struct link *)ctx)->dialed.ended;
}

bool accepted_ended(void *ctx)
{
    return ((struct link *)ctx)->accepted.ended;
}

bool accepted_got_all(void *ctx)
{
    struct link *l = ctx;

    return l->accepted.received == l->dialed.sent;
}

bool echo_complete(void *ctx)
{
    struct link *l = ctx;

    return l->dialed.received == l->dialed.sent;
}

/* ---- beginning and end of a case ---- */

void end_init(struct end *x, struct contract *c)
{
    x->c = c;
    env_timer_init(&x->resume, c->env, on_resume, x);
}

void link_listen(struct link *l, struct contract *c)
{
    memset(l, 0, sizeof(*l));
    l->c = c;
    end_init(&l->dialed, c);
    end_init(&l->accepted, c);
    contract_call(c, do_listen, l);
}

void link_open(struct link *l, struct contract *c)
{
    link_listen(l, c);
    contract_call(c, do_connect, l);
    contract_until(c, both_open, l);
    CHECK_TEXT(l->dialed.heard, "opened:ERR_OK");
    CHECK_TEXT(l->accepted.heard, "");
}

void link_open_unread(struct link *l, struct contract *c)
{
    link_listen(l, c);
    l->no_read = true;
    contract_call(c, do_connect, l);
    contract_until(c, both_open, l);
}

void link_fini(struct link *l)
{
    contract_call(l->c, do_close_listener, l);
    contract_linger(l->c); /* a late callback on a closed end fails in hear() */
}

void link_close_both(struct link *l)
{
    contract_call(l->c, do_close_dialed, l);
    contract_call(l->c, do_close_accepted, l);
    contract_until(l->c, both_closed, l);
    link_fini(l);
}
