/* timer.c — all timers in one binary heap over a single libuv timer, the alarm.
 *
 * Timers are re-armed far more often than they fire (a heartbeat postpones an election each time),
 * so arming touches only the heap; the alarm is set once per turn, before the loop may sleep. libuv
 * counts in milliseconds of its own clock, the same one divided down: a due time is rounded up to
 * that grid, and looked at again in nanoseconds when the alarm rings. So a timer is late by up to 1
 * ms, never early.
 *
 * heap[1..heap_count], ordered by (due_ns, seq); t->heap_at is t's place. */
#include "env_uv_int.h"

static bool fires_before(const struct env_timer *a, const struct env_timer *b)
{
    return a->due_ns < b->due_ns || (a->due_ns == b->due_ns && a->seq < b->seq);
}

static void put(struct uv_env *u, size_t at, struct env_timer *t)
{
    u->heap[at] = t;
    t->heap_at = at;
}

/* Let t, whose place is `at`, move to where the order wants it. */
static void settle(struct uv_env *u, size_t at, struct env_timer *t)
{
    while (at > 1 && fires_before(t, u->heap[at / 2])) {
        put(u, at, u->heap[at / 2]);
        at /= 2;
    }
    for (size_t child = at * 2; child <= u->heap_count; child = at * 2) {
        if (child < u->heap_count && fires_before(u->heap[child + 1], u->heap[child]))
            child++;
        if (!fires_before(u->heap[child], t))
            break;
        put(u, at, u->heap[child]);
        at = child;
    }
    put(u, at, t);
}

static void make_room(struct uv_env *u)
{
    size_t cap = u->heap_cap ? u->heap_cap * 2 : 64;

    if (u->heap_count + 1 < u->heap_cap)
        return;
    struct env_timer **grown = mem_realloc(u->heap, cap * sizeof(*grown));
    if (!grown)
        env_halt(&u->base, "out of memory for timers");
    u->heap = grown;
    u->heap_cap = cap;
}

void uv_env_timer_disarm(struct env_timer *t)
{
    struct uv_env *u = uv_env_of(t->env);
    size_t at = t->heap_at;

    uv_env_check_loop(u);
    ASSERT(at >= 1 && at <= u->heap_count);
    ASSERT(u->heap[at] == t);
    struct env_timer *last = u->heap[u->heap_count--];
    t->heap_at = 0;
    if (last != t)
        settle(u, at, last);
}

void uv_env_timer_arm(struct env_timer *t, uint64_t after_ns)
{
    struct uv_env *u = uv_env_of(t->env);
    uint64_t now = uv_hrtime();

    uv_env_check_loop(u);
    t->due_ns = after_ns > UINT64_MAX - now ? UINT64_MAX : now + after_ns;
    t->seq = u->timer_seq++;
    if (t->heap_at) {
        settle(u, t->heap_at, t);
        return;
    }
    make_room(u);
    settle(u, ++u->heap_count, t);
}

/* Fire what was due when the alarm rang; what these arm anew waits for a later turn. */
static void on_alarm(uv_timer_t *alarm)
{
    struct uv_env *u = alarm->data;
    uint64_t now = uv_hrtime();

    uv_env_turn_end(u);
    u->alarm_ms = 0;
    uint64_t seq_end = u->timer_seq;
    while (u->heap_count && u->heap[1]->due_ns <= now && u->heap[1]->seq < seq_end) {
        struct env_timer *t = u->heap[1];
        uv_env_timer_disarm(t);
        t->fire(t);
    }
}

void uv_env_timers_set_alarm(struct uv_env *u)
{
    if (!u->heap_count) {
        if (u->alarm_ms)
            (void)uv_timer_stop(&u->alarm);
        u->alarm_ms = 0;
        return;
    }
    uint64_t due_ns = u->heap[1]->due_ns;
    uint64_t due_ms = due_ns / ENV_MS_NS + (due_ns % ENV_MS_NS != 0);
    if (due_ms == u->alarm_ms)
        return;
    uint64_t loop_ms = uv_now(&u->loop); /* may be stale: it is only the zero we count from */
    (void)uv_timer_start(&u->alarm, on_alarm, due_ms > loop_ms ? due_ms - loop_ms : 0, 0);
    u->alarm_ms = due_ms;
}

void uv_env_timers_init(struct uv_env *u)
{
    (void)uv_timer_init(&u->loop, &u->alarm);
    u->alarm.data = u;
}
