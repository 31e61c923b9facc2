/* db_run.c — one SQL text: every statement of it runs, in order; the result is that of the last one that
 * is not empty; at the first failure the rest of the text is skipped and the result is the error.
 *
 * A failure of the machine noted while a statement ran is returned, whatever SQLite made of it, success
 * included: a result may have been built on it.
 *
 * A read may pause behind any row of the last statement; all that is needed to go on stands in r->at.
 *
 *   mode       reads nothing back            rows
 *   EXECUTE    SELECT (stepped once), DML    DML with RETURNING
 *   REQUEST    DML, other changes            everything that reads, EXPLAIN, RETURNING
 *   QUERY      (a change is an error)        everything */
#include "db_int.h"

enum { RUN_COLUMNS_SMALL = 32 };

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
    struct slice small[3 * RUN_COLUMNS_SMALL];
    struct slice *names = small;
    struct arena a;

    ASSERT(r->sink && count >= 0);
    if (count > RUN_COLUMNS_SMALL)
        names = mem_alloc((size_t)count * 3 * sizeof(*names));
    if (!names)
        return db_now_failed(ERR_NOMEM);
    struct slice *types = names + count, *tables = r->tables ? types + count : NULL;
    arena_init(&a, 16 * 1024 * 1024);
    for (int i = 0; i < count; i++) {
        const char *type = sqlite3_column_decltype(s, i);
        names[i] = column_name(r, s, i, &a);
        types[i] = type ? slice_str(type) : slice_of(NULL, 0);
        const char *table = tables ? sqlite3_column_table_name(s, i) : NULL;
        if (tables)
            tables[i] = table ? slice_str(table) : slice_of(NULL, 0);
    }
    struct db_columns c = {
        .count = (uint32_t)count, .names = names, .decltypes = types, .tables = tables};
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
    ASSERT(count > 0); /* it has columns, or gives no rows */
    for (int i = 0; i < count; i++)
        read_value(s, i, &values[i]);
    ASSERT(r->at.told); /* rows come behind their columns */
    int rc = r->sink->ops->row(r->sink, values, (uint32_t)count);
    if (values != small)
        mem_free(values);
    return rc;
}

/* ---- stepping ------------------------------------------------------------------------------------------------ */

/* To the end, or to a pause; rows told if somebody looks. A sink that is full stops listening, never a
 * statement of an entry: it must end the same on every node, and most have no sink. */
static void step_rows(struct db_run *r)
{
    struct db_run_at *at = &r->at;
    sqlite3_stmt *s = at->stmt->stmt;

    ASSERT(!at->paused);
    while ((at->rc = sqlite3_step(s)) == SQLITE_ROW) {
        int count = sqlite3_column_count(s);
        if (at->tell && !at->told)
            at->sink_stopped = tell_columns(r, s, count) != 0;
        at->told = true;
        if (at->tell && !at->sink_stopped)
            at->sink_stopped = tell_row(r, s, count) != 0;
        at->row_count++;
        if (at->sink_stopped && !r->digest)
            return; /* a read, which leaves no trace */
        at->paused = at->tell && r->pause && db_now()->machine_rc == 0 && r->pause(r->pause_ctx);
        if (at->paused)
            return;
    }
    if (at->rc == SQLITE_DONE && at->tell && !at->told)
        (void)tell_columns(r, s, sqlite3_column_count(s));
}

static bool gives_rows(const struct db_run *r, const struct db_stmt *s)
{
    if (r->mode == DB_RUN_QUERY)
        return true;
    if (s->is_dml && s->column_count > 0)
        return true; /* RETURNING */
    return r->mode == DB_RUN_REQUEST && (s->read_only || s->is_explain);
}

