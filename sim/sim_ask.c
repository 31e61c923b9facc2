/* sim_ask.c — questions of the judge: one request outside of any history, at any time of the run. */
#include "sim_talk.h"
#include <rq/util/assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { QUESTION_MAX = 20 * 1024 };

struct sim_asker {
    struct sim_talk talk;
    struct host *host;
    struct sim_server *server;
    char question[QUESTION_MAX];
    size_t question_len;
    bool done;
    int status;
    char *body;
};

static void on_answered(void *ctx, const struct sim_answer *a)
{
    struct sim_asker *k = ctx;

    k->status = a->status;
    free(k->body);
    k->body = malloc(a->len + 1);
    memcpy(k->body, a->body, a->len + 1);
    k->done = true;
}

static void on_broken(void *ctx, bool sent)
{
    struct sim_asker *k = ctx;
    (void)sent;
    k->done = true;
}

static bool unmet(void *ctx)
{
    struct sim_asker *k = ctx;
    return sim_after_event(k->talk.sim) && !k->done;
}

static void boot(struct env *e, void *ctx)
{
    struct sim_asker *k = ctx;
    k->talk.env = e;
}

static void start(struct env *e, void *ctx)
{
    struct sim_asker *k = ctx;
    (void)e;
    sim_talk_drop(&k->talk);
    sim_talk_ask(&k->talk, k->server, slice_of(k->question, k->question_len), 1);
}

static void stop(struct env *e, void *ctx)
{
    struct sim_asker *k = ctx;
    (void)e;
    sim_talk_drop(&k->talk);
}

char *sim_ask(struct sim *s, struct sim_server *v, const char *method, const char *target,
              const char *body, uint64_t timeout_ns, int *status)
{
    struct sim_asker *k = s->asker;

    int n = snprintf(k->question, sizeof(k->question),
                     "%s %s HTTP/1.1\r\nHost: sim\r\nContent-Length: %zu\r\n\r\n%s", method, target,
                     strlen(body), body);
    ASSERT(n > 0 && (size_t)n < sizeof(k->question));
    k->question_len = (size_t)n;
    k->server = v;
    k->done = false;
    k->status = 0;
    if (!k->talk.env) /* its boot is an event */
        (void)world_run_for(s->world, 1000);
    if (!host_call(k->host, start, k))
        return NULL;
    (void)world_run_while(s->world, timeout_ns, unmet, k);
    (void)host_call(k->host, stop, k);
    *status = k->status;
    char *answer = k->body;
    k->body = NULL;
    return answer;
}

void sim_asker_create(struct sim *s)
{
    struct sim_asker *k = calloc(1, sizeof(*k));

    k->talk.sim = s;
    k->talk.ctx = k;
    k->talk.answered = on_answered;
    k->talk.broken = on_broken;
    k->host = world_host_add(s->world, "c0", NULL);
    host_start(k->host, boot, k);
    s->asker = k;
}

void sim_asker_destroy(struct sim *s)
{
    free(s->asker->body);
    free(s->asker);
}
