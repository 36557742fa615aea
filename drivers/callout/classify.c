/* What every callout does first: see what it is about, find the rule, decide, record. SPDX-License-Identifier: MIT */
#include "callout.h"

static void take_address(const TRAFFIC *traffic, UINT16 field, UINT8 *out)
{
    const FWP_VALUE0 *value;
    if (field == NO_FIELD || field >= traffic->values->valueCount)
        return;
    value = &traffic->values->incomingValue[field].value;
    if (value->type == FWP_UINT32) {
        out[0] = (UINT8)(value->uint32 >> 24);
        out[1] = (UINT8)(value->uint32 >> 16);
        out[2] = (UINT8)(value->uint32 >> 8);
        out[3] = (UINT8)value->uint32;
    } else if (value->type == FWP_BYTE_ARRAY16_TYPE && value->byteArray16) {
        RtlCopyMemory(out, value->byteArray16->byteArray16, 16);
    }
}

static UINT32 take_number(const TRAFFIC *traffic, UINT16 field)
{
    const FWP_VALUE0 *value;
    if (field == NO_FIELD || field >= traffic->values->valueCount)
        return 0;
    value = &traffic->values->incomingValue[field].value;
    switch (value->type) {
    case FWP_UINT8: return value->uint8;
    case FWP_UINT16: return value->uint16;
    case FWP_UINT32: return value->uint32;
    default: return 0;
    }
}

/*
 * At the IP packet and MAC layers the ports are in the packet alone. An IP packet that comes in is indicated from behind
 * its IP header, one that goes out from the IP header itself, whatever size the metadata name; a frame that comes in from
 * behind its MAC header, one that goes out from the MAC header. The data offset is put back to where it was.
 */
static void take_ports(TRAFFIC *traffic, NET_BUFFER_LIST *list)
{
    NET_BUFFER *buffer = NET_BUFFER_LIST_FIRST_NB(list);
    UINT8 storage[96];
    const UINT8 *bytes;
    ULONG back = traffic->inbound ? traffic->ip_header : 0, offset = 0, length;
    ULONG skip = traffic->inbound ? 0 : traffic->mac_header;

    if (!buffer || (back && NdisRetreatNetBufferDataStart(buffer, back, 0, NULL) != NDIS_STATUS_SUCCESS))
        return;
    length = NET_BUFFER_DATA_LENGTH(buffer) < sizeof storage ? NET_BUFFER_DATA_LENGTH(buffer) : sizeof storage;
    bytes = length ? NdisGetDataBuffer(buffer, length, storage, 1, 0) : NULL;
    if (bytes && skip < length) {
        bytes += skip;
        length -= skip;
    }
    if (bytes && packet_transport(bytes, length, &traffic->event.protocol, &offset) && offset + 4 <= length &&
        (traffic->event.protocol == IPPROTO_TCP || traffic->event.protocol == IPPROTO_UDP)) {
        UINT16 source = (UINT16)(bytes[offset] << 8 | bytes[offset + 1]);
        UINT16 destination = (UINT16)(bytes[offset + 2] << 8 | bytes[offset + 3]);
        traffic->event.local_port = traffic->inbound ? destination : source;
        traffic->event.remote_port = traffic->inbound ? source : destination;
    }
    if (back)
        NdisAdvanceNetBufferDataStart(buffer, back, FALSE, NULL);
}

/* Whether layerData is a NET_BUFFER_LIST, or NULL. */
static BOOLEAN has_packet(const LAYER *layer)
{
    return layer->kind <= LAYER_ICMP_ERROR || layer->kind == LAYER_ALE;
}

