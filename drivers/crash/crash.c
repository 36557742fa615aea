/*
 * wfpcrash.sys: crashes the machine, in the way that its service key names. For the scenarios that keep the crash path of
 * the harness right, and for nothing else: nobody loads it by accident into a machine that is needed.
 *
 * SPDX-License-Identifier: MIT
 */
#define INITGUID
#ifndef NDIS630
#define NDIS630 1
#endif
#include <ntddk.h>
#include <ndis.h>
#include <ws2ipdef.h>
#include <fwpsk.h>
#include <fwpmk.h>
#include "wfpcrash.h"

#define TAG 0x72636677u /* 'wfcr' in a dump */
#ifdef _MSC_VER
#define NOINLINE __declspec(noinline)
#define fail_fast(code) __fastfail(code)
#else
#define NOINLINE __attribute__((noinline))
#define fail_fast(code) __asm__ volatile("int $0x29" : : "c"(code))
#endif

static const GUID callout_key = {0x5c0c1d3a, 0x7f0b, 0x4f5e, {0x9d, 0x55, 0x3c, 0x1e, 0x6a, 0x70, 0x21, 0x01}};
static const GUID sublayer_key = {0x5c0c1d3a, 0x7f0b, 0x4f5e, {0x9d, 0x55, 0x3c, 0x1e, 0x6a, 0x70, 0x21, 0x02}};

static UINT8 *volatile nowhere; /* NULL, which the compiler cannot know */
static DEVICE_OBJECT *device;
static HANDLE engine;
static UINT32 callout_id;
static PIO_WORKITEM work;

DRIVER_INITIALIZE DriverEntry;

static NOINLINE void use_bad_pointer(void)
{
    nowhere[0x10] = 1;
}

static NOINLINE void use_bad_pointer_at_dispatch(void)
{
    KSPIN_LOCK lock;
    KIRQL irql;
    KeInitializeSpinLock(&lock);
    KeAcquireSpinLock(&lock, &irql);
    use_bad_pointer();
    KeReleaseSpinLock(&lock, irql);
}

static volatile UINT64 deepest = ~(UINT64)0; /* nothing gets there */

static NOINLINE UINT64 recurse(UINT64 depth)
{
    volatile UINT8 room[512];
    room[depth % sizeof room] = (UINT8)depth;
    if (depth == deepest)
        return depth;
    return room[0] + recurse(depth + 1) + room[1];
}

static NOINLINE NTSTATUS free_twice(DRIVER_OBJECT *object)
{
    static UINT8 bytes[64];
    NET_BUFFER_LIST_POOL_PARAMETERS parameters = {0};
    NET_BUFFER_LIST *list = NULL;
    NTSTATUS status = STATUS_INSUFFICIENT_RESOURCES;
    NDIS_HANDLE generic = NdisAllocateGenericObject(object, TAG, 0), pool = NULL;
    MDL *mdl = IoAllocateMdl(bytes, sizeof bytes, FALSE, FALSE, NULL);
    parameters.Header.Type = NDIS_OBJECT_TYPE_DEFAULT;
    parameters.Header.Revision = NET_BUFFER_LIST_POOL_PARAMETERS_REVISION_1;
    parameters.Header.Size = NDIS_SIZEOF_NET_BUFFER_LIST_POOL_PARAMETERS_REVISION_1;
    parameters.fAllocateNetBuffer = TRUE;
    parameters.PoolTag = TAG;
    if (generic)
        pool = NdisAllocateNetBufferListPool(generic, &parameters);
    if (pool && mdl) {
        MmBuildMdlForNonPagedPool(mdl);
        status = FwpsAllocateNetBufferAndNetBufferList0(pool, 0, 0, mdl, 0, sizeof bytes, &list);
    }
    if (NT_SUCCESS(status)) {
        FwpsFreeNetBufferList0(list);
        FwpsFreeNetBufferList0(list);
    }
    if (pool)
        NdisFreeNetBufferListPool(pool);
    if (generic)
        NdisFreeGenericObject(generic);
    if (mdl)
        IoFreeMdl(mdl);
    return status;
}

