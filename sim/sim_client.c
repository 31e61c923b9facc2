/* sim_client.c — HTTP clients of the simulated cluster.
 *
 *   think ─► choose deed and server ─► ask ─► answer | broken | timeout ─► remember ─► think
 *                                       ▲               │
 *                                       └── again, elsewhere, with the same key (KEYED)
 *
 * A client goes on after an unknown end as a new process. Every deed is remembered for sim_order.h; those of
 * one key that must be linearizable also for sim_history.h. An agent is a client that asks only what it is
 * told to, when and where. */
#include "sim_client_int.h"
#include <rq/util/assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ATTEMPTS_MAX = 6, BURST_MAX = 3, PROCESS_STRIDE = SIM_CLIENTS_MAX + SIM_AGENTS + 1 };

struct sim_client {
    struct sim *sim;
    struct host *host;
    struct prng rng;
    uint32_t number, process;
    struct env_timer think, timeout;
    struct sim_talk talk;
    struct sim_server *server;
    bool is_agent;
    const struct sim_errand *errand; /* malloc'ed; NULL: none that is not begun */
    /* operation under way */
    bool busy;
    struct sim_deed deeds[BURST_MAX]; /* asked in one breath; heard of them are answered */
    uint32_t asked, heard;
    struct sim_question question;
    uint32_t large_rows;
    bool in_doubt; /* an earlier attempt may have had its effect */
    bool in_history;
    size_t history_at;
    struct {
        uint64_t incarnation, applied;
        bool led;
    } nodes[SIM_NODES_MAX]; /* when it was asked */
};

struct clients_shared {
    struct sim_deeds deeds;
    uint64_t next_number, next_mark, last_index;
    int64_t next_value;
    int64_t last_seen[SIM_KEYS_MAX];
};

/* ---- who led meanwhile (C4) --------------------------------------------------------------------------------- */

static struct sim_deed *current(struct sim_client *c)
{
    return &c->deeds[c->heard];
}

static bool leads_now(const struct sim_server *v, uint64_t *applied)
{
    const struct raft *r = v->node && v->open ? node_raft(v->node) : NULL;
    struct raft_view view;

    *applied = 0;
    if (!r)
        return false;
    raft_look(r, &view);
    *applied = view.applied_index;
    return view.role == RAFT_LEADER;
}

static void nodes_look(struct sim_client *c)
{
    for (uint32_t i = 0; i < c->sim->plan.node_count; i++) {
        const struct sim_server *v = &c->sim->servers[i];
        c->nodes[i].led = leads_now(v, &c->nodes[i].applied);
        c->nodes[i].incarnation = host_incarnation(v->host);
    }
}

/* What a weak read had to see: the least that a node which led meanwhile had applied when it was asked. */
static uint64_t leader_index(struct sim_client *c)
{
    uint64_t least = UINT64_MAX, now_applied;

    for (uint32_t i = 0; i < c->sim->plan.node_count; i++) {
        const struct sim_server *v = &c->sim->servers[i];
        bool same = c->nodes[i].incarnation == host_incarnation(v->host);
        uint64_t applied = same ? c->nodes[i].applied : 0;
        if ((c->nodes[i].led || v->led_ns >= current(c)->invoke_ns || leads_now(v, &now_applied)) &&
            applied < least)
            least = applied;
    }
    if (least == UINT64_MAX)
        sim_violate(c->sim, SIM_C4, "weak read %llu was answered, but nobody led meanwhile",
                    (unsigned long long)current(c)->number);
    return least;
}

/* ---- who was heard (C12) -------------------------------------------------------------------------------------- */

/* Contact within the bound when it was answered is contact within the bound before it was asked, at least.
 * Clocks drift; raft's counts milliseconds. */
static void check_fresh(struct sim_client *c)
{
    const struct sim_server *v = &c->sim->servers[current(c)->server];
    uint64_t bound_ns = c->sim->plan.heartbeat_timeout_ms * ENV_MS_NS;
    uint64_t within_ns = bound_ns + bound_ns / 50 + 5 * ENV_MS_NS;

    sim_evaluated(c->sim, SIM_C12);
    if (v->led_ns < current(c)->invoke_ns && v->heard_ns + within_ns < current(c)->invoke_ns)
        sim_violate(c->sim, SIM_C12,
                    "%s answered read %llu, but had heard no leader for %llu ms when it was asked",
                    v->name, (unsigned long long)current(c)->number,
                    (unsigned long long)((current(c)->invoke_ns - v->heard_ns) / ENV_MS_NS));
}

/* ---- the end of a deed ---------------------------------------------------------------------------------------- */

