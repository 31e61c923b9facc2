/* sim_disk_ops.c — the operations behind env_file_* and env_dir_*, with their faults and their cost.
 *
 * Called by the environments (host_env.c, env_sim.c). Every changing operation first goes through
 * op_begin: there the environment may crash, so that operation k has not happened. */
#include "env/sim_disk_int.h"
#include <rq/env.h>
#include <rq/util/assert.h>
#include <rq/util/crc.h>
#include <stdlib.h>
#include <string.h>

static void op_begin(struct sim_disk *d)
{
    d->ops++;
    if (d->before_op)
        d->before_op(d->before_op_ctx);
}

static bool once(struct sim_disk *d, enum sim_disk_once kind)
{
    return d->once[kind] != 0 && --d->once[kind] == 0;
}

void sim_disk_fail_once(struct sim_disk *d, enum sim_disk_once kind, uint64_t after_ops)
{
    d->once[kind] = after_ops + 1;
}

void sim_disk_flip_write(struct sim_disk *d, uint64_t nth)
{
    d->flip_write = nth;
}

static bool fault(struct sim_disk *d, enum sim_disk_once kind, uint32_t ppm)
{
    bool now = once(d, kind);
    if (ppm && prng_chance_ppm(&d->prng, ppm))
        now = true;
    return now;
}

static void charge(struct sim_disk *d, uint64_t base_ns, size_t len)
{
    uint64_t ns = base_ns + d->config.ns_per_kib * len / 1024;
    const struct sim_disk_faults *f = &d->config.faults;

    if (ns)
        d->cost_ns += ns / 2 + prng_below(&d->prng, ns + 1);
    if (fault(d, SIM_ONCE_STALL, f->stall_ppm)) {
        d->cost_ns += prng_range(&d->prng, f->stall_min_ns, f->stall_max_ns);
        disk_event(d, SIM_DISK_STALL, "", 0);
    }
}

uint64_t disk_take_cost(struct sim_disk *d)
{
    uint64_t ns = d->cost_ns;
    d->cost_ns = 0;
    return ns;
}

uint64_t disk_free_bytes(const struct sim_disk *d)
{
    uint64_t used = sim_disk_used_bytes(d);
    uint64_t quota = d->config.quota_bytes ? d->config.quota_bytes : UINT64_C(1) << 40;
    return quota > used ? quota - used : 0;
}

/* May the file grow to this size? */
static bool has_space(struct sim_disk *d, const struct sim_inode *n, uint64_t size)
{
    uint64_t page_mask = ~(uint64_t)(SIM_PAGE_BYTES - 1);
    uint64_t have = (n->cache.size + SIM_PAGE_BYTES - 1) & page_mask;
    uint64_t want = (size + SIM_PAGE_BYTES - 1) & page_mask;

    if (fault(d, SIM_ONCE_NOSPC, d->config.faults.nospc_ppm))
        return false;
    return want <= have || d->config.quota_bytes == 0 || want - have <= disk_free_bytes(d);
}

static int refuse_space(struct sim_disk *d, const char *path)
{
    disk_event(d, SIM_DISK_NOSPC, path, 0);
    return ERR_NOSPC;
}

/* ---- names ---- */

static bool parent_exists(const struct sim_disk *d, const char *path)
{
    const char *slash = strrchr(path, '/');
    if (!slash)
        return true;
    char dir[SIM_PATH_MAX];
    memcpy(dir, path, (size_t)(slash - path));
    dir[slash - path] = '\0';
    return disk_dir_exists(d, dir);
}

static int create_file(struct sim_disk *d, const char *path, struct sim_inode **out)
{
    op_begin(d);
    charge(d, d->config.write_ns, 0);
    if (fault(d, SIM_ONCE_NOSPC, d->config.faults.nospc_ppm) || disk_free_bytes(d) == 0)
        return refuse_space(d, path);
    struct sim_inode *n = disk_inode_new(d);
    disk_entry_set(&disk_entry_make(d, path)->cache, n);
    pending_name(d, SIM_PENDING_LINK, n, path, NULL);
    *out = n;
    return 0;
}

static int open_path(struct sim_disk *d, const char *path, unsigned flags, struct sim_inode **out)
{
    struct sim_entry *en = disk_entry(d, path);

    if (en && en->cache) {
        if (flags & ENV_FILE_EXCLUSIVE)
            return ERR_EXISTS;
        *out = en->cache;
        return 0;
    }
    if (disk_dir_exists(d, path))
        return ERR_IO;
    if (!(flags & ENV_FILE_CREATE) || !parent_exists(d, path))
        return ERR_NOT_FOUND;
    return create_file(d, path, out);
}

