/* disco — where other nodes are, from outside: names in DNS, or one record in Consul or etcd (daemon.md §4).
 *
 * Everything that waits for the network runs as a job of the READ lane, with libcurl or c-ares, and is given up
 * soon after disco_stop (docs/decisions/0005-discovery-in-jobs.md). The environment should have one thread more in
 * that lane than reads use. LOOP only. */
#ifndef RQ_DISCO_H
#define RQ_DISCO_H

#include <rq/env.h>
#include <rq/util/buf.h>

struct disco;

enum { DISCO_ADDRS_MAX = 64, DISCO_TEXT_MAX = 512 };

struct disco_config {
    const char *mode; /* "dns", "dns-srv", "consul-kv", "etcd-kv"; copied */
    const char *key;  /* -disco-key; copied */
    struct slice
        json; /* text of -disco-config, variables not expanded yet; len 0: defaults. Lent */
    uint16_t raft_port; /* dns: of every address, unless the configuration says another */
};
/* 0 and *out; ERR_INVALID, ERR_NOMEM with words. */
int disco_create(struct env *e, const struct disco_config *config, struct disco **out,
                 struct err_text *why) MUST_USE;
/* done() of what is under way does not run any more. stopped() exactly once, on a later turn, when the job is
 * through; then disco_destroy. */
void disco_stop(struct disco *d, void (*stopped)(void *ctx), void *ctx);
void disco_destroy(struct disco *d); /* may be NULL */

bool disco_is_dns(const struct disco *d);

/* One question at a time: ERR_BUSY while one is under way. 0: done() exactly once, later. Words are lent. */

/* dns, dns-srv: "host:port" of all nodes, sorted; lent until the next question. */
typedef void disco_addrs_fn(void *ctx, int rc, const char *const *addrs, uint32_t count,
                            const char *why);
int disco_look(struct disco *d, disco_addrs_fn *done, void *ctx) MUST_USE;

/* consul-kv, etcd-kv: who leads, or is going to. */
struct disco_record {
    char id[DISCO_TEXT_MAX], api_addr[DISCO_TEXT_MAX], addr[DISCO_TEXT_MAX];
};
/* rc 0 and the record; ERR_NOT_FOUND: there is none. */
typedef void disco_record_fn(void *ctx, int rc, const struct disco_record *record, const char *why);
int disco_read(struct disco *d, disco_record_fn *done, void *ctx) MUST_USE;
/* rc 0: written; claim: only if there was none, else ERR_EXISTS. record: copied. */
typedef void disco_done_fn(void *ctx, int rc, const char *why);
int disco_write(struct disco *d, const struct disco_record *record, bool claim, disco_done_fn *done,
                void *ctx) MUST_USE;

/* The object of /status, JSON. */
void disco_status(const struct disco *d, struct buf *out);

#endif
