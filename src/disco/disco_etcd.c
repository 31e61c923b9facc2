/* disco_etcd — etcd's key-value store through its gRPC gateway: JSON over HTTP, keys and values in base64, numbers
 * as strings. A claim is a transaction: if the key has version 0, put. */
#include "disco_int.h"

static void put_key(struct buf *out, const char *key)
{
    char full[DISCO_TEXT_MAX + 16];
    (void)snprintf(full, sizeof full, "/%s/leader", key);
    disco_base64_put(slice_str(full), out);
}

static void put_put(struct buf *out, const char *key, struct slice value)
{
    (void)buf_append_str(out, "{\"key\":\"");
    put_key(out, key);
    (void)buf_append_str(out, "\",\"value\":\"");
    disco_base64_put(value, out);
    (void)buf_append_str(out, "\"}");
}

static void put_claim(struct buf *out, const char *key, struct slice value)
{
    (void)buf_append_str(
        out,
        "{\"compare\":[{\"result\":\"EQUAL\",\"target\":\"VERSION\",\"version\":\"0\",\"key\":\"");
    put_key(out, key);
    (void)buf_append_str(out, "\"}],\"success\":[{\"requestPut\":");
    put_put(out, key, value);
    (void)buf_append_str(out, "}]}");
}

static int put_login(const struct disco_settings *s, struct buf *out)
{
    cJSON *root = cJSON_CreateObject();
    cJSON_AddStringToObject(root, "name", s->user);
    cJSON_AddStringToObject(root, "password", s->password);
    char *text = cJSON_PrintUnformatted(root);
    const int rc = text ? buf_append_str(out, text) : ERR_NOMEM;
    cJSON_free(text);
    cJSON_Delete(root);
    return rc;
}

int disco_etcd_ask(const struct disco_settings *s, const char *endpoint, const char *token,
                   const char *key, enum disco_deed deed, struct slice value,
                   struct disco_exchange *x)
{
    static const char *const paths[] = {[DISCO_READ] = "/v3/kv/range",
                                        [DISCO_WRITE] = "/v3/kv/put",
                                        [DISCO_CLAIM] = "/v3/kv/txn",
                                        [DISCO_LOGIN] = "/v3/auth/authenticate"};
    int rc = 0;
    (void)snprintf(x->method, sizeof x->method, "POST");
    (void)snprintf(x->url, sizeof x->url, "%s%s", endpoint, paths[deed]);
    (void)snprintf(x->headers[0], sizeof x->headers[0], "Content-Type: application/json");
    if (token[0] != '\0' && deed != DISCO_LOGIN)
        (void)snprintf(x->headers[1], sizeof x->headers[1], "Authorization: %s", token);
    switch (deed) {
    case DISCO_READ:
        (void)buf_append_str(&x->body, "{\"key\":\"");
        put_key(&x->body, key);
        (void)buf_append_str(&x->body, "\"}");
        break;
    case DISCO_WRITE:
        put_put(&x->body, key, value);
        break;
    case DISCO_CLAIM:
        put_claim(&x->body, key, value);
        break;
    case DISCO_LOGIN:
        rc = put_login(s, &x->body);
        break;
    }
    return rc != 0 ? rc : x->body.failed;
}

static int value_of(const cJSON *root, struct buf *value, struct err_text *why)
{
    const cJSON *kvs = cJSON_GetObjectItemCaseSensitive(root, "kvs");
    if (cJSON_GetArraySize(kvs) == 0)
        return ERR_NOT_FOUND;
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(cJSON_GetArrayItem(kvs, 0), "value");
    if (cJSON_IsString(item) && disco_base64_get(item->valuestring, value) == 0)
        return 0;
    return err_set(why, ERR_PROTOCOL, "etcd's answer is not understood");
}

static int answer_read(enum disco_deed deed, const cJSON *root, struct buf *value,
                       struct err_text *why)
{
    const cJSON *token = cJSON_GetObjectItemCaseSensitive(root, "token");
    switch (deed) {
    case DISCO_READ:
        return value_of(root, value, why);
    case DISCO_WRITE:
        return 0;
    case DISCO_CLAIM:
        /* false is left out, as the gateway does with all defaults */
        if (cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(root, "succeeded")))
            return 0;
        return err_set(why, ERR_EXISTS, "somebody else was first");
    case DISCO_LOGIN:
        if (cJSON_IsString(token))
            return buf_append_str(value, token->valuestring);
        return err_set(why, ERR_PROTOCOL, "etcd's answer holds no token");
    }
    UNREACHABLE();
}

int disco_etcd_answer(enum disco_deed deed, const struct disco_exchange *x, struct buf *value,
                      struct err_text *why)
{
    const struct slice body = buf_slice(&x->answer);
    if (x->status != 200)
        return err_set(why, x->status == 401 ? ERR_DENIED : ERR_UNREACHABLE,
                       "etcd answers %ld: %.*s", x->status, (int)(body.len < 200 ? body.len : 200),
                       (const char *)body.data);
    cJSON *root = cJSON_ParseWithLength((const char *)body.data, body.len);
    const int rc = cJSON_IsObject(root)
                       ? answer_read(deed, root, value, why)
                       : err_set(why, ERR_PROTOCOL, "etcd's answer is not understood");
    cJSON_Delete(root);
    return rc;
}
