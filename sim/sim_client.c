/* sim_client.c — HTTP clients of the simulated cluster: real bytes over simulated streams.
 *
 *   think ─► choose operation and server ─► connect? ─► send ─► answer | error | timeout ─► think
 *
 * How an operation ended is decided in one place, outcome_of(): FAIL only for what certainly had no
 * effect (refused before a byte was sent, or an answer that documents it); anything doubtful is INFO. A
 * client goes on after INFO as a new process. The state here is the simulator's own; what runs on the
 * client's host uses its env only. */
#include "sim_run.h"
#include <rq/http.h>
#include <rq/util/assert.h>
#include <rq/util/mem.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { REQUEST_MAX = 1024, BODY_MAX = 8 * 1024 * 1024 };

struct client_conn {           /* one TCP connection; freed by closed() */
    struct sim_client *client; /* NULL: abandoned */
    struct env_stream *stream;
    struct sim_server *server;
    struct http_conn_parser *parser;
    bool opened;
};

enum client_op { OP_WRITE, OP_CAS, OP_READ };

struct sim_client {
    struct sim *sim;
    struct host *host;
    struct prng rng;
    uint32_t number, process;
    struct env *env;
    struct env_timer think, timeout;
    struct client_conn *conn;
    struct sim_server *server;
    /* operation under way */
    bool busy, sent;
    enum client_op op;
    enum sim_level level;
    uint32_t key;
    uint64_t op_number; /* in the ledger (writes), unique mark (reads) */
    int64_t value, expected;
    size_t history_at;
    bool in_history;
    uint64_t began_ns, read_floor;
    char request[REQUEST_MAX];
    size_t request_len;
    /* a one-off question (sim_ask) */
    bool asking, asked_done;
    int ask_status;
    char *ask_body;
};

struct clients_shared {
    struct sim_ledger ledger;
    int64_t next_value;
    uint64_t next_mark;
    int64_t last_seen[SIM_KEYS_MAX];
    struct sim_client asker;
};

static struct clients_shared *shared_of(struct sim *s);

/* ---- what was written, for the weak levels (C3) -------------------------------------------------------- */

/* Every value a read returns was written by an operation that had begun by then. */
static void check_value_known(struct sim_client *c, int64_t value)
{
    const struct sim_history *h = c->sim->histories[c->key];

    sim_evaluated(c->sim, SIM_C3);
    if (value == 0)
        return;
    for (size_t i = sim_history_count(h); i-- > 0;) { /* mostly a recent one */
        const struct sim_op *op = sim_history_at(h, i);
        if (op->kind != SIM_OP_READ && op->value == value) {
            if (op->end == SIM_END_FAIL)
                sim_violate(c->sim, SIM_C3,
                            "a read of key %u returned %lld, whose write had failed", c->key,
                            (long long)value);
            return;
        }
    }
    sim_violate(c->sim, SIM_C3, "a read of key %u returned %lld, which nobody wrote", c->key,
                (long long)value);
}

/* ---- building requests ------------------------------------------------------------------------------------- */

static void request_put(struct sim_client *c, const char *method, const char *target,
                        const char *body)
{
    int n = snprintf(c->request, sizeof(c->request),
                     "%s %s HTTP/1.1\r\nHost: sim\r\nContent-Length: %zu\r\n\r\n%s", method, target,
                     strlen(body), body);
    ASSERT(n > 0 && (size_t)n < sizeof(c->request));
    c->request_len = (size_t)n;
}

static void request_put_write(struct sim_client *c, const char *path, const char *body)
{
    char target[100];

    (void)snprintf(target, sizeof(target), "/db/%s?transaction&raft_index&timeout=%ums", path,
                   c->sim->plan.answer_ms);
    request_put(c, "POST", target, body);
}

static void request_write(struct sim_client *c)
{
    char body[600];

    (void)snprintf(
        body, sizeof(body),
        "[[\"INSERT INTO kv(k,v) VALUES(?,?) ON CONFLICT(k) DO UPDATE SET v=excluded.v\",%u,%lld],"
        "[\"INSERT INTO ledger(op,r,t) VALUES(?,random(),strftime('%%s %%f','now'))\",%llu]]",
        c->key, (long long)c->value, (unsigned long long)c->op_number);
    request_put_write(c, "execute", body);
}

