/* WSAIoctl: redirect records and context, promiscuous mode, and ConnectEx. SPDX-License-Identifier: MIT */
#include "shim.h"

#include <string.h>

#define QUERY_RECORDS 0x980000DCul
#define QUERY_CONTEXT 0x980000DDul
#define SET_RECORDS   0x980000DEul

int WSAAPI shim_WSAIoctl(SOCKET socket, DWORD code, void *in, DWORD in_size, void *out, DWORD room, DWORD *got, OVERLAPPED *overlapped,
                         LPWSAOVERLAPPED_COMPLETION_ROUTINE routine);

static LPFN_CONNECTEX wine_connect_ex; /* set before shim_connect_ex is handed out */

static BOOL PASCAL shim_connect_ex(SOCKET socket, const struct sockaddr *name, int length, void *data, DWORD size, DWORD *sent,
                                   OVERLAPPED *overlapped)
{
    shim_address remote, to;
    struct sockaddr_in6 other;
    shim_socket *s = socket_find(socket); /* it has to be bound */
    int error = 0;
    if (s && address_read(name, length, &remote) && name->sa_family == s->family) {
        error = connect_ask(s, &remote, &to);
        if (!error && !address_same(&to, &remote)) {
            length = address_write(&other, s->family, &to, name);
            name = (const struct sockaddr *)&other;
        }
    }
    socket_put(s);
    if (error) {
        WSASetLastError(error);
        return FALSE;
    }
    return wine_connect_ex(socket, name, length, data, size, sent, overlapped);
}

/* Winsock error or 0. */
static int query(SOCKET socket, DWORD code, void *out, DWORD room, DWORD *got)
{
    WFPMODEL_CALL call = {.op = code == QUERY_RECORDS ? WFPMODEL_QUERY_RECORDS : WFPMODEL_QUERY_CONTEXT, .size = room};
    WFPMODEL_ANSWER answer;
    struct sockaddr_in6 local, remote;
    int local_size = sizeof local, remote_size = sizeof remote;
    shim_address here, there;
    WSAPROTOCOL_INFOW info;
    int size = sizeof info;
    if (getsockopt(socket, SOL_SOCKET, SO_PROTOCOL_INFOW, (char *)&info, &size) ||
        getsockname(socket, (struct sockaddr *)&local, &local_size) || getpeername(socket, (struct sockaddr *)&remote, &remote_size))
        return WSAGetLastError();
    if (!address_read((struct sockaddr *)&local, local_size, &here) || !address_read((struct sockaddr *)&remote, remote_size, &there))
        return WSAEOPNOTSUPP;
    call_local(&call, &here);
    call_remote(&call, &there);
    call.protocol = (uint8_t)(info.iSocketType == SOCK_STREAM ? IPPROTO_TCP : IPPROTO_UDP);
    if (!engine_query(&call, &answer, out, room))
        return WSAEOPNOTSUPP;
    *got = answer.length;
    return answer.error;
}

static int ask(SOCKET socket, uint32_t op, uint32_t value, const void *bytes, DWORD size)
{
    WFPMODEL_CALL call;
    WFPMODEL_ANSWER answer;
    shim_socket *s = socket_of(socket);
    if (!s)
        return WSAEOPNOTSUPP;
    engine_call(&call, s, op);
    call.value = value;
    bool asked = engine_ask(s, &call, bytes, size, &answer);
    socket_put(s);
    return asked ? answer.error : WSAEOPNOTSUPP;
}

/* A control that is answered at once, in the form of the call: result, event of the overlapped structure. */
static int answered(int error, DWORD size, DWORD *got, OVERLAPPED *overlapped)
{
    if (got)
        *got = size;
    if (error) {
        WSASetLastError(error);
        return SOCKET_ERROR;
    }
    if (overlapped) {
        overlapped->Internal = 0;
        overlapped->InternalHigh = size;
        if (overlapped->hEvent)
            SetEvent(overlapped->hEvent);
    }
    return 0;
}

int WSAAPI shim_WSAIoctl(SOCKET socket, DWORD code, void *in, DWORD in_size, void *out, DWORD room, DWORD *got, OVERLAPPED *overlapped,
                         LPWSAOVERLAPPED_COMPLETION_ROUTINE routine)
{
    static const GUID connect_ex = WSAID_CONNECTEX, recv_msg = WSAID_WSARECVMSG;
    DWORD size = 0;
    int error;
    switch (shim_inert ? 0 : code) {
    case QUERY_RECORDS:
    case QUERY_CONTEXT:
        if (!got)
            return answered(WSAEFAULT, 0, got, NULL);
        error = query(socket, code, out, out ? room : 0, &size);
        return answered(error, size, got, overlapped);
    case SET_RECORDS:
        error = in && in_size ? ask(socket, WFPMODEL_SET_RECORDS, 0, in, in_size) : WSAEINVAL;
        return answered(error, 0, got, overlapped);
    case SIO_RCVALL:
    case SIO_RCVALL_IGMPMCAST:
    case SIO_RCVALL_MCAST:
        error = in && in_size >= sizeof(DWORD) && *(DWORD *)in ? ask(socket, WFPMODEL_PROMISCUOUS, code, NULL, 0) : 0;
        if (error == WSAEACCES)
            return answered(error, 0, got, NULL);
        break;
    default:
        break;
    }
    int result = WSAIoctl(socket, code, in, in_size, out, room, got, overlapped, routine);
    if (result || shim_inert || code != SIO_GET_EXTENSION_FUNCTION_POINTER || in_size < sizeof connect_ex || room < sizeof(void *))
        return result;
    if (!memcmp(in, &connect_ex, sizeof connect_ex)) {
        memcpy(&wine_connect_ex, out, sizeof wine_connect_ex);
        LPFN_CONNECTEX ours = shim_connect_ex;
        memcpy(out, &ours, sizeof ours);
    } else if (!memcmp(in, &recv_msg, sizeof recv_msg)) {
        memcpy(&wine_recv_msg, out, sizeof wine_recv_msg);
        LPFN_WSARECVMSG ours = shim_recv_msg;
        memcpy(out, &ours, sizeof ours);
    }
    return result;
}
