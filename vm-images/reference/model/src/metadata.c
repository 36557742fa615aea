/* The metadata of a classify: what each layer may be told, and where it comes from. SPDX-License-Identifier: MIT */
#include <string.h>

#include "stack.h"

static wchar_t path_text[] = L"\\device\\wine\\process";
static FWP_BYTE_BLOB unknown_path = {sizeof path_text, (UINT8 *)path_text};

FWP_BYTE_BLOB *path_of(const struct program *program)
{
    return program ? (FWP_BYTE_BLOB *)(uintptr_t)&program->path : &unknown_path;
}

/* Of the documents' table of metadata fields, those that the model has; both families are told the same. */
enum {
    BITS_OF_FLOW = META_FLOW_HANDLE | META_TRANSPORT_ENDPOINT_HANDLE,
    BITS_OF_PROCESS = META_PROCESS_ID | META_PROCESS_PATH,
    BITS_OF_TRANSPORT = BITS_OF_FLOW | META_TRANSPORT_HEADER_SIZE | META_COMPARTMENT_ID | META_ICMP_ID_AND_SEQUENCE,
    BITS_OF_REDIRECTION = META_LOCAL_REDIRECT_TARGET_PID | META_ORIGINAL_DESTINATION, /* the page on redirection names them (W143) */
};
static const struct {
    UINT16 layer;
    UINT32 bits;
} offered[] = {
    {LAYER_INBOUND_IPPACKET_V4, META_IP_HEADER_SIZE | META_COMPARTMENT_ID},
    {LAYER_OUTBOUND_IPPACKET_V4, META_IP_HEADER_SIZE | META_TRANSPORT_HEADER_SIZE | META_COMPARTMENT_ID},
    {LAYER_IPFORWARD_V4, META_COMPARTMENT_ID},
    {LAYER_INBOUND_TRANSPORT_V4, BITS_OF_TRANSPORT | META_IP_HEADER_SIZE | META_ALE_CLASSIFY_REQUIRED},
    {LAYER_OUTBOUND_TRANSPORT_V4, BITS_OF_TRANSPORT | META_REMOTE_SCOPE_ID},
    {LAYER_STREAM_V4, META_FLOW_HANDLE},
    {LAYER_DATAGRAM_DATA_V4, BITS_OF_TRANSPORT | META_IP_HEADER_SIZE | META_REMOTE_SCOPE_ID},
    {LAYER_INBOUND_ICMP_ERROR_V4, META_IP_HEADER_SIZE | META_TRANSPORT_HEADER_SIZE | META_COMPARTMENT_ID | META_TRANSPORT_ENDPOINT_HANDLE},
    {LAYER_OUTBOUND_ICMP_ERROR_V4, META_TRANSPORT_HEADER_SIZE | META_COMPARTMENT_ID | META_TRANSPORT_ENDPOINT_HANDLE | META_REMOTE_SCOPE_ID},
    {LAYER_ALE_RESOURCE_ASSIGNMENT_V4, META_TRANSPORT_ENDPOINT_HANDLE | BITS_OF_PROCESS | META_COMPLETION_HANDLE},
    {LAYER_ALE_AUTH_LISTEN_V4, META_TRANSPORT_ENDPOINT_HANDLE | BITS_OF_PROCESS | META_COMPLETION_HANDLE},
    {LAYER_ALE_RESOURCE_RELEASE_V4, META_TRANSPORT_ENDPOINT_HANDLE | META_PROCESS_ID | META_COMPARTMENT_ID},
    {LAYER_ALE_ENDPOINT_CLOSURE_V4, META_TRANSPORT_ENDPOINT_HANDLE | META_PARENT_ENDPOINT_HANDLE | META_PROCESS_ID | META_COMPARTMENT_ID},
    {LAYER_ALE_BIND_REDIRECT_V4, META_TRANSPORT_ENDPOINT_HANDLE | META_PROCESS_ID},
    {LAYER_ALE_AUTH_RECV_ACCEPT_V4, META_PARENT_ENDPOINT_HANDLE | BITS_OF_TRANSPORT | BITS_OF_PROCESS | META_IP_HEADER_SIZE | META_PACKET_DIRECTION |
                                    META_COMPLETION_HANDLE | BITS_OF_REDIRECTION},
    {LAYER_ALE_AUTH_CONNECT_V4, META_PARENT_ENDPOINT_HANDLE | BITS_OF_TRANSPORT | BITS_OF_PROCESS | META_IP_HEADER_SIZE /* of what comes in when it is reauthorized */ |
                                META_REMOTE_SCOPE_ID | META_PACKET_DIRECTION | META_COMPLETION_HANDLE | BITS_OF_REDIRECTION},
    {LAYER_ALE_FLOW_ESTABLISHED_V4, META_PARENT_ENDPOINT_HANDLE | BITS_OF_FLOW | BITS_OF_PROCESS | META_ICMP_ID_AND_SEQUENCE | BITS_OF_REDIRECTION},
    {LAYER_ALE_CONNECT_REDIRECT_V4, META_PROCESS_ID | META_TRANSPORT_ENDPOINT_HANDLE | META_ICMP_ID_AND_SEQUENCE | META_REDIRECT_RECORD_HANDLE},
};

