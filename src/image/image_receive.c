/* image_receive.c — an image that comes from another node: its pages are written into the files of the next
 * generation; when they make one moment, verified, the record switches to them.
 *
 * Until then the old image stays as it is. Chunks come from a peer: nothing in them is believed. */
#include "image_int.h"

struct image_receive {
    struct image *im;
    uint64_t generation;
    struct image_pages set[IMAGE_SET_COUNT];
    struct {
        uint32_t page_bytes;
        uint32_t high, cap; /* largest number seen; room in sums and have */
        uint8_t *have;
        bool unsynced; /* pages came since the last flush */
    } got[IMAGE_SET_COUNT];
    bool complete, settled;
    struct image_head head;
    uint8_t *state;
};

int image_receive_begin(struct image *im, struct image_receive **out)
{
    if (im->poisoned)
        return ERR_IO;
    ASSERT(!im->receiving);
    struct image_receive *r = mem_must_zalloc(sizeof(*r));
    im->receiving = true;
    r->im = im;
    r->generation = (im->now.number ? im->now.generation : 1) + 1;
    int rc = image_generation_open(im, r->generation, true, r->set);
    if (rc) {
        image_receive_end(r);
        return rc;
    }
    *out = r;
    return 0;
}

/* ---- chunks ------------------------------------------------------------------------------------------------ */

/* Pages come in order at first, so a number far ahead is nonsense, and the tables grow with what came. */
static int got_grow(struct image_receive *r, unsigned i, uint32_t number)
{
    uint32_t cap = r->got[i].cap;

    if (number > r->got[i].high + 2)
        return ERR_PROTOCOL; /* one more than the next: the lock page is left out */
    if (number > cap) {
        cap = cap ? cap * 2 : 1024;
        uint32_t *sums = mem_alloc((size_t)cap * sizeof(*sums));
        uint8_t *have = mem_zalloc(cap);
        if (!sums || !have) {
            mem_free(sums);
            mem_free(have);
            return ERR_NOMEM;
        }
        if (r->got[i].cap) {
            memcpy(sums, r->set[i].sums, (size_t)r->got[i].cap * sizeof(*sums));
            memcpy(have, r->got[i].have, r->got[i].cap);
        }
        mem_free(r->set[i].sums);
        mem_free(r->got[i].have);
        r->set[i].sums = sums;
        r->got[i].have = have;
        r->got[i].cap = cap;
    }
    if (number > r->got[i].high)
        r->got[i].high = number;
    return 0;
}

/* The sender's page size changed meanwhile: all of its pages are sent again. */
static void got_restart(struct image_receive *r, unsigned i, uint32_t page_bytes)
{
    r->got[i].page_bytes = page_bytes;
    r->got[i].high = 0;
    if (r->got[i].cap)
        memset(r->got[i].have, 0, r->got[i].cap);
}

static int page_take(struct image_receive *r, const struct image_frame *f, const uint8_t *page)
{
    unsigned i = f->set;
    struct image_moment m = {.set[0] = {f->length, 1}};

    if (!image_moment_is_sane(&m) || f->number < 1 || f->number > UINT32_MAX / 2)
        return ERR_PROTOCOL;
    if (f->length != r->got[i].page_bytes)
        got_restart(r, i, f->length);
    int rc = got_grow(r, i, (uint32_t)f->number);
    if (rc)
        return rc;
    rc = env_file_write(r->set[i].pages, page, f->length, (f->number - 1) * f->length);
    if (rc == 0) {
        r->set[i].sums[f->number - 1] = f->crc;
        r->got[i].have[f->number - 1] = 1;
        r->got[i].unsynced = true;
    }
    return rc;
}

/* ---- the last one -------------------------------------------------------------------------------------------- */

static int set_complete(struct image_receive *r, unsigned i, struct err_text *why)
{
    uint32_t bytes = r->head.moment.set[i].page_bytes, count = r->head.moment.set[i].page_count;

    if (count == 0)
        return 0;
    if (bytes != r->got[i].page_bytes)
        return err_set(why, ERR_PROTOCOL, "the image is not complete: no page of %u bytes came",
                       bytes);
    uint32_t lock = image_lock_page(bytes);
    if (lock <= count) {
        int rc = got_grow(r, i, lock);
        if (rc)
            return err_set(why, rc, "the image is not complete: pages before %u did not come",
                           lock);
        r->set[i].sums[lock - 1] = image_sum_of_zeros(bytes);
        r->got[i].have[lock - 1] = 1;
    }
    for (uint32_t n = 0; n < count; n++)
        if (n >= r->got[i].high || !r->got[i].have[n])
            return err_set(why, ERR_PROTOCOL, "the image is not complete: page %u did not come",
                           n + 1);
    return 0;
}

static int moment_take(struct image_receive *r, const struct image_frame *f, const uint8_t *payload,
                       struct err_text *why)
{
    const uint32_t *const sums[] = {r->set[0].sums, r->set[1].sums, r->set[2].sums};
    const uint8_t *state = payload + IMAGE_SECTOR;

