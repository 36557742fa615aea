/* What sends: the first datagram to each remote address is shown to the engine. SPDX-License-Identifier: MIT */
#include "shim.h"

#include <string.h>

enum { DATAGRAM_MAX = 65507 };

int WSAAPI shim_send(SOCKET socket, const char *data, int size, int flags);
int WSAAPI shim_sendto(SOCKET socket, const char *data, int size, int flags, const struct sockaddr *name, int length);
int WSAAPI shim_WSASend(SOCKET socket, WSABUF *buffers, DWORD count, DWORD *sent, DWORD flags, OVERLAPPED *overlapped,
                        LPWSAOVERLAPPED_COMPLETION_ROUTINE routine);
int WSAAPI shim_WSASendTo(SOCKET socket, WSABUF *buffers, DWORD count, DWORD *sent, DWORD flags, const struct sockaddr *name, int length,
                          OVERLAPPED *overlapped, LPWSAOVERLAPPED_COMPLETION_ROUTINE routine);
int WSAAPI shim_WSASendMsg(SOCKET socket, WSAMSG *message, DWORD flags, DWORD *sent, OVERLAPPED *overlapped,
                           LPWSAOVERLAPPED_COMPLETION_ROUTINE routine);

static uint8_t *gather(const WSABUF *buffers, DWORD count, size_t *size)
{
    *size = 0;
    for (DWORD i = 0; i < count; i++)
        *size += buffers[i].len;
    uint8_t *all = *size <= DATAGRAM_MAX ? shim_alloc(*size + 1) : NULL, *at = all;
    for (DWORD i = 0; all && i < count; i++) {
        memcpy(at, buffers[i].buf, buffers[i].len);
        at += buffers[i].len;
    }
    return all;
}

/* Where a datagram for this remote goes, if the engine was asked about it before. */
static bool asked_before(shim_socket *s, const shim_address *remote, shim_address *to)
{
    bool found = false;
    AcquireSRWLockShared(&s->lock);
    for (unsigned i = 0; i < REMOTES && !found; i++) {
        found = s->asked[i].from.family && address_same(&s->asked[i].from, remote);
        if (found)
            *to = s->asked[i].to;
    }
    ReleaseSRWLockShared(&s->lock);
    return found;
}

static void remember(shim_socket *s, const shim_address *remote, const shim_address *to)
{
    AcquireSRWLockExclusive(&s->lock);
    s->asked[s->asked_next % REMOTES].from = *remote;
    s->asked[s->asked_next++ % REMOTES].to = *to;
    ReleaseSRWLockExclusive(&s->lock);
}

/* What a send answers that is not to go to Wine: an error, or that all was sent. */
static int instead(int error, const WSABUF *buffers, DWORD count, DWORD *sent, OVERLAPPED *overlapped)
{
    DWORD size = 0;
    if (error != SWALLOWED) {
        WSASetLastError(error);
        return SOCKET_ERROR;
    }
    for (DWORD i = 0; i < count; i++)
        size += buffers[i].len;
    if (sent)
        *sent = size;
    if (overlapped) {
        overlapped->Internal = 0;
        overlapped->InternalHigh = size;
        if (overlapped->hEvent)
            SetEvent(overlapped->hEvent);
    }
    return 0;
}

static int ask(shim_socket *s, const shim_address *remote, const WSABUF *buffers, DWORD count, const WSABUF *records, shim_address *to)
{
    WFPMODEL_CALL call;
    WFPMODEL_ANSWER answer;
    size_t size;
    int error = bind_first(s);
    if (error || s->type == SOCK_RAW || !s->endpoint)
        return error;
    uint8_t *bytes = gather(buffers, count, &size);
    if (!bytes)
        return 0; /* too long: the send says so */
    WFPMODEL_CALL set;
    engine_call(&set, s, WFPMODEL_SET_RECORDS);
    if (records)
        engine_ask(s, &set, records->buf, records->len, &answer);
    engine_call(&call, s, WFPMODEL_DATAGRAM);
    call_remote(&call, remote);
    bool asked = engine_ask(s, &call, bytes, size, &answer);
    if (records) { /* they are of this datagram alone */
        WFPMODEL_ANSWER done;
        engine_ask(s, &set, NULL, 0, &done);
    }
    shim_free(bytes);
    if (!asked || answer.error)
        return asked ? answer.error : 0;
    if (answer.swallowed)
        return SWALLOWED;
    memcpy(to->bytes, answer.remote, sizeof to->bytes);
    to->port = answer.remote_port;
    remember(s, remote, to);
    return 0;
}

