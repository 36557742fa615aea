/* Connect redirection over IPv6: to ::1, to the guest's own address, to another host. SPDX-License-Identifier: MIT */
#include "families.h"

static HANDLE redirect_handle;
static struct address target;
static UINT16 target_port;
static BOOL without_handle, other_family;
static struct seen_request {
    ADDRESS_FAMILY family;
    struct address remote, original;
    UINT16 remote_port;
    UINT32 flags, bits;
    unsigned auths;
} request_seen;

static void redirect_it(struct behaviour *b, struct call *call)
{
    UINT64 handle;
    void *data;
    (void)b;
    FwpsAcquireClassifyHandle0(call->context, 0, &handle);
    FwpsAcquireWritableLayerDataPointer0(handle, call->filter->filterId, 0, &data, call->out);
    FWPS_CONNECT_REQUEST0 *request = data;
    SOCKADDR_IN6 *to = (SOCKADDR_IN6 *)&request->remoteAddressAndPort;
    request_seen.family = to->sin6_family;
    request_seen.remote = address_of(FAMILY_V6, &to->sin6_addr);
    request_seen.remote_port = get16((const uint8_t *)&to->sin6_port);
    if (other_family) {
        SOCKADDR_IN *v4 = (SOCKADDR_IN *)to;
        memset(v4, 0, sizeof request->remoteAddressAndPort);
        v4->sin_family = AF_INET;
        put32((uint8_t *)&v4->sin_addr, SERVER);
    } else {
        memcpy(&to->sin6_addr, target.bytes, 16);
    }
    put16((uint8_t *)&to->sin6_port, target_port);
    request->localRedirectHandle = without_handle ? NULL : redirect_handle;
    request->localRedirectTargetPID = 4242;
    FwpsApplyModifiedLayerData0(handle, data, 0);
    call->out->actionType = ACTION_PERMIT;
    FwpsReleaseClassifyHandle0(handle);
}

static void note_auth(struct behaviour *b, struct call *call)
{
    const FWPS_INCOMING_METADATA_VALUES0 *m = call->metadata;
    (void)b;
    request_seen.auths++;
    request_seen.flags = value_of(call, COND_FLAGS)->uint32;
    request_seen.bits = m->currentMetadataValues;
    if (request_seen.bits & META_ORIGINAL_DESTINATION)
        request_seen.original = address_of(FAMILY_V6, &((const SOCKADDR_IN6 *)m->originalDestination)->sin6_addr);
    call->out->actionType = ACTION_PERMIT;
}

static uint8_t last_loopback[2048];
static unsigned loopback_frames;

static void to_loopback(const uint8_t *frame, size_t length)
{
    memcpy(last_loopback, frame, length);
    loopback_frames++;
}

/* From ::1 or the guest's own address back to the address that the client called, as the guest's stack would send it. */
static void proxy_answers(const struct address *from, UINT16 port, UINT16 client_port)
{
    uint8_t frame[2048];
    stack_from_guest(frame, build_between(frame, from, port, &server6, client_port, IPPROTO_TCP, 0x12, 3000, ""));
}

static BOOL is(const uint8_t *frame, BOOL source, const struct address *wanted)
{
    struct address found = address_in(frame, source);
    return address_equal(&found, wanted);
}

static void test_local(const struct address *to, const uint8_t *arrived, UINT16 client)
{
    target = *to;
    target_port = 8080;
    LONG before = link_frames;
    guest_sends6(client, &server6, 80, IPPROTO_TCP, 2, 1000, "");
    EXPECT("W120 a connect redirected to a local process does not leave", link_frames - before, 0);
    EXPECT("W120 it goes to that process's address", is(arrived, FALSE, to), TRUE);
    EXPECT("and port", get16(arrived + ETHERNET + 40 + 2), 8080);
    EXPECT("from the address that was called", is(arrived, TRUE, &server6), TRUE);
    EXPECT("with the client's port", get16(arrived + ETHERNET + 40), client);
    EXPECT("and a right checksum", sums_hold6(arrived), TRUE);
    proxy_answers(to, 8080, client);
    EXPECT("the proxy's answer does not leave either", link_frames - before, 0);
    EXPECT("it goes to the client", is(last_guest, FALSE, &guest6) && get16(last_guest + ETHERNET + 40 + 2) == client, TRUE);
    EXPECT("from the address and port that it called", is(last_guest, TRUE, &server6) && get16(last_guest + ETHERNET + 40) == 80, TRUE);
    EXPECT("its checksum is right", sums_hold6(last_guest), TRUE);
}

