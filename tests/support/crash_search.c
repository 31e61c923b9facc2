/* crash_search.c — the branches of crash_search.h: lives, power cuts, second lives. */
#include "crash_search.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "env/env_sim.h"
#include <rq/util/prng.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef unsigned long long ull;

/* Sanitizers make a life ten times longer: with them one first crash in eight is tried, which is enough for them, and
 * whether each sync is needed is judged without them only (preset sim; CI runs both). */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { THIN = 8 };
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
enum { THIN = 8 };
#else
enum { THIN = 1 };
#endif
#else
enum { THIN = 1 };
#endif

/* ---- lives ---- */

void crash_violation(struct crash_life *l, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(l->violation, sizeof(l->violation), fmt, ap);
    va_end(ap);
}

static void life_main(void *ctx)
{
    struct crash_search *s = ((void **)ctx)[0];
    s->live(((void **)ctx)[1]);
}

static void complain(struct crash_search *s, const char *story, const char *violation)
{
    if (s->found || !violation[0])
        return;
    s->found = true;
    snprintf(s->violation, sizeof(s->violation), "%.350s: %.300s", story, violation);
}

/* How often the environment lied about a sync so far. */
static uint64_t lies(const struct crash_search *s)
{
    return s->syncs && s->syncs->swallow ? s->syncs->met[s->syncs->swallow] : 0;
}

/* A life on d, crashed at disk operation k (0: not at all; its end is a process crash too: nothing is
 * settled). true: it ran to its end. */
static bool life_run(struct crash_search *s, struct sim_disk *d, const void *ops, uint64_t k,
                     void *belief, const char *story)
{
    struct env *env = env_sim_create(d, 77);
    struct crash_life life = {.env = env, .ops = ops, .belief = belief};
    void *both[2] = {s, &life};

    if (s->syncs)
        crash_syncs_attach(s->syncs, env);
    if (k)
        env_sim_crash_at_op(env, k);
    bool ended = env_sim_run(env, life_main, both);
    env_sim_destroy(env);
    complain(s, story, life.violation);
    return ended;
}

static void *belief_copy(const struct crash_search *s, const void *from)
{
    void *b = calloc(1, s->belief_bytes);

    assert_non_null(b);
    if (from)
        memcpy(b, from, s->belief_bytes);
    return b;
}

static struct sim_disk *disk_make(void)
{
    struct sim_disk_config c;
    sim_disk_config_default(&c, 1);
    c.writeback_sectors = CRASH_PENDING_MAX;
    return sim_disk_create(&c);
}

uint64_t crash_creation_ops(struct crash_search *s)
{
    struct sim_disk *d = disk_make();
    void *b = belief_copy(s, s->belief_first);

    life_run(s, d, NULL, 0, b, "the first opening");
    uint64_t ops = sim_disk_ops(d);
    free(b);
    sim_disk_destroy(d);
    return ops;
}

/* ---- power cuts ---- */

static uint64_t power_of(uint64_t base, size_t n, uint64_t cap)
{
    uint64_t r = 1;
    while (n-- && r <= cap)
        r *= base;
    return r;
}

static void fates_of_case(enum sim_disk_fate *fate, size_t n, uint64_t c, unsigned base)
{
    for (size_t i = 0; i < n; i++, c /= base)
        fate[i] = (enum sim_disk_fate)(c % base);
}

static void fates_draw(enum sim_disk_fate *fate, size_t n, struct prng *p)
{
    static const uint8_t keep[] = {10, 45, 80, 95};
    uint64_t mood = prng_below(p, 4);

    for (size_t i = 0; i < n; i++) {
        uint64_t draw = prng_below(p, 100);
        fate[i] = draw < keep[mood] ? SIM_KEEP : draw % 3 == 0 ? SIM_TEAR : SIM_DROP;
    }
}

struct outcomes {
    size_t pending;
    unsigned base; /* 3, 2: all of so many fates each; 0: too many */
    uint64_t all, cases;
    struct prng prng;
};

static struct outcomes outcomes_of(size_t n, struct crash_effort effort)
{
    uint64_t ternary = power_of(3, n, effort.ternary), binary = power_of(2, n, effort.binary);
    struct outcomes o = {.pending = n};

    if (ternary <= effort.ternary) {
        o.base = 3;
        o.all = o.cases = ternary;
    } else if (binary <= effort.binary) {
        o.base = 2;
        o.all = binary;
        o.cases = binary + effort.ternary / 4;
    } else {
        o.cases = effort.ternary + 2;
    }
    prng_init(&o.prng, prng_mix(n, effort.ternary));
    return o;
}

static void outcome_choose(struct outcomes *o, uint64_t c, enum sim_disk_fate *fate)
{
    if (c < o->all)
        fates_of_case(fate, o->pending, c, o->base);
    else if (o->base == 0 && c + 2 >= o->cases) /* nothing kept, all kept: not left to the dice */
        fates_of_case(fate, o->pending, c + 1 == o->cases ? UINT64_MAX : 0, 2);
    else
        fates_draw(fate, o->pending, &o->prng);
}

/* What lives so far have left. */
struct path {
    const struct sim_disk *disk;
    const void *known;
    bool lied; /* a sync was swallowed on the way */
    const char *story;
};

/* Cut the power on copies of the disk, each outcome, and open each. With a sync taken out, a path that never asked
 * for it is one of those that the search with all syncs has tried. */
