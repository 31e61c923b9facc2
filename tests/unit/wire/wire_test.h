/* wire_test — what the tests of this room share: inputs in exact heap blocks, so that one byte read
 * too far is caught by the address sanitizer. */
#ifndef WIRE_TEST_H
#define WIRE_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>
#include <rq/limits.h>
#include <rq/wire.h>

/* A copy of the first len bytes; free(). */
static inline uint8_t *exact_copy(const void *bytes, size_t len)
{
    uint8_t *p = malloc(len ? len : 1);
    assert_non_null(p);
    if (len)
        memcpy(p, bytes, len);
    return p;
}

/* get() must refuse every proper prefix of the bytes, and the bytes with one more behind them. */
static inline void refuse_other_lengths(struct slice whole, int (*get)(struct slice))
{
    for (size_t len = 0; len < whole.len; len++) {
        uint8_t *cut = exact_copy(whole.data, len);
        if (get(slice_of(cut, len)) == 0)
            fail_msg("accepted a prefix of %zu of %zu bytes", len, whole.len);
        free(cut);
    }
    uint8_t *longer = malloc(whole.len + 1);
    assert_non_null(longer);
    memcpy(longer, whole.data, whole.len);
    longer[whole.len] = 0;
    assert_int_not_equal(get(slice_of(longer, whole.len + 1)), 0);
    free(longer);
}

/* get() with each single bit changed must come back (refusing or not) without reading outside. */
static inline void survive_flips(struct slice whole, int (*get)(struct slice))
{
    uint8_t *bytes = exact_copy(whole.data, whole.len);
    for (size_t bit = 0; bit < whole.len * 8; bit++) {
        bytes[bit / 8] ^= (uint8_t)(1U << (bit % 8));
        (void)get(slice_of(bytes, whole.len));
        bytes[bit / 8] ^= (uint8_t)(1U << (bit % 8));
    }
    free(bytes);
}

/* What every body must stand: exact length only, and no read outside whatever its bits say. */
static inline void check_form(const struct buf *b, int (*get)(struct slice))
{
    refuse_other_lengths(buf_slice(b), get);
    survive_flips(buf_slice(b), get);
}

/* The body with the byte at `at` replaced. */
static inline int get_changed(const struct buf *b, size_t at, uint8_t value,
                              int (*get)(struct slice))
{
    uint8_t *bytes = exact_copy(buf_slice(b).data, buf_len(b));
    bytes[at] = value;
    int rc = get(slice_of(bytes, buf_len(b)));
    free(bytes);
    return rc;
}

#endif
