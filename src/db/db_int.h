/* db_int — the room's inside. Private to src/db.
 *
 *   db_library.c  once per process: allocator, two VFSes, identity
 *   db_store.c    bytes of one file: memory or env file           ┐
 *   db_shm.c      WAL index and locks between our connections      ├ what SQLite stands on
 *   db_vfs.c      sqlite3_vfs and sqlite3_io_methods over both    ┘
 *   db_entry.c    time and chance of a statement, machine failures (one thread-local struct)
 *   db_guard.c    what SQL may not do      db_stmt.c  prepared statements by text
 *   db_bind.c     parameters               db_run.c   one SQL text → results
 *   db_apply.c    entries in batches       db_query.c reads        db_hash.c  content
 *   db.c          open, close, facts
 *
 * Files call downwards in this list only. */
#ifndef RQ_DB_INT_H
#define RQ_DB_INT_H

#include <rq/db.h>
#include <rq/limits.h>
#include <rq/sql.h>
#include <rq/util/assert.h>
#include <rq/util/list.h>
#include <rq/util/mem.h>
#include <rq/util/prng.h>
#include <sqlite3.h>
#include <stdio.h>

/* ---- bytes of a file (db_store.c) ------------------------------------------------------------------ */

enum { STORE_CHUNK_BYTES = 64 * 1024 };

struct db_store {
    bool exists;
    uint64_t size;
    /* in memory */
    uint8_t **chunks;
    size_t chunk_count;
    /* on disk */
    struct env_file *file;
};
int db_store_read(struct db_store *s, void *dst, size_t len, uint64_t offset, size_t *got);
int db_store_write(struct db_store *s, const void *src, size_t len, uint64_t offset);
int db_store_truncate(struct db_store *s, uint64_t size);
void db_store_drop(struct db_store *s); /* memory freed, file closed; exists = false */

/* ---- what the connections of one database share ----------------------------------------------------- */

enum db_slot { DB_SLOT_MAIN, DB_SLOT_WAL, DB_SLOT_JOURNAL, DB_SLOT_COUNT };
enum { DB_SHM_REGIONS_MAX = 1024, DB_SHM_LOCKS = 8 };

struct db_files {
    struct env *env;
    bool on_disk;
    char path[DB_PATH_MAX];
    sqlite3_mutex *mutex; /* guards all below; a no-op in single-thread mode */
    struct db_store stores[DB_SLOT_COUNT];
    /* locks of the main file: SQLite's five levels */
    uint32_t shared_count;
    const void *reserved, *pending, *exclusive; /* the handle that holds it */
    /* WAL index */
    uint8_t *shm[DB_SHM_REGIONS_MAX];
    uint32_t shm_region_bytes;
    uint32_t shm_shared[DB_SHM_LOCKS];
    const void *shm_exclusive[DB_SHM_LOCKS];
};

/* One open file handle of SQLite's. */
struct db_file {
    sqlite3_file base;
    struct db_files *files; /* NULL: an anonymous temporary file */
    struct db_store *store;
    struct db_store own; /* anonymous files live here */
    int lock;            /* SQLITE_LOCK_* held on the main file */
    uint16_t shm_shared_mask, shm_exclusive_mask;
};

int db_shm_map(sqlite3_file *f, int region, int bytes, int extend, void volatile **out);
int db_shm_lock(sqlite3_file *f, int offset, int n, int flags);
void db_shm_barrier(sqlite3_file *f);
int db_shm_unmap(sqlite3_file *f, int delete_flag);
int db_lock(sqlite3_file *f, int level);
int db_unlock(sqlite3_file *f, int level);
int db_check_reserved(sqlite3_file *f, int *out);
void db_shm_free(struct db_files *files);

int db_vfs_register(void);
extern const char db_vfs_writer_name[], db_vfs_reader_name[];
/* The files that the next sqlite3_open_v2 of this thread opens. */
void db_vfs_opening(struct db_files *files);

/* ---- the statement that runs now, in this thread (db_entry.c) ------------------------------------------ */

struct db_now {
    bool active; /* an entry is being applied (writer), or a query runs (reader) */
    bool writer;
    int64_t wall_ns;    /* entry's, or this moment's for a query */
    struct prng chance; /* of this statement */
    uint64_t seed;      /* entry's */
    uint64_t statement; /* ordinal within the entry */
    int machine_rc; /* first ERR_* reported by our files or allocator since the statement began */
    const char *refused; /* why the guard said no; static words */
};
struct db_now *db_now(void);
void db_now_entry(int64_t wall_ns, uint64_t seed, uint64_t index); /* before an entry */
void db_now_statement(void);                                       /* before each statement */
void db_now_query(int64_t wall_ns, uint64_t seed);
void db_now_idle(void);
int db_now_failed(int rc); /* note a machine failure; returns rc */
/* Is this SQLite code, met just now, the machine's? 0: a result; else the ERR_*. */
int db_now_machine(int sqlite_rc);
int db_functions_install(sqlite3 *conn); /* random(), randomblob(), and facts that are refused */

