/* disco_consul — Consul's key-value store over HTTP: GET and PUT of /v1/kv/KEY/leader; ?cas=0 writes only where
 * nothing is. */
#include "disco_int.h"

static bool is_plain(uint8_t c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
           strchr("-._~/", c) != NULL;
}

static void put_escaped(struct buf *out, const char *text)
{
    for (; *text != '\0'; text++) {
        if (is_plain((uint8_t)*text))
            (void)buf_append_byte(out, (uint8_t)*text);
        else
            (void)buf_printf(out, "%%%02X", (unsigned)(uint8_t)*text);
    }
}

static void put_parameter(struct buf *out, bool *first, const char *name, const char *value)
{
    if (value[0] == '\0')
        return;
    (void)buf_printf(out, "%c%s=", *first ? '?' : '&', name);
    put_escaped(out, value);
    *first = false;
}

int disco_consul_ask(const struct disco_settings *s, const char *key, enum disco_deed deed,
                     struct slice value, struct disco_exchange *x)
{
    struct buf url;
    bool first = true;
    buf_init(&url, sizeof x->url - 1);
    (void)buf_printf(&url, "%s/v1/kv/", s->endpoints[0]);
    put_escaped(&url, key);
    (void)buf_append_str(&url, "/leader");
    put_parameter(&url, &first, "cas", deed == DISCO_CLAIM ? "0" : "");
    put_parameter(&url, &first, "dc", s->datacenter);
    put_parameter(&url, &first, "ns", s->ns);
    put_parameter(&url, &first, "partition", s->partition);
    const int rc = url.failed;
    if (rc == 0) {
        memcpy(x->url, buf_slice(&url).data, buf_len(&url));
        x->url[buf_len(&url)] = '\0';
    }
    buf_fini(&url);
    (void)snprintf(x->method, sizeof x->method, "%s", deed == DISCO_READ ? "GET" : "PUT");
    if (s->token[0] != '\0')
        (void)snprintf(x->headers[0], sizeof x->headers[0], "X-Consul-Token: %s", s->token);
    memcpy(x->user, s->user, sizeof x->user);
    memcpy(x->password, s->password, sizeof x->password);
    if (rc == 0 && deed != DISCO_READ)
        (void)buf_append_slice(&x->body, value);
    return rc != 0 ? rc : x->body.failed;
}

static int value_of(const struct disco_exchange *x, struct buf *value, struct err_text *why)
{
    cJSON *root =
        cJSON_ParseWithLength((const char *)buf_slice(&x->answer).data, buf_len(&x->answer));
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(cJSON_GetArrayItem(root, 0), "Value");
    int rc = cJSON_IsString(item) ? disco_base64_get(item->valuestring, value) : ERR_PROTOCOL;
    if (rc != 0)
        rc = err_set(why, rc, "Consul's answer is not understood");
    cJSON_Delete(root);
    return rc;
}

int disco_consul_answer(enum disco_deed deed, const struct disco_exchange *x, struct buf *value,
                        struct err_text *why)
{
    const struct slice body = buf_slice(&x->answer);
    if (x->status == 404 && deed == DISCO_READ)
        return ERR_NOT_FOUND;
    if (x->status != 200)
        return err_set(why, x->status == 403 ? ERR_DENIED : ERR_UNREACHABLE,
                       "Consul answers %ld: %.*s", x->status,
                       (int)(body.len < 200 ? body.len : 200), (const char *)body.data);
    if (deed == DISCO_READ)
        return value_of(x, value, why);
    if (body.len >= 4 && memcmp(body.data, "true", 4) == 0)
        return 0;
    return err_set(why, ERR_EXISTS, "Consul did not write");
}