static void think_again(struct sim_client *c)
{
    uint64_t mean = c->sim->plan.think_ns;
    env_timer_arm(&c->think, prng_range(&c->rng, mean / 10, 2 * mean));
}

size_t sim_clients_remember(struct sim *s, const struct sim_deed *d)
{
    struct sim_deeds *all = &s->shared->deeds;

    if (all->count == all->cap) {
        all->cap = all->cap ? 2 * all->cap : 1024;
        all->at = realloc(all->at, all->cap * sizeof(*all->at));
    }
    all->at[all->count] = *d;
    return all->count++;
}

uint64_t sim_clients_number(struct sim *s)
{
    return ++s->shared->next_number;
}

static void learn(struct sim_client *c)
{
    struct clients_shared *g = c->sim->shared;
    const struct sim_deed *d = current(c);

    if (d->end != SIM_END_OK)
        return;
    if (d->kind == SIM_DEED_READ)
        g->last_seen[d->key] = d->value;
    if (d->raft_index > g->last_index)
        g->last_index = d->raft_index;
}

static void deed_end(struct sim_client *c, enum sim_op_end end)
{
    struct sim_result *r = c->sim->result;
    struct sim_deed *d = current(c);

    ASSERT(c->busy && c->heard < c->asked);
    d->end = end;
    d->return_ns = world_now_ns(c->sim->world);
    r->ok += end == SIM_END_OK;
    r->fail += end == SIM_END_FAIL;
    r->info += end == SIM_END_INFO;
    r->deeds_ok[d->kind] += end == SIM_END_OK;
    r->aborted += d->kind == SIM_DEED_ABORTED && end == SIM_END_FAIL;
    r->in_bursts += c->asked > 1 && end == SIM_END_OK;
    r->sent_again += d->attempts > 1 && end == SIM_END_OK;
    if (!sim_deed_writes(d->kind))
        r->reads_ok[d->level] += end == SIM_END_OK;
    if (!sim_deed_writes(d->kind) && d->level == SIM_WEAK && end == SIM_END_OK)
        d->leader_index = leader_index(c);
    if (d->kind == SIM_DEED_FRESH && end == SIM_END_OK)
        check_fresh(c);
    world_note(c->sim->world, "end", d->number, (uint64_t)end);
    (void)sim_clients_remember(c->sim, d);
    learn(c);
    if (c->in_history) {
        bool nothing = d->kind == SIM_DEED_UNCHANGED && !d->swapped;
        sim_history_end(c->sim->histories[d->key], c->history_at,
                        end == SIM_END_OK && nothing ? SIM_END_FAIL : end, d->return_ns, d->value,
                        d->swapped);
    }
    if (end == SIM_END_INFO)
        c->process += PROCESS_STRIDE; /* the old process stays busy for ever */
    c->busy = ++c->heard < c->asked;
    if (c->is_agent)
        c->sim->agent_done(c->sim, d);
}

/* One attempt is over. */
static void attempt_end(struct sim_client *c, enum sim_op_end end)
{
    const struct sim_deed *d = current(c);

    c->in_doubt = c->in_doubt || end == SIM_END_INFO;
    bool again = d->kind == SIM_DEED_KEYED && c->in_doubt && end != SIM_END_OK;
    if (again && d->attempts < ATTEMPTS_MAX && !c->sim->stop_clients) {
        c->server = NULL;
    } else {
        deed_end(c, end == SIM_END_OK ? end : c->in_doubt ? SIM_END_INFO : end);
        c->in_doubt = false;
        if (c->busy)
            return; /* more answers are due */
    }
    env_timer_disarm(&c->timeout);
    think_again(c);
}

/* ---- what is heard ----------------------------------------------------------------------------------------------- */

static void on_answered(void *ctx, const struct sim_answer *a)
{
    struct sim_client *c = ctx;

    if (world_tracing(c->sim->world))
        world_trace(c->sim->world, "answer c%u %s %llu: %d %.200s", c->number,
                    sim_deed_name(current(c)->kind), (unsigned long long)current(c)->number,
                    a->status, a->body);
    attempt_end(c, sim_heard(c->sim, current(c), c->large_rows, a));
}

static void on_broken(void *ctx, bool sent)
{
    struct sim_client *c = ctx;

    for (uint32_t open = c->asked - c->heard; open > 0; open--)
        attempt_end(c, sent ? SIM_END_INFO : SIM_END_FAIL);
}

static void on_timeout(struct env_timer *t)
{
    struct sim_client *c = t->ctx;

    sim_talk_break(&c->talk);
    c->server = NULL; /* try another one */
}

