/* sim_history_search.c — Wing and Gong's search (1993) with Lowe's memoisation (2017), on the list that
 * Porcupine made well known.
 *
 *   list of events in time:  call a, call b, return a, call c, return c, return b
 *
 * Take a call from the part before the first return: it may take effect now. If the register agrees,
 * lift call and return out of the list and go on from the front; if the front is a return, its call
 * should have come earlier: put the last one back and try the next. A set of operations already placed
 * and the value they left behind need not be tried twice; sets are bitsets, remembered in a hash table.
 *
 * Junk (unknown writes and CAS whose value nobody saw or asked for) is not in the list. It can only explain why a
 * compare was refused although the register seemed equal, so it is placed right before that, when needed:
 * a CAS that expects this very value first, else the write that was invoked earliest. All junk values
 * are alike; this order loses nothing and saves trying every subset. */
#include "sim_history_int.h"
#include <rq/util/assert.h>
#include <rq/util/prng.h>
#include <stdlib.h>
#include <string.h>

enum { SEEN_BYTES_MAX = 512 * 1024 * 1024, BITS = 64 };

/* Any value that nobody saw; all of them are alike. */
#define JUNK_VALUE INT64_MIN
#define NO_JUNK SIZE_MAX

struct event {
    struct event *before, *after;
    struct event *match; /* call: its return; return: NULL */
    size_t op;
    uint64_t at_ns;
    bool is_call;
};
struct placed { /* one decision, to be taken back */
    struct event *call;
    int64_t state;
    size_t junk; /* placed right before it; NO_JUNK: none */
};
struct search {
    const struct search_op *ops;
    size_t count, words, left; /* left: operations with an end that are not placed yet */
    bool ignore_compare;
    struct event head, *events;
    struct placed *stack;
    size_t depth, deepest, stuck_on;
    uint64_t *done; /* bitset */
    /* seen: open addressing over records of 1 + words words (state, bitset); 0 in index: empty */
    uint64_t *records;
    uint32_t *index;
    size_t record_count, record_cap, index_cap;
};

/* ---- remembered states ----------------------------------------------------------------------------------- */

static uint64_t hash_record(const struct search *s, const uint64_t *record)
{
    return prng_hash(1, record, (s->words + 1) * sizeof(*record));
}

static void index_put(struct search *s, uint32_t number)
{
    uint64_t hash = hash_record(s, s->records + (size_t)number * (s->words + 1));
    size_t at = (size_t)(hash & (s->index_cap - 1));
    while (s->index[at])
        at = (at + 1) & (s->index_cap - 1);
    s->index[at] = number + 1;
}

static bool seen_grow(struct search *s)
{
    size_t record_bytes = (s->words + 1) * sizeof(uint64_t);

    if (s->record_count < s->record_cap)
        return true;
    if (2 * s->record_cap * record_bytes > SEEN_BYTES_MAX)
        return false;
    s->record_cap *= 2;
    s->index_cap = s->record_cap * 2;
    s->records = realloc(s->records, s->record_cap * record_bytes);
    free(s->index);
    s->index = calloc(s->index_cap, sizeof(*s->index));
    ASSERT(s->records && s->index);
    for (uint32_t i = 0; i < s->record_count; i++)
        index_put(s, i);
    return true;
}

/* 1: new and now remembered; 0: known; -1: no room for more. */
static int seen_add(struct search *s, int64_t state)
{
    if (!seen_grow(s))
        return -1;
    uint64_t *record = s->records + s->record_count * (s->words + 1);
    memcpy(record, &state, sizeof(state));
    memcpy(record + 1, s->done, s->words * sizeof(uint64_t));
    size_t at = (size_t)(hash_record(s, record) & (s->index_cap - 1));
    for (; s->index[at]; at = (at + 1) & (s->index_cap - 1))
        if (memcmp(s->records + (size_t)(s->index[at] - 1) * (s->words + 1), record,
                   (s->words + 1) * sizeof(uint64_t)) == 0)
            return 0;
    s->index[at] = (uint32_t)++s->record_count;
    return 1;
}

/* ---- the list of events ------------------------------------------------------------------------------------- */

/* At one instant calls come before returns: such operations count as concurrent. */
static int compare_events(const void *a, const void *b)
{
    const struct event *x = a, *y = b;
    if (x->at_ns != y->at_ns)
        return x->at_ns < y->at_ns ? -1 : 1;
    if (x->is_call != y->is_call)
        return x->is_call ? -1 : 1;
    return x->op < y->op ? -1 : x->op > y->op;
}

static void build_list(struct search *s)
{
    struct event **calls = calloc(s->count + 1, sizeof(struct event *));
    struct event *last = &s->head;
    size_t n = 0;

    ASSERT(calls);
    for (size_t i = 0; i < s->count; i++) {
        if (s->ops[i].junk)
            continue;
        s->events[n++] = (struct event){.op = i, .at_ns = s->ops[i].invoke_ns, .is_call = true};
        s->events[n++] = (struct event){.op = i, .at_ns = s->ops[i].return_ns};
        s->left += s->ops[i].return_ns != SIM_FOREVER;
    }
    qsort(s->events, n, sizeof(s->events[0]), compare_events);
    for (size_t i = 0; i < n; i++) {
        struct event *e = &s->events[i];
        if (e->is_call)
            calls[e->op] = e;
        else
            calls[e->op]->match = e;
        e->before = last;
        last->after = e;
        last = e;
    }
    free(calls);
}

