/* api — life of the room: listen, accept, stop. */
#include "api_int.h"

enum { STRINGS_MAX = 64 * 1024 };

static const char *copy_string(struct arena *a, const char *s)
{
    return s ? arena_dup(a, s, strlen(s)) : NULL;
}

static int api_strings_copy(struct api *a, const struct api_config *config)
{
    a->bind_addr = copy_string(&a->arena, config->bind_addr);
    a->adv_addr = copy_string(&a->arena, config->adv_addr);
    a->raft_addr = copy_string(&a->arena, config->raft_addr);
    a->version = copy_string(&a->arena, config->version);
    if (!a->bind_addr || !a->adv_addr || !a->raft_addr || !a->version)
        return ERR_NOMEM;
    a->allow_origin = copy_string(&a->arena, config->allow_origin);
    a->facts = config->facts;
    const char **facts[] = {
        &a->facts.dir,      &a->facts.commit,   &a->facts.build_time, &a->facts.sqlite_version,
        &a->facts.compiler, &a->facts.hostname, &a->facts.executable, &a->facts.os,
        &a->facts.arch,     &a->facts.db_path,  &a->facts.log_level,  &a->facts.cert_file,
        &a->facts.key_file, &a->facts.ca_file};
    for (size_t i = 0; i < sizeof facts / sizeof facts[0]; i++) {
        const bool given = *facts[i] != NULL;
        *facts[i] = copy_string(&a->arena, *facts[i]);
        if (given && !*facts[i])
            return ERR_NOMEM;
    }
    return 0;
}

static int api_common_headers(struct api *a)
{
    struct buf *b = &a->common;
    http_put_header(b, "X-Rqlite-Version", slice_str(a->version));
    http_put_header(b, "X-RQLITE-RAFT-ADDR", slice_str(a->raft_addr));
    http_put_header(b, "Access-Control-Allow-Methods", slice_str("OPTIONS, GET, POST"));
    http_put_header(b, "Access-Control-Allow-Headers",
                    slice_str(a->guard ? "Content-Type, Authorization" : "Content-Type"));
    if (a->guard) {
        http_put_header(b, "Access-Control-Allow-Credentials", slice_str("true"));
        http_put_header(b, "WWW-Authenticate", slice_str("Basic realm=\"rqlite\""));
    }
    if (a->allow_origin && a->allow_origin[0] != '\0')
        http_put_header(b, "Access-Control-Allow-Origin", slice_str(a->allow_origin));
    return b->failed;
}

static void api_accepted(void *ctx, struct env_stream *s)
{
    api_conn_accept(ctx, s);
}

static void api_free(struct api *a)
{
    buf_fini(&a->common);
    buf_fini(&a->date);
    arena_fini(&a->arena);
    api_queue_destroy(a);
    api_stores_free(a);
    mem_free(a);
}

static void api_stopped_run(struct env_turn *t)
{
    struct api *a = t->ctx;
    ASSERT(a->conn_count == 0 && a->stopped_told);
    a->stopped(a->stopped_ctx);
}

/* A connection is gone, or queued writes went through: was that the last thing a stop waits for? */
static void api_conn_gone(struct api *a)
{
    if (!a->stopping || a->stopped_told || a->conn_count > 0 || !api_queue_idle(a))
        return;
    a->stopped_told = true;
    env_timer_disarm(&a->grace);
    env_turn_schedule(&a->stopped_turn);
}

static void api_grace_over(struct env_timer *t)
{
    struct api *a = t->ctx;
    for (struct list *l = a->conns.next, *next; l != &a->conns; l = next) {
        next = l->next;
        api_conn_close(LIST_ENTRY(l, struct api_conn, link));
    }
    api_queue_abandon(a);
    a->conn_gone(a);
}

int api_create(struct env *e, const struct api_config *config, struct api **out,
               struct err_text *why)
{
    ASSERT(e != NULL && config != NULL && out != NULL);
    struct api *a = mem_zalloc(sizeof *a);
    if (!a)
        return err_set(why, ERR_NOMEM, "out of memory");
    a->env = e;
    a->guard = config->guard;
    a->dispatch = api_dispatch;
    a->conn_gone = api_conn_gone;
    a->start_ns = env_now_ns(e);
    a->start_wall_ns = env_wall_ns(e);
    arena_init(&a->arena, STRINGS_MAX);
    buf_init(&a->common, STRINGS_MAX);
    buf_init(&a->date, 4096);
    list_init(&a->conns);
    list_init(&a->stores);
    env_timer_init(&a->grace, e, api_grace_over, a);
    env_turn_init(&a->stopped_turn, e, api_stopped_run, a);
    int rc = api_queue_create(a, &config->queue);
    if (rc == 0)
        rc = api_strings_copy(a, config);
    if (rc == 0)
        rc = api_common_headers(a);
    if (rc != 0)
        err_set(why, rc, "%s", err_text_of(rc));
    else
        rc = env_listen(config->net ? config->net : e, a->bind_addr, api_accepted, a, &a->listener,
                        why);
    if (rc != 0) {
        api_free(a);
        return rc;
    }
    env_log(e, "http", "service listening on %s", env_listener_addr(a->listener));
    *out = a;
    return 0;
}

void api_node_set(struct api *a, struct node *n)
{
    a->node = n;
}

void api_stop(struct api *a, uint64_t grace_ms, void (*stopped)(void *ctx), void *ctx)
{
    ASSERT(!a->stopping && stopped != NULL);
    a->stopping = true;
    a->stopped = stopped;
    a->stopped_ctx = ctx;
    env_listener_close(a->listener);
    a->listener = NULL;
    for (struct list *l = a->conns.next, *next; l != &a->conns; l = next) {
        next = l->next;
        api_conn_retire(LIST_ENTRY(l, struct api_conn, link));
    }
    api_queue_stop(a);
    env_timer_arm(&a->grace, grace_ms * ENV_MS_NS);
    api_conn_gone(a); /* perhaps there were none */
}

void api_destroy(struct api *a)
{
    if (!a)
        return;
    ASSERT(a->conn_count == 0);
    ASSERT(!a->stopping || api_queue_idle(a));
    if (a->listener)
        env_listener_close(a->listener);
    env_timer_disarm(&a->grace);
    env_turn_cancel(&a->stopped_turn);
    api_free(a);
}
