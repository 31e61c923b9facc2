/* job.c — lanes: a queue and its threads; finished jobs come back to the loop.
 *
 * There: one mutex per lane, a signal only when work is added; a lane thread that finds more work
 * does not sleep in between. Back: a lock-free stack that the loop takes whole; only the push onto
 * an empty stack rings the loop. Waking a sleeping core costs more than everything else here, so
 * each direction wakes at most once per batch.
 *
 * A job that finishes within the turn that submitted it is held until the next turn: done() never
 * comes before the end-of-turn hooks of the turn that caused it. */
#include "env_uv_int.h"

static void lane_push(struct uv_lane *lane, struct env_job *j)
{
    uv_mutex_lock(&lane->mutex);
    if (lane->tail)
        lane->tail->next = j;
    else
        lane->head = j;
    lane->tail = j;
    uv_mutex_unlock(&lane->mutex);
    uv_cond_signal(&lane->wake);
}

/* Next job, sleeping until there is one; NULL when the lane stops. */
static struct env_job *lane_pop(struct uv_lane *lane)
{
    struct env_job *j = NULL;

    uv_mutex_lock(&lane->mutex);
    while (!lane->head && !lane->stopping)
        uv_cond_wait(&lane->wake, &lane->mutex);
    if (!lane->stopping) {
        j = lane->head;
        lane->head = j->next;
        if (!lane->head)
            lane->tail = NULL;
    }
    uv_mutex_unlock(&lane->mutex);
    return j;
}

/* Either we see that the loop sleeps, or the loop, having said so, sees our job before it does: both
 * sides write first and look then, in one total order (memory_order_seq_cst throughout). */
static void finished_push(struct uv_env *u, struct env_job *j)
{
    struct env_job *top = atomic_load(&u->finished);

    do
        j->next = top;
    while (!atomic_compare_exchange_weak(&u->finished, &top, j));
    if (!top && atomic_load(&u->asleep))
        (void)uv_async_send(&u->finished_async);
}

void uv_env_jobs_before_sleep(struct uv_env *u)
{
    atomic_store(&u->asleep, true);
    if (atomic_load(&u->finished))
        uv_env_turn_again(u);
}

/* All finished jobs, oldest first. */
static struct env_job *finished_take(struct uv_env *u)
{
    struct env_job *stack = atomic_exchange(&u->finished, NULL);
    struct env_job *oldest = NULL;

    while (stack) {
        struct env_job *next = stack->next;
        stack->next = oldest;
        oldest = stack;
        stack = next;
    }
    return oldest;
}

static void lane_main(void *arg)
{
    struct uv_lane *lane = arg;
    struct env_job *j;

    while ((j = lane_pop(lane)) != NULL) {
        j->run(j);
        finished_push(lane->owner, j);
    }
}

static void finish(struct env_job *j)
{
    ASSERT(j->submitted);
    j->submitted = false;
    j->next = NULL;
    j->done(j);
}

static void hold(struct uv_env *u, struct env_job *j)
{
    j->next = NULL;
    if (u->held_tail)
        u->held_tail->next = j;
    else
        u->held_head = j;
    u->held_tail = j;
    uv_env_turn_again(u);
}

void uv_env_jobs_release_held(struct uv_env *u)
{
    struct env_job *j = u->held_head;

    u->held_head = NULL;
    u->held_tail = NULL;
    while (j) {
        struct env_job *next = j->next;
        if (j->turn == u->turn)
            hold(u, j);
        else
            finish(j);
        j = next;
    }
}

/* The poll returned, and that is all: on_check delivers. */
static void on_rung(uv_async_t *async)
{
    struct uv_env *u = async->data;

    atomic_store(&u->asleep, false);
}

/* Held jobs finished earlier than those on the stack, so they go first: a lane's order is kept. */
void uv_env_jobs_deliver(struct uv_env *u)
{
    atomic_store(&u->asleep, false);
    uv_env_jobs_release_held(u);
    struct env_job *j = finished_take(u);
    while (j) {
        struct env_job *next = j->next;
        if (j->turn == u->turn || u->held_head)
            hold(u, j);
        else
            finish(j);
        j = next;
    }
}

void uv_env_job_submit(struct env *e, enum env_lane lane, struct env_job *j)
{
    struct uv_env *u = uv_env_of(e);

    uv_env_check_loop(u);
    j->turn = u->turn;
    lane_push(&u->lanes[lane], j);
}

static int lane_start(struct uv_env *u, struct uv_lane *lane, unsigned thread_count)
{
    lane->owner = u;
    if (uv_mutex_init(&lane->mutex) != 0 || uv_cond_init(&lane->wake) != 0)
        env_halt(&u->base, "no mutex for a lane");
    lane->threads = mem_must_zalloc(thread_count * sizeof(*lane->threads));
    for (; lane->thread_count < thread_count; lane->thread_count++)
        if (uv_thread_create(&lane->threads[lane->thread_count], lane_main, lane) != 0)
            return ERR_NOMEM;
    return 0;
}

int uv_env_jobs_start(struct uv_env *u, unsigned read_threads)
{
    int rc = 0;

    atomic_init(&u->finished, NULL);
    atomic_init(&u->asleep, false);
    if (uv_async_init(&u->loop, &u->finished_async, on_rung) != 0)
        env_halt(&u->base, "no descriptor to wake the loop");
    u->finished_async.data = u;
    for (int i = 0; i < ENV_LANE_COUNT; i++) {
        int lane_rc = lane_start(u, &u->lanes[i], i == ENV_LANE_READ ? read_threads : 1);
        rc = rc ? rc : lane_rc;
    }
    return rc;
}

static void lane_stop(struct uv_lane *lane)
{
    uv_mutex_lock(&lane->mutex);
    lane->stopping = true;
    uv_mutex_unlock(&lane->mutex);
    uv_cond_broadcast(&lane->wake);
    for (unsigned i = 0; i < lane->thread_count; i++)
        (void)uv_thread_join(&lane->threads[i]);
    mem_free(lane->threads);
    uv_cond_destroy(&lane->wake);
    uv_mutex_destroy(&lane->mutex);
}

void uv_env_jobs_stop(struct uv_env *u)
{
    for (int i = 0; i < ENV_LANE_COUNT; i++)
        lane_stop(&u->lanes[i]);
}
