/*
 * The functions of the stream layer that drivers call: injection (W275 to W280), continuing a deferred stream, clones
 * and copies. Injected bytes are copied when they are injected; completionFn runs later, on the worker.
 *
 * SPDX-License-Identifier: MIT
 */
#include <string.h>

#include "stream.h"

enum {
    RECEIVE_BITS = STREAM_RECEIVE | STREAM_RECEIVE_EXPEDITED | STREAM_RECEIVE_DISCONNECT | STREAM_RECEIVE_PUSH,
    SEND_BITS = STREAM_SEND | STREAM_SEND_EXPEDITED | STREAM_SEND_DISCONNECT | 0x40000 /* NODELAY */,
    DISCONNECT_BITS = STREAM_RECEIVE_DISCONNECT | STREAM_SEND_DISCONNECT,
};

static volatile LONG64 pended; /* bytes of stream data in clones that drivers hold */

/* ---- where the bytes are ---- */

static const uint8_t *bytes_of(const MDL *mdl)
{
    return (mdl->MdlFlags & (MDL_MAPPED | MDL_NONPAGED)) && mdl->MappedSystemVa ? mdl->MappedSystemVa
                                                                                : (uint8_t *)mdl->StartVa + mdl->ByteOffset;
}

void NTAPI FwpsCopyStreamDataToBuffer0(const FWPS_STREAM_DATA0 *data, void *buffer, SIZE_T wanted, SIZE_T *copied)
{
    SIZE_T left = wanted < data->dataLength ? wanted : data->dataLength, done = 0;
    const MDL *mdl = data->dataOffset.mdl;
    const NET_BUFFER *nb = data->dataOffset.netBuffer;
    const NET_BUFFER_LIST *list = data->dataOffset.netBufferList;
    size_t offset = data->dataOffset.mdlOffset, in_buffer = nb ? nb->DataLength - data->dataOffset.netBufferOffset : 0;
    while (left && list) {
        while (left && in_buffer && mdl) {
            size_t part = mdl->ByteCount > offset ? mdl->ByteCount - offset : 0;
            part = part < in_buffer ? part : in_buffer;
            part = part < left ? part : left;
            memcpy((uint8_t *)buffer + done, bytes_of(mdl) + offset, part);
            done += part;
            left -= part;
            in_buffer -= part;
            offset = 0;
            mdl = mdl->Next;
        }
        nb = nb ? nb->Next : NULL;
        while (!nb && list) {
            list = list->Next;
            nb = list ? list->FirstNetBuffer : NULL;
        }
        mdl = nb ? nb->CurrentMdl : NULL;
        offset = nb ? nb->CurrentMdlOffset : 0;
        in_buffer = nb ? nb->DataLength : 0;
    }
    if (copied)
        *copied = done;
}

/* ---- clones ---- */

static void unpend(struct nbl_block *block)
{
    InterlockedAdd64(&pended, -(LONG64)block->counted);
}

static void pend(NET_BUFFER_LIST *clone, size_t size)
{
    struct nbl_block *block = nbl_block_of(clone);
    block->counted = (UINT32)size;
    block->released = unpend;
    LONG64 now = InterlockedAdd64(&pended, (LONG64)size);
    if (now > HOLD_MAX && now - (LONG64)size <= HOLD_MAX)
        contract_broken("W286", "FwpsCloneStreamData0", "more than 8 MB of stream data is held in clones: beyond %u bytes it has to be let pass", HOLD_MAX);
    if (held_drop(HOLD_CLONE, clone))
        held_add(HOLD_STREAM, clone, size, 0);
}

void NTAPI FwpsDiscardClonedStreamData0(NET_BUFFER_LIST *chain, UINT32 flags, BOOLEAN dispatch_level)
{
    (void)flags, (void)dispatch_level;
    while (chain) {
        NET_BUFFER_LIST *next = chain->Next;
        nbl_give_back(chain, "FwpsDiscardClonedStreamData0");
        chain = next;
    }
}

