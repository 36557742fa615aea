/*
 * Streams for the stress run. Two drivers: one edits inline (removes, replaces, injects, asks for more, defers, lets go,
 * drops) by filters that come and go, and the other, on every second conversation, blocks every byte, clones it and injects it
 * again from a thread of its own. What the ends send are the letters a to z in their turn, with marks between them that the
 * first driver replaces or removes. So the letters must arrive, all of them, once and in their order, whatever is edited,
 * unless the flow is ended; and no conversation may stand still.
 *
 * SPDX-License-Identifier: MIT
 */
#include <stdlib.h>

#include "engine_stress.h"
#include "stream.h"
#include "stream_peers.h"

enum { FAMILIES = 2, TEXT = 60000, HELD_MAX = 4096, STILL_MS = 40000, GONE_MS = 30000, AGAIN_MS = 400, TRIES = 400 };
enum { NEED_MORE = 1, DROP = 2, DEFER = 3, ALLOW = 4 };
enum { ABORTS = STREAM_RECEIVE_ABORT | STREAM_SEND_ABORT, DISCONNECTS = STREAM_RECEIVE_DISCONNECT | STREAM_SEND_DISCONNECT };
enum { PERMIT_IF_UNREGISTERED = 0x10 }; /* FWPM_FILTER_FLAG_ */

NTSTATUS NTAPI FwpsStreamInjectAsync0(HANDLE, HANDLE, UINT32, UINT64, UINT32, UINT16, UINT32, NET_BUFFER_LIST *, SIZE_T, INJECT_COMPLETE, HANDLE);
NTSTATUS NTAPI FwpsStreamContinue0(UINT64, UINT32, UINT16, UINT32);
NTSTATUS NTAPI FwpsCloneStreamData0(FWPS_STREAM_DATA0 *, HANDLE, HANDLE, ULONG, NET_BUFFER_LIST **);
void NTAPI FwpsDiscardClonedStreamData0(NET_BUFFER_LIST *, UINT32, BOOLEAN);
void NTAPI FwpsCopyStreamDataToBuffer0(const FWPS_STREAM_DATA0 *, void *, SIZE_T, SIZE_T *);

static char texts[4][TEXT];
static volatile LONG64 talks, reached, broken_off, letters, edits, deferred, wanted, held_back, let_in, lists_taken, lists_completed, changes;
static volatile LONG turn, talking = TALKERS; /* of the threads of the ends, those that still do */

static struct talker {
    LONG generation;        /* of the conversation */
    volatile LONG gone;       /* the newest one whose flow has ended */
    unsigned next[2];         /* letter that each end reads next */
    size_t read[2];           /* how many each has read */
    BOOL lost;                /* something else was read */
} talkers[TALKERS];

enum { EDITS, HOLDS, NOTES, KINDS };
static UINT32 ids[KINDS][FAMILIES];
static UINT64 lasting[KINDS][FAMILIES];
static HANDLE injection;

static UINT32 roll(void)
{
    UINT32 state = (UINT32)InterlockedIncrement(&turn) * 2654435761u;
    return state ^ state >> 15;
}

static UINT16 layer_at(unsigned kind, unsigned v6)
{
    return layer_of(kind == NOTES ? LAYER_ALE_FLOW_ESTABLISHED_V4 : LAYER_STREAM_V4, v6 ? FAMILY_V6 : FAMILY_V4);
}

static UINT16 local_port(const FWPS_INCOMING_VALUES0 *values)
{
    const struct layer_fact *layer = layer_by_id(values->layerId);
    for (UINT32 i = 0; i < layer->field_count; i++)
        if (layer->fields[i].condition == COND_IP_LOCAL_PORT)
            return values->incomingValue[i].value.uint16;
    broken("a layer without ports", values->layerId);
}

/* ---- lists of the drivers' own ---- */

