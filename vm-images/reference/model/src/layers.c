/* Builds what a callout sees at each layer and classifies: values, metadata, data offsets. SPDX-License-Identifier: MIT */
#include <string.h>

#include "stack.h"

enum { POISON_SLOTS = 4, FIELDS_MAX = 48, INTERFACE_TYPE_ETHERNET = 6, UNICAST = 1 };

static UINT64 zero64, interface_luid = 0x6000000000001ull;
static wchar_t path_text[] = L"\\device\\wine\\process";
static FWP_BYTE_BLOB path_blob = {sizeof path_text, (UINT8 *)path_text};

/* IPv4 in host byte order, IPv6 as bytes in network order (W077); these are valid during the classify. */
static void put_address(FWP_VALUE0 *value, const struct address *address)
{
    if (value->type == FWP_BYTE_ARRAY16_TYPE)
        value->byteArray16 = (FWP_BYTE_ARRAY16 *)(uintptr_t)address->bytes;
    else
        value->uint32 = address_host(address);
}

static void put_value(FWP_VALUE0 *value, const struct field_fact *field, const struct view *view)
{
    const struct tuple *t = view->tuple;
    value->type = field->type;
    value->uint64 = NULL;
    switch (field->condition) {
    case COND_IP_LOCAL_ADDRESS:
        put_address(value, &t->local);
        return;
    case COND_IP_REMOTE_ADDRESS:
        put_address(value, &t->remote);
        return;
    case COND_IP_LOCAL_PORT:
        value->uint16 = t->local_port;
        return;
    case COND_IP_REMOTE_PORT:
        value->uint16 = t->remote_port;
        return;
    case COND_IP_PROTOCOL:
        value->uint8 = t->protocol;
        return;
    case COND_FLAGS:
        value->uint32 = view->flags;
        return;
    case COND_DIRECTION:
        value->uint32 = view->outbound ? 0 : 1;
        return;
    case COND_INTERFACE_INDEX:
    case COND_ARRIVAL_INTERFACE_INDEX:
    case COND_NEXTHOP_INTERFACE_INDEX:
        value->uint32 = wire.interface_index;
        return;
    case COND_INTERFACE_TYPE:
    case COND_ARRIVAL_INTERFACE_TYPE:
    case COND_NEXTHOP_INTERFACE_TYPE:
        value->uint32 = INTERFACE_TYPE_ETHERNET;
        return;
    case COND_COMPARTMENT_ID:
        value->uint32 = 1;
        return;
    case COND_IP_LOCAL_ADDRESS_TYPE:
    case COND_IP_DESTINATION_ADDRESS_TYPE:
        value->uint8 = UNICAST;
        return;
    case COND_IP_LOCAL_INTERFACE:
    case COND_IP_ARRIVAL_INTERFACE:
    case COND_IP_NEXTHOP_INTERFACE:
        value->uint64 = &interface_luid;
        return;
    case COND_ALE_APP_ID:
    case COND_ALE_ORIGINAL_APP_ID:
        value->byteBlob = &path_blob;
        return;
    default:
        break;
    }
    if (field->type == FWP_UINT64)
        value->uint64 = &zero64;
    else if (field->type > FWP_UINT32)
        value->type = FWP_EMPTY;
}

