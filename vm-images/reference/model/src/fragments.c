/*
 * IP fragments. Those that come in are held until their packet is whole (W230); those that the guest's own stack has
 * made are put together too, because on Windows a packet is cut behind the last layer, and cut again here on the way out.
 * A packet whose fragments overlap is dropped with all of them (RFC 5722), as is one that is not whole in time.
 *
 * SPDX-License-Identifier: MIT
 */
#include <string.h>

#include "stack.h"

enum { ASSEMBLIES = 32, DATA_MAX = 65536, BLOCK = 8, WAIT_MS = 30000, HEADER_MAX = 512 };
enum { V4_HEADER = 20, V6_HEADER = 40, V6_FRAGMENT = 44, FRAGMENT_HEADER = 8, MORE_V4 = 0x2000, DONT = 0x4000 };

struct assembly {
    BOOL used, outbound, broken;
    struct address from, to;
    uint8_t protocol; /* IPv4: part of the key; IPv6: what follows the fragment header */
    UINT32 id;
    UINT64 began_ms;
    size_t total, blocks; /* total: 0 until the last fragment is there */
    size_t header_size;   /* 0 until the first fragment is there */
    uint8_t header[ETHERNET + HEADER_MAX];
    uint8_t have[DATA_MAX / BLOCK / 8];
    uint8_t *data;
};

static SRWLOCK fragment_lock = SRWLOCK_INIT; /* the table */
static struct assembly assemblies[ASSEMBLIES];

struct part { /* what a fragment says of itself */
    size_t offset, length, header_size;
    const uint8_t *data;
    BOOL more;
    UINT32 id;
    uint8_t protocol;
    size_t next_at; /* IPv6: where the header before says that a fragment header follows */
};

static BOOL read_v6(const struct packet *packet, struct part *part)
{
    const uint8_t *ip = packet->frame + packet->ip;
    size_t room = packet->end - packet->ip, at = V6_HEADER;
    uint8_t next = ip[6];
    part->next_at = 6;
    while (next == 0 || next == 43 || next == 60) {
        if (at + 8 > room)
            return FALSE;
        next = ip[at];
        part->next_at = at;
        at += (ip[at + 1] + 1u) * 8u;
    }
    if (next != V6_FRAGMENT || at + FRAGMENT_HEADER > room || at > HEADER_MAX)
        return FALSE;
    part->header_size = at;
    part->protocol = ip[at];
    part->offset = get16(ip + at + 2) & 0xfff8;
    part->more = ip[at + 3] & 1;
    part->id = get32(ip + at + 4);
    part->data = ip + at + FRAGMENT_HEADER;
    part->length = room - at - FRAGMENT_HEADER;
    return TRUE;
}

static BOOL read_part(const struct packet *packet, struct part *part)
{
    const uint8_t *ip = packet->frame + packet->ip;
    memset(part, 0, sizeof *part);
    if (ip[0] >> 4 == 6)
        return read_v6(packet, part);
    part->header_size = packet->ihl;
    part->protocol = ip[9];
    part->offset = (get16(ip + 6) & 0x1fffu) * 8u;
    part->more = (get16(ip + 6) & MORE_V4) != 0;
    part->id = get16(ip + 4);
    part->data = ip + packet->ihl;
    part->length = packet->end - packet->ip - packet->ihl;
    return TRUE;
}

static void forget(struct assembly *a)
{
    mem_free(a->data);
    memset(a, 0, sizeof *a);
}

/* By fragment_lock. The oldest one makes room for another. */
static struct assembly *find_or_make(const struct packet *packet, const struct part *part)
{
    const struct tuple *t = &packet->tuple;
    BOOL v6 = t->local.family == FAMILY_V6;
    struct assembly *free_one = NULL, *oldest = &assemblies[0];
    UINT64 now = now_ms();
    for (unsigned i = 0; i < ASSEMBLIES; i++) {
        struct assembly *a = &assemblies[i];
        if (a->used && now - a->began_ms > WAIT_MS)
            forget(a);
        if (!a->used)
            free_one = a;
        else if (a->id == part->id && a->outbound == packet->outbound && (v6 || a->protocol == part->protocol) &&
                 address_equal(&a->from, &t->local) && address_equal(&a->to, &t->remote))
            return a;
        if (a->began_ms < oldest->began_ms)
            oldest = a;
    }
    struct assembly *a = free_one ? free_one : oldest;
    forget(a);
    a->used = TRUE;
    a->outbound = packet->outbound;
    a->from = t->local;
    a->to = t->remote;
    a->id = part->id;
    a->protocol = part->protocol;
    a->began_ms = now;
    a->data = mem_alloc(DATA_MAX);
    return a;
}

