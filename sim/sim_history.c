/* sim_history.c — operations as they are recorded. */
#include "sim_history_int.h"
#include <rq/util/assert.h>
#include <stdlib.h>

struct sim_history *sim_history_create(void)
{
    struct sim_history *h = calloc(1, sizeof(*h));
    ASSERT(h);
    return h;
}

void sim_history_destroy(struct sim_history *h)
{
    if (!h)
        return;
    free(h->ops);
    free(h);
}

size_t sim_history_begin(struct sim_history *h, const struct sim_op *op)
{
    if (h->count == h->cap) {
        h->cap = h->cap ? 2 * h->cap : 64;
        h->ops = realloc(h->ops, h->cap * sizeof(*h->ops));
        ASSERT(h->ops);
    }
    h->ops[h->count] = *op;
    h->ops[h->count].end = SIM_END_OPEN;
    return h->count++;
}

void sim_history_end(struct sim_history *h, size_t op, enum sim_op_end end, uint64_t return_ns,
                     int64_t value, bool swapped)
{
    ASSERT(op < h->count && end != SIM_END_OPEN);
    ASSERT(h->ops[op].end == SIM_END_OPEN);
    h->ops[op].end = end;
    h->ops[op].return_ns = return_ns;
    if (h->ops[op].kind == SIM_OP_READ)
        h->ops[op].value = value;
    h->ops[op].swapped = swapped;
}

size_t sim_history_count(const struct sim_history *h)
{
    return h->count;
}

const struct sim_op *sim_history_at(const struct sim_history *h, size_t op)
{
    ASSERT(op < h->count);
    return &h->ops[op];
}

bool sim_op_saw(const struct sim_op *op, int64_t *value)
{
    if (op->end != SIM_END_OK || op->kind == SIM_OP_WRITE)
        return false;
    if (op->kind == SIM_OP_CAS && !op->swapped)
        return false;
    *value = op->kind == SIM_OP_CAS ? op->expected : op->value;
    return true;
}

const struct sim_op *sim_history_writer(const struct sim_history *h, int64_t value)
{
    for (size_t i = 0; value != 0 && i < h->count; i++)
        if (sim_op_writes(&h->ops[i]) && h->ops[i].value == value)
            return &h->ops[i];
    return NULL;
}
