/* sql_class.c — where statements end and what kind they are.
 *
 * Statements end at semicolons, except inside the body of a trigger. SQLite's grammar asks for a
 * semicolon behind every command of a body, so a word END directly behind a semicolon closes the
 * body and the END of a CASE never does (the idea of SQLite complete.c). A semicolon before BEGIN
 * ends even a CREATE TRIGGER: SQLite refuses such a text there, and cutting too often hides
 * nothing.
 *
 *              CREATE                TRIGGER             BEGIN
 *     START ------------> CREATE -------------> HEADER ---------> BODY <----- other
 *       | EXPLAIN: START    | other               | ;            ; |  ^        |
 *       v other             v                     v                v  |        |
 *     NORMAL <---------- (NORMAL)              (end)           BODY_SEMI ------+
 *       | ;                                                        | END
 *       v                                                          v
 *     (end)                                                      NORMAL
 *
 * Callers: checks in front of the database. */
#include <rq/sql.h>

enum split_state { START, AFTER_CREATE, HEADER, NORMAL, BODY, BODY_SEMICOLON };

static bool is_keyword(struct sql_token t, const char *word)
{
    return t.kind == SQL_TOKEN_WORD && sql_token_is(t, word);
}

static enum split_state start_step(struct sql_token t)
{
    if (is_keyword(t, "EXPLAIN") || is_keyword(t, "QUERY") || is_keyword(t, "PLAN"))
        return START;
    return is_keyword(t, "CREATE") ? AFTER_CREATE : NORMAL;
}

static enum split_state create_step(struct sql_token t)
{
    if (is_keyword(t, "TEMP") || is_keyword(t, "TEMPORARY"))
        return AFTER_CREATE;
    return is_keyword(t, "TRIGGER") ? HEADER : NORMAL;
}

/* The state behind token t, which does not end the statement. */
static enum split_state split_step(enum split_state state, struct sql_token t)
{
    switch (state) {
    case START:
        return start_step(t);
    case AFTER_CREATE:
        return create_step(t);
    case HEADER:
        return is_keyword(t, "BEGIN") ? BODY : HEADER;
    case BODY:
    case BODY_SEMICOLON:
        if (t.kind == SQL_TOKEN_SEMICOLON)
            return BODY_SEMICOLON;
        return state == BODY_SEMICOLON && is_keyword(t, "END") ? NORMAL : BODY;
    case NORMAL:
    default:
        return NORMAL;
    }
}

bool sql_split_next(struct slice *rest, struct slice *statement)
{
    struct sql_tokens tokens;
    enum split_state state = START;
    const uint8_t *first = NULL;
    struct sql_token t;

    sql_tokens_init(&tokens, *rest);
    for (;;) {
        t = sql_tokens_next(&tokens);
        if (t.kind == SQL_TOKEN_END)
            break;
        bool in_body = state == BODY || state == BODY_SEMICOLON;
        if (t.kind == SQL_TOKEN_SEMICOLON && !in_body) {
            if (first)
                break;
            continue; /* SQLite passes over empty statements in front of a real one */
        }
        if (!first)
            first = t.text.data;
        state = split_step(state, t);
    }
    if (!first)
        return false;
    const uint8_t *end = rest->data + tokens.at;
    *statement = slice_of(first, (size_t)(end - first));
    *rest = slice_of(end, t.kind == SQL_TOKEN_END ? 0 : rest->len - tokens.at);
    return true;
}

/* First token of the first statement. */
static struct sql_token first_token(struct sql_tokens *tokens)
{
    struct sql_token t;
    do {
        t = sql_tokens_next(tokens);
    } while (t.kind == SQL_TOKEN_SEMICOLON);
    return t;
}

