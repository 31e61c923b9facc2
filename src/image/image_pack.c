/* image_pack.c — chunks of a transfer made smaller on their way. Pure; one frame of zstd per chunk, so that
 * each can be sent again by itself. https://facebook.github.io/zstd/zstd_manual.html */
#include "image_int.h"
#include <zstd.h>

enum {
    PACK_LEVEL = 1
}; /* as fast as a disk writes; higher levels gain a tenth and cost several times as much */

int image_pack(struct slice chunk, struct buf *out)
{
    uint8_t *at = buf_reserve(out, chunk.len);

    if (!at)
        return out->failed;
    size_t len = ZSTD_compress(at, chunk.len, chunk.data, chunk.len, PACK_LEVEL);
    if (ZSTD_isError(len)) /* there was no room */
        return ERR_TOO_BIG;
    buf_commit(out, len);
    return 0;
}

int image_unpack(struct slice packed, struct buf *out)
{
    unsigned long long size = ZSTD_getFrameContentSize(packed.data, packed.len);

    buf_truncate(out, 0);
    if (size == ZSTD_CONTENTSIZE_ERROR || size == ZSTD_CONTENTSIZE_UNKNOWN || size > out->max_bytes)
        return ERR_PROTOCOL;
    uint8_t *at = buf_reserve(out, size ? (size_t)size : 1);
    if (!at)
        return out->failed;
    size_t len = ZSTD_decompress(at, (size_t)size, packed.data, packed.len);
    if (ZSTD_isError(len) || len != size)
        return ERR_PROTOCOL;
    buf_commit(out, len);
    return 0;
}
