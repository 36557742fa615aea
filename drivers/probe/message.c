/* Datagrams with control messages: the redirect records and context that come with the first of a redirected flow. SPDX-License-Identifier: MIT */
#include "probe.h"

#include <mswsock.h>
#include <stdlib.h>
#include <string.h>

enum { REDIRECT_RECORDS = 60, REDIRECT_CONTEXT = 70, CONTROL_MAX = 8192, DATAGRAM_MAX = 65536 };

static probe_socket *wanted(json_request *request)
{
    probe_socket *socket = socket_get((int)json_number(request, "socket", 0));
    if (!socket)
        reply_error(request, "UnknownSocket", 0, "The probe has no socket of that number.");
    return socket;
}

static void put_control(text_buffer *text, WSAMSG *message)
{
    for (WSACMSGHDR *header = WSA_CMSG_FIRSTHDR(message); header; header = WSA_CMSG_NXTHDR(message, header)) {
        const char *name = header->cmsg_type == REDIRECT_RECORDS ? "records" : header->cmsg_type == REDIRECT_CONTEXT ? "context" : NULL;
        if (!name || (header->cmsg_level != IPPROTO_IP && header->cmsg_level != IPPROTO_IPV6))
            continue;
        text_add(text, ",\"%s\":\"", name);
        text_add_hex(text, (const unsigned char *)WSA_CMSG_DATA(header), header->cmsg_len - WSA_CMSGDATA_ALIGN(sizeof *header));
        text_add(text, "\"");
    }
}

static void receive_message(json_request *request)
{
    static const GUID id = WSAID_WSARECVMSG;
    LPFN_WSARECVMSG receive = NULL;
    probe_socket *socket = wanted(request);
    if (!socket)
        return;
    DWORD got = 0;
    struct sockaddr_storage from;
    char peer[64] = "", control[CONTROL_MAX], *data = malloc(DATAGRAM_MAX);
    WSABUF buffer = {DATAGRAM_MAX, data};
    WSAMSG message = {.name = (struct sockaddr *)&from, .namelen = sizeof from, .lpBuffers = &buffer, .dwBufferCount = 1,
                      .Control = {sizeof control, control}};
    int ready = data ? socket_wait(socket->socket, POLLRDNORM, (int)json_number(request, "timeout_ms", 10000)) : -1;
    int error = ready > 0 ? 0 : ready ? WSAGetLastError() : WSAETIMEDOUT;
    if (!error && (WSAIoctl(socket->socket, SIO_GET_EXTENSION_FUNCTION_POINTER, (void *)&id, sizeof id, &receive, sizeof receive, &got, NULL, NULL) ||
                   receive(socket->socket, &message, &got, NULL, NULL)))
        error = WSAGetLastError();
    if (error) {
        reply_winsock(request, error, "WSARecvMsg");
    } else {
        text_buffer text = {0};
        address_print((struct sockaddr *)&from, peer, sizeof peer);
        reply_begin(&text, request);
        text_add(&text, ",\"peer\":\"%s\",\"hex\":\"", peer);
        text_add_hex(&text, (unsigned char *)data, got);
        text_add(&text, "\"");
        put_control(&text, &message);
        reply_send(&text);
    }
    free(data);
    socket_put(socket);
}

static void send_message(json_request *request)
{
    unsigned char data[2048], records[CONTROL_MAX / 2];
    char control[CONTROL_MAX] = {0};
    struct sockaddr_storage to;
    int length, size = hex_decode(json_text(request, "hex", ""), data, sizeof data);
    int records_size = hex_decode(json_text(request, "records", ""), records, sizeof records);
    probe_socket *socket = wanted(request);
    if (!socket)
        return;
    if (size < 0 || records_size < 0 || !address_parse(json_text(request, "address", ""), &to, &length)) {
        reply_error(request, "BadMessage", 0, "A datagram of at most 2048 bytes, its records, both in hexadecimal, and an address are wanted.");
        socket_put(socket);
        return;
    }
    WSACMSGHDR *header = (WSACMSGHDR *)control;
    header->cmsg_len = WSA_CMSG_LEN((size_t)records_size);
    header->cmsg_level = to.ss_family == AF_INET6 ? IPPROTO_IPV6 : IPPROTO_IP;
    header->cmsg_type = REDIRECT_RECORDS;
    memcpy(WSA_CMSG_DATA(header), records, (size_t)records_size);
    WSABUF buffer = {(ULONG)size, (char *)data};
    WSAMSG message = {.name = (struct sockaddr *)&to, .namelen = length, .lpBuffers = &buffer, .dwBufferCount = 1,
                      .Control = {(ULONG)WSA_CMSG_SPACE((size_t)records_size), control}};
    DWORD sent = 0;
    if (WSASendMsg(socket->socket, &message, 0, &sent, NULL, NULL))
        reply_winsock(request, WSAGetLastError(), "WSASendMsg");
    else
        reply_ok(request);
    socket_put(socket);
}

bool message_op(const char *op, json_request *request)
{
    if (!strcmp(op, "recv_message"))
        run_apart(receive_message, request);
    else if (!strcmp(op, "send_message"))
        run_apart(send_message, request);
    else
        return false;
    return true;
}
