/*
 * TCP towards both ends of a carried flow. The engine answers each sender in the receiver's name and sends to each
 * receiver in the sender's: with their ports, their initial sequence numbers and the window scale and maximum segment
 * size that they announced. The handshake itself went through untouched. Where time stamps were agreed, segments carry
 * the newest one of whom they speak for. Selective acknowledgements are neither made nor used, which who agreed to them
 * has to bear. There is no congestion control: between the engine and either end lies nothing that congests.
 *
 * SPDX-License-Identifier: MIT
 */
#include <string.h>

#include "stream.h"

enum {
    MSS_DEFAULT = 536,
    MSS_MAX = 1460,
    AHEAD_MAX = 512, /* pieces */
    TIMEOUT_FIRST_MS = 300,
    TIMEOUT_MAX_MS = 3000,
    TRIES_MAX = 12,
    REPEATS = 3,
    STAMP_OPTION = 12, /* with two bytes of padding in front */
    HEADERS_MAX = ETHERNET + 40 + 20 + STAMP_OPTION,
};

static int32_t ahead_of(UINT32 a, UINT32 b)
{
    return (int32_t)(a - b);
}

UINT32 tcp_read_options(const uint8_t *tcp, size_t size, struct side *side)
{
    BOOL syn = tcp[13] & TCP_SYN_BIT;
    if (syn)
        side->mss = MSS_DEFAULT;
    for (size_t i = 20; i < size && tcp[i];) {
        if (tcp[i] == 1) {
            i++;
            continue;
        }
        if (i + 1 >= size || tcp[i + 1] < 2 || i + tcp[i + 1] > size)
            break;
        if (tcp[i] == 2 && tcp[i + 1] == 4 && syn) {
            side->mss = get16(tcp + i + 2);
        } else if (tcp[i] == 3 && tcp[i + 1] == 3 && syn) {
            side->has_scale = TRUE;
            side->scale = tcp[i + 2] > 14 ? 14 : tcp[i + 2];
        } else if (tcp[i] == 8 && tcp[i + 1] == 10) {
            side->has_stamps = TRUE;
            return get32(tcp + i + 2);
        }
        i += tcp[i + 1];
    }
    return 0;
}

static BOOL uses_stamps(const struct stream *s)
{
    return s->side[GOING_OUT].has_stamps && s->side[COMING_IN].has_stamps;
}

/* Shift of the windows that the sender of this direction announces. */
static unsigned scale_of(const struct stream *s, int direction)
{
    return s->side[GOING_OUT].has_scale && s->side[COMING_IN].has_scale ? s->side[direction].scale : 0;
}

static size_t segment_max(const struct stream *s, int direction)
{
    size_t mss = s->side[!direction].mss;
    size_t most = WIRE_MTU - 20 - (s->tuple.local.family == FAMILY_V6 ? 40 : 20); /* whatever they say, or it is cut */
    mss = mss < 64 ? 64 : mss > most ? most : mss;
    return mss - (uses_stamps(s) ? STAMP_OPTION : 0);
}

static void note_stamp(struct stream *s, int direction, const struct packet *p)
{
    const uint8_t *tcp = p->frame + p->ip + p->ihl;
    struct side seen = {0};
    UINT32 stamp = tcp_read_options(tcp, p->thl, &seen);
    if (seen.has_stamps && (ahead_of(stamp, s->side[direction].stamp) > 0 || !s->side[direction].stamp))
        s->side[direction].stamp = stamp;
}

void tcp_note(struct stream *s, int direction, struct packet *p)
{
    const uint8_t *tcp = packet_tcp(p);
    struct side *side = &s->side[direction];
    struct half *other = &s->half[!direction];
    if (tcp[13] & TCP_SYN_BIT) {
        side->has_scale = side->has_stamps = FALSE;
        side->scale = 0;
        side->stamp = tcp_read_options(tcp, p->thl, side);
        side->window = get16(tcp + 14);
        s->half[direction].acknowledged = get32(tcp + 4);
    } else {
        side->window = (UINT32)get16(tcp + 14) << scale_of(s, direction);
        note_stamp(s, direction, p);
    }
    if ((tcp[13] & TCP_ACK) && ((tcp[13] & TCP_SYN_BIT) || ahead_of(get32(tcp + 8), other->acknowledged) > 0))
        other->acknowledged = get32(tcp + 8);
}

