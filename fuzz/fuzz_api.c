/* fuzz_api.c — whatever bytes a client sends, a node with its HTTP surface answers well-formed HTTP and
 * JSON, serves the next client, and stops in good order with all its memory given back.
 *
 * First byte: how the rest reaches the server. Bits 0-1: whole, in halves, in pieces of 7 bytes, or whole
 * and the client hangs up at once. The rest is the connection's bytes. One node serves many inputs, so that
 * what one leaves behind meets the next; after INPUTS_PER_NODE it is stopped and a new one made. */
#include "api_world.h"
#include "fuzz_int.h"

#include <rq/http.h>
#include <rq/json.h>
#include <rq/util/mem.h>
#include <stdbool.h>
#include <strings.h>

enum { INPUTS_PER_NODE = 400, PIECES_MAX = 60 };
enum delivery { WHOLE, HALVES, PIECES, HANG_UP };

static struct api_world world;
static uint64_t inputs;

static bool contains(struct slice bytes, const char *text)
{
    size_t len = strlen(text);
    for (size_t i = 0; i + len <= bytes.len; i++)
        if (memcmp(bytes.data + i, text, len) == 0)
            return true;
    return false;
}

/* A recursive query need not end; db_timeout looks at the clock, which stands still while a job runs here. */
static bool may_be_endless(struct slice bytes)
{
    for (size_t i = 0; i + 9 <= bytes.len; i++)
        if (strncasecmp((const char *)bytes.data + i, "RECURSIVE", 9) == 0)
            return true;
    return false;
}

/* ---- what an answer must be --------------------------------------------------------------------------- */

static void check_json(struct slice body)
{
    struct json_reader r;
    struct arena arena;
    enum json_event e;

    arena_init(&arena, SIZE_MAX / 8);
    json_reader_init(&r, body, 100, &arena);
    do {
        e = json_next(&r);
        ASSERT(e != JSON_ERROR);
    } while (e != JSON_END);
    for (size_t i = r.at; i < body.len; i++)
        ASSERT(body.data[i] == '\n');
    arena_fini(&arena);
}

static bool header_is(const struct http_message *m, const char *name, const char *value)
{
    const struct http_header *h = http_header_find(m, name);
    return h && slice_equal(h->value, slice_str(value));
}

static void check_answer(const struct http_message *m)
{
    ASSERT(m->status >= 200 && m->status <= 599);
    ASSERT(m->status >= 400 ||
           http_header_find(m, "Date")); /* a refused request has but the refusal */
    ASSERT(!http_header_find(m, "Server"));
    if (header_is(m, "Content-Type", "application/json; charset=utf-8") && m->body.len)
        check_json(m->body);
    if (m->status == 500 && m->body.len)
        ASSERT(m->body.data[m->body.len - 1] == '\n');
}

/* Everything received is answers, one after the other. The server may end the connection after any of them;
 * it may be cut off only by the client's hanging up. */
static void check_answers(struct slice bytes)
{
    static const struct http_parser_limits limits = {.header_bytes_max = 64 * 1024,
                                                     .body_bytes_max = SIZE_MAX / 8};
    struct http_conn_parser *p;
    const struct http_message *m;
    struct http_refusal refusal;
    enum http_progress progress = HTTP_MESSAGE;
    size_t used;

    int rc = http_parser_create(HTTP_CLIENT, &limits, &p);
    ASSERT(rc == 0);
    while (bytes.len) {
        progress = http_parser_feed(p, bytes, &used, &m, &refusal);
        ASSERT(progress == HTTP_MESSAGE || progress == HTTP_NEED_MORE);
        bytes = slice_of(bytes.data + used, bytes.len - used);
        if (progress == HTTP_MESSAGE) {
            check_answer(m);
            http_parser_next(p);
        }
    }
    ASSERT(http_parser_idle(p));
    http_parser_destroy(p);
}

/* ---- one input ------------------------------------------------------------------------------------------ */

static void deliver(enum delivery how, struct slice bytes)
{
    size_t piece = how == PIECES   ? bytes.len / PIECES_MAX + 7
                   : how == HALVES ? bytes.len / 2 + 1
                                   : bytes.len;

    for (size_t at = 0; at < bytes.len; at += piece) {
        size_t len = bytes.len - at < piece ? bytes.len - at : piece;
        api_world_send(&world, slice_of(bytes.data + at, len));
        if (how != WHOLE && how != HANG_UP)
            (void)world_run_for(world.world, ENV_MS_NS);
    }
}

static void play(enum delivery how, struct slice bytes)
{
    api_world_dial(&world);
    deliver(how, bytes);
    if (how != HANG_UP) {
        api_world_listen(&world);
        if (!contains(bytes, "HEAD")) /* whose answers cannot be told apart without the questions */
            check_answers(slice_of(world.answer, world.answer_len));
    }
    api_world_leave(&world);
}

/* Whoever comes next is served, through the log and all. */
static void probe(void)
{
    static const char question[] =
        "GET /db/query?level=strong&q=SELECT+1 HTTP/1.1\r\nHost: n1\r\n\r\n";
    static const char body[] =
        "{\"results\":[{\"columns\":[\"1\"],\"types\":[\"integer\"],\"values\":[[1]]}]}";

    api_world_dial(&world);
    api_world_send(&world, slice_str(question));
    for (int steps = 0; world.answer_len == 0 && steps < 300; steps++)
        (void)world_run_for(world.world, API_WORLD_STEP_MS * ENV_MS_NS);
    struct slice answer = slice_of(world.answer, world.answer_len);
    ASSERT(contains(answer, "HTTP/1.1 200 OK\r\n"));
    ASSERT(contains(answer, body));
    api_world_leave(&world);
    node_check(world.node);
}

static void library_init(void)
{
    int rc = db_library_init(true);
    ASSERT(rc == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0 || may_be_endless(slice_of(data, size)))
        return 0;
    if (inputs % INPUTS_PER_NODE == 0) {
        if (inputs)
            api_world_destroy(&world);
        else
            library_init();
        api_world_create(&world, inputs + 1);
    }
    inputs++;
    play((enum delivery)(data[0] & 3), slice_of(data + 1, size - 1));
    probe();
    return 0;
}
