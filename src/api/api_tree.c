/* api_tree — a document of facts as a tree of cJSON's, with integers kept as their exact text: built by the
 * files of /status, written with the escapes and the indentation of http-api.md §5. Failures of memory show
 * as a tree without the member. */
#include "api_tree.h"

cJSON *api_tree_object(cJSON *parent, const char *key)
{
    return cJSON_AddObjectToObject(parent, key);
}
void api_tree_text(cJSON *parent, const char *key, const char *value)
{
    cJSON_AddStringToObject(parent, key, value ? value : "unknown");
}
void api_tree_bool(cJSON *parent, const char *key, bool value)
{
    cJSON_AddBoolToObject(parent, key, value);
}
static void put_number(cJSON *parent, const char *key, struct buf *text)
{
    buf_append_byte(text, 0);
    cJSON_AddRawToObject(parent, key, text->failed ? "0" : (const char *)buf_slice(text).data);
    buf_fini(text);
}
void api_tree_u64(cJSON *parent, const char *key, uint64_t value)
{
    struct buf text;
    buf_init(&text, 64);
    buf_append_u64(&text, value);
    put_number(parent, key, &text);
}
void api_tree_i64(cJSON *parent, const char *key, int64_t value)
{
    struct buf text;
    buf_init(&text, 64);
    buf_append_i64(&text, value);
    put_number(parent, key, &text);
}
void api_tree_duration(cJSON *parent, const char *key, int64_t ns)
{
    char text[64];
    text[http_duration_text(ns, text)] = '\0';
    api_tree_text(parent, key, text);
}
void api_tree_wall(cJSON *parent, const char *key, int64_t wall_ns)
{
    char text[API_TIME_TEXT_MAX + 1];
    if (wall_ns == 0) {
        api_tree_text(parent, key, "0001-01-01T00:00:00Z");
        return;
    }
    text[api_time_wall_text(wall_ns, text)] = '\0';
    api_tree_text(parent, key, text);
}
void api_tree_hex(cJSON *parent, const char *key, uint64_t value)
{
    struct err_text text;
    err_set(&text, 0, "%016llx", (unsigned long long)value);
    api_tree_text(parent, key, text.text);
}
void api_tree_bytes(cJSON *parent, const char *key, uint64_t bytes)
{
    static const char *const units[] = {"B", "kB", "MB", "GB", "TB", "PB", "EB"};
    struct err_text text;
    uint64_t base = 1;
    size_t unit = 0;
    while (bytes / base >= 1000 && unit + 1 < sizeof units / sizeof units[0]) {
        base *= 1000;
        unit++;
    }
    const uint64_t tenths = unit > 0 ? (bytes + base / 20) / (base / 10) : bytes * 10;
    if (unit > 0 && tenths < 100)
        err_set(&text, 0, "%u.%u %s", (unsigned)(tenths / 10), (unsigned)(tenths % 10),
                units[unit]);
    else
        err_set(&text, 0, "%llu %s", (unsigned long long)((tenths + 5) / 10), units[unit]);
    api_tree_text(parent, key, text.text);
}

/* ---- writing ------------------------------------------------------------------------------------------- */

/* The child whose key follows `after` in byte order; NULL: no more. */
static const cJSON *child_next(const cJSON *item, const char *after)
{
    const cJSON *child, *best = NULL;
    cJSON_ArrayForEach(child, item)
    {
        if ((!after || strcmp(child->string, after) > 0) &&
            (!best || strcmp(child->string, best->string) < 0))
            best = child;
    }
    return best;
}

/* Digits only: cJSON_Raw is used for integers alone. Through a double, as Go's decoder does. */
static void number_write(struct json_writer *w, const char *text, bool doubles)
{
    if (!doubles) {
        json_raw(w, slice_str(text));
        return;
    }
    uint64_t value = 0; /* rounded once, at the end */
    for (const char *c = *text == '-' ? text + 1 : text; *c != '\0'; c++)
        value = value * 10 + (uint64_t)(*c - '0');
    json_real(w, *text == '-' ? -(double)value : (double)value);
}

static void tree_write(struct json_writer *w, const cJSON *item, bool as_part)
{
    const cJSON *child;
    if (cJSON_IsObject(item)) {
        json_object_begin(w);
        for (child = as_part ? child_next(item, NULL) : item->child; child;
             child = as_part ? child_next(item, child->string) : child->next) {
            json_key_str(w, child->string);
            tree_write(w, child, as_part);
        }
        json_object_end(w);
    } else if (cJSON_IsArray(item)) {
        json_array_begin(w);
        cJSON_ArrayForEach(child, item) tree_write(w, child, as_part);
        json_array_end(w);
    } else if (cJSON_IsString(item)) {
        json_string_str(w, item->valuestring);
    } else if (cJSON_IsRaw(item)) {
        number_write(w, item->valuestring, as_part);
    } else if (cJSON_IsNumber(item)) { /* of a tree that was parsed */
        json_i64(w, (int64_t)item->valuedouble);
    } else if (cJSON_IsBool(item)) {
        json_bool(w, cJSON_IsTrue(item));
    } else {
        json_null(w);
    }
}

/* a.b.c from the top. NULL: no such member. Something that is no object ends the descent (§15.1). */
static const cJSON *tree_find(const cJSON *item, struct slice key)
{
    bool more = key.len > 0;
    while (more && cJSON_IsObject(item)) {
        size_t len = 0;
        while (len < key.len && key.data[len] != '.')
            len++;
        const struct slice part = slice_of(key.data, len);
        const cJSON *child, *found = NULL;
        cJSON_ArrayForEach(child, item)
        {
            if (slice_equal_str(part, child->string))
                found = child;
        }
        if (!found)
            return NULL;
        item = found;
        more = len < key.len;
        if (more)
            key = slice_of(key.data + len + 1, key.len - len - 1);
    }
    return item;
}

void api_tree_write(struct buf *text, const cJSON *root, const struct api_params *p)
{
    struct json_writer w;
    const bool part = p->has_key && p->key.len > 0;
    const cJSON *item = part ? tree_find(root, p->key) : root;
    json_writer_init(&w, text, api_params_has(p, API_FLAG_PRETTY) && !part, 0);
    if (item)
        tree_write(&w, item, part);
    else
        buf_append_str(text, "{}");
}
