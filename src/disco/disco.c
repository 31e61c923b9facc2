/* disco — one question at a time.
 *
 *   question ─► job ─► answer read ─► done()
 *                ▲        ├── etcd wants a token ─► login ─┐
 *                └────────┴── next endpoint ◄──────────────┘ then the question again
 *
 * Called by daemon. */
#include "disco_int.h"

#include <rq/http.h>

#include <ares.h>
#include <curl/curl.h>
#include <stddef.h>
#include <stdlib.h>
#include <time.h>

struct disco {
    struct env *env;
    enum disco_kind kind;
    char mode[16], key[DISCO_TEXT_MAX / 2];
    struct disco_settings settings;
    atomic_bool abort; /* read by the job */
    bool busy, stopping;
    struct env_job job; /* from here to why, the job's while it runs */
    struct disco_exchange x;
    struct disco_addrs found;
    int rc;
    struct err_text why;
    /* the question */
    enum disco_deed deed, step; /* step: LOGIN on the way to deed */
    struct buf value;           /* the record as JSON */
    uint32_t endpoint, tried;
    bool logged_in; /* for this question */
    char token[2 * DISCO_TEXT_MAX - 32];
    struct disco_addrs addrs; /* last found */
    const char *addr_texts[DISCO_ADDRS_MAX];
    disco_addrs_fn *addrs_done;
    disco_record_fn *record_done;
    disco_done_fn *write_done;
    void *ctx;
    /* for people */
    int64_t contact_wall_ns; /* dns: last answer; kv: last write. 0: never */
    char last_error[ERR_TEXT_MAX];
    struct env_turn stop_turn;
    void (*stopped)(void *ctx);
    void *stopped_ctx;
};

bool disco_is_dns(const struct disco *d)
{
    return d->kind == DISCO_DNS || d->kind == DISCO_DNS_SRV;
}

static void exchange_reset(struct disco_exchange *x)
{
    buf_fini(&x->body);
    buf_fini(&x->answer);
    memset(x, 0, sizeof *x);
    buf_init(&x->body, DISCO_BODY_MAX);
    buf_init(&x->answer, DISCO_BODY_MAX);
}

/* ---- the end of a question ------------------------------------------------------------------------------- */

static void note_outcome(struct disco *d, int rc, bool contact)
{
    if (rc == 0 && contact)
        d->contact_wall_ns = env_wall_ns(d->env);
    (void)snprintf(d->last_error, sizeof d->last_error, "%s", rc == 0 ? "" : d->why.text);
}

/* As Go prints a list. Only when it differs from the last one. */
static void log_addrs(struct disco *d)
{
    struct buf text;
    bool same = d->found.count == d->addrs.count;
    for (uint32_t i = 0; same && i < d->found.count; i++)
        same = strcmp(d->found.at[i], d->addrs.at[i]) == 0;
    if (same)
        return;
    d->addrs = d->found;
    buf_init(&text, DISCO_BODY_MAX);
    for (uint32_t i = 0; i < d->addrs.count; i++)
        (void)buf_printf(&text, "%s%s", i > 0 ? " " : "", d->addrs.at[i]);
    (void)buf_append_byte(&text, '\0');
    if (!text.failed)
        env_log(d->env, d->kind == DISCO_DNS ? "disco-dns" : "disco-dnssrv",
                "resolved addresses: [%s]", (const char *)buf_slice(&text).data);
    buf_fini(&text);
}

static void end_look(struct disco *d, int rc)
{
    note_outcome(d, rc, true);
    if (rc == 0)
        log_addrs(d);
    for (uint32_t i = 0; i < d->addrs.count; i++)
        d->addr_texts[i] = d->addrs.at[i];
    d->addrs_done(d->ctx, rc, d->addr_texts, rc == 0 ? d->addrs.count : 0, d->why.text);
}

static int record_get(struct slice json, struct disco_record *out, struct err_text *why)
{
    cJSON *root = cJSON_ParseWithLength((const char *)json.data, json.len);
    const struct {
        const char *key;
        char *dst;
    } members[] = {{"id", out->id}, {"api_addr", out->api_addr}, {"addr", out->addr}};
    int rc = cJSON_IsObject(root) ? 0 : ERR_PROTOCOL;
    memset(out, 0, sizeof *out);
    for (size_t i = 0; rc == 0 && i < 3; i++) {
        const cJSON *item = cJSON_GetObjectItemCaseSensitive(root, members[i].key);
        if (!cJSON_IsString(item) || strlen(item->valuestring) >= DISCO_TEXT_MAX)
            rc = ERR_PROTOCOL;
        else
            memcpy(members[i].dst, item->valuestring, strlen(item->valuestring) + 1);
    }
    cJSON_Delete(root);
    return rc == 0 ? 0 : err_set(why, rc, "the record is not understood");
}

