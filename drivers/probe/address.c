/* Addresses with ports as text. SPDX-License-Identifier: MIT */
#include "probe.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool address_parse(const char *text, struct sockaddr_storage *address, int *length)
{
    char host[80] = "";
    const char *port = NULL;
    memset(address, 0, sizeof *address);
    if (text[0] == '[') {
        const char *end = strchr(text, ']');
        if (!end || (size_t)(end - text - 1) >= sizeof host)
            return false;
        memcpy(host, text + 1, (size_t)(end - text - 1));
        port = end[1] == ':' ? end + 2 : NULL;
    } else {
        const char *colon = strchr(text, ':');
        bool bare_v6 = colon && strchr(colon + 1, ':');
        size_t size = colon && !bare_v6 ? (size_t)(colon - text) : strlen(text);
        if (size >= sizeof host)
            return false;
        memcpy(host, text, size);
        port = colon && !bare_v6 ? colon + 1 : NULL;
    }
    char *rest = NULL;
    unsigned long number = port ? strtoul(port, &rest, 10) : 0;
    if (number > 65535 || (port && (*rest || rest == port)))
        return false;
    struct sockaddr_in *v4 = (struct sockaddr_in *)address;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)address;
    if (inet_pton(AF_INET, host, &v4->sin_addr) == 1) {
        v4->sin_family = AF_INET;
        v4->sin_port = htons((u_short)number);
        *length = sizeof *v4;
        return true;
    }
    if (inet_pton(AF_INET6, host, &v6->sin6_addr) == 1) {
        v6->sin6_family = AF_INET6;
        v6->sin6_port = htons((u_short)number);
        *length = sizeof *v6;
        return true;
    }
    return false;
}

/* Windows keeps IPv6 sockets to IPv6 unless told otherwise; ::ffff:a.b.c.d needs the other way. */
SOCKET address_socket(const struct sockaddr_storage *address, int type, int protocol, bool dual)
{
    const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)address;
    SOCKET made = socket(address->ss_family, type, protocol);
    DWORD only = 0;
    if (made == INVALID_SOCKET || address->ss_family != AF_INET6 || !(dual || IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr)))
        return made;
    if (setsockopt(made, IPPROTO_IPV6, IPV6_V6ONLY, (char *)&only, sizeof only)) {
        int error = WSAGetLastError();
        closesocket(made);
        WSASetLastError(error);
        return INVALID_SOCKET;
    }
    return made;
}

void address_print(const struct sockaddr *address, char *out, size_t capacity)
{
    char host[64] = "";
    if (address->sa_family == AF_INET) {
        const struct sockaddr_in *v4 = (const struct sockaddr_in *)address;
        inet_ntop(AF_INET, (void *)&v4->sin_addr, host, sizeof host);
        snprintf(out, capacity, "%s:%u", host, ntohs(v4->sin_port));
    } else if (address->sa_family == AF_INET6) {
        const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)address;
        inet_ntop(AF_INET6, (void *)&v6->sin6_addr, host, sizeof host);
        snprintf(out, capacity, "[%s]:%u", host, ntohs(v6->sin6_port));
    } else {
        out[0] = '\0';
    }
}
