/*
 * The management NIC in the engine's path. By itself it is beside it: what a driver blocks does not hit WinRM, as it
 * would on Windows. On request (IOCTL_WFPMODEL_MANAGEMENT) frames are carried between the NIC and a TAP, through the same
 * layers as those of the test NIC; the guest's agent moves the address to the TAP then.
 *
 * Frames of both networks leave the engine by the same functions: the addresses in them say which end they go to.
 *
 * SPDX-License-Identifier: MIT
 */
#include "management.h"

#include <string.h>

#include "linux.h"

enum { FRAME_MAX = 65536 + ETHERNET, ARP = 0x0806, IPV4 = 0x0800 };

static const char nic_name[] = "mgmt0", tap_name[] = "wfpm";
static int64_t nic = -1, tap = -1; /* set once, before `up` */
static uint32_t network, mask;     /* likewise, host order */
static volatile LONG up, starting;

static BOOL inside(const uint8_t *address)
{
    return (get32(address) & mask) == network;
}

BOOL management_owns(const uint8_t *frame, size_t length)
{
    if (!up || length < ETHERNET + 28)
        return FALSE;
    if (get16(frame + 12) == ARP)
        return inside(frame + ETHERNET + 14) || inside(frame + ETHERNET + 24);
    if (get16(frame + 12) == IPV4)
        return inside(frame + ETHERNET + 12) || inside(frame + ETHERNET + 16);
    return FALSE;
}

void management_to_link(const uint8_t *frame, size_t length)
{
    linux_write(nic, frame, length);
}

void management_to_guest(const uint8_t *frame, size_t length)
{
    linux_write(tap, frame, length);
}

static DWORD WINAPI carry_out(void *unused)
{
    static uint8_t frame[FRAME_MAX]; /* by this thread */
    int64_t got;
    (void)unused;
    while ((got = linux_read(tap, frame, sizeof frame)) > 0)
        if (management_owns(frame, (size_t)got)) /* nothing of the kernel's own, as IPv6 */
            stack_from_guest(frame, (size_t)got);
    up = 0;
    model_log("the TAP of the management network is gone");
    return 0;
}

static DWORD WINAPI carry_in(void *unused)
{
    static uint8_t frame[FRAME_MAX]; /* by this thread */
    int outgoing;
    int64_t got;
    (void)unused;
    while ((got = linux_receive(nic, frame, sizeof frame, &outgoing)) > 0)
        if (!outgoing && management_owns(frame, (size_t)got))
            stack_from_link(frame, (size_t)got);
    up = 0;
    model_log("the management NIC is gone");
    return 0;
}

/* The address counts as the guest's own from here on; who looks meanwhile sees none or all of it. */
static void add_guest_address(struct address own)
{
    for (unsigned i = 0; i < GUEST_ADDRESSES; i++)
        if (!wire.guest[i].family) {
            memcpy(wire.guest[i].bytes, own.bytes, sizeof own.bytes);
            MemoryBarrier();
            wire.guest[i].family = own.family;
            return;
        }
}

BOOL management_start(void)
{
    struct address own;
    unsigned prefix;
    uint8_t mac[6];
    int index;
    if (up)
        return TRUE;
    if (!wire.up || InterlockedExchange(&starting, 1))
        return FALSE;
    if (!linux_interface_network(nic_name, &own, &prefix, mac)) {
        model_log("the management NIC %s has no address", nic_name);
        starting = 0;
        return FALSE;
    }
    tap = linux_tap(tap_name, mac);
    nic = tap < 0 ? -1 : linux_packet_socket(nic_name, &index);
    if (tap < 0 || nic < 0) {
        model_log("cannot open %s: errno %d", tap < 0 ? tap_name : nic_name, (int)-(tap < 0 ? tap : nic));
        if (tap >= 0)
            linux_close(tap);
        starting = 0;
        return FALSE;
    }
    mask = prefix ? ~0u << (32 - prefix) : 0;
    network = address_host(&own) & mask;
    add_guest_address(own);
    MemoryBarrier();
    up = 1;
    CloseHandle(CreateThread(NULL, 0, carry_out, NULL, 0, NULL));
    CloseHandle(CreateThread(NULL, 0, carry_in, NULL, 0, NULL));
    model_log("the management network passes the filter engine, between %s and %s", tap_name, nic_name);
    return TRUE;
}
