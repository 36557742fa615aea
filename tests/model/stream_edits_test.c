/*
 * Edits by chance, over wires that lose, repeat and reorder: whatever a callout decides, each end reads exactly the
 * stream that the decisions make, byte for byte. The numbers that a failure names are seeds.
 *
 * SPDX-License-Identifier: MIT
 */
#include "stream_rig.h"

enum { NEED_MORE = 1, DEFER = 3, CALLOUT = 310, SENT = 0, RECEIVED = 1, EDITED_MAX = 1 << 20, HELD_MAX = 1024 };
enum how { INLINE, OUT_OF_BAND, MIXED };

static UINT16 port = 30000;
static UINT32 id;
static HANDLE handle;
static enum how how;
static struct {
    uint8_t *bytes; /* what the receiver has to read */
    size_t size;
    BOOL deferred;
    UINT32 deferred_flags;
} edited[2];
static struct {
    NET_BUFFER_LIST *list;
    uint8_t *bytes;
    size_t size;
    UINT32 flags;
    BOOL replaced;
} held[HELD_MAX];
static unsigned held_count;

static void expect_bytes(int direction, const void *bytes, size_t size)
{
    memcpy(edited[direction].bytes + edited[direction].size, bytes, size);
    edited[direction].size += size;
}

static void NTAPI on_complete(void *context, NET_BUFFER_LIST *nbl, BOOLEAN dispatch)
{
    (void)context, (void)dispatch;
    nbl_release(nbl);
}

static BOOL inject(const struct call *call, UINT32 flags, size_t size)
{
    uint8_t *bytes = mem_alloc(size + 1), copy[600];
    for (size_t i = 0; i < size; i++)
        copy[i] = bytes[i] = (uint8_t)chance(256);
    NET_BUFFER_LIST *list = nbl_wrap(bytes, size + 1, 0, size);
    if (FwpsStreamInjectAsync0(handle, NULL, 0, call->metadata->flowHandle, id, LAYER_STREAM_V4, flags & 0x10001, list, size, on_complete, NULL)) {
        nbl_release(list);
        return FALSE;
    }
    expect_bytes(flags & 1 ? RECEIVED : SENT, copy, size);
    return TRUE;
}

/* Blocks all, and keeps a clone or new bytes to be injected later, or nothing. */
static void take_out(struct call *call, FWPS_STREAM_CALLOUT_IO_PACKET0 *io)
{
    const FWPS_STREAM_DATA0 *data = io->streamData;
    BOOL fin = (data->flags & 0x80004) != 0;
    call->out->actionType = ACTION_BLOCK;
    if (!fin && (held_count == HELD_MAX - 2 || !chance(8)))
        return;
    held[held_count].flags = data->flags;
    held[held_count].size = data->dataLength;
    held[held_count].bytes = NULL;
    if (!fin && chance(3) == 0) {
        size_t size = chance(500) + 1;
        uint8_t *bytes = mem_alloc(size + 1);
        for (size_t i = 0; i < size; i++)
            bytes[i] = (uint8_t)chance(256);
        held[held_count].list = nbl_wrap(bytes, size + 1, 0, size);
        held[held_count].size = size;
        held[held_count].bytes = bytes;
    } else {
        FwpsCloneStreamData0(io->streamData, NULL, NULL, 0, &held[held_count].list);
    }
    held_count++;
}

/* Some time later, all that was taken out, in its order; what the lists hold is what is to be read. */
static void put_back(void)
{
    for (unsigned i = 0; i < held_count; i++) {
        uint8_t bytes[65536];
        size_t size = 0;
        for (NET_BUFFER_LIST *l = held[i].list; l; l = l->Next)
            size += nb_copy(l->FirstNetBuffer, bytes + size, sizeof bytes - size);
        expect_bytes(held[i].flags & 1 ? RECEIVED : SENT, bytes, size);
        if (FwpsStreamInjectAsync0(handle, NULL, 0, behave[0].flow, id, LAYER_STREAM_V4, held[i].flags, held[i].list, held[i].size, on_complete, NULL))
            expect_bytes(0, "injection failed", 16);
    }
    held_count = 0;
}

