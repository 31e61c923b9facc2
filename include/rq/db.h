/* db — SQLite as a deterministic function of the log. docs/architecture.md "one write", "one read".
 *
 * One writer connection, used in the APPLY lane only. Readers are connections of their own, each used
 * by one READ job at a time. All SQLite files go through our VFS: pages in memory, or env files.
 * Time, chance and every other input of a statement come from the entry (architecture §5). */
#ifndef RQ_DB_H
#define RQ_DB_H

#include <rq/env.h>
#include <rq/wire.h>
#include <stdatomic.h>

struct db;
struct db_reader;
enum {
    DB_MORE = 1, /* what comes in parts is not over */
    DB_PREPARE   /* db_apply: the next entry needs what enum db_prepared says */
};

enum { DB_PATH_MAX = 1024 };

struct db_config {
    const char *path;  /* copied. On disk: env path of the main file. In memory: a name for /status */
    bool on_disk;      /* false: pages and WAL live in memory */
    bool live;         /* with on_disk: whoever cuts (db_cut) brings the main file up to date, by db_cut_copy, and
                          nothing else does */
    bool shared;       /* with live: other processes may read the file with SQLite. Not in the simulator */
    bool foreign_keys; /* -fk */
    uint32_t statement_cache;   /* statements kept per connection; 0: none */
    uint32_t batch_max;         /* entries in one SQLite transaction, >= 1 */
    uint32_t cache_pages;       /* SQLite page cache of each connection, >= 10 */
    uint64_t wal_limit_bytes;   /* checkpoint when the WAL is longer */
    const struct db_replacer *replacer; /* lent until close; NULL: no loads */
    bool row_digest;            /* also fold row values into the digest (simulator, or a flag) */
};

/* Process-wide SQLite set-up; once, before anything else of this room (simulator: single_thread). */
int db_library_init(bool single_thread) MUST_USE;
const char *db_library_version(void);   /* "3.40.1" */
const char *db_library_option(uint32_t i); /* the i-th compile option; NULL behind the last */
const char *db_library_identity(void);  /* source id, options that change results, architecture: for the greeting */

/* ---- where results go --------------------------------------------------------------------------- */

/* Values as SQLite has them; lent until the callback returns. */
enum db_type { DB_NULL, DB_INTEGER, DB_REAL, DB_TEXT, DB_BLOB };
struct db_value {
    enum db_type type;
    int64_t integer;
    double real;
    struct slice bytes; /* TEXT (UTF-8 as stored, may hold NUL), BLOB */
};
struct db_columns {
    uint32_t count;
    const struct slice *names;    /* as SQLite reports, or "table.column" when qualified */
    const struct slice *decltypes; /* declared type, verbatim; len 0: none */
    const struct slice *tables;    /* table a column comes from, len 0: none; NULL: nobody asked */
};
/* Receives the outcome of one request, in order. Runs in the lane that executes; must touch only its
 * own ctx. For each statement exactly one of: skipped nothing (empty SQL: no call at all), or
 *   write(...) | columns(...) row(...)* end(...) | error(...) | columns(...) row(...)* error(...).
 * A batch that must be executed again calls reset() first: forget everything since begin. */
struct db_sink {
    const struct db_sink_ops *ops;
};
enum db_note {
    DB_NOTE_REPLAYED = 1, /* what follows is the outcome of an earlier entry, `index`, of the same key */
    DB_NOTE_KEY_REUSED,   /* the request error that follows: the key belongs to another request */
    DB_NOTE_UNMET,        /* the request error that follows: the condition was not met */
};
struct db_sink_ops {
    void (*reset)(struct db_sink *s);
    /* Optional (NULL: not wanted): before all other calls. */
    void (*note)(struct db_sink *s, enum db_note note, uint64_t index);
    /* blank: text with no statement in it (comment, white space); kind: was it run as a query */
    void (*blank)(struct db_sink *s, bool as_query);
    void (*write)(struct db_sink *s, int64_t last_insert_id, int64_t rows_affected, uint64_t elapsed_ns);
    void (*columns)(struct db_sink *s, const struct db_columns *c);
    int (*row)(struct db_sink *s, const struct db_value *values, uint32_t count); /* non-zero: stop (too big, out of memory) */
    void (*end)(struct db_sink *s, uint64_t elapsed_ns);
    /* as_query: the statement was (to be) run as a query; text lent */
    void (*error)(struct db_sink *s, bool as_query, struct slice text);
    /* The request as a whole failed; earlier results are void (top-level "error"). */
    void (*request_error)(struct db_sink *s, struct slice text);
};

