/* turn.c — what waits for the end of a turn, and what for the next one. round.c says when that is.
 *
 * Hooks run at the end of the turn that scheduled them; a hook scheduled by a hook, at the next end.
 * Deferred work of a turn becomes ripe at its end and runs at the start of a later round. */
#include "env_uv_int.h"

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

void uv_env_ripe_run(struct uv_env *u)
{
    struct list now;
    struct list *item;

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
    (void)uv_idle_init(&u->loop, &u->idle);
}

static void on_idle(uv_idle_t *handle)
{
    (void)handle; /* that it is active is all */
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
