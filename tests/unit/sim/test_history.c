/* test_history.c — the judge is judged: a corpus of good and bad histories, each bad one refused for its
 * named reason; random histories against a checker that tries every order. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <rq/util/prng.h>
#include <sim_history.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <verdicts.h>

#define CORPUS "tests/golden/histories"
enum { LIMIT = 1000 * 1000 };

/* ---- corpus ------------------------------------------------------------------------------------------- */

/* verdict: "yes", "no REASON", "invalid WORDS" */
static void judge(void *ctx, const struct verdict_case *e)
{
    struct sim_history *h = *(struct sim_history **)ctx;
    struct err_text why = {""};
    enum sim_verdict got = sim_history_check(h, LIMIT, &why);
    bool good = false;

    if (strcmp(e->verdict, "yes") == 0)
        good = got == SIM_LINEARIZABLE_YES;
    else if (strncmp(e->verdict, "no ", 3) == 0)
        good = got == SIM_LINEARIZABLE_NO &&
               strncmp(why.text, e->verdict + 3, strlen(e->verdict + 3)) == 0 &&
               why.text[strlen(e->verdict + 3)] == ':';
    else if (strncmp(e->verdict, "invalid ", 8) == 0)
        good = got == SIM_HISTORY_INVALID && strstr(why.text, e->verdict + 8);
    if (!good)
        fail_msg("%s:%u \"%s\" should be %s, is %d: %s", e->file, e->line, e->name, e->verdict, got,
                 why.text);
}

static enum sim_op_end end_of(const char *word)
{
    if (strcmp(word, "fail") == 0)
        return SIM_END_FAIL;
    if (strcmp(word, "info") == 0)
        return SIM_END_INFO;
    return strcmp(word, "open") == 0 ? SIM_END_OPEN : SIM_END_OK;
}

static void begin(void *ctx)
{
    struct sim_history **h = ctx;

    sim_history_destroy(*h);
    *h = sim_history_create();
}

static void add_line(void *ctx, char *line)
{
    struct sim_history *h = *(struct sim_history **)ctx;
    struct sim_op op = {0};
    unsigned long long from, to;
    long long a, b = 0;
    unsigned process;
    char kind[16], end[16];

    if (sscanf(line, "%u %llu-%llu cas %lld %lld %15s", &process, &from, &to, &a, &b, end) == 6)
        op.kind = SIM_OP_CAS;
    else if (sscanf(line, "%u %llu-%llu %15s %lld %15s", &process, &from, &to, kind, &b, end) == 6)
        op.kind = strcmp(kind, "read") == 0 ? SIM_OP_READ : SIM_OP_WRITE;
    else
        fail_msg("cannot read: %s", line);
    op.process = process;
    op.invoke_ns = from;
    op.expected = op.kind == SIM_OP_CAS ? a : 0;
    op.value = op.kind == SIM_OP_READ ? 0 : b;
    size_t number = sim_history_begin(h, &op);
    if (end_of(end) != SIM_END_OPEN)
        sim_history_end(h, number, end_of(end), to, b, strcmp(end, "swapped") == 0);
}

static void test_corpus_is_judged_as_it_says(void **state)
{
    struct sim_history *h = NULL;
    struct verdict_reader r = {&h, begin, add_line, judge};

    (void)state;
    assert_true(verdicts_read(CORPUS, &r) >= 50);
    sim_history_destroy(h);
}

/* ---- against every order -------------------------------------------------------------------------------- */

/* Try all orders of the operations not yet in `done`; unknown ones may be left out. Nothing clever. */
static bool any_order(const struct sim_history *h, uint32_t done, int64_t value)
{
    bool complete = true;

    for (size_t i = 0; i < sim_history_count(h); i++) {
        const struct sim_op *op = sim_history_at(h, i);
        bool must = op->end == SIM_END_OK;
        complete = complete && (!must || (done >> i & 1));
    }
    if (complete)
        return true;
    for (size_t i = 0; i < sim_history_count(h); i++) {
        const struct sim_op *op = sim_history_at(h, i);
        bool known = op->end == SIM_END_OK, fits = true;
        int64_t next = value;
        if ((done >> i & 1) || op->end == SIM_END_FAIL || (!known && op->kind == SIM_OP_READ))
            continue;
        for (size_t j = 0; j < sim_history_count(h); j++) /* somebody ended before it began */
            fits = fits && ((done >> j & 1) || sim_history_at(h, j)->end != SIM_END_OK ||
                            sim_history_at(h, j)->return_ns >= op->invoke_ns);
        if (op->kind == SIM_OP_READ)
            fits = fits && value == op->value;
        else if (op->kind == SIM_OP_WRITE)
            next = op->value;
        else if (value == op->expected)
            next = op->value;
        if (op->kind == SIM_OP_CAS && known)
            fits = fits && (value == op->expected) == op->swapped;
        if (fits && any_order(h, done | 1U << i, next))
            return true;
    }
    return false;
}

/* A few overlapping operations with ends and values drawn from what is plausible. */
static struct sim_history *random_history(struct prng *p, uint32_t count)
{
    struct sim_history *h = sim_history_create();
    uint64_t free_at[4] = {0, 0, 0, 0};
    uint32_t generation[4] = {0, 0, 0, 0};

