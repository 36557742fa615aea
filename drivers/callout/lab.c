/* Single WFP calls on request, so that a scenario sees the status of each. SPDX-License-Identifier: MIT */
#include "callout.h"

enum { CALLOUTS = 16, HANDLES = 16 };
static GUID callouts[CALLOUTS];
static BOOLEAN callout_used[CALLOUTS];
static HANDLE handles[HANDLES];

static void NTAPI lab_classify(const FWPS_INCOMING_VALUES0 *values, const FWPS_INCOMING_METADATA_VALUES0 *metadata,
                               void *data, const void *context, const FWPS_FILTER1 *filter, UINT64 flow_context,
                               FWPS_CLASSIFY_OUT0 *out)
{
    WFPCALLOUT_EVENT event = {0};
    UNREFERENCED_PARAMETER(data);
    UNREFERENCED_PARAMETER(context);
    event.kind = WFPCALLOUT_EVENT_LAB_CLASSIFY;
    event.layer = values->layerId;
    event.metadata = metadata->currentMetadataValues;
    event.rights = out->rights;
    event.filter_id = filter->filterId;
    event.flow_context = flow_context;
    event.value = filter->action.calloutId;
    if (out->rights & FWPS_RIGHT_ACTION_WRITE)
        out->actionType = filter->action.type == FWP_ACTION_CALLOUT_INSPECTION ? FWP_ACTION_CONTINUE : FWP_ACTION_PERMIT;
    event.action = out->actionType;
    event_record(&event);
}

static NTSTATUS register_callout(const GUID *key, UINT64 *value)
{
    FWPS_CALLOUT1 callout = {0};
    UINT32 id = 0;
    NTSTATUS status;
    ULONG i = 0;

    while (i < CALLOUTS && callout_used[i])
        i++;
    if (i == CALLOUTS)
        return STATUS_INSUFFICIENT_RESOURCES;
    callout.calloutKey = *key;
    callout.classifyFn = lab_classify;
    callout.notifyFn = notify;
    status = FwpsCalloutRegister1(driver.device, &callout, &id);
    if (NT_SUCCESS(status)) {
        callouts[i] = *key;
        callout_used[i] = TRUE;
    }
    *value = id;
    return status;
}

static NTSTATUS unregister_callout(const GUID *key)
{
    NTSTATUS status = FwpsCalloutUnregisterByKey0(key);
    ULONG i;
    for (i = 0; i < CALLOUTS && NT_SUCCESS(status); i++)
        if (callout_used[i] && RtlCompareMemory(&callouts[i], key, sizeof *key) == sizeof *key)
            callout_used[i] = FALSE;
    return status;
}

static NTSTATUS add_callout(const WFPCALLOUT_LAB *call, const GUID *key, const GUID *layer, UINT64 *value)
{
    FWPM_CALLOUT0 callout = {0};
    UINT32 id = 0;
    NTSTATUS status;
    callout.calloutKey = *key;
    callout.displayData.name = L"wfpcallout lab";
    callout.flags = call->flags;
    callout.applicableLayer = *layer;
    status = FwpmCalloutAdd0(driver.engine, &callout, NULL, &id);
    *value = id;
    return status;
}

static NTSTATUS add_sublayer(const WFPCALLOUT_LAB *call, const GUID *key)
{
    FWPM_SUBLAYER0 sublayer = {0};
    sublayer.subLayerKey = *key;
    sublayer.displayData.name = L"wfpcallout lab";
    sublayer.flags = call->flags;
    sublayer.weight = call->weight;
    return FwpmSubLayerAdd0(driver.engine, &sublayer, NULL);
}

static NTSTATUS add_filter(const WFPCALLOUT_LAB *call, const LAYER *layer, UINT64 *value)
{
    FWPM_FILTER0 filter = {0};
    CONDITIONS conditions;
    conditions_build(&conditions, layer, call->protocol, call->local_addr, call->remote_addr, call->local_port,
                     call->remote_port);
    filter.displayData.name = L"wfpcallout lab";
    filter.flags = call->flags;
    filter.layerKey = *layer->key;
    RtlCopyMemory(&filter.subLayerKey, call->key2, sizeof filter.subLayerKey);
    filter.weight.type = FWP_UINT8;
    filter.weight.uint8 = (UINT8)call->weight;
    filter.numFilterConditions = conditions.count;
    filter.filterCondition = conditions.conditions;
    filter.action.type = call->action;
    if (call->action & FWP_ACTION_FLAG_CALLOUT)
        RtlCopyMemory(&filter.action.calloutKey, call->key, sizeof filter.action.calloutKey);
    return FwpmFilterAdd0(driver.engine, &filter, NULL, value);
}

