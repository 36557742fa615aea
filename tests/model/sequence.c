/*
 * The engine driven by steps on standard input, one a line: its name and numbers, as harness/oracle/operations.py writes
 * them. Says what came of each: the calls of callouts while it ran, then its status. It knows what a step does and nothing
 * of what must come of it.
 *
 *   call LAYER CALLOUT RIGHT CONTEXT STATE TOLD     one classifyFn
 *   deleted LAYER CALLOUT CONTEXT                   one flowDeleteFn
 *   wire TO                                         the datagram left for that address, 0 = the server's own
 *   = STATUS                                        hexadecimal
 *
 * SPDX-License-Identifier: MIT
 */
#include "rig.h"
#include "winsock.h"

NTSTATUS NTAPI FwpmCalloutDeleteByKey0(HANDLE, const GUID *);
NTSTATUS NTAPI FwpsCalloutUnregisterByKey0(const GUID *);

enum { SUBLAYERS = 3, CALLOUTS = 4, FILTERS = 8, FLOWS = 4, HANDLES = 2, WORDS = 8 };
enum { REDIRECTED = 0xc6330000, FIRST_PORT = 20000, SERVER_PORT = 53, SUBLAYER_KEY = 500, CALLOUT_KEY = 600 };
static const UINT16 layers[] = {LAYER_ALE_CONNECT_REDIRECT_V4, LAYER_ALE_AUTH_CONNECT_V4, LAYER_ALE_FLOW_ESTABLISHED_V4,
                                LAYER_OUTBOUND_TRANSPORT_V4};
static const UINT32 actions[] = {ACTION_PERMIT, ACTION_BLOCK, ACTION_CALLOUT_TERMINATING, ACTION_CALLOUT_INSPECTION,
                                 ACTION_CALLOUT_UNKNOWN};
static const UINT32 answers[] = {ACTION_PERMIT, ACTION_BLOCK, ACTION_CONTINUE, ACTION_NONE};

static struct {
    UINT32 answer;
    BOOL clears, redirects;
} behaviour[CALLOUTS];
static HANDLE handles[HANDLES];
static UINT64 filter_ids[FILTERS];
static UINT32 callout_ids[CALLOUTS];
static UINT16 ports[FLOWS], last_port = FIRST_PORT;
static UINT32 redirections; /* each goes to an address of its own, and has itself as context */
static uint8_t contexts[65536][4];

static int layer_number(UINT16 layer)
{
    int i = 0;
    while (layers[i] != layer)
        i++;
    return i;
}

static void redirect(struct call *call, HANDLE handle)
{
    UINT64 classify_handle;
    void *data;
    UINT32 number = ++redirections;
    FwpsAcquireClassifyHandle0(call->context, 0, &classify_handle);
    FwpsAcquireWritableLayerDataPointer0(classify_handle, call->filter->filterId, 0, &data, call->out);
    FWPS_CONNECT_REQUEST0 *request = data;
    put32((uint8_t *)&((SOCKADDR_IN *)&request->remoteAddressAndPort)->sin_addr, REDIRECTED + number);
    put32(contexts[number & 0xffff], number);
    request->localRedirectHandle = handle;
    request->localRedirectContext = contexts[number & 0xffff];
    request->localRedirectContextSize = 4;
    FwpsApplyModifiedLayerData0(classify_handle, data, 0);
    FwpsReleaseClassifyHandle0(classify_handle);
    call->out->actionType = ACTION_PERMIT;
}

static void classified(int callout, struct call *call)
{
    BOOL right = (call->out->rights & RIGHT_ACTION_WRITE) != 0;
    BOOL inspects = call->filter->action.type == ACTION_CALLOUT_INSPECTION;
    HANDLE handle = handles[callout % HANDLES];
    BOOL redirects = call->values->layerId == LAYER_ALE_CONNECT_REDIRECT_V4;
    UINT32 state = 0, told = 0;
    if (redirects) {
        void *own = NULL;
        state = FwpsQueryConnectionRedirectState0(call->metadata->redirectRecords, handle, &own);
        told = own ? get32(own) : 0;
    }
    printf("call %d %d %d %llu %u %u\n", layer_number(call->values->layerId), callout, right, call->flow_context, state, told);
    if (redirects && behaviour[callout].redirects && !inspects) {
        redirect(call, handle);
        return;
    }
    if (!right && behaviour[callout].answer != ACTION_BLOCK)
        return;
    call->out->actionType = behaviour[callout].answer;
    if (behaviour[callout].clears)
        call->out->rights &= ~(UINT32)RIGHT_ACTION_WRITE;
}