/* ---- opening ------------------------------------------------------------------------------------- */

/* The database and what is replicated beside it (keys), as pages of two SQLite files; and of one that is coming. */
enum { DB_SET_MAIN, DB_SET_KEYS, DB_SET_LOAD, DB_SET_COUNT }; /* LOAD: the file that is being loaded */
struct db_moment {
    uint64_t index, term; /* last entry applied */
    uint32_t page_bytes[DB_SET_COUNT], page_count[DB_SET_COUNT];
    struct slice state; /* what else entries change: counters, digest, connection state; opaque */
};
/* A database to begin with. */
struct db_source {
    struct db_moment moment; /* as db_cut_moment told it */
    int (*page)(void *ctx, unsigned set, uint32_t number, void *dst); /* 0, or ERR_*: db_open gives it back */
    void *ctx;
    /* Live: the main file holds the moment already, and is left as it is. Its pages' crc32c (lent during db_open):
     * each page is compared when it is first read, a damaged one fails the read (ERR_CORRUPT). Else NULL. */
    const uint32_t *main_sums;
};

/* Open the database as source has it; source NULL: an EMPTY one. Whatever a file at path or beside it held is
 * removed first: no index is taken from anywhere but the source and the log (architecture §6).
 * run() of APPLY. 0; ERR_IO, ERR_NOSPC, ERR_NOMEM; ERR_CORRUPT: the state is not one; source->page's own; ERR_BUSY:
 * shared, and somebody else has it open. */
int db_open(struct env *e, const struct db_config *config, const struct db_source *source, struct db **out,
            struct err_text *why) MUST_USE;
/* All readers must be closed. run() of APPLY. */
void db_close(struct db *d);

/* How the connections are set, as SQLite itself says; texts are empty where it did not. */
struct db_pragmas {
    char busy_timeout[16], foreign_keys[16], journal_mode[16], synchronous[16], wal_autocheckpoint[16];
};
struct db_facts {
    struct db_pragmas ro, rw;
    int64_t page_size, max_page_count, cache_size, hard_heap_limit, soft_heap_limit;
};
/* Between calls of db_apply. run() of APPLY. */
void db_facts(struct db *d, struct db_facts *out);

/* ---- another main file ------------------------------------------------------------------------------------ */

/* A load, and VACUUM on disk, end in a file that is there already: whoever keeps the image puts it in the main file's
 * place, so that nothing is copied and nobody sees a mixture. Called inside db_apply. */
enum db_replacement {
    DB_BY_LOAD, /* by the pages of DB_SET_LOAD */
    DB_BY_FILE, /* by the file at vacuum_path, of DB_PAGE_BYTES pages */
};
struct db_replacer {
    void *ctx;
    const char *vacuum_path; /* where there is room for one; NULL: VACUUM rewrites the database in place */
    /* A page of the load, of which the image holds all. 0; ERR_CORRUPT and others: db_apply gives it back. */
    int (*load_page)(void *ctx, uint32_t number, void *dst, struct err_text *why);
    /* Make the image that of m (index, term and state count), with the other file as its main set, durably; fill
     * source as for db_open, lent until db_apply returns. The database has no file open meanwhile. */
    int (*replace)(void *ctx, enum db_replacement by, const struct db_moment *m, struct db_source *source,
                   struct err_text *why);
};

/* ---- apply ---------------------------------------------------------------------------------------- */

struct db_entry {
    uint64_t index, term;
    enum raft_entry_kind kind; /* NOOP and CONF only advance the index */
    struct slice payload;      /* lent: sealed wire_cmd */
    struct db_sink *sink;      /* NULL: nobody here waits. Called in this lane */
    uint32_t sink_flags;       /* DB_QUALIFY_COLUMNS */
    uint64_t deadline_ns;      /* strong reads only: 0 or env_now_ns at which to interrupt */
    enum db_prepared {
        DB_UNPREPARED,
        DB_PREPARED, /* no reader is open, no moment held; the image is of the index before this entry's */
        DB_IN_PLACE, /* VACUUM: that could not be had. The outcome is the same */
    } prepared;
};
enum { DB_QUALIFY_COLUMNS = 1 };
#define DB_KEY_AGE_NS (INT64_C(24) * 3600 * 1000000000)

