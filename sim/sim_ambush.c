/* sim_ambush.c — moments that chance meets too rarely, lain in wait for. One at a time.
 *
 *   OVERTAKE  the leader is cut off and told to write ─► another leads and has committed ─► that one and as
 *             many as a quorum can spare are cut off, the first is back: the longer log must not win
 *   DEPOSE    the leader hands over ─► its heir campaigns: it is cut off ─► the heir leads: a write there
 *             ─► done: a read at the first, which still believes to lead
 *   HEIR      a write; the acknowledgement that commits it leaves ─► the leader's words reach nobody, so that
 *             it answers the write and nobody learns of the commit ─► another leads: the others' disks are
 *             slow, and it is asked before it has committed anything
 *
 * Nothing here that broken links, slow disks and clients could not do; only the moments are chosen. Agents
 * (sim_client.c) are the clients; their deeds are judged like all others. */
#include "sim_run.h"
#include <rq/util/assert.h>
#include <stdlib.h>

struct sim_ambush {
    struct prng rng;
    enum sim_family kind;
    uint64_t until_ns; /* 0: none on */
    bool struck;
    struct sim_server *old, *heir; /* who led; who does now, NULL: nobody yet */
    uint64_t term, last_index;     /* of the old one, as it began */
    uint32_t key;
    bool cut;
    bool acked[SIM_NODES_MAX]; /* HEIR: more than last_index */
};

static bool waits(const struct sim *s, enum sim_family kind)
{
    const struct sim_ambush *a = s->ambush;
    return a->until_ns && world_now_ns(s->world) < a->until_ns && a->kind == kind &&
           !s->faults_over;
}

static uint64_t patience(const struct sim *s)
{
    return s->plan.heartbeat_timeout_ms * ENV_MS_NS;
}

static void over(void *ctx)
{
    struct sim *s = ctx;
    struct sim_ambush *a = s->ambush;

    if (a->until_ns == 0 || world_now_ns(s->world) < a->until_ns)
        return; /* of an earlier one, or the end was put off */
    a->until_ns = 0;
    if (!s->faults_over)
        world_links_heal(s->world);
}

/* It ends so much later, with its moment or without. */
static void last(struct sim *s, uint64_t ns)
{
    s->ambush->until_ns = world_now_ns(s->world) + ns;
    world_after(s->world, ns, over, s);
}

static void strike(struct sim *s, uint64_t ns)
{
    struct sim_ambush *a = s->ambush;

    a->struck = true;
    s->result->families[a->kind]++;
    world_trace(s->world, "ambush: %s on %s", sim_family_name(a->kind), a->old->name);
    last(s, ns);
}

static void isolate(struct sim *s, const struct sim_server *v)
{
    struct host *hosts[SIM_NODES_MAX];

    for (uint32_t i = 0; i < s->plan.node_count; i++)
        hosts[i] = s->servers[i].host;
    world_partition_isolate(s->world, hosts, s->plan.node_count, v->at);
}

static bool leads(const struct sim_server *v)
{
    struct raft_view view;

    if (!v->node || !v->open)
        return false;
    raft_look(node_raft(v->node), &view);
    return view.role == RAFT_LEADER;
}

static void order(struct sim *s, enum sim_deed_kind kind, uint32_t key, struct sim_server *v)
{
    struct sim_errand e = {.kind = kind, .level = SIM_LINEARIZABLE, .key = key, .server = v};
    (void)sim_agent_send(s, &e);
}

static void write_all(struct sim *s, struct sim_server *v)
{
    for (uint32_t i = 0; i < SIM_AGENTS; i++)
        order(s, SIM_DEED_WRITE, (s->ambush->key + i) % s->plan.key_count, v);
}

void sim_ambush_begin(struct sim *s, enum sim_family f)
{
    struct sim_ambush *a = s->ambush;
    struct sim_server *leader = sim_leader(s);
    struct raft_view view;

    if (a->until_ns || !leader || s->plan.voter_count < 3)
        return;
    raft_look(node_raft(leader->node), &view);
    a->kind = f;
    a->struck = a->cut = false;
    a->old = leader;
    a->heir = NULL;
    a->term = view.hard.term;
    a->last_index = view.last_index;
    a->key = (uint32_t)prng_below(&a->rng, s->plan.key_count);
    for (uint32_t i = 0; i < SIM_NODES_MAX; i++)
        a->acked[i] = false;
    last(s, 6 * patience(s));
    if (f == SIM_FAMILY_DEPOSE)
        sim_server_transfer(leader);
    if (f == SIM_FAMILY_OVERTAKE)
        isolate(s, leader);
    if (f != SIM_FAMILY_DEPOSE)
        write_all(s, leader);
}