#define CALLOUT_FUNCTIONS(n)                                                                                                       \
    static void NTAPI classify_##n(const FWPS_INCOMING_VALUES0 *v, const FWPS_INCOMING_METADATA_VALUES0 *m, void *d, const void *c, \
                                   const FWPS_FILTER1 *f, UINT64 x, FWPS_CLASSIFY_OUT0 *o)                                         \
    {                                                                                                                              \
        struct call call = {v, m, d, (void *)(uintptr_t)c, f, x, o};                                                               \
        classified(n, &call);                                                                                                      \
    }                                                                                                                              \
    static void NTAPI deleted_##n(UINT16 layer, UINT32 callout, UINT64 value)                                                      \
    {                                                                                                                              \
        (void)callout;                                                                                                             \
        printf("deleted %d %d %llu\n", layer_number(layer), n, value);                                                             \
    }
CALLOUT_FUNCTIONS(0)
CALLOUT_FUNCTIONS(1)
CALLOUT_FUNCTIONS(2)
CALLOUT_FUNCTIONS(3)
static void *const classify_fns[] = {(void *)classify_0, (void *)classify_1, (void *)classify_2, (void *)classify_3};
static const FLOW_DELETE_FN delete_fns[] = {deleted_0, deleted_1, deleted_2, deleted_3};

static NTSTATUS NTAPI notified_nothing(UINT32 type, const GUID *key, FWPS_FILTER1 *filter)
{
    (void)type, (void)key, (void)filter;
    return STATUS_SUCCESS;
}

static struct flow *flow_of(int number)
{
    struct tuple tuple = {IPPROTO_UDP, address_v4(GUEST), address_v4(SERVER), ports[number], (UINT16)(SERVER_PORT + number % 2), 0};
    return flow_find_sent(&tuple);
}

static void send_datagram(int number)
{
    LONG before = link_frames;
    guest_sends(ports[number], SERVER, (UINT16)(SERVER_PORT + number % 2), IPPROTO_UDP, 0, 0, "x");
    if (link_frames == before)
        return;
    UINT32 to = get32(last_link + ETHERNET + 16);
    printf("wire %u\n", to == SERVER ? 0 : to - REDIRECTED);
}

static void close_flow(int number)
{
    struct flow *flow = flow_of(number);
    if (flow)
        flow_end(flow, "closed");
    flow_release(flow);
    winsock_client_gone(&ports[number]); /* which stands for the process that has the flow's socket */
    last_port = last_port < 60000 ? (UINT16)(last_port + 1) : (UINT16)FIRST_PORT;
    ports[number] = last_port;
}

static NTSTATUS add_one_filter(const int *n)
{
    FWPM_FILTER_CONDITION0 port = {.fieldKey = condition_keys[COND_IP_REMOTE_PORT], .matchType = FWP_MATCH_EQUAL};
    FWPM_FILTER0 f = {.displayData.name = L"f", .layerKey = layer_by_id(layers[n[1]])->key, .subLayerKey = key_of(SUBLAYER_KEY + n[2])};
    f.weight.type = FWP_UINT8;
    f.weight.uint8 = (UINT8)n[0];
    f.action.type = actions[n[3]];
    if (n[3] >= 2)
        f.action.calloutKey = key_of(CALLOUT_KEY + n[4]);
    f.flags = (n[5] ? 8u : 0) | (n[6] ? 0x10u : 0);
    port.conditionValue.type = FWP_UINT16;
    port.conditionValue.uint16 = (UINT16)(SERVER_PORT + n[7] - 1);
    f.numFilterConditions = n[7] != 0;
    f.filterCondition = &port;
    return FwpmFilterAdd0(engine, &f, NULL, &filter_ids[n[0]]);
}

static NTSTATUS register_one(const int *n)
{
    FWPS_CALLOUT c = {.calloutKey = key_of(CALLOUT_KEY + n[0]), .classifyFn = classify_fns[n[0]], .notifyFn = notified_nothing,
                      .flowDeleteFn = n[1] ? delete_fns[n[0]] : NULL, .flags = n[2] ? CALLOUT_CONDITIONAL_ON_FLOW : 0};
    return FwpsCalloutRegister1(&engine, &c, &callout_ids[n[0]]);
}

static NTSTATUS add_one_callout(const int *n)
{
    return (NTSTATUS)add_callout((unsigned)(CALLOUT_KEY + n[0]), layers[n[1]], &callout_ids[n[0]]);
}

static NTSTATUS associate(const int *n, BOOL remove)
{
    struct flow *flow = flow_of(n[0]);
    UINT64 id = flow ? flow->id : 0;
    flow_release(flow);
    return remove ? FwpsFlowRemoveContext0(id, layers[n[1]], callout_ids[n[2]])
                  : FwpsFlowAssociateContext0(id, layers[n[1]], callout_ids[n[2]], (UINT64)n[3]);
}

