/* world_int — inside the world: events, hosts, and what net and hosts ask of each other.
 *
 * Files call downwards only:
 *
 *      world.c                        made, run, taken down
 *      host.c                         incarnations: begin, pause, end
 *      host_env.c                     env_* of a host; its files are env_files.c over the disk
 *      net_stream.c  net_fault.c      env_stream_*; faults by hand
 *      net_conn.c                     connections, as two kernels see them
 *      host_turn.c   net_link.c       code entered and left, turns; who reaches whom
 *      event.c  trace.c  host_look.c  the heap; what is folded and counted; clocks, questions
 *
 * What goes up: events carry the function they run, and host.ended says that code left for good. */
#ifndef WORLD_INT_H
#define WORLD_INT_H

#include "env/env_files.h"
#include "env/sim_mem.h"
#include "env/world.h"
#include <rq/util/list.h>
#include <setjmp.h>

/* Where an event runs, thus what can make it wait. */
enum where {
    EV_WIRE,   /* network and world: waits for nothing */
    EV_THREAD, /* a job's thread: waits while the process is paused */
    EV_LOOP,   /* the host's loop: waits while it is paused or busy, in order */
};

struct event {
    uint64_t due_ns, tie, seq;
    size_t heap_at;      /* 1-based; 0: not in the heap */
    struct list waiting; /* in host.waiting */
    const char *kind;
    struct host *host;    /* NULL: the world's */
    uint64_t incarnation; /* 0: physics, outlives incarnations */
    enum where where;
    void (*run)(struct world *w, const struct event *ev);
    void *ctx;
    uint64_t arg;
    void (*fn)(void); /* a callback of the caller's, cast back by run */
};

struct lane {
    struct env_job *queue, *queue_last;
    struct env_job *done, *done_last;
    unsigned starting, running, queued;
};

struct host {
    struct sim_env sim; /* first: struct env * of the living incarnation */
    struct world *world;
    char name[64];
    size_t index;
    struct host_config config;
    struct sim_disk *disk;
    struct sim_pool *pool;
    struct prng prng; /* node[i, incarnation] */
    uint64_t incarnation;
    bool up, paused, machine_on;
    uint64_t boot_ns, mono_base_ns; /* monotonic = base + drifted (now - boot) */
    int64_t wall_offset_ns;
    uint64_t busy_until_ns;
    struct list waiting; /* EV_LOOP and EV_THREAD events that are due */
    bool wake_posted;
    struct env_turn *turns, *turns_now; /* scheduled; being run */
    struct lane lanes[ENV_LANE_COUNT];
    struct env_job *job;   /* whose run() is on the stack */
    uint64_t job_ns;       /* virtual time it has used */
    uint64_t disk_free_ns; /* the device works on one request at a time */
    uint64_t calls;        /* env calls of this incarnation */
    uint64_t crash_at;     /* countdown; 0: off */
    enum host_crash crash_kind;
    enum end_why {
        END_NONE,
        END_CRASH,
        END_POWER,
        END_HALT,
        END_EXIT
    } ending;                      /* takes effect at the next env call or when the code returns */
    void (*ended)(struct host *h); /* the incarnation's code has left the stack for good */
    char halt[ERR_TEXT_MAX];
    size_t exit_leak;
    struct list listeners; /* of sim_listener.in_host */
    uint16_t port_next;
    uint64_t disk_fault_base[SIM_DISK_EVENT_COUNT]; /* of disks taken away */
};

struct world {
    struct world_config config;
    uint64_t now_ns, seq, events;
    uint64_t second, second_events; /* livelock guard */
    struct event **heap;
    size_t heap_count, heap_cap;
    struct event *spare; /* free list through ctx */
    struct prng schedule, net_prng;
    struct host *hosts[WORLD_HOST_MAX];
    size_t host_count;
    struct host *running; /* whose code is on the stack */
    jmp_buf *out;         /* where it ends when it must */
    void *lent;           /* bytes lent to it in this callback; freed afterwards */
    bool stopped;
    uint64_t delay_event, swap_segment; /* test hooks: countdown */
    struct world_hash hash;
    struct world_hash *checkpoints;
    size_t checkpoint_count, checkpoint_cap;
    uint64_t faults[WORLD_FAULT_COUNT];
    struct net *net;
    void (*on_log)(void *, struct host *, const char *, const char *);
    void *on_log_ctx;
    void (*on_halt)(void *, struct host *, const char *);
    void *on_halt_ctx;
    void (*on_end)(void *, struct host *, const char *);
    void *on_end_ctx;
};

/* event.c */
struct event *event_post(struct world *w, uint64_t after_ns, const char *kind,
                         void (*run)(struct world *, const struct event *), void *ctx,
                         uint64_t arg); /* the world's own; host and where may be set at once */
struct event *event_post_host(struct host *h, uint64_t after_ns, enum where where, const char *kind,
                              void (*run)(struct world *, const struct event *), void *ctx,
                              uint64_t arg);
void event_cancel(struct world *w, struct event *ev); /* wherever it waits */
void event_unheap(struct world *w, struct event *ev); /* now the caller's */
void event_reheap(struct world *w, struct event *ev); /* with its old tie: nothing is drawn */
void event_push(struct world *w, struct event *ev);   /* with a new tie */
void event_free(struct world *w, struct event *ev);
static inline bool event_stale(const struct event *ev)
{
    return ev->incarnation && !(ev->host->up && ev->host->incarnation == ev->incarnation);
}

/* trace.c */
void event_fold(struct world *w, const struct event *ev, uint64_t len, uint32_t crc);
void host_call_note(struct host *h, const struct sim_call *c);
void world_fold(struct world *w, uint64_t x);
void world_checkpoint(struct world *w); /* keep the hash so far, with the draws */
void world_fault(struct world *w, enum world_fault kind);

/* host_look.c */
uint64_t host_due_after_ns(const struct host *h,
                           uint64_t mono_ns); /* virtual ns from now until then, never early */
static inline struct host *host_of(struct env *e)
{
    return (struct host *)(void *)e;
}

/* host_turn.c */
void host_dispatch(struct host *h,
                   struct event *ev); /* LOOP and THREAD events: run or let wait; takes ev */
/* Production code on the stack: fn(ctx) with pool, way out and turn; false: the incarnation ended. */
bool host_enter(struct host *h, void (*fn)(void *ctx), void *ctx);
_Noreturn void host_leave(struct host *h);
void host_call_later(struct host *h, uint64_t after_ns, const char *kind,
                     void (*fn)(struct env *e, void *ctx), void *ctx);

/* host.c */
void host_free(struct host *h);

/* host_env.c */
void host_env_init(struct host *h);

/* net_conn.c */
struct net *net_create(void);
void net_destroy(struct net *n);
void net_host_gone(struct host *h, bool power);

/* net_stream.c */
int net_connect(struct env *, const char *, const struct env_stream_events *, void *,
                struct env_stream **);
void net_read_start(struct env_stream *);
void net_read_stop(struct env_stream *);
int net_write(struct env_stream *, const struct slice *, size_t, size_t);
size_t net_pending(const struct env_stream *);
const char *net_peer(const struct env_stream *);
void net_finish(struct env_stream *);
void net_close(struct env_stream *);
int net_listen(struct env *, const char *, void (*)(void *, struct env_stream *), void *,
               struct env_listener **, struct err_text *);
const char *net_listener_addr(const struct env_listener *);
void net_listener_close(struct env_listener *);

#endif