static void put_metadata(FWPS_INCOMING_METADATA_VALUES0 *m, UINT16 layer_id, const struct view *view)
{
    const struct flow *flow = view->flow;
    UINT16 layer = layer_v4(layer_id); /* both families are told the same */
    UINT32 bits = 0;
    memset(m, 0xa5, sizeof *m); /* W234: what is not announced is poison */
    m->flags = 0;
    m->currentL2MetadataValues = 0;
    if (flow && layer != LAYER_INBOUND_IPPACKET_V4 && layer != LAYER_OUTBOUND_IPPACKET_V4 &&
        layer != LAYER_ALE_CONNECT_REDIRECT_V4) {
        bits |= META_FLOW_HANDLE;
        m->flowHandle = flow->id;
    }
    if (view->packet && layer != LAYER_STREAM_V4 && layer != LAYER_ALE_FLOW_ESTABLISHED_V4 && layer != LAYER_OUTBOUND_TRANSPORT_V4 &&
        layer != LAYER_ALE_AUTH_CONNECT_V4 && !(layer == LAYER_DATAGRAM_DATA_V4 && view->outbound)) {
        bits |= META_IP_HEADER_SIZE;
        m->ipHeaderSize = (UINT32)view->packet->ihl;
    }
    if (view->packet && view->packet->thl && layer != LAYER_STREAM_V4 && layer != LAYER_ALE_FLOW_ESTABLISHED_V4 &&
        layer != LAYER_INBOUND_IPPACKET_V4) {
        bits |= META_TRANSPORT_HEADER_SIZE;
        m->transportHeaderSize = (UINT32)view->packet->thl;
    }
    if (layer != LAYER_STREAM_V4 && layer != LAYER_ALE_CONNECT_REDIRECT_V4 && layer != LAYER_ALE_FLOW_ESTABLISHED_V4) {
        bits |= META_COMPARTMENT_ID;
        m->compartmentId = 1;
    }
    BOOL ale = layer == LAYER_ALE_CONNECT_REDIRECT_V4 || layer == LAYER_ALE_AUTH_CONNECT_V4 ||
               layer == LAYER_ALE_AUTH_RECV_ACCEPT_V4 || layer == LAYER_ALE_FLOW_ESTABLISHED_V4;
    if (flow && (ale || layer == LAYER_INBOUND_TRANSPORT_V4 || layer == LAYER_OUTBOUND_TRANSPORT_V4 || layer == LAYER_DATAGRAM_DATA_V4)) {
        bits |= META_TRANSPORT_ENDPOINT_HANDLE;
        m->transportEndpointHandle = flow->id;
    }
    if (flow && ale && flow->pid) {
        bits |= META_PROCESS_ID;
        m->processId = flow->pid;
    }
    if (flow && ale && flow->pid && layer != LAYER_ALE_CONNECT_REDIRECT_V4) {
        bits |= META_PROCESS_PATH;
        m->processPath = &path_blob;
    }
    if (layer == LAYER_ALE_AUTH_CONNECT_V4 || layer == LAYER_ALE_AUTH_RECV_ACCEPT_V4) {
        bits |= META_PACKET_DIRECTION;
        m->packetDirection = view->outbound ? 0 : 1;
    }
    if (view->ale_required) {
        bits |= META_ALE_CLASSIFY_REQUIRED;
    }
    if (view->records) {
        bits |= META_REDIRECT_RECORD_HANDLE;
        m->redirectRecords = view->records;
    }
    if (view->original) {
        bits |= META_ORIGINAL_DESTINATION;
        m->originalDestination = (SOCKADDR *)view->original;
        if (flow && flow->target_pid) {
            bits |= META_LOCAL_REDIRECT_TARGET_PID;
            m->localRedirectTargetPID = flow->target_pid;
        }
    }
    m->currentMetadataValues = bits;
}

struct verdict view_classify(UINT16 layer_id, struct view *view)
{
    if (!layer_has_filters(layer_id))
        return (struct verdict){TRUE, FALSE, FALSE, 0};
    const struct layer_fact *layer = layer_by_id(layer_id);
    struct classification what = {.layer = layer, .flow = view->flow, .layer_data = view->layer_data, .context = view->context,
                                  .irql = (view->packet ? view->packet->outbound : view->outbound) ? IRQL_PASSIVE : IRQL_DISPATCH};
    FWPS_INCOMING_VALUE0 slots[FIELDS_MAX + POISON_SLOTS];
    MODEL_ASSERT(layer->field_count <= FIELDS_MAX);
    what.values = slots;
    memset(what.values + layer->field_count, 0xa5, POISON_SLOTS * sizeof *what.values);
    for (UINT32 i = 0; i < layer->field_count; i++)
        put_value(&what.values[i].value, &layer->fields[i], view);
    put_metadata(&what.metadata, layer_id, view);
    if (view->show) {
        struct packet *p = view->packet;
        size_t at = view->show == SHOW_IP ? p->ip : view->show == SHOW_TRANSPORT ? p->ip + p->ihl : p->payload;
        what.nbl = what.layer_data = p->nbl;
        nb_set(p->nbl->FirstNetBuffer, (ULONG)(HEADROOM + at), (ULONG)(p->end - at));
    }
    return classify(&what);
}
