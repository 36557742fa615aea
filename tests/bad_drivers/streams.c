/* TCP streams, in line and out of band. SPDX-License-Identifier: MIT */
#include "bad.h"

#define AT_STREAM .layer = FWPS_LAYER_STREAM_V4, .key = &FWPM_LAYER_STREAM_V4
enum { LONG_SEGMENT = 1000, MANY = 9000, FEW = 10, NO_STREAM_ACTION = 77 };

static NET_BUFFER_LIST *kept;
static HANDLE stream;
static LONG once;

static FWPS_STREAM_CALLOUT_IO_PACKET0 *io_of(struct call *call)
{
    return (FWPS_STREAM_CALLOUT_IO_PACKET0 *)call->packet;
}

static BOOLEAN goes_out_with_data(struct call *call)
{
    const FWPS_STREAM_DATA0 *data = io_of(call)->streamData;
    return (data->flags & FWPS_STREAM_FLAG_SEND) && data->dataLength;
}

static void keep_clone(FWPS_STREAM_DATA0 *data)
{
    NET_BUFFER_LIST *chain, *last;
    if (!NT_SUCCESS(FwpsCloneStreamData0(data, NULL, NULL, 0, &chain)) || !chain)
        return;
    for (last = chain; NET_BUFFER_LIST_NEXT_NBL(last);)
        last = NET_BUFFER_LIST_NEXT_NBL(last);
    NET_BUFFER_LIST_NEXT_NBL(last) = kept;
    kept = chain;
}

static void unload_kept(void)
{
    if (kept)
        FwpsDiscardClonedStreamData0(kept, 0, FALSE);
}

static void hold(struct call *call)
{
    int i;
    if (io_of(call)->streamData->dataLength < LONG_SEGMENT || InterlockedIncrement(&once) != 1)
        return;
    for (i = 0; i < (bad ? MANY : FEW); i++)
        keep_clone(io_of(call)->streamData);
}

static void clone(struct call *call)
{
    if (io_of(call)->streamData->dataLength && InterlockedIncrement(&once) == 1)
        keep_clone(io_of(call)->streamData);
}

static void unload_clone(void)
{
    if (!bad)
        unload_kept();
}

static void no_action(struct call *call)
{
    if (bad)
        call->out->actionType = FWP_ACTION_CONTINUE;
}

static void too_many(struct call *call)
{
    if (bad)
        io_of(call)->countBytesEnforced = io_of(call)->streamData->dataLength + 1;
}

static void unknown_action(struct call *call)
{
    if (bad)
        io_of(call)->streamAction = (FWPS_STREAM_ACTION_TYPE)NO_STREAM_ACTION;
}

static void drop(struct call *call)
{
    if (bad && goes_out_with_data(call))
        io_of(call)->streamAction = FWPS_STREAM_ACTION_DROP_CONNECTION;
}

static void defer(struct call *call)
{
    if (bad && goes_out_with_data(call))
        io_of(call)->streamAction = FWPS_STREAM_ACTION_DEFER;
}

static void go_on_inside(struct call *call)
{
    if (bad)
        FwpsStreamContinue0(call->metadata->flowHandle, the_callout, FWPS_LAYER_STREAM_V4, io_of(call)->streamData->flags);
}

/* It wants more than there is; the good one does so only while more may come. */
static void more_after_the_end(struct call *call)
{
    FWPS_STREAM_CALLOUT_IO_PACKET0 *io = io_of(call);
    BOOLEAN at_the_end = (call->out->flags & (FWPS_CLASSIFY_OUT_FLAG_NO_MORE_DATA | FWPS_CLASSIFY_OUT_FLAG_BUFFER_LIMIT_REACHED)) != 0;
    if (at_the_end ? !bad : !goes_out_with_data(call) || io->streamData->dataLength >= LONG_SEGMENT)
        return;
    io->streamAction = FWPS_STREAM_ACTION_NEED_MORE_DATA;
    io->countBytesRequired = 1;
    call->out->actionType = FWP_ACTION_NONE;
}

/* ---- injected ---- */
static void load_handle(void)
{
    FwpsInjectionHandleCreate0(AF_UNSPEC, FWPS_INJECTION_TYPE_STREAM, &stream);
}

