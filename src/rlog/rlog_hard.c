/* rlog_hard.c — term, vote and identities in two copies, and the commit mark beside them.
 *
 * A save writes A, syncs, writes B, syncs: at any moment at least one copy on disk is whole, and a copy
 * is touched only while the other one is known to be durable. Writing in place costs a third of an
 * atomic replace by rename.
 *
 * The mark is written without a sync, by turns into A and B (so that one survives the other's being
 * torn). It claims only what was true when it was written, so an old one does no harm, and a bad one is
 * no mark. */
#include "rlog_int.h"
#include <rq/util/assert.h>
#include <rq/util/mem.h>
#include <string.h>

static const char *const copy_name[2] = {"hard.a", "hard.b"};
static const char *const fresh_name[2] = {"hard.a.new", "hard.b.new"};

static int copy_open(struct rlog *l, const char *name, unsigned flags, struct env_file **out)
{
    char *path = rlog_path(l, name);
    int rc = env_file_open(l->env, path, flags, out);

    mem_free(path);
    return rc;
}

/* ---- looking -------------------------------------------------------------------------------------------- */

static int sector_read(struct env_file *f, uint64_t offset, uint8_t sector[RLOG_SECTOR])
{
    size_t got = 0;

    memset(sector, 0, RLOG_SECTOR); /* a file too short reads as a bad record */
    return env_file_read(f, sector, RLOG_SECTOR, offset, &got) ? ERR_IO : 0;
}

static int copy_look(struct rlog *l, unsigned i, struct rlog_hard_found *found,
                     struct err_text *why)
{
    struct env_file *f = l->hard_file[i];
    uint8_t sector[RLOG_SECTOR];
    struct rlog_mark_rec mark;

    if (sector_read(f, 0, sector))
        return err_set(why, ERR_IO, "%s/%s: cannot be read", l->dir, copy_name[i]);
    int rc = rlog_hard_rec_get(sector, &found->rec[i]);
    if (rc == ERR_VERSION)
        return err_set(why, rc, "%s/%s: written by a newer program", l->dir, copy_name[i]);
    found->good[i] = rc == 0 && found->rec[i].copy == "ab"[i];
    if (sector_read(f, RLOG_MARK_OFFSET, sector))
        return err_set(why, ERR_IO, "%s/%s: cannot be read", l->dir, copy_name[i]);
    if (rlog_mark_rec_get(sector, &mark) == 0 && mark.batch > found->mark.batch)
        found->mark = mark;
    return 0;
}

int rlog_hard_look(struct rlog *l, struct rlog_hard_found *found, struct err_text *why)
{
    *found = (struct rlog_hard_found){0};
    for (unsigned i = 0; i < 2; i++) {
        int rc = copy_open(l, copy_name[i], 0, &l->hard_file[i]);
        if (rc == ERR_NOT_FOUND)
            continue;
        if (rc)
            return err_set(why, rc, "%s/%s: cannot be opened", l->dir, copy_name[i]);
        found->there[i] = true;
        rc = copy_look(l, i, found, why);
        if (rc)
            return rc;
    }
    return 0;
}

void rlog_hard_close(struct rlog *l)
{
    for (unsigned i = 0; i < 2; i++) {
        env_file_close(l->hard_file[i]);
        l->hard_file[i] = NULL;
    }
}

/* ---- writing -------------------------------------------------------------------------------------------- */

static int copy_write(struct rlog *l, unsigned i)
{
    uint8_t sector[RLOG_SECTOR];

    l->hard.copy = "ab"[i];
    rlog_hard_rec_put(sector, &l->hard);
    if (env_file_write(l->hard_file[i], sector, sizeof(sector), 0))
        return rlog_poison(l, ERR_IO);
    return rlog_file_sync(l, l->hard_file[i]);
}

int rlog_hard_put(struct rlog *l)
{
    l->hard.number++;
    int rc = copy_write(l, 0);
    return rc ? rc : copy_write(l, 1);
}

int rlog_mark_put(struct rlog *l)
{
    uint8_t sector[RLOG_SECTOR];

    rlog_mark_rec_put(sector, &l->mark);
    l->mark_turn ^= 1U;
    if (env_file_write(l->hard_file[l->mark_turn], sector, sizeof(sector), RLOG_MARK_OFFSET))
        return rlog_poison(l, ERR_IO);
    return 0;
}

/* ---- making and mending ------------------------------------------------------------------------------------ */

/* Complete and synced under another name, then renamed: a copy that is there was whole once. */
static int copy_create(struct rlog *l, unsigned i)
{
    uint8_t file[RLOG_HARD_BYTES] = {0};
    int rc = rlog_file_remove(l, fresh_name[i]);

    if (rc == 0)
        rc = copy_open(l, fresh_name[i], ENV_FILE_CREATE, &l->hard_file[i]);
    if (rc)
        return rc;
    l->hard.copy = "ab"[i];
    rlog_hard_rec_put(file, &l->hard);
    rc = env_file_write(l->hard_file[i], file, sizeof(file), 0);
    if (rc == 0)
        rc = rlog_file_sync(l, l->hard_file[i]);
    char *from = rlog_path(l, fresh_name[i]), *to = rlog_path(l, copy_name[i]);
    if (rc == 0)
        rc = env_file_rename(l->env, from, to);
    mem_free(from);
    mem_free(to);
    return rc;
}

int rlog_hard_create(struct rlog *l, uint64_t store_id)
{
    rlog_hard_close(l); /* left by a creation that was interrupted */
    l->hard = (struct rlog_hard_rec){.number = 1, .store_id = store_id};
    int rc = copy_create(l, 0);
    if (rc == 0)
        rc = copy_create(l, 1);
    return rc ? rc : rlog_dir_sync(l);
}

int rlog_hard_settle(struct rlog *l, const struct rlog_hard_found *found, bool *repaired)
{
    bool equal = found->good[0] && found->good[1] && found->rec[0].number == found->rec[1].number;
    int rc = 0;

    ASSERT(found->good[0] || found->good[1]);
    *repaired = !found->good[0] || !found->good[1];
    for (unsigned i = 0; rc == 0 && i < 2; i++)
        if (!found->there[i])
            rc = copy_create(l, i);
    if (rc == 0 && (!found->there[0] || !found->there[1]))
        rc = rlog_dir_sync(l);
    /* Equal numbers: B was begun after A's sync had returned, so A is durable and B perhaps not. Else
     * A goes first, as in a save: B is not touched before A is durable again. */
    if (rc == 0 && !equal)
        rc = copy_write(l, 0);
    return rc ? rc : copy_write(l, 1);
}
