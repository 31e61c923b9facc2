/* api_route — the order of checks for every request, and the table of endpoints (http-api.md §1.2,
 * §1.5). Called through struct api's dispatch pointer. */
#include "api_int.h"

enum {
    GET = 1U << HTTP_METHOD_GET,
    HEAD = 1U << HTTP_METHOD_HEAD,
    POST = 1U << HTTP_METHOD_POST,
    DELETE = 1U << HTTP_METHOD_DELETE,
    ANY = ~0U >> 1,
};

struct api_route {
    const char *path;
    bool prefix; /* [QUIRK] §1.5: "/db/queryX" is "/db/query" */
    bool json;   /* its empty answers are typed JSON too */
    int methods;
    uint32_t perms;           /* all of them are needed (§16.3); 0: none */
    enum api_counter counter; /* of requests routed here, whatever comes of them */
    void (*handle)(struct api_request *r);
};

/* First match wins: exact paths stand before prefixes that contain them. */
static const struct api_route route_table[] = {
    {"/", false, false, ANY, 0, API_COUNT_NONE, api_root},
    {"", false, false, ANY, 0, API_COUNT_NONE, api_root},
    {"/console", false, false, ANY, 0, API_COUNT_UI, api_console_slash},
    {"/console", true, false, GET | HEAD, AUTH_UI, API_COUNT_UI, api_console},
    {"/db/execute", true, true, POST, AUTH_EXECUTE, API_COUNT_EXECUTIONS, api_db_execute},
    {"/db/query", true, true, GET | POST, AUTH_QUERY, API_COUNT_QUERIES, api_db_query},
    {"/db/request", true, true, POST, AUTH_QUERY | AUTH_EXECUTE, API_COUNT_REQUESTS,
     api_db_request},
    {"/db/backup", true, false, GET, AUTH_BACKUP, API_COUNT_BACKUPS, api_backup},
    {"/db/load", true, true, POST, AUTH_LOAD, API_COUNT_LOADS, api_load},
    {"/db/sql", true, true, GET | POST, AUTH_QUERY, API_COUNT_SQL_ANALYZE, api_db_sql},
    {"/boot", false, true, POST, AUTH_LOAD, API_COUNT_BOOT, api_boot},
    {"/snapshot", false, true, POST, AUTH_SNAPSHOT, API_COUNT_USER_SNAPSHOTS, api_snapshot},
    {"/reap", false, true, POST, AUTH_SNAPSHOT, API_COUNT_USER_REAPS, api_reap},
    {"/remove", true, true, DELETE, AUTH_REMOVE, API_COUNT_NONE, api_remove},
    {"/status", true, true, GET, AUTH_STATUS, API_COUNT_NUM_STATUS, api_status},
    {"/nodes", true, true, GET, AUTH_STATUS, API_COUNT_NONE, api_nodes},
    {"/leader", false, true, GET | POST, AUTH_LEADER_OPS, API_COUNT_NONE, api_leader},
    {"/readyz", true, false, GET, AUTH_READY, API_COUNT_NUM_READYZ, api_ready},
    {"/licenses", false, false, GET, AUTH_STATUS, API_COUNT_NONE, api_licenses},
    {"/metrics", false, false, GET, AUTH_STATUS, API_COUNT_NONE, api_metrics},
    {"/debug/vars", false, true, ANY, AUTH_STATUS, API_COUNT_NONE, api_vars},
    {"/debug/pprof", true, false, ANY, AUTH_STATUS, API_COUNT_NONE, api_pprof},
};

static const struct api_route *route_find(struct slice path)
{
    for (size_t i = 0; i < sizeof route_table / sizeof route_table[0]; i++) {
        const struct api_route *route = &route_table[i];
        const size_t len = strlen(route->path);
        if (path.len >= len && (route->prefix || path.len == len) &&
            (len == 0 || memcmp(path.data, route->path, len) == 0))
            return route;
    }
    return NULL;
}

static void route_handle(struct api_request *r)
{
    if (r->route->methods & (1 << r->message->method))
        r->route->handle(r);
    else if (r->route->json)
        api_reply_empty_json(r, 405);
    else
        api_reply_empty(r, 405);
}

static void route_judged(struct api_request *r, enum guard_answer answer)
{
    struct api *a = r->conn->api;
    switch (answer) {
    case GUARD_YES:
        a->counters[API_COUNT_AUTH_OK]++;
        route_handle(r);
        return;
    case GUARD_NO:
        a->counters[API_COUNT_AUTH_FAIL]++;
        if (r->route->json)
            api_reply_empty_json(r, 401);
        else
            api_reply_empty(r, 401);
        return;
    case GUARD_FULL:
        api_reply_text(r, 503, "too many passwords are being checked, try again");
        return;
    case GUARD_LATER:
        return; /* route_judged_later() */
    }
}

static void route_judged_later(struct guard_wait *w, enum guard_answer answer)
{
    route_judged(LIST_ENTRY(w, struct api_request, guard_wait), answer);
}

static void route_authorize(struct api_request *r)
{
    const struct auth_question question = {
        .user = api_auth_user(r), .password = api_auth_password(r), .perms = r->route->perms};
    r->guard_wait.done = route_judged_later;
    if (question.perms == 0)
        route_handle(r);
    else
        route_judged(r, guard_ask(r->conn->api->guard, &question, &r->guard_wait));
}

/* 0, or the request was answered. */
static int route_parse(struct api_request *r)
{
    struct arena *arena = &r->conn->arena;
    struct slice bad = {0};
    struct err_text why;
    http_target_split(r->message->target, &r->path_raw, &r->query_raw);
    int rc = api_params_parse(r->query_raw, arena, &r->params, &why);
    if (rc != 0) {
        api_reply_text(r, rc == ERR_INVALID ? 400 : 503,
                       rc == ERR_INVALID ? why.text : err_text_of(rc));
        return rc;
    }
    rc = http_percent_decode(r->path_raw, false, arena, &r->path, &bad);
    if (rc != 0) {
        api_reply_text(r, rc == ERR_INVALID ? 400 : 503,
                       rc == ERR_INVALID ? "invalid URL escape" : err_text_of(rc));
        return rc;
    }
    rc = api_auth_read(r);
    if (rc != 0)
        api_reply_text(r, 503, err_text_of(rc));
    return rc;
}

void api_dispatch(struct api_request *r)
{
    if (r->message->method == HTTP_METHOD_OPTIONS) {
        api_reply_empty(r, 200);
        return;
    }
    if (route_parse(r) != 0)
        return;
    r->route = route_find(r->path);
    if (!r->route) {
        api_reply_empty(r, 404);
        return;
    }
    r->conn->api->counters[r->route->counter]++;
    route_authorize(r);
}
