/*
 * IPv6 beside IPv4: the same path of layers with addresses as bytes, extension headers, fragments, conditions on
 * addresses, injection. Named after the rule catalogue.
 *
 * SPDX-License-Identifier: MIT
 */
#include "families.h"

struct address guest6, server6, loopback6;

NTSTATUS NTAPI FwpsConstructIpHeaderForTransportPacket0(NET_BUFFER_LIST *, ULONG, ADDRESS_FAMILY, const UCHAR *, const UCHAR *, int, UINT64,
                                                        const void *, ULONG, UINT32, void *, ULONG, ULONG);
NTSTATUS NTAPI FwpsInjectTransportSendAsync1(HANDLE, HANDLE, UINT64, UINT32, FWPS_TRANSPORT_SEND_PARAMS1 *, ADDRESS_FAMILY, ULONG,
                                             NET_BUFFER_LIST *, INJECT_COMPLETE, HANDLE);
NTSTATUS NTAPI FwpsInjectNetworkReceiveAsync0(HANDLE, HANDLE, UINT32, ULONG, ULONG, ULONG, NET_BUFFER_LIST *, INJECT_COMPLETE, HANDLE);

void guest_sends6(UINT16 port, const struct address *to, UINT16 to_port, uint8_t protocol, uint8_t flags, UINT32 sequence, const char *payload)
{
    uint8_t frame[2048];
    stack_from_guest(frame, build_between(frame, &guest6, port, to, to_port, protocol, flags, sequence, payload));
}

void link_sends6(const struct address *from, UINT16 from_port, UINT16 port, uint8_t protocol, uint8_t flags, UINT32 sequence, const char *payload)
{
    uint8_t frame[2048];
    stack_from_link(frame, build_between(frame, from, from_port, &guest6, port, protocol, flags, sequence, payload));
}

struct address address_in(const uint8_t *frame, BOOL source)
{
    const uint8_t *ip = frame + ETHERNET;
    return ip[0] >> 4 == 6 ? address_of(FAMILY_V6, ip + (source ? 8 : 24)) : address_of(FAMILY_V4, ip + (source ? 12 : 16));
}

/* TRUE when the transport checksum of a frame without extension headers is right, counted in another way than the model's. */
BOOL sums_hold6(const uint8_t *frame)
{
    const uint8_t *ip = frame + ETHERNET;
    size_t size = get16(ip + 4);
    UINT32 sum = ip[6] + (UINT32)size;
    for (size_t i = 8; i < 40 + size; i++)
        sum += i & 1 ? ip[i] : (UINT32)ip[i] << 8;
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return sum == 0xffff;
}

static void test_udp_out(void)
{
    static const UINT16 order[] = {67, 50, 54, 26, 18, 6};
    watch_path_of(FAMILY_V6);
    guest_sends6(5001, &server6, 53, IPPROTO_UDP, 0, 0, "Zebra");
    for (unsigned i = 0; i < 6; i++)
        EXPECT("order of the IPv6 layers for a first datagram out", seen[i].layer, order[i]);
    EXPECT("and no other", seen_count, 6);
    check_metadata("W233 IPv6: no metadata beyond the table, datagram out");
    EXPECT("W077 IPv6: the remote address is 16 bytes in network order", address_equal(&at(LAYER_ALE_AUTH_CONNECT_V6)->remote, &server6), TRUE);
    EXPECT("W077 IPv6: the local address too", address_equal(&at(LAYER_OUTBOUND_IPPACKET_V6)->local, &guest6), TRUE);
    SAW("W077 IPv6: ports in host order", LAYER_ALE_AUTH_CONNECT_V6, remote_port, 53);
    SAW("W223 IPv6: OUTBOUND_IPPACKET begins at the IP header", LAYER_OUTBOUND_IPPACKET_V6, first_byte, 0x60);
    SAW("W225 IPv6: OUTBOUND_TRANSPORT begins at the UDP header", LAYER_OUTBOUND_TRANSPORT_V6, length, 13);
    BITS("W233 IPv6: the scope of the remote address is told", LAYER_OUTBOUND_TRANSPORT_V6, META_REMOTE_SCOPE_ID, META_REMOTE_SCOPE_ID);
    SAW("W209 IPv6: AUTH_CONNECT of a datagram has its packet", LAYER_ALE_AUTH_CONNECT_V6, has_data, TRUE);
    UINT64 flow = at(LAYER_DATAGRAM_DATA_V6)->flow;
    seen_count = 0;
    link_sends6(&server6, 53, 5001, IPPROTO_UDP, 0, 0, "Yes");
    EXPECT("W210 IPv6: the answer is not at ALE", seen_count, 3);
    SAW("W224 IPv6: DATAGRAM_DATA in begins behind the UDP header", LAYER_DATAGRAM_DATA_V6, first_byte, 'Y');
    SAW("W222 IPv6: the size of the IP header is told", LAYER_INBOUND_IPPACKET_V6, ip_size, 40);
    EXPECT("W200 IPv6: one flow both ways", at(LAYER_DATAGRAM_DATA_V6)->flow, flow);
    watch_path_end();
}

