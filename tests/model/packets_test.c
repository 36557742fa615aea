/*
 * What a callout sees of packets (offsets, metadata, IRQL, directions), injected packets and their checksums, and the
 * states by which a driver recognises what was injected or redirected. Named after the rule catalogue.
 *
 * SPDX-License-Identifier: MIT
 */
#include "inject_rig.h"

enum { IP = 0x45, OTHER = 0xc6336407 };
NTSTATUS NTAPI FwpsConstructIpHeaderForTransportPacket0(NET_BUFFER_LIST *, ULONG, ADDRESS_FAMILY, const UCHAR *, const UCHAR *, int, UINT64,
                                                        const void *, ULONG, UINT32, void *, ULONG, ULONG);
NTSTATUS NTAPI FwpsInjectTransportSendAsync1(HANDLE, HANDLE, UINT64, UINT32, FWPS_TRANSPORT_SEND_PARAMS1 *, ADDRESS_FAMILY, ULONG,
                                             NET_BUFFER_LIST *, INJECT_COMPLETE, HANDLE);
NTSTATUS NTAPI FwpsInjectNetworkReceiveAsync0(HANDLE, HANDLE, UINT32, ULONG, ULONG, ULONG, NET_BUFFER_LIST *, INJECT_COMPLETE, HANDLE);
NTSTATUS NTAPI FwpsQueryConnectionSioFormatRedirectRecords0(HANDLE, void *, SIZE_T, SIZE_T *);
void *NTAPI NdisGetDataBuffer(NET_BUFFER *, ULONG, void *, UINT32, UINT32);
int NTAPI NdisRetreatNetBufferDataStart(NET_BUFFER *, ULONG, ULONG, void *);
void NTAPI NdisAdvanceNetBufferDataStart(NET_BUFFER *, ULONG, BOOLEAN, void *);

static void test_udp_out(void)
{
    enum { HEADERS = META_IP_HEADER_SIZE | META_TRANSPORT_HEADER_SIZE };
    watch_path();
    guest_sends(5001, SERVER, 53, IPPROTO_UDP, 0, 0, "Zebra");
    static const UINT16 order[] = {66, 48, 52, 24, 16, 4};
    for (unsigned i = 0; i < 6; i++)
        EXPECT("order of the layers for a first datagram out", seen[i].layer, order[i]);
    EXPECT("and no other", seen_count, 6);
    check_metadata("W233 no metadata beyond the table, datagram out");
    BITS("W233 process at CONNECT_REDIRECT", LAYER_ALE_CONNECT_REDIRECT_V4, META_PROCESS_ID | META_PROCESS_PATH, META_PROCESS_ID);
    BITS("W233 process at AUTH_CONNECT", LAYER_ALE_AUTH_CONNECT_V4, META_PROCESS_ID | META_PROCESS_PATH, META_PROCESS_ID | META_PROCESS_PATH);
    SAW("DATAGRAM_DATA out: direction", LAYER_DATAGRAM_DATA_V4, direction, 0);
    SAW("W225 DATAGRAM_DATA out begins at the UDP header", LAYER_DATAGRAM_DATA_V4, length, 13);
    BITS("W225 and no IP header yet", LAYER_DATAGRAM_DATA_V4, HEADERS, META_TRANSPORT_HEADER_SIZE);
    SAW("W225 OUTBOUND_TRANSPORT begins at the UDP header", LAYER_OUTBOUND_TRANSPORT_V4, length, 13);
    BITS("W225 and has no IP header yet", LAYER_OUTBOUND_TRANSPORT_V4, META_IP_HEADER_SIZE, 0);
    BITS("W233 endpoint at OUTBOUND_TRANSPORT", LAYER_OUTBOUND_TRANSPORT_V4, META_TRANSPORT_ENDPOINT_HANDLE, META_TRANSPORT_ENDPOINT_HANDLE);
    SAW("W223 OUTBOUND_IPPACKET begins at the IP header", LAYER_OUTBOUND_IPPACKET_V4, first_byte, IP);
    SAW("W209 AUTH_CONNECT of a datagram has its packet", LAYER_ALE_AUTH_CONNECT_V4, has_data, TRUE);
    BITS("W233 redirect records at CONNECT_REDIRECT", LAYER_ALE_CONNECT_REDIRECT_V4, META_REDIRECT_RECORD_HANDLE, META_REDIRECT_RECORD_HANDLE);
    SAW("what goes out is seen at PASSIVE_LEVEL", LAYER_OUTBOUND_IPPACKET_V4, irql, IRQL_PASSIVE);
    seen_count = 0;
    link_sends(SERVER, 53, 5001, IPPROTO_UDP, 0, 0, "Yes");
    EXPECT("the answer: IP packet, transport, data", seen_count, 3);
    SAW("DATAGRAM_DATA in: direction", LAYER_DATAGRAM_DATA_V4, direction, 1);
    SAW("W224 DATAGRAM_DATA in begins behind the UDP header", LAYER_DATAGRAM_DATA_V4, first_byte, 'Y');
    BITS("W224 both header sizes", LAYER_DATAGRAM_DATA_V4, HEADERS, HEADERS);
    SAW("what comes in is seen at DISPATCH_LEVEL", LAYER_DATAGRAM_DATA_V4, irql, IRQL_DISPATCH);
    BITS("W232 an answer needs no ALE", LAYER_INBOUND_TRANSPORT_V4, META_ALE_CLASSIFY_REQUIRED, 0);
    watch_path_end();
}

