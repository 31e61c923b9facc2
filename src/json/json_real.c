/* json_real.c — doubles to text and back, exactly, without libc and its locale.
 *
 * Writing gives the shortest digits that read back as the same double, the nearest of them if there
 * are several (Steele & White 1990; the arrangement is Burger & Dybvig's, "Printing floating-point
 * numbers quickly and accurately", 1996). Reading rounds correctly, ties to even (Clinger 1990). Both
 * have a short way for everyday numbers, proved at its place, and an exact one on big integers.
 *
 * Callers: json_read.c, json_write.c, the api for timings. */
#include <rq/json.h>

#include "json_int.h"

#include <float.h>
#include <rq/util/assert.h>

_Static_assert(FLT_RADIX == 2 && DBL_MANT_DIG == 53 && sizeof(double) == 8, "IEEE 754 binary64");

static const double pow10_exact[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                     1e8,  1e9,  1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
                                     1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};

static uint64_t bits_of(double v)
{
    uint64_t bits;
    memcpy(&bits, &v, sizeof(bits));
    return bits;
}

static double double_of(uint64_t bits)
{
    double v;
    memcpy(&v, &bits, sizeof(v));
    return v;
}

/* ---- writing ---------------------------------------------------------------------------------- */

/* The number 0.d1d2…dn * 10^point. */
struct decimal {
    char digits[20];
    uint32_t count;
    int32_t point;
};

/* The digits of w, trailing zeros cut, for the number w / 10^scale; w != 0. */
static void decimal_from_u64(struct decimal *d, uint64_t w, int32_t scale)
{
    char reversed[20] = {0};
    uint32_t count = 0;

    for (; w != 0; w /= 10)
        reversed[count++] = (char)('0' + w % 10);
    d->point = (int32_t)count - scale;
    d->count = 0;
    uint32_t zeros = 0;
    while (reversed[zeros] == '0')
        zeros++;
    while (count > zeros)
        d->digits[d->count++] = reversed[--count];
}

/* The short way: small integers, and v that is the double nearest to w / 10^scale with w < 10^15.
 * Why right: decimals of up to 15 digits are told apart by doubles, so at most one w fits each scale,
 * and the smallest scale gives the fewest digits. If w fits, v * 10^scale as computed is within w *
 * 2^-52 < 0.23 of w (two roundings), so rounding to an integer finds it; the division is one correctly
 * rounded operation on exact operands, so it decides what reading w / 10^scale would give. */
static bool decimal_quick(struct decimal *d, double v)
{
    if (v < 0x1p53 && v == (double)(uint64_t)v) {
        decimal_from_u64(d, (uint64_t)v,
                         0); /* its neighbours are at most 1 away: all digits count */
        return true;
    }
    if (FLT_EVAL_METHOD != 0 || v < 1e-5 || v >= 1e15)
        return false;
    for (int32_t scale = 1; scale <= 20; scale++) {
        double scaled = v * pow10_exact[scale];
        if (scaled >= 1e15 - 1)
            return false;
        uint64_t w = (uint64_t)(scaled + 0.5);
        if (w != 0 && (double)w / pow10_exact[scale] == v) {
            decimal_from_u64(d, w, scale);
            return true;
        }
    }
    return false;
}

/* v = r / s; half the distance to the doubles around it is up / s and down / s. */
struct shortest {
    struct big r, s, up, down;
    bool inclusive; /* the half-way points themselves read as v (ties go to even) */
    int32_t point;
};

static int32_t floor_log10_of_pow2(int32_t exponent) /* exact for |exponent| <= 1100 */
{
    int32_t scaled = exponent * 315653; /* log10(2) * 2^20; |exponent| * 315653 < 2^31 */
    return scaled >= 0 ? scaled >> 20 : -((-scaled + (1 << 20) - 1) >> 20);
}

