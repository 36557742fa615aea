/*
 * The model without a VM: its objects linked into a Windows console program, with a wire in memory, run by wine64.
 * Prints one line a check, "ok NAME" or "FAILED NAME: what"; the exit code is the number of failures.
 *
 * SPDX-License-Identifier: MIT
 */
#include "rig.h"

#include "winsock.h"

static void test_objects(void)
{
    UINT32 id, other;
    UINT64 filter;
    begin();
    EXPECT("W038 sublayer key twice", add_sublayer(100, 1), STATUS_OF(STATUS_FWP_ALREADY_EXISTS));
    EXPECT("W033 filter with unknown callout", add_filter(16, 100, ACTION_CALLOUT_TERMINATING, 9, 1, 0, NULL), STATUS_OF(STATUS_FWP_CALLOUT_NOT_FOUND));
    EXPECT("callout add", add_callout(1, 16, &id), 0);
    EXPECT("W028 callout key twice", add_callout(1, 16, &other), STATUS_OF(STATUS_FWP_ALREADY_EXISTS));
    other = register_callout(1, 0);
    EXPECT("W003 one id for one key", other, id);
    FWPS_CALLOUT again = {.calloutKey = key_of(1)};
    EXPECT("W002 register twice", STATUS_OF(FwpsCalloutRegister1(&engine, &again, NULL)), STATUS_OF(STATUS_FWP_ALREADY_EXISTS));
    EXPECT("W034 filter at another layer", add_filter(12, 100, ACTION_CALLOUT_TERMINATING, 1, 1, 0, NULL), STATUS_OF(STATUS_FWP_INCOMPATIBLE_LAYER));
    EXPECT("W044 weight 16", add_filter(16, 100, ACTION_PERMIT, 0, 16, 0, NULL), STATUS_OF(STATUS_FWP_INVALID_WEIGHT));
    EXPECT("W043 action continue", add_filter(16, 100, ACTION_CONTINUE, 0, 1, 0, NULL), STATUS_OF(STATUS_FWP_INVALID_ACTION_TYPE));
    EXPECT("filter add", add_filter(16, 100, ACTION_CALLOUT_TERMINATING, 1, 1, 0, &filter), 0);
    EXPECT("W032 delete callout in use", STATUS_OF(FwpmCalloutDeleteById0(engine, id)), STATUS_OF(STATUS_FWP_IN_USE));
    GUID key = key_of(100);
    EXPECT("W040 delete sublayer in use", STATUS_OF(FwpmSubLayerDeleteByKey0(engine, &key)), STATUS_OF(STATUS_FWP_IN_USE));
    EXPECT("filter delete", STATUS_OF(FwpmFilterDeleteById0(engine, filter)), 0);
    EXPECT("callout delete", STATUS_OF(FwpmCalloutDeleteById0(engine, id)), 0);
    EXPECT("unregister", STATUS_OF(FwpsCalloutUnregisterById0(id)), 0);
    EXPECT("W013 unregister twice", STATUS_OF(FwpsCalloutUnregisterById0(id)), STATUS_OF(STATUS_FWP_CALLOUT_NOT_FOUND));
    end();
}

static void test_transactions(void)
{
    begin();
    EXPECT("W060 commit first", STATUS_OF(FwpmTransactionCommit0(engine)), STATUS_OF(STATUS_FWP_NO_TXN_IN_PROGRESS));
    FwpmTransactionBegin0(engine, 0);
    EXPECT("W059 begin twice", STATUS_OF(FwpmTransactionBegin0(engine, 0)), STATUS_OF(STATUS_FWP_TXN_IN_PROGRESS));
    add_filter(16, 100, ACTION_BLOCK, 0, 1, 0, NULL);
    EXPECT("W062 uncommitted filter is invisible", datagram_passes(), TRUE);
    FwpmTransactionAbort0(engine);
    EXPECT("W062 aborted filter is gone", datagram_passes(), TRUE);
    FwpmTransactionBegin0(engine, 0);
    add_filter(16, 100, ACTION_BLOCK, 0, 1, 0, NULL);
    add_filter(16, 100, ACTION_BLOCK, 0, 16, 0, NULL); /* fails, W061 */
    FwpmTransactionCommit0(engine);
    EXPECT("W061 committed filter blocks", datagram_passes(), FALSE);
    FwpmTransactionBegin0(engine, 1);
    EXPECT("W064 write in a read-only transaction", add_filter(16, 100, ACTION_PERMIT, 0, 1, 0, NULL), STATUS_OF(STATUS_FWP_INCOMPATIBLE_TXN));
    end();
    EXPECT("W056 dynamic objects go with the session", datagram_passes(), TRUE);
    flows_end_all("test");
}

