/* test_order.c — the judge of orders is judged: a corpus of good and bad ones, each bad one refused by the
 * named oracle with the named words; orders of a true store, and the same with one lie. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <rq/util/prng.h>
#include <sim_order.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <verdicts.h>

#define CORPUS "tests/golden/orders"
enum { DEEDS_MAX = 400, WORD_MAX = 32 };

struct scene {
    struct sim_deed deeds[DEEDS_MAX];
    uint64_t ledger[DEEDS_MAX];
    struct sim_order order;
};

static bool scene_check(struct scene *s, enum sim_oracle *oracle, struct err_text *why)
{
    s->order.deeds = s->deeds;
    s->order.ledger = s->ledger;
    return sim_order_check(&s->order, oracle, why);
}

/* ---- corpus ------------------------------------------------------------------------------------------- */

/* verdict: "yes", or "no ORACLE WORDS" */
static void judge(void *ctx, const struct verdict_case *c)
{
    struct scene *s = ctx;
    struct err_text why = {""};
    enum sim_oracle oracle;
    char said[600] = "yes";

    if (!scene_check(s, &oracle, &why))
        (void)snprintf(said, sizeof(said), "no %s %s", sim_oracle_name(oracle), why.text);
    size_t head = strcspn(c->verdict, " "); /* "yes" or "no" */
    const char *oracle_end = strchr(c->verdict + head + (c->verdict[head] != '\0'), ' ');
    bool good = strcmp(c->verdict, "yes") == 0
                    ? strcmp(said, "yes") == 0
                    : oracle_end &&
                          strncmp(said, c->verdict, (size_t)(oracle_end - c->verdict) + 1) == 0 &&
                          strstr(said, oracle_end + 1);
    if (!good)
        fail_msg("%s:%u \"%s\" should be: %s; is: %s", c->file, c->line, c->name, c->verdict, said);
}

static enum sim_deed_kind kind_of(const char *word)
{
    for (int i = 0; i < SIM_DEED_COUNT; i++)
        if (strcmp(word, sim_deed_name((enum sim_deed_kind)i)) == 0)
            return (enum sim_deed_kind)i;
    fail_msg("no such deed: %s", word);
    return SIM_DEED_COUNT;
}

static enum sim_level level_of(const char *word)
{
    static const char *const names[] = {"none", "weak", "linearizable", "strong"};
    for (int i = 0; i < SIM_LEVEL_COUNT; i++)
        if (strcmp(word, names[i]) == 0)
            return (enum sim_level)i;
    fail_msg("no such level: %s", word);
    return SIM_NONE;
}

static void set(struct sim_deed *d, const char *name, const char *value)
{
    unsigned long long a, b;
    unsigned long long number = strtoull(value, NULL, 10);

    if (strcmp(name, "at") == 0 && sscanf(value, "%llu-%llu", &a, &b) == 2) {
        d->invoke_ns = a;
        d->return_ns = b;
    } else if (strcmp(name, "end") == 0)
        d->end = strcmp(value, "fail") == 0 ? SIM_END_FAIL : SIM_END_INFO;
    else if (strcmp(name, "level") == 0)
        d->level = level_of(value);
    else if (strcmp(name, "value") == 0)
        d->value = (int64_t)number;
    else if (strcmp(name, "expected") == 0)
        d->expected = (int64_t)number;
    else if (strcmp(name, "swapped") == 0)
        d->swapped = number != 0;
    else if (strcmp(name, "survived") == 0)
        d->survived = number != 0;
    else if (strcmp(name, "key") == 0)
        d->key = (uint32_t)number;
    else if (strcmp(name, "node") == 0)
        d->server = (uint32_t)number;
    else if (strcmp(name, "life") == 0)
        d->incarnation = number;
    else if (strcmp(name, "row") == 0)
        d->position = number;
    else if (strcmp(name, "index") == 0)
        d->raft_index = number;
    else if (strcmp(name, "number") == 0)
        d->sequence = number;
    else if (strcmp(name, "attempts") == 0)
        d->attempts = (uint32_t)number;
    else if (strcmp(name, "leader") == 0)
        d->leader_index = number;
    else if (strcmp(name, "wait") == 0)
        d->wait_index = number;
    else
        fail_msg("no such thing: %s=%s", name, value);
}

static void ledger_line(struct scene *s, char *rest)
{
    for (char *word = strtok(rest, " "); word; word = strtok(NULL, " "))
        s->ledger[s->order.rows++] = strtoull(word, NULL, 10);
}