static void test_udp_in(void)
{
    watch_path();
    link_sends(SERVER, 9000, 7777, IPPROTO_UDP, 0, 0, "Query");
    static const UINT16 order[] = {0, 12, 44, 52, 24};
    for (unsigned i = 0; i < 5; i++)
        EXPECT("W206 order of the layers for a first datagram in", seen[i].layer, order[i]);
    EXPECT("and no other", seen_count, 5);
    check_metadata("W233 no metadata beyond the table, datagram in");
    SAW("W222 INBOUND_IPPACKET begins behind the IP header", LAYER_INBOUND_IPPACKET_V4, length, 13);
    BITS("W222 and tells its size", LAYER_INBOUND_IPPACKET_V4, META_IP_HEADER_SIZE, META_IP_HEADER_SIZE);
    BITS("W232 INBOUND_TRANSPORT: ALE is yet to come", LAYER_INBOUND_TRANSPORT_V4, META_ALE_CLASSIFY_REQUIRED, META_ALE_CLASSIFY_REQUIRED);
    SAW("W224 INBOUND_TRANSPORT begins behind the UDP header", LAYER_INBOUND_TRANSPORT_V4, first_byte, 'Q');
    SAW("W224 RECV_ACCEPT too", LAYER_ALE_AUTH_RECV_ACCEPT_V4, first_byte, 'Q');
    BITS("W233 direction at RECV_ACCEPT", LAYER_ALE_AUTH_RECV_ACCEPT_V4, META_PACKET_DIRECTION, META_PACKET_DIRECTION);
    seen_count = 0;
    link_sends(SERVER, 9000, 7777, IPPROTO_UDP, 0, 0, "More");
    EXPECT("W210 the second datagram: not at ALE", seen_count, 3);
    seen_count = 0;
    guest_sends(7777, SERVER, 9000, IPPROTO_UDP, 0, 0, "Answer");
    EXPECT("W210 nor its answer", seen_count, 3);
    SAW("its data goes out", LAYER_DATAGRAM_DATA_V4, direction, 0);
    watch_path_end();
}

static void test_stream(void)
{
    watch_path();
    guest_sends(5100, SERVER, 80, IPPROTO_TCP, 2, 1000, "");
    SAW("W209 AUTH_CONNECT of TCP has no packet", LAYER_ALE_AUTH_CONNECT_V4, has_data, FALSE);
    EXPECT("W207 no establishment by a SYN", at(LAYER_ALE_FLOW_ESTABLISHED_V4)->layer, 0);
    seen_count = 0;
    link_sends(SERVER, 80, 5100, IPPROTO_TCP, 0x12, 2000, "");
    SAW("W207 established by the SYN-ACK", LAYER_ALE_FLOW_ESTABLISHED_V4, layer, LAYER_ALE_FLOW_ESTABLISHED_V4);
    SAW("which arrives at DISPATCH_LEVEL", LAYER_ALE_FLOW_ESTABLISHED_V4, irql, IRQL_DISPATCH);
    seen_count = 0;
    guest_sends(5100, SERVER, 80, IPPROTO_TCP, 0x18, 1001, "GET");
    SAW("W226 STREAM out is data alone", LAYER_STREAM_V4, first_byte, 'G');
    SAW("STREAM out: length", LAYER_STREAM_V4, length, 3);
    SAW("STREAM out: direction", LAYER_STREAM_V4, direction, 0);
    BITS("W200 STREAM has the flow", LAYER_STREAM_V4, META_FLOW_HANDLE | META_IP_HEADER_SIZE, META_FLOW_HANDLE);
    check_metadata("W233 no metadata beyond the table, stream out");
    seen_count = 0;
    acknowledged = 1004;
    link_sends(SERVER, 80, 5100, IPPROTO_TCP, 0x18, 2001, "200 OK");
    SAW("STREAM in: length", LAYER_STREAM_V4, length, 6);
    SAW("STREAM in: direction", LAYER_STREAM_V4, direction, 1);
    check_metadata("W233 no metadata beyond the table, stream in");
    SAW("STREAM in: level", LAYER_STREAM_V4, irql, IRQL_DISPATCH);
    seen_count = 0;
    link_sends(SERVER, 80, 5100, IPPROTO_TCP, 0x18, 2001, "200 OK");
    EXPECT("a retransmission is no new data", at(LAYER_STREAM_V4)->layer, 0);
    link_sends(SERVER, 80, 5100, IPPROTO_TCP, 0x11, 2007, "");
    SAW("W294 a FIN is a segment without data", LAYER_STREAM_V4, has_data, TRUE);
    SAW("W294 of no length", LAYER_STREAM_V4, length, 0);
    acknowledged = 2001;
    watch_path_end();
}

