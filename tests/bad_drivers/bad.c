/* Loading, unloading and what all misdeeds need. SPDX-License-Identifier: MIT */
#include <initguid.h>

#include "bad.h"

static const GUID keys[2] = {{0xbadbad01, 1, 1, {1}}, {0xbadbad02, 1, 1, {1}}}; /* sublayer, callout */

BOOLEAN bad, context_was_freed;
DRIVER_OBJECT *the_driver;
DEVICE_OBJECT *the_device;
UINT32 the_callout;
HANDLE the_engine, network, transport;
NDIS_HANDLE ndis_object, nbl_pool;

static KEVENT idle;
static const struct misdeed *chosen;
static LONG working = 1; /* work items, and the driver itself until it waits for them */

static BOOLEAN starts(const WCHAR *text, ULONG length, const char *with)
{
    ULONG i = 0;
    while (with[i] && i < length && text[i] == (WCHAR)with[i])
        i++;
    return !with[i];
}

static BOOLEAN is(const WCHAR *text, ULONG length, const char *name)
{
    ULONG size = 0;
    while (name[size])
        size++;
    return size == length && starts(text, length, name);
}

/* The last part of the registry path is the name of the service. */
static BOOLEAN choose(const UNICODE_STRING *registry)
{
    static const struct misdeed *const tables[] = {misdeeds_of_handles, misdeeds_of_packets, misdeeds_of_answers,
                                                   misdeeds_of_redirects, misdeeds_of_pends, misdeeds_of_streams, misdeeds_of_kernel};
    ULONG length = registry->Length / sizeof(WCHAR), start = length, i;
    const WCHAR *name;
    while (start && registry->Buffer[start - 1] != '\\')
        start--;
    name = registry->Buffer + start;
    length -= start;
    bad = starts(name, length, "bad-");
    if (!bad && !starts(name, length, "good-"))
        return FALSE;
    name += bad ? 4 : 5;
    length -= bad ? 4 : 5;
    for (i = 0; i < sizeof tables / sizeof tables[0] && !chosen; i++) {
        const struct misdeed *m = tables[i];
        while (m->name && !is(name, length, m->name))
            m++;
        chosen = m->name ? m : NULL;
    }
    return chosen != NULL;
}

struct work {
    PIO_WORKITEM item;
    void (*function)(void *);
    void *context;
};

static void NTAPI work_now(DEVICE_OBJECT *device, void *context)
{
    struct work *work = context;
    UNREFERENCED_PARAMETER(device);
    work->function(work->context);
    IoFreeWorkItem(work->item);
    ExFreePoolWithTag(work, TAG);
    if (InterlockedDecrement(&working) == 0) /* a jump: nothing here runs after it, the driver may be unmapped (-foptimize-sibling-calls) */
        KeSetEvent(&idle, IO_NO_INCREMENT, FALSE);
}

void later(void (*function)(void *), void *context)
{
    struct work *work = ExAllocatePoolWithTag(NonPagedPoolNx, sizeof *work, TAG);
    if (!work)
        return;
    work->item = IoAllocateWorkItem(the_device);
    work->function = function;
    work->context = context;
    InterlockedIncrement(&working);
    IoQueueWorkItem(work->item, work_now, DelayedWorkQueue, work);
}

/* Who is last to count down tells, and once: the event says nothing of work items before. */
void wait_idle(void)
{
    KeClearEvent(&idle);
    if (InterlockedDecrement(&working))
        KeWaitForSingleObject(&idle, Executive, KernelMode, FALSE, NULL);
    InterlockedIncrement(&working);
}

void pass(struct call *call, FWP_ACTION_TYPE action)
{
    if (!(call->out->rights & FWPS_RIGHT_ACTION_WRITE))
        return;
    call->out->actionType = action;
    if (action == FWP_ACTION_BLOCK)
        call->out->rights &= ~FWPS_RIGHT_ACTION_WRITE;
}

static void NTAPI classify(const FWPS_INCOMING_VALUES0 *values, const FWPS_INCOMING_METADATA_VALUES0 *metadata, void *data,
                           const void *context, const FWPS_FILTER1 *filter, UINT64 flow, FWPS_CLASSIFY_OUT0 *out)
{
    struct call call = {values, metadata, data, context, filter, flow, out};
    pass(&call, FWP_ACTION_PERMIT);
    if (chosen->classify)
        chosen->classify(&call);
}

static NTSTATUS NTAPI notify(FWPS_CALLOUT_NOTIFY_TYPE type, const GUID *key, FWPS_FILTER1 *filter)
{
    UNREFERENCED_PARAMETER(type);
    UNREFERENCED_PARAMETER(key);
    UNREFERENCED_PARAMETER(filter);
    return STATUS_SUCCESS;
}

