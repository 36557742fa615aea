/* See stream_rig.h. SPDX-License-Identifier: MIT */
#include "stream_rig.h"

enum { PORT = 80, HEAD = ETHERNET + 20, QUEUE = 4096, SYN = 2, ACK = 16, FIN = 1, RST = 4, PSH = 8, URG = 32, ROUNDS = 20000 };

struct end ends[2];
struct impairment impaired;
unsigned long long frames_carried;
UINT64 clock_ms = 1000;
static UINT16 guest_port;
static UINT32 state = 1;

static struct on_wire {
    uint8_t bytes[2048];
    size_t length;
    int to;
} *wire_queue[QUEUE];
static unsigned queued;

static UINT64 clock_now(void)
{
    return clock_ms;
}

void seed(UINT32 number)
{
    state = number * 2654435761u + 1;
}

UINT32 chance(UINT32 below)
{
    state = state * 1664525u + 1013904223u;
    return below ? (state >> 8) % below : 0;
}

/* ---- the wire: both between an end and the engine ---- */

static void put_on_wire(const uint8_t *frame, size_t length, int to)
{
    frames_carried++;
    BOOL impair = impaired.lose || impaired.repeat || impaired.swap;
    unsigned copies = !impair ? 1 : chance(100) < impaired.lose ? 0 : chance(100) < impaired.repeat ? 2 : 1;
    for (unsigned i = 0; i < copies && queued < QUEUE; i++) {
        struct on_wire *made = mem_alloc(sizeof *made);
        memcpy(made->bytes, frame, length);
        made->length = length;
        made->to = to;
        wire_queue[queued++] = made;
        if (queued > 1 && chance(100) < impaired.swap) {
            struct on_wire *before = wire_queue[queued - 2];
            wire_queue[queued - 2] = made;
            wire_queue[queued - 1] = before;
        }
    }
}

static void from_engine_to_link(const uint8_t *frame, size_t length)
{
    put_on_wire(frame, length, SERVER_END);
}

static void from_engine_to_guest(const uint8_t *frame, size_t length)
{
    put_on_wire(frame, length, GUEST_END);
}

enum { TO_ENGINE = 2 };

/* ---- one end ---- */

static void segment_out(int which, uint8_t flags, UINT32 sequence, const uint8_t *bytes, size_t size)
{
    struct end *e = &ends[which], *other = &ends[!which];
    uint8_t frame[2048] = {0}, *ip = frame + ETHERNET, *tcp = ip + 20;
    static const uint8_t stamps[] = {1, 1, 8, 10}, scaled[] = {1, 3, 3, 3};
    size_t head = 20;
    if (e->options) {
        memcpy(tcp + head, stamps, 4);
        put32(tcp + head + 4, ++e->stamp);
        put32(tcp + head + 8, e->stamp_seen);
        head += 12;
        if (flags & SYN) {
            memcpy(tcp + head, scaled, 4);
            head += 4;
        }
    }
    if (flags & SYN) {
        tcp[head] = 2, tcp[head + 1] = 4;
        put16(tcp + head + 2, 1400);
        head += 4;
    }
    memset(frame, 2, 12);
    put16(frame + 12, 0x800);
    ip[0] = 0x45;
    put16(ip + 2, (UINT16)(20 + head + size));
    ip[8] = 64;
    ip[9] = IPPROTO_TCP;
    put32(ip + 12, which == GUEST_END ? GUEST : SERVER);
    put32(ip + 16, which == GUEST_END ? SERVER : GUEST);
    put16(tcp, which == GUEST_END ? guest_port : PORT);
    put16(tcp + 2, which == GUEST_END ? PORT : guest_port);
    put32(tcp + 4, sequence);
    put32(tcp + 8, other->first + 1 + (UINT32)e->in_size + (e->fin_read ? 1 : 0));
    tcp[12] = (uint8_t)(head / 4 << 4);
    tcp[13] = flags;
    UINT32 room = e->room >> (flags & SYN ? 0 : e->scale);
    put16(tcp + 14, (UINT16)(room > 0xffff ? 0xffff : room));
    if (flags & URG)
        put16(tcp + 18, (UINT16)size);
    if (size)
        memcpy(tcp + head, bytes, size);
    struct packet view = {.frame = frame, .length = HEAD + head + size, .outbound = TRUE};
    packet_parse(&view);
    packet_fix_sums(&view);
    put_on_wire(frame, view.length, TO_ENGINE + which);
}

