/* Everyone who must not get through does not: certificates of both sides, and those who do not speak TLS. */
#include "tls_fixture.h"

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
static void expect_client_cert(const struct cert *shown, const char *common_name,
                               const char *refusal)
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
    expect_got(&ours,
               "HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n");
    assert_int_equal(ours.ended_rc, ERR_EOF);
    assert_int_equal(theirs.ended_rc, ERR_PROTOCOL);
    assert_int_equal(buf_len(&theirs.got), 0);
}

static void test_garbage_ends_the_connection(void **state)
{
    (void)state;
    dial_plain("\x16\x03\x01garbage, and more of it to fill what claims to be a record of some "
               "length ....");
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
    const int len =
        X509_NAME_get_text_by_NID(X509_get_subject_name(cert), NID_commonName, dst, (int)cap);
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
    const char *said =
        strstr(world.said, "failed to reload certificate (private key: key values mismatch)");
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
    const struct CMUnitTest tests[] = {
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
    return RUN(tests);
}
