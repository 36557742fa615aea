/*
 * FwpsConstructIpHeaderForTransportPacket0 (W262 to W264): an IP header in front of a transport packet, or a new one in
 * place of the old, and every checksum.
 *
 * SPDX-License-Identifier: MIT
 */
#include <string.h>

#include "model.h"

enum { FLAG_FOR_SEND = 1, FLAG_FOR_RECEIVE = 2, PACKET_MAX = 65535, INFO_CHECKSUM = 0, INFO_LARGE_SEND = 2 };

static void fix_icmp(uint8_t *icmp, size_t size)
{
    if (size < 4)
        return;
    put16(icmp + 2, 0);
    put16(icmp + 2, ip_checksum(icmp, size, 0));
}

/* Of a contiguous packet whose header is in place; `head` is that header's size. */
static void fix_sums(uint8_t *ip, size_t head, size_t length, uint8_t protocol)
{
    size_t size = length - head;
    struct packet view = {.frame = ip - ETHERNET, .ip = ETHERNET, .ihl = head, .end = ETHERNET + length, .tuple.protocol = protocol};
    if ((protocol == IPPROTO_TCP && size >= 20) || (protocol == IPPROTO_UDP && size >= 8))
        view.thl = protocol == IPPROTO_TCP ? 20 : 8;
    if (ip[0] >> 4 == 4 && protocol == IPPROTO_ICMP)
        fix_icmp(ip + head, size);
    packet_fix_sums(&view);
}

/* The options of an old IPv4 header, which is kept; of an old IPv6 header nothing is. */
static size_t options_of(const uint8_t *old, size_t old_size)
{
    return old_size > 20 && old[0] >> 4 == 4 ? old_size - 20 : 0;
}

/* Behind the old header: AH or ESP, which go (W262). How many bytes, or more than there are when it cannot be told. */
static size_t security_size(const uint8_t *packet, size_t length, size_t head)
{
    uint8_t next = packet[0] >> 4 == 6 ? packet[6] : packet[9];
    if (next == IPPROTO_AH && length >= head + 12)
        return (packet[head + 1] + 2u) * 4u;
    return next == IPPROTO_ESP ? 8 : 0;
}

static NTSTATUS rebuild(NET_BUFFER *nb, ULONG include, const struct address *from, const struct address *to, uint8_t protocol)
{
    size_t length = nb->DataLength, head = from->family == FAMILY_V6 ? 40 : 20;
    if (length > PACKET_MAX || include > length || (include && include < 20))
        return STATUS_INVALID_PARAMETER;
    uint8_t *old = mem_alloc(length + 1), options[40];
    NTSTATUS status = nb_copy(nb, old, length) == length ? STATUS_SUCCESS : STATUS_INVALID_PARAMETER;
    size_t kept = include ? options_of(old, include) : 0;
    size_t dropped = include + (!status && include ? security_size(old, length, include) : 0);
    if (dropped > length || kept > sizeof options || head + kept + length - dropped > PACKET_MAX)
        status = STATUS_INVALID_PARAMETER;
    if (!status) {
        size_t size = head + kept + length - dropped;
        uint8_t *ip = nb_rebuild(nb, size);
        memcpy(options, old + 20, kept);
        memcpy(ip + head + kept, old + dropped, length - dropped);
        ip_header(ip, from, to, protocol, kept + length - dropped);
        if (from->family == FAMILY_V4)
            ip[0] = (uint8_t)(0x40 | (head + kept) / 4);
        memcpy(ip + head, options, kept);
        fix_sums(ip, head + kept, size, protocol);
    }
    mem_free(old);
    return status;
}

NTSTATUS NTAPI FwpsConstructIpHeaderForTransportPacket0(NET_BUFFER_LIST *nbl, ULONG include, ADDRESS_FAMILY family, const UCHAR *source,
                                                        const UCHAR *remote, int protocol, UINT64 endpoint, const void *control,
                                                        ULONG control_length, UINT32 flags, void *reserved, ULONG if_index,
                                                        ULONG sub_interface)
{
    NTSTATUS status = STATUS_SUCCESS;
    (void)endpoint, (void)control, (void)control_length, (void)if_index, (void)sub_interface;
    if (!nbl || !nbl->FirstNetBuffer || !source || !remote || (family != AF_INET && family != AF_INET6))
        return STATUS_INVALID_PARAMETER;
    if (include && nbl->FirstNetBuffer->Next)
        return STATUS_INVALID_PARAMETER;
    if (reserved || flags & ~(UINT32)(FLAG_FOR_SEND | FLAG_FOR_RECEIVE)) /* W264 */
        contract_broken("W264", "FwpsConstructIpHeaderForTransportPacket0", "reserved arguments are set, flags 0x%x: 0 and NULL are wanted", flags);
    struct address from = address_of((uint8_t)family, source), to = address_of((uint8_t)family, remote);
    for (NET_BUFFER *nb = nbl->FirstNetBuffer; nb && !status; nb = nb->Next)
        status = rebuild(nb, include, &from, &to, (uint8_t)protocol);
    if (!status) {
        nbl->NetBufferListInfo[INFO_CHECKSUM] = NULL;
        nbl->NetBufferListInfo[INFO_LARGE_SEND] = NULL;
    }
    return status;
}
