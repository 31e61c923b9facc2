/* sim_load.c — a client that puts small databases in the place of the database, in some seeds. To the histories a
 * load is a write of every key at one moment, and so it is to the order: its row is the first of another ledger
 * (sim_epoch.h).
 *
 *   think ─► make a file (sometimes a bad one) ─► POST /db/load ─► loaded | certainly not | nobody knows ─► think
 *
 * A node that is alone is asked to boot from a file half the time. Some files have another page size, some say they are in WAL mode, some are cut short or damaged: those must be
 * refused. */
#include "sim_epoch.h"
#include "sim_talk.h"
#include <rq/util/assert.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { THINK_MS = 700, TIMEOUT_MS = 8000, FILLER_MAX = 30, FIRST_PROCESS = 1 << 30 };

struct sim_loader {
    struct sim *sim;
    struct host *host;
    struct prng rng;
    struct env_timer think, timeout;
    struct sim_talk talk;
    uint64_t loads; /* begun */
    uint32_t process;
    bool busy, bad, boot;
    uint8_t *question; /* malloc'ed */
    size_t question_len;
    size_t history_at[SIM_KEYS_MAX];
    struct sim_deed deed; /* the load, for the order */
    size_t deed_at;
};

/* ---- a file ------------------------------------------------------------------------------------------ */

/* No value of another client. */
static int64_t value_of(const struct sim_loader *l, uint32_t key)
{
    return INT64_C(1000000000000) + (int64_t)l->loads * SIM_KEYS_MAX + key;
}

static void file_sql(struct sim_loader *l, char *sql, size_t cap)
{
    static const unsigned page_bytes[] = {4096, 4096, 4096, 4096, 512, 16384};
    int n = snprintf(sql, cap,
                     "PRAGMA page_size=%u;CREATE TABLE kv(k INTEGER PRIMARY KEY, v INTEGER);"
                     "CREATE TABLE ledger(n INTEGER PRIMARY KEY, op INTEGER, r INTEGER, t TEXT);"
                     "CREATE TABLE filler(x);"
                     "INSERT INTO ledger VALUES(%llu,%llu,0,'load');",
                     page_bytes[prng_below(&l->rng, 6)],
                     (unsigned long long)(l->loads * SIM_EPOCH_ROWS),
                     (unsigned long long)l->deed.number);

    for (uint32_t k = 0; k < l->sim->plan.key_count; k++)
        n += snprintf(sql + n, cap - (size_t)n, "INSERT INTO kv VALUES(%u,%lld);", k,
                      (long long)value_of(l, k));
    n += snprintf(sql + n, cap - (size_t)n,
                  "INSERT INTO filler WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM c "
                  "WHERE i<%u) SELECT hex(zeroblob(500))||i FROM c;",
                  1 + (unsigned)prng_below(&l->rng, FILLER_MAX));
    ASSERT((size_t)n < cap);
}

/* SQLite's bytes of such a database; sqlite3_free. */
static uint8_t *file_make(struct sim_loader *l, size_t *len)
{
    char sql[2000];
    sqlite3 *conn = NULL;
    sqlite3_int64 bytes = 0;

    file_sql(l, sql, sizeof(sql));
    int rc = sqlite3_open(":memory:", &conn);
    if (rc == SQLITE_OK)
        rc = sqlite3_exec(conn, sql, NULL, NULL, NULL);
    ASSERT(rc == SQLITE_OK);
    uint8_t *file = sqlite3_serialize(conn, "main", &bytes, 0);
    ASSERT(file);
    (void)sqlite3_close(conn);
    *len = (size_t)bytes;
    return file;
}

/* True: it is no database any more. */
static bool file_spoil(struct sim_loader *l, uint8_t *file, size_t *len)
{
    if (prng_chance_ppm(&l->rng, 300000))
        file[18] = file[19] = 2; /* as if in WAL mode */
    if (!prng_chance_ppm(&l->rng, 150000))
        return false;
    if (prng_chance_ppm(&l->rng, 500000))
        *len = 100 + (size_t)prng_below(&l->rng, *len - 100);
    else
        file[100] ^= 0x55; /* what kind of page the schema's root is */
    return true;
}

static void question_make(struct sim_loader *l)
{
    char head[200];
    size_t len;
    uint8_t *file = file_make(l, &len);

    l->bad = file_spoil(l, file, &len);
    l->boot = l->sim->plan.node_count == 1 && prng_chance_ppm(&l->rng, 500000);
    int n = snprintf(head, sizeof(head),
                     "POST %s?timeout=%ums HTTP/1.1\r\nHost: sim\r\nContent-Length: %zu\r\n\r\n",
                     l->boot ? "/boot" : "/db/load", l->sim->plan.answer_ms, len);
    free(l->question);
    l->question_len = (size_t)n + len;
    l->question = malloc(l->question_len);
    ASSERT(l->question);
    memcpy(l->question, head, (size_t)n);
    memcpy(l->question + n, file, len);
    sqlite3_free(file);
}

/* ---- a load -------------------------------------------------------------------------------------------- */