/* FALSE: the fragment contradicts those before it. */
static BOOL put(struct assembly *a, const struct packet *packet, const struct part *part)
{
    size_t end = part->offset + part->length, first = part->offset / BLOCK, blocks = (part->length + BLOCK - 1) / BLOCK;
    if (!part->length || (part->more && part->length % BLOCK) || end > DATA_MAX - 1 || (a->total && end > a->total) ||
        (!part->more && a->total) || first + blocks > DATA_MAX / BLOCK)
        return FALSE;
    for (size_t i = first; i < first + blocks; i++) {
        if (a->have[i / 8] >> (i % 8) & 1)
            return FALSE;
        a->have[i / 8] |= (uint8_t)(1u << (i % 8));
    }
    a->blocks += blocks;
    if (!part->more)
        a->total = end;
    memcpy(a->data + part->offset, part->data, part->length);
    if (!part->offset) {
        a->header_size = part->header_size;
        a->protocol = part->protocol;
        memcpy(a->header, packet->frame, ETHERNET + part->header_size);
        if (part->next_at)
            a->header[ETHERNET + part->next_at] = part->protocol;
    }
    return !a->total || a->blocks <= (a->total + BLOCK - 1) / BLOCK; /* none lies behind the last */
}

static struct packet *whole(const struct assembly *a)
{
    size_t size = ETHERNET + a->header_size + a->total;
    BOOL v6 = a->from.family == FAMILY_V6;
    if (a->header_size + a->total - (v6 ? V6_HEADER : 0) > 65535)
        return NULL;
    uint8_t *frame = mem_alloc(size), *ip = frame + ETHERNET;
    memcpy(frame, a->header, ETHERNET + a->header_size);
    memcpy(ip + a->header_size, a->data, a->total);
    if (v6) {
        put16(ip + 4, (UINT16)(a->header_size - V6_HEADER + a->total));
    } else {
        put16(ip + 2, (UINT16)(a->header_size + a->total));
        put16(ip + 6, 0);
        put16(ip + 10, 0);
        put16(ip + 10, ip_checksum(ip, a->header_size, 0));
    }
    struct packet *packet = packet_new(frame, size, a->outbound);
    mem_free(frame);
    return packet;
}

struct packet *fragments_take(const struct packet *fragment)
{
    struct packet *made = NULL;
    struct part part;
    if (!read_part(fragment, &part))
        return NULL;
    AcquireSRWLockExclusive(&fragment_lock);
    struct assembly *a = find_or_make(fragment, &part);
    if (!a->broken && !put(a, fragment, &part)) {
        a->broken = TRUE; /* stays until its time is over, so that no fragment begins anew */
        mem_free(a->data);
        a->data = NULL;
    }
    if (!a->broken && a->total && a->header_size && a->blocks == (a->total + BLOCK - 1) / BLOCK) {
        made = whole(a);
        forget(a);
    }
    ReleaseSRWLockExclusive(&fragment_lock);
    return made;
}

static volatile LONG last_id;

static void send_v4(const uint8_t *frame, size_t head, size_t total, const NET_BUFFER_LIST *origin, frame_sender *send)
{
    uint8_t out[ETHERNET + WIRE_MTU];
    size_t room = (WIRE_MTU - head) / BLOCK * BLOCK;
    for (size_t done = 0; done < total; done += room) {
        size_t part = total - done < room ? total - done : room;
        uint8_t *ip = out + ETHERNET;
        memcpy(out, frame, ETHERNET + head);
        memcpy(ip + head, frame + ETHERNET + head + done, part);
        put16(ip + 2, (UINT16)(head + part));
        put16(ip + 6, (UINT16)(done / BLOCK | (done + part < total ? MORE_V4 : 0)));
        put16(ip + 10, 0);
        put16(ip + 10, ip_checksum(ip, head, 0));
        send(out, ETHERNET + head + part, origin);
    }
}

static void send_v6(const uint8_t *frame, size_t total, const NET_BUFFER_LIST *origin, frame_sender *send)
{
    uint8_t out[ETHERNET + WIRE_MTU];
    size_t head = V6_HEADER + FRAGMENT_HEADER, room = (WIRE_MTU - head) / BLOCK * BLOCK;
    UINT32 id = (UINT32)InterlockedIncrement(&last_id);
    for (size_t done = 0; done < total; done += room) {
        size_t part = total - done < room ? total - done : room;
        uint8_t *ip = out + ETHERNET, *fragment = ip + V6_HEADER;
        memcpy(out, frame, ETHERNET + V6_HEADER);
        memset(fragment, 0, FRAGMENT_HEADER);
        fragment[0] = ip[6];
        ip[6] = V6_FRAGMENT;
        put16(fragment + 2, (UINT16)(done | (done + part < total)));
        put32(fragment + 4, id);
        memcpy(ip + head, frame + ETHERNET + V6_HEADER + done, part);
        put16(ip + 4, (UINT16)(FRAGMENT_HEADER + part));
        send(out, ETHERNET + head + part, origin);
    }
}

/* FALSE: not an IP packet that may be cut. Extension headers of IPv6 are taken for a part of the payload. */
BOOL fragments_send(const uint8_t *frame, size_t length, const NET_BUFFER_LIST *origin, frame_sender *send)
{
    const uint8_t *ip = frame + ETHERNET;
    struct packet view = {.frame = (uint8_t *)(uintptr_t)frame, .length = length, .outbound = TRUE};
    if (!packet_parse(&view) || view.fragment)
        return FALSE;
    if (ip[0] >> 4 == 6)
        send_v6(frame, view.end - ETHERNET - V6_HEADER, origin, send);
    else if (get16(ip + 6) & DONT)
        return FALSE;
    else
        send_v4(frame, view.ihl, view.end - ETHERNET - view.ihl, origin, send);
    return TRUE;
}