static void NTAPI flow_deleted(UINT16 layer, UINT32 callout, UINT64 context)
{
    UNREFERENCED_PARAMETER(layer);
    UNREFERENCED_PARAMETER(callout);
    if (context > 0x10000 && !context_was_freed) /* the small ones are numbers */
        ExFreePoolWithTag((void *)(ULONG_PTR)context, TAG);
}

static NTSTATUS add_objects(void)
{
    FWPM_SESSION0 session = {.displayData.name = (wchar_t *)L"bad", .flags = chosen->unlawful_objects && bad ? 0 : FWPM_SESSION_FLAG_DYNAMIC};
    FWPM_SUBLAYER0 sublayer = {.subLayerKey = keys[0], .displayData.name = (wchar_t *)L"bad", .weight = 0x4000};
    FWPM_CALLOUT0 callout = {.calloutKey = keys[1], .displayData.name = (wchar_t *)L"bad", .applicableLayer = *chosen->key};
    FWPM_FILTER0 filter = {.displayData.name = (wchar_t *)L"bad", .layerKey = *chosen->key, .subLayerKey = keys[0],
                           .action = {.type = FWP_ACTION_CALLOUT_TERMINATING, .calloutKey = keys[1]}};
    FWPS_CALLOUT1 functions = {.calloutKey = keys[1], .classifyFn = classify, .notifyFn = notify, .flowDeleteFn = flow_deleted};
    NTSTATUS status = FwpsCalloutRegister1(the_device, &functions, &the_callout);
    if (NT_SUCCESS(status))
        status = FwpmEngineOpen0(NULL, 10 /* RPC_C_AUTHN_WINNT */, NULL, &session, &the_engine);
    if (NT_SUCCESS(status))
        status = FwpmSubLayerAdd0(the_engine, &sublayer, NULL);
    if (NT_SUCCESS(status))
        status = FwpmCalloutAdd0(the_engine, &callout, NULL, NULL);
    return NT_SUCCESS(status) ? FwpmFilterAdd0(the_engine, &filter, NULL, NULL) : status;
}

static NTSTATUS make_handles(void)
{
    NET_BUFFER_LIST_POOL_PARAMETERS parameters = {0};
    NTSTATUS status = FwpsInjectionHandleCreate0(AF_INET, FWPS_INJECTION_TYPE_NETWORK, &network);
    if (NT_SUCCESS(status))
        status = FwpsInjectionHandleCreate0(AF_UNSPEC, FWPS_INJECTION_TYPE_TRANSPORT, &transport);
    ndis_object = NdisAllocateGenericObject(the_driver, TAG, 0);
    parameters.Header.Type = NDIS_OBJECT_TYPE_DEFAULT;
    parameters.Header.Revision = NET_BUFFER_LIST_POOL_PARAMETERS_REVISION_1;
    parameters.Header.Size = NDIS_SIZEOF_NET_BUFFER_LIST_POOL_PARAMETERS_REVISION_1;
    parameters.fAllocateNetBuffer = TRUE;
    parameters.PoolTag = TAG;
    nbl_pool = NdisAllocateNetBufferListPool(ndis_object, &parameters);
    return status;
}

static void stop(void)
{
    wait_idle();
    if (chosen->unload)
        chosen->unload();
    if (the_engine)
        FwpmEngineClose0(the_engine);
    if (the_callout)
        FwpsCalloutUnregisterById0(the_callout);
    wait_idle();
    if (network)
        FwpsInjectionHandleDestroy0(network);
    if (transport)
        FwpsInjectionHandleDestroy0(transport);
    if (nbl_pool)
        NdisFreeNetBufferListPool(nbl_pool);
    if (ndis_object)
        NdisFreeGenericObject(ndis_object);
    if (the_device)
        IoDeleteDevice(the_device);
}

static void NTAPI unload(DRIVER_OBJECT *driver)
{
    UNREFERENCED_PARAMETER(driver);
    stop();
}

NTSTATUS NTAPI DriverEntry(DRIVER_OBJECT *driver, UNICODE_STRING *registry);
NTSTATUS NTAPI DriverEntry(DRIVER_OBJECT *driver, UNICODE_STRING *registry)
{
    NTSTATUS status;
    if (!choose(registry))
        return STATUS_OBJECT_NAME_NOT_FOUND;
    the_driver = driver;
    driver->DriverUnload = unload;
    KeInitializeEvent(&idle, NotificationEvent, FALSE);
    status = IoCreateDevice(driver, 0, NULL, FILE_DEVICE_NETWORK, FILE_DEVICE_SECURE_OPEN, FALSE, &the_device);
    if (NT_SUCCESS(status))
        status = make_handles();
    if (NT_SUCCESS(status) && chosen->key)
        status = add_objects();
    if (!NT_SUCCESS(status))
        stop();
    else if (chosen->load)
        chosen->load();
    return status;
}