void tcp_take_over(struct stream *s)
{
    for (int d = 0; d < DIRECTIONS; d++) {
        struct half *h = &s->half[d];
        UINT32 at = d == GOING_OUT ? s->flow->next_out : s->flow->next_in;
        h->base = h->next = h->sent_first = h->sent_next = h->sent_most = at;
        h->window = s->side[!d].window;
        h->edge = h->acknowledged + h->window;
        if (ahead_of(h->edge, at) < 0)
            h->edge = at;
        h->window_sequence = d == GOING_OUT ? s->flow->next_in : s->flow->next_out;
        h->window_acknowledge = h->acknowledged;
        h->timeout_ms = TIMEOUT_FIRST_MS;
    }
}

static UINT32 acknowledgement(const struct half *h)
{
    return ahead_of(h->acknowledged, h->base) < 0 ? h->acknowledged : h->next + (h->fin_taken ? 1 : 0);
}

/* How much more its sender may send. What waits in the stages may fill the 8 MB, what was decided has a smaller bound. */
static UINT32 room(const struct stream *s, int d)
{
    const struct half *h = &s->half[d];
    size_t held = stages_hold(s, d);
    if (stages_deferred(s, d))
        return held < DEFER_MAX ? (UINT32)(DEFER_MAX - held) : 0; /* W289: closes as it fills */
    size_t hold = held < HOLD_MAX ? HOLD_MAX + DEFER_MAX - held : 0;
    size_t queue = h->queue.size < QUEUE_MAX ? QUEUE_MAX - h->queue.size : 0;
    return (UINT32)(hold < queue ? hold : queue);
}

/* The window as it goes into a header; never takes back what was offered. */
static UINT16 offer(struct stream *s, int d)
{
    struct half *h = &s->half[d];
    unsigned scale = scale_of(s, !d);
    UINT32 space = room(s, d), promised = ahead_of(h->edge, h->next) > 0 ? h->edge - h->next : 0;
    if (space < promised)
        space = promised;
    UINT32 value = space >> scale;
    if (value > 0xffff)
        value = 0xffff;
    if (ahead_of(h->next + (value << scale), h->edge) > 0)
        h->edge = h->next + (value << scale);
    return (UINT16)value;
}

/* ---- sending ---- */

static void emit(struct stream *s, int d, UINT32 sequence, uint8_t flags, const uint8_t *bytes, size_t size, UINT16 urgent)
{
    uint8_t *frame = mem_alloc(HEADERS_MAX + size), *ip = frame + ETHERNET;
    const struct tuple *t = &s->tuple;
    size_t head = 20 + (uses_stamps(s) && !(flags & TCP_RST) ? STAMP_OPTION : 0);
    BOOL out = d == GOING_OUT;
    uint8_t *tcp = ip + ip_header(ip, out ? &t->local : &t->remote, out ? &t->remote : &t->local, IPPROTO_TCP, head + size);
    put16(tcp, out ? t->local_port : t->remote_port);
    put16(tcp + 2, out ? t->remote_port : t->local_port);
    put32(tcp + 4, sequence);
    put32(tcp + 8, acknowledgement(&s->half[!d]));
    tcp[12] = (uint8_t)(head / 4 << 4);
    tcp[13] = flags | TCP_ACK | (urgent ? TCP_URG : 0);
    put16(tcp + 14, offer(s, !d));
    put16(tcp + 18, urgent);
    if (head > 20) {
        static const uint8_t option[] = {1, 1, 8, 10};
        memcpy(tcp + 20, option, sizeof option);
        put32(tcp + 24, s->side[d].stamp);
        put32(tcp + 28, s->side[!d].stamp);
    }
    if (size)
        memcpy(tcp + head, bytes, size);
    stack_frame_for(out, ip, frame);
    struct frame *made = mem_alloc(sizeof *made);
    made->packet = packet_new(frame, (size_t)(tcp - frame) + head + size, out);
    mem_free(frame);
    packet_fix_sums(made->packet);
    *s->frames_end = made;
    s->frames_end = &made->next;
    s->half[!d].acknowledge = FALSE;
}

