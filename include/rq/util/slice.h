/* slice — some bytes that belong to somebody else. */
#ifndef RQ_UTIL_SLICE_H
#define RQ_UTIL_SLICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct slice {
    const uint8_t *data; /* lent; may be NULL only if len is 0 */
    size_t len;          /* bytes */
};

static inline struct slice slice_of(const void *data, size_t len)
{
    struct slice s = {(const uint8_t *)data, len};
    return s;
}

static inline struct slice slice_str(const char *nul_terminated)
{
    return slice_of(nul_terminated, strlen(nul_terminated));
}

static inline bool slice_equal(struct slice a, struct slice b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

static inline bool slice_equal_str(struct slice a, const char *b)
{
    return slice_equal(a, slice_str(b));
}

#endif
