/* wire_msg.c — bodies of the frames that are neither Raft nor configuration: greeting, join,
 * answer, meta, forwarded request and its answer.
 *
 * Called by peer (greeting) and node. Each pair of functions reads as the picture of its format:
 * the fields in order, little-endian; T is a text (u16 length, bytes), B is u32 length, bytes.
 *
 *   image    u64 transfer, u64 index, u32 next chunk, u8 window, u8 flags (1 zstd)
 *   image answer
 *            u16 rc, u64 transfer, u32 chunk, u8 flags (1 packed), T words, B bytes
 *   digest   u64 index, u64 digest, u8 flags (1 of rows, too)
 *   hello    u16 lowest protocol version, u16 highest, u64 cluster, u64 store, u64 id, u64 expected id,
 *            u64 expected store, T name, T raft address, T api url, T version, T sqlite; later versions may add more
 *   join     u64 store, u8 flags (1 voter, 2 pledge), u64 serial, T name, T address, T user, T password
 *   answer   u16 rc, u64 cluster, T leader's address, T words
 *   meta     u64 commit, u64 applied, u64 term, u8 flags (1 leader, 2 ready), T api url, T version
 *   order    T name, T user, T password
 *   index    u16 rc, u64 term, u64 index
 *   forward  u8 kind, u8 level, u8 flags (1 further, 2 in parts), u8 0, u32 encode options,
 *            u64 timeout ms, u64 linearizable timeout ms, u64 db timeout ns, u64 wait index, T user,
 *            T password, B log payload
 *   forward answer
 *            u16 rc, u8 flags (1 more), u64 raft index, u64 queue, u64 sync, u64 quorum, u64 apply,
 *            u64 wait, u64 run ns, B words, B encoded results
 *   forward pull
 *            u8 flags (1 stop) */
#include "wire_int.h"
#include <rq/limits.h>
#include <rq/util/assert.h>
#include <rq/wire.h>

enum { FLAG_VOTER = 1, FLAG_PLEDGE = 2 };
enum { FLAG_LEADER = 1, FLAG_READY = 2 };
enum { FLAG_FURTHER = 1, FLAG_IN_PARTS = 2 };
enum { FLAG_MORE = 1 };
enum { FLAG_STOP = 1 };
enum { FLAG_ZSTD = 1 };
enum { FLAG_PACKED = 1 };
enum { FLAG_ROWS = 1 };

/* u32 length and bytes. A frame bounds them all, so that more than a frame is hopeless at once. */
static void give_bytes(struct buf *out, struct slice s)
{
    if (s.len > LIMIT_PEER_FRAME_BYTES)
        wire_fail(out, ERR_TOO_BIG);
    wire_give_u32(out, (uint32_t)s.len);
    (void)buf_append_slice(out, s);
}

static struct slice take_bytes(struct wire_reader *r)
{
    return wire_take_slice(r, wire_take_u32(r));
}

static int32_t take_rc(struct wire_reader *r)
{
    int32_t rc = 0;
    if (wire_rc_get(wire_take_u16(r), &rc))
        r->bad = true;
    return rc;
}

int wire_hello_put(struct buf *out, const struct wire_hello *h)
{
    ASSERT(h->store_id != 0 && h->id != 0);
    ASSERT(h->protocol_min != 0 && h->protocol_min <= h->protocol_max);
    wire_give_u16(out, h->protocol_min);
    wire_give_u16(out, h->protocol_max);
    wire_give_u64(out, h->cluster_id);
    wire_give_u64(out, h->store_id);
    wire_give_u64(out, h->id);
    wire_give_u64(out, h->expect_id);
    wire_give_u64(out, h->expect_store_id);
    wire_give_text(out, h->name, WIRE_NAME_MAX);
    wire_give_text(out, h->raft_addr, WIRE_ADDR_MAX);
    wire_give_text(out, h->api_url, WIRE_ADDR_MAX);
    wire_give_text(out, h->version, WIRE_TEXT_MAX);
    wire_give_text(out, h->sqlite, WIRE_TEXT_MAX);
    return out->failed;
}

