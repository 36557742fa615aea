/*
 * Below IP: the MAC layers (INBOUND and OUTBOUND_MAC_FRAME_ETHERNET and _NATIVE), and what leaves for the link. A frame
 * that no callout looks at is not copied. The vSwitch layers have nothing to see here: the guest is nobody's host.
 *
 * SPDX-License-Identifier: MIT
 */
#include <string.h>

#include "stack.h"

enum { TAG = 0x8100, TAG_SIZE = 4, FIELDS_MAX = 16, POISON_SLOTS = 4 };
enum { MEDIUM_802_3 = 0, PHYSICAL_802_3 = 14, TYPE_ETHERNET_CSMACD = 6, MAC_UNICAST = 0, MAC_MULTICAST = 1, MAC_BROADCAST = 2 };
enum { L2_METADATA_MAC_HEADER_SIZE = 1 };

static UINT64 interface_luid = 0x6000000000001ull;

NET_BUFFER_LIST *frame_wrap(const uint8_t *frame, size_t length)
{
    uint8_t *buffer = mem_alloc(HEADROOM + length);
    memcpy(buffer + HEADROOM, frame, length);
    return nbl_wrap(buffer, HEADROOM + length, HEADROOM, length);
}

static uint8_t *frame_of(NET_BUFFER_LIST *nbl, size_t *length)
{
    const MDL *mdl = nbl->FirstNetBuffer->MdlChain;
    *length = mdl->ByteCount - HEADROOM;
    return (uint8_t *)mdl->MappedSystemVa + HEADROOM;
}

static size_t header_size(const uint8_t *frame, size_t length)
{
    return length >= ETHERNET + TAG_SIZE && get16(frame + 12) == TAG ? ETHERNET + TAG_SIZE : ETHERNET;
}

