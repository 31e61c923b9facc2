/* sim_epoch.c — see sim_epoch.h.
 *
 * In which order epochs came: that before any load first, what is there in the end last. Between them loads stand in the
 * order in which they were asked for, as one client does, unless the outcome of one was not known: it may have
 * happened later. Then the indexes of writes decide; without them nobody can. */
#include "sim_epoch.h"
#include <rq/util/assert.h>
#include <stdlib.h>
#include <string.h>

#define ULL unsigned long long
#define REFUSE(why, ...) ((void)err_set((why), ERR_INVALID, __VA_ARGS__), false)

const struct sim_epoch *sim_epoch_of(const struct sim_epochs *e, uint64_t row)
{
    for (size_t i = 0; i < e->count; i++)
        if (e->at[i].id == row / SIM_EPOCH_ROWS)
            return &e->at[i];
    return NULL;
}

/* Rows of an epoch up to the one told, its load's included. */
static uint64_t rows_upto(const struct sim_epoch *x, uint64_t row)
{
    return row % SIM_EPOCH_ROWS + (x->id != 0);
}

static bool tells(const struct sim_deed *d)
{
    return d->end == SIM_END_OK && d->kind != SIM_DEED_LOAD &&
           (d->position || !sim_deed_writes(d->kind));
}

/* ---- what was seen of each ------------------------------------------------------------------------------------ */

static bool deed_look(struct sim_epochs *e, const struct sim_deed *d, struct err_text *why)
{
    struct sim_epoch *x = (struct sim_epoch *)sim_epoch_of(e, d->position);

    if (!x)
        return REFUSE(why, "%s %llu was told row %llu, of a load that nobody asked for",
                      sim_deed_name(d->kind), (ULL)d->number, (ULL)d->position);
    x->seen = true;
    if (rows_upto(x, d->position) > x->rows)
        x->rows = rows_upto(x, d->position);
    if (d->raft_index && (x->index_min == 0 || d->raft_index < x->index_min))
        x->index_min = d->raft_index;
    return true;
}

static bool epochs_look(struct sim_epochs *e, const struct sim_deed *deeds, size_t count,
                        struct err_text *why)
{
    e->at = calloc(count + 1, sizeof(*e->at));
    ASSERT(e->at);
    e->at[e->count++] = (struct sim_epoch){.seen = true};
    for (size_t i = 0; i < count; i++)
        if (deeds[i].kind == SIM_DEED_LOAD)
            e->at[e->count++] = (struct sim_epoch){.id = deeds[i].position / SIM_EPOCH_ROWS,
                                                   .load = &deeds[i],
                                                   .rows = 1,
                                                   .seen = deeds[i].end == SIM_END_OK};
    for (size_t i = 0; i < count; i++)
        if (tells(&deeds[i]) && !deed_look(e, &deeds[i], why))
            return false;
    return true;
}

/* What is there in the end is one epoch, from its first row to its last. */
static bool last_look(struct sim_epochs *e, const struct sim_epoch_row *last, size_t rows,
                      uint64_t *id, struct err_text *why)
{
    struct sim_epoch *x = (struct sim_epoch *)sim_epoch_of(e, rows ? last[0].row : 0);

    if (!x)
        return REFUSE(why, "the ledger begins with row %llu, of a load that nobody asked for",
                      (ULL)last[0].row);
    for (size_t i = 0; i < rows; i++)
        if (last[i].row != x->id * SIM_EPOCH_ROWS + i + (x->id == 0))
            return REFUSE(why, "row %zu of the ledger has the number %llu", i + 1,
                          (ULL)last[i].row);
    if (rows < x->rows)
        return REFUSE(why, "the ledger has %zu rows, and %llu were told of", rows, (ULL)x->rows);
    x->seen = true;
    x->rows = rows;
    *id = x->id;
    return true;
}

/* ---- in order -------------------------------------------------------------------------------------------------- */

static bool in_doubt(const struct sim_epoch *x)
{
    return x->load && x->load->end != SIM_END_OK;
}

