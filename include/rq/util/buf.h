/* buf — a growing byte buffer with a ceiling. Bytes are appended at the end and consumed from the
 * front. After a failed append the buffer is `failed` and refuses further appends, so that a writer
 * may append many pieces and look once at the end. */
#ifndef RQ_UTIL_BUF_H
#define RQ_UTIL_BUF_H

#include <rq/util/err.h>
#include <rq/util/slice.h>

struct buf {
    uint8_t *data;    /* ours; first byte not yet consumed is data[start] */
    size_t start;     /* consumed prefix */
    size_t end;       /* one past the last byte */
    size_t cap;       /* allocated */
    size_t max_bytes; /* ceiling of end - start */
    int failed;       /* 0, or ERR_NOMEM / ERR_TOO_BIG from the first refused append */
};

void buf_init(struct buf *b, size_t max_bytes);
void buf_fini(struct buf *b);
/* Emptied, storage kept (unless it is larger than keep_bytes), `failed` cleared. */
void buf_reset(struct buf *b, size_t keep_bytes);

static inline size_t buf_len(const struct buf *b)
{
    return b->end - b->start;
}
/* The unconsumed bytes; lent until the next non-const call. */
static inline struct slice buf_slice(const struct buf *b)
{
    return slice_of(b->start ? b->data + b->start : b->data,
                    b->end - b->start); /* NULL + 0 is undefined */
}

/* Room for len more bytes; returns where to write them (then call buf_commit), NULL if failed. */
uint8_t *buf_reserve(struct buf *b, size_t len) MUST_USE;
static inline void buf_commit(struct buf *b, size_t len)
{
    b->end += len;
}
/* 0, or b->failed (set now or before; then nothing is appended). */
int buf_append(struct buf *b, const void *src, size_t len);
int buf_append_slice(struct buf *b, struct slice s);
int buf_append_str(struct buf *b, const char *nul_terminated);
int buf_append_byte(struct buf *b, uint8_t byte);
int buf_printf(struct buf *b, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* Decimal, fast. */
int buf_append_i64(struct buf *b, int64_t v);
int buf_append_u64(struct buf *b, uint64_t v);
/* Drop len <= buf_len bytes from the front. */
void buf_consume(struct buf *b, size_t len);
/* Drop bytes from the end so that len <= buf_len remain; clears `failed`. */
void buf_truncate(struct buf *b, size_t len);

#endif
