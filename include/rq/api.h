/* api — rqlite's HTTP surface (spec: http-api.md). Turns HTTP into requests to node and answers into
 * JSON; never touches raft, log or database handles. LOOP, except the codec (any lane). */
#ifndef RQ_API_H
#define RQ_API_H

#include <rq/env.h>
#include <rq/node.h>

struct api;

/* A network interface, as /status shows it. */
enum { API_INTERFACE_ADDRS = 8 };
struct api_interface {
    char name[32], flags[64], hardware_address[24];
    uint32_t addr_count;
    char addrs[API_INTERFACE_ADDRS][64]; /* "10.0.0.1/24" */
};

struct api_config {
    const char *bind_addr;    /* "host:port"; strings are copied */
    const char *adv_addr;     /* "host:port" shown to clients */
    const char *raft_addr;    /* for X-RQLITE-RAFT-ADDR */
    const char *version;      /* "v10.…" */
    const char *allow_origin; /* NULL: header absent */
    struct api_queue_config { /* queued writes (http-api.md §12) */
        uint32_t capacity, batch_size; /* requests; 0 counts as 1 */
        uint64_t timeout_ns;           /* a batch waits no longer for more; 0: for ever */
        bool transaction;              /* each batch is one transaction */
    } queue;
    struct env *net;          /* listens in place of the environment (tls_net); NULL: the environment itself */
    struct guard *guard;      /* lent for the api's life; NULL: no credentials file, all may do all */
    struct api_facts {        /* for /status and /debug/vars only; strings may be NULL: "unknown" */
        const char *dir, *commit, *build_time, *sqlite_version;
        const char *compiler;           /* one word */
        const char *executable, *hostname, *os, *arch;
        const char *cert_file, *key_file, *ca_file; /* of HTTPS; cert_file NULL: HTTP */
        bool verify_client;
        const char *db_path;            /* of the SQLite file; NULL: in memory */
        const char *const *args;        /* command line, NULL-terminated; lent for the api's life */
        const struct api_interface *interfaces; /* of the machine; lent for the api's life */
        uint32_t interface_count;
        /* Memory of the process, bytes. NULL: not known. LOOP; must not block. */
        void (*memory)(uint64_t *resident, uint64_t *mapped);
        /* Append the object `disco` of /status, JSON, or nothing. NULL: there is none. */
        void (*disco)(void *ctx, struct buf *out);
        void *disco_ctx;
        const char *log_level;          /* -raft-log-level */
        bool compress_images;           /* -compress-snap-transport */
        bool remove_shutdown;           /* -raft-remove-shutdown */
        int64_t reap_timeout_ns, reap_read_only_timeout_ns;
        bool no_freelist_sync;
        uint32_t pid, ppid, page_size, cpu_count;
        bool kubernetes, foreign_keys, on_disk, node_tls;
        int64_t db_reader_max;          /* -db-max-ro-conns */
        int64_t apply_timeout_ns, heartbeat_timeout_ns, election_timeout_ns, lease_timeout_ns, commit_timeout_ns;
        int64_t snapshot_interval_ns;
        uint64_t snapshot_threshold;
        int64_t auto_vacuum_ns; /* -auto-vacuum-int; 0: off */
    } facts;
};

const struct node_codec *api_codec(void);

/* Listen. The node may still be opening. 0; ERR_ADDRESS, ERR_NOMEM. node: lent until api_stop's stopped(). */
int api_create(struct env *e, const struct api_config *config, struct api **out, struct err_text *why) MUST_USE;
void api_node_set(struct api *a, struct node *n); /* NULL: none yet (answers "store not open") */
/* Stop accepting, let running requests finish and write what is queued until grace_ms, close all. stopped()
 * once; then destroy. The node set must live until then. */
void api_stop(struct api *a, uint64_t grace_ms, void (*stopped)(void *ctx), void *ctx);
void api_destroy(struct api *a);

/* Find the advertised Raft address behind an HTTP API address ("http://host:port[/…]", daemon.md P-1):
 * GET /readyz?noleader and its X-RQLITE-RAFT-ADDR header. */
struct api_resolve;
struct api_resolve_ask {
    const char *url; /* copied */
    uint64_t timeout_ms;
    struct env *https; /* connects to https:// URLs (tls_net); NULL: they are not supported */
};
/* 0: done() exactly once, later, unless canceled; *out lent until then, raft_addr during done().
 * ERR_INVALID (no such URL), ERR_NOT_SUPPORTED (https), ERR_NOMEM: nothing was started. */
int api_resolve_start(struct env *e, const struct api_resolve_ask *ask,
                      void (*done)(void *ctx, int rc, const char *raft_addr, const char *why), void *ctx,
                      struct api_resolve **out) MUST_USE;
void api_resolve_cancel(struct api_resolve *r); /* done() will not run */

#endif
