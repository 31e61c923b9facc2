/* db_guard.c — what SQL may not do, decided by compiled-in tables only, so that every node decides alike
 * (architecture §5; docs/determinism.md lists it with reasons). SQLite's authorizer asks while preparing. */
#include "db_int.h"

struct pragma_rule {
    const char *name;
    unsigned allow; /* bits below */
};
enum {
    LOOK = 1, /* without a value: shows something equal on all nodes, or harmless */
    SET_WRITER =
        2,   /* with a value, in an entry: kept in the file, or replicated connection state */
    ARG = 4, /* takes a value that is an argument, and only reads */
};

/* Everything not listed is refused. */
static const struct pragma_rule pragma_rules[] = {
    {"application_id", LOOK | SET_WRITER},
    {"analysis_limit", LOOK},
    {"auto_vacuum", LOOK | SET_WRITER},
    {"automatic_index", LOOK},
    {"busy_timeout", LOOK},
    {"cache_size", LOOK},
    {"cache_spill", LOOK},
    {"case_sensitive_like", SET_WRITER},
    {"collation_list", LOOK},
    {"count_changes", LOOK},
    {"data_version", 0},
    {"defer_foreign_keys", LOOK | SET_WRITER},
    {"encoding", LOOK | SET_WRITER},
    {"foreign_key_check", LOOK | ARG},
    {"foreign_key_list", LOOK | ARG},
    {"foreign_keys", LOOK | SET_WRITER},
    {"freelist_count", LOOK},
    {"function_list", LOOK},
    {"ignore_check_constraints", LOOK | SET_WRITER},
    {"incremental_vacuum", LOOK | SET_WRITER},
    {"index_info", LOOK | ARG},
    {"index_list", LOOK | ARG},
    {"index_xinfo", LOOK | ARG},
    {"integrity_check", LOOK | ARG},
    {"journal_mode", LOOK},
    {"legacy_alter_table", LOOK},
    {"module_list", LOOK},
    {"optimize", LOOK | SET_WRITER},
    {"page_count", LOOK},
    {"page_size", LOOK},
    {"pragma_list", LOOK},
    {"query_only", LOOK},
    {"quick_check", LOOK | ARG},
    {"recursive_triggers", LOOK | SET_WRITER},
    {"reverse_unordered_selects", LOOK},
    {"schema_version", LOOK},
    {"secure_delete", LOOK},
    {"synchronous", LOOK},
    {"table_info", LOOK | ARG},
    {"table_list", LOOK | ARG},
    {"table_xinfo", LOOK | ARG},
    {"temp_store", LOOK},
    {"trusted_schema", LOOK},
    {"user_version", LOOK | SET_WRITER},
    {"wal_autocheckpoint", LOOK},
};

/* Functions and tables that show the node, or its build, rather than the data. */
static const char *const refused_functions[] = {
    "load_extension", "sqlite_source_id", "sqlite_compileoption_get", "sqlite_compileoption_used",
    "sqlite_offset",  "fts3_tokenizer",
};
static const char *const refused_tables[] = {
    "sqlite_stmt",
    "dbstat",
    "sqlite_dbpage",
    "sqlite_memstat",
    "pragma_database_list",
    "pragma_data_version",
    "pragma_compile_options",
    "pragma_cache_size",
    "pragma_page_count",
    "pragma_freelist_count",
    "pragma_journal_mode",
    "pragma_wal_checkpoint",
    "pragma_mmap_size",
    "pragma_synchronous",
    "pragma_locking_mode",
    "pragma_temp_store",
    "pragma_busy_timeout",
    "bytecode",
    "tables_used",
    "pragma_schema_version",
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
    db_now()->refused = why;
    return SQLITE_DENY;
}

static int check_pragma(const struct db_guard *g, const char *name, const char *value)
{
    const struct pragma_rule *rule = rule_find(name);

    /* Asked of the temporary schemas that SQLite makes up for itself during VACUUM too. */
    if (!rule)
        return refuse(
            "this PRAGMA is not supported: it would make nodes differ, or shows one node only");
    if (!value || (rule->allow & ARG))
        return rule->allow & (LOOK | ARG) ? SQLITE_OK : refuse("this PRAGMA shows one node only");
    if (g->mode == DB_GUARD_WRITER && (rule->allow & SET_WRITER))
        return SQLITE_OK;
    if (g->mode == DB_GUARD_READER)
        return refuse("attempt to change database via query operation");
    return refuse("setting this PRAGMA is not supported: it would make nodes differ");
}

static bool in_list(const char *const *list, size_t count, const char *word)
{
    for (size_t i = 0; word && i < count; i++)
        if (same_word(list[i], word))
            return true;
    return false;
}

static int authorize(void *ctx, int action, const char *a, const char *b, const char *schema,
                     const char *trigger)
{
    const struct db_guard *g = ctx;

    (void)schema;
    (void)trigger;
    switch (action) {
    case SQLITE_PRAGMA:
        return check_pragma(g, a, b);
    case SQLITE_ATTACH:
        return g->vacuum && a && a[0] == '\0' ? SQLITE_OK : refuse("ATTACH is not supported");
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
        return in_list(refused_functions, sizeof(refused_functions) / sizeof(refused_functions[0]),
                       b)
                   ? refuse("this function is not supported: it shows one node only")
                   : SQLITE_OK;
    case SQLITE_READ:
        return in_list(refused_tables, sizeof(refused_tables) / sizeof(refused_tables[0]), a)
                   ? refuse("this table is not supported: it shows one node only")
                   : SQLITE_OK;
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
