/* image_cut.c — changing the image: first all of it into the journal, synced; then into the page files; then
 * the record. Thereby at any moment of a crash either the journal is not whole and the page files are
 * untouched, or it is and everything is done again from it.
 *
 *   seal    journal: head, state, pages, table sectors, end ─► sync
 *   apply   pages, table sectors ─► sync of each file ─► record.a ─► sync ─► record.b ─► sync
 *
 * The next journal is written over this one only after that: both records and the files are durable. The
 * journal is known to be done by its number, which the record then bears. */
#include "image_int.h"

static bool set_is_kept(const struct image *im, unsigned i)
{
    return im->cut.head.moment.set[i].page_bytes == im->now.moment.set[i].page_bytes;
}

void image_cut_fini(struct image *im)
{
    struct image_cut *c = &im->cut;

    mem_free(c->state);
    for (unsigned i = 0; i < IMAGE_SET_COUNT; i++) {
        mem_free(c->set[i].sums);
        mem_free(c->set[i].given);
        mem_free(c->set[i].sector_new);
    }
    *c = (struct image_cut){.phase = IMAGE_IDLE};
    image_window_free(im);
}

/* ---- into the journal ------------------------------------------------------------------------------------ */

static void sum_set(struct image *im, unsigned i, uint32_t number, uint32_t crc)
{
    im->cut.set[i].sums[number - 1] = crc;
    im->cut.set[i].given[number - 1] = 1;
    im->cut.set[i].sector_new[(number - 1) / IMAGE_SUMS_PER_SECTOR] = 1;
}

/* What the table will be: as it is now where pages stay; from the first page that comes or goes on, new. */
static void table_begin(struct image *im, unsigned i)
{
    uint32_t bytes = im->cut.head.moment.set[i].page_bytes;
    uint32_t count = im->cut.head.moment.set[i].page_count;
    uint32_t old = set_is_kept(im, i) ? im->now.moment.set[i].page_count : 0;
    uint32_t kept = old < count ? old : count;
    uint32_t sectors = image_sums_sectors(count);

    im->cut.set[i].sums =
        mem_must_zalloc((size_t)sectors * IMAGE_SUMS_PER_SECTOR * sizeof(uint32_t));
    im->cut.set[i].given = mem_must_zalloc(count);
    im->cut.set[i].sector_new = mem_must_zalloc(sectors);
    if (kept)
        memcpy(im->cut.set[i].sums, im->set[i].sums, (size_t)kept * sizeof(uint32_t));
    if (kept)
        memset(im->cut.set[i].given, 1, kept);
    if (old != count)
        for (uint32_t s = kept / IMAGE_SUMS_PER_SECTOR; s < sectors; s++)
            im->cut.set[i].sector_new[s] = 1;
    if (count && image_lock_page(bytes) > kept && image_lock_page(bytes) <= count)
        sum_set(im, i, image_lock_page(bytes), image_sum_of_zeros(bytes));
}

static int frame_put(struct image *im, struct image_frame *f, const void *payload)
{
    uint8_t head[IMAGE_FRAME_HEAD];

    f->crc = crc32c(0, payload, f->length);
    image_frame_put(head, im->cut.chain, f);
    int rc = image_window_put(im, head, sizeof(head));
    if (rc == 0)
        rc = image_window_put(im, payload, f->length);
    im->cut.chain = f->chain;
    im->cut.at += IMAGE_FRAME_HEAD + f->length;
    im->cut.frames++;
    return rc;
}

static int journal_begin(struct image *im)
{
    struct image_cut *c = &im->cut;
    uint8_t sector[IMAGE_SECTOR];

    image_head_put(sector, IMAGE_HEAD_JOURNAL, &c->head);
    c->chain = c->head.crc;
    c->at = image_frames_begin(&c->head);
    image_window_begin(im, 0);
    int rc = image_window_put(im, sector, sizeof(sector));
    return rc ? rc : image_window_put(im, c->state, c->head.moment.state.len);
}

