/* env_uv_int.h — the real environment's insides.
 *
 * One loop thread, one thread per LOG and APPLY lane, a few for READ. All fields belong to the loop
 * thread except where a comment says otherwise. Files call downwards only:
 *
 *      env_uv.c                 made, run, taken down; the table of calls
 *      round.c   listen.c       one round of the loop; listeners
 *      job.c timer.c stream.c   lanes and finished jobs; timers; connections
 *      turn.c                   hooks, and work for the next turn
 *      file.c addr.c log.c
 */
#ifndef RQ_ENV_UV_INT_H
#define RQ_ENV_UV_INT_H

#include <rq/env_impl.h>
#include <rq/env_uv.h>
#include <rq/util/assert.h>
#include <rq/util/buf.h>
#include <rq/util/list.h>
#include <rq/util/mem.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <uv.h>

enum {
    UV_READ_BYTES = 64 * 1024,
    UV_ADDR_TEXT_BYTES = 80, /* "[ipv6%scope]:port" */
    UV_RANDOM_WORDS = 64,
};

/* Jobs waiting for a lane's threads. mutex guards head, tail and stopping. */
struct uv_lane {
    uv_mutex_t mutex;
    uv_cond_t wake;
    struct env_job *head;
    struct env_job *tail;
    bool stopping;
    unsigned thread_count;
    uv_thread_t *threads;
    struct uv_env *owner;
};

/* Work put off to a later turn; in its owner's storage. */
struct uv_deferred {
    struct list link; /* self when not queued */
    void (*run)(struct uv_deferred *d);
};

struct uv_env {
    struct env base;
    uv_loop_t loop;
    uv_thread_t loop_thread; /* set once, before any other thread starts */
    bool running;
    bool destroying; /* no owner hears anything any more */

    /* round.c */
    uv_prepare_t prepare;
    uv_check_t check;

    /* turn.c */
    uv_idle_t idle; /* active: the next poll must not block */
    uint64_t turn;  /* number of the current turn */
    struct env_turn *hooks_head;
    struct env_turn *hooks_tail;
    struct env_turn *hooks_running; /* taken from hooks_head, not yet run */
    struct list deferred;           /* of this turn */
    struct list ripe;               /* of earlier turns: run now */

    /* timer.c */
    uv_timer_t alarm;
    uint64_t alarm_ms; /* loop time the alarm is set to; 0: off */
    struct env_timer **heap;
    size_t heap_count;
    size_t heap_cap;
    uint64_t timer_seq;

    /* job.c */
    struct uv_lane lanes[ENV_LANE_COUNT];
    uv_async_t finished_async;
    _Atomic(struct env_job *) finished; /* any thread pushes; the loop takes all */
    atomic_bool asleep;                 /* in a poll, or about to be: finished jobs must ring */
    struct env_job *held_head;          /* finished within the turn that submitted them */
    struct env_job *held_tail;

    /* stream.c, listen.c */
    struct list streams;
    struct list listeners;
    uint8_t *read_bytes; /* UV_READ_BYTES, lent to data() */

    struct list signals;
    uint64_t random[UV_RANDOM_WORDS];
    unsigned random_left;
};

static inline struct uv_env *uv_env_of(struct env *e)
{
    return (struct uv_env *)(void *)e;
}
static inline bool uv_env_on_loop(const struct uv_env *u)
{
    uv_thread_t self = uv_thread_self();
    return uv_thread_equal(&self, &u->loop_thread) != 0;
}
static inline void uv_env_check_loop(const struct uv_env *u)
{
    ASSERT(uv_env_on_loop(u));
}

/* round.c */
void uv_env_round_init(struct uv_env *u);

/* turn.c */
void uv_env_turn_init(struct uv_env *u);
void uv_env_turn_end(struct uv_env *u);   /* run hooks; deferred work becomes ripe */
void uv_env_turn_again(struct uv_env *u); /* do not sleep before the next turn */
void uv_env_ripe_run(struct uv_env *u);   /* deferred work of earlier turns */
void uv_env_defer(struct uv_env *u, struct uv_deferred *d);
void uv_env_turn_schedule(struct env_turn *t);
void uv_env_turn_cancel(struct env_turn *t);

/* timer.c */
void uv_env_timers_init(struct uv_env *u);
void uv_env_timers_set_alarm(struct uv_env *u); /* before each poll */
void uv_env_timer_arm(struct env_timer *t, uint64_t after_ns);
void uv_env_timer_disarm(struct env_timer *t);

/* job.c */
int uv_env_jobs_start(struct uv_env *u, unsigned read_threads);
void uv_env_jobs_stop(struct uv_env *u); /* waits for jobs in run(), drops the others */
void uv_env_jobs_release_held(struct uv_env *u);
void uv_env_jobs_before_sleep(struct uv_env *u); /* last thing before each poll */
void uv_env_jobs_deliver(struct uv_env *u);      /* after each poll: done() of what finished */
void uv_env_job_submit(struct env *e, enum env_lane lane, struct env_job *j);

