/* node_scrub.c — a slow look at every page of the image, again and again, so that damage is found while others
 * still have what was there.
 *
 * A few pages a second (64: 256 KB with SQLite's usual pages), and after each pass an hour's rest: a disk's
 * surface ages in weeks. What is found is named, never served, and repaired (node_repair.c). */
#include "node_int.h"

enum { SCRUB_MS = 1000, SCRUB_PAGES = 64, SCRUB_REST_S = 3600 };

static uint64_t pages_of(const struct node *n)
{
    const struct image_moment *m = image_now(n->image.image);
    return (uint64_t)m->set[0].page_count + m->set[1].page_count;
}

static void scrub_run(struct node_image_task *t)
{
    struct node_scrub *s = LIST_ENTRY(t, struct node_scrub, task);
    struct image *im = t->node->image.image;
    uint64_t left = pages_of(t->node) > s->at ? pages_of(t->node) - s->at : 0;

    s->count = left < SCRUB_PAGES ? (uint32_t)left : SCRUB_PAGES;
    enum image_set set = s->set;
    uint32_t number = s->number;
    if (s->count)
        t->rc = image_scrub(im, &s->set, &s->number, s->count, &t->why);
    if (t->rc == ERR_BUSY) { /* a cut is being applied: the same pages next time */
        s->set = set;
        s->number = number;
    }
    if (t->rc ==
        ERR_IO) /* the disk does not give the page: as damaged as one that it gives changed */
        t->rc = ERR_CORRUPT;
}

static void scrubbed(struct node_image_task *t)
{
    struct node_scrub *s = LIST_ENTRY(t, struct node_scrub, task);
    struct node *n = t->node;
    uint64_t next_ns = (n->config.scrub_ms ? n->config.scrub_ms : SCRUB_MS) * ENV_MS_NS;

    if (n->phase != NODE_OPEN)
        return;
    if (t->rc == ERR_CORRUPT) {
        s->damaged++;
        node_repair_damaged(n, t->why.text);
    } else if (t->rc == 0) {
        s->at += s->count;
        s->pages += s->count;
    }
    if (s->count < SCRUB_PAGES) {
        s->passes += s->at > 0;
        s->at = 0;
        s->set = IMAGE_MAIN;
        s->number = 1;
        if (!n->config.scrub_ms)
            next_ns = SCRUB_REST_S * ENV_S_NS;
    }
    env_timer_arm(&s->timer, next_ns);
}

static void scrub_due(struct env_timer *timer)
{
    struct node_scrub *s = timer->ctx;
    struct node *n = s->task.node;

    if (n->phase != NODE_OPEN)
        return;
    if (n->repair.why || n->install.active)
        env_timer_arm(timer, ENV_S_NS);
    else
        node_image_submit(n, &s->task, ENV_LANE_READ, scrub_run, scrubbed);
}

void node_scrub_start(struct node *n)
{
    struct node_scrub *s = &n->scrub;

    s->task.node = n;
    s->set = IMAGE_MAIN;
    s->number = 1;
    env_timer_init(&s->timer, n->env, scrub_due, s);
    env_timer_arm(&s->timer, (n->config.scrub_ms ? n->config.scrub_ms : SCRUB_MS) * ENV_MS_NS);
}

void node_scrub_stop(struct node *n)
{
    if (n->scrub.task.node)
        env_timer_disarm(&n->scrub.timer);
}
