/*
 * Sequences of single steps, as harness/oracle has them: callouts that answer as they were told, flow contexts, and
 * objects by small numbers, in a session of their own. Nothing here knows what must come of a step.
 *
 * Each step is followed by a PLAY_STEP event; what a callout was shown, and each flowDeleteFn, are events before it. An
 * inspection filter of the play's own, in a sublayer of its own, tells which flow a socket's port has.
 *
 * SPDX-License-Identifier: MIT
 */
#include "callout.h"

enum { PLAYERS = 4, SUBLAYERS = 3, FILTERS = 8, REDIRECT_HANDLES = 2, PLACES = 4, FLOWS = 64, CONTEXTS = 64 };
enum { WATCHER = PLAYERS }; /* its callout is behind those of the players */
enum { ANSWERS = 4, ACTIONS = 5, CLEARS = 1, REDIRECTS = 2, VALUE_BITS = 4, AWAIT_MAX_MS = 10000 };

typedef struct PLAYED_FLOW {
    UINT16 port; /* local */
    UINT64 flow;
} PLAYED_FLOW;

typedef struct PLAYED_CONTEXT {
    UINT64 number; /* what was associated; 0 = free */
    UINT64 flow;
    UINT16 layer;
    UINT32 callout;
} PLAYED_CONTEXT;

static const UINT16 places[PLACES] = {FWPS_LAYER_ALE_CONNECT_REDIRECT_V4, FWPS_LAYER_ALE_AUTH_CONNECT_V4,
                                      FWPS_LAYER_ALE_FLOW_ESTABLISHED_V4, FWPS_LAYER_OUTBOUND_TRANSPORT_V4};
static const FWP_ACTION_TYPE actions[ACTIONS] = {FWP_ACTION_PERMIT, FWP_ACTION_BLOCK, FWP_ACTION_CALLOUT_TERMINATING,
                                                 FWP_ACTION_CALLOUT_INSPECTION, FWP_ACTION_CALLOUT_UNKNOWN};
static const FWP_ACTION_TYPE answers[ANSWERS] = {FWP_ACTION_PERMIT, FWP_ACTION_BLOCK, FWP_ACTION_CONTINUE, FWP_ACTION_NONE};

/* By the lock of the control device, but what classifyFn and flowDeleteFn see: that by `lock`, or single words. */
static HANDLE engine, handles[REDIRECT_HANDLES];
static UINT32 ids[PLAYERS + 1]; /* of registered callouts; 0 = not registered */
static UINT64 filters[FILTERS];
static volatile LONG answer[PLAYERS], manner[PLAYERS];
static volatile LONG redirections;
static UINT8 redirected[4]; /* where the first redirection goes, less one */
static KSPIN_LOCK lock;
static PLAYED_FLOW flows[FLOWS];
static ULONG next_flow;
static PLAYED_CONTEXT contexts[CONTEXTS];
static UINT64 last_number;

static GUID key_of(ULONG kind, ULONG number)
{
    GUID key = provider_key;
    key.Data1 = 0x5d9a8000ul + (kind << 8) + number;
    return key;
}

enum { KEY_SUBLAYER, KEY_CALLOUT };

/* ---- what runs with the traffic ---- */

static UINT16 port_of(const FWPS_INCOMING_VALUES0 *values, UINT16 field)
{
    return field < values->valueCount && values->incomingValue[field].value.type == FWP_UINT16
               ? values->incomingValue[field].value.uint16 : 0;
}

static void describe(WFPCALLOUT_EVENT *event, const FWPS_INCOMING_VALUES0 *values, const FWPS_INCOMING_METADATA_VALUES0 *metadata)
{
    const LAYER *layer = find_layer(values->layerId);
    event->layer = values->layerId;
    event->metadata = metadata->currentMetadataValues;
    if (metadata->currentMetadataValues & FWPS_METADATA_FIELD_FLOW_HANDLE)
        event->flow_id = metadata->flowHandle;
    if (layer) {
        event->local_port = port_of(values, layer->local_port);
        event->remote_port = port_of(values, layer->remote_port);
    }
}