static void request_cas(struct sim_client *c)
{
    char body[600];

    (void)snprintf(body, sizeof(body),
                   "[[\"UPDATE kv SET v=? WHERE k=? AND v=?\",%lld,%u,%lld],"
                   "[\"INSERT INTO ledger(op,r,t) VALUES(?,random(),CURRENT_TIMESTAMP)\",%llu]]",
                   (long long)c->value, c->key, (long long)c->expected,
                   (unsigned long long)c->op_number);
    request_put_write(c, "request", body);
}

static void request_read(struct sim_client *c)
{
    static const char *const levels[SIM_LEVEL_COUNT] = {"none", "weak", "linearizable", "strong"};
    char target[300];

    /* Some leave a transaction open: the next one on that read connection must not notice. */
    if (c->level != SIM_STRONG && prng_chance_ppm(&c->rng, 20000)) {
        char body[300];
        (void)snprintf(target, sizeof(target),
                       "/db/query?level=%s&linearizable_timeout=3s&timeout=%ums", levels[c->level],
                       c->sim->plan.answer_ms);
        (void)snprintf(body, sizeof(body),
                       "[\"BEGIN\",\"SELECT %llu, coalesce((SELECT v FROM kv WHERE k=%u),0)\"]",
                       (unsigned long long)c->op_number, c->key);
        request_put(c, "POST", target, body);
        return;
    }
    /* kv holds a row only for keys written; the mark ties the answer to this question. */
    if (prng_chance_ppm(&c->rng, 500000)) {
        (void)snprintf(target, sizeof(target),
                       "/db/query?level=%s&linearizable_timeout=3s&timeout=%ums&q=SELECT+%llu,"
                       "coalesce((SELECT+v+FROM+kv+WHERE+k=%u),0)",
                       levels[c->level], c->sim->plan.answer_ms, (unsigned long long)c->op_number,
                       c->key);
        request_put(c, "GET", target, "");
    } else {
        char body[300];
        (void)snprintf(target, sizeof(target),
                       "/db/%s?level=%s&linearizable_timeout=3s&timeout=%ums",
                       prng_chance_ppm(&c->rng, 500000) ? "query" : "request", levels[c->level],
                       c->sim->plan.answer_ms);
        (void)snprintf(
            body, sizeof(body),
            "[[\"SELECT ?, coalesce((SELECT v FROM kv WHERE k=:k),0)\",%llu,{\"k\":%u}]]",
            (unsigned long long)c->op_number, c->key);
        request_put(c, "POST", target, body);
    }
}

/* ---- outcomes ------------------------------------------------------------------------------------------------ */

static enum sim_op_end outcome_of(int status, const char *body)
{
    static const char *const refused[] = {
        "leader not found", "\"error\":\"not leader\"",    "store not open",
        "store not ready",  "connect: connection refused", "too many requests",
        "no space left",
    };

    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++)
        if (strstr(body, refused[i]))
            return SIM_END_FAIL;
    return status == 200 && !strstr(body, "\"error\"") ? SIM_END_OK : SIM_END_INFO;
}

static void ledger_fate(struct sim_client *c, enum sim_fate fate)
{
    struct sim_ledger *l = &shared_of(c->sim)->ledger;
    l->fate[c->op_number] = fate;
    if (fate == SIM_OP_OK)
        l->last_ok_ns = world_now_ns(c->sim->world);
}

static void think_again(struct sim_client *c)
{
    uint64_t mean = c->sim->plan.think_ns;
    env_timer_arm(&c->think, prng_range(&c->rng, mean / 10, 2 * mean));
}

