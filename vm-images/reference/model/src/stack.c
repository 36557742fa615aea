/*
 * The path of a packet between the guest's sockets and the test NIC, layer by layer, in the documented order.
 *
 * A redirected flow has two faces: the address the guest's socket talks to, and the one behind it. On the way out the
 * packet takes the redirected address before any layer sees it; on the way in it gets the original address back last.
 * For a redirect to a local process the packet turns around here: it goes back into the guest as if it came from the
 * address that the client wanted to reach, with the client's port, so that the proxy's answer comes back to the engine.
 *
 * SPDX-License-Identifier: MIT
 */
#include <string.h>

#include "stack.h"

struct wire wire;

static void to_guest(uint8_t *frame, size_t length)
{
    if (memcmp(frame, wire.guest_mac, 6) && !(frame[0] & 1)) {
        memcpy(frame + 6, frame, 6);
        memcpy(frame, wire.guest_mac, 6);
    }
    wire.to_guest(frame, length);
}

static void deliver_out(struct packet *packet, struct flow *flow)
{
    COUNT(passed_out);
    if (flow && flow->redirected_local) {
        packet_rewrite(packet, TRUE, &flow->original, flow->local_port);
        if (flow->remote.family == FAMILY_V6 && address_is_loopback(&flow->remote)) {
            memset(packet->frame, 0, 12); /* the loopback interface has no addresses */
            wire.to_loopback(packet->frame, packet->end);
        } else {
            to_guest(packet->frame, packet->end);
        }
    } else {
        frame_to_link(packet->frame, packet->end, packet->nbl);
    }
}

static void deliver_in(struct packet *packet, struct flow *flow)
{
    COUNT(passed_in);
    if (flow && flow->redirected)
        packet_rewrite(packet, TRUE, &flow->original, flow->original_port);
    to_guest(packet->frame, packet->end);
}

/* A bare RST, from one end of the packet's conversation to the other. */
static void send_reset(BOOL to_link, const struct address *from, UINT16 from_port, const struct address *to, UINT16 to_port,
                       UINT32 sequence, UINT32 acknowledge)
{
    uint8_t frame[ETHERNET + 60] = {0}, *ip = frame + ETHERNET, *tcp = ip + ip_header(ip, from, to, IPPROTO_TCP, 20);
    put16(tcp, from_port);
    put16(tcp + 2, to_port);
    put32(tcp + 4, sequence);
    put32(tcp + 8, acknowledge);
    tcp[12] = 0x50;
    tcp[13] = TCP_RST | TCP_ACK;
    stack_frame_for(to_link, ip, frame);
    struct packet view = {.frame = frame, .length = (size_t)(tcp + 20 - frame), .outbound = to_link};
    packet_parse(&view);
    packet_fix_sums(&view);
    if (to_link)
        frame_to_link(frame, view.length, NULL);
    else
        wire.to_guest(frame, view.length);
}

/* Tells the guest's socket at once that its connect is blocked (Windows fails the connect call; here it is refused). */
void stack_refuse(const struct tuple *t, UINT32 sequence)
{
    send_reset(FALSE, &t->remote, t->remote_port, &t->local, t->local_port, 0, sequence + 1);
}

void stack_abort(struct flow *flow)
{
    if (flow->protocol != IPPROTO_TCP || stream_abort(flow))
        return;
    send_reset(FALSE, &flow->original, flow->original_port, &flow->local, flow->local_port, flow->next_in, flow->next_out);
    if (!flow->redirected_local)
        send_reset(TRUE, &flow->local, flow->local_port, &flow->remote, flow->remote_port, flow->next_out, flow->next_in);
}

static void drop(struct packet *packet)
{
    if (packet->outbound)
        COUNT(dropped_out);
    else
        COUNT(dropped_in);
}

/* Which ends have sent their FIN, and whose FIN the other end has acknowledged. */
enum { FIN_OUT = 1, FIN_IN = 2, FIN_OUT_ACKED = 4, FIN_IN_ACKED = 8, CLOSED = 15 };

/*
 * Takes down what a segment says of the connection's end; TRUE if it is over once the segment has arrived. Called before
 * it is delivered: its answer comes on the other direction's thread, maybe before the delivery has returned.
 */
