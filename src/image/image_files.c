/* image_files.c — files of a generation, the two records, and bytes of the journal.
 *
 * Called by everything above it in image_int.h. Decides nothing: what is written when is image_cut.c's and
 * image_receive.c's business. */
#include "image_int.h"
#include <stdio.h>

static const char *const record_name[2] = {"record.a", "record.b"};
static const char *const set_name[IMAGE_SET_COUNT] = {"main", "keys", "load"};

char *image_path_of(const struct image *im, const char *name)
{
    size_t dir_len = strlen(im->dir), name_len = strlen(name);
    char *path = mem_must_alloc(dir_len + name_len + 2);

    memcpy(path, im->dir, dir_len);
    path[dir_len] = '/';
    memcpy(path + dir_len + 1, name, name_len + 1);
    return path;
}

int image_file_open(struct image *im, const char *name, unsigned flags, struct env_file **out)
{
    char *path = image_path_of(im, name);
    int rc = env_file_open(im->env, path, flags, out);

    mem_free(path);
    return rc;
}

/* ---- a generation ------------------------------------------------------------------------------------- */

void image_set_name(char out[IMAGE_NAME_MAX], uint64_t generation, enum image_set set, bool table)
{
    (void)snprintf(out, IMAGE_NAME_MAX, "%016llx.%s%s", (unsigned long long)generation,
                   set_name[set], table ? ".sums" : "");
}

static int generation_file(struct image *im, uint64_t generation, enum image_set set, bool table,
                           bool empty, struct env_file **out)
{
    char name[IMAGE_NAME_MAX];

    image_set_name(name, generation, set, table);
    int rc = image_file_open(im, name, empty ? ENV_FILE_CREATE : 0, out);
    if (rc == 0 && empty)
        rc = env_file_truncate(*out, 0);
    return rc;
}

/* An image from before there were loads has no such files: it has no such pages. */
static int load_files_make(struct image *im, uint64_t generation, struct image_pages *load)
{
    env_file_close(load->pages);
    load->pages = NULL;
    int rc = generation_file(im, generation, IMAGE_LOAD, false, true, &load->pages);
    if (rc == 0)
        rc = generation_file(im, generation, IMAGE_LOAD, true, true, &load->table);
    return rc ? rc : env_dir_sync(im->env, im->dir);
}

int image_set_open(struct image *im, uint64_t generation, enum image_set set, bool empty,
                   struct image_pages *out)
{
    int rc = generation_file(im, generation, set, false, empty, &out->pages);
    if (rc == 0)
        rc = generation_file(im, generation, set, true, empty, &out->table);
    return rc;
}

static int generation_open(struct image *im, uint64_t generation, bool empty, bool but_main,
                           struct image_pages set[IMAGE_SET_COUNT])
{
    int rc = 0;

    ASSERT(generation != 0);
    for (unsigned i = 0; rc == 0 && i < IMAGE_SET_COUNT; i++) {
        if (i == IMAGE_MAIN && but_main)
            rc = generation_file(im, generation, IMAGE_MAIN, true, empty, &set[i].table);
        else
            rc = image_set_open(im, generation, (enum image_set)i, empty, &set[i]);
        if (rc == ERR_NOT_FOUND && i == IMAGE_LOAD && im->now.moment.set[i].page_count == 0)
            rc = load_files_make(im, generation, &set[i]);
    }
    return rc;
}

int image_generation_open(struct image *im, uint64_t generation, bool empty,
                          struct image_pages set[IMAGE_SET_COUNT])
{
    return generation_open(im, generation, empty, false, set);
}

int image_present_open(struct image *im, uint64_t generation, bool empty)
{
    int rc = generation_open(im, generation, empty, im->live, im->set);

    if (rc == 0 && im->live && !empty)
        rc = env_file_protect(im->env, im->main_path, false);
    if (rc == 0 && im->live && !empty)
        rc = env_file_open(im->env, im->main_path, 0, &im->set[IMAGE_MAIN].pages);
    return rc;
}

int image_main_path_sync(struct image *im)
{
    const char *slash = strrchr(im->main_path, '/');

    if (!slash)
        return env_dir_sync(im->env, ".");
    char *folder = mem_strdup(im->main_path);
    ASSERT(folder);
    folder[slash == im->main_path ? 1 : slash - im->main_path] = '\0';
    int rc = env_dir_sync(im->env, folder);
    mem_free(folder);
    return rc;
}

