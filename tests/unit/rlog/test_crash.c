/* test_crash.c — short scripts, crashed at every disk operation, with every outcome of what was pending
 * (crash_search.h), also in a second life and while recovering.
 *
 * What must hold: the log opens; what was acknowledged is there exactly; the interrupted call happened
 * wholly or not at all; what a restarted process was told stays true after a later power cut; nothing
 * that was replaced comes back.
 *
 * The second half takes out one sync after the other and demands that the same search then finds a
 * violation: each sync is needed, and the search can fail. */
#include "rlog_fixture.h"

#include "crash_search.h"

enum { SEGMENT = 4096, STORE = 0x5151 };

/* ---- scripts ---- */

enum op_kind { OP_END, OP_APPEND, OP_CUT, OP_HARD, OP_IDENTITY, OP_MARK, OP_COMPACT, OP_RESET };
struct op {
    enum op_kind kind;
    uint64_t index; /* APPEND, CUT: first, 0: behind the last. MARK, COMPACT, RESET: 0: last */
    uint64_t term;  /* HARD: 0: one more */
    uint32_t count, bytes;
};
#define OPS(...) ((const struct op[]){__VA_ARGS__, {.kind = OP_END}})

static const struct crash_second scripts[] = {
    {"append", OPS({OP_APPEND, 0, 1, 2, 100}, {OP_APPEND, 0, 1, 1, 700}, {OP_APPEND, 0, 2, 3, 0})},
    {"replace by an equally long one", OPS({OP_APPEND, 0, 1, 2, 100}, {OP_APPEND, 0, 3, 2, 100},
                                           {OP_APPEND, 3, 2, 1, 100}, {OP_APPEND, 0, 4, 1, 900})},
    {"cut only", OPS({OP_APPEND, 0, 1, 4, 150}, {OP_CUT, 3, 0, 0, 0}, {OP_APPEND, 0, 2, 1, 150},
                     {OP_CUT, 1, 0, 0, 0})},
    {"hard state", OPS({OP_HARD, 0, 1, 7, 0}, {OP_HARD, 0, 1, 8, 0}, {OP_IDENTITY, 0, 0, 99, 0},
                       {OP_HARD, 0, 5, 0, 0})},
    {"marks and hard state",
     OPS({OP_APPEND, 0, 1, 1, 90}, {OP_MARK, 0, 0, 0, 0}, {OP_HARD, 0, 2, 3, 0},
         {OP_APPEND, 0, 2, 1, 90}, {OP_MARK, 0, 0, 0, 0}, {OP_APPEND, 1, 3, 1, 90})},
    {"segment after segment",
     OPS({OP_APPEND, 0, 1, 1, 2500}, {OP_APPEND, 0, 1, 1, 2500}, {OP_APPEND, 2, 2, 1, 2500})},
    {"an entry larger than a segment", OPS({OP_APPEND, 0, 1, 1, 9000}, {OP_APPEND, 0, 1, 1, 60})},
    {"compact and recycle",
     OPS({OP_APPEND, 0, 1, 1, 3000}, {OP_APPEND, 0, 1, 1, 3000}, {OP_APPEND, 0, 1, 1, 3000},
         {OP_COMPACT, 2, 0, 0, 0}, {OP_APPEND, 0, 2, 1, 3000}, {OP_APPEND, 0, 2, 1, 100})},
    {"compact more than the spares",
     OPS({OP_APPEND, 0, 1, 1, 3000}, {OP_APPEND, 0, 1, 1, 3000}, {OP_APPEND, 0, 1, 1, 3000},
         {OP_APPEND, 0, 1, 1, 3000}, {OP_COMPACT, 3, 0, 0, 0}, {OP_APPEND, 0, 2, 1, 3000})},
    {"reset", OPS({OP_APPEND, 0, 1, 2, 1500}, {OP_APPEND, 0, 1, 1, 2500}, {OP_RESET, 50, 4, 0, 0},
                  {OP_APPEND, 0, 5, 1, 80})},
};
enum { SCRIPT_COUNT = sizeof(scripts) / sizeof(scripts[0]), SCRIPT_HARD = 3, SCRIPT_MARKS = 4 };

/* What a restarted process does next; valid in any state. */
static const struct crash_second seconds[] = {
    {"append and vote", OPS({OP_APPEND, 0, 9, 1, 300}, {OP_HARD, 0, 0, 1, 0})},
    {"roll over and compact",
     OPS({OP_APPEND, 0, 9, 1, 3500}, {OP_APPEND, 0, 9, 1, 3500}, {OP_COMPACT, 0, 0, 0, 0})},
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
    bool opening;
    enum site names; /* the last change of names was of this kind; NONE: none since the last sync */
} doing;

static void names_renamed(const char *from, const char *to)
{
    (void)from;
    if (strncmp(to, "hard", 4) == 0)
        doing.names = SITE_CREATE_NAMES;
    else
        doing.names = strncmp(to, "spare", 5) == 0 ? SITE_SEGMENT_GONE : SITE_SEGMENT_NAME;
}

static void names_removed(const char *name)
{
    if (strstr(name, ".seg"))
        doing.names = SITE_SEGMENT_GONE;
}