static UINT32 number(const struct end *e, size_t offset)
{
    return e->first + 1 + (UINT32)offset;
}

/* Sends what the window and `from` allow; gives back whether anything went. */
static BOOL transmit(int which)
{
    struct end *e = &ends[which];
    BOOL any = FALSE;
    while (e->sent < e->out_size && e->sent < e->acknowledged + e->window) {
        size_t size = e->segment ? e->segment : 1 + chance(chance(4) ? 1388 : 20);
        size_t left = e->out_size - e->sent, may = e->acknowledged + e->window - e->sent;
        size = size < left ? size : left;
        size = size < may ? size : may;
        segment_out(which, ACK | (size == left ? PSH : 0) | (e->urgent ? URG : 0), number(e, e->sent), e->out + e->sent, size);
        e->sent += size;
        any = TRUE;
        e->wants_to_acknowledge = FALSE;
        if (queued > 64)
            break;
    }
    if (e->fin && e->sent == e->out_size) {
        segment_out(which, ACK | FIN, number(e, e->sent), NULL, 0);
        e->sent++;
        e->fin_sent = any = TRUE;
    }
    if (e->wants_to_acknowledge) {
        e->wants_to_acknowledge = FALSE;
        segment_out(which, ACK, number(e, e->sent), NULL, 0);
        any = TRUE;
    }
    return any;
}

static void deliver(int which, const uint8_t *frame, size_t length)
{
    struct end *e = &ends[which], *other = &ends[!which];
    const uint8_t *tcp = frame + HEAD;
    size_t head = (tcp[12] >> 4) * 4u, size = get16(frame + ETHERNET + 2) - 20u - head;
    UINT32 sequence = get32(tcp + 4), ack = get32(tcp + 8);
    if (e->silent || HEAD + head + size > length)
        return;
    if (e->options && head >= 32 && tcp[22] == 8)
        e->stamp_seen = get32(tcp + 24);
    if (tcp[13] & RST) {
        e->was_reset = TRUE;
        return;
    }
    if (tcp[13] & SYN)
        return;
    size_t acknowledged = ack - number(e, 0);
    if (acknowledged <= e->out_size + 1 && acknowledged >= e->acknowledged) {
        e->acknowledged = acknowledged;
        e->window = (UINT32)get16(tcp + 14) << other->scale;
        if (e->sent < acknowledged)
            e->sent = acknowledged;
    }
    size_t offset = sequence - number(other, 0);
    if (size && offset <= e->in_size && offset + size > e->in_size) {
        size_t known = e->in_size - offset;
        memcpy(e->in + e->in_size, tcp + head + known, size - known);
        e->in_size += size - known;
        e->urgent_seen += (tcp[13] & URG) != 0;
    }
    if ((tcp[13] & FIN) && offset + size == e->in_size)
        e->fin_read = TRUE;
    if (size || (tcp[13] & FIN) || (int32_t)(sequence - number(other, e->in_size)) < 0)
        e->wants_to_acknowledge = TRUE;
}

static BOOL carry_one(void)
{
    if (!queued)
        return FALSE;
    struct on_wire *frame = wire_queue[0];
    queued--;
    memmove(wire_queue, wire_queue + 1, queued * sizeof wire_queue[0]);
    if (frame->to == TO_ENGINE + GUEST_END)
        stack_from_guest(frame->bytes, frame->length);
    else if (frame->to == TO_ENGINE + SERVER_END)
        stack_from_link(frame->bytes, frame->length);
    else
        deliver(frame->to, frame->bytes, frame->length);
    mem_free(frame);
    return TRUE;
}

