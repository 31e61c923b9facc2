/* sim_question.c — an operation as bytes of HTTP. The number of a write is its row in the ledger; the mark of
 * a read comes back in each row, and ties the answer to this question. */
#include "sim_client_int.h"
#include <rq/util/assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define ULL unsigned long long

#define SET_VALUE                                                                                  \
    "[\"INSERT INTO kv(k,v) VALUES(?,?) ON CONFLICT(k) DO UPDATE SET v=excluded.v\",%u,%lld]"
#define ADD_ROW "[\"INSERT INTO ledger(op,r,t) VALUES(?,random(),strftime('%%s %%f','now'))\",%llu]"
#define ROWS "(SELECT coalesce(max(n),0) FROM ledger)"

static const char *const level_names[SIM_LEVEL_COUNT] = {"none", "weak", "linearizable", "strong"};

struct words { /* bounded text */
    char text[1200];
    size_t len;
};

static void PRINTF_LIKE(2, 3) words_add(struct words *w, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    int n = vsnprintf(w->text + w->len, sizeof(w->text) - w->len, fmt, args);
    va_end(args);
    ASSERT(n >= 0 && (size_t)n < sizeof(w->text) - w->len);
    w->len += (size_t)n;
}

static void put(struct sim_question *q, const char *method, const char *target, const char *header,
                const char *body)
{
    size_t room = sizeof(q->text) - q->len;
    int n = snprintf(q->text + q->len, room,
                     "%s %s HTTP/1.1\r\nHost: sim\r\n%sContent-Length: %zu\r\n\r\n%s", method,
                     target, header, strlen(body), body);
    ASSERT(n > 0 && (size_t)n < room);
    q->len += (size_t)n;
}

/* ---- writes ------------------------------------------------------------------------------------------------ */

static void body_put(struct words *b, const struct sim_deed *d)
{
    ULL number = (ULL)d->number;
    long long value = (long long)d->value, expected = (long long)d->expected;

    if (d->kind == SIM_DEED_SWAP)
        words_add(b, "[[\"UPDATE kv SET v=? WHERE k=? AND v=?\",%lld,%u,%lld]," ADD_ROW "]", value,
                  d->key, expected, number);
    else if (d->kind == SIM_DEED_MIXED)
        words_add(b, "[" SET_VALUE "," ADD_ROW ",[\"SELECT ?,v FROM kv WHERE k=?\",%llu,%u]]",
                  d->key, value, number, number, d->key);
    else if (d->kind == SIM_DEED_ABORTED)
        words_add(b, "[" ADD_ROW "," SET_VALUE ",\"INSERT INTO nowhere VALUES(1)\"]", number,
                  d->key, value);
    else if (sim_deed_queues(d->kind))
        words_add(b, "[" ADD_ROW "]", number);
    else
        words_add(b, "[" SET_VALUE "," ADD_ROW "]", d->key, value, number);
}

static void write_put(struct sim_question *q, const struct sim_deed *d, const struct sim_plan *plan)
{
    struct words target = {"", 0}, body = {"", 0}, header = {"", 0};

    if (sim_deed_queues(d->kind))
        words_add(&target, "/db/execute?queue%s&timeout=%ums",
                  d->kind == SIM_DEED_AWAITED ? "&wait" : "", plan->answer_ms);
    else
        words_add(&target, "/db/%s?transaction&raft_index&timeout=%ums",
                  d->kind == SIM_DEED_SWAP || d->kind == SIM_DEED_MIXED ? "request" : "execute",
                  plan->answer_ms);
    if (d->kind == SIM_DEED_CONDITION)
        words_add(&target, "&if=%%22SELECT+v+FROM+kv+WHERE+k%%3D%u%%22&is=%%5B%%5B%lld%%5D%%5D",
                  d->key, (long long)d->expected);
    if (d->kind == SIM_DEED_UNCHANGED)
        words_add(&target, "&if_index=%llu", (ULL)d->wait_index);
    if (d->kind == SIM_DEED_KEYED)
        words_add(&header, "Idempotency-Key: op-%llu\r\n", (ULL)d->number);
    body_put(&body, d);
    put(q, "POST", target.text, header.text, body.text);
}

/* ---- reads ------------------------------------------------------------------------------------------------- */

static void sql_put(struct words *w, const struct sim_deed *d, uint32_t large_rows)
{
    if (d->kind == SIM_DEED_LARGE && large_rows == 0)
        words_add(w, "SELECT %llu,n," ROWS ",op FROM ledger ORDER BY n", (ULL)d->number);
    else if (d->kind == SIM_DEED_LARGE)
        words_add(w,
                  "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c WHERE x<%u) "
                  "SELECT %llu,x," ROWS ",hex(zeroblob(12)) FROM c",
                  large_rows, (ULL)d->number);
    else
        words_add(w, "SELECT %llu,coalesce((SELECT v FROM kv WHERE k=%u),0)," ROWS, (ULL)d->number,
                  d->key);
}

static void plus_for_spaces(char *text)
{
    for (; *text; text++)
        if (*text == ' ')
            *text = '+';
}

static void read_put(struct sim_question *q, const struct sim_deed *d, const struct sim_plan *plan,
                     uint32_t large_rows, struct prng *rng)
{
    bool get = d->kind != SIM_DEED_LARGE && prng_chance_ppm(rng, 500000);
    bool leave_open = !get && d->level != SIM_STRONG && prng_chance_ppm(rng, 40000);
    bool request = !get && prng_chance_ppm(rng, 500000);
    struct words target = {"", 0}, sql = {"", 0}, body = {"", 0};

    words_add(&target, "/db/%s?level=%s&linearizable_timeout=3s&timeout=%ums",
              request && !leave_open ? "request" : "query", level_names[d->level], plan->answer_ms);
    if (d->kind == SIM_DEED_FRESH)
        words_add(&target, "&freshness=%llums%s", (ULL)plan->heartbeat_timeout_ms,
                  prng_chance_ppm(rng, 500000) ? "&freshness_strict" : "");
    if (d->kind == SIM_DEED_CAUGHT_UP)
        words_add(&target, "&wait_index=%llu", (ULL)d->wait_index);
    sql_put(&sql, d, large_rows);
    if (get) {
        plus_for_spaces(sql.text);
        words_add(&target, "&q=%s", sql.text);
        put(q, "GET", target.text, "", "");
        return;
    }
    /* Some leave a transaction open: the next one on that read connection must not notice. */
    words_add(&body, leave_open ? "[\"BEGIN\",\"%s\"]" : "[\"%s\"]", sql.text);
    put(q, "POST", target.text, "", body.text);
}

void sim_question_put(struct sim_question *q, const struct sim_deed *d, const struct sim_plan *plan,
                      uint32_t large_rows, struct prng *rng)
{
    if (sim_deed_writes(d->kind))
        write_put(q, d, plan);
    else
        read_put(q, d, plan, large_rows, rng);
}
