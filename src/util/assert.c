/* assert.c — the last words of a bug. */
#include <rq/util/assert.h>
#include <stdio.h>
#include <stdlib.h>

_Noreturn void assert_fail(const char *expr, const char *file, int line, const char *func)
{
    (void)fprintf(stderr, "ASSERT failed: %s, in %s at %s:%d\n", expr, func, file, line);
    (void)fflush(stderr);
    abort();
}
