/* Headers and checksums of a packet in one piece of memory. SPDX-License-Identifier: MIT */
#include "callout.h"

static UINT32 sum(const UINT8 *bytes, ULONG length, UINT32 start)
{
    ULONG i;
    for (i = 0; i + 1 < length; i += 2)
        start += (UINT32)(bytes[i] << 8 | bytes[i + 1]);
    if (length & 1)
        start += (UINT32)bytes[length - 1] << 8;
    while (start >> 16)
        start = (start & 0xFFFF) + (start >> 16);
    return start;
}

static void put(UINT8 *at, UINT32 value)
{
    at[0] = (UINT8)(value >> 8);
    at[1] = (UINT8)value;
}

BOOLEAN packet_transport(const UINT8 *bytes, ULONG length, UINT8 *protocol, ULONG *offset)
{
    if (length >= 20 && bytes[0] >> 4 == 4) {
        *protocol = bytes[9];
        *offset = (ULONG)(bytes[0] & 15) * 4;
        /* Of a fragment only the first has a transport header, and none has all that its checksum is about. */
        return *offset >= 20 && *offset <= length && !((bytes[6] & 0x3F) | bytes[7]);
    }
    if (length >= 40 && bytes[0] >> 4 == 6) {
        UINT8 next = bytes[6];
        ULONG at = 40;
        while ((next == IPPROTO_HOPOPTS || next == IPPROTO_ROUTING || next == IPPROTO_DSTOPTS) && at + 8 <= length) {
            next = bytes[at];
            at += ((ULONG)bytes[at + 1] + 1) * 8;
        }
        *protocol = next;
        *offset = at;
        return next != IPPROTO_FRAGMENT && at <= length;
    }
    return FALSE;
}

void packet_ip_checksum(UINT8 *bytes, ULONG length)
{
    put(bytes + 10, 0);
    put(bytes + 10, ~sum(bytes, length, 0) & 0xFFFF);
}

void packet_checksums(UINT8 *bytes, ULONG length, UINT8 family, const UINT8 *source, const UINT8 *destination,
                      UINT8 protocol)
{
    ULONG size = family == 4 ? 4 : 16;
    BOOLEAN icmp = protocol == (family == 4 ? IPPROTO_ICMP : IPPROTO_ICMPV6);
    ULONG at = icmp ? 2 : protocol == IPPROTO_TCP ? 16 : 6;
    UINT32 total = 0;

    if (protocol == IPPROTO_TCP ? length < 20 : (protocol != IPPROTO_UDP && !icmp) || length < 8)
        return;
    if (protocol == IPPROTO_UDP) { /* what follows the datagram in its packet is none of its checksum's */
        ULONG own = (ULONG)(bytes[4] << 8 | bytes[5]);
        if (own >= 8 && own < length)
            length = own;
    }
    put(bytes + at, 0);
    if (!icmp || family == 6) { /* IPv4's ICMP has no pseudo header */
        total = sum(source, size, 0);
        total = sum(destination, size, total);
        total += protocol + (length & 0xFFFF) + (length >> 16);
    }
    total = ~sum(bytes, length, total) & 0xFFFF;
    put(bytes + at, total || protocol != IPPROTO_UDP ? total : 0xFFFF); /* in UDP zero says: none */
}

ULONG packet_replace(UINT8 *bytes, ULONG length, const WFPCALLOUT_RULE *rule)
{
    ULONG i, replaced = 0;
    for (i = 0; i + rule->pattern_length <= length;) {
        if (RtlCompareMemory(bytes + i, rule->pattern, rule->pattern_length) == rule->pattern_length) {
            RtlCopyMemory(bytes + i, rule->replacement, rule->pattern_length);
            i += rule->pattern_length;
            replaced++;
        } else {
            i++;
        }
    }
    return replaced;
}
