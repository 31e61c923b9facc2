/* db_int — the room's inside. Private to src/db.
 *
 *   db_library.c  once per process: allocator, two VFSes, identity
 *   db_dirty.c    which pages changed
 *   db_shared.c   files that other processes read too: SQLite's own VFS, and locks towards the system
 *   db_live.c     the main file of a live database: what was verified, what a checkpoint wrote
 *   db_store.c    bytes of one file: memory, env file, or shared  ┐
 *   db_shm.c      WAL index and locks between our connections      ├ what SQLite stands on
 *   db_vfs.c      sqlite3_vfs and sqlite3_io_methods over both    ┘
 *   db_entry.c    time and chance of a statement, machine failures (one thread-local struct)
 *   db_conn.c     a connection of ours
 *   db_guard.c    what SQL may not do      db_stmt.c  prepared statements by text
 *   db_bind.c     parameters               db_run.c   one SQL text → results
 *   db_sticky.c   counters and digest across a batch that is done again
 *   db_record.c   outcomes written down    db_keys.c  idempotency keys and their outcomes
 *   db_stage.c    a database file that comes in pieces
 *   db_once.c     an entry with a key      db_cond.c  an entry with a condition
 *   db_load.c     an entry that brings a piece, or installs them
 *   db_made.c     VACUUM into a file that becomes the main file
 *   db_upkeep.c   an entry of the leader's own
 *   db_work.c     one entry
 *   db_backup.c  a backup: db_backup_pages.c pages, db_dump.c SQL text, db_vacuum.c a vacuumed copy
 *   db_cut.c, db_pages.c  the database as pages of one moment
 *   db_import.c   is a client's file a database
 *   db.c          open, close, state     db_facts.c  settings, once
 *   db_replace.c  another main file
 *   db_apply.c    entries in batches       db_query.c reads        db_hash.c  content
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
#define SQLITE_ENABLE_PREUPDATE_HOOK 1 /* the header hides it otherwise; the library has it */
#include <sqlite3.h>
#include <stdio.h>

/* ---- bytes of a file (db_store.c) ------------------------------------------------------------------ */

enum { STORE_CHUNK_BYTES = 64 * 1024, DB_PAGE_BYTES = 4096 };

struct db_store {
    bool exists;
    uint64_t size;
    /* in memory */
    uint8_t **chunks;
    size_t chunk_count, chunk_cap;
    /* on disk: one of them */
    struct env_file *file;
    /* somebody else's bytes: only read, and all there */
    int (*read)(void *ctx, void *dst, size_t len, uint64_t offset);
    void *read_ctx;
    sqlite3_file *os; /* db_shared.c */
    bool is_wal;
};
int db_store_read(struct db_store *s, void *dst, size_t len, uint64_t offset, size_t *got);
int db_store_write(struct db_store *s, const void *src, size_t len, uint64_t offset);
int db_store_truncate(struct db_store *s, uint64_t size);
void db_store_drop(struct db_store *s); /* memory freed, file closed; exists = false */

/* ---- which pages changed (db_dirty.c) --------------------------------------------------------------- */

struct db_dirty {
    bool all;
    uint8_t *page; /* by number; cap of them */
    uint32_t cap;
    uint64_t bytes; /* of the frames that were noted */
};

/* ---- the main file of a live database (db_live.c) ------------------------------------------------------ */

struct db_live {
    bool on;
    uint32_t page_bytes;
    /* Pages as they were found at open: not read yet, and what they must sum up to then. */
    uint32_t *sums;
    uint8_t *unread;
    uint32_t count, unread_count;
    /* By number: written for the cut at hand. */
    uint8_t *copied;
    uint32_t copied_cap;
    enum db_live_copy { DB_COPY_NONE, DB_COPY_REHEARSAL, DB_COPY_LAST } copy; /* the checkpoint under way */
};

/* ---- what the connections of one database share ----------------------------------------------------- */

enum db_slot { DB_SLOT_MAIN, DB_SLOT_WAL, DB_SLOT_JOURNAL, DB_SLOT_COUNT };
enum { DB_SHM_REGIONS_MAX = 1024, DB_SHM_LOCKS = 8 };

enum db_held { DB_HELD_NOT, DB_HELD_SHARED, DB_HELD_EXCLUSIVE };
struct db_shared { /* what we are towards other processes */
    bool on;
    sqlite3_vfs *vfs;
    const char *name;                /* SQLite's way of writing it */
    enum db_held held[DB_SHM_LOCKS]; /* of the WAL index */
};