/* ---- a new one ----------------------------------------------------------------------------------------------------- */

static const uint8_t weights[SIM_DEED_COUNT] = {
    [SIM_DEED_WRITE] = 16,    [SIM_DEED_SWAP] = 6,   [SIM_DEED_MIXED] = 6,
    [SIM_DEED_ABORTED] = 3,   [SIM_DEED_KEYED] = 8,  [SIM_DEED_CONDITION] = 5,
    [SIM_DEED_UNCHANGED] = 3, [SIM_DEED_QUEUED] = 6, [SIM_DEED_AWAITED] = 4,
    [SIM_DEED_READ] = 36,     [SIM_DEED_FRESH] = 3,  [SIM_DEED_CAUGHT_UP] = 4,
    [SIM_DEED_LARGE] = 2,
};

bool sim_deed_happens(enum sim_deed_kind kind)
{
    return weights[kind] > 0;
}

static enum sim_deed_kind kind_draw(struct sim_client *c)
{
    uint32_t sum = 0;

    for (int i = 0; i < SIM_DEED_COUNT; i++)
        sum += weights[i];
    uint64_t dice = prng_below(&c->rng, sum);
    int kind = 0;
    for (; dice >= weights[kind]; kind++)
        dice -= weights[kind];
    return (enum sim_deed_kind)kind;
}

static enum sim_level level_draw(struct sim_client *c, enum sim_deed_kind kind)
{
    enum sim_level level = (enum sim_level)prng_below(&c->rng, SIM_LEVEL_COUNT);

    if (kind == SIM_DEED_FRESH || kind == SIM_DEED_CAUGHT_UP)
        return SIM_NONE;
    return c->sim->plan.hunt_leaders && prng_chance_ppm(&c->rng, 500000) ? SIM_LINEARIZABLE : level;
}

static void deed_draw(struct sim_client *c, struct sim_deed *d)
{
    struct clients_shared *g = c->sim->shared;

    memset(d, 0, sizeof(*d));
    d->kind = kind_draw(c);
    d->key = (uint32_t)prng_below(&c->rng, c->sim->plan.key_count);
    d->level = level_draw(c, d->kind);
    if (c->errand) {
        d->kind = c->errand->kind;
        d->key = c->errand->key;
        d->level = c->errand->level;
    }
    d->expected = g->last_seen[d->key];
    if ((sim_deed_swaps(d->kind) && d->expected == 0) || /* no row yet: nothing to compare */
        (d->kind == SIM_DEED_UNCHANGED && g->last_index == 0))
        d->kind = SIM_DEED_WRITE;
    if (d->kind == SIM_DEED_LARGE && c->sim->plan.world.net.cut == SIM_CUT_BYTE)
        d->kind = SIM_DEED_READ;
    bool writes = sim_deed_writes(d->kind);
    d->value = writes ? ++g->next_value : 0;
    d->number = writes ? ++g->next_number : UINT64_C(1000000000) + ++g->next_mark;
    d->wait_index = g->last_index;
    uint64_t dice = prng_below(&c->rng, 10);
    c->large_rows = dice == 0 ? LARGE_ROWS_MAX : dice < 6 ? LARGE_ROWS_MAX / 20 : 0;
}

static void history_begin(struct sim_client *c)
{
    const struct sim_deed *d = &c->deeds[0];
    bool writes = sim_deed_writes(d->kind);
    struct sim_op op = {
        .kind = !writes                   ? SIM_OP_READ
                : sim_deed_swaps(d->kind) ? SIM_OP_CAS
                                          : SIM_OP_WRITE,
        .invoke_ns = d->invoke_ns,
        .process = c->process,
        .value = d->value,
        .expected = d->expected,
    };

    c->in_history = writes ? !sim_deed_queues(d->kind)
                           : d->kind == SIM_DEED_READ &&
                                 (d->level == SIM_LINEARIZABLE || d->level == SIM_STRONG) &&
                                 c->asked == 1;
    if (c->in_history)
        c->history_at = sim_history_begin(c->sim->histories[d->key], &op);
}

/* Small reads may be asked for in one breath: the answers come in the order of the questions, whichever of
 * them takes longer. */
