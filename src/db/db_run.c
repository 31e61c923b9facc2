/* db_run.c — one SQL text: every statement of it runs, in order; the result is that of the last one that
 * is not empty; at the first failure the rest of the text is skipped and the result is the error.
 *
 * A failure of the machine noted while a statement ran is returned, whatever SQLite made of it, success
 * included: a result may have been built on it.
 *
 *   mode       reads nothing back            rows
 *   EXECUTE    SELECT (stepped once), DML    DML with RETURNING
 *   REQUEST    DML, other changes            everything that reads, EXPLAIN, RETURNING
 *   QUERY      (a change is an error)        everything */
#include "db_int.h"

enum { RUN_COLUMNS_SMALL = 32 };

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
    if (!both) {
        (void)db_now_failed(ERR_NOMEM);
        return slice_str(name);
    }
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
        return db_now_failed(ERR_NOMEM);
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
        return db_now_failed(ERR_NOMEM);
    for (int i = 0; i < count; i++)
        read_value(s, i, &values[i]);
    int rc = r->sink->ops->row(r->sink, values, (uint32_t)count);
    if (values != small)
        mem_free(values);
    return rc;
}

/* ---- stepping ------------------------------------------------------------------------------------------------ */

/* To the end, rows told if somebody looks. A sink that is full stops listening, never a statement of an
 * entry: it must end the same on every node, and most have no sink. */
static void step_rows(const struct db_run *r, const struct db_stmt *s, bool tell, struct outcome *o)
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
        if (o->sink_stopped && !r->digest)
            break; /* a read, which leaves no trace */
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

static const char query_changes_text[] = "attempt to change database via query operation";

static const char *error_words(const struct db_run *r, int rc)
{
    const struct db_now *now = db_now();

    if (rc == SQLITE_INTERRUPT)
        return r->timeout_text;
    if ((rc & 0xFF) == SQLITE_AUTH && now->refused)
        return now->refused;
    if ((rc & 0xFF) == SQLITE_READONLY)
        return query_changes_text;
    return sqlite3_errmsg(r->conn);
}

static void fold_outcome(const struct db_run *r, const struct outcome *o)
{
    if (!r->digest)
        return;
    db_fold(r->digest, (uint64_t)(o->rc & 0xFF) << 32 ^ o->rows);
    db_fold(r->digest, (uint64_t)sqlite3_last_insert_rowid(r->conn));
    db_fold(r->digest, (uint64_t)sqlite3_changes64(r->conn));
}

/* The end of a statement that did not succeed, and was not the machine's fault. */
static bool fail(const struct db_run *r, bool as_query, int sqlite_rc, const char *text)
{
    struct outcome o = {.rc = sqlite_rc};

    if (r->sink)
        r->sink->ops->error(r->sink, as_query, slice_str(text));
    fold_outcome(r, &o);
    return false;
}

bool db_run_late(const struct db_run *r)
{
    return r->deadline_ns && env_now_ns(r->env) >= r->deadline_ns;
}

/* What a read may not even begin. PRAGMAs have been judged by the guard while preparing. */
static bool changes_in_query(const struct db_run *r, const struct db_stmt *s)
{
    return r->mode == DB_RUN_QUERY && !s->read_only && !s->is_explain && !s->is_pragma;
}

/* Bind, step, tell. False: it failed, or the machine did. */
static bool run_statement(const struct db_run *r, struct db_stmt *s, uint32_t from, bool last)
{
    char text[400];
    struct outcome o;
    uint64_t began = clock_of(r);
    bool rows = gives_rows(r, s), tell = rows && last && r->sink;
    bool as_query = r->mode != DB_RUN_EXECUTE && s->read_only;

    if (changes_in_query(r, s))
        return fail(r, true, SQLITE_READONLY, query_changes_text);
    if (db_run_late(r))
        return fail(r, as_query, SQLITE_INTERRUPT, r->timeout_text);
    if (!db_bind(s, &r->params, from, text, sizeof(text)))
        return fail(r, as_query, SQLITE_RANGE, text);
    step(r, s, rows, tell, &o);
    if (db_now()->machine_rc)
        return false;
    if (o.rc != SQLITE_DONE && o.rc != SQLITE_ROW)
        return fail(r, as_query, o.rc, error_words(r, o.rc));
    (void)sqlite3_reset(s->stmt);
    fold_outcome(r, &o);
    if (!last || !r->sink)
        return true;
    if (rows)
        r->sink->ops->end(r->sink, clock_of(r) - began);
    else
        r->sink->ops->write(r->sink, sqlite3_last_insert_rowid(r->conn), sqlite3_changes64(r->conn),
                            clock_of(r) - began);
    return true;
}

