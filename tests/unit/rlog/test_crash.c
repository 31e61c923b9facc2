/* test_crash.c — short scripts, crashed at every disk operation, with every outcome of what was pending.
 *
 *   script ─► crash at operation k ─┬─ power cut, each subset of pending kept/dropped/torn ─► recover, check
 *                                   └─ process crash: recover, go on with a second script ─► crash at j
 *                                        (or none) ─► power cut, subsets ─► recover, check
 *
 * What must hold: the log opens; what was acknowledged is there exactly; the interrupted call happened
 * wholly or not at all; what a restarted process was told stays true after a later power cut; nothing
 * that was replaced comes back.
 *
 * The second half takes out one sync after the other and demands that the same search then finds a
 * violation: each sync is needed, and the search can fail. */
#include "rlog_fixture.h"

enum { SEGMENT = 4096, STORE = 0x5151, SCRIPT_MAX = 7, PENDING_MAX = 400 };

/* ---- scripts ---- */

enum op_kind { OP_END, OP_APPEND, OP_CUT, OP_HARD, OP_IDENTITY, OP_MARK, OP_COMPACT, OP_RESET };
struct op {
    enum op_kind kind;
    uint64_t index; /* APPEND, CUT: first, 0: behind the last. MARK, COMPACT, RESET: 0: last */
    uint64_t term;  /* HARD: 0: one more */
    uint32_t count, bytes;
};
struct script {
    const char *name;
    struct op ops[SCRIPT_MAX];
};

static const struct script scripts[] = {
    {"append", {{OP_APPEND, 0, 1, 2, 100}, {OP_APPEND, 0, 1, 1, 700}, {OP_APPEND, 0, 2, 3, 0}}},
    {"replace by an equally long one",
     {{OP_APPEND, 0, 1, 2, 100},
      {OP_APPEND, 0, 3, 2, 100},
      {OP_APPEND, 3, 2, 1, 100},
      {OP_APPEND, 0, 4, 1, 900}}},
    {"cut only",
     {{OP_APPEND, 0, 1, 4, 150},
      {OP_CUT, 3, 0, 0, 0},
      {OP_APPEND, 0, 2, 1, 150},
      {OP_CUT, 1, 0, 0, 0}}},
    {"hard state",
     {{OP_HARD, 0, 1, 7, 0},
      {OP_HARD, 0, 1, 8, 0},
      {OP_IDENTITY, 0, 0, 99, 0},
      {OP_HARD, 0, 5, 0, 0}}},
    {"marks and hard state",
     {{OP_APPEND, 0, 1, 1, 90},
      {OP_MARK, 0, 0, 0, 0},
      {OP_HARD, 0, 2, 3, 0},
      {OP_APPEND, 0, 2, 1, 90},
      {OP_MARK, 0, 0, 0, 0},
      {OP_APPEND, 1, 3, 1, 90}}},
    {"segment after segment",
     {{OP_APPEND, 0, 1, 1, 2500}, {OP_APPEND, 0, 1, 1, 2500}, {OP_APPEND, 2, 2, 1, 2500}}},
    {"an entry larger than a segment", {{OP_APPEND, 0, 1, 1, 9000}, {OP_APPEND, 0, 1, 1, 60}}},
    {"compact and recycle",
     {{OP_APPEND, 0, 1, 1, 3000},
      {OP_APPEND, 0, 1, 1, 3000},
      {OP_APPEND, 0, 1, 1, 3000},
      {OP_COMPACT, 2, 0, 0, 0},
      {OP_APPEND, 0, 2, 1, 3000},
      {OP_APPEND, 0, 2, 1, 100}}},
    {"compact more than the spares",
     {{OP_APPEND, 0, 1, 1, 3000},
      {OP_APPEND, 0, 1, 1, 3000},
      {OP_APPEND, 0, 1, 1, 3000},
      {OP_APPEND, 0, 1, 1, 3000},
      {OP_COMPACT, 3, 0, 0, 0},
      {OP_APPEND, 0, 2, 1, 3000}}},
    {"reset",
     {{OP_APPEND, 0, 1, 2, 1500},
      {OP_APPEND, 0, 1, 1, 2500},
      {OP_RESET, 50, 4, 0, 0},
      {OP_APPEND, 0, 5, 1, 80}}},
};
enum { SCRIPT_COUNT = sizeof(scripts) / sizeof(scripts[0]), SCRIPT_HARD = 3, SCRIPT_MARKS = 4 };