void image_generation_close(struct image_pages set[IMAGE_SET_COUNT])
{
    for (unsigned i = 0; i < IMAGE_SET_COUNT; i++) {
        env_file_close(set[i].pages);
        env_file_close(set[i].table);
        mem_free(set[i].sums);
        set[i] = (struct image_pages){0};
    }
}

void image_generation_remove(struct image *im, uint64_t generation)
{
    for (unsigned i = 0; i < 2 * IMAGE_SET_COUNT; i++) {
        char name[IMAGE_NAME_MAX];
        image_set_name(name, generation, (enum image_set)(i / 2), i % 2 == 1);
        char *path = image_path_of(im, name);
        (void)!env_file_remove(im->env, path); /* else the next open tries again */
        mem_free(path);
    }
}

int image_set_sync(struct image_pages *set)
{
    int rc = set->pages ? env_file_sync(set->pages) : 0;
    return rc ? rc : env_file_sync(set->table);
}

int image_generation_sync(struct image_pages set[IMAGE_SET_COUNT])
{
    int rc = 0;

    for (unsigned i = 0; rc == 0 && i < IMAGE_SET_COUNT; i++)
        rc = image_set_sync(&set[i]);
    return rc;
}

int image_sums_load(struct image *im, enum image_set set, struct err_text *why)
{
    struct image_pages *p = &im->set[set];
    uint32_t count = im->now.moment.set[set].page_count;
    uint32_t sectors = image_sums_sectors(count);
    char name[IMAGE_NAME_MAX];

    image_set_name(name, im->now.generation, set, true);
    mem_free(p->sums);
    p->sums = mem_must_zalloc((size_t)sectors * IMAGE_SUMS_PER_SECTOR * sizeof(uint32_t));
    for (uint32_t i = 0; i < sectors; i++) {
        uint8_t sector[IMAGE_SECTOR];
        size_t got = 0;
        int rc = env_file_read(p->table, sector, sizeof(sector), (uint64_t)i * IMAGE_SECTOR, &got);
        if (rc)
            return err_set(why, ERR_IO, "%s/%s: cannot be read", im->dir, name);
        if (got != sizeof(sector) ||
            !image_sums_get(sector, i, p->sums + (size_t)i * IMAGE_SUMS_PER_SECTOR))
            return err_set(why, ERR_CORRUPT, "%s/%s: offset %llu: damaged checksums", im->dir, name,
                           (unsigned long long)i * IMAGE_SECTOR);
    }
    return 0;
}

int image_table_write(struct image_pages *set, uint32_t count)
{
    int rc = 0;

    for (uint32_t s = 0; rc == 0 && s < image_sums_sectors(count); s++) {
        uint8_t sector[IMAGE_SECTOR];
        uint32_t first = s * IMAGE_SUMS_PER_SECTOR, left = count - first;
        image_sums_put(sector, s, set->sums + first,
                       left < IMAGE_SUMS_PER_SECTOR ? left : IMAGE_SUMS_PER_SECTOR);
        rc = env_file_write(set->table, sector, sizeof(sector), (uint64_t)s * IMAGE_SECTOR);
    }
    return rc;
}

uint32_t image_sum_of_zeros(uint32_t page_bytes)
{
    static const uint8_t zeros[IMAGE_PAGE_MIN];
    uint32_t crc = 0;

    for (uint32_t at = 0; at < page_bytes; at += IMAGE_PAGE_MIN)
        crc = crc32c(crc, zeros, sizeof(zeros));
    return crc;
}

/* ---- records -------------------------------------------------------------------------------------------- */

/* Its full size is there, and synced, before the first record, so that a full disk cannot stop a cut at its
 * end. Names are synced when something rests on them: before the first journal, before an install. */
int image_record_prepare(struct image *im, unsigned copy)
{
    static const uint8_t zeros[IMAGE_SECTOR + IMAGE_STATE_MAX];
    uint64_t size;
    int rc = env_file_size(im->record[copy], &size);

    if (rc || size >= sizeof(zeros))
        return rc;
    rc = env_file_write(im->record[copy], zeros, sizeof(zeros) - (size_t)size, size);
    return rc ? rc : env_file_sync(im->record[copy]);
}

static bool is_zero(const uint8_t *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (bytes[i])
            return false;
    return true;
}