static uint32_t bits_of_u64(uint64_t v)
{
    uint32_t bits = 0;
    for (; v != 0; v >>= 1)
        bits++;
    return bits;
}

/* r, s, up and down for v = f * 2^e. At a power of two the gap below is half the gap above. */
static void shortest_ratio(struct shortest *x, uint64_t f, int32_t e, bool narrow_below)
{
    uint32_t extra = narrow_below ? 2 : 1;

    big_set(&x->r, f);
    big_shift_left(&x->r, extra + (e > 0 ? (uint32_t)e : 0));
    big_set(&x->s, 1);
    big_shift_left(&x->s, extra + (e < 0 ? (uint32_t)-e : 0));
    big_set(&x->down, 1);
    big_shift_left(&x->down, e > 0 ? (uint32_t)e : 0);
    x->up = x->down;
    if (narrow_below)
        big_shift_left(&x->up, 1);
}

static bool reaches(const struct shortest *x, const struct big *a, const struct big *b) /* a > b */
{
    int c = big_compare(a, b);
    return x->inclusive ? c >= 0 : c > 0;
}

static bool rounds_up_to_one(const struct shortest *x) /* r + up reaches s */
{
    struct big sum = x->r;
    big_add(&sum, &x->up);
    return reaches(x, &sum, &x->s);
}

static void shortest_times_pow10(struct shortest *x, uint32_t exponent)
{
    big_mul_pow10(&x->r, exponent);
    big_mul_pow10(&x->up, exponent);
    big_mul_pow10(&x->down, exponent);
}

/* Scale so that 0.1 <= r / s < 1, remembering the power of ten. */
static void shortest_scale(struct shortest *x, int32_t floor_log2)
{
    x->point = floor_log10_of_pow2(floor_log2) + 1; /* right or one too small */
    if (x->point >= 0)
        big_mul_pow10(&x->s, (uint32_t)x->point);
    else
        shortest_times_pow10(x, (uint32_t)-x->point);
    if (rounds_up_to_one(x))
        x->point++;
    else
        shortest_times_pow10(x, 1);
    /* Here r / s is in [0, 10): the first digit is its integer part. */
}

static uint32_t next_digit(struct shortest *x)
{
    uint32_t digit = 0;
    while (big_compare(&x->r, &x->s) >= 0) {
        big_sub(&x->r, &x->s);
        digit++;
    }
    ASSERT(digit < 10);
    return digit;
}

static bool last_digit_goes_up(const struct shortest *x, uint32_t digit, bool low, bool high)
{
    if (!low || !high)
        return high;
    struct big twice = x->r; /* both neighbours read as v: take the nearer one, ties to even */
    big_shift_left(&twice, 1);
    int c = big_compare(&twice, &x->s);
    return c > 0 || (c == 0 && digit % 2 == 1);
}

static void shortest_digits(struct shortest *x, struct decimal *d)
{
    bool low, high;

    d->count = 0;
    d->point = x->point;
    for (;;) {
        uint32_t digit = next_digit(x);
        low = reaches(x, &x->down, &x->r);
        high = rounds_up_to_one(x);
        if (low || high)
            digit += last_digit_goes_up(x, digit, low, high);
        ASSERT(digit < 10); /* a 10 would have been seen by the digit before, or by the scaling */
        ASSERT(d->count < 17);
        d->digits[d->count++] = (char)('0' + digit);
        if (low || high)
            return;
        shortest_times_pow10(x, 1);
    }
}

static void decimal_exact(struct decimal *d, double v)
{
    struct shortest x;
    uint64_t bits = bits_of(v);
    uint64_t f = bits & ((UINT64_C(1) << 52) - 1);
    int32_t biased = (int32_t)(bits >> 52);
    bool narrow_below = f == 0 && biased > 1;

    if (biased != 0)
        f |= UINT64_C(1) << 52;
    else
        biased = 1; /* subnormal */
    int32_t e = biased - 1075;
    x.inclusive = f % 2 == 0;
    shortest_ratio(&x, f, e, narrow_below);
    shortest_scale(&x, e + (int32_t)bits_of_u64(f) - 1);
    shortest_digits(&x, d);
}

