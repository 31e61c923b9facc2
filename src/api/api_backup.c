/* api_backup — GET /db/backup: which one is wanted to node, its bytes to the client as they come (http-api.md §13.1).
 * A small one is one answer of a known length, a larger one goes out in parts; one that breaks off then ends the
 * connection without an end of the body. */
#include "api_int.h"

static enum wire_backup_format format_of(const struct api_params *p)
{
    if (api_text_is(p->fmt, "sql"))
        return WIRE_BACKUP_SQL;
    if (api_text_is(p->fmt, "delete"))
        return WIRE_BACKUP_DELETE;
    /* A format that is not known is binary [QUIRK] (§2.3). */
    return api_params_has(p, API_FLAG_VACUUM) ? WIRE_BACKUP_VACUUM : WIRE_BACKUP_BINARY;
}

static struct slice trimmed(struct slice s)
{
    while (s.len > 0 && (s.data[0] == ' ' || (s.data[0] >= '\t' && s.data[0] <= '\r')))
        s = slice_of(s.data + 1, s.len - 1);
    while (s.len > 0 &&
           (s.data[s.len - 1] == ' ' || (s.data[s.len - 1] >= '\t' && s.data[s.len - 1] <= '\r')))
        s.len--;
    return s;
}

/* Comma-separated names; returns how many. */
static uint32_t tables_split(struct slice list, struct buf *out)
{
    uint32_t count = 0;
    while (list.len > 0) {
        const uint8_t *comma = memchr(list.data, ',', list.len);
        const size_t len = comma ? (size_t)(comma - list.data) : list.len;
        const struct slice name = trimmed(slice_of(list.data, len));
        if (name.len > 0) {
            wire_backup_table(out, name);
            count++;
        }
        const size_t used = len + (comma ? 1 : 0);
        list = slice_of(list.data + used, list.len - used);
    }
    return count;
}

/* ---- node's answer --------------------------------------------------------------------------------------- */

static void backup_refused(struct api_request *r, int rc, const char *text)
{
    const char *words = text && text[0] != '\0' ? text : err_text_of(rc);
    if (api_leader_refused(r, rc))
        return;
    switch (rc) {
    case ERR_NOT_LEADER:
        api_reply_text(r, 500, "not leader");
        return;
    case ERR_NOT_READY:
        api_reply_text(r, 503, "store not open");
        return;
    case ERR_FULL:
    case ERR_NOMEM:
        api_reply_text(r, 503, words);
        return;
    default:
        api_reply_text(r, 500, words);
        return;
    }
}

static void backup_over(struct api_request *r)
{
    struct api *a = r->conn->api;
    a->backup_wall_ns = env_wall_ns(a->env);
}

static void backup_first(struct api_request *r, const struct node_answer *answer)
{
    const struct api_reply reply = {
        .status = 200,
        .content_type = format_of(&r->params) == WIRE_BACKUP_SQL ? "application/sql"
                                                                 : "application/octet-stream",
        .parts = {answer->body},
    };
    if (answer->more) {
        api_reply_begin(r, &reply);
    } else {
        backup_over(r);
        api_reply(r, &reply);
    }
}

static void backup_replied(void *ctx, const struct node_answer *answer)
{
    struct api_conn *c = ctx;
    struct api_request *r = &c->request;
    ASSERT(c->busy && r->ticket != 0);
    if (!answer->more)
        r->ticket = 0;
    if (answer->rc != 0 && r->in_parts) {
        api_reply_cut(r, answer->text ? answer->text : err_text_of(answer->rc));
    } else if (answer->rc != 0) {
        backup_refused(r, answer->rc, answer->text);
    } else if (!r->in_parts) {
        backup_first(r, answer);
    } else if (answer->more) {
        api_reply_part(r, answer->body);
    } else {
        backup_over(r);
        api_reply_end(r, answer->body, slice_of(NULL, 0));
    }
}

/* ---- asking ------------------------------------------------------------------------------------------------ */

/* Into c->payload. 0, ERR_NOMEM, ERR_TOO_BIG. */
static int payload_build(struct api_request *r)
{
    struct api_conn *c = r->conn;
    struct wire_backup b = {
        .format = format_of(&r->params),
        .compress = api_params_has(&r->params, API_FLAG_COMPRESS),
    };
    buf_reset(&c->text, 64 * 1024);
    if (b.format == WIRE_BACKUP_SQL)
        b.table_count = tables_split(r->params.tables, &c->text);
    b.tables = buf_slice(&c->text);
    return c->text.failed ? c->text.failed : wire_backup_put(&c->payload, &b);
}

void api_backup(struct api_request *r)
{
    struct api_conn *c = r->conn;
    const struct api_params *p = &r->params;
    enum { CONFIRM_MS = 10 * 1000 };
    if (api_params_has(p, API_FLAG_VACUUM) && format_of(p) != WIRE_BACKUP_VACUUM) {
        api_reply_text(r, 500, "invalid backup format");
        return;
    }
    int rc = payload_build(r);
    const struct node_request request = {
        .f = {.kind = WIRE_BACKUP,
              .level =
                  api_params_has(p, API_FLAG_NOLEADER) ? WIRE_LEVEL_NONE : WIRE_LEVEL_LINEARIZABLE,
              .timeout_ms = api_params_timeout_ms(p),
              .linearizable_timeout_ms = CONFIRM_MS,
              .in_parts = true,
              .payload = buf_slice(&c->payload),
              .user = api_auth_user(r),
              .password = api_auth_password(r)},
        .redirect = api_params_has(p, API_FLAG_REDIRECT),
    };
    if (rc == 0)
        rc = c->api->node ? node_submit(c->api->node, &request, backup_replied, c, &r->ticket)
                          : ERR_NOT_READY;
    if (rc != 0)
        backup_refused(r, rc, NULL);
}
