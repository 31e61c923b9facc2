/* db_fixture.h — a node's database on a simulated disk, entries from short texts, and a sink that writes
 * down everything it is told. Shared by the db tests; all static, each program has its own. */
#ifndef DB_FIXTURE_H
#define DB_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "env/env_sim.h"
#include <rq/db.h>
#include <rq/util/crc.h>
#include <rq/util/mem.h>
#include <rq/util/prng.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define UNUSED __attribute__((unused))
/* Several texts, and how many. */
#define ARRAY(...)                                                                                 \
    ((const char *const[]){__VA_ARGS__}), sizeof((const char *[]){__VA_ARGS__}) / sizeof(char *)
#define US "\x1f" /* between an SQL text and its parameters: "SELECT ?" US "i5" */

/* ---- what a sink was told -------------------------------------------------------------------------- */

struct record {
    struct db_sink sink; /* first */
    char *text;
    size_t len, cap;
    size_t notes;      /* of text, in front: what a request error leaves standing */
    uint32_t rows_max; /* then row() says stop; 0: never */
    uint32_t rows;
    struct env *tick; /* each row takes a millisecond; NULL: no time */
};

static void put(struct record *r, const char *bytes, size_t len)
{
    if (r->len + len + 1 > r->cap) {
        r->cap = (r->len + len + 1) * 2;
        r->text = realloc(r->text, r->cap);
    }
    memcpy(r->text + r->len, bytes, len);
    r->len += len;
    r->text[r->len] = '\0';
}

static void PRINTF_LIKE(2, 3) say(struct record *r, const char *fmt, ...)
{
    char line[600];
    va_list ap;

    va_start(ap, fmt);
    int n = vsnprintf(line, sizeof(line), fmt, ap);
    va_end(ap);
    put(r, line, (size_t)n < sizeof(line) ? (size_t)n : sizeof(line) - 1);
}

static void on_reset(struct db_sink *s)
{
    struct record *r = (struct record *)s;
    r->len = 0;
    r->notes = 0;
    r->rows = 0;
    if (r->text)
        r->text[0] = '\0';
}

static void on_note(struct db_sink *s, enum db_note note, uint64_t index)
{
    static const char *const words[] = {"", "replayed", "key reused", "unmet"};
    struct record *r = (struct record *)s;

    assert_int_equal(r->len, r->notes); /* before all else */
    say(r, "note %s %llu\n", words[note], (unsigned long long)index);
    r->notes = r->len;
}

static void on_blank(struct db_sink *s, bool as_query)
{
    say((struct record *)s, "blank%s\n", as_query ? " query" : "");
}

static void on_write(struct db_sink *s, int64_t id, int64_t rows, uint64_t elapsed)
{
    (void)elapsed;
    say((struct record *)s, "write %lld %lld\n", (long long)id, (long long)rows);
}

static void on_columns(struct db_sink *s, const struct db_columns *c)
{
    for (uint32_t i = 0; i < c->count; i++)
        say((struct record *)s, "%s%.*s:%.*s", i ? "," : "columns ", (int)c->names[i].len,
            (const char *)c->names[i].data, (int)c->decltypes[i].len,
            c->decltypes[i].len ? (const char *)c->decltypes[i].data : "");
    say((struct record *)s, "\n");
}

static int on_row(struct db_sink *s, const struct db_value *v, uint32_t count)
{
    struct record *r = (struct record *)s;

    for (uint32_t i = 0; i < count; i++) {
        say(r, "%s", i ? "|" : "row ");
        if (v[i].type == DB_NULL)
            say(r, "null");
        else if (v[i].type == DB_INTEGER)
            say(r, "%lld", (long long)v[i].integer);
        else if (v[i].type == DB_REAL)
            say(r, "%.17gr", v[i].real);
        else if (v[i].bytes.len)
            put(r, (const char *)v[i].bytes.data, v[i].bytes.len);
    }
    say(r, "\n");
    if (r->tick)
        assert_true(env_sim_advance(r->tick, ENV_MS_NS));
    return r->rows_max && ++r->rows >= r->rows_max;
}

static void on_end(struct db_sink *s, uint64_t elapsed)
{
    (void)elapsed;
    say((struct record *)s, "end\n");
}

static void on_error(struct db_sink *s, bool as_query, struct slice text)
{
    say((struct record *)s, "error%s %.*s\n", as_query ? " query" : "", (int)text.len,
        (const char *)text.data);
}

static void on_request_error(struct db_sink *s, struct slice text)
{
    struct record *r = (struct record *)s;

    r->len = r->notes;
    say(r, "request error %.*s\n", (int)text.len, (const char *)text.data);
}

