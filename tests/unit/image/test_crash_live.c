/* test_crash_live.c — as test_crash.c, for an image whose main set is the file of a live database: cuts, receipts and
 * starts in the other mode, crashed at every disk operation, with every outcome of what was pending.
 *
 * The database is a stand-in that keeps its rules: it makes its file when there is no image, writes some pages of a
 * sealed cut by itself, in no order, without a sync, and leaves the others to the image. */
#include "image_crash.h"

#define MAIN "n1/db.sqlite"

enum op_kind { OP_END, OP_CUT, OP_RECEIVE, OP_OWN, OP_REPLACE };
struct op {
    enum op_kind kind; /* OWN, first: this life keeps the pages in the image's own file */
    uint32_t main, keys, stride, load; /* REPLACE: main: pages of a file; 0: by the load */
};
#define OPS(...) ((const struct op[]){__VA_ARGS__, {.kind = OP_END}})

static const struct crash_second scripts[] = {
    {"cut and change", OPS({OP_CUT, 2, 0, 1, 0}, {OP_CUT, 2, 1, 2, 0})},
    {"shrink and grow", OPS({OP_CUT, 3, 1, 1, 0}, {OP_CUT, 1, 0, 2, 0}, {OP_CUT, 3, 1, 2, 0})},
    {"receive first", OPS({OP_RECEIVE, 3, 1, 1, 0}, {OP_CUT, 3, 1, 2, 0})},
    {"receive over a cut",
     OPS({OP_CUT, 2, 0, 1, 0}, {OP_RECEIVE, 3, 1, 1, 0}, {OP_CUT, 2, 0, 2, 0})},
    {"replace by a load",
     OPS({OP_CUT, 2, 1, 1, 3}, {OP_REPLACE, 0, 0, 0, 0}, {OP_CUT, 4, 1, 2, 0})},
    {"replace by a file",
     OPS({OP_CUT, 2, 1, 1, 0}, {OP_REPLACE, 3, 0, 0, 0}, {OP_CUT, 4, 1, 2, 0})},
    {"begin in the other mode",
     OPS({OP_OWN, 0, 0, 0, 0}, {OP_CUT, 2, 0, 1, 0}, {OP_CUT, 2, 1, 2, 0})},
};
enum { SCRIPT_COUNT = sizeof(scripts) / sizeof(scripts[0]), SCRIPT_RECEIVE = 2, SCRIPT_OWN = 6 };
static const struct crash_second seconds[] = {
    {"one more cut", OPS({OP_CUT, 3, 1, 2, 0})},
    {"in the other mode", OPS({OP_OWN, 0, 0, 0, 0}, {OP_CUT, 3, 1, 2, 0})},
};

/* ---- taking out syncs ---- */

#define SITE_TABLE(X)                                                                              \
    X(NONE, "none")                                                                                \
    X(OPEN_JOURNAL, "journal while opening")                                                       \
    X(JOURNAL, "journal at the seal")                                                              \
    X(FIRST_NAMES, "names of the first generation")                                                \
    X(FIRST_MAIN, "name of the live file, before the first cut")                                   \
    X(CUT_MAIN, "the live file, in a cut")                                                         \
    X(REDO_MAIN, "the live file, in a cut that is done again")                                     \
    X(PLACE, "new name of a file that is moved")                                                   \
    X(RECEIVED_NAMES, "names of a received generation")                                            \
    X(REPLACE_NAMES, "names of the generation that another file makes")                            \
    X(RECORD_A, "record.a")                                                                        \
    X(RECORD_B, "record.b")
enum site {
#define SITE_ENUM(name, text) SITE_##name,
    SITE_TABLE(SITE_ENUM)
#undef SITE_ENUM
        SITE_COUNT
};
static const char *const site_text[] = {
#define SITE_TEXT(name, text) text,
    SITE_TABLE(SITE_TEXT)
#undef SITE_TEXT
};
static enum doing { DOING_OPEN, DOING_CUT, DOING_RECEIVE, DOING_PLACE, DOING_REPLACE } doing;

static int site_of_file(struct env_file *f, const char *name)
{
    (void)f;
    if (strcmp(name, "cut") == 0)
        return doing == DOING_OPEN ? SITE_OPEN_JOURNAL : SITE_JOURNAL;
    if (strcmp(name, "db.sqlite") == 0)
        return doing == DOING_OPEN ? SITE_REDO_MAIN : SITE_CUT_MAIN;
    if (doing == DOING_CUT && strncmp(name, "record", 6) == 0)
        return name[7] == 'a' ? SITE_RECORD_A : SITE_RECORD_B;
    return SITE_NONE;
}