static NTSTATUS redirect_to(ULONG player, const void *context, const FWPS_FILTER1 *filter, FWPS_CLASSIFY_OUT0 *out)
{
    FWPS_CONNECT_REQUEST0 *request = NULL;
    UINT64 handle = 0;
    UINT32 number, *own;
    NTSTATUS status = FwpsAcquireClassifyHandle0((void *)context, 0, &handle);
    if (!NT_SUCCESS(status))
        return status;
    status = FwpsAcquireWritableLayerDataPointer0(handle, filter->filterId, 0, (PVOID *)&request, out);
    if (NT_SUCCESS(status)) {
        own = allocate(sizeof *own); /* the engine's, which frees it, once the request is applied */
        if (own) {
            SOCKADDR_IN *to = (SOCKADDR_IN *)&request->remoteAddressAndPort;
            UINT8 address[4];
            number = *own = (UINT32)InterlockedIncrement(&redirections);
            RtlCopyMemory(address, redirected, sizeof address);
            address[2] = (UINT8)(address[2] + (number >> 8));
            address[3] = (UINT8)(address[3] + number);
            RtlCopyMemory(&to->sin_addr, address, sizeof address);
            request->localRedirectHandle = handles[player % REDIRECT_HANDLES];
            request->localRedirectContext = own;
            request->localRedirectContextSize = sizeof *own;
        } else {
            status = STATUS_INSUFFICIENT_RESOURCES;
        }
        FwpsApplyModifiedLayerData0(handle, request, 0);
    }
    FwpsReleaseClassifyHandle0(handle);
    out->actionType = FWP_ACTION_PERMIT;
    return status;
}

/* What its handle is told of the connection, in `state`; gives the number of its own redirection. */
static UINT32 ask_state(ULONG player, const FWPS_INCOMING_METADATA_VALUES0 *metadata, FWPS_CONNECTION_REDIRECT_STATE *state)
{
    void *own = NULL;
    *state = FWPS_CONNECTION_NOT_REDIRECTED;
    if (metadata->currentMetadataValues & FWPS_METADATA_FIELD_REDIRECT_RECORD_HANDLE)
        *state = FwpsQueryConnectionRedirectState0(metadata->redirectRecords, handles[player % REDIRECT_HANDLES], &own);
    return own ? *(const UINT32 *)own : 0;
}

static ULONG player_of(UINT32 callout)
{
    ULONG player = 0;
    while (player < PLAYERS && ids[player] != callout)
        player++;
    return player;
}

static void NTAPI played(const FWPS_INCOMING_VALUES0 *values, const FWPS_INCOMING_METADATA_VALUES0 *metadata, void *data,
                         const void *context, const FWPS_FILTER1 *filter, UINT64 flow_context, FWPS_CLASSIFY_OUT0 *out)
{
    WFPCALLOUT_EVENT event = {0};
    ULONG player = player_of(filter->action.calloutId);
    BOOLEAN right = (out->rights & FWPS_RIGHT_ACTION_WRITE) != 0;
    BOOLEAN inspects = filter->action.type == FWP_ACTION_CALLOUT_INSPECTION;
    LONG how;

    UNREFERENCED_PARAMETER(data);
    if (player == PLAYERS)
        return;
    how = manner[player];
    describe(&event, values, metadata);
    event.kind = WFPCALLOUT_EVENT_PLAY_CLASSIFY;
    event.rights = out->rights;
    event.filter_id = filter->filterId;
    event.flow_context = flow_context & ((1u << VALUE_BITS) - 1);
    event.value = player;
    if (values->layerId == FWPS_LAYER_ALE_CONNECT_REDIRECT_V4) {
        FWPS_CONNECTION_REDIRECT_STATE state;
        event.rule = ask_state(player, metadata, &state);
        event.redirect_state = (UINT8)(state + 1);
    }
    if (values->layerId == FWPS_LAYER_ALE_CONNECT_REDIRECT_V4 && (how & REDIRECTS) && !inspects) {
        event.status = redirect_to(player, context, filter, out);
    } else if (right || answer[player] == FWP_ACTION_BLOCK) { /* without the right only a veto is allowed */
        out->actionType = (FWP_ACTION_TYPE)answer[player];
        if (how & CLEARS)
            out->rights &= ~FWPS_RIGHT_ACTION_WRITE;
    }
    event.action = out->actionType;
    event_record(&event);
}

