/* test_crash.c — short scripts of cuts, receipts and replacements, crashed at every disk operation, with every outcome of
 * what was pending (crash_search.h), also in a second life.
 *
 * What must hold: the image opens, every page verifies, and all of it is of one moment: that of the last
 * cut whose seal returned (or receipt or replacement that did), or of the one under way.
 *
 * The second half takes out one sync after the other and demands that the same search then finds a
 * violation: each sync is needed (one of them against full disks only), and the search can fail. */
#include "image_crash.h"

enum op_kind { OP_END, OP_CUT, OP_RECEIVE, OP_REPLACE };
struct op {
    enum op_kind kind;
    uint32_t main, keys, stride, load; /* REPLACE: main: pages of a file; 0: by the load */
};
#define OPS(...) ((const struct op[]){__VA_ARGS__, {.kind = OP_END}})

static const struct crash_second scripts[] = {
    {"cut and change", OPS({OP_CUT, 2, 0, 1, 0}, {OP_CUT, 2, 1, 2, 0})},
    {"shrink and grow", OPS({OP_CUT, 3, 1, 1, 0}, {OP_CUT, 1, 0, 2, 0}, {OP_CUT, 3, 1, 2, 0})},
    {"receive first", OPS({OP_RECEIVE, 3, 1, 1, 0}, {OP_CUT, 3, 1, 2, 0})},
    {"receive over a cut", OPS({OP_CUT, 2, 0, 1, 0}, {OP_RECEIVE, 3, 1, 1, 0},
                               {OP_RECEIVE, 1, 0, 1, 2}, {OP_CUT, 2, 0, 2, 0})},
    {"replace by a load", OPS({OP_CUT, 2, 1, 1, 1}, {OP_CUT, 2, 1, 2, 3}, {OP_REPLACE, 0, 0, 0, 0},
                              {OP_CUT, 2, 1, 2, 0})},
    {"replace by a file, beside a load", OPS({OP_CUT, 2, 1, 1, 1}, {OP_REPLACE, 2, 0, 0, 0},
                                             {OP_CUT, 3, 1, 2, 2}, {OP_REPLACE, 0, 0, 0, 0})},
};
enum {
    SCRIPT_COUNT = sizeof(scripts) / sizeof(scripts[0]),
    SCRIPT_RECEIVE = 2,
    SCRIPT_REPLACE = 5
};
static const struct crash_second second = {"one more cut", OPS({OP_CUT, 3, 1, 2, 0})};

/* ---- taking out syncs ---- */

#define SITE_TABLE(X)                                                                              \
    X(NONE, "none")                                                                                \
    X(PREPARE_A, "record.a before its first use")                                                  \
    X(PREPARE_B, "record.b before its first use")                                                  \
    X(OPEN_JOURNAL, "journal while opening")                                                       \
    X(JOURNAL, "journal at the seal")                                                              \
    X(FIRST_NAMES, "names of the first generation")                                                \
    X(INSTALL_NAMES, "names of a received generation")                                             \
    X(CUT_MAIN, "pages of a cut")                                                                  \
    X(CUT_TABLE, "checksums of a cut")                                                             \
    X(CUT_KEYS, "pages of the second set of a cut")                                                \
    X(RECEIVE_MAIN, "pages received")                                                              \
    X(RECEIVE_TABLE, "checksums of pages received")                                                \
    X(CUT_LOAD, "pages of a load")                                                                 \
    X(REPLACE_MAIN, "a file that becomes the main set")                                            \
    X(REPLACE_TABLE, "its checksums")                                                              \
    X(REPLACE_NAMES, "names of the generation it makes")                                           \
    X(RECORD_A, "record.a")                                                                        \
    X(RECORD_B, "record.b")                                                                        \
    X(OPEN_A, "record.a while opening")                                                            \
    X(OPEN_B, "record.b while opening")
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
static enum doing { DOING_OPEN, DOING_CUT, DOING_RECEIVE, DOING_REPLACE } doing;

static uint64_t size_of(struct env_file *f)
{
    uint64_t size = 0;
    assert_int_equal(env_file_size(f, &size), 0);
    return size;
}

static enum site site_of_record(struct env_file *f, bool a)
{
    uint8_t magic[8];
    size_t got;
    assert_true(size_of(f) > 0);
    if (doing != DOING_OPEN)
        return a ? SITE_RECORD_A : SITE_RECORD_B;
    assert_int_equal(env_file_read(f, magic, sizeof(magic), 0, &got), 0);
    if (magic[0] == 0)
        return a ? SITE_PREPARE_A : SITE_PREPARE_B;
    return a ? SITE_OPEN_A : SITE_OPEN_B;
}