static void NTAPI classify(const FWPS_INCOMING_VALUES0 *values, const FWPS_INCOMING_METADATA_VALUES0 *metadata, void *data,
                           const void *context, const FWPS_FILTER1 *filter, UINT64 flow_context, FWPS_CLASSIFY_OUT0 *out)
{
    UNREFERENCED_PARAMETER(values);
    UNREFERENCED_PARAMETER(metadata);
    UNREFERENCED_PARAMETER(data);
    UNREFERENCED_PARAMETER(context);
    UNREFERENCED_PARAMETER(filter);
    UNREFERENCED_PARAMETER(flow_context);
    use_bad_pointer();
    if (out->rights & FWPS_RIGHT_ACTION_WRITE)
        out->actionType = FWP_ACTION_PERMIT;
}

static NTSTATUS NTAPI notify(FWPS_CALLOUT_NOTIFY_TYPE type, const GUID *key, FWPS_FILTER1 *filter)
{
    UNREFERENCED_PARAMETER(type);
    UNREFERENCED_PARAMETER(key);
    UNREFERENCED_PARAMETER(filter);
    return STATUS_SUCCESS;
}

static NTSTATUS make_device(DRIVER_OBJECT *object)
{
    NTSTATUS status = IoCreateDevice(object, 0, NULL, FILE_DEVICE_UNKNOWN, FILE_DEVICE_SECURE_OPEN, FALSE, &device);
    if (NT_SUCCESS(status))
        device->Flags &= ~(ULONG)DO_DEVICE_INITIALIZING;
    return status;
}

static NTSTATUS listen_at(DRIVER_OBJECT *object, const GUID *layer)
{
    FWPS_CALLOUT1 registration = {0};
    FWPM_CALLOUT0 callout = {0};
    FWPM_SUBLAYER0 sublayer = {0};
    FWPM_FILTER0 filter = {0};
    FWPM_FILTER_CONDITION0 remote = {0};
    FWPM_SESSION0 session = {0};
    NTSTATUS status;

    registration.calloutKey = callout_key;
    registration.classifyFn = classify;
    registration.notifyFn = notify;
    callout.calloutKey = callout_key;
    callout.displayData.name = L"wfpcrash";
    callout.applicableLayer = *layer;
    sublayer.subLayerKey = sublayer_key;
    sublayer.displayData.name = L"wfpcrash";
    sublayer.weight = 0x7000;
    remote.fieldKey = FWPM_CONDITION_IP_REMOTE_ADDRESS;
    remote.matchType = FWP_MATCH_EQUAL;
    remote.conditionValue.type = FWP_UINT32;
    remote.conditionValue.uint32 = WFPCRASH_REMOTE;
    filter.displayData.name = L"wfpcrash";
    filter.layerKey = *layer;
    filter.subLayerKey = sublayer_key;
    filter.weight.type = FWP_EMPTY;
    filter.numFilterConditions = 1;
    filter.filterCondition = &remote;
    filter.action.type = FWP_ACTION_CALLOUT_TERMINATING;
    filter.action.calloutKey = callout_key;
    session.flags = FWPM_SESSION_FLAG_DYNAMIC;

    status = make_device(object);
    if (NT_SUCCESS(status))
        status = FwpsCalloutRegister1(device, &registration, &callout_id);
    if (NT_SUCCESS(status))
        status = FwpmEngineOpen0(NULL, 10 /* RPC_C_AUTHN_WINNT */, NULL, &session, &engine);
    if (NT_SUCCESS(status))
        status = FwpmCalloutAdd0(engine, &callout, NULL, NULL);
    if (NT_SUCCESS(status))
        status = FwpmSubLayerAdd0(engine, &sublayer, NULL);
    if (NT_SUCCESS(status))
        status = FwpmFilterAdd0(engine, &filter, NULL, NULL);
    return status;
}

static void NTAPI work_through(DEVICE_OBJECT *object, void *context)
{
    UNREFERENCED_PARAMETER(object);
    UNREFERENCED_PARAMETER(context);
    use_bad_pointer();
}