static void NTAPI watched(const FWPS_INCOMING_VALUES0 *values, const FWPS_INCOMING_METADATA_VALUES0 *metadata, void *data,
                          const void *context, const FWPS_FILTER1 *filter, UINT64 flow_context, FWPS_CLASSIFY_OUT0 *out)
{
    WFPCALLOUT_EVENT event = {0};
    KIRQL irql;
    UNREFERENCED_PARAMETER(data);
    UNREFERENCED_PARAMETER(context);
    UNREFERENCED_PARAMETER(filter);
    UNREFERENCED_PARAMETER(flow_context);
    describe(&event, values, metadata);
    if (out->rights & FWPS_RIGHT_ACTION_WRITE)
        out->actionType = FWP_ACTION_CONTINUE;
    KeAcquireSpinLock(&lock, &irql);
    flows[next_flow % FLOWS].port = event.local_port;
    flows[next_flow++ % FLOWS].flow = event.flow_id;
    KeReleaseSpinLock(&lock, irql);
}

static void NTAPI context_deleted(UINT16 layer, UINT32 callout, UINT64 number)
{
    WFPCALLOUT_EVENT event = {0};
    KIRQL irql;
    ULONG i;
    event.kind = WFPCALLOUT_EVENT_PLAY_DELETED;
    event.layer = layer;
    event.value = player_of(callout);
    event.flow_context = number & ((1u << VALUE_BITS) - 1);
    event.status = STATUS_NOT_FOUND; /* not ours, or told twice */
    KeAcquireSpinLock(&lock, &irql);
    for (i = 0; i < CONTEXTS; i++) {
        if (contexts[i].number == number && contexts[i].callout == callout && contexts[i].layer == layer) {
            event.flow_id = contexts[i].flow;
            event.status = STATUS_SUCCESS;
            contexts[i].number = 0;
            break;
        }
    }
    KeReleaseSpinLock(&lock, irql);
    event_record(&event);
}

/* ---- steps ---- */

static NTSTATUS register_callout(ULONG number, BOOLEAN deletes, UINT32 flags)
{
    FWPS_CALLOUT1 callout = {0};
    UINT32 id = 0;
    NTSTATUS status;
    callout.calloutKey = key_of(KEY_CALLOUT, number);
    callout.classifyFn = number == WATCHER ? watched : played;
    callout.notifyFn = notify;
    callout.flowDeleteFn = deletes ? context_deleted : NULL;
    callout.flags = flags;
    status = FwpsCalloutRegister1(driver.device, &callout, &id);
    if (NT_SUCCESS(status))
        ids[number] = id; /* a callout keeps its id: what classifies before this line is nobody's yet */
    return status;
}

static NTSTATUS unregister_callout(ULONG number)
{
    GUID key = key_of(KEY_CALLOUT, number);
    NTSTATUS status = FwpsCalloutUnregisterByKey0(&key);
    if (status == STATUS_SUCCESS)
        ids[number] = 0;
    return status;
}

static NTSTATUS add_callout(ULONG number, ULONG place)
{
    FWPM_CALLOUT0 callout = {0};
    callout.calloutKey = key_of(KEY_CALLOUT, number);
    callout.displayData.name = L"wfpcallout play";
    callout.applicableLayer = *find_layer(places[place])->key;
    return FwpmCalloutAdd0(engine, &callout, NULL, NULL);
}

static NTSTATUS add_sublayer(ULONG number, UINT16 weight)
{
    FWPM_SUBLAYER0 sublayer = {0};
    sublayer.subLayerKey = key_of(KEY_SUBLAYER, number);
    sublayer.displayData.name = L"wfpcallout play";
    sublayer.weight = weight;
    return FwpmSubLayerAdd0(engine, &sublayer, NULL);
}

