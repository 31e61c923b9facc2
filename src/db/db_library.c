/* db_library.c — SQLite for the whole process: our allocator, threading mode, VFSes, and what kind of
 * SQLite this is (nodes compare it in their greeting, architecture §5). */
#include "db_int.h"
#include <rq/util/endian.h>

/* Blocks carry their size in front, because SQLite asks for it. */
enum { ALLOC_HEADER = 16 };

static void *sqlite_alloc(int len)
{
    uint8_t *p = mem_alloc((size_t)len + ALLOC_HEADER);
    if (!p) {
        (void)db_now_failed(ERR_NOMEM);
        return NULL;
    }
    put_u64(p, (uint64_t)len);
    return p + ALLOC_HEADER;
}

static void sqlite_free(void *p)
{
    if (p)
        mem_free((uint8_t *)p - ALLOC_HEADER);
}

static int sqlite_size(void *p)
{
    return p ? (int)get_u64((uint8_t *)p - ALLOC_HEADER) : 0;
}

static void *sqlite_realloc(void *p, int len)
{
    uint8_t *grown =
        mem_realloc(p ? (uint8_t *)p - ALLOC_HEADER : NULL, (size_t)len + ALLOC_HEADER);
    if (!grown) {
        (void)db_now_failed(ERR_NOMEM);
        return NULL;
    }
    put_u64(grown, (uint64_t)len);
    return grown + ALLOC_HEADER;
}

static int sqlite_roundup(int len)
{
    return (len + 7) & ~7;
}

static int sqlite_mem_init(void *ctx)
{
    (void)ctx;
    return SQLITE_OK;
}

static void sqlite_mem_shutdown(void *ctx)
{
    (void)ctx;
}

int db_library_init(bool single_thread)
{
    static const sqlite3_mem_methods methods = {
        sqlite_alloc,   sqlite_free,     sqlite_realloc,      sqlite_size,
        sqlite_roundup, sqlite_mem_init, sqlite_mem_shutdown, NULL};

    db_now_idle();
    int mode = single_thread ? SQLITE_CONFIG_SINGLETHREAD : SQLITE_CONFIG_MULTITHREAD;
    if (sqlite3_config(mode) || sqlite3_config(SQLITE_CONFIG_MALLOC, &methods) ||
        sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0) ||
        sqlite3_config(SQLITE_CONFIG_LOOKASIDE, 0, 0) || sqlite3_initialize())
        return ERR_NOT_SUPPORTED;
    return db_vfs_register(single_thread) ? ERR_NOT_SUPPORTED : 0;
}

const char *db_library_version(void)
{
    return sqlite3_libversion();
}

#if defined(__x86_64__)
#define DB_ARCH "x86_64"
#elif defined(__aarch64__)
#define DB_ARCH "aarch64"
#else
#define DB_ARCH "other"
#endif

/* Options that change what SQL means. Whether they are compiled in is asked of the library in use. */
static const char *const result_options[] = {
    "DEFAULT_RECURSIVE_TRIGGERS",
    "ENABLE_STAT4",
    "DQS=0",
    "MAX_LIKE_PATTERN_LENGTH=50000",
    "LIKE_DOESNT_MATCH_BLOBS",
    "ENABLE_UPDATE_DELETE_LIMIT",
    "ENABLE_FTS3_PARENTHESIS",
    "ENABLE_FTS5",
    "ENABLE_RTREE",
    "ENABLE_GEOPOLY",
    "ENABLE_MATH_FUNCTIONS",
    "SOUNDEX",
    "CASE_SENSITIVE_LIKE",
    "SECURE_DELETE",
};

const char *db_library_option(uint32_t i)
{
    return i < INT32_MAX ? sqlite3_compileoption_get((int)i) : NULL;
}

const char *db_library_identity(void)
{
    static _Thread_local char text[256]; /* allow-listed: the same text in every thread */

    if (text[0])
        return text;
    char options[sizeof(result_options) / sizeof(result_options[0]) + 1];
    size_t n = sizeof(result_options) / sizeof(result_options[0]);
    for (size_t i = 0; i < n; i++)
        options[i] = sqlite3_compileoption_used(result_options[i]) ? '1' : '0';
    options[n] = '\0';
    (void)snprintf(text, sizeof(text), "%.100s/%s/%s", sqlite3_sourceid(), options, DB_ARCH);
    return text;
}
