/* Idempotency keys and conditions in requests, and what comes of them in answers (docs/api.md). */
#include "api_fixture.h"

static const char *post(const char *target, const char *headers, const char *body)
{
    return ask("POST", target, headers, body);
}

/* What node was asked; the request is still in flight. */
static struct wire_cmd submitted(void)
{
    struct wire_cmd c;
    assert_int_equal(fake.submitted, 1);
    assert_int_equal(wire_cmd_open(fake.last.f.payload, false, &c), 0);
    return c;
}

static void done(void)
{
    fake_reply(0, "R[]");
    expect_has(fake_written(&conn), "200 OK");
    fake.submitted = 0;
}

/* ---- keys ------------------------------------------------------------------------------------------------- */

static void test_key_travels_in_the_payload(void **state)
{
    (void)state;
    post("/db/execute", "Idempotency-Key: order-17!~\r\n", "[\"SELECT 1\"]");
    assert_true(slice_equal_str(submitted().idempotency_key, "order-17!~"));
    done();
    post("/db/request", "idempotency-key:  k \r\n", "[\"SELECT 1\"]");
    assert_true(slice_equal_str(submitted().idempotency_key, "k"));
    done();
    post("/db/execute", "Content-Type: text/plain\r\nIdempotency-Key: p\r\n", "SELECT 1");
    assert_true(slice_equal_str(submitted().idempotency_key, "p"));
    done();
    post("/db/execute", "", "[\"SELECT 1\"]");
    assert_int_equal(submitted().idempotency_key.len, 0);
    done();
}

static void test_reads_have_no_keys(void **state)
{
    (void)state;
    post("/db/query", "Idempotency-Key: k\r\n", "[\"SELECT 1\"]");
    assert_int_equal(submitted().idempotency_key.len, 0);
    done();
}

static void test_bad_keys_are_refused(void **state)
{
    static const char words[] = "Idempotency-Key must be 1 to 255 visible ASCII characters\n";
    char line[400];
    (void)state;
    expect_has(post("/db/execute", "Idempotency-Key:\r\n", "[\"x\"]"), words);
    expect_has(post("/db/execute", "Idempotency-Key: a b\r\n", "[\"x\"]"), words);
    expect_has(post("/db/execute", "Idempotency-Key: \xc3\xbc\r\n", "[\"x\"]"), words);
    snprintf(line, sizeof line, "Idempotency-Key: %0256d\r\n", 1);
    expect_has(post("/db/request", line, "[\"x\"]"), "400 Bad Request");
    expect_has(
        post("/db/execute", "Idempotency-Key: a\r\nX: y\r\nIDEMPOTENCY-KEY: b\r\n", "[\"x\"]"),
        "more than one Idempotency-Key\n");
    assert_int_equal(fake.submitted, 0);
    snprintf(line, sizeof line, "Idempotency-Key: %0255d\r\n", 1);
    post("/db/request", line, "[\"x\"]");
    assert_int_equal(submitted().idempotency_key.len, 255);
    done();
}

/* ---- conditions --------------------------------------------------------------------------------------------- */

static struct slice next_text(struct wire_cmd *c, uint32_t *params)
{
    struct slice sql;
    assert_int_equal(wire_cmd_next(c, &sql, params), 0);
    return sql;
}

