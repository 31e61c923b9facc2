/* sim_disk_cut.c — power comes back: each pending item is kept, dropped or torn, then the cache is what
 * the platter says. Profiles after ALICE (Pillai et al., OSDI 2014): the same program is right on one
 * file system and wrong on another, because it relied on an order that only one keeps. */
#include "env/sim_disk_int.h"
#include <rq/util/assert.h>
#include <stdlib.h>
#include <string.h>

size_t sim_disk_pending_count(const struct sim_disk *d)
{
    return d->pending_count;
}

void sim_disk_pending_at(const struct sim_disk *d, size_t at, struct sim_disk_pending *out)
{
    const struct list *l = d->pending.next;

    ASSERT(at < d->pending_count);
    while (at--)
        l = l->next;
    const struct sim_item *it = LIST_ENTRY(l, struct sim_item, in_disk);
    out->kind = it->kind;
    out->inode = it->inode->id;
    out->value = it->value;
    out->path = it->path;
}

/* Garbage where the write would have changed something; bytes around it stay what they were, unless the
 * disk lacks powersafe overwrite (SQLite, atomiccommit.html §2). */
static void garble(struct sim_disk *d, uint8_t *bytes, const uint8_t *old)
{
    size_t first = 0, end = SIM_SECTOR_BYTES;

    while (!d->config.unsafe_overwrite && first < end && bytes[first] == old[first])
        first++;
    while (!d->config.unsafe_overwrite && end > first && bytes[end - 1] == old[end - 1])
        end--;
    prng_fill(&d->prng, bytes + first, end - first);
}

static void tear_sector(struct sim_disk *d, struct sim_item *it)
{
    struct sim_image *m = &it->inode->platter;
    size_t page = (size_t)(it->value / SIM_PAGE_BYTES),
           in_page = (size_t)(it->value % SIM_PAGE_BYTES);

    const uint8_t *old = image_page(m, page) + in_page;

    if (d->config.profile == SIM_DISK_WEIRD && prng_below(&d->prng, 2)) {
        garble(d, it->bytes, old);
    } else {
        size_t at = (size_t)prng_range(&d->prng, 1, SIM_SECTOR_BYTES - 1);
        if (prng_below(&d->prng, 2))
            memcpy(it->bytes, old, at);
        else
            memcpy(it->bytes + at, old + at, SIM_SECTOR_BYTES - at);
    }
    image_write(m, it->bytes, SIM_SECTOR_BYTES, it->value);
}

/* Of a rename, both names or neither. */
static void tear_rename(struct sim_disk *d, struct sim_item *it)
{
    bool both = prng_below(&d->prng, 2) != 0;
    disk_entry_set(&disk_entry_make(d, it->path)->platter, both ? it->inode : NULL);
    if (!both)
        disk_entry_set(&disk_entry_make(d, it->from)->platter, NULL);
}

static void resolve(struct sim_disk *d, struct sim_item *it, enum sim_disk_fate fate)
{
    switch (fate) {
    case SIM_DROP:
        d->stat.count[SIM_DISK_DROPPED]++;
        return;
    case SIM_TEAR:
        if (it->kind == SIM_PENDING_SECTOR) {
            disk_event(d, SIM_DISK_TORN, disk_path_of(d, it->inode), it->value);
            tear_sector(d, it);
            return;
        }
        if (it->kind == SIM_PENDING_RENAME && d->config.profile == SIM_DISK_WEIRD) {
            disk_event(d, SIM_DISK_TORN, it->path, 0);
            tear_rename(d, it);
            return;
        }
        break;
    case SIM_KEEP:
        break;
    }
    d->stat.count[SIM_DISK_KEPT]++;
    pending_apply(d, it);
}

static void cache_from_platter(struct sim_inode *n)
{
    image_resize(&n->platter, n->platter.size); /* sectors that survived beyond the size are gone */
    image_fini(&n->cache);
    image_share(&n->cache, &n->platter);
    n->late_error = false;
}

void sim_disk_power_cut_choose(struct sim_disk *d, const enum sim_disk_fate *fate)
{
    size_t at = 0;

    ASSERT(d->handles == 0);
    while (!list_empty(&d->pending)) {
        struct sim_item *it = LIST_ENTRY(d->pending.next, struct sim_item, in_disk);
        resolve(d, it, fate[at++]);
        pending_free(d, it);
    }
    for (size_t i = 0; i < d->entry_count; i++)
        disk_entry_set(&d->entries[i].cache, d->entries[i].platter);
    disk_entries_trim(d);
    for (size_t i = 0; i < d->entry_count; i++)
        cache_from_platter(d->entries[i].platter);
}

