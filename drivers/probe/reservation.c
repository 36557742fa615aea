/* Port reservations: persistent ones, those of a socket, and sockets whose port comes from one. SPDX-License-Identifier: MIT */
#include "probe.h"

#include <string.h>

#define ACQUIRE_PORTS   0x98000064ul /* SIO_ACQUIRE_PORT_RESERVATION */
#define ASSOCIATE_PORTS 0x98000066ul /* SIO_ASSOCIATE_PORT_RESERVATION */

typedef struct port_instance { /* INET_PORT_RESERVATION_INSTANCE; its first four bytes are an INET_PORT_RANGE */
    uint16_t start, count; /* start in network byte order */
    uint64_t token;
} port_instance;

/* Looked up, for a system whose library has none. */
static FARPROC helper(const char *name)
{
    HMODULE library = LoadLibraryW(L"iphlpapi.dll");
    return library ? GetProcAddress(library, name) : NULL;
}

int reservation_associate(SOCKET socket, uint64_t token)
{
    DWORD got = 0;
    return WSAIoctl(socket, ASSOCIATE_PORTS, &token, sizeof token, NULL, 0, &got, NULL, NULL) ? WSAGetLastError() : 0;
}

static void reply_reserved(json_request *request, uint64_t token, uint16_t port)
{
    text_buffer text = {0};
    reply_begin(&text, request);
    text_add(&text, ",\"token\":%llu,\"port\":%u", (unsigned long long)token, port);
    reply_send(&text);
}

static void acquire(json_request *request, uint16_t port, uint16_t count)
{
    port_instance range = {htons(port), count, 0}, made = {0};
    DWORD got = 0;
    probe_socket *socket = socket_get((int)json_number(request, "socket", 0));
    if (!socket) {
        reply_error(request, "UnknownSocket", 0, "The probe has no socket of that number.");
        return;
    }
    if (WSAIoctl(socket->socket, ACQUIRE_PORTS, &range, 2 * sizeof(uint16_t), &made, sizeof made, &got, NULL, NULL))
        reply_winsock(request, WSAGetLastError(), "SIO_ACQUIRE_PORT_RESERVATION");
    else
        reply_reserved(request, made.token, ntohs(made.start));
    socket_put(socket);
}

static void reserve(json_request *request, bool udp, uint16_t port, uint16_t count)
{
    FARPROC found = helper(udp ? "CreatePersistentUdpPortReservation" : "CreatePersistentTcpPortReservation");
    ULONG(WINAPI *create)(USHORT, USHORT, ULONG64 *);
    ULONG64 token = 0;
    memcpy(&create, &found, sizeof create);
    ULONG error = found ? create(htons(port), count, &token) : ERROR_PROC_NOT_FOUND;
    if (error)
        reply_win32(request, error, "Reserving ports");
    else
        reply_reserved(request, token, port);
}

static void give_back(json_request *request, bool udp, uint16_t port, uint16_t count)
{
    FARPROC found = helper(udp ? "DeletePersistentUdpPortReservation" : "DeletePersistentTcpPortReservation");
    ULONG(WINAPI *end)(USHORT, USHORT);
    memcpy(&end, &found, sizeof end);
    ULONG error = found ? end(htons(port), count) : ERROR_PROC_NOT_FOUND;
    if (error)
        reply_win32(request, error, "Deleting a port reservation");
    else
        reply_ok(request);
}

bool reservation_op(const char *op, json_request *request)
{
    bool udp = !strcmp(json_text(request, "protocol", ""), "udp");
    uint16_t port = (uint16_t)json_number(request, "port", 0), count = (uint16_t)json_number(request, "count", 1);
    if (!strcmp(op, "reserve_ports"))
        reserve(request, udp, port, count);
    else if (!strcmp(op, "acquire_ports"))
        acquire(request, port, count);
    else if (!strcmp(op, "delete_ports"))
        give_back(request, udp, port, count);
    else
        return false;
    return true;
}