static int site_of_dir(const char *path)
{
    bool beside = strcmp(path, "n1") == 0;

    if (doing == DOING_CUT)
        return beside ? SITE_FIRST_MAIN : SITE_FIRST_NAMES;
    if (doing == DOING_RECEIVE)
        return SITE_RECEIVED_NAMES;
    if (doing == DOING_REPLACE)
        return SITE_REPLACE_NAMES;
    return SITE_PLACE;
}

static struct crash_syncs syncs = {.site_of_file = site_of_file, .site_of_dir = site_of_dir};

/* ---- the database ---- */

static struct { /* of the life under way */
    struct env *env;
    struct env_file *file;
    bool copied[PAGES_MAX + 1];
} database;

static int db_read(void *ctx, void *dst, size_t len, uint64_t offset, size_t *got)
{
    (void)ctx;
    return env_file_read(database.file, dst, len, offset, got);
}

static int db_write(void *ctx, uint32_t number, const void *bytes, size_t len)
{
    (void)ctx;
    if (database.copied[number])
        return 0;
    return env_file_write(database.file, bytes, len, (uint64_t)(number - 1) * len);
}

static int db_settle(void *ctx, uint64_t size)
{
    uint64_t now;
    (void)ctx;
    int rc = env_file_size(database.file, &now);
    if (rc == 0 && now < size)
        rc = env_file_truncate(database.file, size);
    return rc ? rc : env_file_sync(database.file);
}

static int db_begin(struct image *im)
{
    static const uint8_t first_page[512] = "made before there was an image";
    const struct image_live live = {.read = db_read, .write = db_write, .settle = db_settle};
    bool fresh = image_now(im)->index == 0;
    int rc = 0;

    if (fresh)
        rc = env_file_remove(database.env, MAIN);
    if (rc == ERR_NOT_FOUND)
        rc = 0;
    if (rc == 0)
        rc = env_file_open(database.env, MAIN, fresh ? ENV_FILE_CREATE : 0, &database.file);
    if (rc == 0 && fresh)
        rc = env_file_write(database.file, first_page, sizeof(first_page), 0);
    if (rc == 0)
        image_live_begin(im, &live);
    return rc;
}

static void db_end(struct image *im)
{
    image_live_end(im);
    env_file_close(database.file);
    database.file = NULL;
}

/* A checkpoint: of the changed pages every second one, the last ones first. */
static int db_copy(const struct model *from, const struct model *to)
{
    static uint8_t page[IMAGE_PAGE_MAX];
    uint32_t bytes = to->page_bytes[0];
    int rc = 0;

    memset(database.copied, 0, sizeof(database.copied));
    for (uint32_t n = to->count[0]; rc == 0 && n >= 1; n--) {
        if (n % 2 || (n <= from->count[0] && from->version[0][n - 1] == to->version[0][n - 1]))
            continue;
        page_make(page, 0, n, to->version[0][n - 1], bytes);
        rc = env_file_write(database.file, page, bytes, (uint64_t)(n - 1) * bytes);
        database.copied[n] = true;
    }
    return rc;
}

/* ---- one life ---- */

static int receive(struct image *im, struct belief *b)
{
    struct image_receive *r = NULL;
    struct err_text why;
    bool complete = false;

    chunks_make(&b->new);
    doing = DOING_RECEIVE;
    int rc = image_receive_begin(im, &r);
    for (size_t i = 0; rc == 0 && i < chunk_count; i++)
        rc = image_receive_chunk(r, slice_of(chunks[i].bytes, chunks[i].len), &complete, &why);
    if (rc == 0)
        rc = image_receive_settle(r);
    if (rc == 0)
        rc = image_receive_install(r);
    b->old = b->new;
    doing = DOING_PLACE;
    db_end(im);
    if (rc == 0)
        rc = image_place_settle(im, &why);
    return rc ? rc : db_begin(im);
}

static int put_in_place(struct env *e, struct image *im, struct belief *b, uint32_t file_pages)
{
    struct err_text why;

    model_replace(&b->new, b->new.index + 1, file_pages);
    db_end(im);
    doing = DOING_REPLACE;
    int rc = replace(e, im, &b->new, "n1/made", file_pages);
    b->old = b->new;
    doing = DOING_PLACE;
    if (rc == 0)
        rc = image_place_settle(im, &why);
    return rc ? rc : db_begin(im);
}

