/* net_link.c — who reaches whom, how long it takes, and the generators of partitions. */
#include "env/net_int.h"
#include <rq/util/assert.h>

void sim_net_config_default(struct sim_net_config *c)
{
    memset(c, 0, sizeof(*c));
    c->latency = SIM_LATENCY_UNIFORM;
    c->latency_min_ns = 100000;
    c->latency_max_ns = 500000;
    c->jitter_ns = 50000;
    c->ns_per_kib = 1000;
    c->cut = SIM_CUT_RANDOM;
    c->send_buffer_bytes = 128 * 1024;
    c->receive_window_bytes = 128 * 1024;
    c->backlog = 128;
    c->retransmit_ns = 15 * ENV_S_NS;
    c->connect_ns = 60 * ENV_S_NS;
}

struct sim_net_config *world_net(struct world *w)
{
    return &w->config.net;
}

struct link *link_of(struct world *w, const struct host *from, const struct host *to)
{
    struct link *l = &w->net->links[from->index][to->index];
    if (l->drawn)
        return l;
    const struct sim_net_config *c = &w->config.net;
    struct prng r; /* of the pair, so that the order in which pairs first talk does not matter */
    world_stream_init(w, &r, "link", (uint64_t)from->index << 32 | to->index);
    l->drawn = true;
    l->latency_ns = from == to ? 20000 : prng_range(&r, c->latency_min_ns, c->latency_max_ns);
    l->ns_per_kib = c->ns_per_kib;
    return l;
}

bool link_blocked(struct world *w, const struct host *from, const struct host *to)
{
    return w->net->links[from->index][to->index].blocked;
}

/* -ln((i + 1/2) / 64) * 1024: an exponential distribution without floating point */
static const uint16_t exponential[64] = {
    4968, 3844, 3320, 2976, 2719, 2513, 2342, 2195, 2067, 1953, 1851, 1758, 1672, 1594, 1520, 1452,
    1388, 1328, 1271, 1217, 1166, 1117, 1070, 1026, 983,  942,  903,  865,  828,  793,  759,  726,
    694,  663,  633,  603,  575,  547,  520,  494,  469,  444,  419,  395,  372,  349,  327,  305,
    284,  263,  243,  223,  203,  184,  165,  146,  128,  110,  92,   75,   58,   41,   24,   8};

static uint64_t jitter_ns(struct world *w)
{
    const struct sim_net_config *c = &w->config.net;
    struct prng *r = &w->net_prng;

    if (c->jitter_ns == 0)
        return 0;
    switch (c->latency) {
    case SIM_LATENCY_CONSTANT:
        return 0;
    case SIM_LATENCY_UNIFORM:
        return prng_range(r, 0, 2 * c->jitter_ns);
    case SIM_LATENCY_EXPONENTIAL:
        return c->jitter_ns * exponential[prng_below(r, 64)] / 1024;
    case SIM_LATENCY_BIMODAL:
        return prng_below(r, 100) == 0 ? 100 * c->jitter_ns : prng_range(r, 0, c->jitter_ns);
    }
    UNREACHABLE();
}

uint64_t link_delay_ns(struct world *w, const struct host *from, const struct host *to)
{
    return link_of(w, from, to)->latency_ns + jitter_ns(w);
}

uint64_t link_send_ns(struct world *w, const struct host *from, const struct host *to, uint64_t len)
{
    struct link *l = link_of(w, from, to);
    uint64_t start_ns = l->free_at_ns > w->now_ns ? l->free_at_ns : w->now_ns;
    uint64_t extra_ns = 0;

    l->free_at_ns = start_ns + l->ns_per_kib * len / 1024;
    for (uint64_t rto_ns = 200 * ENV_MS_NS; w->config.net.loss_ppm && rto_ns < 10 * ENV_S_NS &&
                                            prng_chance_ppm(&w->net_prng, w->config.net.loss_ppm);
         rto_ns *= 2) {
        world_fault(w, WORLD_FAULT_LOSS);
        extra_ns += rto_ns;
    }
    return l->free_at_ns - w->now_ns + link_delay_ns(w, from, to) + extra_ns;
}

/* ---- the matrix ---- */

void world_link_set(struct world *w, struct host *from, struct host *to, bool allowed)
{
    struct link *l = link_of(w, from, to);

    if (l->blocked == !allowed)
        return;
    l->blocked = !allowed;
    l->blocked_since_ns = w->now_ns;
    if (!allowed)
        world_fault(w, WORLD_FAULT_PARTITION);
    world_note(w, allowed ? "heal" : "cut", from->index, to->index);
}

bool world_link_get(const struct world *w, const struct host *from, const struct host *to)
{
    return !w->net->links[from->index][to->index].blocked;
}

void world_link_tune(struct world *w, struct host *from, struct host *to, uint64_t latency_ns,
                     uint64_t ns_per_kib)
{
    struct link *l = link_of(w, from, to);
    l->latency_ns = latency_ns;
    l->ns_per_kib = ns_per_kib;
    world_note(w, "tune", from->index << 32 | to->index, latency_ns);
}

void world_links_heal(struct world *w)
{
    for (size_t i = 0; i < w->host_count; i++)
        for (size_t k = 0; k < w->host_count; k++)
            world_link_set(w, w->hosts[i], w->hosts[k], true);
}

static void set_both(struct world *w, struct host *a, struct host *b, bool allowed)
{
    world_link_set(w, a, b, allowed);
    world_link_set(w, b, a, allowed);
}

void world_partition_isolate(struct world *w, struct host *const *hosts, size_t count,
                             size_t victim)
{
    ASSERT(victim < count);
    for (size_t i = 0; i < count; i++)
        if (i != victim)
            set_both(w, hosts[i], hosts[victim], false);
}

void world_partition_halves(struct world *w, struct host *const *hosts, size_t count,
                            uint64_t left_mask)
{
    for (size_t i = 0; i < count; i++)
        for (size_t k = i + 1; k < count; k++)
            set_both(w, hosts[i], hosts[k], (left_mask >> i & 1) == (left_mask >> k & 1));
}

void world_partition_bridge(struct world *w, struct host *const *hosts, size_t count, size_t bridge)
{
    ASSERT(bridge < count);
    for (size_t i = 0; i < count; i++)
        for (size_t k = i + 1; k < count; k++)
            set_both(w, hosts[i], hosts[k],
                     i == bridge || k == bridge || (i < count / 2) == (k < count / 2));
}

/* Host i sees those up to distance d around the circle, where 2 d + 1 is the least majority or one more. */
void world_partition_ring(struct world *w, struct host *const *hosts, size_t count)
{
    size_t d = (count / 2 + 1) / 2;

    for (size_t i = 0; i < count; i++)
        for (size_t k = i + 1; k < count; k++)
            set_both(w, hosts[i], hosts[k], k - i <= d || count - (k - i) <= d);
}

void world_partition_one_way(struct world *w, struct host *from, struct host *to)
{
    world_link_set(w, from, to, false);
}
