/* The filter from both sides: what goes in comes out, whatever pieces it travels in; and everything that must
 * not get through does not. */
#include "tls_world.h"

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

static void on_opened(void *ctx, int rc)
{
    struct owner *o = ctx;
    o->opened++;
    o->opened_rc = rc;
    if (o->close_in_opened)
        env_stream_close(o->stream);
    else if (rc == 0)
        env_stream_read_start(o->stream);
}
static void on_data(void *ctx, struct slice bytes)
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
static void on_ended(void *ctx, int rc)
{
    struct owner *o = ctx;
    o->ended++;
    o->ended_rc = rc;
}
static void on_drained(void *ctx)
{
    struct owner *o = ctx;
    assert_int_equal(env_stream_pending(o->stream), 0);
    o->drained++;
}
static void on_closed(void *ctx)
{
    struct owner *o = ctx;
    o->closed++;
    o->stream = NULL;
}
static const struct env_stream_events events = {on_opened, on_data, on_ended, on_drained, on_closed};

static struct tls *server, *client;
static struct env_listener *listener;
static struct owner theirs, ours; /* of the accepting, of the connecting side */
static bool part_at_once;         /* who comes is sent away */

static void accepted(void *ctx, struct env_stream *s)
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

static struct tls_config server_config(void)
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
static struct tls_config client_config(void)
{
    const struct tls_config c = {.ca = slice_str(ca.pem), .http = true};
    return c;
}

static struct tls *make(const struct tls_config *config)
{
    struct tls *t = NULL;
    struct err_text why = {""};
    if (tls_create(&world.env, config, &t, &why) != 0)
        fail_msg("%s", why.text);
    return t;
}

static void start(const struct tls_config *s, const struct tls_config *c)
{
    struct err_text why;
    world.files[0] = (struct file){"cert", server_cert.pem};
    world.files[1] = (struct file){"key", server_cert.key_pem};
    server = make(s);
    client = make(c);
    assert_int_equal(env_listen(tls_net(server), "a:1", accepted, &theirs, &listener, &why), 0);
    assert_string_equal(env_listener_addr(listener), "127.0.0.1:4001");
}

static void dial(const char *addr)
{
    assert_int_equal(env_stream_connect(tls_net(client), addr, &events, &ours, &ours.stream), 0);
}

/* Both with their usual rules, connected. */
static void start_open(void)
{
    const struct tls_config s = server_config(), c = client_config();
    start(&s, &c);
    dial("server.example:1");
    world_run();
    assert_int_equal(ours.opened, 1);
    assert_int_equal(ours.opened_rc, 0);
}

static int setup(void **state)
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

static void count(void *ctx)
{
    ++*(int *)ctx;
}

static void owner_end(struct owner *o)
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

static int teardown(void **state)
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

static void send_text(struct owner *o, const char *text)
{
    const struct slice part = slice_str(text);
    assert_int_equal(env_stream_write(o->stream, &part, 1, 1 << 30), 0);
}

static void expect_got(struct owner *o, const char *text)
{
    assert_true(slice_equal_str(buf_slice(&o->got), text));
}

/* ---- what gets through ------------------------------------------------------------------------------------------- */

static void test_bytes_come_out_as_they_went_in(void **state)
{
    (void)state;
    start_open();
    theirs.echo = true;
    send_text(&ours, "hello");
    assert_true(world.received > 0);
    world_run();
    expect_got(&theirs, "hello");
    expect_got(&ours, "hello");
    assert_string_equal(env_stream_peer(ours.stream), "192.0.2.1:7");
    assert_string_equal(world.said, "");
}

