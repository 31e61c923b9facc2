/* env_impl — for those who implement an environment (env_uv, env_sim) and src/env, nobody else. */
#ifndef RQ_ENV_IMPL_H
#define RQ_ENV_IMPL_H

#include <rq/env.h>
#include <stdarg.h>

/* First member of every environment. src/env/env.c checks arguments, then calls through ops; the
 * contracts are those of env.h. Who keeps the private fields:
 *   timer   env.c fills env, fire, ctx at init; ops set heap_at != 0 in timer_arm, and 0 in
 *           timer_disarm and before fire(). disarm is called for armed timers only.
 *   turn    ops set `scheduled` in turn_schedule, clear it in turn_cancel and before run(). schedule
 *           is called for idle hooks only, cancel for scheduled ones only.
 *   job     env.c sets env, lane, submitted and next = NULL, then job_submit; ops clear `submitted`
 *           before done(). `next` is for ops.
 *   stream  ops fill events and ctx at connect; env_stream_attach fills them on accepted ones. */
struct env {
    const struct env_ops *ops;
};

/* First members of the objects an environment hands out, so that src/env can find the way back. */
struct env_file {
    struct env *env;
};
struct env_lock {
    struct env *env;
};
struct env_stream {
    struct env *env;
    const struct env_stream_events *events; /* NULL until attached */
    void *ctx;
};
struct env_listener {
    struct env *env;
};

struct env_ops {
    uint64_t (*now_ns)(struct env *);
    int64_t (*wall_ns)(struct env *);
    uint64_t (*random_u64)(struct env *);
    void (*timer_arm)(struct env_timer *, uint64_t after_ns);
    void (*timer_disarm)(struct env_timer *);
    void (*turn_schedule)(struct env_turn *);
    void (*turn_cancel)(struct env_turn *);
    void (*job_submit)(struct env *, enum env_lane, struct env_job *);
    int (*file_open)(struct env *, const char *, unsigned, struct env_file **);
    void (*file_close)(struct env_file *);
    int (*file_read)(struct env_file *, void *, size_t, uint64_t, size_t *);
    int (*file_write)(struct env_file *, const void *, size_t, uint64_t);
    int (*file_sync)(struct env_file *);
    int (*file_truncate)(struct env_file *, uint64_t);
    int (*file_size)(struct env_file *, uint64_t *);
    int (*file_punch)(struct env_file *, uint64_t, uint64_t);
    int (*file_rename)(struct env *, const char *, const char *);
    int (*file_link)(struct env *, const char *, const char *);
    int (*file_look)(struct env *, const char *, struct env_file_facts *);
    int (*file_protect)(struct env *, const char *, bool);
    int (*file_remove)(struct env *, const char *);
    int (*dir_create)(struct env *, const char *);
    int (*dir_sync)(struct env *, const char *);
    int (*dir_list)(struct env *, const char *, void (*)(void *, const char *), void *);
    int (*lock_take)(struct env *, const char *, struct env_lock **);
    void (*lock_release)(struct env_lock *);
    int (*disk_free)(struct env *, const char *, uint64_t *);
    int (*stream_connect)(struct env *, const char *, const struct env_stream_events *, void *, struct env_stream **);
    void (*stream_read_start)(struct env_stream *);
    void (*stream_read_stop)(struct env_stream *);
    int (*stream_write)(struct env_stream *, const struct slice *, size_t, size_t);
    size_t (*stream_pending)(const struct env_stream *);
    const char *(*stream_peer)(const struct env_stream *);
    void (*stream_finish)(struct env_stream *);
    void (*stream_close)(struct env_stream *);
    int (*listen)(struct env *, const char *, void (*)(void *, struct env_stream *), void *, struct env_listener **,
                  struct err_text *);
    const char *(*listener_addr)(const struct env_listener *);
    void (*listener_close)(struct env_listener *);
    void (*log)(struct env *, const char *component, const char *fmt, va_list);
    void (*halt)(struct env *, const char *reason); /* does not return */
};

#endif
