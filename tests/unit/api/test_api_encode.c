/* Results as JSON (http-api.md §5), driven through the codec as a database would. */
#include "api_int.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

struct run {
    struct buf out;
    struct db_sink *sink;
};

static void run_begin(struct run *r, uint32_t options)
{
    buf_init(&r->out, LIMIT_RESULT_BYTES);
    r->sink = api_codec()->sink_new(options, &r->out);
    assert_non_null(r->sink);
}

/* Finish, compare, free. */
static void run_expect(struct run *r, const char *expected)
{
    api_codec()->sink_finish(r->sink);
    buf_append_byte(&r->out, 0);
    assert_string_equal((const char *)buf_slice(&r->out).data, expected);
    api_codec()->sink_free(r->sink);
    buf_fini(&r->out);
}

static struct db_value integer(int64_t v)
{
    struct db_value value = {.type = DB_INTEGER, .integer = v};
    return value;
}
static struct db_value real(double v)
{
    struct db_value value = {.type = DB_REAL, .real = v};
    return value;
}
static struct db_value text(const char *v)
{
    struct db_value value = {.type = DB_TEXT, .bytes = slice_str(v)};
    return value;
}
static struct db_value blob(const void *v, size_t len)
{
    struct db_value value = {.type = DB_BLOB, .bytes = slice_of(v, len)};
    return value;
}
static const struct db_value null_value = {.type = DB_NULL};

enum { COLUMNS_MAX = 16 };
static void columns(struct run *r, uint32_t count, const char *const *names,
                    const char *const *types)
{
    struct slice n[COLUMNS_MAX], t[COLUMNS_MAX];
    const struct db_columns c = {.count = count, .names = n, .decltypes = t};
    for (uint32_t i = 0; i < count; i++) {
        n[i] = slice_str(names[i]);
        t[i] = slice_str(types[i]);
    }
    r->sink->ops->columns(r->sink, &c);
}

/* One column, one value. */
static void one(uint32_t options, const char *type, struct db_value v, const char *expected)
{
    struct run r;
    const char *names[] = {"c"};
    run_begin(&r, options);
    columns(&r, 1, names, &type);
    assert_int_equal(r.sink->ops->row(r.sink, &v, 1), 0);
    r.sink->ops->end(r.sink, 0);
    run_expect(&r, expected);
}

static const char *const pet_names[] = {"id", "name", "kg"};
static const char *const pet_types[] = {"INTEGER", "TEXT", "REAL"};

static void test_write_results_leave_out_zeros(void **state)
{
    struct run r;
    (void)state;
    run_begin(&r, 0);
    r.sink->ops->write(r.sink, 0, 0, 1000);
    r.sink->ops->write(r.sink, 2, 0, 1000);
    r.sink->ops->write(r.sink, 1, 1, 1000);
    r.sink->ops->error(r.sink, false, slice_str("no such table: zoo"));
    run_expect(&r, "R[{},{\"last_insert_id\":2},{\"last_insert_id\":1,\"rows_affected\":1},"
                   "{\"error\":\"no such table: zoo\"}]");
}

static void test_associative_writes_are_marked_by_null_rows(void **state)
{
    struct run r;
    (void)state;
    run_begin(&r, API_ENCODE_ASSOCIATIVE | API_ENCODE_TIMINGS);
    r.sink->ops->write(r.sink, 5, 1, 20000);
    run_expect(&r, "R[{\"last_insert_id\":5,\"rows_affected\":1,\"time\":0.00002,\"rows\":null}]");
}

static void test_rows_default_form(void **state)
{
    struct run r;
    const struct db_value row[] = {integer(1), text("rex"), real(20)};
    (void)state;
    run_begin(&r, API_ENCODE_TIMINGS);
    columns(&r, 3, pet_names, pet_types);
    assert_int_equal(r.sink->ops->row(r.sink, row, 3), 0);
    r.sink->ops->end(r.sink, 991);
    columns(&r, 3, pet_names, pet_types);
    r.sink->ops->end(r.sink, 1000000000);
    run_expect(&r,
               "R[{\"columns\":[\"id\",\"name\",\"kg\"],\"types\":[\"integer\",\"text\",\"real\"],"
               "\"values\":[[1,\"rex\",20]],\"time\":9.91e-7},"
               "{\"columns\":[\"id\",\"name\",\"kg\"],\"types\":[\"integer\",\"text\",\"real\"],"
               "\"time\":1}]");
}

