/* db_record.c — the outcome of an entry with an idempotency key, written down while it is told, and told
 * again later (db_once.c). Equal on all nodes: everything that a sink is told but how long it took, and the
 * columns' tables, because one asker wants names qualified and another does not.
 *
 *   outcome:   u8 form: 0 calls follow; 1 larger than LIMIT_KEY_OUTCOME_BYTES, nothing follows
 *   calls:     'b' u8 as_query                       'e'
 *              'w' i64 last_insert_id, i64 rows      'x' u8 as_query, text         an error
 *              'c' u32 count, count × (name, table, decltype: texts)
 *              'r' values, as many as there are columns
 *              'X' u8 note or 0, text                the request's error; nothing before it counts
 *   text:      u32 length, bytes
 *   value:     u8 type; INTEGER i64; REAL f64 bits; TEXT, BLOB as a text
 *
 * Integers are little-endian. A client that can take no more rows does not keep others from being written
 * down: most nodes have no client at all. */
#include "db_int.h"
#include <rq/util/endian.h>

enum { FORM_CALLS = 0, FORM_TOO_LARGE = 1, CELLS_MAX = 32767, NAMES_BYTES_MAX = 16 * 1024 * 1024 };

static struct db_record *record_of(struct db_sink *s)
{
    return (struct db_record *)(void *)s;
}

/* ---- writing down ---------------------------------------------------------------------------------- */

static void put_int(struct buf *b, uint64_t v)
{
    uint8_t bytes[8];

    put_u64(bytes, v);
    (void)buf_append(b, bytes, sizeof(bytes));
}

static void put_count(struct buf *b, uint32_t v)
{
    uint8_t bytes[4];

    put_u32(bytes, v);
    (void)buf_append(b, bytes, sizeof(bytes));
}

static void put_text(struct buf *b, struct slice text)
{
    put_count(b, (uint32_t)text.len);
    (void)buf_append_slice(b, text);
}

static void put_value(struct buf *b, const struct db_value *v)
{
    uint64_t bits = (uint64_t)v->integer;

    (void)buf_append_byte(b, (uint8_t)v->type);
    switch (v->type) {
    case DB_NULL:
        break;
    case DB_REAL:
        memcpy(&bits, &v->real, sizeof(bits));
        put_int(b, bits);
        break;
    case DB_INTEGER:
        put_int(b, bits);
        break;
    case DB_TEXT:
    case DB_BLOB:
        put_text(b, v->bytes);
        break;
    }
}

/* ---- names ------------------------------------------------------------------------------------------ */

/* A name that there is no room to qualify stays as it is: it is one asker's, and no outcome. */
static struct slice qualified(struct slice table, struct slice name, struct arena *a)
{
    char *both = table.len ? arena_alloc(a, table.len + 1 + name.len) : NULL;

    if (!both)
        return name;
    memcpy(both, table.data, table.len);
    both[table.len] = '.';
    if (name.len)
        memcpy(both + table.len + 1, name.data, name.len);
    return slice_of(both, table.len + 1 + name.len);
}

/* To a client: as it wants the names. */
static void tell_columns(struct db_sink *client, bool qualify, const struct db_columns *c)
{
    struct db_columns told = *c;
    struct arena a;

    told.tables = NULL;
    arena_init(&a, NAMES_BYTES_MAX);
    struct slice *names = qualify ? arena_alloc(&a, (c->count + 1) * sizeof(*names)) : NULL;
    for (uint32_t i = 0; names && i < c->count; i++)
        names[i] = qualified(c->tables[i], c->names[i], &a);
    if (names)
        told.names = names;
    client->ops->columns(client, &told);
    arena_fini(&a);
}

/* ---- the sink ----------------------------------------------------------------------------------------- */

static void on_reset(struct db_sink *s)
{
    struct db_record *r = record_of(s);

    if (r->client)
        r->client->ops->reset(r->client);
    buf_truncate(&r->bytes, 0);
    (void)buf_append_byte(&r->bytes, FORM_CALLS);
}

static void on_blank(struct db_sink *s, bool as_query)
{
    struct db_record *r = record_of(s);

    if (r->client)
        r->client->ops->blank(r->client, as_query);
    (void)buf_append_byte(&r->bytes, 'b');
    (void)buf_append_byte(&r->bytes, as_query);
}

static void on_write(struct db_sink *s, int64_t last_insert_id, int64_t rows_affected,
                     uint64_t elapsed_ns)
{
    struct db_record *r = record_of(s);

    if (r->client)
        r->client->ops->write(r->client, last_insert_id, rows_affected, elapsed_ns);
    (void)buf_append_byte(&r->bytes, 'w');
    put_int(&r->bytes, (uint64_t)last_insert_id);
    put_int(&r->bytes, (uint64_t)rows_affected);
}

