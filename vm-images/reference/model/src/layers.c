/* Builds what a callout sees at each layer and classifies: values and data offsets. SPDX-License-Identifier: MIT */
#include <string.h>

#include "stack.h"

enum { POISON_SLOTS = 4, FIELDS_MAX = 48, INTERFACE_TYPE_ETHERNET = 6 };

static UINT64 zero64, interface_luid = 0x6000000000001ull;

/* IPv4 in host byte order, IPv6 as bytes in network order (W077); these are valid during the classify. */
static void put_address(FWP_VALUE0 *value, const struct address *address)
{
    if (value->type == FWP_BYTE_ARRAY16_TYPE)
        value->byteArray16 = (FWP_BYTE_ARRAY16 *)(uintptr_t)address->bytes;
    else
        value->uint32 = address_host(address);
}

/* NL_ADDRESS_TYPE */
static UINT8 address_type(const struct address *address)
{
    enum { UNICAST = 1, MULTICAST = 3, BROADCAST = 4 };
    BOOL broadcast = address->family == FAMILY_V4 && address_host(address) == 0xffffffff;
    return broadcast ? BROADCAST : address_is_multicast(address) ? MULTICAST : UNICAST;
}

static void put_embedded(FWP_VALUE0 *value, uint16_t condition, const struct tuple *embedded)
{
    if (!embedded)
        value->type = FWP_EMPTY;
    else if (condition == COND_EMBEDDED_PROTOCOL)
        value->uint8 = embedded->protocol;
    else if (condition == COND_EMBEDDED_REMOTE_ADDRESS)
        put_address(value, &embedded->remote);
    else if (condition == COND_EMBEDDED_LOCAL_ADDRESS_TYPE)
        value->uint8 = address_type(&embedded->local);
    else
        value->uint16 = condition == COND_EMBEDDED_LOCAL_PORT ? embedded->local_port : embedded->remote_port;
}

/* A packet that goes out is reauthorized at the layer that it came in through: where it arrived is unknown (W088). */
static BOOL arrival_unknown(const struct field_fact *field, const struct view *view)
{
    switch (field->condition) {
    case COND_IP_ARRIVAL_INTERFACE:
    case COND_ARRIVAL_INTERFACE_TYPE:
    case COND_ARRIVAL_INTERFACE_INDEX:
    case COND_ARRIVAL_TUNNEL_TYPE:
        return view->reason && view->outbound && view->flow && !view->flow->outbound;
    default:
        return FALSE;
    }
}

/* The condition flags that the documents give at a layer, of those that the model has (W236). */
static UINT32 flags_at(UINT16 layer)
{
    switch (layer_v4(layer)) {
    case LAYER_INBOUND_IPPACKET_V4:
        return FLAG_IS_LOOPBACK | FLAG_IS_FRAGMENT | FLAG_IS_REASSEMBLED;
    case LAYER_INBOUND_TRANSPORT_V4:
        return FLAG_IS_LOOPBACK | FLAG_REQUIRES_ALE_CLASSIFY;
    case LAYER_OUTBOUND_IPPACKET_V4:
    case LAYER_OUTBOUND_TRANSPORT_V4:
    case LAYER_DATAGRAM_DATA_V4:
    case LAYER_INBOUND_ICMP_ERROR_V4:
    case LAYER_OUTBOUND_ICMP_ERROR_V4:
        return FLAG_IS_LOOPBACK;
    case LAYER_ALE_AUTH_RECV_ACCEPT_V4:
        return FLAG_IS_LOOPBACK | FLAG_IS_REAUTHORIZE;
    case LAYER_ALE_AUTH_CONNECT_V4:
        return FLAG_IS_REAUTHORIZE | FLAG_IS_CONNECTION_REDIRECTED | FLAG_IS_PROXY_CONNECTION;
    case LAYER_ALE_FLOW_ESTABLISHED_V4:
        return FLAG_IS_LOOPBACK | FLAG_IS_PROXY_CONNECTION;
    case LAYER_ALE_CONNECT_REDIRECT_V4:
        return FLAG_IS_PROXY_CONNECTION;
    case LAYER_STREAM_V4:
        return 0;
    default:
        return 0xffffffff;
    }
}

