/* env — everything outside the program: time, chance, timers, jobs, files, streams.
 *
 * Two worlds implement it: env_uv (libuv, the real one) and env_sim (one seed, virtual time). Neither
 * knows what it carries. No other room may call the C library for any of this; a link check proves it.
 *
 * Lanes. One LOOP thread runs all callbacks. Jobs run on LOG (one at a time, in order), APPLY (one at
 * a time, in order) and READ (several may overlap). Unless a function says "run()", call it on the
 * LOOP only. A struct touched by a job belongs to that job from submit until its done().
 *
 * Callbacks never run inside the call that causes them: a submitted thing completes on a later turn of
 * the loop. Several callbacks may run in one turn; then the turn's `env_turn` hooks run once.
 *
 * No function here asserts on what the outside does; each asserts on misuse (wrong lane, double arm). */
#ifndef RQ_ENV_H
#define RQ_ENV_H

#include <rq/util/err.h>
#include <rq/util/slice.h>
#include <stdbool.h>
#include <stdint.h>

struct env;

/* ---- time and chance ------------------------------------------------------------------------- */

#define ENV_MS_NS UINT64_C(1000000)
#define ENV_S_NS UINT64_C(1000000000)

/* Monotonic; never decreases within one process; unrelated to the wall clock. LOOP and run(). */
uint64_t env_now_ns(struct env *e);
/* Nanoseconds since 1970-01-01 UTC; may jump either way. For people and SQL, never for order. LOOP and run(). */
int64_t env_wall_ns(struct env *e);
/* The only source of chance; good enough for ids and secrets in the real world. LOOP and run(). */
uint64_t env_random_u64(struct env *e);

/* ---- timers ---------------------------------------------------------------------------------- */

/* One-shot. Caller's storage, zeroed or env_timer_init'ed once; lent while armed. Fields are private. */
struct env_timer {
    struct env *env;
    void (*fire)(struct env_timer *t);
    void *ctx; /* the caller's */
    uint64_t due_ns;
    uint64_t seq;   /* ties */
    size_t heap_at; /* 1-based place in the owner's heap; 0: not armed */
    void *impl;
};
void env_timer_init(struct env_timer *t, struct env *e, void (*fire)(struct env_timer *), void *ctx);
/* Fire once, not before now + after_ns, possibly later. Arming an armed timer replaces its time. */
void env_timer_arm(struct env_timer *t, uint64_t after_ns);
/* After this it will not fire. Harmless when not armed. */
void env_timer_disarm(struct env_timer *t);
static inline bool env_timer_armed(const struct env_timer *t)
{
    return t->heap_at != 0;
}

/* ---- end of the loop's turn -------------------------------------------------------------------- */

/* Runs once at the end of the turn in which it was scheduled (or of the next, when scheduled by such a
 * hook); how work of one turn is gathered: one raft_step for many proposals, one write per peer. */
struct env_turn {
    struct env *env;
    void (*run)(struct env_turn *t);
    void *ctx;
    struct env_turn *next; /* private */
    bool scheduled;        /* private */
};
void env_turn_init(struct env_turn *t, struct env *e, void (*run)(struct env_turn *), void *ctx);
void env_turn_schedule(struct env_turn *t); /* harmless when already scheduled */
void env_turn_cancel(struct env_turn *t);   /* harmless when not scheduled */

/* ---- jobs ------------------------------------------------------------------------------------ */

enum env_lane { ENV_LANE_LOG, ENV_LANE_APPLY, ENV_LANE_READ, ENV_LANE_COUNT };

/* Caller's storage, lent from submit until done() is entered. */
struct env_job {
    void (*run)(struct env_job *j);  /* on the lane's thread; may block; touches only its own job */
    void (*done)(struct env_job *j); /* on the LOOP, exactly once after run(); may free or resubmit j */
    struct env_job *next;            /* private */
    struct env *env;                 /* private */
    enum env_lane lane;              /* private */
    bool submitted;                  /* private */
    uint64_t turn;                   /* private */
};
/* Always accepted; callers bound how much they submit. */
void env_job_submit(struct env *e, enum env_lane lane, struct env_job *j);

