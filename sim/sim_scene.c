/* sim_scene.c — after the faults, a scene in some seeds: a moment of storage that chance meets too rarely, arranged
 * with broken links, full disks and what an operator may ask for.
 *
 *   LATE      a node is cut off until the leader's log begins behind its own end; it comes back, and while the image
 *             is on its way it loses the leader, which hands over: the next one's log may lead on from where it is. Then
 *             the image arrives, older than what is there.
 *   TRICKLE   likewise cut off; then each connection that brings the image breaks when two pieces have come. It must
 *             arrive all the same (L3).
 *   FULL      the leader's disk is full. It reads on, refuses writes with 503, and lets another one lead, who writes;
 *             then there is room again (N5).
 *   FORCED    sim_forced.c
 *
 * Clients work on meanwhile, but for TRICKLE: there nothing changes but by the scene's own hand. What comes of it is
 * judged by all oracles, as ever. */
#include "sim_run.h"
#include <rq/util/assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    BEHIND_WRITES = 6,
    TRICKLE_PIECES = 2,
    TRICKLE_BREAKS = 40,
    TRICKLE_LIMIT_S = 240,
    FULL_WRITES = 120, /* of so many bytes: more than any log has room for */
    FULL_BYTES = 16 * 1024,
    FULL_READS = 5,
    FULL_TAKES_OVER_S = 30
};

struct sim_scene {
    struct sim_server *leader, *victim;
    uint64_t target;           /* an index that the victim is to reach */
    uint64_t installs, pieces; /* its counters, as last looked at */
    uint64_t incarnation[2];   /* of leader and victim, when the scene began */
    uint32_t breaks, breaks_most;
    struct sim_server *asked;
    struct node_status status; /* of it */
};

/* ---- what is there ---------------------------------------------------------------------------------------- */

static bool everybody_serves(struct sim *s)
{
    for (uint32_t i = 0; i < s->plan.node_count; i++)
        if (!s->servers[i].node || !s->servers[i].open || s->servers[i].stopping)
            return false;
    return sim_leader(s) != NULL;
}

static bool same_processes(const struct sim_scene *x)
{
    return x->leader->node && x->victim->node && x->leader->open && x->victim->open &&
           host_incarnation(x->leader->host) == x->incarnation[0] &&
           host_incarnation(x->victim->host) == x->incarnation[1];
}

static uint64_t last_index(const struct sim_server *v)
{
    struct raft_view view;

    raft_look(node_raft(v->node), &view);
    return view.last_index;
}

static uint64_t applied_index(const struct sim_server *v)
{
    struct raft_view view;

    raft_look(node_raft(v->node), &view);
    return view.applied_index;
}

static void status_run(struct env *e, void *ctx)
{
    struct sim_scene *x = ctx;

    (void)e;
    node_status_get(x->asked->node, &x->status);
}

/* As its API tells it. */
static const struct node_status *status_of(struct sim *s, struct sim_server *v)
{
    struct sim_scene *x = s->scene;

    memset(&x->status, 0, sizeof(x->status));
    x->asked = v;
    if (v->node && v->open)
        (void)host_call(v->host, status_run, x);
    return &x->status;
}

/* Some may have been damaged beyond repair: then nobody else is cut off. */
static bool cast_fits(struct sim *s, uint32_t least)
{
    if (s->plan.voter_count < least)
        return false;
    for (uint32_t i = 0; i < s->plan.node_count; i++)
        if (s->servers[i].dead_for_good || sim_excused(&s->servers[i]))
            return false;
    return sim_go(s, 30 * ENV_S_NS, everybody_serves);
}

/* ---- a node falls behind ----------------------------------------------------------------------------------- */

static bool ask(struct sim *s, struct sim_server *v, const char *target, const char *body)
{
    int status = 0;

    if (!v || !v->node || !v->open)
        return false;
    char *answer = sim_ask(s, v, "POST", target, body, 5 * ENV_S_NS, &status);
    free(answer);
    return status == 200;
}

static void write_some(struct sim *s, struct sim_server *v, int count)
{
    static const char body[] = "[\"UPDATE kv SET v=v WHERE k=-1\"]";

    for (int i = 0; i < count && !s->result->violated; i++)
        (void)ask(s, v, "/db/execute?timeout=3s", body);
}

static void isolate(struct sim *s, const struct sim_server *v)
{
    struct host *hosts[SIM_NODES_MAX];

    for (uint32_t i = 0; i < s->plan.node_count; i++)
        hosts[i] = s->servers[i].host;
    world_partition_isolate(s->world, hosts, s->plan.node_count, v->at);
}

static bool log_is_gone(const struct sim_scene *x)
{
    struct raft_view view;

    raft_look(node_raft(x->leader->node), &view);
    return view.role == RAFT_LEADER && view.snapshot_index > last_index(x->victim);
}

