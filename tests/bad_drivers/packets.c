/* NET_BUFFER_LISTs, injection and flow contexts. SPDX-License-Identifier: MIT */
#include "bad.h"

#define AT(name) .layer = FWPS_LAYER_##name, .key = &FWPM_LAYER_##name
enum { ROOM = 2048, HEADERS = 28, FLOW_VALUE = 0x77, ROUNDS = 5, HELLO = HEADERS + 5 };

static NET_BUFFER_LIST *kept;
static LONG once, rounds;

static BOOLEAN first(void)
{
    return InterlockedIncrement(&once) == 1;
}

/* ---- lists ---- */
static void clone(struct call *call)
{
    if (first())
        FwpsAllocateCloneNetBufferList0(call->packet, NULL, NULL, 0, &kept);
}

static void free_clone(void)
{
    if (kept && !bad)
        FwpsFreeCloneNetBufferList0(kept, 0);
}

static void free_twice(void)
{
    if (!kept)
        return;
    FwpsFreeCloneNetBufferList0(kept, 0);
    if (bad)
        FwpsFreeCloneNetBufferList0(kept, 0);
}

static void free_changed(void)
{
    MDL *chain;
    if (!kept)
        return;
    chain = NET_BUFFER_FIRST_MDL(NET_BUFFER_LIST_FIRST_NB(kept));
    NET_BUFFER_FIRST_MDL(NET_BUFFER_LIST_FIRST_NB(kept)) = chain->Next;
    if (!bad)
        NET_BUFFER_FIRST_MDL(NET_BUFFER_LIST_FIRST_NB(kept)) = chain;
    FwpsFreeCloneNetBufferList0(kept, 0);
}

static void free_wrongly(void)
{
    if (kept && bad)
        FwpsFreeNetBufferList0(kept);
    else if (kept)
        FwpsFreeCloneNetBufferList0(kept, 0);
}

static void reference(struct call *call)
{
    if (!first())
        return;
    kept = call->packet;
    FwpsReferenceNetBufferList0(kept, FALSE);
}

static void dereference(void)
{
    if (kept && !bad)
        FwpsDereferenceNetBufferList0(kept, FALSE);
}

static void dereference_only(struct call *call)
{
    if (!bad)
        FwpsReferenceNetBufferList0(call->packet, FALSE);
    FwpsDereferenceNetBufferList0(call->packet, FALSE);
}

static void clone_late(void *packet)
{
    NET_BUFFER_LIST *late;
    if (NT_SUCCESS(FwpsAllocateCloneNetBufferList0(packet, NULL, NULL, 0, &late)))
        FwpsFreeCloneNetBufferList0(late, 0);
    if (!bad)
        FwpsDereferenceNetBufferList0(packet, FALSE);
}

static void remember(struct call *call)
{
    if (!first())
        return;
    kept = call->packet;
    if (!bad)
        FwpsReferenceNetBufferList0(kept, FALSE);
}

static void use_late(void)
{
    if (kept)
        clone_late(kept);
}

/* A list of the driver's own over bytes of its own; freed by free_own. */
static UINT8 bytes[ROOM] __attribute__((aligned(16))); /* an IP header to be sent is aligned (W272) */

static NET_BUFFER_LIST *own(ULONG length)
{
    NET_BUFFER_LIST *list = NULL;
    MDL *mdl = IoAllocateMdl(bytes, length, FALSE, FALSE, NULL);
    MmBuildMdlForNonPagedPool(mdl);
    FwpsAllocateNetBufferAndNetBufferList0(nbl_pool, 0, 0, mdl, 0, length, &list);
    return list;
}

static void free_own(NET_BUFFER_LIST *list)
{
    IoFreeMdl(NET_BUFFER_FIRST_MDL(NET_BUFFER_LIST_FIRST_NB(list)));
    FwpsFreeNetBufferList0(list);
}

static void unload_list(void)
{
    NET_BUFFER_LIST *list = own(100);
    if (!bad)
        free_own(list);
}