static void test_condition_travels_in_the_payload(void **state)
{
    struct wire_cmd c, condition;
    struct wire_param p;
    struct slice sql;
    uint32_t params;
    (void)state;
    post("/db/"
         "execute?if_index=9&transaction&if=[%22SELECT%20v%20WHERE%20id=?%22,7]&is=[[1,%22x%22],["
         "null]]",
         "", "[\"DELETE\"]");
    c = submitted();
    assert_int_equal(c.flags, WIRE_CMD_TRANSACTION | WIRE_CMD_IF_INDEX | WIRE_CMD_IF | WIRE_CMD_IS);
    assert_int_equal(c.if_index, 9);
    wire_cmd_if_open(&c, &condition);
    assert_true(slice_equal_str(next_text(&condition, &params), "SELECT v WHERE id=?"));
    assert_int_equal(wire_cmd_next_param(&condition, &p), 0);
    assert_true(p.type == WIRE_INTEGER && p.integer == 7);
    assert_int_equal(next_text(&condition, &params).len, 0);
    assert_int_equal(params, 2);
    assert_int_equal(next_text(&condition, &params).len, 0);
    assert_int_equal(params, 1);
    assert_int_equal(wire_cmd_next(&condition, &sql, &params), ERR_EOF);
    assert_true(slice_equal_str(next_text(&c, &params), "DELETE"));
    done();
    post("/db/request?if=%22SELECT%201%22&is=[]", "", "[\"DELETE\"]");
    assert_int_equal(submitted().flags, WIRE_CMD_IF | WIRE_CMD_IS);
    done();
    post("/db/request?if=%22SELECT%201%22", "Content-Type: text/plain\r\n", "[\"DELETE\"]");
    assert_int_equal(submitted().flags, WIRE_CMD_IF);
    done();
}

static void test_bad_conditions_are_refused(void **state)
{
    static const struct {
        const char *target, *words;
    } rows[] = {
        {"/db/execute?if_index", "if_index is not a valid integer"},
        {"/db/execute?if_index=-1", "if_index is not a valid integer"},
        {"/db/execute?if_index=18446744073709551616", "if_index is not a valid integer"},
        {"/db/execute?if_index=9x", "if_index is not a valid integer"},
        {"/db/execute?is=[]", "is requires if"},
        {"/db/execute?if", "if: not a statement"},
        {"/db/execute?if=SELECT+1", "if: not a statement"},
        {"/db/execute?if=7", "if: not a statement"},
        {"/db/execute?if=[7]", "if: invalid request"},
        {"/db/execute?if=[%22SELECT+1%22", "if: invalid JSON body"},
        {"/db/execute?if=%22SELECT+1%22x", "if: invalid JSON"},
        {"/db/execute?if=[%22SELECT+1%22,{%22a%22:{}}]",
         "if: unsupported type map[string]interface {}"},
        {"/db/execute?if=%22SELECT+1%22&is=7", "is: not an array of rows"},
        {"/db/execute?if=%22SELECT+1%22&is=[1]", "is: not an array of rows"},
        {"/db/execute?if=%22SELECT+1%22&is=[[1]", "is: not an array of rows"},
        {"/db/execute?if=%22SELECT+1%22&is=[[1]]]", "is: invalid JSON"},
        {"/db/execute?if=%22SELECT+1%22&is=[[{}]]", "is: unsupported type map[string]interface {}"},
        {"/db/execute?if=%22PRAGMA+user_version%22",
         "a condition must be a query: SELECT, VALUES or WITH"},
        {"/db/request?if=%22DELETE+FROM+t%22",
         "a condition must be a query: SELECT, VALUES or WITH"},
        {"/db/request?if=%22SELECT+1%3BSELECT+2%22", "a condition must be one statement"},
        {"/db/execute?queue&if_index=1", "a queued write cannot have a condition"},
        {"/db/execute?queue&if=%22SELECT+1%22", "a queued write cannot have a condition"},
    };
    char words[200];
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const char *answer = post(rows[i].target, "", "[\"x\"]");
        if (!answer[0])
            fail_msg("%s was taken", rows[i].target);
        expect_has(answer, "400 Bad Request");
        snprintf(words, sizeof words, "\r\n\r\n%s\n", rows[i].words);
        expect_has(answer, words);
    }
    expect_has(post("/db/execute?queue", "Idempotency-Key: k\r\n", "[\"x\"]"),
               "a queued write cannot have an Idempotency-Key\n");
    assert_int_equal(fake.submitted, 0);
}

static void test_reads_pay_no_heed_to_conditions(void **state)
{
    (void)state;
    post("/db/query?if_index=x&if=y", "", "[\"SELECT 1\"]");
    assert_int_equal(submitted().flags, 0);
    done();
}

