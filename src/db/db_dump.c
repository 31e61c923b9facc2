/* db_dump.c — the database as SQL text (http-api.md §13.2), written while rows are stepped. Called by
 * db_backup.c, on a connection that holds a read transaction.
 *
 *   HEAD ─► TABLES ⇄ ROWS ─► REST (indexes, triggers, views) ─► OVER
 *
 * Values go out in pieces: apart from what SQLite holds of the row at hand, memory is what the caller's buffer
 * takes. Beyond rqlite's format, so that what is written here can be read back:
 *   - sqlite_sequence stands behind the other tables: it exists only once one of them uses it;
 *   - a virtual table has its CREATE only, and each of its shadow tables a DELETE in place of a CREATE, then its
 *     rows: CREATE VIRTUAL TABLE makes them, and in them is all there is;
 *   - text that holds NUL is a CAST of a blob, an infinity is 9e999. */
#include "db_int.h"

enum { PIECE_BYTES = 16 * 1024 };

enum section { HEAD, TABLES, ROWS, REST, OVER };

struct db_dump {
    sqlite3 *conn;
    struct slice *tables; /* wanted; NULL: all. In one block with their bytes */
    uint32_t table_count;
    enum section section;
    sqlite3_stmt *schema; /* TABLES, ROWS: tables; REST: the others */
    sqlite3_stmt *rows;   /* ROWS */
    sqlite3_stmt *quote;  /* a real as SQLite writes it */
    char *insert;         /* what stands before the values of a row */
    int column;           /* the value being written; -1: no row is */
    const uint8_t *bytes; /* what is left of it: of TEXT or BLOB */
    size_t left;
    bool hex, in_value;
};

struct db_dump *db_dump_new(sqlite3 *conn, const struct slice *tables, uint32_t table_count)
{
    struct db_dump *d = mem_zalloc(sizeof(*d));
    size_t bytes = 0;

    for (uint32_t i = 0; i < table_count; i++)
        bytes += tables[i].len;
    if (d && table_count)
        d->tables = mem_alloc(table_count * sizeof(*tables) + bytes);
    if (!d || (table_count && !d->tables)) {
        mem_free(d);
        return NULL;
    }
    uint8_t *to = table_count ? (uint8_t *)(d->tables + table_count) : NULL;
    for (uint32_t i = 0; i < table_count; i++) {
        d->tables[i] = slice_of(to, tables[i].len);
        if (tables[i].len)
            memcpy(to, tables[i].data, tables[i].len);
        to += tables[i].len;
    }
    d->conn = conn;
    d->table_count = table_count;
    d->column = -1;
    return d;
}

void db_dump_free(struct db_dump *d)
{
    if (!d)
        return;
    (void)sqlite3_finalize(d->schema);
    (void)sqlite3_finalize(d->rows);
    (void)sqlite3_finalize(d->quote);
    sqlite3_free(d->insert);
    mem_free(d->tables);
    mem_free(d);
}

/* ---- SQLite's failures ---------------------------------------------------------------------------------- */

static int refused(const struct db_dump *d, int rc, struct err_text *why)
{
    int machine = db_now()->machine_rc;

    if (machine)
        return err_set(why, machine, "%s", err_text_of(machine));
    if ((rc & 0xFF) == SQLITE_CORRUPT || (rc & 0xFF) == SQLITE_NOMEM)
        return err_set(why, db_machine_code(rc), "%s", sqlite3_errmsg(d->conn));
    return err_set(why, ERR_SQL, "%s", sqlite3_errmsg(d->conn));
}

static int prepare(const struct db_dump *d, const char *sql, sqlite3_stmt **out,
                   struct err_text *why)
{
    int rc = sqlite3_prepare_v2(d->conn, sql, -1, out, NULL);
    return rc == SQLITE_OK ? 0 : refused(d, rc, why);
}

/* 0: a row; ERR_EOF: none is left; else it failed. */
static int next_row(const struct db_dump *d, sqlite3_stmt *s, struct err_text *why)
{
    int rc = sqlite3_step(s);

    if (rc == SQLITE_ROW)
        return 0;
    return rc == SQLITE_DONE ? ERR_EOF : refused(d, rc, why);
}

static void put_column(struct buf *out, sqlite3_stmt *s, int column)
{
    const void *bytes = sqlite3_column_text(s, column);
    (void)buf_append(out, bytes, (size_t)sqlite3_column_bytes(s, column));
}

/* ---- values ---------------------------------------------------------------------------------------------- */

static int put_real(struct db_dump *d, double v, struct buf *out, struct err_text *why)
{
    if (v > 1.7976931348623157e308 || v < -1.7976931348623157e308)
        return buf_append_str(out, v > 0 ? "9e999" : "-9e999");
    int rc = d->quote ? 0 : prepare(d, "SELECT quote(?)", &d->quote, why);
    if (rc)
        return rc;
    (void)sqlite3_bind_double(d->quote, 1, v);
    rc = next_row(d, d->quote, why);
    if (rc == 0)
        put_column(out, d->quote, 0);
    (void)sqlite3_reset(d->quote);
    return rc ? rc : out->failed;
}