/* Upper and lower filter at OUTBOUND_TRANSPORT with the given actions; a callout action means the callout's answer. */
static BOOL arbitrate(const char *name, UINT32 upper, UINT32 upper_flags, BOOL upper_clears, UINT32 lower, BOOL lower_is_callout)
{
    UINT32 id0, id1;
    (void)name;
    begin();
    add_callout(1, 16, &id0);
    add_callout(2, 16, &id1);
    register_callout(1, 0);
    register_callout(2, 1);
    behave[0].action = upper;
    behave[0].clear_right = upper_clears;
    behave[1].action = lower;
    BOOL upper_is_callout = upper_flags == 0xff;
    add_filter(16, 100, upper_is_callout ? ACTION_CALLOUT_TERMINATING : upper, upper_is_callout ? 1 : 0, 1, upper_is_callout ? 0 : upper_flags, NULL);
    add_filter(16, 200, lower_is_callout ? ACTION_CALLOUT_TERMINATING : lower, lower_is_callout ? 2 : 0, 1, 0, NULL);
    BOOL passed = datagram_passes();
    end();
    FwpsCalloutUnregisterById0(id0);
    FwpsCalloutUnregisterById0(id1);
    return passed;
}

static void test_arbitration(void)
{
    enum { CALLOUT = 0xff, CLEAR = 8 };
    UINT32 id;
    EXPECT("W094 soft permit is overridden", arbitrate("", ACTION_PERMIT, 0, 0, ACTION_BLOCK, FALSE), FALSE);
    EXPECT("W095 filter block is hard", arbitrate("", ACTION_BLOCK, 0, 0, ACTION_PERMIT, FALSE), FALSE);
    EXPECT("W096 callout block is soft", arbitrate("", ACTION_BLOCK, CALLOUT, 0, ACTION_PERMIT, FALSE), TRUE);
    EXPECT("callout block with the right cleared is hard", arbitrate("", ACTION_BLOCK, CALLOUT, 1, ACTION_PERMIT, FALSE), FALSE);
    EXPECT("W097 hard permit stands", arbitrate("", ACTION_PERMIT, CLEAR, 0, ACTION_BLOCK, FALSE), TRUE);
    EXPECT("W100 veto", arbitrate("", ACTION_PERMIT, CLEAR, 0, ACTION_BLOCK, TRUE), FALSE);
    EXPECT("W101 no permit over a hard block", arbitrate("", ACTION_BLOCK, 0, 0, ACTION_PERMIT, TRUE), FALSE);
    EXPECT("W105 terminating callout that continues blocks", arbitrate("", ACTION_CONTINUE, CALLOUT, 0, ACTION_CONTINUE, TRUE), FALSE);

    begin();
    add_callout(1, 16, &id);
    add_filter(16, 100, ACTION_CALLOUT_TERMINATING, 1, 1, 0, NULL);
    EXPECT("W007 unregistered terminating callout blocks", datagram_passes(), FALSE);
    end();
    begin();
    add_callout(1, 16, &id);
    add_filter(16, 100, ACTION_CALLOUT_TERMINATING, 1, 1, 0x10, NULL);
    EXPECT("W009 permit if unregistered", datagram_passes(), TRUE);
    end();
    begin();
    add_callout(1, 16, &id);
    add_filter(16, 100, ACTION_CALLOUT_INSPECTION, 1, 1, 0, NULL);
    EXPECT("W008 unregistered inspection is ignored", datagram_passes(), TRUE);
    register_callout(1, 0);
    behave[0].action = ACTION_BLOCK;
    EXPECT("W104 inspection cannot block", datagram_passes(), TRUE);
    EXPECT("inspection was called", behave[0].calls, 1);
    add_filter(16, 100, ACTION_PERMIT, 0, 15, 0, NULL);
    datagram_passes();
    EXPECT("W091 lighter filter of the sublayer is skipped", behave[0].calls, 1);
    end();
    FwpsCalloutUnregisterById0(id);
}