/* What a restarted process does next; valid in any state. */
static const struct script seconds[] = {
    {"append and vote", {{OP_APPEND, 0, 9, 1, 300}, {OP_HARD, 0, 0, 1, 0}}},
    {"roll over and compact",
     {{OP_APPEND, 0, 9, 1, 3500}, {OP_APPEND, 0, 9, 1, 3500}, {OP_COMPACT, 0, 0, 0, 0}}},
};
enum { SECOND_COUNT = sizeof(seconds) / sizeof(seconds[0]) };

/* ---- taking out syncs ---- */

#define SITE_TABLE(X)                                                                              \
    X(NONE, "none")                                                                                \
    X(CREATE_A, "hard.a before it gets its name")                                                  \
    X(CREATE_B, "hard.b before it gets its name")                                                  \
    X(CREATE_NAMES, "names of the hard copies")                                                    \
    X(SEGMENT_HEAD, "a segment before it gets its name")                                           \
    X(SEGMENT_NAME, "name of a new segment")                                                       \
    X(SEGMENT_GONE, "name of a dropped segment")                                                   \
    X(BATCH, "batch")                                                                              \
    X(SAVE_A, "hard.a in a save")                                                                  \
    X(SAVE_B, "hard.b in a save")                                                                  \
    X(OPEN_A, "hard.a while recovering")                                                           \
    X(OPEN_B, "hard.b while recovering")                                                           \
    X(OPEN_TAIL, "last segment while recovering")                                                  \
    X(OPEN_NAMES, "names while recovering")
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

static struct {
    enum site swallow;
    bool opening;
    enum site names; /* the last change of names was of this kind; NONE: none since the last sync */
    uint64_t met[SITE_COUNT];
    const struct env_ops *real;
    struct env_ops ops;
    struct {
        struct env_file *file;
        char name[32];
    } open[64];
} tap;

static const char *name_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static int tap_open(struct env *e, const char *path, unsigned flags, struct env_file **out)
{
    int rc = tap.real->file_open(e, path, flags, out);
    for (size_t i = 0; rc == 0 && i < 64; i++) {
        if (tap.open[i].file)
            continue;
        tap.open[i].file = *out;
        snprintf(tap.open[i].name, sizeof(tap.open[i].name), "%s", name_of(path));
        break;
    }
    return rc;
}

static void tap_close(struct env_file *f)
{
    for (size_t i = 0; i < 64; i++)
        if (tap.open[i].file == f)
            tap.open[i].file = NULL;
    tap.real->file_close(f);
}

static int tap_rename(struct env *e, const char *from, const char *to)
{
    int rc = tap.real->file_rename(e, from, to);
    for (size_t i = 0; rc == 0 && i < 64; i++)
        if (tap.open[i].file && strcmp(tap.open[i].name, name_of(from)) == 0)
            snprintf(tap.open[i].name, sizeof(tap.open[i].name), "%s", name_of(to));
    if (strncmp(name_of(to), "hard", 4) == 0)
        tap.names = SITE_CREATE_NAMES;
    else
        tap.names = strncmp(name_of(to), "spare", 5) == 0 ? SITE_SEGMENT_GONE : SITE_SEGMENT_NAME;
    return rc;
}

static int tap_remove(struct env *e, const char *path)
{
    if (strstr(path, ".seg"))
        tap.names = SITE_SEGMENT_GONE;
    return tap.real->file_remove(e, path);
}

static enum site site_of_file(const struct env_file *f)
{
    const char *name = "";
    for (size_t i = 0; i < 64; i++)
        if (tap.open[i].file == f)
            name = tap.open[i].name;
    if (strcmp(name, "hard.a.new") == 0)
        return SITE_CREATE_A;
    if (strcmp(name, "hard.b.new") == 0)
        return SITE_CREATE_B;
    if (strncmp(name, "spare", 5) == 0)
        return SITE_SEGMENT_HEAD;
    if (strcmp(name, "hard.a") == 0)
        return tap.opening ? SITE_OPEN_A : SITE_SAVE_A;
    if (strcmp(name, "hard.b") == 0)
        return tap.opening ? SITE_OPEN_B : SITE_SAVE_B;
    assert_non_null(strstr(name, ".seg"));
    return tap.opening ? SITE_OPEN_TAIL : SITE_BATCH;
}

static int tap_sync(struct env_file *f)
{
    enum site s = site_of_file(f);
    tap.met[s]++;
    return s == tap.swallow ? 0 : tap.real->file_sync(f);
}

