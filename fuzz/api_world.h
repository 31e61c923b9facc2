/* api_world.h — one real node with its HTTP surface in the simulated world, and a client that sends bytes
 * to it and keeps what comes back. For fuzz_api.c.
 *
 *   world ─┬─ host "n1": api and node, wired as daemon/main.c does it; database in memory
 *          └─ host "c1": one connection at a time
 *
 * What runs in boot() and after it on n1 is production code in that host's memory pool. The structs here
 * are the harness's own. */
#ifndef API_WORLD_H
#define API_WORLD_H

#include "env/world.h"

#include <rq/api.h>
#include <rq/node.h>
#include <rq/util/assert.h>
#include <rq/util/slice.h>
#include <stdlib.h>
#include <string.h>

enum { API_WORLD_STEP_MS = 100, API_WORLD_START_S = 60, API_WORLD_STOP_S = 60 };

struct api_world {
    struct world *world;
    struct host *server, *client;
    struct node *node; /* of the living incarnation */
    struct api *api;
    bool open, stopped;
    /* The client's connection; NULL: none. */
    struct env_stream *stream;
    struct slice sending;
    bool opened, ended;
    uint8_t *answer; /* everything received on it; not in a host's pool */
    size_t answer_len, answer_cap;
};

/* ---- the server ------------------------------------------------------------------------------------ */

static void api_world_opened(void *ctx, int rc, const char *why)
{
    struct api_world *w = ctx;

    if (rc)
        env_halt(host_env(w->server), why);
    w->open = true;
}

static void api_world_boot(struct env *e, void *ctx)
{
    struct api_world *w = ctx;
    const struct api_config api_config = {.bind_addr = "n1:4001",
                                          .adv_addr = "n1:4001",
                                          .raft_addr = "n1:4002",
                                          .version = "v10.3.0",
                                          .queue = {64, 8, 50 * ENV_MS_NS, false}};
    const struct node_config node_config = {
        .name = "n1",
        .dir = "data",
        .raft_bind = "n1:4002",
        .raft_addr = "n1:4002",
        .api_url = "http://n1:4001",
        .version = "v10.3.0",
        .codec = api_codec(),
        .bootstrap = true,
        .db = {.statement_cache = 16,
               .batch_max = 64,
               .cache_pages = 100,
               .wal_limit_bytes = 256 * 1024,
               .row_digest = true},
        .heartbeat_timeout_ms = 1000,
        .election_timeout_ms = 1000,
        .apply_timeout_ms = 10000,
        .reader_count = 4,
        .reader_jobs = 2,
        .part_bytes = 4096};
    struct err_text why = {""};

    if (api_create(e, &api_config, &w->api, &why) ||
        node_create(e, &node_config, api_world_opened, w, &w->node, &why))
        env_halt(e, why.text);
    api_node_set(w->api, w->node);
}

static bool api_world_not_ready(void *ctx)
{
    const struct api_world *w = ctx;
    struct node_status status;

    if (!w->open)
        return true;
    node_status_get(w->node, &status);
    return !status.ready;
}

static void api_world_halted(void *ctx, struct host *h, const char *reason)
{
    (void)ctx;
    (void)h;
    assert_fail(reason, __FILE__, __LINE__, "the node stopped itself");
}

static void api_world_nothing(struct env *e, void *ctx)
{
    (void)e;
    (void)ctx;
}

static void api_world_create(struct api_world *w, uint64_t seed)
{
    struct world_config config;

    memset(w, 0, sizeof(*w));
    world_config_default(&config, seed);
    config.cpu_free = true;
    w->world = world_create(&config);
    world_on_halt(w->world, api_world_halted, w);
    w->server = world_host_add(w->world, "n1", NULL);
    w->client = world_host_add(w->world, "c1", NULL);
    host_start(w->server, api_world_boot, w);
    host_start(w->client, api_world_nothing, w);
    bool ready = world_run_while(w->world, API_WORLD_START_S * ENV_S_NS, api_world_not_ready, w);
    ASSERT(ready);
}

static void api_world_node_stopped(void *ctx)
{
    struct api_world *w = ctx;

    node_destroy(w->node);
    api_destroy(w->api);
    w->stopped = true;
    host_exit(w->server);
}

