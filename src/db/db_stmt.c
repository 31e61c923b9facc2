/* db_stmt.c — prepared statements by SQL text, the least recently used forgotten first. Results do not
 * depend on what is cached: only whole texts that are one statement reading or changing rows are kept,
 * and the writer forgets all of them when anything else ran (db_run.c), so that a statement which the
 * schema no longer allows fails where it would fail without a cache: at preparing. */
#include "db_int.h"

int db_stmts_init(struct db_stmts *c, uint32_t max)
{
    memset(c, 0, sizeof(*c));
    list_init(&c->lru);
    c->max = max;
    if (max == 0)
        return 0;
    c->bucket_count = 64;
    while (c->bucket_count < max)
        c->bucket_count *= 2;
    c->buckets = mem_zalloc(c->bucket_count * sizeof(struct db_stmt *));
    return c->buckets ? 0 : ERR_NOMEM;
}

static struct db_stmt **bucket_of(struct db_stmts *c, uint64_t hash)
{
    ASSERT(c->bucket_count > 0);
    return &c->buckets[hash & (c->bucket_count - 1)];
}

static void stmt_free(struct db_stmt *s)
{
    (void)sqlite3_finalize(s->stmt);
    mem_free(s);
}

static void cache_drop(struct db_stmts *c, struct db_stmt *s)
{
    struct db_stmt **at = bucket_of(c, s->hash);

    ASSERT(s->cached && c->count > 0);
    while (*at != s)
        at = &(*at)->bucket_next;
    *at = s->bucket_next;
    list_remove(&s->link);
    c->count--;
    stmt_free(s);
}

void db_stmts_clear(struct db_stmts *c)
{
    while (!list_empty(&c->lru))
        cache_drop(c, LIST_ENTRY(c->lru.next, struct db_stmt, link));
    ASSERT(c->count == 0);
}

void db_stmts_fini(struct db_stmts *c)
{
    if (c->buckets)
        db_stmts_clear(c);
    mem_free(c->buckets);
    c->buckets = NULL;
    c->max = 0;
}

uint64_t db_stmts_hash(struct slice sql)
{
    return prng_hash(0, sql.data, sql.len);
}

struct db_stmt *db_stmts_find(const struct db_stmts *c, struct slice sql, uint64_t hash)
{
    if (c->count == 0)
        return NULL;
    for (struct db_stmt *s = c->buckets[hash & (c->bucket_count - 1)]; s; s = s->bucket_next)
        if (s->hash == hash && slice_equal(sql, slice_of(s->sql, s->sql_len)))
            return s;
    return NULL;
}

void db_stmts_used(struct db_stmts *c, struct db_stmt *s)
{
    ASSERT(s->cached);
    list_remove(&s->link);
    list_push_back(&c->lru, &s->link);
    c->hits++;
}

static void cache_add(struct db_stmts *c, struct db_stmt *s)
{
    ASSERT(!s->cached && c->count <= c->max);
    if (c->count == c->max) {
        struct db_stmt *oldest = LIST_ENTRY(c->lru.next, struct db_stmt, link);
        ASSERT(oldest != s);
        cache_drop(c, oldest);
    }
    s->cached = true;
    s->bucket_next = *bucket_of(c, s->hash);
    *bucket_of(c, s->hash) = s;
    list_push_back(&c->lru, &s->link);
    c->count++;
}

static void stmt_describe(struct db_stmt *s, struct slice sql)
{
    struct sql_tokens t;

    ASSERT(s->stmt);
    s->read_only = sqlite3_stmt_readonly(s->stmt) != 0;
    s->is_explain = sqlite3_stmt_isexplain(s->stmt) != 0;
    s->param_count = sqlite3_bind_parameter_count(s->stmt);
    s->column_count = sqlite3_column_count(s->stmt);
    sql_tokens_init(&t, sql);
    struct sql_token first = sql_tokens_next(&t);
    s->is_dml = !s->read_only && !s->is_explain &&
                (sql_token_is(first, "INSERT") || sql_token_is(first, "REPLACE") ||
                 sql_token_is(first, "UPDATE") || sql_token_is(first, "DELETE") ||
                 sql_token_is(first, "WITH"));
    struct sql_pragma ignored;
    s->is_pragma = sql_pragma_parse(sql, &ignored); /* behind EXPLAIN too */
    s->plain = !s->is_pragma && (s->read_only || s->is_dml || s->is_explain) &&
               !sql_token_is(first, "ROLLBACK");
}

static struct slice behind(struct slice sql, const char *rest)
{
    ASSERT((const uint8_t *)rest >= sql.data && (const uint8_t *)rest <= sql.data + sql.len);
    return slice_of(rest, (size_t)((const char *)(sql.data + sql.len) - rest));
}

int db_stmts_prepare(struct db_stmts *c, sqlite3 *conn, struct slice sql, struct db_stmt **out,
                     struct slice *tail)
{
    const char *rest = NULL;

    *out = NULL;
    *tail = slice_of(sql.data + sql.len, 0);
    if (sql.len > LIMIT_ENTRY_BYTES)
        return SQLITE_TOOBIG;
    struct db_stmt *s = mem_alloc(sizeof(*s) + sql.len);
    if (!s) {
        (void)db_now_failed(ERR_NOMEM);
        return SQLITE_NOMEM;
    }
    memset(s, 0, sizeof(*s));
    list_init(&s->link);
    enum sql_class class = sql_classify(sql);
    bool keep = c->max > 0 && class == SQL_CLASS_ORDINARY;
    int rc = sqlite3_prepare_v3(conn, (const char *)sql.data, (int)sql.len,
                                keep ? SQLITE_PREPARE_PERSISTENT : 0, &s->stmt, &rest);
    c->prepared++;
    if (rest)
        *tail = behind(sql, rest);
    if (rc != SQLITE_OK || !s->stmt) {
        mem_free(s);
        return rc;
    }
    stmt_describe(s, sql);
    if (keep && tail->len == 0 && s->plain) {
        s->sql_len = sql.len;
        s->hash = db_stmts_hash(sql);
        memcpy(s->sql, sql.data, sql.len);
        cache_add(c, s);
    }
    *out = s;
    return SQLITE_OK;
}

void db_stmt_release(struct db_stmt *s)
{
    ASSERT(s->stmt);
    (void)sqlite3_reset(s->stmt);
    if (!s->cached) {
        stmt_free(s);
        return;
    }
    if (s->param_count)
        (void)sqlite3_clear_bindings(s->stmt);
}
