/* db_guard.c — what SQL may not do, decided by compiled-in tables only, so that every node decides alike
 * (architecture §5; docs/determinism.md lists it with reasons). SQLite's authorizer asks while preparing. */
#include "db_int.h"

struct pragma_rule {
    const char *name;
    unsigned allow; /* bits below */
};
enum {
    LOOK = 1, /* without a value: only shows. Its rows cannot flow into a table */
    SET = 2,  /* with a value, in an entry: kept in the file, or replicated connection state */
    ARG = 4,  /* takes a value that is an argument, and only reads */
    ACT = 8,  /* works without a value too: in an entry only */
    SKIP = 16 /* accepted without effect: what it does depends on one node's history */
};

/* Everything not listed is refused. */
static const struct pragma_rule pragma_rules[] = {
    {"application_id", LOOK | SET},
    {"analysis_limit", LOOK},
    {"auto_vacuum", LOOK | SET},
    {"automatic_index", LOOK},
    {"busy_timeout", LOOK},
    {"cache_size", LOOK},
    {"cache_spill", LOOK},
    {"case_sensitive_like", SET},
    {"collation_list", LOOK},
    {"count_changes", LOOK},
    {"data_version", LOOK},
    {"defer_foreign_keys", LOOK | SET},
    {"encoding", LOOK | SKIP},
    {"foreign_key_check", LOOK | ARG},
    {"foreign_key_list", LOOK | ARG},
    {"foreign_keys", LOOK | SET},
    {"freelist_count", LOOK},
    {"function_list", LOOK},
    {"ignore_check_constraints", LOOK | SET},
    {"incremental_vacuum", ACT | SET},
    {"index_info", LOOK | ARG},
    {"index_list", LOOK | ARG},
    {"index_xinfo", LOOK | ARG},
    {"integrity_check", LOOK | ARG},
    {"journal_mode", LOOK},
    {"legacy_alter_table", LOOK},
    {"module_list", LOOK},
    {"optimize", SKIP},
    {"page_count", LOOK},
    {"page_size", LOOK},
    {"pragma_list", LOOK},
    {"query_only", LOOK},
    {"quick_check", LOOK | ARG},
    {"recursive_triggers", LOOK | SET},
    {"reverse_unordered_selects", LOOK},
    {"schema_version", LOOK},
    {"secure_delete", LOOK},
    {"synchronous", LOOK},
    {"table_info", LOOK | ARG},
    {"table_list", LOOK | ARG},
    {"table_xinfo", LOOK | ARG},
    {"temp_store", LOOK},
    {"trusted_schema", LOOK},
    {"user_version", LOOK | SET},
    {"wal_autocheckpoint", LOOK},
};

/* Functions and tables that show the node, or its build, rather than the data; in entries only. */
static const char *const refused_functions[] = {
    "sqlite_source_id",
    "sqlite_compileoption_get",
    "sqlite_compileoption_used",
    "sqlite_offset",
};
static const char *const refused_tables[] = {
    "sqlite_stmt", "dbstat", "sqlite_dbpage", "sqlite_memstat", "bytecode", "tables_used",
};
/* PRAGMAs as tables: those whose rows and their order follow from the schema alone. All others show the
 * node, or list what SQLite keeps in hash tables, in the order in which this connection met it. */
static const char *const allowed_pragma_tables[] = {
    "pragma_table_info", "pragma_table_xinfo",      "pragma_index_info",   "pragma_index_xinfo",
    "pragma_index_list", "pragma_foreign_key_list", "pragma_user_version", "pragma_application_id",
};

static bool same_word(const char *a, const char *b)
{
    return sqlite3_stricmp(a, b) == 0;
}

static const struct pragma_rule *rule_find(const char *name)
{
    for (size_t i = 0; i < sizeof(pragma_rules) / sizeof(pragma_rules[0]); i++)
        if (same_word(pragma_rules[i].name, name))
            return &pragma_rules[i];
    return NULL;
}

bool db_guard_pragma_reads(const struct sql_pragma *p)
{
    char name[64];

    if (p->name.len >= sizeof(name))
        return false;
    memcpy(name, p->name.data, p->name.len);
    name[p->name.len] = '\0';
    const struct pragma_rule *rule = rule_find(name);
    return rule && (p->has_value ? (rule->allow & ARG) != 0 : (rule->allow & LOOK) != 0);
}

static int refuse(const char *why)
{
    ASSERT(why && why[0]);
    db_now()->refused = why;
    return SQLITE_DENY;
}

static bool in_list(const char *const *list, size_t count, const char *word)
{
    for (size_t i = 0; word && i < count; i++)
        if (same_word(list[i], word))
            return true;
    return false;
}

#define LISTED(list, word) in_list(list, sizeof(list) / sizeof((list)[0]), word)

/* It waits for the next VACUUM, so it must be known. SQLite takes every other word for none. */
static int note_auto_vacuum(struct db_guard *g, const char *value)
{
    static const char *const words[][2] = {{"none", "0"}, {"full", "1"}, {"incremental", "2"}};

    for (uint8_t i = 0; i < 3; i++) {
        if (!same_word(value, words[i][0]) && strcmp(value, words[i][1]) != 0)
            continue;
        g->auto_vacuum = (uint8_t)(i + 1);
        return SQLITE_OK;
    }
    return refuse("auto_vacuum is NONE, FULL or INCREMENTAL");
}