static void test_pieces_of_any_size_make_no_difference(void **state)
{
    static const size_t pieces[] = {1, 2, 3, 7, 100, 5000};
    const struct tls_config s = server_config(), c = client_config();
    (void)state;
    start(&s, &c);
    for (size_t i = 0; i < sizeof pieces / sizeof pieces[0]; i++) {
        static char text[40000];
        world.piece = pieces[i];
        memset(text, 'a' + (int)i, sizeof text - 1);
        dial("server.example:1");
        world_run();
        theirs.echo = true;
        send_text(&ours, text);
        world_run();
        expect_got(&ours, text);
        env_stream_finish(ours.stream);
        world_run();
        assert_int_equal(theirs.ended_rc, ERR_EOF);
        env_stream_close(theirs.stream);
        world_run();
        assert_true(!theirs.stream && !ours.stream);
        buf_reset(&theirs.got, 0);
        buf_reset(&ours.got, 0);
        theirs.ended = ours.ended = theirs.closed = ours.closed = 0;
    }
    dial("server.example:1");
    world_run();
}

static void test_a_large_write_waits_as_plain_bytes_and_is_drained(void **state)
{
    enum { BYTES = 8 * 1024 * 1024 };
    (void)state;
    start_open();
    env_stream_read_stop(ours.stream); /* the receiver does not read */
    char *large = mem_must_alloc(BYTES);
    for (size_t i = 0; i < BYTES; i++)
        large[i] = (char)(i * 31 >> 3);
    const struct slice parts[] = {slice_of(large, 1000), slice_of(large + 1000, 0), slice_of(large + 1000, BYTES - 1000)};
    assert_int_equal(env_stream_write(theirs.stream, parts, 3, BYTES - 1), ERR_FULL);
    assert_int_equal(env_stream_write(theirs.stream, parts, 3, BYTES), 0);
    world_run();
    assert_true(env_stream_pending(theirs.stream) > BYTES - 1024 * 1024);
    for (int i = 0; i < ENDS_MAX; i++)
        assert_true(buf_len(&world.ends[i].out) < 512 * 1024); /* below, only what may soon leave */
    assert_int_equal(theirs.drained, 0);
    env_stream_read_start(ours.stream);
    world_run();
    assert_int_equal(theirs.drained, 1);
    assert_true(slice_equal(buf_slice(&ours.got), slice_of(large, BYTES)));
    mem_free(large);
}

static void test_who_does_not_read_is_not_read_for(void **state)
{
    static char text[1024 * 1024];
    (void)state;
    start_open();
    memset(text, 'x', sizeof text - 1);
    theirs.slow = true;
    send_text(&ours, text);
    world_run();
    assert_in_range(buf_len(&theirs.got), 1, 16 * 1024); /* one record */
    assert_true(env_stream_pending(ours.stream) > 500 * 1024);
    for (int i = 0; i < 3; i++) {
        env_stream_read_start(theirs.stream);
        assert_in_range(buf_len(&theirs.got), 1, 16 * 1024 * (1 + (size_t)i)); /* not inside of the call */
        world_run();
    }
    theirs.slow = false;
    env_stream_read_start(theirs.stream);
    world_run();
    expect_got(&theirs, text);
    assert_int_equal(ours.drained, 1);
}

static void test_records_that_wait_here_come_when_reading_goes_on(void **state)
{
    (void)state;
    start_open();
    theirs.slow = true;
    send_text(&ours, "one ");
    send_text(&ours, "two ");
    send_text(&ours, "three");
    world_run(); /* all in one piece; nothing more comes from below */
    expect_got(&theirs, "one ");
    env_stream_read_start(theirs.stream);
    expect_got(&theirs, "one "); /* not inside of the call */
    world_run();
    expect_got(&theirs, "one two ");
    env_stream_read_start(theirs.stream);
    world_run();
    expect_got(&theirs, "one two three");
}