/* The files of the first generation are made by the first cut. */
static int generation_begin(struct image *im)
{
    if (im->now.number != 0 || im->set[0].table)
        return 0;
    int rc = image_present_open(im, im->cut.head.generation, true);
    if (rc)
        image_generation_close(im->set);
    if (rc == 0)
        rc = env_dir_sync(im->env, im->dir);
    return rc || !im->live ? rc : image_main_path_sync(im);
}

static int cut_failed(struct image *im, int rc)
{
    if (rc == ERR_NOSPC)
        return rc;
    return image_poison(im, rc);
}

int image_cut_begin(struct image *im, const struct image_moment *m)
{
    struct image_cut *c = &im->cut;

    if (im->poisoned)
        return ERR_IO;
    ASSERT(c->phase == IMAGE_IDLE && !im->damaged && image_moment_is_sane(m));
    ASSERT(m->index >= im->now.moment.index && m->state.len <= IMAGE_STATE_MAX);
    c->phase = IMAGE_CUTTING;
    c->head = (struct image_head){
        .number = im->now.number + 1,
        .generation = im->now.number ? im->now.generation : 1,
        .nonce = env_random_u64(im->env),
        .moment = *m,
        .state_crc = crc32c(0, m->state.data, m->state.len),
    };
    c->state = mem_must_alloc(m->state.len);
    if (m->state.len)
        memcpy(c->state, m->state.data, m->state.len);
    c->head.moment.state.data = c->state;
    for (unsigned i = 0; i < IMAGE_SET_COUNT; i++)
        table_begin(im, i);
    int rc = generation_begin(im);
    if (rc == 0)
        rc = journal_begin(im);
    if (rc)
        image_cut_fini(im);
    return cut_failed(im, rc);
}

int image_cut_page(struct image *im, enum image_set set, uint32_t number, const void *bytes)
{
    struct image_cut *c = &im->cut;

    if (im->poisoned)
        return ERR_IO;
    ASSERT(c->phase == IMAGE_CUTTING);
    ASSERT(number >= 1 && number <= c->head.moment.set[set].page_count);
    struct image_frame f = {.type = IMAGE_FRAME_PAGE,
                            .set = set,
                            .length = c->head.moment.set[set].page_bytes,
                            .number = number};
    int rc = frame_put(im, &f, bytes);
    sum_set(im, set, number, f.crc);
    return cut_failed(im, rc);
}

static int table_put(struct image *im, unsigned i)
{
    uint32_t count = im->cut.head.moment.set[i].page_count;

    for (uint32_t n = 0; n < count; n++)
        ASSERT(im->cut.set[i].given[n]);
    for (uint32_t s = 0; s < image_sums_sectors(count); s++) {
        uint8_t sector[IMAGE_SECTOR];
        uint32_t first = s * IMAGE_SUMS_PER_SECTOR;
        struct image_frame f = {.type = IMAGE_FRAME_SUMS,
                                .set = (enum image_set)i,
                                .length = IMAGE_SECTOR,
                                .number = s};
        if (!im->cut.set[i].sector_new[s])
            continue;
        image_sums_put(sector, s, im->cut.set[i].sums + first,
                       count - first < IMAGE_SUMS_PER_SECTOR ? count - first
                                                             : IMAGE_SUMS_PER_SECTOR);
        int rc = frame_put(im, &f, sector);
        if (rc)
            return rc;
    }
    return 0;
}

/* Applying begins at the front of the journal. */
static void apply_begin(struct image *im)
{
    struct image_cut *c = &im->cut;

    c->phase = IMAGE_SEALED;
    c->at = image_frames_begin(&c->head);
    c->chain = c->head.crc;
    c->frames = 0;
    c->frames_done = false;
    image_window_begin(im, 0);
}

