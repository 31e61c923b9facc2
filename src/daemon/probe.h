/* probe — do the bare addresses of -join speak HTTP? Then they are API addresses, given by mistake
 * (daemon.md §3.2). LOOP. */
#ifndef RQ_DAEMON_PROBE_H
#define RQ_DAEMON_PROBE_H

#include <rq/env.h>

struct probe;

/* done() exactly once, later, unless canceled: the first address that answered HTTP; NULL: none did. URLs
 * among addrs are left alone. addrs: lent until then. */
int probe_start(struct env *e, const char *const *addrs, uint32_t count,
                void (*done)(void *ctx, const char *addr), void *ctx, struct probe **out) MUST_USE;
void probe_cancel(struct probe *p); /* done() will not run; harmless on NULL */

#endif