static void test_records(void)
{
    uint8_t blob[256];
    struct tuple mapped = {IPPROTO_TCP, loopback6, server6, 8080, 7000, 0};
    struct flow *flow = flow_find_mapped(&mapped);
    EXPECT("W148 the proxy's socket finds the redirection", flow != NULL && redirect_blob(flow, blob, sizeof blob) > 8, TRUE);
    flow_release(flow);
}

static void test_remote(void)
{
    target = server6;
    target.bytes[15] = 9;
    target_port = 8000;
    guest_sends6(7010, &server6, 80, IPPROTO_TCP, 2, 1000, "");
    EXPECT("W135 redirected to another host: its address", is(last_link, FALSE, &target), TRUE);
    EXPECT("W135 and port", get16(last_link + ETHERNET + 40 + 2), 8000);
    EXPECT("with a right checksum", sums_hold6(last_link), TRUE);
    link_sends6(&target, 8000, 7010, IPPROTO_TCP, 0x12, 2000, "");
    EXPECT("its answer comes from the address that was called", is(last_guest, TRUE, &server6), TRUE);
    EXPECT("and the port", get16(last_guest + ETHERNET + 40), 80);
    target = server6;
    guest_sends6(7011, &server6, 80, IPPROTO_TCP, 2, 1000, "");
    EXPECT("redirected to another port alone", is(last_link, FALSE, &server6) && get16(last_link + ETHERNET + 40 + 2) == 8000, TRUE);
}

void test_redirect6(void)
{
    UINT32 id, auth;
    families_begin();
    begin();
    wire.to_loopback = to_loopback;
    FwpsRedirectHandleCreate0(NULL, 0, &redirect_handle);
    add_callout(1, LAYER_ALE_CONNECT_REDIRECT_V6, &id);
    add_callout(2, LAYER_ALE_AUTH_CONNECT_V6, &auth);
    register_callout(1, 0);
    register_callout(2, 1);
    behave[0].instead = redirect_it;
    behave[1].instead = note_auth;
    add_filter(LAYER_ALE_CONNECT_REDIRECT_V6, 100, ACTION_CALLOUT_TERMINATING, 1, 1, 0, NULL);
    add_filter(LAYER_ALE_AUTH_CONNECT_V6, 100, ACTION_CALLOUT_TERMINATING, 2, 1, 0, NULL);
    test_local(&loopback6, last_loopback, 7000);
    EXPECT("W116 W133 CONNECT_REDIRECT_V6 has a SOCKADDR_IN6", request_seen.family, AF_INET6);
    EXPECT("W133 of the address that was called", address_equal(&request_seen.remote, &server6) && request_seen.remote_port == 80, TRUE);
    EXPECT("W143 AUTH_CONNECT_V6 is told of the redirection", request_seen.flags & FLAG_IS_CONNECTION_REDIRECTED, FLAG_IS_CONNECTION_REDIRECTED);
    EXPECT("W143 and of its target", request_seen.bits & META_LOCAL_REDIRECT_TARGET_PID, META_LOCAL_REDIRECT_TARGET_PID);
    EXPECT("W145 and of the address that was called", address_equal(&request_seen.original, &server6), TRUE);
    EXPECT("what is for ::1 takes the loopback interface", loopback_frames, 1);
    test_records();
    test_local(&guest6, last_guest, 7001);
    EXPECT("what is for the guest's own address does not", loopback_frames, 1);
    test_remote();
    without_handle = TRUE;
    target = loopback6;
    guest_sends6(7020, &server6, 80, IPPROTO_TCP, 2, 1000, "");
    EXPECT("W120 without a redirect handle: refused", last_guest[ETHERNET + 40 + 13] & TCP_RST, TCP_RST);
    EXPECT("W120 and not delivered", loopback_frames, 1);
    without_handle = FALSE;
    other_family = TRUE;
    LONG before = link_frames;
    guest_sends6(7021, &server6, 80, IPPROTO_TCP, 2, 1000, "");
    other_family = FALSE;
    EXPECT("a redirection to the other family is not accepted", link_frames - before, 0);
    FwpsRedirectHandleDestroy0(redirect_handle);
    end();
    wire.to_loopback = NULL;
    FwpsCalloutUnregisterById0(id);
    FwpsCalloutUnregisterById0(auth);
}
