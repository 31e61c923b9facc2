/* db_shm.c — the WAL index in heap memory, and the locks between connections of one process: SQLite's
 * state machine (sqlite.org/lockingv3.html, wal.html §2.3.1) without the operating system. */
#include "db_int.h"

static struct db_file *self(sqlite3_file *f)
{
    return (struct db_file *)(void *)f;
}

int db_shm_map(sqlite3_file *f, int region, int bytes, int extend, void volatile **out)
{
    struct db_files *s = self(f)->files;
    int rc = SQLITE_OK;

    ASSERT(s);
    *out = NULL;
    if (region < 0 || region >= DB_SHM_REGIONS_MAX)
        return SQLITE_IOERR_SHMMAP;
    sqlite3_mutex_enter(s->mutex);
    if (!s->shm[region] && s->shared.on) {
        void volatile *at = NULL;
        rc = db_shared_map(s, region, bytes, extend != 0, &at);
        s->shm[region] = (uint8_t *)(uintptr_t)at;
        s->shm_region_bytes = (uint32_t)bytes;
    } else if (!s->shm[region] && extend) {
        s->shm_region_bytes = (uint32_t)bytes;
        s->shm[region] = mem_zalloc((size_t)bytes);
        if (!s->shm[region])
            rc = db_now_failed(ERR_NOMEM) ? SQLITE_IOERR_NOMEM : SQLITE_OK;
    }
    *out = s->shm[region];
    sqlite3_mutex_leave(s->mutex);
    return rc;
}

/* SQLite's rule for its eight locks: one alone, or many together. A handle counts itself once. */
static void shm_check(const struct db_files *s)
{
    for (int i = 0; i < DB_SHM_LOCKS; i++) {
        const struct db_file *alone = s->shm_exclusive[i];
        uint16_t bit = (uint16_t)(1U << i);
        ASSERT(!alone || (alone->shm_exclusive_mask & bit));
        ASSERT(!alone || s->shm_shared[i] == ((alone->shm_shared_mask & bit) != 0));
    }
}

static int shm_unlock(struct db_file *f, uint16_t mask, int flags)
{
    struct db_files *s = f->files;

    for (int i = 0; i < DB_SHM_LOCKS; i++) {
        uint16_t bit = (uint16_t)(1U << i);
        if (!(mask & bit))
            continue;
        if ((flags & SQLITE_SHM_SHARED) && (f->shm_shared_mask & bit)) {
            ASSERT(s->shm_shared[i] > 0);
            s->shm_shared[i]--;
            f->shm_shared_mask = (uint16_t)(f->shm_shared_mask & ~bit);
            if (s->shared.on && s->shm_shared[i] == 0)
                db_shared_unlock(s, bit, false);
        }
        if ((flags & SQLITE_SHM_EXCLUSIVE) && s->shm_exclusive[i] == f) {
            s->shm_exclusive[i] = NULL;
            f->shm_exclusive_mask = (uint16_t)(f->shm_exclusive_mask & ~bit);
            if (s->shared.on)
                db_shared_unlock(s, bit, true);
        }
    }
    return SQLITE_OK;
}

static int shm_lock_shared(struct db_file *f, uint16_t mask)
{
    struct db_files *s = f->files;

    for (int i = 0; i < DB_SHM_LOCKS; i++)
        if ((mask & (1U << i)) && s->shm_exclusive[i] && s->shm_exclusive[i] != f)
            return SQLITE_BUSY;
    int rc = s->shared.on ? db_shared_lock(s, mask, false) : SQLITE_OK;
    for (int i = 0; rc == SQLITE_OK && i < DB_SHM_LOCKS; i++) {
        uint16_t bit = (uint16_t)(1U << i);
        if ((mask & bit) && !(f->shm_shared_mask & bit)) {
            s->shm_shared[i]++;
            f->shm_shared_mask |= bit;
        }
    }
    return rc;
}

static int shm_lock_exclusive(struct db_file *f, uint16_t mask)
{
    struct db_files *s = f->files;

    for (int i = 0; i < DB_SHM_LOCKS; i++) {
        if (!(mask & (1U << i)))
            continue;
        uint32_t own = ((uint32_t)f->shm_shared_mask >> i) & 1U;
        if ((s->shm_exclusive[i] && s->shm_exclusive[i] != f) || s->shm_shared[i] > own)
            return SQLITE_BUSY;
    }
    int rc = s->shared.on ? db_shared_lock(s, mask, true) : SQLITE_OK;
    for (int i = 0; rc == SQLITE_OK && i < DB_SHM_LOCKS; i++) {
        if (mask & (1U << i)) {
            s->shm_exclusive[i] = f;
            f->shm_exclusive_mask |= (uint16_t)(1U << i);
        }
    }
    return rc;
}