/* Whichever allocation fails: the connection works, or both ends hear that it does not. */
static void test_short_memory_ends_one_connection_only(void **state)
{
    const struct tls_config s = server_config(), c = client_config();
    (void)state;
    start(&s, &c);
    for (unsigned long n = 1;; n++) {
        struct env_stream *made = NULL;
        ours.opened = ours.ended = ours.closed = theirs.ended = theirs.closed = 0;
        buf_reset(&ours.got, 1 << 20);
        buf_reset(&theirs.got, 1 << 20);
        assert_non_null(buf_reserve(&ours.got, 4096));
        assert_non_null(buf_reserve(&theirs.got, 4096));
        theirs.echo = false;
        mem_fault_arm(n);
        const int rc = env_stream_connect(tls_net(client), "server.example:1", &events, &ours, &made);
        ours.stream = rc == 0 ? made : NULL;
        world_run();
        const int fired = mem_fault_fired();
        mem_fault_arm(0);
        if (rc == 0 && ours.opened_rc == 0 && !ours.ended && theirs.stream) {
            send_text(&ours, "through");
            world_run();
            expect_got(&theirs, "through");
        }
        if (ours.stream)
            env_stream_close(ours.stream);
        world_run();
        if (theirs.stream)
            env_stream_close(theirs.stream);
        world_pass(20 * 1000);
        assert_int_equal(world_streams(), 0);
        if (!fired)
            break;
    }
    ours.opened = ours.ended = ours.closed = theirs.ended = theirs.closed = 0;
    dial("server.example:1");
    world_run();
}

static void test_finish_sends_what_waits_then_the_closing_alert(void **state)
{
    static char text[3 * 1024 * 1024];
    (void)state;
    start_open();
    memset(text, 'y', sizeof text - 1);
    send_text(&theirs, text);
    env_stream_finish(theirs.stream);
    world_run();
    expect_got(&ours, text);
    assert_int_equal(ours.ended, 1);
    assert_int_equal(ours.ended_rc, ERR_EOF);
    assert_int_equal(theirs.closed, 1);
}

static void test_what_is_written_before_the_handshake_leaves_after_it(void **state)
{
    const struct tls_config s = server_config(), c = client_config();
    (void)state;
    start(&s, &c);
    part_at_once = true;
    dial("server.example:1");
    world_run();
    expect_got(&ours, "no room");
    assert_int_equal(ours.ended_rc, ERR_EOF);
    assert_int_equal(theirs.closed, 1);
}

static void test_an_end_without_alert_is_a_cut(void **state)
{
    (void)state;
    start_open();
    send_text(&ours, "half an ans");
    world_run();
    for (int i = 0; i < ENDS_MAX; i++) /* somebody between sends a FIN */
        if (world.ends[i].used && world.ends[i].base.ctx == (void *)ours.stream)
            world.ends[i].other->fin = true;
    world_run();
    expect_got(&theirs, "half an ans");
    assert_int_equal(theirs.ended, 1);
    assert_int_equal(theirs.ended_rc, ERR_RESET);
}

static void test_damaged_records_end_the_connection(void **state)
{
    (void)state;
    start_open();
    send_text(&ours, "precious");
    for (int i = 0; i < ENDS_MAX; i++) {
        struct end *d = &world.ends[i];
        if (d->used && buf_len(&d->out) > 0)
            d->out.data[d->out.end - 1] ^= 1;
    }
    world_run();
    assert_int_equal(buf_len(&theirs.got), 0);
    assert_int_equal(theirs.ended_rc, ERR_RESET);
    assert_int_equal(ours.ended_rc, ERR_RESET); /* told by an alert */
    const struct slice more = slice_str("more");
    assert_int_equal(env_stream_write(theirs.stream, &more, 1, 100), ERR_RESET);
}

static void test_owners_may_close_in_their_callbacks(void **state)
{
    const struct tls_config s = server_config(), c = client_config();
    (void)state;
    start(&s, &c);
    ours.close_in_opened = true;
    dial("server.example:1");
    world_run();
    assert_int_equal(ours.closed, 1);
    assert_int_equal(theirs.ended_rc, ERR_RESET);
    env_stream_close(theirs.stream);
    world_run();
    memset(&ours.opened, 0, sizeof ours.opened);
    ours.closed = theirs.closed = theirs.ended = 0;
    ours.close_in_opened = false;
    theirs.close_in_data = true;
    dial("server.example:1");
    world_run();
    send_text(&ours, "now");
    world_run();
    assert_int_equal(theirs.closed, 1);
}