static void load_end(struct sim_loader *l, enum sim_op_end end)
{
    uint64_t now_ns = world_now_ns(l->sim->world);

    ASSERT(l->busy);
    l->busy = false;
    env_timer_disarm(&l->timeout);
    world_note(l->sim->world, "loaded", l->loads, (uint64_t)end);
    l->sim->result->loads_ok += end == SIM_END_OK;
    l->sim->result->boots_ok += end == SIM_END_OK && l->boot;
    l->sim->result->loads_refused += end == SIM_END_FAIL;
    l->deed.end = end;
    l->deed.return_ns = now_ns;
    sim_clients_deeds(l->sim)->at[l->deed_at] = l->deed;
    for (uint32_t k = 0; k < l->sim->plan.key_count; k++)
        sim_history_end(l->sim->histories[k], l->history_at[k], end, now_ns, value_of(l, k), false);
    if (end == SIM_END_INFO)
        l->process++; /* the old one stays busy for ever */
    env_timer_arm(&l->think, prng_range(&l->rng, 1, 2 * THINK_MS) * ENV_MS_NS);
}

/* Only what was told before the last step, or instead of it, is certain. */
static enum sim_op_end outcome_of(const struct sim_loader *l, const struct sim_answer *a)
{
    static const char *const refused[] = {
        "store not ready",
        "store not open",
        "not leader",
        "not single-node",
        "connect: connection refused",
        "another load is in progress",
        "error swapping databases: ",
        "error swapping database file: ",
        "the load was given up",
        "a piece of the load is",
        "loading needs ",
    };

    if (a->status == 200)
        return strcmp(a->body, l->boot ? "" : "{\"results\":[]}") == 0 ? SIM_END_OK : SIM_END_INFO;
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++)
        if (strstr(a->body, refused[i]))
            return SIM_END_FAIL;
    return SIM_END_INFO;
}

static void on_answered(void *ctx, const struct sim_answer *a)
{
    struct sim_loader *l = ctx;
    enum sim_op_end end = outcome_of(l, a);

    if (world_tracing(l->sim->world))
        world_trace(l->sim->world, "answer load %llu: %d %.200s", (unsigned long long)l->loads,
                    a->status, a->body);
    sim_evaluated(l->sim, SIM_C8);
    if (l->bad && a->status == 200)
        sim_violate(l->sim, SIM_C8, "load %llu, of a spoilt file, was answered by: %.200s",
                    (unsigned long long)l->loads, a->body);
    load_end(l, end);
}

static void on_broken(void *ctx, bool sent)
{
    load_end(ctx, sent ? SIM_END_INFO : SIM_END_FAIL);
}

static void on_timeout(struct env_timer *t)
{
    struct sim_loader *l = t->ctx;
    sim_talk_break(&l->talk);
}

/* Its end is not known until it is. */
static void deed_begin(struct sim_loader *l)
{
    l->deed = (struct sim_deed){.kind = SIM_DEED_LOAD,
                                .end = SIM_END_INFO,
                                .number = sim_clients_number(l->sim),
                                .invoke_ns = world_now_ns(l->sim->world),
                                .return_ns = UINT64_MAX,
                                .key = l->sim->plan.key_count,
                                .value = value_of(l, 0),
                                .attempts = 1,
                                .position = l->loads * SIM_EPOCH_ROWS};
    l->deed_at = sim_clients_remember(l->sim, &l->deed);
}

static void on_think(struct env_timer *t)
{
    struct sim_loader *l = t->ctx;
    struct sim *s = l->sim;

    if (s->stop_clients)
        return;
    l->loads++;
    l->busy = true;
    deed_begin(l);
    question_make(l);
    for (uint32_t k = 0; k < s->plan.key_count; k++) {
        struct sim_op op = {.kind = SIM_OP_WRITE,
                            .invoke_ns = world_now_ns(s->world),
                            .process = l->process,
                            .value = value_of(l, k)};
        l->history_at[k] = sim_history_begin(s->histories[k], &op);
    }
    struct sim_server *v = &s->servers[prng_below(&l->rng, s->plan.node_count)];
    world_note(s->world, "load", l->loads, v->at);
    env_timer_arm(&l->timeout, TIMEOUT_MS * ENV_MS_NS);
    sim_talk_ask(&l->talk, v, slice_of(l->question, l->question_len), 1);
}

/* ---- from beginning to end ------------------------------------------------------------------------------- */

static void boot(struct env *e, void *ctx)
{
    struct sim_loader *l = ctx;

    l->talk.env = e;
    env_timer_init(&l->think, e, on_think, l);
    env_timer_init(&l->timeout, e, on_timeout, l);
    env_timer_arm(&l->think, prng_range(&l->rng, 1, 2 * THINK_MS) * ENV_MS_NS);
}

void sim_loader_create(struct sim *s)
{
    if (!s->plan.loads)
        return;
    struct sim_loader *l = calloc(1, sizeof(*l));
    ASSERT(l);
    s->loader = l;
    l->sim = s;
    l->talk.sim = s;
    l->talk.ctx = l;
    l->talk.answered = on_answered;
    l->talk.broken = on_broken;
    l->process = FIRST_PROCESS;
    world_stream_init(s->world, &l->rng, "loader", 0);
    l->host = world_host_add(s->world, "loader", NULL);
    host_start(l->host, boot, l);
}

void sim_loader_destroy(struct sim *s)
{
    if (s->loader)
        free(s->loader->question);
    free(s->loader);
}
