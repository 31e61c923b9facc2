/* gzip.c — over zlib. */
#include <rq/util/assert.h>
#include <rq/util/gzip.h>
#include <rq/util/mem.h>
#include <stdbool.h>
#define ZLIB_CONST 1
#include <zlib.h>

enum {
    ROOM_BYTES = 16 * 1024,
    WINDOW_BITS = 15 + 16, /* + 16: gzip, not zlib */
    MEMORY_LEVEL = 8,
};

struct gzip {
    z_stream z;
};

static voidpf gzip_alloc(voidpf ctx, uInt items, uInt size)
{
    (void)ctx;
    return mem_alloc((size_t)items * size);
}

static void gzip_release(voidpf ctx, voidpf p)
{
    (void)ctx;
    mem_free(p);
}

struct gzip *gzip_new(void)
{
    struct gzip *g = mem_zalloc(sizeof(*g));

    if (!g)
        return NULL;
    g->z.zalloc = gzip_alloc;
    g->z.zfree = gzip_release;
    if (deflateInit2(&g->z, Z_BEST_SPEED, Z_DEFLATED, WINDOW_BITS, MEMORY_LEVEL,
                     Z_DEFAULT_STRATEGY) != Z_OK) {
        mem_free(g);
        return NULL;
    }
    return g;
}

void gzip_free(struct gzip *g)
{
    if (!g)
        return;
    (void)deflateEnd(&g->z);
    mem_free(g);
}

int gzip_add(struct gzip *g, struct slice bytes, bool last, struct buf *out)
{
    int rc = Z_OK;

    ASSERT(bytes.len <= UINT32_MAX);
    g->z.next_in = bytes.data;
    g->z.avail_in = (uInt)bytes.len;
    do {
        uint8_t *to = buf_reserve(out, ROOM_BYTES);
        if (!to)
            return out->failed;
        g->z.next_out = to;
        g->z.avail_out = ROOM_BYTES;
        rc = deflate(&g->z, last ? Z_FINISH : Z_NO_FLUSH);
        ASSERT(rc == Z_OK || rc == Z_STREAM_END ||
               rc == Z_BUF_ERROR); /* nothing to do is no error */
        buf_commit(out, ROOM_BYTES - g->z.avail_out);
    } while (g->z.avail_in > 0 || (last ? rc != Z_STREAM_END : g->z.avail_out == 0));
    return 0;
}
