/* flags_int — between flags.c (syntax) and flags_check.c (what flags mean together). */
#ifndef RQ_DAEMON_FLAGS_INT_H
#define RQ_DAEMON_FLAGS_INT_H

#include "flags.h"

const struct flags *flags_defaults(void);
/* daemon.md §1.4 (b). 0, ERR_INVALID with its words. */
int flags_check_reap(const struct flags *f, struct err_text *why) MUST_USE;
/* §1.4 (d) in its order, and the defaults that depend on other flags. */
int flags_check(struct flags *f, bool (*path_exists)(const char *path),
                struct err_text *why) MUST_USE;

#endif
