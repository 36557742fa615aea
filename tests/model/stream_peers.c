/* See stream_peers.h. SPDX-License-Identifier: MIT */
#include "stream_peers.h"

enum { SEGMENT = 1400, AT_ONCE = 16 };

struct peers peers[PEERS];
struct address peers_server[2];

UINT32 peers_chance(struct peers *p, UINT32 below)
{
    p->state = p->state * 1664525u + 1013904223u;
    return below ? (p->state >> 8) % below : 0;
}

/* ---- frames ---- */

static size_t ip_size(const uint8_t *frame)
{
    return get16(frame + 12) == 0x86dd ? 40 : 20;
}

struct peers *peers_of(const uint8_t *frame, size_t length, int to)
{
    BOOL v6 = length > ETHERNET && get16(frame + 12) == 0x86dd;
    size_t ip = length > ETHERNET ? ip_size(frame) : 0;
    if (!ip || length < ETHERNET + ip + 20 || frame[ETHERNET + (v6 ? 6 : 9)] != IPPROTO_TCP)
        return NULL;
    const uint8_t *tcp = frame + ETHERNET + ip;
    UINT16 mine = get16(tcp + (to == LINK_PEER ? 0 : 2)), other = get16(tcp + (to == LINK_PEER ? 2 : 0));
    unsigned slot = mine >= PEER_PORTS ? (mine - PEER_PORTS) / PORTS_OF_ONE : PEERS;
    struct peers *p = slot < PEERS && other == PEER_SERVER_PORT ? &peers[slot] : NULL;
    size_t size = v6 ? 16 : 4;
    const uint8_t *from = frame + ETHERNET + (v6 ? 8 : 12), *onto = from + size, *guest = to == LINK_PEER ? from : onto, *server = to == LINK_PEER ? onto : from;
    BOOL whole = v6 || (frame[ETHERNET] == 0x45 && !(get16(frame + ETHERNET + 6) & 0x3fff));
    struct address a = v6 ? address_of(FAMILY_V6, guest) : address_v4(get32(guest));
    struct address b = v6 ? address_of(FAMILY_V6, server) : address_v4(get32(server));
    return p && whole && address_equal(&a, &p->guest) && address_equal(&b, &p->server) ? p : NULL;
}

static BOOL keep(const uint8_t *frame, size_t length, int to)
{
    struct peers *p = peers_of(frame, length, to);
    if (!p)
        return FALSE;
    struct on_the_way *made = mem_alloc(sizeof *made + length);
    made->to = to;
    made->length = length;
    memcpy(made->bytes, frame, length);
    AcquireSRWLockExclusive(&p->lock);
    if (!p->queue)
        p->queue_end = &p->queue;
    *p->queue_end = made;
    p->queue_end = &made->next;
    ReleaseSRWLockExclusive(&p->lock);
    return TRUE;
}

void peers_to_link(const uint8_t *frame, size_t length)
{
    if (!keep(frame, length, LINK_PEER))
        to_link(frame, length < sizeof last_link ? length : sizeof last_link);
}

void peers_to_guest(const uint8_t *frame, size_t length)
{
    if (!keep(frame, length, GUEST_PEER))
        to_guest(frame, length < sizeof last_guest ? length : sizeof last_guest);
}

size_t peers_segment(const struct peers *p, int from, uint8_t frame[2048], uint8_t flags, UINT32 sequence, UINT32 ack, UINT32 window,
                     const uint8_t *bytes, size_t size)
{
    BOOL guest = from == GUEST_PEER;
    size_t head = flags & PEER_SYN ? 24 : 20;
    memset(frame, 0, 2048);
    memset(frame, 2, 12);
    put16(frame + 12, p->guest.family == FAMILY_V6 ? 0x86dd : 0x800);
    uint8_t *ip = frame + ETHERNET;
    uint8_t *tcp = ip + ip_header(ip, guest ? &p->guest : &p->server, guest ? &p->server : &p->guest, IPPROTO_TCP, head + size);
    put16(tcp, guest ? p->port : PEER_SERVER_PORT);
    put16(tcp + 2, guest ? PEER_SERVER_PORT : p->port);
    put32(tcp + 4, sequence);
    put32(tcp + 8, ack);
    tcp[12] = (uint8_t)(head / 4 << 4);
    tcp[13] = flags;
    put16(tcp + 14, (UINT16)window);
    if (flags & PEER_URG)
        put16(tcp + 18, (UINT16)size);
    if (head > 20) {
        tcp[20] = 2, tcp[21] = 4;
        put16(tcp + 22, SEGMENT);
    }
    if (size)
        memcpy(tcp + head, bytes, size);
    struct packet view = {.frame = frame, .length = (size_t)(tcp - frame) + head + size, .outbound = TRUE};
    packet_parse(&view);
    packet_fix_sums(&view);
    return view.length;
}

