/* bind, listen, connect and closesocket. SPDX-License-Identifier: MIT */
#include "shim.h"

#include <string.h>

enum { PORT_ATTEMPTS = 3 };

int WSAAPI shim_bind(SOCKET socket, const struct sockaddr *name, int length);
int WSAAPI shim_listen(SOCKET socket, int backlog);
int WSAAPI shim_connect(SOCKET socket, const struct sockaddr *name, int length);
int WSAAPI shim_WSAConnect(SOCKET socket, const struct sockaddr *name, int length, WSABUF *caller, WSABUF *callee, QOS *s, QOS *g);
int WSAAPI shim_closesocket(SOCKET socket);

static int fail(int error)
{
    WSASetLastError(error);
    return SOCKET_ERROR;
}

static bool is_bound(SOCKET socket)
{
    struct sockaddr_in6 name;
    int size = sizeof name;
    return !getsockname(socket, (struct sockaddr *)&name, &size) && name.sin6_port;
}

/* The engine first, then Wine at the address that the engine answered. Winsock error or 0. */
static int bind_at(shim_socket *s, const shim_address *wanted, const struct sockaddr *like, bool implicit)
{
    WFPMODEL_CALL call;
    WFPMODEL_ANSWER answer;
    struct sockaddr_in6 name;
    shim_address to = *wanted;
    for (int attempt = 1;; attempt++) {
        engine_call(&call, s, WFPMODEL_BIND);
        call_local(&call, wanted);
        call.flags |= implicit ? WFPMODEL_IMPLICIT : 0;
        bool asked = engine_ask(s, &call, NULL, 0, &answer);
        if (asked && answer.error)
            return answer.error;
        if (asked) {
            memcpy(to.bytes, answer.local, sizeof to.bytes);
            to.port = answer.local_port;
        }
        if (s->type == SOCK_RAW && implicit)
            return 0; /* Linux binds none for it */
        if (!bind(s->socket, (struct sockaddr *)&name, address_write(&name, s->family, &to, like)))
            return 0;
        int error = WSAGetLastError();
        if (asked) {
            engine_call(&call, s, WFPMODEL_UNBIND);
            engine_ask(s, &call, NULL, 0, &answer);
        }
        if (!asked || error != WSAEADDRINUSE || wanted->port || attempt == PORT_ATTEMPTS)
            return error; /* the port that the engine chose was free a moment ago */
    }
}

int bind_first(shim_socket *s)
{
    shim_address any = {.family = (uint8_t)s->family};
    if (s->type == SOCK_RAW ? s->endpoint != 0 : is_bound(s->socket))
        return 0;
    return bind_at(s, &any, NULL, true);
}

int WSAAPI shim_bind(SOCKET socket, const struct sockaddr *name, int length)
{
    shim_address wanted;
    shim_socket *s = address_read(name, length, &wanted) ? socket_of(socket) : NULL;
    if (!s || name->sa_family != s->family || (s->type != SOCK_RAW && is_bound(socket))) {
        socket_put(s);
        return bind(socket, name, length); /* it knows what is wrong */
    }
    int error = bind_at(s, &wanted, name, false);
    socket_put(s);
    return error ? fail(error) : 0;
}

int WSAAPI shim_listen(SOCKET socket, int backlog)
{
    WFPMODEL_CALL call;
    WFPMODEL_ANSWER answer;
    shim_socket *s = socket_find(socket);
    if (!s)
        return listen(socket, backlog);
    engine_call(&call, s, WFPMODEL_LISTEN);
    bool asked = s->endpoint && engine_ask(s, &call, NULL, 0, &answer);
    socket_put(s);
    return asked && answer.error ? fail(answer.error) : listen(socket, backlog);
}

int connect_ask(shim_socket *s, const shim_address *remote, shim_address *to)
{
    WFPMODEL_CALL call;
    WFPMODEL_ANSWER answer;
    int error = bind_first(s);
    *to = *remote;
    engine_call(&call, s, WFPMODEL_CONNECT);
    call_remote(&call, remote);
    if (error || !s->endpoint || !engine_ask(s, &call, NULL, 0, &answer))
        return error;
    memcpy(to->bytes, answer.remote, sizeof to->bytes);
    to->port = answer.remote_port;
    return answer.error;
}

/* A datagram socket's connect sends nothing: it is bound, and asked about when it sends. */
static int connect_datagram(shim_socket *s, const shim_address *remote)
{
    int error = bind_first(s);
    if (error)
        return error;
    AcquireSRWLockExclusive(&s->lock);
    s->connected = true;
    s->remote = *remote;
    ReleaseSRWLockExclusive(&s->lock);
    return 0;
}

static bool has_peer(SOCKET socket)
{
    struct sockaddr_in6 name;
    int size = sizeof name;
    return !getpeername(socket, (struct sockaddr *)&name, &size);
}

/* What is to be connected to instead, in `other`. Winsock error or 0. */
static int before_connect(shim_socket *s, const struct sockaddr **name, int *length, struct sockaddr_in6 *other)
{
    shim_address remote, to;
    if (!address_read(*name, *length, &remote) || (*name)->sa_family != s->family || !remote.port)
        return 0;
    if (s->type != SOCK_STREAM)
        return connect_datagram(s, &remote);
    if (s->connecting || has_peer(s->socket)) /* asked how it stands */
        return 0;
    int error = connect_ask(s, &remote, &to);
    if (error || address_same(&to, &remote))
        return error;
    *length = address_write(other, s->family, &to, *name);
    *name = (const struct sockaddr *)other;
    return 0;
}

int WSAAPI shim_WSAConnect(SOCKET socket, const struct sockaddr *name, int length, WSABUF *caller, WSABUF *callee, QOS *sqos, QOS *gqos)
{
    struct sockaddr_in6 other;
    shim_socket *s = socket_of(socket);
    int error = s ? before_connect(s, &name, &length, &other) : 0;
    int result = error ? fail(error) : WSAConnect(socket, name, length, caller, callee, sqos, gqos);
    if (s && s->type == SOCK_STREAM)
        s->connecting = result && WSAGetLastError() == WSAEWOULDBLOCK;
    socket_put(s);
    return result;
}

int WSAAPI shim_connect(SOCKET socket, const struct sockaddr *name, int length)
{
    return shim_WSAConnect(socket, name, length, NULL, NULL, NULL, NULL);
}

int WSAAPI shim_closesocket(SOCKET socket)
{
    WFPMODEL_CALL call;
    WFPMODEL_ANSWER answer;
    shim_socket *s = socket_take(socket); /* first: the number may be another socket's as soon as it is closed */
    int result = closesocket(socket);
    if (!s)
        return result;
    int error = WSAGetLastError();
    if (s->endpoint) {
        engine_call(&call, s, WFPMODEL_CLOSE);
        engine_ask(s, &call, NULL, 0, &answer);
    }
    socket_put(s);
    WSASetLastError(error);
    return result;
}
