/* env_files.c — env_file_*, env_dir_* and env_lock_* over a simulated disk. Each call: tell it (trace,
 * crash point), do it, tell the result. Handles are the simulator's own memory. */
#include "env/env_files.h"
#include <rq/util/assert.h>
#include <rq/util/crc.h>
#include <stdlib.h>

struct sim_file {
    struct env_file base; /* also stands for struct env_lock: same first member */
    struct sim_inode *inode;
    struct list in_env;
    bool readonly, is_lock;
};

void env_files_init(struct sim_env *e, struct sim_disk *d)
{
    e->disk = d;
    list_init(&e->files);
}

static struct sim_env *env_of(struct env *e)
{
    return (struct sim_env *)(void *)e;
}

static struct sim_file *file_of(struct env_file *f)
{
    return (struct sim_file *)(void *)f;
}

static void tell(struct sim_env *e, const char *kind, const char *text, uint64_t a, uint64_t b)
{
    struct sim_call c = {kind, text, a, b, 0};
    e->call(e, &c, true);
}

static int result(struct sim_env *e, int rc, uint32_t crc)
{
    e->result(e, rc, crc);
    return rc;
}

static struct sim_file *file_new(struct sim_env *e, struct sim_inode *n)
{
    struct sim_file *f = calloc(1, sizeof(*f));
    ASSERT(f);
    f->base.env = &e->base;
    f->inode = n;
    list_push_back(&e->files, &f->in_env);
    return f;
}

static void file_free(struct sim_env *e, struct sim_file *f)
{
    list_remove(&f->in_env);
    if (f->is_lock)
        disk_unlock(e->disk, f->inode);
    else
        disk_close(e->disk, f->inode);
    free(f);
}

void env_files_drop(struct sim_env *e)
{
    disk_listings_drop(e->disk);
    while (!list_empty(&e->files))
        file_free(e, LIST_ENTRY(e->files.next, struct sim_file, in_env));
}

static void check_open_once(const struct sim_env *e, const struct sim_inode *n)
{
    for (const struct list *l = e->files.next; l != &e->files; l = l->next)
        ASSERT(LIST_ENTRY(l, struct sim_file, in_env)->inode != n); /* env.h: open once at a time */
}

int env_files_open(struct env *env, const char *path, unsigned flags, struct env_file **out)
{
    struct sim_env *e = env_of(env);
    struct sim_inode *n;

    tell(e, "open", path, flags, 0);
    int rc = disk_open(e->disk, path, flags, &n);
    if (rc)
        return result(e, rc, 0);
    check_open_once(e, n);
    struct sim_file *f = file_new(e, n);
    f->readonly = (flags & ENV_FILE_READONLY) != 0;
    *out = &f->base;
    return result(e, 0, 0);
}

void env_files_close(struct env_file *file)
{
    struct sim_env *e = env_of(file->env);
    struct sim_file *f = file_of(file);

    tell(e, "close", NULL, f->inode->id, 0);
    file_free(e, f);
}

int env_files_read(struct env_file *file, void *dst, size_t len, uint64_t offset, size_t *got)
{
    struct sim_env *e = env_of(file->env);
    struct sim_file *f = file_of(file);

    tell(e, "read", NULL, offset, len);
    int rc = disk_read(e->disk, f->inode, dst, len, offset, got);
    return result(e, rc, rc ? 0 : crc32c((uint32_t)*got, dst, *got));
}

int env_files_write(struct env_file *file, const void *src, size_t len, uint64_t offset)
{
    struct sim_env *e = env_of(file->env);
    struct sim_file *f = file_of(file);
    struct sim_call c = {"write", disk_path_of(e->disk, f->inode), offset, len,
                         crc32c(0, src, len)};

    ASSERT(!f->readonly);
    e->call(e, &c, true);
    int rc = disk_write(e->disk, f->inode, src, len, offset);
    return result(e, rc, e->disk->write_crc);
}

int env_files_sync(struct env_file *file)
{
    struct sim_env *e = env_of(file->env);
    struct sim_file *f = file_of(file);

    tell(e, "sync", disk_path_of(e->disk, f->inode), f->inode->pending_count, 0);
    return result(e, disk_sync(e->disk, f->inode), 0);
}

