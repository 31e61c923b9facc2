/* sim_shadow.c — what recovery would find on a server's disk if the power went now and all that is pending
 * were lost: the shipped image_open and rlog_open, on a clone (cheap: pages are shared). */
#include "sim_run.h"
#include <rq/image.h>
#include <rq/rlog.h>
#include <stdlib.h>
#include <string.h>

struct shadow_cache { /* what recovery finds, as long as the disk does not change */
    bool valid;
    uint64_t disk_ops;
    struct sim_shadow shadow;
};

struct recovery {
    struct env *env;
    bool live;
    struct sim_shadow *out;
};

static int recovery_visit(void *ctx, uint64_t index, const struct wire_entry *e)
{
    struct sim_shadow *x = ctx;

    if (index >= x->terms_cap) {
        uint64_t cap = x->terms_cap ? x->terms_cap * 2 : 1024;
        while (cap <= index)
            cap *= 2;
        x->terms = realloc(x->terms, cap * sizeof(*x->terms));
        x->terms_cap = cap;
    }
    x->terms[index] = e->term;
    return 0;
}

static void recovery_run(void *ctx)
{
    struct recovery *r = ctx;
    struct rlog_config config = {.dir = "data/raft", .segment_bytes = 65536};
    struct rlog_recovered found;
    struct rlog *log = NULL;
    struct image *image = NULL;
    struct err_text why;

    struct image_place place = {.main_path = "data/db.sqlite", .live = r->live};
    r->out->rc = image_open_placed(r->env, "data/image", &place, &image, &why);
    bool hurt = r->out->rc == ERR_CORRUPT && image; /* it repairs itself; vote and log are whole */
    if (r->out->rc && !hurt)
        return;
    r->out->image_index = image_now(image)->index;
    image_close(image);
    r->out->rc = rlog_open(r->env, &config, 1, recovery_visit, r->out, &found, &log, &why);
    if (r->out->rc)
        return;
    r->out->hard = found.hard;
    r->out->first_index = found.first_index;
    r->out->last_index = found.last_index;
    if (found.first_index > r->out->image_index + 1)
        r->out->rc = ERR_CORRUPT; /* a hole between the two */
    rlog_close(log);
}

static void shadow_recover(struct sim_disk *clone, uint64_t seed, bool live, struct sim_shadow *out)
{
    struct env *e = env_sim_create(clone, seed);
    struct recovery r = {.env = e, .live = live, .out = out};

    memset(out, 0, sizeof(*out));
    if (!env_sim_run(e, recovery_run, &r))
        out->rc = ERR_IO;
    env_sim_destroy(e);
}

bool sim_shadow_has(const struct sim_shadow *x, uint64_t index, uint64_t term)
{
    if (x->rc)
        return false;
    if (index <= x->image_index)
        return true; /* what is in an image is committed: it is the entry of that index */
    return index >= x->first_index && index <= x->last_index && x->terms[index] == term;
}

/* A clone after a power cut that kept nothing of what is pending. */
struct sim_disk *sim_shadow_clone(struct sim *s, struct sim_server *v)
{
    struct sim_disk *clone = sim_disk_clone(host_disk(v->host), prng_mix(s->plan.seed, v->at));
    size_t pending = sim_disk_pending_count(clone);
    enum sim_disk_fate *fate = calloc(pending + 1, sizeof(*fate)); /* SIM_DROP is 0 */

    memset(&sim_disk_config(clone)->faults, 0, sizeof(struct sim_disk_faults));
    sim_disk_config(clone)->quota_bytes = 0;
    sim_disk_power_cut_choose(clone, fate);
    free(fate);
    return clone;
}

bool sim_shadow_known(const struct sim *s, const struct sim_server *v, uint64_t disk_ops)
{
    const struct shadow_cache *c = &s->shadows[v->at];
    return c->valid && c->disk_ops == disk_ops;
}

/* Recover on the clone, keep what was found; the clone is gone afterwards. */
const struct sim_shadow *sim_shadow_learn(struct sim *s, struct sim_server *v,
                                          struct sim_disk *clone, uint64_t disk_ops)
{
    struct shadow_cache *c = &s->shadows[v->at];

    free(c->shadow.terms);
    shadow_recover(clone, s->plan.seed, v->plan->on_disk, &c->shadow);
    sim_disk_destroy(clone);
    c->valid = true;
    c->disk_ops = disk_ops;
    return &c->shadow;
}

const struct sim_shadow *sim_shadow_take(struct sim *s, struct sim_server *v)
{
    uint64_t ops = sim_disk_ops(host_disk(v->host));

    if (sim_shadow_known(s, v, ops))
        return &s->shadows[v->at].shadow;
    return sim_shadow_learn(s, v, sim_shadow_clone(s, v), ops);
}

void sim_shadow_forget(struct sim *s, struct sim_server *v)
{
    s->shadows[v->at].valid = false;
}

const struct sim_shadow *sim_shadow_last(const struct sim *s, const struct sim_server *v)
{
    return &s->shadows[v->at].shadow;
}

void sim_shadows_create(struct sim *s)
{
    s->shadows = calloc(SIM_NODES_MAX, sizeof(*s->shadows));
}

void sim_shadows_destroy(struct sim *s)
{
    for (int i = 0; i < SIM_NODES_MAX; i++)
        free(s->shadows[i].shadow.terms);
    free(s->shadows);
}