static NTSTATUS create_handle(const WFPCALLOUT_LAB *call, UINT64 *value)
{
    ADDRESS_FAMILY family = call->family == 4 ? AF_INET : call->family == 6 ? AF_INET6 : AF_UNSPEC;
    NTSTATUS status;
    ULONG i = 0;
    while (i < HANDLES && handles[i])
        i++;
    if (i == HANDLES)
        return STATUS_INSUFFICIENT_RESOURCES;
    status = FwpsInjectionHandleCreate0(family, call->action, &handles[i]);
    if (!NT_SUCCESS(status))
        handles[i] = NULL;
    else
        *value = i + 1;
    return status;
}

static NTSTATUS destroy_handle(UINT64 number)
{
    NTSTATUS status;
    if (!number || number > HANDLES || !handles[number - 1])
        return STATUS_NOT_FOUND;
    status = FwpsInjectionHandleDestroy0(handles[number - 1]);
    if (NT_SUCCESS(status))
        handles[number - 1] = NULL;
    return status;
}

static NTSTATUS call_layer(const WFPCALLOUT_LAB *call, const GUID *key, UINT64 *value)
{
    const LAYER *layer = find_layer(call->layer);
    NTSTATUS status;
    if (!layer || ((call->op == WFPCALLOUT_LAB_FLOW_REMOVE_CONTEXT || call->op == WFPCALLOUT_LAB_UNREGISTER_BUSY) &&
                   call->weight >= SLOTS))
        return STATUS_INVALID_PARAMETER;
    switch (call->op) {
    case WFPCALLOUT_LAB_CALLOUT_ADD:
        return add_callout(call, key, layer->key, value);
    case WFPCALLOUT_LAB_FILTER_ADD:
        return add_filter(call, layer, value);
    case WFPCALLOUT_LAB_FLOW_REMOVE_CONTEXT:
        return FwpsFlowRemoveContext0(call->value, call->layer, callout_id(layer, call->weight));
    default:
        status = FwpsCalloutUnregisterById0(callout_id(layer, call->weight));
        if (NT_SUCCESS(status))
            callout_register(layer, call->weight);
        return status;
    }
}

static volatile LONG crash_at;         /* enum WFPCALLOUT_CRASH_PLACE */
static volatile LONG hangs;            /* there it is to hang instead */
static UINT8 *volatile nowhere = NULL; /* which the compiler cannot know */

/* Never comes back: turns at DISPATCH_LEVEL and in classifyFn, waits for what nobody will signal elsewhere. */
static void hang(UINT32 place)
{
    KSPIN_LOCK lock;
    KEVENT never;
    KIRQL irql;
    if (place == WFPCALLOUT_CRASH_DISPATCH) {
        KeInitializeSpinLock(&lock);
        KeAcquireSpinLock(&lock, &irql);
    }
    while (place == WFPCALLOUT_CRASH_DISPATCH || place == WFPCALLOUT_CRASH_CLASSIFY)
        YieldProcessor();
    KeInitializeEvent(&never, NotificationEvent, FALSE);
    KeWaitForSingleObject(&never, Executive, KernelMode, FALSE, NULL);
}

/* At DISPATCH_LEVEL a bad pointer is one bugcheck, at PASSIVE_LEVEL another; the third is the driver's own wish. */
static void crash(UINT32 place)
{
    KSPIN_LOCK lock;
    KIRQL irql;
    if (place == WFPCALLOUT_CRASH_BUGCHECK)
        KeBugCheckEx(0xE2 /* MANUALLY_INITIATED_CRASH */, 1, 2, 3, 4);
    if (place == WFPCALLOUT_CRASH_DISPATCH) {
        KeInitializeSpinLock(&lock);
        KeAcquireSpinLock(&lock, &irql);
    }
    nowhere[0x10] = (UINT8)place;
}

void lab_crash(UINT32 place)
{
    if (crash_at != (LONG)place)
        return;
    if (hangs)
        hang(place);
    crash(place);
}