static BOOL ends_flow(struct flow *flow, struct packet *packet)
{
    const uint8_t *tcp = flow ? packet_tcp(packet) : NULL;
    LONG bits = 0;
    if (!tcp || stream_carries(flow))
        return FALSE;
    if (tcp[13] & TCP_RST)
        return TRUE;
    if (tcp[13] & TCP_FIN)
        bits |= packet->outbound ? FIN_OUT : FIN_IN;
    UINT32 other_next = packet->outbound ? flow->next_in : flow->next_out;
    LONG other_fin = flow->closing & (packet->outbound ? FIN_IN : FIN_OUT);
    if (other_fin && (tcp[13] & TCP_ACK) && (int32_t)(get32(tcp + 8) - other_next) >= 0)
        bits |= packet->outbound ? FIN_IN_ACKED : FIN_OUT_ACKED;
    return (InterlockedOr(&flow->closing, bits) | bits) == CLOSED;
}

static BOOL is_new_tcp(struct packet *packet)
{
    const uint8_t *tcp = packet_tcp(packet);
    return tcp && (tcp[13] & (TCP_SYN_BIT | TCP_ACK)) == TCP_SYN_BIT;
}

/* A SYN that is none of this flow's own: the port is used again. A retransmitted one, however late, is still its own. */
static BOOL is_successor(const struct flow *flow, struct packet *packet)
{
    return flow && is_new_tcp(packet) && flow->first_sequence != get32(packet_tcp(packet) + 4);
}

/* TCP and UDP with whole headers, ICMP but its errors (W219), any other protocol as if it were UDP (W215). */
static BOOL has_flows(const struct packet *packet)
{
    uint8_t protocol = packet->tuple.protocol;
    if (packet->fragment || icmp_is_error(packet))
        return FALSE;
    return (protocol != IPPROTO_TCP && protocol != IPPROTO_UDP) || packet->thl;
}

/* The flow of a packet from a guest's socket, made when this is its first. FALSE: dropped. */
static BOOL outbound_flow(struct packet *packet, struct flow **flow)
{
    BOOL absorb = FALSE, is_new = packet->tuple.protocol != IPPROTO_TCP || is_new_tcp(packet);
    struct tuple sent = packet_key(packet);
    UINT32 sequence = packet_tcp(packet) ? get32(packet_tcp(packet) + 4) : 0;
    *flow = flow_find_sent(&sent);
    if (*flow && (*flow)->awaited && is_new_tcp(packet)) { /* authorized when connect was called */
        (*flow)->first_sequence = sequence;
        (*flow)->awaited = FALSE;
    }
    if (is_successor(*flow, packet)) {
        flow_end(*flow, "replaced");
        flow_release(*flow);
        *flow = NULL;
    }
    if (*flow && (*flow)->held && !ale_held_outbound(*flow, packet))
        return FALSE;
    if (*flow) {
        if ((*flow)->redirected)
            packet_rewrite(packet, FALSE, &(*flow)->remote, (*flow)->remote_port);
        return reauthorize(*flow, packet);
    }
    if (!is_new) {
        *flow = stream_find_closed(&sent, TRUE);
        if (*flow && (*flow)->redirected)
            packet_rewrite(packet, FALSE, &(*flow)->remote, (*flow)->remote_port);
        return TRUE;
    }
    if (sent.protocol == IPPROTO_TCP && refused_before(&sent, sequence)) {
        stack_refuse(&sent, sequence);
        return FALSE;
    }
    *flow = ale_connect(packet, &absorb);
    if (!*flow) {
        if (!absorb && sent.protocol == IPPROTO_TCP) {
            refused_note(&sent, sequence);
            stack_refuse(&sent, sequence);
        }
        return FALSE;
    }
    return sent.protocol == IPPROTO_TCP || ale_established(*flow, packet);
}

static BOOL outbound_data(struct packet *packet, struct flow *flow)
{
    const uint8_t *tcp = packet_tcp(packet);
    if (tcp) {
        if (!flow->outbound && flow->tcp == TCP_SYN && (tcp[13] & TCP_SYN_BIT))
            flow->tcp = TCP_SYN_ACK;
        return stream_segment(flow, packet);
    }
    struct view view = {.tuple = &packet->tuple, .outbound = TRUE, .flow = flow, .flags = flow_flags(flow), .packet = packet, .show = SHOW_TRANSPORT};
    return view_classify(layer_of(LAYER_DATAGRAM_DATA_V4, packet->tuple.local.family), &view).permit;
}

