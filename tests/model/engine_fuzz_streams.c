/*
 * Streams for the fuzz run. Conversations whose segments overlap, lie outside of the windows, wrap around, acknowledge what
 * was never sent, and lie about their lengths; a driver that answers at random, injects, defers, clones and asks for
 * more. Whatever comes, what the engine sends of a stream is one stream: a byte of it never changes when it is sent again.
 *
 * SPDX-License-Identifier: MIT
 */
#include <stdlib.h>

#include "engine_fuzz.h"
#include "stream.h"
#include "stream_peers.h"

enum { TALKS = 4, TEXT = 40000, KEPT = 32, SPAN = 1 << 18, SEGMENT_MAX = 1400 };
enum { NEED_MORE = 1, DROP = 2, DEFER = 3, ALLOW = 4, NO_ACTION_AT_ALL = 9 };
enum { RECEIVE = 0x1, SEND = 0x10000, DISCONNECTS = 0x4 | 0x80000 };

NTSTATUS NTAPI FwpsStreamInjectAsync0(HANDLE, HANDLE, UINT32, UINT64, UINT32, UINT16, UINT32, NET_BUFFER_LIST *, SIZE_T, INJECT_COMPLETE, HANDLE);
NTSTATUS NTAPI FwpsStreamContinue0(UINT64, UINT32, UINT16, UINT32);
NTSTATUS NTAPI FwpsCloneStreamData0(FWPS_STREAM_DATA0 *, HANDLE, HANDLE, ULONG, NET_BUFFER_LIST **);
void NTAPI FwpsDiscardClonedStreamData0(NET_BUFFER_LIST *, UINT32, BOOLEAN);
void NTAPI FwpsCopyStreamDataToBuffer0(const FWPS_STREAM_DATA0 *, void *, SIZE_T, SIZE_T *);
NTSTATUS NTAPI FwpsFlowAbort0(UINT64);

static HANDLE injection;
static UINT64 clock_ms = 1000;
static uint8_t text[TEXT];
static UINT64 talks, segments, shown, edits, let_in, resent;
static UINT16 port_of[TALKS];

static UINT64 clock_now(void)
{
    return clock_ms;
}

/* ---- what the engine has sent ---- */

static struct sent {
    UINT64 flow; /* a SYN among the odd segments begins another one */
    uint8_t bytes[SPAN], known[SPAN];
} *sent[TALKS]; /* by the end that reads, one behind the other */
static SRWLOCK sent_lock = SRWLOCK_INIT; /* guards them, and which conversation they are of: the engine's worker sends, too */

/* What is damaged, or no packet at all, goes by as it came; what the engine sends of a stream is neither. */
static BOOL is_whole(const uint8_t *frame, size_t length)
{
    struct packet view = {.frame = (uint8_t *)frame, .length = length, .outbound = TRUE};
    unsigned version = frame[ETHERNET] >> 4;
    packet_parse(&view);
    return version == (get16(frame + 12) == 0x86dd ? 6 : 4) && view.tuple.protocol == IPPROTO_TCP && packet_transport_sum_is_right(&view);
}

static void __attribute__((noreturn)) tell_changed(const struct sent *s, UINT32 offset, size_t at, const uint8_t *frame, size_t length, size_t size)
{
    printf("what was sent of it before: ");
    for (size_t i = 0; i < size && offset + i < SPAN; i++)
        printf(s->known[offset + i] ? "%02x" : "..", s->bytes[offset + i]);
    printf("\nthe frame now: ");
    for (size_t i = 0; i < length; i++)
        printf("%02x", frame[i]);
    printf("\n");
    broken("a byte of a stream that was sent again has changed: its offset", offset + at);
}

