/* The configuration of -disco-config, and what is said to Consul and etcd (daemon.md §4). */
#include "disco_int.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

static struct disco_settings settings;
static struct disco_exchange x;
static struct err_text why;

static int tear_down(void **state)
{
    (void)state;
    disco_settings_fini(&settings);
    buf_fini(&x.body);
    buf_fini(&x.answer);
    memset(&settings, 0, sizeof settings);
    memset(&x, 0, sizeof x);
    return 0;
}

static int set_up(void **state)
{
    (void)state;
    memset(&why, 0, sizeof why);
    buf_init(&x.body, DISCO_BODY_MAX);
    buf_init(&x.answer, DISCO_BODY_MAX);
    return 0;
}

static int settings_of(enum disco_kind kind, const char *json)
{
    disco_settings_fini(&settings);
    memset(&settings, 0, sizeof settings);
    return disco_settings_read(kind, slice_str(json), 4002, &settings, &why);
}

static void expect_buf(const struct buf *b, const char *text)
{
    assert_int_equal(buf_len(b), strlen(text));
    assert_memory_equal(buf_slice(b).data, text, strlen(text));
}

/* ---- variables ------------------------------------------------------------------------------------- */

static void expand(const char *text, const char *expected)
{
    struct buf out;
    buf_init(&out, 4096);
    assert_int_equal(disco_expand(slice_str(text), &out), 0);
    expect_buf(&out, expected);
    buf_fini(&out);
}

static void test_variables_are_expanded(void **state)
{
    (void)state;
    assert_int_equal(setenv("RQ_A", "x y", 1), 0);
    assert_int_equal(unsetenv("RQ_NONE"), 0);
    expand("", "");
    expand("a $RQ_A b", "a x y b");
    expand("${RQ_A}${RQ_A}", "x yx y");
    expand("[$RQ_NONE]", "[]");
    expand("$", "$");
    expand("$ $1 $$", "$ $1 $$");
    expand("${RQ_A", "${RQ_A");
    expand("${}", "${}");
    expand("$RQ_A$", "x y$");
}

/* ---- settings ----------------------------------------------------------------------------------------- */

static void test_dns_defaults_and_what_is_given(void **state)
{
    (void)state;
    assert_int_equal(settings_of(DISCO_DNS, ""), 0);
    assert_string_equal(settings.name, "rqlite");
    assert_int_equal(settings.port, 4002);
    assert_int_equal(
        settings_of(DISCO_DNS,
                    "{\"name\":\"n\",\"port\":7,\"servers\":\"1.2.3.4:53\",\"other\":1}"),
        0);
    assert_string_equal(settings.name, "n");
    assert_string_equal(settings.servers, "1.2.3.4:53");
    assert_int_equal(settings.port, 7);
    assert_int_equal(settings_of(DISCO_DNS_SRV, "{\"service\":\"s\"}"), 0);
    assert_string_equal(settings.service, "s");
    assert_int_equal(settings_of(DISCO_DNS, "{\"port\":70000}"), ERR_INVALID);
    assert_int_equal(settings_of(DISCO_DNS, "{\"name\":7}"), ERR_INVALID);
    assert_string_equal(why.text, "name is not a string");
    assert_int_equal(settings_of(DISCO_DNS, "{"), ERR_INVALID);
    assert_int_equal(settings_of(DISCO_DNS, "\"text\""), ERR_INVALID);
}

static void test_consul_settings(void **state)
{
    (void)state;
    (void)unsetenv("CONSUL_HTTP_ADDR");
    assert_int_equal(settings_of(DISCO_CONSUL, ""), 0);
    assert_string_equal(settings.endpoints[0], "http://127.0.0.1:8500");
    assert_int_equal(
        settings_of(DISCO_CONSUL,
                    "{\"address\":\"c:1\",\"scheme\":\"https\",\"token\":\"t\","
                    "\"basic_auth\":{\"username\":\"u\",\"password\":\"p\"},"
                    "\"tls_config\":{\"ca_pem\":\"Y2E=\",\"insecure_skip_verify\":true}}"),
        0);
    assert_string_equal(settings.endpoints[0], "https://c:1");
    assert_string_equal(settings.token, "t");
    assert_string_equal(settings.user, "u");
    expect_buf(&settings.tls.ca_pem, "ca");
    assert_true(settings.tls.no_verify);
    assert_int_equal(settings_of(DISCO_CONSUL, "{\"address\":\"https://c:1\"}"), ERR_INVALID);
    assert_string_equal(why.text, "address should not contain HTTP or HTTPS");
    assert_int_equal(settings_of(DISCO_CONSUL, "{\"tls_config\":{\"ca_pem\":\"*\"}}"), ERR_INVALID);
    assert_int_equal(setenv("CONSUL_HTTP_ADDR", "https://e:2", 1), 0);
    assert_int_equal(setenv("CONSUL_HTTP_AUTH", "a:b:c", 1), 0);
    assert_int_equal(settings_of(DISCO_CONSUL, "{}"), 0);
    assert_string_equal(settings.endpoints[0], "https://e:2");
    assert_string_equal(settings.user, "a");
    assert_string_equal(settings.password, "b:c");
    assert_int_equal(settings_of(DISCO_CONSUL, "{\"address\":\"c:1\"}"), 0);
    assert_string_equal(settings.endpoints[0], "http://c:1");
    (void)unsetenv("CONSUL_HTTP_ADDR");
    (void)unsetenv("CONSUL_HTTP_AUTH");
}