/* ---- OVERTAKE --------------------------------------------------------------------------------------------- */

/* Who is left can elect only with the old leader, whose log is the longest. */
void sim_ambush_committed(struct sim *s, struct sim_server *leader, uint64_t term)
{
    struct sim_ambush *a = s->ambush;
    uint32_t spare = (s->plan.voter_count - 1) / 2;

    if (!waits(s, SIM_FAMILY_OVERTAKE) || a->struck || leader == a->old || term <= a->term)
        return;
    world_links_heal(s->world);
    isolate(s, leader);
    for (uint32_t i = 0; i < s->plan.voter_count && spare > 1; i++) {
        if (&s->servers[i] == leader || &s->servers[i] == a->old)
            continue;
        isolate(s, &s->servers[i]);
        spare--;
    }
    strike(s, prng_range(&a->rng, 3, 6) * patience(s));
}

/* ---- DEPOSE ----------------------------------------------------------------------------------------------- */

void sim_ambush_campaigned(struct sim *s, struct sim_server *v, uint64_t term)
{
    struct sim_ambush *a = s->ambush;

    if (!waits(s, SIM_FAMILY_DEPOSE) || a->cut || v == a->old || term <= a->term)
        return;
    a->cut = true;
    isolate(s, a->old);
}

static void depose_led(struct sim *s, struct sim_server *v)
{
    if (s->ambush->cut)
        order(s, SIM_DEED_WRITE, s->ambush->key, v);
}

void sim_ambush_agent_done(struct sim *s, const struct sim_deed *d)
{
    struct sim_ambush *a = s->ambush;

    if (!waits(s, SIM_FAMILY_DEPOSE) || a->struck || !a->heir || d->kind != SIM_DEED_WRITE ||
        d->end != SIM_END_OK || d->server != a->heir->at || !leads(a->old))
        return;
    strike(s, patience(s));
    for (uint32_t i = 0; i < SIM_AGENTS; i++)
        order(s, SIM_DEED_READ, a->key, a->old);
}

/* ---- HEIR ------------------------------------------------------------------------------------------------- */

void sim_ambush_acked(struct sim *s, struct sim_server *v, uint64_t index)
{
    struct sim_ambush *a = s->ambush;
    uint32_t have = 1; /* it will have it itself */

    if (!waits(s, SIM_FAMILY_HEIR) || a->cut || v == a->old || v->plan->replica ||
        index <= a->last_index)
        return;
    a->acked[v->at] = true;
    for (uint32_t i = 0; i < s->plan.node_count; i++)
        have += a->acked[i];
    if (have <= s->plan.voter_count / 2)
        return;
    a->cut = true;
    for (uint32_t i = 0; i < s->plan.node_count; i++)
        if (&s->servers[i] != a->old)
            world_partition_one_way(s->world, a->old->host, s->servers[i].host);
}

static void heir_led(struct sim *s, struct sim_server *v)
{
    struct sim_ambush *a = s->ambush;

    if (!a->cut)
        return;
    strike(s, 2 * patience(s));
    for (uint32_t i = 0; i < s->plan.node_count; i++) {
        struct sim_server *o = &s->servers[i];
        if (o == a->old || !host_up(o->host))
            continue;
        struct sim_disk_config *c = sim_disk_config(host_disk(o->host));
        c->faults.stall_min_ns = patience(s) / 4;
        c->faults.stall_max_ns = patience(s) / 2;
        sim_disk_fail_once(host_disk(o->host), SIM_ONCE_STALL, 0);
    }
    for (uint32_t i = 0; i < SIM_AGENTS; i++)
        order(s, SIM_DEED_READ, (a->key + i) % s->plan.key_count, v);
}

void sim_ambush_led(struct sim *s, struct sim_server *v, uint64_t term)
{
    struct sim_ambush *a = s->ambush;

    if (v == a->old || a->heir || term <= a->term)
        return;
    if (waits(s, SIM_FAMILY_DEPOSE) || waits(s, SIM_FAMILY_HEIR)) {
        a->heir = v;
        if (a->kind == SIM_FAMILY_DEPOSE)
            depose_led(s, v);
        else
            heir_led(s, v);
    }
}

void sim_ambush_create(struct sim *s)
{
    s->ambush = calloc(1, sizeof(*s->ambush));
    world_stream_init(s->world, &s->ambush->rng, "ambush", 0);
}

void sim_ambush_destroy(struct sim *s)
{
    free(s->ambush);
}