static void op_end(struct sim_client *c, enum sim_op_end end, int64_t value, bool swapped)
{
    struct sim_result *r = c->sim->result;

    ASSERT(c->busy);
    c->busy = false;
    env_timer_disarm(&c->timeout);
    r->ok += end == SIM_END_OK;
    r->fail += end == SIM_END_FAIL;
    r->info += end == SIM_END_INFO;
    world_note(c->sim->world, "end", c->op_number, (uint64_t)end);
    if (c->op != OP_READ)
        ledger_fate(c, end == SIM_END_OK     ? SIM_OP_OK
                       : end == SIM_END_FAIL ? SIM_OP_FAIL
                                             : SIM_OP_INFO);
    r->writes_ok += end == SIM_END_OK && c->op != OP_READ;
    r->reads_ok[c->level] += end == SIM_END_OK && c->op == OP_READ;
    if (c->in_history)
        sim_history_end(c->sim->histories[c->key], c->history_at, end, world_now_ns(c->sim->world),
                        value, swapped);
    if (end == SIM_END_OK && c->op == OP_READ) {
        check_value_known(c, value);
        shared_of(c->sim)->last_seen[c->key] = value;
    }
    if (end == SIM_END_INFO)
        c->process += SIM_CLIENTS_MAX; /* the old process stays busy for ever */
    think_again(c);
}

static bool parse_read(struct sim_client *c, const char *body, int64_t *value)
{
    unsigned long long mark;
    long long v;
    const char *row = strstr(body, "\"values\":[[");

    if (!row || sscanf(row, "\"values\":[[%llu,%lld]]", &mark, &v) != 2)
        return false;
    sim_evaluated(c->sim, SIM_C8);
    if (mark != c->op_number)
        sim_violate(c->sim, SIM_C8, "question %llu got the answer of question %llu",
                    (unsigned long long)c->op_number, mark);
    *value = v;
    return true;
}

static void op_answered(struct sim_client *c, int status, const char *body)
{
    enum sim_op_end end = outcome_of(status, body);
    int64_t value = c->value;
    bool swapped = false;

    if (world_tracing(c->sim->world))
        world_trace(c->sim->world, "answer c%u op %llu: %d %.200s", c->number,
                    (unsigned long long)c->op_number, status, body);
    if (end == SIM_END_OK && c->op == OP_READ && !parse_read(c, body, &value)) {
        sim_violate(c->sim, SIM_C8, "a read was answered by: %.200s", body);
        end = SIM_END_INFO;
    }
    if (end == SIM_END_OK && c->op == OP_WRITE) {
        const char *first = strstr(body, "\"rows_affected\":1");
        if (!first || !strstr(first + 1, "\"rows_affected\":1"))
            sim_violate(c->sim, SIM_C8, "a write was answered by: %.200s", body);
    }
    if (end == SIM_END_OK && c->op == OP_CAS) {
        const char *first = strstr(body, "},{");
        const char *hit = strstr(body, "\"rows_affected\":1");
        swapped = hit && first && hit < first;
    }
    op_end(c, end, value, swapped);
}

/* ---- connections ------------------------------------------------------------------------------------------------- */

static void conn_abandon(struct sim_client *c)
{
    struct client_conn *k = c->conn;
    c->conn = NULL;
    if (!k)
        return;
    k->client = NULL;
    env_stream_close(k->stream);
}

static void ask_finish(struct sim_client *c, int status, struct slice body)
{
    c->ask_status = status;
    free(c->ask_body);
    c->ask_body = NULL;
    if (status) {
        c->ask_body = malloc(body.len + 1);
        if (body.len)
            memcpy(c->ask_body, body.data, body.len);
        c->ask_body[body.len] = '\0';
    }
    c->busy = false;
    c->asked_done = true;
    env_timer_disarm(&c->timeout);
}

static void on_broken(struct sim_client *c)
{
    conn_abandon(c);
    if (!c->busy)
        return;
    if (c->asking)
        ask_finish(c, 0, slice_of(NULL, 0));
    else
        op_end(c, c->sent ? SIM_END_INFO : SIM_END_FAIL, c->value, false);
}

static void conn_send(struct sim_client *c)
{
    struct slice part = slice_of(c->request, c->request_len);

    c->sent = true;
    if (env_stream_write(c->conn->stream, &part, 1, 1 << 20))
        on_broken(c);
}

static void on_opened(void *ctx, int rc)
{
    struct client_conn *k = ctx;

    if (!k->client)
        return;
    if (rc) {
        on_broken(k->client);
        return;
    }
    k->opened = true;
    env_stream_read_start(k->stream);
    if (k->client->busy && !k->client->sent)
        conn_send(k->client);
}

