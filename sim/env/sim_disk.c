/* sim_disk.c — a disk's life, and the views that oracles take of it. */
#include "env/sim_disk_int.h"
#include <rq/util/assert.h>
#include <stdlib.h>
#include <string.h>

void sim_disk_config_default(struct sim_disk_config *c, uint64_t seed)
{
    memset(c, 0, sizeof(*c));
    c->seed = seed;
    c->profile = SIM_DISK_WRITEBACK;
    c->read_ns = 20000;
    c->write_ns = 10000;
    c->sync_ns = 500000;
    c->ns_per_kib = 1000;
    c->writeback_sectors = 16384;
    c->faults.stall_min_ns = UINT64_C(100000000);
    c->faults.stall_max_ns = UINT64_C(5000000000);
}

struct sim_disk *sim_disk_create(const struct sim_disk_config *c)
{
    struct sim_disk *d = calloc(1, sizeof(*d));
    ASSERT(d);
    d->config = *c;
    prng_init(&d->prng, prng_mix(c->seed, prng_hash(0, "disk", 4)));
    list_init(&d->pending);
    d->inode_next = 1;
    return d;
}

/* ---- the end, and the copy ---- */

void sim_disk_wipe(struct sim_disk *d)
{
    ASSERT(d->handles == 0);
    while (!list_empty(&d->pending))
        pending_free(d, LIST_ENTRY(d->pending.next, struct sim_item, in_disk));
    for (size_t i = 0; i < d->entry_count; i++) {
        disk_entry_set(&d->entries[i].cache, NULL);
        disk_entry_set(&d->entries[i].platter, NULL);
    }
    disk_entries_trim(d);
    for (size_t i = 0; i < d->dir_count; i++)
        free(d->dirs[i]);
    d->dir_count = 0;
}

void sim_disk_destroy(struct sim_disk *d)
{
    if (!d)
        return;
    disk_listings_drop(d);
    sim_disk_wipe(d);
    free(d->entries);
    free((void *)d->dirs);
    free(d);
}

struct inode_map {
    const struct sim_inode **from;
    struct sim_inode **to;
    size_t count;
};

static struct sim_inode *clone_inode(struct sim_disk *d, struct inode_map *map,
                                     const struct sim_inode *n)
{
    if (!n)
        return NULL;
    for (size_t i = map->count; i > 0; i--)
        if (map->from[i - 1] == n)
            return map->to[i - 1];
    struct sim_inode *copy = disk_inode_new(d);
    copy->id = n->id;
    copy->late_error = n->late_error;
    copy->changed = n->changed;
    image_share(&copy->cache, &n->cache);
    image_share(&copy->platter, &n->platter);
    map->from[map->count] = n;
    map->to[map->count++] = copy;
    return copy;
}

struct sim_disk *sim_disk_clone(const struct sim_disk *from, uint64_t seed)
{
    struct sim_disk_config config = from->config;
    config.seed = seed;
    struct sim_disk *d = sim_disk_create(&config);
    size_t max = 2 * from->entry_count + from->pending_count + 1;
    struct inode_map map = {calloc(max, sizeof(void *)), calloc(max, sizeof(void *)), 0};

    ASSERT(map.from && map.to);
    for (size_t i = 0; i < from->dir_count; i++)
        disk_dir_add(d, strdup(from->dirs[i]));
    for (size_t i = 0; i < from->entry_count; i++) {
        const struct sim_entry *en = &from->entries[i];
        struct sim_entry *copy = disk_entry_make(d, en->path);
        disk_entry_set(&copy->cache, clone_inode(d, &map, en->cache));
        disk_entry_set(&copy->platter, clone_inode(d, &map, en->platter));
    }
    for (const struct list *l = from->pending.next; l != &from->pending; l = l->next) {
        const struct sim_item *it = LIST_ENTRY(l, struct sim_item, in_disk);
        (void)pending_copy(d, it, clone_inode(d, &map, it->inode));
    }
    d->inode_next = from->inode_next;
    free((void *)map.from);
    free((void *)map.to);
    return d;
}

struct sim_disk_config *sim_disk_config(struct sim_disk *d)
{
    return &d->config;
}

uint64_t sim_disk_ops(const struct sim_disk *d)
{
    return d->ops;
}

void sim_disk_stat(const struct sim_disk *d, struct sim_disk_stat *out)
{
    *out = d->stat;
}

void sim_disk_on_event(struct sim_disk *d,
                       void (*fn)(void *ctx, enum sim_disk_event ev, const char *path,
                                  uint64_t offset),
                       void *ctx)
{
    d->on_event = fn;
    d->on_event_ctx = ctx;
}

