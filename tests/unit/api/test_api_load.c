/* A database file on its way through a connection: piece by piece as node asks for it, refused before it is read
 * where it can be, given up with its client. */
#include "api_fixture.h"

#define FILE_HEAD "SQLite format 3, and more than thirty-two bytes"

static int load_setup(void **state)
{
    const int rc = setup(state);
    buf_init(&fake.uploaded, 1 << 20);
    return rc;
}

static int load_teardown(void **state)
{
    const int rc = teardown(state);
    buf_fini(&fake.uploaded);
    return rc;
}

static void begin(const char *target, size_t content_length)
{
    char head[200];
    snprintf(head, sizeof head, "POST %s HTTP/1.1\r\nHost: h\r\nContent-Length: %zu\r\n\r\n",
             target, content_length);
    fake_send(&conn, head);
}

static void expect_answer(int status, const char *body)
{
    char line[64];
    const char *answer = fake_written(&conn), *end = strstr(answer, "\r\n\r\n");
    snprintf(line, sizeof line, "HTTP/1.1 %d ", status);
    if (strncmp(answer, line, strlen(line)) != 0 || !end)
        fail_msg("%s", answer);
    assert_string_equal(end + 4, body);
}

static void expect_uploaded(const char *bytes)
{
    assert_true(slice_equal_str(buf_slice(&fake.uploaded), bytes));
}

static void done(int rc, bool unknown, const char *why, const char *served_by)
{
    fake.uploading = false;
    fake.upload.done(fake.upload.ctx, rc, unknown, why, served_by);
}

static void test_file_is_given_as_node_takes_it(void **state)
{
    (void)state;
    begin("/db/load?retries=3&timeout=5s", 54);
    fake_send(&conn, "SQLite format");
    assert_false(fake.uploading); /* one byte short of being sure */
    fake_send(&conn, " ");
    assert_true(fake.uploading && !fake.upload.boot);
    assert_int_equal(fake.upload.bytes, 54);
    assert_int_equal(fake.upload.retries, 3);
    assert_int_equal(fake.upload.timeout_ms, 5000);
    expect_uploaded("");
    fake_send(&conn, "3, and ");
    fake.upload.taken(fake.upload.ctx); /* what had been decided on first */
    expect_uploaded("SQLite format ");
    fake.upload.taken(fake.upload.ctx); /* then what waited behind */
    expect_uploaded("SQLite format 3, and ");
    assert_int_equal(fake.upload_gives, 2);
    fake.upload.taken(fake.upload.ctx); /* then nothing is there */
    assert_int_equal(fake.upload_gives, 2);
    fake_send(&conn, "more than thirty-two bytes, again");
    assert_true(fake.upload_last && fake.upload_gives == 3);
    expect_uploaded("SQLite format 3, and more than thirty-two bytes, again");
    done(0, false, NULL, NULL);
    expect_answer(200, "{\"results\":[]}");
}

