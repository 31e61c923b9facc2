/* api_misc — the small endpoints: console, command line, /db/sql. */
#include "api_int.h"

static const char console_page[] =
    "<!DOCTYPE html>\n"
    "<html lang=\"en\"><head><meta charset=\"utf-8\"><title>rqlited</title></head>\n"
    "<body><h1>rqlited</h1>\n"
    "<p>This is a node of a replicated SQLite database. There is no web console in this version; "
    "these\n"
    "pages answer instead:</p>\n"
    "<ul><li><a href=\"/status?pretty\">/status</a></li><li><a "
    "href=\"/nodes?pretty&amp;nonvoters\">/nodes</a></li>\n"
    "<li><a href=\"/readyz\">/readyz</a></li><li><a href=\"/debug/vars\">/debug/vars</a></li>\n"
    "<li><a href=\"/db/query?pretty&amp;q=SELECT+*+FROM+sqlite_schema\">/db/query?q=SELECT "
    "…</a></li></ul>\n"
    "</body></html>\n";

void api_root(struct api_request *r)
{
    api_reply_location(r, 302, slice_str("/console/"));
}

void api_console_slash(struct api_request *r)
{
    api_reply_location(r, 301, slice_str("/console/"));
}

void api_console(struct api_request *r)
{
    if (slice_equal_str(r->path, "/console/index.html")) {
        api_reply_location(r, 301, slice_str("./"));
        return;
    }
    if (!slice_equal_str(r->path, "/console/")) {
        api_reply_text(r, 404, "404 page not found");
        return;
    }
    const struct api_reply reply = {.status = 200,
                                    .content_type = API_TYPE_HTML,
                                    .parts = {slice_of(console_page, sizeof console_page - 1)}};
    api_reply(r, &reply);
}

/* Only the command line makes sense outside of Go (§15.4). */
void api_pprof(struct api_request *r)
{
    const struct api *a = r->conn->api;
    struct buf text;
    if (!slice_equal_str(r->path, "/debug/pprof/cmdline")) {
        api_reply_text(r, 404, "Unknown profile");
        return;
    }
    buf_init(&text, 1024 * 1024);
    for (uint32_t i = 0; a->facts.args && a->facts.args[i]; i++) {
        if (i > 0)
            buf_append_byte(&text, 0);
        buf_append_str(&text, a->facts.args[i]);
    }
    api_reply_buf(r, API_TYPE_TEXT, &text);
    buf_fini(&text);
}

/* ---- /db/sql -------------------------------------------------------------------------------------------------- */

static void sql_entry(struct json_writer *w, struct slice sql)
{
    json_object_begin(w);
    json_key_str(w, "original");
    json_string(w, sql);
    json_key_str(w, "rewritten");
    json_string(w, sql);
    json_object_end(w);
}

static int sql_entries(struct json_writer *w, struct slice payload)
{
    struct wire_cmd cmd;
    struct slice sql;
    uint32_t params = 0;
    int rc = wire_cmd_open(payload, false, &cmd);
    while (rc == 0 && (rc = wire_cmd_next(&cmd, &sql, &params)) == 0) {
        struct wire_param p;
        sql_entry(w, sql);
        for (uint32_t i = 0; rc == 0 && i < params; i++)
            rc = wire_cmd_next_param(&cmd, &p);
    }
    return rc == ERR_EOF ? 0 : rc;
}

/* Statements are never rewritten here: time and chance answer from the log entry instead. So "rewritten"
 * is the text as given. */
void api_db_sql(struct api_request *r)
{
    struct api_conn *c = r->conn;
    struct err_text why;
    struct buf text;
    struct json_writer w;
    uint32_t count = 0;
    int rc;
    if (r->message->method == HTTP_METHOD_GET && !r->params.has_q) {
        api_reply_text(r, 400, "query not specified");
        return;
    }
    if (r->message->method == HTTP_METHOD_GET)
        rc = api_body_plain(r->params.q, WIRE_CMD_QUERY, 0, &c->payload);
    else
        rc = api_body_decode(r->message->body, WIRE_CMD_QUERY, 0, &c->arena, &c->payload, &count,
                             &why);
    if (rc != 0) {
        api_reply_text(r, rc == ERR_INVALID ? 400 : err_http_status(rc),
                       rc == ERR_INVALID ? why.text : err_text_of(rc));
        return;
    }
    buf_init(&text, LIMIT_RESULT_BYTES);
    json_writer_init(&w, &text, api_params_has(&r->params, API_FLAG_PRETTY), 0);
    json_object_begin(&w);
    json_key_str(&w, "results");
    json_array_begin(&w);
    rc = sql_entries(&w, buf_slice(&c->payload));
    json_array_end(&w);
    if (api_params_has(&r->params, API_FLAG_TIMINGS)) {
        json_key_str(&w, "time");
        json_real(&w, (double)(env_now_ns(c->api->env) - r->started_ns) / 1e9);
    }
    json_object_end(&w);
    if (rc != 0)
        api_reply_text(r, 500, err_text_of(rc));
    else
        api_reply_buf(r, API_TYPE_JSON, &text);
    buf_fini(&text);
}