/* An entry with an idempotency key is applied once; one that brings the key again gets the first outcome
 * (note REPLAYED), or a request error if it asks for something else. Remembered for DB_KEY_AGE_NS of the
 * entries' clocks, or until LIMIT_KEYS_COUNT newer ones or LIMIT_KEYS_BYTES of newer outcomes.
 *
 * An entry whose condition is not met (note UNMET), or cannot be judged, changes nothing: a request error.
 *
 * Apply consecutive entries, the first being applied_index + 1; in batches of at most batch_max per
 * SQLite transaction. The outcome of each is what it would be alone (architecture §3). On return 0
 * everything is committed and visible to readers; replies may go out.
 *   returns 0
 *           DB_PREPARE  applied_index says how far it came; the next entry puts another main file in the old
 *               one's place: call again with it, and `prepared` set
 *           ERR_IO, ERR_NOSPC, ERR_NOMEM  the machine failed: the node stops; nothing of the failing
 *               batch is committed, applied_index says how far it came
 *           ERR_CORRUPT  a payload is not a sealed command, or SQLite found damage
 *   lane    APPLY */
int db_apply(struct db *d, const struct db_entry *entries, uint32_t count, struct err_text *why) MUST_USE;

/* Statements and what became of them, by kind of request. */
struct db_query_counts {
    uint64_t statements, errors, transactions;
};
/* An entry with WIRE_CMD_UPKEEP is one of these; it does not count as a change (changed_index). */
#define DB_UPKEEP_VACUUM "VACUUM"
#define DB_UPKEEP_OPTIMIZE "ANALYZE"
struct db_upkeep_time {
    int64_t wall_ns; /* the entry's; 0: never */
    uint64_t index;
};
struct db_upkeep { /* the same on all nodes */
    int64_t first_wall_ns; /* of the first command of all; 0: there was none */
    struct db_upkeep_time vacuum, optimize; /* done last */
};
struct db_upkeep_counts {
    uint64_t done, failed, last_ns;
};
struct db_counters { /* since open; on every node, since every node applies */
    struct db_query_counts executions, requests, strong_queries;
    uint64_t loads; /* of database files */
    struct db_upkeep_counts vacuums, optimizes;
    uint64_t open_ns;
    uint64_t checkpoints, checkpoint_last_ns, checkpoint_busy, checkpoint_errors, checkpoint_partial;
};
struct db_state { /* in the lane that may touch the writer: APPLY */
    uint64_t applied_index, applied_term;
    uint64_t digest; /* rolling: index, entry, result codes, row counts, rowids, schema cookie */
    uint64_t changed_index; /* of the last entry that changed anything */
    struct db_upkeep upkeep;
    int64_t sticky_last_insert_id, sticky_rows_affected; /* what the API repeats (http-api.md §6.8) */
    uint64_t main_bytes, wal_bytes;
    uint64_t uncut_bytes; /* written to the WALs, and of a load, since the last cut that was kept */
    uint64_t uncut_load_bytes; /* of them, of a load */
    uint64_t wal_used_bytes; /* of the WAL's file: frames written since it was begun anew */
    bool wal_is_loose;       /* there is something for db_wal_shrink */
    uint64_t statements_prepared, statements_cached; /* counters since open */
    uint64_t batches, batches_redone;
    uint64_t page_count, freelist_count; /* of the database as of its last commit */
    int64_t entry_wall_ns;               /* the leader's clock when it proposed the last command applied */
    bool foreign_keys;
    struct db_counters counters;
};
void db_state(struct db *d, struct db_state *out);
/* Hash over schema and all rows in order, independent of page layout: equal on equal nodes. APPLY. */
int db_content_hash(struct db *d, uint64_t *out) MUST_USE;
/* 0; ERR_CORRUPT with SQLite's words. APPLY. */
int db_integrity_check(struct db *d, struct err_text *why) MUST_USE;

/* ---- loads: a database file in place of the database ---------------------------------------------------- */

/* Entries of kind LOAD_PIECE bring the file, in order; one of kind LOAD_INSTALL puts it in the database's place
 * (struct db_replacer). Between cuts what came is kept beside the database, then in DB_SET_LOAD alone. Their sinks are told a write, or a request error: then nothing has changed. Pieces are no
 * part of what users see; they are dropped when another load begins, and when nobody adds to them
 * for LIMIT_LOAD_IDLE_ENTRIES entries. Counters that SQL can see and settings of the connection stay as they were.
 *
 * Is the file at path a database that may be loaded? Checks all of it; *bytes: its size; a WAL-mode file's header
 * is changed to say otherwise. *rewrite: its pages have another size than ours: db_import_rewrite first.
 * Loaded, its header must say WAL mode again: db_import_prepare on its first bytes.
 * run() of READ. 0; ERR_INVALID: why tells the client; ERR_IO, ERR_NOMEM. */