/* ---- checksums ---- */

static HANDLE completed;
static NTSTATUS completion;
static UINT32 completion_irql;
static BOOLEAN completion_dispatch;
static HANDLE hold_completion;

static void NTAPI on_complete(void *context, NET_BUFFER_LIST *nbl, BOOLEAN dispatch)
{
    (void)context;
    completion = nbl->Status;
    completion_irql = irql_now();
    completion_dispatch = dispatch;
    if (hold_completion)
        WaitForSingleObject(hold_completion, 60000);
    nbl_release(nbl);
    SetEvent(completed);
}

static NET_BUFFER_LIST *bytes_list(const uint8_t *bytes, size_t length)
{
    uint8_t *copy = mem_alloc(length + 1);
    memcpy(copy, bytes, length);
    return nbl_wrap(copy, length, 0, length);
}

static size_t udp(uint8_t *out, const char *payload)
{
    size_t size = strlen(payload);
    memset(out, 0, 8);
    put16(out, 5000);
    put16(out + 2, 53);
    put16(out + 4, (UINT16)(8 + size));
    put16(out + 6, 0xbad0); /* wrong on purpose */
    memcpy(out + 8, payload, size);
    return 8 + size;
}

static void send_transport(HANDLE handle, const uint8_t *bytes, size_t length)
{
    static UCHAR remote[4] = {198, 51, 100, 5};
    static FWPS_TRANSPORT_SEND_PARAMS1 arguments = {.remoteAddress = remote};
    EXPECT("transport send", STATUS_OF(FwpsInjectTransportSendAsync1(handle, NULL, 0, 0, &arguments, AF_INET, 1, bytes_list(bytes, length), on_complete, NULL)), 0);
    WaitForSingleObject(completed, 60000);
}

/* The packet with the IP header and the sums that FwpsConstructIpHeaderForTransportPacket0 makes, as a frame. */
static const uint8_t *constructed(const uint8_t *bytes, size_t length, int protocol)
{
    static uint8_t frame[ETHERNET + 20 + 64];
    static const UCHAR local[4] = {192, 0, 2, 2}, remote[4] = {198, 51, 100, 5};
    uint8_t *copy = mem_alloc(20 + length);
    memcpy(copy + 20, bytes, length);
    NET_BUFFER_LIST *nbl = nbl_wrap(copy, 20 + length, 20, length);
    EXPECT("header made", STATUS_OF(FwpsConstructIpHeaderForTransportPacket0(nbl, 0, AF_INET, local, remote, protocol, 0, NULL, 0, 0, NULL, 0, 0)), 0);
    memcpy(frame + ETHERNET, copy, 20 + length);
    nbl_release(nbl);
    return frame;
}

