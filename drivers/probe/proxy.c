/* Listeners that serve by themselves: echo, sink, and a proxy as a redirected connection meets it. MIT. */
#include "probe.h"

#include <stdlib.h>
#include <string.h>

#include "wfpcallout_ioctl.h"

#define QUERY_RECORDS 0x980000DCul
#define QUERY_CONTEXT 0x980000DDul

/* Moves what is there from one socket to the other; false at the end of the stream. */
static bool move(probe_socket *counted, SOCKET from, SOCKET to, bool inward)
{
    char data[16384];
    int got = recv(from, data, sizeof data, 0);
    if (got <= 0)
        return false;
    InterlockedAdd64(inward ? &counted->bytes_in : &counted->bytes_out, got);
    for (int sent = 0; to != INVALID_SOCKET && sent < got;) {
        int done = send(to, data + sent, got - sent, 0);
        if (done <= 0)
            return false;
        sent += done;
        if (inward && from == to)
            InterlockedAdd64(&counted->bytes_out, done);
    }
    return true;
}

/* The driver leaves the original destination in the redirect context (WFPCALLOUT_REDIRECT_CONTEXT). */
static SOCKET onward(probe_socket *connection)
{
    unsigned char context[4096], records[4096];
    unsigned long context_size = 0, records_size = 0;
    WFPCALLOUT_REDIRECT_CONTEXT original;
    int error = WSAENOTSOCK;
    if (socket_enter(connection)) {
        error = redirect_query(connection->socket, QUERY_CONTEXT, context, sizeof context, &context_size);
        if (redirect_query(connection->socket, QUERY_RECORDS, records, sizeof records, &records_size))
            records_size = 0;
        socket_leave(connection);
    }
    if (error || context_size < sizeof original) {
        connection->error = error ? error : WSAEDESTADDRREQ;
        return INVALID_SOCKET;
    }
    memcpy(&original, context, sizeof original);
    struct sockaddr_storage *address = (struct sockaddr_storage *)original.remote;
    int length = address->ss_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
    SOCKET out = socket(address->ss_family, SOCK_STREAM, IPPROTO_TCP);
    if (out == INVALID_SOCKET)
        return out;
    /* Without the records WFP would take this for a new connection and redirect it here again. */
    if (records_size)
        connection->error = redirect_set(out, records, records_size);
    if (connect(out, (struct sockaddr *)address, length)) {
        connection->error = WSAGetLastError();
        closesocket(out);
        return INVALID_SOCKET;
    }
    return out;
}

static void relay(probe_socket *connection, SOCKET out)
{
    bool in_open = true, out_open = true;
    while (in_open || out_open) {
        fd_set ready;
        FD_ZERO(&ready);
        if (in_open)
            FD_SET(connection->socket, &ready);
        if (out_open)
            FD_SET(out, &ready);
        if (select(0, &ready, NULL, NULL, NULL) <= 0)
            break;
        if (in_open && FD_ISSET(connection->socket, &ready) && !move(connection, connection->socket, out, true)) {
            in_open = false;
            shutdown(out, SD_SEND);
        }
        if (out_open && FD_ISSET(out, &ready) && !move(connection, out, connection->socket, false)) {
            out_open = false;
            if (socket_enter(connection)) {
                shutdown(connection->socket, SD_SEND);
                socket_leave(connection);
            }
        }
    }
}

void serve_connection(probe_socket *listener, probe_socket *connection)
{
    if (!strcmp(listener->mode, "echo")) {
        while (move(connection, connection->socket, connection->socket, true))
            ;
    } else if (!strcmp(listener->mode, "sink")) {
        while (move(connection, connection->socket, INVALID_SOCKET, true))
            ;
    } else {
        SOCKET out = onward(connection);
        if (out != INVALID_SOCKET) {
            relay(connection, out);
            closesocket(out);
        }
    }
    InterlockedAdd64(&listener->bytes_in, connection->bytes_in);
    InterlockedAdd64(&listener->bytes_out, connection->bytes_out);
    if (connection->error)
        listener->error = connection->error;
}