static const struct program *program_in(const struct view *view)
{
    return view->endpoint ? view->endpoint->program : view->flow ? view->flow->program : NULL;
}

static void put_value(FWP_VALUE0 *value, const struct field_fact *field, const struct view *view)
{
    const struct tuple *t = view->tuple;
    value->type = field->type;
    value->uint64 = NULL;
    if (arrival_unknown(field, view)) {
        value->type = FWP_EMPTY;
        return;
    }
    switch (field->condition) {
    case COND_IP_LOCAL_ADDRESS:
        put_address(value, &t->local);
        if (view->endpoint && address_is_zero(&t->local)) /* W203 */
            value->type = FWP_EMPTY;
        return;
    case COND_IP_REMOTE_ADDRESS:
        put_address(value, &t->remote);
        if (view->endpoint && address_is_zero(&t->remote))
            value->type = FWP_EMPTY;
        return;
    case COND_IP_SOURCE_ADDRESS: /* of a packet that is forwarded: it came in */
        put_address(value, &t->remote);
        return;
    case COND_IP_DESTINATION_ADDRESS:
        put_address(value, &t->local);
        return;
    case COND_SOURCE_INTERFACE_INDEX:
        value->uint32 = view->forwarded_to_second ? wire.interface_index : wire.second.index;
        return;
    case COND_DESTINATION_INTERFACE_INDEX:
        value->uint32 = view->forwarded_to_second ? wire.second.index : wire.interface_index;
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
        value->uint32 = view->flags | (view->reason ? FLAG_IS_REAUTHORIZE : 0);
        return;
    case COND_REAUTHORIZE_REASON:
        value->uint32 = view->reason;
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
    case COND_ALE_PROMISCUOUS_MODE:
        value->uint32 = view->endpoint ? view->endpoint->promiscuous : 0;
        return;
    case COND_IP_LOCAL_ADDRESS_TYPE:
        value->uint8 = address_type(&t->local);
        return;
    case COND_IP_DESTINATION_ADDRESS_TYPE:
        value->uint8 = address_type(view->outbound ? &t->remote : &t->local);
        return;
    case COND_EMBEDDED_PROTOCOL:
    case COND_EMBEDDED_REMOTE_ADDRESS:
    case COND_EMBEDDED_LOCAL_ADDRESS_TYPE:
    case COND_EMBEDDED_LOCAL_PORT:
    case COND_EMBEDDED_REMOTE_PORT:
        put_embedded(value, field->condition, view->embedded);
        return;
    case COND_IP_LOCAL_INTERFACE:
    case COND_IP_FORWARD_INTERFACE:
    case COND_IP_PHYSICAL_ARRIVAL_INTERFACE:
    case COND_IP_PHYSICAL_NEXTHOP_INTERFACE:
    case COND_IP_ARRIVAL_INTERFACE:
    case COND_IP_NEXTHOP_INTERFACE:
        value->uint64 = &interface_luid;
        return;
    case COND_ALE_APP_ID:
        value->byteBlob = path_of(program_in(view));
        return;
    case COND_ALE_ORIGINAL_APP_ID: /* W147 */
        value->byteBlob = path_of(view->flow && view->flow->original_program ? view->flow->original_program : program_in(view));
        return;
    default:
        break;
    }
    if (field->type == FWP_UINT64)
        value->uint64 = &zero64;
    else if (field->type > FWP_UINT32)
        value->type = FWP_EMPTY;
}

/* A layer's _DISCARD layer is the next, with the same fields. */
static void discard(struct classification *what, UINT32 module, UINT32 reason, UINT64 filter)
{
    what->layer = layer_by_id((UINT16)(what->layer->id + 1));
    what->metadata.currentMetadataValues |= META_DISCARD_REASON;
    what->metadata.discardMetadata.discardModule = module;
    what->metadata.discardMetadata.discardReason = reason;
    what->metadata.discardMetadata.filterId = filter;
}

