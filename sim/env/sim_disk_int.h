/* sim_disk_int — inside the disk: page images, inodes, names, pending items; and the calls that an
 * environment makes for env_file_*. Files call downwards only:
 *
 *      sim_disk.c                        made, copied, taken down; views
 *      sim_disk_ops.c  sim_disk_cut.c    what env_file_* does; the power cut
 *      sim_disk_rot.c  sim_pending.c     damage; what lies between cache and platter
 *      sim_names.c                       inodes and names
 *      sim_image.c                       bytes
 */
#ifndef SIM_DISK_INT_H
#define SIM_DISK_INT_H

#include "env/sim_disk.h"
#include <rq/env.h>
#include <rq/util/list.h>
#include <rq/util/prng.h>

/* ---- sim_image.c: bytes in 4 KiB pages, shared until written ---- */

struct sim_page {
    uint32_t refs;
    uint8_t bytes[SIM_PAGE_BYTES];
};
struct sim_image {
    struct sim_page **pages; /* NULL: zeros. May reach beyond size during a power cut only */
    size_t page_cap;
    uint64_t size;
};
void image_fini(struct sim_image *m);
void image_share(struct sim_image *to, const struct sim_image *from); /* to: empty */
size_t image_read(const struct sim_image *m, void *dst, size_t len, uint64_t offset);
void image_write(struct sim_image *m, const void *src, size_t len,
                 uint64_t offset);                     /* does not change size */
void image_resize(struct sim_image *m, uint64_t size); /* what is beyond becomes zeros */
void image_page_share(struct sim_image *to, const struct sim_image *from, size_t page);
const uint8_t *image_page(const struct sim_image *m, size_t page); /* never NULL */
bool image_page_same(const struct sim_image *a, const struct sim_image *b,
                     size_t page); /* one object */
bool image_range_equal(const struct sim_image *a, const struct sim_image *b, uint64_t offset,
                       uint64_t len);
size_t image_page_end(const struct sim_image *m); /* one past the last page that is not NULL */

/* ---- the disk ---- */

struct sim_inode {
    uint64_t id;
    uint32_t refs; /* names (cache, platter), pending items, handles */
    uint32_t handles;
    uint32_t pending_count;
    bool late_error;  /* SIM_SYNC_EIO_LATE: the next sync tells */
    bool locked;      /* env_lock */
    uint64_t changed; /* operation of the disk that last changed its content */
    uint64_t punched; /* bytes in holes; none after any other change: then all counts as used */
    struct sim_image cache, platter;
    struct list pending; /* of sim_item.in_inode, in order */
};

struct sim_item {
    struct list in_disk;  /* order of cause, over everything */
    struct list in_inode; /* SECTOR and SIZE; else unlinked */
    enum sim_disk_pending_kind kind;
    struct sim_inode *inode; /* counted */
    uint64_t value;
    char *path, *from;
    uint8_t bytes[]; /* SECTOR: 512, what the cache held after the write */
};

struct sim_entry {
    char *path;
    struct sim_inode *cache, *platter; /* counted; NULL: no such name there */
};

/* A listing in progress: kept here because the callback may leave by longjmp. */
struct sim_listing {
    struct sim_listing *outer;
    size_t count;
    char *names[];
};

struct sim_disk {
    struct sim_listing *listing;
    struct sim_disk_config config;
    struct prng prng;
    struct sim_entry *entries; /* sorted by path */
    size_t entry_count, entry_cap;
    char **dirs;
    size_t dir_count, dir_cap;
    struct list pending; /* of sim_item.in_disk */
    size_t pending_count, name_count;
    uint64_t inode_next;
    uint32_t handles;
    uint64_t ops;
    uint64_t cost_ns;             /* charged and not yet taken by the environment */
    void (*before_op)(void *ctx); /* crash points; may leave by longjmp */
    void *before_op_ctx;
    uint64_t once[SIM_ONCE_COUNT]; /* countdown, 0: off */
    uint64_t flip_write;
    uint32_t write_crc; /* of the bytes that the last write really stored */
    struct sim_disk_stat stat;
    void (*on_event)(void *ctx, enum sim_disk_event ev, const char *path, uint64_t offset);
    void *on_event_ctx;
};

