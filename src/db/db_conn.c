/* db_conn.c — a connection as this room wants it, and SQL of our own on it. Uses the files below it only;
 * db.c opens the writer with it, db_query.c the readers. */
#include "db_int.h"

void db_fold(uint64_t *digest, uint64_t value)
{
    *digest = prng_mix(*digest, value);
}

int db_machine_code(int sqlite_rc)
{
    ASSERT(sqlite_rc != SQLITE_OK);
    switch (sqlite_rc & 0xFF) {
    case SQLITE_NOMEM:
        return ERR_NOMEM;
    case SQLITE_FULL:
        return ERR_NOSPC;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return ERR_CORRUPT;
    default:
        return ERR_IO;
    }
}

int db_exec(sqlite3 *conn, const char *sql, struct err_text *why)
{
    ASSERT(conn);
    int rc = sqlite3_exec(conn, sql, NULL, NULL, NULL);
    return rc == SQLITE_OK ? 0
                           : err_set(why, db_machine_code(rc), "%s: %s", sql, sqlite3_errmsg(conn));
}

/* Size limits a statement can hit: the same on all nodes, below what the machine bears. */
static void set_limits(sqlite3 *conn)
{
    (void)sqlite3_limit(conn, SQLITE_LIMIT_LENGTH, LIMIT_ENTRY_BYTES * 4);
    (void)sqlite3_limit(conn, SQLITE_LIMIT_SQL_LENGTH, LIMIT_ENTRY_BYTES);
    (void)sqlite3_limit(conn, SQLITE_LIMIT_COLUMN, 2000);
    (void)sqlite3_limit(conn, SQLITE_LIMIT_EXPR_DEPTH, 1000);
    (void)sqlite3_limit(conn, SQLITE_LIMIT_COMPOUND_SELECT, 500);
    (void)sqlite3_limit(conn, SQLITE_LIMIT_VDBE_OP, 250000000);
    (void)sqlite3_limit(conn, SQLITE_LIMIT_FUNCTION_ARG, 100);
    (void)sqlite3_limit(conn, SQLITE_LIMIT_ATTACHED, 1); /* VACUUM needs one */
    (void)sqlite3_limit(conn, SQLITE_LIMIT_LIKE_PATTERN_LENGTH, 50000);
    (void)sqlite3_limit(conn, SQLITE_LIMIT_VARIABLE_NUMBER, LIMIT_PARAMS_PER_STATEMENT);
    (void)sqlite3_limit(conn, SQLITE_LIMIT_TRIGGER_DEPTH, 1000);
    (void)sqlite3_limit(conn, SQLITE_LIMIT_WORKER_THREADS, 0);
}

static int set_up(sqlite3 *conn, const struct db_config *config, const int64_t *total_shift,
                  bool fresh, struct err_text *why)
{
    char sql[512];

    (void)sqlite3_db_config(conn, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    (void)sqlite3_db_config(conn, SQLITE_DBCONFIG_ENABLE_LOAD_EXTENSION, 0, NULL);
    set_limits(conn);
    if (db_functions_install(conn, total_shift))
        return err_set(why, ERR_NOMEM, "cannot install functions");
    (void)sqlite3_extended_result_codes(conn, 1);
    (void)snprintf(
        sql, sizeof(sql),
        "%sPRAGMA synchronous=OFF;PRAGMA cache_spill=OFF;"
        "PRAGMA temp_store=MEMORY;PRAGMA recursive_triggers=OFF;PRAGMA cache_size=%u;"
        "PRAGMA foreign_keys=%s;PRAGMA busy_timeout=5000;%s",
        /* A reader never commits, so that SQLite's default of 1000 there is only a number,
                    * one that tools compare (http-api.md §19.5). */
        /* A WAL that one large commit made does not stay so large. */
        total_shift ? "PRAGMA journal_mode=WAL;PRAGMA wal_autocheckpoint=0;"
                      "PRAGMA journal_size_limit=67108864;"
                    : "",
        config->cache_pages, config->foreign_keys ? "ON" : "OFF",
        /* Reading the schema fixes the encoding. */
        !total_shift ? "PRAGMA query_only=ON;"
        : fresh      ? "PRAGMA user_version=0;SELECT 1 FROM sqlite_schema;"
                     : "SELECT 1 FROM sqlite_schema;");
    return db_exec(conn, sql, why);
}

int db_conn_open(struct db_files *files, const struct db_config *config, const int64_t *total_shift,
                 sqlite3 **out, struct err_text *why)
{
    bool writer = total_shift != NULL, fresh = files->stores[DB_SLOT_MAIN].size == 0;
    int flags = SQLITE_OPEN_NOMUTEX |
                (writer ? SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE : SQLITE_OPEN_READONLY);

    db_vfs_opening(files);
    int rc =
        sqlite3_open_v2(files->path, out, flags, writer ? db_vfs_writer_name : db_vfs_reader_name);
    rc = rc == SQLITE_OK ? set_up(*out, config, total_shift, fresh, why)
                         : err_set(why, db_machine_code(rc), "cannot open the database: %s",
                                   sqlite3_errstr(rc));
    db_vfs_opening(NULL);
    int machine = db_now()->machine_rc; /* noted by our files: nearer to the cause than SQLite's */
    return machine ? machine : rc;
}