static char *put_zeros(char *p, int32_t count)
{
    while (count-- > 0)
        *p++ = '0';
    return p;
}

static char *put_digits(char *p, const struct decimal *d, uint32_t first, uint32_t end)
{
    memcpy(p, d->digits + first, end - first);
    return p + (end - first);
}

static char *put_exponent_form(char *p, const struct decimal *d)
{
    int32_t exponent = d->point - 1;
    struct decimal digits;

    *p++ = d->digits[0];
    if (d->count > 1) {
        *p++ = '.';
        p = put_digits(p, d, 1, d->count);
    }
    *p++ = 'e';
    *p++ = exponent < 0 ? '-' : '+';
    decimal_from_u64(&digits, (uint64_t)(exponent < 0 ? -exponent : exponent), 0);
    p = put_digits(p, &digits, 0, digits.count);
    return put_zeros(p, digits.point - (int32_t)digits.count);
}

static char *put_plain_form(char *p, const struct decimal *d)
{
    int32_t count = (int32_t)d->count;

    if (d->point <= 0) {
        *p++ = '0';
        *p++ = '.';
        p = put_zeros(p, -d->point);
        return put_digits(p, d, 0, d->count);
    }
    if (d->point >= count) {
        p = put_digits(p, d, 0, d->count);
        return put_zeros(p, d->point - count);
    }
    p = put_digits(p, d, 0, (uint32_t)d->point);
    *p++ = '.';
    return put_digits(p, d, (uint32_t)d->point, d->count);
}

size_t json_real_text(double v, char *dst)
{
    struct decimal d;
    char *p = dst;

    ASSERT(v - v == 0); /* finite */
    if (bits_of(v) >> 63) {
        *p++ = '-';
        v = -v;
    }
    if (v == 0) {
        *p++ = '0';
        return (size_t)(p - dst);
    }
    if (!decimal_quick(&d, v))
        decimal_exact(&d, v);
    if (d.point < -5 || d.point > 21) /* below 1e-6, or at least 1e21 */
        p = put_exponent_form(p, &d);
    else
        p = put_plain_form(p, &d);
    return (size_t)(p - dst);
}

/* ---- reading ---------------------------------------------------------------------------------- */

/* The point half-way between two doubles has at most 768 significant digits. */
enum { DIGITS_MAX = 800 };

/* Text taken apart: digits[0..count) * 10^exponent, first digit not 0. */
struct number {
    bool negative;
    uint8_t digits[DIGITS_MAX + 1];
    uint32_t count;
    int64_t exponent;
};

static void number_add_digit(struct number *n, uint8_t digit, bool behind_point)
{
    if (n->count == 0 && digit == 0) {
        n->exponent -= behind_point;
        return;
    }
    if (n->count < DIGITS_MAX) {
        n->digits[n->count++] = digit;
        n->exponent -= behind_point;
        return;
    }
    /* What was cut off matters only as "more than nothing", for ties. */
    if (n->count == DIGITS_MAX && digit != 0) {
        n->digits[n->count++] = 1;
        n->exponent -= 1;
    }
    n->exponent += !behind_point;
}

static void number_add_exponent(struct number *n, struct slice text)
{
    size_t i = 0;
    int64_t exponent = 0;
    bool negative = i < text.len && text.data[i] == '-';

    if (i < text.len && (text.data[i] == '-' || text.data[i] == '+'))
        i++;
    for (; i < text.len; i++)
        if (exponent < INT64_C(1) << 58)
            exponent = exponent * 10 + (text.data[i] - '0');
    n->exponent += negative ? -exponent : exponent;
}