static void hold_locked(const uint8_t *frame, size_t length, int to)
{
    const struct peers *p = peers_of(frame, length, to);
    if (!p || p >= peers + TALKS || !is_whole(frame, length))
        return;
    const uint8_t *ip = frame + ETHERNET, *tcp = ip + (p->guest.family == FAMILY_V6 ? 40 : 20);
    size_t head = (tcp[12] >> 4) * 4u, total = p->guest.family == FAMILY_V6 ? get16(ip + 4) : get16(ip + 2) - 20u;
    struct tuple tuple = {IPPROTO_TCP, p->guest, p->server, p->port, PEER_SERVER_PORT, 0};
    struct flow *flow = flow_find_seen(&tuple);
    UINT64 carried = stream_carries(flow) ? flow->id : 0;
    UINT32 base = carried ? flow->stream->half[to == LINK_PEER ? GOING_OUT : COMING_IN].base : 0;
    flow_release(flow);
    if (!carried || head < 20 || total < head || length < (size_t)(tcp - frame) + total || get16(tcp + (to == LINK_PEER ? 0 : 2)) != p->port)
        return;
    struct sent *s = &sent[p - peers][to];
    s->flow = s->flow ? s->flow : carried;
    if (s->flow != carried)
        return;
    UINT32 offset = get32(tcp + 4) - peers_number(&p->end[!to], 0);
    for (size_t i = 0; i < total - head && offset + i < SPAN; i++) {
        if ((INT32)(get32(tcp + 4) + (UINT32)i - base) < 0)
            continue; /* from before the engine took over: it goes on as it came, and the sender may change it */
        uint8_t byte = tcp[head + i];
        if (s->known[offset + i] && s->bytes[offset + i] != byte)
            tell_changed(s, offset, i, frame, length, total - head);
        resent += s->known[offset + i];
        s->bytes[offset + i] = byte;
        s->known[offset + i] = 1;
    }
}

static void hold_to_it(const uint8_t *frame, size_t length, int to)
{
    AcquireSRWLockExclusive(&sent_lock);
    hold_locked(frame, length, to);
    ReleaseSRWLockExclusive(&sent_lock);
}

static void (*link_before)(const uint8_t *, size_t), (*guest_before)(const uint8_t *, size_t);

static void out_to_link(const uint8_t *frame, size_t length)
{
    link_before(frame, length);
    hold_to_it(frame, length, LINK_PEER);
    peers_to_link(frame, length);
}

static void out_to_guest(const uint8_t *frame, size_t length)
{
    guest_before(frame, length);
    hold_to_it(frame, length, GUEST_PEER);
    peers_to_guest(frame, length);
}

BOOL streams_have(UINT16 port, UINT16 other)
{
    UINT16 low = port < other ? port : other, high = port < other ? other : port;
    return low == PEER_SERVER_PORT && high >= PEER_PORTS && high < PEER_PORTS + TALKS * PORTS_OF_ONE;
}

/* ---- the driver ---- */

static struct kept { /* of what it was shown */
    NET_BUFFER_LIST *chain; /* NULL: nothing is cloned */
    SIZE_T size;
    UINT64 flow;
    UINT32 callout, flags;
    UINT16 layer;
} kept[KEPT];

static void NTAPI clone_done(void *context, NET_BUFFER_LIST *nbl, BOOLEAN dispatch)
{
    (void)context;
    FwpsDiscardClonedStreamData0(nbl, 0, dispatch);
}

static void NTAPI own_done(void *context, NET_BUFFER_LIST *nbl, BOOLEAN dispatch)
{
    (void)context, (void)dispatch;
    nbl_release(nbl);
}

static UINT32 some_flags(UINT32 flags)
{
    if (chance(8))
        return chance(4) ? flags & ~(UINT32)DISCONNECTS : flags;
    return (UINT32)chance(2) << 16 | (UINT32)chance(32) | (UINT32)chance(16) << 16;
}

static void say(const struct kept *to)
{
    size_t size = chance(4) ? chance(40) : chance(9000), claimed = chance(20) ? size : size + chance(70000);
    uint8_t *bytes = mem_alloc(size + 1);
    memset(bytes, 'I', size);
    NET_BUFFER_LIST *list = nbl_wrap(bytes, size + 1, 0, size);
    if (!FwpsStreamInjectAsync0(injection, NULL, 0, to->flow, to->callout, to->layer, some_flags(to->flags), list, claimed, own_done, NULL))
        edits++;
    else
        nbl_release(list);
}

static void discard(struct kept *one)
{
    if (one->chain)
        FwpsDiscardClonedStreamData0(one->chain, 0, FALSE);
    one->chain = NULL;
}

static void let_go(struct kept *one)
{
    if (one->chain && !FwpsStreamInjectAsync0(injection, NULL, 0, one->flow, one->callout, one->layer, some_flags(one->flags), one->chain,
                                              one->size, clone_done, NULL)) {
        one->chain = NULL;
        let_in++;
    }
    discard(one);
}

