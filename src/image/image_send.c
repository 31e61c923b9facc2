/* image_send.c — an image as a sequence of chunks, while cuts go on changing it.
 *
 * A chunk is a row of frames as in the journal, chained from 0: pages, or alone
 *
 *   | head of a frame: type 4, number: digest | head of a record | state |
 *
 * which ends the transfer. That one is made only when every page has been sent as it is now. A page that a
 * cut changes is wanted again; so the receiver ends with the pages of one moment, whatever it saw before. */
#include "image_int.h"
#include <rq/util/endian.h>

enum { ROUNDS_MAX = 4, ROUNDS_SPARE = 4096 }; /* each page four times: it will not end */

struct image_send {
    struct list link;
    struct image *im; /* NULL: the image was replaced */
    uint8_t *wanted[IMAGE_SET_COUNT];
    uint32_t count[IMAGE_SET_COUNT];
    uint64_t left, total;
    uint64_t sent;   /* pages, also those sent again */
    unsigned set;    /* where the search goes on */
    uint32_t number; /* from 0 */
};

uint64_t image_digest(const struct image_moment *m, const uint32_t *const sums[IMAGE_SET_COUNT])
{
    uint32_t crc[IMAGE_SET_COUNT] = {0};

    for (unsigned i = 0; i < IMAGE_SET_COUNT; i++) {
        for (uint32_t n = 0; n < m->set[i].page_count; n++) {
            uint8_t bytes[4];
            put_u32(bytes, sums[i][n]);
            crc[i] = crc32c(crc[i], bytes, sizeof(bytes));
        }
    }
    return (uint64_t)crc[IMAGE_MAIN] << 32 | (crc[IMAGE_KEYS] ^ crc[IMAGE_LOAD]);
}

static bool is_lock_page(const struct image *im, unsigned set, uint32_t number)
{
    return number == image_lock_page(im->now.moment.set[set].page_bytes);
}

static void want(struct image_send *s, unsigned set, uint32_t number)
{
    if (number > s->count[set] || s->wanted[set][number - 1])
        return;
    s->wanted[set][number - 1] = 1;
    s->left++;
}

/* All pages that are not known to be there. */
static void resize(struct image_send *s)
{
    s->total = 0;
    for (unsigned i = 0; i < IMAGE_SET_COUNT; i++) {
        uint32_t old = s->count[i], count = s->im->now.moment.set[i].page_count;
        uint8_t *wanted = mem_must_zalloc(count);
        for (uint32_t n = 0; n < old; n++) {
            if (n < count)
                wanted[n] = s->wanted[i][n];
            else
                s->left -= s->wanted[i][n];
        }
        mem_free(s->wanted[i]);
        s->wanted[i] = wanted;
        s->count[i] = count;
        for (uint32_t n = old; n < count; n++)
            if (!is_lock_page(s->im, i, n + 1))
                want(s, i, n + 1);
        s->total += count;
    }
}

int image_send_begin(struct image *im, struct image_send **out)
{
    if (im->poisoned)
        return ERR_IO;
    if (im->now.number == 0 || im->damaged)
        return im->damaged ? ERR_CORRUPT : ERR_NOT_FOUND;
    struct image_send *s = mem_must_zalloc(sizeof(*s));
    s->im = im;
    list_push_back(&im->sends, &s->link);
    resize(s);
    *out = s;
    return 0;
}

static int moment_put(const struct image_send *s, struct buf *out)
{
    const struct image *im = s->im;
    const uint32_t *const sums[] = {im->set[0].sums, im->set[1].sums, im->set[2].sums};
    struct image_head h = im->now;
    uint8_t frame[IMAGE_FRAME_HEAD], head[IMAGE_SECTOR];

    image_head_put(head, IMAGE_HEAD_RECORD, &h);
    uint32_t crc = crc32c(0, head, sizeof(head));
    struct image_frame f = {.type = IMAGE_FRAME_MOMENT,
                            .length = (uint32_t)(IMAGE_SECTOR + h.moment.state.len),
                            .number = image_digest(&h.moment, sums),
                            .crc = crc32c(crc, h.moment.state.data, h.moment.state.len)};
    image_frame_put(frame, 0, &f);
    (void)buf_append(out, frame, sizeof(frame));
    (void)buf_append(out, head, sizeof(head));
    return buf_append_slice(out, h.moment.state);
}