static void test_rows_associative_form_sorts_and_keeps_the_later_of_equal_names(void **state)
{
    struct run r;
    const struct db_value row[] = {integer(1), text("rex"), real(20)};
    const struct db_value twice[] = {integer(1), integer(2)};
    const char *same[] = {"a", "a"}, *none[] = {"", ""};
    (void)state;
    run_begin(&r, API_ENCODE_ASSOCIATIVE);
    columns(&r, 3, pet_names, pet_types);
    assert_int_equal(r.sink->ops->row(r.sink, row, 3), 0);
    r.sink->ops->end(r.sink, 0);
    columns(&r, 2, same, none);
    assert_int_equal(r.sink->ops->row(r.sink, twice, 2), 0);
    r.sink->ops->end(r.sink, 0);
    columns(&r, 1, pet_names, pet_types);
    r.sink->ops->end(r.sink, 0);
    r.sink->ops->error(r.sink, true, slice_str("no such table: zoo"));
    r.sink->ops->error(r.sink, false, slice_str("near"));
    r.sink->ops->blank(r.sink, true);
    r.sink->ops->blank(r.sink, false);
    run_expect(
        &r,
        "R[{\"types\":{\"id\":\"integer\",\"kg\":\"real\",\"name\":\"text\"},"
        "\"rows\":[{\"id\":1,\"kg\":20,\"name\":\"rex\"}]},"
        "{\"types\":{\"a\":\"integer\"},\"rows\":[{\"a\":2}]},"
        "{\"types\":{\"id\":\"integer\"},\"rows\":[]},"
        "{\"rows\":[],\"error\":\"no such table: zoo\"},{\"error\":\"near\"},{\"rows\":[]},{}]");
}

static void test_pretty_is_indented_for_its_place_in_the_envelope(void **state)
{
    struct run r;
    const char *name[] = {"a"}, *type[] = {""};
    const struct db_value row = integer(1);
    (void)state;
    run_begin(&r, API_ENCODE_PRETTY);
    columns(&r, 1, name, type);
    assert_int_equal(r.sink->ops->row(r.sink, &row, 1), 0);
    r.sink->ops->end(r.sink, 0);
    run_expect(
        &r,
        "R[\n        {\n            \"columns\": [\n                \"a\"\n            ],\n"
        "            \"types\": [\n                \"integer\"\n            ],\n"
        "            \"values\": [\n                [\n                    1\n                ]\n"
        "            ]\n        }\n    ]");
}

static void test_undeclared_types_come_from_the_first_row(void **state)
{
    (void)state;
    one(0, "", null_value, "R[{\"columns\":[\"c\"],\"types\":[\"\"],\"values\":[[null]]}]");
    one(0, "", real(2.5), "R[{\"columns\":[\"c\"],\"types\":[\"real\"],\"values\":[[2.5]]}]");
    one(0, "", blob("AB", 2),
        "R[{\"columns\":[\"c\"],\"types\":[\"text\"],\"values\":[[\"AB\"]]}]");
    one(0, "VARCHAR(20)", integer(5),
        "R[{\"columns\":[\"c\"],\"types\":[\"varchar(20)\"],\"values\":[[5]]}]");
}

static void test_blobs(void **state)
{
    static const uint8_t bytes[] = {0, 255};
    (void)state;
    one(0, "BLOB", blob(bytes, 2),
        "R[{\"columns\":[\"c\"],\"types\":[\"blob\"],\"values\":[[\"AP8=\"]]}]");
    one(0, "BLOB", blob(bytes, 0),
        "R[{\"columns\":[\"c\"],\"types\":[\"blob\"],\"values\":[[\"\"]]}]");
    one(API_ENCODE_BLOB_ARRAY, "BLOB", blob(bytes, 2),
        "R[{\"columns\":[\"c\"],\"types\":[\"blob\"],\"values\":[[[0,255]]]}]");
    one(0, "char(10)", blob("A", 1),
        "R[{\"columns\":[\"c\"],\"types\":[\"char(10)\"],\"values\":[[\"QQ==\"]]}]");
    one(API_ENCODE_BLOB_ARRAY, "Varying Character(5)", blob("A", 1),
        "R[{\"columns\":[\"c\"],\"types\":[\"varying character(5)\"],\"values\":[[\"A\"]]}]");
    one(0, "", blob("\xff", 1),
        "R[{\"columns\":[\"c\"],\"types\":[\"text\"],\"values\":[[\"\\ufffd\"]]}]");
}