static void NTAPI list_done(void *context, NET_BUFFER_LIST *nbl, BOOLEAN dispatch)
{
    (void)context;
    InterlockedIncrement64(&lists_completed);
    FwpsDiscardClonedStreamData0(nbl, 0, dispatch);
}

static void NTAPI own_done(void *context, NET_BUFFER_LIST *nbl, BOOLEAN dispatch)
{
    (void)context, (void)dispatch;
    InterlockedIncrement64(&lists_completed);
    nbl_release(nbl);
}

static BOOL say(const FWPS_INCOMING_VALUES0 *values, UINT64 flow, UINT32 flags, const char *bytes, size_t size)
{
    uint8_t *copy = mem_alloc(size);
    memcpy(copy, bytes, size);
    NET_BUFFER_LIST *list = nbl_wrap(copy, size, 0, size);
    InterlockedIncrement64(&lists_taken);
    if (!FwpsStreamInjectAsync0(injection, NULL, 0, flow, ids[EDITS][layer_is_v6(values->layerId)], values->layerId, flags & ~(UINT32)DISCONNECTS,
                                list, size, own_done, NULL))
        return TRUE;
    InterlockedDecrement64(&lists_taken);
    nbl_release(list);
    return FALSE;
}

/* What the drivers' thread does later, in the order it was asked to. */
static struct later {
    UINT64 flow;
    UINT32 flags;
    UINT16 layer;
    NET_BUFFER_LIST *chain; /* NULL: the stream goes on */
    SIZE_T size;
    unsigned tries;
} held[HELD_MAX];
static unsigned held_first, held_count; /* by held_lock */
static volatile LONG64 asked, done;     /* of all so far: what was asked of the thread, and what it has done */
static SRWLOCK held_lock = SRWLOCK_INIT;

static BOOL later(struct later what)
{
    AcquireSRWLockExclusive(&held_lock);
    BOOL room = held_count < HELD_MAX;
    if (room) {
        held[(held_first + held_count++) % HELD_MAX] = what;
        asked++;
    }
    ReleaseSRWLockExclusive(&held_lock);
    return room;
}

static BOOL next_held(struct later *what)
{
    AcquireSRWLockExclusive(&held_lock);
    BOOL any = held_count != 0;
    if (any) {
        *what = held[held_first];
        held_first = (held_first + 1) % HELD_MAX;
        held_count--;
    }
    ReleaseSRWLockExclusive(&held_lock);
    return any;
}

/* ---- the driver that edits inline ---- */

static void remember(const FWPS_INCOMING_METADATA_VALUES0 *m)
{
    if (m->flowHandle % 8 == 0)
        known[m->flowHandle % KNOWN] = m->flowHandle;
}

/* The mark at the beginning. */
static void edit_mark(const FWPS_INCOMING_VALUES0 *values, UINT64 flow, FWPS_STREAM_CALLOUT_IO_PACKET0 *io, const char *bytes, size_t size,
                      FWPS_CLASSIFY_OUT0 *out)
{
    if (bytes[0] == 'P' && size < 3 && !(out->flags & (OUT_FLAG_NO_MORE_DATA | OUT_FLAG_BUFFER_LIMIT_REACHED))) {
        InterlockedIncrement64(&wanted);
        io->streamAction = NEED_MORE;
        io->countBytesRequired = (UINT32)(3 - size) + (roll() % 4 ? 0 : roll() % 40);
        out->actionType = ACTION_NONE;
        return;
    }
    BOOL whole = size >= 3 && !memcmp(bytes, "PPP", 3);
    if (bytes[0] != 'P' && bytes[0] != 'R')
        io->countBytesEnforced = 1;
    else if (bytes[0] == 'P' && !whole)
        io->countBytesEnforced = 1;
    else if (bytes[0] == 'R' || say(values, flow, io->streamData->flags, "XX", 2)) {
        out->actionType = ACTION_BLOCK;
        io->countBytesEnforced = whole ? 3 : 1;
        InterlockedIncrement64(&edits);
    } else {
        io->countBytesEnforced = 3;
    }
}

