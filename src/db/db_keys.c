/* db_keys.c — idempotency keys that were seen, with their outcomes: replicated, but not the user's, so that
 * they live in a SQLite file of their own, which no SQL of a user's can reach. It has the life of the main
 * one: opened empty, filled by applying the log, committed and rolled back with its batches (db_apply.c).
 * (A snapshot copies `keys.files` as it copies the main database's; everything else here follows from it.)
 *
 *   seen(at, wall, key, print, outcome)    at: index of the entry; wall: the newest clock of any entry so far
 *
 * Clocks of entries may go back; `wall` does not, so that whatever has to go is in front, in the order of
 * `at`. A key is forgotten when a newer entry is recorded DB_KEY_AGE_NS later, or when there is no room;
 * nothing here follows from a clock of this node, nor from when it asks. */
#include "db_int.h"

enum { AGED_MAX = 8 };

/* Deleted outcomes are not written over with zeros, which would cost as much as writing them. */
static const char schema_sql[] =
    "PRAGMA secure_delete=OFF;"
    "CREATE TABLE IF NOT EXISTS seen(at INTEGER PRIMARY KEY, wall INTEGER NOT NULL,"
    " key BLOB NOT NULL UNIQUE, print INTEGER NOT NULL,"
    " outcome BLOB NOT NULL)";

int db_keys_failed(int sqlite_rc)
{
    return db_now()->machine_rc ? db_now()->machine_rc : db_machine_code(sqlite_rc);
}

int db_keys_run(struct db_keys *k, enum db_keys_sql which)
{
    ASSERT(which < DB_KEYS_SQL_COUNT);
    ASSERT(k->sql[which]);
    (void)sqlite3_step(k->sql[which]);
    int rc = sqlite3_reset(k->sql[which]);

    return rc == SQLITE_OK && db_now()->machine_rc == 0 ? 0 : db_keys_failed(rc);
}

static int keys_prepare(struct db_keys *k)
{
    static const char *const sql[DB_KEYS_SQL_COUNT] = {
        [DB_KEYS_BEGIN] = "BEGIN",
        [DB_KEYS_COMMIT] = "COMMIT",
        [DB_KEYS_ROLLBACK] = "ROLLBACK",
        [DB_KEYS_FIND] = "SELECT at,wall,print,outcome FROM seen WHERE key=?1",
        [DB_KEYS_PUT] = "INSERT INTO seen VALUES(?1,?2,?3,?4,?5)",
        [DB_KEYS_OLDEST] = "SELECT at,wall,length(outcome) FROM seen ORDER BY at LIMIT 1",
        [DB_KEYS_DROP] = "DELETE FROM seen WHERE at=?1",
    };

    for (size_t i = 0; i < DB_KEYS_SQL_COUNT; i++)
        if (sqlite3_prepare_v3(k->conn, sql[i], -1, SQLITE_PREPARE_PERSISTENT, &k->sql[i], NULL))
            return ERR_NOMEM;
    return 0;
}

static int on_wal_commit(void *ctx, sqlite3 *conn, const char *schema, int frames)
{
    struct db_keys *k = ctx;

    (void)conn;
    (void)schema;
    k->wal_frames = (uint32_t)frames;
    return SQLITE_OK;
}

int db_keys_open(struct db_keys *k, const struct db_config *config, struct err_text *why)
{
    k->limit = (struct db_keys_limit){
        .count = LIMIT_KEYS_COUNT, .bytes = LIMIT_KEYS_BYTES, .age_ns = DB_KEY_AGE_NS};
    k->now = (struct db_keys_sum){.wall_ns = INT64_MIN};
    k->total_shift = 0;
    k->wal_frames = 0;
    k->in_transaction = false;
    int rc = db_conn_open(&k->files, config, &k->total_shift, &k->conn, why);
    if (rc == 0)
        rc = db_exec(k->conn, schema_sql, why);
    if (rc == 0)
        rc = keys_prepare(k);
    if (rc == 0)
        (void)sqlite3_wal_hook(k->conn, on_wal_commit, k);
    return rc;
}

