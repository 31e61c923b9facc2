/* image_crash.h — what the crash tests of the image share: a belief in one of two moments, and chunks of a whole
 * image to receive. All static, each program has its own. */
#ifndef IMAGE_CRASH_H
#define IMAGE_CRASH_H

#include "image_fixture.h"

#include "crash_search.h"

struct belief {
    struct model old, new; /* certain; under way */
};

static void belief_settle(struct crash_life *l, struct image *im)
{
    struct belief *b = l->belief;
    const char *old = model_differs(im, &b->old), *new = model_differs(im, &b->new);

    if (old && new)
        crash_violation(
            l, "the image is neither before (%s) nor after (%s): index %llu, wanted %llu or %llu",
            old, new, (unsigned long long)image_now(im)->index, (unsigned long long)b->old.index,
            (unsigned long long)b->new.index);
    if (old)
        b->old = b->new;
    else
        b->new = b->old;
}

/* The chunks of a whole image, made on a disk of their own before they are needed: a crash of the one under
 * test must find nothing else alive. */
static struct {
    uint8_t *bytes;
    size_t len;
} chunks[64];
static size_t chunk_count;

static void chunks_drop(void)
{
    while (chunk_count > 0)
        free(chunks[--chunk_count].bytes);
}

static void chunks_make(const struct model *m)
{
    struct sim_disk_config c;
    sim_disk_config_default(&c, 1);
    struct sim_disk *disk = sim_disk_create(&c);
    struct env *env = env_sim_create(disk, 3);
    static const struct model none;
    struct image *from;
    struct image_send *s;
    struct buf chunk;
    struct err_text why;
    bool last = false;

    chunks_drop();
    assert_int_equal(image_open(env, DIR, &from, &why), 0);
    assert_int_equal(cut_seal(from, &none, m), 0);
    assert_int_equal(cut_apply(from, UINT64_MAX), 0);
    assert_int_equal(image_send_begin(from, &s), 0);
    buf_init(&chunk, 1 << 20);
    while (!last) {
        assert_int_equal(image_send_next(s, 700, &chunk, &last, &why), 0);
        assert_true(chunk_count < sizeof(chunks) / sizeof(chunks[0]));
        chunks[chunk_count].len = buf_len(&chunk);
        chunks[chunk_count].bytes = malloc(buf_len(&chunk));
        memcpy(chunks[chunk_count++].bytes, buf_slice(&chunk).data, buf_len(&chunk));
    }
    buf_fini(&chunk);
    image_send_end(s);
    image_close(from);
    env_sim_destroy(env);
    sim_disk_destroy(disk);
}

#endif
