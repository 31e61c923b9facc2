/* disco_config — -disco-config: variables expanded, JSON read, defaults filled in (daemon.md §4.1–§4.3). Keys that
 * mean nothing are passed over. */
#include "disco_int.h"

#include <openssl/evp.h>
#include <stdlib.h>

/* ---- text -------------------------------------------------------------------------------------------- */

static bool is_name(uint8_t c, bool first)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_' ||
           (!first && c >= '0' && c <= '9');
}

int disco_expand(struct slice text, struct buf *out)
{
    char name[256];
    for (size_t i = 0; i < text.len;) {
        size_t at = i + 1;
        const bool braced = at < text.len && text.data[at] == '{';
        const size_t begin = at + braced;
        size_t end = begin;
        while (text.data[i] == '$' && end < text.len && is_name(text.data[end], end == begin))
            end++;
        const bool closed = !braced || (end < text.len && text.data[end] == '}');
        if (text.data[i] != '$' || end == begin || !closed || end - begin >= sizeof name) {
            (void)buf_append_byte(out, text.data[i++]);
            continue;
        }
        memcpy(name, text.data + begin, end - begin);
        name[end - begin] = '\0';
        const char *value = getenv(name);
        (void)buf_append_str(out, value ? value : "");
        i = end + braced;
    }
    return out->failed;
}

void disco_base64_put(struct slice bytes, struct buf *out)
{
    const size_t len = (bytes.len + 2) / 3 * 4;
    uint8_t *dst = buf_reserve(out, len + 1);
    if (!dst)
        return;
    (void)EVP_EncodeBlock(dst, bytes.data, (int)bytes.len);
    buf_commit(out, len);
}

int disco_base64_get(const char *text, struct buf *out)
{
    const size_t len = strlen(text);
    if (len == 0)
        return 0;
    if (len % 4 != 0 || len > DISCO_BODY_MAX)
        return ERR_INVALID;
    uint8_t *dst = buf_reserve(out, len / 4 * 3);
    if (!dst)
        return out->failed;
    const int got = EVP_DecodeBlock(dst, (const unsigned char *)text, (int)len);
    const int padding = (text[len - 1] == '=') + (text[len - 2] == '=');
    if (got < padding)
        return ERR_INVALID;
    buf_commit(out, (size_t)(got - padding));
    return 0;
}

static int text_store(char dst[DISCO_TEXT_MAX], const char *text, const char *key,
                      struct err_text *why)
{
    if (strlen(text) >= DISCO_TEXT_MAX)
        return err_set(why, ERR_TOO_BIG, "%s is too long", key);
    memcpy(dst, text, strlen(text) + 1);
    return 0;
}

/* ---- members of the JSON object ------------------------------------------------------------------------- */

static int get_text(const cJSON *root, const char *key, char dst[DISCO_TEXT_MAX],
                    struct err_text *why)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(root, key);
    if (!item || cJSON_IsNull(item))
        return 0;
    if (!cJSON_IsString(item))
        return err_set(why, ERR_INVALID, "%s is not a string", key);
    return text_store(dst, item->valuestring, key, why);
}

static int get_bool(const cJSON *root, const char *key, bool *dst, struct err_text *why)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(root, key);
    if (!item || cJSON_IsNull(item))
        return 0;
    if (!cJSON_IsBool(item))
        return err_set(why, ERR_INVALID, "%s is not a boolean", key);
    *dst = cJSON_IsTrue(item);
    return 0;
}

static int get_number(const cJSON *root, const char *key, double max, double *dst,
                      struct err_text *why)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(root, key);
    if (!item || cJSON_IsNull(item))
        return 0;
    if (!cJSON_IsNumber(item) || !(item->valuedouble >= 0 && item->valuedouble <= max))
        return err_set(why, ERR_INVALID, "%s is not a number in range", key);
    *dst = item->valuedouble;
    return 0;
}

static int get_pem(const cJSON *root, const char *key, struct buf *dst, struct err_text *why)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(root, key);
    if (!item || cJSON_IsNull(item))
        return 0;
    if (!cJSON_IsString(item) || disco_base64_get(item->valuestring, dst) != 0)
        return err_set(why, ERR_INVALID, "%s is not base64", key);
    return 0;
}

/* ---- dns -------------------------------------------------------------------------------------------------- */

static int read_dns(const cJSON *root, struct disco_settings *s, struct err_text *why)
{
    double port = s->port;
    int rc = get_text(root, "name", s->name, why);
    if (rc == 0)
        rc = get_text(root, "service", s->service, why);
    if (rc == 0)
        rc = get_text(root, "servers", s->servers, why);
    if (rc == 0)
        rc = get_number(root, "port", UINT16_MAX, &port, why);
    s->port = (uint16_t)port;
    return rc;
}

/* ---- consul: Consul's own variables apply to what is not given ----------------------------------------------- */

static void from_env(char dst[DISCO_TEXT_MAX], const char *name)
{
    const char *value = getenv(name);
    struct err_text ignored;
    if (dst[0] == '\0' && value)
        (void)text_store(dst, value, name, &ignored);
}

