/* sim_judge.c — see sim_judge.h. Three workloads, told by "f":
 *
 *   read, write, cas        registers, key by key: sim_history.h
 *   append, look, ledger    every append adds a row to one ledger, a look counts its rows: sim_order.h
 *   add, members            sets that only grow, key by key: each member once, none lost, none that nobody added
 *
 * A file holds one of them. An operation is two lines, "invoke" and how it ended, joined by "process", which
 * has one operation open at a time; one that never ended is unknown. */
#include "sim_judge.h"
#include "sim_order.h"
#include <cjson/cJSON.h>
#include <rq/util/assert.h>
#include <stdlib.h>
#include <string.h>

enum { LINE_MAX_BYTES = 16 * 1024 * 1024, PROCESSES_MAX = 65536, STEP_LIMIT = 20 * 1000 * 1000 };
#define ULL unsigned long long

enum function { READ, WRITE, CAS, APPEND, LOOK, LEDGER, ADD, MEMBERS, FUNCTION_COUNT };
static const char *const function_names[FUNCTION_COUNT] = {"read", "write",  "cas", "append",
                                                           "look", "ledger", "add", "members"};
enum workload { REGISTERS, ORDER, SET, WORKLOAD_COUNT, NONE = WORKLOAD_COUNT };
static const enum workload workload_of[FUNCTION_COUNT] = {REGISTERS, REGISTERS, REGISTERS, ORDER,
                                                          ORDER,     ORDER,     SET,       SET};

struct op {
    enum function f;
    enum sim_op_end end;
    uint64_t invoke_ns, return_ns;
    uint32_t process, line;
    uint64_t key, number, row, life;
    uint32_t node;
    enum sim_level level;
    int64_t value, expected;
    bool swapped;
    uint64_t *list; /* LEDGER, MEMBERS that are OK */
    size_t list_len;
};

struct judge {
    struct op *ops;
    size_t count, cap;
    size_t *open; /* by process: number of its operation + 1 */
    enum workload workload;
    uint32_t line;
    struct sim_judge_counts *counts;
    struct err_text *why;
};

#define SAY(j, verdict, ...) ((void)err_set((j)->why, ERR_INVALID, __VA_ARGS__), (verdict))

/* ---- reading ------------------------------------------------------------------------------------------- */

static bool number_of(const cJSON *line, const char *name, double *out)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(line, name);

    if (!cJSON_IsNumber(item))
        return false;
    *out = item->valuedouble;
    return true;
}

/* All numbers of a history lie below 2^53: cJSON's doubles hold them. Times are relative to its beginning. */
static uint64_t u64_of(const cJSON *line, const char *name)
{
    double d;
    return number_of(line, name, &d) && d >= 0 && d < 9007199254740992.0 ? (uint64_t)d : 0;
}

static const char *text_of(const cJSON *line, const char *name)
{
    const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(line, name));
    return text ? text : "";
}

static enum function function_of(const char *name)
{
    int f = 0;
    while (f < FUNCTION_COUNT && strcmp(name, function_names[f]) != 0)
        f++;
    return (enum function)f;
}

static enum sim_level level_of(const char *name)
{
    static const char *const names[SIM_LEVEL_COUNT] = {"none", "weak", "linearizable", "strong"};
    int l = 0;
    while (l < SIM_LEVEL_COUNT && strcmp(name, names[l]) != 0)
        l++;
    return (enum sim_level)l;
}

static bool take_list(struct op *op, const cJSON *list)
{
    const cJSON *item;

    if (!cJSON_IsArray(list))
        return false;
    op->list = calloc((size_t)cJSON_GetArraySize(list) + 1, sizeof(*op->list));
    ASSERT(op->list);
    cJSON_ArrayForEach(item, list)
    {
        if (!cJSON_IsNumber(item) || item->valuedouble < 0)
            return false;
        op->list[op->list_len++] = (uint64_t)item->valuedouble;
    }
    return true;
}