/* ---- profiles ---- */

struct plan {
    struct sim_disk *d;
    enum sim_disk_fate *fate;
    size_t count;
};

static void plan_all(struct plan *p, enum sim_disk_fate fate)
{
    for (size_t i = 0; i < p->count; i++)
        p->fate[i] = fate;
}

static void plan_ordered(struct plan *p)
{
    size_t cut = (size_t)prng_range(&p->d->prng, 0, p->count);
    for (size_t i = 0; i < p->count; i++)
        p->fate[i] = i < cut ? SIM_KEEP : SIM_DROP;
    if (cut < p->count && prng_below(&p->d->prng, 2))
        p->fate[cut] = SIM_TEAR;
}

/* A draw that is the same for all items of one group (a file, a page) in this cut. */
static uint64_t group_draw(uint64_t salt, uint64_t group, uint64_t bound)
{
    return prng_mix(salt, group) % bound;
}

static void plan_cow(struct plan *p)
{
    uint64_t salt = prng_u64(&p->d->prng);
    struct list *l = p->d->pending.next;

    for (size_t i = 0; i < p->count; i++, l = l->next) {
        struct sim_item *it = LIST_ENTRY(l, struct sim_item, in_disk);
        if (it->path)
            p->fate[i] = prng_below(&p->d->prng, 2) ? SIM_KEEP : SIM_DROP;
        else /* up to a point in time that is the file's own */
            p->fate[i] = i < group_draw(salt, it->inode->id, p->count + 1) ? SIM_KEEP : SIM_DROP;
    }
}

static void plan_writeback(struct plan *p, uint32_t tear_percent)
{
    static const uint8_t keep_percents[] = {10, 25, 50, 75, 90};
    struct prng *r = &p->d->prng;
    uint64_t keep = keep_percents[prng_below(r, sizeof(keep_percents))];
    uint64_t salt = prng_u64(r);
    bool whole_pages = prng_below(r, 3) != 0;
    struct list *l = p->d->pending.next;

    for (size_t i = 0; i < p->count; i++, l = l->next) {
        struct sim_item *it = LIST_ENTRY(l, struct sim_item, in_disk);
        uint64_t draw = prng_below(r, 100), tear = prng_below(r, 100);
        if (whole_pages && it->kind == SIM_PENDING_SECTOR)
            draw = group_draw(salt, prng_mix(it->inode->id, it->value / SIM_PAGE_BYTES), 100);
        p->fate[i] = draw < keep ? SIM_KEEP : SIM_DROP;
        if (tear < tear_percent && it->kind != SIM_PENDING_SIZE)
            p->fate[i] = SIM_TEAR;
        else if (p->d->config.profile == SIM_DISK_WEIRD && it->kind == SIM_PENDING_SECTOR &&
                 it->value >= it->inode->platter.size && draw % 2)
            p->fate[i] = SIM_TEAR; /* grown space may hold anything */
    }
}

static void plan_make(struct plan *p)
{
    uint64_t extreme = prng_below(&p->d->prng, 10);

    if (extreme < 2) {
        plan_all(p, extreme == 0 ? SIM_KEEP : SIM_DROP);
        return;
    }
    switch (p->d->config.profile) {
    case SIM_DISK_ORDERED:
        plan_ordered(p);
        return;
    case SIM_DISK_WRITEBACK:
        plan_writeback(p, 5);
        return;
    case SIM_DISK_COW:
        plan_cow(p);
        return;
    case SIM_DISK_NO_BARRIER:
    case SIM_DISK_WEIRD:
        plan_writeback(p, 25);
        return;
    case SIM_DISK_PROFILE_COUNT:
        break;
    }
    UNREACHABLE();
}

void sim_disk_power_cut(struct sim_disk *d)
{
    struct plan p = {d, calloc(d->pending_count + 1, sizeof(enum sim_disk_fate)), d->pending_count};

    ASSERT(p.fate);
    plan_make(&p);
    sim_disk_power_cut_choose(d, p.fate);
    free(p.fate);
}

void sim_disk_settle(struct sim_disk *d)
{
    while (!list_empty(&d->pending)) {
        struct sim_item *it = LIST_ENTRY(d->pending.next, struct sim_item, in_disk);
        pending_apply(d, it);
        pending_free(d, it);
    }
    disk_entries_trim(d);
    for (size_t i = 0; i < d->entry_count; i++)
        image_resize(&d->entries[i].platter->platter, d->entries[i].platter->platter.size);
}