static void NTAPI edit(const FWPS_INCOMING_VALUES0 *values, const FWPS_INCOMING_METADATA_VALUES0 *m, void *data, const void *c,
                       const FWPS_FILTER1 *filter, UINT64 x, FWPS_CLASSIFY_OUT0 *out)
{
    FWPS_STREAM_CALLOUT_IO_PACKET0 *io = data;
    char bytes[300];
    SIZE_T size = 0;
    UINT32 what = roll() % 4096;
    (void)c, (void)x;
    remember(m);
    out->actionType = ACTION_PERMIT;
    FwpsCopyStreamDataToBuffer0(io->streamData, bytes, sizeof bytes, &size);
    if (size != (io->streamData->dataLength < sizeof bytes ? io->streamData->dataLength : sizeof bytes))
        broken("bytes that can be copied", size);
    if (!size)
        return;
    if (what < 60 && (io->streamData->flags & STREAM_RECEIVE) && later((struct later){.flow = m->flowHandle, .flags = io->streamData->flags, .layer = values->layerId})) {
        InterlockedIncrement64(&deferred);
        io->streamAction = DEFER;
        out->actionType = ACTION_NONE;
    } else if (what == 60 && filter->action.type == ACTION_CALLOUT_UNKNOWN) {
        io->streamAction = DROP;
        out->actionType = ACTION_NONE;
    } else if (what == 61) {
        io->streamAction = ALLOW;
        out->actionType = ACTION_NONE;
    } else {
        if (what < 200 && say(values, m->flowHandle, io->streamData->flags, "INJECTED", 8))
            InterlockedIncrement64(&edits);
        size_t at = 0;
        while (at < size && bytes[at] >= 'a')
            at++;
        if (!at)
            edit_mark(values, m->flowHandle, io, bytes, size, out);
        else
            io->countBytesEnforced = roll() % 8 ? at : 1 + roll() % at;
    }
}

/* ---- the driver that holds back ---- */

static void NTAPI hold(const FWPS_INCOMING_VALUES0 *values, const FWPS_INCOMING_METADATA_VALUES0 *m, void *data, const void *c,
                       const FWPS_FILTER1 *filter, UINT64 x, FWPS_CLASSIFY_OUT0 *out)
{
    FWPS_STREAM_CALLOUT_IO_PACKET0 *io = data;
    NET_BUFFER_LIST *chain;
    (void)c, (void)filter, (void)x;
    remember(m);
    out->actionType = ACTION_PERMIT;
    if (local_port(values) % 2 == 0 || (io->streamData->flags & ABORTS))
        return;
    out->actionType = ACTION_BLOCK;
    if (FwpsCloneStreamData0(io->streamData, NULL, NULL, 0, &chain))
        broken("stream data that cannot be cloned", 0);
    if (!later((struct later){.flow = m->flowHandle, .flags = io->streamData->flags, .layer = values->layerId, .chain = chain, .size = io->streamData->dataLength}))
        broken("more is held back than the windows allow", HELD_MAX);
    InterlockedIncrement64(&held_back);
}

/* A stream that the engine carries takes what was held back of it, until it ends. */
static void check_refused(const struct later *what, NTSTATUS status)
{
    struct flow *flow = flow_find_id(what->flow);
    if (flow && stream_carries(flow)) {
        AcquireSRWLockShared(&flow->stream->lock);
        const char *end = flow->stream->end;
        ReleaseSRWLockShared(&flow->stream->lock);
        if (!end)
            broken("a stream that lives did not take what was held back of it", (UINT32)status);
    }
    flow_release(flow);
}