static int check_pragma(struct db_guard *g, const char *name, const char *value)
{
    const struct pragma_rule *rule = rule_find(name);
    bool writer = g->mode == DB_GUARD_WRITER;

    if (!rule)
        return refuse(
            "this PRAGMA is not supported: it would make nodes differ, or shows one node only");
    if ((rule->allow & SKIP) && (value || !(rule->allow & LOOK)))
        return SQLITE_IGNORE;
    if (value && writer && same_word(name, "auto_vacuum"))
        return note_auto_vacuum(g, value);
    if (value ? (rule->allow & ARG) != 0 || (writer && (rule->allow & SET))
              : (rule->allow & (LOOK | ARG)) != 0 || (writer && (rule->allow & ACT)))
        return SQLITE_OK;
    if (writer)
        return refuse("setting this PRAGMA is not supported: it would make nodes differ");
    return refuse("attempt to change database via query operation");
}

static int check_table(const struct db_guard *g, const char *name)
{
    bool pragma = name && sqlite3_strnicmp(name, "pragma_", 7) == 0;

    if (g->mode == DB_GUARD_READER)
        return SQLITE_OK;
    if (LISTED(refused_tables, name) || (pragma && !LISTED(allowed_pragma_tables, name)))
        return refuse("this table is not supported: it shows one node only");
    return SQLITE_OK;
}

static int check_function(const struct db_guard *g, const char *name)
{
    bool node_only = g->mode != DB_GUARD_READER && LISTED(refused_functions, name);

    if (node_only)
        return refuse("this function is not supported: it shows one node only");
    if (name && (same_word(name, "load_extension") || same_word(name, "fts3_tokenizer")))
        return refuse("this function is not supported");
    return SQLITE_OK;
}

static int authorize(void *ctx, int action, const char *a, const char *b, const char *schema,
                     const char *trigger)
{
    struct db_guard *g = ctx;

    ASSERT(g->mode <= DB_GUARD_OFF);
    (void)schema;
    (void)trigger;
    if (g->mode == DB_GUARD_OFF)
        return SQLITE_OK;
    switch (action) {
    case SQLITE_PRAGMA:
        return check_pragma(g, a, b);
    case SQLITE_ATTACH:
        return g->vacuum && a && (a[0] == '\0' || (g->into && strcmp(a, g->into) == 0))
                   ? SQLITE_OK
                   : refuse("ATTACH is not supported");
    case SQLITE_DETACH:
        return g->vacuum ? SQLITE_OK : refuse("DETACH is not supported");
    case SQLITE_CREATE_TEMP_INDEX:
    case SQLITE_CREATE_TEMP_TABLE:
    case SQLITE_CREATE_TEMP_TRIGGER:
    case SQLITE_CREATE_TEMP_VIEW:
    case SQLITE_DROP_TEMP_INDEX:
    case SQLITE_DROP_TEMP_TABLE:
    case SQLITE_DROP_TEMP_TRIGGER:
    case SQLITE_DROP_TEMP_VIEW:
        return refuse("temporary objects are not supported");
    case SQLITE_FUNCTION:
        return check_function(g, b);
    case SQLITE_READ:
        return check_table(g, a);
    default:
        return SQLITE_OK;
    }
}

void db_guard_install(sqlite3 *conn, struct db_guard *g)
{
    (void)sqlite3_set_authorizer(conn, authorize, g);
}

/* ---- refused as a whole (http-api.md §8), by tokens ------------------------------------------------------- */

static bool disallowed(struct slice statement)
{
    static const char *const when_set[] = {"journal_mode", "wal_autocheckpoint", "synchronous",
                                           "query_only"};
    struct sql_pragma p;

    if (!sql_pragma_parse(statement, &p))
        return false;
    struct sql_token name = {SQL_TOKEN_WORD, p.name};
    if (sql_token_is(name, "wal_checkpoint"))
        return true;
    for (size_t i = 0; i < sizeof(when_set) / sizeof(when_set[0]); i++)
        if (p.has_value && sql_token_is(name, when_set[i]))
            return true;
    return false;
}

/* Every statement of a text, not only the first. */
static bool disallowed_text(struct slice sql)
{
    struct sql_tokens t;
    size_t start = 0;

    if (sql_classify_all(sql) < SQL_CLASS_PRAGMA)
        return false;
    sql_tokens_init(&t, sql);
    for (;;) {
        struct sql_token token = sql_tokens_next(&t);
        if (token.kind != SQL_TOKEN_SEMICOLON && token.kind != SQL_TOKEN_END &&
            token.kind != SQL_TOKEN_ILLEGAL)
            continue;
        if (disallowed(slice_of(sql.data + start, t.at - start)))
            return true;
        start = t.at;
        if (token.kind != SQL_TOKEN_SEMICOLON)
            return false;
    }
}

bool db_disallowed_pragma(struct slice payload)
{
    struct wire_cmd c;
    struct wire_param p;
    struct slice sql;
    uint32_t params;

    if (wire_cmd_open(payload, false, &c))
        return false;
    while (wire_cmd_next(&c, &sql, &params) == 0) {
        if (disallowed_text(sql))
            return true;
        while (params--)
            if (wire_cmd_next_param(&c, &p))
                return false;
    }
    return false;
}
