/* disco_int — the room's inside. Private to src/disco. Files call downwards only:
 *
 *      disco.c                        the door: one question at a time, as a job
 *      disco_consul.c  disco_etcd.c   requests built, answers read (LOOP; JSON is nothing for jobs here, because
 *                                     cJSON's hooks belong to the LOOP)
 *      disco_config.c                 -disco-config
 *      disco_dns.c     disco_fetch.c  run(): c-ares; libcurl
 */
#ifndef RQ_DISCO_INT_H
#define RQ_DISCO_INT_H

#include <rq/disco.h>
#include <rq/util/assert.h>
#include <rq/util/mem.h>

#include <cjson/cJSON.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

enum { DISCO_ENDPOINTS_MAX = 16, DISCO_BODY_MAX = 1024 * 1024, DISCO_PEM_MAX = 256 * 1024 };

enum disco_kind { DISCO_DNS, DISCO_DNS_SRV, DISCO_CONSUL, DISCO_ETCD };

struct disco_tls { /* empty texts: not given */
    char server_name[DISCO_TEXT_MAX];
    char ca_file[DISCO_TEXT_MAX], ca_path[DISCO_TEXT_MAX];
    char cert_file[DISCO_TEXT_MAX], key_file[DISCO_TEXT_MAX];
    struct buf ca_pem, cert_pem, key_pem;
    bool no_verify;
};

struct disco_settings {
    /* dns, dns-srv */
    char name[DISCO_TEXT_MAX], service[DISCO_TEXT_MAX];
    char servers
        [DISCO_TEXT_MAX]; /* beyond the reference: "ip:port,…" to ask instead of the system's */
    uint16_t port;
    /* consul: one endpoint. etcd: several */
    char endpoints[DISCO_ENDPOINTS_MAX][DISCO_TEXT_MAX]; /* "http://host:port" */
    uint32_t endpoint_count;
    char user[DISCO_TEXT_MAX], password[DISCO_TEXT_MAX];
    char token[DISCO_TEXT_MAX], datacenter[DISCO_TEXT_MAX], ns[DISCO_TEXT_MAX],
        partition[DISCO_TEXT_MAX];
    uint64_t dial_timeout_ms; /* 0: the usual */
    struct disco_tls tls;
};

/* Fill s, which is zeroed. 0, or an error with words. */
int disco_settings_read(enum disco_kind kind, struct slice json, uint16_t raft_port,
                        struct disco_settings *s, struct err_text *why) MUST_USE;
void disco_settings_fini(struct disco_settings *s);
/* $NAME and ${NAME} become the variable's value. 0, or what failed in out. */
int disco_expand(struct slice text, struct buf *out) MUST_USE;

/* ---- run() -------------------------------------------------------------------------------------------- */

struct disco_addrs {
    uint32_t count;
    char at[DISCO_ADDRS_MAX][DISCO_TEXT_MAX];
};
/* Blocks, a few seconds at most, less once *abort is set. 0, or an error with words. */
int disco_resolve(const struct disco_settings *s, bool srv, const atomic_bool *abort,
                  struct disco_addrs *out, struct err_text *why) MUST_USE;

struct disco_exchange { /* one HTTP request and its answer */
    char method[8];
    char url[4 * DISCO_TEXT_MAX];
    char headers[2][2 * DISCO_TEXT_MAX];                 /* empty: none */
    char user[DISCO_TEXT_MAX], password[DISCO_TEXT_MAX]; /* HTTP Basic; empty: none */
    struct buf body;
    long status;
    struct buf answer;
};
/* As above; any status is an answer. */
int disco_fetch(const struct disco_settings *s, const atomic_bool *abort, struct disco_exchange *x,
                struct err_text *why) MUST_USE;

/* ---- requests and answers --------------------------------------------------------------------------------- */

enum disco_deed { DISCO_READ, DISCO_WRITE, DISCO_CLAIM, DISCO_LOGIN };

/* The request for a deed on the record of the key. value: JSON text of the record, WRITE and CLAIM only. */
int disco_consul_ask(const struct disco_settings *s, const char *key, enum disco_deed deed,
                     struct slice value, struct disco_exchange *x) MUST_USE;
/* 0 (READ: value appended), ERR_NOT_FOUND, ERR_EXISTS, or another error with words. */
int disco_consul_answer(enum disco_deed deed, const struct disco_exchange *x, struct buf *value,
                        struct err_text *why) MUST_USE;
int disco_etcd_ask(const struct disco_settings *s, const char *endpoint, const char *token,
                   const char *key, enum disco_deed deed, struct slice value,
                   struct disco_exchange *x) MUST_USE;
/* LOGIN: value gets the token. ERR_DENIED: the token is no good any more. */
int disco_etcd_answer(enum disco_deed deed, const struct disco_exchange *x, struct buf *value,
                      struct err_text *why) MUST_USE;

/* base64 (RFC 4648 §4). */
void disco_base64_put(struct slice bytes, struct buf *out);
int disco_base64_get(const char *text, struct buf *out) MUST_USE; /* 0, ERR_INVALID */

#endif
