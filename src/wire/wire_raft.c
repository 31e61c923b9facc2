/* wire_raft.c — Raft messages with the payloads of their entries.
 *
 * Called by node for each message to or from a peer.
 *
 *   0      1       2      4      8     16   24     32          40         48       56
 *   | kind | flags | 0    | count| from | to | term | log index | log term | commit | read round |
 * … u8     u8      u16    u32    u64    u64  u64    u64         u64        u64      u64 64 72 |
 * hint index | hint term | count entries … | u64          u64
 *
 *   entry:  u64 term, u8 kind, u8[3] 0, u32 bytes, payload
 *
 * flags: 1 granted, 2 transfer. Entries follow log index without a gap, so that their indexes are
 * not sent: the first is log index + 1 (APPEND_REQ only; all other kinds have none). */
#include "wire_int.h"
#include <rq/limits.h>
#include <rq/util/assert.h>
#include <rq/wire.h>

enum { FLAG_GRANTED = 1, FLAG_TRANSFER = 2 };
enum { RAFT_HEAD = 80, ENTRY_HEAD = 16 };

static void entry_put(struct buf *out, const struct wire_entry *e)
{
    uint8_t *p = buf_reserve(out, ENTRY_HEAD + e->payload.len);

    ASSERT(e->kind <= RAFT_ENTRY_CONF);
    if (!p)
        return;
    put_u64(p, e->term);
    put_u32(p + 8, (uint32_t)e->kind); /* kind, then three zeros */
    put_u32(p + 12, (uint32_t)e->payload.len);
    if (e->payload.len)
        memcpy(p + ENTRY_HEAD, e->payload.data, e->payload.len);
    buf_commit(out, ENTRY_HEAD + e->payload.len);
}

int wire_raft_put(struct buf *out, const struct raft_msg *msg, const struct wire_entry *entries)
{
    uint32_t count = msg->kind == RAFT_MSG_APPEND_REQ ? msg->span.count : 0;
    uint8_t *p = buf_reserve(out, RAFT_HEAD);

    ASSERT(msg->kind >= RAFT_MSG_PREVOTE_REQ && msg->kind <= RAFT_MSG_SNAPSHOT_RES);
    ASSERT(count == 0 || msg->span.first == msg->log_index + 1);
    ASSERT(count == 0 || entries != NULL);
    if (!p)
        return out->failed;
    p[0] = (uint8_t)msg->kind;
    p[1] = (uint8_t)((msg->granted ? FLAG_GRANTED : 0) | (msg->transfer ? FLAG_TRANSFER : 0));
    put_u16(p + 2, 0);
    put_u32(p + 4, count);
    put_u64(p + 8, msg->from);
    put_u64(p + 16, msg->to);
    put_u64(p + 24, msg->term);
    put_u64(p + 32, msg->log_index);
    put_u64(p + 40, msg->log_term);
    put_u64(p + 48, msg->commit);
    put_u64(p + 56, msg->read_round);
    put_u64(p + 64, msg->hint_index);
    put_u64(p + 72, msg->hint_term);
    buf_commit(out, RAFT_HEAD);
    for (uint32_t i = 0; i < count; i++)
        entry_put(out, &entries[i]);
    return out->failed;
}

static void head_get(struct wire_reader *r, struct raft_msg *msg)
{
    uint8_t kind = wire_take_u8(r);
    uint8_t flags = wire_take_flags(r, FLAG_GRANTED | FLAG_TRANSFER);

    memset(msg, 0, sizeof(*msg));
    msg->kind = (enum raft_msg_kind)kind;
    msg->granted = (flags & FLAG_GRANTED) != 0;
    msg->transfer = (flags & FLAG_TRANSFER) != 0;
    wire_take_zeros(r, 2);
    msg->span.count = wire_take_u32(r);
    msg->from = wire_take_u64(r);
    msg->to = wire_take_u64(r);
    msg->term = wire_take_u64(r);
    msg->log_index = wire_take_u64(r);
    msg->log_term = wire_take_u64(r);
    msg->commit = wire_take_u64(r);
    msg->read_round = wire_take_u64(r);
    msg->hint_index = wire_take_u64(r);
    msg->hint_term = wire_take_u64(r);
    if (kind < RAFT_MSG_PREVOTE_REQ || kind > RAFT_MSG_SNAPSHOT_RES)
        r->bad = true;
}

/* What the head must say of itself before its numbers are used. */
static void head_check(struct wire_reader *r, struct raft_msg *msg)
{
    bool append = msg->kind == RAFT_MSG_APPEND_REQ;

    if (msg->from == 0 || msg->to == 0 || msg->span.count > RAFT_ENTRIES_PER_STEP)
        r->bad = true;
    if (!append && msg->span.count != 0)
        r->bad = true;
    if (msg->log_index > UINT64_MAX - 1 - RAFT_ENTRIES_PER_STEP) /* no index may wrap */
        r->bad = true;
    if (append && !r->bad)
        msg->span.first = msg->log_index + 1;
}

static bool entry_get(struct wire_reader *r, struct wire_entry *e)
{
    e->term = wire_take_u64(r);
    uint8_t kind = wire_take_u8(r);
    wire_take_zeros(r, 3);
    uint32_t len = wire_take_u32(r);

    e->kind = (enum raft_entry_kind)kind;
    e->payload = wire_take_slice(r, len);
    if (e->term == 0 || kind > RAFT_ENTRY_CONF || len > LIMIT_ENTRY_BYTES)
        r->bad = true;
    if (e->kind == RAFT_ENTRY_NOOP ? len != 0 : len == 0)
        r->bad = true;
    return !r->bad;
}

int wire_raft_get(struct slice body, struct raft_msg *msg,
                  int (*visit)(void *ctx, uint64_t index, const struct wire_entry *e), void *ctx)
{
    struct wire_reader r = wire_reader_of(body);
    struct wire_entry e;

    head_get(&r, msg);
    head_check(&r, msg);
    struct wire_reader entries = r;
    for (uint32_t i = 0; i < msg->span.count && !r.bad; i++)
        (void)entry_get(&r, &e);
    if (wire_reader_end(&r) || !visit) /* all of them fit, or none is shown */
        return wire_reader_end(&r);
    for (uint32_t i = 0; i < msg->span.count; i++) {
        bool whole = entry_get(&entries, &e);
        ASSERT(whole);
        int rc = visit(ctx, msg->span.first + i, &e);
        if (rc)
            return rc;
    }
    return 0;
}
