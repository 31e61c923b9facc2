/* Who may do what, in bytes: the order of checks with credentials, and what the leader says. */
#include "api_fixture.h"

#define HASH4 "$2b$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW" /* of "secret" */
#define BOB "Ym9iOnM="                                                       /* bob:s, all */
#define MARY "bWFyeTpz"        /* mary:s, query and status */
#define ANN "YW5uOnNlY3JldA==" /* ann:secret, all, hashed */
#define ANN_BAD "YW5uOmJhZA==" /* ann:bad */
#define NOBODY "bWFyeTpiYWQ="  /* mary:bad */

static const char plain_file[] =
    "[{\"username\":\"bob\",\"password\":\"s\",\"perms\":[\"all\"]},"
    "{\"username\":\"mary\",\"password\":\"s\",\"perms\":[\"query\",\"status\"]},"
    "{\"username\":\"*\",\"perms\":[\"ready\"]}]";
static const char hashed_file[] =
    "[{\"username\":\"ann\",\"password\":\"" HASH4 "\",\"perms\":[\"all\"]}]";

static void start(const char *file)
{
    struct err_text why = {""};
    fake_reset();
    if (file && guard_create(&fake.env, slice_str(file), &fake.guard, &why) != 0)
        fail_msg("%s", why.text);
    api = fake_api();
    fake_connect(&conn);
}

static int setup_plain(void **state)
{
    (void)state;
    start(plain_file);
    return 0;
}
static int setup_hashed(void **state)
{
    (void)state;
    start(hashed_file);
    return 0;
}
static int setup_none(void **state)
{
    (void)state;
    start(NULL);
    return 0;
}

static int teardown_guarded(void **state)
{
    (void)teardown(state);
    guard_destroy(fake.guard);
    return 0;
}

static const char *ask_as(const char *method, const char *target, const char *basic,
                          const char *body)
{
    char line[200] = "";
    if (basic[0])
        snprintf(line, sizeof line, "Authorization: Basic %s\r\n", basic);
    return ask(method, target, line, body);
}

static void expect_status(const char *method, const char *target, const char *basic, int status)
{
    expect_starts(ask_as(method, target, basic, ""), status, target);
}

static void ignore_answer(struct guard_wait *w, enum guard_answer answer)
{
    (void)w;
    (void)answer;
}

static void test_every_endpoint_asks_for_its_permission(void **state)
{
    static const struct {
        const char *method, *target;
        int nobody, mary;
    } rows[] = {
        {"GET", "/status", 401, 200},
        {"GET", "/nodes", 401, 200},
        {"GET", "/licenses", 401, 200},
        {"GET", "/debug/vars", 401, 200},
        {"GET", "/debug/pprof/x", 401, 404},
        {"GET", "/db/query", 401, 200},
        {"GET", "/db/sql?q=x", 401, 200},
        {"PUT", "/db/query", 401, 405},
        {"POST", "/db/execute", 401, 401},
        {"POST", "/db/request", 401, 401},
        {"GET", "/db/backup", 401, 401},
        {"POST", "/db/load", 401, 401},
        {"POST", "/boot", 401, 401},
        {"POST", "/snapshot", 401, 401},
        {"POST", "/reap", 401, 401},
        {"DELETE", "/remove", 401, 401},
        {"GET", "/leader", 401, 401},
        {"POST", "/leader", 401, 401},
        {"GET", "/console/", 401, 401},
        {"GET", "/readyz?noleader", 200, 200},
        {"GET", "/", 302, 302},
        {"GET", "/console", 301, 301},
        {"GET", "/nope", 404, 404},
        {"OPTIONS", "/db/execute", 200, 200},
        {"GET", "/status?timeout=x", 400, 400},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        expect_status(rows[i].method, rows[i].target, "", rows[i].nobody);
        expect_status(rows[i].method, rows[i].target, NOBODY, rows[i].nobody);
        expect_status(rows[i].method, rows[i].target, MARY, rows[i].mary);
    }
    expect_status("GET", "/leader", BOB, 200);
    expect_status("GET", "/console/", BOB, 200);
    expect_status("PUT", "/db/execute", BOB, 405);
    expect_has(ask_as("POST", "/db/request", BOB, "[]"), "no statements");
}