/* Lists of which nothing is meant are left out; of the first and the last one, what is not meant is cut off. */
NTSTATUS NTAPI FwpsCloneStreamData0(FWPS_STREAM_DATA0 *data, HANDLE nbl_pool, HANDLE nb_pool, ULONG flags, NET_BUFFER_LIST **chain)
{
    if (flags)
        contract_broken("W296", "FwpsCloneStreamData0", "the flags are 0x%x: they are reserved, 0 is wanted", (unsigned)flags);
    if (!data || !chain)
        return STATUS_INVALID_PARAMETER;
    size_t skip = data->dataOffset.netBufferOffset, left = data->dataLength;
    NET_BUFFER_LIST *made = NULL, **at = &made, *list = data->dataOffset.netBufferList;
    const NET_BUFFER *first = data->dataOffset.netBuffer;
    do {
        NET_BUFFER_LIST *clone = nbl_clone(list, nbl_pool, nb_pool, TAG_EVENT_CLONED);
        size_t size = 0;
        BOOL before = list == data->dataOffset.netBufferList;
        const NET_BUFFER *from = list->FirstNetBuffer;
        for (NET_BUFFER *nb = clone->FirstNetBuffer; nb; nb = nb->Next, from = from->Next) {
            size_t cut = 0;
            if (before && from != first)
                cut = nb->DataLength;
            else if (before)
                cut = skip, before = FALSE;
            size_t keep = nb->DataLength - cut < left ? nb->DataLength - cut : left;
            nb_set(nb, nb->DataOffset + (ULONG)cut, (ULONG)keep);
            left -= keep;
            size += keep;
        }
        pend(clone, size);
        *at = clone;
        at = &clone->Next;
        list = list->Next;
    } while (left && list);
    *chain = made;
    return STATUS_SUCCESS;
}

/* ---- injection ---- */

static NTSTATUS check_flags(UINT32 flags, const NET_BUFFER_LIST *list, UINT16 layer)
{
    BOOL receive = flags & STREAM_RECEIVE, send = flags & STREAM_SEND;
    if ((flags & STREAM_RECEIVE_DISCONNECT && !receive) || (flags & STREAM_SEND_DISCONNECT && !send)) /* W275 */
        return STATUS_FWP_INVALID_PARAMETER;
    if (receive == send || flags & ~(UINT32)(receive ? RECEIVE_BITS : SEND_BITS))
        return STATUS_FWP_INVALID_PARAMETER;
    if (!list && !(flags & DISCONNECT_BITS)) /* W277 */
        return STATUS_FWP_NULL_POINTER;
    return layer_v4(layer) == LAYER_STREAM_V4 ? STATUS_SUCCESS : STATUS_FWP_INVALID_PARAMETER; /* W279 */
}

static struct seat *find_seat(struct stream *s, UINT32 callout, struct stage **stage)
{
    for (struct stage *g = s->stages; g; g = g->next)
        for (struct seat *seat = g->seats; seat; seat = seat->next)
            if (seat->callout_id == callout) {
                *stage = g;
                return seat;
            }
    return NULL;
}

/* From outside classifyFn: allowed on a deferred stream, on one whose FIN is held back, and where every byte is blocked. */
static void check_outside(struct seat *seat, const struct stage *stage, int d, UINT32 flags)
{
    if (stage->deferred[d] || stage->fin_shown[d])
        return;
    if (seat->permitted[d]) /* W297 */
        contract_broken("W297", "FwpsStreamInjectAsync0", "callout %u injects out of band into a stream of which it permitted data inline", seat->callout_id);
    if (d == GOING_OUT && (flags & STREAM_SEND_DISCONNECT))
        contract_broken("W294", "FwpsStreamInjectAsync0", "callout %u injects a FIN of its own into an outbound stream out of band", seat->callout_id);
    seat->outside[d] = TRUE;
}

static size_t gather(NET_BUFFER_LIST *list, uint8_t *out, size_t room)
{
    size_t done = 0;
    for (; list && done < room; list = list->Next)
        for (NET_BUFFER *nb = list->FirstNetBuffer; nb && done < room; nb = nb->Next)
            done += nb_copy(nb, out + done, room - done);
    return done;
}

static NTSTATUS put_in(struct stream *s, UINT32 callout, UINT32 flags, const uint8_t *bytes, size_t size)
{
    int d = flags & STREAM_SEND ? GOING_OUT : COMING_IN;
    struct stage *stage;
    struct seat *seat = find_seat(s, callout, &stage);
    if (!seat || s->end)
        return STATUS_INVALID_PARAMETER; /* not a stream that the callout is processing */
    BOOL fin = (flags & DISCONNECT_BITS) != 0, gone = stage->next ? stage->next->fin_in[d] : s->half[d].fin_queued;
    if (gone)
        return STATUS_CONNECTION_DISCONNECTED;
    if (s->classifying != GetCurrentThreadId())
        check_outside(seat, stage, d, flags);
    chunks_add(stage_input(s, stage->next, d), bytes, size, (flags & STREAM_RECEIVE_PUSH) != 0,
               (flags & (STREAM_RECEIVE_EXPEDITED | STREAM_SEND_EXPEDITED)) != 0);
    if (fin)
        stage_feed_fin(s, stage->next, d);
    s->again = TRUE;
    return STATUS_SUCCESS;
}

