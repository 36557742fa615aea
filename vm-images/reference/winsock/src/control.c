/* WSAIoctl: redirect records and context, port reservations, promiscuous mode, and ConnectEx. SPDX-License-Identifier: MIT */
#include "shim.h"

#include <string.h>

#define QUERY_RECORDS 0x980000DCul
#define QUERY_CONTEXT 0x980000DDul
#define SET_RECORDS   0x980000DEul
#define ACQUIRE_PORTS   0x98000064ul /* SIO_ACQUIRE_PORT_RESERVATION and the like */
#define RELEASE_PORTS   0x98000065ul
#define ASSOCIATE_PORTS 0x98000066ul

/* INET_PORT_RANGE, then the token: INET_PORT_RESERVATION_INSTANCE of mstcpip.h. */
typedef struct port_range {
    uint16_t start, count; /* start in network byte order */
} port_range;
typedef struct port_instance {
    port_range range;
    uint64_t token;
} port_instance;
typedef char port_instance_size_assert[sizeof(port_instance) == 16 ? 1 : -1];

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

/* Winsock error or 0. */
static int acquire_ports(SOCKET socket, const void *in, DWORD in_size, void *out, DWORD room, DWORD *size)
{
    WFPMODEL_CALL call;
    WFPMODEL_ANSWER answer;
    port_instance made = {0};
    if (!in || !out || in_size < sizeof made.range || room < sizeof made)
        return WSAEINVAL;
    shim_socket *s = socket_of(socket);
    if (!s)
        return WSAEOPNOTSUPP;
    memcpy(&made.range, in, sizeof made.range);
    engine_call(&call, s, WFPMODEL_ACQUIRE_PORTS);
    call.local_port = ntohs(made.range.start);
    call.value = made.range.count;
    bool asked = engine_query(&call, &answer, &made.token, sizeof made.token);
    if (asked && answer.endpoint)
        s->endpoint = answer.endpoint;
    socket_put(s);
    if (!asked || answer.error)
        return asked ? answer.error : WSAEOPNOTSUPP;
    made.range.start = htons(answer.local_port);
    memcpy(out, &made, sizeof made);
    *size = sizeof made;
    return 0;
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
    case ACQUIRE_PORTS:
        error = acquire_ports(socket, in, in_size, out, room, &size);
        return answered(error, size, got, overlapped);
    case ASSOCIATE_PORTS:
    case RELEASE_PORTS:
        error = in && in_size >= sizeof(uint64_t) ? ask(socket, code == RELEASE_PORTS ? WFPMODEL_RELEASE_PORTS : WFPMODEL_ASSOCIATE_PORTS, 0, in, sizeof(uint64_t)) : WSAEINVAL;
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
