/* image_pages.c — the pages of a set, wherever they are: in a file of the image's own, or in the file that a live
 * database has open, which is reached through it.
 *
 * At open, and when an image was received, the main set's file may stand where it does not belong. It is moved by
 * giving it its second name first, durably, and taking the first one away then: a rename that is torn by a power cut
 * may leave a file without any name on some file systems. */
#include "image_int.h"
#include <stdio.h>

static bool is_lent(const struct image *im, enum image_set set)
{
    return set == IMAGE_MAIN && im->live && !im->set[IMAGE_MAIN].pages;
}

static int pages_read(struct image *im, enum image_set set, void *dst, size_t len, uint64_t offset,
                      size_t *got)
{
    if (!is_lent(im, set))
        return env_file_read(im->set[set].pages, dst, len, offset, got);
    return im->database.read(im->database.ctx, dst, len, offset, got);
}

static void place_name(const struct image *im, enum image_set set, char *out, size_t out_size)
{
    char name[IMAGE_NAME_MAX];

    image_set_name(name, im->now.generation, set, false);
    if (set == IMAGE_MAIN && im->live)
        (void)snprintf(out, out_size, "%s", im->main_path);
    else
        (void)snprintf(out, out_size, "%s/%s", im->dir, name);
}

int image_page_read(struct image *im, enum image_set set, uint32_t number, void *dst,
                    struct err_text *why)
{
    uint32_t bytes = im->now.moment.set[set].page_bytes;
    uint64_t offset = (uint64_t)(number - 1) * bytes;
    char name[192];
    size_t got = 0;

    ASSERT(number >= 1 && number <= im->now.moment.set[set].page_count);
    if (im->damaged)
        return err_set(why, ERR_CORRUPT, "%s: is damaged as a whole", im->dir);
    if (image_is_applying(im) || (is_lent(im, set) && !im->database.read))
        return ERR_BUSY;
    place_name(im, set, name, sizeof(name));
    if (pages_read(im, set, dst, bytes, offset, &got))
        return err_set(why, ERR_IO, "%s: cannot be read", name);
    if (got != bytes || crc32c(0, dst, bytes) != im->set[set].sums[number - 1])
        return err_set(why, ERR_CORRUPT, "%s: offset %llu: page %u is damaged", name,
                       (unsigned long long)offset, number);
    return 0;
}

const uint32_t *image_sums(const struct image *im, enum image_set set)
{
    return im->set[set].sums;
}

int image_pages_write(struct image *im, enum image_set set, uint32_t number, const void *bytes,
                      size_t len)
{
    if (!is_lent(im, set))
        return env_file_write(im->set[set].pages, bytes, len, (uint64_t)(number - 1) * len);
    ASSERT(im->database.write);
    return im->database.write(im->database.ctx, number, bytes, len);
}

int image_pages_sync(struct image *im, enum image_set set)
{
    return is_lent(im, set) ? im->database.settle(im->database.ctx, 0)
                            : env_file_sync(im->set[set].pages);
}

int image_pages_settle(struct image *im, const struct image_moment *m)
{
    int rc = 0;

    for (unsigned i = 0; rc == 0 && i < IMAGE_SET_COUNT; i++) {
        uint64_t bytes = (uint64_t)m->set[i].page_bytes * m->set[i].page_count;
        /* Or it grows: SQLite's lock page may be the last. */
        rc = is_lent(im, (enum image_set)i) ? im->database.settle(im->database.ctx, bytes)
                                            : env_file_truncate(im->set[i].pages, bytes);
        if (rc == 0)
            rc = env_file_truncate(im->set[i].table,
                                   (uint64_t)image_sums_sectors(m->set[i].page_count) *
                                       IMAGE_SECTOR);
    }
    for (unsigned i = 0; rc == 0 && i < IMAGE_SET_COUNT; i++)
        if (i != IMAGE_LOAD || m->set[i].page_count || im->now.moment.set[i].page_count)
            rc = image_set_sync(&im->set[i]);
    return rc;
}

/* ---- whose file it is --------------------------------------------------------------------------------- */

void image_live_begin(struct image *im, const struct image_live *live)
{
    ASSERT(im->live && !im->set[IMAGE_MAIN].pages && !im->database.read);
    im->database = *live;
}

void image_live_end(struct image *im)
{
    im->database = (struct image_live){.read = NULL};
}