/* sim_names.c */
struct sim_entry *disk_entry(const struct sim_disk *d, const char *path); /* normalised; NULL */
struct sim_entry *disk_entry_make(struct sim_disk *d, const char *path);
void disk_entry_set(struct sim_inode **slot, struct sim_inode *n); /* counts */
void disk_entries_trim(struct sim_disk *d); /* drops those with neither name */
struct sim_inode *disk_inode_new(struct sim_disk *d);
void disk_inode_unref(struct sim_inode *n);
enum { SIM_PATH_MAX = 1024 };
void disk_path(const char *path, char out[SIM_PATH_MAX]); /* normalised */
bool disk_path_in(const char *path, const char *dir);
const char *disk_path_of(const struct sim_disk *d, const struct sim_inode *n); /* "" if nameless */
void disk_event(struct sim_disk *d, enum sim_disk_event ev, const char *path, uint64_t offset);
bool disk_dir_exists(const struct sim_disk *d, const char *path);
void disk_dir_add(struct sim_disk *d, char *path); /* owned from now */

/* sim_pending.c */
void pending_write(struct sim_disk *d, struct sim_inode *n, uint64_t offset, size_t len);
void pending_size(struct sim_disk *d, struct sim_inode *n);
void pending_name(struct sim_disk *d, enum sim_disk_pending_kind kind, struct sim_inode *n,
                  const char *path, const char *from);
void pending_sync(struct sim_disk *d, struct sim_inode *n); /* to the platter */
void pending_sync_names(struct sim_disk *d, const char *dir);
void pending_forget(struct sim_disk *d,
                    struct sim_inode *n); /* sectors and sizes, without effect */
void pending_free(struct sim_disk *d, struct sim_item *it);
void pending_apply(struct sim_disk *d, struct sim_item *it); /* KEEP; does not free */
struct sim_item *pending_copy(struct sim_disk *d, const struct sim_item *it, struct sim_inode *n);

/* sim_disk_ops.c: what env_file_* does; contracts of env.h */
int disk_open(struct sim_disk *d, const char *path, unsigned flags,
              struct sim_inode **out) MUST_USE;
void disk_close(struct sim_disk *d, struct sim_inode *n);
int disk_read(struct sim_disk *d, struct sim_inode *n, void *dst, size_t len, uint64_t offset,
              size_t *got) MUST_USE;
int disk_write(struct sim_disk *d, struct sim_inode *n, const void *src, size_t len,
               uint64_t offset) MUST_USE;
int disk_sync(struct sim_disk *d, struct sim_inode *n) MUST_USE;
int disk_truncate(struct sim_disk *d, struct sim_inode *n, uint64_t size) MUST_USE;
int disk_punch(struct sim_disk *d, struct sim_inode *n, uint64_t offset, uint64_t len) MUST_USE;
int disk_rename(struct sim_disk *d, const char *from, const char *to) MUST_USE;
int disk_link(struct sim_disk *d, const char *from, const char *to) MUST_USE;
int disk_look(struct sim_disk *d, const char *path, struct env_file_facts *out) MUST_USE;
int disk_remove(struct sim_disk *d, const char *path) MUST_USE;
int disk_mkdir(struct sim_disk *d, const char *path) MUST_USE;
int disk_sync_dir(struct sim_disk *d, const char *path) MUST_USE;
int disk_list(struct sim_disk *d, const char *path, void (*entry)(void *, const char *),
              void *ctx) MUST_USE;
int disk_lock(struct sim_disk *d, const char *path, struct sim_inode **out) MUST_USE;
void disk_unlock(struct sim_disk *d, struct sim_inode *n);
void disk_listings_drop(struct sim_disk *d);
uint64_t disk_free_bytes(const struct sim_disk *d);
uint64_t disk_take_cost(struct sim_disk *d);

#endif