static int record_put(const struct disco_record *record, struct buf *out)
{
    cJSON *root = cJSON_CreateObject();
    cJSON_AddStringToObject(root, "id", record->id);
    cJSON_AddStringToObject(root, "api_addr", record->api_addr);
    cJSON_AddStringToObject(root, "addr", record->addr);
    char *text = cJSON_PrintUnformatted(root);
    const int rc = text ? buf_append_str(out, text) : ERR_NOMEM;
    cJSON_free(text);
    cJSON_Delete(root);
    return rc;
}

static void end_kv(struct disco *d, int rc)
{
    struct disco_record record;
    if (d->deed == DISCO_READ) {
        if (rc == 0)
            rc = record_get(buf_slice(&d->value), &record, &d->why);
        d->record_done(d->ctx, rc, rc == 0 ? &record : NULL, d->why.text);
        return;
    }
    note_outcome(d, rc, true);
    d->write_done(d->ctx, rc, d->why.text);
}

/* ---- jobs --------------------------------------------------------------------------------------------------- */

static struct disco *disco_of(struct env_job *job)
{
    return (struct disco *)(void *)((char *)job - offsetof(struct disco, job));
}

static void stop_ran(struct env_turn *t)
{
    struct disco *d = t->ctx;
    d->stopped(d->stopped_ctx);
}

/* The job is through. true: nobody wants its outcome. */
static bool job_over(struct disco *d)
{
    d->busy = false;
    if (d->stopping)
        env_turn_schedule(&d->stop_turn);
    return d->stopping;
}

static void look_run(struct env_job *job)
{
    struct disco *d = disco_of(job);
    d->rc = disco_resolve(&d->settings, d->kind == DISCO_DNS_SRV, &d->abort, &d->found, &d->why);
}

static void job_submit(struct disco *d, void (*run)(struct env_job *),
                       void (*done)(struct env_job *))
{
    d->busy = true;
    d->job.run = run;
    d->job.done = done;
    env_job_submit(d->env, ENV_LANE_READ, &d->job);
}

/* ---- dns ------------------------------------------------------------------------------------------------------ */

static void look_done(struct env_job *job)
{
    struct disco *d = disco_of(job);
    if (!job_over(d))
        end_look(d, d->rc);
}

/* RQLITE_DISCO_DNS_HOSTS: a list in place of the question. */
static int hosts_given(const char *list, struct disco_addrs *out, struct err_text *why)
{
    out->count = 0;
    for (const char *at = list; *at != '\0';) {
        const size_t len = strcspn(at, ",");
        struct slice host, port;
        if (len == 0 || len >= DISCO_TEXT_MAX || out->count == DISCO_ADDRS_MAX ||
            http_host_port_split(slice_of(at, len), &host, &port) != 0)
            return err_set(why, ERR_INVALID, "RQLITE_DISCO_DNS_HOSTS: invalid address %.*s",
                           (int)(len < 200 ? len : 200), at);
        memcpy(out->at[out->count], at, len);
        out->at[out->count++][len] = '\0';
        at += len + (at[len] == ',');
    }
    return 0;
}

static void given_run(struct env_job *job)
{
    (void)job; /* the list is there already; the answer comes on a later turn all the same */
}

int disco_look(struct disco *d, disco_addrs_fn *done, void *ctx)
{
    const char *list = d->kind == DISCO_DNS ? getenv("RQLITE_DISCO_DNS_HOSTS") : NULL;
    ASSERT(disco_is_dns(d) && !d->stopping);
    if (d->busy)
        return ERR_BUSY;
    d->addrs_done = done;
    d->ctx = ctx;
    if (list)
        d->rc = hosts_given(list, &d->found, &d->why);
    else
        d->why.text[0] = '\0';
    job_submit(d, list ? given_run : look_run, look_done);
    return 0;
}

/* ---- consul, etcd --------------------------------------------------------------------------------------------- */

static void fetch_run(struct env_job *job)
{
    struct disco *d = disco_of(job);
    d->rc = disco_fetch(&d->settings, &d->abort, &d->x, &d->why);
}

static void fetch_done(struct env_job *job);

