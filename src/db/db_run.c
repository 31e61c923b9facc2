/* db_run.c — one SQL text: every statement of it runs, in order; the result is that of the last one that
 * is not empty; at the first failure the rest of the text is skipped and the result is the error.
 *
 *   mode       reads nothing back            rows
 *   EXECUTE    SELECT (stepped once), DML    DML with RETURNING
 *   REQUEST    DML, other changes            everything that reads, EXPLAIN, RETURNING
 *   QUERY      (a change is an error)        everything */
#include "db_int.h"

enum { RUN_COLUMNS_SMALL = 32 };

void db_fold(uint64_t *digest, uint64_t value)
{
    *digest = prng_mix(*digest, value);
}

struct outcome { /* of one statement */
    int rc;
    uint64_t rows;
    bool sink_stopped;
};

static uint64_t clock_of(const struct db_run *r)
{
    return r->sink ? env_now_ns(r->env) : 0; /* only for timings somebody may look at */
}

/* ---- rows ------------------------------------------------------------------------------------------------- */

static void read_value(sqlite3_stmt *s, int i, struct db_value *v)
{
    memset(v, 0, sizeof(*v));
    switch (sqlite3_column_type(s, i)) {
    case SQLITE_INTEGER:
        v->type = DB_INTEGER;
        v->integer = sqlite3_column_int64(s, i);
        return;
    case SQLITE_FLOAT:
        v->type = DB_REAL;
        v->real = sqlite3_column_double(s, i);
        return;
    case SQLITE_TEXT:
        v->type = DB_TEXT;
        v->bytes.data = sqlite3_column_text(s, i);
        v->bytes.len = (size_t)sqlite3_column_bytes(s, i);
        return;
    case SQLITE_BLOB:
        v->type = DB_BLOB;
        v->bytes.data = sqlite3_column_blob(s, i);
        v->bytes.len = (size_t)sqlite3_column_bytes(s, i);
        return;
    default:
        v->type = DB_NULL;
        return;
    }
}

/* "table.column" for columns that come straight from a table, when asked for. */
static struct slice column_name(const struct db_run *r, sqlite3_stmt *s, int i, struct arena *a)
{
    const char *name = sqlite3_column_name(s, i);
    const char *table = r->qualify ? sqlite3_column_table_name(s, i) : NULL;

    if (!name)
        name = "";
    if (!table)
        return slice_str(name);
    size_t len = strlen(table) + 1 + strlen(name);
    char *both = arena_alloc(a, len + 1);
    if (!both)
        return slice_str(name);
    (void)snprintf(both, len + 1, "%s.%s", table, name);
    return slice_of(both, len);
}

static int tell_columns(const struct db_run *r, sqlite3_stmt *s, int count)
{
    struct slice small[2 * RUN_COLUMNS_SMALL];
    struct slice *names = small;
    struct arena a;

    if (count > RUN_COLUMNS_SMALL)
        names = mem_alloc((size_t)count * 2 * sizeof(*names));
    if (!names)
        return ERR_NOMEM;
    struct slice *types = names + count;
    arena_init(&a, 16 * 1024 * 1024);
    for (int i = 0; i < count; i++) {
        const char *type = sqlite3_column_decltype(s, i);
        names[i] = column_name(r, s, i, &a);
        types[i] = type ? slice_str(type) : slice_of(NULL, 0);
    }
    struct db_columns c = {.count = (uint32_t)count, .names = names, .decltypes = types};
    r->sink->ops->columns(r->sink, &c);
    arena_fini(&a);
    if (names != small)
        mem_free(names);
    return 0;
}

static int tell_row(const struct db_run *r, sqlite3_stmt *s, int count)
{
    struct db_value small[RUN_COLUMNS_SMALL];
    struct db_value *values = small;

    if (count > RUN_COLUMNS_SMALL)
        values = mem_alloc((size_t)count * sizeof(*values));
    if (!values)
        return ERR_NOMEM;
    for (int i = 0; i < count; i++)
        read_value(s, i, &values[i]);
    int rc = r->sink->ops->row(r->sink, values, (uint32_t)count);
    if (values != small)
        mem_free(values);
    return rc;
}

/* ---- stepping ------------------------------------------------------------------------------------------------ */

/* To the end, rows told if somebody looks (a sink that is full stops listening, never the statement: it
 * must do the same on every node). */
static void step_rows(const struct db_run *r, struct db_stmt *s, bool tell, struct outcome *o)
{
    bool told = false;

    while ((o->rc = sqlite3_step(s->stmt)) == SQLITE_ROW) {
        int count = sqlite3_column_count(s->stmt);
        if (tell && !told)
            o->sink_stopped = tell_columns(r, s->stmt, count) != 0;
        told = true;
        if (tell && !o->sink_stopped)
            o->sink_stopped = tell_row(r, s->stmt, count) != 0;
        o->rows++;
        if (o->sink_stopped && s->read_only)
            break; /* a read has no effect to finish */
    }
    if (o->rc == SQLITE_DONE && tell && !told)
        (void)tell_columns(r, s->stmt, sqlite3_column_count(s->stmt));
}

static bool gives_rows(const struct db_run *r, const struct db_stmt *s)
{
    if (r->mode == DB_RUN_QUERY)
        return true;
    if (s->is_dml && s->column_count > 0)
        return true; /* RETURNING */
    return r->mode == DB_RUN_REQUEST && (s->read_only || s->is_explain);
}