static void bytes_begin(struct db_dump *d, int type, struct buf *out)
{
    d->bytes = type == SQLITE_BLOB ? sqlite3_column_blob(d->rows, d->column)
                                   : sqlite3_column_text(d->rows, d->column);
    d->left = d->bytes ? (size_t)sqlite3_column_bytes(d->rows, d->column) : 0;
    bool nul = type == SQLITE_TEXT && d->left && memchr(d->bytes, 0, d->left);
    d->hex = type == SQLITE_BLOB || nul;
    (void)buf_append_str(out, nul ? "CAST(X'" : d->hex ? "X'" : "'");
}

static void put_hex(struct slice bytes, struct buf *out)
{
    static const char digits[] = "0123456789ABCDEF";
    uint8_t *to = buf_reserve(out, bytes.len * 2);

    if (!to)
        return;
    for (size_t i = 0; i < bytes.len; i++) {
        *to++ = (uint8_t)digits[bytes.data[i] >> 4];
        *to++ = (uint8_t)digits[bytes.data[i] & 15];
    }
    buf_commit(out, bytes.len * 2);
}

static void put_quoted(struct slice bytes, struct buf *out)
{
    while (bytes.len) {
        const uint8_t *quote = memchr(bytes.data, '\'', bytes.len);
        size_t n = quote ? (size_t)(quote - bytes.data) + 1 : bytes.len;
        (void)buf_append(out, bytes.data, n);
        if (quote)
            (void)buf_append_byte(out, '\'');
        bytes = slice_of(bytes.data + n, bytes.len - n);
    }
}

/* Go on with TEXT or BLOB. */
static void put_piece(struct db_dump *d, struct buf *out)
{
    struct slice piece = slice_of(d->bytes, d->left < PIECE_BYTES ? d->left : PIECE_BYTES);

    if (d->hex)
        put_hex(piece, out);
    else
        put_quoted(piece, out);
    if (piece.len)
        d->bytes += piece.len;
    d->left -= piece.len;
    d->in_value = d->left > 0;
    if (d->in_value)
        return;
    bool text = d->hex && sqlite3_column_type(d->rows, d->column) == SQLITE_TEXT;
    (void)buf_append_str(out, text ? "' AS TEXT)" : "'");
}

static int put_value(struct db_dump *d, struct buf *out, struct err_text *why)
{
    int type = sqlite3_column_type(d->rows, d->column);

    switch (type) {
    case SQLITE_INTEGER:
        return buf_append_i64(out, sqlite3_column_int64(d->rows, d->column));
    case SQLITE_FLOAT:
        return put_real(d, sqlite3_column_double(d->rows, d->column), out, why);
    case SQLITE_TEXT:
    case SQLITE_BLOB:
        bytes_begin(d, type, out);
        put_piece(d, out);
        return out->failed;
    default:
        return buf_append_str(out, "NULL");
    }
}

/* ---- rows -------------------------------------------------------------------------------------------------- */

/* SELECT of the columns that an INSERT takes: neither hidden nor generated ones. *sql NULL: there are none. */
static int rows_sql(struct db_dump *d, const char *name, char **sql, struct err_text *why)
{
    sqlite3_str *s = sqlite3_str_new(d->conn);
    sqlite3_stmt *columns = NULL;
    const char *before = "SELECT ";

    int rc = prepare(d, "SELECT name FROM pragma_table_info(?)", &columns, why);
    if (rc == 0)
        (void)sqlite3_bind_text(columns, 1, name, -1, SQLITE_STATIC);
    while (rc == 0 && (rc = next_row(d, columns, why)) == 0) {
        sqlite3_str_appendf(s, "%s\"%w\"", before, sqlite3_column_text(columns, 0));
        before = ",";
    }
    (void)sqlite3_finalize(columns);
    if (sqlite3_str_length(s)) /* an index would bring the rows in its own order */
        sqlite3_str_appendf(s, " FROM \"%w\" NOT INDEXED", name);
    int failed = sqlite3_str_errcode(s);
    *sql = sqlite3_str_finish(s);
    if (rc != ERR_EOF)
        return rc;
    return failed ? err_set(why, ERR_NOMEM, "no memory for the columns of a table") : 0;
}

static int rows_begin(struct db_dump *d, const char *name, struct err_text *why)
{
    char *sql = NULL;
    int rc = rows_sql(d, name, &sql, why);

    if (rc == 0 && sql) {
        sqlite3_free(d->insert);
        d->insert = sqlite3_mprintf("INSERT INTO \"%w\" VALUES(", name);
        rc = d->insert ? prepare(d, sql, &d->rows, why)
                       : err_set(why, ERR_NOMEM, "no memory for a table");
        d->section = ROWS;
    }
    sqlite3_free(sql);
    return rc;
}

