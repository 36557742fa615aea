/* IP packets in Ethernet frames: parsing, rewriting, checksums. SPDX-License-Identifier: MIT */
#include <string.h>

#include "model.h"

enum { TYPE_IPV4 = 0x0800, TYPE_IPV6 = 0x86dd, V4_HEADER = 20, V6_HEADER = 40, DEFAULT_HOPS = 128 };

UINT16 get16(const uint8_t *p)
{
    return (UINT16)(p[0] << 8 | p[1]);
}

UINT32 get32(const uint8_t *p)
{
    return (UINT32)p[0] << 24 | (UINT32)p[1] << 16 | (UINT32)p[2] << 8 | p[3];
}

void put16(uint8_t *p, UINT16 v)
{
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
}

void put32(uint8_t *p, UINT32 v)
{
    put16(p, (UINT16)(v >> 16));
    put16(p + 2, (UINT16)v);
}

UINT16 ip_checksum(const uint8_t *p, size_t length, UINT32 sum)
{
    UINT64 total = sum;
    for (; length > 3; p += 4, length -= 4)
        total += get32(p);
    if (length > 1)
        total += get16(p), p += 2, length -= 2;
    if (length)
        total += (UINT32)p[0] << 8;
    while (total >> 16)
        total = (total & 0xffff) + (total >> 16);
    return (UINT16)~total;
}

/* Both set protocol, header length, end and fragment; FALSE: not a packet of that family. */
static BOOL network_v4(struct packet *packet, const uint8_t *ip, size_t room)
{
    if (room < V4_HEADER || ip[0] >> 4 != 4)
        return FALSE;
    size_t total = get16(ip + 2);
    packet->ihl = (ip[0] & 15u) * 4u;
    if (packet->ihl < V4_HEADER || total < packet->ihl || total > room)
        return FALSE;
    packet->end = packet->ip + total;
    packet->fragment = (get16(ip + 6) & 0x3fff) != 0;
    packet->tuple.protocol = ip[9];
    return TRUE;
}

static BOOL network_v6(struct packet *packet, const uint8_t *ip, size_t room)
{
    if (room < V6_HEADER || ip[0] >> 4 != 6)
        return FALSE;
    size_t total = V6_HEADER + (size_t)get16(ip + 4);
    if (total > room)
        return FALSE;
    packet->end = packet->ip + total;
    packet->fragment = FALSE;
    packet->ihl = V6_HEADER;
    return ipv6_skip_extensions(ip, total, &packet->ihl, &packet->tuple.protocol, &packet->fragment);
}

static BOOL transport(struct packet *packet)
{
    struct tuple *tuple = &packet->tuple;
    const uint8_t *transport = packet->frame + packet->ip + packet->ihl;
    size_t room = packet->end - packet->ip - packet->ihl;
    packet->thl = 0;
    if (!packet->fragment && tuple->protocol == IPPROTO_TCP && room >= 20)
        packet->thl = (transport[12] >> 4) * 4u;
    else if (!packet->fragment && tuple->protocol == IPPROTO_UDP && room >= 8)
        packet->thl = 8;
    if (packet->thl > room || (tuple->protocol == IPPROTO_TCP && packet->thl && packet->thl < 20))
        return FALSE;
    if (packet->thl) {
        tuple->local_port = get16(transport + (packet->outbound ? 0 : 2));
        tuple->remote_port = get16(transport + (packet->outbound ? 2 : 0));
    } else if (packet_is_icmp(packet) && room >= 8 && !packet->fragment) { /* type and code stand in for the ports */
        tuple->local_port = transport[0];
        tuple->remote_port = transport[1];
        tuple->icmp_id = icmp_has_id(tuple->local.family, transport[0]) ? get16(transport + 4) : 0;
    }
    packet->payload = packet->ip + packet->ihl + packet->thl;
    return TRUE;
}

/* FALSE when the frame is not an IP packet that the engine understands. */
BOOL packet_parse(struct packet *packet)
{
    const uint8_t *ip = packet->frame + ETHERNET;
    BOOL known = FALSE;
    packet->ip = ETHERNET;
    memset(&packet->tuple, 0, sizeof packet->tuple);
    if (packet->length < ETHERNET)
        return FALSE;
    UINT16 type = get16(packet->frame + 12);
    uint8_t family = type == TYPE_IPV6 ? FAMILY_V6 : FAMILY_V4;
    if (type == TYPE_IPV4)
        known = network_v4(packet, ip, packet->length - ETHERNET);
    else if (type == TYPE_IPV6)
        known = network_v6(packet, ip, packet->length - ETHERNET);
    if (!known)
        return FALSE;
    const uint8_t *source = ip + (family == FAMILY_V6 ? 8 : 12), *destination = source + address_size(family);
    packet->tuple.local = address_of(family, packet->outbound ? source : destination);
    packet->tuple.remote = address_of(family, packet->outbound ? destination : source);
    return transport(packet);
}

