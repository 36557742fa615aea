/*
 * What every layer of a packet's path gives a callout, and only that: values at their index, data of the right kind, no
 * member and no flag that is not announced; the order of sublayers; how long flows live. Named after the rule catalogue.
 *
 * SPDX-License-Identifier: MIT
 */
#include "rig.h"

NTSTATUS NTAPI FwpsCalloutRegister0(void *, const FWPS_CALLOUT *, UINT32 *);

static NTSTATUS NTAPI notify_nothing(UINT32 type, const GUID *key, FWPS_FILTER1 *filter)
{
    (void)type, (void)key, (void)filter;
    return STATUS_SUCCESS;
}

/* From the header of Windows 11 22H2, and the documents' list of layers for each condition flag. LOOPBACK is left out: it
 * is given at AUTH_CONNECT on real machines, where the list does not have it. */
static const struct {
    UINT16 layer;
    UINT32 values, flags_at, flags;
} layers[] = {
    {LAYER_ALE_CONNECT_REDIRECT_V4, 14, 9, 0x200010}, {LAYER_ALE_AUTH_CONNECT_V4, 41, 12, 0x2f14014},
    {LAYER_ALE_AUTH_RECV_ACCEPT_V4, 39, 11, 0xc10014}, {LAYER_ALE_FLOW_ESTABLISHED_V4, 24, 15, 0x210002},
    {LAYER_INBOUND_IPPACKET_V4, 10, 6, 0x460}, {LAYER_OUTBOUND_IPPACKET_V4, 10, 6, 0},
    {LAYER_INBOUND_TRANSPORT_V4, 15, 9, 0x192}, {LAYER_OUTBOUND_TRANSPORT_V4, 16, 10, 0x90},
    {LAYER_STREAM_V4, 8, 6, 0}, {LAYER_DATAGRAM_DATA_V4, 14, 10, 0x10},
};
enum { LAYERS = sizeof layers / sizeof layers[0] };
static UINT32 ids[LAYERS];
static unsigned wrong_count, wrong_index, wrong_flags, wrong_kind, unpoisoned, asked;

static BOOL is_poison(const void *member, size_t size)
{
    const uint8_t *byte = member;
    while (size && *byte == 0xa5)
        size--, byte++;
    return !size;
}

#define ABSENT(bit, member) (!(m->currentMetadataValues & (bit)) && !is_poison(&m->member, sizeof m->member))

static void hold_metadata(const FWPS_INCOMING_METADATA_VALUES0 *m)
{
    unpoisoned += ABSENT(META_FLOW_HANDLE, flowHandle) + ABSENT(META_IP_HEADER_SIZE, ipHeaderSize) +
                  ABSENT(META_TRANSPORT_HEADER_SIZE, transportHeaderSize) + ABSENT(META_PROCESS_ID, processId) +
                  ABSENT(META_PROCESS_PATH, processPath) + ABSENT(META_TRANSPORT_ENDPOINT_HANDLE, transportEndpointHandle) +
                  ABSENT(META_REDIRECT_RECORD_HANDLE, redirectRecords) + ABSENT(META_ORIGINAL_DESTINATION, originalDestination) +
                  ABSENT(META_LOCAL_REDIRECT_TARGET_PID, localRedirectTargetPID);
}

static BOOL is_of_its_kind(const struct call *call)
{
    if (call->values->layerId == LAYER_STREAM_V4) {
        const FWPS_STREAM_CALLOUT_IO_PACKET0 *io = call->data;
        return io && io->streamData && !nbl_block_of(call->data);
    }
    if (call->values->layerId == LAYER_ALE_CONNECT_REDIRECT_V4) {
        const FWPS_CONNECT_REQUEST0 *request = call->data;
        return request && request->localAddressAndPort.ss_family == AF_INET && request->remoteAddressAndPort.ss_family == AF_INET;
    }
    return !call->data || nbl_block_of(call->data) != NULL;
}

static void hold(struct behaviour *b, struct call *call)
{
    unsigned i = 0;
    while (layers[i].layer != call->values->layerId)
        i++;
    asked |= 1u << i;
    wrong_count += call->values->valueCount != layers[i].values;
    const FWP_VALUE0 *flags = &call->values->incomingValue[layers[i].flags_at].value;
    wrong_index += flags->type != FWP_UINT32;
    wrong_flags += (flags->uint32 & ~layers[i].flags & ~(UINT32)FLAG_IS_LOOPBACK) != 0;
    wrong_kind += !is_of_its_kind(call);
    hold_metadata(call->metadata);
    call->out->actionType = ACTION_PERMIT;
    if (b->redirect && call->values->layerId == LAYER_ALE_CONNECT_REDIRECT_V4) {
        UINT64 handle;
        void *data;
        FwpsAcquireClassifyHandle0(call->context, 0, &handle);
        FwpsAcquireWritableLayerDataPointer0(handle, call->filter->filterId, 0, &data, call->out);
        put32((uint8_t *)&((SOCKADDR_IN *)&((FWPS_CONNECT_REQUEST0 *)data)->remoteAddressAndPort)->sin_addr, SERVER + 1);
        FwpsApplyModifiedLayerData0(handle, data, 0);
        FwpsReleaseClassifyHandle0(handle);
        call->out->actionType = ACTION_PERMIT;
    }
}

