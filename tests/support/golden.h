/* golden — compare text with a committed file under tests/golden/, so that a format cannot change
 * unnoticed. RQ_GOLDEN_WRITE=1 in the environment rewrites the files; review the diff.
 * Tests run from the root of the tree. */
#ifndef GOLDEN_H
#define GOLDEN_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static inline void golden_write(const char *path, const char *text, size_t len)
{
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, len, f), len);
    assert_int_equal(fclose(f), 0);
}

/* text: NUL-terminated. name: file below tests/golden. */
static inline void golden_check(const char *name, const char *text)
{
    char path[256];
    size_t len = strlen(text);

    (void)snprintf(path, sizeof(path), "tests/golden/%s", name);
    if (getenv("RQ_GOLDEN_WRITE")) {
        golden_write(path, text, len);
        return;
    }
    FILE *f = fopen(path, "rb");
    if (!f)
        fail_msg("%s is missing; run once with RQ_GOLDEN_WRITE=1", path);
    char *want = malloc(len + 2);
    assert_non_null(want);
    size_t got = fread(want, 1, len + 1, f);
    (void)fclose(f);
    want[got] = '\0';
    if (got != len || memcmp(want, text, len) != 0)
        fail_msg("%s differs; expected:\n%s\ngot:\n%s", path, want, text);
    free(want);
}

/* Append `title` and a dump of the bytes, 16 per line, to text. */
static inline void golden_dump(char *text, size_t text_max, const char *title, const uint8_t *bytes,
                               size_t len)
{
    size_t at = strlen(text);

    at += (size_t)snprintf(text + at, text_max - at, "%s (%zu bytes)\n", title, len);
    for (size_t i = 0; i < len && at < text_max; i++) {
        if (i % 16 == 0)
            at += (size_t)snprintf(text + at, text_max - at, "%04zx ", i);
        at += (size_t)snprintf(text + at, text_max - at, " %02x%s", bytes[i],
                               i % 16 == 15 || i + 1 == len ? "\n" : "");
    }
    assert_true(at < text_max);
}

#endif
