/* The layers that the driver has callouts at. SPDX-License-Identifier: MIT */
#include "callout.h"

#define F(layer, field) FWPS_FIELD_##layer##_##field
#define ENTRY(name, fam, what, in, lp, rp, proto, ifindex, subif, dir, why)                                            \
    {FWPS_LAYER_##name, fam, what, in, &FWPM_LAYER_##name, F(name, IP_LOCAL_ADDRESS), F(name, IP_REMOTE_ADDRESS), lp, rp, \
     proto, F(name, FLAGS), ifindex, subif, dir, NO_FIELD, why}
#define IPPACKET(name, fam, in)                                                                                        \
    ENTRY(name, fam, LAYER_IPPACKET, in, NO_FIELD, NO_FIELD, NO_FIELD, F(name, INTERFACE_INDEX),                        \
          F(name, SUB_INTERFACE_INDEX), NO_FIELD, NO_FIELD)
#define TRANSPORT(name, fam, in)                                                                                       \
    ENTRY(name, fam, LAYER_TRANSPORT, in, F(name, IP_LOCAL_PORT), F(name, IP_REMOTE_PORT), F(name, IP_PROTOCOL),        \
          F(name, INTERFACE_INDEX), F(name, SUB_INTERFACE_INDEX), NO_FIELD, NO_FIELD)
#define DATAGRAM(name, fam)                                                                                            \
    ENTRY(name, fam, LAYER_DATAGRAM, FALSE, F(name, IP_LOCAL_PORT), F(name, IP_REMOTE_PORT), F(name, IP_PROTOCOL),      \
          F(name, INTERFACE_INDEX), F(name, SUB_INTERFACE_INDEX), F(name, DIRECTION), NO_FIELD)
#define STREAM(name, fam)                                                                                              \
    ENTRY(name, fam, LAYER_STREAM, FALSE, F(name, IP_LOCAL_PORT), F(name, IP_REMOTE_PORT), NO_FIELD, NO_FIELD, NO_FIELD, \
          F(name, DIRECTION), NO_FIELD)
#define ALE(name, fam, what, in)                                                                                       \
    ENTRY(name, fam, what, in, F(name, IP_LOCAL_PORT), F(name, IP_REMOTE_PORT), F(name, IP_PROTOCOL), NO_FIELD,         \
          NO_FIELD, NO_FIELD, NO_FIELD)
/* What comes in is delivered at an interface, into which its packet is injected again. */
#define AUTH(name, fam, in)                                                                                            \
    ENTRY(name, fam, LAYER_ALE, in, F(name, IP_LOCAL_PORT), F(name, IP_REMOTE_PORT), F(name, IP_PROTOCOL),              \
          F(name, INTERFACE_INDEX), F(name, SUB_INTERFACE_INDEX), NO_FIELD, F(name, REAUTHORIZE_REASON))

/* ICMP type and code stand where other layers have ports. */
#define ICMP_ERROR(name, fam, in)                                                                                      \
    ENTRY(name, fam, LAYER_ICMP_ERROR, in, F(name, ICMP_TYPE), F(name, ICMP_CODE), NO_FIELD, F(name, INTERFACE_INDEX),  \
          F(name, SUB_INTERFACE_INDEX), NO_FIELD, NO_FIELD)
#define MAC(name, in)                                                                                                  \
    {FWPS_LAYER_##name, 0, LAYER_MAC, in, &FWPM_LAYER_##name, NO_FIELD, NO_FIELD, NO_FIELD, NO_FIELD, NO_FIELD, NO_FIELD, \
     F(name, INTERFACE_INDEX), NO_FIELD, NO_FIELD, F(name, NDIS_PORT), NO_FIELD}
/* What an endpoint does without a peer. */
#define ENDPOINT(name, fam, what, proto)                                                                               \
    {FWPS_LAYER_##name, fam, what, FALSE, &FWPM_LAYER_##name, F(name, IP_LOCAL_ADDRESS), NO_FIELD, F(name, IP_LOCAL_PORT), \
     NO_FIELD, proto, F(name, FLAGS), NO_FIELD, NO_FIELD, NO_FIELD, NO_FIELD, NO_FIELD}

#define FORWARD(name, fam)                                                                                             \
    {FWPS_LAYER_##name, fam, LAYER_FORWARD, FALSE, &FWPM_LAYER_##name, F(name, IP_SOURCE_ADDRESS), F(name, IP_DESTINATION_ADDRESS), \
     NO_FIELD, NO_FIELD, NO_FIELD, F(name, FLAGS), F(name, DESTINATION_INTERFACE_INDEX), NO_FIELD, NO_FIELD, NO_FIELD, NO_FIELD}

