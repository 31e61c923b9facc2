/* disco_fetch — one HTTP request, with libcurl. Runs in jobs. */
#include "disco_int.h"

#include <curl/curl.h>

enum { TOTAL_MS = 5000, CONNECT_MS = 3000, LOOK_MS = 100 };

struct fetch {
    CURL *curl;
    CURLM *multi;
    struct curl_slist *headers, *connect_to;
    struct buf *answer;
    char words[CURL_ERROR_SIZE];
};

static size_t take_bytes(char *bytes, size_t size, size_t count, void *ctx)
{
    struct fetch *f = ctx;
    return buf_append(f->answer, bytes, size * count) == 0 ? size * count : 0;
}

static void set_text(struct fetch *f, CURLoption option, const char *text)
{
    if (text[0] != '\0')
        (void)curl_easy_setopt(f->curl, option, text);
}

static void set_blob(struct fetch *f, CURLoption option, const struct buf *pem)
{
    if (buf_len(pem) == 0)
        return;
    struct curl_blob blob = {pem->data, buf_len(pem), CURL_BLOB_COPY};
    (void)curl_easy_setopt(f->curl, option, &blob);
}

/* The name to be verified is the one in the URL: put it there, and connect to whom it was. */
static int set_server_name(struct fetch *f, const struct disco_tls *t, struct disco_exchange *x)
{
    char url[sizeof x->url], to[2 * DISCO_TEXT_MAX];
    const char *host = strstr(x->url, "://");
    if (t->server_name[0] == '\0' || strncmp(x->url, "https", 5) != 0 || !host)
        return 0;
    host += 3;
    const size_t host_len = strcspn(host, "/");
    if ((size_t)snprintf(to, sizeof to, "::%.*s", (int)host_len, host) >= sizeof to ||
        (size_t)snprintf(url, sizeof url, "https://%s%s", t->server_name, host + host_len) >=
            sizeof url)
        return ERR_TOO_BIG;
    f->connect_to = curl_slist_append(NULL, to);
    if (!f->connect_to)
        return ERR_NOMEM;
    (void)curl_easy_setopt(f->curl, CURLOPT_CONNECT_TO, f->connect_to);
    (void)curl_easy_setopt(f->curl, CURLOPT_URL, url);
    return 0;
}

static void set_tls(struct fetch *f, const struct disco_tls *t)
{
    set_text(f, CURLOPT_CAINFO, t->ca_file);
    set_text(f, CURLOPT_CAPATH, t->ca_path);
    set_text(f, CURLOPT_SSLCERT, t->cert_file);
    set_text(f, CURLOPT_SSLKEY, t->key_file);
    set_blob(f, CURLOPT_CAINFO_BLOB, &t->ca_pem);
    set_blob(f, CURLOPT_SSLCERT_BLOB, &t->cert_pem);
    set_blob(f, CURLOPT_SSLKEY_BLOB, &t->key_pem);
    if (t->no_verify) {
        (void)curl_easy_setopt(f->curl, CURLOPT_SSL_VERIFYPEER, 0L);
        (void)curl_easy_setopt(f->curl, CURLOPT_SSL_VERIFYHOST, 0L);
    }
}

static int set_headers(struct fetch *f, const struct disco_exchange *x)
{
    for (size_t i = 0; i < sizeof x->headers / sizeof x->headers[0]; i++) {
        if (x->headers[i][0] == '\0')
            continue;
        struct curl_slist *longer = curl_slist_append(f->headers, x->headers[i]);
        if (!longer)
            return ERR_NOMEM;
        f->headers = longer;
    }
    (void)curl_easy_setopt(f->curl, CURLOPT_HTTPHEADER, f->headers);
    return 0;
}

