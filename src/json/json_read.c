/* json_read.c — pull reader: one event per call, one pass over the input, no tree (RFC 8259).
 *
 *   state            expects                                   then
 *   VALUE            a value                                   AFTER, or inside a container
 *   VALUE_OR_END     a value, or "]"                           (just behind "[")
 *   KEY              a string and ":"                          VALUE
 *   KEY_OR_END       the same, or "}"                          (just behind "{")
 *   AFTER            "," or the closing bracket                VALUE or KEY; AFTER
 *   DONE             nothing: the top-level value is complete; what follows is not looked at
 *   FAILED           nothing: the input was not JSON
 *
 * Callers: the api, for request bodies, which are any bytes at all. */
#include <rq/json.h>

#include "json_string.h"

#include <rq/util/assert.h>

enum { DEPTH_LIMIT = 128 };
enum state { VALUE, VALUE_OR_END, KEY, KEY_OR_END, AFTER, DONE, FAILED };

void json_reader_init(struct json_reader *r, struct slice input, uint32_t depth_max,
                      struct arena *arena)
{
    ASSERT(depth_max <= DEPTH_LIMIT);
    memset(r, 0, sizeof(*r));
    r->input = input.data ? input : slice_str(""); /* NULL + 0 is undefined */
    r->depth_max = depth_max;
    r->arena = arena;
    r->state = VALUE;
}

static enum json_event fail(struct json_reader *r, int rc)
{
    r->failed = rc;
    r->state = FAILED;
    return JSON_ERROR;
}

/* Next byte that is not white space, not consumed; 0 at the end (0 itself is no JSON either). */
static uint8_t peek(struct json_reader *r)
{
    while (r->at < r->input.len) {
        uint8_t c = r->input.data[r->at];
        if (c != ' ' && c != '\n' && c != '\r' && c != '\t')
            return c;
        r->at++;
    }
    return 0;
}

static struct slice rest_of(const struct json_reader *r)
{
    return slice_of(r->input.data + r->at, r->input.len - r->at);
}

/* ---- containers ------------------------------------------------------------------------------- */

static bool in_object(const struct json_reader *r)
{
    uint32_t level = r->depth - 1;
    return (r->in_object[level / 8] >> (level % 8)) & 1;
}

static enum json_event container_begin(struct json_reader *r, bool object)
{
    if (r->depth == r->depth_max)
        return fail(r, ERR_PROTOCOL);
    uint8_t bit = (uint8_t)(1U << (r->depth % 8));
    uint8_t *byte = &r->in_object[r->depth / 8];
    *byte = (uint8_t)(object ? *byte | bit : *byte & ~bit);
    r->depth++;
    r->at++;
    r->state = object ? KEY_OR_END : VALUE_OR_END;
    return object ? JSON_OBJECT_BEGIN : JSON_ARRAY_BEGIN;
}

static void value_done(struct json_reader *r)
{
    r->state = r->depth == 0 ? DONE : AFTER;
}

static enum json_event container_end(struct json_reader *r)
{
    bool object = in_object(r);
    r->depth--;
    r->at++;
    value_done(r);
    return object ? JSON_OBJECT_END : JSON_ARRAY_END;
}

/* ---- scalars ---------------------------------------------------------------------------------- */

static int string_read(struct json_reader *r)
{
    size_t used = 0;
    r->at++;
    int rc = json_string_read(rest_of(r), r->arena, &r->text, &used);
    r->at += used;
    return rc;
}

static enum json_event string_event(struct json_reader *r)
{
    int rc = string_read(r);
    if (rc)
        return fail(r, rc);
    value_done(r);
    return JSON_STRING;
}

static enum json_event word_event(struct json_reader *r, const char *word, enum json_event event)
{
    struct slice rest = rest_of(r);
    size_t len = strlen(word);
    if (rest.len < len || memcmp(rest.data, word, len) != 0)
        return fail(r, ERR_PROTOCOL);
    r->at += len;
    value_done(r);
    return event;
}

static size_t digits_end(struct slice s, size_t i)
{
    while (i < s.len && s.data[i] >= '0' && s.data[i] <= '9')
        i++;
    return i;
}

