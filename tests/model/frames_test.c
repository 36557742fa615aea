/*
 * Below and beside the path of a whole packet, named after the rule catalogue: MAC layers, forwarding, fragments.
 *
 * SPDX-License-Identifier: MIT
 */
#include "inject_rig.h"

enum { ARP = 0x0806, BEYOND = 0x0a000009, MORE = 0x2000 };

/* ---- MAC layers ---- */
static const UINT16 mac_layers[] = {LAYER_INBOUND_MAC_FRAME_ETHERNET, LAYER_OUTBOUND_MAC_FRAME_ETHERNET, LAYER_INBOUND_MAC_FRAME_NATIVE,
                                    LAYER_OUTBOUND_MAC_FRAME_NATIVE};
static struct glance {
    UINT16 layer, type;
    UINT32 first_byte, header_size, length, state, irql;
    uint8_t remote[6];
    HANDLE context;
} glances[16];
static unsigned glance_count;
static HANDLE layer2;
static NET_BUFFER_LIST *kept;
static UINT16 block_at;

static void glance(struct behaviour *b, struct call *call)
{
    struct glance *g = &glances[glance_count++ % 16];
    NET_BUFFER *nb = ((NET_BUFFER_LIST *)call->data)->FirstNetBuffer;
    const uint8_t *bytes = NdisGetDataBuffer(nb, 1, NULL, 1, 0);
    const FWP_VALUE0 *type = value_of(call, COND_ETHER_TYPE), *remote = value_of(call, COND_MAC_REMOTE_ADDRESS);
    memset(g, 0, sizeof *g);
    g->layer = call->values->layerId;
    g->type = type ? type->uint16 : 0;
    if (remote)
        memcpy(g->remote, remote->byteArray6->byteArray6, 6);
    g->first_byte = bytes ? *bytes : 0xfff;
    g->length = nb->DataLength;
    g->irql = b->irql;
    g->header_size = call->metadata->currentL2MetadataValues & 1 ? call->metadata->ethernetMacHeaderSize : 0;
    g->state = FwpsQueryPacketInjectionState0(layer2, call->data, &g->context);
    call->out->actionType = ACTION_PERMIT;
    if (g->layer != block_at || g->state)
        return;
    call->out->actionType = ACTION_BLOCK;
    if (g->layer == LAYER_INBOUND_MAC_FRAME_ETHERNET)
        NdisRetreatNetBufferDataStart(nb, 14, 0, NULL);
    FwpsAllocateCloneNetBufferList0(call->data, NULL, NULL, 0, &kept);
    if (g->layer == LAYER_INBOUND_MAC_FRAME_ETHERNET)
        NdisAdvanceNetBufferDataStart(nb, 14, FALSE, NULL);
}

static UINT32 watched[4];

static void watch_frames(void)
{
    begin();
    for (unsigned i = 0; i < 4; i++) {
        add_callout(80 + i, mac_layers[i], &watched[i]);
        register_callout(80 + i, 0);
        add_filter(mac_layers[i], 100, ACTION_CALLOUT_TERMINATING, 80 + i, 1, 0, NULL);
    }
    behave[0].instead = glance;
    glance_count = 0;
    block_at = 0xffff;
}

static void watch_frames_end(void)
{
    end();
    for (unsigned i = 0; i < 4; i++)
        FwpsCalloutUnregisterById0(watched[i]);
}