static bool begins_with(struct slice sql, const char *word)
{
    struct sql_token t;
    struct sql_tokens tokens;

    sql_tokens_init(&tokens, sql);
    do {
        t = sql_tokens_next(&tokens);
    } while (t.kind == SQL_TOKEN_SEMICOLON);
    return sql_token_is(t, word);
}

/* ANALYZE writes its table in the order of a hash table of SQLite's, which follows from the history of this
 * connection: creations and drops, or a reading of the whole schema after a rollback. Read anew it follows
 * from the schema alone. */
static int forget_schema_order(const struct db_run *r)
{
    enum db_guard_mode mode = r->guard->mode;

    r->guard->mode = DB_GUARD_OFF;
    int rc = db_exec(r->conn, "PRAGMA writable_schema=RESET", NULL);
    r->guard->mode = mode;
    return rc ? db_now_failed(rc) : 0;
}

/* The statement in front of *rest, from the cache or prepared; *rest moves behind it. False: it cannot be
 * prepared, or the machine failed. *out NULL: nothing but comments. */
static bool take_statement(const struct db_run *r, struct slice *rest, struct db_stmt **out)
{
    struct slice tail = slice_of(rest->data + rest->len, 0);

    r->guard->vacuum = false;
    *out = db_stmts_find(r->stmts, *rest, r->stmts->count ? db_stmts_hash(*rest) : 0);
    if (*out) {
        db_stmts_used(r->stmts, *out);
        *rest = tail;
        return true;
    }
    r->guard->vacuum = begins_with(*rest, "VACUUM");
    if (r->guard->vacuum && r->mode == DB_RUN_QUERY) /* preparing is enough to draw from chance */
        return fail(r, true, SQLITE_READONLY, query_changes_text);
    if (r->digest && begins_with(*rest, "ANALYZE") && forget_schema_order(r))
        return false;
    int rc = db_stmts_prepare(r->stmts, r->conn, *rest, out, &tail);
    if (db_now()->machine_rc == 0 && rc == SQLITE_OK) {
        *rest = tail;
        return true;
    }
    if (*out)
        db_stmt_release(*out);
    if (db_now()->machine_rc)
        return false;
    if (r->schema_touched && sql_classify(*rest) > SQL_CLASS_TRANSACTION)
        *r->schema_touched = true; /* a PRAGMA may have run before the error was met */
    return fail(r, r->mode == DB_RUN_QUERY, rc, error_words(r, rc));
}

/* A statement that did not merely read or change rows, or a rollback: what is cached may be stale. */
static void note_schema(const struct db_run *r, bool plain, bool was_in_transaction, bool ok)
{
    bool rolled_back = was_in_transaction && !ok && sqlite3_get_autocommit(r->conn);

    if (r->schema_touched && (!plain || (rolled_back && *r->schema_touched))) {
        *r->schema_touched = true;
        db_stmts_clear(r->stmts);
    }
}

/* One statement from the front of *rest. False: the text is over: done, failed, stopped, or the machine
 * failed. */
static bool run_next(struct db_run *r, struct slice *rest, uint32_t *from, bool *ran, bool *ok)
{
    bool was_in_transaction = !sqlite3_get_autocommit(r->conn);
    struct db_stmt *s;

    db_now_statement();
    *ok = take_statement(r, rest, &s);
    bool last = rest->len == 0 || sql_classify(*rest) == SQL_CLASS_EMPTY;
    if (*ok && s) {
        bool plain = s->plain;
        *ran = true;
        *ok = run_statement(r, s, *from, last);
        *from += (uint32_t)s->param_count;
        db_stmt_release(s);
        note_schema(r, plain, was_in_transaction, *ok);
    }
    r->stopped = r->in_batch && sqlite3_get_autocommit(r->conn);
    return *ok && !last && !r->stopped && db_now()->machine_rc == 0;
}

int db_run_text(struct db_run *r, struct slice sql, bool *ok)
{
    struct slice rest = sql;
    uint32_t from = 0;
    bool ran = false;

    *ok = true;
    if (sql.len == 0)
        return 0; /* the empty string: no entry at all */
    while (run_next(r, &rest, &from, &ran, ok))
        ;
    if (db_now()->machine_rc)
        return db_now()->machine_rc;
    if (!ran && *ok && r->sink)
        r->sink->ops->blank(r->sink, r->mode == DB_RUN_QUERY);
    return 0;
}