/* file.c — blocking; lanes only. */
int uv_env_file_open(struct env *e, const char *path, unsigned flags, struct env_file **out);
void uv_env_file_close(struct env_file *f);
int uv_env_file_read(struct env_file *f, void *dst, size_t len, uint64_t offset, size_t *got);
int uv_env_file_write(struct env_file *f, const void *src, size_t len, uint64_t offset);
int uv_env_file_sync(struct env_file *f);
int uv_env_file_truncate(struct env_file *f, uint64_t size);
int uv_env_file_punch(struct env_file *f, uint64_t offset, uint64_t len);
int uv_env_file_size(struct env_file *f, uint64_t *out);
int uv_env_file_rename(struct env *e, const char *from, const char *to);
int uv_env_file_link(struct env *e, const char *from, const char *to);
int uv_env_file_look(struct env *e, const char *path, struct env_file_facts *out);
int uv_env_file_protect(struct env *e, const char *path, bool on);
int uv_env_file_remove(struct env *e, const char *path);
int uv_env_dir_create(struct env *e, const char *path);
int uv_env_dir_sync(struct env *e, const char *path);
int uv_env_dir_list(struct env *e, const char *path, void (*entry)(void *, const char *),
                    void *ctx);
int uv_env_lock_take(struct env *e, const char *path, struct env_lock **out);
void uv_env_lock_release(struct env_lock *l);
int uv_env_disk_free(struct env *e, const char *path, uint64_t *out);

/* addr.c */
struct uv_host_port {
    char host[256]; /* "" : all interfaces */
    char port[8];   /* decimal */
};
int uv_env_addr_split(const char *text, struct uv_host_port *out) MUST_USE; /* 0, ERR_INVALID */
bool uv_env_addr_numeric(const struct uv_host_port *hp, struct sockaddr_storage *out);
void uv_env_addr_text(const struct sockaddr *sa, char out[UV_ADDR_TEXT_BYTES]);
/* The ways a transport fails, in our words. */
int uv_env_connect_error(int uv_rc);

/* stream.c */
struct uv_stream {
    struct env_stream base;
    struct uv_env *u;
    struct list link; /* in u->streams */
    uv_tcp_t tcp;
    uv_connect_t connect;
    uv_getaddrinfo_t lookup;
    uv_write_t write;
    uv_shutdown_t shutdown;
    struct addrinfo *found;    /* ours; what the name resolved to */
    struct addrinfo *next_try; /* in `found` */
    struct uv_deferred deferred;
    int deferred_rc;
    struct env_timer linger;
    struct buf sending; /* lent to libuv while write_busy */
    struct buf waiting; /* gathers behind it */
    bool write_busy;
    bool lookup_busy;
    bool open;      /* connected */
    bool want_read; /* the owner's wish */
    bool reading;   /* libuv reads */
    bool ended;     /* ended() was or will be called */
    bool saw_eof;   /* the peer sent FIN */
    bool broken;    /* nothing can be sent any more */
    bool finishing; /* by env_stream_finish: only closed() follows */
    bool closing;   /* by env_stream_close, or at the end of finish */
    bool retrying;  /* tcp is being closed to try the next address */
    bool close_called;
    char peer[UV_ADDR_TEXT_BYTES];
};
struct uv_stream *uv_env_stream_new(struct uv_env *u); /* NULL: no memory */
void uv_env_stream_accepted(struct uv_stream *s);      /* after uv_accept */
void uv_env_stream_abandon(struct uv_stream *s);       /* close without telling anyone */
int uv_env_stream_connect(struct env *e, const char *addr, const struct env_stream_events *events,
                          void *ctx, struct env_stream **out);
void uv_env_stream_read_start(struct env_stream *s);
void uv_env_stream_read_stop(struct env_stream *s);
int uv_env_stream_write(struct env_stream *s, const struct slice *parts, size_t count,
                        size_t pending_max);
size_t uv_env_stream_pending(const struct env_stream *s);
const char *uv_env_stream_peer(const struct env_stream *s);
void uv_env_stream_finish(struct env_stream *s);
void uv_env_stream_close(struct env_stream *s);

/* listen.c */
int uv_env_listen(struct env *e, const char *bind_addr,
                  void (*accepted)(void *, struct env_stream *), void *ctx,
                  struct env_listener **out, struct err_text *why);
const char *uv_env_listener_addr(const struct env_listener *l);
void uv_env_listener_close(struct env_listener *l);
void uv_env_listeners_close(struct uv_env *u);

/* log.c */
void uv_env_log(struct env *e, const char *component, const char *fmt, va_list args)
    PRINTF_LIKE(3, 0);
void uv_env_halt(struct env *e, const char *reason);

#endif