static int rows_step(struct db_dump *d, struct buf *out, struct err_text *why)
{
    if (d->in_value) {
        put_piece(d, out);
        return out->failed;
    }
    if (d->column < 0) {
        int rc = next_row(d, d->rows, why);
        if (rc == ERR_EOF) {
            (void)sqlite3_finalize(d->rows);
            d->rows = NULL;
            d->section = TABLES;
        }
        if (rc)
            return rc == ERR_EOF ? 0 : rc;
        (void)buf_append_str(out, d->insert);
    }
    if (++d->column == sqlite3_column_count(d->rows)) {
        d->column = -1;
        return buf_append_str(out, ");\n");
    }
    if (d->column > 0)
        (void)buf_append_byte(out, ',');
    return put_value(d, out, why);
}

/* ---- the schema ---------------------------------------------------------------------------------------------- */

enum { AT_NAME, AT_SQL, AT_KIND };

static bool has_prefix(struct slice s, const char *prefix)
{
    return s.len >= strlen(prefix) && memcmp(s.data, prefix, strlen(prefix)) == 0;
}

/* Who wants a virtual table wants what it consists of. */
static bool wanted(const struct db_dump *d, struct slice name, bool shadow)
{
    for (uint32_t i = 0; i < d->table_count; i++) {
        struct slice t = d->tables[i];
        if (slice_equal(t, name) || (shadow && name.len > t.len && name.data[t.len] == '_' &&
                                     memcmp(name.data, t.data, t.len) == 0))
            return true;
    }
    return d->table_count == 0;
}

static int table_begin(struct db_dump *d, struct buf *out, struct err_text *why)
{
    const char *text = (const char *)sqlite3_column_text(d->schema, AT_NAME);
    const char *kind = (const char *)sqlite3_column_text(d->schema, AT_KIND);

    if (!text)
        return refused(d, SQLITE_NOMEM, why);
    struct slice name = slice_str(text);
    bool shadow = kind && strcmp(kind, "shadow") == 0,
         is_virtual = kind && strcmp(kind, "virtual") == 0;
    bool sequence = slice_equal_str(name, "sqlite_sequence"),
         stat = slice_equal_str(name, "sqlite_stat1");
    if (!wanted(d, name, shadow) || (has_prefix(name, "sqlite_") && !sequence && !stat))
        return 0;
    if (shadow || sequence) {
        char *quoted = sqlite3_mprintf("DELETE FROM \"%w\"", text);
        (void)buf_append_str(out, quoted ? quoted : "");
        sqlite3_free(quoted);
        if (!quoted)
            return refused(d, SQLITE_NOMEM, why);
    } else if (stat) {
        (void)buf_append_str(out, "ANALYZE \"sqlite_master\"");
    } else {
        put_column(out, d->schema, AT_SQL);
    }
    (void)buf_append_str(out, ";\n");
    return is_virtual ? out->failed : rows_begin(d, text, why);
}

static int head_step(struct db_dump *d, struct buf *out, struct err_text *why)
{
    d->section = TABLES;
    (void)buf_append_str(out, "PRAGMA foreign_keys=OFF;\nBEGIN TRANSACTION;\n");
    return prepare(
        d,
        "SELECT s.name, s.sql, l.type FROM sqlite_schema s"
        " LEFT JOIN pragma_table_list l ON l.schema='main' AND l.name=s.name"
        " WHERE s.sql NOT NULL AND s.type='table' ORDER BY s.name='sqlite_sequence', s.name",
        &d->schema, why);
}

static int tables_step(struct db_dump *d, struct buf *out, struct err_text *why)
{
    int rc = next_row(d, d->schema, why);

    if (rc == 0)
        return table_begin(d, out, why);
    if (rc != ERR_EOF)
        return rc;
    (void)sqlite3_finalize(d->schema);
    d->schema = NULL;
    d->section = REST;
    return prepare(d,
                   "SELECT name, sql FROM sqlite_schema WHERE sql NOT NULL"
                   " AND type IN ('index','trigger','view')",
                   &d->schema, why);
}

static int rest_step(struct db_dump *d, struct buf *out, struct err_text *why)
{
    int rc = next_row(d, d->schema, why);

    if (rc == 0) {
        put_column(out, d->schema, AT_SQL);
        return buf_append_str(out, ";\n");
    }
    if (rc != ERR_EOF)
        return rc;
    d->section = OVER;
    return buf_append_str(out, "COMMIT;\n");
}

int db_dump_step(struct db_dump *d, struct buf *out, size_t bytes, struct err_text *why)
{
    static int (*const step[])(struct db_dump *, struct buf *, struct err_text *) = {
        [HEAD] = head_step, [TABLES] = tables_step, [ROWS] = rows_step, [REST] = rest_step};
    int rc = 0;

    while (rc == 0 && d->section != OVER && buf_len(out) < bytes)
        rc = step[d->section](d, out, why);
    if (rc == 0 && out->failed)
        rc = out->failed;
    return rc || d->section == OVER ? rc : DB_MORE;
}
