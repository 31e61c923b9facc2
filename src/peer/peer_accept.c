/* peer_accept.c — lines that others open: bounded in number. Called by peer.c and env's listener. */
#include "peer_int.h"
#include <rq/util/assert.h>

/* ---- those for whom there is no room ---- */

static void away_opened(void *ctx, int rc)
{
    (void)ctx;
    (void)rc;
}

static void away_data(void *ctx, struct slice bytes)
{
    (void)ctx;
    (void)bytes;
}

static void away_drained(void *ctx)
{
    (void)ctx;
}

static void away_closed(void *ctx)
{
    struct peer_set *s = ctx;

    ASSERT(s->turned_away > 0);
    s->turned_away--;
    peer_lines_settle(s);
}

static const struct env_stream_events away_events = {
    .opened = away_opened,
    .data = away_data,
    .ended = away_opened,
    .drained = away_drained,
    .closed = away_closed,
};

static void turn_away(struct peer_set *s, struct env_stream *stream)
{
    s->turned_away++;
    env_stream_attach(stream, &away_events, s);
    env_stream_close(stream);
}

/* ---- the others ---- */

static void accepted_gone(struct peer_line *line)
{
    ASSERT(line->set->accepted_count > 0);
    line->set->accepted_count--;
}

static void accepted(void *ctx, struct env_stream *stream)
{
    struct peer_set *s = ctx;

    if (s->accepted_count >= s->config.accepted_max || peer_line_accept(s, stream, accepted_gone)) {
        s->counters.turned_away++;
        turn_away(s, stream);
    } else {
        s->counters.accepted++;
        s->accepted_count++;
    }
}

int peer_set_listen(struct peer_set *s, const char *bind_addr, struct err_text *why)
{
    ASSERT(s->listener == NULL);
    ASSERT(!s->stopping);
    return env_listen(s->config.net, bind_addr, accepted, s, &s->listener, why);
}

const char *peer_set_bound_addr(const struct peer_set *s)
{
    return s->listener ? env_listener_addr(s->listener) : "";
}

void peer_accept_stop(struct peer_set *s)
{
    if (s->listener)
        env_listener_close(s->listener);
    s->listener = NULL;
}