void peers_send(int from, const uint8_t *frame, size_t length)
{
    (from == GUEST_PEER ? stack_from_guest : stack_from_link)(frame, length);
}

/* ---- the two ends ---- */

UINT32 peers_number(const struct peer_end *e, size_t offset)
{
    return e->first + 1 + (UINT32)offset;
}

static void segment_out(struct peers *p, int from, uint8_t flags, UINT32 sequence, const uint8_t *bytes, size_t size)
{
    uint8_t frame[2048];
    const struct peer_end *e = &p->end[from], *other = &p->end[!from];
    UINT32 ack = flags & PEER_ACK ? peers_number(other, e->in_size) + (e->fin_read ? 1 : 0) : 0;
    peers_send(from, frame, peers_segment(p, from, frame, flags, sequence, ack, PEER_WINDOW, bytes, size));
}

static void deliver(struct peers *p, int which, const uint8_t *frame, size_t length)
{
    struct peer_end *e = &p->end[which], *other = &p->end[!which];
    const uint8_t *ip = frame + ETHERNET, *tcp = ip + ip_size(frame);
    size_t head = (tcp[12] >> 4) * 4u, total = p->guest.family == FAMILY_V6 ? get16(ip + 4) : get16(ip + 2) - 20u;
    if (head < 20 || total < head || length < (size_t)(tcp - frame) + total || get16(tcp + (which == LINK_PEER ? 0 : 2)) != p->port)
        return; /* the last one: a frame of an earlier conversation with this slot */
    size_t size = total - head;
    UINT32 sequence = get32(tcp + 4);
    if (tcp[13] & PEER_RST) {
        e->was_reset = TRUE;
        return;
    }
    if (tcp[13] & PEER_SYN) {
        if (sequence == other->first)
            e->established = TRUE;
        return;
    }
    size_t acknowledged = get32(tcp + 8) - peers_number(e, 0);
    if (acknowledged <= e->out_size + 1 && acknowledged >= e->acknowledged) {
        e->acknowledged = acknowledged;
        e->window = get16(tcp + 14);
        if (e->sent < acknowledged)
            e->sent = acknowledged;
    }
    size_t offset = sequence - peers_number(other, 0);
    if (size && offset <= e->in_size && offset + size > e->in_size && !e->fin_read) {
        size_t known = e->in_size - offset;
        e->in_size += size - known;
        if (p->took)
            p->took(p, which, tcp + head + known, size - known);
    }
    if ((tcp[13] & PEER_FIN) && offset + size == e->in_size)
        e->fin_read = TRUE;
    if (size || (tcp[13] & PEER_FIN) || offset != e->in_size + (e->fin_read ? 1 : 0))
        e->wants_to_acknowledge = TRUE;
}

BOOL peers_take(struct peers *p)
{
    AcquireSRWLockExclusive(&p->lock);
    struct on_the_way *list = p->queue;
    p->queue = NULL;
    ReleaseSRWLockExclusive(&p->lock);
    for (struct on_the_way *one = list, *next; one; one = next) {
        next = one->next;
        if (peers_chance(p, 100) >= p->lose)
            deliver(p, one->to, one->bytes, one->length);
        mem_free(one);
    }
    return list != NULL;
}