static UNUSED void record_init(struct record *r)
{
    static const struct db_sink_ops ops = {.reset = on_reset,
                                           .note = on_note,
                                           .blank = on_blank,
                                           .write = on_write,
                                           .columns = on_columns,
                                           .row = on_row,
                                           .end = on_end,
                                           .error = on_error,
                                           .request_error = on_request_error};
    memset(r, 0, sizeof(*r));
    r->sink.ops = &ops;
    put(r, "", 0);
}

static UNUSED void record_fini(struct record *r)
{
    free(r->text);
}

/* ---- payloads --------------------------------------------------------------------------------------- */

struct payload {
    uint8_t *bytes;
    size_t len;
};

static void add_param(struct buf *b, char *text)
{
    struct wire_param p;
    char *equals = text[0] == '$' ? strchr(text, '=') : NULL;

    memset(&p, 0, sizeof(p));
    if (equals) {
        p.name = slice_of(text + 1, (size_t)(equals - text) - 1);
        text = equals + 1;
    }
    switch (text[0]) {
    case 'i':
        p.type = WIRE_INTEGER;
        p.integer = strtoll(text + 1, NULL, 10);
        break;
    case 'r':
        p.type = WIRE_REAL;
        p.real = strtod(text + 1, NULL);
        break;
    case 't':
    case 'b':
        p.type = text[0] == 't' ? WIRE_TEXT : WIRE_BLOB;
        p.bytes = slice_str(text + 1);
        break;
    default:
        p.type = WIRE_NULL;
    }
    wire_cmd_param(b, &p);
}

static void add_statement(struct buf *b, const char *text)
{
    char *copy = strdup(text), *next = strchr(copy, US[0]);
    size_t len = next ? (size_t)(next - copy) : strlen(copy);

    wire_cmd_statement(b, slice_of(copy, len));
    while (next) {
        char *at = next + 1;
        next = strchr(at, US[0]);
        if (next)
            *next = '\0';
        add_param(b, at);
    }
    free(copy);
}

/* kind: 'e' execute, 'r' request, 'q' query, 'u' the leader's own; a capital letter: with the transaction flag. */
static UNUSED struct payload payload_make_keyed(char kind, struct slice key, const char *const *sql,
                                                size_t count)
{
    struct buf b;
    struct payload p;
    char lower = (char)(kind | 0x20);

    buf_init(&b, 16 * 1024 * 1024);
    wire_cmd_begin(&b,
                   lower == 'q'   ? WIRE_CMD_QUERY
                   : lower == 'r' ? WIRE_CMD_REQUEST
                                  : WIRE_CMD_EXECUTE,
                   kind < 'a'     ? WIRE_CMD_TRANSACTION
                   : lower == 'u' ? WIRE_CMD_UPKEEP
                                  : 0,
                   key);
    for (size_t i = 0; i < count; i++)
        add_statement(&b, sql[i]);
    assert_int_equal(wire_cmd_finish(&b), 0);
    p.len = buf_len(&b);
    p.bytes = malloc(p.len);
    memcpy(p.bytes, buf_slice(&b).data, p.len);
    buf_fini(&b);
    return p;
}

static UNUSED struct payload payload_make(char kind, const char *const *sql, size_t count)
{
    return payload_make_keyed(kind, slice_of(NULL, 0), sql, count);
}

/* ---- database files ------------------------------------------------------------------------------------ */

static int file_reserve_bytes; /* of each page, of the next files */

/* A file of the given page size, made by SQL; free() it. */
static UNUSED struct payload file_make(int page_bytes, const char *sql)
{
    struct payload p;
    sqlite3 *conn;
    sqlite3_int64 len;
    char page[64];

    assert_int_equal(sqlite3_open(":memory:", &conn), SQLITE_OK);
    snprintf(page, sizeof(page), "PRAGMA page_size=%d;", page_bytes);
    assert_int_equal(sqlite3_exec(conn, page, NULL, NULL, NULL), SQLITE_OK);
    int reserve = file_reserve_bytes;
    if (reserve)
        assert_int_equal(sqlite3_file_control(conn, "main", SQLITE_FCNTL_RESERVE_BYTES, &reserve),
                         0);
    if (sqlite3_exec(conn, sql, NULL, NULL, NULL))
        fail_msg("%s: %s", sql, sqlite3_errmsg(conn));
    unsigned char *bytes = sqlite3_serialize(conn, "main", &len, 0);
    assert_non_null(bytes);
    p.len = (size_t)len;
    p.bytes = malloc(p.len);
    memcpy(p.bytes, bytes, p.len);
    p.bytes[18] = p.bytes[19] = 2; /* as a load has it */
    sqlite3_free(bytes);
    assert_int_equal(sqlite3_close(conn), SQLITE_OK);
    return p;
}

static UNUSED struct payload load_make(enum wire_cmd_kind kind, const struct wire_load *l)
{
    struct buf b;
    struct payload p;

    buf_init(&b, 16 * 1024 * 1024);
    assert_int_equal(wire_cmd_load(&b, kind, l), 0);
    p.len = buf_len(&b);
    p.bytes = malloc(p.len);
    memcpy(p.bytes, buf_slice(&b).data, p.len);
    buf_fini(&b);
    return p;
}

