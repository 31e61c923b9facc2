/* sim_order.c — see sim_order.h. The judge of each promise is one function; they share struct sight:
 * where each write stands, and the keys' values after each row. */
#include "sim_order.h"
#include <rq/util/assert.h>
#include <stdlib.h>
#include <string.h>

#define ULL unsigned long long

static const char *const deed_names[SIM_DEED_COUNT] = {
#define DEED_NAME_(name, text) text,
    SIM_DEED_TABLE(DEED_NAME_)
#undef DEED_NAME_
};

const char *sim_deed_name(enum sim_deed_kind k)
{
    return deed_names[k];
}

struct sight {
    const struct sim_order *o;
    const struct sim_deed **by_number;     /* writes */
    uint64_t numbers;                      /* highest */
    uint64_t *row_of;                      /* by number; 0: not in the ledger */
    uint32_t *times;                       /* by number: rows it has */
    int64_t (*values)[SIM_ORDER_KEYS_MAX]; /* after each row; [0]: in the beginning */
    bool *took_effect;                     /* by row: a swap found what it expected */
    bool (*unsure)[SIM_ORDER_KEYS_MAX];    /* as values: a row nobody knows may have set it */
    enum sim_oracle oracle;
    struct err_text *why;
};

static void evaluated(const struct sight *s, enum sim_oracle o)
{
    if (s->o->evaluations)
        s->o->evaluations[o]++;
}

#define REFUSE(s, o, ...)                                                                          \
    ((s)->oracle = (o), (void)err_set((s)->why, ERR_INVALID, __VA_ARGS__), false)

/* ---- what the ledger says ------------------------------------------------------------------------------- */

static void sight_fini(struct sight *s)
{
    free(s->by_number);
    free(s->row_of);
    free(s->times);
    free(s->values);
    free(s->took_effect);
    free(s->unsure);
}

static void sight_init(struct sight *s)
{
    const struct sim_order *o = s->o;

    for (size_t i = 0; i < o->count; i++)
        if (sim_deed_writes(o->deeds[i].kind) && o->deeds[i].number > s->numbers)
            s->numbers = o->deeds[i].number;
    s->by_number = calloc(s->numbers + 1, sizeof(*s->by_number));
    s->row_of = calloc(s->numbers + 1, sizeof(*s->row_of));
    s->times = calloc(s->numbers + 1, sizeof(*s->times));
    s->values = calloc(o->rows + 1, sizeof(*s->values));
    s->took_effect = calloc(o->rows + 1, sizeof(*s->took_effect));
    s->unsure = calloc(o->rows + 1, sizeof(*s->unsure));
    ASSERT(s->by_number && s->row_of && s->times && s->values && s->took_effect && s->unsure);
    for (size_t i = 0; i < o->count; i++)
        if (sim_deed_writes(o->deeds[i].kind))
            s->by_number[o->deeds[i].number] = &o->deeds[i];
}

static void load_replay(struct sight *s, size_t row, const struct sim_deed *d)
{
    for (uint32_t k = 0; k < SIM_ORDER_KEYS_MAX; k++) {
        s->values[row][k] = k < d->key ? d->value + k : 0;
        s->unsure[row][k] = false;
    }
}

/* Replay the writes in the order of their rows. */
static bool ledger_replay(struct sight *s)
{
    for (size_t row = 1; row <= s->o->rows; row++) {
        uint64_t number = s->o->ledger[row - 1];
        const struct sim_deed *d = number <= s->numbers ? s->by_number[number] : NULL;
        memcpy(s->values[row], s->values[row - 1], sizeof(s->values[row]));
        memcpy(s->unsure[row], s->unsure[row - 1], sizeof(s->unsure[row]));
        if (number == 0) {
            memset(s->unsure[row], true, sizeof(s->unsure[row]));
            continue;
        }
        if (!d)
            return REFUSE(s, SIM_C2, "the ledger holds operation %llu, which nobody sent",
                          (ULL)number);
        s->times[number]++;
        if (s->row_of[number] == 0)
            s->row_of[number] = row;
        if (sim_deed_queues(d->kind))
            continue;
        if (d->kind == SIM_DEED_LOAD) {
            load_replay(s, row, d);
            continue;
        }
        int64_t *value = &s->values[row][d->key];
        bool believed = s->unsure[row][d->key] && d->end == SIM_END_OK;
        s->took_effect[row] =
            !sim_deed_swaps(d->kind) || (believed ? d->swapped : *value == d->expected);
        if (s->took_effect[row]) {
            *value = d->value;
            s->unsure[row][d->key] = false;
        }
    }
    return true;
}

