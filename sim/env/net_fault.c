/* net_fault.c — faults of connections by hand, and who looks at their bytes. */
#include "env/net_int.h"

void world_reset_after(struct world *w, struct host *from, struct host *to, uint64_t bytes,
                       enum sim_net_learn learn)
{
    struct link *l = link_of(w, from, to);
    l->reset_armed = true;
    l->reset_after = bytes;
    l->learn = learn;
}

static bool between(const struct conn *c, const struct host *a, const struct host *b)
{
    return (c->end[0].host == a && c->end[1].host == b) ||
           (c->end[0].host == b && c->end[1].host == a);
}

void world_reset_all(struct world *w, struct host *a, struct host *b)
{
    for (struct conn *c = w->net->conns; c; c = c->next)
        if (between(c, a, b) && c->established)
            conn_break(c, 0, SIM_LEARN_BOTH);
}

void world_black_hole(struct world *w, struct host *a, struct host *b)
{
    for (struct conn *c = w->net->conns; c; c = c->next) {
        if (!between(c, a, b) || c->black_hole)
            continue;
        c->black_hole = true;
        world_fault(w, WORLD_FAULT_BLACK_HOLE);
    }
}

void world_swap_segment(struct world *w, uint64_t nth)
{
    w->swap_segment = nth;
}

uint64_t world_connection_between(const struct world *w, const struct host *a, const struct host *b)
{
    uint64_t newest = 0;

    for (struct conn *c = w->net->conns; c; c = c->next)
        if (between(c, a, b) && c->established && end_alive(&c->end[0]) && end_alive(&c->end[1]) &&
            c->id > newest)
            newest = c->id;
    return newest;
}

size_t world_connection_count(const struct world *w, const struct host *h)
{
    size_t count = 0;
    for (struct conn *c = w->net->conns; c; c = c->next)
        for (int side = 0; side < 2; side++)
            count += c->end[side].host == h && end_alive(&c->end[side]);
    return count;
}

void world_on_stream_bytes(struct world *w, void (*fn)(void *, const struct world_bytes *),
                           void *ctx)
{
    w->net->on_bytes = fn;
    w->net->on_bytes_ctx = ctx;
}

void world_on_stream_end(struct world *w, void (*fn)(void *, struct host *, uint64_t), void *ctx)
{
    w->net->on_end = fn;
    w->net->on_end_ctx = ctx;
}
