/* test_crash.c — short scripts of cuts and receipts, crashed at every disk operation, with every outcome of
 * what was pending.
 *
 *   script ─► crash at operation k ─┬─ power cut, each subset of pending kept/dropped/torn ─► open, check
 *                                   └─ process crash: open, one more cut ─► crash at j ─► power cut ─► …
 *
 * What must hold: the image opens, every page verifies, and all of it is of one moment: that of the last
 * cut whose seal returned (or receipt whose install did), or of the one under way.
 *
 * The second half takes out one sync after the other and demands that the same search then finds a
 * violation: each sync is needed (one of them against full disks only), and the search can fail. */
#include "image_fixture.h"

enum { SCRIPT_MAX = 5, PENDING_MAX = 400 };

enum op_kind { OP_END, OP_CUT, OP_RECEIVE };
struct op {
    enum op_kind kind;
    uint32_t main, keys, stride;
};
static const struct script {
    const char *name;
    struct op ops[SCRIPT_MAX];
} scripts[] = {
    {"cut and change", {{OP_CUT, 2, 0, 1}, {OP_CUT, 2, 1, 2}}},
    {"shrink and grow", {{OP_CUT, 3, 1, 1}, {OP_CUT, 1, 0, 2}, {OP_CUT, 3, 1, 2}}},
    {"receive first", {{OP_RECEIVE, 3, 1, 1}, {OP_CUT, 3, 1, 2}}},
    {"receive over a cut",
     {{OP_CUT, 2, 0, 1}, {OP_RECEIVE, 3, 1, 1}, {OP_RECEIVE, 1, 0, 1}, {OP_CUT, 2, 0, 2}}},
};
enum { SCRIPT_COUNT = sizeof(scripts) / sizeof(scripts[0]), SCRIPT_RECEIVE = 2 };
static const struct script second = {"one more cut", {{OP_CUT, 3, 1, 2}}};

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
enum doing { DOING_OPEN, DOING_CUT, DOING_RECEIVE };

static struct {
    enum site swallow;
    enum doing doing;
    unsigned prepared; /* syncs of records by this open */
    uint64_t met[SITE_COUNT];
    const struct env_ops *real;
    struct env_ops ops;
    struct {
        struct env_file *file;
        char name[40];
    } open[32];
} tap;

static int tap_open(struct env *e, const char *path, unsigned flags, struct env_file **out)
{
    int rc = tap.real->file_open(e, path, flags, out);
    for (size_t i = 0; rc == 0 && i < 32; i++) {
        if (tap.open[i].file)
            continue;
        tap.open[i].file = *out;
        snprintf(tap.open[i].name, sizeof(tap.open[i].name), "%s", strrchr(path, '/') + 1);
        break;
    }
    return rc;
}

static void tap_close(struct env_file *f)
{
    for (size_t i = 0; i < 32; i++)
        if (tap.open[i].file == f)
            tap.open[i].file = NULL;
    tap.real->file_close(f);
}

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
    if (tap.doing != DOING_OPEN)
        return a ? SITE_RECORD_A : SITE_RECORD_B;
    assert_int_equal(env_file_read(f, magic, sizeof(magic), 0, &got), 0);
    if (magic[0] == 0)
        return a ? SITE_PREPARE_A : SITE_PREPARE_B;
    return a ? SITE_OPEN_A : SITE_OPEN_B;
}

static enum site site_of_file(struct env_file *f)
{
    const char *name = "";
    for (size_t i = 0; i < 32; i++)
        if (tap.open[i].file == f)
            name = tap.open[i].name;
    if (strncmp(name, "record", 6) == 0)
        return site_of_record(f, name[7] == 'a');
    if (strcmp(name, "cut") == 0)
        return tap.doing == DOING_OPEN ? SITE_OPEN_JOURNAL : SITE_JOURNAL;
    bool table = strstr(name, ".sums") != NULL, main = strstr(name, ".main") != NULL;
    if (tap.doing == DOING_RECEIVE)
        return table ? SITE_RECEIVE_TABLE : SITE_RECEIVE_MAIN;
    return table ? SITE_CUT_TABLE : main ? SITE_CUT_MAIN : SITE_CUT_KEYS;
}

