/* What Winsock asks the engine before there is a packet: bind, listen, connect, datagrams, close. SPDX-License-Identifier: MIT */
#include "rig.h"

#include "winsock.h"

NTSTATUS NTAPI FwpsInjectTransportSendAsync1(HANDLE, HANDLE, UINT64, UINT32, FWPS_TRANSPORT_SEND_PARAMS1 *, ADDRESS_FAMILY, ULONG,
                                             NET_BUFFER_LIST *, INJECT_COMPLETE, HANDLE);
NTSTATUS NTAPI FwpsPendOperation0(HANDLE, HANDLE *);
void NTAPI FwpsCompleteOperation0(HANDLE, NET_BUFFER_LIST *);

enum { WATCHED_MAX = 12, ORDER_MAX = 32, PROXY = 8080, OTHER = 0xc0000209 };
static const char client[] = "a program", other_client[] = "another";

static struct {
    UINT16 layer;
    UINT32 id;
} watched[WATCHED_MAX];
static unsigned watched_count;
static UINT16 order[ORDER_MAX];
static unsigned order_count;
static struct {
    FWP_DATA_TYPE local_type, remote_type;
    UINT32 local, flags, promiscuous;
    UINT16 local_port;
    UINT32 metadata;
    UINT64 endpoint, parent, process;
    void *data;
    wchar_t program[64], original[64];
    UINT32 state;
} seen;
static UINT16 block_at; /* layer */
static HANDLE redirect_handle;
static UINT32 bind_to_before;
static UINT64 modifier_seen;
static BOOL previous_seen;

static const FWP_VALUE0 *value_of(const struct call *call, int condition)
{
    const struct layer_fact *layer = layer_by_id(call->values->layerId);
    for (UINT32 i = 0; i < layer->field_count; i++)
        if (layer->fields[i].condition == condition)
            return &call->values->incomingValue[i].value;
    return NULL;
}

static void copy_path(wchar_t out[64], const FWP_VALUE0 *value)
{
    out[0] = 0;
    if (!value || value->type != FWP_BYTE_BLOB_TYPE || value->byteBlob->size < 2)
        return;
    const wchar_t *text = (const wchar_t *)value->byteBlob->data;
    size_t length = value->byteBlob->size / 2 - 1, from = length > 62 ? length - 62 : 0;
    memcpy(out, text + from, (length - from + 1) * 2);
}

static void look(struct behaviour *b, struct call *call)
{
    const FWP_VALUE0 *local = value_of(call, COND_IP_LOCAL_ADDRESS), *remote = value_of(call, COND_IP_REMOTE_ADDRESS);
    const FWP_VALUE0 *flags = value_of(call, COND_FLAGS), *mode = value_of(call, COND_ALE_PROMISCUOUS_MODE);
    const FWP_VALUE0 *port = value_of(call, COND_IP_LOCAL_PORT);
    const FWPS_INCOMING_METADATA_VALUES0 *m = call->metadata;
    (void)b;
    if (order_count < ORDER_MAX)
        order[order_count++] = call->values->layerId;
    memset(&seen, 0, sizeof seen);
    seen.local_type = local ? local->type : FWP_EMPTY;
    seen.remote_type = remote ? remote->type : FWP_EMPTY;
    seen.local = local && local->type == FWP_UINT32 ? local->uint32 : 0;
    seen.flags = flags ? flags->uint32 : 0;
    seen.promiscuous = mode ? mode->uint32 : 0;
    seen.local_port = port ? port->uint16 : 0;
    seen.metadata = m->currentMetadataValues;
    seen.endpoint = m->currentMetadataValues & META_TRANSPORT_ENDPOINT_HANDLE ? m->transportEndpointHandle : 0;
    seen.parent = m->currentMetadataValues & META_PARENT_ENDPOINT_HANDLE ? m->parentEndpointHandle : 0;
    seen.process = m->currentMetadataValues & META_PROCESS_ID ? m->processId : 0;
    seen.data = call->data;
    copy_path(seen.program, value_of(call, COND_ALE_APP_ID));
    copy_path(seen.original, value_of(call, COND_ALE_ORIGINAL_APP_ID));
    if (m->currentMetadataValues & META_REDIRECT_RECORD_HANDLE)
        seen.state = FwpsQueryConnectionRedirectState0(m->redirectRecords, redirect_handle, NULL);
    call->out->actionType = call->values->layerId == block_at ? ACTION_BLOCK : ACTION_PERMIT;
}

static void watch_as(UINT16 layer, int slot, unsigned key, unsigned sublayer, void (*instead)(struct behaviour *, struct call *))
{
    watched[watched_count].layer = layer;
    add_callout(key, layer, &watched[watched_count].id);
    register_callout(key, slot);
    behave[slot].instead = instead;
    add_filter(layer, sublayer, ACTION_CALLOUT_TERMINATING, key, 1, 0, NULL);
    watched_count++;
}

static void watch(UINT16 layer)
{
    watch_as(layer, 0, 300u + layer, 100, look);
}

static void start(void)
{
    begin();
    watched_count = order_count = 0;
    block_at = 0xffff;
    FwpsRedirectHandleCreate0(NULL, 0, &redirect_handle);
}

