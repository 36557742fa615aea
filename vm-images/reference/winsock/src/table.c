/*
 * What the library knows of sockets. An entry is made when a socket first binds, connects or sends a datagram; sockets
 * that were accepted have none.
 *
 * SPDX-License-Identifier: MIT
 */
#include "shim.h"

enum { BUCKETS = 64 };
static SRWLOCK table_lock = SRWLOCK_INIT; /* the table and the references of its entries */
static shim_socket *table[BUCKETS];

static shim_socket **place_of(SOCKET socket)
{
    shim_socket **at = &table[(socket >> 2) % BUCKETS];
    while (*at && (*at)->socket != socket)
        at = &(*at)->next;
    return at;
}

shim_socket *socket_find(SOCKET socket)
{
    AcquireSRWLockExclusive(&table_lock);
    shim_socket *found = *place_of(socket);
    if (found)
        found->references++;
    ReleaseSRWLockExclusive(&table_lock);
    return found;
}

shim_socket *socket_of(SOCKET socket)
{
    WSAPROTOCOL_INFOW info;
    int size = sizeof info;
    shim_socket *found = shim_inert ? NULL : socket_find(socket), *made;
    if (found || shim_inert)
        return found;
    if (getsockopt(socket, SOL_SOCKET, SO_PROTOCOL_INFOW, (char *)&info, &size) ||
        (info.iAddressFamily != AF_INET && info.iAddressFamily != AF_INET6) || !(made = shim_alloc(sizeof *made)))
        return NULL;
    made->references = 2; /* the table's and the caller's */
    made->socket = socket;
    made->family = info.iAddressFamily;
    made->type = info.iSocketType;
    made->protocol = info.iProtocol;
    if (!made->protocol)
        made->protocol = made->type == SOCK_STREAM ? IPPROTO_TCP : made->type == SOCK_DGRAM ? IPPROTO_UDP : 0;
    AcquireSRWLockExclusive(&table_lock);
    shim_socket **at = place_of(socket);
    found = *at;
    if (found)
        found->references++;
    else
        *at = made;
    ReleaseSRWLockExclusive(&table_lock);
    if (found)
        shim_free(made);
    return found ? found : made;
}

shim_socket *socket_take(SOCKET socket)
{
    AcquireSRWLockExclusive(&table_lock);
    shim_socket **at = place_of(socket), *found = *at;
    if (found)
        *at = found->next; /* the table's reference becomes the caller's */
    ReleaseSRWLockExclusive(&table_lock);
    return found;
}

void socket_put(shim_socket *socket)
{
    if (!socket)
        return;
    AcquireSRWLockExclusive(&table_lock);
    bool last = --socket->references == 0;
    ReleaseSRWLockExclusive(&table_lock);
    if (last)
        shim_free(socket);
}