static void describe(TRAFFIC *traffic, void *data)
{
    const LAYER *layer = traffic->layer;
    const FWPS_INCOMING_METADATA_VALUES0 *metadata = traffic->metadata;
    UINT32 present = metadata->currentMetadataValues;
    WFPCALLOUT_EVENT *event = &traffic->event;
    NET_BUFFER *buffer;

    traffic->inbound = layer->inbound;
    if (layer->direction != NO_FIELD)
        traffic->inbound = take_number(traffic, layer->direction) == FWP_DIRECTION_INBOUND;
    if (layer->kind == LAYER_ALE && (present & FWPS_METADATA_FIELD_PACKET_DIRECTION)) /* of a reauthorization it may be either */
        traffic->inbound = metadata->packetDirection == FWP_DIRECTION_INBOUND;
    if (present & FWPS_METADATA_FIELD_IP_HEADER_SIZE)
        traffic->ip_header = metadata->ipHeaderSize;
    if (present & FWPS_METADATA_FIELD_TRANSPORT_HEADER_SIZE)
        traffic->transport_header = metadata->transportHeaderSize;
    if (layer->kind == LAYER_MAC && (metadata->currentL2MetadataValues & FWPS_L2_METADATA_FIELD_ETHERNET_MAC_HEADER_SIZE))
        traffic->mac_header = metadata->ethernetMacHeaderSize;
    event->layer = layer->id;
    event->family = layer->family;
    event->metadata = present;
    if (present & FWPS_METADATA_FIELD_FLOW_HANDLE)
        event->flow_id = metadata->flowHandle;
    if (present & FWPS_METADATA_FIELD_PROCESS_ID)
        event->process_id = (UINT32)metadata->processId;
    take_address(traffic, layer->local_address, event->local_addr);
    take_address(traffic, layer->remote_address, event->remote_addr);
    event->local_port = (UINT16)take_number(traffic, layer->local_port);
    event->remote_port = (UINT16)take_number(traffic, layer->remote_port);
    event->protocol = (UINT8)take_number(traffic, layer->protocol);
    if (layer->kind == LAYER_ICMP_ERROR)
        event->protocol = layer->family == 4 ? IPPROTO_ICMP : IPPROTO_ICMPV6;
    event->condition_flags = take_number(traffic, layer->flags);
    event->reauthorize_reason = take_number(traffic, layer->reason);
    if (layer->kind == LAYER_STREAM) {
        const FWPS_STREAM_CALLOUT_IO_PACKET0 *packet = data;
        event->protocol = IPPROTO_TCP;
        if (packet && packet->streamData) {
            event->data_length = (UINT32)packet->streamData->dataLength;
            event->stream_flags = packet->streamData->flags;
            event->stream_missed = (UINT32)packet->missedBytes;
        }
    } else if (data && has_packet(layer)) {
        for (buffer = NET_BUFFER_LIST_FIRST_NB((NET_BUFFER_LIST *)data); buffer; buffer = NET_BUFFER_NEXT_NB(buffer))
            event->data_length += NET_BUFFER_DATA_LENGTH(buffer);
        if (layer->kind <= LAYER_IPPACKET)
            take_ports(traffic, data);
    }
}

/* Whether the packet is what the rule names, where the layer has no condition for it. */
static BOOLEAN matches(const TRAFFIC *traffic, const WFPCALLOUT_RULE *rule)
{
    const WFPCALLOUT_EVENT *event = &traffic->event;
    if (traffic->layer->kind == LAYER_STREAM || traffic->layer->kind == LAYER_ICMP_ERROR)
        return !rule->protocol || rule->protocol == event->protocol;
    if (traffic->layer->kind > LAYER_IPPACKET)
        return TRUE;
    return (!rule->protocol || rule->protocol == event->protocol) &&
           (!rule->local_port || rule->local_port == event->local_port) &&
           (!rule->remote_port || rule->remote_port == event->remote_port);
}