static int tap_sync(struct env_file *f)
{
    enum site s = site_of_file(f);
    tap.met[s]++;
    return s == tap.swallow ? 0 : tap.real->file_sync(f);
}

static int tap_dir_sync(struct env *e, const char *path)
{
    enum site s = tap.doing == DOING_RECEIVE ? SITE_INSTALL_NAMES : SITE_FIRST_NAMES;
    tap.met[s]++;
    return s == tap.swallow ? 0 : tap.real->dir_sync(e, path);
}

static struct env *env_make(struct sim_disk *d)
{
    struct env *e = env_sim_create(d, 77);
    tap.real = e->ops;
    tap.ops = *e->ops;
    tap.ops.file_open = tap_open;
    tap.ops.file_close = tap_close;
    tap.ops.file_sync = tap_sync;
    tap.ops.dir_sync = tap_dir_sync;
    e->ops = &tap.ops;
    memset(tap.open, 0, sizeof(tap.open));
    return e;
}

/* ---- one incarnation ---- */

struct belief {
    struct model old, new; /* certain; under way */
};

struct stage {
    struct env *env;
    const struct script *script;
    struct belief *b;
    char violation[300];
};

static struct {
    uint64_t crash_points, cuts, recoveries, exhaustive;
    char violation[700];
    bool found;
} tally;

