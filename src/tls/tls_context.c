/* tls_context — what OpenSSL must know before the first connection: certificate, key, CA, and the rules of
 * who is accepted. Pure but for OpenSSL; called at create and, on a thread, when files have changed. */
#include "tls_int.h"

#include <openssl/err.h>
#include <openssl/pem.h>

const char *tls_reason(void)
{
    const unsigned long code = ERR_peek_last_error();
    const char *reason = code ? ERR_reason_error_string(code) : NULL;
    ERR_clear_error();
    return reason ? reason : "unknown reason";
}

#define REFUSE(why, ...) return err_set(why, ERR_INVALID, __VA_ARGS__)

/* A key with a passphrase is refused; OpenSSL's default would ask the terminal. */
static int no_passphrase(char *dst, int cap, int writing, void *ctx)
{
    (void)dst;
    (void)cap;
    (void)writing;
    (void)ctx;
    return -1;
}

static BIO *bio_of(struct slice pem)
{
    return BIO_new_mem_buf(pem.data, (int)pem.len);
}

/* ---- our own certificate ---------------------------------------------------------------------------- */

/* The first is ours, those behind it lead to the CA. */
static int use_certificates(SSL_CTX *ctx, BIO *bio, struct err_text *why)
{
    X509 *cert = PEM_read_bio_X509_AUX(bio, NULL, no_passphrase, NULL);
    const int used = cert ? SSL_CTX_use_certificate(ctx, cert) : 0;
    X509_free(cert);
    if (used != 1)
        REFUSE(why, "certificate: %s", tls_reason());
    while ((cert = PEM_read_bio_X509(bio, NULL, no_passphrase, NULL)) != NULL) {
        if (SSL_CTX_add0_chain_cert(ctx, cert) != 1) {
            X509_free(cert);
            REFUSE(why, "certificate chain: %s", tls_reason());
        }
    }
    const unsigned long last = ERR_peek_last_error();
    const bool at_end =
        ERR_GET_LIB(last) == ERR_LIB_PEM && ERR_GET_REASON(last) == PEM_R_NO_START_LINE;
    if (last != 0 && !at_end)
        REFUSE(why, "certificate chain: %s", tls_reason());
    ERR_clear_error();
    return 0;
}

static int use_key(SSL_CTX *ctx, BIO *bio, struct err_text *why)
{
    EVP_PKEY *key = PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, NULL);
    const int used = key ? SSL_CTX_use_PrivateKey(ctx, key) : 0;
    EVP_PKEY_free(key);
    if (used != 1 || SSL_CTX_check_private_key(ctx) != 1)
        REFUSE(why, "private key: %s", tls_reason());
    return 0;
}

static int use_pair(SSL_CTX *ctx, struct slice cert, struct slice key, struct err_text *why)
{
    BIO *cert_bio = bio_of(cert), *key_bio = bio_of(key);
    int rc = cert_bio && key_bio ? 0 : err_set(why, ERR_NOMEM, "out of memory");
    if (rc == 0)
        rc = use_certificates(ctx, cert_bio, why);
    if (rc == 0)
        rc = use_key(ctx, key_bio, why);
    BIO_free(cert_bio);
    BIO_free(key_bio);
    return rc;
}

/* ---- the CA -------------------------------------------------------------------------------------------- */

/* Trust each certificate of the file; tell clients its names, so that they can choose theirs. */
static int trust_each(SSL_CTX *ctx, BIO *bio, struct err_text *why)
{
    uint32_t count = 0;
    for (X509 *cert; (cert = PEM_read_bio_X509(bio, NULL, no_passphrase, NULL)) != NULL; count++) {
        const int ok = X509_STORE_add_cert(SSL_CTX_get_cert_store(ctx), cert) &&
                       SSL_CTX_add_client_CA(ctx, cert);
        X509_free(cert);
        if (!ok)
            REFUSE(why, "CA certificate: %s", tls_reason());
    }
    if (count == 0)
        REFUSE(why, "CA certificate: %s", tls_reason());
    ERR_clear_error();
    return 0;
}

static int use_ca(SSL_CTX *ctx, struct slice ca, struct err_text *why)
{
    if (ca.len == 0) {
        if (SSL_CTX_set_default_verify_paths(ctx) != 1)
            REFUSE(why, "the system's CA certificates: %s", tls_reason());
        return 0;
    }
    BIO *bio = bio_of(ca);
    const int rc = bio ? trust_each(ctx, bio, why) : err_set(why, ERR_NOMEM, "out of memory");
    BIO_free(bio);
    return rc;
}

/* ---- whom we accept ------------------------------------------------------------------------------------- */