/* ---- C2, C7, C9: each write there, once, if its answer says so --------------------------------------------- */

static bool has_condition(const struct sim_deed *d)
{
    return d->kind == SIM_DEED_CONDITION || d->kind == SIM_DEED_UNCHANGED;
}

/* An UPDATE adds its row whether it swapped or not; a condition that is not met adds none. */
static bool adds_row(const struct sim_deed *d)
{
    return !has_condition(d) || d->swapped;
}

/* The row before: no entry behind the index that was named made it. */
static bool unchanged_judge(struct sight *s, const struct sim_deed *d)
{
    uint64_t row = s->row_of[d->number];
    const struct sim_deed *before = row > 1 ? s->by_number[s->o->ledger[row - 2]] : NULL;

    if (!before || before->end != SIM_END_OK || before->raft_index <= d->wait_index)
        return true;
    return REFUSE(s, SIM_C9,
                  "unchanged %llu, to be written if nothing has changed since index %llu, is row "
                  "%llu behind a write of index %llu",
                  (ULL)d->number, (ULL)d->wait_index, (ULL)row, (ULL)before->raft_index);
}

static bool write_judge(struct sight *s, const struct sim_deed *d)
{
    uint32_t times = s->times[d->number];
    uint64_t row = s->row_of[d->number];
    bool ok = d->end == SIM_END_OK;
    enum sim_oracle of = d->kind == SIM_DEED_KEYED && d->attempts > 1 ? SIM_C7
                         : has_condition(d)                           ? SIM_C9
                         : d->kind == SIM_DEED_QUEUED                 ? SIM_C6
                                                                      : SIM_C2;
    /* A number given by a queue is a promise only as long as the node lives. */
    bool must = ok && adds_row(d) && (d->kind != SIM_DEED_QUEUED || d->survived) &&
                !(s->o->forgets && sim_deed_queues(d->kind));
    bool may = d->end != SIM_END_FAIL && (!ok || adds_row(d));

    evaluated(s, of);
    if (times > 1)
        return REFUSE(s, of, "%s %llu, sent %u times, is in the ledger %u times",
                      sim_deed_name(d->kind), (ULL)d->number, d->attempts, times);
    if (must && times == 0)
        return REFUSE(s, of, "%s %llu was acknowledged and is not in the ledger",
                      sim_deed_name(d->kind), (ULL)d->number);
    if (!may && times)
        return REFUSE(s, of, "%s %llu %s, and is in the ledger", sim_deed_name(d->kind),
                      (ULL)d->number, ok ? "found its condition not met" : "failed for certain");
    if (times && ok && d->position && d->position != row)
        return REFUSE(s, SIM_C2, "%s %llu is row %llu of the ledger, and was told %llu",
                      sim_deed_name(d->kind), (ULL)d->number, (ULL)row, (ULL)d->position);
    if (times && ok && sim_deed_swaps(d->kind) && d->swapped != s->took_effect[row])
        return REFUSE(
            s, d->kind == SIM_DEED_CONDITION ? SIM_C9 : SIM_C5,
            "%s %llu of key %u to %lld says it %s %lld, but at row %llu the value was %lld",
            sim_deed_name(d->kind), (ULL)d->number, d->key, (long long)d->value,
            d->swapped ? "found" : "did not find", (long long)d->expected, (ULL)row,
            (long long)s->values[row - 1][d->key]);
    return d->kind != SIM_DEED_UNCHANGED || times == 0 || unchanged_judge(s, d);
}

static bool writes_judge(struct sight *s)
{
    for (size_t i = 0; i < s->o->count; i++)
        if (sim_deed_writes(s->o->deeds[i].kind) && !write_judge(s, &s->o->deeds[i]))
            return false;
    return true;
}

/* ---- C3: a state that was --------------------------------------------------------------------------------------- */

static bool read_judge(struct sight *s, const struct sim_deed *d)
{
    evaluated(s, SIM_C3);
    if (d->position > s->o->rows)
        return REFUSE(s, SIM_C3, "read %llu saw %llu rows, and in the end there are %llu",
                      (ULL)d->number, (ULL)d->position, (ULL)s->o->rows);
    if (d->kind != SIM_DEED_LARGE && !s->unsure[d->position][d->key] &&
        d->value != s->values[d->position][d->key])
        return REFUSE(s, SIM_C3, "read %llu of key %u saw %lld after %llu rows, where it was %lld",
                      (ULL)d->number, d->key, (long long)d->value, (ULL)d->position,
                      (long long)s->values[d->position][d->key]);
    return true;
}

/* ---- C3, C4, C5, C6, C10: agrees with time --------------------------------------------------------------------- */