static void api_world_api_stopped(void *ctx)
{
    struct api_world *w = ctx;
    node_stop(w->node, api_world_node_stopped, w);
}

static void api_world_stop(struct env *e, void *ctx)
{
    struct api_world *w = ctx;

    (void)e;
    api_stop(w->api, 2000, api_world_api_stopped, w);
}

static bool api_world_not_stopped(void *ctx)
{
    const struct api_world *w = ctx;
    return !w->stopped || host_up(w->server);
}

/* The node stops in good order and gives back all its memory. */
static void api_world_destroy(struct api_world *w)
{
    host_post(w->server, 0, api_world_stop, w);
    bool gone = world_run_while(w->world, API_WORLD_STOP_S * ENV_S_NS, api_world_not_stopped, w);
    ASSERT(gone);
    ASSERT(host_exit_leak(w->server) == 0);
    world_destroy(w->world);
    free(w->answer);
    memset(w, 0, sizeof(*w));
}

/* ---- the client ------------------------------------------------------------------------------------ */

static void api_world_stream_opened(void *ctx, int rc)
{
    struct api_world *w = ctx;

    ASSERT(rc == 0);
    w->opened = true;
    env_stream_read_start(w->stream);
}

static void api_world_data(void *ctx, struct slice bytes)
{
    struct api_world *w = ctx;

    if (w->answer_len + bytes.len > w->answer_cap) {
        w->answer_cap = 2 * (w->answer_len + bytes.len);
        w->answer = realloc(w->answer, w->answer_cap);
        ASSERT(w->answer);
    }
    memcpy(w->answer + w->answer_len, bytes.data, bytes.len);
    w->answer_len += bytes.len;
}

static void api_world_ended(void *ctx, int rc)
{
    struct api_world *w = ctx;

    (void)rc;
    w->ended = true;
}

static void api_world_drained(void *ctx)
{
    (void)ctx;
}

static void api_world_closed(void *ctx)
{
    struct api_world *w = ctx;
    w->stream = NULL;
}

static void api_world_connect(struct env *e, void *ctx)
{
    static const struct env_stream_events events = {api_world_stream_opened, api_world_data,
                                                    api_world_ended, api_world_drained,
                                                    api_world_closed};
    struct api_world *w = ctx;
    int rc = env_stream_connect(e, "n1:4001", &events, w, &w->stream);
    ASSERT(rc == 0);
}

static void api_world_write(struct env *e, void *ctx)
{
    struct api_world *w = ctx;

    (void)e;
    if (!w->stream || w->ended)
        return; /* the server has closed: nobody reads the rest */
    int rc = env_stream_write(w->stream, &w->sending, 1, SIZE_MAX / 8);
    ASSERT(rc == 0 || w->ended);
}

static void api_world_hang_up(struct env *e, void *ctx)
{
    struct api_world *w = ctx;

    (void)e;
    if (w->stream)
        env_stream_close(w->stream);
}

static bool api_world_not_open(void *ctx)
{
    return !((struct api_world *)ctx)->opened;
}

static bool api_world_not_closed(void *ctx)
{
    return ((struct api_world *)ctx)->stream != NULL;
}

static void api_world_dial(struct api_world *w)
{
    w->opened = w->ended = false;
    w->answer_len = 0;
    (void)host_call(w->client, api_world_connect, w);
    bool open = world_run_while(w->world, 10 * ENV_S_NS, api_world_not_open, w);
    ASSERT(open);
}

static void api_world_send(struct api_world *w, struct slice bytes)
{
    w->sending = bytes;
    if (bytes.len)
        (void)host_call(w->client, api_world_write, w);
}

/* Until nothing has come for two steps, or the server ended the connection. */
static void api_world_listen(struct api_world *w)
{
    size_t before;
    unsigned quiet = 0;

    while (quiet < 2 && !w->ended) {
        before = w->answer_len;
        (void)world_run_for(w->world, API_WORLD_STEP_MS * ENV_MS_NS);
        quiet = w->answer_len == before ? quiet + 1 : 0;
    }
}

static void api_world_leave(struct api_world *w)
{
    (void)host_call(w->client, api_world_hang_up, w);
    bool closed = world_run_while(w->world, 10 * ENV_S_NS, api_world_not_closed, w);
    ASSERT(closed);
}

#endif