/* The subject's last common name, as Go reads it, is exactly that. */
static bool has_common_name(const X509 *cert, const char *want)
{
    const X509_NAME *subject = X509_get_subject_name(cert);
    int at = -1, last = -1;
    while ((at = X509_NAME_get_index_by_NID(subject, NID_commonName, at)) >= 0)
        last = at;
    if (last < 0)
        return false;
    unsigned char *text = NULL;
    const int len =
        ASN1_STRING_to_UTF8(&text, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, last)));
    const bool equal = len >= 0 && slice_equal_str(slice_of(text, (size_t)len), want);
    OPENSSL_free(text);
    return equal;
}

static int verify_name(int chain_is_good, X509_STORE_CTX *store)
{
    const SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
    const struct tls_stream *s = SSL_get_app_data(ssl);
    const char *want = s->t->rules.common_name;
    if (!chain_is_good || !want || X509_STORE_CTX_get_error_depth(store) > 0)
        return chain_is_good;
    if (has_common_name(X509_STORE_CTX_get_current_cert(store), want))
        return 1;
    X509_STORE_CTX_set_error(store, X509_V_ERR_APPLICATION_VERIFICATION);
    return 0;
}

static const unsigned char alpn_http[] = "\x08http/1.1";

/* http/1.1 or nothing: a client that insists on something else would not understand us. */
static int alpn_choose(SSL *ssl, const unsigned char **out, unsigned char *out_len,
                       const unsigned char *in, unsigned in_len, void *ctx)
{
    unsigned char *chosen = NULL;
    (void)ssl;
    (void)ctx;
    const int found =
        SSL_select_next_proto(&chosen, out_len, alpn_http, sizeof alpn_http - 1, in, in_len);
    *out = chosen;
    return found == OPENSSL_NPN_NEGOTIATED ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_ALERT_FATAL;
}

/* ---- contexts --------------------------------------------------------------------------------------------- */

static int context_new(const SSL_METHOD *method, SSL_CTX **out, struct err_text *why)
{
    SSL_CTX *ctx = SSL_CTX_new(method);
    if (!ctx)
        return err_set(why, ERR_NOMEM, "%s", tls_reason());
    if (SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION) != 1) {
        SSL_CTX_free(ctx);
        REFUSE(why, "%s", tls_reason());
    }
    SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                                 SSL_OP_CIPHER_SERVER_PREFERENCE);
    SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    *out = ctx;
    return 0;
}

static int server_make(const struct tls_rules *rules, struct slice cert, struct slice key,
                       SSL_CTX **out, struct err_text *why)
{
    static const unsigned char session_context[] = "rqlited";
    int rc = context_new(TLS_server_method(), out, why);
    if (rc == 0)
        rc = use_pair(*out, cert, key, why);
    if (rc != 0)
        return rc;
    if (SSL_CTX_set_session_id_context(*out, session_context, sizeof session_context - 1) != 1)
        REFUSE(why, "%s", tls_reason());
    if (rules->http)
        SSL_CTX_set_alpn_select_cb(*out, alpn_choose, NULL);
    if (!rules->verify_client)
        return 0;
    SSL_CTX_set_verify(*out, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, verify_name);
    return use_ca(*out, rules->ca, why);
}

static int client_make(const struct tls_rules *rules, struct slice cert, struct slice key,
                       SSL_CTX **out, struct err_text *why)
{
    int rc = context_new(TLS_client_method(), out, why);
    if (rc == 0 && cert.len > 0)
        rc = use_pair(*out, cert, key, why);
    if (rc != 0)
        return rc;
    if (rules->http && SSL_CTX_set_alpn_protos(*out, alpn_http, sizeof alpn_http - 1) != 0)
        return err_set(why, ERR_NOMEM, "%s", tls_reason());
    if (rules->no_verify)
        return 0;
    SSL_CTX_set_verify(*out, SSL_VERIFY_PEER, NULL);
    return use_ca(*out, rules->ca, why);
}

int tls_contexts_make(const struct tls_rules *rules, struct slice cert, struct slice key,
                      struct tls_contexts *out, struct err_text *why)
{
    int rc = 0;
    ERR_clear_error();
    out->server = out->client = NULL;
    if (cert.len > TLS_PEM_MAX || key.len > TLS_PEM_MAX || rules->ca.len > TLS_PEM_MAX)
        REFUSE(why, "a certificate file is larger than %d bytes", TLS_PEM_MAX);
    if (cert.len > 0)
        rc = server_make(rules, cert, key, &out->server, why);
    if (rc == 0)
        rc = client_make(rules, cert, key, &out->client, why);
    if (rc != 0)
        tls_contexts_free(out);
    return rc;
}

void tls_contexts_free(struct tls_contexts *c)
{
    SSL_CTX_free(c->server);
    SSL_CTX_free(c->client);
    c->server = c->client = NULL;
}
