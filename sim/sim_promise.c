/* sim_promise.c — promise before durability (simulation.md §18.1): watch the bytes that leave a node, and
 * at a promise ask what recovery would find if the power went at that instant.
 *
 * The tap runs inside env_stream_write, on the node's own stack: it only decodes, clones the disk and
 * notes the promise. Recovery on the clone (sim_shadow.c) runs after the event, before anything can be
 * delivered. */
#include "sim_run.h"
#include <rq/util/assert.h>
#include <rq/util/crc.h>
#include <rq/util/list.h>
#include <stdlib.h>
#include <string.h>

enum { PROMISES_MAX = 4096 };

enum promise_kind { PROMISE_VOTE, PROMISE_APPEND, PROMISE_WRITE };

struct promise {
    enum promise_kind kind;
    struct sim_server *server;
    struct sim_disk
        *disk; /* clone at the instant; NULL: as the shadow known already, and for WRITE */
    uint64_t disk_ops;
    uint64_t term, index, candidate, index_term;
};

struct wire_tap { /* one direction of one connection between nodes */
    struct wire_tap *next;
    uint64_t connection;
    uint32_t server;
    struct buf bytes;
};

struct sim_promises {
    struct promise made[PROMISES_MAX];
    uint32_t count;
    struct wire_tap *taps;
    struct prng pick;
};

/* ---- the tap --------------------------------------------------------------------------------------------- */

static struct promise *promise_note(struct sim *s, enum promise_kind kind, struct sim_server *v)
{
    struct sim_promises *p = s->promises;

    bool sampled = kind == PROMISE_VOTE || prng_chance_ppm(&p->pick, s->plan.shadow_ppm);
    if (p->count == PROMISES_MAX || !sampled)
        return NULL;
    struct promise *made = &p->made[p->count++];
    memset(made, 0, sizeof(*made));
    made->kind = kind;
    made->server = v;
    made->disk_ops = sim_disk_ops(host_disk(v->host));
    if (kind != PROMISE_WRITE && !sim_shadow_known(s, v, made->disk_ops))
        made->disk = sim_shadow_clone(s, v);
    return made;
}

static int entry_seen(void *ctx, uint64_t index, const struct wire_entry *e)
{
    sim_raft_entry_seen(ctx, index, e->term,
                        crc32c((uint32_t)e->kind, e->payload.data, e->payload.len));
    return 0;
}

static void raft_message_leaves(struct sim *s, struct sim_server *v, const struct wire_frame *f)
{
    struct raft_msg m;
    struct promise *made;

    if (wire_raft_get(f->body, &m, entry_seen, s))
        return;
    if (m.kind == RAFT_MSG_VOTE_REQ) /* whoever asks has voted for itself */
        sim_raft_vote_seen(s, v->at, m.term, m.from);
    if (m.kind == RAFT_MSG_VOTE_RES && m.granted) {
        sim_raft_vote_seen(s, v->at, m.term, m.to);
        s->voted(s, v, m.to, m.term);
        made = promise_note(s, PROMISE_VOTE, v);
        if (made) {
            made->term = m.term;
            made->candidate = m.to;
        }
    }
    if (m.kind == RAFT_MSG_APPEND_RES && m.granted && m.log_index > 0) {
        sim_raft_acked(s, v, m.log_index, raft_term_at(node_raft(v->node), m.log_index));
        s->acked(s, v, m.log_index);
        made = promise_note(s, PROMISE_APPEND, v);
        if (made) {
            made->index = m.log_index;
            made->index_term = raft_term_at(node_raft(v->node), m.log_index);
        }
    }
}

static struct wire_tap *tap_of(struct sim_promises *p, struct sim_server *v, uint64_t connection)
{
    for (struct wire_tap *t = p->taps; t; t = t->next)
        if (t->connection == connection && t->server == v->at)
            return t;
    struct wire_tap *t = calloc(1, sizeof(*t));
    t->connection = connection;
    t->server = v->at;
    t->next = p->taps;
    p->taps = t;
    buf_init(&t->bytes, 1U << 30);
    return t;
}