static void test_udp_in(void)
{
    static const UINT16 order[] = {2, 14, 46, 54, 26};
    watch_path_of(FAMILY_V6);
    link_sends6(&server6, 9000, 7777, IPPROTO_UDP, 0, 0, "Query");
    for (unsigned i = 0; i < 5; i++)
        EXPECT("W206 order of the IPv6 layers for a first datagram in", seen[i].layer, order[i]);
    EXPECT("and no other", seen_count, 5);
    check_metadata("W233 IPv6: no metadata beyond the table, datagram in");
    BITS("W232 IPv6: ALE is yet to come", LAYER_INBOUND_TRANSPORT_V6, META_ALE_CLASSIFY_REQUIRED, META_ALE_CLASSIFY_REQUIRED);
    watch_path_end();
}

static void test_tcp(void)
{
    watch_path_of(FAMILY_V6);
    guest_sends6(5100, &server6, 80, IPPROTO_TCP, 2, 1000, "");
    SAW("W209 IPv6: AUTH_CONNECT of TCP has no packet", LAYER_ALE_AUTH_CONNECT_V6, has_data, FALSE);
    seen_count = 0;
    link_sends6(&server6, 80, 5100, IPPROTO_TCP, 0x12, 2000, "");
    SAW("W207 IPv6: established by the SYN-ACK", LAYER_ALE_FLOW_ESTABLISHED_V6, layer, LAYER_ALE_FLOW_ESTABLISHED_V6);
    seen_count = 0;
    guest_sends6(5100, &server6, 80, IPPROTO_TCP, 0x18, 1001, "GET");
    SAW("W226 IPv6: STREAM is data alone", LAYER_STREAM_V6, first_byte, 'G');
    SAW("W226 IPv6: all of it", LAYER_STREAM_V6, length, 3);
    check_metadata("W233 IPv6: no metadata beyond the table, stream");
    watch_path_end();

    begin();
    add_filter(LAYER_ALE_AUTH_CONNECT_V6, 100, ACTION_BLOCK, 0, 1, 0, NULL);
    LONG before = link_frames;
    guest_sends6(5101, &server6, 80, IPPROTO_TCP, 2, 1000, "");
    EXPECT("IPv6: a blocked connect does not leave", link_frames - before, 0);
    EXPECT("the client is told by a reset", last_guest[ETHERNET + 40 + 13] & TCP_RST, TCP_RST);
    struct address from = address_in(last_guest, TRUE);
    EXPECT("from the address that it called", address_equal(&from, &server6), TRUE);
    EXPECT("with a right checksum", sums_hold6(last_guest), TRUE);
    guest_sends(5101, SERVER, 80, IPPROTO_TCP, 2, 1000, "");
    EXPECT("a filter at the V6 layer is none for IPv4", link_frames - before, 1);
    end();
}

/* ---- extension headers and fragments ---- */

