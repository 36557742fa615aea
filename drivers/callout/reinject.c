/*
 * What classifyFn takes out of the stream of packets to be injected again: a clone where nothing changes, a copy of each
 * packet where something does. All jobs of an indication are made before the first is queued: it goes as a whole or not
 * at all.
 *
 * SPDX-License-Identifier: MIT
 */
#include "job.h"

static NTSTATUS keep(void **to, const void *from, ULONG length)
{
    *to = allocate(length);
    if (!*to)
        return STATUS_INSUFFICIENT_RESOURCES;
    RtlCopyMemory(*to, from, length);
    return STATUS_SUCCESS;
}

/* Everything that the send arguments point at is copied: it belongs to the classify that is about to end. */
static NTSTATUS fill_arguments(TRAFFIC *traffic, JOB *job)
{
    const FWPS_INCOMING_METADATA_VALUES0 *metadata = traffic->metadata;
    UINT32 present = metadata->currentMetadataValues;
    NTSTATUS status = STATUS_SUCCESS;

    RtlCopyMemory(job->remote, traffic->event.remote_addr, sizeof job->remote);
    job->arguments.remoteAddress = job->remote;
    if (present & FWPS_METADATA_FIELD_TRANSPORT_ENDPOINT_HANDLE)
        job->endpoint = metadata->transportEndpointHandle;
    if (present & FWPS_METADATA_FIELD_REMOTE_SCOPE_ID)
        job->arguments.remoteScopeId = metadata->remoteScopeId;
    if ((present & FWPS_METADATA_FIELD_TRANSPORT_CONTROL_DATA) && metadata->controlDataLength) {
        status = keep(&job->control, metadata->controlData, metadata->controlDataLength);
        job->arguments.controlData = job->control;
        job->arguments.controlDataLength = metadata->controlDataLength;
    }
    if (NT_SUCCESS(status) && (present & FWPS_METADATA_FIELD_TRANSPORT_HEADER_INCLUDE_HEADER) &&
        metadata->headerIncludeHeaderLength) {
        status = keep(&job->header, metadata->headerIncludeHeader, metadata->headerIncludeHeaderLength);
        job->arguments.headerIncludeHeader = job->header;
        job->arguments.headerIncludeHeaderLength = metadata->headerIncludeHeaderLength;
    }
    return status;
}

static NTSTATUS fill_path(TRAFFIC *traffic, JOB *job)
{
    const FWPS_INCOMING_METADATA_VALUES0 *metadata = traffic->metadata;
    const LAYER *layer = traffic->layer;

    job->family = layer->family;
    job->layer = layer->id;
    job->rule = traffic->event.rule;
    job->event = traffic->event;
    job->compartment = metadata->currentMetadataValues & FWPS_METADATA_FIELD_COMPARTMENT_ID ? metadata->compartmentId
                                                                                          : UNSPECIFIED_COMPARTMENT_ID;
    if (layer->interface_index != NO_FIELD && layer->interface_index < traffic->values->valueCount)
        job->interface_index = traffic->values->incomingValue[layer->interface_index].value.uint32;
    if (layer->sub_interface != NO_FIELD && layer->sub_interface < traffic->values->valueCount)
        job->sub_interface = traffic->values->incomingValue[layer->sub_interface].value.uint32;
    if (layer->ndis_port != NO_FIELD && layer->ndis_port < traffic->values->valueCount)
        job->port = traffic->values->incomingValue[layer->ndis_port].value.uint32;
    if (layer->kind == LAYER_MAC) {
        job->path = traffic->inbound ? WFPCALLOUT_INJECT_MAC_RECEIVE : WFPCALLOUT_INJECT_MAC_SEND;
        return STATUS_SUCCESS;
    }
    if (layer->kind == LAYER_FORWARD) {
        job->path = WFPCALLOUT_INJECT_FORWARD;
        return STATUS_SUCCESS;
    }
    if (layer->kind == LAYER_IPPACKET) {
        job->path = traffic->inbound ? WFPCALLOUT_INJECT_NETWORK_RECEIVE : WFPCALLOUT_INJECT_NETWORK_SEND;
        return STATUS_SUCCESS;
    }
    job->path = traffic->inbound ? WFPCALLOUT_INJECT_TRANSPORT_RECEIVE : WFPCALLOUT_INJECT_TRANSPORT_SEND;
    return traffic->inbound ? STATUS_SUCCESS : fill_arguments(traffic, job);
}

static NTSTATUS make_job(TRAFFIC *traffic, const WFPCALLOUT_RULE *rule, NET_BUFFER_LIST *list, NET_BUFFER *copied,
                         ULONG back, LIST_ENTRY *made)
{
    JOB *job = allocate(sizeof *job);
    NTSTATUS status;

    if (!job)
        return STATUS_INSUFFICIENT_RESOURCES;
    status = fill_path(traffic, job);
    if (NT_SUCCESS(status))
        status = copied ? job_copy(traffic, rule, job, copied, back)
                        : FwpsAllocateCloneNetBufferList0(list, NULL, NULL, 0, &job->list);
    if (NT_SUCCESS(status))
        InsertTailList(made, &job->link);
    else
        job_free(job);
    return status;
}

/* Inbound the headers of a packet that was reassembled or decrypted need not add up: a copy gets sums that do. */
static BOOLEAN needs_copy(const TRAFFIC *traffic, const WFPCALLOUT_RULE *rule)
{
    return (rule->action != WFPCALLOUT_ACTION_REINJECT && rule->action != WFPCALLOUT_ACTION_PEND) ||
           (traffic->inbound && (traffic->event.condition_flags &
                                 (FWP_CONDITION_FLAG_IS_REASSEMBLED | FWP_CONDITION_FLAG_IS_IPSEC_SECURED)));
}

