/* http_lib.c — http_parser splits header lines; request lines, bodies and all that decides framing are
 * read by our own code, because what the library tolerates there depends on how it was compiled.
 *
 * It is shown the lines behind a plain request line of our making, whole, so each callback comes once
 * per name and once per value. */
#include "http_lib.h"

#include <http_parser.h>

struct collector {
    struct http_lib_field *fields;
    uint32_t max;
    uint32_t count;
    bool too_many;
    bool complete;
};

static int on_field(http_parser *p, const char *at, size_t len)
{
    struct collector *c = p->data;
    if (c->count == c->max) {
        c->too_many = true;
        return -1;
    }
    c->fields[c->count].name = slice_of(at, len);
    c->fields[c->count].value = slice_of(at, 0);
    c->count++;
    return 0;
}

static int on_value(http_parser *p, const char *at, size_t len)
{
    struct collector *c = p->data;
    if (c->count == 0)
        return -1;
    c->fields[c->count - 1].value = slice_of(at, len);
    return 0;
}

static int on_headers_complete(http_parser *p)
{
    struct collector *c = p->data;
    c->complete = true;
    return 1; /* no body, whatever the fields say */
}

void http_lib_init(void)
{
    http_parser_set_max_header_size(UINT32_MAX);
}

int http_lib_fields(struct slice lines, struct http_lib_field *fields, uint32_t max,
                    uint32_t *count)
{
    static const char request_line[] = "POST / HTTP/1.1\r\n";
    struct collector c = {fields, max, 0, false, false};
    http_parser_settings settings;
    http_parser parser;

    http_parser_settings_init(&settings);
    settings.on_header_field = on_field;
    settings.on_header_value = on_value;
    settings.on_headers_complete = on_headers_complete;
    http_parser_init(&parser, HTTP_REQUEST);
    parser.data = &c;
    parser.allow_chunked_length = 1; /* judged by us, with our words */
    size_t used = http_parser_execute(&parser, &settings, request_line, sizeof(request_line) - 1);
    if (used == sizeof(request_line) - 1)
        (void)http_parser_execute(&parser, &settings, (const char *)lines.data, lines.len);
    *count = c.count;
    if (c.too_many)
        return ERR_TOO_BIG;
    return c.complete ? 0 : ERR_PROTOCOL;
}