static void belief_settle(struct stage *st, struct image *im)
{
    const char *old = model_differs(im, &st->b->old), *new = model_differs(im, &st->b->new);

    if (old && new)
        snprintf(st->violation, sizeof(st->violation),
                 "the image is neither before (%s) nor after (%s): index %llu, wanted %llu or %llu",
                 old, new, (unsigned long long)image_now(im)->index,
                 (unsigned long long)st->b->old.index, (unsigned long long)st->b->new.index);
    if (old)
        st->b->old = st->b->new;
    else
        st->b->new = st->b->old;
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

static int receive(struct image *im, const struct model *m)
{
    struct image_receive *r = NULL;
    struct err_text why;
    bool complete = false;

    chunks_make(m);
    int rc = image_receive_begin(im, &r);
    for (size_t i = 0; rc == 0 && i < chunk_count; i++)
        rc = image_receive_chunk(r, slice_of(chunks[i].bytes, chunks[i].len), &complete, &why);
    return rc ? rc : image_receive_install(r);
}

static int op_run(struct image *im, const struct op *op, struct belief *b)
{
    static struct model from;

    from = b->old;
    model_step(&b->new, b->new.index + 1, op->main, op->keys, op->stride);
    if (op->kind == OP_RECEIVE) {
        tap.doing = DOING_RECEIVE;
        int rc = receive(im, &b->new);
        b->old = b->new;
        return rc;
    }
    tap.doing = DOING_CUT;
    int rc = cut_seal(im, &from, &b->new);
    if (rc == 0) {
        b->old = b->new; /* sealed: it will be */
        rc = cut_apply(im, 600);
    }
    return rc;
}

static void stage_main(void *ctx)
{
    struct stage *st = ctx;
    struct err_text why = {""};
    struct image *im = NULL;

    tap.doing = DOING_OPEN;
    int rc = image_open(st->env, DIR, &im, &why);
    if (rc) {
        snprintf(st->violation, sizeof(st->violation), "cannot be opened: %s: %.200s",
                 err_name_of(rc), why.text);
        return;
    }
    belief_settle(st, im);
    for (const struct op *op = st->script ? st->script->ops : NULL;
         op && !st->violation[0] && op->kind != OP_END; op++) {
        rc = op_run(im, op, st->b);
        const char *differs = rc ? err_name_of(rc) : model_differs(im, &st->b->old);
        if (differs) {
            snprintf(st->violation, sizeof(st->violation), "operation failed: %s", differs);
            return;
        }
    }
    image_close(im);
}

static bool stage_run(struct sim_disk *d, const struct script *script, uint64_t k, struct belief *b,
                      char *violation, size_t violation_size)
{
    static struct stage st;
    st = (struct stage){.env = env_make(d), .script = script, .b = b};
    if (k)
        env_sim_crash_at_op(st.env, k);
    bool ended = env_sim_run(st.env, stage_main, &st);
    env_sim_destroy(st.env);
    snprintf(violation, violation_size, "%s", st.violation);
    return ended;
}

/* ---- the search ---- */

static void complain(const char *story, const char *violation)
{
    if (tally.found)
        return;
    tally.found = true;
    snprintf(tally.violation, sizeof(tally.violation), "%.350s: %.300s", story, violation);
}

static uint64_t power_of(uint64_t base, size_t n, uint64_t cap)
{
    uint64_t r = 1;
    while (n-- && r <= cap)
        r *= base;
    return r;
}

static void fates_choose(enum sim_disk_fate *fate, size_t n, uint64_t c, unsigned base,
                         struct prng *p)
{
    static const uint8_t keep[] = {10, 45, 80, 95};
    uint64_t mood = prng_below(p, 4);

    for (size_t i = 0; i < n; i++) {
        uint64_t draw = prng_below(p, 100);
        if (base) {
            fate[i] = (enum sim_disk_fate)(c % base);
            c /= base;
        } else {
            fate[i] = draw < keep[mood] ? SIM_KEEP : draw % 3 == 0 ? SIM_TEAR : SIM_DROP;
        }
    }
}

/* Power cuts on copies of d, each opened: all of kept, dropped and torn if there are at most cap of them,
 * else all of kept and dropped (for up to 12 pending items with cap 256) and some drawn, else cap drawn. */
static void cut_all(const struct sim_disk *d, const struct belief *known, uint64_t cap,
                    const char *story)
{
    static enum sim_disk_fate fate[PENDING_MAX];
    static struct belief b;
    size_t n = sim_disk_pending_count(d);
    uint64_t binary_cap = 16 * cap, ternary = power_of(3, n, cap),
             binary = power_of(2, n, binary_cap);
    unsigned base = ternary <= cap ? 3 : binary <= binary_cap ? 2 : 0;
    uint64_t cases = base == 3 ? ternary : base == 2 ? binary + cap / 4 : cap;
    struct prng p;

    assert_true(n < PENDING_MAX);
    prng_init(&p, prng_mix(n, cap));
    tally.exhaustive += base != 0;
    for (uint64_t c = 0; c < cases && !tally.found; c++) {
        char violation[300], where[500];
        struct sim_disk *cut = sim_disk_clone(d, c + 1);
        sim_disk_config(cut)->profile = c % 2 ? SIM_DISK_WEIRD : SIM_DISK_WRITEBACK;
        bool drawn = base == 0 || (base == 2 && c >= binary);
        fates_choose(fate, n, c, drawn ? 0 : base, &p);
        sim_disk_power_cut_choose(cut, fate);
        b = *known;
        stage_run(cut, NULL, 0, &b, violation, sizeof(violation));
        tally.cuts++;
        tally.recoveries++;
        snprintf(where, sizeof(where), "%s, cut %llu of %llu (%zu pending)", story,
                 (unsigned long long)c, (unsigned long long)cases, n);
        if (violation[0])
            complain(where, violation);
        sim_disk_destroy(cut);
    }
}

static void go_on(const struct sim_disk *d, const struct belief *known, uint64_t cap,
                  const char *story)
{
    bool ended = false;

    for (uint64_t j = 1; !ended && !tally.found; j++) {
        static struct belief b;
        char violation[300], where[400];
        struct sim_disk *again = sim_disk_clone(d, 5);
        b = *known;
        ended = stage_run(again, &second, j, &b, violation, sizeof(violation));
        tally.crash_points++;
        tally.recoveries++;
        snprintf(where, sizeof(where), "%s, then crashed at %llu", story, (unsigned long long)j);
        if (violation[0])
            complain(where, violation);
        cut_all(again, &b, cap, where);
        sim_disk_destroy(again);
    }
}

static struct sim_disk *disk_make(void)
{
    struct sim_disk_config c;
    sim_disk_config_default(&c, 1);
    c.writeback_sectors = PENDING_MAX;
    return sim_disk_create(&c);
}

static void script_search(const struct script *script, uint64_t first, uint64_t cap,
                          uint64_t again_cap)
{
    bool ended = false;

    for (uint64_t k = first; !ended && !tally.found; k++) {
        static struct belief b;
        char violation[300], story[200];
        struct sim_disk *d = disk_make();
        memset(&b, 0, sizeof(b));
        b.old.state_bytes = b.new.state_bytes = 30;
        ended = stage_run(d, script, k, &b, violation, sizeof(violation));
        tally.crash_points++;
        snprintf(story, sizeof(story), "\"%s\" crashed at %llu", script->name,
                 (unsigned long long)k);
        if (violation[0])
            complain(story, violation);
        bool broad = again_cap <= 2; /* everything at some points, something at all */
        cut_all(d, &b, broad && k % 4 ? 9 : cap, story);
        if (!broad || k % 3 == 0)
            go_on(d, &b, again_cap, story);
        sim_disk_destroy(d);
    }
}

/* Operations until the first image is open; crashes among them need to be tried once only. */
static uint64_t creation_ops(void)
{
    static struct belief b;
    char violation[300];
    struct sim_disk *d = disk_make();

    memset(&b, 0, sizeof(b));
    stage_run(d, NULL, 0, &b, violation, sizeof(violation));
    uint64_t ops = sim_disk_ops(d);
    sim_disk_destroy(d);
    return ops;
}

static void test_every_crash_leaves_one_moment(void **state)
{
    (void)state;
    memset(&tally, 0, sizeof(tally));
    tap.swallow = SITE_NONE;
    uint64_t created = creation_ops();
    for (size_t i = 0; i < SCRIPT_COUNT && !tally.found; i++)
        script_search(&scripts[i], i ? created : 1, 256, 2);
    print_message("%llu crash points, %llu power cuts (%llu points with all outcomes tried), %llu "
                  "recoveries\n",
                  (unsigned long long)tally.crash_points, (unsigned long long)tally.cuts,
                  (unsigned long long)tally.exhaustive, (unsigned long long)tally.recoveries);
    if (tally.found)
        fail_msg("%s", tally.violation);
    assert_true(tally.crash_points >= 2000);
    assert_true(tally.cuts >= 15000);
    assert_true(tally.exhaustive >= 1000);
}

static void test_every_sync_is_needed(void **state)
{
    (void)state;
    unsigned missed = 0;

    for (int s = SITE_NONE + 1; s < SITE_COUNT; s++) {
        if (s == SITE_PREPARE_B)
            continue; /* it reserves space: a full disk shows up there */
        memset(&tally, 0, sizeof(tally));
        tap.swallow = (enum site)s;
        tap.met[s] = 0;
        uint64_t created = creation_ops();
        bool cut = s == SITE_OPEN_JOURNAL || s == SITE_JOURNAL || s == SITE_FIRST_NAMES ||
                   (s >= SITE_CUT_MAIN && s <= SITE_CUT_KEYS) || s >= SITE_RECORD_A;
        script_search(&scripts[cut ? 0 : SCRIPT_RECEIVE], created, 81,
                      27); /* where it matters most */
        for (size_t i = 0; i < SCRIPT_COUNT && !tally.found; i++)
            script_search(&scripts[i], created, 81, 27);
        print_message("without the sync of %-36s %s\n", site_text[s],
                      tally.found ? tally.violation : "NOTHING FOUND");
        assert_true(tap.met[s] > 0);
        missed += !tally.found;
    }
    tap.swallow = SITE_NONE;
    chunks_drop();
    assert_int_equal(missed, 0);
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