static void test_every_answer_says_how_to_authenticate(void **state)
{
    static const char *const targets[] = {"/status", "/nope", "/readyz?noleader", "/"};
    (void)state;
    for (size_t i = 0; i < sizeof targets / sizeof targets[0]; i++) {
        const char *answer = ask_as("GET", targets[i], "", "");
        expect_has(answer, "\r\nWWW-Authenticate: Basic realm=\"rqlite\"\r\n");
        expect_has(answer, "\r\nAccess-Control-Allow-Headers: Content-Type, Authorization\r\n");
        expect_has(answer, "\r\nAccess-Control-Allow-Credentials: true\r\n");
    }
    const char *answer = ask_as("GET", "/status", "", "");
    expect_has(answer, "\r\nContent-Type: application/json; charset=utf-8\r\n");
    expect_has(answer, "\r\nContent-Length: 0\r\n");
    expect_has(ask_as("GET", "/status?key=http.auth", MARY, ""), "\"enabled\"");
}

static void test_checks_are_counted(void **state)
{
    (void)state;
    expect_status("GET", "/status", "", 401);
    expect_status("GET", "/status", NOBODY, 401);
    expect_status("GET", "/status", MARY, 200);
    expect_status("GET", "/", "", 302);
    expect_status("OPTIONS", "/status", "", 200);
    assert_int_equal(api->counters[API_COUNT_AUTH_FAIL], 2);
    assert_int_equal(api->counters[API_COUNT_AUTH_OK], 1);
}

static void test_without_a_file_credentials_do_not_matter_here_but_travel(void **state)
{
    (void)state;
    expect_has(ask_as("GET", "/status?key=http.auth", NOBODY, ""), "\"disabled\"");
    assert_string_equal(ask_as("GET", "/db/query?q=SELECT+1", NOBODY, ""), "");
    assert_true(slice_equal_str(fake.last.f.user, "mary"));
    assert_true(slice_equal_str(fake.last.f.password, "bad"));
    fake_reply(0, "R[]");
    expect_has(fake_written(&conn), "200 OK");
    assert_string_equal(ask_as("GET", "/db/query?q=SELECT+1", "", ""), "");
    assert_int_equal(fake.last.f.user.len, 0);
    fake_reply(0, "R[]");
    (void)fake_written(&conn);
}