static int read_tls(const cJSON *root, struct disco_tls *t, struct err_text *why)
{
    int rc = get_text(root, "address", t->server_name, why);
    if (rc == 0)
        rc = get_text(root, "ca_file", t->ca_file, why);
    if (rc == 0)
        rc = get_text(root, "ca_path", t->ca_path, why);
    if (rc == 0)
        rc = get_text(root, "cert_file", t->cert_file, why);
    if (rc == 0)
        rc = get_text(root, "key_file", t->key_file, why);
    if (rc == 0)
        rc = get_pem(root, "ca_pem", &t->ca_pem, why);
    if (rc == 0)
        rc = get_pem(root, "cert_pem", &t->cert_pem, why);
    if (rc == 0)
        rc = get_pem(root, "key_pem", &t->key_pem, why);
    return rc != 0 ? rc : get_bool(root, "insecure_skip_verify", &t->no_verify, why);
}

static int token_from_file(const char *path, struct disco_settings *s, struct err_text *why)
{
    FILE *f = fopen(path, "rb");
    if (!f)
        return err_set(why, ERR_NOT_FOUND, "token file %s cannot be read", path);
    const size_t got = fread(s->token, 1, sizeof s->token - 1, f);
    fclose(f);
    s->token[got] = '\0';
    s->token[strcspn(s->token, " \t\r\n")] = '\0';
    return 0;
}

static void consul_auth_from_env(struct disco_settings *s)
{
    const char *both = getenv("CONSUL_HTTP_AUTH");
    const char *colon = both ? strchr(both, ':') : NULL;
    struct err_text ignored;
    if (s->user[0] != '\0' || !colon || (size_t)(colon - both) >= sizeof s->user)
        return;
    memcpy(s->user, both, (size_t)(colon - both));
    (void)text_store(s->password, colon + 1, "password", &ignored);
}

static bool is_true(const char *text)
{
    return text && (strcmp(text, "1") == 0 || strcmp(text, "true") == 0);
}

static void consul_from_env(struct disco_settings *s, char *address, char *scheme, char *file)
{
    from_env(address, "CONSUL_HTTP_ADDR");
    if (scheme[0] == '\0' && is_true(getenv("CONSUL_HTTP_SSL")))
        memcpy(scheme, "https", sizeof "https");
    from_env(s->token, "CONSUL_HTTP_TOKEN");
    from_env(file, "CONSUL_HTTP_TOKEN_FILE");
    from_env(s->ns, "CONSUL_NAMESPACE");
    from_env(s->partition, "CONSUL_PARTITION");
    from_env(s->tls.ca_file, "CONSUL_CACERT");
    from_env(s->tls.ca_path, "CONSUL_CAPATH");
    from_env(s->tls.cert_file, "CONSUL_CLIENT_CERT");
    from_env(s->tls.key_file, "CONSUL_CLIENT_KEY");
    from_env(s->tls.server_name, "CONSUL_TLS_SERVER_NAME");
    const char *verify = getenv("CONSUL_HTTP_SSL_VERIFY");
    s->tls.no_verify =
        s->tls.no_verify || (verify && (strcmp(verify, "0") == 0 || strcmp(verify, "false") == 0));
    consul_auth_from_env(s);
}

/* CONSUL_HTTP_ADDR, unlike `address`, may carry its scheme. */
static void scheme_split(char *address, char *scheme)
{
    static const char *const schemes[] = {"http", "https"};
    for (size_t i = 0; i < 2; i++) {
        const size_t len = strlen(schemes[i]);
        if (strncmp(address, schemes[i], len) != 0 || strncmp(address + len, "://", 3) != 0)
            continue;
        memcpy(scheme, schemes[i], len + 1);
        memmove(address, address + len + 3, strlen(address + len + 3) + 1);
        return;
    }
}

static int read_consul(const cJSON *root, struct disco_settings *s, struct err_text *why)
{
    char address[DISCO_TEXT_MAX] = "", scheme[DISCO_TEXT_MAX] = "", file[DISCO_TEXT_MAX] = "";
    const cJSON *basic = cJSON_GetObjectItemCaseSensitive(root, "basic_auth");
    int rc = get_text(root, "address", address, why);
    if (rc == 0 && strncmp(address, "http", 4) == 0)
        return err_set(why, ERR_INVALID, "address should not contain HTTP or HTTPS");
    if (rc == 0)
        rc = get_text(root, "scheme", scheme, why);
    if (rc == 0)
        rc = get_text(root, "datacenter", s->datacenter, why);
    if (rc == 0)
        rc = get_text(root, "token", s->token, why);
    if (rc == 0)
        rc = get_text(root, "token_file", file, why);
    if (rc == 0)
        rc = get_text(root, "namespace", s->ns, why);
    if (rc == 0)
        rc = get_text(root, "partition", s->partition, why);
    if (rc == 0)
        rc = get_text(basic, "username", s->user, why);
    if (rc == 0)
        rc = get_text(basic, "password", s->password, why);
    if (rc == 0)
        rc = read_tls(cJSON_GetObjectItemCaseSensitive(root, "tls_config"), &s->tls, why);
    if (rc != 0)
        return rc;
    consul_from_env(s, address, scheme, file);
    if (file[0] != '\0')
        rc = token_from_file(file, s, why);
    scheme_split(address, scheme);
    const int len =
        snprintf(s->endpoints[0], DISCO_TEXT_MAX, "%s://%s", scheme[0] != '\0' ? scheme : "http",
                 address[0] != '\0' ? address : "127.0.0.1:8500");
    s->endpoint_count = 1;
    return rc == 0 && len >= DISCO_TEXT_MAX ? err_set(why, ERR_TOO_BIG, "address is too long") : rc;
}

