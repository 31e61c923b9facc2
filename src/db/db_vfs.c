/* db_vfs.c — SQLite's files, time and chance, over env.
 *
 * Two VFSes share everything but the clock: the writer's answers from the entry being applied (and is the
 * process's default, so that SQLite's own generator seeds itself from the entry too), the readers' from
 * the wall clock. Both are registered once per process and hold no state of any database: a main file
 * learns its database from a thread-local set around sqlite3_open_v2, its WAL and journal from the main
 * file's handle. Failures are noted (db_now_failed), so that a machine's error is never taken for a
 * statement's. Anonymous temporary files live in memory. */
#include "db_int.h"
#include <rq/util/endian.h>

const char db_vfs_writer_name[] = "rq-writer";
const char db_vfs_reader_name[] = "rq-reader";

static _Thread_local struct db_files *opening; /* allow-listed: see above */

void db_vfs_opening(struct db_files *files)
{
    opening = files;
}

static struct db_file *self(sqlite3_file *f)
{
    return (struct db_file *)(void *)f;
}

static int io_error(int rc, int sqlite_rc)
{
    (void)db_now_failed(rc);
    if (rc == ERR_NOSPC)
        return SQLITE_FULL;
    if (rc == ERR_NOMEM)
        return SQLITE_IOERR_NOMEM;
    return sqlite_rc;
}

static void enter(struct db_file *f)
{
    if (f->files)
        sqlite3_mutex_enter(f->files->mutex);
}

static void leave(struct db_file *f)
{
    if (f->files)
        sqlite3_mutex_leave(f->files->mutex);
}

/* ---- file methods --------------------------------------------------------------------------------------- */

static int file_close(sqlite3_file *file)
{
    struct db_file *f = self(file);

    if (!f->files) {
        db_store_drop(&f->own);
        return SQLITE_OK;
    }
    if (f->lock != SQLITE_LOCK_NONE)
        (void)db_unlock(file, SQLITE_LOCK_NONE);
    return SQLITE_OK; /* the store stays open for the other connections, until db_close */
}

static int file_read(sqlite3_file *file, void *dst, int len, sqlite3_int64 offset)
{
    struct db_file *f = self(file);
    size_t got;

    enter(f);
    int rc = db_live_read(f->files, f->store, dst, (size_t)len, (uint64_t)offset, &got);
    leave(f);
    if (rc)
        return io_error(rc, SQLITE_IOERR_READ);
    if (got == (size_t)len)
        return SQLITE_OK;
    memset((uint8_t *)dst + got, 0, (size_t)len - got);
    return SQLITE_IOERR_SHORT_READ; /* not an error: SQLite asks past the end */
}

static uint32_t get_be32(const uint8_t *p)
{
    return __builtin_bswap32(get_u32(p));
}

/* What /status shows of the database's size is in what SQLite writes to its WAL (sqlite.org/fileformat2
 * §4.1): a frame's header of 24 bytes with the page's number and, in the last frame of a commit, the size
 * in pages; then the page, whose first one counts the freelist at byte 36. */
static void wal_write_note(struct db_files *s, const void *src, int len)
{
    enum { FRAME_HEADER_BYTES = 24, FREELIST_AT = 36 };
    const uint8_t *bytes = src;

    if (len == FRAME_HEADER_BYTES) {
        if (get_be32(bytes + 4))
            s->page_count = get_be32(bytes + 4);
        s->page_one_next = get_be32(bytes) == 1;
        return;
    }
    if (s->page_one_next && len > FREELIST_AT + 4)
        s->freelist_count = get_be32(bytes + FREELIST_AT);
    s->page_one_next = false;
}

static int file_write(sqlite3_file *file, const void *src, int len, sqlite3_int64 offset)
{
    struct db_file *f = self(file);

    enter(f);
    int rc = f->files ? db_dirty_note(f->files, f->store, src, (size_t)len, (uint64_t)offset) : 0;
    if (rc == 0)
        rc = db_live_write_sqlite(f->files, f->store, src, (size_t)len, (uint64_t)offset);
    if (rc == 0 && f->files && f->store == &f->files->stores[DB_SLOT_WAL])
        wal_write_note(f->files, src, len);
    leave(f);
    if (rc == ERR_CANCELED)
        return SQLITE_INTERRUPT; /* a rehearsed checkpoint, which nobody calls a failure */
    return rc ? io_error(rc, SQLITE_IOERR_WRITE) : SQLITE_OK;
}

static int file_truncate(sqlite3_file *file, sqlite3_int64 size)
{
    struct db_file *f = self(file);

    enter(f);
    int rc = db_live_truncate(f->files, f->store, (uint64_t)size);
    leave(f);
    return rc ? io_error(rc, SQLITE_IOERR_TRUNCATE) : SQLITE_OK;
}

