/* sim_heard.c — what an answer says. How an operation ended is decided in one place, outcome_of(): FAIL
 * only for what certainly had no effect, anything doubtful is INFO. */
#include "sim_client_int.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ULL unsigned long long

static bool unmet(const struct sim_deed *d, const struct sim_answer *a)
{
    return (d->kind == SIM_DEED_CONDITION || d->kind == SIM_DEED_UNCHANGED) && a->status == 412 &&
           strstr(a->body, "\"error\":\"condition not met\"");
}

static enum sim_op_end outcome_of(const struct sim_answer *a)
{
    static const char *const refused[] = {
        "leader not found",
        "\"error\":\"not leader\"",
        "store not open",
        "store not ready",
        "connect: connection refused",
        "too many requests",
        "too many large results",
        "no space left",
        "no such table: nowhere",
        "write queue is full",
        "stale read",
    };

    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++)
        if (strstr(a->body, refused[i]))
            return SIM_END_FAIL;
    return a->status == 200 && !strstr(a->body, "\"error\"") ? SIM_END_OK : SIM_END_INFO;
}

static uint64_t number_after(const char *body, const char *name)
{
    const char *at = body ? strstr(body, name) : NULL;
    return at ? strtoull(at + strlen(name), NULL, 10) : 0;
}

static uint64_t last_number_after(const char *body, const char *name)
{
    uint64_t found = 0;

    for (const char *at = strstr(body, name); at; at = strstr(at + 1, name))
        found = strtoull(at + strlen(name), NULL, 10);
    return found;
}

/* ---- writes: what each statement's result must look like --------------------------------------------------- */

static bool shows_rows(const char *body, uint32_t least)
{
    uint32_t shown = 0;

    for (const char *at = strstr(body, "\"rows_affected\":1"); at;
         at = strstr(at + 1, "\"rows_affected\":1"))
        shown++;
    return shown >= least;
}

static bool mixed_fits(const struct sim_deed *d, const char *body)
{
    const char *row = strstr(body, "\"values\":[[");
    ULL mark;
    long long value;

    return row && sscanf(row, "\"values\":[[%llu,%lld]]", &mark, &value) == 2 &&
           mark == d->number && value == d->value;
}

static bool write_fits(struct sim_deed *d, const char *body)
{
    if (sim_deed_queues(d->kind)) {
        d->sequence = number_after(body, "\"sequence_number\":");
        return d->sequence != 0;
    }
    d->raft_index = number_after(body, "\"raft_index\":");
    d->position = last_number_after(body, "\"last_insert_id\":");
    if (d->kind == SIM_DEED_SWAP) {
        const char *first = strstr(body, "},{");
        const char *hit = strstr(body, "\"rows_affected\":1");
        d->swapped = hit && first && hit < first;
        return first && shows_rows(first, 1);
    }
    d->swapped = true;
    if (d->kind == SIM_DEED_MIXED && !mixed_fits(d, body))
        return false;
    return d->kind != SIM_DEED_ABORTED && d->raft_index && d->position && shows_rows(body, 2);
}

/* ---- reads -------------------------------------------------------------------------------------------------- */

static bool read_fits(struct sim_deed *d, const char *body)
{
    const char *row = strstr(body, "\"values\":[[");
    ULL mark, rows;
    long long value;

    if (!row || sscanf(row, "\"values\":[[%llu,%lld,%llu]]", &mark, &value, &rows) != 3)
        return false;
    d->value = value;
    d->position = rows;
    return mark == d->number;
}

/* All rows, in order, of one state. */
static bool large_fits(struct sim_deed *d, uint32_t large_rows, const char *body)
{
    const char *at = strstr(body, "\"values\":[");
    uint32_t seen = 0;

    for (at = at ? at + 10 : NULL; at && *at == '['; seen++) {
        ULL mark, x, rows;
        int len = 0;
        if (sscanf(at, "[%llu,%llu,%llu,\"000000000000000000000000\"]%n", &mark, &x, &rows, &len) !=
                3 ||
            len == 0 || mark != d->number || x != seen + 1 || (seen && rows != d->position))
            return false;
        d->position = rows;
        at += len;
        at += *at == ',';
    }
    return seen == large_rows;
}

/* The whole ledger, page by page: its rows in turn, and as many as the first of them was told. */
static bool ledger_fits(struct sim_deed *d, const char *body)
{
    const char *at = strstr(body, "\"values\":[");
    ULL before = 0;

    for (at = at ? at + 10 : NULL; at && *at == '[';) {
        ULL mark, n, rows, op;
        int len = 0;
        if (sscanf(at, "[%llu,%llu,%llu,%llu]%n", &mark, &n, &rows, &op, &len) != 4 || len == 0 ||
            mark != d->number || (before && n != before + 1) || (before && rows != d->position))
            return false;
        d->position = rows;
        before = n;
        at += len;
        at += *at == ',';
    }
    return before == d->position && strstr(body, "\"columns\"");
}

enum sim_op_end sim_heard(struct sim *s, struct sim_deed *d, uint32_t large_rows,
                          const struct sim_answer *a)
{
    enum sim_op_end end = outcome_of(a);
    s->result->refused_for_space += a->status == 503 && strstr(a->body, "no space left");
    bool large = d->kind == SIM_DEED_LARGE;

    d->incarnation = a->incarnation;
    if (unmet(d, a))
        return SIM_END_OK;
    if (d->kind == SIM_DEED_KEYED && a->status == 422)
        sim_violate(s, SIM_C7, "keyed %llu, sent again, is taken for another request: %.200s",
                    (ULL)d->number, a->body);
    if (end != SIM_END_OK)
        return end;
    sim_evaluated(s, large ? SIM_C11 : SIM_C8);
    bool fits = large && large_rows == 0   ? ledger_fits(d, a->body)
                : large                    ? large_fits(d, large_rows, a->body)
                : sim_deed_writes(d->kind) ? write_fits(d, a->body)
                                           : read_fits(d, a->body);
    if (fits)
        return end;
    sim_violate(s, large ? SIM_C11 : SIM_C8, "%s %llu was answered by: %.200s",
                sim_deed_name(d->kind), (ULL)d->number, a->body);
    return SIM_END_INFO;
}
