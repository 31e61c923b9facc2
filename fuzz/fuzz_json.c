/* fuzz_json.c — reading ends; decoded strings are UTF-8; what was read and written again reads and
 * writes the same; numbers survive their text. */
#include "fuzz_int.h"

#include <rq/json.h>
#include <rq/util/assert.h>

static void check_number(const struct json_reader *r)
{
    char text[32];

    if (r->number_kind == JSON_OVERFLOW)
        return;
    size_t len = json_real_text(r->real, text);
    ASSERT(len <= sizeof(text));
    double back = json_real_parse(slice_of(text, len));
    ASSERT(memcmp(&back, &r->real, sizeof(back)) == 0);
}

/* Write one event; false for the last. */
static bool copy_event(struct json_writer *w, const struct json_reader *r, enum json_event event)
{
    switch (event) {
    case JSON_OBJECT_BEGIN:
        json_object_begin(w);
        return true;
    case JSON_OBJECT_END:
        json_object_end(w);
        return true;
    case JSON_ARRAY_BEGIN:
        json_array_begin(w);
        return true;
    case JSON_ARRAY_END:
        json_array_end(w);
        return true;
    case JSON_KEY:
        json_key(w, r->text);
        return true;
    case JSON_STRING:
        json_string(w, r->text);
        return true;
    case JSON_NUMBER:
        check_number(r);
        if (r->number_kind == JSON_INT64 || r->real == 0) /* "-0" is read as the integer 0 */
            json_i64(w, r->integer);
        else
            json_real(w, r->real);
        return true;
    case JSON_TRUE:
    case JSON_FALSE:
        json_bool(w, event == JSON_TRUE);
        return true;
    case JSON_NULL:
        json_null(w);
        return true;
    case JSON_END:
    case JSON_ERROR:
    default:
        return false;
    }
}

/* Read `in` and write it to out; is it JSON? */
static bool copy_document(struct slice in, bool pretty, struct buf *out)
{
    struct arena arena;
    struct json_reader r;
    struct json_writer w;
    enum json_event event;
    size_t events = 0;

    arena_init(&arena, SIZE_MAX / 2);
    json_reader_init(&r, in, 128, &arena);
    json_writer_init(&w, out, pretty, 0);
    do {
        event = json_next(&r);
        ASSERT(r.at <= in.len);
        ASSERT(++events <= in.len + 2); /* every event but the last takes a byte at least */
    } while (copy_event(&w, &r, event));
    ASSERT(json_next(&r) == event);
    arena_fini(&arena);
    return event == JSON_END;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buf first, pretty, second;

    buf_init(&first, SIZE_MAX / 8);
    buf_init(&pretty, SIZE_MAX / 8);
    buf_init(&second, SIZE_MAX / 8);
    if (copy_document(slice_of(data, size), false, &first)) {
        ASSERT(!first.failed);
        ASSERT(copy_document(buf_slice(&first), true, &pretty));
        ASSERT(copy_document(buf_slice(&pretty), false, &second));
        ASSERT(slice_equal(buf_slice(&first), buf_slice(&second)));
    }
    buf_fini(&first);
    buf_fini(&pretty);
    buf_fini(&second);
    return 0;
}
