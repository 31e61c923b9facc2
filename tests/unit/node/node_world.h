/* node_world.h — whole nodes in a simulated world, with a codec that says nothing. For tests that include it; all
 * static, each program has its own. */
#ifndef NODE_WORLD_H
#define NODE_WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "node_int.h"
#include <cmocka.h>
#include <env/world.h>
#include <stdlib.h>

#define UNUSED __attribute__((unused))

enum { CHUNK_BYTES = 8192 };

struct server {
    struct host *host;
    struct node *node;
    struct node_config config;
    char name[8], addr[16];
    bool open, joined, refused, may_refuse;
    char why[300];
};

static struct {
    struct world *world;
    struct server a, b, c;
    uint32_t answered;
    bool compress, on_disk, cut;
    char log[64 * 1024]; /* what the nodes said */
    size_t log_len;
} t;

/* ---- a codec that says nothing ------------------------------------------------------------------------------ */

static void on_columns(struct db_sink *s, const struct db_columns *c)
{
    (void)s;
    (void)c;
}
static int on_row(struct db_sink *s, const struct db_value *v, uint32_t count)
{
    (void)s;
    (void)v;
    (void)count;
    return 0;
}
static void on_end(struct db_sink *s, uint64_t ns)
{
    (void)s;
    (void)ns;
}
static void on_changed(struct db_sink *s, int64_t id, int64_t rows, uint64_t ns)
{
    (void)s;
    (void)id;
    (void)rows;
    (void)ns;
}
static void on_error(struct db_sink *s, bool as_query, struct slice text)
{
    (void)s;
    (void)as_query;
    fail_msg("%.*s", (int)text.len, (const char *)text.data);
}
static const struct db_sink_ops ops = {
    .columns = on_columns, .row = on_row, .end = on_end, .write = on_changed, .error = on_error};
static struct db_sink *codec_new(uint32_t options, struct buf *out)
{
    struct db_sink *s = mem_must_zalloc(sizeof(*s));
    (void)options;
    (void)out;
    s->ops = &ops;
    return s;
}
static void codec_none(struct db_sink *s)
{
    (void)s;
}
static bool codec_pause(struct db_sink *s)
{
    (void)s;
    return true;
}
static void codec_free(struct db_sink *s)
{
    mem_free(s);
}
static const struct node_codec codec = {.sink_new = codec_new,
                                        .sink_finish = codec_none,
                                        .sink_pause = codec_pause,
                                        .sink_resume = codec_none,
                                        .sink_free = codec_free};

/* ---- two nodes ------------------------------------------------------------------------------------------------ */

static void opened(void *ctx, int rc, const char *why)
{
    struct server *s = ctx;
    if (rc && !s->may_refuse)
        fail_msg("%s: %s", s->name, why);
    (void)snprintf(s->why, sizeof(s->why), "%s", why);
    s->open = rc == 0;
}

static void logged(void *ctx, struct host *h, const char *component, const char *line)
{
    (void)ctx;
    (void)component;
    int len = snprintf(t.log + t.log_len, sizeof(t.log) - t.log_len, "%s %s\n", host_name(h), line);
    if ((size_t)len < sizeof(t.log) - t.log_len)
        t.log_len += (size_t)len;
}

static UNUSED bool was_said(const char *words)
{
    return strstr(t.log, words) != NULL;
}

static void boot(struct env *e, void *ctx)
{
    struct server *s = ctx;
    struct err_text why;

    s->open = false;
    assert_int_equal(node_create(e, &s->config, opened, s, &s->node, &why), 0);
}

static void server_init(struct server *s, const char *name, bool first)
{
    (void)snprintf(s->name, sizeof(s->name), "%s", name);
    (void)snprintf(s->addr, sizeof(s->addr), "%s:4002", name);
    s->config = (struct node_config){
        .name = s->name,
        .dir = "data",
        .raft_bind = s->addr,
        .raft_addr = s->addr,
        .api_url = "http://n:4001",
        .version = "v10",
        .codec = &codec,
        .bootstrap = first,
        .db = {.on_disk = t.on_disk,
               .batch_max = 10,
               .cache_pages = 10,
               .wal_limit_bytes = 1 << 20},
        .heartbeat_timeout_ms = 1000,
        .election_timeout_ms = 1000,
        .apply_timeout_ms = 10000,
        .reader_count = 2,
        .snapshot_entries = 1000000,
        .scrub_ms = 1000000,
        .image_chunk_bytes = CHUNK_BYTES,
        .compress_images = t.compress,
    };
    s->host = world_host_add(t.world, name, NULL);
}

static void run_ms(uint64_t ms)
{
    (void)world_run_for(t.world, ms * ENV_MS_NS);
}

static void replied(void *ctx, const struct node_answer *a)
{
    (void)ctx;
    assert_int_equal(a->rc, 0);
    t.answered++;
}

static void execute_now(struct env *e, void *ctx)
{
    struct node_request r = {.f = {.kind = WIRE_EXECUTE, .timeout_ms = 30000}};
    struct buf b;

    (void)e;
    buf_init(&b, 4096);
    wire_cmd_begin(&b, WIRE_CMD_EXECUTE, 0, slice_of(NULL, 0));
    wire_cmd_statement(&b, slice_str(ctx));
    assert_int_equal(wire_cmd_finish(&b), 0);
    r.f.payload = buf_slice(&b);
    assert_int_equal(node_submit(t.a.node, &r, replied, NULL, NULL), 0);
    buf_fini(&b);
}

static UNUSED void execute(const char *sql)
{
    uint32_t before = t.answered;

    assert_true(host_call(t.a.host, execute_now, (void *)(uintptr_t)sql));
    for (int i = 0; i < 1000 && t.answered == before; i++)
        run_ms(10);
    assert_int_equal(t.answered, before + 1);
}

static void cut_done(void *ctx, int rc, const char *why)
{
    (void)ctx;
    (void)why;
    assert_int_equal(rc, 0);
    t.cut = true;
}

static UNUSED void cut_now(struct env *e, void *ctx)
{
    (void)e;
    (void)ctx;
    assert_int_equal(node_snapshot(t.a.node, 0, cut_done, NULL), 0);
}

static void join_done(void *ctx, int rc, const char *why)
{
    struct server *s = ctx;
    (void)why;
    s->joined = rc == 0;
    s->refused = rc != 0;
}

static UNUSED void join_now(struct env *e, void *ctx)
{
    (void)e;
    ((struct server *)ctx)->refused = false;
    assert_int_equal(node_join(((struct server *)ctx)->node, t.a.addr, 30000, join_done, ctx), 0);
}

static void world_begin(void)
{
    struct world_config config;
    static bool library;

    if (!library)
        assert_int_equal(db_library_init(true), 0);
    library = true;
    world_config_default(&config, 1);
    t.world = world_create(&config);
    world_on_log(t.world, logged, NULL);
}

#endif
