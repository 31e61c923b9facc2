/* api_encode — results as JSON, written while rows are stepped (http-api.md §5). Runs in the lane that
 * has the rows, on whatever node executes; the envelope around it is written by the node that was asked
 * (api_db.c), which also reads the first byte:
 *
 *   'R' [ {…}, {…} ]       the array of results
 *   'E' words              the request as a whole failed: the envelope's "error"
 *   'F' words              the results cannot be represented: a 500
 *   'U' words, 'K' words   an "error" too: the condition was not met (412), the key is another's (422)
 *   'P' u64 …              the outcome of the entry of that index, met again by its key; then one of the above
 *
 * An entry's start is remembered: a statement that fails after its first rows is cut back to it. Types
 * of undeclared columns need the first row's values, so the head of an entry waits for it.
 *
 * A large result goes out in parts, each with its first byte; the array goes on from one 'R' to the next.
 * What has left cannot be cut back: the error then stands behind the entry's rows. An 'F' after an 'R'
 * says that the rest cannot be shown. */
#include "api_int.h"

#include <rq/util/endian.h>

struct encoder {
    struct db_sink sink; /* first: the door's type */
    struct buf *out;
    size_t came_at;     /* length of out when we came */
    size_t begun_at;    /* where the answer's first byte is; later if it is a replayed one */
    uint8_t error_kind; /* first byte of a request's error */
    uint32_t options;
    struct json_writer writer;
    bool parted;       /* a part has left */
    bool entry_parted; /* … in the middle of the current entry's rows */
    size_t entry_at;   /* length of out, and the writer, where the current entry begins */
    struct json_writer entry_writer;
    struct arena arena; /* of the current statement's columns */
    struct api_column *columns;
    uint32_t *order; /* associative: columns by name, the later of equal names only */
    uint32_t column_count, order_count;
    bool head_written;
    bool
        statement_failed; /* by us, in the middle of its rows: what db still says of it is not shown */
    bool request_over;
    int infinity, entry_infinity; /* sign of one that was met; before the current entry */
};

static bool encode_has(const struct encoder *e, uint32_t option)
{
    return (e->options & option) != 0;
}

static struct encoder *encoder_of(struct db_sink *s)
{
    return (struct encoder *)(void *)s;
}

static void encode_begin(struct encoder *e)
{
    buf_truncate(e->out, e->begun_at);
    buf_append_byte(e->out, API_BODY_RESULTS);
    json_writer_init(&e->writer, e->out, encode_has(e, API_ENCODE_PRETTY), 1);
    json_array_begin(&e->writer);
    e->infinity = 0;
    e->request_over = false;
    e->statement_failed = false;
}

static void entry_begin(struct encoder *e)
{
    e->entry_at = buf_len(e->out);
    e->entry_writer = e->writer;
    e->entry_infinity = e->infinity;
    e->entry_parted = false;
    e->head_written = false;
    json_object_begin(&e->writer);
}

static void entry_time(struct encoder *e, uint64_t elapsed_ns)
{
    if (!encode_has(e, API_ENCODE_TIMINGS))
        return;
    json_key_str(&e->writer, "time");
    json_real(&e->writer, (double)elapsed_ns / 1e9);
}

static void entry_empty_rows(struct encoder *e)
{
    json_key_str(&e->writer, "rows");
    json_array_begin(&e->writer);
    json_array_end(&e->writer);
}

static void entry_error(struct encoder *e, bool as_query, struct slice text)
{
    entry_begin(e);
    if (as_query && encode_has(e, API_ENCODE_ASSOCIATIVE))
        entry_empty_rows(e);
    json_key_str(&e->writer, "error");
    json_string(&e->writer, text);
    json_object_end(&e->writer);
}

/* Take back what the current entry wrote. */
static void entry_undo(struct encoder *e)
{
    ASSERT(!e->entry_parted);
    if (e->out->failed)
        return;
    buf_truncate(e->out, e->entry_at);
    e->writer = e->entry_writer;
    e->infinity = e->entry_infinity;
}

/* The current entry, some of which may have been written or have left, becomes an error. */
static void entry_fail(struct encoder *e, bool as_query, struct slice text)
{
    if (!e->entry_parted) {
        if (e->writer.depth > 1)
            entry_undo(e);
        entry_error(e, as_query, text);
        return;
    }
    json_array_end(&e->writer); /* a part ends behind a row */
    json_key_str(&e->writer, "error");
    json_string(&e->writer, text);
    json_object_end(&e->writer);
    e->entry_parted = false;
}

