/* api_value — one SQLite value as JSON, by storage class and reported type (http-api.md §5.5, §5.6).
 * Called by api_encode in the lane that has the rows. Pure. */
#include "api_int.h"

#include <math.h>

static bool type_begins(struct slice type, const char *prefix)
{
    const size_t len = strlen(prefix);
    return type.len >= len && memcmp(type.data, prefix, len) == 0;
}

/* §5.6.4: exactly these; char(n), for instance, is not among them. */
static bool type_is_text_like(struct slice type)
{
    static const char *const prefixes[] = {"varchar",          "varying character", "nchar",
                                           "native character", "nvarchar",          "clob"};
    if (type.len == 0 || slice_equal_str(type, "text") || slice_equal_str(type, "json"))
        return true;
    for (size_t i = 0; i < sizeof prefixes / sizeof prefixes[0]; i++)
        if (type_begins(type, prefixes[i]))
            return true;
    return false;
}

void api_column_classify(struct api_column *c)
{
    c->text_like = type_is_text_like(c->type);
    c->kind = API_COLUMN_PLAIN;
    if (slice_equal_str(c->type, "boolean"))
        c->kind = API_COLUMN_BOOLEAN;
    else if (slice_equal_str(c->type, "date") || slice_equal_str(c->type, "datetime") ||
             slice_equal_str(c->type, "timestamp"))
        c->kind = API_COLUMN_DATE;
}

const char *api_value_type(const struct db_value *v)
{
    switch (v->type) {
    case DB_INTEGER:
        return "integer";
    case DB_REAL:
        return "real";
    case DB_TEXT:
    case DB_BLOB: /* [QUIRK] §5.6.4 */
        return "text";
    case DB_NULL:
        break;
    }
    return "";
}

/* Unix seconds, or milliseconds if they are too many for seconds. */
static int value_moment(struct json_writer *w, int64_t v)
{
    static const int64_t seconds_max = INT64_C(1000000000000);
    char text[API_TIME_TEXT_MAX];
    int64_t seconds = v, millis = 0;
    if (v > seconds_max || v < -seconds_max) {
        seconds = v / 1000;
        millis = v % 1000;
        if (millis < 0) {
            millis += 1000;
            seconds--;
        }
    }
    const size_t len = api_time_text(seconds, (uint32_t)millis * 1000000, text);
    if (len == 0)
        return ERR_INVALID;
    json_string(w, slice_of(text, len));
    return 0;
}

static int value_integer(struct json_writer *w, const struct api_column *c, int64_t v)
{
    if (c->kind == API_COLUMN_DATE)
        return value_moment(w, v);
    if (c->kind == API_COLUMN_BOOLEAN)
        json_bool(w, v > 0);
    else
        json_i64(w, v);
    return 0;
}

static void value_text(struct json_writer *w, const struct api_column *c, struct slice text)
{
    char moment[API_TIME_TEXT_MAX];
    if (c->kind == API_COLUMN_DATE)
        text = slice_of(moment, api_time_from_text(text, moment));
    json_string(w, text);
}

static void value_blob(struct json_writer *w, const struct api_column *c, struct slice bytes,
                       bool blob_array)
{
    if (c->text_like) {
        json_string(w, bytes);
        return;
    }
    if (!blob_array) {
        json_base64(w, bytes);
        return;
    }
    json_array_begin(w);
    for (size_t i = 0; i < bytes.len; i++)
        json_i64(w, bytes.data[i]);
    json_array_end(w);
}

int api_value_write(struct json_writer *w, const struct api_column *c, const struct db_value *v,
                    bool blob_array, int *infinity)
{
    switch (v->type) {
    case DB_INTEGER:
        return value_integer(w, c, v->integer);
    case DB_REAL:
        if (isinf(v->real) && *infinity == 0)
            *infinity = v->real > 0 ? 1 : -1;
        json_real(w, v->real);
        return 0;
    case DB_TEXT:
        value_text(w, c, v->bytes);
        return 0;
    case DB_BLOB:
        value_blob(w, c, v->bytes, blob_array);
        return 0;
    case DB_NULL:
        break;
    }
    json_null(w);
    return 0;
}