/* ---- guard (db_guard.c) ---------------------------------------------------------------------------------- */

enum db_guard_mode { DB_GUARD_WRITER, DB_GUARD_READER };
struct db_guard {
    enum db_guard_mode mode;
    bool vacuum; /* the statement being prepared or run is VACUUM */
};
void db_guard_install(sqlite3 *conn, struct db_guard *g);
bool db_guard_pragma_reads(const struct sql_pragma *p); /* a PRAGMA that only looks */

/* ---- statements (db_stmt.c) -------------------------------------------------------------------------------- */

struct db_stmt {
    struct list link; /* LRU: newest last */
    struct db_stmt *bucket_next;
    uint64_t hash;
    sqlite3_stmt *stmt;
    bool read_only, is_explain, is_dml;
    int param_count, column_count;
    bool cached;
    size_t sql_len;
    char sql[];
};
struct db_stmts {
    struct list lru;
    struct db_stmt **buckets;
    uint32_t bucket_count, count, max;
    uint64_t prepared, hits;
};
int db_stmts_init(struct db_stmts *c, uint32_t max);
void db_stmts_fini(struct db_stmts *c);
/* A whole text that is one cached statement; NULL: not there. */
struct db_stmt *db_stmts_find(struct db_stmts *c, struct slice sql);
/* Prepare the first statement of sql; *tail what follows it. *out NULL: nothing there (comment, blank).
 * Kept in the cache when it is all of the text and may be (no PRAGMA, no ALONE class). SQLite's code. */
int db_stmts_prepare(struct db_stmts *c, sqlite3 *conn, struct slice sql, struct db_stmt **out,
                     struct slice *tail);
void db_stmt_release(struct db_stmt *s); /* reset and unbind; finalised unless cached */

/* ---- parameters (db_bind.c) --------------------------------------------------------------------------------- */

struct db_params {
    struct wire_param *at;
    uint32_t count, cap;
};
int db_params_read(struct db_params *p, struct wire_cmd *c,
                   uint32_t count); /* 0, ERR_NOMEM, ERR_PROTOCOL */
/* Bind those from `from` on. false: text says what is wrong. */
bool db_bind(struct db_stmt *s, const struct db_params *p, uint32_t from, char *text,
             size_t text_cap);

/* ---- one SQL text (db_run.c) ------------------------------------------------------------------------------------ */

enum db_run_mode { DB_RUN_EXECUTE, DB_RUN_REQUEST, DB_RUN_QUERY };
struct db_run {
    sqlite3 *conn;
    struct db_stmts *stmts;
    struct db_guard *guard;
    struct env *env;
    enum db_run_mode mode;
    bool qualify;
    struct db_sink *sink; /* NULL: nobody looks */
    uint64_t deadline_ns;
    const char *timeout_text;
    /* sticky (writer); NULL for readers */
    int64_t *last_insert_id, *rows_affected;
    uint64_t *digest;
    struct db_params params;
    /* called after each statement: true stops the run (the batch must be redone) */
    bool (*after)(void *ctx);
    void *after_ctx;
    bool stopped;
};
/* Run all statements of the text. *ok: all succeeded (false: the sink has the error). Returns 0, or the
 * machine's ERR_*. */
int db_run_text(struct db_run *r, struct slice sql, bool *ok);
void db_fold(uint64_t *digest, uint64_t value);

/* ---- the room's objects ---------------------------------------------------------------------------------------------- */

struct db {
    struct env *env;
    struct db_config config;
    struct db_files files;
    sqlite3 *writer;
    struct db_guard guard;
    struct db_stmts stmts;
    sqlite3_stmt *begin, *commit, *rollback, *savepoint, *release, *rollback_to;
    struct db_params params;
    uint64_t applied_index, applied_term;
    uint64_t digest;
    int64_t sticky_last_insert_id, sticky_rows_affected;
    uint32_t wal_frames;
    uint64_t batches, batches_redone;
    uint32_t reader_count;
};

struct db_reader {
    struct db *db;
    sqlite3 *conn;
    struct db_guard guard;
    struct db_stmts stmts;
    struct db_params params;
    uint64_t queries;
    uint64_t deadline_ns;
};

int db_conn_open(struct db_files *files, bool writer, uint32_t cache_pages, bool foreign_keys,
                 sqlite3 **out, struct err_text *why);
int db_exec(sqlite3 *conn, const char *sql,
            struct err_text *why);  /* our own SQL: machine errors only */
int db_machine_code(int sqlite_rc); /* ERR_* for a SQLite code of our own SQL */

#endif