/* The leader's log begins behind the victim's end, and the links are whole again. */
static bool fall_behind(struct sim *s)
{
    struct sim_scene *x = s->scene;
    bool gone = false;

    x->leader = sim_leader(s);
    x->victim = &s->servers[(x->leader->at + 1 + s->plan.seed % (s->plan.voter_count - 1)) %
                            s->plan.voter_count];
    if (x->leader->plan->replica || x->victim == x->leader)
        return false;
    x->incarnation[0] = host_incarnation(x->leader->host);
    x->incarnation[1] = host_incarnation(x->victim->host);
    isolate(s, x->victim);
    for (int tries = 0; tries < 5 && !gone && !s->result->violated; tries++) {
        write_some(s, x->leader, BEHIND_WRITES);
        (void)ask(s, x->leader, "/snapshot?trailing_logs=1", "");
        (void)sim_go(s, 300 * ENV_MS_NS, NULL);
        if (!same_processes(x))
            break;
        gone = log_is_gone(x);
    }
    struct node_counters c;
    if (gone) {
        node_counters_get(x->victim->node, &c);
        x->installs = c.installs;
        x->pieces = c.fetch_chunks;
        x->target = last_index(x->leader);
    }
    world_trace(s->world, "scene %s: %s is %sbehind %s", sim_scene_name(s->plan.scene),
                x->victim->name, gone ? "" : "not ", x->leader->name);
    for (uint32_t i = 0; i < s->plan.node_count; i++) /* else what was sent meanwhile arrives */
        if (&s->servers[i] != x->victim)
            world_reset_all(s->world, s->servers[i].host, x->victim->host);
    world_links_heal(s->world);
    return gone;
}

/* ---- LATE ---------------------------------------------------------------------------------------------------- */

static bool pieces_come(struct sim *s)
{
    struct sim_scene *x = s->scene;
    struct node_counters c;

    if (!same_processes(x))
        return true;
    node_counters_get(x->victim->node, &c);
    return c.installs > x->installs || c.fetch_chunks > x->pieces;
}

static bool another_leads(struct sim *s)
{
    struct sim_server *v = sim_leader(s);

    return v && v != s->scene->leader;
}

static bool has_gone_past(struct sim *s)
{
    struct sim_scene *x = s->scene;

    return !same_processes(x) || applied_index(x->victim) > x->target;
}

/* The lender goes on cutting: its image must be behind the victim when the links are whole again. */
static bool image_is_late(struct sim *s)
{
    struct sim_scene *x = s->scene;
    bool late = false;

    for (int tries = 0; tries < 5 && !late && same_processes(x); tries++) {
        x->target = status_of(s, x->leader)->snapshot_index;
        (void)sim_go(s, 2 * ENV_S_NS, has_gone_past);
        late = same_processes(x) && status_of(s, x->victim)->fetching &&
               applied_index(x->victim) > status_of(s, x->leader)->snapshot_index;
    }
    return late;
}

static void scene_late(struct sim *s)
{
    struct sim_scene *x = s->scene;
    uint64_t patience_ns = s->plan.heartbeat_timeout_ms * ENV_MS_NS;

    if (!fall_behind(s) || !sim_go(s, 20 * ENV_S_NS, pieces_come) || !same_processes(x) ||
        !status_of(s, x->victim)->fetching)
        return;
    world_link_set(s->world, x->leader->host, x->victim->host, false);
    world_link_set(s->world, x->victim->host, x->leader->host, false);
    sim_server_transfer(x->leader);
    if (sim_go(s, 10 * patience_ns + 5 * ENV_S_NS, another_leads)) {
        write_some(s, sim_leader(s), BEHIND_WRITES);
        s->result->scenes[SIM_SCENE_LATE] += image_is_late(s);
    }
    world_links_heal(s->world);
    (void)sim_go(s, 5 * ENV_S_NS, NULL);
}

/* ---- TRICKLE -------------------------------------------------------------------------------------------------- */

static void pages_count(void *ctx, const char *path, uint64_t size)
{
    const char *dot = strrchr(path, '.');

    if (dot &&
        (strcmp(dot, ".main") == 0 || strcmp(dot, ".keys") == 0 || strcmp(dot, ".sqlite") == 0))
        *(uint32_t *)ctx += (uint32_t)(size / SIM_PAGE_BYTES);
}

/* Something came, at each connection, so that it is through before long. */
static bool has_trickled(struct sim *s)
{
    struct sim_scene *x = s->scene;
    struct node_counters c;

    if (!same_processes(x) || applied_index(x->victim) >= x->target)
        return true;
    node_counters_get(x->victim->node, &c);
    if (c.fetch_chunks < x->pieces + TRICKLE_PIECES)
        return false;
    x->pieces = c.fetch_chunks;
    x->breaks++;
    world_reset_all(s->world, x->leader->host, x->victim->host);
    return x->breaks > x->breaks_most;
}

static void scene_trickle(struct sim *s)
{
    struct sim_scene *x = s->scene;
    uint32_t pages = 0;

    if (!fall_behind(s))
        return;
    sim_disk_list(host_disk(x->leader->host), false, pages_count, &pages);
    x->breaks = 0;
    x->breaks_most = TRICKLE_BREAKS + 2 * pages;
    bool ended = sim_go(s, TRICKLE_LIMIT_S * ENV_S_NS, has_trickled);
    if (s->result->violated || !same_processes(x))
        return;
    sim_evaluated(s, SIM_L3);
    s->result->scenes[SIM_SCENE_TRICKLE] += x->breaks > 0;
    if (!ended || applied_index(x->victim) < x->target)
        sim_violate(
            s, SIM_L3,
            "%s has not got an image of %u pages, of which at least %d pieces came over each "
            "of %u connections",
            x->victim->name, pages, TRICKLE_PIECES, x->breaks);
}