enum sql_class sql_classify(struct slice sql)
{
    static const struct {
        const char *word;
        enum sql_class class_of;
    } table[] = {
        {"BEGIN", SQL_CLASS_TRANSACTION},     {"COMMIT", SQL_CLASS_TRANSACTION},
        {"END", SQL_CLASS_TRANSACTION},       {"ROLLBACK", SQL_CLASS_TRANSACTION},
        {"SAVEPOINT", SQL_CLASS_TRANSACTION}, {"RELEASE", SQL_CLASS_TRANSACTION},
        {"PRAGMA", SQL_CLASS_PRAGMA},         {"VACUUM", SQL_CLASS_ALONE},
        {"ATTACH", SQL_CLASS_ALONE},          {"DETACH", SQL_CLASS_ALONE},
        {"ANALYZE", SQL_CLASS_ALONE},         {"REINDEX", SQL_CLASS_ALONE},
        {"EXPLAIN", SQL_CLASS_EXPLAIN},
    };
    struct sql_tokens tokens;

    sql_tokens_init(&tokens, sql);
    struct sql_token t = first_token(&tokens);
    if (t.kind == SQL_TOKEN_END)
        return SQL_CLASS_EMPTY;
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
        if (is_keyword(t, table[i].word))
            return table[i].class_of;
    return SQL_CLASS_ORDINARY;
}

enum sql_class sql_classify_all(struct slice sql)
{
    enum sql_class strictest = SQL_CLASS_EMPTY;
    struct slice statement;

    while (sql_split_next(&sql, &statement)) {
        enum sql_class class_of = sql_classify(statement);
        struct sql_pragma pragma;
        if (class_of == SQL_CLASS_EXPLAIN)
            class_of = sql_pragma_parse(statement, &pragma) ? SQL_CLASS_PRAGMA : SQL_CLASS_ORDINARY;
        if (class_of > strictest)
            strictest = class_of;
    }
    return strictest;
}

/* ---- PRAGMA -----------------------------------------------------------------------------------
 */

/* A name may be written as a word, "x", [x], `x` or 'x'; the quotes are taken off. */
static bool name_of(struct sql_token t, struct slice *name)
{
    *name = t.text;
    if (t.kind == SQL_TOKEN_WORD)
        return true;
    if (t.kind != SQL_TOKEN_QUOTED && t.kind != SQL_TOKEN_STRING)
        return false;
    *name =
        slice_of(t.text.data + 1, t.text.len - 2); /* a blob literal is no name: SQLite objects */
    return true;
}

/* The value behind "=" or "(": one token, or a sign and a number. */
static struct slice value_of(struct sql_tokens *tokens)
{
    struct sql_token t = sql_tokens_next(tokens);
    const uint8_t *first = t.text.data;

    if (t.kind == SQL_TOKEN_PUNCT && (sql_token_is(t, "-") || sql_token_is(t, "+")))
        t = sql_tokens_next(tokens);
    else if (t.kind == SQL_TOKEN_PUNCT)
        return slice_of(NULL, 0);
    if (t.kind == SQL_TOKEN_END || t.kind == SQL_TOKEN_SEMICOLON)
        return slice_of(NULL, 0);
    return slice_of(first, (size_t)(t.text.data + t.text.len - first));
}

/* The token PRAGMA, past EXPLAIN [QUERY PLAN]. */
static bool pragma_begins(struct sql_tokens *tokens)
{
    struct sql_token t = first_token(tokens);
    if (is_keyword(t, "EXPLAIN")) {
        t = sql_tokens_next(tokens);
        if (is_keyword(t, "QUERY")) {
            (void)sql_tokens_next(tokens);
            t = sql_tokens_next(tokens);
        }
    }
    return is_keyword(t, "PRAGMA");
}

bool sql_pragma_parse(struct slice sql, struct sql_pragma *out)
{
    struct sql_tokens tokens;

    memset(out, 0, sizeof(*out));
    sql_tokens_init(&tokens, sql);
    if (!pragma_begins(&tokens) || !name_of(sql_tokens_next(&tokens), &out->name))
        return false;
    struct sql_token t = sql_tokens_next(&tokens);
    if (t.kind == SQL_TOKEN_PUNCT && sql_token_is(t, ".")) {
        out->schema = out->name;
        if (!name_of(sql_tokens_next(&tokens), &out->name))
            return false;
        t = sql_tokens_next(&tokens);
    }
    if (t.kind != SQL_TOKEN_PUNCT ||
        (!sql_token_is(t, "=") && !sql_token_is(t, "==") && !sql_token_is(t, "(")))
        return true;
    out->has_value = true;
    out->value = value_of(&tokens);
    return true;
}
