/* machine.c — network interfaces and memory, from Linux (getifaddrs(3), netdevice(7), proc(5)). */
#include "machine.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* As Go's net.Flags writes them. */
static void flags_text(unsigned flags, char *dst, size_t cap)
{
    static const struct {
        unsigned bit;
        const char *name;
    } names[] = {{IFF_UP, "up"},
                 {IFF_BROADCAST, "broadcast"},
                 {IFF_LOOPBACK, "loopback"},
                 {IFF_POINTOPOINT, "pointtopoint"},
                 {IFF_MULTICAST, "multicast"},
                 {IFF_RUNNING, "running"}};
    size_t len = 0;
    dst[0] = '\0';
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if ((flags & names[i].bit) && len < cap)
            len +=
                (size_t)snprintf(dst + len, cap - len, "%s%s", len > 0 ? "|" : "", names[i].name);
    if (len == 0)
        (void)snprintf(dst, cap, "0");
}

static unsigned mask_bits(const uint8_t *mask, size_t len)
{
    unsigned bits = 0;
    for (size_t i = 0; i < len; i++)
        bits += (unsigned)__builtin_popcount(mask[i]);
    return bits;
}

static void add_addr(struct api_interface *f, int family, const void *addr, const void *mask,
                     size_t len)
{
    char text[INET6_ADDRSTRLEN];
    if (f->addr_count == API_INTERFACE_ADDRS || !inet_ntop(family, addr, text, sizeof text))
        return;
    (void)snprintf(f->addrs[f->addr_count++], sizeof f->addrs[0], "%s/%u", text,
                   mask_bits(mask, len));
}

static void look_at(struct api_interface *f, const struct ifaddrs *a)
{
    if (!a->ifa_addr)
        return;
    const int family = a->ifa_addr->sa_family;
    if (family == AF_PACKET) {
        struct sockaddr_ll link;
        memcpy(&link, a->ifa_addr, sizeof link);
        const uint8_t *h = link.sll_addr;
        if (link.sll_halen == 6 && !(a->ifa_flags & IFF_LOOPBACK))
            (void)snprintf(f->hardware_address, sizeof f->hardware_address,
                           "%02x:%02x:%02x:%02x:%02x:%02x", h[0], h[1], h[2], h[3], h[4], h[5]);
    } else if (family == AF_INET && a->ifa_netmask) {
        struct sockaddr_in addr, mask;
        memcpy(&addr, a->ifa_addr, sizeof addr);
        memcpy(&mask, a->ifa_netmask, sizeof mask);
        add_addr(f, family, &addr.sin_addr, &mask.sin_addr, sizeof mask.sin_addr);
    } else if (family == AF_INET6 && a->ifa_netmask) {
        struct sockaddr_in6 addr, mask;
        memcpy(&addr, a->ifa_addr, sizeof addr);
        memcpy(&mask, a->ifa_netmask, sizeof mask);
        add_addr(f, family, &addr.sin6_addr, &mask.sin6_addr, sizeof mask.sin6_addr);
    }
}

static struct api_interface *interface_of(struct api_interface *list, uint32_t *count, uint32_t max,
                                          const struct ifaddrs *a)
{
    for (uint32_t i = 0; i < *count; i++)
        if (strncmp(list[i].name, a->ifa_name, sizeof list[i].name - 1) == 0)
            return &list[i];
    if (*count == max)
        return NULL;
    struct api_interface *f = &list[(*count)++];
    memset(f, 0, sizeof *f);
    (void)snprintf(f->name, sizeof f->name, "%s", a->ifa_name);
    flags_text(a->ifa_flags, f->flags, sizeof f->flags);
    return f;
}

static int by_name(const void *a, const void *b)
{
    const struct api_interface *x = a, *y = b;
    return strcmp(x->name, y->name);
}

uint32_t machine_interfaces(struct api_interface *out, uint32_t max)
{
    struct ifaddrs *list = NULL;
    uint32_t count = 0;
    if (getifaddrs(&list) != 0)
        return 0;
    for (const struct ifaddrs *a = list; a; a = a->ifa_next) {
        struct api_interface *f = interface_of(out, &count, max, a);
        if (f)
            look_at(f, a);
    }
    freeifaddrs(list);
    qsort(out, count, sizeof *out, by_name);
    return count;
}

void machine_memory(uint64_t *resident, uint64_t *mapped)
{
    unsigned long long pages_mapped = 0, pages_resident = 0;
    const uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    FILE *f = fopen("/proc/self/statm", "r"); /* made by the kernel: never waits for a disk */
    if (f && fscanf(f, "%llu %llu", &pages_mapped, &pages_resident) != 2)
        pages_mapped = pages_resident = 0;
    if (f)
        fclose(f);
    *resident = pages_resident * page;
    *mapped = pages_mapped * page;
}