/* Where a deed stands in the order; 0: nowhere that is known. */
static uint64_t row_of(const struct sight *s, const struct sim_deed *d)
{
    if (sim_deed_writes(d->kind))
        return s->row_of[d->number];
    return d->end == SIM_END_OK ? d->position : 0;
}

static bool is_strict(const struct sim_deed *d)
{
    return sim_deed_writes(d->kind) || d->level == SIM_LINEARIZABLE || d->level == SIM_STRONG;
}

static int compare_invokes(const void *a, const void *b)
{
    const struct sim_deed *x = *(const struct sim_deed *const *)a;
    const struct sim_deed *y = *(const struct sim_deed *const *)b;
    if (x->invoke_ns != y->invoke_ns)
        return x->invoke_ns < y->invoke_ns ? -1 : 1;
    return x < y ? -1 : x > y;
}

static int compare_returns(const void *a, const void *b)
{
    const struct sim_deed *x = *(const struct sim_deed *const *)a;
    const struct sim_deed *y = *(const struct sim_deed *const *)b;
    if (x->return_ns != y->return_ns)
        return x->return_ns < y->return_ns ? -1 : 1;
    return x < y ? -1 : x > y;
}

/* Does what d shows bind those that begin after it has returned? A state that was read is committed; a
 * queue's number promises nothing yet. */
static bool binds(const struct sim_deed *d)
{
    return d->end == SIM_END_OK && d->kind != SIM_DEED_QUEUED && d->kind != SIM_DEED_ABORTED;
}

/* The highest row shown to anybody who was answered before `d` was asked. */
static bool strict_judge(struct sight *s, const struct sim_deed *d, const struct sim_deed *shown,
                         uint64_t floor)
{
    uint64_t row = row_of(s, d);
    bool writes = sim_deed_writes(d->kind);

    if (!is_strict(d) || (writes ? row == 0 : d->end != SIM_END_OK))
        return true;
    evaluated(s, SIM_C5);
    if (!shown || row > floor || (!writes && row == floor))
        return true;
    return REFUSE(s, SIM_C5,
                  "%s %llu, asked at %llu us, stands at row %llu; row %llu was shown by %s "
                  "%llu, answered at %llu us",
                  sim_deed_name(d->kind), (ULL)d->number, (ULL)(d->invoke_ns / 1000), (ULL)row,
                  (ULL)floor, sim_deed_name(shown->kind), (ULL)shown->number,
                  (ULL)(shown->return_ns / 1000));
}

static bool time_judge(struct sight *s, const struct sim_deed **asked,
                       const struct sim_deed **answered)
{
    const struct sim_deed *shown = NULL;
    uint64_t floor = 0;
    size_t n = s->o->count;

    for (size_t i = 0, j = 0; i < n; i++) {
        for (; j < n && answered[j]->return_ns < asked[i]->invoke_ns; j++) {
            uint64_t row = binds(answered[j]) ? row_of(s, answered[j]) : 0;
            if (row > floor) {
                floor = row;
                shown = answered[j];
            }
        }
        if (!strict_judge(s, asked[i], shown, floor))
            return false;
    }
    return true;
}

static bool is_local(const struct sim_deed *d)
{
    return !sim_deed_writes(d->kind) && d->level == SIM_NONE && d->end == SIM_END_OK;
}

/* One incarnation of one node: what it shows does not go back. */
static bool node_judge(struct sight *s, const struct sim_deed **asked,
                       const struct sim_deed **answered, const struct sim_deed *of)
{
    uint64_t floor = 0;
    size_t n = s->o->count;

    for (size_t i = 0, j = 0; i < n; i++) {
        const struct sim_deed *d = asked[i];
        if (!is_local(d) || d->server != of->server || d->incarnation != of->incarnation)
            continue;
        for (; j < n && answered[j]->return_ns < d->invoke_ns; j++) {
            const struct sim_deed *a = answered[j];
            if (is_local(a) && a->server == of->server && a->incarnation == of->incarnation &&
                a->position > floor)
                floor = a->position;
        }
        evaluated(s, SIM_C3);
        if (d->position < floor)
            return REFUSE(s, SIM_C3, "read %llu of node %u saw %llu rows after it had shown %llu",
                          (ULL)d->number, d->server + 1, (ULL)d->position, (ULL)floor);
    }
    return true;
}

static int compare_lives(const void *a, const void *b)
{
    const struct sim_deed *x = *(const struct sim_deed *const *)a;
    const struct sim_deed *y = *(const struct sim_deed *const *)b;
    if (x->server != y->server)
        return x->server < y->server ? -1 : 1;
    return x->incarnation < y->incarnation ? -1 : x->incarnation > y->incarnation;
}

