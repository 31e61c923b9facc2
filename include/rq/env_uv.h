/* env_uv — the real world over libuv. Only daemon/, tools and the contract test choose it. */
#ifndef RQ_ENV_UV_H
#define RQ_ENV_UV_H

#include <rq/env.h>

struct env_uv_config {
    unsigned read_threads; /* threads of the READ lane, >= 1 */
};
int env_uv_create(const struct env_uv_config *config, struct env **out, struct err_text *why) MUST_USE;
/* Run callbacks until env_uv_stop; LOOP is the calling thread. */
void env_uv_run(struct env *e);
void env_uv_stop(struct env *e); /* from a callback: env_uv_run returns after this turn */
/* Call fn on the LOOP at each arrival of the signal (SIGINT, SIGTERM). SIGPIPE is always ignored. */
void env_uv_on_signal(struct env *e, int signum, void (*fn)(void *ctx, int signum), void *ctx);
/* After env_uv_run returned: waits for jobs in run(), drops the others, closes what is left, frees. */
void env_uv_destroy(struct env *e);

#endif
