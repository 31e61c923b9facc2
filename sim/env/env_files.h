/* env_files — files, folders and locks of an environment, over its disk. Shared by hosts of a world
 * (host_env.c) and scratch environments (env_sim.c). */
#ifndef ENV_FILES_H
#define ENV_FILES_H

#include "env/sim_disk_int.h"
#include <rq/env_impl.h>

/* One call that production code made, for the trace and the crash points. */
struct sim_call {
    const char *kind; /* "write", "arm", … */
    const char *text; /* path or address; may be NULL */
    uint64_t a, b;
    uint32_t crc; /* of content handed over */
};

struct sim_env {
    struct env base;
    struct sim_disk *disk;
    struct list files; /* of sim_file.in_env */
    /* Before a call has its effect; may leave by longjmp. on_disk: a file call (lanes are checked). */
    void (*call)(struct sim_env *e, const struct sim_call *c, bool on_disk);
    /* After a file call: its result, and a checksum of what was really read or stored. */
    void (*result)(struct sim_env *e, int rc, uint32_t crc);
};

void env_files_init(struct sim_env *e, struct sim_disk *d);
void env_files_drop(struct sim_env *e); /* the process is gone: handles and locks with it */

int env_files_open(struct env *e, const char *path, unsigned flags, struct env_file **out);
void env_files_close(struct env_file *f);
int env_files_read(struct env_file *f, void *dst, size_t len, uint64_t offset, size_t *got);
int env_files_write(struct env_file *f, const void *src, size_t len, uint64_t offset);
int env_files_sync(struct env_file *f);
int env_files_truncate(struct env_file *f, uint64_t size);
int env_files_punch(struct env_file *f, uint64_t offset, uint64_t len);
int env_files_size(struct env_file *f, uint64_t *out);
int env_files_rename(struct env *e, const char *from, const char *to);
int env_files_link(struct env *e, const char *from, const char *to);
int env_files_look(struct env *e, const char *path, struct env_file_facts *out);
int env_files_protect(struct env *e, const char *path, bool on);
int env_files_remove(struct env *e, const char *path);
int env_files_dir_create(struct env *e, const char *path);
int env_files_dir_sync(struct env *e, const char *path);
int env_files_dir_list(struct env *e, const char *path, void (*entry)(void *, const char *),
                       void *ctx);
int env_files_lock(struct env *e, const char *path, struct env_lock **out);
void env_files_unlock(struct env_lock *l);
int env_files_disk_free(struct env *e, const char *path, uint64_t *out);

#define ENV_FILES_OPS                                                                              \
    .file_open = env_files_open, .file_close = env_files_close, .file_read = env_files_read,       \
    .file_write = env_files_write, .file_sync = env_files_sync,                                    \
    .file_truncate = env_files_truncate, .file_size = env_files_size,                              \
    .file_punch = env_files_punch, .file_rename = env_files_rename, .file_link = env_files_link,   \
    .file_look = env_files_look, .file_protect = env_files_protect,                                \
    .file_remove = env_files_remove, .dir_create = env_files_dir_create,                           \
    .dir_sync = env_files_dir_sync, .dir_list = env_files_dir_list, .lock_take = env_files_lock,   \
    .lock_release = env_files_unlock, .disk_free = env_files_disk_free

#endif