int disk_open(struct sim_disk *d, const char *path, unsigned flags, struct sim_inode **out)
{
    char p[SIM_PATH_MAX];
    disk_path(path, p);
    int rc = open_path(d, p, flags, out);
    if (rc)
        return rc;
    (*out)->refs++;
    (*out)->handles++;
    d->handles++;
    return 0;
}

/* Nobody can read it any more, after a power cut neither: its unsynced bytes need not be kept. */
static void drop_if_nameless(struct sim_disk *d, struct sim_inode *n)
{
    if (n->handles == 0 && *disk_path_of(d, n) == '\0')
        pending_forget(d, n);
}

void disk_close(struct sim_disk *d, struct sim_inode *n)
{
    ASSERT(n->handles > 0 && d->handles > 0);
    n->handles--;
    d->handles--;
    drop_if_nameless(d, n);
    disk_inode_unref(n);
}

int disk_rename(struct sim_disk *d, const char *from, const char *to)
{
    char f[SIM_PATH_MAX], t[SIM_PATH_MAX];
    disk_path(from, f);
    disk_path(to, t);
    struct sim_entry *en = disk_entry(d, f);
    int rc = ERR_NOT_FOUND;

    if (en && en->cache && parent_exists(d, t)) {
        op_begin(d);
        charge(d, d->config.write_ns, 0);
        struct sim_inode *n = en->cache;
        struct sim_entry *target = disk_entry(d, t);
        struct sim_inode *replaced = target ? target->cache : NULL;
        if (replaced != n) {
            n->refs++; /* held while it has no name */
            if (replaced)
                replaced->refs++;
            disk_entry_set(&en->cache, NULL);
            disk_entry_set(&disk_entry_make(d, t)->cache, n);
            pending_name(d, SIM_PENDING_RENAME, n, t, f);
            disk_inode_unref(n);
            if (replaced) {
                drop_if_nameless(d, replaced);
                disk_inode_unref(replaced);
            }
        }
        rc = 0;
    }
    return rc;
}

int disk_link(struct sim_disk *d, const char *from, const char *to)
{
    char f[SIM_PATH_MAX], t[SIM_PATH_MAX];
    disk_path(from, f);
    disk_path(to, t);
    struct sim_entry *en = disk_entry(d, f), *there = disk_entry(d, t);

    if (!en || !en->cache || !parent_exists(d, t))
        return ERR_NOT_FOUND;
    if (there && there->cache)
        return ERR_EXISTS;
    struct sim_inode *n = en->cache;
    op_begin(d);
    charge(d, d->config.write_ns, 0);
    disk_entry_set(&disk_entry_make(d, t)->cache, n);
    pending_name(d, SIM_PENDING_LINK, n, t, NULL);
    return 0;
}

/* There is no clock here: the count of operations stands for it. */
int disk_look(struct sim_disk *d, const char *path, struct env_file_facts *out)
{
    char p[SIM_PATH_MAX];
    disk_path(path, p);
    struct sim_entry *en = disk_entry(d, p);

    if (!en || !en->cache)
        return ERR_NOT_FOUND;
    *out = (struct env_file_facts){.size = en->cache->cache.size,
                                   .inode = en->cache->id,
                                   .changed_ns = (int64_t)en->cache->changed * 1000};
    return 0;
}

int disk_remove(struct sim_disk *d, const char *path)
{
    char p[SIM_PATH_MAX];
    disk_path(path, p);
    struct sim_entry *en = disk_entry(d, p);
    int rc = ERR_NOT_FOUND;

    if (en && en->cache) {
        op_begin(d);
        charge(d, d->config.write_ns, 0);
        struct sim_inode *n = en->cache;
        pending_name(d, SIM_PENDING_UNLINK, n, p, NULL); /* its item holds n from here */
        en = disk_entry(d, p);
        disk_entry_set(&en->cache, NULL);
        drop_if_nameless(d, n);
        disk_entries_trim(d);
        rc = 0;
    }
    return rc;
}

int disk_mkdir(struct sim_disk *d, const char *path)
{
    char p[SIM_PATH_MAX];
    disk_path(path, p);

    for (char *end = p;;) {
        end = strchr(end + (end == p && *p == '/'), '/');
        if (end)
            *end = '\0';
        if (!disk_dir_exists(d, p)) {
            op_begin(d);
            charge(d, d->config.sync_ns, 0);
            disk_dir_add(d, strdup(p));
        }
        if (!end)
            break;
        *end++ = '/';
    }
    return 0;
}