struct db_files {
    struct env *env;
    bool on_disk;
    struct db_shared shared;
    char path[DB_PATH_MAX];
    sqlite3_mutex *mutex; /* guards all below; a no-op in single-thread mode */
    struct db_store stores[DB_SLOT_COUNT];
    /* As written to the WAL last: pages of the database; pages on its freelist; page 1 comes next. */
    uint32_t page_count, freelist_count;
    bool page_one_next;
    /* locks of the main file: SQLite's five levels */
    uint32_t shared_count;
    const void *reserved, *pending, *exclusive; /* the handle that holds it */
    struct db_dirty dirty;                      /* since the last cut */
    struct db_live live;
    uint32_t wal_page_bytes;
    uint64_t wal_end; /* of what was written to the WAL since its header was */
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

/* db_shared.c. The files' mutex is held in all but open and close. Those of locks and the map: SQLite's codes. */
int db_shared_open(struct db_files *f, bool create, struct err_text *why); /* ERR_BUSY: in use */
void db_shared_close(struct db_files *f);
int db_shared_file_open(struct db_files *f, struct db_store *store, bool create);
int db_shared_read(struct db_store *s, void *dst, size_t len, uint64_t offset, size_t *got);
int db_shared_write(struct db_store *s, const void *src, size_t len, uint64_t offset);
int db_shared_truncate(struct db_store *s, uint64_t size);
int db_shared_sync(struct db_store *s);
void db_shared_file_close(struct db_store *s);
int db_shared_lock(struct db_files *f, uint16_t mask, bool exclusive);
void db_shared_unlock(struct db_files *f, uint16_t mask,
                      bool exclusive); /* none of ours has it now */
int db_shared_map(struct db_files *f, int region, int bytes, bool extend, void volatile **out);
void db_shared_barrier(struct db_files *f);

int db_shm_map(sqlite3_file *f, int region, int bytes, int extend, void volatile **out);
int db_shm_lock(sqlite3_file *f, int offset, int n, int flags);
void db_shm_barrier(sqlite3_file *f);
int db_shm_unmap(sqlite3_file *f, int delete_flag);
int db_lock(sqlite3_file *f, int level);
int db_unlock(sqlite3_file *f, int level);
int db_check_reserved(sqlite3_file *f, int *out);
void db_shm_free(struct db_files *files);

/* A write of SQLite's: note the page it changes. The files' mutex is held. 0, ERR_NOMEM. */
int db_dirty_note(struct db_files *files, const struct db_store *store, const void *src, size_t len,
                  uint64_t offset);
void db_dirty_merge(struct db_dirty *into, struct db_dirty *from); /* from is emptied */

/* Work with the file that is there. sums: lent. 0; ERR_CORRUPT: it is too short; ERR_*. */
int db_live_adopt(struct db_files *files, uint32_t page_bytes, uint32_t page_count,
                  const uint32_t *sums);
void db_live_fini(struct db_live *l);
/* As db_store_read and db_store_write, of any store; the main file's pages are looked at on the way. The
 * files' mutex is held. */
int db_live_read(struct db_files *files, struct db_store *store, void *dst, size_t len,
                 uint64_t offset, size_t *got);
int db_live_write(struct db_files *files, struct db_store *store, const void *src, size_t len,
                  uint64_t offset);
/* The same for what SQLite writes: nothing for a page that is there already. ERR_CANCELED: this is a rehearsal. */
enum { DB_WAL_PIECE_BYTES = 8 * 1024 * 1024 }; /* of a file that is cut off while others wait */
/* As SQLite does it. 0; ERR_IO, ERR_NOSPC. */
int db_live_truncate(struct db_files *files, struct db_store *store, uint64_t size);
int db_live_write_sqlite(struct db_files *files, struct db_store *store, const void *src,
                         size_t len, uint64_t offset);
void db_live_copy_set(struct db_files *files, enum db_live_copy copy);
/* Fill the main file, which is not there yet. 0; page's own; ERR_*. */
int db_pages_fill(struct db_files *files, uint32_t page_bytes, uint32_t page_count,
                  int (*page)(void *ctx, uint32_t number, void *dst), void *ctx);

int db_vfs_register(bool single_thread);
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
/* random(), randomblob(); on the writer also total_changes(), shifted by *total_shift, and the facts that
 * are refused (a DEFAULT calls a function without asking the authorizer). */
int db_functions_install(sqlite3 *conn, const int64_t *total_shift);

/* ---- guard (db_guard.c) ---------------------------------------------------------------------------------- */

enum db_guard_mode {
    DB_GUARD_WRITER, /* entries: what changes replicated state passes, what shows one node does not */
    DB_GUARD_STRONG, /* a read on the writer: nothing is changed; shows what entries may see */
    DB_GUARD_READER, /* a read connection: nothing is changed */
    DB_GUARD_OFF,    /* our own SQL */
};
struct db_guard {
    enum db_guard_mode mode;
    bool vacuum;      /* the statement being prepared or run is VACUUM */
    const char *into; /* … of ours, into this file; NULL: not */
    /* What PRAGMA auto_vacuum asked the next VACUUM for, plus one; 0: never asked. SQLite keeps it in the
     * connection and does not tell. */
    uint8_t auto_vacuum;
};
void db_guard_install(sqlite3 *conn, struct db_guard *g);
bool db_guard_pragma_reads(const struct sql_pragma *p); /* a PRAGMA that only looks */

/* ---- statements (db_stmt.c) -------------------------------------------------------------------------------- */

struct db_stmt {
    struct list link; /* LRU: newest last */
    struct db_stmt *bucket_next;
    uint64_t hash;
    sqlite3_stmt *stmt;
    bool read_only, is_explain, is_dml, is_pragma;
    bool
        plain; /* reads or changes rows: leaves schema, settings and other statements as they are */
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
void db_stmts_clear(struct db_stmts *c); /* the schema changed: what was prepared before is stale */
uint64_t db_stmts_hash(struct slice sql);
/* A whole text that is one cached statement (of a kind that is `plain`); NULL: not there. */
struct db_stmt *db_stmts_find(const struct db_stmts *c, struct slice sql, uint64_t hash);
void db_stmts_used(struct db_stmts *c, struct db_stmt *s); /* it is about to run: newest again */
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
struct db_run_at { /* how far the text has come */
    struct slice rest;
    uint32_t from;         /* parameters used by the statements before */
    bool ran;              /* there was a statement */
    struct db_stmt *stmt;  /* begun and not ended; NULL: between two */
    bool rows, tell, told; /* it gives rows; somebody looks; its columns are told */
    bool last, sink_stopped;
    bool paused;
    bool was_in_transaction;
    int rc; /* SQLite's, of its last step */
    uint64_t row_count;
    uint64_t began_ns;
};
struct db_run {
    sqlite3 *conn;
    struct db_stmts *stmts;
    struct db_guard *guard;
    struct env *env;
    enum db_run_mode mode;
    bool qualify;
    bool tables;          /* the sink wants to know the columns' tables */
    struct db_sink *sink; /* NULL: nobody looks */
    uint64_t deadline_ns;
    const char *timeout_text;
    uint64_t *digest;     /* NULL: a read, which leaves no trace */
    bool *schema_touched; /* set when a statement that is not plain ran; NULL: nobody asks */
    bool *changed; /* set when one that changes other things than rows ran; NULL: nobody asks */
    bool in_batch; /* stop when the transaction around the statements is gone */
    bool stopped;  /* it was: the batch must be redone */
    struct db_params params;
    bool (*pause)(void *ctx); /* reads only: see struct db_query */
    void *pause_ctx;
    struct db_run_at at;
};
/* Run all statements of the text. *ok: all succeeded (false: the sink has the error). Returns 0, the
 * machine's ERR_*, or DB_MORE: r->pause said so; db_run_resume goes on. */
int db_run_text(struct db_run *r, struct slice sql, bool *ok);
int db_run_resume(struct db_run *r, uint64_t paused_ns, bool *ok); /* paused_ns: for how long */
void db_run_end(struct db_run *r);                                 /* give up what is paused */
bool db_run_late(const struct db_run *r);                          /* the deadline is over */
void db_fold(uint64_t *digest, uint64_t value);

/* ---- outcomes written down (db_record.c) ---------------------------------------------------------------------------- */

struct db_record {
    struct db_sink sink;    /* first */
    struct db_sink *client; /* told too; NULL: nobody here waits */
    bool qualify;           /* it wants "table.column" */
    bool client_full;       /* it takes no more rows of this statement */
    enum db_note note;      /* of the request error to come; 0: none */
    struct buf bytes;
};
void db_record_init(struct db_record *r);
void db_record_fini(struct db_record *r);
/* The sink for one request; run it with struct db_run's `tables`. */
struct db_sink *db_record_begin(struct db_record *r, struct db_sink *client, bool qualify);
/* What was written down; lent until the next begin. 0, ERR_NOMEM. */
int db_record_end(struct db_record *r, struct slice *outcome);
/* Tell a client an outcome that the entry `index` had. 0; ERR_CORRUPT: it is no outcome; ERR_NOMEM. */
int db_record_replay(struct slice outcome, uint64_t index, struct db_sink *client, bool qualify);

/* ---- idempotency keys (db_keys.c) ------------------------------------------------------------------------------------ */

enum db_keys_sql {
    DB_KEYS_BEGIN,
    DB_KEYS_COMMIT,
    DB_KEYS_ROLLBACK,
    DB_KEYS_FIND,
    DB_KEYS_PUT,
    DB_KEYS_OLDEST,
    DB_KEYS_DROP,
    DB_KEYS_SQL_COUNT
};

struct db_keys {
    struct db_files files;
    sqlite3 *conn;
    sqlite3_stmt *sql[DB_KEYS_SQL_COUNT];
    int64_t total_shift; /* unused, as this connection's total_changes() is */
    uint32_t wal_frames;
    bool in_transaction;
    struct db_keys_sum {       /* follows from the file */
        uint64_t count, bytes; /* of keys; of their outcomes */
        int64_t wall_ns;       /* the newest clock of a recorded entry */
    } now, before;             /* the transaction */
    struct db_keys_limit {     /* the same on all nodes; tests make them small */
        uint64_t count, bytes;
        int64_t age_ns;
    } limit;
};
struct db_key {
    bool known;
    uint64_t index;  /* of its entry; not known, yet not 0: forgotten, but still in the file */
    uint64_t print;  /* fingerprint of the request */
    uint64_t bytes;  /* of the outcome */
    int64_t wall_ns; /* put: the entry's */
};
/* files: filled in by the caller. Those below that return int: 0, or the machine's ERR_*. */
int db_keys_open(struct db_keys *k, const struct db_config *config, struct err_text *why);
void db_keys_close(struct db_keys *k);
/* Asked for by an entry of that clock. outcome: filled when it is known. */
int db_keys_find(struct db_keys *k, struct slice key, int64_t wall_ns, struct db_key *found,
                 struct buf *outcome);
/* stale: what db_keys_find said of this key. Begins a transaction unless one is open. */
int db_keys_put(struct db_keys *k, struct slice key, const struct db_key *stale,
                const struct db_key *seen, struct slice outcome);
int db_keys_begin(struct db_keys *k);  /* unless a transaction is open */
int db_keys_commit(struct db_keys *k); /* both: nothing to do when none is */
int db_keys_roll_back(struct db_keys *k);
int db_keys_limit_wal(struct db_keys *k, uint64_t limit_bytes);
/* Run one of the statements, which gives no rows. */
int db_keys_run(struct db_keys *k, enum db_keys_sql which);
int db_keys_failed(int sqlite_rc);

/* ---- the room's objects ---------------------------------------------------------------------------------------------- */

enum db_control {
    DB_BEGIN,
    DB_COMMIT,
    DB_ROLLBACK,
    DB_SAVEPOINT,
    DB_RELEASE,
    DB_ROLLBACK_TO,
    DB_COOKIE, /* the schema's version */
    DB_SCHEMA, /* does it hold virtual tables, deferred foreign keys */
    DB_CONTROL_COUNT
};

/* One entry of the batch at hand, opened. */
struct db_work {
    struct wire_cmd cmd; /* of a NORMAL entry; before its first statement */
    bool alone;          /* runs by itself, in autocommit */
    bool replaces;       /* … and puts another main file in place, if it can be prepared */
};

/* ---- pieces of a load (db_stage.c) --------------------------------------------------------------------- */

/* Pieces but the last are of one size. */
struct db_stage_facts {
    uint64_t id; /* of the load; 0: none */
    uint64_t bytes, piece_bytes;
    uint64_t touched; /* index of the entry that brought the last piece */
    uint32_t digest;  /* crc32c of all bytes */
    bool ended;       /* the last piece was shorter: it is the last */
};
struct db_stage_part {
    uint64_t from, to; /* bytes of the load that are here; equal: none */
    struct db_store store;
    unsigned slot; /* of its file's name */
};
struct db_stage {
    struct db_stage_facts now;
    struct db_stage_part older, newest;
    bool cutting; /* older is given to a cut; … */
    bool dropped; /* … its load is gone meanwhile */
};
/* now: what the state says. What else is there comes from the source. 0; ERR_*. */
int db_stage_open(struct db *d, const struct db_source *source);
void db_stage_close(struct db *d);
/* An entry brings a piece. *refused: NULL: it is kept; else why not, the same on all nodes. */
int db_stage_put(struct db *d, const struct wire_load *piece, uint64_t index, const char **refused);
void db_stage_drop(struct db *d);                /* all pieces; harmless without */
void db_stage_age(struct db *d, uint64_t index); /* drop what nobody adds to */
void db_stage_roll_back(struct db *d, const struct db_stage_facts *before);
uint32_t db_stage_pages(const struct db *d); /* of all pieces */
uint64_t db_stage_uncut(const struct db *d); /* bytes that the image lacks */
int db_stage_cut_begin(struct db *d);
/* *given: how many of this cut's pages were; zero at first. */
int db_stage_cut_pages(struct db *d, uint32_t *given,
                       int (*page)(void *ctx, unsigned set, uint32_t number, const void *bytes),
                       void *ctx);
void db_stage_cut_end(struct db *d, bool kept);

struct db {
    struct env *env;
    struct db_config config;
    struct db_files files;
    sqlite3 *writer;
    struct db_guard guard;
    struct db_stmts stmts;
    sqlite3_stmt *control[DB_CONTROL_COUNT];
    struct db_params params;
    struct db_keys keys;
    struct db_stage stage;
    struct db_files staged; /* a load's pages as a database: only while it is looked at */
    struct db_made *made;   /* VACUUM: the file; NULL: none */
    struct db_next {        /* what db_replace() is to do when the entry at hand is done */
        bool set;
        enum db_replacement by;
        uint32_t schema_cookie; /* of the file */
    } next;
    struct db_record record; /* of the entry at hand, if it has a key */
    struct db_work *work;    /* config.batch_max of them */
    uint64_t applied_index, applied_term;
    uint64_t digest;
    uint64_t
        changed_index; /* of the last entry that changed anything (db_work.c); as the digest, part of a
                             * snapshot's record */
    struct db_upkeep upkeep;
    int64_t total_shift; /* what total_changes() must add: failed attempts counted too */
    bool schema_touched; /* a statement that is not plain ran in the transaction at hand */
    bool schema_known;   /* whether the next is up to date */
    bool schema_alone;   /* it holds what makes batches visible: every entry runs alone */
    uint32_t wal_frames;
    uint64_t wal_wait_bytes; /* readers are not waited for while the WAL is shorter */
    uint64_t batches, batches_redone;
    int64_t entry_wall_ns;
    struct db_counters counters;
    uint32_t reader_count;
};

struct db_reader {
    struct db *db;
    sqlite3 *conn;
    struct db_guard guard;
    struct db_stmts stmts;
    struct db_params params;
    uint64_t queries;
    /* the query under way */
    struct db_query query;
    struct wire_cmd cmd;
    struct db_run run;
    bool under_way;
    bool in_text;       /* paused within a text, not between two */
    uint64_t paused_ns; /* since when */
    struct db_now now;  /* of the thread it last ran on */
    struct db_query_counts counts;
};

/* total_shift: of the writer; NULL: a reader. *out may be there on failure too: to be closed. */
int db_conn_open(struct db_files *files, const struct db_config *config, const int64_t *total_shift,
                 sqlite3 **out, struct err_text *why);
int db_exec(sqlite3 *conn, const char *sql,
            struct err_text *why);  /* our own SQL: machine errors only */
int db_machine_code(int sqlite_rc); /* ERR_* for a SQLite code of our own SQL */

/* ---- across a redone batch (db_sticky.c) --------------------------------------------------------------- */

struct db_sticky { /* what entries change besides the database */
    uint64_t digest, changed_index;
    int64_t rowid, changes, total; /* last_insert_rowid(), changes(), total_changes() */
};
void db_sticky_save(const struct db *d, struct db_sticky *s);
int db_sticky_restore(struct db *d, const struct db_sticky *s); /* 0, or the machine's ERR_* */
/* Fold values of changed rows into the digest from now on. */
void db_row_digest_install(struct db *d);

/* ---- an entry with a key (db_once.c) --------------------------------------------------------------------- */

struct db_once {
    const struct db_entry *e;
    const struct wire_cmd *cmd;
    uint64_t print;
    struct db_key found;
};
/* Look the key up. *answered: it is known, and whoever waits was told the first outcome, or that the key
 * belongs to another request; nothing is to be applied. Else run the entry with *sink. */
int db_once_begin(struct db *d, struct db_once *o, struct db_sink **sink, bool *answered);
/* The entry was applied: remember what *sink was told. */
int db_once_end(struct db *d, const struct db_once *o);

/* ---- an entry with a condition (db_cond.c) ---------------------------------------------------------------- */

enum db_verdict { DB_CONDITION_MET = 1, DB_CONDITION_UNMET, DB_CONDITION_FAILED };
struct db_cond {
    bool in_batch, stopped; /* as in struct db_run */
    enum db_verdict verdict;
    struct err_text why; /* FAILED */
};
/* Before the entry's statements, in the state of the writer that they would have. 0, or the machine's ERR_*. */
int db_cond_judge(struct db *d, const struct wire_cmd *cmd, bool in_batch, struct db_cond *out);
/* Not met, or failed: nothing runs. sink: NULL: nobody waits. */
void db_cond_tell(const struct db_cond *c, struct db_sink *sink);

/* ---- loads (db_load.c) ----------------------------------------------------------------------------------- */

/* An entry of a load. d->next.set: the pieces are to become the database. 0, or the machine's ERR_*. */
int db_load_apply(struct db *d, const struct db_entry *e, const struct wire_cmd *cmd);
/* The head of a SQLite file (https://sqlite.org/fileformat2.html §1.3). */
enum { DB_HEAD_BYTES = 100 };
struct db_head {
    uint32_t page_bytes, page_count;     /* page_count 0: not told, the file's size says it */
    uint8_t write_version, read_version; /* 1: rollback journal; 2: WAL */
    uint32_t encoding, schema_cookie;
};
/* NULL, or why it cannot be loaded. */
const char *db_head_read(const uint8_t head[DB_HEAD_BYTES], uint64_t file_bytes,
                         struct db_head *out);
/* SQLite's own check, as db_integrity_check. */
int db_check(sqlite3 *conn, struct err_text *why);

/* ---- another main file (db_made.c, db_replace.c) ------------------------------------------------------------ */

/* An entry that is a VACUUM and nothing else? */
bool db_made_may(const struct db *d, const struct wire_cmd *cmd);
/* Before its statement runs: *sql is another one then. After: ok: d->next is set. 0; ERR_*. */
int db_made_begin(struct db *d, struct slice *sql);
int db_made_end(struct db *d, bool ok);
void db_made_drop(struct db *d); /* the file that a failure left; harmless without */

/* The entry is done, all else is as after it: switch, if d->next says so. */
int db_replace(struct db *d, const struct db_entry *e, struct err_text *why);
/* db.c: connections, files and what is replicated; the rest of *d stays. Closing is harmless when it is closed. */
int db_connect(struct db *d, const struct db_source *source, struct err_text *why);
void db_disconnect(struct db *d);

/* ---- an entry of the leader's own (db_upkeep.c) ------------------------------------------------------------ */

int db_upkeep_begin(struct db *d); /* both: 0, or the machine's ERR_* */
int db_upkeep_end(struct db *d, uint64_t index, const struct wire_cmd *cmd, bool failed,
                  uint64_t began_ns);

/* ---- one entry (db_work.c) -------------------------------------------------------------------------------- */

int db_work_open(const struct db *d, const struct db_entry *e,
                 struct db_work *w); /* 0, ERR_CORRUPT */
/* In a batch's transaction, or in autocommit. *redo: the batch must be done again, one by one. Returns the
 * machine's ERR_* otherwise. */
int db_work_apply(struct db *d, const struct db_entry *e, const struct db_work *w, bool in_batch,
                  bool *redo);
/* One of our own control statements. 0: it was done, or refused with *refused SQLite's code (NULL: a
 * refusal is a failure too); else the machine's ERR_*. */
int db_control(struct db *d, enum db_control which, int *refused);
/* Back to autocommit, whatever is open. */
int db_roll_back(struct db *d);

/* ---- cuts ------------------------------------------------------------------------------------------------ */

struct db_pin { /* db_pages.c: one file at one moment */
    struct db_files *files;
    sqlite3 *conn; /* holds a read transaction */
    uint32_t page_bytes, page_count;
    uint32_t frames;       /* of the WAL that it sees; 0: all is in the main file */
    uint32_t first;        /* the first of them that is not there */
    bool exact;            /* no checkpoint stops before what it sees */
    uint32_t given;        /* db_pin_pages: has come so far */
    uint32_t *frame_of;    /* while it is at it: the last frame of each page; 0: in the main file */
    struct db_dirty dirty; /* changed between the last cut and this */
};
/* Between batches, in the APPLY lane: what the pin sees is not asked of the connection. */
int db_pin_hold(struct db_pin *p, struct db_files *files, const struct db_config *config,
                struct err_text *why);
/* The same, and takes over which pages changed. ERR_BUSY: of a live database, and not exact. */
int db_pin_take(struct db_pin *p, struct db_files *files, const struct db_config *config,
                struct err_text *why);
/* Bytes behind the end read as zeros. */
int db_pin_read(struct db_pin *p, enum db_slot slot, void *dst, size_t len, uint64_t offset);
int db_pin_pages(struct db_pin *p, uint32_t known_count,
                 int (*page)(void *ctx, uint32_t number, const void *bytes), void *ctx);
/* 0: nobody will look into the main file for what a frame up to F has; ERR_BUSY: somebody does. */
int db_pin_clear(struct db_pin *p, const struct db_config *config);
/* One checkpoint. 0: the main file has all that the pin sees, but for pages that changed again; ERR_BUSY. */
int db_pin_copy(struct db_pin *p, const struct db_config *config);
bool db_pages_all_copied(
    struct db_files *files); /* the WAL holds nothing that the main file lacks */
void db_pin_release(struct db_pin *p, bool kept); /* one that failed, too */

/* ---- backups ------------------------------------------------------------------------------------------------ */

/* db_backup_pages.c: all pages under a pin, in order. Memory goes with the WAL, not with the database. */
struct db_backup_pages {
    struct db_pin *pin; /* lent */
    bool delete_mode;   /* the header says so */
    struct {
        uint32_t page, frame;
    } * frames;           /* a hash table by page: its last frame. NULL: not read yet */
    uint32_t frame_slots; /* power of two */
    uint32_t next;        /* the page to give */
};
void db_backup_pages_init(struct db_backup_pages *p, struct db_pin *pin, bool delete_mode);
void db_backup_pages_fini(struct db_backup_pages *p);
/* Append pages until out holds as many bytes. DB_MORE, 0: that was all; ERR_*. */
int db_backup_pages_step(struct db_backup_pages *p, struct buf *out, size_t bytes);

/* db_dump.c: the database as SQL text, out of a connection that holds a read transaction. */
struct db_dump;
/* tables: copied; none: all. NULL: memory is short. */
struct db_dump *db_dump_new(sqlite3 *conn, const struct slice *tables, uint32_t table_count);
void db_dump_free(struct db_dump *d); /* may be NULL */
/* As db_backup_pages_step; ERR_SQL: SQLite refused something, with its words. */
int db_dump_step(struct db_dump *d, struct buf *out, size_t bytes, struct err_text *why);

/* db_vacuum.c: a vacuumed copy in an env file, which is removed at the end. */
struct db_vacuum;
struct db_vacuum *db_vacuum_new(struct db *d, const char *path, const atomic_bool *canceled);
void db_vacuum_free(struct db_vacuum *v); /* may be NULL */
int db_vacuum_step(struct db_vacuum *v, struct buf *out, size_t bytes, struct err_text *why);

/* db_cut.c */
bool db_wal_is_loose(struct db *d);
/* db_cut.c: what else entries change, as it is beside the pages. */
enum { DB_STATE_BYTES = 152 };
int db_state_put(struct db *d, uint8_t out[DB_STATE_BYTES]);
/* Before the connections are opened, and after. */
int db_source_fill(struct db *d, const struct db_source *source);
int db_source_settle(struct db *d, const struct db_source *source);

#endif
