/* tls_reload — certificate and key are read again when their files change (daemon.md §9.3).
 *
 * A handshake that begins when the last look is a second old waits for a new one: a READ job reads both
 * files and compares their digest. Contents and not times, since a time may stand still while a file
 * changes, and env files have none. A pair that cannot be used leaves the old one in use, and is
 * complained about once. Connections that exist keep the context they began with. */
#include "tls_int.h"

#include <openssl/evp.h>

enum { LOOK_INTERVAL_NS = 1000000000 };

static void digest_of(struct slice cert, struct slice key, uint8_t out[TLS_DIGEST_BYTES])
{
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    const uint64_t cert_len = cert.len;
    memset(out, 0, TLS_DIGEST_BYTES);
    if (!md || !EVP_DigestInit_ex(md, EVP_sha256(), NULL) ||
        !EVP_DigestUpdate(md, &cert_len, sizeof cert_len) ||
        !EVP_DigestUpdate(md, cert.data, cert.len) || !EVP_DigestUpdate(md, key.data, key.len) ||
        !EVP_DigestFinal_ex(md, out, NULL))
        memset(out, 0,
               TLS_DIGEST_BYTES); /* no memory: equal to nothing; the next look tries again */
    EVP_MD_CTX_free(md);
}

/* ---- on the lane ------------------------------------------------------------------------------------- */

static int file_get(struct env *e, const char *path, struct buf *out, struct err_text *why)
{
    struct env_file *f = NULL;
    uint64_t size = 0;
    size_t got = 0;
    int rc = env_file_open(e, path, ENV_FILE_READONLY, &f);
    if (rc == 0)
        rc = env_file_size(f, &size);
    if (rc == 0 && size > TLS_PEM_MAX)
        rc = ERR_TOO_BIG;
    uint8_t *dst = rc == 0 ? buf_reserve(out, (size_t)size + 1) : NULL;
    if (rc == 0)
        rc = dst ? env_file_read(f, dst, (size_t)size, 0, &got) : ERR_NOMEM;
    if (rc == 0)
        buf_commit(out, got);
    env_file_close(f);
    return rc == 0 ? 0 : err_set(why, rc, "%s: %s", path, err_text_of(rc));
}

static void look_run(struct env_job *job)
{
    struct tls *t = LIST_ENTRY(job, struct tls, reload.job);
    struct tls_reload *r = &t->reload;
    struct buf cert, key;
    buf_init(&cert, TLS_PEM_MAX + 1);
    buf_init(&key, TLS_PEM_MAX + 1);
    r->rc = file_get(t->env, t->cert_path, &cert, &r->why);
    if (r->rc == 0)
        r->rc = file_get(t->env, t->key_path, &key, &r->why);
    memset(r->found, 0, sizeof r->found);
    if (r->rc == 0) {
        digest_of(buf_slice(&cert), buf_slice(&key), r->found);
        const bool known = memcmp(r->found, r->loaded, sizeof r->found) == 0 ||
                           memcmp(r->found, r->refused, sizeof r->found) == 0;
        r->rc = known ? ERR_EXISTS
                      : tls_contexts_make(&t->rules, buf_slice(&cert), buf_slice(&key),
                                          &r->contexts, &r->why);
    }
    if (key.cap > 0)
        OPENSSL_cleanse(key.data, key.cap);
    buf_fini(&cert);
    buf_fini(&key);
}

/* ---- on the loop --------------------------------------------------------------------------------------- */

static void look_take(struct tls *t)
{
    struct tls_reload *r = &t->reload;
    if (r->rc == ERR_EXISTS)
        return;
    if (r->rc == 0) {
        env_log(t->env, t->component, "reloading certificate at %s and key at %s", t->cert_path,
                t->key_path);
        tls_contexts_free(&t->contexts);
        t->contexts = r->contexts;
        memset(&r->contexts, 0, sizeof r->contexts);
        memcpy(r->loaded, r->found, sizeof r->loaded);
        memset(r->refused, 0xff, sizeof r->refused);
        return;
    }
    /* Zeros: the files could not be read. Any 32 bytes stand for "complained about". */
    if (memcmp(r->refused, r->found, sizeof r->refused) != 0)
        env_log(t->env, t->component, "failed to reload certificate (%s), returning prior cert",
                r->why.text);
    memcpy(r->refused, r->found, sizeof r->refused);
}

static void look_done(struct env_job *job)
{
    struct tls *t = LIST_ENTRY(job, struct tls, reload.job);
    struct tls_reload *r = &t->reload;
    struct list ready;
    r->busy = false;
    r->checked_ns = env_now_ns(t->env);
    look_take(t);
    list_init(&ready);
    for (struct list *l; (l = list_pop_front(&r->waiters));)
        list_push_back(&ready, l);
    for (struct list *l; (l = list_pop_front(&ready));) {
        struct tls_waiter *w = LIST_ENTRY(l, struct tls_waiter, link);
        w->ready(w);
    }
    t->idle(t);
}

void tls_reload_init(struct tls *t, struct slice cert, struct slice key)
{
    struct tls_reload *r = &t->reload;
    list_init(&r->waiters);
    r->checked_ns = env_now_ns(t->env);
    digest_of(cert, key, r->loaded);
    memset(r->refused, 0xff, sizeof r->refused);
    r->job.run = look_run;
    r->job.done = look_done;
}

bool tls_reload_wait(struct tls *t, struct tls_waiter *w)
{
    struct tls_reload *r = &t->reload;
    if (!t->cert_path || t->stopped)
        return false;
    if (!r->busy && env_now_ns(t->env) - r->checked_ns < LOOK_INTERVAL_NS)
        return false;
    list_push_back(&r->waiters, &w->link);
    if (!r->busy) {
        r->busy = true;
        env_job_submit(t->env, ENV_LANE_READ, &r->job);
    }
    return true;
}
