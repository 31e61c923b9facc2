/* What the diagnostics show, in bytes, and what the endpoints of storage answer before there is any.
 * Expected texts: http-api.md §13 to §15. */
#include "api_fixture.h"

static int setup_named(void **state)
{
    (void)setup(state);
    strcpy(fake.status.name, "n1");
    return 0;
}

static const char *get(const char *target)
{
    return body_of(ask("GET", target, "", ""));
}

static void expect(const char *method, const char *target, const char *body, int status,
                   const char *text)
{
    const char *answer = ask(method, target, "", body);
    expect_starts(answer, status, target);
    assert_string_equal(body_of(answer), text);
}

/* ---- /status ---------------------------------------------------------------------------------------------- */

static void test_key_descends_and_stops_at_what_is_no_object(void **state)
{
    (void)state;
    assert_string_equal(get("/status?key=store.raft.state"), "\"Leader\"");
    assert_string_equal(get("/status?key=store.raft.state.deeper"), "\"Leader\"");
    assert_string_equal(get("/status?key=http.tls"), "{\"enabled\":\"false\"}");
    assert_string_equal(get("/status?key=no.such.key"), "{}");
    assert_string_equal(get("/status?key=store."), "{}");
    assert_string_equal(get("/status?key=.store"), "{}");
    assert_string_equal(get("/status?key=extensions.names"), "[]");
}

static void test_a_part_is_compact_and_sorted(void **state)
{
    (void)state;
    const char *nodes = "[{\"addr\":\"d:2\",\"id\":\"dead\",\"suffrage\":\"voter\"},"
                        "{\"addr\":\"127.0.0.1:4002\",\"id\":\"n1\",\"suffrage\":\"voter\"}]";
    assert_string_equal(get("/status?key=store.nodes"), nodes);
    assert_string_equal(get("/status?pretty&key=store.nodes"), nodes);
    assert_non_null(
        strstr(get("/status"), "{\"id\":\"dead\",\"addr\":\"d:2\",\"suffrage\":\"voter\"}"));
}

static void test_numbers_of_a_part_pass_through_doubles(void **state)
{
    (void)state;
    fake.status.commit_index = (UINT64_C(1) << 53) + 1;
    assert_string_equal(get("/status?key=store.raft.commit_index"), "9007199254740992");
    assert_non_null(strstr(get("/status"), "\"commit_index\":9007199254740993,"));
    fake.status.commit_index = UINT64_C(1795274176371285305);
    assert_string_equal(get("/status?key=store.raft.commit_index"), "1795274176371285200");
}

static void test_friendly_sizes_are_decimal(void **state)
{
    static const struct {
        uint64_t bytes;
        const char *text;
    } sizes[] = {{0, "\"0 B\""},           {999, "\"999 B\""},     {4096, "\"4.1 kB\""},
                 {66 * 1000, "\"66 kB\""}, {83200, "\"83 kB\""},   {1200000, "\"1.2 MB\""},
                 {9949, "\"9.9 kB\""},     {999999, "\"1000 kB\""}};
    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        fake.status.log.disk_bytes = sizes[i].bytes;
        assert_string_equal(get("/status?key=store.raft.log_size_friendly"), sizes[i].text);
    }
}

static void test_last_contact_has_three_forms(void **state)
{
    (void)state;
    assert_string_equal(get("/status?key=store.raft.last_contact"), "0");
    fake.status.leader_contact_ns = -1;
    assert_string_equal(get("/status?key=store.raft.last_contact"), "\"never\"");
    fake.status.leader_contact_ns = 65163144;
    assert_string_equal(get("/status?key=store.raft.last_contact"), "\"65.163144ms\"");
}

static void test_status_answers_before_the_store_is_open(void **state)
{
    (void)state;
    fake.status.open = false;
    assert_string_equal(get("/status?key=store"), "{\"open\":false}");
    api_node_set(api, NULL);
    assert_string_equal(get("/status?key=store"), "{\"open\":false}");
    assert_string_equal(get("/nodes"), "store nodes: store not open\n");
    assert_string_equal(get("/leader"), "leader not found\n");
    assert_non_null(strstr(get("/metrics"), "\nrqlited_store_open 0\n"));
    assert_non_null(strstr(get("/debug/vars"), "\"store\": {"));
}

/* ---- /debug/vars -------------------------------------------------------------------------------------------- */

static void test_vars_are_laid_out_as_documented(void **state)
{
    (void)state;
    assert_string_equal(get("/debug/vars?key=downloader"),
                        "{\n\"downloader\": {\"download_bytes\": 0, \"num_downloads_fail\": 0, "
                        "\"num_downloads_ok\": 0}\n}\n");
    assert_string_equal(get("/debug/vars?key=nope"), "{\n\n}\n");
    assert_string_equal(get("/debug/vars?key=db.wal.x"), "{\n\n}\n");
    const char *all = get("/debug/vars");
    assert_int_equal(strncmp(all, "{\n\"cdc.service\": {", 17), 0);
    assert_non_null(strstr(all, "},\n\"cmdline\": []"));
    assert_string_equal(all + strlen(all) - 4, "}\n}\n");
}

static void test_vars_count_what_the_node_counts(void **state)
{
    (void)state;
    fake.counters.served_joins = 3;
    fake.counters.apply_last_ns = 2500;
    fake.counters.queries.statements = 5;
    fake.status.db.counters.strong_queries.statements = 2;
    assert_non_null(strstr(get("/debug/vars?key=cluster"), "\"num_join_req\": 3,"));
    assert_non_null(strstr(get("/debug/vars?key=store"), "\"fsm_apply_duration_us\": 2,"));
    assert_non_null(strstr(get("/debug/vars?key=db"), "\"queries\": 7,"));
}