/* ---- files ----------------------------------------------------------------------------------- */

/* In run() only (any lane), blocking; whole transfers or an error. Paths are UTF-8, '/'-separated,
 * absolute or relative to the process. One file may be open once per environment at a time. */
struct env_file;
enum {
    ENV_FILE_CREATE = 1,    /* create if missing (name durable only after env_dir_sync of its folder) */
    ENV_FILE_EXCLUSIVE = 2, /* with CREATE: ERR_EXISTS if it is there */
    ENV_FILE_READONLY = 4,
};
/* 0 and *out given (env_file_close frees); ERR_NOT_FOUND, ERR_EXISTS, ERR_NOSPC, ERR_IO, ERR_NOMEM:
 * nothing opened. New files have mode 0600. */
int env_file_open(struct env *e, const char *path, unsigned flags, struct env_file **out) MUST_USE;
void env_file_close(struct env_file *f); /* no sync; f may be NULL */
/* Read up to len bytes at offset; *got < len only at end of file. 0 or ERR_IO. */
int env_file_read(struct env_file *f, void *dst, size_t len, uint64_t offset, size_t *got) MUST_USE;
/* All len bytes, or an error: ERR_NOSPC or ERR_IO, then any part of the range may have been written.
 * Durable only after env_file_sync. Grows the file; a gap reads as zeros. */
int env_file_write(struct env_file *f, const void *src, size_t len, uint64_t offset) MUST_USE;
/* Everything written and the size is on stable storage when it returns 0. ERR_IO is final: nothing
 * written since the last good sync may be trusted, the node stops; it is never retried. */
int env_file_sync(struct env_file *f) MUST_USE;
int env_file_truncate(struct env_file *f, uint64_t size) MUST_USE; /* 0, ERR_IO, ERR_NOSPC */
int env_file_size(struct env_file *f, uint64_t *out) MUST_USE;
/* The range, which must lie within the file, reads as zeros from now on, and what it took of the disk is free (fallocate(2),
 * FALLOC_FL_PUNCH_HOLE). 0; ERR_NOT_SUPPORTED: this file system cannot, nothing changed; ERR_IO, ERR_NOSPC: any part of
 * it may have changed. */
int env_file_punch(struct env_file *f, uint64_t offset, uint64_t len) MUST_USE;
/* Names. All durable only after env_dir_sync of the folder concerned. */
int env_file_rename(struct env *e, const char *from, const char *to) MUST_USE; /* replaces `to` */
/* One more name for the file, not open now. ERR_EXISTS, ERR_NOT_FOUND; ERR_NOT_SUPPORTED: this file system has no such
 * thing. Unlike a rename it cannot leave a file without a name. */
int env_file_link(struct env *e, const char *from, const char *to) MUST_USE;
/* What tells that somebody else had his hands on a file; proof of nothing. 0, ERR_NOT_FOUND, ERR_IO. */
struct env_file_facts {
    uint64_t size, inode;
    int64_t changed_ns; /* when its content was last changed, by the machine's clock */
};
int env_file_look(struct env *e, const char *path, struct env_file_facts *out) MUST_USE;
/* Who opens it from now on may only read (unless he may do everything). 0, ERR_NOT_FOUND, ERR_IO. */
int env_file_protect(struct env *e, const char *path, bool on) MUST_USE;
int env_file_remove(struct env *e, const char *path) MUST_USE;                 /* ERR_NOT_FOUND */
/* Create the folder and its missing parents (mode 0755), and sync the parents; 0 if it was there. */
int env_dir_create(struct env *e, const char *path) MUST_USE;
int env_dir_sync(struct env *e, const char *path) MUST_USE;
/* Call entry() for each plain file, in unspecified order (the simulator shuffles). name: lent. */
int env_dir_list(struct env *e, const char *path, void (*entry)(void *ctx, const char *name), void *ctx) MUST_USE;
/* Hold path (created if missing) against other processes until close. ERR_BUSY: someone has it. */
struct env_lock;
int env_lock_take(struct env *e, const char *path, struct env_lock **out) MUST_USE;
void env_lock_release(struct env_lock *l); /* may be NULL */
/* Free bytes of the file system that holds path. */
int env_disk_free(struct env *e, const char *path, uint64_t *out) MUST_USE;

