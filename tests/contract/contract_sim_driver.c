/* contract_sim_driver.c — the simulated environment for the cases: one host that talks to itself. */
#include "contract_sim.h"
#include "env/world.h"
#include <stdio.h>

static struct world *world;
static struct host *host;
static unsigned port;
uint64_t contract_sim_seed;

static void boot(struct env *e, void *ctx)
{
    (void)e;
    (void)ctx;
}

static struct env *sim_create(void)
{
    struct world_config config;

    world_config_default(&config, ++contract_sim_seed);
    world = world_create(&config);
    host = world_host_add(world, "n1", NULL);
    host_start(host, boot, NULL);
    while (!host_env(host) && world_step(world)) {
    }
    return host_env(host);
}

static const char *sim_folder(void)
{
    return "data";
}

struct call {
    void (*fn)(void *ctx);
    void *ctx;
};

static void on_call(struct env *e, void *ctx)
{
    struct call *call = ctx;

    (void)e;
    call->fn(call->ctx);
}

static void sim_call(void (*fn)(void *ctx), void *ctx)
{
    struct call call = {fn, ctx};

    CHECK(host_call(host, on_call, &call));
}

struct wish {
    bool (*met)(void *ctx);
    void *ctx;
};

static bool unmet(void *ctx)
{
    struct wish *w = ctx;

    return !w->met(w->ctx);
}

static bool sim_run_until(bool (*met)(void *ctx), void *ctx, uint64_t after_ns)
{
    struct wish w = {met, ctx};

    if (met(ctx))
        return true;
    return world_run_while(world, after_ns, unmet, &w);
}

static const char *sim_listen_addr(void)
{
    static char addr[32];

    (void)snprintf(addr, sizeof(addr), "n1:%u", 4001 + port++ % 1000);
    return addr;
}

static bool sim_on_loop(void)
{
    return true; /* there is one thread */
}

static void sim_destroy(void)
{
    world_destroy(world);
}

const struct contract_driver contract_sim_driver = {
    .name = "sim",
    .create = sim_create,
    .folder = sim_folder,
    .call = sim_call,
    .run_until = sim_run_until,
    .listen_addr = sim_listen_addr,
    .on_loop = sim_on_loop,
    .destroy = sim_destroy,
};