static void test_the_leader_may_refuse(void **state)
{
    static const struct {
        const char *target, *body, *words;
    } rows[] = {
        {"/db/execute", "[\"SELECT 1\"]", "\r\n\r\nremote Execute not authorized\n"},
        {"/db/query", "[\"SELECT 1\"]", "\r\n\r\nremote query not authorized\n"},
        {"/db/request", "[\"SELECT 1\"]", "\r\n\r\nremote Request not authorized\n"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        assert_string_equal(ask_as("POST", rows[i].target, NOBODY, rows[i].body), "");
        fake_reply(ERR_DENIED, "unauthorized");
        const char *answer = fake_written(&conn);
        expect_has(answer, "HTTP/1.1 401 Unauthorized\r\n");
        expect_has(answer, rows[i].words);
    }
    fake.status.role = RAFT_FOLLOWER;
    fake.order_rc = ERR_DENIED;
    expect_has(ask_as("DELETE", "/remove", MARY, "{\"id\":\"n1\"}"),
               "\r\n\r\nremote remove node not authorized\n");
    assert_true(slice_equal_str(fake.order_user, "mary"));
    expect_has(ask_as("POST", "/leader?wait", BOB, ""), "\r\n\r\nremote stepdown not authorized\n");
    assert_true(slice_equal_str(fake.order_user, "bob"));
}

static void test_removal_is_sent_to_whoever_leads_by_now(void **state)
{
    (void)state;
    fake.order_rc = ERR_NOT_LEADER; /* we led when it came in */
    expect_has(ask_as("DELETE", "/remove?redirect", MARY, "{\"id\":\"n1\"}"),
               "Location: http://leader:4001/remove?redirect\r\n");
    expect_has(ask_as("DELETE", "/remove", MARY, "{\"id\":\"n1\"}"), "HTTP/1.1 500 ");
    fake.order_rc = ERR_NO_LEADER;
    expect_has(ask_as("DELETE", "/remove?redirect", MARY, "{\"id\":\"n1\"}"), "HTTP/1.1 500 ");
    expect_has(ask_as("DELETE", "/remove", MARY, "{\"id\":\"n1\"}"), "HTTP/1.1 503 ");
}

static void test_bcrypt_makes_the_request_wait_once(void **state)
{
    (void)state;
    assert_string_equal(ask_as("GET", "/status?key=http.auth", ANN, ""), "");
    fake_job();
    expect_has(fake_written(&conn), "\"enabled\"");
    expect_has(ask_as("GET", "/status?key=http.auth", ANN, ""), "\"enabled\"");
    assert_null(fake.job);
    assert_string_equal(ask_as("GET", "/status", ANN_BAD, ""), "");
    fake_job();
    expect_has(fake_written(&conn), "HTTP/1.1 401 ");
    expect_status("GET", "/status", ANN_BAD, 401);
    assert_int_equal(api->counters[API_COUNT_AUTH_OK], 2);
    assert_int_equal(api->counters[API_COUNT_AUTH_FAIL], 2);
}

static void test_a_client_that_leaves_while_bcrypt_looks_is_forgotten(void **state)
{
    (void)state;
    assert_string_equal(ask_as("GET", "/status", ANN, ""), "");
    fake_hang_up(&conn, ERR_RESET);
    fake_turn();
    fake_job();
}

static void test_too_many_passwords_are_a_503(void **state)
{
    struct guard_wait waits[LIMIT_GUARD_CHECKS];
    (void)state;
    memset(waits, 0, sizeof waits);
    for (int i = 0; i < LIMIT_GUARD_CHECKS; i++) {
        char password[16];
        (void)snprintf(password, sizeof password, "%d", i);
        const struct auth_question q = {slice_str("ann"), slice_str(password), AUTH_QUERY};
        waits[i].done = ignore_answer;
        assert_int_equal(guard_ask(fake.guard, &q, &waits[i]), GUARD_LATER);
    }
    const char *answer = ask_as("GET", "/status", ANN, "");
    expect_has(answer, "HTTP/1.1 503 ");
    expect_has(answer, "\r\nRetry-After: 1\r\n");
    for (int i = 0; i < LIMIT_GUARD_CHECKS; i++)
        guard_forget(&waits[i]);
    fake_job();
}

int main(void)
{
#define CASE(name, setup) cmocka_unit_test_setup_teardown(name, setup, teardown_guarded)
    const struct CMUnitTest tests[] = {
        CASE(test_every_endpoint_asks_for_its_permission, setup_plain),
        CASE(test_every_answer_says_how_to_authenticate, setup_plain),
        CASE(test_checks_are_counted, setup_plain),
        CASE(test_without_a_file_credentials_do_not_matter_here_but_travel, setup_none),
        CASE(test_the_leader_may_refuse, setup_none),
        CASE(test_removal_is_sent_to_whoever_leads_by_now, setup_none),
        CASE(test_bcrypt_makes_the_request_wait_once, setup_hashed),
        CASE(test_a_client_that_leaves_while_bcrypt_looks_is_forgotten, setup_hashed),
        CASE(test_too_many_passwords_are_a_503, setup_hashed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