static UINT32 offered_at(UINT16 layer)
{
    for (unsigned i = 0; i < sizeof offered / sizeof offered[0]; i++)
        if (offered[i].layer == layer)
            return offered[i].bits;
    return 0;
}

static BOOL icmp_with_id(const struct packet *packet)
{
    return packet && !packet->fragment && packet_is_icmp(packet) && packet->end - packet->payload >= ICMP_HEADER &&
           icmp_has_id(packet->tuple.local.family, packet->tuple.local_port);
}

/* What is shown of an ICMP message begins at its header, as if it were all payload; but for its errors (W224, W227). */
static UINT32 transport_size(const struct packet *packet)
{
    return (UINT32)(icmp_is_error(packet) ? ICMP_HEADER : packet->thl);
}

void put_metadata(FWPS_INCOMING_METADATA_VALUES0 *m, UINT16 layer_id, const struct view *view)
{
    const struct flow *flow = view->flow;
    const struct packet *packet = view->packet;
    UINT16 layer = layer_v4(layer_id);
    UINT32 offer = offered_at(layer), bits = 0;
    struct view_endpoint end = {0};
    if (view->endpoint)
        end = *view->endpoint;
    else if (flow)
        end = (struct view_endpoint){flow->endpoint ? flow->endpoint : flow->id, flow->parent, flow->pid, flow->program, 0};
    memset(m, 0xa5, sizeof *m); /* W234: what is not announced is poison */
    m->flags = 0;
    m->currentL2MetadataValues = 0;
#define PUT(bit, available, member, value)   \
    if ((offer & (bit)) && (available)) {    \
        bits |= (bit);                       \
        m->member = (value);                 \
    }
    BOOL sizes = packet && (packet->thl || icmp_is_error(packet) || (packet_is_icmp(packet) && !packet->fragment && !view->outbound));
    BOOL by_direction = layer == LAYER_DATAGRAM_DATA_V4 || layer == LAYER_ALE_AUTH_CONNECT_V4 || layer == LAYER_ALE_AUTH_RECV_ACCEPT_V4;
    PUT(META_FLOW_HANDLE, flow, flowHandle, flow->id);
    PUT(META_TRANSPORT_ENDPOINT_HANDLE, end.id, transportEndpointHandle, end.id);
    PUT(META_PARENT_ENDPOINT_HANDLE, end.parent, parentEndpointHandle, end.parent);
    PUT(META_IP_HEADER_SIZE, packet && !(by_direction && view->outbound), ipHeaderSize, (UINT32)packet->ihl);
    PUT(META_TRANSPORT_HEADER_SIZE, sizes, transportHeaderSize, transport_size(packet));
    PUT(META_COMPARTMENT_ID, TRUE, compartmentId, 1);
    PUT(META_PROCESS_ID, end.pid, processId, end.pid);
    PUT(META_PROCESS_PATH, end.pid, processPath, path_of(end.program));
    PUT(META_REMOTE_SCOPE_ID, view->outbound && layer_is_v6(layer_id), remoteScopeId, scope_of(&view->tuple->remote));
    PUT(META_PACKET_DIRECTION, TRUE, packetDirection, view->outbound ? 0 : 1);
    PUT(META_COMPLETION_HANDLE, view->pend, completionHandle, (HANDLE)(uintptr_t)view->pend->id);
    PUT(META_ICMP_ID_AND_SEQUENCE, icmp_with_id(packet), icmpIdAndSequence, get32(packet->frame + packet->ip + packet->ihl + 4));
    PUT(META_REDIRECT_RECORD_HANDLE, view->records, redirectRecords, view->records);
    PUT(META_ORIGINAL_DESTINATION, view->original, originalDestination, (SOCKADDR *)view->original);
    PUT(META_LOCAL_REDIRECT_TARGET_PID, view->original && flow && flow->target_pid, localRedirectTargetPID, flow->target_pid);
#undef PUT
    if (view->ale_required)
        bits |= META_ALE_CLASSIFY_REQUIRED;
    m->currentMetadataValues = bits;
}
