/* flags_help — the usage text of -h (daemon.md §1.2): what each flag means, in groups. Kind and default come
 * from the table of flags; a test proves that every flag of the table stands here exactly once. */
#include "flags_int.h"

#include <rq/util/assert.h>

#include <stdio.h>
#include <string.h>

struct help {
    const char *name; /* NULL: meaning is the title of a group */
    const char *meaning;
};

static const struct help help_table[] = {
    {NULL, "General"},
    {"version", "print the version and exit"},
    {"node-id",
     "name of the node, unique in the cluster, never to be changed; unset: its advertised "
     "Raft address"},
    {"extensions-path",
     "SQLite extensions: files, folders, archives, comma-separated (not supported yet)"},

    {NULL, "HTTP API"},
    {"http-addr", "address the HTTP API listens on"},
    {"http-adv-addr", "address of the HTTP API that is told to others; unset: -http-addr"},
    {"http-allow-origin", "value of the Access-Control-Allow-Origin header; unset: no such header"},
    {"http-ca-cert", "PEM file of the authorities that sign clients' certificates"},
    {"http-cert", "PEM certificate; with -http-key the API speaks HTTPS"},
    {"http-key", "PEM private key"},
    {"http-verify-client", "clients must show a certificate of -http-ca-cert"},
    {"http-verify-common-name", "… whose subject has this common name"},
    {"http-no-verify", "take any certificate of https:// addresses in -join"},
    {"auth", "JSON file of users, passwords and permissions"},

    {NULL, "Between nodes"},
    {"raft-addr", "address this node listens on for other nodes"},
    {"raft-adv-addr", "address for other nodes that is told to them; unset: -raft-addr"},
    {"node-ca-cert", "PEM file of the authorities that sign nodes' certificates"},
    {"node-cert", "PEM certificate; with -node-key nodes speak TLS with each other"},
    {"node-key", "PEM private key"},
    {"node-no-verify", "take any certificate of another node"},
    {"node-verify-client", "nodes that call must show a certificate"},
    {"node-verify-server-name", "name that other nodes' certificates must have"},
    {"node-verify-common-name", "common name that certificates of calling nodes must have"},
    {"cluster-connect-timeout", "limit on connecting to another node"},
    {"compress-snap-transport", "compress snapshots that are sent to other nodes"},

    {NULL, "Forming a cluster"},
    {"join", "become a member through these nodes: http://host:4001 (API) or host:4002 (Raft), "
             "comma-separated"},
    {"join-attempts", "rounds over the whole -join list"},
    {"join-interval", "pause between two rounds"},
    {"join-as", "user of the -auth file on whose behalf this node joins and leaves"},
    {"bootstrap-expect",
     "create the cluster when so many voters of the -join list have announced themselves"},
    {"bootstrap-expect-timeout", "limit on that"},
    {"disco-mode", "find other nodes by consul-kv, etcd-kv, dns or dns-srv"},
    {"disco-key", "prefix of the key in Consul or etcd"},
    {"disco-config", "configuration of -disco-mode: JSON, or the path of a file with it"},

    {NULL, "SQLite"},
    {"on-disk", "keep the working database in a file, not in memory; what is acknowledged is on "
                "disk either way"},
    {"on-disk-path", "that file; unset: db.sqlite in the data directory"},
    {"on-disk-startup", "never build the database in memory first (it never is)"},
    {"fk", "enforce foreign keys; on all nodes or none"},
    {"db-max-ro-conns", "connections that read at the same time, at most; 0: no cap"},
    {"auto-vacuum-int", "period of automatic VACUUM; 0: off"},
    {"auto-optimize-int", "period of automatic PRAGMA optimize; 0: off"},

    {NULL, "Raft"},
    {"raft-log-level", "lowest level of Raft's log lines: ERROR, WARN, INFO, DEBUG"},
    {"raft-non-voter", "join as a read replica: it has all data, never votes, never leads"},
    {"raft-snap", "log entries between two snapshots"},
    {"raft-snap-wal-size", "size of SQLite's WAL that causes a snapshot, bytes; 0: off"},
    {"raft-snap-int", "how often both are looked at"},
    {"raft-leader-lease-timeout",
     "a leader that no quorum answers steps down after this; 0: 500ms"},
    {"raft-heartbeat-timeout",
     "a follower waits 1x to 2x this for its leader before it calls an election"},
    {"raft-election-timeout", "a candidate waits 1x to 2x this before it calls the next one"},
    {"raft-commit-timeout", "accepted and checked; followers learn what is committed at once"},
    {"raft-apply-timeout", "a write waits no longer than this to get into the leader's log"},
    {"raft-remove-shutdown",
     "when this node is removed from the cluster, its Raft part shuts down"},
    {"raft-cluster-remove-shutdown", "on graceful shutdown leave the cluster first"},
    {"raft-shutdown-stepdown", "on graceful shutdown a leader hands leadership over first"},
    {"raft-reap-node-timeout",
     "the leader removes voters that were out of reach for so long; unset: never"},
    {"raft-reap-read-only-node-timeout", "the same for read replicas"},
    {"raft-no-freelist-sync", "accepted for old command lines (no effect)"},

    {NULL, "Queued writes"},
    {"write-queue-capacity", "requests in the queue; beyond, writers wait"},
    {"write-queue-batch-size", "requests written together"},
    {"write-queue-timeout", "how long a request waits for others to be written with"},
    {"write-queue-tx", "each batch is one transaction"},

    {NULL, "Services"},
    {"auto-backup", "configuration file of automatic backups (not supported yet)"},
    {"auto-restore", "configuration file of the restore at the first start (not supported yet)"},
    {"cdc-config",
     "where changes are sent: stdout, a URL, or a configuration file (not supported yet)"},
    {"otlp-endpoint", "host:port of an OpenTelemetry collector (not supported yet)"},
    {"otlp-interval", "export period"},
    {"otlp-insecure", "without TLS"},
    {"otlp-no-verify", "take any certificate of the collector"},
    {"otlp-ca-cert", "PEM file of the authorities that sign the collector's certificate"},
    {"otlp-cert", "PEM certificate for the collector"},
    {"otlp-key", "PEM private key"},
    {"cpu-profile", "accepted; the file is created, empty"},
    {"mem-profile", "accepted; the file is created, empty"},
    {"trace-profile", "accepted; the file is created, empty"},
};

