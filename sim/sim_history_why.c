/* sim_history_why.c — a refused history in words. The search says that no order exists; a person wants to
 * see the two or three operations that cannot go together. Values are unique, so the plain patterns are
 * proofs; they are looked for first, because a search that must fail tries everything before it says so. */
#include "sim_history_int.h"
#include <rq/util/assert.h>
#include <stdio.h>
#include <string.h>

typedef long long ll;
typedef unsigned long long ull;

enum { WORDS = 120 };

static const char *op_words(const struct sim_op *op, char out[WORDS])
{
    char until[32] = "…";

    if (op->end == SIM_END_OK || op->end == SIM_END_FAIL)
        (void)snprintf(until, sizeof(until), "%llu", (ull)op->return_ns);
    if (op->kind == SIM_OP_CAS)
        (void)snprintf(out, WORDS, "process %u cas %lld to %lld%s [%llu, %s]", op->process,
                       (ll)op->expected, (ll)op->value,
                       op->end == SIM_END_OK && !op->swapped ? " (refused)" : "",
                       (ull)op->invoke_ns, until);
    else
        (void)snprintf(out, WORDS, "process %u %s %lld [%llu, %s]", op->process,
                       op->kind == SIM_OP_READ ? "read" : "wrote", (ll)op->value,
                       (ull)op->invoke_ns, until);
    return out;
}

static void say(struct err_text *why, const char *reason, const struct sim_op *a,
                const struct sim_op *b, const struct sim_op *c)
{
    char aw[WORDS], bw[WORDS], cw[WORDS];

    err_set(why, ERR_INVALID, "%s: %s%s%s%s%s", reason, op_words(a, aw), b ? "; " : "",
            b ? op_words(b, bw) : "", c ? "; " : "", c ? op_words(c, cw) : "");
}

/* A CAS that swapped what it could not have found has a reason of its own. */
static const char *reason_for(const struct sim_op *reader, const char *reason)
{
    return reader->kind == SIM_OP_CAS ? "compare-and-set saw another value" : reason;
}

/* Latest moment at which the write of this value took effect: its own return, or its first reader's. */
static uint64_t done_by(const struct search_op *ops, size_t count, const struct sim_op *write)
{
    for (size_t i = 0; i < count; i++)
        if (ops[i].op == write)
            return ops[i].return_ns;
    return SIM_FOREVER;
}

static bool explain_source(const struct sim_history *h, const struct sim_op *reader, int64_t value,
                           struct err_text *why)
{
    const struct sim_op *writer = sim_history_writer(h, value);

    if (value == 0)
        return false;
    if (!writer)
        say(why, reason_for(reader, "value never written"), reader, NULL, NULL);
    else if (writer->end == SIM_END_FAIL)
        say(why, "write took effect after it failed", reader, writer, NULL);
    else if (reader->return_ns < writer->invoke_ns)
        say(why, reason_for(reader, "read from the future"), reader, writer, NULL);
    else
        return false;
    return true;
}

/* Did somebody see value in an operation that ended before / began after this moment? */
static bool seen_before(const struct sim_history *h, int64_t value, uint64_t ns)
{
    int64_t saw;
    for (size_t i = 0; i < h->count; i++)
        if (sim_op_saw(&h->ops[i], &saw) && saw == value && h->ops[i].return_ns < ns)
            return true;
    return false;
}

static bool other_seen_after(const struct sim_history *h, int64_t value, uint64_t ns)
{
    int64_t saw;
    for (size_t i = 0; i < h->count; i++)
        if (sim_op_saw(&h->ops[i], &saw) && saw != value && h->ops[i].invoke_ns > ns)
            return true;
    return false;
}

/* reader saw `value`, though `newer` came wholly between its write and this read. */
static const char *name_of_old_value(const struct sim_history *h, const struct sim_op *reader,
                                     int64_t value, const struct sim_op *newer)
{
    if (reader->kind == SIM_OP_CAS)
        return "compare-and-set saw another value";
    if (!seen_before(h, newer->value, SIM_FOREVER))
        return "lost write";
    if (seen_before(h, newer->value, reader->invoke_ns) &&
        !other_seen_after(h, value, reader->return_ns))
        return "resurrected value";
    return "stale read";
}

static bool explain_old_value(const struct sim_history *h, const struct search_op *ops,
                              size_t count, const struct sim_op *reader, int64_t value,
                              struct err_text *why)
{
    const struct sim_op *writer = sim_history_writer(h, value);
    uint64_t written_by = writer ? done_by(ops, count, writer) : 0;

    for (size_t i = 0; i < count; i++) {
        const struct sim_op *newer = ops[i].op;
        if (!sim_op_writes(newer) || newer == writer || newer == reader)
            continue;
        if (newer->kind == SIM_OP_CAS && newer->end == SIM_END_OK && !newer->swapped)
            continue;
        bool after = !writer || written_by < newer->invoke_ns;
        if (!after || ops[i].return_ns >= reader->invoke_ns)
            continue;
        say(why, name_of_old_value(h, reader, value, newer), reader, newer, writer);
        return true;
    }
    return false;
}

bool sim_history_contradiction(const struct sim_history *h, const struct search_op *ops,
                               size_t count, struct err_text *why)
{
    int64_t value;

    for (size_t i = 0; i < h->count; i++)
        if (sim_op_saw(&h->ops[i], &value) && explain_source(h, &h->ops[i], value, why))
            return true;
    for (size_t i = 0; i < h->count; i++)
        if (sim_op_saw(&h->ops[i], &value) &&
            explain_old_value(h, ops, count, &h->ops[i], value, why))
            return true;
    return false;
}

void sim_history_explain(const struct sim_history *h, const struct search_op *ops, size_t count,
                         const struct search_result *r, uint64_t step_limit, struct err_text *why)
{
    ASSERT(r->verdict == SIM_LINEARIZABLE_NO);
    struct search_result relaxed = sim_history_search(ops, count, step_limit, true);
    say(why,
        relaxed.verdict == SIM_LINEARIZABLE_YES ? "compare-and-set saw another value"
                                                : "no order explains the history",
        &h->ops[r->stuck_on], NULL, NULL);
}