static void test_etcd_settings(void **state)
{
    (void)state;
    assert_int_equal(settings_of(DISCO_ETCD, ""), 0);
    assert_int_equal(settings.endpoint_count, 1);
    assert_string_equal(settings.endpoints[0], "http://localhost:2379");
    assert_int_equal(settings_of(DISCO_ETCD, "{\"endpoints\":[\"a:1\",\"https://b:2/\"],"
                                             "\"dial-timeout\":1500000000,\"username\":\"u\"}"),
                     0);
    assert_int_equal(settings.endpoint_count, 2);
    assert_string_equal(settings.endpoints[0], "http://a:1");
    assert_string_equal(settings.endpoints[1], "https://b:2");
    assert_int_equal(settings.dial_timeout_ms, 1500);
    assert_int_equal(settings_of(DISCO_ETCD, "{}"), ERR_INVALID);
    assert_string_equal(why.text, "no available endpoints");
    assert_int_equal(settings_of(DISCO_ETCD, "{\"endpoints\":\"a\"}"), ERR_INVALID);
    assert_int_equal(settings_of(DISCO_ETCD, "{\"endpoints\":[7]}"), ERR_INVALID);
}

/* ---- base64 --------------------------------------------------------------------------------------------- */

static void test_base64_there_and_back(void **state)
{
    static const char *const pairs[][2] = {
        {"", ""}, {"f", "Zg=="}, {"fo", "Zm8="}, {"foo", "Zm9v"}, {"foob", "Zm9vYg=="}};
    struct buf b;
    (void)state;
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        buf_init(&b, 100);
        disco_base64_put(slice_str(pairs[i][0]), &b);
        expect_buf(&b, pairs[i][1]);
        buf_fini(&b);
        buf_init(&b, 100);
        assert_int_equal(disco_base64_get(pairs[i][1], &b), 0);
        expect_buf(&b, pairs[i][0]);
        buf_fini(&b);
    }
    buf_init(&b, 100);
    assert_int_equal(disco_base64_get("Zg=", &b), ERR_INVALID);
    assert_int_equal(disco_base64_get("Z*==", &b), ERR_INVALID);
    buf_fini(&b);
}

/* ---- what is asked, and how answers are read --------------------------------------------------------------- */

static void test_consul_requests(void **state)
{
    (void)state;
    assert_int_equal(
        settings_of(DISCO_CONSUL, "{\"address\":\"c:1\",\"token\":\"t\",\"datacenter\":\"d 1\"}"),
        0);
    assert_int_equal(disco_consul_ask(&settings, "a b/c", DISCO_CLAIM, slice_str("{}"), &x), 0);
    assert_string_equal(x.method, "PUT");
    assert_string_equal(x.url, "http://c:1/v1/kv/a%20b/c/leader?cas=0&dc=d%201");
    assert_string_equal(x.headers[0], "X-Consul-Token: t");
    expect_buf(&x.body, "{}");
    (void)tear_down(NULL);
    (void)set_up(NULL);
    assert_int_equal(settings_of(DISCO_CONSUL, ""), 0);
    assert_int_equal(disco_consul_ask(&settings, "k", DISCO_READ, slice_str(""), &x), 0);
    assert_string_equal(x.method, "GET");
    assert_string_equal(x.url, "http://127.0.0.1:8500/v1/kv/k/leader");
    assert_int_equal(buf_len(&x.body), 0);
}

static int answer(int (*read)(enum disco_deed, const struct disco_exchange *, struct buf *,
                              struct err_text *),
                  enum disco_deed deed, long status, const char *body, struct buf *value)
{
    buf_reset(&x.answer, 0);
    (void)buf_append_str(&x.answer, body);
    x.status = status;
    return read(deed, &x, value, &why);
}