static void test_a_refused_connection_is_told_as_such(void **state)
{
    const struct tls_config s = server_config(), c = client_config();
    struct err_text why;
    struct env_listener *none = NULL;
    (void)state;
    start(&s, &c);
    dial("nobody:1");
    world_run();
    assert_int_equal(ours.opened_rc, ERR_REFUSED);
    assert_int_equal(env_listen(tls_net(server), "taken", accepted, NULL, &none, &why), ERR_ADDRESS);
}

/* ---- who gets through ---------------------------------------------------------------------------------------------- */

static void expect_client_refuses(const struct tls_config *c, const char *addr, const char *words)
{
    const struct tls_config s = server_config();
    start(&s, c);
    dial(addr);
    world_run();
    assert_int_equal(ours.opened_rc, ERR_IDENTITY);
    assert_non_null(strstr(world.said, words));
    assert_int_equal(theirs.ended, 1); /* our alert */
    assert_int_equal(buf_len(&theirs.got), 0);
}

static void test_a_server_of_another_ca_is_refused(void **state)
{
    struct tls_config c = client_config();
    (void)state;
    c.ca = slice_str(other_ca.pem);
    expect_client_refuses(&c, "server.example:1", "unable to get local issuer certificate");
}

static void test_a_server_of_another_name_is_refused(void **state)
{
    const struct tls_config c = client_config();
    (void)state;
    expect_client_refuses(&c, "other.example:1", "hostname mismatch");
}

static void test_a_server_called_by_address_must_have_it(void **state)
{
    const struct tls_config c = client_config();
    (void)state;
    expect_client_refuses(&c, "[::1]:1", "IP address mismatch");
}

static void test_a_server_may_be_named_or_not_looked_at(void **state)
{
    const struct tls_config s = server_config();
    struct tls_config c = client_config();
    (void)state;
    c.server_name = "server.example";
    start(&s, &c);
    dial("10.0.0.1:1");
    world_run();
    assert_int_equal(ours.opened_rc, 0);
    env_stream_close(ours.stream);
    env_stream_close(theirs.stream);
    world_run();
    tls_destroy(client);
    c.server_name = NULL;
    c.no_verify = true;
    c.ca = slice_str(other_ca.pem);
    client = make(&c);
    ours.opened = ours.closed = theirs.closed = theirs.ended = 0;
    dial("whoever.example:1");
    world_run();
    assert_int_equal(ours.opened, 1);
    assert_int_equal(ours.opened_rc, 0);
}

/* With TLS 1.3 a client hears of a refusal only after its own side of the handshake. */
static void expect_client_cert(const struct cert *shown, const char *common_name, const char *refusal)
{
    struct tls_config s = server_config(), c = client_config();
    s.verify_client = true;
    s.common_name = common_name;
    if (shown) {
        c.cert_path = "client cert";
        c.key_path = "client key";
        c.cert = slice_str(shown->pem);
        c.key = slice_str(shown->key_pem);
    }
    start(&s, &c);
    dial("server.example:1");
    world_run();
    if (ours.stream && !ours.ended && ours.opened_rc == 0)
        send_text(&ours, "let me in");
    world_run();
    if (!refusal) {
        expect_got(&theirs, "let me in");
        return;
    }
    assert_int_equal(buf_len(&theirs.got), 0);
    assert_int_equal(theirs.ended, 1);
    assert_int_equal(ours.ended_rc, ERR_RESET);
    if (!strstr(world.said, refusal))
        fail_msg("%s\n lacks %s", world.said, refusal);
}

