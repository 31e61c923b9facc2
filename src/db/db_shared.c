/* db_shared.c — a live database that other processes may read with ordinary SQLite while we have it open: its main
 * file, WAL and WAL index go through SQLite's own unix VFS, on one handle each for all our connections, and
 * towards the operating system we hold, from open to close (https://sqlite.org/walformat.html §2.3):
 *
 *   main file   SHARED          nobody else can become the last to close it, nor leave WAL mode
 *   120 WRITE   exclusive       nobody else writes,
 *   121 CKPT    exclusive       nor checkpoints: who brings pages to the main file is the image's business
 *
 * Both are granted between our own connections in memory (db_shm.c). The readers' places, 123 … 127, are claimed
 * from the system too, since another process may change the mark of one that it finds free. Most of them are
 * kept SHARED once we had them, so that a read costs no system call; the last is given back, so that others always
 * find one whose mark they can set. An exclusive lock on a place is asked of the system, where strangers may be.
 *
 * The file's mode lets nobody write, except while we open it: others' SQLite then opens it for reading, and does not
 * try to recover or checkpoint anything when we are gone. Root may write all the same.
 *
 * The WAL's header is written as zeros. Who reads beside us goes by the WAL index and never looks at it; but who
 * comes after a crash would recover the WAL by it, and bring into the main file what the image does not hold. So he
 * finds an empty WAL, and the database as of the last snapshot.
 *
 * POSIX locks belong to the process and vanish when it closes any descriptor of the file: nobody in this process
 * may open these files otherwise while they are open here. Not run by the simulator; tests/integration/strangers.py. */
#include "db_int.h"

enum {
    LOCK_OURS = 2,    /* 0 and 1: held throughout */
    LOCK_RECOVER = 2, /* then the readers' places */
    LOCK_LAST = DB_SHM_LOCKS - 1,
    SHM_REGION_BYTES = 32768,
    WAL_HEADER_BYTES = 32, /* https://sqlite.org/fileformat2.html §4.1 */
    TRIES = 50,
    TRY_AGAIN_US = 100 * 1000,
};

static sqlite3_file *main_of(struct db_files *f)
{
    return f->stores[DB_SLOT_MAIN].os;
}

/* ---- files -------------------------------------------------------------------------------------------------- */

static int error_of(int sqlite_rc)
{
    switch (sqlite_rc & 0xFF) {
    case SQLITE_OK:
        return 0;
    case SQLITE_NOMEM:
        return ERR_NOMEM;
    case SQLITE_FULL:
        return ERR_NOSPC;
    case SQLITE_BUSY:
        return ERR_BUSY;
    default:
        return ERR_IO;
    }
}

int db_shared_file_open(struct db_files *f, struct db_store *store, bool create)
{
    bool is_main = store == &f->stores[DB_SLOT_MAIN];
    int flags = SQLITE_OPEN_READWRITE | (create ? SQLITE_OPEN_CREATE : 0) |
                (is_main ? SQLITE_OPEN_MAIN_DB : SQLITE_OPEN_WAL);
    const char *name = is_main ? f->shared.name : sqlite3_filename_wal(f->shared.name);
    sqlite3_int64 size = 0;
    int got_flags = 0;

    sqlite3_file *os = mem_zalloc((size_t)f->shared.vfs->szOsFile);
    if (!os)
        return ERR_NOMEM;
    int rc = f->shared.vfs->xOpen(f->shared.vfs, name, os, flags, &got_flags);
    if (rc == SQLITE_OK && !(got_flags & SQLITE_OPEN_READWRITE))
        rc = SQLITE_CANTOPEN; /* it falls back to reading what it may not write */
    if (rc == SQLITE_OK)
        rc = os->pMethods->xFileSize(os, &size);
    if (rc != SQLITE_OK) {
        if (os->pMethods)
            (void)os->pMethods->xClose(os);
        mem_free(os);
        return error_of(rc);
    }
    store->os = os;
    store->is_wal = !is_main;
    store->exists = true;
    store->size = (uint64_t)size;
    return 0;
}

