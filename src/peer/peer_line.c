/* peer_line.c — one connection: connect or take over, greet, cut the bytes into frames, end.
 *
 * Called by peer_dial.c and peer_accept.c, which decide who gets a line, and by env's stream events.
 * Every way to end goes through CLOSING to line_closed, where the line leaves the set, its maker is told
 * by gone() and the owner by lost(): never inside a call of the owner's. Callbacks of the owner may
 * close this line or any other, and change the members; after each one only line->state is looked at. */
#include "peer_int.h"
#include <rq/limits.h>
#include <rq/util/assert.h>
#include <rq/util/endian.h>
#include <rq/util/mem.h>

/* ---- the end ---------------------------------------------------------------------------------- */

static void output_drop(struct peer_line *line)
{
    buf_reset(&line->out, 0);
    line->out_ready = 0;
}

void peer_line_end(struct peer_line *line, int rc)
{
    if (line->state == PEER_CLOSING)
        return;
    if (line->state == PEER_GREETING && !line->dialled && line->spoke && rc != ERR_IDENTITY)
        line->set->counters.strangers++;
    line->end_rc = line->state == PEER_LEAVING ? 0 : rc;
    line->state = PEER_CLOSING;
    env_timer_disarm(&line->timer);
    output_drop(line);
    env_stream_close(line->stream);
}

void peer_line_bye(struct peer_line *line)
{
    if (line->state == PEER_LEAVING)
        return;
    if (line->state != PEER_OPEN || peer_output_frame(line, WIRE_BYE, 0, slice_of(NULL, 0)) ||
        peer_output_flush(line)) {
        peer_line_end(line, 0);
        return;
    }
    line->state = PEER_LEAVING;
    output_drop(line);
    env_timer_arm(&line->timer, PEER_LEAVING_MS * ENV_MS_NS);
}

static void line_closed(void *ctx)
{
    struct peer_line *line = ctx;
    struct peer_set *s = line->set;
    peer_conn number = line->number;
    bool tell = line->told && !s->stopping, said_bye = line->said_bye;

    ASSERT(line->state == PEER_CLOSING);
    line->stream = NULL;
    s->counters.lost += line->was_open;
    line->gone(line); /* may report a refusal; the set stays */
    peer_lines_remove(line);
    if (tell)
        s->events->lost(s->ctx, number, said_bye);
    else
        peer_lines_settle(s); /* last: the set may be gone now */
}

/* ---- time ------------------------------------------------------------------------------------- */

/* The dialling end asks, the other listens; either gives up on a silent line. */
static void idle_check(struct peer_line *line)
{
    uint64_t now = env_now_ns(line->set->env);
    uint64_t idle_ns = line->set->config.idle_timeout_ms * ENV_MS_NS;
    size_t pending = peer_output_pending(line);

    if (pending < line->pending_seen) /* the other end takes what we send */
        line->heard_ns = now;
    line->pending_seen = pending;
    if (now - line->heard_ns >= (line->dialled ? idle_ns : 2 * idle_ns)) {
        peer_line_end(line, ERR_TIMEOUT);
        return;
    }
    if (line->dialled && now - line->heard_ns >= idle_ns / 2)
        (void)peer_output_frame(line, WIRE_PING, 0, slice_of(NULL, 0));
    env_timer_arm(&line->timer, idle_ns / 2);
}

static void timer_fired(struct env_timer *t)
{
    struct peer_line *line = t->ctx;

    switch (line->state) {
    case PEER_CONNECTING:
    case PEER_GREETING:
    case PEER_LEAVING: /* a BYE that nobody takes */
        peer_line_end(line, ERR_TIMEOUT);
        break;
    case PEER_OPEN:
        idle_check(line);
        break;
    case PEER_CLOSING:
        UNREACHABLE();
    }
}

/* ---- greeting --------------------------------------------------------------------------------- */

static void greeting_begin(struct peer_line *line)
{
    line->state = PEER_GREETING;
    line->heard_ns = env_now_ns(line->set->env);
    env_timer_arm(&line->timer, line->set->config.hello_timeout_ms * ENV_MS_NS);
    env_stream_read_start(line->stream);
}