static void deeds_begin(struct sim_client *c)
{
    const uint32_t burst = !c->is_agent && prng_chance_ppm(&c->rng, 150000) ? BURST_MAX : 1;

    c->question.len = 0;
    c->asked = c->heard = 0;
    c->busy = true;
    c->in_doubt = false;
    while (c->asked < burst) {
        struct sim_deed *d = &c->deeds[c->asked++];
        size_t len = c->question.len;
        deed_draw(c, d);
        d->invoke_ns = world_now_ns(c->sim->world);
        sim_question_put(&c->question, d, &c->sim->plan, c->large_rows, &c->rng);
        if (!sim_deed_writes(d->kind) && d->kind != SIM_DEED_LARGE)
            continue;
        if (c->asked > 1) { /* not in company */
            c->asked--;
            c->question.len = len;
        }
        break;
    }
    nodes_look(c);
    history_begin(c);
}

/* An agent soon has time again. */
static uint64_t timeout_ns(const struct sim_client *c)
{
    const struct sim_plan *p = &c->sim->plan;
    uint64_t short_ns = 3 * p->heartbeat_timeout_ms * ENV_MS_NS;
    return c->is_agent && short_ns < p->client_timeout_ns ? short_ns : p->client_timeout_ns;
}

static struct sim_server *errand_begun(struct sim_client *c)
{
    struct sim_server *v = c->errand->server;

    free((void *)c->errand);
    c->errand = NULL;
    return v;
}

static void on_think(struct env_timer *t)
{
    struct sim_client *c = t->ctx;
    struct sim *s = c->sim;

    if (c->is_agent && (!c->errand || s->stop_clients))
        return;
    if (s->stop_clients) {
        if (c->busy)
            deed_end(c, SIM_END_INFO);
        return;
    }
    if (!c->busy)
        deeds_begin(c);
    if (c->errand)
        c->server = errand_begun(c);
    else if (!c->server || prng_chance_ppm(&c->rng, 200000))
        c->server = &s->servers[prng_below(&c->rng, s->plan.node_count)];
    for (uint32_t i = 0; i < c->asked; i++) {
        c->deeds[i].attempts++;
        c->deeds[i].server = c->server->at;
        world_note(s->world, "begin", c->deeds[i].number, c->server->at);
    }
    env_timer_arm(&c->timeout, timeout_ns(c));
    sim_talk_ask(&c->talk, c->server, slice_of(c->question.text, c->question.len), c->asked);
}

/* ---- from beginning to end ------------------------------------------------------------------------------------------- */

static void boot(struct env *e, void *ctx)
{
    struct sim_client *c = ctx;

    c->talk.env = e;
    env_timer_init(&c->think, e, on_think, c);
    env_timer_init(&c->timeout, e, on_timeout, c);
    if (!c->is_agent)
        think_again(c);
}

static struct sim_client *client_create(struct sim *s, uint32_t number)
{
    struct sim_client *c = calloc(1, sizeof(*c));
    char name[16];

    c->sim = s;
    c->is_agent = number > SIM_CLIENTS_MAX;
    c->number = number;
    c->process = number;
    c->talk.sim = s;
    c->talk.ctx = c;
    c->talk.answered = on_answered;
    c->talk.broken = on_broken;
    world_stream_init(s->world, &c->rng, "client", number);
    (void)snprintf(name, sizeof(name), "c%u", number);
    c->host = world_host_add(s->world, name, NULL);
    host_start(c->host, boot, c);
    return c;
}

void sim_clients_create(struct sim *s)
{
    s->shared = calloc(1, sizeof(*s->shared));
    for (uint32_t i = 0; i < s->plan.client_count; i++)
        s->clients[i] = client_create(s, i + 1);
    for (uint32_t i = 0; i < SIM_AGENTS; i++)
        s->agents[i] = client_create(s, SIM_CLIENTS_MAX + i + 1);
}

static void errand_run(struct env *e, void *ctx)
{
    struct sim_client *c = ctx;
    (void)e;
    on_think(&c->think);
}

bool sim_agent_send(struct sim *s, const struct sim_errand *errand)
{
    for (uint32_t i = 0; i < SIM_AGENTS; i++) {
        struct sim_client *c = s->agents[i];
        if (c->busy || c->errand)
            continue;
        struct sim_errand *copy = malloc(sizeof(*copy));
        *copy = *errand;
        c->errand = copy;
        host_post(c->host, 0, errand_run, c);
        return true;
    }
    return false;
}

struct sim_deeds *sim_clients_deeds(struct sim *s)
{
    return &s->shared->deeds;
}

void sim_clients_destroy(struct sim *s)
{
    for (uint32_t i = 0; i < s->plan.client_count; i++)
        free(s->clients[i]);
    for (uint32_t i = 0; i < SIM_AGENTS && s->agents[i]; i++) {
        free((void *)s->agents[i]->errand);
        free(s->agents[i]);
    }
    if (s->shared)
        free(s->shared->deeds.at);
    free(s->shared);
}