static void step(struct db_run *r)
{
    struct db_run_at *at = &r->at;

    if (at->rows) {
        step_rows(r);
        return;
    }
    at->rc = sqlite3_step(at->stmt->stmt);
    if (at->rc == SQLITE_ROW) { /* a SELECT given to execute: stepped once, rows discarded */
        at->row_count = 1;
        at->rc = at->stmt->read_only ? SQLITE_DONE : SQLITE_ROW;
    }
    while (at->rc == SQLITE_ROW)
        at->rc = sqlite3_step(at->stmt->stmt);
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

static void fold_outcome(const struct db_run *r, int sqlite_rc, uint64_t rows)
{
    if (!r->digest)
        return;
    db_fold(r->digest, (uint64_t)(sqlite_rc & 0xFF) << 32 ^ rows);
    db_fold(r->digest, (uint64_t)sqlite3_last_insert_rowid(r->conn));
    db_fold(r->digest, (uint64_t)sqlite3_changes64(r->conn));
}

/* The end of a statement that did not succeed, and was not the machine's fault. */
static bool fail(const struct db_run *r, bool as_query, int sqlite_rc, const char *text)
{
    if (r->sink)
        r->sink->ops->error(r->sink, as_query, slice_str(text));
    fold_outcome(r, sqlite_rc, 0);
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

static bool as_query(const struct db_run *r, const struct db_stmt *s)
{
    return r->mode != DB_RUN_EXECUTE && s->read_only;
}

/* May r->at.stmt be stepped? Bind. False: it failed. */
static bool statement_begin(struct db_run *r)
{
    struct db_run_at *at = &r->at;
    char text[400];

    at->began_ns = clock_of(r);
    at->rows = gives_rows(r, at->stmt);
    at->tell = at->rows && at->last && r->sink;
    at->told = false;
    at->sink_stopped = false;
    at->row_count = 0;
    if (changes_in_query(r, at->stmt))
        return fail(r, true, SQLITE_READONLY, query_changes_text);
    if (db_run_late(r))
        return fail(r, as_query(r, at->stmt), SQLITE_INTERRUPT, r->timeout_text);
    if (!db_bind(at->stmt, &r->params, at->from, text, sizeof(text)))
        return fail(r, as_query(r, at->stmt), SQLITE_RANGE, text);
    return true;
}

/* It was stepped to its end: tell. False: it failed, or the machine did. */
static bool statement_end(const struct db_run *r)
{
    const struct db_run_at *at = &r->at;

    if (db_now()->machine_rc)
        return false;
    if (at->rc != SQLITE_DONE && at->rc != SQLITE_ROW)
        return fail(r, as_query(r, at->stmt), at->rc, error_words(r, at->rc));
    (void)sqlite3_reset(at->stmt->stmt);
    fold_outcome(r, at->rc, at->row_count);
    if (r->changed && !at->stmt->read_only && !at->stmt->is_dml && !at->stmt->is_explain)
        *r->changed = true;
    if (!at->last || !r->sink)
        return true;
    if (at->rows)
        r->sink->ops->end(r->sink, clock_of(r) - at->began_ns);
    else
        r->sink->ops->write(r->sink, sqlite3_last_insert_rowid(r->conn), sqlite3_changes64(r->conn),
                            clock_of(r) - at->began_ns);
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

    ASSERT(mode == DB_GUARD_WRITER);
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

static bool statement_over(struct db_run *r, bool ok)
{
    struct db_run_at *at = &r->at;
    bool plain = at->stmt->plain;

    ASSERT(!at->paused);
    at->from += (uint32_t)at->stmt->param_count;
    db_stmt_release(at->stmt);
    at->stmt = NULL;
    note_schema(r, plain, at->was_in_transaction, ok);
    return ok;
}

/* Step r->at.stmt to its end, or to a pause. False: it failed. */
static bool run_on(struct db_run *r)
{
    ASSERT(r->at.stmt);
    step(r);
    return r->at.paused || statement_over(r, statement_end(r));
}

/* The statement in front of what is left. False: it failed. */
static bool run_next(struct db_run *r)
{
    struct db_run_at *at = &r->at;

    ASSERT(!at->stmt);
    at->was_in_transaction = !sqlite3_get_autocommit(r->conn);
    db_now_statement();
    bool ok = take_statement(r, &at->rest, &at->stmt);
    at->last = at->rest.len == 0 || sql_classify(at->rest) == SQL_CLASS_EMPTY;
    if (!ok)
        at->stmt = NULL;
    if (!at->stmt)
        return ok;
    at->ran = true;
    return statement_begin(r) ? run_on(r) : statement_over(r, false);
}

/* Statements until the text is over: done, failed, stopped, paused, or the machine failed. ok: of the one just
 * run. */
static int run_text(struct db_run *r, bool *ok)
{
    struct db_run_at *at = &r->at;

    for (;;) {
        if (at->paused)
            return DB_MORE;
        ASSERT(!at->stmt);
        r->stopped = r->in_batch && sqlite3_get_autocommit(r->conn);
        if (!*ok || at->last || r->stopped || db_now()->machine_rc)
            break;
        *ok = run_next(r);
    }
    if (db_now()->machine_rc)
        return db_now()->machine_rc;
    if (!at->ran && *ok && r->sink)
        r->sink->ops->blank(r->sink, r->mode == DB_RUN_QUERY);
    return 0;
}

int db_run_text(struct db_run *r, struct slice sql, bool *ok)
{
    ASSERT(!r->at.stmt); /* one text at a time */
    *ok = true;
    if (sql.len == 0)
        return 0; /* the empty string: no entry at all */
    memset(&r->at, 0, sizeof(r->at));
    r->at.rest = sql;
    *ok = run_next(r);
    return run_text(r, ok);
}

int db_run_resume(struct db_run *r, uint64_t paused_ns, bool *ok)
{
    ASSERT(r->at.paused && r->at.stmt);
    r->at.paused = false;
    r->at.began_ns += paused_ns;
    *ok = run_on(r);
    return run_text(r, ok);
}

void db_run_end(struct db_run *r)
{
    if (r->at.stmt)
        db_stmt_release(r->at.stmt);
    memset(&r->at, 0, sizeof(r->at));
}