/* An error's own layer; it has no flow, but the endpoint of the packet that it quotes. */
static BOOL classify_icmp_error(struct packet *packet)
{
    struct tuple embedded;
    BOOL quotes = icmp_embedded(packet, &embedded);
    struct flow *flow = quotes ? flow_find_seen(&embedded) : NULL;
    struct view view = {.tuple = &packet->tuple, .outbound = packet->outbound, .flow = flow, .packet = packet, .embedded = quotes ? &embedded : NULL,
                        .show = packet->outbound ? SHOW_TRANSPORT : SHOW_QUOTED};
    UINT16 layer = packet->outbound ? LAYER_OUTBOUND_ICMP_ERROR_V4 : LAYER_INBOUND_ICMP_ERROR_V4;
    BOOL permit = view_classify(layer_of(layer, packet->tuple.local.family), &view).permit;
    flow_release(flow);
    return permit;
}

/* What TCP, UDP and IP hand down: the packet layers of what goes out. */
static BOOL below_stream(struct packet *packet, enum stack_start start, struct flow *flow)
{
    struct view view = {.tuple = &packet->tuple, .outbound = TRUE, .flow = flow, .flags = flow_flags(flow), .packet = packet, .show = SHOW_TRANSPORT};
    if (start != START_NETWORK && !packet->fragment && !view_classify(layer_of(LAYER_OUTBOUND_TRANSPORT_V4, packet->tuple.local.family), &view).permit)
        return FALSE;
    view.show = SHOW_IP;
    view.flags |= packet->fragment ? FLAG_IS_FRAGMENT : 0;
    return view_classify(layer_of(LAYER_OUTBOUND_IPPACKET_V4, packet->tuple.local.family), &view).permit;
}

static BOOL run_outbound(struct packet *packet, enum stack_start start, struct flow **flow)
{
    *flow = NULL;
    if (has_flows(packet)) {
        if (start == START_STACK) {
            if (!outbound_flow(packet, flow) || (*flow && !outbound_data(packet, *flow)))
                return FALSE;
        } else {
            struct tuple key = packet_key(packet);
            *flow = flow_find_seen(&key);
        }
    }
    if (icmp_is_error(packet) && start == START_STACK && !classify_icmp_error(packet))
        return FALSE;
    return below_stream(packet, start, *flow);
}

/* The end of a packet's way through the layers, with its flow's reference. */
static void leave(struct packet *packet, struct flow *flow, BOOL permitted)
{
    if (permitted) {
        BOOL last = ends_flow(flow, packet);
        (packet->outbound ? deliver_out : deliver_in)(packet, flow);
        if (last)
            flow_end(flow, "closed");
    } else if (!packet->taken) {
        drop(packet);
    }
    flow_release(flow);
    packet_free(packet);
}

void stack_send(struct packet *packet, struct flow *flow)
{
    if (!packet->outbound)
        deliver_in(packet, flow);
    else if (below_stream(packet, START_TRANSPORT, flow))
        deliver_out(packet, flow);
    else
        drop(packet);
    packet_free(packet);
}

void stack_outbound(struct packet *packet, enum stack_start start)
{
    struct flow *flow;
    if (packet->fragment && start == START_STACK) { /* Windows would not have cut it yet */
        struct packet *whole = fragments_take(packet);
        packet_free(packet);
        if (!whole)
            return;
        packet = whole;
    }
    BOOL permitted = run_outbound(packet, start, &flow);
    leave(packet, flow, permitted);
}

static BOOL authorize_inbound(struct packet *packet, struct flow **flow, BOOL injected)
{
    BOOL absorb;
    if (*flow && (*flow)->held)
        return ale_held_inbound(packet, flow, injected);
    if (*flow)
        return reauthorize(*flow, packet);
    return (*flow = ale_accept(packet, &absorb)) != NULL;
}

/* What follows INBOUND_TRANSPORT: authorization of the first packet, establishment, data. */
static BOOL inbound_data(struct packet *packet, struct flow **flow, BOOL ale, BOOL injected)
{
    const uint8_t *tcp = packet_tcp(packet);
    if (ale && !authorize_inbound(packet, flow, injected))
        return FALSE;
    struct flow *f = *flow;
    if (!f)
        return TRUE;
    if (!tcp) {
        if (!f->established && !ale_established(f, packet))
            return FALSE;
        struct view view = {.tuple = &packet->tuple, .flow = f, .flags = flow_flags(f), .packet = packet, .show = SHOW_PAYLOAD};
        return view_classify(layer_of(LAYER_DATAGRAM_DATA_V4, packet->tuple.local.family), &view).permit;
    }
    BOOL shaken = f->outbound ? (tcp[13] & TCP_SYN_BIT) && (tcp[13] & TCP_ACK) : f->tcp == TCP_SYN_ACK && (tcp[13] & TCP_ACK);
    if (!f->established && shaken && !(tcp[13] & TCP_RST) && !ale_established(f, packet)) {
        stack_abort(f);
        flow_end(f, "blocked at FLOW_ESTABLISHED");
        return FALSE;
    }
    return stream_segment(f, packet);
}

