/* http_trace.h — what a parser made of some bytes, as text, for any segmentation. Two segmentations of
 * the same bytes must give the same text: the oracle of the unit tests and of the fuzz target. */
#ifndef RQ_TESTS_HTTP_TRACE_H
#define RQ_TESTS_HTTP_TRACE_H

#include <rq/http.h>

static inline void http_trace_message(struct buf *out, const struct http_message *m)
{
    (void)buf_append_slice(out, m->method_text);
    (void)buf_append_byte(out, ' ');
    (void)buf_append_slice(out, m->target);
    (void)buf_printf(out, " %d 1.%d %s%s", m->status, m->minor, m->keep_alive ? "keep" : "close",
                     m->expect_continue ? " expect" : "");
    for (uint32_t i = 0; i < m->header_count; i++) {
        (void)buf_append_str(out, " ");
        (void)buf_append_slice(out, m->headers[i].name);
        (void)buf_append_str(out, "=");
        (void)buf_append_slice(out, m->headers[i].value);
    }
    (void)buf_append_str(out, " <");
    (void)buf_append_slice(out, m->body);
    (void)buf_append_str(out, ">\n");
}

/* Feed one segment; false once the parser refused. */
static inline bool http_trace_segment(struct buf *out, struct http_conn_parser *p,
                                      struct slice segment)
{
    while (segment.len > 0) {
        const struct http_message *m;
        struct http_refusal refusal;
        size_t used;
        enum http_progress progress = http_parser_feed(p, segment, &used, &m, &refusal);
        segment = slice_of(segment.data + used, segment.len - used);
        if (progress == HTTP_BAD) {
            (void)buf_printf(out, "BAD %d %s\n", refusal.status, refusal.text);
            return false;
        }
        if (progress == HTTP_HEADERS_DONE)
            (void)buf_append_str(out, "100\n");
        if (progress == HTTP_MESSAGE) {
            http_trace_message(out, m);
            http_parser_next(p);
        }
    }
    return true;
}

static inline void http_trace_end(struct buf *out, struct http_conn_parser *p)
{
    const struct http_message *m;
    bool idle = http_parser_idle(p);
    bool in_body = http_parser_in_body(p);
    enum http_progress progress = http_parser_eof(p, &m);
    (void)buf_printf(out, "%s%s", idle ? "idle" : "busy", in_body ? " body" : "");
    (void)buf_append_str(out, progress == HTTP_BAD ? " cut\n" : "\n");
    if (progress == HTTP_MESSAGE)
        http_trace_message(out, m);
}

#endif