void tcp_reset(struct stream *s, int d)
{
    emit(s, d, s->half[d].sent_most, TCP_RST, NULL, 0, 0);
}

/* How far one segment from this offset on may reach without mixing urgent bytes with others, and how it is marked. */
static size_t segment_at(const struct chunks *queue, size_t offset, size_t size, BOOL *push, BOOL *urgent)
{
    const struct chunk *chunk = queue->first;
    while (chunk && offset >= chunk->length - chunk->start) {
        offset -= chunk->length - chunk->start;
        chunk = chunk->next;
    }
    size_t reach = 0;
    *push = FALSE;
    *urgent = chunk && chunk->urgent;
    for (; chunk && reach < size && chunk->urgent == *urgent; chunk = chunk->next) {
        reach += chunk->length - chunk->start - offset;
        offset = 0;
        if (reach <= size && chunk->push)
            *push = TRUE;
    }
    return reach < size ? reach : size;
}

/* Sends up to `size` bytes of the queue from an offset; the FIN with the last of them. Gives back how many went. */
static size_t send_from(struct stream *s, int d, size_t offset, size_t size)
{
    struct half *h = &s->half[d];
    uint8_t bytes[MSS_MAX];
    BOOL push, urgent;
    size = segment_at(&h->queue, offset, size < MSS_MAX ? size : MSS_MAX, &push, &urgent);
    chunks_copy(&h->queue, offset, bytes, size);
    BOOL last = offset + size == h->queue.size, fin = h->fin_queued && last;
    emit(s, d, h->sent_first + (UINT32)offset, (uint8_t)((push || last) && size ? TCP_PSH : 0) | (fin ? TCP_FIN : 0), bytes, size,
         urgent ? (UINT16)size : 0);
    UINT32 end = h->sent_first + (UINT32)(offset + size) + (fin ? 1 : 0);
    h->fin_sent = h->fin_sent || fin;
    if (ahead_of(end, h->sent_next) > 0)
        h->sent_next = end;
    if (ahead_of(end, h->sent_most) > 0)
        h->sent_most = end;
    return size;
}

static void arm(struct half *h)
{
    BOOL outstanding = h->sent_most != h->sent_first;
    BOOL stalled = h->queue.size && !h->window;
    h->deadline = outstanding || stalled ? stream_now() + h->timeout_ms : 0;
}

static void output(struct stream *s, int d)
{
    struct half *h = &s->half[d];
    size_t max = segment_max(s, d);
    BOOL sent = FALSE;
    if (h->again && (h->queue.size || (h->fin_queued && !h->fin_settled))) {
        send_from(s, d, 0, max);
        sent = TRUE;
    }
    h->again = FALSE;
    for (;;) {
        size_t flight = h->sent_next - h->sent_first, window = h->window;
        if (h->fin_settled || flight > h->queue.size)
            break; /* the FIN is on its way */
        size_t waits = h->queue.size - flight, may = window > flight ? window - flight : 0;
        if (h->probe && !may)
            may = 1;
        h->probe = FALSE;
        if (may > max)
            may = max;
        if (waits && !may)
            break;
        if (!waits && !h->fin_queued)
            break;
        send_from(s, d, flight, waits < may ? waits : may);
        sent = TRUE;
    }
    if (sent || !h->deadline)
        arm(h);
}

void tcp_output(struct stream *s)
{
    for (int d = 0; d < DIRECTIONS; d++)
        output(s, d);
    for (int d = 0; d < DIRECTIONS; d++) {
        struct half *h = &s->half[d];
        size_t two = 2 * segment_max(s, !d);
        BOOL shut = ahead_of(h->edge, h->next) < (int32_t)two;
        if (h->acknowledge || (shut && !h->fin_taken && room(s, d) >= two)) /* it is told that there is room again */
            emit(s, !d, s->half[!d].sent_most, 0, NULL, 0, 0);
    }
}

