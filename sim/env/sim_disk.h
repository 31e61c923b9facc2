/* sim_disk — one machine's disk; outlives its processes. Usable with or without a world.
 *
 *   cache   what a live process reads      ── env_file_read
 *   platter what survives a power cut      ── sim_disk_durable_*
 *   pending what separates them, in order: 512-byte sectors, file sizes, names
 *
 * env_file_write and friends change the cache and append to pending; env_file_sync moves one file's
 * sectors and size to the platter, env_dir_sync the names of one folder. A process crash changes
 * nothing here. A power cut decides each pending item: KEEP, DROP or TEAR, then cache := platter.
 * When a file has more than writeback_sectors pending, the oldest move to the platter by
 * themselves, as kernels do.
 *
 * Files are inodes: names and data have separate fates. env_dir_create is durable when it returns
 * (its contract). Paths: '/'-separated; "a//b", "./a/b" and "a/b" are one path. */
#ifndef SIM_DISK_H
#define SIM_DISK_H

#include <rq/util/err.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { SIM_SECTOR_BYTES = 512, SIM_PAGE_BYTES = 4096 };

struct sim_disk;

/* How a power cut treats what is pending, when nobody chooses item by item. In every profile one
 * cut in ten keeps all and one in ten drops all. */
enum sim_disk_profile {
    SIM_DISK_ORDERED, /* a prefix of everything in order survives; the sector at its end may be torn
                       */
    SIM_DISK_WRITEBACK, /* sectors, sizes, names each on their own; a rename is whole or not at all
                         */
    SIM_DISK_COW, /* per file all or nothing up to some point in order; names on their own; no tears
                   */
    SIM_DISK_NO_BARRIER, /* as WRITEBACK; names of different folders and of data in any order, tears
                            are common */
    SIM_DISK_WEIRD, /* as NO_BARRIER; garbage sectors; grown space holds garbage; a rename may leave
                       both or neither */
    SIM_DISK_PROFILE_COUNT
};

/* What a failed sync does (Rebello et al., USENIX ATC 2020). In each a second sync returns 0 and
 * means nothing. */
enum sim_disk_sync_eio {
    SIM_SYNC_EIO_CLEAN,  /* cache keeps the new data, marked clean: readable, never written, gone at
                            power cut */
    SIM_SYNC_EIO_REVERT, /* cache shows the old content at once */
    SIM_SYNC_EIO_LATE, /* this sync returns 0 without effect; the next one fails, the data is marked
                          clean */
};

/* Rates in parts per million of operations. All zero: an honest disk. Change at any time. */
struct sim_disk_faults {
    uint32_t read_eio_ppm;
    uint32_t write_eio_ppm; /* nothing or a prefix is written */
    uint32_t sync_eio_ppm;
    enum sim_disk_sync_eio sync_eio_mode;
    uint32_t nospc_ppm; /* chance refusals besides the quota */
    uint32_t stall_ppm; /* an operation takes stall_min..stall_max longer */
    uint64_t stall_min_ns, stall_max_ns;
    uint32_t rot_ppm; /* per write: one bit of some durable sector of some file flips */
};

struct sim_disk_config {
    uint64_t seed;
    enum sim_disk_profile profile;
    uint64_t quota_bytes; /* 0: no limit. Counts 4 KiB pages of the cache image */
    uint64_t read_ns, write_ns, sync_ns,
        ns_per_kib;             /* cost of operations; drawn 50–150 % around these */
    uint32_t writeback_sectors; /* per file */
    bool no_holes;              /* the file system cannot punch them */
    bool
        unsafe_overwrite; /* garbage (WEIRD) also hits synced bytes that share a sector with a torn write */
    struct sim_disk_faults faults;
};
void sim_disk_config_default(struct sim_disk_config *c, uint64_t seed);

struct sim_disk *sim_disk_create(const struct sim_disk_config *c);
void sim_disk_destroy(struct sim_disk *d); /* may be NULL; nothing may be open on it */
/* Same content (cache, platter, pending), pages shared until written. Handles, locks, hooks and
 * armed counters are not copied; random stream restarts from seed. Cheap: proportional to pages and
 * pending. */
struct sim_disk *sim_disk_clone(const struct sim_disk *d, uint64_t seed);
struct sim_disk_config *
sim_disk_config(struct sim_disk *d); /* live; change quota, profile, faults, costs */

/* ---- power -------------------------------------------------------------------------------------
 */

enum sim_disk_fate {
    SIM_DROP,
    SIM_KEEP,
    SIM_TEAR
}; /* TEAR: of a sector, old and new mixed; else as KEEP */
enum sim_disk_pending_kind {
    SIM_PENDING_SECTOR,
    SIM_PENDING_SIZE,
    SIM_PENDING_LINK,
    SIM_PENDING_UNLINK,
    SIM_PENDING_RENAME
};
struct sim_disk_pending {
    enum sim_disk_pending_kind kind;
    uint64_t inode;
    uint64_t value;   /* SECTOR: offset in bytes; SIZE: the new size */
    const char *path; /* LINK, UNLINK: the name; RENAME: the new one. Else NULL. Lent until the next
                         change */
};
/* Items in the order in which they were caused, over all files and folders. */
size_t sim_disk_pending_count(const struct sim_disk *d);
void sim_disk_pending_at(const struct sim_disk *d, size_t at, struct sim_disk_pending *out);
/* Power returns: pending resolved by the profile and the disk's stream. No handle may be open (a
 * host's are closed by its crash). */