static int tap_dir_sync(struct env *e, const char *path)
{
    enum site s = tap.names != SITE_NONE ? tap.names : SITE_OPEN_NAMES;
    tap.names = SITE_NONE;
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
    tap.ops.file_rename = tap_rename;
    tap.ops.file_remove = tap_remove;
    tap.ops.file_sync = tap_sync;
    tap.ops.dir_sync = tap_dir_sync;
    e->ops = &tap.ops;
    memset(tap.open, 0, sizeof(tap.open));
    tap.names = SITE_NONE;
    tap.opening = false;
    return e;
}

/* ---- one incarnation ---- */

/* What is known of the log: at least `old`, perhaps `new` (the call that was interrupted). */
struct belief {
    struct model_log log_old, log_new;
    struct model_hard hard_old, hard_new;
    bool opened; /* an open returned once: identity is fixed */
};

struct stage {
    struct env *env;
    const struct script *script;
    struct belief *b;
    char violation[300]; /* empty: none */
    struct seen seen;
};

static struct {
    uint64_t crash_points, cuts, recoveries, exhaustive;
    char violation[600];
    bool found;
} tally;

static void belief_settle(struct stage *st)
{
    struct belief *b = st->b;
    const char *old = model_differs(&b->log_old, &st->seen),
               *new = model_differs(&b->log_new, &st->seen);

    if (old && new) {
        snprintf(st->violation, sizeof(st->violation),
                 "log is neither before (%s) nor after (%s); last %llu, wanted %llu or %llu", old,
                 new, (unsigned long long)st->seen.found.last_index,
                 (unsigned long long)b->log_old.last, (unsigned long long)b->log_new.last);
    } else if (!hard_same(&b->hard_old, &st->seen.found) &&
               !hard_same(&b->hard_new, &st->seen.found)) {
        snprintf(st->violation, sizeof(st->violation),
                 "hard state is neither before nor after: term %llu vote %llu",
                 (unsigned long long)st->seen.found.hard.term,
                 (unsigned long long)st->seen.found.hard.vote);
    } else if (b->opened && (st->seen.found.fresh || st->seen.found.identity.store_id != STORE)) {
        snprintf(st->violation, sizeof(st->violation), "identity lost");
    }
    /* Told once, true for ever. */
    if (old)
        b->log_old = b->log_new;
    else
        b->log_new = b->log_old;
    if (hard_same(&b->hard_new, &st->seen.found))
        b->hard_old = b->hard_new;
    else
        b->hard_new = b->hard_old;
    b->opened = true;
}

static int op_run(struct rlog *l, const struct op *op, struct belief *b, uint32_t salt)
{
    struct model_log *m = &b->log_new;
    struct wire_entry entries[8];
    uint64_t index = op->index ? op->index : m->last;

    switch (op->kind) {
    case OP_APPEND: {
        struct model_entry e = {.term = op->term, .salt = salt, .bytes = op->bytes};
        uint64_t first = op->index ? op->index : m->last + 1;
        model_append(m, first, &e, op->count, entries);
        return rlog_append(l, first, entries, op->count);
    }
    case OP_CUT:
        m->last = op->index - 1;
        return rlog_append(l, op->index, NULL, 0);
    case OP_HARD:
        b->hard_new.hard.term = op->term ? op->term : b->hard_old.hard.term + 1;
        b->hard_new.hard.vote = op->count;
        return rlog_hard_save(l, &b->hard_new.hard);
    case OP_IDENTITY:
        b->hard_new.cluster_id = op->count;
        return rlog_identity_save(l, op->count);
    case OP_MARK:
        return rlog_mark(l, index);
    case OP_COMPACT:
        m->compacted = index;
        b->log_old.compacted = index; /* may be gone from the moment of the call */
        return rlog_compact(l, index, model_term(m, index));
    case OP_RESET:
        *m = (struct model_log){
            .base = index, .base_term = op->term, .compacted = index, .last = index};
        return rlog_reset(l, index, op->term);
    case OP_END:
        break;
    }
    return ERR_INVALID;
}