/* ---- injection ---- */
/* What is injected comes back on another thread: the filter has to be there until it has. */
static KEVENT seen_again;

static void load_seen(void)
{
    KeInitializeEvent(&seen_again, NotificationEvent, FALSE);
}

static void unload_seen(void)
{
    LARGE_INTEGER timeout;
    timeout.QuadPart = -20 * 10000000LL;
    KeWaitForSingleObject(&seen_again, Executive, KernelMode, FALSE, &timeout);
}

static void NTAPI own_done(void *context, NET_BUFFER_LIST *list, BOOLEAN dispatch)
{
    UNREFERENCED_PARAMETER(context);
    UNREFERENCED_PARAMETER(dispatch);
    free_own(list);
}

static void NTAPI clone_done(void *context, NET_BUFFER_LIST *list, BOOLEAN dispatch)
{
    UNREFERENCED_PARAMETER(context);
    UNREFERENCED_PARAMETER(dispatch);
    FwpsFreeCloneNetBufferList0(list, 0);
}

/* A datagram from the guest, 192.0.2.2, to 198.51.100.5, or back, with the right checksum of its IP header. */
static void make_datagram(BOOLEAN inbound)
{
    static const UINT8 header[HEADERS] = {0x45, 0, 0, HEADERS, 0, 0, 0, 0, 64, 17, 0, 0, 192, 0, 2, 2, 198, 51, 100, 5, 0x10, 0, 0, 53, 0, 8, 0, 0};
    UINT32 sum = 0;
    int i;
    RtlCopyMemory(bytes, header, HEADERS);
    if (inbound) {
        RtlCopyMemory(bytes + 12, header + 16, 4);
        RtlCopyMemory(bytes + 16, header + 12, 4);
    }
    for (i = 0; i < 20; i += 2)
        sum += (UINT32)(bytes[i] << 8 | bytes[i + 1]);
    sum = ~((sum & 0xFFFF) + (sum >> 16)) & 0xFFFF;
    bytes[10] = (UINT8)(sum >> 8);
    bytes[11] = (UINT8)sum;
}

static void unload_flags(void)
{
    NET_BUFFER_LIST *list;
    make_datagram(FALSE);
    list = own(HEADERS);
    if (!NT_SUCCESS(FwpsInjectNetworkSendAsync0(network, NULL, bad ? 4 : 0, UNSPECIFIED_COMPARTMENT_ID, list, own_done, NULL)))
        free_own(list);
}

static void unload_checksum(void)
{
    NET_BUFFER_LIST *list;
    make_datagram(TRUE);
    if (bad)
        bytes[10] ^= 1;
    list = own(HEADERS);
    if (!NT_SUCCESS(FwpsInjectNetworkReceiveAsync0(network, NULL, 0, UNSPECIFIED_COMPARTMENT_ID, 1, 0, list, own_done, NULL)))
        free_own(list);
}

static void unload_no_arguments(void)
{
    static UINT8 remote[4] = {198, 51, 100, 5};
    FWPS_TRANSPORT_SEND_PARAMS1 arguments = {.remoteAddress = remote};
    NET_BUFFER_LIST *list;
    make_datagram(FALSE);
    RtlCopyMemory(bytes, bytes + 20, 8);
    list = own(8);
    if (!NT_SUCCESS(FwpsInjectTransportSendAsync1(transport, NULL, 0, 0, bad ? NULL : &arguments, AF_INET, UNSPECIFIED_COMPARTMENT_ID,
                                                  list, own_done, NULL)))
        free_own(list);
}

static UINT8 remote_of[4];
static UINT64 endpoint;

static void send_clone(void *list)
{
    static FWPS_TRANSPORT_SEND_PARAMS1 arguments = {.remoteAddress = remote_of};
    if (!NT_SUCCESS(FwpsInjectTransportSendAsync1(transport, NULL, endpoint, 0, &arguments, AF_INET, UNSPECIFIED_COMPARTMENT_ID,
                                                  list, clone_done, NULL)))
        FwpsFreeCloneNetBufferList0(list, 0);
}

