/* db.c — open, close, facts; and all but the handle, where another main file takes the place of the one there was
 * (db_replace.c).
 *
 * Beside the database stands a second one, for what is replicated but not the user's (db_keys.c).
 *
 * The database starts empty whatever a file held: the log is the truth. SQLite runs in WAL mode without
 * syncs. cache_spill is off, so that frames are written at commit only: SQLite draws from its generator when
 * it begins a WAL, and a draw in the middle of a statement would shift what the statement draws. */
#include "db_int.h"

enum { BATCH_MAX = 4096 };

/* ---- open ------------------------------------------------------------------------------------------------- */

static int remove_file(const struct db_files *f, const char *suffix, struct err_text *why)
{
    char path[DB_PATH_MAX + 16];

    (void)snprintf(path, sizeof(path), "%s%s", f->path, suffix);
    int rc = env_file_remove(f->env, path);
    return rc && rc != ERR_NOT_FOUND
               ? err_set(why, rc, "cannot remove %s: %s", path, err_text_of(rc))
               : 0;
}

/* keep: the main file stays. */
static int remove_old(const struct db_files *f, bool keep, struct err_text *why)
{
    if (!f->on_disk)
        return 0;
    int rc = keep ? 0 : remove_file(f, "", why);
    if (f->shared.on && rc == 0) /* the others when nobody has them */
        return remove_file(f, "-journal", why);
    if (rc == 0)
        rc = remove_file(f, "-wal", why);
    if (rc == 0)
        rc = remove_file(f, "-shm", why);
    return rc ? rc : remove_file(f, "-journal", why);
}

static int prepare_controls(struct db *d)
{
    static const char *const sql[DB_CONTROL_COUNT] = {
        [DB_BEGIN] = "BEGIN",
        [DB_COMMIT] = "COMMIT",
        [DB_ROLLBACK] = "ROLLBACK",
        [DB_SAVEPOINT] = "SAVEPOINT rq_entry",
        [DB_RELEASE] = "RELEASE rq_entry",
        [DB_ROLLBACK_TO] = "ROLLBACK TO rq_entry",
        [DB_COOKIE] = "PRAGMA schema_version",
        [DB_SCHEMA] =
            ("SELECT max(type='table' AND rootpage=0), max(instr(upper(sql),'DEFERRED')>0)"
             " FROM sqlite_schema"),
    };

    for (size_t i = 0; i < DB_CONTROL_COUNT; i++)
        if (sqlite3_prepare_v3(d->writer, sql[i], -1, SQLITE_PREPARE_PERSISTENT, &d->control[i],
                               NULL))
            return ERR_NOMEM;
    return 0;
}

static int on_wal_commit(void *ctx, sqlite3 *conn, const char *schema, int frames)
{
    struct db *d = ctx;

    (void)conn;
    if (strcmp(schema, "main") == 0)
        d->wal_frames = (uint32_t)frames;
    return SQLITE_OK;
}

static int open_writer(struct db *d, struct err_text *why)
{
    int rc = db_conn_open(&d->files, &d->config, &d->total_shift, &d->writer, why);
    if (rc == 0)
        rc = prepare_controls(d);
    if (rc == 0)
        rc = db_stmts_init(&d->stmts, d->config.statement_cache);
    if (rc)
        return rc;
    d->guard.mode = DB_GUARD_WRITER;
    db_guard_install(d->writer, &d->guard);
    (void)sqlite3_wal_hook(d->writer, on_wal_commit, d);
    if (d->config.row_digest)
        db_row_digest_install(d);
    return 0;
}

static int files_init(struct db_files *f, const struct db *d, const char *suffix,
                      struct err_text *why)
{
    int len = snprintf(f->path, sizeof(f->path), "%s%s", d->config.path, suffix);

    f->env = d->env;
    f->on_disk = d->config.on_disk;
    f->dirty.all = true;
    f->mutex = sqlite3_mutex_alloc(SQLITE_MUTEX_FAST); /* NULL in single-thread mode: no-op */
    return len < (int)sizeof(f->path)
               ? 0
               : err_set(why, ERR_INVALID, "the database's path is too long");
}

static void files_close(struct db_files *f)
{
    if (f->shared.on)
        db_shared_close(f);
    for (int i = 0; i < DB_SLOT_COUNT; i++)
        db_store_drop(&f->stores[i]);
    db_shm_free(f);
    db_live_fini(&f->live);
    mem_free(f->dirty.page);
    f->dirty = (struct db_dirty){.all = true};
    f->shared.on = false;
    f->page_count = f->freelist_count = 0;
}

static void files_fini(struct db_files *f)
{
    files_close(f);
    sqlite3_mutex_free(f->mutex);
}