BOOL tcp_timers(struct stream *s, UINT64 now)
{
    BOOL due = FALSE;
    for (int d = 0; d < DIRECTIONS; d++) {
        struct half *h = &s->half[d];
        if (!h->deadline || now < h->deadline)
            continue;
        due = TRUE;
        h->deadline = 0;
        h->timeout_ms = h->timeout_ms * 2 < TIMEOUT_MAX_MS ? h->timeout_ms * 2 : TIMEOUT_MAX_MS;
        BOOL outstanding = h->sent_most != h->sent_first;
        if (outstanding && h->window && ++h->tries > TRIES_MAX) {
            s->aborted = TRUE;
            s->end = "no answer to its segments";
            continue;
        }
        h->repeats = 0;
        h->recovering = FALSE;
        h->sent_next = h->sent_first; /* all of it once more: who lost one may have lost the rest */
        h->probe = TRUE;
    }
    return due;
}

/* ---- receiving ---- */

static void advance(struct half *h, UINT32 to)
{
    size_t bytes = to - h->sent_first, data = bytes < h->queue.size ? bytes : h->queue.size;
    chunks_drop(&h->queue, data);
    if (bytes > data)
        h->fin_settled = TRUE;
    h->sent_first = to;
    if (ahead_of(h->sent_next, to) < 0)
        h->sent_next = to;
    if (h->recovering && ahead_of(to, h->recover) < 0)
        h->again = TRUE; /* the next hole */
    else
        h->recovering = FALSE;
    h->repeats = h->tries = 0;
    h->timeout_ms = TIMEOUT_FIRST_MS;
    h->deadline = 0;
    arm(h);
}

/* An acknowledgement by the receiver of this half. */
static void acknowledged(struct half *h, UINT32 sequence, UINT32 ack, UINT32 window, BOOL empty)
{
    if (ahead_of(ack, h->base) < 0) { /* of what was before the engine's time: the sender has to hear of it */
        if (ahead_of(ack, h->acknowledged) > 0) {
            h->acknowledged = ack;
            h->acknowledge = TRUE;
        }
        h->window = window;
        return;
    }
    if (ahead_of(h->acknowledged, h->base) < 0) {
        h->acknowledged = h->base;
        h->acknowledge = TRUE;
    }
    if (ahead_of(ack, h->sent_first) < 0 || ahead_of(ack, h->sent_most) > 0)
        return;
    BOOL same = window == h->window;
    if (ahead_of(sequence, h->window_sequence) > 0 ||
        (sequence == h->window_sequence && ahead_of(ack, h->window_acknowledge) >= 0)) {
        h->window = window;
        h->window_sequence = sequence;
        h->window_acknowledge = ack;
    }
    if (ack != h->sent_first) {
        advance(h, ack);
    } else if (empty && same && h->sent_most != h->sent_first && ++h->repeats == REPEATS && !h->recovering) {
        h->again = h->recovering = TRUE;
        h->recover = h->sent_most;
    }
}

static void keep(struct half *h, UINT32 sequence, const uint8_t *bytes, size_t size, size_t urgent, BOOL push)
{
    struct piece **at = &h->ahead;
    while (*at && ahead_of((*at)->sequence, sequence) < 0)
        at = &(*at)->next;
    if (*at && (*at)->sequence == sequence && (*at)->size >= size)
        return;
    if (h->ahead_count >= AHEAD_MAX && sequence != h->next) /* what closes the hole is taken, or nothing ever goes on */
        return;
    struct piece *piece = mem_alloc(sizeof *piece + size);
    piece->sequence = sequence;
    piece->size = size;
    piece->urgent = urgent;
    piece->push = push;
    memcpy(piece->bytes, bytes, size);
    piece->next = *at;
    *at = piece;
    h->ahead_count++;
}

