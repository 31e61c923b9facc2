/* image_replace.c — another file in the place of the main set's: that of a load, or one that somebody made. It is
 * there already, so that nothing is copied: the next generation's names are given to the files there are, and the
 * record switches.
 *
 *   from: its checksums, into a table ─► sync
 *   second names: H.main = G.load or from;  H.keys = G.keys;  H.load = new, or G.load ─► sync of the folder
 *   record.a, sync, record.b, sync ─► the names of G go
 *
 * Before the record the next open removes what bears H, after it what bears G: so each file has one name that counts,
 * at any moment. */
#include "image_int.h"
#include <stdio.h>

enum { COPY_BYTES = 256 * 1024 };

struct replacing {
    struct image *im;
    uint64_t generation; /* H */
    const char *from;    /* NULL: IMAGE_LOAD becomes it */
    struct image_pages set[IMAGE_SET_COUNT];
    struct image_head head;
    uint8_t *state;
};

/* ---- names -------------------------------------------------------------------------------------------- */

static int bytes_copy(struct env_file *to, struct env_file *from)
{
    uint8_t *bytes = mem_must_alloc(COPY_BYTES);
    size_t got = COPY_BYTES;
    int rc = env_file_truncate(to, 0);

    for (uint64_t at = 0; rc == 0 && got == COPY_BYTES; at += got) {
        rc = env_file_read(from, bytes, COPY_BYTES, at, &got);
        if (rc == 0 && got)
            rc = env_file_write(to, bytes, got, at);
    }
    mem_free(bytes);
    return rc ? rc : env_file_sync(to);
}

/* Where a file cannot have two names there are two files for a while. */
static int copy(struct env *e, const char *from, const char *to)
{
    struct env_file *source = NULL, *target = NULL;
    int rc = env_file_open(e, from, ENV_FILE_READONLY, &source);

    if (rc == 0)
        rc = env_file_open(e, to, ENV_FILE_CREATE, &target);
    if (rc == 0)
        rc = bytes_copy(target, source);
    env_file_close(source);
    env_file_close(target);
    return rc;
}

static int name_give(struct image *im, const char *from, const char *to)
{
    int rc = env_file_remove(im->env, to);

    if (rc && rc != ERR_NOT_FOUND)
        return rc;
    rc = env_file_link(im->env, from, to);
    return rc == ERR_NOT_SUPPORTED ? copy(im->env, from, to) : rc;
}

/* The next generation's file of a set (table: its checksums) is the present one's of another, or of the same. */
static int set_name_give(struct replacing *r, enum image_set to, enum image_set from, bool table)
{
    char old_name[IMAGE_NAME_MAX], new_name[IMAGE_NAME_MAX];

    image_set_name(old_name, r->im->now.generation, from, table);
    image_set_name(new_name, r->generation, to, table);
    char *old_path = image_path_of(r->im, old_name), *new_path = image_path_of(r->im, new_name);
    int rc = name_give(r->im, old_path, new_path);
    mem_free(old_path);
    mem_free(new_path);
    return rc;
}

static void set_close(struct image_pages *set)
{
    env_file_close(set->pages);
    env_file_close(set->table);
    set->pages = set->table = NULL;
}

static int set_give(struct replacing *r, enum image_set to, enum image_set from)
{
    int rc = set_name_give(r, to, from, false);
    if (rc == 0)
        rc = set_name_give(r, to, from, true);
    set_close(&r->im->set[from]); /* a file is open once, under the name that it will have */
    return rc ? rc : image_set_open(r->im, r->generation, to, false, &r->set[to]);
}

/* ---- a file that somebody made ------------------------------------------------------------------------- */

static int sums_read(struct image_pages *set, uint32_t bytes, uint32_t count)
{
    uint8_t *page = mem_must_alloc(bytes);
    size_t got = 0;
    int rc = 0;

    set->sums = mem_must_zalloc((size_t)image_sums_sectors(count) * IMAGE_SUMS_PER_SECTOR *
                                sizeof(uint32_t));
    for (uint32_t n = 0; rc == 0 && n < count; n++) {
        rc = env_file_read(set->pages, page, bytes, (uint64_t)n * bytes, &got);
        if (rc == 0 && got != bytes)
            rc = ERR_IO;
        set->sums[n] = crc32c(0, page, bytes);
    }
    mem_free(page);
    return rc;
}

