/* flags — the command line (daemon.md §1.2–§1.5). Pure: words in, a struct or an error out. */
#ifndef RQ_DAEMON_FLAGS_H
#define RQ_DAEMON_FLAGS_H

#include <rq/util/err.h>
#include <stdbool.h>
#include <stdint.h>

/* X(kind, field, "name", default): the table of all flags. Kinds: TEXT, BOOL, INT, UINT, TIME (ns). */
#define FLAGS_S INT64_C(1000000000)
#define FLAGS_MS INT64_C(1000000)
#define FLAGS_TABLE(X)                                                                             \
    X(BOOL, version, "version", false)                                                             \
    X(TEXT, node_id, "node-id", "")                                                                \
    X(TEXT, extensions_path, "extensions-path", "")                                                \
    X(TEXT, http_addr, "http-addr", "localhost:4001")                                              \
    X(TEXT, http_adv_addr, "http-adv-addr", "")                                                    \
    X(TEXT, http_allow_origin, "http-allow-origin", "")                                            \
    X(TEXT, http_ca_cert, "http-ca-cert", "")                                                      \
    X(TEXT, http_cert, "http-cert", "")                                                            \
    X(TEXT, http_key, "http-key", "")                                                              \
    X(BOOL, http_verify_client, "http-verify-client", false)                                       \
    X(TEXT, http_verify_common_name, "http-verify-common-name", "")                                \
    X(TEXT, auth, "auth", "")                                                                      \
    X(TEXT, raft_addr, "raft-addr", "localhost:4002")                                              \
    X(TEXT, raft_adv_addr, "raft-adv-addr", "")                                                    \
    X(TEXT, node_ca_cert, "node-ca-cert", "")                                                      \
    X(TEXT, node_cert, "node-cert", "")                                                            \
    X(TEXT, node_key, "node-key", "")                                                              \
    X(BOOL, node_no_verify, "node-no-verify", false)                                               \
    X(BOOL, node_verify_client, "node-verify-client", false)                                       \
    X(TEXT, node_verify_server_name, "node-verify-server-name", "")                                \
    X(TEXT, node_verify_common_name, "node-verify-common-name", "")                                \
    X(TIME, cluster_connect_timeout, "cluster-connect-timeout", 30 * FLAGS_S)                      \
    X(BOOL, compress_snap_transport, "compress-snap-transport", false)                             \
    X(TEXT, join, "join", "")                                                                      \
    X(INT, join_attempts, "join-attempts", 5)                                                      \
    X(TIME, join_interval, "join-interval", 3 * FLAGS_S)                                           \
    X(TEXT, join_as, "join-as", "")                                                                \
    X(INT, bootstrap_expect, "bootstrap-expect", 0)                                                \
    X(TIME, bootstrap_expect_timeout, "bootstrap-expect-timeout", 120 * FLAGS_S)                   \
    X(TEXT, disco_mode, "disco-mode", "")                                                          \
    X(TEXT, disco_key, "disco-key", "rqlite")                                                      \
    X(TEXT, disco_config, "disco-config", "")                                                      \
    X(BOOL, fk, "fk", false)                                                                       \
    X(INT, db_max_ro_conns, "db-max-ro-conns", 256)                                                \
    X(TIME, auto_vacuum_int, "auto-vacuum-int", 0)                                                 \
    X(TIME, auto_optimize_int, "auto-optimize-int", 24 * 3600 * FLAGS_S)                           \
    X(TEXT, raft_log_level, "raft-log-level", "WARN")                                              \
    X(BOOL, raft_non_voter, "raft-non-voter", false)                                               \
    X(UINT, raft_snap, "raft-snap", 8192)                                                          \
    X(UINT, raft_snap_wal_size, "raft-snap-wal-size", 4194304)                                     \
    X(TIME, raft_snap_int, "raft-snap-int", 10 * FLAGS_S)                                          \
    X(TIME, raft_leader_lease_timeout, "raft-leader-lease-timeout", 0)                             \
    X(TIME, raft_heartbeat_timeout, "raft-heartbeat-timeout", FLAGS_S)                             \
    X(TIME, raft_election_timeout, "raft-election-timeout", FLAGS_S)                               \
    X(TIME, raft_commit_timeout, "raft-commit-timeout", 50 * FLAGS_MS)                             \
    X(TIME, raft_apply_timeout, "raft-apply-timeout", 10 * FLAGS_S)                                \
    X(BOOL, raft_remove_shutdown, "raft-remove-shutdown", false)                                   \
    X(BOOL, raft_cluster_remove_shutdown, "raft-cluster-remove-shutdown", false)                   \
    X(BOOL, raft_shutdown_stepdown, "raft-shutdown-stepdown", true)                                \
    X(TIME, raft_reap_node_timeout, "raft-reap-node-timeout", 0)                                   \
    X(TIME, raft_reap_read_only_node_timeout, "raft-reap-read-only-node-timeout", 0)               \
    X(INT, write_queue_capacity, "write-queue-capacity", 1024)                                     \
    X(INT, write_queue_batch_size, "write-queue-batch-size", 128)                                  \
    X(TIME, write_queue_timeout, "write-queue-timeout", 50 * FLAGS_MS)                             \
    X(BOOL, write_queue_tx, "write-queue-tx", false)                                               \
    X(TEXT, auto_backup, "auto-backup", "")                                                        \
    X(TEXT, auto_restore, "auto-restore", "")                                                      \
    X(TEXT, cdc_config, "cdc-config", "")                                                          \
    X(TEXT, otlp_endpoint, "otlp-endpoint", "")                                                    \
    X(TIME, otlp_interval, "otlp-interval", 30 * FLAGS_S)                                          \
    X(BOOL, otlp_insecure, "otlp-insecure", false)                                                 \
    X(BOOL, otlp_no_verify, "otlp-no-verify", false)                                               \
    X(TEXT, otlp_ca_cert, "otlp-ca-cert", "")                                                      \
    X(TEXT, otlp_cert, "otlp-cert", "")                                                            \
    X(TEXT, otlp_key, "otlp-key", "")                                                              \
    X(TEXT, cpu_profile, "cpu-profile", "")                                                        \
    X(TEXT, mem_profile, "mem-profile", "")                                                        \
    X(TEXT, trace_profile, "trace-profile", "")                                                    \
    X(BOOL, on_disk, "on-disk", false)                                                             \
    X(TEXT, on_disk_path, "on-disk-path", "")                                                      \
    X(BOOL, on_disk_startup, "on-disk-startup", false)                                             \
    X(BOOL, http_no_verify, "http-no-verify", false)                                               \
    X(BOOL, raft_no_freelist_sync, "raft-no-freelist-sync", false)

