/* addr.c — "host:port" in, socket addresses out, and back to text. Pure but for libuv's parsers. */
#include "env_uv_int.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>

static bool port_ok(const char *text)
{
    size_t len = strlen(text);
    unsigned value = 0;

    if (len < 1 || len > 5)
        return false;
    for (size_t i = 0; i < len; i++) {
        if (text[i] < '0' || text[i] > '9')
            return false;
        value = value * 10 + (unsigned)(text[i] - '0');
    }
    return value <= 65535;
}

/* "host:port", "[ipv6]:port" or ":port". */
int uv_env_addr_split(const char *text, struct uv_host_port *out)
{
    const char *colon = strrchr(text, ':');
    const char *host = text;

    if (!colon || !port_ok(colon + 1))
        return ERR_INVALID;
    size_t len = (size_t)(colon - text);
    if (len >= 2 && text[0] == '[' && colon[-1] == ']') {
        host++;
        len -= 2;
    } else if (memchr(text, ':', len)) {
        return ERR_INVALID; /* an IPv6 address needs its brackets */
    }
    if (len >= sizeof(out->host))
        return ERR_INVALID;
    memcpy(out->host, host, len);
    out->host[len] = '\0';
    (void)snprintf(out->port, sizeof(out->port), "%s", colon + 1);
    return 0;
}

bool uv_env_addr_numeric(const struct uv_host_port *hp, struct sockaddr_storage *out)
{
    int port = 0;

    for (const char *p = hp->port; *p; p++)
        port = port * 10 + (*p - '0');
    memset(out, 0, sizeof(*out));
    /* RFC 6761 §6.3: this name is the loopback, whoever is or is not there to be asked. */
    if (strcmp(hp->host, "localhost") == 0)
        return uv_ip4_addr("127.0.0.1", port, (struct sockaddr_in *)(void *)out) == 0;
    return uv_ip4_addr(hp->host, port, (struct sockaddr_in *)(void *)out) == 0 ||
           uv_ip6_addr(hp->host, port, (struct sockaddr_in6 *)(void *)out) == 0;
}

/* IPv4 seen through a dual-stack socket is shown as the IPv4 it is. */
void uv_env_addr_text(const struct sockaddr *sa, char out[UV_ADDR_TEXT_BYTES])
{
    char ip[INET6_ADDRSTRLEN] = "";

    if (sa->sa_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)(const void *)sa;
        (void)uv_ip4_name(in, ip, sizeof(ip));
        (void)snprintf(out, UV_ADDR_TEXT_BYTES, "%s:%u", ip, ntohs(in->sin_port));
    } else if (sa->sa_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)(const void *)sa;
        (void)uv_ip6_name(in6, ip, sizeof(ip));
        if (IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr))
            (void)snprintf(out, UV_ADDR_TEXT_BYTES, "%s:%u", ip + strlen("::ffff:"),
                           ntohs(in6->sin6_port));
        else
            (void)snprintf(out, UV_ADDR_TEXT_BYTES, "[%s]:%u", ip, ntohs(in6->sin6_port));
    } else {
        (void)snprintf(out, UV_ADDR_TEXT_BYTES, "?");
    }
}

int uv_env_connect_error(int uv_rc)
{
    switch (uv_rc) {
    case 0:
        return 0;
    case UV_ECONNREFUSED:
    case UV_ECONNRESET:
        return ERR_REFUSED;
    case UV_ETIMEDOUT:
    case UV_EAI_AGAIN:
        return ERR_TIMEOUT;
    case UV_ENOMEM:
    case UV_EAI_MEMORY:
        return ERR_NOMEM;
    case UV_EADDRNOTAVAIL:
    case UV_EINVAL:
    case UV_EAI_NONAME:
    case UV_EAI_NODATA:
    case UV_EAI_FAIL:
    case UV_EAI_ADDRFAMILY:
    case UV_EAI_FAMILY:
    case UV_EAI_SERVICE:
        return ERR_ADDRESS;
    default:
        return ERR_UNREACHABLE;
    }
}
