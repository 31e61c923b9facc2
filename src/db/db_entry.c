/* db_entry.c — what a statement sees of the world: the time and chance of its entry; and what the world
 * did to it: failures of files and memory while it ran. One struct per thread, because SQLite's seams
 * (VFS, allocator, SQL functions) carry no context of ours. */
#include "db_int.h"

static _Thread_local struct db_now now_of_thread; /* allow-listed: see above */

struct db_now *db_now(void)
{
    return &now_of_thread;
}

void db_now_entry(int64_t wall_ns, uint64_t seed, uint64_t index)
{
    struct db_now *n = &now_of_thread;

    n->active = true;
    n->writer = true;
    n->wall_ns = wall_ns;
    n->seed = prng_mix(seed, index);
    n->statement = 0;
    n->machine_rc = 0;
    n->refused = NULL;
    prng_init(&n->chance, n->seed);
}

/* Before each statement SQLite's generator is made to seed itself anew, from our VFS: whatever it drew
 * for other purposes (WAL salts) cannot shift what this statement draws. */
void db_now_statement(void)
{
    struct db_now *n = &now_of_thread;

    ASSERT(n->active);
    n->statement++;
    n->machine_rc = 0;
    n->refused = NULL;
    prng_init(&n->chance, prng_mix(n->seed, n->statement));
    if (n->writer)
        sqlite3_randomness(0, NULL);
}

void db_now_query(int64_t wall_ns, uint64_t seed)
{
    db_now_entry(wall_ns, seed, 0);
    now_of_thread.writer = false;
}

void db_now_idle(void)
{
    struct db_now *n = &now_of_thread;

    n->active = false;
    n->machine_rc = 0;
    n->refused = NULL;
    prng_init(&n->chance, 1);
}

int db_now_failed(int rc)
{
    ASSERT(rc != 0);
    if (now_of_thread.machine_rc == 0)
        now_of_thread.machine_rc = rc;
    return rc;
}

/* ---- SQL functions ------------------------------------------------------------------------------------- */

static void sql_random(sqlite3_context *c, int argc, sqlite3_value **argv)
{
    (void)argc;
    (void)argv;
    sqlite3_result_int64(c, (sqlite3_int64)prng_u64(&now_of_thread.chance));
}

static void sql_randomblob(sqlite3_context *c, int argc, sqlite3_value **argv)
{
    sqlite3_int64 len = sqlite3_value_int64(argv[0]);

    (void)argc;
    if (len < 1)
        len = 1;
    if (len > sqlite3_limit(sqlite3_context_db_handle(c), SQLITE_LIMIT_LENGTH, -1)) {
        sqlite3_result_error_toobig(c);
        return;
    }
    void *bytes = sqlite3_malloc64((sqlite3_uint64)len);
    if (!bytes) {
        sqlite3_result_error_nomem(c);
        return;
    }
    prng_fill(&now_of_thread.chance, bytes, (size_t)len);
    sqlite3_result_blob64(c, bytes, (sqlite3_uint64)len, sqlite3_free);
}

/* A batch that is done again has counted twice. */
static void sql_total_changes(sqlite3_context *c, int argc, sqlite3_value **argv)
{
    const int64_t *shift = sqlite3_user_data(c);

    (void)argc;
    (void)argv;
    sqlite3_result_int64(c, sqlite3_total_changes64(sqlite3_context_db_handle(c)) + *shift);
}

static void sql_refused(sqlite3_context *c, int argc, sqlite3_value **argv)
{
    (void)argc;
    (void)argv;
    sqlite3_result_error(c, "this function is not supported: it shows one node only", -1);
}

int db_functions_install(sqlite3 *conn, const int64_t *total_shift)
{
    static const struct {
        const char *name;
        int args;
        bool writer_only;
        void (*call)(sqlite3_context *, int, sqlite3_value **);
    } table[] = {
        {"random", 0, false, sql_random},
        {"randomblob", 1, false, sql_randomblob},
        {"total_changes", 0, true, sql_total_changes},
        {"sqlite_source_id", 0, true, sql_refused},
        {"sqlite_compileoption_get", 1, true, sql_refused},
        {"sqlite_compileoption_used", 1, true, sql_refused},
        {"sqlite_offset", 1, true, sql_refused},
    };
    int rc = SQLITE_OK;

    for (size_t i = 0; rc == SQLITE_OK && i < sizeof(table) / sizeof(table[0]); i++)
        if (total_shift || !table[i].writer_only)
            rc = sqlite3_create_function_v2(
                conn, table[i].name, table[i].args, SQLITE_UTF8 | SQLITE_INNOCUOUS,
                (void *)(uintptr_t)total_shift, table[i].call, NULL, NULL, NULL);
    return rc;
}
