/* json_int.h — what the files of this room share: UTF-8, and integers of any size for exact numbers. */
#ifndef RQ_JSON_INT_H
#define RQ_JSON_INT_H

#include <rq/util/slice.h>

/* Length (1..4) of the valid UTF-8 sequence that s begins with, 0 if it begins with none (RFC 3629:
 * no overlong forms, no surrogates, nothing above U+10FFFF). s not empty. */
size_t json_utf8_len(const uint8_t *s, size_t len);

/* Eight bytes at once: nonzero if one of them is below 0x20, above 0x7f, or `"` or `\`. */
static inline uint64_t json_plain_stop(const uint8_t *p)
{
    const uint64_t ones = UINT64_C(0x0101010101010101);
    const uint64_t tops = UINT64_C(0x8080808080808080);
    uint64_t w, quote, slash;

    memcpy(&w, p, sizeof(w)); /* byte order does not matter: only "any" is asked */
    quote = w ^ (ones * '"');
    slash = w ^ (ones * '\\');
    return (w | (w - ones * 0x20) | (quote - ones) | (slash - ones)) & tops;
}

/* Unsigned integer, least significant word first. The largest one needed is 10^1127 (a number's 800
 * significant digits below 1e-326) shifted by 64 bits: 3809 bits. */
enum { BIG_WORDS = 128 };
struct big {
    uint32_t used; /* words; the top one is not 0 */
    uint32_t words[BIG_WORDS];
};
void big_set(struct big *b, uint64_t v);
void big_mul_add(struct big *b, uint32_t factor, uint32_t addend); /* b = b * factor + addend */
void big_mul_pow10(struct big *b, uint32_t exponent);
void big_shift_left(struct big *b, uint32_t bits);
void big_add(struct big *a, const struct big *b); /* a += b */
void big_sub(struct big *a, const struct big *b); /* a -= b; a >= b */
int big_compare(const struct big *a, const struct big *b);
uint32_t big_bits(const struct big *b); /* position of the highest 1, counted from one; 0: zero */

#endif
