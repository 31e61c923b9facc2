/* http_lib.h — the one use of http_parser: a block of header lines into fields. Apart from the rest
 * because its header and our door both define `enum http_method`. */
#ifndef RQ_HTTP_LIB_H
#define RQ_HTTP_LIB_H

#include <rq/util/err.h>
#include <rq/util/slice.h>

struct http_lib_field {
    struct slice name;
    struct slice value; /* surrounding white space may be left */
};

/* Once before the first call: the library's own limit must not be met before ours. */
void http_lib_init(void);
/* lines: header lines with CRLF each, and the empty line behind them. Fields are slices of it. 0;
 * ERR_PROTOCOL; ERR_TOO_BIG: more than max fields. */
int http_lib_fields(struct slice lines, struct http_lib_field *fields, uint32_t max,
                    uint32_t *count) MUST_USE;

#endif