int db_shared_read(struct db_store *s, void *dst, size_t len, uint64_t offset, size_t *got)
{
    *got = offset >= s->size ? 0 : s->size - offset < len ? (size_t)(s->size - offset) : len;
    int rc = s->os->pMethods->xRead(s->os, dst, (int)len, (sqlite3_int64)offset);
    return rc == SQLITE_IOERR_SHORT_READ ? 0 : error_of(rc);
}

int db_shared_write(struct db_store *s, const void *src, size_t len, uint64_t offset)
{
    static const uint8_t no_header[WAL_HEADER_BYTES];

    if (s->is_wal && offset == 0 && len == sizeof(no_header))
        src = no_header;
    return error_of(s->os->pMethods->xWrite(s->os, src, (int)len, (sqlite3_int64)offset));
}

int db_shared_truncate(struct db_store *s, uint64_t size)
{
    return error_of(s->os->pMethods->xTruncate(s->os, (sqlite3_int64)size));
}

int db_shared_sync(struct db_store *s)
{
    return s->os->pMethods->xSync(s->os, SQLITE_SYNC_NORMAL) == SQLITE_OK ? 0 : ERR_IO;
}

void db_shared_file_close(struct db_store *s)
{
    (void)s->os->pMethods->xClose(s->os);
    mem_free(s->os);
    s->os = NULL;
}

/* ---- locks ---------------------------------------------------------------------------------------------- */

static int os_lock(struct db_files *f, int i, int flags)
{
    sqlite3_file *os = main_of(f);
    return os->pMethods->xShmLock(os, i, 1, flags);
}

static void os_unlock(struct db_files *f, int i)
{
    if (f->shared.held[i] != DB_HELD_NOT)
        (void)os_lock(
            f, i,
            SQLITE_SHM_UNLOCK |
                (f->shared.held[i] == DB_HELD_SHARED ? SQLITE_SHM_SHARED : SQLITE_SHM_EXCLUSIVE));
    f->shared.held[i] = DB_HELD_NOT;
}

static int hold_shared(struct db_files *f, int i)
{
    if (f->shared.held[i] != DB_HELD_NOT)
        return SQLITE_OK;
    int rc = os_lock(f, i, SQLITE_SHM_LOCK | SQLITE_SHM_SHARED);
    if (rc == SQLITE_OK)
        f->shared.held[i] = DB_HELD_SHARED;
    return rc;
}

/* Kept for our next reader, if nobody was quicker. */
static void relax(struct db_files *f, int i)
{
    os_unlock(f, i);
    if (i > LOCK_RECOVER && i < LOCK_LAST)
        (void)hold_shared(f, i);
}

/* None of ours has it: nobody of ours is harmed if a stranger sets its mark in between. */
static int hold_exclusive(struct db_files *f, int i)
{
    os_unlock(f, i);
    int rc = os_lock(f, i, SQLITE_SHM_LOCK | SQLITE_SHM_EXCLUSIVE);
    if (rc == SQLITE_OK)
        f->shared.held[i] = DB_HELD_EXCLUSIVE;
    else
        relax(f, i);
    return rc;
}

int db_shared_lock(struct db_files *f, uint16_t mask, bool exclusive)
{
    for (int i = LOCK_OURS; i < DB_SHM_LOCKS; i++) {
        if (!(mask & 1U << i))
            continue;
        int rc = exclusive ? hold_exclusive(f, i) : hold_shared(f, i);
        if (rc == SQLITE_OK)
            continue;
        while (exclusive && --i >= LOCK_OURS)
            if (mask & 1U << i)
                relax(f, i);
        return rc;
    }
    return SQLITE_OK;
}

void db_shared_unlock(struct db_files *f, uint16_t mask, bool exclusive)
{
    for (int i = LOCK_OURS; i < DB_SHM_LOCKS; i++) {
        if (!(mask & 1U << i))
            continue;
        if (exclusive)
            relax(f, i);
        else if (i == LOCK_LAST || i == LOCK_RECOVER)
            os_unlock(f, i);
    }
}

int db_shared_map(struct db_files *f, int region, int bytes, bool extend, void volatile **out)
{
    sqlite3_file *os = main_of(f);
    return os->pMethods->xShmMap(os, region, bytes, extend, out);
}

void db_shared_barrier(struct db_files *f)
{
    sqlite3_file *os = main_of(f);
    os->pMethods->xShmBarrier(os);
}

/* ---- open and close ---------------------------------------------------------------------------------------- */