static void line_open(struct peer_line *line)
{
    struct peer_set *s = line->set;

    line->state = PEER_OPEN;
    line->opened_ns = env_now_ns(s->env);
    env_timer_disarm(&line->timer);
    if (s->config.idle_timeout_ms > 0)
        env_timer_arm(&line->timer, s->config.idle_timeout_ms * ENV_MS_NS / 2);
}

/* No version that both speak: the one who called learns which ones we do, and hangs up. */
static int greeting_refuse(struct peer_line *line)
{
    int rc = peer_greet_put(line);
    if (!rc)
        rc = peer_output_flush(line);
    if (rc)
        return rc;
    line->state = PEER_LEAVING;
    output_drop(line);
    env_timer_arm(&line->timer, PEER_LEAVING_MS * ENV_MS_NS);
    return 0;
}

/* The one who was called answers only a greeting that fits and that its owner keeps. The answer is
 * queued before the owner is asked, so that it precedes whatever the owner sends; refused, it never
 * leaves. */
static int greeting_take(struct peer_line *line, struct slice body)
{
    struct peer_set *s = line->set;
    struct wire_hello h;

    int rc = wire_hello_get(body, &h);
    if (!rc)
        rc = peer_greet_check(line, &h, &line->protocol);
    if (rc == ERR_VERSION && !line->dialled)
        return greeting_refuse(line);
    if (!rc && !line->dialled)
        rc = peer_greet_put(line);
    if (rc)
        return rc;
    line->id = h.id;
    line_open(line);
    rc = s->events->greeted(s->ctx, line->number, line->dialled, &h);
    if (rc == 0) {
        line->told = true;
        line->was_open = true;
    }
    return rc;
}

/* ---- frames ----------------------------------------------------------------------------------- */

/* 0, or why the line ends. It may be LEAVING or CLOSING afterwards in either case. */
static int frame_take(struct peer_line *line, const struct wire_frame *f)
{
    struct peer_set *s = line->set;

    if (line->state == PEER_GREETING)
        return f->kind == WIRE_HELLO ? greeting_take(line, f->body) : ERR_PROTOCOL;
    if (f->kind == WIRE_BYE) {
        line->said_bye = true;
        return ERR_EOF;
    }
    if (line->state == PEER_LEAVING)
        return 0; /* read so that our BYE is */
    switch ((int)f->kind) {
    case WIRE_HELLO:
        return ERR_PROTOCOL;
    case WIRE_PING:
        if (peer_output_pending(line) > s->config.output_bytes_max)
            return ERR_FULL; /* asks, and never reads the answers */
        return peer_output_frame(line, WIRE_PONG, 0, slice_of(NULL, 0));
    case WIRE_PONG:
        return 0;
    default:
        s->events->frame(s->ctx, line->number, f);
        return 0;
    }
}

/* Its first four bytes are a length that no greeting has: not one of us, whatever else comes. */
static bool is_hopeless(const struct peer_line *line, struct slice bytes)
{
    return line->state == PEER_GREETING && bytes.len >= 4 &&
           get_u32(bytes.data) > PEER_HELLO_BYTES_MAX;
}

/* Take whole frames from the front of bytes; *used of them are done with. line->in_need: how many the
 * next one wants. */
static int frames_take(struct peer_line *line, struct slice bytes, size_t *used)
{
    struct wire_frame frame;
    size_t len;
    int rc = 0;

    *used = 0;
    while (rc == 0 && line->state != PEER_CLOSING) {
        struct slice rest = slice_of(bytes.data + *used, bytes.len - *used);
        rc = wire_frame_get(rest, &frame, &len, &line->in_need);
        if (rc == ERR_EOF && is_hopeless(line, rest))
            rc = ERR_TOO_BIG;
        if (rc)
            break;
        *used += len;
        line->set->counters.frames_in++;
        line->set->counters.bytes_in += len;
        rc = frame_take(line, &frame);
        if (rc == ERR_EOF) /* BYE, not "need more" */
            peer_line_end(line, ERR_EOF);
    }
    return rc == ERR_EOF ? 0 : rc;
}

