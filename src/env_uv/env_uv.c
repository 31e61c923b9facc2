/* env_uv.c — the real environment: made, run, taken down; clock and chance; the table of calls. */
#include "env_uv_int.h"
#include <signal.h>
#include <time.h>

struct uv_signal_watch {
    struct list link;
    uv_signal_t handle;
    void (*fn)(void *ctx, int signum);
    void *ctx;
};

/* ---- clock and chance ---- */

static uint64_t now_ns(struct env *e)
{
    (void)e;
    return uv_hrtime();
}

static int64_t wall_ns(struct env *e)
{
    struct timespec t;

    (void)e;
    (void)clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * (int64_t)ENV_S_NS + t.tv_nsec;
}

static void random_fill(struct env *e, void *dst, size_t len)
{
    if (uv_random(NULL, NULL, dst, len, 0, NULL) != 0)
        env_halt(e, "the kernel gives no random bytes");
}

/* On the LOOP the kernel is asked for many words at once; none is handed out twice or left behind. A
 * lane asks for one at a time. */
static uint64_t random_u64(struct env *e)
{
    struct uv_env *u = uv_env_of(e);

    if (!uv_env_on_loop(u)) {
        uint64_t one;
        random_fill(e, &one, sizeof(one));
        return one;
    }
    if (u->random_left == 0) {
        random_fill(e, u->random, sizeof(u->random));
        u->random_left = UV_RANDOM_WORDS;
    }
    uint64_t word = u->random[--u->random_left];
    u->random[u->random_left] = 0;
    return word;
}

static const struct env_ops uv_ops = {
    .now_ns = now_ns,
    .wall_ns = wall_ns,
    .random_u64 = random_u64,
    .timer_arm = uv_env_timer_arm,
    .timer_disarm = uv_env_timer_disarm,
    .turn_schedule = uv_env_turn_schedule,
    .turn_cancel = uv_env_turn_cancel,
    .job_submit = uv_env_job_submit,
    .file_open = uv_env_file_open,
    .file_close = uv_env_file_close,
    .file_read = uv_env_file_read,
    .file_write = uv_env_file_write,
    .file_sync = uv_env_file_sync,
    .file_truncate = uv_env_file_truncate,
    .file_size = uv_env_file_size,
    .file_punch = uv_env_file_punch,
    .file_rename = uv_env_file_rename,
    .file_link = uv_env_file_link,
    .file_look = uv_env_file_look,
    .file_protect = uv_env_file_protect,
    .file_remove = uv_env_file_remove,
    .dir_create = uv_env_dir_create,
    .dir_sync = uv_env_dir_sync,
    .dir_list = uv_env_dir_list,
    .lock_take = uv_env_lock_take,
    .lock_release = uv_env_lock_release,
    .disk_free = uv_env_disk_free,
    .stream_connect = uv_env_stream_connect,
    .stream_read_start = uv_env_stream_read_start,
    .stream_read_stop = uv_env_stream_read_stop,
    .stream_write = uv_env_stream_write,
    .stream_pending = uv_env_stream_pending,
    .stream_peer = uv_env_stream_peer,
    .stream_finish = uv_env_stream_finish,
    .stream_close = uv_env_stream_close,
    .listen = uv_env_listen,
    .listener_addr = uv_env_listener_addr,
    .listener_close = uv_env_listener_close,
    .log = uv_env_log,
    .halt = uv_env_halt,
};

/* ---- life ---- */

int env_uv_create(const struct env_uv_config *config, struct env **out, struct err_text *why)
{
    ASSERT(config->read_threads >= 1);
    struct uv_env *u = mem_zalloc(sizeof(*u));
    if (!u)
        return err_set(why, ERR_NOMEM, "out of memory");
    u->base.ops = &uv_ops;
    u->loop_thread = uv_thread_self();
    list_init(&u->streams);
    list_init(&u->listeners);
    list_init(&u->signals);
    u->read_bytes = mem_must_alloc(UV_READ_BYTES);
    int rc = uv_loop_init(&u->loop);
    if (rc != 0) {
        mem_free(u->read_bytes);
        mem_free(u);
        return err_set(why, ERR_IO, "event loop: %s", uv_strerror(rc));
    }
    (void)signal(SIGPIPE, SIG_IGN);
    uv_env_turn_init(u);
    uv_env_round_init(u);
    uv_env_timers_init(u);
    rc = uv_env_jobs_start(u, config->read_threads);
    if (rc != 0) {
        env_uv_destroy(&u->base);
        return err_set(why, rc, "cannot start threads");
    }
    *out = &u->base;
    return 0;
}

void env_uv_run(struct env *e)
{
    struct uv_env *u = uv_env_of(e);

    uv_env_check_loop(u);
    ASSERT(!u->running);
    u->running = true;
    (void)uv_run(&u->loop, UV_RUN_DEFAULT);
    u->running = false;
}

void env_uv_stop(struct env *e)
{
    struct uv_env *u = uv_env_of(e);

    uv_env_check_loop(u);
    uv_stop(&u->loop);
}

static void on_signal(uv_signal_t *handle, int signum)
{
    struct uv_signal_watch *w = handle->data;

    w->fn(w->ctx, signum);
}

void env_uv_on_signal(struct env *e, int signum, void (*fn)(void *ctx, int signum), void *ctx)
{
    struct uv_env *u = uv_env_of(e);
    struct uv_signal_watch *w = mem_must_zalloc(sizeof(*w));

    uv_env_check_loop(u);
    ASSERT(fn != NULL);
    w->fn = fn;
    w->ctx = ctx;
    w->handle.data = w;
    list_push_back(&u->signals, &w->link);
    if (uv_signal_init(&u->loop, &w->handle) != 0 ||
        uv_signal_start(&w->handle, on_signal, signum) != 0)
        env_halt(e, "cannot watch for signals");
}

static void on_signal_closed(uv_handle_t *handle)
{
    mem_free(handle->data);
}

static void close_signals(struct uv_env *u)
{
    struct list *item;

    while ((item = list_pop_front(&u->signals)) != NULL) {
        struct uv_signal_watch *w = LIST_ENTRY(item, struct uv_signal_watch, link);
        uv_close((uv_handle_t *)&w->handle, on_signal_closed);
    }
}

void env_uv_destroy(struct env *e)
{
    struct uv_env *u = uv_env_of(e);

    uv_env_check_loop(u);
    ASSERT(!u->running);
    uv_env_jobs_stop(u);
    u->destroying = true;
    for (struct list *item = u->streams.next; item != &u->streams; item = item->next)
        uv_env_stream_abandon(LIST_ENTRY(item, struct uv_stream, link));
    uv_env_listeners_close(u);
    close_signals(u);
    uv_close((uv_handle_t *)&u->finished_async, NULL);
    uv_close((uv_handle_t *)&u->alarm, NULL);
    uv_close((uv_handle_t *)&u->idle, NULL);
    uv_close((uv_handle_t *)&u->check, NULL);
    uv_close((uv_handle_t *)&u->prepare, NULL);
    while (uv_run(&u->loop, UV_RUN_DEFAULT) != 0) {
        /* an env_uv_stop that came too late ended the round early */
    }
    ASSERT(list_empty(&u->streams));
    int rc = uv_loop_close(&u->loop);
    ASSERT(rc == 0);
    mem_free(u->heap);
    mem_free(u->read_bytes);
    mem_free(u);
}
