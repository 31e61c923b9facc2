/* histogram — how long something took, how often: fixed buckets, eight to each power of two, so that a
 * quantile is off by an eighth at most. A value: no allocation, no floating point; add is a few
 * instructions. One thread at a time.
 *
 *   bucket   0           1 … 8                      9 … 16                     …   last
 *   holds    <= 1024     1024 < v <= 2048,          2048 < v <= 4096,              > 2^37
 *                        eight of equal width       eight of equal width */
#ifndef RQ_UTIL_HISTOGRAM_H
#define RQ_UTIL_HISTOGRAM_H

#include <stdint.h>

enum {
    HISTOGRAM_LOW_BITS = 10, /* 1024 ns */
    HISTOGRAM_OCTAVES = 27,  /* up to 2^37 ns: 137 s */
    HISTOGRAM_SUB_BITS = 3,
    HISTOGRAM_BUCKETS = (HISTOGRAM_OCTAVES << HISTOGRAM_SUB_BITS) + 2,
};

struct histogram { /* all zero: empty */
    uint64_t count, sum;
    uint64_t buckets[HISTOGRAM_BUCKETS];
};

/* Bucket of a value: its upper bound is part of it. */
static inline uint32_t histogram_bucket(uint64_t v)
{
    if (v <= UINT64_C(1) << HISTOGRAM_LOW_BITS)
        return 0;
    v--;
    const uint32_t exponent = 63U - (uint32_t)__builtin_clzll(v);
    if (exponent >= HISTOGRAM_LOW_BITS + HISTOGRAM_OCTAVES)
        return HISTOGRAM_BUCKETS - 1;
    const uint32_t sub =
        (uint32_t)(v >> (exponent - HISTOGRAM_SUB_BITS)) & ((1U << HISTOGRAM_SUB_BITS) - 1);
    return 1 + ((exponent - HISTOGRAM_LOW_BITS) << HISTOGRAM_SUB_BITS) + sub;
}

static inline void histogram_add(struct histogram *h, uint64_t v)
{
    h->count++;
    h->sum += v;
    h->buckets[histogram_bucket(v)]++;
}

/* Largest value of a bucket; UINT64_MAX for the last. */
uint64_t histogram_bound(uint32_t bucket);
/* The bound below which (or at) permille of all values lie; 0 when there are none. permille <= 1000. */
uint64_t histogram_quantile(const struct histogram *h, uint32_t permille);

#endif