static void stop(void)
{
    end();
    winsock_client_gone(client);
    winsock_client_gone(other_client);
    while (watched_count)
        FwpsCalloutUnregisterById0(watched[--watched_count].id);
    FwpsRedirectHandleDestroy0(redirect_handle);
}

static unsigned times(UINT16 layer)
{
    unsigned count = 0;
    for (unsigned i = 0; i < order_count; i++)
        count += order[i] == layer;
    return count;
}

static WFPMODEL_CALL a_call(uint32_t op, uint64_t endpoint, uint8_t protocol)
{
    return (WFPMODEL_CALL){.op = op, .process_id = GetCurrentProcessId(), .endpoint = endpoint, .family = FAMILY_V4, .protocol = protocol};
}

static WFPMODEL_ANSWER ask(const WFPMODEL_CALL *call)
{
    WFPMODEL_ANSWER answer;
    winsock_call(client, call, NULL, 0, &answer, NULL, 0);
    return answer;
}

static WFPMODEL_ANSWER bind_to_address(uint8_t protocol, uint64_t endpoint, UINT32 address, UINT16 port, uint8_t flags)
{
    WFPMODEL_CALL call = a_call(WFPMODEL_BIND, endpoint, protocol);
    put32(call.local, address);
    call.local_port = port;
    call.flags = flags;
    return ask(&call);
}

static WFPMODEL_ANSWER simple(uint32_t op, uint64_t endpoint, uint8_t protocol)
{
    WFPMODEL_CALL call = a_call(op, endpoint, protocol);
    return ask(&call);
}

static WFPMODEL_ANSWER connect_to(uint64_t endpoint, UINT32 address, UINT16 port)
{
    WFPMODEL_CALL call = a_call(WFPMODEL_CONNECT, endpoint, IPPROTO_TCP);
    put32(call.remote, address);
    call.remote_port = port;
    return ask(&call);
}

static WFPMODEL_ANSWER datagram_to(uint64_t endpoint, UINT32 address, UINT16 port, const char *text)
{
    WFPMODEL_CALL call = a_call(WFPMODEL_DATAGRAM, endpoint, IPPROTO_UDP);
    WFPMODEL_ANSWER answer;
    put32(call.remote, address);
    call.remote_port = port;
    winsock_call(client, &call, (const uint8_t *)text, strlen(text), &answer, NULL, 0);
    return answer;
}

static WFPMODEL_ANSWER query(uint32_t op, UINT32 remote, UINT16 port, uint32_t size, uint8_t *out)
{
    WFPMODEL_CALL call = a_call(op, 0, IPPROTO_TCP);
    WFPMODEL_ANSWER answer;
    put32(call.local, LOOPBACK);
    call.local_port = PROXY;
    put32(call.remote, remote);
    call.remote_port = port;
    call.size = size;
    winsock_call(client, &call, NULL, 0, &answer, out, 512);
    return answer;
}