void sim_disk_power_cut(struct sim_disk *d);
/* The same, by fate[0 .. pending_count). */
void sim_disk_power_cut_choose(struct sim_disk *d, const enum sim_disk_fate *fate);
/* Everything pending survives (a clean shutdown of the machine). */
void sim_disk_settle(struct sim_disk *d);

/* ---- crash points
 * -------------------------------------------------------------------------------- */

/* Changing operations so far: open that creates, write, sync, truncate, rename, remove, dir_create,
 * dir_sync. Each is a crash point; a crash at k means operations 1 .. k-1 happened. */
uint64_t sim_disk_ops(const struct sim_disk *d);

/* ---- what is there (for oracles and tests)
 * --------------------------------------------------------- */

/* Platter or cache, by current durable or cached name. ERR_NOT_FOUND; else 0. */
int sim_disk_durable_size(const struct sim_disk *d, const char *path, uint64_t *out) MUST_USE;
int sim_disk_durable_read(const struct sim_disk *d, const char *path, void *dst, size_t len,
                          uint64_t offset, size_t *got) MUST_USE;
int sim_disk_cache_size(const struct sim_disk *d, const char *path, uint64_t *out) MUST_USE;
int sim_disk_cache_read(const struct sim_disk *d, const char *path, void *dst, size_t len,
                        uint64_t offset, size_t *got) MUST_USE;
/* Would every power cut leave path with the bytes a process reads now in [offset, offset + len),
 * name and size (up to there) included? */
bool sim_disk_range_is_durable(const struct sim_disk *d, const char *path, uint64_t offset,
                               uint64_t len);
bool sim_disk_is_durable(const struct sim_disk *d, const char *path); /* whole file, exact size */
/* Files in order of name; durable: names on the platter, else in the cache. */
void sim_disk_list(const struct sim_disk *d, bool durable,
                   void (*file)(void *ctx, const char *path, uint64_t size), void *ctx);
uint64_t sim_disk_used_bytes(const struct sim_disk *d); /* against the quota */
/* Put a file there, durable at once, as if restored by an operator; and take it away. */
void sim_disk_file_put(struct sim_disk *d, const char *path, const void *bytes, size_t len);
void sim_disk_file_erase(struct sim_disk *d, const char *path);
void sim_disk_wipe(struct sim_disk *d); /* a new, empty disk; nothing open */

/* ---- damage
 * -------------------------------------------------------------------------------------- */

/* Stable until overwritten. The cache shows it too where it holds the same page clean. */
int sim_disk_flip(struct sim_disk *d, const char *path, uint64_t offset,
                  unsigned bit) MUST_USE; /* ERR_NOT_FOUND, ERR_INVALID beyond size */
/* One random bit of some durable file whose path contains `part` (NULL: any). false: nothing to
 * damage. */
bool sim_disk_rot(struct sim_disk *d, const char *part);
/* At the next operation of that kind, once. */
enum sim_disk_once {
    SIM_ONCE_READ_EIO,
    SIM_ONCE_WRITE_EIO,
    SIM_ONCE_SYNC_EIO,
    SIM_ONCE_NOSPC,
    SIM_ONCE_STALL,
    SIM_ONCE_COUNT
};
void sim_disk_fail_once(struct sim_disk *d, enum sim_disk_once kind,
                        uint64_t after_ops); /* 0: the very next */
/* For proving that the trace sees content: the n-th env_file_write from now (1: the next) has one
 * bit flipped. */
void sim_disk_flip_write(struct sim_disk *d, uint64_t nth);

/* ---- what happened
 * ---------------------------------------------------------------------------------- */

enum sim_disk_event {
    SIM_DISK_ROT,
    SIM_DISK_EIO_READ,
    SIM_DISK_EIO_WRITE,
    SIM_DISK_EIO_SYNC,
    SIM_DISK_NOSPC,
    SIM_DISK_STALL,
    SIM_DISK_TORN,
    SIM_DISK_DROPPED,
    SIM_DISK_KEPT,
    SIM_DISK_EVENT_COUNT
};
struct sim_disk_stat {
    uint64_t count[SIM_DISK_EVENT_COUNT]; /* TORN, DROPPED, KEPT: items at power cuts */
    uint64_t reads, writes, syncs, bytes_written;
};
void sim_disk_stat(const struct sim_disk *d, struct sim_disk_stat *out);
/* Tell each fault as it is injected (the fault atlas). path "" when no file is concerned. */
void sim_disk_on_event(struct sim_disk *d,
                       void (*fn)(void *ctx, enum sim_disk_event ev, const char *path,
                                  uint64_t offset),
                       void *ctx);

#endif