static int file_take(struct replacing *r, uint32_t page_bytes)
{
    struct image_pages *set = &r->set[IMAGE_MAIN];
    char name[IMAGE_NAME_MAX];
    uint64_t size = 0;

    image_set_name(name, r->generation, IMAGE_MAIN, false);
    char *path = image_path_of(r->im, name);
    int rc = name_give(r->im, r->from, path);
    mem_free(path);
    if (rc == 0)
        rc = image_file_open(r->im, name, 0, &set->pages);
    image_set_name(name, r->generation, IMAGE_MAIN, true);
    if (rc == 0)
        rc = image_file_open(r->im, name, ENV_FILE_CREATE, &set->table);
    if (rc == 0)
        rc = env_file_truncate(set->table, 0);
    if (rc == 0)
        rc = env_file_size(set->pages, &size);
    if (rc)
        return rc;
    ASSERT(size > 0 && size % page_bytes == 0 && size / page_bytes < UINT32_MAX);
    r->head.moment.set[IMAGE_MAIN].page_bytes = page_bytes;
    r->head.moment.set[IMAGE_MAIN].page_count = (uint32_t)(size / page_bytes);
    rc = sums_read(set, page_bytes, (uint32_t)(size / page_bytes));
    if (rc == 0)
        rc = image_table_write(set, (uint32_t)(size / page_bytes));
    return rc ? rc : image_set_sync(set);
}

/* ---- all of it -------------------------------------------------------------------------------------------- */

static int files_make(struct replacing *r, uint32_t page_bytes)
{
    struct image_moment *m = &r->head.moment;
    int rc = set_give(r, IMAGE_KEYS, IMAGE_KEYS);

    if (rc == 0 && r->from) {
        rc = file_take(r, page_bytes);
        if (rc == 0)
            rc = set_give(r, IMAGE_LOAD, IMAGE_LOAD);
    } else if (rc == 0) {
        m->set[IMAGE_MAIN] = m->set[IMAGE_LOAD];
        m->set[IMAGE_LOAD].page_bytes = m->set[IMAGE_LOAD].page_count = 0;
        rc = set_give(r, IMAGE_MAIN, IMAGE_LOAD);
        if (rc == 0)
            rc = image_set_open(r->im, r->generation, IMAGE_LOAD, true, &r->set[IMAGE_LOAD]);
    }
    return rc ? rc : env_dir_sync(r->im->env, r->im->dir);
}

static void sums_move(struct image_pages *to, struct image_pages *from)
{
    to->sums = from->sums;
    from->sums = NULL;
}

/* The files are there, durably. */
static int record_switch(struct replacing *r)
{
    struct image *im = r->im;
    uint64_t old = im->now.generation;

    sums_move(&r->set[IMAGE_KEYS], &im->set[IMAGE_KEYS]);
    sums_move(&r->set[r->from ? IMAGE_LOAD : IMAGE_MAIN], &im->set[IMAGE_LOAD]);
    if (!r->from)
        r->set[IMAGE_LOAD].sums = mem_must_zalloc(sizeof(uint32_t));
    image_sends_ended(im);
    image_generation_close(im->set);
    memcpy(im->set, r->set, sizeof(im->set));
    memset(r->set, 0, sizeof(r->set));
    image_now_set(im, &r->head, r->state);
    r->state = NULL;
    int rc = image_record_write(im, 0);
    if (rc == 0)
        rc = image_record_write(im, 1);
    if (rc == 0)
        image_generation_remove(im, old);
    if (rc == 0 && r->from)
        rc = env_file_remove(im->env, r->from);
    return rc;
}

/* As before. */
static int files_forget(struct replacing *r)
{
    int rc = 0;

    image_generation_close(r->set);
    image_generation_remove(r->im, r->generation);
    mem_free(r->state);
    for (unsigned i = IMAGE_KEYS; rc == 0 && i < IMAGE_SET_COUNT; i++)
        if (!r->im->set[i].table)
            rc = image_set_open(r->im, r->im->now.generation, (enum image_set)i, false,
                                &r->im->set[i]);
    return rc;
}

int image_replace(struct image *im, const struct image_moment *m, const char *from,
                  uint32_t page_bytes)
{
    struct replacing r = {.im = im, .from = from, .head = im->now};

    if (im->poisoned)
        return ERR_IO;
    ASSERT(im->now.number != 0 && !im->damaged && im->cut.phase == IMAGE_IDLE);
    ASSERT(!im->database.read && m->index > im->now.moment.index);
    ASSERT(from || im->now.moment.set[IMAGE_LOAD].page_count > 0);
    r.generation = im->now.generation + 1 + im->receiving; /* that one is the receipt's */
    r.head.number++;
    r.head.generation = r.generation;
    r.head.moment.index = m->index;
    r.head.moment.term = m->term;
    r.head.moment.state = m->state;
    r.head.state_crc = crc32c(0, m->state.data, m->state.len);
    r.head.main = (struct env_file_facts){.size = 0};
    r.state = mem_must_alloc(m->state.len);
    if (m->state.len)
        memcpy(r.state, m->state.data, m->state.len);
    int rc = files_make(&r, page_bytes);
    if (rc) {
        bool back = files_forget(&r) == 0;
        return rc == ERR_NOSPC && back ? rc : image_poison(im, ERR_IO);
    }
    return image_poison(im, record_switch(&r) ? ERR_IO : 0);
}
