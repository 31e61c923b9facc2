/* round.c — one round of libuv's loop, and where turns begin and end in it.
 *
 *      timers   pending   idle   prepare    poll (may sleep)   check    closing
 *        │                          │                           │
 *        └ a turn ends      what the last turn put off;         └ jobs delivered; a turn ends
 *          before they fire       a turn ends
 *
 * At prepare all that ran since the last poll is gathered before we may sleep, at check all that one
 * poll brought, before timers fire what closing callbacks did. While something waits for the next
 * turn the idle handle is active: libuv then polls without blocking. */
#include "env_uv_int.h"

static bool something_waits(const struct uv_env *u)
{
    return u->hooks_head || !list_empty(&u->deferred) || !list_empty(&u->ripe) || u->held_head;
}

static void on_prepare(uv_prepare_t *handle)
{
    struct uv_env *u = handle->data;

    uv_env_jobs_release_held(u);
    uv_env_ripe_run(u);
    uv_env_turn_end(u);
    uv_env_timers_set_alarm(u);
    if (something_waits(u))
        uv_env_turn_again(u);
    else
        (void)uv_idle_stop(&u->idle);
    uv_env_jobs_before_sleep(u);
}

static void on_check(uv_check_t *handle)
{
    uv_env_jobs_deliver(handle->data);
    uv_env_turn_end(handle->data);
}

void uv_env_round_init(struct uv_env *u)
{
    (void)uv_prepare_init(&u->loop, &u->prepare);
    (void)uv_check_init(&u->loop, &u->check);
    u->prepare.data = u;
    u->check.data = u;
    (void)uv_prepare_start(&u->prepare, on_prepare);
    (void)uv_check_start(&u->check, on_check);
}
