/* sim_backup.c — a client that makes backups, in some seeds, and their judge (S6).
 *
 *   think ─► GET /db/backup, in some form ─► whole ─► opened by SQLite, looked through, remembered ─► think
 *                                        └─► refused, broken off ─────────────────────────────────► think
 *
 * At the end the ledger tells in which order the writes took effect. A backup must hold a beginning of it, or what
 * came since the last load before it, and of each key the value that it had there. One of the leader holds every write that was acknowledged before it
 * was asked for; none holds a write that began after it was there. */
#include "sim_epoch.h"
#include "sim_talk.h"
#include <rq/util/assert.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

enum { THINK_MS = 900, TIMEOUT_MS = 8000, COPIES_MAX = 256, BODY_MAX = 4 * 1024 * 1024 };
#define ULL unsigned long long

struct copy {
    uint64_t number, invoke_ns, return_ns;
    bool local; /* of whatever node was asked */
    uint64_t *ledger;
    uint64_t first; /* number of the first row */
    size_t rows;
    int64_t values[SIM_ORDER_KEYS_MAX]; /* 0: no such row */
};

struct sim_saver {
    struct sim *sim;
    struct host *host;
    struct prng rng;
    struct env_timer think, timeout;
    struct sim_talk talk;
    bool busy, text, packed;
    int version; /* what the header says */
    char question[200];
    struct copy now; /* the one asked for */
    struct copy copies[COPIES_MAX];
    uint32_t count;
};

/* ---- a backup looked through ---------------------------------------------------------------------------- */

static void objection(struct sim_saver *v, const char *what, const char *more)
{
    sim_violate(v->sim, SIM_S6, "backup %llu (%.60s): %s%.200s", (ULL)v->now.number, v->question,
                what, more);
}

/* malloc'ed; NULL: it is not one whole stream. */
static uint8_t *unpacked(const char *bytes, size_t len, size_t *out)
{
    uint8_t *plain = malloc(BODY_MAX);
    z_stream z;

    memset(&z, 0, sizeof(z));
    z.next_in = (Bytef *)(uintptr_t)bytes;
    z.avail_in = (uInt)len;
    z.next_out = plain;
    z.avail_out = BODY_MAX;
    bool whole = inflateInit2(&z, 15 + 16) == Z_OK && inflate(&z, Z_FINISH) == Z_STREAM_END &&
                 z.avail_in == 0;
    *out = z.total_out;
    (void)inflateEnd(&z);
    if (whole)
        return plain;
    free(plain);
    return NULL;
}

/* What SQLite keeps in memory has no WAL. */
static bool file_open(struct sim_saver *v, sqlite3 *conn, const uint8_t *bytes, size_t len)
{
    if (len < 512 || memcmp(bytes, "SQLite format 3", 16) != 0 || bytes[18] != v->version ||
        bytes[19] != v->version) {
        objection(v, "not such a file", "");
        return false;
    }
    uint8_t *copy = sqlite3_malloc64(len);
    ASSERT(copy);
    memcpy(copy, bytes, len);
    copy[18] = copy[19] = 1;
    int rc = sqlite3_deserialize(conn, "main", copy, (sqlite3_int64)len, (sqlite3_int64)len,
                                 SQLITE_DESERIALIZE_FREEONCLOSE);
    ASSERT(rc == SQLITE_OK);
    return true;
}

static bool text_open(struct sim_saver *v, sqlite3 *conn, const uint8_t *bytes, size_t len)
{
    char *sql = malloc(len + 1);

    memcpy(sql, bytes, len);
    sql[len] = '\0';
    bool good = sqlite3_exec(conn, sql, NULL, NULL, NULL) == SQLITE_OK;
    free(sql);
    if (!good)
        objection(v, "cannot be loaded: ", sqlite3_errmsg(conn));
    return good;
}

static bool ledger_take(struct sim_saver *v, sqlite3_stmt *s)
{
    struct copy *c = &v->now;

    if (c->rows % 64 == 0)
        c->ledger = realloc(c->ledger, (c->rows + 64) * sizeof(*c->ledger));
    uint64_t row = (uint64_t)sqlite3_column_int64(s, 0);
    if (c->rows == 0)
        c->first = row;
    c->ledger[c->rows++] = (uint64_t)sqlite3_column_int64(s, 1);
    return row == c->first + c->rows - 1;
}

static bool value_take(struct sim_saver *v, sqlite3_stmt *s)
{
    int64_t key = sqlite3_column_int64(s, 0);

    if (key >= 0 && key < SIM_ORDER_KEYS_MAX)
        v->now.values[key] = sqlite3_column_int64(s, 1);
    return key >= 0 && key < SIM_ORDER_KEYS_MAX;
}

static bool is_ok(struct sim_saver *v, sqlite3_stmt *s)
{
    const char *text = (const char *)sqlite3_column_text(s, 0);

    (void)v;
    return text && strcmp(text, "ok") == 0;
}

