/*
 * ICMP of both families: requests and answers as flows at ALE, errors at layers of their own, neighbour discovery, and
 * protocols that are treated like UDP. Named after the rule catalogue.
 *
 * SPDX-License-Identifier: MIT
 */
#include "families.h"

static uint8_t family;
static struct address guest, server;
static uint8_t protocol, request, reply, unreachable;

static void use(uint8_t which)
{
    BOOL v6 = which == FAMILY_V6;
    family = which;
    guest = v6 ? guest6 : address_v4(GUEST);
    server = v6 ? server6 : address_v4(SERVER);
    protocol = v6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP;
    request = v6 ? 128 : 8;
    reply = v6 ? 129 : 0;
    unreachable = v6 ? 1 : 3;
}

static void sends(BOOL out, uint8_t type, uint8_t code, UINT16 id, const char *payload)
{
    uint8_t frame[2048];
    UINT32 rest = (UINT32)id << 16 | 1;
    if (out)
        stack_from_guest(frame, build_between(frame, &guest, type, &server, code, protocol, 0, rest, payload));
    else
        stack_from_link(frame, build_between(frame, &server, type, &guest, code, protocol, 0, rest, payload));
}

static UINT16 layer(UINT16 v4)
{
    return layer_of(v4, family);
}

static void expect_order(const char *name, const UINT16 *order, unsigned count)
{
    unsigned same = 0;
    while (same < count && same < seen_count && seen[same].layer == layer(order[same]))
        same++;
    EXPECT(name, same == count && seen_count == count ? 0 : 1 + same, 0);
}

static void test_echo(void)
{
    static const UINT16 out[] = {LAYER_ALE_CONNECT_REDIRECT_V4, LAYER_ALE_AUTH_CONNECT_V4, LAYER_ALE_FLOW_ESTABLISHED_V4,
                                 LAYER_DATAGRAM_DATA_V4, LAYER_OUTBOUND_TRANSPORT_V4, LAYER_OUTBOUND_IPPACKET_V4};
    static const UINT16 in[] = {LAYER_INBOUND_IPPACKET_V4, LAYER_INBOUND_TRANSPORT_V4, LAYER_ALE_AUTH_RECV_ACCEPT_V4,
                                LAYER_ALE_FLOW_ESTABLISHED_V4, LAYER_DATAGRAM_DATA_V4};
    static const UINT16 more_in[] = {LAYER_INBOUND_IPPACKET_V4, LAYER_INBOUND_TRANSPORT_V4, LAYER_DATAGRAM_DATA_V4};
    static const UINT16 more_out[] = {LAYER_DATAGRAM_DATA_V4, LAYER_OUTBOUND_TRANSPORT_V4, LAYER_OUTBOUND_IPPACKET_V4};
    watch_path_of(family);
    sends(TRUE, request, 0, 7, "ping");
    expect_order("W205 W207 order of the layers for a first echo request out", out, 6);
    SAW("its type stands for the local port", layer(LAYER_ALE_AUTH_CONNECT_V4), local_port, request);
    SAW("its code for the remote port", layer(LAYER_ALE_AUTH_CONNECT_V4), remote_port, 0);
    SAW("W209 AUTH_CONNECT has the first packet", layer(LAYER_ALE_AUTH_CONNECT_V4), length, 12);
    BITS("W233 identifier and sequence number are told", layer(LAYER_ALE_AUTH_CONNECT_V4), META_ICMP_ID_AND_SEQUENCE, META_ICMP_ID_AND_SEQUENCE);
    check_metadata("W233 no metadata beyond the table, echo out");
    UINT64 flow = at(layer(LAYER_DATAGRAM_DATA_V4))->flow;
    seen_count = 0;
    sends(FALSE, reply, 0, 7, "pong");
    expect_order("W210 the reply is not at ALE", more_in, 3);
    EXPECT("it belongs to the request's flow", at(layer(LAYER_DATAGRAM_DATA_V4))->flow, flow);
    SAW("its own type is told", layer(LAYER_INBOUND_TRANSPORT_V4), local_port, reply);
    SAW("W224 data begins at the ICMP header", layer(LAYER_INBOUND_TRANSPORT_V4), length, 12);
    SAW("W224 so that no transport header lies before it", layer(LAYER_INBOUND_TRANSPORT_V4), transport_size, 0);
    BITS("W224 which is said", layer(LAYER_INBOUND_TRANSPORT_V4), META_TRANSPORT_HEADER_SIZE, META_TRANSPORT_HEADER_SIZE);
    seen_count = 0;
    sends(TRUE, request, 0, 7, "ping");
    expect_order("W210 nor is the next request", more_out, 3);
    seen_count = 0;
    sends(TRUE, request, 0, 8, "ping");
    expect_order("W205 another identifier is another flow", out, 6);
    seen_count = 0;
    sends(FALSE, request, 0, 9, "ping");
    expect_order("W206 order of the layers for a first echo request in", in, 5);
    BITS("W232 INBOUND_TRANSPORT: ALE is yet to come", layer(LAYER_INBOUND_TRANSPORT_V4), META_ALE_CLASSIFY_REQUIRED, META_ALE_CLASSIFY_REQUIRED);
    check_metadata("W233 no metadata beyond the table, echo in");
    seen_count = 0;
    sends(TRUE, reply, 0, 9, "pong");
    expect_order("W210 its answer", more_out, 3);
    watch_path_end();

    begin();
    add_filter(layer(LAYER_ALE_AUTH_RECV_ACCEPT_V4), 100, ACTION_BLOCK, 0, 1, 0, NULL);
    LONG before = guest_frames;
    sends(FALSE, request, 0, 10, "ping");
    EXPECT("W206 an echo request blocked at RECV_ACCEPT does not reach the guest", guest_frames - before, 0);
    end();
}

