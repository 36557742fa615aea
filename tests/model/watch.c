/* See watch.h. SPDX-License-Identifier: MIT */
#include "watch.h"

/* Which bits may be announced at the layers, by the metadata table of the documents (W233); both families are alike. */
static const struct {
    UINT16 layer;
    UINT32 allowed;
} path[] = {
    {LAYER_ALE_CONNECT_REDIRECT_V4, 0xdc008030}, {LAYER_ALE_AUTH_CONNECT_V4, 0x8c06ccba}, {LAYER_ALE_AUTH_RECV_ACCEPT_V4, 0x8c04ccbe},
    {LAYER_ALE_FLOW_ESTABLISHED_V4, 0x8c0080ba}, {LAYER_INBOUND_IPPACKET_V4, 0x1804}, {LAYER_OUTBOUND_IPPACKET_V4, 0x3c04},
    {LAYER_INBOUND_TRANSPORT_V4, 0x8408cc6}, {LAYER_OUTBOUND_TRANSPORT_V4, 0x8038cc2}, {LAYER_STREAM_V4, 0x42},
    {LAYER_DATAGRAM_DATA_V4, 0x8038c46}, {LAYER_INBOUND_ICMP_ERROR_V4, 0x8c04}, {LAYER_OUTBOUND_ICMP_ERROR_V4, 0x38c40},
};
enum { PATH_LAYERS = sizeof path / sizeof path[0], FIRST_KEY = 50 };

struct seen seen[SEEN_MAX];
unsigned seen_count;
static UINT32 ids[PATH_LAYERS];

const FWP_VALUE0 *value_of(const struct call *call, uint16_t condition)
{
    const struct layer_fact *layer = layer_by_id(call->values->layerId);
    for (UINT32 i = 0; i < call->values->valueCount; i++)
        if (layer->fields[i].condition == condition)
            return &call->values->incomingValue[i].value;
    return NULL;
}

static UINT32 number_of(const struct call *call, uint16_t condition, UINT32 none)
{
    const FWP_VALUE0 *value = value_of(call, condition);
    return !value ? none : value->type == FWP_UINT16 ? value->uint16 : value->uint32;
}

static struct address address_seen(const struct call *call, uint16_t condition)
{
    const FWP_VALUE0 *value = value_of(call, condition);
    if (!value)
        return (struct address){0};
    return value->type == FWP_BYTE_ARRAY16_TYPE ? address_of(FAMILY_V6, value->byteArray16->byteArray16) : address_v4(value->uint32);
}

static void look(struct behaviour *b, struct call *call)
{
    struct seen *s = &seen[seen_count++ % SEEN_MAX];
    const FWPS_INCOMING_METADATA_VALUES0 *m = call->metadata;
    NET_BUFFER_LIST *list = call->data;
    memset(s, 0, sizeof *s);
    s->layer = call->values->layerId;
    s->irql = b->irql;
    s->metadata = m->currentMetadataValues;
    s->ip_size = s->metadata & META_IP_HEADER_SIZE ? m->ipHeaderSize : 0;
    s->transport_size = s->metadata & META_TRANSPORT_HEADER_SIZE ? m->transportHeaderSize : 0;
    s->flow = s->metadata & META_FLOW_HANDLE ? m->flowHandle : 0;
    s->direction = number_of(call, COND_DIRECTION, 99);
    s->flags = number_of(call, COND_FLAGS, 0);
    s->local_port = (UINT16)number_of(call, COND_IP_LOCAL_PORT, 0);
    s->remote_port = (UINT16)number_of(call, COND_IP_REMOTE_PORT, 0);
    s->local = address_seen(call, COND_IP_LOCAL_ADDRESS);
    s->remote = address_seen(call, COND_IP_REMOTE_ADDRESS);
    s->has_data = call->data != NULL;
    if (layer_v4(s->layer) == LAYER_STREAM_V4) {
        const FWPS_STREAM_CALLOUT_IO_PACKET0 *io = call->data;
        list = io->streamData->netBufferListChain;
        s->length = (UINT32)io->streamData->dataLength;
    } else if (layer_v4(s->layer) == LAYER_ALE_CONNECT_REDIRECT_V4) {
        list = NULL;
    } else if (list) {
        s->length = list->FirstNetBuffer->DataLength;
    }
    const uint8_t *bytes = list && s->length ? NdisGetDataBuffer(list->FirstNetBuffer, 1, NULL, 1, 0) : NULL;
    s->first_byte = bytes ? *bytes : 0;
    call->out->actionType = ACTION_PERMIT;
}

void check_metadata(const char *name)
{
    UINT32 beyond = 0;
    for (unsigned i = 0; i < seen_count && i < SEEN_MAX; i++)
        for (unsigned k = 0; k < PATH_LAYERS; k++)
            if (path[k].layer == layer_v4(seen[i].layer))
                beyond |= seen[i].metadata & ~path[k].allowed;
    EXPECT(name, beyond, 0);
}

const struct seen *at(UINT16 layer)
{
    static const struct seen nothing;
    for (unsigned i = 0; i < seen_count && i < SEEN_MAX; i++)
        if (seen[i].layer == layer)
            return &seen[i];
    return &nothing;
}

static UINT32 owner_seven(const struct tuple *tuple)
{
    (void)tuple;
    return 7;
}

void watch_path_of(uint8_t family)
{
    begin();
    for (unsigned i = 0; i < PATH_LAYERS; i++) {
        UINT16 layer = layer_of(path[i].layer, family);
        add_callout(FIRST_KEY + i, layer, &ids[i]);
        register_callout(FIRST_KEY + i, 0);
        add_filter(layer, 100, ACTION_CALLOUT_TERMINATING, FIRST_KEY + i, 1, 0, NULL);
    }
    behave[0].instead = look;
    seen_count = 0;
    wire.owner = owner_seven;
}

void watch_path(void)
{
    watch_path_of(FAMILY_V4);
}

void watch_path_end(void)
{
    wire.owner = NULL;
    end();
    for (unsigned i = 0; i < PATH_LAYERS; i++)
        FwpsCalloutUnregisterById0(ids[i]);
}