static int kv_ask(struct disco *d)
{
    exchange_reset(&d->x);
    const int rc =
        d->kind == DISCO_CONSUL
            ? disco_consul_ask(&d->settings, d->key, d->step, buf_slice(&d->value), &d->x)
            : disco_etcd_ask(&d->settings, d->settings.endpoints[d->endpoint], d->token, d->key,
                             d->step, buf_slice(&d->value), &d->x);
    d->why.text[0] = '\0';
    if (rc == 0)
        job_submit(d, fetch_run, fetch_done);
    return rc;
}

static int kv_answer(struct disco *d)
{
    struct buf text;
    buf_init(&text, DISCO_BODY_MAX);
    int rc = d->kind == DISCO_CONSUL ? disco_consul_answer(d->step, &d->x, &text, &d->why)
                                     : disco_etcd_answer(d->step, &d->x, &text, &d->why);
    const struct slice got = buf_slice(&text);
    if (rc == 0 && d->step == DISCO_LOGIN) {
        if (got.len >= sizeof d->token)
            rc = err_set(&d->why, ERR_TOO_BIG, "etcd's token is too long");
        else if (got.len > 0)
            memcpy(d->token, got.data, got.len);
        d->token[rc == 0 ? got.len : 0] = '\0';
    } else if (rc == 0 && d->step == DISCO_READ) {
        buf_reset(&d->value, DISCO_BODY_MAX);
        rc = buf_append_slice(&d->value, got);
    }
    buf_fini(&text);
    return rc;
}

/* An answer that is not the end: log in first, or go on with what one was logged in for, or ask the next
 * endpoint. */
static bool kv_goes_on(struct disco *d, int rc)
{
    const bool has_user = d->kind == DISCO_ETCD && d->settings.user[0] != '\0';
    if (rc == 0 && d->step == DISCO_LOGIN) {
        d->logged_in = true;
        d->step = d->deed;
        return true;
    }
    /* etcd says 400 to who sends no token, 401 to who sends an old one */
    if (has_user && !d->logged_in && d->step != DISCO_LOGIN &&
        (d->x.status == 401 || d->x.status == 400)) {
        d->step = DISCO_LOGIN;
        return true;
    }
    const bool reached = rc == 0 || rc == ERR_NOT_FOUND || rc == ERR_EXISTS || rc == ERR_DENIED;
    if (reached || ++d->tried >= d->settings.endpoint_count)
        return false;
    d->endpoint = (d->endpoint + 1) % d->settings.endpoint_count;
    return true;
}

static void fetch_done(struct env_job *job)
{
    struct disco *d = disco_of(job);
    if (job_over(d))
        return;
    int rc = d->rc == 0 ? kv_answer(d) : d->rc;
    if (d->rc != 0)
        d->x.status = 0;
    if (kv_goes_on(d, rc)) {
        rc = kv_ask(d);
        if (rc == 0)
            return;
    }
    end_kv(d, rc);
}

static int kv_begin(struct disco *d, enum disco_deed deed, void *ctx)
{
    ASSERT(!disco_is_dns(d) && !d->stopping);
    d->deed = d->step = deed;
    d->ctx = ctx;
    d->tried = 0;
    d->logged_in = false;
    return kv_ask(d);
}

int disco_read(struct disco *d, disco_record_fn *done, void *ctx)
{
    if (d->busy)
        return ERR_BUSY;
    d->record_done = done;
    buf_reset(&d->value, DISCO_BODY_MAX);
    return kv_begin(d, DISCO_READ, ctx);
}

int disco_write(struct disco *d, const struct disco_record *record, bool claim, disco_done_fn *done,
                void *ctx)
{
    if (d->busy)
        return ERR_BUSY;
    d->write_done = done;
    buf_reset(&d->value, DISCO_BODY_MAX);
    const int rc = record_put(record, &d->value);
    return rc != 0 ? rc : kv_begin(d, claim ? DISCO_CLAIM : DISCO_WRITE, ctx);
}

/* ---- life ------------------------------------------------------------------------------------------------------- */

static int kind_of(const char *mode, enum disco_kind *kind)
{
    static const char *const modes[] = {[DISCO_DNS] = "dns",
                                        [DISCO_DNS_SRV] = "dns-srv",
                                        [DISCO_CONSUL] = "consul-kv",
                                        [DISCO_ETCD] = "etcd-kv"};
    for (size_t i = 0; i < sizeof modes / sizeof modes[0]; i++) {
        if (strcmp(modes[i], mode) == 0) {
            *kind = (enum disco_kind)i;
            return 0;
        }
    }
    return ERR_INVALID;
}