/* What an error quotes: the header and the beginning of a datagram from port 5001 to port 53. */
static const char *quoted(BOOL sent)
{
    static char text[128];
    uint8_t frame[2048];
    size_t length = sent ? build_between(frame, &guest, 5001, &server, 53, IPPROTO_UDP, 0, 0, "lost")
                         : build_between(frame, &server, 53, &guest, 5001, IPPROTO_UDP, 0, 0, "lost");
    memcpy(text, frame + ETHERNET, length - ETHERNET);
    return text;
}

static struct embedded {
    UINT32 protocol, local_port, remote_port;
    struct address remote;
    FWP_DATA_TYPE type;
} embedded;

static void note_embedded(struct behaviour *b, struct call *call)
{
    const FWP_VALUE0 *remote = value_of(call, COND_EMBEDDED_REMOTE_ADDRESS);
    (void)b;
    embedded.type = remote->type;
    if (remote->type != FWP_EMPTY) {
        embedded.protocol = value_of(call, COND_EMBEDDED_PROTOCOL)->uint8;
        embedded.local_port = value_of(call, COND_EMBEDDED_LOCAL_PORT)->uint16;
        embedded.remote_port = value_of(call, COND_EMBEDDED_REMOTE_PORT)->uint16;
        embedded.remote = remote->type == FWP_UINT32 ? address_v4(remote->uint32) : address_of(FAMILY_V6, remote->byteArray16->byteArray16);
    }
    call->out->actionType = ACTION_PERMIT;
}

/* An error, its quotation given as bytes, since these hold zeros. */
static void error_passes(BOOL out, const char *bytes, size_t size)
{
    uint8_t frame[2048];
    const struct address *from = out ? &guest : &server, *to = out ? &server : &guest;
    size_t head = build_between(frame, from, unreachable, to, 1, protocol, 0, 0, ""), length = head + size;
    struct packet view = {.frame = frame, .length = length, .outbound = TRUE};
    memcpy(frame + head, bytes, size);
    if (family == FAMILY_V6)
        put16(frame + ETHERNET + 4, (UINT16)(8 + size));
    else
        put16(frame + ETHERNET + 2, (UINT16)(28 + size));
    packet_parse(&view);
    packet_fix_sums(&view);
    if (out)
        stack_from_guest(frame, length);
    else
        stack_from_link(frame, length);
}

