/* image.c — the door: open, close, look for damage.
 *
 * Open:  names ─► records ─► sealed journal? ─► (all of this only reads)
 *        ─► sync what will be relied on ─► apply the journal, or mend the records ─► checksum tables */
#include "image_int.h"

/* ---- open ---------------------------------------------------------------------------------------------- */

struct leftovers {
    uint64_t keep; /* generation; 0: none */
    uint64_t found[8];
    uint32_t count;
};

static void leftover_seen(void *ctx, const char *name)
{
    struct leftovers *l = ctx;
    uint64_t g = 0;

    for (int i = 0; i < 16; i++) {
        const char *hex = "0123456789abcdef", *at = name[i] ? strchr(hex, name[i]) : NULL;
        if (!at)
            return;
        g = g << 4 | (uint64_t)(at - hex);
    }
    if (name[16] != '.' || g == l->keep || l->count == 8)
        return; /* more than eight are not left by one crash; the next open takes the rest */
    for (uint32_t i = 0; i < l->count; i++)
        if (l->found[i] == g)
            return;
    l->found[l->count++] = g;
}

static int leftovers_remove(struct image *im)
{
    struct leftovers l = {.keep = im->now.number ? im->now.generation : 0};
    int rc = env_dir_list(im->env, im->dir, leftover_seen, &l);

    for (uint32_t i = 0; rc == 0 && i < l.count; i++)
        image_generation_remove(im, l.found[i]);
    return rc;
}

static int files_open(struct image *im, struct err_text *why)
{
    static const char *const names[] = {"record.a", "record.b", "cut"};
    struct env_file **files[] = {&im->record[0], &im->record[1], &im->journal};
    int rc = env_dir_create(im->env, im->dir);

    for (unsigned i = 0; rc == 0 && i < 3; i++)
        rc = image_file_open(im, names[i], ENV_FILE_CREATE, files[i]);
    for (unsigned i = 0; rc == 0 && i < 2; i++)
        rc = image_record_prepare(im, i);
    return rc ? err_set(why, rc, "%s: cannot be opened: %s", im->dir, err_text_of(rc)) : 0;
}

/* The newer good copy becomes now. None good, and b never written: the first record was not finished, and
 * nothing rests on it (a cut's is then made again from its journal). */
static int record_choose(struct image *im, struct image_records *found, struct err_text *why)
{
    const struct image_head *a = &found->head[0], *b = &found->head[1];

    if (!found->good[0] && !found->good[1]) {
        int rc = image_cut_find(im);
        if (rc || im->cut.phase == IMAGE_SEALED || found->empty[1])
            return rc;
        return err_set(why, ERR_CORRUPT, "%s/record.a, record.b: offset 0: no good copy", im->dir);
    }
    if (found->good[0] && found->good[1] && a->number == b->number &&
        (a->moment.index != b->moment.index || a->generation != b->generation))
        return err_set(why, ERR_CORRUPT,
                       "%s/record.a, record.b: offset 16: two good copies contradict each other",
                       im->dir);
    unsigned newer = found->good[1] && (!found->good[0] || b->number > a->number);
    image_now_set(im, &found->head[newer], found->state[newer]);
    found->state[newer] = NULL;
    return image_cut_find(im);
}

/* A process that died leaves data in the page cache that a later power cut takes: sync before relying. */
static int recovered_sync(struct image *im)
{
    int rc = im->cut.phase == IMAGE_SEALED ? env_file_sync(im->journal) : 0;

    if (rc == 0 && im->now.number == 0 && im->cut.phase == IMAGE_IDLE)
        return 0;
    uint64_t generation = im->now.number ? im->now.generation : 1;
    for (unsigned i = 0; rc == 0 && im->main_path && im->now.number && i < 2; i++)
        rc = env_file_sync(im->record[i]); /* moving takes away what the record before it needs */
    if (rc == 0)
        rc = image_place_move(im, generation);
    if (rc == 0)
        rc = image_present_open(im, generation, false);
    return rc == ERR_NOT_FOUND ? ERR_CORRUPT : rc;
}

static int records_settle(struct image *im, const struct image_records *found)
{
    bool equal = found->good[0] && found->good[1] && found->head[0].number == found->head[1].number;
    int rc = 0;

    if (im->now.number ==
        0) /* what a crash left of a first record must not come back beside the next */
        return found->empty[0] ? 0 : image_record_clear(im, 0);
    if (!equal) /* equal: b was begun after a was durable */
        rc = image_record_write(im, 0);
    return rc ? rc : image_record_write(im, 1);
}

/* Something, or somebody, was at the live file: a power cut, a copy put back, a stranger after a crash. Its pages
 * tell. Nothing is repaired here: what he did may be all that is left of something. */
static int main_verify(struct image *im, struct err_text *why)
{
    struct err_text page;

    int rc = image_pages_verify(im, IMAGE_MAIN, &page);
    return rc == 0 ? 0
                   : err_set(why, rc,
                             "%.300s: the file is not as this node left it, another program may "
                             "have changed it. Put it back as it was; or empty the data directory "
                             "and join the cluster again, which then sends everything",
                             page.text);
}

static int main_trust(struct image *im, bool verified, struct err_text *why)
{
    if (!im->live || im->now.number == 0 || image_main_is_known(im))
        return 0;
    int rc = verified ? 0 : main_verify(im, why);
    if (rc)
        return rc;
    rc = image_main_look(im, true);
    for (unsigned i = 0; rc == 0 && i < 2; i++)
        rc = image_record_write(im, i);
    return rc;
}