/* Length of the number that s begins with (RFC 8259 §6), 0 if none; *plain: no fraction, no exponent. */
static size_t number_len(struct slice s, bool *plain)
{
    size_t first = s.len > 0 && s.data[0] == '-';
    size_t end = digits_end(s, first);

    *plain = true;
    if (end == first || (s.data[first] == '0' && end > first + 1))
        return 0;
    if (end < s.len && s.data[end] == '.') {
        size_t from = end + 1;
        end = digits_end(s, from);
        if (end == from)
            return 0;
        *plain = false;
    }
    if (end < s.len && (s.data[end] | 0x20) == 'e') {
        size_t from = end + 1;
        if (from < s.len && (s.data[from] == '+' || s.data[from] == '-'))
            from++;
        end = digits_end(s, from);
        if (end == from)
            return 0;
        *plain = false;
    }
    return end;
}

/* Digits with an optional minus; false if they leave the range. */
static bool int64_parse(struct slice s, int64_t *out)
{
    bool negative = s.data[0] == '-';
    uint64_t limit = (uint64_t)INT64_MAX + negative;
    uint64_t v = 0;

    for (size_t i = negative; i < s.len; i++) {
        uint64_t digit = (uint64_t)(s.data[i] - '0');
        if (v > (limit - digit) / 10)
            return false;
        v = v * 10 + digit;
    }
    *out = negative ? (int64_t)(0 - v) : (int64_t)v;
    return true;
}

static enum json_event number_event(struct json_reader *r)
{
    bool plain;
    struct slice rest = rest_of(r);
    size_t len = number_len(rest, &plain);

    if (len == 0)
        return fail(r, ERR_PROTOCOL);
    r->text = slice_of(rest.data, len);
    r->at += len;
    if (plain && int64_parse(r->text, &r->integer)) {
        r->number_kind = JSON_INT64;
        r->real = (double)r->integer;
    } else {
        r->integer = 0;
        r->real = json_real_parse(r->text);
        r->number_kind = r->real - r->real == 0 ? JSON_DOUBLE : JSON_OVERFLOW;
    }
    value_done(r);
    return JSON_NUMBER;
}

/* ---- the machine ------------------------------------------------------------------------------ */

static enum json_event value_event(struct json_reader *r, uint8_t c)
{
    switch (c) {
    case '{':
        return container_begin(r, true);
    case '[':
        return container_begin(r, false);
    case '"':
        return string_event(r);
    case 't':
        return word_event(r, "true", JSON_TRUE);
    case 'f':
        return word_event(r, "false", JSON_FALSE);
    case 'n':
        return word_event(r, "null", JSON_NULL);
    default:
        return number_event(r);
    }
}

static enum json_event key_event(struct json_reader *r, uint8_t c)
{
    if (c != '"')
        return fail(r, ERR_PROTOCOL);
    int rc = string_read(r);
    if (rc)
        return fail(r, rc);
    if (peek(r) != ':')
        return fail(r, ERR_PROTOCOL);
    r->at++;
    r->state = VALUE;
    return JSON_KEY;
}

static enum json_event step(struct json_reader *r)
{
    if (r->state == DONE)
        return JSON_END;
    if (r->state == FAILED)
        return JSON_ERROR;
    uint8_t c = peek(r);
    if (r->state == AFTER) {
        if (c == (in_object(r) ? '}' : ']'))
            return container_end(r);
        if (c != ',')
            return fail(r, ERR_PROTOCOL);
        r->at++;
        r->state = in_object(r) ? KEY : VALUE;
        c = peek(r);
    }
    switch ((enum state)r->state) {
    case VALUE_OR_END:
        return c == ']' ? container_end(r) : value_event(r, c);
    case KEY_OR_END:
        return c == '}' ? container_end(r) : key_event(r, c);
    case KEY:
        return key_event(r, c);
    case VALUE:
        return value_event(r, c);
    case AFTER:
    case DONE:
    case FAILED:
    default:
        UNREACHABLE();
    }
}

enum json_event json_next(struct json_reader *r)
{
    enum json_event event = step(r);
    r->last = (uint8_t)event;
    return event;
}

enum json_event json_skip(struct json_reader *r)
{
    enum json_event event = (enum json_event)r->last;

    if (event != JSON_OBJECT_BEGIN && event != JSON_ARRAY_BEGIN)
        return event;
    uint32_t outer_depth = r->depth - 1;
    do {
        event = json_next(r);
    } while (event != JSON_ERROR && r->depth > outer_depth);
    return event;
}
