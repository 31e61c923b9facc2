/* tls_fixture.h — a server and a client with the filter on both sides, owners that note what happens to them, and
 * certificates of two authorities. Shared by the filter's tests; all static, each program has its own. */
#ifndef TLS_FIXTURE_H
#define TLS_FIXTURE_H

#include "tls_world.h"

#define UNUSED __attribute__((unused))

static struct cert ca, other_ca, server_cert, client_cert, stranger_cert;

/* ---- owners: they note what happens to them ------------------------------------------------------------------ */

struct owner {
    struct env_stream *stream;
    struct buf got;
    int opened_rc, ended_rc;
    uint32_t opened, ended, drained, closed;
    bool echo, slow; /* slow: stops reading after each piece */
    bool close_in_opened, close_in_data;
};

static UNUSED void on_opened(void *ctx, int rc)
{
    struct owner *o = ctx;
    o->opened++;
    o->opened_rc = rc;
    if (o->close_in_opened)
        env_stream_close(o->stream);
    else if (rc == 0)
        env_stream_read_start(o->stream);
}
static UNUSED void on_data(void *ctx, struct slice bytes)
{
    struct owner *o = ctx;
    assert_true(bytes.len > 0 && o->ended == 0 && o->closed == 0);
    buf_append_slice(&o->got, bytes);
    if (o->slow)
        env_stream_read_stop(o->stream);
    if (o->echo)
        assert_int_equal(env_stream_write(o->stream, &bytes, 1, 1 << 30), 0);
    if (o->close_in_data)
        env_stream_close(o->stream);
}
static UNUSED void on_ended(void *ctx, int rc)
{
    struct owner *o = ctx;
    o->ended++;
    o->ended_rc = rc;
}
static UNUSED void on_drained(void *ctx)
{
    struct owner *o = ctx;
    assert_int_equal(env_stream_pending(o->stream), 0);
    o->drained++;
}
static UNUSED void on_closed(void *ctx)
{
    struct owner *o = ctx;
    o->closed++;
    o->stream = NULL;
}
static const struct env_stream_events events = {on_opened, on_data, on_ended, on_drained,
                                                on_closed};

static struct tls *server, *client;
static struct env_listener *listener;
static struct owner theirs, ours; /* of the accepting, of the connecting side */
static bool part_at_once;         /* who comes is sent away */

static UNUSED void accepted(void *ctx, struct env_stream *s)
{
    struct owner *o = ctx;
    o->stream = s;
    env_stream_attach(s, &events, o);
    if (part_at_once) {
        const struct slice words = slice_str("no room");
        assert_int_equal(env_stream_write(s, &words, 1, 100), 0);
        env_stream_finish(s);
        return;
    }
    env_stream_read_start(s);
}

static UNUSED struct tls_config server_config(void)
{
    const struct tls_config c = {.cert_path = "cert",
                                 .key_path = "key",
                                 .cert = slice_str(server_cert.pem),
                                 .key = slice_str(server_cert.key_pem),
                                 .ca = slice_str(ca.pem),
                                 .http = true,
                                 .component = "http"};
    return c;
}
static UNUSED struct tls_config client_config(void)
{
    const struct tls_config c = {.ca = slice_str(ca.pem), .http = true};
    return c;
}

static UNUSED struct tls *make(const struct tls_config *config)
{
    struct tls *t = NULL;
    struct err_text why = {""};
    if (tls_create(&world.env, config, &t, &why) != 0)
        fail_msg("%s", why.text);
    return t;
}

static UNUSED void start(const struct tls_config *s, const struct tls_config *c)
{
    struct err_text why;
    world.files[0] = (struct file){"cert", server_cert.pem};
    world.files[1] = (struct file){"key", server_cert.key_pem};
    server = make(s);
    client = make(c);
    assert_int_equal(env_listen(tls_net(server), "a:1", accepted, &theirs, &listener, &why), 0);
    assert_string_equal(env_listener_addr(listener), "127.0.0.1:4001");
}

static UNUSED void dial(const char *addr)
{
    assert_int_equal(env_stream_connect(tls_net(client), addr, &events, &ours, &ours.stream), 0);
}

/* Both with their usual rules, connected. */
static UNUSED void start_open(void)
{
    const struct tls_config s = server_config(), c = client_config();
    start(&s, &c);
    dial("server.example:1");
    world_run();
    assert_int_equal(ours.opened, 1);
    assert_int_equal(ours.opened_rc, 0);
}

static UNUSED int setup(void **state)
{
    (void)state;
    world_reset();
    memset(&theirs, 0, sizeof theirs);
    memset(&ours, 0, sizeof ours);
    part_at_once = false;
    buf_init(&theirs.got, 1 << 30);
    buf_init(&ours.got, 1 << 30);
    return 0;
}

static UNUSED void count(void *ctx)
{
    ++*(int *)ctx;
}

static UNUSED void owner_end(struct owner *o)
{
    if (o->stream)
        env_stream_close(o->stream);
    world_run();
    world_pass(20 * 1000);
    if (o->opened || o->closed)
        assert_int_equal(o->closed, 1);
    assert_null(o->stream);
    buf_fini(&o->got);
}

static UNUSED int teardown(void **state)
{
    int stopped = 0;
    (void)state;
    env_listener_close(listener);
    owner_end(&ours);
    owner_end(&theirs);
    assert_int_equal(world_streams(), 0);
    tls_stop(server, count, &stopped);
    tls_stop(client, count, &stopped);
    world_run();
    assert_int_equal(stopped, 2);
    tls_destroy(server);
    tls_destroy(client);
    return 0;
}

static UNUSED void send_text(struct owner *o, const char *text)
{
    const struct slice part = slice_str(text);
    assert_int_equal(env_stream_write(o->stream, &part, 1, 1 << 30), 0);
}

static UNUSED void expect_got(struct owner *o, const char *text)
{
    assert_true(slice_equal_str(buf_slice(&o->got), text));
}

/* The whole program: certificates are made once. */
static int fixture_run(const struct CMUnitTest *tests, size_t count_of)
{
    ca = cert_make("ca.example", NULL);
    other_ca = cert_make("other-ca.example", NULL);
    server_cert = cert_make("server.example", &ca);
    client_cert = cert_make("client.example", &ca);
    stranger_cert = cert_make("client.example", &other_ca);
    const int failed = _cmocka_run_group_tests("tls", tests, count_of, NULL, NULL);
    cert_free(&ca);
    cert_free(&other_ca);
    cert_free(&server_cert);
    cert_free(&client_cert);
    cert_free(&stranger_cert);
    return failed;
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
#define RUN(tests) fixture_run(tests, sizeof(tests) / sizeof((tests)[0]))

#endif
