/* node_upkeep.c — automatic VACUUM and ANALYZE: when it is time, the leader puts one into the log, so that all
 * nodes do it at the same index. It counts from the last one, which every node knows from the log, else from
 * the first write of all; never when nothing was written since.
 *
 *   look (timer) ─► due? ─► VACUUM: is there room? (READ: the disk) ─► an entry of our own ─► applied
 *
 * A VACUUM writes the whole database anew: to the WAL, and then, with the next cut, to the image's journal. */
#include "node_int.h"

enum {
    LOOK_MIN_MS = 100,
    LOOK_MAX_MS = 10 * 1000,
    PUT_OFF_MS = 10 * 60 * 1000, /* and no sooner, when there was no room */
    ENTRY_MS = 60 * 1000,
};

static bool may_look(const struct node *n)
{
    return n->phase == NODE_OPEN && n->view.role == RAFT_LEADER && !n->view.transferring &&
           !n->upkeep.busy && !n->upkeep.in_lane;
}

static bool due(const struct node *n, const struct db_upkeep_time *last, uint64_t interval_ms)
{
    const struct db_state *s = &n->apply.state;
    int64_t base = last->wall_ns ? last->wall_ns : s->upkeep.first_wall_ns;
    int64_t now = env_wall_ns(n->env);

    return interval_ms && base && s->changed_index > last->index && now > base &&
           (uint64_t)(now - base) / ENV_MS_NS >= interval_ms;
}

/* ---- an entry of our own ------------------------------------------------------------------------------- */

static void answered(void *ctx, const struct node_answer *a)
{
    struct node *n = ctx;

    n->upkeep.busy = false;
    if (a->rc)
        env_log(n->env, "store", "automatic maintenance: %s",
                a->text && a->text[0] ? a->text : err_text_of(a->rc));
}

static void propose(struct node *n, const char *sql)
{
    struct node_request r = {.forwarded = true}; /* should we not lead any more: nobody does it */
    struct buf b;

    buf_init(&b, LIMIT_ENTRY_BYTES);
    wire_cmd_begin(&b, WIRE_CMD_EXECUTE, WIRE_CMD_UPKEEP, slice_of(NULL, 0));
    wire_cmd_statement(&b, slice_str(sql));
    int rc = wire_cmd_finish(&b);
    r.f.kind = WIRE_EXECUTE;
    r.f.timeout_ms = ENTRY_MS;
    r.f.payload = buf_slice(&b);
    n->upkeep.busy = true;
    if (rc == 0)
        rc = node_submit(n, &r, answered, n, NULL);
    if (rc)
        n->upkeep.busy = false; /* the next look tries again */
    buf_fini(&b);
}

/* ---- room ------------------------------------------------------------------------------------------------- */

static void room_run(struct env_job *job)
{
    struct node *n = LIST_ENTRY(job, struct node, upkeep.job);

    if (env_disk_free(n->env, n->dir, &n->upkeep.free_bytes))
        n->upkeep.free_bytes = UINT64_MAX; /* not known: the write itself will tell */
}

/* Of 2.2 times the database in all, one is there: its image. On disk the WAL is not in memory. */
static uint64_t room_needed(const struct node *n)
{
    uint64_t bytes = n->apply.state.page_count * (uint64_t)n->db_facts.page_size;
    return n->config.db.on_disk ? bytes / 5 * 11 : bytes / 5 * 6;
}

static void room_known(struct env_job *job)
{
    struct node *n = LIST_ENTRY(job, struct node, upkeep.job);
    struct node_upkeep *u = &n->upkeep;
    uint64_t needed = room_needed(n);

    u->in_lane = false;
    if (may_look(n) && u->free_bytes < needed) {
        n->counters.vacuums_put_off++;
        u->not_before_ns = env_now_ns(n->env) + PUT_OFF_MS * ENV_MS_NS;
        env_log(n->env, "store",
                "automatic VACUUM put off: it needs %llu bytes of disk, %llu are free",
                (unsigned long long)needed, (unsigned long long)u->free_bytes);
    } else if (may_look(n)) {
        propose(n, DB_UPKEEP_VACUUM);
    }
    n->up.lane_idle(n);
}

/* ---- when ------------------------------------------------------------------------------------------------------ */

static uint64_t look_every_ms(const struct node *n)
{
    uint64_t a = n->config.vacuum_interval_ms, b = n->config.optimize_interval_ms;
    uint64_t least = a && (b == 0 || a < b) ? a : b;

    return least < LOOK_MIN_MS ? LOOK_MIN_MS : least > LOOK_MAX_MS ? LOOK_MAX_MS : least;
}

static void look_fired(struct env_timer *timer)
{
    struct node *n = timer->ctx;
    struct node_upkeep *u = &n->upkeep;
    const struct db_upkeep *last = &n->apply.state.upkeep;

    env_timer_arm(timer, look_every_ms(n) * ENV_MS_NS);
    if (!may_look(n))
        return;
    if (env_now_ns(n->env) >= u->not_before_ns &&
        due(n, &last->vacuum, n->config.vacuum_interval_ms)) {
        u->in_lane = true;
        u->job.run = room_run;
        u->job.done = room_known;
        env_job_submit(n->env, ENV_LANE_READ, &u->job);
    } else if (due(n, &last->optimize, n->config.optimize_interval_ms)) {
        propose(n, DB_UPKEEP_OPTIMIZE);
    }
}

/* A batch was applied: did it hold one? */
void node_upkeep_applied(struct node *n)
{
    const struct db_upkeep_counts *c = &n->apply.state.counters.vacuums;

    if (c->done > n->upkeep.vacuums)
        env_log(n->env, "store", "database vacuumed in %llu ms",
                (unsigned long long)(c->last_ns / ENV_MS_NS));
    n->upkeep.vacuums = c->done;
}

void node_upkeep_start(struct node *n)
{
    if (n->config.vacuum_interval_ms || n->config.optimize_interval_ms)
        env_timer_arm(&n->upkeep.timer, look_every_ms(n) * ENV_MS_NS);
}

void node_upkeep_stop(struct node *n)
{
    env_timer_disarm(&n->upkeep.timer);
}

void node_upkeep_init(struct node *n)
{
    env_timer_init(&n->upkeep.timer, n->env, look_fired, n);
}