static NTSTATUS send_as_proxy(const int *n)
{
    uint8_t blob[1024];
    struct flow *of = flow_of(n[1]);
    size_t size = of ? redirect_blob(of, blob, sizeof blob) : 0;
    flow_release(of);
    WFPMODEL_CALL call = {.op = WFPMODEL_SET_RECORDS, .family = FAMILY_V4, .protocol = IPPROTO_UDP};
    WFPMODEL_ANSWER made;
    winsock_call(&ports[n[0]], &call, blob, size, &made, NULL, 0);
    if (made.error)
        return STATUS_UNSUCCESSFUL;
    call = (WFPMODEL_CALL){.op = WFPMODEL_BIND, .family = FAMILY_V4, .protocol = IPPROTO_UDP, .endpoint = made.endpoint, .local_port = ports[n[0]]};
    winsock_call(&ports[n[0]], &call, NULL, 0, &made, NULL, 0);
    send_datagram(n[0]);
    return STATUS_SUCCESS;
}

/* Everything as at the start. */
static NTSTATUS reset(void)
{
    FWPM_SESSION0 session = {.flags = 1};
    for (int i = 0; i < FLOWS; i++)
        close_flow(i);
    if (engine)
        FwpmEngineClose0(engine);
    for (unsigned i = 0; i < CALLOUTS; i++) {
        GUID key = key_of(CALLOUT_KEY + i);
        FwpsCalloutUnregisterByKey0(&key);
        behaviour[i].answer = ACTION_PERMIT;
        behaviour[i].clears = behaviour[i].redirects = FALSE;
    }
    for (int i = 0; i < HANDLES; i++) {
        if (handles[i])
            FwpsRedirectHandleDestroy0(handles[i]);
        FwpsRedirectHandleCreate0(NULL, 0, &handles[i]);
    }
    memset(filter_ids, 0, sizeof filter_ids);
    redirections = 0;
    return FwpmEngineOpen0(NULL, 10, NULL, &session, &engine);
}

static NTSTATUS step(const char *name, const int *n)
{
    GUID sublayer = key_of(SUBLAYER_KEY + (unsigned)n[0]), callout = key_of(CALLOUT_KEY + (unsigned)n[0]);
#define IS(word) !strcmp(name, word)
    if (IS("Reset"))
        return reset();
    if (IS("AddSublayer"))
        return (NTSTATUS)add_sublayer((unsigned)(SUBLAYER_KEY + n[0]), (UINT16)(100 + n[0]));
    if (IS("DeleteSublayer"))
        return FwpmSubLayerDeleteByKey0(engine, &sublayer);
    if (IS("AddCallout"))
        return add_one_callout(n);
    if (IS("DeleteCallout"))
        return FwpmCalloutDeleteByKey0(engine, &callout);
    if (IS("Register"))
        return register_one(n);
    if (IS("Unregister"))
        return FwpsCalloutUnregisterByKey0(&callout);
    if (IS("AddFilter"))
        return add_one_filter(n);
    if (IS("DeleteFilter"))
        return FwpmFilterDeleteById0(engine, filter_ids[n[0]]);
    if (IS("Begin"))
        return FwpmTransactionBegin0(engine, 0);
    if (IS("Commit"))
        return FwpmTransactionCommit0(engine);
    if (IS("Abort"))
        return FwpmTransactionAbort0(engine);
    if (IS("Associate") || IS("Remove"))
        return associate(n, IS("Remove"));
    if (IS("SendAsProxy"))
        return send_as_proxy(n);
    if (IS("Behave")) {
        behaviour[n[0]].answer = answers[n[1]];
        behaviour[n[0]].clears = n[2];
        behaviour[n[0]].redirects = n[3];
    } else if (IS("Send")) {
        send_datagram(n[0]);
    } else if (IS("Close")) {
        close_flow(n[0]);
    } else {
        return STATUS_NOT_IMPLEMENTED;
    }
    return STATUS_SUCCESS;
}

int main(void)
{
    static const uint8_t mac[6] = {2, 2, 2, 2, 2, 2};
    char line[128], name[32];
    memcpy(wire.guest_mac, mac, 6);
    wire.to_link = to_link;
    wire.to_guest = to_guest;
    wire.guest[0] = address_v4(GUEST);
    wire.up = 1;
    while (fgets(line, sizeof line, stdin)) {
        int n[WORDS] = {0};
        if (sscanf(line, "%31s %d %d %d %d %d %d %d %d", name, &n[0], &n[1], &n[2], &n[3], &n[4], &n[5], &n[6], &n[7]) < 1)
            continue;
        printf("= %08x\n", (unsigned)step(name, n));
        fflush(stdout);
    }
    return 0;
}