void stream_step(void)
{
    BOOL any = TRUE;
    for (unsigned round = 0; any && round < ROUNDS; round++) {
        any = FALSE;
        while (carry_one())
            any = TRUE;
        any = transmit(GUEST_END) || any;
        any = transmit(SERVER_END) || any;
        LONG64 before = stats.classifies + stats.injected;
        stream_work();
        any = any || queued || stats.classifies + stats.injected != (UINT64)before;
    }
}

static BOOL waits(const struct end *e)
{
    return e->acknowledged < e->out_size + (e->fin_sent ? 1 : 0);
}

void stream_settle(void)
{
    for (unsigned quiet = 0, round = 0; quiet < 24 && round < 2000; round++) {
        size_t before = ends[0].in_size + ends[1].in_size + ends[0].acknowledged + ends[1].acknowledged;
        stream_step();
        quiet = before == ends[0].in_size + ends[1].in_size + ends[0].acknowledged + ends[1].acknowledged ? quiet + 1 : 0;
        clock_ms += 400;
        for (int i = 0; i < 2; i++)
            if (waits(&ends[i]) && !ends[i].was_reset && !ends[i].silent) { /* its timer: all of it once more */
                ends[i].sent = ends[i].acknowledged;
                if (!ends[i].window && ends[i].sent < ends[i].out_size)
                    segment_out(i, ACK, number(&ends[i], ends[i].sent), ends[i].out + ends[i].sent, 1); /* is there room by now? */
            }
    }
}

void stream_open(UINT16 port, BOOL options)
{
    struct impairment kept = impaired;
    memset(&impaired, 0, sizeof impaired);
    stream_clock = clock_now;
    wire.to_link = from_engine_to_link;
    wire.to_guest = from_engine_to_guest;
    guest_port = port;
    for (int i = 0; i < 2; i++) {
        uint8_t *out = ends[i].out ? ends[i].out : mem_alloc(STREAM_MAX), *in = ends[i].in ? ends[i].in : mem_alloc(STREAM_MAX);
        ends[i] = (struct end){.out = out, .in = in, .window = 0xffff, .room = 0xffff, .options = options};
        ends[i].first = i == GUEST_END ? 0xfffffc00u : 0x7fffff00u; /* the numbers wrap on the way */
        ends[i].stamp = 1000u + 1000000u * (UINT32)i;
    }
    segment_out(GUEST_END, SYN, ends[GUEST_END].first, NULL, 0);
    while (carry_one())
        ;
    ends[SERVER_END].stamp_seen = ends[GUEST_END].stamp;
    ends[SERVER_END].in_size = 0;
    segment_out(SERVER_END, SYN | ACK, ends[SERVER_END].first, NULL, 0);
    while (carry_one())
        ;
    ends[GUEST_END].stamp_seen = ends[SERVER_END].stamp;
    for (int i = 0; i < 2; i++) {
        ends[i].scale = options ? 3 : 0;
        ends[i].room = options ? 200000 : 0xffff;
    }
    segment_out(GUEST_END, ACK, number(&ends[GUEST_END], 0), NULL, 0);
    while (carry_one())
        ;
    impaired = kept;
}

void stream_say(int end, const void *bytes, size_t size)
{
    memcpy(ends[end].out + ends[end].out_size, bytes, size);
    ends[end].out_size += size;
}

void stream_close(int end)
{
    ends[end].fin = TRUE;
}

void stream_cut(void)
{
    while (queued)
        mem_free(wire_queue[--queued]);
    memset(&impaired, 0, sizeof impaired);
    wire.to_link = to_link;
    wire.to_guest = to_guest;
}

BOOL stream_read(int end, const void *bytes, size_t size)
{
    return ends[end].in_size == size && !memcmp(ends[end].in, bytes, size);
}
