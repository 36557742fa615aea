/* IPv4 packets in Ethernet frames: parsing, rewriting, checksums. SPDX-License-Identifier: MIT */
#include <string.h>

#include "model.h"

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
    for (; length > 1; p += 2, length -= 2)
        sum += get16(p);
    if (length)
        sum += (UINT32)p[0] << 8;
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return (UINT16)~sum;
}

/* FALSE when the frame is not an IPv4 packet that the engine understands. */
BOOL packet_parse(struct packet *packet)
{
    uint8_t *f = packet->frame;
    packet->ip = ETHERNET;
    if (packet->length < ETHERNET + 20 || get16(f + 12) != 0x0800 || f[ETHERNET] >> 4 != 4)
        return FALSE;
    const uint8_t *ip = f + ETHERNET;
    packet->ihl = (ip[0] & 15u) * 4u;
    size_t total = get16(ip + 2);
    if (packet->ihl < 20 || total < packet->ihl || ETHERNET + total > packet->length)
        return FALSE;
    packet->end = ETHERNET + total;
    packet->fragment = (get16(ip + 6) & 0x3fff) != 0;
    memset(&packet->tuple, 0, sizeof packet->tuple);
    packet->tuple.protocol = ip[9];
    packet->tuple.local = get32(ip + (packet->outbound ? 12 : 16));
    packet->tuple.remote = get32(ip + (packet->outbound ? 16 : 12));
    packet->thl = 0;
    const uint8_t *transport = ip + packet->ihl;
    size_t room = total - packet->ihl;
    if (!packet->fragment && ip[9] == IPPROTO_TCP && room >= 20)
        packet->thl = (transport[12] >> 4) * 4u;
    else if (!packet->fragment && ip[9] == IPPROTO_UDP && room >= 8)
        packet->thl = 8;
    if (packet->thl > room || (ip[9] == IPPROTO_TCP && packet->thl && packet->thl < 20))
        return FALSE;
    if (packet->thl) {
        packet->tuple.local_port = get16(transport + (packet->outbound ? 0 : 2));
        packet->tuple.remote_port = get16(transport + (packet->outbound ? 2 : 0));
    } else if (ip[9] == IPPROTO_ICMP && room >= 8 && !packet->fragment) { /* type and code stand in for the ports */
        packet->tuple.local_port = transport[0];
        packet->tuple.remote_port = transport[1];
    }
    packet->payload = ETHERNET + packet->ihl + packet->thl;
    return TRUE;
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
        nbl_release(packet->nbl);
        mem_free(packet);
    }
}

uint8_t *packet_tcp(struct packet *packet)
{
    return packet->tuple.protocol == IPPROTO_TCP && packet->thl ? packet->frame + packet->ip + packet->ihl : NULL;
}

void packet_fix_sums(struct packet *packet)
{
    uint8_t *ip = packet->frame + packet->ip, *transport = ip + packet->ihl;
    size_t size = packet->end - packet->ip - packet->ihl;
    put16(ip + 10, 0);
    put16(ip + 10, ip_checksum(ip, packet->ihl, 0));
    if (!packet->thl)
        return;
    uint8_t *sum = transport + (ip[9] == IPPROTO_TCP ? 16 : 6);
    UINT32 pseudo = ip[9] + (UINT32)size;
    for (int i = 12; i < 20; i += 2)
        pseudo += get16(ip + i);
    put16(sum, 0);
    UINT16 value = ip_checksum(transport, size, pseudo);
    put16(sum, ip[9] == IPPROTO_UDP && !value ? 0xffff : value);
}

void packet_rewrite(struct packet *packet, BOOL source, UINT32 address, UINT16 port)
{
    uint8_t *ip = packet->frame + packet->ip;
    put32(ip + (source ? 12 : 16), address);
    if (packet->thl)
        put16(ip + packet->ihl + (source ? 0 : 2), port);
    packet_fix_sums(packet);
    packet_parse(packet);
}