int wire_hello_get(struct slice body, struct wire_hello *h)
{
    struct wire_reader r = wire_reader_of(body);

    h->protocol_min = wire_take_u16(&r);
    h->protocol_max = wire_take_u16(&r);
    h->cluster_id = wire_take_u64(&r);
    h->store_id = wire_take_u64(&r);
    h->id = wire_take_u64(&r);
    h->expect_id = wire_take_u64(&r);
    h->expect_store_id = wire_take_u64(&r);
    h->name = wire_take_text(&r, WIRE_NAME_MAX);
    h->raft_addr = wire_take_text(&r, WIRE_ADDR_MAX);
    h->api_url = wire_take_text(&r, WIRE_ADDR_MAX);
    h->version = wire_take_text(&r, WIRE_TEXT_MAX);
    h->sqlite = wire_take_text(&r, WIRE_TEXT_MAX);
    if (h->protocol_min == 0 || h->protocol_min > h->protocol_max)
        r.bad = true;
    if (h->store_id == 0 || h->id == 0)
        r.bad = true;
    if (!r.bad && h->protocol_max > WIRE_PROTOCOL_MAX)
        return 0;
    return wire_reader_end(&r);
}

uint16_t wire_protocol_common(uint16_t min, uint16_t max, const struct wire_hello *h)
{
    const uint16_t low = min > h->protocol_min ? min : h->protocol_min;
    const uint16_t high = max < h->protocol_max ? max : h->protocol_max;
    return low <= high ? high : 0;
}

int wire_join_put(struct buf *out, const struct wire_join *j)
{
    ASSERT(j->store_id != 0);
    wire_give_u64(out, j->store_id);
    wire_give_u8(out, (uint8_t)((j->voter ? FLAG_VOTER : 0) | (j->pledge ? FLAG_PLEDGE : 0)));
    wire_give_u64(out, j->serial);
    wire_give_text(out, j->name, WIRE_NAME_MAX);
    wire_give_text(out, j->addr, WIRE_ADDR_MAX);
    wire_give_text(out, j->user, WIRE_USER_MAX);
    wire_give_text(out, j->password, WIRE_PASSWORD_MAX);
    return out->failed;
}

int wire_join_get(struct slice body, struct wire_join *j)
{
    struct wire_reader r = wire_reader_of(body);

    j->store_id = wire_take_u64(&r);
    const unsigned flags = wire_take_flags(&r, FLAG_VOTER | FLAG_PLEDGE);
    j->voter = (flags & FLAG_VOTER) != 0;
    j->pledge = (flags & FLAG_PLEDGE) != 0;
    j->serial = wire_take_u64(&r);
    j->name = wire_take_text(&r, WIRE_NAME_MAX);
    j->addr = wire_take_text(&r, WIRE_ADDR_MAX);
    j->user = wire_take_text(&r, WIRE_USER_MAX);
    j->password = wire_take_text(&r, WIRE_PASSWORD_MAX);
    if (j->store_id == 0 || j->name.len == 0 || j->addr.len == 0)
        r.bad = true;
    return wire_reader_end(&r);
}

int wire_order_put(struct buf *out, const struct wire_order *o)
{
    wire_give_text(out, o->name, WIRE_NAME_MAX);
    wire_give_text(out, o->user, WIRE_USER_MAX);
    wire_give_text(out, o->password, WIRE_PASSWORD_MAX);
    return out->failed;
}

int wire_order_get(struct slice body, struct wire_order *o)
{
    struct wire_reader r = wire_reader_of(body);

    o->name = wire_take_text(&r, WIRE_NAME_MAX);
    o->user = wire_take_text(&r, WIRE_USER_MAX);
    o->password = wire_take_text(&r, WIRE_PASSWORD_MAX);
    return wire_reader_end(&r);
}

/* Words for people may be cut, but never inside of a UTF-8 sequence. */
static struct slice text_cut(struct slice text, size_t max)
{
    if (text.len <= max)
        return text;
    size_t len = max;
    while (len > 0 && (text.data[len] & 0xC0) == 0x80)
        len--;
    return slice_of(text.data, len);
}

int wire_answer_put(struct buf *out, const struct wire_answer *a)
{
    wire_give_u16(out, wire_rc_put(a->rc));
    wire_give_u64(out, a->cluster_id);
    wire_give_text(out, a->leader_addr, WIRE_ADDR_MAX);
    wire_give_text(out, text_cut(a->text, WIRE_TEXT_MAX), WIRE_TEXT_MAX);
    return out->failed;
}

int wire_answer_get(struct slice body, struct wire_answer *a)
{
    struct wire_reader r = wire_reader_of(body);

    a->rc = take_rc(&r);
    a->cluster_id = wire_take_u64(&r);
    a->leader_addr = wire_take_text(&r, WIRE_ADDR_MAX);
    a->text = wire_take_text(&r, WIRE_TEXT_MAX);
    return wire_reader_end(&r);
}