static enum sim_judgement invoke(struct judge *j, const cJSON *line, uint32_t process)
{
    struct op op = {.f = function_of(text_of(line, "f")),
                    .process = process,
                    .line = j->line,
                    .end = SIM_END_OPEN,
                    .invoke_ns = u64_of(line, "t"),
                    .return_ns = UINT64_MAX,
                    .key = u64_of(line, "key"),
                    .number = u64_of(line, "number"),
                    .node = (uint32_t)u64_of(line, "node"),
                    .value = (int64_t)u64_of(line, "value"),
                    .expected = (int64_t)u64_of(line, "expected"),
                    .level = level_of(text_of(line, "level"))};

    if (op.f == FUNCTION_COUNT)
        return SAY(j, SIM_JUDGE_INVALID, "line %u: no such function", j->line);
    if (j->workload != NONE && j->workload != workload_of[op.f])
        return SAY(j, SIM_JUDGE_INVALID, "line %u: another workload than before", j->line);
    if ((op.f == LOOK || op.f == MEMBERS) && op.level == SIM_LEVEL_COUNT)
        return SAY(j, SIM_JUDGE_INVALID, "line %u: no such level", j->line);
    if (j->open[process])
        return SAY(j, SIM_JUDGE_INVALID, "line %u: process %u has an operation open", j->line,
                   process);
    j->workload = workload_of[op.f];
    if (j->count == j->cap) {
        j->cap = j->cap ? j->cap * 2 : 1024;
        j->ops = realloc(j->ops, j->cap * sizeof(*j->ops));
        ASSERT(j->ops);
    }
    j->ops[j->count++] = op;
    j->open[process] = j->count;
    j->counts->operations++;
    return SIM_JUDGE_GOOD;
}

static enum sim_judgement ended(struct judge *j, const cJSON *line, uint32_t process)
{
    const char *type = text_of(line, "type");
    struct op *op = j->open[process] ? &j->ops[j->open[process] - 1] : NULL;

    if (!op || op->f != function_of(text_of(line, "f")))
        return SAY(j, SIM_JUDGE_INVALID, "line %u: process %u has not begun this", j->line,
                   process);
    j->open[process] = 0;
    op->return_ns = u64_of(line, "t");
    if (op->return_ns < op->invoke_ns)
        return SAY(j, SIM_JUDGE_INVALID, "line %u: ends before it begins", j->line);
    op->end = strcmp(type, "ok") == 0     ? SIM_END_OK
              : strcmp(type, "fail") == 0 ? SIM_END_FAIL
                                          : SIM_END_INFO;
    j->counts->ok += op->end == SIM_END_OK;
    j->counts->failed += op->end == SIM_END_FAIL;
    j->counts->unknown += op->end == SIM_END_INFO;
    if (op->end != SIM_END_OK)
        return SIM_JUDGE_GOOD;
    if (op->f == READ || op->f == LOOK)
        op->value = (int64_t)u64_of(line, "value");
    op->row = u64_of(line, "row");
    op->life = u64_of(line, "life");
    op->swapped = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(line, "swapped"));
    if ((op->f == LEDGER || op->f == MEMBERS) &&
        !take_list(op, cJSON_GetObjectItemCaseSensitive(line, "list")))
        return SAY(j, SIM_JUDGE_INVALID, "line %u: no list", j->line);
    return SIM_JUDGE_GOOD;
}

static enum sim_judgement take_line(struct judge *j, const char *text)
{
    enum sim_judgement verdict = SIM_JUDGE_GOOD;
    cJSON *line = cJSON_Parse(text);
    const char *type = text_of(line, "type");
    uint64_t process = u64_of(line, "process");