static void on_message(struct client_conn *k, const struct http_message *m)
{
    struct sim_client *c = k->client;

    if (!c->busy || !c->sent) {
        sim_violate(c->sim, SIM_C8, "an answer without a question: status %d", m->status);
        return;
    }
    bool close = !m->keep_alive;
    if (c->asking) {
        ask_finish(c, m->status, m->body);
    } else {
        char *body = malloc(m->body.len + 1);
        if (m->body.len)
            memcpy(body, m->body.data, m->body.len);
        body[m->body.len] = '\0';
        op_answered(c, m->status, body);
        free(body);
    }
    if (close)
        conn_abandon(c);
}

static void on_data(void *ctx, struct slice bytes)
{
    struct client_conn *k = ctx;

    while (k->client && bytes.len) {
        const struct http_message *m;
        struct http_refusal refusal;
        size_t used;
        enum http_progress p = http_parser_feed(k->parser, bytes, &used, &m, &refusal);
        if (p ==
            HTTP_BAD) { /* bits flipped on the wire, or a broken server: cannot be told apart */
            on_broken(k->client);
            return;
        }
        bytes.data += used;
        bytes.len -= used;
        if (p == HTTP_MESSAGE) {
            on_message(k, m);
            http_parser_next(k->parser);
        }
    }
}

static void on_ended(void *ctx, int rc)
{
    struct client_conn *k = ctx;
    (void)rc;
    if (k->client)
        on_broken(k->client);
}

static void on_drained(void *ctx)
{
    (void)ctx;
}

static void on_closed(void *ctx)
{
    struct client_conn *k = ctx;
    http_parser_destroy(k->parser);
    mem_free(k);
}

static const struct env_stream_events conn_events = {on_opened, on_data, on_ended, on_drained,
                                                     on_closed};

static void conn_open(struct sim_client *c, struct sim_server *v)
{
    static const struct http_parser_limits limits = {65536, BODY_MAX};
    struct client_conn *k = mem_must_zalloc(sizeof(*k));

    k->client = c;
    k->server = v;
    int rc = http_parser_create(HTTP_CLIENT, &limits, &k->parser);
    ASSERT(rc == 0);
    rc = env_stream_connect(c->env, v->api_addr, &conn_events, k, &k->stream);
    ASSERT(rc == 0);
    c->conn = k;
}

static void send_to(struct sim_client *c, struct sim_server *v)
{
    c->sent = false;
    c->busy = true;
    if (c->conn && c->conn->server != v)
        conn_abandon(c);
    if (!c->conn)
        conn_open(c, v);
    else if (c->conn->opened)
        conn_send(c);
}

/* ---- operations ---------------------------------------------------------------------------------------------------- */

static uint64_t ledger_next(struct sim_ledger *l)
{
    l->count++;
    if (l->count >= l->cap) {
        l->cap = l->cap ? l->cap * 2 : 1024;
        l->fate = realloc(l->fate, l->cap * sizeof(*l->fate));
    }
    l->fate[l->count] = SIM_OP_INFO; /* until it ends */
    return l->count;
}

static void op_draw(struct sim_client *c)
{
    struct clients_shared *g = shared_of(c->sim);
    uint64_t dice = prng_below(&c->rng, 100);

    c->key = (uint32_t)prng_below(&c->rng, c->sim->plan.key_count);
    c->op = dice < 40 ? OP_WRITE : dice < 50 ? OP_CAS : OP_READ;
    c->level = (enum sim_level)prng_below(&c->rng, SIM_LEVEL_COUNT);
    if (c->sim->plan.hunt_leaders && prng_chance_ppm(&c->rng, 500000))
        c->level = SIM_LINEARIZABLE;
    c->expected = g->last_seen[c->key];
    if (c->op == OP_CAS && c->expected == 0)
        c->op = OP_WRITE; /* no row yet: nothing an UPDATE could compare */
    c->value = c->op == OP_READ ? 0 : ++g->next_value;
    c->op_number =
        c->op == OP_READ ? UINT64_C(1000000000) + ++g->next_mark : ledger_next(&g->ledger);
    if (c->op == OP_WRITE)
        request_write(c);
    else if (c->op == OP_CAS)
        request_cas(c);
    else
        request_read(c);
}