static void test_whole_small_file_is_one_request_of_many(void **state)
{
    (void)state;
    fake_send(&conn,
              "POST /db/load?pretty HTTP/1.1\r\nHost: h\r\nContent-Length: 47\r\n\r\n" FILE_HEAD
              "GET /readyz?noleader HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_true(fake.uploading);
    fake.upload.taken(fake.upload.ctx);
    assert_true(fake.upload_last);
    expect_uploaded(FILE_HEAD);
    done(0, false, NULL, "10.0.0.1:4002");
    const char *all = fake_written(&conn);
    assert_non_null(strstr(all, "X-Rqlite-Served-By: 10.0.0.1:4002\r\n"));
    assert_non_null(strstr(all, "{\n    \"results\": []\n}"));
    assert_non_null(strstr(all, "[+]node ok")); /* the connection lives on */
    assert_false(conn.finished);
}

static void test_chunked_file_has_no_announced_length(void **state)
{
    (void)state;
    fake_send(&conn, "POST /db/load HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
                     "10\r\nSQLite format 3.\r\n4\r\nabcd\r\n0\r\n\r\n");
    assert_true(fake.uploading && fake.upload.bytes == 0);
    fake.upload.taken(fake.upload.ctx);
    while (!fake.upload_last)
        fake.upload.taken(fake.upload.ctx);
    expect_uploaded("SQLite format 3.abcd");
    done(0, false, NULL, NULL);
    expect_answer(200, "{\"results\":[]}");
}

static void test_client_that_sends_faster_waits(void **state)
{
    char piece[60001];
    (void)state;
    memset(piece, 'x', sizeof piece - 1);
    piece[sizeof piece - 1] = 0;
    begin("/db/load", 10 * 1000 * 1000);
    fake_send(&conn, FILE_HEAD);
    for (int i = 0; i < 5; i++)
        fake_send(&conn, piece);
    assert_false(conn.reading); /* 300 KB wait */
    fake.upload.taken(fake.upload.ctx);
    fake.upload.taken(fake.upload.ctx);
    assert_true(conn.reading);
    assert_int_equal(buf_len(&fake.uploaded), 300047);
}

static void test_early_answer_closes(void **state)
{
    (void)state;
    begin("/db/load", 1000);
    fake_send(&conn, FILE_HEAD);
    done(ERR_NOSPC, false, "loading needs 70 MB of free disk space, there are 3", NULL);
    const char *all = fake_written(&conn);
    assert_non_null(strstr(all, "HTTP/1.1 503 "));
    assert_non_null(strstr(all, "Connection: close\r\n"));
    assert_true(conn.finished);
    fake_send(&conn, "GET / HTTP/1.1\r\nHost: h\r\n\r\n"); /* a byte of the body that looks odd */
    assert_string_equal(fake_written(&conn), "");
}

static void test_client_that_goes_takes_its_load_along(void **state)
{
    (void)state;
    begin("/db/load", 1000);
    fake_send(&conn, FILE_HEAD);
    fake.upload.taken(fake.upload.ctx);
    assert_false(fake.upload_canceled);
    fake.upload.taken(fake.upload.ctx);
    fake_hang_up(&conn, ERR_EOF); /* in the middle of its body */
    assert_true(fake.upload_canceled);
}

static void test_client_that_pauses_too_long_is_closed(void **state)
{
    (void)state;
    begin("/db/load", 1000);
    fake_send(&conn, FILE_HEAD);
    fake_pass(LIMIT_HTTP_BODY_IDLE_MS + 1000); /* our turn: we may take our time */
    assert_false(conn.closed);
    fake.upload.taken(fake.upload.ctx);
    fake.upload.taken(fake.upload.ctx);
    fake_pass(LIMIT_HTTP_BODY_IDLE_MS - 1000);
    assert_false(fake.upload_canceled);
    fake_pass(2000);
    assert_true(fake.upload_canceled && conn.closed);
}

/* Checking and installing a large file takes longer than a body may pause. */
static void test_complete_file_may_take_its_time(void **state)
{
    (void)state;
    begin("/db/load", strlen(FILE_HEAD) + 4);
    fake_send(&conn, FILE_HEAD);
    fake.upload.taken(fake.upload.ctx);
    fake.upload.taken(fake.upload.ctx);
    fake_send(&conn, "last");
    assert_true(fake.upload_last);
    fake_pass(LIMIT_HTTP_BODY_IDLE_MS + 10 * 60 * 1000);
    assert_false(fake.upload_canceled);
    done(0, false, NULL, NULL);
    expect_answer(200, "{\"results\":[]}");
}

static void test_malformed_chunk_ends_the_load(void **state)
{
    (void)state;
    fake_send(&conn, "POST /db/load HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
                     "10\r\nSQLite format 3.\r\n");
    fake_send(&conn, "zz\r\n");
    fake.upload.taken(fake.upload.ctx);
    fake.upload.taken(fake.upload.ctx);
    assert_true(fake.upload_canceled);
    expect_answer(400, "malformed chunk size\n");
}

static void test_refusals_have_their_words(void **state)
{
    static const struct {
        int rc;
        bool unknown;
        const char *why, *served_by;
        int status;
        const char *body;
    } rows[] = {
        {ERR_INVALID, false, "invalid SQLite data", NULL, 500,
         "error swapping databases: invalid SQLite data\n"},
        {ERR_INVALID, false, "a piece of the load is missing", "l:2", 500,
         "remote node failed to load: a piece of the load is missing\n"},
        {ERR_NO_LEADER, false, "no leader", NULL, 500, "store not ready\n"},
        {ERR_DENIED, false, "denied", "l:2", 401, "remote load not authorized\n"},
        {ERR_LEADERSHIP_LOST, true, "leadership lost", NULL, 500,
         "leadership lost: the database may have been loaded nevertheless\n"},
        {ERR_FULL, false, "too much is under way", NULL, 503, "too much is under way\n"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        begin("/db/load", strlen(FILE_HEAD));
        fake_send(&conn, FILE_HEAD);
        done(rows[i].rc, rows[i].unknown, rows[i].why, rows[i].served_by);
        expect_answer(rows[i].status, rows[i].body);
    }
    fake.upload_rc = ERR_BUSY;
    begin("/db/load", strlen(FILE_HEAD));
    fake_send(&conn, FILE_HEAD);
    expect_answer(503, "another load is in progress\n");
    fake.upload_rc = ERR_TOO_BIG;
    begin("/db/load", strlen(FILE_HEAD));
    fake_send(&conn, FILE_HEAD);
    expect_answer(413, "the database is larger than the limit\n");
}

static void test_follower_redirects_before_the_file_is_read(void **state)
{
    (void)state;
    fake.status.role = RAFT_FOLLOWER;
    begin("/db/load?redirect", 1000 * 1000);
    fake_send(&conn, FILE_HEAD);
    const char *all = fake_written(&conn);
    assert_non_null(strstr(all, "HTTP/1.1 301 "));
    assert_non_null(strstr(all, "Location: http://leader:4001/db/load?redirect\r\n"));
    assert_false(fake.uploading);
}

static void test_boot_loads_and_answers_empty(void **state)
{
    (void)state;
    fake.status.member_count = 1;
    begin("/boot", strlen(FILE_HEAD));
    fake_send(&conn, FILE_HEAD);
    assert_true(fake.uploading && fake.upload.boot);
    done(0, false, NULL, NULL);
    expect_answer(200, "");
    begin("/boot", strlen(FILE_HEAD));
    fake_send(&conn, FILE_HEAD);
    done(ERR_INVALID, false, "invalid SQLite data", NULL);
    expect_answer(503, "error swapping database file: invalid SQLite data\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, load_setup, load_teardown)
        T(test_file_is_given_as_node_takes_it),
        T(test_whole_small_file_is_one_request_of_many),
        T(test_chunked_file_has_no_announced_length),
        T(test_client_that_sends_faster_waits),
        T(test_early_answer_closes),
        T(test_client_that_goes_takes_its_load_along),
        T(test_client_that_pauses_too_long_is_closed),
        T(test_complete_file_may_take_its_time),
        T(test_malformed_chunk_ends_the_load),
        T(test_refusals_have_their_words),
        T(test_follower_redirects_before_the_file_is_read),
        T(test_boot_loads_and_answers_empty),
#undef T
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