static struct sim_listing *listing_make(struct sim_disk *d, const char *dir)
{
    struct sim_listing *l = calloc(1, sizeof(*l) + (d->entry_count + 1) * sizeof(char *));

    ASSERT(l);
    for (size_t i = 0; i < d->entry_count; i++)
        if (d->entries[i].cache && disk_path_in(d->entries[i].path, dir))
            l->names[l->count++] = strdup(d->entries[i].path + (*dir ? strlen(dir) + 1 : 0));
    for (size_t i = l->count; i > 1; i--) { /* the order of a listing is nobody's promise */
        size_t j = (size_t)prng_below(&d->prng, i);
        char *swap = l->names[i - 1];
        l->names[i - 1] = l->names[j];
        l->names[j] = swap;
    }
    l->outer = d->listing;
    d->listing = l;
    return l;
}

static void listing_drop(struct sim_disk *d)
{
    struct sim_listing *l = d->listing;

    d->listing = l->outer;
    for (size_t i = 0; i < l->count; i++)
        free(l->names[i]);
    free(l);
}

void disk_listings_drop(struct sim_disk *d)
{
    while (d->listing)
        listing_drop(d);
}

int disk_list(struct sim_disk *d, const char *path, void (*entry)(void *, const char *), void *ctx)
{
    char dir[SIM_PATH_MAX];

    disk_path(path, dir);
    if (!disk_dir_exists(d, dir))
        return ERR_NOT_FOUND;
    charge(d, d->config.read_ns, 0);
    struct sim_listing *l = listing_make(d, dir);
    for (size_t i = 0; i < l->count; i++)
        entry(ctx, l->names[i]);
    listing_drop(d);
    return 0;
}

int disk_sync_dir(struct sim_disk *d, const char *path)
{
    char dir[SIM_PATH_MAX];
    disk_path(path, dir);
    int rc = disk_dir_exists(d, dir) ? 0 : ERR_NOT_FOUND;

    if (rc == 0) {
        op_begin(d);
        d->stat.syncs++;
        charge(d, d->config.sync_ns, 0);
        if (fault(d, SIM_ONCE_SYNC_EIO, d->config.faults.sync_eio_ppm)) {
            disk_event(d, SIM_DISK_EIO_SYNC, dir, 0);
            rc = ERR_IO;
        } else {
            pending_sync_names(d, dir);
        }
    }
    return rc;
}

int disk_lock(struct sim_disk *d, const char *path, struct sim_inode **out)
{
    int rc = disk_open(d, path, ENV_FILE_CREATE, out);
    if (rc)
        return rc;
    if ((*out)->locked) {
        disk_close(d, *out);
        return ERR_BUSY;
    }
    (*out)->locked = true;
    return 0;
}

void disk_unlock(struct sim_disk *d, struct sim_inode *n)
{
    ASSERT(n->locked);
    n->locked = false;
    disk_close(d, n);
}

/* ---- bytes ---- */

int disk_read(struct sim_disk *d, struct sim_inode *n, void *dst, size_t len, uint64_t offset,
              size_t *got)
{
    d->stat.reads++;
    charge(d, d->config.read_ns, len);
    if (fault(d, SIM_ONCE_READ_EIO, d->config.faults.read_eio_ppm)) {
        disk_event(d, SIM_DISK_EIO_READ, disk_path_of(d, n), offset);
        return ERR_IO;
    }
    *got = image_read(&n->cache, dst, len, offset);
    return 0;
}

/* Into the cache, and onto the list. Bytes first, then the size: a prefix in order never shows a
 * grown file without its bytes (data=ordered); the other profiles do. */
static void put_bytes(struct sim_disk *d, struct sim_inode *n, const void *src, size_t len,
                      uint64_t offset)
{
    if (len == 0)
        return;
    d->write_crc = crc32c(0, src, len);
    image_write(&n->cache, src, len, offset);
    n->changed = d->ops;
    bool grown = offset + len > n->cache.size;
    if (grown)
        n->cache.size = offset + len;
    pending_write(d, n, offset, len);
    if (grown)
        pending_size(d, n);
}