void db_keys_close(struct db_keys *k)
{
    for (size_t i = 0; i < DB_KEYS_SQL_COUNT; i++) {
        (void)sqlite3_finalize(k->sql[i]);
        k->sql[i] = NULL;
    }
    int rc = sqlite3_close(k->conn);
    ASSERT(rc == SQLITE_OK);
    k->conn = NULL;
}

/* ---- transactions ------------------------------------------------------------------------------------ */

int db_keys_begin(struct db_keys *k)
{
    if (k->in_transaction)
        return 0;
    ASSERT(sqlite3_get_autocommit(k->conn));
    int rc = db_keys_run(k, DB_KEYS_BEGIN);
    k->before = k->now;
    k->in_transaction = rc == 0;
    return rc;
}

int db_keys_commit(struct db_keys *k)
{
    if (!k->in_transaction)
        return 0;
    db_now_statement();
    int rc = db_keys_run(k, DB_KEYS_COMMIT);
    ASSERT(rc || sqlite3_get_autocommit(k->conn));
    if (rc == 0)
        k->in_transaction = false;
    return rc;
}

int db_keys_roll_back(struct db_keys *k)
{
    if (!k->in_transaction)
        return 0;
    k->in_transaction = false;
    k->now = k->before;
    if (sqlite3_get_autocommit(k->conn))
        return 0; /* a failure of the machine has ended it */
    db_now_statement();
    return db_keys_run(k, DB_KEYS_ROLLBACK);
}