typedef const char *flags_type_TEXT;
typedef bool flags_type_BOOL;
typedef int64_t flags_type_INT;
typedef uint64_t flags_type_UINT;
typedef int64_t flags_type_TIME;

enum { FLAGS_JOIN_MAX = 64, FLAGS_JOIN_BYTES = 4096, FLAGS_DIR_MAX = 900 };

struct flags { /* texts are lent from argv, or static */
#define FLAGS_FIELD_(kind, field, name, value) flags_type_##kind field;
    FLAGS_TABLE(FLAGS_FIELD_)
#undef FLAGS_FIELD_
    bool reap_given, reap_read_only_given;
    char dir[FLAGS_DIR_MAX]; /* data directory, trimmed */
    char http_adv_host[256]; /* of http_adv_addr, for the words at the end of the start */
    char http_adv_port[64];
    uint32_t join_count; /* elements of join, trimmed */
    const char *joins[FLAGS_JOIN_MAX];
    char join_text[FLAGS_JOIN_BYTES]; /* holds them */
};

enum flags_outcome {
    FLAGS_RUN,
    FLAGS_VERSION, /* print the version, exit 0 */
    FLAGS_HELP,    /* usage, exit 0 */
    FLAGS_SYNTAX,  /* the words, then usage, exit 2 */
    FLAGS_REFUSED, /* "fatal: " and the words, exit 1 */
    FLAGS_PLAIN,   /* the words alone, exit 1 */
    FLAGS_MISSING, /* the words through the logger, exit 1 */
};

/* argv without the program's name. path_exists: asked for -extensions-path; may be NULL. */
enum flags_outcome flags_parse(int argc, const char *const *argv,
                               bool (*path_exists)(const char *path), struct flags *out,
                               struct err_text *why);
/* The name of the first flag in use whose service is not built in; NULL: none. */
const char *flags_unsupported(const struct flags *f);
/* Call line() for each flag that was changed but changes nothing here. */
void flags_without_effect(const struct flags *f, void (*line)(void *ctx, const char *name),
                          void *ctx);
/* Call line() with the lines of the usage text. */
void flags_usage(void (*line)(void *ctx, const char *text), void *ctx);

/* Begins with http:// or https://, any case. */
bool flags_is_url(const char *join);

#endif