static void on_columns(struct db_sink *s, const struct db_columns *c)
{
    struct db_record *r = record_of(s);

    ASSERT(c->tables); /* struct db_run's `tables` was set */
    ASSERT(c->count <= CELLS_MAX);
    r->client_full = false;
    if (r->client)
        tell_columns(r->client, r->qualify, c);
    (void)buf_append_byte(&r->bytes, 'c');
    put_count(&r->bytes, c->count);
    for (uint32_t i = 0; i < c->count; i++) {
        put_text(&r->bytes, c->names[i]);
        put_text(&r->bytes, c->tables[i]);
        put_text(&r->bytes, c->decltypes[i]);
    }
}

static int on_row(struct db_sink *s, const struct db_value *values, uint32_t count)
{
    struct db_record *r = record_of(s);

    if (r->client && !r->client_full)
        r->client_full = r->client->ops->row(r->client, values, count) != 0;
    (void)buf_append_byte(&r->bytes, 'r');
    for (uint32_t i = 0; i < count && !r->bytes.failed; i++)
        put_value(&r->bytes, &values[i]);
    return r->bytes.failed && (!r->client || r->client_full) ? r->bytes.failed : 0;
}

static void on_end(struct db_sink *s, uint64_t elapsed_ns)
{
    struct db_record *r = record_of(s);

    if (r->client)
        r->client->ops->end(r->client, elapsed_ns);
    (void)buf_append_byte(&r->bytes, 'e');
}

static void on_error(struct db_sink *s, bool as_query, struct slice text)
{
    struct db_record *r = record_of(s);

    if (r->client)
        r->client->ops->error(r->client, as_query, text);
    (void)buf_append_byte(&r->bytes, 'x');
    (void)buf_append_byte(&r->bytes, as_query);
    put_text(&r->bytes, text);
}

static void on_note(struct db_sink *s, enum db_note note, uint64_t index)
{
    struct db_record *r = record_of(s);

    if (r->client && r->client->ops->note)
        r->client->ops->note(r->client, note, index);
    r->note = note;
}

static void on_request_error(struct db_sink *s, struct slice text)
{
    struct db_record *r = record_of(s);

    if (r->client)
        r->client->ops->request_error(r->client, text);
    buf_truncate(&r->bytes, 0);
    (void)buf_append_byte(&r->bytes, FORM_CALLS);
    (void)buf_append_byte(&r->bytes, 'X');
    (void)buf_append_byte(&r->bytes, (uint8_t)r->note);
    put_text(&r->bytes, text);
}

void db_record_init(struct db_record *r)
{
    buf_init(&r->bytes, LIMIT_KEY_OUTCOME_BYTES);
}

void db_record_fini(struct db_record *r)
{
    buf_fini(&r->bytes);
}

struct db_sink *db_record_begin(struct db_record *r, struct db_sink *client, bool qualify)
{
    static const struct db_sink_ops ops = {
        .reset = on_reset,
        .note = on_note,
        .blank = on_blank,
        .write = on_write,
        .columns = on_columns,
        .row = on_row,
        .end = on_end,
        .error = on_error,
        .request_error = on_request_error,
    };

    r->sink.ops = &ops;
    r->client = client;
    r->qualify = qualify;
    r->client_full = false;
    r->note = 0;
    buf_reset(&r->bytes, LIMIT_KEY_OUTCOME_BYTES);
    (void)buf_append_byte(&r->bytes, FORM_CALLS);
    return &r->sink;
}

int db_record_end(struct db_record *r, struct slice *outcome)
{
    static const uint8_t too_large[] = {FORM_TOO_LARGE};

    ASSERT(r->bytes.failed || buf_len(&r->bytes) > 0);
    *outcome = buf_slice(&r->bytes);
    if (r->bytes.failed == ERR_TOO_BIG)
        *outcome = slice_of(too_large, sizeof(too_large));
    else if (r->bytes.failed)
        return r->bytes.failed;
    return 0;
}

/* ---- telling again ------------------------------------------------------------------------------------- */

struct replay {
    struct slice rest;
    bool bad;
    struct db_sink *client;
    bool qualify, client_full;
    struct arena arena; /* of the columns at hand */
    uint32_t count;
    struct db_value *values;
};

/* The next len bytes, at most 8; zeros when there are not as many. */
static const uint8_t *take(struct replay *p, size_t len)
{
    static const uint8_t zeros[8];
    const uint8_t *at = p->rest.data;

    ASSERT(len <= sizeof(zeros));
    if (p->bad || len > p->rest.len) {
        p->bad = true;
        return zeros;
    }
    p->rest = slice_of(at + len, p->rest.len - len);
    return at;
}