static void test_checksums(void)
{
    uint8_t bytes[64];
    EXPECT("W263 UDP of even length: sums are right", sums_hold(constructed(bytes, udp(bytes, "even"), IPPROTO_UDP)), TRUE);
    EXPECT("W263 UDP of odd length: sums are right", sums_hold(constructed(bytes, udp(bytes, "odd"), IPPROTO_UDP)), TRUE);
    /* One word more, chosen so that the sum comes out as zero, which in UDP would say that there is none. */
    UINT16 sum = get16(constructed(bytes, udp(bytes, "\x01\x01"), IPPROTO_UDP) + ETHERNET + 26);
    UINT32 word = 0x0101u + sum;
    put16(bytes + 8, (UINT16)((word & 0xffff) + (word >> 16)));
    EXPECT("W263 a UDP sum of zero is sent as 0xffff", get16(constructed(bytes, 10, IPPROTO_UDP) + ETHERNET + 26), 0xffff);
    uint8_t tcp[25] = {0};
    put16(tcp, 5000);
    put16(tcp + 2, 80);
    tcp[12] = 0x50;
    tcp[13] = 0x18;
    memcpy(tcp + 20, "abcde", 5);
    const uint8_t *frame = constructed(tcp, sizeof tcp, IPPROTO_TCP);
    EXPECT("W263 TCP of odd length: sums are right", sums_hold(frame), TRUE);
    EXPECT("as TCP", frame[ETHERNET + 9], IPPROTO_TCP);
}

/* The stack puts the IP header in front; of the transport header nothing is the stack's. */
static void test_transport_send(void)
{
    uint8_t bytes[64];
    HANDLE handle;
    FwpsInjectionHandleCreate0(AF_INET, INJECT_TRANSPORT, &handle);
    send_transport(handle, bytes, udp(bytes, "even"));
    EXPECT("W245 completed with success", STATUS_OF(completion), 0);
    EXPECT("W246 completionFn runs at DISPATCH_LEVEL and says so", completion_irql << 8 | completion_dispatch, IRQL_DISPATCH << 8 | TRUE);
    EXPECT("it is for the address of the arguments", get32(last_link + ETHERNET + 16), (UINT32)SERVER);
    EXPECT("the IP header's sum is right", folded(last_link + ETHERNET, 20, 0), 0xffff);
    EXPECT("a wrong transport checksum of the driver's stays wrong", get16(last_link + ETHERNET + 26), 0xbad0);
    FwpsInjectionHandleDestroy0(handle);
}

/* ---- injection states and handles ---- */
static HANDLE first, second, context_first, context_second;
static UINT32 state_first, state_second;

static void ask_states(struct behaviour *b, struct call *call)
{
    context_first = context_second = NULL;
    state_first = FwpsQueryPacketInjectionState0(first, call->data, &context_first);
    state_second = FwpsQueryPacketInjectionState0(second, call->data, &context_second);
    call->out->actionType = ACTION_PERMIT;
    if (b->action == ACTION_BLOCK) {
        FwpsAllocateCloneNetBufferList0(call->data, NULL, NULL, 0, &b->clone);
        call->out->actionType = ACTION_BLOCK;
    }
}

static void test_states(void)
{
    UINT32 id;
    begin();
    add_callout(1, LAYER_OUTBOUND_IPPACKET_V4, &id);
    register_callout(1, 0);
    FwpsInjectionHandleCreate0(AF_INET, INJECT_NETWORK, &first);
    FwpsInjectionHandleCreate0(AF_INET, INJECT_NETWORK, &second);
    behave[0].instead = ask_states;
    behave[0].action = ACTION_BLOCK;
    add_filter(LAYER_OUTBOUND_IPPACKET_V4, 100, ACTION_CALLOUT_TERMINATING, 1, 1, 0, NULL);
    datagram_passes();
    EXPECT("W256 from the stack", state_first << 4 | state_second, 0);
    FwpsInjectNetworkSendAsync0(first, (HANDLE)0xaa, 0, 1, behave[0].clone, on_complete, NULL);
    WaitForSingleObject(completed, 60000);
    EXPECT("W255 injected by self", state_first, 1);
    EXPECT("W257 with its context", (uintptr_t)context_first, 0xaa);
    EXPECT("W256 injected by another", state_second, 2);
    EXPECT("W257 whose context is none of its business", (uintptr_t)context_second, 0);
    behave[0].action = ACTION_PERMIT;
    FwpsInjectNetworkSendAsync0(second, (HANDLE)0xbb, 0, 1, behave[0].clone, on_complete, NULL);
    WaitForSingleObject(completed, 60000);
    EXPECT("W256 injected by self, then by another", state_first, 3);
    EXPECT("W257 with the context of then", (uintptr_t)context_first, 0xaa);
    EXPECT("W256 the last one sees its own", state_second, 1);
    EXPECT("it left the guest", sums_hold(last_link), TRUE);
    FwpsInjectionHandleDestroy0(first);
    FwpsInjectionHandleDestroy0(second);
    end();
    FwpsCalloutUnregisterById0(id);
}

