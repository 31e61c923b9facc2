/* fuzz_sql.c — statements end where SQLite says they end, are empty when SQLite finds nothing, and
 * explain when SQLite explains. SQLite itself is asked, by preparing (never running) each statement
 * until one is refused. */
#include "fuzz_int.h"

#include <rq/sql.h>
#include <rq/util/assert.h>
#include <sqlite3.h>

static sqlite3 *open_database(void)
{
    static const char schema[] = "CREATE TABLE a(x, y, z); CREATE TABLE b(x); CREATE VIEW v AS "
                                 "SELECT * FROM a";
    sqlite3 *db;
    int rc = sqlite3_open(":memory:", &db);
    ASSERT(rc == SQLITE_OK);
    rc = sqlite3_exec(db, schema, NULL, NULL, NULL);
    ASSERT(rc == SQLITE_OK);
    return db;
}

/* Everything in front of the first NUL: SQLite reads no further. */
static struct slice up_to_nul(struct slice s)
{
    const uint8_t *nul = s.len ? memchr(s.data, 0, s.len) : NULL;
    return nul ? slice_of(s.data, (size_t)(nul - s.data)) : s;
}

static void compare_with_sqlite(struct slice text)
{
    sqlite3 *db = open_database();
    struct slice rest = text;

    for (;;) {
        sqlite3_stmt *prepared = NULL;
        const char *tail = NULL;
        struct slice statement;
        struct slice before = rest;
        int rc = sqlite3_prepare_v2(db, rest.len ? (const char *)rest.data : "", (int)rest.len,
                                    &prepared, &tail);
        bool found = sql_split_next(&rest, &statement);
        if (rc != SQLITE_OK)
            break; /* SQLite stops here, so nothing behind it is ever executed */
        ASSERT(found == (prepared != NULL));
        if (!prepared)
            break;
        ASSERT(statement.data >= before.data);
        ASSERT((const char *)statement.data + statement.len == tail);
        ASSERT((sqlite3_stmt_isexplain(prepared) != 0) ==
               (sql_classify(before) == SQL_CLASS_EXPLAIN));
        (void)sqlite3_finalize(prepared);
    }
    (void)sqlite3_close(db);
    (void)sqlite3_soft_heap_limit64(0); /* some PRAGMAs act when they are prepared */
    (void)sqlite3_hard_heap_limit64(0);
}

static void check_tokens(struct slice text)
{
    struct sql_tokens tokens;
    const uint8_t *end = text.data;

    sql_tokens_init(&tokens, text);
    for (;;) {
        struct sql_token t = sql_tokens_next(&tokens);
        if (t.kind == SQL_TOKEN_END)
            break;
        ASSERT(t.text.len > 0);
        ASSERT(t.text.data >= end);
        end = t.text.data + t.text.len;
        ASSERT(end <= text.data + text.len);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice text = slice_of(data, size);
    struct sql_pragma pragma;

    check_tokens(text);
    (void)sql_classify_all(text);
    (void)sql_pragma_parse(text, &pragma);
    compare_with_sqlite(up_to_nul(text));
    return 0;
}
