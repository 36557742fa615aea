/*
 * What comes in for a port that nobody has (W235). On Windows the stack looks for the endpoint before ALE does; here Linux
 * keeps the sockets, and tells in /proc which there are.
 *
 * SPDX-License-Identifier: MIT
 */
#include "stack.h"

enum { MODULE_NETWORK = 0, MODULE_TRANSPORT = 1, REASON_ENDPOINT_NOT_FOUND = 4 /* of INET_DISCARD_REASON */, REASON_PORT_UNREACHABLE = 4 /* of IP_DISCARD_REASON */ };

/* Where the packet would be seen if somebody had its port. */
static BOOL anybody_looks(uint8_t family)
{
    static const UINT16 layers[] = {LAYER_INBOUND_TRANSPORT_V4, LAYER_INBOUND_TRANSPORT_V4 + 1, LAYER_INBOUND_IPPACKET_V4 + 1,
                                    LAYER_ALE_AUTH_RECV_ACCEPT_V4, LAYER_ALE_FLOW_ESTABLISHED_V4, LAYER_DATAGRAM_DATA_V4};
    for (unsigned i = 0; i < sizeof layers / sizeof layers[0]; i++)
        if (layer_has_filters(layer_of(layers[i], family)))
            return TRUE;
    return FALSE;
}

BOOL unheard(const struct packet *packet)
{
    const struct tuple *t = &packet->tuple;
    if ((t->protocol != IPPROTO_TCP && t->protocol != IPPROTO_UDP) || !wire.listens || address_is_many(&t->local))
        return FALSE;
    return anybody_looks(t->local.family) && !wire.listens(t);
}

BOOL unheard_answer(struct packet *packet)
{
    BOOL tcp = packet->tuple.protocol == IPPROTO_TCP;
    struct view view = {.tuple = &packet->tuple, .packet = packet, .show = tcp ? SHOW_PAYLOAD : SHOW_TRANSPORT, .discarded = TRUE,
                        .discard_module = tcp ? MODULE_TRANSPORT : MODULE_NETWORK,
                        .discard_reason = tcp ? REASON_ENDPOINT_NOT_FOUND : REASON_PORT_UNREACHABLE};
    UINT16 layer = layer_of(tcp ? LAYER_INBOUND_TRANSPORT_V4 : LAYER_INBOUND_IPPACKET_V4, packet->tuple.local.family);
    return view_classify(layer, &view).permit;
}
