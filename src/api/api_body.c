/* api_body — statements in, one log payload out, with no tree in between (http-api.md §4).
 *
 * The body is read as a stream of events and written at once through the command builder; nothing runs
 * before all of it was read. A mistake in meaning is remembered and the reading goes on, because a
 * mistake in the JSON behind it wins ("invalid JSON body"). Pure; called by api_db and api_sql. */
#include "api_int.h"

#include <rq/util/prng.h>

struct decode {
    struct json_reader reader;
    struct arena *arena;
    struct buf *payload;
    struct err_text *why;
    uint32_t params; /* of the statement being read */
};

enum { NAMED_SLOTS_MIN = 16 };
/* Parameters of one object, in order of first appearance; the last value of a name wins. */
struct named {
    struct wire_param *items;
    uint32_t *slots; /* hash table of positions + 1; 0: free */
    uint32_t count, slot_count;
};

static int body_refuse(struct decode *d, const char *text)
{
    return err_set(d->why, ERR_INVALID, "%s", text);
}

static int body_not_json(struct decode *d)
{
    return d->reader.failed == ERR_NOMEM ? ERR_NOMEM : body_refuse(d, "invalid JSON body");
}

/* ---- values --------------------------------------------------------------------------------------------- */

static int hex_digit(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

static bool is_blank(uint8_t c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

/* x'…' with an even number of hex digits, blanks around it ignored: the digits; else false. */
static bool hex_literal(struct slice text, struct slice *digits)
{
    while (text.len > 0 && is_blank(text.data[0]))
        text = slice_of(text.data + 1, text.len - 1);
    while (text.len > 0 && is_blank(text.data[text.len - 1]))
        text.len--;
    if (text.len < 3 || text.len % 2 == 0 || (text.data[0] | 0x20) != 'x' || text.data[1] != '\'' ||
        text.data[text.len - 1] != '\'')
        return false;
    *digits = slice_of(text.data + 2, text.len - 3);
    for (size_t i = 0; i < digits->len; i++)
        if (hex_digit(digits->data[i]) < 0)
            return false;
    return true;
}

static int value_string(struct decode *d, struct slice text, struct wire_param *p)
{
    struct slice digits;
    p->type = WIRE_TEXT;
    p->bytes = text;
    if (text.len < 3 || !hex_literal(text, &digits))
        return 0;
    uint8_t *bytes = arena_alloc(d->arena, digits.len / 2 + 1);
    if (!bytes)
        return ERR_NOMEM;
    for (size_t i = 0; i < digits.len / 2; i++)
        bytes[i] =
            (uint8_t)((hex_digit(digits.data[2 * i]) << 4) | hex_digit(digits.data[2 * i + 1]));
    p->type = WIRE_BLOB;
    p->bytes = slice_of(bytes, digits.len / 2);
    return 0;
}

static int value_number(struct decode *d, struct wire_param *p)
{
    const struct json_reader *r = &d->reader;
    if (r->number_kind == JSON_OVERFLOW) {
        const int len = r->text.len > 400 ? 400 : (int)r->text.len;
        return err_set(d->why, ERR_INVALID, "invalid number %.*s", len, (const char *)r->text.data);
    }
    p->type = r->number_kind == JSON_INT64 ? WIRE_INTEGER : WIRE_REAL;
    p->integer = r->integer;
    p->real = r->real;
    return 0;
}

/* Name of an element that cannot be part of a byte array, as Go prints it. */
static int bytes_refuse(struct decode *d, enum json_event event)
{
    switch (event) {
    case JSON_STRING:
        return body_refuse(d, "unsupported type string");
    case JSON_TRUE:
    case JSON_FALSE:
        return body_refuse(d, "unsupported type bool");
    case JSON_NULL:
        return body_refuse(d, "unsupported type <nil>");
    case JSON_ARRAY_BEGIN:
        return body_refuse(d, "unsupported type []interface {}");
    case JSON_OBJECT_BEGIN:
        return body_refuse(d, "unsupported type map[string]interface {}");
    case JSON_OBJECT_END:
    case JSON_ARRAY_END:
    case JSON_KEY:
    case JSON_NUMBER:
    case JSON_END:
    case JSON_ERROR:
        break;
    }
    return body_not_json(d);
}

/* After "[": integers 0..255 up to "]". */
static int value_bytes(struct decode *d, struct wire_param *p)
{
    struct buf bytes;
    buf_init(&bytes, LIMIT_HTTP_BODY_BYTES);
    enum json_event event;
    int rc = 0;
    while ((event = json_next(&d->reader)) != JSON_ARRAY_END) {
        if (event != JSON_NUMBER) {
            rc = bytes_refuse(d, event);
            goto out;
        }
        const struct json_reader *r = &d->reader;
        if (r->number_kind != JSON_INT64 || r->integer < 0 || r->integer > 255) {
            const int len = r->text.len > 400 ? 400 : (int)r->text.len;
            rc = err_set(d->why, ERR_INVALID, "unsupported type %.*s", len,
                         (const char *)r->text.data);
            goto out;
        }
        buf_append_byte(&bytes, (uint8_t)r->integer);
    }
    p->type = WIRE_BLOB;
    char *copy = bytes.failed ? NULL : arena_dup(d->arena, buf_slice(&bytes).data, buf_len(&bytes));
    if (!copy)
        rc = ERR_NOMEM;
    else
        p->bytes = slice_of(copy, buf_len(&bytes));
out:
    buf_fini(&bytes);
    return rc;
}

/* A value whose first event was just read; objects are not values. */
static int value_read(struct decode *d, enum json_event event, struct wire_param *p)
{
    switch (event) {
    case JSON_STRING:
        return value_string(d, d->reader.text, p);
    case JSON_NUMBER:
        return value_number(d, p);
    case JSON_TRUE:
    case JSON_FALSE:
        p->type = WIRE_INTEGER;
        p->integer = event == JSON_TRUE;
        return 0;
    case JSON_NULL:
        p->type = WIRE_NULL;
        return 0;
    case JSON_ARRAY_BEGIN:
        return value_bytes(d, p);
    case JSON_OBJECT_BEGIN:
        return body_refuse(d, "unsupported type map[string]interface {}");
    case JSON_OBJECT_END:
    case JSON_ARRAY_END:
    case JSON_KEY:
    case JSON_END:
    case JSON_ERROR:
        break;
    }
    return body_not_json(d);
}

/* ---- named parameters -------------------------------------------------------------------------------------- */

static uint32_t *named_slot(struct named *n, struct slice name)
{
    uint32_t at = (uint32_t)prng_hash(0, name.data, name.len) & (n->slot_count - 1);
    while (n->slots[at] != 0 && !slice_equal(n->items[n->slots[at] - 1].name, name))
        at = (at + 1) & (n->slot_count - 1);
    return &n->slots[at];
}

static int named_grow(struct decode *d, struct named *n)
{
    const uint32_t slot_count = n->slot_count ? n->slot_count * 2 : NAMED_SLOTS_MIN;
    struct wire_param *items = arena_alloc(d->arena, slot_count / 2 * sizeof *items);
    uint32_t *slots = arena_alloc(d->arena, slot_count * sizeof *slots);
    if (!items || !slots)
        return ERR_NOMEM;
    if (n->count > 0)
        memcpy(items, n->items, n->count * sizeof *items);
    memset(slots, 0, slot_count * sizeof *slots);
    n->items = items;
    n->slots = slots;
    n->slot_count = slot_count;
    for (uint32_t i = 0; i < n->count; i++)
        *named_slot(n, items[i].name) = i + 1;
    return 0;
}

static int param_emit(struct decode *d, const struct wire_param *p)
{
    if (++d->params > LIMIT_PARAMS_PER_STATEMENT)
        return body_refuse(d, "too many parameters");
    wire_cmd_param(d->payload, p);
    return 0;
}

/* After "{": names and values up to "}". */
static int named_read(struct decode *d)
{
    struct named n = {0};
    enum json_event event;
    while ((event = json_next(&d->reader)) == JSON_KEY) {
        struct wire_param p = {.name = d->reader.text};
        int rc = value_read(d, json_next(&d->reader), &p);
        if (rc == 0 && n.count * 2 >= n.slot_count)
            rc = named_grow(d, &n);
        if (rc != 0)
            return rc;
        uint32_t *slot = named_slot(&n, p.name);
        if (*slot == 0)
            *slot = ++n.count;
        if (n.count > LIMIT_PARAMS_PER_STATEMENT)
            return body_refuse(d, "too many parameters");
        n.items[*slot - 1] = p;
    }
    if (event != JSON_OBJECT_END)
        return body_not_json(d);
    for (uint32_t i = 0; i < n.count; i++) {
        const int rc = param_emit(d, &n.items[i]);
        if (rc != 0)
            return rc;
    }
    return 0;
}

/* ---- statements ---------------------------------------------------------------------------------------------- */

/* After "[": SQL text and parameters up to "]". */
static int statement_array(struct decode *d)
{
    enum json_event event = json_next(&d->reader);
    if (event == JSON_ERROR)
        return body_not_json(d);
    if (event != JSON_STRING)
        return body_refuse(d, "invalid request");
    wire_cmd_statement(d->payload, d->reader.text);
    d->params = 0;
    while ((event = json_next(&d->reader)) != JSON_ARRAY_END) {
        struct wire_param p = {0};
        int rc = 0;
        if (event == JSON_OBJECT_BEGIN)
            rc = named_read(d);
        else if ((rc = value_read(d, event, &p)) == 0)
            rc = param_emit(d, &p);
        if (rc != 0)
            return rc;
    }
    return 0;
}

static int statements_read(struct decode *d, uint32_t *count)
{
    enum json_event event = json_next(&d->reader);
    if (event == JSON_ERROR)
        return body_not_json(d);
    if (event != JSON_ARRAY_BEGIN)
        return body_refuse(d, "invalid request");
    while ((event = json_next(&d->reader)) != JSON_ARRAY_END) {
        int rc = 0;
        if (event == JSON_STRING)
            wire_cmd_statement(d->payload, d->reader.text);
        else if (event == JSON_ARRAY_BEGIN)
            rc = statement_array(d);
        else
            rc = event == JSON_ERROR ? body_not_json(d) : body_refuse(d, "invalid request");
        if (rc == 0 && ++*count > LIMIT_STATEMENTS)
            rc = body_refuse(d, "too many statements");
        if (rc != 0)
            return rc;
    }
    return *count == 0 ? body_refuse(d, "no statements") : 0;
}

int api_body_append(struct slice body, struct arena *scratch, struct buf *payload, uint32_t *count,
                    struct err_text *why)
{
    ASSERT(scratch != NULL && payload != NULL && count != NULL);
    struct decode d = {.arena = scratch, .payload = payload, .why = why};
    json_reader_init(&d.reader, body, LIMIT_JSON_DEPTH, scratch);
    *count = 0;
    int rc = statements_read(&d, count);
    if (rc == ERR_INVALID) { /* is the rest JSON at all? */
        enum json_event event;
        while ((event = json_next(&d.reader)) != JSON_END && event != JSON_ERROR)
            continue;
        if (event == JSON_ERROR)
            rc = body_not_json(&d);
    }
    return rc != 0 ? rc : wire_cmd_finish(payload);
}

/* ---- conditions (docs/api.md) --------------------------------------------------------------------------------- */

/* Name the parameter: the words are those of bodies. */
static int condition_refuse(struct decode *d, const char *param, int rc)
{
    if (rc != ERR_INVALID)
        return rc;
    const struct err_text inner = *d->why;
    return err_set(d->why, rc, "%s: %.400s", param, inner.text);
}

/* Unlike a body, a parameter that goes on behind its value is refused: it is half understood. */
static int condition_end(struct decode *d, int rc)
{
    const struct json_reader *r = &d->reader;
    for (size_t at = r->at; rc == 0 && at < r->input.len; at++)
        if (!is_blank(r->input.data[at]))
            rc = body_refuse(d, "invalid JSON");
    return rc;
}

static int condition_query(struct decode *d)
{
    const enum json_event event = json_next(&d->reader);
    int rc = 0;
    if (event == JSON_STRING)
        wire_cmd_statement(d->payload, d->reader.text);
    else if (event == JSON_ARRAY_BEGIN)
        rc = statement_array(d);
    else
        rc = body_refuse(d, "not a statement");
    return condition_end(d, rc);
}

static int condition_row(struct decode *d)
{
    enum json_event event;
    wire_cmd_statement(d->payload, slice_of(NULL, 0));
    d->params = 0;
    while ((event = json_next(&d->reader)) != JSON_ARRAY_END) {
        struct wire_param p = {0};
        int rc = value_read(d, event, &p);
        if (rc == 0)
            rc = param_emit(d, &p);
        if (rc != 0)
            return rc;
    }
    return 0;
}

static int condition_rows(struct decode *d)
{
    enum json_event event;
    uint32_t count = 0;
    if (json_next(&d->reader) != JSON_ARRAY_BEGIN)
        return body_refuse(d, "not an array of rows");
    while ((event = json_next(&d->reader)) != JSON_ARRAY_END) {
        int rc = 0;
        if (event != JSON_ARRAY_BEGIN || ++count >= LIMIT_STATEMENTS)
            rc = body_refuse(d, "not an array of rows");
        if (rc == 0)
            rc = condition_row(d);
        if (rc != 0)
            return rc;
    }
    return condition_end(d, 0);
}

int api_body_condition(struct slice query, const struct slice *rows, struct arena *scratch,
                       struct buf *payload, struct err_text *why)
{
    struct decode d = {.arena = scratch, .payload = payload, .why = why};
    wire_cmd_if_begin(payload, rows != NULL);
    json_reader_init(&d.reader, query, LIMIT_JSON_DEPTH, scratch);
    int rc = condition_refuse(&d, "if", condition_query(&d));
    if (rc == 0 && rows) {
        json_reader_init(&d.reader, *rows, LIMIT_JSON_DEPTH, scratch);
        rc = condition_refuse(&d, "is", condition_rows(&d));
    }
    if (rc == 0)
        wire_cmd_if_end(payload);
    return rc;
}

int api_body_decode(struct slice body, enum wire_cmd_kind kind, uint16_t flags,
                    struct arena *scratch, struct buf *payload, uint32_t *count,
                    struct err_text *why)
{
    wire_cmd_begin(payload, kind, flags, slice_of(NULL, 0));
    return api_body_append(body, scratch, payload, count, why);
}

int api_body_plain(struct slice sql, enum wire_cmd_kind kind, uint16_t flags, struct buf *payload)
{
    wire_cmd_begin(payload, kind, flags, slice_of(NULL, 0));
    wire_cmd_statement(payload, sql);
    return wire_cmd_finish(payload);
}

/* Length of the sequence at p (RFC 3629), 0 if it is none. */
static size_t utf8_len(const uint8_t *p, size_t left)
{
    const uint8_t c = p[0];
    if (c < 0x80)
        return 1;
    const size_t len = c >= 0xc2 && c <= 0xdf   ? 2
                       : (c & 0xf0) == 0xe0     ? 3
                       : c >= 0xf0 && c <= 0xf4 ? 4
                                                : 0;
    if (len == 0 || len > left)
        return 0;
    for (size_t i = 1; i < len; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    if ((c == 0xe0 && p[1] < 0xa0) || (c == 0xed && p[1] > 0x9f) || (c == 0xf0 && p[1] < 0x90) ||
        (c == 0xf4 && p[1] > 0x8f))
        return 0;
    return len;
}

bool api_utf8_valid(struct slice text)
{
    size_t at = 0;
    while (at < text.len) {
        const size_t len = utf8_len(text.data + at, text.len - at);
        if (len == 0)
            return false;
        at += len;
    }
    return true;
}
