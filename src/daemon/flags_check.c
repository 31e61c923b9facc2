/* flags_check — what flags mean together (daemon.md §1.4, tables b and d): in that order, first failure
 * wins. The numbers in comments are the rows of table (d). */
#include "flags_int.h"

#include <rq/http.h>

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#define REFUSE(why, ...) return err_set(why, ERR_INVALID, __VA_ARGS__)

static bool given(const char *text)
{
    return text[0] != '\0';
}

static bool begins_any_case(const char *text, const char *lower)
{
    for (; *lower != '\0'; text++, lower++)
        if ((*text >= 'A' && *text <= 'Z' ? *text + ('a' - 'A') : *text) != *lower)
            return false;
    return true;
}

bool flags_is_url(const char *join)
{
    return begins_any_case(join, "http://") || begins_any_case(join, "https://");
}

static bool is_host_port(const char *addr, char *host, size_t host_cap, char *port, size_t port_cap)
{
    struct slice h, p;
    if (http_host_port_split(slice_str(addr), &h, &p) != 0 || h.len >= host_cap ||
        p.len >= port_cap)
        return false;
    if (h.len > 0)
        memcpy(host, h.data, h.len);
    host[h.len] = '\0';
    if (p.len > 0)
        memcpy(port, p.data, p.len);
    port[p.len] = '\0';
    return true;
}

/* 0.0.0.0, ::, in whatever spelling. */
static bool is_unspecified(const char *host)
{
    static const unsigned char zero[sizeof(struct in6_addr)];
    unsigned char addr[sizeof(struct in6_addr)];
    if (inet_pton(AF_INET, host, addr) == 1)
        return memcmp(addr, zero, sizeof(struct in_addr)) == 0;
    return inet_pton(AF_INET6, host, addr) == 1 && memcmp(addr, zero, sizeof addr) == 0;
}

/* As Go's Atoi: optional sign, digits. */
static bool is_integer(const char *text)
{
    text += *text == '-' || *text == '+';
    const size_t len = strlen(text);
    return len > 0 && len < 19 && strspn(text, "0123456789") == len;
}

int flags_check_reap(const struct flags *f, struct err_text *why)
{
    if (f->reap_given && f->raft_reap_node_timeout <= 0)
        REFUSE(why, "-raft-reap-node-timeout must be greater than 0");
    if (f->reap_read_only_given && f->raft_reap_read_only_node_timeout <= 0)
        REFUSE(why, "-raft-reap-read-only-node-timeout must be greater than 0");
    return 0;
}

/* ---- 1–7 ------------------------------------------------------------------------------------------------------ */

static int check_extensions(const struct flags *f, bool (*path_exists)(const char *path),
                            struct err_text *why)
{
    char path[1024];
    for (const char *at = f->extensions_path; path_exists && *at != '\0';) {
        const size_t len = strcspn(at, ",");
        const size_t kept = len < sizeof path ? len : sizeof path - 1;
        memcpy(path, at, kept);
        path[kept] = '\0';
        if (!path_exists(path))
            REFUSE(why, "extension path does not exist: %s", path);
        at += len;
        at += *at == ',';
    }
    return 0;
}

static int check_pairs(const struct flags *f, struct err_text *why)
{
    if (given(f->http_cert) != given(f->http_key)) /* 3 */
        REFUSE(why, "either both -http-cert and -http-key must be set, or neither");
    if (given(f->node_cert) != given(f->node_key)) /* 4 */
        REFUSE(why, "either both -node-cert and -node-key must be set, or neither");
    if (given(f->http_verify_common_name) && !f->http_verify_client) /* 5 */
        REFUSE(why, "-http-verify-common-name requires -http-verify-client");
    if (given(f->node_verify_common_name) && !f->node_verify_client) /* 6 */
        REFUSE(why, "-node-verify-common-name requires -node-verify-client");
    if (strcmp(f->raft_addr, f->http_addr) == 0) /* 7 */
        REFUSE(why, "HTTP and Raft addresses must differ");
    if (!f->on_disk && (given(f->on_disk_path) || f->on_disk_startup))
        REFUSE(why, "-on-disk-path and -on-disk-startup require -on-disk");
    return 0;
}