/* ---- members -------------------------------------------------------------------------------------------------- */

static void test_retries_are_further_attempts(void **state)
{
    (void)state;
    assert_string_equal(fake_written(&conn), "");
    fake_send(&conn, "GET /nodes?retries=2 HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_int_equal(fake.metas, 2); /* one answered, one to be tried again */
    assert_string_equal(fake_written(&conn), "");
    fake_pass(100);
    assert_int_equal(fake.metas, 3);
    fake_pass(100);
    assert_int_equal(fake.metas, 4);
    assert_non_null(strstr(fake_written(&conn), "\"reachable\":false"));
}

static void test_retries_end_with_the_timeout(void **state)
{
    (void)state;
    fake_send(&conn, "GET /nodes?retries=1000&timeout=250ms HTTP/1.1\r\nHost: h\r\n\r\n");
    fake_pass(100);
    fake_pass(100);
    assert_int_equal(fake.metas, 4);
    assert_non_null(strstr(fake_written(&conn), "\"reachable\":false"));
}

static void test_who_leaves_while_members_are_asked_leaks_nothing(void **state)
{
    (void)state;
    fake_send(&conn, "GET /nodes?retries=9 HTTP/1.1\r\nHost: h\r\n\r\n");
    fake_hang_up(&conn, ERR_RESET);
    fake_turn();
    assert_int_equal(fake.timer_count, 0);
    fake_connect(&conn);
    strcpy(fake.status.leader_name, "dead");
    fake_send(&conn, "GET /readyz?retries=9 HTTP/1.1\r\nHost: h\r\n\r\n");
    fake_hang_up(&conn, ERR_RESET);
    fake_turn();
    assert_int_equal(fake.timer_count, 0);
    fake_connect(&conn);
}

static void test_ready_asks_the_leader_again(void **state)
{
    (void)state;
    strcpy(fake.status.leader_name, "dead");
    fake_send(&conn, "GET /readyz?retries=1 HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_string_equal(fake_written(&conn), "");
    fake_pass(100);
    assert_string_equal(
        body_of(fake_written(&conn)),
        "[+]node ok\n[+]leader not contactable: dial tcp d:2: connect: connection refused");
}

/* ---- storage ----------------------------------------------------------------------------------------------------- */

static const char sqlite_head[] = "SQLite format 3, and more than thirty-two bytes";

static void test_boot_checks_in_order(void **state)
{
    (void)state;
    fake.status.role = RAFT_FOLLOWER;
    expect("POST", "/boot", "short", 503, "EOF\n");
    expect("POST", "/boot", "plain text, longer than thirty-two bytes", 400,
           "invalid SQLite data\n");
    expect("POST", "/boot", sqlite_head, 503, "not leader\n");
    fake.status.role = RAFT_LEADER;
    expect("POST", "/boot", sqlite_head, 503, "not single-node\n");
    fake.status.member_count = 1;
    fake.status.open = false;
    expect("POST", "/boot", sqlite_head, 503, "store not open\n");
}

static void test_load_checks_before_it_is_built(void **state)
{
    (void)state;
    fake.status.role = RAFT_FOLLOWER;
    fake.status.has_leader = false;
    expect("POST", "/db/load", sqlite_head, 500, "store not ready\n");
}

static void test_sql_text_is_loaded_as_one_request(void **state)
{
    struct wire_cmd cmd;
    struct slice sql;
    uint32_t params;
    (void)state;
    fake_send(&conn, "POST /db/load?transaction HTTP/1.1\r\nHost: h\r\nContent-Length: 22\r\n\r\n"
                     "CREATE TABLE t(a); --x");
    assert_int_equal(fake.last.f.kind, WIRE_LOAD);
    assert_false(fake.last.f.further); /* the leader asks who may load, too */
    assert_int_equal(wire_cmd_open(fake.last.f.payload, false, &cmd), 0);
    assert_int_equal(cmd.flags, 0);
    assert_int_equal(wire_cmd_next(&cmd, &sql, &params), 0);
    assert_true(slice_equal_str(sql, "CREATE TABLE t(a); --x"));
    fake_reply(0, "R[{}]");
    assert_string_equal(body_of(fake_written(&conn)), "{\"results\":[{}]}");
}

static void test_methods_of_storage(void **state)
{
    (void)state;
    expect("GET", "/snapshot", "", 405, "");
    expect("GET", "/reap", "", 405, "");
    expect("POST", "/snapshot", "", 204, "");
    expect("POST", "/reap", "", 200, "{\"snapshots_reaped\":0,\"wals_checkpointed\":0}\n");
    expect("POST", "/snapshot/", "", 404, "");
    expect("POST", "/licenses", "", 405, "");
    expect("GET", "/licenses/", "", 404, "");
    expect("POST", "/metrics", "", 405, "");
    expect("GET", "/debug/pprof/heap", "", 404, "Unknown profile\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup_named, teardown)
        T(test_key_descends_and_stops_at_what_is_no_object),
        T(test_a_part_is_compact_and_sorted),
        T(test_numbers_of_a_part_pass_through_doubles),
        T(test_friendly_sizes_are_decimal),
        T(test_last_contact_has_three_forms),
        T(test_status_answers_before_the_store_is_open),
        T(test_vars_are_laid_out_as_documented),
        T(test_vars_count_what_the_node_counts),
        T(test_retries_are_further_attempts),
        T(test_retries_end_with_the_timeout),
        T(test_who_leaves_while_members_are_asked_leaks_nothing),
        T(test_ready_asks_the_leader_again),
        T(test_boot_checks_in_order),
        T(test_load_checks_before_it_is_built),
        T(test_sql_text_is_loaded_as_one_request),
        T(test_methods_of_storage),
#undef T
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