static volatile LONG destroyed;

static DWORD WINAPI destroy(void *handle)
{
    FwpsInjectionHandleDestroy0(handle);
    InterlockedExchange(&destroyed, 1);
    return 0;
}

static void test_handles(void)
{
    uint8_t frame[2048];
    HANDLE network, transport, thread;
    NET_BUFFER_LIST *list, *refused;
    size_t length = build(frame, SERVER, 53, GUEST, 5000, IPPROTO_UDP, 0, 0, "hi") - ETHERNET;
    FwpsInjectionHandleCreate0(AF_INET, INJECT_NETWORK, &network);
    FwpsInjectionHandleCreate0(AF_UNSPEC, 0, &transport);
    refused = bytes_list(frame + ETHERNET, length);
    completion = 1;
    EXPECT("W239 a handle of type 0 is none for the network", STATUS_OF(FwpsInjectNetworkReceiveAsync0(transport, NULL, 0, 1, 1, 0, refused, on_complete, NULL)), STATUS_OF(STATUS_FWP_INJECT_HANDLE_STALE));
    EXPECT("W245 refused: not completed", completion, 1);
    hold_completion = CreateEventW(NULL, TRUE, FALSE, NULL);
    list = bytes_list(frame + ETHERNET, length);
    EXPECT("network receive", STATUS_OF(FwpsInjectNetworkReceiveAsync0(network, NULL, 0, 1, 1, 0, list, on_complete, NULL)), 0);
    destroyed = 0;
    thread = CreateThread(NULL, 0, destroy, network, 0, NULL);
    NTSTATUS status;
    do /* until the other thread has come as far as closing the handle; what is taken before is completed too */
        status = FwpsInjectNetworkReceiveAsync0(network, NULL, 0, 1, 1, 0, refused, on_complete, NULL);
    while (!status && (refused = bytes_list(frame + ETHERNET, length)) && (SwitchToThread() || TRUE));
    EXPECT("W241 W242 the handle is there, and closing, for as long as destroy waits", STATUS_OF(status), STATUS_OF(STATUS_FWP_INJECT_HANDLE_CLOSING));
    EXPECT("W241 destroy waits for what is pending", destroyed, 0);
    SetEvent(hold_completion);
    EXPECT("W241 and returns after it", WaitForSingleObject(thread, 60000), WAIT_OBJECT_0);
    CloseHandle(hold_completion);
    hold_completion = NULL;
    CloseHandle(thread);
    nbl_release(refused);
    FwpsInjectionHandleDestroy0(transport);
}

/* ---- redirection ---- */
static UINT32 states[4];
static UINT64 earlier_filter, first_filter;
static BOOL skip_apply, change_local;
static UINT32 local_seen; /* in the newest version of the request */

static void change(struct call *call, HANDLE handle, UINT32 to, const char *context)
{
    UINT64 classify_handle;
    void *data;
    FwpsAcquireClassifyHandle0(call->context, 0, &classify_handle);
    FwpsAcquireWritableLayerDataPointer0(classify_handle, call->filter->filterId, 0, &data, call->out);
    FWPS_CONNECT_REQUEST0 *request = data;
    if (request->previousVersion)
        earlier_filter = request->previousVersion->modifierFilterId;
    local_seen = get32((const uint8_t *)&((SOCKADDR_IN *)&request->localAddressAndPort)->sin_addr);
    put32((uint8_t *)&((SOCKADDR_IN *)&request->remoteAddressAndPort)->sin_addr, to);
    if (change_local && handle == first)
        put32((uint8_t *)&((SOCKADDR_IN *)&request->localAddressAndPort)->sin_addr, OTHER);
    request->localRedirectHandle = handle;
    if (context) {
        request->localRedirectContext = (void *)(uintptr_t)context;
        request->localRedirectContextSize = 2;
    }
    if (!skip_apply)
        FwpsApplyModifiedLayerData0(classify_handle, data, 0);
    FwpsReleaseClassifyHandle0(classify_handle);
    call->out->actionType = ACTION_PERMIT;
}

static void redirect_first(struct behaviour *b, struct call *call)
{
    (void)b;
    first_filter = call->filter->filterId;
    states[0] = FwpsQueryConnectionRedirectState0(call->metadata->redirectRecords, first, NULL);
    change(call, first, OTHER, "A1");
}