static const char *const help_head[] = {
    "",
    "rqlited: SQLite replicated by Raft, with an HTTP API.",
    "",
    "Usage: rqlited [flags] <data directory>",
    "",
    "One node, on localhost:4001:",
    "  rqlited -node-id 1 ~/node1",
    "Two more on the same machine that join it:",
    "  rqlited -node-id 2 -http-addr localhost:4003 -raft-addr localhost:4004 -join "
    "http://localhost:4001 ~/node2",
    "  rqlited -node-id 3 -http-addr localhost:4005 -raft-addr localhost:4006 -join "
    "http://localhost:4001 ~/node3",
    "Three at once, each started with the same list (here the first):",
    "  rqlited -node-id 1 -http-addr h1:4001 -raft-addr h1:4002 -bootstrap-expect 3 -join "
    "h1:4002,h2:4002,h3:4002 data",
    "",
    "-flag value, -flag=value, and the same with two dashes; -flag or -flag=false for those "
    "without a type.",
    "Durations: 90s, 1m30s, 500ms. Flags stand before the data directory; the last of a kind "
    "counts.",
};

/* 1500000000 as "1.5s": as Go prints durations, for those that stand in the table. */
static void time_text(int64_t ns, char *dst, size_t cap)
{
    const int64_t s = ns / FLAGS_S;
    if (ns % FLAGS_S != 0)
        (void)snprintf(dst, cap, "%lldms", (long long)(ns / FLAGS_MS));
    else if (s >= 3600)
        (void)snprintf(dst, cap, "%lldh%lldm%llds", (long long)(s / 3600), (long long)(s / 60 % 60),
                       (long long)(s % 60));
    else if (s >= 60)
        (void)snprintf(dst, cap, "%lldm%llds", (long long)(s / 60), (long long)(s % 60));
    else
        (void)snprintf(dst, cap, "%llds", (long long)s);
}

/* The default, with "" for those that say nothing: empty, false, off. */
static void default_text(const struct flags_row *row, char *dst, size_t cap)
{
    const void *field = (const char *)flags_defaults() + row->offset;
    char value[64] = "";
    switch (row->kind) {
    case FLAGS_KIND_TEXT:
        (void)snprintf(value, sizeof value, "%s", *(const char *const *)field);
        break;
    case FLAGS_KIND_BOOL:
        (void)snprintf(value, sizeof value, "%s", *(const bool *)field ? "true" : "");
        break;
    case FLAGS_KIND_INT:
        (void)snprintf(value, sizeof value, "%lld", (long long)*(const int64_t *)field);
        break;
    case FLAGS_KIND_UINT:
        (void)snprintf(value, sizeof value, "%llu", (unsigned long long)*(const uint64_t *)field);
        break;
    case FLAGS_KIND_TIME:
        time_text(*(const int64_t *)field, value, sizeof value);
        break;
    }
    const bool silent = value[0] == '\0' || strcmp(value, "0") == 0 || strcmp(value, "0s") == 0;
    dst[0] = '\0';
    if (!silent)
        (void)snprintf(dst, cap, " (default %s)", value);
}

void flags_usage(void (*line)(void *ctx, const char *text), void *ctx)
{
    static const char *const kinds[] = {" string", "", " int", " uint", " duration"};
    char text[400], value[80];
    for (size_t i = 0; i < sizeof help_head / sizeof help_head[0]; i++)
        line(ctx, help_head[i]);
    for (size_t i = 0; i < sizeof help_table / sizeof help_table[0]; i++) {
        const struct help *h = &help_table[i];
        if (!h->name) {
            line(ctx, "");
            line(ctx, h->meaning);
            continue;
        }
        const struct flags_row *row = flags_row_find(h->name, strlen(h->name));
        ASSERT(row != NULL);
        default_text(row, value, sizeof value);
        (void)snprintf(text, sizeof text, "  -%s%s", h->name, kinds[row->kind]);
        line(ctx, text);
        (void)snprintf(text, sizeof text, "      %s%s", h->meaning, value);
        line(ctx, text);
    }
}
