/*
 * ICMP and ICMPv6: which messages are errors (they have layers of their own and no flow), which request an answer
 * answers, and the packet that an error quotes.
 *
 * SPDX-License-Identifier: MIT
 */
#include "model.h"

enum { ECHO_REPLY = 0, UNREACHABLE = 3, SOURCE_QUENCH = 4, REDIRECT = 5, ECHO = 8, TIME_EXCEEDED = 11, PARAMETER_PROBLEM = 12,
       TIMESTAMP = 13, TIMESTAMP_REPLY = 14, MASK = 17, MASK_REPLY = 18 };
enum { V6_ECHO = 128, V6_ECHO_REPLY = 129, V6_FIRST_INFORMATIONAL = 128 };

BOOL icmp_is_error(const struct packet *packet)
{
    UINT16 type = packet->tuple.local_port;
    if (!packet_is_icmp(packet) || packet->fragment || packet->end - packet->payload < ICMP_HEADER)
        return FALSE;
    if (packet->tuple.local.family == FAMILY_V6)
        return type < V6_FIRST_INFORMATIONAL;
    return type == UNREACHABLE || type == SOURCE_QUENCH || type == REDIRECT || type == TIME_EXCEEDED || type == PARAMETER_PROBLEM;
}

/* The type of the request that a reply of this type answers; any other type as it is. */
UINT16 icmp_request_type(uint8_t family, UINT16 type)
{
    if (family == FAMILY_V6)
        return type == V6_ECHO_REPLY ? V6_ECHO : type;
    return type == ECHO_REPLY ? ECHO : type == TIMESTAMP_REPLY ? TIMESTAMP : type == MASK_REPLY ? MASK : type;
}

/* What finds a packet's flow: the answer to an ICMP request belongs to the request's. */
struct tuple packet_key(const struct packet *packet)
{
    if (!packet->outbound && packet->tuple.protocol != IPPROTO_TCP && (address_is_many(&packet->tuple.local) || (packet->frame[0] & 1))) /* all of it is one flow (W218) */
        return (struct tuple){.local.family = packet->tuple.local.family, .remote.family = packet->tuple.local.family};
    struct tuple key = packet->tuple;
    if (packet_is_icmp(packet))
        key.local_port = icmp_request_type(key.local.family, key.local_port);
    return key;
}

/* Has this type an identifier and a sequence number behind its checksum? */
BOOL icmp_has_id(uint8_t family, UINT16 type)
{
    UINT16 request = icmp_request_type(family, type);
    return family == FAMILY_V6 ? request == V6_ECHO : request == ECHO || request == TIMESTAMP || request == MASK;
}

/* The addresses, as the guest sees them, of the packet that an error quotes; FALSE when too little of it is there. */
BOOL icmp_embedded(const struct packet *packet, struct tuple *out)
{
    const uint8_t *ip = packet->frame + packet->payload + ICMP_HEADER;
    size_t room = packet->end - packet->payload - ICMP_HEADER, size;
    uint8_t family = packet->tuple.local.family;
    BOOL fragment = FALSE, v6 = family == FAMILY_V6;
    *out = (struct tuple){0};
    if (room < (v6 ? 40u : 20u) || ip[0] >> 4 != (v6 ? 6 : 4))
        return FALSE;
    if (v6) {
        size = 40;
        if (!ipv6_skip_extensions(ip, room, &size, &out->protocol, &fragment))
            return FALSE;
    } else {
        size = (ip[0] & 15u) * 4u;
        out->protocol = ip[9];
        fragment = (get16(ip + 6) & 0x1fff) != 0;
    }
    const uint8_t *source = ip + (v6 ? 8 : 12), *destination = source + address_size(family);
    BOOL sent = !packet->outbound; /* an error that came in quotes what went out */
    out->local = address_of(family, sent ? source : destination);
    out->remote = address_of(family, sent ? destination : source);
    if ((out->protocol == IPPROTO_TCP || out->protocol == IPPROTO_UDP) && !fragment && size + 4 <= room) {
        out->local_port = get16(ip + size + (sent ? 0 : 2));
        out->remote_port = get16(ip + size + (sent ? 2 : 0));
    }
    return TRUE;
}