static void cut_all(struct crash_search *s, const struct path *at, struct crash_effort effort)
{
    static enum sim_disk_fate fate[CRASH_PENDING_MAX];
    struct outcomes o = outcomes_of(sim_disk_pending_count(at->disk), effort);

    assert_true(o.pending < CRASH_PENDING_MAX);
    if (s->syncs && s->syncs->swallow && !at->lied)
        return;
    void *b = belief_copy(s, at->known);
    s->exhaustive += o.base != 0;
    for (uint64_t c = 0; c < o.cases && !s->found; c++) {
        char where[500];
        struct sim_disk *cut = sim_disk_clone(at->disk, c + 1);
        sim_disk_config(cut)->profile = c % 2 ? SIM_DISK_WEIRD : SIM_DISK_WRITEBACK;
        outcome_choose(&o, c, fate);
        sim_disk_power_cut_choose(cut, fate);
        memcpy(b, at->known, s->belief_bytes);
        snprintf(where, sizeof(where), "%s, cut %llu of %llu (%zu pending)", at->story, (ull)c,
                 (ull)o.cases, o.pending);
        life_run(s, cut, NULL, 0, b, where);
        s->cuts++;
        s->recoveries++;
        sim_disk_destroy(cut);
    }
    free(b);
}

/* ---- second lives ---- */

/* The process comes back, does what `second` says, crashes at each operation; then the power goes. */
static void go_on(struct crash_search *s, const struct path *at, const struct crash_second *second,
                  struct crash_effort effort)
{
    bool ended = false;
    void *b = belief_copy(s, at->known);

    for (uint64_t j = 1; !ended && !s->found; j++) {
        char where[400];
        uint64_t before = lies(s);
        struct sim_disk *again = sim_disk_clone(at->disk, 5);
        memcpy(b, at->known, s->belief_bytes);
        snprintf(where, sizeof(where), "%s, then \"%s\" crashed at %llu", at->story, second->name,
                 (ull)j);
        ended = life_run(s, again, second->ops, j, b, where);
        s->crash_points++;
        s->recoveries++;
        struct path then = {again, b, at->lied || lies(s) > before, where};
        cut_all(s, &then, effort);
        sim_disk_destroy(again);
    }
    free(b);
}

static void recover_again(struct crash_search *s, const struct path *at,
                          const struct crash_plan *plan)
{
    struct sim_disk *cut = sim_disk_clone(at->disk, 3);
    char where[300];

    sim_disk_config(cut)->profile = SIM_DISK_NO_BARRIER;
    sim_disk_power_cut(cut);
    snprintf(where, sizeof(where), "%s, power cut", at->story);
    struct path then = {cut, at->known, at->lied, where};
    go_on(s, &then, &plan->seconds[0], plan->second_cut);
    sim_disk_destroy(cut);
}

/* Everything that can come of a crash at operation k. */
static void branch(struct crash_search *s, const struct crash_plan *plan, uint64_t k,
                   const struct path *at)
{
    bool rest = plan->cut_every > 1 && k % plan->cut_every != 0;
    uint64_t every = plan->second_every ? plan->second_every : 1;

    cut_all(s, at, rest ? plan->cut_rest : plan->cut);
    for (size_t i = 0; i < CRASH_SECONDS_MAX && plan->seconds[i].name; i++)
        if ((k + i) % every == 0)
            go_on(s, at, &plan->seconds[i], plan->second_cut);
    if (plan->recover_again)
        recover_again(s, at, plan);
}

void crash_script_search(struct crash_search *s, const struct crash_plan *plan)
{
    bool ended = false;

    for (uint64_t k = plan->first ? plan->first : 1; !ended && !s->found; k += THIN) {
        char story[200];
        uint64_t before = lies(s);
        struct sim_disk *d = disk_make();
        void *b = belief_copy(s, s->belief_first);
        snprintf(story, sizeof(story), "\"%s\" crashed at %llu", plan->name, (ull)k);
        ended = life_run(s, d, plan->ops, k, b, story);
        s->crash_points++;
        struct path at = {d, b, lies(s) > before, story};
        branch(s, plan, k, &at);
        free(b);
        sim_disk_destroy(d);
    }
}

/* ---- judging ---- */

void crash_search_judge(const struct crash_search *s, uint64_t crash_points, uint64_t cuts,
                        uint64_t exhaustive)
{
    print_message("%llu crash points, %llu power cuts (%llu points with all outcomes tried), %llu "
                  "recoveries\n",
                  (ull)s->crash_points, (ull)s->cuts, (ull)s->exhaustive, (ull)s->recoveries);
    if (s->found)
        fail_msg("%s", s->violation);
    const uint64_t thin = THIN == 1 ? 1 : 2 * THIN;
    assert_true(s->crash_points >= crash_points / thin);
    assert_true(s->cuts >= cuts / thin);
    assert_true(s->exhaustive >= exhaustive / thin);
}

void crash_syncs_judge(struct crash_search *s, const char *const *site_text, int count,
                       bool (*exempt)(int site), void (*search)(struct crash_search *s, int site))
{
    unsigned missed = 0;

    assert_true(count <= CRASH_SITES_MAX);
    if (THIN > 1) {
        print_message("whether each sync is needed is judged in builds without sanitizers\n");
        skip();
    }
    for (int site = 1; site < count; site++) {
        if (exempt && exempt(site))
            continue;
        s->found = false;
        s->syncs->swallow = site;
        s->syncs->met[site] = 0;
        search(s, site);
        print_message("without the sync of %-36s %s\n", site_text[site],
                      s->found ? s->violation : "NOTHING FOUND");
        assert_true(s->syncs->met[site] > 0);
        missed += !s->found;
    }
    s->syncs->swallow = 0;
    assert_int_equal(missed, 0);
}