static void test_binds(void)
{
    start();
    watch(LAYER_ALE_RESOURCE_ASSIGNMENT_V4);
    watch(LAYER_ALE_AUTH_LISTEN_V4);
    watch(LAYER_ALE_RESOURCE_RELEASE_V4);
    watch(LAYER_ALE_ENDPOINT_CLOSURE_V4);
    WFPMODEL_ANSWER made = bind_to_address(IPPROTO_TCP, 0, 0, 0, 0);
    EXPECT("W201 a bind is classified once at RESOURCE_ASSIGNMENT", times(LAYER_ALE_RESOURCE_ASSIGNMENT_V4), 1);
    EXPECT("W201 with the port that was chosen", seen.local_port && seen.local_port == made.local_port, 1);
    EXPECT("W201 port 0 is a wildcard bind", seen.flags & FLAG_IS_WILDCARD_BIND, FLAG_IS_WILDCARD_BIND);
    EXPECT("W201 the program's own bind is not implicit", seen.flags & FLAG_IS_IMPLICIT_BIND, 0);
    EXPECT("W203 no local address: FWP_EMPTY", seen.local_type, FWP_EMPTY);
    EXPECT("W209 no layer data at RESOURCE_ASSIGNMENT", (uintptr_t)seen.data, 0);
    EXPECT("W233 metadata of RESOURCE_ASSIGNMENT", seen.metadata, META_TRANSPORT_ENDPOINT_HANDLE | META_PROCESS_ID | META_PROCESS_PATH | META_COMPLETION_HANDLE);
    EXPECT("W233 the process that binds", seen.process, GetCurrentProcessId());
    EXPECT("its program's path ends in its name", wcsstr(seen.program, L"engine_") != NULL, 1);
    UINT64 handle = seen.endpoint;
    EXPECT("the endpoint has a handle", handle, made.endpoint);

    EXPECT("W204 listen is permitted", simple(WFPMODEL_LISTEN, made.endpoint, IPPROTO_TCP).error, 0);
    EXPECT("W204 and classified at AUTH_LISTEN", times(LAYER_ALE_AUTH_LISTEN_V4), 1);
    EXPECT("W209 no layer data at AUTH_LISTEN", (uintptr_t)seen.data, 0);
    EXPECT("W216 at the same endpoint", seen.endpoint, handle);
    simple(WFPMODEL_CLOSE, made.endpoint, IPPROTO_TCP);
    EXPECT("W216 its resources are released", times(LAYER_ALE_RESOURCE_RELEASE_V4), 1);
    EXPECT("W216 of the same handle", seen.endpoint, handle);
    EXPECT("a listener has no connection to close", times(LAYER_ALE_ENDPOINT_CLOSURE_V4), 0);
    EXPECT("a closed endpoint is forgotten", simple(WFPMODEL_CLOSE, made.endpoint, IPPROTO_TCP).error, 0);
    EXPECT("W216 and not released again", times(LAYER_ALE_RESOURCE_RELEASE_V4), 1);

    made = bind_to_address(IPPROTO_UDP, 0, LOOPBACK, 7700, 0);
    EXPECT("a bound address is shown", seen.local_type == FWP_UINT32 && seen.local == LOOPBACK && seen.local_port == 7700, 1);
    EXPECT("W201 a UDP bind, too", times(LAYER_ALE_RESOURCE_ASSIGNMENT_V4), 2);
    simple(WFPMODEL_LISTEN, made.endpoint, IPPROTO_UDP);
    EXPECT("W204 only TCP listens", times(LAYER_ALE_AUTH_LISTEN_V4), 1);
    simple(WFPMODEL_CLOSE, made.endpoint, IPPROTO_UDP);
    EXPECT("W216 a UDP endpoint closes", times(LAYER_ALE_ENDPOINT_CLOSURE_V4), 1);
    EXPECT("W216 before its resources are released", order[order_count - 1], LAYER_ALE_RESOURCE_RELEASE_V4);
    EXPECT("W233 metadata of RESOURCE_RELEASE", seen.metadata, META_TRANSPORT_ENDPOINT_HANDLE | META_PROCESS_ID | META_COMPARTMENT_ID);

    bind_to_address(IPPROTO_UDP, 0, 0, 0, WFPMODEL_IMPLICIT);
    EXPECT("W201 an implicit bind says so", seen.flags & FLAG_IS_IMPLICIT_BIND, FLAG_IS_IMPLICIT_BIND);
    unsigned released = times(LAYER_ALE_RESOURCE_RELEASE_V4);
    winsock_client_gone(client);
    EXPECT("W216 a program's end releases what it had", times(LAYER_ALE_RESOURCE_RELEASE_V4) - released, 1);

    block_at = LAYER_ALE_RESOURCE_ASSIGNMENT_V4;
    made = bind_to_address(IPPROTO_TCP, 0, 0, 7701, 0);
    EXPECT("a blocked bind fails with WSAEACCES", made.error, WSAEACCES);
    released = times(LAYER_ALE_RESOURCE_RELEASE_V4);
    simple(WFPMODEL_CLOSE, made.endpoint, IPPROTO_TCP);
    EXPECT("W216 what was not assigned is not released", times(LAYER_ALE_RESOURCE_RELEASE_V4), released);
    block_at = LAYER_ALE_AUTH_LISTEN_V4;
    made = bind_to_address(IPPROTO_TCP, 0, 0, 7702, 0);
    EXPECT("a blocked listen fails with WSAEACCES", simple(WFPMODEL_LISTEN, made.endpoint, IPPROTO_TCP).error, WSAEACCES);
    made = bind_to_address(IPPROTO_ICMP, 0, LOOPBACK, 0, WFPMODEL_RAW);
    WFPMODEL_CALL call = a_call(WFPMODEL_PROMISCUOUS, made.endpoint, IPPROTO_ICMP);
    call.value = 0x98000001;
    ask(&call);
    EXPECT("W201 promiscuous mode is a RESOURCE_ASSIGNMENT of its own", order[order_count - 1], LAYER_ALE_RESOURCE_ASSIGNMENT_V4);
    EXPECT("with the control code that asked for it", seen.promiscuous, 0x98000001);
    stop();
}

static void redirect_bind(struct behaviour *b, struct call *call)
{
    UINT64 handle;
    void *data;
    look(b, call);
    FwpsAcquireClassifyHandle0(call->context, 0, &handle);
    FwpsAcquireWritableLayerDataPointer0(handle, call->filter->filterId, 0, &data, call->out);
    b->first_action = call->out->actionType;
    b->first_rights = call->out->rights;
    FWPS_BIND_REQUEST0 *request = data;
    SOCKADDR_IN *local = (SOCKADDR_IN *)&request->localAddressAndPort;
    bind_to_before = get32((const uint8_t *)&local->sin_addr);
    previous_seen = request->previousVersion != NULL;
    modifier_seen = request->previousVersion ? request->previousVersion->modifierFilterId : 0;
    put32((uint8_t *)&local->sin_addr, b->redirect_to);
    if (b->redirect_port)
        put16((uint8_t *)&local->sin_port, b->redirect_port);
    b->request_seen = data;
    if (!b->forget)
        FwpsApplyModifiedLayerData0(handle, data, 0);
    call->out->actionType = ACTION_PERMIT;
    FwpsReleaseClassifyHandle0(handle);
}

