/* sim_pending.c — what lies between cache and platter: one item per written sector, size change or name
 * change, in order of cause, and how each reaches the platter.
 *
 * Called by the operations (sim_disk_ops.c) and the power cut (sim_disk_cut.c). */
#include "env/sim_disk_int.h"
#include <rq/util/assert.h>
#include <stdlib.h>
#include <string.h>

enum { NAMES_MAX = 4096 }; /* pending names before the oldest reach the platter by themselves */

static struct sim_item *item_new(struct sim_disk *d, enum sim_disk_pending_kind kind,
                                 struct sim_inode *n)
{
    struct sim_item *it =
        calloc(1, sizeof(*it) + (kind == SIM_PENDING_SECTOR ? SIM_SECTOR_BYTES : 0));
    ASSERT(it);
    it->kind = kind;
    it->inode = n;
    n->refs++;
    list_init(&it->in_inode);
    list_push_back(&d->pending, &it->in_disk);
    d->pending_count++;
    if (kind == SIM_PENDING_SECTOR || kind == SIM_PENDING_SIZE) {
        list_push_back(&n->pending, &it->in_inode);
        n->pending_count++;
    } else {
        d->name_count++;
    }
    return it;
}

void pending_free(struct sim_disk *d, struct sim_item *it)
{
    struct sim_inode *n = it->inode;

    list_remove(&it->in_disk);
    d->pending_count--;
    if (it->kind == SIM_PENDING_SECTOR || it->kind == SIM_PENDING_SIZE) {
        list_remove(&it->in_inode);
        n->pending_count--;
    } else {
        d->name_count--;
    }
    free(it->path);
    free(it->from);
    free(it);
    disk_inode_unref(n);
}

struct sim_item *pending_copy(struct sim_disk *d, const struct sim_item *it, struct sim_inode *n)
{
    struct sim_item *copy = item_new(d, it->kind, n);
    copy->value = it->value;
    copy->path = it->path ? strdup(it->path) : NULL;
    copy->from = it->from ? strdup(it->from) : NULL;
    if (it->kind == SIM_PENDING_SECTOR)
        memcpy(copy->bytes, it->bytes, SIM_SECTOR_BYTES);
    return copy;
}

/* KEEP: in order of cause, this brings the platter forward by one item. */
void pending_apply(struct sim_disk *d, struct sim_item *it)
{
    struct sim_inode *n = it->inode;

    switch (it->kind) {
    case SIM_PENDING_SECTOR:
        image_write(&n->platter, it->bytes, SIM_SECTOR_BYTES, it->value);
        return;
    case SIM_PENDING_SIZE:
        if (it->value < n->platter.size)
            image_resize(&n->platter, it->value);
        else
            n->platter.size = it->value;
        return;
    case SIM_PENDING_LINK:
        disk_entry_set(&disk_entry_make(d, it->path)->platter, n);
        return;
    case SIM_PENDING_UNLINK:
        disk_entry_set(&disk_entry_make(d, it->path)->platter, NULL);
        return;
    case SIM_PENDING_RENAME:
        disk_entry_set(&disk_entry_make(d, it->from)->platter, NULL);
        disk_entry_set(&disk_entry_make(d, it->path)->platter, n);
        return;
    }
    UNREACHABLE();
}

/* As a kernel's write-back: bounded memory for files that are never synced. Legal at any time. */
static void writeback(struct sim_disk *d, struct sim_inode *n)
{
    while (n->pending_count > d->config.writeback_sectors) {
        struct sim_item *it = LIST_ENTRY(n->pending.next, struct sim_item, in_inode);
        pending_apply(d, it);
        pending_free(d, it);
    }
}

void pending_write(struct sim_disk *d, struct sim_inode *n, uint64_t offset, size_t len)
{
    uint64_t first = offset / SIM_SECTOR_BYTES * SIM_SECTOR_BYTES;

    for (uint64_t at = first; at < offset + len; at += SIM_SECTOR_BYTES) {
        struct sim_item *it = item_new(d, SIM_PENDING_SECTOR, n);
        it->value = at;
        size_t in_page = (size_t)(at % SIM_PAGE_BYTES);
        memcpy(it->bytes, image_page(&n->cache, (size_t)(at / SIM_PAGE_BYTES)) + in_page,
               SIM_SECTOR_BYTES);
    }
    writeback(d, n);
}

void pending_size(struct sim_disk *d, struct sim_inode *n)
{
    item_new(d, SIM_PENDING_SIZE, n)->value = n->cache.size;
    writeback(d, n);
}

static void names_writeback(struct sim_disk *d)
{
    for (struct list *l = d->pending.next, *next; d->name_count > NAMES_MAX && l != &d->pending;
         l = next) {
        struct sim_item *it = LIST_ENTRY(l, struct sim_item, in_disk);
        next = l->next;
        if (it->kind == SIM_PENDING_SECTOR || it->kind == SIM_PENDING_SIZE)
            continue;
        pending_apply(d, it);
        pending_free(d, it);
    }
}

void pending_name(struct sim_disk *d, enum sim_disk_pending_kind kind, struct sim_inode *n,
                  const char *path, const char *from)
{
    struct sim_item *it = item_new(d, kind, n);
    it->path = strdup(path);
    it->from = from ? strdup(from) : NULL;
    ASSERT(it->path && (it->from || !from));
    names_writeback(d);
}

/* The page of each pending sector now equals the cache's: shared instead of copied. */
void pending_sync(struct sim_disk *d, struct sim_inode *n)
{
    while (!list_empty(&n->pending)) {
        struct sim_item *it = LIST_ENTRY(n->pending.next, struct sim_item, in_inode);
        if (it->kind == SIM_PENDING_SECTOR)
            image_page_share(&n->platter, &n->cache, (size_t)(it->value / SIM_PAGE_BYTES));
        else
            pending_apply(d, it);
        pending_free(d, it);
    }
    if (n->platter.size > n->cache.size)
        image_resize(&n->platter, n->cache.size);
    n->platter.size = n->cache.size;
}

void pending_sync_names(struct sim_disk *d, const char *dir)
{
    for (struct list *l = d->pending.next, *next; l != &d->pending; l = next) {
        struct sim_item *it = LIST_ENTRY(l, struct sim_item, in_disk);
        next = l->next;
        bool named = it->kind != SIM_PENDING_SECTOR && it->kind != SIM_PENDING_SIZE;
        if (!named || !(disk_path_in(it->path, dir) || (it->from && disk_path_in(it->from, dir))))
            continue;
        pending_apply(d, it);
        pending_free(d, it);
    }
    disk_entries_trim(d);
}

void pending_forget(struct sim_disk *d, struct sim_inode *n)
{
    while (!list_empty(&n->pending))
        pending_free(d, LIST_ENTRY(n->pending.next, struct sim_item, in_inode));
}