/* The same where a cut is redone, before its record: a file that is put back as it was must be one that the cut can be
 * redone on once more. */
static int redone_verify(struct image *im, struct err_text *why)
{
    const struct image_moment before = im->now.moment;

    im->now.moment = im->cut.head.moment; /* as it will be, for those who look */
    im->cut.phase = IMAGE_IDLE;
    int rc = image_sums_load(im, IMAGE_MAIN, why);
    if (rc == 0)
        rc = main_verify(im, why);
    im->cut.phase = IMAGE_SEALED;
    im->now.moment = before;
    return rc;
}

static int redo(struct image *im, bool *verified, struct err_text *why)
{
    bool done;

    *verified = im->live && im->now.number != 0;
    int rc = image_cut_write(im, UINT64_MAX, &done);
    if (rc == 0 && *verified)
        rc = image_pages_settle(im, &im->cut.head.moment);
    if (rc)
        return err_set(why, rc, "%s: cannot be recovered: %s", im->dir, err_text_of(rc));
    if (*verified)
        rc = redone_verify(im, why);
    if (rc)
        return rc;
    rc = image_cut_apply(im, UINT64_MAX, &done);
    return rc ? err_set(why, rc, "%s: cannot be recovered: %s", im->dir, err_text_of(rc)) : 0;
}

static int image_recover(struct image *im, struct image_records *found, struct err_text *why)
{
    bool verified = false;

    int rc = record_choose(im, found, why);
    if (rc)
        return rc;
    rc = recovered_sync(im);
    if (rc == ERR_CORRUPT && im->live && !image_main_is_there(im))
        return err_set(why, rc,
                       "%s is missing: it holds the database. Put it back; or empty the data "
                       "directory and join the cluster again, which then sends everything",
                       im->main_path);
    if (rc == 0 && im->cut.phase == IMAGE_SEALED) {
        rc = redo(im, &verified, why);
        if (rc)
            return rc;
    } else if (rc == 0) {
        rc = records_settle(im, found);
    }
    if (rc == 0)
        rc = leftovers_remove(im);
    if (rc)
        return err_set(why, rc, "%s: cannot be recovered: %s", im->dir, err_text_of(rc));
    for (unsigned i = 0; rc == 0 && im->now.number && i < IMAGE_SET_COUNT; i++)
        rc = image_sums_load(im, (enum image_set)i, why);
    return rc ? rc : main_trust(im, verified, why);
}

/* The database opens its file now, not we. */
static void main_lend(struct image *im)
{
    if (!im->live)
        return;
    env_file_close(im->set[IMAGE_MAIN].pages);
    im->set[IMAGE_MAIN].pages = NULL;
}

int image_open_placed(struct env *e, const char *dir, const struct image_place *place,
                      struct image **out, struct err_text *why)
{
    struct image *im = mem_must_zalloc(sizeof(*im));
    struct image_records found = {.good = {false}};

    im->env = e;
    im->dir = mem_strdup(dir);
    ASSERT(im->dir);
    list_init(&im->sends);
    im->live = place->live;
    im->main_path = place->main_path ? mem_strdup(place->main_path) : NULL;
    ASSERT(!place->main_path == !im->main_path && (im->main_path || !im->live));
    int rc = files_open(im, why);
    if (rc == 0)
        rc = image_records_look(im, &found, why);
    if (rc == 0)
        rc = image_recover(im, &found, why);
    if (rc == ERR_CORRUPT && im->now.number != 0) { /* a record is good: both are made so */
        image_cut_fini(im);
        im->damaged = records_settle(im, &found) == 0;
    }
    mem_free(found.state[0]);
    mem_free(found.state[1]);
    *out = NULL;
    if (rc && !im->damaged) {
        image_close(im);
        return rc;
    }
    main_lend(im);
    *out = im;
    return rc;
}

int image_open(struct env *e, const char *dir, struct image **out, struct err_text *why)
{
    static const struct image_place own = {.main_path = NULL};
    return image_open_placed(e, dir, &own, out, why);
}

void image_close(struct image *im)
{
    if (!im)
        return;
    ASSERT(list_empty(&im->sends));
    image_cut_fini(im);
    image_generation_close(im->set);
    env_file_close(im->record[0]);
    env_file_close(im->record[1]);
    env_file_close(im->journal);
    mem_free(im->state);
    mem_free(im->dir);
    mem_free(im->main_path);
    mem_free(im);
}

const struct image_moment *image_now(const struct image *im)
{
    return &im->now.moment;
}

/* ---- pages ------------------------------------------------------------------------------------------------ */

int image_scrub(struct image *im, enum image_set *set, uint32_t *number, uint32_t count,
                struct err_text *why)
{
    uint8_t *page = mem_must_alloc(IMAGE_PAGE_MAX);
    int rc = 0;

    ASSERT(*number >= 1 && *set < IMAGE_SET_COUNT);
    for (; rc == 0 && count > 0; count--) {
        if (*number > im->now.moment.set[*set].page_count) {
            *set = (enum image_set)((*set + 1) % IMAGE_SET_COUNT);
            *number = 1;
            continue;
        }
        rc = image_page_read(im, *set, (*number)++, page, why);
    }
    mem_free(page);
    return rc;
}