int db_keys_limit_wal(struct db_keys *k, uint64_t limit_bytes)
{
    if (k->in_transaction || (uint64_t)k->wal_frames * 4096 < limit_bytes)
        return 0;
    db_now_statement();
    (void)sqlite3_wal_checkpoint_v2(k->conn, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
    k->wal_frames = 0; /* nobody else looks at this file, but a cut: mostly all of it was copied */
    return db_now()->machine_rc;
}

/* ---- what was seen --------------------------------------------------------------------------------------- */

static bool too_old(const struct db_keys *k, int64_t wall_ns, int64_t now_ns)
{
    return now_ns > wall_ns && (uint64_t)now_ns - (uint64_t)wall_ns > (uint64_t)k->limit.age_ns;
}

/* The newest clock of any recorded entry and this one. */
static int64_t clock_at(const struct db_keys *k, int64_t wall_ns)
{
    return k->now.wall_ns > wall_ns ? k->now.wall_ns : wall_ns;
}

static void take_found(struct db_keys *k, sqlite3_stmt *s, int64_t now_ns, struct db_key *found)
{
    ASSERT(k->now.count > 0);
    found->index = (uint64_t)sqlite3_column_int64(s, 0);
    found->print = (uint64_t)sqlite3_column_int64(s, 2);
    found->bytes = (uint64_t)sqlite3_column_bytes(s, 3);
    found->known = !too_old(k, sqlite3_column_int64(s, 1), now_ns);
}

int db_keys_find(struct db_keys *k, struct slice key, int64_t wall_ns, struct db_key *found,
                 struct buf *outcome)
{
    sqlite3_stmt *s = k->sql[DB_KEYS_FIND];

    ASSERT(key.len > 0);
    memset(found, 0, sizeof(*found));
    db_now_statement();
    (void)sqlite3_bind_blob(s, 1, key.data, (int)key.len, SQLITE_STATIC);
    if (sqlite3_step(s) == SQLITE_ROW) {
        take_found(k, s, clock_at(k, wall_ns), found);
        buf_reset(outcome, LIMIT_KEY_OUTCOME_BYTES);
        if (found->known && buf_append(outcome, sqlite3_column_blob(s, 3), found->bytes))
            (void)db_now_failed(ERR_NOMEM);
    }
    int rc = sqlite3_reset(s);
    (void)sqlite3_clear_bindings(s);
    return rc == SQLITE_OK && db_now()->machine_rc == 0 ? 0 : db_keys_failed(rc);
}

static int drop(struct db_keys *k, uint64_t index, uint64_t bytes)
{
    ASSERT(k->now.count > 0 && k->now.bytes >= bytes);
    k->now.count--;
    k->now.bytes -= bytes;
    (void)sqlite3_bind_int64(k->sql[DB_KEYS_DROP], 1, (sqlite3_int64)index);
    return db_keys_run(k, DB_KEYS_DROP);
}

/* Drop the oldest, if it is too old or there is no room. */
static int drop_oldest(struct db_keys *k, int64_t now_ns, bool crowded, bool *dropped)
{
    sqlite3_stmt *s = k->sql[DB_KEYS_OLDEST];

    *dropped = false;
    if (k->now.count == 0)
        return 0;
    int step = sqlite3_step(s);
    uint64_t index = (uint64_t)sqlite3_column_int64(s, 0);
    uint64_t bytes = (uint64_t)sqlite3_column_int64(s, 2);
    int64_t wall_ns = sqlite3_column_int64(s, 1);
    int rc = sqlite3_reset(s);
    if (step != SQLITE_ROW || db_now()->machine_rc)
        return db_keys_failed(rc);
    *dropped = crowded || too_old(k, wall_ns, now_ns);
    return *dropped ? drop(k, index, bytes) : 0;
}

/* Only a few go for their age at a time: those of a whole day must not all go while one entry waits. */
static int make_room(struct db_keys *k, uint64_t bytes, int64_t now_ns)
{
    bool dropped = true;
    int rc = 0;

    for (int aged = 0; rc == 0 && dropped;) {
        bool crowded = k->now.count >= k->limit.count || k->now.bytes + bytes > k->limit.bytes;
        if (!crowded && aged++ == AGED_MAX)
            return 0;
        rc = drop_oldest(k, now_ns, crowded, &dropped);
    }
    return rc;
}

static int insert(struct db_keys *k, struct slice key, const struct db_key *seen,
                  struct slice outcome)
{
    sqlite3_stmt *s = k->sql[DB_KEYS_PUT];

    ASSERT(k->in_transaction);
    ASSERT(outcome.len <= LIMIT_KEY_OUTCOME_BYTES);
    (void)sqlite3_bind_int64(s, 1, (sqlite3_int64)seen->index);
    (void)sqlite3_bind_int64(s, 2, k->now.wall_ns);
    (void)sqlite3_bind_blob(s, 3, key.data, (int)key.len, SQLITE_STATIC);
    (void)sqlite3_bind_int64(s, 4, (sqlite3_int64)seen->print);
    (void)sqlite3_bind_blob(s, 5, outcome.data, (int)outcome.len, SQLITE_STATIC);
    int rc = db_keys_run(k, DB_KEYS_PUT);
    (void)sqlite3_clear_bindings(s);
    return rc;
}

int db_keys_put(struct db_keys *k, struct slice key, const struct db_key *stale,
                const struct db_key *seen, struct slice outcome)
{
    ASSERT(!stale->known && seen->index > 0);
    db_now_statement();
    int rc = db_keys_begin(k);
    if (rc == 0 && stale->index)
        rc = drop(k, stale->index, stale->bytes);
    int64_t now_ns = clock_at(k, seen->wall_ns);
    if (rc == 0)
        rc = make_room(k, outcome.len, now_ns);
    k->now.wall_ns = now_ns;
    k->now.count++;
    k->now.bytes += outcome.len;
    ASSERT(rc || (k->now.count <= k->limit.count && k->now.bytes <= k->limit.bytes));
    return rc ? rc : insert(k, key, seen, outcome);
}