int db_shm_lock(sqlite3_file *file, int offset, int n, int flags)
{
    struct db_file *f = self(file);
    uint16_t mask = (uint16_t)(((1U << (offset + n)) - 1U) & ~((1U << offset) - 1U));
    int rc;

    ASSERT(offset >= 0 && n >= 1 && offset + n <= DB_SHM_LOCKS);
    sqlite3_mutex_enter(f->files->mutex);
    if (flags & SQLITE_SHM_UNLOCK)
        rc = shm_unlock(f, mask, flags);
    else if (flags & SQLITE_SHM_SHARED)
        rc = shm_lock_shared(f, mask);
    else
        rc = shm_lock_exclusive(f, mask);
    shm_check(f->files);
    sqlite3_mutex_leave(f->files->mutex);
    return rc;
}

void db_shm_barrier(sqlite3_file *file)
{
    struct db_file *f = self(file);
    /* Entering and leaving a mutex orders memory; nothing else is needed of a barrier here. */
    sqlite3_mutex_enter(f->files->mutex);
    if (f->files->shared.on)
        db_shared_barrier(f->files);
    sqlite3_mutex_leave(f->files->mutex);
}

int db_shm_unmap(sqlite3_file *file, int delete_flag)
{
    struct db_file *f = self(file);

    (void)delete_flag; /* the index lives as long as the database is open */
    sqlite3_mutex_enter(f->files->mutex);
    (void)shm_unlock(f, 0xFF, SQLITE_SHM_SHARED | SQLITE_SHM_EXCLUSIVE);
    ASSERT(f->shm_shared_mask == 0 && f->shm_exclusive_mask == 0);
    sqlite3_mutex_leave(f->files->mutex);
    return SQLITE_OK;
}

void db_shm_free(struct db_files *s)
{
    for (int i = 0; i < DB_SHM_REGIONS_MAX; i++) {
        mem_free(s->shm[i]);
        s->shm[i] = NULL;
    }
}

/* ---- the main file's five levels ------------------------------------------------------------------------ */

static int lock_up(struct db_file *f, int level)
{
    struct db_files *s = f->files;

    if (level == SQLITE_LOCK_SHARED) {
        if ((s->pending && s->pending != f) || (s->exclusive && s->exclusive != f))
            return SQLITE_BUSY;
        s->shared_count++;
        return SQLITE_OK;
    }
    if (level == SQLITE_LOCK_RESERVED) {
        if (s->reserved && s->reserved != f)
            return SQLITE_BUSY;
        s->reserved = f;
        return SQLITE_OK;
    }
    if ((s->pending && s->pending != f) || (s->reserved && s->reserved != f))
        return SQLITE_BUSY;
    s->pending = f;
    if (s->shared_count > 1)
        return SQLITE_BUSY; /* pending stays: no new readers */
    s->exclusive = f;
    return SQLITE_OK;
}

int db_lock(sqlite3_file *file, int level)
{
    struct db_file *f = self(file);
    int rc = SQLITE_OK;

    if (!f->files || f->lock >= level)
        return SQLITE_OK;
    sqlite3_mutex_enter(f->files->mutex);
    rc = lock_up(f, level);
    if (rc == SQLITE_OK)
        f->lock = level;
    ASSERT(!f->files->exclusive || f->files->shared_count == 1);
    sqlite3_mutex_leave(f->files->mutex);
    return rc;
}

int db_unlock(sqlite3_file *file, int level)
{
    struct db_file *f = self(file);
    struct db_files *s = f->files;

    if (!s || f->lock <= level)
        return SQLITE_OK;
    sqlite3_mutex_enter(s->mutex);
    if (s->exclusive == f)
        s->exclusive = NULL;
    if (s->pending == f)
        s->pending = NULL;
    if (s->reserved == f)
        s->reserved = NULL;
    ASSERT(s->shared_count > 0); /* ours at least */
    if (level == SQLITE_LOCK_NONE && f->lock >= SQLITE_LOCK_SHARED)
        s->shared_count--;
    f->lock = level;
    sqlite3_mutex_leave(s->mutex);
    return SQLITE_OK;
}

int db_check_reserved(sqlite3_file *file, int *out)
{
    struct db_file *f = self(file);

    *out = 0;
    if (!f->files)
        return SQLITE_OK;
    sqlite3_mutex_enter(f->files->mutex);
    *out = f->files->reserved != NULL;
    sqlite3_mutex_leave(f->files->mutex);
    return SQLITE_OK;
}