static NTSTATUS inject(struct flow *flow, UINT32 callout, UINT32 flags, NET_BUFFER_LIST *list, size_t size)
{
    struct stream *s = flow->stream;
    uint8_t *bytes = mem_alloc(size + 1);
    NTSTATUS status = STATUS_INVALID_PARAMETER;
    if (!list || gather(list, bytes, size) == size) {
        AcquireSRWLockExclusive(&s->lock);
        status = put_in(s, callout, flags, bytes, list ? size : 0);
        ReleaseSRWLockExclusive(&s->lock);
    } else {
        contract_broken("W278", "FwpsStreamInjectAsync0", "it is called for %u bytes, which are not in the lists it was given", (unsigned)size);
    }
    mem_free(bytes);
    return status;
}

NTSTATUS NTAPI FwpsStreamInjectAsync0(HANDLE handle, HANDLE context, UINT32 flags, UINT64 flow_id, UINT32 callout, UINT16 layer,
                                      UINT32 stream_flags, NET_BUFFER_LIST *list, SIZE_T size, INJECT_COMPLETE complete,
                                      HANDLE complete_context)
{
    struct injector *injector;
    (void)context;
    for (const NET_BUFFER_LIST *nbl = list; nbl; nbl = nbl->Next)
        if (nbl_block_of(nbl) && nbl_block_of(nbl)->flying) {
            contract_broken("W245", "FwpsStreamInjectAsync0", "a NET_BUFFER_LIST was injected before and its completionFn has not run: it is the stack's until then");
            return STATUS_INVALID_PARAMETER;
        }
    if (flags)
        contract_broken("W247", "FwpsStreamInjectAsync0", "the flags are 0x%x: they are reserved, 0 is wanted", flags);
    if (!complete) /* W276 */
        return STATUS_FWP_NULL_POINTER;
    NTSTATUS status = check_flags(stream_flags, list, layer);
    if (status)
        return status;
    status = inject_begin(handle, INJECT_STREAM, &injector);
    if (status)
        return status;
    struct flow *flow = flow_find_id(flow_id);
    if (!flow || !stream_carries(flow) || layer != layer_of(LAYER_STREAM_V4, flow->local.family)) {
        inject_done(injector);
        flow_release(flow);
        return STATUS_INVALID_PARAMETER;
    }
    status = inject(flow, callout, stream_flags, list, size);
    for (NET_BUFFER_LIST *nbl = list, *next; !status && nbl; nbl = next) { /* W278 */
        struct completion *made = mem_alloc(sizeof *made);
        next = nbl->Next;
        nbl->Next = NULL;
        if (nbl_block_of(nbl))
            nbl_block_of(nbl)->flying = TRUE;
        *made = (struct completion){.nbl = nbl, .complete = complete, .context = complete_context, .injector = injector};
        if (next)
            inject_more(injector);
        stream_complete(made);
        COUNT(injected);
    }
    if (status || !list)
        inject_done(injector);
    if (!status && flow->stream->classifying != GetCurrentThreadId())
        stream_schedule(flow->stream);
    flow_release(flow);
    return status;
}

NTSTATUS NTAPI FwpsStreamContinue0(UINT64 flow_id, UINT32 callout, UINT16 layer, UINT32 stream_flags)
{
    struct flow *flow = flow_find_id(flow_id);
    struct stream *s = stream_carries(flow) ? flow->stream : NULL;
    struct stage *stage;
    NTSTATUS status = STATUS_INVALID_PARAMETER;
    if (s && layer == layer_of(LAYER_STREAM_V4, flow->local.family)) {
        AcquireSRWLockExclusive(&s->lock);
        if (s->classifying == GetCurrentThreadId()) { /* W289 */
            contract_broken("W289", "FwpsStreamContinue0", "it is called within classifyFn: outside of it is wanted");
        } else if (find_seat(s, callout, &stage) && stage->deferred[COMING_IN] && stage->deferred_by == callout) {
            if (stream_flags != stage->deferred_flags)
                contract_broken("W289", "FwpsStreamContinue0", "the stream flags are 0x%x, the stream was deferred with 0x%x", stream_flags, stage->deferred_flags);
            stage->deferred[COMING_IN] = FALSE;
            status = STATUS_SUCCESS;
        }
        ReleaseSRWLockExclusive(&s->lock);
    }
    if (!status)
        stream_schedule(s);
    flow_release(flow);
    return status;
}