/* Every TCP segment out is cloned, blocked and injected again: inline, or from a work item. */
static void inline_tcp(struct call *call)
{
    UINT32 remote = call->values->incomingValue[FWPS_FIELD_OUTBOUND_TRANSPORT_V4_IP_REMOTE_ADDRESS].value.uint32;
    NET_BUFFER_LIST *list;
    int i;
    if (call->values->incomingValue[FWPS_FIELD_OUTBOUND_TRANSPORT_V4_IP_PROTOCOL].value.uint8 != IPPROTO_TCP)
        return;
    if (FwpsQueryPacketInjectionState0(transport, call->packet, NULL) != FWPS_PACKET_NOT_INJECTED)
        return;
    for (i = 0; i < 4; i++)
        remote_of[i] = (UINT8)(remote >> (24 - 8 * i));
    endpoint = call->metadata->transportEndpointHandle;
    if (!NT_SUCCESS(FwpsAllocateCloneNetBufferList0(call->packet, NULL, NULL, 0, &list)))
        return;
    if (bad)
        send_clone(list);
    else
        later(send_clone, list);
    pass(call, FWP_ACTION_BLOCK);
    call->out->flags |= FWPS_CLASSIFY_OUT_FLAG_ABSORB;
}

static void freed_while_injected(struct call *call)
{
    NET_BUFFER_LIST *list;
    if (FwpsQueryPacketInjectionState0(network, call->packet, NULL) != FWPS_PACKET_NOT_INJECTED ||
        !NT_SUCCESS(FwpsAllocateCloneNetBufferList0(call->packet, NULL, NULL, 0, &list)))
        return;
    if (!NT_SUCCESS(FwpsInjectNetworkSendAsync0(network, NULL, 0, UNSPECIFIED_COMPARTMENT_ID, list, clone_done, NULL)) || bad)
        FwpsFreeCloneNetBufferList0(list, 0);
    pass(call, FWP_ACTION_BLOCK);
    call->out->flags |= FWPS_CLASSIFY_OUT_FLAG_ABSORB;
}

/* The completed list is the driver's; once it has freed it, it is nobody's. */
static void use_completed(struct call *call)
{
    NET_BUFFER_LIST *list;
    if (FwpsQueryPacketInjectionState0(network, call->packet, NULL) == FWPS_PACKET_INJECTED_BY_SELF) {
        KeSetEvent(&seen_again, IO_NO_INCREMENT, FALSE);
        return;
    }
    if (!first() || !NT_SUCCESS(FwpsAllocateCloneNetBufferList0(call->packet, NULL, NULL, 0, &list)))
        return;
    kept = list;
    if (!NT_SUCCESS(FwpsInjectNetworkSendAsync0(network, NULL, 0, UNSPECIFIED_COMPARTMENT_ID, list, clone_done, NULL)))
        FwpsFreeCloneNetBufferList0(list, 0);
    pass(call, FWP_ACTION_BLOCK);
}

static void unload_completed(void)
{
    unload_seen();
    FwpsInjectionHandleDestroy0(network); /* waits for completionFn */
    network = NULL;
    if (bad)
        FwpsQueryPacketInjectionState0(transport, kept, NULL);
}