/* n: slot and weight, place, sublayer, action, callout, CLEAR_ACTION_RIGHT, PERMIT_IF_CALLOUT_UNREGISTERED, which port */
static NTSTATUS add_filter(const UINT32 *n, UINT16 remote_port, UINT64 *id)
{
    static const UINT8 any[16];
    const LAYER *layer = find_layer(places[n[1]]);
    CONDITIONS conditions;
    FWPM_FILTER0 filter = {0};
    conditions_build(&conditions, layer, IPPROTO_UDP, any, any, 0, n[7] ? (UINT16)(remote_port + n[7] - 1) : 0);
    filter.displayData.name = L"wfpcallout play";
    filter.layerKey = *layer->key;
    filter.subLayerKey = key_of(KEY_SUBLAYER, n[2]);
    filter.weight.type = FWP_UINT8;
    filter.weight.uint8 = (UINT8)n[0];
    filter.numFilterConditions = conditions.count;
    filter.filterCondition = conditions.conditions;
    filter.action.type = actions[n[3]];
    if (filter.action.type & FWP_ACTION_FLAG_CALLOUT)
        filter.action.calloutKey = key_of(KEY_CALLOUT, n[4]);
    filter.flags = (n[5] ? FWPM_FILTER_FLAG_CLEAR_ACTION_RIGHT : 0) | (n[6] ? FWPM_FILTER_FLAG_PERMIT_IF_CALLOUT_UNREGISTERED : 0);
    return FwpmFilterAdd0(engine, &filter, NULL, id);
}

static UINT64 flow_of(UINT16 port)
{
    UINT64 found = 0;
    KIRQL irql;
    ULONG i;
    KeAcquireSpinLock(&lock, &irql);
    for (i = 0; i < FLOWS && i < next_flow && !found; i++) { /* the newest first */
        const PLAYED_FLOW *flow = &flows[(next_flow - 1 - i) % FLOWS];
        if (flow->port == port)
            found = flow->flow;
    }
    KeReleaseSpinLock(&lock, irql);
    return found;
}

static NTSTATUS associate(UINT16 port, UINT16 layer, UINT32 callout, UINT32 value)
{
    UINT64 flow = flow_of(port), number = 0;
    PLAYED_CONTEXT *free_one = NULL;
    NTSTATUS status;
    KIRQL irql;
    ULONG i;
    KeAcquireSpinLock(&lock, &irql);
    for (i = 0; i < CONTEXTS && !free_one; i++)
        if (!contexts[i].number)
            free_one = &contexts[i];
    if (free_one) { /* before it is associated: flowDeleteFn may run before the call returns */
        number = ++last_number << VALUE_BITS | value;
        free_one->number = number;
        free_one->flow = flow;
        free_one->layer = layer;
        free_one->callout = callout;
    }
    KeReleaseSpinLock(&lock, irql);
    if (!free_one)
        return STATUS_INSUFFICIENT_RESOURCES;
    status = FwpsFlowAssociateContext0(flow, layer, callout, value ? number : 0);
    if (status != STATUS_SUCCESS) { /* nothing was associated, and nothing will be deleted */
        KeAcquireSpinLock(&lock, &irql);
        if (free_one->number == number)
            free_one->number = 0;
        KeReleaseSpinLock(&lock, irql);
    }
    return status;
}

/* A context of the flow that is still there, or of any flow with 0; FALSE when there is none. */
static BOOLEAN find_context(UINT64 flow, PLAYED_CONTEXT *out)
{
    BOOLEAN found = FALSE;
    KIRQL irql;
    ULONG i;
    KeAcquireSpinLock(&lock, &irql);
    for (i = 0; i < CONTEXTS && !found; i++) {
        if (contexts[i].number && (!flow || contexts[i].flow == flow)) {
            *out = contexts[i];
            found = TRUE;
        }
    }
    KeReleaseSpinLock(&lock, irql);
    return found;
}

static void wait_a_moment(void)
{
    LARGE_INTEGER interval;
    interval.QuadPart = -10 * 1000; /* 1 ms */
    KeDelayExecutionThread(KernelMode, FALSE, &interval);
}