static void join(struct stream *s, int d)
{
    struct half *h = &s->half[d];
    struct chunks *to = stage_input(s, s->stages, d);
    while (h->ahead && ahead_of(h->ahead->sequence, h->next) <= 0) {
        struct piece *piece = h->ahead;
        size_t known = h->next - piece->sequence;
        h->ahead = piece->next;
        h->ahead_count--;
        if (known < piece->size) {
            size_t urgent = piece->urgent > known ? piece->urgent - known : 0;
            BOOL all = known + urgent == piece->size;
            chunks_add(to, piece->bytes + known, urgent, piece->push && all, TRUE);
            chunks_add(to, piece->bytes + known + urgent, piece->size - known - urgent, piece->push, FALSE);
            h->next += (UINT32)(piece->size - known);
        }
        mem_free(piece);
    }
    if (h->fin_known && !h->fin_taken && h->next == h->fin_at) {
        h->fin_taken = TRUE;
        stage_feed_fin(s, s->stages, d);
    }
}

static void take_payload(struct stream *s, int d, UINT32 sequence, const uint8_t *bytes, size_t size, size_t urgent, uint8_t flags)
{
    struct half *h = &s->half[d];
    BOOL fin = flags & TCP_FIN;
    h->acknowledge = TRUE; /* whatever it brings, the sender wants to hear where we are */
    if (ahead_of(sequence, h->base) < 0 && ahead_of(h->acknowledged, h->base) < 0 && size) {
        size_t old = h->base - sequence; /* sent again from before the engine's time: on as it is */
        emit(s, d, sequence, flags & TCP_PSH, bytes, old < size ? old : size, 0);
    }
    if (ahead_of(sequence, h->next) < 0) {
        size_t known = h->next - sequence;
        if (known > size || (known == size && !fin))
            return;
        bytes += known;
        size -= known;
        urgent = urgent > known ? urgent - known : 0;
        sequence = h->next;
    }
    if (h->fin_taken)
        return;
    UINT32 limit = h->next + room(s, d), end = ahead_of(limit, h->edge) > 0 ? limit : h->edge;
    if (ahead_of(sequence + (UINT32)size, end) > 0) {
        if (ahead_of(end, sequence) <= 0)
            return;
        size = end - sequence;
        fin = FALSE;
    }
    if (fin) {
        h->fin_known = TRUE;
        h->fin_at = sequence + (UINT32)size;
    }
    if (size)
        keep(h, sequence, bytes, size, urgent < size ? urgent : size, (flags & TCP_PSH) != 0);
    join(s, d);
}

void tcp_receive(struct stream *s, int d, struct packet *p)
{
    const uint8_t *tcp = packet_tcp(p);
    struct half *h = &s->half[d];
    UINT32 sequence = get32(tcp + 4);
    size_t size = p->end - p->payload;
    uint8_t flags = tcp[13];
    note_stamp(s, d, p);
    if (flags & TCP_RST) {
        int32_t where = ahead_of(sequence, h->next);
        if (where >= -1 && ahead_of(sequence, h->edge) <= 0)
            h->reset = TRUE;
        return;
    }
    if (flags & TCP_SYN_BIT) { /* a late one of the handshake */
        h->acknowledge = TRUE;
        return;
    }
    if (flags & TCP_ACK)
        acknowledged(&s->half[!d], sequence, get32(tcp + 8), (UINT32)get16(tcp + 14) << scale_of(s, d), !size && !(flags & TCP_FIN));
    if (size || (flags & TCP_FIN) || ahead_of(sequence, h->next) < 0)
        take_payload(s, d, sequence, p->frame + p->payload, size, flags & TCP_URG ? get16(tcp + 18) : 0, flags);
}

void tcp_free(struct stream *s)
{
    for (int d = 0; d < DIRECTIONS; d++) {
        struct half *h = &s->half[d];
        chunks_drop(&h->queue, h->queue.size);
        for (struct piece *piece = h->ahead, *next; piece; piece = next) {
            next = piece->next;
            mem_free(piece);
        }
        h->ahead = NULL;
        h->ahead_count = 0;
    }
}