int wire_meta_put(struct buf *out, const struct wire_meta *m)
{
    wire_give_u64(out, m->commit_index);
    wire_give_u64(out, m->applied_index);
    wire_give_u64(out, m->term);
    wire_give_u8(out, (uint8_t)((m->leader ? FLAG_LEADER : 0) | (m->ready ? FLAG_READY : 0)));
    wire_give_text(out, m->api_url, WIRE_ADDR_MAX);
    wire_give_text(out, m->version, WIRE_TEXT_MAX);
    return out->failed;
}

int wire_meta_get(struct slice body, struct wire_meta *m)
{
    struct wire_reader r = wire_reader_of(body);

    m->commit_index = wire_take_u64(&r);
    m->applied_index = wire_take_u64(&r);
    m->term = wire_take_u64(&r);
    uint8_t flags = wire_take_flags(&r, FLAG_LEADER | FLAG_READY);
    m->leader = (flags & FLAG_LEADER) != 0;
    m->ready = (flags & FLAG_READY) != 0;
    m->api_url = wire_take_text(&r, WIRE_ADDR_MAX);
    m->version = wire_take_text(&r, WIRE_TEXT_MAX);
    return wire_reader_end(&r);
}

int wire_index_put(struct buf *out, const struct wire_index *a)
{
    ASSERT((a->rc == 0) == (a->term != 0) && (a->rc == 0) == (a->index != 0));
    wire_give_u16(out, wire_rc_put(a->rc));
    wire_give_u64(out, a->term);
    wire_give_u64(out, a->index);
    return out->failed;
}

int wire_index_get(struct slice body, struct wire_index *a)
{
    struct wire_reader r = wire_reader_of(body);

    a->rc = take_rc(&r);
    a->term = wire_take_u64(&r);
    a->index = wire_take_u64(&r);
    if ((a->rc == 0) != (a->term != 0) || (a->rc == 0) != (a->index != 0))
        r.bad = true;
    return wire_reader_end(&r);
}

int wire_forward_put(struct buf *out, const struct wire_forward *f)
{
    ASSERT(f->kind >= WIRE_EXECUTE && f->kind <= WIRE_BACKUP);
    ASSERT(f->level <= WIRE_LEVEL_AUTO && f->wait_index <= INT64_MAX);
    wire_give_u8(out, (uint8_t)f->kind);
    wire_give_u8(out, (uint8_t)f->level);
    wire_give_u8(out,
                 (uint8_t)((f->further ? FLAG_FURTHER : 0) | (f->in_parts ? FLAG_IN_PARTS : 0)));
    wire_give_u8(out, 0);
    wire_give_u32(out, f->encode_options);
    wire_give_u64(out, f->timeout_ms);
    wire_give_u64(out, f->linearizable_timeout_ms);
    wire_give_u64(out, f->db_timeout_ns);
    wire_give_u64(out, f->wait_index);
    wire_give_text(out, f->user, WIRE_USER_MAX);
    wire_give_text(out, f->password, WIRE_PASSWORD_MAX);
    give_bytes(out, f->payload);
    return out->failed;
}

int wire_forward_get(struct slice body, struct wire_forward *f)
{
    struct wire_reader r = wire_reader_of(body);
    uint8_t kind = wire_take_u8(&r);
    uint8_t level = wire_take_u8(&r);

    uint8_t flags = wire_take_flags(&r, FLAG_FURTHER | FLAG_IN_PARTS);
    f->further = (flags & FLAG_FURTHER) != 0;
    f->in_parts = (flags & FLAG_IN_PARTS) != 0;
    wire_take_zeros(&r, 1);
    f->encode_options = wire_take_u32(&r);
    f->timeout_ms = wire_take_u64(&r);
    f->linearizable_timeout_ms = wire_take_u64(&r);
    f->db_timeout_ns = wire_take_u64(&r);
    f->wait_index = wire_take_u64(&r);
    f->user = wire_take_text(&r, WIRE_USER_MAX);
    f->password = wire_take_text(&r, WIRE_PASSWORD_MAX);
    f->payload = take_bytes(&r);
    if (kind < WIRE_EXECUTE || kind > WIRE_BACKUP || level > WIRE_LEVEL_AUTO ||
        f->wait_index > INT64_MAX)
        return ERR_PROTOCOL;
    f->kind = (enum wire_request_kind)kind;
    f->level = (enum wire_level)level;
    return wire_reader_end(&r);
}

