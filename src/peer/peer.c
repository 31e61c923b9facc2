/* peer.c — the door of the room: a set's life, and sending. Called by node; calls all other files. */
#include "peer_int.h"
#include <rq/limits.h>
#include <rq/util/assert.h>
#include <rq/util/mem.h>

/* ---- a set's life ----------------------------------------------------------------------------- */

/* End of a turn: what each line gathered leaves in one write. */
static void turn_run(struct env_turn *t)
{
    struct peer_set *s = t->ctx;
    peer_conn last = s->last_number;

    for (size_t i = 0; i < s->line_count && s->lines[i]->number <= last; i++) {
        struct peer_line *line = s->lines[i];
        int rc = peer_output_flush(line);
        if (rc)
            peer_line_end(line, rc); /* it stays in the array until it is closed */
        else
            peer_output_relieve(line);
    }
}

static void stop_timer_fired(struct env_timer *t)
{
    peer_lines_settle(t->ctx);
}

int peer_set_create(struct env *e, const struct peer_config *config, const struct peer_self *self,
                    const struct peer_events *events, void *ctx, struct peer_set **out)
{
    struct peer_set *s = mem_zalloc(sizeof(*s));

    if (!s)
        return ERR_NOMEM;
    ASSERT(config->dial_timeout_ms > 0 && config->hello_timeout_ms > 0);
    ASSERT(config->backoff_min_ms > 0 && config->backoff_min_ms <= config->backoff_max_ms);
    ASSERT(events->greeted && events->frame && events->lost && events->refused);
    int rc = peer_self_copy(&s->self, self);
    if (rc) {
        mem_free(s);
        return rc;
    }
    s->env = e;
    s->config = *config;
    if (!s->config.net)
        s->config.net = e;
    if (!s->config.protocol_max) {
        s->config.protocol_min = WIRE_PROTOCOL_MIN;
        s->config.protocol_max = WIRE_PROTOCOL_MAX;
    }
    ASSERT(s->config.protocol_min > 0 && s->config.protocol_min <= s->config.protocol_max);
    s->events = events;
    s->ctx = ctx;
    env_turn_init(&s->turn, e, turn_run, s);
    env_timer_init(&s->stop_timer, e, stop_timer_fired, s);
    *out = s;
    return 0;
}

void peer_self_set(struct peer_set *s, const struct peer_self *self)
{
    struct peer_self copy;

    if (peer_self_copy(&copy, self)) {
        env_log(s->env, "cluster", "out of memory: the former greeting stays");
        return;
    }
    peer_self_free(&s->self);
    s->self = copy;
}

void peer_set_stop(struct peer_set *s, void (*stopped)(void *ctx), void *ctx)
{
    ASSERT(!s->stopping);
    s->stopping = true;
    s->stopped = stopped;
    s->stopped_ctx = ctx;
    peer_accept_stop(s);
    peer_dial_stop(s);
    for (size_t i = 0; i < s->line_count; i++)
        peer_line_bye(s->lines[i]);
    env_turn_cancel(&s->turn);        /* a goodbye does not wait for the turn's end */
    env_timer_arm(&s->stop_timer, 0); /* nothing may be open at all */
}

void peer_set_destroy(struct peer_set *s)
{
    if (!s)
        return;
    ASSERT(s->line_count == 0 && s->turned_away == 0);
    env_turn_cancel(&s->turn);
    env_timer_disarm(&s->stop_timer);
    peer_accept_stop(s);
    peer_dial_stop(s);
    peer_self_free(&s->self);
    mem_free(s->lines);
    mem_free(s);
}

/* ---- sending ---------------------------------------------------------------------------------- */

static struct peer_line *open_line(const struct peer_set *s, peer_conn c)
{
    struct peer_line *line = c ? peer_lines_find(s, c) : NULL;
    return line && line->state == PEER_OPEN ? line : NULL;
}

/* Is there room for len more bytes? What goes first always has. */
static bool room_for(struct peer_line *line, size_t len)
{
    size_t pending = peer_output_pending(line);
    size_t max = line->set->config.output_bytes_max;

    if (pending == 0 || (pending < max && len <= max - pending))
        return true;
    line->refused = true;
    return false;
}

int peer_send(struct peer_set *s, peer_conn c, enum wire_kind kind, uint32_t stream,
              struct slice body)
{
    struct peer_line *line = open_line(s, c);

    if (!line)
        return ERR_NOT_FOUND;
    if (body.len > LIMIT_PEER_FRAME_BYTES)
        return ERR_TOO_BIG;
    if (!room_for(line, WIRE_FRAME_HEADER + body.len))
        return ERR_FULL;
    return peer_output_frame(line, kind, stream, body);
}

struct buf *peer_out(struct peer_set *s, peer_conn c)
{
    struct peer_line *line = open_line(s, c);

    if (!line || !room_for(line, WIRE_FRAME_HEADER))
        return NULL;
    return peer_output_begin(line);
}

void peer_send_built(struct peer_set *s, peer_conn c)
{
    struct peer_line *line = open_line(s, c);

    if (line)
        peer_output_commit(line);
}

uint32_t peer_next_stream(struct peer_set *s)
{
    if (++s->last_stream == 0)
        s->last_stream = 1;
    return s->last_stream;
}

void peer_counters_get(const struct peer_set *s, struct peer_counters *out)
{
    *out = s->counters;
}

void peer_drained_want(struct peer_set *s, peer_conn c)
{
    struct peer_line *line = open_line(s, c);

    ASSERT(s->events->drained);
    if (!line)
        return;
    line->want_drained = true;
    env_turn_schedule(&s->turn);
}

uint16_t peer_protocol_of(const struct peer_set *s, peer_conn c)
{
    const struct peer_line *line = peer_lines_find(s, c);

    return line ? line->protocol : 0;
}

size_t peer_pending(const struct peer_set *s, peer_conn c)
{
    const struct peer_line *line = open_line(s, c);
    return line ? peer_output_pending(line) : 0;
}

void peer_conn_close(struct peer_set *s, peer_conn c)
{
    struct peer_line *line = open_line(s, c);

    if (!line && c)
        line = peer_lines_find(s, c);
    if (line)
        peer_line_bye(line);
}