static void number_take_apart(struct number *n, struct slice text)
{
    bool behind_point = false;
    size_t i = 0;

    n->count = 0;
    n->exponent = 0;
    n->negative = text.len > 0 && text.data[0] == '-';
    for (i = n->negative; i < text.len; i++) {
        uint8_t c = text.data[i];
        if (c == 'e' || c == 'E') {
            number_add_exponent(n, slice_of(text.data + i + 1, text.len - i - 1));
            break;
        }
        if (c == '.')
            behind_point = true;
        else
            number_add_digit(n, (uint8_t)(c - '0'), behind_point);
    }
    while (n->count > 0 &&
           n->digits[n->count - 1] == 0) { /* 1000 is 1e3: more fits the short way */
        n->count--;
        n->exponent++;
    }
}

/* Clinger's short way: both operands exact, so one rounding. */
static bool number_quick(const struct number *n, double *out)
{
    uint64_t w = 0;

    if (FLT_EVAL_METHOD != 0 || n->count > 15 || n->exponent < -22 || n->exponent > 22)
        return false;
    for (uint32_t i = 0; i < n->count; i++)
        w = w * 10 + n->digits[i];
    *out = n->exponent < 0 ? (double)w / pow10_exact[-n->exponent]
                           : (double)w * pow10_exact[n->exponent];
    return true;
}

/* Line up r / s = number so that 1 <= r / s < 2; returns the power of two taken out. */
static int32_t normalise(struct big *r, struct big *s)
{
    int32_t exponent = (int32_t)big_bits(r) - (int32_t)big_bits(s);
    if (exponent >= 0)
        big_shift_left(s, (uint32_t)exponent);
    else
        big_shift_left(r, (uint32_t)-exponent);
    if (big_compare(r, s) < 0) {
        big_shift_left(r, 1);
        exponent--;
    }
    return exponent;
}

/* Bits of the double nearest to r / s * 2^exponent, 1 <= r / s < 2. */
static uint64_t round_to_bits(struct big *r, const struct big *s, int32_t exponent)
{
    int32_t bits = exponent >= -1022 ? 53 : 53 + 1022 + exponent; /* subnormals have fewer */
    uint64_t f = 0;

    if (exponent > 1023)
        return UINT64_C(2047) << 52;
    if (bits < 0)
        return 0;
    for (int32_t i = 0; i < bits; i++) {
        bool bit = big_compare(r, s) >= 0;
        if (bit)
            big_sub(r, s);
        f = f * 2 + bit;
        big_shift_left(r, 1);
    }
    int rest = big_compare(r, s); /* against one half of the last place */
    if (rest > 0 || (rest == 0 && f % 2 == 1))
        f++;
    if (exponent < -1022)
        return f; /* rounding up to 2^52 makes the smallest normal number: the right bits */
    return ((uint64_t)(exponent + 1022) << 52) +
           f; /* a carry raises the exponent, up to infinity */
}

static uint64_t number_exact(const struct number *n)
{
    struct big r, s;
    int64_t point = n->exponent + (int64_t)n->count; /* 0.ddd * 10^point */

    if (point > 310)
        return UINT64_C(2047) << 52;
    if (point < -326)
        return 0;
    big_set(&r, 0);
    for (uint32_t i = 0; i < n->count; i++) {
        if (r.used == 0)
            big_set(&r, n->digits[i]);
        else
            big_mul_add(&r, 10, n->digits[i]);
    }
    big_set(&s, 1);
    if (n->exponent >= 0)
        big_mul_pow10(&r, (uint32_t)n->exponent);
    else
        big_mul_pow10(&s, (uint32_t)-n->exponent);
    int32_t exponent = normalise(&r, &s);
    return round_to_bits(&r, &s, exponent);
}

double json_real_parse(struct slice text)
{
    struct number n;
    double v = 0;

    number_take_apart(&n, text);
    if (n.count != 0 && !number_quick(&n, &v))
        v = double_of(number_exact(&n));
    return n.negative ? -v : v;
}
