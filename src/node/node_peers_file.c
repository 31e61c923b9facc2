/* node_peers_file.c — raft/peers.json, by which an operator forces a membership: read and checked, in the
 * order and with the words that scripts know (daemon.md §8). Called by node_recover.c.
 *
 *   [{"id": "a", "address": "10.9.0.1:4002"}, {"id": "b", "address": "10.9.0.2:4002", "non_voter": true}]
 *
 * Unknown keys, and whatever follows the array, are not looked at. */
#include "node_int.h"
#include <rq/json.h>

enum { JSON_DEPTH = 32, ARENA_BYTES = 1024 * 1024 };

struct server {
    struct slice id, address;
    bool non_voter;
};
struct parse {
    struct json_reader json;
    struct server servers[RAFT_NODES_MAX];
    uint32_t count;
    struct err_text *why;
};

/* ---- reading -------------------------------------------------------------------------------------------- */

static int not_json(struct parse *p, const char *what)
{
    return err_set(p->why, ERR_INVALID, "failed to read peers file: %s at offset %zu", what,
                   p->json.at);
}

static int take_text(struct parse *p, enum json_event event, struct slice *out)
{
    if (event != JSON_STRING && event != JSON_NULL)
        return not_json(p, "a text is expected");
    if (event == JSON_STRING)
        *out = p->json.text;
    return 0;
}

static int take_bool(struct parse *p, enum json_event event, bool *out)
{
    if (event != JSON_TRUE && event != JSON_FALSE && event != JSON_NULL)
        return not_json(p, "true or false is expected");
    *out = event == JSON_TRUE;
    return 0;
}

static int take_field(struct parse *p, struct server *s)
{
    struct slice key = p->json.text;
    enum json_event event = json_next(&p->json);

    if (slice_equal_str(key, "id"))
        return take_text(p, event, &s->id);
    if (slice_equal_str(key, "address"))
        return take_text(p, event, &s->address);
    if (slice_equal_str(key, "non_voter"))
        return take_bool(p, event, &s->non_voter);
    return json_skip(&p->json) == JSON_ERROR ? not_json(p, "not JSON") : 0;
}

static int take_server(struct parse *p)
{
    if (p->count == RAFT_NODES_MAX)
        return err_set(p->why, ERR_INVALID,
                       "failed to read peers file: more than %d nodes in configuration",
                       RAFT_NODES_MAX);
    struct server *s = &p->servers[p->count++];
    enum json_event event;

    while ((event = json_next(&p->json)) == JSON_KEY) {
        int rc = take_field(p, s);
        if (rc)
            return rc;
    }
    return event == JSON_OBJECT_END ? 0 : not_json(p, "not JSON");
}

static int take_servers(struct parse *p)
{
    enum json_event event = json_next(&p->json);

    if (event == JSON_NULL)
        return 0;
    if (event != JSON_ARRAY_BEGIN)
        return not_json(p, event == JSON_ERROR ? "not JSON" : "an array is expected");
    while ((event = json_next(&p->json)) == JSON_OBJECT_BEGIN) {
        int rc = take_server(p);
        if (rc)
            return rc;
    }
    return event == JSON_ARRAY_END ? 0 : not_json(p, "an object or the array's end is expected");
}

/* ---- words ----------------------------------------------------------------------------------------------- */

/* "{Voter a 10.9.0.1:4002}" */
static void put_server(struct buf *b, const struct server *s)
{
    (void)buf_append_str(b, s->non_voter ? "{Nonvoter " : "{Voter ");
    (void)buf_append_slice(b, s->id);
    (void)buf_append_str(b, " ");
    (void)buf_append_slice(b, s->address);
    (void)buf_append_str(b, "}");
}

static void put_servers(struct buf *b, const struct parse *p)
{
    (void)buf_append_str(b, "{[");
    for (uint32_t i = 0; i < p->count; i++) {
        if (i > 0)
            (void)buf_append_str(b, " ");
        put_server(b, &p->servers[i]);
    }
    (void)buf_append_str(b, "]}");
}

/* of: NULL: all of them. */
static int bad(struct parse *p, const char *step, const char *what, const struct server *of)
{
    struct buf b;

    buf_init(&b, LIMIT_ENTRY_BYTES);
    if (of)
        put_server(&b, of);
    else
        put_servers(&b, p);
    (void)err_set(p->why, ERR_INVALID, "failed to %s: %s in configuration: %.*s", step, what,
                  (int)buf_len(&b), (const char *)buf_slice(&b).data);
    buf_fini(&b);
    return ERR_INVALID;
}