static void let_go(struct later *what)
{
    LONG64 lists = 0;
    for (const NET_BUFFER_LIST *nbl = what->chain; nbl; nbl = nbl->Next)
        lists++;
    InterlockedAdd64(&lists_taken, lists);
    NTSTATUS status = FwpsStreamInjectAsync0(injection, NULL, 0, what->flow, ids[HOLDS][layer_is_v6(what->layer)], what->layer, what->flags, what->chain,
                                             what->size, list_done, NULL);
    if (!status) {
        InterlockedIncrement64(&let_in);
        return;
    }
    check_refused(what, status);
    InterlockedAdd64(&lists_taken, -lists);
    FwpsDiscardClonedStreamData0(what->chain, 0, FALSE);
}

DWORD WINAPI streams_drive(void *seed)
{
    struct later what;
    (void)seed;
    while (!stop || talking || held_count) { /* who talks has to be let finish */
        if (!next_held(&what)) {
            Sleep(0);
            continue;
        }
        if (what.chain) {
            let_go(&what);
        } else if (FwpsStreamContinue0(what.flow, ids[EDITS][layer_is_v6(what.layer)], what.layer, what.flags) && ++what.tries < TRIES) {
            later(what); /* its classifyFn is on its way back, or the flow has ended */
            SwitchToThread();
        }
        InterlockedIncrement64(&done);
    }
    return 0;
}

/* ---- whose flow has ended ---- */

static void NTAPI note(const FWPS_INCOMING_VALUES0 *values, const FWPS_INCOMING_METADATA_VALUES0 *m, void *d, const void *c,
                       const FWPS_FILTER1 *f, UINT64 x, FWPS_CLASSIFY_OUT0 *out)
{
    UINT16 port = local_port(values);
    unsigned slot = port >= PEER_PORTS ? (port - PEER_PORTS) / PORTS_OF_ONE : TALKERS;
    (void)d, (void)c, (void)f, (void)x;
    out->actionType = ACTION_PERMIT;
    if (slot < TALKERS)
        FwpsFlowAssociateContext0(m->flowHandle, layer_at(HOLDS, layer_is_v6(values->layerId)), ids[HOLDS][layer_is_v6(values->layerId)],
                                  (UINT64)slot << 32 | (UINT32)talkers[slot].generation);
}

static void NTAPI flow_gone(UINT16 layer, UINT32 callout, UINT64 value)
{
    (void)layer, (void)callout;
    volatile LONG *gone = &talkers[value >> 32].gone;
    for (LONG was = *gone; was < (LONG)value; was = *gone) /* an older one may end later */
        InterlockedCompareExchange(gone, (LONG)value, was);
}

static NTSTATUS NTAPI notify_none(UINT32 type, const GUID *key, FWPS_FILTER1 *filter)
{
    (void)type, (void)key, (void)filter;
    return STATUS_SUCCESS;
}

static void set(unsigned kind, unsigned v6)
{
    static void *const functions[KINDS] = {(void *)edit, (void *)hold, (void *)note};
    FWPS_CALLOUT c = {.calloutKey = key_of(800 + kind * 2 + v6), .classifyFn = functions[kind], .notifyFn = notify_none,
                      .flowDeleteFn = kind == HOLDS ? flow_gone : NULL, .flags = kind == NOTES ? 0 : CALLOUT_ALLOW_MID_STREAM_INSPECTION};
    if (FwpsCalloutRegister1(&engine, &c, &ids[kind][v6]))
        broken("a stream callout cannot be registered", kind);
}

static NTSTATUS filter_in(HANDLE session, unsigned kind, unsigned v6, UINT32 action, UINT64 *id)
{
    FWPM_FILTER0 f = {.displayData.name = L"f", .layerKey = layer_by_id(layer_at(kind, v6))->key, .subLayerKey = key_of(kind == EDITS ? 100 : 200),
                      .flags = kind == NOTES ? 0 : PERMIT_IF_UNREGISTERED};
    f.action.type = action;
    f.action.calloutKey = key_of(800 + kind * 2 + v6);
    return FwpmFilterAdd0(session, &f, NULL, id);
}