static void last_ack(void)
{
    acknowledged = 2002;
    guest_sends(6003, SERVER, 80, IPPROTO_TCP, 0x10, 1002, "");
    acknowledged = 2001;
}

static void close_flow(UINT16 port)
{
    guest_sends(port, SERVER, 80, IPPROTO_TCP, 2, 1000, "");
    link_sends(SERVER, 80, port, IPPROTO_TCP, 0x12, 2000, "");
    guest_sends(port, SERVER, 80, IPPROTO_TCP, 0x11, 1001, "");
}

static void test_flows(void)
{
    UINT32 data, established;
    begin();
    add_callout(1, LAYER_OUTBOUND_TRANSPORT_V4, &data);
    add_callout(2, LAYER_ALE_FLOW_ESTABLISHED_V4, &established);
    register_callout(1, 0);
    register_callout(2, 1);
    behave[0].action = behave[1].action = ACTION_PERMIT;
    behave[1].associate_layer = LAYER_OUTBOUND_TRANSPORT_V4;
    behave[1].associate_callout = data;
    add_filter(LAYER_OUTBOUND_TRANSPORT_V4, 100, ACTION_CALLOUT_TERMINATING, 1, 1, 0, NULL);
    add_filter(LAYER_ALE_FLOW_ESTABLISHED_V4, 100, ACTION_CALLOUT_TERMINATING, 2, 1, 0, NULL);
    guest_sends(6000, SERVER, 80, IPPROTO_TCP, 2, 1000, "");
    EXPECT("no establishment before the handshake", behave[1].calls, 0);
    link_sends(SERVER, 80, 6000, IPPROTO_TCP, 0x12, 2000, "");
    EXPECT("established by the SYN-ACK", behave[1].calls, 1);
    EXPECT("associated", behave[1].associate_status, 0);
    EXPECT("W187 associated twice", behave[1].again_status, STATUS_OBJECT_NAME_EXISTS);
    UINT64 flow = behave[1].flow;
    guest_sends(6000, SERVER, 80, IPPROTO_TCP, 0x10, 1001, "");
    EXPECT("W191 context is handed to classify", behave[0].flow_context, 0x77);
    EXPECT("W200 one flow handle", behave[0].flow, flow);
    EXPECT("W012 unregister with a context", STATUS_OF(FwpsCalloutUnregisterById0(data)), STATUS_OF(STATUS_DEVICE_BUSY));
    EXPECT("W185 zero context", STATUS_OF(FwpsFlowAssociateContext0(flow, 16, data, 0)), STATUS_OF(STATUS_INVALID_PARAMETER));
    EXPECT("W186 callout at another layer", STATUS_OF(FwpsFlowAssociateContext0(flow, 12, data, 1)), STATUS_OF(STATUS_INVALID_PARAMETER));
    guest_sends(6001, SERVER, 80, IPPROTO_TCP, 2, 1000, "");
    EXPECT("another flow has no context", behave[0].flow_context, 0);
    link_sends(SERVER, 80, 6000, IPPROTO_TCP, 0x14, 2001, "");
    EXPECT("W195 flowDeleteFn on reset", behave[0].deletes, 1);
    EXPECT("it was given the context", behave[0].deleted, 0x77);
    close_flow(6001);
    acknowledged = 1002;
    link_sends(SERVER, 80, 6001, IPPROTO_TCP, 0x11, 2001, "");
    EXPECT("not deleted before the last ACK", behave[0].deletes, 1);
    acknowledged = 2001;
    guest_sends(6001, SERVER, 80, IPPROTO_TCP, 0x10, 1002, "");
    EXPECT("not deleted by an ACK of what came before the FIN", behave[0].deletes, 1);
    acknowledged = 2002;
    guest_sends(6001, SERVER, 80, IPPROTO_TCP, 0x10, 1002, "");
    EXPECT("flowDeleteFn on close", behave[0].deletes, 2);
    acknowledged = 2001;
    close_flow(6003);
    acknowledged = 1002;
    answer = last_ack;
    link_sends(SERVER, 80, 6003, IPPROTO_TCP, 0x11, 2001, "");
    EXPECT("flowDeleteFn on a close that is answered at once", behave[0].deletes, 3);
    guest_sends(6002, SERVER, 80, IPPROTO_TCP, 2, 1000, "");
    link_sends(SERVER, 80, 6002, IPPROTO_TCP, 0x12, 2000, "");
    flow = behave[1].flow;
    EXPECT("W192 remove", STATUS_OF(FwpsFlowRemoveContext0(flow, 16, data)), 0);
    EXPECT("W192 flowDeleteFn ran in it", behave[0].deletes, 4);
    EXPECT("W194 remove without a context", STATUS_OF(FwpsFlowRemoveContext0(flow, 16, data)), STATUS_OF(STATUS_UNSUCCESSFUL));
    end();
    EXPECT("unregister after that", STATUS_OF(FwpsCalloutUnregisterById0(data)), 0);
    FwpsCalloutUnregisterById0(established);
}