int image_cut_seal(struct image *im)
{
    struct image_cut *c = &im->cut;
    struct image_frame end = {.type = IMAGE_FRAME_END, .number = c->frames};
    int rc = 0;

    if (im->poisoned)
        return ERR_IO;
    ASSERT(c->phase == IMAGE_CUTTING);
    for (unsigned i = 0; rc == 0 && i < IMAGE_SET_COUNT; i++)
        rc = table_put(im, i);
    end.number = c->frames;
    if (rc == 0)
        rc = frame_put(im, &end, NULL);
    if (rc == 0)
        rc = image_window_flush(im);
    if (rc == 0)
        rc = env_file_sync(im->journal);
    if (rc)
        return cut_failed(im, rc);
    apply_begin(im);
    return 0;
}

void image_cut_drop(struct image *im)
{
    ASSERT(im->cut.phase == IMAGE_CUTTING);
    image_cut_fini(im);
}

/* ---- out of the journal ---------------------------------------------------------------------------------- */

static bool frame_is_sane(const struct image_head *h, const struct image_frame *f)
{
    uint32_t count = h->moment.set[f->set].page_count;

    switch (f->type) {
    case IMAGE_FRAME_PAGE:
        return f->length == h->moment.set[f->set].page_bytes && f->number >= 1 &&
               f->number <= count;
    case IMAGE_FRAME_SUMS:
        return f->length == IMAGE_SECTOR && f->number < image_sums_sectors(count);
    case IMAGE_FRAME_END:
        return f->length == 0;
    case IMAGE_FRAME_MOMENT:
        return false;
    }
    return false;
}

/* The next whole frame at c->at; *payload NULL: there is none. Does not move on. */
static int frame_next(struct image *im, struct image_frame *f, const uint8_t **payload)
{
    struct image_cut *c = &im->cut;
    const uint8_t *p;
    int rc = image_window_get(im, c->at, IMAGE_FRAME_HEAD, &p);

    *payload = NULL;
    if (rc || !p || !image_frame_get(p, c->chain, f) || !frame_is_sane(&c->head, f))
        return rc;
    rc = image_window_get(im, c->at, IMAGE_FRAME_HEAD + (size_t)f->length, &p);
    if (rc == 0 && p && crc32c(0, p + IMAGE_FRAME_HEAD, f->length) == f->crc)
        *payload = p + IMAGE_FRAME_HEAD;
    return rc;
}

static void frame_pass(struct image *im, const struct image_frame *f)
{
    im->cut.at += IMAGE_FRAME_HEAD + f->length;
    im->cut.chain = f->chain;
    im->cut.frames++;
}

static int frame_apply(struct image *im, const struct image_frame *f, const uint8_t *payload)
{
    if (f->type == IMAGE_FRAME_SUMS)
        return env_file_write(im->set[f->set].table, payload, IMAGE_SECTOR,
                              f->number * IMAGE_SECTOR);
    image_sends_changed(im, f->set, (uint32_t)f->number);
    im->cut.set[f->set].unsynced = true;
    /* Also a page that reads as it should: after a failed sync it may be so in the system's memory only, which no later
     * sync takes to the disk (Rebello et al., "Can Applications Recover from fsync Failures?", 2020). */
    return image_pages_write(im, f->set, (uint32_t)f->number, payload, f->length);
}

static int frames_apply(struct image *im, uint64_t bytes_max)
{
    struct image_cut *c = &im->cut;

    for (uint64_t bytes = 0; bytes < bytes_max && !c->frames_done;) {
        struct image_frame f;
        const uint8_t *payload;
        int rc = frame_next(im, &f, &payload);
        if (rc || !payload)
            return rc ? rc : ERR_CORRUPT; /* it was whole when it was sealed */
        if (f.type == IMAGE_FRAME_END) {
            c->frames_done = true;
            break;
        }
        rc = frame_apply(im, &f, payload);
        if (rc)
            return rc;
        frame_pass(im, &f);
        bytes += f.length;
    }
    return 0;
}

int image_cut_write(struct image *im, uint64_t bytes_max, bool *all)
{
    if (im->poisoned)
        return ERR_IO;
    ASSERT(im->cut.phase == IMAGE_SEALED && bytes_max > 0);
    int rc = frames_apply(im, bytes_max);
    *all = im->cut.frames_done;
    return cut_failed(im, rc);
}

