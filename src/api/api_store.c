/* api_store — what a connection needs only while it talks: parser, buffers, arena. An idle connection has
 * none of it: it gives its store back after each answer and takes one when the next bytes come, mostly one
 * that is still warm in the cache. Called by api_conn. */
#include "api_int.h"

enum {
    STORES_MAX = 64,        /* kept for the next … */
    KEEP_BYTES = 32 * 1024, /* … with buffers no larger than this */
    BUFFER_MAX_BYTES = 64 * 1024 * 1024,
    ARENA_MAX_BYTES = 256 * 1024 * 1024,
};

struct api_store {
    struct list link; /* while nobody has it */
    struct http_conn_parser *parser;
    struct buf in, out, payload, text;
    struct arena arena;
};

/* SQLite's header begins with "SQLite format 3" and a NUL; rqlite looks at the first thirteen bytes. */
bool api_body_is_sqlite(struct slice start)
{
    static const char magic[] = "SQLite format";
    return start.len > sizeof magic - 1 && memcmp(start.data, magic, sizeof magic - 1) == 0;
}

bool api_body_streams(const struct http_message *m, struct slice start)
{
    static const char load[] = "/db/load", boot[] = "/boot";
    struct slice path, query;
    http_target_split(m->target, &path, &query);
    const bool loads = path.len >= sizeof load - 1 && memcmp(path.data, load, sizeof load - 1) == 0;
    if (m->method != HTTP_METHOD_POST || (!loads && !slice_equal_str(path, boot)))
        return false;
    return start.len == 0 || api_body_is_sqlite(start);
}

static void store_free(struct api_store *s)
{
    http_parser_destroy(s->parser);
    buf_fini(&s->in);
    buf_fini(&s->out);
    buf_fini(&s->payload);
    buf_fini(&s->text);
    arena_fini(&s->arena);
    mem_free(s);
}

static struct api_store *store_new(void)
{
    static const struct http_parser_limits limits = {
        .header_bytes_max = LIMIT_HTTP_HEADER_BYTES,
        .body_bytes_max = LIMIT_HTTP_BODY_BYTES,
        .streams = api_body_streams,
        .start_bytes = API_BODY_START_BYTES,
    };
    struct api_store *s = mem_zalloc(sizeof *s);
    if (!s)
        return NULL;
    list_init(&s->link);
    buf_init(&s->in, BUFFER_MAX_BYTES);
    buf_init(&s->out, BUFFER_MAX_BYTES);
    buf_init(&s->payload, LIMIT_ENTRY_BYTES);
    buf_init(&s->text, BUFFER_MAX_BYTES);
    arena_init(&s->arena, ARENA_MAX_BYTES);
    if (http_parser_create(HTTP_SERVER, &limits, &s->parser) != 0) {
        store_free(s);
        return NULL;
    }
    return s;
}

bool api_store_take(struct api_conn *c)
{
    struct api *a = c->api;
    if (c->store)
        return true;
    struct list *l = list_pop_front(&a->stores);
    struct api_store *s = l ? LIST_ENTRY(l, struct api_store, link) : store_new();
    if (!s)
        return false;
    if (l)
        a->store_count--;
    c->store = s;
    c->parser = s->parser;
    c->in = s->in;
    c->out = s->out;
    c->payload = s->payload;
    c->text = s->text;
    c->arena = s->arena;
    return true;
}

static void input_set(struct api_conn *c, size_t bytes)
{
    ASSERT(c->api->input_bytes >= c->input_bytes);
    c->api->input_bytes += bytes - c->input_bytes;
    c->input_bytes = bytes;
}

bool api_store_count(struct api_conn *c)
{
    ASSERT(c->store != NULL);
    input_set(c, c->in.cap + http_parser_held(c->parser));
    return c->api->input_bytes <= LIMIT_HTTP_INPUT_BYTES ||
           c->input_bytes <= LIMIT_HTTP_INPUT_SMALL_BYTES;
}

static void trim(struct buf *dst, struct buf *src)
{
    buf_reset(src, KEEP_BYTES);
    *dst = *src;
    buf_init(src, 0); /* nothing may be written without a store */
}

void api_store_give(struct api_conn *c)
{
    struct api *a = c->api;
    struct api_store *s = c->store;
    if (!s)
        return;
    input_set(c, 0);
    http_parser_next(s->parser);
    arena_reset(&c->arena);
    s->arena = c->arena;
    arena_init(&c->arena, 0);
    trim(&s->in, &c->in);
    trim(&s->out, &c->out);
    trim(&s->payload, &c->payload);
    trim(&s->text, &c->text);
    c->store = NULL;
    c->parser = NULL;
    if (a->store_count >= STORES_MAX || !http_parser_idle(s->parser)) { /* it refused: for ever */
        store_free(s);
        return;
    }
    list_push_back(a->stores.next, &s->link); /* to the front: the last one is the warmest */
    a->store_count++;
}

void api_stores_free(struct api *a)
{
    for (struct list *l; (l = list_pop_front(&a->stores));)
        store_free(LIST_ENTRY(l, struct api_store, link));
    a->store_count = 0;
}