/* A fragment is seen as the packet that it is, then as a fragment (W230). */
static BOOL network_in(struct packet *packet, struct view *view)
{
    UINT16 layer = layer_of(LAYER_INBOUND_IPPACKET_V4, packet->tuple.local.family);
    if (!view_classify(layer, view).permit)
        return FALSE;
    if (!packet->fragment)
        return TRUE;
    view->flags |= FLAG_IS_FRAGMENT;
    return view_classify(layer, view).permit;
}

static BOOL run_inbound(struct packet *packet, enum stack_start start, struct flow **flow)
{
    struct tuple key = packet_key(packet);
    *flow = has_flows(packet) ? flow_find_seen(&key) : NULL;
    if (!*flow && has_flows(packet))
        *flow = flow_find_solicited(key.protocol ? &key : &packet->tuple);
    struct view view = {.tuple = &packet->tuple, .flow = *flow, .flags = flow_flags(*flow), .packet = packet, .show = SHOW_TRANSPORT};
    view.flags |= start == START_REASSEMBLED ? FLAG_IS_REASSEMBLED : 0;
    if (start != START_TRANSPORT && !network_in(packet, &view))
        return FALSE;
    view.flags &= ~(UINT32)FLAG_IS_REASSEMBLED;
    if (packet->fragment || forward_wanted(packet))
        return TRUE;
    if (!(*flow && (*flow)->outbound) && is_successor(*flow, packet)) {
        flow_end(*flow, "replaced");
        flow_release(*flow);
        *flow = NULL;
    }
    BOOL first = !*flow && has_flows(packet) && (packet->tuple.protocol != IPPROTO_TCP || is_new_tcp(packet));
    if (first && start != START_TRANSPORT && unheard(packet))
        return unheard_answer(packet);
    BOOL ale = first || (*flow && ((*flow)->held || reauthorize_due(*flow)));
    if (!*flow && !ale)
        *flow = stream_find_closed(&key, FALSE);
    view.flow = *flow;
    view.show = SHOW_PAYLOAD;
    view.ale_required = ale;
    view.flags |= ale ? FLAG_REQUIRES_ALE_CLASSIFY : 0;
    if (!view_classify(layer_of(LAYER_INBOUND_TRANSPORT_V4, packet->tuple.local.family), &view).permit)
        return FALSE;
    if (icmp_is_error(packet))
        return classify_icmp_error(packet);
    return inbound_data(packet, flow, ale, start == START_TRANSPORT && nbl_block_of(packet->nbl)->marks);
}

void stack_inbound(struct packet *packet, enum stack_start start)
{
    struct flow *flow;
    BOOL permitted = run_inbound(packet, start, &flow);
    if (permitted && forward_wanted(packet)) {
        flow_release(flow);
        forward_packet(packet);
    } else if (permitted && packet->fragment) { /* it waits for the others */
        struct packet *whole = fragments_take(packet);
        flow_release(flow);
        packet_free(packet);
        if (whole)
            stack_inbound(whole, START_REASSEMBLED);
    } else {
        leave(packet, flow, permitted);
    }
}

void stack_from_guest(const uint8_t *frame, size_t length)
{
    COUNT(frames_out);
    struct packet *packet = packet_new(frame, length, TRUE);
    if (!packet) {
        COUNT(other);
        frame_to_link(frame, length, NULL);
        return;
    }
    neighbour_learn(&packet->tuple.remote, frame);
    struct flow *mapped = has_flows(packet) ? flow_find_mapped(&packet->tuple) : NULL;
    if (!mapped) {
        stack_outbound(packet, START_STACK);
        return;
    }
    /* a local proxy answers its client: this is the client's inbound packet */
    packet_rewrite(packet, FALSE, &mapped->local, mapped->local_port);
    packet->outbound = FALSE;
    packet_parse(packet);
    memcpy(packet->frame, wire.guest_mac, 6);
    flow_release(mapped);
    stack_inbound(packet, START_STACK);
}

void stack_receive(const uint8_t *frame, size_t length, const NET_BUFFER_LIST *origin)
{
    struct packet *packet = packet_new(frame, length, FALSE);
    if (!packet) {
        COUNT(other);
        wire.to_guest(frame, length);
        return;
    }
    nbl_inherit(packet->nbl, origin);
    neighbour_learn(&packet->tuple.remote, frame + 6);
    stack_inbound(packet, START_STACK);
}
