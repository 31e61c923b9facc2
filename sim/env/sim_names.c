/* sim_names.c — inodes, and the names a disk knows them by.
 *
 * Names are one sorted array of paths, each with the inode a process sees and the one on the platter;
 * folders are a list of paths. */
#include "env/sim_disk_int.h"
#include <rq/util/assert.h>
#include <stdlib.h>
#include <string.h>

/* ---- inodes ---- */

struct sim_inode *disk_inode_new(struct sim_disk *d)
{
    struct sim_inode *n = calloc(1, sizeof(*n));
    ASSERT(n);
    n->id = d->inode_next++;
    list_init(&n->pending);
    return n;
}

void disk_inode_unref(struct sim_inode *n)
{
    ASSERT(n->refs > 0);
    if (--n->refs)
        return;
    ASSERT(list_empty(&n->pending) && n->handles == 0);
    image_fini(&n->cache);
    image_fini(&n->platter);
    free(n);
}

/* ---- paths ---- */

void disk_path(const char *path, char out[SIM_PATH_MAX])
{
    size_t at = 0;

    ASSERT(strlen(path) < SIM_PATH_MAX);
    for (const char *p = path; *p;) {
        if (*p == '/') {
            p++;
            continue;
        }
        size_t len = strcspn(p, "/");
        if (!(len == 1 && *p == '.')) {
            if (at || *path == '/')
                out[at++] = '/';
            memcpy(out + at, p, len);
            at += len;
        }
        p += len;
    }
    out[at] = '\0';
}

/* Is path directly in dir? Both normalised; the roots "/" and "." are "". */
bool disk_path_in(const char *path, const char *dir)
{
    const char *slash = strrchr(path, '/');
    size_t len = slash ? (size_t)(slash - path) : 0;
    return strlen(dir) == len && memcmp(path, dir, len) == 0;
}

bool disk_dir_exists(const struct sim_disk *d, const char *path)
{
    if (*path == '\0')
        return true;
    for (size_t i = 0; i < d->dir_count; i++)
        if (strcmp(d->dirs[i], path) == 0)
            return true;
    return false;
}

void disk_dir_add(struct sim_disk *d, char *path)
{
    if (d->dir_count == d->dir_cap) {
        d->dir_cap = d->dir_cap ? 2 * d->dir_cap : 8;
        d->dirs = realloc(d->dirs, d->dir_cap * sizeof(char *));
        ASSERT(d->dirs);
    }
    d->dirs[d->dir_count++] = path;
}

/* ---- entries ---- */

static size_t entry_place(const struct sim_disk *d, const char *path)
{
    size_t lo = 0, hi = d->entry_count;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (strcmp(d->entries[mid].path, path) < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

struct sim_entry *disk_entry(const struct sim_disk *d, const char *path)
{
    size_t at = entry_place(d, path);
    if (at < d->entry_count && strcmp(d->entries[at].path, path) == 0)
        return &d->entries[at];
    return NULL;
}

struct sim_entry *disk_entry_make(struct sim_disk *d, const char *path)
{
    size_t at = entry_place(d, path);
    if (at < d->entry_count && strcmp(d->entries[at].path, path) == 0)
        return &d->entries[at];
    if (d->entry_count == d->entry_cap) {
        d->entry_cap = d->entry_cap ? 2 * d->entry_cap : 16;
        d->entries = realloc(d->entries, d->entry_cap * sizeof(*d->entries));
        ASSERT(d->entries);
    }
    memmove(d->entries + at + 1, d->entries + at, (d->entry_count - at) * sizeof(*d->entries));
    d->entry_count++;
    d->entries[at] = (struct sim_entry){strdup(path), NULL, NULL};
    ASSERT(d->entries[at].path);
    return &d->entries[at];
}

void disk_entry_set(struct sim_inode **slot, struct sim_inode *n)
{
    struct sim_inode *was = *slot;
    if (n)
        n->refs++;
    *slot = n;
    if (was)
        disk_inode_unref(was);
}

void disk_entries_trim(struct sim_disk *d)
{
    size_t kept = 0;
    for (size_t i = 0; i < d->entry_count; i++) {
        struct sim_entry *en = &d->entries[i];
        if (!en->cache && !en->platter)
            free(en->path);
        else
            d->entries[kept++] = *en;
    }
    d->entry_count = kept;
}

const char *disk_path_of(const struct sim_disk *d, const struct sim_inode *n)
{
    for (size_t i = 0; i < d->entry_count; i++)
        if (d->entries[i].cache == n || d->entries[i].platter == n)
            return d->entries[i].path;
    return "";
}

void disk_event(struct sim_disk *d, enum sim_disk_event ev, const char *path, uint64_t offset)
{
    d->stat.count[ev]++;
    if (d->on_event)
        d->on_event(d->on_event_ctx, ev, path, offset);
}

/* A file with two names is there once. */
static bool is_second_name(const struct sim_disk *d, size_t at)
{
    for (size_t i = 0; i < at; i++)
        if (d->entries[i].cache == d->entries[at].cache)
            return true;
    return false;
}

uint64_t sim_disk_used_bytes(const struct sim_disk *d)
{
    uint64_t used = 0;
    for (size_t i = 0; i < d->entry_count; i++) {
        const struct sim_inode *n = d->entries[i].cache;
        if (n && !is_second_name(d, i))
            used +=
                (n->cache.size + SIM_PAGE_BYTES - 1) / SIM_PAGE_BYTES * SIM_PAGE_BYTES - n->punched;
    }
    return used;
}