int image_cut_flush(struct image *im)
{
    struct image_cut *c = &im->cut;
    int rc = 0;

    if (im->poisoned)
        return ERR_IO;
    ASSERT(c->phase != IMAGE_IDLE);
    if (c->phase == IMAGE_CUTTING) {
        rc = image_window_flush(im);
        return cut_failed(im, rc ? rc : env_file_sync(im->journal));
    }
    for (unsigned i = 0; rc == 0 && i < IMAGE_SET_COUNT; i++) {
        if (c->set[i].unsynced)
            rc = image_pages_sync(im, (enum image_set)i);
        c->set[i].unsynced = false;
    }
    return cut_failed(im, rc);
}

/* All is in the files: tell so. */
static int cut_finish(struct image *im)
{
    struct image_cut *c = &im->cut;
    static const uint8_t no_head[IMAGE_SECTOR];
    uint64_t journal_bytes = c->at;
    int rc = image_pages_settle(im, &c->head.moment);

    if (rc)
        return rc;
    for (unsigned i = 0; i < IMAGE_SET_COUNT && c->set[i].sums; i++) {
        mem_free(im->set[i].sums);
        im->set[i].sums = c->set[i].sums;
        c->set[i].sums = NULL;
    }
    image_now_set(im, &c->head, c->state);
    c->state = NULL;
    image_cut_fini(im);
    image_sends_resized(im);
    rc = image_main_look(im,
                         im->database.read != NULL); /* redone at open: it was out of our hands */
    if (rc == 0)
        rc = image_record_write(im, 0);
    if (rc == 0)
        rc = image_record_write(im, 1);
    /* The journal's space, but for what the next one is likely to need: a file that grows keeps the file system busy, and
     * all that is synced waits. That this one is done is known by its number, as long as a record is good. */
    if (rc == 0 && journal_bytes > IMAGE_JOURNAL_KEPT)
        rc = env_file_truncate(im->journal, IMAGE_JOURNAL_KEPT);
    if (rc == 0)
        rc = env_file_write(im->journal, no_head, sizeof(no_head), 0);
    return rc ? ERR_IO : 0;
}

int image_cut_apply(struct image *im, uint64_t bytes_max, bool *done)
{
    bool all;

    *done = false;
    int rc = image_cut_write(im, bytes_max, &all);
    if (rc || !all)
        return rc;
    rc = cut_finish(im);
    *done = rc == 0;
    return cut_failed(im, rc);
}

/* ---- at open ------------------------------------------------------------------------------------------------ */

static int head_find(struct image *im, bool *there)
{
    struct image_cut *c = &im->cut;
    const uint8_t *p;
    int rc = image_window_get(im, 0, IMAGE_SECTOR, &p);

    *there = false;
    if (rc || !p || image_head_get(p, IMAGE_HEAD_JOURNAL, &c->head))
        return rc;
    if (c->head.number != im->now.number + 1)
        return 0; /* done, or overtaken by a receipt */
    if (c->head.generation != (im->now.number ? im->now.generation : 1))
        return 0;
    size_t len = c->head.moment.state.len;
    rc = image_window_get(im, IMAGE_SECTOR, len, &p);
    if (rc || !p || crc32c(0, p, len) != c->head.state_crc)
        return rc;
    c->state = mem_must_alloc(len);
    memcpy(c->state, p, len);
    c->head.moment.state.data = c->state;
    *there = true;
    return 0;
}

int image_cut_find(struct image *im)
{
    struct image_cut *c = &im->cut;
    struct image_frame f = {.type = IMAGE_FRAME_PAGE};
    bool there;
    int rc = head_find(im, &there);

    if (rc || !there) {
        image_cut_fini(im);
        return rc;
    }
    apply_begin(im);
    for (;;) {
        const uint8_t *payload;
        rc = frame_next(im, &f, &payload);
        if (rc || !payload || f.type == IMAGE_FRAME_END)
            break;
        frame_pass(im, &f);
    }
    if (rc || f.type != IMAGE_FRAME_END || f.number != c->frames) {
        image_cut_fini(im);
        return rc;
    }
    apply_begin(im);
    return 0;
}