static void traffic(void)
{
    guest_sends(5300, SERVER, 53, IPPROTO_UDP, 0, 0, "out");
    link_sends(behave[0].redirect ? SERVER + 1 : SERVER, 53, 5300, IPPROTO_UDP, 0, 0, "answer");
    link_sends(SERVER, 4000, 5301, IPPROTO_UDP, 0, 0, "in");
    acknowledged = 1001;
    guest_sends(5302, SERVER, 80, IPPROTO_TCP, 2, 1000, "");
    link_sends(behave[0].redirect ? SERVER + 1 : SERVER, 80, 5302, IPPROTO_TCP, 0x12, 2000, "");
    acknowledged = 2001;
    guest_sends(5302, SERVER, 80, IPPROTO_TCP, 0x18, 1001, "GET");
}

static void test_layers_of_a_path(void)
{
    begin();
    for (unsigned i = 0; i < LAYERS; i++) {
        add_callout(400 + i, layers[i].layer, &ids[i]);
        register_callout(400 + i, 0);
        add_filter(layers[i].layer, 100, ACTION_CALLOUT_TERMINATING, 400 + i, 1, 0, NULL);
    }
    behave[0].instead = hold;
    traffic();
    EXPECT("every layer of the path was asked", asked, (1u << LAYERS) - 1);
    flows_end_all("test");

    FwpsRedirectHandleCreate0(NULL, 0, &behave[0].redirect);
    traffic();
    EXPECT("W089 as many values as the header has fields", wrong_count, 0);
    EXPECT("W089 the flags stand at their index", wrong_index, 0);
    EXPECT("W236 no flag at a layer that is not listed for it", wrong_flags, 0);
    EXPECT("W221 layerData is of the layer's kind", wrong_kind, 0);
    EXPECT("W234 what is not announced cannot be used", unpoisoned, 0);
    FwpsRedirectHandleDestroy0(behave[0].redirect);
    end();
    for (unsigned i = 0; i < LAYERS; i++)
        FwpsCalloutUnregisterById0(ids[i]);
}

static unsigned old_calls;

static void NTAPI old_classify(const FWPS_INCOMING_VALUES0 *values, const FWPS_INCOMING_METADATA_VALUES0 *metadata, void *data,
                               const FWPS_FILTER1 *filter, UINT64 flow_context, FWPS_CLASSIFY_OUT0 *out)
{
    (void)values, (void)metadata, (void)data, (void)filter, (void)flow_context;
    old_calls++;
    out->actionType = ACTION_PERMIT;
}

static void NTAPI old_deleted(UINT16 layer, UINT32 callout, UINT64 value)
{
    (void)layer, (void)callout, (void)value;
}

/* How often a callout of FwpsCalloutRegister0 at the layer is complained of, for one datagram. */
static uint64_t old_callout_at(UINT16 layer)
{
    FWPS_CALLOUT c = {.calloutKey = key_of(450), .classifyFn = (void *)old_classify, .notifyFn = notify_nothing, .flowDeleteFn = old_deleted};
    UINT32 id;
    begin();
    add_callout(450, layer, &id);
    FwpsCalloutRegister0(&engine, &c, &id);
    add_filter(layer, 100, ACTION_CALLOUT_TERMINATING, 450, 1, 0, NULL);
    old_calls = 0;
    uint64_t before = stats.lint;
    datagram_passes();
    uint64_t complaints = stats.lint - before;
    end();
    FwpsCalloutUnregisterById0(id);
    return complaints;
}

static void note_context(struct behaviour *b, struct call *call)
{
    b->request_seen = call->context;
    call->out->actionType = ACTION_PERMIT;
}

static void test_versions(void)
{
    UINT32 id;
    EXPECT("a callout of version 0 may be at TRANSPORT", old_callout_at(LAYER_OUTBOUND_TRANSPORT_V4), 0);
    EXPECT("and is called there", old_calls, 1);
    EXPECT("W005 a callout of version 0 at a redirect layer is misuse", old_callout_at(LAYER_ALE_CONNECT_REDIRECT_V4), 1);
    begin();
    add_callout(1, LAYER_ALE_CONNECT_REDIRECT_V4, &id);
    register_callout(1, 0);
    behave[0].instead = note_context;
    add_filter(LAYER_ALE_CONNECT_REDIRECT_V4, 100, ACTION_CALLOUT_TERMINATING, 1, 1, 0, NULL);
    datagram_passes();
    EXPECT("W005 from version 1 on classifyContext is not NULL there", behave[0].request_seen != NULL, TRUE);
    end();
    FwpsCalloutUnregisterById0(id);
}

