/* file.c — files by plain blocking system calls, on lane threads only.
 *
 * errno is translated here and nowhere else. A failed sync is never retried and never softened:
 * after it the kernel may have dropped the dirty pages, and a second try would lie. */
#define _GNU_SOURCE /* fallocate */
#include "env_uv_int.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

enum { PATH_BYTES = 4096 };

struct uv_file {
    struct env_file base;
    int fd;
};

struct uv_lock {
    struct env_lock base;
    int fd;
};

static int fd_of(const struct env_file *f)
{
    return ((const struct uv_file *)(const void *)f)->fd;
}

static int error_of(int errnum)
{
    switch (errnum) {
    case ENOSPC:
    case EDQUOT:
        return ERR_NOSPC;
    case ENOENT:
        return ERR_NOT_FOUND;
    case EEXIST:
        return ERR_EXISTS;
    case ENOMEM:
        return ERR_NOMEM;
    default:
        return ERR_IO;
    }
}

/* The loop must not block; before it runs, and after, its thread may. */
static void check_may_block(struct env *e)
{
    const struct uv_env *u = uv_env_of(e);
    uv_thread_t self = uv_thread_self();

    ASSERT(!uv_thread_equal(&self, &u->loop_thread) || !u->running);
}

static int open_again(const char *path, int flags, mode_t mode)
{
    int fd;

    do
        fd = open(path, flags | O_CLOEXEC, mode);
    while (fd < 0 && errno == EINTR);
    return fd;
}

int uv_env_file_open(struct env *e, const char *path, unsigned flags, struct env_file **out)
{
    int how = flags & ENV_FILE_READONLY ? O_RDONLY : O_RDWR;

    check_may_block(e);
    if (flags & ENV_FILE_CREATE)
        how |= O_CREAT;
    if (flags & ENV_FILE_EXCLUSIVE)
        how |= O_EXCL;
    struct uv_file *f = mem_zalloc(sizeof(*f));
    if (!f)
        return ERR_NOMEM;
    f->base.env = e;
    f->fd = open_again(path, how, 0600);
    if (f->fd < 0) {
        int rc = error_of(errno);
        mem_free(f);
        return rc;
    }
    *out = &f->base;
    return 0;
}

void uv_env_file_close(struct env_file *f)
{
    check_may_block(f->env);
    (void)close(fd_of(f)); /* no promise hangs on it: what matters was synced before */
    mem_free(f);
}

