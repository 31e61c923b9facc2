/* secrets — see secrets.h. */
#include "secrets.h"

#include "files.h"

#include <rq/util/mem.h>

#include <string.h>

static bool given(const char *text)
{
    return text[0] != '\0';
}

static const char *or_null(const char *text)
{
    return given(text) ? text : NULL;
}

static void buf_forget(struct buf *b)
{
    if (b->cap > 0)
        explicit_bzero(b->data, b->cap);
    buf_fini(b);
}

/* On whose behalf this node asks others. Who is not in the file is nobody, and other nodes will say so. */
static int join_as_load(struct env *e, const struct flags *f, struct slice json,
                        struct secrets *out)
{
    if (!given(f->join_as))
        return 0;
    out->join_password = mem_zalloc(AUTH_PASSWORD_MAX + 1);
    if (!out->join_password)
        return ERR_NOMEM;
    if (auth_password_find(json, f->join_as, out->join_password) == 0)
        out->join_user = f->join_as;
    else
        env_log(e, "rqlited", "user %s of -join-as is not in the credentials file", f->join_as);
    return 0;
}

static int credentials_load(struct env *e, const struct flags *f, struct secrets *out,
                            struct err_text *why)
{
    struct err_text reason = {""};
    struct buf json;
    buf_init(&json, AUTH_FILE_MAX);
    int rc = file_read_whole(f->auth, &json, &reason);
    if (rc == 0)
        rc = guard_create(e, buf_slice(&json), &out->guard, &reason);
    if (rc == 0)
        rc = join_as_load(e, f, buf_slice(&json), out);
    buf_forget(&json);
    return rc == 0 ? 0 : err_set(why, rc, "failed to get credential store: %s", reason.text);
}

/* ---- certificates ---------------------------------------------------------------------------------- */

struct pems {
    struct buf cert, key, ca;
};

static int pems_read(const struct flags *f, struct pems *p, struct err_text *why)
{
    int rc = 0;
    if (given(f->http_cert))
        rc = file_read_whole(f->http_cert, &p->cert, why);
    if (rc == 0 && given(f->http_key))
        rc = file_read_whole(f->http_key, &p->key, why);
    if (rc == 0 && given(f->http_ca_cert))
        rc = file_read_whole(f->http_ca_cert, &p->ca, why);
    return rc;
}

static void https_log(struct env *e, const struct flags *f)
{
    env_log(e, "http", "secure HTTPS server enabled with cert %s, key %s%s%s, mutual TLS %s%s%s%s",
            f->http_cert, f->http_key, given(f->http_ca_cert) ? ", CA cert " : "", f->http_ca_cert,
            f->http_verify_client ? "enabled" : "disabled",
            given(f->http_verify_common_name) ? ", required client CN \"" : "",
            f->http_verify_common_name, given(f->http_verify_common_name) ? "\"" : "");
}

static int tls_load(struct env *e, const struct flags *f, struct tls **out, struct err_text *why)
{
    struct err_text reason = {""};
    struct pems p;
    buf_init(&p.cert, FILES_PEM_MAX);
    buf_init(&p.key, FILES_PEM_MAX);
    buf_init(&p.ca, FILES_PEM_MAX);
    int rc = pems_read(f, &p, &reason);
    const struct tls_config config = {
        .cert_path = or_null(f->http_cert),
        .key_path = or_null(f->http_key),
        .cert = buf_slice(&p.cert),
        .key = buf_slice(&p.key),
        .ca = buf_slice(&p.ca),
        .verify_client = f->http_verify_client,
        .common_name = or_null(f->http_verify_common_name),
        .no_verify = f->http_no_verify,
        .http = true,
        .component = "http",
    };
    if (rc == 0)
        rc = tls_create(e, &config, out, &reason);
    buf_forget(&p.cert);
    buf_forget(&p.key);
    buf_forget(&p.ca);
    if (rc != 0)
        return err_set(why, rc, "failed to start HTTP server: %s", reason.text);
    if (given(f->http_cert))
        https_log(e, f);
    return 0;
}

static bool joins_https(const struct flags *f)
{
    for (uint32_t i = 0; i < f->join_count; i++)
        if (flags_is_url(f->joins[i]) && (f->joins[i][4] == 's' || f->joins[i][4] == 'S'))
            return true;
    return false;
}

int secrets_load(struct env *e, const struct flags *f, struct secrets *out, struct err_text *why)
{
    int rc = 0;
    memset(out, 0, sizeof *out);
    if (given(f->auth))
        rc = credentials_load(e, f, out, why);
    if (rc == 0 && (given(f->http_cert) || joins_https(f)))
        rc = tls_load(e, f, &out->tls, why);
    if (rc != 0)
        secrets_destroy(out);
    return rc;
}

void secrets_destroy(struct secrets *s)
{
    guard_destroy(s->guard);
    tls_destroy(s->tls);
    if (s->join_password)
        explicit_bzero(s->join_password, AUTH_PASSWORD_MAX);
    mem_free(s->join_password);
    memset(s, 0, sizeof *s);
}
