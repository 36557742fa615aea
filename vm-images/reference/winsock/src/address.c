/* Socket addresses and those of the engine: IPv4 in a socket of both families is IPv4. SPDX-License-Identifier: MIT */
#include "shim.h"

#include <string.h>

static const uint8_t mapped[MAPPED_PREFIX] = {[10] = 0xff, [11] = 0xff};

bool address_read(const struct sockaddr *name, int length, shim_address *out)
{
    memset(out, 0, sizeof *out);
    if (!name || length < (int)sizeof(struct sockaddr_in))
        return false;
    if (name->sa_family == AF_INET) {
        const struct sockaddr_in *v4 = (const struct sockaddr_in *)name;
        out->family = AF_INET;
        memcpy(out->bytes, &v4->sin_addr, 4);
        out->port = ntohs(v4->sin_port);
        return true;
    }
    const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)name;
    if (name->sa_family != AF_INET6 || length < (int)sizeof *v6)
        return false;
    out->port = ntohs(v6->sin6_port);
    out->family = AF_INET6;
    memcpy(out->bytes, &v6->sin6_addr, 16);
    if (!memcmp(out->bytes, mapped, sizeof mapped)) {
        out->family = AF_INET;
        memmove(out->bytes, out->bytes + MAPPED_PREFIX, 4);
        memset(out->bytes + 4, 0, 12);
    }
    return true;
}

int address_write(struct sockaddr_in6 *out, int family, const shim_address *address, const struct sockaddr *like)
{
    memset(out, 0, sizeof *out);
    if (family == AF_INET) {
        struct sockaddr_in *v4 = (struct sockaddr_in *)out;
        v4->sin_family = AF_INET;
        v4->sin_port = htons(address->port);
        memcpy(&v4->sin_addr, address->bytes, 4);
        return sizeof *v4;
    }
    out->sin6_family = AF_INET6;
    out->sin6_port = htons(address->port);
    if (like && like->sa_family == AF_INET6) {
        out->sin6_flowinfo = ((const struct sockaddr_in6 *)like)->sin6_flowinfo;
        out->sin6_scope_id = ((const struct sockaddr_in6 *)like)->sin6_scope_id;
    }
    if (address->family == AF_INET) {
        memcpy(&out->sin6_addr, mapped, sizeof mapped);
        memcpy((uint8_t *)&out->sin6_addr + MAPPED_PREFIX, address->bytes, 4);
    } else {
        memcpy(&out->sin6_addr, address->bytes, 16);
    }
    return sizeof *out;
}

bool address_same(const shim_address *a, const shim_address *b)
{
    return a->family == b->family && a->port == b->port && !memcmp(a->bytes, b->bytes, sizeof a->bytes);
}
