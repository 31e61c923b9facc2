/* api_once — what a client may ask for beside its statements: an idempotency key, by which a retry is known
 * (docs/api.md). Called by api_db.c for requests that may write, before their statements are decoded. */
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

int api_once_begin(const struct api_request *r, enum wire_cmd_kind kind, uint16_t flags,
                   struct err_text *why)
{
    struct slice key;
    ASSERT(kind != WIRE_CMD_QUERY);
    const int rc = key_find(r->message, &key, why);
    if (rc == 0)
        wire_cmd_begin(&r->conn->payload, kind, flags, key);
    return rc;
}
