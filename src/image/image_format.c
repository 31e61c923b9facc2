/* image_format.c — the pictures of image_format.h as code. Pure. */
#include "image_format.h"
#include <rq/util/assert.h>
#include <rq/util/crc.h>
#include <rq/util/endian.h>
#include <string.h>

static const char *const head_magic[] = {
    [IMAGE_HEAD_RECORD] = "rqimgrec", [IMAGE_HEAD_JOURNAL] = "rqimgcut"};

static int set_at(int set)
{
    return set == IMAGE_LOAD ? 104 : 56 + 8 * set;
}

static uint32_t head_crc(const uint8_t s[IMAGE_SECTOR])
{
    return crc32c(crc32c(0, s, 12), s + 16, IMAGE_SECTOR - 16);
}

void image_head_put(uint8_t out[IMAGE_SECTOR], enum image_head_kind kind, struct image_head *h)
{
    const struct image_moment *m = &h->moment;

    ASSERT(m->state.len <= IMAGE_STATE_MAX && image_moment_is_sane(m));
    memset(out, 0, IMAGE_SECTOR);
    memcpy(out, head_magic[kind], 8);
    put_u32(out + 8, IMAGE_VERSION);
    put_u64(out + 16, h->number);
    put_u64(out + 24, h->generation);
    put_u64(out + 32, h->nonce);
    put_u64(out + 40, m->index);
    put_u64(out + 48, m->term);
    for (int i = 0; i < IMAGE_SET_COUNT; i++) {
        put_u32(out + set_at(i), m->set[i].page_bytes);
        put_u32(out + set_at(i) + 4, m->set[i].page_count);
    }
    put_u32(out + 72, (uint32_t)m->state.len);
    put_u32(out + 76, h->state_crc);
    if (kind == IMAGE_HEAD_RECORD) {
        put_u64(out + 80, h->main.size);
        put_u64(out + 88, h->main.inode);
        put_u64(out + 96, (uint64_t)h->main.changed_ns);
    }
    h->crc = head_crc(out);
    put_u32(out + 12, h->crc);
}

int image_head_get(const uint8_t in[IMAGE_SECTOR], enum image_head_kind kind, struct image_head *h)
{
    if (memcmp(in, head_magic[kind], 8) != 0 || get_u32(in + 12) != head_crc(in))
        return ERR_CORRUPT;
    if (get_u32(in + 8) != IMAGE_VERSION)
        return get_u32(in + 8) > IMAGE_VERSION ? ERR_VERSION : ERR_CORRUPT;
    *h = (struct image_head){
        .number = get_u64(in + 16),
        .generation = get_u64(in + 24),
        .nonce = get_u64(in + 32),
        .moment = {.index = get_u64(in + 40), .term = get_u64(in + 48)},
        .state_crc = get_u32(in + 76),
        .main = {.size = get_u64(in + 80),
                 .inode = get_u64(in + 88),
                 .changed_ns = (int64_t)get_u64(in + 96)},
        .crc = get_u32(in + 12),
    };
    for (int i = 0; i < IMAGE_SET_COUNT; i++) {
        h->moment.set[i].page_bytes = get_u32(in + set_at(i));
        h->moment.set[i].page_count = get_u32(in + set_at(i) + 4);
    }
    h->moment.state = slice_of(NULL, get_u32(in + 72));
    bool sane = h->number != 0 && h->generation != 0 && h->moment.state.len <= IMAGE_STATE_MAX;
    return sane && image_moment_is_sane(&h->moment) ? 0 : ERR_CORRUPT;
}

static uint32_t frame_chain(const uint8_t in[IMAGE_FRAME_HEAD], uint32_t prev_chain)
{
    return crc32c(prev_chain, in, 20);
}

void image_frame_put(uint8_t out[IMAGE_FRAME_HEAD], uint32_t prev_chain, struct image_frame *f)
{
    ASSERT(f->type >= IMAGE_FRAME_PAGE && f->type <= IMAGE_FRAME_MOMENT &&
           f->set < IMAGE_SET_COUNT);
    out[0] = (uint8_t)f->type;
    out[1] = (uint8_t)f->set;
    put_u16(out + 2, 0);
    put_u32(out + 4, f->length);
    put_u64(out + 8, f->number);
    put_u32(out + 16, f->crc);
    f->chain = frame_chain(out, prev_chain);
    put_u32(out + 20, f->chain);
}

bool image_frame_get(const uint8_t in[IMAGE_FRAME_HEAD], uint32_t prev_chain, struct image_frame *f)
{
    if (get_u32(in + 20) != frame_chain(in, prev_chain))
        return false;
    if (in[0] < IMAGE_FRAME_PAGE || in[0] > IMAGE_FRAME_MOMENT || in[1] >= IMAGE_SET_COUNT ||
        get_u16(in + 2) != 0)
        return false;
    *f = (struct image_frame){
        .type = (enum image_frame_type)in[0],
        .set = (enum image_set)in[1],
        .length = get_u32(in + 4),
        .number = get_u64(in + 8),
        .crc = get_u32(in + 16),
        .chain = get_u32(in + 20),
    };
    return true;
}

void image_sums_put(uint8_t out[IMAGE_SECTOR], uint32_t sector, const uint32_t *sums,
                    uint32_t count)
{
    ASSERT(count >= 1 && count <= IMAGE_SUMS_PER_SECTOR);
    memset(out, 0, IMAGE_SECTOR);
    for (uint32_t i = 0; i < count; i++)
        put_u32(out + (size_t)4 * i, sums[i]);
    put_u32(out + 508, crc32c(sector, out, 508));
}

bool image_sums_get(const uint8_t in[IMAGE_SECTOR], uint32_t sector,
                    uint32_t sums[IMAGE_SUMS_PER_SECTOR])
{
    if (get_u32(in + 508) != crc32c(sector, in, 508))
        return false;
    for (uint32_t i = 0; i < IMAGE_SUMS_PER_SECTOR; i++)
        sums[i] = get_u32(in + (size_t)4 * i);
    return true;
}

bool image_moment_is_sane(const struct image_moment *m)
{
    for (int i = 0; i < IMAGE_SET_COUNT; i++) {
        uint32_t bytes = m->set[i].page_bytes;
        if (m->set[i].page_count == 0 && bytes == 0)
            continue;
        if (bytes < IMAGE_PAGE_MIN || bytes > IMAGE_PAGE_MAX || (bytes & (bytes - 1)) != 0)
            return false;
        if (m->set[i].page_count == 0 || m->set[i].page_count > 0xfffffffeU)
            return false;
    }
    return true;
}
