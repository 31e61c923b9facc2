/* node_pace.c — how fast work that nobody waits for may use the disk, which the log is on too: what the log syncs waits
 * behind what others sync. So such work is done in pieces that are with the disk within some milliseconds, and rests
 * after each, in proportion. The size of a piece follows what the disk did with the last ones. */
#include "node_int.h"

enum {
    PIECE_FIRST = 512 * 1024,
    PIECE_MIN = 128 * 1024,
    PIECE_MAX = 1024 * 1024,
    REST_FACTOR = 2, /* so a third of the disk's time at most */
};
#define PIECE_AIM_NS (4 * ENV_MS_NS)
#define REST_MAX_NS (50 * ENV_MS_NS) /* however slow a piece was: all of it comes to an end */

uint64_t node_pace_bytes(const struct node_pace *p)
{
    return p->piece_bytes;
}

void node_pace_took(struct node_pace *p, uint64_t took_ns)
{
    uint64_t bytes = p->piece_bytes;

    if (took_ns > PIECE_AIM_NS)
        bytes /= 2;
    else if (took_ns < PIECE_AIM_NS / 2)
        bytes *= 2;
    p->piece_bytes = bytes < PIECE_MIN ? PIECE_MIN : bytes > PIECE_MAX ? PIECE_MAX : bytes;
    p->rest_ns = took_ns < REST_MAX_NS / REST_FACTOR ? took_ns * REST_FACTOR : REST_MAX_NS;
}

static void rested(struct env_timer *timer)
{
    struct node_pace *p = timer->ctx;
    struct node *n = p->task->node;

    if (n->phase == NODE_OPEN)
        node_image_submit(n, p->task, ENV_LANE_READ, p->run, p->done);
}

void node_pace_submit(struct node_pace *p, bool hurry, void (*run)(struct node_image_task *t),
                      void (*done)(struct node_image_task *t))
{
    uint64_t rest_ns = hurry ? 0 : p->rest_ns;

    p->run = run;
    p->done = done;
    p->rest_ns = 0; /* once it is submitted, the task's lane may be writing it */
    if (rest_ns == 0)
        node_image_submit(p->task->node, p->task, ENV_LANE_READ, run, done);
    else
        env_timer_arm(&p->timer, rest_ns);
}

void node_pace_stop(struct node_pace *p)
{
    env_timer_disarm(&p->timer);
}

void node_pace_init(struct node_pace *p, struct node *n, struct node_image_task *task)
{
    task->node = n;
    p->task = task;
    p->piece_bytes = PIECE_FIRST;
    p->rest_ns = 0;
    env_timer_init(&p->timer, n->env, rested, p);
}