/* A datagram from the server with `headers` destination options of 8 bytes, or with the extension given. */
static size_t extended(uint8_t *frame, unsigned headers, const uint8_t *extension, uint8_t kind, size_t size)
{
    uint8_t plain[2048];
    size_t length = build_between(plain, &server6, 9000, &guest6, 7778, IPPROTO_UDP, 0, 0, "Tail");
    uint8_t *ip = frame + ETHERNET, *to = ip + 40;
    memset(frame, 0, 2048);
    memcpy(frame, plain, ETHERNET + 40);
    uint8_t *next = ip + 6;
    for (unsigned i = 0; i < headers; i++, to += 8) {
        *next = kind;
        next = to;
        if (extension)
            memcpy(to, extension, size);
    }
    *next = IPPROTO_UDP;
    memcpy(to, plain + ETHERNET + 40, length - ETHERNET - 40);
    put16(ip + 4, (UINT16)(length - ETHERNET - 40 + headers * 8));
    return length + headers * 8;
}

static void test_extensions(void)
{
    enum { DESTINATION_OPTIONS = 60, FRAGMENT = 44 };
    static const uint8_t too_long[8] = {0, 9}, later_part[8] = {0, 0, 0, 0x08}, first_part[8] = {0, 0, 0, 0x01}, whole[8] = {0};
    uint8_t frame[2048];
    size_t length;
    watch_path_of(FAMILY_V6);
    LONG before = guest_frames;
    stack_from_link(frame, extended(frame, 1, NULL, DESTINATION_OPTIONS, 8));
    SAW("W222 extension headers count as IP header", LAYER_INBOUND_IPPACKET_V6, ip_size, 48);
    SAW("W224 data is found behind them", LAYER_INBOUND_TRANSPORT_V6, first_byte, 'T');
    SAW("the port too", LAYER_INBOUND_TRANSPORT_V6, local_port, 7778);
    EXPECT("it arrives", guest_frames - before, 1);
    seen_count = 0;
    length = extended(frame, 1, too_long, DESTINATION_OPTIONS, 8);
    stack_from_link(frame, length);
    EXPECT("an extension header longer than its packet: not looked at", seen_count, 0);
    stack_from_link(frame, extended(frame, 17, NULL, DESTINATION_OPTIONS, 8));
    EXPECT("nor a packet of seventeen of them", seen_count, 0);
    length = extended(frame, 1, NULL, DESTINATION_OPTIONS, 8);
    put16(frame + ETHERNET + 4, 1000);
    stack_from_link(frame, length);
    EXPECT("nor one shorter than it says", seen_count, 0);
    EXPECT("what is not understood goes through", guest_frames - before, 4);

    stack_from_link(frame, extended(frame, 1, whole, FRAGMENT, 8));
    SAW("a fragment that is the whole packet is one", LAYER_INBOUND_TRANSPORT_V6, local_port, 7778);
    SAW("and not flagged", LAYER_INBOUND_IPPACKET_V6, flags & FLAG_IS_FRAGMENT, 0);
    seen_count = 0;
    stack_from_link(frame, extended(frame, 1, first_part, FRAGMENT, 8));
    EXPECT("W230 IPv6: a fragment is seen as a packet first", seen[0].flags & FLAG_IS_FRAGMENT, 0);
    EXPECT("W230 IPv6: then it is flagged", seen[1].flags & FLAG_IS_FRAGMENT, FLAG_IS_FRAGMENT);
    EXPECT("it is at no other layer", seen_count, 2);
    stack_from_link(frame, extended(frame, 1, later_part, FRAGMENT, 8));
    EXPECT("a later one too", seen_count, 4);
    watch_path_end();
}

/* ---- conditions ---- */
static unsigned filter_on(UINT16 layer, const GUID *field, FWP_CONDITION_VALUE0 value)
{
    FWPM_FILTER_CONDITION0 condition = {.fieldKey = *field, .matchType = FWP_MATCH_EQUAL, .conditionValue = value};
    FWPM_FILTER0 f = {.displayData.name = L"f", .layerKey = layer_by_id(layer)->key, .subLayerKey = key_of(100), .numFilterConditions = 1,
                      .filterCondition = &condition};
    f.action.type = ACTION_BLOCK;
    return (unsigned)FwpmFilterAdd0(engine, &f, NULL, NULL);
}