static void test_booleans_by_exactly_that_type(void **state)
{
    (void)state;
    one(0, "Boolean", integer(5),
        "R[{\"columns\":[\"c\"],\"types\":[\"boolean\"],\"values\":[[true]]}]");
    one(0, "BOOLEAN", integer(-1),
        "R[{\"columns\":[\"c\"],\"types\":[\"boolean\"],\"values\":[[false]]}]");
    one(0, "BOOL", integer(1), "R[{\"columns\":[\"c\"],\"types\":[\"bool\"],\"values\":[[1]]}]");
}

static void moment(struct db_value v, const char *expected)
{
    struct run r;
    const char *names[] = {"c"}, *types[] = {"DATETIME"};
    struct buf whole;
    buf_init(&whole, 4096);
    buf_printf(&whole, "R[{\"columns\":[\"c\"],\"types\":[\"datetime\"],\"values\":[[%s]]}]",
               expected);
    buf_append_byte(&whole, 0);
    run_begin(&r, 0);
    columns(&r, 1, names, types);
    assert_int_equal(r.sink->ops->row(r.sink, &v, 1), 0);
    r.sink->ops->end(r.sink, 0);
    run_expect(&r, (const char *)buf_slice(&whole).data);
    buf_fini(&whole);
}

static void test_moments(void **state)
{
    (void)state;
    moment(text("2021-03-04"), "\"2021-03-04T00:00:00Z\"");
    moment(text("2021-03-04 05:06"), "\"2021-03-04T05:06:00Z\"");
    moment(text("2021-03-04 5:06"), "\"2021-03-04T05:06:00Z\"");
    moment(text("2021-03-04 05:06:07.890"), "\"2021-03-04T05:06:07.89Z\"");
    moment(text("2021-03-04 05:06:07,1234567891"), "\"2021-03-04T05:06:07.123456789Z\"");
    moment(text("2021-03-04T05:06:07+02:00"), "\"2021-03-04T05:06:07+02:00\"");
    moment(text("2021-03-04T05:06:07-00:30"), "\"2021-03-04T05:06:07-00:30\"");
    moment(text("2021-03-04T05:06:07+00:00"), "\"2021-03-04T05:06:07Z\"");
    moment(text("2021-03-04 05:06:07Z"), "\"2021-03-04T05:06:07Z\"");
    moment(text("2024-02-29"), "\"2024-02-29T00:00:00Z\"");
    moment(text("2023-02-29"), "\"0001-01-01T00:00:00Z\"");
    moment(text("yesterday"), "\"0001-01-01T00:00:00Z\"");
    moment(text(""), "\"0001-01-01T00:00:00Z\"");
    moment(text("12:34:56"), "\"0001-01-01T00:00:00Z\"");
    moment(text("2021-03-04 05:06:07.890x"), "\"0001-01-01T00:00:00Z\"");
    moment(integer(1614834367), "\"2021-03-04T05:06:07Z\"");
    moment(integer(1614834367123), "\"2021-03-04T05:06:07.123Z\"");
    moment(integer(20210101), "\"1970-08-22T21:55:01Z\"");
    moment(integer(-1), "\"1969-12-31T23:59:59Z\"");
    moment(integer(-1000000000001), "\"1938-04-24T22:13:19.999Z\"");
    moment(real(2459277.5), "2459277.5");
}

static void test_a_year_beyond_9999_fails_the_statement_only(void **state)
{
    struct run r;
    const char *name[] = {"d"}, *type[] = {"DATE"};
    const struct db_value good = integer(0), bad = integer(INT64_MAX);
    (void)state;
    run_begin(&r, 0);
    columns(&r, 1, name, type);
    assert_int_equal(r.sink->ops->row(r.sink, &good, 1), 0);
    assert_int_equal(r.sink->ops->row(r.sink, &bad, 1), 0);
    assert_int_equal(r.sink->ops->row(r.sink, &good, 1), 0);
    r.sink->ops->end(r.sink, 0);
    r.sink->ops->write(r.sink, 1, 1, 0);
    run_expect(&r, "R[{\"error\":\"Time.MarshalText: year outside of range [0,9999]\"},"
                   "{\"last_insert_id\":1,\"rows_affected\":1}]");
}