static int file_sync(sqlite3_file *file, int flags)
{
    (void)file; /* the log is the truth: nothing here is ever relied on after a start */
    (void)flags;
    return SQLITE_OK;
}

static int file_size(sqlite3_file *file, sqlite3_int64 *out)
{
    struct db_file *f = self(file);

    enter(f);
    *out = (sqlite3_int64)f->store->size;
    leave(f);
    return SQLITE_OK;
}

static int file_control(sqlite3_file *file, int op, void *arg)
{
    (void)file;
    (void)op;
    (void)arg;
    return SQLITE_NOTFOUND;
}

static int file_sector_size(sqlite3_file *file)
{
    (void)file;
    return 4096;
}

static int file_characteristics(sqlite3_file *file)
{
    (void)file;
    return SQLITE_IOCAP_POWERSAFE_OVERWRITE | SQLITE_IOCAP_UNDELETABLE_WHEN_OPEN;
}

static const sqlite3_io_methods file_methods = {
    .iVersion = 2,
    .xClose = file_close,
    .xRead = file_read,
    .xWrite = file_write,
    .xTruncate = file_truncate,
    .xSync = file_sync,
    .xFileSize = file_size,
    .xLock = db_lock,
    .xUnlock = db_unlock,
    .xCheckReservedLock = db_check_reserved,
    .xFileControl = file_control,
    .xSectorSize = file_sector_size,
    .xDeviceCharacteristics = file_characteristics,
    .xShmMap = db_shm_map,
    .xShmLock = db_shm_lock,
    .xShmBarrier = db_shm_barrier,
    .xShmUnmap = db_shm_unmap,
};

/* ---- names -------------------------------------------------------------------------------------------------- */

static struct db_store *store_by_flags(struct db_files *s, int flags)
{
    if (flags & SQLITE_OPEN_MAIN_DB)
        return &s->stores[DB_SLOT_MAIN];
    if (flags & SQLITE_OPEN_WAL)
        return &s->stores[DB_SLOT_WAL];
    if (flags & SQLITE_OPEN_MAIN_JOURNAL)
        return &s->stores[DB_SLOT_JOURNAL];
    return NULL;
}

/* The database that a WAL's or journal's name belongs to, by SQLite's own book-keeping. */
static struct db_files *files_by_name(const char *name)
{
    sqlite3_file *main_file = sqlite3_database_file_object(name);
    return main_file && main_file->pMethods == &file_methods ? self(main_file)->files : NULL;
}

static struct db_store *store_by_name(const char *name, struct db_files **files)
{
    size_t len = strlen(name);

    *files = opening; /* while a connection opens, its main handle is not there yet */
    if (!*files)
        *files = files_by_name(name);
    if (!*files)
        return NULL;
    if (len > 4 && strcmp(name + len - 4, "-wal") == 0)
        return &(*files)->stores[DB_SLOT_WAL];
    if (len > 8 && strcmp(name + len - 8, "-journal") == 0)
        return &(*files)->stores[DB_SLOT_JOURNAL];
    return strcmp(name, (*files)->path) == 0 ? &(*files)->stores[DB_SLOT_MAIN] : NULL;
}

static int store_open(struct db_files *s, struct db_store *store, const char *name)
{
    int rc = 0;

    sqlite3_mutex_enter(s->mutex);
    bool on_disk = s->on_disk && store != &s->stores[DB_SLOT_JOURNAL];
    if (!store->exists && on_disk && s->shared.on)
        rc = db_shared_file_open(s, store, true);
    else if (!store->exists && on_disk)
        rc = env_file_open(s->env, name, ENV_FILE_CREATE, &store->file);
    if (rc == 0)
        store->exists = true;
    sqlite3_mutex_leave(s->mutex);
    return rc;
}

static int vfs_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *file, int flags,
                    int *out_flags)
{
    struct db_file *f = self(file);

    (void)vfs;
    memset(f, 0, sizeof(*f));
    if (!name || !(flags & (SQLITE_OPEN_MAIN_DB | SQLITE_OPEN_WAL | SQLITE_OPEN_MAIN_JOURNAL))) {
        f->store = &f->own; /* a temporary file */
        f->own.exists = true;
    } else {
        f->files = (flags & SQLITE_OPEN_MAIN_DB) ? opening : files_by_name(name);
        if (!f->files)
            return SQLITE_CANTOPEN; /* a file of the user's choosing: not ours to open */
        f->store = store_by_flags(f->files, flags);
        int rc = store_open(f->files, f->store, name);
        if (rc)
            return io_error(rc, SQLITE_CANTOPEN);
    }
    f->base.pMethods = &file_methods;
    if (out_flags)
        *out_flags = flags;
    return SQLITE_OK;
}