static void test_a_client_of_our_ca_is_let_in(void **state)
{
    (void)state;
    expect_client_cert(&client_cert, NULL, NULL);
}
static void test_a_client_without_certificate_is_not(void **state)
{
    (void)state;
    expect_client_cert(NULL, NULL, "peer did not return a certificate");
}
static void test_a_client_of_another_ca_is_not(void **state)
{
    (void)state;
    expect_client_cert(&stranger_cert, NULL, "unable to get local issuer certificate");
}
static void test_a_client_of_the_right_name_is_let_in(void **state)
{
    (void)state;
    expect_client_cert(&client_cert, "client.example", NULL);
}
static void test_a_client_of_another_name_is_not(void **state)
{
    (void)state;
    expect_client_cert(&client_cert, "client", "matches CN \"client\"");
}

/* ---- who does not speak TLS, or not in time ---------------------------------------------------------------------- */

/* A connection below, without the filter. */
static void dial_plain(const char *bytes)
{
    const struct tls_config s = server_config(), c = client_config();
    start(&s, &c);
    assert_int_equal(env_stream_connect(&world.env, "a:1", &events, &ours, &ours.stream), 0);
    world_run();
    send_text(&ours, bytes);
    world_run();
}

static void test_plain_http_is_told_where_it_is(void **state)
{
    (void)state;
    dial_plain("DELETE /remove HTTP/1.1\r\nHost: a\r\n\r\n");
    expect_got(&ours, "HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n");
    assert_int_equal(ours.ended_rc, ERR_EOF);
    assert_int_equal(theirs.ended_rc, ERR_PROTOCOL);
    assert_int_equal(buf_len(&theirs.got), 0);
}

static void test_garbage_ends_the_connection(void **state)
{
    (void)state;
    dial_plain("\x16\x03\x01garbage, and more of it to fill what claims to be a record of some length ....");
    assert_int_equal(theirs.ended_rc, ERR_PROTOCOL);
    assert_int_equal(ours.ended_rc, ERR_EOF);
    assert_non_null(strstr(world.said, "TLS with 192.0.2.1:7 failed"));
}

static void test_a_handshake_has_its_time(void **state)
{
    (void)state;
    dial_plain("\x16");
    world_pass(LIMIT_TLS_HANDSHAKE_MS - 1);
    assert_int_equal(theirs.ended, 0);
    world_pass(1);
    assert_int_equal(theirs.ended, 1);
    assert_int_equal(theirs.ended_rc, ERR_TIMEOUT);
}

static void test_an_old_version_is_refused(void **state)
{
    const struct tls_config s = server_config(), c = client_config();
    (void)state;
    start(&s, &c);
    SSL_CTX_set_min_proto_version(client->contexts.client, TLS1_1_VERSION);
    SSL_CTX_set_max_proto_version(client->contexts.client, TLS1_1_VERSION);
    SSL_CTX_set_security_level(client->contexts.client, 0); /* else that forbids it already */
    SSL_CTX_set_security_level(server->contexts.server, 0);
    dial("server.example:1");
    world_run();
    assert_int_equal(ours.opened_rc, ERR_PROTOCOL);
    assert_int_equal(theirs.ended, 1);
}

static void test_tls_1_2_works_without_renegotiation(void **state)
{
    const struct tls_config s = server_config(), c = client_config();
    (void)state;
    start(&s, &c);
    SSL_CTX_set_max_proto_version(client->contexts.client, TLS1_2_VERSION);
    dial("server.example:1");
    world_run();
    theirs.echo = true;
    send_text(&ours, "two");
    world_run();
    expect_got(&ours, "two");
    struct tls_stream *stream = (struct tls_stream *)(void *)ours.stream;
    assert_int_equal(SSL_renegotiate(stream->ssl), 0);
}