static NTSTATUS ask_for_crash(UINT32 place)
{
    if (place < WFPCALLOUT_CRASH_NOW || place > WFPCALLOUT_CRASH_UNLOAD)
        return STATUS_INVALID_PARAMETER;
    if (place <= WFPCALLOUT_CRASH_BUGCHECK)
        crash(place);
    InterlockedExchange(&crash_at, (LONG)place);
    return STATUS_SUCCESS;
}

static NTSTATUS ask_to_hang(UINT32 place)
{
    if (place < WFPCALLOUT_CRASH_NOW || place > WFPCALLOUT_CRASH_UNLOAD || place == WFPCALLOUT_CRASH_BUGCHECK)
        return STATUS_INVALID_PARAMETER;
    if (place <= WFPCALLOUT_CRASH_DISPATCH)
        hang(place);
    InterlockedExchange(&hangs, 1);
    InterlockedExchange(&crash_at, (LONG)place);
    return STATUS_SUCCESS;
}

static NTSTATUS call_one(const WFPCALLOUT_LAB *call, UINT64 *value)
{
    GUID key;
    RtlCopyMemory(&key, call->key, sizeof key);
    switch (call->op) {
    case WFPCALLOUT_LAB_CALLOUT_REGISTER: return register_callout(&key, value);
    case WFPCALLOUT_LAB_CALLOUT_UNREGISTER: return unregister_callout(&key);
    case WFPCALLOUT_LAB_CALLOUT_DELETE: return FwpmCalloutDeleteByKey0(driver.engine, &key);
    case WFPCALLOUT_LAB_SUBLAYER_ADD: return add_sublayer(call, &key);
    case WFPCALLOUT_LAB_SUBLAYER_DELETE: return FwpmSubLayerDeleteByKey0(driver.engine, &key);
    case WFPCALLOUT_LAB_FILTER_DELETE: return FwpmFilterDeleteById0(driver.engine, call->value);
    case WFPCALLOUT_LAB_TXN_BEGIN: return FwpmTransactionBegin0(driver.engine, 0);
    case WFPCALLOUT_LAB_TXN_COMMIT: return FwpmTransactionCommit0(driver.engine);
    case WFPCALLOUT_LAB_TXN_ABORT: return FwpmTransactionAbort0(driver.engine);
    case WFPCALLOUT_LAB_INJECTION_CREATE: return create_handle(call, value);
    case WFPCALLOUT_LAB_INJECTION_DESTROY: return destroy_handle(call->value);
    case WFPCALLOUT_LAB_RECREATE_INJECTION:
        injection_destroy();
        return injection_create();
    case WFPCALLOUT_LAB_CRASH: return ask_for_crash(call->action);
    case WFPCALLOUT_LAB_HANG: return ask_to_hang(call->action);
    case WFPCALLOUT_LAB_FLOW_ABORT: return FwpsFlowAbort0(call->value);
    case WFPCALLOUT_LAB_CALLOUT_ADD:
    case WFPCALLOUT_LAB_FILTER_ADD:
    case WFPCALLOUT_LAB_FLOW_REMOVE_CONTEXT:
    case WFPCALLOUT_LAB_UNREGISTER_BUSY: return call_layer(call, &key, value);
    default: return STATUS_INVALID_PARAMETER;
    }
}

NTSTATUS lab_call(const WFPCALLOUT_LAB *call, UINT64 *value)
{
    NTSTATUS status;
    *value = 0;
    status = call_one(call, value);
    event_simple(WFPCALLOUT_EVENT_LAB, call->layer, status, call->op, *value);
    return status;
}

void lab_stop(void)
{
    ULONG i;
    crash_at = 0;
    for (i = 0; i < CALLOUTS; i++) {
        if (callout_used[i])
            FwpsCalloutUnregisterByKey0(&callouts[i]);
        callout_used[i] = FALSE;
    }
    for (i = 0; i < HANDLES; i++) {
        if (handles[i])
            FwpsInjectionHandleDestroy0(handles[i]);
        handles[i] = NULL;
    }
}

UINT64 lab_handles(void)
{
    UINT64 count = 0;
    ULONG i;
    for (i = 0; i < HANDLES; i++)
        count += handles[i] != NULL;
    return count;
}