static void test_frames(void)
{
    uint8_t arp[42] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 9, ARP >> 8, ARP & 0xff, 0, 1};
    static const uint8_t peer[6] = {2, 0, 0, 0, 0, 9};
    watch_frames();
    FwpsInjectionHandleCreate0(AF_UNSPEC, INJECT_L2, &layer2);
    LONG before = guest_frames;
    stack_from_link(arp, sizeof arp);
    EXPECT("any frame passes the MAC layers, native first", glances[0].layer << 8 | glances[1].layer, LAYER_INBOUND_MAC_FRAME_NATIVE << 8 | LAYER_INBOUND_MAC_FRAME_ETHERNET);
    EXPECT("and no other", glance_count, 2);
    EXPECT("it arrives", guest_frames - before, 1);
    EXPECT("native begins at the MAC header", glances[0].first_byte << 8 | glances[0].length, 0xff << 8 | 42);
    EXPECT("Ethernet in begins behind it", glances[1].length, 28);
    EXPECT("whose size is told", glances[1].header_size, 14);
    EXPECT("with the type", glances[1].type, ARP);
    EXPECT("and who sent it", memcmp(glances[1].remote, peer, 6), 0);
    EXPECT("at DISPATCH_LEVEL", glances[1].irql, IRQL_DISPATCH);

    glance_count = 0;
    before = link_frames;
    EXPECT("a datagram leaves", datagram_passes(), TRUE);
    EXPECT("by the Ethernet layer, then the native one", glances[0].layer << 8 | glances[1].layer, LAYER_OUTBOUND_MAC_FRAME_ETHERNET << 8 | LAYER_OUTBOUND_MAC_FRAME_NATIVE);
    EXPECT("Ethernet out begins at the MAC header", glances[0].length, 14 + 20 + 8 + 5);

    block_at = LAYER_OUTBOUND_MAC_FRAME_ETHERNET;
    EXPECT("blocked there it does not leave", datagram_passes(), FALSE);
    glance_count = 0;
    before = link_frames;
    EXPECT("injected", STATUS_OF(FwpsInjectMacSendAsync0(layer2, (HANDLE)0xcc, 0, LAYER_OUTBOUND_MAC_FRAME_ETHERNET, 0, 0, kept, on_injected, NULL)), 0);
    EXPECT("W245 completed", STATUS_OF(injected_wait()), 0);
    EXPECT("it leaves once", link_frames - before, 1);
    EXPECT("W255 and is seen again as one's own", glances[0].state, 1);
    EXPECT("W257 with its context", (uintptr_t)glances[0].context, 0xcc);

    block_at = LAYER_INBOUND_MAC_FRAME_ETHERNET;
    before = guest_frames;
    link_sends(SERVER, 53, 5000, IPPROTO_UDP, 0, 0, "in");
    EXPECT("blocked on its way in", guest_frames - before, 0);
    FwpsInjectMacReceiveAsync0(layer2, NULL, 0, LAYER_INBOUND_MAC_FRAME_ETHERNET, 0, 0, kept, on_injected, NULL);
    injected_wait();
    EXPECT("injected it arrives", guest_frames - before, 1);
    block_at = 0xffff;

    NET_BUFFER_LIST *chain = list_of(arp, sizeof arp), *clone = NULL;
    chain->Next = list_of(arp, sizeof arp);
    chain->Next->Next = list_of(arp, sizeof arp);
    EXPECT("W271 a chain cannot be cloned", STATUS_OF(FwpsAllocateCloneNetBufferList0(chain, NULL, NULL, 0, &clone)), STATUS_OF(STATUS_INVALID_PARAMETER));
    before = link_frames;
    completions = completed_lists = 0;
    EXPECT("W270 a chain can be injected", STATUS_OF(FwpsInjectMacSendAsync0(layer2, NULL, 0, LAYER_OUTBOUND_MAC_FRAME_NATIVE, 0, 0, chain, on_injected, NULL)), 0);
    injected_wait();
    injected_wait();
    EXPECT("W270 it is completed in parts", completions, 2);
    EXPECT("W270 each list once", completed_lists, 3);
    EXPECT("W270 and all are sent", link_frames - before, 3);
    EXPECT("a layer of the other direction is refused", FwpsInjectMacSendAsync0(layer2, NULL, 0, LAYER_INBOUND_MAC_FRAME_NATIVE, 0, 0, chain, on_injected, NULL) != 0, TRUE);
    FwpsInjectionHandleDestroy0(layer2);
    watch_frames_end();
}

/* ---- forwarding ---- */
static LONG second_frames;
static uint8_t last_second[2048];

static void to_second(const uint8_t *frame, size_t length)
{
    memcpy(last_second, frame, length < sizeof last_second ? length : sizeof last_second);
    second_frames++;
}

static UINT32 forward_first, forward_to;
static const char *forward_answer;

static void see_forwarded(struct behaviour *b, struct call *call)
{
    const uint8_t *bytes = NdisGetDataBuffer(((NET_BUFFER_LIST *)call->data)->FirstNetBuffer, 1, NULL, 1, 0);
    (void)b;
    forward_first = *bytes;
    forward_to = value_of(call, COND_DESTINATION_INTERFACE_INDEX)->uint32;
    call->out->actionType = forward_answer ? ACTION_BLOCK : ACTION_PERMIT;
}