static bool rows_take(struct sim_saver *v, sqlite3 *conn, const char *sql,
                      bool (*take)(struct sim_saver *v, sqlite3_stmt *s))
{
    sqlite3_stmt *s = NULL;
    int rc = sqlite3_prepare_v2(conn, sql, -1, &s, NULL);
    bool good = rc == SQLITE_OK;

    while (good && (rc = sqlite3_step(s)) == SQLITE_ROW)
        good = take(v, s);
    good = good && rc == SQLITE_DONE;
    if (!good)
        objection(v, sql, sqlite3_errmsg(conn));
    (void)sqlite3_finalize(s);
    return good;
}

static bool is_empty(sqlite3 *conn)
{
    sqlite3_stmt *s = NULL;
    bool empty =
        sqlite3_prepare_v2(conn, "SELECT 1 FROM sqlite_schema", -1, &s, NULL) == SQLITE_OK &&
        sqlite3_step(s) == SQLITE_DONE;

    (void)sqlite3_finalize(s);
    return empty;
}

static bool look_through(struct sim_saver *v, const uint8_t *bytes, size_t len)
{
    sqlite3 *conn = NULL;
    int rc = sqlite3_open(":memory:", &conn);

    ASSERT(rc == SQLITE_OK);
    bool good = (v->text ? text_open : file_open)(v, conn, bytes, len) &&
                rows_take(v, conn, "PRAGMA integrity_check", is_ok);
    if (good && !(v->now.local && is_empty(conn))) /* a node that has not heard of the tables yet */
        good = rows_take(v, conn, "SELECT n, op FROM ledger ORDER BY n", ledger_take) &&
               rows_take(v, conn, "SELECT k, v FROM kv", value_take);
    (void)sqlite3_close(conn);
    return good;
}

static void remember(struct sim_saver *v, const struct sim_answer *a)
{
    size_t len = a->len;
    uint8_t *plain = v->packed ? unpacked(a->body, a->len, &len) : NULL;

    sim_evaluated(v->sim, SIM_S6);
    v->now.return_ns = world_now_ns(v->sim->world);
    if (v->packed && !plain)
        objection(v, "not whole, or not compressed", "");
    else if (look_through(v, plain ? plain : (const uint8_t *)a->body, len) &&
             v->count < COPIES_MAX)
        v->copies[v->count++] = v->now;
    else
        free(v->now.ledger);
    v->now.ledger = NULL;
    free(plain);
}

/* ---- asking ----------------------------------------------------------------------------------------------- */

static void backup_end(struct sim_saver *v, int status)
{
    ASSERT(v->busy);
    v->busy = false;
    env_timer_disarm(&v->timeout);
    world_note(v->sim->world, "backed_up", v->now.number, (uint64_t)status);
    env_timer_arm(&v->think, prng_range(&v->rng, 1, 2 * THINK_MS) * ENV_MS_NS);
}

static void on_answered(void *ctx, const struct sim_answer *a)
{
    struct sim_saver *v = ctx;

    if (world_tracing(v->sim->world))
        world_trace(v->sim->world, "answer backup %llu: %d, %zu bytes", (ULL)v->now.number,
                    a->status, a->len);
    if (a->status == 200)
        remember(v, a);
    backup_end(v, a->status);
}

static void on_broken(void *ctx, bool sent)
{
    (void)sent;
    backup_end(ctx, 0);
}

static void on_timeout(struct env_timer *t)
{
    struct sim_saver *v = t->ctx;
    sim_talk_break(&v->talk);
}

static void question_make(struct sim_saver *v)
{
    static const struct {
        const char *form;
        bool text;
        int version;
    } forms[] = {
        {"", false, 2}, {"&fmt=delete", false, 1}, {"&vacuum", false, 1}, {"&fmt=sql", true, 0}};
    size_t form = (size_t)prng_below(&v->rng, 4);

    v->now = (struct copy){.number = v->now.number + 1, .local = prng_chance_ppm(&v->rng, 300000)};
    v->packed = prng_chance_ppm(&v->rng, 300000);
    v->text = forms[form].text;
    v->version = forms[form].version;
    int n = snprintf(v->question, sizeof(v->question),
                     "GET /db/backup?timeout=%ums%s%s%s HTTP/1.1\r\nHost: sim\r\n\r\n",
                     v->sim->plan.answer_ms, forms[form].form, v->packed ? "&compress" : "",
                     v->now.local ? "&noleader" : "");
    ASSERT(n > 0 && (size_t)n < sizeof(v->question));
}

static void on_think(struct env_timer *t)
{
    struct sim_saver *v = t->ctx;
    struct sim *s = v->sim;

    if (s->stop_clients)
        return;
    v->busy = true;
    question_make(v);
    v->now.invoke_ns = world_now_ns(s->world);
    struct sim_server *server = &s->servers[prng_below(&v->rng, s->plan.node_count)];
    world_note(s->world, "backup", v->now.number, server->at);
    env_timer_arm(&v->timeout, TIMEOUT_MS * ENV_MS_NS);
    sim_talk_ask(&v->talk, server, slice_str(v->question), 1);
}