static void edit(struct behaviour *b, struct call *call)
{
    FWPS_STREAM_CALLOUT_IO_PACKET0 *io = call->data;
    const FWPS_STREAM_DATA0 *data = io->streamData;
    int direction = data->flags & 1 ? RECEIVED : SENT;
    static uint8_t bytes[1 << 20];
    SIZE_T size = 0;
    (void)b;
    if (how == OUT_OF_BAND || (how == MIXED && direction == SENT)) {
        take_out(call, io);
        return;
    }
    call->out->actionType = ACTION_PERMIT;
    if (!data->dataLength || (data->flags & 0x100008))
        return;
    UINT32 what = chance(100);
    if (what < 15 && !(call->out->flags & 6)) {
        io->streamAction = NEED_MORE;
        io->countBytesRequired = chance(3000);
        call->out->actionType = ACTION_NONE;
        return;
    }
    if (what < 20 && direction == RECEIVED) {
        io->streamAction = DEFER;
        call->out->actionType = ACTION_NONE;
        edited[direction].deferred = TRUE;
        edited[direction].deferred_flags = data->flags;
        return;
    }
    if (what < 45)
        inject(call, data->flags, 1 + chance(600 - 1));
    FwpsCopyStreamDataToBuffer0(data, bytes, sizeof bytes, &size);
    io->countBytesEnforced = chance(3) ? chance((UINT32)data->dataLength + 1) : 0;
    size = io->countBytesEnforced ? io->countBytesEnforced : data->dataLength;
    if (chance(3) == 0)
        call->out->actionType = ACTION_BLOCK;
    else
        expect_bytes(direction, bytes, size);
}

/* One name for all seeds, by which the check is found; the seed is told where it fails. */
static void hold(const char *name, UINT32 number, BOOL holds, const char *what, unsigned long long seen)
{
    char words[160];
    snprintf(words, sizeof words, "with seed %u: %s", number, what);
    check(name, holds, words, seen);
}

static void run(UINT32 number, enum how way, struct impairment wire_is, BOOL options, const char *name)
{
    seed(number);
    how = way;
    begin();
    add_callout(CALLOUT, LAYER_STREAM_V4, &id);
    register_callout(CALLOUT, 0);
    add_filter(LAYER_STREAM_V4, 100, ACTION_CALLOUT_TERMINATING, CALLOUT, 1, 0, NULL);
    behave[0].instead = edit;
    for (int i = 0; i < 2; i++) {
        edited[i].bytes = edited[i].bytes ? edited[i].bytes : mem_alloc(EDITED_MAX * 4);
        edited[i].size = 0;
        edited[i].deferred = FALSE;
    }
    held_count = 0;
    FwpsInjectionHandleCreate0(AF_UNSPEC, 1, &handle);
    stream_open(++port, options);
    impaired = wire_is;
    UINT64 lint = stats.lint;
    for (int turn = 0; turn < 12; turn++) {
        static uint8_t text[6000];
        for (int i = 0; i < 2; i++) {
            size_t size = ends[i].fin ? 0 : chance(sizeof text);
            for (size_t k = 0; k < size; k++)
                text[k] = (uint8_t)chance(256);
            stream_say(i, text, size);
        }
        if (turn == 8)
            stream_close((int)chance(2));
        stream_step();
        clock_ms += chance(500);
        if (chance(2))
            put_back();
        if (edited[RECEIVED].deferred && chance(2)) {
            edited[RECEIVED].deferred = FALSE;
            FwpsStreamContinue0(behave[0].flow, id, LAYER_STREAM_V4, edited[RECEIVED].deferred_flags);
        }
    }
    stream_close(GUEST_END);
    stream_close(SERVER_END);
    for (int i = 0; i < 200 && (flows_count() || i < 2); i++) {
        stream_settle();
        put_back();
        if (edited[RECEIVED].deferred)
            FwpsStreamContinue0(behave[0].flow, id, LAYER_STREAM_V4, edited[RECEIVED].deferred_flags);
        edited[RECEIVED].deferred = FALSE;
    }
    hold(name, number, stream_read(SERVER_END, edited[SENT].bytes, edited[SENT].size), "what the server read is not what was made of it; bytes", ends[SERVER_END].in_size);
    hold(name, number, stream_read(GUEST_END, edited[RECEIVED].bytes, edited[RECEIVED].size), "what the guest read is not what was made of it; bytes", ends[GUEST_END].in_size);
    hold(name, number, ends[0].fin_read && ends[1].fin_read && !flows_count(), "the connection should be over; flows", flows_count());
    hold(name, number, stats.lint == lint, "nothing should be misuse; complaints", stats.lint - lint);
    FwpsInjectionHandleDestroy0(handle);
    end();
    clock_ms += 60000;
    stream_work();
    FwpsCalloutUnregisterById0(id);
    stream_cut();
}

void test_stream_edits(void)
{
    static const struct impairment clean = {0}, bad = {.lose = 8, .repeat = 5, .swap = 12}, worse = {.lose = 20, .repeat = 10, .swap = 30};
    for (UINT32 i = 1; i <= 12; i++) {
        run(i, INLINE, clean, i & 1, "W283 edits inline");
        run(100 + i, INLINE, bad, i & 1, "W283 edits inline over a bad wire");
        run(200 + i, OUT_OF_BAND, clean, i & 1, "W296 edits out of band");
        run(300 + i, OUT_OF_BAND, bad, i & 1, "W296 edits out of band over a bad wire");
    }
    for (UINT32 i = 1; i <= 4; i++) {
        run(400 + i, MIXED, worse, i & 1, "W283 W296 edits over a worse wire");
        run(500 + i, MIXED, clean, i & 1, "W283 W296 edits of both kinds");
    }
}
