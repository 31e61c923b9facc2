/* assert — for our own invariants only; stays on in release. Bytes from disk, peers and clients are
 * validated, never asserted. */
#ifndef RQ_UTIL_ASSERT_H
#define RQ_UTIL_ASSERT_H

/* Print expression, file, line and function to stderr and stop the process. Never returns. */
_Noreturn void assert_fail(const char *expr, const char *file, int line, const char *func);

#define ASSERT(expr)                                                                               \
    ((expr) ? (void)0 : assert_fail(#expr, __FILE__, __LINE__, __func__))

#define UNREACHABLE() assert_fail("unreachable", __FILE__, __LINE__, __func__)

#endif