/* ---- columns ------------------------------------------------------------------------------------------------ */

static struct slice copy_lower(struct arena *a, struct slice text)
{
    char *copy = arena_dup(a, text.data, text.len);
    if (!copy)
        return slice_of(NULL, 0);
    for (size_t i = 0; i < text.len; i++)
        if (copy[i] >= 'A' && copy[i] <= 'Z')
            copy[i] = (char)(copy[i] + ('a' - 'A'));
    return slice_of(copy, text.len);
}

static int compare_names(struct slice a, struct slice b)
{
    const size_t len = a.len < b.len ? a.len : b.len;
    const int c = len == 0 ? 0 : memcmp(a.data, b.data, len);
    return c != 0 ? c : (a.len > b.len) - (a.len < b.len);
}

/* Insertion into the sorted order; a later column of the same name takes the place. */
static void order_insert(struct encoder *e, uint32_t column)
{
    uint32_t at = e->order_count;
    while (at > 0) {
        const int c = compare_names(e->columns[e->order[at - 1]].name, e->columns[column].name);
        if (c == 0) {
            e->order[at - 1] = column;
            return;
        }
        if (c < 0)
            break;
        at--;
    }
    memmove(&e->order[at + 1], &e->order[at], (e->order_count - at) * sizeof *e->order);
    e->order[at] = column;
    e->order_count++;
}

static void sink_columns(struct db_sink *s, const struct db_columns *c)
{
    struct encoder *e = encoder_of(s);
    entry_begin(e);
    arena_reset(&e->arena);
    e->column_count = 0;
    e->order_count = 0;
    e->columns = arena_alloc(&e->arena, (c->count + 1) * sizeof *e->columns);
    e->order = arena_alloc(&e->arena, (c->count + 1) * sizeof *e->order);
    if (!e->columns || !e->order) {
        e->out->failed = ERR_NOMEM;
        return;
    }
    for (uint32_t i = 0; i < c->count; i++) {
        struct api_column *column = &e->columns[i];
        const struct slice name = c->names[i];
        const char *copy = arena_dup(&e->arena, name.data, name.len);
        if (!copy) {
            e->out->failed = ERR_NOMEM;
            return;
        }
        column->name = slice_of(copy, name.len);
        column->declared = c->decltypes[i].len > 0;
        column->type = copy_lower(&e->arena, c->decltypes[i]);
        api_column_classify(column);
        if (encode_has(e, API_ENCODE_ASSOCIATIVE))
            order_insert(e, i);
    }
    e->column_count = c->count;
}

static void head_default(struct encoder *e)
{
    struct json_writer *w = &e->writer;
    json_key_str(w, "columns");
    json_array_begin(w);
    for (uint32_t i = 0; i < e->column_count; i++)
        json_string(w, e->columns[i].name);
    json_array_end(w);
    json_key_str(w, "types");
    json_array_begin(w);
    for (uint32_t i = 0; i < e->column_count; i++)
        json_string(w, e->columns[i].type);
    json_array_end(w);
}

static void head_associative(struct encoder *e)
{
    struct json_writer *w = &e->writer;
    json_key_str(w, "types");
    json_object_begin(w);
    for (uint32_t i = 0; i < e->order_count; i++) {
        json_key(w, e->columns[e->order[i]].name);
        json_string(w, e->columns[e->order[i]].type);
    }
    json_object_end(w);
}

/* Names and types. first: values of the first row, NULL if there are none. */
static void head_write(struct encoder *e, const struct db_value *first)
{
    for (uint32_t i = 0; first && i < e->column_count; i++) {
        if (e->columns[i].declared)
            continue;
        e->columns[i].type = slice_str(api_value_type(&first[i]));
        api_column_classify(&e->columns[i]);
    }
    if (e->column_count > 0) {
        if (encode_has(e, API_ENCODE_ASSOCIATIVE))
            head_associative(e);
        else
            head_default(e);
    }
    if (first) {
        json_key_str(&e->writer, encode_has(e, API_ENCODE_ASSOCIATIVE) ? "rows" : "values");
        json_array_begin(&e->writer);
    }
    e->head_written = true;
}

/* ---- rows ---------------------------------------------------------------------------------------------------- */

