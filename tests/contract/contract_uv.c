/* contract_uv.c — the contract against the real environment. */
#include "env_contract.h"
#include <pthread.h>
#include <rq/env_uv.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct env *env;
static pthread_t loop_thread;
static char folder_text[80];
static char scratch[64] = "/tmp/rq_contract_XXXXXX";

static struct env *uv_create(void)
{
    struct env_uv_config config = {.read_threads = 3};
    struct err_text why;
    static unsigned number;

    loop_thread = pthread_self();
    CHECK(env_uv_create(&config, &env, &why) == 0);
    (void)snprintf(folder_text, sizeof(folder_text), "%s/%u", scratch, number++);
    return env;
}

static const char *uv_folder(void)
{
    return folder_text;
}

struct wait {
    struct env_timer timer;
    bool (*met)(void *ctx);
    void *ctx;
    uint64_t end_ns;
    bool held;
};

static void on_wait(struct env_timer *t)
{
    struct wait *w = t->ctx;

    w->held = w->met(w->ctx);
    if (w->held || env_now_ns(env) >= w->end_ns)
        env_uv_stop(env);
    else
        env_timer_arm(t, ENV_MS_NS);
}

static bool uv_run_until(bool (*met)(void *ctx), void *ctx, uint64_t after_ns)
{
    struct wait w = {.met = met, .ctx = ctx, .end_ns = env_now_ns(env) + after_ns};

    env_timer_init(&w.timer, env, on_wait, &w);
    env_timer_arm(&w.timer, 0);
    env_uv_run(env);
    return w.held;
}

struct call {
    struct env_timer timer;
    void (*fn)(void *ctx);
    void *ctx;
};

static void on_call(struct env_timer *t)
{
    struct call *call = t->ctx;

    call->fn(call->ctx);
    env_uv_stop(env);
}

static void uv_call(void (*fn)(void *ctx), void *ctx)
{
    struct call call = {.fn = fn, .ctx = ctx};

    env_timer_init(&call.timer, env, on_call, &call);
    env_timer_arm(&call.timer, 0);
    env_uv_run(env);
}

static const char *uv_listen_addr(void)
{
    return "127.0.0.1:0";
}

static bool uv_on_loop(void)
{
    return pthread_equal(pthread_self(), loop_thread) != 0;
}

static void uv_destroy(void)
{
    env_uv_destroy(env);
}

static const struct contract_driver uv_driver = {
    .name = "uv",
    .create = uv_create,
    .folder = uv_folder,
    .call = uv_call,
    .run_until = uv_run_until,
    .listen_addr = uv_listen_addr,
    .on_loop = uv_on_loop,
    .resolves_localhost = true,
    .destroy = uv_destroy,
};

int main(int argc, char **argv)
{
    char command[128];

    CHECK(mkdtemp(scratch) != NULL);
    int status = contract_main(&uv_driver, argc > 1 ? argv[1] : NULL);
    (void)snprintf(command, sizeof(command), "rm -rf '%s'", scratch);
    return system(command) == 0 ? status : 1;
}
