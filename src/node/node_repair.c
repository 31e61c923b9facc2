/* node_repair.c — this node's database is not what it should be: damaged, or different from the others'. It is
 * fetched anew from a node that has it.
 *
 *   damaged image at start, divergence, damage under a database on disk
 *     ─► held: nothing applied, read or cut ─► no longer leader ─► fetch an image ─► node_install.c ─► go on
 *   damaged image beside a database in memory
 *     ─► the next cut writes all pages; nothing is held
 *
 * Log and hard state are intact all the while: the node votes and stores entries, which promises nothing that it
 * cannot keep, and applies them once it has a database that holds what is before them. The image fetched must
 * therefore reach as far as what was applied here. */
#include "node_int.h"

enum { REPAIR_TRY_MS = 500 };

/* ---- from whom -------------------------------------------------------------------------------------------- */

static bool may_lend(const struct node_repair *r, raft_id id)
{
    for (uint32_t i = 0; i < r->lender_count; i++)
        if (r->lenders[i] == id)
            return true;
    return r->lender_count == 0;
}

/* The leader, if it has what we lack; else one after the other. 0: nobody now. */
static raft_id lender_choose(struct node *n)
{
    struct node_repair *r = &n->repair;
    const struct wire_conf *conf = node_confs_latest(&n->confs);
    raft_id leader = n->view.leader;

    if (leader == 0 || !conf)
        return 0; /* no quorum that knows what is committed */
    if (leader != n->id && may_lend(r, leader) && r->tries % 4 != 3)
        return leader;
    for (uint32_t i = 0; i < conf->count; i++) {
        raft_id id = conf->members[(r->tries + i) % conf->count].id;
        if (id != n->id && may_lend(r, id) && node_conn_to(n, id))
            return id;
    }
    return 0;
}

static void fetch_try(struct node *n)
{
    struct node_repair *r = &n->repair;
    raft_id from = n->fetch.active || n->install.active ? 0 : lender_choose(n);

    if (from == 0)
        return;
    r->tries++;
    node_fetch_pull(n, from, n->apply.applied);
}

static void tried(struct env_timer *timer)
{
    struct node *n = timer->ctx;
    struct raft_in in = {.kind = RAFT_IN_TRANSFER};
    uint32_t slower = n->repair.tries < 6 ? n->repair.tries : 6;

    env_timer_arm(timer, (REPAIR_TRY_MS * ENV_MS_NS) << slower);
    if (!n->repair.held) {
        n->repair.tries++;
        node_cut_heal(n);
    } else if (n->view.role == RAFT_LEADER) {
        if (!n->view.transferring && n->up.step(n, &in) == 0)
            env_log(n->env, "repair", "handing leadership over: the database here cannot be used");
    } else {
        fetch_try(n);
    }
}

/* ---- begin and end ------------------------------------------------------------------------------------------ */

static void repair_begin(struct node *n, enum node_repair_why why, bool held, const char *text)
{
    struct node_repair *r = &n->repair;

    if (r->why && (r->held || !held))
        return;
    r->why = why;
    r->held = held;
    r->tries = 0;
    r->since_ns = env_wall_ns(n->env);
    (void)err_set(&r->text, ERR_CORRUPT, "%s", text);
    env_log(n->env, "repair", "%s", text);
    env_log(n->env, "repair", "%s",
            held ? "this node serves nothing until it has fetched the database from another one"
                 : "the image is written anew from the database in memory");
    n->counters.repairs_begun++;
    if (held)
        node_read_replaced(n, true);
    env_timer_arm(&r->timer, 0);
}

bool node_repair_possible(const struct node *n)
{
    const struct wire_conf *conf = node_confs_latest(&n->confs);

    for (uint32_t i = 0; conf && i < conf->count; i++)
        if (conf->members[i].voter && conf->members[i].id != n->id)
            return true;
    return false;
}

void node_repair_damaged(struct node *n, const char *text)
{
    if (n->repair.why || n->phase != NODE_OPEN)
        return;
    if (n->config.db.on_disk && !node_repair_possible(n)) {
        if (!n->repair.text.text[0]) /* once */
            env_log(n->env, "repair", "%s; there is no other node to fetch it from", text);
        (void)err_set(&n->repair.text, ERR_CORRUPT, "%s", text);
        return;
    }
    repair_begin(n, REPAIR_DAMAGED, n->config.db.on_disk, text);
}

bool node_repair_broken(struct node *n, const char *text)
{
    if (n->phase != NODE_OPEN || !node_repair_possible(n))
        return false;
    repair_begin(n, REPAIR_DAMAGED, true, text[0] ? text : "the database is damaged");
    return n->repair.held;
}

void node_repair_start(struct node *n)
{
    if (n->open_damage.text[0])
        repair_begin(n, REPAIR_DAMAGED, true, n->open_damage.text);
}

void node_repair_diverged(struct node *n, const char *text, const raft_id *lenders, uint32_t count)
{
    struct node_repair *r = &n->repair;

    if (r->held)
        return;
    ASSERT(count > 0 && count <= RAFT_NODES_MAX);
    memcpy(r->lenders, lenders, count * sizeof(*lenders));
    r->lender_count = count;
    repair_begin(n, REPAIR_DIVERGED, true, text);
}

void node_repair_over(struct node *n)
{
    struct node_repair *r = &n->repair;

    if (!r->why)
        return;
    env_log(n->env, "repair", "repaired: the %s is whole again, as of index %llu",
            r->held ? "database" : "image", (unsigned long long)n->image.index);
    n->counters.repairs++;
    env_timer_disarm(&r->timer);
    r->why = REPAIR_NONE;
    r->held = false;
    r->lender_count = 0;
    r->text.text[0] = '\0';
}

void node_repair_init(struct node *n)
{
    env_timer_init(&n->repair.timer, n->env, tried, n);
}

void node_repair_stop(struct node *n)
{
    env_timer_disarm(&n->repair.timer);
}