/* "Not our business". From the callout of a terminating filter CONTINUE would be taken for BLOCK. */
static FWP_ACTION_TYPE pass_on(const TRAFFIC *traffic, const FWPS_FILTER1 *filter)
{
    if (traffic->layer->kind == LAYER_STREAM) /* there every callout but those that only inspect has to say so */
        return filter->action.type == FWP_ACTION_CALLOUT_INSPECTION ? FWP_ACTION_CONTINUE : FWP_ACTION_PERMIT;
    return filter->action.type == FWP_ACTION_CALLOUT_TERMINATING ? FWP_ACTION_PERMIT : FWP_ACTION_CONTINUE;
}

static void decide(FWPS_CLASSIFY_OUT0 *out, FWP_ACTION_TYPE action, BOOLEAN hard, BOOLEAN absorb)
{
    out->actionType = action;
    if (hard)
        out->rights &= ~FWPS_RIGHT_ACTION_WRITE;
    if (absorb)
        out->flags |= FWPS_CLASSIFY_OUT_FLAG_ABSORB;
}

static void act(TRAFFIC *traffic, const WFPCALLOUT_RULE *rule, void *data, const void *context,
                const FWPS_FILTER1 *filter, FWPS_CLASSIFY_OUT0 *out)
{
    switch (rule->action) {
    case WFPCALLOUT_ACTION_BLOCK:
        decide(out, FWP_ACTION_BLOCK, TRUE, FALSE);
        break;
    case WFPCALLOUT_ACTION_SOFT_BLOCK:
        decide(out, FWP_ACTION_BLOCK, FALSE, FALSE);
        break;
    case WFPCALLOUT_ACTION_HARD_PERMIT:
        decide(out, FWP_ACTION_PERMIT, TRUE, FALSE);
        break;
    case WFPCALLOUT_ACTION_ABSORB:
        decide(out, FWP_ACTION_BLOCK, TRUE, TRUE);
        break;
    case WFPCALLOUT_ACTION_REDIRECT:
        (traffic->layer->kind == LAYER_BIND ? redirect_bind : redirect)(traffic, rule, context, filter, out);
        break;
    case WFPCALLOUT_ACTION_FLOW_CONTEXT:
        flow_associate(traffic, rule);
        out->actionType = filter->action.type == FWP_ACTION_CALLOUT_INSPECTION ? FWP_ACTION_CONTINUE : FWP_ACTION_PERMIT;
        break;
    case WFPCALLOUT_ACTION_REINJECT:
    case WFPCALLOUT_ACTION_REPLACE:
    case WFPCALLOUT_ACTION_REWRITE:
        /* What ALE has yet to authorize may not be injected here: it is permitted, and seen again at RECV_ACCEPT. */
        if (traffic->metadata->currentMetadataValues & FWPS_METADATA_FIELD_ALE_CLASSIFY_REQUIRED)
            out->actionType = FWP_ACTION_PERMIT;
        else if (data && inject_packet(traffic, rule, data))
            decide(out, FWP_ACTION_BLOCK, TRUE, TRUE);
        else
            out->actionType = FWP_ACTION_PERMIT;
        break;
    case WFPCALLOUT_ACTION_PEND:
        pend_operation(traffic, rule, data, out);
        break;
    case WFPCALLOUT_ACTION_PEND_CLASSIFY:
        pend_classify(traffic, rule, context, filter, out);
        break;
    case WFPCALLOUT_ACTION_CONTINUE:
        out->actionType = FWP_ACTION_CONTINUE;
        break;
    case WFPCALLOUT_ACTION_STREAM_NEED_MORE:
    case WFPCALLOUT_ACTION_STREAM_DEFER:
    case WFPCALLOUT_ACTION_STREAM_REPLACE:
    case WFPCALLOUT_ACTION_STREAM_INSERT:
    case WFPCALLOUT_ACTION_STREAM_REMOVE:
    case WFPCALLOUT_ACTION_STREAM_REINJECT:
    case WFPCALLOUT_ACTION_STREAM_DROP:
    case WFPCALLOUT_ACTION_STREAM_ALLOW:
        stream_act(traffic, rule, data, filter, out);
        break;
    default:
        out->actionType = FWP_ACTION_PERMIT;
        break;
    }
}