static void test_forwarding(void)
{
    uint8_t frame[2048];
    UINT32 id;
    HANDLE handle;
    size_t length = build(frame, SERVER, 53, BEYOND, 5000, IPPROTO_UDP, 0, 0, "through");
    begin();
    add_callout(1, LAYER_IPFORWARD_V4, &id);
    register_callout(1, 0);
    behave[0].instead = see_forwarded;
    add_filter(LAYER_IPFORWARD_V4, 100, ACTION_CALLOUT_TERMINATING, 1, 1, 0, NULL);
    stack_from_link(frame, length);
    EXPECT("W231 without a second interface nothing is forwarded", behave[0].calls, 0);
    wire.second = (struct second_interface){.to_link = to_second, .network = address_v4(0x0a000000), .prefix = 8, .index = 42};
    LONG before = guest_frames;
    stack_from_link(frame, length);
    EXPECT("W231 with one it is seen", behave[0].calls, 1);
    EXPECT("W223 at the IP header", forward_first, 0x45);
    EXPECT("with where it goes", forward_to, 42);
    EXPECT("it leaves by the other interface", second_frames, 1);
    EXPECT("and does not reach the guest", guest_frames - before, 0);
    EXPECT("one hop older", last_second[ETHERNET + 8], frame[ETHERNET + 8] - 1);
    EXPECT("with right sums", sums_hold(last_second), TRUE);
    link_sends(SERVER, 53, 5000, IPPROTO_UDP, 0, 0, "for the guest");
    EXPECT("W231 what is for the guest is not forwarded", behave[0].calls, 1);
    forward_answer = "no";
    stack_from_link(frame, length);
    EXPECT("blocked it does not leave", second_frames, 1);
    FwpsInjectionHandleCreate0(AF_UNSPEC, INJECT_FORWARD, &handle);
    unsigned calls = behave[0].calls;
    FwpsInjectForwardAsync0(handle, NULL, 0, AF_INET, 1, 42, list_of(frame + ETHERNET, length - ETHERNET), on_injected, NULL);
    EXPECT("injected", STATUS_OF(injected_wait()), 0);
    EXPECT("it leaves", second_frames, 2);
    EXPECT("and no callout is asked again", behave[0].calls, calls);
    NET_BUFFER_LIST *chain = list_of(frame + ETHERNET, length - ETHERNET);
    chain->Next = list_of(frame + ETHERNET, length - ETHERNET);
    EXPECT("W260 a chain of fragments is none to forward", FwpsInjectForwardAsync0(handle, NULL, 0, AF_INET, 1, 42, chain, on_injected, NULL) != 0, TRUE);
    nbl_release(chain->Next);
    nbl_release(chain);
    wire.guest[2] = address_v4(0x0a000001);
    length = build(frame, SERVER, 53, 0x0a000001, 5000, IPPROTO_UDP, 0, 0, "own address");
    stack_from_link(frame, length);
    memset(&wire.guest[2], 0, sizeof wire.guest[2]);
    EXPECT("W231 nor what is for the guest's own address there", behave[0].calls, calls);
    length = build(frame, SERVER, 53, BEYOND, 5000, IPPROTO_UDP, 0, 0, "through");
    forward_answer = NULL;
    frame[ETHERNET + 8] = 1;
    stack_from_link(frame, length);
    EXPECT("a packet at its last hop goes no further", second_frames, 2);
    before = link_frames;
    length = build(frame, BEYOND, 5000, SERVER, 53, IPPROTO_UDP, 0, 0, "and back");
    stack_from_second(frame, length);
    EXPECT("the answer comes back", link_frames - before, 1);
    FwpsInjectionHandleDestroy0(handle);
    memset(&wire.second, 0, sizeof wire.second);
    end();
    FwpsCalloutUnregisterById0(id);
}

/* ---- fragments ---- */
static size_t fragment_of(uint8_t *f, UINT32 from, UINT32 to, UINT16 id, size_t offset, BOOL more, const uint8_t *data, size_t size)
{
    uint8_t *ip = f + ETHERNET;
    memset(f, 2, 12);
    put16(f + 12, 0x800);
    memset(ip, 0, 20);
    ip[0] = 0x45;
    put16(ip + 2, (UINT16)(20 + size));
    put16(ip + 4, id);
    put16(ip + 6, (UINT16)(offset / 8 | (more ? MORE : 0)));
    ip[8] = 64;
    ip[9] = IPPROTO_UDP;
    put32(ip + 12, from);
    put32(ip + 16, to);
    put16(ip + 10, ip_checksum(ip, 20, 0));
    memcpy(ip + 20, data + offset, size);
    return ETHERNET + 20 + size;
}