/* The tap's buffers are the simulator's own: not of the pool of whoever happens to run. */
static void tap_append(struct buf *b, const uint8_t *data, size_t len)
{
    if (b->cap - b->end < len) {
        size_t used = b->end - b->start;
        size_t cap = (used + len) * 2;
        uint8_t *grown = malloc(cap);
        if (used)
            memcpy(grown, b->data + b->start, used);
        free(b->data);
        b->data = grown;
        b->cap = cap;
        b->start = 0;
        b->end = used;
    }
    memcpy(b->data + b->end, data, len);
    b->end += len;
}

static void peer_bytes_leave(struct sim *s, struct sim_server *v, const struct world_bytes *b)
{
    struct wire_tap *t = tap_of(s->promises, v, b->connection);
    struct wire_frame f;
    size_t used, need;

    tap_append(&t->bytes, b->data, b->len);
    while (wire_frame_get(buf_slice(&t->bytes), &f, &used, &need) == 0) {
        if (f.kind == WIRE_RAFT && v->open)
            raft_message_leaves(s, v, &f);
        buf_consume(&t->bytes, used);
    }
}

static bool find_text(const uint8_t *data, size_t len, const char *text, size_t *after)
{
    size_t n = strlen(text);
    for (size_t i = 0; i + n <= len; i++) {
        if (memcmp(data + i, text, n) == 0) {
            *after = i + n;
            return true;
        }
    }
    return false;
}

/* Clients of the simulator always ask for raft_index, so a successful write names its entry. */
static void http_bytes_leave(struct sim *s, struct sim_server *v, const struct world_bytes *b)
{
    size_t at;

    if (b->len < 12 || memcmp(b->data, "HTTP/1.1 200", 12) != 0 ||
        !find_text(b->data, b->len, "\"raft_index\":", &at))
        return;
    uint64_t index = 0;
    while (at < b->len && b->data[at] >= '0' && b->data[at] <= '9')
        index = index * 10 + (uint64_t)(b->data[at++] - '0');
    struct promise *made = index ? promise_note(s, PROMISE_WRITE, v) : NULL;
    if (made)
        made->index = index;
}

static void on_bytes(void *ctx, const struct world_bytes *b)
{
    struct sim *s = ctx;
    struct sim_server *v = sim_server_of(s, b->host);

    if (!v)
        return;
    const char *served = strrchr(b->dialed ? b->remote : b->local, ':');
    if (served && strcmp(served, ":4002") == 0)
        peer_bytes_leave(s, v, b);
    else if (served && !b->dialed && strcmp(served, ":4001") == 0)
        http_bytes_leave(s, v, b);
}

static void on_stream_end(void *ctx, struct host *host, uint64_t connection)
{
    struct sim *s = ctx;
    struct sim_server *v = sim_server_of(s, host);

    for (struct wire_tap **at = &s->promises->taps; v && *at; at = &(*at)->next) {
        struct wire_tap *t = *at;
        if (t->connection != connection || t->server != v->at)
            continue;
        *at = t->next;
        free(t->bytes.data);
        free(t);
        return;
    }
}

/* ---- judgement -------------------------------------------------------------------------------------------- */

static void judge_vote(struct sim *s, const struct promise *p, const struct sim_shadow *x)
{
    sim_evaluated(s, SIM_P1);
    bool kept = x->rc == 0 && (x->hard.term > p->term ||
                               (x->hard.term == p->term && x->hard.vote == p->candidate));
    if (!kept)
        sim_violate(
            s, SIM_P1,
            "%s promised its vote of term %llu; after power loss it would know term %llu (%s)",
            p->server->name, (unsigned long long)p->term, (unsigned long long)x->hard.term,
            err_text_of(x->rc));
}