/* Node by node and life by life. */
static bool nodes_judge(struct sight *s, const struct sim_deed **asked,
                        const struct sim_deed **answered)
{
    const struct sim_deed **lives = malloc((s->o->count + 1) * sizeof(*lives));
    size_t n = 0;
    bool good = true;

    ASSERT(lives);
    for (size_t i = 0; i < s->o->count; i++)
        if (is_local(asked[i]))
            lives[n++] = asked[i];
    qsort(lives, n, sizeof(*lives), compare_lives);
    for (size_t i = 0; good && i < n; i++)
        if (i == 0 || compare_lives(&lives[i - 1], &lives[i]) != 0)
            good = node_judge(s, asked, answered, lives[i]);
    free(lives);
    return good;
}

/* The most rows that entries up to an index are known to have made. */
static uint64_t rows_by_index(const struct sight *s, uint64_t index)
{
    uint64_t rows = 0;

    for (size_t i = 0; index && i < s->o->count; i++) {
        const struct sim_deed *d = &s->o->deeds[i];
        if (sim_deed_writes(d->kind) && d->end == SIM_END_OK && d->raft_index &&
            d->raft_index <= index && s->row_of[d->number] > rows)
            rows = s->row_of[d->number];
    }
    return rows;
}

static bool index_judge(struct sight *s, const struct sim_deed *d, enum sim_oracle of,
                        uint64_t index)
{
    uint64_t rows = rows_by_index(s, index);

    evaluated(s, of);
    return d->position >= rows
               ? true
               : REFUSE(s, of, "%s %llu saw %llu rows; index %llu, which it had to see, made %llu",
                        sim_deed_name(d->kind), (ULL)d->number, (ULL)d->position, (ULL)index,
                        (ULL)rows);
}

static bool reads_judge(struct sight *s)
{
    for (size_t i = 0; i < s->o->count; i++) {
        const struct sim_deed *d = &s->o->deeds[i];
        if (sim_deed_writes(d->kind) || d->end != SIM_END_OK)
            continue;
        if (!read_judge(s, d))
            return false;
        if (d->level == SIM_WEAK && !index_judge(s, d, SIM_C4, d->leader_index))
            return false;
        if (d->kind == SIM_DEED_CAUGHT_UP && !index_judge(s, d, SIM_C10, d->wait_index))
            return false;
    }
    return true;
}

/* ---- C6 ---------------------------------------------------------------------------------------------------------- */

/* Rows of one queue's requests, in order of rows: the numbers it gave grow. */
static bool queues_judge(struct sight *s)
{
    for (size_t row = 1; row <= s->o->rows; row++) {
        const struct sim_deed *d = s->by_number[s->o->ledger[row - 1]];
        if (!d || !sim_deed_queues(d->kind) || d->sequence == 0)
            continue;
        for (size_t before = row - 1; before > 0;
             before--) { /* the one before it of the same queue */
            const struct sim_deed *b = s->by_number[s->o->ledger[before - 1]];
            if (!b || !sim_deed_queues(b->kind) || b->sequence == 0 || b->server != d->server ||
                b->incarnation != d->incarnation)
                continue;
            evaluated(s, SIM_C6);
            if (b->sequence >= d->sequence)
                return REFUSE(
                    s, SIM_C6, "node %u wrote its number %llu (row %llu) before %llu (row %llu)",
                    d->server + 1, (ULL)b->sequence, (ULL)before, (ULL)d->sequence, (ULL)row);
            break;
        }
    }
    return true;
}

/* ------------------------------------------------------------------------------------------------------------------ */

static bool judge(struct sight *s)
{
    size_t n = s->o->count;
    const struct sim_deed **asked = malloc((n + 1) * sizeof(*asked));
    const struct sim_deed **answered = malloc((n + 1) * sizeof(*answered));

    ASSERT(asked && answered);
    for (size_t i = 0; i < n; i++)
        asked[i] = answered[i] = &s->o->deeds[i];
    qsort(asked, n, sizeof(*asked), compare_invokes);
    qsort(answered, n, sizeof(*answered), compare_returns);
    bool good = ledger_replay(s) && writes_judge(s) && reads_judge(s) &&
                time_judge(s, asked, answered) && nodes_judge(s, asked, answered) &&
                queues_judge(s);
    free(asked);
    free(answered);
    return good;
}

bool sim_order_check(const struct sim_order *o, enum sim_oracle *oracle, struct err_text *why)
{
    struct sight s = {.o = o, .why = why};

    sight_init(&s);
    bool good = judge(&s);
    *oracle = s.oracle;
    sight_fini(&s);
    return good;
}