const LAYER layers[] = {
    IPPACKET(INBOUND_IPPACKET_V4, 4, TRUE),
    IPPACKET(INBOUND_IPPACKET_V6, 6, TRUE),
    IPPACKET(OUTBOUND_IPPACKET_V4, 4, FALSE),
    IPPACKET(OUTBOUND_IPPACKET_V6, 6, FALSE),
    TRANSPORT(INBOUND_TRANSPORT_V4, 4, TRUE),
    TRANSPORT(INBOUND_TRANSPORT_V6, 6, TRUE),
    TRANSPORT(OUTBOUND_TRANSPORT_V4, 4, FALSE),
    TRANSPORT(OUTBOUND_TRANSPORT_V6, 6, FALSE),
    STREAM(STREAM_V4, 4),
    STREAM(STREAM_V6, 6),
    DATAGRAM(DATAGRAM_DATA_V4, 4),
    DATAGRAM(DATAGRAM_DATA_V6, 6),
    ICMP_ERROR(INBOUND_ICMP_ERROR_V4, 4, TRUE),
    ICMP_ERROR(INBOUND_ICMP_ERROR_V6, 6, TRUE),
    ICMP_ERROR(OUTBOUND_ICMP_ERROR_V4, 4, FALSE),
    ICMP_ERROR(OUTBOUND_ICMP_ERROR_V6, 6, FALSE),
    AUTH(ALE_AUTH_RECV_ACCEPT_V4, 4, TRUE),
    AUTH(ALE_AUTH_RECV_ACCEPT_V6, 6, TRUE),
    AUTH(ALE_AUTH_CONNECT_V4, 4, FALSE),
    AUTH(ALE_AUTH_CONNECT_V6, 6, FALSE),
    ALE(ALE_FLOW_ESTABLISHED_V4, 4, LAYER_FLOW, FALSE),
    ALE(ALE_FLOW_ESTABLISHED_V6, 6, LAYER_FLOW, FALSE),
    ALE(ALE_CONNECT_REDIRECT_V4, 4, LAYER_REDIRECT, FALSE),
    ALE(ALE_CONNECT_REDIRECT_V6, 6, LAYER_REDIRECT, FALSE),
    FORWARD(IPFORWARD_V4, 4),
    FORWARD(IPFORWARD_V6, 6),
    MAC(INBOUND_MAC_FRAME_ETHERNET, TRUE),
    MAC(OUTBOUND_MAC_FRAME_ETHERNET, FALSE),
    ENDPOINT(ALE_BIND_REDIRECT_V4, 4, LAYER_BIND, F(ALE_BIND_REDIRECT_V4, IP_PROTOCOL)),
    ENDPOINT(ALE_BIND_REDIRECT_V6, 6, LAYER_BIND, F(ALE_BIND_REDIRECT_V6, IP_PROTOCOL)),
    ENDPOINT(ALE_RESOURCE_ASSIGNMENT_V4, 4, LAYER_ALE, F(ALE_RESOURCE_ASSIGNMENT_V4, IP_PROTOCOL)),
    ENDPOINT(ALE_RESOURCE_ASSIGNMENT_V6, 6, LAYER_ALE, F(ALE_RESOURCE_ASSIGNMENT_V6, IP_PROTOCOL)),
    ENDPOINT(ALE_AUTH_LISTEN_V4, 4, LAYER_ALE, NO_FIELD),
    ENDPOINT(ALE_AUTH_LISTEN_V6, 6, LAYER_ALE, NO_FIELD),
    ENDPOINT(ALE_RESOURCE_RELEASE_V4, 4, LAYER_ALE, F(ALE_RESOURCE_RELEASE_V4, IP_PROTOCOL)),
    ENDPOINT(ALE_RESOURCE_RELEASE_V6, 6, LAYER_ALE, F(ALE_RESOURCE_RELEASE_V6, IP_PROTOCOL)),
    ALE(ALE_ENDPOINT_CLOSURE_V4, 4, LAYER_ALE, FALSE),
    ALE(ALE_ENDPOINT_CLOSURE_V6, 6, LAYER_ALE, FALSE),
};
C_ASSERT(sizeof layers / sizeof layers[0] == LAYERS);
const ULONG layer_count = LAYERS;

const LAYER *find_layer(UINT16 id)
{
    ULONG i;
    for (i = 0; i < layer_count; i++)
        if (layers[i].id == id)
            return &layers[i];
    return NULL;
}
