/* image_fixture.h — a model of what an image should hold, pages made from (set, number, version), and the
 * calls that bring an image there. Shared by the image tests; all static, each program has its own. */
#ifndef IMAGE_FIXTURE_H
#define IMAGE_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "env/env_sim.h"
#include <rq/env_impl.h>
#include <rq/image.h>
#include <rq/util/mem.h>
#include <rq/util/prng.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DIR "n1/image"
#define UNUSED __attribute__((unused))

enum { PAGES_MAX = 600 };
enum {
    OF_LOAD = 1 << 30,
    OF_FILE = 1 << 29
}; /* in a page's version: whose page it was made as, whatever set it is in */

struct model { /* index 0: no image */
    uint64_t index, term;
    uint32_t page_bytes[IMAGE_SET_COUNT], count[IMAGE_SET_COUNT];
    uint32_t version[IMAGE_SET_COUNT][PAGES_MAX]; /* of each page; 0: never written */
    uint32_t state_bytes;
};

static UNUSED void page_make(uint8_t *dst, unsigned set, uint32_t number, uint32_t version,
                             uint32_t bytes)
{
    struct prng p;
    uint64_t made_as = version & OF_LOAD ? IMAGE_LOAD : version & OF_FILE ? IMAGE_SET_COUNT : set;
    prng_init(&p, prng_mix(prng_mix(made_as, number), version));
    prng_fill(&p, dst, bytes);
}

static UNUSED void state_make(const struct model *m, uint8_t *dst)
{
    memset(dst, (int)(m->index % 251), m->state_bytes);
}

static UNUSED struct image_moment moment_of(const struct model *m, uint8_t state[IMAGE_STATE_MAX])
{
    struct image_moment out = {.index = m->index, .term = m->term};

    for (unsigned i = 0; i < IMAGE_SET_COUNT; i++) {
        out.set[i].page_count = m->count[i];
        out.set[i].page_bytes = m->count[i] ? m->page_bytes[i] : 0;
    }
    state_make(m, state);
    out.state = slice_of(state, m->state_bytes);
    return out;
}

/* Begin, give what differs between the two, seal. */
static UNUSED int cut_seal(struct image *im, const struct model *from, const struct model *to)
{
    static uint8_t page[IMAGE_PAGE_MAX], state[IMAGE_STATE_MAX];
    struct image_moment m = moment_of(to, state);
    int rc = image_cut_begin(im, &m);

    for (unsigned i = 0; rc == 0 && i < IMAGE_SET_COUNT; i++) {
        bool same = from->count[i] && from->page_bytes[i] == to->page_bytes[i];
        for (uint32_t n = to->count[i]; rc == 0 && n >= 1; n--) { /* any order will do */
            if (same && n <= from->count[i] && from->version[i][n - 1] == to->version[i][n - 1])
                continue;
            page_make(page, i, n, to->version[i][n - 1], to->page_bytes[i]);
            rc = image_cut_page(im, (enum image_set)i, n, page);
        }
    }
    return rc ? rc : image_cut_seal(im);
}

static UNUSED int cut_apply(struct image *im, uint64_t bytes_max)
{
    bool done = false;
    int rc = 0;

    while (rc == 0 && !done)
        rc = image_cut_apply(im, bytes_max, &done);
    return rc;
}

/* NULL: the image is exactly m; else what differs. */
static UNUSED const char *model_differs(struct image *im, const struct model *m)
{
    static uint8_t want[IMAGE_PAGE_MAX], got[IMAGE_PAGE_MAX], state[IMAGE_STATE_MAX];
    const struct image_moment *now = image_now(im);
    struct image_moment expected = moment_of(m, state);

    if (now->index != m->index || now->term != m->term)
        return "index or term";
    if (m->index == 0)
        return NULL;
    if (!slice_equal(now->state, expected.state))
        return "state";
    for (unsigned i = 0; i < IMAGE_SET_COUNT; i++) {
        if (now->set[i].page_count != expected.set[i].page_count ||
            now->set[i].page_bytes != expected.set[i].page_bytes)
            return "size of a page set";
        for (uint32_t n = 1; n <= m->count[i]; n++) {
            struct err_text why;
            if (image_page_read(im, (enum image_set)i, n, got, &why))
                return "a page that cannot be read";
            page_make(want, i, n, m->version[i][n - 1], m->page_bytes[i]);
            if (memcmp(want, got, m->page_bytes[i]) != 0)
                return "content of a page";
        }
    }
    return NULL;
}

/* The next moment: every stride-th page changes, the sets get these sizes. */
static UNUSED void model_step_all(struct model *m, uint64_t index,
                                  const uint32_t count[IMAGE_SET_COUNT], uint32_t stride)
{

    m->index = index;
    m->term = 1 + index / 10;
    for (unsigned i = 0; i < IMAGE_SET_COUNT; i++) {
        if (!m->page_bytes[i])
            m->page_bytes[i] = 512;
        for (uint32_t n = 0; n < count[i]; n++)
            if (n >= m->count[i] || n % stride == 0)
                m->version[i][n] = (uint32_t)index | (i == IMAGE_LOAD ? OF_LOAD : 0);
        m->count[i] = count[i];
    }
}

static UNUSED void model_step(struct model *m, uint64_t index, uint32_t main, uint32_t keys,
                              uint32_t stride)
{
    const uint32_t count[IMAGE_SET_COUNT] = {main, keys};
    model_step_all(m, index, count, stride);
}

/* The next moment: the load's pages, or those of a file of so many, are the main set. */
static UNUSED void model_replace(struct model *m, uint64_t index, uint32_t file_pages)
{
    m->index = index;
    m->term = 1 + index / 10;
    for (uint32_t n = 0; n < file_pages; n++)
        m->version[IMAGE_MAIN][n] = (uint32_t)index | OF_FILE;
    if (file_pages) {
        m->count[IMAGE_MAIN] = file_pages;
        return;
    }
    memcpy(m->version[IMAGE_MAIN], m->version[IMAGE_LOAD], sizeof(m->version[IMAGE_MAIN]));
    m->page_bytes[IMAGE_MAIN] = m->page_bytes[IMAGE_LOAD];
    m->count[IMAGE_MAIN] = m->count[IMAGE_LOAD];
    m->count[IMAGE_LOAD] = 0;
}

/* Replace im's main set as the model says; its file, if it has one, is made at path first. */
static UNUSED int replace(struct env *e, struct image *im, const struct model *to, const char *path,
                          uint32_t file_pages)
{
    static uint8_t page[IMAGE_PAGE_MAX], state[IMAGE_STATE_MAX];
    struct image_moment m = moment_of(to, state);
    struct env_file *f = NULL;
    uint32_t bytes = to->page_bytes[IMAGE_MAIN];
    int rc = file_pages ? env_file_open(e, path, ENV_FILE_CREATE, &f) : 0;

    if (rc == 0 && f)
        rc = env_file_truncate(f, 0);
    for (uint32_t n = 1; rc == 0 && n <= file_pages; n++) {
        page_make(page, IMAGE_MAIN, n, to->version[IMAGE_MAIN][n - 1], bytes);
        rc = env_file_write(f, page, bytes, (uint64_t)(n - 1) * bytes);
    }
    env_file_close(f);
    return rc ? rc : image_replace(im, &m, file_pages ? path : NULL, bytes);
}

#endif