void streams_edit(const FWPS_INCOMING_VALUES0 *values, const FWPS_INCOMING_METADATA_VALUES0 *m, FWPS_STREAM_CALLOUT_IO_PACKET0 *io,
                  const FWPS_FILTER1 *filter, FWPS_CLASSIFY_OUT0 *out)
{
    static uint8_t copy[SPAN];
    SIZE_T copied = 0, length = io->streamData->dataLength;
    struct kept *one = &kept[chance(KEPT)], now = {.size = length, .flow = m->flowHandle, .callout = filter->action.calloutId,
                                                   .flags = io->streamData->flags, .layer = values->layerId};
    shown++;
    FwpsCopyStreamDataToBuffer0(io->streamData, copy, sizeof copy, &copied);
    if (copied != (length < sizeof copy ? length : sizeof copy))
        broken("bytes of a stream that can be copied", copied);
    out->actionType = ACTION_PERMIT;
    switch (chance(20)) {
    case 0:
    case 1:
        out->actionType = ACTION_BLOCK; /* and the next: of so many bytes */
        /* fall through */
    case 2:
    case 3:
    case 4:
        io->countBytesEnforced = chance(20) ? chance(length + 1) : chance(SPAN);
        break;
    case 5:
        io->streamAction = NEED_MORE;
        io->countBytesRequired = (UINT32)(chance(30) ? chance(3000) : chance(0x100000000));
        out->actionType = ACTION_NONE;
        break;
    case 6:
        io->streamAction = chance(4) ? DEFER : chance(40) ? NO_ACTION_AT_ALL : DROP;
        out->actionType = ACTION_NONE;
        break;
    case 7:
        io->streamAction = chance(60) ? 0 : ALLOW;
        out->actionType = (UINT32)(chance(4) ? ACTION_PERMIT : chance(8));
        break;
    case 8:
    case 9:
        say(&now);
        break;
    case 10:
    case 11:
    case 12:
        out->actionType = ACTION_BLOCK;
        /* fall through */
    case 13:
        discard(one);
        *one = now;
        if (FwpsCloneStreamData0(io->streamData, NULL, NULL, 0, &one->chain))
            broken("stream data that cannot be cloned", length);
        if (!chance(8))
            let_go(one);
        break;
    default:
        break;
    }
    if (!one->chain)
        *one = now;
}

static void driver_step(void)
{
    struct kept *one = &kept[chance(KEPT)];
    UINT64 id;
    switch (chance(40)) {
    case 0:
        if (!chance(20))
            FwpsFlowAbort0(one->flow);
        break;
    case 1: { /* its filters come and go */
        UINT16 layer = chance(2) ? LAYER_STREAM_V4 : LAYER_STREAM_V6;
        if (!add_filter(layer, 200, ACTION_CALLOUT_UNKNOWN, 900 + (layer == LAYER_STREAM_V6), 9, 0, &id))
            FwpmFilterDeleteById0(engine, id);
        break;
    }
    case 2:
    case 3:
    case 4:
        say(one);
        break;
    case 5:
    case 6:
        discard(one);
        break;
    default:
        if (one->chain)
            let_go(one);
        else
            FwpsStreamContinue0(one->flow, one->callout, one->layer, chance(9) ? one->flags : (UINT32)chance(0x100000000));
    }
}

/* ---- the conversations ---- */

static UINT32 close_to(UINT32 number)
{
    switch (chance(10)) {
    case 0:
        return (UINT32)chance(0x100000000);
    case 1:
        return number + 0x7ffffff0u + (UINT32)chance(32);
    case 2:
        return number + PEER_WINDOW + (UINT32)chance(8) - 4;
    case 3:
    case 4:
        return number - (UINT32)chance(3000);
    case 5:
    case 6:
        return number + (UINT32)chance(3000);
    case 7:
        return number + (UINT32)chance(4) - 2;
    default:
        return number;
    }
}