/* ---- judgement ------------------------------------------------------------------------------------------- */

static const struct sim_deed *deed_find(const struct sim_order *o, uint64_t number)
{
    for (size_t i = 0; i < o->count; i++)
        if (sim_deed_writes(o->deeds[i].kind) && o->deeds[i].number == number)
            return &o->deeds[i];
    return NULL;
}

/* Does a write set its key? */
static bool sets(const struct sim_deed *d, const int64_t *values)
{
    return !sim_deed_queues(d->kind) && (!sim_deed_swaps(d->kind) || values[d->key] == d->expected);
}

static void replay(const struct sim_deed *d, int64_t *values)
{
    for (uint32_t k = 0; d->kind == SIM_DEED_LOAD && k < SIM_ORDER_KEYS_MAX; k++)
        values[k] = k < d->key ? d->value + k : 0;
    if (d->kind != SIM_DEED_LOAD && sets(d, values))
        values[d->key] = d->value;
}

/* A beginning of the ledger, or of what a load began, of which nothing began after the backup was there; and the keys'
 * values then. Of an earlier load's time the ledger may know less than the backup. */
static bool is_prefix(struct sim *s, const struct sim_order *o, const struct sim_epoch *x,
                      const struct copy *c)
{
    int64_t values[SIM_ORDER_KEYS_MAX] = {0};

    for (size_t i = 0; i < c->rows; i++) {
        const struct sim_deed *d = deed_find(o, c->ledger[i]);
        uint64_t there = i < x->rows ? o->ledger[x->base + i] : 0;
        bool differs = there ? there != c->ledger[i] : !o->forgets;
        if (differs || !d || d->invoke_ns > c->return_ns) {
            sim_violate(s, SIM_S6, "row %zu of backup %llu is write %llu: %s", i + 1,
                        (ULL)c->number, (ULL)c->ledger[i],
                        differs ? "not so in the ledger" : "it came later");
            return false;
        }
        replay(d, values);
    }
    for (uint32_t k = 0; k < SIM_ORDER_KEYS_MAX; k++)
        if (values[k] != c->values[k])
            sim_violate(s, SIM_S6, "backup %llu holds %zu writes, and key %u is %lld, not %lld",
                        (ULL)c->number, c->rows, k, (long long)c->values[k], (long long)values[k]);
    return !s->result->violated;
}

/* Everything acknowledged before. */
static void is_late_enough(struct sim *s, const struct sim_order *o, uint64_t from,
                           const struct copy *c)
{
    for (size_t i = from; i < o->rows && !s->result->violated; i++) {
        const struct sim_deed *d = o->ledger[i] ? deed_find(o, o->ledger[i]) : NULL;
        if (d && d->end == SIM_END_OK && d->kind != SIM_DEED_QUEUED && d->return_ns < c->invoke_ns)
            sim_violate(s, SIM_S6,
                        "backup %llu of the leader lacks write %llu, which was acknowledged before",
                        (ULL)c->number, (ULL)d->number);
    }
}

void sim_saver_judge(struct sim *s, const struct sim_order *o, const struct sim_epochs *epochs)
{
    const struct sim_saver *v = s->saver;

    for (uint32_t i = 0; v && i < v->count && !s->result->violated; i++) {
        const struct copy *c = &v->copies[i];
        const struct sim_epoch *x = sim_epoch_of(epochs, c->rows ? c->first : 0);
        if (!x)
            continue; /* of a load whose outcome nobody was told, and which nobody else saw */
        sim_evaluated(s, SIM_S6);
        if (is_prefix(s, o, x, c) && !c->local)
            is_late_enough(s, o, x->base + c->rows, c);
    }
}

/* ---- from beginning to end ------------------------------------------------------------------------------- */

static void boot(struct env *e, void *ctx)
{
    struct sim_saver *v = ctx;

    v->talk.env = e;
    env_timer_init(&v->think, e, on_think, v);
    env_timer_init(&v->timeout, e, on_timeout, v);
    env_timer_arm(&v->think, prng_range(&v->rng, 1, 2 * THINK_MS) * ENV_MS_NS);
}

/* Not where bytes come one by one. */
static bool happens(const struct sim *s)
{
    return prng_mix(s->plan.seed, 0x6261636b7570) % 3 == 0 && s->plan.world.net.cut != SIM_CUT_BYTE;
}

void sim_saver_create(struct sim *s)
{
    if (!happens(s))
        return;
    struct sim_saver *v = calloc(1, sizeof(*v));
    ASSERT(v);
    s->saver = v;
    v->sim = s;
    v->talk.sim = s;
    v->talk.ctx = v;
    v->talk.answered = on_answered;
    v->talk.broken = on_broken;
    world_stream_init(s->world, &v->rng, "saver", 0);
    v->host = world_host_add(s->world, "saver", NULL);
    host_start(v->host, boot, v);
}

void sim_saver_destroy(struct sim *s)
{
    for (uint32_t i = 0; s->saver && i < s->saver->count; i++)
        free(s->saver->copies[i].ledger);
    free(s->saver);
}