/* ---- 8–18 ----------------------------------------------------------------------------------------------------- */

static void set_defaults(struct flags *f)
{
    if (!given(f->http_adv_addr))
        f->http_adv_addr = f->http_addr;
    if (!given(f->raft_adv_addr))
        f->raft_adv_addr = f->raft_addr;
    if (!given(f->node_id))
        f->node_id = f->raft_adv_addr;
}

static int check_http(struct flags *f, struct err_text *why)
{
    char host[256], port[64];
    if (begins_any_case(f->http_addr, "http") || begins_any_case(f->http_adv_addr, "http")) /* 9 */
        REFUSE(why, "HTTP options should not include protocol (http:// or https://)");
    if (!is_host_port(f->http_addr, host, sizeof host, port, sizeof port)) /* 10 */
        REFUSE(why, "HTTP bind address not valid");
    if (!is_host_port(f->http_adv_addr, f->http_adv_host, sizeof f->http_adv_host, f->http_adv_port,
                      sizeof f->http_adv_port)) /* 11 */
        REFUSE(why, "HTTP advertised HTTP address not valid");
    if (is_unspecified(f->http_adv_host)) /* 12 */
        REFUSE(why,
               "advertised HTTP address is not routable (%s), specify it via -http-addr or "
               "-http-adv-addr",
               f->http_adv_host);
    return 0;
}

static int check_raft(const struct flags *f, struct err_text *why)
{
    char host[256], port[64];
    if (!is_host_port(f->raft_addr, host, sizeof host, port, sizeof port)) /* 13 */
        REFUSE(why, "raft bind address not valid");
    if (!is_integer(port)) /* 14 */
        REFUSE(why, "raft bind port not valid");
    if (!is_host_port(f->raft_adv_addr, host, sizeof host, port, sizeof port)) /* 15 */
        REFUSE(why, "raft advertised address not valid");
    if (is_unspecified(host)) /* 16 */
        REFUSE(why,
               "advertised Raft address is not routable (%s), specify it via -raft-addr or "
               "-raft-adv-addr",
               host);
    if (!is_integer(port)) /* 17 */
        REFUSE(why, "raft advertised port is not valid");
    if (strcmp(f->raft_adv_addr, f->http_adv_addr) == 0) /* 18 */
        REFUSE(why, "advertised HTTP and Raft addresses must differ");
    return 0;
}

/* ---- 19–24 ----------------------------------------------------------------------------------------------------- */

/* The list's elements, trimmed, as strings of our own. */
static int join_split(struct flags *f, struct err_text *why)
{
    const size_t len = strlen(f->join);
    if (len >= sizeof f->join_text)
        REFUSE(why, "-join is too long");
    memcpy(f->join_text, f->join, len + 1);
    char *at = f->join_text;
    while (len > 0 && at != NULL) {
        char *const comma = strchr(at, ',');
        if (comma)
            *comma = '\0';
        while (*at == ' ')
            at++;
        size_t end = strlen(at);
        while (end > 0 && at[end - 1] == ' ')
            at[--end] = '\0';
        if (f->join_count == FLAGS_JOIN_MAX)
            REFUSE(why, "-join names too many nodes");
        f->joins[f->join_count++] = at;
        at = comma ? comma + 1 : NULL;
    }
    return 0;
}

static bool is_own_url(const struct flags *f, const char *url)
{
    const char *rest = strstr(url, "://");
    if (!rest)
        return false;
    rest += 3;
    const size_t len = strcspn(rest, "/?#");
    const char *const own[] = {f->http_addr, f->http_adv_addr};
    for (size_t i = 0; i < 2; i++)
        if (strlen(own[i]) == len && memcmp(own[i], rest, len) == 0)
            return true;
    return false;
}

