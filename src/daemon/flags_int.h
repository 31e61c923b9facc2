/* flags_int — between flags.c (syntax), flags_check.c (what flags mean together) and flags_help.c. */
#ifndef RQ_DAEMON_FLAGS_INT_H
#define RQ_DAEMON_FLAGS_INT_H

#include "flags.h"

#include <stddef.h>

enum flags_kind {
    FLAGS_KIND_TEXT,
    FLAGS_KIND_BOOL,
    FLAGS_KIND_INT,
    FLAGS_KIND_UINT,
    FLAGS_KIND_TIME,
};
struct flags_row {
    const char *name;
    enum flags_kind kind;
    size_t offset; /* in struct flags */
};
/* NULL: there is none. */
const struct flags_row *flags_row_find(const char *name, size_t len);

const struct flags *flags_defaults(void);
/* daemon.md §1.4 (b). 0, ERR_INVALID with its words. */
int flags_check_reap(const struct flags *f, struct err_text *why) MUST_USE;
/* §1.4 (d) in its order, and the defaults that depend on other flags. */
int flags_check(struct flags *f, bool (*path_exists)(const char *path),
                struct err_text *why) MUST_USE;

#endif
