/* json_big.c — just enough arithmetic on large unsigned integers for exact decimal conversions.
 * Callers: json_real.c. Sizes are bounded by construction there; running over the end is a bug. */
#include "json_int.h"

#include <rq/util/assert.h>

void big_set(struct big *b, uint64_t v)
{
    b->used = 0;
    for (; v != 0; v >>= 32)
        b->words[b->used++] = (uint32_t)v;
}

void big_mul_add(struct big *b, uint32_t factor, uint32_t addend)
{
    uint64_t carry = addend;
    for (uint32_t i = 0; i < b->used; i++) {
        carry += (uint64_t)b->words[i] * factor;
        b->words[i] = (uint32_t)carry;
        carry >>= 32;
    }
    if (carry != 0) {
        ASSERT(b->used < BIG_WORDS);
        b->words[b->used++] = (uint32_t)carry;
    }
}

void big_mul_pow10(struct big *b, uint32_t exponent)
{
    for (; exponent >= 9; exponent -= 9)
        big_mul_add(b, 1000000000, 0);
    for (; exponent > 0; exponent--)
        big_mul_add(b, 10, 0);
}

void big_shift_left(struct big *b, uint32_t bits)
{
    uint32_t whole = bits / 32;

    if (b->used == 0)
        return;
    if (bits % 32 != 0)
        big_mul_add(b, (uint32_t)1 << (bits % 32), 0);
    if (whole == 0)
        return;
    ASSERT(b->used + whole <= BIG_WORDS);
    memmove(b->words + whole, b->words, b->used * sizeof(b->words[0]));
    memset(b->words, 0, whole * sizeof(b->words[0]));
    b->used += whole;
}

void big_add(struct big *a, const struct big *b)
{
    uint64_t carry = 0;
    for (uint32_t i = 0; i < b->used || carry != 0; i++) {
        if (i == a->used) {
            ASSERT(a->used < BIG_WORDS);
            a->words[a->used++] = 0;
        }
        carry += a->words[i];
        if (i < b->used)
            carry += b->words[i];
        a->words[i] = (uint32_t)carry;
        carry >>= 32;
    }
}

void big_sub(struct big *a, const struct big *b)
{
    uint64_t borrow = 0;
    ASSERT(a->used >= b->used);
    for (uint32_t i = 0; i < a->used; i++) {
        uint64_t take = borrow + (i < b->used ? b->words[i] : 0);
        borrow = a->words[i] < take;
        a->words[i] = (uint32_t)(a->words[i] - take);
    }
    ASSERT(borrow == 0);
    while (a->used > 0 && a->words[a->used - 1] == 0)
        a->used--;
}

int big_compare(const struct big *a, const struct big *b)
{
    if (a->used != b->used)
        return a->used < b->used ? -1 : 1;
    for (uint32_t i = a->used; i-- > 0;)
        if (a->words[i] != b->words[i])
            return a->words[i] < b->words[i] ? -1 : 1;
    return 0;
}

uint32_t big_bits(const struct big *b)
{
    if (b->used == 0)
        return 0;
    uint32_t bits = 32 * (b->used - 1);
    for (uint32_t top = b->words[b->used - 1]; top != 0; top >>= 1)
        bits++;
    return bits;
}
