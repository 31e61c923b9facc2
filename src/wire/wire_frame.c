/* wire_frame.c — length, checksum, version and kind around every body between nodes (drawn in
 * wire.h).
 *
 * Called by peer for all bytes in both directions. What comes in is hostile until its checksum is
 * right, and still only well-framed after that: bodies are checked by their own decoders. */
#include "wire_int.h"
#include <rq/limits.h>
#include <rq/util/assert.h>
#include <rq/util/crc.h>
#include <rq/wire.h>

enum { /* places in the header */
       AT_LEN = 0,
       AT_CRC = 4,
       AT_VERSION = 8,
       AT_KIND = 9,
       AT_RESERVED = 10,
       AT_STREAM = 12,
};

size_t wire_frame_begin(struct buf *out, enum wire_kind kind, uint32_t stream)
{
    size_t begun_at = buf_len(out);
    uint8_t *head = buf_reserve(out, WIRE_FRAME_HEADER);

    ASSERT(kind >= WIRE_HELLO && kind < WIRE_KIND_MAX_);
    if (head) {
        memset(head, 0, WIRE_FRAME_HEADER);
        head[AT_VERSION] = WIRE_VERSION;
        head[AT_KIND] = (uint8_t)kind;
        put_u32(head + AT_STREAM, stream);
        buf_commit(out, WIRE_FRAME_HEADER);
    }
    return begun_at;
}

int wire_frame_end(struct buf *out, size_t begun_at)
{
    int rc = out->failed;

    ASSERT(begun_at <= buf_len(out));
    if (!rc) {
        ASSERT(buf_len(out) - begun_at >= WIRE_FRAME_HEADER);
        if (buf_len(out) - begun_at - WIRE_FRAME_HEADER > LIMIT_PEER_FRAME_BYTES)
            rc = ERR_TOO_BIG;
    }
    if (rc) { /* half a frame must never leave */
        buf_truncate(out, begun_at);
        return rc;
    }
    uint8_t *head = out->data + out->start + begun_at;
    size_t len = buf_len(out) - begun_at;
    put_u32(head + AT_LEN, (uint32_t)(len - WIRE_FRAME_HEADER));
    put_u32(head + AT_CRC, crc32c(0, head + AT_VERSION, len - AT_VERSION));
    return 0;
}

int wire_frame_put(struct buf *out, enum wire_kind kind, uint32_t stream, struct slice body)
{
    if (body.len > LIMIT_PEER_FRAME_BYTES)
        return ERR_TOO_BIG;
    size_t begun_at = wire_frame_begin(out, kind, stream);
    (void)buf_append_slice(out, body);
    return wire_frame_end(out, begun_at);
}

/* The header's own fields. Version first: another version may mean anything by the rest. */
static int header_check(const uint8_t *head)
{
    if (head[AT_VERSION] != WIRE_VERSION)
        return ERR_VERSION;
    if (get_u32(head + AT_LEN) > LIMIT_PEER_FRAME_BYTES)
        return ERR_TOO_BIG;
    if (head[AT_KIND] < WIRE_HELLO || head[AT_KIND] >= WIRE_KIND_MAX_)
        return ERR_CORRUPT;
    return get_u16(head + AT_RESERVED) == 0 ? 0 : ERR_CORRUPT;
}

int wire_frame_get(struct slice in, struct wire_frame *frame, size_t *used, size_t *need)
{
    if (in.len < WIRE_FRAME_HEADER) {
        *need = WIRE_FRAME_HEADER;
        return ERR_EOF;
    }
    int rc = header_check(in.data);
    if (rc)
        return rc;
    size_t total = WIRE_FRAME_HEADER + (size_t)get_u32(in.data + AT_LEN);
    if (in.len < total) {
        *need = total;
        return ERR_EOF;
    }
    if (get_u32(in.data + AT_CRC) != crc32c(0, in.data + AT_VERSION, total - AT_VERSION))
        return ERR_CORRUPT;
    frame->kind = (enum wire_kind)in.data[AT_KIND];
    frame->stream = get_u32(in.data + AT_STREAM);
    frame->body = slice_of(in.data + WIRE_FRAME_HEADER, total - WIRE_FRAME_HEADER);
    *used = total;
    return 0;
}