BOOL packet_is_icmp(const struct packet *packet)
{
    const struct tuple *t = &packet->tuple;
    return t->protocol == (packet->frame[packet->ip] >> 4 == 6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP);
}

struct packet *packet_new(const uint8_t *frame, size_t length, BOOL outbound)
{
    struct packet *packet = mem_alloc(sizeof *packet);
    uint8_t *buffer = mem_alloc(HEADROOM + length);
    packet->frame = buffer + HEADROOM;
    packet->length = length;
    packet->outbound = outbound;
    memcpy(packet->frame, frame, length);
    if (!packet_parse(packet)) {
        mem_free(buffer);
        mem_free(packet);
        return NULL;
    }
    packet->nbl = nbl_wrap(buffer, HEADROOM + packet->end, HEADROOM + packet->ip, packet->end - packet->ip);
    return packet;
}

void packet_free(struct packet *packet)
{
    if (packet) {
        nbl_leaves(packet->nbl, packet->outbound);
        nbl_release(packet->nbl);
        mem_free(packet);
    }
}

uint8_t *packet_tcp(struct packet *packet)
{
    return packet->tuple.protocol == IPPROTO_TCP && packet->thl ? packet->frame + packet->ip + packet->ihl : NULL;
}

/* Of a whole packet whose offsets, end and protocol are set; an IPv4 header's own sum too. */
void packet_fix_sums(struct packet *packet)
{
    uint8_t *ip = packet->frame + packet->ip, *transport = ip + packet->ihl;
    size_t size = packet->end - packet->ip - packet->ihl;
    BOOL v6 = ip[0] >> 4 == 6;
    uint8_t protocol = packet->tuple.protocol;
    if (!v6) {
        put16(ip + 10, 0);
        put16(ip + 10, ip_checksum(ip, packet->ihl, 0));
    }
    BOOL icmp = packet_is_icmp(packet) && size >= ICMP_HEADER && !packet->fragment;
    if (!packet->thl && !icmp)
        return;
    uint8_t *sum = transport + (icmp ? 2 : protocol == IPPROTO_TCP ? 16 : 6);
    UINT32 pseudo = protocol + (UINT32)size;
    for (int i = v6 ? 8 : 12; i < (v6 ? 40 : 20); i += 2)
        pseudo += get16(ip + i);
    if (icmp && !v6)
        pseudo = 0; /* the older ICMP has no pseudo header */
    put16(sum, 0);
    UINT16 value = ip_checksum(transport, size, pseudo);
    put16(sum, protocol == IPPROTO_UDP && !value ? 0xffff : value);
}

BOOL packet_transport_sum_is_right(const struct packet *packet)
{
    const uint8_t *ip = packet->frame + packet->ip, *transport = ip + packet->ihl;
    size_t size = packet->end - packet->ip - packet->ihl;
    BOOL v4 = ip[0] >> 4 == 4;
    if (packet->tuple.protocol == IPPROTO_UDP && v4 && !get16(transport + 6))
        return TRUE;
    UINT32 pseudo = packet->tuple.protocol + (UINT32)size;
    for (int i = v4 ? 12 : 8; i < (v4 ? 20 : 40); i += 2)
        pseudo += get16(ip + i);
    return ip_checksum(transport, size, pseudo) == 0;
}

/* A header of no options and its size; IPv4's checksum is for packet_fix_sums. */
size_t ip_header(uint8_t *ip, const struct address *from, const struct address *to, uint8_t protocol, size_t payload)
{
    BOOL v6 = from->family == FAMILY_V6;
    size_t size = v6 ? V6_HEADER : V4_HEADER, address = address_size(from->family);
    memset(ip, 0, size);
    ip[0] = v6 ? 0x60 : 0x45;
    put16(ip + (v6 ? 4 : 2), (UINT16)(v6 ? payload : V4_HEADER + payload));
    ip[v6 ? 6 : 9] = protocol;
    ip[v6 ? 7 : 8] = DEFAULT_HOPS;
    memcpy(ip + (v6 ? 8 : 12), from->bytes, address);
    memcpy(ip + (v6 ? 8 : 12) + address, to->bytes, address);
    return size;
}

/* The new address is of the packet's own family. */
void packet_rewrite(struct packet *packet, BOOL source, const struct address *address, UINT16 port)
{
    uint8_t *ip = packet->frame + packet->ip;
    size_t size = address_size(address->family);
    memcpy(ip + (address->family == FAMILY_V6 ? 8 : 12) + (source ? 0 : size), address->bytes, size);
    if (packet->thl)
        put16(ip + packet->ihl + (source ? 0 : 2), port);
    packet_fix_sums(packet);
    packet_parse(packet);
}