static void test_a_row_that_fails_behind_its_key_is_taken_back(void **state)
{
    struct run r;
    const char *names[] = {"a", "d", "z"}, *types[] = {"", "DATE", ""};
    const struct db_value good[] = {integer(1), integer(0), integer(2)};
    const struct db_value bad[] = {integer(1), integer(INT64_MAX), integer(2)};
    (void)state;
    run_begin(&r, API_ENCODE_ASSOCIATIVE | API_ENCODE_PRETTY);
    columns(&r, 3, names, types);
    assert_int_equal(r.sink->ops->row(r.sink, good, 3), 0);
    assert_int_equal(r.sink->ops->row(r.sink, bad, 3), 0);
    r.sink->ops->end(r.sink, 0);
    run_expect(&r, "R[\n        {\n            \"rows\": [],\n            \"error\": "
                   "\"Time.MarshalText: year outside of range [0,9999]\"\n        }\n    ]");
}

static void test_an_error_after_rows_takes_them_back(void **state)
{
    struct run r;
    const char *name[] = {"a"}, *type[] = {""};
    const struct db_value row = integer(1), endless = real(INFINITY);
    (void)state;
    run_begin(&r, 0);
    r.sink->ops->blank(r.sink, true);
    columns(&r, 1, name, type);
    assert_int_equal(r.sink->ops->row(r.sink, &row, 1), 0);
    assert_int_equal(r.sink->ops->row(r.sink, &endless, 1), 0);
    r.sink->ops->error(r.sink, true, slice_str("query timeout"));
    columns(&r, 1, name, type);
    r.sink->ops->error(r.sink, true, slice_str("query timeout"));
    run_expect(&r, "R[{},{\"error\":\"query timeout\"},{\"error\":\"query timeout\"}]");
}

static void test_infinity_fails_the_whole_answer(void **state)
{
    (void)state;
    one(0, "", real(INFINITY),
        "Fjson: error calling MarshalJSON for type *http.DBResults: json: unsupported value: +Inf");
    one(0, "", real(-INFINITY),
        "Fjson: error calling MarshalJSON for type *http.DBResults: json: unsupported value: -Inf");
}

static void test_numbers_and_strings(void **state)
{
    (void)state;
    one(0, "", integer(INT64_MAX),
        "R[{\"columns\":[\"c\"],\"types\":[\"integer\"],\"values\":[[9223372036854775807]]}]");
    one(0, "", real(1e21), "R[{\"columns\":[\"c\"],\"types\":[\"real\"],\"values\":[[1e+21]]}]");
    one(0, "", real(-0.0), "R[{\"columns\":[\"c\"],\"types\":[\"real\"],\"values\":[[-0]]}]");
    one(0, "", text("<&>"),
        "R[{\"columns\":[\"c\"],\"types\":[\"text\"],\"values\":[[\"\\u003c\\u0026\\u003e\"]]}]");
}

static void test_reset_forgets_and_request_errors_replace_everything(void **state)
{
    struct run r;
    (void)state;
    run_begin(&r, 0);
    r.sink->ops->write(r.sink, 1, 1, 0);
    r.sink->ops->reset(r.sink);
    r.sink->ops->write(r.sink, 2, 1, 0);
    run_expect(&r, "R[{\"last_insert_id\":2,\"rows_affected\":1}]");
    run_begin(&r, 0);
    r.sink->ops->write(r.sink, 1, 1, 0);
    r.sink->ops->request_error(r.sink, slice_str("context deadline exceeded"));
    run_expect(&r, "Econtext deadline exceeded");
    run_begin(&r, 0);
    run_expect(&r, "R[]");
}

static void test_a_result_over_the_limit_stops_the_rows(void **state)
{
    struct run r;
    char big[300];
    const char *name[] = {"a"}, *type[] = {""};
    (void)state;
    memset(big, 'x', sizeof big);
    big[sizeof big - 1] = '\0';
    const struct db_value row = text(big);
    buf_init(&r.out, 1000);
    r.sink = api_codec()->sink_new(0, &r.out);
    columns(&r, 1, name, type);
    int rc = 0;
    for (int i = 0; i < 4 && rc == 0; i++)
        rc = r.sink->ops->row(r.sink, &row, 1);
    assert_int_equal(rc, ERR_TOO_BIG);
    r.sink->ops->error(r.sink, true, slice_str("interrupted"));
    run_expect(&r, "Fresult is larger than the limit");
}

/* ---- in parts --------------------------------------------------------------------------------------------- */

struct parts {
    struct run run;
    struct buf all; /* what has left, without the first bytes of the parts */
    uint32_t every; /* pause behind each such row or end */
    uint32_t events;
};