static int db_init(struct db *d, struct env *e, const struct db_config *config,
                   struct err_text *why)
{
    d->env = e;
    d->config = *config;
    if (d->config.batch_max == 0)
        d->config.batch_max = 1;
    if (d->config.batch_max > BATCH_MAX)
        d->config.batch_max = BATCH_MAX;
    if (d->config.cache_pages < 10)
        d->config.cache_pages = 2000;
    if (d->config.wal_limit_bytes == 0)
        d->config.wal_limit_bytes = 4 * 1024 * 1024;
    db_record_init(&d->record);
    d->work = mem_alloc(d->config.batch_max * sizeof(*d->work));
    if (!d->work)
        return err_set(why, ERR_NOMEM, "no memory for batches");
    int rc = files_init(&d->files, d, "", why);
    if (rc == 0)
        rc = files_init(&d->keys.files, d, "-keys", why);
    if (rc == 0)
        rc = files_init(&d->staged, d, "-load", why);
    d->staged.on_disk = false; /* it is somebody else's bytes, and what SQLite makes beside them */
    d->config.path = d->files.path;
    return rc;
}

int db_connect(struct db *d, const struct db_source *source, struct err_text *why)
{
    bool in_place = source && source->main_sums;

    list_init(&d->stmts.lru);
    d->total_shift = 0;
    d->wal_frames = 0;
    d->wal_wait_bytes = 0;
    d->schema_known = false;
    d->guard = (struct db_guard){.mode = DB_GUARD_OFF};
    d->files.live.on = d->config.live;
    d->files.shared.on = d->config.shared;
    int rc = remove_old(&d->files, in_place, why);
    if (rc == 0)
        rc = remove_old(&d->keys.files, false, why);
    if (rc == 0 && d->config.shared)
        rc = db_shared_open(&d->files, !in_place, why);
    if (rc == 0 && source)
        rc = db_source_fill(d, source);
    if (rc == 0)
        rc = open_writer(d, why);
    if (rc == 0)
        rc = db_keys_open(&d->keys, &d->config, why);
    if (rc == 0 && source)
        rc = db_source_settle(d, source);
    return rc ? rc : db_stage_open(d, source);
}

int db_open(struct env *e, const struct db_config *config, const struct db_source *source,
            struct db **out, struct err_text *why)
{
    struct db *d = mem_zalloc(sizeof(*d));

    if (!d)
        return ERR_NOMEM;
    uint64_t began_ns = env_now_ns(e);
    list_init(&d->stmts.lru);
    db_now_entry(0, 0, 0);
    int rc = db_init(d, e, config, why);
    if (rc == 0)
        rc = db_connect(d, source, why);
    db_now_idle();
    if (rc) {
        db_close(d);
        return rc;
    }
    ASSERT(sqlite3_get_autocommit(d->writer) && d->reader_count == 0);
    d->counters.open_ns = env_now_ns(e) - began_ns;
    *out = d;
    return 0;
}

void db_disconnect(struct db *d)
{
    db_made_drop(d);
    db_stmts_fini(&d->stmts);
    for (size_t i = 0; i < DB_CONTROL_COUNT; i++) {
        (void)sqlite3_finalize(d->control[i]);
        d->control[i] = NULL;
    }
    int rc = sqlite3_close(d->writer);
    ASSERT(rc == SQLITE_OK); /* else a statement was left behind */
    d->writer = NULL;
    db_keys_close(&d->keys);
    db_stage_close(d);
    files_close(&d->files);
    files_close(&d->keys.files);
    files_close(&d->staged);
}

void db_close(struct db *d)
{
    db_disconnect(d);
    files_fini(&d->files);
    files_fini(&d->keys.files);
    files_fini(&d->staged);
    db_record_fini(&d->record);
    mem_free(d->params.at);
    mem_free(d->work);
    mem_free(d);
}

/* What files hold may change on the READ lane, too: a cut brings frames into the main file. */
static void state_of_files(struct db_files *f, struct db_state *out)
{
    sqlite3_mutex_enter(f->mutex);
    out->main_bytes = f->stores[DB_SLOT_MAIN].size;
    out->wal_bytes = f->stores[DB_SLOT_WAL].size;
    sqlite3_mutex_leave(f->mutex);
}

void db_state(struct db *d, struct db_state *out)
{
    int enforced = 0;

    memset(out, 0, sizeof(*out));
    if (!d->writer)
        return; /* the machine failed while another main file was put in place */
    out->applied_index = d->applied_index;
    out->applied_term = d->applied_term;
    out->digest = d->digest;
    out->changed_index = d->changed_index;
    out->upkeep = d->upkeep;
    out->sticky_last_insert_id = sqlite3_last_insert_rowid(d->writer);
    out->sticky_rows_affected = sqlite3_changes64(d->writer);
    state_of_files(&d->files, out);
    out->uncut_bytes = d->files.dirty.bytes + d->keys.files.dirty.bytes + db_stage_uncut(d);
    out->uncut_load_bytes = db_stage_uncut(d);
    out->wal_used_bytes = (uint64_t)d->wal_frames * DB_PAGE_BYTES;
    out->wal_is_loose = db_wal_is_loose(d);
    out->statements_prepared = d->stmts.prepared;
    out->statements_cached = d->stmts.hits;
    out->batches = d->batches;
    out->batches_redone = d->batches_redone;
    out->page_count = d->files.page_count ? d->files.page_count : out->main_bytes / DB_PAGE_BYTES;
    out->freelist_count = d->files.freelist_count;
    out->entry_wall_ns = d->entry_wall_ns;
    (void)sqlite3_db_config(d->writer, SQLITE_DBCONFIG_ENABLE_FKEY, -1, &enforced);
    out->foreign_keys = enforced != 0;
    out->counters = d->counters;
}