static NTSTATUS make_jobs(TRAFFIC *traffic, const WFPCALLOUT_RULE *rule, NET_BUFFER_LIST *list, ULONG back,
                          LIST_ENTRY *made)
{
    NTSTATUS status = STATUS_SUCCESS;
    NET_BUFFER *buffer;

    if (!needs_copy(traffic, rule))
        return make_job(traffic, rule, list, NULL, back, made);
    /* What the NIC is to cut into segments would leave as one packet: a copy carries no offload orders. */
    if (!traffic->inbound && NET_BUFFER_LIST_INFO(list, TcpLargeSendNetBufferListInfo))
        return STATUS_NOT_SUPPORTED;
    for (buffer = NET_BUFFER_LIST_FIRST_NB(list); buffer && NT_SUCCESS(status); buffer = NET_BUFFER_NEXT_NB(buffer))
        status = make_job(traffic, rule, list, buffer, back, made);
    return status;
}

/* The offsets of the first `count` packets back to where they were. */
static void advance(NET_BUFFER_LIST *list, ULONG back, ULONG count)
{
    NET_BUFFER *buffer;
    for (buffer = NET_BUFFER_LIST_FIRST_NB(list); buffer && count; buffer = NET_BUFFER_NEXT_NB(buffer), count--)
        NdisAdvanceNetBufferDataStart(buffer, back, FALSE, NULL);
}

NTSTATUS inject_prepare(TRAFFIC *traffic, const WFPCALLOUT_RULE *rule, NET_BUFFER_LIST *list, LIST_ENTRY *made)
{
    NTSTATUS status = STATUS_SUCCESS;
    NET_BUFFER *buffer;
    ULONG back = 0, retreated = 0;

    /* Inbound the offset is behind the headers that an injection has to begin with. */
    if (traffic->layer->kind == LAYER_MAC)
        back = traffic->inbound ? traffic->mac_header : 0;
    else if (traffic->inbound)
        back = traffic->ip_header + (traffic->layer->kind == LAYER_IPPACKET ? 0 : traffic->transport_header);
    for (buffer = NET_BUFFER_LIST_FIRST_NB(list); buffer && back && status == STATUS_SUCCESS;
         buffer = NET_BUFFER_NEXT_NB(buffer)) {
        status = NdisRetreatNetBufferDataStart(buffer, back, 0, NULL);
        if (status == STATUS_SUCCESS)
            retreated++;
    }
    if (status == STATUS_SUCCESS)
        status = make_jobs(traffic, rule, list, back, made);
    advance(list, back, retreated);
    return status;
}

BOOLEAN inject_packet(TRAFFIC *traffic, const WFPCALLOUT_RULE *rule, NET_BUFFER_LIST *list)
{
    WFPCALLOUT_EVENT event;
    LIST_ENTRY made;
    NTSTATUS status;

    InitializeListHead(&made);
    status = inject_prepare(traffic, rule, list, &made);
    while (!IsListEmpty(&made)) {
        JOB *job = CONTAINING_RECORD(RemoveHeadList(&made), JOB, link);
        if (NT_SUCCESS(status))
            job_submit(job, (rule->flags & WFPCALLOUT_RULE_HOLD) != 0);
        else
            job_free(job);
    }
    if (!NT_SUCCESS(status)) { /* the packet goes on as it is; why is on record */
        event = traffic->event;
        event.kind = WFPCALLOUT_EVENT_INJECT;
        event.status = status;
        event_record(&event);
    }
    return NT_SUCCESS(status);
}

static NTSTATUS inject_given(const WFPCALLOUT_INJECT *request, const UINT8 *bytes)
{
    JOB *job = allocate(sizeof *job);
    NTSTATUS status;

    if (!job)
        return STATUS_INSUFFICIENT_RESOURCES;
    job->path = request->path;
    job->layer = request->path == WFPCALLOUT_INJECT_MAC_SEND ? FWPS_LAYER_OUTBOUND_MAC_FRAME_ETHERNET
                                                             : FWPS_LAYER_INBOUND_MAC_FRAME_ETHERNET; /* looked at for MAC_* */
    job->family = request->family;
    job->compartment = DEFAULT_COMPARTMENT_ID;
    job->interface_index = request->interface_index;
    RtlCopyMemory(job->remote, request->remote_addr, sizeof job->remote);
    job->arguments.remoteAddress = job->remote;
    job->event.family = request->family;
    RtlCopyMemory(job->event.local_addr, request->local_addr, 16);
    RtlCopyMemory(job->event.remote_addr, request->remote_addr, 16);
    job->event.data_length = request->length;
    job->bytes = allocate(request->length);
    status = STATUS_INSUFFICIENT_RESOURCES;
    if (job->bytes) {
        RtlCopyMemory(job->bytes, bytes, request->length);
        status = job_wrap(job, request->length);
    }
    if (!NT_SUCCESS(status)) {
        job_free(job);
        return status;
    }
    return job_inject_now(job);
}

NTSTATUS inject_bytes(const WFPCALLOUT_INJECT *request, const UINT8 *bytes)
{
    NTSTATUS status;

    if (request->path < WFPCALLOUT_INJECT_NETWORK_SEND || request->path > WFPCALLOUT_INJECT_FORWARD ||
        (request->family != 4 && request->family != 6))
        return STATUS_INVALID_PARAMETER;
    if (!inject_enter())
        return STATUS_FWP_INJECT_HANDLE_CLOSING;
    status = inject_given(request, bytes);
    inject_leave();
    return status;
}