static void test_bind_redirect(void)
{
    start();
    watch_as(LAYER_ALE_BIND_REDIRECT_V4, 1, 401, 100, redirect_bind);
    watch(LAYER_ALE_RESOURCE_ASSIGNMENT_V4);
    behave[1].redirect_to = LOOPBACK;
    behave[1].redirect_port = 7710;
    WFPMODEL_ANSWER made = bind_to_address(IPPROTO_TCP, 0, 0, 7700, 0);
    EXPECT("W116 a bind is classified at BIND_REDIRECT", order[0], LAYER_ALE_BIND_REDIRECT_V4);
    EXPECT("W159 then at RESOURCE_ASSIGNMENT", order[1], LAYER_ALE_RESOURCE_ASSIGNMENT_V4);
    EXPECT("W133 the request holds what the program asked for", bind_to_before, 0);
    EXPECT("W129 acquiring it blocks", behave[1].first_action, ACTION_BLOCK);
    EXPECT("W129 and clears the right", behave[1].first_rights, 0);
    EXPECT("W136 the socket is bound to the new address", get32(made.local), LOOPBACK);
    EXPECT("W136 and the new port", made.local_port, 7710);
    EXPECT("W136 which RESOURCE_ASSIGNMENT sees", seen.local == LOOPBACK && seen.local_port == 7710, 1);

    watch_as(LAYER_ALE_BIND_REDIRECT_V4, 2, 402, 200, redirect_bind);
    behave[2].redirect_to = LOOPBACK + 1;
    UINT64 first_filter;
    FwpsCalloutUnregisterById0(watched[0].id);
    register_callout(401, 1);
    behave[1].instead = redirect_bind;
    add_filter(LAYER_ALE_BIND_REDIRECT_V4, 100, ACTION_CALLOUT_UNKNOWN, 401, 2, 0, &first_filter);
    made = bind_to_address(IPPROTO_TCP, 0, 0, 7700, 0);
    EXPECT("W137 the second to change it sees the version before", previous_seen, TRUE);
    EXPECT("W140 and whose filter made it", modifier_seen, first_filter);
    EXPECT("W137 the current data are the first one's", bind_to_before, LOOPBACK);
    EXPECT("W136 the last word counts", get32(made.local), LOOPBACK + 1);

    behave[2].forget = TRUE;
    made = bind_to_address(IPPROTO_UDP, 0, 0, 0, 0);
    EXPECT("W132 a request that was never applied blocks the bind", made.error, WSAEACCES);
    behave[2].forget = FALSE;
    behave[2].instead = look;
    block_at = LAYER_ALE_BIND_REDIRECT_V4;
    unsigned assigned = times(LAYER_ALE_RESOURCE_ASSIGNMENT_V4);
    made = bind_to_address(IPPROTO_UDP, 0, 0, 0, 0);
    EXPECT("W157 BLOCK at BIND_REDIRECT fails the bind", made.error, WSAEACCES);
    EXPECT("W159 and nothing is assigned", times(LAYER_ALE_RESOURCE_ASSIGNMENT_V4), assigned);
    unsigned before = order_count;
    bind_to_address(IPPROTO_ESP, 0, LOOPBACK, 0, WFPMODEL_RAW);
    EXPECT("W117 other protocols are not indicated", times(LAYER_ALE_BIND_REDIRECT_V4) + times(LAYER_ALE_RESOURCE_ASSIGNMENT_V4) > 0 &&
               order[before] == LAYER_ALE_RESOURCE_ASSIGNMENT_V4, 1);
    stop();
}

