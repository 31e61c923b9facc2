/* seed — until this node is a member:
 *
 *   read ─► there is one ─► join whom it names ─► done
 *    ▲  │        └── failed ──┐
 *    │  └► none ─► claim ─► found ─► leads: done
 *    └── 3–6 s (1 s after a failed join) ◄──┘ somebody else was first: at once
 *
 * A record that names this node although it has no state is left from a life that lost its data. If others of
 * that cluster are alive, whoever leads them will write it anew within the interval of reports; after two of
 * those it is overwritten. */
#include "seed.h"

#include <rq/util/assert.h>
#include <rq/util/mem.h>

#include <string.h>

enum { PAUSE_MS = 3000, JOIN_PAUSE_MS = 1000, WATCH_MS = 50, OWN_RECORD_MS = 20 * 1000 };

enum seed_step { SEED_READ, SEED_CLAIM, SEED_JOIN, SEED_FOUND };

struct seed {
    struct env *env;
    struct node *node;
    struct seed_config config;
    const struct seed_events *events;
    void *ctx;
    enum seed_step step;
    struct disco_record record; /* as read */
    const char *addr;           /* of it, for join */
    struct join *join;
    struct env_timer timer;
    uint64_t own_since_ns; /* the record names this node; 0: it does not */
    bool overwrite;
};

static void seed_pause(struct seed *s, uint64_t ms)
{
    s->step = SEED_READ;
    env_timer_arm(&s->timer, ms * ENV_MS_NS);
}

static void seed_pause_long(struct seed *s)
{
    seed_pause(s, PAUSE_MS + env_random_u64(s->env) % PAUSE_MS);
}

static void seed_free(struct seed *s)
{
    env_timer_disarm(&s->timer);
    join_cancel(s->join);
    mem_free(s);
}

static void seed_done(struct seed *s)
{
    void (*done)(void *) = s->events->done;
    void *ctx = s->ctx;
    seed_free(s);
    done(ctx);
}

/* ---- join ------------------------------------------------------------------------------------------ */

static void seed_joined(void *ctx, int rc, const char *addr)
{
    struct seed *s = ctx;
    s->join = NULL;
    if (rc != 0) {
        env_log(s->env, "disco", "failed to join cluster at %s", s->addr);
        seed_pause(s, JOIN_PAUSE_MS);
        return;
    }
    env_log(s->env, "rqlited", "successfully joined cluster at %s", addr);
    seed_done(s);
}

static void seed_join(struct seed *s)
{
    struct join_config config = s->config.join;
    s->step = SEED_JOIN;
    s->addr = s->record.addr;
    config.addrs = &s->addr;
    config.count = 1;
    env_log(s->env, "disco", "discovery service returned %s as join address", s->addr);
    if (join_start(s->env, s->node, &config, seed_joined, s, &s->join) != 0)
        seed_pause_long(s);
}

/* ---- claim ----------------------------------------------------------------------------------------- */

static void seed_claimed(void *ctx, int rc, const char *why)
{
    struct seed *s = ctx;
    if (rc == ERR_EXISTS) {
        seed_pause(s, 0);
        return;
    }
    if (rc != 0) {
        env_log(s->env, "disco", "failed to register with discovery service: %s", why);
        seed_pause_long(s);
        return;
    }
    env_log(s->env, "disco", "node registered as leader using discovery service");
    s->step = SEED_FOUND;
    s->events->found(s->ctx);
}

static void seed_claim(struct seed *s)
{
    s->step = SEED_CLAIM;
    if (disco_write(s->config.disco, s->config.self, !s->overwrite, seed_claimed, s) != 0)
        seed_pause_long(s);
}

void seed_reopened(struct seed *s, struct node *n)
{
    ASSERT(s->step == SEED_FOUND);
    s->node = n;
    env_timer_arm(&s->timer, 0);
}

static void seed_watch(struct seed *s)
{
    struct node_status status;
    node_status_get(s->node, &status);
    if (status.has_leader)
        seed_done(s);
    else
        env_timer_arm(&s->timer, WATCH_MS * ENV_MS_NS);
}

/* ---- read ------------------------------------------------------------------------------------------- */

static bool is_own(const struct seed *s)
{
    return strcmp(s->record.addr, s->config.self->addr) == 0 ||
           strcmp(s->record.id, s->config.self->id) == 0;
}

static void seed_own_record(struct seed *s)
{
    const uint64_t now = env_now_ns(s->env);
    if (s->own_since_ns == 0) {
        s->own_since_ns = now;
        env_log(s->env, "disco",
                "the record names this node, which has no data: waiting for another leader");
    }
    s->overwrite = now - s->own_since_ns >= OWN_RECORD_MS * ENV_MS_NS && s->config.voter;
    if (s->overwrite)
        seed_claim(s);
    else
        seed_pause_long(s);
}

static void seed_read_done(void *ctx, int rc, const struct disco_record *record, const char *why)
{
    struct seed *s = ctx;
    if (rc == 0) {
        s->record = *record;
        if (is_own(s)) {
            seed_own_record(s);
            return;
        }
        s->own_since_ns = 0;
        seed_join(s);
        return;
    }
    s->overwrite = false;
    if (rc == ERR_NOT_FOUND && s->config.voter) {
        seed_claim(s);
        return;
    }
    if (rc != ERR_NOT_FOUND)
        env_log(s->env, "disco", "failed to read from discovery service: %s", why);
    seed_pause_long(s);
}

static void seed_timer(struct env_timer *t)
{
    struct seed *s = t->ctx;
    if (s->step == SEED_FOUND)
        seed_watch(s);
    else if (disco_read(s->config.disco, seed_read_done, s) != 0)
        seed_pause_long(s);
}

int seed_start(struct env *e, struct node *n, const struct seed_config *config,
               const struct seed_events *events, void *ctx, struct seed **out)
{
    struct seed *s = mem_zalloc(sizeof *s);
    if (!s)
        return ERR_NOMEM;
    s->env = e;
    s->node = n;
    s->config = *config;
    s->events = events;
    s->ctx = ctx;
    env_timer_init(&s->timer, e, seed_timer, s);
    seed_pause(s, 0);
    *out = s;
    return 0;
}

void seed_cancel(struct seed *s)
{
    if (s)
        seed_free(s);
}