static int disco_fill(struct disco *d, const struct disco_config *config, struct err_text *why)
{
    if (kind_of(config->mode, &d->kind) != 0 ||
        (size_t)snprintf(d->mode, sizeof d->mode, "%s", config->mode) >= sizeof d->mode)
        return err_set(why, ERR_INVALID, "unknown mode");
    if ((size_t)snprintf(d->key, sizeof d->key, "%s", config->key) >= sizeof d->key)
        return err_set(why, ERR_TOO_BIG, "-disco-key is too long");
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK ||
        ares_library_init(ARES_LIB_INIT_ALL) != ARES_SUCCESS)
        return err_set(why, ERR_NOMEM, "out of memory");
    return disco_settings_read(d->kind, config->json, config->raft_port, &d->settings, why);
}

int disco_create(struct env *e, const struct disco_config *config, struct disco **out,
                 struct err_text *why)
{
    struct disco *d = mem_zalloc(sizeof *d);
    if (!d)
        return err_set(why, ERR_NOMEM, "out of memory");
    d->env = e;
    env_turn_init(&d->stop_turn, e, stop_ran, d);
    buf_init(&d->value, DISCO_BODY_MAX);
    exchange_reset(&d->x);
    const int rc = disco_fill(d, config, why);
    if (rc != 0) {
        disco_destroy(d);
        return rc;
    }
    *out = d;
    return 0;
}

void disco_stop(struct disco *d, void (*stopped)(void *ctx), void *ctx)
{
    ASSERT(!d->stopping);
    d->stopping = true;
    d->stopped = stopped;
    d->stopped_ctx = ctx;
    atomic_store(&d->abort, true);
    if (!d->busy)
        env_turn_schedule(&d->stop_turn);
}

void disco_destroy(struct disco *d)
{
    if (!d)
        return;
    ASSERT(!d->busy);
    disco_settings_fini(&d->settings);
    buf_fini(&d->value);
    buf_fini(&d->x.body);
    buf_fini(&d->x.answer);
    explicit_bzero(d->token, sizeof d->token);
    mem_free(d);
    ares_library_cleanup();
    curl_global_cleanup();
}

/* ---- words for people --------------------------------------------------------------------------------------------- */

static void status_time(cJSON *root, int64_t wall_ns)
{
    char text[64];
    struct tm t;
    const time_t s = (time_t)(wall_ns / (int64_t)ENV_S_NS);
    if (wall_ns == 0 || !gmtime_r(&s, &t))
        (void)snprintf(text, sizeof text, "0001-01-01T00:00:00Z");
    else
        (void)snprintf(text, sizeof text, "%04d-%02d-%02dT%02d:%02d:%02d.%09lldZ", t.tm_year + 1900,
                       t.tm_mon + 1, t.tm_mday, t.tm_hour, t.tm_min, t.tm_sec,
                       (long long)(wall_ns % (int64_t)ENV_S_NS));
    cJSON_AddStringToObject(root, "last_contact", text);
}

static void status_dns(cJSON *root, const struct disco *d)
{
    const struct disco_settings *s = &d->settings;
    char name[2 * DISCO_TEXT_MAX + 16];
    cJSON_AddStringToObject(root, "name", s->name);
    if (d->kind == DISCO_DNS) {
        cJSON_AddNumberToObject(root, "port", s->port);
    } else {
        (void)snprintf(name, sizeof name, "_%s._tcp.%s.", s->service, s->name);
        cJSON_AddStringToObject(root, "service", s->service);
        cJSON_AddStringToObject(root, "dns_name:", name);
        cJSON_AddStringToObject(root, "dns_name", name);
    }
    if (d->last_error[0] != '\0')
        cJSON_AddStringToObject(root, "last_error", d->last_error);
    if (d->contact_wall_ns == 0)
        return;
    status_time(root, d->contact_wall_ns);
    cJSON *addrs = cJSON_AddArrayToObject(root, "last_addresses");
    for (uint32_t i = 0; addrs && i < d->addrs.count; i++)
        cJSON_AddItemToArray(addrs, cJSON_CreateString(d->addrs.at[i]));
}

void disco_status(const struct disco *d, struct buf *out)
{
    cJSON *root = cJSON_CreateObject();
    cJSON_AddStringToObject(root, "mode", d->mode);
    if (disco_is_dns(d)) {
        status_dns(root, d);
    } else {
        cJSON_AddNumberToObject(root, "register_interval", 3e9);
        cJSON_AddNumberToObject(root, "report_interval", 10e9);
        status_time(root, d->contact_wall_ns);
    }
    char *text = cJSON_PrintUnformatted(root);
    if (text)
        (void)buf_append_str(out, text);
    cJSON_free(text);
    cJSON_Delete(root);
}