void NTAPI classify(const FWPS_INCOMING_VALUES0 *values, const FWPS_INCOMING_METADATA_VALUES0 *metadata, void *data,
                    const void *context, const FWPS_FILTER1 *filter, UINT64 flow_context, FWPS_CLASSIFY_OUT0 *out)
{
    TRAFFIC traffic = {0};
    WFPCALLOUT_RULE rule;
    BOOLEAN exhausted = FALSE, may_decide;
    UINT8 kind = WFPCALLOUT_EVENT_CLASSIFY;

    traffic.layer = find_layer(values->layerId);
    traffic.values = values;
    traffic.metadata = metadata;
    if (!traffic.layer)
        return;
    describe(&traffic, data);
    traffic.event.rule = filter->context;
    traffic.event.filter_id = filter->filterId;
    traffic.event.flow_context = flow_context;
    traffic.event.rights = out->rights;
    traffic.event.classify_flags = out->flags;
    /* At the stream layer the right has no significance. */
    may_decide = traffic.layer->kind == LAYER_STREAM || (out->rights & FWPS_RIGHT_ACTION_WRITE) != 0;
    /* A filter outlives its rule for a moment; so may a rule at the IP layers be about another port. */
    if (!rule_hit(filter->context, &rule, &exhausted) || !matches(&traffic, &rule)) {
        if (may_decide)
            out->actionType = pass_on(&traffic, filter);
        return;
    }
    lab_crash(WFPCALLOUT_CRASH_CLASSIFY);
    if (rule.action == WFPCALLOUT_ACTION_PEND && (traffic.event.condition_flags & FWP_CONDITION_FLAG_IS_REAUTHORIZE))
        exhausted = FALSE; /* what was put off has to be answered */
    traffic.event.slot = rule.slot;
    if (!may_decide) {
        /* Seen, and not ours to decide, but for the one thing that is always allowed: to veto what others permit. */
        if (rule.action == WFPCALLOUT_ACTION_BLOCK && !exhausted)
            out->actionType = FWP_ACTION_BLOCK;
        else if (rule.action == WFPCALLOUT_ACTION_PEND)
            pend_overruled(&traffic, out);
        traffic.event.action = out->actionType;
    } else {
        BOOLEAN own = FALSE, packet = data && has_packet(traffic.layer), entered = packet && inject_enter();
        if (entered) {
            FWPS_PACKET_INJECTION_STATE state = inject_state(traffic.layer, data);
            traffic.event.injection_state = (UINT8)(state + 1);
            own = state == FWPS_PACKET_INJECTED_BY_SELF || state == FWPS_PACKET_PREVIOUSLY_INJECTED_BY_SELF;
            traffic.event.value = state;
        }
        if (own && !(rule.flags & WFPCALLOUT_RULE_IGNORE_STATE)) {
            out->actionType = FWP_ACTION_PERMIT;
            kind = WFPCALLOUT_EVENT_SELF;
        } else if (exhausted || (packet && !entered)) {
            out->actionType = FWP_ACTION_PERMIT;
        } else {
            act(&traffic, &rule, data, context, filter, out);
        }
        if (entered)
            inject_leave();
        traffic.event.action = out->actionType;
    }
    if (!(rule.flags & WFPCALLOUT_RULE_SILENT)) {
        traffic.event.kind = kind;
        event_record(&traffic.event);
    }
}

NTSTATUS NTAPI notify(FWPS_CALLOUT_NOTIFY_TYPE type, const GUID *key, FWPS_FILTER1 *filter)
{
    WFPCALLOUT_EVENT event = {0};
    UNREFERENCED_PARAMETER(key);
    event.kind = WFPCALLOUT_EVENT_NOTIFY;
    event.value = (UINT64)type;
    if (filter) {
        event.filter_id = filter->filterId;
        event.rule = filter->context;
    }
    event_record(&event);
    return STATUS_SUCCESS;
}
