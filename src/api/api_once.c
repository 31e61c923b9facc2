/* api_once — what a client may ask for beside its statements: an idempotency key, by which a retry is known,
 * and a condition under which alone to write (docs/api.md). Called by api_db.c for requests that may write, before their statements are decoded. */
#include "api_int.h"

static bool key_valid(struct slice key)
{
    if (key.len == 0 || key.len > LIMIT_KEY_BYTES)
        return false;
    for (size_t i = 0; i < key.len; i++)
        if (key.data[i] <= ' ' || key.data[i] > '~')
            return false;
    return true;
}

static bool name_equal(struct slice a, struct slice b)
{
    if (a.len != b.len)
        return false;
    for (size_t i = 0; i < a.len; i++)
        if ((a.data[i] | 0x20) != (b.data[i] | 0x20))
            return false;
    return true;
}

/* Two of them would leave it open which one counts. */
static int key_find(const struct http_message *m, struct slice *key, struct err_text *why)
{
    static const char name[] = "Idempotency-Key";
    const struct http_header *h = http_header_find(m, name);
    *key = slice_of(NULL, 0);
    if (!h)
        return 0;
    *key = h->value;
    if (!key_valid(*key))
        return err_set(why, ERR_INVALID, "%s must be 1 to %d visible ASCII characters", name,
                       LIMIT_KEY_BYTES);
    for (const struct http_header *next = h + 1; next < m->headers + m->header_count; next++)
        if (name_equal(next->name, h->name))
            return err_set(why, ERR_INVALID, "more than one %s", name);
    return 0;
}

/* ---- conditions -------------------------------------------------------------------------------------- */

static int index_parse(struct slice text, uint64_t *out)
{
    uint64_t v = 0;
    if (text.len == 0)
        return ERR_INVALID;
    for (size_t i = 0; i < text.len; i++) {
        const unsigned digit = (unsigned)text.data[i] - '0';
        if (digit > 9 || v > (UINT64_MAX - digit) / 10)
            return ERR_INVALID;
        v = v * 10 + digit;
    }
    *out = v;
    return 0;
}

static int condition_put(const struct api_request *r, struct err_text *why)
{
    const struct api_params *p = &r->params;
    struct buf *payload = &r->conn->payload;
    uint64_t index = 0;
    if (p->has_if_index && index_parse(p->if_index, &index) != 0)
        return err_set(why, ERR_INVALID, "if_index is not a valid integer");
    if (p->has_is && !p->has_if)
        return err_set(why, ERR_INVALID, "is requires if");
    if (p->has_if_index)
        wire_cmd_if_index(payload, index);
    if (!p->has_if)
        return 0;
    return api_body_condition(p->if_query, p->has_is ? &p->is_rows : NULL, &r->conn->arena, payload,
                              why);
}

int api_once_begin(const struct api_request *r, enum wire_cmd_kind kind, uint16_t flags,
                   struct err_text *why)
{
    struct slice key;
    ASSERT(kind != WIRE_CMD_QUERY);
    const int rc = key_find(r->message, &key, why);
    if (rc != 0)
        return rc;
    wire_cmd_begin(&r->conn->payload, kind, flags, key);
    return condition_put(r, why);
}

const char *api_once_refused(const struct api_request *r)
{
    const struct api_params *p = &r->params;
    if (http_header_find(r->message, "Idempotency-Key"))
        return "a queued write cannot have an Idempotency-Key";
    if (p->has_if_index || p->has_if || p->has_is)
        return "a queued write cannot have a condition";
    return NULL;
}