enum { WHOLE = 8 + 1592, HALF = 800 };

/* A datagram of 1592 bytes with the ports of the ends. */
static void datagram(uint8_t *out, UINT16 from, UINT16 to)
{
    memset(out, 'x', WHOLE);
    put16(out, from);
    put16(out + 2, to);
    put16(out + 4, WHOLE);
    put16(out + 6, 0);
}

static void part_in(UINT16 id, size_t offset, BOOL more, size_t size)
{
    uint8_t data[WHOLE], frame[2048];
    datagram(data, 53, 5000);
    stack_from_link(frame, fragment_of(frame, SERVER, GUEST, id, offset, more, data, size));
}

static void test_fragments(void)
{
    watch_path();
    LONG before = guest_frames;
    part_in(100, HALF, FALSE, WHOLE - HALF);
    EXPECT("W230 a fragment is seen twice", seen_count, 2);
    EXPECT("W230 as the packet that it is", seen[0].flags & FLAG_IS_FRAGMENT, 0);
    EXPECT("W230 and as a fragment", seen[1].flags & FLAG_IS_FRAGMENT, FLAG_IS_FRAGMENT);
    EXPECT("it waits", guest_frames - before, 0);
    part_in(100, 0, TRUE, HALF);
    EXPECT("W230 the packet is seen once, and goes on", seen_count, 2 + 2 + 1 + 4);
    EXPECT("W230 as one that was put together", seen[4].layer << 16 | (seen[4].flags & (FLAG_IS_REASSEMBLED | FLAG_IS_FRAGMENT)),
           LAYER_INBOUND_IPPACKET_V4 << 16 | FLAG_IS_REASSEMBLED);
    EXPECT("the transport layer sees all its data", at(LAYER_INBOUND_TRANSPORT_V4)->length, WHOLE - 8);
    EXPECT("it arrives as one", guest_frames - before, 1);
    EXPECT("whole", get16(last_guest + ETHERNET + 2), 20 + WHOLE);
    EXPECT("with a right header", ip_checksum(last_guest + ETHERNET, 20, 0), 0);

    before = guest_frames;
    part_in(101, 0, TRUE, HALF);
    part_in(101, HALF - 8, FALSE, WHOLE - HALF + 8);
    part_in(101, HALF, FALSE, WHOLE - HALF);
    EXPECT("fragments that overlap are dropped with their packet", guest_frames - before, 0);
    part_in(102, 0, TRUE, HALF + 4);
    part_in(102, HALF, FALSE, WHOLE - HALF);
    EXPECT("so is one whose length is none of a fragment", guest_frames - before, 0);
    watch_path_end();

    UINT32 id;
    FWPM_FILTER_CONDITION0 none = {.fieldKey = condition_keys[COND_FLAGS], .matchType = FWP_MATCH_FLAGS_NONE_SET};
    FWPM_FILTER0 f = {.displayData.name = L"f", .layerKey = layer_by_id(LAYER_INBOUND_IPPACKET_V4)->key, .numFilterConditions = 1, .filterCondition = &none};
    none.conditionValue.type = FWP_UINT32;
    none.conditionValue.uint32 = FLAG_IS_FRAGMENT;
    begin();
    add_callout(1, LAYER_INBOUND_IPPACKET_V4, &id);
    register_callout(1, 0);
    behave[0].action = ACTION_PERMIT;
    f.subLayerKey = key_of(100);
    f.action.type = ACTION_CALLOUT_TERMINATING;
    f.action.calloutKey = key_of(1);
    EXPECT("a filter for what is no fragment", STATUS_OF(FwpmFilterAdd0(engine, &f, NULL, NULL)), 0);
    part_in(103, 0, TRUE, HALF);
    part_in(103, HALF, FALSE, WHOLE - HALF);
    EXPECT("W230 it sees each fragment once, and the packet", behave[0].calls, 3);
    end();
    FwpsCalloutUnregisterById0(id);
}