static void test_only_http_1_1_is_agreed_on(void **state)
{
    static const unsigned char h2[] = "\x02h2", both[] = "\x02h2\x08http/1.1";
    const struct tls_config s = server_config(), c = client_config();
    const unsigned char *chosen = NULL;
    unsigned len = 0;
    (void)state;
    start(&s, &c);
    SSL_CTX_set_alpn_protos(client->contexts.client, both, sizeof both - 1);
    dial("server.example:1");
    world_run();
    SSL_get0_alpn_selected(((struct tls_stream *)(void *)ours.stream)->ssl, &chosen, &len);
    assert_true(slice_equal_str(slice_of(chosen, len), "http/1.1"));
    env_stream_close(ours.stream);
    env_stream_close(theirs.stream);
    world_run();
    ours.closed = theirs.closed = theirs.ended = ours.opened = 0;
    SSL_CTX_set_alpn_protos(client->contexts.client, h2, sizeof h2 - 1);
    dial("server.example:1");
    world_run();
    assert_int_equal(ours.opened_rc, ERR_PROTOCOL);
}

/* ---- certificates that change -------------------------------------------------------------------------------------- */

static struct slice common_name_seen(char *dst, size_t cap)
{
    X509 *cert = SSL_get1_peer_certificate(((struct tls_stream *)(void *)ours.stream)->ssl);
    assert_non_null(cert);
    const int len = X509_NAME_get_text_by_NID(X509_get_subject_name(cert), NID_commonName, dst, (int)cap);
    X509_free(cert);
    return slice_of(dst, len > 0 ? (size_t)len : 0);
}

static void redial(void)
{
    env_stream_close(ours.stream);
    env_stream_close(theirs.stream);
    world_run();
    ours.closed = theirs.closed = theirs.ended = ours.opened = 0;
    dial("server.example:1");
    world_run();
    assert_int_equal(ours.opened_rc, 0);
}

static void test_a_new_certificate_is_shown_to_the_next_who_comes(void **state)
{
    struct cert next = cert_make("next.example", &ca);
    struct tls_config s = server_config(), c = client_config();
    char name[100];
    (void)state;
    c.no_verify = true;
    start(&s, &c);
    dial("server.example:1");
    world_run();
    world.files[0].text = next.pem;
    world.files[1].text = next.key_pem;
    redial(); /* within a second nobody looks */
    assert_true(slice_equal_str(common_name_seen(name, sizeof name), "server.example"));
    assert_int_equal(world.jobs_run, 0);
    world_pass(1000);
    redial();
    assert_true(slice_equal_str(common_name_seen(name, sizeof name), "next.example"));
    assert_int_equal(world.jobs_run, 1);
    assert_non_null(strstr(world.said, "reloading certificate at cert and key at key"));
    world_pass(1000);
    redial();
    assert_true(slice_equal_str(common_name_seen(name, sizeof name), "next.example"));
    world.said[0] = '\0';
    world_pass(1000);
    redial(); /* nothing new, nothing said */
    assert_string_equal(world.said, "");
    cert_free(&next);
}

static void test_a_broken_pair_keeps_the_old_one_and_is_told_once(void **state)
{
    struct cert next = cert_make("next.example", &ca);
    char name[100];
    (void)state;
    start_open();
    world.files[0].text = next.pem; /* the key has not been replaced yet */
    for (int i = 0; i < 3; i++) {
        world_pass(1000);
        redial();
        assert_true(slice_equal_str(common_name_seen(name, sizeof name), "server.example"));
    }
    const char *said = strstr(world.said, "failed to reload certificate (private key: key values mismatch)");
    assert_non_null(said);
    assert_null(strstr(said + 1, "failed to reload"));
    world.files[1].text = NULL;
    world_pass(1000);
    redial();
    assert_non_null(strstr(world.said, "failed to reload certificate (key: not found)"));
    world.files[0].text = server_cert.pem;
    world.files[1].text = server_cert.key_pem;
    world_pass(1000);
    redial();
    assert_null(strstr(world.said, "reloading certificate"));
    cert_free(&next);
}

