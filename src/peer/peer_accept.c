/* peer_accept.c — lines that others open: bounded in number, those that have not greeted to half of it, of which the
 * oldest goes when one more comes: so that a crowd that says nothing keeps no member out. Called by peer.c and env's
 * listener. */
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

/* Who says who he is needs a moment; who does not has no claim to one. */
static void silent_crowd_out(struct peer_set *s)
{
    struct peer_line *oldest = NULL;
    uint32_t count = 0;

    for (size_t i = 0; i < s->line_count; i++) {
        struct peer_line *line = s->lines[i];
        if (line->dialled || line->state != PEER_GREETING)
            continue;
        count++;
        if (!oldest)
            oldest = line;
    }
    if (!oldest || count < (s->config.accepted_max + 1) / 2)
        return;
    s->counters.turned_away++;
    peer_line_end(oldest, ERR_FULL);
}

static void accepted(void *ctx, struct env_stream *stream)
{
    struct peer_set *s = ctx;

    silent_crowd_out(s);
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