int db_import_check(struct env *e, const char *path, uint64_t *bytes, bool *rewrite, struct err_text *why) MUST_USE;
void db_import_prepare(void *first, size_t len); /* len: at least 100 */
/* Write it anew, as `into`, with pages of our size. run() of APPLY (SQLite draws from its generator, which is one per
 * process). 0; ERR_INVALID, ERR_NOSPC, ERR_IO, ERR_NOMEM. */
int db_import_rewrite(struct env *e, const char *path, const char *into, uint64_t *bytes,
                      struct err_text *why) MUST_USE;

/* ---- cut: the database as of one index ------------------------------------------------------------------ */

/* Hold the present moment: reads go on, entries are applied, but the WAL only grows. run() of APPLY, between
 * calls of db_apply; at most one at a time. 0; ERR_IO, ERR_NOMEM. */
struct db_cut;
int db_cut_begin(struct db *d, struct db_cut **out, struct err_text *why) MUST_USE;
const struct db_moment *db_cut_moment(const struct db_cut *c); /* lent until the end */
/* Every page that changed since the last cut that was kept (or the source), and those above known_count. bytes: lent.
 * Any lane, one call at a time. 0; page's own non-zero result; ERR_IO, ERR_NOMEM. page returned DB_MORE: it took this
 * one, and the next call goes on behind it. */
int db_cut_pages(struct db_cut *c, const uint32_t known_count[DB_SET_COUNT],
                 int (*page)(void *ctx, unsigned set, uint32_t number, const void *bytes), void *ctx) MUST_USE;
/* Live, when all pages are given and durable: does nobody read a state older than the cut's any more? Then the main
 * file is brought to the cut's moment by db_main_write, all pages that were given, and db_cut_copy tells SQLite so, before
 * db_cut_end. 0; ERR_BUSY: a reader still needs the file as it was, ask again; ERR_IO, ERR_NOMEM. Any lane, one call
 * at a time. */
int db_cut_clear(struct db_cut *c) MUST_USE;
/* 0; ERR_BUSY: not now, ask again; ERR_IO, ERR_NOMEM, ERR_NOSPC. Any lane, one call at a time. */
int db_cut_copy(struct db_cut *c) MUST_USE;
/* Of the WAL, what the main file lacks. Any lane. */
uint64_t db_cut_fresh_bytes(const struct db_cut *c);
/* kept: whoever took the pages has them for good. run() of APPLY. */
void db_cut_end(struct db_cut *c, bool kept);
/* Live, after a cut with nothing applied since it was begun: the next entry begins the WAL anew, if those who read
 * an older state are gone within 20 ms; else nothing has happened. Of a file that has become large all is for
 * db_wal_shrink then. 0; ERR_IO, ERR_NOMEM. run() of APPLY. */
int db_wal_restart(struct db *d) MUST_USE;
/* Live: when it was begun anew and its file is large, cut a piece off. DB_MORE: that was not all; 0; ERR_IO. Any lane. */
int db_wal_shrink(struct db *d) MUST_USE;

/* Live: the main file, past SQLite; for whoever cuts, one call at a time, any lane. */
int db_main_read(struct db *d, void *dst, size_t len, uint64_t offset, size_t *got) MUST_USE;
/* A page as of the cut, after db_cut_clear. */
int db_main_write(struct db *d, uint32_t number, const void *bytes, size_t len) MUST_USE;
int db_main_settle(struct db *d, uint64_t size) MUST_USE; /* at least that long, and synced. ERR_IO is final */

/* ---- backup: the database for a client, at one moment ------------------------------------------------------ */

