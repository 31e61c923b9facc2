/* api_params — the query string, checked in full before anything else is looked at (http-api.md §2).
 * Called by api_route for every request but OPTIONS. Pure. */
#include "api_int.h"

enum { PARAMS_MAX = 64 };
static const int64_t default_timeout_ns = 30 * INT64_C(1000000000);

static const struct {
    const char *name;
    enum api_flag flag;
} flag_table[] = {
#define FLAG_ROW(name, text) {text, API_FLAG_##name},
    API_FLAG_TABLE(FLAG_ROW)
#undef FLAG_ROW
};

/* The first occurrence counts. NULL: absent. */
static const struct http_param *param_find(const struct http_param *list, uint32_t count,
                                           const char *key)
{
    for (uint32_t i = 0; i < count; i++)
        if (slice_equal_str(list[i].key, key))
            return &list[i];
    return NULL;
}

/* Optional sign and decimal digits that fit 64 bits (Go's strconv.ParseInt, base 10). */
static int integer_parse(struct slice text, int64_t *out)
{
    size_t at = 0;
    bool negative = false;
    if (text.len > 0 && (text.data[0] == '-' || text.data[0] == '+')) {
        negative = text.data[0] == '-';
        at = 1;
    }
    if (at == text.len)
        return ERR_INVALID;
    const uint64_t max = negative ? (uint64_t)INT64_MAX + 1 : (uint64_t)INT64_MAX;
    uint64_t v = 0;
    for (; at < text.len; at++) {
        const unsigned digit = (unsigned)text.data[at] - '0';
        if (digit > 9 || v > (max - digit) / 10)
            return ERR_INVALID;
        v = v * 10 + digit;
    }
    *out = negative ? (int64_t)(0 - v) : (int64_t)v;
    return 0;
}

bool api_text_is(struct slice s, const char *lower)
{
    const size_t len = strlen(lower);
    if (s.len != len)
        return false;
    for (size_t i = 0; i < len; i++) {
        const uint8_t c = s.data[i];
        if ((c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c) != lower[i])
            return false;
    }
    return true;
}

/* Anything unknown, also an empty value, means weak. */
static enum wire_level level_parse(struct slice text)
{
    static const struct {
        const char *name;
        enum wire_level level;
    } levels[] = {{"none", WIRE_LEVEL_NONE},
                  {"weak", WIRE_LEVEL_WEAK},
                  {"linearizable", WIRE_LEVEL_LINEARIZABLE},
                  {"strong", WIRE_LEVEL_STRONG},
                  {"auto", WIRE_LEVEL_AUTO}};
    for (size_t i = 0; i < sizeof levels / sizeof levels[0]; i++)
        if (api_text_is(text, levels[i].name))
            return levels[i].level;
    return WIRE_LEVEL_WEAK;
}

/* §2.2, in its order; the first failure wins. */
static int params_validate(const struct http_param *list, uint32_t count, struct api_params *out,
                           struct err_text *why)
{
    if (api_params_has(out, API_FLAG_FRESHNESS_STRICT) && !param_find(list, count, "freshness"))
        return err_set(why, ERR_INVALID, "freshness_strict requires freshness");
    const struct {
        const char *key;
        int64_t *value;
    } durations[] = {{"timeout", &out->timeout_ns},
                     {"freshness", &out->freshness_ns},
                     {"db_timeout", &out->db_timeout_ns},
                     {"linearizable_timeout", &out->linearizable_timeout_ns}},
      integers[] = {{"retries", &out->retries},
                    {"trailing_logs", &out->trailing_logs},
                    {"wait_index", &out->wait_index}};
    for (size_t i = 0; i < sizeof durations / sizeof durations[0]; i++) {
        const struct http_param *p = param_find(list, count, durations[i].key);
        if (p && http_duration_parse(p->value, durations[i].value) != 0)
            return err_set(why, ERR_INVALID, "%s is not a valid duration", durations[i].key);
    }
    for (size_t i = 0; i < sizeof integers / sizeof integers[0]; i++) {
        const struct http_param *p = param_find(list, count, integers[i].key);
        if (p && integer_parse(p->value, integers[i].value) != 0)
            return err_set(why, ERR_INVALID, "%s is not a valid integer", integers[i].key);
    }
    if (out->wait_index < 0)
        return err_set(why, ERR_INVALID, "wait_index is not a valid integer");
    const struct http_param *q = param_find(list, count, "q");
    if (q && q->value.len == 0)
        return err_set(why, ERR_INVALID, "query parameter not set");
    return 0;
}

static void condition_take(const struct http_param *list, uint32_t count, struct api_params *out)
{
    const struct {
        const char *key;
        bool *has;
        struct slice *value;
    } parts[] = {{"if_index", &out->has_if_index, &out->if_index},
                 {"if", &out->has_if, &out->if_query},
                 {"is", &out->has_is, &out->is_rows}};
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        const struct http_param *p = param_find(list, count, parts[i].key);
        *parts[i].has = p != NULL;
        if (p)
            *parts[i].value = p->value;
    }
}

int api_params_parse(struct slice query, struct arena *a, struct api_params *out,
                     struct err_text *why)
{
    ASSERT(a != NULL && out != NULL);
    struct http_param list[PARAMS_MAX];
    uint32_t count = 0;
    memset(out, 0, sizeof *out);
    out->level = WIRE_LEVEL_WEAK;
    out->timeout_ns = default_timeout_ns;
    if (query.len == 0)
        return 0;
    int rc = http_query_parse(query, a, list, PARAMS_MAX, &count, why);
    if (rc == ERR_TOO_BIG)
        return err_set(why, ERR_INVALID, "too many query parameters");
    if (rc != 0)
        return rc;
    for (size_t i = 0; i < sizeof flag_table / sizeof flag_table[0]; i++)
        if (param_find(list, count, flag_table[i].name))
            out->flags |= (uint32_t)flag_table[i].flag;
    rc = params_validate(list, count, out, why);
    if (rc != 0)
        return rc;
    const struct http_param *p = param_find(list, count, "level");
    if (p)
        out->level = level_parse(p->value);
    if ((p = param_find(list, count, "q")) != NULL) {
        out->has_q = true;
        out->q = p->value;
    }
    if ((p = param_find(list, count, "key")) != NULL) {
        out->has_key = true;
        out->key = p->value;
    }
    if ((p = param_find(list, count, "ver")) != NULL)
        out->ver = p->value;
    if ((p = param_find(list, count, "fmt")) != NULL)
        out->fmt = p->value;
    if ((p = param_find(list, count, "tables")) != NULL)
        out->tables = p->value;
    condition_take(list, count, out);
    out->has_freshness = param_find(list, count, "freshness") != NULL;
    out->has_linearizable_timeout = param_find(list, count, "linearizable_timeout") != NULL;
    return 0;
}

uint64_t api_params_timeout_ms(const struct api_params *p)
{
    const int64_t ns = p->timeout_ns == 0 ? default_timeout_ns : p->timeout_ns;
    return ns < 1000000 ? 1 : (uint64_t)(ns / 1000000);
}

uint32_t api_params_retries(const struct api_params *p)
{
    const int64_t most = 1000000;
    return (uint32_t)(p->retries < 0 ? 0 : p->retries > most ? most : p->retries);
}
