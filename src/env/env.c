/* env.c — what every environment shares: check the caller's arguments, then call through the table.
 *
 * Called by all rooms; calls nothing but util and the environment's own ops. Each check here guards
 * against our own misuse; what the outside does is the environment's business and never asserted.
 */
#include <rq/env_impl.h>
#include <rq/util/assert.h>

static const struct env_ops *ops_of(const struct env *e)
{
    ASSERT(e != NULL);
    ASSERT(e->ops != NULL);
    return e->ops;
}

/* ---- time and chance ---- */

uint64_t env_now_ns(struct env *e)
{
    return ops_of(e)->now_ns(e);
}

int64_t env_wall_ns(struct env *e)
{
    return ops_of(e)->wall_ns(e);
}

uint64_t env_random_u64(struct env *e)
{
    return ops_of(e)->random_u64(e);
}

/* ---- timers ---- */

void env_timer_init(struct env_timer *t, struct env *e, void (*fire)(struct env_timer *), void *ctx)
{
    ASSERT(fire != NULL);
    memset(t, 0, sizeof(*t));
    t->env = e;
    t->fire = fire;
    t->ctx = ctx;
}

void env_timer_arm(struct env_timer *t, uint64_t after_ns)
{
    ASSERT(t->fire != NULL);
    ops_of(t->env)->timer_arm(t, after_ns);
    ASSERT(env_timer_armed(t));
}

void env_timer_disarm(struct env_timer *t)
{
    if (!env_timer_armed(t))
        return; /* also a zeroed one that no environment has seen */
    ops_of(t->env)->timer_disarm(t);
    ASSERT(!env_timer_armed(t));
}

/* ---- end of the loop's turn ---- */

void env_turn_init(struct env_turn *t, struct env *e, void (*run)(struct env_turn *), void *ctx)
{
    ASSERT(run != NULL);
    memset(t, 0, sizeof(*t));
    t->env = e;
    t->run = run;
    t->ctx = ctx;
}

void env_turn_schedule(struct env_turn *t)
{
    ASSERT(t->run != NULL);
    if (!t->scheduled)
        ops_of(t->env)->turn_schedule(t);
    ASSERT(t->scheduled);
}

void env_turn_cancel(struct env_turn *t)
{
    if (t->scheduled)
        ops_of(t->env)->turn_cancel(t);
    ASSERT(!t->scheduled);
}

/* ---- jobs ---- */

void env_job_submit(struct env *e, enum env_lane lane, struct env_job *j)
{
    ASSERT(lane < ENV_LANE_COUNT);
    ASSERT(j->run != NULL);
    ASSERT(j->done != NULL);
    ASSERT(!j->submitted);
    j->submitted = true;
    j->env = e;
    j->lane = lane;
    j->next = NULL;
    ops_of(e)->job_submit(e, lane, j);
}

/* ---- files ---- */

int env_file_open(struct env *e, const char *path, unsigned flags, struct env_file **out)
{
    ASSERT(path != NULL && path[0] != '\0');
    ASSERT((flags & ~(unsigned)(ENV_FILE_CREATE | ENV_FILE_EXCLUSIVE | ENV_FILE_READONLY)) == 0);
    ASSERT(!(flags & ENV_FILE_EXCLUSIVE) || (flags & ENV_FILE_CREATE));
    ASSERT(!(flags & ENV_FILE_READONLY) || !(flags & ENV_FILE_CREATE));
    return ops_of(e)->file_open(e, path, flags, out);
}

void env_file_close(struct env_file *f)
{
    if (f)
        ops_of(f->env)->file_close(f);
}

/* Offsets beyond what off_t can say are a caller's arithmetic gone wrong, not the disk's fault. */
static void check_range(size_t len, uint64_t offset)
{
    ASSERT(offset <= (uint64_t)INT64_MAX);
    ASSERT(len <= (uint64_t)INT64_MAX - offset);
}

int env_file_read(struct env_file *f, void *dst, size_t len, uint64_t offset, size_t *got)
{
    ASSERT(dst != NULL || len == 0);
    check_range(len, offset);
    int rc = ops_of(f->env)->file_read(f, dst, len, offset, got);
    ASSERT(rc != 0 || *got <= len);
    return rc;
}

int env_file_write(struct env_file *f, const void *src, size_t len, uint64_t offset)
{
    ASSERT(src != NULL || len == 0);
    check_range(len, offset);
    return ops_of(f->env)->file_write(f, src, len, offset);
}

int env_file_sync(struct env_file *f)
{
    return ops_of(f->env)->file_sync(f);
}

int env_file_truncate(struct env_file *f, uint64_t size)
{
    check_range(0, size);
    return ops_of(f->env)->file_truncate(f, size);
}

int env_file_size(struct env_file *f, uint64_t *out)
{
    return ops_of(f->env)->file_size(f, out);
}

int env_file_punch(struct env_file *f, uint64_t offset, uint64_t len)
{
    check_range(len, offset);
    return len == 0 ? 0 : ops_of(f->env)->file_punch(f, offset, len);
}

