/* sim_talk.c — real bytes over simulated streams (sim_talk.h). What runs on the client's host uses its env
 * only; struct sim_talk is the simulator's own. */
#include "sim_talk.h"
#include <rq/util/assert.h>
#include <rq/util/mem.h>
#include <stdlib.h>
#include <string.h>

enum { BODY_MAX = 8 * 1024 * 1024 };

struct talk_conn {         /* one TCP connection; freed by closed() */
    struct sim_talk *talk; /* NULL: abandoned */
    struct env_stream *stream;
    struct sim_server *server;
    struct http_conn_parser *parser;
    bool opened;
    uint64_t incarnation;
};

void sim_talk_drop(struct sim_talk *t)
{
    struct talk_conn *k = t->conn;

    t->conn = NULL;
    t->due = 0;
    if (!k)
        return;
    k->talk = NULL;
    env_stream_close(k->stream);
}

void sim_talk_break(struct sim_talk *t)
{
    bool open = t->due > 0;

    sim_talk_drop(t);
    if (open)
        t->broken(t->ctx, t->sent);
}

static void conn_send(struct sim_talk *t)
{
    t->sent = true;
    if (env_stream_write(t->conn->stream, &t->questions, 1, 1 << 20))
        sim_talk_break(t);
}

static void on_opened(void *ctx, int rc)
{
    struct talk_conn *k = ctx;

    if (!k->talk)
        return;
    if (rc) {
        sim_talk_break(k->talk);
        return;
    }
    k->opened = true;
    k->incarnation = host_incarnation(k->server->host);
    env_stream_read_start(k->stream);
    if (k->talk->due && !k->talk->sent)
        conn_send(k->talk);
}

static void on_message(struct talk_conn *k, const struct http_message *m)
{
    struct sim_talk *t = k->talk;
    bool close = !m->keep_alive;

    if (!t->due || !t->sent) {
        sim_violate(t->sim, SIM_C8, "an answer without a question: status %d", m->status);
        return;
    }
    char *body = malloc(m->body.len + 1);
    if (m->body.len)
        memcpy(body, m->body.data, m->body.len);
    body[m->body.len] = '\0';
    struct sim_answer a = {.status = m->status,
                           .body = body,
                           .len = m->body.len,
                           .replayed = http_header_find(m, "Idempotency-Replayed") != NULL,
                           .incarnation = k->incarnation};
    bool more = --t->due > 0;
    if (close) /* first: what follows an answer may be the next question */
        sim_talk_drop(t);
    t->answered(t->ctx, &a);
    if (close && more)
        t->broken(t->ctx, true);
    free(body);
}

static void on_data(void *ctx, struct slice bytes)
{
    struct talk_conn *k = ctx;

    while (k->talk && bytes.len) {
        const struct http_message *m;
        struct http_refusal refusal;
        size_t used;
        enum http_progress p = http_parser_feed(k->parser, bytes, &used, &m, &refusal);
        if (p ==
            HTTP_BAD) { /* bits flipped on the wire, or a broken server: not to be told apart */
            sim_talk_break(k->talk);
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
    struct talk_conn *k = ctx;
    (void)rc;
    if (k->talk)
        sim_talk_break(k->talk);
}

static void on_drained(void *ctx)
{
    (void)ctx;
}

static void on_closed(void *ctx)
{
    struct talk_conn *k = ctx;
    http_parser_destroy(k->parser);
    mem_free(k);
}

static const struct env_stream_events conn_events = {on_opened, on_data, on_ended, on_drained,
                                                     on_closed};

static void conn_open(struct sim_talk *t, struct sim_server *v)
{
    static const struct http_parser_limits limits = {.header_bytes_max = 65536,
                                                     .body_bytes_max = BODY_MAX};
    struct talk_conn *k = mem_must_zalloc(sizeof(*k));

    k->talk = t;
    k->server = v;
    int rc = http_parser_create(HTTP_CLIENT, &limits, &k->parser);
    ASSERT(rc == 0);
    rc = env_stream_connect(t->env, v->api_addr, &conn_events, k, &k->stream);
    ASSERT(rc == 0);
    t->conn = k;
}

void sim_talk_ask(struct sim_talk *t, struct sim_server *v, struct slice questions, uint32_t count)
{
    ASSERT(!t->due && count);
    if (t->conn && t->conn->server != v)
        sim_talk_drop(t);
    t->questions = questions;
    t->sent = false;
    t->due = count;
    if (!t->conn)
        conn_open(t, v);
    else if (t->conn->opened)
        conn_send(t);
}