static void unlink_event(struct event *e)
{
    e->before->after = e->after;
    if (e->after)
        e->after->before = e->before;
}

static void relink_event(struct event *e)
{
    e->before->after = e;
    if (e->after)
        e->after->before = e;
}

/* ---- one decision ---------------------------------------------------------------------------------------------- */

static bool is_done(const struct search *s, size_t op)
{
    return (s->done[op / BITS] >> (op % BITS)) & 1;
}

static void flip_done(struct search *s, size_t op)
{
    s->done[op / BITS] ^= 1ULL << (op % BITS);
}

/* Junk that may take effect now, that is, before the first operation that has to end. */
static size_t find_junk(const struct search *s, int64_t state)
{
    const struct event *end = s->head.after;
    size_t best = NO_JUNK;

    while (end->is_call)
        end = end->after;
    for (size_t i = 0; i < s->count; i++) {
        const struct search_op *o = &s->ops[i];
        if (!o->junk || is_done(s, i) || o->invoke_ns > end->at_ns)
            continue;
        if (o->op->kind == SIM_OP_CAS && o->op->expected == state)
            return i;
        if (o->op->kind == SIM_OP_WRITE &&
            (best == NO_JUNK || o->invoke_ns < s->ops[best].invoke_ns))
            best = i;
    }
    return best;
}

/* May this take effect on a register that holds *state? *junk: what must come right before it. */
static bool agrees(const struct search *s, const struct sim_op *op, int64_t *state, size_t *junk)
{
    *junk = NO_JUNK;
    if (op->kind == SIM_OP_READ)
        return *state == op->value;
    if (op->kind == SIM_OP_WRITE) {
        *state = op->value;
        return true;
    }
    bool swaps = op->end != SIM_END_OK || op->swapped; /* unknown: else it is nowhere needed */
    if (swaps) {
        bool fits = s->ignore_compare || *state == op->expected;
        *state = op->value;
        return fits;
    }
    if (*state == op->expected && !s->ignore_compare) {
        *junk = find_junk(s, *state);
        *state = JUNK_VALUE;
        return *junk != NO_JUNK;
    }
    return true;
}

static void mark(struct search *s, size_t op, size_t junk)
{
    flip_done(s, op);
    if (junk != NO_JUNK)
        flip_done(s, junk);
}

static struct event *take_back(struct search *s, int64_t *state)
{
    struct placed *p = &s->stack[--s->depth];

    s->left += s->ops[p->call->op].return_ns != SIM_FOREVER;
    mark(s, p->call->op, p->junk);
    relink_event(p->call->match);
    relink_event(p->call);
    *state = p->state;
    return p->call;
}

/* 1: placed; 0: not here; -1: out of room. */
static int try_call(struct search *s, struct event *call, int64_t *state)
{
    int64_t next = *state;
    size_t junk;

    if (!agrees(s, s->ops[call->op].op, &next, &junk))
        return 0;
    mark(s, call->op, junk);
    int fresh = seen_add(s, next);
    if (fresh <= 0) {
        mark(s, call->op, junk);
        return fresh;
    }
    s->stack[s->depth++] = (struct placed){call, *state, junk};
    s->left -= s->ops[call->op].return_ns != SIM_FOREVER;
    unlink_event(call);
    unlink_event(call->match);
    *state = next;
    return 1;
}

static enum sim_verdict run(struct search *s, uint64_t step_limit, uint64_t *steps)
{
    struct event *at = s->head.after;
    int64_t state = 0;

    while (s->left > 0) {
        if (++*steps > step_limit)
            return SIM_LINEARIZABLE_UNKNOWN;
        ASSERT(at);
        if (at->is_call) {
            int placed = try_call(s, at, &state);
            if (placed < 0)
                return SIM_LINEARIZABLE_UNKNOWN;
            at = placed ? s->head.after : at->after;
            continue;
        }
        if (s->depth >= s->deepest) {
            s->deepest = s->depth;
            s->stuck_on = s->ops[at->op].number;
        }
        if (s->depth == 0)
            return SIM_LINEARIZABLE_NO;
        at = take_back(s, &state)->after;
    }
    return SIM_LINEARIZABLE_YES;
}

/* ---- all of it ---------------------------------------------------------------------------------------------------- */

struct search_result sim_history_search(const struct search_op *ops, size_t count,
                                        uint64_t step_limit, bool ignore_compare)
{
    struct search s = {.ops = ops, .count = count, .ignore_compare = ignore_compare};
    struct search_result r = {SIM_LINEARIZABLE_YES, 0, 0};

    s.words = count / BITS + 1;
    s.record_cap = 1024;
    s.index_cap = 2048;
    s.events = calloc(2 * count + 1, sizeof(*s.events));
    s.stack = calloc(count + 1, sizeof(*s.stack));
    s.done = calloc(s.words, sizeof(*s.done));
    s.records = calloc(s.record_cap, (s.words + 1) * sizeof(*s.records));
    s.index = calloc(s.index_cap, sizeof(*s.index));
    ASSERT(s.events && s.stack && s.done && s.records && s.index);
    build_list(&s);
    r.verdict = run(&s, step_limit, &r.steps);
    r.stuck_on = s.stuck_on;
    free(s.events);
    free(s.stack);
    free(s.done);
    free(s.records);
    free(s.index);
    return r;
}