/* ---- arbitration ---- */
static unsigned turn, turns[2];
static BOOL touch;

static void take_turn(struct behaviour *b, struct call *call)
{
    turns[b - behave] = ++turn;
    call->out->actionType = b->action;
    if (touch)
        call->out->reserved = 7;
}

static void test_turns(void)
{
    UINT32 light, heavy;
    begin();
    add_callout(1, LAYER_OUTBOUND_TRANSPORT_V4, &light);
    add_callout(2, LAYER_OUTBOUND_TRANSPORT_V4, &heavy);
    register_callout(1, 0);
    register_callout(2, 1);
    behave[0].instead = behave[1].instead = take_turn;
    behave[0].action = behave[1].action = ACTION_PERMIT;
    add_filter(LAYER_OUTBOUND_TRANSPORT_V4, 200, ACTION_CALLOUT_TERMINATING, 1, 15, 0, NULL);
    add_filter(LAYER_OUTBOUND_TRANSPORT_V4, 100, ACTION_CALLOUT_TERMINATING, 2, 0, 0, NULL);
    datagram_passes();
    EXPECT("W090 the heavier sublayer first, however light its filter", turns[1] << 4 | turns[0], 1 << 4 | 2);
    behave[1].action = ACTION_BLOCK;
    turn = turns[0] = turns[1] = 0;
    EXPECT("W096 a callout's block is soft", datagram_passes(), TRUE);
    EXPECT("W093 after a soft block the lower sublayer is asked", turns[0], 2);
    behave[1].action = ACTION_PERMIT; /* a soft block is complained of itself (W103) */
    uint64_t before = stats.lint;
    datagram_passes();
    EXPECT("what the driver may write is not complained of", stats.lint - before, 0);
    touch = TRUE;
    datagram_passes();
    touch = FALSE;
    EXPECT("W109 a reserved member that was written is complained of, at each callout", stats.lint - before, 2);
    end();
    FwpsCalloutUnregisterById0(light);
    FwpsCalloutUnregisterById0(heavy);
}

/* ---- how long flows live ---- */
static BOOL gone(const struct flow *flow)
{
    (void)flow;
    return FALSE;
}

static BOOL is_there(UINT16 port)
{
    struct tuple tuple = {IPPROTO_UDP, address_v4(GUEST), address_v4(SERVER), port, 53, 0};
    struct flow *flow = flow_find_sent(&tuple);
    flow_release(flow);
    return flow != NULL;
}

/* A datagram of a flow, which then idled so long. */
static void idle(UINT16 port, UINT64 ms)
{
    struct tuple tuple = {IPPROTO_UDP, address_v4(GUEST), address_v4(SERVER), port, 53, 0};
    guest_sends(port, SERVER, 53, IPPROTO_UDP, 0, 0, "x");
    struct flow *flow = flow_find_sent(&tuple);
    if (flow)
        flow->touched_ms = now_ms() - ms;
    flow_release(flow);
}

static void test_lives(void)
{
    UINT32 id;
    begin();
    add_callout(1, LAYER_OUTBOUND_TRANSPORT_V4, &id);
    register_callout(1, 0);
    behave[0].action = ACTION_PERMIT;
    add_filter(LAYER_OUTBOUND_TRANSPORT_V4, 100, ACTION_CALLOUT_TERMINATING, 1, 1, 0, NULL);
    idle(5400, 50000);
    flows_tick(now_ms(), NULL);
    EXPECT("W199 a UDP flow outlives 50 s of silence", is_there(5400), TRUE);
    idle(5400, 61000);
    flows_tick(now_ms(), NULL);
    EXPECT("W199 and ends after 60 s", is_there(5400), FALSE);
    idle(5401, 1000);
    FwpsFlowAssociateContext0(behave[0].flow, LAYER_OUTBOUND_TRANSPORT_V4, id, 0x99);
    flows_tick(now_ms(), gone);
    EXPECT("W199 a flow ends with its socket", is_there(5401), FALSE);
    EXPECT("W195 W199 and its context is deleted", behave[0].deletes << 8 | (unsigned)behave[0].deleted, 1 << 8 | 0x99);
    guest_sends(5402, SERVER, 80, IPPROTO_TCP, 2, 1000, "");
    acknowledged = 1001;
    link_sends(SERVER, 80, 5402, IPPROTO_TCP, 0x12, 2000, "");
    acknowledged = 2001;
    struct tuple tuple = {IPPROTO_TCP, address_v4(GUEST), address_v4(SERVER), 5402, 80, 0};
    struct flow *flow = flow_find_sent(&tuple);
    if (flow)
        flow->touched_ms = now_ms() - 3600000;
    flows_tick(now_ms(), NULL);
    EXPECT("W199 a TCP flow does not end for silence", flow && !flow->ended, TRUE);
    flow_release(flow);
    end();
    FwpsCalloutUnregisterById0(id);
}

void test_layers(void)
{
    test_layers_of_a_path();
    test_versions();
    test_turns();
    test_lives();
}
