/* api_meta — ask a member who it is, and again where it could not be contacted: `retries` extra attempts
 * within `timeout` (http-api.md §11.4). Called by api_nodes.c and api_ready.c. */
#include "api_int.h"

enum { RETRY_MS = 100 }; /* a connection that was refused is dialled anew in about that time */

static void meta_end(struct api_meta *m, int rc, const struct wire_meta *meta, const char *why)
{
    env_timer_disarm(&m->timer);
    m->done(m->ctx, rc, meta, why); /* m may be gone now */
}

static bool could_not_contact(int rc)
{
    return rc == ERR_REFUSED || rc == ERR_RESET || rc == ERR_UNREACHABLE;
}

static void meta_answered(void *ctx, int rc, const struct wire_meta *meta, const char *why)
{
    struct api_meta *m = ctx;
    const uint64_t now_ns = env_now_ns(m->api->env);
    if (!could_not_contact(rc) || m->retries == 0 ||
        now_ns + RETRY_MS * ENV_MS_NS >= m->deadline_ns) {
        meta_end(m, rc, meta, why);
        return;
    }
    m->retries--;
    m->api->counters[API_COUNT_META_RETRIES]++;
    env_timer_arm(&m->timer, RETRY_MS * ENV_MS_NS);
}

static void meta_ask(struct api_meta *m)
{
    const uint64_t now_ns = env_now_ns(m->api->env);
    const uint64_t left_ms = now_ns < m->deadline_ns ? (m->deadline_ns - now_ns) / ENV_MS_NS : 0;
    const int rc = m->api->node ? node_meta(m->api->node, slice_str(m->name),
                                            left_ms > 0 ? left_ms : 1, meta_answered, m)
                                : ERR_NOT_READY;
    if (rc != 0)
        meta_end(m, rc, NULL, NULL);
}

static void meta_again(struct env_timer *t)
{
    meta_ask(t->ctx);
}

void api_meta_ask(struct api_meta *m, struct api *a, const char *name, const struct api_params *p)
{
    ASSERT(m->done != NULL && strlen(name) < sizeof m->name);
    m->api = a;
    memcpy(m->name, name, strlen(name) + 1);
    m->retries = api_params_retries(p);
    m->deadline_ns = env_now_ns(a->env) + api_params_timeout_ms(p) * ENV_MS_NS;
    env_timer_init(&m->timer, a->env, meta_again, m);
    meta_ask(m);
}

void api_meta_give_up(struct api_meta *m)
{
    m->retries = 0;
    if (env_timer_armed(&m->timer))
        meta_end(m, ERR_CANCELED, NULL, NULL);
}