static int site_of_file(struct env_file *f, const char *name)
{
    if (strncmp(name, "record", 6) == 0)
        return (int)site_of_record(f, name[7] == 'a');
    if (strcmp(name, "cut") == 0)
        return (int)(doing == DOING_OPEN ? SITE_OPEN_JOURNAL : SITE_JOURNAL);
    bool table = strstr(name, ".sums") != NULL, main = strstr(name, ".main") != NULL;
    if (doing == DOING_RECEIVE)
        return table ? SITE_RECEIVE_TABLE : SITE_RECEIVE_MAIN;
    if (doing == DOING_REPLACE)
        return table ? SITE_REPLACE_TABLE : SITE_REPLACE_MAIN;
    if (strstr(name, ".load"))
        return SITE_CUT_LOAD;
    return table ? SITE_CUT_TABLE : main ? SITE_CUT_MAIN : SITE_CUT_KEYS;
}

static int site_of_dir(const char *path)
{
    (void)path;
    return doing == DOING_RECEIVE   ? SITE_INSTALL_NAMES
           : doing == DOING_REPLACE ? SITE_REPLACE_NAMES
                                    : SITE_FIRST_NAMES;
}

static struct crash_syncs syncs = {.site_of_file = site_of_file, .site_of_dir = site_of_dir};

/* ---- one life ---- */

static int receive(struct image *im, const struct model *m)
{
    struct image_receive *r = NULL;
    struct err_text why;
    bool complete = false;

    chunks_make(m);
    int rc = image_receive_begin(im, &r);
    for (size_t i = 0; rc == 0 && i < chunk_count; i++)
        rc = image_receive_chunk(r, slice_of(chunks[i].bytes, chunks[i].len), &complete, &why);
    if (rc == 0)
        rc = image_receive_settle(r);
    return rc ? rc : image_receive_install(r);
}

static int op_run(struct env *e, struct image *im, const struct op *op, struct belief *b)
{
    static struct model from;

    from = b->old;
    if (op->kind == OP_REPLACE) {
        doing = DOING_REPLACE;
        model_replace(&b->new, b->new.index + 1, op->main);
        int rc = replace(e, im, &b->new, "n1/made", op->main);
        b->old = b->new;
        return rc;
    }
    const uint32_t count[IMAGE_SET_COUNT] = {op->main, op->keys, op->load};
    model_step_all(&b->new, b->new.index + 1, count, op->stride);
    if (op->kind == OP_RECEIVE) {
        doing = DOING_RECEIVE;
        int rc = receive(im, &b->new);
        b->old = b->new;
        return rc;
    }
    doing = DOING_CUT;
    int rc = cut_seal(im, &from, &b->new);
    if (rc == 0) {
        b->old = b->new; /* sealed: it will be */
        rc = cut_apply(im, 600);
    }
    return rc;
}

static void life(struct crash_life *l)
{
    struct belief *b = l->belief;
    struct err_text why = {""};
    struct image *im = NULL;

    doing = DOING_OPEN;
    int rc = image_open(l->env, DIR, &im, &why);
    if (rc) {
        crash_violation(l, "cannot be opened: %s: %.200s", err_name_of(rc), why.text);
        return;
    }
    belief_settle(l, im);
    for (const struct op *op = l->ops; op && !l->violation[0] && op->kind != OP_END; op++) {
        rc = op_run(l->env, im, op, b);
        const char *differs = rc ? err_name_of(rc) : model_differs(im, &b->old);
        if (differs) {
            crash_violation(l, "operation failed: %s", differs);
            return;
        }
    }
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
    plan.cut_every = broad ? 4 : 1;
    plan.seconds[0] = second;
    plan.second_every = broad ? 3 : 1;
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
    crash_search_judge(&s, 2000, 15000, 1000);
}

static bool site_exempt(int site)
{
    return site == SITE_PREPARE_B; /* it reserves space: a full disk shows up there */
}

/* Where the sync matters most comes first. */
static void search_without(struct crash_search *s, int site)
{
    uint64_t created = crash_creation_ops(s);
    bool cut = site == SITE_OPEN_JOURNAL || site == SITE_JOURNAL || site == SITE_FIRST_NAMES ||
               (site >= SITE_CUT_MAIN && site <= SITE_CUT_KEYS) || site >= SITE_RECORD_A;

    bool replaces = site >= SITE_CUT_LOAD && site <= SITE_REPLACE_NAMES;

    script_search(s, replaces ? SCRIPT_REPLACE : cut ? 0 : SCRIPT_RECEIVE, created, false);
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