static BOOL transmit(struct peers *p, int which)
{
    struct peer_end *e = &p->end[which];
    BOOL any = FALSE;
    if (e->was_reset || !e->established)
        return FALSE;
    for (unsigned i = 0; i < AT_ONCE && e->sent < e->out_size && e->sent < e->acknowledged + e->window; i++) {
        size_t size = 1 + peers_chance(p, peers_chance(p, 4) ? SEGMENT - 1 : 20), left = e->out_size - e->sent;
        size_t may = e->acknowledged + e->window - e->sent;
        size = size < left ? size : left;
        size = size < may ? size : may;
        segment_out(p, which, PEER_ACK | (size == left ? PEER_PSH : 0), peers_number(e, e->sent), e->out + e->sent, size);
        e->sent += size;
        any = TRUE;
        e->wants_to_acknowledge = FALSE;
    }
    if (e->sent == e->out_size) { /* nothing follows: its FIN */
        segment_out(p, which, PEER_ACK | PEER_FIN, peers_number(e, e->sent), NULL, 0);
        e->sent++;
        e->fin_sent = any = TRUE;
    }
    if (e->wants_to_acknowledge) {
        segment_out(p, which, PEER_ACK, peers_number(e, e->sent), NULL, 0);
        e->wants_to_acknowledge = FALSE;
        any = TRUE;
    }
    return any;
}

BOOL peers_transmit(struct peers *p)
{
    BOOL first = transmit(p, GUEST_PEER), second = transmit(p, LINK_PEER);
    return first || second;
}

void peers_again(struct peers *p)
{
    struct peer_end *guest = &p->end[GUEST_PEER], *link = &p->end[LINK_PEER];
    if (!guest->established) {
        segment_out(p, GUEST_PEER, PEER_SYN, guest->first, NULL, 0);
        if (link->established)
            segment_out(p, LINK_PEER, PEER_SYN | PEER_ACK, link->first, NULL, 0);
        return;
    }
    for (int i = 0; i < 2; i++) {
        struct peer_end *e = &p->end[i];
        if (e->acknowledged < e->sent) /* a shut window is tried, too */
            e->sent = e->acknowledged;
        if (!e->window && e->acknowledged < e->out_size)
            segment_out(p, i, PEER_ACK, peers_number(e, e->acknowledged), e->out + e->acknowledged, 1);
        e->wants_to_acknowledge = TRUE;
    }
}

void peers_open(struct peers *p, UINT16 port, BOOL v6)
{
    p->port = port;
    p->guest = *wire_address(v6 ? FAMILY_V6 : FAMILY_V4);
    p->server = peers_server[v6];
    memset(p->end, 0, sizeof p->end);
    for (int i = 0; i < 2; i++) {
        p->end[i].first = 0u - 1 - peers_chance(p, 60000); /* the numbers wrap on the way */
        p->end[i].window = PEER_WINDOW;
    }
    segment_out(p, GUEST_PEER, PEER_SYN, p->end[GUEST_PEER].first, NULL, 0);
    for (int tries = 0; tries < 3 && !peers_reset(p) && !p->end[GUEST_PEER].established; tries++) {
        peers_take(p);
        if (p->end[LINK_PEER].established)
            segment_out(p, LINK_PEER, PEER_SYN | PEER_ACK, p->end[LINK_PEER].first, NULL, 0);
        peers_take(p);
    }
    p->end[GUEST_PEER].wants_to_acknowledge = TRUE;
}

BOOL peers_done(const struct peers *p)
{
    const struct peer_end *a = &p->end[GUEST_PEER], *b = &p->end[LINK_PEER];
    return a->fin_read && b->fin_read && a->acknowledged == a->out_size + 1 && b->acknowledged == b->out_size + 1;
}

BOOL peers_reset(const struct peers *p)
{
    return p->end[GUEST_PEER].was_reset || p->end[LINK_PEER].was_reset;
}

void peers_close(struct peers *p)
{
    AcquireSRWLockExclusive(&p->lock);
    struct on_the_way *list = p->queue;
    p->queue = NULL;
    ReleaseSRWLockExclusive(&p->lock);
    for (struct on_the_way *one = list, *next; one; one = next) {
        next = one->next;
        mem_free(one);
    }
}