static void judge_append(struct sim *s, const struct promise *p, const struct sim_shadow *x)
{
    sim_evaluated(s, SIM_P2);
    bool kept = sim_shadow_has(x, p->index, p->index_term);
    if (!kept)
        sim_violate(s, SIM_P2,
                    "%s acknowledged entry %llu of term %llu; after power loss its log would end "
                    "at %llu (%s)",
                    p->server->name, (unsigned long long)p->index,
                    (unsigned long long)p->index_term, (unsigned long long)x->last_index,
                    err_text_of(x->rc));
}

static bool votes_in(const struct sim *s, const struct raft_conf *conf, const struct sim_server *v)
{
    if (!conf)
        return sim_conf_votes(s, v);
    for (uint32_t i = 0; i < conf->count; i++)
        if (sim_server_is(v, conf->members[i].id) && conf->members[i].voter)
            return true;
    return false;
}

/* How many of conf's voters would keep the entry. conf NULL: the one that is committed. */
static uint32_t keepers(struct sim *s, const struct promise *p, uint64_t term,
                        const struct raft_conf *conf, uint32_t *voters)
{
    uint32_t have = 0;

    *voters = 0;
    for (uint32_t i = 0; i < s->plan.node_count; i++) {
        struct sim_server *v = &s->servers[i];
        if (!votes_in(s, conf, v))
            continue;
        ++*voters;
        /* Excused: within the fault budget; the others hold it. */
        have += sim_excused(v) || sim_shadow_has(sim_shadow_take(s, v), p->index, term);
    }
    return have;
}

/* A leader counts by the latest configuration in its log, committed or not (thesis §4.1): it may have committed
 * the entry by one that stands behind it. */
static bool kept_by_next(struct sim *s, const struct promise *p, uint64_t term)
{
    struct sim_server *leader = sim_leader(s);
    struct raft_view view;
    uint32_t voters;

    if (!leader)
        return false;
    raft_look(node_raft(leader->node), &view);
    return keepers(s, p, term, view.conf, &voters) > voters / 2;
}

static void judge_write(struct sim *s, const struct promise *p)
{
    uint32_t voters = sim_conf_voters(s), have = 0;
    uint64_t term = sim_raft_committed_term(s, p->index);

    sim_evaluated(s, SIM_P3);
    if (term)
        have = keepers(s, p, term, NULL, &voters);
    if (have <= voters / 2 && !(term && kept_by_next(s, p, term)))
        sim_violate(s, SIM_P3,
                    "%s answered success for entry %llu, which %u of %u nodes would keep%s",
                    p->server->name, (unsigned long long)p->index, have, voters,
                    term ? "" : " (nobody has committed it)");
}

void sim_promises_check(struct sim *s)
{
    struct sim_promises *p = s->promises;

    for (uint32_t i = 0; i < p->count; i++) {
        struct promise *made = &p->made[i];
        if (made->kind == PROMISE_WRITE) {
            judge_write(s, made);
            continue;
        }
        const struct sim_shadow *x =
            made->disk ? sim_shadow_learn(s, made->server, made->disk, made->disk_ops)
                       : sim_shadow_last(s, made->server);
        made->disk = NULL;
        if (sim_excused(made->server))
            (void)0; /* its recovery refuses, rightly */
        else if (made->kind == PROMISE_VOTE)
            judge_vote(s, made, x);
        else
            judge_append(s, made, x);
    }
    p->count = 0;
}

void sim_promises_create(struct sim *s)
{
    s->promises = calloc(1, sizeof(*s->promises));
    world_stream_init(s->world, &s->promises->pick, "promises", 0);
    world_on_stream_bytes(s->world, on_bytes, s);
    world_on_stream_end(s->world, on_stream_end, s);
}

void sim_promises_destroy(struct sim *s)
{
    struct sim_promises *p = s->promises;

    for (uint32_t i = 0; i < p->count; i++)
        if (p->made[i].disk)
            sim_disk_destroy(p->made[i].disk);
    for (struct wire_tap *t = p->taps; t;) {
        struct wire_tap *next = t->next;
        free(t->bytes.data);
        free(t);
        t = next;
    }
    free(p);
}