/* A row that fails is left open: the caller takes it back. */
static int row_default(struct encoder *e, const struct db_value *values)
{
    const bool blob_array = encode_has(e, API_ENCODE_BLOB_ARRAY);
    int rc = 0;
    json_array_begin(&e->writer);
    for (uint32_t i = 0; rc == 0 && i < e->column_count; i++)
        rc = api_value_write(&e->writer, &e->columns[i], &values[i], blob_array, &e->infinity);
    if (rc == 0)
        json_array_end(&e->writer);
    return rc;
}

static int row_associative(struct encoder *e, const struct db_value *values)
{
    const bool blob_array = encode_has(e, API_ENCODE_BLOB_ARRAY);
    int rc = 0;
    json_object_begin(&e->writer);
    for (uint32_t i = 0; rc == 0 && i < e->order_count; i++) {
        const uint32_t column = e->order[i];
        json_key(&e->writer, e->columns[column].name);
        rc = api_value_write(&e->writer, &e->columns[column], &values[column], blob_array,
                             &e->infinity);
    }
    if (rc == 0)
        json_object_end(&e->writer);
    return rc;
}

static int sink_row(struct db_sink *s, const struct db_value *values, uint32_t count)
{
    struct encoder *e = encoder_of(s);
    if (e->out->failed)
        return e->out->failed;
    if (e->statement_failed)
        return 0;
    ASSERT(count == e->column_count);
    if (!e->head_written)
        head_write(e, values);
    const size_t row_at = buf_len(e->out);
    const struct json_writer row_writer = e->writer;
    const int rc =
        encode_has(e, API_ENCODE_ASSOCIATIVE) ? row_associative(e, values) : row_default(e, values);
    if (rc != 0 && !e->out->failed) {
        buf_truncate(e->out, row_at);
        e->writer = row_writer;
        entry_fail(e, true, slice_str("Time.MarshalText: year outside of range [0,9999]"));
        e->statement_failed = true;
    }
    return e->out->failed;
}

static void sink_end(struct db_sink *s, uint64_t elapsed_ns)
{
    struct encoder *e = encoder_of(s);
    if (e->statement_failed || e->out->failed) {
        e->statement_failed = false;
        return;
    }
    const bool had_rows = e->head_written;
    if (had_rows)
        json_array_end(&e->writer);
    else
        head_write(e, NULL);
    if (!had_rows && encode_has(e, API_ENCODE_ASSOCIATIVE))
        entry_empty_rows(e);
    entry_time(e, elapsed_ns);
    json_object_end(&e->writer);
    e->entry_parted = false;
}

/* ---- other entries ----------------------------------------------------------------------------------------------- */

static void sink_reset(struct db_sink *s)
{
    struct encoder *e = encoder_of(s);
    e->begun_at = e->came_at;
    e->error_kind = API_BODY_ERROR;
    encode_begin(e);
}

static void sink_note(struct db_sink *s, enum db_note note, uint64_t index)
{
    struct encoder *e = encoder_of(s);
    uint8_t bytes[8];
    switch (note) {
    case DB_NOTE_REPLAYED:
        buf_truncate(e->out, e->begun_at);
        put_u64(bytes, index);
        buf_append_byte(e->out, API_BODY_REPLAYED);
        buf_append(e->out, bytes, sizeof bytes);
        e->begun_at = buf_len(e->out);
        encode_begin(e);
        return;
    case DB_NOTE_UNMET:
        e->error_kind = API_BODY_UNMET;
        return;
    case DB_NOTE_KEY_REUSED:
        e->error_kind = API_BODY_KEY_REUSED;
        return;
    }
}

static void sink_blank(struct db_sink *s, bool as_query)
{
    struct encoder *e = encoder_of(s);
    entry_begin(e);
    if (as_query && encode_has(e, API_ENCODE_ASSOCIATIVE))
        entry_empty_rows(e);
    json_object_end(&e->writer);
}

static void sink_write(struct db_sink *s, int64_t last_insert_id, int64_t rows_affected,
                       uint64_t elapsed_ns)
{
    struct encoder *e = encoder_of(s);
    struct json_writer *w = &e->writer;
    entry_begin(e);
    if (last_insert_id != 0) {
        json_key_str(w, "last_insert_id");
        json_i64(w, last_insert_id);
    }
    if (rows_affected != 0) {
        json_key_str(w, "rows_affected");
        json_i64(w, rows_affected);
    }
    entry_time(e, elapsed_ns);
    if (encode_has(e, API_ENCODE_ASSOCIATIVE)) {
        json_key_str(w, "rows");
        json_null(w);
    }
    json_object_end(w);
}