static BOOL passes(const struct address *to)
{
    LONG before = link_frames;
    guest_sends6(5000, to, 53, IPPROTO_UDP, 0, 0, "hello");
    return link_frames != before;
}

static void test_conditions(void)
{
    const GUID *remote = &condition_keys[COND_IP_REMOTE_ADDRESS];
    struct address close_by = server6, remote_one = server6;
    FWP_V6_ADDR_AND_MASK mask = {.prefixLength = 61};
    FWP_BYTE_ARRAY16 exact;
    close_by.bytes[7] ^= 0x07;
    remote_one.bytes[7] ^= 0x08;
    memcpy(mask.addr, server6.bytes, 16);
    memcpy(exact.byteArray16, server6.bytes, 16);
    begin();
    EXPECT("W076 V6_ADDR_MASK is taken", filter_on(LAYER_OUTBOUND_TRANSPORT_V6, remote, (FWP_CONDITION_VALUE0){.type = FWP_V6_ADDR_MASK, .v6AddrMask = &mask}), 0);
    EXPECT("W076 V6_ADDR_MASK: inside the prefix", passes(&close_by), FALSE);
    EXPECT("W076 V6_ADDR_MASK: outside", passes(&remote_one), TRUE);
    end();
    begin();
    EXPECT("W077 an IPv6 address is taken", filter_on(LAYER_OUTBOUND_TRANSPORT_V6, remote, (FWP_CONDITION_VALUE0){.type = FWP_BYTE_ARRAY16_TYPE, .byteArray16 = &exact}), 0);
    EXPECT("W077 it matches itself", passes(&server6), FALSE);
    EXPECT("W077 and no other", passes(&close_by), TRUE);
    EXPECT("W085 an IPv4 address at a V6 layer", filter_on(LAYER_OUTBOUND_TRANSPORT_V6, remote, (FWP_CONDITION_VALUE0){.type = FWP_UINT32, .uint32 = SERVER}), STATUS_OF(STATUS_FWP_TYPE_MISMATCH));
    EXPECT("W085 an IPv6 address at a V4 layer", filter_on(LAYER_OUTBOUND_TRANSPORT_V4, remote, (FWP_CONDITION_VALUE0){.type = FWP_BYTE_ARRAY16_TYPE, .byteArray16 = &exact}), STATUS_OF(STATUS_FWP_TYPE_MISMATCH));
    mask.prefixLength = 129;
    EXPECT("W087 a prefix of 129 bits", filter_on(LAYER_OUTBOUND_TRANSPORT_V6, remote, (FWP_CONDITION_VALUE0){.type = FWP_V6_ADDR_MASK, .v6AddrMask = &mask}), STATUS_OF(STATUS_FWP_INVALID_NET_MASK));
    mask.prefixLength = 0;
    EXPECT("W076 a prefix of no bits", filter_on(LAYER_OUTBOUND_TRANSPORT_V6, remote, (FWP_CONDITION_VALUE0){.type = FWP_V6_ADDR_MASK, .v6AddrMask = &mask}), 0);
    EXPECT("W076 is everybody", passes(&remote_one), FALSE);
    end();
}

/* ---- injection ---- */
static HANDLE done;

static void NTAPI on_complete(void *context, NET_BUFFER_LIST *nbl, BOOLEAN dispatch)
{
    (void)dispatch;
    *(NTSTATUS *)context = nbl->Status;
    nbl_release(nbl);
    SetEvent(done);
}

static NET_BUFFER_LIST *list_of(const uint8_t *bytes, size_t length)
{
    uint8_t *copy = mem_alloc(length + 1);
    memcpy(copy, bytes, length);
    return nbl_wrap(copy, length, 0, length);
}