static void step(const struct db_run *r, struct db_stmt *s, bool rows, bool tell, struct outcome *o)
{
    memset(o, 0, sizeof(*o));
    if (rows) {
        step_rows(r, s, tell, o);
        return;
    }
    o->rc = sqlite3_step(s->stmt);
    if (o->rc == SQLITE_ROW) { /* a SELECT given to execute: stepped once, rows discarded */
        o->rows = 1;
        o->rc = s->read_only ? SQLITE_DONE : SQLITE_ROW;
    }
    while (o->rc == SQLITE_ROW)
        o->rc = sqlite3_step(s->stmt);
}

/* ---- outcomes --------------------------------------------------------------------------------------------------- */

static const char *error_words(const struct db_run *r, int rc)
{
    const struct db_now *now = db_now();

    if (rc == SQLITE_INTERRUPT)
        return r->timeout_text;
    if ((rc & 0xFF) == SQLITE_AUTH && now->refused)
        return now->refused;
    if ((rc & 0xFF) == SQLITE_READONLY)
        return "attempt to change database via query operation";
    return sqlite3_errmsg(r->conn);
}

static void tell_error(const struct db_run *r, bool as_query, const char *text)
{
    if (r->sink)
        r->sink->ops->error(r->sink, as_query, slice_str(text));
}

static void note_sticky(const struct db_run *r, const struct db_stmt *s)
{
    if (!r->last_insert_id)
        return;
    *r->last_insert_id = sqlite3_last_insert_rowid(r->conn);
    if (s->is_dml)
        *r->rows_affected = sqlite3_changes64(r->conn);
}

static void fold_outcome(const struct db_run *r, const struct outcome *o)
{
    if (!r->digest)
        return;
    db_fold(r->digest, (uint64_t)(o->rc & 0xFF) << 32 | o->rows);
    db_fold(r->digest, (uint64_t)*r->last_insert_id);
    db_fold(r->digest, (uint64_t)*r->rows_affected);
}

/* Bind, step, tell. *machine: ERR_* when the machine failed. */
static bool run_statement(struct db_run *r, struct db_stmt *s, uint32_t from, bool last,
                          int *machine)
{
    char text[400];
    struct outcome o;
    uint64_t began = clock_of(r);
    bool rows = gives_rows(r, s), tell = rows && last && r->sink;
    bool as_query = r->mode != DB_RUN_EXECUTE && s->read_only;

    if (r->mode == DB_RUN_QUERY && !s->read_only && !s->is_explain) {
        tell_error(r, true, "attempt to change database via query operation");
        return false;
    }
    if (!db_bind(s, &r->params, from, text, sizeof(text))) {
        tell_error(r, as_query, text);
        memset(&o, 0, sizeof(o));
        o.rc = SQLITE_RANGE;
        fold_outcome(r, &o);
        return false;
    }
    step(r, s, rows, tell, &o);
    if (o.rc != SQLITE_DONE && o.rc != SQLITE_ROW) {
        *machine = db_now_machine(o.rc);
        if (*machine)
            return false;
        tell_error(r, as_query, error_words(r, o.rc));
        if (s->is_dml && r->rows_affected)
            *r->rows_affected = sqlite3_changes64(r->conn);
        fold_outcome(r, &o);
        return false;
    }
    (void)sqlite3_reset(s->stmt); /* commits, in autocommit */
    note_sticky(r, s);
    fold_outcome(r, &o);
    if (last && r->sink && rows)
        r->sink->ops->end(r->sink, clock_of(r) - began);
    else if (last && r->sink)
        r->sink->ops->write(r->sink, r->last_insert_id ? *r->last_insert_id : 0,
                            r->rows_affected ? *r->rows_affected : 0, clock_of(r) - began);
    return true;
}

static bool is_vacuum(struct slice sql)
{
    struct sql_tokens t;
    sql_tokens_init(&t, sql);
    return sql_token_is(sql_tokens_next(&t), "VACUUM");
}

/* One statement from the front of *rest. false: the text is over (done, failed or stopped). */
static bool run_next(struct db_run *r, struct slice *rest, uint32_t *from, bool *ran, bool *ok,
                     int *machine)
{
    struct slice tail = slice_of(rest->data + rest->len, 0);
    struct outcome o = {0};

    db_now_statement();
    r->guard->vacuum = is_vacuum(*rest);
    struct db_stmt *s = db_stmts_find(r->stmts, *rest);
    if (!s) {
        o.rc = db_stmts_prepare(r->stmts, r->conn, *rest, &s, &tail);
        if (o.rc != SQLITE_OK) {
            *machine = db_now_machine(o.rc);
            if (*machine == 0) {
                tell_error(r, r->mode == DB_RUN_QUERY, error_words(r, o.rc));
                fold_outcome(r, &o);
            }
            *ok = false;
            return false;
        }
    }
    *rest = tail;
    bool last = tail.len == 0 || sql_classify(tail) == SQL_CLASS_EMPTY;
    if (s) {
        *ran = true;
        *ok = run_statement(r, s, *from, last, machine);
        *from += (uint32_t)s->param_count;
        db_stmt_release(s);
        if (*machine == 0 && r->after && r->after(r->after_ctx))
            r->stopped = true;
    }
    return *ok && !last && !r->stopped;
}

int db_run_text(struct db_run *r, struct slice sql, bool *ok)
{
    struct slice rest = sql;
    uint32_t from = 0;
    bool ran = false;
    int machine = 0;

    *ok = true;
    if (sql.len == 0)
        return 0; /* the empty string: no entry at all */
    while (run_next(r, &rest, &from, &ran, ok, &machine))
        ;
    if (machine)
        return machine;
    if (!ran && *ok && r->sink)
        r->sink->ops->blank(r->sink, r->mode == DB_RUN_QUERY);
    return 0;
}