enum db_backup_format {
    DB_BACKUP_WAL,    /* a SQLite file whose header says WAL mode */
    DB_BACKUP_DELETE, /* … rollback journal */
    DB_BACKUP_SQL,    /* SQL text (http-api.md §13.2) */
    DB_BACKUP_VACUUM, /* a vacuumed file, made in path first; header as DELETE */
};
struct db_backup_config {
    enum db_backup_format format;
    const struct slice *tables;  /* SQL: only these; none: all. Copied */
    uint32_t table_count;
    const char *path;            /* VACUUM: an env file of no worth, removed at the end; copied */
    const atomic_bool *canceled; /* VACUUM: it may stop; lent until the end; NULL: nobody says so */
};
/* Hold the present moment, as a cut does; any number at a time (the WAL cannot be reused beyond it: callers bound
 * how long). run() of APPLY, between calls of db_apply. A VACUUM holds one of its own making, in its first step.
 * 0; ERR_IO, ERR_NOMEM. */
struct db_backup;
int db_backup_begin(struct db *d, const struct db_backup_config *c, struct db_backup **out, struct err_text *why) MUST_USE;
uint64_t db_backup_index(const struct db_backup *b); /* last entry applied; VACUUM: or a later one */
/* Append until out holds `bytes`, or a page more. run() of READ, one call at a time. DB_MORE: there is more; 0: that
 * was all. ERR_IO, ERR_CORRUPT, ERR_NOMEM, ERR_TOO_BIG (out); ERR_SQL, ERR_NOSPC, ERR_CANCELED with words. */
int db_backup_step(struct db_backup *b, struct buf *out, size_t bytes, struct err_text *why) MUST_USE;
void db_backup_end(struct db_backup *b); /* run() of READ; before db_close */

/* ---- queries --------------------------------------------------------------------------------------- */

/* Open one more read connection. run() of READ. 0; ERR_IO, ERR_NOMEM. */
int db_reader_open(struct db *d, struct db_reader **out, struct err_text *why) MUST_USE;
void db_reader_close(struct db_reader *r); /* run() of READ */

struct db_query {
    struct slice payload;   /* lent: wire_cmd (sealed or not) of kind QUERY or REQUEST */
    bool transaction;       /* all statements see one snapshot */
    bool qualify_columns;
    uint64_t deadline_ns;   /* 0: none; else env_now_ns at which the running statement is interrupted; moves on by
                               the time the query is paused */
    struct db_sink *sink;
    /* Asked after each row and each statement that the sink was told of. true: pause here (the sink holds enough
     * for now). NULL: never. */
    bool (*pause)(void *ctx);
    void *pause_ctx;
    /* Set by anybody, in any thread: the running statement is interrupted as at its deadline. NULL: nobody does.
     * Lent until the query is over. */
    const atomic_bool *canceled;
};
/* Run read-only statements. Afterwards the connection is as new: in autocommit, nothing attached, no
 * PRAGMA set; where that cannot be had by rolling back it is re-opened inside.
 * 0 whatever SQL errors there were (the sink has them); ERR_IO, ERR_NOMEM, ERR_CORRUPT: the machine. READ. */
int db_query(struct db_reader *r, const struct db_query *q, struct err_text *why) MUST_USE;

/* The same in parts. begin and resume return DB_MORE where q->pause said so: the statement stays open, its snapshot
 * and the connection stay with this query (the WAL cannot be reused beyond that snapshot: callers bound how long),
 * and until then payload, sink and canceled stay lent. Each call is a run() of READ of its own, on whatever thread.
 * Any other return value: over, the connection is as new. */
int db_query_begin(struct db_reader *r, const struct db_query *q, struct err_text *why) MUST_USE;
int db_query_resume(struct db_reader *r, struct err_text *why) MUST_USE; /* after DB_MORE only */
/* Give up a paused query: nothing more goes to its sink. The connection is as new. Harmless when it is over. */
void db_query_end(struct db_reader *r);
/* What this connection ran since it was opened. READ. */
void db_reader_counts(const struct db_reader *r, struct db_query_counts *out);

/* May this request be answered by a read connection: does each statement only read (sqlite3_stmt_readonly,
 * EXPLAIN counts as reading; what cannot be prepared counts as a write)? *read_only answered. READ. */
int db_classify(struct db_reader *r, struct slice payload, bool *read_only) MUST_USE;

/* Is any statement one that http-api.md §8 refuses as a whole ("disallowed pragma")? By tokens only,
 * needs no connection; any lane. */
bool db_disallowed_pragma(struct slice payload);

/* May the payload's condition not be asked? NULL: it may, or there is none; else words. What only an engine
 * can tell (it does not exist, it writes) is told at apply, by all nodes alike. Any lane. */
const char *db_condition_refused(struct slice payload);

#endif
