/* sim_image.c — file contents as 4 KiB pages with reference counts: cloning a disk copies pointers, a
 * write copies one page. Called by the disk only. */
#include "env/sim_disk_int.h"
#include <rq/util/assert.h>
#include <stdlib.h>
#include <string.h>

static const uint8_t zeros[SIM_PAGE_BYTES];

static void page_unref(struct sim_page *p)
{
    if (p && --p->refs == 0)
        free(p);
}

static void image_grow(struct sim_image *m, size_t pages)
{
    if (pages <= m->page_cap)
        return;
    size_t cap = m->page_cap ? m->page_cap : 8;
    while (cap < pages)
        cap *= 2;
    m->pages = realloc(m->pages, cap * sizeof(struct sim_page *));
    ASSERT(m->pages);
    memset(m->pages + m->page_cap, 0, (cap - m->page_cap) * sizeof(struct sim_page *));
    m->page_cap = cap;
}

void image_fini(struct sim_image *m)
{
    for (size_t i = 0; i < m->page_cap; i++)
        page_unref(m->pages[i]);
    free(m->pages);
    memset(m, 0, sizeof(*m));
}

void image_share(struct sim_image *to, const struct sim_image *from)
{
    ASSERT(to->page_cap == 0);
    image_grow(to, image_page_end(from));
    for (size_t i = 0; i < to->page_cap && i < from->page_cap; i++) {
        to->pages[i] = from->pages[i];
        if (to->pages[i])
            to->pages[i]->refs++;
    }
    to->size = from->size;
}

const uint8_t *image_page(const struct sim_image *m, size_t page)
{
    return page < m->page_cap && m->pages[page] ? m->pages[page]->bytes : zeros;
}

bool image_page_same(const struct sim_image *a, const struct sim_image *b, size_t page)
{
    return image_page(a, page) == image_page(b, page);
}

size_t image_page_end(const struct sim_image *m)
{
    size_t end = m->page_cap;
    while (end > 0 && !m->pages[end - 1])
        end--;
    return end;
}

void image_page_share(struct sim_image *to, const struct sim_image *from, size_t page)
{
    struct sim_page *p = page < from->page_cap ? from->pages[page] : NULL;

    if (!p && page >= to->page_cap)
        return;
    image_grow(to, page + 1);
    if (p)
        p->refs++;
    page_unref(to->pages[page]);
    to->pages[page] = p;
}

static uint8_t *page_own(struct sim_image *m, size_t page)
{
    image_grow(m, page + 1);
    struct sim_page *p = m->pages[page];
    if (p && p->refs == 1)
        return p->bytes;
    struct sim_page *mine = malloc(sizeof(*mine));
    ASSERT(mine);
    mine->refs = 1;
    memcpy(mine->bytes, image_page(m, page), SIM_PAGE_BYTES);
    page_unref(p);
    m->pages[page] = mine;
    return mine->bytes;
}

size_t image_read(const struct sim_image *m, void *dst, size_t len, uint64_t offset)
{
    if (offset >= m->size)
        return 0;
    if (len > m->size - offset)
        len = (size_t)(m->size - offset);
    uint8_t *out = dst;
    for (size_t left = len; left;) {
        size_t in_page = (size_t)(offset % SIM_PAGE_BYTES);
        size_t n = SIM_PAGE_BYTES - in_page < left ? SIM_PAGE_BYTES - in_page : left;
        memcpy(out, image_page(m, (size_t)(offset / SIM_PAGE_BYTES)) + in_page, n);
        out += n;
        offset += n;
        left -= n;
    }
    return len;
}

void image_write(struct sim_image *m, const void *src, size_t len, uint64_t offset)
{
    const uint8_t *in = src;
    while (len) {
        size_t in_page = (size_t)(offset % SIM_PAGE_BYTES);
        size_t n = SIM_PAGE_BYTES - in_page < len ? SIM_PAGE_BYTES - in_page : len;
        memcpy(page_own(m, (size_t)(offset / SIM_PAGE_BYTES)) + in_page, in, n);
        in += n;
        offset += n;
        len -= n;
    }
}

void image_resize(struct sim_image *m, uint64_t size)
{
    size_t first_gone = (size_t)((size + SIM_PAGE_BYTES - 1) / SIM_PAGE_BYTES);

    for (size_t i = first_gone; i < m->page_cap; i++) {
        page_unref(m->pages[i]);
        m->pages[i] = NULL;
    }
    size_t tail = (size_t)(size % SIM_PAGE_BYTES);
    size_t last = (size_t)(size / SIM_PAGE_BYTES);
    if (tail && last < m->page_cap && m->pages[last] &&
        memcmp(m->pages[last]->bytes + tail, zeros, SIM_PAGE_BYTES - tail) != 0)
        memset(page_own(m, last) + tail, 0, SIM_PAGE_BYTES - tail);
    m->size = size;
}

bool image_range_equal(const struct sim_image *a, const struct sim_image *b, uint64_t offset,
                       uint64_t len)
{
    while (len) {
        size_t page = (size_t)(offset / SIM_PAGE_BYTES);
        size_t in_page = (size_t)(offset % SIM_PAGE_BYTES);
        size_t n = SIM_PAGE_BYTES - in_page < len ? SIM_PAGE_BYTES - in_page : (size_t)len;
        if (!image_page_same(a, b, page) &&
            memcmp(image_page(a, page) + in_page, image_page(b, page) + in_page, n) != 0)
            return false;
        offset += n;
        len -= n;
    }
    return true;
}
