/* peer_dial.c — the members we keep a line to, and when to dial them again.
 *
 * Called by peer.c. A line that was open for a while and is lost is redialled at once: if that is
 * refused, the process behind it is probably gone, and the owner hears it before any timeout
 * would tell. Everything else waits: backoff_min, doubled per failure up to backoff_max, the second
 * half of it by chance, so that nodes restarted together do not knock together. Who was there for longer than
 * the wait before is waited for as at first: a network that resets connections all the time must not cost a
 * leader its quorum. */
#include "peer_int.h"
#include <rq/util/assert.h>
#include <rq/util/mem.h>

static void dest_dial_later(struct peer_dest *d, uint64_t after_ns)
{
    ASSERT(d->line == NULL);
    env_timer_arm(&d->timer, after_ns);
}

/* At the most, before the next attempt. */
static uint64_t backoff_most_ns(const struct peer_dest *d)
{
    const struct peer_config *c = &d->set->config;
    uint64_t ms = c->backoff_min_ms;

    for (uint32_t i = 1; i < d->failures && ms < c->backoff_max_ms; i++)
        ms *= 2;
    return (ms > c->backoff_max_ms ? c->backoff_max_ms : ms) * ENV_MS_NS;
}

static uint64_t backoff_ns(struct peer_dest *d)
{
    uint64_t half = backoff_most_ns(d) / 2;
    return half + env_random_u64(d->set->env) % (half + 1);
}

static void dest_failed(struct peer_dest *d)
{
    d->failures++;
    dest_dial_later(d, backoff_ns(d));
}

static void complain(struct peer_dest *d, int rc)
{
    if (d->complained || (rc != ERR_IDENTITY && rc != ERR_VERSION))
        return;
    d->complained = true;
    env_log(d->set->env, "cluster", "the node at %s is not the member expected there: %s", d->addr,
            err_text_of(rc));
}

/* The sockets of a process that was killed do not close all at once: its listener may still take our redial,
 * which then dies unheard. A member that lives and hangs up looks the same; so only a refusal tells. */
static bool line_died_unheard(const struct peer_line *line)
{
    const struct peer_dest *d = line->dest;

    return d->fresh_loss && !line->was_open && line->heard_ns != 0 &&
           (line->end_rc == ERR_RESET || line->end_rc == ERR_EOF) && d->unheard < PEER_UNHEARD_MAX;
}

/* A line for d is over. Its end says what to do next. */
static void dest_line_gone(struct peer_line *line)
{
    struct peer_set *s = line->set;
    struct peer_dest *d = line->dest;

    if (!d)
        return; /* no longer a member */
    bool refused = d->fresh_loss && !line->was_open && line->heard_ns == 0 &&
                   (line->end_rc == ERR_REFUSED || line->end_rc == ERR_RESET);
    uint64_t lived_ns = line->was_open ? env_now_ns(s->env) - line->opened_ns : 0;
    raft_id id = d->id;

    d->line = NULL;
    if (line_died_unheard(line)) {
        d->unheard++;
        dest_dial_later(d, PEER_UNHEARD_MS * ENV_MS_NS);
        return;
    }
    d->unheard = 0;
    d->fresh_loss = line->was_open && !line->said_bye && line->end_rc != 0;
    complain(d, line->end_rc);
    if (line->was_open)
        d->complained = false;
    if (lived_ns >= s->config.backoff_max_ms * ENV_MS_NS)
        d->failures = 0;
    else if (lived_ns >= backoff_most_ns(d))
        d->failures = 1; /* broken again and again, it must not be away for longer than it was there */
    else
        d->failures++; /* also what opens and dies at once, or we would knock without pause */
    dest_dial_later(d, d->fresh_loss && d->failures == 0 ? 0 : backoff_ns(d));
    if (refused && !s->stopping)
        s->events->refused(s->ctx, id);
}

static void dest_timer_fired(struct env_timer *t)
{
    struct peer_dest *d = t->ctx;
    struct peer_line *line;

    if (peer_line_dial(d->set, d->addr, d->set->config.dial_timeout_ms, dest_line_gone, &line)) {
        dest_failed(d);
        return;
    }
    line->dest = d;
    line->expect_id = d->id;
    line->expect_store_id = d->store_id;
    d->line = line;
}