    if (!cJSON_IsObject(line) || process >= PROCESSES_MAX)
        verdict = SAY(j, SIM_JUDGE_INVALID, "line %u: not a line of a history", j->line);
    else if (strcmp(type, "nemesis") == 0)
        j->counts->skipped++;
    else if (strcmp(type, "invoke") == 0)
        verdict = invoke(j, line, (uint32_t)process);
    else if (strcmp(type, "ok") == 0 || strcmp(type, "fail") == 0 || strcmp(type, "info") == 0)
        verdict = ended(j, line, (uint32_t)process);
    else
        verdict = SAY(j, SIM_JUDGE_INVALID, "line %u: no such type", j->line);
    cJSON_Delete(line);
    return verdict;
}

static enum sim_judgement read_history(struct judge *j, FILE *f)
{
    char *text = malloc(LINE_MAX_BYTES);
    enum sim_judgement verdict = SIM_JUDGE_GOOD;

    ASSERT(text);
    while (verdict == SIM_JUDGE_GOOD && fgets(text, LINE_MAX_BYTES, f)) {
        j->line++;
        verdict = take_line(j, text);
    }
    free(text);
    for (size_t i = 0; i < j->count; i++)
        j->counts->unknown += j->ops[i].end == SIM_END_OPEN;
    return verdict;
}

/* ---- key by key -------------------------------------------------------------------------------------------- */

static int by_key(const void *a, const void *b)
{
    const struct op *x = *(const struct op *const *)a, *y = *(const struct op *const *)b;
    if (x->key != y->key)
        return x->key < y->key ? -1 : 1;
    return x->line < y->line ? -1 : x->line > y->line;
}

/* Keys know nothing of one another; each is judged alone, so that what is remembered at one time stays small. */
static enum sim_judgement
judge_keys(struct judge *j, enum sim_judgement (*one)(struct judge *, struct op *const *, size_t))
{
    struct op **sorted = calloc(j->count + 1, sizeof(struct op *));
    enum sim_judgement verdict = SIM_JUDGE_GOOD;

    ASSERT(sorted);
    for (size_t i = 0; i < j->count; i++)
        sorted[i] = &j->ops[i];
    qsort(sorted, j->count, sizeof(struct op *), by_key);
    for (size_t from = 0, to; verdict == SIM_JUDGE_GOOD && from < j->count; from = to) {
        for (to = from + 1; to < j->count && sorted[to]->key == sorted[from]->key;)
            to++;
        verdict = one(j, sorted + from, to - from);
        j->counts->keys++;
    }
    free(sorted);
    return verdict;
}

/* ---- registers -------------------------------------------------------------------------------------------- */

static void register_add(struct sim_history *h, const struct op *op)
{
    struct sim_op s = {.kind = op->f == READ    ? SIM_OP_READ
                               : op->f == WRITE ? SIM_OP_WRITE
                                                : SIM_OP_CAS,
                       .process = op->process,
                       .invoke_ns = op->invoke_ns,
                       .value = op->value,
                       .expected = op->expected};
    size_t number = sim_history_begin(h, &s);

    if (op->end != SIM_END_OPEN)
        sim_history_end(h, number, op->end, op->return_ns, op->value, op->swapped);
}

static enum sim_judgement one_register(struct judge *j, struct op *const *ops, size_t count)
{
    struct sim_history *h = sim_history_create();
    struct err_text why = {""};

    for (size_t i = 0; i < count; i++)
        register_add(h, ops[i]);
    enum sim_verdict v = sim_history_check(h, STEP_LIMIT, &why);
    sim_history_destroy(h);
    if (v == SIM_LINEARIZABLE_YES)
        return SIM_JUDGE_GOOD;
    return SAY(j, v == SIM_LINEARIZABLE_NO ? SIM_JUDGE_BAD : SIM_JUDGE_INVALID, "key %llu: %s",
               (ULL)ops[0]->key, why.text);
}

/* ---- order ------------------------------------------------------------------------------------------------- */