static void op_begin(struct env_timer *t)
{
    struct sim_client *c = t->ctx;
    struct sim *s = c->sim;

    if (c->busy || s->stop_clients)
        return;
    op_draw(c);
    c->began_ns = world_now_ns(s->world);
    c->in_history = c->op != OP_READ || c->level == SIM_LINEARIZABLE || c->level == SIM_STRONG;
    if (c->in_history) {
        struct sim_op op = {
            .kind = c->op == OP_READ  ? SIM_OP_READ
                    : c->op == OP_CAS ? SIM_OP_CAS
                                      : SIM_OP_WRITE,
            .invoke_ns = c->began_ns,
            .process = c->process,
            .value = c->value,
            .expected = c->expected,
        };
        c->history_at = sim_history_begin(s->histories[c->key], &op);
    }
    if (!c->server || prng_chance_ppm(&c->rng, 200000))
        c->server = &s->servers[prng_below(&c->rng, s->plan.node_count)];
    world_note(s->world, "begin", c->op_number, c->server->at);
    env_timer_arm(&c->timeout, s->plan.client_timeout_ns);
    send_to(c, c->server);
}

static void op_timed_out(struct env_timer *t)
{
    on_broken(t->ctx);
    ((struct sim_client *)t->ctx)->server = NULL; /* try another one */
}

static void boot(struct env *e, void *ctx)
{
    struct sim_client *c = ctx;

    c->env = e;
    env_timer_init(&c->think, e, op_begin, c);
    env_timer_init(&c->timeout, e, op_timed_out, c);
    if (c->number)
        think_again(c);
}

static void client_init(struct sim *s, struct sim_client *c, uint32_t number)
{
    char name[16];

    c->sim = s;
    c->number = number;
    c->process = number;
    world_stream_init(s->world, &c->rng, "client", number);
    (void)snprintf(name, sizeof(name), "c%u", number);
    c->host = world_host_add(s->world, name, NULL);
    host_start(c->host, boot, c);
}

void sim_clients_create(struct sim *s)
{
    for (uint32_t i = 0; i < s->plan.client_count; i++) {
        s->clients[i] = calloc(1, sizeof(struct sim_client));
        client_init(s, s->clients[i], i + 1);
    }
}

/* ---- questions of the judge ------------------------------------------------------------------------------------------ */

static bool ask_unmet(void *ctx)
{
    struct sim_client *c = ctx;
    return sim_after_event(c->sim) && !c->asked_done;
}

static void ask_start(struct env *e, void *ctx)
{
    struct sim_client *c = ctx;
    (void)e;
    conn_abandon(c);
    send_to(c, c->server);
}

static void ask_stop(struct env *e, void *ctx)
{
    (void)e;
    conn_abandon(ctx);
}

char *sim_ask(struct sim *s, struct sim_server *v, const char *method, const char *target,
              const char *body, uint64_t timeout_ns, int *status)
{
    struct sim_client *c = &shared_of(s)->asker;

    if (!c->host)
        client_init(s, c, 0);
    if (!c->env) { /* its boot is an event */
        (void)world_run_for(s->world, 1000);
    }
    c->asking = true;
    c->asked_done = false;
    c->server = v;
    request_put(c, method, target, body);
    c->ask_status = 0;
    if (!host_call(c->host, ask_start, c))
        return NULL;
    (void)world_run_while(s->world, timeout_ns, ask_unmet, c);
    c->busy = false;
    (void)host_call(c->host, ask_stop, c);
    *status = c->ask_status;
    char *answer = c->ask_body;
    c->ask_body = NULL;
    return answer;
}

/* ---- shared state ------------------------------------------------------------------------ */

static struct clients_shared *shared_of(struct sim *s)
{
    if (!s->shared)
        s->shared = calloc(1, sizeof(struct clients_shared));
    return s->shared;
}

struct sim_ledger *sim_clients_ledger(struct sim *s)
{
    return &shared_of(s)->ledger;
}

void sim_clients_destroy(struct sim *s)
{
    for (uint32_t i = 0; i < s->plan.client_count; i++)
        free(s->clients[i]);
    if (s->shared) {
        free(s->shared->ledger.fate);
        free(s->shared->asker.ask_body);
        free(s->shared);
    }
}
