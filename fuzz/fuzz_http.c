/* fuzz_http.c — the same bytes in other segments give the same messages and the same refusal; texts of
 * URLs and durations are parsed without leaving them.
 *
 * First byte: its lowest bit chooses the client's side. The rest is the connection's bytes. */
#include "fuzz_int.h"

#include <http_trace.h>
#include <rq/http.h>
#include <rq/util/assert.h>
#include <rq/util/prng.h>

/* segment_max 0: one segment. */
static void trace(struct buf *out, enum http_side side, struct slice bytes, uint64_t segment_max)
{
    static const struct http_parser_limits limits = {.header_bytes_max = 512,
                                                     .body_bytes_max = 128};
    struct http_conn_parser *p;
    struct prng random;
    size_t at = 0;
    bool fine = true;

    prng_init(&random, bytes.len);
    int rc = http_parser_create(side, &limits, &p);
    ASSERT(rc == 0);
    while (fine && at < bytes.len) {
        size_t len = bytes.len - at;
        if (segment_max > 0) {
            size_t wanted = (size_t)prng_range(&random, 1, segment_max);
            len = wanted < len ? wanted : len;
        }
        fine = http_trace_segment(out, p, slice_of(bytes.data + at, len));
        at += len;
    }
    http_trace_end(out, p);
    http_parser_destroy(p);
}

static void check_segmentation(enum http_side side, struct slice bytes)
{
    static const uint64_t segment_max[] = {1, 3, 40};
    struct buf whole, cut;

    buf_init(&whole, SIZE_MAX / 8);
    buf_init(&cut, SIZE_MAX / 8);
    trace(&whole, side, bytes, 0);
    for (size_t i = 0; i < 3; i++) {
        buf_reset(&cut, SIZE_MAX);
        trace(&cut, side, bytes, segment_max[i]);
        ASSERT(slice_equal(buf_slice(&whole), buf_slice(&cut)));
    }
    buf_fini(&whole);
    buf_fini(&cut);
}

static void check_texts(struct slice text)
{
    struct http_param params[8];
    struct slice path, query, host, port;
    struct err_text why;
    struct arena arena;
    uint32_t count;
    int64_t ns, again;
    char duration[32];

    arena_init(&arena, SIZE_MAX / 2);
    http_target_split(text, &path, &query);
    int rc = http_query_parse(query, &arena, params, 8, &count, &why);
    ASSERT(count <= 8);
    rc = http_query_parse(text, &arena, params, 8, &count, &why);
    ASSERT(rc == 0 || why.text[0] != '\0');
    if (http_host_port_split(text, &host, &port) == 0)
        ASSERT(host.len + port.len < text.len);
    if (http_duration_parse(text, &ns) == 0) {
        size_t len = http_duration_text(ns, duration);
        ASSERT(len <= sizeof(duration));
        rc = http_duration_parse(slice_of(duration, len), &again);
        ASSERT(rc == 0);
        ASSERT(again == ns);
    }
    arena_fini(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    struct slice bytes = slice_of(data + 1, size - 1);
    check_segmentation(data[0] & 1 ? HTTP_CLIENT : HTTP_SERVER, bytes);
    check_texts(bytes);
    return 0;
}
