/* sim_history_check.c — is a history possible: check what the search takes for granted, prepare it, ask.
 *
 * Two reductions keep the search small. Values are unique, so an unknown write that somebody saw took
 * effect before the first of its readers returned. One that nobody saw matters only as a reason why a
 * compare was refused: without such compares it is left out, with them it is junk
 * (sim_history_search.c). */
#include "sim_history_int.h"
#include <rq/util/assert.h>
#include <stdlib.h>
#include <string.h>

static int compare_values(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

static bool values_are_unique(const struct sim_history *h, struct err_text *why)
{
    int64_t *values = malloc((h->count + 1) * sizeof(*values));
    size_t n = 0;
    bool good = true;

    ASSERT(values);
    for (size_t i = 0; i < h->count; i++)
        if (sim_op_writes(&h->ops[i]))
            values[n++] = h->ops[i].value;
    qsort(values, n, sizeof(*values), compare_values);
    for (size_t i = 0; i < n && good; i++) {
        good = values[i] != 0 && (i == 0 || values[i] != values[i - 1]);
        if (!good)
            err_set(why, ERR_INVALID, "invalid history: value %lld is written twice, or is 0",
                    (long long)values[i]);
    }
    free(values);
    return good;
}

static int compare_processes(const void *a, const void *b)
{
    const struct sim_op *x = *(const struct sim_op *const *)a;
    const struct sim_op *y = *(const struct sim_op *const *)b;
    if (x->process != y->process)
        return x->process < y->process ? -1 : 1;
    if (x->invoke_ns != y->invoke_ns)
        return x->invoke_ns < y->invoke_ns ? -1 : 1;
    return x < y ? -1 : x > y; /* same array: as recorded */
}

/* Processes do one thing after the other; one whose operation has no known end does nothing more. */
static bool processes_take_turns(const struct sim_history *h, struct err_text *why)
{
    const struct sim_op **ops = malloc((h->count + 1) * sizeof(*ops));
    bool good = true;

    ASSERT(ops);
    for (size_t i = 0; i < h->count; i++)
        ops[i] = &h->ops[i];
    qsort(ops, h->count, sizeof(*ops), compare_processes);
    for (size_t i = 1; i < h->count && good; i++) {
        const struct sim_op *before = ops[i - 1];
        good = before->process != ops[i]->process ||
               ((before->end == SIM_END_OK || before->end == SIM_END_FAIL) &&
                before->return_ns <= ops[i]->invoke_ns);
        if (!good)
            err_set(why, ERR_INVALID, "invalid history: process %u has two open operations",
                    before->process);
    }
    free(ops);
    return good;
}

static bool is_valid(const struct sim_history *h, struct err_text *why)
{
    for (size_t i = 0; i < h->count; i++) {
        if (h->ops[i].end != SIM_END_OPEN && h->ops[i].return_ns < h->ops[i].invoke_ns) {
            err_set(why, ERR_INVALID, "invalid history: operation %zu ends before it begins", i);
            return false;
        }
    }
    return values_are_unique(h, why) && processes_take_turns(h, why);
}

/* ---- preparing ----------------------------------------------------------------------------------------------- */

static bool is_unknown(const struct sim_op *op)
{
    return op->end == SIM_END_OPEN || op->end == SIM_END_INFO;
}

static bool was_refused(const struct sim_op *op)
{
    return op->kind == SIM_OP_CAS && op->end == SIM_END_OK && !op->swapped;
}

static bool has_refused_compare(const struct sim_history *h)
{
    for (size_t i = 0; i < h->count; i++)
        if (was_refused(&h->ops[i]))
            return true;
    return false;
}

/* A compare asked for this very value: then it is not like any other. */
static bool was_asked_for(const struct sim_history *h, int64_t value)
{
    for (size_t i = 0; i < h->count; i++)
        if (was_refused(&h->ops[i]) && h->ops[i].expected == value)
            return true;
    return false;
}

/* Did it certainly see this value? An unknown CAS did, if somebody saw what it wrote. */
static bool saw(const struct sim_op *op, uint64_t done_by, int64_t value)
{
    int64_t seen;

    if (is_unknown(op))
        return op->kind == SIM_OP_CAS && done_by != SIM_FOREVER && op->expected == value;
    return sim_op_saw(op, &seen) && seen == value;
}

/* Latest moment at which each operation took effect: its return, or that of the first that saw its
 * value, which may itself be known from a third only: until nothing changes. */
static void find_latest(const struct sim_history *h, uint64_t *latest)
{
    bool changed = true;

    for (size_t i = 0; i < h->count; i++)
        latest[i] = is_unknown(&h->ops[i]) ? SIM_FOREVER : h->ops[i].return_ns;
    while (changed) {
        changed = false;
        for (size_t i = 0; i < h->count; i++) {
            if (!sim_op_writes(&h->ops[i]) || h->ops[i].end == SIM_END_FAIL)
                continue;
            for (size_t j = 0; j < h->count; j++) {
                if (latest[j] >= latest[i] || !saw(&h->ops[j], latest[j], h->ops[i].value))
                    continue;
                latest[i] = latest[j];
                changed = true;
            }
        }
    }
}

size_t sim_history_prepare(const struct sim_history *h, struct search_op *out)
{
    uint64_t *latest = malloc((h->count + 1) * sizeof(*latest));
    bool unseen_matters = has_refused_compare(h);
    size_t n = 0;

    ASSERT(latest);
    find_latest(h, latest);
    for (size_t i = 0; i < h->count; i++) {
        const struct sim_op *op = &h->ops[i];
        struct search_op s = {op, i, op->invoke_ns, latest[i], false};
        if (op->end == SIM_END_FAIL || (is_unknown(op) && op->kind == SIM_OP_READ))
            continue;
        if (latest[i] == SIM_FOREVER && !unseen_matters)
            continue;
        s.junk = latest[i] == SIM_FOREVER && !was_asked_for(h, op->value);
        if (s.return_ns < s.invoke_ns) /* seen before it began: the search will refuse that */
            s.return_ns = s.invoke_ns;
        out[n++] = s;
    }
    free(latest);
    return n;
}

enum sim_verdict sim_history_check(const struct sim_history *h, uint64_t step_limit,
                                   struct err_text *why)
{
    if (!is_valid(h, why))
        return SIM_HISTORY_INVALID;
    struct search_op *ops = malloc((h->count + 1) * sizeof(*ops));
    ASSERT(ops);
    size_t count = sim_history_prepare(h, ops);
    struct search_result r = {SIM_LINEARIZABLE_NO, 0, 0};
    if (sim_history_contradiction(h, ops, count, why))
        goto out;
    r = sim_history_search(ops, count, step_limit, false);
    if (r.verdict == SIM_LINEARIZABLE_NO)
        sim_history_explain(h, ops, count, &r, step_limit, why);
    if (r.verdict == SIM_LINEARIZABLE_UNKNOWN)
        err_set(why, ERR_FULL, "undecided after %llu steps", (unsigned long long)r.steps);
out:
    free(ops);
    return r.verdict;
}