static int bad_text(struct parse *p, const char *step, const char *what, struct slice text)
{
    return err_set(p->why, ERR_INVALID, "failed to %s: %s: %.*s", step, what, (int)text.len,
                   (const char *)text.data);
}

/* ---- checks ------------------------------------------------------------------------------------------------ */

static const char reading[] = "read peers file", recovering[] = "recover node";

static int check_form(struct parse *p)
{
    bool voter = false;

    for (uint32_t i = 0; i < p->count; i++) {
        const struct server *s = &p->servers[i];
        if (s->id.len == 0)
            return bad(p, reading, "empty ID", NULL);
        if (s->address.len == 0)
            return bad(p, reading, "empty address", s);
        for (uint32_t j = 0; j < i; j++) {
            if (slice_equal(p->servers[j].id, s->id))
                return bad_text(p, reading, "found duplicate ID in configuration", s->id);
            if (slice_equal(p->servers[j].address, s->address))
                return bad_text(p, reading, "found duplicate address in configuration", s->address);
        }
        voter |= !s->non_voter;
    }
    return voter ? 0 : bad(p, reading, "need at least one voter", NULL);
}

static bool has(struct slice text, const char *part)
{
    size_t len = strlen(part);

    for (size_t i = 0; i + len <= text.len; i++)
        if (memcmp(text.data + i, part, len) == 0)
            return true;
    return false;
}

/* "host:port" with one colon, but for a host in brackets. */
static bool is_host_port(struct slice a)
{
    size_t colons = 0, last = 0;
    bool bracket = a.len > 0 && a.data[0] == '[';

    for (size_t i = 0; i < a.len; i++) {
        if (a.data[i] == ':') {
            colons++;
            last = i;
        }
    }
    return colons > 0 && (bracket ? last > 0 && a.data[last - 1] == ']' : colons == 1);
}

static bool fits(struct slice text, size_t max)
{
    return text.len <= max && memchr(text.data, '\0', text.len) == NULL;
}

static int check_texts(struct parse *p)
{
    for (uint32_t i = 0; i < p->count; i++) {
        const struct server *s = &p->servers[i];
        if (has(s->address, "://"))
            return bad_text(p, recovering, "protocol specified in address", s->address);
        if (!is_host_port(s->address) || !fits(s->address, WIRE_ADDR_MAX))
            return bad_text(p, recovering, "invalid address in configuration", s->address);
        if (!fits(s->id, WIRE_NAME_MAX))
            return bad_text(p, recovering, "invalid ID in configuration", s->id);
        for (uint32_t j = 0; j < i; j++)
            if (wire_member_id(p->servers[j].id) == wire_member_id(s->id))
                return bad_text(p, recovering, "this node ID collides with another, choose another",
                                s->id);
    }
    return 0;
}

/* ---- the result --------------------------------------------------------------------------------------------- */

static void conf_of(const struct parse *p, struct wire_conf *out)
{
    memset(out, 0, sizeof(*out));
    for (uint32_t i = 0; i < p->count; i++) {
        const struct server *s = &p->servers[i];
        struct wire_member m = {.id = wire_member_id(s->id)};
        m.voter = !s->non_voter;
        m.replica = s->non_voter;
        memcpy(m.name, s->id.data, s->id.len);
        memcpy(m.addr, s->address.data, s->address.len);
        node_conf_insert(out, &m);
    }
}

int node_peers_parse(struct slice text, struct wire_conf *out, struct err_text *why)
{
    struct parse *p = mem_zalloc(sizeof(*p));
    struct arena arena;

    if (!p)
        return err_set(why, ERR_NOMEM, "failed to read peers file: out of memory");
    arena_init(&arena, ARENA_BYTES);
    json_reader_init(&p->json, text, JSON_DEPTH, &arena);
    p->why = why;
    int rc = take_servers(p);
    if (rc == 0)
        rc = check_form(p);
    if (rc == 0)
        rc = check_texts(p);
    if (rc == 0)
        conf_of(p, out);
    arena_fini(&arena);
    mem_free(p);
    return rc;
}