static void stage_main(void *ctx)
{
    struct stage *st = ctx;
    struct rlog_config config = {.dir = DIR, .segment_bytes = SEGMENT, .spare_count = 1};
    struct err_text why = {""};
    struct rlog *l = NULL;

    tap.opening = true;
    memset(&st->seen, 0, sizeof(st->seen));
    int rc = rlog_open(st->env, &config, STORE, seen_visit, &st->seen, &st->seen.found, &l, &why);
    tap.opening = false;
    if (rc) {
        snprintf(st->violation, sizeof(st->violation), "cannot be opened: %s: %.200s",
                 err_name_of(rc), why.text);
        return;
    }
    belief_settle(st);
    for (const struct op *op = st->script ? st->script->ops : NULL;
         op && !st->violation[0] && op->kind != OP_END; op++) {
        rc = op_run(l, op, st->b, (uint32_t)(op - st->script->ops));
        if (rc) {
            snprintf(st->violation, sizeof(st->violation), "operation failed: %s", err_name_of(rc));
            return;
        }
        rlog_check(l);
        st->b->log_old = st->b->log_new;
        st->b->hard_old = st->b->hard_new;
    }
    rlog_close(l);
}

/* Open d, run the script (may be NULL), crash at disk operation k (0: not at all; then the end is a
 * process crash too: nothing is settled). true: it ran to its end. */
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
    snprintf(tally.violation, sizeof(tally.violation), "%.250s: %.300s", story, violation);
}

static void fates_of_case(enum sim_disk_fate *fate, size_t n, uint64_t c, unsigned base)
{
    for (size_t i = 0; i < n; i++, c /= base)
        fate[i] = (enum sim_disk_fate)(c % base);
}

static void fates_sampled(enum sim_disk_fate *fate, size_t n, struct prng *p)
{
    uint64_t mood = prng_below(p, 4);
    for (size_t i = 0; i < n; i++) {
        uint64_t draw = prng_below(p, 100);
        static const uint8_t keep[] = {10, 45, 80, 95};
        fate[i] = draw < keep[mood] ? SIM_KEEP : draw % 3 == 0 ? SIM_TEAR : SIM_DROP;
    }
}

static uint64_t power_of(uint64_t base, size_t n, uint64_t cap)
{
    uint64_t r = 1;
    while (n-- && r <= cap)
        r *= base;
    return r;
}

/* Cut the power on copies of d and recover each: with every choice of kept, dropped and torn if there
 * are at most cap of them, else every choice of kept and dropped and some with tears, else cap drawn
 * ones. With cap 256: all of kept and dropped for up to 12 pending items. */
static void cut_all(const struct sim_disk *d, const struct belief *known, uint64_t cap,
                    const char *story)
{
    size_t n = sim_disk_pending_count(d);
    static enum sim_disk_fate fate[PENDING_MAX];
    uint64_t binary_cap = cap >= 256 ? 16 * cap : cap;
    uint64_t ternary = power_of(3, n, cap), binary = power_of(2, n, binary_cap);
    unsigned base = ternary <= cap ? 3 : binary <= binary_cap ? 2 : 0;
    uint64_t cases = base == 3 ? ternary : base == 2 ? binary + cap / 4 : cap;
    struct prng p;

    assert_true(n < PENDING_MAX);
    prng_init(&p, prng_mix(n, cap));
    tally.exhaustive += base != 0;
    for (uint64_t c = 0; c < cases && !tally.found; c++) {
        static struct belief b;
        char violation[300], where[400];
        struct sim_disk *cut = sim_disk_clone(d, c + 1);
        sim_disk_config(cut)->profile = c % 2 ? SIM_DISK_WEIRD : SIM_DISK_WRITEBACK;
        if (base == 3 || (base == 2 && c < binary))
            fates_of_case(fate, n, c, base);
        else if (c < 2)
            fates_of_case(fate, n, c ? UINT64_MAX : 0, 2);
        else
            fates_sampled(fate, n, &p);
        sim_disk_power_cut_choose(cut, fate);
        b = *known;
        stage_run(cut, NULL, 0, &b, violation, sizeof(violation));
        tally.cuts++;
        tally.recoveries++;
        if (violation[0]) {
            snprintf(where, sizeof(where), "%s, cut %llu of %llu (%zu pending)", story,
                     (unsigned long long)c, (unsigned long long)cases, n);
            complain(where, violation);
        }
        sim_disk_destroy(cut);
    }
}

