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
    enum api_counter counter; /* of requests routed here, whatever comes of them */
    void (*handle)(struct api_request *r);
};

/* First match wins: exact paths stand before prefixes that contain them. */
static const struct api_route route_table[] = {
    {"/", false, false, ANY, API_COUNT_NONE, api_root},
    {"", false, false, ANY, API_COUNT_NONE, api_root},
    {"/console", false, false, ANY, API_COUNT_UI, api_console_slash},
    {"/console", true, false, GET | HEAD, API_COUNT_UI, api_console},
    {"/db/execute", true, true, POST, API_COUNT_EXECUTIONS, api_db_execute},
    {"/db/query", true, true, GET | POST, API_COUNT_QUERIES, api_db_query},
    {"/db/request", true, true, POST, API_COUNT_REQUESTS, api_db_request},
    {"/db/backup", true, false, GET, API_COUNT_BACKUPS, api_not_built},
    {"/db/load", true, true, POST, API_COUNT_LOADS, api_not_built},
    {"/db/sql", true, true, GET | POST, API_COUNT_SQL_ANALYZE, api_db_sql},
    {"/boot", false, true, POST, API_COUNT_BOOT, api_not_built},
    {"/snapshot", false, true, POST, API_COUNT_USER_SNAPSHOTS, api_not_built},
    {"/reap", false, true, POST, API_COUNT_USER_REAPS, api_not_built},
    {"/remove", true, true, DELETE, API_COUNT_NONE, api_remove},
    {"/status", true, true, GET, API_COUNT_NUM_STATUS, api_status},
    {"/nodes", true, true, GET, API_COUNT_NONE, api_nodes},
    {"/leader", false, true, GET | POST, API_COUNT_NONE, api_leader},
    {"/readyz", true, false, GET, API_COUNT_NUM_READYZ, api_ready},
    {"/licenses", false, false, GET, API_COUNT_NONE, api_licenses},
    {"/debug/vars", false, true, ANY, API_COUNT_NONE, api_vars},
    {"/debug/pprof", true, false, ANY, API_COUNT_NONE, api_pprof},
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

void api_dispatch(struct api_request *r)
{
    struct api *a = r->conn->api;
    struct arena *arena = &r->conn->arena;
    struct slice bad = {0};
    struct err_text why;
    if (r->message->method == HTTP_METHOD_OPTIONS) {
        api_reply_empty(r, 200);
        return;
    }
    http_target_split(r->message->target, &r->path_raw, &r->query_raw);
    int rc = api_params_parse(r->query_raw, arena, &r->params, &why);
    if (rc != 0) {
        api_reply_text(r, rc == ERR_INVALID ? 400 : 503,
                       rc == ERR_INVALID ? why.text : err_text_of(rc));
        return;
    }
    rc = http_percent_decode(r->path_raw, false, arena, &r->path, &bad);
    if (rc != 0) {
        api_reply_text(r, rc == ERR_INVALID ? 400 : 503,
                       rc == ERR_INVALID ? "invalid URL escape" : err_text_of(rc));
        return;
    }
    r->route = route_find(r->path);
    if (!r->route) {
        api_reply_empty(r, 404);
        return;
    }
    a->counters[r->route->counter]++;
    a->counters[API_COUNT_AUTH_OK]++; /* no credentials file yet: everybody may do everything */
    if (!(r->route->methods & (1 << r->message->method))) {
        if (r->route->json)
            api_reply_empty_json(r, 405);
        else
            api_reply_empty(r, 405);
        return;
    }
    r->route->handle(r);
}