static void test_connects(void)
{
    start();
    watch(LAYER_ALE_BIND_REDIRECT_V4);
    watch(LAYER_ALE_RESOURCE_ASSIGNMENT_V4);
    watch(LAYER_ALE_CONNECT_REDIRECT_V4);
    watch(LAYER_ALE_AUTH_CONNECT_V4);
    watch(LAYER_OUTBOUND_TRANSPORT_V4);
    watch(LAYER_OUTBOUND_IPPACKET_V4);
    watch(LAYER_ALE_ENDPOINT_CLOSURE_V4);
    watch(LAYER_ALE_RESOURCE_RELEASE_V4);
    LONG frames = link_frames;
    WFPMODEL_ANSWER made = bind_to_address(IPPROTO_TCP, 0, 0, 7800, WFPMODEL_IMPLICIT);
    EXPECT("a connect is permitted", connect_to(made.endpoint, SERVER, 80).error, 0);
    EXPECT("W205 it is classified before there is a packet", order_count == 4 && link_frames == frames, 1);
    EXPECT("W209 without layer data for TCP", (uintptr_t)seen.data, 0);
    EXPECT("its local address is known at AUTH_CONNECT", seen.local, (UINT32)GUEST);
    guest_sends(7800, SERVER, 80, IPPROTO_TCP, 2, 1000, "");
    static const UINT16 wanted[] = {LAYER_ALE_BIND_REDIRECT_V4, LAYER_ALE_RESOURCE_ASSIGNMENT_V4, LAYER_ALE_CONNECT_REDIRECT_V4,
                                    LAYER_ALE_AUTH_CONNECT_V4, LAYER_OUTBOUND_TRANSPORT_V4, LAYER_OUTBOUND_IPPACKET_V4};
    EXPECT("W159 the layers of a TCP client, each once and in order", order_count == 6 && !memcmp(order, wanted, sizeof wanted), 1);
    EXPECT("the SYN leaves", link_frames - frames, 1);
    guest_sends(7800, SERVER, 80, IPPROTO_TCP, 2, 1000, "");
    EXPECT("W205 a SYN sent again is no new connect", times(LAYER_ALE_AUTH_CONNECT_V4), 1);
    link_sends(SERVER, 80, 7800, IPPROTO_TCP, 0x12, 2000, "");
    simple(WFPMODEL_CLOSE, made.endpoint, IPPROTO_TCP);
    EXPECT("W216 a connection outlives closesocket", times(LAYER_ALE_ENDPOINT_CLOSURE_V4) + times(LAYER_ALE_RESOURCE_RELEASE_V4), 0);
    guest_sends(7800, SERVER, 80, IPPROTO_TCP, 4, 1001, "");
    EXPECT("W216 its end is ENDPOINT_CLOSURE", order[order_count - 2], LAYER_ALE_ENDPOINT_CLOSURE_V4);
    EXPECT("W216 and then RESOURCE_RELEASE", order[order_count - 1], LAYER_ALE_RESOURCE_RELEASE_V4);
    EXPECT("W216 of the handle that was assigned", seen.endpoint, made.endpoint);

    block_at = LAYER_ALE_AUTH_CONNECT_V4;
    frames = link_frames + guest_frames;
    made = bind_to_address(IPPROTO_TCP, 0, 0, 7801, WFPMODEL_IMPLICIT);
    EXPECT("a connect blocked at AUTH_CONNECT fails with WSAEACCES", connect_to(made.endpoint, SERVER, 80).error, WSAEACCES);
    EXPECT("and nothing is sent to anybody", link_frames + guest_frames, frames);
    block_at = LAYER_ALE_CONNECT_REDIRECT_V4;
    EXPECT("W157 so does one blocked at CONNECT_REDIRECT", connect_to(made.endpoint, SERVER, 80).error, WSAEACCES);
    block_at = 0xffff;
    EXPECT("the socket may try again", connect_to(made.endpoint, SERVER, 80).error, 0);
    unsigned connects = times(LAYER_ALE_AUTH_CONNECT_V4);
    guest_sends(7802, SERVER, 80, IPPROTO_TCP, 2, 1000, "");
    EXPECT("W205 what Winsock does not know of is classified by its SYN", times(LAYER_ALE_AUTH_CONNECT_V4) - connects, 1);
    stop();
}

static BOOL unspecified;

static void look_at_request(struct behaviour *b, struct call *call)
{
    const FWPS_CONNECT_REQUEST0 *request = call->data;
    const SOCKADDR_IN *local = (const SOCKADDR_IN *)&request->localAddressAndPort, *remote = (const SOCKADDR_IN *)&request->remoteAddressAndPort;
    look(b, call);
    unspecified = !local->sin_addr.s_addr;
    seen.local_port = get16((const uint8_t *)&local->sin_port);
    seen.local = get32((const uint8_t *)&remote->sin_addr);
}

static void redirect_connect(struct behaviour *b, struct call *call)
{
    UINT64 handle;
    void *data;
    static const char context[] = "where to";
    look(b, call);
    if (seen.state == 1)
        return;
    FwpsAcquireClassifyHandle0(call->context, 0, &handle);
    FwpsAcquireWritableLayerDataPointer0(handle, call->filter->filterId, 0, &data, call->out);
    FWPS_CONNECT_REQUEST0 *request = data;
    SOCKADDR_IN *to = (SOCKADDR_IN *)&request->remoteAddressAndPort;
    put32((uint8_t *)&to->sin_addr, b->redirect_to);
    put16((uint8_t *)&to->sin_port, b->redirect_port);
    request->localRedirectHandle = redirect_handle;
    request->localRedirectTargetPID = GetCurrentProcessId();
    request->localRedirectContext = (void *)(uintptr_t)context;
    request->localRedirectContextSize = sizeof context;
    FwpsApplyModifiedLayerData0(handle, data, 0);
    call->out->actionType = ACTION_PERMIT;
    FwpsReleaseClassifyHandle0(handle);
}