static UINT8 kind_of(const uint8_t *mac)
{
    static const uint8_t all[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    return !memcmp(mac, all, 6) ? MAC_BROADCAST : mac[0] & 1 ? MAC_MULTICAST : MAC_UNICAST;
}

static void put_value(FWP_VALUE0 *value, const struct field_fact *field, uint8_t *frame, size_t length, BOOL outbound)
{
    uint8_t *local = frame + (outbound ? 6 : 0), *remote = frame + (outbound ? 0 : 6);
    size_t header = header_size(frame, length);
    value->type = field->type;
    value->uint64 = NULL;
    switch (field->condition) {
    case COND_INTERFACE_MAC_ADDRESS:
        value->byteArray6 = (FWP_BYTE_ARRAY6 *)wire.guest_mac;
        break;
    case COND_MAC_LOCAL_ADDRESS:
        value->byteArray6 = (FWP_BYTE_ARRAY6 *)local;
        break;
    case COND_MAC_REMOTE_ADDRESS:
        value->byteArray6 = (FWP_BYTE_ARRAY6 *)remote;
        break;
    case COND_MAC_LOCAL_ADDRESS_TYPE:
        value->uint8 = kind_of(local);
        break;
    case COND_MAC_REMOTE_ADDRESS_TYPE:
        value->uint8 = kind_of(remote);
        break;
    case COND_ETHER_TYPE:
        value->uint16 = get16(frame + header - 2);
        break;
    case COND_VLAN_ID:
        value->uint16 = header > ETHERNET ? get16(frame + ETHERNET) & 0xfff : 0;
        break;
    case COND_IP_LOCAL_INTERFACE:
        value->uint64 = &interface_luid;
        break;
    case COND_INTERFACE_INDEX:
        value->uint32 = wire.interface_index;
        break;
    case COND_INTERFACE_TYPE:
        value->uint32 = TYPE_ETHERNET_CSMACD;
        break;
    case COND_COMPARTMENT_ID:
        value->uint32 = 1;
        break;
    case COND_NDIS_MEDIA_TYPE:
        value->uint32 = MEDIUM_802_3;
        break;
    case COND_NDIS_PHYSICAL_MEDIA_TYPE:
        value->uint32 = PHYSICAL_802_3;
        break;
    default: /* NDIS port and flags: zero */
        break;
    }
}

/* One classify. On the way in the Ethernet layer begins at the IP header, the others at the MAC header. */
static BOOL show(UINT16 layer_id, NET_BUFFER_LIST *nbl, BOOL outbound)
{
    if (!layer_has_filters(layer_id))
        return TRUE;
    size_t length;
    uint8_t *frame = frame_of(nbl, &length);
    const struct layer_fact *layer = layer_by_id(layer_id);
    FWPS_INCOMING_VALUE0 slots[FIELDS_MAX + POISON_SLOTS];
    struct classification what = {.layer = layer, .values = slots, .layer_data = nbl, .nbl = nbl, .irql = outbound ? IRQL_PASSIVE : IRQL_DISPATCH};
    MODEL_ASSERT(layer->field_count <= FIELDS_MAX);
    memset(slots + layer->field_count, 0xa5, POISON_SLOTS * sizeof slots[0]);
    for (UINT32 i = 0; i < layer->field_count; i++)
        put_value(&slots[i].value, &layer->fields[i], frame, length, outbound);
    memset(&what.metadata, 0xa5, sizeof what.metadata);
    what.metadata.currentMetadataValues = 0;
    what.metadata.flags = what.metadata.l2Flags = 0;
    what.metadata.currentL2MetadataValues = L2_METADATA_MAC_HEADER_SIZE;
    what.metadata.ethernetMacHeaderSize = (UINT32)header_size(frame, length);
    size_t skip = layer_id == LAYER_INBOUND_MAC_FRAME_ETHERNET ? what.metadata.ethernetMacHeaderSize : 0;
    nb_set(nbl->FirstNetBuffer, (ULONG)(HEADROOM + skip), (ULONG)(length - skip));
    return classify(&what).permit;
}

void frame_send(NET_BUFFER_LIST *nbl, UINT16 layer)
{
    size_t length;
    BOOL permit = layer != LAYER_OUTBOUND_MAC_FRAME_ETHERNET || show(layer, nbl, TRUE);
    if (permit && show(LAYER_OUTBOUND_MAC_FRAME_NATIVE, nbl, TRUE)) {
        uint8_t *frame = frame_of(nbl, &length);
        wire.to_link(frame, length);
    } else {
        COUNT(dropped_out);
    }
    nbl_release(nbl);
}

void frame_receive(NET_BUFFER_LIST *nbl, UINT16 layer)
{
    size_t length;
    BOOL permit = layer != LAYER_INBOUND_MAC_FRAME_NATIVE || show(layer, nbl, FALSE);
    if (permit && show(LAYER_INBOUND_MAC_FRAME_ETHERNET, nbl, FALSE)) {
        uint8_t *frame = frame_of(nbl, &length);
        stack_receive(frame, length, nbl);
    } else {
        COUNT(dropped_in);
    }
    nbl_release(nbl);
}

static void send_one(const uint8_t *frame, size_t length, const NET_BUFFER_LIST *origin)
{
    BOOL seen = layer_has_filters(LAYER_OUTBOUND_MAC_FRAME_ETHERNET) || layer_has_filters(LAYER_OUTBOUND_MAC_FRAME_NATIVE);
    if (!seen || length < ETHERNET) {
        wire.to_link(frame, length);
        return;
    }
    NET_BUFFER_LIST *nbl = frame_wrap(frame, length);
    nbl_inherit(nbl, origin);
    frame_send(nbl, LAYER_OUTBOUND_MAC_FRAME_ETHERNET);
}

void frame_to_link(const uint8_t *frame, size_t length, const NET_BUFFER_LIST *origin)
{
    if (length > ETHERNET + WIRE_MTU && fragments_send(frame, length, origin, send_one))
        return;
    send_one(frame, length, origin);
}

void stack_from_link(const uint8_t *frame, size_t length)
{
    BOOL seen = layer_has_filters(LAYER_INBOUND_MAC_FRAME_ETHERNET) || layer_has_filters(LAYER_INBOUND_MAC_FRAME_NATIVE);
    COUNT(frames_in);
    if (seen && length >= ETHERNET)
        frame_receive(frame_wrap(frame, length), LAYER_INBOUND_MAC_FRAME_NATIVE);
    else
        stack_receive(frame, length, NULL);
}
