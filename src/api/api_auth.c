/* api_auth — the credentials that came with a request, and what the leader thinks of them (http-api.md
 * §11.1, §16.2). The decision itself is guard's, the order of checks api_route.c's. */
#include "api_int.h"

int api_auth_read(struct api_request *r)
{
    const struct http_header *h = http_header_find(r->message, "Authorization");
    if (!h)
        return 0;
    struct auth_basic *basic = arena_alloc(&r->conn->arena, sizeof *basic);
    if (!basic)
        return ERR_NOMEM;
    auth_basic_parse(h->value, basic);
    r->basic = basic;
    return 0;
}

void api_auth_denied_remote(struct api_request *r)
{
    static const struct {
        const char *path, *words;
    } rows[] = {
        {"/db/execute", "remote Execute not authorized"},
        {"/db/query", "remote query not authorized"},
        {"/db/request", "remote Request not authorized"},
        {"/db/backup", "remote backup not authorized"},
        {"/db/load", "remote load not authorized"},
        {"/remove", "remote remove node not authorized"},
        {"/leader", "remote stepdown not authorized"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const size_t len = strlen(rows[i].path);
        if (r->path.len >= len && memcmp(r->path.data, rows[i].path, len) == 0) {
            api_reply_text(r, 401, rows[i].words);
            return;
        }
    }
    api_reply_text(r, 401, err_text_of(ERR_DENIED));
}