static int fetch_prepare(struct fetch *f, const struct disco_settings *s, struct disco_exchange *x)
{
    CURL *c = f->curl;
    const long connect_ms = s->dial_timeout_ms > 0 && s->dial_timeout_ms < TOTAL_MS
                                ? (long)s->dial_timeout_ms
                                : (long)CONNECT_MS;
    (void)curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
    (void)curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https");
    (void)curl_easy_setopt(c, CURLOPT_ERRORBUFFER, f->words);
    (void)curl_easy_setopt(c, CURLOPT_TIMEOUT_MS, (long)TOTAL_MS);
    (void)curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT_MS, connect_ms);
    (void)curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, take_bytes);
    (void)curl_easy_setopt(c, CURLOPT_WRITEDATA, f);
    (void)curl_easy_setopt(c, CURLOPT_CUSTOMREQUEST, x->method);
    if (curl_easy_setopt(c, CURLOPT_URL, x->url) != CURLE_OK)
        return ERR_NOMEM;
    if (buf_len(&x->body) > 0) {
        (void)curl_easy_setopt(c, CURLOPT_POSTFIELDSIZE, (long)buf_len(&x->body));
        (void)curl_easy_setopt(c, CURLOPT_POSTFIELDS, buf_slice(&x->body).data);
    }
    if (x->user[0] != '\0') {
        (void)curl_easy_setopt(c, CURLOPT_USERNAME, x->user);
        (void)curl_easy_setopt(c, CURLOPT_PASSWORD, x->password);
    }
    set_tls(f, &s->tls);
    const int rc = set_headers(f, x);
    return rc != 0 ? rc : set_server_name(f, &s->tls, x);
}

/* 0 when it is over, well or not; ERR_CANCELED. */
static int fetch_run(struct fetch *f, const atomic_bool *abort, CURLcode *result)
{
    int running = 1, left = 0;
    *result = CURLE_FAILED_INIT;
    while (running > 0) {
        if (atomic_load(abort))
            return ERR_CANCELED;
        if (curl_multi_perform(f->multi, &running) != CURLM_OK)
            return 0;
        if (running > 0 && curl_multi_poll(f->multi, NULL, 0, LOOK_MS, NULL) != CURLM_OK)
            return 0;
    }
    for (CURLMsg *m; (m = curl_multi_info_read(f->multi, &left)) != NULL;)
        if (m->msg == CURLMSG_DONE)
            *result = m->data.result;
    return 0;
}

static int fetch_code(CURLcode result)
{
    switch ((int)result) {
    case CURLE_OK:
        return 0;
    case CURLE_OPERATION_TIMEDOUT:
        return ERR_TIMEOUT;
    case CURLE_COULDNT_CONNECT:
        return ERR_REFUSED;
    case CURLE_OUT_OF_MEMORY:
        return ERR_NOMEM;
    default:
        return ERR_UNREACHABLE;
    }
}

int disco_fetch(const struct disco_settings *s, const atomic_bool *abort, struct disco_exchange *x,
                struct err_text *why)
{
    struct fetch f = {.curl = curl_easy_init(), .multi = curl_multi_init(), .answer = &x->answer};
    CURLcode result = CURLE_FAILED_INIT;
    int rc = f.curl && f.multi ? fetch_prepare(&f, s, x) : ERR_NOMEM;
    if (rc == 0 && curl_multi_add_handle(f.multi, f.curl) != CURLM_OK)
        rc = ERR_NOMEM;
    if (rc == 0)
        rc = fetch_run(&f, abort, &result);
    if (rc == 0)
        rc = fetch_code(result);
    if (rc == 0)
        (void)curl_easy_getinfo(f.curl, CURLINFO_RESPONSE_CODE, &x->status);
    else
        err_set(why, rc, "%s %s: %s", x->method, x->url,
                f.words[0] != '\0' ? f.words : err_text_of(rc));
    if (f.curl && f.multi)
        (void)curl_multi_remove_handle(f.multi, f.curl);
    curl_slist_free_all(f.headers);
    curl_slist_free_all(f.connect_to);
    curl_easy_cleanup(f.curl);
    (void)curl_multi_cleanup(f.multi);
    return rc;
}