static int site_of_file(struct env_file *f, const char *name)
{
    (void)f;
    if (strcmp(name, "hard.a.new") == 0)
        return SITE_CREATE_A;
    if (strcmp(name, "hard.b.new") == 0)
        return SITE_CREATE_B;
    if (strncmp(name, "spare", 5) == 0)
        return SITE_SEGMENT_HEAD;
    if (strcmp(name, "hard.a") == 0)
        return doing.opening ? SITE_OPEN_A : SITE_SAVE_A;
    if (strcmp(name, "hard.b") == 0)
        return doing.opening ? SITE_OPEN_B : SITE_SAVE_B;
    assert_non_null(strstr(name, ".seg"));
    return doing.opening ? SITE_OPEN_TAIL : SITE_BATCH;
}

static int site_of_dir(const char *path)
{
    enum site s = doing.names != SITE_NONE ? doing.names : SITE_OPEN_NAMES;
    (void)path;
    doing.names = SITE_NONE;
    return (int)s;
}

static struct crash_syncs syncs = {.site_of_file = site_of_file,
                                   .site_of_dir = site_of_dir,
                                   .renamed = names_renamed,
                                   .removed = names_removed};

/* ---- one life ---- */

/* What is known of the log: at least `old`, perhaps `new` (the call that was interrupted). */
struct belief {
    struct model_log log_old, log_new;
    struct model_hard hard_old, hard_new;
    bool opened; /* an open returned once: identity is fixed */
};

static void belief_check(struct crash_life *l, const char *old, const char *new,
                         const struct rlog_recovered *found)
{
    const struct belief *b = l->belief;

    if (old && new)
        crash_violation(l,
                        "log is neither before (%s) nor after (%s); last %llu, wanted %llu or %llu",
                        old, new, (unsigned long long)found->last_index,
                        (unsigned long long)b->log_old.last, (unsigned long long)b->log_new.last);
    else if (!hard_same(&b->hard_old, found) && !hard_same(&b->hard_new, found))
        crash_violation(l, "hard state is neither before nor after: term %llu vote %llu",
                        (unsigned long long)found->hard.term, (unsigned long long)found->hard.vote);
    else if (b->opened && (found->fresh || found->identity.store_id != STORE))
        crash_violation(l, "identity lost");
}

static void belief_settle(struct crash_life *l, const struct seen *seen)
{
    struct belief *b = l->belief;
    const char *old = model_differs(&b->log_old, seen), *new = model_differs(&b->log_new, seen);

    belief_check(l, old, new, &seen->found);
    /* Told once, true for ever. */
    if (old)
        b->log_old = b->log_new;
    else
        b->log_new = b->log_old;
    if (hard_same(&b->hard_new, &seen->found))
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

static void life(struct crash_life *life)
{
    struct rlog_config config = {.dir = DIR, .segment_bytes = SEGMENT, .spare_count = 1};
    static struct seen seen;
    struct err_text why = {""};
    struct rlog *l = NULL;
    struct belief *b = life->belief;

    doing.names = SITE_NONE;
    doing.opening = true;
    memset(&seen, 0, sizeof(seen));
    int rc = rlog_open(life->env, &config, STORE, seen_visit, &seen, &seen.found, &l, &why);
    doing.opening = false;
    if (rc) {
        crash_violation(life, "cannot be opened: %s: %.200s", err_name_of(rc), why.text);
        return;
    }
    belief_settle(life, &seen);
    const struct op *ops = life->ops;
    for (uint32_t i = 0; ops && !life->violation[0] && ops[i].kind != OP_END; i++) {
        rc = op_run(l, &ops[i], b, i);
        if (rc) {
            crash_violation(life, "operation failed: %s", err_name_of(rc));
            return;
        }
        rlog_check(l);
        b->log_old = b->log_new;
        b->hard_old = b->hard_new;
    }
    rlog_close(l);
}

/* ---- the search ---- */

static const struct crash_search search_begin = {
    .live = life, .belief_bytes = sizeof(struct belief), .syncs = &syncs};

/* thorough: everything follows everything. */
static void script_search(struct crash_search *s, size_t i, bool thorough)
{
    struct crash_plan plan = {
        .name = scripts[i].name, .ops = scripts[i].ops, .recover_again = true};

    /* Creation is the same for all: its crash points are tried with the first script only. */
    plan.first = i == 0 ? 1 : crash_creation_ops(s) + 1;
    plan.cut = thorough ? (struct crash_effort){81, 81} : (struct crash_effort){256, 4096};
    plan.second_cut = thorough ? (struct crash_effort){81, 81} : (struct crash_effort){3, 3};
    plan.second_every = thorough ? 1 : SECOND_COUNT; /* by turns in the broad search */
    memcpy(plan.seconds, seconds, sizeof(seconds));
    crash_script_search(s, &plan);
}

static void test_every_crash_keeps_every_promise(void **state)
{
    struct crash_search s = search_begin;

    (void)state;
    for (size_t i = 0; i < SCRIPT_COUNT && !s.found; i++)
        script_search(&s, i, false);
    crash_search_judge(&s, 5000, 40000, 3000);
}

/* Where the sync matters most comes first. */
static void search_without(struct crash_search *s, int site)
{
    bool save = site == SITE_SAVE_A || site == SITE_SAVE_B,
         open = site == SITE_OPEN_A || site == SITE_OPEN_B;

    script_search(s, save ? SCRIPT_HARD : open ? SCRIPT_MARKS : 0, true);
    for (size_t i = 0; i < SCRIPT_COUNT && !s->found; i++)
        script_search(s, i, true);
}

static void test_every_sync_is_needed(void **state)
{
    struct crash_search s = search_begin;

    (void)state;
    crash_syncs_judge(&s, site_text, SITE_COUNT, NULL, search_without);
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