/* ---- a node ------------------------------------------------------------------------------------------ */

struct node_db {
    struct sim_disk *disk;
    struct env *env;
    struct db *db;
    struct db_config config;
    uint64_t next; /* index */
    struct record last;
};

static UNUSED void node_db_open(struct node_db *n)
{
    struct err_text why = {{0}};
    int rc = db_open(n->env, &n->config, NULL, &n->db, &why);
    if (rc)
        print_message("db_open: %s\n", why.text);
    assert_int_equal(rc, 0);
    n->next = 1;
}

static UNUSED void node_db_init(struct node_db *n, uint64_t seed, const struct db_config *config)
{
    struct sim_disk_config disk;

    memset(n, 0, sizeof(*n));
    sim_disk_config_default(&disk, seed);
    n->disk = sim_disk_create(&disk);
    n->env = env_sim_create(n->disk, seed);
    env_sim_wall_set(n->env, 1700000000000000000 + (int64_t)seed * 86400 * 1000000007);
    n->config = *config;
    char folder[100];
    snprintf(folder, sizeof(folder), "%s", config->path);
    if (strrchr(folder, '/')) {
        *strrchr(folder, '/') = '\0';
        assert_int_equal(env_dir_create(n->env, folder), 0);
    }
    record_init(&n->last);
    node_db_open(n);
}

static UNUSED void node_db_fini(struct node_db *n)
{
    if (n->db)
        db_close(n->db);
    env_sim_destroy(n->env);
    sim_disk_destroy(n->disk);
    record_fini(&n->last);
}

static UNUSED struct db_config config_default(void)
{
    return (struct db_config){.path = "n/db.sqlite",
                              .statement_cache = 100,
                              .batch_max = 64,
                              .cache_pages = 2000,
                              .wal_limit_bytes = 1 << 20};
}

/* Apply a payload, sealed, and return what its sink was told. Takes it. */
static UNUSED const char *apply_payload(struct node_db *n, struct payload p, uint32_t sink_flags)
{
    struct err_text why;

    on_reset(&n->last.sink);
    struct db_entry e = {.index = n->next,
                         .term = 1,
                         .kind = RAFT_ENTRY_NORMAL,
                         .payload = slice_of(p.bytes, p.len),
                         .sink = &n->last.sink,
                         .sink_flags = sink_flags};
    assert_int_equal(db_apply(n->db, &e, 1, &why), 0);
    n->next++;
    free(p.bytes);
    return n->last.text;
}

static UNUSED const char *apply_many(struct node_db *n, char kind, const char *const *sql,
                                     size_t count)
{
    struct payload p = payload_make(kind, sql, count);

    wire_cmd_seal(p.bytes, p.len, 1700000000123456789 + (int64_t)n->next * 1000000000, n->next * 7);
    return apply_payload(n, p, 0);
}

static UNUSED const char *apply(struct node_db *n, char kind, const char *sql)
{
    return apply_many(n, kind, &sql, 1);
}

/* Entries 1 … count in calls of at_once; told[i] gets what is said of each, if sinks. Frees the payloads. */
static UNUSED void apply_in_calls(struct node_db *n, struct payload *p, uint32_t count,
                                  uint32_t at_once, struct record *told, bool sinks)
{
    struct db_entry *entries = calloc(count, sizeof(*entries));
    struct err_text why;

    assert_non_null(entries);
    for (uint32_t i = 0; i < count; i++) {
        record_init(&told[i]);
        entries[i] = (struct db_entry){.index = i + 1,
                                       .term = 1,
                                       .kind = RAFT_ENTRY_NORMAL,
                                       .payload = slice_of(p[i].bytes, p[i].len),
                                       .sink = sinks ? &told[i].sink : NULL};
    }
    for (uint32_t i = 0; i < count; i += at_once)
        assert_int_equal(
            db_apply(n->db, entries + i, count - i < at_once ? count - i : at_once, &why), 0);
    for (uint32_t i = 0; i < count; i++)
        free(p[i].bytes);
    free(entries);
}

static UNUSED const char *query(struct db_reader *r, struct record *out, char kind, const char *sql)
{
    struct payload p = payload_make(kind, &sql, 1);
    struct db_query q = {
        .payload = slice_of(p.bytes, p.len), .transaction = kind < 'a', .sink = &out->sink};
    struct err_text why;

    on_reset(&out->sink);
    assert_int_equal(db_query(r, &q, &why), 0);
    free(p.bytes);
    return out->text;
}

static UNUSED void library_once(void)
{
    static bool done;
    if (!done)
        assert_int_equal(db_library_init(true), 0);
    done = true;
}

#endif