static void receive_unauthorized(struct call *call)
{
    ULONG back = call->metadata->ipHeaderSize + call->metadata->transportHeaderSize;
    NET_BUFFER *buffer = NET_BUFFER_LIST_FIRST_NB(call->packet);
    NET_BUFFER_LIST *list;
    NTSTATUS status;
    if (FwpsQueryPacketInjectionState0(transport, call->packet, NULL) != FWPS_PACKET_NOT_INJECTED ||
        (!bad && (call->metadata->currentMetadataValues & FWPS_METADATA_FIELD_ALE_CLASSIFY_REQUIRED)))
        return;
    if (call->values->incomingValue[FWPS_FIELD_INBOUND_TRANSPORT_V4_IP_PROTOCOL].value.uint8 != IPPROTO_UDP)
        return;
    NdisRetreatNetBufferDataStart(buffer, back, 0, NULL);
    status = FwpsAllocateCloneNetBufferList0(call->packet, NULL, NULL, 0, &list);
    NdisAdvanceNetBufferDataStart(buffer, back, FALSE, NULL);
    if (!NT_SUCCESS(status))
        return;
    if (!NT_SUCCESS(FwpsInjectTransportReceiveAsync0(transport, NULL, NULL, 0, AF_INET, UNSPECIFIED_COMPARTMENT_ID, 1, 0, list, clone_done, NULL)))
        FwpsFreeCloneNetBufferList0(list, 0);
    pass(call, FWP_ACTION_BLOCK);
    call->out->flags |= FWPS_CLASSIFY_OUT_FLAG_ABSORB;
}

static void block_own(struct call *call)
{
    FWPS_PACKET_INJECTION_STATE state = FwpsQueryPacketInjectionState0(network, call->packet, NULL);
    NET_BUFFER_LIST *list;
    if (state == FWPS_PACKET_INJECTED_BY_SELF) {
        if (bad)
            pass(call, FWP_ACTION_BLOCK);
        KeSetEvent(&seen_again, IO_NO_INCREMENT, FALSE);
        return;
    }
    if (!first())
        return;
    if (!NT_SUCCESS(FwpsAllocateCloneNetBufferList0(call->packet, NULL, NULL, 0, &list)))
        return;
    if (!NT_SUCCESS(FwpsInjectNetworkSendAsync0(network, NULL, 0, UNSPECIFIED_COMPARTMENT_ID, list, clone_done, NULL)))
        FwpsFreeCloneNetBufferList0(list, 0);
    pass(call, FWP_ACTION_BLOCK);
}

/* Copies what it sees without asking whose it is, a few times over: one packet of the traffic. */
static void loop(struct call *call)
{
    NET_BUFFER *buffer = NET_BUFFER_LIST_FIRST_NB(call->packet);
    NET_BUFFER_LIST *list;
    UINT8 *data = NET_BUFFER_DATA_LENGTH(buffer) == HELLO ? NdisGetDataBuffer(buffer, HELLO, bytes, 1, 0) : NULL;
    if (!data || data[HEADERS] != 'h')
        return;
    if ((!bad && FwpsQueryPacketInjectionState0(network, call->packet, NULL) != FWPS_PACKET_NOT_INJECTED) || ++rounds > ROUNDS) {
        KeSetEvent(&seen_again, IO_NO_INCREMENT, FALSE);
        return;
    }
    list = own(HELLO);
    if (data != bytes)
        RtlCopyMemory(bytes, data, HELLO);
    if (!NT_SUCCESS(FwpsInjectNetworkSendAsync0(network, NULL, 0, UNSPECIFIED_COMPARTMENT_ID, list, own_done, NULL)))
        free_own(list);
    pass(call, FWP_ACTION_BLOCK);
}

/* ---- flows ---- */
static UINT64 flow_seen;
static void *value_seen;

static void associate(struct call *call, UINT16 layer, UINT64 value)
{
    if (first() && FwpsFlowAssociateContext0(call->metadata->flowHandle, layer, the_callout, value) == STATUS_SUCCESS)
        flow_seen = call->metadata->flowHandle;
}

static void zero_context(struct call *call)
{
    associate(call, call->values->layerId, bad ? 0 : FLOW_VALUE);
}

static void other_layer(struct call *call)
{
    associate(call, bad ? FWPS_LAYER_STREAM_V4 : call->values->layerId, FLOW_VALUE);
}

static void leave_context(struct call *call)
{
    associate(call, call->values->layerId, FLOW_VALUE);
}