/* The process comes back on d, runs `second`, crashes at each operation; then the power goes. */
static void go_on(const struct sim_disk *d, const struct belief *known, const struct script *second,
                  uint64_t cap, const char *story)
{
    bool ended = false;

    for (uint64_t j = 1; !ended && !tally.found; j++) {
        static struct belief b;
        char violation[300], where[300];
        struct sim_disk *again = sim_disk_clone(d, 5);
        b = *known;
        ended = stage_run(again, second, j, &b, violation, sizeof(violation));
        tally.crash_points++;
        tally.recoveries++;
        snprintf(where, sizeof(where), "%s, then \"%s\" crashed at %llu", story, second->name,
                 (unsigned long long)j);
        if (violation[0])
            complain(where, violation);
        cut_all(again, &b, cap, where);
        sim_disk_destroy(again);
    }
}

/* After one power cut (seeded), recovery itself is crashed at each operation, and the power cut again. */
static void recover_again(const struct sim_disk *d, const struct belief *known, uint64_t cap,
                          const char *story)
{
    struct sim_disk *cut = sim_disk_clone(d, 3);
    char where[300];

    sim_disk_config(cut)->profile = SIM_DISK_NO_BARRIER;
    sim_disk_power_cut(cut);
    snprintf(where, sizeof(where), "%s, power cut", story);
    go_on(cut, known, &seconds[0], cap, where);
    sim_disk_destroy(cut);
}

static struct sim_disk *disk_make(void)
{
    struct sim_disk_config c;
    sim_disk_config_default(&c, 1);
    c.writeback_sectors = PENDING_MAX;
    return sim_disk_create(&c);
}

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

/* cap: outcomes tried per power cut; again_cap: after a second incarnation. */
static void script_search(const struct script *script, uint64_t cap, uint64_t again_cap)
{
    /* Creation is the same for all: its crash points are tried with the first script only. */
    uint64_t k = script == scripts ? 1 : creation_ops() + 1;
    bool ended = false;

    for (; !ended && !tally.found; k++) {
        static struct belief b;
        char violation[300], story[200];
        struct sim_disk *d = disk_make();
        memset(&b, 0, sizeof(b));
        ended = stage_run(d, script, k, &b, violation, sizeof(violation));
        tally.crash_points++;
        snprintf(story, sizeof(story), "\"%s\" crashed at %llu", script->name,
                 (unsigned long long)k);
        if (violation[0])
            complain(story, violation);
        cut_all(d, &b, cap, story);
        for (size_t i = 0; i < SECOND_COUNT; i++)
            if (k % SECOND_COUNT == i || again_cap >= 27) /* by turns in the broad search */
                go_on(d, &b, &seconds[i], again_cap, story);
        recover_again(d, &b, again_cap, story);
        sim_disk_destroy(d);
    }
}

static void test_every_crash_keeps_every_promise(void **state)
{
    (void)state;
    memset(&tally, 0, sizeof(tally));
    tap.swallow = SITE_NONE;
    for (size_t i = 0; i < SCRIPT_COUNT && !tally.found; i++)
        script_search(&scripts[i], 256, 3);
    print_message("%llu crash points, %llu power cuts (%llu points with all outcomes tried), %llu "
                  "recoveries\n",
                  (unsigned long long)tally.crash_points, (unsigned long long)tally.cuts,
                  (unsigned long long)tally.exhaustive, (unsigned long long)tally.recoveries);
    if (tally.found)
        fail_msg("%s", tally.violation);
    assert_true(tally.crash_points >= 5000);
    assert_true(tally.cuts >= 40000);
    assert_true(tally.exhaustive >= 3000);
}

static void test_every_sync_is_needed(void **state)
{
    (void)state;
    unsigned missed = 0;

    for (int s = SITE_NONE + 1; s < SITE_COUNT; s++) {
        memset(&tally, 0, sizeof(tally));
        tap.swallow = (enum site)s;
        tap.met[s] = 0;
        bool save = s == SITE_SAVE_A || s == SITE_SAVE_B,
             open = s == SITE_OPEN_A || s == SITE_OPEN_B;
        const struct script *hint = &scripts[save ? SCRIPT_HARD : open ? SCRIPT_MARKS : 0];
        script_search(hint, 81, 81);
        for (size_t i = 0; i < SCRIPT_COUNT && !tally.found; i++)
            script_search(&scripts[i], 81, 81);
        fflush(stdout);
        print_message("without the sync of %-36s %s\n", site_text[s],
                      tally.found ? tally.violation : "NOTHING FOUND");
        assert_true(tap.met[s] > 0);
        missed += !tally.found;
    }
    tap.swallow = SITE_NONE;
    assert_int_equal(missed, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_crash_keeps_every_promise),
        cmocka_unit_test(test_every_sync_is_needed),
    };
    setvbuf(stdout, NULL, _IOLBF, 0);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