/* Tells the _DISCARD layer what a filter has blocked, and which; absorbed is silent. Nobody can change it there. */
static void tell_discard(struct classification what, const struct verdict *verdict)
{
    enum { MODULE_GENERAL = 2, REASON_FIREWALL_POLICY = 0 };
    UINT16 layer = (UINT16)(what.layer->id + 1);
    BOOL put_off = (what.pend && what.pend->pends) || (what.context && what.context->suspended);
    if (put_off || verdict->permit || verdict->absorb || layer > LAYER_INBOUND_MAC_FRAME_ETHERNET || !layer_has_filters(layer))
        return;
    what.context = NULL;
    what.pend = NULL;
    discard(&what, MODULE_GENERAL, REASON_FIREWALL_POLICY, verdict->filter_id);
    classify(&what);
}

static void fill(UINT16 layer_id, const struct view *view, struct classification *what, FWPS_INCOMING_VALUE0 *slots)
{
    const struct layer_fact *layer = what->layer;
    MODEL_ASSERT(layer->field_count <= FIELDS_MAX);
    what->values = slots;
    memset(what->values + layer->field_count, 0xa5, POISON_SLOTS * sizeof *what->values);
    struct view seen = *view;
    seen.flags &= flags_at(layer_id);
    for (UINT32 i = 0; i < layer->field_count; i++)
        put_value(&what->values[i].value, &layer->fields[i], &seen);
    put_metadata(&what->metadata, layer_id, view);
}

void view_open(UINT16 layer_id, const struct view *view, struct classification *out)
{
    *out = (struct classification){.layer = layer_by_id(layer_id), .flow = view->flow, .protocol = view->tuple->protocol,
                                   .irql = view->outbound ? IRQL_PASSIVE : IRQL_DISPATCH};
    fill(layer_id, view, out, mem_alloc((FIELDS_MAX + POISON_SLOTS) * sizeof *out->values));
}

struct verdict view_classify(UINT16 layer_id, struct view *view)
{
    BOOL resumed = view->context && view->context->suspended;
    if (!resumed && !layer_has_filters((UINT16)(layer_id + (view->discarded ? 1 : 0))))
        return (struct verdict){TRUE, FALSE, FALSE, 0};
    const struct layer_fact *layer = layer_by_id(layer_id);
    struct classify_context *own = view->pend ? context_new(layer_id) : NULL; /* redirect layers bring theirs */
    struct classification what = {.layer = layer, .flow = view->flow, .layer_data = view->layer_data,
                                  .context = own ? own : view->context, .pend = view->pend, .protocol = view->tuple->protocol,
                                  .irql = (view->packet ? view->packet->outbound : view->outbound) ? IRQL_PASSIVE : IRQL_DISPATCH};
    FWPS_INCOMING_VALUE0 slots[FIELDS_MAX + POISON_SLOTS];
    fill(layer_id, view, &what, slots);
    if (view->show) {
        struct packet *p = view->packet;
        size_t at = view->show == SHOW_IP ? p->ip : view->show == SHOW_TRANSPORT ? p->ip + p->ihl : p->payload;
        at += view->show == SHOW_QUOTED ? ICMP_HEADER : 0;
        what.nbl = what.layer_data = p->nbl;
        nbl_block_of(p->nbl)->ale_required = view->ale_required;
        nb_set(p->nbl->FirstNetBuffer, (ULONG)(HEADROOM + at), (ULONG)(p->end - at));
    }
    if (view->discarded)
        discard(&what, view->discard_module, view->discard_reason, 0);
    struct verdict verdict = classify(&what);
    if (!view->discarded)
        tell_discard(what, &verdict);
    if (own) {
        context_check_released(own, layer);
        context_release(own);
    }
    return verdict;
}