static void unload_handle(void)
{
    FwpsInjectionHandleDestroy0(stream); /* waits for completionFn */
}

static void NTAPI injected(void *context, NET_BUFFER_LIST *list, BOOLEAN dispatch)
{
    UNREFERENCED_PARAMETER(context);
    FwpsDiscardClonedStreamData0(list, 0, dispatch);
}

/* What goes out is blocked, and its clone put in instead; the bad one frees that at once. */
static void freed_while_injected(struct call *call)
{
    FWPS_STREAM_DATA0 *data = io_of(call)->streamData;
    NET_BUFFER_LIST *chain;
    NTSTATUS status;
    if (!goes_out_with_data(call) || InterlockedIncrement(&once) != 1 || !NT_SUCCESS(FwpsCloneStreamData0(data, NULL, NULL, 0, &chain)))
        return;
    status = FwpsStreamInjectAsync0(stream, NULL, 0, call->metadata->flowHandle, the_callout, FWPS_LAYER_STREAM_V4, FWPS_STREAM_FLAG_SEND,
                                    chain, data->dataLength, injected, NULL);
    if (bad || !NT_SUCCESS(status))
        FwpsDiscardClonedStreamData0(chain, 0, FALSE);
    call->out->actionType = FWP_ACTION_BLOCK;
    call->out->rights &= ~FWPS_RIGHT_ACTION_WRITE;
}

/* ---- out of band: all that goes out is blocked, and put in again from a work item ---- */
struct put_off {
    UINT64 flow;
    UINT32 flags;
    SIZE_T size;
    NET_BUFFER_LIST *chain;
};

static void put_in(void *context)
{
    struct put_off *it = context;
    if (!NT_SUCCESS(FwpsStreamInjectAsync0(stream, NULL, 0, it->flow, the_callout, FWPS_LAYER_STREAM_V4, it->flags, it->chain, it->size, injected, NULL)))
        FwpsDiscardClonedStreamData0(it->chain, 0, FALSE);
    ExFreePoolWithTag(it, TAG);
}

/* The bad one lets every second segment pass where it stands, once the one before has been put in. */
static void in_and_out_of_band(struct call *call)
{
    FWPS_STREAM_DATA0 *data = io_of(call)->streamData;
    struct put_off *it;
    if (!goes_out_with_data(call))
        return;
    if (InterlockedIncrement(&once) % 2 == 0 && bad) {
        wait_idle();
        return;
    }
    it = ExAllocatePoolWithTag(NonPagedPoolNx, sizeof *it, TAG);
    if (!it)
        return;
    it->flow = call->metadata->flowHandle;
    it->flags = data->flags;
    it->size = data->dataLength;
    if (!NT_SUCCESS(FwpsCloneStreamData0(data, NULL, NULL, 0, &it->chain))) {
        ExFreePoolWithTag(it, TAG);
        return;
    }
    call->out->actionType = FWP_ACTION_BLOCK;
    call->out->rights &= ~FWPS_RIGHT_ACTION_WRITE;
    later(put_in, it);
}

static void unload_out_of_band(void)
{
    wait_idle();
    unload_handle();
}

const struct misdeed misdeeds_of_streams[] = {
    {.name = "W286-stream-held", AT_STREAM, .classify = hold, .unload = unload_kept},
    {.name = "W296-not-discarded", AT_STREAM, .classify = clone, .unload = unload_clone},
    {.name = "W282-no-action", AT_STREAM, .classify = no_action},
    {.name = "W283-too-many-bytes", AT_STREAM, .classify = too_many},
    {.name = "W291-unknown-action", AT_STREAM, .classify = unknown_action},
    {.name = "W288-drop", AT_STREAM, .classify = drop},
    {.name = "W289-defer-outbound", AT_STREAM, .classify = defer},
    {.name = "W289-continue-inside", AT_STREAM, .classify = go_on_inside},
    {.name = "W245-stream-freed", AT_STREAM, .load = load_handle, .classify = freed_while_injected, .unload = unload_handle},
    {.name = "W287-more-after-the-end", AT_STREAM, .classify = more_after_the_end},
    {.name = "W297-in-and-out-of-band", AT_STREAM, .load = load_handle, .classify = in_and_out_of_band, .unload = unload_out_of_band},
    {.name = NULL},
};