static void test_errors(void)
{
    static const UINT16 in[] = {LAYER_INBOUND_IPPACKET_V4, LAYER_INBOUND_TRANSPORT_V4, LAYER_INBOUND_ICMP_ERROR_V4};
    static const UINT16 out[] = {LAYER_OUTBOUND_ICMP_ERROR_V4, LAYER_OUTBOUND_TRANSPORT_V4, LAYER_OUTBOUND_IPPACKET_V4};
    size_t header = family == FAMILY_V6 ? 40 : 20;
    UINT32 id;
    watch_path_of(family);
    error_passes(FALSE, quoted(TRUE), header + 12);
    expect_order("W219 an error that comes in: not at ALE", in, 3);
    SAW("W227 INBOUND_ICMP_ERROR begins at the inner IP header", layer(LAYER_INBOUND_ICMP_ERROR_V4), first_byte, family == FAMILY_V6 ? 0x60 : 0x45);
    SAW("W227 all of it", layer(LAYER_INBOUND_ICMP_ERROR_V4), length, header + 12);
    SAW("the ICMP header lies before it", layer(LAYER_INBOUND_ICMP_ERROR_V4), transport_size, 8);
    SAW("type", layer(LAYER_INBOUND_ICMP_ERROR_V4), local_port, unreachable);
    SAW("and code", layer(LAYER_INBOUND_ICMP_ERROR_V4), remote_port, 1);
    check_metadata("W233 no metadata beyond the table, error in");
    seen_count = 0;
    error_passes(TRUE, quoted(FALSE), header + 12);
    expect_order("W219 an error that goes out: not at ALE", out, 3);
    SAW("W227 OUTBOUND_ICMP_ERROR begins at the ICMP header", layer(LAYER_OUTBOUND_ICMP_ERROR_V4), first_byte, unreachable);
    check_metadata("W233 no metadata beyond the table, error out");
    watch_path_end();

    begin();
    add_callout(1, layer(LAYER_INBOUND_ICMP_ERROR_V4), &id);
    register_callout(1, 0);
    behave[0].instead = note_embedded;
    add_filter(layer(LAYER_INBOUND_ICMP_ERROR_V4), 100, ACTION_CALLOUT_TERMINATING, 1, 1, 0, NULL);
    error_passes(FALSE, quoted(TRUE), header + 12);
    EXPECT("protocol of what is quoted", embedded.protocol, IPPROTO_UDP);
    EXPECT("its local port", embedded.local_port, 5001);
    EXPECT("its remote port", embedded.remote_port, 53);
    EXPECT("its remote address", address_equal(&embedded.remote, &server), TRUE);
    error_passes(FALSE, quoted(TRUE), header - 1);
    EXPECT("a quotation cut short is FWP_EMPTY", embedded.type, FWP_EMPTY);
    error_passes(FALSE, quoted(TRUE), header + 3);
    EXPECT("ports cut off are zero", embedded.local_port | embedded.remote_port, 0);
    LONG before = guest_frames;
    behave[0].instead = NULL;
    behave[0].action = ACTION_BLOCK;
    error_passes(FALSE, quoted(TRUE), header + 12);
    EXPECT("an error that is blocked does not reach the guest", guest_frames - before, 0);
    end();
    FwpsCalloutUnregisterById0(id);
}

static void test_neighbours(void)
{
    static const uint8_t all_nodes[16] = {0xff, 0x02, [15] = 1}, local[16] = {0xfe, 0x80, [15] = 9};
    struct address group = address_of(FAMILY_V6, all_nodes), own = address_of(FAMILY_V6, local);
    enum { SOLICITATION = 135, ADVERTISEMENT = 136, ROUTER_SOLICITATION = 133 };
    static const UINT16 out[] = {LAYER_ALE_AUTH_CONNECT_V4, LAYER_ALE_FLOW_ESTABLISHED_V4, LAYER_DATAGRAM_DATA_V4,
                                 LAYER_OUTBOUND_TRANSPORT_V4, LAYER_OUTBOUND_IPPACKET_V4};
    uint8_t frame[2048];
    use(FAMILY_V6);
    LONG to_link_before = link_frames, to_guest_before = guest_frames;
    stack_from_guest(frame, build_between(frame, &own, ROUTER_SOLICITATION, &group, 0, IPPROTO_ICMPV6, 0, 0, ""));
    sends(TRUE, SOLICITATION, 0, 0, "sixteen bytes of");
    sends(FALSE, ADVERTISEMENT, 0, 0, "sixteen bytes of");
    EXPECT("without filters neighbour discovery goes out", link_frames - to_link_before, 2);
    EXPECT("and comes in", guest_frames - to_guest_before, 1);
    flows_end_all("test");
    watch_path_of(FAMILY_V6);
    sends(TRUE, SOLICITATION, 0, 0, "sixteen bytes of");
    expect_order("W117 W205 neighbour discovery is ICMP for ALE, but nothing to redirect", out, 5);
    SAW("its type is told", LAYER_ALE_AUTH_CONNECT_V6, local_port, SOLICITATION);
    BITS("it has no identifier", LAYER_OUTBOUND_TRANSPORT_V6, META_ICMP_ID_AND_SEQUENCE, 0);
    watch_path_end();
}

static void test_other_protocols(void)
{
    static const UINT16 in[] = {LAYER_INBOUND_IPPACKET_V4, LAYER_INBOUND_TRANSPORT_V4, LAYER_ALE_AUTH_RECV_ACCEPT_V4,
                                LAYER_ALE_FLOW_ESTABLISHED_V4, LAYER_DATAGRAM_DATA_V4};
    enum { GRE = 47 };
    uint8_t frame[2048];
    watch_path_of(family);
    stack_from_link(frame, build_between(frame, &server, 0, &guest, 0, GRE, 0, 0, "tunnel"));
    expect_order("W215 another protocol is treated like UDP", in, 5);
    SAW("and has no ports", layer(LAYER_ALE_AUTH_RECV_ACCEPT_V4), remote_port, 0);
    watch_path_end();
}

void test_icmp(void)
{
    families_begin();
    for (int i = 0; i < 2; i++) {
        use(i ? FAMILY_V6 : FAMILY_V4);
        test_echo();
        test_errors();
        test_other_protocols();
    }
    test_neighbours();
}
