/*
 * Forwarding between two interfaces (W223, W231, W259): the packet is seen at IPFORWARD, its hop count goes down by one,
 * and it leaves by the other interface. Injected packets are not seen again.
 *
 * SPDX-License-Identifier: MIT
 */
#include <string.h>

#include "stack.h"

enum { HOP_LIMIT = 7, TIME_TO_LIVE = 8 };

static BOOL is_beyond(const struct address *to)
{
    const struct second_interface *second = &wire.second;
    unsigned whole = second->prefix / 8, rest = second->prefix % 8;
    if (to->family != second->network.family || second->prefix > address_size(to->family) * 8)
        return FALSE;
    return !memcmp(to->bytes, second->network.bytes, whole) && (!rest || (to->bytes[whole] ^ second->network.bytes[whole]) >> (8 - rest) == 0);
}

/* A packet from the link that is for somebody behind the other interface. */
BOOL forward_wanted(const struct packet *packet)
{
    const struct address *to = &packet->tuple.local;
    return wire.second.to_link && !packet->outbound && is_beyond(to) && !wire_is_guest(to) && !address_is_multicast(to);
}

/* FALSE: it has lived long enough. */
static BOOL take_a_hop(struct packet *packet)
{
    uint8_t *ip = packet->frame + packet->ip, *hops = ip + (ip[0] >> 4 == 6 ? HOP_LIMIT : TIME_TO_LIVE);
    if (*hops <= 1)
        return FALSE;
    --*hops;
    if (ip[0] >> 4 == 4) {
        put16(ip + 10, 0);
        put16(ip + 10, ip_checksum(ip, packet->ihl, 0));
    }
    return TRUE;
}

static void leave_by(struct packet *packet, BOOL second)
{
    if (second) {
        memcpy(packet->frame, wire.second.peer_mac, 6);
        memcpy(packet->frame + 6, wire.second.mac, 6);
        wire.second.to_link(packet->frame, packet->end);
    } else {
        stack_frame_for(TRUE, packet->frame + packet->ip, packet->frame);
        wire.to_link(packet->frame, packet->end);
    }
}

static void forward(struct packet *packet, BOOL second)
{
    struct view view = {.tuple = &packet->tuple, .packet = packet, .show = SHOW_IP, .forwarded_to_second = second};
    BOOL pass = take_a_hop(packet) && view_classify(layer_of(LAYER_IPFORWARD_V4, packet->tuple.local.family), &view).permit;
    if (pass) {
        COUNT(passed_in);
        leave_by(packet, second);
    } else {
        COUNT(dropped_in);
    }
    packet_free(packet);
}

void forward_packet(struct packet *packet)
{
    forward(packet, TRUE);
}

BOOL forward_injected(struct packet *packet)
{
    BOOL beyond = is_beyond(&packet->tuple.local), known = wire.second.to_link != NULL;
    if (known)
        leave_by(packet, beyond);
    packet_free(packet);
    return known;
}

/* Who asks for the guest's address at the second interface is answered here, behind all that it sent before. */
static void answer_arp(const uint8_t *frame, size_t length)
{
    enum { ARP = 0x0806, ARP_SIZE = 28, OPERATION = 6, SENDER = 8, TARGET = 18, TARGET_IP = 24, REQUEST = 1, REPLY = 2 };
    const uint8_t *arp = frame + ETHERNET;
    uint8_t answer[ETHERNET + ARP_SIZE];
    if (length < sizeof answer || get16(frame + 12) != ARP || get16(arp + OPERATION) != REQUEST ||
        memcmp(arp + TARGET_IP, wire.second.network.bytes, 4))
        return;
    memcpy(answer, frame, sizeof answer);
    memcpy(answer, frame + 6, 6);
    memcpy(answer + 6, wire.second.mac, 6);
    put16(answer + ETHERNET + OPERATION, REPLY);
    memcpy(answer + ETHERNET + TARGET, arp + SENDER, 10);
    memcpy(answer + ETHERNET + SENDER, wire.second.mac, 6);
    memcpy(answer + ETHERNET + SENDER + 6, arp + TARGET_IP, 4);
    wire.second.to_link(answer, sizeof answer);
}

void stack_from_second(const uint8_t *frame, size_t length)
{
    struct packet *packet = packet_new(frame, length, FALSE);
    if (!packet) {
        if (length >= ETHERNET)
            memcpy(wire.second.peer_mac, frame + 6, 6);
        answer_arp(frame, length);
        return;
    }
    if (is_beyond(&packet->tuple.local) || wire_is_guest(&packet->tuple.local)) {
        packet_free(packet); /* the guest itself has no business at its second interface */
        return;
    }
    memcpy(wire.second.peer_mac, frame + 6, 6);
    forward(packet, FALSE);
}