/* ---- streams --------------------------------------------------------------------------------- */

/* A TCP connection, TCP_NODELAY on. After connect or accept the owner holds it until closed().
 *
 *   connect ─► opened(0) ─► data* / drained* ─► ended(rc)? ─► [owner closes] ─► closed
 *           └► opened(rc≠0) ─────────────────────────────────► [owner closes] ─► closed
 *
 * Reading starts off; nothing but `closed` comes after env_stream_close. */
struct env_stream;
struct env_stream_events {
    void (*opened)(void *ctx, int rc);              /* connecting streams only, exactly once unless closed first */
    void (*data)(void *ctx, struct slice bytes);    /* lent until return; len >= 1, any segmentation */
    void (*ended)(void *ctx, int rc);               /* ERR_EOF: the peer sent FIN; else broken. At most once; no data after */
    void (*drained)(void *ctx);                     /* pending output fell to zero after having been above it */
    void (*closed)(void *ctx);                      /* exactly once after env_stream_close/finish; the stream is gone */
};
/* addr: "host:port", resolved now; copied. events: lent until closed. 0 and *out, or ERR_INVALID /
 * ERR_NOMEM: nothing started. Failures to resolve or connect arrive by opened(): ERR_REFUSED,
 * ERR_UNREACHABLE, ERR_TIMEOUT (the owner should also keep a timer of its own), ERR_ADDRESS. */
int env_stream_connect(struct env *e, const char *addr, const struct env_stream_events *events, void *ctx,
                       struct env_stream **out) MUST_USE;
void env_stream_read_start(struct env_stream *s);
void env_stream_read_stop(struct env_stream *s); /* no data() from now on; bytes wait in the transport */
/* Gathered write; bytes are sent at once or copied. 0; ERR_FULL if pending + bytes would exceed
 * pending_max: nothing taken; ERR_RESET after ended(broken) or when the transport refuses: nothing
 * promised. Completion means "buffered", never "received". */
int env_stream_write(struct env_stream *s, const struct slice *parts, size_t count, size_t pending_max) MUST_USE;
size_t env_stream_pending(const struct env_stream *s); /* bytes not yet taken by the transport */
/* Address of the other end as text "ip:port" ("?" if unknown); lent until closed. */
const char *env_stream_peer(const struct env_stream *s);
/* Send what is pending, then FIN, then close. Input that still comes is dropped and does not turn the
 * FIN into a reset (env_uv reads on for up to a second, so closed() may be that late). No callback but
 * closed() from now on. The owner bounds it with a timer and env_stream_close. */
void env_stream_finish(struct env_stream *s);
/* Drop pending output, close at once. Harmless after finish; a second close is a bug. */
void env_stream_close(struct env_stream *s);

struct env_listener;
/* accepted(): the new stream is the callee's; it must call env_stream_attach before returning (and may
 * close it). bind_addr "host:port"; host may be empty (all interfaces). 0; ERR_ADDRESS (in use, not
 * local, not parsable; why says which). */
int env_listen(struct env *e, const char *bind_addr, void (*accepted)(void *ctx, struct env_stream *s), void *ctx,
               struct env_listener **out, struct err_text *why) MUST_USE;
void env_stream_attach(struct env_stream *s, const struct env_stream_events *events, void *ctx);
/* The address bound, numeric "127.0.0.1:4001"; lent until close. */
const char *env_listener_addr(const struct env_listener *l);
void env_listener_close(struct env_listener *l); /* no accepted() afterwards; frees l */

/* ---- words, and the end ---------------------------------------------------------------------- */

/* One line for people: "[component] YYYY/MM/DD HH:MM:SS text" on stderr (a trace line in the simulator).
 * LOOP and run(). */
void env_log(struct env *e, const char *component, const char *fmt, ...) PRINTF_LIKE(3, 4);
/* The node cannot go on (lost trust in the disk, machine error at apply). Writes reason, ends the
 * process with status 1 (the incarnation, in the simulator). LOOP and run(). Never returns. */
_Noreturn void env_halt(struct env *e, const char *reason);

#endif