static void test_connect_redirect(void)
{
    uint8_t blob[512], context[512];
    start();
    watch_as(LAYER_ALE_CONNECT_REDIRECT_V4, 1, 401, 100, look_at_request);
    WFPMODEL_ANSWER made = bind_to_address(IPPROTO_TCP, 0, 0, 7810, WFPMODEL_IMPLICIT);
    connect_to(made.endpoint, SERVER, 80);
    EXPECT("W134 the request holds where the program connects to", seen.local, (UINT32)SERVER);
    EXPECT("W134 and its port", seen.local_port, 7810);
    EXPECT("no route is chosen yet: the local address is unspecified", unspecified, TRUE);
    simple(WFPMODEL_CLOSE, made.endpoint, IPPROTO_TCP);

    behave[1].instead = redirect_connect;
    behave[1].redirect_to = LOOPBACK;
    behave[1].redirect_port = PROXY;
    watch(LAYER_ALE_AUTH_CONNECT_V4);
    made = bind_to_address(IPPROTO_TCP, 0, 0, 7811, WFPMODEL_IMPLICIT);
    WFPMODEL_ANSWER to = connect_to(made.endpoint, SERVER, 80);
    EXPECT("the socket itself goes where its program wants", !to.error && get32(to.remote) == (UINT32)SERVER, 1);
    EXPECT("W143 AUTH_CONNECT knows of the redirection", seen.flags & FLAG_IS_CONNECTION_REDIRECTED, FLAG_IS_CONNECTION_REDIRECTED);
    LONG frames = link_frames;
    guest_sends(7811, SERVER, 80, IPPROTO_TCP, 2, 1000, "");
    EXPECT("its SYN goes to the proxy", link_frames == frames && get16(last_guest + ETHERNET + 22) == PROXY, 1);

    memset(blob, 0, sizeof blob);
    WFPMODEL_ANSWER got = query(WFPMODEL_QUERY_RECORDS, SERVER, 7811, 0, blob);
    EXPECT("W148 no room: ERROR_INSUFFICIENT_BUFFER", got.error, ERROR_INSUFFICIENT_BUFFER);
    EXPECT("W148 with the size that is needed", got.length > 8, 1);
    UINT32 need = got.length;
    EXPECT("W148 one byte short", query(WFPMODEL_QUERY_RECORDS, SERVER, 7811, need - 1, blob).error, ERROR_INSUFFICIENT_BUFFER);
    got = query(WFPMODEL_QUERY_RECORDS, SERVER, 7811, sizeof blob, blob);
    EXPECT("W148 the records", !got.error && got.length == need, 1);
    got = query(WFPMODEL_QUERY_CONTEXT, SERVER, 7811, sizeof context, context);
    EXPECT("W151 the driver's context, byte for byte", got.length == 9 && !memcmp(context, "where to", 9), 1);
    EXPECT("W150 a connection that was not redirected has none", query(WFPMODEL_QUERY_RECORDS, SERVER, 7899, sizeof blob, blob).error, ERROR_NOT_FOUND);

    WFPMODEL_CALL set = a_call(WFPMODEL_SET_RECORDS, 0, IPPROTO_TCP);
    winsock_call(other_client, &set, blob, need, &got, NULL, 0);
    EXPECT("W152 records are set before the socket is bound", got.error, 0);
    set = a_call(WFPMODEL_BIND, got.endpoint, IPPROTO_TCP);
    set.local_port = 7812;
    winsock_call(other_client, &set, NULL, 0, &got, NULL, 0);
    set.op = WFPMODEL_CONNECT;
    put32(set.remote, SERVER);
    set.remote_port = 80;
    winsock_call(other_client, &set, NULL, 0, &got, NULL, 0);
    EXPECT("W152 and the connect is permitted", got.error, 0);
    EXPECT("W146 AUTH_CONNECT knows that it is the proxy's", seen.flags & FLAG_IS_PROXY_CONNECTION, FLAG_IS_PROXY_CONNECTION);
    EXPECT("W147 and whose connection it was", wcsstr(seen.original, L"engine_") != NULL, 1);
    guest_sends(7812, SERVER, 80, IPPROTO_TCP, 2, 1000, "");
    EXPECT("W124 it is not redirected again", link_frames - frames, 1);
    static const uint8_t garbage[64] = {1};
    set = a_call(WFPMODEL_SET_RECORDS, 0, IPPROTO_TCP);
    winsock_call(other_client, &set, garbage, sizeof garbage, &got, NULL, 0);
    EXPECT("what are no records is refused", got.error, WSAEINVAL);
    for (UINT32 size = 0; size < need; size++)
        winsock_call(other_client, &set, blob, size, &got, NULL, 0);
    EXPECT("W152 so are records cut short", got.error, WSAEINVAL);
    stop();
}

static HANDLE put_off_by;
static BOOL permit_later;

static void put_off(struct behaviour *b, struct call *call)
{
    look(b, call);
    if (seen.flags & FLAG_IS_REAUTHORIZE) {
        call->out->actionType = permit_later ? ACTION_PERMIT : ACTION_BLOCK;
        return;
    }
    FwpsPendOperation0(call->metadata->completionHandle, &put_off_by);
    call->out->actionType = ACTION_BLOCK;
    call->out->rights &= ~(UINT32)RIGHT_ACTION_WRITE;
    call->out->flags |= OUT_FLAG_ABSORB;
}