static NTSTATUS start_work(DRIVER_OBJECT *object)
{
    NTSTATUS status = make_device(object);
    if (!NT_SUCCESS(status))
        return status;
    work = IoAllocateWorkItem(device);
    if (!work)
        return STATUS_INSUFFICIENT_RESOURCES;
    IoQueueWorkItem(work, work_through, DelayedWorkQueue, NULL);
    return STATUS_SUCCESS;
}

static void clean_up(void)
{
    if (engine)
        FwpmEngineClose0(engine);
    if (callout_id)
        FwpsCalloutUnregisterById0(callout_id);
    if (work)
        IoFreeWorkItem(work);
    if (device)
        IoDeleteDevice(device);
    engine = NULL;
    callout_id = 0;
    work = NULL;
    device = NULL;
}

static void NTAPI unload(DRIVER_OBJECT *object)
{
    UNREFERENCED_PARAMETER(object);
    clean_up();
}

static void NTAPI crash_in_unload(DRIVER_OBJECT *object)
{
    use_bad_pointer();
    unload(object);
}

static UINT32 read_wish(UNICODE_STRING *registry)
{
    UNICODE_STRING name = RTL_CONSTANT_STRING(L"Crash");
    UINT64 buffer[8];
    KEY_VALUE_PARTIAL_INFORMATION *value = (KEY_VALUE_PARTIAL_INFORMATION *)buffer;
    OBJECT_ATTRIBUTES attributes;
    UINT32 wish = WFPCRASH_NONE;
    HANDLE key;
    ULONG size;

    InitializeObjectAttributes(&attributes, registry, OBJ_CASE_INSENSITIVE | OBJ_KERNEL_HANDLE, NULL, NULL);
    if (!NT_SUCCESS(ZwOpenKey(&key, KEY_READ, &attributes)))
        return wish;
    if (NT_SUCCESS(ZwQueryValueKey(key, &name, KeyValuePartialInformation, value, sizeof buffer, &size)) &&
        value->Type == REG_DWORD && value->DataLength == sizeof wish)
        RtlCopyMemory(&wish, value->Data, sizeof wish);
    ZwClose(key);
    return wish;
}

static NTSTATUS begin(DRIVER_OBJECT *object, UINT32 wish)
{
    switch (wish) {
    case WFPCRASH_NONE:
        return STATUS_SUCCESS;
    case WFPCRASH_POINTER:
        use_bad_pointer();
        break;
    case WFPCRASH_DISPATCH:
        use_bad_pointer_at_dispatch();
        break;
    case WFPCRASH_CONNECT:
        return listen_at(object, &FWPM_LAYER_ALE_AUTH_CONNECT_V4);
    case WFPCRASH_RECEIVE:
        return listen_at(object, &FWPM_LAYER_INBOUND_IPPACKET_V4);
    case WFPCRASH_DOUBLE_FREE:
        return free_twice(object);
    case WFPCRASH_BUGCHECK:
        KeBugCheckEx(0xE2 /* MANUALLY_INITIATED_CRASH */, 1, 2, 3, 4);
        break;
    case WFPCRASH_ASSERTION:
        DbgRaiseAssertionFailure();
        break;
    case WFPCRASH_STACK:
        return (NTSTATUS)(recurse(0) & 1);
    case WFPCRASH_UNLOAD:
        object->DriverUnload = crash_in_unload;
        return STATUS_SUCCESS;
    case WFPCRASH_WORKER:
        return start_work(object);
    case WFPCRASH_FASTFAIL:
        fail_fast(3 /* FAST_FAIL_CORRUPT_LIST_ENTRY */);
        break;
    default:
        return STATUS_INVALID_PARAMETER;
    }
    return STATUS_UNSUCCESSFUL; /* the machine survived what it should not have */
}

NTSTATUS NTAPI DriverEntry(DRIVER_OBJECT *object, UNICODE_STRING *registry)
{
    NTSTATUS status;
    object->DriverUnload = unload;
    status = begin(object, read_wish(registry));
    if (!NT_SUCCESS(status))
        clean_up();
    return status;
}
