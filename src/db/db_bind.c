/* db_bind.c — parameters of a request onto a statement, by the rules of http-api.md §4.3. */
#include "db_int.h"

int db_params_read(struct db_params *p, struct wire_cmd *c, uint32_t count)
{
    ASSERT(count <= LIMIT_PARAMS_PER_STATEMENT);
    p->count = 0;
    if (count > p->cap) {
        struct wire_param *grown = mem_realloc(p->at, count * sizeof(*grown));
        if (!grown)
            return ERR_NOMEM;
        p->at = grown;
        p->cap = count;
    }
    while (p->count < count) {
        int rc = wire_cmd_next_param(c, &p->at[p->count]);
        if (rc)
            return rc;
        p->count++;
    }
    ASSERT(p->count <= p->cap);
    return 0;
}

static int bind_value(sqlite3_stmt *s, int slot, const struct wire_param *p)
{
    ASSERT(slot > 0);
    switch (p->type) {
    case WIRE_NULL:
        return sqlite3_bind_null(s, slot);
    case WIRE_INTEGER:
        return sqlite3_bind_int64(s, slot, p->integer);
    case WIRE_REAL:
        return sqlite3_bind_double(s, slot, p->real);
    case WIRE_TEXT: /* static: the payload outlives the step */
        return sqlite3_bind_text64(s, slot, p->bytes.len ? (const char *)p->bytes.data : "",
                                   p->bytes.len, SQLITE_STATIC, SQLITE_UTF8);
    case WIRE_BLOB:
        if (p->bytes.len == 0)
            return sqlite3_bind_zeroblob(s, slot, 0);
        return sqlite3_bind_blob64(s, slot, p->bytes.data, p->bytes.len, SQLITE_STATIC);
    }
    return SQLITE_MISUSE;
}

static bool starts_with_letter(struct slice name)
{
    ASSERT(name.len > 0);
    uint8_t c = name.data[0];
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c >= 0x80;
}

/* {"a":5} binds to :a, @a and $a. */
static int bind_named(sqlite3_stmt *s, const struct wire_param *p)
{
    static const char prefixes[] = ":@$";
    char name[260];

    if (p->name.len > 255 || memchr(p->name.data, 0, p->name.len))
        return SQLITE_OK; /* no slot can have such a name */
    for (int i = 0; i < 3; i++) {
        name[0] = prefixes[i];
        memcpy(name + 1, p->name.data, p->name.len);
        name[p->name.len + 1] = '\0';
        int slot = sqlite3_bind_parameter_index(s, name);
        int rc = slot ? bind_value(s, slot, p) : SQLITE_OK;
        if (rc != SQLITE_OK)
            return rc;
    }
    return SQLITE_OK;
}

bool db_bind(struct db_stmt *s, const struct db_params *p, uint32_t from, char *text,
             size_t text_cap)
{
    ASSERT(s->stmt && s->param_count >= 0);
    uint32_t given = p->count > from ? p->count - from : 0;
    int rc = SQLITE_OK;

    for (uint32_t i = 0; i < p->count; i++) {
        const struct wire_param *w = &p->at[i];
        if (w->name.len && !starts_with_letter(w->name)) {
            (void)snprintf(text, text_cap, "name \"%.*s\" does not begin with a letter",
                           (int)w->name.len, (const char *)w->name.data);
            return false;
        }
    }
    if (given < (uint32_t)s->param_count) {
        (void)snprintf(text, text_cap, "not enough args to execute query: want %d got %u",
                       s->param_count, given);
        return false;
    }
    for (uint32_t i = 0; i < p->count && rc == SQLITE_OK; i++) {
        const struct wire_param *w = &p->at[i];
        if (w->name.len)
            rc = bind_named(s->stmt, w);
        else if (i >= from && i - from < (uint32_t)s->param_count)
            rc = bind_value(s->stmt, (int)(i - from) + 1, w);
    }
    if (rc == SQLITE_OK)
        return true;
    (void)snprintf(text, text_cap, "%s", sqlite3_errstr(rc));
    return false;
}
