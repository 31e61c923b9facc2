/* buf.c — bounded growth, amortised moves. */
#include <rq/util/assert.h>
#include <rq/util/buf.h>
#include <rq/util/mem.h>
#include <stdio.h>

enum { BUF_FIRST_CAP = 256 };

void buf_init(struct buf *b, size_t max_bytes)
{
    memset(b, 0, sizeof(*b));
    b->max_bytes = max_bytes;
}

void buf_fini(struct buf *b)
{
    mem_free(b->data);
    buf_init(b, b->max_bytes);
}

void buf_reset(struct buf *b, size_t keep_bytes)
{
    if (b->cap > keep_bytes) {
        mem_free(b->data);
        b->data = NULL;
        b->cap = 0;
    }
    b->start = 0;
    b->end = 0;
    b->failed = 0;
}

/* Make cap - end >= len: first by moving the bytes to the front, else by growing. */
static int buf_make_room(struct buf *b, size_t len)
{
    size_t used = b->end - b->start;

    if (b->data && b->start >= used && b->cap - used >= len) {
        if (used)
            memmove(b->data, b->data + b->start, used);
        b->start = 0;
        b->end = used;
        return 0;
    }
    size_t cap = b->cap ? b->cap : BUF_FIRST_CAP;
    while (cap - b->end < len)
        cap *= 2;
    uint8_t *grown = mem_realloc(b->data, cap);
    if (!grown)
        return ERR_NOMEM;
    b->data = grown;
    b->cap = cap;
    return 0;
}

uint8_t *buf_reserve(struct buf *b, size_t len)
{
    if (b->failed)
        return NULL;
    if (len > b->max_bytes || b->end - b->start > b->max_bytes - len)
        b->failed = ERR_TOO_BIG;
    else if (b->cap - b->end < len || !b->data)
        b->failed = buf_make_room(b, len);
    return b->failed ? NULL : b->data + b->end;
}

int buf_append(struct buf *b, const void *src, size_t len)
{
    uint8_t *dst = buf_reserve(b, len);
    if (!dst)
        return b->failed;
    if (len)
        memcpy(dst, src, len);
    b->end += len;
    return 0;
}

int buf_append_slice(struct buf *b, struct slice s)
{
    return buf_append(b, s.data, s.len);
}

int buf_append_str(struct buf *b, const char *nul_terminated)
{
    return buf_append(b, nul_terminated, strlen(nul_terminated));
}

int buf_append_byte(struct buf *b, uint8_t byte)
{
    return buf_append(b, &byte, 1);
}

int buf_printf(struct buf *b, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    int len = vsnprintf(NULL, 0, fmt, args);
    va_end(args);
    ASSERT(len >= 0);
    uint8_t *dst = buf_reserve(b, (size_t)len + 1);
    if (!dst)
        return b->failed;
    va_start(args, fmt);
    (void)vsnprintf((char *)dst, (size_t)len + 1, fmt, args);
    va_end(args);
    b->end += (size_t)len;
    return 0;
}

int buf_append_u64(struct buf *b, uint64_t v)
{
    char digits[20];
    size_t at = sizeof(digits);

    do {
        digits[--at] = (char)('0' + v % 10);
        v /= 10;
    } while (v);
    return buf_append(b, digits + at, sizeof(digits) - at);
}

int buf_append_i64(struct buf *b, int64_t v)
{
    if (v >= 0)
        return buf_append_u64(b, (uint64_t)v);
    (void)buf_append_byte(b, '-');
    return buf_append_u64(b, ~(uint64_t)v + 1);
}

void buf_consume(struct buf *b, size_t len)
{
    ASSERT(len <= b->end - b->start);
    b->start += len;
    if (b->start == b->end) {
        b->start = 0;
        b->end = 0;
    }
}

void buf_truncate(struct buf *b, size_t len)
{
    ASSERT(len <= b->end - b->start);
    b->end = b->start + len;
    b->failed = 0;
}
