/* histogram.c — reading what histogram_add counted. Called where counters are shown. */
#include <rq/util/assert.h>
#include <rq/util/histogram.h>

uint64_t histogram_bound(uint32_t bucket)
{
    ASSERT(bucket < HISTOGRAM_BUCKETS);
    if (bucket == 0)
        return UINT64_C(1) << HISTOGRAM_LOW_BITS;
    if (bucket == HISTOGRAM_BUCKETS - 1)
        return UINT64_MAX;
    const uint32_t exponent = HISTOGRAM_LOW_BITS + ((bucket - 1) >> HISTOGRAM_SUB_BITS);
    const uint64_t sub = (bucket - 1) & ((1U << HISTOGRAM_SUB_BITS) - 1);
    return (UINT64_C(1) << exponent) + ((sub + 1) << (exponent - HISTOGRAM_SUB_BITS));
}

uint64_t histogram_quantile(const struct histogram *h, uint32_t permille)
{
    ASSERT(permille <= 1000);
    if (h->count == 0)
        return 0;
    /* How many values must lie at or below: rounded up, at least one. count * 1000 stays far from 2^64. */
    uint64_t wanted = (h->count * permille + 999) / 1000, seen = 0;
    if (wanted == 0)
        wanted = 1;
    for (uint32_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
        seen += h->buckets[i];
        if (seen >= wanted)
            return histogram_bound(i);
    }
    UNREACHABLE();
}
