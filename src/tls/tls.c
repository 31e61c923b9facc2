/* tls — life of the room, and the environment it offers. Called by who wires the house. */
#include "tls_int.h"

enum { STRINGS_MAX = 4 * TLS_PEM_MAX };

/* ---- listeners ----------------------------------------------------------------------------------------- */

struct tls_listener {
    struct env_listener base; /* first */
    struct tls *t;
    struct env_listener *under;
    void (*accepted)(void *ctx, struct env_stream *s);
    void *ctx;
};

static struct tls_listener *listener_of(const struct env_listener *l)
{
    return (struct tls_listener *)(uintptr_t)l;
}

static void listener_accepted(void *ctx, struct env_stream *under)
{
    struct tls_listener *l = ctx;
    tls_stream_accept(l->t, under, l->accepted, l->ctx);
}

static int tls_listen(struct env *net, const char *bind_addr,
                      void (*accepted)(void *ctx, struct env_stream *s), void *ctx,
                      struct env_listener **out, struct err_text *why)
{
    struct tls *t = tls_of(net);
    ASSERT(t->contexts.server != NULL); /* tls.h: needs a certificate */
    struct tls_listener *l = mem_zalloc(sizeof *l);
    if (!l)
        return err_set(why, ERR_NOMEM, "out of memory");
    l->base.env = net;
    l->t = t;
    l->accepted = accepted;
    l->ctx = ctx;
    const int rc = env_listen(t->env, bind_addr, listener_accepted, l, &l->under, why);
    if (rc != 0) {
        mem_free(l);
        return rc;
    }
    t->listener_count++;
    *out = &l->base;
    return 0;
}

static const char *tls_listener_addr(const struct env_listener *base)
{
    return env_listener_addr(listener_of(base)->under);
}

static void tls_listener_close(struct env_listener *base)
{
    struct tls_listener *l = listener_of(base);
    env_listener_close(l->under);
    l->t->listener_count--;
    mem_free(l);
}

/* Streams and nothing else: whoever asks for time or files has its environment for that. */
static const struct env_ops net_ops = {
    .stream_connect = tls_stream_connect,
    .stream_read_start = tls_stream_read_start,
    .stream_read_stop = tls_stream_read_stop,
    .stream_write = tls_stream_write,
    .stream_pending = tls_stream_pending,
    .stream_peer = tls_stream_peer,
    .stream_finish = tls_stream_finish,
    .stream_close = tls_stream_close,
    .listen = tls_listen,
    .listener_addr = tls_listener_addr,
    .listener_close = tls_listener_close,
};

/* ---- life ------------------------------------------------------------------------------------------------ */

static const char *copy_string(struct arena *a, const char *s, bool *failed)
{
    const char *copy = s ? arena_dup(a, s, strlen(s)) : NULL;
    *failed = *failed || (s && !copy);
    return copy;
}

static int config_copy(struct tls *t, const struct tls_config *c)
{
    bool failed = false;
    t->cert_path = copy_string(&t->arena, c->cert_path, &failed);
    t->key_path = copy_string(&t->arena, c->key_path, &failed);
    t->component = copy_string(&t->arena, c->component ? c->component : "tls", &failed);
    t->rules.common_name = copy_string(&t->arena, c->common_name, &failed);
    t->rules.server_name = copy_string(&t->arena, c->server_name, &failed);
    t->rules.verify_client = c->verify_client;
    t->rules.no_verify = c->no_verify;
    t->rules.http = c->http;
    const char *ca = c->ca.len > 0 ? arena_dup(&t->arena, c->ca.data, c->ca.len) : NULL;
    t->rules.ca = slice_of(ca, ca ? c->ca.len : 0);
    return failed || (c->ca.len > 0 && !ca) ? ERR_NOMEM : 0;
}

static void stop_run(struct env_turn *turn)
{
    struct tls *t = turn->ctx;
    t->stopped(t->stopped_ctx);
}

static void stop_look(struct tls *t)
{
    if (t->stopped && !t->reload.busy && t->stream_count == 0)
        env_turn_schedule(&t->stop_turn);
}

int tls_create(struct env *e, const struct tls_config *config, struct tls **out,
               struct err_text *why)
{
    ASSERT((config->cert_path == NULL) == (config->key_path == NULL));
    struct tls *t = mem_zalloc(sizeof *t);
    if (!t)
        return err_set(why, ERR_NOMEM, "out of memory");
    t->net.ops = &net_ops;
    t->env = e;
    t->idle = stop_look;
    arena_init(&t->arena, STRINGS_MAX);
    env_turn_init(&t->stop_turn, e, stop_run, t);
    int rc = config_copy(t, config);
    if (rc != 0)
        err_set(why, rc, "out of memory");
    else
        rc = tls_contexts_make(&t->rules, config->cert, config->key, &t->contexts, why);
    tls_reload_init(t, config->cert, config->key);
    if (rc != 0) {
        tls_destroy(t);
        return rc;
    }
    *out = t;
    return 0;
}

struct env *tls_net(struct tls *t)
{
    return &t->net;
}

void tls_stop(struct tls *t, void (*stopped)(void *ctx), void *ctx)
{
    ASSERT(!t->stopped && t->listener_count == 0);
    t->stopped = stopped;
    t->stopped_ctx = ctx;
    stop_look(t);
}

void tls_destroy(struct tls *t)
{
    if (!t)
        return;
    ASSERT(t->stream_count == 0 && t->listener_count == 0 && !t->reload.busy);
    env_turn_cancel(&t->stop_turn);
    tls_contexts_free(&t->contexts);
    arena_fini(&t->arena);
    mem_free(t);
}
