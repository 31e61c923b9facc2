/* db_cond.c — conditions of writes, judged where the entry is applied, in front of its statements, so that
 * every node judges alike: what is in the log before the entry has been applied, nothing behind it has.
 *
 *   if_index   nothing was changed by an entry behind that index (struct db's changed_index)
 *   if, is     a query gives exactly these rows; without `is`: at least one
 *
 * The query runs as a read through the log does: it changes nothing, and sees what entries may see. */
#include "db_int.h"

/* ---- what may be asked --------------------------------------------------------------------------- */

static const char *text_refused(struct slice sql)
{
    struct sql_tokens t;
    struct slice rest = sql, statement;

    if (!sql_split_next(&rest, &statement))
        return "a condition must be a query";
    sql_tokens_init(&t, statement);
    struct sql_token first = sql_tokens_next(&t);
    while (first.kind == SQL_TOKEN_SEMICOLON)
        first = sql_tokens_next(&t);
    if (!sql_token_is(first, "SELECT") && !sql_token_is(first, "VALUES") &&
        !sql_token_is(first, "WITH"))
        return "a condition must be a query: SELECT, VALUES or WITH";
    if (sql_split_next(&rest, &statement))
        return "a condition must be one statement";
    return NULL;
}

static struct slice query_of(const struct wire_cmd *c, struct wire_cmd *condition, uint32_t *params)
{
    struct slice sql = slice_of(NULL, 0);

    wire_cmd_if_open(c, condition);
    if (wire_cmd_next(condition, &sql, params))
        UNREACHABLE(); /* wire_cmd_open has seen it */
    return sql;
}

const char *db_condition_refused(struct slice payload)
{
    struct wire_cmd c, condition;
    uint32_t params;

    if (wire_cmd_open(payload, false, &c) || !(c.flags & WIRE_CMD_IF))
        return NULL;
    return text_refused(query_of(&c, &condition, &params));
}

/* ---- the rows ---------------------------------------------------------------------------------------- */

struct judge {
    struct db_sink sink;  /* first */
    bool exactly;         /* these rows; else any */
    struct wire_cmd rows; /* wanted, those not met yet */
    uint64_t count;       /* of rows met */
    bool differs;
    struct err_text *why;
    bool failed;
};

static struct judge *judge_of(struct db_sink *s)
{
    return (struct judge *)(void *)s;
}

/* As SQLite compares them: 5 is 5.0. 2^63 is the first real that no integer equals. */
static bool number_equal(int64_t integer, double real)
{
    const double limit = 9223372036854775808.0;

    return real >= -limit && real < limit && (int64_t)real == integer &&
           !((double)(int64_t)real < real) && !((double)(int64_t)real > real);
}

static bool value_equal(const struct db_value *v, const struct wire_param *p)
{
    switch (v->type) {
    case DB_NULL:
        return p->type == WIRE_NULL;
    case DB_INTEGER:
        return p->type == WIRE_INTEGER ? p->integer == v->integer
                                       : p->type == WIRE_REAL && number_equal(v->integer, p->real);
    case DB_REAL:
        return p->type == WIRE_REAL ? !(p->real < v->real) && !(p->real > v->real)
                                    : p->type == WIRE_INTEGER && number_equal(p->integer, v->real);
    case DB_TEXT:
        return p->type == WIRE_TEXT && slice_equal(p->bytes, v->bytes);
    case DB_BLOB:
        return p->type == WIRE_BLOB && slice_equal(p->bytes, v->bytes);
    }
    UNREACHABLE();
}

static bool row_equal(struct judge *j, const struct db_value *values, uint32_t count)
{
    struct wire_param p;
    struct slice none;
    uint32_t wanted;

    if (wire_cmd_next(&j->rows, &none, &wanted) || wanted != count)
        return false;
    for (uint32_t i = 0; i < count; i++)
        if (wire_cmd_next_param(&j->rows, &p) || !value_equal(&values[i], &p))
            return false;
    return true;
}