static void test_consul_answers(void **state)
{
    struct buf v;
    (void)state;
    buf_init(&v, 1000);
    assert_int_equal(answer(disco_consul_answer, DISCO_READ, 404, "", &v), ERR_NOT_FOUND);
    assert_int_equal(answer(disco_consul_answer, DISCO_READ, 500, "no", &v), ERR_UNREACHABLE);
    assert_string_equal(why.text, "Consul answers 500: no");
    assert_int_equal(answer(disco_consul_answer, DISCO_READ, 200, "[{\"Value\":\"Zm9v\"}]", &v), 0);
    expect_buf(&v, "foo");
    static const char *const bad[] = {"", "[]", "{}", "[{\"Value\":null}]", "[{\"Value\":\"*\"}]"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_not_equal(answer(disco_consul_answer, DISCO_READ, 200, bad[i], &v), 0);
    assert_int_equal(answer(disco_consul_answer, DISCO_CLAIM, 200, "true\n", &v), 0);
    assert_int_equal(answer(disco_consul_answer, DISCO_CLAIM, 200, "false", &v), ERR_EXISTS);
    assert_int_equal(answer(disco_consul_answer, DISCO_WRITE, 403, "", &v), ERR_DENIED);
    buf_fini(&v);
}

static void test_etcd_requests(void **state)
{
    (void)state;
    assert_int_equal(
        settings_of(DISCO_ETCD,
                    "{\"endpoints\":[\"e:1\"],\"username\":\"u\\\"\",\"password\":\"p\"}"),
        0);
    assert_int_equal(
        disco_etcd_ask(&settings, "http://e:1", "tok", "k", DISCO_CLAIM, slice_str("v"), &x), 0);
    assert_string_equal(x.url, "http://e:1/v3/kv/txn");
    assert_string_equal(x.headers[1], "Authorization: tok");
    expect_buf(
        &x.body,
        "{\"compare\":[{\"result\":\"EQUAL\",\"target\":\"VERSION\",\"version\":\"0\",\"key\":"
        "\"L2svbGVhZGVy\"}],\"success\":[{\"requestPut\":{\"key\":\"L2svbGVhZGVy\",\"value\":\"dg=="
        "\"}}]}");
    buf_reset(&x.body, 0);
    assert_int_equal(
        disco_etcd_ask(&settings, "http://e:1", "", "k", DISCO_LOGIN, slice_str(""), &x), 0);
    assert_string_equal(x.url, "http://e:1/v3/auth/authenticate");
    expect_buf(&x.body, "{\"name\":\"u\\\"\",\"password\":\"p\"}");
}

static void test_etcd_answers(void **state)
{
    struct buf v;
    (void)state;
    buf_init(&v, 1000);
    assert_int_equal(answer(disco_etcd_answer, DISCO_READ, 200, "{\"header\":{}}", &v),
                     ERR_NOT_FOUND);
    assert_int_equal(
        answer(disco_etcd_answer, DISCO_READ, 200, "{\"kvs\":[{\"value\":\"Zm9v\"}]}", &v), 0);
    expect_buf(&v, "foo");
    assert_int_equal(answer(disco_etcd_answer, DISCO_READ, 200, "{\"kvs\":[{}]}", &v),
                     ERR_PROTOCOL);
    assert_int_equal(answer(disco_etcd_answer, DISCO_READ, 200, "nonsense", &v), ERR_PROTOCOL);
    assert_int_equal(answer(disco_etcd_answer, DISCO_READ, 401, "", &v), ERR_DENIED);
    assert_int_equal(answer(disco_etcd_answer, DISCO_CLAIM, 200, "{\"succeeded\":true}", &v), 0);
    assert_int_equal(answer(disco_etcd_answer, DISCO_CLAIM, 200, "{\"header\":{}}", &v),
                     ERR_EXISTS);
    assert_int_equal(answer(disco_etcd_answer, DISCO_WRITE, 200, "{}", &v), 0);
    buf_reset(&v, 0);
    assert_int_equal(answer(disco_etcd_answer, DISCO_LOGIN, 200, "{\"token\":\"t\"}", &v), 0);
    expect_buf(&v, "t");
    assert_int_equal(answer(disco_etcd_answer, DISCO_LOGIN, 200, "{}", &v), ERR_PROTOCOL);
    buf_fini(&v);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_variables_are_expanded), TEST(test_dns_defaults_and_what_is_given),
        TEST(test_consul_settings),        TEST(test_etcd_settings),
        TEST(test_base64_there_and_back),  TEST(test_consul_requests),
        TEST(test_consul_answers),         TEST(test_etcd_requests),
        TEST(test_etcd_answers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
