/*
 * WSARecvMsg and WSASendMsg: redirect records and context as control messages of the datagram that makes a flow (W154). The
 * types are those of the headers; the documents have another name for the first (W155).
 *
 * SPDX-License-Identifier: MIT
 */
#include "shim.h"

#include <string.h>

enum { REDIRECT_RECORDS = 60, REDIRECT_CONTEXT = 70, EXTRA_MAX = 8192 };

LPFN_WSARECVMSG wine_recv_msg;

static bool is_of_ip(int level)
{
    return level == IPPROTO_IP || level == IPPROTO_IPV6;
}

/* Behind what is there already, if there is room. */
static void append(WSAMSG *message, ULONG room, int family, int type, const void *bytes, size_t size)
{
    size_t at = WSA_CMSGHDR_ALIGN(message->Control.len), space = WSA_CMSG_SPACE(size);
    if (!message->Control.buf || at > room || space > room - at) {
        message->dwFlags |= MSG_CTRUNC;
        return;
    }
    WSACMSGHDR *header = (WSACMSGHDR *)(message->Control.buf + at);
    memset(header, 0, space);
    header->cmsg_len = WSA_CMSG_LEN(size);
    header->cmsg_level = family == AF_INET6 ? IPPROTO_IPV6 : IPPROTO_IP;
    header->cmsg_type = type;
    memcpy(WSA_CMSG_DATA(header), bytes, size);
    message->Control.len = (ULONG)(at + space);
}

static void tell_records(SOCKET socket, WSAMSG *message, ULONG room)
{
    uint8_t extra[EXTRA_MAX];
    WFPMODEL_CALL call = {.op = WFPMODEL_TAKE_RECORDS, .protocol = IPPROTO_UDP, .size = sizeof extra};
    WFPMODEL_ANSWER answer;
    struct sockaddr_in6 local;
    shim_address here, there;
    int size = sizeof local;
    if (getsockname(socket, (struct sockaddr *)&local, &size) || !address_read((struct sockaddr *)&local, size, &here) ||
        !address_read(message->name, message->namelen, &there))
        return;
    here.family = there.family; /* a socket of both families that is bound to no address */
    call_local(&call, &here);
    call_remote(&call, &there);
    if (!engine_query(&call, &answer, extra, sizeof extra) || answer.error || answer.length + answer.context_length > sizeof extra)
        return;
    append(message, room, local.sin6_family, REDIRECT_RECORDS, extra, answer.length);
    append(message, room, local.sin6_family, REDIRECT_CONTEXT, extra + answer.length, answer.context_length);
}

INT PASCAL shim_recv_msg(SOCKET socket, WSAMSG *message, DWORD *got, OVERLAPPED *overlapped, LPWSAOVERLAPPED_COMPLETION_ROUTINE routine)
{
    ULONG room = message && message->Control.buf ? message->Control.len : 0;
    INT result = wine_recv_msg(socket, message, got, overlapped, routine);
    if (!result && !overlapped && room && message->name) {
        if (message->Control.len > room)
            message->Control.len = 0;
        tell_records(socket, message, room);
    }
    return result;
}

bool records_split(WSAMSG *message, uint8_t *room, WSABUF *records)
{
    bool found = false;
    ULONG left = message->Control.len, kept = 0;
    const char *at = message->Control.buf;
    while (left >= sizeof(WSACMSGHDR)) {
        const WSACMSGHDR *header = (const WSACMSGHDR *)at;
        if (header->cmsg_len < sizeof *header || header->cmsg_len > left)
            break;
        ULONG step = (ULONG)WSA_CMSGHDR_ALIGN(header->cmsg_len);
        step = step > left ? left : step;
        if (is_of_ip(header->cmsg_level) && header->cmsg_type == REDIRECT_RECORDS) {
            records->buf = (char *)(uintptr_t)at + WSA_CMSGDATA_ALIGN(sizeof *header);
            records->len = (ULONG)(header->cmsg_len - WSA_CMSGDATA_ALIGN(sizeof *header));
            found = true;
        } else {
            memcpy(room + kept, at, step);
            kept += step;
        }
        at += step;
        left -= step;
    }
    if (found) {
        message->Control.buf = (char *)room;
        message->Control.len = kept;
    }
    return found;
}