static void part_event(struct parts *p)
{
    if (++p->events % p->every != 0)
        return;
    assert_true(api_codec()->sink_pause(p->run.sink));
    const struct slice part = buf_slice(&p->run.out);
    assert_int_equal(part.data[0], 'R');
    buf_append(&p->all, part.data + 1, part.len - 1);
    buf_reset(&p->run.out, 0);
    api_codec()->sink_resume(p->run.sink);
}

/* What a request of every kind of entry becomes. */
static void parts_run(struct parts *p, uint32_t options, uint32_t every)
{
    const struct db_value row[] = {integer(1), text("rex"), real(20)};
    const char *const moment[] = {"moment", "c", "d"}, *const types[] = {"DATE", "BLOB", ""};
    const struct db_value moments[] = {integer(1614834367), blob("\1\2", 2), null_value};
    memset(p, 0, sizeof *p);
    p->every = every;
    buf_init(&p->all, 1024 * 1024);
    run_begin(&p->run, options);
    struct db_sink *s = p->run.sink;
    for (int i = 0; i < 3; i++) {
        s->ops->blank(s, true);
        columns(&p->run, 3, pet_names, pet_types);
        for (int k = 0; k < 5; k++) {
            assert_int_equal(s->ops->row(s, row, 3), 0);
            part_event(p);
        }
        s->ops->end(s, 1000);
        part_event(p);
        s->ops->error(s, true, slice_str("no such table: zoo"));
        part_event(p);
        columns(&p->run, 3, moment, types);
        assert_int_equal(s->ops->row(s, moments, 3), 0);
        part_event(p);
        s->ops->end(s, 1000);
        columns(&p->run, 3, pet_names, pet_types);
        s->ops->end(s, 1000); /* no rows */
    }
    api_codec()->sink_finish(s);
    const struct slice last = buf_slice(&p->run.out);
    buf_append(&p->all, last.data + 1, last.len - 1);
    buf_append_byte(&p->all, 0);
}

static void parts_fini(struct parts *p)
{
    api_codec()->sink_free(p->run.sink);
    buf_fini(&p->run.out);
    buf_fini(&p->all);
}

static void test_parts_make_the_same_whole(void **state)
{
    (void)state;
    for (uint32_t options = 0; options < 32; options++) {
        struct parts whole;
        parts_run(&whole, options, UINT32_MAX);
        for (uint32_t every = 1; every < 8; every++) {
            struct parts p;
            parts_run(&p, options, every);
            assert_string_equal((const char *)buf_slice(&p.all).data,
                                (const char *)buf_slice(&whole.all).data);
            parts_fini(&p);
        }
        parts_fini(&whole);
    }
}

/* Two rows leave; a third is written behind them. */
static void leave_two_rows(struct parts *p, uint32_t options, const char *type)
{
    const char *const name[] = {"c"}, *const types[] = {type};
    const struct db_value row = integer(1);
    memset(p, 0, sizeof *p);
    p->every = 1;
    buf_init(&p->all, 1024);
    run_begin(&p->run, options);
    columns(&p->run, 1, name, types);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(p->run.sink->ops->row(p->run.sink, &row, 1), 0);
        part_event(p);
    }
    assert_int_equal(p->run.sink->ops->row(p->run.sink, &row, 1), 0);
}

static void parts_expect(struct parts *p, const char *expected)
{
    api_codec()->sink_finish(p->run.sink);
    const struct slice last = buf_slice(&p->run.out);
    buf_append(&p->all, last.data + 1, last.len - 1);
    buf_append_byte(&p->all, 0);
    assert_string_equal((const char *)buf_slice(&p->all).data, expected);
    parts_fini(p);
}

static void test_an_error_stands_behind_rows_that_have_left(void **state)
{
    struct parts p;
    (void)state;
    leave_two_rows(&p, 0, "INT");
    p.run.sink->ops->error(p.run.sink, true, slice_str("query timeout"));
    p.run.sink->ops->error(p.run.sink, true, slice_str("query timeout"));
    parts_expect(
        &p, "[{\"columns\":[\"c\"],\"types\":[\"int\"],\"values\":[[1],[1],[1]],\"error\":\"query "
            "timeout\"},{\"error\":\"query timeout\"}]");
    leave_two_rows(&p, API_ENCODE_ASSOCIATIVE, "INT");
    p.run.sink->ops->error(p.run.sink, true, slice_str("query timeout"));
    parts_expect(
        &p,
        "[{\"types\":{\"c\":\"int\"},\"rows\":[{\"c\":1},{\"c\":1},{\"c\":1}],\"error\":\"query "
        "timeout\"}]");
}

