/* GET /db/backup in bytes: what node is asked for, and what becomes of its answers (http-api.md §11, §13.1). */
#include "api_fixture.h"

static struct wire_backup asked; /* its names stand in the connection's buffer until the answer */

static const char *get(const char *target)
{
    char request[512];
    snprintf(request, sizeof request, "GET /db/backup%s HTTP/1.1\r\nHost: h\r\n\r\n", target);
    const uint32_t before = fake.submitted;
    fake_send(&conn, request);
    if (fake.submitted > before) {
        assert_int_equal(fake.last.f.kind, WIRE_BACKUP);
        assert_true(fake.last.f.in_parts);
        assert_int_equal(wire_backup_get(fake.last.f.payload, &asked), 0);
    }
    return fake_written(&conn);
}

static void finish(void)
{
    fake_reply(0, "x");
    (void)fake_written(&conn);
}

static void test_parameters_become_what_node_makes(void **state)
{
    static const struct {
        const char *target;
        enum wire_backup_format format;
        bool compress;
        uint32_t tables;
        enum wire_level level;
    } rows[] = {
        {"", WIRE_BACKUP_BINARY, false, 0, WIRE_LEVEL_LINEARIZABLE},
        {"?fmt=nonsense&compress", WIRE_BACKUP_BINARY, true, 0, WIRE_LEVEL_LINEARIZABLE},
        {"?fmt=DELETE", WIRE_BACKUP_DELETE, false, 0, WIRE_LEVEL_LINEARIZABLE},
        {"?vacuum=false&noleader", WIRE_BACKUP_VACUUM, false, 0, WIRE_LEVEL_NONE},
        {"?fmt=Sql&tables=a,%20b%09,,+,c", WIRE_BACKUP_SQL, false, 3, WIRE_LEVEL_LINEARIZABLE},
        {"?fmt=sql&tables=,", WIRE_BACKUP_SQL, false, 0, WIRE_LEVEL_LINEARIZABLE},
        {"?tables=a,b", WIRE_BACKUP_BINARY, false, 0, WIRE_LEVEL_LINEARIZABLE},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        (void)get(rows[i].target);
        assert_int_equal(asked.format, rows[i].format);
        assert_int_equal(asked.compress, rows[i].compress);
        assert_int_equal(asked.table_count, rows[i].tables);
        assert_int_equal(fake.last.f.level, rows[i].level);
        finish();
    }
}

static void test_names_of_tables_are_trimmed(void **state)
{
    struct slice rest, name;
    (void)state;
    (void)get("?fmt=sql&tables=a%2C%20b%20b%09");
    rest = asked.tables;
    assert_true(wire_backup_next(&rest, &name) && slice_equal_str(name, "a"));
    assert_true(wire_backup_next(&rest, &name) && slice_equal_str(name, "b b"));
    assert_false(wire_backup_next(&rest, &name));
    finish();
}

static void test_a_small_one_has_a_length(void **state)
{
    (void)state;
    assert_string_equal(get(""), "");
    fake_reply(0, "SQLite");
    const char *answer = fake_written(&conn);
    expect_has(answer, "HTTP/1.1 200 OK\r\n");
    expect_has(answer, "Content-Type: application/octet-stream\r\n");
    expect_has(answer, "Content-Length: 6\r\n");
    expect_has(answer, "\r\n\r\nSQLite");
    expect_lacks(answer, "Content-Encoding");
    (void)get("?fmt=SQL&compress");
    fake_reply(0, "x");
    answer = fake_written(&conn);
    expect_has(answer, "Content-Type: application/sql\r\n");
    expect_lacks(answer, "Content-Encoding");
}

static void test_a_large_one_goes_out_in_chunks(void **state)
{
    (void)state;
    (void)get("");
    fake_part("first");
    expect_has(fake_written(&conn), "Transfer-Encoding: chunked\r\n");
    assert_int_equal(fake.pulled, 1);
    fake_part("second");
    assert_string_equal(fake_written(&conn), "6\r\nsecond\r\n");
    fake_reply(0, "end");
    assert_string_equal(fake_written(&conn), "3\r\nend\r\n0\r\n\r\n");
    expect_has(get("?noleader"), "");
    finish();
}