static HANDLE completed;

static void NTAPI on_complete(void *context, NET_BUFFER_LIST *nbl, BOOLEAN dispatch)
{
    (void)context, (void)dispatch;
    FwpsFreeCloneNetBufferList0(nbl, 0);
    SetEvent(completed);
}

static void test_injection(void)
{
    UINT32 id;
    HANDLE handle, transport;
    completed = CreateEventW(NULL, FALSE, FALSE, NULL);
    begin();
    add_callout(1, LAYER_OUTBOUND_IPPACKET_V4, &id);
    register_callout(1, 0);
    FwpsInjectionHandleCreate0(AF_INET, 4, &handle);
    FwpsInjectionHandleCreate0(AF_INET, 2, &transport);
    HANDLE none;
    EXPECT("W240 network handle needs a family", FwpsInjectionHandleCreate0(AF_UNSPEC, 4, &none) != 0, 1);
    behave[0].injection = handle;
    behave[0].action = ACTION_BLOCK;
    add_filter(LAYER_OUTBOUND_IPPACKET_V4, 100, ACTION_CALLOUT_TERMINATING, 1, 1, 0, NULL);
    EXPECT("blocked and cloned", datagram_passes(), FALSE);
    EXPECT("W256 from the stack: not injected", behave[0].state, 0);
    EXPECT("W243 handle without NETWORK", STATUS_OF(FwpsInjectNetworkSendAsync0(transport, NULL, 0, 0, behave[0].clone, on_complete, NULL)), STATUS_OF(STATUS_FWP_INJECT_HANDLE_STALE));
    wire.up = 0;
    EXPECT("W244 no injection before the engine runs", STATUS_OF(FwpsInjectNetworkSendAsync0(handle, NULL, 0, 0, behave[0].clone, on_complete, NULL)), STATUS_OF(STATUS_FWP_TCPIP_NOT_READY));
    wire.up = 1;
    LONG before = link_frames;
    EXPECT("inject", STATUS_OF(FwpsInjectNetworkSendAsync0(handle, (HANDLE)5, 0, 0, behave[0].clone, on_complete, NULL)), 0);
    EXPECT("W245 completion", WaitForSingleObject(completed, 60000), WAIT_OBJECT_0);
    EXPECT("the injected packet left once", link_frames - before, 1);
    EXPECT("W255 recognised as own", behave[0].state, 1);
    EXPECT("the payload is unchanged", memcmp(last_link + ETHERNET + 28, "hello", 5), 0);
    EXPECT("destroy", STATUS_OF(FwpsInjectionHandleDestroy0(handle)), 0);
    FwpsInjectionHandleDestroy0(transport);
    end();
    FwpsCalloutUnregisterById0(id);
}