static void test_a_row_that_cannot_be_shown_is_not_half_there(void **state)
{
    const char *const names[] = {"n", "c"}, *const types[] = {"INT", "DATE"};
    const struct db_value good[] = {integer(1), integer(1614834367)};
    const struct db_value bad[] = {integer(2), integer(999999999999)};
    struct parts p = {.every = 1};
    (void)state;
    buf_init(&p.all, 1024);
    run_begin(&p.run, 0);
    struct db_sink *s = p.run.sink;
    columns(&p.run, 2, names, types);
    assert_int_equal(s->ops->row(s, good, 2), 0);
    part_event(&p);
    assert_int_equal(s->ops->row(s, bad, 2), 0);
    assert_int_equal(s->ops->row(s, good, 2), 0);
    s->ops->end(s, 1);
    s->ops->error(s, true, slice_str("x"));
    parts_expect(&p,
                 "[{\"columns\":[\"n\",\"c\"],\"types\":[\"int\",\"date\"],\"values\":[[1,"
                 "\"2021-03-04T05:06:07Z\"]],\"error\":\"Time.MarshalText: year outside of range "
                 "[0,9999]\"},{\"error\":\"x\"}]");
}

static void test_what_failed_as_a_whole_stands_last_when_a_part_has_left(void **state)
{
    struct parts p;
    (void)state;
    leave_two_rows(&p, 0, "INT");
    p.run.sink->ops->end(p.run.sink, 1);
    p.run.sink->ops->request_error(p.run.sink, slice_str("too late"));
    parts_expect(&p, "[{\"columns\":[\"c\"],\"types\":[\"int\"],\"values\":[[1],[1],[1]]},{"
                     "\"error\":\"too late\"}]");
}

static void test_infinity_ends_a_result_of_parts(void **state)
{
    const struct db_value infinite = real(-INFINITY);
    struct parts p;
    (void)state;
    leave_two_rows(&p, 0, "REAL");
    assert_int_equal(p.run.sink->ops->row(p.run.sink, &infinite, 1), 0);
    assert_false(api_codec()->sink_pause(p.run.sink)); /* the row does not leave */
    assert_int_equal(buf_slice(&p.run.out).data[0], 'F');
    parts_fini(&p);
    leave_two_rows(&p, 0, "REAL");
    assert_int_equal(p.run.sink->ops->row(p.run.sink, &infinite, 1), 0);
    p.run.sink->ops->end(p.run.sink, 1);
    api_codec()->sink_finish(p.run.sink);
    assert_int_equal(buf_slice(&p.run.out).data[0], 'F');
    parts_fini(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_write_results_leave_out_zeros),
        cmocka_unit_test(test_associative_writes_are_marked_by_null_rows),
        cmocka_unit_test(test_rows_default_form),
        cmocka_unit_test(test_rows_associative_form_sorts_and_keeps_the_later_of_equal_names),
        cmocka_unit_test(test_pretty_is_indented_for_its_place_in_the_envelope),
        cmocka_unit_test(test_undeclared_types_come_from_the_first_row),
        cmocka_unit_test(test_blobs),
        cmocka_unit_test(test_booleans_by_exactly_that_type),
        cmocka_unit_test(test_moments),
        cmocka_unit_test(test_a_year_beyond_9999_fails_the_statement_only),
        cmocka_unit_test(test_a_row_that_fails_behind_its_key_is_taken_back),
        cmocka_unit_test(test_an_error_after_rows_takes_them_back),
        cmocka_unit_test(test_infinity_fails_the_whole_answer),
        cmocka_unit_test(test_numbers_and_strings),
        cmocka_unit_test(test_reset_forgets_and_request_errors_replace_everything),
        cmocka_unit_test(test_a_result_over_the_limit_stops_the_rows),
        cmocka_unit_test(test_parts_make_the_same_whole),
        cmocka_unit_test(test_an_error_stands_behind_rows_that_have_left),
        cmocka_unit_test(test_a_row_that_cannot_be_shown_is_not_half_there),
        cmocka_unit_test(test_what_failed_as_a_whole_stands_last_when_a_part_has_left),
        cmocka_unit_test(test_infinity_ends_a_result_of_parts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
