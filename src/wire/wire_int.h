/* wire_int — a bounded reader and the writers' common pieces; private to src/wire.
 *
 * The reader never looks outside of its slice. After the first thing that does not fit it is `bad`
 * and gives zeros, so that a decoder may take all its fields and look once at the end. */
#ifndef RQ_WIRE_INT_H
#define RQ_WIRE_INT_H

#include <rq/util/buf.h>
#include <rq/util/endian.h>
#include <rq/util/slice.h>

struct wire_reader {
    const uint8_t *at; /* next byte */
    size_t left;       /* bytes from there on */
    bool bad;
};

static inline struct wire_reader wire_reader_of(struct slice s)
{
    struct wire_reader r = {s.data, s.len, false};
    return r;
}

/* len bytes, lent; NULL if there are fewer (then the reader is bad). */
static inline const uint8_t *wire_take(struct wire_reader *r, size_t len)
{
    if (r->bad || r->left < len) {
        r->bad = true;
        return NULL;
    }
    const uint8_t *p = r->at;
    r->at += len;
    r->left -= len;
    return p;
}

static inline uint8_t wire_take_u8(struct wire_reader *r)
{
    const uint8_t *p = wire_take(r, 1);
    return p ? *p : 0;
}

static inline uint16_t wire_take_u16(struct wire_reader *r)
{
    const uint8_t *p = wire_take(r, 2);
    return p ? get_u16(p) : 0;
}

static inline uint32_t wire_take_u32(struct wire_reader *r)
{
    const uint8_t *p = wire_take(r, 4);
    return p ? get_u32(p) : 0;
}

static inline uint64_t wire_take_u64(struct wire_reader *r)
{
    const uint8_t *p = wire_take(r, 8);
    return p ? get_u64(p) : 0;
}

static inline struct slice wire_take_slice(struct wire_reader *r, size_t len)
{
    const uint8_t *p = wire_take(r, len);
    return slice_of(p, p ? len : 0);
}

/* A byte whose bits outside of `known` must be zero. */
static inline uint8_t wire_take_flags(struct wire_reader *r, uint8_t known)
{
    uint8_t flags = wire_take_u8(r);
    if (flags & (uint8_t)~known)
        r->bad = true;
    return flags;
}

/* A field kept for later: must be zero. */
static inline void wire_take_zeros(struct wire_reader *r, size_t len)
{
    const uint8_t *p = wire_take(r, len);
    for (size_t i = 0; p && i < len; i++)
        if (p[i] != 0)
            r->bad = true;
}

/* u16 length and as many bytes, at most max, none of them NUL: it will become a C string. */
static inline struct slice wire_take_text(struct wire_reader *r, size_t max)
{
    struct slice s = wire_take_slice(r, wire_take_u16(r));
    if (s.len > max || (s.len && memchr(s.data, 0, s.len)))
        r->bad = true;
    return s;
}

/* Nothing went wrong and nothing is left over: 0, else ERR_PROTOCOL. */
static inline int wire_reader_end(const struct wire_reader *r)
{
    return r->bad || r->left ? ERR_PROTOCOL : 0;
}

/* ---- writers: failures stay in b->failed --------------------------------------------------------
 */

static inline void wire_give_u8(struct buf *b, uint8_t v)
{
    (void)buf_append_byte(b, v);
}

static inline void wire_give_u16(struct buf *b, uint16_t v)
{
    uint8_t *p = buf_reserve(b, 2);
    if (p) {
        put_u16(p, v);
        buf_commit(b, 2);
    }
}

static inline void wire_give_u32(struct buf *b, uint32_t v)
{
    uint8_t *p = buf_reserve(b, 4);
    if (p) {
        put_u32(p, v);
        buf_commit(b, 4);
    }
}

static inline void wire_give_u64(struct buf *b, uint64_t v)
{
    uint8_t *p = buf_reserve(b, 8);
    if (p) {
        put_u64(p, v);
        buf_commit(b, 8);
    }
}

/* The buffer refuses from here on, as if it had run out of room itself. */
static inline void wire_fail(struct buf *b, int rc)
{
    if (!b->failed)
        b->failed = rc;
}

/* As wire_take_text; longer than max: ERR_TOO_BIG. */
static inline void wire_give_text(struct buf *b, struct slice s, size_t max)
{
    if (s.len > max || s.len > UINT16_MAX)
        wire_fail(b, ERR_TOO_BIG);
    wire_give_u16(b, (uint16_t)s.len);
    (void)buf_append_slice(b, s);
}

#endif