    if (f->length < IMAGE_SECTOR || image_head_get(payload, IMAGE_HEAD_RECORD, &r->head) ||
        r->head.moment.state.len != f->length - IMAGE_SECTOR ||
        crc32c(0, state, r->head.moment.state.len) != r->head.state_crc)
        return err_set(why, ERR_PROTOCOL, "the end of the image is malformed");
    for (unsigned i = 0; i < IMAGE_SET_COUNT; i++) {
        int rc = set_complete(r, i, why);
        if (rc)
            return rc;
    }
    if (image_digest(&r->head.moment, sums) != f->number)
        return err_set(why, ERR_PROTOCOL,
                       "the pages of the image do not make the moment they should");
    r->state = mem_must_alloc(r->head.moment.state.len);
    memcpy(r->state, state, r->head.moment.state.len);
    r->head.moment.state.data = r->state;
    r->complete = true;
    return 0;
}

static int frame_take(struct image_receive *r, const struct image_frame *f, const uint8_t *payload,
                      struct err_text *why)
{
    if (crc32c(0, payload, f->length) != f->crc)
        return err_set(why, ERR_PROTOCOL, "a piece of the image is damaged");
    if (f->type == IMAGE_FRAME_MOMENT)
        return moment_take(r, f, payload, why);
    int rc = f->type == IMAGE_FRAME_PAGE ? page_take(r, f, payload) : ERR_PROTOCOL;
    return rc ? err_set(why, rc, "page %llu of the image: %s", (unsigned long long)f->number,
                        err_text_of(rc))
              : 0;
}

int image_receive_chunk(struct image_receive *r, struct slice chunk, bool *complete,
                        struct err_text *why)
{
    uint32_t chain = 0;

    if (r->im->poisoned)
        return err_set(why, ERR_IO, "%s", err_text_of(ERR_IO));
    for (size_t at = 0; at < chunk.len;) {
        struct image_frame f;
        if (r->complete || chunk.len - at < IMAGE_FRAME_HEAD ||
            !image_frame_get(chunk.data + at, chain, &f) ||
            f.length > chunk.len - at - IMAGE_FRAME_HEAD)
            return err_set(why, ERR_PROTOCOL, "a piece of the image is malformed");
        int rc = frame_take(r, &f, chunk.data + at + IMAGE_FRAME_HEAD, why);
        if (rc)
            return rc;
        chain = f.chain;
        at += IMAGE_FRAME_HEAD + (size_t)f.length;
    }
    *complete = r->complete;
    return 0;
}

int image_receive_flush(struct image_receive *r)
{
    int rc = r->im->poisoned ? ERR_IO : 0;

    for (unsigned i = 0; rc == 0 && i < IMAGE_SET_COUNT; i++) {
        if (r->got[i].unsynced)
            rc = env_file_sync(r->set[i].pages);
        r->got[i].unsynced = false;
    }
    return image_poison(r->im, rc);
}

const struct image_moment *image_receive_moment(const struct image_receive *r)
{
    ASSERT(r->complete);
    return &r->head.moment;
}

/* ---- taking its place ------------------------------------------------------------------------------------------ */

static int tables_write(struct image_receive *r)
{
    for (unsigned i = 0; i < IMAGE_SET_COUNT; i++) {
        uint32_t bytes = r->head.moment.set[i].page_bytes, count = r->head.moment.set[i].page_count;
        int rc = env_file_truncate(r->set[i].pages, (uint64_t)bytes * count);
        if (rc == 0)
            rc = image_table_write(&r->set[i], count);
        if (rc)
            return rc;
    }
    return image_generation_sync(r->set);
}

int image_receive_settle(struct image_receive *r)
{
    struct image *im = r->im;

    if (im->poisoned)
        return ERR_IO;
    ASSERT(r->complete && !r->settled);
    int rc = tables_write(r);
    if (rc == 0)
        rc = env_dir_sync(im->env, im->dir);
    r->settled = rc == 0;
    return rc == ERR_NOSPC ? rc : image_poison(im, rc);
}

int image_receive_install(struct image_receive *r)
{
    struct image *im = r->im;
    uint64_t old = im->now.number ? im->now.generation : 1;

    ASSERT(r->settled && r->head.moment.index >= im->now.moment.index);
    ASSERT(im->cut.phase != IMAGE_CUTTING);
    if (im->poisoned) {
        image_receive_end(r);
        return ERR_IO;
    }
    image_cut_fini(
        im); /* a sealed cut of the old one is overtaken: its number is no longer the next */
    image_sends_ended(im);
    image_generation_close(im->set);
    memcpy(im->set, r->set, sizeof(im->set));
    memset(r->set, 0, sizeof(r->set));
    im->damaged = false;
    r->head.number = im->now.number + 1;
    r->head.generation = r->generation;
    image_now_set(im, &r->head, r->state);
    r->state = NULL;
    int rc = image_record_write(im, 0);
    if (rc == 0)
        rc = image_record_write(im, 1);
    if (rc == 0)
        image_generation_remove(im, old);
    image_receive_end(r);
    return image_poison(im, rc ? ERR_IO : 0);
}

void image_receive_end(struct image_receive *r)
{
    if (!r)
        return;
    bool files = r->set[0].pages != NULL;
    r->im->receiving = false;
    image_generation_close(r->set);
    if (files)
        image_generation_remove(r->im, r->generation);
    for (unsigned i = 0; i < IMAGE_SET_COUNT; i++)
        mem_free(r->got[i].have);
    mem_free(r->state);
    mem_free(r);
}