int env_files_truncate(struct env_file *file, uint64_t size)
{
    struct sim_env *e = env_of(file->env);
    struct sim_file *f = file_of(file);

    ASSERT(!f->readonly);
    tell(e, "truncate", disk_path_of(e->disk, f->inode), size, 0);
    return result(e, disk_truncate(e->disk, f->inode, size), 0);
}

int env_files_punch(struct env_file *file, uint64_t offset, uint64_t len)
{
    struct sim_env *e = env_of(file->env);
    struct sim_file *f = file_of(file);

    ASSERT(!f->readonly && offset + len <= f->inode->cache.size);
    tell(e, "punch", disk_path_of(e->disk, f->inode), offset, len);
    return result(e, disk_punch(e->disk, f->inode, offset, len), 0);
}

int env_files_size(struct env_file *file, uint64_t *out)
{
    struct sim_env *e = env_of(file->env);

    tell(e, "size", NULL, 0, 0);
    *out = file_of(file)->inode->cache.size;
    return result(e, 0, (uint32_t)*out);
}

int env_files_rename(struct env *env, const char *from, const char *to)
{
    struct sim_env *e = env_of(env);

    tell(e, "rename", from, 0, 0);
    tell(e, "rename_to", to, 0, 0);
    return result(e, disk_rename(e->disk, from, to), 0);
}

int env_files_link(struct env *env, const char *from, const char *to)
{
    struct sim_env *e = env_of(env);

    tell(e, "link", from, 0, 0);
    tell(e, "link_to", to, 0, 0);
    return result(e, disk_link(e->disk, from, to), 0);
}

int env_files_look(struct env *env, const char *path, struct env_file_facts *out)
{
    struct sim_env *e = env_of(env);

    tell(e, "look", path, 0, 0);
    int rc = disk_look(e->disk, path, out);
    return result(e, rc, rc ? 0 : (uint32_t)(out->size ^ out->inode ^ (uint64_t)out->changed_ns));
}

/* There is nobody to protect it from. */
int env_files_protect(struct env *env, const char *path, bool on)
{
    struct sim_env *e = env_of(env);
    struct env_file_facts facts;

    tell(e, "protect", path, on, 0);
    return result(e, disk_look(e->disk, path, &facts), 0);
}

int env_files_remove(struct env *env, const char *path)
{
    struct sim_env *e = env_of(env);

    tell(e, "remove", path, 0, 0);
    return result(e, disk_remove(e->disk, path), 0);
}

int env_files_dir_create(struct env *env, const char *path)
{
    struct sim_env *e = env_of(env);

    tell(e, "mkdir", path, 0, 0);
    return result(e, disk_mkdir(e->disk, path), 0);
}

int env_files_dir_sync(struct env *env, const char *path)
{
    struct sim_env *e = env_of(env);

    tell(e, "sync_dir", path, 0, 0);
    return result(e, disk_sync_dir(e->disk, path), 0);
}

int env_files_dir_list(struct env *env, const char *path, void (*entry)(void *, const char *),
                       void *ctx)
{
    struct sim_env *e = env_of(env);

    tell(e, "list", path, 0, 0);
    return result(e, disk_list(e->disk, path, entry, ctx), 0);
}

int env_files_lock(struct env *env, const char *path, struct env_lock **out)
{
    struct sim_env *e = env_of(env);
    struct sim_inode *n;

    tell(e, "lock", path, 0, 0);
    int rc = disk_lock(e->disk, path, &n);
    if (rc)
        return result(e, rc, 0);
    struct sim_file *f = file_new(e, n);
    f->is_lock = true;
    *out = (struct env_lock *)(void *)&f->base;
    return result(e, 0, 0);
}

void env_files_unlock(struct env_lock *l)
{
    struct sim_env *e = env_of(l->env);

    tell(e, "unlock", NULL, 0, 0);
    file_free(e, (struct sim_file *)(void *)l);
}

int env_files_disk_free(struct env *env, const char *path, uint64_t *out)
{
    struct sim_env *e = env_of(env);

    tell(e, "free", path, 0, 0);
    *out = disk_free_bytes(e->disk);
    return result(e, 0, (uint32_t)(*out / SIM_PAGE_BYTES));
}