/* ---- FULL ------------------------------------------------------------------------------------------------------- */

static bool leads(const struct sim_server *v)
{
    struct raft_view view;

    if (!v->node || !v->open)
        return false;
    raft_look(node_raft(v->node), &view);
    return view.role == RAFT_LEADER;
}

/* A write that fills the log, and changes nothing. -1: it came without an answer. */
static int fill(struct sim *s, struct sim_server *v, bool *for_space)
{
    static char body[FULL_BYTES + 100];
    int status = 0;

    int n = snprintf(body, sizeof(body), "[\"UPDATE kv SET v=v WHERE k=-1 /* ");
    memset(body + n, 'x', FULL_BYTES);
    memcpy(body + n + FULL_BYTES, " */\"]", sizeof(" */\"]"));
    char *answer = sim_ask(s, v, "POST", "/db/execute?timeout=3s", body, 5 * ENV_S_NS, &status);
    *for_space = answer && strstr(answer, "no space left");
    free(answer);
    return status;
}

static void reads_on(struct sim *s, struct sim_server *v)
{
    uint64_t incarnation = host_incarnation(v->host);

    for (int i = 0; i < FULL_READS && !s->result->violated; i++) {
        int status = 0;
        char *answer = sim_ask(s, v, "GET", "/db/query?level=none&q=SELECT+count(*)+FROM+ledger",
                               "", 5 * ENV_S_NS, &status);
        bool read = answer && status == 200 && !strstr(answer, "\"error\"");
        free(answer);
        sim_evaluated(s, SIM_N5);
        if (!host_up(v->host) || host_incarnation(v->host) != incarnation)
            sim_violate(s, SIM_N5, "%s, whose disk is full, has stopped", v->name);
        else if (!read)
            sim_violate(s, SIM_N5, "%s, whose disk is full, does not answer a read", v->name);
        (void)sim_go(s, 100 * ENV_MS_NS, NULL);
    }
}

static void others_write(struct sim *s, const struct sim_server *full)
{
    uint64_t until = world_now_ns(s->world) + FULL_TAKES_OVER_S * ENV_S_NS;
    bool written = false;

    while (!written && world_now_ns(s->world) < until && !s->result->violated) {
        struct sim_server *v = sim_leader(s);
        if (v && v != full)
            written = ask(s, v, "/db/execute?timeout=3s", "[\"UPDATE kv SET v=v WHERE k=-1\"]");
        (void)sim_go(s, 100 * ENV_MS_NS, NULL);
    }
    sim_evaluated(s, SIM_N5);
    if (!written && !s->result->violated)
        sim_violate(s, SIM_N5, "%s has a full disk, and nobody else has taken over within %d s",
                    full->name, FULL_TAKES_OVER_S);
}

/* On disk a full disk is the machine's failure. */
static void scene_full(struct sim *s)
{
    struct sim_server *v = sim_leader(s);
    bool refused = false, for_space;

    if (v->plan->on_disk)
        return;
    uint64_t room = s->plan.seed % 4 * SIM_PAGE_BYTES;
    sim_disk_config(host_disk(v->host))->quota_bytes =
        sim_disk_used_bytes(host_disk(v->host)) + room;
    for (int i = 0; i < FULL_WRITES && leads(v) && !refused && !s->result->violated; i++) {
        int status = fill(s, v, &for_space);
        refused = for_space && status == 503;
        if (for_space && !refused && leads(v))
            sim_violate(s, SIM_N5, "%s refuses a write for lack of space with status %d", v->name,
                        status);
    }
    bool met = refused || !leads(v);
    if (met && !s->result->violated) {
        reads_on(s, v);
        if (s->plan.voter_count >= 3)
            others_write(s, v);
        reads_on(s, v);
    }
    s->result->scenes[SIM_SCENE_FULL] += met;
    sim_disk_config(host_disk(v->host))->quota_bytes = 0;
}

/* ---- which ------------------------------------------------------------------------------------------------------ */

void sim_scene_busy(struct sim *s)
{
    if (s->plan.scene == SIM_SCENE_LATE && cast_fits(s, 3))
        scene_late(s);
    if (s->plan.scene == SIM_SCENE_FULL && cast_fits(s, 1))
        scene_full(s);
    if (s->plan.scene == SIM_SCENE_FORCED && cast_fits(s, 1))
        sim_forced_play(s);
}

void sim_scene_quiet(struct sim *s)
{
    if (s->plan.scene == SIM_SCENE_TRICKLE && cast_fits(s, 3))
        scene_trickle(s);
}

void sim_scene_create(struct sim *s)
{
    s->scene = calloc(1, sizeof(*s->scene));
    ASSERT(s->scene);
}

void sim_scene_destroy(struct sim *s)
{
    free(s->scene);
}