static void test_an_empty_end_is_an_end(void **state)
{
    (void)state;
    (void)get("");
    fake_part("all");
    (void)fake_written(&conn);
    fake_reply(0, "");
    assert_string_equal(fake_written(&conn), "0\r\n\r\n");
    assert_false(conn.closed || conn.finished);
}

static void test_one_that_breaks_off_has_no_end(void **state)
{
    (void)state;
    (void)get("");
    fake_part("first");
    (void)fake_written(&conn);
    fake_reply(ERR_TIMEOUT, "the client did not take the result");
    assert_string_equal(fake_written(&conn), "");
    assert_true(conn.closed);
}

static void test_failures_before_the_first_byte(void **state)
{
    static const struct {
        const char *target;
        int rc;
        const char *text, *status, *body;
    } rows[] = {
        {"", ERR_NO_LEADER, NULL, "503", "\r\n\r\nleader not found\n"},
        {"?redirect", ERR_NO_LEADER, NULL, "500", "\r\n\r\nleader not found\n"},
        {"?redirect", ERR_NOT_LEADER, NULL, "301",
         "Location: http://leader:4001/db/backup?redirect\r\n"},
        {"", ERR_NOT_LEADER, NULL, "500", "\r\n\r\nnot leader\n"},
        {"", ERR_DENIED, NULL, "401", "\r\n\r\nremote backup not authorized\n"},
        {"", ERR_FULL, "too many backups are being made, try again", "503", "Retry-After: 1\r\n"},
        {"", ERR_NOT_READY, NULL, "503", "\r\n\r\nstore not open\n"},
        {"", ERR_REFUSED, "dial tcp h:4002: connect: connection refused", "500",
         "\r\n\r\ndial tcp h:4002: connect: connection refused\n"},
        {"?vacuum", ERR_NOSPC, "no space for a vacuumed copy", "500",
         "\r\n\r\nno space for a vacuumed copy\n"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char line[32];
        (void)get(rows[i].target);
        fake_reply(rows[i].rc, rows[i].text);
        const char *answer = fake_written(&conn);
        snprintf(line, sizeof line, "HTTP/1.1 %s ", rows[i].status);
        expect_has(answer, line);
        expect_has(answer, rows[i].body);
    }
}

static void test_only_a_binary_one_can_be_vacuumed(void **state)
{
    (void)state;
    expect_has(get("?fmt=sql&vacuum"), "\r\n\r\ninvalid backup format\n");
    expect_has(get("?fmt=delete&vacuum"), "HTTP/1.1 500 ");
    assert_int_equal(fake.submitted, 0);
}

static void test_status_tells_the_last_that_was_complete(void **state)
{
    (void)state;
    (void)get("");
    fake_reply(ERR_RESET, "x");
    (void)fake_written(&conn);
    fake_send(&conn, "GET /status?key=last_backup_time HTTP/1.1\r\nHost: h\r\n\r\n");
    expect_lacks(fake_written(&conn), "2021-03-04");
    (void)get("");
    finish();
    fake_send(&conn, "GET /status?key=last_backup_time HTTP/1.1\r\nHost: h\r\n\r\n");
    expect_has(fake_written(&conn), "\"2021-03-04T05:06:07");
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_parameters_become_what_node_makes),
        T(test_names_of_tables_are_trimmed),
        T(test_a_small_one_has_a_length),
        T(test_a_large_one_goes_out_in_chunks),
        T(test_an_empty_end_is_an_end),
        T(test_one_that_breaks_off_has_no_end),
        T(test_failures_before_the_first_byte),
        T(test_only_a_binary_one_can_be_vacuumed),
        T(test_status_tells_the_last_that_was_complete),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