static void test_put_off(void)
{
    start();
    watch_as(LAYER_ALE_AUTH_CONNECT_V4, 1, 401, 100, put_off);
    LONG frames = link_frames, refused = guest_frames;
    WFPMODEL_ANSWER made = bind_to_address(IPPROTO_TCP, 0, 0, 7850, WFPMODEL_IMPLICIT);
    EXPECT("a connect that is put off does not keep its program waiting", connect_to(made.endpoint, SERVER, 80).error, 0);
    guest_sends(7850, SERVER, 80, IPPROTO_TCP, 2, 1000, "");
    EXPECT("W178 its SYN waits", link_frames, frames);
    EXPECT("W178 and is not asked about", times(LAYER_ALE_AUTH_CONNECT_V4), 1);
    permit_later = TRUE;
    FwpsCompleteOperation0(put_off_by, NULL);
    EXPECT("W179 permitted later, the connect is authorized again", times(LAYER_ALE_AUTH_CONNECT_V4), 2);
    EXPECT("W179 and the SYN that waited leaves", link_frames, frames + 1);
    guest_sends(7850, SERVER, 80, IPPROTO_TCP, 2, 1000, "");
    EXPECT("one sent again is no new connect", times(LAYER_ALE_AUTH_CONNECT_V4), 2);

    made = bind_to_address(IPPROTO_TCP, 0, 0, 7851, WFPMODEL_IMPLICIT);
    connect_to(made.endpoint, SERVER, 80);
    FwpsCompleteOperation0(put_off_by, NULL);
    frames = link_frames;
    guest_sends(7851, SERVER, 80, IPPROTO_TCP, 2, 1000, "");
    EXPECT("W179 permitted before its SYN came, it just leaves", link_frames * 8 + (LONG)times(LAYER_ALE_AUTH_CONNECT_V4), (frames + 1) * 8 + 4);

    permit_later = FALSE;
    made = bind_to_address(IPPROTO_TCP, 0, 0, 7852, WFPMODEL_IMPLICIT);
    connect_to(made.endpoint, SERVER, 80);
    guest_sends(7852, SERVER, 80, IPPROTO_TCP, 2, 1000, "");
    frames = link_frames, refused = guest_frames;
    FwpsCompleteOperation0(put_off_by, NULL);
    EXPECT("W179 blocked later, the SYN that waited is refused", guest_frames - refused, 1);
    EXPECT("by a reset of its own", get32(last_guest + ETHERNET + 28), 1001);
    EXPECT("and does not leave", link_frames, frames);
    stop();
}

static void test_loopback(void)
{
    uint8_t context[512];
    start();
    watch_as(LAYER_ALE_CONNECT_REDIRECT_V4, 1, 401, 100, look);
    watch(LAYER_ALE_AUTH_CONNECT_V4);
    WFPMODEL_ANSWER made = bind_to_address(IPPROTO_TCP, 0, 0, 7820, WFPMODEL_IMPLICIT);
    WFPMODEL_ANSWER to = connect_to(made.endpoint, LOOPBACK, 8000);
    EXPECT("W205 a connect to a local address is seen", !to.error && times(LAYER_ALE_AUTH_CONNECT_V4) == 1, 1);
    EXPECT("and goes there", get32(to.remote) == LOOPBACK && to.remote_port == 8000, 1);
    simple(WFPMODEL_CLOSE, made.endpoint, IPPROTO_TCP);
    behave[1].instead = redirect_connect;
    behave[1].redirect_to = LOOPBACK;
    behave[1].redirect_port = PROXY;
    made = bind_to_address(IPPROTO_TCP, 0, 0, 7821, WFPMODEL_IMPLICIT);
    to = connect_to(made.endpoint, LOOPBACK, 8000);
    EXPECT("one that is redirected goes straight to the proxy", get32(to.remote) == LOOPBACK && to.remote_port == PROXY, 1);
    UINT32 from = seen.local;
    WFPMODEL_ANSWER got = query(WFPMODEL_QUERY_CONTEXT, from, 7821, sizeof context, context);
    EXPECT("W151 and the proxy, which sees the client itself, has the context", got.error == 0 && !memcmp(context, "where to", 9), 1);
    behave[1].redirect_to = SERVER;
    behave[1].redirect_port = 81;
    made = bind_to_address(IPPROTO_TCP, 0, 0, 7822, WFPMODEL_IMPLICIT);
    to = connect_to(made.endpoint, LOOPBACK, 8000);
    EXPECT("or to the peer", get32(to.remote) == (UINT32)SERVER && to.remote_port == 81, 1);
    unsigned connects = times(LAYER_ALE_AUTH_CONNECT_V4);
    LONG frames = link_frames;
    guest_sends(7822, SERVER, 81, IPPROTO_TCP, 2, 1000, "");
    EXPECT("its SYN is known and leaves", times(LAYER_ALE_AUTH_CONNECT_V4) == connects && link_frames == frames + 1, 1);
    block_at = LAYER_ALE_AUTH_CONNECT_V4;
    behave[1].instead = look;
    EXPECT("a blocked one fails with WSAEACCES", connect_to(made.endpoint, LOOPBACK, 8000).error, WSAEACCES);
    stop();
}

static HANDLE sent;
static NTSTATUS sent_status;

static void NTAPI on_sent(void *context, NET_BUFFER_LIST *list, BOOLEAN dispatch)
{
    (void)context, (void)dispatch;
    sent_status = list->Status;
    nbl_release(list);
    SetEvent(sent);
}

/* As a callout does that kept the datagram: by the endpoint that its classify told of. */
static unsigned inject_from(UINT64 endpoint, UINT16 port)
{
    uint8_t frame[2048], to[4];
    HANDLE injection;
    size_t length = build(frame, GUEST, port, SERVER, 53, IPPROTO_UDP, 0, 0, "kept");
    put32(to, SERVER);
    FWPS_TRANSPORT_SEND_PARAMS1 arguments = {.remoteAddress = to};
    uint8_t *copy = mem_alloc(length);
    memcpy(copy, frame + ETHERNET + 20, length - ETHERNET - 20);
    sent = CreateEventW(NULL, FALSE, FALSE, NULL);
    FwpsInjectionHandleCreate0(AF_INET, INJECT_TRANSPORT, &injection);
    FwpsInjectTransportSendAsync1(injection, NULL, endpoint, 0, &arguments, AF_INET, 1, nbl_wrap(copy, length, 0, length - ETHERNET - 20), on_sent, NULL);
    WaitForSingleObject(sent, 60000);
    FwpsInjectionHandleDestroy0(injection);
    CloseHandle(sent);
    return STATUS_OF(sent_status);
}

