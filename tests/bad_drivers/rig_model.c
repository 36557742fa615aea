/*
 * The model with a wire in memory, for a driver in a process of its own: what is added to fwpkclnt.sys for bad_rig.exe.
 * SPDX-License-Identifier: MIT
 */
#include "../model/rig.h"

void NTAPI ExFreePool(void *block);
void NTAPI RigStart(void);
void NTAPI RigTraffic(void);

void NTAPI RigStart(void)
{
    static const uint8_t mac[6] = {2, 2, 2, 2, 2, 2};
    memcpy(wire.guest_mac, mac, 6);
    wire.to_link = to_link;
    wire.to_guest = to_guest;
    wire.guest[0] = address_v4(GUEST);
    wire.up = 1;
    model_free_pool = ExFreePool;
    inject_start();
    stream_start();
}

/* Datagrams both ways, one of them of a flow that is new; a TCP connection that is opened, used and closed. */
void NTAPI RigTraffic(void)
{
    static char much[1401];
    memset(much, 'x', sizeof much - 1);
    guest_sends(5000, SERVER, 53, IPPROTO_UDP, 0, 0, "hello");
    guest_sends(5000, SERVER, 53, IPPROTO_UDP, 0, 0, "again");
    link_sends(SERVER, 53, 5000, IPPROTO_UDP, 0, 0, "answer");
    link_sends(SERVER, 7000, 5353, IPPROTO_UDP, 0, 0, "new");
    guest_sends(6000, SERVER, 80, IPPROTO_TCP, 2, 1000, "");
    link_sends(SERVER, 80, 6000, IPPROTO_TCP, 0x12, 2000, "");
    guest_sends(6000, SERVER, 80, IPPROTO_TCP, 0x10, 1001, "");
    guest_sends(6000, SERVER, 80, IPPROTO_TCP, 0x18, 1001, "request");
    guest_sends(6000, SERVER, 80, IPPROTO_TCP, 0x18, 1008, much);
    link_sends(SERVER, 80, 6000, IPPROTO_TCP, 0x14, 2001, "");
}
