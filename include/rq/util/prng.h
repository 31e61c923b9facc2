/* prng — small deterministic generators; never for secrets. Equal on every machine. */
#ifndef RQ_UTIL_PRNG_H
#define RQ_UTIL_PRNG_H

#include <stddef.h>
#include <stdint.h>

struct prng {
    uint64_t s[4];  /* xoshiro256** state */
    uint64_t draws; /* how often prng_u64 ran, for divergence reports */
};

/* Mix two words to one; splits a seed by name or number (splitmix64 finaliser). */
uint64_t prng_mix(uint64_t a, uint64_t b);
/* 64-bit hash of bytes, stable for ever (used for ids: not against attackers). */
uint64_t prng_hash(uint64_t seed, const void *data, size_t len);
void prng_init(struct prng *p, uint64_t seed);
uint64_t prng_u64(struct prng *p);
/* Uniform in [0, bound); bound >= 1. */
uint64_t prng_below(struct prng *p, uint64_t bound);
/* Uniform in [lo, hi]; lo <= hi. */
uint64_t prng_range(struct prng *p, uint64_t lo, uint64_t hi);
/* True with probability ppm / 1 000 000. */
int prng_chance_ppm(struct prng *p, uint32_t ppm);
void prng_fill(struct prng *p, void *dst, size_t len);

#endif