/* Each of its filters concerns every conversation; the callout itself goes at times, too. */
DWORD WINAPI streams_change(void *seed)
{
    UINT32 state = (UINT32)(uintptr_t)seed;
    FWPM_SESSION0 dynamic = {.flags = 1};
    while (!stop) {
        HANDLE session;
        UINT64 id;
        unsigned v6 = chance(&state, 2);
        FwpmEngineOpen0(NULL, 10, NULL, &dynamic, &session);
        if (filter_in(session, EDITS, v6, chance(&state, 2) ? ACTION_CALLOUT_TERMINATING : ACTION_CALLOUT_UNKNOWN, &id))
            broken("a stream filter cannot be added", v6);
        Sleep(chance(&state, 40));
        if (!chance(&state, 8)) {
            FwpsCalloutUnregisterById0(ids[EDITS][v6]);
            set(EDITS, v6);
        }
        FwpmEngineClose0(session);
        Sleep(chance(&state, 4));
        InterlockedIncrement64(&changes);
    }
    return 0;
}

/* ---- conversations ---- */

/* Marks may be there or not, as they were or edited; the letters have to be all there. */
static void took(struct peers *p, int end, const uint8_t *bytes, size_t size)
{
    struct talker *t = &talkers[p - peers];
    for (size_t i = 0; i < size && !t->lost; i++) {
        if (bytes[i] < 'a')
            continue;
        t->lost = bytes[i] != 'a' + t->next[end];
        t->next[end] = (t->next[end] + 1) % 26;
        t->read[end]++;
        InterlockedIncrement64(&letters);
    }
}

static void write_texts(void)
{
    UINT32 state = 4711;
    for (unsigned i = 0; i < 4; i++)
        for (unsigned at = 0, letter = 0; at < TEXT;) {
            UINT32 what = chance(&state, 200);
            for (unsigned k = 0; what < 3 && k < 3 && at < TEXT; k++)
                texts[i][at++] = 'P';
            if (what == 3)
                texts[i][at++] = 'R';
            if (at < TEXT) {
                texts[i][at++] = (char)('a' + letter);
                letter = (letter + 1) % 26;
            }
        }
}

/* Its flow was ended, or will be seen to have been in a moment. */
static BOOL was_ended(const struct talker *t)
{
    for (UINT64 until = now_ms() + GONE_MS; t->gone != t->generation && now_ms() < until;)
        Sleep(5);
    return t->gone == t->generation;
}

static BOOL read_all(const struct peers *p, const struct talker *t)
{
    for (int end = 0; end < 2; end++) {
        const struct peer_end *other = &p->end[!end];
        size_t sent = 0;
        for (size_t i = 0; i < other->out_size; i++)
            sent += other->out[i] >= 'a';
        if (t->read[end] != sent)
            return FALSE;
    }
    return TRUE;
}

UINT64 worked_ms(void)
{
    FILETIME made, ended, kernel, user;
    GetProcessTimes(GetCurrentProcess(), &made, &ended, &kernel, &user);
    return (((UINT64)kernel.dwHighDateTime << 32 | kernel.dwLowDateTime) + ((UINT64)user.dwHighDateTime << 32 | user.dwLowDateTime)) / 10000;
}

static void converse(struct peers *p, struct talker *t)
{
    UINT64 moved = worked_ms(), again = now_ms();
    LONG64 asked_then = asked;
    size_t before = 0;
    while (!peers_done(p) && !peers_reset(p) && !t->lost && t->gone != t->generation) {
        BOOL any = peers_take(p);
        any = peers_transmit(p) || any;
        UINT64 now = now_ms();
        size_t sum = p->end[0].in_size + p->end[1].in_size + p->end[0].acknowledged + p->end[1].acknowledged;
        if (sum != before)
            moved = worked_ms(), again = now, asked_then = asked, before = sum;
        if (now > again + AGAIN_MS) {
            peers_again(p), again = now;
            if (worked_ms() > moved + STILL_MS && done >= asked_then)
                broken("a conversation stands still: port", p->port);
        }
        if (!any)
            Sleep(0);
    }
    InterlockedIncrement64(&packets);
    if (peers_done(p) && !t->lost && read_all(p, t))
        InterlockedIncrement64(&reached);
    else if (was_ended(t) || peers_reset(p))
        InterlockedIncrement64(&broken_off);
    else
        broken("letters are missing, or not in their order: port", p->port);
}