static bool comes_before(const struct sim_epoch *a, const struct sim_epoch *b, uint64_t last)
{
    if (a->id == 0 || b->id == last)
        return true;
    if (b->id == 0 || a->id == last)
        return false;
    return a->index_min && b->index_min ? a->index_min < b->index_min : a->id < b->id;
}

static void epochs_order(struct sim_epochs *e, uint64_t last)
{
    size_t seen = 0, doubts = 0, blind = 0;

    for (size_t i = 0; i < e->count; i++)
        if (e->at[i].seen)
            e->at[seen++] = e->at[i];
    e->count = seen;
    for (size_t i = 0; i < seen; i++) {
        const struct sim_epoch *x = &e->at[i];
        bool between = x->id != 0 && x->id != last;
        doubts += between && in_doubt(x);
        blind += between && x->index_min == 0;
    }
    e->unordered = doubts && blind && doubts + blind > 1;
    for (size_t i = 1; i < seen; i++) {
        struct sim_epoch x = e->at[i];
        size_t at = i;
        for (; at > 0 && !comes_before(&e->at[at - 1], &x, last); at--)
            e->at[at] = e->at[at - 1];
        e->at[at] = x;
    }
    for (size_t i = 0; i < seen; i++) {
        e->at[i].base = e->rows;
        e->rows += e->at[i].rows;
    }
}

/* ---- the ledger -------------------------------------------------------------------------------------------------- */

static bool deed_lay(struct sim_epochs *e, struct sim_deed *d, struct err_text *why)
{
    const struct sim_epoch *x = sim_epoch_of(e, d->position);
    uint64_t row = d->position;

    if (!x)
        return true; /* a load that nobody saw */
    d->position = x->base + (d->kind == SIM_DEED_LOAD ? 1 : rows_upto(x, row));
    if (!sim_deed_writes(d->kind))
        return true;
    uint64_t *slot = &e->ledger[d->position - 1];
    if (*slot && *slot != d->number)
        return REFUSE(why, "%s %llu was told row %llu, where %llu stands", sim_deed_name(d->kind),
                      (ULL)d->number, (ULL)row, (ULL)*slot);
    *slot = d->number;
    return true;
}

static bool has_loads(const struct sim_deed *deeds, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (deeds[i].kind == SIM_DEED_LOAD)
            return true;
    return false;
}

/* All is known. */
static void one_epoch(const struct sim_epoch_row *last, size_t rows, struct sim_epochs *out)
{
    out->at = calloc(1, sizeof(*out->at));
    out->ledger = calloc(rows + 1, sizeof(*out->ledger));
    ASSERT(out->at && out->ledger);
    out->at[0] = (struct sim_epoch){.rows = rows, .seen = true};
    out->count = 1;
    out->rows = rows;
    for (size_t i = 0; i < rows; i++)
        out->ledger[i] = last[i].op;
}

bool sim_epochs_lay(struct sim_deed *deeds, size_t count, const struct sim_epoch_row *last,
                    size_t last_rows, struct sim_epochs *out, struct err_text *why)
{
    uint64_t id = 0;

    memset(out, 0, sizeof(*out));
    if (!has_loads(deeds, count)) {
        one_epoch(last, last_rows, out);
        return true;
    }
    if (!epochs_look(out, deeds, count, why) || !last_look(out, last, last_rows, &id, why))
        return false;
    epochs_order(out, id);
    out->ledger = calloc(out->rows + 1, sizeof(*out->ledger));
    ASSERT(out->ledger);
    const struct sim_epoch *x = sim_epoch_of(out, id * SIM_EPOCH_ROWS);
    for (size_t i = 0; i < last_rows; i++)
        out->ledger[x->base + i] = last[i].op;
    for (size_t i = 0; i < count; i++)
        if ((tells(&deeds[i]) || deeds[i].kind == SIM_DEED_LOAD) && !deed_lay(out, &deeds[i], why))
            return false;
    return true;
}

void sim_epochs_fini(struct sim_epochs *e)
{
    free(e->at);
    free(e->ledger);
}