    for (uint32_t i = 0; i < count; i++) {
        uint32_t who = (uint32_t)prng_below(p, 4);
        struct sim_op op = {.kind = (enum sim_op_kind)prng_below(p, 3)};
        int64_t some = (int64_t)prng_below(p, count + 1);
        uint64_t draw = prng_below(p, 10);
        enum sim_op_end end = draw < 7 ? SIM_END_OK : draw < 8 ? SIM_END_FAIL : SIM_END_INFO;
        op.invoke_ns = free_at[who] + prng_below(p, 12);
        op.process = who + 4 * generation[who];
        op.value = op.kind == SIM_OP_READ ? 0 : (int64_t)i + 1;
        op.expected = some;
        free_at[who] = op.invoke_ns + prng_below(p, 25);
        generation[who] += end == SIM_END_INFO;
        size_t number = sim_history_begin(h, &op);
        sim_history_end(h, number, end, free_at[who], op.kind == SIM_OP_READ ? some : op.value,
                        prng_below(p, 2));
    }
    return h;
}

static void test_search_agrees_with_trying_every_order(void **state)
{
    (void)state;
    uint32_t yes = 0, no = 0;

    for (uint64_t seed = 1; seed <= 60000; seed++) {
        struct prng p;
        prng_init(&p, seed);
        struct sim_history *h = random_history(&p, (uint32_t)prng_range(&p, 2, 7));
        struct err_text why = {""};
        enum sim_verdict got = sim_history_check(h, LIMIT, &why);
        bool want = any_order(h, 0, 0);
        if (got != (want ? SIM_LINEARIZABLE_YES : SIM_LINEARIZABLE_NO))
            fail_msg("seed %llu: every order says %d, search says %d: %s", (unsigned long long)seed,
                     want, got, why.text);
        assert_int_equal(want, why.text[0] == '\0');
        yes += want;
        no += !want;
        sim_history_destroy(h);
    }
    assert_true(yes > 4000 && no > 4000);
}

/* ---- size -------------------------------------------------------------------------------------------------- */

/* What a real register gives: each operation acts at one moment between its ends. */
static struct sim_history *model_history(struct prng *p, uint32_t count, bool one_lie)
{
    struct sim_history *h = sim_history_create();
    uint64_t now = 0;
    int64_t value = 0, before = 0, old = 0;

    for (uint32_t i = 0; i < count; i++) { /* acts in this order; ends reach over the neighbours */
        uint64_t early = prng_below(p, 35), late = prng_below(p, 35);
        struct sim_op op = {.kind = (enum sim_op_kind)prng_below(p, 3), .process = i};
        bool unknown = prng_below(p, 12) == 0, swapped = false;
        now += 10;
        op.invoke_ns = now - (early < now ? early : now);
        op.value = op.kind == SIM_OP_READ ? 0 : (int64_t)i + 1;
        op.expected = prng_below(p, 2) ? value : before;
        swapped = op.kind == SIM_OP_CAS && op.expected == value;
        size_t number = sim_history_begin(h, &op);
        if (op.kind == SIM_OP_WRITE || swapped) {
            before = value;
            value = op.value;
        }
        if (i == count / 2 - 60)
            old = value;
        sim_history_end(h, number, unknown ? SIM_END_INFO : SIM_END_OK, now + late, value, swapped);
        if (!one_lie || i != count / 2)
            continue;
        op.kind = SIM_OP_READ;
        op.process = count;
        number = sim_history_begin(h, &op);
        sim_history_end(h, number, SIM_END_OK, now + late, old, false);
    }
    return h;
}

static void test_long_histories_of_a_true_register_pass(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 30; seed++) {
        struct prng p;
        struct err_text why = {""};
        prng_init(&p, seed);
        struct sim_history *h = model_history(&p, 1500, false);
        enum sim_verdict got = sim_history_check(h, 20 * LIMIT, &why);
        if (got != SIM_LINEARIZABLE_YES)
            fail_msg("seed %llu: %d %s", (unsigned long long)seed, got, why.text);
        sim_history_destroy(h);
    }
}

static void test_one_old_value_in_a_long_history_is_found(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 30; seed++) {
        struct prng p;
        struct err_text why = {""};
        prng_init(&p, seed);
        struct sim_history *h = model_history(&p, 1500, true);
        assert_int_equal(sim_history_check(h, 20 * LIMIT, &why), SIM_LINEARIZABLE_NO);
        if (!strstr(why.text, "stale read") && !strstr(why.text, "lost write"))
            fail_msg("seed %llu: %s", (unsigned long long)seed, why.text);
        sim_history_destroy(h);
    }
}

static void test_past_the_limit_the_verdict_is_unknown(void **state)
{
    (void)state;
    struct prng p;
    struct err_text why = {""};

    prng_init(&p, 3);
    struct sim_history *h = model_history(&p, 300, false);
    assert_int_equal(sim_history_check(h, 20, &why), SIM_LINEARIZABLE_UNKNOWN);
    assert_true(why.text[0] != '\0');
    sim_history_destroy(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_corpus_is_judged_as_it_says),
        cmocka_unit_test(test_search_agrees_with_trying_every_order),
        cmocka_unit_test(test_long_histories_of_a_true_register_pass),
        cmocka_unit_test(test_one_old_value_in_a_long_history_is_found),
        cmocka_unit_test(test_past_the_limit_the_verdict_is_unknown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