static void test_cut_again(void)
{
    uint8_t data[WHOLE], frame[2048];
    watch_path();
    datagram(data, 5000, 53);
    LONG before = link_frames;
    stack_from_guest(frame, fragment_of(frame, GUEST, SERVER, 7, 0, TRUE, data, HALF));
    EXPECT("the guest's fragments wait for one another", link_frames - before + (LONG)seen_count, 0);
    stack_from_guest(frame, fragment_of(frame, GUEST, SERVER, 7, HALF, FALSE, data, WHOLE - HALF));
    EXPECT("a callout sees the whole", at(LAYER_OUTBOUND_TRANSPORT_V4)->length, WHOLE);
    EXPECT("which is cut again for the link", link_frames - before, 2);
    EXPECT("where the second part begins", (get16(last_link + ETHERNET + 6) & 0x1fff) * 8, 1480);
    EXPECT("and is the rest", get16(last_link + ETHERNET + 2), 20 + WHOLE - 1480);
    watch_path_end();
}

/* ---- what a layer may say of a packet ---- */
static const struct {
    UINT16 layer;
    UINT32 flags;
} flags_given[] = {
    {LAYER_INBOUND_IPPACKET_V4, FLAG_IS_LOOPBACK | FLAG_IS_FRAGMENT | FLAG_IS_REASSEMBLED},
    {LAYER_OUTBOUND_IPPACKET_V4, FLAG_IS_LOOPBACK},
    {LAYER_INBOUND_TRANSPORT_V4, FLAG_IS_LOOPBACK | FLAG_REQUIRES_ALE_CLASSIFY},
    {LAYER_OUTBOUND_TRANSPORT_V4, FLAG_IS_LOOPBACK},
    {LAYER_DATAGRAM_DATA_V4, FLAG_IS_LOOPBACK},
    {LAYER_ALE_AUTH_RECV_ACCEPT_V4, FLAG_IS_LOOPBACK | FLAG_IS_REAUTHORIZE},
    {LAYER_ALE_AUTH_CONNECT_V4, FLAG_IS_REAUTHORIZE | FLAG_IS_CONNECTION_REDIRECTED | FLAG_IS_PROXY_CONNECTION},
    {LAYER_ALE_FLOW_ESTABLISHED_V4, FLAG_IS_LOOPBACK | FLAG_IS_PROXY_CONNECTION},
};

static UINT32 flags_beyond(void)
{
    UINT32 beyond = 0;
    for (unsigned i = 0; i < seen_count && i < SEEN_MAX; i++)
        for (unsigned k = 0; k < sizeof flags_given / sizeof flags_given[0]; k++)
            if (flags_given[k].layer == seen[i].layer)
                beyond |= seen[i].flags & ~flags_given[k].flags;
    return beyond;
}

static void send_fragment(void)
{
    uint8_t data[WHOLE], frame[2048];
    HANDLE handle;
    datagram(data, 5000, 53);
    size_t length = fragment_of(frame, GUEST, SERVER, 9, 0, TRUE, data, HALF);
    FwpsInjectionHandleCreate0(AF_INET, INJECT_NETWORK, &handle);
    FwpsInjectNetworkSendAsync0(handle, NULL, 0, 1, list_of(frame + ETHERNET, length - ETHERNET), on_injected, NULL);
    injected_wait();
    FwpsInjectionHandleDestroy0(handle);
}

static void test_flags(void)
{
    UINT32 id;
    HANDLE redirect;
    watch_path();
    part_in(110, 0, TRUE, HALF);
    part_in(110, HALF, FALSE, WHOLE - HALF);
    send_fragment();
    add_callout(1, LAYER_ALE_CONNECT_REDIRECT_V4, &id);
    register_callout(1, 1);
    FwpsRedirectHandleCreate0(NULL, 0, &redirect);
    behave[1].redirect = redirect;
    behave[1].redirect_to = BEYOND;
    behave[1].redirect_port = 81;
    add_filter(LAYER_ALE_CONNECT_REDIRECT_V4, 200, ACTION_CALLOUT_TERMINATING, 1, 1, 0, NULL);
    guest_sends(5700, SERVER, 80, IPPROTO_TCP, 2, 1000, "");
    EXPECT("W236 AUTH_CONNECT is told of a redirection", at(LAYER_ALE_AUTH_CONNECT_V4)->flags, FLAG_IS_CONNECTION_REDIRECTED);
    EXPECT("W236 and no layer of what is another's", flags_beyond(), 0);
    FwpsRedirectHandleDestroy0(redirect);
    watch_path_end();
    FwpsCalloutUnregisterById0(id);
}

