/* rlog_format.c — the pictures of rlog_format.h as code. Pure. */
#include "rlog_format.h"
#include <rq/util/assert.h>
#include <rq/util/crc.h>
#include <rq/util/endian.h>
#include <string.h>

/* ---- sectors: magic, version, crc, body ---------------------------------------------------------- */

static uint32_t sector_crc(const uint8_t s[RLOG_SECTOR])
{
    return crc32c(crc32c(0, s, 12), s + 16, RLOG_SECTOR - 16);
}

static void sector_begin(uint8_t s[RLOG_SECTOR], const char magic[8])
{
    memset(s, 0, RLOG_SECTOR);
    memcpy(s, magic, 8);
    put_u32(s + 8, RLOG_VERSION);
}

static uint32_t sector_end(uint8_t s[RLOG_SECTOR])
{
    uint32_t crc = sector_crc(s);

    put_u32(s + 12, crc);
    return crc;
}

static int sector_check(const uint8_t s[RLOG_SECTOR], const char magic[8])
{
    if (memcmp(s, magic, 8) != 0 || get_u32(s + 12) != sector_crc(s))
        return ERR_CORRUPT;
    if (get_u32(s + 8) > RLOG_VERSION)
        return ERR_VERSION;
    return get_u32(s + 8) == RLOG_VERSION ? 0 : ERR_CORRUPT;
}

void rlog_seg_head_put(uint8_t out[RLOG_SECTOR], struct rlog_seg_head *h)
{
    sector_begin(out, "rqlogseg");
    put_u64(out + 16, h->store_id);
    put_u64(out + 24, h->number);
    put_u64(out + 32, h->nonce);
    put_u64(out + 40, h->file_bytes);
    put_u64(out + 48, h->next_batch);
    put_u64(out + 56, h->base_index);
    put_u64(out + 64, h->base_term);
    put_u64(out + 72, h->prev_end);
    put_u32(out + 80, h->prev_chain);
    h->seed = sector_end(out);
}

int rlog_seg_head_get(const uint8_t in[RLOG_SECTOR], struct rlog_seg_head *h)
{
    int rc = sector_check(in, "rqlogseg");

    if (rc)
        return rc;
    *h = (struct rlog_seg_head){
        .store_id = get_u64(in + 16),
        .number = get_u64(in + 24),
        .nonce = get_u64(in + 32),
        .file_bytes = get_u64(in + 40),
        .next_batch = get_u64(in + 48),
        .base_index = get_u64(in + 56),
        .base_term = get_u64(in + 64),
        .prev_end = get_u64(in + 72),
        .prev_chain = get_u32(in + 80),
        .seed = get_u32(in + 12),
    };
    return 0;
}

void rlog_hard_rec_put(uint8_t out[RLOG_SECTOR], const struct rlog_hard_rec *h)
{
    ASSERT(h->copy == 'a' || h->copy == 'b');
    sector_begin(out, "rqloghrd");
    put_u64(out + 16, h->number);
    put_u64(out + 24, h->store_id);
    put_u64(out + 32, h->cluster_id);
    put_u64(out + 40, h->hard.term);
    put_u64(out + 48, h->hard.vote);
    out[56] = (uint8_t)h->copy;
    sector_end(out);
}

int rlog_hard_rec_get(const uint8_t in[RLOG_SECTOR], struct rlog_hard_rec *h)
{
    int rc = sector_check(in, "rqloghrd");

    if (rc)
        return rc;
    *h = (struct rlog_hard_rec){
        .number = get_u64(in + 16),
        .store_id = get_u64(in + 24),
        .cluster_id = get_u64(in + 32),
        .hard = {.term = get_u64(in + 40), .vote = get_u64(in + 48)},
        .copy = (char)in[56],
    };
    return h->number != 0 && h->store_id != 0 ? 0 : ERR_CORRUPT;
}

void rlog_mark_rec_put(uint8_t out[RLOG_SECTOR], const struct rlog_mark_rec *m)
{
    sector_begin(out, "rqlogmrk");
    put_u64(out + 16, m->store_id);
    put_u64(out + 24, m->batch);
    put_u64(out + 32, m->commit_index);
    sector_end(out);
}

int rlog_mark_rec_get(const uint8_t in[RLOG_SECTOR], struct rlog_mark_rec *m)
{
    int rc = sector_check(in, "rqlogmrk");

    if (rc)
        return rc;
    *m = (struct rlog_mark_rec){
        .store_id = get_u64(in + 16),
        .batch = get_u64(in + 24),
        .commit_index = get_u64(in + 32),
    };
    return 0;
}

/* ---- heads of batches and entries ------------------------------------------------------------------ */

static uint32_t tag_of(const struct rlog_seg_head *h)
{
    return (uint32_t)(h->nonce >> 32);
}

static uint32_t chain_of(uint32_t prev_chain, uint32_t check)
{
    uint8_t bytes[4];

    put_u32(bytes, check);
    return crc32c(prev_chain, bytes, sizeof(bytes));
}

void rlog_rec_put(uint8_t out[RLOG_MARK_BYTES], const struct rlog_seg_head *h, uint32_t prev_chain,
                  struct rlog_rec *r)
{
    ASSERT(r->batch != 0);
    put_u32(out, tag_of(h));
    out[12] = (uint8_t)r->type;
    out[13] = r->kind;
    put_u16(out + 14, 0);
    put_u32(out + 16, r->length);
    put_u32(out + 20, r->aux);
    put_u64(out + 24, r->batch);
    put_u64(out + 32, r->index);
    put_u64(out + 40, r->term);
    r->check = crc32c(h->seed, out + 12, RLOG_MARK_BYTES - 12);
    r->chain = chain_of(prev_chain, r->check);
    put_u32(out + 4, r->check);
    put_u32(out + 8, r->chain);
}

bool rlog_rec_get(const uint8_t in[RLOG_MARK_BYTES], const struct rlog_seg_head *h,
                  struct rlog_rec *r)
{
    if (get_u32(in) != tag_of(h))
        return false;
    if (get_u32(in + 4) != crc32c(h->seed, in + 12, RLOG_MARK_BYTES - 12))
        return false;
    if ((in[12] != RLOG_REC_BATCH && in[12] != RLOG_REC_ENTRY) || get_u16(in + 14) != 0)
        return false;
    *r = (struct rlog_rec){
        .type = (enum rlog_rec_type)in[12],
        .kind = in[13],
        .length = get_u32(in + 16),
        .aux = get_u32(in + 20),
        .batch = get_u64(in + 24),
        .index = get_u64(in + 32),
        .term = get_u64(in + 40),
        .check = get_u32(in + 4),
        .chain = get_u32(in + 8),
    };
    return true;
}

bool rlog_rec_follows(const struct rlog_rec *r, uint32_t prev_chain)
{
    return r->chain == chain_of(prev_chain, r->check);
}
