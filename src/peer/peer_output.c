/* peer_output.c — frames towards the other end of a line: gathered during a turn, written once at its
 * end, bounded. Called by peer.c and peer_line.c.
 *
 *   out:  | frames of this turn, whole … | being built … |
 *         0                              out_ready        buf_len
 */
#include "peer_int.h"
#include <rq/util/assert.h>

size_t peer_output_pending(const struct peer_line *line)
{
    return line->out_ready + (line->stream ? env_stream_pending(line->stream) : 0);
}

struct buf *peer_output_begin(struct peer_line *line)
{
    buf_truncate(&line->out, line->out_ready);
    return &line->out;
}

void peer_output_commit(struct peer_line *line)
{
    if (line->out.failed)
        buf_truncate(&line->out, line->out_ready);
    line->set->counters.bytes_out += buf_len(&line->out) - line->out_ready;
    line->set->counters.frames_out += buf_len(&line->out) > line->out_ready;
    line->out_ready = buf_len(&line->out);
    if (line->out_ready > 0)
        env_turn_schedule(&line->set->turn);
}

int peer_output_frame(struct peer_line *line, enum wire_kind kind, uint32_t stream,
                      struct slice body)
{
    int rc = wire_frame_put(peer_output_begin(line), kind, stream, body);
    if (rc == 0)
        peer_output_commit(line);
    return rc;
}

int peer_output_flush(struct peer_line *line)
{
    struct slice ready = slice_of(buf_slice(&line->out).data, line->out_ready);

    if (ready.len == 0)
        return 0;
    ASSERT(line->stream != NULL && line->state != PEER_CONNECTING);
    int rc = env_stream_write(line->stream, &ready, 1, SIZE_MAX); /* bounded where it was queued */
    buf_reset(&line->out, PEER_BUF_KEEP_BYTES);
    line->out_ready = 0;
    return rc;
}

static void relieve_refused(struct peer_line *line)
{
    struct peer_set *s = line->set;

    if (!line->refused || peer_output_pending(line) >= s->config.output_bytes_max / 2)
        return;
    line->refused = false;
    if (!s->stopping && s->events->writable)
        s->events->writable(s->ctx, line->id);
}

static void relieve_drained(struct peer_line *line)
{
    struct peer_set *s = line->set;

    if (!line->want_drained || peer_output_pending(line) > 0)
        return;
    line->want_drained = false;
    if (!s->stopping)
        s->events->drained(s->ctx, line->number);
}

void peer_output_relieve(struct peer_line *line)
{
    if (line->state == PEER_OPEN)
        relieve_refused(line);
    if (line->state == PEER_OPEN) /* the owner may have closed it */
        relieve_drained(line);
}