/* What it has been shown at a layer, in one word: its own structure, a list, nothing. */
static UINT32 data_kinds[4];
static UINT64 poison;

static void see_data(struct behaviour *b, struct call *call)
{
    const FWPS_CONNECT_REQUEST0 *request = call->data;
    const FWPS_STREAM_CALLOUT_IO_PACKET0 *io = call->data;
    (void)b;
    call->out->actionType = ACTION_PERMIT;
    if (call->values->layerId == LAYER_ALE_CONNECT_REDIRECT_V4)
        data_kinds[0] = get16((const uint8_t *)&((const SOCKADDR_IN *)&request->remoteAddressAndPort)->sin_port);
    else if (call->values->layerId == LAYER_STREAM_V4)
        data_kinds[1] = nbl_block_of(io->streamData->netBufferListChain) != NULL;
    else if (call->values->layerId == LAYER_OUTBOUND_IPPACKET_V4)
        data_kinds[2] = nbl_block_of(call->data) != NULL;
    if (call->values->layerId == LAYER_OUTBOUND_IPPACKET_V4)
        poison = call->metadata->flowHandle;
}

static void test_data(void)
{
    watch_path();
    behave[0].instead = see_data;
    guest_sends(5701, SERVER, 80, IPPROTO_TCP, 2, 1000, "");
    link_sends(SERVER, 80, 5701, IPPROTO_TCP, 0x12, 2000, "");
    guest_sends(5701, SERVER, 80, IPPROTO_TCP, 0x18, 1001, "GET");
    EXPECT("W221 at CONNECT_REDIRECT: the request", data_kinds[0], 80);
    EXPECT("W221 at STREAM: the stream's data", data_kinds[1], TRUE);
    EXPECT("W221 at the packet layers: a list", data_kinds[2], TRUE);
    EXPECT("W234 what is not announced is poison", poison, 0xa5a5a5a5a5a5a5a5ull);
    watch_path_end();
}

/* ---- what was blocked ---- */
static UINT64 discard_filter;
static UINT32 discard_reason, discard_port;

static void see_discard(struct behaviour *b, struct call *call)
{
    (void)b;
    discard_filter = call->metadata->discardMetadata.filterId;
    discard_reason = (call->metadata->currentMetadataValues & META_DISCARD_REASON) << 16 | call->metadata->discardMetadata.discardModule << 8 |
                     call->metadata->discardMetadata.discardReason;
    discard_port = value_of(call, COND_IP_REMOTE_PORT)->uint16;
    call->out->actionType = ACTION_PERMIT;
}

static void test_discards(void)
{
    enum { DISCARDED = LAYER_OUTBOUND_TRANSPORT_V4 + 1, GENERAL = 2, FIREWALL_POLICY = 0 };
    UINT32 id;
    UINT64 blocks;
    begin();
    add_callout(1, DISCARDED, &id);
    register_callout(1, 0);
    behave[0].instead = see_discard;
    add_filter(DISCARDED, 100, ACTION_CALLOUT_INSPECTION, 1, 1, 0, NULL);
    datagram_passes();
    EXPECT("what is permitted is not discarded", behave[0].calls, 0);
    add_filter(LAYER_OUTBOUND_TRANSPORT_V4, 100, ACTION_BLOCK, 0, 1, 0, &blocks);
    EXPECT("blocked", datagram_passes(), FALSE);
    EXPECT("the discard layer is told", behave[0].calls, 1);
    EXPECT("W233 why", discard_reason, META_DISCARD_REASON << 16 | GENERAL << 8 | FIREWALL_POLICY);
    EXPECT("W233 by which filter", discard_filter, blocks);
    EXPECT("and of which packet", discard_port, 53);
    end();
    FwpsCalloutUnregisterById0(id);
}

void test_frame_path(void)
{
    inject_rig_begin();
    test_frames();
    test_forwarding();
    test_fragments();
    test_cut_again();
    test_flags();
    test_data();
    test_discards();
    inject_rig_end();
}
