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

static int pem_read(const char *path, struct buf *out, struct err_text *why)
{
    return path ? file_read_whole(path, out, why) : 0;
}

/* config: all but what the files hold. */
static int tls_load(struct env *e, struct tls_config config, const char *ca_path, struct tls **out,
                    struct err_text *why)
{
    struct pems p;
    buf_init(&p.cert, FILES_PEM_MAX);
    buf_init(&p.key, FILES_PEM_MAX);
    buf_init(&p.ca, FILES_PEM_MAX);
    int rc = pem_read(config.cert_path, &p.cert, why);
    if (rc == 0)
        rc = pem_read(config.key_path, &p.key, why);
    if (rc == 0)
        rc = pem_read(ca_path, &p.ca, why);
    config.cert = buf_slice(&p.cert);
    config.key = buf_slice(&p.key);
    config.ca = buf_slice(&p.ca);
    if (rc == 0)
        rc = tls_create(e, &config, out, why);
    buf_forget(&p.cert);
    buf_forget(&p.key);
    buf_forget(&p.ca);
    return rc;
}

static int https_load(struct env *e, const struct flags *f, struct tls **out, struct err_text *why)
{
    struct err_text reason = {""};
    const struct tls_config config = {
        .cert_path = or_null(f->http_cert),
        .key_path = or_null(f->http_key),
        .verify_client = f->http_verify_client,
        .common_name = or_null(f->http_verify_common_name),
        .no_verify = f->http_no_verify,
        .http = true,
        .component = "http",
    };
    const int rc = tls_load(e, config, or_null(f->http_ca_cert), out, &reason);
    if (rc != 0)
        return err_set(why, rc, "failed to start HTTP server: %s", reason.text);
    if (given(f->http_cert))
        env_log(e, "http",
                "secure HTTPS server enabled with cert %s, key %s%s%s, mutual TLS %s%s%s%s",
                f->http_cert, f->http_key, given(f->http_ca_cert) ? ", CA cert " : "",
                f->http_ca_cert, f->http_verify_client ? "enabled" : "disabled",
                given(f->http_verify_common_name) ? ", required client CN \"" : "",
                f->http_verify_common_name, given(f->http_verify_common_name) ? "\"" : "");
    return 0;
}

/* Between nodes. A CA without a certificate would look like encryption and be none (daemon.md Q-6). */
static int node_tls_load(struct env *e, const struct flags *f, struct tls **out,
                         struct err_text *why)
{
    struct err_text reason = {""};
    const struct tls_config config = {
        .cert_path = or_null(f->node_cert),
        .key_path = or_null(f->node_key),
        .verify_client = f->node_verify_client,
        .common_name = or_null(f->node_verify_common_name),
        .no_verify = f->node_no_verify,
        .server_name = or_null(f->node_verify_server_name),
        .component = "mux",
    };
    if (!given(f->node_cert))
        return err_set(
            why, ERR_INVALID,
            "failed to create cluster client: -node-ca-cert needs -node-cert and -node-key");
    const int rc = tls_load(e, config, or_null(f->node_ca_cert), out, &reason);
    if (rc != 0)
        return err_set(why, rc, "failed to start node mux: %s", reason.text);
    const bool named = f->node_verify_client && given(f->node_verify_common_name);
    env_log(e, "rqlited",
            "enabling node-to-node encryption with cert: %s, key: %s%s%s, mutual TLS %s%s%s%s",
            f->node_cert, f->node_key, given(f->node_ca_cert) ? ", CA cert " : "", f->node_ca_cert,
            f->node_verify_client ? "enabled" : "disabled",
            named ? ", required peer common name \"" : "", named ? f->node_verify_common_name : "",
            named ? "\"" : "");
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
        rc = https_load(e, f, &out->tls, why);
    if (rc == 0 && (given(f->node_cert) || given(f->node_ca_cert)))
        rc = node_tls_load(e, f, &out->node_tls, why);
    if (rc == 0 && given(f->auth) && !(out->node_tls && f->node_verify_client))
        env_log(e, "rqlited",
                "-auth does not guard what nodes say to one another: keep %s on a private network, "
                "or use "
                "-node-verify-client",
                f->raft_addr);
    if (rc != 0)
        secrets_destroy(out);
    return rc;
}

void secrets_destroy(struct secrets *s)
{
    guard_destroy(s->guard);
    tls_destroy(s->tls);
    tls_destroy(s->node_tls);
    if (s->join_password)
        explicit_bzero(s->join_password, AUTH_PASSWORD_MAX);
    mem_free(s->join_password);
    memset(s, 0, sizeof *s);
}