static struct sim_deed deed_of(const struct op *op)
{
    return (struct sim_deed){.kind = op->f == APPEND ? SIM_DEED_WRITE : SIM_DEED_READ,
                             .level = op->f == APPEND ? SIM_NONE : op->level,
                             .end = op->end == SIM_END_OPEN ? SIM_END_INFO : op->end,
                             .number = op->f == APPEND ? op->number : op->line,
                             .invoke_ns = op->invoke_ns,
                             .return_ns = op->return_ns,
                             .server = op->node,
                             .incarnation = op->life,
                             .key = (uint32_t)op->key,
                             .attempts = 1,
                             .value = op->value,
                             .position = op->row};
}

static enum sim_judgement judge_order(struct judge *j)
{
    struct sim_deed *deeds = calloc(j->count + 1, sizeof(*deeds));
    struct sim_order order = {.deeds = deeds};
    enum sim_oracle oracle;
    struct err_text why = {""};
    enum sim_judgement verdict = SIM_JUDGE_GOOD;
    const struct op *ledger = NULL;

    ASSERT(deeds);
    for (size_t i = 0; i < j->count; i++) {
        const struct op *op = &j->ops[i];
        if (op->f != LEDGER)
            deeds[order.count++] = deed_of(op);
        else if (op->end == SIM_END_OK)
            ledger = op;
        if (op->key >= SIM_ORDER_KEYS_MAX || (op->f == APPEND && op->number == 0))
            verdict = SAY(j, SIM_JUDGE_INVALID, "line %u: key or number out of range", op->line);
    }
    j->counts->keys = SIM_ORDER_KEYS_MAX;
    if (!ledger)
        verdict = SAY(j, SIM_JUDGE_INVALID, "the ledger was not read at the end");
    if (verdict == SIM_JUDGE_GOOD) {
        order.ledger = ledger->list;
        order.rows = ledger->list_len;
        if (!sim_order_check(&order, &oracle, &why))
            verdict = SAY(j, SIM_JUDGE_BAD, "%s (%s): %s", sim_oracle_name(oracle),
                          sim_oracle_text(oracle), why.text);
    }
    free(deeds);
    return verdict;
}

/* ---- set ----------------------------------------------------------------------------------------------------- */

struct member {
    const struct op *add;
    uint64_t seen_ns; /* when the first look that saw it had ended; 0: nobody has yet */
};
/* The members of one key: numbers first … first + count - 1. */
struct set {
    uint64_t first;
    size_t count;
    struct member *members;
    bool *there; /* in the look at hand */
};

/* Everything a look saw was added, by somebody who might have succeeded, once. */
static enum sim_judgement look_seen(struct judge *j, struct set *s, const struct op *look)
{
    memset(s->there, 0, s->count * sizeof(*s->there));
    for (size_t i = 0; i < look->list_len; i++) {
        uint64_t n = look->list[i];
        uint64_t at = n - s->first; /* less than first: far beyond count */
        const struct op *add = at < s->count ? s->members[at].add : NULL;
        if (!add || add->invoke_ns > look->return_ns)
            return SAY(j, SIM_JUDGE_BAD, "line %u: member %llu, which nobody had added", look->line,
                       (ULL)n);
        if (add->end == SIM_END_FAIL)
            return SAY(j, SIM_JUDGE_BAD, "line %u: member %llu, whose addition failed for certain",
                       look->line, (ULL)n);
        if (s->there[at])
            return SAY(j, SIM_JUDGE_BAD, "line %u: member %llu is there twice", look->line, (ULL)n);
        s->there[at] = true;
    }
    return SIM_JUDGE_GOOD;
}

/* Looks of level linearizable and strong miss nothing that was certain before: acknowledged, or shown to anybody. */
static enum sim_judgement look_missed(struct judge *j, struct set *s, const struct op *look)
{
    bool strict = look->level >= SIM_LINEARIZABLE;

