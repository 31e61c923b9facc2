/* prng.c — xoshiro256** seeded through splitmix64 (Blackman, Vigna; public domain algorithms). */
#include <rq/util/assert.h>
#include <rq/util/endian.h>
#include <rq/util/prng.h>
#include <string.h>

static uint64_t rotl(uint64_t x, int k)
{
    return (x << k) | (x >> (64 - k));
}

static uint64_t finalise(uint64_t z)
{
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ULL;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBULL;
    return z ^ (z >> 31);
}

uint64_t prng_mix(uint64_t a, uint64_t b)
{
    return finalise(finalise(a + 0x9E3779B97F4A7C15ULL) ^ (b + 0x9E3779B97F4A7C15ULL));
}

uint64_t prng_hash(uint64_t seed, const void *data, size_t len)
{
    const uint8_t *p = data;
    uint64_t h = prng_mix(seed, len);

    for (; len >= 8; p += 8, len -= 8)
        h = prng_mix(h, get_u64(p));
    uint64_t tail = 0;
    for (size_t i = 0; i < len; i++)
        tail |= (uint64_t)p[i] << (8 * i);
    return prng_mix(h, tail);
}

void prng_init(struct prng *p, uint64_t seed)
{
    for (int i = 0; i < 4; i++) {
        seed += 0x9E3779B97F4A7C15ULL;
        p->s[i] = finalise(seed);
    }
    p->draws = 0;
}

uint64_t prng_u64(struct prng *p)
{
    uint64_t *s = p->s;
    uint64_t result = rotl(s[1] * 5, 7) * 9;
    uint64_t t = s[1] << 17;

    ASSERT((s[0] | s[1] | s[2] | s[3]) != 0); /* drawn before it was seeded */
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotl(s[3], 45);
    p->draws++;
    return result;
}

uint64_t prng_below(struct prng *p, uint64_t bound)
{
    ASSERT(bound >= 1);
    uint64_t limit = UINT64_MAX - UINT64_MAX % bound; /* reject the uneven tail */
    uint64_t x;
    do {
        x = prng_u64(p);
    } while (x >= limit);
    return x % bound;
}

uint64_t prng_range(struct prng *p, uint64_t lo, uint64_t hi)
{
    ASSERT(lo <= hi);
    if (lo == 0 && hi == UINT64_MAX)
        return prng_u64(p);
    return lo + prng_below(p, hi - lo + 1);
}

int prng_chance_ppm(struct prng *p, uint32_t ppm)
{
    return prng_below(p, 1000000) < ppm;
}

void prng_fill(struct prng *p, void *dst, size_t len)
{
    uint8_t *out = dst;
    while (len) {
        uint8_t word[8];
        size_t n = len < 8 ? len : 8;
        put_u64(word, prng_u64(p));
        memcpy(out, word, n);
        out += n;
        len -= n;
    }
}
