/* See stream_callouts.h. SPDX-License-Identifier: MIT */
#include "stream_callouts.h"

UINT16 stream_port = 20000;
UINT32 stream_a, stream_b;
UINT64 stream_filter_a;
HANDLE stream_handle;
unsigned stream_lists_completed;
struct shown shown[2][LOG];
unsigned shown_count[2];
stream_answer answers[2];

void look(struct behaviour *b, struct call *call)
{
    int slot = (int)(b - behave);
    FWPS_STREAM_CALLOUT_IO_PACKET0 *io = call->data;
    struct shown *s = &shown[slot][shown_count[slot] < LOG - 1 ? shown_count[slot] : LOG - 1];
    SIZE_T copied = 0;
    memset(s, 0, sizeof *s);
    s->flags = io->streamData->flags;
    s->out_flags = call->out->flags;
    s->rights = call->out->rights;
    s->length = io->streamData->dataLength;
    s->missed = io->missedBytes;
    s->incoming = call->metadata->currentMetadataValues & META_SYSTEM_FLAGS ? call->metadata->flags : 0;
    FwpsCopyStreamDataToBuffer0(io->streamData, &s->first, 1, &copied);
    shown_count[slot]++;
    call->out->actionType = ACTION_PERMIT;
    if (answers[slot])
        answers[slot](call, io);
}

void block(struct call *call, FWPS_STREAM_CALLOUT_IO_PACKET0 *io, size_t size)
{
    call->out->actionType = ACTION_BLOCK;
    io->countBytesEnforced = size;
}

void NTAPI stream_completed(void *context, NET_BUFFER_LIST *nbl, BOOLEAN dispatch)
{
    (void)context, (void)dispatch;
    stream_lists_completed++;
    nbl_release(nbl);
}

NET_BUFFER_LIST *stream_list(const void *bytes, size_t size)
{
    uint8_t *copy = mem_alloc(size + 1);
    memcpy(copy, bytes, size);
    return nbl_wrap(copy, size + 1, 0, size);
}

NTSTATUS stream_inject(UINT64 flow, UINT32 callout, UINT32 flags, const void *bytes, size_t size)
{
    NET_BUFFER_LIST *list = stream_list(bytes, size);
    NTSTATUS status = FwpsStreamInjectAsync0(stream_handle, NULL, 0, flow, callout, LAYER_STREAM_V4, flags, list, size, stream_completed, NULL);
    if (status)
        nbl_release(list);
    return status;
}

NTSTATUS stream_inject_here(struct call *call, FWPS_STREAM_CALLOUT_IO_PACKET0 *io, const void *bytes, size_t size)
{
    return stream_inject(call->metadata->flowHandle, call->filter->action.calloutId,
                  io->streamData->flags & ~(UINT32)(SEND_DISCONNECT | RECEIVE_DISCONNECT), bytes, size);
}

void stream_open_with(UINT32 action_a, UINT32 action_b, BOOL options)
{
    begin();
    memset(shown_count, 0, sizeof shown_count);
    memset(answers, 0, sizeof answers);
    stream_lists_completed = 0;
    add_callout(A, LAYER_STREAM_V4, &stream_a);
    add_callout(B, LAYER_STREAM_V4, &stream_b);
    register_callout(A, 0);
    register_callout(B, 1);
    behave[0].instead = behave[1].instead = look;
    if (action_a)
        add_filter(LAYER_STREAM_V4, 100, action_a, A, 1, 0, &stream_filter_a);
    if (action_b)
        add_filter(LAYER_STREAM_V4, 200, action_b, B, 1, 0, NULL);
    FwpsInjectionHandleCreate0(AF_UNSPEC, 1, &stream_handle);
    stream_open(++stream_port, options);
}

void stream_open_one(void)
{
    stream_open_with(ACTION_CALLOUT_TERMINATING, 0, FALSE);
}

void stream_done(void)
{
    stream_work();
    FwpsInjectionHandleDestroy0(stream_handle);
    end();
    stream_work();
    clock_ms += 60000;
    stream_work();
    FwpsCalloutUnregisterById0(stream_a);
    FwpsCalloutUnregisterById0(stream_b);
    stream_cut();
}

void block_all(struct call *call, FWPS_STREAM_CALLOUT_IO_PACKET0 *io)
{
    block(call, io, 0);
}

void want_always(struct call *call, FWPS_STREAM_CALLOUT_IO_PACKET0 *io)
{
    io->streamAction = NEED_MORE;
    io->countBytesRequired = 64u << 20;
    call->out->actionType = ACTION_NONE;
}

void replace_pattern(struct call *call, FWPS_STREAM_CALLOUT_IO_PACKET0 *io)
{
    char bytes[16];
    SIZE_T size = 0;
    FwpsCopyStreamDataToBuffer0(io->streamData, bytes, sizeof bytes, &size);
    size_t at = 0;
    while (at + 3 <= size && memcmp(bytes + at, "PPP", 3))
        at++;
    if (at + 3 > size)
        return;
    if (at) {
        io->countBytesEnforced = at;
        return;
    }
    stream_inject_here(call, io, "XX", 2);
    block(call, io, 3);
}