static int vfs_delete(sqlite3_vfs *vfs, const char *name, int sync_dir)
{
    struct db_files *s;
    struct db_store *store = store_by_name(name, &s);

    (void)vfs;
    (void)sync_dir;
    if (!store || !store->exists)
        return SQLITE_IOERR_DELETE_NOENT;
    sqlite3_mutex_enter(s->mutex);
    bool on_disk = store->file || store->os;
    db_store_drop(store);
    sqlite3_mutex_leave(s->mutex);
    int rc = on_disk ? env_file_remove(s->env, name) : 0;
    return rc && rc != ERR_NOT_FOUND ? io_error(rc, SQLITE_IOERR_DELETE) : SQLITE_OK;
}

static int vfs_access(sqlite3_vfs *vfs, const char *name, int flags, int *out)
{
    struct db_files *s;
    struct db_store *store = store_by_name(name, &s);

    (void)vfs;
    (void)flags;
    *out = store && store->exists && store->size > 0;
    return SQLITE_OK;
}

static int vfs_full_pathname(sqlite3_vfs *vfs, const char *name, int cap, char *out)
{
    (void)vfs;
    int n = snprintf(out, (size_t)cap, "%s", name);
    return n >= 0 && n < cap ? SQLITE_OK : SQLITE_CANTOPEN;
}

/* ---- time and chance ------------------------------------------------------------------------------------------ */

enum { JULIAN_1970_MS_HIGH = 210866760 }; /* thousands of seconds, see below */

static int vfs_randomness(sqlite3_vfs *vfs, int len, char *out)
{
    (void)vfs;
    prng_fill(&db_now()->chance, out, (size_t)len);
    return len;
}

static sqlite3_vfs *system_vfs; /* allow-listed: SQLite's own, set once; only its sleep is used */

/* SQLite sleeps where two connections want one lock of the WAL index at once, for microseconds; a reader
 * that did not would give up before the other thread is scheduled again. Alone in a thread nobody waits. */
static int vfs_sleep(sqlite3_vfs *vfs, int microseconds)
{
    (void)vfs;
    return system_vfs ? system_vfs->xSleep(system_vfs, microseconds) : microseconds;
}

/* Milliseconds since noon of November 24, 4714 B.C. (proleptic Gregorian): 1970 is 210866760000000. */
static int vfs_current_time(sqlite3_vfs *vfs, sqlite3_int64 *out)
{
    int64_t wall_ns = db_now()->wall_ns;
    int64_t wall_ms = wall_ns / 1000000 - (wall_ns % 1000000 < 0);

    (void)vfs;
    *out = wall_ms + (int64_t)JULIAN_1970_MS_HIGH * 1000000;
    if (*out < 1)
        *out = 1; /* 0 would make SQLite ask the operating system */
    return SQLITE_OK;
}

static int vfs_current_time_double(sqlite3_vfs *vfs, double *out)
{
    sqlite3_int64 ms;
    (void)vfs_current_time(vfs, &ms);
    *out = (double)ms / 86400000.0;
    return SQLITE_OK;
}

static int vfs_last_error(sqlite3_vfs *vfs, int len, char *out)
{
    (void)vfs;
    if (len > 0)
        out[0] = '\0';
    return 0;
}

static sqlite3_vfs vfses[2]; /* allow-listed: registered with SQLite for the process's life */

static void vfs_fill(sqlite3_vfs *v, const char *name)
{
    v->iVersion = 2;
    v->szOsFile = (int)sizeof(struct db_file);
    v->mxPathname = DB_PATH_MAX;
    v->zName = name;
    v->xOpen = vfs_open;
    v->xDelete = vfs_delete;
    v->xAccess = vfs_access;
    v->xFullPathname = vfs_full_pathname;
    v->xRandomness = vfs_randomness;
    v->xSleep = vfs_sleep;
    v->xCurrentTime = vfs_current_time_double;
    v->xGetLastError = vfs_last_error;
    v->xCurrentTimeInt64 = vfs_current_time;
}

int db_vfs_register(bool single_thread)
{
    system_vfs = single_thread ? NULL : sqlite3_vfs_find(NULL);
    vfs_fill(&vfses[0], db_vfs_writer_name);
    vfs_fill(&vfses[1], db_vfs_reader_name);
    int rc = sqlite3_vfs_register(&vfses[0], 1);
    return rc ? rc : sqlite3_vfs_register(&vfses[1], 0);
}