int datagram_ask(SOCKET socket, const struct sockaddr **name, int *length, const WSABUF *buffers, DWORD count, struct sockaddr_in6 *other, const WSABUF *records)
{
    shim_address remote = {0}, to;
    shim_socket *s = *name ? socket_of(socket) : socket_find(socket);
    int error = 0;
    bool there = s && s->type != SOCK_STREAM;
    if (there && *name) {
        there = address_read(*name, *length, &remote) && (*name)->sa_family == s->family;
    } else if (there) {
        AcquireSRWLockShared(&s->lock);
        there = s->connected;
        remote = s->remote;
        ReleaseSRWLockShared(&s->lock);
    }
    to = remote;
    if (there && !asked_before(s, &remote, &to))
        error = ask(s, &remote, buffers, count, records, &to);
    if (there && !error && *name && !address_same(&to, &remote)) {
        *length = address_write(other, s->family, &to, *name);
        *name = (const struct sockaddr *)other;
    }
    socket_put(s);
    return error;
}

int WSAAPI shim_WSASendTo(SOCKET socket, WSABUF *buffers, DWORD count, DWORD *sent, DWORD flags, const struct sockaddr *name, int length,
                          OVERLAPPED *overlapped, LPWSAOVERLAPPED_COMPLETION_ROUTINE routine)
{
    struct sockaddr_in6 other;
    int error = datagram_ask(socket, &name, &length, buffers, count, &other, NULL);
    if (error)
        return instead(error, buffers, count, sent, overlapped);
    return WSASendTo(socket, buffers, count, sent, flags, name, length, overlapped, routine);
}

int WSAAPI shim_WSASend(SOCKET socket, WSABUF *buffers, DWORD count, DWORD *sent, DWORD flags, OVERLAPPED *overlapped,
                        LPWSAOVERLAPPED_COMPLETION_ROUTINE routine)
{
    return shim_WSASendTo(socket, buffers, count, sent, flags, NULL, 0, overlapped, routine);
}

int WSAAPI shim_sendto(SOCKET socket, const char *data, int size, int flags, const struct sockaddr *name, int length)
{
    struct sockaddr_in6 other;
    WSABUF buffer = {(ULONG)size, (char *)data};
    int error = size < 0 ? 0 : datagram_ask(socket, &name, &length, &buffer, 1, &other, NULL);
    if (error)
        return instead(error, &buffer, 1, NULL, NULL) ? SOCKET_ERROR : size;
    return sendto(socket, data, size, flags, name, length);
}

int WSAAPI shim_send(SOCKET socket, const char *data, int size, int flags)
{
    return shim_sendto(socket, data, size, flags, NULL, 0);
}

int WSAAPI shim_WSASendMsg(SOCKET socket, WSAMSG *message, DWORD flags, DWORD *sent, OVERLAPPED *overlapped,
                           LPWSAOVERLAPPED_COMPLETION_ROUTINE routine)
{
    struct sockaddr_in6 other;
    WSAMSG copy;
    if (!message)
        return WSASendMsg(socket, message, flags, sent, overlapped, routine);
    copy = *message;
    const struct sockaddr *name = copy.name;
    WSABUF records;
    uint8_t *control = copy.Control.buf && copy.Control.len ? shim_alloc(copy.Control.len) : NULL;
    bool found = control && records_split(&copy, control, &records);
    int error = datagram_ask(socket, &name, &copy.namelen, copy.lpBuffers, copy.dwBufferCount, &other, found ? &records : NULL);
    int result = error ? instead(error, copy.lpBuffers, copy.dwBufferCount, sent, overlapped) : 0;
    copy.name = (struct sockaddr *)name;
    if (!error && found && !copy.Control.len) { /* Wine's knows no message without control messages */
        result = WSASendTo(socket, copy.lpBuffers, copy.dwBufferCount, sent, flags, copy.name, copy.namelen, overlapped, routine);
    } else if (!error) {
        result = WSASendMsg(socket, &copy, flags, sent, overlapped, routine);
    }
    error = WSAGetLastError();
    shim_free(control);
    WSASetLastError(error);
    return result;
}
