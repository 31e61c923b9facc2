/* err — the one table of expected failures.
 *
 * Every function that can fail returns int: 0, or one of these. libuv's and SQLite's own codes are
 * translated once, at the place where they enter. A bug is never an ERR_*: it is an ASSERT.
 * "Lost trust in the disk" (ERR_IO from a sync, ERR_CORRUPT in committed data) stops the node. */
#ifndef RQ_UTIL_ERR_H
#define RQ_UTIL_ERR_H

#include <stdarg.h>

#define MUST_USE __attribute__((warn_unused_result))
#define PRINTF_LIKE(fmt, first) __attribute__((format(printf, fmt, first)))

/* X(name, HTTP status, text) */
#define ERR_TABLE(X)                                                                               \
    X(ERR_IO, 500, "disk I/O error")                                                               \
    X(ERR_CORRUPT, 500, "stored data is damaged")                                                  \
    X(ERR_NOSPC, 503, "no space left on device")                                                   \
    X(ERR_NOMEM, 503, "out of memory")                                                             \
    X(ERR_FULL, 503, "too many requests in progress, try again")                                   \
    X(ERR_TOO_BIG, 413, "larger than the limit")                                                   \
    X(ERR_INVALID, 400, "invalid argument")                                                        \
    X(ERR_NOT_FOUND, 404, "not found")                                                             \
    X(ERR_EXISTS, 409, "already exists")                                                           \
    X(ERR_NOT_LEADER, 503, "not leader")                                                           \
    X(ERR_NO_LEADER, 503, "leader not found")                                                      \
    X(ERR_LEADERSHIP_LOST, 503, "leadership lost while committing log")                            \
    X(ERR_STALE, 503, "stale read")                                                                \
    X(ERR_TIMEOUT, 503, "timed out")                                                               \
    X(ERR_CANCELED, 503, "canceled")                                                               \
    X(ERR_NOT_READY, 503, "store not ready")                                                       \
    X(ERR_BUSY, 503, "busy")                                                                       \
    X(ERR_EOF, 500, "end of stream")                                                               \
    X(ERR_REFUSED, 503, "connection refused")                                                      \
    X(ERR_RESET, 503, "connection reset by peer")                                                  \
    X(ERR_UNREACHABLE, 503, "host unreachable")                                                    \
    X(ERR_ADDRESS, 500, "address already in use or not usable")                                    \
    X(ERR_IDENTITY, 403, "identity does not match")                                                \
    X(ERR_VERSION, 500, "version not supported")                                                   \
    X(ERR_PROTOCOL, 400, "protocol error")                                                         \
    X(ERR_SQL, 200, "SQL error")                                                                   \
    X(ERR_NOT_SUPPORTED, 501, "not supported")                                                     \
    X(ERR_DENIED, 401, "unauthorized")

enum err {
    ERR_OK = 0,
    ERR_TABLE_START_ = -1000,
#define ERR_ENUM_(name, status, text) name,
    ERR_TABLE(ERR_ENUM_)
#undef ERR_ENUM_
};

/* Stable short text of a code, e.g. "not leader"; "ok" for 0; never NULL. */
const char *err_text_of(int rc);
/* Name of a code as written here, e.g. "ERR_NOT_LEADER"; "ERR_OK" for 0; "ERR_?" if unknown. */
const char *err_name_of(int rc);
/* HTTP status that stands beside the code; 200 for 0, 500 if unknown. */
int err_http_status(int rc);

enum { ERR_TEXT_MAX = 512 };

/* Words for people; filled only on failure, always NUL-terminated. Plain data. */
struct err_text {
    char text[ERR_TEXT_MAX];
};

/* Fill t (may be NULL: then nothing happens), cutting at ERR_TEXT_MAX - 1 bytes. Returns rc, so
 * that `return err_set(why, ERR_INVALID, "…", …);` is one line. */
int err_set(struct err_text *t, int rc, const char *fmt, ...) PRINTF_LIKE(3, 4);

#endif