static void begin(void *ctx)
{
    memset(ctx, 0, sizeof(struct scene));
}

static void add_line(void *ctx, char *line)
{
    struct scene *s = ctx;
    struct sim_deed *d = &s->deeds[s->order.count];
    char *word = strtok(line, " ");

    if (strcmp(word, "ledger") == 0) {
        ledger_line(s, NULL);
        return;
    }
    *d = (struct sim_deed){
        .kind = kind_of(word), .end = SIM_END_OK, .incarnation = 1, .attempts = 1};
    word = strtok(NULL, " ");
    assert_non_null(word);
    d->number = strtoull(word, NULL, 10);
    while ((word = strtok(NULL, " "))) {
        char *equals = strchr(word, '=');
        assert_non_null(equals);
        *equals = '\0';
        set(d, word, equals + 1);
    }
    s->order.count++;
}

static void test_corpus_is_judged_as_it_says(void **state)
{
    static struct scene s;
    struct verdict_reader r = {&s, begin, add_line, judge};

    (void)state;
    assert_true(verdicts_read(CORPUS, &r) >= 40);
}

/* ---- a true store -------------------------------------------------------------------------------------- */

/* Deeds that act one after the other, their ends reaching over the neighbours'. */
static void scene_make(struct scene *s, struct prng *p)
{
    static const enum sim_deed_kind writes[] = {SIM_DEED_WRITE, SIM_DEED_SWAP, SIM_DEED_MIXED,
                                                SIM_DEED_KEYED};
    int64_t values[SIM_ORDER_KEYS_MAX] = {0};
    uint64_t now = 1000;

    memset(s, 0, sizeof(*s));
    for (uint64_t i = 1; i < DEEDS_MAX; i++, now += 10) {
        struct sim_deed *d = &s->deeds[s->order.count++];
        bool write = prng_chance_ppm(p, 500000);
        bool unknown = write && prng_chance_ppm(p, 100000);
        *d = (struct sim_deed){.kind = write ? writes[prng_below(p, 4)] : SIM_DEED_READ,
                               .level = (enum sim_level)prng_below(p, SIM_LEVEL_COUNT),
                               .end = unknown ? SIM_END_INFO : SIM_END_OK,
                               .number = i,
                               .invoke_ns = now - prng_below(p, 40),
                               .return_ns = now + prng_below(p, 40),
                               .key = (uint32_t)prng_below(p, SIM_ORDER_KEYS_MAX),
                               .attempts = 1};
        int64_t *value = &values[d->key];
        d->expected = prng_below(p, 2) ? *value : 0;
        if (!write) {
            d->value = *value;
            d->position = s->order.rows;
            continue;
        }
        d->value = (int64_t)i;
        if (unknown && prng_below(p, 2))
            continue; /* never happened */
        s->ledger[s->order.rows++] = i;
        d->position = unknown ? 0 : s->order.rows;
        d->swapped = sim_deed_swaps(d->kind) && d->expected == *value;
        if (!sim_deed_swaps(d->kind) || d->swapped)
            *value = d->value;
    }
}

static void test_orders_of_a_true_store_pass(void **state)
{
    (void)state;
    static struct scene s;

    for (uint64_t seed = 1; seed <= 200; seed++) {
        struct prng p;
        struct err_text why = {""};
        enum sim_oracle oracle;
        prng_init(&p, seed);
        scene_make(&s, &p);
        if (!scene_check(&s, &oracle, &why))
            fail_msg("seed %llu: %s: %s", (unsigned long long)seed, sim_oracle_name(oracle),
                     why.text);
    }
}

/* Two neighbours of the ledger, answered and asked well apart, change places. */
static void test_an_exchange_of_two_writes_is_found(void **state)
{
    (void)state;
    static struct scene s;
    uint32_t found = 0;

    for (uint64_t seed = 1; seed <= 200; seed++) {
        struct prng p;
        struct err_text why = {""};
        enum sim_oracle oracle;
        prng_init(&p, seed);
        scene_make(&s, &p);
        size_t at = prng_below(&p, s.order.rows - 20);
        uint64_t kept = s.ledger[at];
        s.ledger[at] = s.ledger[at + 19];
        s.ledger[at + 19] = kept;
        found += !scene_check(&s, &oracle, &why);
    }
    assert_int_equal(found, 200);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_corpus_is_judged_as_it_says),
        cmocka_unit_test(test_orders_of_a_true_store_pass),
        cmocka_unit_test(test_an_exchange_of_two_writes_is_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