static void test_redirect(void)
{
    UINT32 id;
    HANDLE handle;
    begin();
    add_callout(1, LAYER_ALE_CONNECT_REDIRECT_V4, &id);
    register_callout(1, 0);
    FwpsRedirectHandleCreate0(NULL, 0, &handle);
    behave[0].redirect = handle;
    behave[0].redirect_to = LOOPBACK;
    behave[0].redirect_port = 8080;
    add_filter(LAYER_ALE_CONNECT_REDIRECT_V4, 100, ACTION_CALLOUT_TERMINATING, 1, 1, 0, NULL);
    LONG before = link_frames;
    guest_sends(7000, SERVER, 80, IPPROTO_TCP, 2, 1000, "");
    EXPECT("W129 acquire blocks", behave[0].first_action, ACTION_BLOCK);
    EXPECT("W129 acquire clears the right", behave[0].first_rights, 0);
    EXPECT("redirected SYN never leaves", link_frames - before, 0);
    EXPECT("it goes to the proxy", get32(last_guest + ETHERNET + 16), LOOPBACK);
    EXPECT("at its port", get16(last_guest + ETHERNET + 22), 8080);
    uint8_t answer[2048];
    stack_from_guest(answer, build(answer, LOOPBACK, 8080, SERVER, 7000, IPPROTO_TCP, 0x12, 5000, ""));
    EXPECT("the answer comes from whom the client called", get32(last_guest + ETHERNET + 12), SERVER);
    EXPECT("from its port", get16(last_guest + ETHERNET + 20), 80);
    EXPECT("to the client", get32(last_guest + ETHERNET + 16), (UINT32)GUEST);
    EXPECT("at the client's port", get16(last_guest + ETHERNET + 22), 7000);
    unsigned calls = behave[0].calls;
    guest_sends(7000, SERVER, 80, IPPROTO_TCP, 2, 1000, "");
    EXPECT("a SYN sent again after the handshake is no new connect", behave[0].calls - calls, 0);
    EXPECT("it takes the redirected way", get32(last_guest + ETHERNET + 16), LOOPBACK);
    guest_sends(7000, SERVER, 80, IPPROTO_TCP, 2, 9000, "");
    EXPECT("a SYN with another sequence number is a new connect", behave[0].calls - calls, 1);

    behave[0].no_pid = TRUE;
    guest_sends(7001, SERVER, 80, IPPROTO_TCP, 2, 1000, "");
    EXPECT("W121 without a target pid: refused", last_guest[ETHERNET + 33] & 4, 4);
    behave[0].no_pid = FALSE;
    behave[0].forget = TRUE;
    guest_sends(7002, SERVER, 80, IPPROTO_TCP, 2, 1000, "");
    EXPECT("W130 forgotten permit blocks", last_guest[ETHERNET + 33] & 4, 4);
    unsigned blocked = behave[0].calls;
    last_guest[ETHERNET + 33] = 0;
    guest_sends(7002, SERVER, 80, IPPROTO_TCP, 2, 1000, "");
    EXPECT("a SYN sent again after the block is no new connect", behave[0].calls, blocked);
    EXPECT("it is refused again", last_guest[ETHERNET + 33] & 4, 4);
    guest_sends(7002, SERVER, 80, IPPROTO_TCP, 2, 5000, "");
    EXPECT("one with another sequence number is", behave[0].calls, blocked + 1);
    behave[0].forget = FALSE;
    behave[0].redirect_to = 0xc6336406;
    behave[0].redirect_port = 81;
    before = link_frames;
    guest_sends(7003, SERVER, 80, IPPROTO_TCP, 2, 1000, "");
    EXPECT("redirect to a remote host leaves", link_frames - before, 1);
    EXPECT("for the new address", get32(last_link + ETHERNET + 16), 0xc6336406);

    uint8_t blob[256];
    struct tuple mapped = {IPPROTO_TCP, address_v4(LOOPBACK), address_v4(SERVER), 8080, 7000, 0};
    struct flow *flow = flow_find_mapped(&mapped);
    size_t size = flow ? redirect_blob(flow, blob, sizeof blob) : 0;
    flow_release(flow);
    WFPMODEL_CALL call = {.op = WFPMODEL_SET_RECORDS, .family = FAMILY_V4, .protocol = IPPROTO_TCP};
    WFPMODEL_ANSWER made;
    winsock_call(&engine, &call, blob, size, &made, NULL, 0);
    EXPECT("records are set for the proxy's socket", made.error, 0);
    call = (WFPMODEL_CALL){.op = WFPMODEL_BIND, .family = FAMILY_V4, .protocol = IPPROTO_TCP, .endpoint = made.endpoint, .local_port = 7004};
    winsock_call(&engine, &call, NULL, 0, &made, NULL, 0);
    guest_sends(7004, SERVER, 80, IPPROTO_TCP, 2, 1000, "");
    EXPECT("W124 own proxy is recognised", behave[0].redirect_state, 1);
    winsock_client_gone(&engine);
    EXPECT("and reaches the server", get32(last_link + ETHERNET + 16), (UINT32)SERVER);
    FwpsRedirectHandleDestroy0(handle);
    end();
    FwpsCalloutUnregisterById0(id);
}