int uv_env_file_read(struct env_file *f, void *dst, size_t len, uint64_t offset, size_t *got)
{
    uint8_t *at = dst;
    size_t done = 0;

    check_may_block(f->env);
    while (done < len) {
        ssize_t n = pread(fd_of(f), at + done, len - done, (off_t)(offset + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return ERR_IO;
        if (n == 0)
            break;
        done += (size_t)n;
    }
    *got = done;
    return 0;
}

int uv_env_file_write(struct env_file *f, const void *src, size_t len, uint64_t offset)
{
    const uint8_t *at = src;
    size_t done = 0;

    check_may_block(f->env);
    while (done < len) {
        ssize_t n = pwrite(fd_of(f), at + done, len - done, (off_t)(offset + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 && error_of(errno) == ERR_NOSPC ? ERR_NOSPC : ERR_IO;
        done += (size_t)n;
    }
    return 0;
}

/* fdatasync also writes the size when it grew: POSIX asks for all that is needed to read the data.
 */
int uv_env_file_sync(struct env_file *f)
{
    check_may_block(f->env);
    return fdatasync(fd_of(f)) == 0 ? 0 : ERR_IO;
}

int uv_env_file_truncate(struct env_file *f, uint64_t size)
{
    int rc;

    check_may_block(f->env);
    do
        rc = ftruncate(fd_of(f), (off_t)size);
    while (rc != 0 && errno == EINTR);
    if (rc != 0)
        return error_of(errno) == ERR_NOSPC ? ERR_NOSPC : ERR_IO;
    return 0;
}

int uv_env_file_size(struct env_file *f, uint64_t *out)
{
    struct stat st;

    check_may_block(f->env);
    if (fstat(fd_of(f), &st) != 0)
        return ERR_IO;
    *out = (uint64_t)st.st_size;
    return 0;
}

int uv_env_file_punch(struct env_file *f, uint64_t offset, uint64_t len)
{
    int rc;

    check_may_block(f->env);
    do
        rc = fallocate(fd_of(f), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset,
                       (off_t)len);
    while (rc != 0 && errno == EINTR);
    if (rc == 0)
        return 0;
    if (errno == EOPNOTSUPP || errno == ENOSYS)
        return ERR_NOT_SUPPORTED;
    return error_of(errno) == ERR_NOSPC ? ERR_NOSPC : ERR_IO;
}

int uv_env_file_rename(struct env *e, const char *from, const char *to)
{
    check_may_block(e);
    return rename(from, to) == 0 ? 0 : error_of(errno);
}

int uv_env_file_link(struct env *e, const char *from, const char *to)
{
    check_may_block(e);
    if (link(from, to) == 0)
        return 0;
    return errno == EPERM || errno == EOPNOTSUPP || errno == EMLINK ? ERR_NOT_SUPPORTED
                                                                    : error_of(errno);
}

int uv_env_file_look(struct env *e, const char *path, struct env_file_facts *out)
{
    struct stat st;

    check_may_block(e);
    if (stat(path, &st) != 0)
        return error_of(errno);
    *out = (struct env_file_facts){.size = (uint64_t)st.st_size,
                                   .inode = (uint64_t)st.st_ino,
                                   .changed_ns = (int64_t)st.st_mtim.tv_sec * 1000000000 +
                                                 st.st_mtim.tv_nsec};
    return 0;
}

int uv_env_file_protect(struct env *e, const char *path, bool on)
{
    struct stat st;

    check_may_block(e);
    if (stat(path, &st) != 0)
        return error_of(errno);
    mode_t mode = st.st_mode & 0777;
    mode = on ? mode & ~(mode_t)0222 : mode | 0200;
    return chmod(path, mode) == 0 ? 0 : error_of(errno);
}

int uv_env_file_remove(struct env *e, const char *path)
{
    check_may_block(e);
    return unlink(path) == 0 ? 0 : error_of(errno);
}

/* ---- folders ---- */

int uv_env_dir_sync(struct env *e, const char *path)
{
    check_may_block(e);
    int fd = open_again(path, O_RDONLY | O_DIRECTORY, 0);
    if (fd < 0)
        return error_of(errno);
    int rc = fsync(fd) == 0 ? 0 : ERR_IO;
    (void)close(fd);
    return rc;
}

/* Make one folder whose parent exists, and its name durable. */
static int dir_create_one(struct env *e, const char *path)
{
    char parent[PATH_BYTES];
    struct stat st;

    bool made = mkdir(path, 0755) == 0;
    if (!made && errno != EEXIST)
        return error_of(errno);
    if (!made)
        return stat(path, &st) == 0 && S_ISDIR(st.st_mode) ? 0 : ERR_EXISTS;
    const char *slash = strrchr(path, '/');
    if (!slash)
        return uv_env_dir_sync(e, ".");
    size_t len = slash == path ? 1 : (size_t)(slash - path);
    memcpy(parent, path, len);
    parent[len] = '\0';
    return uv_env_dir_sync(e, parent);
}

int uv_env_dir_create(struct env *e, const char *path)
{
    char prefix[PATH_BYTES];
    size_t len = strlen(path);

    check_may_block(e);
    while (len > 1 && path[len - 1] == '/')
        len--;
    if (len >= sizeof(prefix))
        return ERR_INVALID;
    for (size_t i = 1; i <= len; i++) {
        if (i < len && (path[i] != '/' || path[i - 1] == '/'))
            continue;
        memcpy(prefix, path, i);
        prefix[i] = '\0';
        int rc = dir_create_one(e, prefix);
        if (rc != 0)
            return rc;
    }
    return 0;
}

static bool plain_file(DIR *dir, const struct dirent *entry)
{
    struct stat st;

    if (entry->d_type != DT_UNKNOWN)
        return entry->d_type == DT_REG;
    return fstatat(dirfd(dir), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode);
}

int uv_env_dir_list(struct env *e, const char *path, void (*entry)(void *, const char *), void *ctx)
{
    struct dirent *item;

    check_may_block(e);
    DIR *dir = opendir(path);
    if (!dir)
        return error_of(errno);
    errno = 0;
    while ((item = readdir(dir)) != NULL) {
        if (plain_file(dir, item))
            entry(ctx, item->d_name);
        errno = 0;
    }
    int rc = errno == 0 ? 0 : ERR_IO;
    (void)closedir(dir);
    return rc;
}

/* ---- locks and room ---- */

/* flock belongs to the open file, not to the process: two environments in one process exclude each
 * other too, and no unrelated close() drops it. */
int uv_env_lock_take(struct env *e, const char *path, struct env_lock **out)
{
    check_may_block(e);
    struct uv_lock *l = mem_zalloc(sizeof(*l));
    if (!l)
        return ERR_NOMEM;
    l->base.env = e;
    l->fd = open_again(path, O_RDWR | O_CREAT, 0600);
    int rc = l->fd < 0 ? error_of(errno) : 0;
    if (rc == 0 && flock(l->fd, LOCK_EX | LOCK_NB) != 0)
        rc = errno == EWOULDBLOCK ? ERR_BUSY : ERR_IO;
    if (rc == 0) {
        *out = &l->base;
        return 0;
    }
    if (l->fd >= 0)
        (void)close(l->fd);
    mem_free(l);
    return rc;
}

void uv_env_lock_release(struct env_lock *l)
{
    (void)close(((struct uv_lock *)(void *)l)->fd);
    mem_free(l);
}

int uv_env_disk_free(struct env *e, const char *path, uint64_t *out)
{
    struct statvfs fs;

    check_may_block(e);
    if (statvfs(path, &fs) != 0)
        return error_of(errno);
    *out = (uint64_t)fs.f_bavail * fs.f_frsize;
    return 0;
}