/* ---- the list --------------------------------------------------------------------------------- */

/* The line, if any, says goodbye on its own; it is nobody's now. */
static void dest_let_go(struct peer_dest *d)
{
    env_timer_disarm(&d->timer);
    if (d->line) {
        d->line->dest = NULL;
        peer_line_bye(d->line);
    }
    mem_free(d->addr);
    mem_free(d);
}

static struct peer_dest *dest_new(struct peer_set *s, const struct peer_member *m)
{
    struct peer_dest *d = mem_zalloc(sizeof(*d));

    if (!d)
        return NULL;
    d->addr = mem_strdup(m->addr);
    if (!d->addr) {
        mem_free(d);
        return NULL;
    }
    d->set = s;
    d->id = m->id;
    d->store_id = m->store_id;
    env_timer_init(&d->timer, s->env, dest_timer_fired, d);
    return d;
}

/* Where in the list the same member at the same place is. NULL: nowhere. */
static struct peer_dest **dest_find(struct peer_set *s, const struct peer_member *m)
{
    for (uint32_t i = 0; i < s->dest_count; i++) {
        struct peer_dest *d = s->dests[i];
        if (d && d->id == m->id && d->store_id == m->store_id && strcmp(d->addr, m->addr) == 0)
            return &s->dests[i];
    }
    return NULL;
}

/* A new dest for each member that is not known yet, in place; ERR_NOMEM: none at all. */
static int dests_make(struct peer_set *s, const struct peer_member *members, uint32_t count,
                      struct peer_dest **made)
{
    for (uint32_t i = 0; i < count; i++) {
        if (members[i].id == s->self.id || dest_find(s, &members[i]))
            continue;
        made[i] = dest_new(s, &members[i]);
        if (made[i])
            continue;
        for (uint32_t j = 0; j < i; j++)
            if (made[j])
                dest_let_go(made[j]);
        return ERR_NOMEM;
    }
    return 0;
}

int peer_members_set(struct peer_set *s, const struct peer_member *members, uint32_t count)
{
    struct peer_dest *next[RAFT_NODES_MAX] = {NULL};
    uint32_t next_count = 0;

    ASSERT(count <= RAFT_NODES_MAX);
    ASSERT(!s->stopping);
    int rc = dests_make(s, members, count, next);
    if (rc)
        return rc;
    for (uint32_t i = 0; i < count; i++) { /* close the gaps as we go: next_count <= i */
        struct peer_dest *made = next[i];
        struct peer_dest **kept = made ? NULL : dest_find(s, &members[i]);
        next[i] = NULL;
        if (made)
            dest_dial_later(made, 0);
        if (made || kept)
            next[next_count++] = made ? made : *kept;
        if (kept)
            *kept = NULL; /* taken out of the former list */
    }
    for (uint32_t i = 0; i < s->dest_count; i++)
        if (s->dests[i])
            dest_let_go(s->dests[i]);
    memcpy(s->dests, next, sizeof(next));
    s->dest_count = next_count;
    return 0;
}

peer_conn peer_conn_of(const struct peer_set *s, raft_id member)
{
    for (uint32_t i = 0; i < s->dest_count; i++) {
        const struct peer_line *line = s->dests[i]->line;
        if (s->dests[i]->id == member)
            return line && line->state == PEER_OPEN ? line->number : 0;
    }
    return 0;
}

void peer_dial_stop(struct peer_set *s)
{
    for (uint32_t i = 0; i < s->dest_count; i++)
        dest_let_go(s->dests[i]);
    s->dest_count = 0;
}

/* ---- strangers -------------------------------------------------------------------------------- */

static void stranger_gone(struct peer_line *line)
{
    ASSERT(line->dialled);
}

int peer_dial(struct peer_set *s, const char *addr, uint64_t timeout_ms, peer_conn *out)
{
    struct peer_line *line;

    ASSERT(!s->stopping && timeout_ms > 0);
    int rc = peer_line_dial(s, addr, timeout_ms, stranger_gone, &line);
    if (rc)
        return rc;
    line->told = true; /* lost() is owed from here on */
    *out = line->number;
    return 0;
}