static void redirect_after(struct behaviour *b, struct call *call)
{
    (void)b;
    change(call, second, SERVER, NULL);
}

static void redirect_second(struct behaviour *b, struct call *call)
{
    HANDLE records = call->metadata->redirectRecords;
    (void)b;
    void *none = NULL, *ours = NULL, *latest = NULL;
    states[1] = FwpsQueryConnectionRedirectState0(records, second, &none);
    EXPECT("W127 another's context is none of its business", none == NULL, 1);
    change(call, second, SERVER + 3, "B2");
    states[2] = FwpsQueryConnectionRedirectState0(records, first, &ours);
    EXPECT("W127 its own of then is told", ours && !memcmp(ours, "A1", 2), 1);
    states[3] = FwpsQueryConnectionRedirectState0(records, second, &latest);
    EXPECT("W127 its own of now is told", latest && !memcmp(latest, "B2", 2), 1);
    uint8_t room[256];
    SIZE_T needed = 0, again = 0;
    EXPECT("W156 no records", STATUS_OF(FwpsQueryConnectionSioFormatRedirectRecords0(NULL, room, sizeof room, &needed)), STATUS_OF(STATUS_NOT_FOUND));
    EXPECT("W156 no room", STATUS_OF(FwpsQueryConnectionSioFormatRedirectRecords0(records, room, 3, &needed)), STATUS_OF(STATUS_BUFFER_TOO_SMALL));
    EXPECT("W156 room enough", STATUS_OF(FwpsQueryConnectionSioFormatRedirectRecords0(records, room, needed, &again)), 0);
}

static void test_redirect_states(void)
{
    UINT32 one, two;
    begin();
    add_callout(1, LAYER_ALE_CONNECT_REDIRECT_V4, &one);
    add_callout(2, LAYER_ALE_CONNECT_REDIRECT_V4, &two);
    register_callout(1, 0);
    register_callout(2, 1);
    FwpsRedirectHandleCreate0(NULL, 0, &first);
    FwpsRedirectHandleCreate0(NULL, 0, &second);
    behave[0].instead = redirect_first;
    behave[1].instead = redirect_second;
    add_filter(LAYER_ALE_CONNECT_REDIRECT_V4, 100, ACTION_CALLOUT_TERMINATING, 1, 1, 0, NULL);
    add_filter(LAYER_ALE_CONNECT_REDIRECT_V4, 200, ACTION_CALLOUT_TERMINATING, 2, 1, 0, NULL);
    earlier_filter = 0;
    guest_sends(7100, SERVER, 80, IPPROTO_TCP, 2, 1000, "");
    EXPECT("W123 fresh: not redirected", states[0], 0);
    EXPECT("W125 redirected by another", states[1], 2);
    EXPECT("W126 by self, later by another", states[2], 3);
    EXPECT("W124 the last one sees its own", states[3], 1);
    EXPECT("W137 the version before names its filter", earlier_filter, first_filter);
    EXPECT("the last redirection counts", get32(last_link + ETHERNET + 16), (UINT32)SERVER + 3);

    behave[1].instead = NULL;
    behave[1].action = ACTION_CONTINUE;
    LONG before = link_frames;
    skip_apply = TRUE;
    guest_sends(7101, SERVER, 80, IPPROTO_TCP, 2, 1000, "");
    skip_apply = FALSE;
    EXPECT("W132 acquired and never applied: blocked", link_frames - before, 0);
    EXPECT("W132 and the client is told", last_guest[ETHERNET + 33] & 4, 4);
    change_local = TRUE;
    behave[1].instead = redirect_after;
    guest_sends(7102, SERVER, 80, IPPROTO_TCP, 2, 1000, "");
    change_local = FALSE;
    EXPECT("W135 the next callout sees the local address as it was", local_seen, (UINT32)GUEST);
    EXPECT("W135 the local address cannot be changed here", get32(last_link + ETHERNET + 12), (UINT32)GUEST);
    FwpsRedirectHandleDestroy0(first);
    FwpsRedirectHandleDestroy0(second);
    end();
    FwpsCalloutUnregisterById0(one);
    FwpsCalloutUnregisterById0(two);
}

void test_packets(void)
{
    completed = CreateEventW(NULL, FALSE, FALSE, NULL);
    test_udp_out();
    test_udp_in();
    test_stream();
    test_checksums();
    test_transport_send();
    test_states();
    test_handles();
    test_redirect_states();
    CloseHandle(completed);
}