static struct slice take_text(struct replay *p)
{
    uint32_t len = get_u32(take(p, 4));
    struct slice text = slice_of(p->rest.data, len);

    if (p->bad || len > p->rest.len) {
        p->bad = true;
        return slice_of(NULL, 0);
    }
    p->rest = slice_of(text.data + len, p->rest.len - len);
    return text;
}

static void take_value(struct replay *p, struct db_value *v)
{
    uint8_t type = *take(p, 1);

    memset(v, 0, sizeof(*v));
    if (type == DB_INTEGER || type == DB_REAL) {
        uint64_t bits = get_u64(take(p, 8));
        v->integer = type == DB_INTEGER ? (int64_t)bits : 0;
        if (type == DB_REAL)
            memcpy(&v->real, &bits, sizeof(bits));
    } else if (type == DB_TEXT || type == DB_BLOB) {
        v->bytes = take_text(p);
    } else if (type != DB_NULL) {
        p->bad = true;
        return;
    }
    v->type = (enum db_type)type;
}

static int replay_columns(struct replay *p)
{
    uint32_t count = get_u32(take(p, 4));

    arena_reset(&p->arena);
    if (count > CELLS_MAX)
        return ERR_CORRUPT;
    struct slice *texts = arena_alloc(&p->arena, ((size_t)count * 3 + 1) * sizeof(*texts));
    p->values = arena_alloc(&p->arena, (count + 1) * sizeof(*p->values));
    if (!texts || !p->values)
        return ERR_NOMEM;
    struct slice *names = texts, *tables = texts + count, *types = texts + 2 * (size_t)count;
    for (uint32_t i = 0; i < count; i++) {
        names[i] = take_text(p);
        tables[i] = take_text(p);
        types[i] = take_text(p);
    }
    const struct db_columns c = {
        .count = count, .names = names, .decltypes = types, .tables = tables};
    p->count = count;
    p->client_full = false;
    if (!p->bad)
        tell_columns(p->client, p->qualify, &c);
    return 0;
}

static void replay_row(struct replay *p)
{
    for (uint32_t i = 0; i < p->count; i++)
        take_value(p, &p->values[i]);
    if (!p->bad && !p->client_full)
        p->client_full = p->client->ops->row(p->client, p->values, p->count) != 0;
}

static void replay_error(struct replay *p, bool of_request)
{
    uint8_t flag = *take(p, 1);
    struct slice text = take_text(p);

    if (p->bad)
        return;
    if (!of_request) {
        p->client->ops->error(p->client, flag != 0, text);
        return;
    }
    if (flag && p->client->ops->note)
        p->client->ops->note(p->client, (enum db_note)flag, 0);
    p->client->ops->request_error(p->client, text);
}

static int replay_call(struct replay *p)
{
    const struct db_sink_ops *ops = p->client->ops;
    uint8_t call = *take(p, 1);
    const uint8_t *at;

    switch (call) {
    case 'b':
        ops->blank(p->client, *take(p, 1) != 0);
        return 0;
    case 'w':
        at = take(p, 8);
        ops->write(p->client, (int64_t)get_u64(at), (int64_t)get_u64(take(p, 8)), 0);
        return 0;
    case 'c':
        return replay_columns(p);
    case 'r':
        replay_row(p);
        return 0;
    case 'e':
        ops->end(p->client, 0);
        return 0;
    case 'x':
    case 'X':
        replay_error(p, call == 'X');
        return 0;
    default:
        return ERR_CORRUPT;
    }
}

int db_record_replay(struct slice outcome, uint64_t index, struct db_sink *client, bool qualify)
{
    struct replay p = {.rest = outcome, .client = client, .qualify = qualify};
    int rc = 0;

    ASSERT(index > 0);
    if (client->ops->note)
        client->ops->note(client, DB_NOTE_REPLAYED, index);
    if (*take(&p, 1) == FORM_TOO_LARGE) {
        char text[120];
        (void)snprintf(text, sizeof(text),
                       "the request was applied at index %llu; its answer was too large to be kept",
                       (unsigned long long)index);
        client->ops->request_error(client, slice_str(text));
        return 0;
    }
    arena_init(&p.arena, NAMES_BYTES_MAX);
    while (rc == 0 && !p.bad && p.rest.len)
        rc = replay_call(&p);
    arena_fini(&p.arena);
    return rc ? rc : p.bad ? ERR_CORRUPT : 0;
}