/* Of a statement that never began, or of one whose columns (and rows) went out: w.depth tells. */
static void sink_error(struct db_sink *s, bool as_query, struct slice text)
{
    struct encoder *e = encoder_of(s);
    if (e->statement_failed || e->out->failed) {
        e->statement_failed = false;
        return;
    }
    entry_fail(e, as_query, text);
}

static void sink_request_error(struct db_sink *s, struct slice text)
{
    struct encoder *e = encoder_of(s);
    if (e->parted) { /* the results cannot be voided any more: it stands behind them */
        entry_error(e, true, text);
        return;
    }
    buf_truncate(e->out, e->begun_at);
    buf_append_byte(e->out, e->error_kind);
    buf_append_slice(e->out, text);
    e->request_over = true;
}

/* ---- life ----------------------------------------------------------------------------------------------------------- */

static void encode_fail(struct encoder *e, const char *text)
{
    buf_truncate(e->out, e->begun_at);
    buf_append_byte(e->out, API_BODY_FAIL);
    buf_append_str(e->out, text);
}

/* Does something forbid to show the results? Then the answer says what. */
static bool encode_failed(struct encoder *e)
{
    if (e->out->failed == ERR_TOO_BIG)
        encode_fail(e, "result is larger than the limit");
    else if (e->out->failed)
        encode_fail(e, "out of memory while encoding the result");
    else if (e->infinity != 0 && !e->request_over)
        encode_fail(e, e->infinity > 0 ? "json: error calling MarshalJSON for type "
                                         "*http.DBResults: json: unsupported value: +Inf"
                                       : "json: error calling MarshalJSON for type "
                                         "*http.DBResults: json: unsupported value: -Inf");
    else
        return false;
    return true;
}

static void codec_finish(struct db_sink *s)
{
    struct encoder *e = encoder_of(s);
    if (encode_failed(e) || e->request_over)
        return;
    json_array_end(&e->writer);
    (void)encode_failed(e);
}

static bool codec_pause(struct db_sink *s)
{
    struct encoder *e = encoder_of(s);
    ASSERT(!e->request_over);
    return !encode_failed(e);
}

static void codec_resume(struct db_sink *s)
{
    struct encoder *e = encoder_of(s);
    ASSERT(buf_len(e->out) == 0);
    e->begun_at = 0;
    e->parted = true;
    e->entry_parted = e->writer.depth > 1;
    buf_append_byte(e->out, API_BODY_RESULTS);
}

static const struct db_sink_ops sink_ops = {
    .reset = sink_reset,
    .note = sink_note,
    .blank = sink_blank,
    .write = sink_write,
    .columns = sink_columns,
    .row = sink_row,
    .end = sink_end,
    .error = sink_error,
    .request_error = sink_request_error,
};

static struct db_sink *codec_new(uint32_t encode_options, struct buf *out)
{
    enum { COLUMNS_BYTES_MAX = 64 * 1024 * 1024 };
    struct encoder *e = mem_zalloc(sizeof *e);
    if (!e)
        return NULL;
    e->sink.ops = &sink_ops;
    e->out = out;
    e->came_at = buf_len(out);
    e->begun_at = e->came_at;
    e->error_kind = API_BODY_ERROR;
    e->options = encode_options;
    arena_init(&e->arena, COLUMNS_BYTES_MAX);
    encode_begin(e);
    return &e->sink;
}

static void codec_free(struct db_sink *s)
{
    struct encoder *e = encoder_of(s);
    arena_fini(&e->arena);
    mem_free(e);
}

static struct slice codec_error_of(struct slice body)
{
    const bool failed =
        body.len > 1 && body.data[0] != API_BODY_RESULTS && body.data[0] != API_BODY_REPLAYED;
    return failed ? slice_of(body.data + 1, body.len - 1) : slice_of(NULL, 0);
}

static const struct node_codec codec = {
    .sink_new = codec_new,
    .sink_finish = codec_finish,
    .sink_pause = codec_pause,
    .sink_resume = codec_resume,
    .sink_free = codec_free,
    .error_of = codec_error_of,
    .qualify_columns_option = API_ENCODE_QUALIFY,
    .phases_option = API_ENCODE_PHASES,
};

const struct node_codec *api_codec(void)
{
    return &codec;
}
