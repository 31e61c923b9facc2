/* contract_tls.c — the contract of streams against the TLS filter, over the simulated environment: the cases
 * listen and connect through the filter, everything else stays the environment's. */
#include "contract_sim.h"
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <rq/tls.h>
#include <stdlib.h>
#include <string.h>

static struct tls *tls;
static struct env *env;
static char cert_text[4096], key_text[4096];

static void text_of(BIO *bio, char *dst, size_t cap)
{
    char *bytes = NULL;
    long len = BIO_get_mem_data(bio, &bytes);

    CHECK(len > 0 && (size_t)len < cap);
    memcpy(dst, bytes, (size_t)len);
    dst[len] = '\0';
    BIO_free(bio);
}

static void make_certificate(void)
{
    X509 *cert = X509_new();
    EVP_PKEY *key = EVP_EC_gen("P-256");
    BIO *cert_bio = BIO_new(BIO_s_mem()), *key_bio = BIO_new(BIO_s_mem());

    CHECK(cert && key && cert_bio && key_bio);
    ASN1_INTEGER_set(X509_get_serialNumber(cert), 1);
    X509_gmtime_adj(X509_getm_notBefore(cert), -3600);
    X509_gmtime_adj(X509_getm_notAfter(cert), 3600);
    X509_set_pubkey(cert, key);
    CHECK(X509_sign(cert, key, EVP_sha256()) > 0);
    CHECK(PEM_write_bio_X509(cert_bio, cert) == 1);
    CHECK(PEM_write_bio_PrivateKey(key_bio, key, NULL, NULL, 0, NULL, NULL) == 1);
    text_of(cert_bio, cert_text, sizeof(cert_text));
    text_of(key_bio, key_text, sizeof(key_text));
    X509_free(cert);
    EVP_PKEY_free(key);
}

static void start(void *ctx)
{
    struct err_text why = {""};
    const struct tls_config config = {
        .cert = slice_str(cert_text), .key = slice_str(key_text), .no_verify = true};

    (void)ctx;
    CHECK(tls_create(env, &config, &tls, &why) == 0);
}

static struct env *tls_env_create(void)
{
    env = contract_sim_driver.create();
    contract_sim_driver.call(start, NULL);
    return env;
}

static struct env *tls_env_net(void)
{
    return tls_net(tls);
}

static void on_stopped(void *ctx)
{
    *(bool *)ctx = true;
}

static void stop(void *ctx)
{
    tls_stop(tls, on_stopped, ctx);
}

static void destroy(void *ctx)
{
    (void)ctx;
    tls_destroy(tls);
}

static bool is_true(void *ctx)
{
    return *(bool *)ctx;
}

static void tls_env_destroy(void)
{
    bool stopped = false;

    contract_sim_driver.call(stop, &stopped);
    CHECK(contract_sim_driver.run_until(is_true, &stopped, 60 * ENV_S_NS));
    contract_sim_driver.call(destroy, NULL);
    contract_sim_driver.destroy();
}

/* contract_tls [case [first seed]] */
int main(int argc, char **argv)
{
    struct contract_driver driver = contract_sim_driver;

    if (argc > 2)
        contract_sim_seed = strtoull(argv[2], NULL, 10);
    driver.name = "tls";
    driver.create = tls_env_create;
    driver.net = tls_env_net;
    driver.destroy = tls_env_destroy;
    make_certificate();
    return contract_main(&driver, argc > 1 ? argv[1] : NULL);
}