/* ---- answers -------------------------------------------------------------------------------------------------- */

static const char *answer(const char *target, const char *body)
{
    post(target, "", "[\"x\"]");
    fake_reply(0, body);
    return fake_written(&conn);
}

static void test_condition_not_met_is_412(void **state)
{
    (void)state;
    const char *text = answer("/db/execute", "Ucondition not met");
    expect_has(text, "HTTP/1.1 412 Precondition Failed\r\n");
    expect_has(text, "\r\n\r\n{\"results\":[],\"error\":\"condition not met\"}");
    expect_lacks(text, "Idempotency-Replayed");
}

static void test_key_of_another_request_is_422(void **state)
{
    (void)state;
    const char *text = answer("/db/execute", "Kanother");
    expect_has(text, "HTTP/1.1 422 Unprocessable Entity\r\n");
    expect_has(text, "\r\n\r\n{\"results\":[],\"error\":\"another\"}");
}

static void test_replayed_answers_say_so_and_name_the_first_index(void **state)
{
    (void)state;
    /* the index 0x0101010101010101, little-endian */
    const char *text = answer("/db/execute?raft_index", "P\1\1\1\1\1\1\1\1R[{}]");
    expect_has(text, "200 OK");
    expect_has(text, "Idempotency-Replayed: true\r\n");
    expect_has(text, "{\"results\":[{}],\"raft_index\":72340172838076673}");
    text = answer("/db/execute", "P\1\1\1\1\1\1\1\1Ucondition not met");
    expect_has(text, "412 Precondition Failed");
    expect_has(text, "Idempotency-Replayed: true\r\n");
    text = answer("/db/execute", "P\1\1\1");
    expect_has(text, "500 Internal Server Error");
    text = answer("/db/execute", "R[{}]");
    expect_lacks(text, "Idempotency-Replayed");
}

/* The codec: what db tells becomes those bytes. */
static void test_notes_become_first_bytes(void **state)
{
    struct buf out;
    struct db_sink *s;
    (void)state;
    buf_init(&out, 1000);
    s = api_codec()->sink_new(0, &out);
    s->ops->note(s, DB_NOTE_REPLAYED, 0x4141414141414141);
    s->ops->write(s, 1, 2, 0);
    api_codec()->sink_finish(s);
    assert_true(
        slice_equal_str(buf_slice(&out), "PAAAAAAAAR[{\"last_insert_id\":1,\"rows_affected\":2}]"));
    s->ops->reset(s);
    s->ops->write(s, 1, 2, 0);
    api_codec()->sink_finish(s);
    assert_true(slice_equal_str(buf_slice(&out), "R[{\"last_insert_id\":1,\"rows_affected\":2}]"));
    s->ops->reset(s);
    s->ops->note(s, DB_NOTE_REPLAYED, 0x4141414141414141);
    s->ops->note(s, DB_NOTE_UNMET, 0);
    s->ops->request_error(s, slice_str("no"));
    api_codec()->sink_finish(s);
    assert_true(slice_equal_str(buf_slice(&out), "PAAAAAAAAUno"));
    s->ops->reset(s);
    s->ops->request_error(s, slice_str("no"));
    api_codec()->sink_finish(s);
    assert_true(slice_equal_str(buf_slice(&out), "Eno"));
    api_codec()->sink_free(s);
    buf_fini(&out);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_key_travels_in_the_payload),
        TEST(test_reads_have_no_keys),
        TEST(test_bad_keys_are_refused),
        TEST(test_condition_travels_in_the_payload),
        TEST(test_bad_conditions_are_refused),
        TEST(test_reads_pay_no_heed_to_conditions),
        TEST(test_condition_not_met_is_412),
        TEST(test_key_of_another_request_is_422),
        TEST(test_replayed_answers_say_so_and_name_the_first_index),
        TEST(test_notes_become_first_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