    for (size_t i = 0; i < s->count; i++) {
        struct member *m = &s->members[i];
        bool certain =
            m->add && ((m->add->end == SIM_END_OK && m->add->return_ns < look->invoke_ns) ||
                       (m->seen_ns && m->seen_ns < look->invoke_ns));
        if (strict && certain && !s->there[i])
            return SAY(j, SIM_JUDGE_BAD, "line %u: member %llu is lost", look->line,
                       (ULL)(s->first + i));
        if (s->there[i] && (!m->seen_ns || look->return_ns < m->seen_ns))
            m->seen_ns = look->return_ns;
    }
    return SIM_JUDGE_GOOD;
}

static enum sim_judgement set_fill(struct judge *j, struct set *s, struct op *const *ops,
                                   size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (ops[i]->f != ADD)
            continue;
        struct member *m = &s->members[ops[i]->number - s->first];
        if (m->add)
            return SAY(j, SIM_JUDGE_INVALID, "line %u: added twice", ops[i]->line);
        m->add = ops[i];
    }
    return SIM_JUDGE_GOOD;
}

static enum sim_judgement set_looks(struct judge *j, struct set *s, struct op *const *ops,
                                    size_t count)
{
    enum sim_judgement verdict = SIM_JUDGE_GOOD;
    bool looked = false;

    for (size_t i = 0; verdict == SIM_JUDGE_GOOD && i < count; i++) {
        if (ops[i]->f != MEMBERS || ops[i]->end != SIM_END_OK)
            continue;
        looked = true;
        verdict = look_seen(j, s, ops[i]);
        if (verdict == SIM_JUDGE_GOOD)
            verdict = look_missed(j, s, ops[i]);
    }
    if (verdict == SIM_JUDGE_GOOD && !looked)
        verdict = SAY(j, SIM_JUDGE_INVALID, "nobody looked at set %llu", (ULL)ops[0]->key);
    return verdict;
}

static enum sim_judgement one_set(struct judge *j, struct op *const *ops, size_t count)
{
    uint64_t least = UINT64_MAX, most = 0;
    enum sim_judgement verdict;

    for (size_t i = 0; i < count; i++)
        if (ops[i]->f == ADD) {
            least = ops[i]->number < least ? ops[i]->number : least;
            most = ops[i]->number > most ? ops[i]->number : most;
        }
    struct set s = {.first = least, .count = least <= most ? (size_t)(most - least) + 1 : 0};
    if (s.count > 4 * count + 1024)
        return SAY(j, SIM_JUDGE_INVALID, "numbers of members are not dense");
    s.members = calloc(s.count + 1, sizeof(*s.members));
    s.there = calloc(s.count + 1, sizeof(*s.there));
    ASSERT(s.members && s.there);
    verdict = set_fill(j, &s, ops, count);
    if (verdict == SIM_JUDGE_GOOD)
        verdict = set_looks(j, &s, ops, count);
    free(s.members);
    free(s.there);
    return verdict;
}

/* ---- whole ----------------------------------------------------------------------------------------------------- */

static enum sim_judgement judge_all(struct judge *j)
{
    switch (j->workload) {
    case REGISTERS:
        return judge_keys(j, one_register);
    case ORDER:
        return judge_order(j);
    case SET:
        return judge_keys(j, one_set);
    case WORKLOAD_COUNT:
        break;
    }
    return SAY(j, SIM_JUDGE_INVALID, "the history is empty");
}

enum sim_judgement sim_judge(FILE *history, struct sim_judge_counts *counts, struct err_text *why)
{
    struct judge j = {.workload = NONE, .counts = counts, .why = why};

    *counts = (struct sim_judge_counts){0};
    j.open = calloc(PROCESSES_MAX, sizeof(*j.open));
    ASSERT(j.open);
    enum sim_judgement verdict = read_history(&j, history);
    if (verdict == SIM_JUDGE_GOOD)
        verdict = judge_all(&j);
    for (size_t i = 0; i < j.count; i++)
        free(j.ops[i].list);
    free(j.ops);
    free(j.open);
    return verdict;
}
