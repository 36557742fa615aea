/*
 * Who is on the link: the MAC addresses of peers, learnt from the frames that pass, and the guest's own addresses.
 *
 * SPDX-License-Identifier: MIT
 */
#include <string.h>

#include "stack.h"

static SRWLOCK neighbour_lock = SRWLOCK_INIT; /* the table and the address below */
enum { NEIGHBOURS = 64 };
static struct {
    struct address address;
    uint8_t mac[6];
} neighbours[NEIGHBOURS];
static unsigned neighbour_next;
static uint8_t gateway_mac[6];

const struct address *wire_address(uint8_t family)
{
    for (unsigned i = 0; i < GUEST_ADDRESSES; i++)
        if (wire.guest[i].family == family && !address_is_link_local(&wire.guest[i]))
            return &wire.guest[i];
    return NULL;
}

BOOL wire_is_guest(const struct address *address)
{
    BOOL own = address_is_loopback(address);
    for (unsigned i = 0; i < GUEST_ADDRESSES && !own; i++)
        own = address_equal(&wire.guest[i], address);
    return own;
}

void neighbour_learn(const struct address *address, const uint8_t *mac)
{
    unsigned i = 0;
    if (mac[0] & 1)
        return;
    AcquireSRWLockExclusive(&neighbour_lock);
    memcpy(gateway_mac, mac, 6);
    while (i < NEIGHBOURS && !address_equal(&neighbours[i].address, address))
        i++;
    if (i == NEIGHBOURS)
        i = neighbour_next++ % NEIGHBOURS;
    neighbours[i].address = *address;
    memcpy(neighbours[i].mac, mac, 6);
    ReleaseSRWLockExclusive(&neighbour_lock);
}

/* Where a multicast address goes on an Ethernet; FALSE for any other. */
static BOOL group_mac(const struct address *peer, uint8_t mac[6])
{
    if (!address_is_multicast(peer))
        return FALSE;
    if (peer->family == FAMILY_V6) {
        mac[0] = mac[1] = 0x33;
        memcpy(mac + 2, peer->bytes + 12, 4);
    } else {
        mac[0] = 0x01;
        mac[1] = 0x00;
        mac[2] = 0x5e;
        memcpy(mac + 3, peer->bytes + 1, 3);
        mac[3] &= 0x7f;
    }
    return TRUE;
}

BOOL stack_frame_for(BOOL outbound, const uint8_t *ip, uint8_t header[ETHERNET])
{
    BOOL v6 = ip[0] >> 4 == 6;
    struct address peer = v6 ? address_of(FAMILY_V6, ip + (outbound ? 24 : 8)) : address_of(FAMILY_V4, ip + (outbound ? 16 : 12));
    uint8_t *to = header + (outbound ? 0 : 6);
    AcquireSRWLockShared(&neighbour_lock);
    const uint8_t *mac = gateway_mac;
    for (unsigned i = 0; i < NEIGHBOURS; i++)
        if (address_equal(&neighbours[i].address, &peer))
            mac = neighbours[i].mac;
    memcpy(to, mac, 6);
    ReleaseSRWLockShared(&neighbour_lock);
    if (outbound)
        group_mac(&peer, to);
    memcpy(header + (outbound ? 6 : 0), wire.guest_mac, 6);
    put16(header + 12, v6 ? 0x86dd : 0x0800);
    return TRUE;
}