static void test_datagrams(void)
{
    start();
    watch(LAYER_ALE_AUTH_CONNECT_V4);
    watch(LAYER_ALE_FLOW_ESTABLISHED_V4);
    watch(LAYER_DATAGRAM_DATA_V4);
    WFPMODEL_ANSWER made = bind_to_address(IPPROTO_UDP, 0, 0, 7830, WFPMODEL_IMPLICIT);
    LONG frames = link_frames;
    EXPECT("a datagram is permitted", datagram_to(made.endpoint, SERVER, 53, "hello").error, 0);
    EXPECT("W205 the first one is classified at AUTH_CONNECT", times(LAYER_ALE_AUTH_CONNECT_V4), 1);
    EXPECT("W207 and makes its flow", times(LAYER_ALE_FLOW_ESTABLISHED_V4), 1);
    EXPECT("W209 with its packet", seen.data != NULL, 1);
    EXPECT("but does not leave by that", link_frames, frames);
    guest_sends(7830, SERVER, 53, IPPROTO_UDP, 0, 0, "hello");
    EXPECT("W210 the packet itself is not classified at ALE again", times(LAYER_ALE_AUTH_CONNECT_V4), 1);
    EXPECT("it leaves once", link_frames - frames, 1);
    EXPECT("W252 what is injected at the endpoint that a callout was told of is sent", inject_from(seen.endpoint, 7830), 0);
    EXPECT("and leaves", link_frames - frames, 2);
    EXPECT("W252 at one that is gone it is not", inject_from(made.endpoint + 1000, 7830), STATUS_OF(STATUS_CONNECTION_INVALID));
    datagram_to(made.endpoint, SERVER, 53, "again");
    EXPECT("W210 nor is the second", times(LAYER_ALE_AUTH_CONNECT_V4), 1);
    datagram_to(made.endpoint, SERVER, 54, "hello");
    EXPECT("W205 one to another port is", times(LAYER_ALE_AUTH_CONNECT_V4), 2);
    block_at = LAYER_ALE_AUTH_CONNECT_V4;
    EXPECT("a blocked one fails with WSAEACCES", datagram_to(made.endpoint, SERVER, 55, "hello").error, WSAEACCES);
    unsigned flows = flows_count();
    simple(WFPMODEL_CLOSE, made.endpoint, IPPROTO_UDP);
    EXPECT("W199 closing the socket deletes its flows", flows - flows_count(), 2);
    stop();
}

static void test_accepted(void)
{
    start();
    watch(LAYER_ALE_AUTH_RECV_ACCEPT_V4);
    watch(LAYER_ALE_ENDPOINT_CLOSURE_V4);
    WFPMODEL_ANSWER made = bind_to_address(IPPROTO_TCP, 0, 0, 7840, 0);
    simple(WFPMODEL_LISTEN, made.endpoint, IPPROTO_TCP);
    link_sends(SERVER, 4000, 7840, IPPROTO_TCP, 2, 1000, "");
    EXPECT("W217 the parent of an accepted endpoint is its listener", seen.parent, made.endpoint);
    EXPECT("W217 and its own handle is another", seen.endpoint && seen.endpoint != made.endpoint, 1);
    EXPECT("W233 its process is the listener's", seen.process, GetCurrentProcessId());
    UINT64 own = seen.endpoint;
    guest_sends(7840, SERVER, 4000, IPPROTO_TCP, 0x12, 5000, "");
    link_sends(SERVER, 4000, 7840, IPPROTO_TCP, 0x10, 1001, "");
    link_sends(SERVER, 4000, 7840, IPPROTO_TCP, 4, 1001, "");
    EXPECT("W216 its end is ENDPOINT_CLOSURE", order[order_count - 1], LAYER_ALE_ENDPOINT_CLOSURE_V4);
    EXPECT("W216 W217 of the same two handles", seen.endpoint == own && seen.parent == made.endpoint, 1);
    stop();
}

static void test_six(void)
{
    start();
    watch(37 + 1); /* ALE_RESOURCE_ASSIGNMENT_V6 */
    WFPMODEL_CALL call = a_call(WFPMODEL_BIND, 0, IPPROTO_UDP);
    call.family = FAMILY_V6;
    WFPMODEL_ANSWER made = ask(&call);
    EXPECT("W201 a bind of IPv6", order_count == 1 && made.local_port, 1);
    EXPECT("W203 no local address there either", seen.local_type, FWP_EMPTY);
    call.op = WFPMODEL_BIND;
    call.endpoint = 0;
    call.local[15] = 1;
    made = ask(&call);
    EXPECT("its address is bytes", seen.local_type, FWP_BYTE_ARRAY16_TYPE);
    call.family = 99;
    EXPECT("no such family", ask(&call).error, WSAEAFNOSUPPORT);
    stop();
}

void test_endpoints(void)
{
    test_binds();
    test_bind_redirect();
    test_connects();
    test_connect_redirect();
    test_put_off();
    test_loopback();
    test_datagrams();
    test_accepted();
    test_six();
}