static int cut(struct image *im, struct belief *b, bool live)
{
    static struct model from;

    doing = DOING_CUT;
    from = b->old;
    int rc = cut_seal(im, &from, &b->new);
    if (rc)
        return rc;
    b->old = b->new; /* sealed: it will be */
    if (live)
        rc = db_copy(&from, &b->new);
    return rc ? rc : cut_apply(im, 600);
}

static void life(struct crash_life *l)
{
    struct belief *b = l->belief;
    struct err_text why = {""};
    struct image *im = NULL;
    const struct op *op = l->ops;
    struct image_place place = {.main_path = MAIN, .live = !op || op->kind != OP_OWN};

    doing = DOING_OPEN;
    memset(&database, 0, sizeof(database));
    database.env = l->env;
    int rc = image_open_placed(l->env, DIR, &place, &im, &why);
    if (rc == 0 && place.live)
        rc = db_begin(im);
    if (rc) {
        crash_violation(l, "cannot be opened: %s: %.200s", err_name_of(rc), why.text);
        return;
    }
    belief_settle(l, im);
    for (op = op && op->kind == OP_OWN ? op + 1 : op; op && !l->violation[0] && op->kind != OP_END;
         op++) {
        if (op->kind == OP_REPLACE) {
            rc = put_in_place(l->env, im, b, op->main);
        } else {
            const uint32_t count[IMAGE_SET_COUNT] = {op->main, op->keys, op->load};
            model_step_all(&b->new, b->new.index + 1, count, op->stride);
            rc = op->kind == OP_RECEIVE ? receive(im, b) : cut(im, b, place.live);
        }
        const char *differs = rc ? err_name_of(rc) : model_differs(im, &b->old);
        if (differs) {
            crash_violation(l, "operation failed: %s", differs);
            return;
        }
    }
    if (place.live)
        db_end(im);
    image_close(im);
}

/* ---- the search ---- */

static const struct belief empty = {.old.state_bytes = 30, .new.state_bytes = 30};
static const struct crash_search search_begin = {
    .live = life, .belief_bytes = sizeof(struct belief), .belief_first = &empty, .syncs = &syncs};

/* broad: everything at some points, something at all. */
static void script_search(struct crash_search *s, size_t i, uint64_t first, bool broad)
{
    struct crash_plan plan = {.name = scripts[i].name, .ops = scripts[i].ops, .first = first};

    plan.cut = broad ? (struct crash_effort){256, 4096} : (struct crash_effort){81, 1296};
    plan.cut_rest = (struct crash_effort){9, 144};
    plan.cut_every = broad ? 6 : 1;
    plan.seconds[0] = seconds[0];
    plan.seconds[1] = seconds[1];
    plan.second_every = broad ? 5 : 2;
    plan.second_cut = broad ? (struct crash_effort){2, 32} : (struct crash_effort){27, 432};
    crash_script_search(s, &plan);
}

static void test_every_crash_leaves_one_moment(void **state)
{
    struct crash_search s = search_begin;

    (void)state;
    uint64_t created = crash_creation_ops(&s);
    for (size_t i = 0; i < SCRIPT_COUNT && !s.found; i++)
        script_search(&s, i, i ? created : 1, true);
    crash_search_judge(&s, 1000, 6000, 300);
}

static bool site_exempt(int site)
{
    (void)site;
    return false;
}

/* Where the sync matters most comes first. */
static void search_without(struct crash_search *s, int site)
{
    uint64_t created = crash_creation_ops(s);
    size_t first = site == SITE_RECEIVED_NAMES ? SCRIPT_RECEIVE
                   : site == SITE_PLACE        ? SCRIPT_OWN
                                               : 0;

    script_search(s, first, created, false);
    for (size_t i = 0; i < SCRIPT_COUNT && !s->found; i++)
        script_search(s, i, created, false);
}

static void test_every_sync_is_needed(void **state)
{
    struct crash_search s = search_begin;

    (void)state;
    crash_syncs_judge(&s, site_text, SITE_COUNT, site_exempt, search_without);
    chunks_drop();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_crash_leaves_one_moment),
        cmocka_unit_test(test_every_sync_is_needed),
    };
    setvbuf(stdout, NULL, _IOLBF, 0);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