static int record_look(struct image *im, unsigned copy, struct image_records *found,
                       struct err_text *why)
{
    uint8_t sector[IMAGE_SECTOR];
    size_t got = 0;
    struct image_head *h = &found->head[copy];
    int rc = env_file_read(im->record[copy], sector, sizeof(sector), 0, &got);

    if (rc)
        return err_set(why, ERR_IO, "%s/%s: cannot be read", im->dir, record_name[copy]);
    found->empty[copy] = is_zero(sector, got);
    rc = got == sizeof(sector) ? image_head_get(sector, IMAGE_HEAD_RECORD, h) : ERR_CORRUPT;
    if (rc == ERR_VERSION)
        return err_set(why, rc, "%s/%s: written by a newer program", im->dir, record_name[copy]);
    if (rc)
        return 0;
    size_t len = h->moment.state.len;
    uint8_t *state = mem_must_alloc(len);
    rc = env_file_read(im->record[copy], state, len, IMAGE_SECTOR, &got);
    found->state[copy] = state;
    if (rc)
        return err_set(why, ERR_IO, "%s/%s: cannot be read", im->dir, record_name[copy]);
    found->good[copy] = got == len && crc32c(0, state, len) == h->state_crc;
    return 0;
}

int image_records_look(struct image *im, struct image_records *found, struct err_text *why)
{
    *found = (struct image_records){.good = {false}};
    int rc = record_look(im, 0, found, why);
    return rc ? rc : record_look(im, 1, found, why);
}

/* Only the copy at hand is touched: the other one is durable with an equal or the previous number. */
int image_record_write(struct image *im, unsigned copy)
{
    uint8_t sector[IMAGE_SECTOR];
    struct slice state = im->now.moment.state;

    ASSERT(im->now.number != 0 && copy < 2);
    image_head_put(sector, IMAGE_HEAD_RECORD, &im->now);
    int rc = env_file_write(im->record[copy], sector, sizeof(sector), 0);
    if (rc == 0 && state.len)
        rc = env_file_write(im->record[copy], state.data, state.len, IMAGE_SECTOR);
    return rc ? rc : env_file_sync(im->record[copy]);
}

int image_record_clear(struct image *im, unsigned copy)
{
    static const uint8_t zeros[IMAGE_SECTOR];
    int rc = env_file_write(im->record[copy], zeros, sizeof(zeros), 0);

    return rc ? rc : env_file_sync(im->record[copy]);
}

void image_now_set(struct image *im, const struct image_head *h, uint8_t *state)
{
    mem_free(im->state);
    im->now = *h;
    im->now.nonce = 0;
    im->state = state;
    im->now.moment.state.data = state;
}

/* ---- bytes of the journal ---------------------------------------------------------------------------------- */

static uint8_t *window_data(struct image *im)
{
    if (!im->window.data)
        im->window.data = mem_must_alloc(IMAGE_BUF_BYTES + IMAGE_FRAME_HEAD + IMAGE_PAGE_MAX);
    return im->window.data;
}

void image_window_begin(struct image *im, uint64_t offset)
{
    im->window.offset = offset;
    im->window.len = 0;
}

int image_window_flush(struct image *im)
{
    struct image_window *w = &im->window;
    int rc = w->len ? env_file_write(im->journal, w->data, w->len, w->offset) : 0;

    w->offset += w->len;
    w->len = 0;
    return rc;
}

int image_window_put(struct image *im, const void *src, size_t len)
{
    struct image_window *w = &im->window;

    ASSERT(len <= IMAGE_FRAME_HEAD + IMAGE_PAGE_MAX);
    if (len)
        memcpy(window_data(im) + w->len, src, len);
    w->len += len;
    return w->len >= IMAGE_BUF_BYTES ? image_window_flush(im) : 0;
}

int image_window_get(struct image *im, uint64_t offset, size_t len, const uint8_t **out)
{
    struct image_window *w = &im->window;

    ASSERT(len <= IMAGE_FRAME_HEAD + IMAGE_PAGE_MAX);
    if (offset < w->offset || offset + len > w->offset + w->len) {
        w->offset = offset;
        w->len = 0;
        int rc = env_file_read(im->journal, window_data(im), IMAGE_BUF_BYTES, offset, &w->len);
        if (rc)
            return rc;
    }
    *out = len <= w->len ? w->data + (offset - w->offset) : NULL;
    return 0;
}

void image_window_free(struct image *im)
{
    mem_free(im->window.data);
    im->window = (struct image_window){0};
}
