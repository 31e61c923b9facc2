/* secrets — what -auth and the -http-… and -node-… certificate flags name, read at launch. Chosen by main, used by the
 * daemon. */
#ifndef RQ_DAEMON_SECRETS_H
#define RQ_DAEMON_SECRETS_H

#include "flags.h"

#include <rq/guard.h>
#include <rq/tls.h>

struct secrets {
    struct guard *guard;   /* NULL: no -auth */
    struct tls *tls;       /* NULL: neither -http-cert nor an https:// to join through */
    struct tls *node_tls;  /* NULL: no -node-cert: nodes talk in the clear */
    const char *join_user; /* -join-as, lent from the flags; NULL: none, or not in the file */
    char *join_password;   /* its password */
};
/* 0; or an error with the line that ends the start, and nothing loaded. */
int secrets_load(struct env *e, const struct flags *f, struct secrets *out,
                 struct err_text *why) MUST_USE;
void secrets_destroy(struct secrets *s); /* stopped, or never used */

#endif
