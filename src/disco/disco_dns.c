/* disco_dns — names to addresses, with c-ares: hosts file and DNS, A, AAAA and SRV. Runs in jobs. */
#include "disco_int.h"

#include <ares.h>
#include <arpa/inet.h>
#include <arpa/nameser.h>
#include <netdb.h>
#include <sys/select.h>

enum { TRIES = 2, TRY_MS = 1500, LOOK_MS = 100 };

struct lookup {
    ares_channel channel;
    const atomic_bool *abort;
    int status; /* of the last question */
    bool over;
    struct disco_addrs *out;
    uint16_t port;
    struct ares_srv_reply *srv;
};

static int ares_code(int status)
{
    switch (status) {
    case ARES_SUCCESS:
        return 0;
    case ARES_ENOMEM:
        return ERR_NOMEM;
    case ARES_ETIMEOUT:
        return ERR_TIMEOUT;
    case ARES_ECANCELLED:
    case ARES_EDESTRUCTION:
        return ERR_CANCELED;
    case ARES_ENOTFOUND:
    case ARES_ENODATA:
        return ERR_NOT_FOUND;
    default:
        return ERR_UNREACHABLE;
    }
}

/* Until the question is answered. */
static void lookup_wait(struct lookup *l)
{
    while (!l->over) {
        fd_set readable, writable;
        FD_ZERO(&readable);
        FD_ZERO(&writable);
        if (atomic_load(l->abort)) {
            ares_cancel(l->channel);
            continue;
        }
        const int count = ares_fds(l->channel, &readable, &writable);
        if (count == 0 && !l->over) { /* nothing is under way: cannot be */
            l->status = ARES_ESERVFAIL;
            return;
        }
        struct timeval most = {0, LOOK_MS * 1000}, soon;
        struct timeval *patience = ares_timeout(l->channel, &most, &soon);
        if (select(count, &readable, &writable, NULL, patience) < 0) {
            FD_ZERO(&readable);
            FD_ZERO(&writable);
        }
        ares_process(l->channel, &readable, &writable);
    }
}

static void addr_add(struct disco_addrs *out, int family, const void *addr, uint16_t port)
{
    char text[INET6_ADDRSTRLEN] = "", full[DISCO_TEXT_MAX];
    if (out->count == DISCO_ADDRS_MAX || !inet_ntop(family, addr, text, sizeof text))
        return;
    (void)snprintf(full, sizeof full, family == AF_INET6 ? "[%s]:%u" : "%s:%u", text,
                   (unsigned)port);
    for (uint32_t i = 0; i < out->count; i++)
        if (strcmp(out->at[i], full) == 0)
            return;
    memcpy(out->at[out->count++], full, strlen(full) + 1);
}

static void host_found(void *ctx, int status, int timeouts, struct ares_addrinfo *found)
{
    struct lookup *l = ctx;
    (void)timeouts;
    l->status = status;
    l->over = true;
    for (const struct ares_addrinfo_node *n = found ? found->nodes : NULL; n; n = n->ai_next) {
        if (n->ai_family == AF_INET)
            addr_add(l->out, AF_INET, &((const struct sockaddr_in *)(void *)n->ai_addr)->sin_addr,
                     l->port);
        else if (n->ai_family == AF_INET6)
            addr_add(l->out, AF_INET6,
                     &((const struct sockaddr_in6 *)(void *)n->ai_addr)->sin6_addr, l->port);
    }
    if (found)
        ares_freeaddrinfo(found);
}

static int host_resolve(struct lookup *l, const char *name, uint16_t port, struct err_text *why)
{
    const struct ares_addrinfo_hints hints = {.ai_family = AF_UNSPEC, .ai_flags = ARES_AI_NOSORT};
    l->over = false;
    l->port = port;
    ares_getaddrinfo(l->channel, name, NULL, &hints, host_found, l);
    lookup_wait(l);
    const int rc = ares_code(l->status);
    return rc == 0 ? 0 : err_set(why, rc, "lookup %s: %s", name, ares_strerror(l->status));
}

static void srv_found(void *ctx, int status, int timeouts, unsigned char *bytes, int len)
{
    struct lookup *l = ctx;
    (void)timeouts;
    l->over = true;
    l->status = status == ARES_SUCCESS ? ares_parse_srv_reply(bytes, len, &l->srv) : status;
}

static int srv_resolve(struct lookup *l, const struct disco_settings *s, struct err_text *why)
{
    char name[2 * DISCO_TEXT_MAX + 16];
    (void)snprintf(name, sizeof name, "_%s._tcp.%s", s->service, s->name);
    ares_search(l->channel, name, ns_c_in, ns_t_srv, srv_found, l);
    lookup_wait(l);
    int rc = ares_code(l->status);
    if (rc != 0)
        return err_set(why, rc, "lookup %s: %s", name, ares_strerror(l->status));
    for (const struct ares_srv_reply *r = l->srv; r && rc == 0; r = r->next)
        rc = host_resolve(l, r->host, r->port, why);
    ares_free_data(l->srv);
    l->srv = NULL;
    return rc;
}

/* Insertion: there are few. */
static void addrs_sort(struct disco_addrs *a)
{
    char moved[DISCO_TEXT_MAX];
    for (uint32_t i = 1; i < a->count; i++) {
        uint32_t at = i;
        memcpy(moved, a->at[i], sizeof moved);
        for (; at > 0 && strcmp(a->at[at - 1], moved) > 0; at--)
            memcpy(a->at[at], a->at[at - 1], sizeof moved);
        memcpy(a->at[at], moved, sizeof moved);
    }
}

int disco_resolve(const struct disco_settings *s, bool srv, const atomic_bool *abort,
                  struct disco_addrs *out, struct err_text *why)
{
    struct lookup l = {.abort = abort, .out = out};
    struct ares_options options = {.timeout = TRY_MS, .tries = TRIES};
    out->count = 0;
    int status = ares_init_options(&l.channel, &options, ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES);
    if (status != ARES_SUCCESS)
        return err_set(why, ERR_NOMEM, "DNS: %s", ares_strerror(status));
    if (s->servers[0] != '\0')
        status = ares_set_servers_ports_csv(l.channel, s->servers);
    int rc = 0;
    if (status != ARES_SUCCESS)
        rc = err_set(why, ERR_INVALID, "DNS servers %s: %s", s->servers, ares_strerror(status));
    else
        rc = srv ? srv_resolve(&l, s, why) : host_resolve(&l, s->name, s->port, why);
    ares_destroy(l.channel);
    addrs_sort(out);
    return rc;
}
