/* turn.c — what a turn of the loop is, and what happens at its end.
 *
 * libuv's round is: timers, pending, idle, prepare, poll, check, closing. We end a turn at prepare
 * (all that ran since the last poll is gathered before we may sleep), at check (all that one poll
 * brought) and before timers fire (what closing callbacks did). A hook scheduled by a hook waits
 * for the next of these; an active idle handle keeps the poll in between from blocking. */
#include "env_uv_int.h"

static bool something_waits(const struct uv_env *u)
{
    return u->hooks_head || !list_empty(&u->deferred) || !list_empty(&u->ripe) || u->held_head;
}

void uv_env_turn_end(struct uv_env *u)
{
    struct env_turn *t;

    ASSERT(u->hooks_running == NULL);
    u->hooks_running = u->hooks_head;
    u->hooks_head = NULL;
    u->hooks_tail = NULL;
    while ((t = u->hooks_running) != NULL) {
        u->hooks_running = t->next;
        t->next = NULL;
        t->scheduled = false;
        t->run(t);
    }
    while (!list_empty(&u->deferred))
        list_push_back(&u->ripe, list_pop_front(&u->deferred));
    u->turn++;
}

static void on_prepare(uv_prepare_t *handle)
{
    struct uv_env *u = handle->data;

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

static void on_idle(uv_idle_t *handle)
{
    struct uv_env *u = handle->data;
    struct list now;
    struct list *item;

    uv_env_jobs_release_held(u);
    list_init(&now);
    while ((item = list_pop_front(&u->ripe)) != NULL)
        list_push_back(&now, item);
    while ((item = list_pop_front(&now)) != NULL) { /* one may unlink another meanwhile */
        struct uv_deferred *d = LIST_ENTRY(item, struct uv_deferred, link);
        d->run(d);
    }
}

void uv_env_turn_init(struct uv_env *u)
{
    list_init(&u->deferred);
    list_init(&u->ripe);
    (void)uv_prepare_init(&u->loop, &u->prepare);
    (void)uv_check_init(&u->loop, &u->check);
    (void)uv_idle_init(&u->loop, &u->idle);
    u->prepare.data = u;
    u->check.data = u;
    u->idle.data = u;
    (void)uv_prepare_start(&u->prepare, on_prepare);
    (void)uv_check_start(&u->check, on_check);
}

void uv_env_turn_again(struct uv_env *u)
{
    (void)uv_idle_start(&u->idle, on_idle);
}

void uv_env_defer(struct uv_env *u, struct uv_deferred *d)
{
    ASSERT(list_empty(&d->link));
    list_push_back(&u->deferred, &d->link);
    uv_env_turn_again(u);
}

void uv_env_turn_schedule(struct env_turn *t)
{
    struct uv_env *u = uv_env_of(t->env);

    uv_env_check_loop(u);
    t->scheduled = true;
    t->next = NULL;
    if (u->hooks_tail)
        u->hooks_tail->next = t;
    else
        u->hooks_head = t;
    u->hooks_tail = t;
}

/* Take t out of the singly linked list at *link; the lists hold a handful of hooks. */
static bool unlink_hook(struct env_turn **link, struct env_turn *t)
{
    while (*link && *link != t)
        link = &(*link)->next;
    if (!*link)
        return false;
    *link = t->next;
    return true;
}

void uv_env_turn_cancel(struct env_turn *t)
{
    struct uv_env *u = uv_env_of(t->env);

    uv_env_check_loop(u);
    if (!unlink_hook(&u->hooks_running, t)) {
        bool found = unlink_hook(&u->hooks_head, t);
        ASSERT(found);
        u->hooks_tail = u->hooks_head;
        while (u->hooks_tail && u->hooks_tail->next)
            u->hooks_tail = u->hooks_tail->next;
    }
    t->next = NULL;
    t->scheduled = false;
}