static void write_flipped(struct sim_disk *d, struct sim_inode *n, const void *src, size_t len,
                          uint64_t offset)
{
    uint8_t *copy = malloc(len);
    ASSERT(copy);
    memcpy(copy, src, len);
    copy[len / 2] ^= 1;
    put_bytes(d, n, copy, len, offset);
    free(copy);
}

int disk_write(struct sim_disk *d, struct sim_inode *n, const void *src, size_t len,
               uint64_t offset)
{
    op_begin(d);
    n->punched = 0;
    d->stat.writes++;
    charge(d, d->config.write_ns, len);
    if (!has_space(d, n, offset + len)) {
        put_bytes(d, n, src,
                  n->cache.size > offset ? 0
                                         : (size_t)prng_below(&d->prng, len / 2 + 1) & ~(size_t)511,
                  offset);
        return refuse_space(d, disk_path_of(d, n));
    }
    if (fault(d, SIM_ONCE_WRITE_EIO, d->config.faults.write_eio_ppm)) {
        put_bytes(d, n, src, (size_t)prng_below(&d->prng, len + 1), offset);
        disk_event(d, SIM_DISK_EIO_WRITE, disk_path_of(d, n), offset);
        return ERR_IO;
    }
    d->stat.bytes_written += len;
    if (d->flip_write && --d->flip_write == 0 && len)
        write_flipped(d, n, src, len, offset);
    else
        put_bytes(d, n, src, len, offset);
    if (d->config.faults.rot_ppm && prng_chance_ppm(&d->prng, d->config.faults.rot_ppm))
        (void)sim_disk_rot(d, NULL);
    return 0;
}

static int sync_failed(struct sim_disk *d, struct sim_inode *n)
{
    switch (d->config.faults.sync_eio_mode) {
    case SIM_SYNC_EIO_LATE:
        if (!n->late_error) {
            n->late_error = true;
            return 0;
        }
        break;
    case SIM_SYNC_EIO_REVERT:
        image_fini(&n->cache);
        image_share(&n->cache, &n->platter);
        image_resize(&n->cache, n->platter.size);
        n->punched = 0;
        break;
    case SIM_SYNC_EIO_CLEAN:
        break;
    }
    n->late_error = false;
    pending_forget(d, n);
    return ERR_IO;
}

int disk_sync(struct sim_disk *d, struct sim_inode *n)
{
    op_begin(d);
    d->stat.syncs++;
    charge(d, d->config.sync_ns, (size_t)n->pending_count * SIM_SECTOR_BYTES);
    if (n->late_error || fault(d, SIM_ONCE_SYNC_EIO, d->config.faults.sync_eio_ppm)) {
        disk_event(d, SIM_DISK_EIO_SYNC, disk_path_of(d, n), 0);
        return sync_failed(d, n);
    }
    pending_sync(d, n);
    return 0;
}

int disk_truncate(struct sim_disk *d, struct sim_inode *n, uint64_t size)
{
    op_begin(d);
    charge(d, d->config.write_ns, 0);
    if (size == n->cache.size)
        return 0;
    if (size > n->cache.size && !has_space(d, n, size))
        return refuse_space(d, disk_path_of(d, n));
    if (fault(d, SIM_ONCE_WRITE_EIO, d->config.faults.write_eio_ppm)) {
        disk_event(d, SIM_DISK_EIO_WRITE, disk_path_of(d, n), size);
        return ERR_IO;
    }
    image_resize(&n->cache, size);
    n->punched = 0;
    n->changed = d->ops;
    pending_size(d, n);
    return 0;
}

/* Written as zeros, but for the space. Only whole pages become free, as on a real disk. */
int disk_punch(struct sim_disk *d, struct sim_inode *n, uint64_t offset, uint64_t len)
{
    static const uint8_t zeros[64 * 1024];
    uint64_t first = (offset + SIM_PAGE_BYTES - 1) / SIM_PAGE_BYTES;
    uint64_t end = (offset + len) / SIM_PAGE_BYTES, punched = n->punched;
    int rc = 0;

    if (d->config.no_holes)
        return ERR_NOT_SUPPORTED;
    for (uint64_t done = 0; rc == 0 && done < len; done += sizeof(zeros)) {
        size_t part = len - done < sizeof(zeros) ? (size_t)(len - done) : sizeof(zeros);
        rc = disk_write(d, n, zeros, part, offset + done);
    }
    if (rc == 0 && end > first)
        n->punched = punched + (end - first) * SIM_PAGE_BYTES;
    ASSERT(n->punched <= n->cache.size);
    return rc;
}