static bool is_there(struct image *im, const char *path)
{
    struct env_file_facts facts;
    return env_file_look(im->env, path, &facts) == 0;
}

/* Two names of one file, the new one durable before the old one goes. */
static int second_name(struct image *im, const char *from, const char *to)
{
    int rc = env_file_remove(im->env, to);

    if (rc && rc != ERR_NOT_FOUND)
        return rc;
    rc = env_file_link(im->env, from, to);
    return rc == ERR_NOT_SUPPORTED ? env_file_rename(im->env, from, to) : rc;
}

static int place_change(struct image *im, const char *own)
{
    const char *from = im->live ? own : im->main_path, *to = im->live ? im->main_path : own;
    int rc = second_name(im, from, to);

    if (rc == 0)
        rc = im->live ? image_main_path_sync(im) : env_dir_sync(im->env, im->dir);
    if (rc == 0)
        rc = env_file_protect(im->env, to, false);
    /* If a power cut brings the first name back, it is moved again: it is one file. */
    if (rc == 0)
        rc = env_file_remove(im->env, from);
    return rc == ERR_NOT_FOUND ? 0 : rc; /* it was a rename */
}

int image_place_move(struct image *im, uint64_t generation)
{
    char name[IMAGE_NAME_MAX];

    if (!im->main_path)
        return 0;
    image_set_name(name, generation, IMAGE_MAIN, false);
    char *own = image_path_of(im, name);
    bool own_there = is_there(im, own);
    int rc = im->live == own_there && (own_there || is_there(im, im->main_path))
                 ? place_change(im, own)
                 : 0;
    mem_free(own);
    return rc;
}

bool image_main_is_there(struct image *im)
{
    return is_there(im, im->main_path);
}

int image_main_look(struct image *im, bool trusted)
{
    im->now.main = (struct env_file_facts){.size = 0};
    return im->live && trusted ? env_file_look(im->env, im->main_path, &im->now.main) : 0;
}

bool image_main_is_known(struct image *im)
{
    struct env_file_facts facts;
    const struct env_file_facts *told = &im->now.main;

    return env_file_look(im->env, im->main_path, &facts) == 0 && facts.size == told->size &&
           facts.inode == told->inode && facts.changed_ns == told->changed_ns;
}

/* The first of these pages that is not as it was written; past them: all are. */
static uint32_t first_bad(const struct image *im, enum image_set set, uint32_t number,
                          struct slice pages)
{
    uint32_t bytes = im->now.moment.set[set].page_bytes;

    for (; pages.len >= bytes; pages = slice_of(pages.data + bytes, pages.len - bytes))
        if (crc32c(0, pages.data, bytes) != im->set[set].sums[number++ - 1])
            return number - 1;
    return number;
}

int image_pages_verify(struct image *im, enum image_set set, struct err_text *why)
{
    uint32_t bytes = im->now.moment.set[set].page_bytes, count = im->now.moment.set[set].page_count;
    uint8_t *pages = mem_must_alloc(IMAGE_BUF_BYTES);
    int rc = 0;

    for (uint32_t n = 1, step = IMAGE_BUF_BYTES / (bytes ? bytes : 1); rc == 0 && n <= count;) {
        size_t len = (size_t)(count - n + 1 < step ? count - n + 1 : step) * bytes, got = 0;
        uint32_t next = n;
        if (pages_read(im, set, pages, len, (uint64_t)(n - 1) * bytes, &got) == 0)
            next = first_bad(im, set, n, slice_of(pages, got));
        if (next < n + len / bytes) /* looked at again alone, so that it is named */
            rc = image_page_read(im, set, next++, pages, why);
        n = next;
    }
    mem_free(pages);
    return rc;
}

int image_place_settle(struct image *im, struct err_text *why)
{
    ASSERT(im->live && !im->database.read);
    env_file_close(im->set[IMAGE_MAIN].pages);
    im->set[IMAGE_MAIN].pages = NULL;
    int rc = image_place_move(im, im->now.generation);
    for (unsigned i = 0; rc == 0 && i < 2; i++) {
        rc = i ? 0 : image_main_look(im, true);
        if (rc == 0)
            rc = image_record_write(im, i);
    }
    return rc ? err_set(why, ERR_IO, "%s: the received database cannot take its place: %s",
                        im->main_path, err_text_of(rc))
              : 0;
}
