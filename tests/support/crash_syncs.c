/* crash_syncs.c — a layer between a room and the simulated environment that knows which file is synced. */
#include "crash_syncs.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <rq/env_impl.h>
#include <stdio.h>
#include <string.h>

enum { OPEN_MAX = 64 };

/* An environment has no place for a pointer of ours: the attached one is here. */
static struct {
    struct crash_syncs *syncs;
    const struct env_ops *real;
    struct env_ops ops;
    struct {
        struct env_file *file;
        char name[64];
    } open[OPEN_MAX];
} tap;

static const char *name_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static int tap_open(struct env *e, const char *path, unsigned flags, struct env_file **out)
{
    int rc = tap.real->file_open(e, path, flags, out);
    size_t i = 0;

    if (rc)
        return rc;
    while (i < OPEN_MAX && tap.open[i].file)
        i++;
    assert_true(i < OPEN_MAX);
    tap.open[i].file = *out;
    snprintf(tap.open[i].name, sizeof(tap.open[i].name), "%s", name_of(path));
    return 0;
}

static void tap_close(struct env_file *f)
{
    for (size_t i = 0; i < OPEN_MAX; i++)
        if (tap.open[i].file == f)
            tap.open[i].file = NULL;
    tap.real->file_close(f);
}

static int tap_rename(struct env *e, const char *from, const char *to)
{
    int rc = tap.real->file_rename(e, from, to);

    for (size_t i = 0; rc == 0 && i < OPEN_MAX; i++)
        if (tap.open[i].file && strcmp(tap.open[i].name, name_of(from)) == 0)
            snprintf(tap.open[i].name, sizeof(tap.open[i].name), "%s", name_of(to));
    if (tap.syncs->renamed)
        tap.syncs->renamed(name_of(from), name_of(to));
    return rc;
}

static int tap_remove(struct env *e, const char *path)
{
    if (tap.syncs->removed)
        tap.syncs->removed(name_of(path));
    return tap.real->file_remove(e, path);
}

/* Is this sync to be forgotten? */
static bool swallowed(int site)
{
    assert_true(site >= 0 && site < CRASH_SITES_MAX);
    tap.syncs->met[site]++;
    return site != 0 && site == tap.syncs->swallow;
}

static int tap_sync(struct env_file *f)
{
    const char *name = "";

    for (size_t i = 0; i < OPEN_MAX; i++)
        if (tap.open[i].file == f)
            name = tap.open[i].name;
    return swallowed(tap.syncs->site_of_file(f, name)) ? 0 : tap.real->file_sync(f);
}

static int tap_dir_sync(struct env *e, const char *path)
{
    return swallowed(tap.syncs->site_of_dir(path)) ? 0 : tap.real->dir_sync(e, path);
}

void crash_syncs_attach(struct crash_syncs *s, struct env *e)
{
    memset(&tap, 0, sizeof(tap));
    tap.syncs = s;
    tap.real = e->ops;
    tap.ops = *e->ops;
    tap.ops.file_open = tap_open;
    tap.ops.file_close = tap_close;
    tap.ops.file_rename = tap_rename;
    tap.ops.file_remove = tap_remove;
    tap.ops.file_sync = tap_sync;
    tap.ops.dir_sync = tap_dir_sync;
    e->ops = &tap.ops;
}