DWORD WINAPI streams_talk(void *slot)
{
    unsigned which = (unsigned)(uintptr_t)slot;
    struct peers *p = &peers[which];
    struct talker *t = &talkers[which];
    p->state = which * 77 + 1;
    p->took = took;
    for (UINT16 n = 0; !stop; n++) {
        t->generation++;
        t->lost = FALSE;
        t->next[0] = t->next[1] = 0;
        t->read[0] = t->read[1] = 0;
        p->lose = peers_chance(p, 10) ? 0 : 3;
        UINT16 port = (UINT16)(PEER_PORTS + which * PORTS_OF_ONE + n % PORTS_OF_ONE);
        BOOL v6 = n / 2 % 2;
        peers_open(p, port, v6);
        for (int i = 0; i < 2; i++) {
            p->end[i].out = (const uint8_t *)texts[peers_chance(p, 4)];
            p->end[i].out_size = peers_chance(p, peers_chance(p, 4) ? 3000 : TEXT);
        }
        if (p->end[GUEST_PEER].established)
            converse(p, t);
        peers_close(p);
        InterlockedIncrement64(&talks);
    }
    InterlockedDecrement(&talking);
    return 0;
}

void streams_begin(void)
{
    write_texts();
    peers_server[0] = address_v4(SERVER + 1);
    peers_server[1] = address_of(FAMILY_V6, "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\5");
    wire.guest[1] = address_of(FAMILY_V6, "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\2");
    wire.to_link = peers_to_link;
    wire.to_guest = peers_to_guest;
    FwpsInjectionHandleCreate0(AF_UNSPEC, 1 /* stream */, &injection);
    for (unsigned kind = 0; kind < KINDS; kind++)
        for (unsigned v6 = 0; v6 < FAMILIES; v6++) {
            UINT32 id;
            add_callout(800 + kind * 2 + v6, layer_at(kind, v6), &id);
            set(kind, v6);
            if (kind != EDITS && filter_in(engine, kind, v6, kind == HOLDS ? ACTION_CALLOUT_TERMINATING : ACTION_CALLOUT_INSPECTION, &lasting[kind][v6]))
                broken("a lasting filter cannot be added", kind);
        }
    stream_start();
}

void streams_stopped(void)
{
    FwpsInjectionHandleDestroy0(injection); /* which waits for what was injected */
}

void streams_end(void)
{
    for (unsigned kind = 0; kind < KINDS; kind++)
        for (unsigned v6 = 0; v6 < FAMILIES; v6++) {
            if (kind != EDITS)
                FwpmFilterDeleteById0(engine, lasting[kind][v6]);
            if (FwpsCalloutUnregisterById0(ids[kind][v6]))
                broken("a stream callout cannot be unregistered", kind);
        }
    if (lists_taken != lists_completed)
        broken("injected lists were not completed", (UINT64)(lists_taken - lists_completed));
}

void streams_figures(void)
{
    printf(", %llu streams, %llu streams to their end, %llu broken off, %llu letters, %llu edits, %llu deferred, %llu asked for more, %llu held back, %llu let in, %llu changes of stream filters",
           (unsigned long long)talks, (unsigned long long)reached, (unsigned long long)broken_off, (unsigned long long)letters, (unsigned long long)edits,
           (unsigned long long)deferred, (unsigned long long)wanted, (unsigned long long)held_back, (unsigned long long)let_in, (unsigned long long)changes);
}
