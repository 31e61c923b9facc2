/* sim_disk_rot.c — damage to what is on the platter: single bits, stable until overwritten. */
#include "env/sim_disk_int.h"
#include <rq/util/assert.h>
#include <stdlib.h>
#include <string.h>

static void flip(struct sim_disk *d, struct sim_inode *n, uint64_t offset, unsigned bit)
{
    size_t page = (size_t)(offset / SIM_PAGE_BYTES);
    bool clean = image_page_same(&n->cache, &n->platter, page);
    uint8_t byte = image_page(&n->platter, page)[offset % SIM_PAGE_BYTES];

    byte = (uint8_t)(byte ^ (1U << bit));
    image_write(&n->platter, &byte, 1, offset);
    if (clean)
        image_page_share(&n->cache, &n->platter, page);
    disk_event(d, SIM_DISK_ROT, disk_path_of(d, n), offset);
}

int sim_disk_flip(struct sim_disk *d, const char *path, uint64_t offset, unsigned bit)
{
    char p[SIM_PATH_MAX];
    disk_path(path, p);
    struct sim_entry *en = disk_entry(d, p);
    if (!en || !en->platter)
        return ERR_NOT_FOUND;
    if (offset >= en->platter->platter.size || bit > 7)
        return ERR_INVALID;
    flip(d, en->platter, offset, bit);
    return 0;
}

bool sim_disk_rot(struct sim_disk *d, const char *part)
{
    uint64_t total = 0;

    for (size_t i = 0; i < d->entry_count; i++)
        if (d->entries[i].platter && (!part || strstr(d->entries[i].path, part)))
            total += d->entries[i].platter->platter.size;
    if (total == 0)
        return false;
    uint64_t at = prng_below(&d->prng, total);
    unsigned bit = (unsigned)prng_below(&d->prng, 8);
    for (size_t i = 0; i < d->entry_count; i++) {
        struct sim_inode *n = d->entries[i].platter;
        if (!n || (part && !strstr(d->entries[i].path, part)))
            continue;
        if (at < n->platter.size) {
            flip(d, n, at, bit);
            return true;
        }
        at -= n->platter.size;
    }
    UNREACHABLE();
}