static int on_row(struct db_sink *s, const struct db_value *values, uint32_t count)
{
    struct judge *j = judge_of(s);

    j->count++;
    j->differs = j->exactly && !row_equal(j, values, count);
    return j->differs || !j->exactly; /* decided */
}

static void on_error(struct db_sink *s, bool as_query, struct slice text)
{
    struct judge *j = judge_of(s);

    (void)as_query;
    (void)err_set(j->why, ERR_SQL, "condition: %.*s",
                  text.len < ERR_TEXT_MAX ? (int)text.len : ERR_TEXT_MAX, (const char *)text.data);
    j->failed = true;
}

static void on_columns(struct db_sink *s, const struct db_columns *c)
{
    (void)s;
    (void)c;
}

static void on_end(struct db_sink *s, uint64_t elapsed_ns)
{
    (void)s;
    (void)elapsed_ns;
}

static enum db_verdict verdict_of(struct judge *j)
{
    struct slice none;
    uint32_t params;

    if (j->failed)
        return DB_CONDITION_FAILED;
    if (!j->exactly)
        return j->count ? DB_CONDITION_MET : DB_CONDITION_UNMET;
    if (j->differs || wire_cmd_next(&j->rows, &none, &params) == 0)
        return DB_CONDITION_UNMET;
    return DB_CONDITION_MET;
}

/* ---- judging --------------------------------------------------------------------------------------------- */

static int query_judge(struct db *d, const struct wire_cmd *cmd, struct db_cond *out)
{
    static const struct db_sink_ops ops = {
        .columns = on_columns, .row = on_row, .end = on_end, .error = on_error};
    struct judge j = {.sink.ops = &ops, .exactly = cmd->flags & WIRE_CMD_IS, .why = &out->why};
    struct db_run run = {
        .conn = d->writer,
        .stmts = &d->stmts,
        .guard = &d->guard,
        .env = d->env,
        .mode = DB_RUN_QUERY,
        .sink = &j.sink,
        .timeout_text = "",
        .schema_touched = &d->schema_touched,
        .in_batch = out->in_batch,
    };
    uint32_t params;
    bool ok;

    struct slice sql = query_of(cmd, &j.rows, &params);
    const char *refused = text_refused(sql);
    if (refused) {
        (void)err_set(&out->why, ERR_SQL, "%s", refused);
        out->verdict = DB_CONDITION_FAILED;
        return 0;
    }
    int rc = db_params_read(&d->params, &j.rows, params);
    run.params = d->params;
    d->guard.mode = DB_GUARD_STRONG;
    if (rc == 0)
        rc = db_run_text(&run, sql, &ok);
    d->guard.mode = DB_GUARD_WRITER;
    out->stopped = run.stopped;
    out->verdict = verdict_of(&j);
    return rc;
}

int db_cond_judge(struct db *d, const struct wire_cmd *cmd, bool in_batch, struct db_cond *out)
{
    int rc = 0;

    ASSERT(in_batch != sqlite3_get_autocommit(d->writer));
    *out = (struct db_cond){.in_batch = in_batch, .verdict = DB_CONDITION_MET};
    if ((cmd->flags & WIRE_CMD_IF_INDEX) && d->changed_index > cmd->if_index)
        out->verdict = DB_CONDITION_UNMET;
    else if (cmd->flags & WIRE_CMD_IF)
        rc = query_judge(d, cmd, out);
    if (cmd->flags & (WIRE_CMD_IF_INDEX | WIRE_CMD_IF))
        db_fold(&d->digest, out->verdict);
    return rc;
}

void db_cond_tell(const struct db_cond *c, struct db_sink *sink)
{
    ASSERT(c->verdict != DB_CONDITION_MET);
    if (!sink)
        return;
    if (c->verdict == DB_CONDITION_UNMET && sink->ops->note)
        sink->ops->note(sink, DB_NOTE_UNMET, 0);
    sink->ops->request_error(sink, c->verdict == DB_CONDITION_UNMET ? slice_str("condition not met")
                                                                    : slice_str(c->why.text));
}