static void odd_segment(struct peers *p)
{
    static uint8_t frame[2048 + 2048], payload[SEGMENT_MAX];
    int from = (int)chance(2);
    const struct peer_end *e = &p->end[from], *other = &p->end[!from];
    UINT32 sequence = close_to(peers_number(e, chance(2) ? e->sent : e->acknowledged));
    UINT32 ack = chance(4) ? peers_number(other, other->in_size) : close_to(peers_number(other, other->in_size));
    size_t size = chance(4) ? chance(chance(3) ? 60 : SEGMENT_MAX) : 0, offset = sequence - peers_number(e, 0);
    UINT8 flags = PEER_ACK;
    if (!chance(5))
        flags = (UINT8)(chance(20) ? chance(64) & ~(UINT64)PEER_RST : chance(64));
    for (size_t i = 0; i < size; i++) /* what the end says there, or nonsense */
        payload[i] = chance(9) && offset + i < e->out_size ? e->out[offset + i] : (uint8_t)chance(256);
    UINT32 window = chance(4) ? PEER_WINDOW : chance(2) ? (UINT32)chance(3) : (UINT32)chance(65536);
    size_t length = peers_segment(p, from, frame, flags, sequence, ack, window, payload, size);
    if (!chance(6))
        length = mutate(frame, length);
    segments++;
    send_frame(frame, length, from == GUEST_PEER ? FROM_GUEST : FROM_LINK);
}

static void begin_one(unsigned slot)
{
    struct peers *p = &peers[slot];
    peers_close(p);
    AcquireSRWLockExclusive(&sent_lock);
    p->port = 0; /* nobody's, until it is open */
    memset(sent[slot], 0, 2 * sizeof *sent[slot]);
    ReleaseSRWLockExclusive(&sent_lock);
    p->state = (UINT32)chance(0x100000000);
    p->lose = chance(3) ? 0 : 10;
    port_of[slot] = (UINT16)((port_of[slot] + 1) % PORTS_OF_ONE);
    peers_open(p, (UINT16)(PEER_PORTS + slot * PORTS_OF_ONE + port_of[slot]), chance(2) != 0);
    for (int i = 0; i < 2; i++) {
        p->end[i].out = text;
        p->end[i].out_size = chance(chance(3) ? 5000 : TEXT);
    }
    talks++;
}

void streams_step(void)
{
    unsigned slot = (unsigned)chance(TALKS);
    struct peers *p = &peers[slot];
    if (!p->port || peers_reset(p) || !p->end[GUEST_PEER].established || !chance(peers_done(p) ? 10 : 400)) {
        begin_one(slot);
        return;
    }
    switch (chance(12)) {
    case 0:
    case 1:
    case 2:
    case 3:
    case 4:
        peers_take(p);
        peers_transmit(p);
        break;
    case 5:
        peers_again(p);
        break;
    case 6:
        driver_step();
        break;
    default:
        odd_segment(p);
    }
    if (!chance(3))
        clock_ms += chance(500);
    stream_work();
}

void streams_set_up(void)
{
    UINT32 id;
    for (unsigned i = 0; i < TEXT; i++)
        text[i] = (uint8_t)(i * 31 % 251);
    for (unsigned i = 0; i < TALKS; i++)
        sent[i] = mem_alloc(2 * sizeof *sent[i]);
    peers_server[0] = address_v4(SERVER + 1);
    peers_server[1] = address_of(FAMILY_V6, "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\5");
    link_before = wire.to_link;
    guest_before = wire.to_guest;
    wire.to_link = out_to_link;
    wire.to_guest = out_to_guest;
    stream_clock = clock_now;
    FwpsInjectionHandleCreate0(AF_UNSPEC, 1 /* stream */, &injection);
    for (unsigned v6 = 0; v6 < 2; v6++) {
        UINT16 layer = v6 ? LAYER_STREAM_V6 : LAYER_STREAM_V4;
        callout(900 + v6);
        add_callout(900 + v6, layer, &id);
        add_filter(layer, 200, ACTION_CALLOUT_UNKNOWN, 900 + v6, 1, 0, NULL);
    }
}

void streams_end(void)
{
    for (unsigned i = 0; i < KEPT; i++)
        discard(&kept[i]);
    stream_work();
    FwpsInjectionHandleDestroy0(injection);
}

void streams_figures(void)
{
    printf(", %llu streams, %llu odd segments, %llu indications, %llu injected into them, %llu let in, %llu bytes sent again",
           (unsigned long long)talks, (unsigned long long)segments, (unsigned long long)shown, (unsigned long long)edits, (unsigned long long)let_in,
           (unsigned long long)resent);
}