/* The next wanted page, going round; only when left > 0. */
static void search(struct image_send *s)
{
    ASSERT(s->left > 0);
    for (;;) {
        if (s->number >= s->count[s->set]) {
            s->set = (s->set + 1) % IMAGE_SET_COUNT;
            s->number = 0;
        } else if (s->wanted[s->set][s->number]) {
            return;
        } else {
            s->number++;
        }
    }
}

static int page_put(struct image_send *s, struct buf *out, uint32_t *chain, struct err_text *why)
{
    uint32_t bytes = s->im->now.moment.set[s->set].page_bytes;
    uint8_t *at = buf_reserve(out, IMAGE_FRAME_HEAD + (size_t)bytes);

    if (!at)
        return out->failed;
    int rc =
        image_page_read(s->im, (enum image_set)s->set, s->number + 1, at + IMAGE_FRAME_HEAD, why);
    if (rc)
        return rc;
    struct image_frame f = {.type = IMAGE_FRAME_PAGE,
                            .set = (enum image_set)s->set,
                            .length = bytes,
                            .number = s->number + 1,
                            .crc = s->im->set[s->set].sums[s->number]};
    image_frame_put(at, *chain, &f);
    *chain = f.chain;
    buf_commit(out, IMAGE_FRAME_HEAD + (size_t)bytes);
    s->wanted[s->set][s->number] = 0;
    s->left--;
    s->sent++;
    return 0;
}

int image_send_next(struct image_send *s, size_t bytes_max, struct buf *out, bool *last,
                    struct err_text *why)
{
    uint32_t chain = 0;
    int rc = 0;

    *last = false;
    buf_truncate(out, 0);
    if (!s->im)
        return err_set(why, ERR_CANCELED, "the image was replaced while it was sent");
    if (s->im->poisoned)
        return err_set(why, ERR_IO, "%s", err_text_of(ERR_IO));
    if (image_is_applying(s->im))
        return 0;
    if (s->left > 0 && s->sent > ROUNDS_MAX * s->total + ROUNDS_SPARE)
        return err_set(
            why, ERR_TIMEOUT,
            "pages change faster than they are taken: %llu were sent, %llu of %llu are left",
            (unsigned long long)s->sent, (unsigned long long)s->left, (unsigned long long)s->total);
    if (s->left == 0) {
        *last = true;
        return moment_put(s, out);
    }
    while (rc == 0 && s->left > 0 && (buf_len(out) == 0 || buf_len(out) < bytes_max)) {
        search(s);
        rc = page_put(s, out, &chain, why);
    }
    return rc;
}

void image_send_end(struct image_send *s)
{
    if (!s)
        return;
    list_remove(&s->link);
    for (unsigned i = 0; i < IMAGE_SET_COUNT; i++)
        mem_free(s->wanted[i]);
    mem_free(s);
}

/* ---- what happens to the image meanwhile ------------------------------------------------------------------ */

void image_sends_changed(struct image *im, enum image_set set, uint32_t number)
{
    for (struct list *l = im->sends.next; l != &im->sends; l = l->next)
        want(LIST_ENTRY(l, struct image_send, link), set, number);
}

void image_sends_resized(struct image *im)
{
    for (struct list *l = im->sends.next; l != &im->sends; l = l->next)
        resize(LIST_ENTRY(l, struct image_send, link));
}

void image_sends_ended(struct image *im)
{
    for (struct list *l; (l = list_pop_front(&im->sends));) {
        LIST_ENTRY(l, struct image_send, link)->im = NULL;
        list_init(l);
    }
}