int env_file_rename(struct env *e, const char *from, const char *to)
{
    ASSERT(from != NULL && to != NULL);
    return ops_of(e)->file_rename(e, from, to);
}

int env_file_link(struct env *e, const char *from, const char *to)
{
    ASSERT(from != NULL && to != NULL);
    return ops_of(e)->file_link(e, from, to);
}

int env_file_look(struct env *e, const char *path, struct env_file_facts *out)
{
    ASSERT(path != NULL && out != NULL);
    return ops_of(e)->file_look(e, path, out);
}

int env_file_protect(struct env *e, const char *path, bool on)
{
    ASSERT(path != NULL);
    return ops_of(e)->file_protect(e, path, on);
}

int env_file_remove(struct env *e, const char *path)
{
    ASSERT(path != NULL);
    return ops_of(e)->file_remove(e, path);
}

int env_dir_create(struct env *e, const char *path)
{
    ASSERT(path != NULL && path[0] != '\0');
    return ops_of(e)->dir_create(e, path);
}

int env_dir_sync(struct env *e, const char *path)
{
    ASSERT(path != NULL && path[0] != '\0');
    return ops_of(e)->dir_sync(e, path);
}

int env_dir_list(struct env *e, const char *path, void (*entry)(void *ctx, const char *name),
                 void *ctx)
{
    ASSERT(path != NULL && path[0] != '\0');
    ASSERT(entry != NULL);
    return ops_of(e)->dir_list(e, path, entry, ctx);
}

int env_lock_take(struct env *e, const char *path, struct env_lock **out)
{
    ASSERT(path != NULL && path[0] != '\0');
    return ops_of(e)->lock_take(e, path, out);
}

void env_lock_release(struct env_lock *l)
{
    if (l)
        ops_of(l->env)->lock_release(l);
}

int env_disk_free(struct env *e, const char *path, uint64_t *out)
{
    ASSERT(path != NULL && path[0] != '\0');
    return ops_of(e)->disk_free(e, path, out);
}

/* ---- streams ---- */

static void check_events(const struct env_stream_events *events)
{
    ASSERT(events != NULL);
    ASSERT(events->data != NULL);
    ASSERT(events->ended != NULL);
    ASSERT(events->drained != NULL);
    ASSERT(events->closed != NULL);
}

int env_stream_connect(struct env *e, const char *addr, const struct env_stream_events *events,
                       void *ctx, struct env_stream **out)
{
    ASSERT(addr != NULL);
    check_events(events);
    ASSERT(events->opened != NULL);
    return ops_of(e)->stream_connect(e, addr, events, ctx, out);
}

/* An accepted stream is nobody's until attached: nothing else may be asked of it before. */
static const struct env_ops *ops_of_owned(const struct env_stream *s)
{
    ASSERT(s->events != NULL);
    return ops_of(s->env);
}

void env_stream_attach(struct env_stream *s, const struct env_stream_events *events, void *ctx)
{
    check_events(events);
    ASSERT(s->events == NULL);
    s->events = events;
    s->ctx = ctx;
}

void env_stream_read_start(struct env_stream *s)
{
    ops_of_owned(s)->stream_read_start(s);
}

void env_stream_read_stop(struct env_stream *s)
{
    ops_of_owned(s)->stream_read_stop(s);
}

int env_stream_write(struct env_stream *s, const struct slice *parts, size_t count,
                     size_t pending_max)
{
    ASSERT(parts != NULL || count == 0);
    return ops_of_owned(s)->stream_write(s, parts, count, pending_max);
}

size_t env_stream_pending(const struct env_stream *s)
{
    return ops_of_owned(s)->stream_pending(s);
}

const char *env_stream_peer(const struct env_stream *s)
{
    return ops_of(s->env)->stream_peer(s); /* may help to decide before attaching */
}

void env_stream_finish(struct env_stream *s)
{
    ops_of_owned(s)->stream_finish(s);
}

void env_stream_close(struct env_stream *s)
{
    ops_of_owned(s)->stream_close(s);
}

int env_listen(struct env *e, const char *bind_addr,
               void (*accepted)(void *ctx, struct env_stream *s), void *ctx,
               struct env_listener **out, struct err_text *why)
{
    ASSERT(bind_addr != NULL);
    ASSERT(accepted != NULL);
    return ops_of(e)->listen(e, bind_addr, accepted, ctx, out, why);
}

const char *env_listener_addr(const struct env_listener *l)
{
    return ops_of(l->env)->listener_addr(l);
}

void env_listener_close(struct env_listener *l)
{
    ops_of(l->env)->listener_close(l);
}

/* ---- words, and the end ---- */

void env_log(struct env *e, const char *component, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    ops_of(e)->log(e, component, fmt, args);
    va_end(args);
}

_Noreturn void env_halt(struct env *e, const char *reason)
{
    ops_of(e)->halt(e, reason);
    UNREACHABLE();
}