static void unload_flow(void)
{
    if (flow_seen)
        FwpsFlowRemoveContext0(flow_seen, FWPS_LAYER_OUTBOUND_TRANSPORT_V4, the_callout);
}

static void unload_context(void)
{
    if (flow_seen && !bad)
        FwpsFlowRemoveContext0(flow_seen, FWPS_LAYER_OUTBOUND_TRANSPORT_V4, the_callout);
}

static void free_context(struct call *call)
{
    if (!first())
        return;
    value_seen = ExAllocatePoolWithTag(NonPagedPoolNx, 32, TAG);
    if (FwpsFlowAssociateContext0(call->metadata->flowHandle, call->values->layerId, the_callout, (UINT64)(ULONG_PTR)value_seen) == STATUS_SUCCESS)
        flow_seen = call->metadata->flowHandle;
    else
        ExFreePoolWithTag(value_seen, TAG);
}

static void unload_freed(void)
{
    if (!flow_seen)
        return;
    if (bad) {
        ExFreePoolWithTag(value_seen, TAG);
        context_was_freed = TRUE;
    }
    FwpsFlowRemoveContext0(flow_seen, FWPS_LAYER_OUTBOUND_TRANSPORT_V4, the_callout);
}

const struct misdeed misdeeds_of_packets[] = {
    {.name = "W265-clone", AT(OUTBOUND_TRANSPORT_V4), .classify = clone, .unload = free_clone},
    {.name = "W245-freed-twice", AT(OUTBOUND_TRANSPORT_V4), .classify = clone, .unload = free_twice},
    {.name = "W266-chain", AT(OUTBOUND_TRANSPORT_V4), .classify = clone, .unload = free_changed},
    {.name = "W265-freed-wrongly", AT(OUTBOUND_TRANSPORT_V4), .classify = clone, .unload = free_wrongly},
    {.name = "W267-reference", AT(OUTBOUND_TRANSPORT_V4), .classify = reference, .unload = dereference},
    {.name = "W267-dereference", AT(OUTBOUND_TRANSPORT_V4), .classify = dereference_only},
    {.name = "W267-late-clone", AT(OUTBOUND_TRANSPORT_V4), .classify = remember, .unload = use_late},
    {.name = "W304-list", .layer = 0xFFFF, .unload = unload_list},
    {.name = "W247-flags", .layer = 0xFFFF, .unload = unload_flags},
    {.name = "W261-checksum", .layer = 0xFFFF, .unload = unload_checksum},
    {.name = "W249-no-arguments", .layer = 0xFFFF, .unload = unload_no_arguments},
    {.name = "W253-inline-tcp", AT(OUTBOUND_TRANSPORT_V4), .classify = inline_tcp},
    {.name = "W245-freed-while-injected", AT(OUTBOUND_IPPACKET_V4), .classify = freed_while_injected},
    {.name = "W245-used-after-completion", AT(OUTBOUND_IPPACKET_V4), .load = load_seen, .classify = use_completed, .unload = unload_completed},
    {.name = "W254-not-authorized", AT(INBOUND_TRANSPORT_V4), .classify = receive_unauthorized},
    {.name = "W258-own-blocked", AT(OUTBOUND_IPPACKET_V4), .load = load_seen, .classify = block_own, .unload = unload_seen},
    {.name = "W258-loop", AT(OUTBOUND_IPPACKET_V4), .load = load_seen, .classify = loop, .unload = unload_seen},
    {.name = "W185-zero", AT(OUTBOUND_TRANSPORT_V4), .classify = zero_context, .unload = unload_flow},
    {.name = "W186-other-layer", AT(OUTBOUND_TRANSPORT_V4), .classify = other_layer, .unload = unload_flow},
    {.name = "W012-context", AT(OUTBOUND_TRANSPORT_V4), .classify = leave_context, .unload = unload_context},
    {.name = "W195-freed-context", AT(OUTBOUND_TRANSPORT_V4), .classify = free_context, .unload = unload_freed},
    {.name = NULL},
};
