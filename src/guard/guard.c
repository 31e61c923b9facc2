/* guard — the queue in front of bcrypt. Called by api (clients' requests) and node (requests that other
 * nodes pass on).
 *
 *   guard_ask ─► auth_decide: YES, NO ─► at once
 *                   └► HASH ─► same id waits already? wait with it
 *                                └► else a check at the end of the queue ─► READ job ─► all its waits */
#include <rq/guard.h>
#include <rq/limits.h>
#include <rq/util/assert.h>
#include <rq/util/mem.h>

struct guard_check {
    struct list link;  /* in checks, in order of arrival; the first one may be running */
    struct list waits; /* guard_wait */
    struct guard *guard;
    uint8_t id[AUTH_KEY_BYTES]; /* of hash */
    struct env_job job;
    struct auth_hash hash; /* this and rc are the job's while it runs; the rest stays the loop's */
    int rc;
};

struct guard {
    struct env *env;
    struct auth *auth;
    struct list checks;
    uint32_t check_count;
    bool running;
    struct env_turn stop_turn;
    void (*stopped)(void *ctx);
    void *stopped_ctx;
};

static void stop_run(struct env_turn *t)
{
    struct guard *g = t->ctx;
    g->stopped(g->stopped_ctx);
}

int guard_create(struct env *e, struct slice json, struct guard **out, struct err_text *why)
{
    uint8_t key[AUTH_KEY_BYTES];
    for (size_t at = 0; at < sizeof key; at += sizeof(uint64_t)) {
        const uint64_t word = env_random_u64(e);
        memcpy(key + at, &word, sizeof word);
    }
    struct guard *g = mem_zalloc(sizeof *g);
    if (!g)
        return err_set(why, ERR_NOMEM, "out of memory");
    const int rc = auth_create(json, key, &g->auth, why);
    if (rc != 0) {
        mem_free(g);
        return rc;
    }
    g->env = e;
    list_init(&g->checks);
    env_turn_init(&g->stop_turn, e, stop_run, g);
    *out = g;
    return 0;
}

/* ---- the one that runs ------------------------------------------------------------------------------ */

static void check_run(struct env_job *job)
{
    struct guard_check *c = LIST_ENTRY(job, struct guard_check, job);
    c->rc = auth_hash_run(&c->hash);
}

static void check_free(struct guard_check *c)
{
    ASSERT(list_empty(&c->waits));
    list_remove(&c->link);
    c->guard->check_count--;
    explicit_bzero(&c->hash, sizeof c->hash);
    mem_free(c);
}

static void guard_next(struct guard *g);

static void check_done(struct env_job *job)
{
    struct guard_check *c = LIST_ENTRY(job, struct guard_check, job);
    struct guard *g = c->guard;
    const bool failed = c->rc != 0, matched = c->rc == 0 && c->hash.matched;
    struct list waits;
    if (!failed)
        auth_hash_keep(g->auth, &c->hash);
    list_init(&waits);
    for (struct list *l; (l = list_pop_front(&c->waits));)
        list_push_back(&waits, l);
    g->running = false;
    check_free(c);
    guard_next(g);
    for (struct list *l; (l = list_pop_front(&waits));) {
        struct guard_wait *w = LIST_ENTRY(l, struct guard_wait, link);
        w->waiting = false;
        w->done(w, failed ? GUARD_FULL : matched && w->granted ? GUARD_YES : GUARD_NO);
    }
}

/* Those that nobody waits for any more are passed over. */
static void guard_next(struct guard *g)
{
    while (!g->running && !list_empty(&g->checks)) {
        struct guard_check *c = LIST_ENTRY(g->checks.next, struct guard_check, link);
        if (list_empty(&c->waits)) {
            check_free(c);
            continue;
        }
        g->running = true;
        c->job.run = check_run;
        c->job.done = check_done;
        env_job_submit(g->env, ENV_LANE_READ, &c->job);
    }
    if (g->stopped && !g->running)
        env_turn_schedule(&g->stop_turn);
}

/* ---- asking -------------------------------------------------------------------------------------------- */

static struct guard_check *check_find(struct guard *g, const struct auth_hash *hash)
{
    for (struct list *l = g->checks.next; l != &g->checks; l = l->next) {
        struct guard_check *c = LIST_ENTRY(l, struct guard_check, link);
        if (memcmp(c->id, hash->id, sizeof c->id) == 0)
            return c;
    }
    return NULL;
}

static struct guard_check *check_new(struct guard *g, const struct auth_hash *hash)
{
    if (g->check_count >= LIMIT_GUARD_CHECKS || g->stopped)
        return NULL;
    struct guard_check *c = mem_zalloc(sizeof *c);
    if (!c)
        return NULL;
    c->guard = g;
    c->hash = *hash;
    memcpy(c->id, hash->id, sizeof c->id);
    list_init(&c->waits);
    list_push_back(&g->checks, &c->link);
    g->check_count++;
    return c;
}

enum guard_answer guard_ask(struct guard *g, const struct auth_question *q, struct guard_wait *w)
{
    struct auth_hash hash;
    ASSERT(!w->waiting && w->done != NULL);
    if (!g)
        return GUARD_YES;
    const enum auth_verdict verdict = auth_decide(g->auth, q, &hash);
    if (verdict != AUTH_VERDICT_HASH)
        return verdict == AUTH_VERDICT_YES ? GUARD_YES : GUARD_NO;
    struct guard_check *c = check_find(g, &hash);
    if (!c)
        c = check_new(g, &hash);
    explicit_bzero(&hash, sizeof hash);
    if (!c)
        return GUARD_FULL;
    w->granted = auth_grants(g->auth, q->user, q->perms);
    w->waiting = true;
    list_push_back(&c->waits, &w->link);
    guard_next(g);
    return GUARD_LATER;
}

void guard_forget(struct guard_wait *w)
{
    if (!w->waiting)
        return;
    w->waiting = false;
    list_remove(&w->link);
}

/* ---- the end --------------------------------------------------------------------------------------------- */

void guard_stop(struct guard *g, void (*stopped)(void *ctx), void *ctx)
{
    ASSERT(!g->stopped && stopped != NULL);
    g->stopped = stopped;
    g->stopped_ctx = ctx;
    guard_next(g);
}

void guard_destroy(struct guard *g)
{
    if (!g)
        return;
    ASSERT(!g->running && list_empty(&g->checks));
    env_turn_cancel(&g->stop_turn);
    auth_destroy(g->auth);
    mem_free(g);
}