static UINT16 bound_socket(int type, SOCKET *out)
{
    SOCKADDR_IN name = {.sin_family = AF_INET};
    int size = sizeof name;
    put32((uint8_t *)&name.sin_addr, LOOPBACK);
    *out = socket(AF_INET, type, 0);
    bind(*out, (SOCKADDR *)&name, sizeof name);
    getsockname(*out, (SOCKADDR *)&name, &size);
    return get16((const uint8_t *)&name.sin_port);
}

static void test_owners(void)
{
    WSADATA data;
    SOCKET udp, listener, client;
    WSAStartup(0x202, &data);
    struct tuple t = {IPPROTO_UDP, address_v4(LOOPBACK), address_v4(SERVER), bound_socket(SOCK_DGRAM, &udp), 53, 0};
    EXPECT("W233 owner of a UDP socket that has sent nothing", owner_of_socket(&t), GetCurrentProcessId());
    t.protocol = IPPROTO_TCP;
    EXPECT("no TCP socket has that port", owner_of_socket(&t), 0);
    t.local_port = bound_socket(SOCK_STREAM, &listener);
    listen(listener, 1);
    EXPECT("W233 owner of a listener", owner_of_socket(&t), GetCurrentProcessId());
    SOCKADDR_IN to = {.sin_family = AF_INET};
    put32((uint8_t *)&to.sin_addr, LOOPBACK);
    put16((uint8_t *)&to.sin_port, t.local_port);
    struct tuple c = {IPPROTO_TCP, address_v4(LOOPBACK), address_v4(LOOPBACK), bound_socket(SOCK_STREAM, &client), t.local_port, 0};
    connect(client, (SOCKADDR *)&to, sizeof to);
    EXPECT("W233 owner of a client that has sent nothing", owner_of_socket(&c), GetCurrentProcessId());
    c.remote_port++;
    EXPECT("its conversation with somebody else is not its", owner_of_socket(&c), 0);
    closesocket(client);
    closesocket(listener);
    closesocket(udp);
    WSACleanup();
}

int main(void)
{
    static const uint8_t mac[6] = {2, 2, 2, 2, 2, 2};
    setvbuf(stdout, NULL, _IONBF, 0); /* what was said counts, however this ends */
    memcpy(wire.guest_mac, mac, 6);
    wire.to_link = to_link;
    wire.to_guest = to_guest;
    wire.guest[0] = address_v4(GUEST);
    wire.up = 1;
    inject_start();
    test_objects();
    test_transactions();
    test_arbitration();
    test_flows();
    test_injection();
    test_redirect();
    test_owners();
    test_rules();
    test_layers();
    test_packets();
    test_contract();
    test_pend();
    test_families();
    test_icmp();
    test_redirect6();
    test_objects_of_drivers();
    test_injections();
    test_frame_path();
    test_lists();
    test_vswitch();
    test_endpoints();
    test_ale();
    test_proxies();
    test_reservations();
    test_stream_layer();
    test_stream_edits();
    printf("%d failures\n", failures);
    return failures;
}
