/* sql — looks at SQL text without an engine: tokens, and what kind of statement it is. No
 * rewriting. Pure. It never decides what a statement means where SQLite can be asked; it serves
 * checks that come before a connection is touched, because preparing a PRAGMA executes it
 * (architecture §3). */
#ifndef RQ_SQL_H
#define RQ_SQL_H

#include <rq/util/slice.h>

enum sql_token_kind {
    SQL_TOKEN_END = 0,
    SQL_TOKEN_WORD,   /* identifier or keyword, unquoted */
    SQL_TOKEN_QUOTED, /* "x", `x`, [x] */
    SQL_TOKEN_STRING, /* 'x', x'..' too */
    SQL_TOKEN_NUMBER,
    SQL_TOKEN_VARIABLE, /* ?, ?1, :a, @a, $a */
    SQL_TOKEN_PUNCT,    /* operators, parentheses, comma, dot */
    SQL_TOKEN_SEMICOLON,
    SQL_TOKEN_ILLEGAL /* e.g. an unterminated string: the rest of the text */
};
struct sql_token {
    enum sql_token_kind kind;
    struct slice text; /* into the input, quotes included */
};
struct sql_tokens {
    struct slice input;
    size_t at;
};
void sql_tokens_init(struct sql_tokens *t, struct slice sql);
/* Next token; comments and white space are passed over as SQLite does (SQLite tokenize.c's rules).
 * A NUL byte ends the text, as it does for SQLite. */
struct sql_token sql_tokens_next(struct sql_tokens *t);
/* ASCII case-insensitive comparison of a token's text with a word. */
bool sql_token_is(struct sql_token t, const char *word);

/* Cut the first statement off a text. Empty statements in front of it are passed over, as SQLite
 * does; the body of a CREATE TRIGGER belongs to its statement. *statement includes its semicolon,
 * if any; *rest is moved behind it. False: nothing but white space, comments and semicolons was
 * left. */
bool sql_split_next(struct slice *rest, struct slice *statement);

enum sql_class {
    SQL_CLASS_EMPTY = 0,   /* nothing but white space, comments, semicolons */
    SQL_CLASS_ORDINARY,    /* SELECT, INSERT, CREATE …: may run inside a batch's transaction */
    SQL_CLASS_TRANSACTION, /* BEGIN, COMMIT, END, ROLLBACK, SAVEPOINT, RELEASE */
    SQL_CLASS_PRAGMA,
    SQL_CLASS_ALONE, /* VACUUM, ATTACH, DETACH, ANALYZE, REINDEX: in autocommit, not in a batch */
    SQL_CLASS_EXPLAIN
};
/* Class of the first statement of the text; "EXPLAIN [QUERY PLAN]" wins over what follows it. */
enum sql_class sql_classify(struct slice sql);
/* Class that a whole text with several statements needs: the strictest of its statements, in the
 * order of the enum; EXPLAIN counts as ORDINARY unless it is EXPLAIN PRAGMA (executed by
 * preparing). Splits at top-level semicolons; bodies of CREATE TRIGGER are one statement. */
enum sql_class sql_classify_all(struct slice sql);

/* A PRAGMA statement taken apart (also behind EXPLAIN: preparing executes it there too); false if
 * the first statement of the text is not one. For several statements use sql_split_next. */
struct sql_pragma {
    struct slice schema; /* len 0: none; quotes taken off */
    struct slice name;   /* quotes taken off; compare ignoring ASCII case */
    bool has_value;     /* "= value" or "(value)"; true also if the value is missing or malformed */
    struct slice value; /* raw token text; quotes and sign included; len 0 if missing */
};
bool sql_pragma_parse(struct slice sql, struct sql_pragma *out);

#endif