static int check_join(const struct flags *f, struct err_text *why)
{
    char host[256], port[256];
    for (uint32_t i = 0; i < f->join_count; i++) {
        const char *join = f->joins[i];
        bool own = false;
        /* A URL (P-1). What only looks like one, as "http://nonsense", passes here and fails to join. */
        if (flags_is_url(join))
            own = is_own_url(f, join);
        else if (!is_host_port(join, host, sizeof host, port, sizeof port)) /* 20 */
            REFUSE(why, "%s is an invalid join address", join);
        else
            own = strcmp(join, f->raft_addr) == 0 || strcmp(join, f->raft_adv_addr) == 0;
        if (own && f->bootstrap_expect == 0) /* 21 */
            REFUSE(why, "node cannot join with itself unless bootstrapping");
    }
    return 0;
}

static int check_cluster(struct flags *f, struct err_text *why)
{
    if (f->bootstrap_expect > 0 && f->raft_non_voter) /* 19 */
        REFUSE(why, "bootstrapping only applicable to voting nodes");
    int rc = join_split(f, why);
    if (rc == 0)
        rc = check_join(f, why);
    if (rc != 0)
        return rc;
    if (f->join_count > 0 && f->bootstrap_expect == 0 && given(f->auto_restore)) /* 22 */
        REFUSE(why, "auto-restoring cannot be used when joining a cluster");
    if (f->join_count > 0 && given(f->disco_mode)) /* 23 */
        REFUSE(why, "disco mode cannot be used when also explicitly joining a cluster");
    if (given(f->cdc_config) && f->raft_non_voter) /* 24 */
        REFUSE(why, "CDC cannot be enabled on non-voting nodes");
    return 0;
}

/* ---- 25–33 ------------------------------------------------------------------------------------------------------- */

static int check_otlp(const struct flags *f, struct err_text *why)
{
    char host[256], port[64];
    const bool tls = f->otlp_no_verify || given(f->otlp_ca_cert) || given(f->otlp_cert);
    if (given(f->otlp_cert) != given(f->otlp_key)) /* 25 */
        REFUSE(why, "either both -otlp-cert and -otlp-key must be set, or neither");
    if (!given(f->otlp_endpoint)) {
        if (tls || f->otlp_insecure) /* 26 */
            REFUSE(why, "OTLP options require -otlp-endpoint");
        return 0;
    }
    if (strstr(f->otlp_endpoint, "://")) /* 27 */
        REFUSE(why, "-otlp-endpoint must not include a protocol scheme");
    if (!is_host_port(f->otlp_endpoint, host, sizeof host, port, sizeof port)) /* 28 */
        REFUSE(why, "-otlp-endpoint is not a valid address");
    if (f->otlp_interval <= 0) /* 29 */
        REFUSE(why, "-otlp-interval must be greater than zero");
    if (f->otlp_insecure && tls) /* 30 */
        REFUSE(why, "-otlp-insecure cannot be used with other OTLP TLS options");
    return 0;
}

static int check_disco(const struct flags *f, struct err_text *why)
{
    const char *mode = f->disco_mode;
    if (!given(mode))
        return 0;
    if (strcmp(mode, "consul-kv") == 0 || strcmp(mode, "etcd-kv") == 0) {
        if (f->bootstrap_expect > 0) /* 31 */
            REFUSE(why, "bootstrapping not applicable when using %s", mode);
        return 0;
    }
    if (strcmp(mode, "dns") == 0 || strcmp(mode, "dns-srv") == 0) {
        if (f->bootstrap_expect == 0 && !f->raft_non_voter) /* 32 */
            REFUSE(why, "bootstrap-expect value required when using %s with a voting node", mode);
        return 0;
    }
    REFUSE(why, "disco mode must be one of consul-kv, etcd-kv, dns, or dns-srv"); /* 33 */
}

int flags_check(struct flags *f, bool (*path_exists)(const char *path), struct err_text *why)
{
    if (f->dir[0] == '\0') /* 1 */
        REFUSE(why, "data directory path is required");
    int rc = check_extensions(f, path_exists, why); /* 2 */
    if (rc == 0)
        rc = check_pairs(f, why);
    if (rc != 0)
        return rc;
    set_defaults(f); /* 8 */
    rc = check_http(f, why);
    if (rc == 0)
        rc = check_raft(f, why);
    if (rc == 0)
        rc = check_cluster(f, why);
    if (rc == 0)
        rc = check_otlp(f, why);
    return rc != 0 ? rc : check_disco(f, why);
}