/* Complete the frame begun in line->in with what it needs of bytes, and no more: the buffer never
 * holds more than one frame, and grows only as its bytes come. */
static int frame_complete(struct peer_line *line, struct slice bytes, size_t *used)
{
    size_t want = line->in_need - buf_len(&line->in), done;

    *used = want < bytes.len ? want : bytes.len;
    int rc = buf_append(&line->in, bytes.data, *used);
    if (!rc)
        rc = frames_take(line, buf_slice(&line->in), &done);
    if (!rc && done > 0 && line->state != PEER_CLOSING) {
        ASSERT(done == buf_len(&line->in));
        buf_reset(&line->in, PEER_BUF_KEEP_BYTES);
    }
    return rc;
}

static void line_data(void *ctx, struct slice bytes)
{
    struct peer_line *line = ctx;
    size_t used;
    int rc = 0;

    line->heard_ns = env_now_ns(line->set->env);
    line->spoke = true;
    while (rc == 0 && bytes.len > 0 && line->state != PEER_CLOSING) {
        if (buf_len(&line->in) > 0) {
            rc = frame_complete(line, bytes, &used);
        } else {
            rc = frames_take(line, bytes, &used); /* straight from the transport's buffer */
            if (!rc && used < bytes.len) {
                rc = buf_append(&line->in, bytes.data + used, bytes.len - used);
                used = bytes.len;
            }
        }
        bytes = slice_of(bytes.data + used, bytes.len - used);
    }
    if (rc)
        peer_line_end(line, rc);
}

/* ---- the transport's other events --------------------------------------------------------------- */

static void line_opened(void *ctx, int rc)
{
    struct peer_line *line = ctx;

    if (line->state == PEER_CLOSING)
        return;
    if (!rc)
        rc = peer_greet_put(line);
    if (rc) {
        peer_line_end(line, rc);
        return;
    }
    greeting_begin(line);
}

static void line_ended(void *ctx, int rc)
{
    peer_line_end(ctx, rc);
}

static void line_drained(void *ctx)
{
    peer_output_relieve(ctx);
}

static const struct env_stream_events line_events = {
    .opened = line_opened,
    .data = line_data,
    .ended = line_ended,
    .drained = line_drained,
    .closed = line_closed,
};

/* ---- the beginning ---------------------------------------------------------------------------- */

static struct peer_line *line_new(struct peer_set *s, void (*gone)(struct peer_line *))
{
    struct peer_line *line = peer_lines_add(s);

    if (!line)
        return NULL;
    line->gone = gone;
    env_timer_init(&line->timer, s->env, timer_fired, line);
    buf_init(&line->in, (size_t)LIMIT_PEER_FRAME_BYTES + WIRE_FRAME_HEADER);
    /* A frame that goes first may exceed the limit, and then come our own small ones. */
    buf_init(&line->out,
             s->config.output_bytes_max + LIMIT_PEER_FRAME_BYTES + PEER_HELLO_BYTES_MAX);
    return line;
}

int peer_line_dial(struct peer_set *s, const char *addr, uint64_t timeout_ms,
                   void (*gone)(struct peer_line *), struct peer_line **out)
{
    struct peer_line *line = line_new(s, gone);

    if (!line)
        return ERR_NOMEM;
    line->dialled = true;
    s->counters.dialled++;
    line->state = PEER_CONNECTING;
    int rc = env_stream_connect(s->config.net, addr, &line_events, line, &line->stream);
    if (rc) {
        peer_lines_remove(line);
        return rc;
    }
    env_timer_arm(&line->timer, timeout_ms * ENV_MS_NS);
    *out = line;
    return 0;
}

int peer_line_accept(struct peer_set *s, struct env_stream *stream,
                     void (*gone)(struct peer_line *))
{
    struct peer_line *line = line_new(s, gone);

    if (!line)
        return ERR_NOMEM;
    line->stream = stream;
    env_stream_attach(stream, &line_events, line);
    greeting_begin(line);
    return 0;
}