/* Whoever has read it keeps a SHARED lock; for a while we wait for him to go. */
static int main_lock_whole(struct db_files *f)
{
    sqlite3_file *os = main_of(f);
    int rc = SQLITE_BUSY;

    for (int i = 0; i < TRIES && rc == SQLITE_BUSY; i++) {
        if (i)
            (void)f->shared.vfs->xSleep(f->shared.vfs, TRY_AGAIN_US);
        rc = os->pMethods->xLock(os, SQLITE_LOCK_SHARED);
        if (rc == SQLITE_OK)
            rc = os->pMethods->xLock(os, SQLITE_LOCK_EXCLUSIVE);
        if (rc != SQLITE_OK)
            (void)os->pMethods->xUnlock(os, SQLITE_LOCK_NONE);
    }
    return rc;
}

static int beside_remove(struct db_files *f, const char *suffix)
{
    char path[DB_PATH_MAX + 8];

    (void)snprintf(path, sizeof(path), "%s%s", f->path, suffix);
    int rc = env_file_remove(f->env, path);
    return rc == ERR_NOT_FOUND ? 0 : rc;
}

static int index_hold(struct db_files *f)
{
    sqlite3_file *os = main_of(f);
    void volatile *region;
    int rc = os->pMethods->xShmMap(os, 0, SHM_REGION_BYTES, 1, &region);

    for (int i = 0; rc == SQLITE_OK && i < LOCK_OURS; i++) {
        rc = os_lock(f, i, SQLITE_SHM_LOCK | SQLITE_SHM_EXCLUSIVE);
        if (rc == SQLITE_OK)
            f->shared.held[i] = DB_HELD_EXCLUSIVE;
    }
    return rc;
}

int db_shared_open(struct db_files *f, bool create, struct err_text *why)
{
    char wal[DB_PATH_MAX + 8];

    f->shared.vfs = sqlite3_vfs_find("unix");
    (void)snprintf(wal, sizeof(wal), "%s-wal", f->path);
    f->shared.name = sqlite3_create_filename(f->path, "", wal, 0, NULL);
    if (!f->shared.vfs || !f->shared.name)
        return err_set(why, ERR_NOMEM, "%s: cannot be opened", f->path);
    int rc = create ? 0 : env_file_protect(f->env, f->path, false);
    if (rc == 0)
        rc = db_shared_file_open(f, &f->stores[DB_SLOT_MAIN], create);
    if (rc == 0)
        rc = env_file_protect(f->env, f->path, true);
    if (rc)
        return err_set(why, rc, "%s: cannot be opened: %s", f->path, err_text_of(rc));
    int sqlite_rc = main_lock_whole(f);
    if (sqlite_rc == SQLITE_BUSY)
        return err_set(why, ERR_BUSY, "%s is open in another process, which must end first",
                       f->path);
    rc = error_of(sqlite_rc);
    if (rc == 0) /* nobody has them: they are not those of a living reader */
        rc = beside_remove(f, "-wal");
    if (rc == 0)
        rc = beside_remove(f, "-shm");
    if (rc == 0)
        rc = error_of(index_hold(f));
    if (rc == 0)
        rc = error_of(main_of(f)->pMethods->xUnlock(main_of(f), SQLITE_LOCK_SHARED));
    return rc ? err_set(why, rc, "%s: cannot be held against other processes: %s", f->path,
                        err_text_of(rc))
              : 0;
}

/* Who still reads keeps his descriptors, and finds the WAL cut off: he fails, and when he closes brings nothing into
 * the main file. */
void db_shared_close(struct db_files *f)
{
    struct db_store *wal = &f->stores[DB_SLOT_WAL];
    sqlite3_file *os = main_of(f);

    if (os) {
        if (wal->os) {
            (void)wal->os->pMethods->xTruncate(wal->os, 0);
            db_shared_file_close(wal);
            (void)!beside_remove(f, "-wal");
        }
        (void)os->pMethods->xShmUnmap(os, 1);
        db_shared_file_close(&f->stores[DB_SLOT_MAIN]);
    }
    for (int i = 0; i < DB_SHM_REGIONS_MAX; i++)
        f->shm[i] = NULL;
    sqlite3_free_filename(f->shared.name);
    f->shared.name = NULL;
}