static void test_injection(void)
{
    uint8_t frame[2048];
    NTSTATUS status = 1;
    HANDLE network, transport;
    size_t length = build_between(frame, &guest6, 1111, &server6, 53, IPPROTO_UDP, 0, 0, "odd");
    FWPS_TRANSPORT_SEND_PARAMS1 arguments = {.remoteAddress = server6.bytes};
    done = CreateEventW(NULL, FALSE, FALSE, NULL);
    watch_path_of(FAMILY_V6);
    EXPECT("W240 a network handle of AF_INET6", STATUS_OF(FwpsInjectionHandleCreate0(AF_INET6, INJECT_NETWORK, &network)), 0);
    FwpsInjectionHandleCreate0(AF_UNSPEC, INJECT_TRANSPORT, &transport);
    FwpsInjectNetworkSendAsync0(network, NULL, 0, 1, list_of(frame + ETHERNET, length - ETHERNET), on_complete, &status);
    WaitForSingleObject(done, 60000);
    EXPECT("W245 IPv6: network send completes", STATUS_OF(status), 0);
    EXPECT("it is at OUTBOUND_IPPACKET_V6 alone", seen_count << 8 | seen[0].layer, 1 << 8 | LAYER_OUTBOUND_IPPACKET_V6);
    EXPECT("in a frame of IPv6", get16(last_link + 12), 0x86dd);
    EXPECT("and is what was injected", memcmp(last_link + ETHERNET, frame + ETHERNET, length - ETHERNET), 0);
    memset(last_link, 0, sizeof last_link);
    FwpsInjectTransportSendAsync1(transport, NULL, 0, 0, &arguments, AF_INET6, 1, list_of(frame + ETHERNET + 40, length - ETHERNET - 40), on_complete, &status);
    WaitForSingleObject(done, 60000);
    EXPECT("W248 IPv6: transport send puts the IP header in front", memcmp(last_link + ETHERNET + 8, frame + ETHERNET + 8, length - ETHERNET - 8), 0);
    EXPECT("with the length of what follows", get16(last_link + ETHERNET + 4), length - ETHERNET - 40);
    length = build_between(frame, &server6, 53, &guest6, 7779, IPPROTO_UDP, 0, 0, "spoofed");
    seen_count = 0;
    FwpsInjectNetworkReceiveAsync0(network, NULL, 0, 1, 1, 0, list_of(frame + ETHERNET, length - ETHERNET), on_complete, &status);
    WaitForSingleObject(done, 60000);
    EXPECT("network receive reaches the guest", memcmp(last_guest + ETHERNET, frame + ETHERNET, length - ETHERNET), 0);
    EXPECT("by way of the V6 layers", seen[0].layer, LAYER_INBOUND_IPPACKET_V6);
    FwpsInjectionHandleDestroy0(network);
    FwpsInjectionHandleDestroy0(transport);
    watch_path_end();

    uint8_t *copy = mem_alloc(64);
    size_t size = length - ETHERNET - 40;
    memcpy(copy + 40, frame + ETHERNET + 40, size);
    put16(copy + 40 + 6, 0xbad0);
    NET_BUFFER_LIST *nbl = nbl_wrap(copy, 40 + size, 40, size);
    EXPECT("W262 IPv6: a header is made", STATUS_OF(FwpsConstructIpHeaderForTransportPacket0(nbl, 0, AF_INET6, server6.bytes, guest6.bytes, IPPROTO_UDP, 0, NULL, 0, 0, NULL, 0, 0)), 0);
    EXPECT("W262 IPv6: in front of the packet", nbl->FirstNetBuffer->DataLength, 40 + size);
    EXPECT("W263 IPv6: the same as the stack's", memcmp(copy, frame + ETHERNET, 40 + size), 0);
    nbl_release(nbl);
    CloseHandle(done);
}

void families_begin(void)
{
    static const uint8_t guest[16] = {0x20, 0x01, 0x0d, 0xb8, [15] = 2}, server[16] = {0x20, 0x01, 0x0d, 0xb8, 0x00, 0x99, [15] = 5}, one[16] = {[15] = 1};
    guest6 = address_of(FAMILY_V6, guest);
    server6 = address_of(FAMILY_V6, server);
    loopback6 = address_of(FAMILY_V6, one);
    wire.guest[1] = guest6;
}

void test_families(void)
{
    families_begin();
    test_udp_out();
    test_udp_in();
    test_tcp();
    test_extensions();
    test_conditions();
    test_injection();
}