/* ---- views ---- */

static const struct sim_entry *view(const struct sim_disk *d, const char *path)
{
    char p[SIM_PATH_MAX];
    disk_path(path, p);
    const struct sim_entry *en = disk_entry(d, p);
    return en;
}

int sim_disk_durable_size(const struct sim_disk *d, const char *path, uint64_t *out)
{
    const struct sim_entry *en = view(d, path);
    if (!en || !en->platter)
        return ERR_NOT_FOUND;
    *out = en->platter->platter.size;
    return 0;
}

int sim_disk_durable_read(const struct sim_disk *d, const char *path, void *dst, size_t len,
                          uint64_t offset, size_t *got)
{
    const struct sim_entry *en = view(d, path);
    if (!en || !en->platter)
        return ERR_NOT_FOUND;
    *got = image_read(&en->platter->platter, dst, len, offset);
    return 0;
}

int sim_disk_cache_size(const struct sim_disk *d, const char *path, uint64_t *out)
{
    const struct sim_entry *en = view(d, path);
    if (!en || !en->cache)
        return ERR_NOT_FOUND;
    *out = en->cache->cache.size;
    return 0;
}

int sim_disk_cache_read(const struct sim_disk *d, const char *path, void *dst, size_t len,
                        uint64_t offset, size_t *got)
{
    const struct sim_entry *en = view(d, path);
    if (!en || !en->cache)
        return ERR_NOT_FOUND;
    *got = image_read(&en->cache->cache, dst, len, offset);
    return 0;
}

static bool name_is_durable(const struct sim_disk *d, const struct sim_entry *en)
{
    if (en->cache != en->platter)
        return false;
    if (d->name_count == 0)
        return true;
    for (const struct list *l = d->pending.next; l != &d->pending; l = l->next) {
        const struct sim_item *it = LIST_ENTRY(l, struct sim_item, in_disk);
        if ((it->path && strcmp(it->path, en->path) == 0) ||
            (it->from && strcmp(it->from, en->path) == 0))
            return false;
    }
    return true;
}

bool sim_disk_range_is_durable(const struct sim_disk *d, const char *path, uint64_t offset,
                               uint64_t len)
{
    const struct sim_entry *en = view(d, path);
    if (!en || !en->cache || !name_is_durable(d, en))
        return false;
    const struct sim_inode *n = en->cache;
    if (len == 0)
        return true;
    if (n->cache.size < offset + len || n->platter.size < offset + len)
        return false;
    for (const struct list *l = n->pending.next; l != &n->pending; l = l->next) {
        const struct sim_item *it = LIST_ENTRY(l, struct sim_item, in_inode);
        if (it->kind == SIM_PENDING_SIZE && it->value < offset + len)
            return false;
        if (it->kind == SIM_PENDING_SECTOR && it->value < offset + len &&
            it->value + SIM_SECTOR_BYTES > offset)
            return false;
    }
    return image_range_equal(&n->cache, &n->platter, offset, len);
}

bool sim_disk_is_durable(const struct sim_disk *d, const char *path)
{
    const struct sim_entry *en = view(d, path);
    if (!en || !en->cache || !list_empty(&en->cache->pending) ||
        en->cache->cache.size != en->cache->platter.size)
        return false;
    return sim_disk_range_is_durable(d, path, 0, en->cache->cache.size);
}

void sim_disk_list(const struct sim_disk *d, bool durable,
                   void (*file)(void *ctx, const char *path, uint64_t size), void *ctx)
{
    for (size_t i = 0; i < d->entry_count; i++) {
        const struct sim_entry *en = &d->entries[i];
        if (durable && en->platter)
            file(ctx, en->path, en->platter->platter.size);
        else if (!durable && en->cache)
            file(ctx, en->path, en->cache->cache.size);
    }
}

void sim_disk_file_put(struct sim_disk *d, const char *path, const void *bytes, size_t len)
{
    char p[SIM_PATH_MAX];
    disk_path(path, p);
    struct sim_inode *n = disk_inode_new(d);

    image_write(&n->platter, bytes, len, 0);
    n->platter.size = len;
    image_share(&n->cache, &n->platter);
    struct sim_entry *en = disk_entry_make(d, p);
    disk_entry_set(&en->cache, n);
    disk_entry_set(&en->platter, n);
}

void sim_disk_file_erase(struct sim_disk *d, const char *path)
{
    char p[SIM_PATH_MAX];
    disk_path(path, p);
    struct sim_entry *en = disk_entry(d, p);
    if (en) {
        disk_entry_set(&en->cache, NULL);
        disk_entry_set(&en->platter, NULL);
        disk_entries_trim(d);
    }
}