/* The flow's socket was closed: comes back when its contexts are deleted. */
static NTSTATUS closed(UINT16 port, UINT32 milliseconds)
{
    UINT64 flow = flow_of(port);
    PLAYED_CONTEXT left;
    UINT32 waited = 0;
    while (flow && find_context(flow, &left)) {
        if (waited++ >= milliseconds || waited > AWAIT_MAX_MS)
            return STATUS_IO_TIMEOUT;
        wait_a_moment();
    }
    return STATUS_SUCCESS;
}

/* ---- beginning and end ---- */

void play_stop(void)
{
    PLAYED_CONTEXT left;
    NTSTATUS status;
    ULONG i;
    if (engine)
        FwpmEngineClose0(engine); /* dynamic: its objects go with it */
    engine = NULL;
    for (i = 0; i < PLAYERS + 1; i++) {
        for (;;) {
            status = ids[i] ? unregister_callout(i) : STATUS_SUCCESS;
            if (status != STATUS_DEVICE_BUSY && status != STATUS_FWP_IN_USE)
                break; /* else it has contexts, or a classify uses one */
            if (find_context(0, &left))
                FwpsFlowRemoveContext0(left.flow, left.layer, left.callout);
            wait_a_moment();
        }
        ids[i] = 0;
    }
    while (find_context(0, &left)) /* flowDeleteFn is code of ours: it has to have run before we go */
        wait_a_moment();
    for (i = 0; i < REDIRECT_HANDLES; i++) {
        if (handles[i])
            FwpsRedirectHandleDestroy0(handles[i]);
        handles[i] = NULL;
    }
}

void play_start(void)
{
    KeInitializeSpinLock(&lock);
}

static NTSTATUS add_watcher(void)
{
    UINT32 n[8] = {0, 2, SUBLAYERS, 3, WATCHER, 0, 0, 0};
    UINT64 id;
    NTSTATUS status = register_callout(WATCHER, FALSE, 0);
    if (NT_SUCCESS(status))
        status = add_sublayer(SUBLAYERS, 0xf000);
    if (NT_SUCCESS(status))
        status = add_callout(WATCHER, n[1]);
    if (NT_SUCCESS(status))
        status = add_filter(n, 0, &id);
    return status;
}

/* Everything as at the start. */
static NTSTATUS reset(const WFPCALLOUT_PLAY *step)
{
    FWPM_SESSION0 session = {0};
    NTSTATUS status;
    ULONG i;
    play_stop();
    RtlZeroMemory(filters, sizeof filters);
    RtlZeroMemory(flows, sizeof flows);
    next_flow = 0;
    redirections = 0;
    RtlCopyMemory(redirected, step->redirected, sizeof redirected);
    for (i = 0; i < PLAYERS; i++) {
        answer[i] = FWP_ACTION_PERMIT;
        manner[i] = 0;
    }
    session.displayData.name = L"wfpcallout play";
    session.flags = FWPM_SESSION_FLAG_DYNAMIC;
    status = FwpmEngineOpen0(NULL, 10 /* RPC_C_AUTHN_WINNT */, NULL, &session, &engine);
    for (i = 0; i < REDIRECT_HANDLES && NT_SUCCESS(status); i++)
        status = FwpsRedirectHandleCreate0(&provider_key, 0, &handles[i]);
    if (NT_SUCCESS(status))
        status = add_watcher();
    return status;
}