static void test_who_waits_for_a_look_may_leave(void **state)
{
    const struct tls_config s = server_config(), c = client_config();
    (void)state;
    start(&s, &c);
    world_pass(1000);
    dial("server.example:1");
    end_step(&world.ends[0]); /* connected; the look has not happened */
    assert_non_null(world.job);
    env_stream_close(theirs.stream);
    world_run();
    assert_int_equal(theirs.closed, 1);
    assert_int_not_equal(ours.opened_rc, 0);
}

static void test_what_is_no_certificate_is_refused_at_start(void **state)
{
    struct tls_config s = server_config();
    struct tls *t = NULL;
    struct err_text why;
    (void)state;
    start_open();
    s.cert = slice_str("nonsense");
    assert_int_equal(tls_create(&world.env, &s, &t, &why), ERR_INVALID);
    assert_non_null(strstr(why.text, "certificate: "));
    s = server_config();
    s.key = slice_str(client_cert.key_pem);
    assert_int_equal(tls_create(&world.env, &s, &t, &why), ERR_INVALID);
    assert_string_equal(why.text, "private key: key values mismatch");
    s = server_config();
    s.ca = slice_str("nonsense");
    assert_int_equal(tls_create(&world.env, &s, &t, &why), ERR_INVALID);
    assert_non_null(strstr(why.text, "CA certificate: "));
}

int main(void)
{
    ca = cert_make("ca.example", NULL);
    other_ca = cert_make("other-ca.example", NULL);
    server_cert = cert_make("server.example", &ca);
    client_cert = cert_make("client.example", &ca);
    stranger_cert = cert_make("client.example", &other_ca);
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(test_bytes_come_out_as_they_went_in),
        CASE(test_pieces_of_any_size_make_no_difference),
        CASE(test_a_large_write_waits_as_plain_bytes_and_is_drained),
        CASE(test_who_does_not_read_is_not_read_for),
        CASE(test_records_that_wait_here_come_when_reading_goes_on),
        CASE(test_short_memory_ends_one_connection_only),
        CASE(test_finish_sends_what_waits_then_the_closing_alert),
        CASE(test_what_is_written_before_the_handshake_leaves_after_it),
        CASE(test_an_end_without_alert_is_a_cut),
        CASE(test_damaged_records_end_the_connection),
        CASE(test_owners_may_close_in_their_callbacks),
        CASE(test_a_refused_connection_is_told_as_such),
        CASE(test_a_server_of_another_ca_is_refused),
        CASE(test_a_server_of_another_name_is_refused),
        CASE(test_a_server_called_by_address_must_have_it),
        CASE(test_a_server_may_be_named_or_not_looked_at),
        CASE(test_a_client_of_our_ca_is_let_in),
        CASE(test_a_client_without_certificate_is_not),
        CASE(test_a_client_of_another_ca_is_not),
        CASE(test_a_client_of_the_right_name_is_let_in),
        CASE(test_a_client_of_another_name_is_not),
        CASE(test_plain_http_is_told_where_it_is),
        CASE(test_garbage_ends_the_connection),
        CASE(test_a_handshake_has_its_time),
        CASE(test_an_old_version_is_refused),
        CASE(test_tls_1_2_works_without_renegotiation),
        CASE(test_only_http_1_1_is_agreed_on),
        CASE(test_a_new_certificate_is_shown_to_the_next_who_comes),
        CASE(test_a_broken_pair_keeps_the_old_one_and_is_told_once),
        CASE(test_who_waits_for_a_look_may_leave),
        CASE(test_what_is_no_certificate_is_refused_at_start),
    };
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    cert_free(&ca);
    cert_free(&other_ca);
    cert_free(&server_cert);
    cert_free(&client_cert);
    cert_free(&stranger_cert);
    return failed;
}