/* ---- etcd --------------------------------------------------------------------------------------------------- */

static int endpoint_add(struct disco_settings *s, const char *text, struct err_text *why)
{
    const bool url = strncmp(text, "http://", 7) == 0 || strncmp(text, "https://", 8) == 0;
    if (s->endpoint_count == DISCO_ENDPOINTS_MAX)
        return err_set(why, ERR_TOO_BIG, "too many endpoints");
    char *dst = s->endpoints[s->endpoint_count++];
    if (snprintf(dst, DISCO_TEXT_MAX, "%s%s", url ? "" : "http://", text) >= DISCO_TEXT_MAX)
        return err_set(why, ERR_TOO_BIG, "an endpoint is too long");
    for (size_t len = strlen(dst); len > 0 && dst[len - 1] == '/'; len--)
        dst[len - 1] = '\0';
    return 0;
}

static int read_etcd(const cJSON *root, struct disco_settings *s, struct err_text *why)
{
    const cJSON *endpoints = cJSON_GetObjectItemCaseSensitive(root, "endpoints");
    const cJSON *item = NULL;
    double dial_ns = 0;
    int rc = get_text(root, "username", s->user, why);
    if (rc == 0)
        rc = get_text(root, "password", s->password, why);
    if (rc == 0)
        rc = get_number(root, "dial-timeout", 3600e9, &dial_ns, why);
    s->dial_timeout_ms = (uint64_t)(dial_ns / 1e6);
    if (rc == 0 && endpoints && !cJSON_IsArray(endpoints))
        rc = err_set(why, ERR_INVALID, "endpoints is not an array");
    cJSON_ArrayForEach(item, endpoints)
    {
        if (rc == 0 && !cJSON_IsString(item))
            rc = err_set(why, ERR_INVALID, "an endpoint is not a string");
        if (rc == 0)
            rc = endpoint_add(s, item->valuestring, why);
    }
    if (rc == 0 && s->endpoint_count == 0)
        rc = root ? err_set(why, ERR_INVALID, "no available endpoints")
                  : endpoint_add(s, "localhost:2379", why);
    return rc;
}

/* ---- all ------------------------------------------------------------------------------------------------------ */

static int read_object(enum disco_kind kind, const cJSON *root, struct disco_settings *s,
                       struct err_text *why)
{
    switch (kind) {
    case DISCO_DNS:
    case DISCO_DNS_SRV:
        return read_dns(root, s, why);
    case DISCO_CONSUL:
        return read_consul(root, s, why);
    case DISCO_ETCD:
        return read_etcd(root, s, why);
    }
    UNREACHABLE();
}

int disco_settings_read(enum disco_kind kind, struct slice json, uint16_t raft_port,
                        struct disco_settings *s, struct err_text *why)
{
    struct buf text;
    cJSON *root = NULL;
    memcpy(s->name, "rqlite", sizeof "rqlite");
    memcpy(s->service, "rqlite", sizeof "rqlite");
    s->port = raft_port;
    buf_init(&s->tls.ca_pem, DISCO_PEM_MAX);
    buf_init(&s->tls.cert_pem, DISCO_PEM_MAX);
    buf_init(&s->tls.key_pem, DISCO_PEM_MAX);
    buf_init(&text, DISCO_BODY_MAX);
    int rc = disco_expand(json, &text);
    if (rc != 0) {
        rc = err_set(why, rc, "the configuration is too long");
    } else if (buf_len(&text) > 0) {
        root = cJSON_ParseWithLength((const char *)buf_slice(&text).data, buf_len(&text));
        if (!cJSON_IsObject(root))
            rc = err_set(why, ERR_INVALID, "not a JSON object");
    }
    if (rc == 0)
        rc = read_object(kind, root, s, why);
    cJSON_Delete(root);
    buf_fini(&text);
    return rc;
}

void disco_settings_fini(struct disco_settings *s)
{
    buf_fini(&s->tls.ca_pem);
    buf_fini(&s->tls.cert_pem);
    buf_fini(&s->tls.key_pem);
    explicit_bzero(s->password, sizeof s->password);
    explicit_bzero(s->token, sizeof s->token);
}