/* Whether the numbers of a step lie in its tables. */
static BOOLEAN fits(const WFPCALLOUT_PLAY *step)
{
    const UINT32 *n = step->n;
    switch (step->op) {
    case WFPCALLOUT_PLAY_ADD_SUBLAYER:
    case WFPCALLOUT_PLAY_DELETE_SUBLAYER: return n[0] < SUBLAYERS;
    case WFPCALLOUT_PLAY_ADD_CALLOUT: return n[0] < PLAYERS && n[1] < PLACES;
    case WFPCALLOUT_PLAY_DELETE_CALLOUT:
    case WFPCALLOUT_PLAY_REGISTER:
    case WFPCALLOUT_PLAY_UNREGISTER: return n[0] < PLAYERS;
    case WFPCALLOUT_PLAY_BEHAVE: return n[0] < PLAYERS && n[1] < ANSWERS;
    case WFPCALLOUT_PLAY_ADD_FILTER:
        return n[0] < FILTERS && n[1] < PLACES && n[2] < SUBLAYERS && n[3] < ACTIONS && n[4] < PLAYERS && n[7] < 3;
    case WFPCALLOUT_PLAY_DELETE_FILTER: return n[0] < FILTERS;
    case WFPCALLOUT_PLAY_ASSOCIATE: return n[1] < PLACES && n[2] < PLAYERS && n[3] < 1u << VALUE_BITS;
    case WFPCALLOUT_PLAY_REMOVE: return n[1] < PLACES && n[2] < PLAYERS;
    default: return TRUE;
    }
}

static NTSTATUS carry_out(const WFPCALLOUT_PLAY *step)
{
    const UINT32 *n = step->n;
    GUID key;
    switch (step->op) {
    case WFPCALLOUT_PLAY_RESET: return reset(step);
    case WFPCALLOUT_PLAY_STOP: play_stop(); return STATUS_SUCCESS;
    case WFPCALLOUT_PLAY_STEP: return STATUS_SUCCESS;
    case WFPCALLOUT_PLAY_ADD_SUBLAYER: return add_sublayer(n[0], (UINT16)(100 + n[0]));
    case WFPCALLOUT_PLAY_DELETE_SUBLAYER:
        key = key_of(KEY_SUBLAYER, n[0]);
        return FwpmSubLayerDeleteByKey0(engine, &key);
    case WFPCALLOUT_PLAY_ADD_CALLOUT: return add_callout(n[0], n[1]);
    case WFPCALLOUT_PLAY_DELETE_CALLOUT:
        key = key_of(KEY_CALLOUT, n[0]);
        return FwpmCalloutDeleteByKey0(engine, &key);
    case WFPCALLOUT_PLAY_REGISTER: return register_callout(n[0], n[1] != 0, n[2] ? FWP_CALLOUT_FLAG_CONDITIONAL_ON_FLOW : 0);
    case WFPCALLOUT_PLAY_UNREGISTER: return unregister_callout(n[0]);
    case WFPCALLOUT_PLAY_BEHAVE:
        answer[n[0]] = (LONG)answers[n[1]];
        manner[n[0]] = (n[2] ? CLEARS : 0) | (n[3] ? REDIRECTS : 0);
        return STATUS_SUCCESS;
    case WFPCALLOUT_PLAY_ADD_FILTER: return add_filter(n, step->remote_port, &filters[n[0]]);
    case WFPCALLOUT_PLAY_DELETE_FILTER: return FwpmFilterDeleteById0(engine, filters[n[0]]);
    case WFPCALLOUT_PLAY_BEGIN: return FwpmTransactionBegin0(engine, 0);
    case WFPCALLOUT_PLAY_COMMIT: return FwpmTransactionCommit0(engine);
    case WFPCALLOUT_PLAY_ABORT: return FwpmTransactionAbort0(engine);
    case WFPCALLOUT_PLAY_ASSOCIATE: return associate(step->local_port, places[n[1]], ids[n[2]], n[3]);
    case WFPCALLOUT_PLAY_REMOVE: return FwpsFlowRemoveContext0(flow_of(step->local_port), places[n[1]], ids[n[2]]);
    case WFPCALLOUT_PLAY_CLOSED: return closed(step->local_port, n[0]);
    default: return STATUS_INVALID_PARAMETER;
    }
}

NTSTATUS play_step(const WFPCALLOUT_PLAY *step)
{
    NTSTATUS status = STATUS_INVALID_DEVICE_STATE;
    if (!fits(step))
        return STATUS_INVALID_PARAMETER;
    if (engine || step->op == WFPCALLOUT_PLAY_RESET || step->op == WFPCALLOUT_PLAY_STOP)
        status = carry_out(step);
    event_simple(WFPCALLOUT_EVENT_PLAY_STEP, 0, status, step->op, step->step);
    return status;
}
