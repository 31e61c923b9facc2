/* sim_spoil.c — a node goes down, and comes back with an image that is not what it was: a bit of a page, of the
 * pages' checksums, or of one copy of the record flipped; or another digest in a record whose checksums are right, as
 * if its rows had been edited. It must be caught and repaired from the others. Called by sim_nemesis.c. */
#include "sim_run.h"
#include <rq/image.h>
#include <rq/util/assert.h>
#include <rq/util/mem.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- damaged ------------------------------------------------------------------------------------------------ */

struct image_file {
    const char *end; /* of its name */
    char path[128];
    uint64_t size;
};

static void file_seen(void *ctx, const char *path, uint64_t size)
{
    struct image_file *f = ctx;
    size_t len = strlen(path), end = strlen(f->end);

    if (strncmp(path, "data/", 5) == 0 && len > end && len < sizeof(f->path) &&
        strcmp(path + len - end, f->end) == 0 && size) {
        memcpy(f->path, path, len + 1);
        f->size = size;
    }
}

static bool damage(struct sim_server *v, struct prng *r)
{
    /* A database on disk has its pages in a file of its own. */
    const char *main_end = v->plan->on_disk ? "/db.sqlite" : ".main";
    const char *const ends[] = {main_end, main_end,     main_end,          ".main.sums",
                                ".keys",  ".keys.sums", "/image/record.a", "/image/record.b"};
    struct image_file f = {.end = ends[prng_below(r, sizeof(ends) / sizeof(ends[0]))]};

    sim_disk_list(host_disk(v->host), true, file_seen, &f);
    if (f.size == 0 || sim_disk_flip(host_disk(v->host), f.path, prng_below(r, f.size),
                                     (unsigned)prng_below(r, 8)))
        return false;
    host_crash(v->host, HOST_CRASH_PROCESS);
    return true;
}

/* ---- made different ------------------------------------------------------------------------------------------ */

struct edit { /* in the host's memory */
    struct env_job job;
    struct env *env;
    struct sim_server *server;
};

/* A cut that changes nothing but the digest, which stands behind this mark and a version. */
static int digest_edit(struct image *im)
{
    static const uint8_t mark[3] = {'R', 'B', 'D'};
    struct image_moment m = *image_now(im);
    uint8_t *state = mem_must_alloc(m.state.len + 1);
    bool done = false;
    int rc = ERR_NOT_FOUND;

    memcpy(state, m.state.data, m.state.len);
    m.state.data = state;
    for (size_t i = 0; rc == ERR_NOT_FOUND && i + 12 <= m.state.len; i++) {
        if (memcmp(state + i, mark, sizeof(mark)) != 0)
            continue;
        state[i + 4] ^= 1;
        rc = image_cut_begin(im, &m);
        if (rc == 0)
            rc = image_cut_seal(im);
        while (rc == 0 && !done)
            rc = image_cut_apply(im, UINT64_MAX, &done);
    }
    mem_free(state);
    return rc;
}

static void edit_run(struct env_job *job)
{
    struct edit *x = (struct edit *)(void *)job;
    struct image *im = NULL;
    struct err_text why;

    if (image_open(x->env, "data/image", &im, &why) == 0 && image_now(im)->index)
        x->server->differs = digest_edit(im) == 0;
    image_close(im);
}

static void edit_done(struct env_job *job)
{
    struct edit *x = (struct edit *)(void *)job;
    struct host *h = x->server->host;

    mem_free(x);
    host_exit(h); /* and the nemesis starts it again */
}

static void edit_boot(struct env *e, void *ctx)
{
    struct edit *x = mem_must_zalloc(sizeof(*x));

    x->env = e;
    x->server = ctx;
    x->job.run = edit_run;
    x->job.done = edit_done;
    env_job_submit(e, ENV_LANE_READ, &x->job);
}

bool sim_spoil(struct sim *s, struct sim_server *v, struct prng *r)
{
    ASSERT(s->plan.node_count >= 3);
    if (prng_chance_ppm(r, 500000))
        return damage(v, r);
    host_crash(v->host, HOST_CRASH_PROCESS);
    host_start(v->host, edit_boot, v);
    return true;
}