int wire_forward_answer_put(struct buf *out, const struct wire_forward_answer *a)
{
    ASSERT(a->rc == 0 || !a->more);
    wire_give_u16(out, wire_rc_put(a->rc));
    wire_give_u8(out, a->more ? FLAG_MORE : 0);
    wire_give_u64(out, a->raft_index);
    wire_give_u64(out, a->phases.queue_ns);
    wire_give_u64(out, a->phases.sync_ns);
    wire_give_u64(out, a->phases.quorum_ns);
    wire_give_u64(out, a->phases.apply_ns);
    wire_give_u64(out, a->phases.wait_ns);
    wire_give_u64(out, a->phases.run_ns);
    give_bytes(out, a->text);
    give_bytes(out, a->body);
    return out->failed;
}

int wire_forward_answer_get(struct slice body, struct wire_forward_answer *a)
{
    struct wire_reader r = wire_reader_of(body);

    a->rc = take_rc(&r);
    a->more = wire_take_flags(&r, FLAG_MORE) != 0;
    a->raft_index = wire_take_u64(&r);
    a->phases.queue_ns = wire_take_u64(&r);
    a->phases.sync_ns = wire_take_u64(&r);
    a->phases.quorum_ns = wire_take_u64(&r);
    a->phases.apply_ns = wire_take_u64(&r);
    a->phases.wait_ns = wire_take_u64(&r);
    a->phases.run_ns = wire_take_u64(&r);
    a->text = take_bytes(&r);
    a->body = take_bytes(&r);
    if (a->rc != 0 && a->more)
        r.bad = true;
    return wire_reader_end(&r);
}

int wire_forward_pull_put(struct buf *out, const struct wire_forward_pull *p)
{
    wire_give_u8(out, p->stop ? FLAG_STOP : 0);
    return out->failed;
}

int wire_forward_pull_get(struct slice body, struct wire_forward_pull *p)
{
    struct wire_reader r = wire_reader_of(body);

    p->stop = wire_take_flags(&r, FLAG_STOP) != 0;
    return wire_reader_end(&r);
}

int wire_image_req_put(struct buf *out, const struct wire_image_req *q)
{
    ASSERT(q->window != 0);
    wire_give_u64(out, q->transfer);
    wire_give_u64(out, q->index);
    wire_give_u32(out, q->next);
    wire_give_u8(out, q->window);
    wire_give_u8(out, q->zstd ? FLAG_ZSTD : 0);
    return out->failed;
}

int wire_image_req_get(struct slice body, struct wire_image_req *q)
{
    struct wire_reader r = wire_reader_of(body);

    q->transfer = wire_take_u64(&r);
    q->index = wire_take_u64(&r);
    q->next = wire_take_u32(&r);
    q->window = wire_take_u8(&r);
    q->zstd = wire_take_flags(&r, FLAG_ZSTD) != 0;
    if (q->window == 0 || (q->transfer == 0 && q->next != 0))
        r.bad = true;
    return wire_reader_end(&r);
}

int wire_image_res_put(struct buf *out, const struct wire_image_res *res)
{
    wire_give_u16(out, wire_rc_put(res->rc));
    wire_give_u64(out, res->transfer);
    wire_give_u32(out, res->seq);
    wire_give_u8(out, res->packed ? FLAG_PACKED : 0);
    wire_give_text(out, text_cut(res->text, WIRE_TEXT_MAX), WIRE_TEXT_MAX);
    give_bytes(out, res->chunk);
    return out->failed;
}

int wire_image_res_get(struct slice body, struct wire_image_res *res)
{
    struct wire_reader r = wire_reader_of(body);

    res->rc = take_rc(&r);
    res->transfer = wire_take_u64(&r);
    res->seq = wire_take_u32(&r);
    res->packed = wire_take_flags(&r, FLAG_PACKED) != 0;
    res->text = wire_take_text(&r, WIRE_TEXT_MAX);
    res->chunk = take_bytes(&r);
    if (res->rc ? res->chunk.len != 0 : res->chunk.len == 0 || res->transfer == 0)
        r.bad = true;
    return wire_reader_end(&r);
}

int wire_digest_put(struct buf *out, const struct wire_digest *d)
{
    wire_give_u64(out, d->index);
    wire_give_u64(out, d->digest);
    wire_give_u8(out, d->rows ? FLAG_ROWS : 0);
    return out->failed;
}

int wire_digest_get(struct slice body, struct wire_digest *d)
{
    struct wire_reader r = wire_reader_of(body);

    d->index = wire_take_u64(&r);
    d->digest = wire_take_u64(&r);
    d->rows = wire_take_flags(&r, FLAG_ROWS) != 0;
    if (d->index == 0)
        r.bad = true;
    return wire_reader_end(&r);
}
